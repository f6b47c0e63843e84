/* import_folder.c - a folder of pictures, NAME.png (.jpg, .jpeg, .webp) with its captions in the lines of
 * NAME.txt. Folders in it are looked into; one named train, val or test on top says of which split its
 * pictures are. Links to folders are followed at the end, where what they lead to lies in the folder, or may
 * lie outside (--allow-outside); a folder that two names lead to is read once. */
#define _GNU_SOURCE
#include "data/import.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CAPTION_BYTES = 1 << 20, LEVELS = 16 };
struct link { const char *path; int split, level; };
struct walk {
    import *m;
    import_map seen;                   /* folders, without links -> their splits */
    struct link *links; long count, room;          /* met so far, to be followed */
};

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
    else if (text && memchr(text, 0, (size_t)n))
        import_problem(m, QUOTE(text_path), "a zero byte; expected UTF-8 text");
    char *rest = text ? (char *)data_without_mark(text, &n) : NULL, *line;
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

/* Whether this folder is to be read: links may lead out of the root, or to what has been read. */
static bool enters(struct walk *w, const char *full, int split, int level)
{
    import *m = w->m;
    char real_path[PATH_MAX];
    if (level > LEVELS)
        return error_line(m->e, "%s: folder: more than %d levels deep", QUOTE(full), LEVELS);
    if (!realpath(full, real_path))
        return error_line(m->e, "%s: folder: cannot be read; %s", QUOTE(full), strerror(errno));
    if (!import_inside(m, real_path))
        return error_line(m->e, "%s: a link leads outside the folder of the pictures; expected none, or "
                          "--allow-outside", QUOTE(full));
    long before = w->seen.n, *was = import_entry(m, &w->seen, real_path, split);
    if (was && w->seen.n == before && *was != split && split != IMPORT_DRAWN)
        return error_line(m->e, "%s: a link to a folder that is read already, for another split or for none",
                          QUOTE(full));
    return w->seen.n > before;
}

static void keep_link(struct walk *w, const char *path, int split, int level)
{
    void *links = w->links;
    const char *copy = import_copy(w->m, path, (long)strlen(path));
    w->m->no_memory |= !data_room(&links, &w->room, w->count + 1, sizeof *w->links);
    w->links = links;
    if (!w->m->no_memory)
        w->links[w->count++] = (struct link){ copy, split, level };
}

static void walk(struct walk *w, const char *inner, int split, int level)
{
    import *m = w->m;
    struct dirent **entries;
    char *folder = mem_text("%s/%s", m->root, inner);
    bool enter = folder && enters(w, folder, split, level);
    int n = enter ? scandir(folder, &entries, is_visible, alphasort) : 0;
    m->no_memory |= !folder;
    if (n < 0)
        error_line(m->e, "%s: folder: cannot be read; %s", QUOTE(folder), strerror(errno));
    for (int i = 0; i < n; i++) {
        struct stat about;
        const char *name = entries[i]->d_name;
        char *full = mem_text("%s/%s", folder, name), *path = full ? full + strlen(m->root) + 1 : NULL;
        path += path && *path == '/';              /* the root itself: "root//name" */
        bool is_link = full && !lstat(full, &about) && S_ISLNK(about.st_mode);
        bool is_folder = full && !stat(full, &about) && S_ISDIR(about.st_mode);
        if (is_folder && is_link)
            keep_link(w, path, level ? split : import_split(name), level + 1);
        else if (is_folder)
            walk(w, path, level ? split : import_split(name), level + 1);
        else if (full && is_picture(name))
            add_picture(m, path, split);
        m->no_memory |= !full;
        m->result->drawings += full && ends_in(name, ".svg") && is_alone(full);
        mem_free(full);
        free(entries[i]);
    }
    if (enter && n >= 0)
        free(entries);
    mem_free(folder);
}

void import_folder(import *m, const char *path)
{
    struct walk w = { .m = m };
    if (import_root(m, path))
        walk(&w, "", IMPORT_DRAWN, 0);
    for (long i = 0; i < w.count; i++)
        walk(&w, w.links[i].path, w.links[i].split, w.links[i].level);
    mem_free(w.links);
    mem_free(w.seen.slot);
}
