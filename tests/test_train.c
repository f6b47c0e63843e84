/* test_train.c - the optimiser against its formula, the schedules' facts, the order of samples, one step. */
#include "train/internal.h"
#include "tests/tests.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static error e;
static nn_store *store;

static void end(void)
{
    nn_store_free(store);
    store = NULL;
}

/* ---- AdamW ------------------------------------------------------------------------------------------- */
static void make_store(void)
{
    store = nn_store_new(3);
    nn_scope root = nn_root(store);
    nn_parameter(root, "layer.weight", NN_INIT_NORMAL(1), DIMS(7, 5));
    nn_parameter(root, "layer.bias", NN_INIT_NORMAL(1), DIMS(7));
    nn_parameter(root, "norm.weight", NN_INIT_NORMAL(1), DIMS(5));
    nn_parameter(root, "pair.bias", NN_INIT_NORMAL(1), DIMS(2, 3));
    nn_parameter(root, "temp", NN_INIT_NORMAL(1), 0, NULL);
    nn_parameter(root, "large.weight", NN_INIT_NORMAL(1), DIMS(130, 140));     /* threads split it */
    nn_parameter(root, "tower.weight", NN_INIT_NORMAL(1), DIMS(4, 4));
    nn_alias(root, "second.weight", nn_find(store, "layer.weight"));
    nn_freeze(store, "tower");
    ck_assert_msg(nn_build(store, true, &e), "%s", e.text);
}

static void make_gradients(long step)
{
    for (long i = 0; i < store->trainable; i++)
        store->grads[i] = (real)(ag_normal(50, (uint64_t)(step * 100000 + i)) * 0.1);
}

START_TEST(adamw_is_its_formula)
{
    static const struct { const char *name; bool decays; } all[] = {
        { "layer.weight", true }, { "layer.bias", false }, { "norm.weight", false }, { "pair.bias", false },
        { "temp", true }, { "large.weight", true } };
    const train_adamw o = { .lr = 0.01, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-8, .weight_decay = 0.3 };
    make_store();
    double *expected = calloc((size_t)store->trainable, sizeof *expected);     /* 0: not looked at */
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        const tensor *x = nn_find(store, all[k].name);
        long at = x->data - store->values;
        for (long i = 0; i < x->size; i += 1 + x->size / 50) {
            double p = x->data[i], m = 0, v = 0;
            for (long step = 1; step <= 3; step++) {
                double g = (double)(real)(ag_normal(50, (uint64_t)(step * 100000 + at + i)) * 0.1);
                m = 0.9 * m + 0.1 * g;
                v = 0.98 * v + 0.02 * g * g;
                p -= all[k].decays ? 0.01 * 0.3 * p : 0;
                double m_hat = m / (1 - pow(0.9, (double)step)), v_hat = v / (1 - pow(0.98, (double)step));
                p -= 0.01 * m_hat / (sqrt(v_hat) + 1e-8);
            }
            expected[at + i] = p;
        }
    }
    tensor *tower = nn_find(store, "tower.weight");
    real before[16];
    memcpy(before, tower->data, sizeof before);
    for (long step = 1; step <= 3; step++) {
        make_gradients(step);
        train_adamw_step(store, &o, step);
    }
    for (long i = 0; i < store->trainable; i++)
        if (expected[i] != 0)
            ck_assert_double_eq_tol((double)store->values[i], expected[i], REAL == 64 ? 1e-15 : 1e-6);
    ck_assert(!memcmp(before, tower->data, sizeof before));
    free(expected);
}
END_TEST

START_TEST(moments_start_at_zero_and_the_first_step_is_the_learning_rate)
{
    make_store();
    tensor *b = nn_find(store, "layer.bias");
    real was = b->data[2];
    make_gradients(1);
    real g = b->grad[2];
    train_adamw_step(store, &(train_adamw){ .lr = 0.5, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8 }, 1);
    ck_assert_double_eq_tol((double)b->data[2], (double)was - (g > 0 ? 0.5 : -0.5), 1e-5);
}
END_TEST

