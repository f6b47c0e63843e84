/* h5_seal.c - digests behind HDF5's end of file: a changed byte is found before it is parsed or used.
 *
 * The seal is a row of little-endian 64-bit words: BEGIN, version 1, bytes of HDF5's part, XXH3-64 of the
 * metadata (all bytes that belong to no dataset's data, in order), number of datasets, then offset, bytes and
 * XXH3-64 of the data of each, ascending; XXH3-64 of all words so far; number of bytes of the seal; END. HDF5
 * ignores what stands there. */
#define XXH_STATIC_LINKING_ONLY
#include "base/internal.h"
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { HEAD = 5, TAIL = 3, WORD = 8, BLOCK = 1 << 16, KEPT_MOST = 1 << 26 };
static const uint64_t BEGIN = 0x4c41455332504c42, END = 0x424c50325345414c;

const h5_span *h5_seal_find(const h5_seal *s, uint64_t offset, uint64_t bytes)
{
    for (long low = 0, high = s->count; low < high; ) {
        long i = (low + high) / 2;
        if (s->spans[i].offset == offset)
            return s->spans[i].bytes == bytes ? &s->spans[i] : NULL;
        if (s->spans[i].offset < offset)
            low = i + 1;
        else
            high = i;
    }
    return NULL;
}

bool h5_seal_add(h5_seal *s, h5_span span)
{
    if (s->count == s->room) {
        long room = s->room ? 2 * s->room : 256;
        h5_span *more = mem_grow(s->spans, (size_t)s->room * sizeof span, (size_t)room * sizeof span);
        if (!more)
            return false;
        s->spans = more;
        s->room = room;
    }
    s->spans[s->count++] = span;
    return true;
}

/* ---- the metadata: what lies between the spans --------------------------------------------------------- */
typedef struct source { int fd; file_out *out; } source;   /* reading, or reading back */

static bool digest_gap(XXH3_state_t *x, source from, uint64_t at, uint64_t to)
{
    char block[BLOCK];
    while (at < to) {
        long n = to - at < BLOCK ? (long)(to - at) : BLOCK;
        bool ok = from.out ? file_read_back(from.out, (long)at, block, n)
            : file_read_at(from.fd, (long)at, block, n);
        if (!ok)
            return false;
        XXH3_64bits_update(x, block, (size_t)n);
        at += (uint64_t)n;
    }
    return true;
}

static bool digest_metadata(const h5_seal *s, source from, uint64_t *digest)
{
    XXH3_state_t x;
    XXH3_64bits_reset(&x);
    uint64_t at = 0;
    for (long i = 0; i < s->count; i++) {
        if (!digest_gap(&x, from, at, s->spans[i].offset))
            return false;
        at = s->spans[i].offset + s->spans[i].bytes;
    }
    if (!digest_gap(&x, from, at, s->end))
        return false;
    *digest = XXH3_64bits_digest(&x);
    return true;
}

/* ---- writing ------------------------------------------------------------------------------------------- */
static int by_offset(const void *a, const void *b)
{
    uint64_t x = ((const h5_span *)a)->offset, y = ((const h5_span *)b)->offset;
    return (x > y) - (x < y);
}

bool h5_seal_write(h5_seal *s, file_out *out)
{
    uint64_t metadata = 0, words = HEAD + 3 * (uint64_t)s->count + TAIL;
    if (s->count)
        qsort(s->spans, (size_t)s->count, sizeof *s->spans, by_offset);
    digest_metadata(s, (source){ .out = out }, &metadata);
    uint64_t *row = mem_new(words * WORD);
    if (!row)
        return false;
    uint64_t head[HEAD] = { BEGIN, 1, s->end, metadata, (uint64_t)s->count };
    memcpy(row, head, sizeof head);
    if (s->count)                                  /* none: a file of empty datasets alone */
        memcpy(row + HEAD, s->spans, (size_t)s->count * sizeof *s->spans);
    for (uint64_t i = 0; i < words - TAIL; i++)
        row[i] = htole64(row[i]);
    row[words-3] = htole64(XXH3_64bits(row, (words - TAIL) * WORD));
    row[words-2] = htole64(words * WORD);
    row[words-1] = htole64(END);
    file_write_at(out, (long)s->end, row, (long)(words * WORD));
    mem_free(row);
    return true;
}

