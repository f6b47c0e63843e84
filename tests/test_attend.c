/* test_attend.c - `blip2 attention`: the probabilities are the model's, and the sheets show them. */
#include "eval/eval.h"
#include "tests/shell.h"
#include "tests/world.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static error e;

/* ---- the pass ------------------------------------------------------------------------------------------ */
enum { N = 5, T = 6, WORDS = 4 };
static tape *t;
static blip2_model m;
static blip2_config config;
static tensor *features;
static blip2_text text;

static void setup(void)
{
    t = ag_tape_new();
    config = tiny_config();
    blip2_model_init(&m, nn_store_new(4), &config);
    ck_assert_msg(nn_build(m.store, true, &e), "%s", e.text);
    features = tiny_normal(t, 8, DIMS(1, N, config.qformer.memory_width));
    text = tiny_text(t, &config, 1, T, WORDS - 2, WORDS - 2, 9);
}

static void teardown(void)
{
    nn_store_free(m.store);
    ag_tape_free(t);
}

static double row_sum(const tensor *p, long row)
{
    long n = p->dim[3];
    double sum = 0;
    for (long k = 0; k < n; k++)
        sum += (double)p->data[row * n + k];
    return sum;
}

START_TEST(every_row_of_every_head_sums_to_one)
{
    long Q = config.qformer.queries, H = config.qformer.heads;
    for (int with = 0; with < 2; with++) {
        eval_attention a = eval_attend(&m, t, features->data, N, with ? text : (blip2_text){ 0 });
        ck_assert(a.Q == Q && a.T == (with ? T : 0) && a.layers == 3 && a.heads == H && a.N == N);
        for (long i = 0; i < a.layers; i++) {
            long S = Q + a.T;
            ck_assert(a.self[i]->dim[1] == H && a.self[i]->dim[2] == S && a.self[i]->dim[3] == S);
            for (long r = 0; r < H * S; r++)
                ck_assert_double_eq_tol(row_sum(a.self[i], r), 1, TINY_ROUNDING);
            ck_assert((a.cross[i] != NULL) == (i % 2 == 0));       /* in every second layer */
            for (long r = 0; a.cross[i] && r < H * Q; r++)
                ck_assert_double_eq_tol(row_sum(a.cross[i], r), 1, TINY_ROUNDING);
        }
    }
}
END_TEST

START_TEST(patches_that_change_places_take_their_shares_along)
{
    long E = config.qformer.memory_width, Q = config.qformer.queries, H = config.qformer.heads;
    real moved[N * 64];
    for (long k = 0; k < N * E; k++)
        moved[k] = features->data[(k / E == 1 ? 3 : k / E == 3 ? 1 : k / E) * E + k % E];
    eval_attention a = eval_attend(&m, t, features->data, N, text), b = eval_attend(&m, t, moved, N, text);
    for (long r = 0; r < H * Q; r++) {
        const real *x = a.cross[2]->data + r * N, *y = b.cross[2]->data + r * N;
        ck_assert_double_eq_tol((double)x[1], (double)y[3], TINY_ROUNDING);
        ck_assert_double_eq_tol((double)x[3], (double)y[1], TINY_ROUNDING);
        ck_assert(fabs((double)(x[1] - x[3])) > 1e-6);
    }
}
END_TEST

START_TEST(queries_read_the_text_and_nobody_reads_padding)
{
    eval_attention with = eval_attend(&m, t, features->data, N, text);
    eval_attention alone = eval_attend(&m, t, features->data, N, (blip2_text){ 0 });
    long S = config.qformer.queries + T;
    ck_assert_double_gt(tiny_distance(with.cross[0], alone.cross[0]), 1e-4);
    for (long r = 0; r < config.qformer.heads * S; r++)
        for (long k = 0; k < S; k++) {
            real p = with.self[1]->data[r * S + k];
            ck_assert(k >= config.qformer.queries + WORDS ? p == 0 : p > 0);
        }
}
END_TEST

/* ---- the command --------------------------------------------------------------------------------------- */
static void train(train_task task, const char *name)
{
    train_config c = world_config(task);
    world_write(&c, name);
    WORKS("train", IN_FOLDER(name), "--quiet");
}

static void begin(void)
{
    folder_begin();
    WORKS("dataset", "make", "scenes", IN_FOLDER("world"), "--size", "16", "--train", "64", "--val", "4",
          "--test", "12", "--test-unseen", "4", "--documents", "60", "--quiet");
    WORKS("tokenize", "--train", "bert", "--size", "140", "--out", IN_FOLDER("bert"),
          IN_FOLDER("world/text.txt"));
    train(TRAIN_VIT, "vit.yaml");
    train(TRAIN_STAGE1, "stage1.yaml");
}

