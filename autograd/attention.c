/* attention.c - y = softmax(scale q k' + bias + mask) v, in heads.  Vaswani et al. 2017, eq. 1, section 3.2.
 *
 * q, y (B,Tq,D);  k, v (M,Tk,D), behind past_k, past_v (M,Tp,D) or behind what a cache holds: S keys in all.
 * Head h is columns h d .. h d + d - 1 of each (d = D/H), read in place with a leading dimension of D; batch
 * row b reads row m = memory_row[b] of keys and values. With P (Tq,S) the probabilities of one (b,h), and P~
 * those after dropout:   dV = P~' dY,   dP = drop(dY V'),   dS = P * (dP - rowsum(P * dP)),
 *                        dQ = scale dS K,   dK = scale dS' Q,   and dbias sums dS over b.
 * A thread owns one (m,h): it walks the batch rows that read m, in order, so nothing is shared and the bits
 * do not depend on the number of threads. P is kept for backward, dropout is drawn again. */
#include "autograd/internal.h"
#include <string.h>

typedef struct part {                                      /* past keys and values, or the new ones */
    const real *k, *v;
    long T, stride;                                        /* keys of a memory row; elements to the next */
    real *dk, *dv, into_k, into_v;                         /* NULL: not wanted; 0 overwrites, 1 adds */
} part;

typedef struct attention {
    long B, M, Tq, S, D, H, d;
    double scale;
    bool causal;
    const ag_mask *mask;
    const real *bias;                                      /* (H,Tq,S) */
    const int *memory_row;                                 /* (B) */
    const ag_dropper *drop;                                /* NULL: nothing is dropped */
    real *probs;                                           /* (B,H,Tq,S), NULL: nobody asks for them later */
    int parts;
    part part[2];
} attention;

static long memory_of(const attention *a, long b) { return a->memory_row ? a->memory_row[b] : b; }

static bool worth_threads(const attention *a)
{
    return a->B * a->H * a->Tq * a->S * a->d > 4 * AG_PARALLEL_MIN;
}

/* to (Tq,S) = from with dropout; to may be from. */
static void drop_head(const attention *a, long b, long h, const real *from, real *to)
{
    uint64_t key = ag_dropper_key(a->drop, b);
    for (long band = 0; band * AG_BAND < a->Tq; band++)
        ag_drop_band(a->drop, key, (uint32_t)h, band, a->Tq, a->S, from, 0, to);
}

/* ---- forward ------------------------------------------------------------------------------------------- */
/* Row i of the scores: bias added, what may not be seen set to -inf. */
static void cover_row(const attention *a, long b, long h, long i, real *x)
{
    const ag_mask *m = a->mask;
    const unsigned char *may = m ? m->may + ((m->B > 1 ? b : 0) * m->Tq + (m->Tq > 1 ? i : 0)) * a->S : NULL;
    const real *bias = a->bias ? a->bias + (h * a->Tq + i) * a->S : NULL;
    long end = a->causal ? i + a->S - a->Tq + 1 : a->S;    /* keys from here on lie in the future */
    if (bias)
        for (long j = 0; j < a->S; j++)
            x[j] += bias[j];
    if (may)
        for (long j = 0; j < a->S; j++)
            x[j] = may[j] ? x[j] : -(real)INFINITY;
    for (long j = end > 0 ? end : 0; j < a->S; j++)
        x[j] = -(real)INFINITY;
}

/* One (b,h). mine (Tq,S) is scratch for what is not kept. */
static void head_forward(const attention *a, long b, long h, const real *q, real *mine, real *y)
{
    long at = b * a->Tq * a->D + h * a->d, m = memory_of(a, b), from = 0;
    real *P = a->probs ? a->probs + (b * a->H + h) * a->Tq * a->S : mine, *weights = a->drop ? mine : P;
    for (int i = 0; i < a->parts; from += a->part[i++].T)                  /* scale Q K' */
        ag_gemm_one(false, true, a->Tq, a->part[i].T, a->d, a->scale, q + at, a->D,
                    a->part[i].k + m * a->part[i].stride + h * a->d, a->D, 0, P + from, a->S);
    for (long i = 0; i < a->Tq; i++) {
        cover_row(a, b, h, i, P + i * a->S);
        ag_softmax_row(a->S, P + i * a->S, P + i * a->S);
    }
    if (a->drop)
        drop_head(a, b, h, P, weights);
    from = 0;
    for (int i = 0; i < a->parts; from += a->part[i++].T)                  /* P~ V */
        ag_gemm_one(false, false, a->Tq, a->d, a->part[i].T, 1, weights + from, a->S,
                    a->part[i].v + m * a->part[i].stride + h * a->d, a->D, i > 0, y + at, a->D);
}