START_TEST(threads_change_no_bit_of_a_step_nor_of_the_norm)
{
    real *kept = NULL;
    double norm = 0;
    for (int threads = 1; threads <= 8; threads += threads == 1 ? 2 : 1) {
        ag_threads(threads);
        make_store();
        make_gradients(1);
        double now = train_grad_norm(store);
        train_adamw_step(store, &(train_adamw){ .lr = 0.1, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-8,
                                                .weight_decay = 0.05 }, 1);
        size_t bytes = (size_t)store->trainable * sizeof *kept;
        if (!kept) {
            memcpy(kept = malloc(bytes), store->values, bytes);
            norm = now;
        }
        ck_assert(now == norm && !memcmp(kept, store->values, bytes));
        nn_store_free(store);
    }
    store = NULL;
    free(kept);
}
END_TEST

START_TEST(the_norm_is_over_all_trainable_numbers)
{
    make_store();
    make_gradients(1);
    double sum = 0;
    for (long i = 0; i < store->trainable; i++)
        sum += (double)store->grads[i] * (double)store->grads[i];
    ck_assert_double_eq_tol(train_grad_norm(store), sqrt(sum), 1e-12 * sqrt(sum));
    train_scale_grad(store, 0.25);
    ck_assert_double_eq_tol(train_grad_norm(store), 0.25 * sqrt(sum), 1e-6 * sqrt(sum));
}
END_TEST

/* ---- schedules --------------------------------------------------------------------------------------- */
static train_schedule schedule(train_schedule_kind kind, bool by_step)
{
    return (train_schedule){ kind, 1e-3, 1e-5, 1e-6, 0.5, 10, 8, 25, 0, by_step };
}

START_TEST(warm_up_is_a_line_from_warmup_lr_to_init_lr)
{
    for (int by_step = 0; by_step < 2; by_step++) {
        train_schedule s = schedule(TRAIN_COSINE, by_step);
        ck_assert_double_eq_tol(train_lr(&s, 0, 0), 1e-6, 1e-18);
        ck_assert_double_eq_tol(train_lr(&s, 0, 5), (1e-6 + 1e-3) / 2, 1e-15);
        ck_assert_double_eq_tol(train_lr(&s, 0, 10), 1e-3, 1e-15);
        s.warmup_lr = -1;                                  /* none: starts at init_lr */
        ck_assert_double_eq_tol(train_lr(&s, 0, 3), 1e-3, 1e-15);
    }
    train_schedule s = schedule(TRAIN_STEP, false);
    ck_assert_double_eq_tol(train_lr(&s, 0, 24), 1e-3, 1e-15);     /* LAVIS: flat until the epoch's end */
}
END_TEST

START_TEST(laviss_cosine_is_a_staircase_that_never_reaches_min_lr)
{
    train_schedule s = schedule(TRAIN_COSINE, false);
    for (long epoch = 1; epoch < 8; epoch++)
        for (long step = 1; step < 25; step++)
            ck_assert(train_lr(&s, epoch, step) == train_lr(&s, epoch, 0));
    ck_assert_double_eq_tol(train_lr(&s, 4, 0), (1e-3 + 1e-5) / 2, 1e-15);
    ck_assert_double_eq_tol(train_lr(&s, 7, 24), 1e-5 + (1e-3 - 1e-5) * 0.5 * (1 + cos(M_PI * 7 / 8)), 1e-15);
    ck_assert(train_lr(&s, 7, 24) > 1.01e-5);
}
END_TEST

START_TEST(the_cosine_by_step_falls_smoothly_from_init_lr_to_min_lr)
{
    train_schedule s = schedule(TRAIN_COSINE, true);
    double before = train_lr(&s, 0, 10), first = before;
    for (long now = 11; now <= 200; now++) {
        double lr = train_lr(&s, now / 25, now % 25);
        ck_assert(lr < before && before - lr < 0.02 * first);
        before = lr;
    }
    ck_assert_double_eq_tol(before, 1e-5, 1e-15);
    ck_assert_double_eq_tol(train_lr(&s, 4, 5), (1e-3 + 1e-5) / 2, 1e-15);     /* half of 190 */
}
END_TEST

