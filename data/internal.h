/* internal.h - what the files of data/ share. */
#ifndef DATA_INTERNAL_H
#define DATA_INTERNAL_H
#include "data/data.h"

/* ---- pictures: png.c ---- */
bool data_png_decode(picture *p, const void *bytes, long n, const char *name, error *e);

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

/* ---- a folder written whole or not at all: folder.c ---- */
struct folder { bool replaces; char path[4096], temporary[4096 + 32]; };
bool data_folder_begin(struct folder *f, const char *path, const char *proof, bool force, error *e);
bool data_folder_sub(const struct folder *f, const char *name, error *e);
bool data_folder_put(const struct folder *f, const char *name, const void *bytes, long n, error *e);
bool data_folder_finish(const struct folder *f, error *e);         /* moves it to its place */
void data_folder_abandon(const struct folder *f);

/* ---- the synthetic world: scene_*.c, scenes.c ---- */
enum { WORLD_COLOURS = 9, WORLD_SHAPES = 9, WORLD_GROUNDS = 6, WORLD_SIZES = 2, WORLD_SIDE = 4, WORLD_OBJECTS = 16 };
struct tone { const char *name; uint8_t rgb[3]; };
extern const struct tone data_colours[WORLD_COLOURS], data_grounds[WORLD_GROUNDS];
extern const char *const data_shapes[WORLD_SHAPES], *const data_sizes[WORLD_SIZES], *const data_numbers[WORLD_OBJECTS + 1];
const char *data_place(int cells, int cell);       /* "top left"; "" in a world of one cell */

struct object { uint8_t colour, shape, size, cell; };
struct scene { int n, ground, about; struct object object[WORLD_OBJECTS]; };     /* by cell; about: who is asked for, -1 */

struct choice { int n, at[WORLD_OBJECTS]; double weight[WORLD_OBJECTS]; };        /* some of a list of names */
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

void data_caption(buffer *b, const struct world *w, const struct scene *s, enum wording wording, bool ground, keyed *r);
struct question { enum question_type type; char text[96], answer[32]; };
/* The nth question of this type (yes/no: even nth yes, odd nth no); false: there is none about this scene. */
bool data_question(struct question *q, const struct world *w, const struct scene *s, enum question_type type, int nth,
                   keyed *r);

struct spot { double x, y, radius; };              /* where an object came to lie, in pixels */
/* canvas (size,size,3) is scratch. */
void data_scene_paint(const struct recipe *k, const struct scene *s, keyed *r, struct spot *spots, float *canvas, picture *p);
double data_distance(int shape, double x, double y);               /* signed, to a shape of radius 1; y points down */

/* ---- pictures in a grid with text beside them: sheet.c ---- */
struct sheet { picture page; long columns, side, scale; };         /* a picture's side in pixels, on the page scale times it */
bool data_sheet_begin(struct sheet *s, long entries, long side, error *e);
void data_sheet_add(struct sheet *s, long at, const picture *p, const char *text);     /* its lines are wrapped */
#endif
