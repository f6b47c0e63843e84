/* options.c - a small reader of long options over a table (cli.h). */
#include "cli/cli.h"
#include "autograd/autograd.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMMON = 5 };

int cli_fail(const error *e)
{
    fprintf(stderr, "blip2: error: %s\n", e->text);
    return e->kind == ERROR_USAGE ? 2 : 1;
}

void cli_warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("blip2: warning: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

int cli_usage(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "blip2: error: %s: ", command);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; `blip2 help %s` explains\n", command);
    va_end(args);
    return 2;
}

static void common_options(cli_common *c, cli_option to[COMMON])
{
    cli_option all[COMMON] = {
        { "json", NULL, CLI_FLAG, &c->json, 0, 0, "one JSON object a line on stdout" },
        { "quiet", NULL, CLI_FLAG, &c->quiet, 0, 0, "no progress and no messages but errors" },
        { "threads", "N", CLI_INT, &c->threads, 0, 1024, "threads for all work (default: all cores)" },
        { "seed", "N", CLI_INT, &c->seed, 0, 9e15, "seed of everything random" },
        { "device", "cpu", CLI_TEXT, &c->device, 0, 0, "where to compute; this version: cpu" },
    };
    memcpy(to, all, sizeof all);
}

static const cli_option *find(const char *name, size_t length, const cli_option *options, int count)
{
    for (int i = 0; i < count; i++)
        if (strlen(options[i].name) == length && !strncmp(options[i].name, name, length))
            return &options[i];
    return NULL;
}

static bool in_range(const cli_option *o, double x)
{
    return (o->least == 0 && o->most == 0) || (x >= o->least && x <= o->most);
}

/* False: the text is no value of this option's kind, or out of range. */
static bool take(const cli_option *o, const char *text)
{
    char *end;
    errno = 0;
    if (o->kind == CLI_INT) {
        long n = strtol(text, &end, 10);
        if (!*text || *end || errno || !in_range(o, (double)n))
            return false;
        *(long *)o->value = n;
    } else if (o->kind == CLI_REAL) {
        double x = strtod(text, &end);
        if (!*text || *end || errno || !isfinite(x) || strpbrk(text, "xX") || !in_range(o, x))
            return false;
        *(double *)o->value = x;
    } else
        *(const char **)o->value = text;
    return true;
}

/* word: as it was typed, -json for one; name: what it may have been meant for. */
static int unknown(const char *command, const char *word, const char *name, const cli_option *options,
                   int count)
{
    const char *names[64];
    int n = 0;
    for (int i = 0; i < count && n < 64; i++)
        names[n++] = options[i].name;
    const char *like = nearest(name, names, n);
    if (like)
        return cli_usage(command, "unknown option %s, did you mean --%s?", QUOTE(word), like);
    return cli_usage(command, "unknown option %s", QUOTE(word));
}

static int bad_value(const char *command, const cli_option *o, const char *text)
{
    const char *what = o->kind == CLI_INT ? "a whole number" : "a number";
    if (o->least == 0 && o->most == 0)
        return cli_usage(command, "--%s: expected %s, found \"%s\"", o->name, what, QUOTE(text));
    return cli_usage(command, "--%s: expected %s from %.10g to %.10g, found \"%s\"", o->name, what, o->least,
                     o->most, QUOTE(text));
}

int cli_first_word(int argc, char **argv)
{
    cli_common common = { 0 };
    cli_option shared[COMMON];
    common_options(&common, shared);
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (argv[i][0] != '-' || !argv[i][1])
            return i;
        const char *name = argv[i] + strspn(argv[i], "-");
        const cli_option *o = find(name, strlen(name), shared, COMMON);
        i += o && o->kind != CLI_FLAG;                     /* its value is no word */
    }
    return 0;
}

void cli_word_to_front(char **argv, int at)
{
    char *word = argv[at];
    memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof *argv);
    argv[1] = word;
}

void cli_seed_word(int *argc, char **argv, const cli_common *common)
{
    static char word[40];
    if (common->seed < 0)
        return;
    snprintf(word, sizeof word, "run.seed=%ld", common->seed);
    argv[(*argc)++] = word;
}

