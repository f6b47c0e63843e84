/* test_import.c - dataset import as a user runs it: every form of data set made small, and what is wrong
 * with it. */
#include "tests/import_case.h"
#include "tests/png.h"
#include "data/data.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- forms ---- */
START_TEST(a_folder_with_texts_becomes_lists)
{
    folder("in"), folder("in/val");
    put_picture("in/a.png", 1), put_picture("in/b.png", 2), put_picture("in/c.png", 3);
    put_picture("in/val/d.png", 4);
    folder_write("in/a.txt", "A dog.\n\n two \"dogs\"\t\n");
    folder_write("in/b.txt", "  \n");
    folder_write("in/val/d.txt", "a cat");
    prints(IMPORT(IN_FOLDER("in"), ALL_TRAIN, "--copy", "--json"),
           "\"train\":{\"pictures\":1,\"captions\":2,\"questions\":0},\"val\":{\"pictures\":1,\"captions\":1,"
           "\"questions\":0},\"test\":{\"pictures\":0,\"captions\":0,\"questions\":0},\"missing\":0,"
           "\"without_text\":2,");
    holds("out/train.jsonl", "{\"image\":\"images/a.png\",\"captions\":[\"A dog.\",\"two \\\"dogs\\\"\"]}\n");
    holds("out/val.jsonl", "{\"image\":\"images/val/d.png\",\"captions\":[\"a cat\"]}\n");
    holds("out/text.txt", "a dog\ttwo dogs\n");
    holds("out/test.jsonl", "");                           /* a configuration may name it */
    WORKS("dataset", "inspect", IN_FOLDER("out"));
}
END_TEST

START_TEST(pictures_may_stay_where_they_are)
{
    folder("in"), folder("in/x"), folder("in/y");
    put_picture("in/x/a.png", 1), put_picture("in/y/b.png", 2);
    folder_write("in/l.jsonl",
        "{\"image\":\"x/a.png\",\"caption\":\"one\"}\n{\"image\":\"y/b.png\",\"caption\":\"two\"}\n");
    prints(IMPORT(IN_FOLDER("in/l.jsonl"), ALL_TRAIN), "pictures stay in ");
    holds("out/train.jsonl", "{\"image\":\"x/a.png\",\"captions\":[\"one\"]}\n"
                             "{\"image\":\"y/b.png\",\"captions\":[\"two\"]}\n");
    prints(BLIP2("dataset", "inspect", IN_FOLDER("out"), "--images", IN_FOLDER("in")), "missing 0, broken 0");
    FAILS(2, "out: exists already", "dataset", "import", IN_FOLDER("in/l.jsonl"), "-o", IN_FOLDER("out"));
    WORKS("dataset", "import", IN_FOLDER("in/l.jsonl"), "-o", IN_FOLDER("out"), "--force");
}
END_TEST

START_TEST(tables_are_read_by_their_header)
{
    put_picture("a.png", 1), put_picture("b,c.png", 2);
    folder_write("t.csv", "\xef\xbb\xbfimage_id,image,caption,split\r\n7,a.png,\"one, \"\"two\"\"\",train\r\n"
                 "8,\"b,c.png\",\"a\nline\",val\n7,a.png,again,train\n");
    WORKS("dataset", "import", IN_FOLDER("t.csv"), "-o", IN_FOLDER("out"));
    holds("out/train.jsonl",
          "{\"image\":\"a.png\",\"image_id\":7,\"captions\":[\"one, \\\"two\\\"\",\"again\"]}\n");
    holds("out/val.jsonl", "{\"image\":\"b,c.png\",\"image_id\":8,\"captions\":[\"a\\u000aline\"]}\n");
    folder_write("t.tsv", "\"quoted\" words\ta.png\n");
    WORKS("dataset", "import", IN_FOLDER("t.tsv"), "-o", IN_FOLDER("out"), "--force", ALL_TRAIN, "--columns",
          "caption,image");
    holds("out/train.jsonl", "{\"image\":\"a.png\",\"captions\":[\"\\\"quoted\\\" words\"]}\n");
    folder_write("T.csv", "image,TEXT\na.png,one\n");
    WORKS("dataset", "import", IN_FOLDER("T.csv"), "-o", IN_FOLDER("out"), "--force", ALL_TRAIN);
    holds("out/train.jsonl", "{\"image\":\"a.png\",\"captions\":[\"one\"]}\n");
}
END_TEST

