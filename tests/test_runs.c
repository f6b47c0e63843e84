/* test_runs.c - training runs on a small world, end to end: what they leave behind, the same bytes for any
 * number of threads, going on where a run was stopped, and what goes wrong.                                */
#include "tests/watched.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static error e;

/* ---- looking at files ---------------------------------------------------------------------------------- */
static void same_bytes(const char *a, const char *b)
{
    ck_assert_msg(folder_same(a, b), "%s and %s differ", a, b);
}

static bool timed(const char *key)
{
    return strstr(key, "_ms") || strstr(key, "_per_s") || !strcmp(key, "rss_mb");
}

/* The lines of a log as JSON, less what the clock decides. */
static json_t *read_log(const char *name)
{
    char *text = folder_load(name, NULL);
    json_t *lines = json_array();
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n');
        ck_assert_msg(end != NULL, "%s: the last line is cut", name);
        json_t *o = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
        ck_assert_msg(json_is_object(o), "%s: no JSON: %.*s", name, (int)(end - line), line);
        json_array_append_new(lines, o);
        line = end + 1;
    }
    mem_free(text);
    return lines;
}

static void same_logs(const char *a, const char *b)
{
    json_t *x = read_log(a), *y = read_log(b), *two[2] = { x, y }, *line;
    for (int k = 0; k < 2; k++) {
        size_t i;
        json_array_foreach(two[k], i, line) {
            const char *key;
            json_t *v;
            void *next;
            json_object_foreach_safe(line, next, key, v)
                if (timed(key))
                    json_object_del(line, key);
        }
    }
    ck_assert_msg(json_equal(x, y), "%s and %s differ", a, b);
    json_decref(x);
    json_decref(y);
}

/* ---- what a run leaves behind ------------------------------------------------------------------------ */
static const char *const names[] = { "stage1", "stage2", "vit", "lm" };
static const char *const losses[][8] = {
    { "loss", "loss_itc", "loss_itm", "loss_lm", "itm_acc", "temp", "query_cosine" },
    { "loss", "query_cosine" }, { "loss", "accuracy" },
        { "loss" } };

static const char *file_of(char to[64], train_task task, const char *file)
{
    snprintf(to, 64, "%s/%s", names[task], file);
    return to;
}

/* run.json: digests are those of the files. */
static void tells_what_it_was_made_of(train_task task)
{
    char name[64], digest[32];
    long bytes;
    char *config = folder_load(file_of(name, task, "config.yaml"), &bytes);
    snprintf(digest, sizeof digest, "%016" PRIx64, (uint64_t)XXH3_64bits(config, (size_t)bytes));
    mem_free(config);
    json_t *o = json_load_file(IN_FOLDER(file_of(name, task, "run.json")), 0, NULL);
    ck_assert_str_eq(json_string_value(json_object_get(o, "config_xxh3")), digest);
    const json_t *list = json_array_get(json_object_get(o, "lists"), 0);
    const char *file = json_string_value(json_object_get(list, "file"));
    ck_assert(file && strstr(file, task == TRAIN_LM ? "world/text.txt" : "world/train.jsonl"));
    char *text = file_load(file, 1 << 26, &bytes, &e);
    ck_assert_msg(text != NULL, "%s", e.text);
    snprintf(digest, sizeof digest, "%016" PRIx64, (uint64_t)XXH3_64bits(text, (size_t)bytes));
    mem_free(text);
    ck_assert_str_eq(json_string_value(json_object_get(list, "xxh3")), digest);
    ck_assert(json_integer_value(json_object_get(list, "samples")) > 0);
    ck_assert(json_integer_value(json_object_get(o, "threads")) > 0 && json_object_get(o, "blas"));
    json_decref(o);
}

