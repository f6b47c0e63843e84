/* faults.c - cases in processes of their own, and the figures that count them (faults.h). */
#define _GNU_SOURCE
#include "tests/faults.h"
#include "data/data.h"
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CASE_SECONDS = 300 };

/* ---- figures ----------------------------------------------------------------------------------------- */
const fault_entry fault_entries[] = {
    { "F2", "disk full: exit 1, a message, the last checkpoint whole, no temporary file", figure_disk_full },
    { "F3", "an allocation of ours fails, once and from then on: an error, no leak, no crash",
      figure_memory },
    { "F4", "a call of the system fails or is short: an error or the same result", figure_calls },
    { "F5", "a byte of a file changed: refused, or every number the same", figure_flips },
    { "F6", "a checkpoint cut at every 1 %: refused, the one before taken, with a warning", figure_cuts },
    { "F7", "NaN: the run stops at that step, step and tensor named, weights as before", figure_not_finite },
    { "D1", "the same seed and threads twice: every byte of checkpoint and log", figure_twice },
    { "D2", "1, 2, 3, 4, 8 threads: every byte of checkpoint and log", figure_threads },
    { "D4", "other memory, locale, time zone, folder: every byte of checkpoint, log, captions",
      figure_surroundings },
    { "K1", "a long run with saves: memory < 1 %, files 0, time of a step < 5 %", figure_soak },
};
const int fault_entry_count = sizeof fault_entries / sizeof *fault_entries;

bool figure_ok(const figure *g)
{
    return g->of > 0 && g->found == g->of;
}

static void append(char *to, size_t size, const char *format, va_list args)
{
    size_t used = strlen(to);
    if (used + 3 < size) {
        strcat(to, used ? "; " : "");
        used = strlen(to);
        vsnprintf(to + used, size - used, format, args);
    }
}

void figure_detail(figure *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append(g->detail, sizeof g->detail, format, args);
    va_end(args);
}

void figure_skip(figure *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    append(g->skipped, sizeof g->skipped, format, args);
    va_end(args);
}

void figure_print(const figure *g)
{
    printf("%-3s %-5s %7ld %7ld  %s", g->id, figure_ok(g) ? "ok" : "short", g->found, g->of, g->what);
    printf(*g->detail ? " (%s)\n" : "%s\n", g->detail);
    if (*g->trouble)
        printf("          first trouble: %s\n", g->trouble);
    if (*g->skipped)
        printf("          skipped: %s\n", g->skipped);
    fflush(stdout);
}

/* ---- cases ------------------------------------------------------------------------------------------- */
void fault_wrong(fault_report *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!*r->why)
        vsnprintf(r->why, sizeof r->why, format, args);
    va_end(args);
}

#ifdef __SANITIZE_ADDRESS__
int __lsan_do_recoverable_leak_check(void);
#define LEAKS() __lsan_do_recoverable_leak_check()
#else
#define LEAKS() 0
#endif

static fault_report *shared_report(void)
{
    fault_report *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(r, MAP_FAILED);
    return r;
}

bool fault_case(figure *g, const char *name, fault_body body, void *context, fault_report *to)
{
    fault_report *r = shared_report();
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(CASE_SECONDS);
        body(context, r);
        if (!*r->why && LEAKS())
            fault_wrong(r, "memory of a library is lost");
        _exit(0);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        fault_wrong(r, "no process could be started");
    else if (WIFSIGNALED(status))
        snprintf(r->why, sizeof r->why, "ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status))
        fault_wrong(r, "exit code %d", WEXITSTATUS(status));
    bool ok = !*r->why;
    if (g) {
        g->of++;
        g->found += ok;
        if (!ok && getenv("FAULTS_SHOWN"))
            fprintf(stderr, "%s: %s\n", name, r->why);
        if (!ok && !*g->trouble)
            snprintf(g->trouble, sizeof g->trouble, "%s: %s", name, r->why);
    }
    if (to)
        *to = *r;
    munmap(r, sizeof *r);
    return ok;
}

/* ---- looking around ---------------------------------------------------------------------------------- */
static uint64_t mix(uint64_t digest, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)                         /* FNV-1a */
        digest = (digest ^ p[i]) * 0x100000001b3u;
    return digest;
}

uint64_t fault_digest(const char *path, uint64_t seed)
{
    long n;
    error e;
    char *bytes = file_load(path, 1L << 30, &n, &e);
    uint64_t digest = bytes ? mix(seed ^ 0xcbf29ce484222325u, bytes, (size_t)n) : 0;
    mem_free(bytes);
    return digest;
}

