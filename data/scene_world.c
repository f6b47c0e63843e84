/* scene_world.c - what can be in a scene, and drawing scenes.
 *
 * A scene is objects in cells. An object's colour and shape are drawn until they are no held-out pair; a
 * scene for test_unseen then gets one object replaced by a held-out pair. Families are near-duplicates: a
 * sibling differs from the first of its family in one shape, colour or place (recipe of the demo: such
 * neighbours make good negatives). An arrangement (colours, shapes and places, as words) belongs to train,
 * val or test by its hash, so that no test picture shows an arrangement that training saw; the same hash
 * keeps it out of the text. */
#include "data/internal.h"
#include <stdlib.h>
#include <string.h>

const struct tone data_colours[WORLD_COLOURS] = {
    { "red", { 220, 40, 40 } },     { "green", { 40, 180, 60 } },   { "blue", { 50, 80, 230 } },
    { "yellow", { 230, 210, 50 } }, { "purple", { 150, 60, 190 } }, { "white", { 235, 235, 235 } },
    { "orange", { 240, 140, 40 } }, { "pink", { 240, 150, 190 } },  { "cyan", { 60, 200, 210 } },
};
const struct tone data_grounds[WORLD_GROUNDS] = {
    { "grey", { 70, 70, 75 } },  { "brown", { 95, 75, 55 } }, { "navy", { 35, 45, 85 } },
    { "olive", { 75, 80, 40 } }, { "teal", { 25, 80, 80 } },  { "maroon", { 85, 35, 45 } },
};
const char *const data_shapes[WORLD_SHAPES] = {
    "circle", "square", "triangle", "cross", "star", "ring", "heart", "moon", "diamond",
};
const char *const data_sizes[WORLD_SIZES] = { "small", "large" };
const char *const data_numbers[WORLD_OBJECTS + 1] = {
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen",
};
const char *const data_splits[SPLITS] = { "train", "val", "test", "test_unseen" };

const char *data_place(int cells, int cell)
{
    static const char *const names[WORLD_SIDE][WORLD_SIDE*WORLD_SIDE] = {
        { "" },
        { "top left", "top right", "bottom left", "bottom right" },
        { "top left", "top centre", "top right",
          "middle left", "middle centre", "middle right",
          "bottom left", "bottom centre", "bottom right" },
        { "top far left", "top left", "top right", "top far right",
          "upper far left", "upper left", "upper right", "upper far right",
          "lower far left", "lower left", "lower right", "lower far right",
          "bottom far left", "bottom left", "bottom right", "bottom far right" },
    };
    return names[cells - 1][cell];
}

/* ---- drawing ------------------------------------------------------------------------------------------- */
static int draw(keyed *r, const struct choice *c)
{
    return c->at[data_weighted(r, c->weight, c->n)];
}

void data_pair_draw(const struct world *w, keyed *r, struct object *to)
{
    do {
        to->colour = (uint8_t)draw(r, &w->colours);
        to->shape = (uint8_t)draw(r, &w->shapes);
    } while (w->held[to->colour][to->shape]);
}

void data_held_draw(const struct world *w, keyed *r, struct object *to)
{
    int nth = data_below(r, w->helds);
    for (int c = 0; c < WORLD_COLOURS; c++)
        for (int s = 0; s < WORLD_SHAPES; s++)
            if (w->held[c][s] && nth-- == 0) {
                to->colour = (uint8_t)c;
                to->shape = (uint8_t)s;
            }
}

static int by_cell(const void *a, const void *b)
{
    return ((const struct object *)a)->cell - ((const struct object *)b)->cell;
}

static int draw_count(const struct world *w, keyed *r)
{
    return 1 + data_weighted(r, w->counts.weight, w->counts.n);
}

static void draw_scene(const struct world *w, keyed *r, int n, struct scene *s)
{
    int cells[WORLD_OBJECTS], all = w->cells*w->cells;
    *s = (struct scene){ .n = n, .about = -1 };
    s->ground = draw(r, &w->grounds);
    for (int i = 0; i < all; i++)
        cells[i] = i;
    for (int i = 0; i < s->n; i++) {
        int j = i + data_below(r, all - i), cell = cells[j];
        cells[j] = cells[i];
        s->object[i].cell = (uint8_t)cell;
        s->object[i].size = (uint8_t)draw(r, &w->sizes);
        data_pair_draw(w, r, &s->object[i]);
    }
    qsort(s->object, (size_t)s->n, sizeof *s->object, by_cell);
}

