/* import.c - data sets of other forms, made into the lists that training reads (data.h). All sources are
 * read, and all that is wrong with them is found, before the new folder takes its place; only the pictures
 * of shards are written on the way, into a temporary folder that goes if something is wrong. */
#include "data/import.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static bool ends_in(const char *path, const char *ending)
{
    size_t n = strlen(path), k = strlen(ending);
    return n > k && !strcasecmp(path + n - k, ending);
}

static bool is_archive(const char *path)
{
    return ends_in(path, ".tar") || ends_in(path, ".tar.gz") || ends_in(path, ".tgz")
        || ends_in(path, ".tar.zst")
           || ends_in(path, ".tar.xz") || ends_in(path, ".tar.bz2") || ends_in(path, ".zip");
}

/* "val:PATH" -> PATH, and the split. */
static const char *without_split(const char *source, int *split)
{
    static const char *const names[IMPORT_SPLITS] = { "train:", "val:", "test:" };
    *split = IMPORT_DRAWN;
    for (int i = 0; i < IMPORT_SPLITS; i++)
        if (!strncmp(source, names[i], strlen(names[i]))) {
            *split = i;
            return source + strlen(names[i]);
        }
    return source;
}

static void read_file(import *m, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *own = mem_text("%.*s", slash > path ? (int)(slash - path) : 1, slash ? path : ".");
    if (!own)
        m->no_memory = true;
    else if (is_archive(path))
        import_shard(m, path);
    else if (import_root(m, m->o->images ? m->o->images : own)
             && (ends_in(path, ".csv") || ends_in(path, ".tsv")))
        import_table(m, path, ends_in(path, ".csv") ? ',' : '\t');
    else if (m->root && (ends_in(path, ".json") || ends_in(path, ".jsonl")))
        import_json(m, path);
    else if (ends_in(path, ".parquet"))
        import_problem(m, QUOTE(path), "form: Parquet is not read; img2dataset makes .tar shards of a table "
                       "of addresses, pandas' to_csv a .csv of a table of files, and both are read here");
    else if (m->root)
        import_problem(m, QUOTE(path), "form: expected a folder, .csv, .tsv, .json, .jsonl, .tar or .zip");
    mem_free(own);
}

static void read_source(import *m, const char *source)
{
    struct stat about;
    long touched = m->touched, lines = m->e->lines;
    const char *path = without_split(source, &m->split);
    m->root = m->real_root = NULL;
    if (stat(path, &about))
        error_line(m->e, "%s: %s", QUOTE(path), strerror(errno));
    else if (!S_ISDIR(about.st_mode))
        read_file(m, path);
    else if (!import_easy(m, path))
        import_folder(m, path);
    if (m->touched == touched && m->e->lines == lines && !m->no_memory && !m->stopped)
        import_problem(m, QUOTE(path), "no pictures in it");
}

static bool worth_nothing(const import *m)
{
    long kept = 0;
    for (long i = 0; i < m->count; i++)
        kept += m->items[i].bare || m->items[i].caption_count + m->items[i].question_count > 0;
    return !kept;
}

/* What is wrong with the sources, of which the first is named where nothing of them stays. */
static bool tell_problems(const import *m, const char *source, error *e)
{
    const char *s = e->lines > 1 ? "s" : "";
    if (m->o->command)
        return error_head(e, ERROR_RUN, "%s: %s: %d problem%s", m->o->command, QUOTE(source), e->lines, s);
    return error_head(e, ERROR_RUN, "import: %d problem%s; nothing is written%s", e->lines, s,
                      m->result->missing && !m->o->skip_missing
                      ? " (--skip-missing leaves out pictures that are not there)" : "");
}

static bool read_all(import *m, const char *const *sources, int n, error *e)
{
    for (int i = 0; i < n && !m->no_memory && !m->stopped; i++) {
        read_source(m, sources[i]);
        m->stopped |= m->progress && !m->progress(m->context, NULL, 0, 0);
    }
    if (!m->no_memory && !m->stopped)
        import_join(m);
    if (m->no_memory)
        return data_no_memory(e, "import");
    if (m->stopped)
        return error_set(e, "%s: stopped; nothing is written", m->o->command ? m->o->command : "import");
    if (e->lines)
        return tell_problems(m, sources[0], e);
    if ((m->result->nothing = worth_nothing(m)))
        return error_set(e, "%s: no picture with a caption or a question; %ld have none, %ld are missing",
                         m->o->command ? m->o->command : "import", m->count, m->result->missing);
    return true;
}

/* The folders above the new one. */
static bool make_parent(const char *folder, error *e)
{
    const char *slash = strrchr(folder, '/');
    char *parent = slash > folder ? mem_text("%.*s", (int)(slash - folder), folder) : NULL;
    bool ok = slash <= folder || (parent ? file_make_folders(parent, e) : data_no_memory(e, "import"));
    mem_free(parent);
    return ok;
}

bool import_sources(const char *const *sources, int n, const char *folder, const import_options *o,
                    import_result *result, import_progress progress, void *context, error *e)
{
    struct folder to;
    import m = { .o = o, .result = result, .folder = &to, .split = IMPORT_DRAWN, .progress = progress,
                 .context = context, .e = e };
    *result = (import_result){ 0 };
    if (!make_parent(folder, e) || !data_folder_begin(&to, folder, "import.json", o->force, e))
        return false;
    e->lines = 0;
    bool ok = read_all(&m, sources, n, e)
              && import_write(&m, &to, progress, context, e);
    if (ok)
        ok = data_folder_finish(&to, e);           /* which abandons it if it fails */
    else
        data_folder_abandon(&to);
    import_free(&m);
    return ok;
}
