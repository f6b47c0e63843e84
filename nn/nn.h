/* nn.h - parameters by name, and the modules that hold them.
 *
 * A module is a struct of sub-modules and tensors, an _init that registers parameters in a store under the
 * names of the published checkpoints ("Qformer.bert.encoder.layer.0.attention.self.query.weight"), and a
 * _forward.                                                                                                */
#ifndef NN_H
#define NN_H
#include "autograd/autograd.h"
#pragma GCC visibility push(default)

/* ---- the store --------------------------------------------------------------------------------------------
 * Modules register first; nn_build then lays all trainable parameters out in one array each of values,
 * gradients and moments, in the order of registration, frozen ones in another array, and fills them. What
 * a parameter starts with depends on the store's seed and its own name alone.                              */
typedef enum { NN_CONSTANT, NN_NORMAL, NN_UNIFORM, NN_TRUNCATED, NN_GIVEN } nn_init_kind;
typedef struct nn_init {
    nn_init_kind kind;
    double a;                          /* the constant; std; bound; std (cut at |x| <= 2) */
    const real *given;                 /* NN_GIVEN: the values */
} nn_init;
#define NN_INIT_ZERO ((nn_init){ NN_CONSTANT, 0, NULL })
#define NN_INIT_ONE ((nn_init){ NN_CONSTANT, 1, NULL })
#define NN_INIT_NORMAL(std) ((nn_init){ NN_NORMAL, (std), NULL })
#define NN_INIT_UNIFORM(bound) ((nn_init){ NN_UNIFORM, (bound), NULL })

typedef struct nn_entry {
    const char *name;
    tensor *value;
    nn_init init; uint64_t key;        /* how it starts, and what its random numbers are keyed by */
    bool frozen;
    bool matrix; ag_dtype kept;        /* may be kept in low precision while frozen; and in which it is */
    double rate;                       /* the optimiser's factor of its learning rate: 1, unless set */
    real *m, *v;
    const char *alias_of;              /* a second name: whose value this is; else NULL */
    int source;                        /* nn_store.sources of the file it was read from; 0: as it started */
} nn_entry;
enum { NN_SOURCES = 40 };
typedef struct nn_watch {              /* bytes of a file that are read; progress NULL: nobody asks */
    void *context;
    void (*progress)(void *context, long done, long of);
} nn_watch;
typedef struct nn_store {
    uint64_t seed;
    nn_entry *entries; long count, room;
    real *values, *grads, *m, *v;      /* (trainable) each; m, v: AdamW's moments; NULL without training */
    real *frozen_values;
    char *low;                         /* numbers of matrices that are kept in low precision */
    bool blank; /* set before nn_build: all is read from a file next, so nothing is drawn */
    nn_watch watch;
    long trainable, frozen;            /* elements */
    bool laid_out;                     /* frozen counts what is kept in low precision too */
    bool built, out_of_memory;
    /* set before nn_build: it allocates no numbers, and data and gradients lie in one window of addresses
     * that nobody may touch; for a tape that measures */
    bool measures;
    long window;                       /* its bytes */
    char *sources[NN_SOURCES]; int source_count;           /* files that values came from, counted from 1 */
    tape *names;                       /* arena of tensors and names */
} nn_store;
enum { NN_NAME = 256 };
typedef struct nn_scope {
    nn_store *store;
    const char *without;               /* left out of names that starts are keyed by, or NULL: so that
                                          "output_query" starts as a copy of "output" */
    char prefix[200];
} nn_scope;

nn_store *nn_store_new(uint64_t seed);                                  /* NULL when memory is out */
void nn_store_free(nn_store *s);
nn_scope nn_root(nn_store *s);
nn_scope nn_sub(nn_scope s, const char *format, ...) __attribute__((format(printf, 2, 3)));  /* adds .name */
tensor *nn_parameter(nn_scope s, const char *name, nn_init init, int ndim, const long *dim);
/* a weight of linear, embedding or patch_embed, all of which take it in low precision too */
tensor *nn_matrix(nn_scope s, const char *name, nn_init init, int ndim, const long *dim);
void nn_alias(nn_scope s, const char *name, tensor *of);               /* a second name of a tied parameter */
long nn_freeze(nn_store *s, const char *prefix);   /* whole parts of names ("opt_model"), before nn_build; how
                                                      many parameters it met */
/* A number for entries whose values come from this file; loading from HDF5 sets it by itself. */
int nn_source(nn_store *s, const char *path);
/* Frozen matrices stay in low precision: those that the file holds so, or all, under prefix; their data
 * are then `frozen`. After nn_freeze, before nn_build; how many. */
long nn_keep(nn_store *s, h5 *f, const char *prefix);
long nn_keep_as(nn_store *s, const char *prefix, ag_dtype type);
bool nn_build(nn_store *s, bool training, error *e);       /* false: memory is out, says how much */
double nn_bytes(const nn_store *s, bool training); /* that nn_build allocates; counted there */
tensor *nn_find(const nn_store *s, const char *name);      /* NULL: not there; aliases are found too */
void nn_zero_grad(nn_store *s);                    /* all gradients fresh: the next contribution overwrites */
void nn_finish_grad(nn_store *s);                  /* what got no contribution is zero; then read grads */

/* ---- the store on disk (base.h, h5) -----------------------------------------------------------------------
 * A parameter is the dataset of its name with '.' turned into '/'; a second name is a hard link. */
