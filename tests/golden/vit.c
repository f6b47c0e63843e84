/* vit.c - cases of kind vit: a vision tower, each block's output, and the gradients of sum(out * cot). */
#include "tests/golden/golden.h"
#include <stdio.h>

void golden_vit(golden *g, tape *t)
{
    char name[60];
    blip2_vit_config c = golden_tower(g);
    blip2_vit v;
    nn_store *store = nn_store_new(1);
    blip2_vit_init(&v, nn_sub(nn_root(store), "visual_encoder"), &c);
    golden_store(g, store);
    nn_zero_grad(store);

    tensor *pictures = golden_leaf(g, t, "inputs/image"), *cot = golden_tensor(g, t, "inputs/cot");
    tensor **blocks = ag_alloc(t, c.depth * (long)sizeof *blocks);
    tensor *y = blip2_vit_forward(&v, t, pictures, blocks);                /* (B,N,E) */
    tensor *weighted = ag_mul(t, y, cot);
    tensor *loss = ag_sum(t, weighted);
    for (long i = 0; i < c.depth; i++) {
        snprintf(name, sizeof name, "out/block/%ld", i);
        golden_compare(g, name, blocks[i]);
    }
    golden_compare(g, "out/out", y);
    golden_compare(g, "out/loss", loss);
    ag_backward(t, loss);
    golden_compare_grad(g, t, "out/grad_inputs/image", pictures);
    golden_compare_grads(g, "out/grads", store, "", false);
    nn_store_free(store);
}
