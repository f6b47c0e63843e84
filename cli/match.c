/* match.c - `blip2 match`: how well texts fit a picture, by both heads of stage 1. */
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/pictures.h"
#include <stdio.h>
#include <string.h>

static void print_match(const char *image, const char *text, const eval_match *x, bool json)
{
    if (!json) {
        printf("%8.4f  %9.4f  %11.4f  %s\n", x->itc, x->itm, x->probability, text);
        return;
    }
    printf("{\"image\":");
    cli_json_text(image);
    printf(",\"text\":");
    cli_json_text(text);
    printf(",\"itc\":%.9g,\"itm\":%.9g,\"itm_probability\":%.9g}\n", x->itc, x->itm, x->probability);
}

static bool match(eval_session *s, const char *image, const char *const *texts, long n,
                  blip2_reference reference, const cli_bar *bar, bool json, error *e)
{
    blip2_text words;
    real *features = cli_features(s, image, e);
    ag_mark mark = ag_here(s->t);
    if (!features || !eval_texts(s, texts, n, reference, &words, e)) {
        mem_free(features);
        return false;
    }
    eval_match *found = ag_alloc(s->t, n * (long)sizeof *found);
    eval_match_texts(&s->model, s->t, features, eval_tokens(&s->model.config), words, found);
    mem_free(features);
    cli_bar_clear(bar);
    if (!json && bar->of > 1)
        printf("%s\n", image);
    if (!json)
        printf("%8s  %9s  %11s  text\n", "itc", "itm", "probability");
    for (long i = 0; i < n; i++)
        print_match(image, texts[i], &found[i], json);
    ag_rewind(s->t, mark);
    return true;
}

static int run(int argc, char **argv)
{
    const char *reference = "lavis", *list = NULL;
    cli_use use = { 0 };
    cli_common common = { 0 };
    cli_option options[] = {
        { "reference", "lavis|hf", CLI_TEXT, &reference, 0, 0,
          "how a text is read: cleaned and cut (lavis, the default), as it stands (hf)" },
        { "images", "LIST", CLI_TEXT, &list, 0, 0,
          "pictures that are all compared: a folder, a .jsonl list, or a file with a path a line" },
        CLI_COMPUTE_OPTION(use),
    };
    int code;
    if (!cli_parse(&argc, argv, options, 3, &common, &code))
        return code;
    int first = list ? 2 : 3;
    if (argc < first + 1)
        return cli_usage("match", "a model, a picture and a text are needed: match MODEL.h5 IMG \"TEXT\"...");
    if (strcmp(reference, "lavis") && strcmp(reference, "hf"))
        return cli_usage("match", "--reference: expected lavis or hf, found \"%s\"", QUOTE(reference));
    eval_session s;
    cli_names images = { 0 };
    error e;
    int failed = 0;
    bool ok = list ? cli_names_pictures(&images, list, &e) : cli_names_add(&images, argv[2], &e);
    use.quiet = common.quiet;
    if (!ok || !cli_open_model(&s, argv[1], eval_can_retrieve, &use, &e)) {
        cli_names_free(&images);
        return cli_fail(&e);
    }
    s.reference = strcmp(reference, "hf") ? BLIP2_LAVIS : BLIP2_HF;
    cli_bar bar = cli_bar_new(images.n, common.quiet);
    for (long i = 0; i < images.n; i++) { /* a bad picture does not keep others from theirs */
        cli_bar_show(&bar, i);
        if (!match(&s, images.at[i], (const char *const *)argv + first, argc - first, s.reference, &bar,
                   common.json, &e))
            failed = cli_fail(&e);
    }
    cli_bar_show(&bar, images.n);
    eval_close(&s);
    cli_names_free(&images);
    return failed;
}

const cli_command cli_match = {
    "match", "MODEL.h5 IMG \"TEXT\"...", "say how well texts fit a picture", run,
    "itc is the cosine of the text's feature and the nearest query's, from -1 to 1, without temperature;\n"
    "itm the logit of \"they belong together\" when queries and text are read together, then its\n"
    "probability. A model of stage 1 is needed. lavis: lower case, .!\"()*#:;~ removed, 50 words and\n"
    "max_txt_len tokens at most; hf: up to the last position. With --json a line a text:\n"
    "{\"image\",\"text\",\"itc\",\"itm\",\"itm_probability\"}."
};
