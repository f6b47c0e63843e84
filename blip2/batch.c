/* batch.c - what stands under inputs/ of a file, by name (blip2.h). Everything that is missing, misshapen or
 * out of range is collected, so that whoever writes such a file sees it all at once.                       */
#include "blip2/blip2.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ANY = 0, WIDE = 35,             /* LAVIS pads texts to 35 tokens for retrieval */
       INSTRUCT_IN = 128, INSTRUCT_OUT = 256 };    /* InstructBLIP's longest question and answer */
const char *const blip2_tasks[] = { "stage1", "stage2", "itm", "features", "vision", NULL };

typedef struct reading {
    h5 *f;
    tape *t;
    const blip2_config *c;
    blip2_task task;
    error *e;
    long pictures, texts;              /* rows of each, once known; ANY before */
} reading;

static bool is_there(const reading *r, const char *name)
{
    return h5_has(r->f, name) == H5_DATASET;
}

/* "(4,any,20)", of 8 axes at most */
enum { SHAPE_SIZE = 200 };
static const char *shape_text(char to[SHAPE_SIZE], int ndim, const long *dim)
{
    int n = snprintf(to, SHAPE_SIZE, "(");
    for (int i = 0; i < ndim && i < 8; i++)
        n += dim[i] == ANY ? snprintf(to + n, (size_t)(SHAPE_SIZE - n), "%sany", i ? "," : "")
                           : snprintf(to + n, (size_t)(SHAPE_SIZE - n), "%s%ld", i ? "," : "", dim[i]);
    snprintf(to + n, (size_t)(SHAPE_SIZE - n), ")");
    return to;
}

/* Its shape, if it is a dataset of these axes and of such numbers; else one more line of the error. */
static bool fits(const reading *r, const char *name, h5_type as, int ndim, const long *dim, h5_shape *s)
{
    error why;
    char wanted[SHAPE_SIZE], found[SHAPE_SIZE];
    if (!h5_find(r->f, name, s, &why))
        return error_line(r->e, "%s", why.text);
    bool ok = s->ndim == ndim && s->size > 0;
    for (int i = 0; ok && i < ndim; i++)
        ok = dim[i] == ANY || dim[i] == s->dim[i];
    if (!ok)
        return error_line(r->e, "%s: %s: shape: expected %s, found %s", QUOTE(h5_path(r->f)), name,
                          shape_text(wanted, ndim, dim), shape_text(found, s->ndim, s->dim));
    return h5_expect(r->f, name, as, s->ndim, s->dim, &why) || error_line(r->e, "%s", why.text);
}

static void *read_all(const reading *r, const char *name, h5_type as, long width, const h5_shape *s)
{
    error why;
    void *to = ag_alloc(r->t, s->size * width);
    if (h5_read(r->f, name, as, s->ndim, s->dim, to, &why))
        return to;
    error_line(r->e, "%s", why.text);
    return NULL;
}

static tensor *reals(const reading *r, const char *name, int ndim, const long *dim)
{
    h5_shape s;
    if (!fits(r, name, H5_REALS, ndim, dim, &s))
        return NULL;
    const real *x = read_all(r, name, H5_REALS, sizeof(real), &s);
    return x ? ag_copy_in(r->t, s.ndim, s.dim, x) : NULL;
}

/* Integers from least to most (NULL: missing, misshapen or out of range). */
static int *ints(const reading *r, const char *name, int ndim, const long *dim, long least, long most,
                 h5_shape *s)
{
    if (!fits(r, name, H5_INTS, ndim, dim, s))
        return NULL;
    int *x = read_all(r, name, H5_INTS, sizeof *x, s);
    for (long i = 0; x && i < s->size; i++)
        if (x[i] < least || x[i] > most) {
            error_line(r->e, "%s: %s: number %ld: expected %ld to %ld, found %d", QUOTE(h5_path(r->f)), name,
                       i, least, most, x[i]);
            return NULL;
        }
    return x;
}

