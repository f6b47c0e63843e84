/* faults_numbers.c - F7, D1, D2, D4: numbers that are none, and the same bits again (faults.h). */
#define _GNU_SOURCE
#include "tests/faults.h"
#include "tests/shell.h"
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- F7: a NaN in one place, at one step -------------------------------------------------------------- */
typedef enum { IN_WEIGHTS, IN_PICTURE, IN_LOSS, IN_GRADIENT, PLACES } place;
static const char *const places[] = { "weights", "picture features", "loss", "gradient" };
static const char spoilt_weight[] = "Qformer.bert.encoder.layer.0.attention.self.query.weight";
typedef struct poison { place where; long step; blip2_model m; blip2_config c; train_stepper *s; } poison;

static void bad_slope(const ag_node *n)
{
    real *dx = ag_grad(n->in[0]);
    if (dx)
        dx[0] += (real)NAN;
}

/* The loss of a small stage 1; of 2 picture tokens and 3 captions. */
static tensor *forward(void *context, tape *t, int part, train_losses *l)
{
    static const ag_op spoilt = { .name = "spoilt", .backward = bad_slope };
    poison *p = context;
    bool now = p->s->step + 1 == p->step;
    (void)part;
    blip2_stage1_in in = { .features = tiny_normal(t, 3, DIMS(3, 2, p->c.qformer.memory_width)) };
    if (now && p->where == IN_PICTURE)
        in.features->data[7] = (real)NAN;
    in.text = tiny_text(t, &p->c, 3, 6, 2, 4, 5);
    blip2_stage1_out out = { 0 };
    blip2_stage1(&p->m, t, &in, &out);
    tensor *loss = out.loss;
    if (now && p->where == IN_LOSS)
        loss = ag_scale(t, loss, NAN);
    if (now && p->where == IN_GRADIENT) {
        tensor *y = ag_scalar(t, ag_value(loss));
        loss = AG_RECORD(t, &spoilt, y, NULL, loss);
    }
    train_loss(l, "loss", ag_value(loss));
    return loss;
}

static bool names_place(place where, const char *text)
{
    switch (where) {
    case IN_WEIGHTS: return strstr(text, spoilt_weight);
    case IN_PICTURE: return strstr(text, "input (3,2,10) of operation 0");
    case IN_LOSS: return strstr(text, "result () of operation");
    default: return strstr(text, "the gradient is not finite; first bad tensor: the gradient of ");
    }
}

static void meet_nan(void *context, fault_report *r)
{
    poison *p = context;
    error e;
    train_losses l;
    p->c = tiny_config();
    nn_store *store = nn_store_new(7);
    blip2_model_init(&p->m, store, &p->c);
    ck_assert(nn_build(store, true, &e));
    train_stepper s = { .store = store, .t = ag_tape_new(), .adamw = { 1e-3, 0.9, 0.99, 1e-8, 0.05 },
                        .accumulate = 2, .seed = 1 };
    p->s = &s;
    while (s.step + 1 < p->step)
        ck_assert_msg(train_step(&s, forward, p, &l, &e), "%s", e.text);
    tensor *w = nn_find(store, spoilt_weight);
    if (p->where == IN_WEIGHTS)
        w->data[5] = (real)NAN;
    size_t bytes = (size_t)store->trainable * sizeof(real);
    real *before = malloc(3 * bytes);
    memcpy(before, store->values, bytes);
    memcpy(before + store->trainable, store->m, bytes);
    memcpy(before + 2 * store->trainable, store->v, bytes);
    char says[64];
    snprintf(says, sizeof says, "step %ld: ", p->step);
    if (train_step(&s, forward, p, &l, &e))
        fault_wrong(r, "the step was made");
    else if (strncmp(e.text, says, strlen(says)) || !names_place(p->where, e.text))
        fault_wrong(r, "the message names another place: %s", e.text);
    if (s.step != p->step - 1 || memcmp(before, store->values, bytes)
        || memcmp(before + store->trainable, store->m, bytes)
        || memcmp(before + 2 * store->trainable, store->v, bytes))
        fault_wrong(r, "weights or moments have changed");
    free(before);
    ag_tape_free(s.t);
    nn_store_free(store);
}

void figure_not_finite(figure *g, const fault_scale *s)
{
    (void)s;
    for (int where = 0; where < PLACES; where++)
        for (long step = 1; step <= 3; step += 2) {
            char name[64];
            snprintf(name, sizeof name, "NaN in %s at step %ld", places[where], step);
            fault_case(g, name, meet_nan, &(poison){ .where = (place)where, .step = step }, NULL);
        }
    figure_detail(g, "in weights, picture features, loss, gradient; at steps 1 and 3; 2 parts a step");
}

