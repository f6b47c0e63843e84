/* validate.c - datasets.val, measured on the way: the losses of the training task over the whole split,
 * without dropout, without crops and mirror images. Captions, questions and hard negatives are drawn by the
 * seed and the sample alone, so that every look is at the same batches; what does not fill a last one is left
 * out. The best look by run.best_by leaves model_best.h5, and run.patience looks without a better one end the
 * run.                                                                                                     */
#include "train/internal.h"
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

enum { VAL_MEMORY = 8, FEW = 16 };                 /* one part of datasets.memory_mb in so many */
const char *const train_best_names[] = { "val_loss", "val_loss_itc", "val_loss_itm", "val_loss_lm",
                                         "val_itm_acc", "val_accuracy", NULL };

static bool higher_is_better(const train_config *c) { return c->best_by >= 4; }

/* ---- opening ----------------------------------------------------------------------------------------- */
/* A share of few pictures may be none at all: `dataset import` then leaves an empty list. */
static bool is_empty(const train_data *d)
{
    char path[2 * CONFIG_TEXT_SIZE];
    struct stat about;
    snprintf(path, sizeof path, "%s/%s", d->root, d->val_list);
    return !stat(path, &about) && S_ISREG(about.st_mode) && !about.st_size;
}

static bool has_val(const train_data *d) { return *d->val_list && !is_empty(d); }

int watched_config(const train_config *c, train_config *to)
{
    const train_data *sets;
    int count = train_sets(c, &sets), kept = 0;
    *to = *c;
    *to->feature_cache = 0;                        /* it holds what is trained on */
    for (int k = 0; k < count; k++) {
        if (!has_val(&sets[k]))
            continue;
        train_data *d = c->sets.count ? &to->set[kept] : &to->data;
        *d = sets[k];
        memcpy(d->train_list, sets[k].val_list, sizeof d->train_list);
        *d->val_list = 0;
        memcpy(d->text_list, sets[k].val_list, sizeof d->text_list);
        d->view = TRAIN_VIEW_WHOLE;
        d->max_samples = c->val_samples;
        kept++;
    }
    to->sets.count = c->sets.count ? kept : 0;
    return kept;
}

static bool check_best_by(const train_config *c, error *e)
{
    static const char *const made[] = { "val_loss val_loss_itc val_loss_itm val_loss_lm val_itm_acc",
                                        "val_loss", "val_loss val_accuracy", "val_loss" };
    const char *name = train_best_names[c->best_by];
    size_t n = strlen(name);
    const double weight[] = { 1, c->loss_weights.itc, c->loss_weights.itm, c->loss_weights.itg,
                              c->loss_weights.itm, 1 };
    for (const char *at = made[c->task]; (at = strstr(at, name)); at += n)
        if (!at[n] || at[n] == ' ')
            return weight[c->best_by] > 0
                   || error_usage(e, "run.best_by: %s is left out by run.loss_weights", name);
    return error_usage(e, "run.best_by: expected one of \"%s\" for task %s, found %s", made[c->task],
                       train_tasks[c->task], name);
}

static bool open_feed(run *r, validation *v, error *e)
{
    error bad;
    const train_config *c = &v->config;
    v->feed.undecoded = r->feed.undecoded;
    if (c->task == TRAIN_LM)
        return feed_documents(&v->feed, c, r->llm, e);
    if (!feed_pictures(&v->feed, c, &bad, e) || !feed_identities(&v->feed, (train_identity)c->identity, e)
        || !feed_texts(&v->feed, c, r->bert, r->llm, e))
        return false;
    if (*bad.text)
        run_warn(r, "datasets.val: %s", bad.text);
    feed_tell_untold(&v->feed, r, "datasets.val");
    return true;
}

static void say_empty(const run *r)
{
    const train_data *sets;
    int count = train_sets(r->c, &sets);
    for (int k = 0; k < count; k++)
        if (*sets[k].val_list && is_empty(&sets[k]))
            run_warn(r, "datasets.val: nothing is in %s/%s, and nothing of it is measured on the way",
                     QUOTE(sets[k].root), QUOTE(sets[k].val_list));
}

