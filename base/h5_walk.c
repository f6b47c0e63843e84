/* h5_walk.c - lists of names and attributes of HDF5 files that are not trusted (base.h).
 *
 * Groups may hold each other, so the walk is bounded in depth and in the number of names it looks at. */
#include "base/internal.h"
#include <string.h>

enum { NAMES = 100000, DEPTH = 32, TEXT_LIMIT = 16 << 20 };

/* ---- lists --------------------------------------------------------------------------------------------- */
typedef struct names { char **at; long count, room; bool full; } names;

static bool append(names *list, char *name)
{
    if (name && list->count == list->room) {
        long room = list->room ? 2 * list->room : 64;
        char **more = mem_grow(list->at, (size_t)list->room * sizeof *more, (size_t)room * sizeof *more);
        if (more) {
            list->at = more;
            list->room = room;
        }
    }
    if (!name || list->count == list->room) {
        mem_free(name);
        return false;
    }
    list->at[list->count++] = name;
    return true;
}

void h5_list_free(char **list, long count)
{
    for (long i = 0; i < count; i++)
        mem_free(list[i]);
    mem_free(list);
}

static herr_t one_name(hid_t group, const char *name, const H5L_info_t *info, void *to)
{
    (void)group, (void)info;
    names *list = to;
    list->full = list->count >= NAMES || !append(list, mem_text("%s", name));
    return list->full;
}

typedef struct search { h5 *f; names found; long seen; error *e; } search;

static bool walk(search *s, hid_t group, const char *path, int depth);

/* One name of a group: what is below it, or itself; other links than hard ones fail when they are read. */
static bool enter(search *s, hid_t group, const char *path, const char *name, int depth)
{
    H5L_info_t info;
    char *full = mem_text("%s%s%s", path, *path ? "/" : "", name);
    bool hard = full && H5Lget_info(group, name, &info, H5P_DEFAULT) >= 0 && info.type == H5L_TYPE_HARD;
    hid_t object = hard ? H5Oopen(group, name, H5P_DEFAULT) : -1;
    bool ok;
    if (H5Iget_type(object) == H5I_GROUP) {
        ok = walk(s, object, full, depth + 1);
        mem_free(full);
    } else {
        ok = append(&s->found, full) || error_set(s->e, "%s: memory is out", QUOTE(h5_path(s->f)));
    }
    H5Oclose(object);
    return ok;
}

static bool walk(search *s, hid_t group, const char *path, int depth)
{
    names here = { 0 };
    hsize_t at = 0;
    bool ok = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, &at, one_name, &here) >= 0;
    if (!ok)
        h5_failed(s->e, h5_path(s->f), path, "cannot be listed");
    else if (here.full || depth > DEPTH || (s->seen += here.count) > NAMES)
        ok = error_set(s->e, "%s: %s: too many names or too deep; at most %d names and %d levels",
                       QUOTE(h5_path(s->f)), QUOTE(path), NAMES, DEPTH);
    for (long i = 0; ok && i < here.count; i++)
        ok = enter(s, group, path, here.at[i], depth);
    h5_list_free(here.at, here.count);
    return ok;
}

char **h5_list(h5 *f, const char *group, long *count, error *e)
{
    search s = { .f = f, .e = e };
    h5_lock();
    hid_t id = h5_look(f, group) == H5_GROUP ? H5Gopen2(h5_handle(f), *group ? group : "/", H5P_DEFAULT) : -1;
    bool ok = id >= 0 ? walk(&s, id, group, 0)
        : error_set(e, "%s: %s: no such group", QUOTE(h5_path(f)), QUOTE(group));
    H5Gclose(id);
    h5_unlock();
    if (ok && !s.found.at && !(s.found.at = mem_new(sizeof(char *))))
        ok = error_set(e, "%s: memory is out", QUOTE(h5_path(f)));
    if (!ok) {
        h5_list_free(s.found.at, s.found.count);
        return NULL;
    }
    *count = s.found.count;
    return s.found.at;
}

/* ---- attributes ---------------------------------------------------------------------------------------- */
/* Opens an attribute of one element; -1: missing or another shape. */
static hid_t attribute_open(h5 *f, const char *object, const char *name)
{
    h5_kind kind = h5_look(f, object);
    if (kind != H5_GROUP && kind != H5_DATASET)
        return -1;
    hid_t attribute = H5Aopen_by_name(h5_handle(f), *object ? object : "/", name, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Aget_space(attribute);
    bool one = H5Sget_simple_extent_npoints(space) == 1;
    H5Sclose(space);
    if (attribute >= 0 && !one) {
        H5Aclose(attribute);
        attribute = -1;
    }
    return attribute;
}

static char *variable_text(hid_t attribute, hid_t type)
{
    char *theirs = NULL, *ours = NULL;
    if (H5Aread(attribute, type, &theirs) >= 0 && theirs && strnlen(theirs, TEXT_LIMIT) < TEXT_LIMIT)
        ours = mem_text("%s", theirs);
    H5free_memory(theirs);
    return ours;
}

static char *fixed_text(hid_t attribute, hid_t type)
{
    size_t n = H5Tget_size(type);
    char *ours = n < TEXT_LIMIT ? mem_new(n + 1) : NULL;
    if (ours && H5Aread(attribute, type, ours) < 0) {
        mem_free(ours);
        ours = NULL;
    }
    return ours;
}

static bool no_attribute(h5 *f, const char *object, const char *name, const char *expected, error *e)
{
    return error_set(e, "%s: %s%sattribute %s: missing or of another type; expected %s", QUOTE(h5_path(f)),
                     QUOTE(object), *object ? ": " : "", name, expected);
}

char *h5_text(h5 *f, const char *object, const char *attribute, error *e)
{
    h5_lock();
    char *text = NULL;
    hid_t a = attribute_open(f, object, attribute), type = H5Aget_type(a);
    if (a >= 0 && H5Tget_class(type) == H5T_STRING)
        text = H5Tis_variable_str(type) > 0 ? variable_text(a, type) : fixed_text(a, type);
    H5Tclose(type);
    H5Aclose(a);
    h5_unlock();
    if (!text)
        no_attribute(f, object, attribute, "one text of at most 16 MiB", e);
    return text;
}

bool h5_number(h5 *f, const char *object, const char *attribute, double *value, error *e)
{
    h5_lock();
    hid_t a = attribute_open(f, object, attribute), type = H5Aget_type(a);
    H5T_class_t class = a >= 0 ? H5Tget_class(type) : H5T_NO_CLASS;
    bool ok = (class == H5T_FLOAT || class == H5T_INTEGER) && H5Aread(a, H5T_NATIVE_DOUBLE, value) >= 0;
    H5Tclose(type);
    H5Aclose(a);
    h5_unlock();
    return ok || no_attribute(f, object, attribute, "one number", e);
}
