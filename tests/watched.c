/* watched.c - runs in this process that are listened to and stopped (watched.h). */
#include "tests/watched.h"
#include <stdio.h>
#include <string.h>

char warnings[16384], notes[16384];
long steps_seen, stop_at;
void (*after_step)(long step);
static volatile int stop;
static error e;

void watched_begin(void)
{
    folder_begin();
    world_make();
    stop_at = 0;
    after_step = NULL;
}

static void add(char to[16384], const char *text)
{
    size_t used = strlen(to);
    snprintf(to + used, 16384 - used, "%s\n", text);
}
static void on_warning(void *context, const char *text) { (void)context; add(warnings, text); }
static void on_note(void *context, const char *text) { (void)context; add(notes, text); }

static void on_step(void *context, const train_line *line)
{
    (void)context;
    steps_seen++;
    stop = line->step == stop_at;
    if (after_step)
        after_step(line->step);
}

const train_watch watch = { .note = on_note, .warn = on_warning, .step = on_step };

static bool run(const train_config *c, bool resume, train_result *result)
{
    stop = 0;
    warnings[0] = notes[0] = 0;
    steps_seen = 0;
    return train_run(c, &(train_options){ .resume = resume, .stop = &stop, .watch = &watch }, result, &e);
}

train_result must(const train_config *c, bool resume)
{
    train_result result = { 0 };
    ck_assert_msg(run(c, resume, &result), "%s", e.text);
    return result;
}

const char *must_fail(const train_config *c, bool resume, error_kind kind, const char *says)
{
    train_result result;
    ck_assert(!run(c, resume, &result));
    ck_assert_msg(strstr(e.text, says) != NULL, "expected \"%s\", found \"%s\"", says, e.text);
    ck_assert_int_eq(e.kind, kind);
    return e.text;
}
