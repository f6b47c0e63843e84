/* tokenizer_json.c - tokenizer.json, as Hugging Face's library tokenizers writes it: the three kinds of model
 * that BLIP-2 uses, and the tokens added to them. Settings that give other ids are refused. */
#include "data/internal.h"
#include <stdio.h>
#include <string.h>

#define MARK "\xe2\x96\x81"                                       /* U+2581, stands for a space */

static const char *text_of(const json_t *o, const char *key, const char *otherwise)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : otherwise;
}

/* ---- settings: absent and null are the default --------------------------------------------------------- */
static bool wrong(const char *name, const char *part, const char *key, const char *expected,
                  const json_t *found, error *e)
{
    char text[160] = { 0 };                        /* what is too long for it is cut */
    json_dumpb(found, text, sizeof text - 1, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    return error_set(e, "%s: %s%s%s: expected %s, found %s", name, part, *part ? "." : "", key, expected,
                     *text ? QUOTE(text) : "nothing");
}

static bool is_given(const json_t *v)
{
    return v && !json_is_null(v);
}

/* o[key] is `value`, true or false, or not given. */
static bool check_flag(const char *name, const char *part, const json_t *o, const char *key, bool value,
                       error *e)
{
    const json_t *v = json_object_get(o, key);
    return !is_given(v) || (value ? json_is_true(v) : json_is_false(v))
           || wrong(name, part, key, value ? "true" : "false", v, e);
}

static bool check_text(const char *name, const char *part, const json_t *o, const char *key,
                       const char *value, error *e)
{
    const json_t *v = json_object_get(o, key);
    return !is_given(v) || !strcmp(text_of(o, key, ""), value) || wrong(name, part, key, value, v, e);
}

static bool check_words(const char *name, const json_t *root, const json_t *model, error *e)
{
    static const char *const steps[] = { "clean_text", "handle_chinese_chars", "strip_accents" };
    const json_t *most = json_object_get(model, "max_input_chars_per_word");
    for (size_t i = 0; i < sizeof steps/sizeof *steps; i++)
        if (!check_flag(name, "normalizer", json_object_get(root, "normalizer"), steps[i], true, e))
            return false;
    if (is_given(most) && json_integer_value(most) != WORDPIECE_CHARACTERS)
        return wrong(name, "model", "max_input_chars_per_word", "100", most, e);
    return check_text(name, "model", model, "unk_token", "[UNK]", e)
           && check_text(name, "pre_tokenizer", json_object_get(root, "pre_tokenizer"), "type",
                         "BertPreTokenizer", e);
}

/* Spaces that go where words are parted, as unigram_encode leaves them out itself. */
static bool only_spaces(const json_t *rule)
{
    const char *content = text_of(rule, "content", "");
    return !strcmp(text_of(rule, "type", ""), "Strip")
           || (!strcmp(text_of(rule, "type", ""), "Replace")
               && !strcmp(text_of(json_object_get(rule, "pattern"), "Regex", ""), " {2,}")
               && (!strcmp(content, " ") || !strcmp(content, MARK)));
}

static bool check_normalizer(const char *name, const json_t *rules, error *e)
{
    const json_t *list = json_object_get(rules, "normalizers");
    size_t n = json_is_array(list) ? json_array_size(list) : is_given(rules);
    for (size_t i = 0; i < n; i++) {
        const json_t *rule = json_is_array(list) ? json_array_get(list, i) : rules;
        if (strcmp(text_of(rule, "type", ""), "Precompiled") && !only_spaces(rule))
            return wrong(name, "normalizer", "type", "Precompiled, or spaces stripped", rule, e);
    }
    return true;
}

static bool check_metaspace(const char *name, const json_t *split, error *e)
{
    static const char part[] = "pre_tokenizer";
    if (!strcmp(text_of(split, "type", ""), "WhitespaceSplit"))
        return true;
    if (strcmp(text_of(split, "type", ""), "Metaspace"))
        return wrong(name, part, "type", "Metaspace or WhitespaceSplit", split, e);
    if (!strcmp(text_of(split, "prepend_scheme", ""), "never"))
        return wrong(name, part, "prepend_scheme", "always", json_object_get(split, "prepend_scheme"), e);
    return check_flag(name, part, split, "add_prefix_space", true, e)
           && check_flag(name, part, split, "split", true, e)
           && check_text(name, part, split, "replacement", MARK, e);
}

static bool check_pieces(const char *name, const json_t *root, error *e)
{
    const json_t *split = json_object_get(root, "pre_tokenizer");
    const json_t *list = json_object_get(split, "pretokenizers");
    size_t n = json_is_array(list) ? json_array_size(list) : is_given(split);
    bool ok = check_normalizer(name, json_object_get(root, "normalizer"), e);
    for (size_t i = 0; ok && i < n; i++)
        ok = check_metaspace(name, json_is_array(list) ? json_array_get(list, i) : split, e);
    return ok;
}

/* White space beside a token is left out in any case, but for byte-level BPE. */
static bool check_added(const tokenizer *t, const char *name, const json_t *one, error *e)
{
    static const char part[] = "added_tokens";
    const char *text = text_of(one, "content", "");
    char where[BASE_QUOTE + 32];
    snprintf(where, sizeof where, "%s: %s", part, QUOTE(text));
    if (t->kind == TOKENIZER_BPE
        && (!check_flag(name, where, one, "lstrip", false, e)
            || !check_flag(name, where, one, "rstrip", false, e)))
        return false;
    if (!json_is_true(json_object_get(one, "special")) && tokenizer_id(t, text) >= 0)
        return wrong(name, where, "special", "true, as the vocabulary has it",
                     json_object_get(one, "special"), e);
    return check_flag(name, where, one, "single_word", false, e);
}

/* ---- the model ----------------------------------------------------------------------------------------- */
/* vocab.txt, as which it is written, has a token a line. */
static bool in_lines(const tokenizer *t, const char *name, error *e)
{
    for (int id = 0; id < t->tokens.n; id++)
        if (strpbrk(vocabulary_text(&t->tokens, id), "\n\r"))
            return error_set(e, "%s: %s: token: expected no line break in it", name,
                             QUOTE(vocabulary_text(&t->tokens, id)));
    return true;
}

static bool load_wordpiece(tokenizer *t, const char *name, const json_t *root, const json_t *model, error *e)
{
    const json_t *rules = json_object_get(root, "normalizer");
    if (strcmp(text_of(rules, "type", ""), "BertNormalizer")
        || !json_is_true(json_object_get(rules, "lowercase")))
        return error_set(e, "%s: normalizer: expected BertNormalizer in lower case", name);
    if (strcmp(text_of(model, "continuing_subword_prefix", "##"), "##"))
        return error_set(e, "%s: model.continuing_subword_prefix: expected \"##\"", name);
    return check_words(name, root, model, e) && tokenizer_add_ids(t, name, json_object_get(model, "vocab"), e)
           && in_lines(t, name, e);
}

/* "left right", or [left, right] */
static bool add_merge(tokenizer *t, const char *name, long at, const json_t *pair, buffer *product, error *e)
{
    const char *line = json_string_value(pair);
    if (line)
        return byte_bpe_merge_line(t, name, at, line, (long)json_string_length(pair), product, e);
    const char *left = json_string_value(json_array_get(pair, 0));
    const char *right = json_string_value(json_array_get(pair, 1));
    if (!left || !right || json_array_size(pair) != 2)
        return error_set(e, "%s: merge %ld: expected two tokens", name, at);
    return byte_bpe_merge(t, name, at, left, (long)strlen(left), right, (long)strlen(right), product, e);
}

static bool load_bpe(tokenizer *t, const char *name, const json_t *root, const json_t *model, error *e)
{
    const json_t *split = json_object_get(root, "pre_tokenizer"), *merges = json_object_get(model, "merges");
    const json_t *rules = json_object_get(root, "normalizer"), *dropout = json_object_get(model, "dropout");
    if (strcmp(text_of(split, "type", ""), "ByteLevel")
        || json_is_true(json_object_get(split, "add_prefix_space")))
        return error_set(e, "%s: pre_tokenizer: expected ByteLevel without a space in front", name);
    if (*text_of(model, "continuing_subword_prefix", "") || *text_of(model, "end_of_word_suffix", "")
        || json_is_true(json_object_get(model, "ignore_merges")))
        return error_set(e, "%s: model: expected BPE without prefix, suffix and ignore_merges", name);
    if (!json_is_array(merges))
        return error_set(e, "%s: model.merges: expected a list", name);
    if (is_given(rules))
        return wrong(name, "normalizer", "type", "no normalizer", rules, e);
    if (is_given(dropout) && (!json_is_number(dropout) || json_number_value(dropout) != 0))
        return wrong(name, "model", "dropout", "0", dropout, e);
    if (!check_flag(name, "pre_tokenizer", split, "use_regex", true, e))
        return false;
    bool ok = tokenizer_add_ids(t, name, json_object_get(model, "vocab"), e)
              && byte_bpe_find_bytes(t, name, e);
    buffer product = { 0 };
    for (size_t i = 0; ok && i < json_array_size(merges); i++)
        ok = add_merge(t, name, (long)i, json_array_get(merges, i), &product, e);
    data_buffer_free(&product);
    return ok;
}

/* The normaliser itself, or the first such in a sequence of them. */
static const char *charsmap_text(const json_t *rules)
{
    const json_t *list = json_object_get(rules, "normalizers");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_object_get(json_array_get(list, i), "precompiled_charsmap"))
            rules = json_array_get(list, i);
    return text_of(rules, "precompiled_charsmap", "");
}

