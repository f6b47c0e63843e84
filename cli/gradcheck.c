/* gradcheck.c - `blip2 gradcheck`: every gradient against differences, as a table. */
#include "cli/commands.h"
#include "blip2/blip2.h"
#include <stdio.h>
#include <string.h>

/* Check number i: the operations first, then the modules and losses. */
static const char *name_of(const ag_op *const *ops, int count, int i)
{
    return i < count ? ops[i]->name : blip2_example_name(i - count);
}

static ag_check check(const ag_op *const *ops, int count, int i, uint64_t seed)
{
    return i < count ? ag_gradcheck_op(ops[i], seed) : blip2_example_check(i - count, seed);
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
    long seeds = 2;
    cli_common common = { .seed = 1 };
    cli_option options[] = { { "seeds", "N", CLI_INT, &seeds, 1, 1000, "seeds each is checked with" } };
    int code, count, failed = 0, met = 0;
    if (!cli_parse(&argc, argv, options, 1, &common, &code))
        return code;
    if (REAL != 64)
        return cli_usage("gradcheck", "differences need double precision: run blip2-f64 gradcheck");
    const ag_op *const *ops = ag_ops(&count);
    const char *which = argc > 1 ? argv[1] : "all";
    for (int i = 0; i < count + blip2_example_count(); i++) {
        if (strcmp(which, "all") && strcmp(which, name_of(ops, count, i)))
            continue;
        if (!met++ && !common.json)
            printf("%-24s %8s %6s %10s %10s  %s\n", "what", "variants", "seeds", "worst", "tolerance", "at");
        ag_check worst = { .ok = true };
        for (long s = 0; s < seeds; s++) {
            ag_check c = check(ops, count, i, (uint64_t)(common.seed + s));
            if (!worst.what || (worst.ok && !c.ok) || c.worst > worst.worst)
                worst = c;
        }
        print(&worst, seeds, common.json);
        failed += !worst.ok;
    }
    return met ? failed > 0 : unknown(ops, count, which);
}

const cli_command cli_gradcheck = {
    "gradcheck", "[OP|MODULE|LOSS|all]", "compare every gradient with differences", run,
    "Double precision only (blip2-f64). Four points, a step of 1e-3 times the RMS of the tensor, a random\n"
    "cotangent; the error is the largest |analytic - numeric| as a share of the largest |analytic|\n"
    "(docs/checks.md)."
};
