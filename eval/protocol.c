/* protocol.c - `evaluate`: a model over a split, by the protocols asked for; figures and results go to the
 * output folder.                                                                                           */
#include "eval/internal.h"
#include "eval/metrics.h"
#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#define FIELD(f) offsetof(eval_config, f)
static const config_key keys[] = {
    { "model.file", CONFIG_TEXT, FIELD(model), 0, 0, NULL, "the model file" },
    { "datasets.root", CONFIG_TEXT, FIELD(root), 0, 0, NULL, "folder of the data set" },
    { "datasets.images", CONFIG_TEXT, FIELD(images), 0, 0, NULL,
      "folder that pictures' paths start from; empty: root" },
    { "datasets.list", CONFIG_TEXT, FIELD(list), 0, 0, NULL, "its list of pictures, one JSON object a line" },
    { "datasets.text_processor.eval.name", CONFIG_CHOICE, FIELD(clean), 0, 0,
      "none blip_caption blip_question",
      "captions that are candidates and questions as they stand, or cleaned as in training" },
    { "run.tasks", CONFIG_LIST, FIELD(tasks), 0, 0, NULL, "captions, vqa, retrieval" },
    { "run.controls", CONFIG_BOOL, FIELD(controls), 0, 0, NULL,
      "vqa: also blind and with shuffled pictures" },
    { "run.limit", CONFIG_INT, FIELD(limit), 0, 1e9, NULL, "only so many pictures; 0: all" },
    { "run.retrieval_pictures", CONFIG_INT, FIELD(retrieval_pictures), 0, 1e6, NULL,
      "candidates of retrieval; 0: all" },
    { "run.k_test", CONFIG_INT, FIELD(k_test), 0, 1e6, NULL, "how many of the best ITM ranks again" },
    { "run.batch_size_eval", CONFIG_INT, FIELD(batch), 1, EVAL_BATCH, NULL,
      "pictures or questions at a time" },
    { "run.rerank", CONFIG_CHOICE, FIELD(rerank), 0, 0, "sum itm product itc",
      "the best k are ordered by cosine + logit of ITM (LAVIS), the logit, ITC's softmax times ITM's odds, "
      "or not again" },
    { "run.itm_weight", CONFIG_REAL, FIELD(itm_weight), 0, 1000, NULL,
      "the power of ITM's odds in rerank: product; retrieval.itm_weight of another split tells the best" },
    { "run.retrieval_captions", CONFIG_INT, FIELD(retrieval_captions), 0, 1e6, NULL,
      "captions of each picture that are candidates; 0: all" },
    { "run.num_beams", CONFIG_INT, FIELD(beams), 1, 64, NULL, "1: greedy" },
    { "run.min_len", CONFIG_INT, FIELD(min_len), 0, 4096, NULL, "shortest caption in tokens" },
    { "run.length_penalty", CONFIG_REAL, FIELD(length_penalty), -10, 10, NULL,
      "scores of beams are divided by length to this power" },
    { "run.max_len", CONFIG_INT, FIELD(max_len), 1, 4096, NULL, "longest caption in tokens" },
    { "run.answer_len", CONFIG_INT, FIELD(answer_length), 1, 4096, NULL, "longest answer in tokens" },
    { "run.answer_min_len", CONFIG_INT, FIELD(answer_min_length), 0, 4096, NULL,
      "shortest answer in tokens" },
    { "run.answer_length_penalty", CONFIG_REAL, FIELD(answer_penalty), -10, 10, NULL,
      "length_penalty of answers; not given: 0 for OPT and -1 for T5, as LAVIS" },
    { "run.tokenizer", CONFIG_CHOICE, FIELD(tokenizer), 0, 0, "ptb whitespace",
      "words of captions that are scored" },
    { "run.seed", CONFIG_INT, FIELD(seed), 0, 1e15, NULL, "of the resamples behind the intervals" },
    { "run.meteor_jar", CONFIG_TEXT, FIELD(meteor_jar), 0, 0, NULL,
      "your own meteor-1.5.jar, run by java; empty: no METEOR" },
    { "run.spice_jar", CONFIG_TEXT, FIELD(spice_jar), 0, 0, NULL, "your own spice-1.0.jar; empty: no SPICE" },
    { "run.output_dir", CONFIG_TEXT, FIELD(output_dir), 0, 0, NULL, "where metrics.json and the results go" },
};

