/* tape.c - the tape: an arena that everything of a step lives in, nodes in order of execution, backward,
 * failing.
 *
 * Arena: chunks that never move; allocation moves a mark, ag_rewind moves it back. Gradients of intermediates
 * come from a second set of chunks with free lists by size class, and return there right after the backward
 * of the node that made their tensor, so a step never holds them all. Once warm, a step calls no
 * allocator. */
#include "autograd/internal.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, FIRST_CHUNK = 1 << 20, LARGEST_STEP = 64 << 20, CLASSES = 8 * 48 };

typedef struct chunk { char *base; long size; } chunk;
/* at: the chunk in use; counts: that is all it does, no chunk has memory (measure.c) */
typedef struct arena { chunk *chunks; long count, room, at, used; bool counts; } arena;
typedef struct released { struct released *next; } released;
typedef struct fence { struct fence *below; const unsigned char *from; ag_mark at; } fence;

struct tape {
    arena work, pool;
    released *free_list[CLASSES];
    ag_measure *measure;               /* NULL: memory is memory. Else free_count takes free_list's place */
    long *free_count;
    fence *fences;                     /* the last one, while fenced */
    bool fenced, trespassed;
    ag_node **nodes;
    long node_count, node_room;
    bool recording, training, wanted;  /* wanted: an op would have been recorded; see ag_checkpoint */
    ag_random random;
    ag_precision computes;
    const char *part;
    ag_watcher watcher;
    void *watching;
};

/* ---- failing ---------------------------------------------------------------------------------------- */
struct frame { jmp_buf back; error *e; struct frame *outer; };
static _Thread_local struct frame *frames;         /* the innermost ag_try of this thread */

