/* test_photo.c - JPEG and WebP files made here by their libraries' encoders, damage in them, alpha on white,
 * and the eight ways up. Numbers beside inks and alpha are Pillow 13's. */
#include "tests/png.h"
#include <stdio.h>
#include <stdlib.h>
#include <jpeglib.h>
#include <string.h>
#include <webp/encode.h>

/* ---- a JPEG file ---- */
struct file { uint8_t *bytes; unsigned long n; };
enum kind { BASELINE, PROGRESSIVE, SEPARATE };     /* SEPARATE: a scan for each component */

/* pixels (height,width,parts), of quality 100, the first `parts` colours of a file */
static struct file jpeg(enum kind kind, int width, int height, int parts, const uint8_t *pixels)
{
    static const jpeg_scan_info scans[3] = { { 1, { 0 }, 0, 63, 0, 0 }, { 1, { 1 }, 0, 63, 0, 0 },
                                             { 1, { 2 }, 0, 63, 0, 0 } };
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    struct file f = { 0 };
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &f.bytes, &f.n);
    c.image_width = (JDIMENSION)width;
    c.image_height = (JDIMENSION)height;
    c.input_components = parts;
    c.in_color_space = parts == 1 ? JCS_GRAYSCALE : parts == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, 100, TRUE);
    if (kind == PROGRESSIVE)
        jpeg_simple_progression(&c);
    if (kind == SEPARATE) {
        c.scan_info = scans;
        c.num_scans = 3;
    }
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < c.image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (long)c.next_scanline*width*parts);
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    return f;
}

static struct file waves(enum kind kind)
{
    uint8_t pixels[40*24*3];
    for (int i = 0; i < 40*24*3; i++)
        pixels[i] = (uint8_t)(i/120*9 + i%120*2);
    return jpeg(kind, 40, 24, 3, pixels);
}

static const char *refusal(const void *bytes, unsigned long n)
{
    static error e;
    picture p;
    ck_assert_msg(!picture_decode(&p, bytes, (long)n, "test.jpg", &e), "%ld bytes were taken", (long)n);
    ck_assert_ptr_null(p.rgb);
    ck_assert_msg(!strncmp(e.text, "test.jpg: ", 10) && !strchr(e.text, '\n'), "%s", e.text);
    return e.text;
}

static void refused(const struct file *f, const char *what)
{
    const char *text = refusal(f->bytes, f->n);
    ck_assert_msg(strstr(text, what), "expected \"%s\" in: %s", what, text);
}

static void taken(picture *p, picture_reference as, const void *bytes, unsigned long n)
{
    error e = { 0 };
    ck_assert_msg(picture_decode_as(p, as, bytes, (long)n, "test", &e), "%s", e.text);
}

/* A file of 16 x 16 pixels of one colour comes back as this one. */
static void one_colour(int parts, const uint8_t *stored, const uint8_t *expected)
{
    uint8_t pixels[16*16*4];
    picture p;
    for (int i = 0; i < 16*16; i++)
        memcpy(pixels + i*parts, stored, (size_t)parts);
    struct file f = jpeg(BASELINE, 16, 16, parts, pixels);
    taken(&p, PICTURE_LAVIS, f.bytes, f.n);
    for (int i = 0; i < 16*16*3; i++)
        ck_assert_int_eq(p.rgb[i], expected[i%3]);
    picture_free(&p);
    free(f.bytes);
}

START_TEST(grey_is_repeated)
{
    one_colour(1, (uint8_t[]){ 77 }, (uint8_t[]){ 77, 77, 77 });
}
END_TEST

START_TEST(ink_is_inverted_and_becomes_light)
{
    one_colour(4, (uint8_t[]){ 200, 100, 50, 180 }, (uint8_t[]){ 141, 71, 35 });
    one_colour(4, (uint8_t[]){ 255, 255, 255, 255 }, (uint8_t[]){ 255, 255, 255 });
    one_colour(4, (uint8_t[]){ 10, 200, 255, 0 }, (uint8_t[]){ 0, 0, 0 });
}
END_TEST

