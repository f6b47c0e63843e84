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

/* bytes a pixel: 3, or 4 with alpha */
static bool decode(const void *bytes, long n, int each, uint8_t *to, WebPDecoderConfig *c, const char *name,
                   error *e)
{
    long stride = (long)each*c->input.width, size = stride*c->input.height;
    c->output.colorspace = each == 4 ? MODE_RGBA : MODE_RGB;
    c->output.is_external_memory = 1;
    c->output.u.RGBA = (WebPRGBABuffer){ to, (int)stride, (size_t)size };
    VP8StatusCode status = WebPDecode(bytes, (size_t)n, c);
    WebPFreeDecBuffer(&c->output);
    return status == VP8_STATUS_OK || refused(name, status, e);
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
    bool blend = white && c.input.has_alpha;
    uint8_t *rgba = blend ? mem_new((size_t)(4*width*height)) : NULL;
    bool ok = (!blend || rgba || data_no_memory(e, name)) && picture_new(p, width, height, e)
              && decode(bytes, n, blend ? 4 : 3, blend ? rgba : p->rgb, &c, name, e);
    if (ok && blend)
        data_on_white(rgba, p->rgb, width*height);
    if (ok)
        *orientation = orientation_of(bytes, n);
    mem_free(rgba);
    if (!ok)
        picture_free(p);
    return ok;
}
