/* jpeg.c - JPEG files through libjpeg-turbo: to RGB as PIL's convert("RGB") gives it.
 *
 * ITU T.81 says what a file means; PIL's choices are libjpeg's defaults (accurate integer DCT, smooth
 * upsampling). Grey is repeated. Four components are ink: Adobe stores them inverted, and PIL takes every
 * such file so (YCCK becomes CMYK first):  k = K/255,  r = K - K (255 - C)/255,  each product rounded.
 *
 * libjpeg only warns of damage and fills what is missing with grey: here warnings are errors, but for those
 * that no pixel depends on. It leaves through longjmp, so what is allocated hangs on `struct decoder`. */
#include "data/internal.h"
#include <stdio.h>
#include <jpeglib.h>
#include <jerror.h>
#include <setjmp.h>
#include <string.h>

enum { SCANS = 500, PIXELS_A_BYTE = 512, EXIF_BYTES = 0xFFFF };

struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf out;
    picture *picture;
    uint8_t *row;                                  /* of width pixels, 4 bytes each at most */
    const char *name;
    error *e;
};

/* ---- what libjpeg calls -------------------------------------------------------------------------------- */
static void on_error(j_common_ptr any)
{
    struct decoder *d = any->client_data;
    char message[JMSG_LENGTH_MAX];
    int code = any->err->msg_code;
    any->err->format_message(any, message);
    bool cut = code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JERR_INPUT_EOF;
    error_set(d->e, "%s: damaged JPEG: %s%s", QUOTE(d->name), cut ? "the file is truncated: " : "", message);
    longjmp(d->out, 1);
}

/* A later JFIF, an unknown Adobe transform, and bytes between the markers before the first scan. */
static bool is_harmless(j_common_ptr any)
{
    const struct decoder *d = any->client_data;
    int code = any->err->msg_code;
    return code == JWRN_JFIF_MAJOR || code == JWRN_ADOBE_XFORM
           || (code == JWRN_EXTRANEOUS_DATA && d->jpeg.input_scan_number == 0);
}

static void on_message(j_common_ptr any, int level)
{
    if (level < 0 && !is_harmless(any))            /* a warning; the others are traces */
        on_error(any);
}

/* Many scans over a large picture take hours: called once for each row of blocks. */
static void on_progress(j_common_ptr any)
{
    struct decoder *d = any->client_data;
    if (d->jpeg.input_scan_number <= SCANS)
        return;
    error_set(d->e, "%s: JPEG: too many scans; expected at most %d", QUOTE(d->name), SCANS);
    longjmp(d->out, 1);
}

/* ---- decoding ------------------------------------------------------------------------------------------ */
static void refuse(struct decoder *d, const char *what)
{
    error_set(d->e, "%s: %s", QUOTE(d->name), what);
    longjmp(d->out, 1);
}

/* The limits, before anything of the picture's size is allocated. Huffman's codes take a bit a block of 8 x 8
 * at least. */
static void check_size(struct decoder *d, long bytes)
{
    char what[160];
    long width = d->jpeg.image_width, height = d->jpeg.image_height;
    int parts = d->jpeg.num_components;
    if (width > PICTURE_PIXELS/height)
        snprintf(what, sizeof what, "too large; expected at most %d pixels, found %ld x %ld", PICTURE_PIXELS,
                 width, height);
    else if (!d->jpeg.arith_code && width*height/PIXELS_A_BYTE > bytes)
        snprintf(what, sizeof what, "damaged JPEG: the file is truncated; its %ld bytes cannot hold "
                 "%ld x %ld pixels", bytes, width, height);
    else if (parts != 1 && parts != 3 && parts != 4)
        snprintf(what, sizeof what, "JPEG: components; expected 1, 3 or 4, found %d", parts);
    else
        return;
    refuse(d, what);
}

/* x y/255, rounded */
static int share(int x, int y)
{
    int product = x*y + 128;
    return ((product >> 8) + product) >> 8;
}

/* A row as libjpeg gives it, `parts` bytes a pixel. */
static void put_row(const uint8_t *row, int parts, long n, uint8_t *rgb)
{
    for (long x = 0; x < n; x++, row += parts)
        for (int c = 0; c < 3; c++)
            rgb[3*x + c] = parts == 1 ? row[0] : parts == 3 ? row[c]
                         : (uint8_t)(row[3] - share(255 - row[c], row[3]));
}

static int orientation_of(const struct jpeg_decompress_struct *jpeg)
{
    for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next)
        if (m->marker == JPEG_APP0 + 1 && m->data_length > 6 && !memcmp(m->data, "Exif\0\0", 6))
            return data_exif_orientation(m->data, m->data_length);
    return 1;
}

static bool decode(struct decoder *d, const void *bytes, long n, int *orientation)
{
    struct jpeg_decompress_struct *jpeg = &d->jpeg;
    if (setjmp(d->out))
        return false;
    jpeg_create_decompress(jpeg);
    jpeg->client_data = d;
    jpeg->progress = &d->progress;
    jpeg_mem_src(jpeg, bytes, (unsigned long)n);
    jpeg_save_markers(jpeg, JPEG_APP0 + 1, EXIF_BYTES);
    jpeg_read_header(jpeg, TRUE);
    check_size(d, n);
    *orientation = orientation_of(jpeg);
    jpeg->out_color_space = jpeg->num_components == 1 ? JCS_GRAYSCALE
                          : jpeg->num_components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_start_decompress(jpeg);
    long width = jpeg->output_width;
    d->row = mem_new((size_t)(4*width));
    if (!d->row || !picture_new(d->picture, width, jpeg->output_height, d->e))
        refuse(d, "memory is out");
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *rgb = d->picture->rgb + 3*width*(long)jpeg->output_scanline;
        jpeg_read_scanlines(jpeg, &d->row, 1);
        put_row(d->row, jpeg->output_components, width, rgb);
    }
    return jpeg_finish_decompress(jpeg);
}

bool data_jpeg_decode(picture *p, const void *bytes, long n, int *orientation, const char *name, error *e)
{
    struct decoder d = { .picture = p, .name = name, .e = e };
    d.jpeg.err = jpeg_std_error(&d.errors);
    d.jpeg.client_data = &d;
    d.errors.error_exit = on_error;
    d.errors.emit_message = on_message;
    d.progress.progress_monitor = on_progress;
    bool ok = decode(&d, bytes, n, orientation);
    jpeg_destroy_decompress(&d.jpeg);
    mem_free(d.row);
    if (!ok)
        picture_free(p);
    return ok;
}
