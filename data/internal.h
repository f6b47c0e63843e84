/* internal.h - what the files of data/ share. */
#ifndef DATA_INTERNAL_H
#define DATA_INTERNAL_H
#include "data/data.h"
#include "data/json.h"

/* ---- pictures: png.c, jpeg.c, webp.c. white: alpha is laid on white, else dropped; name: for e ---- */
bool data_png_decode(picture *p, const void *bytes, long n, bool white, int *orientation, const char *name,
                     error *e);
bool data_jpeg_decode(picture *p, const void *bytes, long n, int *orientation, const char *name, error *e);
bool data_webp_decode(picture *p, const void *bytes, long n, bool white, int *orientation, const char *name,
                      error *e);

/* ---- which way up: exif.c ---- */
int data_exif_orientation(const uint8_t *bytes, long n);           /* of an Exif block; 1: as it is stored */
bool data_turn(picture *p, int orientation, error *e);
void data_on_white(const uint8_t *rgba, uint8_t *rgb, long pixels);

/* ---- random numbers by key: keyed.c ---- */
typedef struct keyed { uint64_t key, n; } keyed;   /* draw n of a stream depends on the key and n alone */
keyed data_keyed(long seed, int stream, long index);
uint64_t data_bits(keyed *r);
uint64_t data_mix(uint64_t x);                     /* every bit of x spread over all 64 */
double data_uniform(keyed *r);                     /* in [0,1) */
double data_between(keyed *r, double least, double most);
int data_below(keyed *r, int n);
int data_weighted(keyed *r, const double *weights, int n);

