/* test_sources.c - what several sources make together: a checkpoint of LAVIS's with what it leaves out, an
 * export with its tokenizers; and what is not filled from another model without a word. */
#define _GNU_SOURCE
#include "convert/weights.h"
#include "eval/eval.h"
#include "tests/converted.h"
#include "tests/shell.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static error e;

/* ---- what others publish, made of a model ---------------------------------------------------------- */
static const char *as_it_is(const char *name) { return name; }

/* LAVIS leaves out what is frozen, but for the second names of tied tensors. */
static const char *of_stage2(const char *name)
{
    if (!strcmp(name, "opt_model.model.decoder.embed_tokens.weight"))
        return "opt_model.lm_head.weight";
    if (!strcmp(name, "t5_model.shared.weight"))
        return "t5_model.encoder.embed_tokens.weight";
    return strncmp(name, "opt_model.", 10) && strncmp(name, "t5_model.", 9) ? name : NULL;
}

static const char *without_second_name(const char *name)
{
    return strstr(name, "opt_model.") ? NULL : name;
}

static const char *with_holes(const char *name)
{
    return strstr(name, "opt_proj.bias") || strstr(name, "layer.1.attention.self.query.weight")
           || strstr(name, "blocks.0.norm1.weight") ? NULL : of_stage2(name);
}

static const char *without_tower(const char *name)
{
    return strncmp(name, "visual_encoder.", 15) ? of_stage2(name) : NULL;
}

static const char *of_tower(const char *name)
{
    return strncmp(name, "visual_encoder.", 15) ? NULL : name + 15;
}

static const char *of_llm(const char *name)
{
    return strstr(name, "_model.") ? strchr(name, '.') + 1 : NULL;
}

static void export_of(const char *model, const char *folder, bool hf)
{
    long left_out;
    ck_assert_msg(convert_export(model, folder, hf, -1, &left_out, &e), "%s", e.text);
}

/* IN_FOLDER: model.h5 and its exports all (LAVIS's names) and ck (for a config.json, which says the heads);
 * ck/stage2.safetensors, and the folder of its language model, llm. */
static const char *publish(int kind)
{
    const char *model = made_model(kind);
    blip2_config c = made_config(kind);
    export_of(model, IN_FOLDER("all"), false);
    export_of(model, IN_FOLDER("ck"), true);
    made_copy(IN_FOLDER("all/model.safetensors"), IN_FOLDER("ck/stage2.safetensors"), of_stage2, false);
    if (c.llm == BLIP2_LLM_NONE)
        return model;
    c.vision = (blip2_vit_config){ .kind = BLIP2_VIT_NONE };
    c.qformer.queries = 0;
    made_save(&c, IN_FOLDER("llm.h5"), NULL, 0);
    export_of(IN_FOLDER("llm.h5"), IN_FOLDER("llm"), true);
    made_copy(IN_FOLDER("all/model.safetensors"), IN_FOLDER("llm/model.safetensors"), of_llm, false);
    return model;
}

static char notes[4096];

static void take_note(void *context, const char *text)
{
    (void)context;
    snprintf(notes + strlen(notes), sizeof notes - strlen(notes), "%s\n", text);
}

/* Up to three sources into IN_FOLDER("b.h5"). */
static bool convert(const char *a, const char *b, const char *c)
{
    const char *const sources[] = { a, b, c };
    const convert_watch watch = { .note = take_note };
    notes[0] = 0;
    return convert_run(sources, 1 + !!b + !!c, IN_FOLDER("b.h5"), &watch, &e);
}

static void refused(const char *a, const char *b, const char *says)
{
    ck_assert(!convert(a, b, NULL) && e.kind == ERROR_RUN);
    ck_assert_msg(strstr(e.text, says) != NULL, "expected \"%s\", found \"%s\"", says, e.text);
}

