/* dataset_inspect.c - `blip2 dataset inspect`: what lists of pictures hold, before they train a model. */
#define _GNU_SOURCE
#include "cli/commands.h"
#include "cli/dataset.h"
#include "data/data.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH = 4096, BAR = 40 };
static const char *const splits[IMPORT_SPLITS] = { "train", "val", "test" };

/* ---- as text ------------------------------------------------------------------------------------------- */
static void print_lengths(const char *what, const inspect_lengths *l)
{
    long highest = 1;
    if (!l->n)
        return;
    printf("  %s a caption: %ld to %ld, %.1f on average\n", what, l->least, l->most,
           (double)l->sum/(double)l->n);
    for (int i = 0; i < INSPECT_BINS; i++)
        highest = l->bins[i] > highest ? l->bins[i] : highest;
    for (long i = l->least/l->bin; i <= l->most/l->bin; i++) {
        char range[48];
        snprintf(range, sizeof range, l->bin > 1 ? "%ld-%ld" : "%ld", i*l->bin, (i + 1)*l->bin - 1);
        printf("    %9s %8ld ", range, l->bins[i]);
        for (long k = 0; k < (l->bins[i]*BAR + highest - 1)/highest; k++)
            putchar('#');
        putchar('\n');
    }
}

static void print_text(const char *name, const inspection *i)
{
    printf("%s\n  %ld pictures in %ld records, %ld captions, %ld questions\n", name, i->pictures, i->records,
           i->captions, i->questions);
    if (i->width[2])
        printf("  width %ld to %ld (median %ld), height %ld to %ld (median %ld)\n", i->width[0], i->width[2],
               i->width[1], i->height[0], i->height[2], i->height[1]);
    printf("  missing %ld, broken %ld, records that repeat an image_id %ld, captions without a word %ld\n",
           i->missing, i->broken, i->repeated_ids, i->empty);
    if (i->unanswered)
        printf("  questions without an answer %ld\n", i->unanswered);
    for (int k = 0; k < i->wrong_count; k++)
        printf("    %s\n", i->wrong[k]);
    if (i->missing + i->broken > i->wrong_count)
        printf("    and %ld more\n", i->missing + i->broken - i->wrong_count);
    for (int k = 0; k < i->again_count; k++)
        printf("%s%s%s", k ? ", " : "    the first of these ids: ", QUOTE(i->again[k]),
               k + 1 < i->again_count ? "" : "\n");
    print_lengths("words", &i->words);
    print_lengths("tokens", &i->tokens);
    if (i->types)
        printf("  %-20s %9s %9s  most frequent\n", "questions by type", "questions", "answers");
    for (int k = 0; k < i->types; k++) {
        const inspect_type *t = &i->type[k];
        printf("    %-18s %9ld %9ld", *t->type ? QUOTE(t->type) : "(none)", t->questions, t->answers);
        if (t->answers)
            printf("  \"%s\" %.1f %%", QUOTE(t->common),
                   100.0*(double)t->common_count/(double)t->questions);
        putchar('\n');
    }
}

/* ---- as JSON ------------------------------------------------------------------------------------------- */
static void json_lengths(const char *what, const inspect_lengths *l)
{
    printf(",\"%s\":{\"n\":%ld,\"least\":%ld,\"most\":%ld,\"mean\":%.9g,\"bin\":%ld,\"bins\":[", what, l->n,
           l->least, l->most, l->n ? (double)l->sum/(double)l->n : 0, l->bin);
    for (int i = 0; i < INSPECT_BINS; i++)
        printf(i ? ",%ld" : "%ld", l->bins[i]);
    printf("]}");
}

static void print_json(const char *name, const inspection *i)
{
    printf("{\"list\":");
    cli_json_text(name);
    printf(",\"records\":%ld,\"pictures\":%ld,\"captions\":%ld,\"questions\":%ld", i->records, i->pictures,
           i->captions, i->questions);
    printf(",\"missing\":%ld,\"broken\":%ld,\"repeated_ids\":%ld,\"empty_captions\":%ld,\"wrong\":[",
           i->missing, i->broken, i->repeated_ids, i->empty);
    for (int k = 0; k < i->wrong_count; k++) {
        fputs(k ? "," : "", stdout);
        cli_json_text(i->wrong[k]);
    }
    printf("],\"repeated\":[");
    for (int k = 0; k < i->again_count; k++) {
        fputs(k ? "," : "", stdout);
        cli_json_text(i->again[k]);
    }
    printf("],\"unanswered\":%ld", i->unanswered);
    printf(",\"width\":[%ld,%ld,%ld],\"height\":[%ld,%ld,%ld]", i->width[0], i->width[1], i->width[2],
           i->height[0], i->height[1], i->height[2]);
    json_lengths("words", &i->words);
    if (i->tokens.n)
        json_lengths("tokens", &i->tokens);
    printf(",\"types\":[");
    for (int k = 0; k < i->types; k++) {
        const inspect_type *t = &i->type[k];
        printf(k ? ",{\"type\":" : "{\"type\":");
        cli_json_text(t->type);
        printf(",\"questions\":%ld,\"answers\":%ld,\"common\":", t->questions, t->answers);
        cli_json_text(t->common);
        printf(",\"common_count\":%ld}", t->common_count);
    }
    puts("]}");
}

