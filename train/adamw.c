/* adamw.c - one pass over the contiguous values, gradients and moments of all trainable parameters.
 *
 *     p -= lr wd p;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  p -= lr m^ / (sqrt(v^) + eps)
 *
 * with m^ = m / (1-b1^k) and v^ = v / (1-b2^k) at step k. Loshchilov & Hutter 2019, algorithm 2, in the
 * order of torch.optim.AdamW.                                                                              */
#include "train/train.h"
#include <math.h>
#include <string.h>

enum { BLOCK = 8192 };                             /* elements a thread takes at a time */

bool train_decays(const nn_entry *p)
{
    size_t n = strlen(p->value->name);
    return p->value->ndim != 1 && !(n >= 5 && !strcmp(p->value->name + n - 5, ".bias"));
}

static void update(long n, const real *g, real *p, real *m, real *v, const train_adamw *o, double first,
                   double second)
{
    const real b1 = (real)o->beta1, b2 = (real)o->beta2, c1 = (real)(1 - o->beta1), c2 = (real)(1 - o->beta2);
    const real keep = (real)(1 - o->lr * o->weight_decay), rate = (real)(o->lr / first);
    const real root = (real)sqrt(second), eps = (real)o->eps;
    #pragma omp simd
    for (long i = 0; i < n; i++) {
        m[i] = b1 * m[i] + c1 * g[i];
        v[i] = b2 * v[i] + c2 * g[i] * g[i];
        real denominator = (real)sqrt(v[i]) / root + eps;
        p[i] = keep * p[i] - rate * m[i] / denominator;
    }
}

void train_adamw_step(nn_store *s, const train_adamw *o, long step)
{
    double first = 1 - pow(o->beta1, (double)step), second = 1 - pow(o->beta2, (double)step);
    #pragma omp parallel
    for (long k = 0; k < s->count; k++) {
        const nn_entry *p = &s->entries[k];
        if (p->frozen || p->alias_of)
            continue;
        train_adamw mine = *o;
        mine.weight_decay = train_decays(p) ? o->weight_decay : 0;
        mine.lr = o->lr * p->rate;
        const tensor *x = p->value;
        #pragma omp for schedule(static) nowait
        for (long i = 0; i < x->size; i += BLOCK) {
            long n = x->size - i < BLOCK ? x->size - i : BLOCK;
            update(n, x->grad + i, x->data + i, p->m + i, p->v + i, &mine, first, second);
        }
    }
}

double train_grad_norm(const nn_store *s)
{
    enum { PARTS = 64 };
    double sums[PARTS] = { 0 }, sum = 0;           /* fixed parts: the same bits for any number of threads */
    long part = (s->trainable + PARTS - 1) / PARTS;
    #pragma omp parallel for
    for (long k = 0; k < PARTS; k++) {
        long end = (k + 1) * part < s->trainable ? (k + 1) * part : s->trainable;
        double mine = 0;
        #pragma omp simd reduction(+:mine)
        for (long i = k * part; i < end; i++)
            mine += (double)s->grads[i] * (double)s->grads[i];
        sums[k] = mine;
    }
    for (int k = 0; k < PARTS; k++)
        sum += sums[k];
    return sqrt(sum);
}

void train_scale_grad(nn_store *s, double factor)
{
    #pragma omp parallel for
    for (long i = 0; i < s->trainable; i++)
        s->grads[i] *= (real)factor;
}
