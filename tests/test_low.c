/* test_low.c - frozen matrices in 16 and 8 bits: numbers, products by every set of instructions that the
 * CPU has, files, whole models. Gradients through them stand with the operations and the modules. */
#define _GNU_SOURCE                    /* memmem */
#include "autograd/internal.h"
#include "tests/tests.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static tape *t;
static error e;

static void setup(void) { t = ag_tape_new(); }
static void teardown(void) { ag_tape_free(t); }

static real *numbers(long n, uint64_t key)
{
    real *x = ag_alloc_real(t, n);
    for (long i = 0; i < n; i++)
        x[i] = (real)(float)ag_normal(key, (uint64_t)i);
    return x;
}

/* ---- 16 bits ------------------------------------------------------------------------------------------- */
START_TEST(every_number_of_16_bits_survives_widening)
{
    for (int brain = 0; brain < 2; brain++)
        for (uint32_t u = 0; u < 65536; u++) {
            uint16_t from = (uint16_t)u, back;
            real wide;
            (brain ? brain_widen : half_widen)(1, &from, &wide);
            (brain ? brain_round : half_round)(1, &wide, &back);
            bool nan = brain ? (u & 0x7fff) > 0x7f80 : (u & 0x7fff) > 0x7c00;
            ck_assert(isnan(wide) == nan && (nan || back == from));
        }
    uint16_t one = 0x3c01, tiny = 0x0001;
    real x;
    half_widen(1, &one, &x);
    ck_assert(x == (real)(1 + 1.0 / 1024));
    half_widen(1, &tiny, &x);
    ck_assert(x == (real)0x1p-24);
}
END_TEST

/* Between two neighbours the nearer, in the middle the even one. */
START_TEST(rounding_is_to_the_nearest_and_to_even)
{
    for (int brain = 0; brain < 2; brain++)
        for (uint32_t u = 0; u < (brain ? 0x7f7fu : 0x7bffu); u += 7) {
            uint16_t pair[2] = { (uint16_t)u, (uint16_t)(u + 1) }, near;
            real wide[2], middle, below, above;
            (brain ? brain_widen : half_widen)(2, pair, wide);
            middle = wide[0] + (wide[1] - wide[0]) / 2;
            below = (real)nextafterf((float)middle, (float)wide[0]);
            above = (real)nextafterf((float)middle, (float)wide[1]);
            (brain ? brain_round : half_round)(1, &middle, &near);
            ck_assert_int_eq(near, u & 1 ? u + 1 : u);
            (brain ? brain_round : half_round)(1, &below, &near);
            ck_assert_int_eq(near, u);
            (brain ? brain_round : half_round)(1, &above, &near);
            ck_assert_int_eq(near, u + 1);
        }
    real large = 65520, infinite = INFINITY;
    uint16_t to;
    half_round(1, &large, &to);
    ck_assert_int_eq(to, 0x7c00);
    half_round(1, &infinite, &to);
    ck_assert_int_eq(to, 0x7c00);
}
END_TEST

START_TEST(int8_is_off_by_half_a_step_at_most)
{
    enum { N = 5, K = 300 };
    real *x = numbers(N * K, 4), row[K];
    int8_t q[N * K];
    float scale[N];
    memset(x + 2*K, 0, K * sizeof *x);                     /* a row of zeros */
    ck_assert_int_eq(ag_quantize(AG_INT8, N, K, x, q, scale), -1);
    ck_assert(scale[2] == 0);
    for (long n = 0; n < N; n++) {
        ag_frozen_read(&(ag_frozen){ AG_INT8, N, K, q, scale }, n, 0, K, row);
        for (long k = 0; k < K; k++)
            ck_assert(fabs((double)(row[k] - x[n*K + k])) <= 0.501 * (double)scale[n]);
    }
    x[K + 7] = (real)NAN;
    ck_assert_int_eq(ag_quantize(AG_INT8, N, K, x, q, scale), K + 7);
    x[K + 7] = 70000;
    uint16_t halves[N * K];
    ck_assert_int_eq(ag_quantize(AG_F16, N, K, x, halves, NULL), K + 7);
    ck_assert_int_eq(ag_quantize(AG_BF16, N, K, x, halves, NULL), -1);
}
END_TEST

/* ---- products ------------------------------------------------------------------------------------------ */
static const ag_dtype types[] = { AG_REAL, AG_F16, AG_BF16, AG_INT8 };
enum { TYPES = 4 };

