/* stage1_infer.c - cases of kind stage1_infer: what LAVIS offers on a stage-1 model besides training:
 * encoders, feature extraction in three modes, matching, and retrieval with re-ranking.                    */
#include "eval/eval.h"
#include "tests/golden/golden.h"

enum { RETRIEVAL_TEXT = 35 };                              /* texts are padded to that many tokens */

typedef struct run {
    golden *g;
    tape *t;
    blip2_model m;
    tensor *features, *image;          /* (n,N,E), before and after ln_vision */
    nn_kv *memory;
    tensor *queries, *projected;       /* (n,Q,D), (n,Q,embed) */
    blip2_text pairs;                  /* (n,T): the text of each picture */
} run;

static void compare_encoders(run *r)
{
    golden *g = r->g;
    blip2_text all = golden_bert_text(g, r->t, &r->m.config, "inputs/text", RETRIEVAL_TEXT);
    golden_compare_ints(g, "out/text_ids", all.ids, all.B * all.T);
    golden_compare_mask(g, r->t, "out/text_mask", all.mask, all.B * all.T);
    golden_compare(g, "out/forward_image/image_embeds", r->image);
    golden_compare(g, "out/forward_image/query_output", r->queries);
    tensor *hidden = blip2_text_hidden(&r->m, r->t, all);
    tensor *first = ag_slice(r->t, hidden, 1, 0, 1);
    golden_compare(g, "out/forward_text", ag_reshape(r->t, first, DIMS(all.B, hidden->dim[2])));

    long dim[8] = { 0 }, n;
    golden_dims(g, "inputs/vit_out", dim);
    const real *features = golden_reals(g, r->t, "inputs/vit_out", &n);
    long k = golden_int(g, "k_test", 1);
    eval_retrieval scores = eval_retrieve(&r->m, r->t, features, dim[0], dim[1], all, k);
    golden_compare_reals(g, "out/score_i2t", scores.i2t, scores.images * scores.texts);
    golden_compare_reals(g, "out/score_t2i", scores.t2i, scores.images * scores.texts);
}

static void compare_extraction(run *r, tensor *multimodal)
{
    golden *g = r->g;
    tensor *hidden = blip2_text_hidden(&r->m, r->t, r->pairs);
    tensor *projected = nn_linear_forward(&r->m.text_proj, r->t, hidden);
    golden_compare(g, "out/extract_image/image_embeds", r->queries);
    golden_compare(g, "out/extract_image/image_embeds_proj", r->projected);
    golden_compare(g, "out/extract_text/text_embeds", hidden);
    golden_compare(g, "out/extract_text/text_embeds_proj", ag_l2_normalize(r->t, projected, 1e-12));
    golden_compare(g, "out/extract_multimodal/multimodal_embeds",
                   ag_slice(r->t, multimodal, 1, 0, r->m.config.qformer.queries));
}

/* Each picture with its own text, as `blip2 match` compares them. */
static void compare_matching(run *r, tensor *logits)
{
    golden *g = r->g;
    long B = r->pairs.B, T = r->pairs.T, N = r->features->dim[1];
    real *itc = ag_alloc_real(r->t, B), *itm = ag_alloc_real(r->t, B);
    golden_compare(g, "out/match_itm", logits);
    for (long b = 0; b < B; b++) {
        blip2_text text = { 1, T, r->pairs.ids + b * T, r->pairs.mask + b * T };
        eval_match one;
        eval_match_texts(&r->m, r->t, r->features->data + b * N * r->features->dim[2], N, text, &one);
        itc[b] = (real)one.itc;
        itm[b] = (real)one.itm;
    }
    golden_compare_reals(g, "out/compute_itm", itm, B);
    golden_compare_reals(g, "out/match_itc", itc, B);
}

/* The first n texts, padded to the longest of them. */
static blip2_text first_texts(run *r, long n)
{
    blip2_text all = golden_bert_text(r->g, r->t, &r->m.config, "inputs/text", RETRIEVAL_TEXT);
    long longest = 0;
    for (long i = 0; i < n * all.T; i++)
        if (all.mask[i] && i % all.T >= longest)
            longest = i % all.T + 1;
    blip2_text cut = golden_bert_text(r->g, r->t, &r->m.config, "inputs/text", longest);
    cut.B = n;
    return cut;
}

void golden_stage1_infer(golden *g, tape *t)
{
    run r = { .g = g, .t = t };
    blip2_config c = golden_stage1_config(g);
    blip2_model_init(&r.m, nn_store_new(1), &c);
    golden_store(g, r.m.store);
    r.features = golden_tensor(g, t, "inputs/vit_out");
    r.memory = ag_alloc(t, c.qformer.layers * (long)sizeof *r.memory);
    r.image = nn_layer_norm_forward(&r.m.ln_vision, t, r.features);
    r.queries = blip2_image_queries(&r.m, t, r.features, r.memory, NULL);
    r.projected = blip2_image_features(&r.m, t, r.queries);
    r.pairs = first_texts(&r, r.features->dim[0]);
    tensor *multimodal, *logits = blip2_itm_logits(&r.m, t, r.memory, NULL, r.pairs, &multimodal);
    compare_encoders(&r);
    compare_extraction(&r, multimodal);
    compare_matching(&r, logits);
    nn_store_free(r.m.store);
}
