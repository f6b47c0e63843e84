/* lavis.c - a configuration written for LAVIS: its names for what is said in another way here, or has no
 * meaning here (docs/training.md). What would change the run is refused with what to write instead. What says
 * nothing here, or the same as the rest of the file, is taken, and one warning names it.                   */
#include "train/internal.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define NUM_QUERY_TOKEN "model.num_query_token"
#define TRAIN_SPLITS "run.train_splits"
enum { NOT_GIVEN = -1 };                           /* no number of queries that a file can have */
#define ELSEWHERE(name, help) { name, CONFIG_ELSEWHERE, 0, 0, 0, NULL, help }
const config_key lavis_keys[] = {
    ELSEWHERE("model.arch", "LAVIS's; here run.task: stage1 or stage2, and model.llm: opt or t5"),
    ELSEWHERE("model.model_type",
              "LAVIS's; here sizes stand in the file itself: configs/paper has those of each"),
    ELSEWHERE("model.load_pretrained", "LAVIS's; here model.pretrained: [FILE], or [] for none"),
    ELSEWHERE("model.load_finetuned", "LAVIS's; here model.pretrained: [FILE]"),
    ELSEWHERE("model.finetuned", "LAVIS's; here model.pretrained: [FILE]"),
    ELSEWHERE("model.image_size", "LAVIS's; here model.vit.image_size"),
    ELSEWHERE(NUM_QUERY_TOKEN, "LAVIS's; here model.qformer.num_query_token"),
    ELSEWHERE("model.vit_model", "LAVIS's; here model.vit.kind, and model.pretrained: [FILE:visual_encoder]"),
    ELSEWHERE("model.vit_precision",
              "LAVIS's; leave it out: towers are stored as they were converted, and run in f32"),
    ELSEWHERE("model.opt_model", "LAVIS's; here model.llm: opt, and model.pretrained: [FILE:opt_model]"),
    ELSEWHERE("model.t5_model", "LAVIS's; here model.llm: t5, and model.pretrained: [FILE:t5_model]"),
    ELSEWHERE("run.amp", "LAVIS's; leave it out: weights, activations and gradients are f32"),
    ELSEWHERE("run.device", "LAVIS's; leave it out: training runs on the CPU"),
    ELSEWHERE("run.world_size", "LAVIS's; here train --ranks N"),
    ELSEWHERE("run.distributed", "LAVIS's; here train --ranks N"),
    ELSEWHERE("run.dist_url", "LAVIS's; leave it out: ranks are started by train --ranks N"),
    ELSEWHERE("run.use_dist_eval_sampler", "LAVIS's; leave it out"),
    ELSEWHERE("run.evaluate", "LAVIS's; here `blip2 evaluate`"),
    ELSEWHERE(TRAIN_SPLITS, "LAVIS's; here a data set's train: LIST"),
    ELSEWHERE("run.valid_splits", "LAVIS's; here `blip2 evaluate`"),
    ELSEWHERE("run.test_splits", "LAVIS's; here `blip2 evaluate`"),
    ELSEWHERE("run.batch_size_eval", "LAVIS's; leave it out"),
    ELSEWHERE("run.resume_ckpt_path", "LAVIS's; here train --resume goes on from output_dir"),
    ELSEWHERE("run.iters_per_inner_epoch", "LAVIS's; here run.max_iters with run.lr_by: step"),
    ELSEWHERE("run.runner", "LAVIS's; leave it out: run.max_iters makes a run by steps"),
};
const int lavis_key_count = (int)(sizeof lavis_keys / sizeof *lavis_keys);

/* ---- what is taken ----------------------------------------------------------------------------------- */
static bool any(const train_config *c, long ranks, const char *value)
{
    (void)c;
    (void)ranks;
    (void)value;
    return true;
}

static bool no(const train_config *c, long ranks, const char *value)
{
    (void)c;
    (void)ranks;
    return !strcasecmp(value, "false");
}

/* Its own files say 1, whatever number of processes it is started with. */
static bool as_many(const train_config *c, long ranks, const char *value)
{
    char number[32];
    (void)c;
    snprintf(number, sizeof number, "%ld", ranks > 1 ? ranks : 1);
    return !ranks || !strcmp(value, "1") || !strcmp(value, number);
}

/* The choice behind those of TASKS. */
static bool is_lavis_task(const train_config *c) { return c->task == TRAIN_LM + 1; }

/* The stage and the language model that the file names, too. */
static bool agrees(const train_config *c, long ranks, const char *value)
{
    (void)ranks;
    bool two = c->task == TRAIN_STAGE2;
    return is_lavis_task(c) || !strcmp(value, c->task == TRAIN_STAGE1 ? "blip2" : !two ? ""
                                              : c->model.llm == BLIP2_LLM_T5 ? "blip2_t5" : "blip2_opt");
}

static const struct taken {
    const char *name;
    bool (*takes)(const train_config *c, long ranks, const char *value);
} taken[] = {
    { "model.arch", agrees }, { "model.load_pretrained", no }, { "model.load_finetuned", no },
    { "model.vit_precision", any }, { "run.amp", any }, { "run.device", any }, { "run.world_size", as_many },
    { "run.distributed", any }, { "run.dist_url", any }, { "run.use_dist_eval_sampler", any },
    { "run.evaluate", no }, { "run.batch_size_eval", any }, { "run.resume_ckpt_path", no },
};
enum { TAKEN = sizeof taken / sizeof *taken };
typedef struct words {                 /* "": not given, or null */
    char of[TAKEN][CONFIG_TEXT_SIZE];
    config_list splits;
    long queries;
} words;
#define NO_WORDS ((words){ .queries = NOT_GIVEN })

