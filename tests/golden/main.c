/* main.c - finds the cases under a folder by their form, runs each, and closes with how many passed.
 *
 * A case is a .h5 with an attribute `kind`; a folder with config.json and expected.h5; a .jsonl; a group of
 * images.h5; an expected_*.json or retrieval.json; a file under a folder named formats. Nothing else is known
 * of the folder, so others of the same form, with other sizes, run unchanged. */
#include "tests/golden/golden.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEPTH = 8, PATH = 4096 };
typedef struct search {
    size_t base;                       /* length of what is not shown of a path */
    long counts[3];
} search;

static bool ends(const char *s, const char *with)
{
    size_t n = strlen(s), m = strlen(with);
    return n >= m && !strcmp(s + n - m, with);
}

static bool exists(const char *folder, const char *name)
{
    char path[PATH];
    struct stat about;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return !stat(path, &about);
}

static const char *shown(const search *s, const char *path)
{
    return strlen(path) > s->base ? path + s->base : path;
}

/* Every group of a file of pictures is a case. */
static void run_images(search *s, const char *path)
{
    error e;
    long n = 0;
    char name[PATH], last[300] = "";
    h5 *f = h5_open(path, &e);
    char **all = f ? h5_list(f, "", &n, &e) : NULL;
    h5_close(f);
    for (long i = 0; i < n; i++) {
        char group[300];
        snprintf(group, sizeof group, "%.*s", (int)strcspn(all[i], "/"), all[i]);
        if (!strcmp(group, last))
            continue;
        strcpy(last, group);
        snprintf(name, sizeof name, "%s:%s", shown(s, path), group);
        golden_run(name, path, last, last, golden_image, s->counts);
    }
    h5_list_free(all, n);
    if (!n) {
        printf("%-48s FAIL %s\n", shown(s, path), e.text);
        s->counts[1]++;
    }
}

static void run_h5(search *s, const char *path)
{
    error e;
    golden_handler handler = golden_handler_of(path, &e);
    if (handler || !*e.text) {
        golden_run(shown(s, path), path, "", "out", handler, s->counts);
        return;
    }
    printf("%-48s FAIL %s\n", shown(s, path), e.text);
    s->counts[1]++;
}

static void run_file(search *s, const char *path, const char *name, bool formats)
{
    bool metric = ends(name, ".json") && (!strncmp(name, "expected_", 9) || !strcmp(name, "retrieval.json"));
    if (formats) {
        if (!ends(name, ".md") && strcmp(name, "expected.h5"))
            golden_run(shown(s, path), path, "", NULL, golden_format, s->counts);
    } else if (!strcmp(name, "images.h5"))
        run_images(s, path);
    else if (ends(name, ".h5"))
        run_h5(s, path);
    else if (ends(name, ".jsonl"))
        golden_run(shown(s, path), path, "", NULL, golden_tokenizer, s->counts);
    else if (metric)
        golden_run(shown(s, path), path, "", NULL, golden_metric, s->counts);
}

static void walk(search *s, const char *path, const char *name, bool formats, int depth)
{
    struct stat about;
    struct dirent **entries;
    if (depth > DEPTH || stat(path, &about))
        return;
    if (!S_ISDIR(about.st_mode)) {
        run_file(s, path, name, formats);
        return;
    }
    if (exists(path, "config.json") && exists(path, "expected.h5")) {
        char expected[PATH + 16];
        snprintf(expected, sizeof expected, "%s/expected.h5", path);
        golden_run(shown(s, path), expected, "", REAL == 64 ? "f64" : "f32", golden_hf, s->counts);
        return;
    }
    int n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char inner[PATH];
        const char *entry = entries[i]->d_name;
        int length = snprintf(inner, sizeof inner, "%s/%s", path, entry);
        if (entry[0] != '.' && length < PATH)
            walk(s, inner, entry, formats || !strcmp(name, "formats"), depth + 1);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "../shared/golden";
    struct stat about;
    if (argc > 2) {
        fprintf(stderr, "golden: expected one folder or file of reference values\n");
        return 2;
    }
    if (stat(path, &about)) {
        printf("golden: %s is not there: nothing is compared\n0 passed, 0 failed, 0 skipped\n", path);
        return EXIT_SUCCESS;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    search s = { .base = S_ISDIR(about.st_mode) ? strlen(path) + !ends(path, "/") : 0 };
    const char *slash = strrchr(path, '/');
    printf("%-48s %9s  %8s  %8s\n", sizeof(real) == 8 ? "case (double)" : "case (float)", "values", "worst",
           "tolerance");
    walk(&s, path, slash ? slash + 1 : path, false, 0);
    if (!s.counts[0] && !s.counts[1] && !s.counts[2])
        printf("golden: no case of a known form under %s\n", path);
    printf("%ld passed, %ld failed, %ld skipped\n", s.counts[0], s.counts[1], s.counts[2]);
    return s.counts[1] || !(s.counts[0] + s.counts[2]) ? EXIT_FAILURE : EXIT_SUCCESS;
}
