/* main.c - the table of sub-commands, help and version. Nothing else happens here. */
#include "cli/commands.h"
#include "autograd/autograd.h"
#include "train/train.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_command *among(const cli_command *const *list, const char *name)
{
    for (int i = 0; list[i]; i++)
        if (!strcmp(list[i]->name, name))
            return list[i];
    return NULL;
}

const cli_command *cli_find(const char *name)
{
    const cli_command *c = among(cli_commands, name);
    c = c ? c : among(cli_explain_parts, name);
    return c ? c : among(cli_dataset_parts, name);
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
    const char *core = cli_core_set_aside();
    printf("blip2 %s, real = %s\n", program_version(), REAL == 64 ? "double" : "float");
    printf("compiler  %s, flags %s\n", __VERSION__, BUILD_FLAGS);
    printf("blas      %s\n", ag_blas());
    if (core)
        printf("          OPENBLAS_CORETYPE=%s is set aside; BLIP2_KEEP_CORETYPE=1 keeps it\n", core);
    printf("cpu       %s%s%s%s\n",
           __builtin_cpu_supports("avx2") ? "avx2 " : "", __builtin_cpu_supports("fma") ? "fma " : "",
           __builtin_cpu_supports("avx512f") ? "avx512f " : "",
           __builtin_cpu_supports("avx512bf16") ? "avx512bf16" : "");
    printf("threads   %d\n", ag_threads_now());
    return 0;
}

static int unknown(const char *word)
{
    static const char *const later[] = { "ablate" };
    const char *names[64];
    int n = 0;
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (!strcmp(word, later[i])) {
            fprintf(stderr, "blip2: error: %s: not built in this version\n", word);
            return 2;
        }
    for (; cli_commands[n] && n < 64; n++)
        names[n] = cli_commands[n]->name;
    const char *like = nearest(word, names, n);
    fprintf(stderr, "blip2: error: unknown command \"%s\"", QUOTE(word));
    fprintf(stderr, like ? ", did you mean %s?\n" : "; `blip2 help` lists them%s\n", like ? like : "");
    return 2;
}

static int help(int argc, char **argv)
{
    const cli_command *c = argc > 1 ? cli_find(argv[1]) : NULL;
    if (argc > 1 && !c)
        return unknown(argv[1]);
    if (c && argc > 2)                                     /* "explain tape" */
        return c->run(3, (char *[]){ argv[1], argv[2], "--help", NULL });
    if (c)
        return c->run(2, (char *[]){ argv[1], "--help", NULL });
    overview();
    return 0;
}

/* Two libraries read the environment before main. Where what they find is bad, start over with better. */
static const char aside[] = "BLIP2_CORETYPE_SET_ASIDE";

const char *cli_core_set_aside(void) { return getenv(aside); }

/* OPENBLAS_CORETYPE that forces AVX2 kernels on a CPU with AVX-512 halves the speed. `--version` and a
 * training run's first lines say that it was set aside. */
static bool fit_kernels(void)
{
    const char *core = getenv("OPENBLAS_CORETYPE");
    if (!core || getenv("BLIP2_KEEP_CORETYPE") || !strstr(ag_blas(), "AVX2 kernels"))
        return false;
    setenv(aside, core, 1);
    unsetenv("OPENBLAS_CORETYPE");
    unsetenv("OPENBLAS_L2_SIZE");
    return true;
}

/* A thread that waits for the others looks for work some milliseconds long before it sleeps. Where another
 * program has one of the cores, each wait takes that long, and a step of the demo 8 s instead of 0.3: look a
 * thousand times and sleep. Whoever says OMP_WAIT_POLICY or GOMP_SPINCOUNT has it so. */
static bool fit_waiting(void)
{
    return !getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT") && !setenv("GOMP_SPINCOUNT", "1000", 1);
}

static void fit_environment(char **argv)
{
    char self[4096];
    bool kernels = fit_kernels(), waiting = fit_waiting();
    ssize_t n = kernels || waiting ? readlink("/proc/self/exe", self, sizeof self - 1) : -1;
    if (n <= 0)
        return;
    self[n] = 0;
    execv(self, argv);
}

/* What fails inside a command is one line and exit 1, never an abort. */
struct call { const cli_command *command; int argc, code; char **argv; };

static void call(void *context)
{
    struct call *c = context;
    c->code = c->command->run(c->argc, c->argv);
}

static int command(int argc, char **argv)
{
    struct call c = { cli_find(argv[0]), argc, 1, argv };
    error e;
    if (!c.command)
        return unknown(argv[0]);
    tape *t = ag_tape_new();
    if (!t || !ag_try(t, call, &c, &e)) {
        fprintf(stderr, "blip2: error: %s\n", t ? e.text : "out of memory");
        c.code = 1;
    }
    if (t)
        ag_tape_free(t);
    return c.code;
}

/* Whoever starts us may have closed one of these: the next file opened would take its place, and messages or
 * figures would be written into it. */
static void hold_standard_files(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 1 ? O_RDONLY : O_RDWR) < 0)
            exit(1);
}

int main(int argc, char **argv)
{
    hold_standard_files();
    const char *word = argc > 1 ? argv[1] : "";
    int code = 2;                                          /* no command at all */
    fit_environment(argv);
    signal(SIGXFSZ, SIG_IGN);                              /* a full quota is an error like any other */
    if (argc < 2)
        overview();
    else if (!strcmp(word, "--version") || !strcmp(word, "version"))
        code = version();
    else if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help"))
        code = help(argc - 1, argv + 1);
    else
        code = command(argc - 1, argv + 1);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "blip2: error: standard output: cannot be written\n");
        return code ? code : 1;
    }
    return code;
}