START_TEST(lavis_lists_of_captions_and_questions)
{
    put_picture("a.png", 1);
    folder_write("l.json", "[{\"image\":\"a.png\",\"caption\":[\"one\",\"two\"],\"image_id\":\"coco_1\"},\n"
                  " {\"image\":\"a.png\",\"question\":\"what?\",\"answer\":[\"x\",\"y\",\"y\"],"
                  "\"question_id\":5,\"image_id\":\"coco_1\"}]");
    WORKS("dataset", "import", IN_FOLDER("l.json"), "-o", IN_FOLDER("out"), ALL_TRAIN);
    holds("out/train.jsonl",
          "{\"image\":\"a.png\",\"image_id\":\"coco_1\",\"captions\":[\"one\",\"two\"],"
          "\"questions\":[{\"question\":"
          "\"what?\",\"answer\":\"y\",\"question_id\":\"5\",\"answers\":[\"x\",\"y\",\"y\"]}]}\n");
    holds("out/text.txt", "one\ttwo\tquestion: what? answer: y\n");
}
END_TEST

START_TEST(coco_captions_and_karpathys_splits)
{
    folder("val2014");
    put_picture("val2014/a.png", 1), put_picture("val2014/b.png", 2);
    folder_write("c.json",
        "{\"images\":[{\"id\":1,\"file_name\":\"a.png\"},{\"id\":2,\"file_name\":\"b.png\"}],"
        "\"annotations\":[{\"image_id\":1,\"id\":9,\"caption\":\"one\"},{\"image_id\":2,"
        "\"caption\":"
        "\"two\"},{\"image_id\":1,\"caption\":\"three\"}]}");
    char *source = mem_text("val:%s", IN_FOLDER("c.json"));
    WORKS("dataset", "import", source, "-o", IN_FOLDER("out"));
    holds("out/val.jsonl", "{\"image\":\"a.png\",\"image_id\":1,\"captions\":[\"one\",\"three\"]}\n"
                           "{\"image\":\"b.png\",\"image_id\":2,\"captions\":[\"two\"]}\n");
    mem_free(source);
    folder_write("k.json",
        "{\"dataset\":\"coco\",\"images\":[{\"filepath\":\"val2014\",\"filename\":\"a.png\",\"cocoid\":1,"
        "\"split\":\"restval\",\"sentences\":[{\"raw\":\"one\",\"tokens\":[\"one\"]}]},{\"filepath\":"
        "\"val2014\",\"filename\":\"b.png\",\"cocoid\":2,\"split\":\"test\",\"sentences\":[{\"raw\":\"x\"}]}"
        "]}");
    WORKS("dataset", "import", IN_FOLDER("k.json"), "-o", IN_FOLDER("out"), "--force");
    holds("out/train.jsonl", "{\"image\":\"a.png\",\"image_id\":1,\"captions\":[\"one\"]}\n");
    holds("out/test.jsonl", "{\"image\":\"b.png\",\"image_id\":2,\"captions\":[\"x\"]}\n");
}
END_TEST

START_TEST(genome_and_gqa)
{
    folder("VG_100K_2");
    put_picture("VG_100K_2/4.jpg", 1), put_picture("17.jpg", 2);
    folder_write("r.json",
        "[{\"id\":4,\"regions\":[{\"image_id\":4,\"phrase\":\"a sign\",\"x\":1},{\"phrase\":\"a car\"}]},"
        "{\"id\":5,\"regions\":[]}]");
    folder_write("g.json",
        "{\"0293\":{\"imageId\":\"17\",\"question\":\"Is it?\",\"answer\":\"no\",\"types\":"
        "{\"structural\":\"verify\"}}}");
    WORKS("dataset", "import", IN_FOLDER("r.json"), IN_FOLDER("g.json"), "-o", IN_FOLDER("out"), ALL_TRAIN,
          "--skip-missing");
    holds("out/train.jsonl",
          "{\"image\":\"VG_100K_2/4.jpg\",\"image_id\":4,\"captions\":[\"a sign\",\"a car\"]}\n"
          "{\"image\":\"17.jpg\",\"image_id\":17,\"captions\":[],\"questions\":[{\"question\":\"Is "
          "it?\",\"answer\":"
          "\"no\",\"type\":\"verify\",\"question_id\":\"0293\"}]}\n");
}
END_TEST

