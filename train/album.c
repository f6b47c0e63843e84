/* album.c - the pictures of a run. When it opens each is decoded once: what is broken is found before the
 * first step, and what fits into datasets.memory_mb stays decoded. The others are read again whenever they
 * are drawn. What is held changes no number, only the time.                                                */
#include "train/internal.h"
#include <stdio.h>
#include <string.h>

void album_free(album *a)
{
    for (long i = 0; a->pages && i < a->n; i++) {
        picture_free(&a->pages[i].held);
        mem_free(a->pages[i].path);
    }
    mem_free(a->pages);
    *a = (album){ 0 };
}

bool album_new(album *a, long room, long size, error *e)
{
    *a = (album){ .size = size, .pages = mem_new((size_t)room * sizeof *a->pages) };
    return a->pages || error_set(e, "out of memory for a list of %ld pictures", room);
}

bool album_add(album *a, const char *root, const char *image, const picture_view *view, error *e)
{
    album_page *page = &a->pages[a->n];
    *page = (album_page){ .path = mem_text("%s/%s", root, image), .view = view };
    a->n++;
    return page->path || error_set(e, "%s: out of memory", QUOTE(image));
}

/* The picture as it is held: resized, where every view of it is the same. */
static bool decode(const album *a, const album_page *page, picture *to, error *e)
{
    picture p;
    if (page->view)
        return picture_read(to, page->path, e);
    bool ok = picture_read(&p, page->path, e) && picture_resize(to, &p, a->size, a->size, e);
    picture_free(&p);
    return ok;
}

/* Looks again at those that are bad, in the order of the list: how many, and the reasons. */
static long tell_bad(album *a, error *e)
{
    long bad = 0;
    e->lines = 0;
    for (long i = 0; i < a->n; i++) {
        error mine;
        album_page *page = &a->pages[i];
        page->bad = page->bad && !decode(a, page, &page->held, &mine);
        if (page->bad && bad++ < ERROR_LINES)
            error_line(e, "%s", mine.text);
    }
    return bad;
}

long album_open(album *a, long memory, error *e)
{
    long left = memory, bad = 0;
    #pragma omp parallel for schedule(dynamic, 16) reduction(+:bad)
    for (long i = 0; i < a->n; i++) {
        album_page *page = &a->pages[i];
        error mine;
        page->bad = !decode(a, page, &page->held, &mine);
        bad += page->bad;
        long bytes = 3 * page->held.width * page->held.height, rest;
        #pragma omp atomic capture
        rest = left -= bytes;
        if (rest < 0) {                                    /* no room: it is read again when it is drawn */
            #pragma omp atomic
            left += bytes;
            picture_free(&page->held);
        }
    }
    return bad ? tell_bad(a, e) : 0;
}

long album_open_known(album *a, const uint8_t *broken, error *e)
{
    for (long i = 0; i < a->n; i++)
        a->pages[i].bad = broken[i];
    return tell_bad(a, e);
}

void album_let_go(album *a)
{
    for (long i = 0; i < a->n; i++)
        picture_free(&a->pages[i].held);
}

void album_drop_bad(album *a)
{
    long kept = 0;
    for (long i = 0; i < a->n; i++)
        if (a->pages[i].bad)
            mem_free(a->pages[i].path);
        else
            a->pages[kept++] = a->pages[i];
    a->n = kept;
}

bool album_ready(const album *a)
{
    for (long i = 0; i < a->n; i++)
        if (a->pages[i].view || !a->pages[i].held.rgb)
            return false;
    return true;
}

bool album_show(const album *a, drawn d, uint64_t seed, uint8_t *to, error *e)
{
    const album_page *page = &a->pages[d.sample];
    picture p = { 0 }, view = { 0 };
    const picture *from = &page->held;
    bool ok = from->rgb || decode(a, page, &p, e);
    if (ok && !from->rgb)
        from = &p;
    uint64_t key = ag_mix(ag_mix(seed, 0x76696577 + (uint64_t)d.visit), (uint64_t)d.sample);
    if (ok && page->view && (ok = picture_look(&view, from, a->size, page->view, key, e)))
        from = &view;
    if (ok)
        memcpy(to, from->rgb, (size_t)(3 * a->size * a->size));
    picture_free(&p);
    picture_free(&view);
    return ok;
}
