/* merge_learn.c - learns which neighbours to join: the most frequent pair, again and again
 * (Sennrich et al. 2016, section 3.2).
 *
 * A pair knows how often it occurs and a list of words that may hold it. A merge visits these words alone;
 * counts of the other pairs there are taken off before and put back after. The heap holds an entry for each
 * rise of a count; an entry that promises more than is left goes back with what is left, one that promises
 * less has a better one above it. Equal counts go to the smaller ids, left before right: the result depends
 * on the words, not on their order. */
#include "data/internal.h"

struct pair {
    int left, right;
    long count, list;                  /* list: its first place in `place`, -1: none */
    bool ruled, rising;                /* among the merges already; in `risen` */
};
struct place { long word, next; };
struct entry { long count; int left, right; long pair; };
struct learner {
    merge_job *job;
    pairs index;
    struct pair *pair;   long pairs, pair_room;
    struct place *place; long places, place_room;
    struct entry *heap;  long heaped, heap_room;
    ints risen;                        /* pairs whose count rose in this merge */
    buffer product;
    long base, live;                   /* tokens at the start; those and all in use */
    bool failed;
};

/* ---- the heap: most frequent first --------------------------------------------------------------------- */
static bool before(const struct entry *a, const struct entry *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    return a->left != b->left ? a->left < b->left : a->right < b->right;
}

static void push(struct learner *l, long pair)
{
    const struct pair *p = &l->pair[pair];
    struct entry e = { p->count, p->left, p->right, pair };
    void *heap = l->heap;
    l->failed |= !data_room(&heap, &l->heap_room, l->heaped + 1, sizeof *l->heap);
    l->heap = heap;
    if (l->failed)
        return;
    long i = l->heaped++;
    for (; i && before(&e, &l->heap[(i - 1) / 2]); i = (i - 1) / 2)
        l->heap[i] = l->heap[(i - 1) / 2];
    l->heap[i] = e;
}

static struct entry pop(struct learner *l)
{
    struct entry top = l->heap[0], e = l->heap[--l->heaped];
    long i = 0;
    for (long child; (child = 2*i + 1) < l->heaped; i = child) {
        child += child + 1 < l->heaped && before(&l->heap[child + 1], &l->heap[child]);
        if (!before(&l->heap[child], &e))
            break;
        l->heap[i] = l->heap[child];
    }
    l->heap[i] = e;
    return top;
}

/* The most frequent pair, or -1. */
static long best(struct learner *l)
{
    while (l->heaped && !l->failed) {
        struct entry e = pop(l);
        long count = l->pair[e.pair].count;
        if (e.count == count)
            return count >= l->job->min_count && count > 0 ? e.pair : -1;
        if (e.count > count && count > 0)
            push(l, e.pair);
    }
    return -1;
}

/* ---- counting ------------------------------------------------------------------------------------------ */
static long pair_of(struct learner *l, int left, int right)
{
    long at = pairs_find(&l->index, left, right);
    if (at >= 0)
        return at;
    void *pair = l->pair;
    l->failed |= !data_room(&pair, &l->pair_room, l->pairs + 1, sizeof *l->pair);
    l->pair = pair;
    l->failed |= !pairs_add(&l->index, left, right, (int)l->pairs);
    if (l->failed)
        return -1;
    l->pair[l->pairs] = (struct pair){ .left = left, .right = right, .list = -1 };
    return l->pairs++;
}

static void note(struct learner *l, long word, int left, int right)
{
    long pair = pair_of(l, left, right);
    void *place = l->place;
    l->failed |= !data_room(&place, &l->place_room, l->places + 1, sizeof *l->place);
    l->place = place;
    if (l->failed)
        return;
    l->place[l->places] = (struct place){ word, l->pair[pair].list };
    l->pair[pair].list = l->places++;
    if (!l->pair[pair].rising)
        data_push(&l->risen, (int)pair);
    l->pair[pair].rising = true;
}

/* Adds the word's pairs `times` times; notes the word at pairs with `fresh` in them (-1: at all). */
static void count(struct learner *l, long word, long times, bool notes, int fresh)
{
    const struct merge_word *w = &l->job->word[word];
    for (long i = 0; i + 1 < w->n && !l->failed; i++) {
        int left = l->job->symbols.at[w->start + i], right = l->job->symbols.at[w->start + i + 1];
        long pair = pair_of(l, left, right);
        if (pair >= 0)
            l->pair[pair].count += times;
        if (notes && (fresh < 0 || left == fresh || right == fresh))
            note(l, word, left, right);
    }
}

