/* linear.c - y = x W' + b, W (outputs, inputs) as PyTorch stores it. */
#include "nn/nn.h"
#include <math.h>

void nn_linear_init(nn_linear *l, nn_scope s, long outputs, long inputs, nn_init weight)
{
    l->weight = nn_matrix(s, "weight", weight, DIMS(outputs, inputs));
    l->bias = nn_parameter(s, "bias", NN_INIT_ZERO, DIMS(outputs));
}

void nn_linear_init_plain(nn_linear *l, nn_scope s, long outputs, long inputs, nn_init weight)
{
    l->weight = nn_matrix(s, "weight", weight, DIMS(outputs, inputs));
    l->bias = NULL;
}

void nn_linear_init_torch(nn_linear *l, nn_scope s, long outputs, long inputs)
{
    nn_init uniform = NN_INIT_UNIFORM(1 / sqrt((double)inputs));
    l->weight = nn_matrix(s, "weight", uniform, DIMS(outputs, inputs));
    l->bias = nn_parameter(s, "bias", uniform, DIMS(outputs));
}

tensor *nn_linear_forward(const nn_linear *l, tape *t, tensor *x)
{
    return ag_linear(t, x, l->weight, l->bias, AG_NONE);
}

tensor *nn_linear_act(const nn_linear *l, tape *t, tensor *x, ag_act act)
{
    return ag_linear(t, x, l->weight, l->bias, act);
}
