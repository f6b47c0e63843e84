/* evaluate.c - `blip2 evaluate CONFIG.yaml [key=value...]`: protocols over a split, as a table or as JSON. */
#include "cli/commands.h"
#include "cli/model.h"
#include "eval/eval.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- how far it is, on stderr: a line that is drawn over on a terminal, else one every ten seconds ----- */
typedef struct showing {
    bool quiet, terminal, drawn;
    double started, shown;             /* seconds: the part that runs, what was written last */
    const char *part;
} showing;

static void clear_line(showing *s)
{
    if (s->drawn)
        fputs("\r\033[K", stderr);
    s->drawn = false;
}

static void show(void *context, const char *what, long done, long of)
{
    enum { SECONDS = 10 };
    showing *s = context;
    double now = clock_seconds();
    if (s->quiet)
        return;
    if (!s->part || strcmp(s->part, what)) {
        s->part = what;
        s->started = s->shown = now;
    }
    if (s->terminal ? done < of && now - s->shown < 0.1 : now - s->shown < SECONDS)
        return;
    s->shown = now;
    clear_line(s);
    double rate = done / fmax(now - s->started, 1e-3);
    long left = done ? lround((double)(of - done) / rate) : 0;
    fprintf(stderr, "%s %ld/%ld", what, done, of);
    if (done)
        fprintf(stderr, "  %.3g/s  eta %ld:%02ld:%02ld", rate, left / 3600, left / 60 % 60, left % 60);
    if (!s->terminal)
        fputc('\n', stderr);
    s->drawn = s->terminal;
}

static void warn(void *context, const char *text)
{
    clear_line(context);
    cli_warn("%s", text);
}

/* ---- figures as a table -------------------------------------------------------------------------------- */

/* Are the numbers of both under the same names? */
static bool same_columns(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)a, key, v)
        if (json_is_number(v) && !json_is_number(json_object_get(b, key)))
            return false;
    json_object_foreach((json_t *)b, key, v)
        if (json_is_number(v) && !json_is_number(json_object_get(a, key)))
            return false;
    return true;
}

static int width_of(const char *key)
{
    int shown = (int)strlen(QUOTE(key));                   /* a type's name is from a file */
    return shown > 9 ? shown : 9;
}

/* Below the figures of o: of each the entry i of its list in `lists`, where it has one. */
static void print_entry(const char *name, const json_t *o, const json_t *lists, size_t i)
{
    const char *key;
    json_t *v;
    printf("  %-14s", name);
    json_object_foreach((json_t *)o, key, v) {
        const json_t *entry = json_array_get(json_object_get(lists, key), i);
        if (json_is_number(v) && entry)
            printf(" %*.3f", width_of(key), json_number_value(entry));
        else if (json_is_number(v))
            printf(" %*s", width_of(key), "");
    }
    putchar('\n');
}

/* One row of figures under the names of its keys, which are printed first where `header` says so; below them
 * the bounds of the intervals that are known, and what re-ranking finds more than ITC. */
static void print_row(const char *name, const json_t *o, bool header)
{
    const json_t *intervals = json_object_get(o, "interval_95"), *gains = json_object_get(o, "over_itc");
    const char *key;
    json_t *v;
    if (header) {
        printf("  %-14s", "");
        json_object_foreach((json_t *)o, key, v)
            if (json_is_number(v))
                printf(" %9s", QUOTE(key));
        putchar('\n');
    }
    printf("  %-14s", name);
    json_object_foreach((json_t *)o, key, v) {
        if (json_is_integer(v))
            printf(" %*lld", width_of(key), (long long)json_integer_value(v));
        else if (json_is_number(v))
            printf(" %*.3f", width_of(key), json_number_value(v));
    }
    putchar('\n');
    if (json_object_size(intervals)) {
        print_entry("  95 % from", o, intervals, 0);
        print_entry("  to", o, intervals, 1);
    }
    if (json_object_size(gains)) {
        print_entry("  over itc", o, gains, 0);
        print_entry("  95 % from", o, gains, 1);
        print_entry("  to", o, gains, 2);
    }
}

