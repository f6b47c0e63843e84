/* test_packages.c - pictures out of fonts, Qt's resource files and clip art, made here byte by byte; and
 * the same files damaged in every place. */
#include "data/packages.h"
#include "tests/tests.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

static error e;
static unpacked u;

/* ---- bytes --------------------------------------------------------------------------------------------- */
typedef struct bytes { uint8_t at[8192]; long n; } bytes;

static void big(bytes *b, uint32_t v, int width)
{
    for (int i = width - 1; i >= 0; i--)
        b->at[b->n++] = (uint8_t)(v >> 8 * i);
}

static void put(bytes *b, const void *from, long n)
{
    memcpy(b->at + b->n, from, (size_t)n);
    b->n += n;
}

static void *png_of(uint8_t red, long side, long *n)
{
    picture p;
    ck_assert(picture_new(&p, side, side, &e));
    for (long i = 0; i < side * side; i++)
        p.rgb[3 * i] = red;
    void *png = picture_encode(&p, n, &e);
    picture_free(&p);
    ck_assert_ptr_nonnull(png);
    return png;
}

/* ---- a font -------------------------------------------------------------------------------------------- */
/* Glyphs 5 and 6 for U+1F600 and U+1F603, red 10 and 20, image format `form`, index format `index`. */
static void make_font(bytes *f, int form, int index)
{
    bytes cmap = { 0 }, cblc = { 0 }, cbdt = { 0 };
    long n, start[3];
    big(&cmap, 0, 2), big(&cmap, 1, 2), big(&cmap, 3, 2), big(&cmap, 10, 2), big(&cmap, 12, 4);
    big(&cmap, 12, 2), big(&cmap, 0, 2), big(&cmap, 40, 4), big(&cmap, 0, 4), big(&cmap, 2, 4);
    big(&cmap, 0x1F600, 4), big(&cmap, 0x1F600, 4), big(&cmap, 5, 4);
    big(&cmap, 0x1F603, 4), big(&cmap, 0x1F603, 4), big(&cmap, 6, 4);
    big(&cbdt, 3, 2), big(&cbdt, 0, 2);
    for (int k = 0; k < 2; k++) {
        void *png = png_of((uint8_t)(10 + 10 * k), 2 + k, &n);
        start[k] = cbdt.n - 4;
        for (int i = 0; i < (form == 17 ? 5 : form == 18 ? 8 : 0); i++)
            big(&cbdt, 9, 1);
        big(&cbdt, (uint32_t)n, 4);
        put(&cbdt, png, n);
        cbdt.n += cbdt.n % 2;
        mem_free(png);
    }
    start[2] = cbdt.n - 4;
    big(&cblc, 3, 2), big(&cblc, 0, 2), big(&cblc, 1, 4);
    big(&cblc, 56, 4), big(&cblc, 40, 4), big(&cblc, 1, 4), big(&cblc, 0, 4);
    for (int i = 0; i < 6; i++)
        big(&cblc, 0, 4);
    big(&cblc, 5, 2), big(&cblc, 6, 2), big(&cblc, 0x01010820, 4);
    big(&cblc, 5, 2), big(&cblc, 6, 2), big(&cblc, 8, 4);
    big(&cblc, (uint32_t)index, 2), big(&cblc, (uint32_t)form, 2), big(&cblc, 4, 4);
    for (int k = 0; k < 3; k++)
        big(&cblc, (uint32_t)start[k], index == 1 ? 4 : 2);
    const char *const tags[] = { "CBDT", "CBLC", "cmap" };
    const bytes *const tables[] = { &cbdt, &cblc, &cmap };
    f->n = 0;
    big(f, 0x00010000, 4), big(f, 3, 2), big(f, 0, 2), big(f, 0, 4);
    for (long k = 0, at = 12 + 48; k < 3; at += tables[k++]->n) {
        put(f, tags[k], 4), big(f, 0, 4);
        big(f, (uint32_t)at, 4), big(f, (uint32_t)tables[k]->n, 4);
    }
    for (int k = 0; k < 3; k++)
        put(f, tables[k]->at, tables[k]->n);
}

