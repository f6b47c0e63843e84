/* checkpoint.c - what a run leaves behind. model.h5 is for use. checkpoint.h5 holds all that the rest of the
 * run depends on: every parameter (those of the contrastive heads too), AdamW's moments under optimizer/,
 * and the steps done under state/. The order of the samples and every random number are functions of seed
 * and step, so a run that goes on from it ends with the same bits as one that was never stopped.
 * model_best.h5 and checkpoint_best.h5 are the same two of the step at which datasets.val looked best.
 *
 * A new one is written whole as checkpoint.new.h5; then checkpoint.h5 becomes checkpoint.old.h5, and the new
 * one checkpoint.h5. Wherever a run is killed, the two newest are there, whole, under two of these names.
 * A run that has come to its end without run.save_freq keeps the newest alone.
 * Nothing else that was saved is removed: checkpoints and the best model of a run that another begins anew
 * over get ".aside" behind their names, and what could not be read, while an older one could, ".damaged"; the
 * last stay. */
#include "train/internal.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NEW, NEWEST, OLD, CHECKPOINTS };
static const char *const names[CHECKPOINTS] = { "checkpoint.new.h5", "checkpoint.h5", "checkpoint.old.h5" };
static const char *const best_names[] = { "model_best.h5", "checkpoint_best.h5" };

static bool add_parts(const tokenizer *t, const char *group, blip2_part *parts, int *n, error *e)
{
    tokenizer_file files[TOKENIZER_FILES];
    int count = t ? tokenizer_files(t, files, e) : 0;
    if (t && !count)
        return false;
    for (int i = 0; i < count; i++) {
        snprintf(parts[*n].name, sizeof parts[*n].name, "%s/%s", group, files[i].name);
        parts[*n].bytes = files[i].bytes;
        parts[(*n)++].size = files[i].size;
    }
    return true;
}

static void write_number(h5_out *f, const char *name, long value)
{
    h5_write(f, name, H5_LONGS, 1, (const long[]){ 1 }, (const int64_t[]){ value });
}

/* ---- what must be the same for a run to go on -------------------------------------------------------- */
enum { NUMBERS = 5 };
typedef struct number { const char *name, *what; long value; } number;

/* All that the order of the samples follows from, in 31 bits. */
static long order_of(const run *r)
{
    uint64_t x = 0;
    for (int k = 0; k < r->sampler.count; k++) {
        const sampler_set *set = &r->sampler.sets[k];
        x = ag_mix(ag_mix(x, (uint64_t)set->n), (uint64_t)set->group_count);
        x = ag_mix(x, (uint64_t)(set->share * 0x1p52));
    }
    return (long)(x >> 33);
}

static void numbers_of(const run *r, number to[NUMBERS])
{
    const train_config *c = r->c;
    to[0] = (number){ "state/task", "run.task", c->task };
    to[1] = (number){ "state/seed", "run.seed", c->seed };
    to[2] = (number){ "state/batch", "run.batch_size_train x run.accum_grad_iters x ranks",
                      samples_a_step(r) };
    to[3] = (number){ "state/samples", "samples in the data sets", r->feed.n };
    to[4] = (number){ "state/order", "data sets, ratios and families, as a number", order_of(r) };
}

static void write_state(const run *r, h5_out *f)
{
    number numbers[NUMBERS];
    numbers_of(r, numbers);
    for (int i = 0; i < NUMBERS; i++)
        write_number(f, numbers[i].name, numbers[i].value);
    write_number(f, "state/list", (long)r->feed.digest);
    write_number(f, "state/step", r->stepper.step);
    for (long i = 0; i < r->store->count; i++) {           /* blip2_write leaves these out */
        const tensor *x = r->store->entries[i].value;
        char name[NN_NAME];
        nn_dataset(x->name, name);
        if (nn_has_prefix(x->name, "contrastive") && !r->store->entries[i].alias_of)
            h5_write(f, name, H5_REALS, x->ndim, x->dim, x->data);
    }
    nn_save_moments(r->store, f);
    validation_write(r, f);
}

