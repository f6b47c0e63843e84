/* step.c - one training step on random inputs, taken apart (step.h). Weights and inputs are random; only
 * shapes and connections are the model's own. */
#include "cli/step.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 8 };                    /* for a model file, which does not say what it was trained with */

/* ---- opening ------------------------------------------------------------------------------------------ */
static bool is_model_file(const char *path)
{
    size_t n = strlen(path);
    return n > 3 && !strcmp(path + n - 3, ".h5");
}

/* The task that a model file was made for, by its parts; what is frozen then. */
static bool from_model(step *s, const char *path, error *e)
{
    h5 *f = h5_open(path, e);
    bool ok = f && blip2_read_config(f, &s->c.model, e);
    h5_close(f);
    if (!ok)
        return false;
    const blip2_config *m = &s->c.model;
    bool llm = m->llm != BLIP2_LLM_NONE, bridge = blip2_bridged(m);
    if (!llm && !m->stage1 && m->vision.kind == BLIP2_VIT_NONE)
        return error_set(e, "%s: has no part that a training step could run", QUOTE(path));
    s->c.task = bridge && m->stage1 ? TRAIN_STAGE1 : bridge && llm ? TRAIN_STAGE2
              : llm ? TRAIN_LM : TRAIN_VIT;
    s->c.batch = BATCH;
    if (bridge) {
        static const char *const towers[] = { "visual_encoder", "opt_model", "t5_model" };
        for (s->c.freeze.count = 0; s->c.freeze.count < 3; s->c.freeze.count++)
            snprintf(s->c.freeze.item[s->c.freeze.count], CONFIG_TEXT_SIZE, "%s", towers[s->c.freeze.count]);
    }
    return true;
}

/* Special ids come from a tokenizer, which is not read here: they only have to exist. */
static void keep_inside(long *id, long vocab)
{
    if (*id >= vocab)
        *id = vocab - 1;
}

static bool from_config(step *s, const char *path, char *const *words, int count, error *e)
{
    if (!train_config_open(&s->c, path, words, count, 0, NULL, e))
        return false;
    train_choose_parts(&s->c);
    blip2_config *m = &s->c.model;
    keep_inside(&m->cls, m->qformer.vocab);
    keep_inside(&m->sep, m->qformer.vocab);
    keep_inside(&m->dec, m->qformer.vocab);
    keep_inside(&m->opt.bos, m->opt.vocab);
    keep_inside(&m->opt.eos, m->opt.vocab);
    return true;
}

static void init(void *context)
{
    step *s = context;
    blip2_model_init(&s->m, s->store, &s->c.model);
    if (s->c.task == TRAIN_VIT) {
        blip2_contrastive_config text = s->c.contrastive;
        text.text.vocab = s->c.model.qformer.vocab;
        text.text.positions = s->c.model.max_text;
        blip2_contrastive_init(&s->contrastive, nn_sub(nn_root(s->store), "contrastive"),
                               s->c.model.vision.width, &text);
    }
    for (int i = 0; i < s->c.freeze.count; i++)
        nn_freeze(s->store, s->c.freeze.item[i]);
    if (s->c.freeze_vit)
        nn_freeze(s->store, "visual_encoder");
}

bool step_open(step *s, const char *path, char *const *words, int count, long batch, uint64_t seed, error *e)
{
    *s = (step){ .c = train_config_default() };
    bool model = is_model_file(path);
    if (model && count)
        return error_usage(e, "%s: key=value changes a configuration; a model file is what it is",
                           QUOTE(path));
    if (!(model ? from_model(s, path, e) : from_config(s, path, words, count, e)))
        return false;
    if (!blip2_config_check(path, &s->c.model, e))
        return false;
    s->batch = batch ? batch : s->c.batch;
    long soft = s->c.task == TRAIN_STAGE2 ? blip2_prompts(&s->c.model, NULL) : 0;
    long room = s->c.model.opt.positions - soft;
    bool opt = s->c.task >= TRAIN_STAGE2 && s->c.model.llm == BLIP2_LLM_OPT;
    s->text = opt && room < s->c.model.max_text ? room : s->c.model.max_text;
    if (s->text < 3)
        return error_usage(e, "%s: max_txt_len: expected at least 3, found %ld", QUOTE(path), s->text);
    error why;
    if (!(s->store = nn_store_new(seed)) || !(s->t = ag_tape_new()))
        return error_set(e, "out of memory");
    return (ag_try(s->t, init, s, &why) || error_usage(e, "%s: %s", QUOTE(path), why.text))
           && nn_build(s->store, true, e);
}

