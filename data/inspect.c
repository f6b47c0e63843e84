/* inspect.c - what a list of pictures holds (data.h): every picture is decoded once, whatever it is named,
 * and lengths, ids and answers are counted. */
#include "data/internal.h"
#include "data/packages.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- pictures ------------------------------------------------------------------------------------------ */
static int by_path(const void *a, const void *b)
{
    return strcmp((*(record *const *)a)->image, (*(record *const *)b)->image);
}

static int by_id(const void *a, const void *b)
{
    const record *x = *(record *const *)a, *y = *(record *const *)b;
    return (x->image_id > y->image_id) - (x->image_id < y->image_id);
}

static int by_size(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

/* order (n): sorted by id. The first ids that repeat are named. false: memory is out. */
static bool find_repeated(record *const *order, long n, inspection *to)
{
    bool ok = true, before = false;
    for (long i = 1; i < n; i++) {
        const record *r = order[i];
        bool repeats = r->image_id == order[i - 1]->image_id;
        if (repeats && !before && to->again_count < INSPECT_AGAIN) {
            char *name = r->id ? mem_text("%s", r->id) : mem_text("%ld", r->image_id);
            to->again[to->again_count] = name;
            to->again_count += name != NULL;
            ok = ok && name;
        }
        to->repeated_ids += repeats;
        before = repeats;
    }
    return ok;
}

/* A record for each picture, sorted by path: how many; -1: memory is out. */
static long distinct(const record_list *l, record ***to, inspection *found)
{
    long n = 0;
    record **order = *to = mem_new((size_t)l->count*sizeof *order + 1);
    if (!order)
        return -1;
    for (long i = 0; i < l->count; i++)
        order[i] = &l->items[i];
    qsort(order, (size_t)l->count, sizeof *order, by_id);
    if (!find_repeated(order, l->count, found))
        return -1;
    qsort(order, (size_t)l->count, sizeof *order, by_path);
    for (long i = 0; i < l->count; i++)
        if (!n || strcmp(order[n - 1]->image, order[i]->image))
            order[n++] = order[i];
    return n;
}

/* The picture of a record; false: missing or broken, and the text in e begins with its path. */
static bool read_picture(const char *root, const record *r, picture *p, bool *missing, error *e)
{
    char path[PATH_MAX];
    struct stat about;
    *p = (picture){ 0 };
    bool named = snprintf(path, sizeof path, "%s/%s", root, r->image) < (int)sizeof path;
    char *inside = named ? pack_inside(path) : NULL;
    if (inside)
        *inside = 0;
    *missing = !named || stat(path, &about);
    if (inside)
        *inside = '#';
    return *missing ? error_set(e, "%s: is not there", QUOTE(r->image)) : picture_read(p, path, e);
}

static bool look_at_pictures(const char *root, record **order, inspection *to)
{
    long n = to->pictures, missing = 0, broken = 0, good = 0;
    long *width = mem_new((size_t)n*sizeof *width + 1), *height = mem_new((size_t)n*sizeof *height + 1);
    char **wrong = mem_new((size_t)n*sizeof *wrong + 1);
    bool ok = width && height && wrong;
    #pragma omp parallel for schedule(dynamic) reduction(+:missing, broken) if (ok)
    for (long i = 0; i < (ok ? n : 0); i++) {
        picture p;
        error mine;
        bool away = false;
        if (!read_picture(root, order[i], &p, &away, &mine))
            wrong[i] = mem_text("%s", mine.text);
        missing += away;
        broken += !away && !p.rgb;
        width[i] = p.width;
        height[i] = p.height;
        picture_free(&p);
    }
    for (long i = 0; ok && i < n; i++) {
        bool named = wrong[i] && to->wrong_count < INSPECT_NAMES;
        if (named)
            to->wrong[to->wrong_count++] = wrong[i];
        else
            mem_free(wrong[i]);
        width[good] = width[i];
        height[good] = height[i];
        good += width[i] > 0;
    }
    to->missing = missing;
    to->broken = broken;
    for (int i = 0; ok && good && i < 3; i++) {
        qsort(width, (size_t)good, sizeof *width, by_size);
        qsort(height, (size_t)good, sizeof *height, by_size);
        to->width[i] = width[i*(good - 1)/2];
        to->height[i] = height[i*(good - 1)/2];
    }
    mem_free(width);
    mem_free(height);
    mem_free(wrong);
    return ok;
}

/* ---- texts --------------------------------------------------------------------------------------------- */
static long words_of(const char *s)
{
    long n = 0;
    for (bool inside = false; *s; s++) {
        bool white = strchr(" \t\r\n", *s);
        n += !white && !inside;
        inside = !white;
    }
    return n;
}

static bool count_lengths(ints *all, inspect_lengths *to)
{
    if (all->failed)
        return false;
    *to = (inspect_lengths){ .n = all->n, .bin = 1 };
    for (long i = 0; i < all->n; i++) {
        to->sum += all->at[i];
        to->least = i && to->least < all->at[i] ? to->least : all->at[i];
        to->most = to->most > all->at[i] ? to->most : all->at[i];
    }
    while (to->most >= to->bin*INSPECT_BINS)
        to->bin = to->bin == 1 ? 2 : to->bin == 2 ? 5 : 2*to->bin;
    for (long i = 0; i < all->n; i++)
        to->bins[all->at[i]/to->bin]++;
    return true;
}

static bool measure_captions(const record_list *l, const tokenizer *t, inspection *to, error *e)
{
    ints words = { 0 }, tokens = { 0 };
    token_list ids = { 0 };
    const tokenizer_options literal = { .literal = true };
    bool ok = true;
    for (long i = 0; ok && i < l->count; i++)
        for (long c = 0; ok && c < l->items[i].caption_count; c++) {
            const char *s = l->items[i].captions[c];
            data_push(&words, (int)words_of(s));
            to->empty += !words_of(s);
            ok = !t || tokenizer_encode(t, s, (long)strlen(s), &literal, &ids, e);
            if (t)
                data_push(&tokens, (int)ids.n);
        }
    ok = ok && ((count_lengths(&words, &to->words) && count_lengths(&tokens, &to->tokens))
                || data_no_memory(e, "inspect"));
    mem_free(words.at);
    mem_free(tokens.at);
    mem_free(ids.ids);
    return ok;
}

static int by_answer(const void *a, const void *b)
{
    const record_question *x = *(record_question *const *)a, *y = *(record_question *const *)b;
    int order = strcmp(x->type, y->type);
    return order ? order : strcmp(x->answer, y->answer);
}

/* q (n) in the order of types and answers: one entry a type, the rest beyond INSPECT_TYPES in the last. */
static void count_answers(record_question **q, long n, inspection *to)
{
    for (long i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && !by_answer(&q[i], &q[end]); end++)
            ;
        inspect_type *t = to->types ? &to->type[to->types - 1] : NULL;
        if ((!t || strcmp(t->type, q[i]->type)) && to->types < INSPECT_TYPES) {
            t = &to->type[to->types++];
            t->type = q[i]->type;
            t->common = "";
        }
        t->questions += end - i;
        if (!*q[i]->answer) {
            to->unanswered += end - i;
            continue;
        }
        t->answers++;
        if (end - i > t->common_count) {
            t->common = q[i]->answer;
            t->common_count = end - i;
        }
    }
}

