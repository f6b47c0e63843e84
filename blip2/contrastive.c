/* contrastive.c - a vision tower from captions alone: CLIP's loss (Radford et al. 2021, Fig. 3) with a small
 * causal text tower. u = l2norm(W_v mean_N LN(vit(x))), w = l2norm(W_t h_last); with S = u w' / temperature
 * the loss is (CE(S, P) + CE(S', P)) / 2, where P shares a row's mass among the captions of the batch that
 * read the same. The heads and the text tower are dropped afterwards; the tower (visual_encoder.*) is what is
 * kept. With ranks the rows of S are this rank's, the columns all ranks', with gradient on both sides. */
#include "blip2/blip2.h"

void blip2_contrastive_init(blip2_contrastive *c, nn_scope s, long vision_width,
                            const blip2_contrastive_config *config)
{
    c->temperature = config->temperature;
    nn_layer_norm_init(&c->norm, nn_sub(s, "visual_norm"), vision_width, 1e-5);
    nn_linear_init_torch(&c->visual, nn_sub(s, "visual_projection"), config->embed, vision_width);
    nn_linear_init_torch(&c->textual, nn_sub(s, "text_projection"), config->embed, config->text.width);
    blip2_opt_init(&c->text, nn_sub(s, "text_encoder"), &config->text);
}

/* (B,T) right-padded -> (B,embed): the hidden state at the last token, projected and normalised. */
static tensor *text_feature(const blip2_contrastive *c, tape *t, blip2_text text)
{
    int *last = ag_alloc(t, text.B * (long)sizeof *last);
    for (long b = 0; b < text.B; b++) {
        long n = 0;
        while (n < text.T && text.mask[b*text.T + n])
            n++;
        last[b] = (int)(b*text.T + (n ? n - 1 : 0));
    }
    tensor *e = blip2_opt_embed(&c->text, t, text.ids, text.B, text.T);            /* (B,T,L) */
    tensor *h = blip2_opt_forward(&c->text, t, e, text.mask, NULL);                /* (B,T,L) */
    tensor *rows = ag_reshape(t, h, DIMS(text.B * text.T, h->dim[2]));
    tensor *ends = ag_gather(t, rows, last, text.B);                               /* (B,L) */
    return ag_l2_normalize(t, nn_linear_forward(&c->textual, t, ends), 1e-12);
}

static tensor *picture_feature(const blip2_contrastive *c, const blip2_vit *vision, tape *t, tensor *pictures)
{
    tensor *x = blip2_vit_forward(vision, t, pictures, NULL);                      /* (B,N,E) */
    tensor *mean = ag_mean_axis(t, nn_layer_norm_forward(&c->norm, t, x), 1);      /* (B,E) */
    return ag_l2_normalize(t, nn_linear_forward(&c->visual, t, mean), 1e-12);
}

/* (B,C) rows that sum to 1: equal shares to all captions that read like the row's own, same[first + i]. */
static const real *shared_targets(tape *t, long B, long C, long first, const long *same)
{
    real *p = ag_alloc_real(t, B * C);
    for (long i = 0; i < B && !ag_spent(0); i++) {
        long met = 0, own = same[first + i];
        for (long j = 0; j < C; j++)
            met += own == same[j];
        for (long j = 0; j < C; j++)
            p[i*C + j] = own == same[j] ? (real)(1.0 / (double)met) : 0;
    }
    return p;
}

/* Share of rows whose largest entry belongs to a caption that reads like the row's own. */
static double accuracy(const tensor *s, long first, const long *same)
{
    long B = s->dim[0], C = s->dim[1], right = 0;
    for (long i = 0; i < B; i++) {
        long best = 0;
        for (long j = 1; j < C; j++)
            if (s->data[i*C + j] > s->data[i*C + best])
                best = j;
        right += same[best] == same[first + i];
    }
    return (double)right / (double)B;
}

tensor *blip2_contrastive_loss(const blip2_contrastive *c, const blip2_vit *vision, tape *t, tensor *pictures,
                               blip2_text text, const long *same, const ag_ranks *ranks, double *right)
{
    long first = text.B * ag_rank(ranks), C = text.B * ag_world(ranks);
    const char *part = ag_part(t, "pictures");
    tensor *u = picture_feature(c, vision, t, pictures);                           /* (B,embed) */
    ag_part(t, "captions");
    tensor *w = text_feature(c, t, text);                                          /* (B,embed) */
    ag_part(t, "loss");
    tensor *all_u = ag_all_gather(t, ranks, u);                                    /* (C,embed) */
    tensor *all_w = ag_all_gather(t, ranks, w);
    tensor *uw = ag_matmul(t, u, all_w, false, true);                              /* (B,C) */
    tensor *wu = ag_matmul(t, w, all_u, false, true);
    tensor *i2t = ag_scale(t, uw, 1 / c->temperature);
    tensor *t2i = ag_scale(t, wu, 1 / c->temperature);
    ag_ce targets = { .soft = shared_targets(t, text.B, C, first, same) };
    tensor *a = ag_cross_entropy(t, i2t, &targets);
    tensor *b = ag_cross_entropy(t, t2i, &targets);
    if (right)
        *right = accuracy(i2t, first, same);
    tensor *loss = ag_scale(t, ag_add(t, a, b), 0.5);
    ag_part(t, part);
    return loss;
}
