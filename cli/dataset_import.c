/* dataset_import.c - `blip2 dataset import SRC... -o DIR`: pictures with captions or questions, in the
 * forms in which others give them, made into the lists that training reads. */
#include "cli/commands.h"
#include "cli/dataset.h"
#include "data/packages.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const splits[IMPORT_SPLITS] = { "train", "val", "test" };

void dataset_print(const char *folder, const import_result *r, bool json)
{
    if (json) {
        printf("{\"folder\":");
        cli_json_text(folder);
        printf(",\"images\":");
        cli_json_text(r->images);
        for (int s = 0; s < IMPORT_SPLITS; s++)
            printf(",\"%s\":{\"pictures\":%ld,\"captions\":%ld,\"questions\":%ld}", splits[s], r->pictures[s],
                   r->captions[s], r->questions[s]);
        printf(",\"missing\":%ld,\"without_text\":%ld,\"empty_captions\":%ld,\"drawings\":%ld", r->missing,
               r->without_text, r->empty, r->drawings);
        printf(",\"texts_without_picture\":%ld,\"test_without_text\":%ld,\"test_without_answer\":%ld}\n",
               r->alone, r->bare, r->unanswered);
        return;
    }
    for (int s = 0; s < IMPORT_SPLITS; s++)
        if (r->pictures[s])
            printf("%s/%s.jsonl: %ld pictures, %ld captions, %ld questions\n", folder, splits[s],
                   r->pictures[s], r->captions[s], r->questions[s]);
    if (r->missing + r->without_text + r->empty)
        printf("left out: %ld pictures that are not there, %ld without a text; %ld captions without a word\n",
               r->missing, r->without_text, r->empty);
    if (r->alone)
        printf("left out: the texts of %ld names in archives that have no picture of that name, the first "
               "%s\n", r->alone, r->first_alone);
    if (r->bare + r->unanswered)
        printf("for tests: %ld pictures without a text and %ld questions without an answer (\"\")\n", r->bare,
               r->unanswered);
    if (r->drawings)
        printf("passed over: %ld drawings (.svg); only PNG, JPEG and WebP are read\n", r->drawings);
    if (strcmp(r->images, folder))
        printf("pictures stay in %s: train and evaluate with datasets.root=%s datasets.images=%s\n",
               r->images, folder, r->images);
    else
        printf("train and evaluate with datasets.root=%s\n", folder);
}

/* "0.8,0.1,0.1": of training, validation, tests; what follows may be left out. */
static bool read_shares(const char *text, double share[IMPORT_SPLITS], error *e)
{
    locale_t before = numbers_begin();
    double sum = 0;
    const char *s = text;
    bool ok = true;
    for (int i = 0; i < IMPORT_SPLITS; i++) {
        char *end = (char *)s;
        share[i] = *s ? strtod(s, &end) : 0;
        ok = ok && (!*s || end > s) && share[i] >= 0 && share[i] < 1e9 && (*end == ',' || !*end);
        sum += share[i];
        s = *end == ',' ? end + 1 : end;
    }
    numbers_end(before);
    return (ok && !*s && sum > 0)
           || error_usage(e, "dataset import: --split: expected shares of train, val and test such as "
                          "0.8,0.1,0.1, found \"%s\"", text);
}

/* ---- the pack ------------------------------------------------------------------------------------------ */
static const char *folder_of(const char *pack, char to[PATH_MAX])
{
    const char *slash = strrchr(pack, '/');
    snprintf(to, PATH_MAX, "%.*s", slash > pack ? (int)(slash - pack) : 1, slash ? pack : ".");
    return to;
}

/* The pack's folder may be that of the lists, and not be there yet. */
static bool has_place(const char *pack, error *e)
{
    char folder[PATH_MAX];
    if (!file_may_fill(folder_of(pack, folder), e))
        return false;
    h5_out *trial = access(folder, F_OK) ? NULL : h5_create(pack, e);      /* another file may be there */
    if (trial)
        h5_abandon(trial);
    return trial || access(folder, F_OK);
}

/* What is wrong with a pack's name is told before the lists are made, which may take long: 0, or the exit
 * code. */
static int check_pack(const char *pack)
{
    size_t n = strlen(pack);
    error e;
    if (n < 4 || strcmp(pack + n - 3, ".h5"))
        return cli_usage("dataset import",
                         "--pack: expected a name that ends in .h5, as packs have; found %s", QUOTE(pack));
    if (!cli_spares_models("dataset import", pack))
        return 2;
    return has_place(pack, &e) ? 0 : cli_fail(&e);
}

