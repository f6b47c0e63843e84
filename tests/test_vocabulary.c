/* test_vocabulary.c - vocabularies: learned, written, read, refused; and text as LAVIS cleans it. */
#include "tests/tests.h"
#include "data/internal.h"
#include <stdio.h>
#include <string.h>

static error e;

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

static tokenizer *train(tokenizer_kind kind, long size, const char *const *lines)
{
    tokenizer_trainer *r = tokenizer_trainer_new(kind, &e);
    for (; *lines; lines++)
        ck_assert(tokenizer_trainer_add(r, *lines, (long)strlen(*lines), &e));
    tokenizer *t = tokenizer_train(r, size, 2, &e);
    tokenizer_trainer_free(r);
    ck_assert_msg(t != NULL, "%s", e.text);
    return t;
}

static const char *const captions[] = {
    "a red circle above a blue square", "a small green triangle", "a red cross, a blue circle",
    "is there a red circle? yes", "what colour is the square? blue", "a green square and a red triangle", NULL
};
static const char *const shuffled[] = {
    "a green square and a red triangle", "a red cross, a blue circle", "what colour is the square? blue",
    "a small green triangle", "is there a red circle? yes", "a red circle above a blue square", NULL
};

/* ---- training ------------------------------------------------------------------------------------------ */
static void same_files(const tokenizer *a, const tokenizer *b)
{
    tokenizer_file x[TOKENIZER_FILES], y[TOKENIZER_FILES];
    int n = tokenizer_files(a, x, &e);
    ck_assert_int_eq(n, tokenizer_files(b, y, &e));
    ck_assert_int_gt(n, 0);
    for (int i = 0; i < n; i++) {
        ck_assert_str_eq(x[i].name, y[i].name);
        ck_assert_str_eq(x[i].bytes, y[i].bytes);
        mem_free(x[i].bytes);
        mem_free(y[i].bytes);
    }
}

START_TEST(a_vocabulary_does_not_depend_on_the_order_of_the_text)
{
    for (int kind = TOKENIZER_WORDPIECE; kind <= TOKENIZER_BPE; kind++) {
        tokenizer *a = train((tokenizer_kind)kind, 290, captions),
                  *b = train((tokenizer_kind)kind, 290, shuffled);
        same_files(a, b);
        tokenizer_free(a);
        tokenizer_free(b);
    }
}
END_TEST

START_TEST(characters_beyond_ascii_do_not_depend_on_the_order_either)
{
    tokenizer *a = train(TOKENIZER_WORDPIECE, 290, (const char *const[]){ "stra\u00DFe", "\u00F8l", NULL });
    tokenizer *b = train(TOKENIZER_WORDPIECE, 290, (const char *const[]){ "\u00F8l", "stra\u00DFe", NULL });
    ck_assert_int_ge(tokenizer_id(a, "\u00F8"), 0);
    ck_assert_int_ge(tokenizer_id(a, "##\u00DF"), 0);
    same_files(a, b);
    tokenizer_free(a);
    tokenizer_free(b);
}
END_TEST

START_TEST(a_vocabulary_has_the_size_asked_for)
{
    tokenizer *first = train(TOKENIZER_WORDPIECE, 1000, (const char *const[]){ "a", NULL });
    tokenizer *t = train(TOKENIZER_WORDPIECE, tokenizer_size(first) + 3, captions);
    ck_assert_int_eq(tokenizer_size(t), tokenizer_size(first) + 3);
    tokenizer_free(first);
    tokenizer_free(t);
}
END_TEST

START_TEST(common_words_are_whole)
{
    tokenizer *t = train(TOKENIZER_WORDPIECE, 200, captions);
    ck_assert_str_eq(tokens(t, "A red circle, a blue square?", (tokenizer_options){ .bare = true }),
                     "a red circle , a blue square ?");
    ck_assert_str_eq(tokens(t, "zq9 [~", (tokenizer_options){ .bare = true }), "z ##q ##9 [ ~");
    ck_assert_int_eq(tokenizer_id(t, "ci"), -1);           /* a piece that no word needs any more */
    ck_assert_int_eq(tokenizer_pad(t), 0);
    tokenizer_free(t);
}
END_TEST