/* ---- D1, D2: threads --------------------------------------------------------------------------------- */
typedef struct trial { int threads; long steps; } trial;

static void make_world(void *context, fault_report *r)
{
    (void)context, (void)r;
    world_make();
}

/* A run of its own each time: nothing is set aside, nothing of an earlier one counts. */
static void forget_run(const char *folder)
{
    static const char *const files[] = { "model.h5", "checkpoint.h5", "checkpoint.old.h5", "log.jsonl" };
    for (int i = 0; i < 4; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
}

static uint64_t digest_of_run(const char *folder)
{
    char path[600];
    uint64_t digest = 1;
    static const char *const files[] = { "model.h5", "checkpoint.h5", "checkpoint.old.h5" };
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        digest = fault_digest(path, digest);
    }
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    return digest ^ fault_log_digest(path);
}

static void train_wide(void *context, fault_report *r)
{
    const trial *t = context;
    train_config c = fault_wide(IN_FOLDER("wide"), t->steps);
    ag_threads(t->threads);
    forget_run(IN_FOLDER("wide"));
    double from = clock_seconds();
    world_train(&c);
    r->number[0] = clock_seconds() - from;
    r->digest = digest_of_run(IN_FOLDER("wide"));
}

/* Each count of threads so often; all must come to the same, or to the first of their own. */
static void compare_threads(figure *g, const int *threads, int n, int times, long steps, bool all_alike)
{
    uint64_t first = 0;
    char name[64];
    for (int i = 0; i < n; i++)
        for (int k = 0; k < times; k++) {
            fault_report r;
            snprintf(name, sizeof name, "%d threads", threads[i]);
            bool ok = fault_case(NULL, name, train_wide, &(trial){ threads[i], steps }, &r);
            if (k == 0 && (i == 0 || !all_alike))
                first = r.digest;
            g->of++;
            g->found += ok && r.digest == first;
            if ((!ok || r.digest != first) && !*g->trouble)
                snprintf(g->trouble, sizeof g->trouble, "%s: %s", name, ok ? "other bytes" : r.why);
        }
}

void figure_twice(figure *g, const fault_scale *s)
{
    static const int threads[] = { 1, 3, 4, 8 };
    long steps = s->steps ? s->steps : s->full ? 12 : 2;
    if (!fault_case(g, "a world", make_world, NULL, NULL))
        return;
    compare_threads(g, threads, 4, 2, steps, false);
    figure_detail(g, "stage 1, dropout, 2 parts a step, %ld steps, at 1, 3, 4, 8 threads", steps);
}

void figure_threads(figure *g, const fault_scale *s)
{
    static const int threads[] = { 1, 2, 3, 4, 8 };
    long steps = s->steps ? s->steps : s->full ? 50 : 2;
    if (!fault_case(g, "a world", make_world, NULL, NULL))
        return;
    compare_threads(g, threads, 5, 1, steps, true);
    figure_detail(g, "stage 1, dropout, 2 parts a step, %ld steps", steps);
}

/* ---- D4: surroundings -------------------------------------------------------------------------------- */
typedef struct surrounding {
    const char *name, *key, *value, *key2, *value2;
    bool elsewhere, locale;
} surrounding;

static void run_in(void *context, fault_report *r)
{
    const surrounding *x = context;
    char yaml[512], model[512], picture[512];
    folder_path(yaml, "near.yaml");
    folder_path(model, "stage2/model.h5");
    folder_path(picture, "world/test/000069.png");
    if (x->key)
        setenv(x->key, x->value, 1);
    if (x->key2)
        setenv(x->key2, x->value2, 1);
    forget_run(IN_FOLDER("near"));
    if (x->elsewhere)
        ck_assert(!chdir("/"));
    said trained = BLIP2("train", yaml, "--quiet"), told = BLIP2("caption", model, picture, "--json");
    if (trained.code || told.code)
        fault_wrong(r, "%s%s", trained.err, told.err);
    r->digest = digest_of_run(IN_FOLDER("near"));
    for (const char *p = told.out; *p; p++)
        r->digest = r->digest * 31 + (unsigned char)*p;
    shell_free(trained);
    shell_free(told);
}

/* The library in a program that has set another locale: numbers in files keep their points. */
static void run_in_locale(void *context, fault_report *r)
{
    const surrounding *x = context;
    if (x->key)
        setenv(x->key, x->value, 1);
    if (x->locale && !setlocale(LC_ALL, "de_DE.UTF-8"))
        fault_wrong(r, "the locale cannot be set");
    forget_run(IN_FOLDER("near"));
    train_config c = fault_run(IN_FOLDER("near"), 4, 1), back = train_config_default();
    config_table tables[TRAIN_TABLES];
    error e;
    world_train(&c);
    if (!config_read(IN_FOLDER("near/config.yaml"), tables, train_config_tables(&back, tables), &e))
        fault_wrong(r, "%s", e.text);
    r->digest = digest_of_run(IN_FOLDER("near")) ^ fault_digest(IN_FOLDER("near/config.yaml"), 5);
}

