/* rms_norm.c - root-mean-square normalisation over the last axis, with its own scale; T5's norm. */
#include "nn/nn.h"

void nn_rms_norm_init(nn_rms_norm *n, nn_scope s, long width, double eps)
{
    n->weight = nn_parameter(s, "weight", NN_INIT_ONE, DIMS(width));
    n->eps = eps;
}

tensor *nn_rms_norm_forward(const nn_rms_norm *n, tape *t, tensor *x)
{
    return ag_rms_norm(t, x, n->weight, n->eps);
}
