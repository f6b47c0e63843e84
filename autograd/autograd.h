/* autograd.h - tensors, a tape that remembers what was done to them, and operations with their gradients.
 *
 * An operation computes when it is called and appends a node to the tape; ag_backward walks the nodes from
 * the last to the first. Everything made through a tape lives in its arena and dies with ag_reset; parameters
 * live in a store (nn.h). B batch, T tokens, D width, H heads, R rows, C columns, K inner, V vocabulary;
 * shapes stand as (R,C). A wrong call (shapes, NULL) is the programmer's mistake: ag_fail names the op and
 * every shape, see ag_try. */
#ifndef AUTOGRAD_H
#define AUTOGRAD_H
#include "base/base.h"
#pragma GCC visibility push(default)

typedef struct tensor tensor;
typedef struct tape tape;
typedef struct ag_node ag_node;
typedef struct ag_probe ag_probe;

/* A matrix that learns nothing, kept in 16 or 8 bits. Only linear, embedding, patch_embed and
 * linear_cross_entropy take one, as their weight: a tensor whose numbers are `frozen` in place of `data`. */
typedef enum { AG_REAL, AG_F16, AG_BF16, AG_INT8 } ag_dtype;
typedef struct ag_frozen {
    ag_dtype type;
    long N, K;                     /* axis 0 of the tensor, and the others together */
    const void *data;              /* (N,K) */
    const float *scale;            /* (N) AG_INT8: what row n is multiplied by; else NULL */
} ag_frozen;

enum { AG_MAX_DIM = 4 };
struct tensor {
    real *data;                    /* row-major, contiguous; NULL: frozen */
    const ag_frozen *frozen;       /* NULL: data */
    real *grad;                    /* the gradient's buffer, NULL before the first contribution */
    long dim[AG_MAX_DIM], size;
    int ndim;
    bool needs_grad;               /* else frozen: ag_grad gives NULL */
    bool grad_fresh;               /* the buffer holds nothing yet: the first contribution overwrites */
    bool keep_grad;                /* not given back to the pool after its node's backward */
    tape *tape;                    /* NULL: a parameter; its buffers belong to a store */
    tensor *whole;                 /* a reshape: whose data and gradient these are; else NULL */
    const char *name;              /* a parameter's name, NULL otherwise */
};

