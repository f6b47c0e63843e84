/* features.c - what a frozen vision tower makes of the pictures, computed once and then read
 * (run.feature_cache).
 *
 * The file is HDF5: `features` (rows,N,E) in f16, bf16 or f32, a row for each view of each picture that can
 * be decoded; `seconds` (rows,1) the tower took; `broken` (pictures listed); attribute `settings`, a line for
 * each thing that the numbers follow from. A file that says something else there is made anew, and what
 * differs is told. View v of a picture is what a run without a cache shows of it at visit v of its data set;
 * a run with one shows, at visit v, view v modulo run.cache_views: its first epochs are those of a run
 * without.
 *
 * It is filled as FILE.part, by all ranks; who is stopped or killed leaves rows that the next run goes on
 * from. Rows do not pass through HDF5 (base/rows.h): threads read those of coming batches while a step is at
 * work.                                                                                                    */
#define XXH_STATIC_LINKING_ONLY
#include "train/internal.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static const char FORMAT[] = "blip2-features";
const char *const features_dtypes[] = { "f16", "bf16", "f32" };
enum { SETTINGS_SIZE = 4096 };

void features_free(feature_cache *f)
{
    h5_rows_close(f->rows);
    mem_free(f->broken);
    *f = (feature_cache){ 0 };
}

/* ---- what the numbers follow from ---------------------------------------------------------------------- */
/* Names and sizes of all pictures that the lists name; not their folders, so that a data set can be moved. */
static uint64_t digest_of_list(const feed *f)
{
    XXH3_state_t x;
    XXH3_64bits_reset(&x);
    for (long i = 0; i < f->n; i++) {
        struct stat about;
        uint64_t bytes = stat(f->album.pages[i].path, &about) ? 0 : (uint64_t)about.st_size;
        const char *image = f->records[i]->image;
        XXH3_64bits_update(&x, image, strlen(image) + 1);
        XXH3_64bits_update(&x, &bytes, sizeof bytes);
    }
    return XXH3_64bits_digest(&x);
}

static void digest_numbers(XXH3_state_t *x, const tensor *of)
{
    static const size_t width[] = { [AG_REAL] = sizeof(real), [AG_F16] = 2, [AG_BF16] = 2, [AG_INT8] = 1 };
    const ag_frozen *w = of->frozen;
    ag_dtype type = w ? w->type : AG_REAL;
    XXH3_64bits_update(x, &type, sizeof type);
    XXH3_64bits_update(x, w ? w->data : of->data, (size_t)of->size * width[type]);
    if (w && w->scale)
        XXH3_64bits_update(x, w->scale, (size_t)w->N * sizeof *w->scale);
}

static uint64_t digest_of_tower(const run *r)
{
    const blip2_vit_config *v = &r->c->model.vision;
    const long sizes[] = { (long)v->kind, v->image_size, v->patch, v->width, v->depth, v->heads, v->hidden,
                           sizeof(real) };
    XXH3_state_t x;
    XXH3_64bits_reset(&x);
    XXH3_64bits_update(&x, sizes, sizeof sizes);
    XXH3_64bits_update(&x, &v->eps, sizeof v->eps);
    for (long i = 0; i < r->store->count; i++) {
        const nn_entry *p = &r->store->entries[i];
        if (nn_has_prefix(p->name, "visual_encoder") && !p->alias_of) {
            XXH3_64bits_update(&x, p->name, strlen(p->name) + 1);
            digest_numbers(&x, p->value);
        }
    }
    return XXH3_64bits_digest(&x);
}

/* What is shown of a data set's pictures. */
static int print_view(char *to, size_t room, const feed_set *s, const album_page *page, long views)
{
    const picture_view *v = page->view;
    if (!v)
        return snprintf(to, room, "%ld pictures, whole; ", s->n);
    return snprintf(to, room, "%ld pictures, %ld views, crop %g to %g, flip %g, RandAugment %d x %g; ", s->n,
                    views, v->least, v->most, v->flip, v->operations, v->magnitude);
}

