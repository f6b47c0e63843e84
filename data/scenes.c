/* scenes.c - the folder of a synthetic world: pictures and annotations of four splits, text, a sheet to
 * look at.
 *
 * Which scenes there are is drawn first, in order, since a test scene must differ from those before it.
 * Painting, wording and encoding follow in blocks, on all threads; every picture and document has random
 * numbers of its own, and a block is written in order, so the bytes do not depend on the number of
 * threads. */
#include "data/internal.h"
#include <stdio.h>
#include <string.h>

enum { BLOCK = 256, STREAM_PICTURES = SPLITS, STREAM_TEXT = 2*SPLITS };

struct work {                                      /* what all steps share */
    struct recipe recipe;
    struct folder folder;
    scenes_progress progress;
    void *context;
    long pictures, families;                       /* made so far: ids are numbered through the splits */
};
struct item { picture picture; buffer line, talk; };  /* talk: a caption and the questions, for the sheet */

/* ---- one picture --------------------------------------------------------------------------------------- */
static void put_captions(const struct recipe *k, const struct scene *s, keyed *r, struct item *to)
{
    data_print(&to->line, "\"captions\": [");
    for (long i = 0; i < k->o->captions; i++) {
        enum wording wording = i ? (enum wording)data_weighted(r, k->wordings, WORDINGS) : PLACES;
        bool ground = data_uniform(r) < k->o->ground_words;
        data_print(&to->line, i ? ", \"" : "\"");
        data_caption(&to->line, &k->world, s, wording, ground, r);
        data_print(&to->line, "\"");
        if (!i)
            data_caption(&to->talk, &k->world, s, wording, ground, r);
    }
    data_print(&to->line, "], ");
}

static bool asked_before(const struct question *q, const struct question *others, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(q->text, others[i].text))
            return true;
    return false;
}

/* Up to questions_per_type different ones of one type. Yes and no take turns until one is wanting, so that
 * there are as many of both; with one question alone, a coin says which. */
static int some_questions(const struct recipe *k, const struct scene *s, enum question_type type, keyed *r,
                          struct question *to)
{
    long wanted = k->o->questions_per_type;
    int n = 0, coin = wanted == 1 ? data_below(r, 2) : 0;
    for (int nth = 0; nth < wanted; nth++) {
        bool found = false;
        for (int again = 0; again < 8 && !found; again++)
            found = data_question(&to[n], &k->world, s, type, nth + coin, r) && !asked_before(&to[n], to, n);
        n += found;
        if (!found && type == YES_NO)
            break;
    }
    return n;
}

static void put_questions(const struct recipe *k, const struct scene *s, keyed *r, struct item *to)
{
    struct question asked[100];
    const char *comma = "";
    data_print(&to->line, "\"questions\": [");
    for (int type = 0; type < QUESTION_TYPES; type++) {
        int n = k->asks[type] ? some_questions(k, s, (enum question_type)type, r, asked) : 0;
        for (int i = 0; i < n; i++, comma = ", ") {
            data_print(&to->line, "%s{\"question\": \"%s\", \"answer\": \"%s\", \"type\": \"%s\"}", comma,
                       asked[i].text, asked[i].answer, data_question_types[type]);
            data_print(&to->talk, "\n%s %s", asked[i].text, asked[i].answer);
        }
    }
    data_print(&to->line, "], ");
}

static void put_objects(const struct recipe *k, const struct scene *s, const struct spot *spots, buffer *b)
{
    data_print(b, "\"objects\": [");
    for (int i = 0; i < s->n; i++) {
        const struct object *o = &s->object[i];
        data_print(b, "%s{\"colour\": \"%s\", \"shape\": \"%s\", \"size\": \"%s\", ", i ? ", " : "",
                   data_colours[o->colour].name, data_shapes[o->shape], data_sizes[o->size]);
        data_print(b, "\"place\": \"%s\", \"x\": %.2f, \"y\": %.2f, \"radius\": %.2f}",
                   data_place(k->world.cells, o->cell), spots[i].x, spots[i].y, spots[i].radius);
    }
    data_print(b, "], \"ground\": \"%s\"", data_grounds[s->ground].name);
}

