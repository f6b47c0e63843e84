/* keyed.c - random numbers by key: the n-th number of stream (seed, stream, index) is a function of these
 * alone, so that scenes can be made in any order and on any thread.  bits = mix(key + n g) with g = 2^64 /
 * golden ratio and the finaliser of SplitMix64 (Steele, Lea & Flood 2014, fig. 16; the constants are
 * Stafford's variant 13). */
#include "data/internal.h"

static const uint64_t golden = 0x9e3779b97f4a7c15;

uint64_t data_mix(uint64_t x)
{
    x = (x ^ (x >> 30))*0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27))*0x94d049bb133111eb;
    return x ^ (x >> 31);
}

keyed data_keyed(long seed, int stream, long index)
{
    uint64_t key = data_mix((uint64_t)seed + golden);
    key = data_mix(key + (uint64_t)stream*golden + 1);
    return (keyed){ data_mix(key + (uint64_t)index*golden + 2), 0 };
}

uint64_t data_bits(keyed *r)
{
    return data_mix(r->key + ++r->n*golden);
}

double data_uniform(keyed *r)
{
    return (double)(data_bits(r) >> 11)*0x1p-53;
}

double data_between(keyed *r, double least, double most)
{
    return least + (most - least)*data_uniform(r);
}

int data_below(keyed *r, int n)
{
    return (int)(((data_bits(r) >> 32)*(uint64_t)n) >> 32);
}

int data_weighted(keyed *r, const double *weights, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += weights[i];
    double x = sum*data_uniform(r);
    for (int i = 0; i < n; i++)
        if ((x -= weights[i]) < 0)
            return i;
    while (n > 1 && weights[n - 1] == 0)           /* rounding took us past the last */
        n--;
    return n - 1;
}