static const char answers[] =
    "{\"annotations\":[{\"question_id\":421,\"image_id\":42,\"answer_type\":\"other\","
    "\"answers\":[{\"answer\":"
    "\"net\"},{\"answer\":\"net\"}],\"multiple_choice_answer\":\"net\"}]}";

/* The majority stands behind 70 answers that are all different; a null does not hide "answers". */
START_TEST(all_answers_count)
{
    char line[4096] = "{\"image\":\"a.png\",\"question\":\"What?\",\"answer\":null,\"answers\":[";
    put_picture("a.png", 1);
    for (int i = 0; i < 70; i++)
        sprintf(line + strlen(line), "\"%d\",", i);
    strcat(line, "\"cat\",\"cat\"]}\n"
           "{\"image\":\"a.png\",\"question\":\"Who?\",\"answers\":[\"d\",\"b\",\"a\",\"a\",\"b\"]}\n");
    folder_write("l.jsonl", line);
    WORKS("dataset", "import", IN_FOLDER("l.jsonl"), "-o", IN_FOLDER("out"), ALL_TRAIN);
    char *text = folder_load("out/train.jsonl", NULL);
    ck_assert(strstr(text, "\"answer\":\"cat\"") && strstr(text, "\"69\",\"cat\",\"cat\"]"));
    ck_assert_ptr_nonnull(strstr(text, "\"Who?\",\"answer\":\"b\""));      /* of equals, the first */
    mem_free(text);
}
END_TEST

START_TEST(vqa_joins_questions_and_answers)
{
    folder("train2014");
    put_picture("train2014/COCO_train2014_000000000042.jpg", 1);
    folder_write("q.json",
        "\n {\"data_subtype\":\"train2014\",\"questions\":[{\"image_id\":42,\"question\":\"What?\","
        "\"question_id\":421}]}");
    folder_write("a.json", answers);
    WORKS("dataset", "import", IN_FOLDER("a.json"), IN_FOLDER("q.json"), "-o", IN_FOLDER("out"), ALL_TRAIN);
    holds("out/train.jsonl",
          "{\"image\":\"COCO_train2014_000000000042.jpg\",\"image_id\":42,\"captions\":[],"
          "\"questions\":[{\"question\":"
          "\"What?\",\"answer\":\"net\",\"type\":\"other\",\"question_id\":\"421\",\"answers\":[\"net\","
          "\"net\"]}]}\n");
    WORKS("dataset", "import", IN_FOLDER("a.json"), IN_FOLDER("q.json"), "-o", IN_FOLDER("out"), "--force",
          "--pattern", "{s}/COCO_{s}_{12}.jpg");
    FAILS(1, "expected the file of questions beside it", "dataset", "import", IN_FOLDER("a.json"), "-o",
          IN_FOLDER("none"));
    folder_write("q.json", "{\"questions\":[{\"image_id\":42,\"question\":\"What?\",\"question_id\":422}]}");
    FAILS(1, "questions[0]: question_id: no file of annotations has an answer", "dataset", "import",
          IN_FOLDER("a.json"), IN_FOLDER("q.json"), "-o", IN_FOLDER("none"));
}
END_TEST

START_TEST(easy_vqa_gets_captions_from_its_questions)
{
    folder("e"), folder("e/train"), folder("e/test"), folder("e/train/images"), folder("e/test/images");
    put_picture("e/train/images/0.png", 1), put_picture("e/train/images/1.png", 2);
    put_picture("e/test/images/0.png", 3);
    folder_write("e/train/questions.json",
                 "[[\"what is the red shape?\",\"circle\",0],[\"is no blue shape present?\",\"no\",1]]");
    folder_write("e/test/questions.json",
                 "[[\"is there a triangle?\",\"yes\",0],[\"is there not a teal shape?\",\"yes\",0]]");
    prints(IMPORT(IN_FOLDER("e"), ALL_TRAIN, "--json"),
           "\"test\":{\"pictures\":1,\"captions\":1,\"questions\":2}");
    holds("out/train.jsonl",
          "{\"image\":\"train/images/0.png\",\"captions\":[\"a red "
          "circle\"],\"questions\":[{\"question\":\"what is "
          "the red shape?\",\"answer\":\"circle\",\"type\":\"shape\"}]}\n"
          "{\"image\":\"train/images/1.png\",\"captions\":[\"a blue "
          "shape\"],\"questions\":[{\"question\":\"is no "
          "blue shape present?\",\"answer\":\"no\",\"type\":\"yes/no\"}]}\n");
    char *test = folder_load("out/test.jsonl", NULL);
    ck_assert_ptr_nonnull(strstr(test, "\"captions\":[\"a triangle\"]"));
    mem_free(test);
}
END_TEST

