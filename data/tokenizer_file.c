/* tokenizer_file.c - tokenizers as files, on disk or in memory (data.h). What was read from vocab.txt or
 * vocab.json is written as such with all added tokens inside; spiece.model and a unigram tokenizer.json are
 * written as they were. added_tokens.json beside them has the special tokens that they do not tell. */
#include "data/internal.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- reading ------------------------------------------------------------------------------------------- */
static const tokenizer_file *find(const tokenizer_file *files, int n, const char *name)
{
    for (int i = 0; i < n; i++) {
        const char *folder = strrchr(files[i].name, '/');
        if (!strcmp(folder ? folder + 1 : files[i].name, name))
            return &files[i];
    }
    return NULL;
}

/* One file into the tokenizer; `load` names it in its errors. */
typedef bool (*loader)(tokenizer *t, const char *name, const char *bytes, long n, error *e);

static bool take(tokenizer *t, const char *from, const tokenizer_file *f, loader load, error *e)
{
    char *name = f ? mem_text("%s/%s", from, f->name) : NULL;
    if (!name)
        return data_no_memory(e, from);
    bool ok = load(t, name, f->bytes, f->size, e);
    mem_free(name);
    return ok;
}

static bool ready(tokenizer *t, const char *name, const char *bytes, long n, error *e)
{
    (void)bytes, (void)n;
    return tokenizer_ready(t, name, e);
}

static tokenizer *load_json(const char *from, const tokenizer_file *f, error *e)
{
    char *name = mem_text("%s/%s", from, f->name);
    tokenizer *t = name ? tokenizer_load_json(name, f->bytes, f->size, e) : NULL;
    if (!name)
        data_no_memory(e, from);
    mem_free(name);
    return t;
}

static bool is_special(const tokenizer *t, int id)
{
    bool special = false;
    for (int i = 0; i < t->specials; i++)
        special |= t->special[i] == id;
    return special;
}

/* The first id under which they have different texts, -1: there is none. One may know special tokens more,
 * behind the others: they stand in no vocab.txt. */
static int first_difference(const tokenizer *a, const tokenizer *b)
{
    const tokenizer *longer = a->tokens.n > b->tokens.n ? a : b;
    int both = a->tokens.n + b->tokens.n - longer->tokens.n;
    for (int id = 0; id < both; id++)
        if (strcmp(vocabulary_text(&a->tokens, id), vocabulary_text(&b->tokens, id)))
            return id;
    for (int id = both; id < longer->tokens.n; id++)
        if (!is_special(longer, id))
            return id;
    return -1;
}

/* tokenizer.json is what others read first: it must give the same ids as `first`, which is read here. */
static bool check_json(const tokenizer *t, const char *from, const tokenizer_file *first,
                       const tokenizer_file *any, error *e)
{
    tokenizer *other = load_json(from, any, e);
    if (!other)
        return false;
    bool ok = other->kind == t->kind
              || error_set(e, "%s/%s: another kind of tokenizer than that of %s; expected the same in both",
                           from, any->name, first->name);
    int id = ok ? first_difference(t, other) : -1;
    const char *here = id < 0 ? NULL : tokenizer_token(t, id);
    const char *there = id < 0 ? NULL : tokenizer_token(other, id);
    if (id >= 0)
        ok = error_set(e, "%s/%s: token %d: \"%s\", and in %s \"%s\"; expected the same in both", from,
                       any->name, id, there ? QUOTE(there) : "", first->name, here ? QUOTE(here) : "");
    if (ok && (t->merges.n != other->merges.n
               || (t->merges.n
                   && memcmp(t->merges.at, other->merges.at, (size_t)t->merges.n*sizeof *t->merges.at))))
        ok = error_set(e, "%s/%s: merges: not those of merges.txt; expected the same in both", from,
                       any->name);
    tokenizer_free(other);
    return ok;
}

