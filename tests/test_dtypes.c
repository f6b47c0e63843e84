/* test_dtypes.c - convert --dtype, inspect, caption, export and back on the folders of golden/hf; how near
 * products in bf16 come; and how much memory converting takes. Skips aloud without the folders. */
#include "convert/convert.h"
#include "convert/weights.h"
#include "tests/published.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error e;

static const struct { const char *name, *type; } folders[] = {
    { "opt_f32", "f32" }, { "opt_postln_f16_sharded", "f16" },
    { "t5_gelu_f32", "f32" }, { "t5_gelunew_bf16", "bf16" },
};
static const struct { const char *name; double width; } dtypes[] = {
    { "f32", 4 }, { "f16", 2 }, { "bf16", 2 }, { "int8", 1 },
};
enum { FOLDERS = 4, DTYPES = 4 };

/* Is the folder there? */
static bool there(const char *model)
{
    bool yes = !access(IN_MODEL("config.json"), R_OK);
    if (!yes)
        fprintf(stderr, "published: no %s/%s: skipped\n", published_root(), model);
    return yes;
}

static json_t *object(said s)
{
    json_t *o = line_of(s, 0);
    shell_free(s);
    return o;
}

static long number(const json_t *o, const char *key)
{
    return (long)json_integer_value(json_object_get(o, key));
}

static long file_bytes(const char *path)
{
    struct stat s;
    ck_assert_int_eq(stat(path, &s), 0);
    return (long)s.st_size;
}

/* ---- convert --dtype ----------------------------------------------------------------------------------- */
/* Sizes are those of the types, inspect says so, and the model speaks. */
START_TEST(a_file_is_as_large_as_its_type_and_speaks)
{
    const char *model = folders[_i].name;
    char path[512];
    if (!there(model))
        return;
    long size[DTYPES], low[DTYPES], all = 0;
    for (int d = 0; d < DTYPES; d++) {
        const char *type = dtypes[d].name;
        WORKS("convert", IN_MODEL(""), "-o", folder_path(path, type), "--dtype", type, "--quiet");
        json_t *o = object(BLIP2("inspect", path, "--json"));
        size[d] = file_bytes(path);
        all = number(o, "parameters");
        low[d] = d ? number(o, type) : 0;
        ck_assert_msg(number(o, REAL == 64 ? "f64" : "f32") == all - low[d], "%s", type);
        json_decref(o);
        json_t *caption = object(BLIP2("caption", path, IN_MODEL("inputs/image0.png"), "--max-new-tokens",
                                       "5", "--reference", "hf", "--json"));
        ck_assert(json_array_size(json_object_get(caption, "ids")) > 0);
        json_decref(caption);
    }
    for (int d = 1; d < DTYPES; d++) {
        double saved = (double)(size[0] - size[d]), right = (4 - dtypes[d].width) * (double)low[d];
        ck_assert_msg(low[d] == low[1] && 2 * low[d] > all, "%s: %ld of %ld", dtypes[d].name, low[d], all);
        ck_assert_msg(fabs(saved - right) < 0.15 * right, "%s: %g saved, expected %g", dtypes[d].name, saved,
                      right);
    }
}
END_TEST

/* Without --dtype each matrix keeps its type: what --dtype of that type makes, to the byte. */
START_TEST(as_is_is_the_type_of_the_source)
{
    const char *model = folders[_i].name;
    if (!there(model))
        return;
    WORKS("convert", IN_MODEL(""), "-o", IN_FOLDER("as-is.h5"), "--quiet");
    WORKS("convert", IN_MODEL(""), "-o", IN_FOLDER("given.h5"), "--dtype", folders[_i].type, "--quiet");
    ck_assert(folder_same("as-is.h5", "given.h5"));
    WORKS("convert", IN_MODEL(""), "-o", IN_FOLDER("other.h5"), "--dtype", _i % 2 ? "int8" : "bf16",
          "--quiet");
    ck_assert_int_ne(file_bytes(IN_FOLDER("as-is.h5")), file_bytes(IN_FOLDER("other.h5")));
}
END_TEST

/* ---- export -------------------------------------------------------------------------------------------- */
/* Tensors of 16 bits in the export that the source has in the same type: the same bytes. How many. */
static long same_bits(const char *source, const char *export)
{
    weights *a = weights_open(source, &e), *b = weights_open(export, &e);
    long met = 0;
    ck_assert_msg(a && b, "%s", e.text);
    for (long i = 0; i < weights_count(b); i++) {
        const weights_entry *y = weights_at(b, i), *x = weights_find(a, y->name);
        if (!x || (y->type != W_F16 && y->type != W_BF16))
            continue;
        size_t bytes = (size_t)(2 * y->size);
        char *u = mem_new(bytes), *v = mem_new(bytes);
        ck_assert_msg(x->type == y->type && x->size == y->size, "%s", y->name);
        ck_assert(weights_read_raw(a, x, u, &e) && weights_read_raw(b, y, v, &e));
        ck_assert_msg(!memcmp(u, v, bytes), "%s", y->name);
        mem_free(u);
        mem_free(v);
        met++;
    }
    weights_close(a);
    weights_close(b);
    return met;
}