START_TEST(every_task_leaves_a_model_a_log_and_its_configuration)
{
    static const char *const always[] = { "step", "epoch", "grad_norm", "lr", "data_ms", "step_ms",
                                          "samples_per_s",
                                          "rss_mb" };
    char name[64];
    world_train_all(TRAIN_STAGE2);
    for (int task = 0; task < 4; task++) {
        json_t *log = read_log(file_of(name, (train_task)task, "log.jsonl")), *line;
        size_t i;
        ck_assert_int_eq(json_array_size(log), 3);
        json_array_foreach(log, i, line) {
            ck_assert_int_eq(json_integer_value(json_object_get(line, "step")), i + 1);
            for (size_t k = 0; k < sizeof always / sizeof *always; k++)
                ck_assert_msg(json_is_number(json_object_get(line, always[k])), "%s: %s", names[task],
                              always[k]);
            for (int k = 0; losses[task][k]; k++)
                ck_assert_msg(json_is_number(json_object_get(line, losses[task][k])), "%s: %s", names[task],
                              losses[task][k]);
        }
        json_decref(log);
        blip2_model m;
        bool sealed;
        ck_assert_msg(blip2_open(&m, IN_FOLDER(file_of(name, (train_task)task, "model.h5")), &sealed, &e),
                      "%s", e.text);
        ck_assert(sealed && !nn_find(m.store, "contrastive.visual_projection.weight"));
        blip2_close(&m);
        train_config c = train_config_default();
        config_table tables[TRAIN_TABLES];
        int n = train_config_tables(&c, tables);
        ck_assert_msg(config_read(IN_FOLDER(file_of(name, (train_task)task, "config.yaml")), tables, n, &e),
                      "%s", e.text);
        ck_assert(c.task == task && c.batch == 8);
        tells_what_it_was_made_of((train_task)task);
    }
    ck_assert(folder_has("stage1/checkpoint.h5") && !folder_has("stage1/checkpoint.old.h5"));
}
END_TEST

START_TEST(a_frozen_tower_stays_and_the_rest_moves)
{
    blip2_model before, after;
    bool sealed;
    world_train_all(TRAIN_STAGE2);
    ck_assert(blip2_open(&before, IN_FOLDER("stage1/model.h5"), &sealed, &e));
    ck_assert(blip2_open(&after, IN_FOLDER("stage2/model.h5"), &sealed, &e));
    static const struct { const char *name; bool moves; } all[] = {
        { "visual_encoder.blocks.0.attn.qkv.weight", false }, { "query_tokens", true },
            { "ln_vision.weight", true },
        { "Qformer.bert.encoder.layer.0.crossattention.self.key.weight", true } };
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        const tensor *x = nn_find(before.store, all[k].name), *y = nn_find(after.store, all[k].name);
        ck_assert_msg(x && y && x->size == y->size, "%s", all[k].name);
        ck_assert_msg(!memcmp(x->data, y->data, (size_t)x->size * sizeof(real)) == !all[k].moves, "%s",
                      all[k].name);
    }
    blip2_close(&before);
    blip2_close(&after);
}
END_TEST

START_TEST(first_losses_are_told_beside_those_of_a_model_that_knows_nothing)
{
    train_config c = world_config(TRAIN_VIT);
    must(&c, false);
    ck_assert_ptr_nonnull(strstr(notes, "(ln 8 = 2.079)"));
    c = world_config(TRAIN_STAGE1);
    must(&c, false);
    ck_assert_ptr_nonnull(strstr(notes, "(ln 8 = 2.079), loss_itm 0."));
    ck_assert_ptr_nonnull(strstr(notes, "at 1 in 3), loss_lm "));
    c = world_config(TRAIN_LM);
    must(&c, false);
    double loss;
    const char *found = strstr(notes, "nothing: loss ");
    ck_assert(found && sscanf(found, "nothing: loss %lf (ln 300", &loss) == 1 && fabs(loss - log(300)) < 0.3);
}
END_TEST

