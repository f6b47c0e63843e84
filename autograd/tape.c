/* tape.c - the tape: what lives on it and until when, nodes in order of execution, backward, failing.
 *
 * Memory is that of arena.c: ag_alloc moves a mark, ag_rewind moves it back. Gradients of intermediates come
 * from its pool, and return there right after the backward of the node that made their tensor, so a step
 * never holds them all. Once warm, a step calls no allocator. */
#include "autograd/arena.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fence { struct fence *below; const unsigned char *from; ag_mark at; } fence;

struct tape {
    arena work;
    pool gradients;
    ag_measure *measure;               /* NULL: memory is memory */
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
    arena_free(&t->work);
    pool_free(&t->gradients);
    mem_free(t->nodes);
    mem_free(t);
}

bool ag_measures(tape *t)
{
    if (ag_bytes(t) || t->measure)
        ag_fail("tape", "only a new tape can measure");
    t->measure = ag_measure_new();
    return t->work.counts = t->measure && pool_measures(&t->gradients, t->measure);
}

double ag_flops(const tape *t) { return t->measure ? ag_measure_flops(t->measure) : 0; }
long ag_pool_bytes(const tape *t) { return arena_bytes(&t->gradients.memory); }

void ag_reset(tape *t)
{
    ag_rewind(t, (ag_mark){ 0 });
    pool_reset(&t->gradients);
}

ag_mark ag_here(const tape *t)
{
    ag_mark small = t->measure ? ag_measure_here(t->measure) : (ag_mark){ 0 };
    return (ag_mark){ t->work.at, t->work.used, t->node_count, small.chunk, small.used };
}

/* ---- fences: the checkers' way to see what writes behind its allocation -----------------------------------
 * Behind each allocation stand bytes of FENCE up to the next boundary and for one boundary more, where the
 * last bytes link it to the fence below. They are looked at when the tape is rewound to before them. */
enum { FENCE = 0xA5, FENCE_BYTES = 2 * ARENA_ALIGN };

static void *fenced_take(tape *t, long bytes)
{
    long whole = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    unsigned char *p = arena_take(&t->work, whole + FENCE_BYTES), *end = p + whole + ARENA_ALIGN;
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

void ag_rewind_keep_all(tape *t, ag_mark to, int n, tensor **kept)
{
    enum { MOST = 16 };
    tensor old[MOST];
    real *aside[MOST];                             /* the new place may overlap the old one */
    if (n < 0 || n > MOST)
        ag_fail("tape", "up to %d tensors are kept, got %d", MOST, n);
    for (int i = 0; i < n; i++) {
        AG_NO_FROZEN("rewind_keep", kept[i]);
        old[i] = *kept[i];
        aside[i] = pool_take(&t->gradients, old[i].size);
        if (!t->measure)
            memcpy(aside[i], old[i].data, (size_t)old[i].size * sizeof(real));
    }
    ag_rewind(t, to);
    for (int i = 0; i < n; i++) {
        kept[i] = ag_copy_in(t, old[i].ndim, old[i].dim, aside[i]);
        pool_give(&t->gradients, aside[i], old[i].size);
    }
}

tensor *ag_rewind_keep(tape *t, ag_mark to, tensor *kept)
{
    ag_rewind_keep_all(t, to, 1, &kept);
    return kept;
}

static bool swap_flag(bool *flag, bool on)
{
    bool was = *flag;
    *flag = on;
    return was;
}

bool ag_record_on(tape *t, bool on) { return swap_flag(&t->recording, on); }
bool ag_training(tape *t, bool on) { return swap_flag(&t->training, on); }
bool ag_wanted(tape *t, bool wanted) { return swap_flag(&t->wanted, wanted); }
bool ag_is_training(const tape *t) { return t->training; }
ag_precision ag_computes(const tape *t) { return t->computes; }
long ag_bytes(const tape *t) { return arena_bytes(&t->work) + arena_bytes(&t->gradients.memory); }
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

void ag_record_many(tape *t, const ag_op *op, int nout, tensor *const *out, void *saved, int nin,
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
                ag_record_many(t, op, 1, &y, saved, nin, in);
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
        w->grad = pool_take(&w->tape->gradients, w->size);
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

void ag_add_to_grad(tensor *x, const real *g)
{
    real beta, *to = ag_grad_beta(x, &beta);
    for (long i = 0; i < x->size && !ag_spent(0); i++)
        to[i] = beta == 0 ? g[i] : to[i] + g[i];
}

/* A node whose outputs met no gradient is passed over, unless other ranks wait for it. */
void ag_backward_nodes(tape *t, long first)
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
                pool_give(&t->gradients, y->grad, y->size);
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
        ag_add_to_grad(roots[i], cotangents[i]);
    }
    ag_backward_nodes(t, 0);
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