static void same_config(const char *a, const char *b)
{
    blip2_config c[2];
    char *text[2];
    const char *const path[] = { a, b };
    for (int i = 0; i < 2; i++) {
        h5 *f = h5_open(path[i], &e);
        ck_assert_msg(f && blip2_read_config(f, &c[i], &e), "%s", e.text);
        config_table table = blip2_config_table("", &c[i]);
        text[i] = config_print(&table, 1, false);
        h5_close(f);
    }
    ck_assert_str_eq(text[0], text[1]);
    mem_free(text[0]);
    mem_free(text[1]);
}

/* ---- a checkpoint and what it leaves out ----------------------------------------------------------- */
START_TEST(second_names_of_a_table_are_copies_of_it)
{
    const char *model = publish(_i), *checkpoint = IN_FOLDER("ck/stage2.safetensors");
    const char *llm = IN_FOLDER("llm");
    if (_i != WITH_OPT) {                                  /* T5's table has two */
        weights *w = weights_open(checkpoint, &e);
        const weights_entry *x = weights_find(w, "t5_model.encoder.embed_tokens.weight");
        real table[19 * 10];
        ck_assert(x && x->size == 190 && weights_read_reals(w, x, table, &e));
        weights_close(w);
        made_add_tensor(checkpoint, "t5_model.decoder.embed_tokens.weight", "[19,10]", table, 190);
    }
    ck_assert_msg(convert(checkpoint, llm, NULL), "%s", e.text);
    ck_assert(made_same(model, IN_FOLDER("b.h5"), NULL) > 30);
    ck_assert_msg(convert(llm, checkpoint, NULL), "%s", e.text);           /* in any order */
    ck_assert(made_same(model, IN_FOLDER("b.h5"), NULL) > 30);
    ck_assert_msg(convert(checkpoint, NULL, NULL), "%s", e.text);
    ck_assert_ptr_nonnull(strstr(notes, "made without its language model"));
    made_copy(IN_FOLDER("all/model.safetensors"), checkpoint, of_stage2, true);
    ck_assert_msg(convert(checkpoint, llm, NULL), "%s", e.text);           /* LAVIS has T5 in bfloat16 */
    made_convert(llm, IN_FOLDER("alone.h5"));
    ck_assert(made_same(IN_FOLDER("alone.h5"), IN_FOLDER("b.h5"), NULL) > 10);
}
END_TEST

START_TEST(a_table_of_another_model_is_refused)
{
    real other[23 * 16] = { 1 };
    publish(WITH_OPT);
    const char *checkpoint = IN_FOLDER("ck/stage2.safetensors");
    made_copy(IN_FOLDER("all/model.safetensors"), checkpoint, without_second_name, false);
    made_add_tensor(checkpoint, "opt_model.lm_head.weight", "[23,16]", other, 23 * 16);
    refused(checkpoint, IN_FOLDER("llm"),
            "opt_model.lm_head.weight: differs from model.decoder.embed_tokens.weight of");
}
END_TEST

/* Of a whole BLIP-2 beside it a checkpoint gets the language model, and nothing else. */
START_TEST(a_hole_is_not_filled_from_another_model)
{
    const char *model = publish(WITH_OPT), *checkpoint = IN_FOLDER("ck/stage2.safetensors");
    ck_assert_msg(convert(checkpoint, IN_FOLDER("ck"), NULL), "%s", e.text);
    ck_assert(made_same(model, IN_FOLDER("b.h5"), NULL) > 30);
    made_copy(IN_FOLDER("all/model.safetensors"), checkpoint, with_holes, false);
    made_copy(IN_FOLDER("all/model.safetensors"), IN_FOLDER("tower.safetensors"), of_tower, false);
    ck_assert(!convert(checkpoint, IN_FOLDER("ck"), IN_FOLDER("tower.safetensors")));
    ck_assert_ptr_nonnull(strstr(e.text, "stage2.safetensors: 3 tensors missing, unexpected or of another"));
    ck_assert_ptr_nonnull(strstr(e.text, "opt_proj.bias: missing"));
    ck_assert_ptr_nonnull(strstr(e.text, "layer.1.attention.self.query.weight: missing"));
    ck_assert_ptr_nonnull(strstr(e.text, "visual_encoder.blocks.0.norm1.weight: missing"));
}
END_TEST