static const char names[] = "# group: Smileys\n\n"
    "1F600 ; fully-qualified # X E1.0 grinning face\n"
    "1F603 FE0F ; fully-qualified # X E0.6 grinning face with big eyes\n"
    "1F603 ; unqualified # X E0.6 not this one\n"
    "1F468 200D 1F469 ; fully-qualified # X E2.0 family\n"
    "1F999 ; fully-qualified # X E11.0 llama\n";

static bool unpack_font(const bytes *f)
{
    folder_write_bytes("font.ttf", f->at, f->n);
    folder_write_bytes("names.txt", names, sizeof names - 1);
    return glyphs_unpack(IN_FOLDER("font.ttf"), IN_FOLDER("names.txt"), IN_FOLDER("out"), &u, &e);
}

START_TEST(glyphs_of_a_font_get_their_names)
{
    static bytes f;
    make_font(&f, 17 + _i % 3, _i / 3 ? 3 : 1);
    ck_assert_msg(unpack_font(&f), "%s", e.text);
    ck_assert_int_eq(u.pictures, 2);
    ck_assert_int_eq(u.without_picture, 2);                /* the family, and the llama */
    char *list = folder_load("out/list.jsonl", NULL);
    ck_assert_str_eq(list, "{\"image\":\"u1f600.png\",\"captions\":[\"grinning face\"]}\n"
                     "{\"image\":\"u1f603.png\",\"captions\":[\"grinning face with big eyes\"]}\n");
    mem_free(list);
    picture p;
    ck_assert_msg(picture_read(&p, IN_FOLDER("out/u1f603.png"), &e), "%s", e.text);
    ck_assert(p.width == 3 && p.rgb[0] == 20 && p.rgb[1] == 0);
    picture_free(&p);
}
END_TEST

START_TEST(a_damaged_font_is_an_error_or_loses_glyphs)
{
    static bytes f, damaged;
    make_font(&f, 17, 1);
    long refused = 0;
    for (long n = 0; n < f.n; n += 3) {
        damaged = f;
        damaged.n = n;
        refused += !unpack_font(&damaged);
    }
    ck_assert_int_eq(refused, (f.n + 2) / 3);
    for (long at = 0; at < f.n; at++)
        for (int k = 0; k < 2; k++) {
            damaged = f;
            damaged.at[at] ^= k ? 0x80 : 0xff;
            e.text[0] = 0;
            ck_assert(unpack_font(&damaged) ? u.pictures <= 2 : e.text[0]);
        }
}
END_TEST

/* ---- a resource file ----------------------------------------------------------------------------------- */
/* /a with files b (plain) and c (packed). */
static void make_rcc(bytes *f, int format)
{
    bytes name = { 0 }, data = { 0 }, tree = { 0 };
    uint8_t packed[256];
    uLongf n = sizeof packed;
    const char *const texts[] = { "a", "b", "c" };
    long at[3];
    for (int k = 0; k < 3; k++) {
        at[k] = name.n;
        big(&name, 1, 2), big(&name, 77, 4), big(&name, (uint32_t)*texts[k], 2);
    }
    big(&data, 5, 4), put(&data, "plain", 5);
    long second = data.n;
    ck_assert(compress(packed, &n, (const Bytef *)"packed packed packed", 20) == Z_OK);
    big(&data, (uint32_t)n + 4, 4), big(&data, 20, 4), put(&data, packed, (long)n);
    for (int k = 0; k < 4; k++) {                          /* root, a, b, c */
        big(&tree, k ? (uint32_t)at[k - 1] : 0, 4), big(&tree, k < 2 ? 2 : k == 3, 2);
        if (k < 2)
            big(&tree, k ? 2 : 1, 4), big(&tree, k ? 2 : 1, 4);
        else
            big(&tree, 0, 4), big(&tree, k == 2 ? 0 : (uint32_t)second, 4);
        if (format >= 2)
            big(&tree, 0, 4), big(&tree, 0, 4);
    }
    f->n = 0;
    long head = format >= 3 ? 24 : 20;
    put(f, "qres", 4), big(f, (uint32_t)format, 4), big(f, (uint32_t)(head + data.n + name.n), 4);
    big(f, (uint32_t)head, 4), big(f, (uint32_t)(head + data.n), 4);
    if (format >= 3)
        big(f, 0, 4);
    put(f, data.at, data.n), put(f, name.at, name.n), put(f, tree.at, tree.n);
}

