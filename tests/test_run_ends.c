/* test_run_ends.c - how runs begin and end: what is told of paths before anything is read, what a finished
 * run leaves and goes on from, files written for LAVIS, datasets.val with nothing in it, and signals.      */
#include "tests/shell.h"
#include "tests/watched.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error e;

static train_config in(train_config c, const char *folder)
{
    world_text(c.output_dir, IN_FOLDER(folder));
    return c;
}

/* Two processes, of a program of their own. */
static said two_ranks(const train_config *c, const char *resume)
{
    world_write(c, "run.yaml");
    said s = BLIP2("train", IN_FOLDER("run.yaml"), "--ranks", "2", resume);
    ck_assert_msg(s.code == 0, "%d: %s", s.code, s.err);
    return s;
}

/* ---- what a run leaves at its end ---------------------------------------------------------------------- */
/* A constant rate does not know how long the run is to be. */
START_TEST(a_finished_run_is_given_more_steps)
{
    train_config c = in(world_config(TRAIN_LM), "short"), whole = in(world_config(TRAIN_LM), "whole");
    c.schedule = whole.schedule = TRAIN_CONSTANT;
    whole.max_iters = 7;
    must(&whole, false);
    must(&c, false);
    ck_assert(folder_has("short/checkpoint.h5") && !folder_has("short/checkpoint.old.h5"));
    c.max_iters = 7;
    ck_assert_int_eq(must(&c, true).steps, 7);
    ck_assert_ptr_nonnull(strstr(notes, "goes on after step 3"));
    ck_assert(folder_same("short/model.h5", "whole/model.h5")
              && folder_same("short/checkpoint.h5", "whole/checkpoint.h5"));
    c.max_iters = 0;
    c.max_epoch = 2;                                       /* of 60 documents: 14 steps */
    ck_assert_int_eq(must(&c, true).steps, 14);
}
END_TEST

START_TEST(fewer_steps_than_there_are_are_refused)
{
    train_config c = in(world_config(TRAIN_LM), "short");
    must(&c, false);
    c.max_iters = 2;
    must_fail(&c, true, ERROR_USAGE, "short: a checkpoint of 3 steps is there; expected a run of at least");
    char *config = folder_load("short/config.yaml", NULL);
    ck_assert_ptr_nonnull(strstr(config, "max_iters: 3"));
    mem_free(config);
}
END_TEST

static void take_the_place(long step)
{
    if (step == 1)
        ck_assert(!mkdir(IN_FOLDER("full/checkpoint.new.h5"), 0700));
}

/* As where the disk is full: what nobody asked for ends nothing; what was asked for does. */
START_TEST(a_checkpoint_that_cannot_be_written_costs_no_model)
{
    train_config c = in(world_config(TRAIN_LM), "full"), whole = in(world_config(TRAIN_LM), "whole");
    must(&whole, false);
    c.save_minutes = 1e-9;
    after_step = take_the_place;
    must(&c, false);
    ck_assert_ptr_nonnull(strstr(warnings, ": the run goes on without this checkpoint\n"));
    ck_assert_ptr_nonnull(strstr(warnings, ": --resume cannot go on from here\n"));
    ck_assert(folder_same("full/model.h5", "whole/model.h5"));
    ck_assert(!rmdir(IN_FOLDER("full/checkpoint.new.h5")));
    c.save_freq = 2;
    must_fail(&c, false, ERROR_RUN, "checkpoint.new.h5");
    after_step = NULL;
}
END_TEST

START_TEST(a_seed_of_the_command_line_is_in_the_texts_that_speak_of_it)
{
    train_config c = in(world_config(TRAIN_LM), "s-${seed}");
    world_write(&c, "run.yaml");
    said s = BLIP2("train", IN_FOLDER("run.yaml"), "--seed", "9", "--dry-run");
    ck_assert_msg(s.code == 0 && strstr(s.out, "/s-9\"") && strstr(s.out, "seed: 9"), "%s%s", s.out, s.err);
    shell_free(s);
}
END_TEST

