/* open.c - what a run needs, from its configuration: tokenizers, data, the model and what it starts from. */
#include "train/internal.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* "FILE:prefix" in two, unless a file of the whole name is there; prefix "" means all that both hold. */
static void split_source(const char *item, char file[CONFIG_TEXT_SIZE], char prefix[CONFIG_TEXT_SIZE])
{
    const char *colon = strrchr(item, ':');
    bool has = colon && !strchr(colon, '/') && access(item, F_OK);
    snprintf(file, CONFIG_TEXT_SIZE, "%.*s", has ? (int)(colon - item) : (int)strlen(item), item);
    snprintf(prefix, CONFIG_TEXT_SIZE, "%s", has ? colon + 1 : "");
}

/* ---- tokenizers -------------------------------------------------------------------------------------- */
/* The tokenizer in a model file; *to stays NULL where it has none. */
static bool tokenizer_inside(const char *file, const char *group, tokenizer **to, error *e)
{
    blip2_part parts[BLIP2_PARTS];
    tokenizer_file files[BLIP2_PARTS];
    h5 *f = h5_open(file, e);
    if (!f)
        return false;
    int n = blip2_read_parts(f, group, parts, e);
    h5_close(f);
    for (int k = 0; k < n; k++)
        files[k] = (tokenizer_file){ parts[k].name, parts[k].bytes, parts[k].size };
    *to = n > 0 ? tokenizer_load(file, files, n, e) : NULL;
    blip2_free_parts(parts, n > 0 ? n : 0);
    return n == 0 || *to;
}

/* From its folder, or from the last file a run starts from that carries one. */
static bool one_tokenizer(const train_config *c, const char *folder, const char *group, tokenizer **to,
                          error *e)
{
    if (*folder)
        return (*to = tokenizer_read(folder, e)) != NULL;
    for (int i = c->pretrained.count - 1; i >= 0 && !*to; i--) {
        char file[CONFIG_TEXT_SIZE], prefix[CONFIG_TEXT_SIZE];
        split_source(c->pretrained.item[i], file, prefix);
        if (!tokenizer_inside(file, group, to, e))
            return false;
    }
    if (!*to && *c->bert && !tokenizer_inside(c->bert, group, to, e))
        return false;
    return *to || error_usage(e, "model.%s_tokenizer: expected a folder, or a pretrained file that carries a "
                              "tokenizer; found neither", group);
}

static bool special(const tokenizer *t, const char *group, const char *token, long *to, error *e)
{
    int id = tokenizer_id(t, token);
    *to = id;
    return id >= 0 || error_set(e, "model.%s_tokenizer: its vocabulary has no %s", group, token);
}

static bool open_bert(run *r, train_config *c, error *e)
{
    blip2_config *m = &c->model;
    if (!one_tokenizer(c, c->bert_tokenizer, "bert", &r->bert, e) || tokenizer_add(r->bert, "[DEC]", e) < 0
        || !special(r->bert, "bert", "[CLS]", &m->cls, e) || !special(r->bert, "bert", "[SEP]", &m->sep, e)
        || !special(r->bert, "bert", "[PAD]", &m->text_pad, e)
        || !special(r->bert, "bert", "[DEC]", &m->dec, e))
        return false;
    m->qformer.vocab = tokenizer_size(r->bert);
    return true;
}

/* A table may have more rows than its tokenizer has tokens (OPT 50,272 and 50,265, T5 32,128 and 32,100): a
 * pretrained file's must find room.                                                                        */
static long rows_of_table(const train_config *c, const char *table, long tokens)
{
    for (int i = 0; i < c->pretrained.count; i++) {
        char file[CONFIG_TEXT_SIZE], prefix[CONFIG_TEXT_SIZE], dataset[NN_NAME];
        h5_shape shape;
        error told_later;
        split_source(c->pretrained.item[i], file, prefix);
        h5 *f = nn_has_prefix(table, prefix) ? h5_open(file, &told_later) : NULL;
        nn_dataset(table, dataset);
        if (f && h5_find(f, dataset, &shape, &told_later) && shape.ndim == 2 && shape.dim[0] > tokens)
            tokens = shape.dim[0];
        h5_close(f);
    }
    return tokens;
}

