/* test_import_forms.c - data sets as people have them: archives in any order, parts for tests without
 * answers, tables and texts with small mistakes. Nothing that was given is lost without a word. */
#include "tests/import_case.h"
#include "tests/png.h"
#include "data/data.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- archives ---- */
static FILE *archive(const char *name)
{
    FILE *f = fopen(IN_FOLDER(name), "wb");
    ck_assert_ptr_nonnull(f);
    return f;
}

static void text_member(FILE *f, const char *name, const char *text)
{
    put_member(f, name, text, (long)strlen(text));
}

static void picture_member(FILE *f, const char *name)
{
    long n;
    if (!folder_has("p.png"))
        put_picture("p.png", 5);
    char *png = folder_load("p.png", &n);
    put_member(f, name, png, n);
    mem_free(png);
}

static void close_archive(FILE *f)
{
    fwrite((char[1024]){ 0 }, 1024, 1, f);
    fclose(f);
}

/* As `tar cf x.tar FOLDER` gives them: in no order. */
START_TEST(members_of_a_name_need_not_stand_together)
{
    FILE *f = archive("x.tar");
    picture_member(f, "in/a.png");
    text_member(f, "in/b.txt", "\xef\xbb\xbftwo cats\n");
    picture_member(f, "in/c.d.png");
    text_member(f, "in/lost.txt", "nobody");
    picture_member(f, "in/b.png");
    text_member(f, "in/a.json", "{\"caption\":\"one dog\"}");
    text_member(f, "in/c.d.txt", "three birds");
    put_member(f, "in/._a.txt", "\0\5", 2);        /* as macOS puts them into archives */
    text_member(f, "in/a.txt", "one dog");
    close_archive(f);
    prints(IMPORT(IN_FOLDER("x.tar"), ALL_TRAIN),
           "left out: the texts of 1 names in archives that have no picture of that name, the first ");
    holds("out/train.jsonl", "{\"image\":\"images/x-in-a.png\",\"captions\":[\"one dog\"]}\n"
                             "{\"image\":\"images/x-in-c.d.png\",\"captions\":[\"three birds\"]}\n"
                             "{\"image\":\"images/x-in-b.png\",\"captions\":[\"two cats\"]}\n");
}
END_TEST

START_TEST(a_shards_json_is_a_record)
{
    FILE *f = archive("x.tar");
    text_member(f, "1.json", "{\"captions\":[\"c0\"],\"caption\":[\"c1\",\"c2\"],\"split\":\"val\","
                             "\"image_id\":5,"
                             "\"questions\":[{\"question\":\"what?\",\"answer\":\"x\"}],\"url\":\"http:"
                             "//x\"}");
    picture_member(f, "1.jpg");
    text_member(f, "1.txt", "c1");
    text_member(f, "1.caption", "c3");
    close_archive(f);
    prints(IMPORT(IN_FOLDER("x.tar"), ALL_TRAIN), "val.jsonl: 1 pictures, 4 captions, 1 questions");
    holds("out/val.jsonl", "{\"image\":\"images/x-1.jpg\",\"image_id\":5,\"captions\":[\"c0\",\"c1\",\"c2\","
                           "\"c3\"],\"questions\":[{\"question\":\"what?\",\"answer\":\"x\"}]}\n");
    f = archive("bad.tar");
    picture_member(f, "1.jpg");
    put_member(f, "1.txt", "a\0b", 3);
    close_archive(f);
    FAILS(1, "bad.tar: 1: a zero byte; expected UTF-8 text", "dataset", "import", IN_FOLDER("bad.tar"), "-o",
          IN_FOLDER("none"));
    f = archive("bad\x01.tar");
    picture_member(f, "1.jpg");
    text_member(f, "1.json", "{\"caption\":");
    close_archive(f);
    FAILS(1, "bad\\x01.tar: 1:1:", "dataset", "import", IN_FOLDER("bad\x01.tar"), "-o", IN_FOLDER("none"));
}
END_TEST

