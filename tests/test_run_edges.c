/* test_run_edges.c - runs at the edges: data sets with nothing in them, texts with zero bytes or cut to the
 * least length, only first captions, and frozen towers in low precision where something goes wrong.        */
#include "tests/watched.h"
#include "eval/eval.h"
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static error e;

/* ---- the project's own configurations ------------------------------------------------------------------ */
START_TEST(every_configuration_of_the_project_is_read)
{
    glob_t all;
    ck_assert(!glob("configs/*/*.yaml", 0, NULL, &all) && all.gl_pathc >= 30);
    for (size_t i = 0; i < all.gl_pathc; i++) {
        train_config c = train_config_default();
        eval_config v = eval_config_default();
        config_table train[TRAIN_TABLES], eval = eval_config_table(&v);
        error other;
        bool evaluates = config_read(all.gl_pathv[i], &eval, 1, &other);
        ck_assert_msg(evaluates || config_read(all.gl_pathv[i], train, train_config_tables(&c, train), &e),
                      "%s; %s", e.text, other.text);
    }
    globfree(&all);
}
END_TEST

/* ---- data ---------------------------------------------------------------------------------------------- */
START_TEST(a_data_set_with_nothing_in_it_is_named)
{
    train_config c = world_config(TRAIN_VIT);
    folder_write("world/nothing.jsonl", "");
    world_text(c.data.train_list, "nothing.jsonl");
    must_fail(&c, false, ERROR_RUN, "world/nothing.jsonl: no pictures in it");
    static const char line[] = "{\"image\": \"broken.png\", \"captions\": [\"a\"]}\n";
    folder_write_bytes("world/broken.png", line, 9);
    folder_write("world/nothing.jsonl", line);
    c.max_bad_fraction = 1;
    must_fail(&c, false, ERROR_USAGE, "world/nothing.jsonl can be used");
    c = world_config(TRAIN_VIT);
    world_text(c.data.train_list, "world/pack.h5:val");
    must_fail(&c, false, ERROR_USAGE, "datasets.train: a pack lies in the folder that root names");
    c.data.root[0] = 0;
    world_text(c.data.train_list, "train.jsonl");
    must_fail(&c, false, ERROR_USAGE, "datasets: root: expected the folder of train.jsonl, found nothing");
    c = world_config(TRAIN_VIT);
    c.max_bad_fraction = 1;
    c.sets.count = 2;
    for (int k = 0; k < 2; k++) {
        snprintf(c.sets.name[k], CONFIG_NAMED_SIZE, "set%d", k);
        c.set[k] = c.data;
        c.set[k].ratio = 1 + k;
    }
    c.data.root[0] = 0;
    must(&c, false);
    world_text(c.set[1].train_list, "nothing.jsonl");
    must_fail(&c, false, ERROR_USAGE, "datasets.set1: nothing in ");
}
END_TEST

START_TEST(a_zero_byte_is_no_text)
{
    train_config c = world_config(TRAIN_LM);
    folder_write_bytes("world/zero.txt", "a red circle\na b\0lue square\n", 28);
    world_text(c.data.text_list, "zero.txt");
    must_fail(&c, false, ERROR_RUN, "world/zero.txt: a zero byte in it; expected text");
}
END_TEST

/* 16 pictures, each with a caption of its own and `more`: ", \"two\"". */
static void write_captions(const char *name, const char *more)
{
    char list[4096] = "";
    for (int i = 1; i <= 16; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list),
                 "{\"image\": \"train/%06d.png\", \"captions\": [\"circle %d\"%s]}\n", i, i, more);
    folder_write(name, list);
}

/* Only the first caption is drawn from: as if the list had no other. */
START_TEST(first_captions_alone_are_read_where_that_is_asked_for)
{
    write_captions("world/list0.jsonl", "");
    write_captions("world/list1.jsonl", ", \"a blue square\", \"two\"");
    world_train_all(TRAIN_VIT);
    static const train_task tasks[] = { TRAIN_VIT, TRAIN_STAGE1 };
    for (int task = 0; task < 2; task++)
        for (int k = 0; k < 3; k++) {                      /* one caption; of three; of three, the first */
            char name[32];
            train_config c = world_config(tasks[task]);
            c.batch = 4;
            c.first_caption = k == 2;
            snprintf(c.data.train_list, CONFIG_TEXT_SIZE, "list%d.jsonl", k > 0);
            snprintf(name, sizeof name, "out%d%d", task, k);
            world_text(c.output_dir, IN_FOLDER(name));
            must(&c, false);
        }
    for (int task = 0; task < 2; task++)
        for (int k = 0; k < 2; k++) {
            char a[32], b[32];
            snprintf(a, sizeof a, "out%d%d/model.h5", task, k);
            snprintf(b, sizeof b, "out%d2/model.h5", task);
            ck_assert_msg(folder_same(a, b) == !k, "%s, %s", a, b);
        }
}
END_TEST

