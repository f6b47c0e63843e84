/* events.c - TensorBoard's event file: a record a step, which any TensorBoard reads.
 *
 *     record = length (8 bytes), masked CRC of it (4), bytes, masked CRC of them (4)      little-endian
 *     mask(c) = ((c >> 15) | (c << 17)) + 0xa282ead8         of CRC-32C, the polynomial of Castagnoli
 *     bytes = protobuf Event { double wall_time = 1; int64 step = 2; string file_version = 3;
 *                              Summary summary = 5; }
 *             Summary { repeated Value value = 1; }    Value { string tag = 1; float simple_value = 2; }
 *
 * Form of records: tensorflow/core/lib/io/record_writer.h; of events: event.proto, summary.proto. The file
 * has one name in every run, and but for wall_time the same bytes in equal runs.                           */
#include "train/internal.h"
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint32_t events_crc(const void *data, long bytes)
{
    const unsigned char *x = data;
    uint32_t crc = 0xffffffff;
    for (long i = 0; i < bytes; i++) {
        crc ^= x[i];
        for (int k = 0; k < 8; k++)
            crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

static uint32_t mask(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8; }

/* ---- bytes ------------------------------------------------------------------------------------------- */
enum { HEAD = 12, FOOT = 4 };
typedef struct record_bytes { unsigned char at[8192]; long used; } record_bytes;

static void put(record_bytes *r, const void *data, long bytes)
{
    if (r->used + bytes <= (long)sizeof r->at - FOOT) {
        memcpy(r->at + r->used, data, (size_t)bytes);
        r->used += bytes;
    }
}

static void put_low(record_bytes *r, uint64_t x, int bytes)            /* the lowest first */
{
    for (int i = 0; i < bytes; i++)
        put(r, &(unsigned char){ (unsigned char)(x >> 8 * i) }, 1);
}

static void put_varint(record_bytes *r, uint64_t x)
{
    for (; x > 127; x >>= 7)
        put_low(r, x | 128, 1);
    put_low(r, x, 1);
}

enum { VARINT, EIGHT, BYTES, FOUR = 5 };                   /* protobuf's wire types */
static void put_key(record_bytes *r, int field, int type) { put_low(r, (uint64_t)(field << 3 | type), 1); }

static void put_double(record_bytes *r, int field, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_key(r, field, EIGHT);
    put_low(r, bits, 8);
}

static long value_bytes(const log_field *f) { return 2 + (long)strlen(f->tag) + 5; }

/* Tags are shorter than 128 bytes, so that a length is one byte. */
static void put_value(record_bytes *r, const log_field *f)
{
    float x = (float)f->value;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_key(r, 1, BYTES);
    put_varint(r, (uint64_t)value_bytes(f));
    put_key(r, 1, BYTES);
    put_varint(r, strlen(f->tag));
    put(r, f->tag, (long)strlen(f->tag));
    put_key(r, 2, FOUR);
    put_low(r, bits, 4);
}

static double wall_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static record_bytes begin(void)
{
    record_bytes r = { .used = HEAD };
    put_double(&r, 1, wall_time());
    return r;
}

static bool finish(file_log *l, record_bytes *r, error *e)
{
    record_bytes head = { .used = 0 };
    long n = r->used - HEAD;
    put_low(&head, (uint64_t)n, 8);
    put_low(&head, mask(events_crc(head.at, 8)), 4);
    memcpy(r->at, head.at, HEAD);
    uint32_t crc = mask(events_crc(r->at + HEAD, n));
    for (int i = 0; i < FOOT; i++)
        r->at[r->used++] = (unsigned char)(crc >> 8 * i);
    return file_log_add(l, (const char *)r->at, r->used, e);
}

/* ---- reading what is there, to cut it ------------------------------------------------------------------ */
static uint64_t low_at(const unsigned char *x, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)x[i] << 8 * i;
    return value;
}

/* The step of an event as events_write makes it: wall_time, then the step. 0: it has none. */
static long step_of(const unsigned char *x, long n)
{
    uint64_t step = 0;
    if (n < 11 || x[9] != (2 << 3 | VARINT))
        return 0;
    for (long i = 10, shift = 0; i < n && shift < 64; i++, shift += 7) {
        step |= (uint64_t)(x[i] & 127) << shift;
        if (x[i] < 128)
            break;
    }
    return (long)step;
}

long events_up_to(const void *file, long bytes, long keep)
{
    const unsigned char *x = file;
    long used = 0;
    while (bytes - used > HEAD + FOOT) {
        uint64_t n = low_at(x + used, 8);
        const unsigned char *data = x + used + HEAD;
        if (n > (uint64_t)(bytes - used - HEAD - FOOT)
            || low_at(x + used + 8, 4) != mask(events_crc(x + used, 8))
            || low_at(data + n, FOOT) != mask(events_crc(data, (long)n)) || step_of(data, (long)n) > keep)
            break;
        used += HEAD + (long)n + FOOT;
    }
    return used;
}

/* ---- writing ----------------------------------------------------------------------------------------- */
bool events_start(file_log *l, error *e)
{
    static const char version[] = "brain.Event:2";
    record_bytes r = begin();
    put_key(&r, 3, BYTES);
    put_varint(&r, sizeof version - 1);
    put(&r, version, sizeof version - 1);
    return finish(l, &r, e);
}

bool events_write(file_log *l, long step, const log_field *fields, int count, error *e)
{
    record_bytes r = begin();
    long summary = 0;
    for (int i = 0; i < count; i++)
        if (*fields[i].tag && isfinite(fields[i].value))
            summary += 2 + value_bytes(&fields[i]);
    put_key(&r, 2, VARINT);
    put_varint(&r, (uint64_t)step);
    put_key(&r, 5, BYTES);
    put_varint(&r, (uint64_t)summary);
    for (int i = 0; i < count; i++)
        if (*fields[i].tag && isfinite(fields[i].value))
            put_value(&r, &fields[i]);
    return finish(l, &r, e);
}
