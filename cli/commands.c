/* commands.c - the table of sub-commands, in the order in which `blip2 help` shows them. */
#include "cli/commands.h"

const cli_command *const cli_commands[] = {
    &cli_gradcheck,
    &cli_dataset,
    NULL,
};
