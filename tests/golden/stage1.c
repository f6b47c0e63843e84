/* stage1.c - cases of kind stage1: the three losses with given negatives, everything on the way, and the
 * gradients of their sum and of each.                                                                      */
#include "tests/golden/golden.h"

void golden_stage1(golden *g, tape *t)
{
    blip2_config c = golden_stage1_config(g);
    blip2_model m;
    blip2_model_init(&m, nn_store_new(1), &c);
    golden_store(g, m.store);
    golden_trace(g, t, &m, BLIP2_TASK_STAGE1, true);
    nn_store_free(m.store);
}