START_TEST(a_progressive_file_holds_the_same_picture)
{
    struct file plain = waves(BASELINE), other[2] = { waves(PROGRESSIVE), waves(SEPARATE) };
    picture p, q;
    taken(&p, PICTURE_LAVIS, plain.bytes, plain.n);
    ck_assert(p.width == 40 && p.height == 24);
    for (int i = 0; i < 2; i++) {
        taken(&q, PICTURE_LAVIS, other[i].bytes, other[i].n);
        ck_assert_mem_eq(p.rgb, q.rgb, 3*40*24);
        picture_free(&q);
        free(other[i].bytes);
    }
    picture_free(&p);
    free(plain.bytes);
}
END_TEST

START_TEST(a_jpeg_file_cut_anywhere_is_refused)
{
    for (int kind = BASELINE; kind <= PROGRESSIVE; kind++) {
        struct file f = waves(kind);
        for (unsigned long n = 2; n < f.n; n++)
            ck_assert_ptr_nonnull(strstr(refusal(f.bytes, n), "truncated"));
        free(f.bytes);
    }
}
END_TEST

START_TEST(bytes_behind_the_end_do_not_matter)
{
    struct file f = waves(BASELINE);
    uint8_t *longer = calloc(1, f.n + 50);
    picture p;
    memcpy(longer, f.bytes, f.n);
    taken(&p, PICTURE_LAVIS, longer, f.n + 50);
    picture_free(&p);
    free(longer);
    free(f.bytes);
}
END_TEST

START_TEST(a_changed_byte_is_taken_or_refused_in_order)
{
    for (int kind = BASELINE; kind <= SEPARATE; kind++) {
        struct file f = waves(kind);
        for (unsigned long i = 2; i < f.n; i++) {
            picture p;
            error e = { 0 };
            f.bytes[i] ^= (uint8_t)(1 << i%8);
            if (picture_decode(&p, f.bytes, (long)f.n, "test.jpg", &e))
                picture_free(&p);
            else
                ck_assert_msg(!strncmp(e.text, "test.jpg: ", 10) && !p.rgb, "%s", e.text);
            f.bytes[i] ^= (uint8_t)(1 << i%8);
        }
        free(f.bytes);
    }
}
END_TEST

static uint8_t *find(const struct file *f, int marker)
{
    for (unsigned long i = 0; i + 1 < f->n; i++)
        if (f->bytes[i] == 0xff && f->bytes[i + 1] == marker)
            return f->bytes + i;
    return NULL;
}

START_TEST(jpeg_sizes_that_cannot_be_take_no_memory)
{
    struct file f = waves(BASELINE);
    uint8_t *size = find(&f, 0xc0) + 5;            /* height, width */
    long before = mem_peak_bytes();
    memcpy(size, (uint8_t[]){ 0xff, 0xdc, 0xff, 0xdc }, 4);
    refused(&f, "too large; expected at most 89478485 pixels, found 65500 x 65500");
    memcpy(size, (uint8_t[]){ 0x23, 0x28, 0x23, 0x28 }, 4);
    refused(&f, "cannot hold 9000 x 9000 pixels");
    memcpy(size, (uint8_t[]){ 0, 0, 0, 48 }, 4);
    refused(&f, "damaged JPEG: ");
    ck_assert_int_lt(mem_peak_bytes() - before, 8 << 20);
    free(f.bytes);
}
END_TEST

/* JFIF 2, and two bytes that belong to no marker before the first scan. */
START_TEST(what_is_no_damage_does_not_refuse_a_jpeg)
{
    struct file f = waves(SEPARATE);
    error e = { 0 };
    picture p;
    uint8_t *more = malloc(f.n + 2), *table = find(&f, 0xdb);
    size_t before = (size_t)(table - f.bytes);
    f.bytes[11] = 2;
    memcpy(more, f.bytes, before);
    memset(more + before, 0, 2);
    memcpy(more + before + 2, table, f.n - before);
    ck_assert_msg(picture_decode(&p, more, (long)f.n + 2, "test.jpg", &e), "%s", e.text);
    picture_free(&p);
    free(more);
    free(f.bytes);
}
END_TEST

