/* clipart.c - the Open Clip Art Library as Debian packs it: a drawing a file, its title, keywords and
 * description in the RDF block of the SVG, the picture ready-made as PNG under the same path.
 *
 * Captions: the title; the keywords that the title has not; the description if it is a sentence. A title that
 * is that of a collection ("Lemon SVG theme", "gramastar", "Clipart by ...", any that many files share) says
 * nothing of the picture, and the picture is left out.                                                     */
#define _GNU_SOURCE
#include "data/internal.h"
#include "data/packages.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SVG_BYTES = 1 << 26, PNG_BYTES = 1 << 26, SIDE = 256, LEVELS = 16, SHARED = 8, PATH = 4096, TEXT = 512,
       KEYWORDS = 6 };
typedef struct drawing { char *path, *title, *keywords, *description; } drawing;
typedef struct collection { drawing *items; long count, room; } collection;

/* ---- text ---------------------------------------------------------------------------------------------- */
typedef struct span { const char *at, *end; } span;

/* What stands in the first <name ...> ... </name> of s; at NULL: there is none. rest: behind it. */
static span element(span s, const char *name, span *rest)
{
    char open[64], close[64];
    snprintf(open, sizeof open, "<%s", name);
    snprintf(close, sizeof close, "</%s>", name);
    size_t n = strlen(open);
    for (const char *at = s.at; at && (at = memmem(at, (size_t)(s.end - at), open, n)); at += n) {
        if (at + n >= s.end || (at[n] != '>' && !isspace((unsigned char)at[n])))
            continue;
        const char *from = memchr(at, '>', (size_t)(s.end - at));
        if (from && from[-1] == '/')
            continue;
        const char *end = from ? memmem(from, (size_t)(s.end - from), close, strlen(close)) : NULL;
        if (!end)
            break;
        if (rest)
            *rest = (span){ end + strlen(close), s.end };
        return (span){ from + 1, end };
    }
    return (span){ NULL, NULL };
}

/* Takes s, with XML's entities spelt out and _ and white space made one space, to at most TEXT bytes. */
static void clean(span s, char to[TEXT])
{
    static const char *const names[] = { "&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#39;" };
    long used = 0;
    for (const char *p = s.at; p && p < s.end && used < TEXT - 2; p++) {
        char c = *p;
        for (size_t k = 0; c == '&' && k < 6; k++)
            if ((size_t)(s.end - p) >= strlen(names[k]) && !memcmp(p, names[k], strlen(names[k]))) {
                c = "&<>\"''"[k];
                p += strlen(names[k]) - 1;
                break;
            }
        bool gap = isspace((unsigned char)c) || c == '_';
        if (gap && (!used || to[used - 1] == ' '))
            continue;
        to[used++] = gap ? ' ' : c;
    }
    used -= used && to[used - 1] == ' ';
    used = unicode_valid(to, used);
    to[used] = 0;
}

static bool is_collection(const char *title)
{
    static const char *const words[] = { "theme", "collection", "gramastar", "iconset", "clipart", "icons",
                                         "icon set", "symbol signs", "various", "submission", "sibmission" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(title, words[i]))
            return true;
    return false;
}

/* Not "HASH(0x85caca8)", which a broken program of theirs wrote, nor the name of their inbox. */
static bool is_word(const char *text)
{
    return *text && strncasecmp(text, "hash", 4) && strcasecmp(text, "unsorted");
}

/* A few keywords, parted by commas, that the title does not have. */
static void join_keywords(span rdf, const char *title, char to[TEXT])
{
    size_t used = 0;
    int count = 0;
    span bag = element(rdf, "dc:subject", NULL), word;
    to[0] = 0;
    while (bag.at && count < KEYWORDS && (word = element(bag, "rdf:li", &bag)).at) {
        char text[TEXT];
        clean(word, text);
        if (!is_word(text) || strcasestr(title, text) || strcasestr(to, text)
            || used + strlen(text) + 3 > TEXT)
            continue;
        used += (size_t)snprintf(to + used, TEXT - used, "%s%s", used ? ", " : "", text);
        count++;
    }
}

static bool is_sentence(const char *text)
{
    int words = 1;
    for (const char *p = text; *p; p++)
        words += *p == ' ';
    return words >= 4 && words <= 40 && !strchr(text, '@') && !strstr(text, "http") && is_word(text);
}

/* ---- the drawings -------------------------------------------------------------------------------------- */
/* The title of the work, not of a person who made it. */
static void read_rdf(const char *svg, long n, char title[TEXT], char keywords[TEXT], char description[TEXT])
{
    static const char *const people[] = { "dc:creator", "dc:publisher", "dc:rights", "dc:contributor" };
    span rdf = element((span){ svg, svg + n }, "metadata", NULL), name = element(rdf, "dc:title", NULL);
    for (int i = 0; name.at && i < 4; i++) {
        span rest, of = element(rdf, people[i], &rest);
        while (of.at && name.at && name.at >= of.at && name.at < of.end)
            name = element(rest, "dc:title", NULL);
    }
    clean(name, title);
    join_keywords(rdf, title, keywords);
    clean(element(rdf, "dc:description", NULL), description);
}

