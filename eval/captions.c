/* captions.c - captioning: what is written about each picture, and how much of it is so.
 *
 * On pictures of the synthetic world the truth is known, and a caption is read for "COLOUR SHAPE" pairs:
 * `objects` is the share of captions that name exactly the picture's objects, each in its colour and as
 * often as it is there. Where every picture has captions the results are scored as `score captions` scores
 * the two files that are written.                                                                         */
#include "eval/internal.h"
#include "eval/metrics.h"
#include <string.h>

static int place_of(const char *const *words, int n, const char *word, size_t length)
{
    for (int i = 0; i < n; i++)
        if (strlen(words[i]) == length && !strncmp(words[i], word, length))
            return i;
    return -1;
}

static void add_word(const char **words, int *n, const char *word)
{
    if (*n < EVAL_WORDS && *word && place_of(words, *n, word, strlen(word)) < 0)
        words[(*n)++] = word;
}

eval_words eval_words_of(const record_list *l)
{
    eval_words v = { 0 };
    for (long i = 0; i < l->count; i++)
        for (long k = 0; k < l->items[i].object_count; k++) {
            add_word(v.colour, &v.colours, l->items[i].objects[k].colour);
            add_word(v.shape, &v.shapes, l->items[i].objects[k].shape);
        }
    return v;
}

int eval_pairs(const eval_words *v, const char *text, int pairs[EVAL_PAIRS])
{
    int n = 0, colour = -1;
    for (const char *p = text; *p;) {
        size_t length = strcspn(p, " ,.");
        if (length) {
            int shape = place_of(v->shape, v->shapes, p, length);
            if (shape >= 0 && colour >= 0 && n < EVAL_PAIRS)
                pairs[n++] = colour * EVAL_WORDS + shape;
            colour = place_of(v->colour, v->colours, p, length);
        }
        p += length + (p[length] != 0);
    }
    return n;
}

bool eval_names_objects(const eval_words *v, const record *r, const char *text)
{
    int pairs[EVAL_PAIRS], n = eval_pairs(v, text, pairs);
    if (n != r->object_count)
        return false;
    for (long k = 0; k < r->object_count; k++) {
        const record_object *o = &r->objects[k];
        int want = place_of(v->colour, v->colours, o->colour, strlen(o->colour)) * EVAL_WORDS
                 + place_of(v->shape, v->shapes, o->shape, strlen(o->shape)), i = 0;
        while (i < n && pairs[i] != want)
            i++;
        if (i == n)
            return false;
        pairs[i] = -1;
    }
    return true;
}

/* One of the captions that any record of the picture has? */
static bool same_text(const eval_data *d, long at, const char *text)
{
    for (long r = d->first[at]; r >= 0; r = d->next[r])
        for (long k = 0; k < d->records.items[r].caption_count; k++)
            if (!strcmp(d->records.items[r].captions[k], text))
                return true;
    return false;
}

/* The first of a picture's records that says what is in it; else its first. */
static const record *with_objects(const eval_data *d, long at)
{
    for (long r = d->first[at]; r >= 0; r = d->next[r])
        if (d->records.items[r].object_count)
            return &d->records.items[r];
    return eval_first(d, at);
}

/* ---- the protocol ------------------------------------------------------------------------------------ */
typedef struct counts { long objects, exact, number, judged; } counts;

static void judge(counts *to, const eval_words *v, const eval_data *d, long at, const char *text)
{
    int pairs[EVAL_PAIRS];
    const record *r = with_objects(d, at);
    bool known = r->object_count > 0;
    to->judged += known;
    to->objects += known && eval_names_objects(v, r, text);
    to->number += known && eval_pairs(v, text, pairs) == r->object_count;
    to->exact += same_text(d, at, text);
}