START_TEST(losses_that_are_left_out_are_not_in_the_log)
{
    char name[64];
    train_config c = world_config(TRAIN_VIT);
    must(&c, false);
    c = world_config(TRAIN_STAGE1);
    c.loss_weights.itg = 0;
    c.loss_weights.itm = 2;
    c.max_iters = 1;
    must(&c, false);
    char *log = folder_load(file_of(name, TRAIN_STAGE1, "log.jsonl"), NULL);
    double loss = 0, itc = 0, itm = 0;
    const char *at = strstr(log, "\"loss\":");
    ck_assert(at && sscanf(at, "\"loss\":%lf,\"loss_itc\":%lf,\"loss_itm\":%lf", &loss, &itc, &itm) == 3);
    ck_assert_double_eq_tol(loss, itc + 2 * itm, 1e-5);
    ck_assert(!strstr(log, "loss_lm"));
    mem_free(log);
}
END_TEST

/* ---- the same bytes ---------------------------------------------------------------------------------- */
/* Trains the whole chain and returns the models' digests. */
static void chain(uint64_t digest[4])
{
    world_train_all(TRAIN_STAGE2);
    for (int task = 0; task < 4; task++) {
        char name[64];
        long n;
        char *bytes = folder_load(file_of(name, (train_task)task, "model.h5"), &n);
        digest[task] = (uint64_t)n;
        for (long i = 0; i < n; i++)
            digest[task] = ag_mix(digest[task], (unsigned char)bytes[i]);
        mem_free(bytes);
    }
}

START_TEST(the_same_seed_gives_the_same_bytes_for_any_number_of_threads)
{
    static const int threads[] = { 1, 3, 4, 1 };
    uint64_t first[4], now[4];
    for (int k = 0; k < 4; k++) {
        ag_threads(threads[k]);
        chain(k ? now : first);
        for (int task = 0; k && task < 4; task++)
            ck_assert_msg(now[task] == first[task], "%s with %d threads", names[task], threads[k]);
    }
}
END_TEST

START_TEST(another_seed_gives_another_model)
{
    train_config c = world_config(TRAIN_LM);
    must(&c, false);
    ck_assert(!rename(IN_FOLDER("lm/model.h5"), IN_FOLDER("first.h5")));
    c.seed++;
    must(&c, false);
    ck_assert(!folder_same("lm/model.h5", "first.h5"));
}
END_TEST

static long allocations[7];                         /* so far, after each step */
static void count_allocations(long step) { allocations[step] = mem_count(); }

START_TEST(a_warm_step_calls_no_allocator)
{
    static const train_task order[] = { TRAIN_LM, TRAIN_VIT, TRAIN_STAGE1, TRAIN_STAGE2 };
    for (int k = 0; k < 4; k++) {
        train_config c = world_config(order[k]);
        c.max_iters = 6;
        c.accumulate = 2;
        after_step = count_allocations;
        must(&c, false);
        for (int i = 4; i <= 6; i++)
            ck_assert_msg(allocations[i] == allocations[3], "%s, step %d: %ld allocations", names[order[k]],
                          i, allocations[i] - allocations[i - 1]);
    }
}
END_TEST

/* ---- stopping and going on --------------------------------------------------------------------------- */
static train_config long_run(train_task task, const char *folder)
{
    train_config c = world_config(task);
    c.max_iters = 6;
    c.log_freq = 1;
    world_text(c.output_dir, IN_FOLDER(folder));
    return c;
}

