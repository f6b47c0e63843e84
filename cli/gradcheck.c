/* gradcheck.c - `blip2 gradcheck`: every gradient against differences, as a table. */
#include "cli/commands.h"
#include "blip2/blip2.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Check number i: the operations first, then the modules and losses. */
static const char *name_of(const ag_op *const *ops, int count, int i)
{
    return i < count ? ops[i]->name : blip2_example_name(i - count);
}

/* ---- every comparison, tensor by tensor ---------------------------------------------------------------- */
enum { ROWS = 256, FEW = 6 };
typedef struct rows {                  /* of one tensor of one variant */
    bool wanted, all, json;
    const char *what;
    char tensor[200];
    int variant;
    long count, told;                  /* kept here; told of */
    ag_compared row[ROWS];
} rows;

static void print_row(const rows *r, const ag_compared *c, bool worst)
{
    char at[32] = "direction";
    if (c->index >= 0)
        snprintf(at, sizeof at, "[%ld]", c->index);
    if (!r->json)
        printf("    %-10s %20.12g %20.12g %10.1e%s\n", at, c->analytic, c->numeric, c->share,
               worst ? "  <- worst" : "");
    else if (isfinite(c->share) && isfinite(c->analytic) && isfinite(c->numeric))
        printf("{\"what\":\"%s\",\"variant\":%d,\"tensor\":\"%s\",\"index\":%ld,\"analytic\":%.15g,"
               "\"numeric\":%.15g,\"error\":%.3e,\"worst\":%s}\n", r->what, r->variant, r->tensor, c->index,
               c->analytic, c->numeric, c->share, worst ? "true" : "false");
    else
        printf("{\"what\":\"%s\",\"variant\":%d,\"tensor\":\"%s\",\"index\":%ld,\"error\":null}\n", r->what,
               r->variant, r->tensor, c->index);
}

/* The first few, or all, and the worst in any case. */
static void flush(rows *r)
{
    long worst = 0, shown = r->all ? r->count : FEW;
    for (long i = 1; i < r->count; i++)
        if (isnan(r->row[i].share) || r->row[i].share > r->row[worst].share)
            worst = i;
    if (r->count && !r->json)
        printf("  variant %d, %s: %ld compared\n    %-10s %20s %20s %10s\n", r->variant, r->tensor, r->told,
               "at",
               "analytic", "numeric", "error");
    for (long i = 0; i < r->count; i++)
        if (i < shown || i == worst)
            print_row(r, &r->row[i], i == worst && r->count > 1);
    r->count = r->told = 0;
}

static void take(void *context, const ag_compared *c)
{
    rows *r = context;
    if (r->count && (c->variant != r->variant || strcmp(c->tensor, r->tensor)))
        flush(r);
    r->variant = c->variant;
    snprintf(r->tensor, sizeof r->tensor, "%s", c->tensor);
    r->told++;
    if (r->count < ROWS)
        r->row[r->count++] = *c;
}

static ag_check check(const ag_op *const *ops, int count, int i, uint64_t seed, rows *r)
{
    r->what = name_of(ops, count, i);
    ag_listener tell = r->wanted ? take : NULL;
    if (r->wanted && !r->json)
        printf("%s, seed %llu\n", r->what, (unsigned long long)seed);
    ag_check c = i < count ? ag_gradcheck_op_told(ops[i], seed, tell, r)
                           : blip2_example_check_told(i - count, seed, tell, r);
    flush(r);
    return c;
}

static void print(const ag_check *c, long seeds, bool json)
{
    if (json)
        printf("{\"what\":\"%s\",\"variants\":%d,\"seeds\":%ld,\"worst\":%.3e,\"tolerance\":%.0e,"
               "\"ok\":%s}\n",
               c->what, c->variants, seeds, c->worst, c->tolerance, c->ok ? "true" : "false");
    else
        printf("%-24s %8d %6ld %10.1e %10.0e  %s  %s%s%s\n", c->what, c->variants, seeds, c->worst,
               c->tolerance, c->ok ? "ok" : "FAIL", c->where, c->trouble[0] ? "; " : "", c->trouble);
    fflush(stdout);
}

/* Is it what a word asks for? No word: all. */
static bool is_wanted(const char *name, char *const *words, int n)
{
    bool wanted = n == 0;
    for (int i = 0; i < n; i++)
        wanted |= !strcmp(words[i], name) || !strcmp(words[i], "all");
    return wanted;
}

static bool is_known(const ag_op *const *ops, int count, const char *word)
{
    bool known = !strcmp(word, "all");
    for (int i = 0; i < count + blip2_example_count(); i++)
        known |= !strcmp(word, name_of(ops, count, i));
    return known;
}

static int unknown(const ag_op *const *ops, int count, const char *word)
{
    const char *names[256], *like;
    int n = 0;
    for (; n < count + blip2_example_count() && n < 256; n++)
        names[n] = name_of(ops, count, n);
    like = nearest(word, names, n);
    return cli_usage("gradcheck", "unknown operation, module or loss \"%s\"%s%s%s", QUOTE(word),
                     like ? ", did you mean " : "", like ? like : "", like ? "?" : "");
}

static int run(int argc, char **argv)
{
    long seeds = 0;
    cli_common common = { .seed = 1 };
    rows r = { 0 };
    cli_option options[] = {
        { "seeds", "N", CLI_INT, &seeds, 1, 1000, "seeds (default 2; with --verbose 1)" },
        { "verbose", NULL, CLI_FLAG, &r.wanted, 0, 0, "gradient and slope, element by element" },
        { "all", NULL, CLI_FLAG, &r.all, 0, 0, "with --verbose: every element compared, not the first few" },
    };
    int code, count, failed = 0, met = 0;
    if (!cli_parse(&argc, argv, options, 3, &common, &code))
        return code;
    if (r.all && !r.wanted)
        return cli_usage("gradcheck", "--all goes with --verbose");
    r.json = common.json;
    seeds = seeds ? seeds : r.wanted ? 1 : 2;
    if (REAL != 64)
        return cli_usage("gradcheck", "differences need double precision: run blip2-f64 gradcheck");
    const ag_op *const *ops = ag_ops(&count);
    for (int k = 1; k < argc; k++)
        if (!is_known(ops, count, argv[k]))
            return unknown(ops, count, argv[k]);
    for (int i = 0; i < count + blip2_example_count(); i++) {
        if (!is_wanted(name_of(ops, count, i), argv + 1, argc - 1))
            continue;
        ag_check worst = { .ok = true };
        for (long s = 0; s < seeds; s++) {
            ag_check c = check(ops, count, i, (uint64_t)(common.seed + s), &r);
            if (!worst.what || (worst.ok && !c.ok) || c.worst > worst.worst)
                worst = c;
        }
        if ((!met++ || r.wanted) && !common.json)
            printf("%-24s %8s %6s %10s %10s  %s\n", "what", "variants", "seeds", "worst", "tolerance", "at");
        print(&worst, seeds, common.json);
        failed += !worst.ok;
    }
    return failed > 0;
}

const cli_command cli_gradcheck = {
    "gradcheck", "[OP|MODULE|LOSS|all]...", "compare every gradient with differences", run,
    "Double precision only (blip2-f64). Four points, a step of 1e-3 times the RMS of the tensor, a random\n"
    "cotangent; the error is the largest |analytic - numeric| as a share of the largest |analytic|\n"
    "(docs/checks.md). --verbose shows every comparison: of an operation element by element (large tensors:\n"
    "some elements, and along random directions), of a module or loss one random direction a parameter."
};
