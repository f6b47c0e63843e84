/* test_h5_foreign.c - HDF5 files that others made: what is plain is read, all else is refused by name. */
#include "tests/tests.h"
#include <hdf5.h>
#include <stdio.h>
#include <string.h>

static error e;
static const int64_t longs[2] = { INT64_MIN, INT64_MAX };

/* ---- HDF5: files of others ----------------------------------------------------------------------------- */
static hid_t begin(void)
{
    return H5Fcreate(IN_FOLDER("x.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
}

static void add(hid_t f, const char *name, hid_t type, int ndim, const hsize_t *dim, hid_t created,
                const void *data)
{
    hid_t space = ndim > 0 ? H5Screate_simple(ndim, dim, NULL) : H5Screate(ndim ? H5S_NULL : H5S_SCALAR);
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
#define REFUSED(f, what) do { \
    const char *said_ = refusal((f), "w"); \
    ck_assert_ptr_nonnull(said_); \
    ck_assert_msg(strstr(said_, what) && strstr(said_, "x.h5: w: "), "%s", said_); \
} while (0)

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
    REFUSED(f, "neither contiguous nor chunked");
    created = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(2, two3, NULL);
    H5Pset_virtual(created, space, "other.h5", "w", space);
    f = begin();
    add(f, "w", H5T_NATIVE_FLOAT, 2, two3, created, NULL);
    REFUSED(f, "neither contiguous nor chunked");
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

    hid_t group = f = begin();  /* 18 groups, each in the one before under two names */
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

Suite *suite_h5_foreign(void)
{
    Suite *s = suite_create("h5_foreign");
    TCase *c = tcase_create("hdf5");
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
    suite_add_tcase(s, c);
    return s;
}