/* A checkpoint before each step is as often as a clock can ask; the folder is that of a run without any. */
START_TEST(checkpoints_by_the_clock_leave_the_same_files)
{
    static const char *const files[] = { "model.h5", "checkpoint.h5", "metrics.csv" };
    train_config often = in(world_config(TRAIN_LM), "often"), never = in(world_config(TRAIN_LM), "never");
    often.save_minutes = 1e-9;
    never.save_minutes = 0;
    never.max_iters = often.max_iters = 5;
    must(&never, false);
    stop_at = 3;
    must(&often, false);
    ck_assert(folder_has("often/checkpoint.h5") && folder_has("often/checkpoint.old.h5"));
    stop_at = 0;
    ck_assert(!truncate(IN_FOLDER("often/checkpoint.h5"), 3000));
    ck_assert_int_eq(must(&often, true).steps, 5);         /* from the one of step 2, which the clock made */
    ck_assert_ptr_nonnull(strstr(notes, "goes on after step 2"));
    ck_assert(!unlink(IN_FOLDER("often/checkpoint.h5.damaged")));
    char a[64], b[64];
    for (int k = 0; k < 3; k++) {
        snprintf(a, sizeof a, "often/%s", files[k]);
        snprintf(b, sizeof b, "never/%s", files[k]);
        ck_assert_msg(folder_same(a, b), "%s", files[k]);
    }
    ck_assert(!folder_has("often/checkpoint.old.h5") && !folder_has("never/checkpoint.old.h5"));
}
END_TEST

START_TEST(ranks_save_by_the_clock_of_the_first)
{
    train_config c = in(world_config(TRAIN_LM), "two"), never = in(world_config(TRAIN_LM), "never");
    c.batch = never.batch = 4;
    c.schedule = never.schedule = TRAIN_CONSTANT;
    c.save_minutes = 1e-9;
    never.max_iters = 6;
    shell_free(two_ranks(&never, NULL));
    shell_free(two_ranks(&c, NULL));
    ck_assert(folder_has("two/checkpoint.h5") && !folder_has("two/checkpoint.old.h5"));
    c.max_iters = 6;
    shell_free(two_ranks(&c, "--resume"));
    ck_assert(folder_same("two/model.h5", "never/model.h5")
              && folder_same("two/checkpoint.h5", "never/checkpoint.h5"));
}
END_TEST

START_TEST(resume_does_not_begin_anew_over_a_model)
{
    train_config c = in(world_config(TRAIN_LM), "lm");
    must(&c, false);
    ck_assert(!unlink(IN_FOLDER("lm/checkpoint.h5")));
    c.max_iters = 6;
    must_fail(&c, true, ERROR_RUN, "lm/model.h5: expected a checkpoint beside it to go on from, found none");
    must(&c, false);
    ck_assert(folder_has("lm/checkpoint.h5"));
}
END_TEST

/* ---- paths --------------------------------------------------------------------------------------------- */
static train_config all_wrong(void)
{
    train_config c = world_config(TRAIN_STAGE1);
    world_text(c.pretrained.item[0], "no/such/vit.h5:visual_encoder");
    world_text(c.bert, "no/such/bert");
    world_text(c.bert_tokenizer, "no/such/words");
    world_text(c.data.train_list, "no.jsonl");
    world_text(c.data.val_list, "neither.jsonl");
    world_text(c.output_dir, IN_FOLDER("world/train.jsonl/run"));
    world_text(c.feature_cache, IN_FOLDER("world/train.jsonl/features.h5"));
    return c;
}

static const char *const wrong[] = {
    "7 paths of the configuration cannot be used", "model.pretrained: no/such/vit.h5:visual_encoder: ",
    "model.bert: no/such/bert: cannot be opened", "model.bert_tokenizer: no/such/words: ",
    "world/no.jsonl: cannot be opened", "world/neither.jsonl: ", "run.output_dir: ",
    "world/train.jsonl: not a folder", "run.feature_cache: " };

START_TEST(all_paths_that_are_wrong_are_told_together)
{
    train_config c = all_wrong();
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++)
        must_fail(&c, false, ERROR_RUN, wrong[k]);
    c.loss_weights = (blip2_stage1_weights){ 0 };          /* what can be known without a disk comes first */
    must_fail(&c, false, ERROR_USAGE, "run.loss_weights: itc, itm and itg are 0");
    c = world_config(TRAIN_LM);
    world_text(c.bert_tokenizer, "no/such/words");         /* which the task does not read */
    must(&c, false);
}
END_TEST

