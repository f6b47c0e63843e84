/* schedule.c - the learning rate at a step. LAVIS (lavis/common/optims.py) warms up inside epoch 0 only, and
 * its cosine is a staircase that changes once an epoch and never reaches min_lr; by_step gives the smooth
 * form that papers mean.                                                                                   */
#include "train/train.h"
#include <math.h>

static double cosine(const train_schedule *s, double share)        /* share of the way, 0..1 */
{
    return (s->init_lr - s->min_lr) * 0.5 * (1 + cos(M_PI * share)) + s->min_lr;
}

static double warm(const train_schedule *s, long step)
{
    double from = s->warmup_lr < 0 ? s->init_lr : s->warmup_lr;
    double steps = (double)(s->warmup_steps > 1 ? s->warmup_steps : 1);
    return fmin(s->init_lr, from + (s->init_lr - from) * (double)step / steps);
}

double train_lr(const train_schedule *s, long epoch, long step)
{
    if (s->by_step) {
        long now = epoch * s->steps_per_epoch + step;
        long all = s->steps ? s->steps : s->max_epoch * s->steps_per_epoch;
        if (now < s->warmup_steps)
            return warm(s, now);
        long rest = all - s->warmup_steps;
        double share = rest > 0 ? (double)(now - s->warmup_steps) / (double)rest : 1;
        return s->kind == TRAIN_COSINE ? cosine(s, fmin(share, 1)) : s->kind == TRAIN_CONSTANT ? s->init_lr :
               fmax(s->min_lr, s->init_lr * pow(s->decay_rate, (double)epoch));
    }
    if (epoch == 0)
        return warm(s, step);
    switch (s->kind) {
    case TRAIN_COSINE: return cosine(s, (double)epoch / (double)s->max_epoch);
    case TRAIN_STEP: return fmax(s->min_lr, s->init_lr * pow(s->decay_rate, (double)epoch));
    default: return s->init_lr;
    }
}
