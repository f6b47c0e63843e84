/* train.c - `blip2 train CONFIG.yaml [key=value...]`. */
#include "cli/commands.h"
#include "cli/progress.h"
#include "convert/convert.h"
#include "data/data.h"
#include "train/ranks.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile int stopped;                       /* the number of the signal that asks to stop */

/* The first signal ends the run after the step or the save in hand; a second one ends the process at once. */
static void on_signal(int number)
{
    if (stopped)
        _exit(128 + number);
    stopped = number;
}

static void watch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    struct sigaction was;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (!sigaction(SIGHUP, NULL, &was) && was.sa_handler != SIG_IGN)       /* nohup ignores it */
        sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);                              /* nobody reads what is said: the run goes on */
}

static void print_json(const train_config *c, const train_result *r, double mib)
{
    char *path = mem_text("%s/model.h5", c->output_dir);
    printf("{\"model\":");
    cli_json_text(path ? path : "model.h5");
    printf(",\"steps\":%ld,\"stopped\":%s,\"early\":%s", r->steps, r->stopped ? "true" : "false",
           r->early ? "true" : "false");
    if (r->best_step)
        printf(",\"best_by\":\"%s\",\"best\":%.9g,\"best_step\":%ld", train_best_names[c->best_by], r->best,
               r->best_step);
    printf(",\"bad_samples\":%ld,\"seconds\":%.2f,\"peak_rss_mb\":%.0f}\n", r->bad_samples, r->seconds, mib);
    mem_free(path);
}

static void print_result(const train_config *c, const train_result *r, const cli_common *common)
{
    double mib = (double)r->peak_bytes / (1 << 20);
    if (common->json)
        print_json(c, r, mib);
    else if (!common->quiet) {
        if (r->bad_samples)
            printf("%ld broken pictures left out\n", r->bad_samples);
        if (r->best_step)
            printf("%s/model_best.h5: %s %.4f at step %ld\n", c->output_dir, train_best_names[c->best_by],
                   r->best, r->best_step);
        printf("%s/model.h5: %ld steps in %.1f s, at most %.0f MiB%s\n", c->output_dir, r->steps, r->seconds,
               mib, r->stopped ? "; stopped, --resume goes on"
               : r->early ? "; ended early, by run.patience" : "");
    }
}

/* ---- a dry run: what the run needs, as comments behind its configuration, so that all of it stays YAML - */
static void print_need_json(const train_need *n)
{
    const struct { const char *name; double bytes; } kinds[] = {
        { "parameters", n->parameters }, { "gradients", n->gradients }, { "moments", n->moments },
        { "activations", n->activations }, { "gradient_pool", n->pool }, { "pictures", n->pictures },
        { "texts", n->texts }, { "program", n->program } };
    printf("{\"trained\":%ld,\"frozen\":%ld,\"parts\":[", n->trained, n->frozen);
    for (int i = 0; i < n->count; i++) {
        printf("%s{\"name\":", i ? "," : "");
        cli_json_text(n->part[i].name);
        printf(",\"trained\":%ld,\"frozen\":%ld}", n->part[i].trained, n->part[i].frozen);
    }
    printf("],\"bytes\":{");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        printf("%s\"%s\":%.0f", i ? "," : "", kinds[i].name, kinds[i].bytes);
    printf("},\"peak_bytes\":%.0f,\"available_bytes\":%.0f,\"fits\":%s,\"samples_a_step\":%ld,\"steps\":%ld,"
           "\"flops_a_step\":%.6g,\"flops\":%.6g,\"stand_in\":%s}\n", n->bytes, n->available,
           n->bytes <= n->available ? "true" : "false", n->samples, n->steps, n->flops,
           n->flops * (double)n->steps, n->stand_in ? "true" : "false");
}

static void print_need(const train_need *n)
{
    const double GiB = 1 << 30;
    printf("\n# %-18s %14s %14s\n", "parameters", "trained", "frozen");
    for (int i = 0; i < n->count; i++)
        printf("# %-18s %14ld %14ld\n", n->part[i].name, n->part[i].trained, n->part[i].frozen);
    printf("# %-18s %14ld %14ld\n#\n", "all", n->trained, n->frozen);
    printf("# memory at the peak: %.3f GiB; there are %.3f GiB %s%s\n", n->bytes / GiB,
           n->available / GiB, n->limit, n->bytes <= n->available ? "" : ": the run would not start");
    printf("#   parameters %.3f, gradients %.3f, moments %.3f, activations %.3f, pool of gradients %.3f,\n"
           "#   pictures %.3f, texts %.3f, program and lists %.3f\n", n->parameters / GiB, n->gradients / GiB,
           n->moments / GiB, n->activations / GiB, n->pool / GiB, n->pictures / GiB, n->texts / GiB,
           n->program / GiB);
    printf("# matrix products: %.4g TFLOP a step of %ld samples", n->flops / 1e12, n->samples);
    if (n->steps)
        printf(", %.4g PFLOP in all %ld steps", n->flops * (double)n->steps / 1e15, n->steps);
    printf("%s\n", n->stand_in ? "; texts of full length stand in for data that is not there" : "");
}

static bool configure(int argc, char **argv, train_config *c, const train_options *how,
                      const cli_common *common, error *e)
{
    config_table tables[TRAIN_TABLES];
    cli_seed_word(&argc, argv, common);
    if (!train_config_open(c, argv[1], argv + 2, argc - 2, how->ranks, how->watch, e))
        return false;
    bool print = how->dry_run && !common->json;
    char *text = print ? config_print(tables, train_config_tables(c, tables), true) : NULL;
    if (text)
        fputs(text, stdout);
    mem_free(text);
    return true;
}

