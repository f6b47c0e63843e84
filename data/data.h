/* data.h - pictures, text, lists and the synthetic world: what goes into a network. Knows no tensor. */
#ifndef DATA_H
#define DATA_H
#include "base/base.h"
#pragma GCC visibility push(default)

/* ---- pictures ----------------------------------------------------------------------------------------
 * PNG, JPEG and WebP, told by the first bytes. A picture is RGB, 8 bits a channel, as PIL's convert("RGB")
 * gives it: grey is repeated, palettes are looked up, 16-bit colour keeps its high byte, 16-bit grey is
 * clipped at 255, ink (CMYK) becomes light, gamma and profiles are passed over. Any damage is an error.
 * By LAVIS's rules alpha is dropped and the picture stays as it is stored; by Hugging Face's (transformers 5)
 * it is laid on white and turned as its Exif block says. */
typedef enum { PICTURE_LAVIS, PICTURE_HF } picture_reference;
typedef struct picture { long width, height; uint8_t *rgb; } picture;    /* rgb (height,width,3) */
enum { PICTURE_PIXELS = 89478485, PICTURE_SIDE = 1000000 };              /* limits */

bool picture_new(picture *p, long width, long height, error *e);         /* black */
void picture_free(picture *p);
bool picture_decode(picture *p, const void *bytes, long n, const char *name, error *e);  /* name: for e */
bool picture_read(picture *p, const char *path, error *e);               /* both by LAVIS's rules */
bool picture_decode_as(picture *p, picture_reference as, const void *bytes, long n, const char *name,
                       error *e);
bool picture_read_as(picture *p, picture_reference as, const char *path, error *e);
void *picture_encode(const picture *p, long *bytes, error *e);           /* a PNG file; mem_free it */
bool picture_write(const picture *p, const char *path, error *e);        /* whole or not at all */

/* Bicubic with antialiasing, equal to Pillow 13's Image.resize bit for bit. `to` is made new. */
bool picture_resize(picture *to, const picture *from, long width, long height, error *e);
/* What a vision tower takes: resized to size x size, /255, minus CLIP's mean, over CLIP's deviation. */
bool picture_pixels(const picture *from, long size, real *pixels, error *e);     /* pixels (3,size,size) */
void picture_normalise(const uint8_t *rgb, long size, real *pixels);     /* (size,size,3) -> (3,size,size) */
/* The same but for the last bit of a float: LAVIS divides a byte by 255, Hugging Face multiplies it. */
void picture_normalise_as(picture_reference as, const uint8_t *rgb, long size, real *pixels);

/* ---- a view of a picture, drawn at random: what training shows of it -----------------------------------
 * In LAVIS's order: a crop, resized; a mirror image; RandAugment. What is drawn is a function of the key
 * alone. The crop has least to most of the picture's area and a width of 3/4 to 4/3 of its height. */
typedef struct picture_view {
    double least, most;                /* 0, 0: no crop, the whole picture is resized */
    double flip;                       /* probability; captions with "left" and "right" become wrong by it */
    int operations;                    /* of RandAugment, each done with probability 1/2; LAVIS: 2 */
    double magnitude; /* of 10; LAVIS: 5, at which brightness and sharpness stay as they are */
} picture_view;
typedef enum { AUGMENT_IDENTITY, AUGMENT_CONTRAST, AUGMENT_EQUALIZE, AUGMENT_BRIGHTNESS, AUGMENT_SHARPNESS,
               AUGMENT_SHEAR_X, AUGMENT_SHEAR_Y, AUGMENT_TRANSLATE_X, AUGMENT_TRANSLATE_Y, AUGMENT_ROTATE,
               AUGMENT_OPERATIONS } augment_operation;
typedef struct crop { long left, top, width, height; } crop;
crop picture_crop(long width, long height, double least, double most, uint64_t key);
/* argument: of brightness and sharpness a factor, of shears a slope, of translations pixels, of the rotation
 * degrees, counter-clockwise; none of the others. What comes in from outside is grey. */
bool picture_augment(picture *p, augment_operation operation, double argument, error *e);
bool picture_look(picture *to, const picture *from, long size, const picture_view *v, uint64_t key, error *e);

/* ---- drawing on a picture: what lies outside is left out ----------------------------------------------- */
enum { PICTURE_LETTER = 6, PICTURE_LINE = 10 };    /* from letter to letter, from line to line, at scale 1 */
/* upwards: turned left */
typedef struct picture_pen { uint8_t rgb[3]; int scale; bool upwards; } picture_pen;
/* x, y: the upper left corner of the first letter; upwards: its lower left. */
void picture_text(picture *p, long x, long y, picture_pen pen, const char *text);
long picture_text_width(const char *text, int scale);
void picture_fill(picture *p, long x, long y, long width, long height, const uint8_t rgb[3]);
void picture_paste(picture *p, long x, long y, long width, long height, const picture *from);  /* nearest */