void step_close(step *s)
{
    nn_store_free(s->store);
    ag_tape_free(s->t);
    mem_free(s->nodes);
}

/* ---- random inputs ------------------------------------------------------------------------------------ */
static tensor *normal(step *s, int ndim, const long *dim)
{
    tensor *x = ag_new(s->t, ndim, dim);
    for (long i = 0; i < x->size; i++)
        x->data[i] = (real)ag_normal(ag_mix(s->store->seed, 1), (uint64_t)i);
    return x;
}

/* (B,T): `first`, words, `last` in the last column; no padding. */
static blip2_text words_of(const step *s, long B, long T, long vocab, long first, long last)
{
    int *ids = ag_alloc(s->t, B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(s->t, B * T);
    memset(mask, 1, (size_t)(B * T));
    for (long i = 0; i < B * T; i++) {
        double u = ag_uniform(ag_mix(s->store->seed, 2), (uint64_t)i);
        long word = (long)(u * (double)vocab);
        ids[i] = (int)((i % T == 0 ? first : i % T == T - 1 ? last : word) % vocab);
    }
    return (blip2_text){ B, T, ids, mask };
}

/* (B,N,E) by the tower; one that is frozen leaves no node, and is timed apart. */
static tensor *features(step *s)
{
    const blip2_config *c = &s->c.model;
    double from = clock_seconds();
    if (c->vision.kind == BLIP2_VIT_NONE)
        return s->input = normal(s, DIMS(s->batch, 257, c->qformer.memory_width));
    tensor *pictures = normal(s, DIMS(s->batch, 3, c->vision.image_size, c->vision.image_size));
    const char *part = ag_part(s->t, "vision tower");
    tensor *x = blip2_vision_features(&s->m, s->t, pictures);
    ag_part(s->t, part);
    s->input = x->needs_grad ? pictures : x;
    s->tower = x->needs_grad ? 0 : clock_seconds() - from;
    s->mark = clock_seconds();
    return x;
}

static tensor *build(step *s)
{
    const blip2_config *c = &s->c.model;
    long B = s->batch, T = s->text;
    bool t5 = c->llm == BLIP2_LLM_T5;
    blip2_text bert = words_of(s, B, T, c->qformer.vocab ? c->qformer.vocab : 1, c->cls, c->sep);
    blip2_stage1_out first;
    blip2_stage2_out second;
    if (s->c.task == TRAIN_STAGE1) {
        blip2_stage1(&s->m, s->t, &(blip2_stage1_in){ .features = features(s), .text = bert }, &first);
        return first.loss;
    }
    if (s->c.task == TRAIN_VIT) {
        long *same = ag_alloc(s->t, B * (long)sizeof *same);
        for (long b = 0; b < B; b++)
            same[b] = b;
        s->input = normal(s, DIMS(B, 3, c->vision.image_size, c->vision.image_size));
        return blip2_contrastive_loss(&s->contrastive, &s->m.vision, s->t, s->input, bert, same, NULL, NULL);
    }
    long vocab = t5 ? c->t5.vocab : c->opt.vocab, eos = t5 ? c->t5.eos : c->opt.eos;
    blip2_text words = words_of(s, B, T, vocab, t5 ? 5 : c->opt.bos, eos);
    blip2_stage2_in in = { .features = s->c.task == TRAIN_STAGE2 ? features(s) : NULL, .text = words };
    in.target = t5 ? words : (blip2_text){ 0 };
    in.question = c->question_in_qformer ? bert : (blip2_text){ 0 };
    blip2_stage2(&s->m, s->t, &in, false, &second);
    return second.loss;
}

/* ---- watching ----------------------------------------------------------------------------------------- */
static double norm_of(const tensor *x)
{
    double sum = 0;
    if (!x->grad || x->grad_fresh)
        return NAN;
    for (long i = 0; i < x->size; i++)
        sum += (double)x->grad[i] * (double)x->grad[i];
    return sqrt(sum);
}

static void seen(void *context, const ag_node *n, long index, bool backward)
{
    step *s = context;
    double now = clock_seconds();
    if (index < s->count && backward && s->nodes[index].node == n) {
        s->nodes[index].backward = now - s->mark;
        s->nodes[index].norm = norm_of(n->out);
    } else if (index < s->count && !backward) {
        s->nodes[index] = (step_node){ .node = n, .part = n->part ? n->part : "", .forward = now - s->mark,
                                       .norm = NAN };
    }
    s->mark = clock_seconds();
}

/* What the inputs are made of decides where a node without parameters stands. */
static bool has_parameter(const ag_node *n, char to[STEP_PATH])
{
    for (int i = n->nin - 1; i >= 0; i--)  /* the last: a tied matrix stands before its own bias */
        if (n->in[i] && n->in[i]->name) {
            const char *name = n->in[i]->name, *dot = strrchr(name, '.');
            snprintf(to, STEP_PATH, "%.*s", dot ? (int)(dot - name) : (int)strlen(name), name);
            return true;
        }
    return false;
}

static bool is_number(const char *word, size_t n)
{
    return n > 0 && strspn(word, "0123456789") >= n;
}

/* "Qformer.bert.encoder.layer.0.attention.self" -> "layer 0.attention.self"; "Qformer.cls.x" -> "cls.x";
 * "opt_model.model.decoder.layers.0.fc1" -> "layer 0.fc1";
 * "t5_model.decoder.block.0.layer.0" -> "decoder block 0.layer.0": T5 has two of each number */
static void shorten(char path[STEP_PATH])
{
    const char *half = !strncmp(path, "t5_model.encoder.", 17) ? "encoder "
                     : !strncmp(path, "t5_model.decoder.", 17) ? "decoder " : "";
    static const char *const containers[] = { "Qformer", "bert", "opt_model", "t5_model", "model", "encoder",
                                              "decoder", "visual_encoder", "transformer", "contrastive",
                                              "text_encoder" };
    char *from = path;
    for (char *dot; (dot = strchr(from, '.')); from = dot + 1) {
        bool container = false;
        for (size_t i = 0; i < sizeof containers / sizeof *containers; i++)
            container |= strlen(containers[i]) == (size_t)(dot - from)
                         && !strncmp(containers[i], from, (size_t)(dot - from));
        if (!container)
            break;
    }
    size_t before = strlen(half);
    memmove(path + before, from, strlen(from) + 1);        /* never longer than what was cut off */
    memcpy(path, half, before);
    char *dot = strchr(path, '.');
    if (!dot || !is_number(dot + 1, strcspn(dot + 1, ".")))
        return;
    *dot = ' ';
    if (dot > path + 1 && dot[-1] == 's')                  /* one of the "layers" is a layer */
        memmove(dot - 1, dot, strlen(dot) + 1);
}

long step_producer(const step *s, const tensor *x)
{
    const tensor *whole = x && x->whole ? x->whole : x;
    for (long i = s->count - 1; whole && i >= 0; i--)
        for (int k = 0; k < s->nodes[i].node->nout; k++)
            if (s->nodes[i].node->outs[k] == whole)
                return i;
    return -1;
}

/* A node without parameters stands where the last of its inputs was made; attention one level above. */
static void place(step *s, long i)
{
    step_node *n = &s->nodes[i];
    long last = -1;
    if (has_parameter(n->node, n->module)) {
        shorten(n->module);
        return;
    }
    for (int k = 0; k < n->node->nin; k++) {
        long from = step_producer(s, n->node->in[k]);
        last = from > last && from < i && !strcmp(s->nodes[from].part, n->part) ? from : last;
    }
    if (last >= 0)
        memcpy(n->module, s->nodes[last].module, STEP_PATH);
    char *dot = strrchr(n->module, '.');
    if (!strcmp(n->node->op->name, "attention") && dot)
        *dot = 0;
}

static void go(void *context)
{
    step *s = context;
    ag_reset(s->t);
    ag_training(s->t, true);
    ag_seed(s->t, (ag_random){ .seed = s->store->seed, .step = 1 });
    nn_zero_grad(s->store);
    s->mark = s->forward = clock_seconds();
    s->loss = build(s);
    s->backward = clock_seconds();
    s->forward = s->backward - s->forward;
    s->mark = clock_seconds();
    ag_backward(s->t, s->loss);
    s->backward = clock_seconds() - s->backward;
}

bool step_run(step *s, error *e)
{
    if (!ag_try(s->t, go, s, e))                           /* the first one warms up and counts */
        return false;
    long count = ag_node_count(s->t);
    if (!(s->nodes = mem_new((size_t)count * sizeof *s->nodes)))
        return error_set(e, "out of memory for %ld nodes", count);
    s->count = count;
    ag_watch(s->t, seen, s);
    bool ok = ag_try(s->t, go, s, e);
    ag_watch(s->t, NULL, NULL);
    for (long i = 0; ok && i < count; i++)
        place(s, i);
    return ok;
}

void step_group(const step_node *n, long depth, char to[STEP_PATH])
{
    const char *end = n->module;
    for (long i = 0; i < depth && *end; i++) {
        end += *end == '.';
        end += strcspn(end, ".");
    }
    snprintf(to, STEP_PATH, "%.*s", (int)(end - n->module), n->module);
}
