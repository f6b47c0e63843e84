/* ahead.c - batches of pictures, or of what a tower made of them, got ready by threads while the step before
 * is at work. The threads decide nothing: which samples a batch has, and how each is cropped, follows from
 * its number alone. */
#include "train/internal.h"
#include <pthread.h>
#include <string.h>

enum { SLOTS = 3 };
typedef struct slot {
    long begun, done;                              /* of its samples */
    drawn *draws;                                  /* (batch) */
    uint8_t *made;                                 /* (batch, bytes) */
    long failed;                                   /* the first sample that could not be made; -1 */
    error why;
} slot;

struct ahead {
    ahead_maker maker;
    ahead_plan plan;
    void *context;
    long batch, asked, taken;                      /* samples; batches asked for; the one in use */
    slot slots[SLOTS];
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    bool over;
    int workers;
    pthread_t worker[64];
};

/* The oldest batch with a sample that nobody has begun; NULL: none. */
static slot *next_work(ahead *a)
{
    for (long n = a->taken; n < a->asked; n++) {
        slot *s = &a->slots[n % SLOTS];
        if (s->begun < a->batch)
            return s;
    }
    return NULL;
}

static void *work(void *context)
{
    ahead *a = context;
    long each = a->maker.bytes;
    error why;
    pthread_mutex_lock(&a->lock);
    while (!a->over) {
        slot *s = next_work(a);
        if (!s) {
            pthread_cond_wait(&a->work, &a->lock);
            continue;
        }
        long b = s->begun++;
        pthread_mutex_unlock(&a->lock);
        bool ok = a->maker.make(a->maker.context, s->draws[b], s->made + b*each, &why);
        pthread_mutex_lock(&a->lock);
        if (!ok && (s->failed < 0 || b < s->failed)) {
            s->failed = b;
            s->why = why;
        }
        if (++s->done == a->batch)
            pthread_cond_signal(&a->ready);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static bool make_slots(ahead *a)
{
    bool ok = true;
    for (int k = 0; k < SLOTS; k++) {
        a->slots[k].draws = mem_new((size_t)a->batch * sizeof(drawn));
        a->slots[k].made = mem_new((size_t)(a->batch * a->maker.bytes));
        ok = ok && a->slots[k].draws && a->slots[k].made;
    }
    return ok;
}

double ahead_bytes(long batch, long bytes)
{
    return (double)SLOTS * (double)batch * ((double)bytes + sizeof(drawn));
}

ahead *ahead_start(ahead_maker maker, long batch, long first, int workers, ahead_plan plan, void *context,
                   error *e)
{
    ahead *a = mem_new(sizeof *a);
    if (!a) {
        error_set(e, "out of memory for batches of pictures");
        return NULL;
    }
    *a = (ahead){ .maker = maker, .batch = batch, .asked = first, .taken = first,
                   .plan = plan, .context = context };
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->work, NULL);
    pthread_cond_init(&a->ready, NULL);
    bool ok = make_slots(a) || error_set(e, "out of memory for batches of %ld pictures", batch);
    while (ok && a->workers < workers && a->workers < 64)
        if (pthread_create(&a->worker[a->workers], NULL, work, a))
            ok = error_set(e, "run.num_workers: thread %d of %d cannot be started", a->workers + 1, workers);
        else
            a->workers++;
    if (!ok) {
        ahead_stop(a);
        return NULL;
    }
    return a;
}

void ahead_stop(ahead *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->over = true;
    pthread_cond_broadcast(&a->work);
    pthread_mutex_unlock(&a->lock);
    for (int i = 0; i < a->workers; i++)
        pthread_join(a->worker[i], NULL);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->work);
    pthread_cond_destroy(&a->ready);
    for (int k = 0; k < SLOTS; k++) {
        mem_free(a->slots[k].draws);
        mem_free(a->slots[k].made);
    }
    mem_free(a);
}

const uint8_t *ahead_take(ahead *a, long number, error *e)
{
    pthread_mutex_lock(&a->lock);
    a->taken = number;
    for (; a->asked < number + SLOTS; a->asked++) {        /* the slot of the batch before is free again */
        slot *s = &a->slots[a->asked % SLOTS];
        s->begun = s->done = 0;
        s->failed = -1;
        a->plan(a->context, a->asked, s->draws);
    }
    pthread_cond_broadcast(&a->work);
    slot *s = &a->slots[number % SLOTS];
    while (s->done < a->batch)
        pthread_cond_wait(&a->ready, &a->lock);
    pthread_mutex_unlock(&a->lock);
    if (s->failed >= 0)
        *e = s->why;
    return s->failed >= 0 ? NULL : s->made;
}
