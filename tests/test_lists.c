/* test_lists.c - preprocess, tokenize and dataset inspect as a user runs them. */
#include "tests/shell.h"
#include "data/data.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put_picture(const char *name, long width, long height)
{
    picture p;
    error e;
    ck_assert(picture_new(&p, width, height, &e));
    for (long i = 0; i < 3*width*height; i++)
        p.rgb[i] = (uint8_t)(i*i*7 >> 3);
    ck_assert(picture_write(&p, IN_FOLDER(name), &e));
    picture_free(&p);
}

static void says(said s, int code, const char *const *parts)
{
    ck_assert_msg(s.code == code, "exit code %d: %s", s.code, s.err);
    for (; *parts; parts++)
        ck_assert_msg(strstr(s.out, *parts) != NULL, "expected \"%s\" in: %s", *parts, s.out);
    shell_free(s);
}
#define SAYS(s, code, ...) says((s), (code), (const char *const[]){ __VA_ARGS__, NULL })

/* ---- preprocess ---- */
START_TEST(pictures_become_squares_and_numbers)
{
    static uint8_t resized[2*3*16*16];
    static real pixels[2*3*16*16];
    const long dim[4] = { 2, 3, 16, 16 };
    picture p, small;
    error e;
    put_picture("a.png", 40, 30);
    put_picture("b.jpg", 16, 16);                  /* the content decides, not the name */
    SAYS(BLIP2("preprocess", IN_FOLDER("a.png"), IN_FOLDER("b.jpg"), "--size", "16", "-o", IN_FOLDER("o.h5"),
               "--json"), 0, "\"pictures\":2,\"size\":16,\"reference\":\"lavis\"");
    h5 *f = h5_open(IN_FOLDER("o.h5"), &e);
    ck_assert(f && h5_read(f, "resized", H5_BYTES, 4, dim, resized, &e));
    ck_assert(h5_read(f, "pixels", H5_REALS, 4, dim, pixels, &e));
    char *names = h5_text(f, "", "names", &e);
    ck_assert(names && strstr(names, "a.png\",\"") && strstr(names, "b.jpg\"]"));
    ck_assert(picture_read(&p, IN_FOLDER("a.png"), &e) && picture_resize(&small, &p, 16, 16, &e));
    for (int i = 0; i < 256; i++)
        for (int c = 0; c < 3; c++) {
            ck_assert_int_eq(resized[c*256 + i], small.rgb[3*i + c]);
            ck_assert_int_eq(resized[768 + c*256 + i], (uint8_t)((3*i + c)*(3*i + c)*7 >> 3));
        }
    ck_assert(fabs(pixels[0] - (resized[0]/255.0 - 0.48145466)/0.26862954) < 1e-6);
    picture_free(&p);
    picture_free(&small);
    mem_free(names);
    h5_close(f);
}
END_TEST

START_TEST(one_broken_picture_stops_the_file)
{
    put_picture("a.png", 8, 8);
    folder_write("b.png", "no picture");
    FAILS(1, "b.png: not a picture; expected PNG, JPEG or WebP", "preprocess", IN_FOLDER("a.png"),
          IN_FOLDER("b.png"), "-o", IN_FOLDER("o.h5"));
    FAILS(1, "2 of 3 pictures cannot be read", "preprocess", IN_FOLDER("a.png"), IN_FOLDER("b.png"),
          IN_FOLDER("none.png"), "-o", IN_FOLDER("o.h5"));
    ck_assert(!folder_has("o.h5"));
    ck_assert_int_eq(folder_count(), 2);
    FAILS(2, "--reference: expected lavis or hf, found \"other\"", "preprocess", "x", "--reference", "other");
    FAILS(2, "pictures and -o F.h5 are needed", "preprocess", IN_FOLDER("a.png"));
}
END_TEST

/* ---- tokenize ---- */
static said typed(const char *input, const char *const *words)
{
    folder_write("input", input);
    ck_assert_ptr_nonnull(freopen(IN_FOLDER("input"), "r", stdin));  /* a test is a process of its own */
    return shell_run(words);
}
#define TYPED(input, ...) typed((input), (const char *const[]){ __VA_ARGS__, NULL })

static void prints(said s, const char *expected)
{
    ck_assert_msg(s.code == 0, "%s", s.err);
    ck_assert_str_eq(s.out, expected);
    shell_free(s);
}

START_TEST(lines_become_ids_and_ids_lines)
{
    folder_write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nred\ndog\n##s\n");
    const char *folder = IN_FOLDER("");
    prints(TYPED("Red dogs\n\nred [SEP]", "tokenize", folder), "[2,4,5,6,3]\n[2,3]\n[2,4,3,3]\n");
    prints(TYPED("red dogs", "tokenize", folder, "--max", "3"), "[2,4,3]\n");
    prints(TYPED("red [SEP]", "tokenize", folder, "--no-special", "--literal"), "[4,1,1,1]\n");
    prints(TYPED("dogs", "tokenize", folder, "--json"),
           "{\"text\":\"dogs\",\"ids\":[2,5,6,3],\"tokens\":[\"[CLS]\",\"dog\",\"##s\",\"[SEP]\"]}\n");
    prints(TYPED("[2,4,5,6,3]\n[]\n", "tokenize", folder, "--decode"), "red dogs\n\n");
    prints(TYPED("[2,4]", "tokenize", folder, "--decode", "--keep-special", "--json"),
           "{\"ids\":[2,4],\"text\":\"[CLS] red\"}\n");
}
END_TEST

static void complains(said s, const char *what)
{
    ck_assert_int_eq(s.code, 1);
    ck_assert_msg(strstr(s.err, what) != NULL, "expected \"%s\" in: %s", what, s.err);
    shell_free(s);
}

