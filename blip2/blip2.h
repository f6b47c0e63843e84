/* blip2.h - BLIP-2 (Li et al. 2023, arXiv 2301.12597): vision towers, Q-Former, language model, losses,
 * generation.
 *
 * B batch, N image tokens (patches and class token), E their width, Q queries, D Q-Former width, T text
 * tokens, V vocabulary, L width of the language model. Names and mathematics are LAVIS's unless a comment
 * says otherwise. */
#ifndef BLIP2_H
#define BLIP2_H
#include "nn/nn.h"
#pragma GCC visibility push(default)

/* ---- configuration: what is stored in a model file (YAML in its root attribute `config`) ------------ */
typedef enum { BLIP2_VIT_NONE, BLIP2_VIT_CLIP, BLIP2_VIT_EVA } blip2_vit_kind;
typedef struct blip2_vit_config {
    blip2_vit_kind kind;
    /* hidden: width of the MLP; depth: blocks that are run */
    long image_size, patch, width, depth, heads, hidden;
    double init_std, position_std;  /* start of matrices; of positions (0: 2-D sinusoids x 0.3) */
    double eps;                     /* of the norms; 0: the family's, CLIP 1e-5, EVA 1e-6 */
} blip2_vit_config;
typedef struct blip2_qformer_config {
    long width, layers, heads, hidden, queries, vocab, positions, memory_width;  /* memory_width: E */
    long cross_attention_freq;                             /* layers 0, f, 2f, ... own a cross-attention */
    double dropout, eps;                                   /* 0.1, 1e-12 */
    double init_std, query_std, output_scale;  /* 0.02, 0.02, 1: factor on the start of output matrices */
    bool text, head;  /* word embeddings and text feed-forwards; LM head */
    long token_types;                  /* rows of BERT's table of token types, 0: none, as in BLIP-2 */
} blip2_qformer_config;
typedef struct blip2_opt_config {
    long vocab, width, layers, heads, hidden, positions;   /* positions: without the offset of 2 */
    double dropout, init_std;
    long bos, eos, pad;                                    /* 2, id of the newline token (LAVIS), 1 */
    long embed; /* width of the token table; 0: width (opt-350m: 512) */
    bool post_norm; /* norms behind the residuals, none at the end (opt-350m) */
} blip2_opt_config;
typedef enum { BLIP2_GELU_ERF, BLIP2_GELU_TANH } blip2_gelu;
typedef struct blip2_t5_config {
    /* head_width: d_kv; heads x head_width need not be width */
    long vocab, width, layers, decoder_layers, heads, head_width, hidden;
    long buckets, max_distance;                            /* of relative positions: 32, 128 */
    double dropout, eps, init_factor;                      /* 0.1, 1e-6, 1 */
    blip2_gelu gelu;                                       /* erf in BLIP-2's files, tanh in FLAN-T5's own */
    bool tied;                                         /* the head is the table of tokens, times width^-1/2 */
    long start, eos, pad;                                  /* 0, 1, 0; start: what the decoder begins with */
} blip2_t5_config;
typedef enum { BLIP2_LLM_NONE, BLIP2_LLM_OPT, BLIP2_LLM_T5 } blip2_llm_kind;
/* What leads from image tokens to the language model (connector.c). */
typedef enum { BLIP2_CONNECTOR_QFORMER, BLIP2_CONNECTOR_LINEAR, BLIP2_CONNECTOR_MLP } blip2_connector_kind;
typedef struct blip2_config {
    blip2_vit_config vision;
    blip2_qformer_config qformer;                          /* queries 0: no Q-Former */
    bool stage1;                                           /* vision_proj, text_proj, itm_head, temp */
    long embed;                                            /* width of the contrastive features, 256 */
    double temperature, label_smoothing, ln_vision_eps;    /* 0.07, 0.1, 1e-5 */
    bool fixed_temperature;
    blip2_connector_kind connector;                        /* another than the Q-Former: queries are 0 */
    blip2_llm_kind llm;
    blip2_opt_config opt;
    blip2_t5_config t5;
    long max_text;                                         /* max_txt_len, 32 */
    char prompt[CONFIG_TEXT_SIZE];                         /* what stands before a caption: "a photo of" */
    char question_prompt[CONFIG_TEXT_SIZE];                /* "Question: {} Short answer:" */
    bool question_in_qformer;  /* the question goes into the Q-Former too (InstructBLIP) */
    long cls, sep, dec, text_pad;  /* token ids of the Q-Former's text: 101, 102, 30522, 0 */
} blip2_config;
blip2_config blip2_config_default(void);
/* A Q-Former of text alone, without queries, tower and language model: a plain BERT. */
bool blip2_is_bert(const blip2_config *c);
config_table blip2_config_table(const char *section, blip2_config *c);  /* for config_read and config_print */
/* What a language model is to those who feed it; which one, the configuration says. */
typedef struct blip2_llm {
    const char *name, *parameters, *projection;            /* "opt", "opt_model", "opt_proj" */
    bool encodes;                      /* an encoder reads what is given, a decoder says the rest; else one
                                          row holds both */
    long vocab, width, positions;      /* positions: longest row, visual prompt included; 0: of any length */
    long start, eos, pad;              /* start: in front of every row (OPT), of what the decoder says (T5) */
} blip2_llm;
blip2_llm blip2_llm_of(const blip2_config *c);             /* name "none" and zeros where there is none */
/* Does a picture reach anything: is there a Q-Former or another connector? */
bool blip2_bridged(const blip2_config *c);
/* Soft tokens that a picture is to the language model. features (B,N,E): N is theirs; NULL: the vision
 * tower's. */
