/* tokenizer.c - NAME.jsonl: texts with their ids by the tokenizer in the folder NAME beside it. Ids and
 * decoded texts must be equal. Fields: text, ids, ids_maxN (cut at N), decoded (special tokens skipped),
 * ids_sentencepiece (where that library differs: either will do). */
#include "data/data.h"
#include "tests/golden/golden.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH = 4096 };
struct lines { golden *g; const tokenizer *t; token_list ids; long number, values, wrong; };

/* What the reference added to the vocabulary in the files (README of golden/tokenizers). */
static bool add_special(tokenizer *t, error *e)
{
    if (tokenizer_is(t) == TOKENIZER_WORDPIECE)
        return tokenizer_add(t, "[DEC]", e) >= 0;
    return tokenizer_id(t, "</s>") < 0 || tokenizer_add(t, "<image>", e) >= 0;
}

static void wrong(struct lines *l, const char *field, const char *what)
{
    l->wrong++;
    golden_fail(l->g, "line %ld: %s: %s", l->number, field, what);
}

static bool same_ids(const token_list *ours, const json_t *expected)
{
    bool same = (long)json_array_size(expected) == ours->n;
    for (long i = 0; same && i < ours->n; i++)
        same = json_integer_value(json_array_get(expected, (size_t)i)) == ours->ids[i];
    return same;
}

static void compare_ids(struct lines *l, const json_t *all, const char *field, const json_t *expected)
{
    const json_t *text = json_object_get(all, "text"), *other = json_object_get(all, "ids_sentencepiece");
    error e;
    tokenizer_options o = { .max = !strncmp(field, "ids_max", 7) ? atol(field + 7) : 0 };
    if (!tokenizer_encode(l->t, json_string_value(text), (long)json_string_length(text), &o, &l->ids, &e)) {
        wrong(l, field, e.text);
        return;
    }
    l->values += l->ids.n;
    if (!same_ids(&l->ids, expected) && !(other && !strcmp(field, "ids") && same_ids(&l->ids, other)))
        wrong(l, field, "other ids");
}

static void compare_decoded(struct lines *l, const json_t *ids, const json_t *expected)
{
    long n = (long)json_array_size(ids), bytes;
    int *list = mem_new((size_t)n * sizeof *list + 1);
    for (long i = 0; list && i < n; i++)
        list[i] = (int)json_integer_value(json_array_get(ids, (size_t)i));
    char *text = list ? tokenizer_decode(l->t, list, n, false, &bytes) : NULL;
    l->values++;
    if (!text || bytes != (long)json_string_length(expected)
        || memcmp(text, json_string_value(expected), (size_t)bytes))
        wrong(l, "decoded", text ? "another text" : "memory is out");
    mem_free(text);
    mem_free(list);
}

static void compare_line(struct lines *l, const char *line, size_t n)
{
    const char *field;
    json_t *value, *all = json_loadb(line, n, 0, NULL), *text = json_object_get(all, "text");
    if (!json_is_string(text) || !json_is_array(json_object_get(all, "ids")))
        wrong(l, "text, ids", "expected an object with both");
    else
        json_object_foreach(all, field, value) {
            if (!strcmp(field, "ids") || !strncmp(field, "ids_max", 7))
                compare_ids(l, all, field, value);
            else if (!strcmp(field, "decoded"))
                compare_decoded(l, json_object_get(all, "ids"), value);
            else if (strcmp(field, "text") != 0 && strcmp(field, "ids_sentencepiece") != 0)
                wrong(l, field, "was not compared");
        }
    json_decref(all);
}

static void compare_file(struct lines *l, const char *path)
{
    error e;
    long bytes;
    char *all = file_load(path, 1L << 30, &bytes, &e);
    if (!all) {
        golden_fail(l->g, "%s", e.text);
        return;
    }
    for (char *at = all; at < all + bytes; ) {
        char *stop = memchr(at, '\n', (size_t)(all + bytes - at));
        size_t n = (size_t)((stop ? stop : all + bytes) - at);
        l->number++;
        compare_line(l, at, n);
        at += n + 1;
    }
    mem_free(all);
    golden_result(l->g, "lines", l->values, (double)l->wrong, 0);
}

void golden_tokenizer(golden *g, tape *t)
{
    error e;
    char folder[PATH];
    const char *path = golden_file(g);
    (void)t;
    snprintf(folder, sizeof folder, "%.*s", (int)(strlen(path) - strlen(".jsonl")), path);
    tokenizer *words = tokenizer_read(folder, &e);
    struct lines l = { .g = g, .t = words };
    if (!words || !add_special(words, &e))
        golden_fail(g, "%s", e.text);
    else
        compare_file(&l, path);
    mem_free(l.ids.ids);
    tokenizer_free(words);
}
