/* import_folder.c - a folder of pictures, NAME.png (.jpg, .jpeg, .webp) with its captions in the lines of
 * NAME.txt. Folders in it are looked into; one named train, val or test on top says of which split its
 * pictures are. */
#define _GNU_SOURCE
#include "data/import.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CAPTION_BYTES = 1 << 20, LEVELS = 16 };

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static bool ends_in(const char *name, const char *ending)
{
    const char *dot = strrchr(name, '.');
    return dot && !strcasecmp(dot, ending);
}

static bool is_picture(const char *name)
{
    return ends_in(name, ".png") || ends_in(name, ".jpg") || ends_in(name, ".jpeg") || ends_in(name, ".webp");
}

static void add_picture(import *m, const char *path, int split)
{
    long n;
    error one;
    char *text_path = mem_text("%s/%.*s.txt", m->root, (int)(strrchr(path, '.') - path), path);
    bool there = text_path && access(text_path, F_OK) == 0;
    char *text = there ? file_load(text_path, CAPTION_BYTES, &n, &one) : NULL;
    import_item *i = import_picture(m, m->root, path, NULL, split);
    m->no_memory |= !text_path;
    if (there && !text)
        error_line(m->e, "%s", one.text);
    char *rest = text, *line;
    while (i && rest && (line = strsep(&rest, "\n"))) {
        if (line[strspn(line, " \t\r")])
            import_caption(m, QUOTE(text_path), i, line);
        if (m->o->first_line && i->caption_count)
            break;
    }
    mem_free(text);
    mem_free(text_path);
}

/* A drawing without a picture of its name. */
static bool is_alone(const char *svg)
{
    char *png = mem_text("%.*s.png", (int)strlen(svg) - 4, svg);
    bool alone = png && access(png, F_OK);
    mem_free(png);
    return alone;
}

static void walk(import *m, const char *inner, int split, int level)
{
    struct dirent **entries;
    char *folder = mem_text("%s/%s", m->root, inner);
    int n = folder ? scandir(folder, &entries, is_visible, alphasort) : -1;
    if (n < 0)
        error_line(m->e, "%s: folder: cannot be read; %s", folder ? QUOTE(folder) : "", strerror(errno));
    for (int i = 0; i < n; i++) {
        struct stat about;
        const char *name = entries[i]->d_name;
        char *full = mem_text("%s/%s", folder, name), *path = full ? full + strlen(m->root) + 1 : NULL;
        path += path && *path == '/';              /* the root itself: "root//name" */
        bool is_folder = full && !lstat(full, &about) && S_ISDIR(about.st_mode);
        if (is_folder && level < LEVELS)
            walk(m, path, level ? split : import_split(name), level + 1);
        else if (full && !is_folder && is_picture(name))
            add_picture(m, path, split);
        m->no_memory |= !full;
        m->result->drawings += full && ends_in(name, ".svg") && is_alone(full);
        mem_free(full);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    mem_free(folder);
}

void import_folder(import *m, const char *path)
{
    if (import_root(m, path))
        walk(m, "", IMPORT_DRAWN, 0);
}
