/* explain.c - `blip2 explain WHAT ...`: the parts that show how the machine works, each in its own file. */
#include "cli/commands.h"
#include <stdio.h>
#include <string.h>

const cli_command *const cli_explain_parts[] = {   /* in the order of the help */
    &cli_explain_tape,
    &cli_explain_masks,
    NULL,
};

static int no_part(const char *word)
{
    const char *names[16], *like;
    int n = 0;
    for (; cli_explain_parts[n] && n < 16; n++)
        names[n] = cli_explain_parts[n]->name + strlen("explain ");
    like = nearest(word, names, n);
    return cli_usage("explain", "unknown part \"%s\"%s%s%s", QUOTE(word), like ? ", did you mean " : "",
                     like ? like : "", like ? "?" : "");
}

static int run(int argc, char **argv)
{
    char name[64];
    snprintf(name, sizeof name, "explain %s", argc > 1 ? argv[1] : "");
    const cli_command *part = cli_find(name);
    if (part) {
        argv[1] = (char *)part->name;
        return part->run(argc - 1, argv + 1);
    }
    cli_common common = { 0 };
    int code;
    if (cli_parse(&argc, argv, NULL, 0, &common, &code))
        return argc > 1 ? no_part(argv[1]) : cli_usage("explain", "expected what to explain");
    for (int i = 0; code == 0 && cli_explain_parts[i]; i++)
        printf("%s  %-16s %s\n", i ? "" : "\nParts:\n", cli_explain_parts[i]->name,
               cli_explain_parts[i]->summary);
    return code;
}

const cli_command cli_explain = {
    "explain", "WHAT ...", "show how the machine works inside", run,
    "`blip2 help explain WHAT` has the options of each part."
};
