/* gen.c - cases of kind gen: captions and answers, token by token, with the arguments in config.gens. */
#include "tests/golden/golden.h"
#include <stdio.h>
#include <string.h>

typedef struct run {
    golden *g;
    tape *t;
    blip2_model m;
    bool llm, t5;                      /* by a language model, by T5; else by the Q-Former's head */
    int start, pad;
} run;

static double number(const json_t *gen, const char *key, double otherwise)
{
    const json_t *v = json_object_get(gen, key);
    return v ? json_number_value(v) : otherwise;
}

static const char *word(const json_t *gen, const char *key, const char *otherwise)
{
    const char *v = json_string_value(json_object_get(gen, key));
    return v ? v : otherwise;
}

/* An argument that is not known here would be compared wrongly. */
static bool known(golden *g, const json_t *gen)
{
    static const char *const keys[] = { "fn", "num_beams", "max_length", "min_length", "length_penalty",
                                        "max_len", "min_len", "repetition_penalty", "num_captions",
                                        "prompt" };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)gen, key, value) {
        size_t i = 0;
        while (i < sizeof keys / sizeof *keys && strcmp(key, keys[i]))
            i++;
        if (i == sizeof keys / sizeof *keys) {
            golden_fail(g, "config.gens: %s is not known", key);
            return false;
        }
    }
    return true;
}

/* LAVIS's defaults differ: blip2_qformer.generate, blip2_opt.generate and predict_answers, and blip2_t5's,
 * whose max_length is max_new_tokens. */
static blip2_generate arguments(const run *r, const json_t *gen, bool answers)
{
    double penalty = !answers ? 1 : r->t5 ? -1 : 0;
    blip2_generate o = { .beams = (int)number(gen, "num_beams", r->llm ? 5 : 3),
                         .returns = (int)number(gen, "num_captions", 1),
                         .length_penalty = number(gen, "length_penalty", penalty),
                         .repetition_penalty = number(gen, "repetition_penalty", 1) };
    if (answers) {
        o.max_new_tokens = (int)number(gen, "max_len", 10);
        o.min_length = (int)number(gen, "min_len", 1);
    } else {
        *(r->t5 ? &o.max_new_tokens : &o.max_length) = (int)number(gen, "max_length", 30);
        o.min_length = (int)number(gen, "min_length", r->llm ? 1 : 10);
    }
    return o;
}

/* As the library returns them: the start, the ids, padding to the longest. */
static void compare(run *r, size_t index, long n, const blip2_sequence *s)
{
    char name[60];
    long width = 0;
    for (long i = 0; i < n; i++)
        width = s[i].length + 1 > width ? s[i].length + 1 : width;
    int *ids = ag_alloc(r->t, n * width * (long)sizeof *ids);
    real *scores = ag_alloc_real(r->t, n);
    for (long i = 0; i < n; i++) {
        int *row = ids + i * width;
        row[0] = r->start;
        for (long j = 1; j < width; j++)
            row[j] = j <= s[i].length ? s[i].ids[j - 1] : r->pad;
        scores[i] = (real)s[i].score;
    }
    snprintf(name, sizeof name, "out/gen%02zu/sequences", index);
    golden_compare_ints(r->g, name, ids, n * width);
    snprintf(name, sizeof name, "out/gen%02zu/sequences_scores_f32", index);
    if (golden_has(r->g, name))
        golden_compare_reals(r->g, name, scores, n);
}

static void run_one(run *r, size_t index, const json_t *gen)
{
    bool answers = !strcmp(word(gen, "fn", "generate"), "predict_answers");
    blip2_generate o = arguments(r, gen, answers);
    tensor *features = golden_tensor(r->g, r->t, "inputs/vit_out");
    long B = features->dim[0];
    blip2_sequence *s = ag_alloc(r->t, B * o.returns * (long)sizeof *s);
    if (r->llm) {
        const char *prompt = word(gen, "prompt", golden_text(r->g, "prompt", ""));
        long most = r->m.config.max_text;
        blip2_text text = answers && r->t5 ? golden_t5_text(r->g, r->t, "inputs/question", most)
                        : answers ? golden_opt_text(r->g, r->t, "inputs/question", false, most, true)
                        : r->t5 ? golden_t5_prompt(r->t, prompt, B) : golden_opt_prompt(r->t, prompt, B);
        blip2_llm_generate(&r->m, r->t, features, (blip2_text){ 0 }, text, &o, s);
    } else
        blip2_itg_generate(&r->m, r->t, features, &o, s);
    compare(r, index, B * o.returns, s);
}

void golden_gen(golden *g, tape *t)
{
    const char *model = golden_text(g, "model", "");
    bool t5 = !strcmp(model, "t5");
    run r = { .g = g, .t = t, .t5 = t5, .llm = t5 || !strcmp(model, "opt") };
    if (!r.llm && strcmp(model, "stage1")) {
        golden_skip(g, "%s is not built in this version", model);
        return;
    }
    blip2_config c = r.t5 ? golden_t5_config(g) : r.llm ? golden_opt_config(g) : golden_stage1_config(g);
    r.start = r.llm ? (int)blip2_llm_of(&c).start : (int)c.dec;
    r.pad = r.llm ? (int)blip2_llm_of(&c).pad : (int)c.text_pad;
    blip2_model_init(&r.m, nn_store_new(1), &c);
    golden_store(g, r.m.store);
    const json_t *gens = json_object_get(golden_config(g), "gens"), *gen;
    size_t i;
    json_array_foreach(gens, i, gen)
        if (known(g, gen))
            run_one(&r, i, gen);
    nn_store_free(r.m.store);
}
