/* gcompris.c - pictures of GCompris with English words: lang.rcc has a picture a word, named by it; the
 * explore activities have a photograph an entry of their QML boards, with "title", "image2" and a paragraph
 * "text". Captions: the word; the title and the first sentence of the paragraph. Words are drawings that are
 * seen through and become PNG files on white; photographs stay as they are.                                */
#define _GNU_SOURCE
#include "data/internal.h"
#include "data/packages.h"
#include <ctype.h>
#include <string.h>
#include <unistd.h>

enum { TEXT = 2048, ENTRIES = 512, SIDE = 512, PATH = 4096 };
typedef struct entry { char image[256], title[256], text[TEXT]; } entry;   /* image: as the QML names it */
typedef struct reading {
    unpacking p;
    entry *entries; int count;
    bool words;                                    /* lang.rcc: the name is the caption */
} reading;

static bool ends_in(const char *name, const char *ending)
{
    size_t n = strlen(name), k = strlen(ending);
    return n >= k && !strcmp(name + n - k, ending);
}

/* The text of the next "..." in from[0..end); what is behind it, NULL: there is none. */
static const char *quoted(const char *from, const char *end, char *to, size_t room)
{
    const char *p = memchr(from, '"', (size_t)(end - from));
    size_t used = 0;
    if (!p)
        return NULL;
    for (p++; p < end && *p != '"'; p++) {
        p += *p == '\\' && p + 1 < end;
        if (used + 1 < room)
            to[used++] = *p;
    }
    to[used] = 0;
    return p < end ? p + 1 : NULL;
}

/* The value of "key" in an entry [from, end); "" if it is not there. */
static void value(const char *from, const char *end, const char *key, char *to, size_t room)
{
    const char *at = memmem(from, (size_t)(end - from), key, strlen(key));
    to[0] = 0;
    if (at)
        quoted(at + strlen(key), end, to, room);
}

/* An entry ends where the next brace closes. */
static void read_board(reading *r, const char *text, const char *end)
{
    for (const char *at = text, *brace; (at = memmem(at, (size_t)(end - at), "\"title\":", 8)); at = brace) {
        brace = memchr(at, '}', (size_t)(end - at));
        brace = brace ? brace : end;
        if (r->count == ENTRIES)
            return;
        entry *x = &r->entries[r->count];
        value(at, brace, "\"title\":", x->title, sizeof x->title);
        value(at, brace, "\"text\":", x->text, sizeof x->text);
        value(at, brace, "\"image2\":", x->image, sizeof x->image);
        r->count += *x->title && !strncmp(x->image, "qrc:", 4);
    }
}

static bool look_for_boards(void *context, const char *name, const uint8_t *bytes, long n, error *e)
{
    (void)e;
    if (strstr(name, "/board/") && ends_in(name, ".qml"))
        read_board(context, (const char *)bytes, (const char *)bytes + n);
    return true;
}

/* Up to its first full stop that a space follows. */
static void first_sentence(char *text)
{
    for (char *p = text; *p; p++)
        if ((*p == '.' || *p == '!') && (p[1] == ' ' || !p[1]) && p - text > 20) {
            p[1] = 0;
            return;
        }
}

static bool take_picture(void *context, const char *name, const uint8_t *bytes, long n, error *e)
{
    reading *r = context;
    char file[288], word[256];
    const char *captions[2] = { word, NULL };
    int count = r->words;
    if (!ends_in(name, ".webp") || (r->words && !strstr(name, "/words_sample/")))
        return true;
    snprintf(word, sizeof word, "%.*s", (int)(strlen(strrchr(name, '/')) - 6), strrchr(name, '/') + 1);
    const char *kind = r->words ? "word" : strstr(name, "monuments") ? "monument" : "animal";
    snprintf(file, sizeof file, "%s-%s.%s", kind, word, r->words ? "png" : "webp");
    for (char *c = word; *c; c++)
        *c = *c == '-' || *c == '_' ? ' ' : *c;
    for (int i = 0; !r->words && i < r->count; i++) {
        entry *x = &r->entries[i];
        if (strcmp(x->image + 4, name))
            continue;
        first_sentence(x->text);
        captions[0] = x->title;
        captions[1] = x->text;
        count = *x->text ? 2 : 1;
    }
    if (!count) {
        r->p.u->without_text++;
        return true;
    }
    bool broken, ok = r->words ? unpack_on_white(&r->p, file, name, bytes, n, SIDE, &broken, e)
                       : unpack_file(&r->p, file, bytes, n, e);
    return ok && unpack_line(&r->p, file, captions, count, e);
}

bool gcompris_unpack(const char *rccs, const char *folder, unpacked *u, error *e)
{
    static const char *const files[] = { "lang", "explore_world_animals", "explore_farm_animals",
                                         "explore_monuments" };
    reading r = { 0 };
    bool ok = unpack_begin(&r.p, folder, u, e);
    r.entries = mem_new(ENTRIES * sizeof *r.entries);
    ok = ok && (r.entries || error_set(e, "out of memory"));
    for (size_t i = 0; ok && i < sizeof files / sizeof *files; i++) {
        char path[PATH];
        snprintf(path, sizeof path, "%s/%s.rcc", rccs, files[i]);
        r.words = i == 0;
        r.count = 0;
        ok = rcc_each(path, look_for_boards, &r, e) && rcc_each(path, take_picture, &r, e);
    }
    mem_free(r.entries);
    return unpack_end(&r.p, ok, e);
}