/* ---- metadata in memory ------------------------------------------------------------------------------- */
/* The gaps, read once. */
static bool keep(h5_seal *s, int fd, const char *path, error *e)
{
    uint64_t data = 0, gap = 0, at = 0;
    s->data_before = mem_new((size_t)(s->count + 1) * sizeof *s->data_before);
    for (long i = 0; s->data_before && i <= s->count; i++) {
        s->data_before[i] = data;
        data += i < s->count ? s->spans[i].bytes : 0;
    }
    if (s->data_before && s->end - data <= KEPT_MOST)
        s->kept = mem_new(s->end - data);
    if (!s->data_before || (!s->kept && s->end - data <= KEPT_MOST))
        return error_set(e, "%s: memory is out", QUOTE(path));
    bool ok = true;
    for (long i = 0; ok && s->kept && i <= s->count; i++) {
        uint64_t to = i < s->count ? s->spans[i].offset : s->end;
        ok = file_read_at(fd, (long)at, s->kept + gap, (long)(to - at));
        gap += to - at;
        at = i < s->count ? to + s->spans[i].bytes : to;
    }
    return ok || error_set(e, "%s: cannot be read; %s", QUOTE(path), strerror(errno));
}

const void *h5_seal_kept(const h5_seal *s, uint64_t at, uint64_t *bytes)
{
    long low = 0, high = s->count;                         /* to the first span that ends behind `at` */
    if (!s->kept)
        return NULL;
    while (low < high) {
        long i = (low + high) / 2;
        if (s->spans[i].offset + s->spans[i].bytes <= at)
            low = i + 1;
        else
            high = i;
    }
    uint64_t to = low < s->count ? s->spans[low].offset : s->end;
    *bytes = at < to ? to - at : 0;
    return *bytes ? s->kept + (at - s->data_before[low]) : NULL;
}

void h5_seal_free(h5_seal *s)
{
    mem_free(s->spans);
    mem_free(s->kept);
    mem_free(s->data_before);
}

/* ---- checking ------------------------------------------------------------------------------------------ */
/* The words behind HDF5's part, checked against their own digest, in this machine's order; NULL: damaged, or
 * not read, with errno set. */
static uint64_t *load(int fd, uint64_t end, uint64_t bytes)
{
    uint64_t words = bytes / WORD;
    errno = 0;
    if (bytes % WORD || words < HEAD + TAIL)
        return NULL;
    uint64_t *row = mem_new(bytes);
    if (!row)
        errno = ENOMEM;
    if (!row || !file_read_at(fd, (long)end, row, (long)bytes)
        || le64toh(row[words-3]) != XXH3_64bits(row, (words - TAIL) * WORD)) {
        mem_free(row);
        return NULL;
    }
    for (uint64_t i = 0; i < words; i++)
        row[i] = le64toh(row[i]);
    bool ok = row[0] == BEGIN && row[1] == 1 && row[2] == end && row[words-1] == END && row[words-2] == bytes
        && row[4] == (words - HEAD - TAIL) / 3 && (words - HEAD - TAIL) % 3 == 0;
    if (ok)
        return row;
    mem_free(row);
    return NULL;
}

static bool ascending(const h5_seal *s)
{
    uint64_t at = 0;
    for (long i = 0; i < s->count; i++) {
        const h5_span *p = &s->spans[i];
        if (p->offset < at || p->offset > s->end || p->bytes > s->end - p->offset)
            return false;
        at = p->offset + p->bytes;
    }
    return true;
}

static bool not_read(const char *path, const char *what, error *e)
{
    return errno ? error_set(e, "%s: cannot be read; %s", QUOTE(path), strerror(errno))
                 : error_set(e, "%s: %s", QUOTE(path), what);
}

bool h5_seal_check(h5_seal *s, int fd, const char *path, long bytes, bool *sealed, error *e)
{
    if (!h5_superblock_end(fd, bytes, &s->end))
        return not_read(path, "not an HDF5 file that can be read here", e);
    if (s->end > (uint64_t)bytes)
        return error_set(e, "%s: truncated; expected %llu bytes, found %ld", QUOTE(path),
                         (unsigned long long)s->end, bytes);
    *sealed = s->end < (uint64_t)bytes;
    if (!*sealed)
        return true;
    uint64_t *row = load(fd, s->end, (uint64_t)bytes - s->end), metadata = 0;
    if (!row)
        return not_read(path, "damaged or truncated: no whole seal stands behind the data", e);
    bool ok = true;
    for (uint64_t i = 0; ok && i < row[4]; i++)
        ok = h5_seal_add(s, (h5_span){ row[HEAD + 3*i], row[HEAD + 3*i + 1], row[HEAD + 3*i + 2] });
    uint64_t stated = row[3];
    mem_free(row);
    if (!ok)
        return error_set(e, "%s: memory is out", QUOTE(path));
    ok = ascending(s);
    if (ok && !keep(s, fd, path, e))
        return false;
    if (ok && s->kept)
        metadata = XXH3_64bits(s->kept, s->end - s->data_before[s->count]);
    errno = 0;
    if (!ok || (!s->kept && !digest_metadata(s, (source){ .fd = fd }, &metadata)) || metadata != stated)
        return not_read(path, "damaged: the digest of the metadata differs", e);
    return true;
}
