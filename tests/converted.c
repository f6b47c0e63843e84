/* converted.c - converted.h: models of every kind, and files of weights with other names, numbers and tensors
 * than `export` gave them. */
#define _GNU_SOURCE
#include "tests/converted.h"
#include "convert/weights.h"
#include <stdio.h>
#include <string.h>

enum { MOST = 1 << 22 };               /* bytes of a file's numbers */
static error e;

/* ---- models ---------------------------------------------------------------------------------------- */
blip2_config made_config(int kind)
{
    blip2_config c = tiny_config();
    c.vision = (blip2_vit_config){ BLIP2_VIT_EVA, .image_size = 8,  .patch = 4,
                                   .width = 12,   .depth = 2,       .heads = 2,
                                   .hidden = 20,  .init_std = 0.02, .position_std = 0.02 };
    if (kind == WIDE_TOWER)                                /* heads 64 wide, as those of published towers */
        c.vision.width = c.qformer.memory_width = 128;
    if (kind == NO_TOWER)
        c.vision = (blip2_vit_config){ .kind = BLIP2_VIT_NONE };
    c.stage1 = c.qformer.text = kind >= RETRIEVAL;
    c.qformer.head = kind == LAVIS_STAGE1;
    if (kind == WITH_OPT) {
        c.llm = BLIP2_LLM_OPT;
        c.opt = tiny_opt_config();
    } else if (kind <= WITH_TIED_T5) {
        c.llm = BLIP2_LLM_T5;
        c.t5 = (blip2_t5_config){ .vocab = 19,
                                  .width = 10,
                                  .layers = 2,
                                  .decoder_layers = 1,
                                  .heads = 2,
                                  .head_width = 4,
                                  .hidden = 14,
                                  .buckets = 8,
                                  .max_distance = 16,
                                  .dropout = 0.1,
                                  .eps = 1e-6,
                                  .init_factor = 1,
                                  .tied = kind == WITH_TIED_T5,
                                  .eos = 1 };
    }
    return c;
}

void made_save(const blip2_config *c, const char *path, const blip2_part *parts, int n)
{
    blip2_model m;
    nn_store *s = nn_store_new(7);
    blip2_model_init(&m, s, c);
    ck_assert(nn_build(s, false, &e));
    tiny_shake(s);
    ck_assert_msg(blip2_save(&m, path, "made", parts, n, &e), "%s", e.text);
    nn_store_free(s);
}

const char *made_model(int kind)
{
    static char path[512];
    blip2_config c = made_config(kind);
    made_save(&c, folder_path(path, "model.h5"), NULL, 0);
    return path;
}

void made_convert(const char *from, const char *to)
{
    const char *const sources[] = { from };
    ck_assert_msg(convert_run(sources, 1, to, NULL, &e), "%s", e.text);
}

long made_same(const char *a, const char *b, const char *but)
{
    blip2_model x, y;
    bool sealed;
    long met = 0;
    ck_assert_msg(blip2_open(&x, a, &sealed, &e), "%s", e.text);
    ck_assert_msg(blip2_open(&y, b, &sealed, &e), "%s", e.text);
    for (long i = 0; i < x.store->count; i++) {
        const nn_entry *p = &x.store->entries[i];
        const tensor *other = nn_find(y.store, p->name);
        if (but && nn_has_prefix(p->name, but))
            continue;
        ck_assert_msg(other && other->size == p->value->size
                          && !memcmp(other->data, p->value->data, (size_t)other->size * sizeof(real)),
                      "%s", p->name);
        met++;
    }
    blip2_close(&x);
    blip2_close(&y);
    return met;
}

/* ---- files ----------------------------------------------------------------------------------------- */
void made_rewrite(const char *path, const char *from, const char *to)
{
    long n;
    char *text = file_load(path, 1 << 26, &n, &e);
    char *at = text ? memmem(text, (size_t)n, from, strlen(from)) : NULL;
    ck_assert_msg(at && strlen(from) == strlen(to), "%s: %s", path, from);
    memcpy(at, to, strlen(to));
    FILE *f = fopen(path, "w");
    ck_assert(f && fwrite(text, 1, (size_t)n, f) == (size_t)n && !fclose(f));
    mem_free(text);
}

void made_add_tensor(const char *path, const char *name, const char *shape, const real *data, long count)
{
    long size;
    uint64_t header, whole;
    char *text = file_load(path, 1 << 26, &size, &e);
    ck_assert_ptr_nonnull(text);
    memcpy(&header, text, 8);
    long end = size - 8 - (long)header, bytes = count * (long)sizeof *data;
    char *brace = memrchr(text + 8, '}', header);
    char *more = mem_text(",\"%s\":{\"dtype\":\"F%d\",\"shape\":%s,\"data_offsets\":[%ld,%ld]}}", name,
                          (int)sizeof *data * 8, shape, end, end + bytes);
    whole = (uint64_t)(brace - text - 8) + strlen(more);
    FILE *f = fopen(path, "w");
    ck_assert(f && fwrite(&whole, 8, 1, f) && fwrite(text + 8, (size_t)(brace - text - 8), 1, f));
    ck_assert(fputs(more, f) >= 0 && fwrite(text + 8 + header, (size_t)end, 1, f));
    ck_assert(fwrite(data, (size_t)bytes, 1, f) && !fclose(f));
    mem_free(more);
    mem_free(text);
}

/* As its bytes are, or rounded to bfloat16; in row-major order; how many bytes. */
static long tensor_bytes(const weights *w, const weights_entry *x, bool brain, void *to)
{
    real *wide = mem_new((size_t)x->size * sizeof *wide + 1);
    if (brain) {
        ck_assert(weights_read_reals(w, x, wide, &e));
        brain_round(x->size, wide, to);
    } else
        ck_assert(weights_read_raw(w, x, to, &e));
    mem_free(wide);
    return x->size * (brain ? 2 : weights_type_bytes(x->type));
}

void made_copy(const char *from, const char *to, made_name *name, bool brains)
{
    static const char *const types[W_TYPES] = { [W_F64] = "F64", [W_F32] = "F32" };
    weights *w = weights_open(from, &e);
    ck_assert_msg(w != NULL, "%s", e.text);
    char *header = mem_text("{"), *data = mem_new(MOST);
    long at = 0;
    for (long i = 0; i < weights_count(w); i++) {
        const weights_entry *x = weights_at(w, i);
        const char *other = name(x->name);
        if (!other)
            continue;
        long size = tensor_bytes(w, x, brains, data + at);
        char *more = mem_text("%s%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", header, header[1] ? "," : "", other,
                              brains ? "BF16" : types[x->type]);
        mem_free(header);
        for (int d = 0; d < x->ndim; d++) {
            char *longer = mem_text("%s%s%ld", more, d ? "," : "", x->dim[d]);
            mem_free(more);
            more = longer;
        }
        header = mem_text("%s],\"data_offsets\":[%ld,%ld]}", more, at, at + size);
        mem_free(more);
        at += size;
        ck_assert(at < MOST);
    }
    weights_close(w);
    uint64_t length = strlen(header) + 1;
    FILE *f = fopen(to, "w");
    ck_assert(f && fwrite(&length, 8, 1, f) && fputs(header, f) >= 0 && fputs("}", f) >= 0);
    ck_assert(fwrite(data, 1, (size_t)at, f) == (size_t)at && !fclose(f));
    mem_free(header);
    mem_free(data);
}

void made_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert(f && fputs(text, f) >= 0 && !fclose(f));
}
