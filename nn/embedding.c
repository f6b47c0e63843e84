/* embedding.c - a table (V,D) whose rows are looked up by id. */
#include "nn/nn.h"

void nn_embedding_init(nn_embedding *e, nn_scope s, long entries, long width, nn_init init)
{
    e->weight = nn_matrix(s, "weight", init, DIMS(entries, width));
}

tensor *nn_embedding_forward(const nn_embedding *e, tape *t, const int *ids, int ndim, const long *dim)
{
    return ag_embedding(t, e->weight, ids, ndim, dim);
}
