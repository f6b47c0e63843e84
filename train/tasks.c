/* tasks.c - what one part of a batch is in each task: pictures and text in, a loss out. */
#include "train/internal.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A key for what is drawn for a sample of the part in hand: another at each visit of its data set. */
static uint64_t draw_key(const run *r, long b)
{
    return ag_mix(ag_mix((uint64_t)r->c->seed, 0x647261 + (uint64_t)r->visits[b]), (uint64_t)r->samples[b]);
}

/* (B) which caption of each sample is used */
static const long *captions_of(const run *r, tape *t, long B)
{
    long *rows = ag_alloc(t, B * (long)sizeof *rows);
    for (long b = 0; b < B; b++) {
        long any = feed_caption(&r->feed, r->samples[b], draw_key(r, b));
        rows[b] = r->feed.first_text[r->samples[b]] + (r->c->first_caption ? 0 : any);
    }
    return rows;
}

/* Texts for the Q-Former, [CLS] ... [SEP]; a row of -1 has no token that may be looked at. */
static blip2_text words_of(const run *r, tape *t, const sequences *s, const long *rows, long B)
{
    const blip2_config *m = &r->c->model;
    return sequences_batch(s, t, B, 1, rows, m->max_text, m->text_pad, NULL);
}

static void merge(long *ids, long n, long a, long b)
{
    for (long i = 0; i < n; i++)
        ids[i] = ids[i] == a ? b : ids[i];
}

/* (n) equal for pairs that are positives of each other, or NULL; of: those of the samples. With
 * TRAIN_IDENTITY_TEXT also where the texts of the batch, rows, read the same: "flag, africa" of one picture
 * is no wrong text for another that has it, too. All ranks find the same: they look at the whole batch. */
static const long *positives_of(const run *r, tape *t, long n, const long *of, const long *rows)
{
    if (!of || r->c->identity != TRAIN_IDENTITY_TEXT)
        return of;
    long count = n * ag_world(r->ranks);
    long *key = ag_alloc(t, n * (long)sizeof *key), *ids = ag_alloc(t, count * (long)sizeof *ids);
    for (long b = 0; b < n; b++)
        key[b] = sequences_key(&r->feed.texts, rows[b]);
    const long *keys = blip2_gather_ids(t, r->ranks, key, n);
    memcpy(ids, blip2_gather_ids(t, r->ranks, of, n), (size_t)count * sizeof *ids);
    for (long i = 0; i < count; i++)
        for (long j = 0; j < i; j++)
            if (keys[i] == keys[j] && ids[i] != ids[j])
                merge(ids, count, ids[i] > ids[j] ? ids[i] : ids[j], ids[i] > ids[j] ? ids[j] : ids[i]);
    return ids + n * ag_rank(r->ranks);
}

/* (B,N,E): row b becomes row b + shift of x. */
static tensor *rotated(tape *t, tensor *x, long shift)
{
    int *from = ag_alloc(t, x->dim[0] * (long)sizeof *from);
    for (long b = 0; b < x->dim[0]; b++)
        from[b] = (int)((b + shift) % x->dim[0]);
    return ag_gather(t, x, from, x->dim[0]);
}

/* (B,N,E) of the vision tower, computed or read; a frozen one leaves nothing behind but its result. */
static tensor *features_of(run *r, tape *t, long B)
{
    const blip2_vit_config *v = &r->c->model.vision;
    long side = v->patch ? v->image_size / v->patch : 0;
    if (*r->c->feature_cache && !ag_spent(0))
        return features_take(&r->feed, t, r->part, B);
    if (*r->c->feature_cache && r->stepper.step > 0) /* measured: one step as if the cache were being made */
        return ag_new(t, DIMS(B, 1 + side * side, v->width));
    ag_mark mark = ag_here(t);
    tensor *x = feed_pixels(&r->feed, t, r->part, B, r->samples);
    double from = clock_seconds();
    tensor *y = blip2_vision_features(&r->model, t, x);
    if (!y->needs_grad)
        y = ag_rewind_keep(t, mark, y);
    if (r->probe && r->probe->shift)
        y = rotated(t, y, r->probe->shift);
    r->data_seconds -= clock_seconds() - from;             /* the tower is work, not data */
    return y;
}

