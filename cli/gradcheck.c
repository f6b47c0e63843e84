/* gradcheck.c - `blip2 gradcheck`: every gradient against differences, as a table. */
#include "cli/commands.h"
#include "autograd/autograd.h"
#include <stdio.h>
#include <string.h>

static int run(int argc, char **argv)
{
    long seeds = 2;
    cli_common common = { .seed = 1 };
    cli_option options[] = { { "seeds", "N", CLI_INT, &seeds, 1, 1000, "how many seeds each op is checked with" } };
    int code, count, failed = 0, met = 0;
    if (!cli_parse(&argc, argv, options, 1, &common, &code))
        return code;
    if (REAL != 64)
        return cli_usage("gradcheck", "differences need double precision: run blip2-f64 gradcheck");
    const ag_op *const *ops = ag_ops(&count);
    const char *which = argc > 1 ? argv[1] : "all";
    if (!common.json)
        printf("%-24s %8s %6s %10s %10s  %s\n", "what", "variants", "seeds", "worst", "tolerance", "at");
    for (int i = 0; i < count; i++) {
        if (strcmp(which, "all") && strcmp(which, ops[i]->name))
            continue;
        ag_check worst = { .ok = true };
        met++;
        for (long s = 0; s < seeds; s++) {
            ag_check c = ag_gradcheck_op(ops[i], (uint64_t)(common.seed + s));
            if (!worst.what || (worst.ok && !c.ok) || c.worst > worst.worst)
                worst = c;
        }
        failed += !worst.ok;
        if (common.json)
            printf("{\"what\":\"%s\",\"variants\":%d,\"seeds\":%ld,\"worst\":%.3e,\"tolerance\":%.0e,\"ok\":%s}\n", worst.what,
                   worst.variants, seeds, worst.worst, worst.tolerance, worst.ok ? "true" : "false");
        else
            printf("%-24s %8d %6ld %10.1e %10.0e  %s  %s%s%s\n", worst.what, worst.variants, seeds, worst.worst,
                   worst.tolerance, worst.ok ? "ok" : "FAIL", worst.where, worst.trouble[0] ? "; " : "", worst.trouble);
        fflush(stdout);
    }
    if (!met)
        return cli_usage("gradcheck", "unknown op \"%s\"", QUOTE(which));
    return failed ? 1 : 0;
}

const cli_command cli_gradcheck = {
    "gradcheck", "[OP|all]", "compare every gradient with differences, by the rule of docs/checks.md", run,
    "Double precision only (blip2-f64). Four points, a step of 1e-3 times the RMS of the tensor, a random cotangent;\n"
    "the error is the largest |analytic - numeric| as a share of the largest |analytic|."
};