eval_config eval_config_default(void)
{
    return (eval_config){ .list = "test.jsonl", .tasks = { 2, { "captions", "vqa" } }, .controls = true,
                          .k_test = 16, .batch = 32, .beams = 1, .min_len = 1, .max_len = 40,
                          .answer_length = 10, .answer_min_length = 1, .answer_penalty = NAN,
                          .retrieval_captions = 1, .length_penalty = 1, .itm_weight = 1, .seed = 42,
                          .output_dir = "out/eval" };
}

config_table eval_config_table(eval_config *c)
{
    return (config_table){ "", keys, (int)(sizeof keys / sizeof *keys), c };
}

json_t *eval_image_id(const record *r)
{
    return r->id ? json_string(r->id) : json_integer((json_int_t)r->image_id);
}

bool eval_save(const eval_config *c, const char *file, const json_t *what, error *e)
{
    char *path = mem_text("%s/%s", c->output_dir, file);
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
enum { TIMES = 1000 };
static const double SHARE = 0.95;

json_t *eval_settings(const eval_session *s, const eval_config *c, long length)
{
    const blip2_config *m = &s->model.config;
    return json_pack("{s:I, s:I, s:I, s:f, s:f, s:s, s:I, s:i, s:I}", "num_beams", (json_int_t)c->beams,
                     "max_len", (json_int_t)length, "min_len", (json_int_t)c->min_len,
                     "length_penalty", c->length_penalty, "repetition_penalty", 1.0, "llm",
                     m->llm == BLIP2_LLM_NONE ? "none" : blip2_llm_of(m).name, "image_size",
                     (json_int_t)m->vision.image_size, "resamples", TIMES, "seed", (json_int_t)c->seed);
}

json_t *eval_interval(long n, const double *values, double factor, const eval_config *c)
{
    score_interval i = score_bootstrap(n, values, SHARE, TIMES, (uint64_t)c->seed);
    return isfinite(i.low) ? json_pack("[f,f]", factor * i.low, factor * i.high) : json_null();
}

static int by_picture(const void *a, const void *b)
{
    const record *x = *(const record *const *)a, *y = *(const record *const *)b;
    return x->image_id != y->image_id ? (x->image_id > y->image_id) - (x->image_id < y->image_id)
                                      : (x > y) - (x < y);
}

long *eval_pictures(const eval_data *d, long *n)
{
    const record **order = mem_new((size_t)d->n * sizeof *order);
    long *rows = mem_new((size_t)d->n * sizeof *rows);
    *n = 0;
    for (long i = 0; order && i < d->n; i++)
        order[i] = &d->records.items[i];
    if (order && rows) {
        qsort(order, (size_t)d->n, sizeof *order, by_picture);
        for (long i = 0; i < d->n; i++) /* rows[r]: 1 where r is the first of its picture */
            rows[order[i] - d->records.items] = !i || order[i]->image_id != order[i - 1]->image_id;
        for (long i = 0; i < d->n; i++)
            if (rows[i])
                rows[(*n)++] = i;
    } else {
        mem_free(rows);
        rows = NULL;
    }
    mem_free(order);
    return rows;
}

real *eval_rows(const eval_data *d, const real *features, const long *rows, long n)
{
    long each = d->N * d->E;
    real *to = mem_new((size_t)(n * each) * sizeof *to);
    for (long i = 0; to && i < n; i++)
        memcpy(to + i * each, features + rows[i] * each, (size_t)each * sizeof *to);
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

static const char *images_of(const eval_config *c) { return *c->images ? c->images : c->root; }

static bool read_list(const eval_session *s, const eval_config *c, eval_data *d, error *e)
{
    if (!records_beside(c->list, "datasets.list", e))
        return false;
    if (!*c->root)
        return error_usage(e, "datasets.root: expected the folder of %s, found nothing", QUOTE(c->list));
    char *path = mem_text("%s/%s", c->root, c->list);
    bool ok = path ? records_read(path, &d->records, e) : error_set(e, "out of memory");
    mem_free(path);
    if (!ok || (c->clean && !records_clean(&d->records, e)) || records_missing(images_of(c), &d->records, e))
        return false;
    if (!d->records.count)
        return error_set(e, "%s/%s: no pictures in it", QUOTE(c->root), QUOTE(c->list));
    d->n = c->limit && c->limit < d->records.count ? c->limit : d->records.count;
    d->N = eval_tokens(&s->model.config);
    d->E = s->model.config.vision.width;
    return true;
}

/* All pictures through the tower, which is most of the time. */
static bool read_pictures(eval_session *s, const eval_config *c, eval_data *d, error *e)
{
    bool ok = true;
    d->features = mem_new((size_t)(d->n * d->N * d->E) * sizeof *d->features);
    if (!d->features)
        return error_set(e, "out of memory for the features of %ld pictures", d->n);
    for (long first = 0; ok && first < d->n; first += c->batch) {
        const char *paths[EVAL_BATCH];
        long n = d->n - first < c->batch ? d->n - first : c->batch;
        for (long i = 0; i < n; i++)
            ok &= (paths[i] = mem_text("%s/%s", images_of(c), d->records.items[first + i].image)) != NULL;
        ok = ok ? eval_features(s, paths, n, d->features + first * d->N * d->E, e)
                : error_set(e, "out of memory");
        for (long i = 0; i < n; i++)
            mem_free((char *)paths[i]);
    }
    return ok;
}

typedef bool (*protocol)(eval_session *, const eval_config *, const eval_data *, json_t *, error *);
static const char *const names[] = { "captions", "vqa", "retrieval" };
static const protocol protocols[] = { eval_captions, eval_vqa, eval_retrieval_run };
static bool (*const can[])(const eval_session *, const char *, error *) = { eval_can_caption, eval_can_answer,
                                                                           eval_can_retrieve };
enum { PROTOCOLS = 3 };

/* Its number, -1: there is none of that name. */
static int find(const char *task, error *e)
{
    for (int i = 0; i < PROTOCOLS; i++)
        if (!strcmp(task, names[i]))
            return i;
    const char *like = nearest(task, names, PROTOCOLS);
    error_usage(e, "run.tasks: unknown task \"%s\"%s%s%s", QUOTE(task), like ? ", did you mean " : "",
                like ? like : "", like ? "?" : "; expected captions, vqa or retrieval");
    return -1;
}

/* Can this model do what is asked for? */
static bool check(const eval_session *s, const eval_config *c, error *e)
{
    for (int i = 0; i < c->tasks.count; i++)
        if (!can[find(c->tasks.item[i], e)](s, c->model, e))
            return false;
    return true;
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

static char *run(eval_session *s, const eval_config *c, eval_data *d, json_t *metrics, error *e)
{
    bool ok = read_list(s, c, d, e) && file_make_folders(c->output_dir, e) && save_config(c, e)
              && read_pictures(s, c, d, e);
    for (int i = 0; ok && i < c->tasks.count; i++)
        ok = protocols[find(c->tasks.item[i], e)](s, c, d, metrics, e);
    if (!ok || !eval_save(c, "metrics.json", metrics, e))
        return NULL;
    char *dump = json_dumps(metrics, JSON_REAL_PRECISION(12)), *text = dump ? mem_text("%s", dump) : NULL;
    free(dump);
    if (!text)
        error_set(e, "out of memory for the figures");
    return text;
}

char *eval_run(const eval_config *given, error *e)
{
    eval_config c = *given;
    eval_session s;
    eval_data d = { 0 };
    c.generate = (blip2_generate){ .beams = (int)c.beams, .max_length = (int)c.max_len,
                                   .min_length = (int)c.min_len,
                                   .returns = 1, .length_penalty = c.length_penalty,
                                   .repetition_penalty = 1 };
    for (int i = 0; i < c.tasks.count; i++)
        if (find(c.tasks.item[i], e) < 0)
            return NULL;
    if (!eval_open(&s, c.model, e))
        return NULL;
    if (isnan(c.answer_penalty))
        c.answer_penalty = s.model.config.llm == BLIP2_LLM_T5 ? -1 : 0;
    json_t *metrics = json_pack("{s:s, s:s, s:s}", "model", c.model, "images", *c.images ? c.images : c.root,
                                "list", c.list);
    char *text = NULL;
    if (!metrics)
        error_set(e, "%s, %s, %s: expected names in UTF-8", QUOTE(c.model), QUOTE(c.root),
                  QUOTE(c.list));
    else if (check(&s, &c, e))
        text = run(&s, &c, &d, metrics, e);
    json_decref(metrics);
    record_list_free(&d.records);
    mem_free(d.features);
    eval_close(&s);
    return text;
}
