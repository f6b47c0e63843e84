/* feed.c - pictures decoded and texts made ids, once, when a run opens; and both as tensors of a batch. */
#include "train/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void feed_free(feed *f)
{
    ahead_stop(f->ahead);
    features_free(&f->features);
    album_free(&f->album);
    for (int k = 0; k < f->set_count; k++)
        record_list_free(&f->sets[k].list);
    mem_free(f->records);
    mem_free(f->identity);
    mem_free(f->first_text);
    mem_free(f->first_question);
    mem_free(f->first_asked);
    sequences_free(&f->texts);
    sequences_free(&f->asked);
    *f = (feed){ 0 };
}

/* ---- pictures ---------------------------------------------------------------------------------------- */
static picture_view view_of(const train_data *d)
{
    if (d->view == TRAIN_VIEW_WHOLE)
        return (picture_view){ 0 };
    return (picture_view){ d->min_scale, d->max_scale, d->flip, d->view == TRAIN_VIEW_RANDOM ? 2 : 0,
                           d->magnitude };
}

static const char *images_of(const train_data *d)
{
    return *d->images ? d->images : d->root;
}

/* Lists for tests have questions without an answer and pictures of which nothing is said: nothing is to be
 * learnt from them. Questions teach task stage2 alone, and not where it reads captions alone. */
static bool leave_out_untold(feed *f, record_list *l, const train_config *c, const char *path, error *e)
{
    bool asks = c->task == TRAIN_STAGE2 && c->caption_share < 1;
    long kept = 0, all = l->count;
    for (long i = 0; i < all; i++) {
        record *r = &l->items[i];
        long answered = 0;
        for (long k = 0; k < r->question_count; k++)
            if (*r->questions[k].answer)
                r->questions[answered++] = r->questions[k];
        f->unanswered += asks ? r->question_count - answered : 0;
        r->question_count = answered;
        if (r->caption_count || (asks && answered))
            l->items[kept++] = *r;
    }
    f->untold += all - kept;
    l->count = kept;
    return kept || error_set(e, "%s: none of its %ld pictures has a caption%s: nothing to learn from",
                             QUOTE(path), all, asks ? " or a question with an answer" : "");
}

/* missing: a dry run is told of pictures that are not there, and goes on; else NULL */
static bool read_list(feed *f, feed_set *s, const train_data *d, const train_config *c, error *missing,
                      error *e)
{
    long size = c->model.vision.image_size;
    if (!*d->root)
        return error_usage(e, "datasets: root: expected the folder of %s, found nothing",
                           QUOTE(d->train_list));
    if (!records_beside(d->train_list, "datasets.train", e))
        return false;
    char *path = mem_text("%s/%s", d->root, d->train_list);
    bool ok = path ? records_read(path, &s->list, e) && leave_out_untold(f, &s->list, c, path, e)
                   : error_set(e, "%s: out of memory", QUOTE(d->root));
    mem_free(path);
    if (!ok)
        return false;
    if ((d->clean && !records_clean(&s->list, e))
        || (records_missing(images_of(d), &s->list, missing ? missing : e) && !missing))
        return false;
    if (d->image_size && d->image_size != size)
        return error_usage(e, "datasets: vis_processor.train.image_size: expected model.vit.image_size, %ld, "
                           "found %ld", size, d->image_size);
    if (d->min_scale > d->max_scale)
        return error_usage(e, "datasets: vis_processor.train.min_scale: expected at most max_scale, %g, "
                           "found %g", d->max_scale, d->min_scale);
    s->n = d->max_samples && d->max_samples < s->list.count ? d->max_samples : s->list.count;
    s->view = view_of(d);
    return true;
}

static bool fill_album(feed *f, const train_data *sets, long size, error *e)
{
    bool ok = album_new(&f->album, f->n, size, e);
    f->records = mem_new((size_t)f->n * sizeof *f->records);
    ok = ok && (f->records || error_set(e, "out of memory for %ld samples", f->n));
    for (int k = 0, at = 0; ok && k < f->set_count; k++) {
        const feed_set *s = &f->sets[k];
        for (long i = 0; ok && i < s->n; i++, at++) {
            f->records[at] = &s->list.items[i];
            ok = album_add(&f->album, images_of(&sets[k]), s->list.items[i].image,
                           sets[k].view == TRAIN_VIEW_WHOLE ? NULL : &s->view, e);
        }
    }
    return ok;
}

/* Takes broken pictures out of everything; the rest keeps its order. */
static void leave_out_bad(feed *f)
{
    long at = 0, kept = 0;
    for (int k = 0; k < f->set_count; k++) {
        long n = f->sets[k].n;
        for (long end = at + n; at < end; at++)
            if (f->album.pages[at].bad)
                f->sets[k].n--;
            else
                f->records[kept++] = f->records[at];
    }
    album_drop_bad(&f->album);
    f->n = kept;
}

