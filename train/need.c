/* need.c - what a run will need, known before its model is there: memory at its peak, operations of a step.
 *
 * The run's own steps are taken through a tape that only measures (autograd.h), with a store that holds no
 * numbers: the same tasks, operations and allocations as in earnest, without kernels. So the figures follow
 * the code. Some steps are taken, because the texts of each are as long as its longest.
 *
 *   peak = what the process holds now (program, lists, texts, and pictures if they are decoded already;
 *          those of datasets.val, too), and a little that the program will need for products and files
 *          + pictures still to be decoded + batches made ahead + parameters, gradients, moments
 *          + the tape: activations, and the pool of gradients                                  (each rank) */
#include "train/internal.h"
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 64, SAMPLES_OF_PICTURES = 32 };
enum { LATER = 5 << 20 }; /* measured: kernels' code and buffers of the BLAS 2 MiB, writing a model 3 MiB */

typedef struct attempt { run *r; error *e; bool ok; } attempt;

static void step(void *context)
{
    attempt *a = context;
    train_losses ignored;
    a->ok = train_step(&a->r->stepper, run_forward, a->r, &ignored, a->e);
}

/* Steps of the run, from its first on; how many, and the operations of one. 0: it failed. The first is
 * left out of them: with a feature cache it goes through the tower, as it will when the cache is made. */
static long take_steps(run *r, double *flops, error *e)
{
    long parts = r->c->accumulate, most = parts < STEPS ? STEPS / parts : 2, taken = 0;
    double first = 0;
    while (taken < most && taken < r->steps) {
        attempt a = { .r = r, .e = e };
        if (!ag_try(r->t, step, &a, e) || !a.ok)
            return 0;
        if (!taken++)
            first = ag_flops(r->t);
    }
    *flops = taken > 1 ? (ag_flops(r->t) - first) / (double)(taken - 1) : first;
    return taken;
}

/* Parameters by the first part of their names, in the order of the model. */
static void count_parts(const nn_store *s, train_need *n)
{
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        size_t length = strcspn(p->name, ".");
        int k = 0;
        if (p->alias_of)
            continue;
        while (k < n->count && (strlen(n->part[k].name) != length
                                || strncmp(n->part[k].name, p->name, length)))
            k++;
        if (k == n->count && n->count < TRAIN_PARTS) {
            size_t room = sizeof n->part[k].name - 1;
            memcpy(n->part[n->count++].name, p->name, length < room ? length : room);
        }
        if (k < TRAIN_PARTS)
            *(p->frozen ? &n->part[k].frozen : &n->part[k].trained) += p->value->size;
    }
    n->trained = s->trainable;
    n->frozen = s->frozen;
}

/* ---- data ---------------------------------------------------------------------------------------------- */
/* Of pictures that are to be held decoded. In earnest they are by now; else some are looked at. */
static double pictures_bytes(const album *a, double most)
{
    double sum = 0;
    long looked = 0, stride = a->n / SAMPLES_OF_PICTURES + 1;
    for (long i = 0; i < a->n; i += stride) {
        const album_page *page = &a->pages[i];
        picture p = { .width = a->size, .height = a->size };
        error unread;
        if (page->view && !picture_read(&p, page->path, &unread))
            p.width = p.height = a->size;
        sum += 3.0 * (double)p.width * (double)p.height;
        if (page->view)
            picture_free(&p);
        looked++;
    }
    return looked ? fmin(sum / (double)looked * (double)a->n, most) : 0;
}

static double held_bytes(const album *a)
{
    double sum = 0;
    for (long i = 0; i < a->n; i++)
        sum += 3.0 * (double)a->pages[i].held.width * (double)a->pages[i].held.height;
    return sum;
}

static bool any_view(const album *a)
{
    for (long i = 0; i < a->n; i++)
        if (a->pages[i].view)
            return true;
    return false;
}

static double sequences_bytes(const sequences *s)
{
    return (double)s->room * sizeof *s->tokens + (double)s->rows * sizeof *s->first;
}

static double texts_bytes(const feed *f) { return sequences_bytes(&f->texts) + sequences_bytes(&f->asked); }

