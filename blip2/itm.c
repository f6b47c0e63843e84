/* itm.c - image-text matching with hard negatives (Li et al. 2023, section 3.2; lavis blip2_qformer.py).
 *
 * For each text b one image that is not its own is drawn from the softmax of s_t2i[b,:], and for each
 * image one text from that of s_i2t[b,:]: what looks alike is drawn more often. (Ours: from its power
 * 1 - in->soft_negatives, where that is not 0.) Three groups of B rows go through the Q-Former with the
 * bidirectional mask,
 *     (text b, image b) -> 1      (text b, drawn image) -> 0      (drawn text, image b) -> 0,
 *     loss = CE( mean_q head(h[:,q]), label ),
 * and all three read the keys and values of the images that were projected once. As in the reference,
 * positives get the score -10000: a row without a single negative (B = 1) draws among all. What is drawn may
 * be another rank's: its text is at hand, its picture comes with gradient, and only the drawn rows of it are
 * projected here.                                                                                          */
#include "blip2/internal.h"
#include <math.h>
#include <string.h>

enum { DRAW_IMAGES = 1, DRAW_TEXTS };

/* softmax over the candidates of each row of power x s (B,C), its positives taken out. */
static real *draw_weights(tape *t, const candidates *c, const tensor *s, double power)
{
    long B = s->dim[0], C = s->dim[1];
    real *weights = ag_alloc_real(t, B * C);
    if (ag_spent(0))
        return weights;
    ag_read(s, weights);
    for (long b = 0; b < B; b++) {
        real *w = weights + b * C;
        double top = -INFINITY, sum = 0;
        for (long j = 0; j < C; j++) {
            w[j] = is_positive(c, b, j) ? -10000 : (real)power * w[j];
            top = fmax(top, (double)w[j]);
        }
        for (long j = 0; j < C; j++)
            sum += exp((double)w[j] - top);
        for (long j = 0; j < C; j++)
            w[j] = (real)(exp((double)w[j] - top) / sum);
    }
    return weights;
}

static long sample_of(const ag_random *r, long b)
{
    return r->sample ? r->sample[b] : b;
}

/* One candidate a row, by inverting the distribution at a number keyed by seed, step and sample. */
static const int *draw(tape *t, const real *weights, long B, long C, uint64_t what)
{
    ag_random r = ag_random_now(t);
    uint64_t key = ag_mix(ag_mix(r.seed, r.step), what);
    int *drawn = ag_alloc(t, B * (long)sizeof *drawn);
    for (long b = 0; b < B; b++) {
        double left = ag_uniform(key, (uint64_t)sample_of(&r, b));
        const real *w = weights + b * C;
        long last = 0;                                     /* the last possible, if rounding leaves a rest */
        for (long j = 0; j < C && left >= 0; j++)
            if (w[j] > 0) {
                left -= (double)w[j];
                last = j;
            }
        drawn[b] = (int)last;
    }
    return drawn;
}

/* [text; text; text of the drawn], (3B,T) */
static blip2_text three_texts(tape *t, const candidates *c, blip2_text text, const int *negative)
{
    long B = text.B, T = text.T;
    int *ids = ag_alloc(t, 3 * B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, 3 * B * T);
    for (long r = 0; r < 3 * B; r++) {
        long from = r < 2 * B ? c->first + r % B : negative[r - 2 * B];
        memcpy(ids + r * T, c->words.ids + from * T, (size_t)T * sizeof *ids);
        memcpy(mask + r * T, c->words.mask + from * T, (size_t)T);
    }
    return (blip2_text){ 3 * B, T, ids, mask };
}

/* [image; drawn image; image]: which row of the images' keys and values each row reads. The pictures of other
 * ranks and parts stand behind the B of this one, each once: *far (n) says which they are. */
static const int *three_images(tape *t, const candidates *c, long B, const int *negative, int **far, long *n)
{
    int *row = ag_alloc(t, 3 * B * (long)sizeof *row);
    *far = ag_alloc(t, B * (long)sizeof **far);
    *n = 0;
    for (long r = 0; r < 3 * B; r++) {
        row[r] = (int)(r % B);
        if (r < B || r >= 2 * B)
            continue;
        long drawn = negative[r - B], k = 0;
        row[r] = (int)(drawn - c->first);
        if (drawn >= c->first && drawn < c->first + B)
            continue;
        while (k < *n && (*far)[k] != drawn)
            k++;
        if (k == *n)
            (*far)[(*n)++] = (int)drawn;
        row[r] = (int)(B + k);
    }
    return row;
}

/* Pictures of other ranks, (n,N,E): normalised there, or, of other parts, here. */
static tensor *far_pictures(const blip2_model *m, tape *t, const candidates *c, tensor *all, const int *far,
                            long n)
{
    tensor *drawn = ag_gather(t, c->features ? c->features : all, far, n);
    return c->features ? nn_layer_norm_forward(&m->ln_vision, t, drawn) : drawn;
}