/* Settings that give other ids stand in files beside the vocabulary, which itself does not tell them. */
static bool check_beside(const tokenizer *t, const char *from, const tokenizer_file *first,
                         const tokenizer_file *any, const tokenizer_file *config, error *e)
{
    bool ok = !first || !any || check_json(t, from, first, any, e);
    char *name = ok && config ? mem_text("%s/%s", from, config->name) : NULL;
    if (ok && config)
        ok = name ? tokenizer_check_config(t, name, config->bytes, config->size, e) : data_no_memory(e, from);
    mem_free(name);
    return ok;
}

tokenizer *tokenizer_load(const char *from, const tokenizer_file *files, int n, error *e)
{
    const tokenizer_file *words = find(files, n, "vocab.txt"), *merges = find(files, n, "merges.txt");
    const tokenizer_file *bytes = find(files, n, "vocab.json"), *pieces = find(files, n, "spiece.model");
    const tokenizer_file *any = find(files, n, "tokenizer.json");
    const tokenizer_file *added = find(files, n, "added_tokens.json");
    const tokenizer_file *config = find(files, n, "tokenizer_config.json");
    bool bpe = !words && bytes && merges;
    loader read = words ? wordpiece_load : bpe ? byte_bpe_load : unigram_load;
    tokenizer_kind kind = words ? TOKENIZER_WORDPIECE : bpe ? TOKENIZER_BPE : TOKENIZER_UNIGRAM;
    const tokenizer_file *first = words ? words : bpe ? bytes : pieces;
    if (!first && !any) {
        error_set(e, "%s: tokenizer: missing; expected vocab.txt, vocab.json and merges.txt, spiece.model or "
                  "tokenizer.json", from);
        return NULL;
    }
    tokenizer *t = first ? tokenizer_new(kind, from, e) : load_json(from, any, e);
    bool ok = t && (!first || take(t, from, first, read, e));
    ok = ok && (!bpe || take(t, from, merges, byte_bpe_load_merges, e));
    ok = ok && (!first || take(t, from, first, ready, e));
    ok = ok && (!added || take(t, from, added, tokenizer_load_added, e));
    ok = ok && check_beside(t, from, first, any, config, e);
    if (ok)
        return t;
    tokenizer_free(t);
    return NULL;
}

/* Reads the file `name` of a folder behind the *n that were read, if it is there. */
static bool read_file(const char *folder, const char *name, tokenizer_file *files, int *n, error *e)
{
    char *path = mem_text("%s/%s", folder, name);
    if (!path)
        return data_no_memory(e, folder);
    bool there = access(path, F_OK) == 0;
    tokenizer_file f = { .name = name };
    if (there)
        f.bytes = file_load(path, TOKENIZER_FILE_BYTES, &f.size, e);
    if (f.bytes)
        files[(*n)++] = f;
    mem_free(path);
    return f.bytes || !there;
}

tokenizer *tokenizer_read(const char *folder, error *e)
{
    static const char *const names[] = { "vocab.txt", "vocab.json", "merges.txt", "spiece.model",
                                         "tokenizer.json", "added_tokens.json", "tokenizer_config.json" };
    tokenizer_file files[sizeof names / sizeof *names];
    int n = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof names / sizeof *names; i++)
        ok = read_file(folder, names[i], files, &n, e);
    tokenizer *t = ok ? tokenizer_load(folder, files, n, e) : NULL;
    while (n)
        mem_free(files[--n].bytes);
    return t;
}

