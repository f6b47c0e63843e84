/* dropout.c - y = x * keep / q: each element is kept with probability q = 1 - p, independently.
 * Srivastava et al. 2014, section 10 ("inverted" form).   dx = dy * keep / q.
 *
 * q is rounded to 65536ths, because an element takes 16 bits of a Philox word: kept where bits < 65536 q. The
 * bits are keyed by (seed, step, pass, site, the sample's global index) and found by the element's place: for
 * each sample x (B,...,C) is a sheet of rows (the middle axes) by columns C. So the same elements are dropped
 * whatever the batch holds beside a sample, and however far its rows or columns were trimmed. Nothing is
 * stored: backward draws again. */
#include "autograd/internal.h"

enum { BAND = AG_BAND };

const ag_dropper *ag_dropper_new(tape *t, const char *op, ag_drop drop, long B)
{
    if (!(drop.p >= 0 && drop.p <= 1))
        ag_fail(op, "a probability of dropout is in [0,1], got %g", drop.p);
    if (!ag_is_training(t) || drop.p == 0)
        return NULL;
    ag_random r = ag_random_now(t);
    int keep = (int)lrint((1 - drop.p) * 65536);
    uint64_t key = ag_mix(ag_mix(r.seed, (uint64_t)r.step << 32 | r.pass), drop.site);
    ag_dropper *d = ag_alloc(t, sizeof *d);
    *d = (ag_dropper){ .key = key, .sample = r.sample ? ag_ids(t, r.sample, B) : NULL, .keep = keep,
                       .scale = keep ? (real)(65536.0 / keep) : 0 };
    return d;
}

uint64_t ag_dropper_key(const ag_dropper *d, long b)
{
    return ag_mix(d->key, (uint64_t)(d->sample ? d->sample[b] : b));
}

void ag_drop_band(const ag_dropper *d, uint64_t key, uint32_t sheet, long band, long R, long C, const real *x,
                  real into, real *y)
{
    uint16_t bits[BAND][AG_DRAWN];
    long rows = R - band * BAND < BAND ? R - band * BAND : BAND;
    int keep = d->keep;
    real scale = d->scale;
    for (long first = 0; first < C; first += AG_DRAWN) {
        long n = C - first < AG_DRAWN ? C - first : AG_DRAWN;
        ag_random_bits(key, sheet, band, first, n, bits);
        for (long r = 0; r < rows; r++) {
            const uint16_t *drawn = bits[r];
            const real *xr = x + (band*BAND + r)*C + first;
            real *yr = y + (band*BAND + r)*C + first;
            if (into == 0) {
                #pragma omp simd
                for (long c = 0; c < n; c++)
                    yr[c] = xr[c] * (drawn[c] < keep ? scale : 0);         /* a product: NaN stays NaN */
            } else {
                #pragma omp simd
                for (long c = 0; c < n; c++)
                    yr[c] += xr[c] * (drawn[c] < keep ? scale : 0);
            }
        }
    }
}

/* Forward and backward: the map is linear and its own transpose. A thread owns whole bands of 8 rows. */
static void dropout_cpu(const ag_dropper *d, long B, long R, long C, const real *x, real into, real *y)
{
    long bands = (R + BAND - 1) / BAND;
    #pragma omp parallel for if (B * R * C > AG_PARALLEL_MIN)
    for (long i = 0; i < B * bands; i++) {
        long b = i / bands;
        ag_drop_band(d, ag_dropper_key(d, b), 0, i % bands, R, C, x + b*R*C, into, y + b*R*C);
    }
}

static void sheets(const tensor *x, long *B, long *R, long *C)
{
    *B = x->ndim ? x->dim[0] : 1;
    *C = x->ndim > 1 ? ag_columns(x) : 1;
    *R = *B && *C ? x->size / *B / *C : 0;
}

static void backward(const ag_node *n)
{
    long B, R, C;
    sheets(n->out, &B, &R, &C);
    real into, *dx = ag_grad_beta(n->in[0], &into);
    AG_CALL(n->tape, dropout)(n->saved, B, R, C, n->out->grad, into, dx);
}

static tensor *example(ag_probe *p, int variant)
{
    static const int sample[] = { 7, 0, 1 << 30, 3 };
    static const double some[] = { 0.1, 0.5, 0.75, 0.25 };
    tape *t = ag_probe_tape(p);
    long C = (long[]){ 5, 300, 1, 17 }[variant % 4];
    tensor *x = variant == 0 ? ag_input(p, "x", DIMS(40)) :
                variant == 1 ? ag_input(p, "x", DIMS(3, 70)) :
                variant == 2 ? ag_input(p, "x", DIMS(2, 3, 9, 4)) :
                variant == 11 ? ag_input(p, "x", DIMS(3, 21, 400)) :
                variant == 12 ? ag_input(p, "x", DIMS(0, 4, 3)) :
                ag_input(p, "x", DIMS(1 + variant % 3, 2 + variant, C));
    ag_training(t, variant != 3);                          /* 3: nothing is dropped, the result is x */
    ag_seed(t, (ag_random){ .seed = 11, .step = (uint32_t)variant, .pass = 1,
                            .sample = variant > 1 && variant % 2 ? sample : NULL });
    tensor *y = ag_dropout(t, x, (ag_drop){ variant == 5 ? 0 : some[variant % 4], 9 });
    return ag_mul(t, y, y);
}

const ag_op ag_op_dropout = { "dropout", backward, example, .variants = 14 };

tensor *ag_dropout(tape *t, tensor *x, ag_drop drop)
{
    AG_NO_FROZEN("dropout", x);
    long B, R, C;
    sheets(x, &B, &R, &C);
    const ag_dropper *d = ag_dropper_new(t, "dropout", drop, B);
    if (!d)
        return x;
    tensor *y = ag_new_like(t, x);
    AG_CALL(t, dropout)(d, B, R, C, x->data, 0, y->data);
    return AG_RECORD(t, &ag_op_dropout, y, (void *)d, x);
}
