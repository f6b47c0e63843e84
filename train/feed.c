/* feed.c - pictures decoded and texts made ids, once, when a run opens; and both as tensors of a batch. */
#include "train/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void feed_free(feed *f)
{
    record_list_free(&f->records);
    mem_free(f->pixels);
    mem_free(f->identity);
    mem_free(f->first_text);
    mem_free(f->first_question);
    mem_free(f->first_asked);
    sequences_free(&f->texts);
    sequences_free(&f->asked);
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
    if (!ok || records_missing(c->root, &f->records, e))
        return false;
    f->n = c->max_samples && c->max_samples < f->records.count ? c->max_samples : f->records.count;
    f->size = c->model.vision.image_size;
    long bytes;
    if (__builtin_mul_overflow(f->n, f->size * f->size * 3, &bytes) || !(f->pixels = mem_new((size_t)bytes)))
        return error_set(e, "%s: out of memory for %ld pictures of %ld x %ld", QUOTE(c->root), f->n, f->size,
                         f->size);
    bool failed = false;
    #pragma omp parallel for schedule(dynamic, 64)
    for (long i = 0; i < f->n; i++) {
        error mine;
        if (!decode(c->root, f->records.items[i].image, f->size, f->pixels + i * f->size * f->size * 3,
                    &mine)) {
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

/* ---- who belongs together beside a picture and its own caption --------------------------------------- */
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

/* ---- texts as ids ------------------------------------------------------------------------------------ */
static bool add_captions(feed *f, const train_config *c, const tokenizer *words, const record *r, error *e)
{
    const blip2_config *m = &c->model;
    const blip2_llm llm = blip2_llm_of(m);
    size_t prompt = strlen(m->prompt);
    const tokenizer_options limit = { .max = m->max_text, .literal = true };
    const char *gap = prompt && m->prompt[prompt - 1] != ' ' ? " " : "";
    bool ok = true;
    for (long k = 0; ok && k < (r->caption_count ? r->caption_count : 1); k++) {
        const char *caption = r->caption_count ? r->captions[k] : "";
        if (c->task == TRAIN_STAGE2) {
            char *text = mem_text("%s%s%s", m->prompt, gap, caption);
            ok = text ? sequences_piece(&f->texts, words, &llm, text, (long)prompt, (long)strlen(text),
                                        c->context_weight, e) : error_set(e, "out of memory");
            mem_free(text);
        } else
            ok = sequences_text(&f->texts, words, &limit, caption, (long)strlen(caption), 1, e);
        ok = ok && sequences_end(&f->texts, e);
    }
    return ok;
}

static bool add_questions(feed *f, const train_config *c, const tokenizer *bert, const tokenizer *words,
                          const record *r, error *e)
{
    const blip2_config *m = &c->model;
    const blip2_llm llm = blip2_llm_of(m);
    const tokenizer_options limit = { .max = m->max_text, .literal = true };
    bool ok = true;
    for (long k = 0; ok && k < r->question_count; k++) {
        const record_question *q = &r->questions[k];
        char *given = blip2_question(m, q->question);
        char *text = given ? mem_text("%s %s", given, q->answer) : NULL;
        ok = text ? sequences_piece(&f->texts, words, &llm, text, (long)strlen(given), (long)strlen(text),
                                    c->context_weight, e) : error_set(e, "out of memory");
        mem_free(given);
        mem_free(text);
        ok = ok && sequences_end(&f->texts, e);
        if (ok && m->question_in_qformer)
            ok = sequences_text(&f->asked, bert, &limit, q->question, (long)strlen(q->question), 1, e)
                 && sequences_end(&f->asked, e);
    }
    return ok;
}

bool feed_texts(feed *f, const train_config *c, const tokenizer *bert, const tokenizer *llm, error *e)
{
    bool stage2 = c->task == TRAIN_STAGE2, ok = true;
    error why;
    f->each = stage2 && blip2_llm_of(&c->model).encodes ? 2 : 1;
    f->first_text = mem_new((size_t)f->n * sizeof *f->first_text);
    f->first_question = mem_new((size_t)f->n * sizeof *f->first_question);
    f->first_asked = mem_new((size_t)f->n * sizeof *f->first_asked);
    if (!f->first_text || !f->first_question || !f->first_asked)
        return error_set(e, "out of memory for the texts of %ld pictures", f->n);
    for (long i = 0; ok && i < f->n; i++) {
        const record *r = &f->records.items[i];
        f->first_text[i] = f->texts.count;
        ok = add_captions(f, c, stage2 ? llm : bert, r, &why);
        f->first_question[i] = f->texts.count;
        f->first_asked[i] = f->asked.count;
        ok = ok && (!stage2 || add_questions(f, c, bert, llm, r, &why));
        if (!ok)
            error_set(e, "%s/%s: texts of %s: %s", QUOTE(c->root), QUOTE(c->train_list), QUOTE(r->image),
                      why.text);
    }
    return ok;
}

static bool add_documents(feed *f, const train_config *c, const tokenizer *words, const char *path,
                          char *text, error *e)
{
    error why;
    const blip2_llm llm = blip2_llm_of(&c->model);
    f->each = llm.encodes ? 2 : 1;
    for (long line = 1; *text && (!c->max_samples || f->n < c->max_samples); line++) {
        size_t n = strcspn(text, "\n");
        char *next = text + n + (text[n] == '\n');
        text[n] = 0;
        if (n && (!sequences_document(&f->texts, words, &llm, text, c->context_weight, &why)
                  || !sequences_end(&f->texts, &why)))
            return error_set(e, "%s:%ld: %s", QUOTE(path), line, why.text);
        f->n += n > 0;
        f->first_text[f->n] = f->texts.count;
        text = next;
    }
    return f->n > 0 || error_set(e, "%s: no documents in it", QUOTE(path));
}

bool feed_documents(feed *f, const train_config *c, const tokenizer *words, error *e)
{
    long bytes;
    char *path = mem_text("%s/%s", c->root, c->text_list);
    char *text = path ? file_load(path, 1L << 34, &bytes, e) : NULL;
    bool ok = text != NULL || (!path && error_set(e, "out of memory"));
    long lines = 1;
    for (long i = 0; ok && i < bytes; i++)
        lines += text[i] == '\n';
    if (ok && !(f->first_text = mem_new((size_t)(lines + 1) * sizeof *f->first_text)))
        ok = error_set(e, "out of memory for %ld documents", lines);
    if (ok) {
        f->first_text[0] = 0;
        ok = add_documents(f, c, words, path, text, e);
    }
    mem_free(path);
    mem_free(text);
    return ok;
}

/* ---- batches ----------------------------------------------------------------------------------------- */
tensor *feed_pixels(const feed *f, tape *t, long B, const long *samples)
{
    long S = f->size, each = 3 * S * S;
    tensor *x = ag_new(t, DIMS(B, 3, S, S));
    #pragma omp parallel for
    for (long b = 0; b < B; b++)
        picture_normalise(f->pixels + samples[b] * each, S, x->data + b * each);
    return x;
}

long feed_caption(const feed *f, long sample, uint64_t key)
{
    return (long)(ag_uniform(key, 0) * (double)f->records.items[sample].caption_count);
}
