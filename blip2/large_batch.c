/* large_batch.c - stage 1 on a batch in parts, with the numbers and gradients of the undivided batch (after
 * Gao et al. 2021, GradCache).
 *
 * Cut into parts, a batch of C pairs costs the memory of a part, but the contrastive loss and the hard
 * negatives need all C. So each part is first run without tape and shows what others look at: its image
 * features, its text features, and the tower's features that its pictures have. Then, part by part, with
 * tape:
 *     ITC   the part's rows against all C candidates;
 *     ITM   negatives drawn from all C; a picture of another part is normalised and projected from its
 *           features where it is drawn, so that ln_vision and the projections get its gradient from there;
 *     ITG   the part's own captions, as a share of the mean over all captions' tokens.
 * Candidates carry no gradient in BLIP-2 (itc.c): the gradient of ITC with respect to a part's features is
 * found in that part alone and need not be kept, unlike in GradCache. What does cross parts is the
 * gradient of the tower's features, by the drawn pictures: where the tower is trained they are leaves,
 * their gradient is the sum over all parts and ranks, and the tower is run once more, a part at a time, to
 * take it back to the pixels. Dropout is keyed by sample, so both runs of a part draw the same. */
#include "blip2/internal.h"
#include <string.h>

static long row_of(const blip2_large *l, long part, int rank, long b)
{
    return (part * l->world + rank) * l->B + b;
}

long large_first(const blip2_large *l, long part) { return row_of(l, part, l->rank, 0); }

/* Rows come by rank, then part; they are to stand by part, then rank. */
static void *in_order(const blip2_large *l, tape *t, const void *from, long bytes)
{
    char *to = ag_alloc(t, l->count * bytes);
    const char *next = from;
    for (int rank = 0; rank < l->world; rank++)
        for (long part = 0; part < l->parts; part++, next += l->B * bytes)
            memcpy(to + row_of(l, part, rank, 0) * bytes, next, (size_t)(l->B * bytes));
    return to;
}

/* All tokens but the first of each text, as stage1_itg counts its targets. */
static double targets_of(blip2_text text)
{
    double n = 0;
    for (long b = 0; b < text.B; b++)
        for (long i = 1; i < text.T; i++)
            n += text.mask[b * text.T + i] != 0;
    return n;
}

blip2_large blip2_large_new(const blip2_model *m, tape *t, const ag_ranks *ranks, long parts, blip2_text text,
                            const long *image_id, long N, bool tower_trained)
{
    const blip2_config *c = &m->config;
    if (parts < 1 || text.B % parts || !c->stage1)
        ag_fail("large_batch", "text (%ld,%ld) in %ld parts: expected whole parts, and a model of stage 1",
                text.B, text.T, parts);
    blip2_large l = { .parts = parts, .B = text.B / parts, .rank = ag_rank(ranks), .world = ag_world(ranks) };
    l.count = text.B * l.world;
    blip2_text own = blip2_trim(t, ranks, text, c->text_pad, false);
    blip2_text all = blip2_gather_text(t, ranks, own);                     /* (C,T), by rank */
    l.words = (blip2_text){ l.count, all.T, in_order(&l, t, all.ids, all.T * (long)sizeof *all.ids),
                            in_order(&l, t, all.mask, all.T) };
    if (image_id)
        l.image_id = in_order(&l, t, blip2_gather_ids(t, ranks, image_id, text.B), (long)sizeof *image_id);
    l.targets = targets_of(l.words);
    l.images = ag_new(t, DIMS(l.count, c->qformer.queries, c->embed));
    l.texts = ag_new(t, DIMS(l.count, c->embed));
    l.features = ag_new(t, DIMS(l.count, N, c->qformer.memory_width));
    l.features->needs_grad = tower_trained;
    return l;
}

blip2_text large_text(const blip2_large *l, long part)
{
    long T = l->words.T, from = large_first(l, part) * T;
    return (blip2_text){ l->B, T, l->words.ids + from, l->words.mask + from };
}

/* x (B,...) of this rank's part, with those of the other ranks, into their rows of `all` (C,...). */
static void put(const blip2_large *l, tape *t, const ag_ranks *ranks, long part, tensor *x, tensor *all)
{
    tensor *everyone = ag_all_gather(t, ranks, x);                         /* (world B,...) */
    if (everyone->size * l->parts != all->size)
        ag_fail("large_batch", "%s of part %ld for the rows of %s", SHAPE(x), part, SHAPE(all));
    if (!ag_spent(0))                                      /* else: only measured */
        ag_read(everyone, all->data + part * everyone->size);
}

void blip2_large_show(const blip2_model *m, tape *t, const ag_ranks *ranks, const blip2_large *l, long part,
                      tensor *features)
{
    bool recording = ag_record_on(t, false);
    ag_mark here = ag_here(t);
    put(l, t, ranks, part, features, l->features);
    tensor *queries = blip2_image_queries(m, t, features, NULL, NULL);     /* (B,Q,D) */
    put(l, t, ranks, part, blip2_image_features(m, t, queries), l->images);
    ag_rewind(t, here);
    tensor *text = stage1_text_pass(m, t, large_text(l, part), 1);         /* (B,1,D): [CLS] */
    put(l, t, ranks, part, blip2_text_feature(m, t, text), l->texts);
    ag_rewind(t, here);
    ag_record_on(t, recording);
}

tensor *large_features(const blip2_large *l, tape *t, long part)
{
    return ag_slice(t, l->features, 0, large_first(l, part), l->B);        /* (B,N,E) */
}

void blip2_large_back(const blip2_model *m, tape *t, const ag_ranks *ranks, const blip2_large *l, long part,
                      tensor *pictures)
{
    ag_mark here = ag_here(t);
    long own = l->features->size / (l->count / l->B), first = row_of(l, part, 0, 0);
    const real *all = ag_grad(l->features) + first * (own / l->B);         /* (world B,N,E) */
    real *cotangent = ag_alloc_real(t, own);
    if (l->world == 1 && !ag_spent(0))
        memcpy(cotangent, all, (size_t)own * sizeof *cotangent);
    else if (!ag_spent(0) && !ranks->reduce_scatter(ranks, all, own, cotangent))
        ag_fail("ranks", "rank %d of %d: another rank has ended", l->rank, l->world);
    tensor *y = blip2_vision_features(m, t, pictures);                     /* (B,N,E) */
    if (y->size != own)
        ag_fail("large_batch", "pictures %s give %s, %ld numbers are to go back", SHAPE(pictures), SHAPE(y),
                own);
    ag_backward_from(t, 1, &y, (const real *const[]){ cotangent });
    ag_rewind(t, here);
}
