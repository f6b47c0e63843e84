/* vit.c - cases of kind vit: a vision tower, each block's output, and the gradients of sum(out * cot). */
#include "tests/golden/golden.h"

void golden_vit(golden *g, tape *t)
{
    blip2_config c = blip2_config_default();
    blip2_model m;
    c.vision = golden_tower(g);
    c.qformer.queries = 0;
    blip2_model_init(&m, nn_store_new(1), &c);
    golden_store(g, m.store);
    golden_trace(g, t, &m, BLIP2_TASK_VISION, true);
    nn_store_free(m.store);
}
