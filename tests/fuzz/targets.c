/* targets.c - the parsers of our own under libFuzzer: `make fuzz` builds it with clang's fuzzer, address and
 * undefined-behaviour sanitizers. BLIP2_FUZZ names the parser; whatever the bytes are, it takes them or
 * says in one line why not. */
#define _GNU_SOURCE
#include "convert/internal.h"
#include "data/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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
    static const char text[] =
        "A Red dog's </s> [SEP] \xc3\xa9\xcc\x81 \xe2\x96\x81 \xe4\xba\x8c <extra_id_3>";
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
    said(config_read_text("f", bytes, (size_t)n, &(config_table){ "", scenes_keys, SCENES_KEYS, &o }, 1, &e),
         &e);
}

/* ---- files: the bytes stand in memory under a name ------------------------------------------------- */
/* The name of a file that holds the bytes, and its descriptor, to be closed. */
static int as_file(const char *bytes, long n, char name[64])
{
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, bytes, (size_t)n) != n)
        abort();
    snprintf(name, 64, "/proc/self/fd/%d", fd);
    return fd;
}

/* Every tensor of it is read, as long as they are small. */
static void read_all(const weights *w)
{
    for (long i = 0; i < weights_count(w); i++) {
        const weights_entry *x = weights_at(w, i);
        error e = { 0 };
        if (x->size > 1 << 20)
            continue;
        bool whole = x->type >= W_I64;
        void *to = malloc((size_t)x->size * 8 + 1);
        said(whole ? weights_read_longs(w, x, to, &e) : weights_read_doubles(w, x, to, &e), &e);
        free(to);
    }
}

/* safetensors, or torch's zip with its pickle: told apart by the first bytes; then as a checkpoint of
 * LAVIS, a tower, and a BERT, whose sizes are read off the shapes. */
static void weights_target(const char *bytes, long n)
{
    char name[64];
    error e = { 0 };
    int fd = as_file(bytes, n, name);
    weights *w = weights_open(name, &e);
    said(w, &e);
    if (w) {
        source s = { .kind = SOURCE_LAVIS, .path = name, .w = w };
        blip2_config c;
        read_all(w);
        e = (error){ 0 };
        said(convert_lavis_config(&s, &s, NULL, &c, &e), &e);
        if (convert_is_bert(w)) {
            c = blip2_config_default();
            convert_bert_sizes(w, false, &c);
        }
        weights_close(w);
    }
    close(fd);
}

/* The pickle alone, without the zip around it. */
static void pickle_target(const char *bytes, long n)
{
    pickle p = { 0 };
    error e = { 0 };
    said(pickle_read(&p, bytes, n, "f", &e), &e);
    pickle_free(&p);
}

/* An index of shards that are not there. */
static void index_target(const char *bytes, long n)
{
    char folder[] = "/tmp/fuzzXXXXXX", path[64];
    error e = { 0 };
    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    FILE *f = fopen(path, "w");
    if (!f || fwrite(bytes, 1, (size_t)n, f) != (size_t)n || fclose(f))
        abort();
    weights *w = weights_open(path, &e);
    said(w, &e);
    weights_close(w);
    unlink(path);
    rmdir(folder);
}

/* config.json of a Hugging Face folder */
static void hf_target(const char *bytes, long n)
{
    char name[64];
    blip2_config c;
    bool bare;
    error e = { 0 };
    int fd = as_file(bytes, n, name);
    said(convert_hf_config(name, &c, &bare, &e), &e);
    close(fd);
}

/* the configuration in a model file */
static void model_target(const char *bytes, long n)
{
    blip2_config c = blip2_config_default();
    config_table table = blip2_config_table("", &c);
    error e = { 0 };
    bool ok = config_read_text("f", bytes, (size_t)n, &table, 1, &e) && blip2_config_check("f", &c, &e);
    said(ok, &e);
}

static void exif_target(const char *bytes, long n)
{
    int turn = data_exif_orientation((const uint8_t *)bytes, n);
    if (turn < 1 || turn > 8)
        abort();
}

/* a list of records, one JSON object a line */
static void list_target(const char *bytes, long n)
{
    char name[64];
    record_list l = { 0 };
    error e = { 0 };
    int fd = as_file(bytes, n, name);
    said(records_read(name, &l, &e), &e);
    record_list_free(&l);
    close(fd);
}

static const struct { const char *name; void (*run)(const char *bytes, long n); } targets[] = {
    { "picture", picture_target }, { "words", words_target }, { "bpe", bpe_target },
    { "unigram", unigram_target }, { "json", json_target }, { "config", config_target },
    { "safetensors", weights_target }, { "torch", weights_target }, { "pickle", pickle_target },
    { "index", index_target }, { "hf", hf_target }, { "model", model_target }, { "exif", exif_target },
    { "list", list_target },
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