START_TEST(a_run_that_was_stopped_goes_on_to_the_same_bytes)
{
    train_task task = _i ? TRAIN_STAGE1 : TRAIN_VIT;       /* vit: heads that no model file has */
    if (_i)
        world_train_all(TRAIN_VIT);
    train_config whole = long_run(task, "whole"), parts = long_run(task, "parts");
    must(&whole, false);
    stop_at = 3;
    train_result result = must(&parts, false);
    ck_assert(result.stopped && result.steps == 3 && folder_has("parts/checkpoint.h5")
              && folder_has("parts/model.h5"));
    stop_at = 0;
    FILE *log = fopen(IN_FOLDER("parts/log.jsonl"), "a");          /* as if it had been killed a step later */
    fputs("{\"step\":4,\"epoch\":0,\"loss\":77}\n{\"step\":5,\"epo", log);
    fclose(log);
    result = must(&parts, true);
    ck_assert(!result.stopped && result.steps == 6 && steps_seen == 3);
    same_bytes("whole/model.h5", "parts/model.h5");
    same_logs("whole/log.jsonl", "parts/log.jsonl");
}
END_TEST

START_TEST(checkpoints_come_at_their_time_and_the_one_before_is_kept)
{
    train_config c = long_run(TRAIN_LM, "lm");
    c.save_freq = 2;
    must(&c, false);
    ck_assert(folder_has("lm/checkpoint.h5") && folder_has("lm/checkpoint.old.h5")
              && !folder_has("lm/checkpoint.new.h5"));
    rename(IN_FOLDER("lm/model.h5"), IN_FOLDER("first.h5"));
    must(&c, true);                                        /* nothing left to do but the model */
    ck_assert_int_eq(steps_seen, 0);
    same_bytes("first.h5", "lm/model.h5");
    ck_assert(!truncate(IN_FOLDER("lm/checkpoint.h5"), 5000));
    must(&c, true);
    ck_assert_msg(strstr(warnings, "checkpoint.h5") && strstr(warnings, "going on from"), "%s", warnings);
    ck_assert_int_eq(steps_seen, 2);
    same_bytes("first.h5", "lm/model.h5");
    ck_assert_ptr_nonnull(strstr(notes, "goes on after step 4"));
}
END_TEST

START_TEST(a_run_does_not_go_on_from_what_is_not_its_own)
{
    train_config c = long_run(TRAIN_LM, "lm");
    c.save_freq = 3;
    must(&c, true);                                        /* there is none: from the beginning */
    ck_assert_ptr_nonnull(strstr(warnings, "no checkpoint in it; starts from the beginning"));
    c.seed = 7;
    must_fail(&c, true, ERROR_USAGE, "run.seed: the checkpoint has 42, this run 7");
    c.accumulate = 2;
    must_fail(&c, true, ERROR_USAGE, "is of another run\n");
    c = long_run(TRAIN_LM, "lm");
    c.model.opt.hidden = 40;
    must_fail(&c, true, ERROR_RUN, "fc1/weight: shape; expected [40,16], found [32,16]");
    must(&c, false);                                       /* anew: what was there is set aside */
    ck_assert(folder_has("lm/checkpoint.h5.aside"));
    ck_assert_ptr_nonnull(strstr(warnings, "starts anew"));
    must(&c, true);                                        /* from its own, which is at its end */
    ck_assert_int_eq(steps_seen, 0);
}
END_TEST

START_TEST(a_run_that_is_stopped_before_its_first_step_leaves_the_old_model)
{
    train_config c = long_run(TRAIN_LM, "lm");
    train_result result;
    volatile int stop = 1;
    must(&c, false);
    rename(IN_FOLDER("lm/model.h5"), IN_FOLDER("first.h5"));
    ck_assert(train_run(&c, &(train_options){ .stop = &stop }, &result, &e));
    ck_assert(result.stopped && result.steps == 0 && !folder_has("lm/model.h5")
              && !folder_has("lm/checkpoint.h5"));
}
END_TEST

