/* hf.c - a folder as Hugging Face publishes models, with expected.h5 beside config.json: converted into a
 * model file, opened, and run on the inputs of expected.h5. Compared: activations, logits, losses, every
 * gradient of what BLIP-2 trains, the distributions that sampling draws from, and the ids of every search
 * under gen/ with its scores. Kinds: opt, t5, itm (retrieval), lm (a language model alone). The double build
 * compares f64/, the float build f32/. */
#include "convert/convert.h"
#include "convert/names.h"
#include "data/data.h"
#include "tests/golden/golden.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 4096, IGNORED = -100 };
#define SIDE (REAL == 64 ? "f64" : "f32")

typedef struct hf {
    golden *g;
    tape *t;
    blip2_model m;
    tensor *pixels, *image;            /* (B,3,S,S), (B,N,E) of the tower */
    long B, Q;
} hf;

static const char *name_of(const char *dataset)
{
    static char to[PATH];
    snprintf(to, PATH, "%s/%s", SIDE, dataset);
    return to;
}

static void compare(hf *x, const char *dataset, const tensor *ours)
{
    if (golden_has(x->g, name_of(dataset)))
        golden_compare(x->g, name_of(dataset), ours);
}

/* Through a model file in a folder of its own, which is gone again once the model is open. */
static void open_model(hf *x)
{
    static const char *const frozen[] = { "visual_encoder", "opt_model", "t5_model", NULL };
    char folder[PATH], file[PATH + 16], source[PATH];
    const char *path = golden_file(x->g), *where = getenv("TMPDIR");
    error e;
    bool sealed;
    snprintf(folder, sizeof folder, "%s/blip2-golden-XXXXXX", where ? where : "/tmp");
    snprintf(source, sizeof source, "%.*s", (int)(strlen(path) - strlen("/expected.h5")), path);
    if (!mkdtemp(folder))
        ag_fail("golden", "%s: cannot be made", folder);
    snprintf(file, sizeof file, "%s/model.h5", folder);
    const char *const sources[] = { source };
    bool ok = convert_run(sources, 1, file, NULL, &e) && blip2_open_case(&x->m, file, frozen, &sealed, &e);
    unlink(file);
    rmdir(folder);
    if (!ok)
        ag_fail("golden", "%s", e.text);
    nn_zero_grad(x->m.store);
}

/* Columns from .. of ids under `ids` and of the mask under `mask`. */
static blip2_text text_of(hf *x, const char *ids, const char *mask, long from)
{
    long n, dim[8];
    golden_dims(x->g, ids, dim);
    const int *all = golden_ints(x->g, x->t, ids, &n), *keep = golden_ints(x->g, x->t, mask, &n);
    long B = dim[0], T = dim[1] - from;
    int *to = ag_alloc(x->t, B * T * (long)sizeof *to);
    unsigned char *may = ag_alloc(x->t, B * T);
    for (long b = 0; b < B; b++)
        for (long i = 0; i < T; i++) {
            to[b * T + i] = all[b * dim[1] + from + i];
            may[b * T + i] = keep[b * dim[1] + from + i] != 0;
        }
    return (blip2_text){ B, T, to, may };
}

/* ---- pictures, tower, Q-Former --------------------------------------------------------------------- */
static void compare_pictures(hf *x)
{
    long dim[8], S = x->m.config.vision.image_size, n;
    golden_dims(x->g, "resized_u8", dim);
    const int *theirs = golden_ints(x->g, x->t, "resized_u8", &n);
    const real *pixels = golden_reals(x->g, x->t, "pixel_values", &n);
    real *ours = ag_alloc_real(x->t, 3 * S * S);
    long wrong = 0;
    double worst = 0;
    for (long b = 0; b < dim[0]; b++) {
        char path[PATH];
        const char *file = golden_file(x->g);
        picture p = { 0 }, small = { 0 };
        error e;
        snprintf(path, sizeof path, "%.*s/inputs/image%ld.png", (int)(strlen(file) - strlen("/expected.h5")),
                 file, b);
        if (!picture_read_as(&p, PICTURE_HF, path, &e) || !picture_resize(&small, &p, S, S, &e))
            ag_fail("golden", "%s", e.text);
        picture_normalise_as(PICTURE_HF, small.rgb, S, ours);
        for (long i = 0; i < 3 * S * S; i++) {
            wrong += small.rgb[i] != theirs[b * 3 * S * S + i];
            worst = fmax(worst, fabs((double)ours[i] - (double)pixels[b * 3 * S * S + i]));
        }
        picture_free(&p);
        picture_free(&small);
    }
    golden_result(x->g, "resized_u8", dim[0] * 3 * S * S, (double)wrong, 0);
    golden_result(x->g, "pixel_values", dim[0] * 3 * S * S, worst, 4e-7);
}

