/* test_vit.c - the two vision towers, and tables of positions. */
#include "blip2/internal.h"
#include "tests/tests.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { S = 6, PATCH = 2, N = 1 + 9, E = 12 };              /* nine patches and the class token */
static const blip2_vit_kind kinds[] = { BLIP2_VIT_CLIP, BLIP2_VIT_EVA };

static tape *t;
static nn_store *store;
static blip2_vit v;
static tensor *pictures;

static void setup(void)
{
    t = ag_tape_new();
    store = NULL;
}

static void teardown(void)
{
    nn_store_free(store);
    ag_tape_free(t);
}

/* A tower of `depth` blocks, and pictures that are parameters too, so that their gradient is checked. */
static void make(blip2_vit_kind kind, long depth, long B, bool frozen)
{
    error e;
    nn_store_free(store);
    store = nn_store_new(3);
    blip2_vit_init(&v, nn_sub(nn_root(store), "visual_encoder"), &(blip2_vit_config){
        .kind = kind, .image_size = S, .patch = PATCH, .width = E, .depth = depth, .heads = 3, .hidden = 20,
        .init_std = 0.3, .position_std = 0.3 });
    pictures = nn_parameter(nn_root(store), "pictures", NN_INIT_NORMAL(1), DIMS(B, 3, S, S));
    if (frozen)
        nn_freeze(store, "");
    ck_assert_msg(nn_build(store, true, &e), "%s", e.text);
}

/* ---- towers -------------------------------------------------------------------------------------------- */
#if REAL == 64
static tensor *run(tape *on, void *ctx)
{
    (void)ctx;
    return blip2_vit_forward(&v, on, pictures, NULL);
}

START_TEST(the_gradient_of_a_tower_is_the_slope)
{
    make(kinds[_i % 2], 1 + _i / 2, 2, false);
    nn_check k = nn_gradcheck(store, t, run, NULL, 1e-8, 5);
    ck_assert_msg(k.ok, "%s: %.1e", k.where, k.worst);
    ck_assert_int_eq(k.idle, 0);
}
END_TEST
#endif

static void norm_by_hand(const nn_layer_norm *n, double eps, const double *x, double *y)
{
    double mean = 0, variance = 0;
    for (int i = 0; i < E; i++)
        mean += x[i] / E;
    for (int i = 0; i < E; i++)
        variance += (x[i] - mean) * (x[i] - mean) / E;
    for (int i = 0; i < E; i++)
        y[i] = (double)n->weight->data[i] * (x[i] - mean) / sqrt(variance + eps) + (double)n->bias->data[i];
}

static double row_by_hand(const tensor *weight, const tensor *bias, long row, long at, const double *x)
{
    long K = weight->dim[1];
    double sum = bias ? (double)bias->data[at] : 0;
    for (long k = 0; k < K; k++)
        sum += (double)weight->data[row * K + k] * x[k];
    return sum;
}

/* Each token of q (N,E), of three heads, looks at all keys: softmax(q k' / sqrt(E/3)) v. */
static void attend_by_hand(double q[N][E], double k[N][E], double value[N][E], double y[N][E])
{
    enum { H = 3, D = E / H };
    for (int i = 0; i < N * H; i++) {
        int row = i / H, from = i % H * D;
        double weight[N], total = 0;
        for (int j = 0; j < N; j++) {
            double dot = 0;
            for (int c = from; c < from + D; c++)
                dot += q[row][c] * k[j][c];
            total += weight[j] = exp(dot / sqrt(D));
        }
        for (int c = from; c < from + D; c++) {
            y[row][c] = 0;
            for (int j = 0; j < N; j++)
                y[row][c] += weight[j] / total * value[j][c];
        }
    }
}

