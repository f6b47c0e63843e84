/* dataset_inspect.c - `blip2 dataset inspect`: what lists of pictures hold, before they train a model. */
#include "cli/commands.h"
#include "cli/dataset.h"
#include "data/data.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH = 4096, BAR = 40 };

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
    for (int k = 0; k < i->wrong_count; k++)
        printf("    %s\n", i->wrong[k]);
    if (i->missing + i->broken > i->wrong_count)
        printf("    and %ld more\n", i->missing + i->broken - i->wrong_count);
    print_lengths("words", &i->words);
    print_lengths("tokens", &i->tokens);
    if (i->types)
        printf("  %-20s %9s %9s  most frequent\n", "questions by type", "questions", "answers");
    for (int k = 0; k < i->types; k++) {
        const inspect_type *t = &i->type[k];
        printf("    %-18s %9ld %9ld  \"%s\" %.1f %%\n", *t->type ? QUOTE(t->type) : "(none)", t->questions,
               t->answers, QUOTE(t->common), 100.0*(double)t->common_count/(double)t->questions);
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
    printf("],\"width\":[%ld,%ld,%ld],\"height\":[%ld,%ld,%ld]", i->width[0], i->width[1], i->width[2],
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

static bool write_sheet(const char *root, const record_list *l, const char *path, error *e)
{
    picture page;
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

static bool inspect_list(const char *path, const dataset_look *how, bool *wrong, error *e)
{
    record_list l;
    const char *slash = strrchr(path, '/');
    char root[PATH];
    snprintf(root, sizeof root, "%.*s", slash > path ? (int)(slash - path) : 1, slash ? path : ".");
    if (!records_read(path, &l, e))
        return false;
    bool ok = inspect_records(path, how->images ? how->images : root, &l, how, wrong, e);
    record_list_free(&l);
    return ok;
}

static bool inspect_folder(const char *path, const dataset_look *how, bool *wrong, error *e)
{
    struct dirent **entries;
    record_list l;
    int n = scandir(path, &entries, is_list, alphasort);
    bool ok = true;
    for (int i = 0; i < n; i++) {
        char inner[PATH];
        dataset_look each = *how;
        each.sheet = i ? NULL : how->sheet;        /* of the first list */
        snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name);
        ok = ok && inspect_list(inner, &each, wrong, e);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    if (n > 0)
        return ok;
    if (!records_of_folder(path, &l, e))
        return false;
    ok = inspect_records(path, path, &l, how, wrong, e);
    record_list_free(&l);
    return ok;
}

int dataset_inspect(const char *path, const dataset_look *how)
{
    struct stat about;
    error e;
    bool wrong = false, folder = !stat(path, &about) && S_ISDIR(about.st_mode);
    if (!(folder ? inspect_folder : inspect_list)(path, how, &wrong, &e))
        return cli_fail(&e);
    if (how->sheet && !how->json)
        printf("%s: a sheet of pictures with their texts\n", how->sheet);
    fflush(stdout);
    if (!wrong)
        return 0;
    error_set(&e, "%s: some pictures cannot be used; the report names them", QUOTE(path));
    return cli_fail(&e);
}
