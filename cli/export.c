/* export.c - `blip2 export MODEL.h5 -o DIR --format hf|lavis`: a model file back into the form that others
 * read. */
#include "cli/commands.h"
#include "convert/convert.h"
#include "eval/eval.h"
#include <stdio.h>
#include <string.h>

/* Hugging Face has one epsilon for the tower and ln_vision behind it; LAVIS's models have two. */
static void warn_of_epsilon(const char *model)
{
    error e;
    blip2_config c;
    h5 *f = h5_open(model, &e);
    if (f && blip2_read_config(f, &c, &e) && c.qformer.queries && c.vision.kind == BLIP2_VIT_EVA) {
        double tower = c.vision.eps > 0 ? c.vision.eps : 1e-6;
        if (c.ln_vision_eps != tower)
            cli_warn("ln_vision has epsilon %g; Hugging Face's BLIP-2 has the tower's for both, %g: other "
                     "programs will compute with that", c.ln_vision_eps, tower);
    }
    if (f)
        h5_close(f);
}

static int run(int argc, char **argv)
{
    const char *out = NULL, *format = "hf";
    cli_common common = { 0 };
    const cli_option options[] = {
        { "out", "DIR", CLI_TEXT, &out, 0, 0, "the folder that is written; -o is the same" },
        { "format", "hf|lavis", CLI_TEXT, &format, 0, 0, "whose names (default: hf)" },
    };
    int code;
    long left_out = 0;
    error e;
    tokenizer *bert = NULL, *llm = NULL;
    if (!cli_parse(&argc, argv, options, 2, &common, &code))
        return code;
    if (argc != 2 || !out)
        return cli_usage("export", "expected a model and a folder: export MODEL.h5 -o DIR");
    if (strcmp(format, "hf") && strcmp(format, "lavis"))
        return cli_usage("export", "--format: expected hf or lavis, found \"%s\"", QUOTE(format));
    if (!eval_tokenizers(argv[1], &bert, &llm, &e)) {
        tokenizer_free(bert);                              /* where the other one is damaged */
        return cli_fail(&e);
    }
    const tokenizer *words = llm ? llm : bert;
    long image = words ? tokenizer_id(words, "<image>") : -1;
    bool ok = convert_export(argv[1], out, !strcmp(format, "hf"), image, &left_out, &e);
    tokenizer_free(bert);
    tokenizer_free(llm);
    if (!ok)
        return cli_fail(&e);
    if (left_out && !common.quiet)
        cli_warn("%ld parameters have no name in Hugging Face's BLIP-2 and are left out (temp, the head of "
                 "ITG)", left_out);
    if (!strcmp(format, "hf") && !common.quiet)
        warn_of_epsilon(argv[1]);
    if (common.json) {
        printf("{\"folder\":");
        cli_json_text(out);
        printf(",\"left_out\":%ld}\n", left_out);
    }
    return 0;
}

const cli_command cli_export = {
    "export", "MODEL.h5 -o DIR", "back to safetensors and config.json, for other programs", run,
    "DIR gets model.safetensors, config.json and the tokenizers' files. `blip2 convert DIR` gives the same "
    "model again,\n"
    "to the bit, but for what Hugging Face's model lacks: temp and the Q-Former's language head; lavis keeps "
    "both.\n"
    "With two tokenizers the Q-Former's goes into DIR/bert. What hf cannot say is warned of: an epsilon of\n"
    "ln_vision that is not the tower's. A vision tower alone, or CLIP's, needs --format lavis.\n"
    "A DIR with weights or tokenizer files that would stay beside these is refused."
};
