/* tokenize.c - `blip2 tokenize`: lines to ids and back, and `--train`: a small vocabulary from text files. */
#include "cli/commands.h"
#include "cli/model.h"
#include "eval/eval.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

struct job {
    const tokenizer *t;
    bool decode, keep, json;
    tokenizer_options how;
};

/* ---- one line ------------------------------------------------------------------------------------------ */
static void print_ids(const int *ids, long n)
{
    putchar('[');
    for (long i = 0; i < n; i++)
        printf(i ? ",%d" : "%d", ids[i]);
    putchar(']');
}

static void print_text(const char *s, long n)      /* a JSON string, zero bytes and all */
{
    char *quoted = NULL;
    json_t *text = json_stringn(s, (size_t)n);
    if (text)
        quoted = json_dumps(text, JSON_ENCODE_ANY);
    fputs(quoted ? quoted : "\"\"", stdout);
    free(quoted);
    json_decref(text);
}

static bool encode_line(const struct job *j, const char *line, long n, token_list *ids, error *e)
{
    if (!tokenizer_encode(j->t, line, n, &j->how, ids, e))
        return false;
    if (!j->json) {
        print_ids(ids->ids, ids->n);
        putchar('\n');
        return true;
    }
    printf("{\"text\":");
    print_text(line, n);
    printf(",\"ids\":");
    print_ids(ids->ids, ids->n);
    printf(",\"tokens\":[");
    for (long i = 0; i < ids->n; i++) {
        const char *token = tokenizer_token(j->t, ids->ids[i]);
        fputs(i ? "," : "", stdout);
        print_text(token, (long)strlen(token));
    }
    puts("]}");
    return true;
}

/* A JSON list of ids. */
static bool read_ids(const struct job *j, const char *line, long n, token_list *ids, error *e)
{
    json_t *list = json_loadb(line, (size_t)n, 0, NULL);
    long count = (long)json_array_size(list);
    bool ok = json_is_array(list) || error_set(e, "ids: expected a JSON list of whole numbers");
    if (ok && count > ids->room) {
        mem_free(ids->ids);
        *ids = (token_list){ mem_new((size_t)count*sizeof *ids->ids), 0, count };
        ok = ids->ids || error_set(e, "ids: memory is out");
        ids->room = ok ? count : 0;
    }
    for (long i = 0; ok && i < count; i++) {
        const json_t *id = json_array_get(list, (size_t)i);
        json_int_t value = json_integer_value(id);
        ok = json_is_integer(id) && value >= 0 && value < tokenizer_size(j->t);
        if (ok)
            ids->ids[i] = (int)value;
        else
            error_set(e, "ids: number %ld; expected a whole number from 0 to %d", i + 1,
                      tokenizer_size(j->t) - 1);
    }
    ids->n = ok ? count : 0;
    json_decref(list);
    return ok;
}

static bool decode_line(const struct job *j, const char *line, long n, token_list *ids, error *e)
{
    long bytes;
    if (!read_ids(j, line, n, ids, e))
        return false;
    char *text = tokenizer_decode(j->t, ids->ids, ids->n, j->keep, &bytes);
    if (!text)
        return error_set(e, "text: memory is out");
    if (j->json) {
        printf("{\"ids\":");
        print_ids(ids->ids, ids->n);
        printf(",\"text\":");
        print_text(text, bytes);
        putchar('}');
    } else
        fwrite(text, 1, (size_t)bytes, stdout);
    putchar('\n');
    mem_free(text);
    return true;
}

static int convert_lines(const struct job *j)
{
    char *line = NULL;
    size_t room = 0;
    token_list ids = { 0 };
    error e, named;
    bool ok = true;
    ssize_t n;
    for (long number = 1; ok && (n = getline(&line, &room, stdin)) >= 0; number++) {
        n -= n && line[n - 1] == '\n';
        ok = j->decode ? decode_line(j, line, n, &ids, &e) : encode_line(j, line, n, &ids, &e);
        if (!ok)
            error_set(&named, "standard input:%ld: %s", number, e.text);
    }
    if (ok && ferror(stdin))
        ok = error_set(&named, "standard input: cannot be read; %s", strerror(errno));
    free(line);
    mem_free(ids.ids);
    return ok ? 0 : cli_fail(&named);
}

