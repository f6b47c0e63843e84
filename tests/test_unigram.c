/* test_unigram.c - T5's tokenizer: models written here byte by byte, the best cut against all cuts, damage,
 * and tokenizer.json of all three kinds against the files it stands for. */
#include "tests/tests.h"
#include "data/data.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "\xe2\x96\x81"

/* ---- a SentencePiece model ---- */
struct model { char bytes[1 << 14]; long n; };
enum { NORMAL = 1, UNKNOWN, CONTROL };

static void put_varint(struct model *m, uint64_t v)
{
    for (; v > 127; v >>= 7)
        m->bytes[m->n++] = (char)((v & 127) | 128);
    m->bytes[m->n++] = (char)v;
}

static void put_bytes(struct model *m, int field, const void *bytes, long n)
{
    put_varint(m, (uint64_t)field << 3 | 2);
    put_varint(m, (uint64_t)n);
    memcpy(m->bytes + m->n, bytes, (size_t)n);
    m->n += n;
}

static void put_piece(struct model *m, const char *text, float score, int type)
{
    struct model inner = { .n = 0 };
    put_bytes(&inner, 1, text, (long)strlen(text));
    put_varint(&inner, 2 << 3 | 5);
    memcpy(inner.bytes + inner.n, &score, 4);
    inner.n += 4;
    put_varint(&inner, 3 << 3);
    put_varint(&inner, (uint64_t)type);
    put_bytes(m, 1, inner.bytes, inner.n);
}

static void put_training(struct model *m)
{
    put_bytes(m, 2, "\x18\x01", 2);                /* unigram */
}

static const struct { const char *text; float score; } pieces[] = {
    { MARK, -2 }, { "a", -3 }, { "b", -3.5f }, { "ab", -4 }, { MARK "a", -3.25f }, { "ba", -5 },
    { "aba", -5.5f }, { MARK "ab", -6 }, { "\xc3\xa9", -4 },
};
enum { PIECES = sizeof pieces / sizeof *pieces, FIRST = 3 };       /* behind <pad> </s> <unk> */

static struct model model(void)
{
    struct model m = { .n = 0 };
    put_piece(&m, "<pad>", 0, CONTROL);
    put_piece(&m, "</s>", 0, CONTROL);
    put_piece(&m, "<unk>", 0, UNKNOWN);
    for (int i = 0; i < PIECES; i++)
        put_piece(&m, pieces[i].text, pieces[i].score, NORMAL);
    put_training(&m);
    return m;
}

static tokenizer *load(const struct model *m, error *e)
{
    tokenizer_file f = { "spiece.model", (char *)(uintptr_t)m->bytes, m->n };
    return tokenizer_load("x", &f, 1, e);
}

static tokenizer *good(void)
{
    struct model m = model();
    error e = { 0 };
    tokenizer *t = load(&m, &e);
    ck_assert_msg(t != NULL, "%s", e.text);
    return t;
}

/* ids as words; mem_free it */
static char *ids_of(const tokenizer *t, const char *text, tokenizer_options o)
{
    token_list ids = { 0 };
    error e;
    ck_assert_msg(tokenizer_encode(t, text, (long)strlen(text), &o, &ids, &e), "%s", e.text);
    char *s = mem_text("%s", "");
    for (long i = 0; i < ids.n; i++) {
        char *more = mem_text("%s%s%s", s, i ? " " : "", tokenizer_token(t, ids.ids[i]));
        mem_free(s);
        s = more;
    }
    mem_free(ids.ids);
    return s;
}

static void encodes(const tokenizer *t, const char *text, const char *expected, tokenizer_options o)
{
    char *ids = ids_of(t, text, o);
    ck_assert_str_eq(ids, expected);
    mem_free(ids);
}
#define ENCODES(t, text, expected, ...) encodes((t), (text), (expected), (tokenizer_options){ __VA_ARGS__ })

START_TEST(words_are_cut_where_the_sum_is_largest)
{
    tokenizer *t = good();
    ENCODES(t, "a", MARK "a </s>", 0);
    ENCODES(t, "ab", MARK "ab </s>", 0);  /* -6, as the mark and ab have too: the longer last piece */
    ENCODES(t, "aba a", MARK " aba " MARK "a </s>", 0);
    tokenizer_free(t);
}
END_TEST

