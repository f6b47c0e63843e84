/* png.c - PNG files through libpng: to RGB as PIL's convert("RGB") gives it, and from RGB.
 *
 * W3C PNG (third edition) says what a file means; what becomes of it follows PIL:
 *   1, 2 and 4-bit grey is scaled to 0..255;        a palette index beyond the palette is black;
 *   16-bit colour and grey with alpha keep the high byte, 16-bit grey alone is clipped, min(v, 255);
 *   alpha and tRNS are dropped, or the picture is laid on white (of 16-bit files tRNS is dropped always).
 * Rows are decoded into the end of the picture's own rows, one or two bytes a pixel, and widened in place;
 * with alpha into a second picture of four bytes a pixel.
 *
 * libpng leaves through longjmp: everything it can leave behind hangs on `struct codec`, which its caller
 * frees. */
#include "data/internal.h"
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

enum { DEFLATE_RATIO = 1032, MESSAGE = 160 };

struct codec {
    png_structp png;
    png_infop info;
    uint8_t *bytes;                                /* the file */
    size_t at, size;                               /* reading: of size; writing: at used of size */
    picture *picture;
    uint8_t *rgba;                                 /* (height,width,4) if alpha is wanted and there */
    char message[MESSAGE], warning[MESSAGE];
};

/* ---- what libpng calls --------------------------------------------------------------------------------- */
static void on_error(png_structp png, png_const_charp message)
{
    struct codec *c = png_get_error_ptr(png);
    snprintf(c->message, sizeof c->message, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    struct codec *c = png_get_error_ptr(png);      /* kept to explain the error that follows, if any */
    if (!c->warning[0])
        snprintf(c->warning, sizeof c->warning, "%s", message);
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t bytes)
{
    (void)png;
    return mem_new(bytes);
}

static void on_free(png_structp png, png_voidp p)
{
    (void)png;
    mem_free(p);
}

static void on_read(png_structp png, png_bytep to, size_t n)
{
    struct codec *c = png_get_io_ptr(png);
    if (n > c->size - c->at)
        png_error(png, "the file is truncated");
    memcpy(to, c->bytes + c->at, n);
    c->at += n;
}

static void on_write(png_structp png, png_bytep from, size_t n)
{
    struct codec *c = png_get_io_ptr(png);
    if (n > c->size - c->at) {
        size_t size = 2*c->size + n;
        uint8_t *bytes = mem_grow(c->bytes, c->at, size);
        if (!bytes)
            png_error(png, "memory is out");
        c->bytes = bytes;
        c->size = size;
    }
    memcpy(c->bytes + c->at, from, n);
    c->at += n;
}

static void on_flush(png_structp png)
{
    (void)png;
}

/* ---- decoding ------------------------------------------------------------------------------------------ */
/* The limits, before anything of the picture's size is allocated. */
static void check_size(const struct codec *c, png_uint_32 width, png_uint_32 height)
{
    char what[MESSAGE];
    if ((uint64_t)width * height > PICTURE_PIXELS || width > PICTURE_SIDE || height > PICTURE_SIDE)
        snprintf(what, sizeof what, "too large; expected at most %d pixels and %d a side, found %lu x %lu",
                 PICTURE_PIXELS, PICTURE_SIDE, (unsigned long)width, (unsigned long)height);
    else if ((uint64_t)height * png_get_rowbytes(c->png, c->info) / DEFLATE_RATIO > c->size)
        snprintf(what, sizeof what, "the file is truncated; its %zu bytes cannot hold %lu x %lu pixels",
                 c->size, (unsigned long)width, (unsigned long)height);
    else
        return;
    png_error(c->png, what);
}

/* What index or grey value v looks like. */
static void colour_table(const struct codec *c, uint8_t table[256][3])
{
    png_colorp palette = NULL;
    int n = 0;
    bool indexed = png_get_color_type(c->png, c->info) == PNG_COLOR_TYPE_PALETTE;
    if (indexed)
        png_get_PLTE(c->png, c->info, &palette, &n);
    for (int v = 0; v < 256; v++) {
        uint8_t grey = indexed ? 0 : (uint8_t)v;
        png_color colour = v < n ? palette[v] : (png_color){ grey, grey, grey };
        memcpy(table[v], (uint8_t[]){ colour.red, colour.green, colour.blue }, 3);
    }
}

/* Asks libpng for 1 (grey, index), 2 (16-bit grey) or 3 bytes a pixel; returns how many. */
static long set_transforms(const struct codec *c)
{
    int type = png_get_color_type(c->png, c->info), depth = png_get_bit_depth(c->png, c->info);
    bool grey16 = type == PNG_COLOR_TYPE_GRAY && depth == 16;
    if (depth == 16 && !grey16)
        png_set_strip_16(c->png);
    if (type == PNG_COLOR_TYPE_GRAY && depth < 8)
        png_set_expand_gray_1_2_4_to_8(c->png);
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_packing(c->png);
    if (type & PNG_COLOR_MASK_ALPHA)
        png_set_strip_alpha(c->png);
    return grey16 ? 2 : type == PNG_COLOR_TYPE_RGB || type == PNG_COLOR_TYPE_RGB_ALPHA ? 3 : 1;
}

/* A row of n pixels, `bytes` each, stands at the end of its 3 n bytes: no pixel is written before it is
 * read. */
static void widen(uint8_t *row, long n, long bytes, uint8_t table[256][3])
{
    const uint8_t *from = row + (3 - bytes)*n;
    for (long x = 0; x < n && bytes < 3; x++, from += bytes) {
        uint8_t v = bytes == 2 && from[0] ? 255 : from[bytes - 1];
        memcpy(row + 3*x, table[v], 3);
    }
}

/* Asks libpng for red, green, blue and alpha, 8 bits each. */
static void set_alpha(const struct codec *c)
{
    png_set_strip_16(c->png);
    png_set_expand(c->png);                        /* palettes, few bits, tRNS */
    png_set_gray_to_rgb(c->png);
}

/* Pillow spreads grey of 2 and 4 bits over 0 to 255 and then looks for tRNS as it stands: only black is
 * met. */
static bool never_met(const struct codec *c)
{
    int depth = png_get_bit_depth(c->png, c->info), n;
    png_bytep alpha;
    png_color_16p colour = NULL;
    bool spread = png_get_color_type(c->png, c->info) == PNG_COLOR_TYPE_GRAY && (depth == 2 || depth == 4);
    return spread && png_get_tRNS(c->png, c->info, &alpha, &n, &colour) && colour && colour->gray;
}

static bool has_alpha(const struct codec *c)
{
    bool deep = png_get_bit_depth(c->png, c->info) == 16 || never_met(c);
    return (png_get_color_type(c->png, c->info) & PNG_COLOR_MASK_ALPHA)
           || (png_get_valid(c->png, c->info, PNG_INFO_tRNS) && !deep);
}

static int orientation_of(const struct codec *c)
{
    png_uint_32 n = 0;
    png_bytep exif = NULL;
    return png_get_eXIf_1(c->png, c->info, &n, &exif) ? data_exif_orientation(exif, n) : 1;
}

static void begin_reading(struct codec *c)
{
    png_set_crc_action(c->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_user_limits(c->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    /* texts and profiles are skipped */
    png_set_keep_unknown_chunks(c->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_keep_unknown_chunks(c->png, PNG_HANDLE_CHUNK_AS_DEFAULT, (png_const_bytep)"eXIf", 1);
    png_set_read_fn(c->png, c, on_read);
    png_read_info(c->png, c->info);
}

/* What was read, `bytes` a pixel, to RGB. */
static void to_rgb(const struct codec *c, long bytes)
{
    uint8_t table[256][3];
    picture *p = c->picture;
    if (c->rgba) {
        data_on_white(c->rgba, p->rgb, p->width*p->height);
        return;
    }
    colour_table(c, table);
    for (long y = 0; y < p->height; y++)
        widen(p->rgb + 3*y*p->width, p->width, bytes, table);
}

static bool decode(struct codec *c, bool white, int *orientation, error *e)
{
    if (setjmp(png_jmpbuf(c->png)))
        return false;
    begin_reading(c);
    png_uint_32 width = png_get_image_width(c->png, c->info), height = png_get_image_height(c->png, c->info);
    check_size(c, width, height);
    bool alpha = white && has_alpha(c);
    long bytes = 4;
    if (alpha)
        set_alpha(c);
    else
        bytes = set_transforms(c);
    int passes = png_set_interlace_handling(c->png);
    png_read_update_info(c->png, c->info);
    if (png_get_rowbytes(c->png, c->info) != (size_t)bytes*width)
        png_error(c->png, "a row has an unexpected length");
    if (!picture_new(c->picture, width, height, e))
        return false;
    c->rgba = alpha ? mem_new(4*(size_t)width*height) : NULL;
    if (alpha && !c->rgba)
        return false;
    for (int pass = 0; pass < passes; pass++)
        for (png_uint_32 y = 0; y < height; y++)
            png_read_row(c->png, alpha ? c->rgba + 4L*y*width : c->picture->rgb + (3L*y + 3 - bytes)*width,
                         NULL);
    png_read_end(c->png, c->info);
    *orientation = orientation_of(c);
    to_rgb(c, bytes);
    return true;
}

bool data_png_decode(picture *p, const void *bytes, long n, bool white, int *orientation, const char *name,
                     error *e)
{
    struct codec c = { .bytes = (uint8_t *)(uintptr_t)bytes, .size = (size_t)n, .picture = p };
    error_set(e, "%s: memory is out", QUOTE(name));
    c.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &c, on_error, on_warning, NULL, on_malloc,
                                     on_free);
    c.info = c.png ? png_create_info_struct(c.png) : NULL;
    bool ok = c.info && decode(&c, white, orientation, e);
    png_destroy_read_struct(&c.png, &c.info, NULL);
    mem_free(c.rgba);
    if (!ok)
        picture_free(p);
    if (c.message[0])
        error_set(e, "%s: damaged PNG: %s%s%s%s", QUOTE(name), c.message, c.warning[0] ? " (" : "", c.warning,
                  c.warning[0] ? ")" : "");
    return ok;
}

/* ---- encoding ------------------------------------------------------------------------------------------ */
static bool encode(struct codec *c)
{
    const picture *p = c->picture;
    if (setjmp(png_jmpbuf(c->png)))
        return false;
    png_set_write_fn(c->png, c, on_write, on_flush);
    png_set_IHDR(c->png, c->info, (png_uint_32)p->width, (png_uint_32)p->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_filter(c->png, PNG_FILTER_TYPE_BASE, PNG_FILTER_SUB);
    png_set_compression_level(c->png, 4);
    png_write_info(c->png, c->info);
    for (long y = 0; y < p->height; y++)
        png_write_row(c->png, p->rgb + 3*y*p->width);
    png_write_end(c->png, NULL);
    return true;
}

void *picture_encode(const picture *p, long *bytes, error *e)
{
    struct codec c = { .picture = (picture *)(uintptr_t)p };
    c.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &c, on_error, on_warning, NULL, on_malloc,
                                      on_free);
    c.info = c.png ? png_create_info_struct(c.png) : NULL;
    bool ok = c.info && encode(&c);
    png_destroy_write_struct(&c.png, &c.info);
    *bytes = (long)c.at;
    if (ok)
        return c.bytes;
    mem_free(c.bytes);
    error_set(e, "picture: cannot be encoded as PNG: %s", c.message[0] ? c.message : "memory is out");
    return NULL;
}
