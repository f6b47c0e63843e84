/* about.c - run.json: what a run was made by and of, beside config.yaml, which says how: program, machine,
 * and digests (XXH3, 64 bits) of the configuration and of each list, so that two runs can be told apart or
 * known to be of the same data. And the digest of the samples themselves, which checkpoints have. */
#define XXH_STATIC_LINKING_ONLY
#include "train/internal.h"
#include "data/json.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

/* ---- the samples --------------------------------------------------------------------------------------- */
static void digest_text(XXH3_state_t *x, const char *text)
{
    XXH3_64bits_update(x, text, strlen(text) + 1);
}

/* All that a run learns from or orders by; what was left out of the lists is not in it. */
static void digest_record(XXH3_state_t *x, const record *r)
{
    const int64_t numbers[] = { r->image_id, r->family, r->caption_count, r->question_count };
    XXH3_64bits_update(x, numbers, sizeof numbers);
    digest_text(x, r->image);
    for (long k = 0; k < r->caption_count; k++)
        digest_text(x, r->texts[k]);
    for (long k = 0; k < r->question_count; k++) {
        digest_text(x, r->questions[k].asked);
        digest_text(x, r->questions[k].answer);
    }
}

uint64_t feed_digest(const feed *f)
{
    XXH3_state_t x;
    XXH3_64bits_reset(&x);
    for (long i = 0; f->records && i < f->n; i++)
        digest_record(&x, f->records[i]);
    for (long i = 0; !f->records && i < f->texts.count; i++) {     /* documents: tokens alone are held */
        int64_t key = sequences_key(&f->texts, i);
        XXH3_64bits_update(&x, &key, sizeof key);
    }
    return XXH3_64bits_digest(&x);
}

/* ---- run.json ------------------------------------------------------------------------------------------ */
/* Of a whole file, as 16 letters; null where it is not a plain file (FILE.h5:val is a part of one). NULL:
 * failed. */
static json_t *digest_of(const char *path, error *e)
{
    long n;
    if (access(path, F_OK))
        return json_null();
    char *bytes = file_load(path, 1L << 36, &n, e);
    json_t *to = bytes ? json_sprintf("%016" PRIx64, (uint64_t)XXH3_64bits(bytes, (size_t)n)) : NULL;
    mem_free(bytes);
    return to;
}

static json_t *lists_of(const run *r, error *e)
{
    const train_data *sets;
    int count = train_sets(r->c, &sets);
    json_t *to = json_array();
    for (int k = 0; k < count && k < r->feed.set_count; k++) {
        char *path = mem_text("%s/%s", sets[k].root, r->c->task == TRAIN_LM ? sets[k].text_list
                                                                            : sets[k].train_list);
        json_t *digest = path ? digest_of(path, e) : NULL;
        json_t *name = digest ? json_string(path) : NULL;  /* null, if it is no UTF-8 */
        json_t *one = digest ? json_pack("{s:o, s:I, s:O}", "file", name ? name : json_null(), "samples",
                                         (json_int_t)r->feed.sets[k].n, "xxh3", digest) : NULL;
        bool ok = one && !json_array_append_new(to, one);
        if (!path || (digest && !ok))
            error_set(e, "run.json: out of memory for a list");
        json_decref(digest);
        mem_free(path);
        if (!ok) {
            json_decref(to);
            return NULL;
        }
    }
    return to;
}

static void put_clock(json_t *to)
{
    time_t now = time(NULL);
    struct tm utc;
    char text[32], host[256] = "";
    gethostname(host, sizeof host - 1);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    json_object_set_new(to, "started", json_string(text));
    json_object_set_new(to, "host", json_string(host));
}

bool save_about(const run *r, error *e)
{
    char *config = mem_text("%s/config.yaml", r->c->output_dir);
    char *path = mem_text("%s/run.json", r->c->output_dir);
    error_set(e, "%s/run.json: out of memory", QUOTE(r->c->output_dir));
    json_t *digest = config && path ? digest_of(config, e) : NULL, *lists = digest ? lists_of(r, e) : NULL;
    json_t *o = lists ? json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:o, s:o}",
        "program", "blip2", "version", program_version(), "build", __VERSION__ ", " BUILD_FLAGS, "real",
        REAL == 64 ? "double" : "float", "blas", ag_blas(), "threads", ag_threads_now(), "ranks",
        ag_world(r->ranks), "first_step", (json_int_t)r->stepper.step, "seed", (json_int_t)r->c->seed,
        "config_xxh3", digest, "lists", lists) : NULL;
    if (!lists)
        json_decref(digest);
    if (o)
        put_clock(o);
    char *text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
    file_out *f = text ? file_create(path, e) : NULL;
    bool ok = f != NULL;
    if (f) {
        file_print(f, "%s\n", text);
        ok = file_finish(f, e);
    }
    free(text);
    json_decref(o);
    mem_free(config);
    mem_free(path);
    return ok;
}
