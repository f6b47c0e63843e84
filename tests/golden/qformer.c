/* qformer.c - cases of kind qformer: the whole Q-Former as image, text and multimodal encoder and as
 * decoder behind cached queries and in one pass (UniLM), each with its gradients.                          */
#include "tests/golden/golden.h"
#include <stdio.h>

#define NAME(...) (snprintf(name, sizeof name, __VA_ARGS__), name)

typedef struct run {
    golden *g;
    tape *t;
    nn_store *store;
    const blip2_qformer *q;
    blip2_config config;
    tensor *queries, *image;           /* leaves, anew for each mode */
    nn_kv *memory;
    blip2_text text;
    int *decoder_ids;
} run;

static void begin(run *r)
{
    ag_reset(r->t);
    golden *g = r->g;
    long dim[8] = { 0 }, n;
    nn_zero_grad(r->store);
    r->queries = golden_leaf(g, r->t, "inputs/query_embeds");
    r->image = golden_leaf(g, r->t, "inputs/image_embeds");
    r->memory = ag_alloc(r->t, r->q->config.layers * (long)sizeof *r->memory);
    blip2_qformer_memory(r->q, r->t, r->image, r->memory);
    golden_dims(g, "inputs/ids", dim);
    const int *ids = golden_ints(g, r->t, "inputs/ids", &n);
    const int *keep = golden_ints(g, r->t, "inputs/text_mask", &n);
    unsigned char *mask = ag_alloc(r->t, n);
    r->decoder_ids = ag_alloc(r->t, n * (long)sizeof *r->decoder_ids);
    for (long i = 0; i < n; i++) {
        mask[i] = keep[i] != 0;
        r->decoder_ids[i] = i % dim[1] ? ids[i] : r->config.dec;
    }
    r->text = (blip2_text){ dim[0], dim[1], ids, mask };
}

/* Gradients of `loss` under out/<mode>. */
static void compare_gradients(run *r, const char *mode, tensor *loss, bool image)
{
    char name[100];
    golden_compare(r->g, NAME("out/%s/loss", mode), loss);
    ag_backward(r->t, loss);
    golden_compare_grads(r->g, NAME("out/%s/grads", mode), r->store, "", false);
    if (image) {
        golden_compare_grad(r->g, r->t, NAME("out/%s/grad_inputs/query_embeds", mode), r->queries);
        golden_compare_grad(r->g, r->t, NAME("out/%s/grad_inputs/image_embeds", mode), r->image);
    }
}

static void encode(run *r, const char *mode, const char *cotangent, blip2_pass pass)
{
    char name[100];
    long layers = r->q->config.layers;
    tensor *cot = golden_tensor(r->g, r->t, cotangent);
    tensor **hidden = pass.hidden = ag_alloc(r->t, (layers + 1) * (long)sizeof *hidden);
    nn_kv *present = pass.present = ag_alloc(r->t, layers * (long)sizeof *present);
    tensor *y = blip2_qformer_forward(r->q, r->t, &pass);
    for (long i = 0; i <= layers; i++)
        golden_compare(r->g, NAME("out/%s/hidden/%ld", mode, i), hidden[i]);
    for (long i = 0; i < layers && golden_has(r->g, NAME("out/%s/past", mode)); i++) {
        golden_compare_heads(r->g, NAME("out/%s/past/%ld/k", mode, i), present[i].k, r->q->config.heads);
        golden_compare_heads(r->g, NAME("out/%s/past/%ld/v", mode, i), present[i].v, r->q->config.heads);
    }
    compare_gradients(r, mode, ag_sum(r->t, ag_mul(r->t, y, cot)), pass.queries);
}

