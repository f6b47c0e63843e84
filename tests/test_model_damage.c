/* test_model_damage.c - a model file that was cut, changed or not finished is refused, or loads the same. */
#include "tests/tests.h"
#include <errno.h>
#include <string.h>

static error e;
static nn_store *store;
static blip2_model model;
static const blip2_part parts[] = { { "bert/vocab.txt", "[PAD]\n[CLS]\n", 12 },
                                    { "llm/merges.txt", "a b\n", 4 } };
enum { PARTS = sizeof parts / sizeof *parts };

static void begin(void)
{
    folder_begin();
    blip2_config c = tiny_config();
    store = nn_store_new(7);
    blip2_model_init(&model, store, &c);
    ck_assert(nn_build(store, false, &e));
}

static void end(void)
{
    nn_store_free(store);
    folder_end();
}

/* Does the file open? Then as the model that was saved, to the bit. */
static bool opens_equal(const char *path)
{
    blip2_model back;
    bool sealed;
    if (!blip2_open(&back, path, &sealed, &e))
        return false;
    ck_assert_int_eq(store->count, back.store->count);
    for (long i = 0; i < store->count; i++) {
        const tensor *x = store->entries[i].value, *y = nn_find(back.store, store->entries[i].name);
        ck_assert_msg(!memcmp(x->data, y->data, (size_t)x->size * sizeof(real)), "%s differs", x->name);
    }
    blip2_close(&back);
    return true;
}

static void save(const char *path)
{
    ck_assert_msg(blip2_save(&model, path, "made by a test", parts, PARTS, &e), "%s", e.text);
    ck_assert_msg(opens_equal(path), "%s", e.text);
}

START_TEST(a_cut_file_is_refused)
{
    long n;
    save(IN_FOLDER("m.h5"));
    char *all = folder_load("m.h5", &n);
    for (int percent = 0; percent < 100; percent++) {
        folder_write_bytes("cut.h5", all, n * percent / 100);
        ck_assert_msg(!opens_equal(IN_FOLDER("cut.h5")), "cut at %d %%", percent);
        ck_assert_ptr_nonnull(strstr(e.text, "cut.h5: "));
    }
    mem_free(all);
}
END_TEST

START_TEST(a_flipped_bit_is_refused_or_changes_nothing)
{
    long n, refused = 0;
    enum { FLIPS = 150 };
    save(IN_FOLDER("m.h5"));
    char *all = folder_load("m.h5", &n);
    for (int i = 0; i < FLIPS; i++) {
        long at = (long)(ag_uniform(5, (uint64_t)i) * (double)n);
        all[at] = (char)(all[at] ^ 1 << i % 8);
        folder_write_bytes("flip.h5", all, n);
        blip2_part back[BLIP2_PARTS];
        bool ok = opens_equal(IN_FOLDER("flip.h5"));
        h5 *f = ok ? h5_open(IN_FOLDER("flip.h5"), &e) : NULL;
        ok = ok && blip2_read_parts(f, "bert", back, &e) == 1;
        if (ok)
            blip2_free_parts(back, 1);
        h5_close(f);
        refused += !ok;
        all[at] = (char)(all[at] ^ 1 << i % 8);
    }
    ck_assert_int_ge(refused, FLIPS - 5);                  /* only the bytes of "llm" were not looked at */
    mem_free(all);
}
END_TEST

START_TEST(memory_that_runs_out_anywhere_is_an_error)
{
    save(IN_FOLDER("m.h5"));
    for (long nth = 1; ; nth += 1 + nth / 10) {
        ck_assert_int_lt(nth, 100000);
        blip2_model back;
        bool sealed;
        mem_fail_at(nth, true);
        bool ok = blip2_open(&back, IN_FOLDER("m.h5"), &sealed, &e);
        mem_fail_at(0, false);
        if (ok) {
            blip2_close(&back);
            break;
        }
        ck_assert_int_gt((int)strlen(e.text), 10);
    }
    for (long nth = 1; ; nth += 1 + nth / 10) {
        mem_fail_at(nth, true);
        bool ok = blip2_save(&model, IN_FOLDER("m.h5"), "", parts, PARTS, &e);
        mem_fail_at(0, false);
        if (ok)
            break;
        ck_assert(opens_equal(IN_FOLDER("m.h5")));         /* the old one is still there */
    }
}
END_TEST

START_TEST(a_disk_that_fills_up_leaves_the_old_model)
{
    save(IN_FOLDER("m.h5"));
    for (long nth = 1; ; nth += 1 + nth / 10) {
        file_fail_at(nth, ENOSPC, true);
        bool ok = blip2_save(&model, IN_FOLDER("m.h5"), "new", parts, PARTS, &e);
        file_fail_at(0, 0, false);
        if (ok)
            break;
        ck_assert(opens_equal(IN_FOLDER("m.h5")));
        ck_assert_int_eq(folder_count(), 1);
    }
}
END_TEST

Suite *suite_model_damage(void)
{
    Suite *s = suite_create("model_damage");
    TCase *c = tcase_create("damage");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, a_cut_file_is_refused);
    tcase_add_test(c, a_flipped_bit_is_refused_or_changes_nothing);
    tcase_add_test(c, memory_that_runs_out_anywhere_is_an_error);
    tcase_add_test(c, a_disk_that_fills_up_leaves_the_old_model);
    suite_add_tcase(s, c);
    return s;
}
