/* functions.c - which functions a backward pass is made of (mutate.h).
 *
 * Roots are what the op tables `ag_op NAME = { "name", backward, ... }` name, wherever they stand, and the
 * tape's ag_backward_from. From there on every function that is mentioned is followed: by name, as AG_CALL(t,
 * k), which means k_cpu, and as a member of a table of function pointers. What other functions than these
 * mention too, the checkers' apart, belongs to forward passes as well. */
#include "tests/mutate/mutate.h"
#include <string.h>

static void copy_word(const source *s, int i, char to[64])
{
    snprintf(to, 64, "%.*s", (int)s->tokens[i].length, s->text + s->tokens[i].at);
}

/* A static function of the same file, or any file's that is not static; -1. */
static int function_named(const program *p, int of, const char *name)
{
    for (int i = 0; i < p->function_count; i++)
        if (p->functions[i].source == of && !strcmp(p->functions[i].name, name))
            return i;
    for (int i = 0; i < p->function_count; i++)
        if (p->functions[i].exported && !strcmp(p->functions[i].name, name))
            return i;
    return -1;
}

static int function_at(const program *p, int of, int at)
{
    char name[64];
    copy_word(&p->sources[of], at, name);
    return function_named(p, of, name);
}

/* Every NAME ( ... ) { at the outermost level; what stands in other braces there is passed over. */
static void functions_of(program *p, int source_, long *space)
{
    const source *s = &p->sources[source_];
    for (int i = 0, begin = 0; i < s->count; i++) {
        if (is(s, i, ";"))
            begin = i + 1;
        if (!is(s, i, "{"))
            continue;
        int end = closing(s, i), open = is(s, i - 1, ")") ? opening(s, i - 1) : 0;
        if (open > 0 && s->tokens[open - 1].kind == WORD) {
            p->functions = room(p->functions, p->function_count, space, sizeof *p->functions);
            function *f = &p->functions[p->function_count++];
            *f = (function){ .source = source_, .first = i, .last = end, .exported = true };
            copy_word(s, open - 1, f->name);
            for (int k = begin; k < open; k++)
                f->exported = f->exported && !is(s, k, "static");
            begin = end + 1;
        }
        i = end;
    }
}

/* ---- tables -------------------------------------------------------------------------------------------- */
/* ag_op NAME = { "name", backward, ... } */
static void ops_of(program *p, int source_)
{
    const source *s = &p->sources[source_];
    for (int i = 0; i + 6 < s->count; i++) {
        if (!is(s, i, "ag_op") || !is(s, i + 2, "=") || !is(s, i + 3, "{"))
            continue;
        if (p->op_count == OPS)
            die("more than %d ops: the bits of a word do not hold them", OPS);
        op *o = &p->ops[p->op_count++];
        const token *t = &s->tokens[i + 4];
        *o = (op){ .source = source_, .backward = function_at(p, source_, i + 6) };
        snprintf(o->name, sizeof o->name, "%.*s", (int)t->length - 2, s->text + t->at + 1);
        if (t->kind != TEXT || o->backward < 0)
            die("%s:%d: an op's table is { \"name\", backward, ... }", s->path, t->line);
    }
}

/* The place among the function pointers of a struct, declared from token `from` to `to`, of the one called
 * like token `member`; -1. */
static int member_place(const source *s, int from, int to, int member)
{
    char name[64];
    copy_word(s, member, name);
    for (int i = from, place = 0; i + 1 < to; i++)
        if (is(s, i, "(") && is(s, i + 1, "*")) {
            if (is(s, i + 2, name))
                return place;
            place++;
        }
    return -1;
}

/* Token `use` names an array of structs of function pointers of this file, used as table[..].member: the
 * functions that can be meant. */