/* ---- shards ---- */
static void put_shard(const char *name, const char *first, bool whole)
{
    long n;
    put_picture("p.png", 5);
    char *png = folder_load("p.png", &n);
    FILE *f = fopen(IN_FOLDER(name), "wb");
    ck_assert_ptr_nonnull(f);
    put_member(f, first, png, n);
    put_member(f, "000001.txt", "one dog", 7);
    put_member(f, "sub/000002.json", "{\"caption\":\"two dogs\",\"url\":\"x\"}", 32);
    put_member(f, "sub/000002.jpg", png, whole ? n : n/2);
    put_member(f, "sub/000003.png", png, n);
    if (whole)
        fwrite((char[1024]){ 0 }, 1024, 1, f);
    fclose(f);
    mem_free(png);
    ck_assert(whole || !truncate(IN_FOLDER(name), 2048 + n/4));
}

START_TEST(shards_are_read_as_streams)
{
    put_shard("s-00.tar", "000001.png", true);
    prints(IMPORT(IN_FOLDER("s-00.tar"), ALL_TRAIN, "--json"), "\"without_text\":1");
    holds("out/train.jsonl", "{\"image\":\"images/s-00-000001.png\",\"captions\":[\"one dog\"]}\n"
                             "{\"image\":\"images/s-00-sub-000002.jpg\",\"captions\":[\"two dogs\"]}\n");
    ck_assert(!folder_has("out/images/s-00-sub-000003.png"));
    WORKS("dataset", "inspect", IN_FOLDER("out"));
}
END_TEST

START_TEST(shards_of_one_name_do_not_meet)
{
    folder("a"), folder("b");
    put_shard("a/0.tar", "000001.png", true);
    put_shard("b/0.tar", "000001.png", true);
    char train[600], val[600];
    snprintf(train, sizeof train, "train:%s", IN_FOLDER("a/0.tar"));
    snprintf(val, sizeof val, "val:%s", IN_FOLDER("b/0.tar"));
    prints(IMPORT(train, val), "2 pictures");
    holds("out/val.jsonl", "{\"image\":\"images/0-000001-2.png\",\"captions\":[\"one dog\"]}\n"
                           "{\"image\":\"images/0-sub-000002-2.jpg\",\"captions\":[\"two dogs\"]}\n");
    WORKS("dataset", "inspect", IN_FOLDER("out"));
    FILE *f = fopen(IN_FOLDER("a/0.tar"), "wb");
    ck_assert_ptr_nonnull(f);
    put_member(f, "7.png", "x", 1);
    put_member(f, "7.jpg", "x", 1);
    fwrite((char[1024]){ 0 }, 1024, 1, f);
    fclose(f);
    FAILS(1, "0.tar: 7: two pictures of one name", "dataset", "import", train, "-o", IN_FOLDER("other"));
}
END_TEST

START_TEST(pictures_without_an_id_beside_some_with_one_stay_apart)
{
    folder("a"), folder("b");
    put_picture("a/x.png", 1), put_picture("b/x.png", 2), put_picture("y.png", 3);
    folder_write("a/x.txt", "one"), folder_write("b/x.txt", "two");
    folder_write("l.jsonl", "{\"image\":\"y.png\",\"image_id\":\"7b\",\"caption\":\"three\"}\n");
    prints(IMPORT(IN_FOLDER("l.jsonl"), IN_FOLDER("a"), IN_FOLDER("b"), ALL_TRAIN, "--copy"), "3 pictures");
    WORKS("dataset", "inspect", IN_FOLDER("out"));
}
END_TEST

