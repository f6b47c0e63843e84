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
    end_bar(context);
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

static void step(void *context, const train_line *s)
{
    progress *p = context;
    if (p->quiet || !(s->shown || p->terminal))
        return;
    char numbers[320] = "", left[32];
    for (int i = 0, used = 0; i < s->losses->count && used < 280; i++)
        used += snprintf(numbers + used, sizeof numbers - (size_t)used, "  %s %.4g", s->losses->name[i],
                         s->losses->value[i]);
    double gone = clock_seconds() - p->started;
    clock_text(gone / (double)(s->step - s->first) * (double)(s->steps - s->step), left);
    if (p->terminal)
        draw(p, s, numbers, left);
    else
        fprintf(stderr, "%s: step %ld/%ld%s  lr %.3g  %s left\n", s->task, s->step, s->steps, numbers, s->lr,
                left);
}

train_watch progress_watch(progress *p, bool quiet)
{
    *p = (progress){ .quiet = quiet, .terminal = isatty(STDERR_FILENO), .started = clock_seconds() };
    return (train_watch){ p, note, warn, step };
}

void progress_end(progress *p)
{
    if (p->bar)
        fputc('\n', stderr);                               /* what the bar last said stays */
    p->bar = false;
}
