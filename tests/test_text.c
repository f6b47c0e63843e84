/* test_text.c - text to ids and back. What the reference computes stands beside the texts in
 * tests/golden/data/{words,bytes}.jsonl and, where they are, in ../shared/golden/tokenizers. */
#include "tests/tests.h"
#include "data/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHARED "../shared/golden/tokenizers/"
#define OWN "tests/golden/data/"
static error e;

static tokenizer *open_folder(const char *folder)
{
    tokenizer *t = tokenizer_read(folder, &e);
    ck_assert_msg(t != NULL, "%s", e.text);
    return t;
}

static token_list encode(const tokenizer *t, const char *text, tokenizer_options o)
{
    token_list l = { 0 };
    ck_assert_msg(tokenizer_encode(t, text, (long)strlen(text), &o, &l, &e), "%s", e.text);
    return l;
}

/* The tokens of a text, with spaces between. */
static const char *tokens(const tokenizer *t, const char *text, tokenizer_options o)
{
    static char to[4096];
    token_list l = encode(t, text, o);
    to[0] = 0;
    for (long i = 0; i < l.n; i++)
        sprintf(to + strlen(to), "%s%s", i ? " " : "", tokenizer_token(t, l.ids[i]));
    mem_free(l.ids);
    return to;
}

/* ---- the reference ------------------------------------------------------------------------------------- */
static void check_lines(const char *base, const char *name, const char *special)
{
    char path[512], *line = NULL;
    size_t room = 0;
    snprintf(path, sizeof path, "%s%s", base, name);
    tokenizer *t = open_folder(path);
    ck_assert(!special || tokenizer_add(t, special, &e) >= 0);
    strcat(path, ".jsonl");
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    for (int n = 1; getline(&line, &room, f) > 0; n++) {
        json_t *all = json_loads(line, 0, NULL), *ids = json_object_get(all, "ids");
        token_list l = encode(t, json_string_value(json_object_get(all, "text")), (tokenizer_options){ 0 });
        ck_assert_msg(l.n == (long)json_array_size(ids), "%s, line %d: %ld ids", path, n, l.n);
        for (long i = 0; i < l.n; i++)
            ck_assert_msg(l.ids[i] == json_integer_value(json_array_get(ids, (size_t)i)),
                          "%s, line %d, id %ld", path, n, i);
        mem_free(l.ids);
        json_decref(all);
    }
    fclose(f);
    free(line);
    tokenizer_free(t);
}

START_TEST(ids_are_those_of_the_reference)
{
    check_lines(OWN, "words", "[DEC]");
    check_lines(OWN, "bytes", "<image>");
    if (access(SHARED "bert.jsonl", F_OK)) {
        printf("suite text: %s is not there: the vocabularies of BERT and GPT-2 are not compared\n", SHARED);
        return;
    }
    check_lines(SHARED, "bert", "[DEC]");
    check_lines(SHARED, "bpe2k", "<image>");
    check_lines(SHARED, "gpt2", NULL);
}
END_TEST

enum { POINTS = 0x110000, KINDS = 6 };
enum { REMOVED = 1, SPACED = 2, IDEOGRAPH = 4, MARK = 8, PUNCTUATION = 16, WHITE = 32 };
static struct facts { unsigned char kinds, parts; int lower, part[UNICODE_PARTS]; } facts[POINTS];

static void read_ranges(const char *p, unsigned char kind)
{
    for (char *end; *p && *p != '\n'; p = end) {
        long from = strtol(p, &end, 16), to = *end == '-' ? strtol(end + 1, &end, 16) : from;
        for (; from <= to; from++)
            facts[from].kinds |= kind;
    }
}

static void read_facts(FILE *f)
{
    static const char *const kinds[KINDS] = { "removed_by_clean\t", "to_space_by_clean\t",
                                              "cjk_padded\t",       "stripped_as_accent\t",
                                              "punctuation\t",      "whitespace_split\t" };
    char *line = NULL, *rest;
    for (size_t room = 0; getline(&line, &room, f) > 0; ) {
        for (int k = 0; k < KINDS; k++)
            if (!strncmp(line, kinds[k], strlen(kinds[k])))
                read_ranges(line + strlen(kinds[k]), (unsigned char)(1 << k));
        if (!strncmp(line, "lower\t", 6)) {
            struct facts *to = &facts[strtol(line + 6, &rest, 16)];
            to->lower = (int)strtol(rest, &rest, 16);
        } else if (!strncmp(line, "nfd_strip\t", 10)) {
            struct facts *to = &facts[strtol(line + 10, &rest, 16)];
            for (to->parts = 0; *rest && *rest != '\n'; )
                to->part[to->parts++] = (int)strtol(rest, &rest, 16);
        }
    }
    free(line);
}

