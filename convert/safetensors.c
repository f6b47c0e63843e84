/* safetensors.c - Hugging Face's format: 8 bytes of length, little endian, a JSON header of that length
 *     {"NAME": {"dtype": "F32", "shape": [2,3], "data_offsets": [BEGIN,END]}, ..., "__metadata__": {...}}
 * and the data, in which the tensors must lie without gaps or overlaps. Shards: an index.json with
 * {"weight_map": {"NAME": "FILE"}}, of torch archives too. https://github.com/huggingface/safetensors, its
 * README. */
#include "convert/internal.h"
#include "data/json.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A tensor is some ten values; each takes up to 300 bytes of memory, and a file that is refused must not take
 * more than 64 MiB and its own size. */
enum { HEADER_LIMIT = 100 * 1000 * 1000, JSON_VALUES = 250 * 1000 };
static const char *const dtypes[W_TYPES] = { "F64", "F32", "F16", "BF16", "I64",
                                             "I32", "I16", "I8",  "U8",   "BOOL" };

typedef struct place { long begin, end; const char *name; } place;
typedef struct header {
    weights *w;
    int file;
    const char *path;
    long data, bytes;
    place *places;
    long count;
} header;

/* A list of at most `most` whole numbers; how many, -1: it is none. */
static int numbers(const json_t *list, long *to, int most)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > (size_t)most)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(list, i);
        if (!json_is_integer(x) || json_integer_value(x) < 0)
            return -1;
        to[i] = (long)json_integer_value(x);
    }
    return (int)n;
}

static bool read_entry(header *h, const char *name, const json_t *o, error *e)
{
    const char *dtype = json_string_value(json_object_get(o, "dtype")), *file = QUOTE(h->path),
               *quoted = QUOTE(name);
    long dim[WEIGHTS_DIMS], at[2], size, type = 0;
    while (type < W_TYPES && (!dtype || strcmp(dtype, dtypes[type])))
        type++;
    if (!json_is_object(o) || !dtype)
        return error_set(e, "%s: %s: dtype: expected a text", file, quoted);
    if (type == W_TYPES)
        return error_set(
            e,
            "%s: %s: dtype: unknown or unsupported, \"%s\"; expected one of F64 F32 F16 BF16 I64 I32 "
            "I16 I8 U8 BOOL",
            file, quoted, QUOTE(dtype));
    int ndim = numbers(json_object_get(o, "shape"), dim, WEIGHTS_DIMS);
    if (ndim < 0)
        return error_set(e, "%s: %s: shape: expected at most %d whole numbers", file, quoted, WEIGHTS_DIMS);
    if (numbers(json_object_get(o, "data_offsets"), at, 2) != 2 || at[0] > at[1] || at[1] > h->bytes)
        return error_set(e, "%s: %s: data_offsets: expected begin and end within the %ld bytes of data", file,
                         quoted, h->bytes);
    long width = weights_type_bytes((weights_type)type);
    if (!weights_size(ndim, dim, width, &size) || size * width != at[1] - at[0])
        return error_set(e, "%s: %s: the shape and the %ld bytes of its data do not fit", file, quoted,
                         at[1] - at[0]);
    h->places[h->count++] = (place){ at[0], at[1], name };
    return weights_add(h->w, name, (weights_type)type, ndim, dim, NULL, h->file, h->data + at[0], e);
}

static bool texts_only(const json_t *metadata)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)metadata, key, v)
        if (!json_is_string(v))
            return false;
    return json_is_object(metadata);
}

static int by_begin(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);          /* empty ones first */
}

/* Without gap or overlap, to the end of the file. */
static bool check_places(header *h, error *e)
{
    long at = 0;
    qsort(h->places, (size_t)h->count, sizeof *h->places, by_begin);
    for (long i = 0; i < h->count; i++) {
        if (h->places[i].begin != at)
            return error_set(e,
                             "%s: %s: data from byte %ld on; expected %ld, where the tensor before it ends",
                             QUOTE(h->path), QUOTE(h->places[i].name), h->places[i].begin, at);
        at = h->places[i].end;
    }
    return at == h->bytes
           || error_set(e, "%s: %ld bytes behind the last tensor", QUOTE(h->path), h->bytes - at);
}

/* Our own configuration, if an export left it there. */
static bool keep_config(header *h, const json_t *metadata, error *e)
{
    const char *text = json_string_value(json_object_get(metadata, "blip2.config"));
    if (!text || h->w->config)
        return true;
    return (h->w->config = mem_text("%s", text)) || error_set(e, "%s: out of memory", QUOTE(h->path));
}