static char seen[8192];

static bool look(void *context, const char *name, const uint8_t *from, long n, error *why)
{
    (void)context, (void)why;
    size_t used = strlen(seen);
    if (used < 4096)
        snprintf(seen + used, sizeof seen - used, "%s=%.*s ", name, n < 1000 ? (int)n : 1000,
                 (const char *)from);
    return true;
}

static bool read_rcc(const bytes *f)
{
    seen[0] = e.text[0] = 0;
    folder_write_bytes("x.rcc", f->at, f->n);
    return rcc_each(IN_FOLDER("x.rcc"), look, NULL, &e);
}

START_TEST(files_come_out_of_a_resource_file)
{
    static bytes f;
    make_rcc(&f, _i);
    ck_assert_msg(read_rcc(&f), "%s", e.text);
    ck_assert_str_eq(seen, "/a/b=plain /a/c=packed packed packed ");
}
END_TEST

START_TEST(a_damaged_resource_file_is_an_error_or_reads_otherwise)
{
    static bytes f, damaged;
    make_rcc(&f, 3);
    for (long n = 0; n < f.n; n++) {
        damaged = f;
        damaged.n = n;
        ck_assert_msg(!read_rcc(&damaged) || n >= f.n - 8, "cut at %ld of %ld", n, f.n);
    }
    for (long at = 0; at < f.n; at++)
        for (int bit = 0; bit < 8; bit++) {
            damaged = f;
            damaged.at[at] ^= (uint8_t)(1 << bit);
            ck_assert(read_rcc(&damaged) || e.text[0]);
        }
    damaged = f;
    damaged.at[7] = 9;
    ck_assert(!read_rcc(&damaged) && strstr(e.text, "format 1 to 3"));
    damaged = f;                                           /* a folder in itself */
    long tree = (long)(f.at[10] << 8 | f.at[11]);
    damaged.at[tree + 22 + 13] = 1;
    ck_assert(!read_rcc(&damaged) && strstr(e.text, "around"));
}
END_TEST

/* ---- clip art ------------------------------------------------------------------------------------------ */
static void add_drawing(const char *name, const char *rdf, bool png)
{
    char text[2048], path[64];
    long n;
    snprintf(text, sizeof text, "<svg><metadata><rdf:RDF><cc:Work>%s</cc:Work></rdf:RDF></metadata></svg>",
             rdf);
    snprintf(path, sizeof path, "svg/%s.svg", name);
    folder_write(path, text);
    snprintf(path, sizeof path, "png/%s.png", name);
    void *bytes_of = png ? png_of(9, 300, &n) : NULL;
    if (png)
        folder_write_bytes(path, bytes_of, n);
    mem_free(bytes_of);
}

