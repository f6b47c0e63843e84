/* test_ranks.c - several ranks are one large batch: what they exchange, the gradient of a gather, the same
 * curves however a batch is parted, and the same bytes each time. What goes wrong: test_ranks_faults.c.    */
#include "tests/world.h"
#include "train/ranks.h"
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static error e;

/* ---- exchanges ----------------------------------------------------------------------------------------- */
enum { MOST_NUMBERS = 700001 };        /* in double more than five windows */

/* What rank k holds at place i; sums of these are exact in float too. */
static real held(int k, long i) { return (real)((k + 1) * (i % 1000)); }

static bool exchange(const ag_ranks *r, void *context, error *why)
{
    static const long sizes[] = { 1, 7, 131072, 131073, MOST_NUMBERS };
    int W = r->world, *wrong = context;
    real *own = mem_new(MOST_NUMBERS * sizeof *own), *all = mem_new((size_t)W * MOST_NUMBERS * sizeof *all);
    if (!own || !all)
        return error_set(why, "out of memory");
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        long n = sizes[s];
        for (long i = 0; i < n; i++)
            own[i] = held(r->rank, i);
        bool ok = r->all_gather(r, own, n * (long)sizeof *own, all);
        for (long i = 0; i < W * n; i++)
            wrong[0] += all[i] != held((int)(i / n), i % n);
        ok = ok && r->all_reduce(r, own, n);
        for (long i = 0; i < n; i++)
            wrong[1] += own[i] != (real)(W * (W + 1) / 2) * (real)(i % 1000);
        for (long i = 0; i < W * n; i++)
            all[i] = held(r->rank, i);
        ok = ok && r->reduce_scatter(r, all, n, own);
        for (long i = 0; i < n; i++)
            wrong[2] += own[i] != (real)(W * (W + 1) / 2) * (real)((r->rank * n + i) % 1000);
        if (!ok)
            return error_set(why, "size %ld", n);
    }
    mem_free(own);
    mem_free(all);
    return true;
}

START_TEST(exchanges_of_any_size_give_what_the_ranks_gave)
{
    int wrong[3] = { 0 };
    ck_assert_msg(ranks_threads(_i, exchange, wrong, &e), "%s", e.text);
    ck_assert_msg(!wrong[0] && !wrong[1] && !wrong[2], "%d gathered, %d reduced, %d scattered numbers are "
                  "wrong", wrong[0], wrong[1], wrong[2]);
    ck_assert_msg(ranks_processes(_i, exchange, wrong, sizeof wrong, NULL, &e), "%s", e.text);
    ck_assert_msg(!wrong[0] && !wrong[1] && !wrong[2], "%d, %d, %d", wrong[0], wrong[1], wrong[2]);
}
END_TEST

typedef struct sums { real of[4][100]; } sums;

static bool sum_rounded(const ag_ranks *r, void *context, error *why)
{
    real *x = ((sums *)context)->of[r->rank];
    for (uint64_t i = 0; i < 100; i++)
        x[i] = (real)ag_normal((uint64_t)r->rank, i);
    return ranks_sum(r, x, 100, why);
}

START_TEST(sums_that_round_are_the_same_bits_on_all_ranks)
{
    sums s;
    ck_assert(ranks_threads(4, sum_rounded, &s, &e));
    for (int k = 1; k < 4; k++)
        ck_assert_mem_eq(s.of[0], s.of[k], sizeof s.of[0]);
}
END_TEST

/* ---- the gradient of a gather -------------------------------------------------------------------------- */
enum { W = 3, B = 2, C = 4 };
typedef struct slope { real x[W][B * C], gradient[W][B * C]; double loss[W]; bool backward; } slope;

static double pull(int q, long i) { return ag_normal(40 + (uint64_t)q, (uint64_t)i); }

