/* probe.c - is the gradient the slope? Every op's example, checked by the rule of this project:
 *
 * in double, four points, (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12 h with h = 1e-3 times the RMS of the
 * tensor, for a random cotangent (a plain sum hides errors in softmax and norms), and max |analytic -
 * numeric| <= 1e-8 max |analytic|. Small tensors are checked at every element, large ones at some elements
 * and along random directions. In the same go: two uses of the inputs give the sum, a gradient that is
 * already there is added to, freezing one input leaves the others unchanged to the bit, and 1, 3, 4 and 8
 * threads agree to the bit. Inputs and their gradients stand between fences of NaN, and so does what the tape
 * gives out next: what is written beside a gradient, or read where nothing was written, shows. Backward gives
 * back all memory that it took. A result without elements leaves gradients of 0. */
#include "autograd/internal.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_INPUTS = 8, EVERY = 96, SOME = 16, DIRECTIONS = 2, FENCE = 512, SPOILED = 1 << 19 };
static const double tolerance = 1e-8;

typedef struct input { char name[24]; int ndim; long dim[AG_MAX_DIM], size; real *data; tensor *x; } input;
struct ag_probe {
    tape *t, *kept;                    /* kept: the inputs' values, for all rebuilds */
    uint64_t key;
    uint64_t drawn;                    /* random numbers given to this build */
    int count, next;                   /* inputs known; inputs given to this build */
    input in[MOST_INPUTS];
    int frozen;                        /* this input wants no gradient; -1: all do */
    bool low;                          /* the frozen input is kept in bf16 */
    const ag_op *op;
    int variant;
    const real *cotangent;
    char trouble[256];
    ag_listener tell;
    void *telling;
};

tape *ag_probe_tape(ag_probe *p) { return p->t; }

typedef double (*filler)(uint64_t key, uint64_t index, long n, double gap);

static double fill_normal(uint64_t key, uint64_t i, long n, double gap)
{
    (void)n, (void)gap;
    return ag_normal(key, i);
}

static double fill_positive(uint64_t key, uint64_t i, long n, double gap)
{
    (void)n, (void)gap;
    return 0.5 + 1.5 * ag_uniform(key, i);
}

/* Values `gap` apart, none nearer to 0 than gap / 2, shuffled by an affine map with a prime step. */
static double fill_apart(uint64_t key, uint64_t i, long n, double gap)
{
    uint64_t m = (uint64_t)n, place = (i * 1000003 + (uint64_t)(ag_uniform(key, 0) * (double)m)) % m;
    return gap * ((double)place - floor((double)n / 2) + 0.5);
}

/* Room for n numbers between two fences; all of it NaN. */
static real *fenced(tape *t, long n)
{
    real *room = ag_alloc_real(t, n + 2 * FENCE);
    memset(room, 0xFF, (size_t)(n + 2 * FENCE) * sizeof *room);
    return room + FENCE;
}

static bool fences_stand(const real *room, long n)
{
    const unsigned char *before = (const unsigned char *)(room - FENCE);
    const unsigned char *behind = (const unsigned char *)(room + n);
    bool stand = true;
    for (size_t i = 0; i < FENCE * sizeof *room; i++)
        stand = stand && before[i] == 0xFF && behind[i] == 0xFF;
    return stand;
}

static tensor *give(ag_probe *p, const char *name, int ndim, const long *dim, filler fill, double gap)
{
    if (p->next == MOST_INPUTS)
        ag_fail("probe", "an example has at most %d inputs", MOST_INPUTS);
    input *in = &p->in[p->next];
    if (p->next == p->count) {
        *in = (input){ .ndim = ndim, .size = 1 };
        snprintf(in->name, sizeof in->name, "%s", name);
        for (int i = 0; i < ndim; i++)
            in->size *= in->dim[i] = dim[i];
        in->data = ag_alloc_real(p->kept, in->size);
        for (long i = 0; i < in->size; i++)
            in->data[i] = (float)fill(ag_mix(p->key, 100 + (uint64_t)p->next), (uint64_t)i, in->size, gap);
        p->count++;
    }
    in->x = ag_leaf(p->t, ndim, dim, in->data);
    in->x->data = memcpy(fenced(p->t, in->size), in->data, (size_t)in->size * sizeof(real));
    in->x->needs_grad = p->next != p->frozen;
    if (in->x->needs_grad) {
        in->x->grad = fenced(p->t, in->size);
        in->x->grad_fresh = true;
    }
    in->x->name = in->name;
    if (p->low && p->next++ == p->frozen && ndim)
        return ag_frozen_new(p->t, AG_BF16, ndim, dim, in->data);
    p->next += !p->low;
    return in->x;
}