/* The tower's features, and what follows the norm behind it. */
static void look(hf *x)
{
    bool was = ag_record_on(x->t, false);
    compare_pictures(x);
    x->pixels = golden_tensor(x->g, x->t, "pixel_values");
    x->image = blip2_vision_features(&x->m, x->t, x->pixels);              /* (B,N,E) */
    x->B = x->image->dim[0];
    x->Q = x->m.config.qformer.queries;
    tensor *normed = nn_layer_norm_forward(&x->m.ln_vision, x->t, x->image);
    compare(x, "vision_last_hidden", normed);
    tensor *twice = nn_layer_norm_forward(&x->m.ln_vision, x->t, ag_slice(x->t, normed, 1, 0, 1));
    compare(x, "vision_pooler", ag_reshape(x->t, twice, DIMS(x->B, normed->dim[2])));
    ag_record_on(x->t, was);
}

/* Every gradient under grad/, which has Hugging Face's names; the key biases are zero by symmetry. */
static void compare_grads(hf *x)
{
    const nn_store *s = x->m.store;
    char dataset[600];
    nn_finish_grad(x->m.store);
    for (long i = 0; i < s->count; i++) {
        convert_part part;
        const nn_entry *p = &s->entries[i];
        if (p->alias_of || p->frozen || !convert_hf_name(p->name, &part))
            continue;
        snprintf(dataset, sizeof dataset, "%s/grad/%s", SIDE, part.name);
        if (golden_has(x->g, dataset))
            golden_compare_reals(x->g, dataset, p->value->grad, p->value->size);
    }
}

static void compare_loss(hf *x, tensor *loss)
{
    double theirs, ours = (double)ag_value(loss);
    long n;
    compare(x, "loss", loss);
    if (golden_has(x->g, name_of("hf_loss"))) { /* Hugging Face computes it in float, whatever the model is */
        theirs = (double)golden_reals(x->g, x->t, name_of("hf_loss"), &n)[0];
        golden_seen(x->g, name_of("hf_loss"));
        golden_result(x->g, "hf_loss", 1, fabs(ours - theirs) / fabs(theirs), 1e-5);
    }
    ag_backward(x->t, loss);
    compare_grads(x);
}

/* ---- a batch with its loss ------------------------------------------------------------------------- */
static tensor *bridge(hf *x)                               /* (B,Q,L) */
{
    tensor *queries = blip2_image_queries(&x->m, x->t, x->image, NULL, NULL);          /* (B,Q,D) */
    compare(x, "qformer_last_hidden", queries);
    tensor *projected = nn_linear_forward(&x->m.llm_proj, x->t, queries);
    compare(x, "projected", projected);
    return projected;
}

/* The mask of [queries; text]. */
static const unsigned char *whole_mask(hf *x, blip2_text text)
{
    unsigned char *mask = ag_alloc(x->t, text.B * (x->Q + text.T));
    for (long b = 0; b < text.B; b++)
        for (long i = 0; i < x->Q + text.T; i++)
            mask[b * (x->Q + text.T) + i] = i < x->Q || text.mask[b * text.T + i - x->Q];
    return mask;
}

/* labels (B,S) of positions; with `shifted` position i says label i + 1. */
static tensor *mean_loss(hf *x, tensor *logits, bool shifted)
{
    long n, S = logits->dim[1], last = shifted ? S - 1 : S;
    const int *labels = golden_ints(x->g, x->t, "labels", &n);
    int *ids = ag_alloc(x->t, x->B * last * (long)sizeof *ids);
    for (long b = 0; b < x->B; b++)
        for (long i = 0; i < last; i++)
            ids[b * last + i] = labels[b * S + i + shifted];
    tensor *rows = shifted ? ag_slice(x->t, logits, 1, 0, last) : logits;
    return ag_cross_entropy(x->t, rows, &(ag_ce){ .ids = ids, .ignore = IGNORED });
}