static void block_by_hand(const blip2_vit_block *b, blip2_vit_kind kind, double x[N][E])
{
    double q[N][E], k[N][E], value[N][E], y[N][E], h[E], hidden[20];
    double eps = kind == BLIP2_VIT_CLIP ? 1e-5 : 1e-6;
    const tensor *joint = b->qkv_bias;
    for (int i = 0; i < N; i++) {
        norm_by_hand(&b->norm1, eps, x[i], h);
        for (int c = 0; c < E; c++) {
            q[i][c] = row_by_hand(b->qkv, joint ? joint : b->q_bias, c, c, h);
            k[i][c] = row_by_hand(b->qkv, joint, E + c, E + c, h);
            value[i][c] = row_by_hand(b->qkv, joint ? joint : b->v_bias, 2 * E + c, joint ? 2 * E + c : c, h);
        }
    }
    attend_by_hand(q, k, value, y);
    for (int i = 0; i < N; i++) {
        for (int c = 0; c < E; c++)
            x[i][c] += row_by_hand(b->proj.weight, b->proj.bias, c, c, y[i]);
        norm_by_hand(&b->norm2, eps, x[i], h);
        for (int c = 0; c < 20; c++) {
            double z = row_by_hand(b->fc1.weight, b->fc1.bias, c, c, h);
            hidden[c] = kind == BLIP2_VIT_CLIP ? z / (1 + exp(-1.702 * z)) : z * (1 + erf(z / sqrt(2))) / 2;
        }
        for (int c = 0; c < E; c++)
            x[i][c] += row_by_hand(b->fc2.weight, b->fc2.bias, c, c, hidden);
    }
}

START_TEST(a_block_is_its_equations)
{
    double x[N][E];
    make(kinds[_i], 1, 1, false);
    for (long i = 0; i < store->count; i++)                /* no bias 0, no norm's weight 1 */
        for (long k = 0; k < store->entries[i].value->size; k++)
            store->entries[i].value->data[k] += (real)(0.3 * ag_normal((uint64_t)i, (uint64_t)k));
    tensor *y = blip2_vit_forward(&v, t, pictures, NULL);
    v.config.depth = 0;
    tensor *before = blip2_vit_forward(&v, t, pictures, NULL);
    for (int i = 0; i < N * E; i++)
        x[i / E][i % E] = (double)before->data[i];
    block_by_hand(v.blocks, kinds[_i], x);
    for (int i = 0; i < N * E; i++)
        ck_assert_double_eq_tol((double)y->data[i], x[i / E][i % E], TINY_ROUNDING);
}
END_TEST

START_TEST(a_frozen_tower_says_the_same)
{
    make(kinds[_i], 3, 2, false);
    tensor *trained = blip2_vit_forward(&v, t, pictures, NULL);
    ck_assert(trained->needs_grad);
    make(kinds[_i], 3, 2, true);
    long nodes = ag_node_count(t);
    tensor *frozen = blip2_vit_forward(&v, t, pictures, NULL);
    ck_assert(tiny_distance(trained, frozen) == 0);
    ck_assert(!frozen->needs_grad);
    ck_assert_int_eq(ag_node_count(t), nodes);
}
END_TEST

START_TEST(a_frozen_tower_leaves_its_output_alone)
{
    long used[2];
    for (int i = 0; i < 2; i++) {
        make(kinds[_i], 1 + 5 * i, 2, true);
        ag_reset(t);
        blip2_vit_forward(&v, t, pictures, NULL);
        used[i] = ag_here(t).used;
    }
    ck_assert_int_eq(used[0], used[1]);
    ck_assert_int_lt(used[0], 2 * N * E * (long)sizeof(real) + 1024);
}
END_TEST

START_TEST(every_block_can_be_looked_at)
{
    tensor *trained[3], *frozen[3];
    make(kinds[_i], 3, 2, false);
    tensor *last = blip2_vit_forward(&v, t, pictures, trained);
    ck_assert_ptr_eq(last, trained[2]);
    make(kinds[_i], 3, 2, true);
    blip2_vit_forward(&v, t, pictures, frozen);
    for (int i = 0; i < 3; i++)
        ck_assert(tiny_distance(trained[i], frozen[i]) == 0);
    ck_assert(tiny_distance(trained[0], trained[1]) > 0.01);
}
END_TEST