void ag_fail(const char *op, const char *format, ...)
{
    error here, *e = frames ? frames->e : &here;
    char text[ERROR_TEXT / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_set(e, "%s: %s", op, text);
    if (frames)
        longjmp(frames->back, 1);
    fprintf(stderr, "blip2: error: %s\n", e->text);
    exit(EXIT_FAILURE);
}

bool ag_try(tape *t, void (*body)(void *), void *context, error *e)
{
    struct frame frame = { .e = e, .outer = frames };
    ag_mark mark = ag_here(t);
    bool recording = t->recording, training = t->training;
    ag_random random = t->random;
    ag_precision computes = t->computes;
    const char *part = t->part;
    if (setjmp(frame.back)) {
        frames = frame.outer;
        ag_rewind(t, mark);
        t->recording = recording;
        t->training = training;
        t->random = random;
        t->computes = computes;
        t->part = part;
        return false;
    }
    frames = &frame;
    body(context);
    frames = frame.outer;
    return true;
}

/* ---- arena ------------------------------------------------------------------------------------------ */
static void arena_grow(arena *a, long bytes)
{
    if (a->count == a->room) {
        long room = a->room ? 2 * a->room : 16;
        chunk *more = mem_grow(a->chunks, (size_t)a->room * sizeof(chunk), (size_t)room * sizeof(chunk));
        if (!more)
            ag_fail("tape", "out of memory for a list of %ld chunks", room);
        a->chunks = more;
        a->room = room;
    }
    long last = a->count ? a->chunks[a->count - 1].size : FIRST_CHUNK / 2;
    long size = 2 * last < LARGEST_STEP ? 2 * last : LARGEST_STEP;
    if (size < bytes)
        size = (bytes + FIRST_CHUNK - 1) / FIRST_CHUNK * FIRST_CHUNK;
    char *base = a->counts ? NULL : mem_new((size_t)size);
    if (!base && !a->counts) {
        double held = 0;
        for (long i = 0; i < a->count; i++)
            held += (double)a->chunks[i].size;
        ag_fail("tape",
                "out of memory: asked for %.1f MiB, %.1f MiB are in use; a smaller batch, fewer or smaller "
                "pictures, or recomputation need less",
                (double)size / (1 << 20), held / (1 << 20));
    }
    a->chunks[a->count++] = (chunk){ base, size };
}

static void *arena_take(arena *a, long bytes)
{
    if (bytes < 0)
        ag_fail("tape", "asked for %ld bytes", bytes);
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    while (a->at >= a->count || a->used + bytes > a->chunks[a->at].size) {
        if (a->at >= a->count)
            arena_grow(a, bytes);
        else {
            a->at++;
            a->used = 0;
        }
    }
    char *base = a->chunks[a->at].base;
    void *p = base ? base + a->used : NULL;
    a->used += bytes;
    return p;
}

static void arena_free(arena *a)
{
    for (long i = 0; i < a->count; i++)
        mem_free(a->chunks[i].base);
    mem_free(a->chunks);
}

static long arena_bytes(const arena *a)
{
    long sum = 0;
    for (long i = 0; i < a->count; i++)
        sum += a->chunks[i].size;
    return sum;
}

/* ---- gradient pool: size classes in steps of an eighth of a power of two ---------------------------- */
static int size_class(long bytes, long *whole)
{
    long blocks = (bytes + ALIGN - 1) / ALIGN, step = 1;
    int shift = 0;
    while (blocks > 16 * step) {
        step *= 2;
        shift++;
    }
    long units = (blocks + step - 1) / step;       /* 1..16, above 8 once shift > 0 */
    *whole = units * step * ALIGN;
    return shift * 8 + (int)units;
}

static real *pool_take(tape *t, long n)
{
    long whole;
    int class = size_class(n * (long)sizeof(real), &whole);
    if (t->measure) {
        if (!t->free_count[class])
            arena_take(&t->pool, whole);
        else
            t->free_count[class]--;
        return ag_measure_window(t->measure, whole);
    }
    released *r = t->free_list[class];
    if (!r)
        return arena_take(&t->pool, whole);
    t->free_list[class] = r->next;
    return (real *)r;
}

static void pool_give(tape *t, real *p, long n)
{
    long whole;
    int class = size_class(n * (long)sizeof(real), &whole);
    if (t->measure) {
        t->free_count[class]++;
        return;
    }
    released *r = (released *)p;
    r->next = t->free_list[class];
    t->free_list[class] = r;
}

/* ---- the tape's life -------------------------------------------------------------------------------- */
tape *ag_tape_new(void)
{
    tape *t = mem_new(sizeof *t);
    if (t)
        t->recording = true;
    return t;
}

void ag_tape_free(tape *t)
{
    if (!t)
        return;
    ag_measure_free(t->measure);
    mem_free(t->free_count);
    arena_free(&t->work);
    arena_free(&t->pool);
    mem_free(t->nodes);
    mem_free(t);
}

bool ag_measures(tape *t)
{
    if (ag_bytes(t) || t->measure)
        ag_fail("tape", "only a new tape can measure");
    t->free_count = mem_new(CLASSES * sizeof *t->free_count);
    t->measure = t->free_count ? ag_measure_new() : NULL;
    return t->work.counts = t->pool.counts = t->measure != NULL;
}

double ag_flops(const tape *t) { return t->measure ? ag_measure_flops(t->measure) : 0; }
long ag_pool_bytes(const tape *t) { return arena_bytes(&t->pool); }

void ag_reset(tape *t)
{
    ag_rewind(t, (ag_mark){ 0 });
    t->pool.at = t->pool.used = 0;
    memset(t->free_list, 0, sizeof t->free_list);
    if (t->free_count)
        memset(t->free_count, 0, CLASSES * sizeof *t->free_count);
}

ag_mark ag_here(const tape *t)
{
    ag_mark small = t->measure ? ag_measure_here(t->measure) : (ag_mark){ 0 };
    return (ag_mark){ t->work.at, t->work.used, t->node_count, small.chunk, small.used };
}

/* ---- fences: the checkers' way to see what writes behind its allocation -----------------------------------
 * Behind each allocation stand bytes of FENCE up to the next boundary and for one boundary more, where the
 * last bytes link it to the fence below. They are looked at when the tape is rewound to before them. */
enum { FENCE = 0xA5, FENCE_BYTES = 2 * ALIGN };

static void *fenced_take(tape *t, long bytes)
{
    long whole = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    unsigned char *p = arena_take(&t->work, whole + FENCE_BYTES), *end = p + whole + ALIGN;
    memset(p + bytes, FENCE, (size_t)(end - p - bytes));
    fence *f = (fence *)end;
    *f = (fence){ t->fences, p + bytes, ag_here(t) };
    t->fences = f;
    return p;
}

static void pull_fences(tape *t, ag_mark to)
{
    while (t->fences && (t->fences->at.chunk > to.chunk
                         || (t->fences->at.chunk == to.chunk && t->fences->at.used > to.used))) {
        for (const unsigned char *p = t->fences->from; p < (const unsigned char *)t->fences; p++)
            t->trespassed |= *p != FENCE;
        t->fences = t->fences->below;
    }
}

bool ag_fences(tape *t, bool on)
{
    bool stood = !t->trespassed;
    pull_fences(t, (ag_mark){ 0 });
    stood &= !t->trespassed;
    t->trespassed = false;
    t->fenced = on;
    return stood;
}

void ag_rewind(tape *t, ag_mark to)
{
    if (t->fenced)
        pull_fences(t, to);
    if (t->measure)
        ag_measure_rewind(t->measure, (ag_mark){ .chunk = to.small_chunk, .used = to.small_used });
    t->work.at = to.chunk;
    t->work.used = to.used;
    t->node_count = to.nodes;
}

tensor *ag_rewind_keep(tape *t, ag_mark to, tensor *kept)
{
    AG_NO_FROZEN("rewind_keep", kept);
    tensor old = *kept;
    real *aside = pool_take(t, old.size);          /* the new place may overlap the old one */
    if (!t->measure)
        memcpy(aside, old.data, (size_t)old.size * sizeof(real));
    ag_rewind(t, to);
    tensor *y = ag_copy_in(t, old.ndim, old.dim, aside);
    pool_give(t, aside, old.size);
    return y;
}

static bool swap_flag(bool *flag, bool on)
{
    bool was = *flag;
    *flag = on;
    return was;
}

bool ag_record_on(tape *t, bool on) { return swap_flag(&t->recording, on); }
bool ag_training(tape *t, bool on) { return swap_flag(&t->training, on); }
bool ag_is_training(const tape *t) { return t->training; }
ag_precision ag_computes(const tape *t) { return t->computes; }
long ag_bytes(const tape *t) { return arena_bytes(&t->work) + arena_bytes(&t->pool); }
long ag_node_count(const tape *t) { return t->node_count; }
const ag_node *ag_node_at(const tape *t, long i) { return t->nodes[i]; }

ag_precision ag_compute(tape *t, ag_precision products)
{
    ag_precision was = t->computes;
    t->computes = products;
    return was;
}

ag_random ag_seed(tape *t, ag_random random)
{
    ag_random was = t->random;
    t->random = random;
    return was;
}

const char *ag_part(tape *t, const char *part)
{
    const char *was = t->part;
    t->part = part;
    return was;
}

void ag_watch(tape *t, ag_watcher watcher, void *context)
{
    t->watcher = watcher;
    t->watching = context;
}

ag_random ag_random_now(const tape *t) { return t->random; }

static void *take(tape *t, long bytes, bool numbers)
{
    if (t->fenced && bytes >= 0)
        return fenced_take(t, bytes);
    void *p = arena_take(&t->work, bytes);
    return t->measure ? ag_measure_place(t->measure, bytes, numbers) : p;
}

void *ag_alloc(tape *t, long bytes)
{
    return take(t, bytes, false);
}

real *ag_alloc_real(tape *t, long n)
{
    long bytes;
    if (__builtin_mul_overflow(n, (long)sizeof(real), &bytes))
        ag_fail("tape", "asked for %ld numbers", n);
    return take(t, bytes, true);
}

/* ---- recording and backward ------------------------------------------------------------------------- */
bool ag_wants(const tape *t, int nin, tensor *const *in)
{
    for (int i = 0; t->recording && i < nin; i++)
        if (in[i] && in[i]->needs_grad)
            return true;
    return false;
}

static void push_node(tape *t, ag_node *n)
{
    if (t->node_count == t->node_room) {
        long room = t->node_room ? 2 * t->node_room : 1024, size = (long)sizeof *t->nodes;
        ag_node **more = mem_grow(t->nodes, (size_t)(t->node_room * size), (size_t)(room * size));
        if (!more)
            ag_fail("tape", "out of memory for %ld nodes", room);
        t->nodes = more;
        t->node_room = room;
    }
    t->nodes[t->node_count++] = n;
    if (t->watcher)
        t->watcher(t->watching, n, t->node_count - 1, false);
}

static void record(tape *t, const ag_op *op, int nout, tensor *const *out, void *saved, int nin,
                   tensor *const *in)
{
    ag_node *n = ag_alloc(t, (long)(sizeof *n + (size_t)(nout + nin) * sizeof(tensor *)));
    tensor **room = (tensor **)(n + 1);
    *n = (ag_node){ op, t, t->part, saved, out[0], room, room + nout, nout, nin };
    memcpy(n->outs, out, (size_t)nout * sizeof *out);
    if (nin)
        memcpy(n->in, in, (size_t)nin * sizeof *in);
    for (int i = 0; i < nout; i++)
        out[i]->needs_grad = true;
    push_node(t, n);
}

tensor *ag_record(tape *t, const ag_op *op, tensor *y, void *saved, int nin, tensor *const *in)
{
    for (int i = 0; i < nin; i++)
        if (in[i] && in[i]->needs_grad) {
            t->wanted = true;
            if (t->recording)
                record(t, op, 1, &y, saved, nin, in);
            break;
        }
    return y;
}

real *ag_grad_beta(tensor *x, real *beta)
{
    if (!x || !x->needs_grad)
        return NULL;
    tensor *w = x->whole ? x->whole : x;
    if (!w->grad) {
        w->grad = pool_take(w->tape, w->size);
        w->grad_fresh = true;
    }
    *beta = w->grad_fresh ? 0 : 1;
    w->grad_fresh = false;
    return x->grad = w->grad;
}

real *ag_grad(tensor *x)
{
    real beta, *g = ag_grad_beta(x, &beta);
    if (g && beta == 0 && !ag_spent(0))
        memset(g, 0, (size_t)x->size * sizeof(real));
    return g;
}

void ag_clear_grad(tensor *x)
{
    tensor *w = x->whole ? x->whole : x;
    w->grad_fresh = true;
}

static void add_to_grad(tensor *x, const real *g)
{
    real beta, *to = ag_grad_beta(x, &beta);
    for (long i = 0; i < x->size && !ag_spent(0); i++)
        to[i] = beta == 0 ? g[i] : to[i] + g[i];
}

/* Backward of nodes count-1 .. first. A node whose outputs met no gradient is passed over, unless other ranks
 * wait for it. */
static void backward(tape *t, long first)
{
    for (long i = t->node_count - 1; i >= first; i--) {
        ag_node *n = t->nodes[i];
        bool reached = n->op->collective;
        for (int k = 0; k < n->nout; k++)
            reached |= n->outs[k]->grad && !n->outs[k]->grad_fresh;
        if (!reached)
            continue;
        n->op->backward(n);
        if (t->watcher)
            t->watcher(t->watching, n, i, true);
        for (int k = 0; k < n->nout; k++) {
            tensor *y = n->outs[k];
            if (y->grad && !y->keep_grad) {
                pool_give(t, y->grad, y->size);
                y->grad = NULL;
            }
        }
    }
}

void ag_backward_from(tape *t, int n, tensor *const *roots, const real *const *cotangents)
{
    bool was = ag_record_on(t, true);
    for (int i = 0; i < n; i++) {
        if (!roots[i]->needs_grad)
            ag_fail("backward", "root %d of shape %s depends on nothing that wants a gradient", i,
                    SHAPE(roots[i]));
        add_to_grad(roots[i], cotangents[i]);
    }
    backward(t, 0);
    ag_record_on(t, was);
}

void ag_backward(tape *t, tensor *loss)
{
    if (loss->size != 1)
        ag_fail("backward", "the loss has one element, got shape %s; ag_backward_from takes others",
                SHAPE(loss));
    real one = 1;
    ag_backward_from(t, 1, &loss, (const real *const[]){ &one });
}

/* ---- recomputation -------------------------------------------------------------------------------------
 * Forward runs fn without recording and keeps its outputs alone; backward runs it again on the end of the
 * same tape, goes back through the nodes it made, and drops them. Random numbers are keyed, so both runs draw
 * the same. */
struct rerun { ag_function fn; void *ctx; ag_random random; bool training; };

static void checkpoint_backward(const ag_node *n)
{
    tape *t = n->tape;
    const struct rerun *r = n->saved;
    ag_mark mark = ag_here(t);
    tensor **again = ag_alloc(t, n->nout * (long)sizeof *again);
    ag_random random = ag_seed(t, r->random);
    bool training = ag_training(t, r->training);
    r->fn(t, r->ctx, n->in, again);
    for (int i = 0; i < n->nout; i++)
        if (n->outs[i]->grad && again[i]->needs_grad)
            add_to_grad(again[i], n->outs[i]->grad);
    backward(t, mark.nodes);
    ag_seed(t, random);
    ag_training(t, training);
    ag_rewind(t, mark);
}

static void twice(tape *t, void *ctx, tensor *const *in, tensor **out)  /* x (R,K), W (N,K) -> two (R,N) */
{
    ag_act act = *(const ag_act *)ctx;
    tensor *h = ag_linear(t, in[0], in[1], NULL, act);
    tensor *dropped = ag_dropout(t, h, (ag_drop){ 0.3, 7 });
    out[0] = ag_mul(t, dropped, dropped);
    out[1] = ag_scale(t, h, 0.5);
}

static tensor *checkpoint_example(ag_probe *p, int variant)
{
    static ag_act acts[] = { AG_GELU, AG_NONE, AG_QUICK_GELU, AG_GELU_TANH };
    tape *t = ag_probe_tape(p);
    long R = variant == 10 ? 0 : (long[]){ 3, 1, 5, 40, 2 }[variant % 5];
    long K = 1 + variant, N = variant == 3 ? 700 : 4;
    tensor *in[2] = { ag_input(p, "x", DIMS(R, K)), ag_input(p, "weight", DIMS(N, K)) }, *out[2];
    ag_training(t, variant % 2);
    ag_checkpoint(t, twice, &acts[variant % 4], 2, in, 2, out);
    return variant < 8 ? ag_add(t, out[0], out[1]) : out[1];
}

const ag_op ag_op_checkpoint = { "checkpoint", checkpoint_backward, checkpoint_example, .variants = 13 };

void ag_checkpoint(tape *t, ag_function fn, void *ctx, int nin, tensor *const *in, int nout, tensor **out)
{
    enum { MOST = 16 };
    tensor made[MOST];
    real *aside[MOST];
    if (nout < 1 || nout > MOST)
        ag_fail("checkpoint", "1 to %d outputs, got %d", MOST, nout);
    ag_mark mark = ag_here(t);
    bool recording = ag_record_on(t, false), wanted = swap_flag(&t->wanted, false);
    fn(t, ctx, in, out);
    bool record_it = swap_flag(&t->wanted, wanted) && recording;
    t->recording = recording;
    for (int i = 0; i < nout; i++) {
        made[i] = *out[i];
        aside[i] = pool_take(t, made[i].size);
        if (!t->measure)
            memcpy(aside[i], made[i].data, (size_t)made[i].size * sizeof(real));
    }
    ag_rewind(t, mark);
    for (int i = 0; i < nout; i++) {
        out[i] = ag_copy_in(t, made[i].ndim, made[i].dim, aside[i]);
        pool_give(t, aside[i], made[i].size);
    }
    if (!record_it)
        return;
    struct rerun *r = ag_alloc(t, sizeof *r);
    *r = (struct rerun){ fn, ctx, t->random, t->training };
    record(t, &ag_op_checkpoint, nout, out, r, nin, in);
}
