/* config.c - the keys of a training configuration: LAVIS's blocks model, datasets and run, and its names for
 * them.                                                                                                    */
#include "train/internal.h"

#define FIELD(f) offsetof(train_config, f)
#define INT(name, field, least, most, help) { name, CONFIG_INT, FIELD(field), least, most, NULL, help }
#define REALN(name, field, least, most, help) { name, CONFIG_REAL, FIELD(field), least, most, NULL, help }
#define BOOL(name, field, help) { name, CONFIG_BOOL, FIELD(field), 0, 0, NULL, help }
#define TEXT(name, field, help) { name, CONFIG_TEXT, FIELD(field), 0, 0, NULL, help }
#define LIST(name, field, help) { name, CONFIG_LIST, FIELD(field), 0, 0, NULL, help }

static const config_key model_keys[] = {
    LIST("pretrained", pretrained, "model files to start from: FILE, or FILE:prefix for one part of it"),
    TEXT("bert", bert,
         "BERT that the Q-Former starts from, before `pretrained`: its folder, file or model file"),
    LIST("freeze", freeze,
         "prefixes of parameters that are not trained: visual_encoder, opt_model; * is any one part"),
    BOOL("freeze_vit", freeze_vit, "visual_encoder is frozen, whatever freeze says (LAVIS's key)"),
    BOOL("use_grad_checkpoint", grad_checkpoint,
         "blocks of a trained tower run again in backward (LAVIS's key)"),
    REALN("drop_path_rate", drop_path, 0, 0.99, "stochastic depth of a trained tower, in its last block"),
    TEXT("bert_tokenizer", bert_tokenizer,
         "folder of the Q-Former's vocabulary; empty: from a pretrained file"),
    TEXT("llm_tokenizer", llm_tokenizer,
         "folder of the language model's vocabulary; empty: from a pretrained file"),
    INT("contrastive.width", contrastive.text.width, 1, 65536, "text tower of task vit: width"),
    INT("contrastive.layers", contrastive.text.layers, 1, 256, "its layers"),
    INT("contrastive.heads", contrastive.text.heads, 1, 256, "its heads"),
    INT("contrastive.hidden", contrastive.text.hidden, 1, 262144, "width of its feed-forwards"),
    INT("contrastive.embed", contrastive.embed, 1, 65536, "width of the space both towers meet in"),
    REALN("contrastive.temperature", contrastive.temperature, 1e-4, 100, "divides the similarities"),
};

/* Of the only data set, or of each that has a section of its own name. */
#define DATA(name, type, f, least, most, choices, help) \
    { name, type, offsetof(train_data, f), least, most, choices, help }
#define VIEW "vis_processor.train."
static const config_key data_keys[] = {
    DATA("root", CONFIG_TEXT, root, 0, 0, NULL, "folder of the data set"),
    DATA("images", CONFIG_TEXT, images, 0, 0, NULL, "folder that pictures' paths start from; empty: root"),
    DATA("train", CONFIG_TEXT, train_list, 0, 0, NULL, "its list of pictures, one JSON object a line"),
    DATA("val", CONFIG_TEXT, val_list, 0, 0, NULL,
         "a list like train, or for task lm documents, to be measured on the way; empty: none"),
    DATA("text", CONFIG_TEXT, text_list, 0, 0, NULL,
         "its documents for task lm, one a line, pieces parted by tabs"),
    DATA("max_samples", CONFIG_INT, max_samples, 0, 1e12, NULL, "only so many; 0: all"),
    DATA("ratio", CONFIG_REAL, ratio, 0, 1e9, NULL,
         "share of the samples, beside the other data sets; 0: by the number of its samples"),
    DATA(VIEW "name", CONFIG_CHOICE, view, 0, 0, "blip_image_eval blip2_image_train blip_image_train",
         "what is shown of a picture: the whole; a random crop; that and RandAugment"),
    DATA(VIEW "image_size", CONFIG_INT, image_size, 0, 8192, NULL,
         "0: that of the model, the only other value"),
    DATA(VIEW "min_scale", CONFIG_REAL, min_scale, 0.01, 1, NULL, "least share of the area in a crop"),
    DATA(VIEW "max_scale", CONFIG_REAL, max_scale, 0.01, 1, NULL, "largest share of the area in a crop"),
    DATA(VIEW "flip", CONFIG_REAL, flip, 0, 1, NULL,
         "probability of a mirror image with a crop; 0 where captions tell left from right"),
    DATA(VIEW "magnitude", CONFIG_REAL, magnitude, 0, 10, NULL, "of RandAugment; LAVIS: 5"),
    DATA("text_processor.train.name", CONFIG_CHOICE, clean, 0, 0, "none blip_caption blip_question",
         "texts as they stand; or cleaned as LAVIS's: lower case, .!\"()*#:;~ to spaces (captions) or out "
         "(questions), 50 words"),
    { "text_processor.train.prompt", CONFIG_ELSEWHERE, 0, 0, 0, NULL, "LAVIS's; here model.prompt" },
    { "text_processor.train.max_words", CONFIG_ELSEWHERE, 0, 0, 0, NULL, "LAVIS's; leave it out: it is 50" },
    { "text_processor.eval", CONFIG_ELSEWHERE, 0, 0, 0, NULL,
      "LAVIS's; leave it out: it is that of evaluate" },
    { "vis_processor.eval", CONFIG_ELSEWHERE, 0, 0, 0, NULL,
      "LAVIS's; leave it out: it is that of evaluate" },
    { "build_info", CONFIG_ELSEWHERE, 0, 0, 0, NULL, "LAVIS's; here root, images and train: LIST" },
    { "data_type", CONFIG_ELSEWHERE, 0, 0, 0, NULL,
      "LAVIS's; leave it out: data sets are pictures with texts" },
};