/* An ordinary tensor or a low one, of the same numbers as far as the type can hold them. */
static tensor *weight(ag_dtype type, long N, long K, uint64_t key)
{
    const real *x = numbers(N * K, key);
    return type == AG_REAL ? ag_copy_in(t, DIMS(N, K), x) : ag_frozen_new(t, type, DIMS(N, K), x);
}

static ag_frozen matrix(const tensor *w)
{
    return w->frozen ? *w->frozen : (ag_frozen){ AG_REAL, w->dim[0], w->dim[1], w->data, NULL };
}

/* y (R,N) in double, of factors rounded to bfloat16 or not. */
static void by_hand(const tensor *w, bool rounded, long R, const real *x, double beta, const real *old,
                    double *y)
{
    long N = w->dim[0], K = w->dim[1];
    real *wide = ag_alloc_real(t, N * K), *near = ag_alloc_real(t, R * K);
    memcpy(near, x, (size_t)(R * K) * sizeof *x);
    ag_read(w, wide);
    if (rounded)
        frozen_round(R * K, x, near);
    if (rounded && (!w->frozen || w->frozen->type == AG_F16))
        frozen_round(N * K, wide, wide);
    for (long r = 0; r < R; r++)
        for (long n = 0; n < N; n++) {
            double sum = 0;
            for (long k = 0; k < K; k++)
                sum += (double)near[r*K + k] * (double)wide[n*K + k];
            y[r*N + n] = sum + (beta == 0 ? 0 : beta * (double)old[r*N + n]);
        }
}

static void near(long n, long K, const real *y, const double *right, const char *what)
{
    double bound = (REAL == 64 ? 1e-13 : 1e-5) * sqrt((double)K + 1);      /* without -O3 sums are one by one */
    for (long i = 0; i < n; i++)
        ck_assert_msg(fabs((double)y[i] - right[i]) <= bound, "%s: %g instead of %g at %ld", what,
                      (double)y[i], right[i], i);
}

static int paths_here(const few_path *to[3])
{
    int n = 0;
    to[n++] = NULL;
#if REAL == 32 && defined __x86_64__
    if (few_best())
        to[n++] = &few_avx2;
    if (few_best() == &few_avx512)
        to[n++] = &few_avx512;
#endif
    return n;
}

START_TEST(few_rows_are_right_by_every_set_of_instructions)
{
    static const long sizes[][2] = { { 1, 1 }, { 33, 31 }, { 70, 64 }, { 37, 2100 } };         /* N, K */
    const few_path *paths[3];
    int count = paths_here(paths);
    long N = sizes[_i][0], K = sizes[_i][1];
    for (int p = 0; p < count; p++)
        for (int type = 0; type < TYPES; type++)
            for (long M = 1; M <= FEW_MOST; M++) {
                ag_mark mark = ag_here(t);
                tensor *w = weight(types[type], N, K, 5);
                real *x = numbers(M * K, 6), *y = numbers(M * N, 7), *old = numbers(M * N, 7);
                double *right = ag_alloc(t, M * N * (long)sizeof *right), beta = M % 2;
                ag_frozen m = matrix(w);
                bool rounded = M % 3 == 0;
                if (rounded)
                    frozen_round(M * K, x, x);
                by_hand(w, rounded, M, x, beta, old, right);
                few_rows_by(paths[p], &m, rounded, M, x, K, ag_alloc_real(t, M * K), (real)beta, y, N);
                near(M * N, K, y, right, paths[p] ? paths[p]->name : "plain");
                ag_rewind(t, mark);
            }
}
END_TEST

START_TEST(a_row_is_the_same_however_many_are_computed_with_it)
{
    enum { N = 50, K = 1500 };
    const few_path *paths[3];
    int count = paths_here(paths);
    for (int p = 0; p < count; p++)
        for (int type = 0; type < TYPES; type++) {
            ag_frozen w = matrix(weight(types[type], N, K, 5));
            real *x = numbers(FEW_MOST * K, 6), all[FEW_MOST * N], one[N];
            real *scratch = ag_alloc_real(t, FEW_MOST * K);
            for (long M = 1; M <= FEW_MOST; M++) {
                few_rows_by(paths[p], &w, false, M, x, K, scratch, 0, all, N);
                for (long m = 0; m < M; m++) {
                    few_rows_by(paths[p], &w, false, 1, x + m*K, K, scratch, 0, one, N);
                    ck_assert_mem_eq(one, all + m*N, sizeof one);
                }
            }
        }
}
END_TEST

