/* test_convert.c - models out into published forms and back, and what is told of files that do not fit. The
 * forms that others wrote are compared by `make golden`. */
#define _GNU_SOURCE
#include "convert/convert.h"
#include "convert/weights.h"
#include "data/data.h"
#include "tests/tests.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static error e;

/* ---- a model of every kind ------------------------------------------------------------------------- */
enum { WITH_OPT, WITH_T5, WITH_TIED_T5, RETRIEVAL, LAVIS_STAGE1, KINDS, NO_TOWER, WIDE_TOWER };

static blip2_config config_of(int kind)
{
    blip2_config c = tiny_config();
    c.vision = (blip2_vit_config){ BLIP2_VIT_EVA, .image_size = 8,  .patch = 4,
                                   .width = 12,   .depth = 2,       .heads = 2,
                                   .hidden = 20,  .init_std = 0.02, .position_std = 0.02 };
    if (kind == WIDE_TOWER)                                /* heads 64 wide, as those of published towers */
        c.vision.width = c.qformer.memory_width = 128;
    if (kind == NO_TOWER)
        c.vision = (blip2_vit_config){ .kind = BLIP2_VIT_NONE };
    c.stage1 = c.qformer.text = kind >= RETRIEVAL;
    c.qformer.head = kind == LAVIS_STAGE1;
    if (kind == WITH_OPT) {
        c.llm = BLIP2_LLM_OPT;
        c.opt = tiny_opt_config();
    } else if (kind <= WITH_TIED_T5) {
        c.llm = BLIP2_LLM_T5;
        c.t5 = (blip2_t5_config){ .vocab = 19,
                                  .width = 10,
                                  .layers = 2,
                                  .decoder_layers = 1,
                                  .heads = 2,
                                  .head_width = 4,
                                  .hidden = 14,
                                  .buckets = 8,
                                  .max_distance = 16,
                                  .dropout = 0.1,
                                  .eps = 1e-6,
                                  .init_factor = 1,
                                  .tied = kind == WITH_TIED_T5,
                                  .eos = 1 };
    }
    return c;
}

static const char *saved(int kind)
{
    static char path[512];
    blip2_model m;
    blip2_config c = config_of(kind);
    nn_store *s = nn_store_new(7);
    blip2_model_init(&m, s, &c);
    ck_assert(nn_build(s, false, &e));
    tiny_shake(s);
    ck_assert_msg(blip2_save(&m, folder_path(path, "model.h5"), "made", NULL, 0, &e), "%s", e.text);
    nn_store_free(s);
    return path;
}

static void convert(const char *from, const char *to)
{
    const char *const sources[] = { from };
    ck_assert_msg(convert_run(sources, 1, to, NULL, &e), "%s", e.text);
}

/* Parameters of both, to the bit; those that `but` begins may be missing from b. */
static long same_parameters(const char *a, const char *b, const char *but)
{
    blip2_model x, y;
    bool sealed;
    long met = 0;
    ck_assert_msg(blip2_open(&x, a, &sealed, &e), "%s", e.text);
    ck_assert_msg(blip2_open(&y, b, &sealed, &e), "%s", e.text);
    for (long i = 0; i < x.store->count; i++) {
        const nn_entry *p = &x.store->entries[i];
        const tensor *other = nn_find(y.store, p->name);
        if (but && nn_has_prefix(p->name, but))
            continue;
        ck_assert_msg(other && other->size == p->value->size
                          && !memcmp(other->data, p->value->data, (size_t)other->size * sizeof(real)),
                      "%s", p->name);
        met++;
    }
    blip2_close(&x);
    blip2_close(&y);
    return met;
}

START_TEST(what_is_exported_comes_back_to_the_bit)
{
    long left_out;
    const char *model = saved(_i);
    for (int hf = 0; hf < 2; hf++) {
        if (hf && _i == LAVIS_STAGE1)
            continue;                                      /* Hugging Face has no ITG head */
        ck_assert_msg(convert_export(model, IN_FOLDER("out"), hf, 400, &left_out, &e), "%s", e.text);
        ck_assert_int_eq(left_out, hf && _i == RETRIEVAL);                 /* temp */
        convert(IN_FOLDER("out"), IN_FOLDER("back.h5"));
        ck_assert(same_parameters(model, IN_FOLDER("back.h5"), hf && _i == RETRIEVAL ? "temp" : NULL) > 30);
    }
}
END_TEST

