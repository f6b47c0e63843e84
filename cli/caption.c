/* caption.c - `blip2 caption` and `blip2 answer`: what a model says about pictures.
 *
 * A conversation (--chat) is one prompt that grows: each question stands in its frame, each answer behind it,
 *     "Question: what is this? Answer: a dog. Question: of which colour? Answer:"
 * as the examples beside LAVIS and Hugging Face's model have it.                                           */
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/pictures.h"
#include "cli/writing.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct clock { double load, picture; blip2_times text; } clock;        /* seconds */

/* What is asked of every picture, and how it is printed. */
typedef struct asking {
    eval_session *s;
    const cli_writing *w;
    const blip2_generate *o;
    const char *const *questions;      /* (n), or NULL: a caption */
    long n;
    bool json, named, chat;            /* named: more than one text is printed */
    const cli_bar *bar;
    clock *clock;
    uint64_t *written;                 /* how often something was: each time other random numbers */
} asking;

/* Up to the first token: the Q-Former and all that is given to what writes. */
static void print_times(const clock *c, bool json)
{
    double token = c->text.steps ? c->text.rest / (double)c->text.steps : 0;
    if (json)
        printf(",\"times\":{\"load\":%.3f,\"picture\":%.3f,\"prefill\":%.3f,\"token\":%.4f,\"tokens\":%ld}",
               c->load, c->picture, c->text.first, token, c->text.steps);
    else
        fprintf(stderr, "model %.2f s, picture %.2f s, first token %.2f s, %ld more at %.3f s each\n",
                c->load, c->picture, c->text.first, c->text.steps, token);
}

/* The picture's features, timed. */
static real *features_of(const asking *a, const char *image, error *e)
{
    double from = clock_seconds();
    real *features = cli_features(a->s, image, e);
    a->clock->picture = clock_seconds() - from;
    return features;
}

static void print_text(const char *image, const char *question, const eval_text *t, const clock *c, bool json,
                       bool named)
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
        if (isfinite(t->score))
            printf("],\"score\":%.9g", t->score);
        else
            printf("],\"score\":null");                  /* more tokens than there are allowed ones */
        if (c)
            print_times(c, true);
        puts("}");
    } else if (named && question && image)
        printf("%s: %s  %s\n", image, question, t->text);
    else if (named)
        printf(question ? "%s  %s\n" : "%s: %s\n", question ? question : image, t->text);
    else
        puts(t->text);
    fflush(stdout);
}

/* One text or more about a picture (features) behind a prompt; *said: the first, where it is wanted. */
static bool write_one(const asking *a, const real *features, const char *image, const char *question,
                      const char *prompt, char **said, error *e)
{
    eval_text *texts = mem_new((size_t)a->o->returns * sizeof *texts);
    blip2_generate o = *a->o;
    o.seed = ag_mix(o.seed, (*a->written)++);
    bool ok = texts && prompt ? eval_write(a->s, features, 1, &prompt, question ? &question : NULL, &o,
                                           texts, e)
                              : error_set(e, "out of memory");
    cli_bar_clear(a->bar);
    for (int k = 0; ok && k < a->o->returns; k++)
        print_text(a->json || a->bar->of > 1 || !question ? image : NULL, question, &texts[k],
                   a->w->timed ? a->clock : NULL, a->json, a->named);
    if (ok && a->w->timed && !a->json)
        print_times(a->clock, false);
    if (ok && said)
        ok = (*said = mem_text("%s", texts[0].text)) || error_set(e, "out of memory");
    if (ok)
        eval_text_free(texts, a->o->returns);
    mem_free(texts);
    return ok;
}

static char *frame_of(const asking *a, const char *question)
{
    blip2_config c = a->s->model.config;
    if (a->w->prompt)
        snprintf(c.question_prompt, sizeof c.question_prompt, "%s", a->w->prompt);
    return blip2_question(&c, question);
}

/* All texts for one picture: a caption, or the answer to each question. */
static bool write_about(const asking *a, const char *image, error *e)
{
    real *features = features_of(a, image, e);
    bool ok = features != NULL;
    for (long i = 0; ok && i < a->n; i++) {
        const char *question = a->questions ? a->questions[i] : NULL;
        char *prompt = question ? frame_of(a, question)
                                : mem_text("%s", a->w->prompt ? a->w->prompt : a->s->model.config.prompt);
        ok = write_one(a, features, image, question, prompt, NULL, e);
        mem_free(prompt);
    }
    mem_free(features);
    return ok;
}

