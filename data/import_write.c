/* import_write.c - what an import has found, as lists: {train,val,test}.jsonl with a record a picture
 * (data.h), text.txt with a line a picture of training for language models, and import.json, which says
 * where their paths start. A picture without a split gets one by u = XXH3(id)/2^64, so that it stays where
 * it is when the data set grows. */
#define _GNU_SOURCE
#include "data/import.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { PICTURE_BYTES = 1 << 29 };
static const char *const names[IMPORT_SPLITS] = { "train", "val", "test" };

/* ---- splits -------------------------------------------------------------------------------------------- */
static int draw_split(const import_options *o, const char *key)
{
    double u = (double)(XXH3_64bits_withSeed(key, strlen(key), (uint64_t)o->seed) >> 11)*0x1p-53;
    double sum = o->share[0] + o->share[1] + o->share[2];
    if (u*sum < o->share[2])
        return 2;
    return u*sum < o->share[2] + o->share[1] ? 1 : 0;
}

/* ---- where pictures are -------------------------------------------------------------------------------- */
/* How many letters stand before the part of paths that goes into lists, and the folder that they name:
 * "/data/coco". It is --images where all pictures that stay lie below it, so that a configuration can say it
 * beforehand; else the outermost that they share. */
static long common_folder(const import *m, bool copy, char to[PATH_MAX])
{
    const char *first = NULL;
    char given[PATH_MAX] = "";
    long n = 0;
    for (long i = 0; i < m->count; i++) {
        const char *path = m->items[i].path;
        long k = 0;
        if (m->items[i].held)
            continue;
        if (!first)
            n = (long)(strrchr(first = path, '/') - path) + 1;
        while (k < n && path[k] && path[k] == first[k])
            k++;
        while (k > 0 && path[k - 1] != '/')
            k--;
        n = k;
    }
    long whole = !copy && first && m->o->images && realpath(m->o->images, given) ? (long)strlen(given) : 0;
    if (whole > 1 && whole < n && !strncmp(first, given, (size_t)whole) && first[whole] == '/')
        n = whole + 1;
    snprintf(to, PATH_MAX, "%.*s", (int)(n > 1 ? n - 1 : n), first ? first : "");
    return n;
}