/* The best sum over all cuts of s[0..n). */
static double best(const char *s, long n)
{
    double most = n ? -INFINITY : 0;
    for (int i = 0; i < PIECES; i++) {
        long m = (long)strlen(pieces[i].text);
        if (m <= n && !memcmp(s, pieces[i].text, (size_t)m))
            most = fmax(most, (double)pieces[i].score + best(s + m, n - m));
    }
    return most;
}

START_TEST(no_other_cut_is_better)
{
    tokenizer *t = good();
    for (unsigned word = 0; word < 1 << 9; word++) {
        char text[16] = MARK;
        for (int i = 0; i < 9; i++)
            text[3 + i] = word >> i & 1 ? 'a' : 'b';
        token_list ids = { 0 };
        error e;
        double sum = 0;
        ck_assert(tokenizer_encode(t, text + 3, 9, &(tokenizer_options){ .bare = true }, &ids, &e));
        for (long i = 0; i < ids.n; i++)
            sum += (double)pieces[ids.ids[i] - FIRST].score;
        ck_assert_double_eq_tol(sum, best(text, 12), 1e-9);
        mem_free(ids.ids);
    }
    tokenizer_free(t);
}
END_TEST

START_TEST(unknown_neighbours_are_one_token)
{
    tokenizer *t = good();
    ENCODES(t, "xyz", MARK " <unk> </s>", 0);
    ENCODES(t, "xay", MARK " <unk> a <unk> </s>", 0);
    ENCODES(t, "x y", MARK " <unk> " MARK " <unk> </s>", 0);
    tokenizer_free(t);
}
END_TEST

START_TEST(white_space_parts_words_and_a_mark_begins_one)
{
    tokenizer *t = good();
    ENCODES(t, "  a \t\n a\xe3\x80\x80""a  ", MARK "a " MARK "a " MARK "a </s>", 0);
    ENCODES(t, "a" MARK "a", MARK "a " MARK "a </s>", 0);
    ENCODES(t, "", "</s>", 0);
    ENCODES(t, "   ", "</s>", 0);
    tokenizer_free(t);
}
END_TEST

START_TEST(special_tokens_are_recognised_unless_text_is_literal)
{
    tokenizer *t = good();
    ENCODES(t, "a</s>a<extra_id_99>", MARK "a </s> " MARK "a <extra_id_99> </s>", 0);
    ENCODES(t, "</s>", MARK " <unk> </s>", .literal = true);
    ENCODES(t, "a a a", MARK "a </s>", .max = 2);
    ENCODES(t, "a a", MARK "a " MARK "a", .bare = true);
    tokenizer_free(t);
}
END_TEST

START_TEST(a_hundred_names_follow_the_pieces)
{
    tokenizer *t = good();
    ck_assert_int_eq(tokenizer_size(t), FIRST + PIECES + 100);
    ck_assert_int_eq(tokenizer_id(t, "<extra_id_99>"), FIRST + PIECES);
    ck_assert_int_eq(tokenizer_id(t, "<extra_id_0>"), FIRST + PIECES + 99);
    ck_assert_int_eq(tokenizer_pad(t), 0);
    tokenizer_free(t);
}
END_TEST

START_TEST(decoding_gives_the_words_back)
{
    tokenizer *t = good();
    long bytes;
    char *text = tokenizer_decode(t, (int[]){ 7, 4, 3, 2, 7, 1 }, 6, false, &bytes);
    ck_assert_str_eq(text, "aa  a");
    ck_assert_int_eq(bytes, 5);
    mem_free(text);
    text = tokenizer_decode(t, (int[]){ 7, 1 }, 2, true, NULL);
    ck_assert_str_eq(text, "a</s>");
    mem_free(text);
    tokenizer_free(t);
}
END_TEST