/* By Hugging Face's rules OPT's text begins with the prompt: what is new stands behind its letters. */
static const char *behind(const char *text, const char *prompt)
{
    const char *t = text, *p = prompt;
    for (; *p && *t; ) {
        if (*p == ' ')
            p++;
        else if (*t == ' ')
            t++;
        else if (*p++ != *t++)
            return text;
    }
    return *p ? text : t + strspn(t, " ");
}

/* The question's turn: its answer goes behind the prompt, which is what the next one stands behind. */
static bool turn(const asking *a, const real *features, const char *image, const char *question, char **past,
                 error *e)
{
    char *frame = frame_of(a, question), *said = NULL, *next = NULL;
    char *prompt = frame ? mem_text("%s%s", *past ? *past : "", frame) : NULL;
    bool ok = write_one(a, features, image, question, prompt, &said, e);
    if (ok)
        ok = (next = mem_text("%s %s. ", prompt, behind(said, prompt))) || error_set(e, "out of memory");
    mem_free(ok ? *past : NULL);
    *past = ok ? next : *past;
    mem_free(frame);
    mem_free(prompt);
    mem_free(said);
    return ok;
}

/* Questions of the command line, or a line each on stdin. */
static bool chat(const asking *a, const char *image, error *e)
{
    real *features = features_of(a, image, e);
    char *past = NULL, *line = NULL;
    size_t room = 0;
    bool ok = features != NULL, asks = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
    for (long i = 0; ok && i < a->n; i++)
        ok = turn(a, features, image, a->questions[i], &past, e);
    while (ok && !a->n && (asks ? fputs("> ", stderr) >= 0 : true) && getline(&line, &room, stdin) > 0) {
        line[strcspn(line, "\r\n")] = 0;
        ok = !*line || turn(a, features, image, line, &past, e);
    }
    free(line);
    mem_free(past);
    mem_free(features);
    return ok;
}

/* Pictures of the command line and of a list; a bad one does not keep others from their texts. */
static int write_all(const asking *a, const cli_names *images)
{
    int failed = 0;
    error e;
    for (long i = 0; i < images->n; i++) {
        cli_bar_show(a->bar, i);
        if (!write_about(a, images->at[i], &e)) {
            cli_bar_clear(a->bar);
            failed = cli_fail(&e);
        }
    }
    cli_bar_show(a->bar, images->n);
    return failed;
}

static bool take_images(cli_names *to, int n, char **words, const char *list, error *e)
{
    bool ok = true;
    for (int i = 0; ok && i < n; i++)
        ok = cli_names_add(to, words[i], e);
    return ok && (!list || cli_names_pictures(to, list, e));
}

static const char list_help[] = "more pictures: a folder, a .jsonl list, or a file with a path a line";

static int caption_run(int argc, char **argv)
{
    cli_writing w = cli_writing_default();
    cli_common common = { .seed = 42 };
    const char *list = NULL;
    cli_option options[CLI_WRITING_OPTIONS + 1];
    int code;
    cli_writing_options(&w, options);
    options[CLI_WRITING_OPTIONS] = (cli_option){ "images", "LIST", CLI_TEXT, &list, 0, 0, list_help };
    if (!cli_parse(&argc, argv, options, CLI_WRITING_OPTIONS + 1, &common, &code))
        return code;
    if (argc < 2 || (argc < 3 && !list))
        return cli_usage("caption", "a model and a picture are needed: caption MODEL.h5 IMG...");
    eval_session s;
    blip2_generate o;
    cli_names images = { 0 };
    clock c = { .load = clock_seconds() };
    uint64_t written = 0;
    error e;
    w.use.quiet = common.quiet;
    /* the rules before anything is opened */
    if (!cli_writing_rules(&w, &(blip2_config){ 0 }, false, common.seed, &o, &e)
        || !take_images(&images, argc - 2, argv + 2, list, &e)
        || !cli_open_model(&s, argv[1], eval_can_caption, &w.use, &e)) {
        cli_names_free(&images);
        return cli_fail(&e);
    }
    c.load = clock_seconds() - c.load;
    bool ok = cli_writing_rules(&w, &s.model.config, false, common.seed, &o, &e);
    o.times = &c.text;
    s.reference = o.reference;
    cli_bar bar = cli_bar_new(images.n, common.quiet);
    const asking a = { &s, &w, &o, NULL, 1, common.json, images.n > 1, false, &bar, &c, &written };
    int failed = ok ? write_all(&a, &images) : cli_fail(&e);
    eval_close(&s);
    cli_names_free(&images);
    return failed;
}

