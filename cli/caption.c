/* caption.c - `blip2 caption` and `blip2 answer`: what a model says about pictures. */
#include "cli/commands.h"
#include "eval/eval.h"
#include <stdio.h>
#include <string.h>

typedef struct asking {
    long beams, max_new_tokens, min_length;
    double length_penalty, repetition_penalty;
    const char *prompt;
} asking;

static blip2_generate rules(const asking *a)
{
    /* lengths count the start token that is never fed, see docs/generation.md */
    return (blip2_generate){ .beams = (int)a->beams, .max_length = (int)a->max_new_tokens + 1, .min_length = (int)a->min_length,
                             .returns = 1, .length_penalty = a->length_penalty, .repetition_penalty = a->repetition_penalty };
}

static void print_ids(const eval_text *t)
{
    printf("\"ids\":[");
    for (long i = 0; i < t->length; i++)
        printf(i ? ",%d" : "%d", t->ids[i]);
    printf("],\"score\":%.9g}\n", t->score);
}

static bool open_model(eval_session *s, const char *path, error *e)
{
    if (!eval_open(s, path, e))
        return false;
    if (!s->sealed)
        cli_warn("%s: has no digests, damage would not be seen", QUOTE(path));
    if (eval_can_caption(s, path, e))
        return true;
    eval_close(s);
    return false;
}

static bool picture_features(eval_session *s, const char *path, real **to, error *e)
{
    long n = eval_tokens(&s->model.config) * s->model.config.vision.width;
    *to = mem_new((size_t)n * sizeof **to);
    if (*to && eval_features(s, &path, 1, *to, e))
        return true;
    mem_free(*to);
    return *to || error_set(e, "out of memory");
}

static int caption_run(int argc, char **argv)
{
    asking a = { 5, 30, 1, 1, 1, NULL };
    cli_common common = { 0 };
    cli_option options[] = {
        { "prompt", "S", CLI_TEXT, &a.prompt, 0, 0, "what the caption goes on from (default: the model's own)" },
        { "beams", "N", CLI_INT, &a.beams, 1, 64, "beams; 1: greedy" },
        { "max-new-tokens", "N", CLI_INT, &a.max_new_tokens, 1, 4096, "longest text" },
        { "min-length", "N", CLI_INT, &a.min_length, 0, 4096, "shortest text" },
        { "length-penalty", "X", CLI_REAL, &a.length_penalty, -10, 10, "scores are divided by length to this power" },
        { "repetition-penalty", "X", CLI_REAL, &a.repetition_penalty, 0.01, 10, "above 1: what was said is less likely" },
    };
    int code, failed = 0;
    if (!cli_parse(&argc, argv, options, 6, &common, &code))
        return code;
    if (argc < 3)
        return cli_usage("caption", "a model and a picture are needed: caption MODEL.h5 IMG...");
    eval_session s;
    error e;
    if (!open_model(&s, argv[1], &e))
        return cli_fail(&e);
    blip2_generate o = rules(&a);
    for (int i = 2; i < argc; i++) {
        real *features;
        eval_text text;
        if (!picture_features(&s, argv[i], &features, &e)) {
            failed = cli_fail(&e);                         /* the other pictures still get their captions */
            continue;
        }
        eval_write(&s, features, 1, (const char *[]){ a.prompt ? a.prompt : s.model.config.prompt }, NULL, &o, &text);
        mem_free(features);
        if (common.json) {
            printf("{\"image\":");
            cli_json_text(argv[i]);
            printf(",\"caption\":");
            cli_json_text(text.text);
            putchar(',');
            print_ids(&text);
        } else
            printf(argc > 3 ? "%s: %s\n" : "%.0s%s\n", argv[i], text.text);
        fflush(stdout);
        eval_text_free(&text, 1);
    }
    eval_close(&s);
    return failed;
}

static int answer_run(int argc, char **argv)
{
    asking a = { 5, 10, 1, 0, 1, NULL };                   /* LAVIS's predict_answers */
    cli_common common = { 0 };
    cli_option options[] = {
        { "beams", "N", CLI_INT, &a.beams, 1, 64, "beams; 1: greedy" },
        { "max-new-tokens", "N", CLI_INT, &a.max_new_tokens, 1, 4096, "longest answer" },
        { "length-penalty", "X", CLI_REAL, &a.length_penalty, -10, 10, "scores are divided by length to this power" },
    };
    int code;
    if (!cli_parse(&argc, argv, options, 3, &common, &code))
        return code;
    if (argc < 4)
        return cli_usage("answer", "a model, a picture and a question are needed: answer MODEL.h5 IMG \"QUESTION\"...");
    eval_session s;
    error e;
    real *features;
    if (!open_model(&s, argv[1], &e))
        return cli_fail(&e);
    if (!picture_features(&s, argv[2], &features, &e)) {
        eval_close(&s);
        return cli_fail(&e);
    }
    blip2_generate o = rules(&a);
    for (int i = 3; i < argc; i++) {
        eval_text text;
        char *prompt = blip2_question(&s.model.config, argv[i]);
        eval_write(&s, features, 1, (const char *[]){ prompt ? prompt : "" }, (const char *[]){ argv[i] }, &o, &text);
        mem_free(prompt);
        if (common.json) {
            printf("{\"image\":");
            cli_json_text(argv[2]);
            printf(",\"question\":");
            cli_json_text(argv[i]);
            printf(",\"answer\":");
            cli_json_text(text.text);
            putchar(',');
            print_ids(&text);
        } else
            printf(argc > 4 ? "%s  %s\n" : "%.0s%s\n", argv[i], text.text);
        fflush(stdout);
        eval_text_free(&text, 1);
    }
    mem_free(features);
    eval_close(&s);
    return 0;
}

const cli_command cli_caption = {
    "caption", "MODEL.h5 IMG...", "write a caption for each picture", caption_run,
    "With --json a line {\"image\",\"caption\",\"ids\",\"score\"} a picture. A picture that cannot be read is reported, the others\n"
    "get their captions, and the exit code is 1."
};
const cli_command cli_answer = {
    "answer", "MODEL.h5 IMG \"QUESTION\"...", "answer questions about a picture", answer_run,
    "Each question is put into the model's frame (question_prompt). With --json a line {\"image\",\"question\",\"answer\",\"ids\",\n"
    "\"score\"} a question."
};