/* RFC 4648; -1: not of its alphabet */
static int base64_value(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26
         : c >= '0' && c <= '9' ? c - '0' + 52
         : c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool load_charsmap(struct unigram *u, const char *name, const char *text, error *e)
{
    size_t length = strlen(text), n = 0;
    uint32_t bits = 0;
    if (!(u->charsmap = mem_new(length/4*3 + 3)))
        return data_no_memory(e, name);
    while (length && text[length - 1] == '=')
        length--;
    for (size_t i = 0; i < length; i++) {
        int v = base64_value(text[i]);
        if (v < 0)
            return error_set(e, "%s: normalizer.precompiled_charsmap: not base64 at character %zu", name,
                             i + 1);
        bits = bits << 6 | (uint32_t)v;
        if (i%4)
            u->charsmap[n++] = (uint8_t)(bits >> (6 - 2*(i%4)));
    }
    return charsmap_open(&u->map, name, u->charsmap, (long)n, e);
}

static bool is_added(const json_t *added, const char *text)
{
    for (size_t i = 0; i < json_array_size(added); i++)
        if (!strcmp(text_of(json_array_get(added, i), "content", ""), text))
            return true;
    return false;
}

static bool load_unigram(tokenizer *t, const char *name, const json_t *root, const json_t *model, error *e)
{
    const json_t *vocab = json_object_get(model, "vocab"), *unknown = json_object_get(model, "unk_id");
    const json_t *added = json_object_get(root, "added_tokens");
    if (!json_is_array(vocab) || !json_array_size(vocab) || json_array_size(added) > TOKENIZER_SPECIALS)
        return error_set(e, "%s: model.vocab: expected a list of pieces, and at most %d added tokens", name,
                         TOKENIZER_SPECIALS);
    if (json_is_true(json_object_get(model, "byte_fallback")))
        return error_set(e, "%s: model.byte_fallback: expected false", name);
    if (!check_pieces(name, root, e))
        return false;
    for (size_t i = 0; i < json_array_size(vocab); i++) {
        const json_t *piece = json_array_get(vocab, i);
        const json_t *text = json_array_get(piece, 0), *score = json_array_get(piece, 1);
        if (!json_is_string(text) || !json_is_number(score))
            return error_set(e, "%s: model.vocab: piece %zu: expected a text and a score", name, i);
        if (!unigram_add(t, name, json_string_value(text), (long)json_string_length(text),
                         json_number_value(score), !is_added(added, json_string_value(text)), e))
            return false;
    }
    if (!json_is_integer(unknown) || json_integer_value(unknown) < 0
        || json_integer_value(unknown) >= t->tokens.n)
        return error_set(e, "%s: model.unk_id: expected the number of a piece", name);
    t->unknown = (int)json_integer_value(unknown);
    return load_charsmap(t->unigram, name, charsmap_text(json_object_get(root, "normalizer")), e)
           && unigram_ready(t, name, e);
}

/* ---- added tokens -------------------------------------------------------------------------------------- */
static bool add_one(tokenizer *t, const char *name, const char *text, const json_t *id, error *e)
{
    int now = tokenizer_id(t, text), next = now >= 0 ? now : t->tokens.n;
    if (!json_is_integer(id) || json_integer_value(id) != next)
        return error_set(e, "%s: %s: id: expected %d", name, QUOTE(text), next);
    return tokenizer_add(t, text, e) >= 0;
}

/* BLIP-2's [DEC] takes the id behind BERT's vocabulary; some folders list only what comes after it. */
static bool decoder_is_left_out(const tokenizer *t, json_t *added)
{
    const char *text;
    json_t *id;
    bool next = false, after = false;
    json_object_foreach(added, text, id) {
        next |= json_integer_value(id) == t->tokens.n;
        after |= json_integer_value(id) == t->tokens.n + 1;
    }
    return t->kind == TOKENIZER_WORDPIECE && after && !next && tokenizer_id(t, "[DEC]") < 0;
}

bool tokenizer_load_added(tokenizer *t, const char *name, const char *bytes, long n, error *e)
{
    json_t *root = data_json(name, 1, bytes, n, 2*TOKENIZER_SPECIALS, e);
    if (!root)
        return false;
    bool ok = json_is_object(root) || error_set(e, "%s: expected an object, token to id", name);
    ok = ok && (!decoder_is_left_out(t, root) || tokenizer_add(t, "[DEC]", e) >= 0);
    size_t left = json_object_size(root);
    for (bool more = ok; more; ) {  /* those that are there, and the next id, until none is left */
        const char *text;
        json_t *id;
        void *next;
        size_t before = left;
        json_object_foreach_safe(root, next, text, id) {
            int now = tokenizer_id(t, text);
            if (ok && (now >= 0 || (json_is_integer(id) && json_integer_value(id) == t->tokens.n))) {
                ok = add_one(t, name, text, id, e);
                json_object_del(root, text);
                left--;
            }
        }
        more = ok && left && left < before;
    }
    if (ok && left)
        ok = add_one(t, name, json_object_iter_key(json_object_iter(root)),
                     json_object_iter_value(json_object_iter(root)), e);
    json_decref(root);
    return ok;
}

static bool add_listed(tokenizer *t, const char *name, const json_t *added, error *e)
{
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(added); i++) {
        const json_t *one = json_array_get(added, i);
        ok = check_added(t, name, one, e)
             && add_one(t, name, text_of(one, "content", ""), json_object_get(one, "id"), e);
    }
    return ok;
}