/* ---- stage 1 in parts that are one batch (run.accum_exact, blip2/large_batch.c) ----------------------- */
bool run_exact(const run *r)
{
    return r->c->task == TRAIN_STAGE1 && r->c->accum_exact && r->c->accumulate > 1;
}

static bool tower_trained(const run *r)
{
    for (long i = 0; i < r->store->count; i++)
        if (!r->store->entries[i].frozen && nn_has_prefix(r->store->entries[i].name, "visual_encoder"))
            return true;
    return false;
}

/* Captions, image ids and, for a trained tower, pictures of all this rank's parts. */
static void open_large(run *r, tape *t)
{
    long B = r->c->batch, K = r->c->accumulate,
         grid = r->c->model.vision.image_size / r->c->model.vision.patch;
    long *rows = ag_alloc(t, K * B * (long)sizeof *rows), *ids = ag_alloc(t, K * B * (long)sizeof *ids);
    bool trained = tower_trained(r), named = false;
    r->pictures = trained ? ag_alloc(t, K * (long)sizeof(tensor *)) : NULL;
    for (int part = 0; part < K; part++) {
        run_part(r, t, part);
        const long *captions = captions_of(r, t, B), *of = feed_identities_of(&r->feed, t, B, r->samples);
        memcpy(rows + part * B, captions, (size_t)B * sizeof *rows);
        if ((named = of))
            memcpy(ids + part * B, of, (size_t)B * sizeof *ids);
        if (trained)
            r->pictures[part] = feed_pixels(&r->feed, t, r->part, B, r->samples);
    }
    blip2_text text = words_of(r, t, &r->feed.texts, rows, K * B);         /* (K B,T) */
    const long *positives = positives_of(r, t, K * B, named ? ids : NULL, rows);
    r->large = blip2_large_new(&r->model, t, r->ranks, K, text, positives, 1 + grid * grid, trained);
}

void task_before(void *context, tape *t)
{
    run *r = context;
    double from = clock_seconds();
    open_large(r, t);
    bool recording = ag_record_on(t, false);
    r->data_seconds += clock_seconds() - from;
    for (int part = 0; part < r->c->accumulate; part++) {
        ag_mark here = ag_here(t);
        run_part(r, t, part);
        from = clock_seconds();
        double before = r->data_seconds;
        tensor *features = r->pictures ? blip2_vision_features(&r->model, t, r->pictures[part])
                                       : features_of(r, t, r->c->batch);   /* (B,N,E) */
        r->data_seconds = r->pictures ? before : r->data_seconds + clock_seconds() - from;
        blip2_large_show(&r->model, t, r->ranks, &r->large, part, features);
        ag_rewind(t, here);
    }
    ag_record_on(t, recording);
}

void task_after(void *context, tape *t)
{
    run *r = context;
    for (int part = 0; r->pictures && part < r->c->accumulate; part++) {
        ag_mark here = ag_here(t);
        run_part(r, t, part);
        blip2_large_back(&r->model, t, r->ranks, &r->large, part, r->pictures[part]);
        ag_rewind(t, here);
    }
}

/* The share of ITM's rows, a third of which belong together, that the head tells rightly. */
static double matched_right(tape *t, const blip2_stage1_out *out)
{
    ag_mark mark = ag_here(t);
    long rows = out->itm_logits->dim[0], right = 0;
    real *x = ag_alloc_real(t, 2 * rows);
    ag_read(out->itm_logits, x);
    for (long i = 0; i < rows; i++)
        right += (x[2*i + 1] > x[2*i]) == (out->itm_labels[i] == 1);
    ag_rewind(t, mark);
    return (double)right / (double)rows;
}