static void make_art(void)
{
    static const char *const folders[] = { "svg", "png", "svg/food", "png/food" };
    for (int i = 0; i < 4; i++)
        mkdir(IN_FOLDER(folders[i]), 0777);
    add_drawing("food/pear", "<dc:creator><cc:Agent><dc:title>Jane Doe</dc:title></cc:Agent></dc:creator>"
                "<dc:title>A green_pear &amp; leaf</dc:title><dc:subject><rdf:Bag><rdf:li>fruit</rdf:li>"
                "<rdf:li></rdf:li><rdf:li>HASH(0x1)</rdf:li><rdf:li>pear</rdf:li><rdf:li>food</rdf:li>"
                "</rdf:Bag></dc:subject><dc:description>A pear that lies on a table.</dc:description>", true);
    add_drawing("theme", "<dc:title>Lemon SVG theme</dc:title>", true);
    add_drawing("none", "<dc:title/>", true);
    add_drawing("cat",
                "<dc:title>Cat</dc:title><dc:description>mail me@here.org for more of it</dc:description>",
                true);
    add_drawing("lost", "<dc:title>Lost</dc:title>", false);
    for (int i = 0; i < 9; i++) {
        char name[16];
        snprintf(name, sizeof name, "many%d", i);
        add_drawing(name, "<dc:title>Arrows</dc:title>", true);
    }
}

START_TEST(drawings_have_title_keywords_and_description_as_captions)
{
    make_art();
    ck_assert_msg(clipart_unpack(IN_FOLDER("svg"), IN_FOLDER("png"), IN_FOLDER("out"), &u, &e), "%s", e.text);
    char *list = folder_load("out/list.jsonl", NULL);
    ck_assert_str_eq(list, "{\"image\":\"cat.png\",\"captions\":[\"Cat\"]}\n{\"image\":\"food-pear.png\","
                           "\"captions\":["
                     "\"A green pear & leaf\",\"fruit, food\",\"A pear that lies on a table.\"]}\n");
    mem_free(list);
    ck_assert_int_eq(u.without_picture, 1);                /* lost */
    ck_assert_int_eq(u.without_text, 11);                  /* theme, none, nine arrows */
    picture p;
    ck_assert(picture_read(&p, IN_FOLDER("out/food-pear.png"), &e) && p.width == 256);
    picture_free(&p);
}
END_TEST

START_TEST(a_drawing_of_any_bytes_is_read_or_left_out)
{
    static const char rdf[] =
        "<metadata><dc:creator><dc:title>A</dc:title></dc:creator><dc:title>B &lt;</dc:title>"
        "<dc:subject><rdf:li>c</rdf:li></dc:subject></metadata>";
    char damaged[sizeof rdf];
    long n;
    mkdir(IN_FOLDER("svg"), 0777);
    mkdir(IN_FOLDER("png"), 0777);
    void *png = png_of(9, 2, &n);
    folder_write_bytes("png/x.png", png, n);
    mem_free(png);
    for (size_t at = 0; at < sizeof rdf - 1; at++)
        for (int k = 0; k < 3; k++) {
            memcpy(damaged, rdf, sizeof rdf);
            damaged[at] = "<\xff\0"[k];
            folder_write_bytes("svg/x.svg", damaged, k == 2 ? (long)at : (long)sizeof rdf - 1);
            ck_assert_msg(clipart_unpack(IN_FOLDER("svg"), IN_FOLDER("png"), IN_FOLDER("out"), &u, &e), "%s",
                          e.text);
            ck_assert_int_eq(u.pictures + u.without_text, 1);
        }
}
END_TEST

Suite *suite_packages(void)
{
    Suite *s = suite_create("packages");
    TCase *c = tcase_create("packages");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_loop_test(c, glyphs_of_a_font_get_their_names, 0, 6);
    tcase_add_test(c, a_damaged_font_is_an_error_or_loses_glyphs);
    tcase_add_loop_test(c, files_come_out_of_a_resource_file, 1, 4);
    tcase_add_test(c, a_damaged_resource_file_is_an_error_or_reads_otherwise);
    tcase_add_test(c, drawings_have_title_keywords_and_description_as_captions);
    tcase_add_test(c, a_drawing_of_any_bytes_is_read_or_left_out);
    suite_add_tcase(s, c);
    return s;
}
