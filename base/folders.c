/* folders.c - making a folder for output, with those above it (base.h). */
#include "base/internal.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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
