/* full_model.c - what tools/test_full.sh needs and the program itself does not have.
 *
 *   full-model make opt-2.7b|flan-t5-xl FOLDER [SHARD_GIB]   a folder of random numbers in the published
 *       layout of Salesforce/blip2-opt-2.7b or blip2-flan-t5-xl: config.json and bfloat16 safetensors in
 *       shards with their index
 *   full-model run COMMAND...    runs it, says on stderr how long it took and how much memory it held at
 *       most; its exit code is the command's
 *
 * Every parameter has the size of the published file and numbers of the size that it starts with, so that
 * activations stay tame; norms are near 1, biases near 0. Shards are written number by number: memory
 * holds a block. */
#include "blip2/blip2.h"
#include "convert/names.h"
#include "data/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, SHARDS = 64 };
typedef struct piece { char name[CONVERT_NAME]; const nn_entry *of; long parts, size; int shard; } piece;
typedef struct folder { const char *path; piece *pieces; long count; int shards; long bytes[SHARDS]; } folder;

static int fail(const char *what)
{
    fprintf(stderr, "full-model: %s\n", what);
    return 1;
}

/* ---- the published sizes (their config.json files) ----------------------------------------------------- */
static blip2_config published(bool t5)
{
    blip2_config c = blip2_config_default(); /* EVA ViT-g of 39 blocks, BERT-base with 32 queries */
    c.stage1 = c.qformer.text = c.qformer.head = false;
    c.llm = t5 ? BLIP2_LLM_T5 : BLIP2_LLM_OPT;
    c.opt.vocab = 50304;
    return c;
}

static json_t *text_config(const blip2_config *c)
{
    const blip2_opt_config *o = &c->opt;
    const blip2_t5_config *t = &c->t5;
    if (c->llm == BLIP2_LLM_OPT)
        return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "model_type", "opt", "vocab_size",
                         (json_int_t)o->vocab,
                         "hidden_size", (json_int_t)o->width, "num_hidden_layers", (json_int_t)o->layers,
                         "num_attention_heads", (json_int_t)o->heads, "ffn_dim", (json_int_t)o->hidden,
                         "word_embed_proj_dim", (json_int_t)o->width, "eos_token_id", (json_int_t)o->eos);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:b}", "model_type", "t5", "vocab_size",
                     (json_int_t)t->vocab, "d_model", (json_int_t)t->width, "num_layers",
                     (json_int_t)t->layers,
                     "num_heads", (json_int_t)t->heads, "d_kv", (json_int_t)t->head_width, "d_ff",
                     (json_int_t)t->hidden, "feed_forward_proj", "gated-gelu", "dense_act_fn", "gelu",
                     "tie_word_embeddings", 0);
}

static bool write_json(const char *path, const char *name, json_t *all)
{
    char file[1024];
    snprintf(file, sizeof file, "%s/%s", path, name);
    bool ok = all && !json_dump_file(all, file, JSON_INDENT(2));
    json_decref(all);
    return ok;
}

static bool write_config(const char *path, const blip2_config *c)
{
    json_t *all = json_pack("{s:[s], s:s, s:I, s:I, s:b, s:s, s:{s:s}, s:{s:s}, s:o}", "architectures",
                            "Blip2ForConditionalGeneration", "model_type", "blip-2", "num_query_tokens",
                            (json_int_t)32,
                            "image_token_index", (json_int_t)(c->llm == BLIP2_LLM_T5 ? 32100 : 50265),
                            "use_decoder_only_language_model", c->llm == BLIP2_LLM_OPT, "torch_dtype",
                            "bfloat16",
                            "vision_config", "model_type", "blip_2_vision_model", "qformer_config",
                            "model_type", "blip_2_qformer", "text_config", text_config(c));
    return write_json(path, "config.json", all);
}

/* ---- numbers ------------------------------------------------------------------------------------------- */
static uint16_t brain(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* Number i of a parameter, uniform with the standard deviation that it starts with. A bias of three parts,
 * q, k and v, has zeros in the middle. */
static uint16_t number(const piece *p, long i)
{
    const nn_init *start = &p->of->init;
    if (p->parts == 3 && i / p->of->value->size == 1)
        return 0;
    uint64_t h = (p->of->key + (uint64_t)i) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 29) * 0xBF58476D1CE4E5B9u;
    float u = (float)(h >> 40) / (float)(1 << 24) - 0.5f;  /* within +- 1/2, deviation 1 / sqrt 12 */
    float middle = start->kind == NN_CONSTANT ? (float)start->a : 0;
    float deviation = start->kind == NN_CONSTANT ? 0.01f : start->kind == NN_UNIFORM ? 0.02f
                                                                                     : (float)start->a;
    return brain(middle + 3.46f * deviation * u);
}

static void write_numbers(file_out *f, const piece *p, uint16_t *block)
{
    for (long from = 0; from < p->size; from += BLOCK) {
        long n = p->size - from < BLOCK ? p->size - from : BLOCK;
        #pragma omp parallel for
        for (long i = 0; i < n; i++)
            block[i] = number(p, from + i);
        file_write(f, block, n * 2);
    }
}

