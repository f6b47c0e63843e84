/* test_need.c - what a run says it needs before it has it: a tape that measures against one that computes,
 * the peak of whole runs against the prediction, what this machine has, refusal, and the paper's
 * configurations. */
#include "tests/shell.h"
#include "tests/world.h"
#include "data/packages.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a tape that measures ------------------------------------------------------------------------------ */
static tensor *leaf(tape *t, int ndim, const long *dim)
{
    static real zero[1 << 21];
    return ag_leaf(t, ndim, dim, zero);
}

static void block(tape *t, void *context, tensor *const *in, tensor **out)
{
    (void)context;
    tensor *h = ag_linear(t, in[0], in[1], NULL, AG_GELU);
    *out = ag_dropout(t, h, (ag_drop){ 0.1, 3 });
}

/* Operations of every kind: recomputation, a frozen part that is rewound, ids, masks, a loss in chunks. */
static void work(tape *t)
{
    enum { B = 16, T = 96, D = 128, V = 700 };
    int ids[B * T] = { 0 };
    ag_training(t, true);
    ag_mark mark = ag_here(t);
    tensor *pictures = ag_new(t, DIMS(B, 3, 32, 32)), *kept = ag_scale(t, pictures, 2);
    kept = ag_rewind_keep(t, mark, kept);
    tensor *table = leaf(t, DIMS(V, D)), *weight = leaf(t, DIMS(D, D)), *patches = leaf(t, DIMS(D, 3, 8, 8));
    tensor *scale = leaf(t, DIMS(D)), *shift = leaf(t, DIMS(D)), *out;
    tensor *x = ag_embedding(t, table, ids, 2, (long[]){ B, T });                          /* (B,T,D) */
    x = ag_layer_norm(t, x, scale, shift, 1e-5);
    tensor *y = ag_patch_embed(t, kept, patches, NULL, 8);                                 /* (B,16,D) */
    tensor *in[] = { x, weight };
    ag_checkpoint(t, block, NULL, 2, in, 1, &out);
    ag_attn o = { .heads = 4, .mask = ag_mask_new(t, B, T, 16), .drop = { 0.1, 5 } };
    tensor *seen = ag_attention(t, out, y, y, &o);
    tensor *both = ag_matmul(t, seen, x, false, true);                                     /* (B,T,T) */
    tensor *more = ag_mean(t, ag_mul(t, both, both));
    ag_ce rule = { .ids = ids, .ignore = -100, .chunk = 50 };
    tensor *loss = ag_linear_cross_entropy(t, seen, table, NULL, &rule);
    tensor *sum = ag_add(t, loss, more);
    ck_assert(isfinite(ag_value(sum)));
    ag_backward(t, sum);
}

START_TEST(a_tape_that_measures_holds_what_one_that_computes_holds)
{
    tape *real_tape = ag_tape_new(), *empty = ag_tape_new();
    for (int step = 0; step < 2; step++) {
        ag_reset(real_tape);
        work(real_tape);
    }
    ck_assert(ag_measures(empty));
    for (int step = 0; step < 2; step++) {
        ag_reset(empty);
        work(empty);
    }
    ck_assert_int_gt(ag_bytes(empty), 6 << 20);
    ck_assert_int_eq(ag_bytes(empty), ag_bytes(real_tape));
    ck_assert_int_eq(ag_pool_bytes(empty), ag_pool_bytes(real_tape));
    ck_assert_int_gt(ag_pool_bytes(empty), 0);
    ck_assert_int_eq(ag_node_count(empty), ag_node_count(real_tape));
    ck_assert(ag_flops(real_tape) == 0 && ag_flops(empty) > 0);
    ag_tape_free(empty);
    ck_assert(!ag_spent(1));
    ag_reset(real_tape);
    work(real_tape);                                       /* and computes again */
    ag_tape_free(real_tape);
}
END_TEST