/* A line for each; `random`: is any view drawn? */
static void describe(const run *r, char to[SETTINGS_SIZE])
{
    const feed *f = &r->feed;
    const feature_cache *x = &f->features;
    bool random = false;
    size_t used = (size_t)snprintf(to, SETTINGS_SIZE, "list: %016llx, %ld pictures\ntower: %016llx\n"
                                   "broken: %ld, %016llx\nfeatures: %ld x %ld, %s\nviews: ",
                                   (unsigned long long)x->list, x->listed,
                                   (unsigned long long)digest_of_tower(r), features_broken(x),
                                   (unsigned long long)XXH3_64bits(x->broken, (size_t)x->listed), x->tokens,
                                   x->width, features_dtypes[r->c->cache_dtype]);
    for (long k = 0, first = 0; k < f->set_count; first += f->sets[k++].n)
        if (f->sets[k].n) {
            random |= f->album.pages[first].view != NULL;
            used += (size_t)print_view(to + used, SETTINGS_SIZE - used, &f->sets[k], &f->album.pages[first],
                                       x->views[k]);
        }
    if (random)
        snprintf(to + used, SETTINGS_SIZE - used, "seed %llu\n", (unsigned long long)x->seed);
    else
        snprintf(to + used, SETTINGS_SIZE - used, "no seed\n");
}

/* Is the line of this key the same in both? Else *a and *b (SETTINGS_SIZE) are what they say. */
static bool same_line(const char *x, const char *y, const char *key, char *a, char *b)
{
    const char *const texts[] = { x, y };
    char *const lines[] = { a, b };
    for (int i = 0; i < 2; i++) {
        const char *at = strstr(texts[i], key);
        at = at ? at + strlen(key) : "nothing";
        snprintf(lines[i], 200, "%.*s", (int)strcspn(at, "\n"), at);
    }
    return !strcmp(a, b);
}

/* What differs, for a person; "" : nothing. */
static void differences(const char *expected, const char *found, char to[1024])
{
    static const char *const keys[] = { "list: ", "broken: ", "tower: ", "features: ", "views: " };
    size_t used = 0;
    to[0] = 0;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        char a[200], b[200];
        if (!same_line(expected, found, keys[k], a, b) && used < 1024)
            used += (size_t)snprintf(to + used, 1024 - used, "%s%sexpected %s, found %s", used ? "; " : "",
                                     keys[k], a, QUOTE(b));
    }
    if (!used && strcmp(expected, found))
        snprintf(to, 1024, "its settings are written differently");
}

/* ---- the file ------------------------------------------------------------------------------------------ */
static char *part_of(const run *r, error *e)
{
    char *path = mem_text("%s.part", r->c->feature_cache);
    if (!path)
        error_set(e, "out of memory");
    return path;
}

/* The settings of a file; NULL with e: damaged, or something else; NULL with *none: there is no file. */
static char *read_settings(const char *path, bool *none, h5 **file, error *e)
{
    *none = access(path, F_OK) && errno == ENOENT;
    *file = *none ? NULL : h5_open(path, e);
    if (!*file)
        return NULL;
    char *format = h5_text(*file, "", "format", e);
    char *settings = format && !strcmp(format, FORMAT) ? h5_text(*file, "", "settings", e) : NULL;
    if (!format || strcmp(format, FORMAT))
        error_set(e, "%s: run.feature_cache: expected a file of features, found something else; it is left "
                  "as it is", QUOTE(path));
    else if (settings && !h5_sealed(*file)) {
        error_set(e, "%s: damaged or truncated: no seal stands behind the data", QUOTE(path));
        mem_free(settings);
        settings = NULL;
    }
    mem_free(format);
    if (!settings) {
        h5_close(*file);
        *file = NULL;
    }
    return settings;
}

static bool make_file(const run *r, const char *path, const char *settings, error *e)
{
    const feature_cache *x = &r->feed.features;
    char *folder = mem_text("%s", path), *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash)
        *slash = 0;
    bool ok = folder ? !slash || slash == folder || file_make_folders(folder, e)
                     : error_set(e, "out of memory");
    mem_free(folder);
    h5_out *f = ok ? h5_create(path, e) : NULL;
    if (!f)
        return false;
    h5_write_text(f, "format", FORMAT);
    h5_write_number(f, "format_version", 1);
    h5_write_text(f, "settings", settings);
    h5_write(f, "broken", H5_BYTES, 1, &x->listed, x->broken);
    h5_rows_reserve(f, "seconds", H5_F32, 2, (const long[]){ x->count, 1 });
    h5_rows_reserve(f, "features", x->as, 3, (const long[]){ x->count, x->tokens, x->width });
    return h5_finish(f, e);
}

