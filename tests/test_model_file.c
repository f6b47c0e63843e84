/* test_model_file.c - a model is one file: it comes back to the bit, and what is wrong is refused by name. */
#include "tests/tests.h"
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static error e;
static nn_store *store;
static blip2_model model;

static blip2_config small(void)
{
    blip2_config c = blip2_config_default();
    c.vision = (blip2_vit_config){ BLIP2_VIT_CLIP, .image_size = 8, .patch = 4, .width = 8, .depth = 1,
        .heads = 2, .hidden = 12, .init_std = 0.1, .position_std = 0.1 };
    c.qformer = (blip2_qformer_config){ .width = 8, .layers = 2, .heads = 2, .hidden = 12, .queries = 3,
        .vocab = 11, .positions = 9, .cross_attention_freq = 2, .dropout = 0.1, .eps = 1e-12, .init_std = 0.1,
        .query_std = 0.3, .output_scale = 0.5, .text = true, .head = true };
    c.embed = 5;
    c.max_text = 9;
    c.llm = BLIP2_LLM_OPT;
    c.opt = (blip2_opt_config){ .vocab = 13, .width = 6, .layers = 1, .heads = 2, .hidden = 10,
        .positions = 16, .dropout = 0.1, .init_std = 0.1, .bos = 2, .eos = 4, .pad = 1 };
    strcpy(c.prompt, "a photo of");
    c.cls = 1, c.sep = 2, c.dec = 10;
    return c;
}

static void begin(void)
{
    folder_begin();
    blip2_config c = small();
    store = nn_store_new(7);
    blip2_model_init(&model, store, &c);
    ck_assert(nn_build(store, true, &e));
    for (long i = 0; i < store->trainable; i++) {  /* numbers that no float holds, in the double build */
        store->values[i] = (real)(store->values[i] * 1.0000000001);
        store->m[i] = (real)i / 3;
        store->v[i] = (real)1 / (real)(i + 7);
    }
}

static void end(void)
{
    nn_store_free(store);
    folder_end();
}

static const blip2_part parts[] = { { "bert/vocab.txt", "[PAD]\n[CLS]\n", 12 },
                                    { "llm/merges.txt", "a b\n", 4 },
                                    { "llm/vocab.json", "{\"a\": 0}", 8 } };

static void save(const char *path)
{
    ck_assert_msg(blip2_save(&model, path, "made by a test", parts, 3, &e), "%s", e.text);
}

/* The names of two models and their numbers, to the bit. */
static void same_models(const nn_store *a, const nn_store *b)
{
    ck_assert_int_eq(a->count, b->count);
    for (long i = 0; i < a->count; i++) {
        const tensor *x = a->entries[i].value, *y = nn_find(b, a->entries[i].name);
        ck_assert_msg(y && y->size == x->size, "%s", a->entries[i].name);
        ck_assert_msg(!memcmp(x->data, y->data, (size_t)x->size * sizeof(real)), "%s differs",
                      a->entries[i].name);
    }
}

START_TEST(a_model_comes_back_to_the_bit)
{
    blip2_model back;
    bool sealed = false;
    save(IN_FOLDER("m.h5"));
    ck_assert_msg(blip2_open(&back, IN_FOLDER("m.h5"), &sealed, &e), "%s", e.text);
    ck_assert(sealed);
    same_models(store, back.store);
    ck_assert_int_eq(back.config.opt.hidden, 10);
    ck_assert(back.config.qformer.output_scale == 0.5 && back.config.vision.kind == BLIP2_VIT_CLIP);
    ck_assert_str_eq(back.config.prompt, "a photo of");
    blip2_close(&back);
    ck_assert_ptr_null(back.store);
}
END_TEST

START_TEST(names_and_attributes_are_those_of_the_format)
{
    static const char *const names[] = {
        "query_tokens", "temp", "ln_vision/weight", "opt_proj/bias", "vision_proj/weight",
        "Qformer/bert/encoder/layer/0/attention/self/query/weight",
        "Qformer/cls/predictions/decoder/weight" };
    save(IN_FOLDER("m.h5"));
    h5 *f = h5_open(IN_FOLDER("m.h5"), &e);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ck_assert_msg(h5_has(f, names[i]) == H5_DATASET, "%s", names[i]);
    ck_assert(h5_same(f, "Qformer/cls/predictions/decoder/weight",
                      "Qformer/bert/embeddings/word_embeddings/weight"));
    char *format = h5_text(f, "", "format", &e), *source = h5_text(f, "", "source", &e);
    ck_assert_str_eq(format, "blip2");
    ck_assert_str_eq(source, "made by a test");
    mem_free(format);
    mem_free(source);
    h5_close(f);
}
END_TEST

