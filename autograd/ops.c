/* ops.c - the table of operations, from ops.def. */
#include "autograd/autograd.h"

#define AG_OP(name) extern const ag_op ag_op_##name;
#include "autograd/ops.def"
#undef AG_OP

#define AG_OP(name) &ag_op_##name,
static const ag_op *const table[] = {
#include "autograd/ops.def"
};
#undef AG_OP

const ag_op *const *ag_ops(int *count)
{
    *count = (int)(sizeof table / sizeof *table);
    return table;
}
