/* doctor.c - `blip2 doctor MODEL.h5 CONFIG.yaml [key=value...]`. */
#include "cli/commands.h"
#include "train/train.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const verdicts[] = { "fine", "doubtful", "ill" };

static void put_number(const char *name, double x)
{
    if (isfinite(x))
        printf(",\"%s\":%.6g", name, x);
    else
        printf(",\"%s\":null", name);
}

static void print_json(const train_finding *f)
{
    printf("{\"finding\":\"%s\",\"verdict\":\"%s\"", f->name, verdicts[f->verdict]);
    put_number("figure", f->figure);
    put_number("low", f->low);
    put_number("high", f->high);
    printf(",\"threshold\":");
    cli_json_text(f->threshold);
    printf(",\"what\":");
    cli_json_text(f->what);
    printf(",\"advice\":");
    cli_json_text(f->verdict ? f->advice : "");
    printf("}\n");
}

/* Words of a text in lines of at most `most` bytes. */
static void print_wrapped(const char *text, int indent, int most)
{
    for (int used = most; *text;) {
        int n = (int)strcspn(text, " ");
        if (used + n + 1 > most)
            used = printf("%s%*s", used == most && indent < 0 ? "" : "\n", indent, "") - 1;
        used += printf("%s%.*s", used > indent ? " " : "", n, text);
        text += n;
        text += strspn(text, " ");
    }
}

static void print_finding(const train_finding *f)
{
    char interval[64] = "";
    if (isfinite(f->low) && isfinite(f->high))
        snprintf(interval, sizeof interval, "[%.4g, %.4g]", f->low, f->high);
    printf("%-9s %-14s %10.4g  %-22s %s", verdicts[f->verdict], f->name, f->figure, interval, f->threshold);
    print_wrapped(f->what, 10, 110);
    if (f->verdict)
        print_wrapped(f->advice, 10, 110);
    printf("\n");
}

static bool configure(int argc, char **argv, train_config *c, const train_watch *watch,
                      const cli_common *common, error *e)
{
    cli_seed_word(&argc, argv, common);
    return train_config_open(c, argv[2], argv + 3, argc - 3, 0, watch, e);
}

static void warn(void *context, const char *text)
{
    if (!*(const bool *)context)
        cli_warn("%s", text);
}

static int run(int argc, char **argv)
{
    cli_common common = { .seed = -1 };
    long samples = 512;
    cli_option options[] = {
        { "samples", "N", CLI_INT, &samples, 8, 1e9, "samples of each list that are looked at" },
    };
    int code, count[3] = { 0 };
    if (!cli_parse(&argc, argv, options, 1, &common, &code))
        return code;
    if (argc < 3)
        return cli_usage("doctor", "a model and a configuration are needed: doctor MODEL.h5 CONFIG.yaml");
    train_config c = train_config_default();
    train_diagnosis d;
    error e;
    const train_watch watch = { .context = &common.quiet, .warn = warn };
    if (!configure(argc, argv, &c, &watch, &common, &e)
        || !train_doctor(&c, argv[1], samples, &watch, &d, &e))
        return cli_fail(&e);
    for (int i = 0; i < d.count; i++) {
        count[d.finding[i].verdict]++;
        if (common.json)
            print_json(&d.finding[i]);
        else
            print_finding(&d.finding[i]);
    }
    if (common.json && d.left_out) {
        printf("{\"left_out\":");
        cli_json_text(d.left_out);
        printf("}\n");
    } else if (d.left_out)
        printf("left out: %s\n", d.left_out);
    if (!common.json)
        printf("%s: %d fine, %d doubtful, %d ill; %ld batches of %ld samples\n", argv[1], count[0], count[1],
               count[2], d.batches, d.batch);
    return 0;
}

const cli_command cli_doctor = {
    "doctor", "MODEL.h5 CONFIG.yaml [key=value...]",
    "tests a trained model for the known ways of training badly", run,
    "CONFIG.yaml is the one that the model was trained by: it says where the data is; the architecture is "
    "the\n"
    "model's own. Looked at is datasets.val where the configuration has it (or: datasets.val=val.jsonl), "
    "else\n"
    "what was trained on. Each finding has its figure with a 95% interval over batches, the threshold, a "
    "verdict\n"
    "(fine, doubtful, ill), and what to do if it is not fine:\n"
    "  picture_*     how much a loss rises when each text gets another's picture (itc, itm, lm)\n"
    "  prompt_lm     how much it rises when the language model gets no visual prompt at all\n"
    "  query_cosine  have the queries become one?     itm_*         has matching left the constant guess?\n"
    "  temperature   is temp at a bound?              prompt_scale  are visual prompts as large as words?\n"
    "Connectors linear and mlp have no queries, a Q-Former may have one: query_cosine is left out, as a line "
    "says.\n"
    "Exit code 0 whatever is found; 1: it could not be run."
};
