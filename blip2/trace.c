/* trace.c - one pass on given inputs, and everything on the way by name (blip2.h). The names are those of the
 * reference values under golden/lavis; the golden runner compares what is given here, `blip2 trace` writes
 * it. Probabilities drop nothing: a trace is taken without dropout.                                        */
#include "blip2/internal.h"
#include <stdio.h>
#include <string.h>

typedef struct trace {
    const blip2_model *m;
    tape *t;
    const blip2_batch *b;
    bool grad;
    blip2_take take;
    void *context;
    tensor *input;                     /* features or pictures that the pass begins with */
    const char *input_grad;
} trace;

static void give_reals(const trace *r, const char *name, int ndim, const long *dim, const real *x)
{
    r->take(r->context, name, H5_REALS, ndim, dim, x);
}

static void give(const trace *r, const char *name, const tensor *x)
{
    real *copy = ag_alloc_real(r->t, x->size);
    ag_read(x, copy);
    give_reals(r, name, x->ndim, x->dim, copy);
}

static void give_ints(const trace *r, const char *name, int ndim, const long *dim, const int *x)
{
    r->take(r->context, name, H5_INTS, ndim, dim, x);
}

static void give_text(const trace *r, const char *ids, const char *mask, blip2_text text)
{
    int *keep = ag_alloc(r->t, text.B * text.T * (long)sizeof *keep);
    for (long i = 0; i < text.B * text.T; i++)
        keep[i] = text.mask[i];
    if (ids)
        give_ints(r, ids, 2, (long[]){ text.B, text.T }, text.ids);
    give_ints(r, mask, 2, (long[]){ text.B, text.T }, keep);
}

/* (B,T,Hd) as the reference keeps keys and values: (B,H,T,d) */
static void give_heads(const trace *r, const char *name, const tensor *x, long H)
{
    long B = x->dim[0], T = x->dim[1], d = x->dim[2] / H;
    real *from = ag_alloc_real(r->t, x->size), *to = ag_alloc_real(r->t, x->size);
    ag_read(x, from);
    for (long b = 0; b < B; b++)
        for (long h = 0; h < H; h++)
            for (long i = 0; i < T; i++)
                memcpy(to + ((b * H + h) * T + i) * d, from + ((b * T + i) * H + h) * d,
                       (size_t)d * sizeof *to);
    give_reals(r, name, 4, (long[]){ B, H, T, d }, to);
}

/* ---- gradients ---------------------------------------------------------------------------------------- */
static void give_grad(const trace *r, const char *name, tensor *x)
{
    if (!x)
        return;
    give_reals(r, name, x->ndim, x->dim, ag_grad(x));
}

/* Goes back from `loss`: what every parameter that it reaches gets, under its first name. */
static void give_grads(const trace *r, const char *group, tensor *loss)
{
    char name[NN_NAME + 32];
    const nn_store *s = r->m->store;
    nn_zero_grad(r->m->store);
    if (r->input)
        ag_clear_grad(r->input);                           /* of the loss before */
    ag_backward(r->t, loss);
    for (long i = 0; i < s->count; i++) {
        const tensor *x = s->entries[i].value;
        if (!x->needs_grad || !x->grad || x->grad_fresh || s->entries[i].alias_of)
            continue;
        int n = snprintf(name, sizeof name, "out/%s/", group);
        nn_dataset(s->entries[i].name, name + n);
        give_reals(r, name, x->ndim, x->dim, x->grad);
    }
}

/* ---- the tasks ---------------------------------------------------------------------------------------- */
/* (B,N,E): given, or by the tower. */
static tensor *features(trace *r)
{
    tensor *x = r->b->features ? r->b->features : blip2_vision_features(r->m, r->t, r->b->pictures);
    if (r->b->pictures)
        give(r, "out/vit_out", x);
    if (x->needs_grad)  /* a tower that is trained: not where the pass begins */
        return x;
    x->needs_grad = r->grad;
    r->input = x;
    r->input_grad = "out/grad_inputs/vit_out";
    return x;
}

