/* test_metrics.c - scores against values worked out by hand, words against what the Stanford tokenizer gave,
 * and what wrong files are told. The reference scorers' own figures are compared by `make golden`. */
#include "eval/metrics.h"
#include "tests/tests.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static error e;

/* ---- words ----------------------------------------------------------------------------------------- */
START_TEST(words_are_split_as_the_treebank_does)
{
    static const char *const lines[][2] = {
        { "A man's dog won't sit, it's cold!", "a man 's dog wo n't sit it 's cold" },
        { "I'm gonna see y'all's O'Brien at 5 o'clock", "i 'm gon na see y' all 's o'brien at 5 o'clock" },
        { "They cannot, can't and couldn’t have 'em.", "they can not ca n't and could n't have 'em" },
        { "Mr. Smith lives on Main St. in the U.S.", "mr. smith lives on main st. in the u.s." },
        { "it is ill. It is 3.5 in. long, no. 5", "it is ill it is 3.5 in long no. 5" },
        { "a t-shirt, two 8x10 photos & 1/2 of 3 1/2", "a t-shirt two 8x10 photos & 1/2 of 3\u00a01/2" },
        { "costs $5.50, £3 or 50% (approx.) [sic]",
          "costs $ 5.50 # 3 or 50 % -lrb- approx -rrb- -lsb- sic -rsb-" },
        { "\"quoted\" ‘single’ — dashes -- and ... dots", "quoted single dashes and dots" },
        { "wait!! what?! <b>bold</b> :) me@mail.org", "wait !! what ?! <b> bold </b> :-rrb- me@mail.org" },
        { "A café in Zürich, 20°C", "a café in zürich 20 ° c" },
        { "smile 😀 soft\u00adly", "smile softly" },
        { "", "" },
        { " . , ", "" },
        { "\xff\xfe", "" }
    };
    ptb *p = ptb_new(&e);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *found = ptb_tokens(p, lines[i][0]);
        ck_assert_str_eq(found, lines[i][1]);
        mem_free(found);
    }
    ptb_free(p);
}
END_TEST

START_TEST(whitespace_words_keep_their_punctuation)
{
    char *found = whitespace_tokens("  A Dog,\tÄRGER\u00a0x\n. ");
    ck_assert_str_eq(found, "a dog, ärger x .");
    mem_free(found);
}
END_TEST

/* ---- captions -------------------------------------------------------------------------------------- */
static score_captions score(long n, const score_item *items)
{
    score_captions s;
    ck_assert_msg(score_captions_run(n, items, &s, &e), "%s", e.text);
    return s;
}

#define REFERENCES(...) (const char *const[]){ __VA_ARGS__ }
static void near(double found, double expected)
{
    ck_assert_msg(fabs(found - expected) <= 1e-8 * (1 + fabs(expected)), "%.12g, expected %.12g", found,
                  expected);
}

START_TEST(bleu_clips_counts_and_takes_the_closest_length)
{
    score_item items[] = { { "the the the cat",
                             REFERENCES("the cat sat", "a cat is on the mat", "the dog ran off"), 3 } };
    score_captions s = score(1, items);
    near(s.bleu[0], 2.0 / 4); /* the once, cat once; lengths 4 and 4: no penalty */
    near(s.bleu[1], sqrt(2.0 / 4 * 1 / 3));
    ck_assert(s.bleu[2] < 1e-4);
    score_captions_free(&s);
    items[0] = (score_item){ "the cat", REFERENCES("the cat sat on", "the cat sat", "x"), 3 };
    s = score(1, items); /* 1 and 3 are as close to 2: the shorter, no penalty */
    near(s.bleu[0], 1);
    score_captions_free(&s);
    items[0] = (score_item){ "the cat", REFERENCES("the cat sat on"), 1 };
    s = score(1, items);
    near(s.bleu[0], exp(1 - 4.0 / 2));
    score_captions_free(&s);
}
END_TEST

START_TEST(bleu_of_a_corpus_sums_counts_before_it_divides)
{
    const score_item items[] = { { "a b c d", REFERENCES("a b c d"), 1 }, { "x y", REFERENCES("x z"), 1 } };
    score_captions s = score(2, items);
    near(s.bleu[0], 5.0 / 6);
    near(s.bleu[1], sqrt(5.0 / 6 * 3 / 4));
    near(s.per_bleu[0][0], 1);
    near(s.per_bleu[0][1], 0.5);
    score_captions_free(&s);
}
END_TEST

START_TEST(rouge_takes_best_precision_and_best_recall_apart)
{
    const score_item items[] = { { "a b c", REFERENCES("a x b y c z w v", "a q"), 2 },
                                 { "", REFERENCES("a"), 1 } };
    score_captions s = score(2, items);
    double p = 1, r = 0.5, b2 = 1.44;                      /* precision of the first, recall 3/8 and 1/2 */
    near(s.per_rouge[0], (1 + b2) * p * r / (r + b2 * p));
    near(s.per_rouge[1], 0);
    near(s.rouge, s.per_rouge[0] / 2);
    score_captions_free(&s);
}
END_TEST