/* Tape memory as it may be: everything that the next step takes holds NaN. */
static void run_on_poison(void *context, fault_report *r)
{
    const bool *poisoned = context;
    poison p = { .where = PLACES, .c = tiny_config() };
    error e;
    train_losses l;
    nn_store *store = nn_store_new(7);
    blip2_model_init(&p.m, store, &p.c);
    ck_assert(nn_build(store, true, &e));
    train_stepper s = { .store = store, .t = ag_tape_new(), .adamw = { 1e-3, 0.9, 0.99, 1e-8, 0.05 },
                        .seed = 1 };
    p.s = &s;
    for (int i = 0; i < 4; i++) {
        if (*poisoned) {
            ag_reset(s.t);
            for (int k = 0; k < 64; k++)
                memset(ag_alloc(s.t, 1 << 15), 0xff, 1 << 15);
        }
        if (!train_step(&s, forward, &p, &l, &e))
            fault_wrong(r, "%s", e.text);
    }
    for (long i = 0; i < store->trainable; i++) {
        uint64_t bits = 0;
        memcpy(&bits, &store->values[i], sizeof(real));
        r->digest = (r->digest ^ bits) * 0x100000001b3u;
    }
    ag_tape_free(s.t);
    nn_store_free(store);
}

static void count_same(figure *g, const char *name, bool ok, const fault_report *r, uint64_t expected)
{
    bool same = ok && r->digest == expected;
    g->of++;
    g->found += same;
    if (!same && !*g->trouble)
        snprintf(g->trouble, sizeof g->trouble, "%s: %s", name, ok ? "other bytes" : r->why);
}

/* German numbers have commas. Made here if the system's tools can; false: they cannot. */
static bool make_locale(void)
{
    char command[700];
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1",
             IN_FOLDER("locales"));
    mkdir(IN_FOLDER("locales"), 0777);
    return system(command) != -1 && !access(IN_FOLDER("locales/de_DE.UTF-8/LC_NUMERIC"), R_OK);
}

static void prepare_near(void *context, fault_report *r)
{
    fault_prepare(context, r);
    train_config c = fault_run(IN_FOLDER("near"), 4, 1);
    fault_config(&c, IN_FOLDER("near.yaml"));
}

void figure_surroundings(figure *g, const fault_scale *s)
{
    char locales[512];
    const surrounding all[] = {
        { .name = "as it is" },
        { .name = "malloc filled with 0xAA", .key = "MALLOC_PERTURB_", .value = "85" },
        { .name = "malloc filled with 0x00", .key = "MALLOC_PERTURB_", .value = "255" },
        { .name = "GLIBC_TUNABLES", .key = "GLIBC_TUNABLES", 
          .value = "glibc.malloc.perturb=1:glibc.malloc.arena_max=1" },
        { .name = "another time zone", .key = "TZ", .value = "Asia/Kathmandu" },
        { .name = "another folder", .elsewhere = true },
        { .name = "locale de_DE", .key = "LOCPATH", .value = folder_path(locales, "locales"),
          .key2 = "LC_ALL", .value2 = "de_DE.UTF-8" } };
    enum { N = sizeof all / sizeof *all };
    fault_report r;
    (void)s;
    if (!fault_case(g, "the files to begin with", prepare_near, NULL, NULL))
        return;
    bool german = make_locale();
    uint64_t expected = 0;
    for (int i = 0; i < (german ? N : N - 1); i++) {
        bool ok = fault_case(NULL, all[i].name, run_in, (void *)&all[i], &r);
        expected = i ? expected : r.digest;
        count_same(g, all[i].name, ok, &r, expected);
    }
    for (int i = 0; i < 2 && german; i++) {
        surrounding host = { .key = "LOCPATH", .value = locales, .locale = i };
        bool ok = fault_case(NULL, "", run_in_locale, &host, &r);
        expected = i ? expected : r.digest;
        count_same(g, "a host program with locale de_DE", ok, &r, expected);
    }
    for (int i = 0; i < 2; i++) {
        bool poisoned = i, ok = fault_case(NULL, "", run_on_poison, &poisoned, &r);
        expected = i ? expected : r.digest;
        count_same(g, "a tape filled with NaN", ok, &r, expected);
    }
    figure_detail(g, "MALLOC_PERTURB_, GLIBC_TUNABLES, TZ, working folder, %sa tape filled with NaN",
                  german ? "de_DE in program and host, " : "");
    if (!german)
        figure_skip(g, "locale de_DE.UTF-8: localedef cannot make it here");
}
