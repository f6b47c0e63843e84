/* pack.c - a data set in one file: lists, and the pictures as they were encoded, in HDF5.
 *
 *   list/train, list/val, list/test   the bytes of the lists, a JSON object a line (data.h)
 *   first (3)                         which picture each list begins with; pictures follow the records
 *   offset (n + 1), digest (n)        where each picture begins in `pictures`, and XXH3-64 of its bytes
 *   pictures (bytes)                  behind each other; read one at a time, past HDF5 (base/rows.h)
 *
 * A list is read as FILE.h5, its training part, or FILE.h5:val. The records' pictures are then called
 * "FILE.h5#NAME@PLACE+BYTES:DIGEST", which is all it takes to read one: no table is held, nothing stays open,
 * and any thread may do it.                                                                                */
#define XXH_STATIC_LINKING_ONLY
#include "base/rows.h"
#include "data/internal.h"
#include "data/packages.h"
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { PICTURE_BYTES = 1 << 29 };
static const long LIST_BYTES = 1L << 36;
static const char FORMAT[] = "blip2-pack";
static const char *const splits[IMPORT_SPLITS] = { "train", "val", "test" };

/* ---- writing ------------------------------------------------------------------------------------------- */
typedef struct packing {
    const char *images;
    char *list[IMPORT_SPLITS]; long bytes[IMPORT_SPLITS];          /* NULL: no such list */
    record_list records[IMPORT_SPLITS];
    int64_t first[IMPORT_SPLITS], *offset, *digest;
    long n;
} packing;

static void packing_free(packing *p)
{
    for (int s = 0; s < IMPORT_SPLITS; s++) {
        mem_free(p->list[s]);
        record_list_free(&p->records[s]);
    }
    mem_free(p->offset);
    mem_free(p->digest);
}

static bool read_lists(packing *p, const char *folder, error *e)
{
    bool ok = true;
    for (int s = 0; ok && s < IMPORT_SPLITS; s++) {
        char *path = mem_text("%s/%s.jsonl", folder, splits[s]);
        p->first[s] = p->n;
        struct stat about;
        if (path && !stat(path, &about) && about.st_size)          /* a split that has something */
            ok = (p->list[s] = file_load(path, LIST_BYTES, &p->bytes[s], e))
                 && records_parse(QUOTE(path), p->list[s], p->bytes[s], &p->records[s], e);
        ok = ok && (path || error_set(e, "out of memory"));
        p->n += p->records[s].count;
        mem_free(path);
    }
    return ok && (p->n || error_set(e, "%s: no lists in it; expected train.jsonl, val.jsonl or test.jsonl",
                                    QUOTE(folder)));
}

/* Where each picture will lie, by the sizes of the files. */
static bool lay_out(packing *p, error *e)
{
    char path[PATH_MAX];
    struct stat about;
    long at = 0;
    p->offset = mem_new((size_t)(p->n + 1) * sizeof *p->offset);
    p->digest = mem_new((size_t)p->n * sizeof *p->digest);
    if (!p->offset || !p->digest)
        return error_set(e, "out of memory for a list of %ld pictures", p->n);
    for (int s = 0; s < IMPORT_SPLITS; s++)
        for (long i = 0; i < p->records[s].count; i++) {
            snprintf(path, sizeof path, "%s/%s", p->images, p->records[s].items[i].image);
            if (stat(path, &about) || !S_ISREG(about.st_mode) || about.st_size > PICTURE_BYTES)
                return error_set(e, "%s: expected a picture of at most 512 MiB", QUOTE(path));
            p->offset[at + 1] = p->offset[at] + about.st_size;
            at++;
        }
    return true;
}

static bool copy_pictures(packing *p, h5_out *f, long place, error *e)
{
    char path[PATH_MAX];
    long at = 0, n = 0;
    for (int s = 0; s < IMPORT_SPLITS; s++)
        for (long i = 0; i < p->records[s].count; i++, at++) {
            snprintf(path, sizeof path, "%s/%s", p->images, p->records[s].items[i].image);
            void *bytes = file_load(path, PICTURE_BYTES, &n, e);
            bool ok = bytes && (n == p->offset[at + 1] - p->offset[at]
                                || error_set(e, "%s: changed while it was packed", QUOTE(path)));
            if (ok) {
                p->digest[at] = (int64_t)XXH3_64bits(bytes, (size_t)n);
                h5_put(f, place + p->offset[at], bytes, n);
            }
            mem_free(bytes);
            if (!ok)
                return false;
        }
    return true;
}