/* ---- the tokenizer ------------------------------------------------------------------------------------- */
static tokenizer *pick(const char *path, const char *which, tokenizer *bert, tokenizer *llm, error *e)
{
    bool first = which ? !strcmp(which, "bert") : !llm;
    tokenizer *t = first ? bert : llm;
    tokenizer_free(first ? llm : bert);
    if (!t)
        error_set(e, "%s: tokenizer: it has none%s%s", QUOTE(path), which ? " for " : "", which ? which : "");
    return t;
}

static tokenizer *open_tokenizer(const char *path, const char *which, error *e)
{
    struct stat about;
    tokenizer *bert = NULL, *llm = NULL;
    if (!stat(path, &about) && S_ISDIR(about.st_mode)) {
        if (!which)
            return tokenizer_read(path, e);
        error_usage(e, "tokenize: --which: %s is a folder, which has one tokenizer alone", QUOTE(path));
        return NULL;
    }
    if (!eval_tokenizers(path, &bert, &llm, e)) {
        tokenizer_free(bert);
        tokenizer_free(llm);
        return NULL;
    }
    return pick(path, which, bert, llm, e);
}

/* ---- training ------------------------------------------------------------------------------------------ */
struct training { const char *kind, *folder; long size, min_count; };

/* Files of another kind would be read in place of the new ones, or with them; a text must not be lost. */
static bool bad_folder(const struct training *o, char **files, int count, error *e)
{
    static const char *const names[] = { "vocab.txt", "vocab.json", "merges.txt", "spiece.model",
                                         "tokenizer.json", "added_tokens.json", "tokenizer_config.json" };
    bool bpe = !strcmp(o->kind, "bpe"), found = false;
    for (int i = 0; i < (int)(sizeof names / sizeof *names) && !found; i++) {
        bool own = bpe ? i == 1 || i == 2 : i == 0;
        char *path = mem_text("%s/%s", o->folder, names[i]);
        found = !own && path && !access(path, F_OK);
        if (found)
            error_usage(e, "%s: is of another tokenizer; expected a folder without one", QUOTE(path));
        for (int k = 0; own && path && !found && k < count; k++)
            if ((found = file_same(path, files[k])))
                error_usage(e, "%s: is what is read; expected another folder", QUOTE(path));
        mem_free(path);
    }
    return found;
}

/* How many tokens it has; 0: failed. */
static int learn(const struct training *o, char **files, int count, error *e)
{
    bool bpe = !strcmp(o->kind, "bpe");
    tokenizer_trainer *r = tokenizer_trainer_new(bpe ? TOKENIZER_BPE : TOKENIZER_WORDPIECE, e);
    bool ok = r != NULL;
    for (int i = 0; ok && i < count; i++) {
        long bytes;
        char *text = file_load(files[i], 1L << 34, &bytes, e);
        error why;
        ok = text && (tokenizer_trainer_add(r, text, bytes, &why)
                      || error_set(e, "%s: %s", QUOTE(files[i]), why.text));
        mem_free(text);
    }
    tokenizer *t = ok ? tokenizer_train(r, o->size, o->min_count, e) : NULL;
    int tokens = t && tokenizer_write(t, o->folder, e) ? tokenizer_size(t) : 0;
    tokenizer_free(t);
    tokenizer_trainer_free(r);
    return tokens;
}

static int train(const struct training *o, const cli_common *common, char **files, int count)
{
    error e;
    if (strcmp(o->kind, "bert") && strcmp(o->kind, "bpe"))
        return cli_usage("tokenize", "--train: expected bert or bpe, found \"%s\"", QUOTE(o->kind));
    if (!o->folder || count < 1)
        return cli_usage("tokenize", "files of text and --out DIR are needed");
    if (bad_folder(o, files, count, &e))
        return cli_fail(&e);
    int tokens = learn(o, files, count, &e);
    if (!tokens)
        return cli_fail(&e);
    if (common->json) {
        printf("{\"folder\":");
        cli_json_text(o->folder);
        printf(",\"tokens\":%d}\n", tokens);
    } else if (!common->quiet)
        printf("%s: %d tokens\n", o->folder, tokens);
    return 0;
}