tokenizer *tokenizer_load_json(const char *name, const char *bytes, long n, error *e)
{
    static const struct {
        const char *type;
        tokenizer_kind kind;
        bool (*load)(tokenizer *t, const char *name, const json_t *root, const json_t *model, error *e);
    } kinds[] = { { "WordPiece", TOKENIZER_WORDPIECE, load_wordpiece }, { "BPE", TOKENIZER_BPE, load_bpe },
                  { "Unigram", TOKENIZER_UNIGRAM, load_unigram } };
    json_t *root = data_json(name, 1, bytes, n, 4*TOKENIZER_TOKENS, e);
    const json_t *model = json_object_get(root, "model");
    tokenizer *t = NULL;
    size_t k = 0;
    while (root && k < 3 && strcmp(kinds[k].type, text_of(model, "type", "")))
        k++;
    if (root && k == 3)
        error_set(e, "%s: model.type: expected WordPiece, BPE or Unigram", name);
    if (root && k < 3)
        t = tokenizer_new(kinds[k].kind, name, e);
    bool ok = t && kinds[k].load(t, name, root, model, e) && tokenizer_ready(t, name, e)
              && add_listed(t, name, json_object_get(root, "added_tokens"), e)
              && (t->kind != TOKENIZER_UNIGRAM || unigram_keep(t, "tokenizer.json", name, bytes, n, e));
    json_decref(root);
    if (ok)
        return t;
    tokenizer_free(t);
    return NULL;
}