/* ---- shards -------------------------------------------------------------------------------------------- */
static void shard_name(const folder *d, int shard, char to[64])
{
    snprintf(to, 64, "model-%05d-of-%05d.safetensors", shard + 1, d->shards);
}

static bool list_pieces(folder *d, const nn_store *s, long most)
{
    d->pieces = mem_new((size_t)s->count * sizeof *d->pieces);
    d->shards = 1;
    for (long i = 0; d->pieces && i < s->count; i++) {
        const nn_entry *p = &s->entries[i];
        convert_part part;
        if (p->alias_of || !convert_hf_name(p->name, &part) || part.at)
            continue;
        long bytes = 2 * part.of * p->value->size;
        if (d->bytes[d->shards - 1] && d->bytes[d->shards - 1] + bytes > most && d->shards < SHARDS)
            d->shards++;
        d->bytes[d->shards - 1] += bytes;
        piece *to = &d->pieces[d->count++];
        *to = (piece){ .of = p, .parts = part.of, .size = part.of * p->value->size, .shard = d->shards - 1 };
        strcpy(to->name, part.name);
    }
    return d->pieces != NULL;
}

static char *header_of(const folder *d, int shard)
{
    json_t *all = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    long at = 0;
    for (long i = 0; i < d->count; i++) {
        const piece *p = &d->pieces[i];
        if (p->shard != shard)
            continue;
        json_t *shape = json_array();
        for (int k = 0; k < p->of->value->ndim; k++)
            json_array_append_new(shape,
                                  json_integer((json_int_t)(p->of->value->dim[k] * (k ? 1 : p->parts))));
        json_object_set_new(all, p->name,
                            json_pack("{s:s, s:o, s:[I,I]}", "dtype", "BF16", "shape", shape, "data_offsets",
                                                    (json_int_t)at, (json_int_t)(at + 2 * p->size)));
        at += 2 * p->size;
    }
    char *text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    return text;
}

static bool write_shard(const folder *d, int shard, uint16_t *block, error *e)
{
    char name[64], path[1024];
    shard_name(d, shard, name);
    snprintf(path, sizeof path, "%s/%s", d->path, name);
    char *header = header_of(d, shard);
    file_out *f = header ? file_create(path, e) : NULL;
    if (!f) {
        free(header);
        return false;
    }
    uint64_t size = strlen(header);                        /* this machine's order of bytes is the format's */
    file_write(f, &size, 8);
    file_write(f, header, (long)size);
    free(header);
    for (long i = 0; i < d->count; i++)
        if (d->pieces[i].shard == shard)
            write_numbers(f, &d->pieces[i], block);
    return file_finish(f, e);
}

static bool write_index(const folder *d)
{
    json_t *map = json_object();
    long all = 0;
    char name[64];
    for (long i = 0; i < d->count; i++) {
        shard_name(d, d->pieces[i].shard, name);
        json_object_set_new(map, d->pieces[i].name, json_string(name));
        all += 2 * d->pieces[i].size;
    }
    return write_json(d->path, "model.safetensors.index.json",
                      json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)all, "weight_map",
                                map));
}

static int make(const char *which, const char *path, double gib)
{
    bool t5 = !strcmp(which, "flan-t5-xl");
    if (!t5 && strcmp(which, "opt-2.7b"))
        return fail("expected opt-2.7b or flan-t5-xl");
    error e;
    blip2_model m;
    blip2_config c = published(t5);
    nn_store *store = nn_store_new(1);
    folder d = { .path = path };
    uint16_t *block = mem_new(BLOCK * sizeof *block);
    if (!store || !block || !file_make_folders(path, &e))
        return fail(store && block ? e.text : "out of memory");
    blip2_model_init(&m, store, &c);                       /* names and shapes alone: nothing is allocated */
    bool ok = list_pieces(&d, store, (long)(gib * (1L << 30))) && write_config(path, &c) && write_index(&d);
    snprintf(e.text, sizeof e.text, "%s: cannot be written", path);
    for (int shard = 0; ok && shard < d.shards; shard++)
        ok = write_shard(&d, shard, block, &e);
    printf("%s: %ld tensors in %d shards\n", path, d.count, d.shards);
    mem_free(block);
    mem_free(d.pieces);
    nn_store_free(store);
    return ok ? 0 : fail(e.text);
}

/* ---- running and measuring ----------------------------------------------------------------------------- */
static int run(char **command)
{
    double from = clock_seconds();
    struct rusage used;
    int status;
    pid_t child = fork();
    if (!child) {
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &used) < 0)
        return fail("cannot run it");
    fprintf(stderr, "full-model: %.1f seconds, %.1f of the CPU, at most %.0f MiB of memory\n",
            clock_seconds() - from, (double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec
            + 1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec), (double)used.ru_maxrss / 1024);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
    if (argc >= 4 && !strcmp(argv[1], "make"))
        return make(argv[2], argv[3], argc > 4 ? atof(argv[4]) : 4.6);
    if (argc >= 3 && !strcmp(argv[1], "run"))
        return run(argv + 2);
    return fail("expected make opt-2.7b|flan-t5-xl FOLDER [SHARD_GIB], or run COMMAND...");
}
