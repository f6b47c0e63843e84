/* t5.c - cases of kinds t5 and t5_instruct: stage 2 with a frozen T5, forward and the gradients of all that is
 * trained; and which bucket each distance falls into.
 *
 * Also what cases with this language model share: their configuration and their texts.                     */
#include "tests/golden/golden.h"
#include <stdlib.h>
#include <string.h>

enum { PAD = 0, EOS = 1, INSTRUCT_LIMIT = 256 };

blip2_config golden_t5_config(const golden *g)
{
    blip2_config c = golden_stage1_config(g);
    c.stage1 = c.qformer.text = c.qformer.head = false;
    c.llm = BLIP2_LLM_T5;
    c.t5 = (blip2_t5_config){
        .vocab = golden_int(g, "llm.vocab", 0), .width = golden_int(g, "llm.dim", 0),
        .layers = golden_int(g, "llm.layers", 0),
        .decoder_layers = golden_int(g, "llm.decoder_layers", golden_int(g, "llm.layers", 0)),
        .heads = golden_int(g, "llm.heads", 0), .head_width = golden_int(g, "llm.dkv", 0),
        .hidden = golden_int(g, "llm.ff", 0), .buckets = golden_int(g, "llm.buckets", 32),
        .max_distance = golden_int(g, "llm.maxdist", 128), .eps = 1e-6, .init_factor = 1,
        .gelu = BLIP2_GELU_ERF, .start = PAD, .eos = EOS, .pad = PAD };
    return c;
}

/* The numbers written in `words` and </s>, for each of B rows. */
blip2_text golden_t5_prompt(tape *t, const char *words, long B)
{
    long n = 0, most = (long)strlen(words) + 1;
    int *one = ag_alloc(t, most * (long)sizeof *one);
    char *end;
    for (const char *p = words; n < most - 1; p = end) {
        long id = strtol(p, &end, 10);
        if (end == p)
            break;
        one[n++] = (int)id;
    }
    one[n++] = EOS;
    int *ids = ag_alloc(t, B * n * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * n);
    memset(mask, 1, (size_t)(B * n));
    for (long b = 0; b < B; b++)
        memcpy(ids + b * n, one, (size_t)n * sizeof *ids);
    return (blip2_text){ B, n, ids, mask };
}

static long length_of(const int *row, long room)
{
    long n = 0;
    while (n < room && row[n] >= 0)
        n++;
    return n;
}

/* Rows of ids, -1 behind the last, as ids and </s>; cut to `most` with </s> kept, padded to the longest. */
blip2_text golden_t5_text(golden *g, tape *t, const char *name, long most)
{
    long dim[8] = { 0 }, n, T = 0;
    golden_dims(g, name, dim);
    const int *raw = golden_ints(g, t, name, &n);
    long B = dim[0], room = dim[1];
    for (long b = 0; b < B; b++) {
        n = length_of(raw + b * room, room) + 1;
        n = n < most ? n : most;
        T = n > T ? n : T;
    }
    int *ids = ag_alloc(t, B * T * (long)sizeof *ids);
    unsigned char *mask = ag_alloc(t, B * T);
    for (long b = 0; b < B; b++) {
        n = length_of(raw + b * room, room);
        n = n < most - 1 ? n : most - 1;
        for (long i = 0; i < T; i++) {
            mask[b * T + i] = i <= n;
            ids[b * T + i] = i < n ? raw[b * room + i] : i == n ? EOS : PAD;
        }
    }
    return (blip2_text){ B, T, ids, mask };
}

/* The same rows for the Q-Former: [CLS] ids [SEP], padded to the longest. */
static blip2_text question_of(golden *g, tape *t, const blip2_config *c)
{
    long dim[8] = { 0 }, n, longest = 0;
    golden_dims(g, "inputs/text_input", dim);
    const int *raw = golden_ints(g, t, "inputs/text_input", &n);
    for (long b = 0; b < dim[0]; b++) {
        n = length_of(raw + b * dim[1], dim[1]);
        longest = n > longest ? n : longest;
    }
    return golden_bert_text(g, t, c, "inputs/text_input", longest + 2);
}

/* out/rel_bucket_{enc,dec}[_32_128]: of distances -200 .. 200, or as many as there are. */
static void compare_buckets(golden *g, tape *t, const blip2_t5_config *own)
{
    static const struct { const char *name; bool decodes, published; } sets[] = {
        { "out/rel_bucket_enc", false, false }, { "out/rel_bucket_dec", true, false },
        { "out/rel_bucket_enc_32_128", false, true }, { "out/rel_bucket_dec_32_128", true, true } };
    for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) {
        long dim[8] = { 0 };
        blip2_t5_config c = *own;
        if (!golden_has(g, sets[k].name))
            continue;
        if (sets[k].published) {
            c.buckets = 32;
            c.max_distance = 128;
        }
        golden_dims(g, sets[k].name, dim);
        int *buckets = ag_alloc(t, dim[0] * (long)sizeof *buckets);
        for (long i = 0; i < dim[0]; i++)
            buckets[i] = blip2_t5_bucket(&c, sets[k].decodes, i - dim[0] / 2);
        golden_compare_ints(g, sets[k].name, buckets, dim[0]);
    }
}

static void compare(golden *g, tape *t, const blip2_stage2_in *in, const blip2_stage2_out *o)
{
    long n = o->embeddings->dim[0] * o->embeddings->dim[1], said = in->target.B * in->target.T;
    golden_compare(g, "out/image_embeds", o->image);
    golden_compare(g, "out/query_output", o->asked ? o->asked : o->query_output);
    golden_compare(g, "out/proj_out", o->projected);
    golden_compare(g, "out/llm_inputs_embeds", o->embeddings);
    golden_compare_mask(g, t, "out/llm_attention_mask", o->mask, n);
    golden_compare_mask(g, t, "out/decoder_attention_mask", in->target.mask, said);
    golden_compare_ints(g, "out/decoder_input_ids", o->decoder_ids, said);
    golden_compare_ints(g, "out/llm_labels", o->labels, said);
    golden_compare(g, "out/encoder_last_hidden", o->encoded);
    golden_compare(g, "out/llm_logits", o->logits);
    golden_compare(g, "out/loss", o->loss);
}

static void run(golden *g, tape *t, bool instruct)
{
    blip2_config c = golden_t5_config(g);
    blip2_model m;
    long most = instruct ? INSTRUCT_LIMIT : c.max_text;
    c.qformer.text = c.question_in_qformer = instruct;
    blip2_model_init(&m, nn_store_new(1), &c);
    nn_freeze(m.store, "t5_model");
    golden_store(g, m.store);
    nn_zero_grad(m.store);
    tensor *features = golden_leaf(g, t, "inputs/vit_out");
    blip2_stage2_in in = { .features = features,
                           .text = golden_t5_text(g, t, "inputs/text_input", instruct ? most / 2 : most),
                           .target = golden_t5_text(g, t, "inputs/text_output", most) };
    if (instruct)
        in.question = question_of(g, t, &c);
    blip2_stage2_out o;
    blip2_stage2(&m, t, &in, true, &o);
    compare(g, t, &in, &o);
    compare_buckets(g, t, &c.t5);
    ag_backward(t, o.loss);
    golden_compare_grad(g, t, "out/grad_inputs/vit_out", features);
    golden_compare_grad(g, t, "out/grad_llm_inputs_embeds", o.embeddings);
    golden_compare_grads(g, "out/grads", m.store, "", false);
    nn_store_free(m.store);
}

void golden_t5(golden *g, tape *t) { run(g, t, false); }
void golden_t5_instruct(golden *g, tape *t) { run(g, t, true); }