/* ---- tokenizer_config.json ----------------------------------------------------------------------------- */
/* What transformers would do otherwise for it; all else there is for other programs. */
bool tokenizer_check_config(const tokenizer *t, const char *name, const char *bytes, long n, error *e)
{
    static const struct { tokenizer_kind kind; const char *key; bool value; } settings[] = {
        { TOKENIZER_WORDPIECE, "do_lower_case", true }, { TOKENIZER_WORDPIECE, "strip_accents", true },
        { TOKENIZER_WORDPIECE, "tokenize_chinese_chars", true },
        { TOKENIZER_BPE, "add_prefix_space", false } };
    json_t *root = data_json_reals(name, bytes, n, 4*TOKENIZER_TOKENS, e);     /* model_max_length is 1e30 */
    bool ok = root && (json_is_object(root) || error_set(e, "%s: expected an object of settings", name));
    for (size_t i = 0; ok && i < sizeof settings/sizeof *settings; i++)
        ok = t->kind != settings[i].kind
             || check_flag(name, "", root, settings[i].key, settings[i].value, e);
    if (ok && t->kind == TOKENIZER_BPE && t->first >= 0)           /* GPT-2's own has no </s> in front */
        ok = check_flag(name, "", root, "add_bos_token", true, e);
    json_decref(root);
    return ok;
}