long blip2_prompts(const blip2_config *c, const tensor *features);
/* in its frame, question_prompt; mem_free it */
char *blip2_question(const blip2_config *c, const char *question);
/* what no range of a single key can say */
bool blip2_config_check(const char *file, const blip2_config *c, error *e);

/* ---- vision towers ---------------------------------------------------------------------------------- */
typedef struct blip2_vit_block {
    nn_layer_norm norm1, norm2;
    tensor *qkv, *q_bias, *v_bias, *qkv_bias;
    nn_linear proj, fc1, fc2;
} blip2_vit_block;
typedef struct blip2_vit {
    blip2_vit_config config;
    bool recompute;                                        /* see blip2_recompute; here and below */
    double drop_path; /* of the last block's branches, while it is trained */
    tensor *patch_weight, *patch_bias, *class_token, *positions;
    nn_layer_norm pre;                                     /* CLIP only */
    blip2_vit_block *blocks;
} blip2_vit;
void blip2_vit_init(blip2_vit *v, nn_scope s, const blip2_vit_config *config);
/* pictures (B,3,S,S), normalised -> (B,N,E), after the last block, no final norm. blocks: NULL or room for
 * depth outputs. */
tensor *blip2_vit_forward(const blip2_vit *v, tape *t, tensor *pictures, tensor **blocks);
/* Bicubic change of a table of positions (1 + from^2, C) -> (1 + to^2, C), row 0 kept. EVA: align_corners
 * false, CLIP: true. */
void blip2_resize_positions(blip2_vit_kind kind, long from, long to, long C, const real *x, real *y);

/* ---- Q-Former ------------------------------------------------------------------------------------------
 * One function for all modes: image only, text only, multimodal, text behind cached queries (paper, Fig.
 * 2). */
typedef struct blip2_bert_layer {
    nn_attention self; nn_layer_norm self_norm;
    bool has_cross;
    nn_attention cross; nn_layer_norm cross_norm;
    nn_linear text_in, text_out; nn_layer_norm text_norm;          /* intermediate, output */
    nn_linear query_in, query_out; nn_layer_norm query_norm;       /* intermediate_query, output_query */
    double dropout; uint32_t site;
} blip2_bert_layer;
typedef struct blip2_layer_io {        /* options and side results of one layer or pass */
    long queries;                      /* the first `queries` rows are queries */
    long rows;  /* only that many first rows are wanted (with one mask for all rows); 0: all */
    const ag_mask *mask;               /* self-attention, over past and new keys */
    nn_kv memory;  /* image keys and values of this layer, if it has cross-attention and queries > 0 */
    const ag_mask *memory_mask;        /* NULL: all */
    const int *memory_row;             /* which row of memory each batch row reads, NULL: its own */
    nn_kv past;                        /* keys and values (B,Tp,D) in front, or NULLs */
    ag_cache *cache;                   /* generation */
    nn_kv present;                     /* out: this pass's keys and values (B,S,D) */
    tensor **self_probs, **cross_probs;    /* NULL, or where to put them */
    /* nothing inside is kept, backward runs the layer again; then present is filled if it is wanted */
    bool recompute, present_wanted;
} blip2_layer_io;
void blip2_bert_layer_init(blip2_bert_layer *l, nn_scope s, const blip2_qformer_config *c, long index);
/* (B,S,D) -> same */
tensor *blip2_bert_layer_forward(const blip2_bert_layer *l, tape *t, tensor *x, blip2_layer_io *io);

