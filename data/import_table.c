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

static char *trimmed(char *name)
{
    size_t n = strlen(name);
    while (n && strchr(" \t\r", name[n - 1]))
        name[--n] = 0;
    return name + strspn(name, " \t");
}

/* One of the columns has one of these names, which end with NULL. */
static bool has_column(const struct table *t, const char *const *names)
{
    for (; *names; names++)
        for (int i = 0; i < t->columns; i++)
            if (!strcmp(*names, t->column[i]))
                return true;
    return false;
}

/* A name that two columns have: the text of one of them would be lost. NULL: there is none. */
static const char *twice(const struct table *t)
{
    for (int i = 0; i < t->columns; i++)
        for (int k = 0; k < i; k++)
            if (*t->column[i] && !strcmp(t->column[i], t->column[k]))
                return t->column[i];
    return NULL;
}

static bool check_header(import *m, struct table *t)
{
    static const char *const pictures[] = { "image", "image_path", "file_name", "filename", "file", "path",
                                            "filepath", NULL };
    static const char *const texts[] = { "caption", "captions", "text", "TEXT", "question", NULL };
    static const char *const addresses[] = { "url", "URL", "image_url", NULL };
    if (t->columns < 0)
        return error_line(m->e, "%s:1: a quote is not closed", t->name);
    if (t->columns > COLUMNS)
        return error_line(m->e, "%s:1: %d columns; expected at most %d", t->name, t->columns, COLUMNS);
    for (int i = 0; i < t->columns; i++)
        t->column[i] = trimmed(t->column[i]);
    if (!has_column(t, pictures) && has_column(t, addresses))
        return error_line(m->e, "%s:1: no column for the pictures but their addresses, which are not "
                          "fetched: img2dataset, for one, makes .tar shards of such a table, which are read "
                          "here", t->name);
    if (!has_column(t, pictures))
        return error_line(m->e, "%s:1: no column for the pictures; expected a header such as image,caption "
                          "(or --columns image,caption for a table without one)", t->name);
    if (twice(t))
        return error_line(m->e, "%s:1: two columns are called %s; expected each name once", t->name,
                          QUOTE(twice(t)));
    return has_column(t, texts) || import_for_tests(m)
           || error_line(m->e, "%s:1: no column for the texts; expected caption, captions, text or question",
                         t->name);
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
    return !m->no_memory && check_header(m, t);
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
        && !json_object_get(o, "captions") && !json_object_get(o, "TEXT") && !import_for_tests(m))
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