/* A scene for test_unseen: one object is a held-out pair, and it is the one that questions are about. */
static void put_held(const struct world *w, keyed *r, struct scene *s)
{
    s->about = data_below(r, s->n);
    data_held_draw(w, r, &s->object[s->about]);
}

/* One difference: a shape, a colour, or a place. */
static void vary(const struct recipe *k, const struct world *w, keyed *r, struct scene *s)
{
    double u = data_uniform(r);
    struct object *o = &s->object[data_below(r, s->n)];
    if (u < k->o->redraw_shape) {
        o->shape = (uint8_t)draw(r, &w->shapes);
    } else if (u < k->o->redraw_shape + k->o->redraw_colour) {
        o->colour = (uint8_t)draw(r, &w->colours);
    } else {
        int cell = data_below(r, w->cells*w->cells);
        for (int i = 0; i < s->n; i++)             /* where another stands, the two change places */
            if (s->object[i].cell == cell)
                s->object[i].cell = o->cell;
        o->cell = (uint8_t)cell;
    }
    int held = -1;
    qsort(s->object, (size_t)s->n, sizeof *s->object, by_cell);
    for (int i = 0; i < s->n; i++)
        if (w->held[s->object[i].colour][s->object[i].shape])
            held = i;
    s->about = held;
}

/* ---- splits -------------------------------------------------------------------------------------------- */
/* FNV-1a over the words that the full caption consists of. */
static uint64_t arrangement(const struct world *w, const struct scene *s)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (int i = 0; i < s->n; i++) {
        const struct object *o = &s->object[i];
        const char *const words[] = {
            data_colours[o->colour].name, data_shapes[o->shape], data_place(w->cells, o->cell),
        };
        for (int j = 0; j < 3; j++)
            for (const char *c = words[j]; ; c++) {
                hash = (hash ^ (uint8_t)*c)*0x100000001b3;
                if (!*c)
                    break;
            }
    }
    return data_mix(hash);
}

static bool shows_held(const struct world *w, const struct scene *s)
{
    for (int i = 0; i < s->n; i++)
        if (w->held[s->object[i].colour][s->object[i].shape])
            return true;
    return false;
}

static bool fits(const struct recipe *k, const struct world *w, const struct scene *s, enum split split)
{
    if (shows_held(w, s) != (split == UNSEEN))
        return false;
    if (split == UNSEEN)
        return true;
    double u = (double)(arrangement(w, s) >> 11)*0x1p-53, val = k->o->val_share, test = k->o->test_share;
    enum split owner = u < val ? VAL : u < val + test ? TEST : TRAIN;
    if ((split == VAL && val == 0) || (split == TEST && test == 0))
        return owner == TRAIN;
    return owner == split;
}

static bool is_new(const struct scene *s, const struct scene *others, long n)
{
    for (long i = 0; i < n; i++)
        if (others[i].n == s->n && !memcmp(others[i].object, s->object, (size_t)s->n*sizeof *s->object))
            return false;
    return true;
}

bool data_scene_find(const struct recipe *k, const struct world *w, keyed *r, enum split split,
                     const struct scene *first, struct scene *s)
{
    enum { TRIES = 20000, STEPS = 200 };
    int n = first ? first->n : draw_count(w, r);
    if (first) {
        *s = *first;
        for (int i = 0; i < STEPS; i++) {          /* a walk of single differences, to the first that fits */
            vary(k, w, r, s);
            if (fits(k, w, s, split) && is_new(s, first, 1))
                return true;
        }
    }
    for (int i = 0; i < TRIES; i++) {  /* a number of shapes keeps its weight while it has a scene at all */
        draw_scene(w, r, i < TRIES/2 ? n : draw_count(w, r), s);
        if (split == UNSEEN)
            put_held(w, r, s);
        if (fits(k, w, s, split))
            return true;
    }
    return false;
}

bool data_scene_list(const struct recipe *k, enum split split, long n, struct scene *list, error *e)
{
    enum { RENEWALS = 60 };
    long family = k->o->family;
    for (long i = 0; i < n; i++) {
        keyed r = data_keyed(k->o->seed, split, i);
        const struct scene *first = i % family ? &list[i - i % family] : NULL;
        for (int again = 0; again < RENEWALS; again++) {
            struct scene s;
            if (!data_scene_find(k, &k->world, &r, split, first, &s))
                return error_usage(e, "scenes: %s: no scene belongs there; expected a larger world or share",
                                   data_splits[split]);
            if (again && s.n != list[i].n)         /* or few shapes, soon used up, would become rare */
                continue;
            list[i] = s;
            if (split == TRAIN || is_new(&s, list, i))         /* tests repeat nothing while they can */
                break;
        }
    }
    return true;
}