typedef struct blip2_qformer {
    blip2_qformer_config config;
    bool recompute;
    nn_embedding words, positions, types; nn_layer_norm norm;
    blip2_bert_layer *layers;
    nn_linear transform; nn_layer_norm transform_norm; tensor *head_bias;      /* cls.predictions */
} blip2_qformer;
typedef struct blip2_pass {
    tensor *queries;                   /* (B,Q,D) query embeddings, or NULL */
    const int *ids; long B, T;         /* (B,T), or NULL and 0 */
    long first_position;               /* of the text: 0, or how many text tokens went before */
    const ag_mask *mask;               /* NULL: all */
    const nn_kv *memory;  /* (layers) from blip2_qformer_memory; entries of layers without cross: unused */
    const ag_mask *memory_mask;
    const int *memory_row;
    const nn_kv *past;                 /* (layers) or NULL */
    ag_cache *cache;                   /* (layers) or NULL */
    nn_kv *present;                    /* (layers) out, or NULL */
    tensor **hidden;                   /* (layers + 1) out, or NULL */
    tensor **self_probs, **cross_probs;    /* (layers) out, or NULL */
    long rows;                         /* the result's first rows, all that the last layer computes; 0: all */
    uint32_t pass;                     /* dropout: which use within a step */
} blip2_pass;
void blip2_qformer_init(blip2_qformer *q, nn_scope s, const blip2_qformer_config *c);
/* (B,N,E): once an image, for all passes */
void blip2_qformer_memory(const blip2_qformer *q, tape *t, tensor *image, nn_kv *memory);
tensor *blip2_qformer_forward(const blip2_qformer *q, tape *t, const blip2_pass *pass);     /* (B,S,D) */
/* head before the tied matrix */
tensor *blip2_qformer_transform(const blip2_qformer *q, tape *t, tensor *hidden);
tensor *blip2_qformer_logits(const blip2_qformer *q, tape *t, tensor *hidden);  /* (B,T,D) -> (B,T,V) */
/* The three masks of the paper's Fig. 2, over [queries; text]; text_mask (B,T) 1 where a token stands. */
/* ITM; Q 0: text only */
ag_mask *blip2_mask_bidirectional(tape *t, long B, long Q, long T, const unsigned char *text_mask);
/* ITG in one pass (UniLM) */
ag_mask *blip2_mask_causal(tape *t, long B, long Q, long T, const unsigned char *text_mask);
/* ITG: rows are text only */
ag_mask *blip2_mask_causal_cached(tape *t, long B, long Q, long T, const unsigned char *text_mask);
/* ITC: two separate blocks */
ag_mask *blip2_mask_unimodal(tape *t, long B, long Q, long T, const unsigned char *text_mask);

/* ---- language model: OPT (Zhang et al. 2022), decoder only, pre-norm -------------------------------- */
typedef struct blip2_opt_layer {
    nn_layer_norm norm1, norm2;
    nn_attention self;
    nn_linear fc1, fc2;
    uint32_t site;
} blip2_opt_layer;
typedef struct blip2_opt {
    blip2_opt_config config;
    bool recompute;
    nn_embedding tokens, positions; nn_layer_norm norm;    /* norm: without post_norm */
    nn_linear project_in, project_out;                     /* (L,embed), (embed,L), where they differ */
    blip2_opt_layer *layers;
} blip2_opt;
void blip2_opt_init(blip2_opt *m, nn_scope s, const blip2_opt_config *c);
/* (B,T,L), no positions */
tensor *blip2_opt_embed(const blip2_opt *m, tape *t, const int *ids, long B, long T);
/* embeddings (B,T,L) + mask (B,past+T) of real tokens (NULL: all) -> last hidden (B,T,L) after the final
 * norm. cache: (layers) or NULL; it is written to, and the caller adds T to each length afterwards. */
tensor *blip2_opt_forward(const blip2_opt *m, tape *t, tensor *embeddings, const unsigned char *mask,
                          ag_cache *cache);
