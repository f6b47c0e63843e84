/* graph.c - `blip2 graph CONFIG.yaml|MODEL.h5 -o G.dot`: the tape of one training step for Graphviz.
 *
 * What belongs to a part of the step (image pass, ITC, ...) stands in a frame; inside, nodes of the tape are
 * drawn together by the first --depth names of the module whose parameters they use. An edge is a tensor that
 * goes from one to the other, with its shape.                                                              */
#include "cli/commands.h"
#include "cli/step.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVERY_OP = 1000, EDGE_SHAPES = 3, ATTENTION_BIAS = 5 };   /* inputs: q, k, v, past k, past v, bias */
typedef struct group {
    const char *part;
    char name[STEP_PATH];
    long first, ops, parameters;       /* the node it begins with; numbers of its parameters */
    bool loss, frozen;  /* scalars on the way to the loss; has parameters, none of them learns */
} group;
typedef struct edge { long from, to; int count; char shapes[EDGE_SHAPES][104]; } edge;
typedef struct graph {
    const step *s;
    long depth;
    group *groups;
    long *of;                          /* (nodes) the group of each */
    edge *edges;
    long group_count, edge_count, edge_room;
} graph;

/* ---- groups and edges ---------------------------------------------------------------------------------- */
static bool is_loss(const step_node *n)
{
    return n->node->out->size == 1 && !strstr(n->node->op->name, "repeat");
}

static long group_of(graph *g, long i)
{
    const step_node *n = &g->s->nodes[i];
    group now = { .part = n->part, .first = i, .loss = is_loss(n) };
    step_group(n, g->depth, now.name);
    if (now.loss)
        snprintf(now.name, sizeof now.name, "loss");
    for (long k = 0; g->depth < EVERY_OP && k < g->group_count; k++) {
        const group *old = &g->groups[k];
        if (!strcmp(old->part, now.part) && !strcmp(old->name, now.name) && old->loss == now.loss)
            return k;
    }
    g->groups[g->group_count] = now;
    return g->group_count++;
}

/* Keys and values enter an attention behind its queries, what is added to the scores comes last. */
static void describe(const ag_node *to, int k, char text[104])
{
    bool attention = !strcmp(to->op->name, "attention"), bias = attention && k == ATTENTION_BIAS;
    char shape[96];
    snprintf(text, 104, "%s%s", bias ? "bias " : attention && k > 0 ? "K, V " : "",
             to->in[k]->ndim ? ag_shape(to->in[k], shape) : "a number");
}

static bool join(graph *g, long from, long to, const char *shape)
{
    edge *e = NULL;
    for (long k = 0; k < g->edge_count && !e; k++)
        if (g->edges[k].from == from && g->edges[k].to == to)
            e = &g->edges[k];
    if (!e && g->edge_count == g->edge_room) {
        long room = g->edge_room ? 2 * g->edge_room : 64;
        edge *more = mem_grow(g->edges, (size_t)g->edge_room * sizeof *more, (size_t)room * sizeof *more);
        if (!more)
            return false;
        g->edges = more;
        g->edge_room = room;
    }
    if (!e) {
        e = &g->edges[g->edge_count++];
        *e = (edge){ .from = from, .to = to };
    }
    for (int k = 0; k < e->count; k++)
        if (!strcmp(e->shapes[k], shape))
            return true;
    if (e->count < EDGE_SHAPES)
        snprintf(e->shapes[e->count++], sizeof *e->shapes, "%s", shape);
    return true;
}

/* A parameter counts where it is met first in its group. */
static void count_parameters(graph *g)
{
    for (long k = 0; k < g->group_count; k++) {
        long learns = 0;
        group *to = &g->groups[k];
        for (long p = 0; p < g->s->store->count; p++) {
            const nn_entry *entry = &g->s->store->entries[p];
            bool met = false;
            for (long i = to->first; i < g->s->count && !met; i++)
                for (int j = 0; g->of[i] == k && j < g->s->nodes[i].node->nin && !met; j++)
                    met = g->s->nodes[i].node->in[j] == entry->value;
            if (met && !entry->alias_of) {
                to->parameters += entry->value->size;
                learns += entry->value->needs_grad;
            }
        }
        to->frozen = to->parameters && !learns;
    }
}

static bool collect(graph *g, error *e)
{
    long n = g->s->count;
    g->groups = mem_new((size_t)n * sizeof *g->groups);
    g->of = mem_new((size_t)n * sizeof *g->of);
    bool ok = g->groups && g->of;
    for (long i = 0; ok && i < n; i++) {
        const ag_node *node = g->s->nodes[i].node;
        g->of[i] = group_of(g, i);
        g->groups[g->of[i]].ops++;
        for (int k = 0; ok && k < node->nin; k++) {
            long from = step_producer(g->s, node->in[k]);
            char shape[104];
            if (from < 0 || g->of[from] == g->of[i])
                continue;
            describe(node, k, shape);
            ok = join(g, g->of[from], g->of[i], shape);
        }
    }
    if (ok)
        count_parameters(g);
    return ok || error_set(e, "out of memory for a graph of %ld nodes", n);
}

