/* run.c - a training run from its configuration to its model file: data, model, the loop, log and checkpoints. */
#include "train/internal.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* ---- opening ------------------------------------------------------------------------------------------------------- */
/* "FILE:prefix" in two; prefix "" means all that both hold. */
static void split_source(const char *item, char file[CONFIG_TEXT_SIZE], char prefix[CONFIG_TEXT_SIZE])
{
    const char *colon = strrchr(item, ':');
    bool has = colon && !strchr(colon, '/');
    snprintf(file, CONFIG_TEXT_SIZE, "%.*s", has ? (int)(colon - item) : (int)strlen(item), item);
    snprintf(prefix, CONFIG_TEXT_SIZE, "%s", has ? colon + 1 : "");
}

static bool one_tokenizer(const train_config *c, const char *folder, bool bert, tokenizer **to, error *e)
{
    if (*folder)
        return (*to = tokenizer_read(folder, e)) != NULL;
    for (int i = c->pretrained.count - 1; i >= 0 && !*to; i--) {
        char file[CONFIG_TEXT_SIZE], prefix[CONFIG_TEXT_SIZE];
        blip2_part parts[BLIP2_PARTS];
        tokenizer_file files[BLIP2_PARTS];
        split_source(c->pretrained.item[i], file, prefix);
        h5 *f = h5_open(file, e);
        if (!f)
            return false;
        int n = blip2_read_parts(f, bert ? "bert" : "llm", parts, e);
        h5_close(f);
        if (n < 0)
            return false;
        for (int k = 0; k < n; k++)
            files[k] = (tokenizer_file){ parts[k].name, parts[k].bytes, parts[k].size };
        if (n)
            *to = tokenizer_load(file, files, n, e);
        blip2_free_parts(parts, n);
        if (n && !*to)
            return false;
    }
    return *to || error_usage(e, "model.%s_tokenizer: a folder is needed, no pretrained file carries one", bert ? "bert" : "llm");
}

static bool special(const tokenizer *t, const char *token, long *to, error *e)
{
    int id = tokenizer_id(t, token);
    *to = id;
    return id >= 0 || error_usage(e, "the tokenizer has no %s", token);
}

/* The vocabularies decide sizes and special ids of the architecture. */
static bool open_tokenizers(run *r, train_config *c, error *e)
{
    blip2_config *m = &c->model;
    bool text = c->task == TRAIN_VIT || c->task == TRAIN_STAGE1 || m->question_in_qformer;
    if (text) {
        if (!one_tokenizer(c, c->bert_tokenizer, true, &r->bert, e) || tokenizer_add(r->bert, "[DEC]", e) < 0
            || !special(r->bert, "[CLS]", &m->cls, e) || !special(r->bert, "[SEP]", &m->sep, e)
            || !special(r->bert, "[PAD]", &m->text_pad, e) || !special(r->bert, "[DEC]", &m->dec, e))
            return false;
        m->qformer.vocab = tokenizer_size(r->bert);
    }
    if (c->task == TRAIN_STAGE2 || c->task == TRAIN_LM) {
        token_list line = { 0 };
        if (!one_tokenizer(c, c->llm_tokenizer, false, &r->llm, e) || !special(r->llm, "</s>", &m->opt.bos, e)
            || !special(r->llm, "<pad>", &m->opt.pad, e)
            || !tokenizer_encode(r->llm, "\n", 1, &(tokenizer_options){ .bare = true }, &line, e))
            return false;
        m->opt.eos = line.n == 1 ? line.ids[0] : m->opt.bos;       /* LAVIS: a newline ends a text */
        mem_free(line.ids);
        m->opt.vocab = tokenizer_size(r->llm);
    }
    return true;
}

