/* tar.c - archives, through libarchive, read as streams. A shard holds pictures with what belongs to them
 * under one name, as img2dataset and WebDataset write them: 000001.jpg, 000001.txt (a caption),
 * 000001.json (a record, its "image" left out); any archive of such files is one. And archives unpacked
 * whole, for packages that hold a data set. */
#include "data/import.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
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
/* What has been met of one name, in any order: in shards the members of a name stand together, in archives of
 * folders they do not. The texts wait for their picture, and go to it at once where it is there. */
enum member { TXT, CAPTION, JSON, PICTURE, NOTHING };
static const char *const endings[] = { "txt", "caption", "json" };
struct sample {
    const char *key;
    char *text[2];                     /* of NAME.txt, of NAME.caption */
    json_t *about;
    long item;                         /* -1: no picture yet */
    bool met[NOTHING];
};
struct shard {
    import *m; const char *path, *stem;
    import_map keys;                   /* -> place in samples */
    struct sample *samples; long count, room;
};

static enum member member_of(const char *ending)
{
    static const char *const pictures[] = { "jpg", "jpeg", "png", "webp" };
    for (int i = TXT; i <= JSON; i++)
        if (!strcasecmp(ending, endings[i]))
            return (enum member)i;
    for (int i = 0; i < 4; i++)
        if (!strcasecmp(ending, pictures[i]))
            return PICTURE;
    return NOTHING;
}

/* "SHARD: NAME" */
enum { PLACE_TEXT = 2*BASE_QUOTE + 4 };
#define PLACE(s, key) place_of((char[PLACE_TEXT]){ 0 }, (s), (key))
static const char *place_of(char to[PLACE_TEXT], const struct shard *s, const char *key)
{
    snprintf(to, PLACE_TEXT, "%s: %s", QUOTE(s->path), QUOTE(key));
    return to;
}

/* The sample of a name, a new one if need be; NULL: memory is out. */
static struct sample *sample_of(struct shard *s, const char *key)
{
    void *samples = s->samples;
    long *known = import_entry(s->m, &s->keys, key, s->count);
    bool ok = known && (*known < s->count || data_room(&samples, &s->room, s->count + 1, sizeof *s->samples));
    s->samples = samples;
    if (ok && *known == s->count)
        s->samples[s->count++] = (struct sample){ .key = import_copy(s->m, key, (long)strlen(key)),
                                                  .item = -1 };
    return ok && s->samples[*known].key ? &s->samples[*known] : NULL;
}

static void free_texts(struct sample *now)
{
    mem_free(now->text[TXT]);
    mem_free(now->text[CAPTION]);
    json_decref(now->about);
    now->text[TXT] = now->text[CAPTION] = NULL;
    now->about = NULL;
}

/* A caption that NAME.txt and NAME.json both have counts once. */
static void settle(struct shard *s, struct sample *now)
{
    import_item *item = now->item >= 0 ? &s->m->items[now->item] : NULL;
    if (!item)
        return;
    const char *where = PLACE(s, now->key);
    for (int i = TXT; i <= CAPTION; i++) {
        item->known = item->caption_count;
        if (now->text[i])
            import_caption(s->m, where, item, now->text[i]);
    }
    item->known = item->caption_count;
    if (now->about)
        import_record_of(s->m, where, item, now->about);
    item->known = 0;
    free_texts(now);
}

static void free_samples(struct shard *s)
{
    import_result *r = s->m->result;
    for (long i = 0; i < s->count; i++) {
        struct sample *now = &s->samples[i];
        if (now->item < 0 && !r->alone++)
            snprintf(r->first_alone, sizeof r->first_alone, "%.255s", PLACE(s, now->key));
        free_texts(now);
    }
    mem_free(s->samples);
    mem_free(s->keys.slot);
}

static bool put_picture(struct shard *s, struct sample *now, const char *ending, const char *data, long n,
                        error *e)
{
    import *m = s->m;
    char flat[PATH_MAX], name[2*PATH_MAX];
    const char *where = PLACE(s, now->key);
    snprintf(flat, sizeof flat, "%s", now->key);
    for (char *p = flat; *p; p++)
        *p = *p == '/' ? '-' : *p;
    snprintf(name, sizeof name, "images/%s-%s.%s", s->stem, flat, ending);
    for (long twin = 2; import_taken(m, name); twin++)     /* a shard of the same name in another folder */
        snprintf(name, sizeof name, "images/%s-%s-%ld.%s", s->stem, flat, twin, ending);
    if (!import_utf8(name))
        return error_set(e, "%s: name: not UTF-8", where);
    import_item *item = import_held(m, where, name, NULL, IMPORT_DRAWN);
    if (!item)
        return data_no_memory(e, QUOTE(s->path));
    now->item = item - m->items;
    return data_folder_put(m->folder, name, data, n, e);
}

