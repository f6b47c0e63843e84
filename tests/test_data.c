/* test_data.c - lists of pictures: what is read, and that bad ones are refused with the line. */
#include "tests/tests.h"
#include "data/internal.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error e;
static record_list list;

static const char *put(const char *name, const char *text, long n)
{
    static char path[512];
    folder_write_bytes(name, text, n);
    return folder_path(path, name);
}

static void taken(const char *text, long count)
{
    ck_assert_msg(records_read(put("list.jsonl", text, (long)strlen(text)), &list, &e), "%s", e.text);
    ck_assert_int_eq(list.count, count);
}

/* The error with the list's path as LIST. */
static const char *refusal(const char *text, long n)
{
    static char said[2 * ERROR_TEXT];
    const char *path = put("list.jsonl", text, n), *from = e.text, *at;
    said[0] = 0;
    ck_assert_msg(!records_read(path, &list, &e), "taken: %s", text);
    ck_assert(!list.items && !list.memory && !list.count);
    while ((at = strstr(from, path))) {
        sprintf(said + strlen(said), "%.*sLIST", (int)(at - from), from);
        from = at + strlen(path);
    }
    return strcat(said, from);
}

static void refused(const char *text, const char *expected)
{
    ck_assert_str_eq(refusal(text, (long)strlen(text)), expected);
}

#define GOOD "{\"image\": \"a.png\", \"image_id\": 1, \"captions\": [\"a dog\"]}\n"

START_TEST(a_record_holds_what_its_line_says)
{
    taken("{\"image\": \"img/7.png\", \"image_id\": 7, \"family\": 3, \"captions\": [\"a\", \"caf\\u00e9 "
          "\\ud83d\\udc36\"], \"more\": [null],"
          "\"questions\": [{\"question\": \"q?\", \"answer\": \"yes\", \"type\": \"yes/no\"}, {\"question\": "
          "\"r\", \"answer\": \"\"}],"
          "\"objects\": [{\"colour\": \"red\", \"shape\": \"star\", \"cell\": 2}]}\r\n\n" GOOD
          "{\"image\": \"b.png\", \"caption\": \"one\"}",
          3);
    const record *r = list.items;
    ck_assert_str_eq(r->image, "img/7.png");
    ck_assert(r->image_id == 7 && r->family == 3 && !r->id);
    ck_assert(r->caption_count == 2 && r->question_count == 2 && r->object_count == 1);
    ck_assert_str_eq(r->captions[1], "caf\xC3\xA9 \xF0\x9F\x90\xB6");
    ck_assert_str_eq(r->questions[0].type, "yes/no");
    ck_assert_str_eq(r->questions[1].type, "");
    ck_assert_str_eq(r->questions[1].question, "r");
    ck_assert_str_eq(r->objects[0].shape, "star");
    ck_assert(r[2].image_id == 10 && r[2].family == 2 && r[2].caption_count == 1);
    ck_assert_str_eq(r[2].captions[0], "one");
    record_list_free(&list);
}
END_TEST

START_TEST(a_json_list_is_read_as_lines_are)
{
    taken(" [{\"image\": \"a\", \"caption\": \"x ], {\"},\n {\"image\": \"b\", \"captions\": [\"y\", "
          "\"\\\"]\"]}\n]\n",
          2);
    ck_assert_str_eq(list.items[0].captions[0], "x ], {");
    ck_assert_str_eq(list.items[1].captions[1], "\"]");
    record_list_free(&list);
    taken("{\"image\": \"a\", \"caption\": \"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}", 1);
    record_list_free(&list);
}
END_TEST

START_TEST(ids_that_are_texts_are_numbered)
{
    taken("{\"image\": \"a\", \"caption\": \"1\", \"image_id\": \"coco_9\"}\n{\"image\": \"b\", \"caption\": "
          "\"2\", \"image_id\": \"coco_1\"}\n"
          "{\"image\": \"a\", \"caption\": \"3\", \"image_id\": \"coco_9\"}\n",
          3);
    ck_assert(list.items[0].image_id == 0 && list.items[1].image_id == 1 && list.items[2].image_id == 0);
    ck_assert_str_eq(list.items[1].id, "coco_1");
    record_list_free(&list);
}
END_TEST

/* Never one that another picture has. */
START_TEST(records_without_an_id_get_numbers_of_their_own)
{
    taken("{\"image\": \"a\", \"caption\": \"1\"}\n{\"image\": \"b\", \"caption\": \"2\"}\n", 2);
    ck_assert(list.items[0].image_id == 0 && list.items[1].image_id == 1);
    record_list_free(&list);
    taken("{\"image\": \"a\", \"caption\": \"1\", \"image_id\": 1}\n{\"image\": \"b\", \"caption\": "
          "\"2\"}\n{\"image\": \"c\", \"caption\": \"3\", \"image_id\": 3}\n",
          3);
    ck_assert(list.items[0].image_id == 1 && list.items[1].image_id == 5 && list.items[2].image_id == 3);
    record_list_free(&list);
    taken("{\"image\": \"a\", \"caption\": \"1\", \"image_id\": 9223372036854775806}\n{\"image\": \"b\", "
          "\"caption\": \"2\"}\n", 2);                    /* none are left behind that */
    ck_assert(list.items[1].image_id == 1);
    record_list_free(&list);
}
END_TEST