START_TEST(files_of_a_unigram_tokenizer_come_back)
{
    tokenizer *t = good();
    tokenizer_file f[TOKENIZER_FILES];
    error e;
    ck_assert_int_eq(tokenizer_files(t, f, &e), 1);
    mem_free(f[0].bytes);
    ck_assert_int_eq(tokenizer_add(t, "<image>", &e), FIRST + PIECES + 100);
    int n = tokenizer_files(t, f, &e);
    ck_assert_int_eq(n, 2);
    tokenizer *again = tokenizer_load("again", f, n, &e);
    ck_assert_msg(again != NULL, "%s", e.text);
    ENCODES(again, "a<image>a", MARK "a <image> " MARK "a </s>", 0);
    ck_assert_int_eq(tokenizer_size(again), tokenizer_size(t));
    mem_free(f[0].bytes);
    mem_free(f[1].bytes);
    tokenizer_free(again);
    tokenizer_free(t);
}
END_TEST

/* ---- the normaliser ---- */
/* A trie that turns A into a, and B into nothing, behind one root. */
static struct model with_charsmap(void)
{
    struct model m = model(), inner = { .n = 0 };
    uint8_t map[4 + 4*256 + 3] = { 0, 4 };         /* 256 units */
    uint32_t unit[256] = { 1 << 10 };              /* the root leads to 1 ^ byte */
    unit[1 ^ 'A'] = 'A' | 0x100 | 0x80 << 10;      /* a leaf, its text's place at 0x80 from here */
    unit[1 ^ 'A' ^ 0x80] = 0x80000000;
    unit[1 ^ 'B'] = 'B' | 0x100 | 0x80 << 10;
    unit[1 ^ 'B' ^ 0x80] = 0x80000000 | 1;
    for (int i = 0; i < 1024; i++)
        map[4 + i] = (uint8_t)(unit[i/4] >> 8*(i%4));
    memcpy(map + 4 + 1024, "a\0", 3);
    put_bytes(&inner, 2, map, sizeof map);
    put_bytes(&m, 3, inner.bytes, inner.n);
    return m;
}

START_TEST(characters_are_replaced_before_words_are_cut)
{
    struct model m = with_charsmap();
    error e = { 0 };
    tokenizer *t = load(&m, &e);
    ck_assert_msg(t != NULL, "%s", e.text);
    ENCODES(t, "AB a", MARK "a " MARK "a </s>", 0);
    ENCODES(t, "C", MARK " <unk> </s>", 0);
    tokenizer_free(t);
}
END_TEST

START_TEST(a_changed_byte_is_read_or_refused_in_order)
{
    struct model m = with_charsmap();
    for (long i = 0; i < m.n; i++)
        for (int bit = 0; bit < 8; bit += 3) {
            error e = { 0 };
            m.bytes[i] ^= (char)(1 << bit);
            tokenizer *t = load(&m, &e);
            if (t)
                mem_free(ids_of(t, "AB a xyz </s> \xc3\xa9", (tokenizer_options){ 0 }));
            else
                ck_assert_msg(!strncmp(e.text, "x/spiece.model: ", 16) && !strchr(e.text, '\n'), "%s",
                              e.text);
            tokenizer_free(t);
            m.bytes[i] ^= (char)(1 << bit);
        }
}
END_TEST

/* ---- damage ---- */
static void refused(const struct model *m, const char *what)
{
    error e = { 0 };
    tokenizer *t = load(m, &e);
    ck_assert_msg(!t, "taken; expected: %s", what);
    ck_assert_msg(strstr(e.text, what) != NULL, "expected \"%s\" in: %s", what, e.text);
}

START_TEST(a_model_cut_anywhere_is_refused)
{
    struct model m = model();
    for (; m.n > 0; m.n--) {
        struct model cut = m;
        cut.n--;
        error e;
        tokenizer *t = load(&cut, &e);
        ck_assert_msg(!t, "cut at %ld: taken", cut.n);
    }
}
END_TEST

