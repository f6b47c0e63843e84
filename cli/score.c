/* score.c - `blip2 score captions|vqa|retrieval`: the metrics alone, on files of results. */
#include "cli/commands.h"
#include "eval/metrics.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* Names may be from a file. */
static void print_value(const char *given, const json_t *v, int indent)
{
    const char *key, *name = QUOTE(given);
    json_t *inner;
    if (json_is_object(v)) {
        printf("%*s%s\n", indent, "", name);
        json_object_foreach((json_t *)v, key, inner)
            print_value(key, inner, indent + 2);
    } else if (json_is_array(v) && json_array_size(v) == 2 && json_is_real(json_array_get(v, 0)))
        printf("%*s%-*s %10.4f to %.4f\n", indent, "", 24 - indent, name,
               json_real_value(json_array_get(v, 0)), json_real_value(json_array_get(v, 1)));
    else if (json_is_real(v))
        printf("%*s%-*s %10.4f\n", indent, "", 24 - indent, name, json_real_value(v));
    else if (json_is_integer(v))
        printf("%*s%-*s %10lld\n", indent, "", 24 - indent, name, (long long)json_integer_value(v));
    else if (json_is_string(v))
        printf("%*s%-*s %10s\n", indent, "", 24 - indent, name, QUOTE(json_string_value(v)));
}

static void print_figures(const char *text)
{
    const char *key;
    json_t *v, *all = json_loads(text, 0, NULL), *cases = json_object_get(all, "cases");
    size_t n = cases ? json_array_size(cases) : 1;
    for (size_t i = 0; i < n; i++) {
        if (n > 1)
            printf("case %zu\n", i);
        json_object_foreach(cases ? json_array_get(cases, i) : all, key, v)
            print_value(key, v, 0);
    }
    json_decref(all);
}

/* What stands behind `score WHAT`: 2 files for captions, 3 for vqa, 1 for retrieval. */
static char *figures_of(int argc, char **argv, const score_options *o, int *code, error *e)
{
    static const struct { const char *what, *files; int count;
    } kinds[] = { { "captions", "RESULTS.json REFERENCES.json", 2 },
                  { "vqa", "RESULTS.json QUESTIONS.json ANNOTATIONS.json", 3 },
                  { "retrieval", "FILE.json", 1 } };
    for (size_t i = 0; argc > 1 && i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(argv[1], kinds[i].what))
            continue;
        if (argc - 2 != kinds[i].count) {
            *code = cli_usage("score", "expected score %s %s", kinds[i].what, kinds[i].files);
            return NULL;
        }
        return i == 0   ? score_caption_files(argv[2], argv[3], o, e)
               : i == 1 ? score_vqa_files(argv[2], argv[3], argv[4], o, e)
                        : score_retrieval_file(argv[2], o, e);
    }
    *code = cli_usage("score", "what is to be scored? expected captions, vqa or retrieval%s%s",
                      argc > 1 ? ", found " : "", argc > 1 ? QUOTE(argv[1]) : "");
    return NULL;
}

/* An option and what it is of. */
typedef struct taken { const char *option; bool given; const char *what[2]; } taken;

static bool means(const taken *t, const char *what)
{
    bool known = !strcmp(what, "captions") || !strcmp(what, "vqa") || !strcmp(what, "retrieval");
    return !known || !t->given || !strcmp(what, t->what[0]) || (t->what[1] && !strcmp(what, t->what[1]));
}

static void warn(const char *text) { cli_warn("%s", text); }

static int run(int argc, char **argv)
{
    const char *tokenizer = NULL, *rule = NULL, *meteor = NULL, *spice = NULL;
    bool each = false, partial = false;
    const cli_option options[] = {
        { "tokenizer", "ptb|whitespace", CLI_TEXT, &tokenizer, 0, 0,
          "captions: Penn Treebank words without punctuation, or lower case split at spaces (default: ptb)" },
        { "rule", "official|lavis|exact", CLI_TEXT, &rule, 0, 0,
          "vqa: answers are normalised as by the challenge's script or as LAVIS does; or one must be met "
          "letter by letter (default: official)" },
        { "each", NULL, CLI_FLAG, &each, 0, 0,
          "with --json: also the figures of every picture, question or row" },
        { "partial", NULL, CLI_FLAG, &partial, 0, 0,
          "captions, vqa: results may be of a part of the pictures or questions; missing says of how many" },
        { "meteor-jar", "FILE", CLI_TEXT, &meteor, 0, 0, "captions: your own meteor-1.5.jar, run by java" },
        { "spice-jar", "FILE", CLI_TEXT, &spice, 0, 0, "captions: your own spice-1.0.jar, run by java" },
    };
    enum { OPTIONS = sizeof options / sizeof *options };
    cli_common common = { .seed = 42 };
    int code;
    error e;
    if (!cli_parse(&argc, argv, options, OPTIONS, &common, &code))
        return code;
    const taken of[] = { { "tokenizer", tokenizer != NULL, { "captions" } },
                         { "meteor-jar", meteor != NULL, { "captions" } },
                         { "spice-jar", spice != NULL, { "captions" } },
                         { "rule", rule != NULL, { "vqa" } }, { "partial", partial, { "captions", "vqa" } } };
    for (size_t i = 0; argc > 1 && i < sizeof of / sizeof *of; i++)
        if (!means(&of[i], argv[1]))
            return cli_usage("score", "--%s: it means nothing for %s", of[i].option, argv[1]);
    if (each && !common.json)
        return cli_usage("score", "--each: expected --json beside it");
    if (tokenizer && strcmp(tokenizer, "ptb") && strcmp(tokenizer, "whitespace"))
        return cli_usage("score", "--tokenizer: expected ptb or whitespace, found \"%s\"", QUOTE(tokenizer));
    int number = 0;
    while (rule && score_vqa_rules[number] && strcmp(rule, score_vqa_rules[number]))
        number++;
    if (!score_vqa_rules[number])
        return cli_usage("score", "--rule: expected official, lavis or exact, found \"%s\"", QUOTE(rule));
    score_options o = { .whitespace = tokenizer && *tokenizer == 'w', .per_item = each, .partial = partial,
                        .seed = (uint64_t)common.seed, .rule = (score_vqa_rule)number,
                        .meteor_jar = meteor, .spice_jar = spice, .warn = warn };
    code = 0;
    char *figures = figures_of(argc, argv, &o, &code, &e);
    if (!figures)
        return code ? code : cli_fail(&e);
    if (common.json)
        puts(figures);
    else
        print_figures(figures);
    mem_free(figures);
    return 0;
}

const cli_command cli_score = {
    "score", "captions|vqa|retrieval FILE...", "the metrics alone, on result files", run,
    "  score captions RESULTS.json REFERENCES.json            COCO form: BLEU-1..4, ROUGE-L, CIDEr-D,\n"
    "                                                         METEOR and SPICE by your own jars\n"
    "  score vqa RESULTS.json QUESTIONS.json ANNOTATIONS.json VQA v2 form: accuracy by type, in percent\n"
    "  score retrieval FILE.json                              {scores_i2t, scores_t2i, img2txt, txt2img}: "
    "R@1/5/10\n"
    "A result of every picture and question is expected, as the official loader does, unless --partial;\n"
    "answers to questions without an annotation are passed over and counted. A jar that fails costs its own\n"
    "figure alone.\n"
    "Intervals are 95 % of 10,000 resamples of pictures or questions, by --seed (default 42)."
};