START_TEST(what_cannot_be_unpacked_says_why)
{
    error e;
    FILE *f = archive("x.tar");
    text_member(f, "in/a.txt", "one");
    text_member(f, "in/a.txt", "two");
    close_archive(f);
    ck_assert(!archive_unpack(IN_FOLDER("x.tar"), IN_FOLDER("to"), &e));
    ck_assert_msg(strstr(e.text, "in/a.txt: cannot be written; File exists") != NULL, "%s", e.text);
}
END_TEST

/* ---- several sources, and parts for tests ---- */
START_TEST(sources_may_share_their_pictures)
{
    put_picture("a.png", 1);
    folder_write("c.jsonl", "{\"image\":\"a.png\",\"caption\":\"one\"}\n");
    folder_write("q.jsonl", "{\"image\":\"a.png\",\"question\":\"what?\",\"answer\":\"x\"}\n");
    folder_write("empty.jsonl", "\n");
    WORKS("dataset", "import", IN_FOLDER("c.jsonl"), IN_FOLDER("q.jsonl"), "-o", IN_FOLDER("out"), ALL_TRAIN);
    holds("out/train.jsonl", "{\"image\":\"a.png\",\"captions\":[\"one\"],\"questions\":[{\"question\":"
                             "\"what?\",\"answer\":\"x\"}]}\n");
    FAILS(1, "empty.jsonl: no pictures in it", "dataset", "import", IN_FOLDER("c.jsonl"),
          IN_FOLDER("empty.jsonl"), "-o", IN_FOLDER("none"));
}
END_TEST

static char *for_tests(const char *name)
{
    char *source = mem_text("test:%s", IN_FOLDER(name));
    ck_assert_ptr_nonnull(source);
    return source;
}

START_TEST(tests_need_no_answers)
{
    folder("test2015"), folder("pics");
    put_picture("test2015/COCO_test2015_000000000042.jpg", 1), put_picture("pics/a.png", 2);
    folder_write("q.json",
        "{\"data_subtype\":\"test-dev2015\",\"questions\":[{\"image_id\":42,\"question\":\"What?\","
        "\"question_id\":421}]}");
    REFUSES(1, "no file of annotations has an answer to it; only test:FILE may have none",
            IN_FOLDER("q.json"));
    char *vqa = for_tests("q.json");
    prints(IMPORT(vqa), "for tests: 0 pictures without a text and 1 questions without an answer");
    holds("out/test.jsonl", "{\"image\":\"COCO_test2015_000000000042.jpg\",\"image_id\":42,\"captions\":[],"
                            "\"questions\":[{\"question\":\"What?\",\"answer\":\"\",\"question_id\":"
                            "\"421\"}]}\n");
    WORKS("dataset", "inspect", IN_FOLDER("out"), "--images", IN_FOLDER("test2015"));
    folder_write("info.json", "{\"images\":[{\"id\":7,\"file_name\":\"a.png\"}],\"categories\":[]}");
    FAILS(1, "COCO's pictures without their captions; expected", "dataset", "import", IN_FOLDER("info.json"),
          "-o", IN_FOLDER("none"));
    char *coco = for_tests("info.json");
    prints(BLIP2("dataset", "import", coco, "-o", IN_FOLDER("coco"), "--images", IN_FOLDER("pics")),
           "test.jsonl: 1 pictures, 0 captions, 0 questions");
    holds("coco/test.jsonl", "{\"image\":\"a.png\",\"image_id\":7,\"captions\":[]}\n");
    folder_write("l.json",
        "[{\"image\":\"a.png\",\"question\":\"who?\",\"question_id\":1},{\"image\":\"a.png\"}]");
    FAILS(1, "only test:SRC may have no answers", "dataset", "import", IN_FOLDER("l.json"), "-o",
          IN_FOLDER("none"), "--images", IN_FOLDER("pics"));
    char *lavis = for_tests("l.json"), *pics = for_tests("pics");
    prints(BLIP2("dataset", "import", lavis, "-o", IN_FOLDER("lavis"), "--images", IN_FOLDER("pics")),
           "0 pictures without a text and 1 questions without an answer");
    prints(BLIP2("dataset", "import", pics, "-o", IN_FOLDER("bare")), "1 pictures without a text");
    mem_free(vqa), mem_free(coco), mem_free(lavis), mem_free(pics);
}
END_TEST

