/* report.c - `blip2 report RUN_DIR`: one HTML file with everything about a run. */
#include "cli/commands.h"
#include "eval/eval.h"
#include <stdio.h>

static void left_out(void *context, const char *what)
{
    const cli_common *common = context;
    if (!common->quiet)
        cli_warn("left out: %s", what);
}

static int run(int argc, char **argv)
{
    const char *out = NULL;
    cli_common common = { 0 };
    const cli_option options[] = {
        { "out", "FILE", CLI_TEXT, &out, 0, 0, "the file; -o is the same (default: RUN_DIR/report.html)" },
    };
    int code;
    error e;
    if (!cli_parse(&argc, argv, options, 1, &common, &code))
        return code;
    if (argc < 2)
        return cli_usage("report", "the folder of a run is needed: report RUN_DIR [RESULTS_DIR...]");
    char *path = out ? mem_text("%s", out) : mem_text("%s/report.html", argv[1]);
    bool ok = path ? eval_report(argv[1], (const char *const *)argv + 2, argc - 2, path, left_out, &common, &e)
                   : error_set(&e, "out of memory");
    if (ok && common.json) {
        printf("{\"report\":");
        cli_json_text(path);
        puts("}");
    } else if (ok)
        puts(path);
    mem_free(path);
    return ok ? 0 : cli_fail(&e);
}

const cli_command cli_report = {
    "report", "RUN_DIR [RESULTS_DIR...]", "write one HTML file with everything about a run", run,
    "RUN_DIR is what train or evaluate wrote: its log.jsonl becomes curves; metrics.json and the results, in it,\n"
    "in the folders below it and in RESULTS_DIR..., become figures, samples and what was found; its model.h5 shows\n"
    "what the queries look at. What is missing is left out aloud. The file holds its pictures and needs no script."
};
