/* scene_options.c - the knobs of the synthetic world: one table that documents, parses, checks and prints
 * them, and their meaning as indices and weights (struct recipe). All problems are reported at once. */
#include "data/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const scenes_options scenes_defaults = {
    .size = 32, .cells = 2, .colours = "red,green,blue,yellow", .shapes = "circle,square,triangle,cross",
    .sizes = "large", .grounds = "grey,brown", .counts = "1,1",
    .held_out = "red cross,green circle,blue triangle",
    .radius = 0.4625, .small = 0.68, .shrink = 0.85, .jitter = 0.0625,
    .tint = 15, .ground_tint = 12, .pattern = 6, .noise = 4,
    .train = 12000, .val = 400, .test = 400, .test_unseen = 400, .val_share = 0.05, .test_share = 0.2,
    .family = 4, .redraw_shape = 0.4, .redraw_colour = 0.2, .captions = 5, .wordings = "5,2,2,1",
    .questions = "yes/no,colour,shape,count,position", .questions_per_type = 2, .documents = 40000,
    .text_colours = "red,green,blue,yellow,purple,white,orange,pink",
    .text_shapes = "circle,square,triangle,cross,star,ring,heart,moon", .text_counts = "1,1", .text_cells = 2,
    .text_weight = 2, .text_caption = 0.9, .text_again = 0.2, .text_questions = 5, .sheet = 64, .seed = 1,
};

