/* model_file.c - a model is one HDF5 file: parameters under their LAVIS names, the architecture as YAML in
 * the root attribute `config`, where it comes from in `source`, and the tokenizers' files under
 * tokenizer/. */
#include "blip2/internal.h"
#include <stdio.h>
#include <string.h>

enum { VERSION = 1 };
/* no parameters of a model */
static const char *const others[] = { "tokenizer", "optimizer", "state", "contrastive", NULL };

static void write_parts(h5_out *f, const blip2_part *parts, int count)
{
    char name[160];
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "tokenizer/%s", parts[i].name);
        h5_write(f, name, H5_BYTES, 1, &parts[i].size, parts[i].bytes);
    }
}

bool blip2_write_head(const blip2_model *m, h5_out *f, const char *source, const blip2_part *parts, int count)
{
    blip2_config copy = m->config;
    config_table table = blip2_config_table("", &copy);
    char *config = config_print(&table, 1, false);
    if (!config)
        return false;
    h5_write_text(f, "format", "blip2");
    h5_write_number(f, "format_version", VERSION);
    h5_write_text(f, "config", config);
    h5_write_text(f, "source", source);
    write_parts(f, parts, count);
    mem_free(config);
    return true;
}

bool blip2_write(const blip2_model *m, h5_out *f, const char *source, const blip2_part *parts, int count)
{
    if (!blip2_write_head(m, f, source, parts, count))
        return false;
    nn_save(m->store, f, "contrastive");
    return true;
}

bool blip2_save(const blip2_model *m, const char *path, const char *source, const blip2_part *parts,
                int count, error *e)
{
    h5_out *f = h5_create(path, e);
    if (!f)
        return false;
    if (!blip2_write(m, f, source, parts, count)) {
        h5_abandon(f);
        return error_set(e, "%s: out of memory", QUOTE(path));
    }
    return h5_finish(f, e);
}

bool blip2_read_config(h5 *f, blip2_config *c, error *e)
{
    const char *path = h5_path(f);
    error inner;
    double version = 0;
    char *format = h5_text(f, "", "format", &inner);
    bool right = format && !strcmp(format, "blip2");
    mem_free(format);
    if (!right)
        return error_set(e, "%s: no model file of this program: its root attribute `format` is not \"blip2\"",
                         QUOTE(path));
    if (!h5_number(f, "", "format_version", &version, e))
        return false;
    if (version != VERSION)
        return error_set(
            e, "%s: format_version: expected %d, found %g; it was written by another version of this program",
            QUOTE(path), VERSION, version);
    char *text = h5_text(f, "", "config", e);
    if (!text)
        return false;
    *c = blip2_config_default();
    config_table table = blip2_config_table("", c);
    bool ok = config_read_text(path, text, strlen(text), &table, 1, e) && blip2_config_check(path, c, e);
    mem_free(text);
    if (!ok)
        e->kind = ERROR_RUN;                               /* the file is at fault, not the command */
    return ok;
}

/* A table of positions of another grid is changed by its family's rule. */
bool blip2_fit_positions(const blip2_config *c, tensor *to, const h5_shape *from, const real *data)
{
    bool eva = !strcmp(to->name, "visual_encoder.pos_embed");
    if (!eva && strcmp(to->name, "visual_encoder.positional_embedding"))
        return false;
    long C = to->dim[to->ndim - 1], have = from->size / (C ? C : 1), want = to->size / (C ? C : 1), a = 0,
         b = 0;
    while (a * a < have - 1)
        a++;
    while (b * b < want - 1)
        b++;
    bool one = from->ndim == to->ndim && (to->ndim < 3 || from->dim[0] == to->dim[0]);     /* one table */
    if (!one || from->dim[from->ndim - 1] != C || a * a != have - 1 || b * b != want - 1
        || a < 1)
        return false;
    if (data)
        blip2_resize_positions(c->vision.kind, a, b, C, data, to->data);
    return true;
}

static bool fit_positions(void *ctx, tensor *to, const h5_shape *from, const real *data)
{
    return blip2_fit_positions(ctx, to, from, data);
}

bool blip2_load(blip2_model *m, h5 *f, const char *prefix, error *e)
{
    return nn_load(m->store, f, prefix, others, fit_positions, &m->config, e);
}

typedef struct start { blip2_model *m; const blip2_config *config; } start;

static void init(void *context)
{
    const start *s = context;
    blip2_model_init(s->m, s->m->store, s->config);
}

/* Registers the parameters of a file's configuration; what is impossible in it is the file's mistake. */
static bool init_checked(blip2_model *m, const char *path, const blip2_config *c, error *e)
{
    error why;
    nn_store *store = m->store;
    bool ok = ag_try(store->names, init, &(start){ m, c }, &why);
    m->store = store;
    return ok || error_set(e, "%s: config: %s", QUOTE(path), why.text);
}

