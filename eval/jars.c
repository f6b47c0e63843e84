/* jars.c - METEOR and SPICE by their authors' own programs, which are neither part of this project nor
 * fetched by it: a user who has the jar names it. Both are spoken to through files, java is found on PATH,
 * and both are given the tokens that the other scores are counted over, as COCO's evaluation does.
 *
 *   METEOR  java -Xmx2G -jar METEOR.jar - - -stdio -l en -norm, twice:
 *           "SCORE ||| REFERENCE ||| REFERENCE ||| CANDIDATE", a line a picture      its counts, a line each
 *           "EVAL ||| COUNTS ||| COUNTS ..."                         each score, then that of all
 *   SPICE   java -Xmx8G -jar SPICE.jar INPUT.json -out OUTPUT.json -silent          mean of scores.All.f */
#include "eval/internal.h"
#include "data/json.h"
#include "eval/metrics.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct caption {
    json_t *id;
    char *text;                        /* tokens, a space between two */
    char **references;
    size_t count;
} caption;

/* ---- are they there? ----------------------------------------------------------------------------------- */
bool eval_jar_there(const char *path, error *e)
{
    if (access(path, R_OK))
        return error_set(e, "%s: cannot be read: %s; expected a jar for java to run", QUOTE(path),
                         strerror(errno));
    return program_on_path("java") || error_set(e, "%s: java, which runs it, is not on PATH", QUOTE(path));
}

/* Runs java with its input and output in files (in NULL: none); its messages go to ours. */
static bool java(char *const arguments[], const char *in, const char *out, error *e)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        int from = open(in ? in : "/dev/null", O_RDONLY | O_CLOEXEC);
        int to = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        bool ok = from >= 0 && to >= 0;
        if (ok && to == STDIN_FILENO)                      /* whoever started us has closed one of them */
            ok = (to = dup(to)) >= 0;
        ok = ok && dup2(from, STDIN_FILENO) >= 0 && dup2(to, STDOUT_FILENO) >= 0;
        if (ok && !fcntl(STDIN_FILENO, F_SETFD, 0) && !fcntl(STDOUT_FILENO, F_SETFD, 0))
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

/* ---- METEOR -------------------------------------------------------------------------------------------- */
static bool meteor_run(const char *jar, const char *in, const char *out, error *e)
{
    char *const arguments[] = { "java", "-Xmx2G", "-jar", (char *)jar, "-", "-", "-stdio", "-l", "en",
                                "-norm", NULL };
    return java(arguments, in, out, e);
}

static void put(file_out *f, const char *text) { file_write(f, text, (long)strlen(text)); }

/* A field of a line: what parts fields, and a comment's start, never stand in it. */
static void put_field(file_out *f, const char *text)
{
    put(f, " ||| ");
    for (const char *p = text; *p; p++)
        if (*p != '|')
            file_write(f, p, 1);
}

static bool meteor_ask(const char *path, const caption *all, size_t n, error *e)
{
    file_out *f = file_create(path, e);
    for (size_t i = 0; f && i < n; i++) {
        put(f, "SCORE");
        for (size_t k = 0; k < all[i].count; k++)
            put_field(f, all[i].references[k]);
        put_field(f, all[i].text);
        put(f, "\n");
    }
    return f && file_finish(f, e);
}

/* "EVAL" and the n lines of counts in one. */
static bool meteor_sum(const char *counts, const char *path, size_t n, error *e)
{
    long bytes;
    char *text = file_load(counts, 1L << 30, &bytes, e), *line = text;
    file_out *f = text ? file_create(path, e) : NULL;
    size_t lines = 0;
    if (f)
        put(f, "EVAL");
    for (; f && *line; lines++) {
        size_t length = strcspn(line, "\n");
        put(f, " ||| ");
        file_write(f, line, (long)length);
        line += length + (line[length] == '\n');
    }
    if (f)
        put(f, "\n");
    mem_free(text);
    if (!f || !file_finish(f, e))
        return false;
    return lines == n || error_set(e, "%s: expected %zu lines of counts, found %zu", QUOTE(counts), n, lines);
}

/* The last of n + 1 numbers, a line each. */
static bool meteor_read(const char *path, size_t n, double *score, error *e)
{
    long bytes;
    char *text = file_load(path, 1L << 30, &bytes, e), *at = text, *end;
    if (!text)
        return false;
    size_t found = 0;
    locale_t before = numbers_begin();
    for (*score = NAN; ; found++, at = end) {
        double x = strtod(at, &end);
        if (end == at)
            break;
        *score = x;
    }
    numbers_end(before);
    mem_free(text);
    return (found == n + 1 && isfinite(*score))
           || error_set(e, "%s: expected %zu scores, found %zu", QUOTE(path), n + 1, found);
}

static bool meteor(const char *jar, const char *folder, const caption *all, size_t n, json_t *m, error *e)
{
    char *asked = mem_text("%s/meteor_captions.txt", folder),
         *counts = mem_text("%s/meteor_counts.txt", folder),
         *sum = mem_text("%s/meteor_sum.txt", folder), *scores = mem_text("%s/meteor.txt", folder);
    double score = 0;
    bool ok = (asked && counts && sum && scores) || error_set(e, "out of memory");
    ok = ok && meteor_ask(asked, all, n, e) && meteor_run(jar, asked, counts, e)
         && meteor_sum(counts, sum, n, e) && meteor_run(jar, sum, scores, e)
         && meteor_read(scores, n, &score, e);
    if (ok)
        json_object_set_new(m, "METEOR", json_real(score));
    mem_free(asked);
    mem_free(counts);
    mem_free(sum);
    mem_free(scores);
    return ok;
}

