/* settings.c - the keys of `evaluate`, LAVIS's names for them, and what a configuration may say. */
#include "eval/internal.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FIELD(f) offsetof(eval_config, f)
/* Of LAVIS's files for evaluation: what is said in another way here, or has no meaning here. */
#define ELSEWHERE(name, help) { name, CONFIG_ELSEWHERE, 0, 0, 0, NULL, "LAVIS's; " help }
static const config_key keys[] = {
    { "model.file", CONFIG_TEXT, FIELD(model), 0, 0, NULL, "the model file" },
    { "datasets.root", CONFIG_TEXT, FIELD(root), 0, 0, NULL, "folder of the data set" },
    { "datasets.images", CONFIG_TEXT, FIELD(images), 0, 0, NULL,
      "folder that pictures' paths start from; empty: root" },
    { "datasets.list", CONFIG_TEXT, FIELD(list), 0, 0, NULL, "its list of pictures, one JSON object a line" },
    { "datasets.text_processor.eval.name", CONFIG_CHOICE, FIELD(clean), 0, 0,
      "none blip_caption blip_question",
      "captions that are candidates and questions as they stand, or cleaned as in training" },
    { "run.tasks", CONFIG_LIST, FIELD(tasks), 0, 0, NULL, "captions, vqa, retrieval" },
    { "run.controls", CONFIG_BOOL, FIELD(controls), 0, 0, NULL,
      "vqa also blind and with shuffled pictures, captions given to other pictures" },
    { "run.limit", CONFIG_INT, FIELD(limit), 0, 1e9, NULL, "only so many pictures; 0: all" },
    { "run.retrieval_pictures", CONFIG_INT, FIELD(retrieval_pictures), 0, 1e6, NULL,
      "candidates of retrieval; 0: all" },
    { "run.k_test", CONFIG_INT, FIELD(k_test), 0, 1e6, NULL, "how many of the best ITM ranks again" },
    { "run.batch_size_eval", CONFIG_INT, FIELD(batch), 1, EVAL_BATCH, NULL,
      "pictures or questions at a time" },
    { "run.rerank", CONFIG_CHOICE, FIELD(rerank), 0, 0, "sum itm product itc",
      "the best k are ordered by cosine + logit of ITM (LAVIS), the logit, ITC's softmax times ITM's odds, "
      "or not again" },
    { "run.itm_weight", CONFIG_REAL, FIELD(itm_weight), 0, 1000, NULL,
      "the power of ITM's odds in rerank: product; retrieval.itm_weight of another split tells the best" },
    { "run.retrieval_captions", CONFIG_INT, FIELD(retrieval_captions), 0, 1e6, NULL,
      "captions of each picture that are candidates; 0: all" },
    { "run.max_bad_fraction", CONFIG_REAL, FIELD(max_bad_fraction), 0, 1, NULL,
      "pictures that cannot be decoded are left out up to this share, counted and named; more end the run" },
    { "run.memory_mb", CONFIG_REAL, FIELD(memory_mb), 0, 1e9, NULL,
      "MiB for the features of all pictures, 0: as there is; captions and vqa do without, and look again" },
    { "run.reference", CONFIG_CHOICE, FIELD(reference), 0, 0, "lavis hf",
      "by whose rules pictures are read and texts written, as --reference of caption" },
    { "run.prompt", CONFIG_TEXT, FIELD(prompt), 0, 0, NULL,
      "what a caption goes on from; empty: that of the model" },
    { "run.question_prompt", CONFIG_TEXT, FIELD(question_prompt), 0, 0, NULL,
      "a question's frame, {} is the question; empty: that of the model" },
    { "run.num_beams", CONFIG_INT, FIELD(beams), 1, 64, NULL, "1: greedy" },
    { "run.min_len", CONFIG_INT, FIELD(min_len), 0, 4096, NULL, "shortest caption in tokens" },
    { "run.length_penalty", CONFIG_REAL, FIELD(length_penalty), -10, 10, NULL,
      "scores of beams are divided by length to this power" },
    { "run.repetition_penalty", CONFIG_REAL, FIELD(repetition_penalty), 0.01, 10, NULL,
      "above 1: what was said is less likely, in captions and answers" },
    { "run.max_len", CONFIG_INT, FIELD(max_len), 2, 4096, NULL,
      "longest caption in tokens, their start counted; with T5 and with run.reference: hf it is not" },
    { "run.answer_len", CONFIG_INT, FIELD(answer_length), 1, 4096, NULL, "longest answer in tokens" },
    { "run.answer_min_len", CONFIG_INT, FIELD(answer_min_length), 0, 4096, NULL,
      "shortest answer in tokens" },
    { "run.answer_length_penalty", CONFIG_REAL, FIELD(answer_penalty), -10, 10, NULL,
      "length_penalty of answers; not given: 0 for OPT and -1 for T5, as LAVIS; 1 with run.reference: hf" },
    { "run.tokenizer", CONFIG_CHOICE, FIELD(tokenizer), 0, 0, "ptb whitespace",
      "words of captions that are scored" },
    { "run.seed", CONFIG_INT, FIELD(seed), 0, 9e15, NULL, "of the resamples behind the intervals" },
    { "run.meteor_jar", CONFIG_TEXT, FIELD(meteor_jar), 0, 0, NULL,
      "your own meteor-1.5.jar, run by java; empty: no METEOR" },
    { "run.spice_jar", CONFIG_TEXT, FIELD(spice_jar), 0, 0, NULL, "your own spice-1.0.jar; empty: no SPICE" },
    { "run.output_dir", CONFIG_TEXT, FIELD(output_dir), 0, 0, NULL, "where metrics.json and the results go" },
    ELSEWHERE("model.arch", "leave it out: model.file says what the model is"),
    ELSEWHERE("model.model_type", "leave it out: model.file says what the model is"),
    ELSEWHERE("model.load_finetuned", "here model.file: what `blip2 convert` made of the checkpoint"),
    ELSEWHERE("model.load_pretrained", "here model.file: what `blip2 convert` made of the checkpoint"),
    ELSEWHERE("model.finetuned", "here model.file: what `blip2 convert` made of the checkpoint"),
    ELSEWHERE("model.pretrained", "here model.file: what `blip2 convert` made of the checkpoint"),
    ELSEWHERE("model.prompt", "here run.prompt for captions, run.question_prompt for questions"),
    ELSEWHERE("model.image_size", "leave it out: the model has one size"),
    ELSEWHERE("model.use_grad_checkpoint", "leave it out: nothing is trained"),
    ELSEWHERE("model.drop_path_rate", "leave it out: nothing is trained"),
    ELSEWHERE("model.freeze_vit", "leave it out: nothing is trained"),
    ELSEWHERE("model.vit_model", "leave it out: model.file says what the model is"),
    ELSEWHERE("model.vit_precision", "leave it out: towers run as model.file stores them"),
    ELSEWHERE("model.num_query_token", "leave it out: model.file says what the model is"),
    ELSEWHERE("model.opt_model", "leave it out: the language model is in model.file"),
    ELSEWHERE("model.t5_model", "leave it out: the language model is in model.file"),
    ELSEWHERE("model.max_txt_len", "leave it out: model.file says what the model is"),
    ELSEWHERE("model.apply_lemmatizer", "leave it out: answers are compared as they are written"),
    ELSEWHERE("datasets.vis_processor", "leave it out: pictures are read as the model takes them"),
    ELSEWHERE("run.task", "here run.tasks: a list of captions, vqa, retrieval"),
    ELSEWHERE("run.optimizer", "leave it out: nothing is trained"),
    ELSEWHERE("run.lr_sched", "leave it out: nothing is trained"),
    ELSEWHERE("run.init_lr", "leave it out: nothing is trained"),
    ELSEWHERE("run.min_lr", "leave it out: nothing is trained"),
    ELSEWHERE("run.warmup_lr", "leave it out: nothing is trained"),
    ELSEWHERE("run.warmup_steps", "leave it out: nothing is trained"),
    ELSEWHERE("run.weight_decay", "leave it out: nothing is trained"),
    ELSEWHERE("run.max_epoch", "leave it out: nothing is trained"),
    ELSEWHERE("run.batch_size_train", "leave it out: nothing is trained"),
    ELSEWHERE("run.num_workers", "leave it out: pictures are read by all threads"),
    ELSEWHERE("run.evaluate", "leave it out: `evaluate` does nothing else"),
    ELSEWHERE("run.train_splits", "leave it out: nothing is trained"),
    ELSEWHERE("run.valid_splits", "here datasets.list: the list that is measured"),
    ELSEWHERE("run.test_splits", "here datasets.list: the list that is measured"),
    ELSEWHERE("run.resume_ckpt_path", "here model.file"),
    ELSEWHERE("run.device", "leave it out: the CPU"),
    ELSEWHERE("run.world_size", "leave it out: one process with all threads"),
    ELSEWHERE("run.distributed", "leave it out: one process with all threads"),
    ELSEWHERE("run.dist_url", "leave it out: one process with all threads"),
    ELSEWHERE("run.use_dist_eval_sampler", "leave it out: one process with all threads"),
    ELSEWHERE("run.amp", "leave it out: activations are f32"),
    ELSEWHERE("run.inference_method", "leave it out: answers are written freely (generate)"),
    ELSEWHERE("run.num_ans_candidates", "leave it out: answers are written freely, not ranked"),
    ELSEWHERE("run.answer_list", "leave it out: answers are written freely, not ranked"),
    ELSEWHERE("run.annotation_file", "leave it out: captions stand in datasets.list"),
    ELSEWHERE("run.ques_files", "leave it out: questions stand in datasets.list"),
    ELSEWHERE("run.anno_files", "leave it out: answers stand in datasets.list"),
    ELSEWHERE("run.use_nucleus_sampling", "leave it out: what is measured is not drawn"),
    ELSEWHERE("run.top_p", "leave it out: what is measured is not drawn"),
    ELSEWHERE("run.temperature", "leave it out: what is measured is not drawn"),
    ELSEWHERE("run.report_metric", "leave it out: all figures are reported"),
    ELSEWHERE("run.runner", "leave it out"),
};

