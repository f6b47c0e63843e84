/* test_runlog.c - what a run says and writes about itself: where every weight comes from, the first losses
 * beside those that are to be, one step as JSON, as a row and as TensorBoard's event, and a look at another
 * split.                                                                                                   */
#include "tests/watched.h"
#include "train/internal.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static error e;

static void add_text(const char *name, const char *text, size_t bytes)
{
    FILE *f = fopen(IN_FOLDER(name), "a");
    ck_assert(f && fwrite(text, 1, bytes, f) == bytes && !fclose(f));
}

/* ---- where weights come from --------------------------------------------------------------------------- */
/* The line of the text that begins with this, up to its end. */
static const char *line_of(const char *text, const char *begins, char to[1024])
{
    const char *at = strncmp(text, begins, strlen(begins)) ? NULL : text;
    char sought[128];
    snprintf(sought, sizeof sought, "\n%s", begins);
    if (!at && (at = strstr(text, sought)))
        at++;
    ck_assert_msg(at != NULL, "no line begins with \"%s\":\n%s", begins, text);
    snprintf(to, 1024, "%.*s", (int)strcspn(at, "\n"), at);
    return to;
}

START_TEST(the_table_names_the_source_of_every_module)
{
    char row[1024], path[600];
    world_train_all(TRAIN_VIT);
    train_config c = world_config(TRAIN_LM), one = world_config(TRAIN_STAGE1);
    train_config two = world_config(TRAIN_STAGE2);
    must(&c, false);
    must(&one, false);
    snprintf(path, sizeof path, "vision tower        %s ", IN_FOLDER("vit/model.h5"));
    ck_assert(strstr(line_of(notes, path, row), " frozen "));
    ck_assert(strstr(line_of(notes, "Q-Former            fresh: N(0, 0.1), ", row), " trained "));
    ck_assert(strstr(line_of(notes, "query tokens        fresh: N(0, 0.3) ", row), "  trained        1 "));
    line_of(notes, "temperature         fresh: 0.07 ", row);
    char *file = folder_load("stage1/modules.txt", NULL);
    ck_assert_msg(strstr(notes, file) == notes, "%s", file);           /* the same table */
    mem_free(file);
    must(&two, false);                                     /* the rest is new */
    snprintf(path, sizeof path, "Q-Former            %s ", IN_FOLDER("stage1/model.h5"));
    line_of(notes, path, row);
    snprintf(path, sizeof path, "language model      %s ", IN_FOLDER("lm/model.h5"));
    ck_assert(strstr(line_of(notes, path, row), " frozen "));
    line_of(notes, "projection          fresh: ", row);
}
END_TEST

/* (parameters, bytes) of a row: its last two numbers */
static long last_numbers(const char *row, long *parameters)
{
    const char *end = strrchr(row, ' ');
    long before = 0;
    for (const char *at = row; at < end; at++)
        if (*at == ' ' && at[1] != ' ' && at + 1 < end)
            before = atol(at + 1);
    *parameters = before;
    return atol(end + 1);
}

START_TEST(the_rows_sum_to_their_totals)
{
    long sum[2] = { 0 }, total[2] = { 0 }, met = 0;
    world_train_all(TRAIN_STAGE1);
    char *file = folder_load("stage1/modules.txt", NULL);
    for (char *line = strchr(file, '\n') + 1; *line; line += strcspn(line, "\n") + 1) {
        char row[1024];
        long parameters;
        snprintf(row, sizeof row, "%.*s", (int)strcspn(line, "\n"), line);
        long bytes = last_numbers(row, &parameters);
        bool frozen = strstr(row, " frozen ") != NULL;
        ck_assert_int_eq(bytes, parameters * (long)sizeof(real));
        *(!strncmp(row, "all ", 4) ? &total[frozen] : &sum[frozen]) += parameters;
        met++;
    }
    ck_assert_int_ge(met, 8);
    ck_assert(sum[0] == total[0] && sum[1] == total[1] && total[0] > 0 && total[1] > 0);
    blip2_model m;
    bool sealed;
    ck_assert(blip2_open(&m, IN_FOLDER("stage1/model.h5"), &sealed, &e));
    ck_assert_int_eq(m.store->frozen, total[0] + total[1]);
    blip2_close(&m);
    mem_free(file);
}
END_TEST