/* ---- other forms ---- */
START_TEST(genome_questions_are_read)
{
    folder("VG_100K");
    put_picture("VG_100K/4.jpg", 1);
    folder_write("qa.json",
        "[{\"id\":4,\"qas\":[{\"image_id\":4,\"qa_id\":986,\"question\":\"What?\",\"answer\":\"A "
        "net.\",\"a_objects\":[],\"q_objects\":[]}]},{\"id\":5,\"qas\":[]}]");
    WORKS("dataset", "import", IN_FOLDER("qa.json"), "-o", IN_FOLDER("out"), ALL_TRAIN);
    holds("out/train.jsonl", "{\"image\":\"4.jpg\",\"image_id\":4,\"captions\":[],\"questions\":"
                             "[{\"question\":\"What?\",\"answer\":\"A net.\",\"question_id\":\"986\"}]}\n");
}
END_TEST

START_TEST(forms_of_addresses_name_a_way_on)
{
    folder_write("sbu.json",
        "{\"image_urls\":[\"http://x/1.jpg\"],\"captions\":[\"one\"],\"user_ids\":[\"u\"]}");
    REFUSES(1, "SBU's addresses; pictures are not fetched from addresses: img2dataset",
            IN_FOLDER("sbu.json"));
    folder_write("00000.parquet", "PAR1");
    REFUSES(1, "Parquet is not read; img2dataset makes .tar shards", IN_FOLDER("00000.parquet"));
    folder_write("cc.csv", "url,caption\nhttp://x/1.jpg,one\n");
    REFUSES(1, "not fetched: img2dataset", IN_FOLDER("cc.csv"));
}
END_TEST

START_TEST(question_types_of_vqa_are_kept)
{
    put_picture("42.jpg", 1);
    folder_write("q.json", "{\"questions\":[{\"image_id\":42,\"question\":\"What?\",\"question_id\":421}]}");
    folder_write("a.json", "{\"annotations\":[{\"question_id\":421,\"image_id\":42,\"answer_type\":\"other\","
                  "\"question_type\":\"what "
                  "is\",\"answers\":[{\"answer\":\"net\"}],\"multiple_choice_answer\":\"net\"}]}");
    WORKS("dataset", "import", IN_FOLDER("a.json"), IN_FOLDER("q.json"), "-o", IN_FOLDER("out"), ALL_TRAIN,
          "--pack", IN_FOLDER("out.h5"));
    static const char line[] = "{\"image\":\"42.jpg\",\"image_id\":42,\"captions\":[],\"questions\":"
                               "[{\"question\":\"What?\",\"answer\":\"net\",\"type\":\"other\","
                               "\"question_type\":\"what is\",\"question_id\":\"421\",\"answers\":"
                               "[\"net\"]}]}\n";
    holds("out/train.jsonl", line);
    error e;
    record_list l;
    static const char *const lists[] = { "out/train.jsonl", "out.h5" };
    for (int i = 0; i < 2; i++) {
        ck_assert_msg(records_read(IN_FOLDER(lists[i]), &l, &e), "%s", e.text);
        ck_assert_str_eq(l.items[0].questions[0].question_type, "what is");
        ck_assert_str_eq(l.items[0].questions[0].type, "other");
        record_list_free(&l);
    }
    WORKS("dataset", "import", IN_FOLDER("out/train.jsonl"), "-o", IN_FOLDER("again"), ALL_TRAIN, "--images",
          IN_FOLDER("."));
    holds("again/train.jsonl", line);
}
END_TEST

