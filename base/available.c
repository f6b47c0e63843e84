/* available.c - how much memory this process can still get (base.h): the least of what the system has free,
 * what is left of each control group that the process is in (a container, a batch job, a service), and what
 * is left of its own limits on address space and data.
 *
 * Free is what Linux calls available: unused, or used for files that can be read again; and unused swap. In a
 * group the pages of files count as used, but they are given up first, so they are taken off again. */
#include "base/base.h"
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PATH = 4096 };

static FILE *open_at(const char *root, const char *folder, const char *name)
{
    char path[PATH];
    int n = snprintf(path, sizeof path, "%s%s/%s", root, folder, name);
    return n > 0 && n < PATH ? fopen(path, "r") : NULL;
}

/* The number behind `key` in lines of "key number", or the first number if key is ""; -1: not there
 * ("max"). */
static double number_in(const char *root, const char *folder, const char *name, const char *key)
{
    char line[256], word[64];
    double found = -1, x;
    FILE *f = open_at(root, folder, name);
    while (f && found < 0 && fgets(line, sizeof line, f))
        if (*key ? sscanf(line, "%63s %lf", word, &x) == 2 && !strcmp(word, key)
                 : sscanf(line, "%lf", &x) == 1)
            found = x;
    if (f)
        fclose(f);
    return found;
}

static void least(double bytes, const char *what, double *found, const char **limit)
{
    if (bytes < *found) {
        *found = bytes > 0 ? bytes : 0;
        *limit = what;
    }
}

/* One group; its files' names differ between the two versions of control groups. */
static void group(const char *root, const char *folder, bool second, double *found, const char **limit)
{
    double most = number_in(root, folder, second ? "memory.max" : "memory.limit_in_bytes", "");
    double used = number_in(root, folder, second ? "memory.current" : "memory.usage_in_bytes", "");
    double idle = number_in(root, folder, "memory.stat", second ? "inactive_file" : "total_inactive_file");
    double busy = number_in(root, folder, "memory.stat", second ? "active_file" : "total_active_file");
    if (most >= 0 && used >= 0)
        least(most - used + (idle > 0 ? idle : 0) + (busy > 0 ? busy : 0), "of this control group", found,
              limit);
}

/* The group of a line of /proc/self/cgroup, and those that hold it: "0::/a/b" or "7:memory:/a/b". */
static void groups(const char *root, char *line, double *found, const char **limit)
{
    char folder[PATH], *kind = strchr(line, ':'), *path = kind ? strchr(kind + 1, ':') : NULL;
    if (!path)
        return;
    *path++ = 0;
    path[strcspn(path, "\n")] = 0;
    bool second = !kind[1];
    if (!second && strcmp(kind + 1, "memory"))
        return;
    for (;;) {
        if (snprintf(folder, sizeof folder, "/sys/fs/cgroup%s%s", second ? "" : "/memory", path) < PATH)
            group(root, folder, second, found, limit);
        char *last = strrchr(path, '/');
        if (!last || !*path)
            return;
        *last = 0;
    }
}

static void process(int resource, const char *what, double *found, const char **limit)
{
    struct rlimit most;
    double pages = number_in("", "/proc/self", "statm", "");               /* of address space */
    if (!getrlimit(resource, &most) && most.rlim_cur != RLIM_INFINITY && pages >= 0)
        least((double)most.rlim_cur - pages * (double)sysconf(_SC_PAGESIZE), what, found, limit);
}

double mem_available(const char *root, const char **limit)
{
    char line[PATH];
    double found = 1e18, free_bytes = 1024 * number_in(root, "/proc", "meminfo", "MemAvailable:");
    double swap = 1024 * number_in(root, "/proc", "meminfo", "SwapFree:");
    *limit = "no limit";
    if (free_bytes >= 0)
        least(free_bytes + (swap > 0 ? swap : 0), "of this machine", &found, limit);
    FILE *f = open_at(root, "/proc/self", "cgroup");
    while (f && fgets(line, sizeof line, f))
        groups(root, line, &found, limit);
    if (f)
        fclose(f);
    process(RLIMIT_AS, "of address space (ulimit -v)", &found, limit);
    process(RLIMIT_DATA, "of data (ulimit -d)", &found, limit);
    return found;
}

double mem_resident_bytes(void)
{
    char line[256];
    double pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fgets(line, sizeof line, f) && sscanf(line, "%lf %lf", &pages, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return resident * (double)sysconf(_SC_PAGESIZE);
}
