/* report.c - everything about a run as one HTML file that needs nothing else: no script, no other file.
 * What the folder holds is shown, what is missing is named. */
#include "eval/report.h"
#include "data/json.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool there(const char *folder, const char *name)
{
    char *path = mem_text("%s/%s", folder, name);
    bool is = path && !access(path, R_OK);
    mem_free(path);
    return is;
}

/* NULL: not there, or not readable, which is told. */
static json_t *part(report *r, const char *folder, const char *name)
{
    char *path = there(folder, name) ? mem_text("%s/%s", folder, name) : NULL;
    error e;
    json_t *o = path ? data_json_file(path, &e) : NULL;
    if (path && !o)
        report_left_out(r, "%s", e.text);
    mem_free(path);
    return o;
}

/* Figures that are older than the model they name are those of another one: told, and shown. */
static void compare_ages(report *r, const char *folder, const json_t *metrics)
{
    const char *model = json_string_value(json_object_get(metrics, "model"));
    char *path = mem_text("%s/metrics.json", folder);
    struct stat figures, weights;
    if (model && path && !stat(path, &figures) && !stat(model, &weights)
        && (figures.st_mtim.tv_sec < weights.st_mtim.tv_sec
            || (figures.st_mtim.tv_sec == weights.st_mtim.tv_sec
                && figures.st_mtim.tv_nsec < weights.st_mtim.tv_nsec)))
        report_left_out(r, "figures of the model as it is: those in %s are older than %s; run blip2 evaluate "
                        "again", QUOTE(folder), QUOTE(model));
    mem_free(path);
}

static void add_results(report *r, const char *folder)
{
    if (!there(folder, "metrics.json"))
        return;
    if (r->count == REPORT_MOST) {
        report_left_out(r, "%s: more than %d folders of results", QUOTE(folder), REPORT_MOST);
        return;
    }
    json_t *metrics = part(r, folder, "metrics.json");
    report_results *f = &r->results[r->count];
    *f = (report_results){ .folder = mem_text("%s", folder), .metrics = metrics };
    if (!json_is_object(metrics) || !f->folder) {
        json_decref(metrics);
        mem_free(f->folder);
        return;
    }
    r->count++;
    compare_ages(r, folder, metrics);
    f->captions = json_object_get(metrics, "captions") ? part(r, folder, "captions.json") : NULL;
    f->vqa = json_object_get(metrics, "vqa") ? part(r, folder, "vqa.json") : NULL;
    f->retrieval = json_object_get(metrics, "retrieval") ? part(r, folder, "retrieval.json") : NULL;
}

/* A text of the run's folder, mem_free it; NULL: not there, or not readable, which is told. */
static char *text_part(report *r, const char *name, const char *what, long *bytes)
{
    error e;
    char *path = there(r->run, name) ? mem_text("%s/%s", r->run, name) : NULL;
    char *text = path ? file_load(path, 1 << 20, bytes, &e) : NULL;
    if (path && !text)
        report_left_out(r, "%s: %s", what, e.text);
    mem_free(path);
    return text;
}

static int no_dots(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static void gather(report *r, const char *const *more, int n)
{
    struct dirent **list;
    int many = scandir(r->run, &list, no_dots, alphasort);
    r->config = text_part(r, "config.yaml", "the configuration", &r->config_bytes);
    r->modules = text_part(r, "modules.txt", "where every weight came from", &(long){ 0 });
    r->about = part(r, r->run, "run.json");
    r->has_log = there(r->run, "log.jsonl");
    r->has_model = there(r->run, "model.h5");
    add_results(r, r->run);
    for (int i = 0; i < many; i++) {
        char *folder = mem_text("%s/%s", r->run, list[i]->d_name);
        if (folder)
            add_results(r, folder);
        mem_free(folder);
        free(list[i]);
    }
    if (many >= 0)
        free(list);
    for (int i = 0; i < n; i++)
        add_results(r, more[i]);
}

/* ---- the page ---------------------------------------------------------------------------------------- */
static void put_head(report *r)
{
    const char *name = r->run;
    file_print(r->to, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
               "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    report_text(r, name);
    file_print(r->to, " - blip2 report</title>\n");
    report_style(r);
    file_print(r->to, "</head>\n<body>\n<main>\n<header>\n<h1>");
    report_text(r, name);
    file_print(r->to, "</h1>\n<p class=\"lead\">");
    for (int i = 0; i < r->count; i++) {
        const char *model = json_string_value(json_object_get(r->results[i].metrics, "model"));
        const char *list = json_string_value(json_object_get(r->results[i].metrics, "list"));
        report_text(r, model ? model : "a model");
        file_print(r->to, " on ");
        report_text(r, list ? list : "a list");
        file_print(r->to, i + 1 < r->count ? "; " : "");
    }
    file_print(r->to, r->count ? "</p>\n</header>\n" : "A run of blip2 train.</p>\n</header>\n");
}

static void put_tail(report *r)
{
    report_again(r);
    if (r->notes) {
        report_section(r, "left-out", "Not in this report", NULL);
        file_print(r->to, "<ul class=\"what\">\n");
        for (int i = 0; i < r->notes; i++) {
            file_print(r->to, "<li>");
            report_text(r, r->note[i]);
            file_print(r->to, "</li>\n");
        }
        file_print(r->to, "</ul>\n");
        report_section_end(r);
    }
    file_print(r->to, "</main>\n</body>\n</html>\n");
}

static bool put_page(report *r, error *e)
{
    put_head(r);
    report_headline(r);
    bool ok = report_curves(r, e);
    report_answers(r);
    report_samples(r);
    report_retrieval(r);
    report_attention(r);
    put_tail(r);
    return ok;
}

static void close_report(report *r)
{
    for (int i = 0; i < r->count; i++) {
        report_results *f = &r->results[i];
        json_decref(f->metrics);
        json_decref(f->captions);
        json_decref(f->vqa);
        json_decref(f->retrieval);
        mem_free(f->folder);
    }
    for (int i = 0; i < r->notes; i++)
        mem_free(r->note[i]);
    mem_free(r->config);
    mem_free(r->modules);
    json_decref(r->about);
    mem_free(r);
}

bool eval_report(const char *run, const char *const *more, int n, const char *out,
                 const eval_report_base *base, eval_report_listener tell, void *context, error *e)
{
    report *r = mem_new(sizeof *r);
    if (!r)
        return error_set(e, "out of memory");
    *r = (report){ .run = run, .tell = tell, .context = context, .base = base ? base->name : NULL,
                   .base_text = base ? base->config : NULL };
    gather(r, more, n);
    bool ok = r->has_log || r->count
        || error_set(e,
                     "%s: no run in it; expected a log.jsonl, which train writes, or a metrics.json, which "
                     "evaluate writes", QUOTE(run));
    r->to = ok ? file_create(out, e) : NULL;
    if (r->to) {
        locale_t before = numbers_begin();
        ok = put_page(r, e);
        numbers_end(before);
        if (ok)
            ok = file_finish(r->to, e);
        else
            file_abandon(r->to);
    }
    ok = ok && r->to;
    close_report(r);
    return ok;
}