static bool write_all(packing *p, const char *path, error *e)
{
    h5_out *f = h5_create(path, e);
    if (!f)
        return false;
    h5_write_text(f, "format", FORMAT);
    h5_write_number(f, "format_version", 1);
    for (int s = 0; s < IMPORT_SPLITS; s++) {
        char name[32];
        snprintf(name, sizeof name, "list/%s", splits[s]);
        if (p->list[s])
            h5_write(f, name, H5_BYTES, 1, &p->bytes[s], p->list[s]);
    }
    h5_write(f, "first", H5_LONGS, 1, (const long[]){ IMPORT_SPLITS }, p->first);
    h5_write(f, "offset", H5_LONGS, 1, (const long[]){ p->n + 1 }, p->offset);
    long place = h5_reserve(f, "pictures", H5_U8, 1, (const long[]){ p->offset[p->n] });
    if (place >= 0 && !copy_pictures(p, f, place, e)) {
        h5_abandon(f);
        return false;
    }
    h5_write(f, "digest", H5_LONGS, 1, &p->n, p->digest);
    return h5_finish(f, e);
}

bool pack_write(const char *folder, const char *images, const char *path, error *e)
{
    packing p = { .images = images };
    bool ok = read_lists(&p, folder, e) && lay_out(&p, e) && write_all(&p, path, e);
    packing_free(&p);
    return ok;
}

/* ---- lists --------------------------------------------------------------------------------------------- */
/* "FILE.h5" and "FILE.h5:val": the length of FILE.h5, and the split; 0: neither. */
static long split_path(const char *path, const char **split)
{
    const char *at = NULL;
    for (const char *p = path; (p = strstr(p, ".h5")); p += 3)
        at = p;
    if (!at || (at[3] && at[3] != ':') || strchr(at, '/'))
        return 0;
    *split = at[3] ? at + 4 : splits[0];
    return (long)(at + 3 - path);
}

bool pack_is(const char *path)
{
    const char *split;
    return split_path(path, &split) > 0;
}

/* A whole dataset of numbers (H5_LONGS) or bytes; mem_free it. */
static void *read_all(h5 *f, const char *name, h5_type type, long *n, error *e)
{
    h5_shape shape;
    if (!h5_find(f, name, &shape, e))
        return NULL;
    *n = shape.size;
    void *to = mem_new((size_t)(shape.size + 1) * (type == H5_LONGS ? sizeof(int64_t) : 1));
    if (to && h5_read(f, name, type, 1, n, to, e))
        return to;
    if (!to)
        error_set(e, "%s: %s: memory is out", QUOTE(h5_path(f)), name);
    mem_free(to);
    return NULL;
}

static bool name_picture(h5 *f, record_list *l, record *r, long place, const int64_t *offset, int64_t digest,
                         error *e)
{
    const char *base = strrchr(h5_path(f), '/');
    base = base ? base + 1 : h5_path(f);
    size_t n = strlen(base) + strlen(r->image) + 80;
    char *to = data_take(&l->memory, (long)n);
    if (!to)
        return error_set(e, "%s: memory is out", QUOTE(h5_path(f)));
    snprintf(to, n, "%s#%s@%ld+%ld:%016" PRIx64, base, r->image, place + (long)offset[0],
             (long)(offset[1] - offset[0]), (uint64_t)digest);
    r->image = to;
    return true;
}

