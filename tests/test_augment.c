/* test_augment.c - views of a picture: the operations of RandAugment against LAVIS's own with OpenCV, crops
 * and draws by their properties.                                                                           */
#include "data/data.h"
#include "tests/tests.h"
#include <math.h>
#include <string.h>

static error e;

/* ---- the operations ---------------------------------------------------------------------------------- */
static picture make(long width, long height)
{
    picture p;
    ck_assert(picture_new(&p, width, height, &e));
    for (long y = 0; y < height; y++)
        for (long x = 0; x < width; x++)
            for (long c = 0; c < 3; c++) {
                long value = 30 + 7*x + 11*y + 50*c + (x*y + c) % 13 * 6;
                p.rgb[3*(y*width + x) + c] = (uint8_t)(value % 200 + 20);
            }
    return p;
}

static uint64_t digest(const picture *p)                   /* FNV-1a */
{
    uint64_t h = 0xcbf29ce484222325;
    for (long i = 0; i < 3 * p->width * p->height; i++)
        h = (h ^ p->rgb[i]) * 0x100000001b3;
    return h;
}

static const struct { augment_operation operation; double argument; uint64_t digest[2]; } expected[] = {
    { AUGMENT_CONTRAST, 0, { 0x02b122f49f948dbc, 0xb0d3ca5adf493ef9 } },
    { AUGMENT_EQUALIZE, 0, { 0x61b8c9f8ed2644ed, 0x7f9e2eb3b97bb13e } },
    { AUGMENT_BRIGHTNESS, 0.7, { 0x072952865959b9e7, 0xa4044df9c412f5c5 } },
    { AUGMENT_BRIGHTNESS, 1.9, { 0xf60e007fc62db1e1, 0x17a2d5ce6476c1e3 } },
    { AUGMENT_SHARPNESS, 0.1, { 0x27b8728827a26b7a, 0xcdb604ce8b75d909 } },
    { AUGMENT_SHARPNESS, 1.6, { 0x1eac9321388dd745, 0x01e07a593598e901 } },
    { AUGMENT_SHEAR_X, 0.15, { 0x7a04e76a291305b8, 0xbcff1d9a1cc7a89c } },
    { AUGMENT_SHEAR_X, -0.3, { 0xb48eb14a0962bca3, 0x3076b6771187cbdc } },
    { AUGMENT_SHEAR_Y, 0.15, { 0x867ef90f43fc1a71, 0xa6f38e8e14350dda } },
    { AUGMENT_TRANSLATE_X, 5, { 0x3a2d3aed3b391ef7, 0x8b1b79f022d55a03 } },
    { AUGMENT_TRANSLATE_Y, -3.3, { 0x0cb4038fd131772c, 0x1fd2034989d5ddec } },
    { AUGMENT_ROTATE, 15, { 0xfb97f7e35982f699, 0x69959dbc477e5134 } },
    { AUGMENT_ROTATE, -30, { 0x5ee9caabc90c459d, 0x79ca5655818cab50 } },
};
enum { CASES = sizeof expected / sizeof *expected };

START_TEST(an_operation_gives_the_bytes_of_the_reference)          /* tests/augment_values.py */
{
    for (int k = 0; k < 2; k++) {
        picture p = k ? make(37, 21) : make(16, 16);
        ck_assert(picture_augment(&p, expected[_i].operation, expected[_i].argument, &e));
        ck_assert_msg(digest(&p) == expected[_i].digest[k], "operation %d by %g, size %d: 0x%016llx",
                      (int)expected[_i].operation, expected[_i].argument, k, (unsigned long long)digest(&p));
        picture_free(&p);
    }
}
END_TEST

START_TEST(an_operation_by_nothing_changes_nothing)
{
    static const struct { augment_operation operation; double argument; } still[] = {
        { AUGMENT_IDENTITY, 3 }, { AUGMENT_BRIGHTNESS, 1 }, { AUGMENT_SHARPNESS, 1 }, { AUGMENT_SHEAR_X, 0 },
        { AUGMENT_SHEAR_Y, 0 }, { AUGMENT_TRANSLATE_X, 0 }, { AUGMENT_TRANSLATE_Y, 0 },
        { AUGMENT_ROTATE, 0 } };
    for (size_t k = 0; k < sizeof still / sizeof *still; k++) {
        picture p = make(16, 9);
        uint64_t before = digest(&p);
        ck_assert(picture_augment(&p, still[k].operation, still[k].argument, &e));
        ck_assert_msg(digest(&p) == before, "operation %d", (int)still[k].operation);
        picture_free(&p);
    }
}
END_TEST

START_TEST(flat_and_tiny_pictures_pass_all_operations)
{
    for (long size = 1; size <= 3; size++)
        for (int k = 0; k < AUGMENT_OPERATIONS; k++) {
            picture p;
            ck_assert(picture_new(&p, size, 4 - size, &e));
            memset(p.rgb, 77, (size_t)(3 * size * (4 - size)));
            ck_assert(picture_augment(&p, (augment_operation)k, 0.3, &e));
            ck_assert(p.width == size && p.height == 4 - size);
            if (k == AUGMENT_CONTRAST || k == AUGMENT_EQUALIZE || k == AUGMENT_SHARPNESS)
                ck_assert_int_eq(p.rgb[0], 77);            /* there is nothing to spread */
            picture_free(&p);
        }
}
END_TEST

