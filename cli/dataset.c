/* dataset.c - `blip2 dataset make scenes DIR`: a synthetic world; its options are the table of data.h. The
 * other parts stand in dataset_import.c, dataset_fetch.c and dataset_inspect.c. */
#include "cli/commands.h"
#include "cli/dataset.h"
#include "data/data.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

volatile sig_atomic_t dataset_stopped;

static void on_signal(int number)
{
    dataset_stopped = number;
}

void dataset_watch_signals(void)
{
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
}

bool dataset_progress(void *context, const char *what, long done, long total)
{
    const cli_common *common = context;
    if (what && !common->quiet && isatty(2))
        fprintf(stderr, "\r%s %ld of %ld\033[K%s", what, done, total, done == total ? "\n" : "");
    else if (what && !common->quiet && done == total)
        fprintf(stderr, "%s: %ld\n", what, total);
    return !dataset_stopped;
}

/* One option a key: "test_unseen" becomes --test-unseen. Texts go through pointers of their own. */
struct table {
    int count;
    bool force;
    const char *config, *texts[SCENES_KEYS];
    char names[SCENES_KEYS][32];
    cli_option option[58];
};

static void options_of(struct table *t, scenes_options *o)
{
    *t = (struct table){ .count = 2 };
    t->option[0] = (cli_option){ "force", NULL, CLI_FLAG, &t->force, 0, 0,
        "replace an older folder of scenes" };
    t->option[1] = (cli_option){ "config", "FILE", CLI_TEXT, &t->config, 0, 0,
        "options from YAML, such as a world.yaml" };
    for (int i = 0; i < SCENES_KEYS; i++) {
        const config_key *k = &scenes_keys[i];
        char *field = (char *)o + k->offset;
        if (!strcmp(k->name, "seed"))              /* every command has that one */
            continue;
        for (int c = 0; k->name[c] && c < 31; c++)
            t->names[i][c] = k->name[c] == '_' ? '-' : k->name[c];
        t->texts[i] = field;
        cli_option *to = &t->option[t->count++];
        *to = (cli_option){ t->names[i], "N", CLI_INT, field, k->least, k->most, k->help };
        if (k->type == CONFIG_REAL) {
            to->argument = "X";
            to->kind = CLI_REAL;
        } else if (k->type == CONFIG_TEXT) {
            to->argument = "LIST";
            to->kind = CLI_TEXT;
            to->value = &t->texts[i];
        }
    }
}

static bool take_texts(const struct table *t, scenes_options *o, error *e)
{
    for (int i = 0; i < SCENES_KEYS; i++) {
        char *field = (char *)o + scenes_keys[i].offset;
        if (scenes_keys[i].type != CONFIG_TEXT || t->texts[i] == field)
            continue;
        if (strlen(t->texts[i]) >= CONFIG_TEXT_SIZE)
            return error_usage(e, "dataset: --%s: too long; expected at most %d bytes", t->names[i],
                               CONFIG_TEXT_SIZE - 1);
        strcpy(field, t->texts[i]);
    }
    return true;
}

static void print_result(const scenes_options *o, const char *folder, double seconds, bool json)
{
    if (json) {
        printf("{\"folder\": ");
        cli_json_text(folder);
        printf(", \"train\": %ld, \"val\": %ld, \"test\": %ld, ", o->train, o->val, o->test);
        printf("\"test_unseen\": %ld, \"documents\": %ld, \"seconds\": %.2f}\n", o->test_unseen, o->documents,
               seconds);
        return;
    }
    printf("%s: %ld pictures for training, %ld for validation, ", folder, o->train, o->val);
    printf("%ld and %ld for tests, %ld documents of text, %.1f s\n", o->test, o->test_unseen, o->documents,
           seconds);
}

static int make_scenes(const char *folder, const scenes_options *o, bool force, cli_common *common)
{
    error e;
    double start = clock_seconds();
    dataset_watch_signals();
    if (!scenes_make(o, folder, force, dataset_progress, common, &e)) {
        int code = cli_fail(&e);
        return dataset_stopped ? 128 + dataset_stopped : code;
    }
    print_result(o, folder, clock_seconds() - start, common->json);
    return 0;
}

/* What --config says comes before what the other options say, wherever it stands. */
static bool read_config(int argc, char **argv, scenes_options *o, error *e)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        const char *path = !strncmp(argv[i], "--config=", 9) ? argv[i] + 9
                         : !strcmp(argv[i], "--config") && i + 1 < argc ? argv[i + 1] : NULL;
        if (path && !config_read(path, &(config_table){ "", scenes_keys, SCENES_KEYS, o }, 1, e))
            return false;
    }
    return true;
}