/* Which parts a task needs is the task's business, not the user's. */
static void choose_parts(train_config *c)
{
    blip2_config *m = &c->model;
    if (c->task == TRAIN_LM)
        m->vision.kind = BLIP2_VIT_NONE;
    if (c->task == TRAIN_LM || c->task == TRAIN_VIT)
        m->qformer.queries = 0;
    m->stage1 = c->task == TRAIN_STAGE1;
    m->qformer.text = c->task == TRAIN_STAGE1 || m->question_in_qformer;
    m->qformer.head = c->task == TRAIN_STAGE1;
    m->llm = c->task == TRAIN_STAGE2 || c->task == TRAIN_LM ? BLIP2_LLM_OPT : BLIP2_LLM_NONE;
    m->qformer.memory_width = m->vision.width;
}

static bool load_pretrained(run *r, error *e)
{
    const train_config *c = r->c;
    for (int i = 0; i < c->pretrained.count; i++) {
        char file[CONFIG_TEXT_SIZE], prefix[CONFIG_TEXT_SIZE];
        split_source(c->pretrained.item[i], file, prefix);
        h5 *f = h5_open(file, e);
        if (!f)
            return false;
        if (!h5_sealed(f))
            fprintf(stderr, "blip2: warning: %s: has no digests, damage would not be seen; `convert` signs it\n", QUOTE(file));
        bool ok = *prefix ? blip2_load(&r->model, f, prefix, e) : nn_load_common(r->store, f, e);
        h5_close(f);
        if (!ok)
            return false;
    }
    return true;
}

static bool build_model(run *r, error *e)
{
    const train_config *c = r->c;
    if (!blip2_config_check("model", &c->model, e))
        return false;
    if (!(r->store = nn_store_new((uint64_t)c->seed)) || !(r->t = ag_tape_new()))
        return error_set(e, "out of memory");
    blip2_model_init(&r->model, r->store, &c->model);
    if (c->task == TRAIN_VIT) {
        blip2_contrastive_config text = c->contrastive;
        text.text.vocab = c->model.qformer.vocab;
        text.text.positions = c->model.max_text;
        text.text.init_std = c->model.opt.init_std;
        blip2_contrastive_init(&r->contrastive, nn_sub(nn_root(r->store), "contrastive"), c->model.vision.width, &text);
    }
    for (int i = 0; i < c->freeze.count; i++)
        if (!nn_freeze(r->store, c->freeze.item[i]))
            return error_usage(e, "model.freeze: no parameter's name begins with \"%s\"", QUOTE(c->freeze.item[i]));
    return nn_build(r->store, true, e) && load_pretrained(r, e);
}

static bool open_data(run *r, error *e)
{
    const train_config *c = r->c;
    if (!(c->task == TRAIN_LM ? feed_documents(&r->feed, c, e) : feed_pictures(&r->feed, c, e)))
        return false;
    if (c->task != TRAIN_LM && !feed_identities(&r->feed, (train_identity)c->identity, e))
        return false;
    long step = c->batch * c->accumulate, *family = NULL;
    if (r->feed.n < step)
        return error_usage(e, "run.batch_size_train x run.accum_grad_iters is %ld, the data set has %ld samples", step, r->feed.n);
    if (c->families && c->task != TRAIN_LM && (family = mem_new((size_t)r->feed.n * sizeof *family)))
        for (long i = 0; i < r->feed.n; i++)
            family[i] = r->feed.records.items[i].family;
    bool ok = sampler_new(&r->sampler, (uint64_t)c->seed, r->feed.n, family, e);
    mem_free(family);
    r->per_epoch = r->feed.n / step * step;                /* the rest of an epoch is left out, as LAVIS's drop_last */
    r->steps = c->max_iters ? c->max_iters : c->max_epoch * (r->per_epoch / step);
    return ok;
}