h5_rows *features_rows(const run *r, const char *path, bool fill, error *e)
{
    const feature_cache *x = &r->feed.features;
    return h5_rows_open(path, "features", x->as, 3, (const long[]){ x->count, x->tokens, x->width }, fill, e);
}

h5_rows *features_seconds(const run *r, const char *path, bool fill, error *e)
{
    return h5_rows_open(path, "seconds", H5_F32, 2, (const long[]){ r->feed.features.count, 1 }, fill, e);
}

/* ---- before there is a model --------------------------------------------------------------------------- */
long features_broken(const feature_cache *f)
{
    long n = 0;
    for (long i = 0; f->broken && i < f->listed; i++)
        n += f->broken[i];
    return f->broken ? n : -1;
}

bool features_look(feed *f, const train_config *c, error *e)
{
    feature_cache *x = &f->features;
    char list[64];
    bool none, ok = true;
    h5 *file;
    x->list = digest_of_list(f);
    x->listed = f->n;
    char *settings = read_settings(c->feature_cache, &none, &file, e);
    if (!settings)
        return none;
    snprintf(list, sizeof list, "list: %016llx, %ld pictures\n", (unsigned long long)x->list, x->listed);
    if (!strncmp(settings, list, strlen(list))) {
        x->broken = mem_new((size_t)x->listed);
        ok = (x->broken || error_set(e, "out of memory"))
             && h5_read(file, "broken", H5_BYTES, 1, &x->listed, x->broken, e);
    }
    mem_free(settings);
    h5_close(file);
    return ok;
}

bool features_note(feed *f, error *e)
{
    feature_cache *x = &f->features;
    if (!x->broken && !(x->broken = mem_new((size_t)x->listed)))
        return error_set(e, "out of memory for a list of %ld pictures", x->listed);
    for (long i = 0; i < x->listed; i++)
        x->broken[i] = f->album.pages[i].bad;
    return true;
}

bool features_check(const run *r, error *e)
{
    const train_config *c = r->c;
    if (!*c->feature_cache)
        return true;
    if (c->task != TRAIN_STAGE1 && c->task != TRAIN_STAGE2)
        return error_usage(e, "run.feature_cache: expected task stage1 or stage2, found %s",
                           train_tasks[c->task]);
    for (long i = 0; i < r->store->count; i++)
        if (nn_has_prefix(r->store->entries[i].name, "visual_encoder") && !r->store->entries[i].frozen)
            return error_usage(e, "run.feature_cache: expected a frozen tower (model.freeze: "
                               "[visual_encoder]), found %s to be trained", QUOTE(r->store->entries[i].name));
    return true;
}

/* ---- finding it, or making it -------------------------------------------------------------------------- */
/* Rank 0: is there a file that fits? Else FILE.part is there, whose settings fit. */
static bool prepare(run *r, const char *part, long *to_fill, error *e)
{
    const char *path = r->c->feature_cache;
    char settings[SETTINGS_SIZE], why[1024];
    bool none;
    h5 *file;
    describe(r, settings);
    char *found = read_settings(path, &none, &file, e);
    if (!found && !none)
        return false;
    differences(settings, found ? found : "", why);
    mem_free(found);
    h5_close(file);
    *to_fill = none || *why;
    if (!*to_fill)
        return true;
    if (!none)
        run_warn(r, "%s: the feature cache does not fit this run and is made anew: %s", QUOTE(path), why);
    error old = { 0 };
    found = read_settings(part, &none, &file, &old);
    bool fits = found && !strcmp(found, settings);
    if (!found && !none && access(part, R_OK)) {           /* hours of work that only cannot be read now */
        *e = old;
        return false;
    }
    if (!none && !fits)
        run_warn(r, "%s: %s; it is begun anew", QUOTE(part), found ? "was begun for another run" : old.text);
    mem_free(found);
    h5_close(file);
    return fits || make_file(r, part, settings, e);
}

static bool make(run *r, const volatile int *stop, bool *stopped, error *e)
{
    char *part = part_of(r, e);
    long to_fill = 0, missing = 0, nothing = 0;
    bool leads = ag_rank(r->ranks) == 0, was;
    bool ok = part && (!leads || prepare(r, part, &to_fill, e)) && ranks_largest(r->ranks, &to_fill, e);
    if (ok && to_fill) {
        ok = features_fill(r, part, stop, &missing, e) && ranks_largest(r->ranks, &missing, e)
             && (missing || !leads || file_rename(part, r->c->feature_cache, &was, e))
             && ranks_largest(r->ranks, &nothing, e);
    }
    mem_free(part);
    *stopped = missing > 0;
    return ok;
}

