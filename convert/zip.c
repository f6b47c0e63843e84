/* zip.c - where the entries of a zip archive lie, from its central directory, zip64 included. Stored entries
 * alone, as torch writes them; nothing is unpacked. PKWARE's APPNOTE.TXT, 4.3. */
#include "convert/internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    END_SIZE = 22,
    END64_SIZE = 56,
    LOCATOR_SIZE = 20,
    CENTRAL_SIZE = 46,
    LOCAL_SIZE = 30,
    DIRECTORY_LIMIT = 256 << 20
};
typedef struct reader { int fd; long bytes; const char *path; error *e; } reader;
typedef struct directory { long offset, bytes, count; } directory;

static uint64_t number(const unsigned char *p, int bytes)
{
    uint64_t x = 0;
    for (int i = bytes - 1; i >= 0; i--)
        x = x << 8 | p[i];
    return x;
}

static bool damaged(const reader *r, const char *what)
{
    return error_set(r->e, "%s: not a whole zip archive: %s", QUOTE(r->path), what);
}

static bool get(const reader *r, long at, void *to, long bytes, const char *what)
{
    if (at < 0 || bytes > r->bytes || at > r->bytes - bytes)
        return damaged(r, what);
    return file_read_at(r->fd, at, to, bytes)
           || error_set(r->e, "%s: cannot be read; %s", QUOTE(r->path),
                        errno ? strerror(errno) : "it became shorter");
}

static bool find_directory64(const reader *r, long end, directory *d)
{
    unsigned char locator[LOCATOR_SIZE], end64[END64_SIZE];
    const char *what = "its zip64 end is damaged";
    if (!get(r, end - LOCATOR_SIZE, locator, LOCATOR_SIZE, what))
        return false;
    uint64_t at = number(locator + 8, 8);
    if (number(locator, 4) != 0x07064b50 || at > (uint64_t)r->bytes)
        return damaged(r, what);
    if (!get(r, (long)at, end64, END64_SIZE, what))
        return false;
    uint64_t count = number(end64 + 32, 8), bytes = number(end64 + 40, 8), offset = number(end64 + 48, 8);
    if (number(end64, 4) != 0x06064b50 || (count | bytes | offset) >> 62)
        return damaged(r, what);
    *d = (directory){ (long)offset, (long)bytes, (long)count };
    return true;
}

static bool find_directory(const reader *r, directory *d)
{
    unsigned char end[END_SIZE];
    long at = r->bytes - END_SIZE;                         /* no comment behind it: torch writes none */
    const char *what = "its end is missing; was the file cut?";
    if (!get(r, at, end, END_SIZE, what))
        return false;
    if (number(end, 4) != 0x06054b50 || number(end + 20, 2))
        return damaged(r, what);
    *d = (directory){ (long)number(end + 16, 4), (long)number(end + 12, 4), (long)number(end + 10, 2) };
    if (d->offset == 0xffffffff || d->bytes == 0xffffffff || d->count == 0xffff)
        if (!find_directory64(r, at, d))
            return false;
    if (d->bytes > DIRECTORY_LIMIT || d->bytes > at || d->offset > at - d->bytes
        || d->count > d->bytes / CENTRAL_SIZE)
        return damaged(r, "its directory does not fit into it");
    return true;
}

/* Values that did not fit into 32 bits stand in extra field 1, in this order, those alone. */
static bool widen(const unsigned char *extra, long size, uint64_t *value[3])
{
    while (size >= 4) {
        long id = (long)number(extra, 2), n = (long)number(extra + 2, 2);
        if (n > size - 4)
            return false;
        if (id == 1) {
            const unsigned char *p = extra + 4;
            for (int i = 0; i < 3; i++)
                if (*value[i] == 0xffffffff) {
                    if (p + 8 > extra + 4 + n)
                        return false;
                    *value[i] = number(p, 8);
                    p += 8;
                }
            return true;
        }
        extra += 4 + n;
        size -= 4 + n;
    }
    return true;
}

