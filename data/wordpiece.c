/* wordpiece.c - BERT's tokenizer, uncased: clean, set ideographs apart, strip accents, lower case, split,
 * match greedily. Devlin et al. 2019; the matching is Wu et al. 2016, section 4.1. As Hugging Face's
 * BertNormalizer, BertPreTokenizer and WordPiece do it, in this order:
 *   1. control characters go, an ideograph gets a space on both sides
 *   2. canonical decomposition (NFD) in canonical order, then Mn goes; the result stays decomposed
 *   3. lower case, character by character, without context
 *   4. words end at white space; a punctuation character is a word
 *   5. a word is the longest token that begins it, then the longest "##" token of the rest, and so on;
 *      where none fits, and beyond 100 characters, the whole word is [UNK]. */
#include "data/internal.h"
#include <string.h>

/* ---- normalising --------------------------------------------------------------------------------------- */
static void clean(const char *text, long n, ints *to)
{
    for (long at = 0; at < n; ) {
        int c;
        at += unicode_next(text + at, n - at, &c);
        if (unicode_removed(c))
            continue;
        bool alone = unicode_ideograph(c);
        if (alone)
            data_push(to, ' ');
        data_push(to, c);
        if (alone)
            data_push(to, ' ');
    }
}

/* Stable by combining class, from `first` on, where no starter stands: a pass for each class that occurs. */
static void order(ints *list, long first, ints *scratch)
{
    scratch->n = 0;
    for (long i = first; i < list->n; i++)
        data_push(scratch, list->at[i]);
    if (scratch->failed)
        return;
    for (int class = 0, next; first < list->n; class = next) {
        next = 256;
        for (long i = 0; i < scratch->n; i++) {
            int other = unicode_class(scratch->at[i]);
            if (other == class)
                list->at[first++] = scratch->at[i];
            else if (other > class && other < next)
                next = other;
        }
    }
}

static void decompose(const ints *from, ints *to, ints *scratch)
{
    long first = 0;                            /* of the run of non-starters at the end of `to` */
    int last = 0;
    bool ordered = true;
    for (long i = 0; i < from->n; i++) {
        int part[UNICODE_PARTS], parts = unicode_decompose(from->at[i], part);
        for (int k = 0; k < parts; k++) {
            int class = unicode_class(part[k]);
            if (class == 0) {
                if (!ordered)
                    order(to, first, scratch);
                first = to->n + 1;
            }
            ordered = class == 0 || (ordered && class >= last);
            last = class;
            data_push(to, part[k]);
        }
    }
    if (!ordered)
        order(to, first, scratch);
}

static void strip_and_lower(ints *text)
{
    long n = 0;
    for (long i = 0; i < text->n; i++)
        if (!unicode_mark(text->at[i]))
            text->at[n++] = unicode_lower(text->at[i]);
    text->n = n;
}

static bool split(const ints *text, buffer *word, text_visitor visit, void *context)
{
    for (long i = 0; i < text->n; ) {
        if (unicode_white(text->at[i])) {
            i++;
            continue;
        }
        word->used = 0;
        bool alone = unicode_punctuation(text->at[i]);
        do
            data_append_character(word, text->at[i++]);
        while (!alone && i < text->n && !unicode_white(text->at[i]) && !unicode_punctuation(text->at[i]));
        if (word->failed || !visit(context, word->text, word->used))
            return false;
    }
    return true;
}

bool wordpiece_words(const char *text, long n, text_visitor visit, void *context)
{
    ints cleaned = { 0 }, whole = { 0 }, scratch = { 0 };
    buffer word = { 0 };
    clean(text, n, &cleaned);
    decompose(&cleaned, &whole, &scratch);
    strip_and_lower(&whole);
    bool ok = !cleaned.failed && !whole.failed && !scratch.failed && split(&whole, &word, visit, context);
    mem_free(cleaned.at);
    mem_free(whole.at);
    mem_free(scratch.at);
    data_buffer_free(&word);
    return ok;
}

/* ---- matching ------------------------------------------------------------------------------------------ */
struct encoding { const tokenizer *t; ints *to; };

/* The longest token that begins key[from..n), key being "##" and the word; its bytes go to *length. */
static int longest_match(const vocabulary *v, const char *key, long n, long *length)
{
    for (long m = n < v->longest ? n : v->longest; m > 0; m--) {  /* tokens are UTF-8: none ends inside one */
        int id = vocabulary_find(v, key, m);
        if (id >= 0) {
            *length = m;
            return id;
        }
    }
    return -1;
}