tensor *blip2_opt_logits(const blip2_opt *m, tape *t, tensor *hidden);  /* tied head: (...,L) -> (...,V) */

/* ---- language model: T5 (Raffel et al. 2020, in its 1.1 form), encoder and decoder, pre-norm --------- */
typedef struct blip2_t5_block {
    nn_rms_norm self_norm, cross_norm, norm;
    nn_attention self, cross;                              /* cross: the decoder's look at what was encoded */
    nn_linear gate, up, down;                              /* wi_0, wi_1, wo */
    uint32_t site;
} blip2_t5_block;
typedef struct blip2_t5_stack {
    long layers;
    blip2_t5_block *blocks;
    nn_rms_norm norm;
    tensor *bias;                                          /* (buckets,H), the same in every block */
    bool decodes;
    uint32_t site;
} blip2_t5_stack;
typedef struct blip2_t5 {
    blip2_t5_config config;
    bool recompute;
    nn_embedding tokens;
    blip2_t5_stack encoder, decoder;
    tensor *head;                                          /* (V,L); tied: tokens.weight */
} blip2_t5;
void blip2_t5_init(blip2_t5 *m, nn_scope s, const blip2_t5_config *c);
/* Which bucket a key `distance` behind the query (negative: before it) falls into. */
int blip2_t5_bucket(const blip2_t5_config *c, bool decodes, long distance);
tensor *blip2_t5_embed(const blip2_t5 *m, tape *t, const int *ids, long B, long T);        /* (B,T,L) */
/* embeddings (B,S,L) + mask (B,S) of what is real (NULL: all) -> (B,S,L) after the final norm; probs: NULL or
 * room for (layers) */
tensor *blip2_t5_encode(const blip2_t5 *m, tape *t, tensor *embeddings, const unsigned char *mask,
                        tensor **probs);
/* encoded (M,S,L) -> keys and values (M,S,H x d) of each of the decoder's layers, made once */
void blip2_t5_memory(const blip2_t5 *m, tape *t, tensor *encoded, nn_kv *memory);
typedef struct blip2_t5_pass {
    tensor *embeddings;                /* (B,T,L) of the start and what was said */
    const unsigned char *mask;         /* (B,past+T) which are real, NULL: all */
    const nn_kv *memory;               /* (decoder_layers) */
    const unsigned char *memory_mask;  /* (M,S), NULL: all */
    const int *memory_row;             /* (B) which row of memory each batch row reads, NULL: its own */
    ag_cache *cache;                   /* (decoder_layers) or NULL, as in blip2_opt_forward */
    tensor **self_probs, **cross_probs;    /* (decoder_layers) out, or NULL */
} blip2_t5_pass;
/* (B,T,L) after the final norm */
tensor *blip2_t5_decode(const blip2_t5 *m, tape *t, const blip2_t5_pass *p);
/* What the head's matrix multiplies: hidden, and with a tied head hidden x L^-1/2. */
tensor *blip2_t5_before_head(const blip2_t5 *m, tape *t, tensor *hidden);
tensor *blip2_t5_logits(const blip2_t5 *m, tape *t, tensor *hidden);           /* (...,L) -> (...,V) */

/* ---- text as ids ------------------------------------------------------------------------------------ */
/* (B,T), right-padded */
typedef struct blip2_text { long B, T; const int *ids; const unsigned char *mask; } blip2_text;
/* Without the columns that are padding in all rows, on all ranks (keep: with them); all ranks get one T. */
blip2_text blip2_trim(tape *t, const ag_ranks *ranks, blip2_text text, long pad, bool keep);
/* Of all ranks, in order: (world B,T), and of n ids (world n); NULL stays NULL. */
blip2_text blip2_gather_text(tape *t, const ag_ranks *ranks, blip2_text text);
const long *blip2_gather_ids(tape *t, const ag_ranks *ranks, const long *ids, long n);