START_TEST(tokenizer_files_come_back_to_the_byte)
{
    blip2_part back[BLIP2_PARTS];
    save(IN_FOLDER("m.h5"));
    h5 *f = h5_open(IN_FOLDER("m.h5"), &e);
    ck_assert_int_eq(blip2_read_parts(f, "none", back, &e), 0);
    ck_assert_int_eq(blip2_read_parts(f, "bert", back, &e), 1);
    ck_assert_str_eq(back[0].name, "vocab.txt");
    ck_assert_int_eq(back[0].size, 12);
    ck_assert_mem_eq(back[0].bytes, parts[0].bytes, 12);
    blip2_free_parts(back, 1);
    ck_assert_int_eq(blip2_read_parts(f, "llm", back, &e), 2);
    ck_assert_str_eq(back[1].name, "vocab.json");
    ck_assert_mem_eq(back[1].bytes, parts[2].bytes, 8);
    blip2_free_parts(back, 2);
    h5_close(f);
}
END_TEST

START_TEST(equal_models_are_equal_files)
{
    save(IN_FOLDER("a.h5"));
    save(IN_FOLDER("b.h5"));
    ck_assert(folder_same("a.h5", "b.h5"));
}
END_TEST

START_TEST(checkpoints_carry_the_moments_and_load_as_models)
{
    nn_store *again = nn_store_new(8);
    blip2_model other;
    blip2_config c = small();
    h5_out *out = h5_create(IN_FOLDER("m.h5"), &e);
    ck_assert(blip2_write(&model, out, "step 3", NULL, 0) && nn_save_moments(store, out));
    h5_write(out, "state/step", H5_LONGS, 0, NULL, (int64_t[]){ 3 });
    ck_assert_msg(h5_finish(out, &e), "%s", e.text);

    blip2_model_init(&other, again, &c);
    ck_assert(nn_build(again, true, &e));
    h5 *f = h5_open(IN_FOLDER("m.h5"), &e);
    ck_assert_msg(blip2_load(&other, f, "", &e) && nn_load_moments(again, f, &e), "%s", e.text);
    h5_close(f);
    same_models(store, again);
    ck_assert_mem_eq(store->m, again->m, (size_t)store->trainable * sizeof(real));
    ck_assert_mem_eq(store->v, again->v, (size_t)store->trainable * sizeof(real));
    nn_store_free(again);
}
END_TEST

START_TEST(a_tower_is_taken_from_another_model)
{
    blip2_config c = small();
    nn_store *other = nn_store_new(9), *plain = nn_store_new(9);
    blip2_model m, unchanged;
    c.llm = BLIP2_LLM_NONE;
    blip2_model_init(&m, other, &c);
    blip2_model_init(&unchanged, plain, &c);
    ck_assert(nn_build(other, false, &e) && nn_build(plain, false, &e));
    save(IN_FOLDER("m.h5"));
    h5 *f = h5_open(IN_FOLDER("m.h5"), &e);
    ck_assert_msg(blip2_load(&m, f, "visual_encoder", &e), "%s", e.text);
    ck_assert(!blip2_load(&m, f, "opt_model", &e));
    ck_assert_msg(strstr(e.text, "no parameters under \"opt_model\"") != NULL, "%s", e.text);
    h5_close(f);
    for (long i = 0; i < other->count; i++) {
        const nn_entry *p = &other->entries[i];
        bool tower = nn_has_prefix(p->name, "visual_encoder");
        const tensor *want = nn_find(tower ? store : plain, p->name);
        ck_assert_msg(!memcmp(p->value->data, want->data, (size_t)want->size * sizeof(real)), "%s", p->name);
    }
    nn_store_free(other);
    nn_store_free(plain);
}
END_TEST