tensor *ag_input(ag_probe *p, const char *name, int ndim, const long *dim)
{
    return give(p, name, ndim, dim, fill_normal, 0);
}

tensor *ag_input_apart(ag_probe *p, const char *name, int ndim, const long *dim, double gap)
{
    return give(p, name, ndim, dim, fill_apart, gap);
}

tensor *ag_input_positive(ag_probe *p, const char *name, int ndim, const long *dim)
{
    return give(p, name, ndim, dim, fill_positive, 0);
}

long ag_pick(ag_probe *p, long n)
{
    return (long)(ag_uniform(ag_mix(p->key, 1), p->drawn++) * (double)n);
}

const int *ag_pick_ids(ag_probe *p, long count, long n)
{
    int *ids = ag_alloc(p->t, count * (long)sizeof *ids);
    for (long i = 0; i < count; i++)
        ids[i] = (int)ag_pick(p, n);
    return ids;
}

tensor *ag_pick_frozen(ag_probe *p, ag_dtype type, int ndim, const long *dim)
{
    long n = 1;
    for (int i = 0; i < ndim; i++)
        n *= dim[i];
    real *x = ag_alloc_real(p->t, n);
    for (long i = 0; i < n; i++)
        x[i] = (real)(float)ag_normal(ag_mix(p->key, 2), p->drawn++);
    return ag_frozen_new(p->t, type, ndim, dim, x);
}

ag_mask *ag_pick_mask(ag_probe *p, long B, long Tq, long Tk)
{
    ag_mask *m = ag_mask_new(p->t, B, Tq, Tk);
    long rows = B * Tq, off = rows > 2 ? ag_pick(p, rows) : -1;
    for (long r = 0; r < rows; r++)
        for (long j = 0; j < Tk; j++)
            m->may[r*Tk + j] = r != off && (j == r % Tk || ag_pick(p, 3) > 0);
    if (rows > 1)
        memset(m->may + ((off + 1) % rows) * Tk, 1, (size_t)Tk);
    return m;
}

/* ---- one build of the example ----------------------------------------------------------------------- */
static tensor *build(ag_probe *p)
{
    ag_reset(p->t);
    ag_training(p->t, false);
    ag_seed(p->t, (ag_random){ .seed = p->key, .step = 3 });
    p->drawn = 0;
    p->next = 0;
    return p->op->example(p, p->variant);
}

static double dot(long n, const real *a, const real *b)
{
    double sum = 0, carry = 0;                             /* compensated: differences of f are 1e-13 of it */
    for (long i = 0; i < n; i++) {
        double y = (double)a[i] * (double)b[i] - carry, s = sum + y;
        carry = (s - sum) - y;
        sum = s;
    }
    return sum;
}

static double value(void *ctx)
{
    ag_probe *p = ctx;
    bool was = ag_record_on(p->t, false);
    tensor *y = build(p);
    ag_record_on(p->t, was);
    return dot(y->size, y->data, p->cotangent);
}

/* Slope of f along x[at] (direction NULL) or along direction (n); the step really taken is what divides. */
static double slope(double (*f)(void *), void *ctx, real *x, long n, long at, const real *direction, double h)
{
    static const int multiple[4] = { 1, -1, 2, -2 };
    double y[4], whole[4];
    real *old = mem_new((size_t)n * sizeof *old);
    if (!old)
        ag_fail("gradcheck", "out of memory for %ld numbers", n);
    memcpy(old, x, (size_t)n * sizeof *old);
    for (int k = 0; k < 4; k++) {
        for (long i = direction ? 0 : at; i < (direction ? n : at + 1); i++)
            x[i] = (real)(old[i] + multiple[k] * h * (direction ? direction[i] : 1));
        whole[k] = direction ? multiple[k] * h : x[at] - old[at];
        y[k] = f(ctx);
        memcpy(x, old, (size_t)n * sizeof *old);
    }
    mem_free(old);
    return (8 * (y[0] - y[1]) - (y[2] - y[3])) / (6 * (whole[0] - whole[1]));
}