static const config_key feed_keys[] = {
    { "on_bad_sample", CONFIG_CHOICE, FIELD(on_bad_sample), 0, 0, "skip stop",
      "a picture that cannot be decoded is left out, counted and named; or ends the run" },
    REALN("max_bad_fraction", max_bad_fraction, 0, 1, "a larger share of broken pictures ends the run"),
    INT("memory_mb", memory_mb, 0, 1e9, "decoded pictures held in memory; others are decoded when needed"),
};

static const config_key run_keys[] = {
    { "task", CONFIG_CHOICE, FIELD(task), 0, 0, TASKS, "what is trained" },
    TEXT("output_dir", output_dir, "where model.h5, log.jsonl and config.yaml go"),
    INT("seed", seed, 0, 9e15, "of everything random"),
    INT("max_iters", max_iters, 0, 1e12, "optimiser steps; 0: max_epoch decides"),
    INT("max_epoch", max_epoch, 1, 1e9, "times through the data"),
    INT("batch_size_train", batch, 1, 65536,
        "samples a part, of each rank; a step has batch_size_train x accum_grad_iters x ranks"),
    INT("accum_grad_iters", accumulate, 1, 65536, "parts of a step"),
    BOOL("accum_exact", accum_exact,
         "stage1: the parts are one batch, contrast and negatives reach over all; false: each for itself "
         "(LAVIS)"),
    BOOL("recompute", recompute, "layers keep nothing and run again in backward: less memory, the same bits"),
    { "lr_sched", CONFIG_CHOICE, FIELD(schedule), 0, 0,
      "linear_warmup_cosine_lr linear_warmup_step_lr constant_lr", "the learning rate's way" },
    { "lr_by", CONFIG_CHOICE, FIELD(by_step), 0, 0, "epoch step",
      "changes once an epoch (LAVIS) or each step (the paper)" },
    REALN("init_lr", init_lr, 0, 100, "peak learning rate"),
    REALN("min_lr", min_lr, 0, 100, "where the cosine ends"),
    REALN("warmup_lr", warmup_lr, -1, 100, "where the warm-up starts; negative: init_lr"),
    REALN("lr_decay_rate", lr_decay_rate, 0, 1, "factor an epoch of linear_warmup_step_lr"),
    INT("warmup_steps", warmup_steps, 0, 1e9, "steps of linear warm-up"),
    REALN("weight_decay", weight_decay, 0, 10, "of matrices; not of biases and norms"),
    REALN("beta1", beta1, 0, 0.999999, "AdamW"),
    REALN("beta2", beta2, 0, 0.999999, "AdamW; 0.98 in the paper, 0.999 in LAVIS's files"),
    REALN("max_grad_norm", max_grad_norm, 0, 1e9, "clip gradients to this norm; 0: never (LAVIS)"),
    REALN("lr_layer_decay", lr_layer_decay, 0, 1,
          "factor of the learning rate a layer down in a trained tower"),
    BOOL("apply_layer_decay", apply_layer_decay, "false: lr_layer_decay does nothing, as in LAVIS"),
    REALN("temp_lr_factor", temp_lr, 0, 100, "factor of the learning rate of temp"),
    { "positives", CONFIG_CHOICE, FIELD(identity), 0, 0, "own image_id caption text",
      "stage1, vit: a pair's own (LAVIS); also those of its image_id; with the same first caption; text: "
      "that, or the caption that was drawn reads the same" },
    REALN("loss_weights.itc", loss_weights.itc, 0, 1e6,
          "stage1: factor of image-text contrast in the loss; 0: it is left out"),
    REALN("loss_weights.itm", loss_weights.itm, 0, 1e6, "stage1: of image-text matching"),
    REALN("loss_weights.itg", loss_weights.itg, 0, 1e6, "stage1: of writing the caption (ITG)"),
    REALN("hard_negatives", hard_negatives, 0, 1,
          "stage1: power of ITC's softmax that ITM's negatives are drawn by; 1: the paper; 0: any pair"),
    BOOL("families", families, "near-duplicates stay side by side in a batch"),
    REALN("caption_share", caption_share, 0, 1,
          "stage2: share of the sequences that are captions; the rest are questions"),
    BOOL("first_caption", first_caption, "only a picture's first caption is used, not any of them"),
    INT("questions", questions, 1, 64, "stage2 with opt: questions in a sequence"),
    REALN("context_weight", context_weight, 0, 1,
          "lm, stage2 with opt: loss weight of words that are no answer"),
    REALN("prefix_share", prefix_share, 0, 1,
          "stage2 with t5: share of the captions whose front is given, cut at random (prefix LM)"),
    INT("log_freq", log_freq, 1, 1e9, "steps between two lines on the screen"),
    INT("num_workers", num_workers, 1, 64, "threads that decode and crop pictures ahead of the step"),
    TEXT("feature_cache", feature_cache,
         "stage1, stage2: file for what a frozen tower makes of the pictures; made if it is not there; "
         "empty: none"),
    INT("cache_views", cache_views, 1, 10000, "views of a picture in it; a visit v shows view v modulo that"),
    { "cache_dtype", CONFIG_CHOICE, FIELD(cache_dtype), 0, 0, "f16 bf16 f32", "its numbers" },
    INT("cache_seed", cache_seed, -1, 9e15,
        "that views in it are drawn by, where runs of several seeds share it; -1: run.seed"),
    BOOL("memory_check", memory_check, "a run that needs more memory than there is does not start"),
    INT("valid_freq", valid_freq, 0, 1e9, "steps between two looks at datasets.val; 0: an epoch"),
    INT("val_samples", val_samples, 0, 1e9, "samples of each datasets.val that are looked at; 0: all"),
    { "best_by", CONFIG_CHOICE, FIELD(best_by), 0, 0,
      "val_loss val_loss_itc val_loss_itm val_loss_lm val_itm_acc val_accuracy",
      "what model_best.h5 is the best by" },
    INT("patience", patience, 0, 1e9, "looks without a better one that end the run; 0: never"),
    INT("save_freq", save_freq, 0, 1e9, "steps between two checkpoints; 0: save_minutes decides"),
    REALN("save_minutes", save_minutes, 0, 1e6,
          "minutes between two checkpoints; 0: only at the end, or where the run is stopped"),
};

