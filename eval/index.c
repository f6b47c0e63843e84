/* index.c - features of many pictures or texts in a file, and the nearest of them to a text or a picture. */
#include "eval/index.h"
#include "data/json.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { GROUP = 32 };

/* ---- whose features they are ------------------------------------------------------------------------- */
/* XXH3 of all parameters with their names. As floats: both builds see the same in one model file. */
static void digest_of(const nn_store *s, char to[20])
{
    enum { PIECE = 4096 };
    float piece[PIECE];
    XXH3_state_t *x = XXH3_createState();
    if (x)
        XXH3_64bits_reset(x);
    for (long i = 0; x && i < s->count; i++) {
        const tensor *value = s->entries[i].value;
        const ag_frozen *w = value->frozen;
        XXH3_64bits_update(x, s->entries[i].name, strlen(s->entries[i].name) + 1);
        if (w)
            XXH3_64bits_update(x, w->data, (size_t)(w->N * w->K * (w->type == AG_INT8 ? 1 : 2)));
        if (w && w->scale)
            XXH3_64bits_update(x, w->scale, (size_t)w->N * sizeof *w->scale);
        for (long at = 0; !w && at < value->size; at += PIECE) {
            long n = value->size - at < PIECE ? value->size - at : PIECE;
            for (long k = 0; k < n; k++)
                piece[k] = (float)value->data[at + k];
            XXH3_64bits_update(x, piece, (size_t)n * sizeof *piece);
        }
    }
    snprintf(to, 20, "%016" PRIx64, x ? (uint64_t)XXH3_64bits_digest(x) : 0);
    XXH3_freeState(x);
}

/* Numbers that are none would rank as they please. */
static bool all_finite(const real *x, long n)
{
    bool finite = true;
    for (long i = 0; i < n; i++)
        finite &= isfinite(x[i]) != 0;
    return finite;
}

/* ---- making ---------------------------------------------------------------------------------------- */
typedef struct making {
    eval_session *s;
    const char *const *names;
    long n;
    real *to;
    error *e;
    bool ok;
} making;

static void encode_images(void *context)
{
    making *m = context;
    const blip2_config *c = &m->s->model.config;
    long N = eval_tokens(c), row = c->qformer.queries * c->embed;
    real *features = ag_alloc_real(m->s->t, m->n * N * c->vision.width);
    m->ok = eval_features(m->s, m->names, m->n, features, m->e);
    if (m->ok)
        memcpy(m->to, eval_image_features(&m->s->model, m->s->t, features, m->n, N),
               (size_t)(m->n * row) * sizeof *m->to);
}

static void encode_texts(void *context)
{
    making *m = context;
    blip2_text texts;
    m->ok = eval_texts(m->s, m->names, m->n, m->s->reference, &texts, m->e);
    if (m->ok)
        memcpy(m->to, eval_text_features(&m->s->model, m->s->t, texts),
               (size_t)(m->n * m->s->model.config.embed) * sizeof *m->to);
}

/* n of names -> to, on a tape that is left as it was. */
static bool encode(eval_session *s, bool images, const char *const *names, long n, real *to, error *e)
{
    making m = { s, names, n, to, e, false };
    ag_mark here = ag_here(s->t);
    bool ok = ag_try(s->t, images ? encode_images : encode_texts, &m, e) && m.ok;
    ag_rewind(s->t, here);
    return ok;
}

static char *names_text(const char *const *names, long n)
{
    json_t *list = json_array();
    for (long i = 0; i < n; i++) {
        json_t *name = json_string(names[i]);
        json_array_append_new(list, name ? name : json_string(QUOTE(names[i])));
    }
    char *dump = json_dumps(list, JSON_COMPACT), *text = dump ? mem_text("%s", dump) : NULL;
    free(dump);
    json_decref(list);
    return text;
}

/* n <= GROUP of names from the i-th on -> features behind the x->n that are there. Where they fail together
 * each is tried alone, and one that fails alone is told and left out. False: nobody listens. */
static bool add_group(eval_session *s, const eval_index_job *job, long i, long n, eval_index *x, error *e)
{
    long row = x->Q * x->embed;
    if (encode(s, x->images, job->names + i, n, x->features + x->n * row, e)) {
        for (long k = 0; k < n; k++)
            x->names[x->n++] = (char *)job->names[i + k];
        return true;
    }
    if (n == 1 && job->bad)
        job->bad(job->context, e);
    if (n == 1)
        return job->bad != NULL;
    for (long k = 0; k < n; k++)
        if (!add_group(s, job, i + k, 1, x, e))
            return false;
    return true;
}