START_TEST(the_first_losses_stand_beside_those_that_are_to_be)
{
    world_train_all(TRAIN_VIT);
    train_config c = world_config(TRAIN_STAGE1), lm = world_config(TRAIN_LM);
    c.model.temperature = 0.5;
    must(&c, false);
    ck_assert_msg(strstr(notes, "first losses") && strstr(notes, "(ln 8 = 2.079)")
                  && strstr(notes, "(ln 2 = 0.693; 0.637") && strstr(notes, "(ln 141 = 4.949)"), "%s", notes);
    ck_assert_msg(!strstr(notes, "is far from"), "%s", notes);
    c.model.temperature = 0.001;                           /* scores a hundredfold */
    must(&c, false);
    ck_assert_msg(strstr(notes, "loss_itc is far from 2.079"), "%s", notes);
    lm.model.opt.init_std = 3;
    must(&lm, false);
    ck_assert_msg(strstr(notes, "loss is far from "), "%s", notes);
    char *at = lm.pretrained.item[lm.pretrained.count++];  /* not a fresh start: nothing is to be expected */
    world_text(at, IN_FOLDER("lm/model.h5"));
    must(&lm, false);
    ck_assert_msg(!strstr(notes, "is far from"), "%s", notes);
}
END_TEST

/* ---- the three files ----------------------------------------------------------------------------------- */
/* CRC-32C by a table, where events.c goes bit by bit. */
static uint32_t crc(const unsigned char *x, uint64_t n)
{
    uint32_t table[256], c = 0xffffffff;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++)
            table[i] = table[i] & 1 ? 0x82f63b78 ^ table[i] >> 1 : table[i] >> 1;
    }
    for (uint64_t i = 0; i < n; i++)
        c = table[(c ^ x[i]) & 255] ^ c >> 8;
    return ~c;
}

static uint64_t take(const unsigned char **x, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)*(*x)++ << 8 * i;
    return v;
}

static uint64_t varint(const unsigned char **x)
{
    uint64_t v = 0;
    for (int shift = 0;; shift += 7) {
        unsigned char c = *(*x)++;
        v |= (uint64_t)(c & 127) << shift;
        if (c < 128)
            return v;
    }
}

static bool masked(const unsigned char *x, uint64_t n, const unsigned char *stored)
{
    uint32_t c = crc(x, n);
    return (uint32_t)take(&stored, 4) == (uint32_t)((c >> 15 | c << 17) + 0xa282ead8u);
}

/* An event file as [{"step": , "TAG": value, ...}]; wall times are left out. */
static json_t *read_events(const char *name)
{
    long bytes;
    char *file = folder_load(name, &bytes);
    const unsigned char *x = (const unsigned char *)file, *end = x + bytes;
    json_t *all = json_array();
    while (x < end) {
        const unsigned char *head = x;
        uint64_t n = take(&x, 8);
        ck_assert(masked(head, 8, x) && n < (uint64_t)(end - x) - 4 && masked(x + 4, n, x + 4 + n));
        x += 4;
        const unsigned char *stop_here = x + n;
        json_t *event = json_object();
        while (x < stop_here) {
            uint64_t key = varint(&x);
            if (key == (1 << 3 | 1))
                x += 8;
            else if (key == (2 << 3 | 0))
                json_object_set_new(event, "step", json_integer((json_int_t)varint(&x)));
            else if (key == (3 << 3 | 2)) {
                uint64_t size = varint(&x);
                json_object_set_new(event, "version", json_stringn((const char *)x, size));
                x += size;
            } else {
                ck_assert_uint_eq(key, 5 << 3 | 2);
                const unsigned char *summary = x;
                uint64_t size = varint(&summary);
                for (x = summary; x < summary + size;) {
                    ck_assert_uint_eq(varint(&x), 1 << 3 | 2);
                    varint(&x);
                    ck_assert_uint_eq(varint(&x), 1 << 3 | 2);
                    char tag[128];
                    uint64_t length = varint(&x);
                    snprintf(tag, sizeof tag, "%.*s", (int)length, (const char *)x);
                    x += length;
                    ck_assert_uint_eq(varint(&x), 2 << 3 | 5);
                    uint32_t bits = (uint32_t)take(&x, 4);
                    float v;
                    memcpy(&v, &bits, sizeof v);
                    json_object_set_new(event, tag, json_real((double)v));
                }
            }
        }
        ck_assert(x == stop_here);
        x += 4;
        json_array_append_new(all, event);
    }
    mem_free(file);
    return all;
}

static json_t *read_lines(const char *name)
{
    char *text = folder_load(name, NULL);
    json_t *lines = json_array();
    for (char *line = text; *line; line += strcspn(line, "\n") + 1) {
        json_t *o = json_loadb(line, strcspn(line, "\n"), JSON_REJECT_DUPLICATES, NULL);
        ck_assert_msg(o != NULL, "%.*s", (int)strcspn(line, "\n"), line);
        json_array_append_new(lines, o);
    }
    mem_free(text);
    return lines;
}

