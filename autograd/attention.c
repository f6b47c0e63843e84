/* attention.c - y = softmax(scale q k' + bias + mask) v, in heads.  Vaswani et al. 2017, eq. 1 and section 3.2.2.
 * q (B,Tq,D);  k, v (M,Tk,D), with past_k, past_v (M,Tp,D) or a cache in front of them: S = Tp + Tk keys in all.
 * Head h is columns h d .. h d + d - 1 of all of them (d = D/H), read in place by a leading dimension of D; batch row b
 * reads row m = memory_row[b] of the keys and values. With P (Tq,S) the probabilities of one (b,h), P~ after dropout:
 *     dV = P~' dY,   dP = drop(dY V'),   dS = P * (dP - rowsum(P * dP)),   dQ = scale dS K,   dK = scale dS' Q,
 * and dbias sums dS over b. A thread owns one (m,h): it walks the batch rows that read m in order, so nothing is
 * shared, and the bits do not depend on the number of threads. P is kept for backward, dropout is drawn again.    */
#include "autograd/internal.h"
#include <math.h>
#include <string.h>

typedef struct part { const real *k, *v; real *dk, *dv; long T, stride; } part;    /* keys: past or new; stride of a row m */
struct saved {
    long B, M, Tq, S, D, H, d;
    double scale;
    bool causal;
    const ag_mask *mask;
    const real *bias;
    const int *memory_row;
    const ag_dropper *drop;
    real *probs;                                           /* (B,H,Tq,S) */
};

static real *probs_of(const struct saved *s, long b, long h)
{
    return s->probs + (b * s->H + h) * s->Tq * s->S;
}

static long memory_of(const struct saved *s, long b)
{
    return s->memory_row ? s->memory_row[b] : b;
}

/* Row i of the scores: bias added, what may not be seen set to -inf. */
static void cover_row(const struct saved *s, long b, long h, long i, real *x)
{
    const ag_mask *m = s->mask;
    const unsigned char *may = m ? m->may + ((m->B > 1 ? b : 0) * m->Tq + (m->Tq > 1 ? i : 0)) * s->S : NULL;
    const real *bias = s->bias ? s->bias + (h * s->Tq + i) * s->S : NULL;
    long end = s->causal ? i + s->S - s->Tq + 1 : s->S;
    if (bias)
        for (long j = 0; j < s->S; j++)
            x[j] += bias[j];
    if (may)
        for (long j = 0; j < s->S; j++)
            x[j] = may[j] ? x[j] : -(real)INFINITY;
    for (long j = end > 0 ? end : 0; j < s->S; j++)
        x[j] = -(real)INFINITY;
}

static void drop_head(const struct saved *s, long b, long h, const real *from, real *to)
{
    for (long band = 0; band * 8 < s->Tq; band++)
        ag_drop_band(s->drop, ag_dropper_key(s->drop, b), (uint32_t)h, band, s->Tq, s->S, from, 0, to);
}

/* One (b,h): probabilities into P, then y. dropped (Tq,S) is scratch, or P where nothing is dropped. */
static void head_forward(const struct saved *s, const part parts[2], long b, long h, const real *q, real *dropped, real *y)
{
    long from = 0, at = b * s->Tq * s->D + h * s->d, m = memory_of(s, b);
    real *P = probs_of(s, b, h);
    for (int i = 0; i < 2; from += parts[i++].T)
        ag_gemm_one(false, true, s->Tq, parts[i].T, s->d, s->scale, q + at, s->D,
                    parts[i].k + m * parts[i].stride + h * s->d, s->D, 0, P + from, s->S);
    for (long i = 0; i < s->Tq; i++) {
        cover_row(s, b, h, i, P + i * s->S);
        ag_softmax_row(s->S, P + i * s->S, P + i * s->S);
    }
    if (s->drop)
        drop_head(s, b, h, P, dropped);
    const real *weights = s->drop ? dropped : P;
    bool wrote = false;
    for (int i = 0, before = 0; i < 2; before += (int)parts[i++].T) {
        if (!parts[i].T)
            continue;
        ag_gemm_one(false, false, s->Tq, s->d, parts[i].T, 1, weights + before, s->S,
                    parts[i].v + m * parts[i].stride + h * s->d, s->D, wrote, y + at, s->D);
        wrote = true;
    }
    for (long i = 0; !wrote && i < s->Tq; i++)             /* no keys at all */
        memset(y + at + i * s->D, 0, (size_t)s->d * sizeof *y);
}