bool validation_open(run *r, bool dry, error *e)
{
    error lacking;
    validation *v = r->val = mem_new(sizeof *v);
    if (!v)
        return error_set(e, "out of memory");
    v->best = NAN;
    say_empty(r);
    if (!watched_config(r->c, &v->config)) {
        if (r->c->patience)
            return error_usage(e, "run.patience: expected 0 without samples in datasets.val, found %ld",
                               r->c->patience);
        return true;
    }
    v->config.memory_mb = r->c->memory_mb / VAL_MEMORY;
    v->config.accumulate = 1;
    if (!check_best_by(r->c, e))
        return false;
    if (dry && (r->stand_in || run_lacks_list(&v->config, &lacking)))      /* which has been told */
        return true;
    if (!open_feed(r, v, e))
        return false;
    v->feed.digest = feed_digest(&v->feed);
    long world = ag_world(r->ranks), n = v->feed.n / world;
    if (n < 1) {
        if (r->c->patience)
            return error_usage(e, "datasets.val: expected at least %ld samples, found %ld", world, v->feed.n);
        run_warn(r, "datasets.val: it has %ld sample%s for %ld ranks: nothing is measured on the way",
                 v->feed.n, v->feed.n == 1 ? "" : "s", world);
        return true;
    }
    if (n * world < FEW)
        run_say(r, "datasets.val: %ld sample%s are few: what is measured on them is mostly chance", n * world,
                n * world == 1 ? "" : "s");
    v->config.batch = r->c->batch < n ? r->c->batch : n;
    v->parts = n / v->config.batch;
    return v->on = true;
}

void validation_close(validation *v)
{
    if (v)
        feed_free(&v->feed);
    mem_free(v);
}

/* ---- a look ------------------------------------------------------------------------------------------ */
/* Batches are asked for ahead, past the last one too. */
static void plan(void *context, long part, drawn *draws)
{
    const run *r = context;
    for (long b = 0; b < r->c->batch; b++)
        draws[b] = (drawn){ (place_of(r, part) + b) % r->feed.n, 0 };
}

static tensor *forward(run *r, tape *t, train_losses *l)
{
    long B = r->c->batch, first = place_of(r, r->part);
    long *samples = ag_alloc(t, B * (long)sizeof *samples), *visits = ag_alloc(t, B * (long)sizeof *visits);
    int *rows = ag_alloc(t, B * (long)sizeof *rows);
    for (long b = 0; b < B; b++) {
        samples[b] = first + b;
        visits[b] = 0;
        rows[b] = (int)(first + b);
    }
    r->samples = samples;
    r->visits = visits;
    ag_training(t, false);
    ag_seed(t, (ag_random){ .seed = (uint64_t)r->c->seed, .sample = rows });
    return task_forward(r, t, l);
}

typedef struct look { run r; train_losses sum; error *e; bool ok; } look;

static void measure(void *context)
{
    look *k = context;
    run *r = &k->r;
    for (r->part = 0; r->part < r->val->parts; r->part++) {
        train_losses now = { 0 };
        ag_reset(r->t);
        forward(r, r->t, &now);
        if (!(k->ok = ranks_status(r->ranks, true, &now, k->e)))
            return;
        k->sum.count = now.count;
        for (int i = 0; i < now.count; i++) {
            k->sum.name[i] = now.name[i];
            k->sum.value[i] += now.value[i] / (double)r->val->parts;
        }
    }
}

static double judged(const run *r)
{
    const train_losses *l = &r->val->now;
    for (int i = 0; i < l->count; i++)
        if (!strcmp(l->name[i], train_best_names[r->c->best_by] + strlen("val_")))
            return l->value[i];
    return NAN;
}

bool validation_look(run *r, bool *best, error *e)
{
    validation *v = r->val;
    double from = clock_seconds();
    look k = { .r = *r, .e = e };
    k.r.c = &v->config;
    k.r.feed = v->feed;
    ahead_maker pictures = { feed_show, &v->feed, 3 * v->feed.album.size * v->feed.album.size };
    if (v->feed.album.n && !album_ready(&v->feed.album)
        && !(k.r.feed.ahead = ahead_start(pictures, v->config.batch, 0, (int)r->c->num_workers, plan, &k.r,
                                          e)))
        return false;
    bool ok = ag_try(r->t, measure, &k, e) && k.ok;
    ahead_stop(k.r.feed.ahead);
    ag_reset(r->t);
    v->now = k.sum;
    v->seconds = clock_seconds() - from;
    double now = judged(r);
    *best = ok && isfinite(now)
            && (isnan(v->best) || (higher_is_better(r->c) ? now > v->best : now < v->best));
    v->waited = *best ? 0 : v->waited + 1;
    if (*best) {
        v->best = now;
        v->best_step = r->stepper.step;
    }
    return ok;
}

