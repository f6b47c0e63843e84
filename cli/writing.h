/* writing.h - how a text is written: the options that `caption` and `answer` share. */
#ifndef CLI_WRITING_H
#define CLI_WRITING_H
#include "cli/model.h"
#include "eval/eval.h"

enum { CLI_WRITING_OPTIONS = 14 };
typedef struct cli_writing {           /* -1 and NAN: as the reference does it */
    long beams, max_new_tokens, min_length, min_new_tokens, returns, ngram;
    double length_penalty, repetition_penalty;
    const char *prompt, *sample, *until, *reference;
    cli_use use;
    bool timed;                        /* says how long reading the model, the picture and each token took */
} cli_writing;
cli_writing cli_writing_default(void);
void cli_writing_options(cli_writing *w, cli_option to[CLI_WRITING_OPTIONS]);
/* The rules for a model; false: an option that cannot be, e says which. seed: of sampling. */
bool cli_writing_rules(const cli_writing *w, const blip2_config *c, bool answers, long seed,
                       blip2_generate *o, error *e);
#endif