START_TEST(byte_vocabularies_hold_all_bytes_and_as_many_tokens_as_asked)
{
    static const char *const names[] = { "<s>", "<pad>", "</s>", "<unk>" };
    tokenizer *t = train(TOKENIZER_BPE, 270, captions);
    ck_assert_int_eq(tokenizer_size(t), 270);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(tokenizer_id(t, names[i]), i);
    for (int byte = 0; byte < 256; byte++)
        ck_assert_msg(t->byte[byte] >= 4, "byte %d", byte);
    ck_assert_str_eq(tokens(t, "\n", (tokenizer_options){ 0 }), "</s> \xC4\x8A");
    tokenizer_trainer *r = tokenizer_trainer_new(TOKENIZER_BPE, &e);
    ck_assert_ptr_null(tokenizer_train(r, 259, 2, &e));
    ck_assert_str_eq(e.text, "vocabulary: size: expected at least 260, the first tokens; found 259");
    tokenizer_trainer_free(r);
    tokenizer_free(t);
}
END_TEST

static void check_merges(const char *const *lines, const char *merges)
{
    tokenizer *t = train(TOKENIZER_BPE, 1000, lines);
    tokenizer_file f[TOKENIZER_FILES];
    ck_assert_int_eq(tokenizer_files(t, f, &e), 2);
    ck_assert_str_eq(f[1].bytes + strlen("#version: 0.2\n"), merges);
    mem_free(f[0].bytes);
    mem_free(f[1].bytes);
    tokenizer_free(t);
}
#define LINES(...) ((const char *const[]){ __VA_ARGS__, NULL })

START_TEST(the_most_frequent_pair_is_merged_first)
{
    check_merges(LINES("abab", "ab", "abab", "xy"), "a b\nab ab\n");      /* (a,b) 5, then (ab,ab) 2 */
    check_merges(LINES("cab", "cab"), "a b\nc ab\n");                     /* of equals the smaller ids */
    check_merges(LINES("abc", "abc", "abc", "bc", "bc", "bc", "ab", "ab"),
                 "b c\na bc\na b\n");                                     /* (a,b) falls from 5 to 2 */
}
END_TEST

/* A file with a pair twice would not load. */
START_TEST(no_merge_is_learned_twice)
{
    uint32_t random = 7;
    tokenizer_trainer *r = tokenizer_trainer_new(TOKENIZER_BPE, &e);
    for (int w = 0; w < 3000; w++) {
        char word[32] = "";
        random = random * 1664525u + 1013904223u;
        for (uint32_t i = 0; i < 4 + (random >> 28); i++)
            word[i] = random >> (8 + i) & 1 ? 'a' : 'b';
        ck_assert(tokenizer_trainer_add(r, word, (long)strlen(word), &e));
    }
    tokenizer *t = tokenizer_train(r, 900, 1, &e);
    tokenizer_file f[TOKENIZER_FILES];
    int n = tokenizer_files(t, f, &e);
    ck_assert_int_eq(t->merges.n / 3, 900 - 260);
    tokenizer *again = tokenizer_load("again", f, n, &e);
    ck_assert_msg(again != NULL, "%s", e.text);
    while (n)
        mem_free(f[--n].bytes);
    tokenizer_free(again);
    tokenizer_free(t);
    tokenizer_trainer_free(r);
}
END_TEST

/* ---- files --------------------------------------------------------------------------------------------- */
START_TEST(what_is_written_reads_back_the_same)
{
    for (int kind = TOKENIZER_WORDPIECE; kind <= TOKENIZER_BPE; kind++) {
        const char *folder = IN_FOLDER(kind == TOKENIZER_BPE ? "bpe" : "bert");
        tokenizer *t = train((tokenizer_kind)kind, 300, captions);
        ck_assert(tokenizer_add(t, kind == TOKENIZER_BPE ? "<image>" : "[DEC]", &e) >= 0);
        ck_assert_msg(tokenizer_write(t, folder, &e), "%s", e.text);
        tokenizer *again = tokenizer_read(folder, &e);
        ck_assert_msg(again != NULL, "%s", e.text);
        ck_assert_int_eq(tokenizer_is(again), kind);
        ck_assert_int_eq(again->specials, t->specials);
        same_files(t, again);
        tokenizer_free(t);
        tokenizer_free(again);
    }
}
END_TEST

