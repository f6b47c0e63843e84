/* run.c - a training run from its configuration to its model file: the loop, what it tells, when it saves. */
#include "train/internal.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What is told and written is told and written once. */
static bool leads(const run *r) { return ag_rank(r->ranks) == 0; }

const char *const train_tasks[] = { "stage1", "stage2", "vit", "lm" };

/* ---- what a run tells -------------------------------------------------------------------------------- */
static void tell(const run *r, void (*to)(void *, const char *), const char *format, va_list args)
{
    char text[ERROR_TEXT];
    vsnprintf(text, sizeof text, format, args);
    if (!to)
        return;
    ranks_outside(r->ranks, true);
    to(r->watch->context, text);
    ranks_outside(r->ranks, false);
}

void run_say(const run *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell(r, r->watch ? r->watch->note : NULL, format, args);
    va_end(args);
}

void run_warn(const run *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell(r, r->watch ? r->watch->warn : NULL, format, args);
    va_end(args);
}

/* ---- one step ---------------------------------------------------------------------------------------- */
void run_part(run *r, tape *t, int part)
{
    const train_config *c = r->c;
    long *samples = ag_alloc(t, c->batch * (long)sizeof *samples);
    long *visits = ag_alloc(t, c->batch * (long)sizeof *visits);
    int *rows = ag_alloc(t, c->batch * (long)sizeof *rows);
    r->part = r->stepper.step * c->accumulate + part;
    r->epoch = place_of(r, r->part) / r->sampler.per_epoch;
    for (long b = 0; b < c->batch; b++) {
        drawn d = sampler_at(&r->sampler, place_of(r, r->part) + b);
        samples[b] = d.sample;
        visits[b] = d.visit;
        rows[b] = (int)samples[b];
    }
    r->samples = samples;
    r->visits = visits;
    ag_random random = ag_random_now(t);
    random.sample = rows;                  /* dropout follows the sample, wherever in a batch it stands */
    ag_seed(t, random);
}

tensor *run_forward(void *ctx, tape *t, int part, train_losses *l)
{
    run *r = ctx;
    run_part(r, t, part);
    return task_forward(r, t, l);
}

/* max_iters, where it is given, says how many epochs there are. */
static double rate_of(const run *r)
{
    const train_config *c = r->c;
    long per_epoch = r->sampler.per_epoch / samples_a_step(r), done = r->stepper.step;
    long epochs = c->max_iters ? (r->steps + per_epoch - 1) / per_epoch : c->max_epoch;
    train_schedule s = { (train_schedule_kind)c->schedule, c->init_lr, c->min_lr, c->warmup_lr,
                         c->lr_decay_rate, c->warmup_steps, epochs, per_epoch, r->steps, c->by_step };
    return train_lr(&s, done / per_epoch, done % per_epoch);
}

typedef struct attempt { run *r; train_losses losses; error *e; bool ok; } attempt;

static void step(void *context)
{
    attempt *a = context;
    a->ok = train_step(&a->r->stepper, run_forward, a->r, &a->losses, a->e);
}

/* The samples of the step in hand, behind what went wrong in it. */
static bool name_samples(run *r, error *e)
{
    long n = samples_a_step(r), first = r->stepper.step * n;
    size_t used = strlen(e->text);
    for (long i = 0; i < n && i < 64 && used < sizeof e->text - 32; i++) {
        long sample = sampler_at(&r->sampler, first + i).sample;
        used += (size_t)snprintf(e->text + used, sizeof e->text - used, i ? " %ld" : "; samples %ld", sample);
    }
    return false;
}

/* Rank 0 writes for all. */
static bool save(run *r, bool (*what)(run *, error *), error *e)
{
    if (!leads(r))
        return true;
    ranks_outside(r->ranks, true);
    bool ok = what(r, e);
    ranks_outside(r->ranks, false);
    return ok;
}

/* A step that failed can be met again by --resume; the other ranks stay until rank 0 has written. */
static bool give_up(run *r, error *e)
{
    error ignored;
    long nothing = 0;
    if (r->stepper.step)                           /* nothing is learned before the first */
        save(r, save_checkpoint, &ignored);
    ranks_largest(r->ranks, &nothing, &ignored);
    return name_samples(r, e);
}

/* ---- the loop ---------------------------------------------------------------------------------------- */
enum { GO_ON, SAVE, HALT };

/* What comes before the next step. All ranks say the same; the clock is rank 0's. */
static bool ask(const run *r, const volatile int *stop, long *what, error *e)
{
    *what = (stop && *stop) || ranks_halt(r->ranks) ? HALT
          : leads(r) && checkpoint_due(r) ? SAVE : GO_ON;
    return ranks_largest(r->ranks, what, e);
}

