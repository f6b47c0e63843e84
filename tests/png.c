/* png.c - PNG files made byte by byte: stored (uncompressed) data, any type and depth. */
#include "tests/png.h"
#include <string.h>

uint32_t png_crc(const uint8_t *p, long n)
{
    uint32_t crc = ~0u;
    for (long i = 0; i < n; i++) {
        crc ^= p[i];
        for (int b = 0; b < 8; b++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void put32(uint8_t *to, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(v >> (24 - 8*i));
}

void png_chunk(struct png *f, const char *type, const uint8_t *data, long n)
{
    uint8_t *to = f->bytes + f->n;
    put32(to, (uint32_t)n);
    memcpy(to + 4, type, 4);
    if (n)
        memcpy(to + 8, data, (size_t)n);
    put32(to + 8 + n, png_crc(to + 4, n + 4));
    f->n += n + 12;
}

void png_begin(struct png *f, uint32_t width, uint32_t height, int depth, int type, int interlace)
{
    uint8_t head[13] = { [8] = (uint8_t)depth, (uint8_t)type, 0, 0, (uint8_t)interlace };
    put32(head, width);
    put32(head + 4, height);
    memcpy(f->bytes, "\x89PNG\r\n\x1a\n", 8);
    f->n = 8;
    png_chunk(f, "IHDR", head, 13);
}

/* rows: with their filter bytes in front */
void png_end(struct png *f, const uint8_t *rows, long n)
{
    uint8_t z[4096] = { 0x78, 1, 1, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)~n, (uint8_t)(~n >> 8) };
    uint32_t a = 1, b = 0;
    for (long i = 0; i < n; i++) {
        a = (a + rows[i])%65521;
        b = (b + a)%65521;
    }
    memcpy(z + 7, rows, (size_t)n);
    put32(z + 7 + n, b << 16 | a);
    png_chunk(f, "IDAT", z, n + 11);
    png_chunk(f, "IEND", NULL, 0);
}

struct png png_make(uint32_t width, uint32_t height, int depth, int type, const uint8_t *rows, long n)
{
    struct png f;
    png_begin(&f, width, height, depth, type, 0);
    png_end(&f, rows, n);
    return f;
}
