/* shell.c - the program run as a user runs it (shell.h). It stands beside the program of the tests. */
#define _GNU_SOURCE
#include "tests/shell.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

shell_options shell_next;

static void program(char to[600])
{
    char here[512];
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    ck_assert_int_gt(n, 0);
    here[n] = 0;
    *strrchr(here, '/') = 0;
    snprintf(to, 600, "%s/blip2%s", here, REAL == 64 ? "-f64" : "");
}

/* In the child. */
static void become(const char *path, const char *const *words, const int fds[2], const shell_options *o)
{
    char *argv[SHELL_WORDS + 2] = { "blip2" };
    for (int i = 0; words[i] && i < SHELL_WORDS; i++)
        argv[i + 1] = (char *)words[i];
    int out = o->out ? open(o->out, O_WRONLY) : fds[0];
    dup2(out, STDOUT_FILENO);
    dup2(fds[1], STDERR_FILENO);
    if (o->file_bytes)
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){ (rlim_t)o->file_bytes, (rlim_t)o->file_bytes });
    if (o->address_bytes)
        setrlimit(RLIMIT_AS, &(struct rlimit){ (rlim_t)o->address_bytes, (rlim_t)o->address_bytes });
    unsetenv("OPENBLAS_CORETYPE");                         /* a warning of its own */
    setenv("OMP_NUM_THREADS", "2", 1);
    signal(SIGINT, SIG_DFL);
    alarm(SHELL_SECONDS);
    execv(path, argv);
    _exit(127);
}

pid_t shell_start(const char *const *words, int fds[2])
{
    char path[600];
    shell_options o = shell_next;
    shell_next = (shell_options){ 0 };
    program(path);
    fds[0] = memfd_create("out", 0);
    fds[1] = memfd_create("err", 0);
    ck_assert(fds[0] >= 0 && fds[1] >= 0);
    pid_t pid = fork();
    if (pid == 0)
        become(path, words, fds, &o);
    ck_assert_int_gt(pid, 0);
    return pid;
}

static char *text_of(int fd)
{
    off_t n = lseek(fd, 0, SEEK_END);
    char *text = calloc((size_t)n + 1, 1);
    ck_assert(text && pread(fd, text, (size_t)n, 0) == n);
    close(fd);
    return text;
}

said shell_wait(pid_t pid, const int fds[2])
{
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    said s = { code, text_of(fds[0]), text_of(fds[1]) };
    ck_assert_msg(s.code != 127, "the program is not there: make all");
    return s;
}

said shell_run(const char *const *words)
{
    int fds[2];
    pid_t pid = shell_start(words, fds);
    return shell_wait(pid, fds);
}

void shell_free(said s)
{
    free(s.out);
    free(s.err);
}

static const char *line_of(const char *const *words)
{
    static char line[2048];
    size_t used = 0;
    line[0] = 0;
    for (int i = 0; words[i] && used < sizeof line - 300; i++)
        used += (size_t)snprintf(line + used, 300, " %s", words[i]);
    return line;
}

void shell_works(const char *const *words)
{
    said s = shell_run(words);
    ck_assert_msg(s.code == 0, "blip2%s: exit code %d: %s", line_of(words), s.code, s.err);
    shell_free(s);
}

void shell_fails(int code, const char *says, const char *const *words)
{
    static const char mark[] = "blip2: error: ";
    said s = shell_run(words);
    ck_assert_msg(s.code == code, "blip2%s: exit code %d: %s", line_of(words), s.code, s.err);
    ck_assert_msg(!*s.out, "blip2%s: on stdout: %s", line_of(words), s.out);
    ck_assert_msg(strstr(s.err, says) != NULL, "blip2%s: expected \"%s\", found: %s", line_of(words), says,
                  s.err);
    int errors = 0;
    for (char *line = strtok(s.err, "\n"); line; line = strtok(NULL, "\n")) {
        bool first = !strncmp(line, mark, strlen(mark)), detail = !strncmp(line, "  ", 2) && errors;
        bool warning = !strncmp(line, "blip2: warning: ", 16);
        ck_assert_msg(first || detail || warning, "blip2%s: no line of an error: %s", line_of(words), line);
        errors += first;
    }
    ck_assert_msg(errors == 1, "blip2%s: %d errors", line_of(words), errors);
    shell_free(s);
}
