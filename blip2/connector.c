/* connector.c - what leads from the tokens of a picture to the language model in stage 2.
 *
 *     qformer   Q soft tokens, W Z + b of the queries' outputs Z (stage2.c): BLIP-2
 *     linear    N-1 soft tokens, x W' + b of each patch x
 *     mlp       N-1 soft tokens, W2 gelu(W1 x + b1) + b2: LLaVA-1.5 (Liu et al. 2023, arXiv 2310.03744,
 *               section 3)
 * x is what ln_vision makes of a patch; the class token is left out, as LLaVA leaves it out. Parameters
 * are those of nn.Sequential: connector.0 and, behind the GELU, connector.2. One more kind is one more
 * case in each of the functions below. */
#include "blip2/internal.h"

long blip2_prompts(const blip2_config *c, const tensor *features)
{
    if (!blip2_bridged(c))
        return 0;
    if (c->connector == BLIP2_CONNECTOR_QFORMER)
        return c->qformer.queries;
    if (features)
        return features->dim[1] - 1;
    long grid = c->vision.patch ? c->vision.image_size / c->vision.patch : 0;
    return grid * grid;
}

void connector_init(blip2_connector *k, nn_scope s, const blip2_config *c)
{
    long E = c->qformer.memory_width, L = blip2_llm_of(c).width;
    nn_linear_init_torch(&k->first, nn_sub(s, "0"), L, E);
    if (c->connector == BLIP2_CONNECTOR_MLP)
        nn_linear_init_torch(&k->second, nn_sub(s, "2"), L, L);
}

tensor *connector_forward(const blip2_model *m, tape *t, tensor *image)
{
    const blip2_connector *k = &m->connector;
    if (image->dim[1] < 2)
        ag_fail("connector", "image tokens %s: expected a class token and patches", SHAPE(image));
    tensor *patches = ag_slice(t, image, 1, 1, image->dim[1] - 1);         /* (B,N-1,E) */
    if (m->config.connector == BLIP2_CONNECTOR_LINEAR)
        return nn_linear_forward(&k->first, t, patches);                   /* (B,N-1,L) */
    tensor *hidden = nn_linear_act(&k->first, t, patches, AG_GELU);        /* (B,N-1,L) */
    return nn_linear_forward(&k->second, t, hidden);
}