/* Picture i of a split and its line; file is its name in the folder. */
static bool make_item(const struct work *w, enum split split, long i, const struct scene *s, const char *file,
                      struct item *to, error *e)
{
    const struct recipe *k = &w->recipe;
    long size = k->o->size;
    struct spot spots[WORLD_OBJECTS];
    keyed paint = data_keyed(k->o->seed, STREAM_PICTURES + split, 2*i);
    keyed words = data_keyed(k->o->seed, STREAM_PICTURES + split, 2*i + 1);
    *to = (struct item){ 0 };
    float *canvas = mem_new((size_t)(3*size*size)*sizeof *canvas);
    if (!canvas)
        return error_set(e, "%s: memory is out", file);
    bool ok = picture_new(&to->picture, size, size, e);
    if (ok)
        data_scene_paint(k, s, &paint, spots, canvas, &to->picture);
    mem_free(canvas);
    if (!ok)
        return false;
    data_print(&to->line, "{\"image\": \"%s\", \"image_id\": %ld, ", file, w->pictures + i + 1);
    put_captions(k, s, &words, to);
    put_questions(k, s, &words, to);
    put_objects(k, s, spots, &to->line);
    data_print(&to->line, ", \"family\": %ld}\n", w->families + i/k->o->family + 1);
    return (!to->line.failed && !to->talk.failed) || error_set(e, "%s: memory is out", file);
}

static void free_item(struct item *it)
{
    picture_free(&it->picture);
    data_buffer_free(&it->line);
    data_buffer_free(&it->talk);
}

static void file_name(const struct work *w, enum split split, long i, char to[64])
{
    snprintf(to, 64, "%s/%06ld.png", data_splits[split], w->pictures + i + 1);
}

static bool write_item(const struct work *w, enum split split, long i, const struct scene *s, buffer *line,
                       error *e)
{
    struct item it;
    char file[64];
    long n = 0;
    file_name(w, split, i, file);
    bool ok = make_item(w, split, i, s, file, &it, e);
    void *png = ok ? picture_encode(&it.picture, &n, e) : NULL;
    ok = png && data_folder_put(&w->folder, file, png, n, e);
    mem_free(png);
    *line = it.line;
    it.line = (buffer){ 0 };
    free_item(&it);
    return ok;
}

/* ---- one document of text ------------------------------------------------------------------------------ */
/* Pieces divided by tabs: a caption, then questions with answers; now and then the full caption in a
 * question's place. */
static bool write_document(const struct work *w, long i, buffer *b, error *e)
{
    const struct recipe *k = &w->recipe;
    const scenes_options *o = k->o;
    const struct world *world = &k->text_world;
    keyed r = data_keyed(o->seed, STREAM_TEXT, i);
    struct question q;
    struct scene s;
    int types[QUESTION_TYPES], n = 0;
    for (int type = 0; type < QUESTION_TYPES; type++)
        if (k->asks[type])
            types[n++] = type;
    if (!data_scene_find(k, world, &r, TRAIN, NULL, &s))
        return error_usage(e, "scenes: text.txt: no scene belongs there; expected a larger world or smaller "
                           "shares");
    if (data_uniform(&r) < o->text_caption)
        data_caption(b, world, &s, (enum wording)data_weighted(&r, k->wordings, WORDINGS),
                     data_uniform(&r) < o->ground_words, &r);
    for (long left = o->text_questions, tries = 20*left; left > 0 && tries > 0; tries--) {
        const char *tab = b->used ? "\t" : "";
        if (data_uniform(&r) < o->text_again) {
            data_print(b, "%s", tab);
            data_caption(b, world, &s, PLACES, data_uniform(&r) < o->ground_words, &r);
        } else if (data_question(&q, world, &s, (enum question_type)types[data_below(&r, n)],
                                 data_below(&r, 2), &r)) {
            data_print(b, "%squestion: %s answer: %s", tab, q.text, q.answer);
        } else {
            continue;
        }
        left--;
    }
    data_print(b, "\n");
    return !b->failed || error_set(e, "text.txt: memory is out");
}

/* ---- blocks -------------------------------------------------------------------------------------------- */
/* Lines from .. from+n-1: of a split's pictures, or of the text (list NULL), made on all threads. */
static bool make_block(const struct work *w, enum split split, const struct scene *list, long from, long n,
                       buffer lines[BLOCK], error *e)
{
    bool ok = true;
    #pragma omp parallel for schedule(dynamic, 8)
    for (long i = 0; i < n; i++) {
        error mine;
        bool good = list ? write_item(w, split, from + i, &list[from + i], &lines[i], &mine)
                         : write_document(w, from + i, &lines[i], &mine);
        if (!good) {
            #pragma omp critical
            {
                *e = mine;
                ok = false;
            }
        }
    }
    return ok;
}