START_TEST(matrix_products_are_counted)
{
    enum { B = 3, R = 40, K = 30, N = 20, T = 50, D = 64 };
    const double linear = 2.0 * R * K * N, batched = 2.0 * B * R * K * N, scores = 2.0 * B * R * T * D;
    tape *t = ag_tape_new();
    ck_assert(ag_measures(t));
    ag_linear(t, ag_new(t, DIMS(R, K)), leaf(t, DIMS(N, K)), NULL, AG_NONE);
    ck_assert(ag_flops(t) == linear);
    ag_reset(t);
    double before = ag_flops(t);
    tensor *y = ag_linear(t, leaf(t, DIMS(R, K)), leaf(t, DIMS(N, K)), NULL, AG_NONE);
    ag_backward(t, ag_sum(t, y));
    ck_assert(ag_flops(t) - before == 3 * linear);
    before = ag_flops(t);
    tensor *p = ag_matmul(t, leaf(t, DIMS(B, R, K)), leaf(t, DIMS(B, K, N)), false, false);
    ag_backward(t, ag_sum(t, p));
    ck_assert_msg(ag_flops(t) - before == 3 * batched, "%g of %g", ag_flops(t) - before, 3 * batched);
    before = ag_flops(t);
    tensor *q = leaf(t, DIMS(B, R, D)), *k = ag_new(t, DIMS(B, T, D)), *v = leaf(t, DIMS(B, T, D));
    tensor *z = ag_attention(t, q, k, v, &(ag_attn){ .heads = 2 });
    ag_backward(t, ag_sum(t, z));
    ck_assert(ag_flops(t) - before == (2 + 3) * scores);   /* q k', p v; dp, dq, dv */
    ag_tape_free(t);
}
END_TEST

START_TEST(what_is_only_measured_takes_no_memory)
{
    long before = mem_peak_bytes();
    tape *t = ag_tape_new();
    ck_assert(ag_measures(t));
    for (int i = 0; i < 100; i++)                          /* 100 x 400 MB, or 800 */
        ag_scale(t, ag_new(t, DIMS(100, 1000, 1000)), 2);
    ck_assert_int_gt(ag_bytes(t), 70L << 30);
    ag_tape_free(t);
    ck_assert_int_lt(mem_peak_bytes() - before, 64 << 20);
}
END_TEST

/* ---- what this machine has ----------------------------------------------------------------------------- */
/* A file and the folders above it. */
static void write_deep(const char *name, const char *text)
{
    error e;
    char folder[512];
    folder_path(folder, name);
    *strrchr(folder, '/') = 0;
    ck_assert_msg(file_make_folders(folder, &e), "%s", e.text);
    folder_write(name, text);
}

static double available(const char **limit)
{
    return mem_available(IN_FOLDER("root"), limit);
}