/* x as bfloat16 and the bfloat16 of what that leaves out: their sum is a float. */
static void two_terms(long n, real *x)
{
    real *first = ag_alloc_real(t, n), *rest = ag_alloc_real(t, n);
    frozen_round(n, x, first);
    for (long i = 0; i < n; i++)
        rest[i] = x[i] - first[i];
    frozen_round(n, rest, rest);
    for (long i = 0; i < n; i++)
        x[i] = first[i] + rest[i];
}

START_TEST(a_sum_of_two_bfloat16_is_a_number_to_16_bits)
{
    enum { R = 19, N = 37, K = 70 };
    static const ag_dtype kept[] = { AG_BF16, AG_INT8 };
    for (int k = 0; k < 2; k++) {
        tensor *w = weight(kept[k], N, K, 5);
        const ag_frozen m = matrix(w);
        real *x = numbers(R * K, 6), y[R * N], pairs[R * N];
        double right[R * N];
        x[3] = INFINITY;
        bf16_product_by(bf16_tile_plain, &m, 2, R, x, ag_alloc(t, bf16_scratch(&m, 2, R)), 0, y);
        ck_assert(!isfinite((double)y[0]) && isfinite((double)y[N]));      /* and no worse */
        x[3] = 1;
        by_hand(w, false, R, x, 0, NULL, right);
        bf16_product_by(bf16_tile_plain, &m, 2, R, x, ag_alloc(t, bf16_scratch(&m, 2, R)), 0, y);
        for (long i = 0; i < R * N; i++)
            ck_assert_msg(fabs((double)y[i] - right[i]) < 3e-5 * sqrt(K), "%g, %g", (double)y[i], right[i]);
        ag_compute(t, AG_PAIRS);
        ag_weight_product(t, false, R, x, w, 0, pairs);
        ag_compute(t, AG_EXACT);
        for (long i = 0; i < R * N; i++)
            ck_assert_msg(fabs((double)pairs[i] - right[i]) < 3e-5 * sqrt(K), "%g", (double)pairs[i]);
        two_terms(R * K, x);
        by_hand(w, false, R, x, 0, NULL, right);
        if (REAL == 32)
            near(R * N, K, y, right, "two terms");
    }
}
END_TEST

START_TEST(products_give_their_scratch_back)
{
    enum { R = 20, N = 70, K = 50 };
    real *x = numbers(R * K, 6), *dy = numbers(R * N, 8);
    real *y = ag_alloc_real(t, R * N), *dx = ag_alloc_real(t, R * K);
    for (ag_precision how = AG_EXACT; how <= AG_ONCE; how++)
        for (int type = 0; type < TYPES; type++) {
            tensor *w = weight(types[type], N, K, 5);
            ag_compute(t, how);
            ag_mark before = ag_here(t);
            ag_weight_product(t, false, R, x, w, 0, y);
            ag_weight_back(t, R, dy, w, 0, dx);
            ag_mark after = ag_here(t);
            ck_assert(!memcmp(&before, &after, sizeof before));
        }
    ag_compute(t, AG_EXACT);
}
END_TEST

static const struct { long R, N, K; } products[] = { { 1, 130, 70 }, { 16, 40, 300 }, { 17, 200, 33 },
                                                     { 70, 500, 1300 } };

static void product(const tensor *w, bool rounded, long R, const real *x, real beta, real *y)
{
    ag_compute(t, rounded ? AG_ONCE : AG_EXACT);
    ag_weight_product(t, false, R, x, w, beta, y);
    ag_compute(t, AG_EXACT);
}

START_TEST(products_are_those_of_the_widened_matrix)
{
    long R = products[_i].R, N = products[_i].N, K = products[_i].K;
    for (int type = 0; type < TYPES; type++)
        for (int beta = 0; beta < 2; beta++)
            for (int rounded = 0; rounded < 2; rounded++) {
                ag_mark mark = ag_here(t);
                tensor *w = weight(types[type], N, K, 5);
                real *x = numbers(R * K, 6), *y = numbers(R * N, 7), *old = numbers(R * N, 7);
                double *right = ag_alloc(t, R * N * (long)sizeof *right);
                by_hand(w, rounded, R, x, beta, old, right);
                product(w, rounded, R, x, (real)beta, y);
                near(R * N, K, y, right, ag_dtype_name(types[type]));
                if (rounded) {                             /* the tile of pairs, in plain C */
                    const ag_frozen m = matrix(w);
                    memcpy(y, old, (size_t)(R * N) * sizeof *y);
                    bf16_product_by(bf16_tile_plain, &m, 1, R, x, ag_alloc(t, bf16_scratch(&m, 1, R)), (real)beta,
                                    y);
                    if (REAL == 32)
                        near(R * N, K, y, right, "tile");
                }
                ag_rewind(t, mark);
            }
}
END_TEST

