/* test_records.c - what a data set says once, says empty or does not say: captions under several names, the
 * answers of tests, lists with nothing in them; from the import to the run that is trained on them. */
#include "tests/import_case.h"
#include "tests/world.h"
#include "data/data.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error e;

/* A source of a file, for tests, imported into out. */
static said for_tests(const char *name)
{
    char *source = mem_text("test:%s", IN_FOLDER(name));
    ck_assert_ptr_nonnull(source);
    said s = BLIP2("dataset", "import", source, "-o", IN_FOLDER("out"), "--force");
    mem_free(source);
    return s;
}

static void put_pictures(void)
{
    put_picture("1.jpg", 1), put_picture("2.jpg", 2), put_picture("3.jpg", 3);
}

/* ---- texts ---- */
START_TEST(a_caption_under_two_names_is_one)
{
    put_picture("a.png", 1);
    folder_write("l.jsonl", "{\"image\":\"a.png\",\"caption\":\"x y\",\"captions\":[\"x y\",\"z\",\"z\"],"
                   "\"text\":\" x y\"}\n{\"image\":\"a.png\",\"caption\":\"z\"}\n");
    WORKS("dataset", "import", IN_FOLDER("l.jsonl"), "-o", IN_FOLDER("out"), ALL_TRAIN);
    holds("out/train.jsonl", "{\"image\":\"a.png\",\"captions\":[\"x y\",\"z\",\"z\",\"z\"]}\n");
}
END_TEST

START_TEST(tests_keep_pictures_without_annotation)
{
    put_pictures();
    folder_write("c.json",
        "{\"images\":[{\"id\":1,\"file_name\":\"1.jpg\"},{\"id\":2,\"file_name\":\"2.jpg\"},"
                  "{\"id\":3,\"file_name\":\"3.jpg\"}],\"annotations\":[{\"image_id\":2,\"caption\":\"two\"},"
                  "{\"image_id\":3}]}");
    REFUSES(1, "c.json: annotations[1]: image_id, caption: expected a number and a text",
            IN_FOLDER("c.json"));
    prints(for_tests("c.json"), "for tests: 2 pictures without a text");
    holds("out/test.jsonl", "{\"image\":\"1.jpg\",\"image_id\":1,\"captions\":[]}\n"
                            "{\"image\":\"2.jpg\",\"image_id\":2,\"captions\":[\"two\"]}\n"
                            "{\"image\":\"3.jpg\",\"image_id\":3,\"captions\":[]}\n");
    folder_write("c.json", "{\"images\":[{\"id\":1,\"file_name\":\"1.jpg\"}],\"annotations\":[]}");
    REFUSES(1, "c.json: no pictures in it", IN_FOLDER("c.json"), "--force");
    prints(for_tests("c.json"), "test.jsonl: 1 pictures, 0 captions, 0 questions");
    folder_write("k.json", "{\"images\":[{\"filename\":\"1.jpg\",\"split\":\"test\",\"cocoid\":1},"
                  "{\"filename\":\"2.jpg\",\"split\":\"test\",\"cocoid\":2,\"sentences\":[]}]}");
    prints(for_tests("k.json"), "for tests: 2 pictures without a text");
    folder_write("k.json", "{\"images\":[{\"filename\":\"1.jpg\",\"split\":\"test\",\"cocoid\":1}]}");
    REFUSES(1, "k.json: images[0]: filename, split, sentences", IN_FOLDER("k.json"), "--force");
}
END_TEST

/* ---- answers ---- */
START_TEST(tests_of_every_form_need_no_answers)
{
    static const struct { const char *list, *says; } forms[] = {
        { "[{\"image\":\"1.jpg\",\"question\":\"what?\",\"answers\":[]},"
          "{\"image\":\"1.jpg\",\"question\":\"who?\",\"answer\":\"\"}]",
          "l.json:1: question, answer: expected both, as texts; only test:SRC may have no answers" },
        { "[{\"id\":1,\"qas\":[{\"qa_id\":1,\"question\":\"what?\"},"
          "{\"qa_id\":2,\"question\":\"who?\",\"answer\":null}]}]", "l.json:1: id, qas: expected a number" },
        { "{\"8\":{\"imageId\":\"1\",\"question\":\"what?\",\"answer\":null},"
          "\"9\":{\"imageId\":\"1\",\"question\":\"who?\",\"answer\":\"\"}}",
          "l.json: 8: imageId, question, answer: expected texts" },
        { "{\"questions\":[{\"image_id\":1,\"question\":\"what?\",\"question_id\":5},"
          "{\"image_id\":1,\"question\":\"who?\",\"question_id\":6}],\"annotations\":[]}",
          "only test:FILE may have none" },
    };
    put_pictures();
    for (size_t i = 0; i < sizeof forms/sizeof *forms; i++) {
        folder_write("l.json", forms[i].list);
        FAILS(1, forms[i].says, "dataset", "import", IN_FOLDER("l.json"), "-o", IN_FOLDER("none"));
        prints(for_tests("l.json"), "0 pictures without a text and 2 questions without an answer");
        char *text = folder_load("out/test.jsonl", NULL);
        ck_assert_msg(strstr(text, "{\"question\":\"what?\",\"answer\":\"\"") != NULL, "%s", text);
        mem_free(text);
    }
    static const struct { const char *list, *says; } wrong[] = {       /* there is one, but none to be read */
        { "[{\"image\":\"1.jpg\",\"question\":\"what?\",\"answer\":{}}]",
          "l.json:1: question, answer: expected both, as texts" },
        { "{\"8\":{\"imageId\":\"1\",\"question\":\"what?\",\"answer\":[\"x\"]}}",
          "l.json: 8: imageId, question, answer: expected texts" },
    };
    for (size_t i = 0; i < sizeof wrong/sizeof *wrong; i++) {
        folder_write("l.json", wrong[i].list);
        said s = for_tests("l.json");
        ck_assert_int_eq(s.code, 1);
        ck_assert_msg(strstr(s.err, wrong[i].says) != NULL, "%s", s.err);
        shell_free(s);
    }
}
END_TEST