/* ---- crops ------------------------------------------------------------------------------------------- */
START_TEST(crops_lie_inside_and_have_the_area_and_the_aspect_that_were_asked_for)
{
    double areas = 0, lefts = 0;
    enum { DRAWS = 4000 };
    for (uint64_t key = 0; key < DRAWS; key++) {
        crop c = picture_crop(400, 300, 0.5, 1, key);
        ck_assert(c.left >= 0 && c.top >= 0 && c.width > 0 && c.height > 0 && c.left + c.width <= 400
                  && c.top + c.height <= 300);
        double area = (double)(c.width * c.height) / (400 * 300), aspect = (double)c.width / (double)c.height;
        ck_assert(area > 0.495 && area <= 1 && aspect > 0.745 && aspect < 1.345);
        areas += area / DRAWS;
        lefts += c.width < 400 ? (double)c.left / (double)(400 - c.width) / DRAWS : 0.5 / DRAWS;
    }
    ck_assert_double_eq_tol(lefts, 0.5, 0.02);
    ck_assert(areas > 0.6 && areas < 0.75);                /* large ones often do not fit */
}
END_TEST

START_TEST(a_picture_too_thin_for_any_crop_gives_its_middle)
{
    crop wide = picture_crop(1000, 30, 0.5, 1, 5), high = picture_crop(30, 1000, 0.5, 1, 5);
    ck_assert(wide.width == 40 && wide.height == 30 && wide.left == 480 && wide.top == 0);
    ck_assert(high.width == 30 && high.height == 40 && high.left == 0 && high.top == 480);
    crop one = picture_crop(1, 1, 0.5, 1, 5);
    ck_assert(one.width == 1 && one.height == 1 && one.left == 0 && one.top == 0);
}
END_TEST

/* ---- views ------------------------------------------------------------------------------------------- */
static uint64_t look(const picture_view *v, uint64_t key)
{
    picture from = make(40, 30), to;
    ck_assert_msg(picture_look(&to, &from, 16, v, key, &e), "%s", e.text);
    ck_assert(to.width == 16 && to.height == 16);
    uint64_t d = digest(&to);
    picture_free(&from);
    picture_free(&to);
    return d;
}

START_TEST(a_view_is_a_function_of_its_key)
{
    const picture_view v = { 0.5, 1, 0.5, 2, 5 };
    int same = 0;
    for (uint64_t key = 0; key < 100; key++) {
        uint64_t d = look(&v, key);
        ck_assert(d == look(&v, key));
        same += d == look(&v, key + 1);
    }
    ck_assert_int_le(same, 1);
}
END_TEST

START_TEST(without_anything_to_draw_a_view_is_the_resized_picture)
{
    picture from = make(40, 30), to;
    ck_assert(picture_resize(&to, &from, 16, 16, &e));
    ck_assert(look(&(picture_view){ 0 }, 3) == digest(&to));
    picture_free(&from);
    picture_free(&to);
}
END_TEST

START_TEST(half_of_the_views_are_mirror_images)
{
    uint64_t straight = look(&(picture_view){ 0 }, 0), mirrored = look(&(picture_view){ .flip = 1 }, 0);
    int flipped = 0;
    picture p = make(5, 2), twice;
    ck_assert(picture_look(&twice, &p, 5, &(picture_view){ .flip = 1 }, 0, &e));
    picture again;
    ck_assert(picture_look(&again, &twice, 5, &(picture_view){ .flip = 1 }, 0, &e));
    picture_free(&twice);
    ck_assert(picture_resize(&twice, &p, 5, 5, &e));
    ck_assert(digest(&again) == digest(&twice));           /* twice is not at all */
    for (uint64_t key = 0; key < 2000; key++) {
        uint64_t d = look(&(picture_view){ .flip = 0.5 }, key);
        ck_assert(d == straight || d == mirrored);
        flipped += d == mirrored;
    }
    ck_assert(straight != mirrored && flipped > 900 && flipped < 1100);        /* 22 is a deviation */
    picture_free(&p);
    picture_free(&twice);
    picture_free(&again);
}
END_TEST

START_TEST(at_magnitude_five_most_views_of_randaugment_are_left_as_they_are)
{
    /* An operation is done in half of the cases, and 3 of 10 do nothing then: (1 - 0.5*0.7)^2 = 0.42. */
    uint64_t straight = look(&(picture_view){ 0 }, 0);
    int same = 0;
    enum { DRAWS = 2000 };
    for (uint64_t key = 0; key < DRAWS; key++)
        same += look(&(picture_view){ .operations = 2, .magnitude = 5 }, key) == straight;
    ck_assert_double_eq_tol((double)same / DRAWS, 0.4225, 0.04);
}
END_TEST

Suite *suite_augment(void)
{
    Suite *s = suite_create("augment");
    TCase *c = tcase_create("augment");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_loop_test(c, an_operation_gives_the_bytes_of_the_reference, 0, CASES);
    tcase_add_test(c, an_operation_by_nothing_changes_nothing);
    tcase_add_test(c, flat_and_tiny_pictures_pass_all_operations);
    tcase_add_test(c, crops_lie_inside_and_have_the_area_and_the_aspect_that_were_asked_for);
    tcase_add_test(c, a_picture_too_thin_for_any_crop_gives_its_middle);
    tcase_add_test(c, a_view_is_a_function_of_its_key);
    tcase_add_test(c, without_anything_to_draw_a_view_is_the_resized_picture);
    tcase_add_test(c, half_of_the_views_are_mirror_images);
    tcase_add_test(c, at_magnitude_five_most_views_of_randaugment_are_left_as_they_are);
    suite_add_tcase(s, c);
    return s;
}
