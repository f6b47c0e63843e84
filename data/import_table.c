/* import_table.c - a table of pictures: comma- or tab-separated, a header that names the columns (or
 * --columns), fields in quotes as RFC 4180 has them. In a table of tabs a quote is a letter like any other,
 * as in CC3M's.
 *   image,caption,split,image_id
 *   a.jpg,"A dog, asleep",train,7 */
#include "data/import.h"
#include <stdio.h>
#include <string.h>

enum { COLUMNS = 64 };
static const long FILE_BYTES = 1L << 36;
struct table {
    const char *name;
    char *at, *end;                    /* what is left; fields are cut in place */
    char separator;
    long line;
    int columns;
    char *column[COLUMNS];
};

/* The field at t->at, without its quotes; a 0 is put behind it. *last: it ended the row. NULL: no closing
 * quote. */
static char *next_field(struct table *t, bool *last)
{
    char *field = t->at, *to = field;
    bool quoted = t->separator == ',' && t->at < t->end && *t->at == '"', open = quoted;
    t->at += quoted;
    for (; t->at < t->end; t->at++) {
        char c = *t->at;
        if (open && c == '"' && t->at + 1 < t->end && t->at[1] == '"')
            t->at++;
        else if (quoted && c == '"') {
            open = !open;
            continue;
        } else if (!open && (c == t->separator || c == '\n'))
            break;
        t->line += c == '\n';
        *to++ = c;
    }
    *last = t->at >= t->end || *t->at == '\n';
    t->line += t->at < t->end && *t->at == '\n';
    t->at += t->at < t->end;
    if (*last && !quoted && to > field && to[-1] == '\r')
        to--;
    else if (*last && quoted && to > field && to[-1] == '\r' && t->at > field + 1)
        to--;
    *to = 0;
    return open ? NULL : field;
}

/* How many fields the next row has, -1: a quote is not closed. */
static int next_row(struct table *t, char *field[COLUMNS])
{
    int n = 0;
    for (bool last = false; !last; n++) {
        char *one = next_field(t, &last);
        if (!one)
            return -1;
        if (n < COLUMNS)
            field[n] = one;
    }
    return n;
}

static bool known_column(const char *name)
{
    static const char *const known[] = { "image", "image_path", "file_name", "filename", "file", "path",
                                         "filepath" };
    for (size_t i = 0; i < sizeof known/sizeof *known; i++)
        if (!strcmp(name, known[i]))
            return true;
    return false;
}

static bool read_header(import *m, struct table *t, char **own)
{
    if (m->o->columns) {
        *own = mem_text("%s", m->o->columns);
        m->no_memory |= !*own;
        for (char *p = *own; p && *p && t->columns < COLUMNS; t->columns++) {
            t->column[t->columns] = p;
            p += strcspn(p, ",");
            if (*p)
                *p++ = 0;
        }
    } else {
        t->columns = next_row(t, t->column);
    }
    for (int i = 0; i < t->columns && t->columns <= COLUMNS; i++)
        if (known_column(t->column[i]))
            return true;
    error_line(m->e,
               "%s:1: no column for the pictures; expected a header such as image,caption (or --columns "
               "image,caption for a table without one)", t->name);
    return false;
}

static void add_row(import *m, const struct table *t, const char *where, char *const *field)
{
    json_t *o = json_object();
    for (int i = 0; o && i < t->columns; i++) {
        json_t *text = *field[i] ? json_string(field[i]) : NULL;
        if (*field[i] && !text) {
            import_problem(m, where, "not UTF-8");
            json_decref(o);
            return;
        }
        if (text)
            json_object_set_new(o, t->column[i], text);
    }
    if (!json_object_get(o, "caption") && !json_object_get(o, "question") && !json_object_get(o, "text")
        && !json_object_get(o, "captions") && !json_object_get(o, "TEXT"))
        json_object_set_new(o, "caption", json_string(""));            /* an empty cell: counted */
    import_record(m, where, o);
    json_decref(o);
}

void import_table(import *m, const char *path, char separator)
{
    long n;
    error one;
    char where[300], *own = NULL, *field[COLUMNS], *text = file_load(path, FILE_BYTES, &n, &one);
    if (!text) {
        error_line(m->e, "%s", one.text);
        return;
    }
    struct table t = { .name = QUOTE(path), .at = text, .end = text + n, .separator = separator, .line = 1 };
    if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
        t.at += 3;                                 /* a byte order mark */
    bool ok = !memchr(text, 0, (size_t)n) || error_line(m->e, "%s: a zero byte; expected text", t.name);
    ok = ok && read_header(m, &t, &own);
    while (ok && t.at < t.end && import_goes_on(m)) {
        snprintf(where, sizeof where, "%s:%ld", t.name, t.line);
        int fields = next_row(&t, field);
        if (fields == 1 && !*field[0])
            continue;                              /* an empty line */
        if (fields == t.columns)
            add_row(m, &t, where, field);
        else if (fields < 0)
            error_line(m->e, "%s: a quote is not closed", where);
        else
            error_line(m->e, "%s: %d fields; expected %d", where, fields, t.columns);
    }
    mem_free(own);
    mem_free(text);
}