static void tell(const ag_probe *p, const char *name, long index, double analytic, double numeric,
                 double unit)
{
    if (p->tell)
        p->tell(p->telling, &(ag_compared){ p->variant, name, index, analytic, numeric,
                                            fabs(analytic - numeric) / unit });
}

/* Largest |analytic - numeric| of one tensor as a share of its largest |analytic|; NaN counts as infinite. */
static double worst_of(ag_probe *p, const input *in, const real *g, long elements, int directions,
                       uint64_t key)
{
    real *x = in->data;
    long n = in->size;
    double square = 0, largest = 0, worst = 0;
    if (n == 0)
        return 0;
    for (long i = 0; i < n; i++) {
        square += (double)x[i] * (double)x[i];
        largest = fmax(largest, fabs((double)g[i]));
        if (!isfinite(g[i]))
            return INFINITY;
    }
    double h = square > 0 ? 1e-3 * sqrt(square / (double)n) : 1e-3;
    for (long k = 0; k < elements; k++) {
        long i = elements == n ? k : (long)(ag_uniform(key, (uint64_t)k) * (double)n);
        double numeric = slope(value, p, x, n, i, NULL, h), d = fabs(numeric - (double)g[i]);
        tell(p, in->name, i, (double)g[i], numeric, largest);
        worst = isfinite(d) ? fmax(worst, d) : INFINITY;
    }
    real *direction = mem_new((size_t)n * sizeof *direction);          /* all elements move: a shorter step */
    for (int k = 0; direction && k < directions; k++) {
        for (long i = 0; i < n; i++)
            direction[i] = (real)ag_normal(ag_mix(key, 10 + (uint64_t)k), (uint64_t)i);
        double numeric = slope(value, p, x, n, 0, direction, h / 8), analytic = dot(n, g, direction);
        double d = fabs(numeric - analytic) / sqrt((double)n);
        tell(p, in->name, -1 - k, analytic, numeric, largest * sqrt((double)n));
        worst = isfinite(d) ? fmax(worst, d) : INFINITY;
    }
    mem_free(direction);
    return largest > 0 ? worst / largest : INFINITY;  /* a gradient that is zero everywhere shows nothing */
}

/* ---- properties ------------------------------------------------------------------------------------- */
static void trouble(ag_probe *p, const char *what, const char *of)
{
    if (!p->trouble[0])
        snprintf(p->trouble, sizeof p->trouble, "variant %d: %s%s%s", p->variant, what, *of ? ": " : "", of);
}

/* Gradients of all inputs of one build, side by side in `to`; NULL in `frozen` place stays unwritten. */
static tensor *gradients(ag_probe *p, real **to)
{
    ag_reset(p->t);
    ag_fences(p->t, true);
    memset(ag_alloc(p->t, SPOILED), 0xFF, SPOILED);
    tensor *y = build(p);
    if (!y->needs_grad) {
        ag_fences(p->t, false);
        return y;
    }
    ag_mark before = ag_here(p->t);
    ag_backward_from(p->t, 1, &y, &p->cotangent);
    ag_mark after = ag_here(p->t);
    if (after.chunk != before.chunk || after.used != before.used || after.nodes != before.nodes)
        trouble(p, "backward keeps scratch memory", "");
    if (!ag_fences(p->t, false))
        trouble(p, "something is written behind an allocation of the tape", "");
    for (int i = 0; i < p->count; i++) {
        const real *g = ag_grad(p->in[i].x);
        if (g && !fences_stand(g, p->in[i].size))
            trouble(p, "something is written beside a gradient", p->in[i].name);
        if (g)
            memcpy(to[i], g, (size_t)p->in[i].size * sizeof(real));
        else if (i != p->frozen || p->in[i].x->grad)
            trouble(p, "a frozen input has a gradient, or a free one none", p->in[i].name);
    }
    return y;
}

static bool same(const real *a, const real *b, long n) { return !memcmp(a, b, (size_t)n * sizeof(real)); }

