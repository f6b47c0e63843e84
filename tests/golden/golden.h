/* golden.h - the runner of reference values: one handler a kind of case, driven by what is in the file.
 *
 * A handler builds the model that `config` describes, loads weights/, runs inputs/, and compares every
 * dataset under out/. What it did not compare the runner names, and the case fails. A handler that cannot run
 * a case for want of a feature calls golden_skip. */
#ifndef GOLDEN_H
#define GOLDEN_H
#include "blip2/blip2.h"
#include <jansson.h>

typedef struct golden golden;
typedef void (*golden_handler)(golden *g, tape *t);

const char *golden_file(const golden *g);                      /* the case's file, or folder */
const char *golden_group(const golden *g);  /* the group of the file that is the case; "" for all of it */
json_t *golden_config(const golden *g);                        /* root attribute `config` */
long golden_int(const golden *g, const char *key, long otherwise);  /* of config; "llm.dim" reaches inside */
double golden_real(const golden *g, const char *key, double otherwise);
const char *golden_text(const golden *g, const char *key, const char *otherwise);

bool golden_has(const golden *g, const char *name);            /* a dataset, or a group */
/* number of axes; fails the case if it is not there */
int golden_dims(golden *g, const char *name, long dim[8]);
tensor *golden_tensor(golden *g, tape *t, const char *name);   /* a constant: "inputs/cot" */
tensor *golden_leaf(golden *g, tape *t, const char *name);     /* wants its gradient */
real *golden_reals(golden *g, tape *t, const char *name, long *n);     /* any rank */
int *golden_ints(golden *g, tape *t, const char *name, long *n);
/* every parameter from weights/<prefix><name>: all must be there */
void golden_load(golden *g, nn_store *s, const char *prefix);

/* Comparing marks the dataset as seen. Reals at the case's bound (design: f64 1e-9, f32 from f32_rel). */
void golden_compare(golden *g, const char *name, const tensor *ours);
void golden_compare_reals(golden *g, const char *name, const real *ours, long n);
void golden_compare_ints(golden *g, const char *name, const int *ours, long n);
/* ours (B,T,H*d), theirs (B,H,T,d) */
void golden_compare_heads(golden *g, const char *name, const tensor *ours, long heads);
/* Every gradient under `name` (state-dict names); a parameter without a dataset there must have none, a
 * dataset without a parameter fails. selected: only datasets that are there are compared, none else is looked
 * at. */
void golden_compare_grads(golden *g, const char *name, nn_store *s, const char *prefix, bool selected);
/* A blip2_take: what the case has under that name is compared, once; gradients of all parameters are left to
 * golden_compare_grads. */
void golden_take(void *context, const char *name, h5_type type, int ndim, const long *dim, const void *data);
/* values; *.key.bias left out */
void golden_compare_params(golden *g, const char *name, nn_store *s, const char *prefix);
/* One comparison that the handler made itself; golden_seen marks the dataset, if it is one. */
void golden_seen(golden *g, const char *name);
void golden_result(golden *g, const char *name, long values, double off, double tolerance);
void golden_skip(golden *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
void golden_fail(golden *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* models.c: what the handlers of golden/lavis share. */
/* A task of blip2_trace on the case's inputs, and all that it gives compared. */
void golden_trace(golden *g, tape *t, const blip2_model *m, blip2_task task, bool grad);
blip2_qformer_config golden_qformer_config(const golden *g);
blip2_vit_config golden_tower(golden *g);
const long *golden_image_ids(golden *g, tape *t);              /* NULL where the case has none */
blip2_config golden_stage1_config(const golden *g);            /* no vision tower: features are given */
nn_store *golden_store(golden *g, nn_store *s);  /* builds, with gradients, and loads weights/ */
blip2_text golden_bert_text(golden *g, tape *t, const blip2_config *c, const char *name, long width);
tensor *golden_leaf_heads(golden *g, tape *t, const char *name);       /* (B,H,T,d) -> a leaf (B,T,Hd) */
void golden_compare_mask(golden *g, tape *t, const char *name, const unsigned char *mask, long n);
void golden_compare_grad(golden *g, tape *t, const char *name, tensor *x);
void golden_compare_grad_heads(golden *g, tape *t, const char *name, tensor *x, long heads);

/* opt.c: what cases with OPT share. A text is </s>, ids, and if asked a newline, padded to the longest. */
blip2_config golden_opt_config(const golden *g);
/* ids written as words, the same for all */
blip2_text golden_opt_prompt(tape *t, const char *words, long B);
blip2_text golden_opt_text(golden *g, tape *t, const char *name, bool newline, long most, bool pad_left);

/* t5.c: what cases with T5 share. A text is ids and </s>, padded to the longest. */
blip2_config golden_t5_config(const golden *g);
blip2_text golden_t5_prompt(tape *t, const char *words, long B);
blip2_text golden_t5_text(golden *g, tape *t, const char *name, long most);

/* The kinds (root attribute `kind`), each in its own file tests/golden/KIND.c. */
#define GOLDEN_KINDS(X) X(bert_layer) X(qformer) X(stage1) X(stage1_infer) X(opt) X(vit) X(posembed) X(gen) \
    X(optim) X(lr) X(t5) X(t5_instruct) X(dist2)
/* And the cases of other folders: hf/NAME, tokenizers/NAME.jsonl, a group of images.h5, metrics/NAME.json,
 * formats/NAME. */
#define GOLDEN_OTHERS(X) X(hf) X(tokenizer) X(image) X(metric) X(format)
#define GOLDEN_DECLARE(kind) void golden_##kind(golden *g, tape *t) __attribute__((weak));
GOLDEN_KINDS(GOLDEN_DECLARE)
GOLDEN_OTHERS(GOLDEN_DECLARE)

/* main.c runs a case: handler NULL is a kind that does not exist here. Prints its line; counts[0] passed, [1]
 * failed, [2] skipped. */
void golden_run(const char *shown, const char *path, const char *group, const char *outputs,
                golden_handler handler, long counts[3]);
/* by the root attribute `kind`; e->text empty: not built here */
golden_handler golden_handler_of(const char *path, error *e);
#endif