START_TEST(a_dry_run_tells_of_paths_and_nothing_is_converted_before_them)
{
    train_config c = all_wrong();
    c.model.qformer.vocab = 30523;                         /* BERT's stands in */
    world_write(&c, "run.yaml");
    said s = BLIP2("train", IN_FOLDER("run.yaml"), "--dry-run", "--json");
    ck_assert_msg(s.code == 0, "%s", s.err);
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++)
        ck_assert_msg(strstr(s.err, wrong[k]) != NULL, "expected \"%s\" in: %s", wrong[k], s.err);
    shell_free(s);
    c = world_config(TRAIN_STAGE1);
    c.pretrained.count = 0;
    world_text(c.bert, IN_FOLDER("bert"));                 /* is there, but holds no weights */
    world_text(c.bert_tokenizer, IN_FOLDER("bert"));
    world_text(c.data.train_list, "no.jsonl");
    world_write(&c, "run.yaml");
    FAILS(1, "world/no.jsonl: cannot be opened", "train", IN_FOLDER("run.yaml"));
    ck_assert(!folder_has("stage1"));
}
END_TEST

/* ---- a file of LAVIS's --------------------------------------------------------------------------------- */
/* Its first stage's, from what is known of its keys and values. */
static void write_lavis(const char *task, const char *model, const char *more)
{
    FILE *f = fopen(IN_FOLDER("lavis.yaml"), "w");
    ck_assert_ptr_nonnull(f);
    fprintf(f, "model:\n  arch: blip2\n%s  load_pretrained: False\n  freeze_vit: True\n  num_query_token: 3\n"
               "  vit: {kind: eva, image_size: 16, patch: 8, width: 16, depth: 1, heads: 2, hidden: 32}\n"
               "  qformer: {width: 16, layers: 2, heads: 2, hidden: 32, positions: 40}\n"
               "  embed_dim: 12\n  max_txt_len: 24\n  bert_tokenizer: %s\n", model, IN_FOLDER("bert"));
    fprintf(f, "datasets:\n  coco_caption:\n    root: %s\n"
               "    vis_processor:\n      train:\n        name: \"blip2_image_train\"\n"
               "        image_size: 16\n        flip: 0\n    text_processor:\n      train:\n"
               "        name: \"blip_caption\"\n",
            IN_FOLDER("world"));
    fprintf(f, "run:\n  task: %s\n  lr_sched: \"linear_warmup_cosine_lr\"\n  init_lr: 1e-4\n  min_lr: 1e-5\n"
               "  warmup_lr: 1e-6\n  weight_decay: 0.05\n  max_epoch: 1\n  batch_size_train: 8\n"
               "  batch_size_eval: 64\n  num_workers: 4\n  warmup_steps: 5000\n  seed: 42\n"
               "  output_dir: \"%s\"\n  amp: True\n  resume_ckpt_path: null\n  evaluate: False\n"
               "  train_splits: [\"train\"]\n  device: \"cuda\"\n  world_size: 1\n  dist_url: \"env://\"\n"
               "  distributed: True\n%s", task, IN_FOLDER("run"), more);
    fclose(f);
}

static bool open_lavis(train_config *c, long ranks, int count, char *const *words)
{
    warnings[0] = 0;
    *c = train_config_default();
    return train_config_open(c, IN_FOLDER("lavis.yaml"), words, count, ranks, &watch, &e);
}

static void lavis_fails(const char *says)
{
    train_config c;
    ck_assert(!open_lavis(&c, 1, 0, NULL) && e.kind == ERROR_USAGE && !*warnings);
    ck_assert_msg(strstr(e.text, says) != NULL, "expected \"%s\", found \"%s\"", says, e.text);
}

