/* stage1_infer.c - cases of kind stage1_infer: what LAVIS offers on a stage-1 model besides training:
 * encoders, feature extraction in three modes, matching, and retrieval with re-ranking.                    */
#include "eval/eval.h"
#include "tests/golden/golden.h"

enum { RETRIEVAL_TEXT = 35 };                              /* texts are padded to that many tokens */

static void compare_scores(golden *g, tape *t, const blip2_model *m)
{
    blip2_text all = golden_bert_text(g, t, &m->config, "inputs/text", RETRIEVAL_TEXT);
    long dim[8] = { 0 }, n;
    golden_dims(g, "inputs/vit_out", dim);
    const real *features = golden_reals(g, t, "inputs/vit_out", &n);
    eval_retrieval scores = eval_retrieve(m, t, features, dim[0], dim[1], all, golden_int(g, "k_test", 1));
    golden_compare_reals(g, "out/score_i2t", scores.i2t, scores.images * scores.texts);
    golden_compare_reals(g, "out/score_t2i", scores.t2i, scores.images * scores.texts);
}

/* Each picture with its own text, as `blip2 match` compares them. */
static void compare_matching(golden *g, tape *t, const blip2_model *m)
{
    long dim[8] = { 0 }, n;
    golden_dims(g, "inputs/vit_out", dim);
    const real *features = golden_reals(g, t, "inputs/vit_out", &n);
    long B = dim[0], N = dim[1], T = RETRIEVAL_TEXT;
    blip2_text all = golden_bert_text(g, t, &m->config, "inputs/text", T);
    real *itc = ag_alloc_real(t, B), *itm = ag_alloc_real(t, B);
    for (long b = 0; b < B; b++) {
        blip2_text text = { 1, T, all.ids + b * T, all.mask + b * T };
        eval_match one;
        eval_match_texts(m, t, features + b * N * dim[2], N, text, &one);
        itc[b] = (real)one.itc;
        itm[b] = (real)one.itm;
    }
    golden_compare_reals(g, "out/compute_itm", itm, B);
    golden_compare_reals(g, "out/match_itc", itc, B);
}

void golden_stage1_infer(golden *g, tape *t)
{
    blip2_config c = golden_stage1_config(g);
    blip2_model m;
    blip2_model_init(&m, nn_store_new(1), &c);
    golden_store(g, m.store);
    compare_matching(g, t, &m);
    golden_trace(g, t, &m, BLIP2_TASK_FEATURES, false);
    golden_trace(g, t, &m, BLIP2_TASK_ITM, false);
    compare_scores(g, t, &m);
    nn_store_free(m.store);
}