/* ---- writing ------------------------------------------------------------------------------------------- */
static void put_json_text(buffer *b, const char *text)
{
    data_append(b, "\"", 1);
    for (; *text; text++)
        if ((unsigned char)*text < 32)
            data_print(b, "\\u%04x", *text);
        else
            data_print(b, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    data_append(b, "\"", 1);
}

static void put_vocabulary(buffer *b, const tokenizer *t)
{
    for (int id = 0; id < t->tokens.n; id++)
        if (t->kind == TOKENIZER_WORDPIECE) {
            data_print(b, "%s\n", vocabulary_text(&t->tokens, id));
        } else {
            data_print(b, id ? "," : "{");
            put_json_text(b, vocabulary_text(&t->tokens, id));
            data_print(b, ":%d", id);
        }
    if (t->kind == TOKENIZER_BPE)
        data_print(b, "}\n");
}

static void put_merges(buffer *b, const tokenizer *t)
{
    data_print(b, "#version: 0.2\n");
    for (long i = 0; i < t->merges.n; i += 3)
        data_print(b, "%s %s\n", vocabulary_text(&t->tokens, t->merges.at[i]),
                   vocabulary_text(&t->tokens, t->merges.at[i + 1]));
}

static int by_id(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Special tokens that a reader of the other files would not know, in the order of their ids; false: none. */
static bool put_added(buffer *b, const tokenizer *t)
{
    int ids[TOKENIZER_SPECIALS], n = 0;
    for (int i = 0; i < t->specials; i++) {
        int id = t->special[i];
        bool behind = t->kind == TOKENIZER_UNIGRAM && id >= t->unigram->own;
        if (behind || !tokenizer_knows(t, vocabulary_text(&t->tokens, id)))
            ids[n++] = id;
    }
    qsort(ids, (size_t)n, sizeof *ids, by_id);
    for (int i = 0; i < n; i++) {
        data_print(b, i ? "," : "{");
        put_json_text(b, vocabulary_text(&t->tokens, ids[i]));
        data_print(b, ":%d", ids[i]);
    }
    if (n)
        data_print(b, "}\n");
    return n;
}

/* One file more, behind those that are there. */
static buffer *put_file(tokenizer_file to[TOKENIZER_FILES], buffer b[TOKENIZER_FILES], int *n,
                        const char *name)
{
    to[*n].name = name;
    return &b[(*n)++];
}

int tokenizer_files(const tokenizer *t, tokenizer_file to[TOKENIZER_FILES], error *e)
{
    buffer b[TOKENIZER_FILES] = { { 0 } }, added = { 0 };
    int n = 0;
    if (t->kind == TOKENIZER_UNIGRAM)
        data_append(put_file(to, b, &n, t->unigram->source_name), t->unigram->source,
                    t->unigram->source_size);
    else
        put_vocabulary(put_file(to, b, &n, t->kind == TOKENIZER_BPE ? "vocab.json" : "vocab.txt"), t);
    if (t->kind == TOKENIZER_BPE)
        put_merges(put_file(to, b, &n, "merges.txt"), t);
    if (put_added(&added, t))
        *put_file(to, b, &n, "added_tokens.json") = added;
    bool failed = false;
    for (int i = 0; i < n; i++)
        failed |= b[i].failed;
    for (int i = 0; i < n; i++) {
        to[i].bytes = b[i].text;
        to[i].size = b[i].used;
        if (failed)
            data_buffer_free(&b[i]);
    }
    return failed ? data_no_memory(e, "tokenizer") : n;
}

static bool write_file(const char *folder, const tokenizer_file *f, error *e)
{
    char *path = mem_text("%s/%s", folder, f->name);
    if (!path)
        return data_no_memory(e, folder);
    file_out *out = file_create(path, e);
    mem_free(path);
    if (!out)
        return false;
    file_write(out, f->bytes, f->size);
    return file_finish(out, e);
}

bool tokenizer_write(const tokenizer *t, const char *folder, error *e)
{
    tokenizer_file files[TOKENIZER_FILES] = { { 0 } };
    if (!file_make_folders(folder, e))
        return false;
    int n = tokenizer_files(t, files, e);
    bool ok = n > 0;
    for (int i = 0; i < n; i++) {
        ok = ok && write_file(folder, &files[i], e);
        mem_free(files[i].bytes);
    }
    return ok;
}