/* Seconds that reading a picture's features takes, of some of them. */
static double time_reading(const feed *f, error *e)
{
    const feature_cache *x = &f->features;
    long n = x->count < 16 ? x->count : 16;
    uint8_t *bytes = mem_new((size_t)h5_rows_bytes(x->rows));
    double from = clock_seconds();
    bool ok = bytes || error_set(e, "out of memory for features");
    for (long i = 0; ok && i < n; i++)
        ok = h5_rows_get(x->rows, i * (x->count / n), bytes, e);
    double took = clock_seconds() - from;
    mem_free(bytes);
    return ok ? took / (double)n : -1;
}

static bool tell_saving(const run *r, error *e)
{
    const feature_cache *x = &r->feed.features;
    h5_rows *seconds = features_seconds(r, r->c->feature_cache, false, e);
    double sum = 0, read = seconds ? time_reading(&r->feed, e) : -1;
    bool ok = read >= 0;
    for (long i = 0; ok && i < x->count; i++) {
        float took;
        ok = h5_rows_has(x->rows, i) ? h5_rows_get(seconds, i, &took, e)
           : error_set(e, "%s: damaged: the features of view %ld are not there", QUOTE(r->c->feature_cache),
                       i);
        sum += ok ? (double)took : 0;
    }
    h5_rows_close(seconds);
    double each = sum / (double)x->count, epoch = (double)r->sampler.per_epoch;
    if (ok)
        run_say(r, "feature cache %s: an epoch of %.0f pictures reads for %.3g s where the tower took %.3g "
                   "s: saves %.3g s", QUOTE(r->c->feature_cache), epoch, epoch * read, epoch * each,
                epoch * (each - read));
    return ok;
}

/* Where the rows of each data set begin; and their shape. */
static void lay_out(run *r)
{
    const blip2_vit_config *v = &r->c->model.vision;
    feed *f = &r->feed;
    feature_cache *x = &f->features;
    long side = v->image_size / v->patch;
    x->as = (h5_stored)r->c->cache_dtype;
    x->tokens = 1 + side * side;
    x->width = v->width;
    x->seed = (uint64_t)(r->c->cache_seed < 0 ? r->c->seed : r->c->cache_seed);
    for (long k = 0, first = 0; k < f->set_count; first += f->sets[k++].n) {
        bool random = f->sets[k].n && f->album.pages[first].view;
        x->views[k] = random ? r->c->cache_views : 1;
        x->begin[k] = x->count;
        x->count += f->sets[k].n * x->views[k];
    }
}

bool features_open(run *r, const volatile int *stop, error *e)
{
    feed *f = &r->feed;
    bool stopped = false;
    if (!*r->c->feature_cache)
        return true;
    lay_out(r);
    f->seed = f->features.seed;
    if (!make(r, stop, &stopped, e))
        return false;
    album_let_go(&f->album);
    if (stopped)                                           /* the loop sees the same, and takes no step */
        return true;
    return (f->features.rows = features_rows(r, r->c->feature_cache, false, e)) && tell_saving(r, e);
}

/* ---- reading ------------------------------------------------------------------------------------------- */
bool features_show(void *context, drawn d, uint8_t *to, error *e)
{
    const feed *f = context;
    const feature_cache *x = &f->features;
    long k = 0, first = 0;
    while (k + 1 < f->set_count && d.sample >= first + f->sets[k].n)
        first += f->sets[k++].n;
    long view = d.visit % x->views[k];
    return h5_rows_get(x->rows, x->begin[k] + (d.sample - first) * x->views[k] + view, to, e);
}

tensor *features_take(const feed *f, tape *t, long batch, long B)
{
    const feature_cache *x = &f->features;
    error e;
    const uint8_t *rows = f->ahead ? ahead_take(f->ahead, batch, &e) : NULL;
    if (!rows)
        ag_fail("features", "%s", f->ahead ? e.text : "they are not there yet");
    long each = x->tokens * x->width, bytes = h5_rows_bytes(x->rows);
    tensor *y = ag_new(t, DIMS(B, x->tokens, x->width));
    #pragma omp parallel for
    for (long b = 0; b < B; b++)
        widen_reals(x->as, each, rows + b*bytes, y->data + b*each);
    return y;
}