static bool make_parents(const struct folder *f, const char *name, error *e)
{
    char path[2*PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%.*s", f->temporary, (int)(strrchr(name, '/') - name), name);
    return access(path, F_OK) == 0 || file_make_folders(path, e);
}

/* A PNG file of *n bytes, laid on white where that makes a difference; NULL: it makes none, or the file is
 * broken, which is told when it is decoded for use. What alpha hides is often black or left over from the
 * cutting out. The picture is not turned: training reads it as it is stored. */
static char *on_white(const char *bytes, long *n, const char *name)
{
    picture stored, white;
    int orientation;
    char *to = NULL;
    error e;
    if (*n < 8 || memcmp(bytes, "\x89PNG", 4)
        || !picture_decode_as(&stored, PICTURE_LAVIS, bytes, *n, name, &e))
        return NULL;
    if (data_png_decode(&white, bytes, *n, true, &orientation, name, &e)) {
        size_t size = 3 * (size_t)(stored.width * stored.height);
        bool same = !memcmp(stored.rgb, white.rgb, size);
        to = same ? NULL : picture_encode(&white, n, &e);
        picture_free(&white);
    }
    picture_free(&stored);
    return to;
}

static bool copy_picture(const struct folder *f, const char *from, const char *name, bool white, error *e)
{
    long n;
    char *bytes = file_load(from, PICTURE_BYTES, &n, e),
         *laid = white && bytes ? on_white(bytes, &n, from) : NULL;
    bool ok = bytes && make_parents(f, name, e) && data_folder_put(f, name, laid ? laid : bytes, n, e);
    mem_free(laid);
    mem_free(bytes);
    return ok;
}

/* ---- a record ------------------------------------------------------------------------------------------ */
static void put_text(buffer *b, const char *text)
{
    data_append(b, "\"", 1);
    for (const char *s = text; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            data_append(b, (char[]){ '\\', *s }, 2);
        else if (c < 0x20 || c == 0x7f)
            data_print(b, "\\u%04x", c);
        else
            data_append(b, s, 1);
    }
    data_append(b, "\"", 1);
}

static void put_given(buffer *b, const char *key, const char *text)
{
    if (!text)
        return;
    data_print(b, ",\"%s\":", key);
    put_text(b, text);
}

static void put_question(buffer *b, const import_asked *q)
{
    data_print(b, "{\"question\":");
    put_text(b, q->question);
    data_print(b, ",\"answer\":");
    put_text(b, q->answer);
    put_given(b, "type", q->type);
    put_given(b, "question_type", q->question_type);
    put_given(b, "question_id", q->id);
    for (long i = 0; i < q->answer_count; i++) {
        data_print(b, i ? "," : ",\"answers\":[");
        put_text(b, q->answers[i]);
    }
    data_print(b, q->answer_count ? "]}" : "}");
}

enum id_form { NO_IDS, NUMBERS, TEXTS };

static void put_record(buffer *b, const import_item *i, const char *image, enum id_form form)
{
    data_print(b, "{\"image\":");
    put_text(b, image);
    if (form == NUMBERS) {
        data_print(b, ",\"image_id\":%s", i->id);
    } else if (form == TEXTS) {
        data_print(b, ",\"image_id\":");
        put_text(b, i->id ? i->id : image);         /* a key may stand in two sources */
    }
    data_print(b, ",\"captions\":[");
    for (const import_text *t = i->captions; t; t = t->next) {
        data_print(b, t == i->captions ? "" : ",");
        put_text(b, t->text);
    }
    data_print(b, "]");
    for (const import_asked *q = i->questions; q; q = q->next) {
        data_print(b, q == i->questions ? ",\"questions\":[" : ",");
        put_question(b, q);
    }
    data_print(b, i->questions ? "]}\n" : "}\n");
}

/* A whole number as JSON writes it: no zeros in front, and it fits. */
static bool is_number(const char *id)
{
    size_t n = strspn(id, "0123456789");
    return n && !id[n] && n <= 18 && (id[0] != '0' || n == 1);
}

/* Numbers stay numbers where all are; a list has ids in all records or in none. */
static enum id_form form_of_ids(const import *m)
{
    long ids = 0, numbers = 0;
    for (long i = 0; i < m->count; i++) {
        ids += m->items[i].id != NULL;
        numbers += m->items[i].id && is_number(m->items[i].id);
    }
    return !ids ? NO_IDS : numbers == m->count ? NUMBERS : TEXTS;
}

/* ---- all of them --------------------------------------------------------------------------------------- */
struct writer { import *m; const struct folder *f; bool copy; long common; enum id_form ids;
                buffer list[IMPORT_SPLITS], text; };

static void put_clean(buffer *b, const char *before, char *text)
{
    b->failed |= !text;
    for (char *p = text; p && *p; p++)
        *p = *p == '\t' || *p == '\n' || *p == '\r' ? ' ' : *p;
    data_print(b, "%s%s", before, text ? text : "");
    mem_free(text);
}

/* A document for a language model: the captions and questions of a picture, cleaned as training cleans them,
 * parted by tabs. */
static void put_document(buffer *b, const import_item *i)
{
    const char *tab = "";
    for (const import_text *t = i->captions; t; t = t->next, tab = "\t")
        put_clean(b, tab, clean_caption(t->text));
    for (const import_asked *q = i->questions; q; q = q->next, tab = "\t") {
        data_print(b, "%s", tab);
        put_clean(b, "question: ", clean_question(q->question));
        put_clean(b, " answer: ", mem_text("%s", q->answer));
    }
    data_print(b, "\n");
}

static void remove_held(const struct folder *f, const char *name)
{
    char path[2*PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", f->temporary, name);
    unlink(path);
}

/* Names that JSON cannot hold: links may lead to them, and folders above the pictures may have them. */
static bool check_name(const char *name, error *e)
{
    return import_utf8(name) || error_set(e, "import: %s: name: not UTF-8", QUOTE(name));
}

static bool put_item(struct writer *w, const import_item *i, error *e)
{
    import_result *r = w->m->result;
    char name[PATH_MAX + 16];
    bool bare = !i->caption_count && !i->question_count;
    if (bare && !i->bare) {
        r->without_text++;
        if (i->held)
            remove_held(w->f, i->held);
        return true;
    }
    int split = i->split == IMPORT_DRAWN ? draw_split(w->m->o, i->key) : i->split;
    snprintf(name, sizeof name, "%s%s", w->copy && !i->held ? "images/" : "",
             i->held ? i->held : i->path + w->common);
    if (!check_name(name, e))
        return false;
    if (w->copy && !i->held && !copy_picture(w->f, i->path, name, w->m->o->white, e))
        return false;
    put_record(&w->list[split], i, name, w->ids);
    if (split == 0)
        put_document(&w->text, i);
    r->pictures[split]++;
    r->bare += bare;
    r->captions[split] += i->caption_count;
    r->questions[split] += i->question_count;
    return (!w->list[split].failed && !w->text.failed) || data_no_memory(e, "import");
}

static bool put_about(const struct writer *w, error *e)
{
    const import_result *r = w->m->result;
    buffer b = { 0 };
    data_print(&b, "{\"format\": \"blip2 import\", \"images\": ");
    put_text(&b, w->copy ? "." : r->images);
    data_print(&b, ",\n \"pictures\": [%ld, %ld, %ld], \"captions\": [%ld, %ld, %ld], ", r->pictures[0],
               r->pictures[1], r->pictures[2], r->captions[0], r->captions[1], r->captions[2]);
    data_print(&b, "\"questions\": [%ld, %ld, %ld], \"missing\": %ld, \"without_text\": %ld}\n",
               r->questions[0], r->questions[1], r->questions[2], r->missing, r->without_text);
    bool ok = (!b.failed || data_no_memory(e, "import"))
              && data_folder_put(w->f, "import.json", b.text, b.used, e);
    data_buffer_free(&b);
    return ok;
}

/* Pictures that stay where they are must not lie in the older folder that --force replaces. */
static bool stays_outside(const import *m, const struct folder *f, error *e)
{
    char old[PATH_MAX];
    size_t n = realpath(f->path, old) ? strlen(old) : 0;
    for (long i = 0; n && i < m->count; i++)
        if (!m->items[i].held && !strncmp(m->items[i].path, old, n) && m->items[i].path[n] == '/')
            return error_usage(e, "import: %s would be replaced, and pictures that stay where they are "
                               "lie in it (%s); expected --copy, or another folder", QUOTE(f->path),
                               QUOTE(m->items[i].path));
    return true;
}

bool import_write(import *m, const struct folder *f, import_progress progress, void *context, error *e)
{
    struct writer w = { .m = m, .f = f, .copy = m->o->copy, .ids = form_of_ids(m) };
    bool ok = true;
    for (long i = 0; i < m->count; i++)
        w.copy |= m->items[i].held != NULL;
    ok = w.copy || stays_outside(m, f, e);
    w.common = common_folder(m, w.copy, m->result->images);
    if (w.copy)
        snprintf(m->result->images, sizeof m->result->images, "%s", f->path);
    else
        ok = ok && check_name(m->result->images, e);
    for (long i = 0; i < m->count && ok; i++) {
        ok = put_item(&w, &m->items[i], e);
        if (ok && progress && (i + 1 == m->count || i%256 == 255)
            && !progress(context, "pictures", i + 1, m->count))
            ok = error_set(e, "import: stopped; nothing is written");
    }
    for (int s = 0; s < IMPORT_SPLITS; s++) {
        char name[16];
        snprintf(name, sizeof name, "%s.jsonl", names[s]);
        ok = ok && data_folder_put(f, name, w.list[s].text, w.list[s].used, e);    /* an empty one, too */
        data_buffer_free(&w.list[s]);
    }
    ok = ok && (!w.text.used || data_folder_put(f, "text.txt", w.text.text, w.text.used, e));
    data_buffer_free(&w.text);
    return ok && put_about(&w, e);
}
