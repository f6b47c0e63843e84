/* folder.c - a folder of its own for each test that writes files. */
#include "tests/tests.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char root[256];

void folder_begin(void)
{
    const char *asked = getenv("TMPDIR");          /* else memory, where fsync is free */
    const char *where = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
    snprintf(root, sizeof root, "%s/blip2-test-XXXXXX", asked && strlen(asked) < 200 ? asked : where);
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void empty(const char *folder)
{
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d)); ) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") || !unlink(path))
            continue;
        empty(path);
        rmdir(path);
    }
    if (d)
        closedir(d);
}

void folder_end(void)
{
    empty(root);
    rmdir(root);
}

const char *folder_path(char to[512], const char *name)
{
    snprintf(to, 512, "%s/%s", root, name);
    return to;
}

int folder_count(void)
{
    int n = 0;
    DIR *d = opendir(root);
    for (struct dirent *entry; d && (entry = readdir(d)); )
        n += entry->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

bool folder_has(const char *name) { return !access(IN_FOLDER(name), F_OK); }

void folder_write(const char *name, const char *text) { folder_write_bytes(name, text, (long)strlen(text)); }

void folder_write_bytes(const char *name, const void *bytes, long n)
{
    FILE *f = fopen(IN_FOLDER(name), "wb");
    ck_assert_msg(f != NULL, "%s: %s", name, strerror(errno));
    bool written = fwrite(bytes, 1, (size_t)n, f) == (size_t)n;
    ck_assert_msg(!fclose(f) && written, "%s: %s", name, strerror(errno));
}

char *folder_load(const char *name, long *n)
{
    error e;
    long size;
    char *bytes = file_load(IN_FOLDER(name), 1L << 30, &size, &e);
    ck_assert_msg(bytes != NULL, "%s", e.text);
    if (n)
        *n = size;
    return bytes;
}

bool folder_same(const char *a, const char *b)
{
    long n, m;
    char *x = folder_load(a, &n), *y = folder_load(b, &m);
    bool same = n == m && !memcmp(x, y, (size_t)n);
    mem_free(x);
    mem_free(y);
    return same;
}