static void opt_batch(hf *x)
{
    blip2_text text = text_of(x, "input_ids", "attention_mask", x->Q);
    tensor *words = blip2_opt_embed(&x->m.opt, x->t, text.ids, text.B, text.T);
    tensor *inputs = ag_concat(x->t, 2, (tensor *[]){ bridge(x), words }, 1);          /* (B,Q+T,L) */
    tensor *hidden = blip2_opt_forward(&x->m.opt, x->t, inputs, whole_mask(x, text), NULL);
    tensor *logits = blip2_opt_logits(&x->m.opt, x->t, hidden);
    compare(x, "logits", logits);
    compare_loss(x, mean_loss(x, logits, true));
}

static void t5_batch(hf *x)
{
    const blip2_t5 *m = &x->m.t5;
    tape *t = x->t;
    long n, To, dim[8];
    blip2_text text = text_of(x, "input_ids", "attention_mask", x->Q);
    const int *labels = golden_ints(x->g, t, "labels", &n),
              *keep = golden_ints(x->g, t, "decoder_attention_mask", &n);
    golden_dims(x->g, "labels", dim);
    To = dim[1];
    int *fed = ag_alloc(t, n * (long)sizeof *fed);
    unsigned char *mask = ag_alloc(t, n);
    for (long i = 0; i < n; i++) {
        fed[i] = (int)(i % To == 0                ? m->config.start
                       : labels[i - 1] == IGNORED ? m->config.pad
                                                  : labels[i - 1]);
        mask[i] = keep[i] != 0;
    }
    tensor *words = blip2_t5_embed(m, t, text.ids, text.B, text.T);
    tensor *inputs = ag_concat(t, 2, (tensor *[]){ bridge(x), words }, 1);             /* (B,Q+T,L) */
    const unsigned char *may = whole_mask(x, text);
    tensor *encoded = blip2_t5_encode(m, t, inputs, may, NULL);
    compare(x, "encoder_last_hidden", encoded);
    nn_kv *memory = ag_alloc(t, m->config.decoder_layers * (long)sizeof *memory);
    blip2_t5_memory(m, t, encoded, memory);
    tensor *said = blip2_t5_embed(m, t, fed, x->B, To);
    tensor *hidden = blip2_t5_decode(m, t, &(blip2_t5_pass){
        .embeddings = said, .mask = mask, .memory = memory, .memory_mask = may });
    tensor *logits = blip2_t5_logits(m, t, hidden);
    compare(x, "logits", logits);
    compare_loss(x, mean_loss(x, logits, false));
}

/* ---- what is written ------------------------------------------------------------------------------- */
static double argument(hf *x, const char *run, const char *key, double otherwise)
{
    error e;
    double value;
    h5 *f = h5_open(golden_file(x->g), &e);
    bool there = f && h5_number(f, run, key, &value, &e);
    h5_close(f);
    return there ? value : otherwise;
}

static bool is_never(hf *x, const char *run)
{
    error e;
    h5 *f = h5_open(golden_file(x->g), &e);
    char *text = f ? h5_text(f, run, "early_stopping", &e) : NULL;
    bool never = text && !strcmp(text, "never");
    mem_free(text);
    h5_close(f);
    return never;
}

static blip2_generate rules(hf *x, const char *run, const int *given, long count)
{
    bool opt = x->m.config.llm == BLIP2_LLM_OPT;
    return (blip2_generate){ .reference = BLIP2_HF,
                             .beams = (int)argument(x, run, "num_beams", 1),
                             .returns = (int)argument(x, run, "num_return_sequences", 1),
                             .max_new_tokens = (int)argument(x, run, "max_new_tokens", 20),
                             .length_penalty = argument(x, run, "length_penalty", 1),
                             .min_new_tokens = (int)argument(x, run, "min_new_tokens", 0),
                             .repetition_penalty = argument(x, run, "repetition_penalty", 1),
                             .no_repeat_ngram = (int)argument(x, run, "no_repeat_ngram_size", 0),
                             .until = is_never(x, run)                        ? BLIP2_UNTIL_CERTAIN
                                      : argument(x, run, "early_stopping", 0) ? BLIP2_UNTIL_FULL
                                                                              : BLIP2_UNTIL_BEST,
                             .given = opt ? given : NULL,
                             .given_count = opt ? count : 0 };
}

/* One row of ids as Hugging Face returns it: what was given (OPT) or the start (T5), the text,
    and filling. */