/* ---- folders and texts ---- */
START_TEST(links_to_folders_are_followed_or_named)
{
    folder("in"), folder("outside"), folder("in/deep");
    put_picture("outside/a.png", 1), put_picture("in/deep/b.png", 2);
    folder_write("outside/a.txt", "one"), folder_write("in/deep/b.txt", "two");
    ck_assert_int_eq(symlink("deep", IN_FOLDER("in/again")), 0);
    ck_assert_int_eq(symlink("..", IN_FOLDER("in/deep/loop")), 0);
    WORKS("dataset", "import", IN_FOLDER("in"), "-o", IN_FOLDER("out"), ALL_TRAIN);
    holds("out/train.jsonl", "{\"image\":\"b.png\",\"captions\":[\"two\"]}\n");
    ck_assert_int_eq(symlink("../outside", IN_FOLDER("in/val")), 0);
    FAILS(1, "in/val: a link leads outside the folder of the pictures; expected none, or --allow-outside",
          "dataset", "import", IN_FOLDER("in"), "-o", IN_FOLDER("none"));
    WORKS("dataset", "import", IN_FOLDER("in"), "-o", IN_FOLDER("out"), ALL_TRAIN, "--allow-outside",
          "--force");
    holds("out/val.jsonl", "{\"image\":\"outside/a.png\",\"captions\":[\"one\"]}\n");
    ck_assert_int_eq(symlink("deep", IN_FOLDER("in/test")), 0);
    FAILS(1, "in/test: a link to a folder that is read already, for another split", "dataset", "import",
          IN_FOLDER("in"), "-o", IN_FOLDER("none"), "--allow-outside");
    char name[256] = "in";
    for (int i = 0; i < 17; i++) {
        strcat(name, "/x");
        folder(name);
    }
    FAILS(1, "/x: folder: more than 16 levels deep", "dataset", "import", IN_FOLDER("in"), "-o",
          IN_FOLDER("none"), "--allow-outside");
}
END_TEST

START_TEST(texts_of_folders_are_read_whole)
{
    folder("in");
    put_picture("in/a.png", 1);
    folder_write("in/a.txt", "\xef\xbb\xbf" "a dog\n");
    WORKS("dataset", "import", IN_FOLDER("in"), "-o", IN_FOLDER("out"), ALL_TRAIN);
    holds("out/train.jsonl", "{\"image\":\"a.png\",\"captions\":[\"a dog\"]}\n");
    error e;
    record_list l;
    ck_assert_msg(records_of_folder(IN_FOLDER("in"), &l, &e), "%s", e.text);
    ck_assert_str_eq(l.items[0].captions[0], "a dog");
    record_list_free(&l);
    folder_write_bytes("in/a.txt", "one\0two", 7);
    FAILS(1, "a.txt: a zero byte; expected UTF-8 text", "dataset", "import", IN_FOLDER("in"), "-o",
          IN_FOLDER("none"));
    ck_assert(!records_of_folder(IN_FOLDER("in"), &l, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "a.txt: a zero byte"));
}
END_TEST

START_TEST(vqa_takes_any_name_of_a_folder)
{
    folder("c\xff");
    put_picture("c\xff/42.jpg", 1);
    folder_write("q.json", "{\"questions\":[{\"image_id\":42,\"question\":\"What?\",\"question_id\":421}]}");
    folder_write("a.json",
        "{\"annotations\":[{\"question_id\":421,\"answers\":[{\"answer\":\"net\"},{\"answer\":"
        "2}]}]}");
    REFUSES(1, "c\\xff: name: not UTF-8", IN_FOLDER("q.json"), IN_FOLDER("a.json"), "--images",
            IN_FOLDER("c\xff"));
    WORKS("dataset", "import", IN_FOLDER("q.json"), IN_FOLDER("a.json"), "-o", IN_FOLDER("out"), ALL_TRAIN,
          "--copy", "--images", IN_FOLDER("c\xff"));
    char *text = folder_load("out/train.jsonl", NULL);
    ck_assert_ptr_nonnull(strstr(text, "\"answers\":[\"net\",\"2\"]"));
    mem_free(text);
}
END_TEST

