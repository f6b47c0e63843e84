/* protocol.c - `evaluate`: a model over a split, by the protocols asked for; figures and results go to the
 * output folder.                                                                                           */
#include "eval/internal.h"
#include "eval/metrics.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

json_t *eval_image_id(const record *r)
{
    return r->id ? json_string(r->id) : json_integer((json_int_t)r->image_id);
}

bool eval_save(const eval_config *c, const char *file, const json_t *what, error *e)
{
    return eval_save_in(c->output_dir, file, what, e);
}

bool eval_save_in(const char *folder, const char *file, const json_t *what, error *e)
{
    char *path = mem_text("%s/%s", folder, file);
    char *text = json_dumps(what, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
    file_out *f = path && text ? file_create(path, e) : NULL;
    bool ok = f != NULL || (!(path && text) && error_set(e, "out of memory for %s", file));
    if (f) {
        file_write(f, text, (long)strlen(text));
        file_write(f, "\n", 1);
        ok = file_finish(f, e);
    }
    mem_free(path);
    free(text);
    return ok;
}

const char *const eval_tokenizer_names[] = { "ptb", "whitespace", NULL };
const char *const eval_rerank_names[] = { "sum", "itm", "product", "itc", NULL };
static const double SHARE = 0.95;

json_t *eval_settings(const eval_session *s, const eval_config *c, long length)
{
    const blip2_config *m = &s->model.config;
    return json_pack("{s:I, s:I, s:I, s:f, s:f, s:s, s:I, s:i, s:I, s:s}", "num_beams", (json_int_t)c->beams,
                     "max_len", (json_int_t)length, "min_len", (json_int_t)c->min_len,
                     "length_penalty", c->length_penalty, "repetition_penalty", c->repetition_penalty, "llm",
                     m->llm == BLIP2_LLM_NONE ? "none" : blip2_llm_of(m).name, "image_size",
                     (json_int_t)m->vision.image_size, "resamples", SCORE_TIMES, "seed", (json_int_t)c->seed,
                     "reference", c->reference == BLIP2_HF ? "hf" : "lavis");
}

static json_t *percentiles(score_interval i, double factor)
{
    return isfinite(i.low) ? json_pack("[f,f]", factor * i.low, factor * i.high) : json_null();
}

json_t *eval_interval_of(long rows, const double *values, const long *of, long clusters, double factor,
                         const eval_config *c)
{
    return percentiles(score_bootstrap_clusters(rows, values, of, clusters, SHARE, SCORE_TIMES,
                                                (uint64_t)c->seed), factor);
}

json_t *eval_interval(long n, const double *values, double factor, const eval_config *c)
{
    return percentiles(score_bootstrap(n, values, SHARE, SCORE_TIMES, (uint64_t)c->seed), factor);
}

/* Through the tower, n pictures at most EVAL_BATCH. */
static bool look(eval_session *s, const eval_config *c, const eval_data *d, const long *pictures, long n,
                 real *to, error *e)
{
    const char *paths[EVAL_BATCH] = { NULL };
    bool ok = true;
    for (long i = 0; i < n; i++)
        ok &= (paths[i] = eval_picture_path(c, d, pictures[i])) != NULL;
    ok = ok ? eval_features(s, paths, n, to, e) : error_set(e, "out of memory");
    for (long i = 0; i < n; i++)
        mem_free((char *)paths[i]);
    return ok;
}

/* The same where questions about one picture stand side by side: it is read once for them. */
static bool look_again(eval_session *s, const eval_config *c, const eval_data *d, const long *pictures,
                       long n, real *to, error *e)
{
    long each = d->N * d->E, seen[EVAL_BATCH], at[EVAL_BATCH], some = 0;
    for (long i = 0; i < n; i++) {
        if (!some || pictures[i] != seen[some - 1])
            seen[some++] = pictures[i];
        at[i] = some - 1;
    }
    bool ok = look(s, c, d, seen, some, to, e);
    for (long i = n - 1; ok && i >= 0; i--)
        memmove(to + i * each, to + at[i] * each, (size_t)each * sizeof *to);
    return ok;
}

real *eval_rows(eval_session *s, const eval_config *c, const eval_data *d, const long *pictures, long n,
                error *e)
{
    long each = d->N * d->E;
    real *to = mem_new((size_t)(n * each) * sizeof *to);
    if (!to)
        error_set(e, "out of memory for the features of %ld pictures", n);
    for (long i = 0; to && d->features && i < n; i++)
        memcpy(to + i * each, d->features + pictures[i] * each, (size_t)each * sizeof *to);
    if (to && !d->features && !look_again(s, c, d, pictures, n, to, e)) {
        mem_free(to);
        to = NULL;
    }
    return to;
}

real *eval_look(eval_session *s, const eval_config *c, const eval_data *d, const long *pictures, long n,
                error *e)
{
    real *to = mem_new((size_t)(n * d->N * d->E) * sizeof *to);
    bool ok = to || error_set(e, "out of memory for the features of %ld pictures", n);
    eval_progress(&c->watch, "pictures", 0, n);
    for (long first = 0; ok && first < n; first += c->batch) {
        long some[EVAL_BATCH], many = n - first < c->batch ? n - first : c->batch;
        for (long i = 0; i < many; i++)
            some[i] = pictures ? pictures[first + i] : first + i;
        ok = look(s, c, d, some, many, to + first * d->N * d->E, e);
        eval_progress(&c->watch, "pictures", first + many, n);
    }
    if (!ok) {
        mem_free(to);
        to = NULL;
    }
    return to;
}

bool eval_captions_read(eval_session *s, const char *const *texts, long n, blip2_text *to, error *e)
{
    const tokenizer_options words = { .max = s->model.config.max_text, .literal = true };
    token_batch *batch = &s->lines;
    if (!tokenizer_batch(s->bert, n, texts, &words, batch, e))
        return false;
    *to = (blip2_text){ n, batch->T, batch->ids, batch->mask };
    return true;
}

/* ---- who hears of it ----------------------------------------------------------------------------------- */
void eval_progress(const eval_watch *w, const char *what, long done, long of)
{
    if (w && w->progress)
        w->progress(w->context, what, done, of);
}

void eval_warn(const eval_config *c, const eval_data *d, const char *format, ...)
{
    char text[ERROR_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_array_append_new(d->warnings, json_string(text));
    if (c->watch.warn)
        c->watch.warn(c->watch.context, text);
}

/* ---- before the model is read -------------------------------------------------------------------------- */
/* Can the task tell anything of this list? Captions are written whatever the list has. */
static bool has_data(const eval_data *d, int task)
{
    if (task == EVAL_RETRIEVAL)
        return d->without_caption < d->pictures;
    for (long i = 0; task == EVAL_VQA && i < d->records.count; i++)
        if (d->of[i] >= 0 && d->records.items[i].question_count)
            return true;
    return task == EVAL_CAPTIONS;
}

/* File i that a run may leave in its folder, NULL behind the last; the figures go first. evaluate.yaml is
 * none of them. */
static const char *result_name(int i)
{
    static const char *const files[] = {
        "metrics.json", "captions.json", "captions_references.json", "captions_shuffled.json", "vqa.json",
        "vqa_blind.json", "vqa_shuffled.json", "vqa_questions.json", "vqa_annotations.json",
        "retrieval.json" };
    const int own = sizeof files / sizeof *files;
    for (int k = 0; i >= own && k < 2; k++)
        for (int j = 0; eval_jar_files[k][j]; j++)
            if (i-- == own)
                return eval_jar_files[k][j];
    return i < own ? files[i] : NULL;
}

/* No result may replace the list that it is of. */
static bool spares_list(const eval_config *c, error *e)
{
    char *list = mem_text("%s/%s", c->root, c->list);
    bool ok = list || error_set(e, "out of memory");
    const char *name;
    for (int i = -1; ok && (name = i < 0 ? "evaluate.yaml" : result_name(i)); i++) {
        char *path = mem_text("%s/%s", c->output_dir, name);
        if (!path)
            ok = error_set(e, "out of memory");
        else if (file_same(path, list))
            ok = error_usage(e, "run.output_dir: results would replace %s, the list itself", QUOTE(path));
        mem_free(path);
    }
    mem_free(list);
    return ok;
}

/* What the run is to do but cannot: all of it together. */
static bool prepare(const eval_config *c, eval_data *d, error *e)
{
    eval_problems p = { .count = 0 };
    error one;
    eval_config_check(c, &p);
    if (*c->model) {
        long bytes;
        int f = file_open(c->model, &bytes, &one);
        if (f < 0)
            eval_problem(&p, &one);
        else
            close(f);
    }
    if (*c->root && !eval_split_read(c, d, &one))
        eval_problem(&p, &one);
    if (*c->root && !spares_list(c, &one))
        eval_problem(&p, &one);
    if (!eval_problems_end(&p, e) || !eval_split_look(c, d, e))
        return false;
    bool some = false;
    for (int i = 0; i < c->tasks.count; i++)
        some |= has_data(d, eval_task(c->tasks.item[i], e));
    return some || error_set(e, "%s/%s: nothing to measure in it: %s", QUOTE(c->root), QUOTE(c->list),
                             d->without_caption < d->pictures ? "no picture has a question"
                                                              : "no picture has a caption or a question");
}

/* ---- the run ------------------------------------------------------------------------------------------- */
/* Is there something to measure for the task, or, `others`, for another one? */
static bool is_asked(const eval_config *c, const eval_data *d, int task, bool others)
{
    error e;
    for (int i = 0; i < c->tasks.count; i++) {
        int one = eval_task(c->tasks.item[i], &e);
        if ((one == task) != others && has_data(d, one))
            return true;
    }
    return false;
}

static const char *size_text(double bytes, char to[32])
{
    const double MiB = 1 << 20, GiB = 1 << 30;
    if (bytes < 0.1 * GiB)
        snprintf(to, 32, "%.3g MiB", bytes / MiB);
    else
        snprintf(to, 32, "%.2f GiB", bytes / GiB);
    return to;
}

/* Is there room for the features of all pictures at once? Retrieval cannot do without those of its own, and
 * where nothing else is asked for no others are read. */
static bool plan(const eval_config *c, const eval_data *d, bool *held, error *e)
{
    enum { OTHERS = 5 };                                   /* a fifth is left for all else */
    const char *limit;
    char size[32], room[32];
    const bool more = is_asked(c, d, EVAL_RETRIEVAL, true);
    const long own = is_asked(c, d, EVAL_RETRIEVAL, false) ? eval_candidates(c, d) : 0;
    const long all = more ? d->pictures : own;
    double each = (double)(d->N * d->E) * (double)sizeof(real);
    double there = mem_available("", &limit) * (OTHERS - 1) / OTHERS;
    if (c->memory_mb > 0 && c->memory_mb * (1 << 20) < there) {
        there = c->memory_mb * (1 << 20);
        limit = "of run.memory_mb";
    }
    if ((double)own * each > there)
        return error_set(e, "the features of %ld pictures, %s, do not fit; expected at most %s %s; "
                            "run.retrieval_pictures and run.limit take fewer, datasets.list a part", own,
                         size_text((double)own * each, size), size_text(there, room), limit);
    bool fits = (double)all * each <= there;
    if (!fits)
        eval_warn(c, d, "the features of %ld pictures, %s, do not fit into %s %s: each task and control "
                        "sends the pictures through the tower again", all,
                  size_text((double)all * each, size), size_text(there, room), limit);
    *held = fits && more;
    return true;
}

typedef bool (*protocol)(eval_session *, const eval_config *, const eval_data *, json_t *, error *);
static const protocol protocols[] = { eval_captions, eval_vqa, eval_retrieval_run };
static bool (*const can[])(const eval_session *, const char *, error *) = { eval_can_caption, eval_can_answer,
                                                                           eval_can_retrieve };

/* Can this model do what is asked for? */
static bool check(const eval_session *s, const eval_config *c, error *e)
{
    for (int i = 0; i < c->tasks.count; i++)
        if (!can[eval_task(c->tasks.item[i], e)](s, c->model, e))
            return false;
    return true;
}

/* Results of an older run, which would stand beside figures that are not theirs. evaluate.yaml stays until it
 * is written anew, for it may be what this run was told to do. */
static bool clear(const eval_config *c, error *e)
{
    const char *name;
    bool ok = true;
    for (int i = 0; ok && (name = result_name(i)); i++) {
        char *path = mem_text("%s/%s", c->output_dir, name);
        if (!path)
            ok = error_set(e, "out of memory");
        else if (unlink(path) && errno != ENOENT)
            ok = error_set(e, "%s: an older result cannot be removed: %s", QUOTE(path), strerror(errno));
        mem_free(path);
    }
    return ok;
}

/* evaluate.yaml: what the figures can be had with again. */
static bool save_config(const eval_config *given, error *e)
{
    eval_config c = *given;
    config_table table = eval_config_table(&c);
    char *path = mem_text("%s/evaluate.yaml", c.output_dir), *text = config_print(&table, 1, false);
    file_out *f = path && text ? file_create(path, e) : NULL;
    bool ok = f || (path && text) || error_set(e, "out of memory for the configuration");
    if (f) {
        file_write(f, text, (long)strlen(text));
        ok = file_finish(f, e);
    }
    mem_free(path);
    mem_free(text);
    return ok && f;
}

static bool measure(eval_session *s, const eval_config *c, eval_data *d, json_t *metrics, error *e)
{
    static const char *const lacks[] = { "", "question", "caption" };
    bool ok = true;
    for (int i = 0; ok && i < c->tasks.count; i++) {
        int task = eval_task(c->tasks.item[i], e);
        if (has_data(d, task))
            ok = protocols[task](s, c, d, metrics, e);
        else
            eval_warn(c, d, "%s: left out: no picture of %s has a %s", c->tasks.item[i], QUOTE(c->list),
                      lacks[task]);
    }
    return ok;
}

static char *run(eval_session *s, const eval_config *c, eval_data *d, error *e)
{
    json_t *metrics = json_pack("{s:s, s:s, s:s}", "model", c->model, "images",
                                *c->images ? c->images : c->root, "list", c->list);
    if (!metrics) {
        error_set(e, "%s, %s, %s: expected names in UTF-8", QUOTE(c->model), QUOTE(c->root), QUOTE(c->list));
        return NULL;
    }
    d->N = eval_tokens(&s->model.config);
    d->E = s->model.config.vision.width;
    bool held = false, ok = check(s, c, e) && plan(c, d, &held, e) && file_make_folders(c->output_dir, e);
    ok = ok && clear(c, e) && (!held || (d->features = eval_look(s, c, d, NULL, d->pictures, e)));
    ok = ok && measure(s, c, d, metrics, e);
    if (ok && json_array_size(d->warnings))
        json_object_set(metrics, "warnings", d->warnings);
    ok = ok && save_config(c, e) && eval_save(c, "metrics.json", metrics, e);
    char *dump = ok ? json_dumps(metrics, JSON_REAL_PRECISION(12)) : NULL,
         *text = dump ? mem_text("%s", dump) : NULL;
    if (ok && !text)
        error_set(e, "out of memory for the figures");
    free(dump);
    json_decref(metrics);
    return text;
}

/* The configuration as this model takes it. */
static void settle(eval_session *s, eval_config *c)
{
    blip2_config *m = &s->model.config;
    s->reference = (blip2_reference)c->reference;
    if (isnan(c->answer_penalty))
        c->answer_penalty = m->llm == BLIP2_LLM_T5 && c->reference == BLIP2_LAVIS ? -1
                          : c->reference == BLIP2_HF ? 1 : 0;
    if (*c->prompt)
        snprintf(m->prompt, sizeof m->prompt, "%s", c->prompt);
    if (*c->question_prompt)
        snprintf(m->question_prompt, sizeof m->question_prompt, "%s", c->question_prompt);
    c->generate = (blip2_generate){ .beams = (int)c->beams, .max_length = (int)c->max_len,
                                    .min_length = (int)c->min_len, .returns = 1,
                                    .length_penalty = c->length_penalty,
                                    .repetition_penalty = c->repetition_penalty, .reference = s->reference };
    if (c->reference == BLIP2_HF || m->llm == BLIP2_LLM_T5) /* they count new tokens, LAVIS for T5 as well */
        c->generate.max_new_tokens = (int)c->max_len;
}

char *eval_run(const eval_config *given, error *e)
{
    eval_config c = *given;
    eval_session s;
    eval_data d = { .warnings = json_array() };
    char *text = NULL;
    if (!d.warnings)
        error_set(e, "out of memory");
    else if (prepare(&c, &d, e) && eval_open_told(&s, c.model, &c.watch.reading, e)) {
        if (!s.sealed)
            eval_warn(&c, &d, "%s: has no digests, damage would not be seen", QUOTE(c.model));
        settle(&s, &c);
        text = run(&s, &c, &d, e);
        eval_close(&s);
    }
    eval_split_free(&d);
    return text;
}