#define AT(field) offsetof(scenes_options, field)
const config_key scenes_keys[] = {
    { "size", CONFIG_INT, AT(size), 8, 4096, NULL, "side of a picture in pixels" },
    { "cells", CONFIG_INT, AT(cells), 1, WORLD_SIDE, NULL, "cells per side; a cell holds one shape" },
    { "colours", CONFIG_TEXT, AT(colours), 0, 0, NULL,
        "of red green blue yellow purple white orange pink cyan" },
    { "shapes", CONFIG_TEXT, AT(shapes), 0, 0, NULL,
        "of circle square triangle cross star ring heart moon diamond" },
    { "sizes", CONFIG_TEXT, AT(sizes), 0, 0, NULL, "of small large; both: texts name the size" },
    { "grounds", CONFIG_TEXT, AT(grounds), 0, 0, NULL, "of grey brown navy olive teal maroon" },
    { "counts", CONFIG_TEXT, AT(counts), 0, 0, NULL, "weights of 1, 2, ... shapes in a picture" },
    { "held_out", CONFIG_TEXT, AT(held_out), 0, 0, NULL, "pairs that only test_unseen shows; empty: none" },
    { "radius", CONFIG_REAL, AT(radius), 0.05, 0.7, NULL, "radius of a large shape, in cells" },
    { "small", CONFIG_REAL, AT(small), 0.1, 1, NULL, "radius of a small shape, in large ones" },
    { "shrink", CONFIG_REAL, AT(shrink), 0.1, 1, NULL,
        "a radius is drawn from this share of itself to all of it" },
    { "jitter", CONFIG_REAL, AT(jitter), 0, 0.5, NULL, "a centre is moved by up to this many cells" },
    { "tint", CONFIG_REAL, AT(tint), 0, 100, NULL, "a shape is lighter or darker by up to this, of 255" },
    { "ground_tint", CONFIG_REAL, AT(ground_tint), 0, 100, NULL,
        "a ground is lighter or darker by up to this" },
    { "pattern", CONFIG_REAL, AT(pattern), 0, 100, NULL,
        "strength of slopes, stripes and checks on the ground" },
    { "noise", CONFIG_REAL, AT(noise), 0, 100, NULL, "standard deviation of the noise on every value" },
    { "train", CONFIG_INT, AT(train), 0, 1e7, NULL, "pictures for training" },
    { "val", CONFIG_INT, AT(val), 0, 1e5, NULL, "pictures for validation" },
    { "test", CONFIG_INT, AT(test), 0, 1e5, NULL, "pictures for the test" },
    { "test_unseen", CONFIG_INT, AT(test_unseen), 0, 1e5, NULL, "pictures that show a held-out pair" },
    { "val_share", CONFIG_REAL, AT(val_share), 0, 0.5, NULL,
        "share of all arrangements that only val has; 0: it shares" },
    { "test_share", CONFIG_REAL, AT(test_share), 0, 0.5, NULL,
        "share of all arrangements that only test has" },
    { "family", CONFIG_INT, AT(family), 1, 1000, NULL, "scenes in a family of near-duplicates" },
    { "redraw_shape", CONFIG_REAL, AT(redraw_shape), 0, 1, NULL, "chance that a sibling differs in a shape" },
    { "redraw_colour", CONFIG_REAL, AT(redraw_colour), 0, 1, NULL,
        "chance that it differs in a colour; else in a place" },
    { "captions", CONFIG_INT, AT(captions), 1, 100, NULL,
        "captions of a picture; the first is the full one" },
    { "wordings", CONFIG_TEXT, AT(wordings), 0, 0, NULL,
        "weights of the wordings: places, where, counted, plain" },
    { "ground_words", CONFIG_REAL, AT(ground_words), 0, 1, NULL,
        "share of the captions that name the ground" },
    { "questions", CONFIG_TEXT, AT(questions), 0, 0, NULL,
        "of yes/no colour shape count position size ground" },
    { "questions_per_type", CONFIG_INT, AT(questions_per_type), 1, 100, NULL,
        "of a picture at most, where there are as many" },
    { "documents", CONFIG_INT, AT(documents), 0, 1e8, NULL, "documents of text alone, for language models" },
    { "text_colours", CONFIG_TEXT, AT(text_colours), 0, 0, NULL, "colours of these documents' world" },
    { "text_shapes", CONFIG_TEXT, AT(text_shapes), 0, 0, NULL, "shapes of it" },
    { "text_counts", CONFIG_TEXT, AT(text_counts), 0, 0, NULL, "weights of 1, 2, ... shapes in it" },
    { "text_cells", CONFIG_INT, AT(text_cells), 1, WORLD_SIDE, NULL, "cells per side of it" },
    { "text_weight", CONFIG_REAL, AT(text_weight), 0.01, 100, NULL,
        "weight of a name that pictures have too" },
    { "text_caption", CONFIG_REAL, AT(text_caption), 0, 1, NULL,
        "share of the documents that begin with a caption" },
    { "text_again", CONFIG_REAL, AT(text_again), 0, 1, NULL,
        "share of the questions that are the full caption instead" },
    { "text_questions", CONFIG_INT, AT(text_questions), 0, 1000, NULL, "questions in a document" },
    { "sheet", CONFIG_INT, AT(sheet), 0, 1024, NULL, "training pictures on sheet.png" },
    { "seed", CONFIG_INT, AT(seed), 0, 9e15, NULL, "another seed, another set" },
};

/* ---- lists --------------------------------------------------------------------------------------------- */
/* The next item of a comma-separated list, without blanks around it; false at the end. */
static bool next(const char **list, char item[64])
{
    const char *s = *list;
    if (!s)
        return false;
    size_t n = strcspn(s, ",");
    *list = s[n] ? s + n + 1 : NULL;
    while (n && s[0] == ' ')
        s++, n--;
    while (n && s[n - 1] == ' ')
        n--;
    snprintf(item, 64, "%.*s", (int)(n < 63 ? n : 63), s);
    return true;
}

static int index_of(const char *name, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(name, names[i]))
            return i;
    return -1;
}

/* What names[0 .. n-1] a list chooses, each with weight 1. */
static void choose(struct choice *c, const char *key, const char *list, const char *const *names, int n,
                   error *e)
{
    char item[64];
    c->n = 0;
    while (next(&list, item)) {
        int at = index_of(item, names, n);
        const char *like = at < 0 ? nearest(item, names, n) : NULL;
        bool twice = false;
        for (int i = 0; i < c->n; i++)
            twice |= c->at[i] == at;
        if (at < 0)
            error_line(e, "%s: unknown name \"%s\"%s%s", key, QUOTE(item), like ? ", did you mean " : "",
                       like ? like : "");
        else if (twice)
            error_line(e, "%s: %s stands there twice", key, item);
        else {
            c->at[c->n] = at;
            c->weight[c->n++] = 1;
        }
    }
}

