/* test_image.c - PNG files made here byte by byte, and resizing against tables that Pillow 13.0 computed. */
#include "tests/png.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 3 x 2, RGB */
static const uint8_t six[20] = { 0, 1, 2, 3, 40, 50, 60, 255, 254, 253,
                                 0, 7, 8, 9, 70, 80, 90, 170, 180, 190 };

static void check_pixels(const struct png *f, long n, const uint8_t *expected)
{
    picture p;
    error e = { 0 };
    ck_assert_msg(picture_decode(&p, f->bytes, f->n, "test.png", &e), "%s", e.text);
    ck_assert_int_eq(3*p.width*p.height, n);
    for (long i = 0; i < n; i++)
        ck_assert_msg(p.rgb[i] == expected[i], "value %ld: expected %d, found %d", i, expected[i], p.rgb[i]);
    picture_free(&p);
}
#define PIXELS(f, ...) check_pixels(f, sizeof (uint8_t[]){ __VA_ARGS__ }, (uint8_t[]){ __VA_ARGS__ })

static const char *refusal(const void *bytes, long n)
{
    static error e;
    picture p;
    ck_assert_msg(!picture_decode(&p, bytes, n, "test.png", &e), "%ld bytes were taken", n);
    ck_assert_ptr_null(p.rgb);
    ck_assert_msg(!strncmp(e.text, "test.png: ", 10), "%s", e.text);
    ck_assert_ptr_null(strchr(e.text, '\n'));
    return e.text;
}

static void refused(const struct png *f, const char *what)
{
    const char *text = refusal(f->bytes, f->n);
    ck_assert_msg(strstr(text, what), "expected \"%s\" in: %s", what, text);
}

START_TEST(colour_is_taken_as_it_is)
{
    struct png f = png_make(3, 2, 8, 2, six, 20);
    PIXELS(&f, 1, 2, 3, 40, 50, 60, 255, 254, 253, 7, 8, 9, 70, 80, 90, 170, 180, 190);
}
END_TEST

START_TEST(alpha_is_dropped_not_blended)
{
    struct png f = png_make(2, 1, 8, 6, (uint8_t[]){ 0, 10, 20, 30, 0, 40, 50, 60, 128 }, 9);
    PIXELS(&f, 10, 20, 30, 40, 50, 60);
    f = png_make(2, 1, 8, 4, (uint8_t[]){ 0, 10, 0, 200, 7 }, 5);
    PIXELS(&f, 10, 10, 10, 200, 200, 200);
}
END_TEST

START_TEST(grey_of_few_bits_is_scaled_to_255)
{
    struct png f = png_make(8, 1, 1, 0, (uint8_t[]){ 0, 0x41 }, 2);
    PIXELS(&f, 0, 0, 0, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255);
    f = png_make(3, 1, 2, 0, (uint8_t[]){ 0, 0x1b }, 2);
    PIXELS(&f, 0, 0, 0, 85, 85, 85, 170, 170, 170);
    f = png_make(2, 1, 4, 0, (uint8_t[]){ 0, 0x3f }, 2);
    PIXELS(&f, 51, 51, 51, 255, 255, 255);
}
END_TEST

START_TEST(deep_colour_keeps_its_high_byte)
{
    struct png f = png_make(1, 1, 16, 2, (uint8_t[]){ 0, 1, 255, 2, 128, 254, 0 }, 7);
    PIXELS(&f, 1, 2, 254);
}
END_TEST

START_TEST(deep_grey_is_clipped_at_255)
{
    struct png f = png_make(3, 1, 16, 0, (uint8_t[]){ 0, 0, 77, 0, 255, 1, 0 }, 7);
    PIXELS(&f, 77, 77, 77, 255, 255, 255, 255, 255, 255);
}
END_TEST

START_TEST(a_palette_is_looked_up_and_ends_in_black)
{
    struct png f;
    png_begin(&f, 4, 1, 2, 3, 0);
    png_chunk(&f, "PLTE", (uint8_t[]){ 9, 8, 7, 100, 110, 120, 200, 210, 220 }, 9);
    png_chunk(&f, "tRNS", (uint8_t[]){ 0, 99 }, 2);
    png_end(&f, (uint8_t[]){ 0, 0x1b }, 2);
    PIXELS(&f, 9, 8, 7, 100, 110, 120, 200, 210, 220, 0, 0, 0);
}
END_TEST