/* About n pictures from `first` on. */
static bool write_some(eval_session *s, const eval_config *c, const eval_data *d, long first, long n,
                       eval_text *texts, error *e)
{
    const char *prompts[EVAL_BATCH];
    long some[EVAL_BATCH];
    for (long i = 0; i < n; i++) {
        prompts[i] = s->model.config.prompt;
        some[i] = first + i;
    }
    real *features = eval_rows(s, c, d, some, n, e);
    bool ok = features && eval_write(s, features, n, prompts, NULL, &c->generate, texts, e);
    if (ok)
        eval_plain(texts, n);
    mem_free(features);
    return ok;
}

/* {images, annotations} in COCO's form, of every record in use. */
static json_t *references_of(const eval_data *d)
{
    json_t *images = json_array(), *annotations = json_array();
    for (long p = 0; p < d->pictures; p++)
        json_array_append_new(images, json_pack("{s:o, s:s}", "id", eval_image_id(eval_first(d, p)),
                                                "file_name", eval_first(d, p)->image));
    for (long i = 0; i < d->records.count; i++)
        for (long k = 0; d->of[i] >= 0 && k < d->records.items[i].caption_count; k++)
            json_array_append_new(annotations, json_pack("{s:I, s:o, s:s}", "id",
                (json_int_t)json_array_size(annotations), "image_id", eval_image_id(&d->records.items[i]),
                "caption", d->records.items[i].captions[k]));
    return json_pack("{s:o, s:o}", "images", images, "annotations", annotations);
}

/* What `score captions` says of a file in the output folder and the references there. */
static json_t *figures_in(const eval_config *c, const char *name, bool per_item, error *e)
{
    const score_options o = { .whitespace = c->tokenizer == EVAL_WHITESPACE, .per_item = per_item,
                              .seed = (uint64_t)c->seed };
    char *path = mem_text("%s/%s", c->output_dir, name);
    char *reference_path = mem_text("%s/captions_references.json", c->output_dir);
    bool ok = (path && reference_path) || error_set(e, "out of memory");
    char *text = ok ? score_caption_files(path, reference_path, &o, e) : NULL;
    json_t *figures = text ? json_loads(text, 0, NULL) : NULL;
    mem_free(text);
    mem_free(path);
    mem_free(reference_path);
    return figures;
}

static void take_figures(json_t *to, const json_t *figures)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)figures, key, value)
        if (!json_is_array(value) && strcmp(key, "tokenizer"))
            json_object_set(to, key, value);
}

/* Chance: each picture with the caption that was written for the one half the list away, as far from it as
 * lists that are sorted by kind have any.                                                                  */
static bool score_shuffled(const eval_config *c, const json_t *results, json_t *m, error *e)
{
    json_t *others = json_array();
    size_t n = json_array_size(results);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(others, json_pack("{s:O, s:O}",
            "image_id", json_object_get(json_array_get(results, i), "image_id"),
            "caption", json_object_get(json_array_get(results, (size_t)eval_other((long)n, (long)i)),
                                          "caption")));
    json_t *figures = eval_save(c, "captions_shuffled.json", others, e)
                          ? figures_in(c, "captions_shuffled.json", false, e) : NULL, *kept = json_object();
    take_figures(kept, figures);
    json_object_set_new(m, "shuffled", kept);
    json_decref(others);
    json_decref(figures);
    return figures != NULL;
}

/* Put into m; each result gets its own CIDEr-D. */
static bool score_files(const eval_config *c, json_t *results, json_t *m, error *e)
{
    json_t *figures = figures_in(c, "captions.json", true, e);
    take_figures(m, figures);
    const json_t *each = json_object_get(figures, "per_CIDEr");
    for (size_t i = 0; i < json_array_size(each); i++)
        json_object_set(json_array_get(results, i), "CIDEr", json_array_get(each, i));
    bool ok = figures && eval_save(c, "captions.json", results, e)
        && (json_array_size(results) < 2 || !c->controls || score_shuffled(c, results, m, e));
    json_decref(figures);
    return ok;
}

