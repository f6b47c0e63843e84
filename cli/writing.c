/* writing.c - from options to rules of generation (writing.h). LAVIS writes captions with 5 beams and a
 * longest length of 30, which counts the start except with T5, answers with 10 new tokens and lengths that
 * count nothing (OPT) or for short ones (T5); Hugging Face's generate() takes the likeliest of 20 new ones,
 * unless told otherwise.                                                                                   */
#include "cli/writing.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cli_writing cli_writing_default(void)
{
    return (cli_writing){ .beams = -1,
                          .max_new_tokens = -1,
                          .min_length = -1,
                          .min_new_tokens = -1,
                          .returns = 1,
                          .ngram = 0,
                          .length_penalty = NAN,
                          .repetition_penalty = 1,
                          .reference = "lavis",
                          .until = "best" };
}

void cli_writing_options(cli_writing *w, cli_option to[CLI_WRITING_OPTIONS])
{
    const cli_option all[CLI_WRITING_OPTIONS] = {
        { "prompt", "S", CLI_TEXT, &w->prompt, 0, 0, "what the text goes on from (default: of the model)" },
        { "reference", "lavis|hf", CLI_TEXT, &w->reference, 0, 0,
          "whose rules and defaults: LAVIS's (the default) or Hugging Face's; docs/generation.md" },
        { "beams", "N", CLI_INT, &w->beams, 1, 64, "beams; 1: greedy (default: 5 for lavis, 1 for hf)" },
        { "max-new-tokens", "N", CLI_INT, &w->max_new_tokens, 1, 4096,
          "longest text (default: 29, T5 30, answers 10; hf 20)" },
        { "min-length", "N", CLI_INT, &w->min_length, 0, 4096,
          "shortest text; counts as the reference counts" },
        { "min-new-tokens", "N", CLI_INT, &w->min_new_tokens, 0, 4096, "no end before so many new tokens" },
        { "length-penalty", "X", CLI_REAL, &w->length_penalty, -10, 10,
          "beams: a sum is divided by length^X (default: 1; lavis answers 0 with OPT, -1 with T5)" },
        { "repetition-penalty", "X", CLI_REAL, &w->repetition_penalty, 0.01, 10,
          "above 1: what was said is less likely" },
        { "no-repeat-ngram", "N", CLI_INT, &w->ngram, 0, 64, "no N tokens stand twice; 0: they may" },
        { "early-stopping", "best|full|never", CLI_TEXT, &w->until, 0, 0,
          "hf beams: search until nothing better is likely, until there are enough, or until it is certain" },
        { "sample", "KEY=X,...", CLI_TEXT, &w->sample, 0, 0,
          "draw instead: temperature=X, top_k=N, top_p=X; --seed makes it repeatable" },
        { "returns", "N", CLI_INT, &w->returns, 1, 64,
          "so many texts a picture, the best first; drawn ones as they were drawn" },
        CLI_COMPUTE_OPTION(w->use),
        { "times", NULL, CLI_FLAG, &w->timed, 0, 0,
          "say how long reading the model, the picture and each token took" },
    };
    memcpy(to, all, sizeof all);
}

/* "top_p=0.9,temperature=0.7" */
static bool read_sample(const char *text, blip2_generate *o, error *e)
{
    o->sample = true;
    while (*text) {
        char key[32];
        double value;
        int used = 0;
        if (sscanf(text, "%31[a-z_]=%lf%n", key, &value, &used) != 2 || (text[used] && text[used] != ',')
            || !isfinite(value))
            return error_usage(e, "--sample: expected temperature=X, top_k=N, top_p=X, found \"%s\"",
                               QUOTE(text));
        if (!strcmp(key, "temperature") && value > 0)
            o->temperature = value;
        else if (!strcmp(key, "top_p") && value > 0 && value <= 1)
            o->top_p = value;
        else if (!strcmp(key, "top_k") && value >= 1 && value < 1e9 && value == floor(value))
            o->top_k = (int)value;
        else
            return error_usage(
                e,
                "--sample: %s: expected temperature above 0, top_k a whole number from 1 up, top_p "
                "above 0 and up to 1; found %g",
                QUOTE(key), value);
        text += used + (text[used] == ',');
    }
    return true;
}

static bool choose(const char *option, const char *text, const char *const *names, int n, int *to, error *e)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(text, names[i])) {
            *to = i;
            return true;
        }
    const char *like = nearest(text, names, n);
    return error_usage(e, "%s: unknown \"%s\"%s%s", option, QUOTE(text),
                       like ? ", did you mean "
                            : "; `blip2 help` "
                              "lists what there is",
                       like ? like : "");
}

bool cli_writing_rules(const cli_writing *w, const blip2_config *c, bool answers, long seed,
                       blip2_generate *o, error *e)
{
    static const char *const references[] = { "lavis", "hf" }, *const untils[] = { "best", "full", "never" };
    int reference = 0, until = 0;
    if (!choose("--reference", w->reference, references, 2, &reference, e)
        || !choose("--early-stopping", w->until, untils, 3, &until, e))
        return false;
    bool hf = reference == 1;
    double penalty = hf || !answers ? 1 : c->llm == BLIP2_LLM_T5 ? -1 : 0;
    *o = (blip2_generate){ .reference = hf ? BLIP2_HF : BLIP2_LAVIS,
                           .until = (blip2_until)until,
                           .beams = (int)(w->beams > 0      ? w->beams
                                          : hf || w->sample ? 1
                                                            : 5),
                           .returns = (int)w->returns,
                           .max_new_tokens = (int)(w->max_new_tokens > 0      ? w->max_new_tokens
                                                   : hf                       ? 20
                                                   : answers                  ? 10
                                                   : c->llm == BLIP2_LLM_T5   ? 30
                                                                              : 29),
                           .min_length = (int)(w->min_length >= 0 ? w->min_length
                                               : hf               ? 0
                                                                  : 1),
                           .min_new_tokens = (int)(w->min_new_tokens > 0 ? w->min_new_tokens : 0),
                           .no_repeat_ngram = (int)w->ngram,
                           .length_penalty = isnan(w->length_penalty) ? penalty : w->length_penalty,
                           .repetition_penalty = w->repetition_penalty,
                           .seed = (uint64_t)seed };
    if (w->sample && !read_sample(w->sample, o, e))
        return false;
    if (answers && w->prompt && strlen(w->prompt) >= sizeof c->question_prompt)
        return error_usage(e, "--prompt: expected at most %zu bytes, found %zu",
                           sizeof c->question_prompt - 1, strlen(w->prompt));
    if (o->min_new_tokens > o->max_new_tokens)
        return error_usage(e, "--min-new-tokens: expected at most --max-new-tokens (%d), found %d",
                           o->max_new_tokens, o->min_new_tokens);
    if (!hf && o->min_length > o->max_new_tokens + 1)      /* the start counts; hf counts the prompt, too */
        return error_usage(e, "--min-length: expected at most --max-new-tokens (%d) and the start, found %d",
                           o->max_new_tokens, o->min_length);
    if (until && !hf)
        return error_usage(e, "--early-stopping: LAVIS has one rule; expected --reference hf beside it");
    if (o->sample && o->beams > 1)
        return error_usage(e, "--sample: expected without beams, found --beams %d", o->beams);
    if (o->returns > o->beams && !o->sample)
        return error_usage(
            e,
            "--returns: expected at most as many as beams (%d), found %d; more can be drawn with "
            "--sample",
            o->beams, o->returns);
    return true;
}
