/* faults_files.c - F2, F5, F6: full disks, changed bytes, cut checkpoints (faults.h). */
#define _GNU_SOURCE
#include "tests/faults.h"
#include "tests/shell.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a run that goes on while the disk fills up ------------------------------------------------------ */
enum { BEGUN = 2, ALL = 4 };

/* "begun": two of four steps, checkpoints of both; the world and a captioning model beside it. */
static void begin(void *context, fault_report *r)
{
    fault_prepare(context, r);
    train_config c = fault_run(IN_FOLDER("full"), ALL, 1);
    fault_config(&c, IN_FOLDER("full.yaml"));
}

static void lay_out(const char *folder)
{
    static const char *const files[] = { "checkpoint.h5", "checkpoint.old.h5", "log.jsonl" };
    mkdir(IN_FOLDER(folder), 0777);
    for (int i = 0; i < 3; i++) {
        char from[64], to[64];
        snprintf(from, sizeof from, "begun/%s", files[i]);
        snprintf(to, sizeof to, "%s/%s", folder, files[i]);
        fault_copy(IN_FOLDER(from), IN_FOLDER(to));
    }
}

/* What it must have come to when the program ended with s. */
static void judge(const said *s, const char *folder, fault_report *r)
{
    char path[600];
    uint64_t digest;
    error e, old;
    if (s->code != 0 && s->code != 1)
        fault_wrong(r, "exit code %d: %s", s->code, s->err);
    if (s->code == 1 && !strstr(s->err, "blip2: error: "))
        fault_wrong(r, "no message");
    if (fault_leftovers(folder))
        fault_wrong(r, "a temporary file is left");
    snprintf(path, sizeof path, "%s/checkpoint.h5", folder);
    bool whole = fault_h5_digest(path, &digest, &e);
    snprintf(path, sizeof path, "%s/checkpoint.old.h5", folder);
    if (!whole && !fault_h5_digest(path, &digest, &old))
        fault_wrong(r, "no checkpoint is whole: %s; %s", e.text, old.text);
    r->calls = s->code;
}

typedef struct disk { long bytes; } disk;

static void fill_quota(void *context, fault_report *r)
{
    const disk *d = context;
    lay_out("full");
    shell_next.file_bytes = d->bytes;
    said s = BLIP2("train", IN_FOLDER("full.yaml"), "--resume", "--quiet");
    judge(&s, IN_FOLDER("full"), r);
    if (s.code == 1 && !strstr(s.err, "File too large"))
        fault_wrong(r, "the message does not say why: %s", s.err);
    /* the disk has room again */
    said again = BLIP2("train", IN_FOLDER("full.yaml"), "--resume", "--quiet");
    if (again.code)
        fault_wrong(r, "cannot go on: %s", again.err);
    shell_free(s);
    shell_free(again);
}

/* A file system of so many bytes; only where a process may mount one for itself. */
static bool mount_small(const char *at, long bytes)
{
    char options[64];
    snprintf(options, sizeof options, "size=%ld", bytes);
    return !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)
        && !mount("none", at, "tmpfs", 0, options);
}

static void try_mount(void *context, fault_report *r)
{
    (void)context;
    mkdir(IN_FOLDER("full"), 0777);
    if (!mount_small(IN_FOLDER("full"), 1 << 20))
        fault_wrong(r, "no");
}

static void fill_disk(void *context, fault_report *r)
{
    const disk *d = context;
    if (!mount_small(IN_FOLDER("full"), d->bytes)) {
        fault_wrong(r, "the file system cannot be mounted");
        return;
    }
    lay_out("full");
    said s = BLIP2("train", IN_FOLDER("full.yaml"), "--resume", "--quiet");
    judge(&s, IN_FOLDER("full"), r);
    if (s.code == 1 && !strstr(s.err, "No space left"))
        fault_wrong(r, "the message does not say why: %s", s.err);
    shell_free(s);
}

