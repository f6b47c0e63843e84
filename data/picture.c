/* picture.c - a picture's memory and its files: the first bytes of a file, not its name, say what it is
 * (data.h). */
#include "data/data.h"
#include "data/internal.h"
#include "data/packages.h"
#include <string.h>

enum { FILE_LIMIT = 1 << 30 };                     /* 89 million pixels of 8 bytes each do not fill this */

bool picture_new(picture *p, long width, long height, error *e)
{
    *p = (picture){ width, height, NULL };
    if (width < 1 || height < 1 || width > PICTURE_PIXELS / height)
        return error_set(e, "picture: size; expected 1 to %d pixels, found %ld x %ld", PICTURE_PIXELS, width,
                         height);
    p->rgb = mem_new((size_t)(3*width*height));
    return p->rgb || error_set(e, "picture: memory is out; %ld x %ld pixels asked for", width, height);
}

void picture_free(picture *p)
{
    mem_free(p->rgb);
    *p = (picture){ 0 };
}

/* The format that the first bytes of a file announce, NULL if none that we know. */
static const char *format_of(const unsigned char *s, long n)
{
    static const struct { const char *name, *magic; int at, length; } known[] = {
        { "PNG", "\x89PNG\r\n\x1a\n", 0, 8 }, { "JPEG", "\xff\xd8", 0, 2 }, { "WebP", "WEBP", 8, 4 },
        { "GIF", "GIF8", 0, 4 }, { "BMP", "BM", 0, 2 }, { "TIFF", "II*\0", 0, 4 }, { "TIFF", "MM\0*", 0, 4 },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (n >= known[i].at + known[i].length
            && !memcmp(s + known[i].at, known[i].magic, (size_t)known[i].length))
            return known[i].name;
    return NULL;
}

bool picture_decode_as(picture *p, picture_reference as, const void *bytes, long n, const char *name,
                       error *e)
{
    bool hf = as == PICTURE_HF, ok;
    int orientation = 1;
    *p = (picture){ 0 };
    const char *format = format_of(bytes, n);
    if (!format)
        return error_set(e, "%s: not a picture; expected PNG, JPEG or WebP, found %ld bytes of something "
                         "else", QUOTE(name), n);
    if (!strcmp(format, "PNG"))
        ok = data_png_decode(p, bytes, n, hf, &orientation, name, e);
    else if (!strcmp(format, "JPEG"))
        ok = data_jpeg_decode(p, bytes, n, &orientation, name, e);
    else if (!strcmp(format, "WebP"))
        ok = data_webp_decode(p, bytes, n, hf, &orientation, name, e);
    else
        return error_set(e, "%s: picture format: not built in this version; expected PNG, JPEG or WebP, "
                         "found %s", QUOTE(name), format);
    if (!ok || !hf || data_turn(p, orientation, e))
        return ok;
    picture_free(p);
    return false;
}

bool picture_read_as(picture *p, picture_reference as, const char *path, error *e)
{
    *p = (picture){ 0 };
    long n;
    bool packed = strstr(path, ".h5#") != NULL;
    void *bytes = packed ? pack_picture(path, &n, e) : file_load(path, FILE_LIMIT, &n, e);
    bool ok = bytes && picture_decode_as(p, as, bytes, n, path, e);
    mem_free(bytes);
    return ok;
}

bool picture_decode(picture *p, const void *bytes, long n, const char *name, error *e)
{
    return picture_decode_as(p, PICTURE_LAVIS, bytes, n, name, e);
}

bool picture_read(picture *p, const char *path, error *e)
{
    return picture_read_as(p, PICTURE_LAVIS, path, e);
}

bool picture_write(const picture *p, const char *path, error *e)
{
    long n;
    void *bytes = picture_encode(p, &n, e);
    if (!bytes)
        return false;
    file_out *f = file_create(path, e);
    if (f)
        file_write(f, bytes, n);
    mem_free(bytes);
    return f && file_finish(f, e);
}
