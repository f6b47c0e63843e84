/* glyphs.c - the pictures of a colour font. An sfnt file (OpenType 1.9, ISO/IEC 14496-22) is a table of
 * tables: `cmap` says which glyph a character has (format 12: ranges), `CBLC` where in `CBDT` a glyph's
 * bitmap lies (index formats 1 and 3: offsets), and there stands a PNG file behind its metrics (image
 * formats 17 to 19). Numbers are big-endian. Names are those of emoji-test.txt (Unicode TS 51); an emoji
 * of several characters, which the font would make one glyph of by its rules, is passed over and counted. */
#include "data/internal.h"
#include "data/packages.h"
#include <stdlib.h>
#include <string.h>

enum { FONT_BYTES = 1 << 28, NAMES_BYTES = 1 << 26, SIDE = 256 };
typedef struct slice { const uint8_t *at; long n; } slice;         /* bytes of a file */
typedef struct font { slice cmap, cblc, cbdt; } font;

/* A number of `bytes` at offset; 0 beyond the end, with *broken set. */
static uint32_t number(slice s, long offset, int bytes, bool *broken)
{
    uint32_t v = 0;
    if (offset < 0 || offset > s.n - bytes) {
        *broken = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        v = v << 8 | s.at[offset + i];
    return v;
}

static slice cut(slice s, long offset, long n, bool *broken)
{
    if (offset < 0 || n < 0 || offset > s.n || n > s.n - offset) {
        *broken = true;
        return (slice){ s.at, 0 };
    }
    return (slice){ s.at + offset, n };
}

static slice table(slice file, const char *tag, bool *broken)
{
    long count = number(file, 4, 2, broken);
    for (long i = 0; i < count && !*broken; i++) {
        slice entry = cut(file, 12 + 16*i, 16, broken);
        if (entry.n && !memcmp(entry.at, tag, 4))
            return cut(file, number(entry, 8, 4, broken), number(entry, 12, 4, broken), broken);
    }
    *broken = true;
    return (slice){ file.at, 0 };
}

/* The glyph of a character by a cmap of format 12; 0: none. */
static long glyph_of(slice cmap, uint32_t character, bool *broken)
{
    long tables = number(cmap, 2, 2, broken);
    for (long i = 0; i < tables && !*broken; i++) {
        long at = number(cmap, 4 + 8*i + 4, 4, broken);
        if (number(cmap, at, 2, broken) != 12)
            continue;
        long groups = number(cmap, at + 12, 4, broken);
        for (long k = 0; k < groups && !*broken; k++) {
            long group = at + 16 + 12*k;
            uint32_t first = number(cmap, group, 4, broken), last = number(cmap, group + 4, 4, broken);
            if (character >= first && character <= last)
                return (long)number(cmap, group + 8, 4, broken) + (character - first);
        }
    }
    return 0;
}

/* The bytes of CBDT at which an index subtable says that the glyph's data stand; n 0: it has none. */
static slice data_of(const font *f, long sub, long first, long glyph, int *form, bool *broken)
{
    long index = number(f->cblc, sub, 2, broken), base = number(f->cblc, sub + 4, 4, broken);
    int width = index == 1 ? 4 : 2;
    *form = (int)number(f->cblc, sub + 2, 2, broken);
    if (index != 1 && index != 3)
        return (slice){ f->cbdt.at, 0 };
    long at = sub + 8 + width*(glyph - first);
    long from = number(f->cblc, at, width, broken), to = number(f->cblc, at + width, width, broken);
    return to > from ? cut(f->cbdt, base + from, to - from, broken) : (slice){ f->cbdt.at, 0 };
}

/* The PNG file of a glyph, in the first size that has it. */
static slice png_of(const font *f, long glyph, bool *broken)
{
    static const int heads[] = { 5, 8, 0 };                    /* bytes of metrics in formats 17, 18, 19 */
    long sizes = number(f->cblc, 4, 4, broken);
    for (long s = 0; s < sizes && !*broken; s++) {
        long size = 8 + 48*s, array = number(f->cblc, size, 4, broken);
        long subs = number(f->cblc, size + 8, 4, broken);
        for (long i = 0; i < subs && !*broken; i++) {
            long at = array + 8*i, first = number(f->cblc, at, 2, broken);
            if (glyph < first || glyph > (long)number(f->cblc, at + 2, 2, broken))
                continue;
            int form;
            slice data = data_of(f, array + number(f->cblc, at + 4, 4, broken), first, glyph, &form, broken);
            if (!data.n || form < 17 || form > 19)
                continue;
            long head = heads[form - 17], n = number(data, head, 4, broken);
            return cut(data, head + 4, n, broken);
        }
    }
    return (slice){ f->cblc.at, 0 };
}

/* "1F600 ; fully-qualified # X E1.0 grinning face": its only character and its name; false: not such a line,
 * or an emoji of several (*several). U+FE0F only asks for colour. */
static bool read_name(char *line, uint32_t *character, const char **name, bool *several)
{
    char *end, *at = line, *hash = strchr(line, '#');
    *several = false;
    if (*line == '#' || !hash || !strstr(line, "; fully-qualified"))
        return false;
    *character = (uint32_t)strtoul(at, &end, 16);
    if (end == at)
        return false;
    for (at = end; *at == ' '; at = end) {
        uint32_t more = (uint32_t)strtoul(at, &end, 16);
        if (end == at)
            break;
        *several |= more != 0xFE0F;
    }
    char *space = strstr(hash, " E");                          /* the version stands before the name */
    space = space ? strchr(space + 1, ' ') : NULL;
    *name = space ? space + 1 : "";
    return !*several && **name;
}

static bool add_glyph(const unpacking *p, const font *f, const char *path, uint32_t character,
                      const char *name, error *e)
{
    bool broken = false;
    char file[32];
    long glyph = glyph_of(f->cmap, character, &broken);
    slice png = glyph && !broken ? png_of(f, glyph, &broken) : (slice){ NULL, 0 };
    if (broken)
        return error_set(e, "%s: damaged: the tables cmap, CBLC or CBDT lead beyond their ends at U+%04X",
                         QUOTE(path), character);
    if (!png.n) {
        p->u->without_picture++;
        return true;
    }
    snprintf(file, sizeof file, "u%04x.png", character);
    return unpack_on_white(p, file, path, png.at, png.n, SIDE, &broken, e)
           && unpack_line(p, file, &name, 1, e);
}

bool glyphs_unpack(const char *path, const char *names, const char *folder, unpacked *u, error *e)
{
    unpacking p = { .u = u };
    font f = { 0 };
    long n = 0, m = 0;
    bool broken = false, ok = true;
    uint8_t *bytes = file_load(path, FONT_BYTES, &n, e);
    char *text = bytes ? file_load(names, NAMES_BYTES, &m, e) : NULL, *rest = text, *line;
    slice file = { bytes, n };
    if (text) {
        f.cmap = table(file, "cmap", &broken);
        f.cblc = table(file, "CBLC", &broken);
        f.cbdt = table(file, "CBDT", &broken);
        ok = !broken || error_set(e,
                                  "%s: expected a font with the tables cmap, CBLC and CBDT; one is missing, "
                                  "or leads beyond the end of the file", QUOTE(path));
        ok = ok && unpack_begin(&p, folder, u, e);
    }
    while (ok && text && (line = strsep(&rest, "\n"))) {
        uint32_t character;
        const char *name;
        bool several;
        if (read_name(line, &character, &name, &several))
            ok = add_glyph(&p, &f, path, character, name, e);
        u->without_picture += several;
    }
    ok = unpack_end(&p, ok && text, e);
    if (ok && !u->pictures)
        ok = error_set(e, "%s: no emoji of %s has a bitmap in it", QUOTE(path), QUOTE(names));
    mem_free(text);
    mem_free(bytes);
    return ok;
}
