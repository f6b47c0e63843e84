/* log.c - a file that grows by whole lines (base.h). */
#include "base/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool file_log_open(file_log *l, const char *path, long keep, error *e)
{
    *l = (file_log){ .fd = -1, .end = keep, .path = mem_text("%s", path) };
    if (!l->path)
        return error_set(e, "%s: memory is out", QUOTE(path));
    l->fd = sys_open(path, O_WRONLY | O_CREAT);
    if (l->fd >= 0 && !sys_resize(l->fd, keep))
        return true;
    error_set(e, "%s: cannot be written; %s", QUOTE(path), strerror(errno));
    file_log_close(l);
    return false;
}

bool file_log_add(file_log *l, const char *line, long bytes, error *e)
{
    for (long done = 0; done < bytes;) {
        ssize_t n = sys_write(l->fd, line + done, (size_t)(bytes - done), l->end + done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            error_set(e, "%s: cannot be written; %s", QUOTE(l->path), strerror(n ? errno : EIO));
            sys_resize(l->fd, l->end);
            return false;
        }
        done += n;
    }
    l->end += bytes;
    return true;
}

void file_log_close(file_log *l)
{
    if (l->path && l->fd >= 0)
        close(l->fd);
    mem_free(l->path);
    *l = (file_log){ .fd = -1 };
}
