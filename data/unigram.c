/* unigram.c - T5's tokenizer: of all ways to cut a word into pieces, the most probable (Kudo 2018, eq. 2).
 *
 * Text is normalised (charsmap.c) and split at white space; a word gets U+2581 in front, and further words
 * begin at each U+2581 in it. Over the places of a word, with s the logarithm of a piece's probability,
 *   best(j) = max over i < j of best(i) + s(word[i..j)),
 * the earliest i where two are equal. A character that is no piece costs 10 more than the rarest piece;
 * neighbours of that kind are one unknown token. As Hugging Face's library tokenizers computes it. */
#define _GNU_SOURCE
#include "data/internal.h"
#include <string.h>

enum { MARK_BYTES = 3 };
static const char mark[] = "\xe2\x96\x81";                         /* U+2581, stands for a space */

struct step { double best; long from; int id; };   /* from -1: not reached */
struct encoding { const tokenizer *t; ints *to; struct step *step; long room; buffer word; ints ids; };

static void relax(struct step *to, double best, long from, int id)
{
    if (to->from < 0 || best > to->best)
        *to = (struct step){ best, from, id };
}

/* The best way to every place of s[0..n). */
static void search(const struct encoding *e, const char *s, long n)
{
    const tokenizer *t = e->t;
    const struct unigram *u = t->unigram;
    for (long i = 0; i <= n; i++)
        e->step[i] = (struct step){ 0, i ? -1 : 0, 0 };
    for (long at = 0, first; at < n; at += first) {
        int c;
        bool known = false;
        first = unicode_next(s + at, n - at, &c);
        for (long end = at + first; end <= n && end - at <= t->tokens.longest; ) {
            int id = vocabulary_find(&t->tokens, s + at, end - at);
            if (id >= 0 && id < u->pieces && u->plain[id]) {
                relax(&e->step[end], e->step[at].best + u->score[id], at, id);
                known |= end == at + first;
            }
            end += end < n ? unicode_next(s + end, n - end, &c) : 1;
        }
        if (!known)
            relax(&e->step[at + first], e->step[at].best + u->unknown_score, at, t->unknown);
    }
}

static bool encode_word(struct encoding *e, const char *s, long n)
{
    void *step = e->step;
    bool room = data_room(&step, &e->room, n + 1, sizeof *e->step);
    e->step = step;
    if (!room)
        return false;
    search(e, s, n);
    e->ids.n = 0;                                  /* from the end to the beginning */
    for (long at = n; at > 0; at = e->step[at].from) {
        int id = e->step[at].id;
        bool fused = id == e->t->unknown && e->ids.n && e->ids.at[e->ids.n - 1] == id;
        if (!fused)
            data_push(&e->ids, id);
        if (e->ids.failed)
            return false;
    }
    while (e->ids.n)
        data_push(e->to, e->ids.at[--e->ids.n]);
    return !e->to->failed;
}

/* A word between white space: cut before every mark. */
static bool encode_marked(struct encoding *e, const char *word, long n)
{
    e->word.used = 0;
    if (n < MARK_BYTES || memcmp(word, mark, MARK_BYTES))
        data_append(&e->word, mark, MARK_BYTES);
    data_append(&e->word, word, n);
    if (e->word.failed)
        return false;
    const char *s = e->word.text, *end = s + e->word.used;
    while (s < end) {
        const char *next = memmem(s + 1, (size_t)(end - s - 1), mark, MARK_BYTES);
        if (!encode_word(e, s, (next ? next : end) - s))
            return false;
        s = next ? next : end;
    }
    return true;
}

bool unigram_encode(const tokenizer *t, const char *text, long n, ints *to)
{
    struct encoding e = { .t = t, .to = to };
    buffer clean = { 0 };
    charsmap_apply(&t->unigram->map, text, n, &clean);
    bool ok = !clean.failed;
    for (long at = 0, begin = 0, end; ok && at <= clean.used; at = end) {
        int c = ' ';
        end = at < clean.used ? at + unicode_next(clean.text + at, clean.used - at, &c) : at + 1;
        if (!unicode_white(c))
            continue;
        if (at > begin)
            ok = encode_marked(&e, clean.text + begin, at - begin);
        begin = end;
    }
    data_buffer_free(&clean);
    data_buffer_free(&e.word);
    mem_free(e.step);
    mem_free(e.ids.at);
    return ok;
}

/* Marks become spaces, but for the one in front of the first token. */
void unigram_decode(const tokenizer *t, int id, bool first, buffer *to)
{
    const char *s = vocabulary_text(&t->tokens, id), *end = s + vocabulary_bytes(&t->tokens, id);
    if (first && !strncmp(s, mark, MARK_BYTES))
        s += MARK_BYTES;
    while (s < end) {
        bool space = !strncmp(s, mark, MARK_BYTES);
        data_append(to, space ? " " : s, 1);
        s += space ? MARK_BYTES : 1;
    }
}

void unigram_free(struct unigram *u)
{
    if (!u)
        return;
    mem_free(u->score);
    mem_free(u->plain);
    mem_free(u->source);
    mem_free(u->charsmap);
    mem_free(u);
}