static bool sort_questions(const record_list *l, inspection *to)
{
    record_question **q = mem_new((size_t)to->questions*sizeof *q + 1);
    long n = 0;
    if (!q)
        return false;
    for (long i = 0; i < l->count; i++)
        for (long k = 0; k < l->items[i].question_count; k++)
            q[n++] = &l->items[i].questions[k];
    qsort(q, (size_t)n, sizeof *q, by_answer);
    count_answers(q, n, to);
    mem_free(q);
    return true;
}

bool records_inspect(const char *root, const record_list *l, const tokenizer *t, inspection *to, error *e)
{
    record **order;
    *to = (inspection){ .records = l->count };
    for (long i = 0; i < l->count; i++) {
        to->captions += l->items[i].caption_count;
        to->questions += l->items[i].question_count;
    }
    to->pictures = distinct(l, &order, to);
    bool ok = (to->pictures >= 0 && sort_questions(l, to) && look_at_pictures(root, order, to))
              || data_no_memory(e, "inspect");
    ok = ok && measure_captions(l, t, to, e);
    mem_free(order);
    if (!ok)
        inspection_free(to);
    return ok;
}

void inspection_free(inspection *i)
{
    while (i->wrong_count)
        mem_free(i->wrong[--i->wrong_count]);
    while (i->again_count)
        mem_free(i->again[--i->again_count]);
}

/* ---- a sheet to look at -------------------------------------------------------------------------------- */
enum { SHEET_SIDE = 112, SHEET_PICTURES = 40 };

static void add_entry(struct sheet *s, long at, const char *root, const record *r)
{
    picture p, small = { 0 };
    error e;
    bool missing;
    buffer text = { 0 };
    bool ok = read_picture(root, r, &p, &missing, &e);
    long side = p.width > p.height ? p.width : p.height;
    ok = ok && picture_resize(&small, &p, (p.width*SHEET_SIDE + side - 1)/side,
                              (p.height*SHEET_SIDE + side - 1)/side, &e);
    data_print(&text, "%s", ok ? "" : missing ? "is not there: " : "broken: ");
    data_print(&text, "%s\n", r->image);
    for (long i = 0; i < r->caption_count; i++)
        data_print(&text, "%s\n", r->captions[i]);
    for (long i = 0; i < r->question_count; i++)
        data_print(&text, "%s %s\n", r->questions[i].question, r->questions[i].answer);
    if (!text.failed)
        data_sheet_add(s, at, &small, text.text);
    data_buffer_free(&text);
    picture_free(&small);
    picture_free(&p);
}

bool records_sheet(const char *root, const record_list *l, picture *page, error *e)
{
    struct sheet s;
    long n = l->count < SHEET_PICTURES ? l->count : SHEET_PICTURES;
    *page = (picture){ 0 };
    if (!data_sheet_begin(&s, n, SHEET_SIDE, e))
        return false;
    for (long i = 0; i < n; i++)
        add_entry(&s, i, root, &l->items[i*l->count/n]);
    *page = s.page;
    return true;
}