/* ---- tables and records ---- */
START_TEST(columns_are_each_there_once)
{
    put_picture("a.png", 1);
    folder_write("t.csv", "image,description\na.png,one\n");
    REFUSES(1, "t.csv:1: no column for the texts; expected caption, captions, text or question",
            IN_FOLDER("t.csv"));
    folder_write("t.csv", "image,caption,caption\na.png,one,two\n");
    REFUSES(1, "t.csv:1: two columns are called caption; expected each name once", IN_FOLDER("t.csv"));
    folder_write("t.csv", "image , caption \r\na.png,one\r\n");
    WORKS("dataset", "import", IN_FOLDER("t.csv"), "-o", IN_FOLDER("out"), ALL_TRAIN);
    holds("out/train.jsonl", "{\"image\":\"a.png\",\"captions\":[\"one\"]}\n");
    folder_write("t.csv", "a.png,one\n");
    WORKS("dataset", "import", IN_FOLDER("t.csv"), "-o", IN_FOLDER("out"), ALL_TRAIN, "--force", "--columns",
          "image, caption");
    folder_write("t.csv", "image\na.png\n");
    char *test = for_tests("t.csv");
    prints(BLIP2("dataset", "import", test, "-o", IN_FOLDER("bare")), "for tests: 1 pictures without a text");
    mem_free(test);
}
END_TEST

START_TEST(nothing_of_a_record_vanishes)
{
    put_picture("a.png", 1);
    folder_write("l.jsonl", "{\"image\":\"a.png\",\"captions\":[\"one\"],\"caption\":\"two\",\"questions\":"
                   "[{\"question\":\"how many?\",\"answers\":[\"two\",2,{\"answer\":2}]}]}\n");
    WORKS("dataset", "import", IN_FOLDER("l.jsonl"), "-o", IN_FOLDER("out"), ALL_TRAIN);
    holds("out/train.jsonl", "{\"image\":\"a.png\",\"captions\":[\"one\",\"two\"],\"questions\":"
                             "[{\"question\":\"how "
                             "many?\",\"answer\":\"2\",\"answers\":[\"two\",\"2\",\"2\"]}]}\n");
    folder_write("l.jsonl", "{\"image\":\"a.png\",\"questions\":{\"question\":\"x\"}}\n"
                   "{\"image\":\"a.png\",\"question\":\"x?\",\"answers\":[\"two\",{\"text\":2}]}\n"
                   "{\"image\":\"a.png\",\"question\":\"x?\",\"answer\":\"y\",\"answers\":\"two\"}\n"
                   "{\"image\":\"a.png\",\"caption\":\"x\",\"text\":{}}\n"
                   "{\"image\":\"a.png\",\"caption\":\"x\",\"split\":1}\n");
    said s = BLIP2("dataset", "import", IN_FOLDER("l.jsonl"), "-o", IN_FOLDER("none"));
    static const char *const says[] = {
        "import: 5 problems", "l.jsonl:1: questions: expected a list of objects",
        "l.jsonl:2: answers[1]: expected a text or a number", "l.jsonl:3: answers: expected a list beside",
        "l.jsonl:4: text: expected a text or a list of texts", "l.jsonl:5: split: expected train, val or "
                                                               "test",
    };
    ck_assert_int_eq(s.code, 1);
    for (size_t i = 0; i < sizeof says/sizeof *says; i++)
        ck_assert_msg(strstr(s.err, says[i]) != NULL, "expected \"%s\" in: %s", says[i], s.err);
    shell_free(s);
}
END_TEST