/* scratch holds (Tq,S) for each thread. */
static void attention_cpu(const attention *a, const real *q, real *scratch, real *y)
{
    #pragma omp parallel if (worth_threads(a))
    {
        real *mine = scratch + ag_thread() * a->Tq * a->S;
        #pragma omp for schedule(dynamic)
        for (long i = 0; i < a->B * a->H; i++)
            head_forward(a, i / a->H, i % a->H, q, mine, y);
    }
}

/* ---- backward ------------------------------------------------------------------------------------------ */
/* One (b,h). first: no batch row before b reads the same memory. work (Tq,S) is scratch, dS (Tq,S) kept. */
static void head_backward(const attention *a, long b, long h, bool first, const real *q, const real *dy,
                          real *work, real *dS, real *dq, real into_q)
{
    long at = b * a->Tq * a->D + h * a->d, m = memory_of(a, b), from = 0;
    const real *P = a->probs + (b * a->H + h) * a->Tq * a->S, *weights = a->drop ? work : P;
    if (a->drop)
        drop_head(a, b, h, P, work);
    for (int i = 0; i < a->parts; from += a->part[i++].T) {
        const part *p = &a->part[i];
        long place = m * p->stride + h * a->d;
        if (p->dv)                                                         /* P~' dY */
            ag_gemm_one(true, false, p->T, a->d, a->Tq, 1, weights + from, a->S, dy + at, a->D,
                        first ? p->into_v : 1, p->dv + place, a->D);
        ag_gemm_one(false, true, a->Tq, p->T, a->d, 1, dy + at, a->D, p->v + place, a->D, 0, dS + from, a->S);
    }
    if (a->drop)
        drop_head(a, b, h, dS, dS);
    for (long i = 0; i < a->Tq; i++)
        ag_softmax_back_row(a->S, P + i * a->S, dS + i * a->S, 0, dS + i * a->S);
    from = 0;
    for (int i = 0; i < a->parts; from += a->part[i++].T) {
        const part *p = &a->part[i];
        long place = m * p->stride + h * a->d;
        if (dq)                                                            /* scale dS K */
            ag_gemm_one(false, false, a->Tq, a->d, p->T, a->scale, dS + from, a->S, p->k + place, a->D,
                        i > 0 ? 1 : into_q, dq + at, a->D);
        if (p->dk)                                                         /* scale dS' Q */
            ag_gemm_one(true, false, p->T, a->d, a->Tq, a->scale, dS + from, a->S, q + at, a->D,
                        first ? p->into_k : 1, p->dk + place, a->D);
    }
}

/* Memory that nobody read: what would have been overwritten becomes zero. */
static void head_unread(const attention *a, long m, long h)
{
    for (int i = 0; i < a->parts; i++)
        for (long j = 0; j < a->part[i].T; j++) {
            const part *p = &a->part[i];
            long place = m * p->stride + j * a->D + h * a->d;
            if (p->dk && p->into_k == 0)
                memset(p->dk + place, 0, (size_t)a->d * sizeof(real));
            if (p->dv && p->into_v == 0)
                memset(p->dv + place, 0, (size_t)a->d * sizeof(real));
        }
}

