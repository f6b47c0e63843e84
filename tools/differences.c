/* differences.c - `make differences`: where LAVIS, Hugging Face and the paper part ways, what each difference
 * does to a golden case, measured now; docs/differences.md says more of each.
 *
 *     bin/differences [../shared/golden]
 *
 * A line: the difference, the switch, the case, one way, the other way. What needs a file that is not
 * there is left out, aloud. */
#include "convert/convert.h"
#include "eval/eval.h"
#include "eval/metrics.h"
#include "train/train.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *golden = "../shared/golden";
static char folder[] = "/tmp/differencesXXXXXX";
static error e;

static void row(const char *what, const char *key, const char *case_, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void row(const char *what, const char *key, const char *case_, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("| %s | %s | %s | ", what, key, case_);
    vprintf(format, args);
    puts(" |");
    va_end(args);
}

static void left_out(const char *what) { fprintf(stderr, "differences: %s: left out; %s\n", what, e.text); }

static const char *in(char to[600], const char *name)
{
    snprintf(to, 600, "%s/%s", golden, name);
    return to;
}
#define GOLDEN(name) in((char[600]){ 0 }, (name))

/* ---- pictures -------------------------------------------------------------------------------------- */
static void compare_bytes(const picture *a, const picture *b, int *most, double *share)
{
    long n = 3 * a->width * a->height, off = 0;
    *most = 0;
    for (long i = 0; i < n; i++) {
        int d = abs(a->rgb[i] - b->rgb[i]);
        off += d > 0;
        *most = d > *most ? d : *most;
    }
    *share = 100.0 * (double)off / (double)n;
}

static bool look(const char *file, picture_reference as, long size, picture *to)
{
    picture whole;
    bool ok = picture_read_as(&whole, as, file, &e) && picture_resize(to, &whole, size, size, &e);
    picture_free(&whole);
    return ok;
}

static void references(const char *what, const char *name)
{
    picture a, b;
    int most;
    double share;
    char case_[80];
    const char *file = GOLDEN(name);
    if (!look(file, PICTURE_LAVIS, 224, &a) || !look(file, PICTURE_HF, 224, &b)) {
        left_out(what);
        return;
    }
    compare_bytes(&a, &b, &most, &share);
    snprintf(case_, sizeof case_, "%s at 224", strrchr(name, '/') + 1);
    row(what, "`--reference`", case_, "%.0f %% of the bytes differ, by up to %d", share, most);
    picture_free(&a);
    picture_free(&b);
}

static void passes(void)
{
    picture p, across, both, own;
    int most;
    double share;
    if (!picture_read(&p, GOLDEN("images/files/tall_50x900.png"), &e)) {
        left_out("order of passes");
        return;
    }
    if (picture_resize(&across, &p, 224, p.height, &e) && picture_resize(&both, &across, 224, 224, &e)
        && picture_resize(&own, &p, 224, 224, &e)) {
        compare_bytes(&both, &own, &most, &share);
        row("tall pictures: down first (Pillow 13) or across first (before)", "`preprocess --passes`",
            "tall_50x900.png at 224", "%.0f %% of the bytes differ, by up to %d", share, most);
    }
}

static void byte_to_number(void)
{
    uint8_t rgb[16 * 16 * 3];
    real a[16 * 16 * 3], b[16 * 16 * 3];
    double worst = 0;
    for (int i = 0; i < 16 * 16 * 3; i++)
        rgb[i] = (uint8_t)(i / 3);
    picture_normalise_as(PICTURE_LAVIS, rgb, 16, a);
    picture_normalise_as(PICTURE_HF, rgb, 16, b);
    for (int i = 0; i < 16 * 16 * 3; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    row("a byte as number: byte / 255, or byte x (1/255)", "`--reference`", "all 256 bytes",
        worst > 0 ? "normalised, %.1e apart at most" : "normalised, equal in this build", worst);
}

/* ---- models ---------------------------------------------------------------------------------------- */
static bool open_model(const char *name, eval_session *s)
{
    char out[64];
    const char *const sources[] = { GOLDEN(name) };
    snprintf(out, sizeof out, "%s/m.h5", folder);
    return convert_run(sources, 1, out, NULL, &e) && eval_open(s, out, &e);
}

static real *features_of(eval_session *s, const char *file)
{
    real *x = malloc((size_t)(eval_tokens(&s->model.config) * s->model.config.vision.width) * sizeof *x);
    if (!eval_features(s, &file, 1, x, &e)) {
        free(x);
        return NULL;
    }
    return x;
}

static blip2_generate rules(blip2_reference reference, int beams)
{
    return (blip2_generate){ .reference = reference, .beams = beams, .returns = 1, .max_new_tokens = 16,
                             .min_length = reference == BLIP2_LAVIS, .length_penalty = 1,
                             .repetition_penalty = 1 };
}

static eval_text write_text(eval_session *s, const real *x, const char *prompt, blip2_generate o)
{
    eval_text t;
    s->reference = o.reference;
    if (!eval_write(s, x, 1, &prompt, NULL, &o, &t, &e)) {
        fprintf(stderr, "differences: %s\n", e.text);
        exit(1);
    }
    return t;
}

static double queries_differ(eval_session *s, const real *x, double eps)
{
    double worst = 0, largest = 0, kept = s->model.ln_vision.eps;
    const blip2_config *c = &s->model.config;
    ag_mark mark = ag_here(s->t);
    tensor *y[2];
    for (int k = 0; k < 2; k++) {
        tensor *f = ag_new(s->t, DIMS(1, eval_tokens(c), c->vision.width));
        memcpy(f->data, x, (size_t)f->size * sizeof *x);
        s->model.ln_vision.eps = k ? eps : kept;
        y[k] = blip2_image_queries(&s->model, s->t, f, NULL, NULL);
    }
    for (long i = 0; i < y[0]->size; i++) {
        worst = fmax(worst, fabs((double)y[0]->data[i] - (double)y[1]->data[i]));
        largest = fmax(largest, fabs((double)y[0]->data[i]));
    }
    s->model.ln_vision.eps = kept;
    ag_rewind(s->t, mark);
    return worst / largest;
}

/* Lengths, penalties, and beams of both references with one OPT. */
static void with_opt(void)
{
    eval_session s;
    if (!open_model("hf/opt_f32", &s)) {
        left_out("differences of a model with OPT");
        return;
    }
    real *x = features_of(&s, GOLDEN("hf/opt_f32/inputs/image0.png"));
    const char *prompt = "a photo of", *key = "`--reference`", *at = "opt_f32, image 0, \"a photo of\"";
    row("epsilon of ln_vision: 1e-5, or 1e-6", "`ln_vision_eps` in the model file", "opt_f32, query outputs",
        "%.1e of the largest", queries_differ(&s, x, 1e-5));
    eval_text a = write_text(&s, x, prompt, rules(BLIP2_LAVIS, 5)),
              b = write_text(&s, x, prompt, rules(BLIP2_HF, 5)),
              c = write_text(&s, x, prompt, rules(BLIP2_HF, 1));
    row("what ids begin with (OPT)", key, at,
        "%ld ids of 16 new tokens at most, or %ld with images and prompt", a.length, b.length);
    row("defaults: 5 beams, or greedy", "`--beams`", at, "score %.4f, or %.4f", a.score, c.score);
    blip2_generate o = rules(BLIP2_LAVIS, 5), p = rules(BLIP2_HF, 5);
    o.min_length = p.min_length = 10;
    o.length_penalty = p.length_penalty = 0;               /* short texts win, if they may */
    eval_text d = write_text(&s, x, prompt, o), f = write_text(&s, x, prompt, p);
    row("`min_length` counts new tokens and the start, or the prompt too", key, at,
        "length penalty 0, least length 10: %ld new tokens, or %ld", d.length - 1,
        f.length - (b.length - (a.length - 1)));
    o = rules(BLIP2_LAVIS, 1), p = rules(BLIP2_HF, 1);
    o.repetition_penalty = p.repetition_penalty = 1.4;
    d = write_text(&s, x, prompt, o), f = write_text(&s, x, prompt, p);
    row("repetition penalty on what was said, or on the prompt too", key, at,
        "penalty 1.4: \"%s\", or \"%s\"", d.text, f.text);
    o = rules(BLIP2_LAVIS, 5);
    for (int k = 0; k < 3; k++) {
        o.length_penalty = (double[]){ 1, 0, -1 }[k];
        eval_text g = write_text(&s, x, prompt, o);
        if (!k)
            d = g;
        else
            row(k == 1 ? "length penalty of answers: 1 (HF), or 0 (LAVIS with OPT)"
                       : "length penalty of answers: 1 (HF), or -1 (LAVIS with T5)",
                "`--length-penalty`", at, "%ld ids, score %.4f, or %ld ids, score %.4f", d.length, d.score,
                g.length, g.score);
    }
    c = write_text(&s, x, "Question: what is it? Answer:", rules(BLIP2_LAVIS, 1));
    d = write_text(&s, x, "Question: what is it? Short answer:", rules(BLIP2_LAVIS, 1));
    row("frame of a question: \"Answer:\" (HF, paper), or \"Short answer:\" (LAVIS)", "`answer --prompt`",
        "opt_f32, image 0, \"what is it?\"", "\"%s\", or \"%s\"", c.text, d.text);
    free(x);
    eval_close(&s);
}

static void with_t5(void)
{
    eval_session s;
    if (!open_model("hf/t5_gelu_f32", &s)) {
        left_out("differences of a model with T5");
        return;
    }
    real *x = features_of(&s, GOLDEN("hf/t5_gelu_f32/inputs/image0.png"));
    eval_text a = write_text(&s, x, "a photo of", rules(BLIP2_HF, 5));
    s.model.t5.config.gelu = BLIP2_GELU_TANH;
    s.model.config.t5.gelu = BLIP2_GELU_TANH;
    eval_text b = write_text(&s, x, "a photo of", rules(BLIP2_HF, 5));
    row("T5's GELU: erf (BLIP-2's files), or tanh (FLAN-T5's own)", "`t5.gelu` in the model file",
        "t5_gelu_f32, image 0, 5 beams", "score %.6f, or %.6f", a.score, b.score);
    free(x);
    eval_close(&s);
}

static void with_heads(void)
{
    static const char *const text[] = { "A small dog, on the grass!" };
    eval_session s;
    if (!open_model("hf/itm_f32", &s)) {
        left_out("differences of a model for retrieval");
        return;
    }
    real *x = features_of(&s, GOLDEN("hf/itm_f32/inputs/image0.png"));
    eval_match m[2];
    for (int k = 0; k < 2; k++) {
        blip2_text words;
        if (!eval_texts(&s, text, 1, k ? BLIP2_HF : BLIP2_LAVIS, &words, &e)) {
            left_out("how a text is read");
            return;
        }
        eval_match_texts(&s.model, s.t, x, eval_tokens(&s.model.config), words, &m[k]);
    }
    row("a text is cleaned and cut at max_txt_len, or taken as it stands", "`match --reference`",
        "itm_f32, image 0, \"A small dog, on the grass!\"", "itc %.4f, itm %.4f, or %.4f, %.4f", m[0].itc,
        m[0].itm, m[1].itc, m[1].itm);
    free(x);
    eval_close(&s);
}

/* ---- scores and schedules -------------------------------------------------------------------------- */
/* The number behind "key": in JSON text. */
static double number_in(const char *json, const char *key)
{
    char name[64];
    snprintf(name, sizeof name, "\"%s\":", key);
    const char *at = json ? strstr(json, name) : NULL;
    return at ? strtod(at + strlen(name), NULL) : NAN;
}

static void scores(void)
{
    double cider[2], vqa[2];
    for (int k = 0; k < 2; k++) {
        score_options o = { .whitespace = k == 1, .rule = k ? SCORE_VQA_LAVIS : SCORE_VQA_OFFICIAL };
        char *c = score_caption_files(GOLDEN("metrics/captions_results.json"),
                                      GOLDEN("metrics/captions_refs.json"), &o, &e);
        char *v = c ? score_vqa_files(GOLDEN("metrics/vqa_results.json"),
                                      GOLDEN("metrics/vqa_questions.json"),
                                      GOLDEN("metrics/vqa_annotations.json"), &o, &e)
                    : NULL;
        if (!v) {
            left_out("scores");
            return;
        }
        cider[k] = number_in(c, "CIDEr");
        vqa[k] = number_in(v, "overall");
        mem_free(c);
        mem_free(v);
    }
    row("tokens of caption scores: Penn Treebank (COCO), or white space", "`score captions --tokenizer`",
        "metrics/captions", "CIDEr-D %.4f, or %.4f", cider[0], cider[1]);
    row("VQA accuracy: the challenge's rule, or LAVIS's", "`score vqa --rule`", "metrics/vqa",
        "%.2f, or %.2f", vqa[0], vqa[1]);
}

static void schedules(void)
{
    double worst = 0;
    train_schedule stairs = { TRAIN_COSINE, 1e-4, 1e-5, 1e-6, 0, 50, 10, 100, false }, smooth = stairs;
    smooth.by_step = true;
    smooth.max_epoch = 1;
    smooth.steps_per_epoch = 1000;
    for (long i = 50; i < 1000; i++)
        worst = fmax(worst, fabs(train_lr(&stairs, i / 100, i % 100) - train_lr(&smooth, 0, i)));
    row("cosine once an epoch (LAVIS), or each step (paper)", "`run.lr_by`",
        "peak 1e-4, 10 epochs of 100 steps", "rates differ by up to %.0f %% of the peak", worst / 1e-4 * 100);
}

static void grids(void)
{
    enum { FROM = 16, TO = 26 };
    static real x[1 + FROM * FROM], a[1 + TO * TO], b[1 + TO * TO];
    double worst = 0;
    for (int i = 0; i <= FROM * FROM; i++)
        x[i] = (real)sin(i * 0.7);
    blip2_resize_positions(BLIP2_VIT_EVA, FROM, TO, 1, x, a);
    blip2_resize_positions(BLIP2_VIT_CLIP, FROM, TO, 1, x, b);
    for (int i = 0; i <= TO * TO; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    row("positions of another grid: corners not aligned (EVA), or aligned (CLIP)", "`vit.kind`",
        "16 x 16 to 26 x 26, values to 1", "up to %.2f", worst);
}

int main(int argc, char **argv)
{
    golden = argc > 1 ? argv[1] : golden;
    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    puts("| difference | switch | measured on | effect |\n|---|---|---|---|");
    references("alpha: dropped (LAVIS), or laid on white (HF)", "images/files/rgba_150x90.png");
    references("Exif: passed over (LAVIS), or turned (HF)", "images/files/exif6_120x80.jpg");
    passes();
    byte_to_number();
    with_opt();
    with_t5();
    with_heads();
    scores();
    schedules();
    grids();
    char file[64];
    snprintf(file, sizeof file, "%s/m.h5", folder);
    unlink(file);
    rmdir(folder);
    return 0;
}