START_TEST(an_export_has_the_bits_of_its_source)
{
    const char *model = folders[_i].name;
    if (!there(model))
        return;
    WORKS("convert", IN_MODEL(""), "-o", IN_FOLDER("m.h5"), "--quiet");
    WORKS("export", IN_FOLDER("m.h5"), "-o", IN_FOLDER("out"), "--quiet");
    long met = same_bits(IN_MODEL(_i == 1 ? "model.safetensors.index.json" : "model.safetensors"),
                         IN_FOLDER("out/model.safetensors"));
    ck_assert_msg(_i % 2 ? met > 15 : met == 0, "%ld", met);
}
END_TEST

/* MODEL -> folder -> MODEL -> folder: both folders have the same tensors, to the byte. */
START_TEST(sixteen_bits_come_back_from_an_export)
{
    const char *model = folders[_i / 2].name;
    if (!there(model))
        return;
    WORKS("convert", IN_MODEL(""), "-o", IN_FOLDER("a.h5"), "--dtype", _i % 2 ? "bf16" : "f16", "--quiet");
    WORKS("export", IN_FOLDER("a.h5"), "-o", IN_FOLDER("a"), "--quiet");
    WORKS("convert", IN_FOLDER("a"), "-o", IN_FOLDER("b.h5"), "--quiet");
    WORKS("export", IN_FOLDER("b.h5"), "-o", IN_FOLDER("b"), "--quiet");
    ck_assert(folder_same("a/model.safetensors", "b/model.safetensors"));
    ck_assert_int_gt(same_bits(IN_FOLDER("a/model.safetensors"), IN_FOLDER("b/model.safetensors")), 15);
    json_t *a = object(BLIP2("inspect", IN_FOLDER("a.h5"), "--json"));
    json_t *b = object(BLIP2("inspect", IN_FOLDER("b.h5"), "--json"));
    const char *type = _i % 2 ? "bf16" : "f16";
    ck_assert(number(a, type) > 0 && number(a, type) == number(b, type)
              && number(a, "bytes") == number(b, "bytes"));
    json_decref(a);
    json_decref(b);
}
END_TEST

/* ---- --compute bf16 ------------------------------------------------------------------------------------ */
/* Largest difference between what both ways of computing give, as a share of the largest value. */
static double share(tensor *const x[2])
{
    double most = 0;
    for (long i = 0; i < x[0]->size; i++)
        most = fmax(most, fabs((double)x[0]->data[i]));
    return tiny_distance(x[0], x[1]) / most;
}

/* The pictures of expected.h5 through the tower (B,N,E) and into soft prompts (B,Q,L) or queries (B,Q,D). */
static void bf16_shares(const char *model, const char *file, ag_precision how, double *image, double *prompt)
{
    blip2_model m;
    bool sealed;
    h5_shape shape;
    tape *t = ag_tape_new();
    h5 *f = h5_open(IN_MODEL("expected.h5"), &e);
    ck_assert_msg(f && h5_find(f, "pixel_values", &shape, &e) && shape.ndim == 4, "%s", e.text);
    tensor *pictures = ag_new(t, 4, shape.dim), *seen[2], *asked[2];
    ck_assert(h5_read(f, "pixel_values", H5_REALS, 4, shape.dim, pictures->data, &e));
    h5_close(f);
    ck_assert_msg(blip2_open(&m, file, &sealed, &e), "%s", e.text);
    ag_record_on(t, false);
    for (int k = 0; k < 2; k++) {
        ag_compute(t, k ? how : AG_EXACT);
        seen[k] = blip2_vision_features(&m, t, pictures);
        asked[k] = blip2_image_queries(&m, t, seen[k], NULL, NULL);
        if (m.config.llm != BLIP2_LLM_NONE)
            asked[k] = nn_linear_forward(&m.llm_proj, t, asked[k]);
    }
    *image = share(seen);
    *prompt = share(asked);
    blip2_close(&m);
    ag_tape_free(t);
}

START_TEST(bf16_products_are_near)
{
    const char *model = _i < FOLDERS ? folders[_i].name : "itm_f32";
    double image, prompt;
    if (!there(model))
        return;
    WORKS("convert", IN_MODEL(""), "-o", IN_FOLDER("m.h5"), "--dtype", "bf16", "--quiet");
    for (ag_precision how = AG_PAIRS; how <= AG_ONCE; how++) {
        bf16_shares(model, IN_FOLDER("m.h5"), how, &image, &prompt);
        if (getenv("BF16_SHARES"))
            printf("%s, %s: %.2e of the largest feature, %.2e of the largest of a prompt\n", model,
                   how == AG_ONCE ? "bf16-fast" : "bf16", image, prompt);
        if (how == AG_ONCE)
            ck_assert_msg(image > 1e-6 && image < 0.01 && prompt > 1e-6 && prompt < 0.03, "%g, %g", image,
                          prompt);
        else
            ck_assert_msg(image < 5e-5 && prompt < 1e-4, "%g, %g", image, prompt);
    }
}
END_TEST

