/* main.c - the table of sub-commands, help and version. Nothing else happens here. */
#include "cli/commands.h"
#include "autograd/autograd.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERSION "0.1"

const cli_command *cli_find(const char *name)
{
    for (int i = 0; cli_commands[i]; i++)
        if (!strcmp(cli_commands[i]->name, name))
            return cli_commands[i];
    return NULL;
}

static void overview(void)
{
    puts("blip2 - BLIP-2 in C: train, check and run it.\n\nCommands:");
    for (int i = 0; cli_commands[i]; i++)
        printf("  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    puts("\n`blip2 help COMMAND` explains one. Results go to stdout, progress and messages to stderr.\n"
         "Exit codes: 0 done, 1 the run failed, 2 usage or configuration, 130/143 after SIGINT/SIGTERM.");
}

static int version(void)
{
    printf("blip2 %s, real = %s\n", VERSION, REAL == 64 ? "double" : "float");
    printf("compiler  %s, flags %s\n", __VERSION__, BUILD_FLAGS);
    printf("blas      %s\n", ag_blas());
    printf("cpu       %s%s%s%s\n",
           __builtin_cpu_supports("avx2") ? "avx2 " : "", __builtin_cpu_supports("fma") ? "fma " : "",
           __builtin_cpu_supports("avx512f") ? "avx512f " : "",
           __builtin_cpu_supports("avx512bf16") ? "avx512bf16" : "");
    printf("threads   %d\n", ag_threads_now());
    return 0;
}

static int help(int argc, char **argv)
{
    if (argc < 2) {
        overview();
        return 0;
    }
    const cli_command *c = cli_find(argv[1]);
    if (!c)
        return cli_usage("help", "unknown command \"%s\"", QUOTE(argv[1]));
    char *ask[] = { argv[1], "--help", NULL };
    return c->run(2, ask);
}

static int unknown(const char *word)
{
    const char *names[64];
    int n = 0;
    for (; cli_commands[n] && n < 64; n++)
        names[n] = cli_commands[n]->name;
    static const char *const later[] = { "convert", "export", "match", "embed", "search", "attention",
        "preprocess", "trace", "ablate", "report", "doctor", "score", "graph", "explain" };
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (!strcmp(word, later[i])) {
            fprintf(stderr, "blip2: error: %s: not built in this version\n", word);
            return 2;
        }
    const char *like = nearest(word, names, n);
    fprintf(stderr, "blip2: error: unknown command \"%s\"", QUOTE(word));
    fprintf(stderr, like ? ", did you mean %s?\n" : "; `blip2 help` lists them%s\n", like ? like : "");
    return 2;
}

/* OpenBLAS reads OPENBLAS_CORETYPE before main: where it forces AVX2 kernels on a CPU with AVX-512, start
 * over without.                                                                                            */
static void fit_kernels(char **argv)
{
    const char *core = getenv("OPENBLAS_CORETYPE");
    if (!core || getenv("BLIP2_KEEP_CORETYPE") || !strstr(ag_blas(), "AVX2 kernels"))
        return;
    cli_warn("OPENBLAS_CORETYPE=%s halves the speed of this CPU; starting again without it "
             "(BLIP2_KEEP_CORETYPE=1 keeps it)", core);
    unsetenv("OPENBLAS_CORETYPE");
    unsetenv("OPENBLAS_L2_SIZE");
    execv("/proc/self/exe", argv);
}

struct call { const cli_command *command; int argc, code; char **argv; };

static void call(void *context)
{
    struct call *c = context;
    c->code = c->command->run(c->argc, c->argv);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        overview();
        return 2;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version"))
        return version();
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
        return help(argc - 1, argv + 1);
    fit_kernels(argv);
    struct call c = { cli_find(argv[1]), argc - 1, 1, argv + 1 };
    if (!c.command)
        return unknown(argv[1]);
    error e;
    tape *t = ag_tape_new();           /* what fails inside is one line and exit 1, never an abort */
    if (!t || !ag_try(t, call, &c, &e)) {
        fprintf(stderr, "blip2: error: %s\n", t ? e.text : "out of memory");
        return 1;
    }
    ag_tape_free(t);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "blip2: error: standard output: cannot write\n");
        return 1;
    }
    return c.code;
}
