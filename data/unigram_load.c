/* unigram_load.c - spiece.model: SentencePiece's ModelProto (sentencepiece_model.proto, as facts).
 *   1 piece, many     { 1 text, 2 score (float), 3 type: 1 normal, 2 unknown, 3 control, 4 user, 6 byte }
 *   2 training        { 3 kind: 1 unigram; 35 unknown characters as bytes }
 *   3 normaliser      { 2 replacements (charsmap.c), 3 a mark in front, 4 spaces joined, 5 spaces as marks }
 * The 100 names <extra_id_99> to <extra_id_0> follow the pieces, as in T5. */
#include "data/internal.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NORMAL = 1, UNKNOWN = 2, TYPES = 6, EXTRA_IDS = 100 };
enum { PIECE = 1, TRAINING = 2, NORMALISER = 3 };  /* fields of the model */

bool unigram_add(tokenizer *t, const char *name, const char *text, long n, double score, bool plain, error *e)
{
    struct unigram *u = t->unigram;
    void *scores = u->score, *plains = u->plain;
    long rooms[2] = { u->room, u->room };
    if (n < 1 || n > TOKENIZER_TOKEN_BYTES || unicode_valid(text, n) != n || memchr(text, 0, (size_t)n))
        return error_set(e, "%s: piece %d: expected UTF-8 of 1 to %d bytes, found %ld", name, t->tokens.n,
                         TOKENIZER_TOKEN_BYTES, n);
    if (!isfinite(score) || fabs(score) > 1e9)
        return error_set(e, "%s: piece %d: score; expected a number, found %g", name, t->tokens.n, score);
    int same = vocabulary_find(&t->tokens, text, n);
    if (same >= 0)
        return error_set(e, "%s: piece %d: %s is there twice; it is piece %d too", name, t->tokens.n,
                         QUOTE(vocabulary_text(&t->tokens, same)), same);
    if (t->tokens.n == TOKENIZER_TOKENS)
        return error_set(e, "%s: vocabulary: too many pieces; expected at most %d", name, TOKENIZER_TOKENS);
    bool room = data_room(&scores, &rooms[0], u->pieces + 1L, sizeof *u->score);
    room = data_room(&plains, &rooms[1], u->pieces + 1L, sizeof *u->plain) && room;
    u->score = scores;
    u->plain = plains;
    if (!room || vocabulary_add(&t->tokens, text, n) < 0)
        return data_no_memory(e, name);
    u->room = rooms[0];
    u->score[u->pieces] = score;
    u->plain[u->pieces++] = plain;
    return true;
}

static bool add_piece(tokenizer *t, const char *name, const protobuf_field *all, error *e)
{
    protobuf p = { all->bytes, all->bytes + all->n, false };
    protobuf_field f, text = { 0 };
    uint32_t bits = 0;
    uint64_t type = NORMAL;
    float score;
    while (protobuf_next(&p, &f)) {
        if (f.number == 1 && f.form == 2)
            text = f;
        else if (f.number == 2 && f.form == 5)
            bits = (uint32_t)f.value;
        else if (f.number == 3 && f.form == 0)
            type = f.value;
        else if (f.number <= 3)
            p.broken = true;
    }
    if (p.broken || type < NORMAL || type > TYPES)
        return error_set(e, "%s: piece %d: damaged", name, t->tokens.n);
    memcpy(&score, &bits, sizeof score);
    if (type == UNKNOWN && t->unknown >= 0)
        return error_set(e, "%s: piece %d: a second unknown token", name, t->tokens.n);
    if (type == UNKNOWN)
        t->unknown = t->tokens.n;
    bool plain = type == NORMAL || type == 4;
    return unigram_add(t, name, (const char *)text.bytes, text.n, (double)score, plain, e);
}

/* Of training or normaliser: a field's number, or `otherwise` where it is not there. */
static bool number_of(const protobuf_field *all, int which, uint64_t otherwise, uint64_t *to)
{
    protobuf p = { all->bytes, all->bytes + all->n, false };
    protobuf_field f;
    *to = otherwise;
    while (protobuf_next(&p, &f))
        if (f.number == which && f.form == 0)
            *to = f.value;
    return !p.broken;
}