static int kinds_of(int c)
{
    bool removed = unicode_removed(c), white = unicode_white(c);
    return (removed ? REMOVED : 0) | (white && !removed ? SPACED : 0) | (unicode_ideograph(c) ? IDEOGRAPH : 0)
         | (unicode_mark(c) ? MARK : 0) | (unicode_punctuation(c) ? PUNCTUATION : 0) | (white ? WHITE : 0);
}

static const char *wrong_fact(int c)
{
    const struct facts *k = &facts[c];
    int part[UNICODE_PARTS], parts = unicode_decompose(c, part), n = 0;
    for (int i = 0; i < parts; i++)
        if (!unicode_mark(part[i]) && (n == k->parts || part[i] != k->part[n++]))
            return "decomposition";
    if (!(k->kinds & MARK) && n != k->parts)
        return "decomposition";
    if (c != 0x130 && unicode_lower(c) != k->lower)
        return "lower case";
    return kinds_of(c) == k->kinds ? NULL : "kind";
}

START_TEST(every_character_is_treated_as_by_the_reference)
{
    FILE *f = fopen(SHARED "bert_unicode.tsv", "r");
    if (!f) {
        printf("suite text: %sbert_unicode.tsv is not there: characters are not compared\n", SHARED);
        return;
    }
    for (int c = 0; c < POINTS; c++)
        facts[c] = (struct facts){ .lower = c, .parts = 1, .part = { c } };
    read_facts(f);
    fclose(f);
    for (int c = 1; c < POINTS; c++) {         /* surrogates are no characters; Hangul is not listed */
        if ((c < 0xD800 || c >= 0xE000) && (c < 0xAC00 || c >= 0xD7A4) && wrong_fact(c))
            ck_abort_msg("%s, U+%04X", wrong_fact(c), c);
    }
}
END_TEST

/* ---- WordPiece ----------------------------------------------------------------------------------------- */
START_TEST(special_tokens_in_text_count_unless_it_is_literal)
{
    tokenizer *t = open_folder(OWN "words");
    ck_assert_str_eq(tokens(t, "[MASK]red[SEP] [sep]", (tokenizer_options){ .bare = true }),
                     "[MASK] red [SEP] [ s ##e ##p ]");
    ck_assert_str_eq(tokens(t, "[SEP]", (tokenizer_options){ .literal = true }), "[CLS] [ s ##e ##p ] [SEP]");
    token_list l = { 0 };
    ck_assert(tokenizer_encode(t, "[SEP]", 4, &(tokenizer_options){ .bare = true }, &l, &e)); /* "[SEP" */
    ck_assert(l.n == 4 && l.ids[0] == tokenizer_id(t, "["));
    mem_free(l.ids);
    int before = tokenizer_size(t), dec = tokenizer_add(t, "[DEC]", &e);
    ck_assert_int_eq(dec, before);
    ck_assert_int_eq(tokenizer_add(t, "[DEC]", &e), dec);
    ck_assert_int_eq(tokenizer_size(t), before + 1);
    ck_assert_int_eq(tokenizer_add(t, "two\nlines", &e), -1);
    tokenizer_free(t);
}
END_TEST

START_TEST(a_cut_text_keeps_its_last_token)
{
    tokenizer *t = open_folder(OWN "words");
    ck_assert_str_eq(tokens(t, "a red circle and a cross", (tokenizer_options){ .max = 4 }),
                     "[CLS] a red [SEP]");
    ck_assert_str_eq(tokens(t, "a red circle", (tokenizer_options){ .max = 2 }), "[CLS] [SEP]");
    ck_assert_str_eq(tokens(t, "", (tokenizer_options){ 0 }), "[CLS] [SEP]");
    token_list l = { 0 };
    ck_assert(!tokenizer_encode(t, "a", 1, &(tokenizer_options){ .max = 1 }, &l, &e));
    ck_assert_str_eq(e.text, "tokenizer: max: expected 0 or at least 2, found 1");
    ck_assert(!tokenizer_encode(t, "ab\xFF", 3, &(tokenizer_options){ 0 }, &l, &e));
    ck_assert_str_eq(e.text, "tokenizer: text: not UTF-8 at byte 3");
    mem_free(l.ids);
    tokenizer_free(t);
}
END_TEST