#define COUNT(a) (int)(sizeof (a) / sizeof *(a))

train_config train_config_default(void)
{
    train_config c = {
        .model = blip2_config_default(),
        .output_dir = "out/run", .max_bad_fraction = 0.01, .memory_mb = 4096, .num_workers = 2,
        .cache_views = 1, .cache_seed = -1,
        .contrastive = { .text = { .width = 128, .layers = 2, .heads = 4, .hidden = 512 }, .embed = 128,
                         .temperature = 0.07 },
        .seed = 42, .max_epoch = 10, .batch = 32, .accumulate = 1, .accum_exact = true, .by_step = 1,
        .lr_layer_decay = 1, .apply_layer_decay = true, .temp_lr = 1, .init_lr = 1e-4,
        .min_lr = 1e-5, .warmup_lr = 1e-6, .lr_decay_rate = 1, .warmup_steps = 100,
        .weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.98,
        .loss_weights = { 1, 1, 1 }, .hard_negatives = 1,
        .caption_share = 0.3, .questions = 4, .context_weight = 0.1,
        .log_freq = 50, .save_minutes = 10, .memory_check = true,
        .data = { .train_list = "train.jsonl", .text_list = "text.txt", .min_scale = 0.5, .max_scale = 1,
                  .flip = 0.5, .magnitude = 5 },
    };
    for (int i = 0; i < CONFIG_NAMED_MOST; i++)
        c.set[i] = c.data;
    return c;
}

int train_config_tables(train_config *c, config_table to[TRAIN_TABLES])
{
    c->sets.items = c->set;
    c->sets.size = sizeof *c->set;
    to[0] = (config_table){ "run", run_keys, COUNT(run_keys), c };
    to[1] = (config_table){ "datasets", data_keys, COUNT(data_keys), &c->data };
    to[2] = (config_table){ "datasets", feed_keys, COUNT(feed_keys), c };
    to[3] = (config_table){ "datasets.*", data_keys, COUNT(data_keys), &c->sets };
    to[4] = (config_table){ "model", model_keys, COUNT(model_keys), c };
    to[5] = blip2_config_table("model", &c->model);
    to[6] = (config_table){ "", lavis_keys, lavis_key_count, c };
    return TRAIN_TABLES;
}

int train_sets(const train_config *c, const train_data **sets)
{
    *sets = c->sets.count ? c->set : &c->data;
    return c->sets.count ? c->sets.count : 1;
}