START_TEST(the_least_limit_counts)
{
    const char *limit;
    ck_assert(available(&limit) >= 1e17);                  /* nothing is known */
    write_deep("root/proc/meminfo",
               "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 5000 kB\nSwapFree: 1000 kB\n");
    ck_assert(available(&limit) == 6000 * 1024.0 && !strcmp(limit, "of this machine"));
    write_deep("root/proc/self/cgroup", "0::/a/b\n");
    write_deep("root/sys/fs/cgroup/a/b/memory.max", "max\n");
    write_deep("root/sys/fs/cgroup/a/b/memory.current", "77\n");
    ck_assert(available(&limit) == 6000 * 1024.0);
    write_deep("root/sys/fs/cgroup/a/memory.max", "5000000\n");            /* the group that holds it */
    write_deep("root/sys/fs/cgroup/a/memory.current", "3000000\n");
    ck_assert(available(&limit) == 2e6 && !strcmp(limit, "of this control group"));
    write_deep("root/sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 400000\nactive_file 100000\n");
    ck_assert(available(&limit) == 2.5e6);
    write_deep("root/sys/fs/cgroup/a/memory.current", "9000000\n");
    ck_assert(available(&limit) == 0);
    write_deep("root/proc/self/cgroup", "9:cpu:/c\n7:memory:/c\n");        /* version 1 */
    write_deep("root/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "3000\n");
    write_deep("root/sys/fs/cgroup/memory/c/memory.usage_in_bytes", "1000\n");
    ck_assert(available(&limit) == 2000);
    write_deep("root/proc/self/cgroup", "nonsense\n\n::\n");
    ck_assert(available(&limit) == 6000 * 1024.0);
}
END_TEST

/* ---- runs ---------------------------------------------------------------------------------------------- */
static void begin(void)
{
    folder_begin();
    world_make();
}

/* Larger than those of the other suites, so that the run, not the program, decides the peak. */
static train_config larger(train_task task)
{
    train_config c = world_config(task);
    c.pretrained.count = 0;
    world_text(c.bert_tokenizer, task == TRAIN_LM ? "" : IN_FOLDER("bert"));
    world_text(c.llm_tokenizer, task == TRAIN_LM || task == TRAIN_STAGE2 ? IN_FOLDER("llm") : "");
    c.model.vision.width = c.model.qformer.width = c.model.opt.width = c.contrastive.text.width = 64;
    c.model.vision.hidden = c.model.qformer.hidden = c.model.opt.hidden = c.contrastive.text.hidden = 256;
    c.model.vision.depth = c.model.opt.layers = 3;
    c.model.vision.patch = 4;
    c.model.qformer.queries = 8;
    c.model.qformer.layers = 4;
    c.batch = 32;
    c.max_iters = 2;
    return c;
}

static json_t *answer(const char *const *words)
{
    said s = shell_run(words);
    ck_assert_msg(s.code == 0, "%s", s.err);
    json_t *j = json_loads(s.out, 0, NULL);
    ck_assert_msg(j != NULL, "%s", s.out);
    shell_free(s);
    return j;
}

static double number(const json_t *j, const char *key)
{
    const json_t *x = json_object_get(j, key);
    ck_assert_msg(json_is_number(x), "%s", key);
    return json_number_value(x);
}

static void within_a_tenth(const train_config *c, const char *what)
{
    world_write(c, "run.yaml");
    json_t *need = answer((const char *const[]){ "train", IN_FOLDER("run.yaml"), "--dry-run", "--json",
                                                 NULL });
    json_t *run = answer((const char *const[]){ "train", IN_FOLDER("run.yaml"), "--json", "--quiet", NULL });
    double predicted = number(need, "peak_bytes"), measured = number(run, "peak_rss_mb") * (1 << 20);
    ck_assert_msg(fabs(predicted / measured - 1) < 0.1, "%s: %.1f MiB predicted, %.1f measured", what,
                  predicted / (1 << 20), measured / (1 << 20));
    json_decref(need);
    json_decref(run);
}

START_TEST(the_peak_of_each_task_is_predicted)
{
    static const train_task tasks[] = { TRAIN_STAGE1, TRAIN_STAGE2, TRAIN_VIT, TRAIN_LM };
    for (int i = 0; i < 4; i++) {
        train_config c = larger(tasks[i]);
        within_a_tenth(&c, (const char *[]){ "stage1", "stage2", "vit", "lm" }[i]);
    }
}
END_TEST

START_TEST(the_peak_of_a_t5_and_of_parts_of_a_batch_is_predicted)
{
    train_config c = larger(TRAIN_STAGE2);
    c.model.llm = BLIP2_LLM_T5;
    c.model.t5 = (blip2_t5_config){ .vocab = 300, .eos = 1, .width = 64, .layers = 3,
        .decoder_layers = 3, .heads = 4, .head_width = 16,
        .hidden = 128, .buckets = 32, .max_distance = 128, .dropout = 0.1, .eps = 1e-6, .init_factor = 1 };
    c.freeze.count = 0;
    within_a_tenth(&c, "t5");
    c = larger(TRAIN_STAGE1);
    c.accumulate = 2;
    c.batch = 16;
    c.data.view = TRAIN_VIEW_CROP;
    within_a_tenth(&c, "parts");
}
END_TEST

START_TEST(the_peak_of_a_run_whose_model_is_most_of_it_is_predicted)
{
    train_config c = larger(TRAIN_STAGE1);
    c.model.qformer.width = 256;
    c.model.qformer.hidden = 1536;
    c.model.qformer.layers = 6;
    c.batch = 8;
    within_a_tenth(&c, "middle");
}
END_TEST

/* What is looked at on the way is held beside what is trained on: pictures up to an eighth of memory_mb. */
START_TEST(datasets_val_is_counted)
{
    train_config c = larger(TRAIN_STAGE1);
    for (int k = 0; k < 2; k++) {
        world_text(c.data.val_list, k ? "test.jsonl" : "");
        world_write(&c, k ? "with.yaml" : "without.yaml");
    }
    static const char *const lists[] = { "test.jsonl", "w.h5:test", "no.jsonl" };
    error e;
    ck_assert_msg(pack_write(IN_FOLDER("world"), IN_FOLDER("world"), IN_FOLDER("world/w.h5"), &e), "%s",
                  e.text);
    for (int k = 0; k < 3; k++) {                          /* one that is not there is told, not counted */
        char val[64];
        snprintf(val, sizeof val, "datasets.val=%s", lists[k]);
        json_t *without = answer((const char *const[]){ "train", IN_FOLDER("without.yaml"), "--dry-run",
                                                        "--json", NULL });
        json_t *with = answer((const char *const[]){ "train", IN_FOLDER("with.yaml"), val, "--dry-run",
                                                     "--json", NULL });
        const json_t *a = json_object_get(without, "bytes"), *b = json_object_get(with, "bytes");
        ck_assert(number(b, "pictures") - number(a, "pictures") == (k < 2 ? 16 * 3 * 16 * 16 : 0));
        ck_assert((number(b, "texts") > number(a, "texts")) == (k < 2));
        json_decref(without);
        json_decref(with);
    }
    c.best_by = 5;
    world_write(&c, "run.yaml");
    FAILS(2, "run.best_by: expected one of ", "train", IN_FOLDER("run.yaml"), "--dry-run", "--json");
}
END_TEST

/* ---- a run that does not fit --------------------------------------------------------------------------- */
START_TEST(a_run_that_does_not_fit_is_refused_before_its_model_is_there)
{
    train_config c = larger(TRAIN_STAGE1);
    world_write(&c, "run.yaml");
    char batch[] = "run.batch_size_train=60", off[] = "run.memory_check=false";
    char out[600];
    snprintf(out, sizeof out, "run.output_dir=%s", IN_FOLDER("refused"));
    const long most = (900L << 20) / 4 * (long)sizeof(real);
    shell_next.address_bytes = most;
    FAILS(1, "a larger run.accum_grad_iters needs less, and so does run.recompute: true; run.memory_check",
          "train", IN_FOLDER("run.yaml"), batch, out, "model.qformer.num_query_token=160");
    shell_next.address_bytes = most;
    FAILS(1, "run.memory_check: the run does not fit into memory; expected a need of at most the ", "train",
          IN_FOLDER("run.yaml"), batch, out, "model.qformer.width=1536", "model.qformer.hidden=6144");
    shell_next.address_bytes = most;
    FAILS(1, "memory is out", "train", IN_FOLDER("run.yaml"), batch, out, "model.qformer.width=1536",
          "model.qformer.hidden=6144", off);
    ck_assert(!folder_has("refused"));
    shell_next.address_bytes = most;           /* a dry run says it and goes on */
    json_t *need = answer((const char *const[]){ "train", IN_FOLDER("run.yaml"), batch, "--dry-run", "--json",
                                                 "model.qformer.width=1536", "model.qformer.hidden=6144",
                                                 NULL });
    ck_assert(json_is_false(json_object_get(need, "fits")));
    json_decref(need);
}
END_TEST

/* ---- what is not there --------------------------------------------------------------------------------- */
START_TEST(a_dry_run_goes_on_without_data)
{
    for (int i = 0; i < 4; i++) {
        train_config c = larger((const train_task[]){ TRAIN_STAGE1, TRAIN_STAGE2, TRAIN_VIT, TRAIN_LM }[i]);
        world_text(c.data.root, "no/such/folder");
        if (i % 2)
            world_text(c.llm_tokenizer, "no/such/words");
        world_write(&c, "run.yaml");
        said s = BLIP2("train", IN_FOLDER("run.yaml"), "--dry-run", "--json");
        ck_assert_msg(s.code == 0 && strstr(s.err, "no/such"), "%d: %s", i, s.err);
        ck_assert(strstr(s.out, "\"stand_in\":true"));
        shell_free(s);
        FAILS(1, "no/such", "train", IN_FOLDER("run.yaml"));
    }
    train_config c = larger(TRAIN_STAGE1);
    world_text(c.data.images, "no/such/folder");           /* the list is there, the pictures are not */
    world_write(&c, "run.yaml");
    said s = BLIP2("train", IN_FOLDER("run.yaml"), "--dry-run", "--json", "run.max_iters=0",
                   "run.max_epoch=3");
    ck_assert_msg(s.code == 0 && strstr(s.err, "64 of 64 pictures cannot be read"), "%s", s.err);
    ck_assert(strstr(s.out, "\"steps\":6") && strstr(s.out, "\"stand_in\":false"));
    shell_free(s);
    FAILS(1, "64 of 64 pictures cannot be read", "train", IN_FOLDER("run.yaml"));
}
END_TEST

/* ---- the paper's configurations ------------------------------------------------------------------------ */
START_TEST(the_papers_configurations_have_the_papers_parameters)
{
    static const struct { const char *name; long trained; } all[] = {
        { "stage1_vitg", 186705470 }, { "stage1_vitL", 183165758 }, { "stage2_vitg_opt2.7b", 107133696 },
        { "stage2_vitL_opt2.7b", 103593984 }, { "stage2_vitg_opt6.7b", 108314880 },
        { "stage2_vitL_flant5xl", 103200256 }, { "stage2_vitg_flant5xl", 106739968 },
        { "stage2_vitg_flant5xxl", 108314880 } };
    char here[400], path[600];
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    ck_assert_int_gt(n, 0);
    here[n] = 0;
    *strrchr(here, '/') = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(path, sizeof path, "%s/../configs/paper/%s.yaml", here, all[i].name);
        json_t *need = answer((const char *const[]){ "train", path, "--dry-run", "--json", "--quiet", NULL });
        ck_assert_msg(number(need, "trained") == (double)all[i].trained, "%s: %.0f trained", all[i].name,
                      number(need, "trained"));
        ck_assert(number(need, "steps") > 0 && number(need, "flops") > 1e18);
        json_decref(need);
    }
}
END_TEST