START_TEST(what_changes_nothing_in_a_file_of_lavis_is_taken_with_one_warning)
{
    train_config c;
    write_lavis("stage1", "", "");
    ck_assert_msg(open_lavis(&c, 1, 0, NULL), "%s", e.text);
    ck_assert_str_eq(warnings, "LAVIS's keys that say nothing here are passed over: model.arch, "
                     "model.load_pretrained, run.amp, run.device, run.world_size, run.distributed, "
                     "run.dist_url, run.evaluate, run.batch_size_eval, run.train_splits\n");
    ck_assert(c.task == TRAIN_STAGE1 && c.model.qformer.queries == 3 && c.freeze_vit && c.sets.count == 1);
    said s = BLIP2("train", IN_FOLDER("lavis.yaml"));
    ck_assert_msg(s.code == 0 && strstr(s.err, "run.amp, run.device"), "%s", s.err);
    shell_free(s);
    char *config = folder_load("run/config.yaml", NULL);   /* ours alone */
    ck_assert(!strstr(config, "amp:") && !strstr(config, "distributed") && strstr(config, "task: stage1"));
    mem_free(config);
    config_table tables[TRAIN_TABLES];
    c = train_config_default();
    ck_assert_msg(config_read(IN_FOLDER("run/config.yaml"), tables, train_config_tables(&c, tables), &e),
                  "%s", e.text);
    char *const words[] = { "run.amp=False" };             /* and on the command line */
    ck_assert_msg(open_lavis(&c, 1, 1, words), "%s", e.text);
}
END_TEST

START_TEST(what_would_change_a_run_of_lavis_is_refused)
{
    train_config c;
    write_lavis("image_text_pretrain", "", "");
    lavis_fails("run.task: image_text_pretrain is LAVIS's name of both stages; expected stage1");
    write_lavis("stage1", "  model_type: pretrain\n", "");
    lavis_fails("model.model_type: LAVIS's; here sizes stand in the file itself");
    write_lavis("stage1", "  load_finetuned: True\n", "");
    lavis_fails("model.load_finetuned: found True; LAVIS's; here model.pretrained: [FILE]");
    write_lavis("stage2", "", "");
    lavis_fails("model.arch: found blip2; LAVIS's; here run.task: stage1 or stage2");
    write_lavis("stage1", "", "  iters_per_inner_epoch: 100\n");
    lavis_fails("run.iters_per_inner_epoch: LAVIS's; here run.max_iters");
    write_lavis("stage1", "", "");
    static char *const words[] = { "run.evaluate=True", "run.world_size=4", "run.train_splits=[train, val]",
                                   "model.qformer.num_query_token=8" };
    static const char *const says[] = { "run.evaluate: found True; LAVIS's; here `blip2 evaluate`",
                                        "run.world_size: found 4; LAVIS's; here train --ranks N",
                                        "run.train_splits: LAVIS's; here a data set's train: LIST",
                                        "model.num_query_token: expected 8, as model.qformer.num_query_token "
                                        "says, found 3" };
    for (int k = 0; k < 4; k++) {
        ck_assert(!open_lavis(&c, 1, 1, &words[k]));
        ck_assert_msg(strstr(e.text, says[k]) != NULL, "expected \"%s\", found \"%s\"", says[k], e.text);
    }
    ck_assert_msg(open_lavis(&c, 4, 1, &words[1]), "%s", e.text);
    static char *const same[] = { "model.qformer.num_query_token=3" }, *const plain[] = {
        "model.qformer.num_query_token=32" };              /* the default, but given */
    ck_assert_msg(open_lavis(&c, 1, 1, same), "%s", e.text);
    ck_assert(!open_lavis(&c, 1, 1, plain) && strstr(e.text, "num_query_token: expected 32, as "));
    static char *const speaks[] = { "run.output_dir=q-${num_query_token}" };
    ck_assert_msg(open_lavis(&c, 1, 1, speaks), "%s", e.text);
    ck_assert_str_eq(c.output_dir, "q-3");
    ck_assert(!open_lavis(&c, 1, 4, words) && strstr(e.text, "4 problems with LAVIS's keys\n"));
}
END_TEST

/* ---- datasets.val -------------------------------------------------------------------------------------- */
static void write_val(int lines)
{
    FILE *to = fopen(IN_FOLDER("world/few.jsonl"), "w"), *from = fopen(IN_FOLDER("world/val.jsonl"), "r");
    char line[4096];
    ck_assert(to && from);
    for (int i = 0; i < lines && fgets(line, sizeof line, from); i++)
        fputs(line, to);
    fclose(from);
    fclose(to);
}

