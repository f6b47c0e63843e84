/* commands.c - the table of sub-commands, in the order in which `blip2 help` shows them. */
#include "cli/commands.h"

const cli_command *const cli_commands[] = {
    &cli_caption,
    &cli_answer,
    &cli_match,
    &cli_embed,
    &cli_search,
    &cli_attention,
    &cli_train,
    &cli_evaluate,
    &cli_report,
    &cli_doctor,
    &cli_score,
    &cli_convert,
    &cli_export,
    &cli_inspect,
    &cli_trace,
    &cli_explain,
    &cli_graph,
    &cli_dataset,
    &cli_tokenize,
    &cli_preprocess,
    &cli_bench,
    &cli_gradcheck,
    NULL,
};
