/* targets.c - the parsers of our own under libFuzzer: `make fuzz` builds it with clang's fuzzer, address and
 * undefined-behaviour sanitizers. BLIP2_FUZZ names the parser; whatever the bytes are, it takes them or says in
 * one line why not. */
#include "data/data.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void said(bool ok, const error *e)
{
    if (!ok && (!e->text[0] || (!e->lines && strchr(e->text, '\n'))))
        abort();                                   /* a refusal without its line */
}

static void picture_target(const char *bytes, long n)
{
    for (int as = PICTURE_LAVIS; as <= PICTURE_HF; as++) {
        picture p;
        error e = { 0 };
        bool ok = picture_decode_as(&p, (picture_reference)as, bytes, n, "f", &e);
        said(ok, &e);
        if (ok)
            picture_free(&p);
    }
}

static void use(tokenizer *t, const error *e)
{
    static const char text[] = "A Red dog's </s> [SEP] \xc3\xa9\xcc\x81 \xe2\x96\x81 \xe4\xba\x8c <extra_id_3>";
    token_list ids = { 0 };
    error mine = { 0 };
    said(t, e);
    if (t && tokenizer_encode(t, text, sizeof text - 1, &(tokenizer_options){ 0 }, &ids, &mine))
        mem_free(tokenizer_decode(t, ids.ids, ids.n, true, NULL));
    mem_free(ids.ids);
    tokenizer_free(t);
}

static void load(const char *name, const char *bytes, long n)
{
    error e = { 0 };
    use(tokenizer_load("f", &(tokenizer_file){ name, (char *)(uintptr_t)bytes, n }, 1, &e), &e);
}

static void words_target(const char *bytes, long n)    { load("vocab.txt", bytes, n); }
static void unigram_target(const char *bytes, long n)  { load("spiece.model", bytes, n); }
static void json_target(const char *bytes, long n)     { load("tokenizer.json", bytes, n); }

/* vocab.json, a zero byte, merges.txt */
static void bpe_target(const char *bytes, long n)
{
    const char *zero = memchr(bytes, 0, (size_t)n);
    long first = zero ? zero - bytes : n, skip = zero ? 1 : 0;
    tokenizer_file f[2] = { { "vocab.json", (char *)(uintptr_t)bytes, first },
                            { "merges.txt", (char *)(uintptr_t)bytes + first + skip, n - first - skip } };
    error e = { 0 };
    use(tokenizer_load("f", f, 2, &e), &e);
}

static void config_target(const char *bytes, long n)
{
    scenes_options o = scenes_defaults;
    error e = { 0 };
    said(config_read_text("f", bytes, (size_t)n, &(config_table){ "", scenes_keys, SCENES_KEYS, &o }, 1, &e), &e);
}

static const struct { const char *name; void (*run)(const char *bytes, long n); } targets[] = {
    { "picture", picture_target }, { "words", words_target }, { "bpe", bpe_target },
    { "unigram", unigram_target }, { "json", json_target }, { "config", config_target },
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const char *name = getenv("BLIP2_FUZZ");
    char *text = malloc(n + 1);                    /* a 0 stands behind, as behind a file */
    memcpy(text, bytes, n);
    text[n] = 0;
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        if (name && !strcmp(name, targets[i].name))
            targets[i].run(text, (long)n);
    free(text);
    return 0;
}