/* At most `most` weights into w; returns how many. */
static int weigh(double *w, const char *key, const char *list, int most, error *e)
{
    char item[64], *end;
    double sum = 0;
    int n = 0;
    for (; next(&list, item); n++) {
        locale_t before = numbers_begin();
        double x = strtod(item, &end);
        numbers_end(before);
        if (!*item || *end || !(x >= 0 && x <= 1e6)) {
            error_line(e, "%s: expected weights from 0 to 1000000, found \"%s\"", key, QUOTE(item));
            return 0;
        }
        if (n < most)
            sum += w[n] = x;
    }
    if (n > most)
        error_line(e, "%s: expected at most %d weights, found %d", key, most, n);
    else if (!(sum > 0))
        error_line(e, "%s: expected a weight above 0", key);
    return n > most ? most : n;
}

static void names_of(const struct tone *tones, int n, const char **names)
{
    for (int i = 0; i < n; i++)
        names[i] = tones[i].name;
}

/* ---- worlds -------------------------------------------------------------------------------------------- */
static void held_pairs(struct world *w, const char *list, error *e)
{
    const char *colours[WORLD_COLOURS];
    names_of(data_colours, WORLD_COLOURS, colours);
    char item[64];
    while (list && *list && next(&list, item)) {
        char *blank = strchr(item, ' ');
        int shape = blank ? index_of(blank + 1, data_shapes, WORLD_SHAPES) : -1;
        if (blank)
            *blank = 0;
        int colour = index_of(item, colours, WORLD_COLOURS);
        if (blank)
            *blank = ' ';
        if (colour < 0 || shape < 0) {
            error_line(e, "held_out: expected pairs like \"red cross\", found \"%s\"", QUOTE(item));
        } else {
            w->helds += !w->held[colour][shape];
            w->held[colour][shape] = true;
        }
    }
}

/* The keys of a world: those of the pictures, or of the text. */
struct keys { const char *colours, *shapes, *counts, *cells; };

static void resolve(struct world *w, const struct keys *key, const char *colours, const char *shapes,
                    const char *counts, error *e)
{
    const char *names[WORLD_COLOURS];
    names_of(data_colours, WORLD_COLOURS, names);
    choose(&w->colours, key->colours, colours, names, WORLD_COLOURS, e);
    choose(&w->shapes, key->shapes, shapes, data_shapes, WORLD_SHAPES, e);
    w->counts.n = weigh(w->counts.weight, key->counts, counts, WORLD_OBJECTS, e);
    for (int i = w->counts.n; i-- > 0 && w->counts.weight[i] == 0; )
        w->counts.n = i;
    if (w->counts.n > w->cells*w->cells)
        error_line(e, "%s: %d shapes do not fit; %s is %d", key->counts, w->counts.n, key->cells, w->cells);
    int left = 0;
    for (int c = 0; c < w->colours.n; c++)
        for (int s = 0; s < w->shapes.n; s++)
            left += !w->held[w->colours.at[c]][w->shapes.at[s]];
    if (!left)
        error_line(e, "held_out: leaves no pair of %s and %s", key->colours, key->shapes);
}

static bool has(const struct choice *c, int at)
{
    for (int i = 0; i < c->n; i++)
        if (c->at[i] == at)
            return true;
    return false;
}

/* Names that the pictures have too weigh more in the text. */
static void favour(struct choice *text, const struct choice *pictures, double weight)
{
    for (int i = 0; i < text->n; i++)
        if (has(pictures, text->at[i]))
            text->weight[i] = weight;
}