/* ---- drawing ------------------------------------------------------------------------------------------- */
static const char *number(char to[32], long n)
{
    if (n < 10000)
        snprintf(to, 32, "%ld", n);
    else if (n < 1000000)
        snprintf(to, 32, "%.1f k", (double)n / 1e3);
    else
        snprintf(to, 32, "%.2f M", (double)n / 1e6);
    return to;
}

/* What a group without a path does: its first operations. */
static void list_ops(const graph *g, long k, char to[STEP_PATH])
{
    int listed = 0;
    size_t used = 0;
    *to = 0;
    for (long i = g->groups[k].first; i < g->s->count && listed < 3; i++) {
        const char *op = g->s->nodes[i].node->op->name;
        if (g->of[i] != k || strstr(to, op))
            continue;
        used += (size_t)snprintf(to + used, STEP_PATH - used, "%s%s", listed ? ", " : "", op);
        listed++;
    }
    snprintf(to + used, STEP_PATH - used, "%s", g->groups[k].ops > listed ? ", ..." : "");
}

static void name_of(const graph *g, long k, char to[STEP_PATH + 64])
{
    const group *x = &g->groups[k];
    char ops[STEP_PATH];
    list_ops(g, k, ops);
    if (x->loss)
        snprintf(to, STEP_PATH + 64, "%s loss", strcmp(x->part, "loss") && *x->part ? x->part : "the whole");
    else
        snprintf(to, STEP_PATH + 64, "%s", *x->name ? x->name : g->depth ? ops : x->part);
}

static void draw_group(const graph *g, long k, file_out *f)
{
    const group *x = &g->groups[k];
    const ag_node *first = g->s->nodes[x->first].node;
    char count[32], name[STEP_PATH + 64];
    name_of(g, k, name);
    const char *fill = x->loss ? "#f8c8b0" : x->frozen ? "#dce6f0" : x->parameters ? "#fff3c4" : "white";
    file_print(f, "    n%ld [label=\"", k);
    if (g->depth == EVERY_OP)
        file_print(f, "%s\\n%s", first->op->name, SHAPE(first->out));
    else
        file_print(f, "%s\\n%ld op%s", name, x->ops, x->ops > 1 ? "s" : "");
    if (x->parameters && g->depth < EVERY_OP)
        file_print(f, "\\n%s %s", number(count, x->parameters), x->frozen ? "frozen" : "learn");
    file_print(f, "\", fillcolor=\"%s\"%s];\n", fill, x->loss ? ", penwidth=2, color=\"#b03010\"" : "");
}

/* Each parameter beside its operation, by its full name. */
static void draw_parameters(const graph *g, file_out *f)
{
    const nn_store *s = g->s->store;
    for (long p = 0; p < s->count; p++) {
        const tensor *x = s->entries[p].value;
        bool met = false;
        for (long i = 0; i < g->s->count && !s->entries[p].alias_of; i++)
            for (int k = 0; k < g->s->nodes[i].node->nin; k++)
                if (g->s->nodes[i].node->in[k] == x) {
                    met = true;
                    file_print(f, "  p%ld -> n%ld [color=gray, arrowsize=0.5];\n", p, g->of[i]);
                }
        if (met)
            file_print(f, "  p%ld [shape=ellipse, fillcolor=\"%s\", label=\"%s%s\\n%s\"];\n", p,
                       x->needs_grad ? "#fff3c4" : "#dce6f0", x->name, x->needs_grad ? "" : "\\n(frozen)",
                       SHAPE(x));
    }
}

static void draw_parts(const graph *g, file_out *f)
{
    for (long k = 0; k < g->group_count; k++) {
        const char *part = g->groups[k].part;
        bool drawn = false;
        for (long i = 0; i < k; i++)
            drawn |= !strcmp(g->groups[i].part, part);
        if (drawn)
            continue;
        if (*part)
            file_print(f, "  subgraph cluster_%ld {\n    label=\"%s\"; labeljust=l; style=rounded; "
                       "color=\"#808080\"; fontsize=16;\n", k, part);
        for (long i = k; i < g->group_count; i++)
            if (!strcmp(g->groups[i].part, part))
                draw_group(g, i, f);
        if (*part)
            file_print(f, "  }\n");
    }
}

static void draw_edges(const graph *g, file_out *f)
{
    for (long k = 0; k < g->edge_count; k++) {
        const edge *e = &g->edges[k];
        file_print(f, "  n%ld -> n%ld [label=\"", e->from, e->to);
        for (int i = 0; i < e->count; i++)
            file_print(f, "%s %s ", i ? "\\n" : "", e->shapes[i]);       /* blanks: clear of the line */
        file_print(f, "\"];\n");
    }
}