static bool write_pack(const char *pack, const char *lists, const char *images, error *e)
{
    char folder[PATH_MAX];
    return file_make_folders(folder_of(pack, folder), e) && pack_write(lists, images, pack, e);
}

/* ---- the command --------------------------------------------------------------------------------------- */
static int run(int argc, char **argv)
{
    import_options o = { 0 };
    import_result result;
    const char *folder = NULL, *pack = NULL, *shares = "0.8,0.1,0.1";
    cli_common common = { 0 };
    cli_option options[] = {
        { "out", "DIR", CLI_TEXT, &folder, 0, 0, "the new folder; -o DIR is short for it" },
        { "images", "DIR", CLI_TEXT, &o.images, 0, 0,
          "where paths in lists start; default: the list's folder" },
        { "copy", NULL, CLI_FLAG, &o.copy, 0, 0,
          "copy the pictures into DIR; default: they stay where they are" },
        { "white", NULL, CLI_FLAG, &o.white, 0, 0,
          "with --copy: PNG with alpha is laid on white; else alpha is dropped, as LAVIS does" },
        { "split", "A,B,C", CLI_TEXT, &shares, 0, 0,
          "shares of train, val, test, drawn by the hash of the id, for what has no split (default "
          "0.8,0.1,0.1)" },
        { "columns", "LIST", CLI_TEXT, &o.columns, 0, 0,
          "names of a table's columns where it has no header: caption,image" },
        { "pattern", "P", CLI_TEXT, &o.pattern, 0, 0,
          "where a picture known by number is: \"train2014/COCO_train2014_{12}.jpg\"; 12: digits" },
        { "skip-missing", NULL, CLI_FLAG, &o.skip_missing, 0, 0, "leave out pictures that are not there" },
        { "allow-outside", NULL, CLI_FLAG, &o.allow_outside, 0, 0,
          "paths and links may leave the folder of the pictures" },
        { "force", NULL, CLI_FLAG, &o.force, 0, 0, "replace an older imported folder" },
        { "pack", "FILE.h5", CLI_TEXT, &pack, 0, 0, "lists and pictures into one file as well, to train on" },
    };
    error e;
    int code;
    if (!cli_parse(&argc, argv, options, 11, &common, &code))
        return code;
    if (argc < 2 || !folder)
        return cli_usage("dataset import", "sources and -o DIR are needed: dataset import SRC... -o DIR");
    if (o.white && !o.copy)
        return cli_usage("dataset import",
                         "--white needs --copy: pictures that stay where they are stay as they are");
    if (pack && (code = check_pack(pack)))
        return code;
    if (!read_shares(shares, o.share, &e))
        return cli_fail(&e);
    o.seed = common.seed;
    dataset_watch_signals();
    if (!import_sources((const char *const *)argv + 1, argc - 1, folder, &o, &result, dataset_progress,
                        &common, &e)) {
        code = cli_fail(&e);
        return dataset_stopped ? 128 + dataset_stopped : code;
    }
    dataset_print(folder, &result, common.json);
    if (pack && !write_pack(pack, folder, result.images, &e))
        return cli_fail(&e);
    return 0;
}

const cli_command cli_dataset_import = {
    "dataset import", "SRC... -o DIR", "pictures with captions or questions, made into lists to train on",
    run,
    "Writes DIR/train.jsonl, val.jsonl and test.jsonl, a record a picture. All that is wrong with SRC is "
    "reported\n"
    "before DIR is made. \"val:SRC\" says that all of SRC is for validation; with \"test:SRC\" pictures "
    "need no\n"
    "text and questions no answer, as in the test parts of COCO and VQAv2. What SRC may be:\n"
    "  a folder         NAME.png (.jpg, .webp) with captions in the lines of NAME.txt; or easy-vqa's own "
    "form\n"
    "  .csv .tsv        with a header: image,caption,split,image_id,question,answer\n"
    "  .jsonl .json     objects with these names, as LAVIS has them; COCO captions; Karpathy's splits; "
    "Visual\n"
    "                   Genome's region descriptions and questions; GQA; VQAv2 and OK-VQA, both of their "
    "files\n"
    "  .tar .zip        NAME.jpg with NAME.txt or NAME.json, in any order; their pictures are always copied\n"
    "docs/data.md has an example of each."
};