static bool close_to(const real *a, const real *b, long n, double bound)
{
    double largest = 0, off = 0;
    for (long i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)b[i]));
        double d = fabs((double)a[i] - (double)b[i]);
        off = isfinite(d) ? fmax(off, d) : INFINITY;
    }
    return off <= bound * largest;
}

static void check_freezing(ag_probe *p, real *const *expected, real **got)
{
    for (p->frozen = 0; p->frozen < p->count; p->frozen++) {
        gradients(p, got);
        for (int i = 0; i < p->count && p->count > 1; i++)
            if (i != p->frozen && !same(got[i], expected[i], p->in[i].size))
                trouble(p, "freezing one input changes the gradient of another", p->in[i].name);
    }
    p->frozen = -1;
}

static void check_threads(ag_probe *p, const real *y, real *const *expected, real **got)
{
    int before = ag_threads_now();
    for (int k = 0; k < 4; k++) {
        ag_threads((int[]){ 1, 3, 4, 8 }[k]);
        const tensor *z = gradients(p, got);
        if (!same(z->data, y, z->size))
            trouble(p, "the result depends on the number of threads", "");
        for (int i = 0; i < p->count; i++)
            if (!same(got[i], expected[i], p->in[i].size))
                trouble(p, "a gradient depends on the number of threads", p->in[i].name);
    }
    ag_threads(before);
}

/* Two contributions to gradients that were filled beforehand with 0.25 make 0.25 + g + g. */
static void check_adding(ag_probe *p, real *const *expected)
{
    tensor *first[MOST_INPUTS], *y = build(p);
    for (int i = 0; i < p->count; i++) {
        first[i] = p->in[i].x;
        real *g = ag_grad(first[i]);
        for (long k = 0; k < p->in[i].size; k++)
            g[k] = (real)0.25;
    }
    ag_backward_from(p->t, 1, &y, &p->cotangent);
    ag_backward_from(p->t, 1, &y, &p->cotangent);
    for (int i = 0; i < p->count; i++) {
        real *g = ag_grad(first[i]), *twice = ag_alloc_real(p->t, p->in[i].size);
        for (long k = 0; k < p->in[i].size; k++)
            twice[k] = (real)0.25 + 2 * expected[i][k];
        if (!close_to(g, twice, p->in[i].size, REAL == 64 ? 1e-13 : 2e-6))
            trouble(p, "a gradient that is there already is not added to", p->in[i].name);
    }
}

/* The first build: a cotangent, room for gradients, and the gradients themselves. */
static tensor *first_build(ag_probe *p, real **expected)
{
    long size = build(p)->size;
    real *cotangent = ag_alloc_real(p->kept, size);
    for (long i = 0; i < size; i++)
        cotangent[i] = (float)ag_normal(ag_mix(p->key, 2), (uint64_t)i);
    p->cotangent = cotangent;
    for (int i = 0; i < p->count; i++)
        expected[i] = ag_alloc_real(p->kept, p->in[i].size);
    return gradients(p, expected);
}

static void check_slopes(ag_probe *p, ag_check *c, real *const *expected)
{
    for (int i = 0; i < p->count; i++) {
        input *in = &p->in[i];
        double worst = worst_of(p, in, expected[i], in->size <= EVERY ? in->size : SOME,
                                in->size <= EVERY ? 0 : DIRECTIONS, ag_mix(p->key, 50 + (uint64_t)i));
        if (worst > c->worst || !c->where[0]) {
            c->worst = worst;
            snprintf(c->where, sizeof c->where, "variant %d, %s", p->variant, in->name);
        }
    }
}

/* A result without elements depends on nothing. */
static void check_nothing(ag_probe *p, real *const *expected)
{
    for (int i = 0; i < p->count; i++)
        for (long k = 0; k < p->in[i].size; k++)
            if (expected[i][k] != 0)
                trouble(p, "an empty result has a gradient that is not 0", p->in[i].name);
}

static void check_variant(ag_probe *p, ag_check *c)
{
    real *expected[MOST_INPUTS], *got[MOST_INPUTS];
    const tensor *y = first_build(p, expected);
    real *kept_y = ag_alloc_real(p->kept, y->size);
    bool empty = y->size == 0;
    ag_read(y, kept_y);
    for (int i = 0; i < p->count; i++)
        got[i] = ag_alloc_real(p->kept, p->in[i].size);
    if (empty)
        check_nothing(p, expected);
    else if (REAL == 64)
        check_slopes(p, c, expected);
    check_adding(p, expected);
    check_freezing(p, expected, got);
    check_threads(p, kept_y, expected, got);
}

