/* records_folder.c - a folder of pictures as a list: each picture with the lines of NAME.txt beside it. */
#define _GNU_SOURCE
#include "data/internal.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { CAPTION_BYTES = 1 << 20 };

static int is_picture(const struct dirent *entry)
{
    static const char *const endings[] = { ".png", ".jpg", ".jpeg", ".webp" };
    const char *dot = strrchr(entry->d_name, '.');
    for (int i = 0; dot && i < 4; i++)
        if (!strcasecmp(dot, endings[i]))
            return entry->d_name[0] != '.';
    return 0;
}

/* The lines of a text that are not empty. */
static json_t *lines_of(const char *text)
{
    json_t *list = json_array();
    for (const char *s = text; *s; ) {
        size_t n = strcspn(s, "\r\n"), blank = strspn(s, " \t");
        json_t *line = blank < n ? json_stringn(s, n) : NULL;
        if (blank < n && (!line || json_array_append_new(list, line))) {
            json_decref(list);
            return NULL;                           /* not UTF-8 */
        }
        s += n;
        s += strspn(s, "\r\n");
    }
    return list;
}

static json_t *captions_of(const char *folder, const char *name, error *e)
{
    long bytes;
    json_t *list = NULL;
    char *path = mem_text("%s/%.*s.txt", folder, (int)(strrchr(name, '.') - name), name);
    bool there = path && access(path, F_OK) == 0;
    char *text = there ? file_load(path, CAPTION_BYTES, &bytes, e) : NULL;
    if (!path)
        data_no_memory(e, folder);
    else if (text && memchr(text, 0, (size_t)bytes))
        error_set(e, "%s: a zero byte; expected UTF-8 text", QUOTE(path));
    else if (text && !(list = lines_of(data_without_mark(text, &bytes))))
        error_set(e, "%s: captions: not UTF-8", QUOTE(path));
    else if (!there)
        list = json_array();
    mem_free(text);
    mem_free(path);
    return list;
}

/* A line {"image": ..., "captions": [...]} */
static bool put_record(buffer *b, const char *folder, const char *name, error *e)
{
    json_t *captions = captions_of(folder, name, e);
    if (!captions)
        return false;
    json_t *one = json_pack("{s:s, s:o}", "image", name, "captions", captions);
    char *line = one ? json_dumps(one, JSON_COMPACT) : NULL;
    if (line)
        data_print(b, "%s\n", line);
    else
        error_set(e, "%s/%s: name: not UTF-8", folder, QUOTE(name));
    json_decref(one);
    free(line);
    return line && (!b->failed || data_no_memory(e, folder));
}

bool records_of_folder(const char *folder, record_list *l, error *e)
{
    struct dirent **entries;
    buffer lines = { 0 };
    *l = (record_list){ 0 };
    int n = scandir(folder, &entries, is_picture, alphasort);
    if (n < 0)
        return error_set(e, "%s: folder: cannot be read; %s", QUOTE(folder), strerror(errno));
    bool ok = n || error_set(e, "%s: no pictures in it; expected .png, .jpg, .jpeg or .webp", QUOTE(folder));
    for (int i = 0; i < n; i++) {
        ok = ok && put_record(&lines, folder, entries[i]->d_name, e);
        free(entries[i]);
    }
    free(entries);
    ok = ok && records_parse(QUOTE(folder), lines.text, lines.used, l, e);
    data_buffer_free(&lines);
    return ok;
}