/* The data begin behind the local header, whose name and extra field have lengths of their own. */
static bool locate(const reader *r, uint64_t header, uint64_t bytes, zip_entry *x)
{
    unsigned char local[LOCAL_SIZE];
    if ((header | bytes) >> 62 || !get(r, (long)header, local, LOCAL_SIZE, "an entry lies outside it"))
        return (header | bytes) >> 62 ? damaged(r, "an entry lies outside it") : false;
    x->offset = (long)header + LOCAL_SIZE + (long)number(local + 26, 2) + (long)number(local + 28, 2);
    x->bytes = (long)bytes;
    if (number(local, 4) != 0x04034b50 || x->offset > r->bytes || x->bytes > r->bytes - x->offset)
        return damaged(r, "an entry lies outside it");
    return true;
}

/* The entry at p, `left` bytes before the directory's end; how many it takes, 0: failed. */
static long read_entry(const reader *r, const unsigned char *p, long left, zip_entry *x)
{
    if (left < CENTRAL_SIZE || number(p, 4) != 0x02014b50)
        return damaged(r, "its directory is damaged");
    long name = (long)number(p + 28, 2), extra = (long)number(p + 30, 2);
    long whole = CENTRAL_SIZE + name + extra + (long)number(p + 32, 2);
    uint64_t packed = number(p + 20, 4), bytes = number(p + 24, 4), header = number(p + 42, 4);
    uint64_t *wide[3] = { &bytes, &packed, &header };
    if (whole > left || !widen(p + CENTRAL_SIZE + name, extra, wide))
        return damaged(r, "its directory is damaged");
    if (memchr(p + CENTRAL_SIZE, 0, (size_t)name))
        return damaged(r, "a name in its directory has a zero byte");
    x->name = mem_text("%.*s", (int)name, (const char *)p + CENTRAL_SIZE);
    if (!x->name)
        return error_set(r->e, "%s: out of memory", QUOTE(r->path));
    if (number(p + 8, 2) & 1 || number(p + 10, 2) || packed != bytes)
        return error_set(r->e,
                         "%s: %s: packed or encrypted; expected stored entries, as torch.save writes them",
                         QUOTE(r->path), QUOTE(x->name));
    return locate(r, header, bytes, x) ? whole : 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const zip_entry *)a)->name, ((const zip_entry *)b)->name);
}

bool zip_read(zip *z, int fd, long bytes, const char *path, error *e)
{
    reader r = { fd, bytes, path, e };
    directory d = { 0 };
    *z = (zip){ 0 };
    if (!find_directory(&r, &d))
        return false;
    unsigned char *all = mem_new((size_t)d.bytes + 1);
    z->entries = mem_new((size_t)(d.count + 1) * sizeof *z->entries);
    bool ok = (all && z->entries) || error_set(e, "%s: out of memory for %ld entries", QUOTE(path), d.count);
    ok = ok && get(&r, d.offset, all, d.bytes, "its directory does not fit into it");
    for (long at = 0, step; ok && z->count < d.count; at += step) {
        step = read_entry(&r, all + at, d.bytes - at, &z->entries[z->count]);
        z->count += z->entries[z->count].name != NULL;
        ok = step > 0;
    }
    mem_free(all);
    if (!ok) {
        zip_free(z);
        return false;
    }
    qsort(z->entries, (size_t)z->count, sizeof *z->entries, by_name);
    return true;
}

void zip_free(zip *z)
{
    for (long i = 0; i < z->count; i++)
        mem_free(z->entries[i].name);
    mem_free(z->entries);
    *z = (zip){ 0 };
}

const zip_entry *zip_find(const zip *z, const char *name, size_t size)
{
    long low = 0, high = z->count;
    while (low < high) {
        long middle = low + (high - low) / 2;
        const char *other = z->entries[middle].name;
        size_t length = strlen(other);
        int order = memcmp(other, name, length < size ? length : size);
        if (!order && length == size)
            return &z->entries[middle];
        if (!order)
            order = length < size ? -1 : 1;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