/* Pictures that are held, and those that are made ahead of batches. */
static double shown_bytes(const feed *f, const train_config *c, bool decoded)
{
    const blip2_vit_config *v = &c->model.vision;
    const char *cache = c->feature_cache;
    double most = (double)c->memory_mb * (1 << 20);
    double all = decoded ? held_bytes(&f->album)
               : *cache && !access(cache, F_OK) ? 0 : pictures_bytes(&f->album, most);
    long side = v->patch ? v->image_size / v->patch : 0, sample = 3 * f->album.size * f->album.size;
    bool made_ahead = f->album.n && (*cache || any_view(&f->album) || all >= most);
    if (*cache)                                            /* read as rows of features */
        sample = (1 + side * side) * v->width * (c->cache_dtype == 2 ? 4 : 2);
    return all + (made_ahead ? ahead_bytes(c->batch, sample) : 0);
}

/* What the process holds, and what the data, datasets.val too, will add to it; decoded: the pictures are part
 * of the first. */
static void count_data(const run *r, bool decoded, train_need *n)
{
    const validation *v = r->val;
    double held = held_bytes(&r->feed.album) + held_bytes(&v->feed.album);
    n->texts = texts_bytes(&r->feed) + texts_bytes(&v->feed);
    n->program = fmax(mem_resident_bytes() - n->texts - held, 0) + LATER;
    n->pictures = shown_bytes(&r->feed, r->c, decoded) + shown_bytes(&v->feed, &v->config, decoded);
}

/* ---- all of it ----------------------------------------------------------------------------------------- */
static void add_up(const run *r, train_need *n)
{
    const ag_ranks *ranks = r->ranks;
    double one = (double)sizeof(real), held = mem_resident_bytes();
    n->parameters = one * (double)(n->trained + n->frozen);
    n->gradients = one * (double)n->trained;
    n->moments = 2 * n->gradients;
    n->bytes = n->program + n->texts + n->pictures + n->parameters + n->gradients + n->moments
               + n->activations + n->pool;
    n->bytes *= ag_world(ranks);
    n->available = mem_available("", &n->limit) + held * ag_world(ranks);
    n->stand_in = r->stand_in;
    /* 0: not known */
    n->steps = r->stand_in && !r->c->max_iters && r->feed.n == samples_a_step(r) ? 0 : r->steps;
    n->samples = samples_a_step(r);
}

bool run_measure(run *r, bool decoded, train_need *n, error *e)
{
    run trial = *r;
    *n = (train_need){ 0 };
    count_data(r, decoded, n);
    trial.store = NULL;
    trial.t = ag_tape_new();
    bool ok = (trial.t && ag_measures(trial.t)) || error_set(e, "out of memory");
    ok = ok && run_open_model(&trial, true, e);
    long taken = ok ? take_steps(&trial, &n->flops, e) : 0;
    if (taken) {
        count_parts(trial.store, n);
        n->pool = (double)ag_pool_bytes(trial.t);
        n->activations = (double)ag_bytes(trial.t) - n->pool;
        n->flops *= ag_world(r->ranks);
        add_up(r, n);
    }
    r->sampler = trial.sampler;                            /* it keeps what it drew last */
    nn_store_free(trial.store);
    ag_tape_free(trial.t);
    return taken > 0;
}

bool run_fits(const run *r, const train_need *n, error *e)
{
    const double GiB = 1 << 30;
    double step = n->activations + n->pool, model = n->parameters + n->gradients + n->moments;
    if (n->bytes <= n->available)
        return true;
    const char *less = step > model && r->c->batch > 1
                     ? "a smaller run.batch_size_train with a larger run.accum_grad_iters"
                     : n->pictures > model ? "a smaller datasets.memory_mb"
                                           : "a smaller model, or more of it in model.freeze,";
    return error_set(e, "run.memory_check: the run does not fit into memory; expected a need of at most the "
                        "%.2f GiB "
                     "%s, found %.2f GiB: parameters %.2f, their gradients and moments %.2f, the work of a "
                     "step %.2f, pictures and texts %.2f, program %.2f%s; %s needs less%s; run.memory_check: "
                     "false tries it all the same", n->available / GiB, n->limit, n->bytes / GiB,
                     n->parameters / GiB,
                     (n->gradients + n->moments) / GiB, step / GiB, (n->pictures + n->texts) / GiB,
                     n->program / GiB, ag_world(r->ranks) > 1 ? ", in each rank" : "", less,
                     step > model && !r->c->recompute ? ", and so does run.recompute: true" : "");
}
