/* convert.h - published checkpoints into one model file and back. */
#ifndef CONVERT_CONVERT_H
#define CONVERT_CONVERT_H
#include "blip2/blip2.h"
#pragma GCC visibility push(default)

typedef struct convert_watch {         /* functions may be NULL */
    void *context;
    void (*note)(void *context, const char *text);
    void (*progress)(void *context, long done, long of);       /* parameters */
} convert_watch;
/* What the frozen towers' matrices are kept in: as each source has it, or one type for all. */
typedef enum { CONVERT_AS_IS, CONVERT_F32, CONVERT_F16, CONVERT_BF16, CONVERT_INT8 } convert_dtype;
/* sources (n): a Hugging Face folder (config.json, weights as safetensors, shards or .bin, tokenizer files);
 * or a LAVIS .pth and, if what it lacks is wanted, the vision tower's .pth and the language model's folder.
 * All that is missing, misshapen or unexpected is reported together, before anything is written. */
bool convert_run_as(const char *const *sources, int n, const char *out, convert_dtype dtype,
                    const convert_watch *watch, error *e);
bool convert_run(const char *const *sources, int n, const char *out, const convert_watch *watch, error *e);
/* Back: model.safetensors under Hugging Face's names (hf) or LAVIS's, config.json, the tokenizers' files,
 * into a folder. image_token: the id of <image>, -1: none. left_out: parameters that Hugging Face's model
 * does not have. */
bool convert_export(const char *model, const char *folder, bool hf, long image_token, long *left_out,
                    error *e);
#pragma GCC visibility pop
#endif