/* ---- what is trained, as a table ---------------------------------------------------------------------------------- */
static void show_parts(const run *r)
{
    static const char *const parts[] = { "visual_encoder", "ln_vision", "query_tokens", "Qformer", "vision_proj", "text_proj",
                                         "itm_head", "temp", "opt_proj", "opt_model", "contrastive" };
    fprintf(stderr, "%-16s %12s  %s\n", "part", "parameters", "");
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        long all = 0, frozen = 0;
        for (long i = 0; i < r->store->count; i++) {
            const nn_entry *p = &r->store->entries[i];
            if (!p->alias_of && nn_has_prefix(p->name, parts[k])) {
                all += p->value->size;
                frozen += p->frozen ? p->value->size : 0;
            }
        }
        if (all)
            fprintf(stderr, "%-16s %12ld  %s\n", parts[k], all, !frozen ? "trained" : frozen == all ? "frozen" : "partly frozen");
    }
    fprintf(stderr, "%-16s %12ld  trained, %ld frozen; %ld samples, %ld steps, %s, %d threads\n", "all", r->store->trainable,
            r->store->frozen, r->feed.n, r->steps, ag_blas(), ag_threads_now());
}

/* ---- saving ---------------------------------------------------------------------------------------------------------- */
static bool add_parts(const tokenizer *t, const char *group, blip2_part *parts, int *n, error *e)
{
    tokenizer_file files[TOKENIZER_FILES];
    int count = t ? tokenizer_files(t, files, e) : 0;
    if (t && !count)
        return false;
    for (int i = 0; i < count; i++) {
        snprintf(parts[*n].name, sizeof parts[*n].name, "%s/%s", group, files[i].name);
        parts[*n].bytes = files[i].bytes;
        parts[(*n)++].size = files[i].size;
    }
    return true;
}

static bool save(const run *r, const char *name, error *e)
{
    static const char *const tasks[] = { "stage1", "stage2", "vit", "lm" };
    blip2_part parts[2 * TOKENIZER_FILES];
    int n = 0;
    char *path = mem_text("%s/%s", r->c->output_dir, name);
    char *source = mem_text("trained: task %s, seed %ld, %ld steps", tasks[r->c->task], r->c->seed, r->steps);
    bool ok = path && source ? add_parts(r->bert, "bert", parts, &n, e) && add_parts(r->llm, "llm", parts, &n, e)
                             : error_set(e, "out of memory");
    ok = ok && blip2_save(&r->model, path, source, parts, n, e);
    blip2_free_parts(parts, n);
    mem_free(path);
    mem_free(source);
    return ok;
}

static bool make_folders(const char *path, error *e)
{
    char part[CONFIG_TEXT_SIZE];
    for (const char *p = path; *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        snprintf(part, sizeof part, "%.*s", (int)(p - path), path);
        if (mkdir(part, 0777) && errno != EEXIST)
            return error_set(e, "%s: cannot make this folder: %s", QUOTE(part), strerror(errno));
    }
    return *path || error_usage(e, "run.output_dir: expected a folder, found nothing");
}

static bool save_config(const train_config *c, error *e)
{
    train_config copy = *c;
    config_table tables[TRAIN_TABLES];
    char *path = mem_text("%s/config.yaml", c->output_dir), *text = config_print(tables, train_config_tables(&copy, tables), true);
    file_out *f = path && text ? file_create(path, e) : NULL;
    bool ok = f != NULL || (!(path && text) && error_set(e, "out of memory"));
    if (f) {
        file_write(f, text, (long)strlen(text));
        ok = file_finish(f, e);
    }
    mem_free(path);
    mem_free(text);
    return ok;
}