/* all (B,H,Tq,S) takes every dS, for the bias; NULL: scratch, two (Tq,S) a thread, holds one at a time. */
static void attention_back_cpu(const attention *a, bool threads, const real *q, const real *dy, real *scratch,
                               real *all, real *dq, real into_q)
{
    long area = a->Tq * a->S;
    #pragma omp parallel if (threads && worth_threads(a))
    {
        real *work = scratch + 2 * ag_thread() * area;
        #pragma omp for schedule(dynamic)
        for (long i = 0; i < a->M * a->H; i++) {
            long m = i / a->H, h = i % a->H;
            bool first = true;
            for (long b = 0; b < a->B; b++) {
                if (memory_of(a, b) != m)
                    continue;
                real *dS = all ? all + (b * a->H + h) * area : work + area;
                head_backward(a, b, h, first, q, dy, work, dS, dq, into_q);
                first = false;
            }
            if (first)
                head_unread(a, m, h);
        }
    }
}

enum { Q, K, V, PAST_K, PAST_V, BIAS, INPUTS };

/* One tensor in two places: then its gradient has no single owner, and one thread adds to it. */
static bool has_twins(tensor *const *in)
{
    for (int i = Q; i < BIAS; i++)
        for (int j = i + 1; in[i] && j < BIAS; j++)
            if (in[j] && (in[i]->whole ? in[i]->whole : in[i]) == (in[j]->whole ? in[j]->whole : in[j]))
                return true;
    return false;
}

static real *gradient(tensor *x, bool add, real *into)
{
    *into = 1;
    return add ? ag_grad(x) : ag_grad_beta(x, into);
}

static void backward(const ag_node *n)
{
    attention a = *(const attention *)n->saved;
    tensor **in = n->in;
    bool twins = has_twins(in);
    real into_q, *dq = gradient(in[Q], twins, &into_q);
    for (int i = 0; i < a.parts; i++) {
        bool past = in[PAST_K] && i == 0;
        a.part[i].dk = gradient(in[past ? PAST_K : K], twins, &a.part[i].into_k);
        a.part[i].dv = gradient(in[past ? PAST_V : V], twins, &a.part[i].into_v);
    }
    ag_mark mark = ag_here(n->tape);
    long area = a.Tq * a.S;
    real *dbias = ag_grad(in[BIAS]), *all = dbias ? ag_alloc_real(n->tape, a.B * a.H * area) : NULL;
    real *scratch = ag_alloc_real(n->tape, 2 * ag_threads_now() * area);
    for (int i = 0; i < a.parts; i++)                      /* dP, and what is wanted of dQ, dK and dV */
        ag_spent((1 + (dq != NULL) + (a.part[i].dk != NULL) + (a.part[i].dv != NULL))
                 * 2.0 * (double)(a.B * a.Tq * a.part[i].T * a.D));
    AG_CALL(n->tape, attention_back)(&a, !twins, in[Q]->data, n->out->grad, scratch, all, dq, into_q);
    if (dbias)
        AG_CALL(n->tape, sum_axis)(1, a.B, a.H * area, 1, all, 1, dbias);
    ag_rewind(n->tape, mark);
}

/* ---- the checking example: every option on and off ----------------------------------------------------- */
enum { MASK = 1, ONE_MASK = 2, ROW_MASK = 4, CAUSAL = 8, WITH_BIAS = 16, PAST = 32, ROWS = 64, DROP = 128,
       SCALE = 256, PROBS = 512, TWINS = 1024, ONE = 2048, BIG = 4096, NO_QUERY = 8192, ALONE = 16384 };
static const int with[] = {
    0, MASK, CAUSAL, WITH_BIAS, PAST, ROWS, DROP, ONE, SCALE | PROBS, MASK | CAUSAL | PAST,
    WITH_BIAS | ROWS | DROP, PAST | ROWS | DROP | MASK, ONE_MASK | PAST | PROBS, ROW_MASK,
    SCALE | CAUSAL | WITH_BIAS, TWINS, TWINS | ROWS | PAST, BIG | MASK | DROP,
    BIG | ROWS | PAST | WITH_BIAS, BIG | TWINS | ROWS, NO_QUERY,
    NO_QUERY | ROWS | PAST | WITH_BIAS, ALONE | PAST,
};

