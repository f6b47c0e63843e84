/* report_html.c - pieces of the report's HTML: text and pictures from files, none of which can leave its
 * place. */
#include "eval/report.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void report_text(report *r, const char *text)
{
    static const struct { char is; const char *as; } escapes[] = { { '&', "&amp;" }, { '<', "&lt;" },
        { '>', "&gt;" }, { '"', "&quot;" }, { '\'', "&#39;" }, { '\n', "\n" }, { '\t', "\t" } };
    const char *from = text ? text : "";
    while (*from) {
        const char *p = from, *as = NULL;
        int bytes = 0;
        for (; *p && !as; p += as ? 0 : bytes) {
            bytes = text_printable(p);
            if (!bytes)
                as = "\xEF\xBF\xBD";
            for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++)
                if (*p == escapes[i].is)
                    as = escapes[i].as;
        }
        if (p > from)
            file_write(r->to, from, p - from);
        if (as)
            file_write(r->to, as, (long)strlen(as));
        from = p + (as != NULL);
    }
}

void report_left_out(report *r, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (r->tell)
        r->tell(r->context, line);
    if (r->notes < REPORT_NOTES && (r->note[r->notes] = mem_text("%s", line)))
        r->notes++;
}

void report_section(report *r, const char *id, const char *title, const char *what)
{
    file_print(r->to, "<section id=\"%s\">\n<h2>%s</h2>\n", id, title);
    if (what)
        file_print(r->to, "<p class=\"what\">%s</p>\n", what);
}

void report_section_end(report *r)
{
    file_print(r->to, "</section>\n");
}

static void put_base64(report *r, const uint8_t *x, long n)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char line[4096];
    long used = 0;
    for (long i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)x[i] << 16 | (i + 1 < n ? (uint32_t)x[i + 1] << 8 : 0) | (i + 2 < n ? x[i + 2]
                                                                                                   : 0);
        for (int k = 0; k < 4; k++)
            line[used++] = i + k > n ? '=' : digit[v >> (18 - 6*k) & 63];
        if (used == sizeof line) {
            file_write(r->to, line, used);
            used = 0;
        }
    }
    file_write(r->to, line, used);
}

static void put_png(report *r, const picture *p, const char *alt)
{
    error e;
    long bytes;
    uint8_t *png = picture_encode(p, &bytes, &e);
    if (!png) {
        file_print(r->to, "<span class=\"none\">no picture</span>");
        return;
    }
    file_print(r->to, "<img class=\"%s\" width=\"%ld\" height=\"%ld\" alt=\"",
               p->width < 100 ? "pixels" : "photo", p->width, p->height);
    report_text(r, alt);
    file_print(r->to, "\" src=\"data:image/png;base64,");
    put_base64(r, png, bytes);
    file_print(r->to, "\">");
    mem_free(png);
}

void report_picture(report *r, const picture *p, const char *alt, long side)
{
    long most = p->width > p->height ? p->width : p->height;
    picture small = { 0 };
    error e;
    if (most <= side) {
        put_png(r, p, alt);
        return;
    }
    long width = p->width * side / most, height = p->height * side / most;
    if (picture_resize(&small, p, width > 0 ? width : 1, height > 0 ? height : 1, &e))
        put_png(r, &small, alt);
    else
        file_print(r->to, "<span class=\"none\">no picture</span>");
    picture_free(&small);
}

void report_picture_file(report *r, const char *root, const char *path, long side)
{
    char *name = mem_text("%s/%s", root, path);
    picture p = { 0 };
    error e;
    if (name && picture_read(&p, name, &e))
        report_picture(r, &p, path, side);
    else
        file_print(r->to, "<span class=\"none\">picture not found</span>");
    picture_free(&p);
    mem_free(name);
}

void report_word(report *r, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:+,@%";
    if (*word && strspn(word, plain) == strlen(word)) {
        report_text(r, word);
        return;
    }
    report_text(r, "'");
    for (const char *p = word; *p;) {
        size_t n = strcspn(p, "'");
        char *part = mem_text("%.*s%s", (int)n, p, p[n] ? "'\\''" : "");
        report_text(r, part);
        mem_free(part);
        p += n + (p[n] != 0);
    }
    report_text(r, "'");
}