START_TEST(damaged_shards_leave_nothing_behind)
{
    put_shard("s.tar", "../000001.png", true);
    REFUSES(1, "../000001.png: a name that leaves the archive", IN_FOLDER("s.tar"));
    put_shard("s.tar", "000001.png", false);
    REFUSES(1, "s.tar: ", IN_FOLDER("s.tar"));
    folder_write("s.tar", "no archive at all");
    REFUSES(1, "s.tar: not an archive", IN_FOLDER("s.tar"));
}
END_TEST

/* ---- what is wrong ---- */
START_TEST(all_problems_are_named_with_their_lines)
{
    put_picture("a.png", 1), put_picture("b.png", 2);
    folder_write("l.jsonl",
        "\xef\xbb\xbf"                    /* a byte order mark is no problem */
        "{\"image\":\"a.png\",\"caption\":\"x\",\"image_id\":1}\n{\"image\":\"none.png\",\"caption\":\"x\"}\n"
        "{\"image\":\"b.png\",\"caption\":5}\n{\"image\":\n{\"image\":\"../a.png\",\"caption\":\"x\"}\n"
        "{\"image\":\"b.png\",\"caption\":\"x\",\"image_id\":1}\n{\"url\":\"http://x\",\"caption\":\"x\"}\n"
        "{\"image\":\"b.png\"}\n{\"image\":\"b.png\",\"caption\":\"x\",\"split\":\"other\"}\n");
    said s = IMPORT(IN_FOLDER("l.jsonl"));
    ck_assert_int_eq(s.code, 1);
    static const char *const says[] = {
        "import: 8 problems; nothing is written (--skip-missing", "l.jsonl:2: ", "none.png: No such file",
        "l.jsonl:3: caption: expected a text or a list", "l.jsonl:4",
        "l.jsonl:5: ../a.png: leaves the folder",
        "l.jsonl:6: image_id 1 stands for two pictures",
        "l.jsonl:7: image: expected the path of a file; pictures are not fetched",
        "l.jsonl:8: caption, question: expected one of them", "l.jsonl:9: split: expected train, val or test",
    };
    for (size_t i = 0; i < sizeof says/sizeof *says; i++)
        ck_assert_msg(strstr(s.err, says[i]) != NULL, "expected \"%s\" in: %s", says[i], s.err);
    shell_free(s);
    ck_assert(!folder_has("out"));
}
END_TEST

START_TEST(only_twenty_problems_are_printed)
{
    char lines[4096] = "";
    for (int i = 0; i < 30; i++)
        sprintf(lines + strlen(lines), "{\"image\":\"%d.png\",\"caption\":\"x\"}\n", i);
    folder_write("l.jsonl", lines);
    said s = IMPORT(IN_FOLDER("l.jsonl"));
    ck_assert_ptr_nonnull(strstr(s.err, "30 problems"));
    ck_assert(strstr(s.err, "/19.png") && !strstr(s.err, "/20.png"));
    shell_free(s);
    REFUSES(1, "no picture with a caption or a question; 0 have none, 30 are missing", IN_FOLDER("l.jsonl"),
            "--skip-missing");
}
END_TEST

START_TEST(names_that_json_cannot_hold_are_refused)
{
    folder("in");
    put_picture("in/a\xff.png", 1), put_picture("in/b.png", 2);
    folder_write("in/a\xff.txt", "one"), folder_write("in/b.txt", "two");
    REFUSES(1, "in: a\\xff.png: name: not UTF-8", IN_FOLDER("in"));
    put_shard("s.tar", "\xff.png", true);
    REFUSES(1, "s.tar: \\xff: name: not UTF-8", IN_FOLDER("s.tar"));
    folder("c\xff");
    put_picture("c\xff/a.png", 1), folder_write("c\xff/a.txt", "one");
    REFUSES(1, "c\\xff: name: not UTF-8", IN_FOLDER("c\xff"));
    WORKS("dataset", "import", IN_FOLDER("c\xff"), "-o", IN_FOLDER("out"), "--copy");
}
END_TEST