/* ---- output that goes nowhere ------------------------------------------------------------------------ */
static void print_to_full(void *context, fault_report *r)
{
    const char *const *words = context;
    shell_next.out = "/dev/full";
    said s = shell_run(words);
    if (s.code != 1 || !strstr(s.err, "blip2: error: standard output: cannot be written"))
        fault_wrong(r, "exit code %d: %s", s.code, s.err);
    shell_free(s);
}

static void print_all_to_full(figure *g)
{
    char model[512], picture[512], text[512];
    folder_path(model, "stage2/model.h5");
    folder_path(picture, "world/test/000069.png");
    folder_path(text, "full.yaml");
    const char *const commands[][6] = {
        { "caption", model, picture }, { "caption", model, picture, "--json" }, { "inspect", model },
        { "answer", model, picture, "what colour ?", "--json" }, { "help" }, { "--version" },
        { "train", text, "--dry-run" } };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fault_case(g, commands[i][0], print_to_full, (void *)commands[i], NULL);
}

void figure_disk_full(figure *g, const fault_scale *s)
{
    struct stat about;
    char name[100];
    long failed = 0, cases = 0;
    if (!fault_case(g, "the files to begin with", begin, NULL, NULL)
        || stat(IN_FOLDER("begun/checkpoint.h5"), &about))
        return;
    long size = about.st_size, step = s->full ? 4096 : size / 3;
    for (long bytes = 512; bytes < size + 2 * step; bytes += step, cases++) {
        fault_report r;
        snprintf(name, sizeof name, "files of at most %ld bytes", bytes);
        fault_case(g, name, fill_quota, &(disk){ bytes }, &r);
        failed += r.calls == 1;
    }
    figure_detail(g, "quotas in steps of %ld bytes up to the %ld of a checkpoint: %ld, exit 1 in %ld", step,
                  size, cases, failed);
    if (!fault_case(NULL, "", try_mount, NULL, NULL))
        figure_skip(g, "a small tmpfs: this process may not mount one");
    else
        for (long bytes = 2 * size + 8192; bytes < 5 * size; bytes += s->full ? size / 8 : size) {
            snprintf(name, sizeof name, "a tmpfs of %ld bytes", bytes);
            fault_case(g, name, fill_disk, &(disk){ bytes }, NULL);
        }
    print_all_to_full(g);
}

/* ---- changed bytes ----------------------------------------------------------------------------------- */
typedef struct change {
    const char *path;
    const long *at;                    /* (count) where, and what the byte there is changed by */
    const unsigned char *with;
    long count;
    uint64_t expected;
} change;

static void change_bytes(void *context, fault_report *r)
{
    const change *c = context;
    FILE *f = fopen(c->path, "r+b");
    ck_assert_ptr_nonnull(f);
    setvbuf(f, NULL, _IONBF, 0);
    for (long i = 0; i < c->count; i++) {
        uint64_t digest;
        error e;
        unsigned char was = 0;
        ck_assert(!fseek(f, c->at[i], SEEK_SET) && fread(&was, 1, 1, f) == 1);
        unsigned char now = was ^ c->with[i];
        ck_assert(!fseek(f, c->at[i], SEEK_SET) && fwrite(&now, 1, 1, f) == 1);
        r->calls = i;
        if (!fault_h5_digest(c->path, &digest, &e))
            r->number[0]++;
        else if (digest != c->expected)
            fault_wrong(r, "byte %ld: other numbers, no error", c->at[i]);
        ck_assert(!fseek(f, c->at[i], SEEK_SET) && fwrite(&was, 1, 1, f) == 1);
    }
    fclose(f);
}

static void digest_file(void *context, fault_report *r)
{
    error e;
    if (!fault_h5_digest(context, &r->digest, &e))
        fault_wrong(r, "%s", e.text);
}