START_TEST(products_have_the_same_bits_for_any_number_of_threads)
{
    long R = products[_i].R, N = products[_i].N, K = products[_i].K;
    real *x = numbers(R * K, 6), *dy = numbers(R * N, 8), *first = ag_alloc_real(t, R * N),
         *y = ag_alloc_real(t, R * N);
    real *first_dx = ag_alloc_real(t, R * K), *dx = ag_alloc_real(t, R * K);
    for (int type = 0; type < TYPES; type++)
        for (int rounded = 0; rounded < 2; rounded++)
            for (int k = 0; k < 4; k++) {
                tensor *w = weight(types[type], N, K, 5);
                ag_threads((int[]){ 1, 3, 4, 8 }[k]);
                product(w, rounded, R, x, 0, k ? y : first);
                ag_weight_back(t, R, dy, w, 0, k ? dx : first_dx);
                if (k)
                    ck_assert(!memcmp(first, y, (size_t)(R * N) * sizeof *y)
                              && !memcmp(first_dx, dx, (size_t)(R * K) * sizeof *dx));
            }
}
END_TEST

#if REAL == 32 && defined __x86_64__
START_TEST(pairs_in_one_instruction_are_right)
{
    enum { R = 23, N = 60, K = 4500 };
    if (!bf16_tile_here())
        return;                                            /* a CPU without vdpbf16ps */
    for (int type = 0; type < TYPES; type++)
        for (int terms = 1; terms <= 2; terms++) {
            tensor *w = weight(types[type], N, K, 5);
            const ag_frozen m = matrix(w);
            real *x = numbers(R * K, 6), *y = numbers(R * N, 7);
            double *right = ag_alloc(t, R * N * (long)sizeof *right);
            void *scratch = ag_alloc(t, bf16_scratch(&m, terms, R));
            bf16_product_by(bf16_tile_avx512, &m, terms, R, x, scratch, 0, y);
            if (terms == 2)
                two_terms(R * K, x);
            by_hand(w, terms == 1, R, x, 0, NULL, right);
            if (terms == 1 || types[type] == AG_BF16 || types[type] == AG_INT8)
                near(R * N, K, y, right, "vdpbf16ps");
        }
}
END_TEST
#endif

START_TEST(what_is_learned_is_never_rounded)
{
    const real values[] = { 1.001, 2.003, 3.007, 4.001 };
    tensor *w = ag_leaf(t, DIMS(1, 4), values), *x = ag_copy_in(t, DIMS(1, 4), values);
    real exact = ag_value(ag_linear(t, x, w, NULL, AG_NONE));
    ag_compute(t, AG_ONCE);
    ck_assert(ag_value(ag_linear(t, x, w, NULL, AG_NONE)) == exact);
    ag_record_on(t, false);
    real near = ag_value(ag_linear(t, x, w, NULL, AG_NONE));
    ck_assert(near != exact && fabs((double)(near - exact)) < 0.02 * (double)exact);
    ck_assert_int_eq(ag_compute(t, AG_EXACT), AG_ONCE);
}
END_TEST

/* ---- files --------------------------------------------------------------------------------------------- */
static blip2_config towers(blip2_llm_kind llm)
{
    blip2_config c = tiny_config();
    c.stage1 = false;
    c.qformer.text = c.qformer.head = false;
    c.vision = (blip2_vit_config){ BLIP2_VIT_EVA, .image_size = 28, .patch = 14, .width = 48, .depth = 2,
                                   .heads = 4, .hidden = 96, .init_std = 0.05, .position_std = 0.05 };
    c.qformer.memory_width = 48;
    c.llm = llm;
    c.opt = tiny_opt_config();
    c.opt.width = 128;
    c.opt.hidden = 512;
    c.opt.vocab = 900;
    c.opt.init_std = 0.2;
    c.t5 = tiny_t5_config();
    c.t5.width = 128;
    c.t5.hidden = 256;
    c.t5.vocab = 900;
    return c;
}