START_TEST(easy_vqa_needs_no_answers_for_tests)
{
    folder("easy"), folder("easy/images");
    put_picture("easy/images/0.png", 1), put_picture("easy/images/1.png", 2);
    folder_write("easy/questions.json",
                 "[[\"is there a red shape?\",\"\",0],[\"is there a red shape?\",\"yes\",1]]");
    REFUSES(1, "only test:SRC may have \"\" for an answer", IN_FOLDER("easy"));
    prints(for_tests("easy"), "0 pictures without a text and 1 questions without an answer");
    holds("out/test.jsonl", "{\"image\":\"0.png\",\"captions\":[],\"questions\":[{\"question\":\"is there a "
                            "red shape?\",\"answer\":\"\"}]}\n{\"image\":\"1.png\",\"captions\":[\"a red "
                            "shape\"],\"questions\":[{\"question\":\"is there a red shape?\",\"answer\":"
                            "\"yes\",\"type\":\"yes/no\"}]}\n");
}
END_TEST

START_TEST(an_empty_answer_is_what_most_people_said)
{
    put_picture("a.png", 1);
    folder_write("l.jsonl",
        "{\"image\":\"a.png\",\"question\":\"is it?\",\"answer\":\"\",\"answers\":[\"yes\",\"no\","
                   "\"no\"]}\n");
    WORKS("dataset", "import", IN_FOLDER("l.jsonl"), "-o", IN_FOLDER("out"), ALL_TRAIN);
    holds("out/train.jsonl", "{\"image\":\"a.png\",\"captions\":[],\"questions\":[{\"question\":\"is it?\","
                             "\"answer\":\"no\",\"answers\":[\"yes\",\"no\",\"no\"]}]}\n");
}
END_TEST

/* ---- inspect ---- */
START_TEST(inspect_counts_questions_without_an_answer)
{
    put_picture("a.png", 1);
    folder_write("l.jsonl", "{\"image\":\"a.png\",\"questions\":[{\"question\":\"a?\",\"answer\":\"\"},"
                   "{\"question\":\"b?\",\"answer\":\"\"},{\"question\":\"c?\",\"answer\":\"x\"}]}\n");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("l.jsonl")), "questions without an answer 2\n");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("l.jsonl")), "3         1  \"x\" 33.3 %");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("l.jsonl"), "--json"), "\"unanswered\":2");
    folder_write("l.jsonl", "{\"image\":\"a.png\",\"questions\":[{\"question\":\"a?\",\"answer\":\"\"}]}\n");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("l.jsonl")), "(none)                     1         0\n");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("l.jsonl"), "--json"),
           "\"answers\":0,\"common\":\"\",\"common_count\":0");
}
END_TEST

START_TEST(inspect_speaks_of_itself)
{
    said s = BLIP2("dataset", "inspect", IN_FOLDER("none.csv"));
    ck_assert_int_eq(s.code, 1);
    ck_assert_msg(strstr(s.err, "dataset inspect: ") && strstr(s.err, "/none.csv: 1 problem\n"), "%s", s.err);
    ck_assert_ptr_null(strstr(s.err, "import"));
    ck_assert_ptr_null(strstr(s.err, "nothing is written"));
    shell_free(s);
}
END_TEST

/* ---- training ---- */
static char warnings[4096];

static void on_warning(void *context, const char *text)
{
    (void)context;
    size_t used = strlen(warnings);
    snprintf(warnings + used, sizeof warnings - used, "%s\n", text);
}