START_TEST(pieces_that_cannot_be_are_refused)
{
    static const struct { const char *text; float score; int type; const char *says; } bad[] = {
        { "", -1, NORMAL, "expected UTF-8 of 1 to 1024 bytes, found 0" },
        { "\xff", -1, NORMAL, "expected UTF-8" },
        { "z", NAN, NORMAL, "score; expected a number" },
        { "z", -INFINITY, NORMAL, "score; expected a number" },
        { "ab", -1, NORMAL, "ab is there twice; it is piece 6 too" },
        { "<u2>", 0, UNKNOWN, "a second unknown token" },
        { "z", 0, 9, "damaged" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct model m = model();
        put_piece(&m, bad[i].text, bad[i].score, bad[i].type);
        refused(&m, bad[i].says);
    }
}
END_TEST

START_TEST(models_that_are_not_t5s_are_refused)
{
    struct model m = { .n = 0 };
    put_piece(&m, "</s>", 0, CONTROL);
    put_piece(&m, "a", -1, NORMAL);
    put_training(&m);
    refused(&m, "no unknown token");
    m = (struct model){ .n = 0 };
    put_piece(&m, "<unk>", 0, UNKNOWN);
    refused(&m, "training: missing");
    put_training(&m);
    refused(&m, "token: missing; expected </s> and <pad>");
    m = model();
    put_bytes(&m, 2, "\x18\x02", 2);
    refused(&m, "expected a unigram model without bytes, found kind 2");
    m = model();
    put_bytes(&m, 3, "\x18\0", 2);
    refused(&m, "expected T5's, with spaces joined and one in front");
    m = (struct model){ "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" "abc", 13 };
    refused(&m, "not a SentencePiece model, or cut short");
    m = (struct model){ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12 };
    refused(&m, "not a SentencePiece model");
}
END_TEST

START_TEST(a_unigram_model_without_memory_is_an_error)
{
    struct model m = with_charsmap();
    bool done = false;
    for (long nth = 1; !done; nth++) {
        error e = { 0 };
        mem_fail_at(nth, false);
        tokenizer *t = load(&m, &e);
        mem_fail_at(0, false);
        done = t;
        ck_assert_msg(t || strstr(e.text, "memory"), "allocation %ld: %s", nth, e.text);
        tokenizer_free(t);
        ck_assert_int_lt(nth, 1000);
    }
}
END_TEST

/* ---- tokenizer.json ---- */
static tokenizer *load_json(const char *json, error *e)
{
    tokenizer_file f = { "tokenizer.json", (char *)(uintptr_t)json, (long)strlen(json) };
    return tokenizer_load("x", &f, 1, e);
}

static tokenizer *good_json(const char *json)
{
    error e = { 0 };
    tokenizer *t = load_json(json, &e);
    ck_assert_msg(t != NULL, "%s", e.text);
    return t;
}

static const char words_json[] =
    "{\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":true},\"added_tokens\":["
    "{\"id\":3,\"content\":\"[SEP]\",\"special\":true},{\"id\":7,\"content\":\"[DEC]\",\"special\":true}],"
    "\"model\":{\"type\":\"WordPiece\","
    "\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"dog\":4,\"##s\":6,\"red\":5}}}";

START_TEST(word_pieces_are_read_from_json)
{
    tokenizer *t = good_json(words_json);
    ENCODES(t, "Red dogs [DEC] cat", "[CLS] red dog ##s [DEC] [UNK] [SEP]", 0);
    tokenizer_free(t);
}
END_TEST

static const char unigram_json[] =
    "{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"},\"added_tokens\":["
    "{\"id\":0,\"content\":\"<pad>\",\"special\":true},{\"id\":1,\"content\":\"</s>\",\"special\":true},"
    "{\"id\":2,\"content\":\"<unk>\",\"special\":true},{\"id\":6,\"content\":\"<image>\",\"special\":true}],"
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":2,\"vocab\":[[\"<pad>\",0],[\"</s>\",0],[\"<unk>\",0],"
    "[\"" MARK "\",-2],[\"a\",-3],[\"" MARK "a\",-3.25]]}}";

START_TEST(unigrams_are_read_from_json_and_come_back)
{
    tokenizer *t = good_json(unigram_json);
    tokenizer_file f[TOKENIZER_FILES];
    error e;
    ENCODES(t, "a <image> b", MARK "a <image> " MARK " <unk> </s>", 0);
    ck_assert_int_eq(tokenizer_size(t), 7);
    ck_assert_int_eq(tokenizer_files(t, f, &e), 1);
    ck_assert_str_eq(f[0].name, "tokenizer.json");
    ck_assert_str_eq(f[0].bytes, unigram_json);
    mem_free(f[0].bytes);
    tokenizer_free(t);
}
END_TEST

