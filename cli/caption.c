/* caption.c - `blip2 caption` and `blip2 answer`: what a model says about pictures. */
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/writing.h"
#include <stdio.h>

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

/* All texts for one picture: a caption, or the answer to each question. */
static bool write_about(eval_session *s, const cli_writing *w, const blip2_generate *o, const char *image,
                        const char *const *questions, long n, bool json, bool named, error *e)
{
    real *features = cli_features(s, image, e);
    bool ok = features != NULL;
    for (long i = 0; ok && i < n; i++) {
        eval_text *texts = mem_new((size_t)o->returns * sizeof *texts);
        const char *question = questions ? questions[i] : NULL, *of_model = s->model.config.prompt;
        char *prompt = question ? blip2_question(&s->model.config, question)
                                : mem_text("%s", w->prompt ? w->prompt : of_model);
        ok = texts && prompt ? eval_write(s, features, 1, (const char *const *)&prompt, questions ? &question : NULL,
                                          o, texts, e) : error_set(e, "out of memory");
        for (int k = 0; ok && k < o->returns; k++)
            print_text(image, question, &texts[k], json, named);
        if (ok)
            eval_text_free(texts, o->returns);
        mem_free(texts);
        mem_free(prompt);
    }
    mem_free(features);
    return ok;
}

static int caption_run(int argc, char **argv)
{
    cli_writing w = cli_writing_default();
    cli_common common = { .seed = 42 };
    cli_option options[CLI_WRITING_OPTIONS];
    int code, failed = 0;
    cli_writing_options(&w, options);
    if (!cli_parse(&argc, argv, options, CLI_WRITING_OPTIONS, &common, &code))
        return code;
    if (argc < 3)
        return cli_usage("caption", "a model and a picture are needed: caption MODEL.h5 IMG...");
    eval_session s;
    blip2_generate o;
    error e;
    if (!cli_writing_rules(&w, &(blip2_config){ 0 }, false, common.seed, &o, &e)   /* before anything is opened */
        || !cli_open_model(&s, argv[1], eval_can_caption, &e))
        return cli_fail(&e);
    s.reference = o.reference;
    for (int i = 2; i < argc; i++)                         /* a bad picture does not keep others from their captions */
        if (!write_about(&s, &w, &o, argv[i], NULL, 1, common.json, argc > 3, &e))
            failed = cli_fail(&e);
    eval_close(&s);
    return failed;
}

static int answer_run(int argc, char **argv)
{
    cli_writing w = cli_writing_default();
    cli_common common = { .seed = 42 };
    cli_option options[CLI_WRITING_OPTIONS];
    int code;
    cli_writing_options(&w, options);                      /* the first one is --prompt: a question has its frame */
    if (!cli_parse(&argc, argv, options + 1, CLI_WRITING_OPTIONS - 1, &common, &code))
        return code;
    if (argc < 4)
        return cli_usage("answer", "a model, a picture and a question are needed: "
                         "answer MODEL.h5 IMG \"QUESTION\"...");
    eval_session s;
    blip2_generate o;
    error e;
    if (!cli_writing_rules(&w, &(blip2_config){ 0 }, true, common.seed, &o, &e)
        || !cli_open_model(&s, argv[1], eval_can_answer, &e))
        return cli_fail(&e);
    bool ok = cli_writing_rules(&w, &s.model.config, true, common.seed, &o, &e);
    s.reference = o.reference;
    ok = ok && write_about(&s, &w, &o, argv[2], (const char *const *)argv + 3, argc - 3, common.json, argc > 4, &e);
    eval_close(&s);
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
