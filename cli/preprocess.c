/* preprocess.c - `blip2 preprocess`: pictures as a vision tower takes them, in one HDF5 file. */
#include "cli/commands.h"
#include "data/data.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct batch {
    long n, size;
    bool across;                                   /* across first, whatever the picture's shape */
    uint8_t *resized; real *pixels;                /* (n,3,size,size) */
};

static bool batch_new(struct batch *b, long n, long size, bool across, error *e)
{
    size_t values = (size_t)(3*n*size*size);
    *b = (struct batch){ n, size, across, mem_new(values), mem_new(values*sizeof *b->pixels) };
    return (b->resized && b->pixels)
           || error_set(e, "preprocess: memory is out; %ld pictures of %ld x %ld asked for", n, size, size);
}

static void batch_free(struct batch *b)
{
    mem_free(b->resized);
    mem_free(b->pixels);
}

static bool read_one(const struct batch *b, long i, const char *path, picture_reference as, error *e)
{
    picture p, small;
    long area = b->size*b->size;
    if (!picture_read_as(&p, as, path, e))
        return false;
    bool ok = true;
    if (b->across) {                               /* one pass at a time: Pillow before 13 */
        picture whole = p;
        ok = picture_resize(&p, &whole, b->size, whole.height, e);
        picture_free(&whole);
    }
    ok = ok && picture_resize(&small, &p, b->size, b->size, e);
    picture_free(&p);
    if (!ok)
        return false;
    picture_normalise_as(as, small.rgb, b->size, b->pixels + 3*i*area);
    for (long c = 0; c < 3; c++)
        for (long k = 0; k < area; k++)
            b->resized[(3*i + c)*area + k] = small.rgb[3*k + c];
    picture_free(&small);
    return true;
}

/* All that cannot be read are reported together, in order. */
static bool read_all(const struct batch *b, char **paths, picture_reference as, error *e)
{
    char **wrong = mem_new((size_t)b->n*sizeof *wrong);
    bool told = true;                              /* every failure has its text */
    if (!wrong)
        return error_set(e, "preprocess: memory is out");
    #pragma omp parallel for schedule(dynamic) reduction(&:told)
    for (long i = 0; i < b->n; i++) {
        error mine;
        if (!read_one(b, i, paths[i], as, &mine))
            told &= (wrong[i] = mem_text("%s", mine.text)) != NULL;
    }
    e->lines = 0;
    for (long i = 0; i < b->n; i++)
        if (wrong[i])
            error_line(e, "%s", wrong[i]);
    for (long i = 0; i < b->n; i++)
        mem_free(wrong[i]);
    mem_free(wrong);
    if (!told)
        return error_set(e, "preprocess: memory is out");
    return error_close(e, ERROR_RUN, "%d of %ld pictures cannot be read", e->lines, b->n);
}

/* The names as a JSON list; what is no UTF-8 as \xNN. mem_free it. */
static char *names_of(char **paths, long n)
{
    json_t *list = json_array();
    for (long i = 0; list && i < n; i++) {
        json_t *name = json_string(paths[i]);
        json_array_append_new(list, name ? name : json_string(QUOTE(paths[i])));
    }
    char *text = list ? json_dumps(list, JSON_COMPACT) : NULL, *copy = text ? mem_text("%s", text) : NULL;
    free(text);
    json_decref(list);
    return copy;
}

static bool write_file(const struct batch *b, char **paths, const char *reference, const char *out, error *e)
{
    long dim[4] = { b->n, 3, b->size, b->size };
    char *names = names_of(paths, b->n);
    if (!names)
        return error_set(e, "preprocess: memory is out");
    h5_out *f = h5_create(out, e);
    if (f) {
        h5_write(f, "resized", H5_BYTES, 4, dim, b->resized);
        h5_write(f, "pixels", H5_REALS, 4, dim, b->pixels);
        h5_write_text(f, "format", "blip2 pictures");
        h5_write_text(f, "reference", reference);
        h5_write_text(f, "names", names);
    }
    mem_free(names);
    return f && h5_finish(f, e);
}

static void print_result(const struct batch *b, const char *reference, const char *out, bool json)
{
    if (!json) {
        printf("%s: %ld picture%s of %ld x %ld by %s's rules\n", out, b->n, b->n > 1 ? "s" : "", b->size,
               b->size, strcmp(reference, "hf") ? "LAVIS" : "Hugging Face");
        return;
    }
    printf("{\"file\":");
    cli_json_text(out);
    printf(",\"pictures\":%ld,\"size\":%ld,\"reference\":\"%s\"}\n", b->n, b->size, reference);
}

static int run(int argc, char **argv)
{
    long size = 224;
    const char *reference = "lavis", *passes = "auto", *out = NULL;
    cli_common common = { 0 };
    cli_option options[] = {
        { "size", "S", CLI_INT, &size, 1, 4096, "side of the square in pixels" },
        { "reference", "lavis|hf", CLI_TEXT, &reference, 0, 0, "whose rules (default: lavis)" },
        { "passes", "auto|across", CLI_TEXT, &passes, 0, 0,
          "which way is resized first: as Pillow 13 (auto, the default), or across as Pillow before" },
        { "out", "F.h5", CLI_TEXT, &out, 0, 0, "the file that gets the pictures; -o is the same" },
    };
    int code;
    error e;
    struct batch b;
    if (!cli_parse(&argc, argv, options, 4, &common, &code))
        return code;
    if (strcmp(reference, "lavis") && strcmp(reference, "hf"))
        return cli_usage("preprocess", "--reference: expected lavis or hf, found \"%s\"", QUOTE(reference));
    if (strcmp(passes, "auto") && strcmp(passes, "across"))
        return cli_usage("preprocess", "--passes: expected auto or across, found \"%s\"", QUOTE(passes));
    if (argc < 2 || !out)
        return cli_usage("preprocess", "pictures and -o F.h5 are needed: preprocess IMG... -o F.h5");
    if (!cli_may_write("preprocess", out, ".h5 .hdf5", argc - 1, (const char *const *)argv + 1)
        || !cli_spares_models("preprocess", out))
        return 2;
    picture_reference as = strcmp(reference, "hf") ? PICTURE_LAVIS : PICTURE_HF;
    bool ok = batch_new(&b, argc - 1, size, !strcmp(passes, "across"), &e) && read_all(&b, argv + 1, as, &e)
              && write_file(&b, argv + 1, reference, out, &e);
    if (ok && !common.quiet)
        print_result(&b, reference, out, common.json);
    batch_free(&b);
    return ok ? 0 : cli_fail(&e);
}

const cli_command cli_preprocess = {
    "preprocess", "IMG... -o F.h5", "resize and normalise pictures as the vision tower takes them", run,
    "F.h5 gets `resized` (n,3,S,S bytes) and `pixels` (n,3,S,S numbers): the picture as a square, bicubic\n"
    "as Pillow 13 has it, then per channel (byte/255 - mean)/deviation with CLIP's constants. The attribute\n"
    "`names` lists the files. PNG, JPEG and WebP are told by their first bytes. By LAVIS's rules alpha is\n"
    "dropped and the picture stays as it is stored; by Hugging Face's (hf) it is laid on white, and turned\n"
    "as its Exif block says. Nothing is written unless every picture can be read; a model\n"
    "file is not replaced."
};