START_TEST(cider_weighs_rare_words_and_length)
{
    const score_item one[] = { { "a red car", REFERENCES("a red car"), 1 } };
    score_captions s = score(1, one);
    near(s.cider, 0);                                      /* a single picture: every idf is 0 */
    score_captions_free(&s);
    const score_item items[] = { { "a red car", REFERENCES("a red car"), 1 },
                                 { "a dog", REFERENCES("a cat"), 1 },
                                 { "blue sky", REFERENCES("blue sky at night"), 1 } };
    s = score(3, items);
    near(s.per_cider[0], 10 * 3.0 / 4);                    /* no 4-gram in three words */
    near(s.per_cider[1], 10 * (pow(log(1.5), 2) / (sqrt(pow(log(1.5), 2) + pow(log(3), 2))
                               * sqrt(pow(log(1.5), 2) + pow(log(3), 2)))) / 4);
    double d = 1 - 3;                                      /* bigrams, not words */
    near(s.per_cider[2], 10 * exp(-d * d / 72) * (2 / sqrt(2 * 4) + 1 / sqrt(3)) / 4);
    score_captions_free(&s);
}
END_TEST

START_TEST(scores_do_not_depend_on_the_order_of_pictures)
{
    score_item items[40];
    char text[40][64], reference[40][64];
    const char *list[40];
    for (int i = 0; i < 40; i++) {
        snprintf(text[i], sizeof text[i], "w%d w%d w%d w%d", i % 7, i % 5, i % 3, i % 11);
        snprintf(reference[i], sizeof reference[i], "w%d w%d w%d w%d w%d", i % 7, i % 5, i % 4, i % 11,
                 i % 2);
        list[i] = reference[i];
        items[i] = (score_item){ text[i], &list[i], 1 };
    }
    score_captions s = score(40, items);
    for (int i = 0; i < 20; i++) {
        score_item swap = items[i];
        items[i] = items[39 - i];
        items[39 - i] = swap;
    }
    score_captions turned = score(40, items);
    near(turned.cider, s.cider);
    near(turned.bleu[3], s.bleu[3]);
    near(turned.per_cider[39], s.per_cider[0]);
    score_captions_free(&s);
    score_captions_free(&turned);
}
END_TEST

START_TEST(memory_that_is_out_is_an_error)
{
    const score_item items[] = { { "a red car", REFERENCES("a red car", "a car"), 2 } };
    bool through = false;
    for (long i = 1; i < 200 && !through; i++) {
        score_captions s;
        mem_fail_at(i, false);
        through = score_captions_run(1, items, &s, &e);
        mem_fail_at(0, false);
        if (through)
            score_captions_free(&s);
        else
            ck_assert(strstr(e.text, "out of memory"));
    }
    ck_assert(through);
}
END_TEST

/* ---- answers --------------------------------------------------------------------------------------- */
START_TEST(an_answer_counts_by_the_annotators_that_gave_it)
{
    static const char *const three[] = { "red", "red", "red", "blue", "blue", "x", "y", "z", "u", "v" };
    static const char *const all[] = { "Two", "Two", "Two", "Two" };
    near(score_vqa(SCORE_VQA_OFFICIAL, "red", 10, three, NULL), (3 * 2 / 3.0 + 7) / 10);
    near(score_vqa(SCORE_VQA_OFFICIAL, "blue", 10, three, NULL), (2 * 1 / 3.0 + 8 * 2 / 3.0) / 10);
    near(score_vqa(SCORE_VQA_OFFICIAL, "The red.", 10, three, NULL), (3 * 2 / 3.0 + 7) / 10);
    near(score_vqa(SCORE_VQA_OFFICIAL, "green", 10, three, NULL), 0);
    near(score_vqa(SCORE_VQA_OFFICIAL, "Two", 4, all, NULL), 1);       /* all equal: compared as they are */
    near(score_vqa(SCORE_VQA_OFFICIAL, "two", 4, all, NULL), 0);
    near(score_vqa(SCORE_VQA_LAVIS, "Two", 4, all, NULL), 0);          /* the prediction becomes "2" */
    static const int same[] = { 0, 0, 0, 0 };
    near(score_vqa(SCORE_VQA_OFFICIAL, "Two", 4, all, same), 0);       /* equal records drop out together */
}
END_TEST