static bool run(const train_config *c)
{
    static const train_watch watch = { .warn = on_warning };
    train_result result;
    warnings[0] = 0;
    return train_run(c, &(train_options){ .watch = &watch }, &result, &e);
}

static void warns_of(const char *text)
{
    ck_assert_msg(strstr(warnings, text) != NULL, "expected \"%s\" in: %s", text, warnings);
}

#define BARE(n) "{\"image\":\"train/00000" n ".png\",\"captions\":[]}\n"
#define ASKS(n, answer) "{\"image\":\"train/00000" n ".png\",\"questions\":[{\"question\":\"what is it?\"," \
                        "\"answer\":\"" answer "\"}]}\n"
#define SAYS(n) "{\"image\":\"train/00000" n ".png\",\"captions\":[\"a red circle\"],\"questions\":" \
                "[{\"question\":\"what is it?\",\"answer\":\"\"}]}\n"

START_TEST(nothing_is_learnt_from_pictures_without_a_text)
{
    world_make();
    world_train_all(TRAIN_STAGE2);
    folder_write("world/bare.jsonl", BARE("1") BARE("2"));
    folder_write("world/asks.jsonl", ASKS("1", "") ASKS("2", ""));
    folder_write("world/some.jsonl", BARE("1") SAYS("2") ASKS("3", "circle") SAYS("4") ASKS("5", ""));
    static const train_task order[] = { TRAIN_VIT, TRAIN_STAGE1, TRAIN_STAGE2 };
    for (int k = 0; k < 3; k++) {
        train_config c = world_config(order[k]);
        bool asks = order[k] == TRAIN_STAGE2;
        c.batch = 2;
        world_text(c.data.train_list, "some.jsonl");
        world_text(c.data.val_list, "some.jsonl");
        ck_assert_msg(run(&c), "%s", e.text);
        warns_of(asks ? "datasets.train: left out, as nothing is to be learnt from them: 2 pictures without "
                        "a text to train on, 3 questions"
                      : "datasets.train: left out, as nothing is to be learnt from them: 3 pictures");
        warns_of("datasets.val: left out, as nothing is to be learnt");
        static const char *const lists[] = { "bare.jsonl", "asks.jsonl" };
        for (int i = 0; i < 2; i++) {
            world_text(c.data.train_list, lists[i]);
            ck_assert(!run(&c));
            ck_assert_msg(strstr(e.text, "none of its 2 pictures has a caption") != NULL, "%s", e.text);
        }
    }
}
END_TEST

/* README's first command, with so few pictures that a split gets none. */
START_TEST(a_folder_of_three_pictures_is_imported_inspected_packed_and_trained_on)
{
    world_make();
    folder("mine");
    put_picture("mine/a.png", 9), put_picture("mine/b.png", 90), put_picture("mine/c.png", 200);
    folder_write("mine/a.txt", "a dark one"), folder_write("mine/b.txt", "a grey one");
    folder_write("mine/c.txt", "a light one");
    WORKS("dataset", "import", IN_FOLDER("mine"), "-o", IN_FOLDER("out"), "--copy", ALL_TRAIN, "--pack",
          IN_FOLDER("out/data.h5"));
    holds("out/val.jsonl", ""), holds("out/test.jsonl", "");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("out")), "3 pictures in 3 records, 3 captions");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("out/data.h5")), "3 pictures in 3 records, 3 captions");
    train_config c = world_config(TRAIN_VIT);
    c.batch = 3;
    world_text(c.data.root, IN_FOLDER("out"));
    world_text(c.data.val_list, "val.jsonl");
    ck_assert_msg(run(&c), "%s", e.text);
    warns_of("/val.jsonl, and nothing of it is measured");
    world_text(c.data.train_list, "data.h5");
    world_text(c.data.val_list, "");
    world_text(c.output_dir, IN_FOLDER("packed"));
    ck_assert_msg(run(&c), "%s", e.text);
}
END_TEST

Suite *suite_records_edges(void)
{
    Suite *s = suite_create("records_edges");
    TCase *c = tcase_create("records");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, a_caption_under_two_names_is_one);
    tcase_add_test(c, tests_keep_pictures_without_annotation);
    tcase_add_test(c, tests_of_every_form_need_no_answers);
    tcase_add_test(c, easy_vqa_needs_no_answers_for_tests);
    tcase_add_test(c, an_empty_answer_is_what_most_people_said);
    tcase_add_test(c, inspect_counts_questions_without_an_answer);
    tcase_add_test(c, inspect_speaks_of_itself);
    tcase_add_test(c, nothing_is_learnt_from_pictures_without_a_text);
    tcase_add_test(c, a_folder_of_three_pictures_is_imported_inspected_packed_and_trained_on);
    suite_add_tcase(s, c);
    return s;
}