/* Special by a file beside the vocabulary alone. */
START_TEST(special_tokens_of_other_names_stay_special)
{
    for (int kind = TOKENIZER_WORDPIECE; kind <= TOKENIZER_BPE; kind++) {
        tokenizer *t = train((tokenizer_kind)kind, 300, captions);
        tokenizer_file f[TOKENIZER_FILES];
        ck_assert(tokenizer_add(t, "<foo>", &e) >= 0);
        ck_assert(tokenizer_add(t, "red", &e) >= 0 && tokenizer_add(t, "\"\\", &e) >= 0);
        int n = tokenizer_files(t, f, &e);
        ck_assert_int_eq(n, kind == TOKENIZER_BPE ? 3 : 2);
        ck_assert_str_eq(f[n - 1].name, "added_tokens.json");
        tokenizer *again = tokenizer_load("again", f, n, &e);
        ck_assert_msg(again != NULL, "%s", e.text);
        const char *text = tokens(again, "a<foo>b", (tokenizer_options){ .bare = true });
        ck_assert_msg(strstr(text, "<foo>") != NULL, "%s", text);
        ck_assert_int_eq(again->specials, t->specials);
        same_files(t, again);
        while (n)
            mem_free(f[--n].bytes);
        tokenizer_free(again);
        tokenizer_free(t);
    }
}
END_TEST

#define WORDS "[PAD]\n[UNK]\n[CLS]\n[SEP]\n"

START_TEST(bad_word_lists_are_refused_with_the_line)
{
    static const struct { const char *vocab, *text; } cases[] = {
        { "", "x/vocab.txt: vocabulary: empty file; expected a token a line" },
        { WORDS "dog\ncat\ndog\n", "x/vocab.txt:7: token: dog is there twice; first in line 5" },
        { WORDS "\n", "x/vocab.txt:5: token: empty line; expected a token" },
        { WORDS "\xFF\n", "x/vocab.txt:5: token: not text; expected UTF-8 without zero bytes" },
        { "[PAD]\n[unk]\n[CLS]\n[SEP]\n",
          "x/vocab.txt: [UNK]: token: missing; expected [PAD], [UNK], [CLS] and [SEP]" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tokenizer_file f = { "vocab.txt", (char *)cases[i].vocab, (long)strlen(cases[i].vocab) };
        ck_assert_ptr_null(tokenizer_load("x", &f, 1, &e));
        ck_assert_str_eq(e.text, cases[i].text);
    }
    char windows[] = "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\ndog";
    tokenizer *t =
        tokenizer_load("x", &(tokenizer_file){ "bert/vocab.txt", windows, sizeof windows - 1 }, 1, &e);
    ck_assert_msg(t && tokenizer_id(t, "dog") == 4, "%s", e.text);
    tokenizer_free(t);
}
END_TEST

/* vocab.txt does not tell that it is a cased BERT's; the files beside it do. */
START_TEST(settings_beside_a_vocabulary_are_looked_at)
{
    static const struct { const char *name, *bytes, *text; } cases[] = {
        { "tokenizer_config.json",
          "{\"do_lower_case\": true, \"strip_accents\": null, \"model_max_length\": 1000000000000000019884}",
          "" },
        { "tokenizer_config.json", "{\"do_lower_case\": false}",
          "x/tokenizer_config.json: do_lower_case: expected true, found false" },
        { "tokenizer_config.json", "{\"strip_accents\": false}",
          "x/tokenizer_config.json: strip_accents: expected true, found false" },
        { "tokenizer_config.json", "[]", "x/tokenizer_config.json: expected an object of settings" },
        { "tokenizer.json", "{\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":false},"
                            "\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}",
          "x/tokenizer.json: normalizer: expected BertNormalizer in lower case" },
        { "tokenizer.json", "{\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":true},"
                            "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,"
                            "\"[CLS]\":2,\"[SEP]\":3}}}",
          "" },
        { "tokenizer.json", "{\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":true},"
                            "\"added_tokens\":[{\"id\":4,\"content\":\"[DEC]\",\"special\":true}],"
                            "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,"
                            "\"[CLS]\":2,\"[SEP]\":3}}}",
          "" },
        { "tokenizer.json", "{\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":true},"
                            "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[PAD]\":3,\"[UNK]\":2,"
                            "\"[CLS]\":1,\"[SEP]\":0}}}",
          "x/tokenizer.json: token 0: \"[SEP]\", and in vocab.txt \"[PAD]\"; expected the same in both" },
        { "tokenizer.json", "{\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":true},"
                            "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,"
                            "\"[CLS]\":2,\"[SEP]\":3,\"dog\":4}}}",
          "x/tokenizer.json: token 4: \"dog\", and in vocab.txt \"\"; expected the same in both" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tokenizer_file f[] = { { "vocab.txt", (char *)WORDS, (long)strlen(WORDS) },
                               { cases[i].name, (char *)cases[i].bytes, (long)strlen(cases[i].bytes) } };
        e.text[0] = 0;
        tokenizer *t = tokenizer_load("x", f, 2, &e);
        ck_assert_str_eq(e.text, cases[i].text);
        ck_assert(!t == !!*cases[i].text);
        tokenizer_free(t);
    }
}
END_TEST