static bool opt_ids(const tokenizer *words, blip2_opt_config *o, error *e)
{
    token_list line = { 0 };
    if (!special(words, "llm", "</s>", &o->bos, e) || !special(words, "llm", "<pad>", &o->pad, e))
        return false;
    bool ok = tokenizer_encode(words, "\n", 1, &(tokenizer_options){ .bare = true }, &line, e);
    o->eos = ok && line.n == 1 ? line.ids[0] : o->bos;     /* LAVIS: a newline ends a text */
    o->vocab = tokenizer_size(words);
    mem_free(line.ids);
    return ok;
}

static bool t5_ids(const tokenizer *words, blip2_t5_config *o, error *e)
{
    if (!special(words, "llm", "</s>", &o->eos, e) || !special(words, "llm", "<pad>", &o->pad, e))
        return false;
    o->start = o->pad;
    o->vocab = tokenizer_size(words);
    return true;
}

static bool open_llm(run *r, train_config *c, error *e)
{
    blip2_config *m = &c->model;
    if (!one_tokenizer(c, c->llm_tokenizer, "llm", &r->llm, e)
        || !(m->llm == BLIP2_LLM_T5 ? t5_ids(r->llm, &m->t5, e) : opt_ids(r->llm, &m->opt, e)))
        return false;
    m->opt.vocab = rows_of_table(c, "opt_model.model.decoder.embed_tokens.weight", m->opt.vocab);
    m->t5.vocab = rows_of_table(c, "t5_model.shared.weight", m->t5.vocab);
    return true;
}

/* The vocabularies decide sizes and special ids of the architecture. */
static bool open_tokenizers(run *r, train_config *c, error *e)
{
    bool bert = c->task == TRAIN_VIT || c->task == TRAIN_STAGE1 || c->model.question_in_qformer;
    bool llm = c->task == TRAIN_STAGE2 || c->task == TRAIN_LM;
    return (!bert || open_bert(r, c, e)) && (!llm || open_llm(r, c, e));
}

/* ---- data -------------------------------------------------------------------------------------------- */
/* (n) of all data sets, or nothing */
static long *families_of(const run *r, error *e)
{
    long *family = mem_new((size_t)r->feed.n * sizeof *family);
    for (long i = 0; family && i < r->feed.n; i++)
        family[i] = r->feed.records[i]->family;
    if (!family)
        error_set(e, "out of memory for the families of %ld samples", r->feed.n);
    return family;
}

static bool open_order(run *r, error *e)
{
    const train_config *c = r->c;
    const feed *f = &r->feed;
    const train_data *sets;
    long step = samples_a_step(r), *family = NULL;
    bool families = c->families && c->task != TRAIN_LM;
    train_sets(c, &sets);
    for (int k = 0; k < f->set_count; k++)
        if (!f->sets[k].n)
            return error_usage(e, "datasets%s%s: nothing in %s/%s can be used", c->sets.count ? "." : "",
                               c->sets.count ? c->sets.name[k] : "", sets[k].root,
                               c->task == TRAIN_LM ? sets[k].text_list : sets[k].train_list);
    if (f->n < step)
        return error_usage(e, "run.batch_size_train x run.accum_grad_iters%s: expected at most the %ld "
                           "samples of the data set, found %ld", ag_world(r->ranks) > 1 ? " x ranks" : "",
                           f->n, step);
    if (families && !(family = families_of(r, e)))
        return false;
    sampler_data data[CONFIG_NAMED_MOST];
    for (long k = 0, first = 0; k < f->set_count; first += f->sets[k++].n)
        data[k] = (sampler_data){ f->sets[k].n, sets[k].ratio > 0 ? sets[k].ratio : (double)f->sets[k].n,
                                  families ? family + first : NULL };
    bool ok = sampler_new(&r->sampler, (uint64_t)c->seed, step, f->set_count, data, e);
    mem_free(family);
    r->steps = c->max_iters ? c->max_iters : c->max_epoch * (r->sampler.per_epoch / step);
    return ok;
}

static void tell_data(const run *r, const error *bad)
{
    const train_data *sets;
    train_sets(r->c, &sets);
    if (*bad->text)
        run_warn(r, "%s", bad->text);
    feed_tell_untold(&r->feed, r, "datasets.train");
    for (int k = 0; r->c->sets.count && k < r->feed.set_count; k++)
        run_say(r, "data set %-16s %9ld samples, ratio %g", r->c->sets.name[k], r->feed.sets[k].n,
                sets[k].ratio > 0 ? sets[k].ratio : (double)r->feed.sets[k].n);
    long sided = feed_sided(&r->feed);
    if (sided)
        run_warn(r, "datasets: vis_processor.train.flip mirrors pictures, and %ld captions tell left from "
                 "right: they become wrong; flip: 0 keeps them true", sided);
}

