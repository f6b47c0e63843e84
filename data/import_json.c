/* import_json.c - a file of JSON: which of the forms it is. A list of objects, or an object a line, are
 * records (import_record.c), regions or questions of Visual Genome, or questions of easy-vqa; one object with
 * "images", "annotations", "questions", or GQA's, is read whole (import_coco.c, import_vqa.c). */
#include "data/import.h"
#include <stdio.h>
#include <string.h>

enum { ELEMENT_BYTES = 64 << 20, ELEMENT_VALUES = 1 << 20 };
static const long FILE_BYTES = 1L << 36;
struct reading { import *m; const char *name; };

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
    else if (json_object_get(o, "regions"))
        import_regions(m, where, o);
    else if (json_object_get(o, "qas"))
        import_genome_questions(m, where, o);
    else
        import_record(m, where, o);
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

/* One object fills the file, and it is no record. */
static bool add_whole(import *m, const char *name, const char *text, long n)
{
    error one;
    for (; n && strchr(" \t\r\n", *text) && *text; n--)
        text++;
    bool whole = *text == '{' && only_white(text + object_end(text, n), n - object_end(text, n));
    json_t *doc = whole ? data_json(name, 1, text, n, 100*1000*1000, &one) : NULL;
    bool taken = doc && !json_object_get(doc, "image") && import_whole(m, name, doc);
    if (whole && !doc && memchr(text, '\n', (size_t)n)) {
        error_line(m->e, "%s", one.text);
        taken = true;
    }
    json_decref(doc);
    return taken;
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
