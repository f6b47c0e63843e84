/* test_pack.c - a data set in one file trains like the folder it was made of; damage to any byte of it is
 * seen. */
#include "data/packages.h"
#include "tests/world.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static error e;

static void begin(void)
{
    folder_begin();
    world_make();
    ck_assert_msg(pack_write(IN_FOLDER("world"), IN_FOLDER("world"), IN_FOLDER("w.h5"), &e), "%s", e.text);
}

START_TEST(a_packed_data_set_trains_to_the_same_bytes)
{
    train_config c = world_config(TRAIN_VIT);
    long n, m;
    for (int k = 0; k < 2; k++) {
        c.data.view = TRAIN_VIEW_RANDOM;
        c.memory_mb = 0;
        world_text(c.output_dir, IN_FOLDER(k ? "packed" : "folder"));
        if (k) {
            world_text(c.data.root, IN_FOLDER(""));
            world_text(c.data.train_list, "w.h5");
            ck_assert(!rename(IN_FOLDER("world"), IN_FOLDER("gone")));
        }
        world_train(&c);
    }
    char *a = folder_load("folder/model.h5", &n), *b = folder_load("packed/model.h5", &m);
    ck_assert(n == m && !memcmp(a, b, (size_t)n));
    mem_free(a);
    mem_free(b);
}
END_TEST

START_TEST(each_list_has_its_own_pictures)
{
    static const char *const lists[] = { "train", "val", "test" };
    for (int s = 0; s < 3; s++) {
        char name[64], path[512];
        record_list packed, plain;
        long n, m;
        snprintf(name, sizeof name, "w.h5:%s", lists[s]);
        ck_assert_msg(records_read(IN_FOLDER(name), &packed, &e), "%s", e.text);
        snprintf(name, sizeof name, "world/%s.jsonl", lists[s]);
        ck_assert_msg(records_read(IN_FOLDER(name), &plain, &e), "%s", e.text);
        ck_assert_int_eq(packed.count, plain.count);
        ck_assert_int_eq(records_missing(IN_FOLDER(""), &packed, &e), 0);
        for (long i = 0; i < plain.count; i++) {
            snprintf(name, sizeof name, "world/%s", plain.items[i].image);
            char *file = folder_load(name, &n);
            void *inside = pack_picture(folder_path(path, packed.items[i].image), &m, &e);
            ck_assert_msg(inside && n == m && !memcmp(file, inside, (size_t)n), "%s", e.text);
            ck_assert_str_eq(packed.items[i].captions[0], plain.items[i].captions[0]);
            mem_free(file);
            mem_free(inside);
        }
        record_list_free(&packed);
        record_list_free(&plain);
    }
    record_list none;
    ck_assert(!records_read(IN_FOLDER("w.h5:later"), &none, &e) && strstr(e.text, "expected"));
    ck_assert(!records_read(IN_FOLDER("absent.h5"), &none, &e));
}
END_TEST

/* Reads the list and all its pictures. */
static bool reads(const char *name)
{
    record_list l;
    char path[512];
    long n;
    if (!records_read(IN_FOLDER(name), &l, &e))
        return false;
    bool ok = true;
    for (long i = 0; ok && i < l.count; i++) {
        void *bytes = pack_picture(folder_path(path, l.items[i].image), &n, &e);
        ok = bytes != NULL;
        mem_free(bytes);
    }
    record_list_free(&l);
    return ok;
}

START_TEST(damage_anywhere_is_seen)
{
    long n, seen = 0, tried = 0;
    char *bytes = folder_load("w.h5", &n);
    for (int k = 0; k < 2; k++)                            /* val and test are other lists: read all three */
        ck_assert(reads("w.h5") && reads("w.h5:val") && reads("w.h5:test"));
    for (long at = 3; at < n; at += n / 150, tried++) {
        bytes[at] ^= 1;
        folder_write_bytes("bad.h5", bytes, n);
        bytes[at] ^= 1;
        seen += !reads("bad.h5") || !reads("bad.h5:val") || !reads("bad.h5:test");
    }
    ck_assert_int_eq(seen, tried);
    for (long cut = 0; cut < n; cut += n / 20) {
        folder_write_bytes("bad.h5", bytes, cut);
        ck_assert(!reads("bad.h5"));
    }
    mem_free(bytes);
}
END_TEST

/* Another file of HDF5: what was looked for and not found, and what a pack is. */
START_TEST(a_file_that_is_no_pack_says_what_was_found)
{
    record_list l;
    h5_out *f = h5_create(IN_FOLDER("other.h5"), &e);
    ck_assert(f && h5_finish(f, &e));
    ck_assert(!records_read(IN_FOLDER("other.h5"), &l, &e));
    ck_assert_msg(strstr(e.text, "other.h5: attribute format: missing") && strstr(e.text,
                                                                                  "dataset import --pack"),
                  "%s", e.text);
    f = h5_create(IN_FOLDER("third.h5"), &e);
    ck_assert_ptr_nonnull(f);
    h5_write_text(f, "format", "blip2-model");
    ck_assert(h5_finish(f, &e));
    ck_assert(!records_read(IN_FOLDER("third.h5"), &l, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "third.h5: expected a data set of `dataset import --pack`, found "
                                         "another"));
}
END_TEST

START_TEST(what_is_no_picture_of_a_pack_is_an_error)
{
    static const char *const wrong[] = { "w.h5#a", "w.h5#a@1+2", "w.h5#a@1+99999999:0", "w.h5#a@-1+2:0",
                                         "w.h5#a@1+-2:0", "w.h5#a:0+1@2", "w.h5#a@x+1:0", "none.h5#a@1+1:0" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        picture p;
        ck_assert(!picture_read(&p, IN_FOLDER(wrong[i]), &e) && e.text[0]);
    }
    train_config c = world_config(TRAIN_VIT);
    world_train(&c);
    record_list l;
    ck_assert(!records_read(IN_FOLDER("vit/model.h5"), &l, &e));
    ck_assert_msg(strstr(e.text, "expected a data set of `dataset import --pack`"), "%s", e.text);
}
END_TEST

Suite *suite_pack(void)
{
    Suite *s = suite_create("pack");
    TCase *c = tcase_create("pack");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, begin, folder_end);
    tcase_add_test(c, a_packed_data_set_trains_to_the_same_bytes);
    tcase_add_test(c, each_list_has_its_own_pictures);
    tcase_add_test(c, damage_anywhere_is_seen);
    tcase_add_test(c, a_file_that_is_no_pack_says_what_was_found);
    tcase_add_test(c, what_is_no_picture_of_a_pack_is_an_error);
    suite_add_tcase(s, c);
    return s;
}
