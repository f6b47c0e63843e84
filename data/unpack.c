/* unpack.c - a folder of pictures with list.jsonl, written as a package is read (packages.h). */
#include "data/packages.h"
#include <errno.h>
#include <jansson.h>
#include <string.h>

static bool cannot(error *e, const char *path)
{
    return error_set(e, "%s: cannot be written; %s", QUOTE(path), strerror(errno));
}

bool unpack_begin(unpacking *p, const char *folder, unpacked *u, error *e)
{
    *u = (unpacked){ 0 };
    *p = (unpacking){ .folder = folder, .u = u };
    char *path = mem_text("%s/list.jsonl", folder);
    bool ok = path ? file_make_folders(folder, e) : error_set(e, "out of memory");
    ok = ok && ((p->list = fopen(path, "w")) || cannot(e, path));
    mem_free(path);
    return ok;
}

bool unpack_end(unpacking *p, bool ok, error *e)
{
    bool closed = !p->list || !fclose(p->list);
    p->list = NULL;
    return ok && (closed || error_set(e, "%s: list.jsonl cannot be written; %s", QUOTE(p->folder),
                                      strerror(errno)));
}

bool unpack_file(const unpacking *p, const char *name, const void *bytes, long n, error *e)
{
    char *path = mem_text("%s/%s", p->folder, name);
    FILE *f = path ? fopen(path, "w") : NULL;
    bool ok = f && fwrite(bytes, 1, (size_t)n, f) == (size_t)n;
    ok = !(f && fclose(f)) && ok;
    if (!ok)
        path ? cannot(e, path) : error_set(e, "out of memory");
    mem_free(path);
    return ok;
}

/* Where a picture is seen through, paper is behind it: that is how drawings and glyphs are meant. */
bool unpack_on_white(const unpacking *p, const char *name, const char *from, const void *bytes, long n,
                     long side, bool *broken, error *e)
{
    picture whole = { 0 }, small = { 0 };
    bool ok = picture_decode_as(&whole, PICTURE_HF, bytes, n, from, e);
    *broken = !ok;
    long longer = whole.width > whole.height ? whole.width : whole.height, size = 0;
    if (ok && longer > side) {
        long w = whole.width * side / longer, h = whole.height * side / longer;
        ok = picture_resize(&small, &whole, w ? w : 1, h ? h : 1, e);
    }
    void *png = ok ? picture_encode(longer > side ? &small : &whole, &size, e) : NULL;
    ok = png && unpack_file(p, name, png, size, e);
    mem_free(png);
    picture_free(&whole);
    picture_free(&small);
    return ok;
}

bool unpack_line(const unpacking *p, const char *image, const char *const *captions, int count, error *e)
{
    json_t *list = json_array(), *line = json_pack("{s:s,s:o}", "image", image, "captions", list);
    bool ok = line != NULL;
    for (int i = 0; ok && i < count; i++)
        ok = !json_array_append_new(list, json_string(captions[i]));
    ok = ok && !json_dumpf(line, p->list, JSON_COMPACT | JSON_ENSURE_ASCII) && fputc('\n', p->list) != EOF;
    json_decref(line);
    p->u->pictures++;
    p->u->captions += count;
    return ok || error_set(e, "%s: a line of list.jsonl cannot be written: %s", QUOTE(p->folder),
                           QUOTE(image));
}
