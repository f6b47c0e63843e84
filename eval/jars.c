/* jars.c - METEOR and SPICE by their authors' own programs, which are neither part of this project nor
 * fetched by it: a user who has the jar names it. Both are spoken to through files, java is found on PATH.
 *
 *   METEOR  java -Xmx2G -jar METEOR.jar CANDIDATES REFERENCES -l en -norm -r R     "Final score:   0.2951"
 *           R references a picture, a line each: all must have as many, or the first min of them are taken
 *   SPICE   java -Xmx8G -jar SPICE.jar INPUT.json -out OUTPUT.json -silent         mean of scores.All.f */
#include "eval/internal.h"
#include "data/json.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs java with its output in a file; its messages go to ours. */
static bool java(char *const arguments[], const char *out, error *e)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0)
            execvp("java", arguments);
        _exit(127);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    return error_set(e, "%s: java %s; is java installed, and is this the right jar?", QUOTE(arguments[3]),
                     child < 0 ? "could not be started" : "ended with an error");
}

static void put_line(file_out *f, const char *text)
{
    for (const char *p = text; *p; p++)
        file_write(f, *p == '\n' || *p == '\r' ? " " : p, 1);
    file_write(f, "\n", 1);
}

/* The captions of result i; *n how many. */
static json_t *references_of(const json_t *results, size_t i, const json_t *annotations)
{
    const json_t *id = json_object_get(json_array_get(results, i), "image_id");
    json_t *to = json_array(), *one;
    size_t k;
    json_array_foreach((json_t *)annotations, k, one)
        if (json_equal(json_object_get(one, "image_id"), id))
            json_array_append(to, json_object_get(one, "caption"));
    return to;
}

static bool write_lines(const char *candidates, const char *references, const json_t *results, json_t **texts,
                        size_t least, error *e)
{
    file_out *f = file_create(candidates, e);
    for (size_t i = 0; f && i < json_array_size(results); i++)
        put_line(f, json_string_value(json_object_get(json_array_get(results, i), "caption")));
    bool ok = f && file_finish(f, e) && (f = file_create(references, e)) != NULL;
    for (size_t i = 0; ok && i < json_array_size(results); i++)
        for (size_t k = 0; k < least; k++)
            put_line(f, json_string_value(json_array_get(texts[i], k)));
    return ok && file_finish(f, e);
}

static bool meteor(const char *jar, const char *folder, const json_t *results, json_t **texts, json_t *m,
                   error *e)
{
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < json_array_size(results); i++)
        least = json_array_size(texts[i]) < least ? json_array_size(texts[i]) : least;
    char *in = mem_text("%s/meteor_candidates.txt", folder),
         *of = mem_text("%s/meteor_references.txt", folder),
         *out = mem_text("%s/meteor.txt", folder), *many = mem_text("%zu", least);
    long bytes;
    bool ok = (in && of && out && many) || error_set(e, "out of memory");
    ok = ok && write_lines(in, of, results, texts, least, e)
         && java((char *[]){ "java", "-Xmx2G", "-jar", (char *)jar, in, of, "-l", "en", "-norm", "-r", many,
                             NULL },
                 out, e);
    char *text = ok ? file_load(out, 1L << 30, &bytes, e) : NULL;
    const char *at = text ? strstr(text, "Final score:") : NULL;
    if (text && !at)
        ok = error_set(e, "%s: expected a line \"Final score: ...\" in %s", QUOTE(jar), QUOTE(out));
    if (at) {
        locale_t before = numbers_begin();
        json_object_set_new(m, "METEOR", json_real(strtod(at + strlen("Final score:"), NULL)));
        numbers_end(before);
    }
    mem_free(text);
    mem_free(in);
    mem_free(of);
    mem_free(out);
    mem_free(many);
    return ok && at;
}

static bool spice(const eval_config *c, const json_t *results, json_t **texts, json_t *m, error *e)
{
    json_t *list = json_array(), *one;
    char *in = mem_text("%s/spice_input.json", c->output_dir),
         *out = mem_text("%s/spice.json", c->output_dir), *said = mem_text("%s/spice.txt", c->output_dir);
    for (size_t i = 0; i < json_array_size(results); i++)
        json_array_append_new(list, json_pack("{s:O, s:O, s:O}",
            "image_id", json_object_get(json_array_get(results, i), "image_id"), "test",
            json_object_get(json_array_get(results, i), "caption"), "refs", texts[i]));
    bool ok = (in && out && said) || error_set(e, "out of memory");
    ok = ok && eval_save(c, "spice_input.json", list, e)
         && java((char *[]){ "java", "-Xmx8G", "-jar", (char *)c->spice_jar, in, "-out", out, "-silent",
                             NULL },
                 said, e);
    json_t *scores = ok ? data_json_file(out, e) : NULL;
    double sum = 0;
    size_t i, n = 0;
    json_array_foreach(scores, i, one) {
        double f = json_number_value(json_object_get(json_object_get(json_object_get(one, "scores"), "All"),
                                                     "f"));
        sum += isfinite(f) ? f : 0;
        n++;
    }
    if (scores && n != json_array_size(results))
        ok = error_set(e, "%s: expected %zu scores in %s, found %zu", QUOTE(c->spice_jar),
                       json_array_size(results), QUOTE(out), n);
    if (scores && ok)
        json_object_set_new(m, "SPICE", json_real(sum / (double)n));
    json_decref(scores);
    json_decref(list);
    mem_free(in);
    mem_free(out);
    mem_free(said);
    return ok && scores;
}

bool eval_jars(const eval_config *c, const json_t *results, const json_t *references, json_t *m, error *e)
{
    size_t n = json_array_size(results);
    if (!*c->meteor_jar && !*c->spice_jar)
        return true;
    json_t **texts = mem_new(n * sizeof *texts);
    bool ok = texts || error_set(e, "out of memory for %zu captions", n);
    for (size_t i = 0; ok && i < n; i++)
        texts[i] = references_of(results, i, json_object_get(references, "annotations"));
    if (ok && *c->meteor_jar)
        ok = meteor(c->meteor_jar, c->output_dir, results, texts, m, e);
    if (ok && *c->spice_jar)
        ok = spice(c, results, texts, m, e);
    for (size_t i = 0; texts && i < n; i++)
        json_decref(texts[i]);
    mem_free(texts);
    return ok;
}
