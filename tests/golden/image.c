/* image.c - a group of images.h5: a picture in files/ beside it, decoded (CRC-32 of its RGB bytes) and
 * resized, byte for byte. lavis_u8 (S,S,3) is Pillow 13's order of passes, lavis_u8_horizontal_first that
 * of earlier ones; hf_u8 is by Hugging Face's rules (orientation, alpha), where it is missing lavis_u8 is
 * both; decoded_rgb (H,W,3) is what a JPEG file holds. The group normalize_table holds what becomes of each
 * of the 256 bytes. */
#include "data/data.h"
#include "tests/golden/golden.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PATH = 4096, BYTES = 256 };

static uint32_t crc32_of(const uint8_t *p, long n)
{
    uint32_t crc = ~0u;
    for (long i = 0; i < n; i++) {
        crc ^= p[i];
        for (int b = 0; b < 8; b++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static const char *name_of(const golden *g, const char *dataset, char to[PATH])
{
    snprintf(to, PATH, "%s/%s", golden_group(g), dataset);
    return to;
}

static void read_picture(golden *g, picture_reference as, picture *p)
{
    char path[PATH];
    const char *file = golden_file(g), *slash = strrchr(file, '/');
    error e;
    snprintf(path, sizeof path, "%.*s/files/%s", slash ? (int)(slash - file) : 1, slash ? file : ".",
             golden_group(g));
    if (!picture_read_as(p, as, path, &e))
        ag_fail("golden", "%s", e.text);
}

/* Width, height and the checksum of the decoded bytes, from the group's attributes. */
static void compare_decoded(golden *g, const picture *p)
{
    error e;
    double width, height, crc, ours = crc32_of(p->rgb, 3*p->width*p->height);
    h5 *f = h5_open(golden_file(g), &e);
    bool read = f && h5_number(f, golden_group(g), "width", &width, &e)
        && h5_number(f, golden_group(g), "height", &height, &e)
             && h5_number(f, golden_group(g), "decoded_rgb_crc32", &crc, &e);
    h5_close(f);
    if (!read)
        golden_fail(g, "%s", e.text);
    else if (width != (double)p->width || height != (double)p->height)
        golden_fail(g, "decoded: expected %g x %g, ours is %ld x %ld", width, height, p->width, p->height);
    else if (crc != ours)
        golden_fail(g, "decoded: expected CRC-32 %08lx, ours is %08lx", (unsigned long)crc,
                    (unsigned long)ours);
}

static void compare_bytes(golden *g, tape *t, const char *name, const picture *p)
{
    long n = 3*p->width*p->height;
    int *values = ag_alloc(t, n*(long)sizeof *values);
    for (long i = 0; i < n; i++)
        values[i] = p->rgb[i];
    golden_compare_ints(g, name, values, n);
}

static void resize(picture *to, const picture *from, long width, long height)
{
    error e;
    if (!picture_resize(to, from, width, height, &e))
        ag_fail("golden", "%s", e.text);
}

static void compare_resized(golden *g, tape *t, const picture *p)
{
    char name[PATH];
    long dim[8];
    picture to, between;
    golden_dims(g, name_of(g, "lavis_u8", name), dim);
    resize(&to, p, dim[1], dim[0]);
    compare_bytes(g, t, name, &to);
    picture_free(&to);
    if (!golden_has(g, name_of(g, "lavis_u8_horizontal_first", name)))
        return;
    resize(&between, p, dim[1], p->height);        /* one pass at a time, in that order */
    resize(&to, &between, dim[1], dim[0]);
    compare_bytes(g, t, name, &to);
    picture_free(&between);
    picture_free(&to);
}

static void compare_hf(golden *g, tape *t)
{
    char name[PATH];
    long dim[8], n;
    picture p, to;
    read_picture(g, PICTURE_HF, &p);
    golden_dims(g, name_of(g, golden_has(g, name_of(g, "hf_u8", name)) ? "hf_u8" : "lavis_u8", name), dim);
    resize(&to, &p, dim[1], dim[0]);
    compare_bytes(g, t, name, &to);
    if (golden_has(g, name_of(g, "pixel_values_hf_pil", name)) && dim[0] == dim[1]) {
        const real *theirs = golden_reals(g, t, name, &n);
        real *ours = ag_alloc_real(t, 3*dim[0]*dim[0]);
        double worst = n == 3*dim[0]*dim[0] ? 0 : INFINITY;
        picture_normalise_as(PICTURE_HF, to.rgb, dim[0], ours);
        for (long i = 0; i < n && worst <= 1; i++)
            worst = fmax(worst, fabs((double)ours[i] - (double)theirs[i]));
        golden_seen(g, name);
        golden_result(g, name, n, worst, sizeof(real) == 4 ? 0 : 4e-7);        /* they are floats */
    }
    picture_free(&to);
    picture_free(&p);
}

/* LAVIS's arithmetic and HF's (through Pillow) are ours in float, to the bit; torchvision's rounds elsewhere,
 * within 4e-7 of the exact value. */
static void compare_table(golden *g, tape *t)
{
    static const char *const columns[] = { "float64", "lavis", "hf_pil", "hf_torchvision" };
    uint8_t rgb[3*BYTES];
    real ours[3*BYTES];
    for (int i = 0; i < BYTES; i++)
        memset(rgb + 3*i, i, 3);
    for (int c = 0; c < 4; c++) {
        char name[PATH];
        long n;
        const real *theirs = golden_reals(g, t, name_of(g, columns[c], name), &n);
        double worst = n == 3*BYTES ? 0 : INFINITY;
        picture_normalise_as(c == 2 ? PICTURE_HF : PICTURE_LAVIS, rgb, 16, ours);      /* (3,16,16) */
        for (long i = 0; i < n && i < 3*BYTES; i++)
            worst = fmax(worst, fabs((double)ours[i] - (double)theirs[i]));
        bool exact = sizeof(real) == 4 && (c == 1 || c == 2), doubles = sizeof(real) == 8 && c == 0;
        golden_seen(g, name);
        golden_result(g, name, n, worst, exact ? 0 : doubles ? 1e-9 : 4e-7);
    }
}

void golden_image(golden *g, tape *t)
{
    char name[PATH];
    picture p;
    if (!strcmp(golden_group(g), "normalize_table")) {
        compare_table(g, t);
        return;
    }
    read_picture(g, PICTURE_LAVIS, &p);
    compare_decoded(g, &p);
    if (golden_has(g, name_of(g, "decoded_rgb", name)))
        compare_bytes(g, t, name, &p);
    compare_resized(g, t, &p);
    picture_free(&p);
    compare_hf(g, t);
}