#define MODEL IN_FOLDER("stage1/model.h5")
#define PICTURE IN_FOLDER("world/sheet.png")       /* any picture will do */
enum { LAYERS = 2, HEADS = 2, QUERIES = 3, PATCHES = 4 };    /* of world_config; cross: layer 0 */

/* The numbers that were printed, (heads,queries,1+patches) of layer 0. */
static void printed(const char *line, double to[HEADS * QUERIES][1 + PATCHES])
{
    for (long r = 0; r < HEADS * QUERIES; r++, line = strchr(line, '\n') + 1) {
        json_t *o = json_loadb(line, strcspn(line, "\n"), JSON_REJECT_DUPLICATES, NULL);
        json_t *patches = json_object_get(o, "patches");
        ck_assert_int_eq(json_integer_value(json_object_get(o, "layer")), 0);
        ck_assert_int_eq(json_integer_value(json_object_get(o, "head")), r / QUERIES);
        ck_assert_int_eq(json_integer_value(json_object_get(o, "query")), r % QUERIES);
        ck_assert_uint_eq(json_array_size(patches), PATCHES);
        to[r][0] = json_number_value(json_object_get(o, "class_token"));
        for (size_t k = 0; k < PATCHES; k++)
            to[r][1 + k] = json_number_value(json_array_get(patches, k));
        json_decref(o);
    }
    ck_assert_str_eq(line, "");
}

/* Layer 0 of a folder as saved. */
static void saved_numbers(const char *path, real to[HEADS * QUERIES * (1 + PATCHES)])
{
    h5 *f = h5_open(path, &e);
    const long dim[] = { HEADS, QUERIES, 1 + PATCHES };
    ck_assert_msg(f && h5_read(f, "cross/0", H5_REALS, 3, dim, to, &e), "%s", e.text);
    ck_assert(h5_has(f, "cross/1") == H5_NOTHING && h5_has(f, "self/1") == H5_DATASET);
    h5_close(f);
}

START_TEST(printed_numbers_are_those_of_the_file)
{
    double shares[HEADS * QUERIES][1 + PATCHES];
    real saved[HEADS * QUERIES * (1 + PATCHES)];
    said s = BLIP2("attention", "--json", MODEL, PICTURE, "-o", IN_FOLDER("a"));
    ck_assert_msg(s.code == 0, "%s", s.err);
    printed(s.out, shares);
    shell_free(s);
    saved_numbers(IN_FOLDER("a/attention.h5"), saved);
    for (long i = 0; i < HEADS * QUERIES * (1 + PATCHES); i++)
        ck_assert_double_eq_tol(shares[i / (1 + PATCHES)][i % (1 + PATCHES)], (double)saved[i], 1e-6);
}
END_TEST

static bool is_hot(const uint8_t rgb[3]) { return rgb[0] > 80 && rgb[1] < 20 && rgb[2] < 50; }

/* A map of 2 x 2 patches has 76 pixels a side. The first begins at (60,66), the next 84 to the right and 98
 * below it. */
START_TEST(the_red_patch_stands_where_the_largest_probability_does)
{
    real shares[HEADS * QUERIES * (1 + PATCHES)];
    long most = 1;
    picture p;
    WORKS("attention", MODEL, PICTURE, "-o", IN_FOLDER("d"));
    saved_numbers(IN_FOLDER("d/attention.h5"), shares);
    for (long i = 0; i < HEADS * QUERIES * (1 + PATCHES); i++)
        if (i % (1 + PATCHES) && shares[i] > shares[most])
            most = i;
    long row = most / (1 + PATCHES), patch = most % (1 + PATCHES) - 1;
    long x = 60 + 84 * (1 + row / QUERIES) + 38 * (patch % 2);
    long y = 66 + 98 * (row % QUERIES) + 38 * (patch / 2);
    ck_assert_msg(picture_read(&p, IN_FOLDER("d/layer_00.png"), &e), "%s", e.text);
    for (long i = 0; i < 38 * 38; i++)
        ck_assert(is_hot(p.rgb + 3 * ((y + i / 38) * p.width + x + i % 38)));
    picture_free(&p);
}
END_TEST

/* How many pixels are of the colour of the largest probability. */
static long hot_pixels(const char *path)
{
    picture p;
    long hot = 0;
    ck_assert_msg(picture_read(&p, path, &e), "%s", e.text);
    for (long i = 0; i < p.width * p.height; i++)
        hot += is_hot(p.rgb + 3 * i);
    picture_free(&p);
    return hot;
}

