/* explain_tape.c - `blip2 explain tape CONFIG.yaml|MODEL.h5`: the nodes of one training step as a table. */
#include "cli/commands.h"
#include "cli/step.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sum { char name[2 * STEP_PATH]; long nodes, bytes; double forward, backward; } sum;
enum { SUMS = 256 };

static long bytes_of(const ag_node *n)
{
    long bytes = 0;
    for (int i = 0; i < n->nout; i++)
        bytes += n->outs[i]->size * (long)sizeof(real);
    return bytes;
}

static void shapes_of(const ag_node *n, char to[256])
{
    size_t used = 0;
    *to = 0;
    for (int i = 0; i < n->nin && used < 200; i++)
        if (n->in[i])
            used += (size_t)snprintf(to + used, 256 - used, "%s%s", used ? " " : "", SHAPE(n->in[i]));
    snprintf(to + used, 256 - used, " -> %s", SHAPE(n->out));
}

/* ---- sums by op and by module -------------------------------------------------------------------------- */
static void add(sum *sums, int *count, const char *name, const step_node *n)
{
    int i = 0;
    while (i < *count && strcmp(sums[i].name, name))
        i++;
    if (i == SUMS)
        return;
    if (i == *count)
        snprintf(sums[(*count)++].name, sizeof sums->name, "%s", name);
    sums[i].nodes++;
    sums[i].bytes += bytes_of(n->node);
    sums[i].forward += n->forward;
    sums[i].backward += n->backward;
}

static int by_time(const void *a, const void *b)
{
    const sum *x = a, *y = b;
    double p = x->forward + x->backward, q = y->forward + y->backward;
    return p < q ? 1 : -(p > q);
}

static void print_sums(const step *s, const char *what, sum *sums, int count, bool json)
{
    double all = s->forward + s->backward;
    if (!json)
        printf("\n%-34s %6s %10s %10s %10s %7s\n", what, "nodes", "KiB", "forward", "backward", "share");
    for (int i = 0; i < count; i++) {
        const sum *x = &sums[i];
        if (json)
            printf("{\"%s\":\"%s\",\"nodes\":%ld,\"bytes\":%ld,\"forward\":%.3e,\"backward\":%.3e}\n", what,
                   x->name,
                   x->nodes, x->bytes, x->forward, x->backward);
        else
            printf("%-34s %6ld %10.1f %8.2f ms %7.2f ms %6.1f%%\n", x->name, x->nodes,
                   (double)x->bytes / 1024,
                   1e3 * x->forward, 1e3 * x->backward, 100 * (x->forward + x->backward) / all);
    }
}

static void print_all_sums(const step *s, bool json)
{
    sum ops[SUMS] = { 0 }, modules[SUMS] = { 0 };
    int op_count = 0, module_count = 0;
    for (long i = 0; i < s->count; i++) {
        const step_node *n = &s->nodes[i];
        char group[STEP_PATH], name[2 * STEP_PATH];
        step_group(n, 1, group);
        snprintf(name, sizeof name, "%s%s%s", n->part, *group && *n->part ? ": " : "", group);
        add(ops, &op_count, n->node->op->name, n);
        add(modules, &module_count, name, n);
    }
    qsort(ops, (size_t)op_count, sizeof *ops, by_time);
    print_sums(s, "op", ops, op_count, json);
    print_sums(s, "module", modules, module_count, json);
}

/* ---- the nodes ----------------------------------------------------------------------------------------- */
static void print_node(const step_node *n, long index, bool json)
{
    char shapes[256], where[2 * STEP_PATH];
    shapes_of(n->node, shapes);
    snprintf(where, sizeof where, "%s%s%s", n->part, *n->module && *n->part ? ": " : "", n->module);
    if (!json) {
        printf("%5ld  %-20s %-52s %9.1f %9.1f %9.1f %9.2e  %s\n", index, n->node->op->name, where,
               (double)bytes_of(n->node) / 1024, 1e6 * n->forward, 1e6 * n->backward, n->norm, shapes);
        return;
    }
    printf("{\"node\":%ld,\"op\":\"%s\",\"part\":\"%s\",\"module\":\"%s\",\"shapes\":\"%s\",\"bytes\":%ld,"
           "\"forward\":%.3e,\"backward\":%.3e,", index, n->node->op->name, n->part, n->module, shapes,
           bytes_of(n->node), n->forward, n->backward);
    printf(isfinite(n->norm) ? "\"gradient_norm\":%.6e}\n" : "\"gradient_norm\":null}\n", n->norm);
}

typedef struct place { long index; double seconds; } place;

static int longest_first(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->seconds < y->seconds ? 1 : -(x->seconds > y->seconds);
}

/* All in order of execution, or the `top` that take longest. */
static bool print_nodes(const step *s, long top, bool json, error *e)
{
    place *order = mem_new((size_t)s->count * sizeof *order);
    if (!order)
        return error_set(e, "out of memory");
    for (long i = 0; i < s->count; i++)
        order[i] = (place){ i, s->nodes[i].forward + s->nodes[i].backward };
    if (top)
        qsort(order, (size_t)s->count, sizeof *order, longest_first);
    if (!json)
        printf("%5s  %-20s %-52s %9s %9s %9s %9s  %s\n", "node", "op", "module", "KiB", "fwd us", "back us",
               "|grad|", "shapes");
    for (long i = 0; i < s->count && (!top || i < top); i++)
        print_node(&s->nodes[order[i].index], order[i].index, json);
    mem_free(order);
    return true;
}

static int run(int argc, char **argv)
{
    long batch = 0, top = 0;
    cli_common common = { .seed = 1 };
    cli_option options[] = {
        { "batch", "N", CLI_INT, &batch, 1, 4096, "pictures (default: as configured; a model file: 8)" },
        { "top", "N", CLI_INT, &top, 1, 1000000, "only the nodes that take longest" },
    };
    int code;
    error e;
    step s;
    if (!cli_parse(&argc, argv, options, 2, &common, &code))
        return code;
    if (argc < 2)
        return cli_usage("explain tape", "a configuration or a model file is needed");
    bool ok = step_open(&s, argv[1], argv + 2, argc - 2, batch, (uint64_t)common.seed, &e);
    ok = ok && step_run(&s, &e) && print_nodes(&s, top, common.json, &e);
    if (ok) {
        print_all_sums(&s, common.json);
        if (!common.json)
            printf("\n%ld nodes, %.1f MiB of tape; forward %.1f ms (%.1f ms of it the frozen vision tower, "
                   "which leaves no node), backward %.1f ms\n", s.count, (double)ag_bytes(s.t) / (1 << 20),
                   1e3 * s.forward,
                   1e3 * s.tower, 1e3 * s.backward);
    }
    step_close(&s);
    return ok ? 0 : cli_fail(&e);
}

const cli_command cli_explain_tape = {
    "explain tape", "CONFIG.yaml|MODEL.h5 [key=value...]",
    "every node of one training step: shapes, time, gradient", run,
    "The step runs twice on random weights and inputs of the model's shapes, with its dropout; the second "
    "is\n"
    "timed. A node's time forward is what passed since the one before it, so work that leaves no node "
    "(masks,\n"
    "frozen parts) counts where it ends. |grad| is the 2-norm of the gradient of the node's output; nan: "
    "none\n"
    "came back. Then the sums by operation, those that take longest first, and by module."
};