/* A BERT by a small configuration: config.json, weights, vocab.txt, as it is downloaded. */
static void publish_bert(void)
{
    blip2_config c = tiny_config();
    c.qformer.queries = 0;
    c.qformer.token_types = 2;
    c.stage1 = false;
    made_save(&c, IN_FOLDER("bert.h5"), NULL, 0);
    export_of(IN_FOLDER("bert.h5"), IN_FOLDER("bert"), true);
    made_text(IN_FOLDER("bert/vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\ndog\n");
}

static void has_words(const char *model, bool bert, bool llm)
{
    tokenizer *t[2] = { NULL, NULL };
    ck_assert_msg(eval_tokenizers(model, &t[0], &t[1], &e), "%s", e.text);
    ck_assert(!!t[0] == bert && !!t[1] == llm);
    tokenizer_free(t[0]);
    tokenizer_free(t[1]);
}

START_TEST(a_bert_behind_a_checkpoint_gives_its_words)
{
    const char *model = publish(RETRIEVAL), *checkpoint = IN_FOLDER("ck/stage2.safetensors");
    publish_bert();
    for (int without = 0; without < 2; without++) {        /* its weights are not needed */
        ck_assert_msg(convert(checkpoint, IN_FOLDER("bert"), NULL), "%s", e.text);
        ck_assert(made_same(model, IN_FOLDER("b.h5"), NULL) > 30);
        has_words(IN_FOLDER("b.h5"), true, false);
        if (!without)
            ck_assert_int_eq(rename(IN_FOLDER("bert/model.safetensors"), IN_FOLDER("bert/pytorch.st")), 0);
    }
    ck_assert_msg(convert(checkpoint, IN_FOLDER("bert/pytorch.st"), NULL), "%s", e.text);
    has_words(IN_FOLDER("b.h5"), true, false);
    ck_assert_int_eq(remove(IN_FOLDER("bert/vocab.txt")), 0);
    refused(checkpoint, IN_FOLDER("bert"), "gives its tokenizer alone; expected vocab.txt or tokenizer.json");
}
END_TEST

/* ---- config.json beside a checkpoint --------------------------------------------------------------- */
START_TEST(a_bad_configuration_beside_a_checkpoint_is_told)
{
    publish(WITH_OPT);
    made_text(IN_FOLDER("ck/config.json"), "{");
    refused(IN_FOLDER("ck/stage2.safetensors"), NULL, "ck/config.json:1:1: JSON");
    made_text(IN_FOLDER("ck/config.json"), "{\"model_type\": \"opt\", \"num_attention_heads\": 7}");
    refused(IN_FOLDER("ck/stage2.safetensors"), NULL, "ck/config.json: opt.width: ");
}
END_TEST

/* Downloads share a folder: a config.json of a model that is no part of ours says nothing here. */
START_TEST(another_models_configuration_beside_a_checkpoint_is_passed_over)
{
    static const char *const others[] = { "{\"model_type\": \"llama\", \"hidden_size\": 4096}",
                                          "{\"task\": \"captioning\"}", "[]" };
    blip2_config c = made_config(WIDE_TOWER);
    c.qformer.width = 64;
    c.qformer.heads = 1;                                   /* as is assumed where nothing says it */
    made_save(&c, IN_FOLDER("model.h5"), NULL, 0);
    export_of(IN_FOLDER("model.h5"), IN_FOLDER("all"), false);
    made_copy(IN_FOLDER("all/model.safetensors"), IN_FOLDER("all/stage1.safetensors"), as_it_is, false);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        made_text(IN_FOLDER("all/config.json"), others[i]);
        ck_assert_msg(convert(IN_FOLDER("all/stage1.safetensors"), NULL, NULL), "%s", e.text);
        ck_assert_msg(strstr(notes, "all/config.json: passed over: its model_type is none of blip-2, opt, t5 "
                                    "and bert") != NULL, "%s", notes);
        ck_assert(made_same(IN_FOLDER("model.h5"), IN_FOLDER("b.h5"), NULL) > 30);
    }
}
END_TEST

