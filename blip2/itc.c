/* itc.c - image-text contrastive learning (Li et al. 2023, section 3.2; lavis blip2_qformer.py).
 *
 * With u[b,q] the normalised projections of a picture's query outputs, w[b] that of a text's [CLS], and
 * u*, w* the same of the C candidates, without gradient:
 *     s_i2t[b,j] = max_q <u[b,q], w*[j]> / temp          s_t2i[b,j] = max_q <u*[j,q], w[b]> / temp
 *     loss = ( CE(s_i2t, y) + CE(s_t2i, y) ) / 2,        y[b,j] = (1-s) [j is b's own] + s/C
 * with label smoothing s. Where several candidates show b's picture (equal image ids) they share the 1-s
 * equally.                                                                                                 */
#include "blip2/internal.h"

/* max_q <u[b,q], w*[j]> / temp: u (B,Q,E), texts (C,E) -> (B,C) */
static tensor *images_to_texts(tape *t, tensor *u, tensor *texts, tensor *temp)
{
    long B = u->dim[0], Q = u->dim[1], E = u->dim[2], C = texts->dim[0];
    tensor *rows = ag_reshape(t, u, DIMS(1, B * Q, E));
    tensor *all = ag_matmul(t, rows, texts, false, true);                  /* (1,BQ,C) */
    tensor *of_query = ag_reshape(t, all, DIMS(B, Q, C));
    tensor *best = ag_max_axis(t, of_query, 1);                            /* (B,C) */
    return ag_div(t, best, temp);
}

/* max_q <u*[j,q], w[b]> / temp: w (B,E), images (C,Q,E) -> (B,C) */
static tensor *texts_to_images(tape *t, tensor *w, tensor *images, tensor *temp)
{
    long B = w->dim[0], E = w->dim[1], C = images->dim[0], Q = images->dim[1];
    tensor *rows = ag_reshape(t, w, DIMS(1, B, E));
    tensor *columns = ag_reshape(t, images, DIMS(C * Q, E));
    tensor *all = ag_matmul(t, rows, columns, false, true);                /* (1,B,CQ) */
    tensor *of_query = ag_reshape(t, all, DIMS(B, C, Q));
    tensor *best = ag_max_axis(t, of_query, 2);                            /* (B,C) */
    return ag_div(t, best, temp);
}

/* (B,C) the distribution that each row should have. */
static const real *shared_targets(tape *t, const candidates *c, long B, double smoothing)
{
    real *y = ag_alloc_real(t, B * c->count);
    for (long b = 0; b < B && !ag_spent(0); b++) {
        long positives = 0;
        for (long j = 0; j < c->count; j++)
            positives += is_positive(c, b, j);
        for (long j = 0; j < c->count; j++)
            y[b * c->count + j] = (real)((is_positive(c, b, j) ? (1 - smoothing) / (double)positives : 0)
                                         + smoothing / (double)c->count);
    }
    return y;
}

static const int *own_targets(tape *t, const candidates *c, long B)
{
    int *ids = ag_alloc(t, B * (long)sizeof *ids);
    for (long b = 0; b < B; b++)
        ids[b] = (int)(c->first + b);
    return ids;
}

void stage1_similarities(const blip2_model *m, tape *t, const candidates *c, blip2_stage1_out *out)
{
    out->sim_i2t = images_to_texts(t, out->image_features, c->texts, m->temp);         /* (B,C) */
    out->sim_t2i = texts_to_images(t, out->text_feature, c->images, m->temp);          /* (B,C) */
}

tensor *stage1_itc(const blip2_model *m, tape *t, const candidates *c, const blip2_stage1_out *out)
{
    long B = out->text_feature->dim[0];
    double s = m->config.label_smoothing;
    ag_ce targets = c->image_id ? (ag_ce){ .soft = shared_targets(t, c, B, s) }
                                : (ag_ce){ .ids = own_targets(t, c, B), .ignore = -100, .smoothing = s };
    tensor *i2t = ag_cross_entropy(t, out->sim_i2t, &targets);             /* () */
    tensor *t2i = ag_cross_entropy(t, out->sim_t2i, &targets);             /* () */
    tensor *both = ag_add(t, i2t, t2i);
    return ag_scale(t, both, 0.5);
}