uint64_t fault_log_digest(const char *path)
{
    long n;
    error e;
    char *text = file_load(path, 1L << 30, &n, &e);
    uint64_t digest = 0xcbf29ce484222325u;
    for (char *line = text; line && *line; ) {
        char *end = strchr(line, '\n'), *clock = strstr(line, ",\"data_ms\"");
        bool whole = end && clock && clock < end;          /* the clock's fields close a line */
        digest = whole ? mix(digest, line, (size_t)(clock - line)) : 0;
        line = end ? end + 1 : NULL;
    }
    mem_free(text);
    return text ? digest : 0;
}

static bool mix_dataset(h5 *f, const char *name, uint64_t *digest, error *e)
{
    static const size_t widths[] = { sizeof(real), sizeof(int), 8, 1 };
    h5_shape s;
    if (!h5_find(f, name, &s, e))
        return false;
    size_t bytes = (size_t)s.size * widths[s.type];
    void *data = mem_new(bytes);
    bool ok = data ? h5_read(f, name, s.type, s.ndim, s.dim, data, e) : error_set(e, "out of memory");
    if (ok)
        *digest = mix(mix(mix(*digest, name, strlen(name)), s.dim, (size_t)s.ndim * sizeof *s.dim), data,
                      bytes);
    mem_free(data);
    return ok;
}

bool fault_h5_digest(const char *path, uint64_t *digest, error *e)
{
    static const char *const texts[] = { "format", "config", "source" };
    long n = 0;
    h5 *f = h5_open(path, e);
    char **names = f ? h5_list(f, "", &n, e) : NULL;
    bool ok = names != NULL;
    *digest = mix(0xcbf29ce484222325u, &n, sizeof n);
    for (long i = 0; ok && i < n; i++)
        ok = mix_dataset(f, names[i], digest, e);
    for (int i = 0; ok && i < 3; i++) {
        char *text = h5_text(f, "", texts[i], e);
        ok = text != NULL;
        if (ok)
            *digest = mix(*digest, text, strlen(text));
        mem_free(text);
    }
    if (names)
        h5_list_free(names, n);
    h5_close(f);
    return ok;
}

long fault_descriptors(void)
{
    long n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

bool fault_leftovers(const char *folder)
{
    bool found = false;
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d)); )
        found |= strstr(entry->d_name, ".tmp.") != NULL;
    if (d)
        closedir(d);
    return found;
}

void fault_write(const char *path, const char *bytes, long n)
{
    FILE *f = fopen(path, "wb");
    ck_assert(f && fwrite(bytes, 1, (size_t)n, f) == (size_t)n && !fclose(f));
}

void fault_copy(const char *from, const char *to)
{
    long n;
    error e;
    char *bytes = file_load(from, 1L << 30, &n, &e);
    ck_assert_msg(bytes != NULL, "%s", e.text);
    fault_write(to, bytes, n);
    mem_free(bytes);
}

void fault_config(const train_config *c, const char *path)
{
    train_config copy = *c;
    config_table tables[TRAIN_TABLES];
    char *text = config_print(tables, train_config_tables(&copy, tables), false);
    ck_assert_ptr_nonnull(text);
    fault_write(path, text, (long)strlen(text));
    mem_free(text);
}

/* ---- runs -------------------------------------------------------------------------------------------- */
train_config fault_run(const char *folder, long steps, long save_freq)
{
    train_config c = world_config(TRAIN_STAGE1);
    c.pretrained.count = 0;
    c.data.max_samples = 16;
    c.max_iters = steps;
    c.save_freq = save_freq;
    world_text(c.bert_tokenizer, IN_FOLDER("bert"));
    world_text(c.output_dir, folder);
    return c;
}

train_config fault_wide(const char *folder, long steps)
{
    train_config c = fault_run(folder, steps, steps > 3 ? steps / 3 : 1);
    c.model.vision.image_size = 32;
    c.model.vision.width = c.model.qformer.memory_width = c.model.qformer.width = 48;
    c.model.vision.hidden = c.model.qformer.hidden = 192;
    c.model.qformer.queries = 8;
    c.model.vision.heads = c.model.qformer.heads = 3;
    c.data.max_samples = 0;
    c.accumulate = 2;
    return c;
}