static void write_list(const char *name, const char *caption, const char *question)
{
    char list[8192] = "";
    for (int i = 1; i <= 16; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list),
                 "{\"image\": \"train/%06d.png\", \"captions\": [\"%s %d\"], \"questions\": "
                 "[{\"question\": \"%s\", \"answer\": \"circle\"}]}\n", i, caption, i, question);
    folder_write(name, list);
}

/* Cleaned by the run, or beforehand by hand: the same model. */
START_TEST(texts_are_cleaned_where_that_is_asked_for)
{
    write_list("world/raw.jsonl", "A (blue) star:", "What #IS it?");
    write_list("world/clean.jsonl", "a blue star", "what is it?");
    world_train_all(TRAIN_STAGE2);
    static const train_task tasks[] = { TRAIN_VIT, TRAIN_STAGE1, TRAIN_STAGE2 };
    for (int task = 0; task < 3; task++) {
        for (int k = 0; k < 3; k++) {                      /* clean; raw; raw, cleaned */
            char name[32];
            train_config c = world_config(tasks[task]);
            c.batch = 4;
            c.data.clean = k == 2 ? 1 + task % 2 : 0;
            world_text(c.data.train_list, k ? "raw.jsonl" : "clean.jsonl");
            snprintf(name, sizeof name, "text%d%d", task, k);
            world_text(c.output_dir, IN_FOLDER(name));
            must(&c, false);
        }
        char file[3][32];
        for (int k = 0; k < 3; k++)
            snprintf(file[k], sizeof file[k], "text%d%d/model.h5", task, k);
        ck_assert_msg(folder_same(file[0], file[2]) && !folder_same(file[0], file[1]), "task %d", task);
    }
}
END_TEST

START_TEST(the_least_text_is_trained_on_and_less_is_refused)
{
    world_train_all(TRAIN_VIT);
    train_config c = world_config(TRAIN_STAGE1);
    c.model.max_text = 1;
    must_fail(&c, false, ERROR_USAGE, "max_txt_len: expected at least 2, [CLS] and [SEP], found 1");
    c.model.max_text = 2;
    must(&c, false);
    world_train_all(TRAIN_LM);
    c = world_config(TRAIN_STAGE2);
    c.model.question_in_qformer = false;
    c.model.max_text = 1;
    must(&c, false);
}
END_TEST

/* Of pictures with titles of their own the drawn texts decide, as for a tower without `positives`. */
START_TEST(texts_that_read_the_same_are_positives)
{
    write_captions("world/shapes.jsonl", ", \"shape\"");
    static const int by[] = { TRAIN_IDENTITY_NONE, TRAIN_IDENTITY_TEXT, TRAIN_IDENTITY_CAPTION };
    for (int k = 0; k < 3; k++) {
        char name[32];
        train_config c = world_config(TRAIN_VIT);
        c.identity = by[k];
        world_text(c.data.train_list, "shapes.jsonl");
        snprintf(name, sizeof name, "by%d", k);
        world_text(c.output_dir, IN_FOLDER(name));
        must(&c, false);
    }
    ck_assert(folder_same("by0/model.h5", "by1/model.h5") && !folder_same("by0/model.h5", "by2/model.h5"));
}
END_TEST

/* Numbers that fit in shape and would mean something else. */
START_TEST(a_file_of_other_heads_or_epsilons_is_refused)
{
    world_train_all(TRAIN_STAGE2);
    train_config c = world_config(TRAIN_STAGE1);
    c.model.vision.heads = 1;
    must_fail(&c, false, ERROR_USAGE, "vit/model.h5: model.vit.heads: expected 2, as in the file, found 1");
    c = world_config(TRAIN_STAGE2);
    c.model.ln_vision_eps = 1e-6;
    must_fail(&c, false, ERROR_USAGE, "model.ln_vision_eps: expected 1e-05, as in the file, found 1e-06");
    c = world_config(TRAIN_STAGE2);
    c.model.opt.heads = 1;
    must_fail(&c, false, ERROR_USAGE, "lm/model.h5: model.opt.heads: expected 2, as in the file, found 1");
    c = world_config(TRAIN_STAGE2);
    c.model.qformer.heads = 1;
    c.model.vision.eps = 1e-3;
    must_fail(&c, false, ERROR_USAGE, "stage1/model.h5: its numbers would be another function here");
}
END_TEST

