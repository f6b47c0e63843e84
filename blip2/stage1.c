/* stage1.c - vision-language representation learning (Li et al. 2023, section 3.2): loss = ITC
 * + ITM + ITG, or a sum with other factors (the paper's Table 6 leaves ITG out).
 *
 *     image = LN(features)                                   (B,N,E)     ln_vision
 *     Z, K, V = Q-Former(queries | image)                    image pass: outputs; self-attention keys, values
 *     h = Q-Former(text)                                     text pass
 *     ITC compares Z with h[CLS] (itc.c), ITM reads texts and pictures together (itm.c), ITG writes
 *     the text behind the image pass's K and V (itg.c).
 * What the passes share is computed once: the cross-attention's keys and values of an image serve the
 * image pass and the three groups of ITM. Nothing is computed that no loss looks at (unless everything is
 * to be kept): text is cut to the longest caption, the last layer gives [CLS] alone to ITC and the query
 * rows alone to ITM.
 * With ranks, each has B pairs of a batch of C: features and texts are gathered as constants, pictures with
 * their gradient, and the losses are shares of one batch's (autograd/all_gather.c, docs/ranks.md). A batch
 * in parts gives each part's share of one batch's in the same way (large_batch.c). */
#include "blip2/internal.h"

tensor *image_pass(const blip2_model *m, tape *t, tensor *image, nn_kv *memory, nn_kv *present)
{
    blip2_qformer_memory(&m->qformer, t, image, memory);                   /* (B,N,D) a layer */
    tensor *queries = ag_repeat(t, m->query_tokens, image->dim[0]);        /* (B,Q,D) */
    return blip2_qformer_forward(&m->qformer, t, &(blip2_pass){
        .queries = queries, .memory = memory, .present = present, .pass = PASS_IMAGE });
}

tensor *blip2_image_queries(const blip2_model *m, tape *t, tensor *features, nn_kv *memory, nn_kv *present)
{
    tensor *image = nn_layer_norm_forward(&m->ln_vision, t, features);     /* (B,N,E) */
    return image_pass(m, t, image, memory ? memory : layer_room(m, t), present);
}

/* The first `rows` rows of the text pass; 0: all */
tensor *stage1_text_pass(const blip2_model *m, tape *t, blip2_text text, long rows)
{
    return blip2_qformer_forward(&m->qformer, t, &(blip2_pass){
        .ids = text.ids, .B = text.B, .T = text.T, .pass = PASS_TEXT, .rows = rows,
        .mask = blip2_mask_bidirectional(t, text.B, 0, text.T, text.mask) });          /* (B,rows,D) */
}

tensor *blip2_text_hidden(const blip2_model *m, tape *t, blip2_text text)
{
    return stage1_text_pass(m, t, text, 0);
}

tensor *blip2_image_features(const blip2_model *m, tape *t, tensor *query_output)
{
    tensor *projected = nn_linear_forward(&m->vision_proj, t, query_output);
    return ag_l2_normalize(t, projected, 1e-12);                           /* (B,Q,embed) */
}

tensor *blip2_text_feature(const blip2_model *m, tape *t, tensor *hidden)
{
    tensor *first = hidden->dim[1] > 1 ? ag_slice(t, hidden, 1, 0, 1) : hidden;        /* (B,1,D): [CLS] */
    tensor *cls = ag_reshape(t, first, DIMS(hidden->dim[0], hidden->dim[2]));
    tensor *projected = nn_linear_forward(&m->text_proj, t, cls);
    return ag_l2_normalize(t, projected, 1e-12);                           /* (B,embed) */
}

static void check(const blip2_model *m, const blip2_stage1_in *in, const blip2_stage1_weights *w)
{
    if (w->itc == 0 && w->itm == 0 && w->itg == 0)
        ag_fail("stage1", "weights of ITC, ITM and ITG: expected one that is not 0");
    if (!m->config.stage1 || !m->config.qformer.head)
        ag_fail("stage1", "the model was made without the parts of stage 1");
    if (in->large && (in->part < 0 || in->part >= in->large->parts || in->keep || in->image_candidates))
        ag_fail("stage1", "part %ld of a batch in %ld parts: expected one of them, and nothing kept or given "
                "beside it", in->part, in->large->parts);
    if (in->large)
        return;
    if (in->features->ndim != 3 || in->features->dim[2] != m->config.qformer.memory_width
        || in->features->dim[0] != in->text.B || !in->text.mask)
        ag_fail("stage1", "features %s and text (%ld,%ld): expected (B,N,%ld) and (B,T) with its mask",
                SHAPE(in->features), in->text.B, in->text.T, m->config.qformer.memory_width);
}

