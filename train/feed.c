/* feed.c - pictures decoded once into memory, documents as lines, and both as tensors and ids of a batch. */
#include "train/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void feed_free(feed *f)
{
    record_list_free(&f->records);
    mem_free(f->pixels);
    mem_free(f->text);
    mem_free(f->documents);
    mem_free(f->identity);
    *f = (feed){ 0 };
}

static bool decode(const char *root, const char *image, long size, uint8_t *to, error *e)
{
    picture p = { 0 }, small = { 0 };
    char *path = mem_text("%s/%s", root, image);
    bool ok = path ? picture_read(&p, path, e) && picture_resize(&small, &p, size, size, e)
                   : error_set(e, "%s: out of memory", QUOTE(image));
    if (ok)
        memcpy(to, small.rgb, (size_t)(size * size * 3));
    picture_free(&p);
    picture_free(&small);
    mem_free(path);
    return ok;
}

bool feed_pictures(feed *f, const train_config *c, error *e)
{
    char *path = mem_text("%s/%s", c->root, c->train_list);
    bool ok = path ? records_read(path, &f->records, e) : error_set(e, "%s: out of memory", QUOTE(c->root));
    mem_free(path);
    if (!ok)
        return false;
    f->n = c->max_samples && c->max_samples < f->records.count ? c->max_samples : f->records.count;
    f->size = c->model.vision.image_size;
    long bytes;
    if (__builtin_mul_overflow(f->n, f->size * f->size * 3, &bytes) || !(f->pixels = mem_new((size_t)bytes)))
        return error_set(e, "%s: out of memory for %ld pictures of %ld x %ld", QUOTE(c->root), f->n, f->size, f->size);
    bool failed = false;
    #pragma omp parallel for schedule(dynamic, 64)
    for (long i = 0; i < f->n; i++) {
        error mine;
        if (!decode(c->root, f->records.items[i].image, f->size, f->pixels + i * f->size * f->size * 3, &mine)) {
            #pragma omp critical
            {
                if (!failed)
                    *e = mine;
                failed = true;
            }
        }
    }
    return !failed;
}

/* ---- who belongs together beside a picture and its own caption ------------------------------------------------------ */
struct named { const char *caption; long at; };

static int by_caption(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->caption, ((const struct named *)b)->caption);
}

bool feed_identities(feed *f, train_identity by, error *e)
{
    if (by == TRAIN_IDENTITY_NONE)
        return true;
    struct named *order = mem_new((size_t)f->n * sizeof *order);
    f->identity = mem_new((size_t)f->n * sizeof *f->identity);
    bool ok = (order && f->identity) || error_set(e, "out of memory for %ld identities", f->n);
    for (long i = 0; ok && i < f->n; i++) {
        const record *r = &f->records.items[i];
        f->identity[i] = r->image_id;
        order[i] = (struct named){ r->caption_count ? r->captions[0] : "", i };
    }
    if (ok && by == TRAIN_IDENTITY_CAPTION) {
        qsort(order, (size_t)f->n, sizeof *order, by_caption);
        for (long i = 0, first = 0; i < f->n; i++) {
            if (strcmp(order[i].caption, order[first].caption))
                first = i;
            f->identity[order[i].at] = order[first].at;
        }
    }
    mem_free(order);
    return ok;
}

const long *feed_identities_of(const feed *f, tape *t, long B, const long *samples)
{
    if (!f->identity)
        return NULL;
    long *id = ag_alloc(t, B * (long)sizeof *id);
    for (long b = 0; b < B; b++)
        id[b] = f->identity[samples[b]];
    return id;
}

bool feed_documents(feed *f, const train_config *c, error *e)
{
    long bytes, lines = 0;
    char *path = mem_text("%s/%s", c->root, c->text_list);
    f->text = path ? file_load(path, 1L << 34, &bytes, e) : NULL;
    if (!f->text) {
        mem_free(path);
        return path ? false : error_set(e, "%s: out of memory", QUOTE(c->root));
    }
    for (char *p = f->text; *p; p++)
        lines += *p == '\n' || !p[1];
    f->documents = mem_new((size_t)(lines + 1) * sizeof *f->documents);
    if (!f->documents) {
        mem_free(path);
        return error_set(e, "out of memory for %ld documents", lines);
    }
    for (char *p = f->text; *p;) {
        size_t n = strcspn(p, "\n");
        char *next = p + n + (p[n] == '\n');
        p[n] = 0;
        if (n)
            f->documents[f->n++] = p;
        p = next;
    }
    if (c->max_samples && c->max_samples < f->n)
        f->n = c->max_samples;
    bool ok = f->n > 0 || error_set(e, "%s: no documents in it", QUOTE(path));
    mem_free(path);
    return ok;
}

tensor *feed_pixels(const feed *f, tape *t, long B, const long *samples)
{
    long S = f->size, each = 3 * S * S;
    tensor *x = ag_new(t, DIMS(B, 3, S, S));
    #pragma omp parallel for
    for (long b = 0; b < B; b++)
        picture_normalise(f->pixels + samples[b] * each, S, x->data + b * each);
    return x;
}

const char *feed_caption(const feed *f, long sample, uint64_t key)
{
    const record *r = &f->records.items[sample];
    return r->caption_count ? r->captions[(long)(ag_uniform(key, 0) * (double)r->caption_count)] : "";
}

blip2_text feed_captions(tape *t, const tokenizer *words, long most, long B, const char *const *texts)
{
    token_batch batch = { 0 };
    error e;
    if (!tokenizer_batch(words, B, texts, &(tokenizer_options){ .max = most }, &batch, &e))
        ag_fail("train", "%s", e.text);
    unsigned char *mask = ag_alloc(t, B * batch.T);
    memcpy(mask, batch.mask, (size_t)(B * batch.T));
    blip2_text text = { B, batch.T, ag_ids(t, batch.ids, B * batch.T), mask };
    token_batch_free(&batch);
    return text;
}

/* The Q-Former's second input: a row without a question has no token that may be looked at. */
blip2_text feed_questions(tape *t, const tokenizer *words, long most, long B, const char *const *questions)
{
    const char **texts = ag_alloc(t, B * (long)sizeof *texts);
    for (long b = 0; b < B; b++)
        texts[b] = questions[b] ? questions[b] : "";
    blip2_text text = feed_captions(t, words, most, B, texts);
    unsigned char *mask = ag_alloc(t, B * text.T);
    for (long b = 0; b < B; b++)
        for (long i = 0; i < text.T; i++)
            mask[b*text.T + i] = questions[b] && text.mask[b*text.T + i];
    text.mask = mask;
    return text;
}
