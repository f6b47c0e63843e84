/* scene_text.c - what is said about a scene: captions in four wordings, questions with answers of seven
 * types.
 *
 * Words are divided by single blanks, punctuation too, so that a text is the same after any tokenizer. A
 * colour stands right before its shape, so that a held-out pair can be searched for in any text. */
#include "data/internal.h"
#include <stdio.h>
#include <string.h>

const char *const data_question_types[QUESTION_TYPES] = {
    "yes/no", "colour", "shape", "count", "position", "size", "ground",
};

static const char *colour_of(const struct object *o)
{
    return data_colours[o->colour].name;
}

static const char *article(const char *word)
{
    return strchr("aeiou", word[0]) ? "an" : "a";
}

/* "a small red circle"; the size only where there are several. */
static void noun(buffer *b, const struct world *w, const struct object *o)
{
    const char *size = w->sizes.n > 1 ? data_sizes[o->size] : "", *colour = colour_of(o);
    data_print(b, "%s %s%s%s %s", article(*size ? size : colour), size, *size ? " " : "", colour,
               data_shapes[o->shape]);
}

static void shuffle(int *order, int n, keyed *r)
{
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int j = data_below(r, i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

void data_caption(buffer *b, const struct world *w, const struct scene *s, enum wording wording, bool ground,
                  keyed *r)
{
    int order[WORLD_OBJECTS];
    bool places = w->cells > 1;
    if (wording == WHERE && !places)
        wording = PLAIN;
    for (int i = 0; i < s->n; i++)
        order[i] = i;
    if (wording == WHERE)
        shuffle(order, s->n, r);
    if (wording == COUNTED)
        data_print(b, s->n == 1 ? "there is %s shape : " : "there are %s shapes : ", data_numbers[s->n]);
    for (int i = 0; i < s->n; i++) {
        const struct object *o = &s->object[order[i]];
        const char *place = data_place(w->cells, o->cell);
        if (i)
            data_print(b, wording == PLAIN || wording == WHERE ? " and " : " , ");
        if (wording == WHERE)
            data_print(b, "%s is ", place);
        noun(b, w, o);
        if (places && (wording == PLACES || wording == COUNTED))
            data_print(b, " %s", place);
    }
    if (ground)
        data_print(b, " , on %s %s ground", article(data_grounds[s->ground].name),
                   data_grounds[s->ground].name);
}

/* ---- questions ----------------------------------------------------------------------------------------- */
static bool ask(struct question *q, enum question_type type, const char *answer, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static bool ask(struct question *q, enum question_type type, const char *answer, const char *format, ...)
{
    va_list args;
    q->type = type;
    snprintf(q->answer, sizeof q->answer, "%s", answer);
    va_start(args, format);
    vsnprintf(q->text, sizeof q->text, format, args);
    va_end(args);
    return true;
}

static bool there(const struct scene *s, const struct object *o)
{
    for (int i = 0; i < s->n; i++)
        if (s->object[i].colour == o->colour && s->object[i].shape == o->shape)
            return true;
    return false;
}

static bool unique_colour(const struct scene *s, const struct object *o)
{
    int n = 0;
    for (int i = 0; i < s->n; i++)
        n += s->object[i].colour == o->colour;
    return n == 1;
}

static bool unique_shape(const struct scene *s, const struct object *o)
{
    int n = 0;
    for (int i = 0; i < s->n; i++)
        n += s->object[i].shape == o->shape;
    return n == 1;
}

/* A pair that is not there, near to what is: mostly a colour and a shape of the picture that do not belong
 * together, or one of them with another partner. Held-out pairs are asked for only where the picture shows
 * one. */
static bool absent(const struct world *w, const struct scene *s, const struct object *near, keyed *r,
                   struct object *to)
{
    double u = data_uniform(r);
    data_pair_draw(w, r, to);
    if (u < 0.4 && s->n > 1) {
        int one = data_below(r, s->n), other = (one + 1 + data_below(r, s->n - 1)) % s->n;
        to->colour = s->object[one].colour;
        to->shape = s->object[other].shape;
    } else if (u < 0.7) {
        to->colour = near->colour;
    } else if (u < 0.9) {
        to->shape = near->shape;
    } else if (s->about >= 0) {
        data_held_draw(w, r, to);
    }
    return !there(s, to) && (s->about >= 0 || !w->held[to->colour][to->shape]);
}

static bool ask_absent(struct question *q, const struct world *w, const struct scene *s,
                       const struct object *o, keyed *r)
{
    struct object other = *o;
    for (int i = 0; i < 50; i++)
        if (absent(w, s, o, r, &other))
            return ask(q, YES_NO, "no", "is there %s %s %s ?", article(colour_of(&other)), colour_of(&other),
                       data_shapes[other.shape]);
    return false;
}

/* About object o; false: the question would have no answer, or two. */
static bool ask_about(struct question *q, const struct world *w, const struct scene *s,
                      enum question_type type, int nth, const struct object *o, keyed *r)
{
    const char *colour = colour_of(o), *shape = data_shapes[o->shape];
    switch (type) {
    case YES_NO:
        return nth % 2 ? ask_absent(q, w, s, o, r)
                       : ask(q, type, "yes", "is there %s %s %s ?", article(colour), colour, shape);
    case COLOUR:
        return unique_shape(s, o) && ask(q, type, colour, "what colour is the %s ?", shape);
    case SHAPE:
        return unique_colour(s, o) && ask(q, type, shape, "what shape is %s ?", colour);
    case COUNT:
        return ask(q, type, data_numbers[s->n], "how many shapes ?");
    case POSITION:
        return w->cells > 1 && unique_shape(s, o)
            && ask(q, type, data_place(w->cells, o->cell), "where is the %s ?", shape);
    case SIZE:
        return w->sizes.n > 1 && unique_shape(s, o)
            && ask(q, type, data_sizes[o->size], "what size is the %s ?", shape);
    default:
        return ask(q, GROUND, data_grounds[s->ground].name, "what colour is the ground ?");
    }
}

bool data_question(struct question *q, const struct world *w, const struct scene *s, enum question_type type,
                   int nth, keyed *r)
{
    int order[WORLD_OBJECTS];
    if (s->about >= 0)
        return ask_about(q, w, s, type, nth, &s->object[s->about], r);
    shuffle(order, s->n, r);
    for (int i = 0; i < s->n; i++)
        if (ask_about(q, w, s, type, nth, &s->object[order[i]], r))
            return true;
    return false;
}