static int convert(const char *path, const char *which, struct job *j, bool quiet)
{
    error e;
    if (which && strcmp(which, "bert") && strcmp(which, "llm"))
        return cli_usage("tokenize", "--which: expected bert or llm, found \"%s\"", QUOTE(which));
    tokenizer *t = open_tokenizer(path, which, &e);
    if (!t)
        return cli_fail(&e);
    cli_warn_unsealed(path, quiet);
    j->t = t;
    int code = convert_lines(j);
    tokenizer_free(t);
    return code;
}

/* An option that would do nothing beside the others; NULL: there is none. */
static const char *idle_option(const struct training *o, const struct job *j, const char *which)
{
    bool encodes = j->how.max || j->how.bare || j->how.literal;
    if (!o->kind && (o->size || o->min_count || o->folder))
        return "--size, --min-count and --out go with --train";
    if (o->kind && (which || j->decode || j->keep || encodes))
        return "--which, --decode, --keep-special, --max, --no-special and --literal do not go with --train";
    if (j->keep && !j->decode)
        return "--keep-special goes with --decode";
    if (j->decode && encodes)
        return "--max, --no-special and --literal do not go with --decode";
    return NULL;
}

static int run(int argc, char **argv)
{
    struct training o = { 0 };
    struct job j = { 0 };
    const char *which = NULL;
    cli_common common = { 0 };
    cli_option options[] = {
        { "which", "bert|llm", CLI_TEXT, &which, 0, 0, "which of a model's (default: llm, if it has one)" },
        { "decode", NULL, CLI_FLAG, &j.decode, 0, 0, "lists of ids to text; special tokens are left out" },
        { "keep-special", NULL, CLI_FLAG, &j.keep, 0, 0, "with --decode: special tokens too" },
        { "max", "N", CLI_INT, &j.how.max, 0, 1e9, "ids a line at most, special tokens counted" },
        { "no-special", NULL, CLI_FLAG, &j.how.bare, 0, 0, "no [CLS] [SEP], no </s> at the ends" },
        { "literal", NULL, CLI_FLAG, &j.how.literal, 0, 0,
          "special tokens in a text are ordinary characters" },
        { "train", "bert|bpe", CLI_TEXT, &o.kind, 0, 0, "which kind of vocabulary to make" },
        { "size", "N", CLI_INT, &o.size, 100, 1000000, "with --train: tokens at most (default 8000)" },
        { "min-count", "N", CLI_INT, &o.min_count, 1, 1e9,
          "with --train: rarer pairs are not joined (default 1)" },
        { "out", "DIR", CLI_TEXT, &o.folder, 0, 0, "the folder that gets the vocabulary; -o is the same" },
    };
    int code;
    if (!cli_parse(&argc, argv, options, 10, &common, &code))
        return code;
    j.json = common.json;
    const char *idle = idle_option(&o, &j, which);
    if (idle)
        return cli_usage("tokenize", "%s", idle);
    o.size = o.size ? o.size : 8000;
    o.min_count = o.min_count ? o.min_count : 1;
    if (o.kind)
        return train(&o, &common, argv + 1, argc - 1);
    if (argc != 2)
        return cli_usage("tokenize", "a model or a folder is needed: tokenize MODEL.h5 <FILE");
    return convert(argv[1], which, &j, common.quiet);
}

const cli_command cli_tokenize = {
    "tokenize", "(MODEL.h5 | DIR) | --train bert|bpe --out DIR FILE...",
    "text to ids and back; make a vocabulary", run,
    "Reads lines from standard input and prints a JSON list of ids for each; with --json an object with the\n"
    "text, the ids and the tokens. --decode reads such lists and prints the text. The tokenizer is that of\n"
    "a model, or of a folder with vocab.txt (BERT), vocab.json and merges.txt (OPT), spiece.model (T5) or\n"
    "tokenizer.json (any of them).\n\n"
    "--train makes a vocabulary from files: bert vocab.txt (WordPiece), bpe vocab.json and merges.txt."
};