/* ---- SPICE --------------------------------------------------------------------------------------------- */
static json_t *spice_input(const caption *all, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *references = json_array();
        for (size_t k = 0; k < all[i].count; k++)
            json_array_append_new(references, json_string(all[i].references[k]));
        json_array_append_new(list, json_pack("{s:O, s:s, s:o}", "image_id", all[i].id, "test", all[i].text,
                                              "refs", references));
    }
    return list;
}

static bool spice(const char *jar, const char *folder, const caption *all, size_t many, json_t *m, error *e)
{
    json_t *list = spice_input(all, many), *one;
    char *in = mem_text("%s/spice_input.json", folder), *out = mem_text("%s/spice.json", folder),
         *said = mem_text("%s/spice.txt", folder);
    bool ok = (in && out && said) || error_set(e, "out of memory");
    char *const arguments[] = { "java", "-Xmx8G", "-jar", (char *)jar, in, "-out", out, "-silent",
                                NULL };
    ok = ok && eval_save_in(folder, "spice_input.json", list, e) && java(arguments, NULL, said, e);
    json_t *scores = ok ? data_json_file(out, e) : NULL;
    double sum = 0;
    size_t i, n = 0;
    json_array_foreach(scores, i, one) {
        double f = json_number_value(json_object_get(json_object_get(json_object_get(one, "scores"), "All"),
                                                     "f"));
        sum += isfinite(f) ? f : 0;
        n++;
    }
    if (scores && n != many)
        ok = error_set(e, "%s: expected %zu scores in %s, found %zu", QUOTE(jar),
                       many, QUOTE(out), n);
    if (scores && ok)
        json_object_set_new(m, "SPICE", json_real(sum / (double)n));
    json_decref(scores);
    json_decref(list);
    mem_free(in);
    mem_free(out);
    mem_free(said);
    return ok && scores;
}

/* ---- what they leave ----------------------------------------------------------------------------------- */
const char *const eval_jar_files[2][5] = {
    { "meteor_captions.txt", "meteor_counts.txt", "meteor_sum.txt", "meteor.txt", NULL },
    { "spice_input.json", "spice.json", "spice.txt", NULL } };

void eval_jar_forget(const char *folder, bool of_spice)
{
    for (const char *const *name = eval_jar_files[of_spice]; *name; name++) {
        char *path = mem_text("%s/%s", folder, *name);
        if (path)
            unlink(path);
        mem_free(path);
    }
}

/* ---- either -------------------------------------------------------------------------------------------- */
static void captions_free(caption *all, size_t n)
{
    for (size_t i = 0; all && i < n; i++) {
        for (size_t k = 0; k < all[i].count; k++)
            mem_free(all[i].references[k]);
        mem_free(all[i].references);
        mem_free(all[i].text);
    }
    mem_free(all);
}

/* Which annotations are about a picture: {its id as text: [places]}. */
static const char *id_text(const json_t *id, char to[32])
{
    snprintf(to, 32, "%" JSON_INTEGER_FORMAT, json_integer_value(id));
    return json_is_string(id) ? json_string_value(id) : to;
}

static json_t *by_picture(const json_t *annotations)
{
    json_t *index = json_object(), *one;
    char number[32];
    size_t k;
    json_array_foreach((json_t *)annotations, k, one) {
        const char *id = id_text(json_object_get(one, "image_id"), number);
        if (!json_object_get(index, id))
            json_object_set_new(index, id, json_array());
        json_array_append_new(json_object_get(index, id), json_integer((json_int_t)k));
    }
    return index;
}

/* The tokens of result `of` and of its references. */
static bool caption_read(caption *to, const ptb *p, const json_t *of, const json_t *annotations,
                         const json_t *index)
{
    char number[32];
    to->id = json_object_get(of, "image_id");
    const json_t *own = json_object_get(index, id_text(to->id, number));
    to->text = score_tokens(p, json_string_value(json_object_get(of, "caption")));
    to->references = mem_new((json_array_size(own) + 1) * sizeof *to->references);
    bool ok = to->text && to->references;
    for (size_t k = 0; ok && k < json_array_size(own); k++) {
        size_t at = (size_t)json_integer_value(json_array_get(own, k));
        const char *said = json_string_value(json_object_get(json_array_get(annotations, at), "caption"));
        ok = (to->references[k] = score_tokens(p, said)) != NULL;
        to->count += ok;
    }
    return ok;
}

bool eval_jar_score(const eval_jar *jar, const json_t *results, const json_t *annotations, json_t *m,
                    error *e)
{
    size_t n = json_array_size(results);
    caption *all = mem_new(n * sizeof *all);
    ptb *p = all && !jar->whitespace ? ptb_new(e) : NULL;
    json_t *index = by_picture(annotations);
    bool ok = all && (p || jar->whitespace);
    for (size_t i = 0; ok && i < n; i++)
        ok = caption_read(&all[i], p, json_array_get(results, i), annotations, index);
    if (!ok)
        error_set(e, "out of memory for %zu captions", n);
    ok = ok && (jar->spice ? spice : meteor)(jar->path, jar->folder, all, n, m, e);
    if (!ok)                                               /* half of its files tell nobody anything */
        eval_jar_forget(jar->folder, jar->spice);
    captions_free(all, n);
    json_decref(index);
    ptb_free(p);
    return ok;
}