static tensor *example(ag_probe *p, int variant)
{
    static const int rows[] = { 2, 0, 2, 2 };              /* nobody reads row 1 */
    tape *t = ag_probe_tape(p);
    int on = with[variant];
    long B = on & (ONE | ALONE) ? 1 : on & BIG ? 6 : on & ROWS ? 4 : 3;
    long M = on & ROWS && !(on & TWINS) ? 3 : B;
    long H = on & ONE ? 1 : 2, D = on & ONE ? 1 : on & BIG ? 64 : 6;
    long Tq = on & NO_QUERY ? 0 : on & ONE ? 1 : on & BIG ? 30 : 3;
    long Tk = on & TWINS ? Tq : on & ONE ? 2 : on & BIG ? 40 : 5;
    long Tp = on & PAST ? 2 : 0, S = Tp + Tk;
    tensor *q = ag_input(p, "q", DIMS(B, Tq, D)), *k = q, *v = q, *probs;
    if (!(on & TWINS)) {
        k = ag_input(p, "k", DIMS(M, Tk, D));
        v = ag_input(p, "v", DIMS(M, Tk, D));
    }
    ag_attn o = { .heads = (int)H, .causal = on & CAUSAL, .scale = on & SCALE ? 0.7 : 0, .drop = { 0.3, 5 } };
    if (on & WITH_BIAS)
        o.bias = ag_input(p, "bias", DIMS(H, Tq, S));
    if (on & PAST) {
        o.past_k = ag_input(p, "past_k", DIMS(M, Tp, D));
        o.past_v = ag_input(p, "past_v", DIMS(M, Tp, D));
    }
    if (on & (MASK | ONE_MASK | ROW_MASK))
        o.mask = ag_pick_mask(p, on & ONE_MASK ? 1 : B, on & ROW_MASK ? 1 : Tq, S);
    if (on & ROWS)
        o.memory_row = B == 4 ? rows : ag_pick_ids(p, B, M);
    if (on & PROBS)
        o.probs = &probs;
    ag_training(t, on & DROP);
    return ag_attention(t, q, k, v, &o);
}

const ag_op ag_op_attention = { "attention", backward, example, .variants = AG_COUNT(with) };

/* ---- the operation ------------------------------------------------------------------------------------- */
static void check_keys(const tensor *k, const ag_attn *o)
{
    const char *op = "attention";
    const tensor *pk = o->past_k, *pv = o->past_v;
    const ag_cache *c = o->cache;
    if (!pk != !pv || (pk && c))
        ag_fail(op, "past_k and past_v go together, and not with a cache");
    if (pk && (pk->ndim != 3 || pv->ndim != 3 || pk->dim[0] != k->dim[0] || pk->dim[2] != k->dim[2]
               || pv->dim[0] != pk->dim[0] || pv->dim[1] != pk->dim[1] || pv->dim[2] != pk->dim[2]))
        ag_fail(op, "k %s needs past_k and past_v (%ld,Tp,%ld), got %s and %s", SHAPE(k), k->dim[0],
                k->dim[2], SHAPE(pk), SHAPE(pv));
    if (c && (c->rows < k->dim[0] || c->width != k->dim[2] || c->length + k->dim[1] > c->capacity))
        ag_fail(op, "a cache (%ld,%ld,%ld) with %ld filled cannot take k %s", c->rows, c->capacity, c->width,
                c->length, SHAPE(k));
}

static void check(const tensor *q, const tensor *k, const tensor *v, const ag_attn *o, long S)
{
    const char *op = "attention";
    long B = q->dim[0], Tq = q->dim[1], D = q->dim[2];
    const tensor *bias = o->bias;
    const ag_mask *m = o->mask;
    if (k->dim[2] != D || v->dim[0] != k->dim[0] || v->dim[1] != k->dim[1] || v->dim[2] != D)
        ag_fail(op, "q (B,Tq,D) needs k and v (M,Tk,D), got %s, %s and %s", SHAPE(q), SHAPE(k), SHAPE(v));
    if (o->heads < 1 || D % o->heads)
        ag_fail(op, "%d heads do not divide a width of %ld", o->heads, D);
    if (m && ((m->B != 1 && m->B != B) || (m->Tq != 1 && m->Tq != Tq) || m->Tk != S))
        ag_fail(op, "q %s over %ld keys needs a mask (%ld or 1,%ld or 1,%ld), got (%ld,%ld,%ld)", SHAPE(q), S,
                B, Tq, S, m->B, m->Tq, m->Tk);
    if (bias && (bias->ndim != 3 || bias->dim[0] != o->heads || bias->dim[1] != Tq || bias->dim[2] != S))
        ag_fail(op, "q %s over %ld keys needs a bias (%d,%ld,%ld), got %s", SHAPE(q), S, o->heads, Tq, S,
                SHAPE(bias));
    for (long b = 0; b < B; b++) {
        long row = o->memory_row ? o->memory_row[b] : b;
        if (row < 0 || row >= k->dim[0])
            ag_fail(op, "row %ld of q %s reads row %ld of k %s", b, SHAPE(q), row, SHAPE(k));
    }
}

