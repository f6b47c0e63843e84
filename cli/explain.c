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
    int at = cli_first_word(argc, argv), code;
    snprintf(name, sizeof name, "explain %s", at ? argv[at] : "");
    const cli_command *part = at ? cli_find(name) : NULL;
    if (part) {
        cli_word_to_front(argv, at);
        argv[1] = (char *)part->name;
        return part->run(argc - 1, argv + 1);
    }
    if (at)
        return no_part(argv[at]);
    cli_common common = { 0 };
    if (cli_parse(&argc, argv, NULL, 0, &common, &code))
        return cli_usage("explain", "expected what to explain");
    for (int i = 0; code == 0 && cli_explain_parts[i]; i++)
        printf("%s  %-16s %s\n", i ? "" : "\nParts:\n", cli_explain_parts[i]->name,
               cli_explain_parts[i]->summary);
    return code;
}

const cli_command cli_explain = {
    "explain", "WHAT ...", "show how the machine works inside", run,
    "`blip2 help explain WHAT` has the options of each part."
};
