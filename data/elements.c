/* elements.c - a text of JSON values, one a line or in a list, cut into them without reading them; and memory
 * in large blocks, for what is read. */
#include "data/internal.h"
#include <string.h>

enum { BLOCK = 1 << 20 };

struct record_block { struct record_block *next; long used, size; };       /* its bytes stand behind it */
struct cutter { const char *name; long line; bool stopped; data_element *each; void *context; error *e; };

/* ---- memory -------------------------------------------------------------------------------------------- */
void *data_take(struct record_block **blocks, long bytes)
{
    struct record_block *b = *blocks;
    bytes = (bytes + 7) / 8 * 8;
    if (!b || b->size - b->used < bytes) {
        long size = bytes > BLOCK ? bytes : BLOCK;
        b = mem_new(sizeof *b + (size_t)size);
        if (!b)
            return NULL;
        *b = (struct record_block){ *blocks, 0, size };
        *blocks = b;
    }
    b->used += bytes;
    return (char *)(b + 1) + b->used - bytes;
}

void data_blocks_free(struct record_block **blocks)
{
    while (*blocks) {
        struct record_block *next = (*blocks)->next;
        mem_free(*blocks);
        *blocks = next;
    }
}

/* ---- the two forms ------------------------------------------------------------------------------------- */
static bool white(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void read_lines(struct cutter *c, const char *text, long n)
{
    for (long at = 0; at < n && !c->stopped; c->line++) {
        const char *end = memchr(text + at, '\n', (size_t)(n - at));
        long length = end ? end - (text + at) : n - at, front = 0;
        while (front < length && white(text[at + front]))
            front++;
        if (front < length)
            c->stopped = !c->each(c->context, c->line, text + at, length);
        at += length + 1;
    }
}

static long skip_white(struct cutter *c, const char *text, long n, long at)
{
    for (; at < n && white(text[at]); at++)
        c->line += text[at] == '\n';
    return at;
}

/* Where the element that begins at `at` ends: at a comma or bracket outside its own brackets and texts. */
static long element_end(const char *text, long n, long at)
{
    long depth = 0;
    for (bool quoted = false; at < n; at++) {
        char c = text[at];
        if (quoted)
            at += c == '\\', quoted = c != '"';
        else if (c == '"')
            quoted = true;
        else if (c == '[' || c == '{')
            depth++;
        else if ((c == ',' || c == ']') && depth == 0)
            return at;
        else if (c == ']' || c == '}')
            depth--;
    }
    return n;
}

/* at: behind the opening bracket */
static void read_list(struct cutter *c, const char *text, long n, long at)
{
    at = skip_white(c, text, n, at);
    for (bool more = at >= n || text[at] != ']'; more && !c->stopped; ) {
        long end = element_end(text, n, at);
        c->stopped = !c->each(c->context, c->line, text + at, end - at);
        for (; at < end; at++)
            c->line += text[at] == '\n';
        more = at < n && text[at] == ',';
        if (more)
            at = skip_white(c, text, n, at + 1);
    }
    if (at >= n)
        error_line(c->e, "%s:%ld: list: the closing bracket is missing", c->name, c->line);
    else if (skip_white(c, text, n, at + 1) < n)
        error_line(c->e, "%s:%ld: list: something stands behind the closing bracket", c->name, c->line);
}

void data_elements(const char *name, const char *text, long bytes, data_element *each, void *context,
                   error *e)
{
    struct cutter c = { name, 1, false, each, context, e };
    long first = skip_white(&c, text, bytes, 0);
    if (first < bytes && text[first] == '[') {
        read_list(&c, text, bytes, first + 1);
    } else {
        c.line = 1;
        read_lines(&c, text, bytes);
    }
}