START_TEST(a_bias_of_three_parts_is_put_together_and_taken_apart)
{
    long left_out;
    ck_assert(convert_export(saved(WITH_OPT), IN_FOLDER("out"), true, -1, &left_out, &e));
    weights *w = weights_open(IN_FOLDER("out/model.safetensors"), &e);
    const weights_entry *x = weights_find(w, "vision_model.encoder.layers.1.self_attn.qkv.bias");
    real bias[36];
    ck_assert(x && x->size == 36 && weights_read_reals(w, x, bias, &e));
    blip2_model m;
    bool sealed;
    ck_assert(blip2_open(&m, IN_FOLDER("model.h5"), &sealed, &e));
    const real *q = nn_find(m.store, "visual_encoder.blocks.1.attn.q_bias")->data;
    const real *v = nn_find(m.store, "visual_encoder.blocks.1.attn.v_bias")->data;
    ck_assert(!memcmp(bias, q, 12 * sizeof *q) && !memcmp(bias + 24, v, 12 * sizeof *v));
    for (int i = 12; i < 24; i++)
        ck_assert(bias[i] == 0);
    ck_assert(q[0] != 0 && v[0] != 0);
    blip2_close(&m);
    weights_close(w);
}
END_TEST

/* In a header of safetensors, whose length stays: `from` becomes the shorter `to`, spaces go to its end. */
static void rename_in_header(char *bytes, const char *from, const char *to)
{
    uint64_t length = 0;
    memcpy(&length, bytes, 8);
    char *end = bytes + 8 + length, *at = bytes + 8;
    size_t n = strlen(from), m = strlen(to);
    while ((at = memmem(at, (size_t)(end - at), from, n))) {
        memcpy(at, to, m);
        memmove(at + m, at + n, (size_t)(end - at) - n);
        memset(end - (n - m), ' ', n - m);
        at += m;
    }
}

/* eva_vit_g.pth as it is published: bare names, and one block more than is run. */
START_TEST(a_tower_alone_is_a_model_to_start_from)
{
    long left_out, n;
    const char *model = saved(WIDE_TOWER);
    char whole[512];
    snprintf(whole, sizeof whole, "%s", model);
    ck_assert_msg(convert_export(model, IN_FOLDER("out"), false, -1, &left_out, &e), "%s", e.text);
    char *bytes = file_load(IN_FOLDER("out/model.safetensors"), 1 << 24, &n, &e);
    ck_assert(bytes != NULL);
    rename_in_header(bytes, "\"visual_encoder.", "\"");
    rename_in_header(bytes, "\"query_tokens\"", "\"query_t\"");
    rename_in_header(bytes, "\"blip2.config\"", "\"other\"");
    FILE *f = fopen(IN_FOLDER("eva.safetensors"), "w");
    ck_assert(f && fwrite(bytes, 1, (size_t)n, f) == (size_t)n && !fclose(f));
    mem_free(bytes);
    convert(IN_FOLDER("eva.safetensors"), IN_FOLDER("tower.h5"));
    blip2_model x;
    bool sealed;
    ck_assert_msg(blip2_open(&x, IN_FOLDER("tower.h5"), &sealed, &e), "%s", e.text);
    const blip2_vit_config *v = &x.config.vision;
    ck_assert(v->kind == BLIP2_VIT_EVA && v->depth == 1 && v->image_size == 8 && v->heads == 2);
    ck_assert(!x.config.qformer.queries && x.config.llm == BLIP2_LLM_NONE && !x.config.stage1);
    blip2_close(&x);
    ck_assert_int_gt(same_parameters(IN_FOLDER("tower.h5"), whole, NULL), 10);
}
END_TEST

