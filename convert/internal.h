/* internal.h - what the readers of convert/ share. */
#ifndef CONVERT_INTERNAL_H
#define CONVERT_INTERNAL_H
#include "blip2/blip2.h"
#include "convert/convert.h"
#include "convert/weights.h"
#include "data/data.h"

enum { WEIGHTS_FILES = 1024 };
typedef struct weights_file { char *path; int fd; long bytes; } weights_file;
struct weights {
    char *config;  /* our own configuration, where an export left it in the metadata; or NULL */
    weights_file *files; int file_count;
    weights_entry *entries; long count, room;
};

/* ---- weights.c ------------------------------------------------------------------------------------- */
bool weights_read_file(weights *w, int file, error *e);                    /* by its first bytes */
int weights_add_file(weights *w, const char *path, error *e);              /* opened: its number; -1 */
/* name is copied, size and strides are set (strides NULL: contiguous) after the shape was checked against
 * overflow; where the data lie must have been checked. */
bool weights_add(weights *w, const char *name, weights_type type, int ndim, const long *dim,
                 const long *stride, int file, long offset, error *e);
/* Are they of one shape, with the same numbers? Of two precisions the coarser one decides. false: cannot be
 * read. */
bool weights_compare(const weights *v, const weights_entry *a, const weights *w, const weights_entry *b,
                     bool *same, error *e);
/* product of the axes into *size; false: negative or beyond 2^62 bytes */
bool weights_size(int ndim, const long *dim, long width, long *size);

/* ---- the formats: each adds what is in file number `file` ------------------------------------------ */
bool safetensors_read(weights *w, int file, error *e);
bool safetensors_read_index(weights *w, const char *path, error *e);
bool torch_read(weights *w, int file, error *e);

/* ---- zip.c ----------------------------------------------------------------------------------------- */
typedef struct zip_entry { char *name; long offset, bytes; } zip_entry;    /* of the data, in the file */
typedef struct zip { zip_entry *entries; long count; } zip;
bool zip_read(zip *z, int fd, long bytes, const char *path, error *e);     /* stored entries alone */
void zip_free(zip *z);
const zip_entry *zip_find(const zip *z, const char *name, size_t size);

/* ---- pickle.c: protocol 2 and up to 5, as far as torch.save writes it ------------------------------ */
typedef enum { P_NONE, P_BOOL, P_INT, P_REAL, P_TEXT, P_TUPLE, P_LIST, P_DICT, P_GLOBAL, P_STORAGE, P_TENSOR,
               P_MARK } pickle_kind;
typedef struct pickle_value {
    pickle_kind kind;
    int64_t number;                    /* P_BOOL, P_INT, P_GLOBAL: which */
    const char *text; long size;       /* P_TEXT, into the pickle: no 0 behind */
    int32_t *items; long count, room;  /* members by index; of a dict key and value by turns */
} pickle_value;
typedef struct pickle { pickle_value *values; long count, room; int32_t root; } pickle;
/* text stays in use as long as p. */
bool pickle_read(pickle *p, const char *text, long size, const char *path, error *e);
void pickle_free(pickle *p);
const pickle_value *pickle_at(const pickle *p, int32_t i);
const pickle_value *pickle_item(const pickle *p, const pickle_value *v, long i); /* NULL: not so many */
const pickle_value *pickle_get(const pickle *p, const pickle_value *dict,
                               const char *key); /* NULL: not there */
bool pickle_is_text(const pickle_value *v, const char *text);
/* What names of code stand for; nothing else is let in. A storage's number is its weights_type. */
enum { PICKLE_STORAGES = W_TYPES, PICKLE_ORDERED_DICT = W_TYPES, PICKLE_TENSOR, PICKLE_PARAMETER };

/* ---- hf_config.c: bare: a language model or a BERT alone ------------------------------------------- */
bool convert_hf_config(const char *path, blip2_config *c, bool *bare, error *e);
bool convert_hf_is_bert(const char *path);                 /* false, too, where it cannot be read */
bool convert_hf_is_foreign(const char *path);              /* whole, and of a model that is none of ours */
/* the ids of generation_config.json in place of config.json's */
bool convert_hf_generation(const char *path, blip2_config *c, error *e);

