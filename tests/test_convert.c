/* test_convert.c - models out into published forms and back, and what is told of files that do not fit. The
 * forms that others wrote are compared by `make golden`. */
#define _GNU_SOURCE
#include "convert/weights.h"
#include "tests/converted.h"
#include <stdio.h>
#include <string.h>

static error e;

START_TEST(what_is_exported_comes_back_to_the_bit)
{
    long left_out;
    const char *model = made_model(_i);
    for (int hf = 0; hf < 2; hf++) {
        if (hf && _i == LAVIS_STAGE1)
            continue;                                      /* Hugging Face has no ITG head: below */
        ck_assert_msg(convert_export(model, IN_FOLDER("out"), hf, 400, &left_out, &e), "%s", e.text);
        ck_assert_int_eq(left_out, hf && _i == RETRIEVAL);                 /* temp */
        made_convert(IN_FOLDER("out"), IN_FOLDER("back.h5"));
        ck_assert(made_same(model, IN_FOLDER("back.h5"), hf && _i == RETRIEVAL ? "temp" : NULL) > 30);
    }
}
END_TEST

static const char *but_head_and_temp(const char *name)
{
    return !strncmp(name, "Qformer.cls.", 12) || !strcmp(name, "temp") ? NULL : name;
}

START_TEST(a_stage1_comes_back_from_hugging_face_without_head_and_temp)
{
    long left_out;
    blip2_config c;
    const char *model = made_model(LAVIS_STAGE1);
    ck_assert_msg(convert_export(model, IN_FOLDER("out"), true, -1, &left_out, &e), "%s", e.text);
    ck_assert_int_gt(left_out, 1);
    made_convert(IN_FOLDER("out"), IN_FOLDER("back.h5"));
    h5 *f = h5_open(IN_FOLDER("back.h5"), &e);
    ck_assert_msg(f && blip2_read_config(f, &c, &e), "%s", e.text);
    h5_close(f);
    ck_assert(c.stage1 && !c.qformer.head);
    /* the rest: both as LAVIS names it */
    ck_assert(convert_export(model, IN_FOLDER("a"), false, -1, &left_out, &e)
              && convert_export(IN_FOLDER("back.h5"), IN_FOLDER("b"), false, -1, &left_out, &e));
    long n[2], k = 0;
    made_copy(IN_FOLDER("a/model.safetensors"), IN_FOLDER("a.safetensors"), but_head_and_temp, false);
    made_copy(IN_FOLDER("b/model.safetensors"), IN_FOLDER("b.safetensors"), but_head_and_temp, false);
    char *x = file_load(IN_FOLDER("a.safetensors"), 1 << 26, &n[0], &e);
    char *y = file_load(IN_FOLDER("b.safetensors"), 1 << 26, &n[1], &e);
    ck_assert(x && y && n[0] == n[1]);
    while (k < n[0] && x[k] == y[k])
        k++;
    ck_assert_int_eq(k, n[0]);
    mem_free(x);
    mem_free(y);
}
END_TEST

START_TEST(a_bias_of_three_parts_is_put_together_and_taken_apart)
{
    long left_out;
    ck_assert(convert_export(made_model(WITH_OPT), IN_FOLDER("out"), true, -1, &left_out, &e));
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
    const char *model = made_model(WIDE_TOWER);
    char whole[512];
    snprintf(whole, sizeof whole, "%s", model);
    ck_assert_msg(convert_export(model, IN_FOLDER("out"), false, -1, &left_out, &e), "%s", e.text);
    char *bytes = folder_load("out/model.safetensors", &n);
    rename_in_header(bytes, "\"visual_encoder.", "\"");
    rename_in_header(bytes, "\"query_tokens\"", "\"query_t\"");
    rename_in_header(bytes, "\"blip2.config\"", "\"other\"");
    folder_write_bytes("eva.safetensors", bytes, n);
    mem_free(bytes);
    made_convert(IN_FOLDER("eva.safetensors"), IN_FOLDER("tower.h5"));
    blip2_model x;
    bool sealed;
    ck_assert_msg(blip2_open(&x, IN_FOLDER("tower.h5"), &sealed, &e), "%s", e.text);
    const blip2_vit_config *v = &x.config.vision;
    ck_assert(v->kind == BLIP2_VIT_EVA && v->depth == 1 && v->image_size == 8 && v->heads == 2);
    ck_assert(!x.config.qformer.queries && x.config.llm == BLIP2_LLM_NONE && !x.config.stage1);
    blip2_close(&x);
    ck_assert_int_gt(made_same(IN_FOLDER("tower.h5"), whole, NULL), 10);
}
END_TEST