static void build(blip2_model *m, const blip2_config *c, ag_dtype type)
{
    nn_store *s = nn_store_new(11);
    blip2_model_init(m, s, c);
    nn_freeze(s, "");
    if (type != AG_REAL) {
        ck_assert_int_gt(nn_keep_as(s, "visual_encoder", type), 0);
        ck_assert_int_gt(nn_keep_as(s, blip2_llm_of(c).parameters, type), 0);
    }
    ck_assert_msg(nn_build(s, false, &e), "%s", e.text);
    tiny_shake(s);
}

static void same_models(const blip2_model *a, const blip2_model *b)
{
    for (long i = 0; i < a->store->count; i++) {
        const nn_entry *p = &a->store->entries[i];
        const tensor *x = p->value, *y = nn_find(b->store, p->name);
        ck_assert_msg(y && (x->frozen != NULL) == (y->frozen != NULL), "%s", p->name);
        ck_assert(!x->frozen || x->frozen->type == y->frozen->type);
        real *u = ag_alloc_real(t, x->size), *v = ag_alloc_real(t, x->size);
        ag_read(x, u);
        ag_read(y, v);
        ck_assert_msg(!memcmp(u, v, (size_t)x->size * sizeof *u), "%s", p->name);
    }
}

START_TEST(a_model_in_low_precision_comes_back_to_the_bit)
{
    blip2_model m, back;
    bool sealed;
    blip2_config c = towers(_i % 2 ? BLIP2_LLM_T5 : BLIP2_LLM_OPT);
    build(&m, &c, types[1 + _i / 2]);
    ck_assert_msg(blip2_save(&m, IN_FOLDER("m.h5"), "made", NULL, 0, &e), "%s", e.text);
    ck_assert_msg(blip2_open(&back, IN_FOLDER("m.h5"), &sealed, &e) && sealed, "%s", e.text);
    same_models(&m, &back);
    ck_assert_msg(blip2_save(&back, IN_FOLDER("again.h5"), "made", NULL, 0, &e), "%s", e.text);
    long n, k;
    char *one = file_load(IN_FOLDER("m.h5"), 1L << 30, &n, &e),
         *two = file_load(IN_FOLDER("again.h5"), 1L << 30, &k, &e);
    ck_assert(one && two && n == k && !memcmp(one, two, (size_t)n));
    mem_free(one);
    mem_free(two);
    blip2_close(&m);
    blip2_close(&back);
}
END_TEST

/* Opened to learn, the same file gives ordinary parameters of the same numbers. */
START_TEST(what_learns_is_widened)
{
    blip2_model m, back;
    bool sealed;
    blip2_config c = towers(BLIP2_LLM_OPT);
    build(&m, &c, types[1 + _i]);
    ck_assert(blip2_save(&m, IN_FOLDER("m.h5"), "made", NULL, 0, &e));
    ck_assert_msg(blip2_open_case(&back, IN_FOLDER("m.h5"), (const char *const[]){ "visual_encoder", NULL },
                                  &sealed, &e),
                  "%s", e.text);
    for (long i = 0; i < back.store->count; i++) {
        const nn_entry *p = &back.store->entries[i];
        const tensor *x = nn_find(m.store, p->name);
        bool frozen = nn_has_prefix(p->name, "visual_encoder");
        ck_assert_msg((p->value->frozen != NULL) == (frozen && x->frozen), "%s", p->name);
        real *u = ag_alloc_real(t, x->size), *v = ag_alloc_real(t, x->size);
        ag_read(x, u);
        ag_read(p->value, v);
        ck_assert(!memcmp(u, v, (size_t)x->size * sizeof *u));
    }
    blip2_close(&m);
    blip2_close(&back);
}
END_TEST