/* ---- the synthetic world -------------------------------------------------------------------------------
 * Coloured shapes in the cells of a square, with captions, questions and answers. Pairs of colour and shape
 * that are held out appear in the split test_unseen alone: nowhere else in a picture, a caption, a question
 * or an answer. Lists are comma-separated. scenes_keys documents every field. */
typedef char scenes_list[CONFIG_TEXT_SIZE];
typedef struct scenes_options {
    long size, cells;                              /* a picture's side in pixels, in cells */
    scenes_list colours, shapes, sizes, grounds, counts, held_out;
    double radius, small, shrink, jitter, tint, ground_tint, pattern, noise;
    long train, val, test, test_unseen;
    double val_share, test_share;                  /* of all arrangements, kept for that split */
    long family;
    double redraw_shape, redraw_colour;
    long captions;
    scenes_list wordings;
    double ground_words;
    scenes_list questions;
    long questions_per_type;
    long documents;                                /* of text.txt, for language models */
    scenes_list text_colours, text_shapes, text_counts;
    long text_cells;
    double text_weight, text_caption, text_again;
    long text_questions, sheet, seed;
} scenes_options;
enum { SCENES_KEYS = 41 };
extern const config_key scenes_keys[SCENES_KEYS];
extern const scenes_options scenes_defaults;

typedef bool (*scenes_progress)(void *context, const char *what, long done, long total);     /* false stops */
/* Writes the folder, whole or not at all: train.jsonl, val.jsonl, test.jsonl, test_unseen.jsonl with a line a
 * picture, the pictures as PNG, text.txt, sheet.png and world.yaml: what is in it, and the options. The same
 * bytes for any number of threads. force: an older folder of scenes is replaced. `progress` may be NULL. */
bool scenes_make(const scenes_options *o, const char *folder, bool force, scenes_progress progress,
                 void *context, error *e);

typedef struct tokenizer tokenizer;

/* ---- lists of pictures: a JSON object a line, or a JSON list of objects -----------------------------------
 * {"image": "train/000001.png", "image_id": 1, "family": 0, "captions": ["..."],
 *  "questions": [{"question": "...", "answer": "...", "type": "colour", "question_id": 7,
 *                 "question_type": "what is", "answers": ["...", {"answer": "..."}, ...]}],
 *  "objects": [{"colour": "red", "shape": "cross"}]}
 * "answer" may be left out where "answers", those of several people (VQA v2 has 10), are there: it is then
 * the most frequent of them, of two the first. "type" is what VQA v2 calls answer_type; question_type, the
 * question's first words, may be there beside it. "image" and one of "captions", "caption" (one text, as
 * LAVIS has it) and "questions" must be there. Paths are relative to the data set's folder and stay inside
 * it. "image_id" is a whole number or, in all records, a text: texts are numbered. Records of one id are
 * of one picture. Other keys are passed over. */
typedef struct record_question {
    char *question, *answer;
    char *type, *question_type;        /* "": not given */
    char *asked;                       /* the question as a model reads it: that, or cleaned */
    char **answers; long answer_count, id; /* of several people, 0: not given; question_id, -1: none */
} record_question;
typedef struct record_object { char *colour, *shape; } record_object;
typedef struct record {
    char *image, *id;                  /* id: image_id as a text, NULL if it is none */
    long image_id, family;             /* the place in the list, from 0, where the list has none */
    char **captions; long caption_count;
    char **texts;                      /* captions as a model reads them: those, or cleaned */
    record_question *questions; long question_count;
    record_object *objects; long object_count;     /* what is in a picture of the synthetic world */
} record;
typedef struct record_list { record *items; long count; struct record_block *memory; } record_list;
bool records_read(const char *path, record_list *l, error *e);     /* all bad records are reported together */
void record_list_free(record_list *l);
/* FILE.h5 and FILE.h5:val are packs, whose pictures are in the file: it lies in the data set's own folder. */
bool records_beside(const char *list, const char *key, error *e);
bool records_clean(record_list *l, error *e);      /* sets texts and asked by clean_caption, clean_question */
/* How many pictures are no regular files below root; e names up to 20 of them. */
long records_missing(const char *root, const record_list *l, error *e);

