/* test_windows.c - what the commands that look inside say is true: the tape's table, its drawing, the rows of
 * a gradient check, the rates of operations.                                                               */
#include "tests/shell.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static error e;
static bool is_said(const said *s, const char *text) { return strstr(s->out, text) != NULL; }

static void write_model(bool stage2)
{
    blip2_config c = tiny_config();
    blip2_model m;
    nn_store *store = nn_store_new(7);
    if (stage2) {
        c.llm = BLIP2_LLM_OPT;
        c.opt = tiny_opt_config();
        c.stage1 = c.qformer.text = c.qformer.head = false;
    }
    blip2_model_init(&m, store, &c);
    ck_assert(nn_build(store, false, &e));
    ck_assert_msg(blip2_save(&m, IN_FOLDER("m.h5"), "test", NULL, 0, &e), "%s", e.text);
    nn_store_free(store);
}

/* ---- watching a tape ----------------------------------------------------------------------------------- */
typedef struct log { int forward, backward; long last; const char *part; double grad; } log_of;

static void watch(void *context, const ag_node *n, long index, bool backward)
{
    log_of *l = context;
    *(backward ? &l->backward : &l->forward) += 1;
    ck_assert_ptr_eq(n, ag_node_at(n->tape, index));
    ck_assert_int_eq(index, backward ? l->last-- : ++l->last);
    l->part = n->part;
    if (backward)
        l->grad = (double)n->out->grad[0];
}

START_TEST(a_watcher_hears_of_every_node_both_ways_with_its_part_and_gradient)
{
    tape *t = ag_tape_new();
    log_of l = { .last = -1 };
    real one[] = { 3 };
    tensor *x = ag_leaf(t, DIMS(1), one);
    ag_watch(t, watch, &l);
    ck_assert_ptr_null(ag_part(t, "first"));
    tensor *y = ag_scale(t, x, 2);
    ck_assert(l.forward == 1 && !strcmp(l.part, "first"));
    ck_assert_str_eq(ag_part(t, "second"), "first");
    tensor *z = ag_scale(t, y, 5);
    ck_assert_str_eq(l.part, "second");
    ag_backward(t, ag_sum(t, z));
    ck_assert_int_eq(l.forward, 3);
    ck_assert_int_eq(l.backward, 3);
    ck_assert_double_eq(l.grad, 5);                        /* of y, while it still stood */
    ck_assert_str_eq(l.part, "first");
    ag_watch(t, NULL, NULL);
    ag_scale(t, x, 1);
    ck_assert_int_eq(l.forward, 3);
    ag_tape_free(t);
}
END_TEST