START_TEST(the_most_looked_at_patch_is_red_on_every_sheet)
{
    said s = BLIP2("attention", MODEL, PICTURE, "-o", IN_FOLDER("b"), "--text", "a red circle");
    ck_assert_msg(s.code == 0, "%s", s.err);
    for (const char *line = s.out; *line; line = strchr(line, '\n') + 1) {
        char path[600];
        snprintf(path, sizeof path, "%.*s", (int)strcspn(line, ":"), line);
        if (strstr(path, "layer_00.png"))
            ck_assert_int_ge(hot_pixels(path), 38 * 38);           /* a map of 76 pixels has 2 x 2 patches */
        else if (strstr(path, "overview.png"))
            ck_assert_int_ge(hot_pixels(path), 46 * 46);
        else if (!strstr(path, ".h5"))
            ck_assert_int_eq(hot_pixels(path), 0);                 /* self-attention is blue and orange */
    }
    shell_free(s);
    ck_assert_int_ge(hot_pixels(IN_FOLDER("b/layer_00.png")), 38 * 38);
    ck_assert_int_eq(hot_pixels(IN_FOLDER("b/self_01.png")), 0);
}
END_TEST

START_TEST(what_cannot_be_shown_is_refused_in_one_line)
{
    FAILS(2, "a model, a picture and a folder are needed", "attention", MODEL, PICTURE);
    FAILS(2, "a model, a picture and a folder are needed", "attention", MODEL, "-o", IN_FOLDER("c"));
    FAILS(1, "vit/model.h5: cannot look at a picture: it has no Q-Former", "attention",
          IN_FOLDER("vit/model.h5"), PICTURE, "-o", IN_FOLDER("c"));
    FAILS(1, "none.png: cannot be opened", "attention", MODEL, IN_FOLDER("none.png"), "-o", IN_FOLDER("c"));
    FAILS(1, "vit.yaml: not a folder", "attention", MODEL, PICTURE, "-o", IN_FOLDER("vit.yaml"));
    shell_next.file_bytes = 2000;
    FAILS(1, "layer_00.png: ", "attention", MODEL, PICTURE, "-o", IN_FOLDER("c"));
}
END_TEST

/* ---- drawing ------------------------------------------------------------------------------------------- */
START_TEST(letters_stay_inside_the_picture_and_turn)
{
    picture across, up;
    char all[96];
    for (int i = 0; i < 95; i++)
        all[i] = (char)(' ' + i);
    all[95] = 0;
    long length = picture_text_width(all, 2);
    ck_assert(length == 95 * 2 * PICTURE_LETTER && picture_text_width("\xc3\xa4", 1) == PICTURE_LETTER);
    ck_assert(picture_new(&across, length, 20, &e) && picture_new(&up, 20, length, &e));
    picture_text(&across, 0, 0, (picture_pen){ { 255, 255, 255 }, 2, false }, all);
    picture_text(&up, 0, length - 1, (picture_pen){ { 255, 255, 255 }, 2, true }, all);
    for (long i = 0; i < 20 * length; i++)                         /* the one turned left is the other */
        ck_assert_int_eq(across.rgb[3 * i], up.rgb[3 * ((length - 1 - i % length) * 20 + i / length)]);
    picture_text(&across, -7, -3, (picture_pen){ { 9, 9, 9 }, 5, false }, all);    /* and over the edges */
    picture_text(&up, 15, 5, (picture_pen){ { 9, 9, 9 }, 5, true }, all);
    picture_free(&across);
    picture_free(&up);
}
END_TEST

Suite *suite_attend(void)
{
    Suite *s = suite_create("attend");
    TCase *pass = tcase_create("pass"), *command = tcase_create("command");
    tcase_add_checked_fixture(pass, setup, teardown);
    tcase_add_test(pass, every_row_of_every_head_sums_to_one);
    tcase_add_test(pass, patches_that_change_places_take_their_shares_along);
    tcase_add_test(pass, queries_read_the_text_and_nobody_reads_padding);
    tcase_add_test(pass, letters_stay_inside_the_picture_and_turn);
    tcase_set_timeout(command, TEST_SECONDS);
    tcase_add_unchecked_fixture(command, begin, folder_end);
    tcase_add_test(command, printed_numbers_are_those_of_the_file);
    tcase_add_test(command, the_red_patch_stands_where_the_largest_probability_does);
    tcase_add_test(command, the_most_looked_at_patch_is_red_on_every_sheet);
    tcase_add_test(command, what_cannot_be_shown_is_refused_in_one_line);
    suite_add_tcase(s, pass);
    suite_add_tcase(s, command);
    return s;
}