static train_config watched(const char *folder)
{
    train_config c = world_config(TRAIN_STAGE1);
    world_text(c.output_dir, IN_FOLDER(folder));
    world_text(c.data.val_list, "test.jsonl");
    c.max_iters = 6;
    c.valid_freq = 2;
    c.save_freq = 2;
    return c;
}

START_TEST(checksums_are_those_of_castagnoli)
{
    ck_assert_uint_eq(events_crc("123456789", 9), 0xe3069283);         /* RFC 3720's check value */
    ck_assert_uint_eq(events_crc("", 0), 0);
}
END_TEST

START_TEST(one_step_says_the_same_in_all_three_files)
{
    world_train_all(TRAIN_VIT);
    train_config c = watched("run");
    must(&c, false);
    json_t *lines = read_lines("run/log.jsonl"), *line, *v;
    json_t *events = read_events("run/events.out.tfevents.blip2");
    long n;
    char *table = folder_load("run/metrics.csv", &n), *at = strchr(table, '\n') + 1;
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(events, 0), "version")),
                     "brain.Event:2");
    ck_assert_int_eq(json_array_size(lines), 6);
    ck_assert_int_eq(json_array_size(events), 7);
    size_t i;
    json_array_foreach(lines, i, line) {
        json_t *event = json_array_get(events, i + 1);
        const char *title = table, *key;
        int cells = 0;
        while (*title != '\n') {                           /* every cell is the line's number */
            size_t wide = strcspn(title, ",\n"), digits = strcspn(at, ",\n");
            char name[64];
            snprintf(name, sizeof name, "%.*s", (int)wide, title);
            v = json_object_get(line, name);
            ck_assert_msg(v ? digits && strtod(at, NULL) == json_number_value(v) : !digits, "%s: %.*s", name,
                          (int)digits, at);
            cells++;
            title += wide + (title[wide] == ',');
            at += digits + 1;
        }
        int shown = 0;
        json_object_foreach(line, key, v) {
            char tag[80];
            bool val = !strncmp(key, "val_", 4);
            snprintf(tag, sizeof tag, "%s/%s", val ? "val" : "train", key + (val ? 4 : 0));
            json_t *same = json_object_get(event, tag);
            if (same)
                ck_assert_double_eq_tol(json_real_value(same), json_number_value(v),
                                        1e-6 * fabs(json_number_value(v)) + 1e-12);
            shown += same != NULL;
        }
        ck_assert_int_eq(json_integer_value(json_object_get(event, "step")), i + 1);
        ck_assert_int_eq(shown, json_object_size(event) - 1);
        ck_assert_int_eq(shown, i % 2 ? cells - 1 : cells - 1 - 7);    /* val_: 7 numbers every second step */
    }
    ck_assert(at == table + n);
    json_decref(lines);
    json_decref(events);
    mem_free(table);
}
END_TEST

static void same_file(const char *a, const char *b)
{
    ck_assert_msg(folder_same(a, b), "%s and %s differ", a, b);
}

/* old: the checkpoint before, which stands where a run was stopped */
static void same_runs(bool old)
{
    static const char *const files[] = { "model.h5", "model_best.h5", "checkpoint.h5", "checkpoint_best.h5",
                                         "metrics.csv", "modules.txt", "checkpoint.old.h5" };
    char a[64], b[64];
    for (size_t k = 0; k < sizeof files / sizeof *files - !old; k++) {
        snprintf(a, sizeof a, "whole/%s", files[k]);
        snprintf(b, sizeof b, "parts/%s", files[k]);
        same_file(a, b);
    }
    json_t *x = read_events("whole/events.out.tfevents.blip2");
    json_t *y = read_events("parts/events.out.tfevents.blip2");
    ck_assert(json_equal(x, y));
    json_decref(x);
    json_decref(y);
}

START_TEST(all_three_are_exact_when_a_run_goes_on)
{
    world_train_all(TRAIN_VIT);
    train_config whole = watched("whole"), parts = watched("parts");
    must(&whole, false);
    stop_at = 3;
    ck_assert(must(&parts, false).stopped);
    stop_at = 0;
    long n;                                                /* as if it had been killed later */
    char *later = folder_load("whole/events.out.tfevents.blip2", &n);
    char *mine = folder_load("parts/events.out.tfevents.blip2", &n);
    add_text("parts/events.out.tfevents.blip2", later + n, 130);
    add_text("parts/metrics.csv", "4,0,77\n5,0", 10);
    add_text("parts/log.jsonl", "{\"step\":4,\"epoch\":0}\n{\"st", 26);
    mem_free(later);
    mem_free(mine);
    must(&parts, true);
    same_runs(true);
}
END_TEST