bool feed_pictures(feed *f, const train_config *c, error *bad, error *e)
{
    const train_data *sets;
    bad->lines = 0;
    bad->text[0] = 0;
    f->set_count = train_sets(c, &sets);
    for (int k = 0; k < f->set_count; k++) {
        if (!read_list(f, &f->sets[k], &sets[k], c, f->undecoded ? bad : NULL, e))
            return false;
        f->n += f->sets[k].n;
    }
    if (!fill_album(f, sets, c->model.vision.image_size, e))
        return false;
    if (f->undecoded)
        return true;
    f->seed = (uint64_t)c->seed;
    if (*c->feature_cache && !features_look(f, c, e))
        return false;
    long found = features_broken(&f->features) < 0 ? -1
               : album_open_known(&f->album, f->features.broken, bad), all = f->n;
    if (found != features_broken(&f->features) || found < 0) {     /* not known, or no longer true */
        album_let_go(&f->album);
        found = album_open(&f->album, c->memory_mb << 20, bad);
    }
    if (*c->feature_cache && !features_note(f, e))
        return false;
    if (!found)
        return true;
    if (c->on_bad_sample || (double)found > c->max_bad_fraction * (double)all) {
        *e = *bad;
        return error_head(e, ERROR_RUN, "%ld of %ld pictures cannot be used; datasets.on_bad_sample is %s, "
                          "max_bad_fraction %g", found, all, c->on_bad_sample ? "stop" : "skip",
                          c->max_bad_fraction);
    }
    error_head(bad, ERROR_RUN, "%ld of %ld pictures cannot be used and are left out", found, all);
    f->bad = found;
    leave_out_bad(f);
    return true;
}

void feed_tell_untold(const feed *f, const run *r, const char *list)
{
    if (f->untold + f->unanswered)
        run_warn(r, "%s: left out, as nothing is to be learnt from them: %ld pictures without a text to "
                 "train on, %ld questions without an answer", list, f->untold, f->unanswered);
}

/* Is a whole word of the text one of these two? */
static bool sided(const char *text)
{
    for (const char *word = text; *word;) {
        size_t n = strcspn(word, " ,.;:!?-\"'()\t");
        if ((n == 4 && !strncasecmp(word, "left", 4)) || (n == 5 && !strncasecmp(word, "right", 5)))
            return true;
        word += n + (word[n] != 0);
    }
    return false;
}

long feed_sided(const feed *f)
{
    long found = 0;
    for (long i = 0; f->album.n && i < f->n; i++) {
        const record *r = f->records[i];
        if (f->album.pages[i].view && f->album.pages[i].view->flip > 0)
            for (long k = 0; k < r->caption_count; k++)
                found += sided(r->captions[k]);
    }
    return found;
}

/* ---- who belongs together beside a picture and its own caption --------------------------------------- */
struct named { const char *caption; long set, image_id, at; };

static int by_caption(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->caption, ((const struct named *)b)->caption);
}

/* Ids are those of a data set: two sets may give one number to two pictures. */
static int by_image(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int set = (x->set > y->set) - (x->set < y->set);
    return set ? set : (x->image_id > y->image_id) - (x->image_id < y->image_id);
}