bool cli_parse(int *argc, char **argv, const cli_option *options, int count, cli_common *common, int *code)
{
    cli_option all[64];
    int n = 0, words = 0;
    bool ended = false;
    for (int i = 0; i < count && i < 64 - COMMON; i++)
        all[n++] = options[i];
    common_options(common, all + n);
    n += COMMON;
    *code = 2;
    for (int i = 1; i < *argc; i++) {
        char *word = argv[i];
        if (ended || word[0] != '-' || !word[1]) {
            argv[++words] = word;
            continue;
        }
        if (!strcmp(word, "--")) {
            ended = true;
            continue;
        }
        if (!strcmp(word, "-h") || !strcmp(word, "--help")) {
            cli_print_help(argv[0], options, count);
            *code = 0;
            return false;
        }
        bool out = !strcmp(word, "-o");                    /* the one short option: --out */
        const char *name = out ? "out" : word + (word[1] == '-' ? 2 : 1), *equals = strchr(name, '=');
        size_t length = equals ? (size_t)(equals - name) : strlen(name);
        const cli_option *o = out || word[1] == '-' ? find(name, length, all, n) : NULL;
        if (!o) {
            unknown(argv[0], word, name, all, n);
            return false;
        }
        if (o->kind == CLI_FLAG) {
            if (equals) {
                cli_usage(argv[0], "--%s takes no value", o->name);
                return false;
            }
            *(bool *)o->value = true;
            continue;
        }
        if (!equals && i + 1 >= *argc) {
            cli_usage(argv[0], "--%s needs a value", o->name);
            return false;
        }
        const char *text = equals ? equals + 1 : argv[++i];
        if (!take(o, text)) {
            bad_value(argv[0], o, text);
            return false;
        }
    }
    *argc = words + 1;
    if (common->device && strcmp(common->device, "cpu")) {
        cli_usage(argv[0], "--device %s: not built in this version; expected cpu", QUOTE(common->device));
        return false;
    }
    ag_threads((int)common->threads);
    return true;
}

enum { INDENT = 29, HELP_WIDTH = 100 };                    /* columns */

/* Words from column `at` on; a line that would be longer than HELP_WIDTH goes on at INDENT. */
static void print_words(const char *s, int at)
{
    while (*s) {
        int n = (int)strcspn(s, " ");
        if (at > INDENT && at + n > HELP_WIDTH)
            at = printf("\n%*s", INDENT, "") - 1;
        at += printf("%s%.*s", at > INDENT ? " " : "", n, s);
        s += n;
        s += *s == ' ';
    }
    putchar('\n');
}

static void print_option(const cli_option *o)
{
    char left[64], right[400], value[40] = "";
    snprintf(left, sizeof left, "--%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
    if (o->kind == CLI_INT && *(long *)o->value > 0)
        snprintf(value, sizeof value, " (default %ld)", *(long *)o->value);
    if (o->kind == CLI_REAL && !isnan(*(double *)o->value))    /* its help says what stands for a number */
        snprintf(value, sizeof value, " (default %g)", *(double *)o->value);
    snprintf(right, sizeof right, "%s%s", o->help, value);
    if (strlen(left) > INDENT - 3)
        printf("  %s\n%*s", left, INDENT, "");
    else
        printf("  %-*s ", INDENT - 3, left);
    print_words(right, INDENT);
}

void cli_print_help(const char *command, const cli_option *options, int count)
{
    const cli_command *c = cli_find(command);
    cli_common common = { 0 };
    cli_option shared[COMMON];
    common_options(&common, shared);
    printf("blip2 %s %s\n\n%s.\n", command, c ? c->arguments : "", c ? c->summary : "");
    if (c && c->notes)
        printf("\n%s\n", c->notes);
    if (count)
        printf("\nOptions:\n");
    for (int i = 0; i < count; i++)
        print_option(&options[i]);
    printf("\nOptions of every command:\n");
    for (int i = 0; i < COMMON; i++)
        print_option(&shared[i]);
}

void cli_json_text(const char *s)
{
    putchar('"');
    for (int n; *s; s += n ? n : 1) {
        unsigned char c = (unsigned char)*s;
        n = text_printable(s);
        if (c == 0xc2 && (s[1] & 0xe0) == 0x80) {          /* U+0080 to U+009F: control characters, too */
            printf("\\u%04x", (unsigned char)s[1]);
            n = 2;
        } else if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c == 0xc0 && (unsigned char)s[1] == 0x80) {
            printf("\\u0000");                             /* how a text of ours holds a 0 */
            n = 2;
        } else if (n)
            printf("%.*s", n, s);
        else
            printf(c < 0x80 ? "\\u%04x" : "\\ufffd", c);       /* a control character; no UTF-8 */
    }
    putchar('"');
}
