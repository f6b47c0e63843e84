/* tokenizer.c - what all tokenizers share: special tokens in text and at its ends, batches, decoding. */
#include "data/internal.h"
#include <limits.h>
#include <string.h>

enum { TEXT_BYTES = 1 << 30 };                 /* of one text */

/* ---- a tokenizer and its special tokens ---------------------------------------------------------------- */
tokenizer *tokenizer_new(tokenizer_kind kind, const char *name, error *e)
{
    tokenizer *t = mem_new(sizeof *t);
    if (t && kind == TOKENIZER_BPE)
        t->splitter = byte_splitter_new();
    if (t && kind == TOKENIZER_UNIGRAM)
        t->unigram = mem_new(sizeof *t->unigram);
    if (!t || (kind == TOKENIZER_BPE && !t->splitter) || (kind == TOKENIZER_UNIGRAM && !t->unigram)) {
        mem_free(t);
        data_no_memory(e, name);
        return NULL;
    }
    t->kind = kind;
    t->unknown = -1;
    return t;
}

void tokenizer_free(tokenizer *t)
{
    if (!t)
        return;
    vocabulary_free(&t->tokens);
    mem_free(t->merges.at);
    pairs_free(&t->ranks);
    byte_splitter_free(t->splitter);
    unigram_free(t->unigram);
    mem_free(t);
}

tokenizer_kind tokenizer_is(const tokenizer *t)  { return t->kind; }
int tokenizer_size(const tokenizer *t)           { return t->tokens.n; }
int tokenizer_pad(const tokenizer *t)            { return t->pad; }

int tokenizer_id(const tokenizer *t, const char *token)
{
    return vocabulary_find(&t->tokens, token, (long)strlen(token));
}

const char *tokenizer_token(const tokenizer *t, int id)
{
    return id >= 0 && id < t->tokens.n ? vocabulary_text(&t->tokens, id) : NULL;
}

static bool is_special(const tokenizer *t, int id)
{
    for (int i = 0; i < t->specials; i++)
        if (t->special[i] == id)
            return true;
    return false;
}

static bool add_special(tokenizer *t, const char *special, int id, error *e)
{
    long n = (long)strlen(special);
    if (n == 0 || n > TOKENIZER_TOKEN_BYTES || unicode_valid(special, n) != n)
        return error_set(e, "tokenizer: special token: expected UTF-8 of 1 to %d bytes, found %ld",
                         TOKENIZER_TOKEN_BYTES, n);
    if (strpbrk(special, "\n\r"))                /* vocab.txt has a token a line */
        return error_set(e, "tokenizer: %s: special token: a line break in it", QUOTE(special));
    if (t->specials == TOKENIZER_SPECIALS)
        return error_set(e, "tokenizer: %s: one special token too many; expected at most %d", QUOTE(special),
                         TOKENIZER_SPECIALS);
    if (id < 0)
        id = vocabulary_add(&t->tokens, special, n);
    if (id < 0)
        return data_no_memory(e, "tokenizer");
    t->special[t->specials++] = id;
    t->begins[(unsigned char)special[0]] = true;
    return true;
}

int tokenizer_add(tokenizer *t, const char *special, error *e)
{
    int id = tokenizer_id(t, special);
    if ((id >= 0 && is_special(t, id)) || add_special(t, special, id, e))
        return tokenizer_id(t, special);
    return -1;
}

/* Special in every vocabulary that has them; the first: must be there. Of OPT's, <s> and <unk> are ordinary
 * text, as in its reference. */
static const char *const specials[][8] = {
    [TOKENIZER_WORDPIECE] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "<image>" },
    [TOKENIZER_BPE] = { "</s>", "<pad>", "<image>", "<|endoftext|>" },
    [TOKENIZER_UNIGRAM] = { "</s>", "<pad>", "<unk>", "<image>" },
};

bool tokenizer_knows(const tokenizer *t, const char *token)
{
    for (const char *const *known = specials[t->kind]; *known; known++)
        if (!strcmp(*known, token))
            return true;
    return t->kind == TOKENIZER_UNIGRAM && !strncmp(token, "<extra_id_", 10);
}

