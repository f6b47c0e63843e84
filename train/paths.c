/* paths.c - what a configuration names on the disk, looked at before anything of it is read: whoever has
 * three paths wrong is told of all three, and not after an hour of decoding. */
#include "train/internal.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

bool path_readable(const char *path)
{
    char file[2 * CONFIG_TEXT_SIZE];
    const char *colon = strrchr(path, ':');
    if (!access(path, R_OK))
        return true;
    int why = errno;
    if (!colon || strchr(colon, '/') || strlen(path) >= sizeof file)
        return false;
    snprintf(file, sizeof file, "%.*s", (int)(colon - path), path);
    if (access(file, R_OK)) {
        errno = why;
        return false;
    }
    return true;
}

static const char *why_not(void) { return errno == ENOENT ? "no such file or folder" : strerror(errno); }

static void look_for(const char *key, const char *path, error *e)
{
    if (*path && !path_readable(path))
        error_line(e, "%s: %s: cannot be opened; %s", key, QUOTE(path), why_not());
}

static void look_in(const char *key, const char *folder, const char *file, error *e)
{
    char path[2 * CONFIG_TEXT_SIZE];
    error later;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    if (*folder && *file && records_beside(file, key, &later))
        look_for(key, path, e);
}

static void look_at_folder(const char *key, const char *path, error *e)
{
    error why;
    if (*path && !file_may_fill(path, &why))
        error_line(e, "%s: %s", key, why.text);
}

/* A cache that is there is read, or told of when it is. */
static void look_at_cache(const char *file, error *e)
{
    char folder[CONFIG_TEXT_SIZE];
    const char *slash = strrchr(file, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - file) + 1 : 1, slash ? file : ".");
    if (*file && access(file, F_OK))
        look_at_folder("run.feature_cache", folder, e);
}

static void look_at_sets(const train_config *c, error *e)
{
    const train_data *sets;
    int count = train_sets(c, &sets);
    for (int k = 0; k < count; k++) {
        const train_data *d = &sets[k];
        char key[128];
        snprintf(key, sizeof key, "datasets%s%s", c->sets.count ? "." : "",
                 c->sets.count ? c->sets.name[k] : "");
        look_in(key, d->root, c->task == TRAIN_LM ? d->text_list : d->train_list, e);
        look_in(key, d->root, d->val_list, e);
    }
}

/* saved: weights are a checkpoint's */
static void look_at_model(const train_config *c, bool saved, error *e)
{
    for (int i = 0; !saved && i < c->pretrained.count; i++)
        look_for("model.pretrained", c->pretrained.item[i], e);
    if (!saved)
        look_for("model.bert", c->bert, e);
    if (c->task == TRAIN_VIT || c->task == TRAIN_STAGE1 || c->model.question_in_qformer)
        look_for("model.bert_tokenizer", c->bert_tokenizer, e);
    if (c->task == TRAIN_STAGE2 || c->task == TRAIN_LM)
        look_for("model.llm_tokenizer", c->llm_tokenizer, e);
}

/* --resume beside a model whose checkpoint is not there would begin anew, and write over it. */
static void look_at_output(const train_config *c, bool resume, error *e)
{
    char path[CONFIG_TEXT_SIZE + 16];
    look_at_folder("run.output_dir", c->output_dir, e);
    if (c->task == TRAIN_STAGE1 || c->task == TRAIN_STAGE2)
        look_at_cache(c->feature_cache, e);
    snprintf(path, sizeof path, "%s/model.h5", c->output_dir);
    if (resume && !train_saved(c) && !access(path, F_OK))
        error_line(e, "run.output_dir: %s: expected a checkpoint beside it to go on from, found none; "
                   "without --resume a run begins anew, over it", QUOTE(path));
}

bool train_paths(const train_config *given, bool resume, error *e)
{
    train_config *c = mem_new(sizeof *c);
    if (!c)
        return error_set(e, "out of memory");
    *c = *given;
    train_choose_parts(c);                                 /* what the task needs of it */
    bool ok = run_check_parts(c, e);
    if (ok) {
        e->lines = 0;
        look_at_model(c, resume && train_saved(c), e);
        look_at_sets(c, e);
        look_at_output(c, resume, e);
        ok = error_close(e, ERROR_RUN, "%d paths of the configuration cannot be used", e->lines);
    }
    mem_free(c);
    return ok;
}
