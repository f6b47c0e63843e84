/* log.c - what a run tells: one JSON object a step in log.jsonl, and a line or a bar for a person on stderr. */
#include "train/internal.h"
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool log_open(run_log *l, const char *path, bool append, bool quiet, error *e)
{
    *l = (run_log){ .quiet = quiet, .terminal = isatty(STDERR_FILENO), .started = clock_seconds() };
    l->file = fopen(path, append ? "a" : "w");
    return l->file || error_set(e, "%s: cannot write", QUOTE(path));
}

bool log_close(run_log *l, const char *path, error *e)
{
    if (!l->file)
        return true;
    bool bad = ferror(l->file) || fflush(l->file);
    bad |= fclose(l->file) != 0;
    l->file = NULL;
    return !bad || error_set(e, "%s: cannot write", QUOTE(path));
}

/* A number that JSON can hold. */
static void put(FILE *f, const char *name, double x)
{
    if (isfinite(x))
        fprintf(f, ",\"%s\":%.9g", name, x);
    else
        fprintf(f, ",\"%s\":null", name);
}

static void clock_text(double seconds, char to[16])
{
    long s = (long)fmin(fmax(seconds, 0), 359999);
    snprintf(to, 16, s >= 3600 ? "%ld:%02ld:%02ld" : "%.0ld%ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}

static void bar(const run_log *l, const log_step *s, const char *numbers, const char *left)
{
    struct winsize size;
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col ? 100 : size.ws_col, width = 24;
    int filled = (int)(width * s->step / (s->steps ? s->steps : 1));
    char line[512];
    snprintf(line, sizeof line, "%-8s [%.*s%.*s] %ld/%ld %s left%s", s->task, filled, "########################",
             width - filled, "........................", s->step, s->steps, left, numbers);
    line[columns < (int)sizeof line ? columns - 1 : (int)sizeof line - 1] = 0;
    fprintf(stderr, "\r%s\033[K%s", line, s->step == s->steps ? "\n" : "");
    (void)l;
}

void log_write(run_log *l, const log_step *s, bool show)
{
    fprintf(l->file, "{\"step\":%ld,\"epoch\":%ld", s->step, s->epoch);
    for (int i = 0; i < s->count; i++)
        put(l->file, s->name[i], s->value[i]);
    put(l->file, "grad_norm", s->grad_norm);
    put(l->file, "lr", s->lr);
    put(l->file, "data_ms", 1e3 * s->data_seconds);
    put(l->file, "step_ms", 1e3 * s->step_seconds);
    put(l->file, "samples_per_s", (double)s->samples / fmax(s->step_seconds + s->data_seconds, 1e-9));
    put(l->file, "rss_mb", (double)mem_peak_bytes() / (1 << 20));
    fputs("}\n", l->file);
    if (l->quiet || !(show || l->terminal))
        return;
    char numbers[320] = "", left[16];
    for (int i = 0, used = 0; i < s->count && used < 280; i++)
        used += snprintf(numbers + used, sizeof numbers - (size_t)used, "  %s %.4g", s->name[i], s->value[i]);
    double gone = clock_seconds() - l->started;
    clock_text(gone / (double)(s->step - s->first ? s->step - s->first : 1) * (double)(s->steps - s->step), left);
    if (l->terminal)
        bar(l, s, numbers, left);
    else
        fprintf(stderr, "%s: step %ld/%ld%s  lr %.3g  %s left\n", s->task, s->step, s->steps, numbers, s->lr, left);
}
