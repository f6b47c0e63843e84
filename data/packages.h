/* packages.h - pictures that packages hold in forms of their own, unpacked into a folder: the pictures, and
 * list.jsonl with the captions that the package has for them, ready for import_sources. Files of packages are
 * not trusted: every offset is checked before it is followed.                                              */
#ifndef DATA_PACKAGES_H
#define DATA_PACKAGES_H
#include "data/data.h"
#include <stdio.h>
#pragma GCC visibility push(default)

typedef struct unpacked { long pictures, captions, without_picture, without_text; } unpacked;
/* The glyphs of a font of coloured bitmaps (CBDT), named by Unicode's emoji-test.txt. */
bool glyphs_unpack(const char *font, const char *names, const char *folder, unpacked *u, error *e);
/* Clip art: NAME.svg below `svgs` has title and keywords, NAME.png below `pngs` is the picture. */
bool clipart_unpack(const char *svgs, const char *pngs, const char *folder, unpacked *u, error *e);
/* GCompris' pictures: words, animals and monuments, out of the .rcc files of a folder. */
bool gcompris_unpack(const char *rccs, const char *folder, unpacked *u, error *e);

/* ---- Qt's resource files: the files in them, in turn; false stops and becomes rcc_each's answer -------- */
typedef bool (*rcc_visitor)(void *context, const char *name, const uint8_t *bytes, long n, error *e);
bool rcc_each(const char *path, rcc_visitor visit, void *context, error *e);

/* ---- what the three share: unpack.c -------------------------------------------------------------------- */
typedef struct unpacking { const char *folder; FILE *list; unpacked *u; } unpacking;
bool unpack_begin(unpacking *p, const char *folder, unpacked *u, error *e);
bool unpack_end(unpacking *p, bool ok, error *e);
/* A file of the folder, as it is; or a picture laid on white, its longer side at most `side`, as a PNG.
 * broken: it could not be decoded; else what failed is the writing. */
bool unpack_file(const unpacking *p, const char *name, const void *bytes, long n, error *e);
bool unpack_on_white(const unpacking *p, const char *name, const char *from, const void *bytes, long n,
                     long side, bool *broken, error *e);
bool unpack_line(const unpacking *p, const char *image, const char *const *captions, int count, error *e);

/* ---- a data set in one HDF5 file (pack.c); records_read takes FILE.h5 and FILE.h5:val ------------------ */
/* Of a folder's train.jsonl, val.jsonl, test.jsonl and their pictures, whose paths start from images. */
bool pack_write(const char *folder, const char *images, const char *path, error *e);
bool pack_is(const char *path);                    /* is it called like one? */
bool pack_records(const char *path, record_list *l, error *e);
char *pack_inside(char *path);         /* the # of a picture in a pack, "FILE.h5#..."; NULL: it is in none */
void *pack_picture(const char *path, long *bytes, error *e);       /* its bytes; mem_free them */
#pragma GCC visibility pop
#endif
