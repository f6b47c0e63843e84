/* report_again.c - how to have the same again: the commands, the settings, and what run.json and modules.txt
 * say of what made the run: program, machine, the lists with their digests, the source of every weight. */
#include "eval/report.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Is this folder the other, or below it? */
static bool lies_in(const char *folder, const char *other)
{
    size_t n = strlen(other);
    return !strncmp(folder, other, n) && (!folder[n] || folder[n] == '/' || (n && other[n - 1] == '/'));
}

static void put_commands(report *r)
{
    file_print(r->to, "<pre>");
    if (r->config) {
        file_print(r->to, "blip2 train ");
        char *path = mem_text("%s/config.yaml", r->run);
        report_word(r, path ? path : "config.yaml");
        mem_free(path);
        if (report_ranks(r) > 1)
            file_print(r->to, " --ranks %ld", report_ranks(r));
        file_print(r->to, "\n");
    }
    for (int i = 0; i < r->count; i++) {
        char *path = mem_text("%s/evaluate.yaml", r->results[i].folder);
        file_print(r->to, "blip2 evaluate ");
        report_word(r, path ? path : "evaluate.yaml");
        mem_free(path);
        file_print(r->to, "\n");
    }
    file_print(r->to, "blip2 report ");
    report_word(r, r->run);
    for (int i = 0; i < r->count; i++)
        if (!lies_in(r->results[i].folder, r->run)) {
            file_print(r->to, " ");
            report_word(r, r->results[i].folder);
        }
    file_print(r->to, "\n</pre>\n");
}

static void put_setting(report *r, const char *key, const json_t *v)
{
    char *text = json_is_string(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    file_print(r->to, "<tr><td>");
    report_text(r, key);
    file_print(r->to, "</td><td>");
    report_text(r, json_is_string(v) ? json_string_value(v) : text);
    file_print(r->to, "</td></tr>\n");
    free(text);
}

/* What was set where the figures were made. */
static void put_settings(report *r)
{
    static const char *const tasks[] = { "captions", "vqa", "retrieval" };
    for (int i = 0; i < r->count; i++)
        for (int k = 0; k < 3; k++) {
            const json_t *o = json_object_get(json_object_get(r->results[i].metrics, tasks[k]), "settings");
            const char *key;
            json_t *v;
            if (!json_is_object(o))
                continue;
            file_print(r->to, "<details><summary>Settings of %s, ", tasks[k]);
            report_text(r, r->results[i].folder);
            file_print(r->to, "</summary>\n<div class=\"scroll\"><table>\n");
            json_object_foreach((json_t *)o, key, v)
                put_setting(r, key, v);
            file_print(r->to, "</table></div></details>\n");
        }
}

/* ---- what it was made by and of ---------------------------------------------------------------------- */
long report_ranks(const report *r)
{
    long n = (long)json_integer_value(json_object_get(r->about, "ranks"));
    return n < 1 ? 0 : n < 10000 ? n : 10000;
}

/* Is config.yaml still what the run was started with? */
static const char *state_of_config(const report *r)
{
    const char *was = json_string_value(json_object_get(r->about, "config_xxh3"));
    char *is = r->config ? mem_text("%016" PRIx64, (uint64_t)XXH3_64bits(r->config, (size_t)r->config_bytes))
                         : NULL;
    bool same = was && is && !strcmp(was, is);
    mem_free(is);
    return same ? "as the run was started with it" : "changed since the run was started";
}

static void put_maker(report *r)
{
    static const char *const rows[][2] = { { "version", "blip2" }, { "build", "compiler, flags" },
        { "real", "numbers" }, { "blas", "matrix products" }, { "ranks", "ranks" },
        { "threads", "threads of each" }, { "seed", "seed" }, { "first_step", "steps of an earlier start" },
        { "started", "started" }, { "host", "on" }, { "config_xxh3", "XXH3 of config.yaml" } };
    file_print(r->to, "<h3>Made by</h3>\n<div class=\"scroll\"><table>\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const json_t *v = json_object_get(r->about, rows[i][0]);
        bool nothing = !strcmp(rows[i][0], "first_step") && json_integer_value(v) == 0;
        if (v && !nothing)
            put_setting(r, rows[i][1], v);
    }
    if (r->config && json_object_get(r->about, "config_xxh3"))
        file_print(r->to, "<tr><td>config.yaml is</td><td>%s</td></tr>\n", state_of_config(r));
    file_print(r->to, "</table></div>\n");
}

static void put_lists(report *r)
{
    const json_t *lists = json_object_get(r->about, "lists"), *one;
    size_t i;
    if (!json_array_size(lists))
        return;
    file_print(r->to, "<h3>Made of</h3>\n<div class=\"scroll\"><table>\n"
                      "<tr><th>list</th><th>samples</th><th>XXH3</th></tr>\n");
    json_array_foreach(lists, i, one) {
        const char *file = json_string_value(json_object_get(one, "file")),
                   *digest = json_string_value(json_object_get(one, "xxh3"));
        file_print(r->to, "<tr><td>");
        report_text(r, file ? file : "a list");
        file_print(r->to, "</td><td>%" JSON_INTEGER_FORMAT "</td><td>",
                   json_integer_value(json_object_get(one, "samples")));
        report_text(r, digest ? digest : "none");
        file_print(r->to, "</td></tr>\n");
    }
    file_print(r->to, "</table></div>\n");
}

static void put_made(report *r)
{
    if (json_is_object(r->about)) {
        put_maker(r);
        put_lists(r);
    } else if (r->has_log)
        report_left_out(r, "what made the run: %s has no run.json", QUOTE(r->run));
    if (r->modules) {
        file_print(r->to, "<h3>Where every weight came from</h3>\n<pre>");
        report_text(r, r->modules);
        file_print(r->to, "</pre>\n");
    } else if (r->has_log)
        report_left_out(r, "where every weight came from: %s has no modules.txt", QUOTE(r->run));
}

void report_again(report *r)
{
    report_section(r, "again", "The same again", "From the folder in which it was run first:");
    put_commands(r);
    put_made(r);
    put_settings(r);
    if (r->config) {
        report_difference(r);
        file_print(r->to,
                   "<details><summary>config.yaml: every setting of the training run</summary>\n<pre>");
        report_text(r, r->config);
        file_print(r->to, "</pre></details>\n");
    } else
        report_left_out(r, "the configuration: %s has no config.yaml", QUOTE(r->run));
    report_section_end(r);
}