/* The samples of one part of a step, as the threads that work ahead need them. */
static void plan(void *context, long part, drawn *draws)
{
    run *r = context;
    for (long b = 0; b < r->c->batch; b++)
        draws[b] = sampler_at(&r->sampler, place_of(r, part) + b);
}

bool run_start_ahead(run *r, error *e)
{
    const train_config *c = r->c;
    feed *f = &r->feed;
    bool cached = f->features.rows != NULL;
    if (!f->album.n || (!cached && album_ready(&f->album)))
        return true;
    ahead_maker pictures = { feed_show, f, 3 * f->album.size * f->album.size };
    ahead_maker rows = { features_show, f, cached ? h5_rows_bytes(f->features.rows) : 0 };
    f->ahead = ahead_start(cached ? rows : pictures, c->batch, r->stepper.step * c->accumulate,
                           (int)c->num_workers, plan, r, e);
    return f->ahead != NULL;
}

/* ---- what is not there, for a dry run ------------------------------------------------------------------ */
static bool lacks(const char *path)
{
    return *path && access(path, F_OK);
}

static bool lacks_words(const train_config *c)
{
    bool missing = lacks(c->bert_tokenizer) || lacks(c->llm_tokenizer) || lacks(c->bert);
    for (int i = 0; i < c->pretrained.count; i++) {
        char file[CONFIG_TEXT_SIZE], prefix[CONFIG_TEXT_SIZE];
        split_source(c->pretrained.item[i], file, prefix);
        missing |= lacks(file);
    }
    return missing;
}

bool run_lacks_list(const train_config *c, error *e)
{
    const train_data *sets;
    int count = train_sets(c, &sets);
    for (int k = 0; k < count; k++) {
        char *path = mem_text("%s/%s", sets[k].root,
                              c->task == TRAIN_LM ? sets[k].text_list : sets[k].train_list);
        bool missing = path && !path_readable(path);
        if (missing)
            error_set(e, "%s: cannot be opened", QUOTE(path));
        mem_free(path);
        if (missing)
            return true;
    }
    return false;
}

/* Vocabularies; a dry run goes on with the sizes of the configuration. */
static bool open_words(run *r, train_config *c, bool dry, error *e)
{
    if (open_tokenizers(r, c, e))
        return true;
    if (!dry || !lacks_words(c))
        return false;
    run_warn(r, "%s; the sizes in the configuration and texts of full length stand in for vocabularies",
             e->text);
    return r->stand_in = true;
}

static bool open_stand_in(run *r, bool listed, error *e)
{
    const train_config *c = r->c;
    error why;
    long n = samples_a_step(r);
    if (listed && c->task != TRAIN_LM) {                   /* how many there are can be known */
        if (!feed_pictures(&r->feed, c, &why, e))
            return false;
        n = r->feed.n;
    }
    r->stand_in = true;
    return feed_stand_in(&r->feed, c, n, e) && open_order(r, e);
}

static bool open_data(run *r, bool dry, error *e)
{
    const train_config *c = r->c;
    feed *f = &r->feed;
    error bad;
    if (c->sets.count && *c->data.root)
        return error_usage(e, "datasets.root: expected nothing beside data sets that have names (%s): put it "
                           "into a section of its own", c->sets.name[0]);
    if (dry && run_lacks_list(c, &bad)) {
        run_warn(r, "%s; texts of full length stand in for it", bad.text);
        return open_stand_in(r, false, e);
    }
    if (r->stand_in)
        return open_stand_in(r, true, e);
    bool ok = c->task == TRAIN_LM ? feed_documents(f, c, r->llm, e)
            : feed_pictures(f, c, &bad, e) && feed_identities(f, (train_identity)c->identity, e)
              && feed_texts(f, c, r->bert, r->llm, e);
    if (ok && c->task != TRAIN_LM)
        tell_data(r, &bad);
    f->digest = ok ? feed_digest(f) : 0;
    return ok && open_order(r, e);
}