static bool put_text(struct shard *s, struct sample *now, enum member member, const char *data, long n,
                     error *e)
{
    const char *where = PLACE(s, now->key), *text = data_without_mark(data, &n);
    if (member == JSON)
        return (now->about = data_json(where, 1, text, n, 100000, e)) != NULL;
    if (memchr(text, 0, (size_t)n))
        return error_set(e, "%s: a zero byte; expected UTF-8 text", where);
    now->text[member] = mem_text("%s", text);
    return now->text[member] || data_no_memory(e, QUOTE(s->path));
}

static bool put_member(struct shard *s, struct sample *now, enum member member, const char *ending,
                       const char *data, long n, error *e)
{
    const char *where = PLACE(s, now->key);
    if (now->met[member] && member == PICTURE)
        return error_set(e, "%s: two pictures of one name", where);
    if (now->met[member])
        return error_set(e, "%s: .%s is there twice", where, ending);
    now->met[member] = true;
    if (!(member == PICTURE ? put_picture(s, now, ending, data, n, e)
                            : put_text(s, now, member, data, n, e)))
        return false;
    settle(s, now);
    return true;
}

/* Where the ending of a name begins: WebDataset cuts at the first dot; a file that has no such ending by that
 * ("a.b.jpg") is cut at the last. NULL: it is none of ours; hidden files are not ("._a.jpg" of macOS). */
static const char *ending_of(const char *name, enum member *member)
{
    const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name, *dot = strchr(base, '.');
    *member = NOTHING;
    if (!dot || dot == base)
        return NULL;
    if ((*member = member_of(dot + 1)) == NOTHING)
        *member = member_of((dot = strrchr(base, '.')) + 1);
    return *member != NOTHING && dot - name < PATH_MAX - 1 ? dot + 1 : NULL;
}

/* A member NAME.ENDING */
static bool add_member(struct shard *s, struct archive *a, struct archive_entry *entry, error *e)
{
    char key[PATH_MAX];
    long n;
    enum member member;
    const char *name = archive_entry_pathname(entry);
    const char *ending = name && archive_entry_filetype(entry) == AE_IFREG ? ending_of(name, &member) : NULL;
    if (!ending)
        return true;
    if (data_leaves(name))
        return error_set(e, "%s: %s: a name that leaves the archive", QUOTE(s->path), QUOTE(name));
    snprintf(key, sizeof key, "%.*s", (int)(ending - 1 - name), name);
    struct sample *now = sample_of(s, key);
    char *data = now ? read_member(a, entry, &n, s->path, e) : NULL;
    bool ok = (now || data_no_memory(e, QUOTE(s->path))) && data
              && put_member(s, now, member, ending, data, n, e);
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
    struct shard s = { .m = m, .path = path, .stem = stem };
    int status = ARCHIVE_OK;
    bool ok = a && (m->images || (m->images = data_folder_sub(m->folder, "images", &one)));
    while (ok && import_goes_on(m) && (status = next_member(a, &entry)) == ARCHIVE_OK)
        ok = add_member(&s, a, entry, &one);
    if (ok && status != ARCHIVE_EOF && status != ARCHIVE_OK)
        ok = error_set(&one, "%s: %s", QUOTE(path), QUOTE(what_failed(a)));
    if (!ok)
        error_line(m->e, "%s", one.text);
    free_samples(&s);
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
    bool ok = data && ((to && parent) || data_no_memory(e, QUOTE(path))) && file_make_folders(parent, e);
    FILE *f = ok ? fopen(to, "wbx") : NULL;
    if (ok && (!f || (n && fwrite(data, (size_t)n, 1, f) != 1)))
        ok = error_set(e, "%s: cannot be written; %s", QUOTE(to), strerror(errno));
    if (f && fclose(f) && ok)
        ok = error_set(e, "%s: cannot be written; %s", QUOTE(to), strerror(errno));
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