static void attention_cpu(const struct saved *s, const part parts[2], const real *q, real *scratch, real *y)
{
    long area = s->Tq * s->S;
    #pragma omp parallel if (s->B * s->H * area * s->d > 4 * AG_PARALLEL_MIN)
    {
        real *mine = s->drop ? scratch + ag_thread() * area : NULL;
        #pragma omp for schedule(dynamic)
        for (long i = 0; i < s->B * s->H; i++)
            head_forward(s, parts, i / s->H, i % s->H, q, mine, y);
    }
}

/* ---- backward ------------------------------------------------------------------------------------------------------ */
/* One (b,h): dQ, dK, dV are added to; dS (Tq,S) stays where it is asked for. work (Tq,S) is scratch. */
static void head_backward(const struct saved *s, const part parts[2], long b, long h, const real *q, const real *dy,
                          real *work, real *dS, real *dq)
{
    long at = b * s->Tq * s->D + h * s->d, m = memory_of(s, b), area = s->Tq * s->S, from = 0;
    const real *P = probs_of(s, b, h), *weights = P;
    if (s->drop) {
        drop_head(s, b, h, P, work);
        weights = work;
    }
    for (int i = 0; i < 2; from += parts[i++].T) {
        long place = m * parts[i].stride + h * s->d;
        if (parts[i].dv)                                   /* dV = P~' dY */
            ag_gemm_one(true, false, parts[i].T, s->d, s->Tq, 1, weights + from, s->S, dy + at, s->D, 1,
                        parts[i].dv + place, s->D);
        ag_gemm_one(false, true, s->Tq, parts[i].T, s->d, 1, dy + at, s->D, parts[i].v + place, s->D, 0, dS + from, s->S);
    }
    if (s->drop) {
        drop_head(s, b, h, dS, work);
        memcpy(dS, work, (size_t)area * sizeof *dS);
    }
    for (long i = 0; i < s->Tq; i++)
        ag_softmax_back_row(s->S, P + i * s->S, dS + i * s->S, 0, dS + i * s->S);
    from = 0;
    for (int i = 0; i < 2; from += parts[i++].T) {
        long place = m * parts[i].stride + h * s->d;
        if (dq)
            ag_gemm_one(false, false, s->Tq, s->d, parts[i].T, s->scale, dS + from, s->S, parts[i].k + place, s->D, 1,
                        dq + at, s->D);
        if (parts[i].dk)
            ag_gemm_one(true, false, parts[i].T, s->d, s->Tq, s->scale, dS + from, s->S, q + at, s->D, 1,
                        parts[i].dk + place, s->D);
    }
}

/* all (B,H,Tq,S) keeps every dS for the bias; NULL: a thread's scratch holds one at a time. */
static void attention_back_cpu(const struct saved *s, const part parts[2], const real *q, const real *dy, real *scratch,
                               real *all, real *dq)
{
    long area = s->Tq * s->S;
    #pragma omp parallel if (s->B * s->H * area * s->d > 4 * AG_PARALLEL_MIN)
    {
        real *work = scratch + 2 * ag_thread() * area;
        #pragma omp for schedule(dynamic)
        for (long i = 0; i < s->M * s->H; i++)
            for (long b = 0; b < s->B; b++)
                if (memory_of(s, b) == i / s->H)
                    head_backward(s, parts, b, i % s->H, q, dy, work,
                                  all ? all + (b * s->H + i % s->H) * area : work + area, dq);
    }
}

static void bias_back_cpu(long B, long n, const real *all, real *dbias)            /* n = H Tq S */
{
    #pragma omp parallel for if (B * n > AG_PARALLEL_MIN)
    for (long i = 0; i < n; i++) {
        double sum = 0;
        for (long b = 0; b < B; b++)
            sum += all[b*n + i];
        dbias[i] += (real)sum;
    }
}

enum { Q, K, V, BIAS, PAST_K, PAST_V, INPUTS };