static bool encode_all(eval_session *s, const eval_index_job *job, eval_index *x, error *e)
{
    for (long i = 0; i < job->n; i += GROUP) {
        long some = job->n - i < GROUP ? job->n - i : GROUP, had = x->n, row = x->Q * x->embed;
        if (!add_group(s, job, i, some, x, e))
            return false;
        for (long k = had; k < x->n; k++)
            if (!all_finite(x->features + k * row, row))
                return error_set(e, "embed: the features of %s are not finite: the model is not whole",
                                 QUOTE(x->names[k]));
        if (job->done)
            job->done(job->context, i + some);
    }
    return x->n || error_set(e, "embed: none of %ld could be read", job->n);
}

long eval_index_make(eval_session *s, const eval_index_job *job, const char *out, error *e)
{
    const blip2_config *c = &s->model.config;
    char digest[20];
    eval_index x = { .images = job->images, .Q = job->images ? c->qformer.queries : 1, .embed = c->embed };
    x.features = mem_new((size_t)(job->n * x.Q * x.embed) * sizeof *x.features);
    x.names = mem_new((size_t)job->n * sizeof *x.names);
    h5_out *f = h5_create(out, e);                         /* before hours of work */
    bool ok = f && ((x.features && x.names) || error_set(e, "%s: out of memory for %ld features", QUOTE(out),
                                                         job->n));
    ok = ok && encode_all(s, job, &x, e);
    char *list = ok ? names_text((const char *const *)x.names, x.n) : NULL;
    ok = ok && (list || error_set(e, "%s: out of memory for %ld names", QUOTE(out), x.n));
    if (ok) {
        long dim[3] = { x.n, x.images ? x.Q : x.embed, x.embed };
        h5_write(f, "features", H5_REALS, x.images ? 3 : 2, dim, x.features);
        h5_write_text(f, "format", "blip2 index");
        h5_write_text(f, "kind", x.images ? "images" : "texts");
        h5_write_text(f, "model", job->model);
        digest_of(s->model.store, digest);
        h5_write_text(f, "weights_xxh3", digest);
        h5_write_text(f, "names", list);
        ok = h5_finish(f, e);
    } else if (f)
        h5_abandon(f);
    mem_free(x.features);
    mem_free(x.names);
    mem_free(list);
    return ok ? x.n : -1;
}

/* ---- opening --------------------------------------------------------------------------------------- */
static bool read_names(eval_index *x, h5 *f, error *e)
{
    char *text = h5_text(f, "", "names", e);
    json_t *list = text ? data_json(QUOTE(h5_path(f)), 1, text, (long)strlen(text), 100 * 1000 * 1000, e)
                        : NULL;
    bool ok = list && ((long)json_array_size(list) == x->n
                       || error_set(e, "%s: names: expected a list of %ld", QUOTE(h5_path(f)), x->n));
    x->names = ok ? mem_new((size_t)x->n * sizeof *x->names) : NULL;
    for (long i = 0; ok && i < x->n; i++) {
        const char *name = json_string_value(json_array_get(list, (size_t)i));
        x->names[i] = name ? mem_text("%s", name) : NULL;
        ok = x->names[i] || error_set(e, "%s: names: entry %ld: expected a text", QUOTE(h5_path(f)), i);
    }
    json_decref(list);
    mem_free(text);
    return ok;
}

/* An index of an earlier version does not say which weights made it. */
static bool read_maker(eval_index *x, h5 *f, const blip2_model *m, error *e)
{
    char own[20];
    error none;
    char *maker = h5_text(f, "", "weights_xxh3", &none);
    x->named = maker != NULL;
    if (maker)
        digest_of(m->store, own);
    bool same = !maker || !strcmp(maker, own);
    if (!same)
        error_set(e, "%s: weights_xxh3: made by another model, or before it was trained on; expected %s, "
                  "found %s; `blip2 embed` makes it anew", QUOTE(h5_path(f)), own, QUOTE(maker));
    mem_free(maker);
    return same;
}

static bool read_index(eval_index *x, h5 *f, const blip2_model *m, error *e)
{
    const char *path = h5_path(f);
    const blip2_config *c = &m->config;
    h5_shape shape;
    error none;
    char *format = h5_text(f, "", "format", &none), *kind = h5_text(f, "", "kind", &none);
    bool right = format && kind && !strcmp(format, "blip2 index");
    x->images = right && !strcmp(kind, "images");
    mem_free(format);
    mem_free(kind);
    if (!right)
        return error_set(e, "%s: no index of this program; `blip2 embed` makes one", QUOTE(path));
    if (!h5_find(f, "features", &shape, e))
        return false;
    long Q = x->images ? c->qformer.queries : 1;
    if (shape.ndim != (x->images ? 3 : 2) || shape.dim[0] < 1 || shape.dim[shape.ndim - 1] != c->embed
        || (x->images && shape.dim[1] != Q))
        return error_set(e, "%s: features: made by another model; expected %ld x %ld numbers a %s",
                         QUOTE(path), Q, c->embed, x->images ? "picture" : "text");
    x->n = shape.dim[0];
    x->Q = Q;
    x->embed = c->embed;
    x->features = mem_new((size_t)shape.size * sizeof *x->features);
    if (!x->features)
        return error_set(e, "%s: out of memory for %ld features", QUOTE(path), x->n);
    return h5_read(f, "features", H5_REALS, shape.ndim, shape.dim, x->features, e)
        && (all_finite(x->features, shape.size)
            || error_set(e, "%s: features: not all are finite numbers; `blip2 embed` makes them anew",
                         QUOTE(path)))
        && read_maker(x, f, m, e) && read_names(x, f, e);
}