/* ---- failing ---------------------------------------------------------------------------------------- */
_Noreturn void ag_fail(const char *op, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* false: ag_fail was called inside; the tape is rewound to where it stood. Outside any ag_try, ag_fail prints
   and exits 1 */
bool ag_try(tape *t, void (*body)(void *), void *context, error *e);
#define SHAPE(x) ag_shape((x), (char[96]){ 0 })
const char *ag_shape(const tensor *x, char *to);                       /* "(2,3,C)"; "none" for NULL */

/* ---- the tape --------------------------------------------------------------------------------------- */
typedef struct ag_mark { long chunk, used, nodes, small_chunk, small_used; } ag_mark;
typedef struct ag_random {  /* what random numbers are keyed by, besides the site and the element */
    uint64_t seed;
    uint32_t step, pass;               /* pass: which use of a module within the step */
    const int *sample;                 /* (B) the global index of each batch row; NULL: b itself */
} ag_random;

tape *ag_tape_new(void);                           /* NULL when memory is out */
void ag_tape_free(tape *t);
void ag_reset(tape *t);                            /* forgets everything, keeps the memory */
ag_mark ag_here(const tape *t);
void ag_rewind(tape *t, ag_mark to);               /* gives back what was made since; nodes too */
/* For checkers, on an empty tape: from now on bytes that nobody may write stand behind every allocation.
 * Did those that stood until now stay as they were? */
bool ag_fences(tape *t, bool on);
/* the same, but kept survives (moved; no gradient) */
tensor *ag_rewind_keep(tape *t, ag_mark to, tensor *kept);
bool ag_record_on(tape *t, bool on);               /* off: a frozen part; returns what it was */
bool ag_training(tape *t, bool on);                /* off: dropout does nothing; returns what it was */
bool ag_is_training(const tape *t);
/* How products with weights are made where nothing is recorded; returns what it was.
 *   AG_EXACT   in `real`
 *   AG_PAIRS   where the CPU multiplies bfloat16, W is kept in bf16 or int8 and x has more than 16 rows: x as
 *              the sum of two of them, 16 of its 24 bits, and W as it is; else in `real`
 *   AG_ONCE    both factors rounded to bfloat16, 8 bits of every factor */
typedef enum { AG_EXACT, AG_PAIRS, AG_ONCE } ag_precision;
ag_precision ag_compute(tape *t, ag_precision products);
ag_precision ag_computes(const tape *t);
ag_random ag_seed(tape *t, ag_random random);      /* returns what it was */
ag_random ag_random_now(const tape *t);
long ag_bytes(const tape *t);                      /* arena and gradient pool, as held from the system */
/* For those who look at a tape: what part of the work the nodes from now on belong to (a literal; returns
 * what it was), and a function that hears of each node when it is recorded and, while its output's
 * gradient still stands, when it has gone back. NULL: nobody listens. */
const char *ag_part(tape *t, const char *part);
typedef void (*ag_watcher)(void *context, const ag_node *n, long index, bool backward);
void ag_watch(tape *t, ag_watcher watcher, void *context);
long ag_pool_bytes(const tape *t);                 /* of these for gradients of intermediates */
/* On a new tape: until it is freed operations on this thread count what they need and compute nothing; all
 * values are 0, ag_bytes is what would be held, ag_flops the additions and multiplications of all matrix
 * products. Needs next to no memory itself. False: not even that is there. */
bool ag_measures(tape *t);
double ag_flops(const tape *t);
long ag_node_count(const tape *t);
const ag_node *ag_node_at(const tape *t, long i);

#define DIMS(...) (int)(sizeof (long[]){ __VA_ARGS__ } / sizeof(long)), (const long[]){ __VA_ARGS__ }
void *ag_alloc(tape *t, long bytes);               /* 64-byte aligned, not zeroed */
real *ag_alloc_real(tape *t, long n);
tensor *ag_new(tape *t, int ndim, const long *dim);  /* data not set: ag_new(t, DIMS(2, 3)) */
tensor *ag_new_like(tape *t, const tensor *x);
tensor *ag_copy_in(tape *t, int ndim, const long *dim, const real *data);      /* a constant */
tensor *ag_leaf(tape *t, int ndim, const long *dim, const real *data);  /* an input that wants its gradient */
tensor *ag_scalar(tape *t, double value);          /* shape (): ndim 0, size 1 */
const int *ag_ids(tape *t, const int *ids, long n);
void ag_read(const tensor *x, real *to);           /* data out; outside kernels nobody looks at ->data */
real ag_value(const tensor *x);                    /* of a tensor of one element */

const char *ag_dtype_name(ag_dtype type);          /* "bf16" */
/* numbers, to a multiple of 64, and behind them scales */
long ag_frozen_bytes(ag_dtype type, long N, long K);
/* (N,K) numbers into data and, AG_INT8, scale (N); the first element that the type cannot hold (too large,
 * not finite), or -1 */
long ag_quantize(ag_dtype type, long N, long K, const real *x, void *data, float *scale);
/* columns from .. of one row */
void ag_frozen_read(const ag_frozen *w, long row, long from, long n, real *to);
tensor *ag_frozen_new(tape *t, ag_dtype type, int ndim, const long *dim, const real *values);

void ag_backward(tape *t, tensor *loss);  /* loss has one element; its gradient is 1 */
void ag_backward_from(tape *t, int n, tensor *const *roots, const real *const *cotangents);
/* Runs fn without keeping its intermediates and again in backward: memory for time (Chen et al. 2016). fn
 * must read tensors only through in[], the store and ctx (which must stay valid), and gives its results in
 * out[]. */
typedef void (*ag_function)(tape *t, void *ctx, tensor *const *in, tensor **out);
void ag_checkpoint(tape *t, ag_function fn, void *ctx, int nin, tensor *const *in, int nout, tensor **out);

/* ---- operations: arithmetic ----------------------------------------------------------------------------
 * add, sub, mul, div broadcast as NumPy does: shapes are aligned at the last axis, an axis of 1 is
 * stretched. */
tensor *ag_add(tape *t, tensor *a, tensor *b);
tensor *ag_sub(tape *t, tensor *a, tensor *b);
tensor *ag_mul(tape *t, tensor *a, tensor *b);
tensor *ag_div(tape *t, tensor *a, tensor *b);
tensor *ag_scale(tape *t, tensor *x, double factor);
tensor *ag_sum(tape *t, tensor *x);                                    /* of all elements: shape () */
tensor *ag_mean(tape *t, tensor *x);                                   /* of all elements: shape () */
tensor *ag_mean_axis(tape *t, tensor *x, int axis);                    /* the axis vanishes */
tensor *ag_max_axis(tape *t, tensor *x, int axis);  /* gradient to the first maximum, as PyTorch */
/* (B,M,K) x (B,K,N) -> (B,M,N), a or b transposed in its last two axes if asked; one of them may have no B (2
 * axes). */
tensor *ag_matmul(tape *t, tensor *a, tensor *b, bool transpose_a, bool transpose_b);

/* ---- operations: shape ------------------------------------------------------------------------------ */
tensor *ag_reshape(tape *t, tensor *x, int ndim, const long *dim);     /* shares data and gradient; no node */
tensor *ag_detach(tape *t, tensor *x);  /* shares data; a constant: no gradient passes */
tensor *ag_concat(tape *t, int n, tensor *const *parts, int axis);
tensor *ag_slice(tape *t, tensor *x, int axis, long from, long count);
tensor *ag_gather(tape *t, tensor *x, const int *rows, long n);        /* x (R,...): y[i] = x[rows[i]] */
tensor *ag_repeat(tape *t, tensor *x, long n);                         /* (1,...) -> (n,...) */

/* ---- ranks: one program on several parts of a batch ------------------------------------------------------
 * A backend (train/ranks.h) fills in how they talk. All ranks make the same calls with the same sizes in the
 * same order. False: another rank has failed, no call after it works. NULL in place of ag_ranks: alone. */
typedef struct ag_ranks ag_ranks;
struct ag_ranks {
    int rank, world;                   /* this one, from 0; how many */
    void *link;                        /* the backend's */
    /* all (world,bytes): what each rank gave in own (bytes), in order of ranks */
    bool (*all_gather)(const ag_ranks *r, const void *own, long bytes, void *all);
    /* own (n): the sum over ranks of what their all (world,n) holds for this rank */
    bool (*reduce_scatter)(const ag_ranks *r, const real *all, long n, real *own);
    bool (*all_reduce)(const ag_ranks *r, real *x, long n); /* x: the sum over ranks, the same bits on all */
};
static inline int ag_rank(const ag_ranks *r) { return r ? r->rank : 0; }
static inline int ag_world(const ag_ranks *r) { return r ? r->world : 1; }
/* x (B,...) of each rank -> (world B,...). The gradient of x is the sum of what all ranks make of it. */
tensor *ag_all_gather(tape *t, const ag_ranks *ranks, tensor *x);

/* ---- operations: layers ----------------------------------------------------------------------------- */
typedef enum { AG_NONE, AG_GELU, AG_GELU_TANH, AG_QUICK_GELU, AG_RELU } ag_act;
tensor *ag_activation(tape *t, tensor *x, ag_act act);
/* act(x W' + b); W (N,K), b (N) or NULL */
tensor *ag_linear(tape *t, tensor *x, tensor *weight, tensor *bias, ag_act act);
/* table (V,D), ids dim -> dim + (D) */
tensor *ag_embedding(tape *t, tensor *table, const int *ids, int ndim, const long *dim);
tensor *ag_layer_norm(tape *t, tensor *x, tensor *gamma, tensor *beta, double eps);
tensor *ag_rms_norm(tape *t, tensor *x, tensor *gamma, double eps);     /* x / sqrt(<x^2> + eps) * gamma */
tensor *ag_softmax(tape *t, tensor *x);                                /* over the last axis */
tensor *ag_log_softmax(tape *t, tensor *x);
tensor *ag_l2_normalize(tape *t, tensor *x, double eps);  /* x / max(|x|, eps) over the last axis */
tensor *ag_patch_embed(tape *t, tensor *pictures, tensor *weight, tensor *bias, long patch);
                     /* (B,3,S,S), W (D,3,p,p), b (D) or NULL -> (B,(S/p)^2,D), patches in row-major order */

typedef struct ag_drop { double p; uint32_t site; } ag_drop;  /* site: one number a place in the model */
tensor *ag_dropout(tape *t, tensor *x, ag_drop drop);                  /* axis 0 of x is the batch */

/* may[b][i][j] 1: row i may look at j; B and Tq may be 1: the same for all */
typedef struct ag_mask { long B, Tq, Tk; unsigned char *may; } ag_mask;
ag_mask *ag_mask_new(tape *t, long B, long Tq, long Tk);               /* all ones */
/* (rows,capacity,width); positions 0..length-1 are filled */
typedef struct ag_cache { real *k, *v; long rows, capacity, width, length; } ag_cache;
ag_cache ag_cache_new(tape *t, long rows, long capacity, long width);
/* row r becomes what row source[r] was, at positions from .. length-1; rows at most what the cache was made
   with */
void ag_cache_pick(tape *t, ag_cache *c, long rows, const int *source, long from);
typedef struct ag_attn {
    int heads;
    double scale;                      /* 0: 1/sqrt(D/heads) */
    const ag_mask *mask;               /* over past and new keys together; NULL: all */
    bool causal;                       /* query i sees keys up to i + (Tk - Tq); with mask: both must allow */
    tensor *bias;                      /* (H,Tq,Tk) added to the scores, or NULL */
    tensor *past_k, *past_v;           /* (B',Tp,D) in front of k, v, with gradient, or NULL */
    ag_cache *cache;                   /* k, v are written behind its length and all of it is attended to; the
                                          caller adds Tk to length after the layer. Only without recording */
    const int *memory_row;             /* (B) which row of k, v, past_k, past_v batch row b reads; NULL: b */
    tensor **probs;  /* where to put the probabilities (B,H,Tq,Tk) before dropout; no gradient */
    ag_drop drop;                      /* of the probabilities */
} ag_attn;
/* softmax(scale q k' + bias + mask) v: q (B,Tq,D), k and v (B',Tk,D) -> (B,Tq,D). Vaswani et al. 2017, eq. 1.
 * A masked key has probability exactly 0; a row that may look at nothing gives zeros. */
tensor *ag_attention(tape *t, tensor *q, tensor *k, tensor *v, const ag_attn *options);
/* a bias for it: table (V,H), buckets (Tq,Tk) -> (H,Tq,Tk) */
tensor *ag_relative_bias(tape *t, tensor *table, const int *buckets, long Tq, long Tk);

/* ---- operations: losses ----------------------------------------------------------------------------- */
typedef struct ag_ce {
    const int *ids;                    /* (R) the right class of each row; or: */
    const real *soft;                  /* (R,V) target distribution, used as it is; read again by backward */
    int ignore;                        /* rows with this id do not count (with ids); 0: all rows count */
    double smoothing;                  /* target = (1-s) onehot + s/V (with ids) */
    const real *weight;                /* (R) weight of each row, or NULL; the mean divides by their sum */
    bool per_row;  /* result (R), times weight, instead of the mean; ignored rows give 0 */
    long chunk;                        /* linear_cross_entropy: rows at a time; 0: what fits in 8 M logits */
} ag_ce;
tensor *ag_cross_entropy(tape *t, tensor *logits, const ag_ce *options);  /* logits (...,V) -> () or (R) */
/* The same of x W' + b without ever holding all logits: x (...,D), W (V,D), b (V) or NULL; ids only. */
tensor *ag_linear_cross_entropy(tape *t, tensor *x, tensor *weight, tensor *bias, const ag_ce *options);

/* ---- for those who write operations ----------------------------------------------------------------- */
typedef struct ag_op {
    const char *name;
    void (*backward)(const ag_node *n);
    tensor *(*example)(ag_probe *p, int variant);  /* builds a small case: the checkers run every variant */
    int variants;
    bool collective;                   /* other ranks wait for it: backward even where no gradient came */
} ag_op;
struct ag_node {
    const ag_op *op;
    tape *tape;
    const char *part;                  /* see ag_part */
    void *saved;
    tensor *out, **outs, **in;         /* out is outs[0]; entries of in may be NULL */
    int nout, nin;
};
/* Calls a kernel; not if the tape only measures. */
#define AG_CALL(t, kernel) for (bool call_ = ((void)(t), !ag_spent(0)); call_; call_ = false) kernel##_cpu
#define AG_RECORD(t, op, y, saved, ...)                                                                      \
    ag_record((t), (op), (y), (saved), (int)(sizeof(tensor *[]){ __VA_ARGS__ } / sizeof(tensor *)),          \
              (tensor *[]){ __VA_ARGS__ })
/* returns y */
tensor *ag_record(tape *t, const ag_op *op, tensor *y, void *saved, int nin, tensor *const *in);
real *ag_grad(tensor *x);                          /* add to it; zeroed if fresh; NULL: not wanted */
void ag_clear_grad(tensor *x);                     /* of a leaf or kept tensor, between two backwards */
real *ag_grad_beta(tensor *x, real *beta);  /* beta 0: overwrite all of it, 1: add to it; NULL: not wanted */
bool ag_wants(const tape *t, int nin, tensor *const *in);  /* would a node with these inputs be recorded? */
/* true: the tape in use only measures; so many more operations are in its sum, and nothing is to be computed.
 * Asked by AG_CALL and ag_gemm, and by whoever computes beside them. */
bool ag_spent(double flops);

const ag_op *const *ag_ops(int *count);            /* every op of ops.def */

/* Matrix products, row-major: C (M,N) = alpha op(A) op(B) + beta C. Same bits for any number of threads. */
void ag_gemm(bool ta, bool tb, long M, long N, long K, double alpha, const real *A, long lda,
             const real *B, long ldb, double beta, real *C, long ldc);
void ag_gemm_one(bool ta, bool tb, long M, long N, long K, double alpha, const real *A, long lda,
                 const real *B, long ldb, double beta, real *C, long ldc);     /* inside a parallel region */
void ag_threads(int n);                            /* for loops begun by this thread; 0: all cores */
int ag_threads_now(void);
const char *ag_blas(void);  /* "OpenBLAS 0.3.21 SkylakeX (openmp)" and what is wrong with it */

/* Vector functions, n elements, y may be x. f32: within 2 ulp of libm; f64: libm. */
void ag_vexp(long n, const real *x, real *y);
void ag_verf(long n, const real *x, real *y);
void ag_vtanh(long n, const real *x, real *y);

/* Random numbers by counter (Philox 4x32-10, Salmon et al. 2011): the same for any order and thread count. */
void ag_philox(uint64_t key, const uint32_t counter[4], uint32_t out[4]);
double ag_uniform(uint64_t key, uint64_t index);   /* [0,1) */
double ag_normal(uint64_t key, uint64_t index);    /* Box-Muller */
uint64_t ag_mix(uint64_t a, uint64_t b);           /* a key from two */

/* ---- gradient checks -----------------------------------------------------------------------------------
 * An example takes its inputs from the probe. Kept 20 h away from ties and kinks where the op has them. */
tape *ag_probe_tape(ag_probe *p);
tensor *ag_input(ag_probe *p, const char *name, int ndim, const long *dim);            /* normal(0,1) */
/* all values differ by gap and stay gap away from 0 */
tensor *ag_input_apart(ag_probe *p, const char *name, int ndim, const long *dim, double gap);
tensor *ag_input_positive(ag_probe *p, const char *name, int ndim, const long *dim);   /* in [0.5,2] */
long ag_pick(ag_probe *p, long n);                 /* a random number below n */
const int *ag_pick_ids(ag_probe *p, long count, long n);
tensor *ag_pick_frozen(ag_probe *p, ag_dtype type, int ndim, const long *dim); /* a weight in low precision */
ag_mask *ag_pick_mask(ag_probe *p, long B, long Tq, long Tk);         /* mixed, one row all off, one all on */

typedef struct ag_check {
    const char *what;                  /* op, module or loss */
    int variants;
    double worst, tolerance;  /* largest |analytic - numeric| / max |analytic| over tensors and variants */
    char where[128];                   /* variant and tensor of the worst */
    bool ok;
    char trouble[256];                 /* a failed property, empty if none */
} ag_check;
ag_check ag_gradcheck_op(const ag_op *op, uint64_t seed);
/* Hears of every comparison that a check makes: of element `index` of a tensor, or, index < 0, along a random
 * direction; share: of what the bound is a multiple of. */
typedef struct ag_compared {
    int variant;
    const char *tensor;
    long index;
    double analytic, numeric, share;
} ag_compared;
typedef void (*ag_listener)(void *context, const ag_compared *row);
ag_check ag_gradcheck_op_told(const ag_op *op, uint64_t seed, ag_listener tell, void *context);

/* The result of one variant and the gradients of its inputs, in that order. Inputs and cotangent are
 * floats in both builds, so that the builds can be compared. */
enum { AG_SAMPLE_MOST = 9 };
typedef struct ag_sample {
    int count;
    long size[AG_SAMPLE_MOST], longest, inputs; /* longest row or column, and all elements, of the inputs */
    double *values[AG_SAMPLE_MOST];
} ag_sample;
bool ag_probe_sample(const ag_op *op, int variant, uint64_t seed, ag_sample *s);       /* false: no memory */
void ag_sample_free(ag_sample *s);
#pragma GCC visibility pop
#endif
