/* test_connector.c - one linear layer, or two, in place of the Q-Former: what the soft tokens are, what is
 * written behind them, model files, training. Gradients: suite gradients, example `connector`. */
#include "convert/convert.h"
#include "tests/world.h"
#include <math.h>
#include <string.h>

enum { B = 2, N = 5, MOST = 8 };

static tape *t;
static blip2_model m;
static blip2_config config;
static tensor *features;
static error e;

/* Variants 0, 1: linear, mlp, with OPT; 2, 3: with T5. */
static void make(int variant)
{
    t = ag_tape_new();
    config = tiny_config();
    config.stage1 = config.qformer.text = config.qformer.head = false;
    config.qformer.queries = 0;
    config.connector = variant % 2 ? BLIP2_CONNECTOR_MLP : BLIP2_CONNECTOR_LINEAR;
    config.llm = variant < 2 ? BLIP2_LLM_OPT : BLIP2_LLM_T5;
    config.opt = tiny_opt_config();
    config.opt.init_std = 0.5;
    config.t5 = tiny_t5_config();
    ck_assert_msg(blip2_config_check("tiny", &config, &e), "%s", e.text);
    blip2_model_init(&m, nn_store_new(21), &config);
    ck_assert_msg(nn_build(m.store, false, &e), "%s", e.text);
    features = tiny_normal(t, 6, DIMS(B, N, config.qformer.memory_width));
}

static void unmake(void)
{
    nn_store_free(m.store);
    ag_tape_free(t);
}

static blip2_stage2_out forward(tensor *of, const int *ids, const int *said, long n)
{
    static const unsigned char ones[MOST] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    bool opt = config.llm == BLIP2_LLM_OPT;
    blip2_stage2_out out;
    blip2_stage2_in in = { .features = of };
    *(opt ? &in.text : &in.target) = (blip2_text){ 1, n, opt ? ids : said, ones };
    blip2_stage2(&m, t, &in, true, &out);
    return out;
}

/* Row r of a linear layer's weight and bias applied to x. */
static double row(const nn_linear *l, const double *x, long r, long K)
{
    double y = (double)l->bias->data[r];
    for (long k = 0; k < K; k++)
        y += (double)l->weight->data[r * K + k] * x[k];
    return y;
}

START_TEST(each_patch_is_a_soft_token_and_the_class_token_is_none)
{
    make(_i);
    long E = config.qformer.memory_width, L = 16;
    blip2_stage2_out out = forward(ag_slice(t, features, 0, 1, 1), (int[]){ 2, 9, 11 }, (int[]){ 9, 11, 2 },
                                   3);
    ck_assert(!out.query_output);
    ck_assert_int_eq(out.projected->dim[1], N - 1);
    ck_assert_int_eq(blip2_prompts(&config, features), N - 1);
    double x[64], h[64], y;
    for (long i = 0; i < N - 1; i++) {
        for (long k = 0; k < E; k++)
            x[k] = (double)out.image->data[(i + 1) * E + k];
        for (long r = 0; r < L; r++) {
            double z = row(&m.connector.first, x, r, E);
            h[r] = _i % 2 ? 0.5 * z * (1 + erf(z / sqrt(2))) : z;
        }
        for (long r = 0; r < L; r++) {
            y = _i % 2 ? row(&m.connector.second, h, r, L) : h[r];
            ck_assert_double_eq_tol((double)out.projected->data[i * L + r], y, 100 * TINY_ROUNDING);
        }
    }
    unmake();
}
END_TEST