/* ---- what a list holds; every picture is decoded ------------------------------------------------------- */
enum { INSPECT_NAMES = 20, INSPECT_AGAIN = 5, INSPECT_BINS = 12, INSPECT_TYPES = 64 };
typedef struct inspect_lengths {       /* bins[i]: how many are of i*bin to (i + 1)*bin - 1 */
    long n, least, most, sum, bin, bins[INSPECT_BINS];
} inspect_lengths;
/* questions of a type; different answers, and the most frequent ("": there are none) */
typedef struct inspect_type {
    const char *type, *common;
    long questions, answers, common_count;
} inspect_type;
typedef struct inspection {
    long records, pictures, captions, questions;
    long repeated_ids;                 /* records whose image_id an earlier record has */
    char *again[INSPECT_AGAIN]; int again_count;   /* the first of these ids */
    long missing, broken, empty;       /* pictures; captions without a word */
    long unanswered;                   /* questions whose answer is "" */
    char *wrong[INSPECT_NAMES]; int wrong_count;   /* of the first missing and broken: "path: what" */
    long width[3], height[3];          /* least, median, most */
    inspect_lengths words, tokens;     /* of captions; tokens: where a tokenizer was given */
    inspect_type type[INSPECT_TYPES]; int types;   /* the last holds those that are too many */
} inspection;
bool records_inspect(const char *root, const record_list *l, const tokenizer *t, inspection *to, error *e);
void inspection_free(inspection *i);
bool records_sheet(const char *root, const record_list *l, picture *page, error *e);   /* up to 40, evenly */
/* The pictures of a folder, sorted, each with the lines of NAME.txt beside it as its captions. */
bool records_of_folder(const char *folder, record_list *l, error *e);

/* ---- data sets of other forms, made into lists ---------------------------------------------------------
 * Sources: folders of pictures with NAME.txt; lists as CSV, TSV, JSON, JSONL; COCO captions and Karpathy's
 * splits; Visual Genome's regions and questions; VQAv2, OK-VQA, GQA; easy-vqa; tar shards (docs/data.md).
 * "train:SRC" says of which split all of SRC is; "test:SRC" may hold pictures without a text and questions
 * without an answer, whose answer becomes "". What has no split is drawn by the hash of its id. */
enum { IMPORT_SPLITS = 3 };                        /* train, val, test */
typedef struct import_options {
    const char *command;               /* whose lists do not stay, for errors; NULL: import */
    const char *images;                /* folder that paths in lists start from; NULL: the list's own */
    const char *columns; /* names of a table's columns where it has no header: "caption,image" */
    const char *pattern; /* of pictures known by number: "train2014/COCO_{12}.jpg"; NULL: usual */
    double share[IMPORT_SPLITS];       /* of the pictures whose split is not said */
    long seed;                         /* of that draw */
    bool copy; /* pictures go into the folder, under images/, else stay where they are */
    bool white; /* copied PNG with alpha is laid on white, and is opaque from then on */
    bool allow_outside;                /* paths may leave the root */
    bool skip_missing;                 /* pictures that are not there are counted, not an error */
    bool first_line;                   /* of NAME.txt, the first line alone */
    bool force;                        /* an older imported folder is replaced */
} import_options;
typedef struct import_result {
    long pictures[IMPORT_SPLITS], captions[IMPORT_SPLITS], questions[IMPORT_SPLITS];
    long missing, without_text, empty; /* left out: pictures, pictures, captions without a word */
    long drawings;                     /* SVG files passed over */
    long alone;                        /* texts and JSON of shards without a picture of their name */
    char first_alone[256];             /* "SHARD: NAME" of the first of them */
    bool nothing;                      /* it failed, as no picture that is there has a text */
    long bare, unanswered;             /* of test:SRC: pictures without a text, questions without an answer */
    char images[4096];                 /* where the lists' paths start: the folder itself, or an outer one */
} import_result;
/* false stops; what NULL: nothing to show */
typedef bool (*import_progress)(void *context, const char *what, long done, long total);
/* Writes folder/{train,val,test}.jsonl, text.txt (of train) and import.json, whole or not at all, after
 * all that is wrong with the sources has been found. `progress` may be NULL. */
bool import_sources(const char *const *sources, int n, const char *folder, const import_options *o,
                    import_result *result, import_progress progress, void *context, error *e);
void folder_remove(const char *path);              /* with all in it; links are not followed */
/* A zip, a wheel or a tar into a new folder; names that would leave it are an error. */
bool archive_unpack(const char *path, const char *folder, error *e);

/* ---- tokenizers: text to ids and back ---------------------------------------------------------------------
 * WordPiece, uncased (Devlin et al. 2019), byte-level BPE (Radford et al. 2019) and unigram (Kudo 2018; T5),
 * as Hugging Face's library tokenizers computes them. Special tokens ([SEP], </s>, ...) are recognised in
 * text. Once made, any number of threads may use a tokenizer. */