START_TEST(a_model_without_a_tower_comes_back)
{
    long left_out;
    const char *model = saved(NO_TOWER);
    ck_assert(!convert_export(model, IN_FOLDER("out"), true, -1, &left_out, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "Hugging Face's BLIP-2 has a vision tower, this one has none"));
    ck_assert(access(IN_FOLDER("out"), F_OK) != 0);
    ck_assert_msg(convert_export(model, IN_FOLDER("out"), false, -1, &left_out, &e), "%s", e.text);
    convert(IN_FOLDER("out"), IN_FOLDER("back.h5"));
    ck_assert(same_parameters(model, IN_FOLDER("back.h5"), NULL) > 30);
}
END_TEST

START_TEST(files_of_another_model_are_not_mixed_with_an_export)
{
    static const char *const names[] = { "out/vocab.txt", "out/model-00001-of-00002.safetensors",
                                         "out/pytorch_model.bin.index.json" };
    long left_out;
    const char *model = saved(WITH_OPT);
    for (int i = 0; i < 3; i++) {
        ck_assert_msg(convert_export(model, IN_FOLDER("out"), true, -1, &left_out, &e), "%s", e.text);
        FILE *f = fopen(IN_FOLDER(names[i]), "w");
        ck_assert(f && !fclose(f));
        ck_assert(!convert_export(model, IN_FOLDER("out"), true, -1, &left_out, &e));
        ck_assert_ptr_nonnull(strstr(e.text, names[i] + strlen("out/")));
        ck_assert_int_eq(remove(IN_FOLDER(names[i])), 0);
    }
}
END_TEST

/* ---- what does not fit ----------------------------------------------------------------------------- */
static void refused(const char *const *sources, int n, const char *says)
{
    ck_assert(!convert_run(sources, n, IN_FOLDER("never.h5"), NULL, &e));
    ck_assert_msg(strstr(e.text, says) != NULL, "expected \"%s\", found \"%s\"", says, e.text);
    ck_assert(access(IN_FOLDER("never.h5"), F_OK) != 0);
}

static void rewrite(const char *path, const char *from, const char *to)
{
    long n;
    char *text = file_load(path, 1 << 26, &n, &e);
    char *at = text ? memmem(text, (size_t)n, from, strlen(from)) : NULL;
    ck_assert_msg(at && strlen(from) == strlen(to), "%s: %s", path, from);
    memcpy(at, to, strlen(to));
    FILE *f = fopen(path, "w");
    ck_assert(f && fwrite(text, 1, (size_t)n, f) == (size_t)n && !fclose(f));
    mem_free(text);
}

START_TEST(everything_that_does_not_fit_is_told_at_once)
{
    long left_out;
    const char *const folder[] = { IN_FOLDER("out") };
    ck_assert(convert_export(saved(WITH_OPT), folder[0], true, -1, &left_out, &e));
    rewrite(IN_FOLDER("out/model.safetensors"), "language_projection.bias", "language_projection.bear");
    rewrite(IN_FOLDER("out/model.safetensors"), "blip2.config", "other.config");
    rewrite(IN_FOLDER("out/config.json"), "\"ffn_dim\": 24", "\"ffn_dim\": 25");
    refused(folder, 1, "tensors missing, unexpected or of another shape");
    ck_assert_ptr_nonnull(strstr(e.text, "opt_proj.bias: missing; expected (16)"));
    ck_assert_ptr_nonnull(strstr(e.text, "language_projection.bear: unexpected"));
    ck_assert_ptr_nonnull(strstr(e.text, "fc1.weight: shape: expected (25,16), found [24,16]"));
}
END_TEST

/* One tensor more in a safetensors file that `export` wrote. */
static void add_tensor(const char *path, const char *name, const char *shape, const real *data, long count)
{
    long size;
    uint64_t header, whole;
    char *text = file_load(path, 1 << 26, &size, &e);
    ck_assert_ptr_nonnull(text);
    memcpy(&header, text, 8);
    long end = size - 8 - (long)header, bytes = count * (long)sizeof *data;
    char *brace = memrchr(text + 8, '}', header);
    char *more = mem_text(",\"%s\":{\"dtype\":\"F%d\",\"shape\":%s,\"data_offsets\":[%ld,%ld]}}", name,
                          (int)sizeof *data * 8, shape, end, end + bytes);
    whole = (uint64_t)(brace - text - 8) + strlen(more);
    FILE *f = fopen(path, "w");
    ck_assert(f && fwrite(&whole, 8, 1, f) && fwrite(text + 8, (size_t)(brace - text - 8), 1, f));
    ck_assert(fputs(more, f) >= 0 && fwrite(text + 8 + header, (size_t)end, 1, f));
    ck_assert(fwrite(data, (size_t)bytes, 1, f) && !fclose(f));
    mem_free(more);
    mem_free(text);
}

