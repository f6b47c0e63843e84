/* file.c - reading regular files, and writing files whole or not at all (base.h).
 *
 * Output goes to NAME.tmp.PID in the folder of NAME: write, fsync, rename, fsync of the folder. A reader sees
 * the old file or the new one, never a part; a process that is killed leaves its temporary file, which the
 * next writer of the same name, or file_sweep, removes. Every call of the system passes through system.c,
 * where a test can make the n-th one fail. */
#include "base/internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct file_out {
    int fd, failed;                    /* errno of the first failure; 0: none */
    long end;
    char path[PATH_MAX], temporary[PATH_MAX + 32];
};

/* ---- reading ------------------------------------------------------------------------------------------- */
int file_open(const char *path, long *bytes, error *e)
{
    struct stat about;
    int fd = sys_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        error_set(e, "%s: cannot be opened; %s", QUOTE(path), strerror(errno));
        return -1;
    }
    if (fstat(fd, &about) || !S_ISREG(about.st_mode)) {
        error_set(e, "%s: not a regular file", QUOTE(path));
        close(fd);
        return -1;
    }
    *bytes = about.st_size;
    return fd;
}

bool file_read_at(int fd, long offset, void *to, long bytes)
{
    char *p = to;
    while (bytes > 0) {
        ssize_t n = sys_read(fd, p, (size_t)bytes, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : 0;
            return false;
        }
        p += n;
        offset += n;
        bytes -= n;
    }
    return true;
}

void *file_load(const char *path, long limit, long *bytes, error *e)
{
    int fd = file_open(path, bytes, e);
    if (fd < 0)
        return NULL;
    char *all = NULL;
    if (*bytes > limit)
        error_set(e, "%s: too large; at most %ld bytes, found %ld", QUOTE(path), limit, *bytes);
    else if (!(all = mem_new((size_t)*bytes + 1)))
        error_set(e, "%s: memory is out; %ld bytes asked for", QUOTE(path), *bytes + 1);
    else if (!file_read_at(fd, 0, all, *bytes)) {
        error_set(e, "%s: cannot be read; %s", QUOTE(path), errno ? strerror(errno) : "it became shorter");
        mem_free(all);
        all = NULL;
    }
    close(fd);
    return all;
}

/* ---- stale temporary files ----------------------------------------------------------------------------- */
/* Is `entry` PREFIX.tmp.PID (any PREFIX if NULL) of a process that is gone? */
static bool stale(const char *entry, const char *prefix)
{
    const char *mark = NULL;
    for (const char *p = entry; (p = strstr(p, ".tmp.")); p++)
        mark = p;
    if (!mark || mark == entry)
        return false;
    if (prefix && (strlen(prefix) != (size_t)(mark - entry) || memcmp(entry, prefix, strlen(prefix))))
        return false;
    const char *digits = mark + 5;
    size_t n = strspn(digits, "0123456789");
    if (!n || n > 9 || digits[n])
        return false;
    int pid = atoi(digits);
    return pid > 0 && kill(pid, 0) && errno == ESRCH;
}

static long sweep(const char *folder, const char *prefix)
{
    long removed = 0;
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d)); ) {
        struct stat about;
        if (stale(entry->d_name, prefix) && !fstatat(dirfd(d), entry->d_name, &about, AT_SYMLINK_NOFOLLOW)
            && S_ISREG(about.st_mode) && !unlinkat(dirfd(d), entry->d_name, 0))
            removed++;
    }
    if (d)
        closedir(d);
    return removed;
}

long file_sweep(const char *folder)
{
    return sweep(folder, NULL);
}

/* ---- writing ------------------------------------------------------------------------------------------- */
/* Splits path: the folder into to (PATH_MAX), the name is returned. */
static const char *split(const char *path, char *to)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        strcpy(to, ".");
    else
        sprintf(to, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return slash ? slash + 1 : path;
}

/* The place of the output: a link is followed to the file that is to be replaced, which must be a regular
 * one. */
