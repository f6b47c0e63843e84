/* tokenizer_file.c - tokenizers as files, on disk or in memory: vocab.txt, or vocab.json and merges.txt. */
#include "data/internal.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
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

static bool load(tokenizer *t, const char *from, const tokenizer_file *vocab, const tokenizer_file *merges,
                 error *e)
{
    char *name = mem_text("%s/%s", from, vocab->name);
    char *second = merges ? mem_text("%s/%s", from, merges->name) : NULL;
    bool ok = (name && (second || !merges)) || data_no_memory(e, from);
    if (ok && t->kind == TOKENIZER_WORDPIECE)
        ok = wordpiece_load(t, name, vocab->bytes, vocab->size, e);
    else if (ok)
        ok = byte_bpe_load(t, name, vocab->bytes, vocab->size, e)
             && byte_bpe_load_merges(t, second, merges->bytes, merges->size, e);
    ok = ok && tokenizer_ready(t, name, e);
    mem_free(name);
    mem_free(second);
    return ok;
}

tokenizer *tokenizer_load(const char *from, const tokenizer_file *files, int n, error *e)
{
    const tokenizer_file *words = find(files, n, "vocab.txt"), *merges = find(files, n, "merges.txt");
    const tokenizer_file *vocab = words ? words : find(files, n, "vocab.json");
    if (!vocab || (!words && !merges)) {
        error_set(e, "%s: tokenizer: missing; expected vocab.txt, or vocab.json and merges.txt", from);
        return NULL;
    }
    tokenizer *t = tokenizer_new(words ? TOKENIZER_WORDPIECE : TOKENIZER_BPE, from, e);
    if (t && load(t, from, vocab, words ? NULL : merges, e))
        return t;
    tokenizer_free(t);
    return NULL;
}

tokenizer *tokenizer_read(const char *folder, error *e)
{
    static const char *const names[] = { "vocab.txt", "vocab.json", "merges.txt" };
    tokenizer_file files[TOKENIZER_FILES];
    int n = 0;
    bool ok = true;
    for (int i = 0; ok && i < 3 && !(i == 1 && n); i++) {          /* not both kinds */
        char *path = mem_text("%s/%s", folder, names[i]);
        ok = path || data_no_memory(e, folder);
        if (ok && access(path, F_OK) == 0) {
            files[n].name = names[i];
            files[n].bytes = file_load(path, TOKENIZER_FILE_BYTES, &files[n].size, e);
            ok = files[n].bytes;
            n += ok;
        }
        mem_free(path);
    }
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

int tokenizer_files(const tokenizer *t, tokenizer_file to[TOKENIZER_FILES], error *e)
{
    buffer vocab = { 0 }, merges = { 0 };
    put_vocabulary(&vocab, t);
    if (t->kind == TOKENIZER_BPE)
        put_merges(&merges, t);
    if (vocab.failed || merges.failed) {
        data_buffer_free(&vocab);
        data_buffer_free(&merges);
        return data_no_memory(e, "tokenizer");
    }
    to[0] = (tokenizer_file){ t->kind == TOKENIZER_BPE ? "vocab.json" : "vocab.txt", vocab.text, vocab.used };
    to[1] = (tokenizer_file){ "merges.txt", merges.text, merges.used };
    return t->kind == TOKENIZER_BPE ? 2 : 1;
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
    tokenizer_file files[TOKENIZER_FILES];
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return error_set(e, "%s: folder: cannot make it: %s", folder, strerror(errno));
    int n = tokenizer_files(t, files, e);
    bool ok = n > 0;
    for (int i = 0; i < n; i++) {
        ok = ok && write_file(folder, &files[i], e);
        mem_free(files[i].bytes);
    }
    return ok;
}
