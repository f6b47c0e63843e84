/* tokenizer_train.c - a vocabulary from text: words are counted, sorted, spelled, and merged. */
#include "data/internal.h"
#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 100 };                    /* longer words and pieces teach nothing */

struct tokenizer_trainer {
    tokenizer_kind kind;
    byte_splitter *splitter;
    vocabulary words;
    long *count, room;                 /* (words.n) */
};

tokenizer_trainer *tokenizer_trainer_new(tokenizer_kind kind, error *e)
{
    tokenizer_trainer *r = mem_new(sizeof *r);
    if (r && kind == TOKENIZER_BPE)
        r->splitter = byte_splitter_new();
    if (!r || (kind == TOKENIZER_BPE && !r->splitter)) {
        mem_free(r);
        data_no_memory(e, "vocabulary");
        return NULL;
    }
    r->kind = kind;
    return r;
}

void tokenizer_trainer_free(tokenizer_trainer *r)
{
    if (!r)
        return;
    byte_splitter_free(r->splitter);
    vocabulary_free(&r->words);
    mem_free(r->count);
    mem_free(r);
}

static bool count_piece(void *context, const char *piece, long n)
{
    tokenizer_trainer *r = context;
    if (n > PIECE_BYTES)
        return true;
    void *count = r->count;
    bool ok = data_room(&count, &r->room, r->words.n + 1, sizeof *r->count);
    r->count = count;
    int id = ok ? vocabulary_find(&r->words, piece, n) : -1;
    if (ok && id < 0)
        id = vocabulary_add(&r->words, piece, n);
    if (id >= 0)
        r->count[id]++;
    return id >= 0;
}

bool tokenizer_trainer_add(tokenizer_trainer *r, const char *text, long bytes, error *e)
{
    long valid = unicode_valid(text, bytes);
    if (valid != bytes)
        return error_set(e, "vocabulary: text: not UTF-8 at byte %ld", valid + 1);
    bool ok = r->kind == TOKENIZER_BPE ? byte_bpe_pieces(r->splitter, text, bytes, count_piece, r)
                                       : wordpiece_words(text, bytes, count_piece, r);
    return ok || data_no_memory(e, "vocabulary");
}

/* ---- the first tokens ---------------------------------------------------------------------------------- */
static bool add(vocabulary *v, const char *text, long n)
{
    return vocabulary_find(v, text, n) >= 0 || vocabulary_add(v, text, n) >= 0;
}

static bool add_names(vocabulary *v, const char *const *names)
{
    bool ok = true;
    for (; ok && *names; names++)
        ok = add(v, *names, (long)strlen(*names));
    return ok;
}

/* A word's characters as tokens: the first as it is, others behind "##". Adds them, or pushes their ids. */
static bool spell_wordpiece(vocabulary *v, const char *word, long n, ints *ids)
{
    char token[2 + 4] = "##";
    bool ok = true;
    for (long at = 0, step; ok && at < n; at += step) {
        int c;
        step = unicode_next(word + at, n - at, &c);
        memcpy(token + 2, word + at, (size_t)step);
        const char *from = at ? token : token + 2;
        long length = step + (at ? 2 : 0);
        if (!ids)
            ok = add(v, from, length);
        else
            data_push(ids, vocabulary_find(v, from, length));
    }
    return ok && !(ids && ids->failed);
}

static bool first_wordpieces(vocabulary *v)
{
    static const char *const names[] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", NULL };
    bool ok = add_names(v, names);
    for (char c = '!'; ok && c <= '~'; c++) {
        char token[] = { '#', '#', c };
        bool joins = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
        ok = (c >= 'A' && c <= 'Z') || (add(v, &c, 1) && (!joins || add(v, token, 3)));
    }
    return ok;
}

static bool first_bytes(vocabulary *v, int *id_of_byte)
{
    static const char *const names[] = { "<s>", "<pad>", "</s>", "<unk>", NULL };
    bool ok = add_names(v, names);
    for (int c = 0; ok && c <= byte_character(173); c++) {
        buffer token = { 0 };
        int byte = byte_of_character(c);
        if (byte < 0)
            continue;
        data_append_character(&token, c);
        ok = !token.failed && (id_of_byte[byte] = vocabulary_add(v, token.text, token.used)) >= 0;
        data_buffer_free(&token);
    }
    return ok;
}

