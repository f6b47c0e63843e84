/* stand_in.c - data for a dry run whose data set is not there: pictures that nobody looks at, and texts of
 * full length, so that what a run would need is known before its data is fetched. A picture has one
 * caption. Texts are as long as model.max_txt_len lets them be, the documents of task lm as long as the
 * model reads. */
#include "train/internal.h"

/* (n) for all texts; the piece of a text is `each` sequences of `length` tokens. */
static bool fill_texts(feed *f, long n, long length, int id)
{
    sequences *s = &f->texts;
    long count = n * f->each;
    s->count = s->rows = count;
    s->used = s->room = count * length;
    s->tokens = mem_new((size_t)s->room * sizeof *s->tokens);
    s->first = mem_new((size_t)(count + 1) * sizeof *s->first);
    f->first_text = mem_new((size_t)(n + 1) * sizeof *f->first_text);
    f->first_question = mem_new((size_t)n * sizeof *f->first_question);
    f->first_asked = mem_new((size_t)n * sizeof *f->first_asked);
    if (!s->tokens || !s->first || !f->first_text || !f->first_question || !f->first_asked)
        return false;
    for (long i = 0; i < s->used; i++)
        s->tokens[i] = (weighted_token){ id, 1 };
    for (long i = 0; i <= count; i++)
        s->first[i] = i * length;
    for (long i = 0; i <= n; i++)
        f->first_text[i] = i * f->each;
    for (long i = 0; i < n; i++)
        f->first_question[i] = (i + 1) * f->each;          /* a caption comes before them */
    return true;
}

static bool fill_pictures(feed *f, long n, long size)
{
    static const record one = { .caption_count = 1 };
    f->album = (album){ .n = 0, .size = size };            /* none: nothing is to be decoded */
    f->records = mem_new((size_t)n * sizeof *f->records);
    for (long i = 0; f->records && i < n; i++)
        f->records[i] = &one;
    return f->records != NULL;
}

bool feed_stand_in(feed *f, const train_config *c, long n, error *e)
{
    const blip2_config *m = &c->model;
    const blip2_llm llm = blip2_llm_of(m);
    bool words = c->task == TRAIN_STAGE2 || c->task == TRAIN_LM, pieces = words && llm.encodes;
    long length = c->task == TRAIN_LM && llm.positions ? llm.positions : m->max_text;
    long pad = words ? llm.pad : m->text_pad;
    feed_free(f);
    f->n = n;
    f->set_count = 1;
    f->sets[0].n = n;
    f->each = pieces ? 2 : 1;
    return (fill_texts(f, n, length, pad == 0) && fill_pictures(f, n, m->vision.image_size))
           || error_set(e, "out of memory for %ld samples", n);
}