START_TEST(decoded_words_stand_as_they_were_written)
{
    tokenizer *t = open_folder(OWN "words");
    token_list l = encode(t, "Is there a RED square? No, it isn't!", (tokenizer_options){ 0 });
    char *text = tokenizer_decode(t, l.ids, l.n, false, NULL);
    ck_assert_str_eq(text, "is there a red square? no, it isn't!");
    mem_free(text);
    text = tokenizer_decode(t, (int[]){ -1, l.ids[1], 1 << 30, l.ids[0] }, 4, true, NULL);
    ck_assert_str_eq(text, "is [CLS]");
    mem_free(text);
    mem_free(l.ids);
    tokenizer_free(t);
}
END_TEST

START_TEST(a_rest_of_a_word_at_the_start_keeps_its_mark)
{
    tokenizer *t = open_folder(OWN "words");
    int re = tokenizer_id(t, "##re");
    char *text = tokenizer_decode(t, (int[]){ re, re }, 2, false, NULL);
    ck_assert_str_eq(text, "##rere");
    mem_free(text);
    buffer b = { 0 };
    data_print(&b, "it 's , i 'm . they 've ! we 're n't ' x ' ?");
    wordpiece_tidy(&b);
    ck_assert_str_eq(b.text, "it's, i'm. they've! we'ren't'x '?");
    ck_assert_int_eq(b.used, (long)strlen(b.text));
    data_buffer_free(&b);
    tokenizer_free(t);
}
END_TEST

START_TEST(a_batch_is_padded_on_the_side_asked_for)
{
    tokenizer *t = open_folder(OWN "words");
    const char *const texts[] = { "red", "a red circle", "" };
    int a = tokenizer_id(t, "a"), red = tokenizer_id(t, "red"), circle = tokenizer_id(t, "circle");
    token_batch b = { 0 };
    ck_assert(tokenizer_batch(t, 3, texts, &(tokenizer_options){ 0 }, &b, &e));
    ck_assert(b.B == 3 && b.T == 5);
    ck_assert_mem_eq(b.ids, ((int[]){ 2, red, 3, 0, 0, 2, a, red, circle, 3, 2, 3, 0, 0, 0 }),
                     15 * sizeof(int));
    ck_assert_mem_eq(b.mask, ((unsigned char[]){ 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0 }), 15);
    ck_assert(tokenizer_batch(t, 2, texts, &(tokenizer_options){ .pad_to = 4, .pad_left = true }, &b, &e));
    ck_assert_mem_eq(b.ids, ((int[]){ 0, 2, red, 3, 2, a, red, 3 }), 8 * sizeof(int));
    ck_assert_mem_eq(b.mask, ((unsigned char[]){ 0, 1, 1, 1, 1, 1, 1, 1 }), 8);
    token_batch_free(&b);
    tokenizer_free(t);
}
END_TEST

static bool list_piece(void *context, const char *piece, long n)
{
    char *to = context;
    sprintf(to + strlen(to), "%s%.*s", *to ? "|" : "", (int)n, piece);
    return true;
}

START_TEST(marks_stand_in_canonical_order)
{
    char words[200] = ""; /* U+1D16D, U+1D165: classes 226, 216; U+1E2EC is younger than Unicode 9 */
    const char text[] = "a\U0001D16D\U0001D165 b\U0001E2EC\U0001D165";
    ck_assert(wordpiece_words(text, sizeof text - 1, list_piece, words));
    ck_assert_str_eq(words, "a\U0001D165\U0001D16D|b\U0001E2EC\U0001D165");
}
END_TEST

/* ---- bytes --------------------------------------------------------------------------------------------- */
static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

START_TEST(pieces_are_cut_as_by_the_reference)
{
    static const struct { const char *text, *pieces; } cases[] = {
        { "it's we'll DON'T", "it|'s| we|'ll| DON|'|T" }, { "a  b   ", "a| | b|   " },
        { "x\n\ny\t z", "x|\n|\n|y|\t| z" },
        { "ab12 34,. -\xC2\xBD", "ab|12| 34|,.| -|\xC2\xBD" },
        { "a \u180E\u180E!", "a| \u180E\u180E!" },
        { "a\U000323AF\u1C89 1\U00011F50", "a\U000323AF\u1C89| 1\U00011F50" },
        { "\u3000\u3000x", "\u3000|\u3000|x" },
    };
    byte_splitter *s = byte_splitter_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char pieces[200] = "";
        ck_assert(byte_bpe_pieces(s, cases[i].text, (long)strlen(cases[i].text), list_piece, pieces));
        ck_assert_str_eq(pieces, cases[i].pieces);
    }
    byte_splitter_free(s);
}
END_TEST