static bool checkpoint(run *r, error *e)
{
    return ranks_same(r->ranks, r->store, e) && save(r, save_checkpoint, e);
}

/* One that no run.save_freq asked for: that it cannot be written ends nothing. */
static bool spare_checkpoint(run *r, error *e)
{
    error why;
    (void)e;
    if (!save_checkpoint(r, &why))
        run_warn(r, "%s: the run goes on without this checkpoint", why.text);
    return true;
}

/* The step's line in the log and on the screen. */
static bool tell_step(run *r, run_log *log, train_line *line, error *e)
{
    long done = line->step;
    line->shown = done % r->c->log_freq == 0 || done == 1 || done == r->steps;
    if (!log_write(log, line, e))
        return false;
    ranks_outside(r->ranks, true);
    if (r->watch && r->watch->step)
        r->watch->step(r->watch->context, line);
    ranks_outside(r->ranks, false);
    if (done == 1)
        say_first(r, line->losses);
    return true;
}

/* datasets.val, where it is time; the best so far is kept. */
static bool look(run *r, train_line *line, error *e)
{
    validation *v = r->val;
    if (!v || !v->on)
        return true;
    if (!v->now.count)                                     /* titles are written with the first step */
        v->now = *line->losses;
    line->watched = &v->now;
    if (!(line->looked = validation_due(r)))
        return true;
    if (!validation_look(r, &line->best, e))
        return false;
    line->watch_seconds = v->seconds;
    return !line->best || save(r, save_best, e);
}

/* One step of the loop, and what comes behind it. */
static bool one_step(run *r, run_log *log, long first, error *e)
{
    const train_config *c = r->c;
    attempt a = { .r = r, .e = e };
    double from = clock_seconds();
    r->data_seconds = 0;
    r->stepper.adamw.lr = rate_of(r);
    if (!ag_try(r->t, step, &a, e))
        return false;
    if (!a.ok)                                             /* ERROR_USAGE: the samples have no part in it */
        return e->kind != ERROR_USAGE && give_up(r, e);
    long done = r->stepper.step, per_epoch = r->sampler.per_epoch / samples_a_step(r);
    train_line line = { .task = train_tasks[c->task], .step = done, .steps = r->steps, .first = first,
                        .epoch = r->epoch, .in_epoch = (done - 1) % per_epoch, .per_epoch = per_epoch,
                        .samples = samples_a_step(r), .bad_samples = r->feed.bad,
                        .losses = &a.losses, .lr = r->stepper.adamw.lr, .data_seconds = r->data_seconds };
    line.step_seconds = clock_seconds() - from - r->data_seconds;
    return look(r, &line, e) && (!leads(r) || tell_step(r, log, &line, e))
           && (!c->save_freq || done % c->save_freq != 0 || checkpoint(r, e));
}

static bool loop(run *r, run_log *log, const volatile int *stop, error *e)
{
    long first = r->stepper.step, what = GO_ON;
    r->saved_at = clock_seconds();
    while (r->stepper.step < r->steps && !validation_ends(r)) {
        if (!ask(r, stop, &what, e))
            return false;
        if (what == HALT)
            break;
        if (what == SAVE && !(ranks_same(r->ranks, r->store, e) && save(r, spare_checkpoint, e)))
            return false;
        if (!one_step(r, log, first, e))
            return false;
    }
    return true;
}

static bool save_config(const train_config *c, error *e)
{
    train_config copy = *c;
    config_table tables[TRAIN_TABLES];
    char *path = mem_text("%s/config.yaml", c->output_dir);
    char *text = config_print(tables, train_config_tables(&copy, tables), true);
    file_out *f = path && text ? file_create(path, e) : NULL;
    bool ok = f != NULL || (!(path && text) && error_set(e, "out of memory"));
    if (f) {
        file_write(f, text, (long)strlen(text));
        ok = file_finish(f, e);
    }
    mem_free(path);
    mem_free(text);
    return ok;
}

static bool prepare(run *r, bool resume, run_log *log, error *e)
{
    if (!file_make_folders(r->c->output_dir, e))
        return false;
    file_sweep(r->c->output_dir);                          /* what killed runs left half-written */
    return (resume ? tidy_checkpoints(r, e) : set_checkpoint_aside(r, e)) && save_config(r->c, e)
           && save_about(r, e)
           && (r->stepper.step || save_modules(r, e)) && log_open(log, r->c->output_dir, r->stepper.step, e);
}

