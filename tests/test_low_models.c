/* test_low_models.c - models whose frozen matrices stay in 16 or 8 bits: their files, their memory, files
 * that are damaged, and what they say. Numbers and products: test_low.c. */
#define _GNU_SOURCE                    /* memmem */
#include "autograd/internal.h"
#include "tests/tests.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static tape *t;
static error e;
static const ag_dtype types[] = { AG_F16, AG_BF16, AG_INT8 };

static void setup(void) { t = ag_tape_new(); }
static void teardown(void) { ag_tape_free(t); }

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
    build(&m, &c, types[_i / 2]);
    ck_assert_msg(blip2_save(&m, IN_FOLDER("m.h5"), "made", NULL, 0, &e), "%s", e.text);
    ck_assert_msg(blip2_open(&back, IN_FOLDER("m.h5"), &sealed, &e) && sealed, "%s", e.text);
    same_models(&m, &back);
    ck_assert_msg(blip2_save(&back, IN_FOLDER("again.h5"), "made", NULL, 0, &e), "%s", e.text);
    ck_assert(folder_same("m.h5", "again.h5"));
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
    build(&m, &c, types[_i]);
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
    build(&m, &c, types[_i]);
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
    real *ones = ag_alloc_real(t, n + 1);
    for (long i = 0; i < n; i++)
        ones[i] = 1;
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
    build(&m, &c, types[_i]);
    ck_assert(blip2_save(&m, IN_FOLDER("m.h5"), "made", NULL, 0, &e));
    char *all = folder_load("m.h5", &bytes);
    const tensor *x = nn_find(m.store, "opt_model.model.decoder.layers.1.fc2.weight");
    long size = x->size * frozen_width(x->frozen->type);
    char *at = memmem(all, (size_t)bytes, x->frozen->data, (size_t)size);
    ck_assert_ptr_nonnull(at);
    at[size / 2] ^= 1;
    folder_write_bytes("flipped.h5", all, bytes);
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
    build(&low, &c, types[_i / 2]);
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

Suite *suite_low_models(void)
{
    Suite *s = suite_create("low_models");
    TCase *c = tcase_create("low_models");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
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
