/* internal.h - what the operations of this folder share and nobody else needs. */
#ifndef AUTOGRAD_INTERNAL_H
#define AUTOGRAD_INTERNAL_H
#include "autograd/autograd.h"
#include <omp.h>
#include <math.h>

/* Elements below which a loop is not worth waking threads for (a region costs about as much as 10,000
 * additions). */
enum { AG_PARALLEL_MIN = 16384 };

/* Leading axes folded: a tensor of shape (...,C) as (R,C). */
static inline long ag_columns(const tensor *x) { return x->ndim ? x->dim[x->ndim - 1] : 1; }
static inline long ag_thread(void) { return omp_get_thread_num(); }
static inline long ag_rows(const tensor *x) { long c = ag_columns(x); return c ? x->size / c : 0; }

/* Stands first in an op: fails if one of these inputs, which may be NULL, is kept in low precision. */
#define AG_NO_FROZEN(op, ...)                                                                               \
    ag_no_frozen((op), (int)(sizeof(tensor *[]){ __VA_ARGS__ } / sizeof(tensor *)),                          \
                 (tensor *[]){ __VA_ARGS__ })
void ag_no_frozen(const char *op, int nin, tensor *const *in);

/* probe.c: does a variant take its input of that number (its name into `name`) in low precision? e: what it
 * said. Numbers without axes are no such inputs. */
typedef enum { AG_NO_INPUT, AG_TAKES, AG_REFUSES } ag_answer;
ag_answer ag_probe_frozen(const ag_op *op, int variant, int number, char name[24], error *e);

/* Activations on n elements, one thread (callers share out the work); y may be x, dx may be dy. */
void ag_act_forward(ag_act act, long n, const real *x, real *y);
void ag_act_backward(ag_act act, long n, const real *x, const real *dy, real *dx);     /* dx = dy * act'(x) */

/* tape.c: for ops of more than one output, and for those that run others. */
void ag_record_many(tape *t, const ag_op *op, int nout, tensor *const *out, void *saved, int nin,
                    tensor *const *in);
bool ag_wanted(tape *t, bool wanted);              /* was an op worth recording since set to false? */
void ag_rewind_keep_all(tape *t, ag_mark to, int n, tensor **kept);    /* ag_rewind_keep of n <= 16 */
void ag_add_to_grad(tensor *x, const real *g);
void ag_backward_nodes(tape *t, long first);       /* backward of nodes count-1 .. first */

/* measure.c: what a tape that only measures has in the place of memory. NULL: there is one on this thread,
 * or memory is out. The window is one place for all large tensors. */
typedef struct ag_measure ag_measure;
ag_measure *ag_measure_new(void);
void ag_measure_free(ag_measure *m);
void *ag_measure_place(ag_measure *m, long bytes, bool numbers);
void *ag_measure_window(ag_measure *m, long bytes);
ag_mark ag_measure_here(const ag_measure *m);      /* of its small tensors */
void ag_measure_rewind(ag_measure *m, ag_mark to);
double ag_measure_flops(const ag_measure *m);

/* ---- kernels that several operations share (the file that defines them comes first) -------------------- */
#define AG_COUNT(array) (int)(sizeof (array) / sizeof *(array))

/* Axes before and behind one axis folded: x as (O,n,I). */
typedef struct ag_folded { long O, n, I; } ag_folded;
static inline ag_folded ag_fold(const tensor *x, int axis)
{
    ag_folded f = { 1, x->dim[axis], 1 };
    for (int i = 0; i < x->ndim; i++)
        if (i != axis)
            *(i < axis ? &f.O : &f.I) *= x->dim[i];
    return f;
}

/* reduce.c: y (O,I) = beta y + factor * the sum of x (O,n,I) over its middle axis, in double, in an order
 * that depends on the sizes alone. beta is 0 (y is not read) or 1, here and below. */
