/* test_doctor.c - models that were trained badly in known ways are found, and only in that way: a healthy one
 * is spoiled in one place at a time.                                                                       */
#include "tests/world.h"
#include "tests/shell.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static error e;
static train_diagnosis d;

static void begin(void)
{
    folder_begin();
    world_make();
}

static const train_finding *found(const char *name)
{
    for (int i = 0; i < d.count; i++)
        if (!strcmp(d.finding[i].name, name))
            return &d.finding[i];
    ck_abort_msg("no finding %s", name);
    return NULL;
}

static void diagnose(train_task task, const char *model)
{
    train_config c = world_config(task);
    ck_assert_msg(train_doctor(&c, IN_FOLDER(model), 64, NULL, &d, &e), "%s", e.text);
}

static void is(const char *name, train_verdict verdict)
{
    const train_finding *f = found(name);
    ck_assert_msg(f->verdict == verdict, "%s: %g [%g, %g], %s: verdict %d", name, f->figure, f->low, f->high,
                  f->threshold, (int)f->verdict);
}

/* Long enough to know its 64 pictures; the tower learns, too. Matching is the last to leave its guess. */
static void train_well(void)
{
    world_train_all(TRAIN_VIT);
    train_config c = world_config(TRAIN_STAGE1);
    c.max_iters = 900;
    c.init_lr = 4e-3;
    c.min_lr = 4e-4;
    c.warmup_steps = 20;
    c.model.qformer.width = 32;
    c.model.qformer.hidden = 64;
    c.model.qformer.cross_attention_freq = 1;
    c.model.qformer.dropout = 0;
    c.model.fixed_temperature = true;
    c.freeze.count = 0;
    world_train(&c);
}

/* The same model but for what `how` does to a parameter. */
static void spoil(const char *from, const char *to, const char *name, void (*how)(tensor *))
{
    blip2_model m;
    blip2_part parts[2 * BLIP2_PARTS];
    bool sealed;
    ck_assert_msg(blip2_open(&m, IN_FOLDER(from), &sealed, &e), "%s", e.text);
    h5 *f = h5_open(IN_FOLDER(from), &e);
    int n = blip2_read_parts(f, "bert", parts, &e);
    int more = blip2_read_parts(f, "llm", parts + n, &e), met = 0;
    h5_close(f);
    ck_assert(n >= 0 && more >= 0 && n + more > 0);
    for (int i = 0; i < n + more; i++) {                   /* as save names them: "bert/vocab.txt" */
        char full[96];
        snprintf(full, sizeof full, "%s/%.80s", i < n ? "bert" : "llm", parts[i].name);
        snprintf(parts[i].name, sizeof parts[i].name, "%s", full);
    }
    for (long i = 0; i < m.store->count; i++)
        if (nn_has_prefix(m.store->entries[i].name, name) && !m.store->entries[i].alias_of) {
            how(m.store->entries[i].value);
            met++;
        }
    ck_assert_msg(met, "%s", name);
    ck_assert_msg(blip2_save(&m, IN_FOLDER(to), "spoiled", parts, n + more, &e), "%s", e.text);
    blip2_free_parts(parts, n + more);
    blip2_close(&m);
}

static void zero(tensor *x) { memset(x->data, 0, (size_t)x->size * sizeof(real)); }
static void enlarge(tensor *x)
{
    for (long i = 0; i < x->size; i++)
        x->data[i] *= 1000;
}
static void heat(tensor *x) { x->data[0] = (real)0.6; }
static void make_one(tensor *x)                            /* (1,Q,D): every row the first */
{
    long D = x->dim[2];
    for (long i = D; i < x->size; i++)
        x->data[i] = x->data[i % D];
}

START_TEST(a_healthy_model_of_stage_1_is_fine_and_each_spoiled_one_is_found)
{
    static const char *const all[] = { "picture_itc", "picture_itm", "picture_lm", "query_cosine",
                                       "temperature" };
    train_well();
    diagnose(TRAIN_STAGE1, "stage1/model.h5");
    ck_assert_int_eq(d.count, 7);
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        is(all[k], TRAIN_FINE);
    ck_assert(found("itm_loss")->verdict != TRAIN_ILL && found("itm_accuracy")->verdict != TRAIN_ILL);
    ck_assert(found("picture_itc")->figure > 1 && found("picture_itc")->low > 0
              && isnan(found("temperature")->low));

    spoil("stage1/model.h5", "hot.h5", "temp", heat);
    diagnose(TRAIN_STAGE1, "hot.h5");
    is("temperature", TRAIN_ILL);
    ck_assert_double_eq_tol(found("temperature")->figure, 0.6, 1e-6);
    is("picture_lm", TRAIN_FINE);

    spoil("stage1/model.h5", "guess.h5", "itm_head", zero);
    diagnose(TRAIN_STAGE1, "guess.h5");
    is("itm_loss", TRAIN_ILL);
    is("itm_accuracy", TRAIN_ILL);
    ck_assert_double_eq_tol(found("itm_loss")->figure, log(2), 1e-5);
    ck_assert_double_eq_tol(found("itm_accuracy")->figure, 2.0 / 3, 1e-6);
    is("picture_itm", TRAIN_ILL);                          /* and then the picture decides nothing */
    is("picture_itc", TRAIN_FINE);

    spoil("stage1/model.h5", "one.h5", "query_tokens", make_one);
    diagnose(TRAIN_STAGE1, "one.h5");
    is("query_cosine", TRAIN_ILL);
    ck_assert_double_eq_tol(found("query_cosine")->figure, 1, 1e-5);

    spoil("stage1/model.h5", "blind.h5", "ln_vision", zero);       /* all pictures look alike */
    diagnose(TRAIN_STAGE1, "blind.h5");
    is("picture_itc", TRAIN_ILL);
    is("picture_lm", TRAIN_ILL);
    ck_assert_double_eq_tol(found("picture_lm")->figure, 0, 1e-6);
    is("temperature", TRAIN_FINE);
}
END_TEST