static bool place(file_out *f, const char *path, error *e)
{
    struct stat about;
    if (!*path)
        return error_set(e, "the name of the output is empty");
    if (strlen(path) >= PATH_MAX)
        return error_set(e, "%s: the path is too long", QUOTE(path));
    if (stat(path, &about))
        strcpy(f->path, path);
    else if (!S_ISREG(about.st_mode))
        return error_set(e, "%s: exists and is not a regular file", QUOTE(path));
    else if (!realpath(path, f->path))
        return error_set(e, "%s: cannot be resolved; %s", QUOTE(path), strerror(errno));
    sprintf(f->temporary, "%s.tmp.%ld", f->path, (long)getpid());
    return true;
}

file_out *file_create(const char *path, error *e)
{
    char folder[PATH_MAX];
    file_out *f = mem_new(sizeof *f);
    if (!f) {
        error_set(e, "%s: memory is out", QUOTE(path));
        return NULL;
    }
    if (!place(f, path, e)) {
        mem_free(f);
        return NULL;
    }
    sweep(folder, split(f->path, folder));
    unlink(f->temporary);              /* of an earlier process that had our number */
    f->fd = sys_open(f->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
    if (f->fd < 0) {
        error_set(e, "%s: cannot be created; %s", QUOTE(f->temporary), strerror(errno));
        mem_free(f);
        return NULL;
    }
    return f;
}

void file_write_at(file_out *f, long offset, const void *data, long bytes)
{
    const char *p = data;
    while (bytes > 0 && !f->failed) {
        ssize_t n = sys_write(f->fd, p, (size_t)bytes, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            f->failed = n && errno ? errno : EIO;
            return;
        }
        p += n;
        offset += n;
        bytes -= n;
    }
    f->end = offset > f->end ? offset : f->end;
}

void file_write(file_out *f, const void *data, long bytes)
{
    file_write_at(f, f->end, data, bytes);
}

void file_print(file_out *f, const char *format, ...)
{
    char line[4096], *text = line;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(line, sizeof line, format, args);
    if (n >= (int)sizeof line && (text = mem_new((size_t)n + 1)))
        vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    if (n < 0 || !text)
        f->failed = f->failed ? f->failed : ENOMEM;
    else
        file_write(f, text, n);
    if (text != line)
        mem_free(text);
}

bool file_good(const file_out *f)
{
    return !f->failed;
}

bool file_read_back(file_out *f, long offset, void *to, long bytes)
{
    if (!f->failed && !file_read_at(f->fd, offset, to, bytes))
        f->failed = errno ? errno : EIO;
    return !f->failed;
}

void file_cut(file_out *f, long bytes)
{
    if (!f->failed && sys_resize(f->fd, bytes))
        f->failed = errno ? errno : EIO;
    f->end = bytes;
}

/* The folder's entry must reach the disk too; some file systems cannot flush a folder and say EINVAL. */
static bool sync_folder(const char *path)
{
    char folder[PATH_MAX];
    split(path, folder);
    int fd = sys_open(folder, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return false;
    bool ok = !sys_sync(fd) || errno == EINVAL;
    close(fd);
    return ok;
}

bool file_finish(file_out *f, error *e)
{
    if (!f->failed && sys_sync(f->fd))
        f->failed = errno ? errno : EIO;
    if (close(f->fd) && !f->failed)
        f->failed = errno;
    if (!f->failed && sys_rename(f->temporary, f->path))
        f->failed = errno ? errno : EIO;
    bool ok = !f->failed;
    if (!ok) {
        unlink(f->temporary);
        error_set(e, "%s: cannot be written; %s", QUOTE(f->path), strerror(f->failed));
    } else if (!sync_folder(f->path)) {
        ok = error_set(e, "%s: is written, but its folder cannot be flushed; %s", QUOTE(f->path),
                       strerror(errno));
    }
    mem_free(f);
    return ok;
}

void file_abandon(file_out *f)
{
    close(f->fd);
    unlink(f->temporary);
    mem_free(f);
}

bool file_rename(const char *from, const char *to, bool *was, error *e)
{
    *was = !sys_rename(from, to);
    if (!*was && errno != ENOENT)
        return error_set(e, "%s: cannot be renamed; %s", QUOTE(from), strerror(errno));
    return !*was || sync_folder(to)
        || error_set(e, "%s: is renamed, but its folder cannot be flushed; %s", QUOTE(from), strerror(errno));
}