START_TEST(bad_tables_are_refused)
{
    put_picture("a.png", 1);
    folder_write("t.csv", "image,caption\na.png,one,two\na.png,\"open\n");
    REFUSES(1, "t.csv:2: 3 fields; expected 2", IN_FOLDER("t.csv"));
    REFUSES(1, "t.csv:3: a quote is not closed", IN_FOLDER("t.csv"));
    folder_write("t.csv", "picture,words\na.png,one\n");
    REFUSES(1, "t.csv:1: no column for the pictures", IN_FOLDER("t.csv"));
    folder_write("t.csv", "image,caption\na.png,\xff\n");
    REFUSES(1, "t.csv:2: not UTF-8", IN_FOLDER("t.csv"));
    folder_write("t.csv", "");
    REFUSES(1, "no column for the pictures", IN_FOLDER("t.csv"));
}
END_TEST

START_TEST(links_and_options_are_checked)
{
    folder("in");
    put_picture("a.png", 1);
    folder_write("in/l.jsonl", "{\"image\":\"a.png\",\"caption\":\"x\"}\n");
    ck_assert_int_eq(symlink("../a.png", IN_FOLDER("in/a.png")), 0);
    REFUSES(1, "a link leads outside the folder of the pictures", IN_FOLDER("in/l.jsonl"));
    REFUSES(2, "--split: expected shares", IN_FOLDER("in/l.jsonl"), "--split", "a,b");
    REFUSES(2, "--split: expected shares", IN_FOLDER("in/l.jsonl"), "--split", "0");
    REFUSES(1, "none: No such file", IN_FOLDER("none"));
    WORKS("dataset", "import", IN_FOLDER("in/l.jsonl"), "-o", IN_FOLDER("out"), "--allow-outside");
    FAILS(2, "sources and -o DIR are needed", "dataset", "import", "-o", "x");
    folder_write("x.bin", "x");
    FAILS(1, "x.bin: form: expected a folder, .csv", "dataset", "import", IN_FOLDER("x.bin"), "-o",
          IN_FOLDER("y"));
}
END_TEST

/* Two pixels of red, green, blue and alpha: black that nobody sees, and half of a red. */
START_TEST(what_alpha_hides_is_laid_on_white)
{
    static const uint8_t row[] = { 0, 0, 0, 0, 0, 255, 0, 0, 128 }, seen[] = { 255, 255, 255, 255, 127, 127 };
    struct png clear = png_make(2, 1, 8, 6, row, sizeof row);
    error e;
    folder("in");
    file_out *f = file_create(IN_FOLDER("in/clear.png"), &e);
    file_write(f, clear.bytes, clear.n);
    ck_assert(file_finish(f, &e));
    put_picture("in/plain.png", 7);
    folder_write("in/broken.png", "\x89PNG and no more"), folder_write("in/photo.jpg", "no picture");
    folder_write("in/clear.txt", "x");
    folder_write("in/plain.txt", "x");
    folder_write("in/broken.txt", "x");
    folder_write("in/photo.txt", "x");
    WORKS("dataset", "import", IN_FOLDER("in"), ALL_TRAIN, "--copy", "--white", "-o", IN_FOLDER("out"));
    picture p;
    ck_assert_msg(picture_read(&p, IN_FOLDER("out/images/clear.png"), &e), "%s", e.text);
    ck_assert(p.width == 2 && p.height == 1);
    ck_assert_mem_eq(p.rgb, seen, 6);
    picture_free(&p);
    static const char *const same[] = { "plain.png", "broken.png", "photo.jpg" };
    for (int i = 0; i < 3; i++) {
        char before[64], after[64];
        snprintf(before, sizeof before, "in/%s", same[i]);
        snprintf(after, sizeof after, "out/images/%s", same[i]);
        ck_assert(folder_same(before, after));
    }
    FAILS(2, "--white needs --copy", "dataset", "import", IN_FOLDER("in"), "--white", "-o",
          IN_FOLDER("other"));
}
END_TEST