START_TEST(stage_2_is_asked_what_the_picture_and_the_prompt_are_worth)
{
    world_train_all(TRAIN_STAGE2);
    diagnose(TRAIN_STAGE2, "stage2/model.h5");             /* three steps: it cannot have learned to look */
    ck_assert_int_eq(d.count, 4);
    ck_assert(found("picture_lm")->verdict != TRAIN_FINE);
    ck_assert(isfinite(found("prompt_lm")->low) && isfinite(found("query_cosine")->figure));
    double scale = found("prompt_scale")->figure;
    spoil("stage2/model.h5", "loud.h5", "opt_proj", enlarge);
    diagnose(TRAIN_STAGE2, "loud.h5");
    is("prompt_scale", TRAIN_ILL);
    ck_assert_double_eq_tol(found("prompt_scale")->figure, 1000 * scale, 0.01 * scale);
    spoil("stage2/model.h5", "mute.h5", "opt_proj", zero);
    diagnose(TRAIN_STAGE2, "mute.h5");
    is("picture_lm", TRAIN_ILL);
    is("prompt_scale", TRAIN_ILL);
    ck_assert_double_eq_tol(found("picture_lm")->figure, 0, 1e-6);
}
END_TEST

START_TEST(what_cannot_be_examined_is_said)
{
    train_config c = world_config(TRAIN_VIT);
    world_train_all(TRAIN_VIT);
    ck_assert(!train_doctor(&c, IN_FOLDER("vit/model.h5"), 64, NULL, &d, &e));
    ck_assert_msg(strstr(e.text, "vit/model.h5: expected a model of stage 1 or stage 2, found one without a "
                         "Q-Former"), "%s", e.text);
    ck_assert(!train_doctor(&c, IN_FOLDER("none.h5"), 64, NULL, &d, &e));
    c = world_config(TRAIN_STAGE1);
    world_train(&c);
    world_text(c.data.val_list, "val.jsonl");              /* four pictures */
    ck_assert(!train_doctor(&c, IN_FOLDER("stage1/model.h5"), 64, NULL, &d, &e));
    ck_assert_msg(strstr(e.text, "datasets: expected at least 8 samples, found 4"), "%s", e.text);
    ck_assert_int_eq(e.kind, ERROR_USAGE);
}
END_TEST

START_TEST(the_command_prints_a_line_for_each_finding_and_ends_with_0)
{
    world_train_all(TRAIN_VIT);
    train_config c = world_config(TRAIN_STAGE1);
    world_train(&c);
    said s = BLIP2("doctor", IN_FOLDER("stage1/model.h5"), IN_FOLDER("stage1/config.yaml"), "--json");
    ck_assert_msg(s.code == 0 && !*s.err, "%d: %s", s.code, s.err);
    int lines = 0;
    for (char *line = s.out; *line; line += strcspn(line, "\n") + 1, lines++) {
        json_t *o = json_loadb(line, strcspn(line, "\n"), JSON_REJECT_DUPLICATES, NULL);
        const char *verdict = json_string_value(json_object_get(o, "verdict"));
        ck_assert_msg(o && verdict && json_is_string(json_object_get(o, "finding"))
                      && json_is_number(json_object_get(o, "figure")), "%s", line);
        ck_assert(!strcmp(verdict, "fine") == !*json_string_value(json_object_get(o, "advice")));
        json_decref(o);
    }
    ck_assert_int_eq(lines, 7);
    shell_free(s);
    s = BLIP2("doctor", IN_FOLDER("stage1/model.h5"), IN_FOLDER("stage1/config.yaml"),
              "datasets.val=test.jsonl");
    ck_assert_msg(s.code == 0 && strstr(s.out, "picture_itc") && strstr(s.out, "constant guess")
                  && strstr(s.out, "8 batches of 2 samples"), "%s", s.out);
    shell_free(s);
    FAILS(2, "doctor MODEL.h5 CONFIG.yaml", "doctor", IN_FOLDER("stage1/model.h5"));
    FAILS(1, "none.h5", "doctor", IN_FOLDER("none.h5"), IN_FOLDER("stage1/config.yaml"));
}
END_TEST

Suite *suite_doctor(void)
{
    Suite *s = suite_create("doctor");
    TCase *c = tcase_create("doctor");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, begin, folder_end);
    tcase_add_test(c, a_healthy_model_of_stage_1_is_fine_and_each_spoiled_one_is_found);
    tcase_add_test(c, stage_2_is_asked_what_the_picture_and_the_prompt_are_worth);
    tcase_add_test(c, what_cannot_be_examined_is_said);
    tcase_add_test(c, the_command_prints_a_line_for_each_finding_and_ends_with_0);
    suite_add_tcase(s, c);
    return s;
}