/* Greedy writing, with its cache, says at each step the likeliest word of the whole sequence's own logits. */
START_TEST(what_is_written_is_the_likeliest_of_the_forward_pass)
{
    make(_i);
    bool opt = config.llm == BLIP2_LLM_OPT;
    long V = opt ? config.opt.vocab : config.t5.vocab, first = opt ? N - 1 : 0;
    blip2_generate o = { .beams = 1, .max_length = 6, .min_length = 1, .returns = 1, .length_penalty = 1,
                         .repetition_penalty = 1 };
    blip2_sequence out[B];
    blip2_text start = { 0 };
    int bos[B] = { 2, 2 };
    unsigned char ones[B] = { 1, 1 };
    if (opt)
        start = (blip2_text){ B, 1, bos, ones };
    blip2_llm_generate(&m, t, features, (blip2_text){ 0 }, start, &o, out);
    for (long b = 0; b < B; b++) {
        int ids[MOST] = { 2 };
        ck_assert_int_gt(out[b].length, 0);
        for (int i = 0; i < out[b].length; i++)
            ids[opt + i] = out[b].ids[i];
        blip2_stage2_out all = forward(ag_slice(t, features, 0, b, 1), ids, ids, out[b].length + opt);
        for (int i = 0; i < out[b].length; i++) {
            const real *z = all.logits->data + (first + i) * V;
            long best = 0;
            for (long v = 1; v < V; v++)
                best = z[v] > z[best] ? v : best;
            ck_assert_int_eq(best, out[b].ids[i]);
        }
    }
    unmake();
}
END_TEST

START_TEST(parts_that_do_not_fit_are_named)
{
    make(0);
    config.qformer.queries = 4;
    ck_assert(!blip2_config_check("f.h5", &config, &e));
    ck_assert_ptr_nonnull(strstr(e.text,
                                 "f.h5: connector: linear and mlp lead straight into a language model"));
    config.qformer.queries = 0;
    config.llm = BLIP2_LLM_NONE;
    ck_assert(!blip2_config_check("f.h5", &config, &e));
    unmake();
}
END_TEST

/* ---- a run --------------------------------------------------------------------------------------------- */
START_TEST(a_run_trains_it_alone_and_its_file_opens)
{
    world_train_all(TRAIN_LM);
    train_config vit = world_config(TRAIN_VIT);
    world_train(&vit);
    train_config c = world_config(TRAIN_STAGE2);
    c.model.connector = BLIP2_CONNECTOR_MLP;
    c.model.question_in_qformer = false;
    world_text(c.pretrained.item[0], IN_FOLDER("vit/model.h5"));   /* in place of stage 1 */
    world_train(&c);
    blip2_model before, after;
    bool sealed;
    long left_out;
    ck_assert_msg(blip2_open(&after, IN_FOLDER("stage2/model.h5"), &sealed, &e), "%s", e.text);
    ck_assert_msg(blip2_open(&before, IN_FOLDER("vit/model.h5"), &sealed, &e), "%s", e.text);
    ck_assert_int_eq(after.config.connector, BLIP2_CONNECTOR_MLP);
    ck_assert_ptr_nonnull(nn_find(after.store, "connector.0.weight"));
    ck_assert_ptr_nonnull(nn_find(after.store, "connector.2.bias"));
    ck_assert_ptr_null(nn_find(after.store, "query_tokens"));
    const char *name = "visual_encoder.cls_token";
    ck_assert(tiny_distance(nn_find(before.store, name), nn_find(after.store, name)) == 0);
    ck_assert(!convert_export(IN_FOLDER("stage2/model.h5"), IN_FOLDER("out"), true, 0, &left_out, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "its connector is mlp; neither LAVIS nor Hugging Face has a BLIP-2 "
                                         "without"));
    blip2_close(&before);
    blip2_close(&after);
    c.task = TRAIN_STAGE1;
    train_result result;
    ck_assert(!train_run(&c, &(train_options){ 0 }, &result, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "model.connector: expected qformer"));
}
END_TEST

Suite *suite_connector(void)
{
    Suite *s = suite_create("connector");
    TCase *c = tcase_create("connector"), *runs = tcase_create("runs");
    tcase_add_loop_test(c, each_patch_is_a_soft_token_and_the_class_token_is_none, 0, 4);
    tcase_add_loop_test(c, what_is_written_is_the_likeliest_of_the_forward_pass, 0, 4);
    tcase_add_test(c, parts_that_do_not_fit_are_named);
    tcase_set_timeout(runs, TEST_SECONDS);
    tcase_add_checked_fixture(runs, folder_begin, folder_end);
    tcase_add_checked_fixture(runs, world_make, NULL);
    tcase_add_test(runs, a_run_trains_it_alone_and_its_file_opens);
    suite_add_tcase(s, c);
    suite_add_tcase(s, runs);
    return s;
}
