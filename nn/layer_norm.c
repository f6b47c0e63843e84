/* layer_norm.c - layer normalisation over the last axis, with its own scale and shift. */
#include "nn/nn.h"

void nn_layer_norm_init(nn_layer_norm *n, nn_scope s, long width, double eps)
{
    n->weight = nn_parameter(s, "weight", NN_INIT_ONE, DIMS(width));
    n->bias = nn_parameter(s, "bias", NN_INIT_ZERO, DIMS(width));
    n->eps = eps;
}

tensor *nn_layer_norm_forward(const nn_layer_norm *n, tape *t, tensor *x)
{
    return ag_layer_norm(t, x, n->weight, n->bias, n->eps);
}