static bool read_header(header *h, const json_t *root, error *e)
{
    const char *name;
    json_t *o;
    h->places = mem_new((json_object_size(root) + 1) * sizeof *h->places);
    if (!h->places)
        return error_set(e, "%s: out of memory", QUOTE(h->path));
    json_object_foreach((json_t *)root, name, o)
        if (strcmp(name, "__metadata__")) {
            if (!read_entry(h, name, o, e))
                return false;
        } else if (!texts_only(o))
            return error_set(e, "%s: __metadata__: expected texts by name", QUOTE(h->path));
        else if (!keep_config(h, o, e))
            return false;
    return check_places(h, e);
}

bool safetensors_read(weights *w, int file, error *e)
{
    const weights_file *f = &w->files[file];
    unsigned char head[8];
    uint64_t n = 0;
    if (f->bytes < 10 || !file_read_at(f->fd, 0, head, 8))
        return error_set(e, "%s: too short for safetensors", QUOTE(f->path));
    for (int i = 7; i >= 0; i--)
        n = n << 8 | head[i];
    if (n > HEADER_LIMIT || n < 2 || (long)n > f->bytes - 8)
        return error_set(e,
                         "%s: its header is said to have %llu bytes; expected 2 to %d, and within the file",
                         QUOTE(f->path), (unsigned long long)n, HEADER_LIMIT);
    char *text = mem_new((size_t)n + 1);
    bool ok = text ? file_read_at(f->fd, 8, text, (long)n) : false;
    if (!ok)
        error_set(e, "%s: its header cannot be read; %s", QUOTE(f->path),
                  text ? strerror(errno) : "out of memory");
    header h = {
        .w = w, .file = file, .path = f->path, .data = 8 + (long)n, .bytes = f->bytes - 8 - (long)n
    };
    json_t *root = ok ? data_json(QUOTE(f->path), 1, text, (long)n, JSON_VALUES, e) : NULL;
    if (root)
        ok = json_is_object(root) ? read_header(&h, root, e)
                                  : error_set(e, "%s: its header is no JSON object", QUOTE(f->path));
    mem_free(h.places);
    mem_free(text);
    json_decref(root);
    return ok && root;
}

/* ---- shards ---------------------------------------------------------------------------------------- */
/* A file name and nothing else. */
static bool plain_name(const char *name)
{
    return name && *name && !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, ".")
           && strcmp(name, "..");
}

static bool open_shard(weights *w, const char *index, const char *name, error *e)
{
    const char *slash = strrchr(index, '/');
    char *path = mem_text("%.*s%s", slash ? (int)(slash - index + 1) : 0, index, name);
    bool ok = path || error_set(e, "%s: out of memory", QUOTE(index)), known = false;
    for (int i = 0; ok && i < w->file_count; i++)
        known |= !strcmp(w->files[i].path, path);
    if (ok && !known) {
        int file = weights_add_file(w, path, e);
        ok = file >= 0 && weights_read_file(w, file, e);
    }
    mem_free(path);
    return ok;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Every name of the map is in the shard it names. The tensors stand in the order of the shards, not
 * sorted. */
static bool check_map(const weights *w, const char *path, const json_t *map, error *e)
{
    const char *name;
    json_t *file, *there = json_object();
    e->lines = 0;
    for (long i = 0; i < w->count; i++)
        json_object_set_new(there, w->entries[i].name,
                            json_string(last_part(w->files[w->entries[i].file].path)));
    json_object_foreach((json_t *)map, name, file)
        if (!json_equal(json_object_get(there, name), file))
            error_line(e, "%s: %s: is not in %s", QUOTE(path), QUOTE(name), QUOTE(json_string_value(file)));
    json_decref(there);
    return error_close(e, ERROR_RUN, "%s: %d tensors are not where it says", QUOTE(path), e->lines);
}

static json_t *load_index(const char *path, error *e)
{
    long bytes;
    char *text = file_load(path, HEADER_LIMIT, &bytes, e);
    const char *json = text ? data_without_mark(text, &bytes) : NULL;
    json_t *root = text ? data_json(QUOTE(path), 1, json, bytes, JSON_VALUES, e) : NULL;
    mem_free(text);
    return root;
}

bool safetensors_read_index(weights *w, const char *path, error *e)
{
    json_t *root = load_index(path, e), *file;
    const json_t *map = json_object_get(root, "weight_map");
    const char *name;
    bool ok = root != NULL;
    if (ok && (!json_is_object(map) || !json_object_size(map)))
        ok = error_set(e, "%s: weight_map: expected file names by tensor", QUOTE(path));
    if (ok)
        json_object_foreach((json_t *)map, name, file) {
            if (!plain_name(json_string_value(file)))
                ok = error_set(e, "%s: %s: expected the name of a file in the same folder", QUOTE(path),
                               QUOTE(name));
            if (!(ok = ok && open_shard(w, path, json_string_value(file), e)))
                break;
        }
    ok = ok && check_map(w, path, map, e);
    json_decref(root);
    return ok;
}