/* ---- what goes wrong --------------------------------------------------------------------------------- */
START_TEST(a_loss_that_is_not_finite_ends_the_run_and_names_step_tensor_and_samples)
{
    train_config c = long_run(TRAIN_LM, "lm");
    c.init_lr = c.warmup_lr = 100;
    c.weight_decay = 10;                                   /* weights grow a thousandfold a step */
    c.max_iters = 500;
    c.schedule = TRAIN_CONSTANT;
    const char *text = must_fail(&c, false, ERROR_RUN, "first bad tensor: ");
    ck_assert(strstr(text, "step ") == text && strstr(text, "; samples "));
    ck_assert(folder_has("lm/checkpoint.h5") && !folder_has("lm/model.h5"));
    char says[64];
    snprintf(says, sizeof says, "%.*s", (int)strcspn(text, ":"), text);
    must_fail(&c, true, ERROR_RUN, says);                  /* it can be met again */
    ck_assert_int_eq(steps_seen, 0);
}
END_TEST

START_TEST(configurations_that_cannot_be_are_found_before_anything_is_written)
{
    static const struct { const char *says; train_task task; } all[] = {
        { "run.batch_size_train x run.accum_grad_iters: expected at most the 64 samples", TRAIN_VIT },
        { "model.freeze: no parameter's name begins with \"nothing\"", TRAIN_VIT },
        { "model.vit.kind: expected clip or eva, found none", TRAIN_VIT },
        { "vit.image_size: expected a multiple of vit.patch (8), found 12", TRAIN_VIT },
        { "model.bert_tokenizer: expected a folder, or a pretrained file", TRAIN_VIT },
        { "model.opt.positions: expected at least 2", TRAIN_LM },
        { "model.freeze: nothing is left to train", TRAIN_LM },
        { "expected the name of a folder, found nothing", TRAIN_LM },
        { "run.loss_weights: itc, itm and itg are 0", TRAIN_STAGE1 },
    };
    for (int k = 0; k < 9; k++) {
        train_config c = world_config(all[k].task);
        c.freeze.count = 1;
        switch (k) {
        case 0: c.accumulate = 9; break;
        case 1: world_text(c.freeze.item[0], "nothing"); break;
        case 2: c.model.vision.kind = BLIP2_VIT_NONE; break;
        case 3: c.model.vision.image_size = 12; break;
        case 4: c.bert_tokenizer[0] = 0; break;
        case 5: c.model.opt.positions = 1; break;
        case 6: world_text(c.freeze.item[0], "opt_model"); break;
        case 7: c.output_dir[0] = c.freeze.count = 0; break;
        case 8: c.loss_weights = (blip2_stage1_weights){ 0, 0, 0 }; break;
        }
        if (k != 1 && k != 6)
            c.freeze.count = 0;
        must_fail(&c, false, ERROR_USAGE, all[k].says);
        ck_assert(!folder_has("vit") && !folder_has("lm"));
    }
}
END_TEST

START_TEST(files_that_are_not_there_or_not_right_are_named)
{
    train_config c = world_config(TRAIN_VIT);
    world_text(c.data.train_list, "none.jsonl");
    must_fail(&c, false, ERROR_RUN, "world/none.jsonl: cannot be opened");
    c = world_config(TRAIN_LM);
    world_text(c.data.text_list, "world.yaml");                 /* some other text: is read as one */
    c.batch = 2;
    must(&c, false);
    c = world_config(TRAIN_STAGE1);
    must_fail(&c, false, ERROR_RUN, "vit/model.h5: cannot be opened");
    c = world_config(TRAIN_LM);
    world_text(c.llm_tokenizer, IN_FOLDER("bert"));
    must_fail(&c, false, ERROR_RUN, "model.llm_tokenizer: its vocabulary has no </s>");
    c = world_config(TRAIN_LM);
    world_text(c.output_dir, IN_FOLDER("world/text.txt"));
    must_fail(&c, false, ERROR_RUN, "world/text.txt: not a folder");
}
END_TEST