void sum_axis_cpu(long O, long n, long I, double factor, const real *x, real beta, real *y);
tensor *ag_new_without(tape *t, const tensor *x, int axis); /* x's shape less one axis */

/* concat.c: R runs of `run` elements, to = beta to + from. A step of 0 reads the same run again and again. */
void copy_runs_cpu(long R, long run, const real *from, long from_step, real beta, real *to, long to_step);

/* gather.c: which places of a list name a row. Group g is row[g], named at place[start[g]] ..
 * place[start[g+1]-1]. */
typedef struct ag_groups { long count; const int *row; const long *start, *place; } ag_groups;
ag_groups ag_group_rows(tape *t, const int *rows, long n, long R);
void ag_check_rows(const char *op, const tensor *x, const int *rows, long n);
void gather_rows_cpu(long n, long C, const real *x, const int *rows, real *y); /* y[i] = x[rows[i]] */
void scatter_rows_cpu(const ag_groups *groups, long C, const real *dy, real *dx); /* dx[rows[i]] += dy[i] */

/* cross_entropy.c: rows of logits with their targets; ids or soft. */
typedef struct ag_ce_rows {
    long R, V;
    const int *ids;                    /* (R) */
    const real *soft;                  /* (R,V) */
    double smoothing;
    const double *share; /* (R) what the result takes of each row's loss; 0: the row does not count */
    double *lse;                       /* (R) log sum exp of the logits, written by forward */
} ag_ce_rows;
void ag_ce_check(const char *op, const tensor *x, long R, long V, const ag_ce *o);
double *ag_ce_shares(tape *t, long R, const ag_ce *o);                                  /* (R) */
void ce_forward_cpu(const ag_ce_rows *c, const real *z, double *loss); /* loss (R), times share */
/* g (R); dz may be z */
void ce_backward_cpu(const ag_ce_rows *c, const real *z, const double *g, real beta, real *dz);

/* frozen.c: products with a weight, ordinary or kept in low precision. recorded: the result is part of
 * what is learned, so ag_compute does not apply. First x W', then dy W. */
void ag_weight_product(tape *t, bool recorded, long R, const real *x, const tensor *w, real beta, real *y);
void ag_weight_back(tape *t, long R, const real *dy, const tensor *w, real beta, real *dx); /* dy W */
void ag_weight_rows(tape *t, long n, const tensor *w, const int *rows, real *y);
void frozen_product_cpu(const ag_frozen *w, bool rounded, long R, const real *x, real *scratch, real beta,
                        real *y);
void frozen_back_cpu(const ag_frozen *w, long R, const real *dy, real *scratch, real beta, real *dx);
long frozen_width(ag_dtype type);                  /* bytes of a number */
void frozen_widen(ag_dtype type, const void *row, long from, long n, real *to);         /* without scale */
void frozen_round(long n, const real *x, real *y); /* to bfloat16 and back */

/* few_rows.c: the same for up to FEW_MOST rows of x. A path is a set of vector instructions; NULL: plain
 * C. */
enum { FEW_MOST = 16, FEW_BAND = 32 };
typedef enum { FEW_F32, FEW_F32_ROUNDED, FEW_F16, FEW_F16_ROUNDED, FEW_BF16, FEW_INT8, FEW_KINDS } few_kind;
typedef struct few {
    ag_dtype type;
    few_kind kind;
    bool rounded;
    long M, N, K, stride, ldx, ld_given;           /* stride: bytes of a row of W */
    const void *w;
    const real *given;                             /* x (M,K); */
    const float *x;                                /* as the vectors take it */
} few;
typedef struct few_path {
    const char *name;
    long step;                                     /* columns at a time */
    /* whole steps of n <= FEW_BAND rows: sum (M,FEW_BAND) */
    void (*band)(const few *f, long row, long n, float *sum);
} few_path;
#if REAL == 32 && defined __x86_64__
extern const few_path few_avx2, few_avx512;
#endif
const few_path *few_best(void);                    /* what this CPU has */
/* scratch (M,K) */
void few_rows_by(const few_path *path, const ag_frozen *w, bool rounded, long M, const real *x, long ldx,
                 real *scratch, real beta, real *y, long ldy);

