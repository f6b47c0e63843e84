/* start.c - what stands at the beginning of a run: where every weight comes from, as a table on the screen
 * and in modules.txt, and the losses of the first step beside those of a model that knows nothing. A
 * weight has no source but a file that the configuration names, or the random start that stands in the
 * table. */
#include "train/internal.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the table ----------------------------------------------------------------------------------------- */
enum { ROWS = 64, STARTS = 24, SHOWN = 3, LINE = 320 };
typedef struct row {                   /* parameters of one module, one source, frozen or not */
    char module[64];
    int source;
    bool frozen;
    long tensors, parameters;
    struct { nn_init init; long parameters; } start[STARTS];   /* where source is 0 */
    int starts;
} row;
typedef struct table { row rows[ROWS]; int count; } table;

/* What a reader calls the part of a name before its first point. */
static const char *title_of(const char *module)
{
    static const char *const titles[][2] = {
        { "visual_encoder", "vision tower" }, { "query_tokens", "query tokens" }, { "Qformer", "Q-Former" },
        { "vision_proj", "ITC head, pictures" }, { "text_proj", "ITC head, texts" },
        { "itm_head", "ITM head" }, { "temp", "temperature" },
        { "opt_proj", "projection" }, { "t5_proj", "projection" }, { "connector", "projection" },
        { "opt_model", "language model" }, { "t5_model", "language model" },
        { "contrastive", "contrastive heads" } };
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        if (!strcmp(module, titles[i][0]))
            return titles[i][1];
    return module;
}

static row *row_of(table *t, const nn_entry *p)
{
    int n = (int)strcspn(p->name, ".");
    for (int i = 0; i < t->count; i++) {
        row *r = &t->rows[i];
        if (r->source == p->source && r->frozen == p->frozen && (int)strlen(r->module) == n
            && !strncmp(r->module, p->name, (size_t)n))
            return r;
    }
    row *r = &t->rows[t->count < ROWS ? t->count++ : ROWS - 1];
    if (!*r->module) {
        *r = (row){ .source = p->source, .frozen = p->frozen };
        snprintf(r->module, sizeof r->module, "%.*s", n, p->name);
    }
    return r;
}

static void add_start(row *r, const nn_entry *p)
{
    int i = 0;
    while (i < r->starts && (r->start[i].init.kind != p->init.kind || r->start[i].init.a != p->init.a))
        i++;
    if (i == STARTS)
        i--;
    r->starts = i == r->starts ? i + 1 : r->starts;
    r->start[i].init = p->init;
    r->start[i].parameters += p->value->size;
}

/* The rows of one module stand together, in the order of their first parameters. */
static void collect(const nn_store *s, table *t, table *sorted)
{
    for (long i = 0; i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        if (p->alias_of)
            continue;
        row *r = row_of(t, p);
        r->tensors++;
        r->parameters += p->value->size;
        add_start(r, p);
    }
    for (int i = 0; i < t->count; i++)
        for (int k = i; *t->rows[i].module && k < t->count; k++)
            if (k > i && !strcmp(t->rows[k].module, t->rows[i].module)) {
                sorted->rows[sorted->count++] = t->rows[k];
                *t->rows[k].module = 0;
            } else if (k == i)
                sorted->rows[sorted->count++] = t->rows[k];
}

static int put_start(char *to, int room, const nn_init *init)
{
    switch (init->kind) {
    case NN_CONSTANT: return snprintf(to, (size_t)room, "%.3g", init->a);
    case NN_NORMAL: return snprintf(to, (size_t)room, "N(0, %.3g)", init->a);
    case NN_UNIFORM: return snprintf(to, (size_t)room, "U(-%.3g, %.3g)", init->a, init->a);
    case NN_TRUNCATED: return snprintf(to, (size_t)room, "N(0, %.3g) cut", init->a);
    case NN_GIVEN: return snprintf(to, (size_t)room, "given");
    }
    return 0;
}

/* "fresh: N(0, 0.02), 0, 1": by how many numbers start so. */
static void put_source(const nn_store *s, row *r, char to[CONFIG_TEXT_SIZE])
{
    if (r->source) {
        const char *path = s->sources[r->source - 1];
        snprintf(to, CONFIG_TEXT_SIZE, "%.500s", path ? QUOTE(path) : "a file");
        return;
    }
    int used = snprintf(to, CONFIG_TEXT_SIZE, "fresh:");
    for (int k = 0; k < SHOWN && k < r->starts; k++) {
        int most = 0;
        for (int i = 1; i < r->starts; i++)
            most = r->start[i].parameters > r->start[most].parameters ? i : most;
        used += snprintf(to + used, (size_t)(CONFIG_TEXT_SIZE - used), "%s ", k ? "," : "");
        used += put_start(to + used, CONFIG_TEXT_SIZE - used, &r->start[most].init);
        r->start[most].parameters = -1;
    }
    if (r->starts > SHOWN)
        snprintf(to + used, (size_t)(CONFIG_TEXT_SIZE - used), ", ...");
}

typedef void (*hear)(void *context, const char *line);

static void tell_total(const nn_store *s, int wide, bool frozen, hear to, void *context)
{
    char line[LINE + CONFIG_TEXT_SIZE];
    long n = frozen ? s->frozen : s->trainable, tensors = 0;
    for (long i = 0; i < s->count; i++)
        tensors += !s->entries[i].alias_of && s->entries[i].frozen == frozen;
    snprintf(line, sizeof line, "%-18s  %-*s  %-7s  %7ld  %12ld  %14ld", "all", wide, "",
             frozen ? "frozen" : "trained", tensors, n, n * (long)sizeof(real));
    to(context, line);
}

