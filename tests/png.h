/* png.h - PNG files made byte by byte, for tests. */
#ifndef TESTS_PNG_H
#define TESTS_PNG_H
#include "tests/tests.h"
#include "data/data.h"

struct png { uint8_t bytes[8192]; long n; };
uint32_t png_crc(const uint8_t *p, long n);
void png_begin(struct png *f, uint32_t width, uint32_t height, int depth, int type, int interlace);
void png_chunk(struct png *f, const char *type, const uint8_t *data, long n);
void png_end(struct png *f, const uint8_t *rows, long n);      /* rows: with their filter bytes in front */
struct png png_make(uint32_t width, uint32_t height, int depth, int type, const uint8_t *rows, long n);
#endif
