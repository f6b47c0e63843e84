/* lr.c - learning rates over epochs and steps, for each schedule in config.scheds. */
#include "tests/golden/golden.h"
#include "train/train.h"
#include <stdio.h>
#include <string.h>

static double number(const json_t *o, const char *key, double otherwise)
{
    const json_t *v = json_object_get(o, key);
    return v ? json_number_value(v) : otherwise;
}

static bool kind_of(const char *name, train_schedule_kind *kind)
{
    static const char *const names[] = { "LinearWarmupCosineLRScheduler", "LinearWarmupStepLRScheduler",
                                         "ConstantLRScheduler" };
    for (int i = 0; i < 3; i++)
        if (name && !strcmp(name, names[i])) {
            *kind = (train_schedule_kind)i;
            return true;
        }
    return false;
}

void golden_lr(golden *g, tape *t)
{
    const json_t *all = json_object_get(golden_config(g), "scheds"), *one;
    size_t i;
    json_array_foreach(all, i, one) {
        train_schedule s = {
            .init_lr = number(one, "init_lr", 0), .min_lr = number(one, "min_lr", 0),
            .warmup_lr = number(one, "warmup_start_lr", -1), .decay_rate = number(one, "decay_rate", 1),
            .warmup_steps = (long)number(one, "warmup_steps", 0),
            .max_epoch = (long)number(one, "max_epoch", 1), .steps_per_epoch = (long)number(one, "iters", 1),
        };
        const char *class = json_string_value(json_object_get(one, "cls"));
        if (!kind_of(class, &s.kind)) {
            golden_fail(g, "unknown schedule %s", class ? class : "(none)");
            return;
        }
        real *lr = ag_alloc_real(t, s.max_epoch * s.steps_per_epoch);
        for (long k = 0; k < s.max_epoch * s.steps_per_epoch; k++)
            lr[k] = (real)train_lr(&s, k / s.steps_per_epoch, k % s.steps_per_epoch);
        char name[32];
        snprintf(name, sizeof name, "out/sched%zu", i);
        golden_compare_reals(g, name, lr, s.max_epoch * s.steps_per_epoch);
    }
}