static int answer_with(const char *model, const asking *form, const cli_writing *w, const cli_names *images,
                       long seed)
{
    eval_session s;
    blip2_generate o;
    asking a = *form;
    clock c = { .load = clock_seconds() };
    uint64_t written = 0;
    error e;
    if (!cli_writing_rules(w, &(blip2_config){ 0 }, true, seed, &o, &e)
        || !cli_open_model(&s, model, eval_can_answer, &w->use, &e))
        return cli_fail(&e);
    bool ok = cli_writing_rules(w, &s.model.config, true, seed, &o, &e);
    c.load = clock_seconds() - c.load;
    o.times = &c.text;
    s.reference = o.reference;
    a.s = &s;
    a.w = w;
    a.o = &o;
    a.clock = &c;
    a.written = &written;
    ok = ok && (!a.chat || chat(&a, images->at[0], &e));
    int failed = !ok ? cli_fail(&e) : a.chat ? 0 : write_all(&a, images);
    eval_close(&s);
    return failed;
}

static int answer_run(int argc, char **argv)
{
    cli_writing w = cli_writing_default();
    cli_common common = { .seed = 42 };
    const char *list = NULL;
    bool talks = false;
    cli_option options[CLI_WRITING_OPTIONS + 2];
    int code;
    cli_writing_options(&w, options);
    options[0].help = "a question's frame, {} is the question (default: of the model)";
    options[CLI_WRITING_OPTIONS] = (cli_option){ "images", "LIST", CLI_TEXT, &list, 0, 0,
        "pictures that are all asked: a folder, a .jsonl list, or a file with a path a line" };
    options[CLI_WRITING_OPTIONS + 1] = (cli_option){ "chat", NULL, CLI_FLAG, &talks, 0, 0,
        "each question is asked behind the ones before and their answers; none given: lines of stdin" };
    if (!cli_parse(&argc, argv, options, CLI_WRITING_OPTIONS + 2, &common, &code))
        return code;
    w.use.quiet = common.quiet;
    int first = list ? 2 : 3;
    if (argc < first + !talks || (talks && list))
        return cli_usage("answer", talks && list ? "--chat: expected one picture, found a list"
                         : "a model, a picture and a question are needed: answer MODEL.h5 IMG "
                           "\"QUESTION\"...");
    cli_names images = { 0 };
    error e;
    bool ok = take_images(&images, first - 2, argv + 2, list, &e);
    cli_bar bar = cli_bar_new(images.n, common.quiet);
    asking a = { NULL, NULL, NULL, (const char *const *)argv + first, argc - first, common.json,
                 argc - first > 1 || images.n > 1, talks, &bar, NULL, NULL };
    int failed = ok ? answer_with(argv[1], &a, &w, &images, common.seed) : cli_fail(&e);
    cli_names_free(&images);
    return failed;
}

const cli_command cli_caption = {
    "caption", "MODEL.h5 IMG...", "write a caption for each picture", caption_run,
    "With --json a line {\"image\",\"caption\",\"ids\",\"score\"} a picture. A picture that cannot be read\n"
    "is reported, the others get their captions, and the exit code is 1."
};
const cli_command cli_answer = {
    "answer", "MODEL.h5 IMG \"QUESTION\"...", "answer questions about a picture", answer_run,
    "Each question is put into the model's frame (question_prompt). With --json a line {\"image\",\n"
    "\"question\",\"answer\",\"ids\",\"score\"} a question. With --images LIST every picture of the list is\n"
    "asked. --chat: several turns, \"Question: what is this? Answer: a dog. Question: and behind it? "
    "Answer:\"."
};