/* OPT's texts begin with </s>; GPT-2's, whose vocabulary has none, do not. */
START_TEST(a_text_begins_as_its_settings_say)
{
    static const struct { const char *config, *text; } cases[] = {
        { "{\"add_bos_token\": true}", "" }, { "{\"add_bos_token\": null}", "" },
        { "{\"add_bos_token\": false}",
          "x/tokenizer_config.json: add_bos_token: expected true, found false" },
    };
    tokenizer *t = train(TOKENIZER_BPE, 270, captions);
    tokenizer_file f[TOKENIZER_FILES];
    ck_assert_int_eq(tokenizer_files(t, f, &e), 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f[2] = (tokenizer_file){ "tokenizer_config.json", (char *)cases[i].config,
                                 (long)strlen(cases[i].config) };
        e.text[0] = 0;
        tokenizer *again = tokenizer_load("x", f, 3, &e);
        ck_assert_str_eq(e.text, cases[i].text);
        ck_assert(!again == !!*cases[i].text);
        tokenizer_free(again);
    }
    char *end = strstr(f[0].bytes, "\"</s>\"");
    ck_assert_ptr_nonnull(end);
    memcpy(end, "\"<a1>\"", 6);
    tokenizer *none = tokenizer_load("x", f, 3, &e);
    ck_assert_msg(none != NULL, "%s", e.text);
    tokenizer_free(none);
    for (int i = 0; i < 2; i++)
        mem_free(f[i].bytes);
    tokenizer_free(t);
}
END_TEST

/* The files of a good vocabulary with `vocab` or `merges` changed: `from` becomes `to`, or `to` is added if
 * it is NULL. */
static const char *refusal(const char *which, const char *from, const char *to)
{
    static char text[ERROR_TEXT];
    tokenizer *t = train(TOKENIZER_BPE, 270, captions);
    tokenizer_file f[TOKENIZER_FILES];
    ck_assert_int_eq(tokenizer_files(t, f, &e), 2);
    for (int i = 0; i < 2; i++) {
        buffer b = { 0 };
        char *at = from && !strcmp(f[i].name, which) ? strstr(f[i].bytes, from) : f[i].bytes + f[i].size;
        ck_assert_ptr_nonnull(at);
        data_append(&b, f[i].bytes, at - f[i].bytes);
        if (!strcmp(f[i].name, which)) {
            data_print(&b, "%s", to);
            data_print(&b, "%s", from ? at + strlen(from) : "");
        }
        mem_free(f[i].bytes);
        f[i].bytes = b.text;
        f[i].size = b.used;
    }
    tokenizer *bad = tokenizer_load("x", f, 2, &e);
    strcpy(text, bad ? "taken" : e.text);
    for (int i = 0; i < 2; i++)
        mem_free(f[i].bytes);
    tokenizer_free(bad);
    tokenizer_free(t);
    return text;
}