static void tell_rows(const nn_store *s, table *t, char (*source)[CONFIG_TEXT_SIZE], hear to, void *context)
{
    char line[LINE + CONFIG_TEXT_SIZE];
    int wide = 6;
    for (int i = 0; i < t->count; i++) {
        put_source(s, &t->rows[i], source[i]);
        wide = (int)strlen(source[i]) > wide ? (int)strlen(source[i]) : wide;
    }
    snprintf(line, sizeof line, "%-18s  %-*s  %-7s  %7s  %12s  %14s", "module", wide, "source", "state",
             "tensors", "parameters", "bytes");
    to(context, line);
    for (int i = 0; i < t->count; i++) {
        const row *r = &t->rows[i];
        snprintf(line, sizeof line, "%-18s  %-*s  %-7s  %7ld  %12ld  %14ld", title_of(r->module), wide,
                 source[i], r->frozen ? "frozen" : "trained", r->tensors, r->parameters,
                 r->parameters * (long)sizeof(real));
        to(context, line);
    }
    tell_total(s, wide, false, to, context);
    tell_total(s, wide, true, to, context);
}

static bool tell_modules(const nn_store *s, hear to, void *context)
{
    char (*source)[CONFIG_TEXT_SIZE] = mem_new(ROWS * sizeof *source);
    table *t = mem_new(sizeof *t), *sorted = mem_new(sizeof *sorted);
    bool ok = source && t && sorted;
    if (ok) {
        collect(s, t, sorted);
        tell_rows(s, sorted, source, to, context);
    }
    mem_free(source);
    mem_free(t);
    mem_free(sorted);
    return ok;
}

static void on_screen(void *context, const char *line) { run_say(context, "%s", line); }
static void to_file(void *context, const char *line) { file_print(context, "%s\n", line); }

static const char *an_s(long n) { return n == 1 ? "" : "s"; }

/* The batch that counts for the learning rate, and for contrast where the parts are one. */
static void say_batch(const run *r)
{
    const train_config *c = r->c;
    long step = samples_a_step(r), world = ag_world(r->ranks), epoch = r->sampler.per_epoch / step;
    run_say(r, "a step: %ld sample%s = batch %ld x %ld part%s%s x %ld rank%s; an epoch: %ld step%s", step,
            an_s(step), c->batch, c->accumulate, an_s(c->accumulate), run_exact(r) ? " of one batch" : "",
            world, an_s(world), epoch, an_s(epoch));
}

void say_modules(const run *r)
{
    char ranks[40] = "";
    tell_modules(r->store, on_screen, (void *)r);
    if (r->ranks)
        snprintf(ranks, sizeof ranks, "%d ranks of ", r->ranks->world);
    run_say(r, "gradients and AdamW's moments: %ld bytes; %ld samples, %ld steps, seed %ld, %s, %s%d threads",
            3 * r->store->trainable * (long)sizeof(real), r->feed.n, r->steps, r->c->seed, ag_blas(), ranks,
            ag_threads_now());
    say_batch(r);
}

bool save_modules(const run *r, error *e)
{
    char *path = mem_text("%s/modules.txt", r->c->output_dir);
    file_out *f = path ? file_create(path, e) : NULL;
    bool ok = path ? f != NULL : error_set(e, "out of memory");
    if (f) {
        bool told = tell_modules(r->store, to_file, f);
        ok = file_finish(f, e) && (told || error_set(e, "%s: out of memory", QUOTE(path)));
    }
    mem_free(path);
    return ok;
}

/* ---- the first losses ---------------------------------------------------------------------------------- */
/* Has nothing of it come from a file? */
static bool is_fresh(const nn_store *s, const char *prefix)
{
    for (long i = 0; i < s->count; i++)
        if (s->entries[i].source && nn_has_prefix(s->entries[i].name, prefix))
            return false;
    return true;
}

/* A loss is what it is to be at the start only where the part that makes it knows nothing yet. */
static bool starts_fresh(const run *r, const char *loss)
{
    const char *part = r->c->task == TRAIN_VIT ? "visual_encoder"
                     : r->c->task != TRAIN_STAGE1 ? blip2_llm_of(&r->c->model).parameters
                     : !strcmp(loss, "loss_itm") ? "itm_head"
                     : !strcmp(loss, "loss_lm") ? "Qformer.cls" : "Qformer";
    return is_fresh(r->store, part);
}

void say_first(const run *r, const train_losses *l)
{
    char line[512] = "", why[32];
    size_t used = 0;
    for (int i = 0; i < l->count; i++) {
        double start = task_start(r, l->name[i], why);
        if (isfinite(start) && used < sizeof line)
            used += (size_t)snprintf(line + used, sizeof line - used, "%s%s %.3f (%s = %.3f%s)",
                                     used ? ", " : "", l->name[i], l->value[i], why, start,
                                     strcmp(l->name[i], "loss_itm") ? ""
                                     : "; 0.637 is the constant guess at 1 in 3");
    }
    if (!used)
        return;
    run_say(r, "first losses, in brackets those of a model that knows nothing: %s", line);
    for (int i = 0; i < l->count; i++) {
        double start = task_start(r, l->name[i], why);
        if (isfinite(start) && starts_fresh(r, l->name[i]) && fabs(l->value[i] - start) > 0.5 * start)
            run_say(r, "%s is far from %.3f, and nothing is trained yet: its scores are not nearly equal as "
                    "they are to be; see the start of the weights above and model.temperature", l->name[i],
                    start);
    }
}
