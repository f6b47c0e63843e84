/* test_published.c - what a user does with a checkpoint of Hugging Face's or LAVIS's form, by the commands
 * alone: convert, then caption, answer, match; texts, ids and scores are those that transformers gave
 * (expected.json of each folder of ../shared/golden/hf; PUBLISHED=FOLDER runs others of that form). Skips
 * aloud without them. */
#define _GNU_SOURCE
#include "data/json.h"
#include "tests/published.h"
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MODELS = 32 };
static error e;

/* The n-th folder with an expected.json, by name; false: not so many. */
static bool model_at(int n, char to[300])
{
    struct dirent **list;
    int count = scandir(published_root(), &list, NULL, alphasort), met = 0;
    bool found = false;
    for (int i = 0; i < count; i++) {
        char path[700];
        snprintf(path, sizeof path, "%s/%s/expected.json", published_root(), list[i]->d_name);
        if (list[i]->d_name[0] != '.' && !access(path, R_OK) && met++ == n) {
            snprintf(to, 300, "%.299s", list[i]->d_name);
            found = true;
        }
        free(list[i]);
    }
    if (count >= 0)
        free(list);
    if (!n && !found)
        fprintf(stderr, "published: no %s: skipped\n", published_root());
    return found;
}

static json_t *expected(const char *model)
{
    /* models say such things */
    json_t *all = json_load_file(IN_MODEL("expected.json"), JSON_ALLOW_NUL, NULL);
    ck_assert_msg(all != NULL, "%s", model);
    return all;
}

/* ---- captions -------------------------------------------------------------------------------------- */
/* Options for the arguments of generate(), as words for the command. */
typedef struct words { const char *at[SHELL_WORDS]; int n; char numbers[8][32]; int used; } words;

static void put(words *w, const char *option, const char *value)
{
    w->at[w->n++] = option;
    if (value)
        w->at[w->n++] = value;
}

static void put_number(words *w, const char *option, const json_t *v)
{
    if (!v)
        return;
    char *to = w->numbers[w->used++];
    snprintf(to, 32, "%.15g", json_number_value(v));
    put(w, option, to);
}

