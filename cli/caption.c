/* caption.c - `blip2 caption` and `blip2 answer`: what a model says about pictures. */
#include "cli/commands.h"
#include "cli/model.h"
#include <math.h>
#include <stdio.h>

typedef struct asking {
    long beams, max_new_tokens, min_length;
    double length_penalty, repetition_penalty;
    const char *prompt;
} asking;

static blip2_generate rules(const asking *a)
{
    /* lengths count the start token that is never fed, see docs/generation.md */
    return (blip2_generate){ .beams = (int)a->beams, .max_length = (int)a->max_new_tokens + 1,
                             .min_length = (int)a->min_length, .returns = 1,
                             .length_penalty = a->length_penalty,
                             .repetition_penalty = a->repetition_penalty };
}

static void print_text(const char *image, const char *question, const eval_text *t, bool json, bool named)
{
    if (json) {
        printf("{\"image\":");
        cli_json_text(image);
        if (question) {
            printf(",\"question\":");
            cli_json_text(question);
        }
        printf(question ? ",\"answer\":" : ",\"caption\":");
        cli_json_text(t->text);
        printf(",\"ids\":[");
        for (long i = 0; i < t->length; i++)
            printf(i ? ",%d" : "%d", t->ids[i]);
        printf("],\"score\":%.9g}\n", t->score);
    } else if (named)
        printf(question ? "%s  %s\n" : "%s: %s\n", question ? question : image, t->text);
    else
        puts(t->text);
    fflush(stdout);
}

static int caption_run(int argc, char **argv)
{
    asking a = { 5, 30, 1, 1, 1, NULL };
    cli_common common = { 0 };
    cli_option options[] = {
        { "prompt", "S", CLI_TEXT, &a.prompt, 0, 0, "what the caption goes on from (default: of the model)" },
        { "beams", "N", CLI_INT, &a.beams, 1, 64, "beams; 1: greedy" },
        { "max-new-tokens", "N", CLI_INT, &a.max_new_tokens, 1, 4096, "longest text" },
        { "min-length", "N", CLI_INT, &a.min_length, 0, 4096, "shortest text" },
        { "length-penalty", "X", CLI_REAL, &a.length_penalty, -10, 10,
          "scores are divided by length to this power" },
        { "repetition-penalty", "X", CLI_REAL, &a.repetition_penalty, 0.01, 10,
          "above 1: what was said is less likely" },
    };
    int code, failed = 0;
    if (!cli_parse(&argc, argv, options, 6, &common, &code))
        return code;
    if (argc < 3)
        return cli_usage("caption", "a model and a picture are needed: caption MODEL.h5 IMG...");
    eval_session s;
    error e;
    if (!cli_open_model(&s, argv[1], eval_can_caption, &e))
        return cli_fail(&e);
    blip2_generate o = rules(&a);
    const char *prompt = a.prompt ? a.prompt : s.model.config.prompt;
    for (int i = 2; i < argc; i++) {
        eval_text text;
        real *features = cli_features(&s, argv[i], &e);
        if (!features) {
            failed = cli_fail(&e);                         /* the other pictures still get their captions */
            continue;
        }
        if (eval_write(&s, features, 1, &prompt, NULL, &o, &text, &e)) {
            print_text(argv[i], NULL, &text, common.json, argc > 3);
            eval_text_free(&text, 1);
        } else
            failed = cli_fail(&e);
        mem_free(features);
    }
    eval_close(&s);
    return failed;
}

static int answer_run(int argc, char **argv)
{
    asking a = { 5, 10, 1, NAN, 1, NULL };                 /* LAVIS's predict_answers */
    cli_common common = { 0 };
    cli_option options[] = {
        { "beams", "N", CLI_INT, &a.beams, 1, 64, "beams; 1: greedy" },
        { "max-new-tokens", "N", CLI_INT, &a.max_new_tokens, 1, 4096, "longest answer" },
        { "length-penalty", "X", CLI_REAL, &a.length_penalty, -10, 10,
          "scores are divided by length to this power (default: 0 with OPT, -1 with T5, as in LAVIS)" },
    };
    int code;
    if (!cli_parse(&argc, argv, options, 3, &common, &code))
        return code;
    if (argc < 4)
        return cli_usage("answer", "a model, a picture and a question are needed: "
                         "answer MODEL.h5 IMG \"QUESTION\"...");
    eval_session s;
    error e;
    if (!cli_open_model(&s, argv[1], eval_can_caption, &e))
        return cli_fail(&e);
    real *features = cli_features(&s, argv[2], &e);
    if (isnan(a.length_penalty))
        a.length_penalty = blip2_llm_of(&s.model.config).encodes ? -1 : 0;
    blip2_generate o = rules(&a);
    bool ok = features != NULL;
    for (int i = 3; ok && i < argc; i++) {
        eval_text text;
        const char *question = argv[i];
        char *prompt = blip2_question(&s.model.config, question);
        ok = prompt ? eval_write(&s, features, 1, (const char *const *)&prompt, &question, &o, &text, &e)
                    : error_set(&e, "out of memory");
        if (ok) {
            print_text(argv[2], question, &text, common.json, argc > 4);
            eval_text_free(&text, 1);
        }
        mem_free(prompt);
    }
    eval_close(&s);
    mem_free(features);
    return ok ? 0 : cli_fail(&e);
}

const cli_command cli_caption = {
    "caption", "MODEL.h5 IMG...", "write a caption for each picture", caption_run,
    "With --json a line {\"image\",\"caption\",\"ids\",\"score\"} a picture. A picture that cannot be read\n"
    "is reported, the others get their captions, and the exit code is 1."
};
const cli_command cli_answer = {
    "answer", "MODEL.h5 IMG \"QUESTION\"...", "answer questions about a picture", answer_run,
    "Each question is put into the model's frame (question_prompt). With --json a line {\"image\",\n"
    "\"question\",\"answer\",\"ids\",\"score\"} a question."
};