bool tokenizer_ready(tokenizer *t, const char *name, error *e)
{
    static const int needed[] = { 4, 0, 2 };
    const char *const *list = specials[t->kind];
    bool bpe = t->kind == TOKENIZER_BPE, wordpiece = t->kind == TOKENIZER_WORDPIECE;
    for (int i = 0; i < needed[t->kind]; i++)
        if (tokenizer_id(t, list[i]) < 0)
            return error_set(e, "%s: %s: token: missing; expected %s", name, list[i],
                             wordpiece ? "[PAD], [UNK], [CLS] and [SEP]" : "</s> and <pad>");
    for (const char *const *token = list; *token; token++)
        if (tokenizer_id(t, *token) >= 0 && tokenizer_add(t, *token, e) < 0)
            return false;
    for (int id = 0; t->kind == TOKENIZER_UNIGRAM && id < t->tokens.n; id++)
        if (tokenizer_knows(t, vocabulary_text(&t->tokens, id))
            && tokenizer_add(t, vocabulary_text(&t->tokens, id), e) < 0)
            return false;
    t->first = wordpiece ? tokenizer_id(t, "[CLS]") : bpe ? tokenizer_id(t, "</s>") : -1;
    t->last = wordpiece ? tokenizer_id(t, "[SEP]") : bpe ? -1 : tokenizer_id(t, "</s>");
    if (t->kind != TOKENIZER_UNIGRAM)
        t->unknown = wordpiece ? tokenizer_id(t, "[UNK]") : -1;
    t->pad = tokenizer_id(t, wordpiece ? "[PAD]" : "<pad>");
    if (t->pad < 0)
        t->pad = t->first >= 0 ? t->first : tokenizer_id(t, "<|endoftext|>");
    return true;
}

/* ---- encoding ------------------------------------------------------------------------------------------ */
/* The longest special token that begins text[0..n): its id and bytes, or -1. */
static int special_at(const tokenizer *t, const char *text, long n, long *bytes)
{
    int found = -1;
    *bytes = 0;
    for (int i = 0; i < t->specials; i++) {
        const char *token = vocabulary_text(&t->tokens, t->special[i]);
        long length = vocabulary_bytes(&t->tokens, t->special[i]);
        if (token[0] == text[0] && length <= n && length > *bytes && !memcmp(token, text, (size_t)length)) {
            found = t->special[i];
            *bytes = length;
        }
    }
    return found;
}

static bool encode_plain(const tokenizer *t, const char *text, long n, ints *to)
{
    return t->kind == TOKENIZER_WORDPIECE ? wordpiece_encode(t, text, n, to)
         : t->kind == TOKENIZER_BPE ? byte_bpe_encode(t, text, n, to) : unigram_encode(t, text, n, to);
}

static bool encode_parts(const tokenizer *t, const char *text, long n, bool literal, ints *to)
{
    long plain = 0;                            /* where the ordinary text began */
    for (long at = 0, bytes; !literal && at < n; at += bytes ? bytes : 1) {
        bytes = 0;
        int id = t->begins[(unsigned char)text[at]] ? special_at(t, text + at, n - at, &bytes) : -1;
        if (id < 0)
            continue;
        if (at > plain && !encode_plain(t, text + plain, at - plain, to))
            return false;
        data_push(to, id);
        plain = at + bytes;
    }
    return (plain == n || encode_plain(t, text + plain, n - plain, to)) && !to->failed;
}

bool tokenizer_encode(const tokenizer *t, const char *text, long bytes, const tokenizer_options *o,
                      token_list *to, error *e)
{
    int first = o->bare ? -1 : t->first, last = o->bare ? -1 : t->last;
    long ends = (first >= 0) + (last >= 0);
    if (o->max && o->max < ends)
        return error_set(e, "tokenizer: max: expected 0 or at least %ld, found %ld", ends, o->max);
    if (bytes > TEXT_BYTES)
        return error_set(e, "tokenizer: text: expected at most %d bytes, found %ld", TEXT_BYTES, bytes);
    long valid = unicode_valid(text, bytes);
    if (valid != bytes)
        return error_set(e, "tokenizer: text: not UTF-8 at byte %ld", valid + 1);
    ints list = { .at = to->ids, .room = to->room };
    if (first >= 0)
        data_push(&list, first);
    bool ok = encode_parts(t, text, bytes, o->literal, &list);
    if (o->max && list.n > o->max - (last >= 0))
        list.n = o->max - (last >= 0);
    if (last >= 0)
        data_push(&list, last);
    *to = (token_list){ list.at, list.n, list.room };
    return (ok && !list.failed) || data_no_memory(e, "tokenizer");
}