/* ---- the model -------------------------------------------------------------------------------------- */
typedef struct blip2_connector { nn_linear first, second; } blip2_connector;    /* second: of mlp */
typedef struct blip2_model {
    blip2_config config;
    nn_store *store;
    blip2_vit vision; nn_layer_norm ln_vision;
    tensor *query_tokens, *temp;                           /* (1,Q,D), () */
    blip2_qformer qformer;
    nn_linear vision_proj, text_proj, itm_head;
    nn_linear llm_proj; blip2_connector connector;         /* opt_proj or t5_proj; or, without a Q-Former */
    blip2_opt opt; blip2_t5 t5;                            /* one of the two */
} blip2_model;
/* registers; then nn_freeze, nn_build */
void blip2_model_init(blip2_model *m, nn_store *store, const blip2_config *config);
/* Which parts keep nothing of what their layers compute, so that backward runs each again: memory for
 * time, the same bits (LAVIS: use_grad_checkpoint, of the tower alone). */
typedef enum { BLIP2_RECOMPUTE_NONE, BLIP2_RECOMPUTE_VISION, BLIP2_RECOMPUTE_ALL } blip2_recompute_what;
void blip2_recompute(blip2_model *m, blip2_recompute_what what);
/* (B,3,S,S) -> (B,N,E), tower only */
tensor *blip2_vision_features(const blip2_model *m, tape *t, tensor *pictures);

/* ---- model files: one HDF5 file, parameters by name, architecture, tokenizers (docs/model-file.md) ---- */
enum { BLIP2_PARTS = 8 };
/* "bert/vocab.txt": a tokenizer's file */
typedef struct blip2_part { char name[96]; char *bytes; long size; } blip2_part;
bool blip2_save(const blip2_model *m, const char *path, const char *source, const blip2_part *parts,
                int count, error *e);
/* into an open file */
bool blip2_write(const blip2_model *m, h5_out *f, const char *source, const blip2_part *parts, int count);
/* the same without the parameters */
bool blip2_write_head(const blip2_model *m, h5_out *f, const char *source, const blip2_part *parts,
                      int count);
bool blip2_read_config(h5 *f, blip2_config *c, error *e);
/* parameters under prefix; "": all, and nothing else */
bool blip2_load(blip2_model *m, h5 *f, const char *prefix, error *e);
/* what training starts from: all that both have; a BERT becomes a Q-Former (start.c) */
bool blip2_load_start(blip2_model *m, h5 *f, error *e);
/* heads, epsilons, activations of the parts below prefix ("": all) that both have are the file's */
bool blip2_same_parts(const blip2_config *want, h5 *f, const char *prefix, error *e);
/* a whole model, frozen, for use; what the file keeps in low precision stays so */
bool blip2_open(blip2_model *m, const char *path, bool *sealed, error *e);
/* the same; watch hears how much is read */
bool blip2_open_told(blip2_model *m, const char *path, bool *sealed, const nn_watch *watch, error *e);
void blip2_close(blip2_model *m);
/* "bert": how many; -1: failed */
int blip2_read_parts(h5 *f, const char *group, blip2_part to[BLIP2_PARTS], error *e);
void blip2_free_parts(blip2_part *parts, int count);

/* ---- a small vision tower from captions alone (CLIP, Radford et al. 2021); heads and text tower are dropped
 * after --- */
typedef struct blip2_contrastive_config {
    blip2_opt_config text;
    long embed;
    double temperature;
} blip2_contrastive_config;
typedef struct blip2_contrastive {
    blip2_opt text;
    nn_layer_norm norm;
    nn_linear visual, textual;
    double temperature;
} blip2_contrastive;
void blip2_contrastive_init(blip2_contrastive *c, nn_scope s, long vision_width,
                            const blip2_contrastive_config *config);
tensor *blip2_contrastive_loss(const blip2_contrastive *c, const blip2_vit *vision, tape *t, tensor *pictures,
                               /* same: (B) equal for captions that read alike, with ranks (world B) of all;
                                  right: batch accuracy, or NULL */
                               blip2_text text, const long *same, const ag_ranks *ranks, double *right);

/* ---- one batch in parts, exactly (large_batch.c) -----------------------------------------------------
 * All pairs of an optimiser step, C = parts x world x B, in the order of part, rank, pair. */
typedef struct blip2_large {
    long parts, B, count;              /* of this rank; pairs of a part on a rank; C */
    int rank, world;
    tensor *features;                  /* (C,N,E) of the vision tower; a trained one wants their gradient */
    tensor *images, *texts;            /* (C,Q,embed), (C,embed) normalised: what ITC compares with */
    blip2_text words;                  /* (C,T) */
    const long *image_id;              /* (C) or NULL */
    double targets;                    /* tokens that ITG predicts in all of it */
} blip2_large;
/* text (parts B,T), image_id (parts B) or NULL: of this rank's parts, one after another. Rooms are made, and
 * blip2_large_show fills them part by part: features (B,N,E), under the random numbers that the part will be
 * trained with. blip2_large_back, behind the last part: gradients of the features go into the tower. */
