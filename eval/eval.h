/* eval.h - how well a model does: protocols and metrics. */
#ifndef EVAL_H
#define EVAL_H
#include "blip2/blip2.h"
#include "data/data.h"
#pragma GCC visibility push(default)

/* ---- who hears of a run; a function that is NULL is not called ----------------------------------------- */
typedef struct eval_watch {
    void *context;
    void (*progress)(void *context, const char *what, long done, long of);     /* done 0: it begins */
    void (*warn)(void *context, const char *text); /* what a person should know of the figures */
    nn_watch reading;                  /* of the model file */
} eval_watch;

/* ---- a model file in use: pictures in, words out --------------------------------------------------- */
typedef struct eval_session {
    blip2_model model;
    tokenizer *bert, *llm;
    tape *t;
    bool sealed;
    blip2_reference reference; /* how pictures are read, what a text is: LAVIS's way, or Hugging Face's */
    token_list line;                   /* used again and again */
    token_batch lines;
} eval_session;
bool eval_open(eval_session *s, const char *path, error *e);
/* how much is read */
bool eval_open_told(eval_session *s, const char *path, const nn_watch *watch, error *e);
void eval_close(eval_session *s);
bool eval_tokenizers(const char *path, tokenizer **bert, tokenizer **llm, error *e);      /* NULL: none */
bool eval_can_caption(const eval_session *s, const char *path, error *e);   /* stage 1: by its ITG head */
bool eval_can_answer(const eval_session *s, const char *path, error *e);
bool eval_can_retrieve(const eval_session *s, const char *path, error *e);
long eval_tokens(const blip2_config *c);           /* N: patches and class token */
bool eval_features(eval_session *s, const char *const *paths, long n, real *to, error *e);     /* (n,N,E) */
/* ids (length); by Hugging Face's rules with what stands before them: image tokens and prompt (OPT), the
 * start (T5) */
typedef struct eval_text {
    char *text, *own;                  /* own: without the prompt before it; NULL: text has none */
    int *ids;
    long length;
    double score;
} eval_text;
/* Continues each prompt (NULL: none) behind the picture's soft prompt; features NULL: without any picture.
 * questions: what the Q-Former reads too where the model is made so (question_in_qformer), NULL for a
 * caption. to (n x o->returns): eval_text_free.                                                            */
bool eval_write(eval_session *s, const real *features, long n, const char *const *prompts,
                const char *const *questions, const blip2_generate *o, eval_text *to, error *e);
void eval_text_free(eval_text *texts, long n);

/* ---- pictures and texts compared by the heads of stage 1 ----------------------------------------------
 * A text is read as LAVIS reads a caption, cleaned and cut at max_txt_len, or as Hugging Face does, as it
 * stands, up to the last position. */
bool eval_texts(eval_session *s, const char *const *texts, long n, blip2_reference reference, blip2_text *to,
                error *e);             /* on the session's tape */
/* features (n,N,E) of the vision tower -> (n,Q,embed), texts (n,T) -> (n,embed); normalised, on the tape */
real *eval_image_features(const blip2_model *m, tape *t, const real *features, long n, long N);
real *eval_text_features(const blip2_model *m, tape *t, blip2_text texts);
/* u (n,Q,embed), w (texts,embed) -> itc (n,texts), the best query's cosine */
void eval_similarities(tape *t, const real *u, const real *w, long n, long Q, long texts, long embed,
                       real *itc);
/* One picture (N,E) read together with n of the texts: logits (n,2) of "no" and "they match" */
void eval_itm(const blip2_model *m, tape *t, const real *features, long N, blip2_text all, const int *rows,
              long n, real *logits);
typedef struct eval_match { double itc, itm, probability; } eval_match;    /* cosine, logit of "they match" */
void eval_match_texts(const blip2_model *m, tape *t, const real *features, long N, blip2_text texts,
                      eval_match *to);             /* one picture (N,E) with each text */

/* ---- what the Q-Former looks at in a picture: probabilities, on the tape ------------------------------ */
typedef struct eval_attention {
    long layers, heads, Q, T, N;                   /* queries, tokens of the text (0: none), of the picture */
    tensor **self, **cross;            /* (layers): (1,H,Q+T,Q+T); (1,H,Q,N), NULL in layers without one */
} eval_attention;
bool eval_can_attend(const eval_session *s, const char *path, error *e);
/* features (N,E). text: read together with the picture, as matching does; T 0: the picture alone. */
eval_attention eval_attend(const blip2_model *m, tape *t, const real *features, long N, blip2_text text);

