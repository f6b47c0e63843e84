/* log.c - log.jsonl: one JSON object a step. */
#include "train/internal.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

/* How many bytes the lines up to step `keep` take; -1: the log is there and cannot be read. */
static long bytes_up_to(const char *path, long keep, error *e)
{
    long bytes, used = 0, step;
    if (access(path, F_OK))
        return 0;
    char *text = file_load(path, 1L << 34, &bytes, e);
    if (!text)
        return -1;
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        const char *end = strchr(line, '\n');
        if (!end || sscanf(line, "{\"step\":%ld,", &step) != 1 || step > keep)
            break;
        used = end + 1 - text;
    }
    mem_free(text);
    return used;
}

bool log_open(file_log *l, const char *folder, long keep, error *e)
{
    *l = (file_log){ .fd = -1 };
    char *path = mem_text("%s/log.jsonl", folder);
    if (!path)
        return error_set(e, "out of memory");
    long bytes = keep ? bytes_up_to(path, keep, e) : 0;
    bool ok = bytes >= 0 && file_log_open(l, path, bytes, e);
    mem_free(path);
    return ok;
}

typedef struct text_line { char text[2048]; size_t used; } text_line;

static void put(text_line *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(l->text + l->used, sizeof l->text - l->used, format, args);
    va_end(args);
    if (n > 0 && l->used + (size_t)n < sizeof l->text)
        l->used += (size_t)n;
}

/* A number that JSON can hold. */
static void put_number(text_line *l, const char *name, double x)
{
    if (isfinite(x))
        put(l, ",\"%s\":%.9g", name, x);
    else
        put(l, ",\"%s\":null", name);
}

bool log_write(file_log *l, const train_line *s, error *e)
{
    text_line line = { .used = 0 };
    locale_t before = numbers_begin();
    put(&line, "{\"step\":%ld,\"epoch\":%ld", s->step, s->epoch);
    for (int i = 0; i < s->losses->count; i++)
        put_number(&line, s->losses->name[i], s->losses->value[i]);
    put_number(&line, "grad_norm", s->losses->grad_norm);
    put_number(&line, "lr", s->lr);
    put(&line, ",\"bad_samples\":%ld", s->bad_samples);
    put_number(&line, "data_ms", 1e3 * s->data_seconds);
    put_number(&line, "step_ms", 1e3 * s->step_seconds);
    put_number(&line, "samples_per_s", (double)s->samples / fmax(s->step_seconds + s->data_seconds, 1e-9));
    put_number(&line, "rss_mb", (double)mem_peak_bytes() / (1 << 20));
    put(&line, "}\n");
    numbers_end(before);
    return file_log_add(l, line.text, (long)line.used, e);
}