/* k and v behind what the cache holds; all of it is then attended to. */
static part append(const ag_cache *c, const tensor *k, const tensor *v)
{
    long run = k->dim[1] * c->width;
    for (long m = 0; m < k->dim[0]; m++) {
        long to = (m * c->capacity + c->length) * c->width;
        memcpy(c->k + to, k->data + m * run, (size_t)run * sizeof(real));
        memcpy(c->v + to, v->data + m * run, (size_t)run * sizeof(real));
    }
    return (part){ c->k, c->v, c->length + k->dim[1], c->capacity * c->width, .dk = NULL };
}

static part whole(const tensor *k, const tensor *v)
{
    return (part){ k->data, v->data, k->dim[1], k->dim[1] * k->dim[2], .dk = NULL };
}

tensor *ag_attention(tape *t, tensor *q, tensor *k, tensor *v, const ag_attn *o)
{
    AG_NO_FROZEN("attention", q, k, v, o->past_k, o->past_v, o->bias);
    if (q->ndim != 3 || k->ndim != 3 || v->ndim != 3)
        ag_fail("attention", "q (B,Tq,D) needs k and v (M,Tk,D), got %s, %s and %s", SHAPE(q), SHAPE(k),
                SHAPE(v));
    check_keys(k, o);
    long B = q->dim[0], Tq = q->dim[1], D = q->dim[2], H = o->heads;
    long S = (o->past_k ? o->past_k->dim[1] : o->cache ? o->cache->length : 0) + k->dim[1];
    check(q, k, v, o, S);
    tensor *in[INPUTS] = { q, k, v, o->past_k, o->past_v, o->bias };
    bool kept = ag_wants(t, INPUTS, in);
    if (kept && o->cache)
        ag_fail("attention", "a cache has no gradient: turn recording off");
    tensor *y = ag_new_like(t, q), *probs = o->probs ? ag_new(t, DIMS(B, H, Tq, S)) : NULL;
    if (probs)
        *o->probs = probs;
    attention *a = ag_alloc(t, sizeof *a);
    *a = (attention){
        .B = B, .M = k->dim[0], .Tq = Tq, .S = S, .D = D, .H = H, .d = D / H,
        .scale = o->scale != 0 ? o->scale : 1 / sqrt((double)(D / H)), .causal = o->causal, .mask = o->mask,
        .bias = o->bias ? o->bias->data : NULL,
        .memory_row = o->memory_row ? ag_ids(t, o->memory_row, B) : NULL,
        .drop = ag_dropper_new(t, "attention", o->drop, B),
        .probs = probs ? probs->data : kept ? ag_alloc_real(t, B * H * Tq * S) : NULL,
    };
    if (o->past_k)
        a->part[a->parts++] = whole(o->past_k, o->past_v);
    a->part[a->parts++] = o->cache ? append(o->cache, k, v) : whole(k, v);
    ag_mark mark = ag_here(t);
    real *scratch = ag_alloc_real(t, ag_threads_now() * Tq * S);
    ag_spent(4.0 * (double)(B * Tq * S * D));
    AG_CALL(t, attention)(a, q->data, scratch, y->data);
    ag_rewind(t, mark);
    return ag_record(t, &ag_op_attention, y, a, INPUTS, in);
}