/* ---- the model --------------------------------------------------------------------------------------- */
/* Which parts a task needs is the task's business, not the user's. */
void train_choose_parts(train_config *c)
{
    blip2_config *m = &c->model;
    if (c->task == TRAIN_LM)
        m->vision.kind = BLIP2_VIT_NONE;
    if (c->task == TRAIN_LM || c->task == TRAIN_VIT)
        m->qformer.queries = 0;
    m->question_in_qformer = m->question_in_qformer && c->task == TRAIN_STAGE2;
    m->stage1 = c->task == TRAIN_STAGE1;
    if (c->task != TRAIN_STAGE2 && c->task != TRAIN_STAGE1)
        m->connector = BLIP2_CONNECTOR_QFORMER;            /* no picture is led to anything */
    if (m->connector != BLIP2_CONNECTOR_QFORMER && c->task == TRAIN_STAGE2) {
        m->qformer.queries = 0;
        m->question_in_qformer = false;
    }
    m->qformer.text = c->task == TRAIN_STAGE1 || m->question_in_qformer;
    m->qformer.head = c->task == TRAIN_STAGE1;
    if (c->task != TRAIN_STAGE2 && c->task != TRAIN_LM)
        m->llm = BLIP2_LLM_NONE;
    else if (m->llm == BLIP2_LLM_NONE)
        m->llm = BLIP2_LLM_OPT;
    m->qformer.memory_width = m->vision.width;
}

bool run_check_parts(const train_config *c, error *e)
{
    const blip2_config *m = &c->model;
    if (c->task != TRAIN_LM && m->vision.kind == BLIP2_VIT_NONE)
        return error_usage(e, "model.vit.kind: expected clip or eva, found none; task %s needs pictures",
                           train_tasks[c->task]);
    if (c->task == TRAIN_STAGE1 && m->connector != BLIP2_CONNECTOR_QFORMER)
        return error_usage(e,
                           "model.connector: expected qformer: task stage1 trains the Q-Former, and another "
                           "connector has no stage 1");
    bool qformer = m->connector == BLIP2_CONNECTOR_QFORMER;
    if ((c->task == TRAIN_STAGE1 || c->task == TRAIN_STAGE2) && qformer && m->qformer.queries < 1)
        return error_usage(e, "model.qformer.num_query_token: expected at least 1, found %ld",
                           m->qformer.queries);
    const blip2_stage1_weights *w = &c->loss_weights;
    if (c->task == TRAIN_STAGE1 && w->itc == 0 && w->itm == 0 && w->itg == 0)
        return error_usage(e, "run.loss_weights: itc, itm and itg are 0; expected one that is not");
    long soft = c->task == TRAIN_STAGE2 ? blip2_prompts(m, NULL) : 0;
    blip2_llm llm = blip2_llm_of(m);
    if (llm.positions && llm.positions < soft + 2)
        return error_usage(e, "model.%s.positions: expected at least %ld (soft tokens and 2 more), found %ld",
                           llm.name, soft + 2, llm.positions);
    return blip2_config_check("model", m, e);
}

static bool load_file(run *r, const char *file, const char *prefix, error *e)
{
    h5 *f = h5_open(file, e);
    if (!f)
        return false;
    if (!h5_sealed(f))
        run_warn(r, "%s: has no digests, damage would not be seen", QUOTE(file));
    bool ok = blip2_same_parts(&r->c->model, f, prefix, e)
              && (*prefix ? blip2_load(&r->model, f, prefix, e) : blip2_load_start(&r->model, f, e));
    h5_close(f);
    return ok;
}

static bool load_pretrained(run *r, error *e)
{
    const train_config *c = r->c;
    if (*c->bert && !load_file(r, c->bert, "", e))
        return false;
    for (int i = 0; i < c->pretrained.count; i++) {
        char file[CONFIG_TEXT_SIZE], prefix[CONFIG_TEXT_SIZE];
        split_source(c->pretrained.item[i], file, prefix);
        if (!load_file(r, file, prefix, e))
            return false;
    }
    return true;
}

static void init_model(void *context)
{
    run *r = context;
    const train_config *c = r->c;
    blip2_model_init(&r->model, r->store, &c->model);
    if (c->task == TRAIN_VIT) {
        blip2_contrastive_config text = c->contrastive;
        text.text.vocab = c->model.qformer.vocab;
        text.text.positions = c->model.max_text;
        text.text.init_std = c->model.opt.init_std;
        blip2_contrastive_init(&r->contrastive, nn_sub(nn_root(r->store), "contrastive"),
                               c->model.vision.width, &text);
    }
}