/* A second name beside the first: with the same numbers it is taken, with others it is a head of its own. */
static void head_beside_its_table(bool hf, const char *table, const char *head, const char *shape, long count)
{
    const char *const folder[] = { IN_FOLDER("out") };
    const char *path = "out/model.safetensors";
    real *x = mem_new((size_t)count * sizeof *x);
    long left_out;
    for (int other = 0; other < 2; other++) {
        ck_assert(convert_export(saved(hf ? WITH_OPT : LAVIS_STAGE1), folder[0], hf, -1, &left_out, &e));
        weights *w = weights_open(IN_FOLDER(path), &e);
        ck_assert(w && weights_find(w, table) && weights_find(w, table)->size == count);
        ck_assert(weights_read_reals(w, weights_find(w, table), x, &e));
        weights_close(w);
        x[count - 1] += (real)other;
        add_tensor(IN_FOLDER(path), head, shape, x, count);
        if (!other)
            convert(folder[0], IN_FOLDER("b.h5"));
    }
    refused(folder, 1, head);
    ck_assert_ptr_nonnull(strstr(e.text, ": differs from "));
    mem_free(x);
}

START_TEST(a_head_of_its_own_is_refused)
{
    head_beside_its_table(true, "language_model.model.decoder.embed_tokens.weight",
                          "language_model.lm_head.weight", "[23,16]", 23 * 16);
    head_beside_its_table(false, "Qformer.bert.embeddings.word_embeddings.weight",
                          "Qformer.cls.predictions.decoder.weight", "[29,12]", 29 * 12);
}
END_TEST

START_TEST(a_bias_that_has_no_thirds_is_refused)
{
    long left_out;
    real bias[37] = { 0 };
    const char *const folder[] = { IN_FOLDER("out") };
    ck_assert(convert_export(saved(WITH_OPT), folder[0], true, -1, &left_out, &e));
    rewrite(IN_FOLDER("out/model.safetensors"), "layers.1.self_attn.qkv.bias", "layers.1.self_attn.qkv.bear");
    add_tensor(IN_FOLDER("out/model.safetensors"), "vision_model.encoder.layers.1.self_attn.qkv.bias", "[37]",
               bias, 37);
    refused(folder, 1, "layers.1.self_attn.qkv.bias: shape: expected (12) in each third, found [37]");
}
END_TEST

START_TEST(of_several_files_that_of_transformers_is_taken)
{
    long left_out;
    FILE *f;
    ck_assert(convert_export(saved(WITH_OPT), IN_FOLDER("out"), true, -1, &left_out, &e));
    ck_assert((f = fopen(IN_FOLDER("out/model.safetensors.index.json"), "w")) && !fclose(f));
    convert(IN_FOLDER("out"), IN_FOLDER("b.h5"));
}
END_TEST

START_TEST(a_configuration_that_cannot_be_opened_is_refused)
{
    long left_out;
    const char *const folder[] = { IN_FOLDER("out") };
    ck_assert(convert_export(saved(WITH_OPT), folder[0], true, -1, &left_out, &e));
    rewrite(IN_FOLDER("out/model.safetensors"), "blip2.config", "other.config");
    rewrite(IN_FOLDER("out/config.json"), "\"model_type\": \"blip_2_qformer\"",
            "\"hidden_dropout_prob\": 2.00000");
    refused(folder, 1, "config.json: makes a model that cannot be opened");
    ck_assert_ptr_nonnull(strstr(e.text, "qformer.dropout: expected"));
}
END_TEST