START_TEST(steps_of_decay_stop_at_min_lr_and_constant_stays)
{
    train_schedule s = schedule(TRAIN_STEP, false), c = schedule(TRAIN_CONSTANT, true);
    ck_assert_double_eq_tol(train_lr(&s, 1, 7), 5e-4, 1e-15);
    ck_assert_double_eq_tol(train_lr(&s, 3, 0), 1.25e-4, 1e-15);
    ck_assert_double_eq_tol(train_lr(&s, 7, 0), 1e-5, 1e-15);
    s.by_step = true;                                      /* the epoch still counts */
    s.steps = 60;
    ck_assert_double_eq_tol(train_lr(&s, 2, 3), 2.5e-4, 1e-15);
    train_schedule short_run = schedule(TRAIN_COSINE, true);
    short_run.steps = 60;
    ck_assert_double_eq_tol(train_lr(&short_run, 2, 10), 1e-5, 1e-15);
    ck_assert_double_eq_tol(train_lr(&c, 7, 24), 1e-3, 1e-15);
    ck_assert_double_eq_tol(train_lr(&c, 0, 0), 1e-6, 1e-18);
}
END_TEST

/* ---- the order of the samples ------------------------------------------------------------------------ */
enum { SAMPLES = 53 };
static long family[SAMPLES];

static void make_families(void)
{
    for (long i = 0; i < SAMPLES; i++)
        family[i] = 100 - i / 4;
}

static bool one_set(sampler *s, uint64_t seed, long n, const long *families)
{
    return sampler_new(s, seed, 1, 1, &(sampler_data){ n, 1, families }, &e);
}

static long at(sampler *s, long epoch, long i) { return sampler_at(s, epoch * s->per_epoch + i).sample; }

START_TEST(an_epoch_shows_every_sample_once)
{
    sampler s;
    make_families();
    ck_assert(one_set(&s, 9, SAMPLES, _i ? family : NULL));
    for (long epoch = 0; epoch < 3; epoch++) {
        bool seen[SAMPLES] = { 0 };
        for (long i = 0; i < SAMPLES; i++) {
            long x = at(&s, epoch, i);
            ck_assert(x >= 0 && x < SAMPLES && !seen[x]);
            seen[x] = true;
        }
    }
    sampler_free(&s);
}
END_TEST

START_TEST(a_family_stays_side_by_side)
{
    sampler s;
    long met = 0;
    make_families();
    ck_assert(one_set(&s, 9, SAMPLES, family));
    for (long i = 1; i < SAMPLES; i++)
        met += family[at(&s, 1, i)] != family[at(&s, 1, i - 1)];
    ck_assert_int_eq(met, (SAMPLES + 3) / 4 - 1);          /* families, less one */
    sampler_free(&s);
}
END_TEST

START_TEST(the_order_depends_on_seed_and_epoch_and_not_on_where_a_run_begins)
{
    sampler a, b, other;
    long same = 0, moved = 0;
    ck_assert(one_set(&a, 9, SAMPLES, NULL) && one_set(&b, 9, SAMPLES, NULL)
              && one_set(&other, 10, SAMPLES, NULL));
    for (long epoch = 0; epoch < 4; epoch++)
        at(&a, epoch, 0);
    for (long i = 0; i < SAMPLES; i++) {
        ck_assert_int_eq(at(&a, 3, i), at(&b, 3, i));
        same += at(&other, 3, i) == at(&a, 3, i);
    }
    for (long i = 0; i < SAMPLES; i++)
        moved += at(&b, 2, i) != at(&a, 3, i);
    ck_assert_int_lt(same, SAMPLES / 3);
    ck_assert_int_gt(moved, SAMPLES / 2);
    sampler_free(&a);
    sampler_free(&b);
    sampler_free(&other);
}
END_TEST

START_TEST(all_orders_are_equally_likely)
{
    enum { SEEDS = 30000 };
    long met[3][3] = { 0 };                                /* (first, second) */
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sampler s;
        ck_assert(one_set(&s, seed, 3, NULL));
        met[at(&s, 0, 0)][at(&s, 0, 1)]++;
        sampler_free(&s);
    }
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++)
            if (a != b)                                    /* 5000 each, standard deviation 65 */
                ck_assert_int_le(labs(met[a][b] - SEEDS / 6), 300);
}
END_TEST

