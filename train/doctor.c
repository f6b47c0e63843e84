/* doctor.c - a trained model under the tests for the known ways of training badly. Each test is a figure with
 * a threshold. The first asks what nothing else shows: is the loss with a sample's own picture lower than
 * with another's? A model that reads its text alone, or that has one answer for all, is found by that,
 * however good its loss looks. The differences are taken batch by batch over the same samples, and the
 * interval is Student's over the batches. */
#include "train/internal.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BATCHES = 64, FEWEST = 4, WANTED = 8, KINDS = 3 };
typedef struct series { long n; double x[BATCHES]; } series;
/* What is kept of the batches: each loss with the own picture, another's, and none; figures of the own. */
typedef struct record_card {
    series loss[KINDS][TRAIN_LOSSES], cosine, right, ratio;
    const char *name[TRAIN_LOSSES];
    int count;
} record_card;

static void add(series *s, double x)
{
    if (s->n < BATCHES)
        s->x[s->n++] = x;
}

/* ---- figures and their intervals --------------------------------------------------------------------- */
/* Student's 97.5 % point by its expansion in 1/n (Abramowitz & Stegun 26.7.5), good to 1 % from n = 3 on. */
static double student(long n)
{
    const double z = 1.959964, v = (double)n, z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
    return z + (z3 + z) / (4 * v) + (5 * z5 + 16 * z3 + 3 * z) / (96 * v * v)
           + (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * v * v * v);
}

static double mean_of(const series *s, double *half)
{
    double sum = 0, square = 0;
    for (long i = 0; i < s->n; i++)
        sum += s->x[i];
    double mean = sum / (double)s->n;
    for (long i = 0; i < s->n; i++)
        square += (s->x[i] - mean) * (s->x[i] - mean);
    *half = s->n < 2 ? NAN : student(s->n - 1) * sqrt(square / (double)(s->n - 1) / (double)s->n);
    return mean;
}

typedef struct limits { double low_ill, low_doubtful, high_doubtful, high_ill; } limits;

static train_verdict judge(double x, limits l)
{
    if (!isfinite(x) || x <= l.low_ill || x >= l.high_ill)
        return TRAIN_ILL;
    return x < l.low_doubtful || x > l.high_doubtful ? TRAIN_DOUBTFUL : TRAIN_FINE;
}

static train_finding *find(train_diagnosis *d, const char *name, const series *s, limits l,
                           const char *advice)
{
    double half;
    train_finding *f = &d->finding[d->count < TRAIN_FINDINGS ? d->count++ : TRAIN_FINDINGS - 1];
    *f = (train_finding){ .advice = advice };
    snprintf(f->name, sizeof f->name, "%s", name);
    f->figure = mean_of(s, &half);
    f->low = f->figure - half;
    f->high = f->figure + half;
    f->verdict = judge(f->figure, l);
    return f;
}

/* ---- the tests ----------------------------------------------------------------------------------------- */
/* One loss with what the model is to look at, against without: how much is it worth? */
static void find_worth(train_diagnosis *d, const record_card *card, int i, int kind)
{
    series gain = { 0 };
    double half, own = mean_of(&card->loss[0][i], &half), other = mean_of(&card->loss[kind][i], &half);
    for (long k = 0; k < card->loss[0][i].n && k < card->loss[kind][i].n; k++)
        add(&gain, card->loss[kind][i].x[k] - card->loss[0][i].x[k]);
    char name[64];
    snprintf(name, sizeof name, kind == 1 ? "picture_%s" : "prompt_%s",
             strncmp(card->name[i], "loss_", 5) ? "lm" : card->name[i] + 5);
    train_finding *f = find(d, name, &gain, (limits){ -INFINITY, -INFINITY, INFINITY, INFINITY }, kind == 1
        ? "the picture hardly matters to this loss. Is the picture the one of its text (dataset inspect "
          "draws a sheet)? Does the vision tower come from a file (modules.txt)? Are the queries one "
          "(query_cosine)? Then train longer, or with a larger init_lr"
        : "the language model says as much without any picture. Look at prompt_scale, at whether the "
          "Q-Former comes from stage 1 (modules.txt), and at the share of the loss that the text alone "
          "decides (context_weight: 0)");
    snprintf(f->threshold, sizeof f->threshold, "interval above 0, and over 5 %% of %.3g", other);
    snprintf(f->what, sizeof f->what, "%s %.4f with its own picture, %.4f with %s", card->name[i], own, other,
             kind == 1 ? "another's" : "none");
    f->verdict = !(f->low > 0) ? TRAIN_ILL : f->figure < 0.05 * fabs(other) ? TRAIN_DOUBTFUL : TRAIN_FINE;
}

