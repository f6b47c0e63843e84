/* pictures.c - lists of pictures and texts, and a bar beside the work on them (pictures.h). */
#include "cli/pictures.h"
#include "data/data.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- lists ----------------------------------------------------------------------------------------- */
static bool add(cli_names *l, const char *text, size_t size, error *e)
{
    if (l->n == l->room) {
        long room = l->room ? 2 * l->room : 64;
        char **more = mem_grow(l->at, (size_t)l->room * sizeof *more, (size_t)room * sizeof *more);
        if (!more)
            return error_set(e, "out of memory for %ld names", room);
        l->at = more;
        l->room = room;
    }
    l->at[l->n] = mem_text("%.*s", (int)size, text);
    return l->at[l->n] ? (l->n++, true) : error_set(e, "out of memory for %ld names", l->n);
}

bool cli_names_add(cli_names *l, const char *text, error *e) { return add(l, text, strlen(text), e); }

void cli_names_free(cli_names *l)
{
    for (long i = 0; i < l->n; i++)
        mem_free(l->at[i]);
    mem_free(l->at);
    *l = (cli_names){ 0 };
}

bool cli_names_lines(cli_names *l, const char *path, error *e)
{
    long bytes;
    char *text = file_load(path, 1L << 30, &bytes, e);
    bool ok = text && (!memchr(text, 0, (size_t)bytes)
                       || error_set(e, "%s: a zero byte; expected names, a line each", QUOTE(path)));
    for (char *at = text; ok && *at;) {
        size_t n = strcspn(at, "\r\n");
        if (n)
            ok = add(l, at, n, e);
        at += n + (at[n] != 0);
    }
    mem_free(text);
    return ok;
}

static bool add_records(const char *root, const record_list *records, cli_names *l, error *e)
{
    bool ok = true;
    for (long i = 0; ok && i < records->count; i++) {
        char *path = mem_text("%s/%s", root, records->items[i].image);
        ok = path ? cli_names_add(l, path, e) : error_set(e, "out of memory for %ld names", l->n);
        mem_free(path);
    }
    return ok;
}

bool cli_names_pictures(cli_names *l, const char *path, error *e)
{
    struct stat about;
    record_list records = { 0 };
    size_t n = strlen(path);
    const char *slash = strrchr(path, '/');
    bool folder = !stat(path, &about) && S_ISDIR(about.st_mode);
    bool list = n >= 6 && !strcmp(path + n - 6, ".jsonl");
    if (!folder && !list) {
        if (!cli_names_lines(l, path, e))
            return false;
        return l->n || error_set(e, "%s: nothing in it", QUOTE(path));
    }
    char *root = folder || !slash ? mem_text("%s", folder ? path : ".")
                                  : mem_text("%.*s", (int)(slash - path), path);
    bool ok = root ? (folder ? records_of_folder(path, &records, e) : records_read(path, &records, e))
                         && add_records(root, &records, l, e)
                   : error_set(e, "out of memory");
    record_list_free(&records);
    mem_free(root);
    return ok && (l->n || error_set(e, "%s: no picture in it", QUOTE(path)));
}

/* ---- the bar --------------------------------------------------------------------------------------- */
cli_bar cli_bar_new(long of, bool quiet)
{
    return (cli_bar){ of, of > 1 && !quiet && isatty(STDERR_FILENO), clock_seconds() };
}

void cli_bar_show(const cli_bar *b, long done)
{
    enum { WIDTH = 24 };
    int filled = (int)(WIDTH * done / (b->of ? b->of : 1));
    double gone = clock_seconds() - b->started,
           left = done ? gone / (double)done * (double)(b->of - done) : 0;
    if (b->shown)
        fprintf(stderr, "\r[%.*s%.*s] %ld/%ld %.0f s left\033[K%s", filled, "########################",
                WIDTH - filled, "........................", done, b->of, left, done == b->of ? "\n" : "");
}

void cli_bar_clear(const cli_bar *b)
{
    if (b->shown && isatty(STDOUT_FILENO))
        fputs("\r\033[K", stderr);
}