static long wrong_ids(hf *x, const blip2_sequence *text, const int *given, long count, const int *theirs,
                      long n, bool beams)
{
    bool opt = x->m.config.llm == BLIP2_LLM_OPT;
    long wrong = 0, at = opt ? count : 1;
    long fill = opt                            ? x->m.config.opt.pad
                : beams && !x->m.config.t5.pad ? x->m.config.t5.eos
                                               : x->m.config.t5.pad;
    for (long i = 0; i < n; i++) {
        long ours = i < at ? (opt ? given[i] : x->m.config.t5.start)
                  : i - at < text->length ? text->ids[i - at] : fill;
        wrong += ours != theirs[i];
    }
    return wrong + (at + text->length > n);
}

/* A search under gen/: with the prompts of gen_input_ids, or with none but what begins every text. */
static void compare_search(hf *x, const char *run)
{
    char name[PATH + 16];
    long n, dim[8], given_count = x->Q + 1,
                    llm_bos = x->m.config.llm == BLIP2_LLM_OPT ? x->m.config.opt.bos : 1;
    bool plain = strstr(run, "/noprompt") != NULL;
    blip2_text prompt;
    const int *given;
    if (plain) {
        int *ids = ag_alloc(x->t, x->B * given_count * (long)sizeof *ids),
            *one = ag_alloc(x->t, x->B * (long)sizeof *one);
        unsigned char *mask = ag_alloc(x->t, x->B);
        for (long i = 0; i < x->B * given_count; i++)
            ids[i] = i % given_count == x->Q ? (int)llm_bos : -1; /* -1: an image token, checked below */
        for (long b = 0; b < x->B; b++) {
            one[b] = (int)llm_bos;
            mask[b] = 1;
        }
        const int *shown = golden_ints(x->g, x->t, "input_ids", &n);
        for (long i = 0; i < x->B * given_count; i++)
            ids[i] = ids[i] < 0 ? shown[0] : ids[i];
        prompt = (blip2_text){ x->B, 1, one, mask };
        given = ids;
    } else {
        prompt = text_of(x, "gen_input_ids", "gen_attention_mask", x->Q);
        given = golden_ints(x->g, x->t, "gen_input_ids", &n);
        given_count = x->Q + prompt.T;
    }
    blip2_generate o = rules(x, run, given, given_count);
    blip2_sequence *texts = ag_alloc(x->t, x->B * o.returns * (long)sizeof *texts);
    blip2_llm_generate(&x->m, x->t, x->image, (blip2_text){ 0 }, prompt, &o, texts);
    snprintf(name, sizeof name, "%s/ids", run);
    golden_dims(x->g, name, dim);
    const int *theirs = golden_ints(x->g, x->t, name, &n);
    long wrong = dim[0] != x->B * o.returns;
    for (long r = 0; r < dim[0] && !wrong; r++)
        wrong += wrong_ids(x, &texts[r], given + r / o.returns * given_count, given_count,
                           theirs + r * dim[1], dim[1], o.beams > 1);
    golden_result(x->g, name, n, (double)wrong, 0);
    snprintf(name, sizeof name, "%s/scores", run);
    if (!golden_has(x->g, name))
        return;
    const real *scores = golden_reals(x->g, x->t, name, &n);               /* Hugging Face's are float */
    double worst = 0;
    for (long i = 0; i < n; i++)
        worst = fmax(worst, fabs(texts[i].score - (double)scores[i]) / fmax(1, fabs((double)scores[i])));
    golden_result(x->g, name, n, worst, REAL == 64 ? 5e-6 : 5e-5);
}

static void compare_searches(hf *x)
{
    error e;
    long n = 0;
    h5 *f = h5_open(golden_file(x->g), &e);
    char **all = f ? h5_list(f, "gen", &n, &e) : NULL;
    h5_close(f);
    for (long i = 0; i < n; i++) {
        char run[PATH];
        const char *name = all[i], *tail = strrchr(name, '/');
        snprintf(run, sizeof run, "%s%.*s", strncmp(name, "gen/", 4) ? "gen/" : "",
                 (int)(tail ? tail - name : 0), name);
        if (tail && !strcmp(tail, "/ids"))
            compare_search(x, run);
    }
    h5_list_free(all, n);
}