/* limits */
enum { TOKENIZER_TOKENS = 1000000, TOKENIZER_TOKEN_BYTES = 1024, TOKENIZER_FILE_BYTES = 1 << 26 };
typedef enum { TOKENIZER_WORDPIECE, TOKENIZER_BPE, TOKENIZER_UNIGRAM } tokenizer_kind;

/* vocab.txt is a WordPiece tokenizer, vocab.json and merges.txt a BPE one, spiece.model a unigram one,
 * tokenizer.json any of them: the first of these that is there. added_tokens.json adds special tokens, and
 * tokenizer.json and tokenizer_config.json beside them must mean the same. Folders in names are ignored. */
typedef struct tokenizer_file { const char *name; char *bytes; long size; } tokenizer_file;
enum { TOKENIZER_FILES = 3 };
tokenizer *tokenizer_read(const char *folder, error *e);
tokenizer *tokenizer_load(const char *from, const tokenizer_file *files, int n, error *e);  /* from: for e */
/* How many files, 0: failed. mem_free their bytes. */
int tokenizer_files(const tokenizer *t, tokenizer_file to[TOKENIZER_FILES], error *e);
bool tokenizer_write(const tokenizer *t, const char *folder, error *e);    /* makes the folder if need be */
void tokenizer_free(tokenizer *t);

tokenizer_kind tokenizer_is(const tokenizer *t);
int tokenizer_size(const tokenizer *t);                        /* ids are 0 .. size - 1 */
int tokenizer_id(const tokenizer *t, const char *token);       /* -1: it has none */
const char *tokenizer_token(const tokenizer *t, int id);       /* as the file spells it; NULL: no such id */
int tokenizer_pad(const tokenizer *t);  /* [PAD]; <pad>, else the end token; -1: none */
/* Makes a token special, a new one at the end if it is not there ([DEC], <image>): its id; -1: failed. */
int tokenizer_add(tokenizer *t, const char *special, error *e);

typedef struct tokenizer_options {
    long max;                  /* ids in a text at most, [CLS] [SEP] </s> included; 0: no limit */
    long pad_to;               /* tokenizer_batch: columns; 0: as many as the longest text has */
    bool pad_left;
    bool bare;                 /* no [CLS] [SEP], no </s> in front */
    bool literal;              /* special tokens in the text are ordinary characters */
} tokenizer_options;
typedef struct token_list { int *ids; long n, room; } token_list;      /* may be used again; mem_free ids */
typedef struct token_batch { long B, T; int *ids; unsigned char *mask; long room; } token_batch;  /* (B,T) */
bool tokenizer_encode(const tokenizer *t, const char *text, long bytes, const tokenizer_options *o,
                      token_list *to, error *e);
bool tokenizer_batch(const tokenizer *t, long B, const char *const *texts, const tokenizer_options *o,
                     token_batch *to, error *e);
void token_batch_free(token_batch *b);
/* UTF-8 with a 0 behind it, mem_free it; NULL: memory is out. Broken bytes become U+FFFD, ids without a token
 * nothing. bytes: may be NULL. */
char *tokenizer_decode(const tokenizer *t, const int *ids, long n, bool keep_special, long *bytes);

/* A vocabulary from text: the most frequent pair of neighbours is made one token, again and again (Sennrich
 * et al. 2016), until there are `size` tokens or no pair occurs min_count times. The same words in any order
 * give the same vocabulary. WordPiece starts from printable ASCII and the characters seen, BPE from all bytes
 * behind <s> <pad> </s> <unk>. Of WordPiece's pieces those are kept that stand in the split text at the end,
 * so that whole words fill the vocabulary. */
typedef struct tokenizer_trainer tokenizer_trainer;
tokenizer_trainer *tokenizer_trainer_new(tokenizer_kind kind, error *e);
bool tokenizer_trainer_add(tokenizer_trainer *r, const char *text, long bytes, error *e);
tokenizer *tokenizer_train(tokenizer_trainer *r, long size, long min_count, error *e);  /* r stays as it is */
void tokenizer_trainer_free(tokenizer_trainer *r);

/* ---- text as LAVIS cleans it; mem_free it, NULL: memory is out ----------------------------------------- */
enum { CLEAN_WORDS = 50 };
char *clean_caption(const char *text);         /* lower case, .!"()*#:;~ to spaces, spaces joined, 50 words */
char *clean_question(const char *text);        /* lower case, .!"()*#:;~ removed, 50 words */

#pragma GCC visibility pop
#endif