static void use(struct learner *l, int id, long times)
{
    long was = l->job->uses[id];
    l->job->uses[id] = was + times;
    if (id >= l->base)
        l->live += (was + times > 0) - (was > 0);
}

static void push_risen(struct learner *l)
{
    for (long i = 0; i < l->risen.n && !l->failed; i++) {
        l->pair[l->risen.at[i]].rising = false;
        push(l, l->risen.at[i]);
    }
    l->failed |= l->risen.failed;
    l->risen.n = 0;
}

/* ---- merging ------------------------------------------------------------------------------------------- */
static void rewrite(struct learner *l, long word, int left, int right, int product)
{
    struct merge_word *w = &l->job->word[word];
    int *s = l->job->symbols.at + w->start;
    long n = 0, joined = 0;
    for (long i = 0; i + 1 < w->n; i++)
        joined += s[i] == left && s[i + 1] == right;
    if (!joined)                               /* an earlier merge changed it */
        return;
    count(l, word, -w->count, false, -1);
    joined = 0;
    for (long i = 0; i < w->n; i++) {
        bool join = i + 1 < w->n && s[i] == left && s[i + 1] == right;
        s[n++] = join ? product : s[i];
        i += join;
        joined += join;
    }
    w->n = n;
    count(l, word, w->count, true, product);
    use(l, left, -joined * w->count);
    use(l, right, -joined * w->count);
    use(l, product, joined * w->count);
}

/* The product's id: a new token, or the old one where another pair gave the same text. */
static int product_of(struct learner *l, int left, int right)
{
    vocabulary *v = l->job->tokens;
    long skip = l->job->wordpiece ? 2 : 0;
    l->product.used = 0;
    data_append(&l->product, vocabulary_text(v, left), vocabulary_bytes(v, left));
    data_append(&l->product, vocabulary_text(v, right) + skip, vocabulary_bytes(v, right) - skip);
    if (l->product.failed)
        return -1;
    int id = vocabulary_find(v, l->product.text, l->product.used);
    return id >= 0 ? id : vocabulary_add(v, l->product.text, l->product.used);
}

static void merge(struct learner *l, long pair)
{
    merge_job *job = l->job;
    int left = l->pair[pair].left, right = l->pair[pair].right, product = product_of(l, left, right);
    void *uses = job->uses;
    l->failed |= product < 0 || !data_room(&uses, &job->uses_room, job->tokens->n, sizeof *job->uses);
    job->uses = uses;
    if (l->failed)
        return;
    if (!l->pair[pair].ruled) {
        data_push(&job->merges, left);
        data_push(&job->merges, right);
        data_push(&job->merges, product);
        l->failed |= job->merges.failed;
    }
    l->pair[pair].ruled = true;
    for (long at = l->pair[pair].list; at >= 0 && !l->failed; at = l->place[at].next)
        rewrite(l, l->place[at].word, left, right, product);
    l->pair[pair].list = -1;
    push_risen(l);
}

bool merge_learn(merge_job *job)
{
    struct learner l = { .job = job, .base = job->tokens->n, .live = job->tokens->n };
    void *uses = job->uses;
    l.failed = !data_room(&uses, &job->uses_room, job->tokens->n, sizeof *job->uses);
    job->uses = uses;
    for (long w = 0; w < job->words && !l.failed; w++) {
        count(&l, w, job->word[w].count, true, -1);
        for (long i = 0; i < job->word[w].n; i++)
            use(&l, job->symbols.at[job->word[w].start + i], job->word[w].count);
    }
    push_risen(&l);
    while (!l.failed && (job->wordpiece ? l.live : job->tokens->n) < job->size) {
        long pair = best(&l);
        if (pair < 0)
            break;
        merge(&l, pair);
    }
    pairs_free(&l.index);
    mem_free(l.pair);
    mem_free(l.place);
    mem_free(l.heap);
    mem_free(l.risen.at);
    data_buffer_free(&l.product);
    return !l.failed;
}