/* ---- pictures ----------------------------------------------------------------------------------------- */
static void read_pictures(reading *r, blip2_batch *b)
{
    const blip2_vit_config *v = &r->c->vision;
    bool tower = v->kind != BLIP2_VIT_NONE, image = is_there(r, "inputs/image");
    if (r->task == BLIP2_TASK_VISION || (image && !is_there(r, "inputs/vit_out"))) {
        if (!tower)
            error_line(r->e, "%s: inputs/image: the model has no vision tower; expected inputs/vit_out",
                       QUOTE(h5_path(r->f)));
        else
            b->pictures = reals(r, "inputs/image", 4, (long[]){ ANY, 3, v->image_size, v->image_size });
    } else {
        long side = tower ? v->image_size / v->patch : 0, N = tower ? side * side + 1 : ANY;
        b->features = reals(r, "inputs/vit_out", 3, (long[]){ ANY, N, r->c->qformer.memory_width });
    }
    const tensor *x = b->pictures ? b->pictures : b->features;
    r->pictures = x ? x->dim[0] : ANY;
    if (r->task == BLIP2_TASK_VISION && is_there(r, "inputs/cot") && tower) {
        long side = v->image_size / v->patch;
        b->cotangent = reals(r, "inputs/cot", 3, (long[]){ r->pictures, side * side + 1, v->width });
    }
}

/* ---- texts -------------------------------------------------------------------------------------------- */
/* ids and text_mask: as the model reads them. */
static blip2_text finished(reading *r, long B, long vocab, long longest)
{
    h5_shape s, m;
    const int *ids = ints(r, "inputs/ids", 2, (long[]){ B, ANY }, 0, vocab - 1, &s);
    if (!ids)
        return (blip2_text){ 0 };
    const int *keep = ints(r, "inputs/text_mask", 2, s.dim, 0, 1, &m);
    if (s.dim[1] > longest)
        error_line(r->e, "%s: inputs/ids: expected at most %ld tokens a text, found %ld",
                   QUOTE(h5_path(r->f)), longest, s.dim[1]);
    unsigned char *mask = ag_alloc(r->t, s.size);
    for (long i = 0; keep && i < s.size; i++)
        mask[i] = keep[i] != 0;
    return (blip2_text){ s.dim[0], s.dim[1], ids, mask };
}

static void read_bert(reading *r, blip2_batch *b, long B)
{
    const blip2_qformer_config *q = &r->c->qformer;
    h5_shape s;
    if (is_there(r, "inputs/ids")) {
        b->wide = b->text = finished(r, B, q->vocab, q->positions);
        return;
    }
    const int *raw = ints(r, "inputs/text", 2, (long[]){ B, ANY }, -1, q->vocab - 1, &s);
    if (!raw)
        return;
    long wide = WIDE < q->positions ? WIDE : q->positions, longest = 2;
    long pairs = r->pictures && r->pictures < s.dim[0] ? r->pictures : s.dim[0];
    b->wide = blip2_bert_rows(r->c, r->t, raw, s.dim[0], s.dim[1], wide);
    for (long i = 0; i < pairs * wide; i++)
        longest = b->wide.mask[i] && i % wide >= longest ? i % wide + 1 : longest;
    b->text = r->task == BLIP2_TASK_STAGE1
                  ? blip2_bert_rows(r->c, r->t, raw, s.dim[0], s.dim[1], r->c->max_text)
                  : blip2_bert_rows(r->c, r->t, raw, pairs, s.dim[1], longest);
}

/* In a case the prompt is written in its configuration, as words that are ids. */
static long prompt_tokens(const reading *r)
{
    error why;
    h5_shape s;
    if (is_there(r, "inputs/prompt_tokens")) {
        const int *n = ints(r, "inputs/prompt_tokens", 0, NULL, 0, r->c->opt.positions, &s);
        return n ? *n : 0;
    }
    char *text = h5_text(r->f, "", "config", &why);
    json_t *json = text ? json_loads(text, 0, NULL) : NULL;
    const char *words = json_string_value(json_object_get(json, "prompt"));
    long n = 0;
    for (char *end; words && (strtol(words, &end, 10), end != words); words = end)
        n++;
    json_decref(json);
    mem_free(text);
    return n ? n + 1 : 0;                                  /* and </s> */
}

static void read_opt(reading *r, blip2_batch *b)
{
    const blip2_opt_config *o = &r->c->opt;
    long room = o->positions - blip2_prompts(r->c, NULL);
    if (is_there(r, "inputs/ids"))
        b->text = finished(r, r->pictures, o->vocab, room);
    else {
        h5_shape s;
        const char *name = is_there(r, "inputs/text") ? "inputs/text" : "inputs/text_input";
        const int *raw = ints(r, name, 2, (long[]){ r->pictures, ANY }, -1, o->vocab - 1, &s);
        if (raw)
            b->text = blip2_opt_rows(o, r->t, raw, s.dim[0], s.dim[1], true,
                                     r->c->max_text < room ? r->c->max_text : room, false);
    }
    b->prompt_tokens = prompt_tokens(r);
    if (b->text.T && b->prompt_tokens >= b->text.T)
        error_line(r->e, "%s: a prompt of %ld tokens leaves nothing of texts of %ld to learn",
                   QUOTE(h5_path(r->f)), b->prompt_tokens, b->text.T);
}

