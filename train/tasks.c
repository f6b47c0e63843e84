/* tasks.c - what one part of a batch is in each task: pictures and text in, a loss out. */
#include "train/internal.h"
#include <string.h>

/* A key for what is drawn for one sample in one epoch. */
static uint64_t draw_key(const run *r, long sample)
{
    return ag_mix(ag_mix((uint64_t)r->c->seed, 0x647261 + (uint64_t)r->epoch), (uint64_t)sample);
}

static const char **captions_of(run *r, tape *t, long B)
{
    const char **texts = ag_alloc(t, B * (long)sizeof *texts);
    for (long b = 0; b < B; b++)
        texts[b] = feed_caption(&r->feed, r->samples[b], draw_key(r, r->samples[b]));
    return texts;
}

/* (B,N,E) of the vision tower; a frozen one leaves nothing behind but its result. */
static tensor *features_of(run *r, tape *t, long B)
{
    ag_mark mark = ag_here(t);
    tensor *x = feed_pixels(&r->feed, t, B, r->samples);
    double from = clock_seconds();
    tensor *y = blip2_vision_features(&r->model, t, x);
    if (!y->needs_grad)
        y = ag_rewind_keep(t, mark, y);
    r->data_seconds -= clock_seconds() - from;             /* the tower is work, not data */
    return y;
}

tensor *task_stage1(run *r, tape *t, train_losses *l)
{
    double from = clock_seconds();
    long B = r->c->batch;
    blip2_stage1_in in = { .features = features_of(r, t, B), .image_id = feed_identities_of(&r->feed, t, B, r->samples) };
    in.text = feed_captions(t, r->bert, r->c->model.max_text, B, captions_of(r, t, B));
    r->data_seconds += clock_seconds() - from;
    blip2_stage1_out out = { 0 };
    blip2_stage1(&r->model, t, &in, &out);
    train_loss(l, "loss", ag_value(out.loss));
    train_loss(l, "itc", ag_value(out.itc));
    train_loss(l, "itm", ag_value(out.itm));
    train_loss(l, "itg", ag_value(out.itg));
    train_loss(l, "query_cosine", out.query_cosine);
    return out.loss;
}

/* ---- stage 2 --------------------------------------------------------------------------------------------------------- */
/* One caption behind its prompt, or several questions with their answers; *asked: the question that the Q-Former is to
 * read as well, where the model is made so (then there is one), or "" for a caption.                             */
static pieces sequence_of(const run *r, long sample, char **asked)
{
    const train_config *c = r->c;
    const blip2_opt_config *o = &c->model.opt;
    const record *one = &r->feed.records.items[sample];
    uint64_t key = draw_key(r, sample);
    pieces p = { 0 };
    *asked = NULL;
    if (ag_uniform(key, 1) < c->caption_share || !one->question_count) {
        const char *caption = c->first_caption && one->caption_count ? one->captions[0] : feed_caption(&r->feed, sample, ag_mix(key, 2));
        pieces_add(&p, r->llm, o, c->model.prompt, caption, c->context_weight);
        return p;
    }
    long first = (long)(ag_uniform(key, 3) * (double)one->question_count);
    long many = c->model.question_in_qformer ? 1 : c->questions < one->question_count ? c->questions : one->question_count;
    for (long k = 0; k < many; k++) {
        const record_question *q = &one->questions[(first + k) % one->question_count];
        char *given = blip2_question(&c->model, q->question), *said = mem_text(" %s", q->answer);
        if (given && said)
            pieces_add(&p, r->llm, o, given, said, c->context_weight);
        p.failed |= !given || !said;
        mem_free(given);
        mem_free(said);
        *asked = c->model.question_in_qformer ? q->question : NULL;
    }
    return p;
}

