/* opt.c - cases of kind opt: stage 2 with a frozen OPT, forward and the gradients of all that is trained.
 *
 * Also what cases with this language model share: their configuration and their texts.                     */
#include "tests/golden/golden.h"
#include <stdlib.h>
#include <string.h>

enum { BOS = 2, NEWLINE = 4, PAD = 1 };

blip2_config golden_opt_config(const golden *g)
{
    blip2_config c = golden_stage1_config(g);
    c.stage1 = c.qformer.text = c.qformer.head = false;
    c.llm = BLIP2_LLM_OPT;
    c.opt = (blip2_opt_config){
        .vocab = golden_int(g, "llm.vocab", 0), .width = golden_int(g, "llm.dim", 0),
        .layers = golden_int(g, "llm.layers", 0), .heads = golden_int(g, "llm.heads", 0),
        .hidden = golden_int(g, "llm.ff", 0), .positions = golden_int(g, "llm.P", 0),
        .init_std = 0.02, .bos = BOS, .eos = NEWLINE, .pad = PAD };
    return c;
}

/* </s> and the numbers written in `words`, for each of B rows. */
blip2_text golden_opt_prompt(tape *t, const char *words, long B)
{
    long n = 1, most = (long)strlen(words) + 1;
    int *one = ag_alloc(t, most * (long)sizeof *one);
    one[0] = BOS;
    char *end;
    for (const char *p = words; n < most; p = end) {
        long id = strtol(p, &end, 10);
        if (end == p)
            break;
        one[n++] = (int)id;
    }
    int *ids = ag_alloc(t, B * n * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * n);
    memset(mask, 1, (size_t)(B * n));
    for (long b = 0; b < B; b++)
        memcpy(ids + b * n, one, (size_t)n * sizeof *ids);
    return (blip2_text){ B, n, ids, mask };
}

/* Rows of ids, -1 behind the last, as </s>, ids, perhaps a newline; cut to `most`, padded to the longest. */
blip2_text golden_opt_text(golden *g, tape *t, const char *name, bool newline, long most, bool pad_left)
{
    long dim[8] = { 0 }, n, T = 0;
    golden_dims(g, name, dim);
    const int *raw = golden_ints(g, t, name, &n);
    long B = dim[0], room = dim[1], *length = ag_alloc(t, B * (long)sizeof *length);
    for (long b = 0; b < B; b++) {
        for (n = 0; n < room && raw[b * room + n] >= 0;)
            n++;
        length[b] = n + 1 + newline < most ? n + 1 + newline : most;
        T = length[b] > T ? length[b] : T;
    }
    int *ids = ag_alloc(t, B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * T);
    for (long b = 0; b < B; b++)
        for (long i = 0; i < T; i++) {
            long at = i - (pad_left ? T - length[b] : 0);  /* which token stands at column i */
            bool is_real = at >= 0 && at < length[b];
            mask[b * T + i] = is_real;
            ids[b * T + i] = !is_real ? PAD : at == 0 ? BOS
                           : at - 1 < room && raw[b * room + at - 1] >= 0 ? raw[b * room + at - 1] : NEWLINE;
        }
    return (blip2_text){ B, T, ids, mask };
}

static void compare(golden *g, tape *t, const blip2_stage2_out *o)
{
    long n = o->embeddings->dim[0] * o->embeddings->dim[1];
    golden_compare(g, "out/image_embeds", o->image);
    golden_compare(g, "out/query_output", o->query_output);
    golden_compare(g, "out/proj_out", o->projected);
    golden_compare(g, "out/llm_inputs_embeds", o->embeddings);
    golden_compare_mask(g, t, "out/llm_attention_mask", o->mask, n);
    golden_compare_ints(g, "out/llm_labels", o->labels, n);
    golden_compare(g, "out/llm_logits", o->logits);
    golden_compare(g, "out/loss", o->loss);
}

void golden_opt(golden *g, tape *t)
{
    blip2_config c = golden_opt_config(g);
    blip2_model m;
    const char *prompt = golden_text(g, "prompt", "");
    blip2_model_init(&m, nn_store_new(1), &c);
    nn_freeze(m.store, "opt_model");
    golden_store(g, m.store);
    nn_zero_grad(m.store);
    tensor *features = golden_leaf(g, t, "inputs/vit_out");
    blip2_stage2_in in = { .features = features,
                           .text = golden_opt_text(g, t, "inputs/text_input", true, c.max_text, false),
                           .prompt_tokens = *prompt ? golden_opt_prompt(t, prompt, 1).T : 0 };
    blip2_stage2_out o;
    blip2_stage2(&m, t, &in, true, &o);
    compare(g, t, &o);
    ag_backward(t, o.loss);
    golden_compare_grad(g, t, "out/grad_inputs/vit_out", features);
    golden_compare_grad(g, t, "out/grad_llm_inputs_embeds", o.embeddings);
    golden_compare_grads(g, "out/grads", m.store, "", false);
    nn_store_free(m.store);
}
