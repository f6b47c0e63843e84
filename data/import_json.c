/* import_json.c - a file of JSON: which of the forms it is. A list of objects, or an object a line, are
 * records (import_record.c), regions or questions of Visual Genome, or questions of easy-vqa; one object with
 * "images", "annotations", "questions", or GQA's, is read whole (import_coco.c, import_vqa.c). */
#include "data/import.h"
#include <stdio.h>
#include <string.h>

enum { ELEMENT_BYTES = 64 << 20, ELEMENT_VALUES = 1 << 20 };
static const long FILE_BYTES = 1L << 36;
struct reading { import *m; const char *name; };

/* An object of a list, or the only one. */
static void add_object(import *m, const char *where, json_t *o)
{
    if (json_object_get(o, "regions"))
        import_regions(m, where, o);
    else if (json_object_get(o, "qas"))
        import_genome_questions(m, where, o);
    else
        import_record(m, where, o);
}

static bool add_element(void *context, long line, const char *text, long n)
{
    const struct reading *r = context;
    import *m = r->m;
    error one;
    char where[300];
    snprintf(where, sizeof where, "%s:%ld", r->name, line);
    if (n > ELEMENT_BYTES) {
        import_problem(m, where, "expected at most 64 MiB in a record");
        return true;
    }
    json_t *o = data_json(r->name, line, text, n, ELEMENT_VALUES, &one);
    if (!o)
        error_line(m->e, "%s", one.text);
    else if (json_is_array(o))
        import_easy_questions(m, where, o);
    else
        add_object(m, where, o);
    json_decref(o);
    return import_goes_on(m);
}

/* Where the object ends that a text begins with; n: it does not end. */
static long object_end(const char *text, long n)
{
    long depth = 0;
    bool quoted = false;
    for (long i = 0; i < n; i++) {
        char c = text[i];
        if (quoted)
            i += c == '\\', quoted = c != '"';
        else if (c == '"')
            quoted = true;
        else if (c == '{')
            depth++;
        else if (c == '}' && --depth == 0)
            return i + 1;
    }
    return n;
}

static bool only_white(const char *text, long n)
{
    long i = 0;
    while (i < n && strchr(" \t\r\n", text[i]) && text[i])
        i++;
    return i == n;
}

/* One object fills the file: a record, or a form that is read whole. */
static bool add_whole(import *m, const char *name, const char *text, long n)
{
    error one;
    char where[300];
    long line = 1;
    for (; n && strchr(" \t\r\n", *text) && *text; n--)
        line += *text++ == '\n';
    long end = n && *text == '{' ? object_end(text, n) : n;
    if (!n || *text != '{' || !only_white(text + end, n - end))
        return false;
    json_t *doc = data_json(name, line, text, n, 100*1000*1000, &one);
    snprintf(where, sizeof where, "%s:%ld", name, line);
    if (!doc)
        error_line(m->e, "%s", one.text);
    else if (import_named(doc) || !import_whole(m, name, doc))
        add_object(m, where, doc);
    json_decref(doc);
    return true;
}

void import_json(import *m, const char *path)
{
    long n;
    error one;
    char *text = file_load(path, FILE_BYTES, &n, &one);
    const char *json = text ? data_without_mark(text, &n) : NULL;
    struct reading r = { m, QUOTE(path) };
    if (!text)
        error_line(m->e, "%s", one.text);
    else if (!add_whole(m, r.name, json, n))
        data_elements(r.name, json, n, add_element, &r, m->e);
    mem_free(text);
}
