/* pairing.c - which texts are right for which pictures, both ways: a picture's own captions, and those of
 * others that read the same. */
#include "eval/internal.h"
#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b)
{
    const eval_candidate *x = *(eval_candidate *const *)a, *y = *(eval_candidate *const *)b;
    int order = strcmp(x->text, y->text);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

void eval_pairing_free(eval_pairing *p)
{
    for (long i = 0; p->of_picture && i < p->n; i++)
        mem_free(p->of_picture[i]);
    for (long j = 0; p->of_text && j < p->m; j++)
        mem_free(p->of_text[j]);
    mem_free(p->of_picture);
    mem_free(p->of_text);
    mem_free(p->text);
    mem_free(p->words);
    mem_free(p->rows);
}

/* Captions of all records of a picture, as many as are wanted. */
static long candidates_of(const eval_config *c, const eval_data *d, long at)
{
    long all = 0;
    for (long r = d->first[at]; r >= 0; r = d->next[r])
        all += d->records.items[r].caption_count;
    return c->retrieval_captions && c->retrieval_captions < all ? c->retrieval_captions : all;
}

/* Equal numbers for texts that read the same. */
static bool number_texts(eval_pairing *p)
{
    eval_candidate **order = mem_new((size_t)(p->m + 1) * sizeof *order);
    for (long j = 0; order && j < p->m; j++)
        order[j] = &p->text[j];
    if (order)
        qsort(order, (size_t)p->m, sizeof *order, by_text);
    for (long j = 0; order && j < p->m; j++)
        order[j]->id = j && !strcmp(order[j]->text, order[j - 1]->text) ? order[j - 1]->id : order[j]->at;
    mem_free(order);
    return order != NULL;
}

/* Right are a picture's own texts and those that read like one of them. texts of a picture lie side by
 * side */
static bool pair_up(eval_pairing *p)
{
    unsigned char *same = mem_new((size_t)p->m + 1);       /* by id: reads like one of the picture's */
    long *first = mem_new((size_t)(p->n + 1) * sizeof *first);
    long *count = mem_new((size_t)(p->m + 1) * sizeof *count);
    bool ok = same && first && count;
    for (long j = p->m - 1; ok && j >= 0; j--)
        first[p->text[j].picture] = j;
    for (long i = 0; ok && i < p->n; i++) {
        long end = i + 1 < p->n ? first[i + 1] : p->m, many = 0;
        memset(same, 0, (size_t)p->m);
        for (long j = first[i]; j < end; j++)
            same[p->text[j].id] = 1;
        for (long j = 0; j < p->m; j++)
            many += same[p->text[j].id];
        ok = (p->of_picture[i] = mem_new((size_t)(many + 1) * sizeof(long))) != NULL;
        for (long j = 0, at = 0; ok && j < p->m; j++)
            if (same[p->text[j].id]) {
                p->of_picture[i][at++] = j;
                count[j]++;
            }
        if (ok)
            p->of_picture[i][many] = -1;
    }
    for (long j = 0; ok && j < p->m; j++) {
        ok = (p->of_text[j] = mem_new((size_t)(count[j] + 1) * sizeof(long))) != NULL;
        count[j] = 0;
    }
    for (long i = 0; ok && i < p->n; i++)
        for (const long *j = p->of_picture[i]; *j >= 0; j++)
            p->of_text[*j][count[*j]++] = i;
    for (long j = 0; ok && j < p->m; j++)
        p->of_text[j][count[j]] = -1;
    mem_free(same);
    mem_free(first);
    mem_free(count);
    return ok;
}

long eval_candidates(const eval_config *c, const eval_data *d)
{
    long all = d->pictures - d->without_caption;
    return c->retrieval_pictures && c->retrieval_pictures < all ? c->retrieval_pictures : all;
}

/* Which pictures: those with a caption, as many as are wanted. */
static bool choose(const eval_config *c, const eval_data *d, eval_pairing *p)
{
    p->rows = mem_new((size_t)(d->pictures + 1) * sizeof *p->rows);
    for (long i = 0; p->rows && i < d->pictures; i++) {
        long texts = candidates_of(c, d, i);
        if (texts && p->n < eval_candidates(c, d)) {
            p->rows[p->n++] = i;
            p->m += texts;
        }
    }
    return p->rows != NULL;
}

static void put_texts(const eval_config *c, const eval_data *d, eval_pairing *p)
{
    for (long i = 0, j = 0; i < p->n; i++) {
        long end = j + candidates_of(c, d, p->rows[i]);
        for (long r = d->first[p->rows[i]]; r >= 0; r = d->next[r])
            for (long k = 0; k < d->records.items[r].caption_count && j < end; k++, j++) {
                p->words[j] = d->records.items[r].texts[k];
                p->text[j] = (eval_candidate){ p->words[j], i, j, j };
            }
    }
}

bool eval_pair(const eval_config *c, const eval_data *d, eval_pairing *p)
{
    *p = (eval_pairing){ 0 };
    if (!choose(c, d, p))
        return false;
    p->text = mem_new((size_t)(p->m + 1) * sizeof *p->text);
    p->words = mem_new((size_t)(p->m + 1) * sizeof *p->words);
    p->of_picture = mem_new((size_t)(p->n + 1) * sizeof *p->of_picture);
    p->of_text = mem_new((size_t)(p->m + 1) * sizeof *p->of_text);
    if (!p->text || !p->words || !p->of_picture || !p->of_text)
        return false;
    put_texts(c, d, p);
    return number_texts(p) && pair_up(p);
}