blip2_large blip2_large_new(const blip2_model *m, tape *t, const ag_ranks *ranks, long parts, blip2_text text,
                            const long *image_id, long N, bool tower_trained);
void blip2_large_show(const blip2_model *m, tape *t, const ag_ranks *ranks, const blip2_large *l, long part,
                      tensor *features);
void blip2_large_back(const blip2_model *m, tape *t, const ag_ranks *ranks, const blip2_large *l, long part,
                      tensor *pictures);

/* ---- stage 1: ITC + ITM + ITG (paper, section 3.2; lavis blip2_qformer) ----------------------------- */
/* loss = itc ITC + itm ITM + itg ITG; a loss of factor 0 is not computed */
typedef struct blip2_stage1_weights { double itc, itm, itg; } blip2_stage1_weights;
typedef struct blip2_stage1_in {
    const blip2_stage1_weights *weights;                   /* NULL: 1, 1, 1, the paper's */
    tensor *features;                  /* (B,N,E) of the vision tower, before ln_vision */
    blip2_text text;                   /* [CLS] ... [SEP] */
    /* the batch that this is a part of: features, text and image_id are its own, and not given here. The
     * mean of the parts' losses, over ranks too, is the loss of the undivided batch. NULL: a batch of its
     * own */
    const blip2_large *large;
    long part;
    const long *image_id;              /* (B) equal ids are positives of each other, or NULL */
    /* (B) given, or NULL: drawn from the softmax of similarities */
    const int *negative_image, *negative_text;
    /* the power of that softmax is 1 less this: 0, the paper's: what ITC finds alike; 1: any other pair */
    double soft_negatives;
    /* (B,Q,embed), (B,embed) constants that ITC compares with, or NULL: the batch's own features, without
       their gradient */
    tensor *image_candidates, *text_candidates;
    /* B of the pairs that are compared; those of rank 0 come first. Negatives count through all ranks.
     * NULL */
    const ag_ranks *ranks;
    bool own_mean;                     /* ranks: ITG's mean is of this rank's tokens (LAVIS), not of all */
    bool keep;                         /* fill every field below, for trace (costs memory) */
} blip2_stage1_in;
typedef struct blip2_stage1_out {
    tensor *loss, *itc, *itm, *itg;    /* () each; the sum, and what was summed. NULL: left out */
    /* (B,N,E) after ln_vision, (B,Q,D), (B,Q,embed) normalised */
    tensor *image, *query_output, *image_features;
    tensor *text_output, *text_feature;  /* (B,1,D), with keep (B,T,D); (B,embed) normalised */
    long tokens;  /* T of what was computed: of the longest caption */
    /* C: what each is compared with, B, with ranks world B */
    tensor *sim_i2t, *sim_t2i;                             /* (B,C) */
    real *weights_i2t, *weights_t2i;                       /* (B,C) that negatives are drawn with */
    const int *negative_image, *negative_text;             /* (B) in use */
    tensor *itm_hidden, *itm_logits;                       /* (3B,Q+T,D), only with keep; (3B,2) */
    const int *itm_labels;                                 /* (3B) 1: they belong together */
    const int *itg_labels;                                 /* (B,T-1) shifted, -100 ignored */
    tensor *itg_logits;                                    /* (B,T,V), only with keep */
    nn_kv *past;                                           /* (layers) the image pass's keys and values */
    double query_cosine;  /* mean cosine between different queries' outputs of a picture */
} blip2_stage1_out;
void blip2_stage1(const blip2_model *m, tape *t, const blip2_stage1_in *in, blip2_stage1_out *out);
/* parts, as LAVIS exposes them (section 2.5 of its reference) */
/* (B,Q,D); memory, present: (layers) to be filled, or NULL */
tensor *blip2_image_queries(const blip2_model *m, tape *t, tensor *features, nn_kv *memory, nn_kv *present);
tensor *blip2_text_hidden(const blip2_model *m, tape *t, blip2_text text);                  /* (B,T,D) */
/* -> (B,Q,embed), normalised */
tensor *blip2_image_features(const blip2_model *m, tape *t, tensor *query_output);
/* of [CLS]: -> (B,embed), normalised */
tensor *blip2_text_feature(const blip2_model *m, tape *t, tensor *hidden);
tensor *blip2_itm_logits(const blip2_model *m, tape *t, const nn_kv *memory, const int *memory_row,
                         blip2_text text,
                         tensor **hidden); /* (R,2), mean over queries; hidden (R,Q+T,D), or NULL */