/* ---- inputs in low precision --------------------------------------------------------------------------- */
static void build_low(void *context) { build(context); }

ag_answer ag_probe_frozen(const ag_op *op, int variant, int number, char name[24], error *e)
{
    tape *t = ag_tape_new(), *kept = ag_tape_new();
    if (!t || !kept)
        ag_fail("probe", "out of memory");
    ag_probe p = { .t = t, .kept = kept, .key = ag_mix(1, (uint64_t)variant), .frozen = number, .low = true,
                   .op = op, .variant = variant };
    bool taken = ag_try(t, build_low, &p, e);
    bool none = number >= p.count || !p.in[number].ndim;
    if (!none)
        memcpy(name, p.in[number].name, sizeof p.in[number].name);
    ag_tape_free(t);
    ag_tape_free(kept);
    return none ? AG_NO_INPUT : taken ? AG_TAKES : AG_REFUSES;
}

/* ---- one variant as numbers, for those who compare builds --------------------------------------------- */
static bool keep(ag_sample *s, long size, const real *values)
{
    double *to = s->values[s->count] = mem_new((size_t)(size + 1) * sizeof *to);
    for (long i = 0; to && i < size; i++)
        to[i] = (double)values[i];
    s->size[s->count++] = size;
    return to;
}

bool ag_probe_sample(const ag_op *op, int variant, uint64_t seed, ag_sample *s)
{
    *s = (ag_sample){ .count = 0 };
    tape *t = ag_tape_new(), *kept = ag_tape_new();
    real *expected[MOST_INPUTS];
    ag_probe p = { .t = t, .kept = kept, .key = ag_mix(seed, (uint64_t)variant), .frozen = -1, .op = op,
                   .variant = variant };
    bool ok = t && kept;
    if (ok) {
        const tensor *y = first_build(&p, expected);
        ok = keep(s, y->size, y->data);
    }
    for (int i = 0; ok && i < p.count; i++) {
        long columns = p.in[i].ndim ? p.in[i].dim[p.in[i].ndim - 1] : 1;
        long rows = columns ? p.in[i].size / columns : 0;
        s->longest = rows > s->longest ? rows : s->longest;
        s->longest = columns > s->longest ? columns : s->longest;
        s->inputs += p.in[i].size;
        ok = keep(s, p.in[i].size, expected[i]);
    }
    ag_tape_free(t);
    ag_tape_free(kept);
    return ok;
}

void ag_sample_free(ag_sample *s)
{
    for (int i = 0; i < s->count; i++)
        mem_free(s->values[i]);
}

ag_check ag_gradcheck_op(const ag_op *op, uint64_t seed)
{
    return ag_gradcheck_op_told(op, seed, NULL, NULL);
}

ag_check ag_gradcheck_op_told(const ag_op *op, uint64_t seed, ag_listener listener, void *context)
{
    ag_check c = { .what = op->name, .variants = op->variants, .tolerance = tolerance };
    tape *t = ag_tape_new(), *kept = ag_tape_new();
    if (!t || !kept)
        ag_fail("gradcheck", "out of memory");
    for (int v = 0; v < op->variants && op->example && c.worst <= tolerance && !c.trouble[0]; v++) {
        ag_probe p = {
            .t = t, .kept = kept, .key = ag_mix(seed, (uint64_t)v), .frozen = -1, .op = op, .variant = v,
            .tell = listener, .telling = context
        };
        ag_reset(kept);
        check_variant(&p, &c);
        if (p.trouble[0] && !c.trouble[0])
            memcpy(c.trouble, p.trouble, sizeof c.trouble);
    }
    if (op->variants < 10 || !op->example)
        snprintf(c.trouble, sizeof c.trouble, "an op has an example of at least 10 variants, this one %d",
                 op->variants);
    c.ok = c.worst <= tolerance && !c.trouble[0];
    ag_tape_free(t);
    ag_tape_free(kept);
    return c;
}
