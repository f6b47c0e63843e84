/* convert.c - `blip2 convert SRC... -o MODEL.h5`: published checkpoints into one model file. */
#include "cli/commands.h"
#include "cli/progress.h"
#include "convert/convert.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void on_note(void *context, const char *text)
{
    const cli_common *common = context;
    if (!common->quiet)
        fprintf(stderr, "blip2: %s\n", text);
}

static void on_progress(void *context, long done, long of)
{
    (void)context;
    fprintf(stderr, done < of ? "\r%ld of %ld parameters" : "\r\033[K", done, of);
}

static int run(int argc, char **argv)
{
    const char *out = NULL;
    static const char *const names[] = { "as-is", "f32", "f16", "bf16", "int8" };
    const char *dtype = names[CONVERT_AS_IS];
    int type = CONVERT_AS_IS;
    const cli_option options[] = { { "out", "MODEL.h5", CLI_TEXT, &out, 0, 0,
                                     "the file that is written; -o is the same" },
                                   { "dtype", "f32|f16|bf16|int8", CLI_TEXT, &dtype, 0, 0,
                                     "of the matrices of the frozen towers (default as-is: as the source has "
                                     "them)" } };
    cli_common common = { 0 };
    int code;
    error e;
    if (!cli_parse(&argc, argv, options, 2, &common, &code))
        return code;
    if (argc < 2 || !out)
        return cli_usage("convert", "expected sources and a file to write: convert SRC... -o MODEL.h5");
    if (!cli_may_write("convert", out, ".h5 .hdf5", argc - 1, (const char *const *)argv + 1))
        return 2;
    while (type <= CONVERT_INT8 && strcmp(dtype, names[type]))
        type++;
    if (type > CONVERT_INT8)
        return cli_usage("convert", "--dtype: expected as-is, f32, f16, bf16 or int8, found \"%s\"",
                         QUOTE(dtype));
    convert_watch watch = { .context = &common, .note = on_note };
    if (!common.quiet && isatty(STDERR_FILENO))
        watch.progress = on_progress;
    if (!convert_run_as((const char *const *)argv + 1, argc - 1, out, (convert_dtype)type, &watch, &e))
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
                                  "vocab.txt (bert-base-uncased as downloaded:\n"
                                  "its weights are not looked at). A config.json beside a .pth says how many "
                                  "heads it has. Every missing,\n"
                                  "misshapen and unexpected tensor is reported before anything is written.\n"
                                  "Pickles are read as data; nothing in them is run. f16, bf16 and int8 (a "
                                  "scale a row) make the file smaller,\n"
                                  "and the memory of a model in use, which keeps them so "
                                  "(docs/precision.md)." };
