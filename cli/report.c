/* report.c - `blip2 report RUN_DIR`: one HTML file with everything about a run. */
#include "cli/commands.h"
#include "cli/model.h"
#include "eval/eval.h"
#include "train/train.h"
#include <stdio.h>
#include <unistd.h>

static void left_out(void *context, const char *what)
{
    const cli_common *common = context;
    if (!common->quiet)
        cli_warn("left out: %s", what);
}

/* The settings of a training configuration, or of the run in a folder, as config_print writes them. */
static char *settings_of(const char *base, error *e)
{
    train_config c = train_config_default();
    config_table tables[TRAIN_TABLES];
    int n = train_config_tables(&c, tables);
    char *path = mem_text("%s/config.yaml", base), *text = NULL;
    bool ok = path ? train_config_open(&c, access(path, R_OK) ? base : path, NULL, 0, 0, NULL, e)
                   : error_set(e, "out of memory");
    if (ok && !(text = config_print(tables, n, false)))
        error_set(e, "out of memory");
    mem_free(path);
    return text;
}

static int run(int argc, char **argv)
{
    const char *out = NULL, *base = NULL;
    cli_common common = { 0 };
    const cli_option options[] = {
        { "out", "FILE", CLI_TEXT, &out, 0, 0, "the file; -o is the same (default: RUN_DIR/report.html)" },
        { "base", "CONFIG", CLI_TEXT, &base, 0, 0,
          "a training configuration, or the folder of another run: shows which settings differ" },
    };
    int code;
    error e;
    if (!cli_parse(&argc, argv, options, 2, &common, &code))
        return code;
    if (argc < 2)
        return cli_usage("report", "the folder of a run is needed: report RUN_DIR [RESULTS_DIR...]");
    if (out && !cli_may_write("report", out, ".html .htm", 1, &base))
        return 2;
    char *settings = base ? settings_of(base, &e) : NULL;
    if (base && !settings)
        return cli_fail(&e);
    char *model = mem_text("%s/model.h5", argv[1]);
    if (model && !access(model, R_OK))
        cli_warn_unsealed(model, common.quiet);
    mem_free(model);
    char *path = out ? mem_text("%s", out) : mem_text("%s/report.html", argv[1]);
    bool ok = path ? eval_report(argv[1], (const char *const *)argv + 2, argc - 2, path,
                                    settings ? &(eval_report_base){ base, settings } : NULL, left_out,
                                    &common, &e)
                   : error_set(&e, "out of memory");
    if (ok && common.json) {
        printf("{\"report\":");
        cli_json_text(path);
        puts("}");
    } else if (ok)
        puts(path);
    mem_free(path);
    mem_free(settings);
    return ok ? 0 : cli_fail(&e);
}

const cli_command cli_report = {
    "report", "RUN_DIR [RESULTS_DIR...]", "write one HTML file with everything about a run", run,
    "RUN_DIR is what train or evaluate wrote: its log.jsonl becomes curves; metrics.json and the results,\n"
    "in it, in the folders below it and in RESULTS_DIR..., become figures, samples and what was found; its\n"
    "model.h5 shows what the queries look at; config.yaml, run.json and modules.txt how to have the same\n"
    "again. What is missing is left out aloud. The file holds its pictures and needs no script."
};