START_TEST(samples_that_fill_no_step_are_left_out_of_an_epoch)
{
    sampler s;
    ck_assert(sampler_new(&s, 9, 8, 1, &(sampler_data){ SAMPLES, 1, NULL }, &e));
    ck_assert_int_eq(s.per_epoch, 48);
    for (long place = 0; place < 200; place++)
        ck_assert_int_eq(sampler_at(&s, place).visit, place / 48);
    sampler_free(&s);
}
END_TEST

START_TEST(data_sets_share_each_batch_by_their_ratios)
{
    enum { SETS = 3, STEP = 20, STEPS = 60 };
    static const long first[SETS + 1] = { 0, 10, 40, 140 };
    static const double ratio[SETS] = { 3, 1, 1.5 };
    const sampler_data data[SETS] = { { 10, 3, NULL }, { 30, 1, NULL }, { 100, 1.5, NULL } };
    sampler s;
    long all[SETS] = { 0 }, times[140] = { 0 };
    ck_assert(sampler_new(&s, 9, STEP, SETS, data, &e));
    ck_assert_int_eq(s.per_epoch, 140);
    for (long step = 0; step < STEPS; step++) {
        long mine[SETS] = { 0 };
        for (long i = 0; i < STEP; i++) {
            drawn d = sampler_at(&s, step * STEP + i);
            int k = d.sample < first[1] ? 0 : d.sample < first[2] ? 1 : 2;
            ck_assert(d.sample >= 0 && d.sample < first[SETS]);
            ck_assert_int_eq(d.visit, all[k] / (first[k + 1] - first[k]));
            ck_assert_int_eq(times[d.sample]++, d.visit);          /* none twice before all had their turn */
            mine[k]++;
            all[k]++;
        }
        for (int k = 0; k < SETS; k++)
            ck_assert(fabs((double)mine[k] - STEP * ratio[k] / 5.5) < 2);
    }
    for (int k = 0; k < SETS; k++)
        ck_assert(fabs((double)all[k] - STEPS * STEP * ratio[k] / 5.5) <= 1);
    sampler_free(&s);
}
END_TEST

START_TEST(a_mixed_order_is_the_same_from_any_place_on)
{
    const sampler_data data[2] = { { 17, 2, NULL }, { 29, 1, NULL } };
    sampler a, b;
    ck_assert(sampler_new(&a, 4, 8, 2, data, &e) && sampler_new(&b, 4, 8, 2, data, &e));
    drawn kept[400];
    for (long i = 0; i < 400; i++)
        kept[i] = sampler_at(&a, i);
    for (long i = 0; i < 400; i++) {
        long place = i * 233 % 400;
        drawn d = sampler_at(&b, place);
        ck_assert(d.sample == kept[place].sample && d.visit == kept[place].visit);
    }
    sampler_free(&a);
    sampler_free(&b);
}
END_TEST

/* ---- one step: a small language model ---------------------------------------------------------------- */
enum { B = 8, T = 6 };
static blip2_model m;
static tape *t;
static int ids[B * T];
static unsigned char mask[B * T];
static long rows_a_part;
static real poison;                                        /* added to the loss */

static tensor *forward(void *context, tape *on, int part, train_losses *l)
{
    (void)context;
    long first = part * rows_a_part;
    int *rows = ag_alloc(on, rows_a_part * (long)sizeof *rows);
    for (long b = 0; b < rows_a_part; b++)
        rows[b] = (int)(first + b);
    ag_random random = ag_random_now(on);
    random.sample = rows;
    ag_seed(on, random);
    blip2_stage2_in in = { .text = { rows_a_part, T, ids + first * T, mask + first * T } };
    blip2_stage2_out out;
    blip2_stage2(&m, on, &in, false, &out);
    tensor *added = ag_copy_in(on, 0, NULL, &poison);
    tensor *loss = ag_add(on, out.loss, added);
    train_loss(l, "loss", ag_value(loss));
    return loss;
}

