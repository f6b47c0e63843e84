/* ranks_threads.c - ranks as threads of one process (ranks.h). Each has OpenMP threads of its own. */
#include "train/ranks_shared.h"
#include <pthread.h>

typedef struct one {
    pthread_t thread;
    ag_ranks ranks;
    ranks_link link;
    ranks_body body;
    void *context;
    bool started, ok;
} one;

static void *run(void *context)
{
    one *o = context;
    error e;
    o->ok = ranks_call(o->body, &o->ranks, o->context, &e);
    return NULL;
}

bool ranks_threads(int n, ranks_body body, void *context, error *e)
{
    one all[RANKS_MOST];
    void *none;
    if (n < 1 || n > RANKS_MOST)
        return error_usage(e, "ranks: expected from 1 to %d, found %d", RANKS_MOST, n);
    ranks_block *b = ranks_block_new(n, 0, &none, e);
    if (!b)
        return false;
    for (int k = 0; k < n; k++) {
        all[k] = (one){ .body = body, .context = context };
        ranks_join(&all[k].ranks, &all[k].link, b, k);
        all[k].started = !pthread_create(&all[k].thread, NULL, run, &all[k]);
        if (!all[k].started) {
            error why;
            error_set(&why, "ranks: no thread for rank %d of %d", k, n);
            ranks_fail(b, &why);
        }
    }
    bool ok = true;
    for (int k = 0; k < n; k++)
        ok = all[k].started && !pthread_join(all[k].thread, NULL) && all[k].ok && ok;
    if (!ok)
        *e = b->first;
    ranks_block_free(b);
    return ok;
}