/* The first position's logits, and what sampling would draw from. */
static void compare_distributions(hf *x)
{
    blip2_text text = text_of(x, "gen_input_ids", "gen_attention_mask", x->Q);
    tape *t = x->t;
    error e;
    long n = 0, V = blip2_llm_of(&x->m.config).vocab;
    tensor *prompt = nn_linear_forward(&x->m.llm_proj, t,
                                       blip2_image_queries(&x->m, t, x->image, NULL, NULL)),
           *last;
    const unsigned char *may = whole_mask(x, text);
    if (x->m.config.llm == BLIP2_LLM_OPT) {
        tensor *words = blip2_opt_embed(&x->m.opt, t, text.ids, text.B, text.T);
        tensor *hidden = blip2_opt_forward(&x->m.opt, t, ag_concat(t, 2, (tensor *[]){ prompt, words }, 1),
                                           may, NULL);
        last = blip2_opt_logits(&x->m.opt, t, ag_slice(t, hidden, 1, x->Q + text.T - 1, 1));
    } else {
        const blip2_t5 *m = &x->m.t5;
        tensor *words = blip2_t5_embed(m, t, text.ids, text.B, text.T);
        nn_kv *memory = ag_alloc(t, m->config.decoder_layers * (long)sizeof *memory);
        blip2_t5_memory(m, t,
                        blip2_t5_encode(m, t, ag_concat(t, 2, (tensor *[]){ prompt, words }, 1), may, NULL),
                        memory);
        int *start = ag_alloc(t, x->B * (long)sizeof *start);
        for (long b = 0; b < x->B; b++)
            start[b] = (int)m->config.start;
        last = blip2_t5_logits(m, t, blip2_t5_decode(m, t, &(blip2_t5_pass){
            .embeddings = blip2_t5_embed(m, t, start, x->B, 1), .memory = memory, .memory_mask = may }));
    }
    tensor *logits = ag_reshape(t, last, DIMS(x->B, V));
    compare(x, "step0_logits", logits);
    h5 *f = h5_open(golden_file(x->g), &e);
    char **all = f ? h5_list(f, name_of("nucleus"), &n, &e) : NULL;
    h5_close(f);
    real *z = ag_alloc_real(t, x->B * V), *p = ag_alloc_real(t, x->B * V);
    ag_read(logits, z);
    for (long i = 0; i < n; i++) {
        blip2_generate o = { 0 };
        char name[PATH];
        const char *tail = strrchr(all[i], '/') ? strrchr(all[i], '/') + 1 : all[i];
        if (sscanf(tail, "t%lf_k%d_p%lf", &o.temperature, &o.top_k, &o.top_p) != 3)
            continue;
        for (long b = 0; b < x->B; b++)
            blip2_distribution(t, &o, V, z + b * V, p + b * V);
        snprintf(name, sizeof name, "%s/nucleus/%s", SIDE, tail);
        golden_compare_reals(x->g, name, p, x->B * V);
    }
    h5_list_free(all, n);
}

/* ---- retrieval ------------------------------------------------------------------------------------- */
static tensor *matching(hf *x, const nn_kv *memory, blip2_text text, long shift, tensor **hidden)
{
    int *row = ag_alloc(x->t, x->B * (long)sizeof *row);
    for (long b = 0; b < x->B; b++)
        row[b] = (int)((b + shift) % x->B);
    return blip2_itm_logits(&x->m, x->t, memory, row, text, hidden);
}