/* bf16_tile.c: x as one bfloat16 or as the sum of two (terms), times W in bfloat16. A tile: sum (M,n) +=
 * x (M,K) w' of n rows of w. */
typedef void (*bf16_tile)(long M, long n, long K, const uint16_t *x, const uint16_t *w, float *sum);
bool bf16_tile_here(void);                         /* has the CPU the instruction? */
void bf16_tile_plain(long M, long n, long K, const uint16_t *x, const uint16_t *w, float *sum);
void bf16_tile_avx512(long M, long n, long K, const uint16_t *x, const uint16_t *w, float *sum);
long bf16_scratch(const ag_frozen *w, int terms, long R);  /* bytes */
void bf16_product_by(bf16_tile tile, const ag_frozen *w, int terms, long R, const real *x, void *scratch,
                     real beta, real *y);
void bf16_product_cpu(const ag_frozen *w, int terms, long R, const real *x, void *scratch, real beta,
                      real *y);

/* random.c: 8 rows of n numbers of 16 bits, one Philox counter {first + c, band, sheet} a column. What stands
 * at (8 band + r, first + c) of a sheet depends on these alone, not on where a block begins or ends. */
enum { AG_DRAWN = 256 };               /* most columns in one call */
void ag_random_bits(uint64_t key, uint32_t sheet, long band, long first, long n, uint16_t bits[8][AG_DRAWN]);

/* dropout.c: what is dropped in the rows (R,C) of one sheet; a band is 8 rows that share their counters. */
enum { AG_BAND = 8 };
typedef struct ag_dropper {
    uint64_t key;
    const int *sample;                 /* (B) the global index of each batch row, NULL: b itself */
    int keep;                          /* of 65536 */
    real scale;                        /* 65536 / keep */
} ag_dropper;
const ag_dropper *ag_dropper_new(tape *t, const char *op, ag_drop drop, long B);    /* NULL: drops nothing */
uint64_t ag_dropper_key(const ag_dropper *d, long b);
/* y = into y + x with what is dropped set to 0 and the rest scaled: rows 8 band .. of (R,C); y may be x. */
void ag_drop_band(const ag_dropper *d, uint64_t key, uint32_t sheet, long band, long R, long C, const real *x,
                  real into, real *y);

/* softmax.c: the largest of C numbers, NaN passed over; softmax of one row, one thread. y may be x, dx may be
 * dy. A row of -inf alone gives zeros. */
real ag_row_max(long C, const real *x);
void ag_softmax_row(long C, const real *x, real *y);
void ag_softmax_back_row(long C, const real *y, const real *dy, real into, real *dx);

/* ---- exp, erf and tanh of one number, for use inside loops ------------------------------------------------
 * In float each is a straight run of additions, multiplications and selections that the compiler turns into
 * vector instructions, and lies within 2 units in the last place of the C library's (tests/test_math.c). The
 * library's own take about 10 ns a number, one at a time. In double the library is called: there numbers are
 * checked, not trained. The polynomials are minimax fits (Remez) of the functions named beside them.
 *
 *   exp(x)  = 2^n exp(r),  n = round(x / ln 2),  |r| <= ln 2 / 2,  exp(r) = 1 + r + r^2 p(r)
 *   erf(x)  = x + x p(x^2)     for |x| < 1,   and  sign(x) (1 - p(|x|))  above: this p fits erfc
 *   tanh(x) = x + x^3 p(x^2)   for |x| < 0.6, and  sign(x) (1 - 2 / (exp(2|x|) + 1))  above
 *
 * Every comparison is written so that a NaN fails it and passes through. AG_SIMD stands before a loop that
 * calls them and whose turns do not depend on each other. */