/* The loss of rank q: sum_i c_q[i] y[i]^2 over all rows y; rank 1 looks at none of them. */
static bool measure(const ag_ranks *r, void *context, error *why)
{
    slope *s = context;
    real c[W * B * C];
    (void)why;
    for (long i = 0; i < W * B * C; i++)
        c[i] = r->rank == 1 ? 0 : (real)pull(r->rank, i);
    tape *t = ag_tape_new();
    tensor *x = ag_leaf(t, DIMS(B, C), s->x[r->rank]);
    tensor *y = ag_all_gather(t, r, x);                                    /* (W B,C) */
    tensor *pulled = ag_mul(t, ag_mul(t, y, y), ag_copy_in(t, DIMS(W * B, C), c));
    tensor *own = ag_scale(t, ag_sum(t, x), 0.5);
    tensor *loss = r->rank == 1 ? own : ag_sum(t, pulled);
    s->loss[r->rank] = (double)ag_value(loss);
    if (s->backward) {
        ag_backward(t, loss);
        memcpy(s->gradient[r->rank], ag_grad(x), sizeof s->gradient[0]);
    }
    ag_tape_free(t);
    return true;
}

static double loss_of_all(slope *s)
{
    ck_assert(ranks_threads(W, measure, s, &e));
    return s->loss[0] + s->loss[1] + s->loss[2];
}

START_TEST(the_gradient_of_a_gather_is_the_slope_of_the_sum_of_all_losses)
{
    const double h = REAL == 64 ? 1e-4 : 1e-2, bound = REAL == 64 ? 1e-9 : 2e-3;
    slope s = { .backward = true };
    for (int k = 0; k < W; k++)
        for (long i = 0; i < B * C; i++)
            s.x[k][i] = (real)ag_normal(9, (uint64_t)(k * B * C + i));
    loss_of_all(&s);
    s.backward = false;
    for (int k = 0; k < W; k++)
        for (long i = 0; i < B * C; i++) {
            real was = s.x[k][i];
            s.x[k][i] = (real)(was + h);
            double above = loss_of_all(&s), over = (double)s.x[k][i];
            s.x[k][i] = (real)(was - h);
            double below = loss_of_all(&s), under = (double)s.x[k][i];
            s.x[k][i] = was;
            ck_assert_double_eq_tol((double)s.gradient[k][i], (above - below) / (over - under), bound);
        }
}
END_TEST

/* ---- what is told -------------------------------------------------------------------------------------- */
typedef struct told { error e[3]; bool ok[3]; train_losses l[3]; } told;

static bool tell(const ag_ranks *r, void *context, error *why)
{
    told *all = context;
    int k = r->rank;
    train_loss(&all->l[k], "loss", k + 1);
    if (!ranks_status(r, true, &all->l[k], why))
        return false;
    error_set(&all->e[k], "step 7: on rank %d", k);
    all->ok[k] = ranks_status(r, k == 0, &all->l[k], &all->e[k]);          /* 1 and 2 fail */
    return true;
}

START_TEST(losses_become_means_and_the_first_error_that_of_all)
{
    told all = { 0 };
    ck_assert_msg(ranks_threads(3, tell, &all, &e), "%s", e.text);
    for (int k = 0; k < 3; k++) {
        ck_assert_double_eq(all.l[k].value[0], 2);
        ck_assert(!all.ok[k]);
        ck_assert_str_eq(all.e[k].text, "rank 1 of 3: step 7: on rank 1");
    }
}
END_TEST

static bool differ(const ag_ranks *r, void *context, error *why)
{
    nn_store *s = nn_store_new(3);
    nn_parameter(nn_root(s), "x", NN_INIT_ONE, DIMS(5));
    bool ok = nn_build(s, true, why) && ranks_same(r, s, why);
    if (ok && r->rank == 2)
        s->v[*(int *)context] += 1;
    ok = ok && ranks_same(r, s, why);
    nn_store_free(s);
    return ok;
}