START_TEST(a_file_of_too_many_scans_is_refused)
{
    struct file f = waves(SEPARATE);
    unsigned long last = 0;                        /* where the last scan begins; the end has two bytes */
    for (unsigned long i = 0; i + 1 < f.n; i++)
        last = f.bytes[i] == 0xff && f.bytes[i + 1] == 0xda ? i : last;
    unsigned long scan = f.n - 2 - last;
    uint8_t *many = malloc(f.n + 600*scan);
    memcpy(many, f.bytes, f.n);
    for (unsigned long i = 0; i < 600; i++)
        memcpy(many + f.n - 2 + i*scan, f.bytes + last, scan);
    memcpy(many + f.n - 2 + 600*scan, f.bytes + f.n - 2, 2);
    ck_assert_ptr_nonnull(strstr(refusal(many, f.n + 600*scan), "too many scans; expected at most 500"));
    picture p;
    memcpy(many + f.n - 2 + 400*scan, f.bytes + f.n - 2, 2);
    taken(&p, PICTURE_LAVIS, many, f.n + 400*scan);
    picture_free(&p);
    free(many);
    free(f.bytes);
}
END_TEST

static void each_allocation_may_fail(const void *bytes, unsigned long n)
{
    bool done = false;
    for (long nth = 1; !done; nth++) {
        picture p;
        error e = { 0 };
        mem_fail_at(nth, false);
        done = picture_decode_as(&p, PICTURE_HF, bytes, (long)n, "test", &e);
        mem_fail_at(0, false);
        if (done)
            picture_free(&p);
        else
            ck_assert_msg(strstr(e.text, "memory"), "allocation %ld: %s", nth, e.text);
        ck_assert_int_lt(nth, 100);
    }
}

START_TEST(a_jpeg_without_memory_is_an_error)
{
    struct file f = waves(PROGRESSIVE);
    each_allocation_may_fail(f.bytes, f.n);
    free(f.bytes);
}
END_TEST

/* ---- which way up ---- */
static const char abc[20] = { 0, 'a', 'a', 'a', 'b', 'b', 'b', 'c', 'c', 'c',
                              0, 'd', 'd', 'd', 'e', 'e', 'e', 'f', 'f', 'f' };
static const uint8_t turned[26] = { 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1,         /* a directory of one entry */
                                    1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0 };

static struct png with_exif(const uint8_t *exif, long n)
{
    struct png f;
    png_begin(&f, 3, 2, 8, 2, 0);
    png_chunk(&f, "eXIf", exif, n);
    png_end(&f, (const uint8_t *)abc, 20);
    return f;
}

/* rows of letters, with a blank between them */
static void looks(const struct png *f, picture_reference as, const char *expected)
{
    picture p;
    char rows[16] = "";
    taken(&p, as, f->bytes, (unsigned long)f->n);
    for (long i = 0, at = 0; i < p.width*p.height; i++) {
        if (i && i%p.width == 0)
            rows[at++] = ' ';
        rows[at++] = (char)p.rgb[3*i];
    }
    ck_assert_str_eq(rows, expected);
    picture_free(&p);
}

START_TEST(exif_turns_a_picture_in_eight_ways)
{
    static const char *const ways[] = { "abc def", "abc def", "cba fed", "fed cba", "def abc", "ad be cf",
                                        "da eb fc", "fc eb da", "cf be ad", "abc def" };
    for (int o = 0; o < 10; o++) {
        uint8_t exif[26];
        memcpy(exif, turned, 26);
        exif[19] = (uint8_t)o;
        struct png f = with_exif(exif, 26);
        looks(&f, PICTURE_HF, ways[o]);
        looks(&f, PICTURE_LAVIS, "abc def");
    }
}
END_TEST