START_TEST(a_split_of_few_pictures_or_none_is_told_and_the_run_goes_on)
{
    train_config c = world_config(TRAIN_VIT);
    world_text(c.data.val_list, "few.jsonl");
    write_val(0);
    ck_assert_int_eq(must(&c, false).best_step, 0);
    ck_assert_msg(strstr(warnings, "datasets.val: nothing is in ") && !folder_has("vit/model_best.h5"), "%s",
                  warnings);
    c.patience = 2;
    must_fail(&c, false, ERROR_USAGE, "run.patience: expected 0 without samples in datasets.val, found 2");
    c.patience = 0;
    write_val(2);
    ck_assert(must(&c, false).best_step > 0 && folder_has("vit/model_best.h5"));
    ck_assert_msg(strstr(notes, "datasets.val: 2 samples are few"), "%s", notes);
    write_val(1);
    c.batch = 4;
    said s = two_ranks(&c, NULL);
    ck_assert_msg(strstr(s.err, "datasets.val: it has 1 sample for 2 ranks"), "%s", s.err);
    shell_free(s);
}
END_TEST

/* ---- what is said at the beginning --------------------------------------------------------------------- */
START_TEST(the_batch_that_counts_is_told)
{
    world_train_all(TRAIN_VIT);
    train_config c = world_config(TRAIN_STAGE1);
    c.accumulate = 2;
    must(&c, false);
    ck_assert_msg(strstr(notes, "a step: 16 samples = batch 8 x 2 parts of one batch x 1 rank; an epoch: 4 "
                         "steps"), "%s", notes);
    c = world_config(TRAIN_VIT);
    must(&c, false);
    ck_assert_msg(strstr(notes, "a step: 8 samples = batch 8 x 1 part x 1 rank; an epoch: 8 steps"), "%s",
                  notes);
}
END_TEST

/* ---- ranks that wait for pictures ---------------------------------------------------------------------- */
/* Nothing is held and one thread decodes: each step's main thread waits, in two processes. */
START_TEST(ranks_that_wait_for_decoding_learn_the_same)
{
    train_config held = in(world_config(TRAIN_VIT), "held"), drawn = in(world_config(TRAIN_VIT), "drawn");
    held.batch = drawn.batch = 4;
    held.data.view = drawn.data.view = TRAIN_VIEW_RANDOM;
    held.max_iters = drawn.max_iters = 12;
    drawn.memory_mb = 0;
    drawn.num_workers = 1;
    shell_free(two_ranks(&held, NULL));
    shell_free(two_ranks(&drawn, NULL));
    ck_assert(folder_same("held/model.h5", "drawn/model.h5"));
}
END_TEST

/* ---- doctor -------------------------------------------------------------------------------------------- */
START_TEST(connectors_without_queries_are_examined_too)
{
    static const int kinds[] = { BLIP2_CONNECTOR_LINEAR, BLIP2_CONNECTOR_MLP };
    train_diagnosis d;
    world_train_all(TRAIN_LM);
    train_config vit = world_config(TRAIN_VIT);
    world_train(&vit);
    for (int k = 0; k < 2; k++) {
        train_config c = world_config(TRAIN_STAGE2);
        c.model.connector = kinds[k];
        c.model.question_in_qformer = false;
        world_text(c.pretrained.item[0], IN_FOLDER("vit/model.h5"));
        world_train(&c);
        ck_assert_msg(train_doctor(&c, IN_FOLDER("stage2/model.h5"), 64, NULL, &d, &e), "%s", e.text);
        ck_assert_int_eq(d.count, 3);
        ck_assert_str_eq(d.finding[0].name, "picture_lm");
        ck_assert_str_eq(d.finding[1].name, "prompt_lm");
        ck_assert_str_eq(d.finding[2].name, "prompt_scale");
        ck_assert(d.finding[2].figure > 0 && strstr(d.left_out, "query_cosine"));
    }
    said s = BLIP2("doctor", IN_FOLDER("stage2/model.h5"), IN_FOLDER("stage2/config.yaml"));
    ck_assert_msg(s.code == 0 && strstr(s.out, "left out: query_cosine: the connector has no queries"), "%s",
                  s.out);
    shell_free(s);
}
END_TEST