#if REAL == 32 && !defined __SANITIZE_ADDRESS__ /* double keeps what stands in the file as float */
static long resident(void)
{
    long pages = 0, all;
    FILE *f = fopen("/proc/self/statm", "r");
    ck_assert(f && fscanf(f, "%ld %ld", &all, &pages) == 2);
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

START_TEST(a_loaded_model_takes_the_memory_of_its_file)
{
    blip2_model m;
    bool sealed;
    blip2_config c = towers(BLIP2_LLM_OPT);
    struct stat file;
    c.opt.width = 512;
    c.opt.hidden = 2048;
    c.opt.vocab = 8000;
    c.opt.layers = 5;
    build(&m, &c, types[1 + _i]);
    ck_assert(blip2_save(&m, IN_FOLDER("m.h5"), "made", NULL, 0, &e));
    blip2_close(&m);
    ck_assert_int_eq(stat(IN_FOLDER("m.h5"), &file), 0);
    long before = resident();
    ck_assert_msg(blip2_open(&m, IN_FOLDER("m.h5"), &sealed, &e), "%s", e.text);
    double share = (double)(resident() - before) / (double)file.st_size;
    ck_assert_msg(share > 0.9 && share < 1.1, "%.3f of %ld bytes", share, (long)file.st_size);
    blip2_close(&m);
}
END_TEST
#endif

/* ---- bad files ----------------------------------------------------------------------------------------- */
static void refused(const char *path, const char *says)
{
    blip2_model m;
    bool sealed;
    ck_assert(!blip2_open(&m, path, &sealed, &e));
    ck_assert_msg(strstr(e.text, says) != NULL, "%s", e.text);
}

/* A model file of int8 whose matrix fc1 of layer 0 has other scales, or none. */
static const char *with_scales(long n)
{
    static const char name[] = "opt_model.model.decoder.layers.0.fc1.weight";
    static char path[512];
    blip2_model m;
    blip2_config c = towers(BLIP2_LLM_OPT);
    build(&m, &c, AG_INT8);
    h5_out *f = h5_create(folder_path(path, "bad.h5"), &e);
    ck_assert(f && blip2_write_head(&m, f, "made", NULL, 0));
    nn_save(m.store, f, name);
    const tensor *x = nn_find(m.store, name);
    char data[NN_NAME], scale[NN_NAME + 8];
    nn_dataset(name, data);
    snprintf(scale, sizeof scale, "%s.scale", data);
    h5_write(f, data, H5_INT8S, 2, x->dim, x->frozen->data);
    real *ones = numbers(n + 1, 3);
    if (n)
        h5_write(f, scale, H5_REALS, 1, &n, ones);
    ck_assert_msg(h5_finish(f, &e), "%s", e.text);
    blip2_close(&m);
    return path;
}

START_TEST(scales_that_are_missing_or_too_few_are_refused)
{
    refused(with_scales(0), "fc1/weight.scale: missing");
    refused(with_scales(7), "fc1/weight.scale: shape; expected [512], found [7]");
    blip2_model m;
    bool sealed;
    ck_assert_msg(blip2_open(&m, with_scales(512), &sealed, &e), "%s", e.text);
    blip2_close(&m);
}
END_TEST

START_TEST(a_flipped_bit_of_a_low_matrix_is_found)
{
    blip2_model m;
    blip2_config c = towers(BLIP2_LLM_OPT);
    long bytes;
    build(&m, &c, types[1 + _i]);
    ck_assert(blip2_save(&m, IN_FOLDER("m.h5"), "made", NULL, 0, &e));
    char *all = file_load(IN_FOLDER("m.h5"), 1L << 30, &bytes, &e);
    const tensor *x = nn_find(m.store, "opt_model.model.decoder.layers.1.fc2.weight");
    long size = x->size * frozen_width(x->frozen->type);
    char *at = memmem(all, (size_t)bytes, x->frozen->data, (size_t)size);
    ck_assert_ptr_nonnull(at);
    at[size / 2] ^= 1;
    file_out *f = file_create(IN_FOLDER("flipped.h5"), &e);
    file_write(f, all, bytes);
    ck_assert(file_finish(f, &e));
    refused(IN_FOLDER("flipped.h5"), "layers/1/fc2/weight: damaged: its digest differs");
    mem_free(all);
    blip2_close(&m);
}
END_TEST

/* ---- models -------------------------------------------------------------------------------------------- */
/* The same model with every low matrix widened into an ordinary one. */
static void widened(blip2_model *to, const blip2_model *from)
{
    nn_store *s = nn_store_new(0);
    blip2_model_init(to, s, &from->config);
    nn_freeze(s, "");
    ck_assert(nn_build(s, false, &e));
    for (long i = 0; i < s->count; i++)
        if (!s->entries[i].alias_of)
            ag_read(nn_find(from->store, s->entries[i].name), s->entries[i].value->data);
}

static tensor *seen(const blip2_model *m)
{
    tensor *pictures = tiny_normal(t, 3,
                                   DIMS(2, 3, m->config.vision.image_size, m->config.vision.image_size));
    return blip2_vision_features(m, t, pictures);
}

static blip2_sequence *said(const blip2_model *m, int beams)
{
    static const int ids[] = { 2, 9, 11, 2, 9, 11 };
    static const unsigned char ones[] = { 1, 1, 1, 1, 1, 1 };
    blip2_generate o = { .beams = beams, .max_length = 8, .min_length = 1, .returns = 1, .length_penalty = 1,
                         .repetition_penalty = 1 };
    blip2_sequence *out = ag_alloc(t, 2 * (long)sizeof *out);
    blip2_llm_generate(m, t, seen(m), (blip2_text){ 0 }, (blip2_text){ 2, 3, ids, ones }, &o, out);
    return out;
}

/* Whole models: pictures through the tower, the Q-Former, and words by greedy and beam search. */
START_TEST(a_low_model_says_what_the_widened_one_says)
{
    blip2_model low, wide;
    blip2_config c = towers(_i % 2 ? BLIP2_LLM_T5 : BLIP2_LLM_OPT);
    build(&low, &c, types[1 + _i / 2]);
    widened(&wide, &low);
    ag_record_on(t, false);
    tensor *a = seen(&low), *b = seen(&wide);
    ck_assert_double_le(tiny_distance(a, b), (REAL == 64 ? 1e-12 : 2e-5));
    for (int beams = 1; beams <= 5; beams += 4) {
        blip2_sequence *x = said(&low, beams), *y = said(&wide, beams);
        for (int r = 0; r < 2; r++) {
            ck_assert(x[r].length == y[r].length && x[r].length > 1);
            ck_assert(!memcmp(x[r].ids, y[r].ids, (size_t)x[r].length * sizeof(int)));
            ck_assert_double_eq_tol(x[r].score, y[r].score, REAL == 64 ? 1e-11 : 1e-4);
        }
    }
    blip2_close(&low);
    blip2_close(&wide);
}
END_TEST

START_TEST(bf16_products_change_features_a_little)
{
    blip2_model m;
    blip2_config c = towers(BLIP2_LLM_OPT);
    build(&m, &c, AG_BF16);
    ag_record_on(t, false);
    tensor *exact = seen(&m);
    ag_compute(t, AG_ONCE);
    double far = tiny_distance(exact, seen(&m));
    ck_assert_msg(far > 1e-5 && far < 0.05, "%g", far);
    blip2_close(&m);
}
END_TEST

Suite *suite_low(void)
{
    Suite *s = suite_create("low");
    TCase *c = tcase_create("low");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, every_number_of_16_bits_survives_widening);
    tcase_add_test(c, rounding_is_to_the_nearest_and_to_even);
    tcase_add_test(c, int8_is_off_by_half_a_step_at_most);
    tcase_add_loop_test(c, few_rows_are_right_by_every_set_of_instructions, 0, 4);
    tcase_add_test(c, a_row_is_the_same_however_many_are_computed_with_it);
    tcase_add_loop_test(c, products_are_those_of_the_widened_matrix, 0, 4);
    tcase_add_loop_test(c, products_have_the_same_bits_for_any_number_of_threads, 0, 4);
#if REAL == 32 && defined __x86_64__
    tcase_add_test(c, pairs_in_one_instruction_are_right);
#endif
    tcase_add_test(c, a_sum_of_two_bfloat16_is_a_number_to_16_bits);
    tcase_add_test(c, products_give_their_scratch_back);
    tcase_add_test(c, what_is_learned_is_never_rounded);
    tcase_add_loop_test(c, a_model_in_low_precision_comes_back_to_the_bit, 0, 6);
    tcase_add_loop_test(c, what_learns_is_widened, 0, 3);
#if REAL == 32 && !defined __SANITIZE_ADDRESS__
    tcase_add_loop_test(c, a_loaded_model_takes_the_memory_of_its_file, 0, 3);
#endif
    tcase_add_test(c, scales_that_are_missing_or_too_few_are_refused);
    tcase_add_loop_test(c, a_flipped_bit_of_a_low_matrix_is_found, 0, 3);
    tcase_add_loop_test(c, a_low_model_says_what_the_widened_one_says, 0, 6);
    tcase_add_test(c, bf16_products_change_features_a_little);
    suite_add_tcase(s, c);
    return s;
}
