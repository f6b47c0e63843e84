/* test_groups.c - what the optimiser treats apart: decay, learning rates by layer, gradient norms by part. */
#include "tests/world.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const blip2_vit_config tower = { .kind = BLIP2_VIT_EVA, .depth = 39 };

START_TEST(layers_learn_by_lavis_ids)
{
    static const struct { const char *name; int power; } cases[] = {
        { "visual_encoder.cls_token", 40 }, { "visual_encoder.pos_embed", 40 },
        { "visual_encoder.patch_embed.proj.weight", 40 }, { "visual_encoder.patch_embed.proj.bias", 40 },
        { "visual_encoder.blocks.0.norm1.weight", 39 }, { "visual_encoder.blocks.9.attn.q_bias", 30 },
        { "visual_encoder.blocks.38.mlp.fc2.weight", 1 },
        { "visual_encoder.class_embedding", 40 }, { "visual_encoder.positional_embedding", 40 },
        { "visual_encoder.transformer.resblocks.0.ln_1.bias", 39 },
        /* LAVIS's test misses these two */
        { "visual_encoder.conv1.weight", 1 }, { "visual_encoder.ln_pre.bias", 1 },
        { "ln_vision.weight", 0 }, { "query_tokens", 0 },
        { "Qformer.bert.encoder.layer.3.output.dense.weight", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_msg(fabs(train_layer_factor(&tower, cases[i].name, 0.95)
                           - pow(0.95, cases[i].power)) < 1e-15,
                      "%s", cases[i].name);
        ck_assert(train_layer_factor(&tower, cases[i].name, 1) == 1);
    }
}
END_TEST

START_TEST(what_has_one_axis_or_is_a_bias_is_not_decayed)
{
    blip2_config c = tiny_config();
    blip2_model m;
    c.vision = (blip2_vit_config){ .kind = BLIP2_VIT_EVA, .image_size = 4, .patch = 2, .width = 12,
                                   .depth = 1,
                                   .heads = 3, .hidden = 16, .init_std = 0.3, .position_std = 0.3 };
    blip2_model_init(&m, nn_store_new(1), &c);
    static const struct { const char *name; bool decays; } cases[] = {
        { "temp", true }, { "query_tokens", true }, { "visual_encoder.cls_token", true },
        { "visual_encoder.pos_embed", true }, { "Qformer.bert.embeddings.word_embeddings.weight", true },
        { "Qformer.bert.embeddings.position_embeddings.weight", true }, { "vision_proj.weight", true },
        { "vision_proj.bias", false }, { "ln_vision.weight", false }, { "ln_vision.bias", false },
        { "visual_encoder.blocks.0.attn.q_bias", false }, { "Qformer.cls.predictions.bias", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const nn_entry *met = NULL;
        for (long k = 0; k < m.store->count; k++)
            if (!strcmp(m.store->entries[k].name, cases[i].name))
                met = &m.store->entries[k];
        ck_assert_msg(met && train_decays(met) == cases[i].decays, "%s", cases[i].name);
    }
    nn_store_free(m.store);
}
END_TEST

START_TEST(half_the_rate_goes_half_as_far)
{
    error e;
    nn_store *s = nn_store_new(2);
    const long four[] = { 4 };
    tensor *a = nn_parameter(nn_root(s), "a", NN_INIT_ONE, 1, four);
    tensor *b = nn_parameter(nn_root(s), "b", NN_INIT_ONE, 1, four);
    ck_assert(nn_build(s, true, &e));
    s->entries[1].rate = 0.5;
    for (int i = 0; i < 4; i++)
        ag_grad(a)[i] = ag_grad(b)[i] = (real)(i - 1.5);
    train_adamw_step(s, &(train_adamw){ .lr = 0.01, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-8 }, 1);
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol((double)(b->data[i] - 1), (double)(a->data[i] - 1) / 2, 1e-6);
    ck_assert(fabs((double)a->data[0] - 1) > 0.005);
    nn_store_free(s);
}
END_TEST

/* ---- LAVIS's names ------------------------------------------------------------------------------------- */
static bool read_text(train_config *c, const char *text, error *e)
{
    config_table tables[TRAIN_TABLES];
    *c = train_config_default();
    return config_read_text("l.yaml", text, strlen(text), tables, train_config_tables(c, tables), e);
}

START_TEST(a_file_of_lavis_is_taken_or_told_what_to_write)
{
    static const char *const told[] = {
        "l.yaml:2:3: model.arch: LAVIS's; here run.task", "l.yaml:3:3: model.load_finetuned",
        "l.yaml:4:3: model.vit_precision: LAVIS's; leave it out",
        "l.yaml:11:50: datasets.coco_caption.text_processor.train.prompt: LAVIS's; here model.prompt",
        "l.yaml:16:3: run.amp", "l.yaml:17:3: run.distributed: LAVIS's; here train --ranks N",
        "l.yaml: 6 problems",
    };
    error e;
    train_config c;
    ck_assert(!read_text(&c,
        "model:\n  arch: blip2\n  load_finetuned: False\n  vit_precision: fp16\n  freeze_vit: True\n"
        "  use_grad_checkpoint: True\n  drop_path_rate: 0.1\ndatasets:\n  coco_caption:\n"
        "    vis_processor: {train: {name: blip2_image_train, image_size: 224}}\n"
        "    text_processor: {train: {name: blip_caption, prompt: a}}\n"
        "run:\n  lr_sched: linear_warmup_cosine_lr\n"
        "  init_lr: 1e-4\n  warmup_steps: 5000\n  amp: True\n  distributed: True\n  lr_layer_decay: 0.95\n",
        &e));
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        ck_assert_msg(strstr(e.text, told[i]) != NULL, "expected \"%s\" in: %s", told[i], e.text);
    ck_assert(c.freeze_vit && c.grad_checkpoint && c.drop_path == 0.1 && c.lr_layer_decay == 0.95);
    config_table tables[TRAIN_TABLES];
    ck_assert(!config_override("run.amp=true", tables, train_config_tables(&c, tables), &e));
    ck_assert_ptr_nonnull(strstr(e.text, "run.amp: LAVIS's"));
    char *text = config_print(tables, train_config_tables(&c, tables), true);
    ck_assert(text && !strstr(text, "LAVIS's;"));          /* no key of ours, and printed with none */
    mem_free(text);
}
END_TEST

static double last_norm, last_sum;
static int last_groups;

static void look(void *context, const train_line *line)
{
    const train_losses *l = line->losses;
    (void)context;
    last_sum = 0;
    last_norm = l->grad_norm;
    last_groups = l->groups;
    for (int k = 0; k < l->groups; k++)
        last_sum += l->group_norm[k] * l->group_norm[k];
}

static void run(train_config *c, const char *name, bool watched)
{
    error e;
    train_result result;
    train_watch watch = { .step = look };
    world_text(c->output_dir, IN_FOLDER(name));
    ck_assert_msg(train_run(c, &(train_options){ .watch = watched ? &watch : NULL }, &result, &e), "%s",
                  e.text);
}

static blip2_model open_run(const char *name)
{
    error e;
    bool sealed;
    blip2_model m;
    char path[600];
    snprintf(path, sizeof path, "%s/model.h5", IN_FOLDER(name));
    ck_assert_msg(blip2_open(&m, path, &sealed, &e), "%s", e.text);
    return m;
}

static double moved(const blip2_model *a, const blip2_model *b, const char *prefix)
{
    double most = 0;
    for (long i = 0; i < a->store->count; i++)
        if (nn_has_prefix(a->store->entries[i].name, prefix))
            most = fmax(most, tiny_distance(a->store->entries[i].value, b->store->entries[i].value));
    return most;
}

/* With factor 0 a tower stands still, and temp; unless the factors are stored and not applied, as in
 * LAVIS. */
START_TEST(a_run_applies_the_factors_or_does_not)
{
    world_train_all(TRAIN_VIT);
    train_config c = world_config(TRAIN_STAGE1);
    c.freeze.count = 0;
    c.max_iters = 1;
    c.init_lr = 0;                                         /* where all start */
    c.warmup_lr = 0;
    run(&c, "start", false);
    c.init_lr = c.warmup_lr = 1e-3;
    c.lr_layer_decay = c.temp_lr = 0;
    run(&c, "applied", true);
    ck_assert_double_eq_tol(last_sum, last_norm * last_norm, 1e-5 * last_sum);
    ck_assert_int_eq(last_groups, 5);                      /* queries, qformer, vision, ln_vision, heads */
    c.apply_layer_decay = false;
    run(&c, "stored", false);
    blip2_model start = open_run("start"), applied = open_run("applied"), stored = open_run("stored");
    ck_assert(moved(&start, &applied, "visual_encoder") == 0);
    ck_assert(moved(&start, &applied, "temp") == 0);
    ck_assert(moved(&start, &applied, "query_tokens") > 0);
    ck_assert(moved(&start, &stored, "visual_encoder") > 0);
    blip2_close(&start);
    blip2_close(&applied);
    blip2_close(&stored);
}
END_TEST

/* Parts of a step in a run are one batch: the same curve as the undivided one, by another route. */
START_TEST(a_run_in_parts_ends_where_the_undivided_one_ends)
{
    world_train_all(TRAIN_VIT);
    train_config c = world_config(TRAIN_STAGE1);
    c.freeze.count = _i == 0;                              /* the tower is frozen; is trained */
    c.identity = _i ? TRAIN_IDENTITY_TEXT : TRAIN_IDENTITY_CAPTION;
    c.max_iters = 3;
    c.accumulate = 1;
    c.recompute = false;
    run(&c, "whole", false);
    c.accumulate = 4;
    c.batch /= 4;
    c.recompute = true;
    run(&c, "parts", true);
    c.accum_exact = false;
    run(&c, "alone", false);
    blip2_model whole = open_run("whole"), parts = open_run("parts"), alone = open_run("alone");
    double far = moved(&whole, &alone, "Qformer");
    ck_assert_double_lt(moved(&whole, &parts, ""), (REAL == 64 ? 1e-6 : 0.1) * far);
    ck_assert_int_eq(last_groups, _i ? 5 : 4);
    blip2_close(&whole);
    blip2_close(&parts);
    blip2_close(&alone);
}
END_TEST

Suite *suite_groups(void)
{
    Suite *s = suite_create("groups");
    TCase *c = tcase_create("rules"), *runs = tcase_create("runs");
    tcase_add_test(c, layers_learn_by_lavis_ids);
    tcase_add_test(c, what_has_one_axis_or_is_a_bias_is_not_decayed);
    tcase_add_test(c, half_the_rate_goes_half_as_far);
    tcase_add_test(c, a_file_of_lavis_is_taken_or_told_what_to_write);
    tcase_set_timeout(runs, TEST_SECONDS);
    tcase_add_checked_fixture(runs, folder_begin, folder_end);
    tcase_add_checked_fixture(runs, world_make, NULL);
    tcase_add_test(runs, a_run_applies_the_factors_or_does_not);
    tcase_add_loop_test(runs, a_run_in_parts_ends_where_the_undivided_one_ends, 0, 2);
    suite_add_tcase(s, c);
    suite_add_tcase(s, runs);
    return s;
}