static void make_model(void)
{
    blip2_config c = tiny_config();
    c.qformer.queries = 0;
    c.stage1 = c.qformer.text = c.qformer.head = false;
    c.llm = BLIP2_LLM_OPT;
    c.opt = (blip2_opt_config){ .vocab = 23, .width = 12, .layers = 2, .heads = 3, .hidden = 20,
                                .positions = 16, .dropout = 0.1, .init_std = 0.2, .bos = 2, .eos = 3,
                                .pad = 1 };
    store = nn_store_new(11);
    blip2_model_init(&m, store, &c);
    ck_assert_msg(nn_build(store, true, &e), "%s", e.text);
    t = ag_tape_new();
    memset(mask, 1, sizeof mask);
    poison = 0;
    for (long i = 0; i < B * T; i++)
        ids[i] = 4 + (int)(ag_uniform(8, (uint64_t)i) * 19);
}

static train_stepper stepper(int parts)
{
    rows_a_part = B / parts;
    return (train_stepper){ .store = store, .t = t, .accumulate = parts, .seed = 5,
                            .adamw = { 1e-3, 0.9, 0.98, 1e-8, 0.05 } };
}

START_TEST(two_parts_of_four_are_one_batch_of_eight)
{
    double losses[2][3], norm[2];
    real *kept = NULL;
    for (int k = 0; k < 2; k++) {
        make_model();
        train_stepper s = stepper(k ? 2 : 1);
        train_losses l;
        s.adamw.eps = 1e-5;    /* a gradient that is rounding alone (a key's bias) must not become a step */
        for (int step = 0; step < 3; step++) {
            ck_assert_msg(train_step(&s, forward, NULL, &l, &e), "%s", e.text);
            losses[k][step] = l.value[0];
        }
        norm[k] = l.grad_norm;
        if (!k) {
            kept = malloc((size_t)store->trainable * sizeof *kept);
            memcpy(kept, store->values, (size_t)store->trainable * sizeof *kept);
            nn_store_free(store);
            ag_tape_free(t);
        }
    }
    for (int step = 0; step < 3; step++)
        ck_assert_double_eq_tol(losses[0][step], losses[1][step], TINY_ROUNDING);
    ck_assert_double_eq_tol(norm[0], norm[1], TINY_ROUNDING);
    for (long i = 0; i < store->trainable; i++)
        ck_assert_double_eq_tol((double)kept[i], (double)store->values[i], TINY_ROUNDING);
    free(kept);
    ag_tape_free(t);
}
END_TEST

START_TEST(dropout_is_another_in_each_step_and_the_same_in_each_run)
{
    double losses[4];
    make_model();
    for (int k = 0; k < 4; k++) {
        train_stepper s = stepper(1);
        train_losses l;
        s.adamw.lr = 0;                                    /* the weights stay */
        s.step = k % 2;
        ck_assert(train_step(&s, forward, NULL, &l, &e));
        losses[k] = l.value[0];
    }
    ck_assert(losses[0] != losses[1] && losses[0] == losses[2] && losses[1] == losses[3]);
    ag_tape_free(t);
}
END_TEST

START_TEST(a_gradient_longer_than_the_limit_is_cut_to_it)
{
    make_model();
    train_stepper s = stepper(1);
    train_losses l;
    ck_assert(train_step(&s, forward, NULL, &l, &e));
    double whole = l.grad_norm;
    ck_assert_double_eq_tol(train_grad_norm(store), whole, 1e-12 * whole);
    nn_store_free(store);
    ag_tape_free(t);
    make_model();
    s = stepper(1);
    s.clip = whole / 3;
    ck_assert(train_step(&s, forward, NULL, &l, &e));
    ck_assert(l.grad_norm == whole);                       /* the log has the norm before */
    ck_assert_double_eq_tol(train_grad_norm(store), whole / 3, 1e-5 * whole);
    ag_tape_free(t);
}
END_TEST

/* A step that must fail: what it says, and that nothing of the model has changed. */
static void assert_stops(train_stepper *s, const char *says, const char *names)
{
    size_t bytes = (size_t)store->trainable * sizeof(real);
    real *kept[3] = { malloc(bytes), malloc(bytes), malloc(bytes) };
    const real *now[3] = { store->values, store->m, store->v };
    train_losses l;
    for (int k = 0; k < 3; k++)
        memcpy(kept[k], now[k], bytes);
    long done = s->step;
    ck_assert(!train_step(s, forward, NULL, &l, &e));
    ck_assert_msg(strstr(e.text, says) && strstr(e.text, names), "%s", e.text);
    for (int k = 0; k < 3; k++) {
        ck_assert(!memcmp(kept[k], now[k], bytes));
        free(kept[k]);
    }
    ck_assert_int_eq(s->step, done);
}