static int inspect(int argc, char **argv)
{
    const char *folder = NULL;
    dataset_look how = { 0 };
    cli_common common = { 0 };
    cli_option options[] = {
        { "sheet", "F.png", CLI_TEXT, &how.sheet, 0, 0,
          "writes up to 40 of the pictures with their texts; of several lists, of train" },
        { "tokenizer", "DIR", CLI_TEXT, &folder, 0, 0, "counts the tokens of captions too" },
        { "images", "DIR", CLI_TEXT, &how.images, 0, 0,
          "where paths in lists start; default: the list's folder" },
    };
    int code;
    error e;
    if (!cli_parse(&argc, argv, options, 3, &common, &code))
        return code;
    if (argc != 3)
        return cli_usage("dataset", "inspect: a folder or a list is needed: dataset inspect FOLDER_OR_LIST");
    size_t letters = how.sheet ? strlen(how.sheet) : 0;
    if (how.sheet && (letters < 5 || strcmp(how.sheet + letters - 4, ".png")))
        return cli_usage("dataset", "inspect: --sheet: expected a name that ends in .png, found %s",
                         QUOTE(how.sheet));
    tokenizer *words = folder ? tokenizer_read(folder, &e) : NULL;
    if (folder && !words)
        return cli_fail(&e);
    how.words = words;
    how.json = common.json;
    code = dataset_inspect(argv[2], &how);
    tokenizer_free(words);
    return code;
}

const cli_command *const cli_dataset_parts[] = { &cli_dataset_import, &cli_dataset_fetch, NULL };

static int run(int argc, char **argv)
{
    int at = cli_first_word(argc, argv);
    char name[64];
    snprintf(name, sizeof name, "dataset %s", at ? argv[at] : "");
    const cli_command *part = cli_find(name);
    if (at && !strcmp(argv[at], "inspect"))
        return inspect(argc, argv);
    if (part) {                                    /* options before its name are its own */
        cli_word_to_front(argv, at);
        argv[1] = (char *)part->name;
        return part->run(argc - 1, argv + 1);
    }
    scenes_options o = scenes_defaults;
    struct table table;
    error e;
    int code;
    if (!read_config(argc, argv, &o, &e))
        return cli_fail(&e);
    cli_common common = { .seed = o.seed };
    options_of(&table, &o);
    if (!cli_parse(&argc, argv, table.option, table.count, &common, &code))
        return code;
    o.seed = common.seed;
    if (argc != 4 || strcmp(argv[1], "make") || strcmp(argv[2], "scenes"))
        return cli_usage("dataset", "expected import, fetch, inspect or make scenes");
    return take_texts(&table, &o, &e) ? make_scenes(argv[3], &o, table.force, &common) : cli_fail(&e);
}

const cli_command cli_dataset = {
    "dataset", "import SRC... -o DIR | fetch NAME -o DIR | inspect FOLDER_OR_LIST | make scenes DIR",
    "bring a data set in, look into it, or make one of coloured shapes", run,
    "import makes train.jsonl, val.jsonl and test.jsonl of pictures with captions or questions in any of "
    "the\n"
    "usual forms; fetch gets a package that holds such pictures and imports it: blip2 help dataset import,\n"
    "blip2 help dataset fetch, docs/data.md.\n\n"
    "inspect reads a list (a JSON object a line, or a JSON list), the .jsonl lists of a folder, a folder\n"
    "of pictures with NAME.txt beside each, or any source that import reads; the pictures of an archive\n"
    "lie unpacked in TMPDIR (default /tmp) meanwhile. It decodes every picture and prints counts, sizes,\n"
    "missing and broken pictures by name, repeated ids, lengths of captions, questions by type;\n"
    "--sheet F.png writes pictures with their texts to look at, --tokenizer DIR counts tokens too. The exit\n"
    "code is 1 if a picture is missing or broken.\n\n"
    "make scenes: coloured shapes with captions, questions and answers.\n"
    "DIR gets train, val, test and test_unseen (a .jsonl with a line a picture, and a folder of PNG files),\n"
    "text.txt for language models, sheet.png to look at, and world.yaml, which says what is in them. The\n"
    "held-out pairs of colour and shape are in test_unseen alone. The same options and seed give the same\n"
    "bytes, whatever the number of threads."
};