START_TEST(answers_have_one_normal_form)
{
    static const char *const forms[][2] = { { "The 1,000 dogs", "1000 dogs" },
                                            { "t-shirt", "t shirt" },
                                            { "dont know", "don't know" },
                                            { "couldnt've", "couldn't've" },
                                            { "somebody'd", "somebodyd" },
                                            { "None", "0" },
                                            { "u.s.", "us" },
                                            { "3.5.", "3.5" },
                                            { "a  b", "b" },
                                            { "left -right", "left right" },
                                            { "", "" } };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char *found = score_vqa_normalise(forms[i][0]);
        ck_assert_str_eq(found, forms[i][1]);
        mem_free(found);
    }
}
END_TEST

/* ---- retrieval, intervals -------------------------------------------------------------------------- */
START_TEST(the_best_right_column_counts_and_ties_go_to_the_first)
{
    static const double scores[] = { 1, 3, 2, 3,   5, 5, 5, 5,   0, 1, 2, 3 };
    static const long first[] = { 2, 3, -1 }, second[] = { 2, -1 }, third[] = { 0, -1 };
    const long *right[] = { first, second, third };
    long rank[3];
    score_ranks(3, 4, scores, right, rank);
    ck_assert(rank[0] == 1 && rank[1] == 2 && rank[2] == 3);
    near(score_recall(3, rank, 2), 100.0 / 3);
    near(score_recall(3, rank, 4), 100);
    near(score_mrr(3, rank), 100 * (1 / 2.0 + 1 / 3.0 + 1 / 4.0) / 3);
    static const double none[] = { NAN, NAN, 1, NAN };     /* what is no number finds nothing */
    static const long own[] = { 0, -1 }, *const nan_right[] = { own };
    score_ranks(1, 4, none, nan_right, rank);
    ck_assert_int_eq((int)rank[0], 3);
}
END_TEST

START_TEST(an_interval_holds_the_mean_and_narrows_with_more_values)
{
    double x[1600];
    for (int i = 0; i < 1600; i++)
        x[i] = i % 4 == 0;
    score_interval few = score_bootstrap(100, x, 0.95, 1000, 7),
                   many = score_bootstrap(1600, x, 0.95, 1000, 7);
    score_interval again = score_bootstrap(100, x, 0.95, 1000, 7);
    ck_assert(few.low < 0.25 && few.high > 0.25 && many.low < 0.25 && many.high > 0.25);
    ck_assert(few.low == again.low && few.high == again.high);
    double wide = few.high - few.low, normal = 2 * 1.96 * sqrt(0.25 * 0.75 / 100);
    ck_assert_msg(fabs(wide / normal - 1) < 0.15, "%g, expected about %g", wide, normal);
    ck_assert_msg(fabs((many.high - many.low) / wide - 0.25) < 0.05, "%g", (many.high - many.low) / wide);
}
END_TEST

/* ---- files ----------------------------------------------------------------------------------------- */
static const char *write(const char *name, const char *text)
{
    static char paths[3][512];
    static int next;
    char *path = paths[next++ % 3];
    folder_write(name, text);
    return folder_path(path, name);
}

START_TEST(files_of_captions_that_do_not_fit_are_told_how)
{
    static const struct { const char *results, *references, *says;
    } all[] = {
        { "{}", "{\"annotations\": [{\"image_id\": 1, \"caption\": \"a\"}]}", "expected a list of" },
        { "[{\"image_id\": 1, \"caption\": \"a\"}]", "[]", "refs.json: expected annotations, a list of" },
        { "[{\"image_id\": 2, \"caption\": \"a\"}]",
          "{\"annotations\": [{\"image_id\": 1, \"caption\": \"a\"}]}", "entry 0: image_id 2 is not in" },
        { "[{\"image_id\": 1, \"caption\": \"a\"}, {\"image_id\": 1, \"caption\": \"b\"}]",
          "{\"annotations\": [{\"image_id\": 1, \"caption\": \"a\"}]}",
          "entry 1: image_id 1 stands there twice" },
        { "[{\"image_id\": 1}]", "{\"annotations\": [{\"image_id\": 1, \"caption\": \"a\"}]}",
          "entry 0: caption: expected a text" },
        { "[{\"image_id\": 1.5, \"caption\": \"a\"}]",
          "{\"annotations\": [{\"image_id\": 1, \"caption\": \"a\"}]}",
          "image_id: expected a number or a text" },
        { "[{\"image_id\": 1, \"caption\": \"a\"}", "{}", "JSON" }
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        score_options o = { 0 };
        ck_assert(!score_caption_files(write("res.json", all[i].results),
                                       write("refs.json", all[i].references), &o, &e));
        ck_assert_msg(strstr(e.text, all[i].says) != NULL, "expected \"%s\", found \"%s\"", all[i].says,
                      e.text);
    }
}
END_TEST