bool feed_identities(feed *f, train_identity by, error *e)
{
    if (by == TRAIN_IDENTITY_NONE)
        return true;
    struct named *order = mem_new((size_t)f->n * sizeof *order);
    f->identity = mem_new((size_t)f->n * sizeof *f->identity);
    bool ok = (order && f->identity) || error_set(e, "out of memory for %ld identities", f->n);
    int (*compare)(const void *, const void *) = by == TRAIN_IDENTITY_LIST ? by_image : by_caption;
    for (long k = 0, i = 0; ok && k < f->set_count; k++)
        for (long end = i + f->sets[k].n; i < end; i++) {
            const record *r = f->records[i];
            order[i] = (struct named){ r->caption_count ? r->texts[0] : "", k, r->image_id, i };
        }
    if (ok)
        qsort(order, (size_t)f->n, sizeof *order, compare);
    for (long i = 0, first = 0; ok && i < f->n; i++) {     /* the same number for all that compare equal */
        if (compare(&order[i], &order[first]))
            first = i;
        f->identity[order[i].at] = first;
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
    for (long k = 0; ok && k < r->caption_count; k++) {
        const char *caption = r->texts[k];
        if (c->task == TRAIN_STAGE2) {
            char *text = mem_text("%s%s%s", m->prompt, gap, caption);
            ok = text ? sequences_piece(&f->texts, words, &llm, text, (long)prompt, (long)strlen(text),
                                        c->context_weight, e) : error_set(e, "out of memory");
            if (!llm.encodes)                              /* LAVIS: a long caption loses its end mark, too */
                sequences_cut(&f->texts, m->max_text);
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
        char *given = blip2_question(m, q->asked);
        char *text = given ? mem_text("%s %s", given, q->answer) : NULL;
        ok = text ? sequences_piece(&f->texts, words, &llm, text, (long)strlen(given), (long)strlen(text),
                                    c->context_weight, e) : error_set(e, "out of memory");
        mem_free(given);
        mem_free(text);
        ok = ok && sequences_end(&f->texts, e);
        if (ok && m->question_in_qformer)
            ok = sequences_text(&f->asked, bert, &limit, q->asked, (long)strlen(q->asked), 1, e)
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
        const record *r = f->records[i];
        f->first_text[i] = f->texts.count;
        ok = add_captions(f, c, stage2 ? llm : bert, r, &why);
        f->first_question[i] = f->texts.count;
        f->first_asked[i] = f->asked.count;
        ok = ok && (!stage2 || add_questions(f, c, bert, llm, r, &why));
        if (!ok)
            error_set(e, "%s: its texts: %s", QUOTE(f->album.pages[i].path), why.text);
    }
    return ok;
}

static bool add_documents(feed *f, const train_config *c, const train_data *d, const tokenizer *words,
                          const char *path, char *text, error *e)
{
    error why;
    const blip2_llm llm = blip2_llm_of(&c->model);
    long first = f->n;
    f->each = llm.encodes ? 2 : 1;
    for (long line = 1; *text && (!d->max_samples || f->n - first < d->max_samples); line++) {
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
    f->sets[f->set_count++].n = f->n - first;
    return f->n > first || error_set(e, "%s: no documents in it", QUOTE(path));
}

/* Room for the places of as many more documents as the text has lines; the first begins at 0. */
static bool room_for_documents(feed *f, const char *text, long bytes, error *e)
{
    long lines = 1;
    for (long i = 0; i < bytes; i++)
        lines += text[i] == '\n';
    size_t old = f->first_text ? (size_t)(f->n + 1) * sizeof *f->first_text : 0;
    long *grown = mem_grow(f->first_text, old, (size_t)(f->n + lines + 1) * sizeof *f->first_text);
    if (!grown)
        return error_set(e, "out of memory for %ld documents", lines);
    f->first_text = grown;
    return true;
}

bool feed_documents(feed *f, const train_config *c, const tokenizer *words, error *e)
{
    const train_data *sets;
    int count = train_sets(c, &sets);
    bool ok = true;
    for (int k = 0; ok && k < count; k++) {
        long bytes;
        char *path = mem_text("%s/%s", sets[k].root, sets[k].text_list);
        char *text = path ? file_load(path, 1L << 34, &bytes, e) : NULL;
        if (text && strlen(text) != (size_t)bytes) {
            error_set(e, "%s: a zero byte in it; expected text", QUOTE(path));
            mem_free(text);
            text = NULL;
        }
        ok = text ? room_for_documents(f, text, bytes, e)
                    && add_documents(f, c, &sets[k], words, path, text, e)
                  : path ? false : error_set(e, "out of memory");
        mem_free(path);
        mem_free(text);
    }
    return ok;
}

/* ---- batches ----------------------------------------------------------------------------------------- */
bool feed_show(void *context, drawn d, uint8_t *to, error *e)
{
    const feed *f = context;
    return album_show(&f->album, d, f->seed, to, e);
}

tensor *feed_bytes(const feed *f, tape *t, long B, const uint8_t *rgb)
{
    long S = f->album.size, each = 3 * S * S;
    tensor *x = ag_new(t, DIMS(B, 3, S, S));
    #pragma omp parallel for
    for (long b = 0; b < B; b++)
        picture_normalise(rgb + b*each, S, x->data + b*each);
    return x;
}

tensor *feed_pixels(const feed *f, tape *t, long batch, long B, const long *samples)
{
    long S = f->album.size, each = 3 * S * S;
    error e;
    const uint8_t *made = f->ahead ? ahead_take(f->ahead, batch, &e) : NULL;
    if (made)
        return feed_bytes(f, t, B, made);
    if (f->ahead)
        ag_fail("pictures", "%s; it was whole when the run began", e.text);
    tensor *x = ag_new(t, DIMS(B, 3, S, S));
    if (ag_spent(0))                                       /* only measured */
        return x;
    #pragma omp parallel for
    for (long b = 0; b < B; b++)
        picture_normalise(f->album.pages[samples[b]].held.rgb, S, x->data + b*each);
    return x;
}

long feed_caption(const feed *f, long sample, uint64_t key)
{
    return (long)(ag_uniform(key, 0) * (double)f->records[sample]->caption_count);
}