/* n changes, a process for every 256 of them; each counts. */
static void change_all(figure *g, const char *path, long n, const long *at, const unsigned char *with)
{
    enum { EACH = 256 };
    fault_report plain, r;
    long refused = 0;
    if (!fault_case(g, path, digest_file, (void *)path, &plain))
        return;
    for (long first = 0; first < n; first += EACH) {
        long count = n - first < EACH ? n - first : EACH;
        change c = { path, at + first, with + first, count, plain.digest };
        bool ok = fault_case(g, "changed bytes", change_bytes, &c, &r);
        g->of += count - 1;
        g->found += ok ? count - 1 : r.calls;
        refused += (long)r.number[0];
    }
    figure_detail(g, "%s: %ld changes, %ld refused", strrchr(path, '/') + 1, n, refused);
}

static void write_small(void *context, fault_report *r)
{
    (void)r;
    error e;
    blip2_model m;
    blip2_config c = tiny_config();
    c.qformer.layers = 1;
    nn_store *s = nn_store_new(7);
    blip2_model_init(&m, s, &c);
    ck_assert(nn_build(s, false, &e));
    const blip2_part part = { "bert/vocab.txt", "[PAD]\n[CLS]\n", 12 };
    ck_assert_msg(blip2_save(&m, context, "made by a test", &part, 1, &e), "%s", e.text);
    nn_store_free(s);
}

void figure_flips(figure *g, const fault_scale *s)
{
    struct stat about;
    if (!fault_case(g, "a small model", write_small, (void *)IN_FOLDER("small.h5"), NULL)
        || !fault_case(g, "a run", begin, NULL, NULL))
        return;
    ck_assert(!stat(IN_FOLDER("small.h5"), &about));
    long n = about.st_size, few = s->full ? 0 : 400, count = 0;
    long *at = calloc((size_t)n + 2000, sizeof *at);
    unsigned char *with = calloc((size_t)n + 2000, 1);
    ck_assert(at && with);
    for (long i = 0; i < n; i += few ? n / few : 1, count++) {
        at[count] = i;
        with[count] = 0xff;
    }
    change_all(g, IN_FOLDER("small.h5"), count, at, with);
    ck_assert(!stat(IN_FOLDER("begun/checkpoint.h5"), &about));
    count = s->full ? 2000 : 150;
    for (long i = 0; i < count; i++) {
        at[i] = (long)(ag_uniform(s->seed, (uint64_t)i) * (double)about.st_size);
        with[i] = (unsigned char)(1 << (long)(ag_uniform(s->seed + 1, (uint64_t)i) * 8));
    }
    change_all(g, IN_FOLDER("begun/checkpoint.h5"), count, at, with);
    free(at);
    free(with);
}

/* ---- cut checkpoints --------------------------------------------------------------------------------- */
static char warnings[4096];

static void on_warning(void *context, const char *text)
{
    (void)context;
    snprintf(warnings, sizeof warnings, "%s", text);
}

static void go_on_from_cut(void *context, fault_report *r)
{
    const disk *d = context;
    static const train_watch watch = { .warn = on_warning };
    train_config c = fault_run(IN_FOLDER("cut"), ALL, 1);
    train_result result;
    error e;
    lay_out("cut");
    ck_assert(!truncate(IN_FOLDER("cut/checkpoint.h5"), d->bytes));
    if (fault_h5_digest(IN_FOLDER("cut/checkpoint.h5"), &r->digest, &e))
        fault_wrong(r, "the cut file was taken");
    if (!train_run(&c, &(train_options){ .resume = true, .dry_run = true, .watch = &watch }, &result, &e))
        fault_wrong(r, "the one before is not taken: %s", e.text);
    else if (result.steps != BEGUN - 1 || !strstr(warnings, "checkpoint.h5"))
        fault_wrong(r, "goes on after step %ld; warning: %s", result.steps, warnings);
}

void figure_cuts(figure *g, const fault_scale *s)
{
    struct stat about;
    char name[100];
    if (!fault_case(g, "a run", begin, NULL, NULL) || stat(IN_FOLDER("begun/checkpoint.h5"), &about))
        return;
    for (long percent = 0; percent < 100; percent += s->full ? 1 : 9) {
        snprintf(name, sizeof name, "cut at %ld %%", percent);
        fault_case(g, name, go_on_from_cut, &(disk){ about.st_size * percent / 100 }, NULL);
    }
}