static void on_note(void *context, const char *text)
{
    if (!*(const bool *)context)
        fprintf(stderr, "blip2: %s\n", text);
}

/* The words of a BERT that is not converted, as in a dry run: vocab.txt beside its file. */
static void words_beside(train_config *c)
{
    const char *slash = strrchr(c->bert, '/');
    char folder[CONFIG_TEXT_SIZE];
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - c->bert) : 1, slash ? c->bert : ".");
    char *words = *c->bert_tokenizer ? NULL : mem_text("%s/vocab.txt", folder);
    if (words && !access(words, R_OK))
        memcpy(c->bert_tokenizer, folder, sizeof folder);
    mem_free(words);
}

/* model.bert as others publish it becomes a model file in the run's folder, which is what config.yaml then
 * names; its words are the Q-Former's unless the configuration has others. */
static bool take_bert(train_config *c, const train_options *how, const cli_common *common, error *e)
{
    struct stat about;
    size_t n = strlen(c->bert);
    if (!n || (n > 3 && !strcmp(c->bert + n - 3, ".h5")))
        return true;
    if (!*c->bert_tokenizer && !stat(c->bert, &about) && S_ISDIR(about.st_mode))
        memcpy(c->bert_tokenizer, c->bert, n + 1);
    if (how->dry_run) {
        words_beside(c);
        return true;
    }
    if (!train_paths(c, how->resume, e))                   /* before anything is written */
        return false;
    char *file = mem_text("%s/bert.h5", c->output_dir);
    const char *const from[] = { c->bert };
    convert_watch watch = { .context = (void *)&common->quiet, .note = on_note };
    bool have = file && how->resume && train_saved(c) && !access(file, R_OK);
    bool ok = file && strlen(file) < CONFIG_TEXT_SIZE
                  ? file_make_folders(c->output_dir, e) && (have || convert_run(from, 1, file, &watch, e))
                  : error_set(e, "model.bert: out of memory, or too long a name of the run's folder");
    if (ok)
        memcpy(c->bert, file, strlen(file) + 1);
    mem_free(file);
    return ok;
}

static int run(int argc, char **argv)
{
    cli_common common = { .seed = -1 };
    train_options how = { .stop = &stopped };
    cli_option options[] = {
        { "resume", NULL, CLI_FLAG, &how.resume, 0, 0,
          "go on from the newest whole checkpoint in output_dir" },
        { "ranks", "N", CLI_INT, &how.ranks, 1, RANKS_MOST,
          "processes that share each step, each with batch_size_train samples; the threads are divided" },
        { "dry-run", NULL, CLI_FLAG, &how.dry_run, 0, 0,
          "show configuration, parameters, memory and FLOPs; train nothing" },
    };
    int code;
    if (!cli_parse(&argc, argv, options, 3, &common, &code))
        return code;
    if (argc < 2)
        return cli_usage("train", "a configuration is needed: train CONFIG.yaml [key=value...]");
    train_config c = train_config_default();
    train_result result;
    progress shown;
    error e;
    train_watch watch = progress_watch(&shown, common.quiet);
    how.watch = &watch;
    if (!configure(argc, argv, &c, &how, &common, &e)
        || !take_bert(&c, &how, &common, &e))
        return cli_fail(&e);
    watch_signals();
    bool ok = train_run(&c, &how, &result, &e);
    shown.bar |= how.ranks > 1 && shown.terminal && (!ok || result.stopped);       /* drawn by rank 0 */
    progress_end(&shown);
    if (!ok)
        return cli_fail(&e);
    if (!how.dry_run)
        print_result(&c, &result, &common);
    else if (common.json)
        print_need_json(&result.need);
    else
        print_need(&result.need);
    return result.stopped ? 128 + (stopped ? stopped : SIGTERM) : 0;
}

const cli_command cli_train = {
    "train", "CONFIG.yaml [key=value...]", "train a model as a configuration says", run,
    "run.task is stage1, stage2, vit (a vision tower from captions) or lm (OPT or T5 from texts). The\n"
    "run begins with a table: each module, the file that its weights come from or how they start, frozen or\n"
    "trained, parameters, bytes; and after the first step with its losses beside those of a model that "
    "knows\n"
    "nothing. The output folder gets model.h5, modules.txt (that table), config.yaml, log.jsonl and "
    "metrics.csv\n"
    "(a line a step), TensorBoard's events.out.tfevents.blip2, and checkpoint.h5: every run.save_freq "
    "steps,\n"
    "or every run.save_minutes, and at the end. Paths that cannot be used are listed before anything is "
    "read.\n"
    "datasets.val is measured every run.valid_freq steps; the best goes into model_best.h5, and "
    "run.patience\n"
    "ends a run that gets no better. SIGINT or SIGTERM ends the run after the step in hand, model and "
    "checkpoint\n"
    "saved (SIGHUP, too); --resume goes on, to the same bits as if it had never stopped;\n"
    "with a larger run.max_iters a finished run goes on, too.\n\n"
    "--dry-run prints all keys with their values, the parameters of each part, the memory at the peak and "
    "the\n"
    "floating-point operations of the matrix products. It allocates no model, so that it also tells of runs\n"
    "that this machine cannot hold, and data or vocabularies that are not there are a warning. A run that\n"
    "needs more memory than there is does not start, unless run.memory_check is false.\n\n"
    "--ranks N gives each step N x run.batch_size_train samples, as LAVIS does: 4 ranks of 2 train as one "
    "of\n"
    "8 does. Threads are divided among them. If one fails, is killed or stands still, all end "
    "(docs/ranks.md)."
};
