/* run.c - a training run from its configuration to its model file: the loop, what it tells, when it saves. */
#include "train/internal.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const train_tasks[] = { "stage1", "stage2", "vit", "lm" };

/* ---- what a run tells -------------------------------------------------------------------------------- */
static void tell(const run *r, void (*to)(void *, const char *), const char *format, va_list args)
{
    char text[ERROR_TEXT];
    vsnprintf(text, sizeof text, format, args);
    if (to)
        to(r->watch->context, text);
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

/* What is trained, as a table. */
static void say_parts(const run *r)
{
    static const char *const parts[] = { "visual_encoder", "ln_vision", "query_tokens", "Qformer",
                                         "vision_proj",
                                         "text_proj", "itm_head", "temp", "opt_proj", "opt_model",
                                         "t5_proj", "t5_model", "contrastive" };
    run_say(r, "%-16s %12s", "part", "parameters");
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        long all = 0, frozen = 0;
        for (long i = 0; i < r->store->count; i++) {
            const nn_entry *p = &r->store->entries[i];
            if (!p->alias_of && nn_has_prefix(p->name, parts[k])) {
                all += p->value->size;
                frozen += p->frozen ? p->value->size : 0;
            }
        }
        if (all)
            run_say(r, "%-16s %12ld  %s", parts[k], all,
                    !frozen ? "trained" : frozen == all ? "frozen" : "partly frozen");
    }
    run_say(r, "%-16s %12ld  trained, %ld frozen; %ld samples, %ld steps, seed %ld, %s, %d threads", "all",
            r->store->trainable, r->store->frozen, r->feed.n, r->steps, r->c->seed, ag_blas(),
            ag_threads_now());
}

/* The losses of the first step beside those of a model that knows nothing: far above is a mistake somewhere.
 */
static void say_start(const run *r, const train_losses *l)
{
    char line[512] = "", why[32];
    size_t used = 0;
    for (int i = 0; i < l->count; i++) {
        double start = task_start(r, l->name[i], why);
        if (isfinite(start) && used < sizeof line)
            used += (size_t)snprintf(line + used, sizeof line - used, "%s%s %.3f (%s = %.3f)",
                                     used ? ", " : "", l->name[i], l->value[i], why, start);
    }
    if (used)
        run_say(r, "first losses, in brackets those of a model that knows nothing: %s", line);
}

/* ---- one step ---------------------------------------------------------------------------------------- */
static tensor *forward(void *ctx, tape *t, int part, train_losses *l)
{
    static tensor *(*const tasks[])(run *, tape *, train_losses *) = {
        task_stage1, task_stage2, task_vit, task_lm };
    run *r = ctx;
    const train_config *c = r->c;
    long at = (r->stepper.step * c->accumulate + part) * c->batch;
    long *samples = ag_alloc(t, c->batch * (long)sizeof *samples);
    int *rows = ag_alloc(t, c->batch * (long)sizeof *rows);
    r->epoch = at / r->per_epoch;
    for (long b = 0; b < c->batch; b++) {
        samples[b] = sampler_at(&r->sampler, r->epoch, at % r->per_epoch + b);
        rows[b] = (int)samples[b];
    }
    r->samples = samples;
    ag_random random = ag_random_now(t);
    random.sample = rows;                  /* dropout follows the sample, wherever in a batch it stands */
    ag_seed(t, random);
    return tasks[c->task](r, t, l);
}

static double rate_of(const run *r)
{
    const train_config *c = r->c;
    long per_epoch = r->per_epoch / (c->batch * c->accumulate), done = r->stepper.step;
    train_schedule s = { (train_schedule_kind)c->schedule, c->init_lr, c->min_lr, c->warmup_lr,
                         c->lr_decay_rate, c->warmup_steps, c->by_step ? 1 : c->max_epoch,
                         c->by_step ? r->steps : per_epoch, c->by_step };
    return c->by_step ? train_lr(&s, 0, done) : train_lr(&s, done / per_epoch, done % per_epoch);
}

typedef struct attempt { run *r; train_losses losses; error *e; bool ok; } attempt;

static void step(void *context)
{
    attempt *a = context;
    a->ok = train_step(&a->r->stepper, forward, a->r, &a->losses, a->e);
}

/* The samples of the step in hand, behind what went wrong in it. */
static bool name_samples(run *r, error *e)
{
    const train_config *c = r->c;
    long n = c->batch * c->accumulate, first = r->stepper.step * n;
    size_t used = strlen(e->text);
    for (long i = 0; i < n && i < 64 && used < sizeof e->text - 32; i++) {
        long sample = sampler_at(&r->sampler, first / r->per_epoch, first % r->per_epoch + i);
        used += (size_t)snprintf(e->text + used, sizeof e->text - used, i ? " %ld" : "; samples %ld", sample);
    }
    return false;
}

/* ---- the loop ---------------------------------------------------------------------------------------- */
static bool loop(run *r, file_log *log, const volatile int *stop, error *e)
{
    const train_config *c = r->c;
    long first = r->stepper.step;
    while (r->stepper.step < r->steps && !(stop && *stop)) {
        attempt a = { .r = r, .e = e };
        double from = clock_seconds();
        r->data_seconds = 0;
        r->stepper.adamw.lr = rate_of(r);
        if (!ag_try(r->t, step, &a, e))
            return false;
        if (!a.ok) {
            error ignored;
            save_checkpoint(r, &ignored);                  /* --resume meets the same step again */
            return name_samples(r, e);
        }
        long done = r->stepper.step;
        train_line line = { .task = train_tasks[c->task], .step = done, .steps = r->steps, .first = first,
                            .epoch = r->epoch, .samples = c->batch * c->accumulate, .losses = &a.losses,
                            .lr = r->stepper.adamw.lr,
                            .data_seconds = r->data_seconds };
        line.step_seconds = clock_seconds() - from - r->data_seconds;
        line.shown = done % c->log_freq == 0 || done == 1 || done == r->steps;
        if (!log_write(log, &line, e))
            return false;
        if (r->watch && r->watch->step)
            r->watch->step(r->watch->context, &line);
        if (done == 1)
            say_start(r, &a.losses);
        if (c->save_freq && done % c->save_freq == 0 && !save_checkpoint(r, e))
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

/* The output folder, the loop, the model. */
static bool work(run *r, const train_options *o, error *e)
{
    file_log log = { .fd = -1 };
    long first = r->stepper.step;
    bool ok = file_make_folders(r->c->output_dir, e) && (o->resume || set_checkpoint_aside(r, e))
              && save_config(r->c, e) && log_open(&log, r->c->output_dir, first, e);
    ok = ok && loop(r, &log, o->stop, e);
    file_log_close(&log);
    bool stopped = r->stepper.step < r->steps;
    if (!ok || (stopped && r->stepper.step == first))      /* nothing is newer than what is there */
        return ok;
    return (!stopped || save_checkpoint(r, e)) && save_model(r, e);
}

bool train_run(const train_config *given, const train_options *o, train_result *result, error *e)
{
    train_config c = *given;
    run r = { .watch = o->watch };
    double from = clock_seconds();
    bool ok = run_open(&r, &c, o->resume, e);
    if (ok)
        say_parts(&r);
    if (ok && o->resume)
        run_say(&r, "goes on after step %ld", r.stepper.step);
    ok = ok && (o->dry_run || work(&r, o, e));
    bool stopped = ok && !o->dry_run && r.stepper.step < r.steps;
    *result = (train_result){ r.stepper.step, clock_seconds() - from, stopped };
    run_close(&r);
    return ok;
}