/* ---- text that grows: buffer.c ---- */
typedef struct buffer { char *text; long used, room; bool failed; } buffer;      /* failed: memory is out */
void data_print(buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void data_buffer_free(buffer *b);

/* ---- a text cut into JSON values; memory in blocks: elements.c ---- */
/* text[0..n) begins in this line; false stops */
typedef bool data_element(void *context, long line, const char *text, long n);
void data_elements(const char *name, const char *text, long bytes, data_element *each, void *context,
                   error *e);
void *data_take(struct record_block **blocks, long bytes);         /* zeroed; NULL: memory is out */
void data_blocks_free(struct record_block **blocks);
bool data_leaves(const char *path);    /* it begins with / or has .. in it: records.c */

/* ---- a folder written whole or not at all: folder.c ---- */
struct folder { bool replaces; char path[4096], temporary[4096 + 32]; };
bool data_folder_begin(struct folder *f, const char *path, const char *proof, bool force, error *e);
bool data_folder_sub(const struct folder *f, const char *name, error *e);
bool data_folder_put(const struct folder *f, const char *name, const void *bytes, long n, error *e);
bool data_folder_finish(const struct folder *f, error *e);         /* moves it to its place */
void data_folder_abandon(const struct folder *f);

/* ---- the synthetic world: scene_*.c, scenes.c ---- */
enum { WORLD_COLOURS = 9, WORLD_SHAPES = 9, WORLD_GROUNDS = 6, WORLD_SIZES = 2 };
enum { WORLD_SIDE = 4, WORLD_OBJECTS = WORLD_SIDE*WORLD_SIDE };
struct tone { const char *name; uint8_t rgb[3]; };
extern const struct tone data_colours[WORLD_COLOURS], data_grounds[WORLD_GROUNDS];
extern const char *const data_shapes[WORLD_SHAPES], *const data_sizes[WORLD_SIZES];
extern const char *const data_numbers[WORLD_OBJECTS + 1];
const char *data_place(int cells, int cell);       /* "top left"; "" in a world of one cell */

struct object { uint8_t colour, shape, size, cell; };
struct scene {
    int n, ground, about;                          /* about: the object that questions are about, -1: any */
    struct object object[WORLD_OBJECTS];           /* by cell */
};

struct choice { int n, at[WORLD_OBJECTS]; double weight[WORLD_OBJECTS]; };     /* some of a list of names */
struct world {
    int cells;
    struct choice colours, shapes, sizes, grounds, counts;         /* counts: at + 1 objects */
    bool held[WORLD_COLOURS][WORLD_SHAPES];
    int helds;
};
enum split { TRAIN, VAL, TEST, UNSEEN, SPLITS };
extern const char *const data_splits[SPLITS];
enum wording { PLACES, WHERE, COUNTED, PLAIN, WORDINGS };
enum question_type { YES_NO, COLOUR, SHAPE, COUNT, POSITION, SIZE, GROUND, QUESTION_TYPES };
extern const char *const data_question_types[QUESTION_TYPES];
struct recipe {                                    /* the options, resolved */
    const scenes_options *o;
    struct world world, text_world;
    double wordings[WORDINGS];
    bool asks[QUESTION_TYPES];
};
bool data_recipe(struct recipe *k, const scenes_options *o, error *e);

/* A scene that belongs to the split: a fresh one, or a sibling of `first`; false: none was found. */
bool data_scene_find(const struct recipe *k, const struct world *w, keyed *r, enum split split,
                     const struct scene *first, struct scene *s);
bool data_scene_list(const struct recipe *k, enum split split, long n, struct scene *list, error *e);
void data_pair_draw(const struct world *w, keyed *r, struct object *to);         /* never a held-out pair */
void data_held_draw(const struct world *w, keyed *r, struct object *to);

void data_caption(buffer *b, const struct world *w, const struct scene *s, enum wording wording, bool ground,
                  keyed *r);
struct question { enum question_type type; char text[96], answer[32]; };
/* The nth question of this type (yes/no: even nth yes, odd nth no); false: there is none about this scene. */
bool data_question(struct question *q, const struct world *w, const struct scene *s, enum question_type type,
                   int nth, keyed *r);

struct spot { double x, y, radius; };              /* where an object came to lie, in pixels */
/* canvas (size,size,3) is scratch. */
void data_scene_paint(const struct recipe *k, const struct scene *s, keyed *r, struct spot *spots,
                      float *canvas, picture *p);
double data_distance(int shape, double x, double y);       /* signed, to a shape of radius 1; y points down */

/* ---- pictures in a grid with text beside them: sheet.c ---- */
struct sheet { picture page; long columns, side, scale; };     /* side of a picture, enlarged scale times */
bool data_sheet_begin(struct sheet *s, long entries, long side, error *e);
/* at most side x side; text is wrapped */
void data_sheet_add(struct sheet *s, long at, const picture *p, const char *text);

/* ---- text: grow.c ---- */
void data_append(buffer *b, const char *bytes, long n);            /* a 0 stands behind, not counted */
void data_append_character(buffer *b, int c);                      /* as UTF-8 */
typedef struct ints { int *at; long n, room; bool failed; } ints;
void data_push(ints *list, int value);
bool data_room(void **at, long *room, long n, size_t size);  /* for n of this size; false: memory is out */
bool data_no_memory(error *e, const char *what);                   /* reports it; false */

/* ---- lists of pictures: records.c. A list in memory; name: for e ---- */
bool records_parse(const char *name, const char *text, long bytes, record_list *l, error *e);

/* The place of the most frequent text, of equals the first; n 0: -1. false: memory is out. */
bool data_majority(const char *const *texts, long n, long *most);

/* ---- characters: unicode.c ---- */
enum { UNICODE_BROKEN = -1, UNICODE_REPLACEMENT = 0xFFFD };
/* Bytes of the first character of s[0..n), n >= 1. If it is none: c is UNICODE_BROKEN, and one U+FFFD stands
 * for these bytes. */
int unicode_next(const char *s, long n, int *c);
long unicode_valid(const char *s, long n);         /* bytes before the first that is not UTF-8 */
bool unicode_removed(int c);                       /* control and format characters, as BERT cleans text */
bool unicode_white(int c);
bool unicode_ideograph(int c);
bool unicode_mark(int c);                          /* Mn, accents */
bool unicode_punctuation(int c);                   /* with ASCII symbols */
int unicode_lower(int c);
enum { UNICODE_PARTS = 4 };
int unicode_decompose(int c, int parts[UNICODE_PARTS]);            /* canonically (NFD): how many */
int unicode_class(int c);                          /* canonical combining class, 0: a starter */

/* ---- tokens by text and back: vocabulary.c ---- */
typedef struct vocabulary {
    int n, longest;                    /* tokens, bytes of the longest */
    long room, slots;                  /* of start; of slot, a power of two, at most half full */
    long *start;                       /* where each token begins in text.text */
    buffer text;                       /* every token with a 0 behind it */
    int *slot;                         /* 1 + id, 0: free */
} vocabulary;
int vocabulary_find(const vocabulary *v, const char *text, long n);             /* -1: it is not there */
int vocabulary_add(vocabulary *v, const char *text, long n);       /* must not be there; -1: memory is out */
const char *vocabulary_text(const vocabulary *v, int id);
long vocabulary_bytes(const vocabulary *v, int id);
void vocabulary_free(vocabulary *v);

/* ---- numbers by pair of ids: pairs.c ---- */
struct pair_slot { int left, right, value; };      /* value: 1 + the pair's, 0: free */
typedef struct pairs { long n, slots; struct pair_slot *slot; } pairs;
int pairs_find(const pairs *p, int left, int right);               /* -1: it is not there */
bool pairs_add(pairs *p, int left, int right, int value);  /* must not be there; false: memory is out */
void pairs_free(pairs *p);

/* ---- Protocol Buffers: protobuf.c. Fields in turn; false: the end, or broken ---- */
typedef struct protobuf { const uint8_t *at, *end; bool broken; } protobuf;
typedef struct protobuf_field {
    int number, form;                  /* form 0 varint, 1 eight bytes, 5 four bytes: value; 2: bytes[0..n) */
    uint64_t value;
    const uint8_t *bytes; long n;
} protobuf_field;
bool protobuf_next(protobuf *p, protobuf_field *f);

/* ---- SentencePiece's normaliser: charsmap.c. It points into the bytes it was opened on ---- */
typedef struct charsmap { const uint8_t *trie; uint32_t units; const char *texts; long size; } charsmap;
bool charsmap_open(charsmap *m, const char *name, const uint8_t *bytes, long n, error *e);
void charsmap_apply(const charsmap *m, const char *text, long n, buffer *to);

/* ---- tokenizers ---- */
enum { TOKENIZER_SPECIALS = 1024, BYTE_VALUES = 256, WORDPIECE_CHARACTERS = 100 };  /* of a word at most */
struct unigram {
    int pieces, own;                   /* ids below: pieces of the model; tokens of its file */
    double *score, unknown_score;      /* of each piece; of a character that is none */
    unsigned char *plain;              /* pieces that may stand in text */
    long room;
    charsmap map;
    char *source; long source_size; const char *source_name;       /* the file as it was */
    uint8_t *charsmap;                 /* out of base64 */
};
struct tokenizer {
    tokenizer_kind kind;
    vocabulary tokens;
    int special[TOKENIZER_SPECIALS], specials;
    int first, last, pad, unknown;     /* [CLS] [SEP] [PAD] [UNK]; </s>, none, <pad>, none; -1: none */
    int byte[BYTE_VALUES];             /* BPE: the token of each byte */
    ints merges;                       /* BPE: left, right, product of each merge, by rank */
    pairs ranks;
    struct byte_splitter *splitter;    /* BPE */
    struct unigram *unigram;
    bool begins[BYTE_VALUES];          /* first bytes of special tokens */
};
/* Text between special tokens, known to be UTF-8; false: memory is out. */
bool wordpiece_encode(const tokenizer *t, const char *text, long n, ints *to);
bool byte_bpe_encode(const tokenizer *t, const char *text, long n, ints *to);
bool unigram_encode(const tokenizer *t, const char *text, long n, ints *to);
void wordpiece_decode(const tokenizer *t, int id, buffer *to);     /* appends one token */
void wordpiece_tidy(buffer *text);                 /* takes the space before punctuation away */
void byte_bpe_decode(const tokenizer *t, int id, buffer *to);      /* appends its bytes */
void unigram_decode(const tokenizer *t, int id, bool first, buffer *to);

/* Words of BERT's pre-tokenizer, normalised; pieces of GPT-2's pattern. A visitor returns false to stop. */
typedef bool (*text_visitor)(void *context, const char *piece, long n);
typedef struct byte_splitter byte_splitter;
bool wordpiece_words(const char *text, long n, text_visitor visit, void *context);
bool byte_bpe_pieces(const byte_splitter *s, const char *text, long n, text_visitor visit, void *context);
byte_splitter *byte_splitter_new(void);            /* NULL: memory is out */
void byte_splitter_free(byte_splitter *s);
int byte_character(int byte);                      /* stands for a byte in vocabularies */
int byte_of_character(int c);                      /* -1: none */

bool wordpiece_load(tokenizer *t, const char *name, const char *bytes, long n, error *e);  /* vocab.txt */
bool byte_bpe_load(tokenizer *t, const char *name, const char *bytes, long n, error *e);   /* vocab.json */
bool byte_bpe_load_merges(tokenizer *t, const char *name, const char *bytes, long n, error *e);
bool byte_bpe_add_merge(tokenizer *t, int left, int right, int product);       /* false: memory is out */
bool byte_bpe_find_bytes(tokenizer *t, const char *name, error *e);            /* each must have a token */
/* The merge of rank `at`, of two texts or a line "left right"; product: scratch. */
bool byte_bpe_merge(tokenizer *t, const char *name, long at, const char *left, long n, const char *right,
                    long m, buffer *product, error *e);
bool byte_bpe_merge_line(tokenizer *t, const char *name, long at, const char *line, long n, buffer *product,
                         error *e);
bool tokenizer_add_ids(tokenizer *t, const char *name, json_t *ids, error *e);  /* {"token": id, ...} */
bool unigram_load(tokenizer *t, const char *name, const char *bytes, long n, error *e);  /* spiece.model */
bool unigram_add(tokenizer *t, const char *name, const char *text, long n, double score, bool plain,
                 error *e);
bool unigram_ready(tokenizer *t, const char *name, error *e);      /* after the last piece */
bool unigram_keep(tokenizer *t, const char *file, const char *name, const char *bytes, long n, error *e);
void unigram_free(struct unigram *u);
tokenizer *tokenizer_load_json(const char *name, const char *bytes, long n, error *e);  /* tokenizer.json */
/* added_tokens.json */
bool tokenizer_load_added(tokenizer *t, const char *name, const char *bytes, long n, error *e);
tokenizer *tokenizer_new(tokenizer_kind kind, const char *name, error *e);     /* empty */
bool tokenizer_ready(tokenizer *t, const char *name, error *e); /* finds special tokens; false: one lacks */
bool tokenizer_knows(const tokenizer *t, const char *token);       /* is it special by its name alone? */
/* Does tokenizer_config.json say no other thing than this tokenizer does? */
bool tokenizer_check_config(const tokenizer *t, const char *name, const char *bytes, long n, error *e);

/* ---- learning merges: merge_learn.c ---- */
struct merge_word { long start, n, count; };       /* its symbols are symbols.at[start .. start + n) */
typedef struct merge_job {
    vocabulary *tokens;                /* the first tokens, then what was learned */
    ints symbols;                      /* ids of tokens */
    struct merge_word *word; long words;
    bool wordpiece;                    /* products lose the right part's "##"; tokens in use count as size */
    long size, min_count;
    ints merges;                       /* out: left, right, product of each merge */
    long *uses; long uses_room;        /* out: how often each token stands in the words; mem_free */
} merge_job;
bool merge_learn(merge_job *job);      /* false: memory is out */
#endif
