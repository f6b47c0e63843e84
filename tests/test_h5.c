/* test_h5.c - what is written to an HDF5 file comes back to the bit, and no damage goes unseen. */
#include "tests/tests.h"
#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static error e;

/* ---- HDF5: round trips --------------------------------------------------------------------------------- */
static const real weights[6] = { (real)0.1, -2, (real)1e-30, 3, -0.0, 5 };
static const int whole[3] = { 1, -2147483647 - 1, 2147483647 };
static const int64_t longs[2] = { INT64_MIN, INT64_MAX };
static const uint8_t bytes5[5] = { 0, 255, 7, 0, 9 };

static bool write_sample(const char *path)
{
    h5_out *f = h5_create(path, &e);
    if (!f)
        return false;
    h5_write_text(f, "format", "blip2");
    h5_write_number(f, "format_version", 1);
    h5_write(f, "block/0/weight", H5_REALS, DIMS(2, 3), weights);
    h5_write(f, "block/0/ids", H5_INTS, DIMS(3), whole);
    h5_write(f, "state/longs", H5_LONGS, DIMS(2), longs);
    h5_write(f, "tokenizer/bert", H5_BYTES, DIMS(5), bytes5);
    h5_write(f, "temp", H5_REALS, 0, NULL, weights);
    h5_write(f, "empty", H5_REALS, DIMS(0, 4), weights);
    h5_link(f, "head/decoder/weight", "block/0/weight");
    return h5_finish(f, &e);
}

/* Reads everything; false with e set at the first refusal. Numbers that differ fail the test. */
static bool read_sample(const char *path)
{
    real w[6] = { 0 }, temp = 0;
    int n[3] = { 0 };
    int64_t l[2] = { 0 };
    uint8_t b[5] = { 0 };
    h5 *f = h5_open(path, &e);
    if (!f)
        return false;
    bool ok = h5_read(f, "block/0/weight", H5_REALS, DIMS(2, 3), w, &e)
        && h5_read(f, "block/0/ids", H5_INTS, DIMS(3), n, &e)
        && h5_read(f, "state/longs", H5_LONGS, DIMS(2), l, &e)
        && h5_read(f, "tokenizer/bert", H5_BYTES, DIMS(5), b, &e)
        && h5_read(f, "temp", H5_REALS, 0, NULL, &temp, &e)
        && h5_read(f, "empty", H5_REALS, DIMS(0, 4), NULL, &e);
    h5_close(f);
    if (ok) {
        ck_assert_mem_eq(w, weights, sizeof w);
        ck_assert_mem_eq(n, whole, sizeof n);
        ck_assert_mem_eq(l, longs, sizeof l);
        ck_assert_mem_eq(b, bytes5, sizeof b);
        ck_assert_mem_eq(&temp, weights, sizeof temp);
    }
    return ok;
}

START_TEST(every_type_comes_back_to_the_bit)
{
    ck_assert_msg(write_sample(IN_FOLDER("a.h5")), "%s", e.text);
    ck_assert_msg(read_sample(IN_FOLDER("a.h5")), "%s", e.text);
    h5 *f = h5_open(IN_FOLDER("a.h5"), &e);
    ck_assert(h5_sealed(f));
    char *format = h5_text(f, "", "format", &e);
    ck_assert_str_eq(format, "blip2");
    mem_free(format);
    double version;
    ck_assert(h5_number(f, "", "format_version", &version, &e) && version == 1);
    real tied[6];
    ck_assert(h5_read(f, "head/decoder/weight", H5_REALS, DIMS(2, 3), tied, &e));
    ck_assert_mem_eq(tied, weights, sizeof tied);
    h5_close(f);
}
END_TEST