static bool write_lines(const struct work *w, enum split split, const struct scene *list, long n,
                        const char *name, error *e)
{
    char path[sizeof w->folder.temporary + 64];
    snprintf(path, sizeof path, "%s/%s", w->folder.temporary, name);
    file_out *f = file_create(path, e);
    bool ok = f != NULL;
    for (long from = 0; ok && from < n; from += BLOCK) {
        buffer lines[BLOCK] = { 0 };
        long some = n - from < BLOCK ? n - from : BLOCK;
        ok = make_block(w, split, list, from, some, lines, e);
        for (long i = 0; i < some; i++) {
            if (ok)
                file_write(f, lines[i].text, lines[i].used);
            data_buffer_free(&lines[i]);
        }
        if (ok && w->progress && !w->progress(w->context, name, from + some, n))
            ok = error_set(e, "%s: stopped", QUOTE(w->folder.path));
    }
    if (ok)
        return file_finish(f, e);
    if (f)
        file_abandon(f);
    return false;
}

/* ---- the folder ---------------------------------------------------------------------------------------- */
static bool write_sheet(const struct work *w, const struct scene *list, long n, error *e)
{
    struct sheet sheet;
    bool ok = data_sheet_begin(&sheet, n, w->recipe.o->size, e);
    for (long i = 0; ok && i < n; i++) {
        struct item it;
        ok = make_item(w, TRAIN, i, &list[i], "sheet.png", &it, e);
        if (ok)
            data_sheet_add(&sheet, i, &it.picture, it.talk.text);
        free_item(&it);
    }
    long bytes = 0;
    void *png = ok ? picture_encode(&sheet.page, &bytes, e) : NULL;
    ok = png && data_folder_put(&w->folder, "sheet.png", png, bytes, e);
    mem_free(png);
    picture_free(&sheet.page);
    return ok;
}

static bool write_split(struct work *w, enum split split, long n, error *e)
{
    char name[64];
    snprintf(name, sizeof name, "%s.jsonl", data_splits[split]);
    struct scene *list = mem_new((size_t)(n ? n : 1)*sizeof *list);
    if (!list)
        return error_set(e, "%s: memory is out", name);
    long shown = split == TRAIN ? n < w->recipe.o->sheet ? n : w->recipe.o->sheet : 0;
    bool ok = data_folder_sub(&w->folder, data_splits[split], e)
           && data_scene_list(&w->recipe, split, n, list, e)
           && write_lines(w, split, list, n, name, e) && (!shown || write_sheet(w, list, shown, e));
    mem_free(list);
    w->pictures += n;
    w->families += (n + w->recipe.o->family - 1)/w->recipe.o->family;
    return ok;
}

static bool write_description(const struct work *w, error *e)
{
    scenes_options o = *w->recipe.o;
    char *options = config_print(&(config_table){ "", scenes_keys, SCENES_KEYS, &o }, 1, true);
    buffer b = { .failed = !options };
    data_print(&b, "# A synthetic world of coloured shapes, made by `blip2 dataset make scenes`.\n#\n"
        "# train, val, test, test_unseen (.jsonl and folders): a line a picture: image (its PNG), image_id,\n"
        "#   captions (the first is the full one), questions (question, answer, type), objects (colour,\n"
        "#   shape, size, place; centre and radius in pixels), ground, family (near-duplicates share it).\n"
        "# test_unseen alone shows, names or asks for the held-out pairs. No arrangement of test or val is\n"
        "#   in train or in text.txt, unless its share is 0.\n"
        "# text.txt: a document a line for a language model, its pieces divided by tabs: captions,\n"
        "#   questions with answers.\n"
        "# sheet.png: the first training pictures with caption, questions and answers.\n#\n"
        "# The options that made it; `blip2 dataset make scenes DIR --config FILE` takes them:\n");
    data_print(&b, "%s", options ? options : "");
    bool ok = b.failed ? error_set(e, "world.yaml: memory is out")
                       : data_folder_put(&w->folder, "world.yaml", b.text, b.used, e);
    data_buffer_free(&b);
    mem_free(options);
    return ok;
}

bool scenes_make(const scenes_options *o, const char *folder, bool force, scenes_progress progress,
                 void *context, error *e)
{
    struct work w = { .progress = progress, .context = context };
    if (!data_recipe(&w.recipe, o, e) || !data_folder_begin(&w.folder, folder, "world.yaml", force, e))
        return false;
    if (write_split(&w, TRAIN, o->train, e) && write_split(&w, VAL, o->val, e)
        && write_split(&w, TEST, o->test, e) && write_split(&w, UNSEEN, o->test_unseen, e)
        && write_lines(&w, TRAIN, NULL, o->documents, "text.txt", e) && write_description(&w, e))
        return data_folder_finish(&w.folder, e);
    data_folder_abandon(&w.folder);
    return false;
}
