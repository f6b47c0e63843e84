/* byte_bpe_load.c - vocab.json, token to id, and merges.txt, "left right" a line in the order of rank. */
#include "data/internal.h"
#include <string.h>

/* The keys in the order of their ids, which must be 0 to n - 1. */
static bool sort_keys(const char *name, json_t *root, const char **keys, long n, error *e)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        if (!json_is_integer(value))
            return error_set(e, "%s: %s: id: expected a whole number", name, QUOTE(key));
        json_int_t id = json_integer_value(value);
        if (id < 0 || id >= n)
            return error_set(e, "%s: %s: id: expected 0 to %ld, one for each token; found %lld", name,
                             QUOTE(key), n - 1, (long long)id);
        if (keys[id])
            return error_set(e, "%s: %s: id: %lld is that of %s too", name, QUOTE(key), (long long)id,
                             QUOTE(keys[id]));
        keys[id] = key;
    }
    return true;
}

bool tokenizer_add_ids(tokenizer *t, const char *name, json_t *root, error *e)
{
    long n = (long)json_object_size(root);
    if (!json_is_object(root))
        return error_set(e, "%s: vocabulary: expected an object, token to id", name);
    if (n == 0 || n > TOKENIZER_TOKENS)
        return error_set(e, "%s: vocabulary: expected 1 to %d tokens, found %ld", name, TOKENIZER_TOKENS, n);
    const char **keys = mem_new((size_t)n * sizeof *keys);
    if (!keys)
        return data_no_memory(e, name);
    bool ok = sort_keys(name, root, keys, n, e);
    for (long id = 0; ok && id < n; id++) {
        size_t bytes = strlen(keys[id]);
        if (bytes == 0 || bytes > TOKENIZER_TOKEN_BYTES)
            ok = error_set(e, "%s: %s: token: expected 1 to %d bytes, found %zu", name, QUOTE(keys[id]),
                           TOKENIZER_TOKEN_BYTES, bytes);
        else
            ok = vocabulary_add(&t->tokens, keys[id], (long)bytes) >= 0 || data_no_memory(e, name);
    }
    mem_free(keys);
    return ok;
}

bool byte_bpe_find_bytes(tokenizer *t, const char *name, error *e)
{
    for (int byte = 0; byte < BYTE_VALUES; byte++) {
        buffer token = { 0 };
        data_append_character(&token, byte_character(byte));
        t->byte[byte] = token.failed ? -1 : vocabulary_find(&t->tokens, token.text, token.used);
        bool failed = token.failed;
        data_buffer_free(&token);
        if (failed)
            return data_no_memory(e, name);
        if (t->byte[byte] < 0)
            return error_set(e, "%s: vocabulary: byte %d has no token; expected one for each byte", name,
                             byte);
    }
    return true;
}

bool byte_bpe_load(tokenizer *t, const char *name, const char *bytes, long n, error *e)
{
    json_t *root = data_json(name, 1, bytes, n, TOKENIZER_TOKENS + 1, e);
    if (!root)
        return false;
    bool ok = tokenizer_add_ids(t, name, root, e) && byte_bpe_find_bytes(t, name, e);
    json_decref(root);
    return ok;
}

bool byte_bpe_add_merge(tokenizer *t, int left, int right, int product)
{
    int rank = (int)(t->merges.n / 3);
    data_push(&t->merges, left);
    data_push(&t->merges, right);
    data_push(&t->merges, product);
    return !t->merges.failed && pairs_add(&t->ranks, left, right, rank);
}

/* Both, and what they make together, must be tokens. */
bool byte_bpe_merge(tokenizer *t, const char *name, long at, const char *left, long n, const char *right,
                    long m, buffer *product, error *e)
{
    product->used = 0;
    data_append(product, left, n);
    data_append(product, right, m);
    if (product->failed)
        return data_no_memory(e, name);
    const char *part[3] = { left, right, product->text };
    long bytes[3] = { n, m, product->used };
    int id[3];
    for (int i = 0; i < 3; i++) {
        id[i] = vocabulary_find(&t->tokens, part[i], bytes[i]);
        if (id[i] < 0)
            return error_set(e, "%s:%ld: merge: %s: %s is not in the vocabulary", name, at,
                             QUOTE(product->text),
                             (const char *[]){ "the left part", "the right part", "the product" }[i]);
    }
    if (pairs_find(&t->ranks, id[0], id[1]) >= 0)
        return error_set(e, "%s:%ld: merge: this pair has a rank already", name, at);
    return byte_bpe_add_merge(t, id[0], id[1], id[2]) || data_no_memory(e, name);
}

bool byte_bpe_merge_line(tokenizer *t, const char *name, long at, const char *line, long n, buffer *product,
                         error *e)
{
    const char *space = memchr(line, ' ', (size_t)n);
    long left = space ? space - line : n, right = n - left - 1;
    if (left < 1 || right < 1 || memchr(space + 1, ' ', (size_t)right))
        return error_set(e, "%s:%ld: merge: expected two tokens with a space between them", name, at);
    return byte_bpe_merge(t, name, at, line, left, space + 1, right, product, e);
}

bool byte_bpe_load_merges(tokenizer *t, const char *name, const char *bytes, long n, error *e)
{
    if (n == 0)
        return error_set(e, "%s: merges: empty file; expected \"#version: 0.2\" and a merge a line", name);
    buffer product = { 0 };
    bool ok = true;
    for (long at = 0, line = 1; ok && at < n; line++) {
        const char *end = memchr(bytes + at, '\n', (size_t)(n - at));
        long length = end ? end - (bytes + at) : n - at;
        long step = length + (end ? 1 : 0);
        if (length && bytes[at + length - 1] == '\r')
            length--;
        bool version = line == 1 && length >= 8 && !memcmp(bytes + at, "#version", 8);
        ok = version || byte_bpe_merge_line(t, name, line, bytes + at, length, &product, e);
        at += step;
    }
    data_buffer_free(&product);
    return ok;
}