static void give_stage1(const trace *r, const blip2_stage1_out *o)
{
    char name[60];
    long B = o->query_output->dim[0], square[] = { B, B }, T = o->text_output->dim[1];
    const real losses[] = { ag_value(o->loss), ag_value(o->itc), ag_value(o->itm), ag_value(o->itg) };
    give_reals(r, "out/losses", 1, (long[]){ 4 }, losses);
    give(r, "out/image_embeds", o->image);
    give(r, "out/query_output", o->query_output);
    give(r, "out/image_feats", o->image_features);
    give(r, "out/text_output", o->text_output);
    give(r, "out/text_feat", o->text_feature);
    give(r, "out/sim_i2t", o->sim_i2t);
    give(r, "out/sim_t2i", o->sim_t2i);
    give_reals(r, "out/weights_i2t", 2, square, o->weights_i2t);
    give_reals(r, "out/weights_t2i", 2, square, o->weights_t2i);
    give_ints(r, "inputs/neg_image", 1, &B, o->negative_image);
    give_ints(r, "inputs/neg_text", 1, &B, o->negative_text);
    give(r, "out/itm_hidden", o->itm_hidden);
    give(r, "out/itm_logits", o->itm_logits);
    give_ints(r, "out/itm_labels", 1, (long[]){ 3 * B }, o->itm_labels);
    give(r, "out/lm_logits", o->itg_logits);
    give_ints(r, "out/lm_labels_shifted", 1, (long[]){ B * (T - 1) }, o->itg_labels);
    for (long i = 0; i < r->m->config.qformer.layers; i++) {
        snprintf(name, sizeof name, "out/past/%ld/k", i);
        give_heads(r, name, o->past[i].k, r->m->config.qformer.heads);
        snprintf(name, sizeof name, "out/past/%ld/v", i);
        give_heads(r, name, o->past[i].v, r->m->config.qformer.heads);
    }
}

static void stage1(trace *r)
{
    const blip2_batch *b = r->b;
    blip2_stage1_in in = { .features = features(r), .text = b->text, .image_id = b->image_id, .keep = true,
                           .negative_image = b->negative_image, .negative_text = b->negative_text };
    blip2_stage1_out o;
    give_text(r, "out/text_ids", "out/text_mask", b->text);
    blip2_stage1(r->m, r->t, &in, &o);
    give_stage1(r, &o);
    if (!r->grad)
        return;
    give_grads(r, "grads_itc", o.itc);
    give_grads(r, "grads_itm", o.itm);
    give_grads(r, "grads_lm", o.itg);
    give_grads(r, "grads", o.loss);                        /* the last: it stays in the store */
    give_grad(r, r->input_grad, r->input);
}

static void stage2(trace *r)
{
    const blip2_batch *b = r->b;
    blip2_stage2_in in = { .features = features(r), .text = b->text, .target = b->target,
                           .question = b->question, .prompt_tokens = b->prompt_tokens };
    blip2_stage2_out o;
    blip2_stage2(r->m, r->t, &in, true, &o);
    long B = o.embeddings->dim[0], S = o.embeddings->dim[1], labels[] = { B, o.encoded ? b->target.T : S };
    give(r, "out/image_embeds", o.image);
    if (o.query_output)
        give(r, "out/query_output", o.asked ? o.asked : o.query_output);
    give(r, "out/proj_out", o.projected);
    give(r, "out/llm_inputs_embeds", o.embeddings);
    give_text(r, NULL, "out/llm_attention_mask", (blip2_text){ B, S, NULL, o.mask });
    if (o.encoded) {
        give(r, "out/encoder_last_hidden", o.encoded);
        give_ints(r, "out/decoder_input_ids", 2, labels, o.decoder_ids);
        give_text(r, NULL, "out/decoder_attention_mask", b->target);
    }
    give_ints(r, "out/llm_labels", 2, labels, o.labels);
    give(r, "out/llm_logits", o.logits);
    give(r, "out/loss", o.loss);
    if (!r->grad)
        return;
    give_grads(r, "grads", o.loss);
    give_grad(r, r->input_grad, r->input);
    give_grad(r, "out/grad_llm_inputs_embeds", o.embeddings);
}

static tensor *drawn_cotangent(tape *t, const tensor *y)
{
    tensor *x = ag_new_like(t, y);
    for (long i = 0; i < x->size; i++)
        x->data[i] = (real)ag_normal(ag_mix(ag_random_now(t).seed, 1), (uint64_t)i);
    return x;
}

