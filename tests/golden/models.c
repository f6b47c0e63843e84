/* models.c - models and texts as the cases under golden/lavis describe them, for the handlers that share
 * them.                                                                                                    */
#include "tests/golden/golden.h"
#include <string.h>

static blip2_config config_of(const golden *g)
{
    blip2_config c;
    error e;
    h5 *f = h5_open(golden_file(g), &e);
    bool ok = f && blip2_case_config(f, &c, &e);
    h5_close(f);
    if (!ok)
        ag_fail("golden", "%s", e.text);
    return c;
}

blip2_qformer_config golden_qformer_config(const golden *g)
{
    return config_of(g).qformer;
}

blip2_config golden_stage1_config(const golden *g)
{
    blip2_config c = config_of(g);
    c.vision = (blip2_vit_config){ .kind = BLIP2_VIT_NONE };
    c.llm = BLIP2_LLM_NONE;
    c.stage1 = c.qformer.text = c.qformer.head = true;
    return c;
}

blip2_vit_config golden_tower(golden *g)
{
    return config_of(g).vision;
}

blip2_text golden_bert_text(golden *g, tape *t, const blip2_config *c, const char *name, long width)
{
    long dim[8] = { 0 }, n;
    golden_dims(g, name, dim);
    const int *raw = golden_ints(g, t, name, &n);
    return blip2_bert_rows(c, t, raw, dim[0], dim[1], width);
}

void golden_trace(golden *g, tape *t, const blip2_model *m, blip2_task task, bool grad)
{
    error e;
    blip2_batch b;
    h5 *f = h5_open(golden_file(g), &e);
    bool ok = f && blip2_batch_read(f, t, &m->config, task, &b, &e);
    h5_close(f);
    if (!ok)
        ag_fail("golden", "%s", e.text);
    blip2_trace(m, t, task, &b, grad, golden_take, g);
    if (grad)
        golden_compare_grads(g, "out/grads", m->store, "", false);
}

void golden_compare_mask(golden *g, tape *t, const char *name, const unsigned char *mask, long n)
{
    int *as_ints = ag_alloc(t, n * (long)sizeof *as_ints);
    for (long i = 0; i < n; i++)
        as_ints[i] = mask[i];
    golden_compare_ints(g, name, as_ints, n);
}

void golden_compare_grad(golden *g, tape *t, const char *name, tensor *x)
{
    golden_compare(g, name, ag_copy_in(t, x->ndim, x->dim, ag_grad(x)));
}

void golden_compare_grad_heads(golden *g, tape *t, const char *name, tensor *x, long heads)
{
    golden_compare_heads(g, name, ag_copy_in(t, x->ndim, x->dim, ag_grad(x)), heads);
}

/* Keys or values as the reference keeps them, (B,H,T,d), as ours, (B,T,Hd). */
tensor *golden_leaf_heads(golden *g, tape *t, const char *name)
{
    long dim[8] = { 0 }, n;
    golden_dims(g, name, dim);
    const real *theirs = golden_reals(g, t, name, &n);
    long B = dim[0], H = dim[1], T = dim[2], d = dim[3];
    real *ours = ag_alloc_real(t, n);
    for (long b = 0; b < B; b++)
        for (long h = 0; h < H; h++)
            for (long i = 0; i < T; i++)
                for (long k = 0; k < d; k++)
                    ours[((b * T + i) * H + h) * d + k] = theirs[((b * H + h) * T + i) * d + k];
    return ag_leaf(t, DIMS(B, T, H * d), ours);
}

nn_store *golden_store(golden *g, nn_store *s)
{
    error e;
    if (!nn_build(s, true, &e))
        golden_fail(g, "%s", e.text);
    golden_load(g, s, "");
    return s;
}

const long *golden_image_ids(golden *g, tape *t)
{
    long n;
    if (!golden_has(g, "inputs/image_id"))
        return NULL;
    const int *ids = golden_ints(g, t, "inputs/image_id", &n);
    long *wide = ag_alloc(t, n * (long)sizeof *wide);
    for (long i = 0; i < n; i++)
        wide[i] = ids[i];
    return wide;
}