/* ---- batches ------------------------------------------------------------------------------------------- */
void token_batch_free(token_batch *b)
{
    mem_free(b->ids);
    mem_free(b->mask);
    *b = (token_batch){ 0 };
}

static bool batch_room(token_batch *b, long cells)
{
    if (cells <= b->room)
        return true;
    token_batch_free(b);
    b->ids = mem_new((size_t)cells * sizeof *b->ids);
    b->mask = mem_new((size_t)cells);
    b->room = cells;
    return b->ids && b->mask;
}

/* ends (B): where each text's ids end in `all`. */
static bool lay_out(const tokenizer *t, const int *all, const long *ends, const tokenizer_options *o,
                    token_batch *to, error *e)
{
    long cells;
    if (__builtin_mul_overflow(to->B, to->T, &cells) || cells > LONG_MAX / 8)
        return error_set(e, "tokenizer: batch: %ld texts of %ld ids are too many", to->B, to->T);
    long B = to->B, T = to->T;
    if (!batch_room(to, cells)) {
        token_batch_free(to);
        return data_no_memory(e, "tokenizer");
    }
    to->B = B;
    to->T = T;
    for (long b = 0; b < B; b++) {
        long begin = b ? ends[b - 1] : 0, n = ends[b] - begin, shift = o->pad_left ? T - n : 0;
        for (long i = 0; i < T; i++) {
            bool real_token = i >= shift && i < shift + n;
            to->ids[b*T + i] = real_token ? all[begin + i - shift] : t->pad;
            to->mask[b*T + i] = real_token;
        }
    }
    return true;
}

bool tokenizer_batch(const tokenizer *t, long B, const char *const *texts, const tokenizer_options *o,
                     token_batch *to, error *e)
{
    tokenizer_options each = *o;
    if (o->pad_to && (!o->max || o->max > o->pad_to))
        each.max = o->pad_to;
    token_list one = { 0 };
    ints all = { 0 };
    long *ends = mem_new((size_t)B * sizeof *ends + 1), T = o->pad_to;
    bool ok = ends || data_no_memory(e, "tokenizer");
    for (long b = 0; ok && b < B; b++) {
        ok = tokenizer_encode(t, texts[b], (long)strlen(texts[b]), &each, &one, e);
        for (long i = 0; ok && i < one.n; i++)
            data_push(&all, one.ids[i]);
        ends[b] = all.n;
        T = one.n > T ? one.n : T;
    }
    to->B = B;
    to->T = T;
    if (ok && t->pad < 0 && all.n < B * T)
        ok = error_set(e, "tokenizer: batch: texts of unequal length, and no token to pad with");
    ok = ok && (!all.failed || data_no_memory(e, "tokenizer")) && lay_out(t, all.at, ends, o, to, e);
    mem_free(one.ids);
    mem_free(all.at);
    mem_free(ends);
    return ok;
}

/* ---- decoding ------------------------------------------------------------------------------------------ */
/* Each broken sequence becomes one U+FFFD. */
static void repair(const buffer *from, buffer *to)
{
    for (long at = 0; at < from->used; ) {
        int c, step = unicode_next(from->text + at, from->used - at, &c);
        if (c == UNICODE_BROKEN)
            data_append_character(to, UNICODE_REPLACEMENT);
        else
            data_append(to, from->text + at, step);
        at += step;
    }
}

char *tokenizer_decode(const tokenizer *t, const int *ids, long n, bool keep_special, long *bytes)
{
    buffer raw = { 0 }, text = { 0 };
    data_append(&raw, "", 0);
    data_append(&text, "", 0);
    for (long i = 0, tokens = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= t->tokens.n || (!keep_special && is_special(t, ids[i])))
            continue;
        if (t->kind == TOKENIZER_WORDPIECE)
            wordpiece_decode(t, ids[i], &raw);
        else if (t->kind == TOKENIZER_BPE)
            byte_bpe_decode(t, ids[i], &raw);
        else
            unigram_decode(t, ids[i], !tokens, &raw);
        tokens++;
    }
    if (t->kind == TOKENIZER_WORDPIECE)
        wordpiece_tidy(&raw);
    repair(&raw, &text);
    bool failed = raw.failed || text.failed;
    data_buffer_free(&raw);
    if (failed)
        data_buffer_free(&text);
    if (bytes)
        *bytes = text.used;
    return text.text;
}
