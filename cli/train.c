/* train.c - `blip2 train CONFIG.yaml [key=value...]`. */
#include "cli/commands.h"
#include "train/train.h"
#include <signal.h>
#include <stdio.h>

static volatile int stopped;                       /* the number of the signal that asks to stop */

static void on_signal(int number) { stopped = number; }

static int run(int argc, char **argv)
{
    bool dry_run = false;
    cli_common common = { .seed = -1 };
    cli_option options[] = { { "dry-run", NULL, CLI_FLAG, &dry_run, 0, 0, "print the configuration in force and stop" } };
    int code;
    if (!cli_parse(&argc, argv, options, 1, &common, &code))
        return code;
    if (argc < 2)
        return cli_usage("train", "a configuration is needed: train CONFIG.yaml [key=value...]");
    train_config c = train_config_default();
    config_table tables[TRAIN_TABLES];
    int n = train_config_tables(&c, tables);
    error e;
    if (!config_read(argv[1], tables, n, &e))
        return cli_fail(&e);
    for (int i = 2; i < argc; i++)
        if (!config_override(argv[i], tables, n, &e))
            return cli_fail(&e);
    if (common.seed >= 0)
        c.seed = common.seed;
    if (dry_run) {
        char *text = config_print(tables, n, true);
        if (text)
            fputs(text, stdout);
        mem_free(text);
        return 0;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    train_result result;
    if (!train_run(&c, common.quiet, &stopped, &result, &e))
        return cli_fail(&e);
    if (common.json)
        printf("{\"model\":\"%s/model.h5\",\"steps\":%ld,\"seconds\":%.2f,\"peak_rss_mb\":%.0f}\n", c.output_dir, result.steps,
               result.seconds, (double)mem_peak_bytes() / (1 << 20));
    else if (!common.quiet)
        printf("%s/model.h5: %ld steps in %.1f s, at most %.0f MiB\n", c.output_dir, result.steps, result.seconds,
               (double)mem_peak_bytes() / (1 << 20));
    return result.stopped ? 128 + stopped : 0;
}

const cli_command cli_train = {
    "train", "CONFIG.yaml [key=value...]", "train a model as a configuration says", run,
    "run.task is stage1, stage2, vit (a vision tower from captions) or lm (OPT as a language model). The output folder gets\n"
    "model.h5, log.jsonl (a line a step) and config.yaml. Every key and its meaning: train CONFIG.yaml --dry-run."
};