/* ---- a look at another split --------------------------------------------------------------------------- */
/* NAN: not there */
static double at_step(const char *name, long step, const char *key)
{
    json_t *lines = read_lines(name), *v = json_object_get(json_array_get(lines, (size_t)step - 1), key);
    double value = v ? json_number_value(v) : NAN;
    json_decref(lines);
    return value;
}

START_TEST(a_look_changes_nothing_and_sees_the_same_each_time)
{
    world_train_all(TRAIN_VIT);
    train_config c = watched("looked"), blind = watched("blind"), still = watched("still");
    blind.data.val_list[0] = 0;
    must(&c, false);
    must(&blind, false);
    same_file("looked/model.h5", "blind/model.h5");
    ck_assert(!folder_has("blind/model_best.h5") && folder_has("looked/model_best.h5"));
    still.init_lr = still.min_lr = still.warmup_lr = 0;    /* nothing learns: all looks are equal */
    must(&still, false);
    double first = at_step("still/log.jsonl", 2, "val_loss");
    ck_assert(first > 0 && first == at_step("still/log.jsonl", 4, "val_loss")
              && first == at_step("still/log.jsonl", 6, "val_loss"));
    ck_assert(at_step("still/log.jsonl", 2, "loss")
              != at_step("still/log.jsonl", 4, "loss"));
    ck_assert(isnan(at_step("still/log.jsonl", 3, "val_loss")));
}
END_TEST

START_TEST(the_best_model_is_the_one_of_the_best_look)
{
    world_train_all(TRAIN_VIT);
    train_config c = watched("run"), until;
    c.init_lr = c.min_lr = 0.5;                            /* far too much: it gets worse */
    c.warmup_lr = 1e-3;
    c.warmup_steps = 3;
    c.valid_freq = 1;
    train_result result = must(&c, false);
    double best = INFINITY;
    long step = 0;
    for (long k = 1; k <= 6; k++) {
        double now = at_step("run/log.jsonl", k, "val_loss");
        step = now < best ? k : step;
        best = fmin(now, best);
    }
    ck_assert_msg(step > 0 && step < 6, "step %ld", step);
    ck_assert(result.best_step == step && fabs(result.best - best) < 1e-6 * best && !result.early);
    until = c;                                             /* the same run, ended there */
    until.max_iters = step;
    world_text(until.output_dir, IN_FOLDER("until"));
    must(&until, false);
    same_file("run/model_best.h5", "until/model.h5");
}
END_TEST

START_TEST(patience_ends_a_run_and_going_on_knows_how_long_it_waited)
{
    world_train_all(TRAIN_VIT);
    train_config whole = watched("whole"), parts = watched("parts");
    whole.init_lr = whole.min_lr = whole.warmup_lr = 0;    /* never better than the first look */
    whole.max_iters = 20;
    whole.patience = 3;
    whole.valid_freq = 1;
    parts = whole;
    world_text(parts.output_dir, IN_FOLDER("parts"));
    train_result result = must(&whole, false);
    ck_assert(result.early && !result.stopped && result.steps == 4 && result.best_step == 1);
    ck_assert(folder_has("whole/model.h5"));
    stop_at = 3;
    ck_assert(must(&parts, false).stopped);
    stop_at = 0;
    result = must(&parts, true);
    ck_assert(result.early && result.steps == 4 && result.best_step == 1);
    same_runs(false);
    result = must(&parts, true);                           /* it stays ended */
    ck_assert(result.early && result.steps == 4);
}
END_TEST

START_TEST(every_task_looks_and_the_first_wrong_key_is_named)
{
    static const train_task order[] = { TRAIN_LM, TRAIN_VIT, TRAIN_STAGE1, TRAIN_STAGE2 };
    train_config c;
    for (int k = 0; k < 4; k++) {
        c = world_config(order[k]);
        world_text(c.data.val_list, order[k] == TRAIN_LM ? "text.txt" : "val.jsonl");  /* 4 pictures */
        c.best_by = order[k] == TRAIN_VIT ? 5 : order[k] == TRAIN_STAGE1 ? 4 : 0;
        ck_assert(must(&c, false).best_step > 0);
    }
    c.best_by = 1;
    must_fail(&c, false, ERROR_USAGE,
              "run.best_by: expected one of \"val_loss\" for task stage2, found val_loss_itc");
    c.best_by = 0;
    c.data.val_list[0] = 0;
    c.patience = 2;
    must_fail(&c, false, ERROR_USAGE, "run.patience: expected 0 without samples in datasets.val, found 2");
}
END_TEST

