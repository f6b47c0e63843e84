/* commands.h - the sub-commands, each in its own file; commands.c lists them. */
#ifndef COMMANDS_H
#define COMMANDS_H
#include "cli/cli.h"

extern const cli_command cli_train, cli_evaluate, cli_score, cli_caption, cli_answer, cli_inspect,
    cli_gradcheck, cli_dataset, cli_tokenize, cli_bench, cli_explain;
extern const cli_command cli_convert, cli_export, cli_embed, cli_search;
extern const cli_command cli_match, cli_preprocess;
extern const cli_command cli_explain_masks, cli_attention;
extern const cli_command cli_trace, cli_graph, cli_explain_tape;
extern const cli_command cli_dataset_import, cli_dataset_fetch;
extern const cli_command cli_report, cli_doctor;
#endif