static int loss_named(const record_card *card, const char *name)
{
    for (int i = 0; i < card->count; i++)
        if (!strcmp(card->name[i], name))
            return i;
    return -1;
}

static void find_matching(train_diagnosis *d, const record_card *card)
{
    int i = loss_named(card, "loss_itm");
    train_finding *f = find(d, "itm_loss", &card->loss[0][i], (limits){ -1, -1, 0.5, 0.617 },
        "matching has not left the constant guess, one in three. It leaves it late: train longer, with a "
        "longer warm-up; families: true gives it negatives worth telling apart; see picture_itc first, whose "
        "scores choose the negatives");
    snprintf(f->threshold, sizeof f->threshold, "below 0.5; 0.637 is the constant guess");
    snprintf(f->what, sizeof f->what, "loss_itm, own pictures and texts against hard negatives");
    f = find(d, "itm_accuracy", &card->right, (limits){ 0.687, 0.75, 2, 2 }, "see itm_loss");
    snprintf(f->threshold, sizeof f->threshold, "above 0.75; 0.667 is the constant guess");
    snprintf(f->what, sizeof f->what, "share of pairs told rightly, one of three belongs together");
}

static void find_temperature(train_diagnosis *d, double temp, bool frozen)
{
    series s = { 1, { temp } };
    train_finding *f = find(d, "temperature", &s, (limits){ 0.001, 0.01, 0.2, 0.5 },
                            "temp has drifted to a bound: the scores of ITC are nearly a maximum, or nearly "
                            "equal. Set model.fixed_temperature: true with 0.07, or train it with a smaller "
                            "rate");
    f->low = f->high = NAN;
    snprintf(f->threshold, sizeof f->threshold, "0.01 to 0.2; bounds 0.001 and 0.5");
    snprintf(f->what, sizeof f->what, "temp, which divides the scores of ITC%s",
             frozen ? "; it is fixed" : "");
}

static void find_collapse(train_diagnosis *d, const record_card *card)
{
    train_finding *f = find(d, "query_cosine", &card->cosine, (limits){ -2, -2, 0.7, 0.95 },
                            "the queries have become one: each says the same of a picture, and a language "
                            "model gets one vector. Start anew with query_std: 0.3, output_scale: 0.35, a "
                            "longer warm-up and a smaller init_lr");
    snprintf(f->threshold, sizeof f->threshold, "below 0.7; 0.95 and more is collapse");
    snprintf(f->what, sizeof f->what, "mean cosine between the outputs of different queries of a picture");
}