bool eval_index_open(eval_index *x, const char *path, const blip2_model *m, error *e)
{
    *x = (eval_index){ 0 };
    h5 *f = h5_open(path, e);
    bool ok = f && read_index(x, f, m, e);
    h5_close(f);
    if (!ok)
        eval_index_close(x);
    return ok;
}

void eval_index_close(eval_index *x)
{
    for (long i = 0; x->names && i < x->n; i++)
        mem_free(x->names[i]);
    mem_free(x->names);
    mem_free(x->features);
    *x = (eval_index){ 0 };
}

/* ---- searching ------------------------------------------------------------------------------------- */
/* The best pair of one's rows and the other's: a picture has Q, a text one. */
static double nearness(const real *a, long rows_a, const real *b, long rows_b, long embed)
{
    double best = -INFINITY;
    for (long i = 0; i < rows_a; i++)
        for (long j = 0; j < rows_b; j++) {
            double sum = 0;
            for (long k = 0; k < embed; k++)
                sum += (double)a[i * embed + k] * (double)b[j * embed + k];
            best = fmax(best, sum);
        }
    return best;
}

static int by_itc(const void *a, const void *b)
{
    const eval_hit *x = a, *y = b;
    if (x->itc != y->itc)
        return x->itc > y->itc ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static int by_itm(const void *a, const void *b)
{
    const eval_hit *x = a, *y = b;
    if (x->itm != y->itm)
        return x->itm > y->itm ? -1 : 1;
    return by_itc(a, b);
}

typedef struct matching {
    eval_session *s;
    const eval_index *x;
    const char *query;
    eval_hit *hits;
    long n;
    error *e;
    bool ok;
} matching;

/* One picture with each text: the query's picture with found texts, or found pictures with the query's
 * text. */
static void match_all(void *context)
{
    matching *m = context;
    eval_session *s = m->s;
    const blip2_config *c = &s->model.config;
    long N = eval_tokens(c);
    real *features = ag_alloc_real(s->t, N * c->vision.width);
    m->ok = true;
    for (long i = 0; i < m->n && m->ok; i++) {
        ag_mark here = ag_here(s->t);
        const char *found = m->x->names[m->hits[i].at], *image = m->x->images ? found : m->query;
        const char *text = m->x->images ? m->query : found;
        blip2_text words;
        eval_match match;
        m->ok = ((i && !m->x->images) || eval_features(s, &image, 1, features, m->e))
             && eval_texts(s, &text, 1, s->reference, &words, m->e);
        if (m->ok) {
            eval_match_texts(&s->model, s->t, features, N, words, &match);
            m->hits[i].itm = match.itm;
        }
        ag_rewind(s->t, here);
    }
}

long eval_search(eval_session *s, const eval_index *x, const char *query, bool shown, long most, long rerank,
                 eval_hit *to, error *e)
{
    long rows = shown ? s->model.config.qformer.queries : 1;
    real *own = mem_new((size_t)(rows * x->embed) * sizeof *own);
    eval_hit *all = mem_new((size_t)x->n * sizeof *all);
    bool ok = (own && all) || error_set(e, "search: out of memory for %ld features", x->n);
    if (ok && rerank && shown == x->images)
        ok = error_usage(
            e, "search: --rerank matches a text with a picture; the query and the index are both %s",
            shown ? "pictures" : "texts");
    ok = ok && encode(s, shown, &query, 1, own, e)
        && (all_finite(own, rows * x->embed)
            || error_set(e, "search: the features of \"%s\" are not finite: the model is not whole",
                         QUOTE(query)));
    #pragma omp parallel for if (ok && x->n > 256)
    for (long i = 0; i < (ok ? x->n : 0); i++)
        all[i] = (eval_hit){ i, nearness(own, rows, x->features + i * x->Q * x->embed, x->Q, x->embed), NAN };
    if (ok)
        qsort(all, (size_t)x->n, sizeof *all, by_itc);
    rerank = rerank < x->n ? rerank : x->n;
    if (ok && rerank) {
        matching m = { s, x, query, all, rerank, e, false };
        ok = ag_try(s->t, match_all, &m, e) && m.ok;
        if (ok)
            qsort(all, (size_t)rerank, sizeof *all, by_itm);
    }
    long n = most < x->n ? most : x->n;
    if (ok)
        memcpy(to, all, (size_t)n * sizeof *to);
    mem_free(own);
    mem_free(all);
    return ok ? n : -1;
}