static blip2_text t5_rows(reading *r, const char *name, long most, bool bert)
{
    h5_shape s;
    const blip2_config *c = r->c;
    long vocab = bert && c->qformer.vocab < c->t5.vocab ? c->qformer.vocab : c->t5.vocab, longest = 0;
    const int *raw = ints(r, name, 2, (long[]){ r->pictures, ANY }, -1, vocab - 1, &s);
    if (!raw)
        return (blip2_text){ 0 };
    blip2_text text = blip2_t5_rows(&c->t5, r->t, raw, s.dim[0], s.dim[1], most);
    longest = text.T + 1;                                  /* [CLS] and [SEP] for </s> */
    longest = longest < c->qformer.positions ? longest : c->qformer.positions;
    return bert ? blip2_bert_rows(c, r->t, raw, s.dim[0], s.dim[1], longest) : text;
}

static void read_t5(reading *r, blip2_batch *b)
{
    bool asks = r->c->question_in_qformer;
    b->text = t5_rows(r, "inputs/text_input", asks ? INSTRUCT_IN : r->c->max_text, false);
    b->target = t5_rows(r, "inputs/text_output", asks ? INSTRUCT_OUT : r->c->max_text, false);
    if (asks && b->text.B)
        b->question = t5_rows(r, "inputs/text_input", INSTRUCT_IN, true);
}

/* ---- the rest ----------------------------------------------------------------------------------------- */
static void read_pairs(reading *r, blip2_batch *b)
{
    h5_shape s;
    long B = b->text.B;
    if (is_there(r, "inputs/image_id")) {
        const int *ids = ints(r, "inputs/image_id", 1, &B, INT32_MIN, INT32_MAX, &s);
        long *wide = ag_alloc(r->t, (ids ? s.size : 0) * (long)sizeof *wide);
        for (long i = 0; ids && i < s.size; i++)
            wide[i] = ids[i];
        b->image_id = ids ? wide : NULL;
    }
    if (is_there(r, "inputs/neg_image"))
        b->negative_image = ints(r, "inputs/neg_image", 1, &B, 0, B - 1, &s);
    if (is_there(r, "inputs/neg_text"))
        b->negative_text = ints(r, "inputs/neg_text", 1, &B, 0, B - 1, &s);
}

/* Has the model what the task runs? */
static bool has_parts(const reading *r, const char **what)
{
    const blip2_config *c = r->c;
    bool two = r->task == BLIP2_TASK_STAGE2;
    *what = r->task == BLIP2_TASK_VISION ? "a vision tower"
          : two ? "the Q-Former or another connector, and a language model"
                : "the Q-Former with the heads of stage 1";
    if (r->task == BLIP2_TASK_VISION)
        return c->vision.kind != BLIP2_VIT_NONE;
    if (!(two ? blip2_bridged(c) : c->qformer.queries > 0))
        return false;
    return two ? c->llm != BLIP2_LLM_NONE : c->stage1 && c->qformer.head;
}

bool blip2_batch_read(h5 *f, tape *t, const blip2_config *c, blip2_task task, blip2_batch *b, error *e)
{
    reading r = { f, t, c, task, e, ANY, ANY };
    const char *what, *path = QUOTE(h5_path(f));
    *b = (blip2_batch){ 0 };
    if (!has_parts(&r, &what))
        return error_set(e, "%s: task %s needs a model with %s; this one has it not (`blip2 inspect`)", path,
                         blip2_tasks[task], what);
    e->lines = 0;
    read_pictures(&r, b);
    if (task == BLIP2_TASK_STAGE2 && c->llm == BLIP2_LLM_T5)
        read_t5(&r, b);
    else if (task == BLIP2_TASK_STAGE2)
        read_opt(&r, b);
    else if (task != BLIP2_TASK_VISION)
        read_bert(&r, b, task == BLIP2_TASK_STAGE1 ? r.pictures : ANY);
    if (task == BLIP2_TASK_STAGE1 && b->text.B)
        read_pairs(&r, b);
    if ((task == BLIP2_TASK_ITM || task == BLIP2_TASK_FEATURES) && b->text.B && b->text.B < r.pictures)
        error_line(e, "%s: %ld texts for %ld pictures; expected a text for each", path, b->text.B,
                   r.pictures);
    return error_close(e, ERROR_RUN, "%s: %d inputs of task %s are missing or do not fit", path, e->lines,
                       blip2_tasks[task]);
}
