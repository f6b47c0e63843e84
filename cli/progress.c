/* progress.c - a training run as a person sees it on stderr: a bar on a terminal, plain lines in a pipe. */
#include "cli/progress.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Messages stand on lines of their own, also in the middle of a bar. */
static void end_bar(progress *p)
{
    if (p->bar)
        fputs("\r\033[K", stderr);
    p->bar = false;
}

static void note(void *context, const char *text)
{
    progress *p = context;
    const char *core = p->told ? NULL : cli_core_set_aside();
    end_bar(p);
    if (p->quiet)
        return;
    if (core)
        cli_warn("OPENBLAS_CORETYPE=%s would halve the speed of this CPU and is set aside; "
                 "BLIP2_KEEP_CORETYPE=1 keeps it", core);
    p->told = true;
    fprintf(stderr, "%s\n", text);
}

static void warn(void *context, const char *text)
{
    const progress *p = context;
    end_bar(context);
    if (!p->quiet)
        cli_warn("%s", text);
}

static void clock_text(double seconds, char to[32])
{
    long s = (long)fmin(fmax(seconds, 0), 359999);
    if (s >= 3600)
        snprintf(to, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(to, 32, "%ld:%02ld", s / 60, s % 60);
}

static void draw(progress *p, const train_line *s, const char *numbers, const char *left)
{
    enum { WIDTH = 24, MOST = 480 };
    struct winsize size;
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col ? 100 : size.ws_col;
    int filled = (int)(WIDTH * s->step / (s->steps ? s->steps : 1));
    char line[MOST];
    snprintf(line, sizeof line, "%-7s [%.*s%.*s] %ld/%ld %s left%s", s->task, filled,
             "########################", WIDTH - filled, "........................", s->step, s->steps, left,
             numbers);
    line[columns < MOST ? columns - 1 : MOST - 1] = 0;     /* a line that wraps could not be drawn over */
    p->bar = s->step < s->steps;
    fprintf(stderr, "\r%s\033[K%s", line, p->bar ? "" : "\n");
}

/* What was measured of datasets.val, on a line of its own. */
static void put_watched(progress *p, const train_line *s)
{
    end_bar(p);
    fprintf(stderr, "Val: step %ld/%ld", s->step, s->steps);
    for (int i = 0; i < s->watched->count; i++)
        fprintf(stderr, "  %s: %.4f", s->watched->name[i], s->watched->value[i]);
    fprintf(stderr, "  time: %.4f%s\n", s->watch_seconds, s->best ? "  (best so far)" : "");
}

/* A line in a pipe, in the form of LAVIS's log (lavis/common/logger.py). */
static void put_line(const train_line *s, double left)
{
    int wide = snprintf(NULL, 0, "%ld", s->per_epoch);
    long eta = (long)fmin(fmax(left, 0), 3599999);
    fprintf(stderr, "Train: data epoch: [%ld]  [%*ld/%ld]  eta: %ld:%02ld:%02ld  lr: %.6f", s->epoch, wide,
            s->in_epoch, s->per_epoch, eta / 3600, eta / 60 % 60, eta % 60, s->lr);
    for (int i = 0; i < s->losses->count; i++)
        fprintf(stderr, "  %s: %.4f", s->losses->name[i], s->losses->value[i]);
    fprintf(stderr, "  time: %.4f  data: %.4f  max mem: %.0f\n", s->step_seconds + s->data_seconds,
            s->data_seconds, (double)mem_peak_bytes() / (1 << 20));
}

static void step(void *context, const train_line *s)
{
    progress *p = context;
    long done = s->step - s->first;
    if (done == 1)                                         /* later steps are quicker: all is loaded */
        p->second = clock_seconds();
    if (p->quiet || !(s->shown || s->looked || p->terminal))
        return;
    char numbers[320] = "", left[32];
    for (int i = 0, used = 0; i < s->losses->count && used < 280; i++)
        used += snprintf(numbers + used, sizeof numbers - (size_t)used, "  %s %.4g", s->losses->name[i],
                         s->losses->value[i]);
    double each = done > 1 ? (clock_seconds() - p->second) / (double)(done - 1)
                           : s->step_seconds + s->data_seconds;
    double rest = each * (double)(s->steps - s->step);
    clock_text(rest, left);
    if (p->terminal)
        draw(p, s, numbers, left);
    else if (s->shown)
        put_line(s, rest);
    if (s->looked)
        put_watched(p, s);
}

train_watch progress_watch(progress *p, bool quiet)
{
    *p = (progress){ .quiet = quiet, .terminal = isatty(STDERR_FILENO) };
    return (train_watch){ p, note, warn, step };
}

void progress_end(progress *p)
{
    if (p->bar)
        fputc('\n', stderr);                               /* what the bar last said stays */
    p->bar = false;
}