static void find_all(train_diagnosis *d, const run *r, const record_card *card)
{
    bool one = r->c->task == TRAIN_STAGE1;
    for (int i = 0; i < card->count; i++)
        if (one ? !strncmp(card->name[i], "loss_", 5) : !strcmp(card->name[i], "loss"))
            for (int kind = 1; kind < (one ? 2 : KINDS); kind++)
                find_worth(d, card, i, kind);
    if (r->c->model.connector != BLIP2_CONNECTOR_QFORMER)
        d->left_out = "query_cosine: the connector has no queries";
    else if (r->c->model.qformer.queries == 1)
        d->left_out = "query_cosine: the model has one query";
    else
        find_collapse(d, card);
    if (one) {
        find_matching(d, card);
        find_temperature(d, ag_value(r->model.temp), r->c->model.fixed_temperature);
        return;
    }
    train_finding *f = find(d, "prompt_scale", &card->ratio, (limits){ 0.01, 0.1, 10, 100 },
             "visual prompts of another size than words: the language model's first norm hides one beside "
             "the other. Start the projection so that both are alike, and lower init_lr if it grew while it "
             "trained");
    snprintf(f->threshold, sizeof f->threshold, "0.1 to 10; beyond 0.01 and 100 is ill");
    snprintf(f->what, sizeof f->what, "mean norm of the visual prompts over that of the embedded words");
}

/* ---- the batches --------------------------------------------------------------------------------------- */
/* Mean norm of rows from..to-1 of each of x (B,T,D) where mask (B,T) is set. */
static double norm_of(tape *t, const tensor *x, long from, long to, const unsigned char *mask)
{
    long B = x->dim[0], T = x->dim[1], D = x->dim[2], rows = 0;
    real *all = ag_alloc_real(t, x->size);
    double sum = 0;
    ag_read(x, all);
    for (long b = 0; b < B; b++)
        for (long i = from; i < to; i++) {
            double square = 0;
            for (long k = 0; mask[b*T + i] && k < D; k++)
                square += (double)all[(b*T + i)*D + k] * (double)all[(b*T + i)*D + k];
            rows += mask[b*T + i];
            sum += sqrt(square);
        }
    return rows ? sum / (double)rows : NAN;
}

typedef struct visit { run r; record_card *card; long batches; } visit;

/* Neighbours in the list stand in different batches: they may be of one picture, or of one family. */
static void one_pass(visit *v, long part, int kind)
{
    run *r = &v->r;
    tape *t = r->t;
    long B = r->c->batch;
    probe look = { .shift = kind == 1 ? B / 2 : 0, .blind = kind == 2 };
    train_losses l = { 0 };
    ag_reset(t);
    long *samples = ag_alloc(t, B * (long)sizeof *samples), *visits = ag_alloc(t, B * (long)sizeof *visits);
    int *rows = ag_alloc(t, B * (long)sizeof *rows);
    for (long b = 0; b < B; b++) {
        rows[b] = (int)(samples[b] = b * v->batches + part);
        visits[b] = 0;
    }
    r->samples = samples;
    r->visits = visits;
    r->part = part;
    r->probe = &look;
    ag_training(t, false);
    ag_seed(t, (ag_random){ .seed = (uint64_t)r->c->seed, .sample = rows });
    task_forward(r, t, &l);
    record_card *card = v->card;
    card->count = l.count;
    for (int i = 0; i < l.count; i++) {
        card->name[i] = l.name[i];
        add(&card->loss[kind][i], l.value[i]);
        if (!kind && !strcmp(l.name[i], "query_cosine"))
            add(&card->cosine, l.value[i]);
        if (!kind && !strcmp(l.name[i], "itm_acc"))
            add(&card->right, l.value[i]);
    }
    if (kind || r->c->task != TRAIN_STAGE2)
        return;
    long Q = look.two.projected->dim[1], T = look.two.embeddings->dim[1];
    add(&card->ratio, norm_of(t, look.two.embeddings, 0, Q, look.two.mask)
                      / norm_of(t, look.two.embeddings, Q, T, look.two.mask));
}

static void all_passes(void *context)
{
    visit *v = context;
    for (long part = 0; part < v->batches; part++)
        for (int kind = 0; kind < (v->r.c->task == TRAIN_STAGE1 ? 2 : KINDS); kind++)
            one_pass(v, part, kind);
}