/* Where a run is stopped, what it can go on from comes first: it may have been given little time. The model
 * is written whether there is room for a checkpoint or not. */
static bool leave(run *r, bool stopped, error *e)
{
    error why;
    if (!ranks_same(r->ranks, r->store, e))
        return false;
    bool kept = !stopped || save(r, save_checkpoint_here, &why);
    if (!save(r, save_model, e))
        return false;
    if (!stopped)
        kept = save(r, save_last_checkpoint, &why);
    if (!kept && !stopped && !r->c->save_freq)             /* nobody asked for it */
        run_warn(r, "%s: --resume cannot go on from here", why.text);
    else if (!kept)
        *e = why;
    return kept || (!stopped && !r->c->save_freq);
}

/* The output folder, the loop, the model. */
static bool work(run *r, const train_options *o, error *e)
{
    run_log log = LOG_CLOSED;
    long first = r->stepper.step;
    long nothing = 0;                              /* rank 0 renames files when all have read them */
    if (first > r->steps)
        return error_usage(e, "%s: a checkpoint of %ld steps is there; expected a run of at least as many, "
                           "found %ld", QUOTE(r->c->output_dir), first, r->steps);
    bool ok = ranks_largest(r->ranks, &nothing, e)
              && (!leads(r) || prepare(r, o->resume, &log, e)) && ranks_same(r->ranks, r->store, e)
              && features_open(r, o->stop, e) && run_start_ahead(r, e) && loop(r, &log, o->stop, e);
    log_close(&log);
    bool stopped = r->stepper.step < r->steps && !validation_ends(r);
    if (!ok || (stopped && r->stepper.step == first))      /* nothing is newer than what is there */
        return ok;
    return leave(r, stopped, e);
}

static bool run_one(const ag_ranks *ranks, const train_config *given, const train_options *o,
                    train_result *result, error *e)
{
    train_config c = *given;
    run r = { .ranks = ranks, .watch = ag_rank(ranks) == 0 ? o->watch : NULL };
    double from = clock_seconds();
    train_need need;
    bool dry = o->dry_run && !o->resume;
    bool ok = run_open_data(&r, &c, dry, e) && validation_open(&r, dry, e);
    if (ok && (o->dry_run || c.memory_check)) {
        ok = run_measure(&r, !dry, &need, e) && (o->dry_run || run_fits(&r, &need, e));
        if (ok && leads(&r))
            result->need = need;
    }
    if (!dry) {
        ok = ok && run_open_model(&r, false, e) && run_start_model(&r, o->resume, e);
        if (ok)
            say_modules(&r);
    }
    if (ok && r.stepper.step)
        run_say(&r, "goes on after step %ld", r.stepper.step);
    ok = ok && (o->dry_run || work(&r, o, e));
    bool ended = ok && !o->dry_run && r.stepper.step < r.steps, early = ended && validation_ends(&r);
    if (leads(&r))
        *result = (train_result){ r.stepper.step, mem_peak_bytes(), r.feed.bad, r.val ? r.val->best_step : 0,
                                  clock_seconds() - from, r.val ? r.val->best : 0, ended && !early, early,
                                  result->need };
    run_close(&r);
    return ok;
}

/* ---- several ranks ------------------------------------------------------------------------------------- */
typedef struct job { const train_config *c; const train_options *o; train_result result; } job;

static bool run_rank(const ag_ranks *ranks, void *context, error *e)
{
    job *j = context;                              /* shared: the result is rank 0's to write */
    return run_one(ranks, j->c, j->o, &j->result, e);
}

/* Before any rank begins. A dry run is told, and goes on. */
static bool look_around(const train_config *c, const train_options *o, error *e)
{
    if (train_paths(c, o->resume, e))
        return true;
    if (!o->dry_run || o->resume || e->kind == ERROR_USAGE)
        return false;
    run_warn(&(run){ .watch = o->watch }, "%s", e->text);
    return true;
}

bool train_run(const train_config *c, const train_options *o, train_result *result, error *e)
{
    ag_ranks counted = { .world = (int)o->ranks };         /* enough to know the sizes of a run */
    job j = { c, o, { 0 } };
    *result = j.result;
    if (!look_around(c, o, e))
        return false;
    if (o->ranks < 2 || o->dry_run)
        return run_one(o->ranks < 2 ? NULL : &counted, c, o, result, e);
    bool ok = ranks_processes((int)o->ranks, run_rank, &j, sizeof j, o->stop, e);
    if (!ok)
        file_sweep(c->output_dir);                         /* what a killed rank was writing */
    *result = j.result;
    return ok;
}