/* ---- lists --------------------------------------------------------------------------------------------- */
static int is_list(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot && entry->d_name[0] != '.' && !strcmp(dot, ".jsonl");
}

/* A sheet must not take the place of a picture that it shows. */
static bool write_sheet(const char *root, const record_list *l, const char *path, error *e)
{
    picture page;
    struct stat about;
    for (long i = 0; !stat(path, &about) && i < l->count; i++) {
        char *full = mem_text("%s/%s", root, l->items[i].image);
        bool same = full && file_same(full, path);
        mem_free(full);
        if (same)
            return error_usage(e, "dataset: --sheet: %s is one of the pictures; expected another name",
                               QUOTE(path));
    }
    if (!records_sheet(root, l, &page, e))
        return false;
    bool ok = picture_write(&page, path, e);
    picture_free(&page);
    return ok;
}

/* wrong: set where a picture is missing or broken. */
static bool inspect_records(const char *name, const char *root, const record_list *l, const dataset_look *how,
                            bool *wrong, error *e)
{
    inspection *found = mem_new(sizeof *found);
    if (!found)
        return error_set(e, "dataset: memory is out");
    bool ok = records_inspect(root, l, how->words, found, e)
              && (!how->sheet || write_sheet(root, l, how->sheet, e));
    found->missing += how->missing;
    if (ok && how->json)
        print_json(name, found);
    else if (ok)
        print_text(name, found);
    if (ok)
        *wrong |= found->missing + found->broken > 0;
    inspection_free(found);
    mem_free(found);
    return ok;
}

/* ---- what is no list yet: as import reads it, into a folder that goes afterwards ----------------------- */
static bool go_on(void *context, const char *what, long done, long total)
{
    (void)context, (void)what, (void)done, (void)total;
    return !dataset_stopped;
}

/* The lists of an imported folder, of which split s has r->pictures[s]. */
static bool read_imported(const char *folder, const import_result *r, record_list l[IMPORT_SPLITS], error *e)
{
    bool ok = true;
    for (int s = 0; ok && s < IMPORT_SPLITS; s++) {
        char list[PATH + 32];
        snprintf(list, sizeof list, "%s/%s.jsonl", folder, splits[s]);
        ok = !r->pictures[s] || records_read(list, &l[s], e);
    }
    return ok;
}

static bool inspect_imported(const char *path, const import_result *r, const record_list *l,
                             const dataset_look *how, bool *wrong, error *e)
{
    dataset_look each = *how;
    int lists = 0;
    bool ok = true;
    for (int s = 0; s < IMPORT_SPLITS; s++)
        lists += l[s].count > 0;
    each.missing = r->missing;
    for (int s = 0; ok && s < IMPORT_SPLITS; s++) {
        char name[PATH + 32];
        snprintf(name, sizeof name, lists > 1 ? "%.4000s (%s)" : "%.4000s", path, splits[s]);
        if (!l[s].count)
            continue;
        ok = (!dataset_stopped || error_set(e, "dataset: stopped"))
             && inspect_records(name, r->images, &l[s], &each, wrong, e);
        each.missing = 0;                          /* counted once, and the sheet is of the first list */
        each.sheet = NULL;
    }
    if (ok && r->alone && !how->json)
        printf("  texts without a picture of their name %ld, the first %s\n", r->alone, r->first_alone);
    if (ok && r->without_text && !how->json)
        printf("  left out: pictures without a text %ld\n", r->without_text);
    return ok;
}

/* nothing: set where it fails because no picture of it has a text; may be NULL. */
static bool inspect_source(const char *path, const dataset_look *how, bool *wrong, bool *nothing, error *e)
{
    const import_options o = { .command = "dataset inspect", .images = how->images, .share = { 1, 0, 0 },
                               .skip_missing = true };
    const char *where = getenv("TMPDIR");
    char work[PATH], folder[PATH + 16];
    import_result *r = mem_new(sizeof *r);
    record_list l[IMPORT_SPLITS] = { { 0 } };
    snprintf(work, sizeof work, "%.3000s/blip2-inspect-XXXXXX", where && *where ? where : "/tmp");
    if (!r || !mkdtemp(work)) {
        mem_free(r);
        return error_set(e, "%s: cannot be created; %s", QUOTE(work), strerror(errno));
    }
    snprintf(folder, sizeof folder, "%s/lists", work);
    dataset_watch_signals();
    bool ok = import_sources(&path, 1, folder, &o, r, go_on, NULL, e) && read_imported(folder, r, l, e)
              && inspect_imported(path, r, l, how, wrong, e);
    for (int s = 0; s < IMPORT_SPLITS; s++)
        record_list_free(&l[s]);
    folder_remove(work);
    if (nothing)
        *nothing = r->nothing;
    mem_free(r);
    return ok;
}