START_TEST(lines_that_are_no_text_and_ids_that_are_none_are_named)
{
    folder_write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nred\n");
    const char *folder = IN_FOLDER("");
    complains(TYPED("red\na\xff", "tokenize", folder),
              "standard input:2: tokenizer: text: not UTF-8 at byte 2");
    complains(TYPED("[2,9]", "tokenize", folder, "--decode"),
              "standard input:1: ids: number 2; expected a whole number from 0 to 4");
    complains(TYPED("2 9", "tokenize", folder, "--decode"), "expected a JSON list of whole numbers");
    FAILS(2, "--which: ", "tokenize", folder, "--which", "bert");
    FAILS(2, "--which: expected bert or llm", "tokenize", folder, "--which", "other");
    FAILS(2, "a model or a folder is needed", "tokenize");
    FAILS(1, "none", "tokenize", IN_FOLDER("none"));
}
END_TEST

/* ---- dataset inspect ---- */
static void make_list(void)
{
    put_picture("a.png", 20, 10);
    put_picture("b.png", 8, 12);
    folder_write("broken.png", "no picture");
    folder_write("list.jsonl",
        "{\"image\":\"a.png\",\"image_id\":7,\"captions\":[\"a red dog\",\"one two three four five\"]}\n"
        "{\"image\":\"a.png\",\"image_id\":7,\"caption\":\"\"}\n"
        "{\"image\":\"b.png\",\"image_id\":8,\"questions\":["
        "{\"question\":\"q\",\"answer\":\"yes\",\"type\":\"y\"},"
        "{\"question\":\"q\",\"answer\":\"no\",\"type\":\"y\"},"
        "{\"question\":\"q\",\"answer\":\"yes\",\"type\":\"y\"}]}\n");
}

START_TEST(a_list_is_counted)
{
    make_list();
    SAYS(BLIP2("dataset", "inspect", IN_FOLDER("list.jsonl")), 0,
         "2 pictures in 3 records, 3 captions, 3 questions",
         "width 8 to 20 (median 8), height 10 to 12 (median 10)",
         "missing 0, broken 0, records that repeat an image_id 1, captions without a word 1",
         "words a caption: 0 to 5, 2.7 on average", "y                          3         2  \"yes\" 66.7 %");
    SAYS(BLIP2("dataset", "inspect", IN_FOLDER("list.jsonl"), "--json"), 0,
         "\"records\":3,\"pictures\":2,\"captions\":3,\"questions\":3,\"missing\":0,\"broken\":0,"
         "\"repeated_ids\":1,\"empty_captions\":1,\"wrong\":[]", "\"words\":{\"n\":3,\"least\":0,\"most\":5",
         "\"bins\":[1,0,0,1,0,1,0,0,0,0,0,0]",
         "\"types\":[{\"type\":\"y\",\"questions\":3,\"answers\":2,\"common\":\"yes\",\"common_count\":2}]");
}
END_TEST

START_TEST(what_cannot_be_used_is_named)
{
    make_list();
    folder_write("bad.jsonl",
                 "{\"image\":\"broken.png\",\"caption\":\"x\"}\n{\"image\":\"none.png\",\"caption\":\"x\"}\n"
                 "{\"image\":\"a.png\",\"caption\":\"x\"}\n");
    said s = BLIP2("dataset", "inspect", IN_FOLDER("bad.jsonl"));
    ck_assert_ptr_nonnull(strstr(s.err, "some pictures cannot be used"));
    SAYS(s, 1, "missing 1, broken 1", "broken.png: not a picture", "none.png: is not there");
    folder_write("worse.jsonl", "{\"caption\":\"x\"}\n");
    FAILS(1, "worse.jsonl:1: image: expected a text", "dataset", "inspect", IN_FOLDER("worse.jsonl"));
    FAILS(2, "a folder or a list is needed", "dataset", "inspect");
}
END_TEST

START_TEST(a_folder_of_pictures_with_texts_is_a_list)
{
    put_picture("a.png", 20, 10);
    put_picture("b.PNG", 8, 12);
    folder_write("a.txt", "one caption\n\n  \nand another one\n");
    folder_write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\none\n");
    SAYS(BLIP2("dataset", "inspect", IN_FOLDER(""), "--tokenizer", IN_FOLDER(""), "--sheet",
               IN_FOLDER("sheet.png")), 0,
         "2 pictures in 2 records, 2 captions, 0 questions", "words a caption: 2 to 3, 2.5 on average",
         "tokens a caption: 4 to 5, 4.5 on average", "sheet.png");
    picture sheet;
    error e;
    ck_assert_msg(picture_read(&sheet, IN_FOLDER("sheet.png"), &e), "%s", e.text);
    ck_assert_int_gt(sheet.width, sheet.height);
    picture_free(&sheet);
    unlink(IN_FOLDER("a.png"));
    unlink(IN_FOLDER("b.PNG"));
    unlink(IN_FOLDER("sheet.png"));
    FAILS(1, "no pictures in it; expected .png, .jpg, .jpeg or .webp", "dataset", "inspect", IN_FOLDER(""));
}
END_TEST

Suite *suite_lists(void)
{
    Suite *s = suite_create("lists");
    TCase *c = tcase_create("commands");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, pictures_become_squares_and_numbers);
    tcase_add_test(c, one_broken_picture_stops_the_file);
    tcase_add_test(c, lines_become_ids_and_ids_lines);
    tcase_add_test(c, lines_that_are_no_text_and_ids_that_are_none_are_named);
    tcase_add_test(c, a_list_is_counted);
    tcase_add_test(c, what_cannot_be_used_is_named);
    tcase_add_test(c, a_folder_of_pictures_with_texts_is_a_list);
    suite_add_tcase(s, c);
    return s;
}