static bool write_all(eval_session *s, const eval_config *c, const eval_data *d, counts *seen,
                      json_t *results, error *e)
{
    const long n = d->pictures;
    eval_words v = eval_words_of(&d->records);
    eval_progress(&c->watch, "captions", 0, n);
    for (long first = 0; first < n; first += c->batch) {
        long some = n - first < c->batch ? n - first : c->batch;
        eval_text texts[EVAL_BATCH];
        if (!write_some(s, c, d, first, some, texts, e))
            return false;
        for (long i = 0; i < some; i++) {
            const record *r = eval_first(d, first + i), *said = eval_captioned(d, first + i);
            judge(seen, &v, d, first + i, texts[i].text);
            json_array_append_new(results, json_pack("{s:o, s:s, s:s, s:s?}",
                "image_id", eval_image_id(r), "image", r->image, "caption", texts[i].text,
                "truth", said ? said->captions[0] : NULL));
        }
        eval_text_free(texts, some);
        eval_progress(&c->watch, "captions", first + some, n);
    }
    return true;
}

/* Shares of what there is to compare with: exact of the pictures that have captions. */
static json_t *figures_of(const counts *seen, const eval_data *d)
{
    json_t *m = json_pack("{s:I}", "pictures", (json_int_t)d->pictures);
    if (d->without_caption < d->pictures)
        json_object_set_new(m, "exact", json_real((double)seen->exact
                                                  / (double)(d->pictures - d->without_caption)));
    if (seen->judged) {
        json_object_set_new(m, "objects", json_real((double)seen->objects / (double)seen->judged));
        json_object_set_new(m, "number", json_real((double)seen->number / (double)seen->judged));
    }
    return m;
}

/* A jar that fails costs its own figure alone. */
static void score_by_jars(const eval_config *c, const eval_data *d, const json_t *results,
                          const json_t *references, json_t *m)
{
    for (int k = 0; k < 2; k++) {
        const eval_jar jar = { k ? c->spice_jar : c->meteor_jar, c->output_dir, k,
                               c->tokenizer == EVAL_WHITESPACE };
        error e;
        if (!*jar.path)
            continue;
        eval_progress(&c->watch, k ? "SPICE" : "METEOR", 0, 1);
        if (!eval_jar_score(&jar, results, json_object_get(references, "annotations"), m, &e))
            eval_warn(c, d, "%s is left out: %s", k ? "SPICE" : "METEOR", e.text);
        eval_progress(&c->watch, k ? "SPICE" : "METEOR", 1, 1);
    }
}

/* By COCO's scorers, where every picture has a caption. */
static bool score(eval_session *s, const eval_config *c, const eval_data *d, json_t *results, json_t *m,
                  error *e)
{
    if (d->without_caption) {
        eval_warn(c, d, "captions: not scored: %ld of %ld pictures of %s have no caption to compare with",
                  d->without_caption, d->pictures, QUOTE(c->list));
        return true;
    }
    json_t *references = references_of(d);
    bool ok = eval_save(c, "captions_references.json", references, e) && score_files(c, results, m, e)
              && eval_likelihood(s, c, d, m, e);
    if (ok)
        score_by_jars(c, d, results, references, m);
    json_decref(references);
    return ok;
}

bool eval_captions(eval_session *s, const eval_config *c, const eval_data *d, json_t *metrics, error *e)
{
    counts seen = { 0 };
    json_t *results = json_array();
    bool ok = write_all(s, c, d, &seen, results, e);
    json_t *m = ok ? figures_of(&seen, d) : NULL;
    ok = ok && eval_save(c, "captions.json", results, e) && score(s, c, d, results, m, e);
    if (ok) {
        json_t *settings = eval_settings(s, c, c->max_len);
        json_object_set_new(settings, "tokenizer", json_string(eval_tokenizer_names[c->tokenizer]));
        json_object_set_new(settings, "prompt", json_string(s->model.config.prompt));
        json_object_set_new(settings, "by",
                            json_string(blip2_llm_of(&s->model.config).vocab ? "language model"
                                                                                             : "ITG head"));
        json_object_set_new(m, "settings", settings);
        json_object_set(metrics, "captions", m);
    }
    json_decref(m);
    json_decref(results);
    return ok;
}