/* of whole parts: "layer.1" is none of "layer.10.w"; "*" stands for any one part: "layer.*.w" */
bool nn_has_prefix(const char *name, const char *prefix);
void nn_dataset(const char *name, char to[NN_NAME]);                   /* "a.b.weight" -> "a/b/weight" */
void nn_save(const nn_store *s, h5_out *f, const char *leave_out);     /* leave_out: a prefix, or NULL */
/* Every parameter of the store under `prefix` ("": all) from the file; all that are missing or misshapen
 * are reported together, with "" also datasets that the store does not know. `others`: groups that hold
 * something else. fit, if not NULL, may take a dataset of another shape (it returns false where it does
 * not; data NULL: would it?). A failed load may have read a part.                                          */
typedef bool (*nn_fit)(void *ctx, tensor *to, const h5_shape *from, const real *data);
bool nn_load(nn_store *s, h5 *f, const char *prefix, const char *const *others, nn_fit fit, void *ctx,
             error *e);
/* would it load? Before nn_build: no memory for a file that does not fit */
bool nn_match(const nn_store *s, h5 *f, const char *prefix, const char *const *others, error *e);
/* every parameter that both have, by name; at least one; fit may be NULL */
bool nn_load_common(nn_store *s, h5 *f, nn_fit fit, void *ctx, error *e);
/* a dataset of any precision as reals; int8 with its NAME.scale */
bool nn_read_reals(h5 *f, const char *name, int ndim, const long *dim, real *to, error *e);
void nn_write_low(h5_out *f, const char *name, ag_dtype type, int ndim, const long *dim, const void *data,
                  const float *scale);
bool nn_save_moments(const nn_store *s, h5_out *f);  /* optimizer/m/NAME, optimizer/v/NAME */
bool nn_load_moments(nn_store *s, h5 *f, error *e);

/* ---- modules: x is (...,K) ----------------------------------------------------------------------------- */
typedef struct nn_linear { tensor *weight, *bias; } nn_linear;         /* (N,K), (N) or NULL */
void nn_linear_init(nn_linear *l, nn_scope s, long outputs, long inputs, nn_init weight);      /* bias 0 */
void nn_linear_init_torch(nn_linear *l, nn_scope s, long outputs, long inputs);    /* both U(+-1/sqrt K) */
void nn_linear_init_plain(nn_linear *l, nn_scope s, long outputs, long inputs, nn_init weight); /* no bias */
tensor *nn_linear_forward(const nn_linear *l, tape *t, tensor *x);
tensor *nn_linear_act(const nn_linear *l, tape *t, tensor *x, ag_act act);

typedef struct nn_layer_norm { tensor *weight, *bias; double eps; } nn_layer_norm;
void nn_layer_norm_init(nn_layer_norm *n, nn_scope s, long width, double eps);
tensor *nn_layer_norm_forward(const nn_layer_norm *n, tape *t, tensor *x);

typedef struct nn_rms_norm { tensor *weight; double eps; } nn_rms_norm;
void nn_rms_norm_init(nn_rms_norm *n, nn_scope s, long width, double eps);
tensor *nn_rms_norm_forward(const nn_rms_norm *n, tape *t, tensor *x);

typedef struct nn_embedding { tensor *weight; } nn_embedding;          /* (V,D) */
void nn_embedding_init(nn_embedding *e, nn_scope s, long entries, long width, nn_init init);
tensor *nn_embedding_forward(const nn_embedding *e, tape *t, const int *ids, int ndim, const long *dim);

/* Multi-head attention: x (B,Tq,D) looks at memory (B',Tk,E); self-attention is memory = x. Names of the
 * four projections differ between families and are given by the caller. Vaswani et al. 2017, section 3.2.  */
typedef struct nn_attention { nn_linear query, key, value, out; int heads; } nn_attention;
typedef struct nn_names { const char *query, *key, *value, *out; } nn_names;
void nn_attention_init(nn_attention *a, nn_scope s, const nn_names *names, long width, long memory_width,
                       int heads, nn_init weight, nn_init out_weight);
typedef struct nn_kv { tensor *k, *v; } nn_kv;     /* projected memory (B',Tk,D): made once, read often */
nn_kv nn_attention_memory(const nn_attention *a, tape *t, tensor *memory);
tensor *nn_attention_forward(const nn_attention *a, tape *t, tensor *x, nn_kv memory, ag_attn options);
                                                   /* options.heads is set here */

/* ---- gradient check of anything built on a store: one random direction a parameter, four points, f64 --- */
typedef struct nn_check {
    double worst, tolerance;           /* largest |slope - gradient| in units of |gradient| */
    char where[200];                   /* the parameter of the worst */
    long idle;                         /* parameters that the result does not depend on */
    bool ok;
} nn_check;
nn_check nn_gradcheck(nn_store *s, tape *t, tensor *(*build)(tape *t, void *ctx), void *ctx, double tolerance,
                      uint64_t seed);
/* the same, and every comparison is told (`variant` is left 0) */
nn_check nn_gradcheck_told(nn_store *s, tape *t, tensor *(*build)(tape *t, void *ctx), void *ctx,
                           double tolerance, uint64_t seed, ag_listener tell, void *telling);
#pragma GCC visibility pop
#endif