static void check_numbers(const scenes_options *o, error *e)
{
    for (const config_key *k = scenes_keys; k < scenes_keys + SCENES_KEYS; k++) {
        const void *field = (const char *)o + k->offset;
        double x = k->type == CONFIG_INT ? (double)*(const long *)field
                 : k->type == CONFIG_REAL ? *(const double *)field : 0;
        if (k->type != CONFIG_TEXT && !(x >= k->least && x <= k->most))
            error_line(e, "%s: expected %.10g to %.10g, found %.10g", k->name, k->least, k->most, x);
    }
    if (o->redraw_shape + o->redraw_colour > 1)
        error_line(e, "redraw_shape, redraw_colour: expected a sum of at most 1, found %g",
                   o->redraw_shape + o->redraw_colour);
    if (o->val_share + o->test_share > 0.9)
        error_line(e, "val_share, test_share: expected a sum of at most 0.9, found %g",
                   o->val_share + o->test_share);
    if (o->size < 8*o->cells)
        error_line(e, "size: expected at least 8 pixels a cell, found %ld in %ld", o->size, o->cells);
}

/* Held-out pairs that no picture could show are a mistake: test_unseen would be another split than was
 * meant. */
static void check_held(const struct recipe *k, error *e)
{
    for (int c = 0; c < WORLD_COLOURS; c++)
        for (int s = 0; s < WORLD_SHAPES; s++)
            if (k->world.held[c][s] && !(has(&k->world.colours, c) && has(&k->world.shapes, s)))
                error_line(e, "held_out: %s %s: expected a colour of colours and a shape of shapes",
                           data_colours[c].name, data_shapes[s]);
    if (k->o->test_unseen && !k->world.helds)
        error_line(e, "test_unseen: %ld pictures of held-out pairs wanted, but held_out is empty",
                   k->o->test_unseen);
}

/* In range, so that what follows can go on and find the other problems. */
static int cells_of(long cells)
{
    return cells < 1 ? 1 : cells > WORLD_SIDE ? WORLD_SIDE : (int)cells;
}

bool data_recipe(struct recipe *k, const scenes_options *o, error *e)
{
    static const struct keys pictures = { "colours", "shapes", "counts", "cells" };
    static const struct keys text = { "text_colours", "text_shapes", "text_counts", "text_cells" };
    const char *grounds[WORLD_GROUNDS];
    struct choice asked;
    *k = (struct recipe){ .o = o };
    *e = (error){ 0 };
    check_numbers(o, e);
    k->world.cells = cells_of(o->cells);
    k->text_world.cells = cells_of(o->text_cells);
    held_pairs(&k->world, o->held_out, e);
    memcpy(k->text_world.held, k->world.held, sizeof k->world.held);
    resolve(&k->world, &pictures, o->colours, o->shapes, o->counts, e);
    resolve(&k->text_world, &text, o->text_colours, o->text_shapes, o->text_counts, e);
    names_of(data_grounds, WORLD_GROUNDS, grounds);
    choose(&k->world.grounds, "grounds", o->grounds, grounds, WORLD_GROUNDS, e);
    choose(&k->world.sizes, "sizes", o->sizes, data_sizes, WORLD_SIZES, e);
    choose(&asked, "questions", o->questions, data_question_types, QUESTION_TYPES, e);
    int n = weigh(k->wordings, "wordings", o->wordings, WORDINGS, e);
    if (n && n < WORDINGS)
        error_line(e, "wordings: expected %d weights, found %d", WORDINGS, n);
    for (int i = 0; i < asked.n; i++)
        k->asks[asked.at[i]] = true;
    k->text_world.grounds = k->world.grounds;
    k->text_world.sizes = k->world.sizes;
    favour(&k->text_world.colours, &k->world.colours, o->text_weight);
    favour(&k->text_world.shapes, &k->world.shapes, o->text_weight);
    check_held(k, e);
    return !e->lines || error_head(e, ERROR_USAGE, "scenes: %d option%s that cannot be used:", e->lines,
                                   e->lines > 1 ? "s" : "");
}
