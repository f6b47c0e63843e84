/* evaluate.c - `blip2 evaluate CONFIG.yaml [key=value...]`: protocols over a split, as a table or as JSON. */
#include "cli/commands.h"
#include "eval/eval.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* One row of figures under the names of its keys, which are printed first where `header` says so. */
static void print_row(const char *name, const json_t *o, bool header)
{
    const char *key;
    json_t *v;
    if (header) {
        printf("  %-12s", "");
        json_object_foreach((json_t *)o, key, v)
            if (json_is_number(v))
                printf(" %9s", key);
        putchar('\n');
    }
    printf("  %-12s", name);
    json_object_foreach((json_t *)o, key, v) {
        if (json_is_integer(v))
            printf(" %9lld", (long long)json_integer_value(v));
        else if (json_is_number(v))
            printf(" %9.3f", json_number_value(v));
    }
    putchar('\n');
}

static void print_task(const char *name, const json_t *task)
{
    const char *key;
    json_t *v;
    bool header = true;
    printf("%s\n", name);
    json_object_foreach((json_t *)task, key, v)
        if (json_is_object(v)) {
            print_row(key, v, header);
            header = false;
        }
    if (header)
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
    cli_common common = { 0 };
    int code;
    if (!cli_parse(&argc, argv, NULL, 0, &common, &code))
        return code;
    if (argc < 2)
        return cli_usage("evaluate", "a configuration is needed: evaluate CONFIG.yaml [key=value...]");
    eval_config c = eval_config_default();
    config_table table = eval_config_table(&c);
    error e;
    if (!config_read(argv[1], &table, 1, &e))
        return cli_fail(&e);
    for (int i = 2; i < argc; i++)
        if (!config_override(argv[i], &table, 1, &e))
            return cli_fail(&e);
    char *figures = eval_run(&c, &e);
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
    "run.tasks lists captions, vqa and retrieval. Answers are compared letter by letter; vqa stands beside\n"
    "a blind row (the language model without any picture) and a row with other pictures. The output folder\n"
    "gets metrics.json and results."
};