#if REAL == 32
#define AG_SIMD _Pragma("omp simd")
static inline uint32_t ag_bits_of(float x)
{
    return (union { float f; uint32_t u; }){ .f = x }.u;
}

static inline float ag_from_bits(uint32_t u)
{
    return (union { uint32_t u; float f; }){ .u = u }.f;
}

static inline float ag_exp1(float x)
{
    const float shift = 0x1.8p23f;                 /* adding it rounds to a whole number, in the low bits */
    const float ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f;    /* n ln2_high is exact, |n| < 2^9 */
    x = x > 90 ? 90 : x;                           /* exp is infinite above 88.8 and 0 below -104 */
    x = x < -110 ? -110 : x;
    float shifted = x * 0x1.715476p0f + shift;
    float n = shifted - shift;
    float r = (x - n * ln2_high) - n * ln2_low;
    float p = 0.00138145406f;                      /* (exp(r) - 1 - r) / r^2, relative error of exp 2^-28 */
    p = p * r + 0.00836874545f;
    p = p * r + 0.041668389f;
    p = p * r + 0.166665211f;
    p = p * r + 0.49999994f;
    float y = p * (r * r) + r + 1;
    uint32_t whole = ag_bits_of(shifted) - ag_bits_of(shift);
    uint32_t half = (uint32_t)((int32_t)whole >> 1);       /* 2^n in two factors: -159 <= n <= 130 */
    return y * ag_from_bits((half + 127) << 23) * ag_from_bits((whole - half + 127) << 23);
}

static inline float ag_erf1(float x)
{
    float a = fabsf(x), s = x * x;
    float p = 7.85386146e-05f;                     /* erf(x)/x - 1 in x^2, relative error of erf 2^-29 */
    p = p * s - 0.000801019371f;
    p = p * s + 0.00518832775f;
    p = p * s - 0.0268538129f;
    p = p * s + 0.112835854f;
    p = p * s - 0.37612626f;
    p = p * s + 0.128379166f;
    float small = p * x + x;
    a = a > 3.92f ? 3.92f : a;                     /* 1 - erf(3.92) < 2^-25: erf is 1 in float */
    float t = a - 2.46f;                           /* the middle of [1, 3.92] */
    float q = -1.10491123e-06f;                    /* erfc(a), error 2^-27 */
    q = q * t - 9.87025359e-08f;
    q = q * t + 1.74085162e-05f;
    q = q * t - 2.46784639e-05f;
    q = q * t - 7.60464463e-05f;
    q = q * t + 0.000299539824f;
    q = q * t - 0.000355589291f;
    q = q * t - 0.000459228497f;
    q = q * t + 0.00293694902f;
    q = q * t - 0.00679961266f;
    q = q * t + 0.00991425943f;
    q = q * t - 0.00983243808f;
    q = q * t + 0.00653451076f;
    q = q * t - 0.00265623862f;
    q = q * t + 0.000503353833f;
    float large = copysignf(1 - q, x);
    return a < 1 ? small : large;
}

static inline float ag_tanh1(float x)
{
    float a = fabsf(x), s = x * x;
    float p = -0.00589515828f;                     /* (tanh(x)/x - 1) / x^2 in x^2, error of tanh 2^-28 */
    p = p * s + 0.0207959712f;
    p = p * s - 0.0537838303f;
    p = p * s + 0.133319244f;
    p = p * s - 0.333332986f;
    float small = p * s * x + x;
    float large = copysignf(1 - 2 / (ag_exp1(2 * a) + 1), x);
    return a < 0.6f ? small : large;
}
#else
#define AG_SIMD
static inline double ag_exp1(double x) { return exp(x); }
static inline double ag_erf1(double x) { return erf(x); }
static inline double ag_tanh1(double x) { return tanh(x); }
#endif
#endif