static void backward(const ag_node *n)
{
    const struct saved *s = n->saved;
    tensor **in = n->in;
    ag_mark mark = ag_here(n->tape);
    part parts[2] = { { 0 }, { in[K]->data, in[V]->data, ag_grad(in[K]), ag_grad(in[V]), in[K]->dim[1], in[K]->dim[1] * s->D } };
    if (in[PAST_K])
        parts[0] = (part){ in[PAST_K]->data, in[PAST_V]->data, ag_grad(in[PAST_K]), ag_grad(in[PAST_V]),
                           in[PAST_K]->dim[1], in[PAST_K]->dim[1] * s->D };
    long area = s->Tq * s->S;
    real *dbias = ag_grad(in[BIAS]), *all = dbias ? ag_alloc_real(n->tape, s->B * s->H * area) : NULL;
    real *scratch = ag_alloc_real(n->tape, 2 * ag_threads_now() * area);
    AG_CALL(n->tape, attention_back)(s, parts, in[Q]->data, n->out->grad, scratch, all, ag_grad(in[Q]));
    if (dbias)
        AG_CALL(n->tape, bias_back)(s->B, s->H * area, all, dbias);
    ag_rewind(n->tape, mark);
}

/* ---- the checking example: every option on and off --------------------------------------------------------------------- */
static tensor *example(ag_probe *p, int variant)
{
    enum { MASK = 1, CAUSAL = 2, WITH_BIAS = 4, PAST = 8, ROWS = 16, DROP = 32, ONE_MASK = 64, SCALE = 128 };
    static const int with[] = { 0, MASK, CAUSAL, WITH_BIAS, PAST, ROWS, DROP, MASK | CAUSAL | PAST, WITH_BIAS | ROWS | DROP,
                                PAST | ROWS | DROP | MASK, ONE_MASK | PAST, SCALE | CAUSAL | WITH_BIAS, 0, MASK | DROP };
    static const int rows[] = { 1, 0, 1, 1 };
    tape *t = ag_probe_tape(p);
    int on = with[variant];
    bool big = variant == 13, one = variant == 12;
    long B = one ? 1 : big ? 6 : 4, M = on & ROWS ? 2 : B, H = one ? 1 : 2, D = one ? 1 : big ? 64 : 6;
    long Tq = one ? 1 : big ? 30 : 3, Tk = one ? 2 : big ? 40 : 5, Tp = on & PAST ? 2 : 0, S = Tp + Tk;
    tensor *q = ag_input(p, "q", DIMS(B, Tq, D)), *k = ag_input(p, "k", DIMS(M, Tk, D)), *v = ag_input(p, "v", DIMS(M, Tk, D));
    ag_attn o = { .heads = (int)H, .causal = on & CAUSAL, .scale = on & SCALE ? 0.7 : 0 };
    if (on & WITH_BIAS)
        o.bias = ag_input(p, "bias", DIMS(H, Tq, S));
    if (on & PAST) {
        o.past_k = ag_input(p, "past_k", DIMS(M, Tp, D));
        o.past_v = ag_input(p, "past_v", DIMS(M, Tp, D));
    }
    if (on & (MASK | ONE_MASK))
        o.mask = ag_pick_mask(p, on & MASK ? B : 1, on & MASK ? Tq : 1, S);
    if (on & ROWS)
        o.memory_row = rows;
    if (on & DROP) {
        ag_training(t, true);
        o.drop = (ag_drop){ 0.3, 5 };
    }
    return ag_attention(t, q, k, v, &o);
}

const ag_op ag_op_attention = { "attention", backward, example, .variants = 14 };