START_TEST(bad_byte_vocabularies_are_refused_with_the_place)
{
    ck_assert_str_eq(refusal("vocab.json", "\"!\":4", "\"!\":5"), "x/vocab.json: \": id: 5 is that of ! too");
    ck_assert_str_eq(refusal("vocab.json", ":4,", ":-1,"),
                     "x/vocab.json: !: id: expected 0 to 269, one for each token; found -1");
    ck_assert_str_eq(refusal("vocab.json", ":4,", ":1099511627776,"),
                     "x/vocab.json: !: id: expected 0 to 269, one for each token; found 1099511627776");
    ck_assert_str_eq(refusal("vocab.json", ":4,", ":\"4\","), "x/vocab.json: !: id: expected a whole number");
    ck_assert_str_eq(refusal("vocab.json", "\"!\"", "\"!!\""),
                     "x/vocab.json: vocabulary: byte 33 has no token; expected one for each byte");
    ck_assert_ptr_nonnull(strstr(refusal("vocab.json", "\"!\"", "\"<s>\""), "duplicate object key"));
    ck_assert_ptr_nonnull(strstr(refusal("vocab.json", "{", "{{"), "x/vocab.json:1:2: JSON: "));
    ck_assert_str_eq(refusal("merges.txt", NULL, "zq qz\n"),
                     "x/merges.txt:12: merge: zqqz: the left part is not in the vocabulary");
    ck_assert_str_eq(refusal("merges.txt", NULL, "z q\n"),
                     "x/merges.txt:12: merge: zq: the product is not in the vocabulary");
    ck_assert_str_eq(refusal("merges.txt", NULL, "zq\n"),
                     "x/merges.txt:12: merge: expected two tokens with a space between them");
    ck_assert_str_eq(refusal("merges.txt", NULL, "a b c\n"),
                     "x/merges.txt:12: merge: expected two tokens with a space between them");
    ck_assert_str_eq(refusal("merges.txt", "#version: 0.2\n", "r e\n"),
                     "x/merges.txt:2: merge: this pair has a rank already");
    ck_assert_str_eq(refusal("merges.txt", NULL, ""), "taken");
    ck_assert_ptr_null(tokenizer_load("x", NULL, 0, &e));
    ck_assert_str_eq(e.text, "x: tokenizer: missing; expected vocab.txt, vocab.json and merges.txt, "
                             "spiece.model or tokenizer.json");
}
END_TEST

START_TEST(deep_json_is_refused)
{
    char deep[4000];
    memset(deep, '[', sizeof deep);
    tokenizer_file f[] = { { "vocab.json", deep, sizeof deep }, { "merges.txt", (char *)"#version", 8 } };
    ck_assert_ptr_null(tokenizer_load("x", f, 2, &e));
    ck_assert_str_eq(e.text, "x/vocab.json:1: JSON: too deep; expected at most 32 levels");
}
END_TEST

/* Trains, writes as bytes, reads, encodes, decodes; false where one of them reports an error. */
static bool whole_life(tokenizer_kind kind)
{
    bool ok = false;
    tokenizer_file f[TOKENIZER_FILES];
    token_list ids = { 0 };
    token_batch b = { 0 };
    tokenizer_trainer *r = tokenizer_trainer_new(kind, &e);
    bool added = r != NULL;
    for (int i = 0; added && captions[i]; i++)
        added = tokenizer_trainer_add(r, captions[i], (long)strlen(captions[i]), &e);
    tokenizer *t = added ? tokenizer_train(r, 300, 2, &e) : NULL;
    int n = t ? tokenizer_files(t, f, &e) : 0;
    tokenizer *again = n ? tokenizer_load("again", f, n, &e) : NULL;
    if (again && tokenizer_encode(again, "a red\xCC\x81 [SEP] dog", 17, &(tokenizer_options){ 0 }, &ids, &e)
        && tokenizer_batch(again, 2, captions, &(tokenizer_options){ 0 }, &b, &e)) {
        char *text = tokenizer_decode(again, ids.ids, ids.n, true, NULL), *clean = clean_caption("A. b");
        ok = text && clean;
        mem_free(text);
        mem_free(clean);
    }
    while (n)
        mem_free(f[--n].bytes);
    mem_free(ids.ids);
    token_batch_free(&b);
    tokenizer_free(t);
    tokenizer_free(again);
    tokenizer_trainer_free(r);
    return ok;
}