/* ---- the command --------------------------------------------------------------------------------------- */
/* A list, or what import would make of the file. What is wrong is told of the list if it is called as one. */
static bool inspect_file(const char *path, const dataset_look *how, bool *wrong, error *e)
{
    static const char *const others[] = { ".csv", ".tsv", ".tar", ".tgz", ".zip", ".gz", ".xz", ".bz2",
                                          ".zst", ".parquet" };
    const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');
    char root[PATH];
    record_list l;
    error own;
    for (size_t i = 0; dot && i < sizeof others/sizeof *others; i++)
        if (!strcasecmp(dot, others[i]))
            return inspect_source(path, how, wrong, NULL, e);
    if (!records_read(path, &l, &own)) {
        bool ok = inspect_source(path, how, wrong, NULL, e);
        if (!ok && (!dot || strcmp(dot, ".json") || access(path, F_OK)))
            *e = own;
        return ok;
    }
    snprintf(root, sizeof root, "%.*s", slash > path ? (int)(slash - path) : 1, slash ? path : ".");
    bool ok = inspect_records(path, how->images ? how->images : root, &l, how, wrong, e);
    record_list_free(&l);
    return ok;
}

static bool is_empty(const char *path)
{
    struct stat about;
    return !stat(path, &about) && S_ISREG(about.st_mode) && !about.st_size;
}

static bool inspect_lists(const char *path, struct dirent *const *entries, int n, const dataset_look *how,
                          bool *wrong, error *e)
{
    bool ok = true;
    int shown = 0;
    for (int i = 0; i < n; i++)
        shown = strcmp(entries[i]->d_name, "train.jsonl") ? shown : i;     /* an import always leaves it */
    for (int i = 0; ok && i < n; i++) {
        char inner[PATH];
        record_list l;
        dataset_look each = *how;
        each.sheet = i == shown ? how->sheet : NULL;           /* of train, else of the first list */
        snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name);
        if (is_empty(inner) && n > 1)              /* a split that has nothing */
            continue;
        ok = records_read(inner, &l, e);
        ok = ok && inspect_records(inner, how->images ? how->images : path, &l, &each, wrong, e);
        record_list_free(&l);
    }
    return ok;
}

static bool has_folders(const char *path)
{
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *f; !found && d && (f = readdir(d)); ) {
        struct stat about;
        found = f->d_name[0] != '.' && !fstatat(dirfd(d), f->d_name, &about, 0) && S_ISDIR(about.st_mode);
    }
    if (d)
        closedir(d);
    return found;
}

/* Its own pictures, those without a text, too. */
static bool inspect_pictures(const char *path, const dataset_look *how, bool *wrong, error *e)
{
    record_list l;
    bool ok = records_of_folder(path, &l, e) && inspect_records(path, path, &l, how, wrong, e);
    record_list_free(&l);
    return ok;
}

/* Folders in it are looked into as import does. Where they hold nothing, pictures on top may have no text. */
static bool inspect_folder(const char *path, const dataset_look *how, bool *wrong, error *e)
{
    struct dirent **entries;
    bool nothing;
    error own;
    int n = scandir(path, &entries, is_list, alphasort);
    bool ok = n > 0 && inspect_lists(path, entries, n, how, wrong, e);
    for (int i = 0; i < n; i++)
        free(entries[i]);
    if (n >= 0)
        free(entries);
    if (n > 0)
        return ok;
    if (!has_folders(path))
        return inspect_pictures(path, how, wrong, e);
    return inspect_source(path, how, wrong, &nothing, e)
           || (nothing && inspect_pictures(path, how, wrong, &own));
}

int dataset_inspect(const char *path, const dataset_look *how)
{
    struct stat about;
    error e;
    bool wrong = false, folder = !stat(path, &about) && S_ISDIR(about.st_mode);
    if (how->sheet && file_same(how->sheet, path)) {
        error_usage(&e, "dataset: --sheet: %s is what is inspected; expected another name",
                    QUOTE(how->sheet));
        return cli_fail(&e);
    }
    if (!(folder ? inspect_folder : inspect_file)(path, how, &wrong, &e)) {
        int code = cli_fail(&e);
        return dataset_stopped ? 128 + dataset_stopped : code;
    }
    if (how->sheet && !how->json)
        printf("%s: a sheet of pictures with their texts\n", how->sheet);
    fflush(stdout);
    if (!wrong)
        return 0;
    error_set(&e, "%s: some pictures cannot be used; the report names them", QUOTE(path));
    return cli_fail(&e);
}