START_TEST(a_model_without_a_tower_comes_back)
{
    long left_out;
    const char *model = made_model(NO_TOWER);
    ck_assert(!convert_export(model, IN_FOLDER("out"), true, -1, &left_out, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "Hugging Face's BLIP-2 has a vision tower, this one has none"));
    ck_assert(!folder_has("out"));
    ck_assert_msg(convert_export(model, IN_FOLDER("out"), false, -1, &left_out, &e), "%s", e.text);
    made_convert(IN_FOLDER("out"), IN_FOLDER("back.h5"));
    ck_assert(made_same(model, IN_FOLDER("back.h5"), NULL) > 30);
}
END_TEST

START_TEST(files_of_another_model_are_not_mixed_with_an_export)
{
    static const char *const names[] = { "out/vocab.txt", "out/model-00001-of-00002.safetensors",
                                         "out/pytorch_model.bin.index.json" };
    long left_out;
    const char *model = made_model(WITH_OPT);
    for (int i = 0; i < 3; i++) {
        ck_assert_msg(convert_export(model, IN_FOLDER("out"), true, -1, &left_out, &e), "%s", e.text);
        folder_write(names[i], "");
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
    ck_assert(!folder_has("never.h5"));
}

START_TEST(everything_that_does_not_fit_is_told_at_once)
{
    long left_out;
    const char *const folder[] = { IN_FOLDER("out") };
    ck_assert(convert_export(made_model(WITH_OPT), folder[0], true, -1, &left_out, &e));
    made_rewrite(IN_FOLDER("out/model.safetensors"), "language_projection.bias", "language_projection.bear");
    made_rewrite(IN_FOLDER("out/model.safetensors"), "blip2.config", "other.config");
    made_rewrite(IN_FOLDER("out/config.json"), "\"ffn_dim\": 24", "\"ffn_dim\": 25");
    refused(folder, 1, "tensors missing, unexpected or of another shape");
    ck_assert_ptr_nonnull(strstr(e.text, "opt_proj.bias: missing; expected (16)"));
    ck_assert_ptr_nonnull(strstr(e.text, "language_projection.bear: unexpected"));
    ck_assert_ptr_nonnull(strstr(e.text, "fc1.weight: shape: expected (25,16), found [24,16]"));
}
END_TEST

/* A second name beside the first: with the same numbers it is taken, with others it is a head of its own. */
static void head_beside_its_table(bool hf, const char *table, const char *head, const char *shape, long count)
{
    const char *const folder[] = { IN_FOLDER("out") };
    const char *path = "out/model.safetensors";
    real *x = mem_new((size_t)count * sizeof *x);
    long left_out;
    for (int other = 0; other < 2; other++) {
        ck_assert(convert_export(made_model(hf ? WITH_OPT : LAVIS_STAGE1), folder[0], hf, -1, &left_out, &e));
        weights *w = weights_open(IN_FOLDER(path), &e);
        ck_assert(w && weights_find(w, table) && weights_find(w, table)->size == count);
        ck_assert(weights_read_reals(w, weights_find(w, table), x, &e));
        weights_close(w);
        x[count - 1] += (real)other;
        made_add_tensor(IN_FOLDER(path), head, shape, x, count);
        if (!other)
            made_convert(folder[0], IN_FOLDER("b.h5"));
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
    ck_assert(convert_export(made_model(WITH_OPT), folder[0], true, -1, &left_out, &e));
    made_rewrite(IN_FOLDER("out/model.safetensors"), "layers.1.self_attn.qkv.bias",
                 "layers.1.self_attn.qkv.bear");
    made_add_tensor(IN_FOLDER("out/model.safetensors"), "vision_model.encoder.layers.1.self_attn.qkv.bias",
                    "[37]", bias, 37);
    refused(folder, 1, "layers.1.self_attn.qkv.bias: shape: expected (12) in each third, found [37]");
}
END_TEST

START_TEST(of_several_files_that_of_transformers_is_taken)
{
    long left_out;
    ck_assert(convert_export(made_model(WITH_OPT), IN_FOLDER("out"), true, -1, &left_out, &e));
    folder_write("out/model.safetensors.index.json", "");
    made_convert(IN_FOLDER("out"), IN_FOLDER("b.h5"));
}
END_TEST

START_TEST(a_configuration_that_cannot_be_opened_is_refused)
{
    long left_out;
    const char *const folder[] = { IN_FOLDER("out") };
    ck_assert(convert_export(made_model(WITH_OPT), folder[0], true, -1, &left_out, &e));
    made_rewrite(IN_FOLDER("out/model.safetensors"), "blip2.config", "other.config");
    made_rewrite(IN_FOLDER("out/config.json"), "\"model_type\": \"blip_2_qformer\"",
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
    folder_write("config.json", "{\"model_type\": \"llama\"}");
    refused(folder, 1, "model_type: expected blip-2, opt, t5 or bert, found llama");
    made_text(IN_FOLDER("config.json"),
              "{\"model_type\": \"opt\", \"hidden_size\": 1.5, \"activation_function\": \"gelu\"}");
    refused(folder, 1, "2 entries cannot be taken over");
    made_text(IN_FOLDER("config.json"), "{\"model_type\": \"opt\"}");
    refused(folder, 1, "no weights in it");
}
END_TEST

START_TEST(settings_that_are_not_built_or_of_another_type_are_named)
{
    static const struct { const char *config, *says; } all[] = {
        { "{\"model_type\": \"opt\", \"do_layer_norm_before\": \"false\"}",
          "config.json: do_layer_norm_before: expected true or false" },
        { "{\"model_type\": \"opt\", \"do_layer_norm_before\": null}", "no weights in it" },
        { "{\"model_type\": \"opt\", \"activation_function\": 1}", "activation_function: expected a text" },
        { "{\"model_type\": \"blip-2\", \"qformer_config\": 1, \"text_config\": {\"model_type\": \"opt\"}}",
          "config.json: qformer_config: expected an object" },
        { "{\"model_type\": \"t5\", \"feed_forward_proj\": \"gated-silu\"}",
          "feed_forward_proj: expected \"gated-gelu\", found \"gated-silu\"; a T5 with this activation" },
        { "{\"model_type\": \"t5\", \"feed_forward_proj\": \"gated-relu\"}", "found \"gated-relu\"" },
        { "{\"model_type\": \"t5\"}", "found \"relu\"; the first T5 is not built" },
        { "{\"model_type\": \"t5\", \"feed_forward_proj\": \"gated-gelu\"}", "no weights in it" },
        { "{\"model_type\": \"t5\", \"feed_forward_proj\": \"gated-silu\", \"dense_act_fn\": \"gelu\"}",
          "no weights in it" },
        { "{\"model_type\": \"t5\", \"feed_forward_proj\": \"gated-gelu\", \"dense_act_fn\": \"silu\"}",
          "dense_act_fn: expected \"gelu\" or \"gelu_new\", found \"silu\"" } };
    const char *const folder[] = { IN_FOLDER("") };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        made_text(IN_FOLDER("config.json"), all[i].config);
        refused(folder, 1, all[i].says);
        ck_assert_int_eq(e.kind, ERROR_RUN);
    }
}
END_TEST

START_TEST(what_generation_is_told_beats_the_model)
{
    long left_out;
    const char *const folder[] = { IN_FOLDER("out") };
    for (int kind = 0; kind < 2; kind++) {
        blip2_model m;
        bool sealed;
        ck_assert(convert_export(made_model(kind ? WITH_T5 : WITH_OPT), folder[0], true, -1, &left_out, &e));
        made_rewrite(IN_FOLDER("out/model.safetensors"), "blip2.config", "other.config");
        folder_write("out/generation_config.json",
                     "{\"eos_token_id\": [7, 2], \"pad_token_id\": 3, \"num_beams\": 4}");
        made_convert(folder[0], IN_FOLDER("b.h5"));
        ck_assert_msg(blip2_open(&m, IN_FOLDER("b.h5"), &sealed, &e), "%s", e.text);
        ck_assert_int_eq(kind ? m.config.t5.eos : m.config.opt.eos, 7);
        ck_assert_int_eq(kind ? m.config.t5.pad : m.config.opt.pad, 3);
        blip2_close(&m);
    }
    folder_write("out/generation_config.json", "{\"eos_token_id\": \"seven\"}");
    refused(folder, 1, "generation_config.json: eos_token_id: expected a whole number");
    folder_write("out/generation_config.json", "{\"eos_token_id\": 7");
    refused(folder, 1, "generation_config.json");
}
END_TEST

START_TEST(an_opt_with_a_narrow_table_cannot_take_pictures)
{
    long left_out;
    const char *const folder[] = { IN_FOLDER("out") };
    ck_assert(convert_export(made_model(WITH_OPT), folder[0], true, -1, &left_out, &e));
    made_rewrite(IN_FOLDER("out/model.safetensors"), "blip2.config", "other.config");
    made_rewrite(IN_FOLDER("out/config.json"), "\"word_embed_proj_dim\": 16", "\"word_embed_proj_dim\": 12");
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
    tcase_add_test(c, a_stage1_comes_back_from_hugging_face_without_head_and_temp);
    tcase_add_test(c, a_head_of_its_own_is_refused);
    tcase_add_test(c, a_bias_that_has_no_thirds_is_refused);
    tcase_add_test(c, of_several_files_that_of_transformers_is_taken);
    tcase_add_test(c, sources_that_are_no_model_are_refused);
    tcase_add_test(c, settings_that_are_not_built_or_of_another_type_are_named);
    tcase_add_test(c, an_opt_with_a_narrow_table_cannot_take_pictures);
    suite_add_tcase(s, c);
    return s;
}