bool validation_due(const run *r)
{
    long done = r->stepper.step, every = r->c->valid_freq;
    if (!every)
        every = r->sampler.per_epoch / samples_a_step(r);
    return done % every == 0 || done == r->steps;
}

bool validation_ends(const run *r)
{
    return r->val && r->val->on && r->c->patience && r->val->waited >= r->c->patience;
}

/* ---- what a run that goes on must know --------------------------------------------------------------- */
enum { NUMBERS = 4 };
static const char *const names[NUMBERS] = { "state/val_best_by", "state/val_best_step", "state/val_waited",
                                            "state/val_best_bits" };
static const char way_name[] = "state/val_way";

/* All that a look measures by, but for the weights, as a number: figures of two ways do not compare. */
static int64_t way_of(const run *r)
{
    const validation *v = r->val;
    const train_config *c = &v->config;
    const double by[] = { (double)v->feed.n, (double)(c->batch * ag_world(r->ranks)), c->loss_weights.itc,
                          c->loss_weights.itm, c->loss_weights.itg, c->hard_negatives, c->caption_share,
                          c->context_weight, c->prefix_share };
    return (int64_t)XXH3_64bits_withSeed(by, sizeof by, v->feed.digest);
}

/* The best is kept as its bits: a real of the float build could not hold it. */
void validation_write(const run *r, h5_out *f)
{
    const validation *v = r->val;
    int64_t bits;
    memcpy(&bits, &v->best, sizeof bits);
    const int64_t number[NUMBERS] = { r->c->best_by, v->best_step, v->waited, bits };
    for (int i = 0; v->on && i < NUMBERS; i++)
        h5_write(f, names[i], H5_LONGS, 1, (const long[]){ 1 }, &number[i]);
    if (v->on)
        h5_write(f, way_name, H5_LONGS, 1, (const long[]){ 1 }, (const int64_t[]){ way_of(r) });
}

/* Checkpoints of programs that did not write the way are taken for those of the same. */
static bool same_way(const run *r, h5 *f, bool *same, error *e)
{
    int64_t way;
    *same = true;
    if (h5_has(f, way_name) == H5_NOTHING)
        return h5_readable(f, e);
    if (!h5_read(f, way_name, H5_LONGS, 1, (const long[]){ 1 }, &way, e))
        return false;
    *same = way == way_of(r);
    return true;
}

static void say_forgotten(const run *r, int64_t best_by, int64_t step, double best)
{
    const int64_t count = sizeof train_best_names / sizeof *train_best_names - 1;
    if (isfinite(best))
        run_warn(r, "datasets.val: the best so far, %s %.6g at step %ld, is of another run.best_by, list, "
                 "number of samples, batch or keys that the loss depends on, and counts no longer",
                 best_by >= 0 && best_by < count ? train_best_names[best_by] : "a figure", best, (long)step);
}

/* A checkpoint of a run that judged by something else, or not at all, knows no best. */
bool validation_read(run *r, h5 *f, error *e)
{
    validation *v = r->val;
    int64_t number[NUMBERS];
    double best;
    bool same;
    for (int i = 0; i < NUMBERS; i++) {
        if (!v->on || h5_has(f, names[i]) == H5_NOTHING)
            return h5_readable(f, e);
        if (!h5_read(f, names[i], H5_LONGS, 1, (const long[]){ 1 }, &number[i], e))
            return false;
    }
    if (!same_way(r, f, &same, e))
        return false;
    memcpy(&best, &number[3], sizeof best);
    if (!same || number[0] != r->c->best_by) {
        say_forgotten(r, number[0], number[1], best);
        return true;
    }
    v->best = best;
    v->best_step = (long)number[1];
    v->waited = (long)number[2];
    return true;
}