#if REAL == 32 && !defined __SANITIZE_ADDRESS__
/* ---- memory -------------------------------------------------------------------------------------------- */
/* A model of 80 MB whose largest tensor has 16: as a folder in OUT. */
static double largest_of_a_model(ag_dtype type)
{
    blip2_config c = tiny_config();
    blip2_model m;
    long left_out, most = 0;
    c.stage1 = c.qformer.text = c.qformer.head = false;
    c.vision = (blip2_vit_config){ BLIP2_VIT_EVA, .image_size = 8, .patch = 4, .width = 12, .depth = 2,
                                   .heads = 2, .hidden = 20, .init_std = 0.02, .position_std = 0.02 };
    c.qformer.memory_width = 12;
    c.llm = BLIP2_LLM_OPT;
    c.opt = tiny_opt_config();
    c.opt.width = 512;
    c.opt.hidden = 2048;
    c.opt.vocab = 8000;
    c.opt.layers = 5;
    nn_store *s = nn_store_new(7);
    blip2_model_init(&m, s, &c);
    nn_freeze(s, "");
    if (type != AG_REAL)
        nn_keep_as(s, "opt_model", type);
    ck_assert(nn_build(s, false, &e));
    for (long i = 0; i < s->count; i++)
        most = s->entries[i].value->size > most ? s->entries[i].value->size : most;
    ck_assert_msg(blip2_save(&m, IN_FOLDER("made.h5"), "made", NULL, 0, &e), "%s", e.text);
    nn_store_free(s);
    ck_assert_msg(convert_export(IN_FOLDER("made.h5"), IN_FOLDER("out"), true, -1, &left_out, &e), "%s",
                  e.text);
    return 4.0 * (double)most;
}

/* Bytes of memory in use, now or at most since the last call of forget_peak. */
static double memory(const char *which)
{
    char line[256];
    double kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    ck_assert(f);
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, which, strlen(which)))
            kib = atof(line + strlen(which) + 1);
    fclose(f);
    ck_assert(kib > 0);
    return 1024 * kib;
}

static bool forget_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    bool ok = f && fputs("5", f) >= 0;
    ok = f && !fclose(f) && ok;
    if (!ok)
        fprintf(stderr, "dtypes: the kernel does not let a process reset its peak: skipped\n");
    return ok;
}

/* Beside the tensor as reals the tensor as it is written: a quarter to a half of it. */
START_TEST(convert_and_export_need_the_memory_of_the_largest_tensor)
{
    static const convert_dtype to[] = { CONVERT_F32, CONVERT_F16, CONVERT_BF16, CONVERT_INT8, CONVERT_AS_IS };
    static const ag_dtype from[] = { AG_REAL, AG_F16, AG_BF16 };
    const char *const source[] = { IN_FOLDER("out") };
    double largest = largest_of_a_model(from[_i]);
    long left_out;
    for (int k = 0; k < 5; k++) {
        if (!forget_peak())
            return;
        double before = memory("VmRSS:");
        ck_assert_msg(convert_run_as(source, 1, IN_FOLDER("m.h5"), to[k], NULL, &e), "%s", e.text);
        double used = memory("VmHWM:") - before;
        ck_assert_msg(used < 1.5 * largest + (4 << 20), "convert %d: %g of %g bytes", k, used, largest);
        ck_assert(forget_peak());
        before = memory("VmRSS:");
        ck_assert_msg(convert_export(IN_FOLDER("m.h5"), IN_FOLDER("back"), true, -1, &left_out, &e), "%s",
                      e.text);
        used = memory("VmHWM:") - before;
        ck_assert_msg(used < 1.5 * largest + (4 << 20), "export %d: %g of %g bytes", k, used, largest);
    }
}
END_TEST
#endif

Suite *suite_dtypes(void)
{
    Suite *s = suite_create("dtypes");
    TCase *d = tcase_create("dtypes"), *b = tcase_create("bf16"), *m = tcase_create("memory");
    for (int i = 0; i < 3; i++) {
        TCase *x = (TCase *[]){ d, b, m }[i];
        tcase_set_timeout(x, TEST_SECONDS);
        tcase_add_checked_fixture(x, folder_begin, folder_end);
        suite_add_tcase(s, x);
    }
    tcase_add_loop_test(d, a_file_is_as_large_as_its_type_and_speaks, 0, FOLDERS);
    tcase_add_loop_test(d, as_is_is_the_type_of_the_source, 0, FOLDERS);
    tcase_add_loop_test(d, an_export_has_the_bits_of_its_source, 0, FOLDERS);
    tcase_add_loop_test(d, sixteen_bits_come_back_from_an_export, 0, 2 * FOLDERS);
    tcase_add_loop_test(b, bf16_products_are_near, 0, FOLDERS + 1);
#if REAL == 32 && !defined __SANITIZE_ADDRESS__
    tcase_add_loop_test(m, convert_and_export_need_the_memory_of_the_largest_tensor, 0, 3);
#endif
    return s;
}