START_TEST(pictures_of_a_batch_do_not_meet)
{
    make(kinds[_i], 2, 3, false);
    tensor *together = blip2_vit_forward(&v, t, pictures, NULL);
    for (long b = 0; b < 3; b++) {
        tensor *one = ag_slice(t, pictures, 0, b, 1);
        tensor *alone = blip2_vit_forward(&v, t, one, NULL);
        ck_assert(tiny_distance(alone, ag_slice(t, together, 0, b, 1)) <= TINY_ROUNDING);
    }
}
END_TEST

START_TEST(names_and_shapes_are_the_checkpoints)
{
    const struct { blip2_vit_kind kind; const char *name; int ndim; long dim[4]; } each[] = {
        { BLIP2_VIT_EVA, "cls_token", 3, { 1, 1, E } }, { BLIP2_VIT_EVA, "pos_embed", 3, { 1, N, E } },
        { BLIP2_VIT_EVA, "patch_embed.proj.weight", 4, { E, 3, PATCH, PATCH } },
        { BLIP2_VIT_EVA, "patch_embed.proj.bias", 1, { E } },
        { BLIP2_VIT_EVA, "blocks.1.attn.q_bias", 1, { E } },
        { BLIP2_VIT_EVA, "blocks.1.attn.qkv.weight", 2, { 3 * E, E } },
        { BLIP2_VIT_EVA, "blocks.1.mlp.fc2.weight", 2, { E, 20 } },
        { BLIP2_VIT_CLIP, "class_embedding", 1, { E } },
        { BLIP2_VIT_CLIP, "positional_embedding", 2, { N, E } },
        { BLIP2_VIT_CLIP, "conv1.weight", 4, { E, 3, PATCH, PATCH } },
        { BLIP2_VIT_CLIP, "ln_pre.bias", 1, { E } },
        { BLIP2_VIT_CLIP, "transformer.resblocks.1.attn.in_proj_weight", 2, { 3 * E, E } },
        { BLIP2_VIT_CLIP, "transformer.resblocks.1.attn.in_proj_bias", 1, { 3 * E } },
        { BLIP2_VIT_CLIP, "transformer.resblocks.1.mlp.c_proj.weight", 2, { E, 20 } },
    };
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        char name[120];
        make(each[i].kind, 2, 1, false);
        snprintf(name, sizeof name, "visual_encoder.%s", each[i].name);
        const tensor *x = nn_find(store, name);
        ck_assert_msg(x, "%s is not there", name);
        ck_assert_int_eq(x->ndim, each[i].ndim);
        for (int a = 0; a < x->ndim; a++)
            ck_assert_int_eq(x->dim[a], each[i].dim[a]);
    }
}
END_TEST

static void forward(void *ctx) { blip2_vit_forward(&v, t, ctx, NULL); }

START_TEST(pictures_of_another_size_are_refused)
{
    error e;
    make(kinds[_i], 1, 1, false);
    ck_assert(!ag_try(t, forward, tiny_normal(t, 1, DIMS(1, 3, S, S + PATCH)), &e));
    ck_assert_str_eq(e.text, "vit: pictures (1,3,6,8): expected (B,3,6,6)");
}
END_TEST

/* ---- positions ----------------------------------------------------------------------------------------- */

START_TEST(positions_on_their_own_grid_stay)
{
    real y[N * E];
    tensor *x = tiny_normal(t, 1, DIMS(N, E));
    blip2_resize_positions(kinds[_i], 3, 3, E, x->data, y);
    ck_assert(!memcmp(x->data, y, sizeof y));
}
END_TEST

START_TEST(equal_positions_stay_equal)
{
    real x[1 + 25], y[1 + 49];
    for (int i = 0; i < 1 + 25; i++)
        x[i] = (real)0.75;
    blip2_resize_positions(kinds[_i], 5, 7, 1, x, y);
    for (int i = 0; i < 1 + 49; i++)
        ck_assert_double_eq_tol((double)y[i], 0.75, TINY_ROUNDING);
}
END_TEST

