/* charsmap.c - SentencePiece's precompiled normaliser: replacements of characters and short sequences (for
 * T5: NFKC, white space to spaces, control characters away), as a double-array trie and a block of texts.
 *
 * Bytes: the trie's length (4, little-endian), the trie, the texts, each with a 0 behind it. A unit of the
 * trie is 32 bits (Aoe 1989, as darts-clone lays it out): label u & 0x800000ff, leaf bit 8, offset
 * (u >> 10) << (u >> 6 & 8); from a place p byte c leads to p ^ c, if the unit there has that label, and on
 * to (p ^ c) ^ offset. A leaf's unit holds the place of its text.
 *
 * As Hugging Face's library tokenizers uses it: a grapheme cluster of less than 6 bytes is looked up whole,
 * then each character for itself, and the shortest key that begins there replaces all of it. */
#include "data/internal.h"
#include <string.h>
#include <utf8proc.h>

enum { UNIT = 4, CLUSTER_BYTES = 6 };

static uint32_t unit(const charsmap *m, uint32_t at)
{
    const uint8_t *p = m->trie + (long)at*UNIT;
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t offset(uint32_t u)
{
    return (u >> 10) << ((u & 0x200) >> 6);
}

bool charsmap_open(charsmap *m, const char *name, const uint8_t *bytes, long n, error *e)
{
    *m = (charsmap){ 0 };
    if (n == 0)
        return true;
    long trie = n >= UNIT ? bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (long)bytes[3] << 24 : 0;
    if (trie < UNIT || trie%UNIT || trie > n - UNIT - 1 || bytes[n - 1])
        return error_set(e, "%s: normaliser: damaged; expected a trie and texts with a 0 behind each", name);
    *m = (charsmap){ bytes + UNIT, (uint32_t)(trie/UNIT), (const char *)bytes + UNIT + trie,
                     n - UNIT - trie };
    long valid = unicode_valid(m->texts, m->size);
    return valid == m->size || error_set(e, "%s: normaliser: not UTF-8 at byte %ld of its texts", name,
                                         valid + 1);
}

/* What replaces the shortest key that begins s[0..n); NULL: nothing does. */
static const char *replacement(const charsmap *m, const char *s, long n)
{
    uint32_t at = offset(unit(m, 0));
    for (long i = 0; i < n; i++) {
        uint32_t byte = (unsigned char)s[i];
        at ^= byte;
        if (at >= m->units)
            return NULL;
        uint32_t u = unit(m, at);
        if ((u & 0x800000ff) != byte)
            return NULL;
        at ^= offset(u);
        if (at >= m->units)
            return NULL;
        if (u & 0x100) {
            uint32_t text = unit(m, at) & 0x7fffffff;
            return text < m->size && (m->texts[text] & 0xC0) != 0x80 ? m->texts + text : NULL;
        }
    }
    return NULL;
}

/* Bytes of the grapheme cluster that begins s[0..n). */
static long cluster(const char *s, long n)
{
    int c, next, state = 0;
    long at = unicode_next(s, n, &c);
    while (at < n) {
        int step = unicode_next(s + at, n - at, &next);
        if (utf8proc_grapheme_break_stateful(c, next, &state))
            break;
        c = next;
        at += step;
    }
    return at;
}

void charsmap_apply(const charsmap *m, const char *text, long n, buffer *to)
{
    if (!m->units)
        data_append(to, text, n);
    for (long at = 0, end; m->units && at < n; at = end) {
        end = at + cluster(text + at, n - at);
        const char *other = end - at < CLUSTER_BYTES ? replacement(m, text + at, end - at) : NULL;
        if (other)
            data_append(to, other, (long)strlen(other));
        for (int c, step; !other && at < end; at += step) {
            step = unicode_next(text + at, end - at, &c);
            const char *each = replacement(m, text + at, step);
            data_append(to, each ? each : text + at, each ? (long)strlen(each) : step);
        }
    }
}
