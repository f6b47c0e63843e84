/* folders.c - making a folder for output, with those above it; what is asked of the disk before (base.h). */
#include "base/internal.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool file_make_folders(const char *path, error *e)
{
    char part[PATH_MAX];
    struct stat about;
    if (!*path || strlen(path) >= sizeof part)
        return error_usage(e, "%s: expected the name of a folder, found %s", QUOTE(path),
                           *path ? "too long a one" : "nothing");
    for (const char *p = path; *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        snprintf(part, sizeof part, "%.*s", (int)(p - path), path);
        if (sys_folder(part) && errno != EEXIST)
            return error_set(e, "%s: cannot be made; %s", QUOTE(part), strerror(errno));
        if (stat(part, &about) || !S_ISDIR(about.st_mode))
            return error_set(e, "%s: not a folder", QUOTE(part));
    }
    return true;
}

/* Its nearest folder that is there decides. */
bool file_may_fill(const char *folder, error *e)
{
    char at[PATH_MAX];
    struct stat about;
    if (snprintf(at, sizeof at, "%s", folder) >= (int)sizeof at)
        return error_set(e, "%s: expected the name of a folder, found too long a one", QUOTE(folder));
    while (stat(at, &about) && (errno == ENOENT || errno == ENOTDIR) && strcmp(at, ".")) {
        char *slash = strrchr(at, '/');
        if (slash)
            slash[slash == at] = 0;                        /* "/" stays */
        else
            strcpy(at, ".");
    }
    if (access(at, F_OK))
        return error_set(e, "%s: cannot be made; %s", QUOTE(at), strerror(errno));
    if (!S_ISDIR(about.st_mode))
        return error_set(e, "%s: not a folder", QUOTE(at));
    return !access(at, W_OK | X_OK)
           || error_set(e, "%s: cannot be written; %s", QUOTE(at), strerror(errno));
}

bool file_same(const char *a, const char *b)
{
    struct stat x, y;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool program_on_path(const char *program)
{
    const char *path = getenv("PATH");
    for (size_t n; path && *path; path += n + (path[n] != 0)) {
        n = strcspn(path, ":");
        char *file = mem_text("%.*s/%s", (int)n, path, program);
        bool found = file && !access(file, X_OK);
        mem_free(file);
        if (found)
            return true;
    }
    return false;
}
