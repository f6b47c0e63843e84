#include "cli/commands.h"
static int run(int argc, char **argv) { (void)argc; (void)argv; return cli_usage("dataset", "fetch: not yet"); }
const cli_command cli_dataset_fetch = { "dataset fetch", "NAME -o DIR", "", run, NULL };
