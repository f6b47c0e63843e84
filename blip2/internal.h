/* internal.h - what the files of this folder share and nobody else needs. */
#ifndef BLIP2_INTERNAL_H
#define BLIP2_INTERNAL_H
#include "blip2/blip2.h"

/* Where dropout happens, each place its own number: random numbers are keyed by it (ag_drop.site). */
enum {
    SITE_QFORMER_EMBEDDING = 1,
    SITE_QFORMER_LAYER = 0x100, SITES_A_LAYER = 0x10,
    SITE_OPT = 0x10000,
    SITE_T5_ENCODER = 0x20000, SITE_T5_DECODER = 0x30000, SITE_VIT = 0x40000
};
/* Which use of the Q-Former within a step (ag_random.pass). */
enum { PASS_IMAGE = 1, PASS_TEXT, PASS_MATCHING, PASS_CAPTION };

/* ---- vision towers ------------------------------------------------------------------------------------- */
void sinusoid_positions(long grid, long C, double scale, real *y);         /* y (1 + grid^2, C) */

/* ---- stage 1 ----------------------------------------------------------------------------------------------
 * What each of a batch's B pairs is compared with: C >= B pairs of normalised features, its own among
 * them. They carry no gradient: an image is moved towards texts that stand still, and a text towards
 * images that do.                                                                                          */
typedef struct candidates {
    tensor *images, *texts;            /* (C,Q,embed), (C,embed) */
    long count, first;                 /* C; the batch's own pairs are candidates first .. first + B - 1 */
    const long *image_id;              /* (C) equal ids are positives of each other, or NULL */
    blip2_text words;                  /* (C,T) the texts themselves */
    tensor *features;                  /* (C,N,E) of a batch in parts, before ln_vision; else NULL */
} candidates;

static inline bool is_positive(const candidates *c, long b, long j)        /* pair b, candidate j */
{
    return c->image_id ? c->image_id[c->first + b] == c->image_id[j] : c->first + b == j;
}

static inline nn_kv *layer_room(const blip2_model *m, tape *t)             /* keys, values of each layer */
{
    return ag_alloc(t, m->config.qformer.layers * (long)sizeof(nn_kv));
}

/* Queries looking at image (B,N,E), which ln_vision has normalised: (B,Q,D). memory: (layers), to be
 * filled; present: the same or NULL.                                                                       */
tensor *image_pass(const blip2_model *m, tape *t, tensor *image, nn_kv *memory, nn_kv *present);

tensor *stage1_text_pass(const blip2_model *m, tape *t, blip2_text text, long rows); /* (B,rows,D); 0: all */
/* Of a batch in parts (large_batch.c): the part's first row, its text (B,T) and features (B,N,E). */
long large_first(const blip2_large *l, long part);
blip2_text large_text(const blip2_large *l, long part);
tensor *large_features(const blip2_large *l, tape *t, long part);

/* The three losses, each a file of its own: () . They also fill their fields of out. */
void stage1_similarities(const blip2_model *m, tape *t, const candidates *c, blip2_stage1_out *out);
tensor *stage1_itc(const blip2_model *m, tape *t, const candidates *c, const blip2_stage1_out *out);
tensor *stage1_itm(const blip2_model *m, tape *t, const candidates *c, const nn_kv *memory,
                   const blip2_stage1_in *in, blip2_text text, blip2_stage1_out *out);
tensor *stage1_itg(const blip2_model *m, tape *t, const blip2_stage1_in *in, blip2_text text,
                   blip2_stage1_out *out);

/* The mean over this rank's n targets by `rule`, times what makes its mean over ranks the one over all
 * targets. */
tensor *share_mean(tape *t, const ag_ranks *ranks, tensor *mean, const ag_ce *rule, long n);

/* ---- connectors other than the Q-Former: image (B,N,E) behind ln_vision -> (B,N-1,L) ------------------- */
void connector_init(blip2_connector *k, nn_scope s, const blip2_config *c);
tensor *connector_forward(const blip2_model *m, tape *t, tensor *image);

/* ---- stage 2 and generation -------------------------------------------------------------------------------
 * [projected queries; tokens] (B,Q+T,L) for the language model; features NULL: tokens alone, T 0: queries
 * alone. Fills image, query_output, projected, embeddings and mask of out, with keep also asked. */
tensor *language_input(const blip2_model *m, tape *t, tensor *features, blip2_text question, blip2_text text,
                       bool keep, blip2_stage2_out *out);      /* question T 0: the Q-Former reads none */

enum { IGNORED = -100 };               /* the label of what carries no loss */

/* One who writes B texts, or B x beams of them side by side (rows b * beams + j). */
typedef struct writer writer;
struct writer {
    const blip2_model *m;
    tensor *features;                  /* (B,N,E) or NULL */
    blip2_text question, prompt;
    long B, beams, layers, width;      /* layers, width: of the caches */
    long prefix;                       /* positions of the caches that all beams of a text share */
    ag_cache *cache;                   /* (layers) */
    unsigned char *mask;               /* (B,prefix), OPT: real tokens; (B,S), T5: of what was encoded */
    nn_kv *memory;                     /* (layers) T5: keys and values of what was encoded */
    int start, eos;
    void (*begin)(writer *w, tape *t);                         /* before the search; NULL: nothing to do */
    tensor *(*first)(writer *w, tape *t);                      /* the shared positions -> logits (B,V) */
    tensor *(*say)(writer *w, tape *t, const int *ids, long rows);     /* a token a row -> logits (rows,V) */
};
void writer_advance(writer *w, long T);                        /* the caches hold T more positions */

/* What stage 2 and generation ask of a language model. */
typedef struct language_model {
    tensor *(*embed)(const blip2_model *m, tape *t, const int *ids, long B, long T);           /* (B,T,L) */
    /* () from out->embeddings and out->mask; fills labels, with keep logits */
    tensor *(*loss)(const blip2_model *m, tape *t, const blip2_stage2_in *in, bool keep,
                    blip2_stage2_out *out);
    void (*open)(writer *w, long given, const blip2_generate *o);      /* given: visual prompt and prompt */
} language_model;
extern const language_model language_opt, language_t5;
const language_model *language_of(const blip2_model *m);             /* fails where the model has none */

/* What a search asks of a model that writes B texts, or B x beams of them side by side (rows b * beams +
 * j). */
typedef struct decoder {
    int start, eos;                    /* the id that every sequence begins with, and the one that ends it */
    void *context;
    tensor *(*first)(void *context, tape *t);      /* after the prefix alone, one row a text: logits (B,V) */
    /* row r goes on from row parent[r] of the step before with the token ids[r]: logits (B x beams,V) */
    tensor *(*next)(void *context, tape *t, const int *parent, const int *ids);
} decoder;
int generate_limit(const blip2_generate *o);               /* ids in a sequence, the start counted */
/* for the ids of all results */
void generate_room(tape *t, long B, const blip2_generate *o, blip2_sequence *out);
void generate_search(const decoder *d, tape *t, long B, const blip2_generate *o, blip2_sequence *out);

/* model_file.c: a table of a picture's positions of another grid; data NULL: would it fit? */
bool blip2_fit_positions(const blip2_config *c, tensor *to, const h5_shape *from, const real *data);

/* ---- vit.c -------------------------------------------------------------------------------------------- */
double vit_eps(const blip2_vit_config *c);         /* of its norms: c->eps, or that of its family */
#endif
