/* convert.c - `blip2 convert SRC... -o MODEL.h5`: published checkpoints into one model file. */
#include "cli/commands.h"
#include "cli/progress.h"
#include "convert/convert.h"
#include <stdio.h>
#include <string.h>

static void on_note(void *context, const char *text)
{
    const cli_common *common = context;
    if (!common->quiet)
        fprintf(stderr, "blip2: %s\n", text);
}

static int run(int argc, char **argv)
{
    const char *out = NULL;
    const cli_option options[] = { { "out", "MODEL.h5", CLI_TEXT, &out, 0, 0,
                                     "the file that is written; -o is the same" } };
    cli_common common = { 0 };
    int code;
    error e;
    if (!cli_parse(&argc, argv, options, 1, &common, &code))
        return code;
    if (argc < 2 || !out)
        return cli_usage("convert", "expected sources and a file to write: convert SRC... -o MODEL.h5");
    convert_watch watch = { .context = &common, .note = on_note };
    if (!convert_run((const char *const *)argv + 1, argc - 1, out, &watch, &e))
        return cli_fail(&e);
    if (common.json) {
        printf("{\"model\":");
        cli_json_text(out);
        puts("}");
    }
    return 0;
}

const cli_command cli_convert = { "convert", "SRC... -o MODEL.h5",
                                  "published checkpoints into one model file", run,
                                  "SRC is a Hugging Face folder of BLIP-2, OPT, T5 or BERT (config.json, "
                                  "*.safetensors, shards with their index, or\n"
                                  "pytorch_model.bin, tokenizer files), or a LAVIS checkpoint (.pth), "
                                  "followed by what it does not hold: the\n"
                                  "vision tower's .pth, the language model's folder, a folder with "
                                  "vocab.txt. A config.json beside a .pth says how\n"
                                  "many heads it has. Every missing, misshapen and unexpected tensor is "
                                  "reported before anything is written.\n"
                                  "Pickles are read as data; nothing in them is run." };