START_TEST(weights_or_moments_that_differ_are_seen)
{
    int at = 4;
    ck_assert(!ranks_threads(3, differ, &at, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "rank 2 of 3: its weights or moments are not those of rank 0"));
}
END_TEST

/* ---- curves -------------------------------------------------------------------------------------------- */
enum { STEPS = 50 };
typedef struct curve { int steps; double value[STEPS][TRAIN_LOSSES]; } curve;
static curve *drawn;                               /* shared memory: rank 0 writes it */

static void on_step(void *context, const train_line *line)
{
    (void)context;
    for (int i = 0; i < line->losses->count; i++)
        drawn->value[drawn->steps][i] = line->losses->value[i];
    drawn->value[drawn->steps++][line->losses->count] = line->losses->grad_norm;
}

typedef struct order { train_config c; long ranks; bool resume; } order;

/* One rank is a process too: what OpenMP starts there must not be here when the next ones are forked. */
static bool train_here(const ag_ranks *r, void *context, error *why)
{
    const order *o = context;
    static const train_watch watch = { .step = on_step };
    train_result result;
    (void)r;
    return train_run(&o->c, &(train_options){ .watch = &watch, .resume = o->resume }, &result, why);
}

static curve train(order o)
{
    static const train_watch watch = { .step = on_step };
    train_result result;
    memset(drawn, 0, sizeof *drawn);
    const train_options how = { .ranks = o.ranks, .watch = &watch, .resume = o.resume };
    bool ok = o.ranks > 1 ? train_run(&o.c, &how, &result, &e)
                          : ranks_processes(1, train_here, &o, sizeof o, NULL, &e);
    ck_assert_msg(ok, "%ld ranks: %s", o.ranks, e.text);
    return *drawn;
}

static bool make(const ag_ranks *r, void *context, error *why)
{
    (void)r, (void)context, (void)why;
    world_make();
    world_train_all(TRAIN_STAGE1);
    world_train_all(TRAIN_LM);
    return true;
}