/* Its cosine with itself is 1, and no collapse. */
START_TEST(one_query_cannot_collapse)
{
    train_diagnosis d;
    world_train_all(TRAIN_VIT);
    train_config c = world_config(TRAIN_STAGE1);
    c.model.qformer.queries = 1;
    world_train(&c);
    ck_assert_msg(train_doctor(&c, IN_FOLDER("stage1/model.h5"), 64, NULL, &d, &e), "%s", e.text);
    for (int k = 0; k < d.count; k++)
        ck_assert_str_ne(d.finding[k].name, "query_cosine");
    ck_assert_int_eq(d.count, 6);
    ck_assert_str_eq(d.left_out, "query_cosine: the model has one query");
}
END_TEST

/* ---- signals ------------------------------------------------------------------------------------------- */
/* The file has a line: the run has begun. */
static void wait_for(const char *name)
{
    struct stat about;
    for (int i = 0; i < 6000; i++) {
        if (!stat(IN_FOLDER(name), &about) && about.st_size)
            return;
        usleep(10000);
    }
    ck_abort_msg("%s does not grow", name);
}

static long lines_of(const char *name)
{
    long bytes, lines = 0;
    char *text = folder_load(name, &bytes);
    for (long i = 0; i < bytes; i++)
        lines += text[i] == '\n';
    mem_free(text);
    return lines;
}

/* A signal at any step, --resume: the end is that of a run that was left alone. */
START_TEST(what_a_signal_saved_goes_on_to_the_same_bytes)
{
    static const int signals[] = { SIGTERM, SIGHUP };
    train_config whole = in(world_config(TRAIN_LM), "whole"), c = in(world_config(TRAIN_LM), "parts");
    int fds[2];
    signal(SIGHUP, SIG_DFL);                               /* nohup makes children ignore it */
    whole.schedule = c.schedule = TRAIN_CONSTANT;
    c.max_iters = 1000000;
    world_write(&c, "run.yaml");
    pid_t pid = shell_start((const char *const[]){ "train", IN_FOLDER("run.yaml"), NULL }, fds);
    wait_for("parts/log.jsonl");
    kill(pid, signals[_i]);
    said s = shell_wait(pid, fds);
    ck_assert_msg(s.code == 128 + signals[_i] && folder_has("parts/model.h5")
                  && folder_has("parts/checkpoint.h5"), "%d: %s", s.code, s.err);
    shell_free(s);
    whole.max_iters = c.max_iters = lines_of("parts/log.jsonl") + 3;
    must(&whole, false);
    ck_assert_int_eq(must(&c, true).steps, c.max_iters);
    ck_assert(folder_same("whole/model.h5", "parts/model.h5")
              && folder_same("whole/metrics.csv", "parts/metrics.csv"));
    ck_assert(folder_same("whole/checkpoint.h5", "parts/checkpoint.h5")
              && !folder_has("parts/checkpoint.old.h5"));
}
END_TEST

Suite *suite_run_ends(void)
{
    Suite *s = suite_create("run_ends");
    TCase *c = tcase_create("runs");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, watched_begin, folder_end);
    tcase_add_test(c, a_finished_run_is_given_more_steps);
    tcase_add_test(c, fewer_steps_than_there_are_are_refused);
    tcase_add_test(c, a_checkpoint_that_cannot_be_written_costs_no_model);
    tcase_add_test(c, a_seed_of_the_command_line_is_in_the_texts_that_speak_of_it);
    tcase_add_test(c, checkpoints_by_the_clock_leave_the_same_files);
    tcase_add_test(c, ranks_save_by_the_clock_of_the_first);
    tcase_add_test(c, resume_does_not_begin_anew_over_a_model);
    tcase_add_test(c, all_paths_that_are_wrong_are_told_together);
    tcase_add_test(c, a_dry_run_tells_of_paths_and_nothing_is_converted_before_them);
    tcase_add_test(c, what_changes_nothing_in_a_file_of_lavis_is_taken_with_one_warning);
    tcase_add_test(c, what_would_change_a_run_of_lavis_is_refused);
    tcase_add_test(c, a_split_of_few_pictures_or_none_is_told_and_the_run_goes_on);
    tcase_add_test(c, the_batch_that_counts_is_told);
    tcase_add_test(c, ranks_that_wait_for_decoding_learn_the_same);
    tcase_add_test(c, connectors_without_queries_are_examined_too);
    tcase_add_test(c, one_query_cannot_collapse);
    tcase_add_loop_test(c, what_a_signal_saved_goes_on_to_the_same_bytes, 0, 2);
    suite_add_tcase(s, c);
    return s;
}