/* ---- stage 2: soft visual prompts into a frozen language model (paper, section 3.3; lavis blip2_opt,
 * blip2_t5) ------------------------------------------------------------------------------------------- */
typedef struct blip2_stage2_in {
    tensor *features;                  /* (B,N,E); NULL: no picture (language modelling alone) */
    blip2_text text;                   /* OPT: </s> tokens ...; T5: what the encoder reads; right-padded */
    blip2_text target;                 /* T5: what the decoder is to say, tokens ... </s>; OPT: T 0 */
    long prompt_tokens;                /* OPT: that many first tokens carry no loss */
    const real *loss_weight;           /* (B,T) weight of each token as a target (T5: of target), NULL: 1 */
    /* (B,Tq) [CLS] ... [SEP] for the Q-Former's text stream too (InstructBLIP); T 0: none */
    blip2_text question;
    const ag_ranks *ranks;             /* the loss is the mean over the tokens of all of them; NULL */
} blip2_stage2_in;
typedef struct blip2_stage2_out {
    /* (), (B,Q,D) (NULL without a Q-Former), (B,Q,L), (B,Q+T,L), (B,Q+T,V) or, T5, (B,To,V) if keep */
    tensor *loss, *query_output, *projected, *embeddings, *logits;
    tensor *image;
    tensor *asked;                                         /* (B,Q+Tq,D) queries and question, if keep */
    const int *labels; const unsigned char *mask;          /* (B,Q+T); T5: labels (B,To) */
    tensor *encoded;                                       /* T5: (B,Q+T,L) */
    const int *decoder_ids;                            /* T5: (B,To) start, then the labels before the last */
    double query_cosine;
} blip2_stage2_out;
void blip2_stage2(const blip2_model *m, tape *t, const blip2_stage2_in *in, bool keep, blip2_stage2_out *out);
double blip2_query_cosine(const tensor *queries);          /* (B,Q,D) */

/* ---- generation ------------------------------------------------------------------------------------- */
/* Whose rules: LAVIS's are those of transformers 4.33, Hugging Face's those of 5 (docs/generation.md). */
typedef enum { BLIP2_LAVIS, BLIP2_HF } blip2_reference;
/* Beams are searched until nothing better can come (early_stopping False), until there are enough (True),
 * or until nothing better could come at any length ("never"). Hugging Face's rules only. */
typedef enum { BLIP2_UNTIL_BEST, BLIP2_UNTIL_FULL, BLIP2_UNTIL_CERTAIN } blip2_until;
/* max_length and min_length count the start or dummy token; with `given` min_length counts what was given
 * too */
typedef struct blip2_times { /* seconds: up to the first logits; the steps behind it, and how many */
    double first, rest;
    long steps;
} blip2_times;
typedef struct blip2_generate {
    int beams, max_length, min_length, returns;            /* 5, 30, 1, 1; beams 1: greedy */
    int max_new_tokens;                                    /* instead of max_length; 0: max_length */
    double length_penalty, repetition_penalty;             /* 1, 1 */
    blip2_reference reference;
    blip2_until until;
    int min_new_tokens, no_repeat_ngram;                   /* 0: none */
    bool sample;                                           /* draws `returns` texts; beams 1 */
    double temperature, top_p;                             /* 0: 1, as it is; 0: 1, all of the distribution */
    int top_k;                                             /* 0: all */
    uint64_t seed;
    /* (B,given_count) ids that stand before the text for penalties (Hugging Face's OPT: image tokens,
     * padding, prompt); then the dummy start does not count. NULL: none */
    const int *given; long given_count;
    blip2_times *times;                                    /* where to put them, or NULL */
} blip2_generate;
/* What sampling draws from: softmax of logits (V) / temperature, cut to the top_k best and to the smallest
 * set of the best that holds top_p (Holtzman et al. 2020). p (V) */