START_TEST(a_number_and_a_text_are_two_ids)
{
    score_options o = { 0 };
    const char *results = write("res.json", "[{\"image_id\": \"1\", \"caption\": \"b\"}]");
    const char *references = write("refs.json", "{\"annotations\": [{\"image_id\": 1, \"caption\": \"a\"}]}");
    ck_assert(!score_caption_files(results, references, &o, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "image_id 1 is not in"));
}
END_TEST

START_TEST(answers_come_with_accuracy_by_type)
{
    score_options o = { 0 };
    const char *results = write("res.json", "[{\"question_id\": 1, \"answer\": \"red\"},"
                                            " {\"question_id\": 2, \"answer\": \"no\"}]");
    const char *annotations = write(
        "ann.json",
        "{\"annotations\": [{\"question_id\": 1, \"answer_type\": \"other\","
        "\"question_type\": \"what\", \"answers\": [{\"answer\": \"red\", \"answer_id\": 1},"
        "{\"answer\": \"red\", \"answer_id\": 2}]}, {\"question_id\": 2, \"answer_type\": \"yes/no\","
        "\"question_type\": \"is\", \"answers\": [{\"answer\": \"yes\"}]}]}");
    char *text = score_vqa_files(results, NULL, annotations, &o, &e);
    ck_assert_msg(text != NULL, "%s", e.text);
    json_t *all = json_loads(text, 0, NULL), *types = json_object_get(all, "perAnswerType");
    near(json_number_value(json_object_get(all, "overall")), 16.666667);
    near(json_number_value(json_object_get(types, "other")), 33.333333);
    near(json_number_value(json_object_get(types, "yes/no")), 0);
    json_decref(all);
    mem_free(text);
}
END_TEST

START_TEST(scores_of_retrieval_that_do_not_fit_are_told_how)
{
    static const char *const all[][2] = {
        { "{}", "expected scores_i2t, a list of rows" },
        { "{\"scores_i2t\": [[1, 2], [3]], \"img2txt\": [0, 1], \"scores_t2i\": [[1, 2], [3, 4]], "
          "\"txt2img\": [0, 1]}",
          "row 1 has 1 scores; expected 2" },
        { "{\"scores_i2t\": [[1, \"2\"]], \"img2txt\": [0], \"scores_t2i\": [[1], [3]], \"txt2img\": [0, 0]}",
          "row 0, column 1: expected a number" },
        { "{\"scores_i2t\": [[1, 2]], \"img2txt\": [2], \"scores_t2i\": [[1], [3]], \"txt2img\": [0, 0]}",
          "expected column numbers from 0 to 1" },
        { "{\"scores_i2t\": [[1, 2]], \"img2txt\": [[]], \"scores_t2i\": [[1], [3]], \"txt2img\": [0, 0]}",
          "row 0 has no right column" },
        { "{\"scores_i2t\": [[1, 2]], \"img2txt\": [1], \"scores_t2i\": [[1, 2]], \"txt2img\": [0]}",
          "expected one to turn into the other" }
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        score_options o = { 0 };
        ck_assert(!score_retrieval_file(write("r.json", all[i][0]), &o, &e));
        ck_assert_msg(strstr(e.text, all[i][1]) != NULL, "expected \"%s\", found \"%s\"", all[i][1], e.text);
    }
}
END_TEST

Suite *suite_metrics(void)
{
    Suite *s = suite_create("metrics");
    TCase *words = tcase_create("words"), *scores = tcase_create("scores"), *files = tcase_create("files");
    tcase_add_test(words, words_are_split_as_the_treebank_does);
    tcase_add_test(words, whitespace_words_keep_their_punctuation);
    suite_add_tcase(s, words);
    tcase_add_test(scores, bleu_clips_counts_and_takes_the_closest_length);
    tcase_add_test(scores, bleu_of_a_corpus_sums_counts_before_it_divides);
    tcase_add_test(scores, rouge_takes_best_precision_and_best_recall_apart);
    tcase_add_test(scores, cider_weighs_rare_words_and_length);
    tcase_add_test(scores, scores_do_not_depend_on_the_order_of_pictures);
    tcase_add_test(scores, memory_that_is_out_is_an_error);
    tcase_add_test(scores, an_answer_counts_by_the_annotators_that_gave_it);
    tcase_add_test(scores, answers_have_one_normal_form);
    tcase_add_test(scores, the_best_right_column_counts_and_ties_go_to_the_first);
    tcase_add_test(scores, an_interval_holds_the_mean_and_narrows_with_more_values);
    suite_add_tcase(s, scores);
    tcase_add_checked_fixture(files, folder_begin, folder_end);
    tcase_add_test(files, files_of_captions_that_do_not_fit_are_told_how);
    tcase_add_test(files, a_number_and_a_text_are_two_ids);
    tcase_add_test(files, answers_come_with_accuracy_by_type);
    tcase_add_test(files, scores_of_retrieval_that_do_not_fit_are_told_how);
    suite_add_tcase(s, files);
    return s;
}