/* In lines or not, with a list of questions or without: VQA's file names no picture. */
START_TEST(one_record_may_fill_a_file)
{
    put_picture("a.png", 1);
    folder_write("r.json", "\n{\n  \"file_name\": \"a.png\",\n  \"questions\": [\n"
                 "    {\"question\": \"what?\", \"answer\": \"x\"}\n  ]\n}\n");
    WORKS("dataset", "import", IN_FOLDER("r.json"), "-o", IN_FOLDER("out"), ALL_TRAIN);
    holds("out/train.jsonl", "{\"image\":\"a.png\",\"captions\":[],\"questions\":[{\"question\":\"what?\","
                             "\"answer\":\"x\"}]}\n");
    folder_write("r.json", "{\n  \"image\": \"a.png\",\n  \"caption\": \"one\"\n}\n");
    WORKS("dataset", "import", IN_FOLDER("r.json"), "-o", IN_FOLDER("out"), ALL_TRAIN, "--force");
    holds("out/train.jsonl", "{\"image\":\"a.png\",\"captions\":[\"one\"]}\n");
    folder_write("r.json", "{\n  \"id\": 1,\n  \"regions\": [{\"phrase\": \"one\"}]\n}\n");
    put_picture("1.jpg", 1);
    WORKS("dataset", "import", IN_FOLDER("r.json"), "-o", IN_FOLDER("out"), ALL_TRAIN, "--force");
    holds("out/train.jsonl", "{\"image\":\"1.jpg\",\"image_id\":1,\"captions\":[\"one\"]}\n");
    folder_write("r.json", "\n{\n  \"picture\": \"a.png\",\n  \"caption\": \"one\"\n}\n");
    REFUSES(1, "import: 1 problem; nothing is written\n  ", IN_FOLDER("r.json"), "--force");
    REFUSES(1, "r.json:2: image: expected the path of a picture", IN_FOLDER("r.json"), "--force");
    folder_write("r.json", "\n{\n  \"image\": \"a.png\",\n  \"caption\" \"one\"\n}\n");
    REFUSES(1, "r.json:4:", IN_FOLDER("r.json"), "--force");
}
END_TEST

/* ---- inspect, and the other parts ---- */
START_TEST(inspect_reads_what_import_reads)
{
    folder("in"), folder("in/val"), folder("tmp");
    put_picture("in/val/a.png", 1), put_picture("b.png", 2);
    folder_write("in/val/a.txt", "one two");
    folder_write("t.csv", "image,caption\nb.png,three small words\nnone.png,x\n");
    folder_write("c.json",
        "{\"images\":[{\"id\":1,\"file_name\":\"b.png\"}],\"annotations\":[{\"image_id\":1,"
        "\"caption\":\"one\"}]}");
    setenv("TMPDIR", IN_FOLDER("tmp"), 1);
    said s = BLIP2("dataset", "inspect", IN_FOLDER("t.csv"));
    ck_assert_int_eq(s.code, 1);                   /* one is missing */
    ck_assert_msg(strstr(s.out, "1 pictures in 1 records, 1 captions") && strstr(s.out,
                                                                                 "missing 1, broken 0"), "%s",
                  s.out);
    shell_free(s);
    prints(BLIP2("dataset", "inspect", IN_FOLDER("c.json")), "c.json\n  1 pictures in 1 records, 1 captions");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("in"), "--json"), "\"pictures\":1,\"captions\":1");
    FILE *f = archive("x.tar");
    picture_member(f, "1.png");
    text_member(f, "1.txt", "one");
    close_archive(f);
    prints(BLIP2("dataset", "inspect", IN_FOLDER("x.tar")), "missing 0, broken 0");
    folder_write("bad.csv", "image\n");
    FAILS(1, "bad.csv:1: no column for the texts", "dataset", "inspect", IN_FOLDER("bad.csv"));
    folder_write("bad.jsonl", "{\"image\":\n");
    FAILS(1, "bad.jsonl: 1 bad record", "dataset", "inspect", IN_FOLDER("bad.jsonl"));
    FAILS(1, "none.json: ", "dataset", "inspect", IN_FOLDER("none.json"));
    ck_assert_int_eq(rmdir(IN_FOLDER("tmp")), 0);  /* nothing was left in it */
}
END_TEST

/* As import does, also where pictures lie beside them, and it says what is wrong there. */
START_TEST(inspect_looks_into_folders)
{
    folder("in"), folder("in/val");
    put_picture("in/val/b.png", 2);
    folder_write("in/val/b.txt", "caf\xe9\n");
    FAILS(1, "in/val/b.txt: caption: not UTF-8", "dataset", "inspect", IN_FOLDER("in"));
    put_picture("in/a.png", 1), put_picture("in/c.png", 1);
    folder_write("in/a.txt", "one");
    FAILS(1, "in/val/b.txt: caption: not UTF-8", "dataset", "inspect", IN_FOLDER("in"));
    folder_write("in/val/b.txt", "two\nthree\n");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("in")), "in (train)\n  1 pictures in 1 records, 1 captions");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("in")), "in (val)\n  1 pictures in 1 records, 2 captions");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("in")), "left out: pictures without a text 1\n");
    folder_write("in/a.txt", ""), folder_write("in/val/b.txt", "");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("in")), "in\n  2 pictures in 2 records, 0 captions");
    unlink(IN_FOLDER("in/a.png")), unlink(IN_FOLDER("in/c.png"));
    FAILS(1, "no picture with a caption or a question; 1 have none", "dataset", "inspect", IN_FOLDER("in"));
}
END_TEST

