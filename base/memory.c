/* memory.c - the one door to the heap (base.h). */
#include "base/base.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

enum { ALIGN = 64 };
static _Atomic long count, live, fail_at;          /* tests only: see mem_fail_at */
static _Atomic bool fail_on;

static bool fails(void)
{
    long n = ++count, at = fail_at;
    return at && (n == at || (fail_on && n > at));
}

void *mem_new(size_t bytes)
{
    if (fails() || bytes > SIZE_MAX / 2)
        return NULL;
    size_t whole = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    void *p = aligned_alloc(ALIGN, whole ? whole : ALIGN);
    if (p) {
        memset(p, 0, whole ? whole : ALIGN);
        live++;
    }
    return p;
}

void *mem_grow(void *old, size_t old_bytes, size_t bytes)
{
    void *p = mem_new(bytes);
    if (!p)
        return NULL;
    if (old)
        memcpy(p, old, old_bytes < bytes ? old_bytes : bytes);
    mem_free(old);
    return p;
}

void mem_free(void *p)
{
    if (p)
        live--;
    free(p);
}

void *mem_reserve(size_t bytes)
{
    if (fails() || !bytes)
        return NULL;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    live++;
    return p;
}

void mem_unreserve(void *p, size_t bytes)
{
    if (p && !munmap(p, bytes))
        live--;
}

char *mem_text(const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *s = n < 0 ? NULL : mem_new((size_t)n + 1);
    if (s)
        vsnprintf(s, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return s;
}

long mem_peak_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : usage.ru_maxrss * 1024L;
}

void mem_fail_at(long nth, bool from_then_on)
{
    fail_at = nth ? count + nth : 0;
    fail_on = from_then_on;
}

long mem_count(void)
{
    return count;
}

long mem_live(void)
{
    return live;
}

double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