/* ---- the loop -------------------------------------------------------------------------------------------------------- */
static tensor *forward(void *ctx, tape *t, int part, train_losses *l)
{
    static tensor *(*const tasks[])(run *, tape *, train_losses *) = { task_stage1, task_stage2, task_vit, task_lm };
    run *r = ctx;
    const train_config *c = r->c;
    long at = (r->done * c->accumulate + part) * c->batch, *samples = ag_alloc(t, c->batch * (long)sizeof *samples);
    int *rows = ag_alloc(t, c->batch * (long)sizeof *rows);
    r->epoch = at / r->per_epoch;
    for (long b = 0; b < c->batch; b++) {
        samples[b] = sampler_at(&r->sampler, r->epoch, at % r->per_epoch + b);
        rows[b] = (int)samples[b];
    }
    r->samples = samples;
    ag_random random = ag_random_now(t);
    random.sample = rows;                                  /* dropout follows the sample, wherever in a batch it stands */
    ag_seed(t, random);
    return tasks[c->task](r, t, l);
}

static double rate_of(const run *r)
{
    const train_config *c = r->c;
    long per_epoch = r->per_epoch / (c->batch * c->accumulate);
    train_schedule s = { (train_schedule_kind)c->schedule, c->init_lr, c->min_lr, c->warmup_lr, c->lr_decay_rate, c->warmup_steps,
                         c->by_step ? 1 : c->max_epoch, c->by_step ? r->steps : per_epoch, c->by_step };
    return c->by_step ? train_lr(&s, 0, r->done) : train_lr(&s, r->done / per_epoch, r->done % per_epoch);
}

static bool loop(run *r, run_log *log, const volatile int *stop, error *e)
{
    static const char *const names[] = { "stage1", "stage2", "vit", "lm" };
    const train_config *c = r->c;
    train_stepper s = { .store = r->store, .t = r->t, .clip = c->max_grad_norm, .accumulate = (int)c->accumulate,
                        .seed = (uint64_t)c->seed, .adamw = { 0, c->beta1, c->beta2, 1e-8, c->weight_decay } };
    for (r->done = 0; r->done < r->steps && !(stop && *stop); r->done++) {
        train_losses l;
        double from = clock_seconds();
        r->data_seconds = 0;
        s.adamw.lr = rate_of(r);
        if (!train_step(&s, forward, r, &l, e))
            return false;
        log_step line = { .task = names[c->task], .step = r->done + 1, .steps = r->steps, .epoch = r->epoch, .count = l.count,
                          .samples = c->batch * c->accumulate, .grad_norm = l.grad_norm, .lr = s.adamw.lr,
                          .data_seconds = r->data_seconds };
        line.step_seconds = clock_seconds() - from - r->data_seconds;
        memcpy(line.name, l.name, sizeof l.name);
        memcpy(line.value, l.value, sizeof l.value);
        log_write(log, &line, (r->done + 1) % c->log_freq == 0 || r->done == 0 || r->done + 1 == r->steps);
        if (c->save_freq && (r->done + 1) % c->save_freq == 0 && !save(r, "model.h5", e))
            return false;
    }
    return true;
}

static void close_run(run *r)
{
    sampler_free(&r->sampler);
    feed_free(&r->feed);
    tokenizer_free(r->bert);
    tokenizer_free(r->llm);
    nn_store_free(r->store);
    ag_tape_free(r->t);
}

bool train_run(const train_config *given, bool quiet, const volatile int *stop, train_result *result, error *e)
{
    train_config c = *given;
    run r = { .c = &c };
    run_log log = { 0 };
    double from = clock_seconds();
    choose_parts(&c);
    char *path = mem_text("%s/log.jsonl", c.output_dir);
    bool ok = path ? open_tokenizers(&r, &c, e) && open_data(&r, e) && build_model(&r, e) && make_folders(c.output_dir, e)
                     && save_config(&c, e) && log_open(&log, path, false, quiet, e)
                   : error_set(e, "out of memory");
    if (ok && !quiet)
        show_parts(&r);
    ok = ok && loop(&r, &log, stop, e);
    ok = log_close(&log, path ? path : "", ok ? e : &(error){ 0 }) && ok;
    ok = ok && save(&r, "model.h5", e);
    *result = (train_result){ r.done, clock_seconds() - from, stop && *stop };
    mem_free(path);
    close_run(&r);
    return ok;
}