/* ---- words, in an order that does not depend on the text's --------------------------------------------- */
struct listed { const char *text; long n, count; };

static int by_text(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    int order = memcmp(x->text, y->text, (size_t)(x->n < y->n ? x->n : y->n));
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

static struct listed *list_words(const tokenizer_trainer *r)
{
    struct listed *list = mem_new((size_t)r->words.n * sizeof *list + 1);
    for (int i = 0; list && i < r->words.n; i++)
        list[i] =
            (struct listed){ vocabulary_text(&r->words, i), vocabulary_bytes(&r->words, i), r->count[i] };
    if (list)
        qsort(list, (size_t)r->words.n, sizeof *list, by_text);
    return list;
}

static bool spell(const tokenizer_trainer *r, tokenizer *t, const struct listed *list, merge_job *job)
{
    bool ok = true;
    if (r->kind == TOKENIZER_BPE)
        ok = first_bytes(&t->tokens, t->byte);
    else
        ok = first_wordpieces(&t->tokens);
    for (long w = 0; ok && r->kind == TOKENIZER_WORDPIECE && w < job->words; w++)
        ok = spell_wordpiece(&t->tokens, list[w].text, list[w].n, NULL);
    for (long w = 0; ok && w < job->words; w++) {
        job->word[w] = (struct merge_word){ job->symbols.n, 0, list[w].count };
        if (r->kind == TOKENIZER_WORDPIECE)
            ok = spell_wordpiece(&t->tokens, list[w].text, list[w].n, &job->symbols);
        else
            for (long i = 0; i < list[w].n; i++)
                data_push(&job->symbols, t->byte[(unsigned char)list[w].text[i]]);
        job->word[w].n = job->symbols.n - job->word[w].start;
    }
    return ok && !job->symbols.failed;
}

/* ---- the result ---------------------------------------------------------------------------------------- */
/* Keeps the first `base` tokens, and of those learned the ones that stand in the words after all merges. */
static bool keep_used(vocabulary *v, int base, const long *uses)
{
    vocabulary kept = { 0 };
    bool ok = true;
    for (int id = 0; ok && id < v->n; id++)
        if (id < base || uses[id] > 0)
            ok = vocabulary_add(&kept, vocabulary_text(v, id), vocabulary_bytes(v, id)) >= 0;
    vocabulary_free(v);
    *v = kept;
    return ok;
}

static bool learn(const tokenizer_trainer *r, tokenizer *t, merge_job *job, error *e)
{
    struct listed *list = list_words(r);
    job->word = mem_new((size_t)job->words * sizeof *job->word + 1);
    bool ok = list && job->word && spell(r, t, list, job);
    int base = t->tokens.n;
    mem_free(list);
    if (!ok)
        return data_no_memory(e, "vocabulary");
    if (base > job->size)
        return error_set(e, "vocabulary: size: expected at least %d, the first tokens; found %ld", base,
                         job->size);
    ok = merge_learn(job);
    if (ok && t->kind == TOKENIZER_WORDPIECE)
        ok = keep_used(&t->tokens, base, job->uses);
    for (long i = 0; ok && t->kind == TOKENIZER_BPE && i < job->merges.n; i += 3)
        ok = byte_bpe_add_merge(t, job->merges.at[i], job->merges.at[i + 1], job->merges.at[i + 2]);
    return ok ? tokenizer_ready(t, "vocabulary", e) : data_no_memory(e, "vocabulary");
}

tokenizer *tokenizer_train(tokenizer_trainer *r, long size, long min_count, error *e)
{
    if (size > TOKENIZER_TOKENS) {
        error_set(e, "vocabulary: size: expected at most %d, found %ld", TOKENIZER_TOKENS, size);
        return NULL;
    }
    tokenizer *t = tokenizer_new(r->kind, "vocabulary", e);
    if (!t)
        return NULL;
    merge_job job = { .tokens = &t->tokens, .words = r->words.n, .wordpiece = r->kind == TOKENIZER_WORDPIECE,
                      .size = size, .min_count = min_count };
    bool ok = learn(r, t, &job, e);
    mem_free(job.symbols.at);
    mem_free(job.word);
    mem_free(job.merges.at);
    mem_free(job.uses);
    if (ok)
        return t;
    tokenizer_free(t);
    return NULL;
}