static void vision(trace *r)
{
    char name[60];
    const blip2_vit *v = &r->m->vision;
    r->input = r->b->pictures;
    r->input_grad = "out/grad_inputs/image";
    r->input->needs_grad = r->grad;
    tensor **blocks = ag_alloc(r->t, v->config.depth * (long)sizeof *blocks);
    tensor *y = blip2_vit_forward(v, r->t, r->b->pictures, blocks);        /* (B,N,E) */
    tensor *cot = r->b->cotangent ? r->b->cotangent : drawn_cotangent(r->t, y);
    tensor *weighted = ag_mul(r->t, y, cot);
    tensor *loss = ag_sum(r->t, weighted);
    for (long i = 0; i < v->config.depth; i++) {
        snprintf(name, sizeof name, "out/block/%ld", i);
        give(r, name, blocks[i]);
    }
    give(r, "inputs/cot", cot);
    give(r, "out/out", y);
    give(r, "out/loss", loss);
    if (!r->grad)
        return;
    give_grads(r, "grads", loss);
    give_grad(r, r->input_grad, r->input);
}

static blip2_text as_many(blip2_text text, const tensor *queries)
{
    text.B = queries->dim[0];
    return text;
}

/* What LAVIS's extract_features, forward_image and forward_text give. */
static void extract(trace *r)
{
    const blip2_model *m = r->m;
    tape *t = r->t;
    nn_kv *memory = layer_room(m, t);
    tensor *x = features(r), *multimodal;
    tensor *queries = blip2_image_queries(m, t, x, memory, NULL);          /* (B,Q,D) */
    blip2_text pairs = as_many(r->b->text, queries);
    give(r, "out/forward_image/image_embeds", nn_layer_norm_forward(&m->ln_vision, t, x));
    give(r, "out/forward_image/query_output", queries);
    give(r, "out/extract_image/image_embeds", queries);
    give(r, "out/extract_image/image_embeds_proj", blip2_image_features(m, t, queries));
    tensor *hidden = blip2_text_hidden(m, t, pairs);
    tensor *projected = nn_linear_forward(&m->text_proj, t, hidden);
    give(r, "out/extract_text/text_embeds", hidden);
    give(r, "out/extract_text/text_embeds_proj", ag_l2_normalize(t, projected, 1e-12));
    blip2_itm_logits(m, t, memory, NULL, pairs, &multimodal);
    give(r, "out/extract_multimodal/multimodal_embeds", ag_slice(t, multimodal, 1, 0, queries->dim[1]));
    give_text(r, "out/text_ids", "out/text_mask", r->b->wide);
    tensor *all = blip2_text_hidden(m, t, r->b->wide);
    tensor *first = ag_slice(t, all, 1, 0, 1);
    give(r, "out/forward_text", ag_reshape(t, first, DIMS(all->dim[0], all->dim[2])));
}

/* What LAVIS's Blip2ITM gives for each picture with its text. */
static void match(trace *r)
{
    const blip2_model *m = r->m;
    tape *t = r->t;
    nn_kv *memory = layer_room(m, t);
    tensor *queries = blip2_image_queries(m, t, features(r), memory, NULL);        /* (B,Q,D) */
    blip2_text pairs = as_many(r->b->text, queries);
    long B = pairs.B, Q = queries->dim[1], E = m->config.embed;
    tensor *logits = blip2_itm_logits(m, t, memory, NULL, pairs, NULL);
    give(r, "out/match_itm", logits);
    tensor *yes = ag_slice(t, logits, 1, 1, 1);
    give(r, "out/compute_itm", ag_reshape(t, yes, DIMS(B)));
    tensor *image = blip2_image_features(m, t, queries);                   /* (B,Q,E) */
    tensor *text = blip2_text_feature(m, t, blip2_text_hidden(m, t, pairs));
    tensor *of_query = ag_matmul(t, image, ag_reshape(t, text, DIMS(B, E, 1)), false, false);  /* (B,Q,1) */
    tensor *best = ag_max_axis(t, ag_reshape(t, of_query, DIMS(B, Q)), 1);
    give(r, "out/match_itc", ag_reshape(t, best, DIMS(B, 1)));
}

void blip2_trace(const blip2_model *m, tape *t, blip2_task task, const blip2_batch *b, bool grad,
                 blip2_take take, void *context)
{
    static void (*const tasks[BLIP2_TASKS])(trace *) = { stage1, stage2, match, extract, vision };
    bool training = ag_training(t, false), recording = ag_record_on(t, grad);
    tasks[task](&(trace){ .m = m, .t = t, .b = b, .grad = grad, .take = take, .context = context });
    ag_training(t, training);
    ag_record_on(t, recording);
}