START_TEST(lists_are_sorted_and_whole)
{
    static const char *const all[] = { "block/0/ids", "block/0/weight", "empty", "head/decoder/weight",
                                       "state/longs", "temp", "tokenizer/bert" };
    ck_assert(write_sample(IN_FOLDER("a.h5")));
    h5 *f = h5_open(IN_FOLDER("a.h5"), &e);
    long n;
    char **list = h5_list(f, "", &n, &e);
    ck_assert_int_eq(n, 7);
    for (long i = 0; i < n; i++)
        ck_assert_str_eq(list[i], all[i]);
    h5_list_free(list, n);
    list = h5_list(f, "block/0", &n, &e);
    ck_assert_int_eq(n, 2);
    h5_list_free(list, n);
    ck_assert_ptr_null(h5_list(f, "temp", &n, &e));
    h5_close(f);
}
END_TEST

/* HDF5 1.10.8 crashes when it cannot read on in a list of links. */
START_TEST(what_was_checked_is_what_is_parsed)
{
    char name[32], junk[4096];
    long n, bytes;
    h5_out *out = h5_create(IN_FOLDER("a.h5"), &e);
    for (int i = 0; i < 60; i++) {                         /* more links than an object's header holds */
        snprintf(name, sizeof name, "weights/%02d", i);
        h5_write(out, name, H5_REALS, DIMS(6), weights);
    }
    ck_assert_msg(h5_finish(out, &e), "%s", e.text);
    h5 *f = h5_open(IN_FOLDER("a.h5"), &e);
    memset(junk, 0xee, sizeof junk);
    int fd = open(IN_FOLDER("a.h5"), O_WRONLY);
    bytes = lseek(fd, 0, SEEK_END);
    for (long at = 0; at < bytes; at += (long)sizeof junk) /* somebody spoils it all meanwhile */
        ck_assert(pwrite(fd, junk, sizeof junk, at) == (ssize_t)sizeof junk);
    close(fd);
    char **list = h5_list(f, "", &n, &e);
    ck_assert_msg(list && n == 60, "%s", e.text);
    h5_list_free(list, n);
    real w[6];
    ck_assert(!h5_read(f, "weights/07", H5_REALS, DIMS(6), w, &e) && strstr(e.text, "weights/07"));
    h5_close(f);
}
END_TEST

START_TEST(equal_content_gives_equal_files)
{
    ck_assert(write_sample(IN_FOLDER("a.h5")));
    sleep(1);
    ck_assert(write_sample(IN_FOLDER("b.h5")));
    ck_assert(folder_same("a.h5", "b.h5"));
}
END_TEST