START_TEST(memory_that_is_out_is_reported)
{
    for (int kind = TOKENIZER_WORDPIECE; kind <= TOKENIZER_BPE; kind++) {
        long before = mem_count();
        ck_assert_msg(whole_life((tokenizer_kind)kind), "%s", e.text);
        long all = mem_count() - before;
        ck_assert_int_gt(all, 100);
        for (long nth = 1; nth <= all; nth++) {
            mem_fail_at(nth, nth % 2);
            ck_assert_msg(!whole_life((tokenizer_kind)kind), "allocation %ld of %ld is not needed", nth, all);
            mem_fail_at(0, false);
        }
    }
}
END_TEST

/* ---- cleaning ------------------------------------------------------------------------------------------ */
START_TEST(captions_and_questions_are_cleaned_as_lavis_does)
{
    static const struct { const char *text, *caption, *question; } cases[] = {
        { "A Red circle!", "a red circle", "a red circle" },
        { "", "", "" },
        { "...", "", "" },
        { "  (Two) \"red\"  dogs; it's ~5 #1.  ", "two red dogs it's 5 1", "  two red  dogs it's 5 1" },
        { "what is\tthis?\n", "what is\tthis?", "what is\tthis?\n" },
        { "a\t\tb. \n", "a b", "a\t\tb \n" },
        { "\xCE\xA3\xCE\x91\xCE\xA3 \xC4\xB0", "\xCF\x83\xCE\xB1\xCF\x82 i\xCC\x87",
          "\xCF\x83\xCE\xB1\xCF\x82 i\xCC\x87" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *caption = clean_caption(cases[i].text), *question = clean_question(cases[i].text);
        ck_assert_str_eq(caption, cases[i].caption);
        ck_assert_str_eq(question, cases[i].question);
        mem_free(caption);
        mem_free(question);
    }
    char many[200] = "";
    for (int i = 0; i < 60; i++)
        strcat(many, "a ");
    char *fifty = clean_caption(many);
    ck_assert_int_eq((int)strlen(fifty), 99);
    mem_free(fifty);
}
END_TEST

Suite *suite_vocabulary(void)
{
    Suite *s = suite_create("vocabulary");
    TCase *c = tcase_create("vocabulary");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, a_vocabulary_does_not_depend_on_the_order_of_the_text);
    tcase_add_test(c, characters_beyond_ascii_do_not_depend_on_the_order_either);
    tcase_add_test(c, a_vocabulary_has_the_size_asked_for);
    tcase_add_test(c, no_merge_is_learned_twice);
    tcase_add_test(c, common_words_are_whole);
    tcase_add_test(c, byte_vocabularies_hold_all_bytes_and_as_many_tokens_as_asked);
    tcase_add_test(c, the_most_frequent_pair_is_merged_first);
    tcase_add_test(c, what_is_written_reads_back_the_same);
    tcase_add_test(c, special_tokens_of_other_names_stay_special);
    tcase_add_test(c, settings_beside_a_vocabulary_are_looked_at);
    tcase_add_test(c, a_text_begins_as_its_settings_say);
    tcase_add_test(c, bad_word_lists_are_refused_with_the_line);
    tcase_add_test(c, bad_byte_vocabularies_are_refused_with_the_place);
    tcase_add_test(c, deep_json_is_refused);
    tcase_add_test(c, memory_that_is_out_is_reported);
    tcase_add_test(c, captions_and_questions_are_cleaned_as_lavis_does);
    suite_add_tcase(s, c);
    return s;
}