/* Frozen towers stay in the precision of the files that they come from. A file that cannot be opened is
 * told of when it is read, or on --resume not needed: what the checkpoint holds in low precision is then
 * widened. */
static void keep_low(run *r)
{
    const train_config *c = r->c;
    error later;
    for (int i = 0; i < c->pretrained.count; i++) {
        char file[CONFIG_TEXT_SIZE], prefix[CONFIG_TEXT_SIZE];
        split_source(c->pretrained.item[i], file, prefix);
        h5 *f = h5_open(file, &later);
        if (f)
            nn_keep(r->store, f, prefix);
        h5_close(f);
    }
}

bool run_open_data(run *r, train_config *c, bool dry, error *e)
{
    train_choose_parts(c);
    r->c = c;
    r->feed.undecoded = dry;
    return run_check_parts(c, e) && open_words(r, c, dry, e) && run_check_parts(c, e) && open_data(r, dry, e);
}

/* What differs from the rate of all: the tower's layers, and temp. */
static void set_rates(const run *r)
{
    const train_config *c = r->c;
    double decay = c->apply_layer_decay ? c->lr_layer_decay : 1;
    for (long i = 0; i < r->store->count; i++) {
        nn_entry *p = &r->store->entries[i];
        p->rate = strcmp(p->name, "temp") ? train_layer_factor(&c->model.vision, p->name, decay) : c->temp_lr;
    }
}

static bool freeze(const run *r, const char *prefix, error *e)
{
    if (nn_freeze(r->store, prefix))
        return true;
    for (long i = 0; i < r->store->count; i++) {
        const nn_entry *p = &r->store->entries[i];
        if (p->alias_of && nn_has_prefix(p->name, prefix))
            return error_usage(e, "model.freeze: %s is tied to, and the same as, %s; expected that name",
                               p->name, p->alias_of);
    }
    return error_usage(e, "model.freeze: no parameter's name begins with \"%s\"", QUOTE(prefix));
}

bool run_open_model(run *r, bool empty, error *e)
{
    const train_config *c = r->c;
    error why;
    if (!(r->store = nn_store_new((uint64_t)c->seed)) || (!r->t && !(r->t = ag_tape_new())))
        return error_set(e, "out of memory");
    r->store->measures = empty;
    if (!ag_try(r->t, init_model, r, &why))
        return error_usage(e, "model: %s", why.text);
    for (int i = 0; i < c->freeze.count; i++)
        if (!freeze(r, c->freeze.item[i], e))
            return false;
    if (c->freeze_vit && !nn_freeze(r->store, "visual_encoder"))
        return error_usage(e, "model.freeze_vit: task %s has no vision tower", train_tasks[c->task]);
    r->model.vision.drop_path = c->drop_path;
    blip2_recompute(&r->model, c->recompute ? BLIP2_RECOMPUTE_ALL
                               : c->grad_checkpoint ? BLIP2_RECOMPUTE_VISION : BLIP2_RECOMPUTE_NONE);
    if (r->use)
        nn_freeze(r->store, "");
    keep_low(r);
    if (!nn_build(r->store, !r->use, e))
        return false;
    if (!r->use && !r->store->trainable)
        return error_usage(e, "model.freeze: nothing is left to train");
    if (!features_check(r, e))
        return false;
    r->stepper = (train_stepper){ .store = r->store, .t = r->t, .ranks = r->ranks, .clip = c->max_grad_norm,
                                  .accumulate = (int)c->accumulate, .seed = (uint64_t)c->seed,
                                  .adamw = { 0, c->beta1, c->beta2, 1e-8, c->weight_decay } };
    set_rates(r);
    if (run_exact(r)) {
        r->stepper.before = task_before;
        r->stepper.after = task_after;
    }
    return true;
}

bool run_start_model(run *r, bool resume, error *e)
{
    bool found = false;
    if (resume && !load_checkpoint(r, &found, e))
        return false;
    if (resume && !found)
        run_warn(r, "%s: no checkpoint in it; starts from the beginning", QUOTE(r->c->output_dir));
    return found || load_pretrained(r, e);
}

void run_close(run *r)
{
    sampler_free(&r->sampler);
    feed_free(&r->feed);
    validation_close(r->val);
    tokenizer_free(r->bert);
    tokenizer_free(r->llm);
    nn_store_free(r->store);
    ag_tape_free(r->t);
}