START_TEST(an_interlaced_picture_is_the_same_picture)
{
    struct png f;                                  /* Adam7 of 3 x 2: passes 1, 4 (x 2), 6 (x 1), 7 (row 1) */
    png_begin(&f, 3, 2, 8, 2, 1);
    png_end(&f, (uint8_t[]){ 0, 1, 2, 3,  0, 255, 254, 253,  0, 40, 50, 60,
                         0, 7, 8, 9, 70, 80, 90, 170, 180, 190 }, 22);
    PIXELS(&f, 1, 2, 3, 40, 50, 60, 255, 254, 253, 7, 8, 9, 70, 80, 90, 170, 180, 190);
}
END_TEST

START_TEST(a_picture_of_one_pixel_fills_a_square)
{
    struct png f = png_make(1, 1, 8, 2, (uint8_t[]){ 0, 3, 100, 255 }, 4);
    picture p;
    error e;
    real pixels[3*4*4];
    ck_assert(picture_decode(&p, f.bytes, f.n, "test.png", &e));
    ck_assert(picture_pixels(&p, 4, pixels, &e));
    for (int i = 0; i < 16; i++) {
        ck_assert(pixels[i] == pixels[0]);
        ck_assert(pixels[32 + i] == pixels[32]);
    }
    picture_free(&p);
}
END_TEST

START_TEST(a_file_cut_anywhere_is_refused)
{
    struct png f = png_make(3, 2, 8, 2, six, 20);
    for (long n = 0; n < 8; n++)
        ck_assert_ptr_nonnull(strstr(refusal(f.bytes, n), "not a picture; expected PNG, JPEG or WebP"));
    for (long n = 8; n < f.n; n++)
        ck_assert_ptr_nonnull(strstr(refusal(f.bytes, n), "truncated"));
}
END_TEST

START_TEST(a_changed_byte_is_refused)
{
    struct png good = png_make(3, 2, 8, 2, six, 20);
    for (long i = 0; i < good.n; i++) {
        struct png f = good;
        f.bytes[i] ^= 0x20;
        refusal(f.bytes, f.n);
    }
}
END_TEST

START_TEST(a_wrong_checksum_is_named)
{
    struct png f = png_make(3, 2, 8, 2, six, 20);
    f.bytes[f.n - 13] ^= 1;                        /* the last byte of IDAT's CRC */
    refused(&f, "damaged PNG: IDAT: CRC error");
    f = png_make(3, 2, 8, 2, six, 20);
    f.bytes[f.n - 1] ^= 1;
    refused(&f, "damaged PNG: IEND: CRC error");
}
END_TEST

START_TEST(missing_rows_are_refused)
{
    struct png f = png_make(3, 2, 8, 2, six, 10);
    refused(&f, "Not enough image data");
    png_begin(&f, 3, 2, 8, 2, 0);
    png_chunk(&f, "IEND", NULL, 0);
    refused(&f, "damaged PNG");
    f = png_make(3, 2, 8, 3, six, 8);
    refused(&f, "Missing PLTE");
}
END_TEST

START_TEST(wrong_headers_say_what_is_wrong)
{
    struct png f = png_make(0, 2, 8, 2, six, 20);
    refused(&f, "Image width is zero");
    f = png_make(3, 2, 3, 2, six, 20);
    refused(&f, "Invalid bit depth");
    f = png_make(3, 2, 8, 5, six, 20);
    refused(&f, "Invalid color type");
}
END_TEST

START_TEST(a_picture_too_large_names_the_limit)
{
    struct png f = png_make(9460, 9460, 8, 2, six, 20);
    refused(&f, "too large; expected at most 89478485 pixels and 1000000 a side, found 9460 x 9460");
    f = png_make(65536, 65536, 8, 2, six, 20);
    refused(&f, "found 65536 x 65536");
    f = png_make(1000001, 1, 1, 0, six, 20);
    refused(&f, "found 1000001 x 1");
}
END_TEST

START_TEST(more_pixels_than_the_file_can_hold_take_no_memory)
{
    struct png f = png_make(9000, 9000, 8, 2, six, 20);
    long before = mem_peak_bytes();
    refused(&f, "cannot hold 9000 x 9000 pixels");
    ck_assert_int_lt(mem_peak_bytes() - before, 8 << 20);
}
END_TEST

START_TEST(other_formats_are_named)
{
    ck_assert_ptr_nonnull(strstr(refusal("GIF89a....", 10), "expected PNG, JPEG or WebP, found GIF"));
    ck_assert_ptr_nonnull(strstr(refusal("BM..........", 12), "found BMP"));
    ck_assert_ptr_nonnull(strstr(refusal("a text", 6), "not a picture; expected PNG, JPEG or WebP"));
}
END_TEST