/* ---- writing ----------------------------------------------------------------------------------------- */
static bool save(const run *r, const char *path, bool state, error *e)
{
    blip2_part parts[2 * TOKENIZER_FILES];
    int n = 0;
    char *source = mem_text("trained: task %s, seed %ld, %ld steps", train_tasks[r->c->task], r->c->seed,
                            r->stepper.step);
    bool ok = source ? add_parts(r->bert, "bert", parts, &n, e) && add_parts(r->llm, "llm", parts, &n, e)
                     : error_set(e, "%s: out of memory", QUOTE(path));
    h5_out *f = ok ? h5_create(path, e) : NULL;
    ok = f != NULL;
    if (f && !(ok = blip2_write(&r->model, f, source, parts, n))) {
        h5_abandon(f);
        error_set(e, "%s: out of memory", QUOTE(path));
    }
    if (ok && state)
        write_state(r, f);
    ok = ok && h5_finish(f, e);
    blip2_free_parts(parts, n);
    mem_free(source);
    return ok;
}

static char *path_of(const run *r, const char *name)
{
    return mem_text("%s/%s", r->c->output_dir, name);
}

static bool save_as(run *r, const char *name, bool state, error *e)
{
    char *path = path_of(r, name);
    bool ok = path ? save(r, path, state, e) : error_set(e, "out of memory");
    mem_free(path);
    return ok;
}

bool save_model(run *r, error *e) { return save_as(r, "model.h5", false, e); }

bool save_best(run *r, error *e)
{
    return save_as(r, best_names[0], false, e)
           && (!r->c->save_freq || save_as(r, best_names[1], true, e));
}

/* ---- the three names --------------------------------------------------------------------------------- */
/* The file gets the name behind its own, if it is there. */
static bool pass_on(const run *r, int from, bool *was, error *e)
{
    char *path = path_of(r, names[from]), *to = path_of(r, names[from + 1]);
    bool ok = (path && to) || error_set(e, "out of memory");
    int status = ok ? rename(path, to) : 0;
    *was = ok && !status;
    if (status && errno != ENOENT)
        ok = error_set(e, "%s: cannot be renamed; %s", QUOTE(path), strerror(errno));
    mem_free(path);
    mem_free(to);
    return ok;
}

static bool is_there(const run *r, int which)
{
    char path[CONFIG_TEXT_SIZE + 32]; /* not from the heap: "not there" is never "no memory" */
    snprintf(path, sizeof path, "%s/%s", r->c->output_dir, names[which]);
    return !access(path, F_OK);
}

bool train_saved(const train_config *c)
{
    const run r = { .c = c };
    return is_there(&r, NEW) || is_there(&r, NEWEST) || is_there(&r, OLD);
}

/* By the clock, where no number of steps is given. */
bool checkpoint_due(const run *r)
{
    const train_config *c = r->c;
    return !c->save_freq && c->save_minutes > 0 && r->saved != r->stepper.step
           && clock_seconds() - r->saved_at >= 60 * c->save_minutes;
}

bool save_checkpoint(run *r, error *e)
{
    bool was;
    char *path = path_of(r, names[NEW]);
    bool ok = path ? save(r, path, true, e) && pass_on(r, NEWEST, &was, e) && pass_on(r, NEW, &was, e)
                   : error_set(e, "out of memory");
    mem_free(path);
    if (ok)
        r->saved = r->stepper.step;
    r->saved_at = clock_seconds();
    return ok;
}

bool save_checkpoint_here(run *r, error *e)
{
    return r->saved == r->stepper.step || save_checkpoint(r, e);
}

/* Which step the one before is of the clock has decided, or where the run was stopped: without it all that a
 * finished run leaves is the same in equal runs. */
bool save_last_checkpoint(run *r, error *e)
{
    if (!save_checkpoint_here(r, e))
        return false;
    char *old = r->c->save_freq ? NULL : path_of(r, names[OLD]);
    bool ok = r->c->save_freq || old || error_set(e, "out of memory");
    if (old && unlink(old) && errno != ENOENT)
        ok = error_set(e, "%s: cannot be removed; %s", QUOTE(old), strerror(errno));
    mem_free(old);
    return ok;
}

/* Out of the way of the run; *was becomes true if the file was there. */
static bool put_away(const run *r, const char *name, const char *suffix, bool *was, error *e)
{
    char *path = path_of(r, name), *to = mem_text("%s/%s%s", r->c->output_dir, name, suffix);
    bool ok = (path && to) || error_set(e, "out of memory"), moved = ok && !rename(path, to);
    if (ok && !moved && errno != ENOENT)
        ok = error_set(e, "%s: cannot be renamed; %s", QUOTE(path), strerror(errno));
    *was |= moved;
    mem_free(path);
    mem_free(to);
    return ok;
}

