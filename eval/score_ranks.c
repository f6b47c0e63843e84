/* score_ranks.c - places in a ranking, recall, and how sure a mean is. */
#include "eval/metrics.h"
#include "autograd/autograd.h"
#include <math.h>
#include <stdlib.h>

void score_ranks(long rows, long columns, const double *scores, const long *const *right, long *rank)
{
    for (long r = 0; r < rows; r++) {
        const double *s = scores + r * columns;
        long best = *right[r], before = 0;         /* the right column that stands first */
        for (const long *own = right[r]; *own >= 0; own++)
            if (s[*own] > s[best] || (s[*own] == s[best] && *own < best))
                best = *own;
        for (long c = 0; best >= 0 && c < columns; c++)
            before += c != best && (!(s[c] <= s[best]) || (s[c] == s[best] && c < best));
        rank[r] = best >= 0 ? before : columns;
    }
}

double score_recall(long rows, const long *rank, long k)
{
    long found = 0;
    for (long r = 0; r < rows; r++)
        found += rank[r] < k;
    return rows ? 100.0 * (double)found / (double)rows : 0;
}

double score_mrr(long rows, const long *rank)
{
    double sum = 0;
    for (long r = 0; r < rows; r++)
        sum += 1 / (double)(rank[r] + 1);
    return rows ? 100 * sum / (double)rows : 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The interval of a statistic from its values over the resamples, which are sorted for it. */
static score_interval interval_of(double *x, long times, double share)
{
    qsort(x, (size_t)times, sizeof *x, by_value);
    long cut = (long)floor((1 - share) / 2 * (double)(times - 1) + 0.5);
    return (score_interval){ x[cut], x[times - 1 - cut] };
}

static long drawn(uint64_t seed, long t, long i, long n)
{
    return (long)(ag_uniform(seed, (uint64_t)(t * n + i)) * (double)n);
}

/* The resamples are drawn side by side, each by its own numbers. */
score_interval score_bootstrap_ratio(long n, const double *sums, const double *counts, double share,
                                     long times, uint64_t seed)
{
    double ratio[SCORE_TIMES];
    times = times < SCORE_TIMES ? times : SCORE_TIMES;
    if (n < 1 || times < 1)
        return (score_interval){ NAN, NAN };
    #pragma omp parallel for if (n * times > 1000000)
    for (long t = 0; t < times; t++) {
        double sum = 0, count = 0;
        for (long i = 0; i < n; i++) {
            long at = drawn(seed, t, i, n);
            sum += sums[at];
            count += counts ? counts[at] : 1;
        }
        ratio[t] = count > 0 ? sum / count : NAN;
    }
    long some = 0;
    for (long t = 0; t < times; t++)
        if (!isnan(ratio[t]))
            ratio[some++] = ratio[t];
    return some ? interval_of(ratio, some, share) : (score_interval){ NAN, NAN };
}

score_interval score_bootstrap_clusters(long rows, const double *values, const long *of, long clusters,
                                        double share, long times, uint64_t seed)
{
    double *sums = mem_new((size_t)clusters * sizeof *sums);
    double *counts = mem_new((size_t)clusters * sizeof *counts);
    score_interval to = { NAN, NAN };
    for (long r = 0; sums && counts && r < rows; r++) {
        sums[of[r]] += values[r];
        counts[of[r]]++;
    }
    if (sums && counts)
        to = score_bootstrap_ratio(clusters, sums, counts, share, times, seed);
    mem_free(sums);
    mem_free(counts);
    return to;
}

score_interval score_bootstrap(long n, const double *values, double share, long times, uint64_t seed)
{
    return score_bootstrap_ratio(n, values, NULL, share, times, seed);
}

void score_bleu_add(score_bleu *sum, const score_bleu *b)
{
    sum->test += b->test;
    sum->reference += b->reference;
    for (int k = 0; k < SCORE_BLEU; k++) {
        sum->guess[k] += b->guess[k];
        sum->correct[k] += b->correct[k];
    }
}

bool score_bleu_bootstrap(long n, const score_bleu *counts, double share, long times, uint64_t seed,
                          score_interval to[SCORE_BLEU])
{
    double *x = mem_new((size_t)(times * SCORE_BLEU) * sizeof *x);         /* (BLEU,times) */
    #pragma omp parallel for if (x && n * times > 1000000)
    for (long t = 0; t < (x ? times : 0); t++) {
        score_bleu sum = { 0 };
        double value[SCORE_BLEU];
        for (long i = 0; i < n; i++)
            score_bleu_add(&sum, &counts[drawn(seed, t, i, n)]);
        score_bleu_value(&sum, value);
        for (int k = 0; k < SCORE_BLEU; k++)
            x[k * times + t] = value[k];
    }
    for (int k = 0; k < SCORE_BLEU; k++)
        to[k] = x ? interval_of(x + k * times, times, share) : (score_interval){ NAN, NAN };
    mem_free(x);
    return x != NULL;
}