static bool name_pictures(h5 *f, int split, record_list *l, error *e)
{
    long three = IMPORT_SPLITS, n = 0, m = 0, total = 0;
    int64_t first[IMPORT_SPLITS], *offset = NULL, *digest = NULL;
    bool ok = h5_read(f, "first", H5_LONGS, 1, &three, first, e)
              && (offset = read_all(f, "offset", H5_LONGS, &n, e))
              && (digest = read_all(f, "digest", H5_LONGS, &m, e));
    bool fits = ok && n == m + 1 && first[split] >= 0 && first[split] <= m && l->count <= m - first[split];
    for (long i = 0; fits && i < m; i++)
        fits = offset[i] >= 0 && offset[i] <= offset[i + 1];
    ok = ok && (fits || error_set(e, "%s: damaged: its tables do not fit together", QUOTE(h5_path(f))));
    total = ok ? offset[m] : 0;
    long place = ok ? h5_place(f, "pictures", H5_U8, 1, &total, e) : -1;
    ok = ok && place >= 0;
    for (long i = 0; ok && i < l->count; i++)
        ok = name_picture(f, l, &l->items[i], place, offset + first[split] + i, digest[first[split] + i], e);
    mem_free(offset);
    mem_free(digest);
    return ok;
}

bool pack_records(const char *path, record_list *l, error *e)
{
    const char *name = "";
    char file[PATH_MAX], list[32];
    int split = 0;
    long n = 0;
    *l = (record_list){ 0 };
    snprintf(file, sizeof file, "%.*s", (int)split_path(path, &name), path);
    while (split < IMPORT_SPLITS && strcmp(name, splits[split]))
        split++;
    if (split == IMPORT_SPLITS)
        return error_usage(e, "%s: expected %s:train, :val or :test, found :%s", QUOTE(path), QUOTE(file),
                           QUOTE(name));
    h5 *f = h5_open(file, e);
    if (!f)
        return false;
    char *format = h5_text(f, "", "format", e), *text = NULL;
    bool ok = format && !strcmp(format, FORMAT) && h5_sealed(f);
    if (!format) {
        error first = *e;
        error_set(e, "%s; expected a data set of `dataset import --pack`", first.text);
    } else if (!ok)
        error_set(e, "%s: expected a data set of `dataset import --pack`, found another file", QUOTE(file));
    snprintf(list, sizeof list, "list/%s", splits[split]);
    ok = ok && (text = read_all(f, list, H5_BYTES, &n, e)) && records_parse(QUOTE(path), text, n, l, e);
    if (ok && !name_pictures(f, split, l, e)) {
        record_list_free(l);
        ok = false;
    }
    mem_free(format);
    mem_free(text);
    h5_close(f);
    return ok;
}

/* ---- pictures ------------------------------------------------------------------------------------------ */
char *pack_inside(char *path)
{
    char *at = strstr(path, ".h5#");
    return at ? at + 3 : NULL;
}

void *pack_picture(const char *path, long *bytes, error *e)
{
    char file[PATH_MAX];
    snprintf(file, sizeof file, "%s", path);
    char *inside = pack_inside(file), *place = strrchr(file, '@'), *size = strrchr(file, '+');
    char *digest = strrchr(file, ':'), *end;
    if (!inside || !place || !size || !digest || place < inside || size < place || digest < size) {
        error_set(e, "%s: expected a picture as FILE.h5#NAME@PLACE+BYTES:DIGEST", QUOTE(path));
        return NULL;
    }
    *inside = *place = *digest = 0;
    long all, at = strtol(place + 1, &end, 10), n = strtol(size + 1, NULL, 10);
    uint64_t expected = strtoull(digest + 1, NULL, 16);
    int fd = file_open(file, &all, e);
    if (fd < 0)
        return NULL;
    bool fits = end == size && at >= 0 && n >= 0 && n <= PICTURE_BYTES && at <= all && n <= all - at;
    void *to = fits ? mem_new((size_t)n + 1) : NULL;
    bool ok = to && file_read_at(fd, at, to, n) && XXH3_64bits(to, (size_t)n) == expected;
    close(fd);
    if (ok) {
        *bytes = n;
        return to;
    }
    error_set(e, "%s: %s: %s", QUOTE(file), QUOTE(inside + 1),
              fits && !to ? "memory is out" : fits ? "damaged: its digest differs" : "lies beyond the end");
    mem_free(to);
    return NULL;
}