/* ---- what is frozen ------------------------------------------------------------------------------------ */
START_TEST(a_loss_that_nothing_trained_has_a_part_in_is_named_by_its_keys)
{
    static const char *const frozen[] = { "Qformer", "ln_vision", "query_tokens", "itm_head" };
    train_config c = world_config(TRAIN_STAGE1);
    c.pretrained.count = 0;
    world_text(c.bert_tokenizer, IN_FOLDER("bert"));
    for (int k = 0; k < 4; k++)
        world_text(c.freeze.item[c.freeze.count++], frozen[k]);
    must(&c, false);                                       /* ITC has heads of its own */
    c.loss_weights.itc = 0;
    c.accumulate = _i ? 2 : 1;
    for (int k = 0; k < 2; k++) {
        c.memory_check = k;
        const char *text = must_fail(&c, false, ERROR_USAGE,
                                     "model.freeze, run.loss_weights: expected a loss that something trained "
                                     "has a part in");
        ck_assert_msg(!strstr(text, "samples"), "%s", text);
    }
}
END_TEST

START_TEST(a_second_name_in_freeze_is_told_with_the_first)
{
    train_config c = world_config(TRAIN_LM);
    world_text(c.freeze.item[c.freeze.count++], "opt_model.lm_head");
    must_fail(&c, false, ERROR_USAGE, "model.freeze: opt_model.lm_head.weight is tied to, and the same as, "
              "opt_model.model.decoder.embed_tokens.weight; expected that name");
    world_text(c.freeze.item[0], "opt_model.head");
    must_fail(&c, false, ERROR_USAGE, "no parameter's name begins with \"opt_model.head\"");
}
END_TEST

/* ---- a frozen tower in low precision ------------------------------------------------------------------- */
static void save_tower(const char *name, uint64_t seed, ag_dtype type)
{
    train_config c = world_config(TRAIN_STAGE1);
    nn_store *s = nn_store_new(seed);
    blip2_model m;
    blip2_model_init(&m, s, &c.model);
    nn_freeze(s, "");
    ck_assert_int_gt(nn_keep_as(s, "visual_encoder", type), 0);
    ck_assert_msg(nn_build(s, false, &e), "%s", e.text);
    ck_assert_msg(blip2_save(&m, IN_FOLDER(name), "made", NULL, 0, &e), "%s", e.text);
    blip2_close(&m);
}

static train_config behind(const char *tower)
{
    train_config c = world_config(TRAIN_STAGE1);
    world_text(c.bert_tokenizer, IN_FOLDER("bert"));
    world_text(c.pretrained.item[0], IN_FOLDER(tower));
    return c;
}

static const ag_dtype types[] = { AG_F16, AG_BF16, AG_INT8 };

START_TEST(a_bad_loss_behind_low_precision_is_an_error_like_any)
{
    save_tower("low.h5", 5, types[_i]);
    train_config c = behind("low.h5");
    c.init_lr = c.warmup_lr = 100;
    c.weight_decay = 10;                                   /* weights grow a thousandfold a step */
    c.max_iters = 500;
    c.schedule = TRAIN_CONSTANT;
    must_fail(&c, false, ERROR_RUN, "first bad tensor: ");
}
END_TEST

/* Features belong to a tower's numbers, whatever they are kept as. */
START_TEST(a_cache_knows_towers_in_low_precision_apart)
{
    save_tower("one.h5", 5, types[_i]);
    save_tower("two.h5", 6, types[_i]);
    train_config c = behind("one.h5");
    world_text(c.feature_cache, IN_FOLDER("f.h5"));
    c.cache_views = 2;
    must(&c, false);
    ck_assert_str_eq(warnings, "");
    world_text(c.output_dir, IN_FOLDER("again"));
    must(&c, false);
    ck_assert_str_eq(warnings, "");
    world_text(c.pretrained.item[0], IN_FOLDER("two.h5"));
    must(&c, false);
    ck_assert_msg(strstr(warnings, "tower: ") != NULL, "%s", warnings);
}
END_TEST

Suite *suite_run_edges(void)
{
    Suite *s = suite_create("run_edges");
    TCase *c = tcase_create("runs");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, watched_begin, folder_end);
    tcase_add_test(c, a_data_set_with_nothing_in_it_is_named);
    tcase_add_test(c, a_zero_byte_is_no_text);
    tcase_add_test(c, first_captions_alone_are_read_where_that_is_asked_for);
    tcase_add_test(c, texts_are_cleaned_where_that_is_asked_for);
    tcase_add_test(c, texts_that_read_the_same_are_positives);
    tcase_add_test(c, the_least_text_is_trained_on_and_less_is_refused);
    tcase_add_test(c, a_file_of_other_heads_or_epsilons_is_refused);
    tcase_add_loop_test(c, a_loss_that_nothing_trained_has_a_part_in_is_named_by_its_keys, 0, 2);
    tcase_add_test(c, a_second_name_in_freeze_is_told_with_the_first);
    tcase_add_loop_test(c, a_bad_loss_behind_low_precision_is_an_error_like_any, 0, 3);
    tcase_add_loop_test(c, a_cache_knows_towers_in_low_precision_apart, 0, 3);
    tcase_add_test(c, every_configuration_of_the_project_is_read);
    suite_add_tcase(s, c);
    return s;
}