START_TEST(heads_that_are_assumed_are_told)
{
    blip2_config c = made_config(WIDE_TOWER);
    c.qformer.width = 64;
    c.qformer.heads = 1;
    made_save(&c, IN_FOLDER("model.h5"), NULL, 0);
    export_of(IN_FOLDER("model.h5"), IN_FOLDER("all"), false);
    ck_assert_int_eq(remove(IN_FOLDER("all/config.json")), 0);
    made_copy(IN_FOLDER("all/model.safetensors"), IN_FOLDER("stage1.safetensors"), as_it_is, false);
    ck_assert_msg(convert(IN_FOLDER("stage1.safetensors"), NULL, NULL), "%s", e.text);
    ck_assert_ptr_nonnull(strstr(notes, "says how many heads its Q-Former has: 1 are assumed"));
    ck_assert_ptr_nonnull(strstr(notes, "how many heads its vision tower has: 2 are assumed"));
    ck_assert(made_same(IN_FOLDER("model.h5"), IN_FOLDER("b.h5"), NULL) > 30);
}
END_TEST

/* ---- exports --------------------------------------------------------------------------------------- */
static const char pieces[] =
    "{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"},\"added_tokens\":[],"
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":2,\"vocab\":[[\"<pad>\",0],[\"</s>\",0],[\"<unk>\",0],"
    "[\"a\",-3]]}}";

/* A model whose own configuration no other form can say. */
static void save_with_words(const char *path, bool bert)
{
    static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\ndog\n";
    blip2_part parts[] = { { "llm/tokenizer.json", (char *)(uintptr_t)pieces, sizeof pieces - 1 },
                           { "bert/vocab.txt", (char *)(uintptr_t)vocab, sizeof vocab - 1 } };
    blip2_config c = made_config(WITH_TIED_T5);
    c.ln_vision_eps = 3e-6;
    snprintf(c.prompt, sizeof c.prompt, "it shows");
    snprintf(c.question_prompt, sizeof c.question_prompt, "{} is");
    made_save(&c, path, parts, 1 + bert);
}

START_TEST(an_export_with_two_tokenizers_comes_back)
{
    save_with_words(IN_FOLDER("model.h5"), true);
    for (int hf = 0; hf < 2; hf++) {
        export_of(IN_FOLDER("model.h5"), IN_FOLDER("out"), hf);
        ck_assert_msg(convert(IN_FOLDER("out"), NULL, NULL), "%s", e.text);
        has_words(IN_FOLDER("b.h5"), true, true);
    }
    long left_out;
    save_with_words(IN_FOLDER("other.h5"), false);         /* the second would stay and be read */
    ck_assert(!convert_export(IN_FOLDER("other.h5"), IN_FOLDER("out"), true, -1, &left_out, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "out/bert: holds vocab.txt"));
}
END_TEST

START_TEST(an_export_keeps_its_configuration_beside_words)
{
    save_with_words(IN_FOLDER("model.h5"), false);
    publish_bert();
    for (int hf = 0; hf < 2; hf++) {
        export_of(IN_FOLDER("model.h5"), IN_FOLDER("out"), hf);
        ck_assert_msg(convert(IN_FOLDER("out"), IN_FOLDER("bert"), NULL), "%s", e.text);
        same_config(IN_FOLDER("model.h5"), IN_FOLDER("b.h5"));
        ck_assert(made_same(IN_FOLDER("model.h5"), IN_FOLDER("b.h5"), NULL) > 30);
        has_words(IN_FOLDER("b.h5"), true, true);
    }
    publish(WITH_OPT);
    refused(IN_FOLDER("out"), IN_FOLDER("llm"), "which `export` wrote and which is a whole model; expected");
}
END_TEST