static void retrieval(hf *x)
{
    tape *t = x->t;
    blip2_text texts = text_of(x, "input_ids", "attention_mask", x->Q), pairs = texts;
    long M = texts.B, E = x->m.config.embed;
    pairs.B = x->B;                                        /* text i goes with picture i */
    nn_kv *memory = ag_alloc(t, x->m.config.qformer.layers * (long)sizeof *memory);
    tensor *queries = blip2_image_queries(&x->m, t, x->image, memory, NULL), *both;
    tensor *image = blip2_image_features(&x->m, t, queries);               /* (B,Q,E) */
    compare(x, "image_embeds", image);
    tensor *hidden = blip2_text_hidden(&x->m, t, texts);
    compare(x, "text_last_hidden", hidden);
    tensor *text = blip2_text_feature(&x->m, t, hidden);                   /* (M,E) */
    compare(x, "text_embeds", text);
    tensor *all = ag_matmul(t, ag_reshape(t, image, DIMS(1, x->B * x->Q, E)), text, false, true);
    tensor *itc = ag_max_axis(t, ag_reshape(t, all, DIMS(x->B, x->Q, M)), 1);          /* (B,M) */
    compare(x, "itc_logits_per_image", itc);
    tensor *right = matching(x, memory, pairs, 0, &both), *shifted = matching(x, memory, pairs, 1, NULL);
    compare(x, "itm_last_hidden", both);
    compare(x, "itm_logits", right);
    compare(x, "itm_logits_shifted", shifted);
    int *own = ag_alloc(t, x->B * (long)sizeof *own), *yes = ag_alloc(t, x->B * (long)sizeof *yes);
    int *no = ag_alloc(t, x->B * (long)sizeof *no);
    for (long b = 0; b < x->B; b++) {
        own[b] = (int)b;
        yes[b] = 1;
        no[b] = 0;
    }
    tensor *loss = ag_cross_entropy(t, ag_scale(t, itc, 1 / 0.07), &(ag_ce){ .ids = own, .ignore = IGNORED });
    loss = ag_add(t, loss, ag_cross_entropy(t, right, &(ag_ce){ .ids = yes, .ignore = IGNORED }));
    loss = ag_add(t, loss, ag_cross_entropy(t, shifted, &(ag_ce){ .ids = no, .ignore = IGNORED }));
    compare_loss(x, loss);
}

/* ---- a language model alone ------------------------------------------------------------------------ */
static void compare_alone(hf *x, blip2_text text, const char *name, int beams)
{
    long n, dim[8];
    golden_dims(x->g, name, dim);
    const int *theirs = golden_ints(x->g, x->t, name, &n);
    blip2_generate o = { .reference = BLIP2_HF,
                         .beams = beams,
                         .returns = 1,
                         .length_penalty = 1,
                         .repetition_penalty = 1,
                         .max_new_tokens = (int)(dim[1] - text.T),
                         .given = text.ids,
                         .given_count = text.T };
    blip2_sequence *said = ag_alloc(x->t, dim[0] * (long)sizeof *said);
    text.B = dim[0];
    blip2_llm_generate(&x->m, x->t, NULL, (blip2_text){ 0 }, text, &o, said);
    long wrong = 0;
    for (long b = 0; b < dim[0]; b++)
        wrong += wrong_ids(x, &said[b], text.ids + b * text.T, text.T, theirs + b * dim[1], dim[1],
                           beams > 1);
    golden_result(x->g, name, n, (double)wrong, 0);
}

/* Rows (B,T,C) of real tokens; a row of padding looks at nothing that is there, and means nothing: it is
 * passed over. */
static void compare_real_rows(hf *x, const char *dataset, const tensor *ours, blip2_text text)
{
    long n, C = ours->dim[2];
    const real *theirs = golden_reals(x->g, x->t, name_of(dataset), &n);
    real *mine = ag_alloc_real(x->t, ours->size);
    ag_read(ours, mine);
    for (long r = 0; r < text.B * text.T && n == ours->size; r++)
        if (!text.mask[r])
            memcpy(mine + r * C, theirs + r * C, (size_t)C * sizeof *mine);
    golden_compare_reals(x->g, name_of(dataset), mine, ours->size);
}

static void alone(hf *x)
{
    blip2_text text = text_of(x, "input_ids", "attention_mask", 0);
    ag_record_on(x->t, false);
    tensor *words = blip2_opt_embed(&x->m.opt, x->t, text.ids, text.B, text.T);
    tensor *hidden = blip2_opt_forward(&x->m.opt, x->t, words, text.mask, NULL);
    compare_real_rows(x, "last_hidden_projected_out", hidden, text);
    compare_real_rows(x, "logits", blip2_opt_logits(&x->m.opt, x->t, hidden), text);
    compare_alone(x, text, "gen/greedy_ids", 1);
    compare_alone(x, text, "gen/beam4_ids", 4);
}

static void run(hf *x)
{
    const blip2_config *c = &x->m.config;
    if (c->vision.kind == BLIP2_VIT_NONE) {
        alone(x);
        return;
    }
    look(x);
    if (c->stage1) {
        retrieval(x);
        return;
    }
    if (c->llm == BLIP2_LLM_OPT)
        opt_batch(x);
    else
        t5_batch(x);
    ag_record_on(x->t, false);
    compare_distributions(x);
    compare_searches(x);
}

void golden_hf(golden *g, tape *t)
{
    hf x = { .g = g, .t = t };
    open_model(&x);
    run(&x);
    blip2_close(&x.m);
}