bool set_checkpoint_aside(const run *r, error *e)
{
    int newest = CHECKPOINTS;
    bool best = false;
    for (int k = CHECKPOINTS - 1; k >= 0; k--) {
        bool was = false;
        if (!put_away(r, names[k], ".aside", &was, e))
            return false;
        newest = was ? k : newest;
    }
    for (int k = 0; k < 2; k++)
        if (!put_away(r, best_names[k], ".aside", &best, e))
            return false;
    if (newest < CHECKPOINTS)
        run_warn(r, "%s: starts anew; the checkpoint there is now %s.aside (--resume would have gone on from "
                 "it)", QUOTE(r->c->output_dir), names[newest]);
    if (best)
        run_warn(r, "%s: starts anew; the best model there is now %s.aside", QUOTE(r->c->output_dir),
                 best_names[0]);
    return true;
}

/* A damaged one must not take the place of the whole one behind it; a save that was interrupted between its
 * renames is brought to its end. */
bool tidy_checkpoints(run *r, error *e)
{
    bool was = false, ok = true;
    for (int k = 0; ok && k < r->loaded; k++)
        ok = put_away(r, names[k], ".damaged", &was, e);
    return ok && (r->loaded || !is_there(r, NEW)
                  || (pass_on(r, NEWEST, &was, e) && pass_on(r, NEW, &was, e)));
}

/* ---- reading ----------------------------------------------------------------------------------------- */
static bool read_number(h5 *f, const char *name, long *value, error *e)
{
    int64_t found = 0;
    if (!h5_read(f, name, H5_LONGS, 1, (const long[]){ 1 }, &found, e))
        return false;
    *value = (long)found;
    return true;
}

static bool same_run(const run *r, h5 *f, error *e)
{
    number numbers[NUMBERS];
    numbers_of(r, numbers);
    e->lines = 0;
    for (int i = 0; i < NUMBERS; i++) {
        long found;
        error why;
        if (!read_number(f, numbers[i].name, &found, &why)) {
            *e = why;
            return false;
        }
        if (found != numbers[i].value)
            error_line(e, "%s: %s: the checkpoint has %ld, this run %ld", QUOTE(h5_path(f)), numbers[i].what,
                       found, numbers[i].value);
    }
    return error_close(e, ERROR_USAGE, "%s: is of another run", QUOTE(h5_path(f)));
}

/* As many samples, but others: the run goes on, and is told that it is not the one that was stopped. A
 * checkpoint of a program that did not write the digest says nothing. */
static bool look_at_list(const run *r, h5 *f, error *e)
{
    long found;
    if (h5_has(f, "state/list") == H5_NOTHING)
        return h5_readable(f, e);
    if (!read_number(f, "state/list", &found, e))
        return false;
    if (found != (long)r->feed.digest)
        run_warn(r, "%s: the lists of this run have as many samples as the checkpoint's, but not the same "
                 "(names, texts or their order differ): the run goes on with them, and does not end as the "
                 "one that was stopped would have", QUOTE(h5_path(f)));
    return true;
}

static bool load(run *r, const char *path, error *e)
{
    h5 *f = h5_open(path, e);
    if (!f)
        return false;
    long step = 0;
    bool ok = same_run(r, f, e) && read_number(f, "state/step", &step, e) && blip2_load(&r->model, f, "", e)
              && nn_load_moments(r->store, f, e) && validation_read(r, f, e)
              && look_at_list(r, f, e);
    h5_close(f);
    if (ok && (step < 1 || step > UINT32_MAX))
        ok = error_set(e, "%s: state/step: expected a number of steps, found %ld", QUOTE(path), step);
    if (ok)
        r->stepper.step = step;
    return ok;
}

/* A file of another run is an error; a damaged one is passed over, if an older one is whole. */
bool load_checkpoint(run *r, bool *found, error *e)
{
    error why;
    *found = false;
    for (int k = 0; k < CHECKPOINTS; k++) {
        if (!is_there(r, k))
            continue;
        char *path = path_of(r, names[k]);
        bool ok = path ? load(r, path, &why) : error_set(&why, "out of memory");
        if (ok && *found)
            run_warn(r, "%s; going on from %s", e->text, QUOTE(path));
        if (!ok && (!*found || why.kind == ERROR_USAGE))
            *e = why;
        *found = true;
        mem_free(path);
        if (ok) {
            r->loaded = k;
            r->saved = r->stepper.step;
        }
        if (ok || why.kind == ERROR_USAGE)
            return ok;
    }
    return !*found;
}
