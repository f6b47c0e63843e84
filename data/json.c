/* json.c - JSON by jansson, behind limits on depth and number of values, which bound what a text can cost. */
#include "data/json.h"
#include <string.h>

enum { JSON_LEVELS = 32 };

/* Looks at brackets and commas alone, outside strings. */
static bool within_limits(const char *name, long line, const char *bytes, long n, long most, error *e)
{
    long depth = 0, values = 0;
    bool text = false;
    for (long i = 0; i < n; i++) {
        char c = bytes[i];
        line += c == '\n';
        if (text)
            i += c == '\\', text = c != '"';
        else if (c == '"')
            text = true;
        else if (c == '[' || c == '{')
            depth++, values++;
        else if (c == ']' || c == '}')
            depth--;
        else if (c == ',')
            values++;
        if (depth > JSON_LEVELS)
            return error_set(e, "%s:%ld: JSON: too deep; expected at most %d levels", name, line,
                             JSON_LEVELS);
        if (values > most)
            return error_set(e, "%s:%ld: JSON: too many values; expected at most %ld", name, line, most);
    }
    return true;
}

static json_t *parse(const char *name, long line, const char *bytes, long n, long most, size_t flags,
                     error *e)
{
    json_error_t problem;
    if (!within_limits(name, line, bytes, n, most, e))
        return NULL;
    json_t *root = json_loadb(bytes, (size_t)n, flags, &problem);
    if (!root)
        error_set(e, "%s:%ld:%d: JSON: %s", name, line + problem.line - 1, problem.column,
                  QUOTE(problem.text));
    return root;
}

json_t *data_json(const char *name, long line, const char *bytes, long n, long most, error *e)
{
    return parse(name, line, bytes, n, most, JSON_REJECT_DUPLICATES, e);
}

json_t *data_json_reals(const char *name, const char *bytes, long n, long most, error *e)
{
    return parse(name, 1, bytes, n, most, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, e);
}

const char *data_without_mark(const char *text, long *n)
{
    bool marked = *n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3);
    *n -= marked ? 3 : 0;
    return marked ? text + 3 : text;
}

json_t *data_json_file(const char *path, error *e)
{
    long bytes;
    char *text = file_load(path, 1L << 30, &bytes, e);
    const char *json = text ? data_without_mark(text, &bytes) : NULL;
    json_t *root = text ? data_json(QUOTE(path), 1, json, bytes, 100 * 1000 * 1000, e) : NULL;
    mem_free(text);
    return root;
}