START_TEST(a_number_that_is_not_finite_stops_the_step_and_is_named)
{
    make_model();
    train_stepper s = stepper(1);
    train_losses l;
    ck_assert(train_step(&s, forward, NULL, &l, &e));
    tensor *w = nn_find(store, "opt_model.model.decoder.layers.1.fc1.weight");
    ck_assert_ptr_nonnull(w);
    real was = w->data[5];
    w->data[5] = NAN;
    assert_stops(&s, "step 2: the loss is not finite",
                 "parameter opt_model.model.decoder.layers.1.fc1.weight(20,12)");
    w->data[5] = was;
    poison = INFINITY;
    assert_stops(&s, "step 2: the loss is not finite", "input () of operation");
    poison = 0;
    ck_assert(train_step(&s, forward, NULL, &l, &e));      /* and it goes on */
    ck_assert_int_eq(s.step, 2);
    ag_tape_free(t);
}
END_TEST

static tensor *steep(void *context, tape *on, int part, train_losses *l)
{
    (void)context, (void)part, (void)l;
    const double much = REAL == 64 ? 1e200 : 1e30;     /* twice: finite, but its slope is not */
    tensor *x = ag_sum(on, nn_find(store, "opt_model.model.decoder.final_layer_norm.bias"));
    tensor *y = ag_scale(on, x, much);
    return ag_scale(on, y, much);
}

START_TEST(a_gradient_that_is_not_finite_stops_the_step_and_is_named)
{
    make_model();
    train_stepper s = stepper(1);
    train_losses l;
    tensor *b = nn_find(store, "opt_model.model.decoder.final_layer_norm.bias");
    ck_assert_ptr_nonnull(b);
    ck_assert(!train_step(&s, steep, NULL, &l, &e));
    ck_assert_msg(strstr(e.text, "step 1: the gradient is not finite")
                  && strstr(e.text, "of opt_model.model.decoder.final_layer_norm.bias"), "%s", e.text);
    ck_assert(b->data[0] == 0);
    ag_tape_free(t);
}
END_TEST

Suite *suite_train(void)
{
    Suite *s = suite_create("train");
    TCase *c = tcase_create("train");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, NULL, end);
    tcase_add_test(c, adamw_is_its_formula);
    tcase_add_test(c, moments_start_at_zero_and_the_first_step_is_the_learning_rate);
    tcase_add_test(c, threads_change_no_bit_of_a_step_nor_of_the_norm);
    tcase_add_test(c, the_norm_is_over_all_trainable_numbers);
    tcase_add_test(c, warm_up_is_a_line_from_warmup_lr_to_init_lr);
    tcase_add_test(c, laviss_cosine_is_a_staircase_that_never_reaches_min_lr);
    tcase_add_test(c, the_cosine_by_step_falls_smoothly_from_init_lr_to_min_lr);
    tcase_add_test(c, steps_of_decay_stop_at_min_lr_and_constant_stays);
    tcase_add_loop_test(c, an_epoch_shows_every_sample_once, 0, 2);
    tcase_add_test(c, a_family_stays_side_by_side);
    tcase_add_test(c, the_order_depends_on_seed_and_epoch_and_not_on_where_a_run_begins);
    tcase_add_test(c, all_orders_are_equally_likely);
    tcase_add_test(c, samples_that_fill_no_step_are_left_out_of_an_epoch);
    tcase_add_test(c, data_sets_share_each_batch_by_their_ratios);
    tcase_add_test(c, a_mixed_order_is_the_same_from_any_place_on);
    tcase_add_test(c, dropout_is_another_in_each_step_and_the_same_in_each_run);
    tcase_add_test(c, two_parts_of_four_are_one_batch_of_eight);
    tcase_add_test(c, a_gradient_longer_than_the_limit_is_cut_to_it);
    tcase_add_test(c, a_number_that_is_not_finite_stops_the_step_and_is_named);
    tcase_add_test(c, a_gradient_that_is_not_finite_stops_the_step_and_is_named);
    suite_add_tcase(s, c);
    return s;
}
