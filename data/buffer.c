/* buffer.c - text that grows as it is printed into; memory that is out is remembered, not reported
 * each time. */
#include "data/internal.h"
#include <stdio.h>

void data_print(buffer *b, const char *format, ...)
{
    locale_t before = numbers_begin();
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n >= 0 && b->used + n + 1 > b->room) {
        long room = 2*b->room + n + 256;
        char *text = mem_grow(b->text, (size_t)b->used, (size_t)room);
        b->failed |= !text;
        b->text = text ? text : b->text;
        b->room = text ? room : b->room;
    }
    if (n >= 0 && b->used + n + 1 <= b->room) {
        vsnprintf(b->text + b->used, (size_t)n + 1, format, again);
        b->used += n;
    }
    va_end(again);
    va_end(args);
    numbers_end(before);
}

void data_buffer_free(buffer *b)
{
    mem_free(b->text);
    *b = (buffer){ 0 };
}
