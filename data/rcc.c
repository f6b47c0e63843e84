/* rcc.c - Qt's binary resource files (rcc --binary, formats 1 to 3; Qt's tools/rcc/rcc.cpp): "qres", the
 * format, and where tree, data and names begin. A node of the tree: name (4), flags (2), then for a folder
 * the number of its entries and the first of them, for a file country, language (2 + 2) and its place
 * among the data; from format 2 on a time (8). A name: its length (2), a hash (4), UTF-16. Data: length
 * (4), bytes; if flag 1 is set the bytes are a length and a zlib stream. Numbers are big-endian. */
#include "data/internal.h"
#include "data/packages.h"
#include <string.h>
#include <zlib.h>

enum { FILE_BYTES = 1 << 28, MEMBER_BYTES = 1 << 26, LEVELS = 16, NODES = 1 << 20, NAME_SIZE = 1024,
       PACKED = 1, FOLDER = 2, ZSTD = 4 };
typedef struct rcc {
    const char *path;
    const uint8_t *at;
    long n, tree, data, names, node;               /* node: bytes of one */
    long visited;
    bool broken;
    rcc_visitor visit;
    void *context;
    error *e;
} rcc;

static uint32_t number(rcc *r, long offset, int bytes)
{
    uint32_t v = 0;
    if (offset < 0 || offset > r->n - bytes) {
        r->broken = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        v = v << 8 | r->at[offset + i];
    return v;
}

/* Appends "/name" to a path; what is no plain ASCII becomes "_". */
static long append_name(rcc *r, long node, char to[NAME_SIZE], long used)
{
    long at = r->names + number(r, node, 4), n = number(r, at, 2);
    if (r->broken || used + n + 2 > NAME_SIZE) {
        r->broken = true;
        return used;
    }
    to[used++] = '/';
    for (long i = 0; i < n; i++) {
        uint32_t c = number(r, at + 6 + 2*i, 2);
        to[used++] = c > 32 && c < 127 && c != '/' ? (char)c : '_';
    }
    to[used] = 0;
    return used;
}

static bool damaged(rcc *r, const char *name, const char *what)
{
    return error_set(r->e, "%s: %s: damaged: %s", QUOTE(r->path), QUOTE(name), what);
}

static bool visit_packed(rcc *r, const char *name, const uint8_t *bytes, long n)
{
    uint32_t length = 0;
    for (int i = 0; i < 4 && i < n; i++)
        length = length << 8 | bytes[i];
    if (n < 4 || length > MEMBER_BYTES)
        return damaged(r, name, "a packed file without a length, or of more than 64 MiB");
    uint8_t *to = mem_new((size_t)length + 1);
    if (!to)
        return error_set(r->e, "%s: %s: memory is out", QUOTE(r->path), QUOTE(name));
    uLongf got = length;
    bool ok = uncompress(to, &got, bytes + 4, (uLong)(n - 4)) == Z_OK && got == length;
    ok = ok ? r->visit(r->context, name, to, length, r->e) : damaged(r, name, "its zlib stream is not whole");
    mem_free(to);
    return ok;
}

static bool visit_file(rcc *r, long node, const char *name, uint32_t flags)
{
    long at = r->data + number(r, node + 10, 4), n = number(r, at, 4);
    if (r->broken || n > r->n - at - 4)
        return damaged(r, name, "its bytes lie beyond the end");
    if (flags & ZSTD)
        return error_set(r->e, "%s: %s: packed with zstd, which is not read here", QUOTE(r->path),
                         QUOTE(name));
    return flags & PACKED ? visit_packed(r, name, r->at + at + 4, n)
                          : r->visit(r->context, name, r->at + at + 4, n, r->e);
}

static bool walk(rcc *r, long index, char name[NAME_SIZE], long used, int level)
{
    long node = r->tree + index * r->node;
    uint32_t flags = number(r, node + 4, 2);
    if (r->broken || level > LEVELS || r->visited++ > NODES)
        return damaged(r, name, "its tree leads beyond the end, or around");
    used = index ? append_name(r, node, name, used) : 0;
    if (r->broken)
        return damaged(r, name, "a name lies beyond the end");
    if (!(flags & FOLDER))
        return visit_file(r, node, name, flags);
    long count = number(r, node + 6, 4), first = number(r, node + 10, 4);
    bool ok = !r->broken || damaged(r, name, "its tree leads beyond the end");
    for (long i = 0; ok && i < count; i++)
        ok = walk(r, first + i, name, used, level + 1);
    name[used] = 0;
    return ok;
}

bool rcc_each(const char *path, rcc_visitor visit, void *context, error *e)
{
    char name[NAME_SIZE] = "";
    rcc r = { .path = path, .visit = visit, .context = context, .e = e };
    uint8_t *bytes = file_load(path, FILE_BYTES, &r.n, e);
    if (!bytes)
        return false;
    r.at = bytes;
    uint32_t format = number(&r, 4, 4);
    r.tree = number(&r, 8, 4);
    r.data = number(&r, 12, 4);
    r.names = number(&r, 16, 4);
    r.node = format >= 2 ? 22 : 14;
    bool ok = !r.broken && !memcmp(bytes, "qres", 4) && format >= 1 && format <= 3;
    ok = ok ? walk(&r, 0, name, 0, 0)
            : error_set(e, "%s: expected a Qt resource file of format 1 to 3", QUOTE(path));
    mem_free(bytes);
    return ok;
}
