/* bert.c - a plain BERT (transformers: BertModel, BertForMaskedLM, BertForPreTraining) as the text part of a
 * Q-Former, which it is the start of (lavis Blip2Base.init_Qformer). Our name less "Qformer." is BERT's; the
 * prefix "bert." is missing where the file holds a BertModel, and the oldest files call a norm's weight gamma
 * and its bias beta. */
#include "convert/internal.h"
#include <stdio.h>
#include <string.h>

static const weights_entry *find(const weights *w, const char *name, const char *without)
{
    char bare[NN_NAME];
    const weights_entry *x = weights_find(w, name);
    if (!x && !strncmp(name, without, strlen(without)))
        x = weights_find(w, name + strlen(without));
    const char *end = x ? NULL : strstr(name, "LayerNorm.weight");
    const char *old = end ? "gamma" : "beta";
    if (!x && (end || (end = strstr(name, "LayerNorm.bias")))) {
        snprintf(bare, sizeof bare, "%.*sLayerNorm.%s", (int)(end - name), name, old);
        x = find(w, bare, without);
    }
    return x;
}

const weights_entry *convert_bert_find(const weights *w, const char *ours)
{
    static const char part[] = "Qformer.";
    return strncmp(ours, part, strlen(part)) ? NULL : find(w, ours + strlen(part), "bert.");
}

static const weights_entry *at(const weights *w, const char *name)
{
    char whole[NN_NAME];
    snprintf(whole, sizeof whole, "bert.%s", name);
    return find(w, whole, "bert.");
}

bool convert_is_bert(const weights *w)
{
    return at(w, "embeddings.word_embeddings.weight") && at(w, "encoder.layer.0.attention.self.query.weight");
}

static long rows(const weights_entry *x, int axis) { return x && axis < x->ndim ? x->dim[axis] : 0; }

/* Sizes as the shapes have them; heads have none: 64 wide, as in BERT's own models, where no config.json says
 * more. */
void convert_bert_sizes(const weights *w, bool known, blip2_config *c)
{
    blip2_qformer_config *q = &c->qformer;
    q->head = weights_find(w, "cls.predictions.bias")
              && weights_find(w, "cls.predictions.transform.dense.weight");
    if (known)
        return;
    convert_bert_none(c);
    q->vocab = rows(at(w, "embeddings.word_embeddings.weight"), 0);
    q->width = rows(at(w, "embeddings.word_embeddings.weight"), 1);
    q->positions = rows(at(w, "embeddings.position_embeddings.weight"), 0);
    q->token_types = rows(at(w, "embeddings.token_type_embeddings.weight"), 0);
    q->hidden = rows(at(w, "encoder.layer.0.intermediate.dense.weight"), 0);
    q->heads = q->width / 64 ? q->width / 64 : 1;
    q->layers = convert_layers(w, "bert.encoder.layer.");
    if (!q->layers)
        q->layers = convert_layers(w, "encoder.layer.");
    c->max_text = c->max_text < q->positions ? c->max_text : q->positions;
}

void convert_bert_ids(const tokenizer *words, blip2_config *c)
{
    const struct { const char *token; long *id; } special[] = {
        { "[CLS]", &c->cls }, { "[SEP]", &c->sep }, { "[PAD]", &c->text_pad } };
    for (int i = 0; words && i < 3; i++) {
        int id = tokenizer_id(words, special[i].token);
        *special[i].id = id >= 0 ? id : *special[i].id;
    }
    c->dec = c->qformer.vocab;                             /* the id that [DEC] gets when it is added */
}

void convert_bert_none(blip2_config *c)
{
    c->vision = (blip2_vit_config){ .kind = BLIP2_VIT_NONE };
    c->llm = BLIP2_LLM_NONE;
    c->stage1 = false;
    c->qformer.queries = 0;
    c->qformer.text = true;
    c->qformer.head = false;
    c->prompt[0] = 0;
}