static void begin(void)
{
    folder_begin();
    ck_assert_msg(ranks_processes(1, make, &(int){ 0 }, sizeof(int), NULL, &e), "%s", e.text);
    drawn = mmap(NULL, sizeof *drawn, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(drawn != MAP_FAILED);
}

static void end(void)
{
    munmap(drawn, sizeof *drawn);
    folder_end();
}

static order of(train_task task, long ranks, long steps)
{
    order o = { world_config(task), ranks, false };
    o.c.max_iters = steps;
    o.c.batch /= ranks;
    o.c.init_lr = 1e-3;
    return o;
}

static void same_curves(const curve *a, const curve *b, const char *what)
{
    const double bound = REAL == 64 ? 1e-10 : 1e-5;
    ck_assert_int_eq(a->steps, b->steps);
    for (int s = 0; s < a->steps; s++)
        for (int i = 0; i < TRAIN_LOSSES; i++)
            ck_assert_msg(fabs(a->value[s][i] - b->value[s][i]) <= bound * fmax(1, fabs(a->value[s][i])),
                          "%s: step %d, number %d: %.15g and %.15g", what, s + 1, i, a->value[s][i],
                          b->value[s][i]);
}

START_TEST(one_rank_of_8_and_2_of_4_and_4_of_2_draw_one_curve)
{
    order whole = of(TRAIN_STAGE1, 1, STEPS), halves = of(TRAIN_STAGE1, 2, STEPS);
    order quarters = of(TRAIN_STAGE1, 4, STEPS);
    static const int by[] = { TRAIN_IDENTITY_NONE, TRAIN_IDENTITY_CAPTION, TRAIN_IDENTITY_TEXT };
    whole.c.identity = halves.c.identity = quarters.c.identity = by[_i];
    curve one = train(whole), two = train(halves), four = train(quarters);
    ck_assert_int_eq(one.steps, STEPS);
    ck_assert(one.value[STEPS - 1][0] < one.value[0][0]);
    same_curves(&one, &two, "2 ranks");
    same_curves(&one, &four, "4 ranks");
}
END_TEST

START_TEST(every_task_draws_one_curve_in_parts_of_a_batch_too)
{
    static const train_task tasks[] = { TRAIN_VIT, TRAIN_LM, TRAIN_STAGE2, TRAIN_STAGE1 };
    order whole = of(tasks[_i], 1, 10), parted = of(tasks[_i], 4, 10);
    whole.c.accumulate = parted.c.accumulate = 2;
    curve one = train(whole), four = train(parted);
    same_curves(&one, &four, "4 ranks, accumulating 2");
}
END_TEST

/* ---- bytes --------------------------------------------------------------------------------------------- */
START_TEST(ranks_give_the_same_bytes_again_and_when_they_go_on)
{
    order whole = of(TRAIN_STAGE1, 2, 6), again, parts, rest;
    whole.c.by_step = 0;
    whole.c.schedule = TRAIN_CONSTANT;             /* no rate looks at the end of the run */
    again = parts = rest = whole;
    world_text(again.c.output_dir, IN_FOLDER("again"));
    world_text(parts.c.output_dir, IN_FOLDER("parts"));
    rest.c = parts.c;
    rest.resume = true;
    parts.c.max_iters = 3;
    parts.c.save_freq = 3;
    train(whole);
    train(again);
    train(parts);
    ck_assert_int_eq(train(rest).steps, 3);
    ck_assert(folder_same("stage1/model.h5", "again/model.h5"));
    ck_assert(folder_same("stage1/model.h5", "parts/model.h5"));
}
END_TEST

START_TEST(a_run_goes_on_with_another_number_of_ranks)
{
    order whole = of(TRAIN_VIT, 1, 6), first = of(TRAIN_VIT, 1, 6), rest = of(TRAIN_VIT, 4, 6);
    world_text(first.c.output_dir, IN_FOLDER("parts"));
    world_text(rest.c.output_dir, IN_FOLDER("parts"));
    first.c.save_freq = 4;
    rest.resume = true;
    curve one = train(whole);
    train(first);
    ck_assert(!unlink(IN_FOLDER("parts/checkpoint.h5")));  /* the one before is that of step 4 */
    curve four = train(rest);
    ck_assert_int_eq(four.steps, 2);
    memmove(one.value[0], one.value[4], 2 * sizeof one.value[0]);
    memset(one.value[2], 0, 4 * sizeof one.value[0]);
    one.steps = 2;
    same_curves(&one, &four, "the rest with 4 ranks");
}
END_TEST

Suite *suite_ranks(void)
{
    Suite *s = suite_create("ranks");
    TCase *plain = tcase_create("exchanges"), *runs = tcase_create("curves");
    tcase_set_timeout(plain, TEST_SECONDS);
    tcase_set_timeout(runs, TEST_SECONDS);
    tcase_add_loop_test(plain, exchanges_of_any_size_give_what_the_ranks_gave, 1, 6);
    tcase_add_test(plain, sums_that_round_are_the_same_bits_on_all_ranks);
    tcase_add_test(plain, the_gradient_of_a_gather_is_the_slope_of_the_sum_of_all_losses);
    tcase_add_test(plain, losses_become_means_and_the_first_error_that_of_all);
    tcase_add_test(plain, weights_or_moments_that_differ_are_seen);
    tcase_add_checked_fixture(runs, begin, end);
    tcase_add_loop_test(runs, one_rank_of_8_and_2_of_4_and_4_of_2_draw_one_curve, 0, 3);
    tcase_add_loop_test(runs, every_task_draws_one_curve_in_parts_of_a_batch_too, 0, 4);
    tcase_add_test(runs, ranks_give_the_same_bytes_again_and_when_they_go_on);
    tcase_add_test(runs, a_run_goes_on_with_another_number_of_ranks);
    suite_add_tcase(s, plain);
    suite_add_tcase(s, runs);
    return s;
}
