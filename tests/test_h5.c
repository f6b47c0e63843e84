/* test_h5.c - files are written whole or not at all, and HDF5 files of any content are refused or read right. */
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static error e;

/* ---- files ---------------------------------------------------------------------------------------------------------- */
static bool write_text(const char *path, const char *text)
{
    file_out *f = file_create(path, &e);
    if (!f)
        return false;
    file_print(f, "%s", text);
    return file_finish(f, &e);
}

static void holds(const char *path, const char *text)
{
    long bytes;
    char *found = file_load(path, 1 << 20, &bytes, &e);
    ck_assert_msg(found != NULL, "%s", e.text);
    ck_assert_str_eq(found, text);
    mem_free(found);
}

START_TEST(output_appears_only_when_it_is_whole)
{
    const char *path = IN_FOLDER("a");
    ck_assert(write_text(path, "old"));
    file_out *f = file_create(path, &e);
    file_print(f, "%s", "new");
    holds(path, "old");
    ck_assert_int_eq(folder_count(), 2);
    ck_assert(file_finish(f, &e));
    holds(path, "new");
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

START_TEST(abandoned_output_leaves_no_trace)
{
    file_out *f = file_create(IN_FOLDER("a"), &e);
    file_write(f, "x", 1);
    file_abandon(f);
    ck_assert_int_eq(folder_count(), 0);
}
END_TEST

START_TEST(any_failing_call_leaves_the_old_file_and_no_temporary)
{
    static const int numbers[] = { ENOSPC, EIO, EDQUOT };
    const char *path = IN_FOLDER("a");
    ck_assert(write_text(path, "old"));
    long failed = 0;
    for (int k = 0; k < 6; k++)
        for (long nth = 1; ; nth++) {
            file_fail_at(nth, numbers[k / 2], k % 2);
            bool ok = write_text(path, "new");
            file_fail_at(0, 0, false);
            if (ok)
                ck_assert(write_text(path, "old"));
            if (ok)
                break;
            failed++;
            ck_assert_ptr_nonnull(strstr(e.text, strerror(numbers[k / 2])));
            ck_assert_int_eq(folder_count(), 1);
            holds(path, strstr(e.text, "is written, but") ? "new" : "old");
            ck_assert(write_text(path, "old"));
        }
    ck_assert_int_eq(failed, 6 * 6);               /* open, write, fsync, rename, and open and fsync of the folder */
}
END_TEST

START_TEST(short_and_interrupted_calls_are_taken_up_again)
{
    for (long nth = 1; nth < 12; nth++)
        for (int number = 0; number < 2; number++) {
            file_fail_at(nth, number ? EINTR : 0, false);
            bool ok = write_text(IN_FOLDER("a"), "some text that is long enough to be cut");
            file_fail_at(0, 0, false);
            ck_assert_msg(ok, "%s", e.text);
            file_fail_at(nth, number ? EINTR : 0, false);
            holds(IN_FOLDER("a"), "some text that is long enough to be cut");
            file_fail_at(0, 0, false);
        }
}
END_TEST

START_TEST(temporaries_of_dead_processes_are_removed)
{
    char name[64];
    close(open(IN_FOLDER("a.tmp.999999999"), O_CREAT | O_WRONLY, 0600));       /* larger than any process number */
    close(open(IN_FOLDER("b.tmp.999999999"), O_CREAT | O_WRONLY, 0600));
    sprintf(name, "a.tmp.%ld", (long)getppid());
    close(open(IN_FOLDER(name), O_CREAT | O_WRONLY, 0600));
    ck_assert(write_text(IN_FOLDER("a"), "x"));
    ck_assert_int_eq(folder_count(), 3);           /* a, a.tmp of the living, b.tmp of the dead */
    ck_assert_int_eq(file_sweep(IN_FOLDER(".")), 1);
    ck_assert_int_eq(folder_count(), 2);
}
END_TEST

START_TEST(only_regular_files_are_read_and_replaced)
{
    long bytes;
    mkfifo(IN_FOLDER("pipe"), 0600);
    ck_assert_int_eq(file_open(IN_FOLDER("pipe"), &bytes, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "not a regular file"));
    ck_assert_int_eq(file_open("/dev/zero", &bytes, &e), -1);
    ck_assert_int_eq(file_open(IN_FOLDER("."), &bytes, &e), -1);
    ck_assert_int_eq(file_open(IN_FOLDER("absent"), &bytes, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, strerror(ENOENT)));
    ck_assert_ptr_null(file_create("/dev/null", &e));
    ck_assert_ptr_null(file_create(IN_FOLDER("pipe"), &e));
    ck_assert_ptr_null(file_create(IN_FOLDER("no/such/folder"), &e));
}
END_TEST

START_TEST(a_link_keeps_pointing_at_the_replaced_file)
{
    ck_assert(write_text(IN_FOLDER("a"), "old"));
    ck_assert_int_eq(symlink("a", IN_FOLDER("link")), 0);
    ck_assert(write_text(IN_FOLDER("link"), "new"));
    holds(IN_FOLDER("a"), "new");
    struct stat about;
    ck_assert(!lstat(IN_FOLDER("link"), &about) && S_ISLNK(about.st_mode));
}
END_TEST

START_TEST(a_file_over_the_limit_is_refused)
{
    long bytes;
    ck_assert(write_text(IN_FOLDER("a"), "12345"));
    ck_assert_ptr_null(file_load(IN_FOLDER("a"), 4, &bytes, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "at most 4 bytes, found 5"));
}
END_TEST

/* ---- HDF5: round trips ------------------------------------------------------------------------------------------------ */
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

/* Reads everything; false with e set at the first refusal. Numbers that differ from what was written fail the test. */
static bool read_sample(const char *path)
{
    real w[6] = { 0 }, temp = 0;
    int n[3] = { 0 };
    int64_t l[2] = { 0 };
    uint8_t b[5] = { 0 };
    h5 *f = h5_open(path, &e);
    if (!f)
        return false;
    bool ok = h5_read(f, "block/0/weight", H5_REALS, DIMS(2, 3), w, &e) && h5_read(f, "block/0/ids", H5_INTS, DIMS(3), n, &e)
        && h5_read(f, "state/longs", H5_LONGS, DIMS(2), l, &e) && h5_read(f, "tokenizer/bert", H5_BYTES, DIMS(5), b, &e)
        && h5_read(f, "temp", H5_REALS, 0, NULL, &temp, &e) && h5_read(f, "empty", H5_REALS, DIMS(0, 4), NULL, &e);
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
    static const char *const all[] = { "block/0/ids", "block/0/weight", "empty", "head/decoder/weight", "state/longs", "temp",
                                       "tokenizer/bert" };
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

START_TEST(equal_content_gives_equal_files)
{
    long n, m;
    ck_assert(write_sample(IN_FOLDER("a.h5")));
    sleep(1);
    ck_assert(write_sample(IN_FOLDER("b.h5")));
    char *a = file_load(IN_FOLDER("a.h5"), 1 << 20, &n, &e), *b = file_load(IN_FOLDER("b.h5"), 1 << 20, &m, &e);
    ck_assert_int_eq(n, m);
    ck_assert_mem_eq(a, b, (size_t)n);
    mem_free(a);
    mem_free(b);
}
END_TEST

START_TEST(hdf5_itself_reads_what_was_written)
{
    ck_assert(write_sample(IN_FOLDER("a.h5")));
    hid_t f = H5Fopen(IN_FOLDER("a.h5"), H5F_ACC_RDONLY, H5P_DEFAULT), d = H5Dopen2(f, "block/0/weight", H5P_DEFAULT);
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

/* ---- HDF5: damage ----------------------------------------------------------------------------------------------------- */
static void put_bytes(const char *path, const char *all, long n)
{
    FILE *f = fopen(path, "wb");
    ck_assert(f && fwrite(all, 1, (size_t)n, f) == (size_t)n && !fclose(f));
}

START_TEST(a_changed_byte_anywhere_is_refused)
{
    long n;
    ck_assert(write_sample(IN_FOLDER("a.h5")));
    char *all = file_load(IN_FOLDER("a.h5"), 1 << 20, &n, &e);
    for (long i = 0; i < n; i++) {
        all[i] = (char)(all[i] ^ 1 << i % 8);
        put_bytes(IN_FOLDER("b.h5"), all, n);
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
    char *all = file_load(IN_FOLDER("a.h5"), 1 << 20, &n, &e);
    for (long cut = 0; cut < n; cut += cut < 128 || cut > n - 512 ? 1 : 37) {
        put_bytes(IN_FOLDER("b.h5"), all, cut);
        h5 *f = h5_open(IN_FOLDER("b.h5"), &e);
        ck_assert_msg(!f || !h5_sealed(f), "cut to %ld of %ld bytes and still sealed", cut, n);
        h5_close(f);
        if (f)
            ck_assert(read_sample(IN_FOLDER("b.h5")));     /* cut exactly where the seal begins: all numbers are there */
    }
    put_bytes(IN_FOLDER("b.h5"), all, n + 1);
    ck_assert(!read_sample(IN_FOLDER("b.h5")));
    mem_free(all);
}
END_TEST

START_TEST(other_files_are_refused_with_one_line)
{
    put_bytes(IN_FOLDER("empty"), "", 0);
    put_bytes(IN_FOLDER("text"), "not an hdf5 file, but long enough to hold a superblock, which it does not. ........", 80);
    ck_assert(!h5_open(IN_FOLDER("empty"), &e));
    ck_assert(!h5_open(IN_FOLDER("text"), &e));
    ck_assert_ptr_nonnull(strstr(e.text, "not an HDF5 file"));
    ck_assert_ptr_null(strchr(e.text, '\n'));
    ck_assert(!h5_open(IN_FOLDER("absent"), &e));
}
END_TEST

/* ---- HDF5: full disks, no memory, kill -9 -------------------------------------------------------------------------------- */
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
            ck_assert_int_eq((int)H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);      /* HDF5 closed it in peace */
        }
    ck_assert_msg(read_sample(IN_FOLDER("a.h5")), "%s", e.text);
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

/* ---- HDF5: files of others ------------------------------------------------------------------------------------------------- */
static hid_t begin(void)
{
    return H5Fcreate(IN_FOLDER("x.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
}

static void add(hid_t f, const char *name, hid_t type, int ndim, const hsize_t *dim, hid_t created, const void *data)
{
    hid_t space = ndim < 0 ? H5Screate(H5S_NULL) : ndim ? H5Screate_simple(ndim, dim, NULL) : H5Screate(H5S_SCALAR);
    hid_t d = H5Dcreate2(f, name, type, space, H5P_DEFAULT, created, H5P_DEFAULT);
    ck_assert_int_ge(d, 0);
    if (data)
        H5Dwrite(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    H5Dclose(d);
    H5Sclose(space);
}

/* Closes f and asks for `name` as reals (2,3); the refusal's text, NULL if it was read. */
static const char *refusal(hid_t f, const char *name)
{
    static real x[6];
    H5Fclose(f);
    h5 *in = h5_open(IN_FOLDER("x.h5"), &e);
    ck_assert_msg(in != NULL, "%s", e.text);
    ck_assert(!h5_sealed(in));
    bool ok = h5_read(in, name, H5_REALS, DIMS(2, 3), x, &e);
    h5_close(in);
    if (ok)
        for (int i = 0; i < 6; i++)
            ck_assert(x[i] == i + 1);
    return ok ? NULL : e.text;
}

static const float six[6] = { 1, 2, 3, 4, 5, 6 };
static const double six64[6] = { 1, 2, 3, 4, 5, 6 };
static const hsize_t two3[2] = { 2, 3 };
#define REFUSED(f, what) do { const char *said = refusal((f), "w"); ck_assert_ptr_nonnull(said); \
    ck_assert_msg(strstr(said, what) != NULL, "%s", said); ck_assert_msg(strstr(said, "x.h5: w: ") != NULL, "%s", said); } while (0)

START_TEST(chunked_compressed_and_foreign_floats_are_read)
{
    hid_t f = begin(), packed = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(packed, 2, (hsize_t[]){ 1, 2 });
    H5Pset_shuffle(packed);
    H5Pset_deflate(packed, 6);
    H5Pset_fletcher32(packed);
    add(f, "w", H5T_NATIVE_FLOAT, 2, two3, packed, six);
    ck_assert_ptr_null(refusal(f, "w"));
    f = begin();
    add(f, "w", H5T_NATIVE_DOUBLE, 2, two3, H5P_DEFAULT, six64);
    ck_assert_ptr_null(refusal(f, "w"));
    f = begin();
    uint32_t big[6];
    memcpy(big, six, sizeof big);
    for (int i = 0; i < 6; i++)
        big[i] = __builtin_bswap32(big[i]);
    add(f, "w", H5T_IEEE_F32BE, 2, two3, H5P_DEFAULT, big);
    ck_assert_ptr_null(refusal(f, "w"));
}
END_TEST

START_TEST(half_and_bfloat_are_read_as_numbers)
{
    static const uint16_t half[6] = { 0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600 };
    static const uint16_t brain[6] = { 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0 };
    for (int b = 0; b < 2; b++) {
        hid_t type = H5Tcopy(H5T_IEEE_F32LE), f = begin();
        H5Tset_fields(type, 15, b ? 7 : 10, b ? 8 : 5, 0, b ? 7 : 10);
        H5Tset_size(type, 2);
        H5Tset_ebias(type, b ? 127 : 15);
        add(f, "w", type, 2, two3, H5P_DEFAULT, b ? brain : half);
        H5Tclose(type);
        ck_assert_ptr_null(refusal(f, "w"));
    }
}
END_TEST

START_TEST(wrong_shapes_and_types_are_refused_by_name)
{
    hid_t f = begin();
    add(f, "w", H5T_NATIVE_FLOAT, 2, (hsize_t[]){ 3, 2 }, H5P_DEFAULT, six);
    REFUSED(f, "shape; expected [2,3], found [3,2]");
    f = begin();
    add(f, "w", H5T_NATIVE_FLOAT, 1, (hsize_t[]){ 6 }, H5P_DEFAULT, six);
    REFUSED(f, "expected [2,3], found [6]");
    f = begin();
    add(f, "w", H5T_NATIVE_FLOAT, 0, NULL, H5P_DEFAULT, six);
    REFUSED(f, "expected [2,3], found []");
    f = begin();
    add(f, "w", H5T_NATIVE_FLOAT, 2, (hsize_t[]){ 0, 3 }, H5P_DEFAULT, NULL);
    REFUSED(f, "found [0,3]");
    f = begin();
    add(f, "w", H5T_NATIVE_INT, 2, two3, H5P_DEFAULT, (int[6]){ 0 });
    REFUSED(f, "type; expected float, found int");
    f = begin();
    add(f, "w", H5T_C_S1, 2, two3, H5P_DEFAULT, "abcdef");
    REFUSED(f, "type; ");
    f = begin();
    add(f, "w", H5T_NATIVE_FLOAT, -1, NULL, H5P_DEFAULT, NULL);
    REFUSED(f, "shape; ");
    f = begin();
    H5Gclose(H5Gcreate2(f, "w", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    REFUSED(f, "expected a dataset, found a group");
    REFUSED(begin(), "missing");
}
END_TEST

START_TEST(integers_that_are_no_int_are_refused)
{
    int x[2];
    hid_t f = begin();
    add(f, "w", H5T_NATIVE_LLONG, 1, (hsize_t[]){ 2 }, H5P_DEFAULT, longs);
    add(f, "u", H5T_NATIVE_ULLONG, 1, (hsize_t[]){ 2 }, H5P_DEFAULT, longs);
    H5Fclose(f);
    h5 *in = h5_open(IN_FOLDER("x.h5"), &e);
    ck_assert(!h5_read(in, "w", H5_INTS, DIMS(2), x, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "no int"));
    ck_assert(!h5_read(in, "u", H5_LONGS, DIMS(2), x, &e));
    h5_close(in);
}
END_TEST

START_TEST(links_and_storage_elsewhere_are_refused)
{
    hid_t f = begin(), created = H5Pcreate(H5P_DATASET_CREATE);
    add(f, "real", H5T_NATIVE_FLOAT, 2, two3, H5P_DEFAULT, six);
    H5Lcreate_soft("/real", f, "w", H5P_DEFAULT, H5P_DEFAULT);
    REFUSED(f, "a link");
    f = begin();
    H5Lcreate_external("other.h5", "/w", f, "w", H5P_DEFAULT, H5P_DEFAULT);
    REFUSED(f, "a link");
    f = begin();
    H5Lcreate_soft("/w", f, "w", H5P_DEFAULT, H5P_DEFAULT);
    REFUSED(f, "a link");
    f = begin();
    H5Pset_external(created, "/etc/passwd", 0, 24);
    add(f, "w", H5T_NATIVE_FLOAT, 2, two3, created, NULL);
    REFUSED(f, "storage; ");
}
END_TEST

START_TEST(other_filters_and_layouts_are_refused)
{
    hid_t f = begin(), created = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(created, 2, two3);
    H5Pset_nbit(created);
    add(f, "w", H5T_NATIVE_FLOAT, 2, two3, created, six);
    REFUSED(f, "filter");
    created = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(created, H5D_COMPACT);
    f = begin();
    add(f, "w", H5T_NATIVE_FLOAT, 2, two3, created, six);
    REFUSED(f, "compact");
    created = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(2, two3, NULL);
    H5Pset_virtual(created, space, "other.h5", "w", space);
    f = begin();
    add(f, "w", H5T_NATIVE_FLOAT, 2, two3, created, NULL);
    REFUSED(f, "virtual");
}
END_TEST

START_TEST(data_that_were_never_written_are_refused)
{
    hid_t f = begin(), created = H5Pcreate(H5P_DATASET_CREATE);
    add(f, "w", H5T_NATIVE_FLOAT, 2, two3, H5P_DEFAULT, NULL);
    REFUSED(f, "expected 24 bytes, found 0");
    H5Pset_chunk(created, 2, (hsize_t[]){ 1024, 1024 });
    f = begin();
    add(f, "bomb", H5T_NATIVE_FLOAT, 2, (hsize_t[]){ 1 << 20, 1 << 20 }, created, NULL);
    H5Fclose(f);
    h5 *in = h5_open(IN_FOLDER("x.h5"), &e);
    h5_shape s;
    ck_assert(!h5_find(in, "bomb", &s, &e));
    h5_close(in);
}
END_TEST

START_TEST(names_are_exact)
{
    static const char *const no[] = { "/a/w", "a/w/", "a//w", "./a/w", "a/./w", "a/../a/w", "a/W", "" };
    hid_t f = begin();
    H5Gclose(H5Gcreate2(f, "a", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    add(f, "a/w", H5T_NATIVE_FLOAT, 2, two3, H5P_DEFAULT, six);
    H5Fclose(f);
    h5 *in = h5_open(IN_FOLDER("x.h5"), &e);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        ck_assert_int_ne(h5_has(in, no[i]), H5_DATASET);
    ck_assert_int_eq(h5_has(in, "a/w"), H5_DATASET);
    ck_assert_int_eq(h5_has(in, "a"), H5_GROUP);
    h5_close(in);
}
END_TEST

START_TEST(lists_of_endless_groups_are_refused_soon)
{
    hid_t f = begin();
    H5Lcreate_hard(f, "/", f, "again", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_hard(f, "/", f, "and_again", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(f);
    h5 *in = h5_open(IN_FOLDER("x.h5"), &e);
    long n;
    ck_assert_ptr_null(h5_list(in, "", &n, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "too deep"));
    h5_close(in);

    hid_t group = f = begin();                             /* 18 groups, each in the one before under two names */
    for (int i = 0; i < 18; i++) {
        hid_t inner = H5Gcreate2(group, "a", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Lcreate_hard(group, "a", group, "b", H5P_DEFAULT, H5P_DEFAULT);
        if (group != f)
            H5Gclose(group);
        group = inner;
    }
    H5Gclose(group);
    H5Fclose(f);
    in = h5_open(IN_FOLDER("x.h5"), &e);
    ck_assert_ptr_null(h5_list(in, "", &n, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "too many names"));
    h5_close(in);
}
END_TEST

START_TEST(attributes_of_any_string_type_are_read)
{
    hid_t f = begin(), type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    const char *text = "variable";
    H5Tset_size(type, H5T_VARIABLE);
    hid_t a = H5Acreate2(f, "kind", type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(a, type, &text);
    H5Aclose(a);
    H5Fclose(f);
    h5 *in = h5_open(IN_FOLDER("x.h5"), &e);
    char *kind = h5_text(in, "", "kind", &e);
    ck_assert_str_eq(kind, "variable");
    mem_free(kind);
    double x;
    ck_assert(!h5_number(in, "", "kind", &x, &e));
    ck_assert_ptr_null(h5_text(in, "", "none", &e));
    ck_assert_ptr_nonnull(strstr(e.text, "attribute none: missing"));
    ck_assert_ptr_null(h5_text(in, "nothing", "kind", &e));
    h5_close(in);
}
END_TEST

static TCase *files_case(void)
{
    TCase *c = tcase_create("files");
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, output_appears_only_when_it_is_whole);
    tcase_add_test(c, abandoned_output_leaves_no_trace);
    tcase_add_test(c, any_failing_call_leaves_the_old_file_and_no_temporary);
    tcase_add_test(c, short_and_interrupted_calls_are_taken_up_again);
    tcase_add_test(c, temporaries_of_dead_processes_are_removed);
    tcase_add_test(c, only_regular_files_are_read_and_replaced);
    tcase_add_test(c, a_link_keeps_pointing_at_the_replaced_file);
    tcase_add_test(c, a_file_over_the_limit_is_refused);
    return c;
}

static TCase *hdf5_case(void)
{
    TCase *c = tcase_create("hdf5");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, every_type_comes_back_to_the_bit);
    tcase_add_test(c, lists_are_sorted_and_whole);
    tcase_add_test(c, equal_content_gives_equal_files);
    tcase_add_test(c, hdf5_itself_reads_what_was_written);
    tcase_add_test(c, reals_are_stored_as_floats_only_where_that_loses_nothing);
    tcase_add_test(c, large_data_in_many_blocks_come_back);
    tcase_add_test(c, a_changed_byte_anywhere_is_refused);
    tcase_add_test(c, a_file_cut_or_grown_anywhere_is_refused);
    tcase_add_test(c, other_files_are_refused_with_one_line);
    tcase_add_test(c, a_full_disk_at_any_call_is_an_error_and_leaves_nothing);
    tcase_add_test(c, a_quota_is_an_error_at_every_size);
    tcase_add_test(c, memory_that_runs_out_anywhere_is_an_error);
    tcase_add_test(c, a_killed_writer_leaves_the_old_file_whole);
    return c;
}

static TCase *foreign_case(void)
{
    TCase *c = tcase_create("foreign");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, chunked_compressed_and_foreign_floats_are_read);
    tcase_add_test(c, half_and_bfloat_are_read_as_numbers);
    tcase_add_test(c, wrong_shapes_and_types_are_refused_by_name);
    tcase_add_test(c, integers_that_are_no_int_are_refused);
    tcase_add_test(c, links_and_storage_elsewhere_are_refused);
    tcase_add_test(c, other_filters_and_layouts_are_refused);
    tcase_add_test(c, data_that_were_never_written_are_refused);
    tcase_add_test(c, names_are_exact);
    tcase_add_test(c, lists_of_endless_groups_are_refused_soon);
    tcase_add_test(c, attributes_of_any_string_type_are_read);
    return c;
}

Suite *suite_h5(void)
{
    Suite *s = suite_create("h5");
    suite_add_tcase(s, files_case());
    suite_add_tcase(s, hdf5_case());
    suite_add_tcase(s, foreign_case());
    return s;
}