/* "from" is replaced in the text, once. */
static void changed(const char *json, const char *from, const char *to, const char *says)
{
    char text[4096];
    error e = { 0 };
    const char *at = strstr(json, from);
    ck_assert_ptr_nonnull(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - json), json, to, at + strlen(from));
    tokenizer *t = load_json(text, &e);
    ck_assert_msg(!t && strstr(e.text, says), "expected \"%s\", found: %s", says, t ? "taken" : e.text);
}

START_TEST(json_that_means_something_else_is_refused)
{
    changed(words_json, "WordPiece", "Other", "model.type: expected WordPiece, BPE or Unigram");
    changed(words_json, "true", "false", "expected BertNormalizer in lower case");
    changed(words_json, "dog", "d\\ng", "token: expected no line break in it");
    changed(words_json, "red", "red\\r", "token: expected no line break in it");
    changed(words_json, "\"##s\":6", "\"##s\":9", "expected 0 to 6, one for each token; found 9");
    changed(words_json, "\"##s\":6", "\"##s\":\"6\"", "expected a whole number");
    changed(words_json, "\"id\":7", "\"id\":8", "[DEC]: id: expected 7");
    changed(words_json, "}}}", "}}", "JSON");
    changed(unigram_json, "-3.25", "\"x\"", "piece 5: expected a text and a score");
    changed(unigram_json, "\"unk_id\":2", "\"unk_id\":6", "expected the number of a piece");
    changed(unigram_json, "charsmap\":\"", "charsmap\":\"*", "not base64 at character 1");
    changed(unigram_json, "charsmap\":\"", "charsmap\":\"AAAA", "normaliser: damaged");
}
END_TEST

static const char bytes_json[] =
    "{\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"added_tokens\":["
    "{\"id\":1,\"content\":\"<pad>\",\"special\":true}],"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}";

START_TEST(json_with_settings_that_give_other_ids_is_refused)
{
    static const char *const off[] = { "clean_text", "handle_chinese_chars", "strip_accents" };
    for (int i = 0; i < 3; i++) {
        char to[80], says[120];
        snprintf(to, sizeof to, "\"lowercase\":true,\"%s\":false", off[i]);
        snprintf(says, sizeof says, "normalizer.%s: expected true, found false", off[i]);
        changed(words_json, "\"lowercase\":true", to, says);
    }
    changed(words_json, "\"vocab\"", "\"max_input_chars_per_word\":50,\"vocab\"",
            "model.max_input_chars_per_word: expected 100, found 50");
    changed(words_json, "\"vocab\"", "\"unk_token\":\"[SEP]\",\"vocab\"",
            "model.unk_token: expected [UNK], found \"[SEP]\"");
    changed(words_json, "\"added", "\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"added",
            "pre_tokenizer.type: expected BertPreTokenizer, found \"Whitespace\"");
    changed(words_json, "true}]", "true,\"single_word\":true}]", "[DEC].single_word: expected false");
    changed(words_json, "[SEP]\",\"special\":true", "[SEP]\",\"special\":false",
            "[SEP].special: expected true, as the vocabulary has it, found false");
    changed(bytes_json, "null", "{\"type\":\"NFC\"}", "normalizer.type: expected no normalizer");
    changed(bytes_json, "\"ByteLevel\"", "\"ByteLevel\",\"use_regex\":false", "use_regex: expected true");
    changed(bytes_json, "\"vocab\"", "\"dropout\":0.5,\"vocab\"",
            "model.dropout: expected 0, found 0.5");
    changed(bytes_json, "\"vocab\"", "\"dropout\":0.0,\"vocab\"", "vocabulary: expected 1 to");
    changed(unigram_json, "\"Precompiled\"", "\"Lowercase\"", "normalizer.type: expected Precompiled");
    changed(unigram_json, "\"added",
            "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"never\"},\"added",
            "pre_tokenizer.prepend_scheme: expected always, found \"never\"");
}
END_TEST