/* ---- the operation -------------------------------------------------------------------------------------------------------- */
static void check(const tensor *q, const tensor *k, const tensor *v, const ag_attn *o)
{
    const char *op = "attention";
    if (q->ndim != 3 || k->ndim != 3 || v->ndim != 3 || k->dim[0] != v->dim[0] || k->dim[1] != v->dim[1]
        || q->dim[2] != k->dim[2] || k->dim[2] != v->dim[2])
        ag_fail(op, "q (B,Tq,D) needs k and v (M,Tk,D), got %s, %s and %s", SHAPE(q), SHAPE(k), SHAPE(v));
    long B = q->dim[0], Tq = q->dim[1], D = q->dim[2], M = k->dim[0];
    if (o->heads < 1 || D % o->heads)
        ag_fail(op, "%d heads do not divide a width of %ld", o->heads, D);
    if (!o->past_k != !o->past_v || (o->past_k && o->cache))
        ag_fail(op, "past_k and past_v go together, and not with a cache");
    if (o->past_k && (o->past_k->ndim != 3 || o->past_k->dim[0] != M || o->past_k->dim[2] != D
                      || o->past_v->ndim != 3 || o->past_v->size != o->past_k->size))
        ag_fail(op, "k %s needs past_k and past_v (M,Tp,D), got %s and %s", SHAPE(k), SHAPE(o->past_k), SHAPE(o->past_v));
    if (o->cache && (o->cache->rows < M || o->cache->width != D || o->cache->length + k->dim[1] > o->cache->capacity))
        ag_fail(op, "a cache of %ld rows, width %ld, %ld of %ld filled, cannot take k %s", o->cache->rows, o->cache->width,
                o->cache->length, o->cache->capacity, SHAPE(k));
    long S = k->dim[1] + (o->past_k ? o->past_k->dim[1] : 0) + (o->cache ? o->cache->length : 0);
    const ag_mask *m = o->mask;
    if (m && ((m->B != 1 && m->B != B) || (m->Tq != 1 && m->Tq != Tq) || m->Tk != S))
        ag_fail(op, "q %s over %ld keys needs a mask (B or 1,Tq or 1,%ld), got (%ld,%ld,%ld)", SHAPE(q), S, S, m->B, m->Tq, m->Tk);
    if (o->bias && (o->bias->ndim != 3 || o->bias->dim[0] != o->heads || o->bias->dim[1] != Tq || o->bias->dim[2] != S))
        ag_fail(op, "bias (%d,%ld,%ld) expected, got %s", o->heads, Tq, S, SHAPE(o->bias));
    for (long b = 0; b < B; b++)
        if (o->memory_row ? o->memory_row[b] < 0 || o->memory_row[b] >= M : b >= M)
            ag_fail(op, "row %ld of q %s reads row %d of k %s", b, SHAPE(q), o->memory_row ? o->memory_row[b] : (int)b, SHAPE(k));
}

/* k and v behind what the cache holds; all of it is then attended to. */
static part append(ag_cache *c, const tensor *k, const tensor *v)
{
    long D = c->width, T = k->dim[1], bytes = T * D * (long)sizeof(real);
    for (long m = 0; m < k->dim[0]; m++) {
        long to = (m * c->capacity + c->length) * D;
        memcpy(c->k + to, k->data + m*T*D, (size_t)bytes);
        memcpy(c->v + to, v->data + m*T*D, (size_t)bytes);
    }
    return (part){ c->k, c->v, NULL, NULL, c->length + T, c->capacity * D };
}

tensor *ag_attention(tape *t, tensor *q, tensor *k, tensor *v, const ag_attn *o)
{
    check(q, k, v, o);
    tensor *in[INPUTS] = { q, k, v, o->bias, o->past_k, o->past_v };
    bool kept = ag_wants(t, INPUTS, in);
    if (kept && o->cache)
        ag_fail("attention", "a cache has no gradient: turn recording off");
    long B = q->dim[0], Tq = q->dim[1], D = q->dim[2], Tk = k->dim[1], H = o->heads;
    part parts[2] = { { 0 }, { k->data, v->data, NULL, NULL, Tk, Tk * D } };
    if (o->past_k)
        parts[0] = (part){ o->past_k->data, o->past_v->data, NULL, NULL, o->past_k->dim[1], o->past_k->dim[1] * D };
    if (o->cache)
        parts[1] = append(o->cache, k, v);
    long S = parts[0].T + parts[1].T, *dims = (long[]){ B, H, Tq, S };
    tensor *y = ag_new_like(t, q), *probs = o->probs ? *o->probs = ag_new(t, 4, dims) : NULL;
    struct saved *s = ag_alloc(t, sizeof *s);
    *s = (struct saved){ B, k->dim[0], Tq, S, D, H, D / H, o->scale != 0 ? o->scale : 1 / sqrt((double)D / (double)H), o->causal,
                         o->mask, o->bias ? o->bias->data : NULL, o->memory_row ? ag_ids(t, o->memory_row, B) : NULL,
                         ag_dropper_new(t, "attention", o->drop, B), NULL };
    if (kept)
        s->probs = probs ? probs->data : ag_alloc_real(t, B * H * Tq * S);
    ag_mark mark = ag_here(t);
    if (!kept)
        s->probs = probs ? probs->data : ag_alloc_real(t, B * H * Tq * S);
    real *scratch = s->drop ? ag_alloc_real(t, ag_threads_now() * Tq * S) : NULL;
    AG_CALL(t, attention)(s, parts, q->data, scratch, y->data);
    ag_rewind(t, mark);
    return ag_record(t, &ag_op_attention, y, s, INPUTS, in);
}