static bool check_settings(const char *name, const protobuf_field *training, const protobuf_field *normaliser,
                           error *e)
{
    uint64_t kind, bytes, front, joined, marks;
    if (!training->bytes)
        return error_set(e, "%s: training: missing; expected a SentencePiece model", name);
    if (!number_of(training, 3, 1, &kind) || !number_of(training, 35, 0, &bytes)
        || !number_of(normaliser, 3, 1, &front) || !number_of(normaliser, 4, 1, &joined)
        || !number_of(normaliser, 5, 1, &marks))
        return error_set(e, "%s: settings: damaged", name);
    if (kind != 1 || bytes)
        return error_set(e, "%s: kind: expected a unigram model without bytes, found kind %llu%s", name,
                         (unsigned long long)kind, bytes ? " with bytes" : "");
    if (!front || !joined || !marks)
        return error_set(e, "%s: normaliser: expected T5's, with spaces joined and one in front", name);
    return true;
}

static bool open_charsmap(struct unigram *u, const char *name, const protobuf_field *normaliser, error *e)
{
    protobuf p = { normaliser->bytes, normaliser->bytes + normaliser->n, false };
    protobuf_field f, map = { 0 };
    while (protobuf_next(&p, &f))
        if (f.number == 2 && f.form == 2)
            map = f;
    return charsmap_open(&u->map, name, map.bytes, map.n, e);
}

/* What a character costs that no piece covers. */
bool unigram_ready(tokenizer *t, const char *name, error *e)
{
    struct unigram *u = t->unigram;
    double least = INFINITY;
    for (int i = 0; i < u->pieces; i++)
        least = u->score[i] < least ? u->score[i] : least;
    u->unknown_score = least - 10;
    return t->unknown >= 0 || error_set(e, "%s: vocabulary: no unknown token; expected one", name);
}

static bool add_extras(tokenizer *t, const char *name, error *e)
{
    for (int i = EXTRA_IDS - 1; i >= 0; i--) {
        char extra[32];
        long n = snprintf(extra, sizeof extra, "<extra_id_%d>", i);
        if (vocabulary_find(&t->tokens, extra, n) < 0 && vocabulary_add(&t->tokens, extra, n) < 0)
            return data_no_memory(e, name);
    }
    return true;
}

bool unigram_keep(tokenizer *t, const char *file, const char *name, const char *bytes, long n, error *e)
{
    struct unigram *u = t->unigram;
    if (!(u->source = mem_new((size_t)n + 1)))
        return data_no_memory(e, name);
    memcpy(u->source, bytes, (size_t)n);
    u->source_size = n;
    u->source_name = file;
    u->own = t->tokens.n;
    return true;
}

bool unigram_load(tokenizer *t, const char *name, const char *bytes, long n, error *e)
{
    struct unigram *u = t->unigram;
    if (!unigram_keep(t, "spiece.model", name, bytes, n, e))       /* the normaliser points into it */
        return false;
    protobuf p = { (uint8_t *)u->source, (uint8_t *)u->source + n, false };
    protobuf_field f, training = { 0 }, normaliser = { .bytes = (const uint8_t *)u->source };
    while (protobuf_next(&p, &f)) {
        if (f.number <= NORMALISER && f.form != 2)
            return error_set(e, "%s: not a SentencePiece model", name);
        if (f.number == PIECE && !add_piece(t, name, &f, e))
            return false;
        if (f.number == TRAINING)
            training = f;
        if (f.number == NORMALISER)
            normaliser = f;
    }
    if (p.broken || !u->pieces)
        return error_set(e, "%s: not a SentencePiece model, or cut short at byte %ld", name,
                         (long)(p.at - (uint8_t *)u->source));
    bool ok = check_settings(name, &training, &normaliser, e) && open_charsmap(u, name, &normaliser, e)
              && unigram_ready(t, name, e) && add_extras(t, name, e);
    u->own = t->tokens.n;
    return ok;
}
