/* score_ranks.c - places in a ranking, recall, and how sure a mean is. */
#include "eval/metrics.h"
#include "autograd/autograd.h"
#include <math.h>
#include <stdlib.h>

void score_ranks(long rows, long columns, const double *scores, const long *const *right, long *rank)
{
    for (long r = 0; r < rows; r++) {
        const double *s = scores + r * columns;
        rank[r] = columns;
        for (const long *own = right[r]; *own >= 0; own++) {
            long before = 0;
            for (long c = 0; c < columns; c++)
                before += s[c] > s[*own] || (s[c] == s[*own] && c < *own);
            if (before < rank[r])
                rank[r] = before;
        }
    }
}

double score_recall(long rows, const long *rank, long k)
{
    long found = 0;
    for (long r = 0; r < rows; r++)
        found += rank[r] < k;
    return rows ? 100.0 * (double)found / (double)rows : 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

score_interval score_bootstrap(long n, const double *values, double share, long times, uint64_t seed)
{
    double *means = mem_new((size_t)times * sizeof *means);
    if (!means || n < 1 || times < 1) {
        mem_free(means);
        return (score_interval){ NAN, NAN };
    }
    for (long t = 0; t < times; t++) {
        double sum = 0;
        for (long i = 0; i < n; i++)
            sum += values[(long)(ag_uniform(seed, (uint64_t)(t * n + i)) * (double)n)];
        means[t] = sum / (double)n;
    }
    qsort(means, (size_t)times, sizeof *means, by_value);
    long cut = (long)floor((1 - share) / 2 * (double)(times - 1) + 0.5);
    score_interval found = { means[cut], means[times - 1 - cut] };
    mem_free(means);
    return found;
}