START_TEST(any_text_comes_back_from_its_bytes)
{
    tokenizer *t = open_folder(OWN "bytes");
    uint32_t random = 1;
    for (int round = 0; round < 3000; round++) {
        buffer text = { 0 };
        data_append(&text, "", 0);
        for (uint32_t n = next(&random) % 20; n; n--) {
            int c = (int)(next(&random) % (next(&random) % 2 ? 0x80 : POINTS));
            data_append_character(&text, c >= 0xD800 && c < 0xE000 ? ' ' : c);
        }
        token_list l = { 0 };
        long bytes;
        ck_assert(
            tokenizer_encode(t, text.text, text.used, &(tokenizer_options){ .literal = round % 2 }, &l, &e));
        ck_assert_int_eq(l.ids[0], 2);
        char *again = tokenizer_decode(t, l.ids, l.n, false, &bytes);
        ck_assert(bytes == text.used && !memcmp(again, text.text, (size_t)bytes));
        mem_free(again);
        mem_free(l.ids);
        data_buffer_free(&text);
    }
    tokenizer_free(t);
}
END_TEST

START_TEST(broken_bytes_decode_to_replacement_characters)
{
    static const struct { const char *bytes, *text; } cases[] = {  /* Unicode 15, 3.9, tables 3-8 to 3-11 */
        { "\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "?\?\?\?\?\?\?\?A" },
        { "\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "?\?\?\?\?\?\?\?A" },
        { "\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "?\?\?\?\?A?\?B" },
        { "\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "?\?\?\?A" },
        { "\xF0\x9F\x98", "?" },
        { "\xF5\x80\x80\x80", "?\?\?\?" },
        { "a\xE2\x82\xACz", "a\xE2\x82\xACz" },
    };
    tokenizer *t = open_folder(OWN "bytes");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int ids[16], n = 0;
        buffer expected = { 0 };
        for (const char *p = cases[i].bytes; *p; p++)
            ids[n++] = t->byte[(unsigned char)*p];
        for (const char *p = cases[i].text; *p; p++)
            data_append(&expected, *p == '?' ? "\xEF\xBF\xBD" : p, *p == '?' ? 3 : 1);
        char *text = tokenizer_decode(t, ids, n, false, NULL);
        ck_assert_str_eq(text, expected.text);
        mem_free(text);
        data_buffer_free(&expected);
    }
    tokenizer_free(t);
}
END_TEST

START_TEST(a_long_word_does_not_hang)
{
    tokenizer *t = open_folder(OWN "bytes"), *w = open_folder(OWN "words");
    enum { N = 1 << 20 };
    char *text = mem_new(N + 1);
    for (int i = 0; i < N; i++)
        text[i] = "redcirclesquare"[i % 15];
    token_list l = encode(t, text, (tokenizer_options){ 0 });
    ck_assert_int_lt(l.n, N);
    mem_free(l.ids);
    for (int i = 0; i + 4 <= N; i += 4) /* marks out of order: U+0323 U+0301, over and over */
        memcpy(text + i, i % 8 ? "\xCC\xA3\xCC\x81" : "\xCC\x81\xCC\xA3", 4);
    l = encode(w, text, (tokenizer_options){ 0 });
    ck_assert_int_eq(l.n, 2);
    mem_free(l.ids);
    mem_free(text);
    tokenizer_free(t);
    tokenizer_free(w);
}
END_TEST

Suite *suite_text(void)
{
    Suite *s = suite_create("text");
    TCase *c = tcase_create("text");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_test(c, ids_are_those_of_the_reference);
    tcase_add_test(c, every_character_is_treated_as_by_the_reference);
    tcase_add_test(c, special_tokens_in_text_count_unless_it_is_literal);
    tcase_add_test(c, a_cut_text_keeps_its_last_token);
    tcase_add_test(c, decoded_words_stand_as_they_were_written);
    tcase_add_test(c, a_rest_of_a_word_at_the_start_keeps_its_mark);
    tcase_add_test(c, marks_stand_in_canonical_order);
    tcase_add_test(c, pieces_are_cut_as_by_the_reference);
    tcase_add_test(c, a_batch_is_padded_on_the_side_asked_for);
    tcase_add_test(c, any_text_comes_back_from_its_bytes);
    tcase_add_test(c, broken_bytes_decode_to_replacement_characters);
    tcase_add_test(c, a_long_word_does_not_hang);
    suite_add_tcase(s, c);
    return s;
}