START_TEST(sheets_replace_nothing_that_is_inspected)
{
    put_picture("a.png", 1);
    folder_write("l.png", "{\"image\":\"a.png\",\"caption\":\"x\"}\n");
    folder_write("l.jsonl", "{\"image\":\"a.png\",\"caption\":\"x\"}\n");
    FAILS(2, "--sheet: expected a name that ends in .png", "dataset", "inspect", IN_FOLDER("l.jsonl"),
          "--sheet", IN_FOLDER("l.jsonl"));
    FAILS(2, "l.png is what is inspected", "dataset", "inspect", IN_FOLDER("l.png"), "--sheet",
          IN_FOLDER("l.png"));
    FAILS(2, "a.png is one of the pictures", "dataset", "inspect", IN_FOLDER("l.jsonl"), "--sheet",
          IN_FOLDER("a.png"));
    holds("l.png", "{\"image\":\"a.png\",\"caption\":\"x\"}\n");
    WORKS("dataset", "inspect", IN_FOLDER("l.jsonl"), "--sheet", IN_FOLDER("sheet.png"));
}
END_TEST

/* The sheet of a folder is of its training list, and letters keep their base. */
static char *sheet_of(const char *caption, long *n)
{
    char line[256];
    snprintf(line, sizeof line, "{\"image\":\"a.png\",\"caption\":\"%s\"}\n", caption);
    folder_write("train.jsonl", line);
    folder_write("test.jsonl", "{\"image\":\"a.png\",\"caption\":\"not shown\"}\n");
    WORKS("dataset", "inspect", IN_FOLDER("."), "--sheet", IN_FOLDER("sheet.png"));
    return folder_load("sheet.png", n);
}

START_TEST(sheets_show_training_and_letters_with_marks)
{
    long n, m, k;
    put_picture("a.png", 1);
    char *plain = sheet_of("cafe Lodz naive - 'x' and a line that is longer", &n);
    char *marked = sheet_of("caf\xc3\xa9 \xc5\x81\xc3\xb3" "dz nai\xcc\x88ve \xe2\x80\x93"
                            " \xe2\x80\x98x\xe2\x80\x99 and a line that is longer", &m);
    char *other = sheet_of("another", &k);
    ck_assert(n == m && !memcmp(plain, marked, (size_t)n));
    ck_assert(n != k || memcmp(plain, other, (size_t)n));
    mem_free(plain), mem_free(marked), mem_free(other);
}
END_TEST

START_TEST(repeated_ids_are_named)
{
    put_picture("a.png", 1), put_picture("b.png", 1);
    folder_write("l.jsonl", "{\"image\":\"a.png\",\"image_id\":\"x7\",\"caption\":\"x\"}\n"
                   "{\"image\":\"a.png\",\"image_id\":\"x7\",\"caption\":\"y\"}\n"
                   "{\"image\":\"a.png\",\"image_id\":\"x7\",\"caption\":\"z\"}\n"
                   "{\"image\":\"b.png\",\"image_id\":\"x8\",\"caption\":\"z\"}\n");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("l.jsonl")), "the first of these ids: x7\n");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("l.jsonl"), "--json"), "\"repeated\":[\"x7\"]");
}
END_TEST