static void arguments(words *w, const json_t *args)
{
    static const struct { const char *theirs, *ours; } names[] = {
        { "num_beams", "--beams" }, { "max_new_tokens", "--max-new-tokens" },
        { "min_new_tokens", "--min-new-tokens" }, { "length_penalty", "--length-penalty" },
        { "repetition_penalty", "--repetition-penalty" }, { "no_repeat_ngram_size", "--no-repeat-ngram" },
        { "num_return_sequences", "--returns" } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        put_number(w, names[i].ours, json_object_get(args, names[i].theirs));
    const json_t *early = json_object_get(args, "early_stopping");
    if (json_is_true(early))
        put(w, "--early-stopping", "full");
    else if (json_is_string(early))
        put(w, "--early-stopping", json_string_value(early));
}

/* Ids without padding: pads stand between the image tokens and a shorter prompt, and behind a short text. */
static long unpadded(const json_t *ids, int pad, bool keep_first, int *to)
{
    long n = 0;
    for (size_t i = 0; i < json_array_size(ids); i++) {
        int id = (int)json_integer_value(json_array_get(ids, i));
        if (id != pad || (keep_first && i == 0))
            to[n++] = id;
    }
    return n;
}

/* What ends a text may fill the shorter rows of a batch too: one is enough. */
static long one_end(const int *ids, long n)
{
    while (n > 1 && ids[n-1] == ids[n-2])
        n--;
    return n;
}

static void compare_ids(const json_t *theirs, const json_t *ours, int pad, bool starts, const char *what)
{
    int a[512], b[512];
    ck_assert(json_array_size(theirs) < 512 && json_array_size(ours) < 512);
    long n = one_end(a, unpadded(theirs, pad, starts, a)), m = one_end(b, unpadded(ours, pad, starts, b));
    ck_assert_msg(n == m, "%s: %ld ids, expected %ld", what, m, n);
    for (long i = 0; i < n; i++)
        ck_assert_msg(a[i] == b[i], "%s: id %ld is %d, expected %d", what, i, b[i], a[i]);
}

/* One search with one picture and its prompt, products as --compute has them. */
static void caption_of(const char *model, const json_t *all, const char *run, long row, bool t5, int pad,
                       const char *compute)
{
    const json_t *g = json_object_get(json_object_get(all, "gen"), run), *args = json_object_get(g, "args");
    const json_t *ids = json_object_get(g, "ids"), *scores = json_object_get(g, "scores");
    const json_t *texts = json_object_get(json_object_get(all, "texts"), run);
    long returns = json_object_get(args, "num_return_sequences")
                       ? (long)json_integer_value(json_object_get(args, "num_return_sequences")) : 1;
    char image[48], what[192];
    words w = { 0 };
    snprintf(image, sizeof image, "inputs/image%ld.png", row);
    put(&w, "caption", IN_FOLDER("m.h5"));
    char path[900];
    put(&w, published_in(path, model, image), "--prompt");
    put(&w, strncmp(run, "noprompt", 8) ? json_string_value(json_array_get(json_object_get(all, "prompts"),
                                                                           (size_t)row)) : "", "--json");
    put(&w, "--reference", "hf");
    put(&w, "--compute", compute);
    arguments(&w, args);
    said s = shell_run(w.at);
    for (long k = 0; k < returns; k++) {
        json_t *o = line_of(s, (int)k);
        size_t at = (size_t)(row * returns + k);
        snprintf(what, sizeof what, "%.60s/%.40s row %ld", model, run, row);
        compare_ids(json_array_get(ids, at), json_object_get(o, "ids"), pad, t5, what);
        if (scores) {
            double want = json_number_value(json_array_get(scores, at));
            double got = json_number_value(json_object_get(o, "score"));
            ck_assert_msg(fabs(got - want) <= 2e-4 * fmax(1, fabs(want)), "%s: score %g, expected %g", what,
                          got, want);
        }
        const json_t *text = json_object_get(o, "caption"), *want = json_array_get(texts, at);
        ck_assert_msg(!want || json_equal(text, want), "%s: \"%s\", expected \"%s\"", what,
                      json_string_value(text), json_string_value(want));
        json_decref(o);
    }
    shell_free(s);
}

/* T5 tells distances, so that a prompt that its batch had padded is another one alone
 * (docs/generation.md): only the longest prompt of a batch, and none, are compared. */
static bool was_padded(const json_t *all, const char *run, long row)
{
    const json_t *prompts = json_object_get(all, "prompts");
    size_t longest = 0;
    for (size_t i = 0; i < json_array_size(prompts); i++)
        longest = json_string_length(json_array_get(prompts, i))
                  > json_string_length(json_array_get(prompts, longest)) ? i : longest;
    return strncmp(run, "noprompt", 8) && row != (long)longest;
}

static bool greedy(const json_t *search)
{
    const json_t *beams = json_object_get(json_object_get(search, "args"), "num_beams");
    return !beams || json_integer_value(beams) == 1;
}

/* Every search with f32 products; with bf16 ones those that choose the likeliest word. */
static void captions_of(const char *model, const char *compute, bool beams)
{
    json_t *all = expected(model), *config = data_json_file(IN_MODEL("config.json"), &e);
    const json_t *llm = json_object_get(config, "text_config"), *runs = json_object_get(all, "gen");
    bool t5 = !strcmp(json_string_value(json_object_get(llm, "model_type")), "t5");
    const json_t *pad = json_object_get(llm, "pad_token_id");
    long rows = (long)json_array_size(json_object_get(all, "prompts"));
    const char *run;
    json_t *g;
    if (runs)
        WORKS("convert", IN_MODEL(""), "-o", IN_FOLDER("m.h5"), "--quiet");
    json_object_foreach((json_t *)runs, run, g)
        for (long r = 0; r < rows; r++)
            if ((beams || greedy(g)) && (!t5 || !was_padded(all, run, r)))
                caption_of(model, all, run, r, t5, pad ? (int)json_integer_value(pad) : t5 ? 0 : 1, compute);
    json_decref(all);
    json_decref(config);
}

START_TEST(captions_are_those_of_transformers)
{
    char model[300];
    if (model_at(_i, model))
        captions_of(model, "f32", true);
}
END_TEST

START_TEST(greedy_captions_are_the_same_in_bf16)
{
    char model[300];
    if (model_at(_i, model))
        captions_of(model, "bf16", false);
}
END_TEST

/* "Question: what is in the picture? Answer:" is a prompt of the goldens, and the frame of a Hugging Face
 * model. */
START_TEST(a_question_in_its_frame_is_the_prompt_of_that_text)
{
    char model[300];
    if (!model_at(_i, model))
        return;
    json_t *all = expected(model);
    const char *prompt = json_string_value(json_array_get(json_object_get(all, "prompts"), 1));
    if (prompt && !strcmp(prompt, "Question: what is in the picture? Answer:")) {
        WORKS("convert", IN_MODEL(""), "-o", IN_FOLDER("m.h5"), "--quiet");
        said a = BLIP2("answer", IN_FOLDER("m.h5"), IN_MODEL("inputs/image1.png"), "what is in the picture?",
                       "--reference", "hf", "--json");
        said c = BLIP2("caption", IN_FOLDER("m.h5"), IN_MODEL("inputs/image1.png"), "--prompt", prompt,
                       "--reference", "hf", "--json");
        json_t *x = line_of(a, 0), *y = line_of(c, 0);
        ck_assert(json_equal(json_object_get(x, "ids"), json_object_get(y, "ids")));
        ck_assert(json_array_size(json_object_get(x, "ids")) > 1);
        json_decref(x);
        json_decref(y);
        shell_free(a);
        shell_free(c);
    }
    json_decref(all);
}
END_TEST

/* ---- LAVIS's files --------------------------------------------------------------------------------- */
/* The checkpoint with what it lacks from the folder beside it (its tower and heads are of the same
 * numbers): by LAVIS's rules it writes what the folder's model writes by them, whose ln_vision alone has
 * another epsilon. */
START_TEST(a_lavis_checkpoint_writes_what_its_folder_writes)
{
    char model[300];
    if (!model_at(_i, model) || access(IN_MODEL("lavis_checkpoint.pth"), R_OK))
        return;
    json_t *all = expected(model);
    bool captions = json_object_get(all, "gen") != NULL;
    WORKS("convert", IN_MODEL("lavis_checkpoint.pth"), IN_MODEL(""), "-o", IN_FOLDER("l.h5"), "--quiet");
    WORKS("convert", IN_MODEL(""), "-o", IN_FOLDER("m.h5"), "--quiet");
    const char *const files[] = { IN_FOLDER("l.h5"), IN_FOLDER("m.h5") };
    json_t *said_of[2];
    for (int k = 0; k < 2; k++) {
        said s = captions ? BLIP2("caption", files[k], IN_MODEL("inputs/image0.png"), "--prompt",
                                  "a photo of", "--reference", "lavis", "--json")
                          : BLIP2("match", files[k], IN_MODEL("inputs/image0.png"),
                                  "a small dog on the grass", "--reference", "lavis", "--json");
        said_of[k] = line_of(s, 0);
        shell_free(s);
    }
    const char *number = captions ? "score" : "itm";
    if (captions)
        ck_assert(json_equal(json_object_get(said_of[0], "ids"), json_object_get(said_of[1], "ids")));
    ck_assert(fabs(json_number_value(json_object_get(said_of[0], number))
                   - json_number_value(json_object_get(said_of[1], number))) < 2e-3);
    json_decref(said_of[0]);
    json_decref(said_of[1]);
    json_decref(all);
}
END_TEST

/* ---- out again ------------------------------------------------------------------------------------- */
/* A matrix that is kept in low precision is compared as it is kept. */
static bool same_numbers(const tensor *p, const tensor *q)
{
    if (p->size != q->size || !p->frozen != !q->frozen)
        return false;
    if (!p->frozen)
        return !memcmp(p->data, q->data, (size_t)p->size * sizeof(real));
    const ag_frozen *v = p->frozen, *w = q->frozen;
    size_t width = v->type == AG_INT8 ? 1 : 2;
    return v->type == w->type && v->N == w->N && !memcmp(v->data, w->data, (size_t)p->size * width)
           && (!v->scale || !memcmp(v->scale, w->scale, (size_t)v->N * sizeof(float)));
}

static void same_to_the_bit(const char *a, const char *b)
{
    blip2_model x, y;
    bool sealed;
    ck_assert_msg(blip2_open(&x, a, &sealed, &e) && blip2_open(&y, b, &sealed, &e), "%s", e.text);
    ck_assert_int_eq(x.store->count, y.store->count);
    for (long i = 0; i < x.store->count; i++) {
        const tensor *p = x.store->entries[i].value, *q = nn_find(y.store, x.store->entries[i].name);
        ck_assert_msg(q && same_numbers(p, q), "%s", x.store->entries[i].name);
    }
    config_table of_x = blip2_config_table("", &x.config), of_y = blip2_config_table("", &y.config);
    char *c = config_print(&of_x, 1, false), *d = config_print(&of_y, 1, false);
    ck_assert_str_eq(c, d);
    mem_free(c);
    mem_free(d);
    blip2_close(&x);
    blip2_close(&y);
}

START_TEST(what_is_exported_is_the_same_model)
{
    char model[300];
    if (!model_at(_i, model))
        return;
    WORKS("convert", IN_MODEL(""), "-o", IN_FOLDER("m.h5"), "--quiet");
    for (int hf = 0; hf < 2; hf++) {
        WORKS("export", IN_FOLDER("m.h5"), "-o", IN_FOLDER("out"), "--format", hf ? "hf" : "lavis",
              "--quiet");
        WORKS("convert", IN_FOLDER("out"), "-o", IN_FOLDER("b.h5"), "--quiet");
        same_to_the_bit(IN_FOLDER("m.h5"), IN_FOLDER("b.h5"));
    }
}
END_TEST

/* ---- matching -------------------------------------------------------------------------------------- */
/* values (rows,columns) of expected.h5 under the group of this build */
static real *golden(const char *model, const char *name, long rows, long columns)
{
    char path[64];
    real *to = mem_new((size_t)(rows * columns) * sizeof *to);
    h5 *f = h5_open(IN_MODEL("expected.h5"), &e);
    snprintf(path, sizeof path, "%s/%s", REAL == 64 ? "f64" : "f32", name);
    ck_assert_msg(f && h5_read(f, path, H5_REALS, 2, (long[]){ rows, columns }, to, &e), "%s", e.text);
    h5_close(f);
    return to;
}

START_TEST(matches_are_those_of_transformers)
{
    char model[300];
    if (!model_at(_i, model))
        return;
    json_t *all = expected(model);
    const json_t *texts = json_object_get(all, "texts");
    if (json_is_array(texts)) {
        enum { IMAGES = 3, TEXTS = 4 };
        ck_assert_int_eq(json_array_size(texts), TEXTS);
        real *itc = golden(model, "itc_logits_per_image", IMAGES, TEXTS);
        real *itm = golden(model, "itm_logits", IMAGES, 2);
        const char *t[TEXTS];
        for (size_t i = 0; i < TEXTS; i++)
            t[i] = json_string_value(json_array_get(texts, i));
        WORKS("convert", IN_MODEL(""), "-o", IN_FOLDER("m.h5"), "--quiet");
        said s = BLIP2("match", IN_FOLDER("m.h5"), "--images", IN_MODEL("inputs"), t[0], t[1], t[2], t[3],
                       "--reference", "hf", "--json");
        for (int i = 0; i < IMAGES; i++)
            for (int k = 0; k < TEXTS; k++) {
                json_t *o = line_of(s, i * TEXTS + k);
                double got = json_number_value(json_object_get(o, "itc"));
                ck_assert_msg(fabs(got - (double)itc[i * TEXTS + k]) < 1e-5, "%d %d: %g", i, k, got);
                if (i == k)
                    ck_assert(fabs(json_number_value(json_object_get(o, "itm"))
                                   - (double)itm[2 * i + 1]) < 1e-4);
                json_decref(o);
            }
        shell_free(s);
        mem_free(itc);
        mem_free(itm);
    }
    json_decref(all);
}
END_TEST

/* ---- several pictures, several turns --------------------------------------------------------------- */
START_TEST(lists_and_conversations)
{
    char model[300];
    int n = 0;
    json_t *all = NULL;
    while (model_at(n++, model) && !json_object_get(all = expected(model), "gen"))
        json_decref(all);
    if (!all)
        return;
    WORKS("convert", IN_MODEL(""), "-o", IN_FOLDER("m.h5"), "--quiet");
    said s = BLIP2("caption", IN_FOLDER("m.h5"), "--images", IN_MODEL("inputs"), "--json", "--max-new-tokens",
                   "3");
    for (int i = 0; i < 3; i++) {
        json_t *o = line_of(s, i);
        ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(o, "image")), "image"));
        json_decref(o);
    }
    shell_free(s);
    s = BLIP2("answer", IN_FOLDER("m.h5"), "--images", IN_MODEL("inputs"), "what?", "why?", "--json",
              "--max-new-tokens", "3");
    json_decref(line_of(s, 5));
    shell_free(s);
    const char *image = IN_MODEL("inputs/image0.png");
    s = BLIP2("answer", IN_FOLDER("m.h5"), image, "what?", "why?", "--chat", "--json", "--max-new-tokens",
              "3", "--prompt", "Q: {} A:");
    json_t *first = line_of(s, 0), *second = line_of(s, 1);
    char prompt[512];                                      /* the second turn by hand */
    snprintf(prompt, sizeof prompt, "Q: what? A: %s. Q: {} A:",
             json_string_value(json_object_get(first, "answer")));
    said whole = BLIP2("answer", IN_FOLDER("m.h5"), image, "why?", "--json", "--max-new-tokens", "3",
                       "--prompt", prompt);
    json_t *same = line_of(whole, 0);
    ck_assert(json_equal(json_object_get(second, "ids"), json_object_get(same, "ids")));
    json_decref(first);
    json_decref(second);
    json_decref(same);
    json_decref(all);
    shell_free(whole);
    shell_free(s);
    FAILS(2, "expected one picture, found a list", "answer", IN_FOLDER("m.h5"), "--images",
          IN_MODEL("inputs"), "--chat");
    FAILS(1, "no pictures in it", "caption", IN_FOLDER("m.h5"), "--images", IN_FOLDER(""));
}
END_TEST

Suite *suite_published(void)
{
    Suite *s = suite_create("published");
    TCase *c = tcase_create("commands");
    tcase_set_timeout(c, 3 * TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_loop_test(c, captions_are_those_of_transformers, 0, MODELS);
    tcase_add_loop_test(c, greedy_captions_are_the_same_in_bf16, 0, MODELS);
    tcase_add_loop_test(c, a_question_in_its_frame_is_the_prompt_of_that_text, 0, MODELS);
    tcase_add_loop_test(c, a_lavis_checkpoint_writes_what_its_folder_writes, 0, MODELS);
    tcase_add_loop_test(c, what_is_exported_is_the_same_model, 0, MODELS);
    tcase_add_loop_test(c, matches_are_those_of_transformers, 0, MODELS);
    tcase_add_test(c, lists_and_conversations);
    suite_add_tcase(s, c);
    return s;
}
