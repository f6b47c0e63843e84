/* metrics.h - scores of captions, answers and retrieval, as the field's reference scorers compute them
 * (pycocoevalcap, the VQA challenge's script, LAVIS). Everything is double, whatever `real` is.            */
#ifndef EVAL_METRICS_H
#define EVAL_METRICS_H
#include "base/base.h"
#pragma GCC visibility push(default)

/* ---- words ----------------------------------------------------------------------------------------- */
typedef struct ptb ptb;                            /* the Penn Treebank rules, compiled (ptb.c) */
ptb *ptb_new(error *e);                            /* NULL: memory is out */
void ptb_free(ptb *p);
/* Lower-cased tokens without COCO's punctuation, a space between two; mem_free it, NULL: memory is out. One
 * thread at a time. A space that belongs to a token ("3 1/2") is a no-break space, U+00A0.                 */
char *ptb_tokens(const ptb *p, const char *text);
char *whitespace_tokens(const char *text);         /* lower(); split(), as Python does them */
char *score_tokens(const ptb *p, const char *text); /* the former; p NULL: the latter */

/* ---- captions: tokens against the tokens of references --------------------------------------------- */
typedef struct score_item {            /* a picture */
    const char *result;                /* tokens, a space between two */
    const char *const *references;     /* the same, at least one */
    int count;
} score_item;
enum { SCORE_BLEU = 4 };
typedef struct score_bleu {            /* lengths of caption and closest reference; n-grams made, and right */
    long test, reference, guess[SCORE_BLEU], correct[SCORE_BLEU];
} score_bleu;
void score_bleu_add(score_bleu *sum, const score_bleu *b);
void score_bleu_value(const score_bleu *b, double to[SCORE_BLEU]);
typedef struct score_captions {        /* of the corpus, and of each picture (n) */
    long n;
    score_bleu *counts;
    double bleu[SCORE_BLEU], rouge, cider;
    double *per_bleu[SCORE_BLEU], *per_rouge, *per_cider;
} score_captions;
/* BLEU-1..4 (Papineni et al. 2002; closest length), ROUGE-L (Lin 2004; beta 1.2), CIDEr-D (Vedantam et al.
 * 2015; the idf is that of these references, so a single picture scores 0). False: memory is out.          */
bool score_captions_run(long n, const score_item *items, score_captions *to, error *e);
void score_captions_free(score_captions *s);

/* ---- answers: VQA accuracy (Antol et al. 2015), in [0,1] ------------------------------------------- */
typedef enum { SCORE_VQA_OFFICIAL, SCORE_VQA_LAVIS, SCORE_VQA_EXACT } score_vqa_rule;
extern const char *const score_vqa_rules[];        /* their names; ends with NULL */
char *score_vqa_normalise(const char *answer);     /* the official normal form; mem_free it */
/* The mean over annotators of min(1, matches among the others / 3). "Other" means another record: record (n)
 * is equal where all but the answer is, as the script compares whole records; NULL: all differ (they carry an
 * answer_id). By SCORE_VQA_EXACT 1 where the answer is, letter by letter, one of theirs. -1: memory is out.
 */
double score_vqa(score_vqa_rule rule, const char *answer, int n, const char *const *answers,
                 const int *record);

/* ---- retrieval ------------------------------------------------------------------------------------- */
/* The 0-based place of the best-placed right column of each row; equal scores by lower index. right (rows):
 * lists of columns, ended by -1.                                                                           */
void score_ranks(long rows, long columns, const double *scores, const long *const *right, long *rank);
double score_recall(long rows, const long *rank, long k);      /* percent of ranks below k */
double score_mrr(long rows, const long *rank);     /* mean reciprocal rank, of places from 1, in percent */

/* ---- how sure -------------------------------------------------------------------------------------- */
typedef struct score_interval { double low, high; } score_interval;
enum { SCORE_TIMES = 10000 };                      /* resamples: what the commands draw, and the most */
/* The mean's percentile interval over `times` resamples of n values with replacement (Efron 1979), by
 * seed. */
score_interval score_bootstrap(long n, const double *values, double share, long times, uint64_t seed);
/* The same of sums / counts over n clusters, which are drawn whole; counts NULL: 1 each. Resamples that
 * count nothing say nothing and are passed over. */
score_interval score_bootstrap_ratio(long n, const double *sums, const double *counts, double share,
                                     long times, uint64_t seed);
/* The same of the mean of rows, of which row r is in cluster of[r]. NAN: memory is out. */
score_interval score_bootstrap_clusters(long rows, const double *values, const long *of, long clusters,
                                        double share, long times, uint64_t seed);
/* The same of a corpus's BLEU-1..4: counts of n pictures are drawn and summed. False: memory is out. */
bool score_bleu_bootstrap(long n, const score_bleu *counts, double share, long times, uint64_t seed,
                          score_interval to[SCORE_BLEU]);

/* ---- files in COCO and VQA form (score.c): figures as a JSON text, mem_free it; NULL: failed ------- */
typedef struct score_options {
    bool whitespace;                   /* captions: tokens by lower(); split(), not Penn Treebank */
    bool per_item;                     /* also the figures of each picture, question, row */
    bool partial;                      /* results need not be of all pictures or questions */
    score_vqa_rule rule;
    const char *meteor_jar, *spice_jar;            /* the user's own programs, run by java; NULL: none */
    uint64_t seed;                     /* of the intervals: 95 % of SCORE_TIMES resamples */
    void (*warn)(const char *text);    /* what is left out, and why; NULL: it is not told */
} score_options;
/* [{image_id, caption}] against {images, annotations: [{image_id, caption}]} */
char *score_caption_files(const char *results, const char *references, const score_options *o, error *e);
/* [{question_id, answer}] against VQA v2 annotations; questions: checked for the same ids, or NULL. Where
 * they are given, answers to questions that nobody annotated are passed over; `unannotated` says how many. */
char *score_vqa_files(const char *results, const char *questions, const char *annotations,
                      const score_options *o, error *e);
/* {scores_i2t, scores_t2i, img2txt, txt2img}, or {cases: [...]} of such; own_image: of each text the picture
 * it is drawn with, without it the first that is right */
char *score_retrieval_file(const char *path, const score_options *o, error *e);
#pragma GCC visibility pop
#endif
