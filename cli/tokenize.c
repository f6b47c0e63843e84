/* tokenize.c - `blip2 tokenize --train`: a small vocabulary from text files. */
#include "cli/commands.h"
#include "data/data.h"
#include <stdio.h>
#include <string.h>

/* How many tokens it has; 0: failed. */
static int learn(const char *kind, long size, long min_count, char **files, int count, const char *folder,
                 error *e)
{
    bool bpe = !strcmp(kind, "bpe");
    tokenizer_trainer *r = tokenizer_trainer_new(bpe ? TOKENIZER_BPE : TOKENIZER_WORDPIECE, e);
    bool ok = r != NULL;
    for (int i = 0; ok && i < count; i++) {
        long bytes;
        char *text = file_load(files[i], 1L << 34, &bytes, e);
        ok = text && tokenizer_trainer_add(r, text, bytes, e);
        mem_free(text);
    }
    tokenizer *t = ok ? tokenizer_train(r, size, min_count, e) : NULL;
    int tokens = t && tokenizer_write(t, folder, e) ? tokenizer_size(t) : 0;
    tokenizer_free(t);
    tokenizer_trainer_free(r);
    return tokens;
}

static int run(int argc, char **argv)
{
    const char *kind = NULL, *folder = NULL;
    long size = 8000, min_count = 1;
    cli_common common = { 0 };
    cli_option options[] = {
        { "train", "bert|bpe", CLI_TEXT, &kind, 0, 0, "which kind of vocabulary to make" },
        { "size", "N", CLI_INT, &size, 100, 1000000, "tokens at most" },
        { "min-count", "N", CLI_INT, &min_count, 1, 1e9, "pairs seen less often are not joined" },
        { "out", "DIR", CLI_TEXT, &folder, 0, 0, "the folder that gets the vocabulary; -o is the same" },
    };
    int code;
    error e;
    if (!cli_parse(&argc, argv, options, 4, &common, &code))
        return code;
    if (!kind)
        return cli_usage("tokenize", "encoding and --decode are not built in this version; expected --train");
    if (strcmp(kind, "bert") && strcmp(kind, "bpe"))
        return cli_usage("tokenize", "--train: expected bert or bpe, found \"%s\"", QUOTE(kind));
    if (!folder || argc < 2)
        return cli_usage("tokenize", "files of text and --out DIR are needed");
    int tokens = learn(kind, size, min_count, argv + 1, argc - 1, folder, &e);
    if (!tokens)
        return cli_fail(&e);
    if (common.json) {
        printf("{\"folder\":");
        cli_json_text(folder);
        printf(",\"tokens\":%d}\n", tokens);
    } else if (!common.quiet)
        printf("%s: %d tokens\n", folder, tokens);
    return 0;
}

const cli_command cli_tokenize = {
    "tokenize", "--train bert|bpe --out DIR FILE...", "make a vocabulary from text", run,
    "bert makes vocab.txt (WordPiece), bpe makes vocab.json and merges.txt (byte level, as OPT)."
};