/* ---- bert.c: a plain BERT, which is the text part of a Q-Former ------------------------------------ */
bool convert_is_bert(const weights *w);
const weights_entry *convert_bert_find(const weights *w, const char *ours);    /* NULL: not there */
void convert_bert_none(blip2_config *c);                   /* no part but the Q-Former's of text */
void convert_bert_ids(const tokenizer *words, blip2_config *c);        /* words: NULL: BERT's own ids */
/* known: sizes are in c already; whether there is a head only the file says */
void convert_bert_sizes(const weights *w, bool known, blip2_config *c);

/* ---- space for one tensor after the other: grown to the largest, straight from the system -----------------
 * Freed and asked for again in other sizes, memory of the heap would keep holes as large as the model. */
typedef struct space { void *at; size_t bytes; } space;
static inline void *space_of(space *s, size_t bytes)       /* not set; NULL: memory is out */
{
    if (s->bytes <= bytes) {
        mem_unreserve(s->at, s->bytes);
        *s = (space){ mem_reserve(bytes + 1), bytes + 1 };
    }
    return s->at;
}
static inline void space_free(space *s) { mem_unreserve(s->at, s->bytes); }

/* ---- what is converted ----------------------------------------------------------------------------- */
typedef enum { SOURCE_HF, SOURCE_LLM, SOURCE_LAVIS, SOURCE_TOWER, SOURCE_WORDS,
               SOURCE_BERT } source_kind;
typedef struct source {
    source_kind kind;                  /* SOURCE_LLM: a bare OPT or T5; SOURCE_WORDS: a tokenizer alone, or
                                          that of a BERT which is not the first source */
    const char *path;
    char *folder;                      /* itself, or that of the file */
    weights *w;                        /* NULL: SOURCE_WORDS */
    bool *used;                        /* of w's entries */
    blip2_config config; bool has_config;
    bool foreign;                      /* the config.json beside it is of another kind: passed over */
} source;
enum { SOURCES = 8 };
typedef struct convert_job {
    source source[SOURCES]; int count;
    blip2_model model;
    tokenizer *bert, *llm;
    space wide, low, whole;            /* of the tensor in hand: reals, as it is written, all parts */
    convert_dtype dtype;
    bool head_is_table;                /* T5: a head of its own with the numbers of the table */
    const convert_watch *watch;
    error *e;
} convert_job;

/* ---- sources.c: opened, what of ours is in them, and all that is wrong ----------------------------- */
typedef struct found { source *s; const weights_entry *x; int of, at; } found;
bool convert_has_words(const char *folder);                /* a tokenizer's files */
/* closed by convert_run_as; first: of all sources */
bool convert_open_source(source *s, const char *path, bool first, error *e);
source *convert_of_kind(convert_job *j, source_kind kind);             /* the first of it; NULL */
/* What the others are added to: a LAVIS checkpoint wherever it stands, else the first. */
source *convert_main(convert_job *j);
/* One of our names in one source; false: it has no such tensor, or is not there to give it. */
bool convert_look(convert_job *j, source *s, const char *ours, found *to);
/* By its name or one of its second names, in the order of the sources; what is of the language model first
 * in a folder that has one. */
bool convert_look_up(convert_job *j, const char *name, found *to);
bool convert_check(convert_job *j);                        /* every parameter; all that is wrong at once */

/* ---- lavis_config.c: sizes from the shapes of a LAVIS checkpoint and of a tower; like: a config.json's, or
 * NULL */
/* One more than the highest number N of a name "PREFIXN.": a layer that lacks something is a layer. */
long convert_layers(const weights *w, const char *prefix);
bool convert_says_tower(const source *s);                  /* has it a configuration with a tower? */
/* Of eva_vit_g.pth or clip_vit_L.pth alone: a tower to train a Q-Former behind. */
bool convert_tower_config(const source *tower, blip2_config *c, error *e);
bool convert_lavis_config(const source *checkpoint, const source *tower, const blip2_config *like,
                          blip2_config *c, error *e);
#endif