START_TEST(pictures_without_words_or_questions_are_trained_on)
{
    char list[2048] = "";
    for (int i = 1; i <= 8; i++) {
        char line[256];
        snprintf(line, sizeof line, "{\"image\": \"train/%06d.png\", %s}\n", i, i % 2 ? "\"captions\": [\"\"]"
                 : "\"questions\": [{\"question\": \"\", \"answer\": \"x\"}]");
        strcat(list, line);
    }
    folder_write("world/empty.jsonl", list);
    world_train_all(TRAIN_STAGE2);
    static const train_task order[] = { TRAIN_VIT, TRAIN_STAGE1, TRAIN_STAGE2 };
    for (int k = 0; k < 3; k++) {
        train_config c = world_config(order[k]);
        world_text(c.data.train_list, "empty.jsonl");
        c.batch = 4;                                       /* questions teach stage 2 alone */
        must(&c, false);
    }
}
END_TEST

static void leftovers(const char *folder)
{
    DIR *d = opendir(folder);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *entry; (entry = readdir(d)); )
        ck_assert_msg(!strstr(entry->d_name, ".tmp."), "%s is left", entry->d_name);
    closedir(d);
}

START_TEST(a_disk_that_fills_up_leaves_a_whole_model_and_nothing_half_written)
{
    train_config c = world_config(TRAIN_LM);
    must(&c, false);
    rename(IN_FOLDER("lm/model.h5"), IN_FOLDER("old.h5"));
    c.seed++;
    must(&c, false);
    rename(IN_FOLDER("lm/model.h5"), IN_FOLDER("new.h5"));
    long nth = 1, kept = 0;
    for (bool done = false; !done; nth += 2) { /* the calls of the system fail from some point on */
        train_result result;
        error why;
        unlink(IN_FOLDER("lm/model.h5"));
        ck_assert(!link(IN_FOLDER("old.h5"), IN_FOLDER("lm/model.h5")));
        file_fail_at(nth, ENOSPC, true);
        done = train_run(&c, &(train_options){ 0 }, &result, &why);
        file_fail_at(0, 0, false);
        leftovers(IN_FOLDER("lm"));
        bool old = folder_same("old.h5", "lm/model.h5");
        ck_assert(old || folder_same("new.h5", "lm/model.h5"));
        ck_assert(!(done && old));
        kept += old;
    }
    ck_assert_int_gt(kept, 10);
}
END_TEST

Suite *suite_runs(void)
{
    Suite *s = suite_create("runs");
    TCase *c = tcase_create("runs");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, watched_begin, folder_end);
    tcase_add_test(c, every_task_leaves_a_model_a_log_and_its_configuration);
    tcase_add_test(c, a_frozen_tower_stays_and_the_rest_moves);
    tcase_add_test(c, losses_that_are_left_out_are_not_in_the_log);
    tcase_add_test(c, first_losses_are_told_beside_those_of_a_model_that_knows_nothing);
    tcase_add_test(c, the_same_seed_gives_the_same_bytes_for_any_number_of_threads);
    tcase_add_test(c, another_seed_gives_another_model);
    tcase_add_test(c, a_warm_step_calls_no_allocator);
    tcase_add_loop_test(c, a_run_that_was_stopped_goes_on_to_the_same_bytes, 0, 2);
    tcase_add_test(c, checkpoints_come_at_their_time_and_the_one_before_is_kept);
    tcase_add_test(c, a_run_does_not_go_on_from_what_is_not_its_own);
    tcase_add_test(c, a_run_that_is_stopped_before_its_first_step_leaves_the_old_model);
    tcase_add_test(c, a_loss_that_is_not_finite_ends_the_run_and_names_step_tensor_and_samples);
    tcase_add_test(c, configurations_that_cannot_be_are_found_before_anything_is_written);
    tcase_add_test(c, files_that_are_not_there_or_not_right_are_named);
    tcase_add_test(c, pictures_without_words_or_questions_are_trained_on);
    tcase_add_test(c, a_disk_that_fills_up_leaves_a_whole_model_and_nothing_half_written);
    suite_add_tcase(s, c);
    return s;
}
