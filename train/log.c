/* log.c - log.jsonl: one JSON object a step. */
#include "train/internal.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

/* How many bytes the lines up to step `keep` take. */
static long bytes_up_to(const char *path, long keep)
{
    long bytes, used = 0, step;
    error e;
    char *text = file_load(path, 1L << 34, &bytes, &e);
    for (const char *line = text; line && *line; line += strcspn(line, "\n") + 1) {
        const char *end = strchr(line, '\n');
        if (!end || sscanf(line, "{\"step\":%ld,", &step) != 1 || step > keep)
            break;
        used = end + 1 - text;
    }
    mem_free(text);
    return used;
}

bool log_open(run_log *l, const char *folder, long keep, error *e)
{
    *l = (run_log){ .path = mem_text("%s/log.jsonl", folder) };
    if (!l->path)
        return error_set(e, "out of memory");
    if (keep && truncate(l->path, bytes_up_to(l->path, keep)))
        keep = 0;                                          /* there is none yet */
    l->file = fopen(l->path, keep ? "a" : "w");
    return l->file || error_set(e, "%s: cannot be written; %m", QUOTE(l->path));
}

void log_close(run_log *l)
{
    if (l->file)
        fclose(l->file);
    mem_free(l->path);
    *l = (run_log){ 0 };
}

/* A number that JSON can hold. */
static void put(FILE *f, const char *name, double x)
{
    if (isfinite(x))
        fprintf(f, ",\"%s\":%.9g", name, x);
    else
        fprintf(f, ",\"%s\":null", name);
}

bool log_write(run_log *l, const train_line *s, error *e)
{
    FILE *f = l->file;
    fprintf(f, "{\"step\":%ld,\"epoch\":%ld", s->step, s->epoch);
    for (int i = 0; i < s->losses->count; i++)
        put(f, s->losses->name[i], s->losses->value[i]);
    put(f, "grad_norm", s->losses->grad_norm);
    put(f, "lr", s->lr);
    put(f, "data_ms", 1e3 * s->data_seconds);
    put(f, "step_ms", 1e3 * s->step_seconds);
    put(f, "samples_per_s", (double)s->samples / fmax(s->step_seconds + s->data_seconds, 1e-9));
    put(f, "rss_mb", (double)mem_peak_bytes() / (1 << 20));
    fputs("}\n", f);
    return (!fflush(f) && !ferror(f)) || error_set(e, "%s: cannot be written; %m", QUOTE(l->path));
}