/* Opaque, and turned by its Exif block: training reads it as it is stored, and so it stays. */
START_TEST(white_turns_nothing)
{
    static const uint8_t row[] = { 0, 9, 9, 9, 200, 200, 200 };
    static const uint8_t exif[] = { 'M', 'M', 0, '*', 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0,
                                    0, 0, 0, 0 };
    struct png turned;
    error e;
    png_begin(&turned, 2, 1, 8, 2, 0);
    png_chunk(&turned, "eXIf", exif, sizeof exif);
    png_end(&turned, row, sizeof row);
    folder("in");
    file_out *f = file_create(IN_FOLDER("in/a.png"), &e);
    file_write(f, turned.bytes, turned.n);
    ck_assert(file_finish(f, &e));
    folder_write("in/a.txt", "x");
    WORKS("dataset", "import", IN_FOLDER("in"), ALL_TRAIN, "--copy", "--white", "-o", IN_FOLDER("out"));
    picture p;
    ck_assert_msg(picture_read(&p, IN_FOLDER("out/images/a.png"), &e), "%s", e.text);
    ck_assert(p.width == 2 && p.height == 1);
    picture_free(&p);
}
END_TEST

START_TEST(options_may_stand_before_the_part)
{
    folder("in");
    put_picture("in/a.png", 1);
    folder_write("in/a.txt", "x");
    WORKS("dataset", "--quiet", "--seed", "3", "import", IN_FOLDER("in"), "-o", IN_FOLDER("out"));
    WORKS("dataset", "--threads=1", "import", "-o", IN_FOLDER("two"), IN_FOLDER("in"));
    WORKS("dataset", "--threads", "1", "inspect", IN_FOLDER("in"));
    FAILS(2, "expected import, fetch, inspect or make scenes", "dataset", "--quiet");
}
END_TEST

START_TEST(a_quiet_fetch_says_nothing)
{
    folder("none");
    put_picture("none/a.png", 1), folder_write("none/a.txt", "a dog");
    said s = BLIP2("dataset", "fetch", "stamps", "--from", IN_FOLDER("none"), "-o", IN_FOLDER("out"),
                   "--quiet");
    ck_assert_int_eq(s.code, 0);
    ck_assert_str_eq(s.err, "");
    shell_free(s);
    folder("bin");
    setenv("PATH", IN_FOLDER("bin"), 1);
    s = BLIP2("dataset", "fetch", "easy-vqa", "-o", IN_FOLDER("two"), "--quiet");
    ck_assert_int_eq(s.code, 1);
    ck_assert_ptr_null(strstr(s.err, "dataset fetch: pip download"));
    shell_free(s);
    s = BLIP2("help", "dataset");
    ck_assert_ptr_null(strstr(s.out, "installs a package"));
    shell_free(s);
}
END_TEST

Suite *suite_import_forms(void)
{
    Suite *s = suite_create("import_forms");
    TCase *c = tcase_create("commands");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, members_of_a_name_need_not_stand_together);
    tcase_add_test(c, a_shards_json_is_a_record);
    tcase_add_test(c, what_cannot_be_unpacked_says_why);
    tcase_add_test(c, sources_may_share_their_pictures);
    tcase_add_test(c, tests_need_no_answers);
    tcase_add_test(c, genome_questions_are_read);
    tcase_add_test(c, forms_of_addresses_name_a_way_on);
    tcase_add_test(c, question_types_of_vqa_are_kept);
    tcase_add_test(c, links_to_folders_are_followed_or_named);
    tcase_add_test(c, texts_of_folders_are_read_whole);
    tcase_add_test(c, vqa_takes_any_name_of_a_folder);
    tcase_add_test(c, columns_are_each_there_once);
    tcase_add_test(c, nothing_of_a_record_vanishes);
    tcase_add_test(c, one_record_may_fill_a_file);
    tcase_add_test(c, inspect_reads_what_import_reads);
    tcase_add_test(c, inspect_looks_into_folders);
    tcase_add_test(c, sheets_replace_nothing_that_is_inspected);
    tcase_add_test(c, sheets_show_training_and_letters_with_marks);
    tcase_add_test(c, repeated_ids_are_named);
    tcase_add_test(c, white_turns_nothing);
    tcase_add_test(c, options_may_stand_before_the_part);
    tcase_add_test(c, a_quiet_fetch_says_nothing);
    suite_add_tcase(s, c);
    return s;
}