/* Parameters of a case stand under weights/; whatever else is there is not ours. */
static bool read_weights(const blip2_model *m, h5 *f, error *e)
{
    char name[NN_NAME + 8] = "weights/";
    error one;
    e->lines = 0;
    for (long i = 0; i < m->store->count; i++) {
        const nn_entry *p = &m->store->entries[i];
        nn_dataset(p->name, name + strlen("weights/"));
        if (!p->alias_of && !h5_read(f, name, H5_REALS, p->value->ndim, p->value->dim, p->value->data, &one))
            error_line(e, "%s", one.text);
        name[strlen("weights/")] = 0;
    }
    return error_close(e, ERROR_RUN, "%s: does not fit the model: %d parameters missing or of another shape",
                       QUOTE(h5_path(f)), e->lines);
}

static bool is_case(h5 *f)
{
    error none;
    char *kind = h5_text(f, "", "kind", &none), *format = h5_text(f, "", "format", &none);
    bool yes = kind && !format;
    mem_free(kind);
    mem_free(format);
    return yes;
}

static bool open_file(blip2_model *m, h5 *f, bool foreign, const char *const *frozen, const nn_watch *watch,
                      error *e)
{
    blip2_config c;
    bool training = !frozen[0] || *frozen[0];
    if (!(foreign ? blip2_case_config(f, &c, e) && blip2_config_check(h5_path(f), &c, e)
                  : blip2_read_config(f, &c, e))) {
        e->kind = ERROR_RUN;                               /* the file is at fault, not the command */
        return false;
    }
    if (!(m->store = nn_store_new(0)))
        return error_set(e, "%s: out of memory", QUOTE(h5_path(f)));
    if (!init_checked(m, h5_path(f), &c, e))
        return false;
    for (int i = 0; frozen[i]; i++)
        nn_freeze(m->store, frozen[i]);
    if (!foreign)
        nn_keep(m->store, f, "");
    m->store->blank = true;
    m->store->watch = watch ? *watch : (nn_watch){ 0 };
    return (foreign || nn_match(m->store, f, "", others, e)) && nn_build(m->store, training, e)
           && (foreign ? read_weights(m, f, e) : blip2_load(m, f, "", e));
}

static bool open_path(blip2_model *m, const char *path, bool strangers, const char *const *frozen,
                      const nn_watch *watch, bool *sealed, error *e)
{
    *m = (blip2_model){ 0 };
    h5 *f = h5_open(path, e);
    if (!f)
        return false;
    bool ok = open_file(m, f, strangers && is_case(f), frozen, watch, e);
    *sealed = h5_sealed(f);
    h5_close(f);
    if (!ok)
        blip2_close(m);
    return ok;
}

bool blip2_open(blip2_model *m, const char *path, bool *sealed, error *e)
{
    return blip2_open_told(m, path, sealed, NULL, e);
}

bool blip2_open_told(blip2_model *m, const char *path, bool *sealed, const nn_watch *watch, error *e)
{
    return open_path(m, path, false, (const char *const[]){ "", NULL }, watch, sealed, e);
}

bool blip2_open_case(blip2_model *m, const char *path, const char *const *frozen, bool *sealed, error *e)
{
    return open_path(m, path, true, frozen, NULL, sealed, e);
}

void blip2_close(blip2_model *m)
{
    nn_store_free(m->store);
    *m = (blip2_model){ 0 };
}

static bool read_part(h5 *f, const char *name, blip2_part *to, error *e)
{
    h5_shape shape;
    if (!h5_find(f, name, &shape, e))
        return false;
    if (shape.ndim != 1 || shape.type != H5_BYTES || strlen(strrchr(name, '/')) > sizeof to->name)
        return error_set(e, "%s: %s: expected a file's bytes (uint8, one axis), found another dataset",
                         QUOTE(h5_path(f)), QUOTE(name));
    *to = (blip2_part){ .size = shape.size, .bytes = mem_new((size_t)shape.size + 1) };
    if (!to->bytes)
        return error_set(e, "%s: %s: memory is out", QUOTE(h5_path(f)), QUOTE(name));
    strcpy(to->name, strrchr(name, '/') + 1);
    return h5_read(f, name, H5_BYTES, 1, shape.dim, to->bytes, e);
}

int blip2_read_parts(h5 *f, const char *group, blip2_part to[BLIP2_PARTS], error *e)
{
    char name[160];
    long count;
    snprintf(name, sizeof name, "tokenizer/%s", group);
    if (h5_has(f, name) != H5_GROUP)
        return h5_readable(f, e) ? 0 : -1;
    char **names = h5_list(f, name, &count, e);
    bool ok = names
              && (count <= BLIP2_PARTS
                  || error_set(e, "%s: %s: expected at most %d files, found %ld", QUOTE(h5_path(f)),
                               QUOTE(name), BLIP2_PARTS, count));
    int n = 0;
    while (ok && n < count) {
        to[n].bytes = NULL;
        ok = read_part(f, names[n], &to[n], e);
        n++;
    }
    if (names)
        h5_list_free(names, count);
    if (ok)
        return n;
    blip2_free_parts(to, n);
    return -1;
}

void blip2_free_parts(blip2_part *parts, int count)
{
    for (int i = 0; i < count; i++)
        mem_free(parts[i].bytes);
}