/* ---- what is wrong with a file ------------------------------------------------------------------------- */
static hid_t edit(void)
{
    save(IN_FOLDER("m.h5"));
    hid_t f = H5Fopen(IN_FOLDER("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    ck_assert_int_ge(f, 0);
    return f;
}

static void add(hid_t f, const char *name, hid_t type, int ndim, const hsize_t *dim, const void *data)
{
    hid_t space = ndim ? H5Screate_simple(ndim, dim, NULL) : H5Screate(H5S_SCALAR);
    hid_t d = H5Dcreate2(f, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    ck_assert_int_ge(H5Dwrite(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), 0);
    H5Dclose(d);
    H5Sclose(space);
}

static bool opens(hid_t f)
{
    blip2_model back;
    bool sealed;
    H5Fclose(f);
    e.text[0] = 0;
    bool ok = blip2_open(&back, IN_FOLDER("m.h5"), &sealed, &e);
    if (ok) {
        ck_assert(!sealed);                                /* HDF5 cut the seal off when it wrote */
        blip2_close(&back);
    } else {
        ck_assert_ptr_null(back.store);
        ck_assert_int_eq(e.kind, ERROR_RUN);
    }
    return ok;
}

#define REFUSED(f, what) do { \
    ck_assert(!opens(f)); \
    ck_assert_msg(strstr(e.text, what) != NULL, "%s", e.text); \
} while (0)

START_TEST(an_edited_file_opens_without_its_seal)
{
    hid_t f = edit();
    real x[8];
    const tensor *w = nn_find(store, "ln_vision.weight");
    ck_assert_int_eq(w->size, 8);
    memcpy(x, w->data, sizeof x);
    H5Ldelete(f, "ln_vision/weight", H5P_DEFAULT);
    double wide[8];
    for (int i = 0; i < 8; i++)
        wide[i] = (double)x[i];
    add(f, "ln_vision/weight", H5T_NATIVE_DOUBLE, 1, (hsize_t[]){ 8 }, wide);
    ck_assert_msg(opens(f), "%s", e.text);
}
END_TEST

START_TEST(missing_parameters_are_named_all_together)
{
    hid_t f = edit();
    H5Ldelete(f, "ln_vision/weight", H5P_DEFAULT);
    REFUSED(f, "m.h5: ln_vision/weight: missing");
    ck_assert_ptr_null(strchr(e.text, '\n'));
    f = edit();
    H5Ldelete(f, "ln_vision/weight", H5P_DEFAULT);
    H5Ldelete(f, "temp", H5P_DEFAULT);
    H5Ldelete(f, "query_tokens", H5P_DEFAULT);
    add(f, "query_tokens", H5T_NATIVE_FLOAT, 1, (hsize_t[]){ 2 }, (float[2]){ 0 });
    add(f, "zz\x01unknown", H5T_NATIVE_FLOAT, 1, (hsize_t[]){ 2 }, (float[2]){ 0 });
    REFUSED(f, "m.h5: does not fit the model: 4 parameters");
    ck_assert_ptr_nonnull(strstr(e.text, "\n  "));
    ck_assert_ptr_nonnull(strstr(e.text, "ln_vision/weight: missing"));
    ck_assert_ptr_nonnull(strstr(e.text, "temp: missing"));
    ck_assert_ptr_nonnull(strstr(e.text, "query_tokens: shape; expected [1,3,8], found [2]"));
    ck_assert_ptr_nonnull(strstr(e.text, "zz\\x01unknown: unexpected"));
}
END_TEST

START_TEST(names_that_only_look_like_a_parameter_are_unexpected)
{
    hid_t f = edit();
    add(f, "ln_vision.weight", H5T_NATIVE_FLOAT, 1, (hsize_t[]){ 8 }, (float[8]){ 0 });
    REFUSED(f, "ln_vision.weight: unexpected");
}
END_TEST

START_TEST(other_types_and_kinds_are_refused_by_name)
{
    hid_t f = edit();
    H5Ldelete(f, "ln_vision/bias", H5P_DEFAULT);
    add(f, "ln_vision/bias", H5T_NATIVE_INT, 1, (hsize_t[]){ 8 }, (int[8]){ 0 });
    REFUSED(f, "ln_vision/bias: type; expected float, found int");
    f = edit();
    H5Ldelete(f, "temp", H5P_DEFAULT);
    H5Gclose(H5Gcreate2(f, "temp", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    REFUSED(f, "temp: expected a dataset, found a group");
    f = edit();
    H5Ldelete(f, "temp", H5P_DEFAULT);
    H5Lcreate_external("other.h5", "/temp", f, "temp", H5P_DEFAULT, H5P_DEFAULT);
    REFUSED(f, "temp: expected a dataset, found a link");
}
END_TEST

START_TEST(tied_parameters_must_hold_the_same)
{
    static const char *const name = "Qformer/cls/predictions/decoder/weight";
    const tensor *w = nn_find(store, "Qformer.cls.predictions.decoder.weight");
    for (int change = 0; change < 2; change++) {
        double x[11 * 8];
        ck_assert_int_eq(w->size, 11 * 8);
        for (int i = 0; i < 11 * 8; i++)
            x[i] = (double)w->data[i] + (i == 40 && change);
        hid_t f = edit();
        H5Ldelete(f, name, H5P_DEFAULT);
        add(f, name, H5T_NATIVE_DOUBLE, 2, (hsize_t[]){ 11, 8 }, x);
        if (change)
            REFUSED(f, "is tied to Qformer/bert/embeddings/word_embeddings/weight");
        else
            ck_assert_msg(opens(f), "%s", e.text);
    }
}
END_TEST

static void write_attribute(hid_t f, const char *name, const char *value)
{
    H5Adelete(f, name);
    if (!value)
        return;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, H5T_VARIABLE);
    hid_t a = H5Acreate2(f, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(a, type, &value);
    H5Aclose(a);
    H5Sclose(space);
    H5Tclose(type);
}

START_TEST(attributes_that_are_wrong_are_refused)
{
    hid_t f = edit();
    write_attribute(f, "format", "weights");
    REFUSED(f, "format");
    f = edit();
    write_attribute(f, "format", NULL);
    REFUSED(f, "format");
    f = edit();
    H5Adelete(f, "format_version");
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t a = H5Acreate2(f, "format_version", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(a, H5T_NATIVE_INT, (int[]){ 2 });
    H5Aclose(a);
    H5Sclose(space);
    REFUSED(f, "expected 1, found 2");
    f = edit();
    write_attribute(f, "config", NULL);
    REFUSED(f, "attribute config: missing");
    f = edit();
    write_attribute(f, "config", "qformer:\n  widht: 8\n");
    REFUSED(f, "qformer.widht: unknown key, did you mean qformer.width?");
    f = edit();
    write_attribute(f, "config", "qformer:\n  width: 7\n  heads: 2\n");
    REFUSED(f, "expected a multiple of qformer.heads");
    f = edit();
    write_attribute(f, "config", "{}");                    /* the published size: every shape differs */
    REFUSED(f, "does not fit the model");
    ck_assert(!MEMORY_IS_OURS || mem_peak_bytes() >> 20 < 400);            /* no memory was taken */
}
END_TEST

START_TEST(parts_that_a_model_does_not_have_need_no_sizes)
{
    blip2_config c = tiny_config();
    nn_store *other = nn_store_new(3);
    blip2_model m, back;
    bool sealed;
    c.opt = (blip2_opt_config){ .vocab = 0 };
    blip2_model_init(&m, other, &c);
    ck_assert(nn_build(other, false, &e));
    ck_assert(blip2_save(&m, IN_FOLDER("m.h5"), "", NULL, 0, &e));
    ck_assert_msg(blip2_open(&back, IN_FOLDER("m.h5"), &sealed, &e), "%s", e.text);
    same_models(other, back.store);
    blip2_close(&back);
    nn_store_free(other);
    c.qformer.layers = 0;
    ck_assert(!blip2_config_check("c.yaml", &c, &e));
    ck_assert_str_eq(e.text, "c.yaml: qformer.layers: expected at least 1, found 0");
}
END_TEST

START_TEST(a_table_of_positions_of_another_grid_is_resized)
{
    blip2_config c = small();
    nn_store *larger = nn_store_new(9);
    blip2_model m;
    c.vision.image_size = 12;
    blip2_model_init(&m, larger, &c);
    ck_assert(nn_build(larger, false, &e));
    save(IN_FOLDER("m.h5"));
    h5 *f = h5_open(IN_FOLDER("m.h5"), &e);
    ck_assert_msg(blip2_load(&m, f, "visual_encoder", &e), "%s", e.text);
    h5_close(f);
    const tensor *from = model.vision.positions, *to = m.vision.positions;
    real *want = mem_new((size_t)to->size * sizeof *want);
    blip2_resize_positions(BLIP2_VIT_CLIP, 2, 3, 8, from->data, want);
    ck_assert_mem_eq(to->data, want, (size_t)to->size * sizeof *want);
    mem_free(want);
    nn_store_free(larger);
}
END_TEST

Suite *suite_model_file(void)
{
    Suite *s = suite_create("model_file");
    TCase *c = tcase_create("round trip"), *d = tcase_create("wrong");
    TCase *all[] = { c, d };
    for (int i = 0; i < 2; i++) {
        tcase_set_timeout(all[i], TEST_SECONDS);
        tcase_add_checked_fixture(all[i], begin, end);
        suite_add_tcase(s, all[i]);
    }
    tcase_add_test(c, a_model_comes_back_to_the_bit);
    tcase_add_test(c, names_and_attributes_are_those_of_the_format);
    tcase_add_test(c, tokenizer_files_come_back_to_the_byte);
    tcase_add_test(c, equal_models_are_equal_files);
    tcase_add_test(c, checkpoints_carry_the_moments_and_load_as_models);
    tcase_add_test(c, a_tower_is_taken_from_another_model);
    tcase_add_test(c, parts_that_a_model_does_not_have_need_no_sizes);
    tcase_add_test(c, a_table_of_positions_of_another_grid_is_resized);
    tcase_add_test(d, an_edited_file_opens_without_its_seal);
    tcase_add_test(d, missing_parameters_are_named_all_together);
    tcase_add_test(d, names_that_only_look_like_a_parameter_are_unexpected);
    tcase_add_test(d, other_types_and_kinds_are_refused_by_name);
    tcase_add_test(d, tied_parameters_must_hold_the_same);
    tcase_add_test(d, attributes_that_are_wrong_are_refused);
    return s;
}