static bool match(void *context, const char *word, long n)
{
    struct encoding *e = context;
    const tokenizer *t = e->t;
    char key[2 + 4*WORDPIECE_CHARACTERS];
    long before = e->to->n, characters = 0;
    for (long i = 0; i < n; i++)
        characters += (word[i] & 0xC0) != 0x80;
    bool known = characters <= WORDPIECE_CHARACTERS;
    for (long at = 0; known && at < n; ) {
        long prefix = at ? 2 : 0, length = 0;
        memcpy(key, "##", 2);
        memcpy(key + prefix, word + at, (size_t)(n - at));
        int id = longest_match(&t->tokens, key, prefix + n - at, &length);
        known = id >= 0 && length > prefix;
        at += length - prefix;
        data_push(e->to, id);
    }
    if (!known) {
        e->to->n = before;
        data_push(e->to, t->unknown);
    }
    return !e->to->failed;
}

bool wordpiece_encode(const tokenizer *t, const char *text, long n, ints *to)
{
    struct encoding e = { t, to };
    return wordpiece_words(text, n, match, &e);
}

/* ---- decoding ------------------------------------------------------------------------------------------ */
void wordpiece_decode(const tokenizer *t, int id, buffer *to)
{
    const char *token = vocabulary_text(&t->tokens, id);
    bool joins = to->used && !strncmp(token, "##", 2);
    if (to->used && !joins)
        data_append(to, " ", 1);
    data_append(to, token + (joins ? 2 : 0), (long)strlen(token + (joins ? 2 : 0)));
}

void wordpiece_tidy(buffer *text)
{
    static const struct { const char *from, *to; } rules[] = {
        { " .", "." },     { " ?", "?" },   { " !", "!" },   { " ,", "," },     { " ' ", "'" },
        { " n't", "n't" }, { " 'm", "'m" }, { " 's", "'s" }, { " 've", "'ve" }, { " 're", "'re" },
    };
    for (size_t r = 0; text->used && r < sizeof rules / sizeof *rules; r++) {
        size_t from = strlen(rules[r].from), to = strlen(rules[r].to);
        char *out = text->text;
        for (const char *in = text->text; *in; )
            if (!strncmp(in, rules[r].from, from)) {
                memcpy(out, rules[r].to, to);
                out += to, in += from;
            } else {
                *out++ = *in++;
            }
        *out = 0;
        text->used = out - text->text;
    }
}

/* ---- vocab.txt: a token a line, its id the line's number from 0 ---------------------------------------- */
static bool add_line(tokenizer *t, const char *name, const char *line, long n, error *e)
{
    int at = t->tokens.n + 1;
    if (n == 0)
        return error_set(e, "%s:%d: token: empty line; expected a token", name, at);
    if (n > TOKENIZER_TOKEN_BYTES)
        return error_set(e, "%s:%d: token: too long; expected at most %d bytes, found %ld", name, at,
                         TOKENIZER_TOKEN_BYTES, n);
    if (unicode_valid(line, n) != n || memchr(line, 0, (size_t)n))
        return error_set(e, "%s:%d: token: not text; expected UTF-8 without zero bytes", name, at);
    int same = vocabulary_find(&t->tokens, line, n);
    if (same >= 0)
        return error_set(e, "%s:%d: token: %s is there twice; first in line %d", name, at,
                         QUOTE(vocabulary_text(&t->tokens, same)), same + 1);
    if (at > TOKENIZER_TOKENS)
        return error_set(e, "%s:%d: token: too many; expected at most %d", name, at, TOKENIZER_TOKENS);
    return vocabulary_add(&t->tokens, line, n) >= 0 || data_no_memory(e, name);
}

bool wordpiece_load(tokenizer *t, const char *name, const char *bytes, long n, error *e)
{
    if (n == 0)
        return error_set(e, "%s: vocabulary: empty file; expected a token a line", name);
    for (long at = 0; at < n; ) {
        const char *end = memchr(bytes + at, '\n', (size_t)(n - at));
        long length = end ? end - (bytes + at) : n - at;
        long step = length + (end ? 1 : 0);
        if (length && bytes[at + length - 1] == '\r')
            length--;
        if (!add_line(t, name, bytes + at, length, e))
            return false;
        at += step;
    }
    return true;
}
