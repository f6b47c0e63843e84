/* vmath.c - exp, erf and tanh over arrays (autograd.h); the functions themselves stand in internal.h. */
#include "autograd/internal.h"

void ag_vexp(long n, const real *x, real *y)
{
    AG_SIMD
    for (long i = 0; i < n; i++)
        y[i] = ag_exp1(x[i]);
}

void ag_verf(long n, const real *x, real *y)
{
    AG_SIMD
    for (long i = 0; i < n; i++)
        y[i] = ag_erf1(x[i]);
}

void ag_vtanh(long n, const real *x, real *y)
{
    AG_SIMD
    for (long i = 0; i < n; i++)
        y[i] = ag_tanh1(x[i]);
}
