/* system.c - the calls of the system that read and write files: one place that takes up again what was
 * interrupted, and where a test can make the n-th one fail (base.h, file_fail_at). A read or write may do
 * less than it was asked for; whoever calls goes on from there. */
#include "base/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static _Atomic long calls, fail_at;
static _Atomic int fail_number;
static _Atomic bool fail_on;

void file_fail_at(long nth, int number, bool from_then_on)
{
    fail_number = number;
    fail_on = from_then_on;
    fail_at = nth ? calls + nth : 0;
}

long file_count(void)
{
    return calls;
}

static bool fails(void)
{
    long n = ++calls, at = fail_at;
    return at && (n == at || (fail_on && n > at));
}

/* How much of `bytes` to ask for, -1 with errno set if the call is to fail. */
static ssize_t allowed(size_t bytes)
{
    if (!fails())
        return bytes < 1L << 30 ? (ssize_t)bytes : 1L << 30;
    errno = fail_number;
    return fail_number ? -1 : (ssize_t)(bytes + 1) / 2;
}

ssize_t sys_read(int fd, void *to, size_t bytes, off_t offset)
{
    ssize_t n = allowed(bytes);
    return n < 0 ? n : pread(fd, to, (size_t)n, offset);
}

ssize_t sys_write(int fd, const void *from, size_t bytes, off_t offset)
{
    ssize_t n = allowed(bytes);
    return n < 0 ? n : pwrite(fd, from, (size_t)n, offset);
}

int sys_open(const char *path, int flags)
{
    int fd;
    do
        fd = allowed(0) < 0 ? -1 : open(path, flags | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int sys_resize(int fd, off_t bytes)
{
    int status;
    do
        status = allowed(0) < 0 ? -1 : ftruncate(fd, bytes);
    while (status && errno == EINTR);
    return status;
}

int sys_sync(int fd)
{
    int status;
    do
        status = allowed(0) < 0 ? -1 : fsync(fd);
    while (status && errno == EINTR);
    return status;
}

int sys_rename(const char *from, const char *to)
{
    int status;
    do
        status = allowed(0) < 0 ? -1 : rename(from, to);
    while (status && errno == EINTR);
    return status;
}

int sys_folder(const char *path)
{
    int status;
    do
        status = allowed(0) < 0 ? -1 : mkdir(path, 0777);
    while (status && errno == EINTR);
    return status;
}