START_TEST(memory_that_is_out_is_an_error_without_a_leak)
{
    struct png f = png_make(3, 2, 8, 2, six, 20);
    bool done = false;
    for (long nth = 1; !done; nth++) {
        picture p;
        error e = { 0 };
        mem_fail_at(nth, false);
        done = picture_decode(&p, f.bytes, f.n, "test.png", &e);
        mem_fail_at(0, false);
        if (done)
            picture_free(&p);
        else
            ck_assert_msg(e.text[0], "failure of allocation %ld has no text", nth);
        ck_assert_int_lt(nth, 100);
    }
}
END_TEST

/* ---- files ---- */
static void fill(picture *p, long width, long height)
{
    error e;
    ck_assert(picture_new(p, width, height, &e));
    for (long i = 0; i < 3*width*height; i++)
        p->rgb[i] = (uint8_t)((i*i*37 + i*11 + 5) >> 2);
}

START_TEST(what_is_written_is_read_back)
{
    char path[] = "/tmp/blip2-image-XXXXXX";
    ck_assert_int_ge(mkstemp(path), 0);
    picture p, q;
    error e;
    fill(&p, 61, 40);
    ck_assert(picture_write(&p, path, &e));
    ck_assert(picture_read(&q, path, &e));
    ck_assert(p.width == q.width && p.height == q.height);
    ck_assert_mem_eq(p.rgb, q.rgb, 3*61*40);
    picture_free(&p);
    picture_free(&q);
    unlink(path);
}
END_TEST

START_TEST(what_is_no_file_is_refused)
{
    picture p;
    error e;
    ck_assert(!picture_read(&p, "/nowhere/a.png", &e));
    ck_assert_ptr_nonnull(strstr(e.text, "/nowhere/a.png"));
    ck_assert(!picture_read(&p, "/dev/zero", &e));
    ck_assert(!picture_read(&p, "/tmp", &e));
}
END_TEST

/* ---- resizing ---- */
static void check_resize(long width, long height, long to_width, long to_height, const uint8_t *expected)
{
    picture p, q;
    error e;
    fill(&p, width, height);
    ck_assert(picture_resize(&q, &p, to_width, to_height, &e));
    ck_assert(q.width == to_width && q.height == to_height);
    ck_assert_mem_eq(q.rgb, expected, (size_t)(3*to_width*to_height));
    picture_free(&p);
    picture_free(&q);
}

START_TEST(enlarging_gives_the_bytes_of_pillow)
{
    check_resize(3, 2, 5, 4, (uint8_t[]){
        0, 0, 19, 33, 55, 123, 93, 168, 255, 98, 214, 165, 96, 231, 85,
        0, 42, 49, 33, 78, 116, 91, 140, 207, 94, 180, 154, 90, 198, 108,
        1, 154, 110, 35, 125, 103, 87, 84, 99, 85, 112, 131, 78, 135, 153,
        1, 211, 140, 35, 148, 96, 85, 56, 44, 81, 78, 120, 72, 102, 176 });
}
END_TEST

START_TEST(shrinking_gives_the_bytes_of_pillow)
{
    check_resize(9, 7, 4, 3, (uint8_t[]){
        130, 96, 147, 75, 142, 121, 105, 121, 131, 115, 135, 113,
        177, 157, 130, 142, 99, 131, 87, 111, 132, 72, 83, 136,
        146, 150, 138, 179, 98, 120, 161, 129, 158, 40, 117, 129 });
}
END_TEST

START_TEST(a_tall_picture_is_resized_down_first)
{
    check_resize(2, 40, 3, 5, (uint8_t[]){
        114, 113, 131, 106, 123, 130, 98, 133, 129,
        130, 123, 151, 119, 133, 127, 107, 142, 102,
        101, 84, 107, 138, 96, 142, 174, 108, 177,
        108, 147, 122, 118, 137, 125, 128, 127, 128,
        113, 161, 147, 120, 128, 116, 126, 95, 85 });
}
END_TEST

START_TEST(every_byte_of_larger_pictures_is_pillows)
{
    static const struct { long width, height; uint32_t crc; } known[] = {
        { 300, 200, 0xdc638a93 }, { 97, 61, 0xacbdf378 }, { 500, 1000, 0x67d03d7b } };
    for (int i = 0; i < 3; i++) {
        picture p, q;
        error e;
        fill(&p, known[i].width, known[i].height);
        ck_assert(picture_resize(&q, &p, 224, 224, &e));
        ck_assert_uint_eq(png_crc(q.rgb, 3*224*224), known[i].crc);
        picture_free(&p);
        picture_free(&q);
    }
}
END_TEST