START_TEST(hdf5_itself_reads_what_was_written)
{
    ck_assert(write_sample(IN_FOLDER("a.h5")));
    hid_t f = H5Fopen(IN_FOLDER("a.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t d = H5Dopen2(f, "block/0/weight", H5P_DEFAULT);
    double x[6];
    ck_assert_int_ge(H5Dread(d, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, x), 0);
    for (int i = 0; i < 6; i++)
        ck_assert(x[i] == (double)weights[i]);
    H5Dclose(d);
    H5Fclose(f);
}
END_TEST

START_TEST(reals_are_stored_as_floats_only_where_that_loses_nothing)
{
    real exact[2] = { 1, (real)0.5 }, third[2] = { 1, (real)1 / 3 }, back[2];
    h5_out *out = h5_create(IN_FOLDER("a.h5"), &e);
    h5_write(out, "exact", H5_REALS, DIMS(2), exact);
    h5_write(out, "third", H5_REALS, DIMS(2), third);
    ck_assert(h5_finish(out, &e));
    h5 *f = h5_open(IN_FOLDER("a.h5"), &e);
    h5_shape s;
    ck_assert(h5_find(f, "exact", &s, &e) && s.width == 4);
    ck_assert(h5_find(f, "third", &s, &e) && s.width == (int)sizeof(real));
    ck_assert(h5_read(f, "third", H5_REALS, DIMS(2), back, &e));
    ck_assert_mem_eq(back, third, sizeof back);
    h5_close(f);
}
END_TEST

START_TEST(large_data_in_many_blocks_come_back)
{
    enum { N = 100003 };
    real *x = mem_new(N * sizeof *x), *y = mem_new(N * sizeof *y);
    int *i = mem_new(N * sizeof *i), *j = mem_new(N * sizeof *j);
    for (int k = 0; k < N; k++) {
        x[k] = (real)sin(k);
        i[k] = k * 31;
    }
    h5_out *out = h5_create(IN_FOLDER("a.h5"), &e);
    h5_write(out, "x", H5_REALS, DIMS(N), x);
    h5_write(out, "i", H5_INTS, DIMS(N), i);
    ck_assert(h5_finish(out, &e));
    h5 *f = h5_open(IN_FOLDER("a.h5"), &e);
    ck_assert(h5_read(f, "x", H5_REALS, DIMS(N), y, &e) && h5_read(f, "i", H5_INTS, DIMS(N), j, &e));
    ck_assert_mem_eq(x, y, N * sizeof *x);
    ck_assert_mem_eq(i, j, N * sizeof *i);
    h5_close(f);
    mem_free(x);
    mem_free(y);
    mem_free(i);
    mem_free(j);
}
END_TEST

/* ---- HDF5: damage -------------------------------------------------------------------------------------- */
START_TEST(a_changed_byte_anywhere_is_refused)
{
    long n;
    ck_assert(write_sample(IN_FOLDER("a.h5")));
    char *all = folder_load("a.h5", &n);
    for (long i = 0; i < n; i++) {
        all[i] = (char)(all[i] ^ 1 << i % 8);
        folder_write_bytes("b.h5", all, n);
        ck_assert_msg(!read_sample(IN_FOLDER("b.h5")), "byte %ld of %ld changed and nothing said", i, n);
        all[i] = (char)(all[i] ^ 1 << i % 8);
    }
    mem_free(all);
}
END_TEST

START_TEST(a_file_cut_or_grown_anywhere_is_refused)
{
    long n;
    ck_assert(write_sample(IN_FOLDER("a.h5")));
    char *all = folder_load("a.h5", &n);
    for (long cut = 0; cut < n; cut += cut < 128 || cut > n - 512 ? 1 : 37) {
        folder_write_bytes("b.h5", all, cut);
        h5 *f = h5_open(IN_FOLDER("b.h5"), &e);
        ck_assert_msg(!f || !h5_sealed(f), "cut to %ld of %ld bytes and still sealed", cut, n);
        h5_close(f);
        if (f)
            ck_assert(read_sample(IN_FOLDER("b.h5")));     /* only the seal is gone: all numbers are there */
    }
    folder_write_bytes("b.h5", all, n + 1);
    ck_assert(!read_sample(IN_FOLDER("b.h5")));
    mem_free(all);
}
END_TEST

START_TEST(other_files_are_refused_with_one_line)
{
    folder_write("empty", "");
    folder_write_bytes("text", "not an hdf5 file, but long enough to hold a superblock ..........", 65);
    ck_assert(!h5_open(IN_FOLDER("empty"), &e));
    ck_assert(!h5_open(IN_FOLDER("text"), &e));
    ck_assert_ptr_nonnull(strstr(e.text, "not an HDF5 file"));
    ck_assert_ptr_null(strchr(e.text, '\n'));
    ck_assert(!h5_open(IN_FOLDER("absent"), &e));
}
END_TEST

/* ---- HDF5: full disks, no memory, kill -9 -------------------------------------------------------------- */
START_TEST(a_full_disk_at_any_call_is_an_error_and_leaves_nothing)
{
    for (int on = 0; on < 2; on++)
        for (long nth = 1; ; nth++) {
            ck_assert_int_lt(nth, 1000);
            unlink(IN_FOLDER("a.h5"));
            file_fail_at(nth, ENOSPC, on);
            bool ok = write_sample(IN_FOLDER("a.h5"));
            file_fail_at(0, 0, false);
            if (ok)
                break;
            ck_assert_ptr_nonnull(strstr(e.text, strerror(ENOSPC)));
            ck_assert_msg(folder_count() == (strstr(e.text, "is written, but") != NULL), "%s", e.text);
            ck_assert_int_eq((int)H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);      /* closed in peace */
        }
    ck_assert_msg(read_sample(IN_FOLDER("a.h5")), "%s", e.text);
}
END_TEST

START_TEST(a_disk_that_fails_while_reading_is_told_as_that)
{
    ck_assert(write_sample(IN_FOLDER("a.h5")));
    for (int on = 0; on < 2; on++)
        for (long nth = 1; ; nth++) {
            ck_assert_int_lt(nth, 1000);
            file_fail_at(nth, EIO, on);
            bool ok = read_sample(IN_FOLDER("a.h5"));
            file_fail_at(0, 0, false);
            if (ok)
                break;
            ck_assert_msg(strstr(e.text, strerror(EIO)) != NULL, "call %ld: %s", nth, e.text);
            ck_assert_int_eq((int)H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
        }
}
END_TEST

START_TEST(a_quota_is_an_error_at_every_size)
{
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t most = 0; ; most += 512) {
        struct rlimit limit = { most, RLIM_INFINITY };
        setrlimit(RLIMIT_FSIZE, &limit);
        if (write_sample(IN_FOLDER("a.h5")))
            break;
        ck_assert_int_eq(folder_count(), 0);
    }
    ck_assert_msg(read_sample(IN_FOLDER("a.h5")), "%s", e.text);
}
END_TEST

START_TEST(memory_that_runs_out_anywhere_is_an_error)
{
    ck_assert(write_sample(IN_FOLDER("a.h5")));
    for (int on = 0; on < 2; on++)
        for (int reading = 0; reading < 2; reading++)
            for (long nth = 1; ; nth++) {
                const char *path = reading ? IN_FOLDER("a.h5") : IN_FOLDER("b.h5");
                mem_fail_at(nth, on);
                bool ok = reading ? read_sample(path) : write_sample(path);
                mem_fail_at(0, false);
                if (ok)
                    break;
                ck_assert_int_ge((int)strlen(e.text), 10);
            }
}
END_TEST

START_TEST(a_killed_writer_leaves_the_old_file_whole)
{
    ck_assert(write_sample(IN_FOLDER("a.h5")));
    for (int i = 0; i < 40; i++) {
        pid_t writer = fork();
        if (!writer)
            for (;;)
                write_sample(IN_FOLDER("a.h5"));
        usleep((unsigned)(500 + 733 * i));
        kill(writer, SIGKILL);
        waitpid(writer, NULL, 0);
        ck_assert_msg(read_sample(IN_FOLDER("a.h5")), "%s", e.text);
    }
    ck_assert(write_sample(IN_FOLDER("a.h5")));
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

Suite *suite_h5(void)
{
    Suite *s = suite_create("h5");
    TCase *c = tcase_create("hdf5");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, every_type_comes_back_to_the_bit);
    tcase_add_test(c, lists_are_sorted_and_whole);
    tcase_add_test(c, what_was_checked_is_what_is_parsed);
    tcase_add_test(c, equal_content_gives_equal_files);
    tcase_add_test(c, hdf5_itself_reads_what_was_written);
    tcase_add_test(c, reals_are_stored_as_floats_only_where_that_loses_nothing);
    tcase_add_test(c, large_data_in_many_blocks_come_back);
    tcase_add_test(c, a_changed_byte_anywhere_is_refused);
    tcase_add_test(c, a_file_cut_or_grown_anywhere_is_refused);
    tcase_add_test(c, other_files_are_refused_with_one_line);
    tcase_add_test(c, a_full_disk_at_any_call_is_an_error_and_leaves_nothing);
    tcase_add_test(c, a_disk_that_fails_while_reading_is_told_as_that);
    tcase_add_test(c, a_quota_is_an_error_at_every_size);
    tcase_add_test(c, memory_that_runs_out_anywhere_is_an_error);
    tcase_add_test(c, a_killed_writer_leaves_the_old_file_whole);
    suite_add_tcase(s, c);
    return s;
}