START_TEST(the_split_of_a_picture_stays_when_others_come)
{
    char lines[8192] = "", *before, *after;
    for (int i = 0; i < 60; i++) {
        char name[16];
        put_picture((sprintf(name, "%d.png", i), name), i);
        sprintf(lines + strlen(lines), "{\"image\":\"%d.png\",\"caption\":\"x\",\"image_id\":%d}\n", i, i);
    }
    folder_write("l.jsonl", lines);
    WORKS("dataset", "import", IN_FOLDER("l.jsonl"), "-o", IN_FOLDER("all"), "--split", "0.5,0.25,0.25");
    *strstr(lines, "{\"image\":\"30.png\"") = 0;
    folder_write("l.jsonl", lines);
    WORKS("dataset", "import", IN_FOLDER("l.jsonl"), "-o", IN_FOLDER("half"), "--split", "0.5,0.25,0.25");
    before = folder_load("half/val.jsonl", NULL);
    after = folder_load("all/val.jsonl", NULL);
    ck_assert_int_eq(strncmp(before, after, strlen(before)), 0);
    ck_assert_uint_gt(strlen(after), strlen(before));
    ck_assert_uint_gt(strlen(before), 40);
    mem_free(before);
    mem_free(after);
}
END_TEST

/* ---- packages ---- */
START_TEST(a_package_in_a_folder_is_imported)
{
    folder("p"), folder("p/usr"), folder("p/usr/share"), folder("p/usr/share/tuxpaint");
    folder("p/usr/share/tuxpaint/stamps");
    put_picture("p/usr/share/tuxpaint/stamps/frog.png", 1);
    folder_write("p/usr/share/tuxpaint/stamps/frog.txt", "A frog.\nde.utf8=Ein Frosch.\n");
    folder_write("p/usr/share/tuxpaint/stamps/frog.svg", "<svg/>");
    folder_write("p/usr/share/tuxpaint/stamps/cow.svg", "<svg/>");
    prints(BLIP2("dataset", "fetch", "stamps", "--from", IN_FOLDER("p"), "-o", IN_FOLDER("out"), "--json"),
           "\"drawings\":1");
    static const char *const lists[] = { "out/train.jsonl", "out/val.jsonl", "out/test.jsonl" };
    int found = 0;
    for (int i = 0; i < 3; i++) {
        char *list = folder_load(lists[i], NULL);
        ck_assert(!*list || !strcmp(list, "{\"image\":\"images/frog.png\",\"captions\":[\"A frog.\"]}\n"));
        found += *list != 0;
        mem_free(list);
    }
    ck_assert_int_eq(found, 1);
    FAILS(2, "out: exists already", "dataset", "fetch", "stamps", "-o", IN_FOLDER("out"));
}
END_TEST

START_TEST(a_package_that_cannot_be_got_says_what_to_do)
{
    folder("none");
    setenv("PATH", IN_FOLDER("none"), 1);
    said s = BLIP2("dataset", "fetch", "easy-vqa", "-o", IN_FOLDER("out"));
    ck_assert_int_eq(s.code, 1);
    ck_assert_ptr_nonnull(strstr(s.err, "pip cannot be run; expected it to be installed, or --from FOLDER"));
    ck_assert_int_eq(folder_count(), 1);
    shell_free(s);
    FAILS(2, "no data set \"stmps\", did you mean stamps?", "dataset", "fetch", "stmps", "-o",
          IN_FOLDER("out"));
    FAILS(2, "a name and -o DIR are needed", "dataset", "fetch", "stamps");
}
END_TEST

/* --images says where paths begin, however few folders below it are used. */
START_TEST(paths_begin_where_the_user_says)
{
    folder("in"), folder("in/train2014");
    put_picture("in/train2014/a.png", 1);
    folder_write("l.jsonl", "{\"image\": \"train2014/a.png\", \"caption\": \"a dog\"}\n");
    prints(IMPORT(IN_FOLDER("l.jsonl"), ALL_TRAIN, "--images", IN_FOLDER("in")), "datasets.images=");
    char *text = folder_load("out/train.jsonl", NULL);
    ck_assert_msg(strstr(text, "\"image\":\"train2014/a.png\""), "%s", text);
    mem_free(text);
}
END_TEST