START_TEST(the_same_size_is_a_copy)
{
    picture p, q;
    error e;
    fill(&p, 13, 9);
    ck_assert(picture_resize(&q, &p, 13, 9, &e));
    ck_assert_mem_eq(p.rgb, q.rgb, 3*13*9);
    picture_free(&p);
    picture_free(&q);
}
END_TEST

START_TEST(one_colour_stays_one_colour_at_any_size)
{
    static const long sizes[][4] = { { 1, 1, 224, 224 }, { 5, 900, 224, 224 }, { 900, 5, 7, 3 },
        { 17, 31, 16, 32 } };
    for (int i = 0; i < 4; i++) {
        picture p, q;
        error e;
        ck_assert(picture_new(&p, sizes[i][0], sizes[i][1], &e));
        memset(p.rgb, 173, (size_t)(3*p.width*p.height));
        ck_assert(picture_resize(&q, &p, sizes[i][2], sizes[i][3], &e));
        for (long j = 0; j < 3*q.width*q.height; j++)
            ck_assert_int_eq(q.rgb[j], 173);
        picture_free(&p);
        picture_free(&q);
    }
}
END_TEST

START_TEST(a_resize_without_memory_is_an_error)
{
    picture p, q;
    error e;
    fill(&p, 20, 10);
    bool done = false;
    for (long nth = 1; !done; nth++) {
        mem_fail_at(nth, false);
        done = picture_resize(&q, &p, 7, 5, &e);
        mem_fail_at(0, false);
        ck_assert(done || !q.rgb);
        ck_assert_int_lt(nth, 20);
    }
    picture_free(&q);
    picture_free(&p);
}
END_TEST

START_TEST(pixels_are_normalised_by_channel_and_channels_come_first)
{
    uint8_t rgb[12] = { 0, 128, 255, 255, 0, 128, 128, 255, 0, 1, 2, 3 };
    real out[12];
    picture_normalise(rgb, 2, out);
    static const double mean[3] = { 0.48145466, 0.4578275, 0.40821073 };
    static const double deviation[3] = { 0.26862954, 0.26130258, 0.27577711 };
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 4; i++)
            ck_assert_double_eq_tol(out[4*c + i], (rgb[3*i + c]/255.0 - mean[c])/deviation[c],
                                    REAL == 64 ? 1e-15 : 5e-7);
}
END_TEST

Suite *suite_image(void)
{
    Suite *s = suite_create("image");
    TCase *png = tcase_create("png"), *resize = tcase_create("resize");
    tcase_add_test(png, colour_is_taken_as_it_is);
    tcase_add_test(png, alpha_is_dropped_not_blended);
    tcase_add_test(png, grey_of_few_bits_is_scaled_to_255);
    tcase_add_test(png, deep_colour_keeps_its_high_byte);
    tcase_add_test(png, deep_grey_is_clipped_at_255);
    tcase_add_test(png, a_palette_is_looked_up_and_ends_in_black);
    tcase_add_test(png, an_interlaced_picture_is_the_same_picture);
    tcase_add_test(png, a_picture_of_one_pixel_fills_a_square);
    tcase_add_test(png, a_file_cut_anywhere_is_refused);
    tcase_add_test(png, a_changed_byte_is_refused);
    tcase_add_test(png, a_wrong_checksum_is_named);
    tcase_add_test(png, missing_rows_are_refused);
    tcase_add_test(png, wrong_headers_say_what_is_wrong);
    tcase_add_test(png, a_picture_too_large_names_the_limit);
    tcase_add_test(png, more_pixels_than_the_file_can_hold_take_no_memory);
    tcase_add_test(png, other_formats_are_named);
    tcase_add_test(png, memory_that_is_out_is_an_error_without_a_leak);
    tcase_add_test(png, what_is_written_is_read_back);
    tcase_add_test(png, what_is_no_file_is_refused);
    tcase_add_test(resize, enlarging_gives_the_bytes_of_pillow);
    tcase_add_test(resize, shrinking_gives_the_bytes_of_pillow);
    tcase_add_test(resize, a_tall_picture_is_resized_down_first);
    tcase_add_test(resize, every_byte_of_larger_pictures_is_pillows);
    tcase_add_test(resize, the_same_size_is_a_copy);
    tcase_add_test(resize, one_colour_stays_one_colour_at_any_size);
    tcase_add_test(resize, a_resize_without_memory_is_an_error);
    tcase_add_test(resize, pixels_are_normalised_by_channel_and_channels_come_first);
    suite_add_tcase(s, png);
    suite_add_tcase(s, resize);
    return s;
}