static const char *help_of(const char *name)
{
    int k = 0;
    while (strcmp(lavis_keys[k].name, name))
        k++;
    return lavis_keys[k].help;
}

static void name_it(char names[1024], const char *name)
{
    size_t used = strlen(names);
    snprintf(names + used, 1024 - used, "%s%s", used ? ", " : "", name);
}

static void settle_queries(const train_config *c, long queries, const char *path, error *e)
{
    static const char name[] = "model.qformer.num_query_token";
    long own = c->model.qformer.queries;
    if (queries >= 0 && own != queries)
        error_line(e, "%s: %s: expected %ld, as %s says, found %ld", QUOTE(path), NUM_QUERY_TOKEN, own, name,
                   queries);
}

static bool settle(train_config *c, const words *w, const char *path, long ranks, const train_watch *watch,
                   error *e)
{
    char names[1024] = "";
    e->lines = 0;
    for (int k = 0; k < TAKEN; k++)
        if (*w->of[k] && !taken[k].takes(c, ranks, w->of[k]))
            error_line(e, "%s: %s: found %s; %s", QUOTE(path), taken[k].name, QUOTE(w->of[k]),
                       help_of(taken[k].name));
        else if (*w->of[k])
            name_it(names, taken[k].name);
    if (w->splits.count == 1 && !strcmp(w->splits.item[0], "train"))
        name_it(names, TRAIN_SPLITS);
    else if (w->splits.count)
        error_line(e, "%s: %s: %s", QUOTE(path), TRAIN_SPLITS, help_of(TRAIN_SPLITS));
    settle_queries(c, w->queries, path, e);
    if (is_lavis_task(c))
        error_line(e, "%s: run.task: image_text_pretrain is LAVIS's name of both stages; expected stage1 "
                   "(its model.arch: blip2) or stage2 (blip2_opt, blip2_t5)", QUOTE(path));
    char text[1200];
    snprintf(text, sizeof text, "LAVIS's keys that say nothing here are passed over: %s", names);
    if (*names && !e->lines && watch && watch->warn)
        watch->warn(watch->context, text);
    return error_close(e, ERROR_USAGE, "%s: %d problems with LAVIS's keys", QUOTE(path), e->lines);
}

/* ---- reading ----------------------------------------------------------------------------------------- */
/* The same keys; of LAVIS's those that may be taken become texts of w. */
static void let_in(config_key *keys, words *w)
{
    *w = NO_WORDS;
    for (int i = 0; i < lavis_key_count; i++) {
        config_key *k = &keys[i];
        *k = lavis_keys[i];
        for (int n = 0; n < TAKEN; n++)
            if (!strcmp(k->name, taken[n].name))
                *k = (config_key){ k->name, CONFIG_TEXT, offsetof(words, of[n]), 0, 0, NULL, NULL };
        if (!strcmp(k->name, TRAIN_SPLITS))
            *k = (config_key){ k->name, CONFIG_LIST, offsetof(words, splits), 0, 0, NULL, NULL };
        if (!strcmp(k->name, NUM_QUERY_TOKEN))
            *k = (config_key){ k->name, CONFIG_INT, offsetof(words, queries), 0, 4096, NULL, NULL };
    }
}

/* Read twice: first to see whether model.num_query_token stands alone, and then with it in force, so that
 * texts which speak of the number of queries have the right one. */
static bool read_it(train_config *c, const char *path, char *const *word, int count,
                    const config_table *tables, int n, words *w, error *e)
{
    train_config *plain = mem_new(sizeof *plain);
    if (!plain)
        return error_set(e, "%s: out of memory", QUOTE(path));
    *plain = *c;
    c->model.qformer.queries = NOT_GIVEN;
    bool ok = config_open(path, word, count, tables, n, e);
    if (ok) {
        bool alone = c->model.qformer.queries == NOT_GIVEN && w->queries != NOT_GIVEN;
        *c = *plain;
        if (alone)
            c->model.qformer.queries = w->queries;
        *w = NO_WORDS;
        ok = config_open(path, word, count, tables, n, e);
    }
    mem_free(plain);
    return ok;
}

bool train_config_open(train_config *c, const char *path, char *const *word, int count, long ranks,
                       const train_watch *watch, error *e)
{
    config_table tables[TRAIN_TABLES];
    int n = train_config_tables(c, tables);
    config_table *own = &tables[0], *lavis = &tables[n - 1];
    config_key *keys = mem_new((size_t)(own->count + lavis->count) * sizeof *keys);
    words *w = mem_new(sizeof *w);
    bool ok = (keys && w) || error_set(e, "%s: out of memory", QUOTE(path));
    if (ok) {
        memcpy(keys, own->keys, (size_t)own->count * sizeof *keys);
        for (int k = 0; k < own->count; k++)
            if (!strcmp(keys[k].name, "task"))
                keys[k].choices = TASKS " image_text_pretrain";
        let_in(keys + own->count, w);
        own->keys = keys;
        *lavis = (config_table){ "", keys + own->count, lavis_key_count, w };
        ok = read_it(c, path, word, count, tables, n, w, e) && settle(c, w, path, ranks, watch, e);
    }
    mem_free(keys);
    mem_free(w);
    return ok;
}