START_TEST(both_orders_of_bytes_are_read)
{
    static const uint8_t exif[26] = { 'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 8, 0 };
    struct png f = with_exif(exif, 26);
    looks(&f, PICTURE_HF, "cf be ad");
}
END_TEST

START_TEST(a_damaged_exif_block_turns_nothing)
{
    for (long n = 1; n < 22; n++) {
        struct png f = with_exif(turned, n);
        looks(&f, PICTURE_HF, "abc def");
    }
    for (int i = 0; i < 19; i++) {                 /* what a changed byte means, the picture stays whole */
        uint8_t exif[26];
        picture p;
        memcpy(exif, turned, 26);
        exif[i] ^= 0xff;
        struct png f = with_exif(exif, 26);
        taken(&p, PICTURE_HF, f.bytes, (unsigned long)f.n);
        ck_assert_int_eq(p.width*p.height, 6);
        picture_free(&p);
    }
}
END_TEST

START_TEST(a_jpeg_file_is_turned_too)
{
    struct file f = waves(BASELINE);
    uint8_t *whole = malloc(f.n + 36);
    picture p;
    memcpy(whole, f.bytes, 2);
    memcpy(whole + 2, "\xff\xe1\0\x22" "Exif\0", 10);
    memcpy(whole + 12, turned, 26);
    memcpy(whole + 38, f.bytes + 2, f.n - 2);
    taken(&p, PICTURE_HF, whole, f.n + 36);
    ck_assert(p.width == 24 && p.height == 40);
    picture_free(&p);
    taken(&p, PICTURE_LAVIS, whole, f.n + 36);
    ck_assert(p.width == 40 && p.height == 24);
    picture_free(&p);
    each_allocation_may_fail(whole, f.n + 36);
    free(whole);
    free(f.bytes);
}
END_TEST

/* ---- alpha ---- */
static void white(const struct png *f, int n, const uint8_t *expected)
{
    picture p;
    taken(&p, PICTURE_HF, f->bytes, (unsigned long)f->n);
    for (int i = 0; i < n; i++)
        ck_assert_msg(p.rgb[i] == expected[i], "%d: expected %d, found %d", i, expected[i], p.rgb[i]);
    picture_free(&p);
}

START_TEST(alpha_is_laid_on_white)
{
    struct png f = png_make(3, 1, 8, 6, (uint8_t[]){ 0, 10, 20, 30, 0, 0, 100, 200, 128, 1, 2, 3, 255 }, 13);
    white(&f, 9, (uint8_t[]){ 255, 255, 255, 127, 177, 227, 1, 2, 3 });
    f = png_make(1, 1, 16, 4, (uint8_t[]){ 0, 200, 100, 200, 100 }, 5);
    white(&f, 3, (uint8_t[]){ 212, 212, 212 });
    each_allocation_may_fail(f.bytes, (unsigned long)f.n);
}
END_TEST

START_TEST(a_transparent_colour_is_white)
{
    struct png f;
    png_begin(&f, 4, 1, 8, 0, 0);
    png_chunk(&f, "tRNS", (uint8_t[]){ 0, 5 }, 2);
    png_end(&f, (uint8_t[]){ 0, 0, 5, 6, 255 }, 5);
    white(&f, 12, (uint8_t[]){ 0, 0, 0, 255, 255, 255, 6, 6, 6, 255, 255, 255 });
    png_begin(&f, 4, 1, 2, 3, 0);
    png_chunk(&f, "PLTE", (uint8_t[]){ 9, 8, 7, 100, 110, 120, 200, 210, 220 }, 9);
    png_chunk(&f, "tRNS", (uint8_t[]){ 0, 128 }, 2);
    png_end(&f, (uint8_t[]){ 0, 0x1b }, 2);
    white(&f, 12, (uint8_t[]){ 255, 255, 255, 177, 182, 187, 200, 210, 220, 0, 0, 0 });
    for (uint8_t v = 0; v < 2; v++) {                      /* of 2-bit grey Pillow knows black alone */
        png_begin(&f, 4, 1, 2, 0, 0);
        png_chunk(&f, "tRNS", (uint8_t[]){ 0, v }, 2);
        png_end(&f, (uint8_t[]){ 0, 0x1b }, 2);
        uint8_t first = v ? 0 : 255;
        white(&f, 12, (uint8_t[]){ first, first, first, 85, 85, 85, 170, 170, 170, 255, 255, 255 });
    }
}
END_TEST

/* ---- WebP ---- */
static struct file webp(bool alpha)
{
    uint8_t rgba[30*20*4], *bytes;
    for (int i = 0; i < 30*20*4; i++)
        rgba[i] = (uint8_t)(i*i*7 >> 3);
    if (alpha)
        memset(rgba + 3, 0, 1);
    size_t n = alpha ? WebPEncodeLosslessRGBA(rgba, 30, 20, 120, &bytes)
                     : WebPEncodeLosslessRGB(rgba, 30, 20, 90, &bytes);
    ck_assert(n > 0);
    return (struct file){ bytes, n };
}

START_TEST(lossless_webp_comes_back)
{
    struct file f = webp(false);
    picture p;
    taken(&p, PICTURE_LAVIS, f.bytes, f.n);
    ck_assert(p.width == 30 && p.height == 20);
    for (int i = 0; i < 30*20*3; i++)
        ck_assert_int_eq(p.rgb[i], (uint8_t)(i*i*7 >> 3));
    picture_free(&p);
    each_allocation_may_fail(f.bytes, f.n);
    WebPFree(f.bytes);
}
END_TEST

START_TEST(webp_alpha_is_laid_on_white)
{
    struct file f = webp(true);
    picture p;
    taken(&p, PICTURE_HF, f.bytes, f.n);
    ck_assert(p.rgb[0] == 255 && p.rgb[1] == 255 && p.rgb[2] == 255);
    int a = (uint8_t)(7*7*7 >> 3), red = (uint8_t)(4*4*7 >> 3);
    ck_assert_int_eq(p.rgb[3], (red*a + 255*(255 - a) + 127)/255);
    picture_free(&p);
    each_allocation_may_fail(f.bytes, f.n);
    WebPFree(f.bytes);
}
END_TEST

START_TEST(a_webp_file_cut_anywhere_is_refused)
{
    struct file f = webp(false);
    for (unsigned long n = 12; n < f.n; n++)
        refusal(f.bytes, n);
    ck_assert_ptr_nonnull(strstr(refusal(f.bytes, f.n/2), "damaged WebP: the file is truncated"));
    WebPFree(f.bytes);
}
END_TEST

START_TEST(a_moving_picture_is_refused)
{
    static const uint8_t head[30] = "RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x0f\0\0\x0f\0\0";
    ck_assert_ptr_nonnull(strstr(refusal(head, 30), "a moving picture; expected a still one"));
}
END_TEST

START_TEST(webp_sizes_without_pixels_take_no_memory)
{
    static const uint8_t lie[49] =
        "RIFF\x29\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\x27\x23\0\x27\x23\0VP8L\x0b\0\0\0"
        "\x2f\x27\xe3\xc9\x18";                   /* 9000 x 9000 with alpha, and no pixel */
    picture p;
    error e = { 0 };
    long before = mem_peak_bytes();
    ck_assert(!picture_decode_as(&p, PICTURE_HF, lie, 49, "test", &e));
    ck_assert_msg(strstr(e.text, "damaged WebP"), "%s", e.text);
    ck_assert_int_lt(mem_peak_bytes() - before, 64 << 20);
}
END_TEST

Suite *suite_photo(void)
{
    Suite *s = suite_create("photo");
    TCase *jpegs = tcase_create("jpeg"), *rules = tcase_create("rules"), *webps = tcase_create("webp");
    tcase_add_test(jpegs, grey_is_repeated);
    tcase_add_test(jpegs, ink_is_inverted_and_becomes_light);
    tcase_add_test(jpegs, a_progressive_file_holds_the_same_picture);
    tcase_add_test(jpegs, a_jpeg_file_cut_anywhere_is_refused);
    tcase_add_test(jpegs, bytes_behind_the_end_do_not_matter);
    tcase_add_test(jpegs, a_changed_byte_is_taken_or_refused_in_order);
    tcase_add_test(jpegs, jpeg_sizes_that_cannot_be_take_no_memory);
    tcase_add_test(jpegs, what_is_no_damage_does_not_refuse_a_jpeg);
    tcase_add_test(jpegs, a_file_of_too_many_scans_is_refused);
    tcase_add_test(jpegs, a_jpeg_without_memory_is_an_error);
    tcase_add_test(rules, exif_turns_a_picture_in_eight_ways);
    tcase_add_test(rules, both_orders_of_bytes_are_read);
    tcase_add_test(rules, a_damaged_exif_block_turns_nothing);
    tcase_add_test(rules, a_jpeg_file_is_turned_too);
    tcase_add_test(rules, alpha_is_laid_on_white);
    tcase_add_test(rules, a_transparent_colour_is_white);
    tcase_add_test(webps, lossless_webp_comes_back);
    tcase_add_test(webps, webp_alpha_is_laid_on_white);
    tcase_add_test(webps, a_webp_file_cut_anywhere_is_refused);
    tcase_add_test(webps, a_moving_picture_is_refused);
    tcase_add_test(webps, webp_sizes_without_pixels_take_no_memory);
    suite_add_tcase(s, jpegs);
    suite_add_tcase(s, rules);
    suite_add_tcase(s, webps);
    return s;
}