START_TEST(pictures_that_memory_does_not_hold_look_the_same)
{
    world_train_all(TRAIN_VIT);
    train_config held = watched("whole"), read = watched("parts");
    read.memory_mb = 0;
    must(&held, false);
    must(&read, false);
    same_runs(true);
}
END_TEST

/* A run that looks at nothing leaves no best: what lies there is of another. */
START_TEST(the_best_of_the_run_before_is_set_aside)
{
    world_train_all(TRAIN_VIT);
    train_config c = watched("run");
    must(&c, false);
    ck_assert(folder_has("run/model_best.h5") && folder_has("run/checkpoint_best.h5"));
    must(&c, true);                                        /* the same run: they stay */
    ck_assert(folder_has("run/model_best.h5") && !folder_has("run/model_best.h5.aside"));
    rename(IN_FOLDER("run/model_best.h5"), IN_FOLDER("first.h5"));
    ck_assert(!link(IN_FOLDER("first.h5"), IN_FOLDER("run/model_best.h5")));
    c.data.val_list[0] = 0;
    c.seed = 7;
    must(&c, false);
    ck_assert(!folder_has("run/model_best.h5") && !folder_has("run/checkpoint_best.h5")
              && folder_has("run/checkpoint_best.h5.aside"));
    same_file("run/model_best.h5.aside", "first.h5");
    ck_assert_msg(strstr(warnings, "the best model there is now model_best.h5.aside"), "%s", warnings);
}
END_TEST

static void no_change(train_config *c) { (void)c; }
static void another_list(train_config *c) { world_text(c->data.val_list, "val.jsonl"); }
static void fewer_samples(train_config *c) { c->val_samples = 8; }
static void other_weights(train_config *c) { c->loss_weights.itg = 2; }
static void other_figure(train_config *c) { c->best_by = 2; }

/* Nothing learns, and all looks of one kind are equal: a best that counts is never beaten. */
START_TEST(a_best_that_was_measured_otherwise_counts_no_longer)
{
    static void (*const changes[])(train_config *) = { no_change, another_list, fewer_samples, other_weights,
                                                       other_figure };
    world_train_all(TRAIN_VIT);
    train_config c = watched("run");
    c.init_lr = c.min_lr = c.warmup_lr = 0;
    stop_at = 3;
    must(&c, false);
    changes[_i](&c);
    stop_at = 5;
    ck_assert_int_eq(must(&c, true).best_step, _i ? 4 : 2);
    ck_assert_msg(!strstr(warnings, "the best so far, val_loss ") == !_i, "%s", warnings);
    stop_at = 0;
    ck_assert_int_eq(must(&c, true).best_step, _i ? 4 : 2);        /* which is told once */
    ck_assert_msg(!strstr(warnings, "the best so far"), "%s", warnings);
}
END_TEST

Suite *suite_runlog(void)
{
    Suite *s = suite_create("runlog");
    TCase *c = tcase_create("a run about itself");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, watched_begin, folder_end);
    tcase_add_test(c, the_table_names_the_source_of_every_module);
    tcase_add_test(c, the_rows_sum_to_their_totals);
    tcase_add_test(c, the_first_losses_stand_beside_those_that_are_to_be);
    tcase_add_test(c, checksums_are_those_of_castagnoli);
    tcase_add_test(c, one_step_says_the_same_in_all_three_files);
    tcase_add_test(c, all_three_are_exact_when_a_run_goes_on);
    tcase_add_test(c, a_look_changes_nothing_and_sees_the_same_each_time);
    tcase_add_test(c, the_best_model_is_the_one_of_the_best_look);
    tcase_add_test(c, patience_ends_a_run_and_going_on_knows_how_long_it_waited);
    tcase_add_test(c, every_task_looks_and_the_first_wrong_key_is_named);
    tcase_add_test(c, pictures_that_memory_does_not_hold_look_the_same);
    tcase_add_test(c, the_best_of_the_run_before_is_set_aside);
    tcase_add_loop_test(c, a_best_that_was_measured_otherwise_counts_no_longer, 0, 5);
    suite_add_tcase(s, c);
    return s;
}