/* ---- the whole ----------------------------------------------------------------------------------------- */
/* The architecture is the model's; where the data is and how texts are made of it, the configuration says. */
static bool configure(train_config *c, const char *model, long samples, error *e)
{
    h5 *f = h5_open(model, e);
    bool ok = f && blip2_read_config(f, &c->model, e);
    h5_close(f);
    if (!ok)
        return false;
    bool shows = c->model.qformer.queries || c->model.connector != BLIP2_CONNECTOR_QFORMER;
    if (!shows || !(c->model.stage1 || c->model.llm != BLIP2_LLM_NONE))
        return error_set(e, "%s: expected a model of stage 1 or stage 2, found one without %s", QUOTE(model),
                         shows ? "heads or a language model" : "a Q-Former");
    c->task = c->model.stage1 ? TRAIN_STAGE1 : TRAIN_STAGE2;
    c->val_samples = samples;
    train_config looked;
    if (watched_config(c, &looked))
        *c = looked;
    else                                                   /* then the list that it was trained on */
        for (int k = -1; k < CONFIG_NAMED_MOST; k++) {
            train_data *d = k < 0 ? &c->data : &c->set[k];
            d->view = TRAIN_VIEW_WHOLE;
            d->max_samples = samples;
        }
    c->memory_mb = 1L << 30;                               /* few pictures: all are held as they are shown */
    c->pretrained.count = 1;
    snprintf(c->pretrained.item[0], sizeof c->pretrained.item[0], "%.*s", CONFIG_TEXT_SIZE - 1, model);
    *c->bert = *c->bert_tokenizer = *c->llm_tokenizer = 0;
    c->accumulate = c->max_iters = 1;
    c->freeze.count = 0;
    c->patience = c->best_by = 0;
    *c->feature_cache = 0;
    c->loss_weights = (blip2_stage1_weights){ 1, 1, 1 };           /* what was left out is looked at, too */
    c->families = false;
    return true;
}

/* A part that is not in the file would be judged by its random start. */
static bool all_from_file(const nn_store *s, const char *model, error *e)
{
    e->lines = 0;
    for (long i = 0; i < s->count; i++)
        if (!s->entries[i].source && !s->entries[i].alias_of)
            error_line(e, "%s: %s: missing", QUOTE(model), s->entries[i].name);
    return error_close(e, ERROR_RUN, "%s: %d parameters are missing", QUOTE(model), e->lines);
}

bool train_doctor(const train_config *given, const char *model, long samples, const train_watch *watch,
                  train_diagnosis *d, error *e)
{
    train_config c = *given;
    run r = { .watch = watch, .use = true };
    long batch = c.batch;
    *d = (train_diagnosis){ 0 };
    if (!configure(&c, model, samples, e))
        return false;
    c.batch = 1;                                           /* until it is known how many samples there are */
    record_card *card = mem_new(sizeof *card);
    visit *v = mem_new(sizeof *v);
    bool ok = (card && v) || error_set(e, "out of memory");
    ok = ok && run_open_data(&r, &c, false, e) && run_open_model(&r, false, e)
         && run_start_model(&r, false, e) && all_from_file(r.store, model, e);
    if (ok && r.feed.n < 2 * FEWEST)
        ok = error_usage(e, "datasets: expected at least %d samples, found %ld%s", 2 * FEWEST, r.feed.n,
                         watched_config(given, &c) ? "; datasets.val= looks at what was trained on" : "");
    if (ok) {
        c.batch = r.feed.n / WANTED < batch ? r.feed.n / WANTED : batch;
        c.batch = c.batch < 2 ? 2 : c.batch;
        *v = (visit){ r, card, r.feed.n / c.batch < BATCHES ? r.feed.n / c.batch : BATCHES };
        ok = ag_try(r.t, all_passes, v, e);
    }
    if (ok) {
        d->batch = c.batch;
        d->batches = v->batches;
        d->task = c.task;
        find_all(d, &r, card);
    }
    mem_free(card);
    mem_free(v);
    run_close(&r);
    return ok;
}
