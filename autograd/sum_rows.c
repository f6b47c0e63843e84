/* sum_rows.c - y (C) += sum over R of x (R,C): the gradient of whatever was stretched over rows, such as a bias. */
#include "autograd/internal.h"

/* A thread owns a block of columns and walks all rows in order, in double. */
void ag_sum_rows(long R, long C, const real *x, real *y)
{
    enum { BLOCK = 64 };
    #pragma omp parallel for if (R * C > AG_PARALLEL_MIN)
    for (long first = 0; first < C; first += BLOCK) {
        long n = C - first < BLOCK ? C - first : BLOCK;
        double sum[BLOCK] = { 0 };
        for (long r = 0; r < R; r++)
            for (long c = 0; c < n; c++)
                sum[c] += x[r*C + first + c];
        for (long c = 0; c < n; c++)
            y[first + c] += (real)sum[c];
    }
}