/* Beside them what was written stays: references are scored as they stand. */
START_TEST(texts_are_cleaned_for_a_model_alone)
{
    taken("{\"image\": \"a\", \"captions\": [\"A dog.\", \"\"], \"questions\": "
          "[{\"question\": \"Is it, Bob?\", \"answer\": \"No.\"}]}\n" GOOD, 2);
    const record *r = list.items;
    ck_assert(r->texts == r->captions && r->questions[0].asked == r->questions[0].question);
    ck_assert(records_clean(&list, &e));
    ck_assert_str_eq(r->texts[0], "a dog");
    ck_assert_str_eq(r->texts[1], "");
    ck_assert_str_eq(r->captions[0], "A dog.");
    ck_assert_str_eq(r->questions[0].asked, "is it, bob?");
    ck_assert_str_eq(r->questions[0].question, "Is it, Bob?");
    ck_assert_str_eq(r->questions[0].answer, "No.");
    ck_assert_str_eq(r[1].texts[0], "a dog");
    record_list_free(&list);
}
END_TEST

START_TEST(bad_lines_are_refused_by_number)
{
    static const struct { const char *line, *text; } cases[] = {
        { "{\"image\": 5, \"caption\": \"x\"}", "image: expected a text, the picture's path" },
        { "{\"image\": \"\", \"caption\": \"x\"}", "image: expected a text, the picture's path" },
        { "{\"caption\": \"x\"}", "image: expected a text, the picture's path" },
        { "{\"image\": \"/etc/passwd\", \"caption\": \"x\"}",
          "image: expected a path inside the folder of this list" },
        { "{\"image\": \"a/../../b\", \"caption\": \"x\"}",
          "image: expected a path inside the folder of this list" },
        { "{\"image\": \"..\", \"caption\": \"x\"}",
          "image: expected a path inside the folder of this list" },
        { "{\"image\": \"a\"}", "captions, caption, questions: expected one of them" },
        { "{\"image\": \"a\", \"caption\": null}", "caption: expected a text" },
        { "{\"image\": \"a\", \"captions\": \"x\"}", "captions: expected a list of texts" },
        { "{\"image\": \"a\", \"captions\": [\"x\", 5]}", "captions: expected a list of texts" },
        { "{\"image\": \"a\", \"questions\": {}}", "questions: expected a list of objects" },
        { "{\"image\": \"a\", \"questions\": [{\"question\": \"q\"}]}",
          "questions: expected objects with the texts \"question\" and \"answer\"" },
        { "{\"image\": \"a\", \"caption\": \"x\", \"image_id\": 1.5}",
          "image_id, family: expected whole numbers; image_id may be a text" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[400], expected[400];
        snprintf(text, sizeof text, GOOD "\n%s\n", cases[i].line);
        snprintf(expected, sizeof expected, "LIST: 1 bad record\n  LIST:3: %s", cases[i].text);
        refused(text, expected);
    }
}
END_TEST

START_TEST(broken_json_is_refused_by_line_and_column)
{
    refused("", "LIST: no pictures in it; expected one JSON object a line");
    refused("\n\n \n", "LIST: no pictures in it; expected one JSON object a line");
    refused("[]", "LIST: no pictures in it; expected one JSON object a line");
    refused(GOOD "null\n", "LIST: 1 bad record\n  LIST:2:4: JSON: '[' or '{' expected near 'null'");
    refused(GOOD "[\"a.png\"]\n", "LIST: 1 bad record\n  LIST:2: expected an object");
    refused("{\"image\": \"a\", \"image\": \"b\"}",
            "LIST: 1 bad record\n  LIST:1:22: JSON: duplicate object key near '\"image\"'");
    ck_assert_ptr_nonnull(strstr(refusal("{\"image\": \"a\xFF\"}", 15), "LIST:1:"));
    ck_assert_ptr_nonnull(strstr(refusal("{\"image\": \"a\0b\"}", 17), "LIST:1:"));
    refused("[\n{\"image\": \"a\", \"caption\": \"x\"},\n{\"image\": \"b\",",
            "LIST: 2 bad records\n"
            "  LIST:3:14: JSON: string or '}' expected near end of file\n  LIST:3: list: the closing bracket "
            "is missing");
    refused("[{\"image\": \"a\", \"caption\": \"x\"}] x",
            "LIST: 1 bad record\n  LIST:1: list: something stands behind the closing bracket");
}
END_TEST

START_TEST(costly_lines_are_refused_before_they_are_parsed)
{
    enum { N = 17 << 20 };
    char *text = mem_new(N);
    memset(text, '[', 200000);
    ck_assert_str_eq(refusal(text, 200000),
                     "LIST: 2 bad records\n  LIST:1: JSON: too deep; expected at most 32 levels\n"
                     "  LIST:1: list: the closing bracket is missing");
    memset(text, ' ', N);
    memcpy(text, "{", 1);
    ck_assert_str_eq(refusal(text, N),
                     "LIST: 1 bad record\n  LIST:1: expected at most 16777216 bytes, found 17825792");
    for (int i = 1; i < 300000; i++)
        text[i] = i % 2 ? '0' : ',';
    ck_assert_str_eq(refusal(text, 300000),
                     "LIST: 1 bad record\n  LIST:1: JSON: too many values; expected at most 100000");
    mem_free(text);
}
END_TEST

START_TEST(all_bad_lines_are_counted_and_twenty_shown)
{
    char text[4000] = "";
    for (int i = 0; i < 30; i++)
        strcat(text, "{\"image\": \"a\"}\n");
    const char *said = refusal(text, (long)strlen(text));
    int lines = 0;
    for (const char *p = said; (p = strchr(p, '\n')); p++)
        lines++;
    ck_assert_int_eq(lines, ERROR_LINES);
    ck_assert_msg(!strncmp(said, "LIST: 30 bad records\n  LIST:1: captions", 38), "%s", said);
}
END_TEST

START_TEST(one_id_is_one_picture)
{
    refused(GOOD GOOD "{\"image\": \"b.png\", \"image_id\": 1, \"caption\": \"x\"}",
            "LIST: 1 bad record\n  LIST: image_id: 1 stands for two pictures, a.png and b.png");
    refused(GOOD "{\"image\": \"a.png\", \"image_id\": \"1\", \"caption\": \"x\"}",
            "LIST: 1 bad record\n  LIST: image_id: a text in 1 of 2 records; expected all or none");
    taken(GOOD GOOD, 2);
    record_list_free(&list);
}
END_TEST

START_TEST(a_device_or_nothing_is_no_list)
{
    ck_assert(!records_read("/dev/zero", &list, &e));
    ck_assert(!records_read(IN_FOLDER("nothing.jsonl"), &list, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "nothing.jsonl: "));
}
END_TEST

START_TEST(pictures_that_cannot_be_read_are_named)
{
    put("a.png", "x", 1);
    ck_assert(!mkdir(IN_FOLDER("folder"), 0777) && !mkfifo(IN_FOLDER("pipe"), 0666)
              && !symlink("/etc/passwd", IN_FOLDER("out")));
    ck_assert(!symlink("a.png", IN_FOLDER("in")));
    taken("{\"image\": \"a.png\", \"caption\": \"x\"}\n{\"image\": \"folder\", \"caption\": "
          "\"x\"}\n{\"image\": \"pipe\", \"caption\": \"x\"}\n"
          "{\"image\": \"out\", \"caption\": \"x\"}\n{\"image\": \"in\", \"caption\": \"x\"}\n{\"image\": "
          "\"no.png\", \"caption\": \"x\"}\n",
          6);
    char root[512], expected[1000];
    folder_path(root, "");
    ck_assert_int_eq(records_missing(root, &list, &e), 4);
    snprintf(expected, sizeof expected,
             "%s: 4 of 6 pictures cannot be read\n  folder: not a regular file\n  pipe: not a regular file\n"
             "  out: a link leads outside the data set's folder\n  no.png: No such file or directory",
             root);
    ck_assert_str_eq(e.text, expected);
    record_list_free(&list);
}
END_TEST

START_TEST(memory_that_is_out_is_reported)
{
    const char *path = put("list.jsonl", GOOD GOOD, (long)strlen(GOOD GOOD));
    long nth = 1;
    for (bool ok = false; !ok; nth++) {
        mem_fail_at(nth, true);
        ok = records_read(path, &list, &e);
        mem_fail_at(0, false);
        ck_assert_msg(ok || strstr(e.text, "memory"), "%s", e.text);
    }
    ck_assert_int_gt(nth, 4);
    record_list_free(&list);
}
END_TEST

Suite *suite_data(void)
{
    Suite *s = suite_create("data");
    TCase *c = tcase_create("data");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, a_record_holds_what_its_line_says);
    tcase_add_test(c, a_json_list_is_read_as_lines_are);
    tcase_add_test(c, ids_that_are_texts_are_numbered);
    tcase_add_test(c, records_without_an_id_get_numbers_of_their_own);
    tcase_add_test(c, texts_are_cleaned_for_a_model_alone);
    tcase_add_test(c, bad_lines_are_refused_by_number);
    tcase_add_test(c, broken_json_is_refused_by_line_and_column);
    tcase_add_test(c, costly_lines_are_refused_before_they_are_parsed);
    tcase_add_test(c, all_bad_lines_are_counted_and_twenty_shown);
    tcase_add_test(c, one_id_is_one_picture);
    tcase_add_test(c, a_device_or_nothing_is_no_list);
    tcase_add_test(c, pictures_that_cannot_be_read_are_named);
    tcase_add_test(c, memory_that_is_out_is_reported);
    suite_add_tcase(s, c);
    return s;
}