START_TEST(a_tower_alone_goes_out_and_comes_back)
{
    long left_out;
    blip2_config c = made_config(WITH_OPT), tower = c;
    blip2_model m;
    bool sealed;
    const char *model = publish(WITH_OPT);
    tower.qformer = (blip2_qformer_config){ .eps = c.qformer.eps };
    tower.stage1 = false;
    tower.llm = BLIP2_LLM_NONE;
    made_save(&tower, IN_FOLDER("tower.h5"), NULL, 0);
    ck_assert(!convert_export(IN_FOLDER("tower.h5"), IN_FOLDER("tower"), true, -1, &left_out, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "a vision tower alone"));
    export_of(IN_FOLDER("tower.h5"), IN_FOLDER("tower"), false);
    ck_assert_msg(convert(IN_FOLDER("tower"), NULL, NULL), "%s", e.text);
    ck_assert(made_same(IN_FOLDER("tower.h5"), IN_FOLDER("b.h5"), NULL) > 10);
    same_config(IN_FOLDER("tower.h5"), IN_FOLDER("b.h5"));
    const char *checkpoint = IN_FOLDER("ck/stage2.safetensors");
    made_copy(IN_FOLDER("all/model.safetensors"), checkpoint, without_tower, false);
    ck_assert_msg(convert(checkpoint, IN_FOLDER("tower"), IN_FOLDER("llm")), "%s", e.text);
    ck_assert(blip2_open(&m, IN_FOLDER("b.h5"), &sealed, &e) && m.config.vision.depth == 2);
    blip2_close(&m);
    ck_assert(made_same(model, IN_FOLDER("b.h5"), "visual_encoder") > 30);
    ck_assert(made_same(IN_FOLDER("tower.h5"), IN_FOLDER("b.h5"), NULL) > 10);
}
END_TEST

START_TEST(an_epsilon_that_is_lost_is_warned_of)
{
    save_with_words(IN_FOLDER("model.h5"), false);
    said s = BLIP2("export", IN_FOLDER("model.h5"), "-o", IN_FOLDER("out"), "--format", "hf");
    ck_assert_msg(s.code == 0 && strstr(s.err, "warning: ln_vision has epsilon 3e-06"), "%s", s.err);
    shell_free(s);
    s = BLIP2("export", IN_FOLDER("model.h5"), "-o", IN_FOLDER("out"), "--format", "lavis");
    ck_assert_msg(s.code == 0 && !*s.err, "%s", s.err);
    shell_free(s);
}
END_TEST

Suite *suite_sources(void)
{
    Suite *s = suite_create("sources");
    TCase *c = tcase_create("together");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_loop_test(c, second_names_of_a_table_are_copies_of_it, 0, WITH_TIED_T5 + 1);
    tcase_add_test(c, a_table_of_another_model_is_refused);
    tcase_add_test(c, a_hole_is_not_filled_from_another_model);
    tcase_add_test(c, a_bert_behind_a_checkpoint_gives_its_words);
    tcase_add_test(c, a_bad_configuration_beside_a_checkpoint_is_told);
    tcase_add_test(c, another_models_configuration_beside_a_checkpoint_is_passed_over);
    tcase_add_test(c, heads_that_are_assumed_are_told);
    tcase_add_test(c, an_export_with_two_tokenizers_comes_back);
    tcase_add_test(c, an_export_keeps_its_configuration_beside_words);
    tcase_add_test(c, a_tower_alone_goes_out_and_comes_back);
    tcase_add_test(c, an_epsilon_that_is_lost_is_warned_of);
    suite_add_tcase(s, c);
    return s;
}
