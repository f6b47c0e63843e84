/* faults_targets.c - what is made to fail (faults.h), and what a good end is: either the same result as if
 * nothing had failed, or an error of one sentence; and in both cases every allocation freed, every file
 * closed, no temporary file left.                                                                          */
#include "tests/faults.h"
#include "eval/eval.h"
#include <dirent.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first lines of a list: fewer allocations, fewer calls, each of which is to fail. */
static void keep_lines(const char *path, int lines)
{
    long bytes;
    error e;
    char *text = file_load(path, 1 << 20, &bytes, &e), *end = text;
    ck_assert_ptr_nonnull(text);
    for (int i = 0; i < lines; i++)
        end += strcspn(end, "\n") + 1;
    ck_assert(!truncate(path, end - text));
    mem_free(text);
}

void fault_prepare(void *context, fault_report *r)
{
    (void)context, (void)r;
    world_make();
    world_train_all(TRAIN_STAGE2);
    keep_lines(IN_FOLDER("world/train.jsonl"), 8);
    keep_lines(IN_FOLDER("world/test.jsonl"), 2);
    train_config c = fault_run(IN_FOLDER("begun"), 2, 1);
    world_train(&c);
}

/* From here on nothing is made to fail: the work is done, what it gave is looked at. */
static void done(void)
{
    mem_fail_at(0, false);
    file_fail_at(0, 0, false);
}

/* ---- targets ----------------------------------------------------------------------------------------- */
static bool train(uint64_t *digest, error *e)
{
    train_config c = fault_run(IN_FOLDER("made"), 2, 1);
    train_result result;
    if (!train_run(&c, &(train_options){ 0 }, &result, e))
        return false;
    done();
    *digest = fault_digest(IN_FOLDER("made/model.h5"), fault_log_digest(IN_FOLDER("made/log.jsonl")));
    return true;
}

/* A checkpoint that cannot be read is passed over, with a warning: the one before is as good an end. */
static bool resume(uint64_t *digest, error *e)
{
    train_config c = fault_run(IN_FOLDER("begun"), 2, 1);
    train_result result;
    if (!train_run(&c, &(train_options){ .resume = true, .dry_run = true }, &result, e))
        return false;
    *digest = result.steps == 1 || result.steps == 2;
    return true;
}

static bool load(uint64_t *digest, error *e)
{
    blip2_model m;
    bool sealed;
    if (!blip2_open(&m, IN_FOLDER("stage2/model.h5"), &sealed, e))
        return false;
    *digest = (uint64_t)m.store->count + sealed;
    blip2_close(&m);
    return true;
}

static bool caption(uint64_t *digest, error *e)
{
    const blip2_generate o = { .beams = 2, .max_length = 6, .min_length = 1, .returns = 1,
                               .length_penalty = 1, .repetition_penalty = 1 };
    const char *path = IN_FOLDER("world/test/000069.png");
    eval_session s;
    eval_text text = { 0 };
    if (!eval_open(&s, IN_FOLDER("stage2/model.h5"), e))
        return false;
    const blip2_config *c = &s.model.config;
    const char *prompt = c->prompt;
    real *features = mem_new((size_t)(eval_tokens(c) * c->vision.width) * sizeof(real));
    bool ok = features ? eval_features(&s, &path, 1, features, e)
                       : error_set(e, "memory is out for the features");
    ok = ok && eval_write(&s, features, 1, &prompt, NULL, &o, &text, e);
    for (const char *p = text.text; ok && *p; p++)
        *digest = *digest * 31 + (unsigned char)*p;
    if (ok)
        eval_text_free(&text, 1);
    mem_free(features);
    eval_close(&s);
    return ok;
}

static bool evaluate(uint64_t *digest, error *e)
{
    eval_config c = eval_config_default();
    world_text(c.model, IN_FOLDER("stage2/model.h5"));
    world_text(c.root, IN_FOLDER("world"));
    world_text(c.output_dir, IN_FOLDER("figures"));
    c.limit = 2;
    c.max_len = c.answer_length = 4;
    char *figures = eval_run(&c, e);
    for (const char *p = figures; p && *p; p++)
        *digest = *digest * 31 + (unsigned char)*p;
    bool ok = figures != NULL;
    mem_free(figures);
    return ok;
}

static bool retrieve(uint64_t *digest, error *e)
{
    eval_config c = eval_config_default();
    world_text(c.model, IN_FOLDER("stage1/model.h5"));
    world_text(c.root, IN_FOLDER("world"));
    world_text(c.output_dir, IN_FOLDER("figures"));
    c.tasks.count = 1;
    world_text(c.tasks.item[0], "retrieval");
    c.limit = c.k_test = 2;
    char *figures = eval_run(&c, e);
    for (const char *p = figures; p && *p; p++)
        *digest = *digest * 31 + (unsigned char)*p;
    bool ok = figures != NULL;
    mem_free(figures);
    return ok;
}

static bool make_scenes(uint64_t *digest, error *e)
{
    scenes_options o = scenes_defaults;
    o.train = 3;
    o.val = o.test = o.test_unseen = o.sheet = 1;
    o.documents = 2;
    o.size = 16;
    if (!scenes_make(&o, IN_FOLDER("drawn"), true, NULL, NULL, e))
        return false;
    done();
    *digest = fault_digest(IN_FOLDER("drawn/train/000001.png"), 1);
    *digest = fault_digest(IN_FOLDER("drawn/train.jsonl"), *digest);
    return true;
}

const fault_target fault_targets[] = {
    { "train", train }, { "resume", resume }, { "load", load }, { "caption", caption },
    { "evaluate", evaluate }, { "retrieve", retrieve }, { "dataset make", make_scenes },
};
const int fault_target_count = sizeof fault_targets / sizeof *fault_targets;

/* ---- one try ----------------------------------------------------------------------------------------- */
/* Nothing of an earlier try may pass for this one's. */
static void clear(void)
{
    static const char *const made[] = { "made/model.h5", "made/checkpoint.h5", "made/checkpoint.old.h5",
                                        "made/log.jsonl", "made/config.yaml", "figures/metrics.json" };
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        unlink(IN_FOLDER(made[i]));
}

void fault_rehearse(void *context, fault_report *r)
{
    const fault_target *t = context;
    error e;
    ag_threads(1);
    clear();
    long allocations = mem_count(), calls = file_count();
    if (!t->run(&r->digest, &e))
        fault_wrong(r, "%s", e.text);
    r->number[0] = (double)(mem_count() - allocations);
    r->calls = file_count() - calls;
}

void fault_judge(const fault_target *t, uint64_t expected, bool must_work, fault_report *r)
{
    static const char *const folders[] = { ".", "made", "figures", "begun" };
    error e = { .text = "" };
    uint64_t digest = 0;
    long blocks = mem_live(), files = fault_descriptors();
    bool ok = t->run(&digest, &e);
    done();
    if (!ok && strlen(e.text) < 10)
        fault_wrong(r, "failed without a message: \"%s\"", e.text);
    if (!ok && must_work)
        fault_wrong(r, "failed: %s", e.text);
    if (ok && digest != expected)
        fault_wrong(r, "told success with another result");
    if (mem_live() != blocks)
        fault_wrong(r, "%ld allocations are not freed (%s)", mem_live() - blocks, e.text);
    if (fault_descriptors() != files)
        fault_wrong(r, "%ld files stay open", fault_descriptors() - files);
    if (H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL))
        fault_wrong(r, "HDF5 holds %ld objects", (long)H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL));
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (fault_leftovers(IN_FOLDER(folders[i])))
            fault_wrong(r, "a temporary file is left");
}