/* Below datasets.NAME, as LAVIS names its data sets. */
#define NAMED(name) \
    ELSEWHERE(name, "a data set has no name here: datasets.root, datasets.images, datasets.list")
static const config_key named_keys[] = {
    NAMED("vis_processor"), NAMED("text_processor"), NAMED("data_type"), NAMED("build_info"), NAMED("type"),
};

eval_config eval_config_default(void)
{
    return (eval_config){ .list = "test.jsonl", .tasks = { 2, { "captions", "vqa" } }, .controls = true,
                          .k_test = 16, .batch = 32, .beams = 1, .min_len = 1, .max_len = 40,
                          .answer_length = 10, .answer_min_length = 1, .answer_penalty = NAN,
                          .retrieval_captions = 1, .length_penalty = 1, .repetition_penalty = 1,
                          .itm_weight = 1, .seed = 42,
                          .output_dir = "out/eval" };
}

config_table eval_config_table(eval_config *c)
{
    return (config_table){ "", keys, (int)(sizeof keys / sizeof *keys), c };
}

void eval_config_tables(eval_config *c, config_table to[EVAL_TABLES])
{
    c->elsewhere = (config_named){ .items = c };           /* none of its keys has a value */
    to[0] = eval_config_table(c);
    to[1] = (config_table){ "datasets.*", named_keys, (int)(sizeof named_keys / sizeof *named_keys),
                            &c->elsewhere };
}

