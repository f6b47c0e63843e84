/* grow.c - arrays that grow as they are filled; they remember that memory was out, so one look at the end is
 * enough. */
#include "data/internal.h"
#include <string.h>
#include <utf8proc.h>

bool data_no_memory(error *e, const char *what)
{
    return error_set(e, "%s: memory: out of memory", what);
}

bool data_room(void **at, long *room, long n, size_t size)
{
    if (n <= *room)
        return true;
    long more = 2 * *room > n ? 2 * *room : n + 16;
    void *grown = mem_grow(*at, (size_t)*room * size, (size_t)more * size);
    if (!grown)
        return false;
    *at = grown;
    *room = more;
    return true;
}

void data_append(buffer *b, const char *bytes, long n)
{
    void *text = b->text;
    b->failed = b->failed || !data_room(&text, &b->room, b->used + n + 1, 1);
    b->text = text;
    if (b->failed)
        return;
    memcpy(b->text + b->used, bytes, (size_t)n);
    b->used += n;
    b->text[b->used] = 0;
}

void data_append_character(buffer *b, int c)
{
    unsigned char bytes[4];
    data_append(b, (char *)bytes, (long)utf8proc_encode_char(c, bytes));
}

void data_push(ints *list, int value)
{
    void *at = list->at;
    list->failed = list->failed || !data_room(&at, &list->room, list->n + 1, sizeof *list->at);
    list->at = at;
    if (!list->failed)
        list->at[list->n++] = value;
}
