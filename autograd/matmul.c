/* matmul.c - C_b = op(A_b) op(B_b) for each b of a batch; op transposes the last two axes if asked. An
 * operand of two axes is the same for every b. op(A) (M,K), op(B) (K,N), C (M,N).
 *   dop(A) = dC op(B)',   dop(B) = op(A)' dC,   and dX = dop(X)' where X is transposed; a shared operand
 * takes the sum over b. So backward is two products of the same kind with operands changed about.       */
#include "autograd/internal.h"

struct saved { bool ta, tb; };

/* One operand of a batch of products: stored (rows,cols) if not transposed; step 0: the same for every b. */
typedef struct operand { real *data; bool transposed; long rows, cols, step; } operand;

static operand operand_of(const tensor *x, real *data, bool transposed)
{
    long rows = x->dim[x->ndim - 2], cols = x->dim[x->ndim - 1];
    return (operand){ data, transposed, rows, cols, x->ndim == 3 ? rows * cols : 0 };
}

static operand flipped(operand x)
{
    x.transposed = !x.transposed;
    return x;
}

/* c_b = op(a_b) op(b_b) + beta c_b; the sum over b where c has no step. A batch that lies in memory as one
 * larger product is one; small products go to threads whole, large ones one after the other in tiles.   */
static void products_cpu(long B, operand a, operand b, real beta, operand c)
{
    enum { SMALL = 1 << 21, WORTH_THREADS = 1 << 20,             /* multiplications */
           BLAS_ALONE = 1 << 18 };     /* for more OpenBLAS takes threads, but not from one of several */
    long M = c.rows, N = c.cols, K = a.transposed ? a.rows : a.cols;
    if (!c.step && B == 0) {                                     /* the sum over no batch is 0 */
        K = 0;
        B = 1;
    } else if (c.step && a.step && !a.transposed && !b.step) {
        M *= B;
        B = 1;
    } else if (!c.step && a.step && a.transposed && b.step && !b.transposed) {
        K *= B;
        B = 1;
    }
    if (c.step && B > 1 && M * N * K <= SMALL) {
        #pragma omp parallel for if (B * M * N * K > WORTH_THREADS || M * N * K > BLAS_ALONE)
        for (long i = 0; i < B; i++)
            ag_gemm_one(a.transposed, b.transposed, M, N, K, 1, a.data + i*a.step, a.cols,
                        b.data + i*b.step, b.cols, beta, c.data + i*c.step, c.cols);
        return;
    }
    for (long i = 0; i < B; i++)
        ag_gemm(a.transposed, b.transposed, M, N, K, 1, a.data + i*a.step, a.cols,
                b.data + i*b.step, b.cols, c.step || i == 0 ? beta : 1, c.data + i*c.step, c.cols);
}

/* The gradient of x, stored as x is: left right, or its transpose right' left'. */
static void operand_gradient(const ag_node *n, long B, long inner, tensor *x, bool transposed, operand left,
                             operand right)
{
    real beta, *dx = ag_grad_beta(x, &beta);
    if (!dx)
        return;
    ag_spent(2.0 * (double)n->out->size * (double)inner);  /* as many as forward took */
    operand to = operand_of(x, dx, false);
    if (transposed)
        AG_CALL(n->tape, products)(B, flipped(right), flipped(left), beta, to);
    else
        AG_CALL(n->tape, products)(B, left, right, beta, to);
}

static void backward(const ag_node *n)
{
    const struct saved *s = n->saved;
    tensor *x = n->in[0], *y = n->in[1];
    long B = n->out->ndim == 3 ? n->out->dim[0] : 1;
    operand a = operand_of(x, x->data, s->ta), b = operand_of(y, y->data, s->tb);
    operand dc = operand_of(n->out, n->out->grad, false);
    long inner = s->ta ? a.rows : a.cols;
    operand_gradient(n, B, inner, x, s->ta, dc, flipped(b));
    operand_gradient(n, B, inner, y, s->tb, flipped(a), dc);
}

static tensor *example(ag_probe *p, int variant)
{
    static const struct { long B, M, N, K; bool shared_a, shared_b; } cases[] = {
        { 3, 2, 5, 4, false, false }, { 3, 2, 5, 4, false, true },      { 3, 2, 5, 4, true, false },
        { 1, 3, 4, 2, true, true },   { 40, 30, 40, 25, false, false }, { 3, 70, 90, 80, false, true },
        { 1, 1, 1, 1, false, false },   { 0, 2, 3, 4, false, true },    { 2, 3, 0, 4, true, false },
        { 2, 3, 4, 0, false, false },
    };
    if (variant == 40) {                                   /* one tensor twice */
        tensor *twice = ag_input(p, "x", DIMS(2, 3, 4));
        return ag_matmul(ag_probe_tape(p), twice, twice, false, true);
    }
    int i = variant / 4;
    bool ta = variant & 1, tb = variant & 2;
    long B = cases[i].B, M = cases[i].M, N = cases[i].N, K = cases[i].K;
    long a[3] = { B, ta ? K : M, ta ? M : K }, b[3] = { B, tb ? N : K, tb ? K : N };
    tensor *x = ag_input(p, "a", 3 - cases[i].shared_a, a + cases[i].shared_a);
    tensor *y = ag_input(p, "b", 3 - cases[i].shared_b, b + cases[i].shared_b);
    return ag_matmul(ag_probe_tape(p), x, y, ta, tb);
}

const ag_op ag_op_matmul = { "matmul", backward, example, .variants = 41 };

tensor *ag_matmul(tape *t, tensor *a, tensor *b, bool transpose_a, bool transpose_b)
{
    AG_NO_FROZEN("matmul", a, b);
    const char *wants = "%s%s x %s%s: two or three axes each, the same batch and inner size";
    if (a->ndim < 2 || a->ndim > 3 || b->ndim < 2 || b->ndim > 3)
        ag_fail("matmul", wants, SHAPE(a), transpose_a ? "'" : "", SHAPE(b), transpose_b ? "'" : "");
    operand x = operand_of(a, a->data, transpose_a), y = operand_of(b, b->data, transpose_b);
    long M = transpose_a ? x.cols : x.rows, N = transpose_b ? y.rows : y.cols;
    long K = transpose_a ? x.rows : x.cols, B = a->ndim == 3 ? a->dim[0] : b->dim[0];
    bool batched = a->ndim == 3 || b->ndim == 3;
    if (K != (transpose_b ? y.cols : y.rows) || (a->ndim == 3 && b->ndim == 3 && a->dim[0] != b->dim[0]))
        ag_fail("matmul", wants, SHAPE(a), transpose_a ? "'" : "", SHAPE(b), transpose_b ? "'" : "");
    tensor *c = batched ? ag_new(t, DIMS(B, M, N)) : ag_new(t, DIMS(M, N));
    struct saved *s = ag_alloc(t, sizeof *s);
    *s = (struct saved){ transpose_a, transpose_b };
    ag_spent(2.0 * (double)c->size * (double)K);
    AG_CALL(t, products)(batched ? B : 1, x, y, 0, operand_of(c, c->data, false));
    return AG_RECORD(t, &ag_op_matmul, c, s, a, b);
}