/* The keys and values of this part's pictures, and behind them those of `far` (n), which are projected
 * here. all: the pictures of all ranks (C,N,E), or NULL. */
static const nn_kv *with_far(const blip2_model *m, tape *t, const candidates *c, tensor *all,
                             const nn_kv *memory, const int *far, long n)
{
    if (!n)
        return memory;
    tensor *drawn = far_pictures(m, t, c, all, far, n);                    /* (n,N,E) */
    nn_kv *behind = layer_room(m, t), *both = layer_room(m, t);
    blip2_qformer_memory(&m->qformer, t, drawn, behind);                   /* (n,N,D) a layer */
    for (long i = 0; i < m->config.qformer.layers; i++) {
        both[i] = (nn_kv){ NULL, NULL };
        if (!memory[i].k)
            continue;
        both[i].k = ag_concat(t, 2, (tensor *[]){ memory[i].k, behind[i].k }, 0);      /* (B+n,N,D) */
        both[i].v = ag_concat(t, 2, (tensor *[]){ memory[i].v, behind[i].v }, 0);
    }
    return both;
}

/* Dropout of the three rows of a sample is keyed by its global index and the group. */
static const int *three_samples(tape *t, const ag_random *r, long B)
{
    int *sample = ag_alloc(t, 3 * B * (long)sizeof *sample);
    for (long i = 0; i < 3 * B; i++)
        sample[i] = (int)(3 * sample_of(r, i % B) + i / B);
    return sample;
}

static void check_negatives(const char *what, const int *negative, long B, long C)
{
    for (long b = 0; b < B; b++)
        if (negative[b] < 0 || negative[b] >= C)
            ag_fail("stage1", "%s %d of sample %ld: expected 0 to %ld", what, negative[b], b, C - 1);
}

tensor *stage1_itm(const blip2_model *m, tape *t, const candidates *c, const nn_kv *memory,
                   const blip2_stage1_in *in, blip2_text text, blip2_stage1_out *out)
{
    long B = text.B, C = c->count;
    out->weights_t2i = draw_weights(t, c, out->sim_t2i, 1 - in->soft_negatives);
    out->weights_i2t = draw_weights(t, c, out->sim_i2t, 1 - in->soft_negatives);
    out->negative_image = in->negative_image;
    out->negative_text = in->negative_text;
    if (!out->negative_image)
        out->negative_image = draw(t, out->weights_t2i, B, C, DRAW_IMAGES);
    if (!out->negative_text)
        out->negative_text = draw(t, out->weights_i2t, B, C, DRAW_TEXTS);
    check_negatives("negative_image", out->negative_image, B, C);
    check_negatives("negative_text", out->negative_text, B, C);

    int *far, *labels = ag_alloc(t, 3 * B * (long)sizeof *labels);
    long n;
    for (long r = 0; r < 3 * B; r++)
        labels[r] = r < B;
    out->itm_labels = labels;
    tensor *images = c->features ? NULL : ag_all_gather(t, in->ranks, out->image);     /* (C,N,E) */
    const int *rows = three_images(t, c, B, out->negative_image, &far, &n);
    memory = with_far(m, t, c, images, memory, far, n);
    ag_random outside = ag_random_now(t), inside = outside;
    inside.sample = three_samples(t, &outside, B);
    ag_seed(t, inside);
    out->itm_logits = blip2_itm_logits(m, t, memory, rows, three_texts(t, c, text, out->negative_text),
                                       in->keep ? &out->itm_hidden : NULL);            /* (3B,2) */
    ag_seed(t, outside);
    return ag_cross_entropy(t, out->itm_logits, &(ag_ce){ .ids = labels, .ignore = -100 });
}

/* By linearity head(mean_q h) is the reference's mean_q head(h). */
tensor *blip2_itm_logits(const blip2_model *m, tape *t, const nn_kv *memory, const int *memory_row,
                         blip2_text text, tensor **hidden)
{
    long Q = m->config.qformer.queries;
    tensor *queries = ag_repeat(t, m->query_tokens, text.B);               /* (R,Q,D) */
    tensor *h = blip2_qformer_forward(&m->qformer, t, &(blip2_pass){
        .queries = queries, .ids = text.ids, .B = text.B, .T = text.T,
        .memory = memory, .memory_row = memory_row, .pass = PASS_MATCHING, .rows = hidden ? 0 : Q,
        .mask = blip2_mask_bidirectional(t, text.B, Q, text.T, text.mask) });  /* (R,Q+T,D) or (R,Q,D) */
    tensor *of_queries = hidden ? ag_slice(t, h, 1, 0, Q) : h;             /* (R,Q,D) */
    tensor *mean = ag_mean_axis(t, of_queries, 1);                         /* (R,D) */
    if (hidden)
        *hidden = h;
    return nn_linear_forward(&m->itm_head, t, mean);                       /* (R,2) */
}