Suite *suite_need(void)
{
    Suite *s = suite_create("need");
    TCase *a = tcase_create("tape"), *b = tcase_create("machine");
    TCase *c = tcase_create("runs"), *d = tcase_create("paper");
    tcase_add_test(a, a_tape_that_measures_holds_what_one_that_computes_holds);
    tcase_add_test(a, matrix_products_are_counted);
    tcase_add_test(a, what_is_only_measured_takes_no_memory);
    tcase_add_checked_fixture(b, folder_begin, folder_end);
    tcase_add_test(b, the_least_limit_counts);
    tcase_add_checked_fixture(c, begin, folder_end);
    if (MEMORY_IS_OURS)
        tcase_add_test(c, the_peak_of_each_task_is_predicted);
    if (MEMORY_IS_OURS)
        tcase_add_test(c, the_peak_of_a_t5_and_of_parts_of_a_batch_is_predicted);
    tcase_add_test(c, the_peak_of_a_run_whose_model_is_most_of_it_is_predicted);
    tcase_add_test(c, datasets_val_is_counted);
    if (MEMORY_IS_OURS)
        tcase_add_test(c, a_run_that_does_not_fit_is_refused_before_its_model_is_there);
    tcase_add_test(c, a_dry_run_goes_on_without_data);
    tcase_add_test(d, the_papers_configurations_have_the_papers_parameters);
    TCase *cases[] = { a, b, c, d };
    for (size_t i = 0; i < 4; i++) {
        tcase_set_timeout(cases[i], TEST_SECONDS);
        suite_add_tcase(s, cases[i]);
    }
    return s;
}