/* tokenizer.json with the pieces of model() and the 100 names behind them; `last` stands for <extra_id_0>. */
static char *json_of_model(const char *last)
{
    char *json = mem_text("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"},"
                          "\"model\":{\"type\":\"Unigram\",\"unk_id\":2,\"vocab\":[[\"<pad>\",0],"
                          "[\"</s>\",0],[\"<unk>\",0]");
    for (int i = 0; i < PIECES + 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "<extra_id_%d>", PIECES + 99 - i);
        const char *text = i < PIECES ? pieces[i].text : i < PIECES + 99 ? name : last;
        char *more = mem_text("%s,[\"%s\",%g]", json, text, i < PIECES ? pieces[i].score : 0.0);
        mem_free(json);
        json = more;
    }
    char *whole = mem_text("%s]}}", json);
    mem_free(json);
    return whole;
}

/* What loading spiece.model with this beside it says; "": it is taken. */
static void beside_model(const char *json, const char *says)
{
    struct model m = model();
    error e = { 0 };
    tokenizer_file f[] = { { "spiece.model", m.bytes, m.n },
                           { "tokenizer.json", (char *)(uintptr_t)json, (long)strlen(json) } };
    tokenizer *t = tokenizer_load("x", f, 2, &e);
    ck_assert_str_eq(e.text, says);
    ck_assert(!t == !!*says);
    tokenizer_free(t);
}

START_TEST(json_beside_a_model_means_the_same)
{
    char *same = json_of_model("<extra_id_0>"), *other = json_of_model("cat");
    beside_model(same, "");
    beside_model(other, "x/tokenizer.json: token 111: \"cat\", and in spiece.model \"<extra_id_0>\"; "
                        "expected the same in both");
    beside_model(words_json, "x/tokenizer.json: another kind of tokenizer than that of spiece.model; "
                             "expected the same in both");
    mem_free(same);
    mem_free(other);
}
END_TEST

START_TEST(json_without_memory_is_an_error)
{
    static const char *const both[] = { words_json, unigram_json };
    for (int i = 0; i < 2; i++) {
        bool done = false;
        for (long nth = 1; !done; nth++) {
            error e = { 0 };
            mem_fail_at(nth, false);
            tokenizer *t = load_json(both[i], &e);
            mem_fail_at(0, false);
            done = t;
            ck_assert_msg(t || e.text[0], "allocation %ld has no text", nth);
            tokenizer_free(t);
            ck_assert_int_lt(nth, 1000);
        }
    }
}
END_TEST

Suite *suite_unigram(void)
{
    Suite *s = suite_create("unigram");
    TCase *c = tcase_create("models"), *json = tcase_create("json");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_test(c, words_are_cut_where_the_sum_is_largest);
    tcase_add_test(c, no_other_cut_is_better);
    tcase_add_test(c, unknown_neighbours_are_one_token);
    tcase_add_test(c, white_space_parts_words_and_a_mark_begins_one);
    tcase_add_test(c, special_tokens_are_recognised_unless_text_is_literal);
    tcase_add_test(c, a_hundred_names_follow_the_pieces);
    tcase_add_test(c, decoding_gives_the_words_back);
    tcase_add_test(c, files_of_a_unigram_tokenizer_come_back);
    tcase_add_test(c, characters_are_replaced_before_words_are_cut);
    tcase_add_test(c, a_changed_byte_is_read_or_refused_in_order);
    tcase_add_test(c, a_model_cut_anywhere_is_refused);
    tcase_add_test(c, pieces_that_cannot_be_are_refused);
    tcase_add_test(c, models_that_are_not_t5s_are_refused);
    tcase_add_test(c, a_unigram_model_without_memory_is_an_error);
    tcase_add_test(json, word_pieces_are_read_from_json);
    tcase_add_test(json, unigrams_are_read_from_json_and_come_back);
    tcase_add_test(json, json_that_means_something_else_is_refused);
    tcase_add_test(json, json_with_settings_that_give_other_ids_is_refused);
    tcase_add_test(json, json_beside_a_model_means_the_same);
    tcase_add_test(json, json_without_memory_is_an_error);
    suite_add_tcase(s, c);
    suite_add_tcase(s, json);
    return s;
}