/* ---- what is in force ---------------------------------------------------------------------------------- */
static const char *const tasks[] = { "captions", "vqa", "retrieval" };

int eval_task(const char *name, error *e)
{
    for (int i = 0; i < EVAL_TASKS; i++)
        if (!strcmp(name, tasks[i]))
            return i;
    const char *like = nearest(name, tasks, EVAL_TASKS);
    error_usage(e, "run.tasks: unknown task \"%s\"%s%s%s", QUOTE(name), like ? ", did you mean " : "",
                like ? like : "", like ? "?" : "; expected captions, vqa or retrieval");
    return -1;
}

/* ---- problems, told together --------------------------------------------------------------------------- */
void eval_problem(eval_problems *p, const error *e)
{
    if (!p->count++)
        p->first = *e;
    p->kind = e->kind > p->kind ? e->kind : p->kind;
    for (const char *line = e->text; *line; ) {            /* its own lines are further problems */
        int n = (int)strcspn(line, "\n");
        int gap = (int)strspn(line, " ");
        error_line(&p->all, "%.*s", n - gap, line + gap);
        line += n + (line[n] != 0);
    }
}

bool eval_problems_end(eval_problems *p, error *e)
{
    if (p->count < 2)
        *e = p->count ? p->first : *e;
    else {
        error_head(&p->all, p->kind, "evaluate: %d problems", p->count);
        *e = p->all;
    }
    return !p->count;
}

static void __attribute__((format(printf, 2, 3))) wrong(eval_problems *p, const char *format, ...)
{
    error e = { .kind = ERROR_USAGE };
    va_list args;
    va_start(args, format);
    vsnprintf(e.text, sizeof e.text, format, args);
    va_end(args);
    eval_problem(p, &e);
}

void eval_config_check(const eval_config *c, eval_problems *p)
{
    error e;
    if (!*c->model)
        wrong(p, "model.file: expected a model file, found nothing");
    if (!*c->root)
        wrong(p, "datasets.root: expected the folder of %s, found nothing", QUOTE(c->list));
    if (!c->tasks.count)
        wrong(p, "run.tasks: expected captions, vqa or retrieval, found none");
    for (int i = 0; i < c->tasks.count; i++)
        if (eval_task(c->tasks.item[i], &e) < 0)
            eval_problem(p, &e);
    if (c->min_len > c->max_len)
        wrong(p, "run.min_len: expected at most run.max_len, %ld, found %ld", c->max_len, c->min_len);
    if (c->answer_min_length > c->answer_length)
        wrong(p, "run.answer_min_len: expected at most run.answer_len, %ld, found %ld", c->answer_length,
              c->answer_min_length);
    if (strstr(c->prompt, "{}"))
        wrong(p, "run.prompt: it is that of captions; a question's frame is run.question_prompt");
    if (!*c->output_dir)
        wrong(p, "run.output_dir: expected a folder, found nothing");
    else if (!file_may_fill(c->output_dir, &e))
        wrong(p, "run.output_dir: %s", e.text);
    if (*c->meteor_jar && !eval_jar_there(c->meteor_jar, &e))
        eval_problem(p, &e);
    if (*c->spice_jar && !eval_jar_there(c->spice_jar, &e))
        eval_problem(p, &e);
}