START_TEST(sources_that_are_no_model_are_refused)
{
    const char *const none[] = { IN_FOLDER("none") }, *const folder[] = { IN_FOLDER("") };
    refused(none, 1, "no such file or folder");
    refused(folder, 1, "neither config.json nor a tokenizer's files in it");
    FILE *f = fopen(IN_FOLDER("config.json"), "w");
    ck_assert(f && fputs("{\"model_type\": \"llama\"}", f) >= 0 && !fclose(f));
    refused(folder, 1, "model_type: expected blip-2, opt, t5 or bert, found llama");
    f = fopen(IN_FOLDER("config.json"), "w");
    ck_assert(
        f
        && fputs("{\"model_type\": \"opt\", \"hidden_size\": 1.5, \"activation_function\": \"gelu\"}", f) >= 0
        && !fclose(f));
    refused(folder, 1, "2 entries cannot be taken over");
    f = fopen(IN_FOLDER("config.json"), "w");
    ck_assert(f && fputs("{\"model_type\": \"opt\"}", f) >= 0 && !fclose(f));
    refused(folder, 1, "no weights in it");
}
END_TEST

static void write_generation(const char *text)
{
    FILE *f = fopen(IN_FOLDER("out/generation_config.json"), "w");
    ck_assert(f && fputs(text, f) >= 0 && !fclose(f));
}

START_TEST(what_generation_is_told_beats_the_model)
{
    long left_out;
    const char *const folder[] = { IN_FOLDER("out") };
    for (int kind = 0; kind < 2; kind++) {
        blip2_model m;
        bool sealed;
        ck_assert(convert_export(saved(kind ? WITH_T5 : WITH_OPT), folder[0], true, -1, &left_out, &e));
        rewrite(IN_FOLDER("out/model.safetensors"), "blip2.config", "other.config");
        write_generation("{\"eos_token_id\": [7, 2], \"pad_token_id\": 3, \"num_beams\": 4}");
        convert(folder[0], IN_FOLDER("b.h5"));
        ck_assert_msg(blip2_open(&m, IN_FOLDER("b.h5"), &sealed, &e), "%s", e.text);
        ck_assert_int_eq(kind ? m.config.t5.eos : m.config.opt.eos, 7);
        ck_assert_int_eq(kind ? m.config.t5.pad : m.config.opt.pad, 3);
        blip2_close(&m);
    }
    write_generation("{\"eos_token_id\": \"seven\"}");
    refused(folder, 1, "generation_config.json: eos_token_id: expected a whole number");
    write_generation("{\"eos_token_id\": 7");
    refused(folder, 1, "generation_config.json");
}
END_TEST

START_TEST(an_opt_with_a_narrow_table_cannot_take_pictures)
{
    long left_out;
    const char *const folder[] = { IN_FOLDER("out") };
    ck_assert(convert_export(saved(WITH_OPT), folder[0], true, -1, &left_out, &e));
    rewrite(IN_FOLDER("out/model.safetensors"), "blip2.config", "other.config");
    rewrite(IN_FOLDER("out/config.json"), "\"word_embed_proj_dim\": 16", "\"word_embed_proj_dim\": 12");
    refused(folder, 1, "cannot take visual prompts");
}
END_TEST

Suite *suite_convert(void)
{
    Suite *s = suite_create("convert");
    TCase *c = tcase_create("forms");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_loop_test(c, what_is_exported_comes_back_to_the_bit, 0, KINDS);
    tcase_add_test(c, what_generation_is_told_beats_the_model);
    tcase_add_test(c, a_bias_of_three_parts_is_put_together_and_taken_apart);
    tcase_add_test(c, everything_that_does_not_fit_is_told_at_once);
    tcase_add_test(c, a_model_without_a_tower_comes_back);
    tcase_add_test(c, a_tower_alone_is_a_model_to_start_from);
    tcase_add_test(c, a_configuration_that_cannot_be_opened_is_refused);
    tcase_add_test(c, files_of_another_model_are_not_mixed_with_an_export);
    tcase_add_test(c, a_head_of_its_own_is_refused);
    tcase_add_test(c, a_bias_that_has_no_thirds_is_refused);
    tcase_add_test(c, of_several_files_that_of_transformers_is_taken);
    tcase_add_test(c, sources_that_are_no_model_are_refused);
    tcase_add_test(c, an_opt_with_a_narrow_table_cannot_take_pictures);
    suite_add_tcase(s, c);
    return s;
}