/* The shifted, label-smoothed loss of logits (B,T,V); one number a sample (sum over its tokens) if asked. */
static tensor *caption_loss(run *r, tensor *logits, bool per_sample)
{
    long B = r->text.B, T = r->text.T;
    int *labels = ag_alloc(r->t, B * (T - 1) * (long)sizeof *labels);
    for (long b = 0; b < B; b++)
        for (long i = 1; i < T; i++)
            labels[b * (T - 1) + i - 1] = r->text.mask[b * T + i] ? r->text.ids[b * T + i] : -100;
    tensor *predicting = ag_slice(r->t, logits, 1, 0, T - 1);
    tensor *loss = ag_cross_entropy(r->t, predicting, &(ag_ce){
        .ids = labels, .ignore = -100, .smoothing = 0.1, .per_row = per_sample });
    if (!per_sample)
        return loss;
    tensor *rows = ag_reshape(r->t, loss, DIMS(B, T - 1));
    return ag_scale(r->t, ag_mean_axis(r->t, rows, 1), (double)(T - 1));
}

static void generate(run *r, const char *mode, tensor *logits)
{
    char name[100];
    golden_compare(r->g, NAME("out/%s/logits", mode), logits);
    if (golden_has(r->g, NAME("out/%s/loss_per_sample", mode)))
        golden_compare(r->g, NAME("out/%s/loss_per_sample", mode), caption_loss(r, logits, true));
    compare_gradients(r, mode, caption_loss(r, logits, false), true);
}

static void behind_cached_queries(run *r)
{
    nn_kv *past = ag_alloc(r->t, r->q->config.layers * (long)sizeof *past);
    long B = r->text.B, T = r->text.T, Q = r->q->config.queries;
    blip2_qformer_forward(r->q, r->t, &(blip2_pass){
        .queries = r->queries, .memory = r->memory, .present = past });
    tensor *y = blip2_qformer_forward(r->q, r->t, &(blip2_pass){
        .ids = r->decoder_ids, .B = B, .T = T, .past = past,
        .mask = blip2_mask_causal_cached(r->t, B, Q, T, r->text.mask) });
    generate(r, "itg_past", blip2_qformer_logits(r->q, r->t, y));
}

static void in_one_pass(run *r)
{
    long B = r->text.B, T = r->text.T, Q = r->q->config.queries;
    tensor *y = blip2_qformer_forward(r->q, r->t, &(blip2_pass){
        .queries = r->queries, .memory = r->memory, .ids = r->decoder_ids, .B = B, .T = T,
        .mask = blip2_mask_causal(r->t, B, Q, T, r->text.mask) });
    tensor *text = ag_slice(r->t, y, 1, Q, T);
    generate(r, "itg_unilm", blip2_qformer_logits(r->q, r->t, text));
}

static void run_modes(run *r)
{
    long Q = r->q->config.queries;
    begin(r);
    encode(r, "image", "inputs/cot_image", (blip2_pass){ .queries = r->queries, .memory = r->memory });
    begin(r);
    blip2_text text = r->text;
    encode(r, "text", "inputs/cot_text", (blip2_pass){ .ids = text.ids, .B = text.B, .T = text.T,
        .mask = blip2_mask_bidirectional(r->t, text.B, 0, text.T, text.mask) });
    begin(r);
    text = r->text;
    encode(r, "multimodal", "inputs/cot_mm", (blip2_pass){
        .queries = r->queries, .memory = r->memory, .ids = text.ids, .B = text.B, .T = text.T,
        .mask = blip2_mask_bidirectional(r->t, text.B, Q, text.T, text.mask) });
    begin(r);
    behind_cached_queries(r);
    begin(r);
    in_one_pass(r);
}

void golden_qformer(golden *g, tape *t)
{
    run r = { .g = g, .t = t, .config = golden_stage1_config(g), .store = nn_store_new(1) };
    blip2_qformer q;
    blip2_qformer_init(&q, nn_sub(nn_root(r.store), "Qformer"), &r.config.qformer);
    r.q = &q;
    golden_store(g, r.store);
    run_modes(&r);
    nn_store_free(r.store);
}