static tensor *task_stage1(run *r, tape *t, train_losses *l)
{
    double from = clock_seconds();
    long B = r->c->batch;
    blip2_stage1_in in = { .weights = &r->c->loss_weights, .ranks = r->ranks,
                           .soft_negatives = 1 - r->c->hard_negatives };
    if (run_exact(r)) {
        in.large = &r->large;
        in.part = r->part % r->c->accumulate;
    } else {
        in.features = features_of(r, t, B);
        const long *rows = captions_of(r, t, B);
        in.image_id = positives_of(r, t, B, feed_identities_of(&r->feed, t, B, r->samples), rows);
        in.text = words_of(r, t, &r->feed.texts, rows, B);
    }
    r->data_seconds += clock_seconds() - from;
    blip2_stage1_out out = { 0 };
    blip2_stage1(&r->model, t, &in, &out);
    train_loss(l, "loss", ag_value(out.loss));
    if (out.itc)
        train_loss(l, "loss_itc", ag_value(out.itc));
    if (out.itm)
        train_loss(l, "loss_itm", ag_value(out.itm));
    if (out.itg)
        train_loss(l, "loss_lm", ag_value(out.itg));
    if (out.itm)
        train_loss(l, "itm_acc", matched_right(t, &out));
    train_loss(l, "temp", ag_value(r->model.temp));
    train_loss(l, "query_cosine", out.query_cosine);
    return out.loss;
}

/* ---- stage 2 ----------------------------------------------------------------------------------------- */
/* One caption behind its prompt, or up to `each` questions with their answers (-1: none); *asked: the
 * question that the Q-Former is to read as well, where the model is made so, or -1.                        */
static void choose_sequence(const run *r, long b, long each, long *rows, long *asked)
{
    const train_config *c = r->c;
    const feed *f = &r->feed;
    long sample = r->samples[b];
    const record *one = f->records[sample];
    uint64_t key = draw_key(r, b);
    for (long k = 0; k < each; k++)
        rows[k] = -1;
    *asked = -1;
    if ((one->caption_count && ag_uniform(key, 1) < c->caption_share) || !one->question_count) {
        long caption = c->first_caption ? 0 : feed_caption(f, sample, ag_mix(key, 2));
        rows[0] = f->first_text[sample] + caption * f->each;
        return;
    }
    long first = (long)(ag_uniform(key, 3) * (double)one->question_count);
    long many = each < one->question_count ? each : one->question_count;
    for (long k = 0; k < many; k++)
        rows[k] = f->first_question[sample] + (first + k) % one->question_count * f->each;
    if (c->model.question_in_qformer)
        *asked = f->first_asked[sample] + first;
}

/* The pieces of rows (B): a share of the captions is split at random. */
static void exchanges_of(const run *r, tape *t, const long *rows, blip2_stage2_in *in)
{
    const feed *f = &r->feed;
    long B = r->c->batch;
    exchange *x = ag_alloc(t, B * (long)sizeof *x);
    for (long b = 0; b < B; b++) {
        uint64_t key = draw_key(r, b);
        bool caption = rows[b] < f->first_question[r->samples[b]];
        x[b] = exchange_piece(&f->texts, rows[b], caption && ag_uniform(key, 4) < r->c->prefix_share,
                              ag_mix(key, 5));
    }
    exchange_batch(&f->texts, t, &r->c->model, B, x, in);
}

static tensor *task_stage2(run *r, tape *t, train_losses *l)
{
    double from = clock_seconds();
    const train_config *c = r->c;
    const blip2_config *m = &c->model;
    const blip2_llm llm = blip2_llm_of(m);
    long B = c->batch, each = m->question_in_qformer || llm.encodes ? 1 : c->questions;
    blip2_stage2_in in = { .features = features_of(r, t, B), .ranks = r->ranks };
    long *rows = ag_alloc(t, B * each * (long)sizeof *rows), *asked = ag_alloc(t, B * (long)sizeof *asked);
    for (long b = 0; b < B; b++)
        choose_sequence(r, b, each, rows + b*each, &asked[b]);
    if (llm.encodes)
        exchanges_of(r, t, rows, &in);
    else
        in.text = sequences_batch(&r->feed.texts, t, B, each, rows, llm.positions - blip2_prompts(m, NULL),
                                  llm.pad, &in.loss_weight);
    if (m->question_in_qformer)
        in.question = words_of(r, t, &r->feed.asked, asked, B);
    r->data_seconds += clock_seconds() - from;
    blip2_stage2_out out = { 0 };
    if (r->probe && r->probe->blind)
        in.features = NULL;
    blip2_stage2(&r->model, t, &in, false, &out);
    if (r->probe)
        r->probe->two = out;
    train_loss(l, "loss", ag_value(out.loss));
    if (out.query_output)
        train_loss(l, "query_cosine", out.query_cosine);
    return out.loss;
}

