/* tar.c - archives, through libarchive, read as streams. A shard holds pictures with what belongs to them
 * under one name, as img2dataset and WebDataset write them: 000001.jpg, 000001.txt (a caption),
 * 000001.json (a record, its "image" left out). And archives unpacked whole, for packages that hold a data
 * set. */
#include "data/import.h"
#include <archive.h>
#include <archive_entry.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { MEMBER_BYTES = 256 << 20 };

/* libarchive turns names of UTF-8 (PAX, zip) into the locale's letters, and the C locale has none of them. */
static locale_t names_begin(locale_t *names)
{
    *names = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    return uselocale(*names);                      /* where there is none, all stays as it is */
}

static void names_end(locale_t before, locale_t names)
{
    uselocale(before);
    if (names)
        freelocale(names);
}

static const char *what_failed(struct archive *a)
{
    const char *text = archive_error_string(a);
    return text ? text : "damaged";
}

/* A warning is of attributes that are not used here, where a name is there. */
static int next_member(struct archive *a, struct archive_entry **entry)
{
    int status = archive_read_next_header(a, entry);
    return status == ARCHIVE_WARN && archive_entry_pathname(*entry) ? ARCHIVE_OK : status;
}

static struct archive *open_archive(const char *path, error *e)
{
    long bytes;
    int fd = file_open(path, &bytes, e);           /* a regular file, or an error */
    struct archive *a = fd >= 0 ? archive_read_new() : NULL;
    if (fd >= 0)
        close(fd);
    if (!a)
        return NULL;
    archive_read_support_filter_all(a);
    archive_read_support_format_tar(a);
    archive_read_support_format_zip(a);
    if (archive_read_open_filename(a, path, 1 << 16) == ARCHIVE_OK)
        return a;
    error_set(e, "%s: not an archive; %s", QUOTE(path), QUOTE(what_failed(a)));
    archive_read_free(a);
    return NULL;
}

/* The bytes of the member that was just met, with a 0 behind them; mem_free them. */
static char *read_member(struct archive *a, struct archive_entry *entry, long *bytes, const char *path,
                         error *e)
{
    const char *name = archive_entry_pathname(entry);
    char *data = NULL;
    long used = 0, room = 0;
    for (bool more = true; more; ) {
        if (used + 65536 + 1 > room) {
            long wider = room ? 2*room : 1 << 18;
            char *grown = mem_grow(data, (size_t)room, (size_t)wider);
            if (!grown) {
                mem_free(data);
                error_set(e, "%s: %s: memory: out of memory", QUOTE(path), QUOTE(name));
                return NULL;
            }
            data = grown;
            room = wider;
        }
        la_ssize_t n = archive_read_data(a, data + used, 65536);
        if (n < 0 || used > MEMBER_BYTES) {
            mem_free(data);
            error_set(e, "%s: %s: %s", QUOTE(path), QUOTE(name), n < 0 ? QUOTE(what_failed(a))
                      : "more than 256 MiB");
            return NULL;
        }
        used += n;
        more = n > 0;
    }
    data[used] = 0;
    *bytes = used;
    return data;
}

/* ---- a shard ------------------------------------------------------------------------------------------- */
/* What has been met of one name; members of a name stand together. */
struct sample { char key[PATH_MAX], *text; json_t *about; import_item *item; };
struct shard { import *m; const char *path, *stem; struct sample now; };

static bool is_ending(const char *ending, const char *const *list)
{
    for (; *list; list++)
        if (!strcasecmp(ending, *list))
            return true;
    return false;
}

static void end_sample(struct shard *s)
{
    import *m = s->m;
    struct sample *now = &s->now;
    char where[PATH_MAX + 300];
    snprintf(where, sizeof where, "%s: %s", s->path, QUOTE(now->key));
    const json_t *said = json_object_get(now->about, "caption");
    said = said ? said : json_object_get(now->about, "text");
    if (now->item && now->text)
        import_caption(m, where, now->item, now->text);
    else if (now->item && json_is_string(said))
        import_caption(m, where, now->item, json_string_value(said));
    mem_free(now->text);
    json_decref(now->about);
    *now = (struct sample){ 0 };
}

static bool put_picture(struct shard *s, const char *ending, const char *data, long n, error *e)
{
    import *m = s->m;
    char flat[PATH_MAX], name[2*PATH_MAX], where[PATH_MAX + 300];
    snprintf(flat, sizeof flat, "%s", s->now.key);
    for (char *p = flat; *p; p++)
        *p = *p == '/' ? '-' : *p;
    snprintf(where, sizeof where, "%s: %s", s->path, QUOTE(s->now.key));
    if (s->now.item)
        return error_set(e, "%s: two pictures of one name", where);
    snprintf(name, sizeof name, "images/%s-%s.%s", s->stem, flat, ending);
    for (long twin = 2; import_taken(m, name); twin++)     /* a shard of the same name in another folder */
        snprintf(name, sizeof name, "images/%s-%s-%ld.%s", s->stem, flat, twin, ending);
    if (!import_utf8(name))
        return error_set(e, "%s: name: not UTF-8", where);
    s->now.item = import_held(m, where, name, NULL, IMPORT_DRAWN);
    if (!s->now.item)
        return data_no_memory(e, s->path);
    return data_folder_put(m->folder, name, data, n, e);
}