tensor *task_stage2(run *r, tape *t, train_losses *l)
{
    double from = clock_seconds();
    const train_config *c = r->c;
    long B = c->batch;
    blip2_stage2_in in = { .features = features_of(r, t, B) };
    pieces *rows = ag_alloc(t, B * (long)sizeof *rows);
    char **asked = ag_alloc(t, B * (long)sizeof *asked);
    #pragma omp parallel for
    for (long b = 0; b < B; b++)
        rows[b] = sequence_of(r, r->samples[b], &asked[b]);
    in.text = pieces_batch(t, B, rows, c->model.opt.positions - c->model.qformer.queries, c->model.opt.pad, &in.loss_weight);
    if (c->model.question_in_qformer)
        in.question = feed_questions(t, r->bert, c->model.max_text, B, (const char *const *)asked);
    r->data_seconds += clock_seconds() - from;
    blip2_stage2_out out = { 0 };
    blip2_stage2(&r->model, t, &in, false, &out);
    train_loss(l, "loss", ag_value(out.loss));
    train_loss(l, "query_cosine", out.query_cosine);
    return out.loss;
}

/* ---- the two pre-trainings ----------------------------------------------------------------------------------------------- */
/* For each caption the first of the batch that reads like it. */
static const long *alike(tape *t, long B, const char *const *texts)
{
    long *same = ag_alloc(t, B * (long)sizeof *same);
    for (long b = 0; b < B; b++)
        for (same[b] = 0; same[b] < b && strcmp(texts[same[b]], texts[b]); same[b]++)
            ;
    return same;
}

tensor *task_vit(run *r, tape *t, train_losses *l)
{
    double from = clock_seconds(), right;
    long B = r->c->batch;
    const char **texts = captions_of(r, t, B);
    const long *same = feed_identities_of(&r->feed, t, B, r->samples);
    if (!same)
        same = alike(t, B, texts);
    tensor *pictures = feed_pixels(&r->feed, t, B, r->samples);
    blip2_text text = feed_captions(t, r->bert, r->c->model.max_text, B, texts);
    r->data_seconds += clock_seconds() - from;
    tensor *loss = blip2_contrastive_loss(&r->contrastive, &r->model.vision, t, pictures, text, same, &right);
    train_loss(l, "loss", ag_value(loss));
    train_loss(l, "accuracy", right);
    return loss;
}

/* A document's first piece is context unless it asks and answers; later captions are to be told from it and count. */
static pieces document_of(const run *r, long sample)
{
    const train_config *c = r->c;
    pieces p = { 0 };
    char *copy = mem_text("%s", r->feed.documents[sample]);
    p.failed = !copy;
    bool first = true;
    for (char *piece = copy; piece; first = false) {
        char *tab = strchr(piece, '\t');
        if (tab)
            *tab = 0;
        char *answer = strstr(piece, "answer:");
        const char *said = answer ? answer + 7 : first ? "" : piece;
        char *given = mem_text("%.*s", answer ? (int)(said - piece) : first ? (int)strlen(piece) : 0, piece);
        if (given)
            pieces_add(&p, r->llm, &c->model.opt, given, said, c->context_weight);
        p.failed |= !given;
        mem_free(given);
        piece = tab ? tab + 1 : NULL;
    }
    mem_free(copy);
    return p;
}

tensor *task_lm(run *r, tape *t, train_losses *l)
{
    double from = clock_seconds();
    const train_config *c = r->c;
    blip2_stage2_in in = { 0 };
    pieces *rows = ag_alloc(t, c->batch * (long)sizeof *rows);
    #pragma omp parallel for
    for (long b = 0; b < c->batch; b++)
        rows[b] = document_of(r, r->samples[b]);
    in.text = pieces_batch(t, c->batch, rows, c->model.opt.positions, c->model.opt.pad, &in.loss_weight);
    r->data_seconds += clock_seconds() - from;
    blip2_stage2_out out = { 0 };
    blip2_stage2(&r->model, t, &in, false, &out);
    train_loss(l, "loss", ag_value(out.loss));
    return out.loss;
}
