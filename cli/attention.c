/* attention.c - `blip2 attention`: which patches each query looks at, in pictures and numbers. */
#include "cli/attention.h"
#include "cli/commands.h"
#include "cli/model.h"
#include <stdio.h>
#include <string.h>

/* ---- numbers ------------------------------------------------------------------------------------------- */
static bool save_numbers(const attention_view *v, const char *image, error *e)
{
    const eval_attention *a = &v->a;
    char *path = mem_text("%s/attention.h5", v->folder), name[64];
    h5_out *f = path ? h5_create(path, e) : (error_set(e, "out of memory"), NULL);
    mem_free(path);
    if (!f)
        return false;
    for (long i = 0; i < a->layers; i++) {
        snprintf(name, sizeof name, "self/%ld", i);
        h5_write(f, name, H5_REALS, 3, a->self[i]->dim + 1, a->self[i]->data);             /* (H,S,S) */
        snprintf(name, sizeof name, "cross/%ld", i);
        if (a->cross[i])
            h5_write(f, name, H5_REALS, 3, a->cross[i]->dim + 1, a->cross[i]->data);       /* (H,Q,N) */
    }
    h5_write_text(f, "image", image);
    h5_write_number(f, "grid", v->grid);
    h5_write_number(f, "queries", a->Q);
    return h5_finish(f, e);
}

/* One line a layer, head and query: the share of the class token and of each patch, row by row. */
static void print_json(const attention_view *v, const char *image)
{
    for (long i = 0; i < v->a.layers; i++)
        for (long r = 0; v->a.cross[i] && r < v->a.heads * v->a.Q; r++) {
            printf("{\"image\":");
            cli_json_text(image);
            printf(",\"layer\":%ld,\"head\":%ld,\"query\":%ld,\"class_token\":%.7g,\"patches\":[", i,
                   r / v->a.Q, r % v->a.Q, attention_patch(v, i, r / v->a.Q, r % v->a.Q, 0));
            for (long k = 1; k < v->a.N; k++)
                printf(k > 1 ? ",%.7g" : "%.7g", attention_patch(v, i, r / v->a.Q, r % v->a.Q, k));
            puts("]}");
        }
}

/* ---- pictures ------------------------------------------------------------------------------------------ */
static bool draw(const attention_view *v, bool json, error *e)
{
    char file[64];
    for (long i = 0; i < v->a.layers; i++) {
        if (v->a.cross[i]) {
            snprintf(file, sizeof file, "layer_%02ld.png", i);
            if (!attention_layer(v, i, file, e))
                return false;
            if (!json)
                printf("%s/%s: cross-attention; on the class token %.2f\n", v->folder, file,
                       attention_patch(v, i, -1, -1, 0));
        }
        snprintf(file, sizeof file, "self_%02ld.png", i);
        if (v->a.T && !attention_words(v, i, file, e))
            return false;
        if (v->a.T && !json)
            printf("%s/%s: self-attention of queries and text\n", v->folder, file);
    }
    if (!attention_overview(v, "overview.png", e))
        return false;
    if (!json)
        printf("%s/overview.png: all layers, means over heads\n%s/attention.h5: the probabilities\n",
               v->folder, v->folder);
    return true;
}

/* The text as the Q-Former reads it, and what its tokens are called. */
static bool read_text(eval_session *s, const char *model, const char *text, blip2_text *words,
                      const char ***tokens, error *e)
{
    if (!s->model.config.qformer.text || !s->bert)
        return error_set(e, "%s: its Q-Former reads no text; leave --text out", QUOTE(model));
    if (!eval_texts(s, &text, 1, BLIP2_LAVIS, words, e))
        return false;
    *tokens = ag_alloc(s->t, words->T * (long)sizeof **tokens);
    for (long i = 0; i < words->T; i++)
        (*tokens)[i] = tokenizer_token(s->bert, words->ids[i]);
    return true;
}

static bool show(eval_session *s, const char *model, const char *image, const char *text, const char *folder,
                 bool json, error *e)
{
    const blip2_config *c = &s->model.config;
    attention_view v = { .folder = folder, .text = text, .grid = c->vision.image_size / c->vision.patch };
    blip2_text words = { 0 };
    const char **tokens = NULL;
    if (text && !read_text(s, model, text, &words, &tokens, e))
        return false;
    real *features = cli_features(s, image, e);
    if (!features)
        return false;
    v.tokens = tokens;
    v.a = eval_attend(&s->model, s->t, features, eval_tokens(c), words);
    mem_free(features);
    bool ok = picture_read(&v.picture, image, e) && file_make_folders(folder, e) && draw(&v, json, e)
              && save_numbers(&v, image, e);
    picture_free(&v.picture);
    if (ok && json)
        print_json(&v, image);
    return ok;
}

/* Is the picture one that an earlier call drew into this folder? */
static bool was_drawn(const char *image, const char *folder)
{
    const char *slash = strrchr(image, '/'), *name = slash ? slash + 1 : image;
    bool drawn = !strcmp(name, "overview.png") || !strncmp(name, "layer_", 6) || !strncmp(name, "self_", 5);
    char *path = drawn ? mem_text("%s/%s", folder, name) : NULL;
    bool is = path && file_same(path, image);
    mem_free(path);
    return is;
}

static int run(int argc, char **argv)
{
    const char *text = NULL, *folder = NULL;
    cli_use use = { 0 };
    cli_common common = { 0 };
    cli_option options[] = {
        { "text", "S", CLI_TEXT, &text, 0, 0, "a text that is read together with the picture" },
        { "out", "DIR", CLI_TEXT, &folder, 0, 0, "the folder that gets the pictures; -o is the same" },
        CLI_COMPUTE_OPTION(use),
    };
    int code;
    if (!cli_parse(&argc, argv, options, 3, &common, &code))
        return code;
    if (argc != 3 || !folder)
        return cli_usage("attention", "a model, a picture and a folder are needed: "
                         "attention MODEL.h5 IMG -o DIR");
    if (was_drawn(argv[2], folder))
        return cli_usage("attention", "-o: %s in it is what is read; expected another folder",
                         QUOTE(argv[2]));
    eval_session s;
    error e;
    use.quiet = common.quiet;
    if (!cli_open_model(&s, argv[1], eval_can_attend, &use, &e))
        return cli_fail(&e);
    bool ok = show(&s, argv[1], argv[2], text, folder, common.json, &e);
    eval_close(&s);
    return ok ? 0 : cli_fail(&e);
}

const cli_command cli_attention = {
    "attention", "MODEL.h5 IMG -o DIR", "show which patches of a picture each query looks at", run,
    "DIR gets layer_NN.png for each layer with cross-attention (a row a query, a column a head),\n"
    "overview.png with all layers, and attention.h5 with the probabilities: cross/LAYER (heads, queries,\n"
    "class token and patches) and self/LAYER (heads, rows, columns). With --text picture and text are read\n"
    "together, as matching does, and self_NN.png shows who looks at whom among queries and tokens.\n"
    "Layers, heads and queries count from 0. With --json a line a layer, head and query:\n"
    "{\"image\",\"layer\",\"head\",\"query\",\"class_token\",\"patches\"}."
};