/* ---- explain tape -------------------------------------------------------------------------------------- */
START_TEST(the_table_of_a_tape_has_every_node_once_and_its_sums_agree)
{
    write_model(false);
    said s = BLIP2("explain", "tape", IN_FOLDER("m.h5"), "--json", "--batch", "3");
    ck_assert_msg(s.code == 0, "%s", s.err);
    long nodes = 0, by_op = 0, by_module = 0, bytes = 0, op_bytes = 0;
    for (char *line = strtok(s.out, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *row = json_loads(line, 0, NULL);
        ck_assert_msg(json_is_object(row), "%s", line);
        long n = (long)json_integer_value(json_object_get(row, "nodes"));
        long size = (long)json_integer_value(json_object_get(row, "bytes"));
        if (json_object_get(row, "node")) {
            ck_assert_int_eq((long)json_integer_value(json_object_get(row, "node")), nodes);
            nodes++;
            bytes += size;
        } else if (json_is_string(json_object_get(row, "module")))
            by_module += n;
        else {
            by_op += n;
            op_bytes += size;
        }
        json_decref(row);
    }
    ck_assert_int_gt(nodes, 100);
    ck_assert_int_eq(nodes, by_op);
    ck_assert_int_eq(nodes, by_module);
    ck_assert_int_eq(bytes, op_bytes);
    shell_free(s);
}
END_TEST

START_TEST(nodes_stand_in_the_part_and_module_that_they_belong_to)
{
    write_model(false);
    said s = BLIP2("explain", "tape", IN_FOLDER("m.h5"));
    ck_assert_msg(s.code == 0, "%s", s.err);
    ck_assert(is_said(&s, "attention            image pass: layer 2.crossattention.self "));
    ck_assert(is_said(&s, "linear_cross_entropy ITG: cls.predictions "));
    ck_assert(is_said(&s, "linear               ITM: itm_head "));
    ck_assert(is_said(&s, "layer_norm           text pass: layer 1.output.LayerNorm "));
    shell_free(s);
    s = BLIP2("explain", "tape", IN_FOLDER("m.h5"), "--top", "2", "--json");
    ck_assert(strstr(s.out, "\"node\"") && strstr(strstr(strstr(s.out, "\"node\"") + 1, "\"node\"") + 1,
                                                  "\"node\"") == NULL);
    shell_free(s);
}
END_TEST

/* ---- graph --------------------------------------------------------------------------------------------- */
static char *drawn(const char *depth)
{
    WORKS("graph", IN_FOLDER("m.h5"), "-o", IN_FOLDER("g.dot"), "--depth", depth, "--quiet");
    return folder_load("g.dot", NULL);
}

static long count(const char *text, const char *of)
{
    long n = 0;
    for (const char *p = text; (p = strstr(p, of)); p += strlen(of))
        n++;
    return n;
}

START_TEST(the_drawing_shows_parts_layers_losses_and_what_is_frozen)
{
    write_model(true);
    char *g = drawn("1");
    ck_assert(strstr(g, "label=\"image pass\"") && strstr(g, "label=\"language model\""));
    ck_assert(strstr(g, "layer 2") && strstr(g, "frozen") && strstr(g, "language model loss"));
    ck_assert(strstr(g, "(2,4,16)"));                      /* the soft prompt goes into the language model */
    mem_free(g);
    write_model(false);
    g = drawn("1");
    ck_assert(strstr(g, "ITC loss") && strstr(g, "ITM loss") && strstr(g, "ITG loss"));
    ck_assert_ptr_nonnull(strstr(g, "K, V (2,257,12)"));
    ck_assert_int_eq(count(g, "subgraph cluster_"), 6);
    mem_free(g);
}
END_TEST

START_TEST(the_halves_of_t5_stand_apart)
{
    blip2_config c = tiny_config();
    blip2_model m;
    nn_store *store = nn_store_new(7);
    c.llm = BLIP2_LLM_T5;
    c.t5 = tiny_t5_config();
    c.stage1 = c.qformer.text = c.qformer.head = false;
    blip2_model_init(&m, store, &c);
    ck_assert(nn_build(store, false, &e));
    ck_assert_msg(blip2_save(&m, IN_FOLDER("m.h5"), "test", NULL, 0, &e), "%s", e.text);
    nn_store_free(store);
    char *g = drawn("1");
    ck_assert_int_eq(count(g, "\"encoder block 0\\n"), 1);
    ck_assert_int_eq(count(g, "\"decoder block 0\\n"), 1);
    ck_assert_int_eq(count(g, "\"encoder final_layer_norm\\n"), 1);
    ck_assert_int_eq(count(g, "\"decoder final_layer_norm\\n"), 1);
    mem_free(g);
    WORKS("graph", "configs/demo/lm_t5.yaml", "-o", IN_FOLDER("g.dot"), "model.t5.vocab=19", "--quiet");
    g = folder_load("g.dot", NULL);
    ck_assert(strstr(g, " bias (4,96,96)") && !strstr(g, "K, V (4,"));     /* no key, no value */
    mem_free(g);
}
END_TEST

START_TEST(more_depth_draws_more_and_all_draws_every_node_and_parameter)
{
    write_model(false);
    long boxes[4];
    static const char *const depth[] = { "0", "1", "2", "all" };
    for (int i = 0; i < 4; i++) {
        char *g = drawn(depth[i]);
        boxes[i] = count(g, "fillcolor=");
        ck_assert(!i || boxes[i] > boxes[i - 1]);
        ck_assert_int_eq(count(g, "Qformer.bert.encoder.layer.0.attention.self.query.weight\\n") > 0, i == 3);
        mem_free(g);
    }
    FAILS(2, "--depth: expected a number from 0 to 9 or all", "graph", IN_FOLDER("m.h5"), "-o",
          IN_FOLDER("g.dot"),
          "--depth", "deep");
    FAILS(2, "a configuration or a model file and -o G.dot are needed", "graph", IN_FOLDER("m.h5"));
}
END_TEST

/* ---- gradcheck, bench ---------------------------------------------------------------------------------- */
START_TEST(a_verbose_check_shows_gradient_and_slope_of_every_element_and_marks_the_worst)
{
    if (REAL != 64)
        return;
    long rows = 0, worst = 0;
    said s = BLIP2("gradcheck", "scale", "--verbose", "--all", "--json");
    ck_assert_msg(s.code == 0, "%s", s.err);
    for (char *line = strtok(s.out, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *row = json_loads(line, 0, NULL);
        const json_t *a = json_object_get(row, "analytic"), *n = json_object_get(row, "numeric");
        ck_assert_msg(row != NULL, "%s", line);
        if (a) {
            ck_assert_double_le(fabs(json_number_value(a) - json_number_value(n)), 1e-6);
            rows++;
            worst += json_is_true(json_object_get(row, "worst"));
        }
        json_decref(row);
    }
    ck_assert(rows > 50 && worst >= 10 && worst < rows);
    shell_free(s);
    s = BLIP2("gradcheck", "itc", "--verbose");
    ck_assert(s.code == 0 && is_said(&s, "vision_proj.weight") && is_said(&s, "direction"));
    shell_free(s);
    FAILS(2, "--all goes with --verbose", "gradcheck", "scale", "--all");
}
END_TEST

START_TEST(every_operation_has_a_case_at_shapes_of_bert)
{
    int n;
    const ag_op *const *ops = ag_ops(&n);
    said s = BLIP2("bench", "ops", "--list");
    for (int i = 0; i < n; i++) {
        char line[80];
        snprintf(line, sizeof line, "%-21s ", ops[i]->name);
        bool elsewhere = !strcmp(ops[i]->name, "checkpoint")       /* runs others */
                         || !strcmp(ops[i]->name, "all_gather");    /* needs ranks */
        ck_assert_msg(elsewhere || is_said(&s, line), "no case of %s", ops[i]->name);
    }
    shell_free(s);
    FAILS(2, "did you mean linear?", "bench", "ops", "linaer");
}
END_TEST

START_TEST(a_rate_is_the_work_by_the_time_and_its_share_that_of_the_machine)
{
    said s = BLIP2("bench", "ops", "scale", "--repeats", "1", "--json");
    ck_assert_msg(s.code == 0, "%s", s.err);
    json_t *row = json_loads(s.out, 0, NULL);
    double rate = json_number_value(json_object_get(row, "gbs"));
    double most = json_number_value(json_object_get(row, "triad_gbs"));
    double gigabytes = 2e-9 * 24 * 64 * 768 * sizeof(real);            /* read once, written once */
    double seconds = json_number_value(json_object_get(row, "seconds"));
    ck_assert_double_le(fabs(rate * seconds / gigabytes - 1), 0.02);
    ck_assert_double_le(fabs(json_number_value(json_object_get(row, "share")) - rate / most), 0.005);
    json_decref(row);
    shell_free(s);
}
END_TEST

Suite *suite_windows(void)
{
    Suite *s = suite_create("windows");
    TCase *c = tcase_create("windows");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, a_watcher_hears_of_every_node_both_ways_with_its_part_and_gradient);
    tcase_add_test(c, the_table_of_a_tape_has_every_node_once_and_its_sums_agree);
    tcase_add_test(c, nodes_stand_in_the_part_and_module_that_they_belong_to);
    tcase_add_test(c, the_drawing_shows_parts_layers_losses_and_what_is_frozen);
    tcase_add_test(c, the_halves_of_t5_stand_apart);
    tcase_add_test(c, more_depth_draws_more_and_all_draws_every_node_and_parameter);
    tcase_add_test(c, a_verbose_check_shows_gradient_and_slope_of_every_element_and_marks_the_worst);
    tcase_add_test(c, every_operation_has_a_case_at_shapes_of_bert);
    tcase_add_test(c, a_rate_is_the_work_by_the_time_and_its_share_that_of_the_machine);
    suite_add_tcase(s, c);
    return s;
}
