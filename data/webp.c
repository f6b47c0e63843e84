/* webp.c - WebP files, lossy and lossless, through libwebp: to RGB as PIL's convert("RGB") gives it.
 * The container is RIFF (RFC 9649): its chunk EXIF says which way up the picture is. Moving pictures are
 * refused. */
#include "data/internal.h"
#include <string.h>
#include <webp/decode.h>

enum { RIFF_HEADER = 12, CHUNK_HEADER = 8 };

static int orientation_of(const uint8_t *bytes, long n)
{
    for (long at = RIFF_HEADER; at <= n - CHUNK_HEADER; ) {
        const uint8_t *chunk = bytes + at;
        long size = chunk[4] | chunk[5] << 8 | chunk[6] << 16 | (long)chunk[7] << 24;
        if (size > n - at - CHUNK_HEADER)
            return 1;
        if (!memcmp(chunk, "EXIF", 4))
            return data_exif_orientation(chunk + CHUNK_HEADER, size);
        at += CHUNK_HEADER + size + size%2;
    }
    return 1;
}

static bool refused(const char *name, VP8StatusCode status, error *e)
{
    bool cut = status == VP8_STATUS_NOT_ENOUGH_DATA || status == VP8_STATUS_SUSPENDED;
    return error_set(e, "%s: %s", QUOTE(name), cut ? "damaged WebP: the file is truncated"
                     : status == VP8_STATUS_OUT_OF_MEMORY ? "memory is out"
                     : status == VP8_STATUS_UNSUPPORTED_FEATURE ? "WebP: a kind that is not supported"
                     : "damaged WebP");
}

/* libwebp's own memory holds the pixels: it is not touched before there are some, so a few bytes that claim a
 * large picture cost nothing. */
static bool decode(const void *bytes, long n, bool alpha, WebPDecoderConfig *c, const char *name, error *e)
{
    c->output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
    VP8StatusCode status = WebPDecode(bytes, (size_t)n, c);
    return status == VP8_STATUS_OK || refused(name, status, e);
}

static bool take_pixels(picture *p, const WebPRGBABuffer *from, long width, long height, bool alpha, error *e)
{
    if (!picture_new(p, width, height, e))
        return false;
    for (long y = 0; y < height; y++)
        if (alpha)
            data_on_white(from->rgba + y*from->stride, p->rgb + 3*y*width, width);
        else
            memcpy(p->rgb + 3*y*width, from->rgba + y*from->stride, (size_t)(3*width));
    return true;
}

bool data_webp_decode(picture *p, const void *bytes, long n, bool white, int *orientation, const char *name,
                      error *e)
{
    WebPDecoderConfig c;
    if (!WebPInitDecoderConfig(&c))
        return error_set(e, "%s: WebP: the library is of another version", QUOTE(name));
    VP8StatusCode status = WebPGetFeatures(bytes, (size_t)n, &c.input);
    if (status != VP8_STATUS_OK)
        return refused(name, status, e);
    long width = c.input.width, height = c.input.height;
    if (c.input.has_animation)
        return error_set(e, "%s: WebP: a moving picture; expected a still one", QUOTE(name));
    if (width > PICTURE_PIXELS/height)
        return error_set(e, "%s: too large; expected at most %d pixels, found %ld x %ld", QUOTE(name),
                         PICTURE_PIXELS, width, height);
    bool alpha = white && c.input.has_alpha;
    bool ok = decode(bytes, n, alpha, &c, name, e)
              && take_pixels(p, &c.output.u.RGBA, width, height, alpha, e);
    if (ok)
        *orientation = orientation_of(bytes, n);
    WebPFreeDecBuffer(&c.output);
    return ok;
}
