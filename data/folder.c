/* folder.c - a folder of many small files, written whole or not at all: it grows as NAME.tmp.PID beside
 * its place, is flushed once, and renamed. A process that is killed leaves its temporary folder, which the
 * next writer of the same name removes. An older folder is replaced only by a complete one, and only if it
 * holds `proof`, a file that such folders have: --force is no way to lose something else. */
#define _GNU_SOURCE
#include "data/internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int remove_entry(const char *path, const struct stat *about, int what, struct FTW *walk)
{
    (void)about, (void)what, (void)walk;
    return remove(path);
}

void folder_remove(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Removes NAME.tmp.PID of processes that are gone. */
static void sweep(const struct folder *f)
{
    char parent[sizeof f->path + 1], stale[sizeof f->temporary + 256];
    const char *slash = strrchr(f->path, '/'), *name = slash ? slash + 1 : f->path;
    size_t n = strlen(name);
    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - f->path) + 1 : 1, slash ? f->path : ".");
    DIR *d = opendir(parent);
    for (struct dirent *entry; d && (entry = readdir(d)); ) {
        const char *s = entry->d_name;
        if (strncmp(s, name, n) || strncmp(s + n, ".tmp.", 5))
            continue;
        char *end;
        long pid = strtol(s + n + 5, &end, 10);
        if (pid <= 0 || *end || (pid != getpid() && (!kill((pid_t)pid, 0) || errno != ESRCH)))
            continue;
        snprintf(stale, sizeof stale, "%s/%s", parent, s);
        folder_remove(stale);
    }
    if (d)
        closedir(d);
}

bool data_folder_begin(struct folder *f, const char *path, const char *proof, bool force, error *e)
{
    struct stat about;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n == 0 || n >= sizeof f->path - 64)
        return error_usage(e, "%s: no name for a folder", QUOTE(path));
    snprintf(f->path, sizeof f->path, "%.*s", (int)n, path);
    snprintf(f->temporary, sizeof f->temporary, "%s.tmp.%ld", f->path, (long)getpid());
    f->replaces = !lstat(f->path, &about);
    if (f->replaces) {
        char inside[sizeof f->path + 256];
        snprintf(inside, sizeof inside, "%s/%s", f->path, proof);
        if (!force)
            return error_usage(e, "%s: exists already; expected a new name, or --force to replace it",
                               QUOTE(path));
        if (!S_ISDIR(about.st_mode) || lstat(inside, &about))
            return error_usage(e, "%s: is not replaced; expected a folder with %s in it", QUOTE(path), proof);
    }
    sweep(f);
    if (mkdir(f->temporary, 0777))
        return error_set(e, "%s: cannot be created; %s", QUOTE(f->temporary), strerror(errno));
    return true;
}

bool data_folder_sub(const struct folder *f, const char *name, error *e)
{
    char path[sizeof f->temporary + 256];
    snprintf(path, sizeof path, "%s/%s", f->temporary, name);
    return !mkdir(path, 0777) || error_set(e, "%s: cannot be created; %s", QUOTE(path), strerror(errno));
}

bool data_folder_put(const struct folder *f, const char *name, const void *bytes, long n, error *e)
{
    char path[sizeof f->temporary + 256];
    snprintf(path, sizeof path, "%s/%s", f->temporary, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    const char *p = bytes;
    bool ok = fd >= 0;
    while (ok && n > 0) {
        ssize_t done = write(fd, p, (size_t)n);
        if (done < 0 && errno == EINTR)
            continue;
        ok = done > 0;
        p += ok ? done : 0;
        n -= ok ? done : 0;
    }
    int number = ok ? 0 : errno;
    if (fd >= 0 && close(fd) && ok) {
        number = errno;
        ok = false;
    }
    return ok || error_set(e, "%s: cannot be written; %s", QUOTE(path), strerror(number));
}

/* The new folder and the older one change places; at once, or where the file system cannot do that (NFS)
 * through a third name. */
static bool exchange(const struct folder *f)
{
    if (!renameat2(AT_FDCWD, f->temporary, AT_FDCWD, f->path, RENAME_EXCHANGE))
        return true;
    char older[sizeof f->temporary + 4];
    if (errno != EINVAL && errno != ENOSYS)
        return false;
    snprintf(older, sizeof older, "%s.old", f->temporary);
    if (rename(f->path, older))
        return false;
    bool ok = !rename(f->temporary, f->path);
    int number = errno;
    if (rename(older, ok ? f->temporary : f->path) && ok)
        folder_remove(older);
    errno = number;
    return ok;
}

bool data_folder_finish(const struct folder *f, error *e)
{
    int fd = open(f->temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && !syncfs(fd);
    if (ok && rename(f->temporary, f->path)) {
        ok = f->replaces && exchange(f);
        if (ok)
            folder_remove(f->temporary);             /* now the older one */
    }
    int number = errno;
    if (fd >= 0)
        close(fd);
    if (ok)
        return true;
    data_folder_abandon(f);
    return error_set(e, "%s: cannot be written; %s", QUOTE(f->path), strerror(number));
}

void data_folder_abandon(const struct folder *f)
{
    folder_remove(f->temporary);
}