/* What --force would remove must not be what the new lists name. */
START_TEST(pictures_in_the_folder_that_is_replaced_are_kept)
{
    folder("in");
    put_picture("in/a.png", 1);
    folder_write("in/a.txt", "a dog");
    WORKS("dataset", "import", IN_FOLDER("in"), "-o", IN_FOLDER("out"), ALL_TRAIN, "--copy");
    REFUSES(2, "pictures that stay where they are lie in it", IN_FOLDER("out/train.jsonl"), "--force");
    ck_assert(folder_has("out/images/a.png"));
    WORKS("dataset", "import", IN_FOLDER("out/train.jsonl"), "-o", IN_FOLDER("out"), ALL_TRAIN, "--copy",
          "--force");
    ck_assert(folder_has("out/train.jsonl"));
}
END_TEST

START_TEST(packs_have_their_own_ending)
{
    folder("in");
    put_picture("in/a.png", 1);
    folder_write("in/a.txt", "a dog");
    REFUSES(2, "--pack: expected a name that ends in .h5", IN_FOLDER("in"), "--pack", IN_FOLDER("p.pack"));
}
END_TEST

/* Told before the lists are written. */
START_TEST(packs_take_no_place_but_their_own)
{
    error e;
    folder("in");
    put_picture("in/a.png", 1);
    folder_write("in/a.txt", "a dog");
    h5_out *f = h5_create(IN_FOLDER("model_best.h5"), &e);
    ck_assert_ptr_nonnull(f);
    h5_write_text(f, "format", "blip2");
    ck_assert_msg(h5_finish(f, &e), "%s", e.text);
    REFUSES(2, "model_best.h5 is a model, which would be lost", IN_FOLDER("in"), "--pack",
            IN_FOLDER("model_best.h5"));
    folder_write("text.h5", "no HDF5");
    REFUSES(1, "text.h5: is there already and no HDF5 file", IN_FOLDER("in"), "--pack", IN_FOLDER("text.h5"));
    REFUSES(1, "in/a.png: not a folder", IN_FOLDER("in"), "--pack", IN_FOLDER("in/a.png/p.h5"));
    for (int k = 0; k < 2; k++)                            /* the second time one's own is there */
        WORKS("dataset", "import", IN_FOLDER("in"), "-o", IN_FOLDER("out"), ALL_TRAIN, "--force", "--pack",
              IN_FOLDER("new/p.h5"));
    prints(BLIP2("dataset", "inspect", IN_FOLDER("new/p.h5")), "1 pictures in 1 records, 1 captions");
}
END_TEST

Suite *suite_import(void)
{
    Suite *s = suite_create("import");
    TCase *c = tcase_create("commands");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, a_folder_with_texts_becomes_lists);
    tcase_add_test(c, paths_begin_where_the_user_says);
    tcase_add_test(c, pictures_in_the_folder_that_is_replaced_are_kept);
    tcase_add_test(c, packs_have_their_own_ending);
    tcase_add_test(c, packs_take_no_place_but_their_own);
    tcase_add_test(c, pictures_may_stay_where_they_are);
    tcase_add_test(c, tables_are_read_by_their_header);
    tcase_add_test(c, lavis_lists_of_captions_and_questions);
    tcase_add_test(c, coco_captions_and_karpathys_splits);
    tcase_add_test(c, genome_and_gqa);
    tcase_add_test(c, all_answers_count);
    tcase_add_test(c, vqa_joins_questions_and_answers);
    tcase_add_test(c, easy_vqa_gets_captions_from_its_questions);
    tcase_add_test(c, shards_are_read_as_streams);
    tcase_add_test(c, shards_of_one_name_do_not_meet);
    tcase_add_test(c, pictures_without_an_id_beside_some_with_one_stay_apart);
    tcase_add_test(c, damaged_shards_leave_nothing_behind);
    tcase_add_test(c, all_problems_are_named_with_their_lines);
    tcase_add_test(c, only_twenty_problems_are_printed);
    tcase_add_test(c, names_that_json_cannot_hold_are_refused);
    tcase_add_test(c, bad_tables_are_refused);
    tcase_add_test(c, links_and_options_are_checked);
    tcase_add_test(c, what_alpha_hides_is_laid_on_white);
    tcase_add_test(c, the_split_of_a_picture_stays_when_others_come);
    tcase_add_test(c, a_package_in_a_folder_is_imported);
    tcase_add_test(c, a_package_that_cannot_be_got_says_what_to_do);
    suite_add_tcase(s, c);
    return s;
}