/* The numbers of o in the columns of a row that stands above. */
static void print_below(const char *name, const json_t *above, const json_t *o)
{
    const char *key;
    json_t *v;
    printf("  %-14s", name);
    json_object_foreach((json_t *)above, key, v) {
        const json_t *entry = json_object_get(o, key);
        if (json_is_number(v) && json_is_real(entry))
            printf(" %*.3f", width_of(key), json_number_value(entry));
        else if (json_is_number(v))
            printf(" %*s", width_of(key), "");
    }
    putchar('\n');
}

static void print_task(const char *name, const json_t *task)
{
    const char *key;
    json_t *v;
    const json_t *before = NULL;
    printf("%s\n", name);
    if (json_is_object(json_object_get(task, "interval_95"))) {    /* one row of its own */
        print_row("model", task, true);
        if (json_object_get(task, "shuffled"))
            print_below("shuffled", task, json_object_get(task, "shuffled"));
    } else
        json_object_foreach((json_t *)task, key, v)
            if (json_is_object(v) && strcmp(key, "settings")) {
                print_row(key, v, !before || !same_columns(before, v));
                before = v;
            }
    if (json_object_get(task, "answers"))                  /* a test's questions, whose answers others keep */
        printf("  %lld answers written, none to compare with\n",
               (long long)json_integer_value(json_object_get(task, "answers")));
    else if (!before && !json_object_get(task, "interval_95"))
        print_row("model", task, true);
}

static void print_figures(const char *text)
{
    static const char *const tasks[] = { "captions", "vqa", "retrieval" };
    json_t *all = json_loads(text, 0, NULL);
    for (int i = 0; i < 3; i++)
        if (json_object_get(all, tasks[i]))
            print_task(tasks[i], json_object_get(all, tasks[i]));
    json_decref(all);
}

static int run(int argc, char **argv)
{
    cli_common common = { .seed = -1 };
    int code;
    if (!cli_parse(&argc, argv, NULL, 0, &common, &code))
        return code;
    if (argc < 2)
        return cli_usage("evaluate", "a configuration is needed: evaluate CONFIG.yaml [key=value...]");
    eval_config c = eval_config_default();
    config_table tables[EVAL_TABLES];
    eval_config_tables(&c, tables);
    error e;
    cli_seed_word(&argc, argv, &common);
    if (!config_open(argv[1], argv + 2, argc - 2, tables, EVAL_TABLES, &e))
        return cli_fail(&e);
    showing s = { .quiet = common.quiet, .terminal = isatty(STDERR_FILENO) };
    c.watch = (eval_watch){ &s, show, warn, cli_loading(common.quiet) };
    char *figures = eval_run(&c, &e);
    clear_line(&s);
    if (!figures)
        return cli_fail(&e);
    if (common.json)
        puts(figures);
    else
        print_figures(figures);
    mem_free(figures);
    return 0;
}

const cli_command cli_evaluate = {
    "evaluate", "CONFIG.yaml [key=value...]", "measure a model on a split", run,
    "run.tasks lists captions, vqa and retrieval.\n"
    "captions   BLEU-1..4, ROUGE-L, CIDEr-D, perplexity of the true captions; beside them chance, another\n"
    "           picture's captions. A model of stage 1 writes by its ITG head. METEOR and SPICE are counted\n"
    "           by your own copies: run.meteor_jar, run.spice_jar.\n"
    "vqa        answers, compared letter by letter and by type; where a list has several people's answers "
    "also\n"
    "           VQA accuracy by both rules. Beside it a blind row (no picture) and one with other pictures.\n"
    "retrieval  R@1, R@5, R@10 by ITC, and with the run.k_test best of each row ranked again by ITM; chance; "
    "the\n"
    "           accuracy of ITM.\n"
    "Intervals are 95 % of 10,000 resamples by run.seed. The output folder gets metrics.json, where the "
    "settings\n"
    "stand beside the figures, and results in COCO's and VQA's form, which `score` reads "
    "(docs/evaluation.md)."
};