static void follow_table(const program *p, int source_, int use, void (*each)(void *, int), void *ctx)
{
    const source *s = &p->sources[source_];
    char name[64];
    copy_word(s, use, name);
    int after = is(s, use + 1, "[") ? closing(s, use + 1) + 1 : use + 1;
    if (!is(s, after, "."))
        return;
    for (int i = 0; i + 1 < s->count; i++) {
        if (!is(s, i, name) || !is(s, i - 1, "}") || !is(s, i + 1, "["))
            continue;                                      /* struct { ... } name[...] = { ... } */
        int place = member_place(s, opening(s, i - 1), i, after + 1), list = closing(s, i + 1) + 2;
        for (int k = list + 1; place >= 0 && k < closing(s, list); k++)
            if (is(s, k, "{")) {
                int f = function_at(p, source_, k + 1 + 2 * place);
                if (f >= 0)
                    each(ctx, f);
                k = closing(s, k);
            }
    }
}

/* ---- who mentions whom --------------------------------------------------------------------------------- */
static void mentions(const program *p, int f, void (*each)(void *, int), void *ctx)
{
    const function *by = &p->functions[f];
    const source *s = &p->sources[by->source];
    for (int i = by->first + 1; i < by->last; i++) {
        if (s->tokens[i].kind != WORD || is(s, i - 1, ".") || is(s, i - 1, "->"))
            continue;
        int named = function_at(p, by->source, i);
        if (is(s, i, "AG_CALL") && is(s, i + 1, "(")) {
            char kernel[64];
            copy_word(s, closing(s, i + 1) - 1, kernel);
            strncat(kernel, "_cpu", sizeof kernel - strlen(kernel) - 1);
            named = function_named(p, by->source, kernel);
        }
        if (named >= 0)
            each(ctx, named);
        else
            follow_table(p, by->source, i, each, ctx);
    }
}

struct spread { program *p; uint64_t ops; bool changed; };

static void reach(void *ctx, int f)
{
    struct spread *s = ctx;
    function *to = &s->p->functions[f];
    s->changed |= (to->ops | s->ops) != to->ops;
    to->ops |= s->ops;
}

static void use_forward(void *ctx, int f)
{
    struct spread *s = ctx;
    function *to = &s->p->functions[f];
    s->changed |= to->ops && !to->forward;
    to->forward |= to->ops != 0;
}

/* What these files mention is mentioned to check it. */
static bool checker(const program *p, const function *f)
{
    static const char *const files[] = { "autograd/probe.c", "nn/gradcheck.c" };
    return !strcmp(p->sources[f->source].path, files[0]) || !strcmp(p->sources[f->source].path, files[1]);
}

int find_functions(program *p)
{
    long space = 0;
    int found = 0;
    for (int i = 0; i < p->source_count; i++)
        functions_of(p, i, &space);
    for (int i = 0; i < p->source_count; i++)
        ops_of(p, i);
    bool *root = mem_new((size_t)p->function_count);
    for (int i = 0; root && i < p->op_count; i++) {
        root[p->ops[i].backward] = true;
        p->functions[p->ops[i].backward].ops |= 1ull << i;
    }
    int tape = function_named(p, -1, "ag_backward_from");
    if (tape < 0 || !root)
        die("no function is called ag_backward_from");
    root[tape] = true;
    p->functions[tape].ops |= 1ull << TAPE;
    struct spread s = { .p = p, .changed = true };
    while (s.changed) {
        s.changed = false;
        for (int i = 0; i < p->function_count; i++)
            if ((s.ops = p->functions[i].ops))
                mentions(p, i, reach, &s);
    }
    for (s.changed = true; s.changed;) {
        s.changed = false;
        for (int i = 0; i < p->function_count; i++)
            if (!root[i] && (!p->functions[i].ops || p->functions[i].forward) && !checker(p, &p->functions[i])
                && strcmp(p->functions[i].name, "ag_backward"))
                mentions(p, i, use_forward, &s);
    }
    for (int i = 0; i < p->function_count; i++) {
        p->functions[i].forward = p->functions[i].forward && !root[i];
        found += p->functions[i].ops && !p->functions[i].forward;
    }
    mem_free(root);
    return found;
}
