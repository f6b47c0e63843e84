/* data.h - pictures, and the synthetic world: what is read before a network sees it. Knows no tensor. */
#ifndef DATA_H
#define DATA_H
#include "base/base.h"
#pragma GCC visibility push(default)

/* ---- pictures -----------------------------------------------------------------------------------------------
 * A picture is RGB, 8 bits a channel, as PIL's convert("RGB") gives it: alpha is dropped, grey is repeated, palettes
 * are looked up, 16-bit colour keeps its high byte, 16-bit grey is clipped at 255. Any damage is an error.      */
typedef struct picture { long width, height; uint8_t *rgb; } picture;    /* rgb (height,width,3) */
enum { PICTURE_PIXELS = 89478485, PICTURE_SIDE = 1000000 };              /* limits */

bool picture_new(picture *p, long width, long height, error *e);         /* black */
void picture_free(picture *p);
bool picture_decode(picture *p, const void *bytes, long n, const char *name, error *e);  /* name: for the error */
bool picture_read(picture *p, const char *path, error *e);
void *picture_encode(const picture *p, long *bytes, error *e);           /* a PNG file; mem_free it */
bool picture_write(const picture *p, const char *path, error *e);        /* whole or not at all */

/* Bicubic with antialiasing, equal to Pillow 13's Image.resize bit for bit. `to` is made new. */
bool picture_resize(picture *to, const picture *from, long width, long height, error *e);
/* What a vision tower takes: resized to size x size, /255, minus CLIP's mean, over CLIP's deviation. */
bool picture_pixels(const picture *from, long size, real *pixels, error *e);             /* pixels (3,size,size) */
void picture_normalise(const uint8_t *rgb, long size, real *pixels);     /* rgb (size,size,3) -> (3,size,size) */

/* ---- the synthetic world ------------------------------------------------------------------------------------
 * Coloured shapes in the cells of a square, with captions, questions and answers. Pairs of colour and shape that are
 * held out appear in the split test_unseen alone: nowhere else in a picture, a caption, a question or an answer.
 * Lists are comma-separated. scenes_keys documents every field.                                                 */
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
/* Writes the folder, whole or not at all: train.jsonl, val.jsonl, test.jsonl, test_unseen.jsonl with a line a picture,
 * the pictures as PNG, text.txt, sheet.png and world.yaml: what is in it, and the options. The same bytes for any
 * number of threads. force: an older folder of scenes is replaced. `progress` may be NULL.                      */
bool scenes_make(const scenes_options *o, const char *folder, bool force, scenes_progress progress, void *context, error *e);

/* ---- lists of pictures: one JSON object a line -----------------------------------------------------------------
 * {"image": "train/000001.png", "image_id": 1, "family": 0, "captions": ["..."],
 *  "questions": [{"question": "...", "answer": "...", "type": "colour"}], "objects": [{"colour": "red", "shape": "cross"}]}
 * Only "image" must be there; its path is relative to the list's folder and stays inside it. Other keys are passed over. */
typedef struct record_question { char *question, *answer, *type; } record_question;
typedef struct record_object { char *colour, *shape; } record_object;
typedef struct record {
    char *image;
    long image_id, family;                         /* the line's number where the list has none */
    char **captions; long caption_count;
    record_question *questions; long question_count;
    record_object *objects; long object_count;     /* what is in a picture of the synthetic world */
} record;
typedef struct record_list { record *items; long count; } record_list;
bool records_read(const char *path, record_list *l, error *e);     /* every bad line is reported together */
void record_list_free(record_list *l);

#pragma GCC visibility pop
#endif