/* ---- the two pre-trainings --------------------------------------------------------------------------- */
/* For each caption the first of the batch that reads like it. */
static const long *alike(tape *t, blip2_text text)
{
    long *same = ag_alloc(t, text.B * (long)sizeof *same);
    for (long b = 0; b < text.B; b++)
        for (same[b] = 0; same[b] < b; same[b]++)
            if (!memcmp(text.ids + same[b]*text.T, text.ids + b*text.T, (size_t)text.T * sizeof *text.ids))
                break;
    return same;
}

static tensor *task_vit(run *r, tape *t, train_losses *l)
{
    double from = clock_seconds(), right;
    long B = r->c->batch;
    tensor *pictures = feed_pixels(&r->feed, t, r->part, B, r->samples);
    const long *rows = captions_of(r, t, B);
    blip2_text text = words_of(r, t, &r->feed.texts, rows, B);
    const long *same = positives_of(r, t, B, feed_identities_of(&r->feed, t, B, r->samples), rows);
    r->data_seconds += clock_seconds() - from;
    text = blip2_trim(t, r->ranks, text, r->c->model.text_pad, false);
    same = same ? blip2_gather_ids(t, r->ranks, same, B) : alike(t, blip2_gather_text(t, r->ranks, text));
    tensor *loss = blip2_contrastive_loss(&r->contrastive, &r->model.vision, t, pictures, text, same,
                                          r->ranks, &right);
    train_loss(l, "loss", ag_value(loss));
    train_loss(l, "accuracy", right);
    return loss;
}

static tensor *task_lm(run *r, tape *t, train_losses *l)
{
    double from = clock_seconds();
    const blip2_llm llm = blip2_llm_of(&r->c->model);
    const feed *f = &r->feed;
    long B = r->c->batch;
    blip2_stage2_in in = { .ranks = r->ranks };
    if (llm.encodes) {
        exchange *x = ag_alloc(t, B * (long)sizeof *x);
        for (long b = 0; b < B; b++) {
            const long *first = &f->first_text[r->samples[b]];
            x[b] = exchange_document(&f->texts, first[0], first[1], draw_key(r, b));
        }
        exchange_batch(&f->texts, t, &r->c->model, B, x, &in);
    } else
        in.text = sequences_batch(&f->texts, t, B, 1, r->samples, llm.positions, llm.pad, &in.loss_weight);
    r->data_seconds += clock_seconds() - from;
    blip2_stage2_out out = { 0 };
    blip2_stage2(&r->model, t, &in, false, &out);
    train_loss(l, "loss", ag_value(out.loss));
    return out.loss;
}

tensor *task_forward(run *r, tape *t, train_losses *l)
{
    static tensor *(*const tasks[])(run *, tape *, train_losses *) = {
        task_stage1, task_stage2, task_vit, task_lm };
    return tasks[r->c->task](r, t, l);
}

/* ---- what a model that knows nothing gets: all answers equally likely -------------------------------- */
double task_start(const run *r, const char *loss, char why[32])
{
    const train_config *c = r->c;
    bool all = !strcmp(loss, "loss");
    long n = 0;
    if (!strcmp(loss, "loss_itc") || (all && c->task == TRAIN_VIT))
        n = c->batch * ag_world(r->ranks) * (run_exact(r) ? c->accumulate : 1);
    else if (!strcmp(loss, "loss_itm"))
        n = 2;
    else if (!strcmp(loss, "loss_lm"))
        n = c->model.qformer.vocab;
    else if (all && (c->task == TRAIN_LM || c->task == TRAIN_STAGE2))
        n = blip2_llm_of(&c->model).vocab;
    snprintf(why, 32, "ln %ld", n);
    return n ? log((double)n) : NAN;
}
