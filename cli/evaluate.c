/* evaluate.c - `blip2 evaluate CONFIG.yaml [key=value...]`: protocols over a split, as a table or as JSON. */
#include "cli/commands.h"
#include "eval/eval.h"
#include <jansson.h>
#include <stdio.h>

static void print_row(const char *name, const json_t *o)
{
    const char *key;
    json_t *v;
    printf("  %-12s", name);
    json_object_foreach((json_t *)o, key, v) {
        if (json_is_integer(v))
            printf("  %s %lld", key, (long long)json_integer_value(v));
        else if (json_is_number(v))
            printf("  %s %.3f", key, json_number_value(v));
    }
    putchar('\n');
}

static void print_figures(const char *text)
{
    json_t *all = json_loads(text, 0, NULL);
    static const char *const tasks[] = { "captions", "vqa", "retrieval" };
    for (int i = 0; i < 3; i++) {
        const json_t *task = json_object_get(all, tasks[i]);
        const char *key;
        json_t *v;
        bool rows = false;
        if (!task)
            continue;
        printf("%s\n", tasks[i]);
        json_object_foreach((json_t *)task, key, v)
            if (json_is_object(v)) {
                print_row(key, v);
                rows = true;
            }
        if (!rows)
            print_row("model", task);
    }
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
    "run.tasks lists captions, vqa and retrieval. Answers are compared letter by letter; vqa stands beside a blind row (the\n"
    "language model without any picture) and a row with other pictures. The output folder gets metrics.json and results."
};
