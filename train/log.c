/* log.c - what a run writes down of each step, in three forms of the same numbers: log.jsonl, one JSON object
 * a line; metrics.csv, for a spreadsheet; and TensorBoard's events.out.tfevents.blip2 (events.c). What a
 * clock or the machine decides stands in log.jsonl alone (and in an event's wall_time): the rest is the
 * same in equal runs. A run that goes on cuts all three behind its checkpoint's step. */
#include "train/internal.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

/* ---- the numbers of a step --------------------------------------------------------------------------- */
typedef struct fields { log_field at[LOG_FIELDS]; int count; } fields;

/* kind: "train", "val" and "" in front of a tag; "" has none: it is of the clock or the machine. */
static void add(fields *f, const char *kind, const char *name, double value, bool whole)
{
    if (f->count == LOG_FIELDS)
        return;
    log_field *to = &f->at[f->count++];
    *to = (log_field){ .value = value, .whole = whole, .timing = !*kind };
    snprintf(to->name, sizeof to->name, "%s%s", strcmp(kind, "val") ? "" : "val_", name);
    if (*kind)
        snprintf(to->tag, sizeof to->tag, "%s/%s", kind, name);
}

static fields fields_of(const train_line *s)
{
    fields f = { .count = 0 };
    const train_losses *l = s->losses;
    add(&f, "train", "epoch", (double)s->epoch, true);
    for (int i = 0; i < l->count; i++)
        add(&f, "train", l->name[i], l->value[i], false);
    add(&f, "train", "grad_norm", l->grad_norm, false);
    for (int i = 0; i < l->groups; i++)
        add(&f, "train", l->group[i], l->group_norm[i], false);
    add(&f, "train", "lr", s->lr, false);
    add(&f, "train", "bad_samples", (double)s->bad_samples, true);
    for (int i = 0; s->watched && i < s->watched->count; i++) {
        add(&f, "val", s->watched->name[i], s->watched->value[i], false);
        f.at[f.count - 1].absent = !s->looked;
    }
    add(&f, "", "data_ms", 1e3 * s->data_seconds, false);
    add(&f, "", "step_ms", 1e3 * s->step_seconds, false);
    if (s->looked)
        add(&f, "", "val_ms", 1e3 * s->watch_seconds, false);
    add(&f, "", "samples_per_s", (double)s->samples / fmax(s->step_seconds + s->data_seconds, 1e-9), false);
    add(&f, "", "rss_mb", (double)mem_peak_bytes() / (1 << 20), false);
    return f;
}

/* ---- text -------------------------------------------------------------------------------------------- */
typedef struct text_line { char text[4096]; size_t used; } text_line;

static void put(text_line *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(l->text + l->used, sizeof l->text - l->used, format, args);
    va_end(args);
    if (n > 0 && l->used + (size_t)n < sizeof l->text)
        l->used += (size_t)n;
}

static void put_number(text_line *l, const log_field *f, const char *none)
{
    if (!isfinite(f->value))
        put(l, "%s", none);
    else
        put(l, f->whole ? "%.0f" : "%.9g", f->value);
}

static void put_json(text_line *line, long step, const fields *f)
{
    put(line, "{\"step\":%ld", step);
    for (int i = 0; i < f->count; i++)
        if (!f->at[i].absent) {
            put(line, ",\"%s\":", f->at[i].name);
            put_number(line, &f->at[i], "null");           /* what JSON has no number for */
        }
    put(line, "}\n");
}

static void put_titles(text_line *line, const fields *f)
{
    put(line, "step");
    for (int i = 0; i < f->count; i++)
        if (!f->at[i].timing)
            put(line, ",%s", f->at[i].name);
    put(line, "\n");
}

/* A cell for each title of the table, which may have been begun with others; empty: not measured. */
static void put_row(text_line *line, long step, const char *titles, const fields *f)
{
    put(line, "%ld", step);
    for (const char *at = titles + strcspn(titles, ",\n"); *at == ','; at += strcspn(at, ",\n")) {
        size_t n = strcspn(++at, ",\n");
        put(line, ",");
        for (int i = 0; i < f->count; i++)
            if (!f->at[i].absent && strlen(f->at[i].name) == n && !memcmp(f->at[i].name, at, n))
                put_number(line, &f->at[i], "nan");
    }
    put(line, "\n");
}

/* ---- the three files --------------------------------------------------------------------------------- */
enum { LINES, TABLE, EVENTS };
static const char *const names[LOG_FILES] = { "log.jsonl", "metrics.csv", "events.out.tfevents.blip2" };

/* How many bytes the lines up to step `keep` take, `form` being how a line begins; `used`: before the
 * first. */
static long bytes_up_to(const char *text, const char *form, long used, long keep)
{
    long step;
    for (const char *line = text + used; *line; line += strcspn(line, "\n") + 1) {
        const char *end = strchr(line, '\n');
        if (!end || sscanf(line, form, &step) != 1 || step > keep)
            break;
        used = end + 1 - text;
    }
    return used;
}

/* What of a file that is there stays. -1: it cannot be read. */
static long part_to_keep(run_log *l, int which, const char *path, long keep, error *e)
{
    long bytes, kept = 0;
    if (!keep || access(path, F_OK))
        return 0;
    char *text = file_load(path, 1L << 34, &bytes, e);
    if (!text)
        return -1;
    if (which == LINES)
        kept = bytes_up_to(text, "{\"step\":%ld,", 0, keep);
    else if (which == EVENTS)
        kept = events_up_to(text, bytes, keep);
    else if (!strncmp(text, "step,", 5) && strchr(text, '\n')
             && (l->titles = mem_text("%.*s", (int)strcspn(text, "\n"), text)))
        kept = bytes_up_to(text, "%ld,", (long)strcspn(text, "\n") + 1, keep);
    mem_free(text);
    return kept;
}

bool log_open(run_log *l, const char *folder, long keep, error *e)
{
    bool ok = true;
    for (int k = 0; ok && k < LOG_FILES; k++) {
        char *path = mem_text("%s/%s", folder, names[k]);
        long bytes = path ? part_to_keep(l, k, path, keep, e) : -1;
        ok = path ? bytes >= 0 && file_log_open(&l->file[k], path, bytes, e) : error_set(e, "out of memory");
        mem_free(path);
    }
    return ok && (l->file[EVENTS].end || events_start(&l->file[EVENTS], e));
}

void log_close(run_log *l)
{
    for (int k = 0; k < LOG_FILES; k++)
        file_log_close(&l->file[k]);
    mem_free(l->titles);
    *l = LOG_CLOSED;
}

static bool add_line(file_log *l, const text_line *line, error *e)
{
    return file_log_add(l, line->text, (long)line->used, e);
}

bool log_write(run_log *l, const train_line *s, error *e)
{
    text_line line = { .used = 0 }, row = { .used = 0 }, titles = { .used = 0 };
    fields f = fields_of(s);
    locale_t before = numbers_begin();
    put_json(&line, s->step, &f);
    put_titles(&titles, &f);
    put_row(&row, s->step, l->titles ? l->titles : titles.text, &f);
    numbers_end(before);
    for (int i = 0; i < f.count; i++)
        if (f.at[i].absent)
            f.at[i].value = NAN;
    bool ok = add_line(&l->file[LINES], &line, e);
    if (ok && !l->titles)
        ok = (l->titles = mem_text("%s", titles.text)) ? add_line(&l->file[TABLE], &titles, e)
                                                       : error_set(e, "out of memory");
    return ok && add_line(&l->file[TABLE], &row, e)
           && events_write(&l->file[EVENTS], s->step, f.at, f.count, e);
}