/* The pairs of all ranks, or of all parts. */
static candidates everyone(tape *t, const blip2_stage1_in *in, blip2_text text, const blip2_stage1_out *out)
{
    const blip2_large *l = in->large;
    if (l)
        return (candidates){ .images = l->images, .texts = l->texts, .count = l->count, .words = l->words,
                             .first = large_first(l, in->part), .image_id = l->image_id,
                             .features = l->features };
    long B = text.B;
    tensor *images = in->image_candidates, *texts = in->text_candidates;
    if (!images)
        images = ag_all_gather(t, in->ranks, ag_detach(t, out->image_features));       /* (C,Q,embed) */
    if (!texts)
        texts = ag_all_gather(t, in->ranks, ag_detach(t, out->text_feature));          /* (C,embed) */
    return (candidates){ .images = images, .texts = texts, .count = B * ag_world(in->ranks),
                         .first = B * ag_rank(in->ranks),
                         .image_id = blip2_gather_ids(t, in->ranks, in->image_id, B),
                         .words = blip2_gather_text(t, in->ranks, text) };
}

/* sum + factor * loss; NULL: nothing yet, or left out */
static tensor *add_loss(tape *t, tensor *sum, tensor *loss, double factor)
{
    if (!loss)
        return sum;
    tensor *term = factor == 1 ? loss : ag_scale(t, loss, factor);
    return sum ? ag_add(t, sum, term) : term;
}

void blip2_stage1(const blip2_model *m, tape *t, const blip2_stage1_in *in, blip2_stage1_out *out)
{
    static const blip2_stage1_weights paper = { 1, 1, 1 };
    const blip2_stage1_weights w = in->weights ? *in->weights : paper;
    check(m, in, &w);
    blip2_text text = in->large ? large_text(in->large, in->part)
                    : blip2_trim(t, in->ranks, in->text, m->config.text_pad, in->keep);        /* (B,T) */
    tensor *features = in->large ? large_features(in->large, t, in->part) : in->features;
    nn_kv *memory = layer_room(m, t);
    *out = (blip2_stage1_out){ .past = layer_room(m, t), .tokens = text.T };
    const char *part = ag_part(t, "image pass");
    out->image = nn_layer_norm_forward(&m->ln_vision, t, features);        /* (B,N,E) */
    out->query_output = image_pass(m, t, out->image, memory, out->past);   /* (B,Q,D) */
    out->image_features = blip2_image_features(m, t, out->query_output);   /* (B,Q,embed) */
    ag_part(t, "text pass");
    out->text_output = stage1_text_pass(m, t, text, in->keep ? 0 : 1); /* (B,T,D), or (B,1,D): [CLS] */
    out->text_feature = blip2_text_feature(m, t, out->text_output);        /* (B,embed) */
    out->query_cosine = blip2_query_cosine(out->query_output);

    candidates others = everyone(t, in, text, out);
    ag_part(t, "ITC");
    stage1_similarities(m, t, &others, out);               /* ITM draws its negatives by them */
    if (w.itc != 0)
        out->itc = stage1_itc(m, t, &others, out);
    ag_part(t, "ITM");
    if (w.itm != 0)
        out->itm = stage1_itm(m, t, &others, memory, in, text, out);
    ag_part(t, "ITG");
    if (w.itg != 0)
        out->itg = stage1_itg(m, t, in, text, out);
    ag_part(t, "loss");
    out->loss = add_loss(t, NULL, out->itc, w.itc);
    out->loss = add_loss(t, out->loss, out->itm, w.itm);
    out->loss = add_loss(t, out->loss, out->itg, w.itg);
    ag_part(t, part);
}