START_TEST(clip_keeps_corners_and_eva_does_not)
{
    real eva[1 + 16], clip[1 + 16];
    tensor *x = tiny_normal(t, 4, DIMS(N, 1));
    blip2_resize_positions(BLIP2_VIT_CLIP, 3, 4, 1, x->data, clip);
    blip2_resize_positions(BLIP2_VIT_EVA, 3, 4, 1, x->data, eva);
    static const int new_corner[] = { 1, 4, 13, 16 }, old_corner[] = { 1, 3, 7, 9 };
    for (int i = 0; i < 4; i++) {
        ck_assert(clip[new_corner[i]] == x->data[old_corner[i]]);
        ck_assert(fabs((double)eva[new_corner[i]] - (double)x->data[old_corner[i]]) > 1e-3);
    }
    ck_assert(clip[0] == x->data[0] && eva[0] == x->data[0]);
}
END_TEST

/* From 2 to 4 patches the first new position lies 1/4 outside the first old one, the second 1/4 inside.
 * Weights at 1/4 are -0.10546875, 0.87890625, 0.26171875, -0.03515625; beyond the border lies the border.  */
START_TEST(the_kernel_is_keys_with_three_quarters)
{
    const real x[] = { 9, 10, 0, 0, 0 };                   /* class token, then a grid of 2 x 2 */
    const double outside = 1.10546875, inside = 0.7734375;
    real y[1 + 16];
    blip2_resize_positions(BLIP2_VIT_EVA, 2, 4, 1, x, y);
    ck_assert_double_eq_tol((double)y[1], 10 * outside * outside, 10 * TINY_ROUNDING);
    ck_assert_double_eq_tol((double)y[2], 10 * outside * inside, 10 * TINY_ROUNDING);
    ck_assert_double_eq_tol((double)y[6], 10 * inside * inside, 10 * TINY_ROUNDING);
}
END_TEST

START_TEST(sinusoids_tell_every_place_apart)
{
    real y[(1 + 16) * 12];
    sinusoid_positions(4, 12, 0.3, y);
    for (int i = 0; i < 12; i++)
        ck_assert(y[i] == 0);
    for (int p = 1; p < 17; p++)
        for (int q = 1; q < p; q++) {
            double apart = 0;
            for (int i = 0; i < 12; i++) {
                apart += fabs((double)y[p * 12 + i] - (double)y[q * 12 + i]);
                ck_assert(fabs((double)y[p * 12 + i]) <= 0.3 + 1e-6);
            }
            ck_assert(apart > 0.05);
        }
}
END_TEST

Suite *suite_vit(void)
{
    Suite *s = suite_create("vit");
    TCase *c = tcase_create("vit");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, TEST_SECONDS);
#if REAL == 64
    tcase_add_loop_test(c, the_gradient_of_a_tower_is_the_slope, 0, 4);
#endif
    tcase_add_loop_test(c, a_block_is_its_equations, 0, 2);
    tcase_add_loop_test(c, a_frozen_tower_says_the_same, 0, 2);
    tcase_add_loop_test(c, a_frozen_tower_leaves_its_output_alone, 0, 2);
    tcase_add_loop_test(c, every_block_can_be_looked_at, 0, 2);
    tcase_add_loop_test(c, pictures_of_a_batch_do_not_meet, 0, 2);
    tcase_add_test(c, names_and_shapes_are_the_checkpoints);
    tcase_add_loop_test(c, pictures_of_another_size_are_refused, 0, 2);
    tcase_add_loop_test(c, positions_on_their_own_grid_stay, 0, 2);
    tcase_add_loop_test(c, equal_positions_stay_equal, 0, 2);
    tcase_add_test(c, clip_keeps_corners_and_eva_does_not);
    tcase_add_test(c, the_kernel_is_keys_with_three_quarters);
    tcase_add_test(c, sinusoids_tell_every_place_apart);
    suite_add_tcase(s, c);
    return s;
}