void blip2_distribution(tape *t, const blip2_generate *o, long V, const real *logits, real *p);
/* on the tape; without start, with eos if reached */
typedef struct blip2_sequence { int *ids; int length; double score; } blip2_sequence;
/* Captions and answers by the language model: B x returns sequences. prompt: T 0, or for OPT ids with </s>,
 * left-padded; for T5 ids that end with </s>, right-padded. question: the Q-Former's, T 0: none. */
void blip2_llm_generate(const blip2_model *m, tape *t, tensor *features, blip2_text question,
                        blip2_text prompt, const blip2_generate *o, blip2_sequence *out);
/* Captions by the Q-Former itself (its ITG head). */
void blip2_itg_generate(const blip2_model *m, tape *t, tensor *features, const blip2_generate *o,
                        blip2_sequence *out);

/* ---- cases: models and inputs as any other implementation can write them (case.c, docs/windows.md) --------
 * A file with the root attributes `kind` and `config` (JSON: D, H, I, L, vocab, ...), parameters under
 * weights/ and inputs under inputs/, as golden/lavis has them; or a model file of our own. */
/* all that is missing or wrong is reported together */
bool blip2_case_config(h5 *f, blip2_config *c, error *e);
/* Either kind of file; parameters under a name of frozen (ends with NULL) stay as they are, the others get
 * room for gradients. "": all are frozen. */
bool blip2_open_case(blip2_model *m, const char *path, const char *const *frozen, bool *sealed, error *e);
/* Rows of ids (B,room), -1 behind the last: as [CLS] ids [SEP] in `width` columns, cut before [SEP]; and
 * as </s> ids for the language model, a newline behind them if asked, cut to `most`, padded to the
 * longest. */
blip2_text blip2_bert_rows(const blip2_config *c, tape *t, const int *ids, long B, long room, long width);
blip2_text blip2_opt_rows(const blip2_opt_config *c, tape *t, const int *ids, long B, long room, bool newline,
                          long most, bool pad_left);
/* As ids </s>, cut to `most` with </s> kept. */
blip2_text blip2_t5_rows(const blip2_t5_config *c, tape *t, const int *ids, long B, long room, long most);

typedef enum {
    BLIP2_TASK_STAGE1, BLIP2_TASK_STAGE2, BLIP2_TASK_ITM, BLIP2_TASK_FEATURES, BLIP2_TASK_VISION, BLIP2_TASKS
} blip2_task;
extern const char *const blip2_tasks[BLIP2_TASKS + 1];     /* "stage1", ..., NULL */
typedef struct blip2_batch {           /* what stands under inputs/ */
    tensor *pictures, *features;       /* image (B,3,S,S), or vit_out (B,N,E) */
    tensor *cotangent;                 /* cot (B,N,E): vision's loss is sum(out * cot); drawn if not given */
    blip2_text text;                   /* what the model reads: from text, text_input, or ids and text_mask */
    blip2_text wide; /* features: every text in 35 columns, as LAVIS's forward_text pads it */
    blip2_text target, question;       /* T5: text_output; the Q-Former's own reading of text_input */
    long prompt_tokens;                /* OPT: first tokens that carry no loss */
    const long *image_id;              /* (B) or NULL */
    const int *negative_image, *negative_text;     /* neg_image, neg_text (B) or NULL: drawn */
} blip2_batch;
/* Everything that is missing or misshapen is reported together. */
bool blip2_batch_read(h5 *f, tape *t, const blip2_config *c, blip2_task task, blip2_batch *b, error *e);
/* One pass, and back if asked: every activation, loss and gradient by its name ("out/query_output",
 * "out/grads/query_tokens"), and inputs that were drawn ("inputs/neg_image"). The gradients left in the
 * store are those of the whole loss. (trace.c) */
typedef void (*blip2_take)(void *context, const char *name, h5_type type, int ndim, const long *dim,
                           const void *data);
void blip2_trace(const blip2_model *m, tape *t, blip2_task task, const blip2_batch *b, bool grad,
                 blip2_take take, void *context);

/* ---- gradients against differences: a small example of every module and loss (double, as ag_check) ----- */
int blip2_example_count(void);
const char *blip2_example_name(int i);
ag_check blip2_example_check(int i, uint64_t seed);
ag_check blip2_example_check_told(int i, uint64_t seed, ag_listener tell, void *context);
#pragma GCC visibility pop
#endif