/* A member NAME.ENDING; WebDataset cuts names at the first dot. */
static bool add_member(struct shard *s, struct archive *a, struct archive_entry *entry, error *e)
{
    static const char *const pictures[] = { "jpg", "jpeg", "png", "webp", NULL };
    static const char *const others[] = { "txt", "caption", "json", NULL };
    const char *name = archive_entry_pathname(entry), *base, *dot;
    if (!name || archive_entry_filetype(entry) != AE_IFREG)
        return true;
    base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    dot = strchr(base, '.');
    if (!dot || dot == base || dot - name >= PATH_MAX - 1)
        return true;
    bool is_picture = is_ending(dot + 1, pictures);
    if (!is_picture && !is_ending(dot + 1, others))
        return true;
    if (data_leaves(name))
        return error_set(e, "%s: %s: a name that leaves the archive", QUOTE(s->path), QUOTE(name));
    if (strncmp(s->now.key, name, (size_t)(dot - name)) || s->now.key[dot - name]) {
        end_sample(s);
        memcpy(s->now.key, name, (size_t)(dot - name));
    }
    long n;
    char *data = read_member(a, entry, &n, s->path, e);
    bool ok = data != NULL;
    if (ok && is_picture) {
        ok = put_picture(s, dot + 1, data, n, e);
    } else if (ok && !strcasecmp(dot + 1, "json")) {
        json_decref(s->now.about);
        s->now.about = data_json(QUOTE(name), 1, data, n, 100000, e);
        ok = s->now.about != NULL;
    } else if (ok) {
        mem_free(s->now.text);
        s->now.text = data;
        data = NULL;
    }
    mem_free(data);
    return ok;
}

void import_shard(import *m, const char *path)
{
    error one;
    locale_t names, before = names_begin(&names);
    struct archive *a = open_archive(path, &one);
    struct archive_entry *entry;
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    char stem[256];
    snprintf(stem, sizeof stem, "%.*s", (int)strcspn(base, "."), base);
    struct shard *s = mem_new(sizeof *s);
    int status = ARCHIVE_OK;
    bool ok = a && (s || data_no_memory(&one, path));
    ok = ok && (m->images || (m->images = data_folder_sub(m->folder, "images", &one)));
    if (s)
        *s = (struct shard){ .m = m, .path = path, .stem = stem };
    one.lines = 0;
    while (ok && import_goes_on(m) && (status = next_member(a, &entry)) == ARCHIVE_OK)
        ok = add_member(s, a, entry, &one);
    if (ok && status != ARCHIVE_EOF && status != ARCHIVE_OK)
        ok = error_set(&one, "%s: %s", QUOTE(path), QUOTE(what_failed(a)));
    if (s)
        end_sample(s);
    if (!ok)
        error_line(m->e, "%s", one.text);
    mem_free(s);
    archive_read_free(a);
    names_end(before, names);
}

/* ---- unpacking ----------------------------------------------------------------------------------------- */
static bool unpack_member(struct archive *a, struct archive_entry *entry, const char *path,
                          const char *folder, error *e)
{
    const char *name = archive_entry_pathname(entry);
    long n;
    if (!name || archive_entry_filetype(entry) != AE_IFREG)
        return true;                               /* folders come with their files; links are left out */
    if (data_leaves(name))
        return error_set(e, "%s: %s: a name that leaves the archive", QUOTE(path), QUOTE(name));
    char *data = read_member(a, entry, &n, path, e), *to = mem_text("%s/%s", folder, name);
    char *parent = to ? mem_text("%.*s", (int)(strrchr(to, '/') - to), to) : NULL;
    bool ok = data && ((to && parent) || data_no_memory(e, path)) && file_make_folders(parent, e);
    FILE *f = ok ? fopen(to, "wbx") : NULL;
    if (ok && (!f || (n && fwrite(data, (size_t)n, 1, f) != 1)))
        ok = error_set(e, "%s: cannot be written", QUOTE(to));
    if (f && fclose(f) && ok)
        ok = error_set(e, "%s: cannot be written", QUOTE(to));
    mem_free(data);
    mem_free(to);
    mem_free(parent);
    return ok;
}

bool archive_unpack(const char *path, const char *folder, error *e)
{
    locale_t names, before = names_begin(&names);
    struct archive *a = open_archive(path, e);
    struct archive_entry *entry;
    int status = ARCHIVE_OK;
    bool ok = a != NULL;
    while (ok && (status = next_member(a, &entry)) == ARCHIVE_OK)
        ok = unpack_member(a, entry, path, folder, e);
    if (ok && status != ARCHIVE_EOF)
        ok = error_set(e, "%s: %s", QUOTE(path), QUOTE(what_failed(a)));
    archive_read_free(a);
    names_end(before, names);
    return ok;
}