/* ---- retrieval: which text goes with which picture (paper, section 4.4; lavis compute_sim_matrix) ---- */
typedef struct eval_retrieval {
    long images, texts;
    real *itc;                         /* (images,texts) max over queries of the cosine */
    real *i2t, *t2i;                   /* (images,texts), (texts,images): itc + matching logit for the best k
                                          of each row, -100 elsewhere */
    real *odds;                        /* (images,texts) log odds: matching logit - its opposite, of pairs
                                          that were read; 0 elsewhere */
} eval_retrieval;
/* features (n,N,E) of the vision tower. The arrays live on the tape; k 0: itc alone. A score that is not
 * finite fails (ag_fail). */
eval_retrieval eval_retrieve(const blip2_model *m, tape *t, const real *features, long n, long N,
                             blip2_text texts, long k);
/* watch: hears how many pictures have been read with their texts */
eval_retrieval eval_retrieve_told(const blip2_model *m, tape *t, const real *features, long n, long N,
                                  blip2_text texts, long k, const eval_watch *watch);
/* The share of rows that have a column of their own id among their k best. */
double eval_recall(const real *scores, long rows, long columns, const long *row_id, const long *column_id,
                   long k);

/* ---- evaluate: protocols over a split -------------------------------------------------------------- */
enum { EVAL_BATCH = 256 };
typedef enum { EVAL_PTB, EVAL_WHITESPACE } eval_tokenizer;
/* The best k are ordered by: cosine + logit (lavis), logit, ITC's softmax times ITM's odds to the power
 * itm_weight, cosine alone. */
typedef enum { EVAL_SUM, EVAL_ITM, EVAL_PRODUCT, EVAL_ITC } eval_rerank;
extern const char *const eval_tokenizer_names[], *const eval_rerank_names[];
typedef struct eval_config {
    char model[CONFIG_TEXT_SIZE], root[CONFIG_TEXT_SIZE], images[CONFIG_TEXT_SIZE], list[CONFIG_TEXT_SIZE];
    char output_dir[CONFIG_TEXT_SIZE];
    config_list tasks;                 /* captions, vqa, retrieval */
    bool controls;                     /* vqa beside a blind and a shuffled row */
    long limit, retrieval_pictures, retrieval_captions, k_test, batch, beams, min_len, max_len, answer_length,
        seed;
    long answer_min_length;
    double length_penalty, repetition_penalty, itm_weight;
    double answer_penalty;             /* NAN: as LAVIS, 0 for OPT and -1 for T5 */
    double memory_mb;                  /* for features of all pictures; 0: as there is */
    double max_bad_fraction;           /* of pictures that cannot be decoded and are left out */
    int tokenizer, rerank, clean;          /* clean: texts that the model reads, 0: not */
    int reference;                     /* blip2_reference: how pictures are read and texts written */
    char prompt[CONFIG_TEXT_SIZE], question_prompt[CONFIG_TEXT_SIZE];      /* empty: the model's */
    char meteor_jar[CONFIG_TEXT_SIZE], spice_jar[CONFIG_TEXT_SIZE];
    blip2_generate generate;           /* made from these by eval_run */
    eval_watch watch;                  /* not of a file */
    config_named elsewhere;            /* data sets by LAVIS's names, which have none here */
} eval_config;
eval_config eval_config_default(void);
config_table eval_config_table(eval_config *c);    /* for config_read: sections model, datasets, run */
enum { EVAL_TABLES = 2 };
void eval_config_tables(eval_config *c, config_table to[EVAL_TABLES]); /* that, and LAVIS's datasets.NAME */
/* Figures as JSON, mem_free them; NULL: failed. What is not there or cannot be (configuration, list,
 * pictures, jars) is told together, before the model is read; results of older runs go before the new ones
 * are made, and metrics.json and evaluate.yaml come last. */
char *eval_run(const eval_config *c, error *e);

/* ---- report: one HTML file about a run, with results of further folders; tell hears what is left out ----
 * base: a configuration to compare the run's with: its name, and what config_print makes of it; or NULL. */
typedef struct eval_report_base { const char *name, *config; } eval_report_base;
typedef void (*eval_report_listener)(void *context, const char *left_out);
bool eval_report(const char *run, const char *const *more, int n, const char *out,
                 const eval_report_base *base, eval_report_listener tell, void *context, error *e);
#pragma GCC visibility pop
#endif