/* What goes in: the first nodes that read it. */
static void draw_input(const graph *g, file_out *f)
{
    const step *s = g->s;
    bool pictures = s->input && s->input->ndim == 4, used = false;
    for (long i = 0; s->input && i < s->count; i++)
        for (int k = 0; k < s->nodes[i].node->nin; k++)
            if (s->nodes[i].node->in[k] == s->input) {
                file_print(f, "  input -> n%ld [label=\" %s \"];\n", g->of[i], SHAPE(s->input));
                used = true;
            }
    if (used)
        file_print(f, "  input [label=\"%s\", fillcolor=\"#d8ecd0\", margin=\"0.2,0.08\"];\n",
                   pictures ? "pictures" : s->tower > 0 ? "picture features\\nof the frozen vision tower"
                                                        : "picture features");
}

static bool draw(const graph *g, const char *title, const char *path, error *e)
{
    file_out *f = file_create(path, e);
    if (!f)
        return false;
    file_print(f, "/* blip2 graph: one training step; render with: dot -Tsvg */\ndigraph step {\n"
               "  graph [label=\"%s\", labelloc=t, fontname=\"Helvetica\", fontsize=15, ranksep=0.35, "
               "nodesep=0.25];\n"
               "  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"Helvetica\", "
               "fontsize=12, margin=\"0.12,0.05\"];\n"
               "  edge [fontname=\"Helvetica\", fontsize=10, fontcolor=\"#404080\", color=\"#505050\", "
               "arrowsize=0.7];\n", title);
    draw_parts(g, f);
    draw_input(g, f);
    draw_edges(g, f);
    if (g->depth == EVERY_OP)
        draw_parameters(g, f);
    file_print(f, "}\n");
    return file_finish(f, e);
}

/* ---- the command --------------------------------------------------------------------------------------- */
static bool write_graph(const step *s, long depth, const char *path, const cli_common *common, error *e)
{
    static const char *const tasks[] = { "stage 1", "stage 2", "vision tower from captions",
                                         "language model" };
    graph g = { .s = s, .depth = depth };
    char title[256], count[32];
    bool texts = s->c.task == TRAIN_LM;
    snprintf(title, sizeof title, "%s: one training step, %ld %s%s%s of %ld tokens\\n%s parameters "
             "learn; equal names in different frames are the same weights",
             tasks[s->c.task], s->batch, texts ? "text" : "picture", s->batch > 1 ? "s" : "",
             texts ? "" : ", texts", s->text, number(count, s->store->trainable));
    bool ok = collect(&g, e) && draw(&g, title, path, e);
    if (ok && common->json) {
        printf("{\"graph\":");
        cli_json_text(path);
        printf(",\"ops\":%ld,\"nodes\":%ld,\"edges\":%ld}\n", s->count, g.group_count, g.edge_count);
    } else if (ok && !common->quiet)
        printf("%s: %ld operations in %ld nodes, %ld edges; draw it with: dot -Tsvg %s -o graph.svg\n", path,
               s->count, g.group_count, g.edge_count, path);
    mem_free(g.groups);
    mem_free(g.of);
    mem_free(g.edges);
    return ok;
}

static int run(int argc, char **argv)
{
    long batch = 2, level = 1;
    const char *out = NULL, *depth = NULL;
    cli_common common = { .seed = 1 };
    cli_option options[] = {
        { "out", "G.dot", CLI_TEXT, &out, 0, 0, "the file that is written; -o is the same" },
        { "depth", "N|all", CLI_TEXT, &depth, 0, 0, "names of a path that are told apart (default 1)" },
        { "batch", "N", CLI_INT, &batch, 1, 4096, "pictures in the step that is drawn" },
    };
    int code;
    error e;
    step s;
    char *end = NULL;
    if (!cli_parse(&argc, argv, options, 3, &common, &code))
        return code;
    if (argc < 2 || !out)
        return cli_usage("graph", "a configuration or a model file and -o G.dot are needed");
    if (depth && strcmp(depth, "all")
        && (level = strtol(depth, &end, 10), end == depth || *end || level < 0 || level > 9))
        return cli_usage("graph", "--depth: expected a number from 0 to 9 or all, found \"%s\"",
                         QUOTE(depth));
    if (depth && !strcmp(depth, "all"))
        level = EVERY_OP;
    if (!cli_may_write("graph", out, ".dot .gv", 1, (const char *const *)argv + 1))
        return 2;
    bool ok = step_open(&s, argv[1], argv + 2, argc - 2, batch, (uint64_t)common.seed, &e) && step_run(&s, &e)
              && write_graph(&s, level, out, &common, &e);
    step_close(&s);
    return ok ? 0 : cli_fail(&e);
}

const cli_command cli_graph = {
    "graph", "CONFIG.yaml|MODEL.h5 -o G.dot [key=value...]",
    "draw the tape of one training step for Graphviz", run,
    "Frames are the parts of the step; a node is what a module's operations do there (--depth 0: a part\n"
    "alone, 1: a layer, 2: its attention or feed-forward, all: every operation, with every parameter by\n"
    "name). An edge is a tensor with its shape. Yellow learns, blue is frozen, red leads to the loss. Equal\n"
    "names in different frames are the same weights. Inputs are random; the vocabulary is the "
    "configuration's."
};