static bool add_drawing(collection *all, const char *root, const char *path, error *e)
{
    char title[TEXT], keywords[TEXT], description[TEXT];
    long n;
    void *items = all->items;
    char *full = mem_text("%s/%s", root, path), *svg = full ? file_load(full, SVG_BYTES, &n, e) : NULL;
    bool ok = svg || (!full && error_set(e, "out of memory"));
    if (ok && !data_room(&items, &all->room, all->count + 1, sizeof *all->items))
        ok = error_set(e, "out of memory for a list of drawings");
    all->items = items;
    if (ok) {
        read_rdf(svg, n, title, keywords, description);
        all->items[all->count] = (drawing){ mem_text("%.*s", (int)strlen(path) - 4, path),
                                            mem_text("%s", title), mem_text("%s", keywords),
                                            mem_text("%s", description) };
        drawing *d = &all->items[all->count++];
        ok = (d->path && d->title && d->keywords && d->description) || error_set(e, "out of memory");
    }
    mem_free(svg);
    mem_free(full);
    return ok;
}

static bool walk(collection *all, const char *root, const char *inner, int level, error *e)
{
    struct dirent **entries;
    char *folder = mem_text("%s/%s", root, inner);
    int n = folder ? scandir(folder, &entries, NULL, alphasort) : -1;
    bool ok = n >= 0 || error_set(e, "%s: folder: cannot be read; %s", folder ? QUOTE(folder) : "",
                                  strerror(errno));
    for (int i = 0; i < n; i++) {
        struct stat about;
        char full[PATH], *path = full + strlen(root) + 1;
        const char *name = entries[i]->d_name;
        size_t k = strlen(name);
        bool named = snprintf(full, PATH, "%s/%s%s%s", root, inner, *inner ? "/" : "", name) < PATH;
        bool seen = ok && named && *name != '.' && !lstat(full, &about);
        if (seen && S_ISDIR(about.st_mode) && level < LEVELS)
            ok = walk(all, root, path, level + 1, e);
        else if (seen && S_ISREG(about.st_mode) && k > 4 && !strcmp(name + k - 4, ".svg"))
            ok = add_drawing(all, root, path, e);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    mem_free(folder);
    return ok;
}

static int by_title(const void *a, const void *b)
{
    return strcmp((*(const drawing *const *)a)->title, (*(const drawing *const *)b)->title);
}

/* Titles of collections, and those that more than SHARED drawings have, become empty. */
static bool drop_shared(collection *all, error *e)
{
    drawing **order = mem_new((size_t)(all->count + 1) * sizeof *order);
    if (!order)
        return error_set(e, "out of memory for %ld drawings", all->count);
    for (long i = 0; i < all->count; i++)
        order[i] = &all->items[i];
    qsort(order, (size_t)all->count, sizeof *order, by_title);
    for (long i = 0, end; i < all->count; i = end) {
        for (end = i + 1; end < all->count && !by_title(&order[i], &order[end]); end++)
            continue;
        bool drop = end - i > SHARED || is_collection(order[i]->title);
        for (long k = i; drop && k < end; k++)
            order[k]->title[0] = 0;
    }
    mem_free(order);
    return true;
}

static bool write_drawing(const unpacking *p, const drawing *d, const char *pngs, error *e)
{
    const char *captions[3] = { d->title };
    int count = 1;
    long n;
    error why;
    char *from = mem_text("%s/%s.png", pngs, d->path), *name = mem_text("%s.png", d->path);
    char *png = from ? file_load(from, PNG_BYTES, &n, &why) : NULL;
    for (char *c = name; c && *c; c++)
        *c = *c == '/' ? '-' : *c;
    if (*d->keywords)
        captions[count++] = d->keywords;
    if (is_sentence(d->description) && strcasecmp(d->description, d->title))
        captions[count++] = d->description;
    bool broken = from && name && !png;
    bool drawn = png && name && unpack_on_white(p, name, from, png, n, SIDE, &broken, &why);
    bool ok = drawn ? unpack_line(p, name, captions, count, e) : broken;
    p->u->without_picture += broken;
    if (!drawn && !broken)
        from && name ? (void)(*e = why) : (void)error_set(e, "out of memory for a drawing");
    mem_free(png);
    mem_free(from);
    mem_free(name);
    return ok;
}

bool clipart_unpack(const char *svgs, const char *pngs, const char *folder, unpacked *u, error *e)
{
    unpacking p;
    collection all = { 0 };
    bool ok = unpack_begin(&p, folder, u, e) && walk(&all, svgs, "", 0, e) && drop_shared(&all, e);
    for (long i = 0; ok && i < all.count; i++)
        if (*all.items[i].title)
            ok = write_drawing(&p, &all.items[i], pngs, e);
        else
            u->without_text++;
    for (long i = 0; i < all.count; i++) {
        mem_free(all.items[i].path);
        mem_free(all.items[i].title);
        mem_free(all.items[i].keywords);
        mem_free(all.items[i].description);
    }
    mem_free(all.items);
    return unpack_end(&p, ok, e);
}
