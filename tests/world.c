/* world.c - a small data set on disk, and configurations that train on it in a moment (world.h). */
#include "tests/world.h"
#include "data/data.h"
#include <stdio.h>
#include <string.h>

static void learn(tokenizer_kind kind, long size, const char *text, long bytes, const char *folder)
{
    error e;
    tokenizer_trainer *r = tokenizer_trainer_new(kind, &e);
    ck_assert(r && tokenizer_trainer_add(r, text, bytes, &e));
    tokenizer *t = tokenizer_train(r, size, 1, &e);
    ck_assert_msg(t && tokenizer_write(t, folder, &e), "%s", e.text);
    tokenizer_free(t);
    tokenizer_trainer_free(r);
}

void world_make(void)
{
    scenes_options o = scenes_defaults;
    error e;
    long bytes;
    o.train = 64;
    o.val = o.test_unseen = 4;
    o.test = 16;
    o.documents = 60;
    o.size = 16;
    ck_assert_msg(scenes_make(&o, IN_FOLDER("world"), false, NULL, NULL, &e), "%s", e.text);
    char *text = folder_load("world/text.txt", &bytes);
    learn(TOKENIZER_WORDPIECE, 140, text, bytes, IN_FOLDER("bert"));
    learn(TOKENIZER_BPE, 300, text, bytes, IN_FOLDER("llm"));
    mem_free(text);
}

void world_text(char to[CONFIG_TEXT_SIZE], const char *text)
{
    snprintf(to, CONFIG_TEXT_SIZE, "%s", text);
}

static void add(config_list *l, const char *text)
{
    world_text(l->item[l->count++], text);
}

train_config world_config(train_task task)
{
    static const char *const names[] = { "stage1", "stage2", "vit", "lm" };
    train_config c = train_config_default();
    c.task = (int)task;
    c.model.vision = (blip2_vit_config){ BLIP2_VIT_EVA, .image_size = 16, .patch = 8, .width = 16, .depth = 1,
                                         .heads = 2, .hidden = 32, .init_std = 0.1, .position_std = 0.1 };
    c.model.qformer = (blip2_qformer_config){ .width = 16, .layers = 2, .heads = 2, .hidden = 32,
        .queries = 3, .vocab = 140, .positions = 40, .memory_width = 16, .cross_attention_freq = 2,
        .dropout = 0.1,
        .eps = 1e-12, .init_std = 0.1, .query_std = 0.3, .output_scale = 0.5, .text = true, .head = true };
    c.model.opt = (blip2_opt_config){ .vocab = 300, .width = 16, .layers = 1, .heads = 2, .hidden = 32,
                                      .positions = 64, .dropout = 0.1, .init_std = 0.1 };
    c.contrastive.text = (blip2_opt_config){ .width = 16, .layers = 1, .heads = 2, .hidden = 32 };
    c.contrastive.embed = c.model.embed = 12;
    c.model.max_text = 24;
    c.batch = 8;
    c.max_iters = 3;
    c.warmup_steps = 2;
    c.caption_share = 0.5;
    world_text(c.data.root, IN_FOLDER("world"));
    world_text(c.output_dir, IN_FOLDER(names[task]));
    if (task == TRAIN_VIT)
        world_text(c.bert_tokenizer, IN_FOLDER("bert"));
    if (task == TRAIN_LM)
        world_text(c.llm_tokenizer, IN_FOLDER("llm"));
    if (task == TRAIN_STAGE1)
        add(&c.pretrained, IN_FOLDER("vit/model.h5"));
    if (task == TRAIN_STAGE2) {
        add(&c.pretrained, IN_FOLDER("stage1/model.h5"));
        add(&c.pretrained, IN_FOLDER("lm/model.h5:opt_model"));
        add(&c.freeze, "opt_model");
        world_text(c.model.question_prompt, "question: {} answer:");
        c.model.question_in_qformer = true;
    }
    if (task == TRAIN_STAGE1 || task == TRAIN_STAGE2)
        add(&c.freeze, "visual_encoder");
    return c;
}

void world_write(const train_config *given, const char *name)
{
    train_config c = *given;
    config_table tables[TRAIN_TABLES];
    char *text = config_print(tables, train_config_tables(&c, tables), false);
    ck_assert_ptr_nonnull(text);
    folder_write(name, text);
    mem_free(text);
}

void world_train(const train_config *c)
{
    train_result result;
    error e;
    ck_assert_msg(train_run(c, &(train_options){ 0 }, &result, &e), "%s", e.text);
    ck_assert(!result.stopped && result.steps == c->max_iters);
}

void world_train_all(train_task last)
{
    static const train_task order[] = { TRAIN_LM, TRAIN_VIT, TRAIN_STAGE1, TRAIN_STAGE2 };
    for (int i = 0; i < 4; i++) {
        train_config c = world_config(order[i]);
        if (order[i] == last || last == TRAIN_STAGE2 || (last == TRAIN_STAGE1 && order[i] == TRAIN_VIT))
            world_train(&c);
        if (order[i] == last)
            break;
    }
}
