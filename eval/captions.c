/* captions.c - captioning: what is written about each picture, and how much of it is so.
 *
 * On pictures of the synthetic world the truth is known, and a caption is read for "COLOUR SHAPE" pairs:
 * `objects` is the share of captions that name exactly the picture's objects, each in its colour and as
 * often as it is there.                                                                                    */
#include "eval/internal.h"
#include <stdio.h>
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

static bool same_text(const record *r, const char *text)
{
    for (long k = 0; k < r->caption_count; k++)
        if (!strcmp(r->captions[k], text))
            return true;
    return false;
}

bool eval_captions(eval_session *s, const eval_config *c, const eval_data *d, json_t *metrics, error *e)
{
    eval_words v = eval_words_of(&d->records);
    json_t *results = json_array();
    bool ok = true;
    long objects = 0, exact = 0, number = 0, judged = 0;
    for (long first = 0; first < d->n; first += c->batch) {
        long n = d->n - first < c->batch ? d->n - first : c->batch;
        eval_text texts[EVAL_BATCH];
        const char *prompts[EVAL_BATCH];
        for (long i = 0; i < n; i++)
            prompts[i] = s->model.config.prompt;
        ok = eval_write(s, d->features + first * d->N * d->E, n, prompts, NULL, &c->generate, texts, e);
        if (!ok)
            break;
        for (long i = 0; i < n; i++) {
            const record *r = &d->records.items[first + i];
            int pairs[EVAL_PAIRS];
            judged += r->object_count > 0;
            objects += r->object_count > 0 && eval_names_objects(&v, r, texts[i].text);
            number += r->object_count > 0 && eval_pairs(&v, texts[i].text, pairs) == r->object_count;
            exact += same_text(r, texts[i].text);
            json_array_append_new(results, json_pack("{s:o, s:s, s:s, s:s?}",
                "image_id", eval_image_id(r), "image", r->image, "caption", texts[i].text,
                "truth", r->caption_count ? r->captions[0] : NULL));
        }
        eval_text_free(texts, n);
    }
    json_t *m = json_pack("{s:I, s:f}", "pictures", (json_int_t)d->n, "exact", (double)exact / (double)d->n);
    if (judged) {
        json_object_set_new(m, "objects", json_real((double)objects / (double)judged));
        json_object_set_new(m, "number", json_real((double)number / (double)judged));
    }
    json_object_set_new(metrics, "captions", m);
    ok = ok && eval_save(c, "captions.json", results, e);
    json_decref(results);
    return ok;
}
