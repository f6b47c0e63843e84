/* trial.c - one broken program: compiled, compared with the sound one, linked, tested (mutate.h).
 *
 * The changed file alone is compiled, without debugging information, so that equal machine code makes equal
 * object files. The tests run from the quickest to the slowest, each within ten times what the sound program
 * takes; a program that crashes or must be killed has been caught. */
#include "tests/mutate/mutate.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATH = 512 };

static void nap(void) { nanosleep(&(struct timespec){ .tv_nsec = 4000000 }, NULL); }

_Noreturn static void child(const char *command, double cpu)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    rlim_t seconds = (rlim_t)cpu + 1, bytes = (rlim_t)8 << 30;
    setrlimit(RLIMIT_CPU, &(struct rlimit){ seconds, seconds });
    setrlimit(RLIMIT_AS, &(struct rlimit){ bytes, bytes });
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* Exit code of a shell command, -1 if it was killed, by us or itself. *took: its processor time. */
static int shell(const char *command, double cpu, double *took)
{
    int status = 0;
    struct rusage use = { 0 };
    double end = clock_seconds() + 30 + 8 * cpu;           /* others may be using the machine */
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0)
        child(command, cpu);
    while (wait4(pid, &status, WNOHANG, &use) == 0) {
        if (clock_seconds() > end) {
            kill(-pid, SIGTERM);                           /* Check kills the tests that it forked */
            for (int i = 0; i < 50; i++)
                nap();
            kill(-pid, SIGKILL);
            end = INFINITY;
        }
        nap();
    }
    if (took)
        *took = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec)
              + 1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool save(const char *path, const char *a, long na, const char *b, const char *c)
{
    FILE *f = fopen(path, "w");
    bool ok = f && fwrite(a, 1, (size_t)na, f) == (size_t)na && fputs(b, f) >= 0 && fputs(c, f) >= 0;
    return f && !fclose(f) && ok;
}

/* autograd/softmax.c as one name, so that files of one name in two folders stay apart. */
static void flat(const char *path, char to[PATH])
{
    snprintf(to, PATH, "%s", path);
    for (char *c = to; *c; c++)
        *c = *c == '/' ? '_' : *c;
    to[strlen(to) - 2] = 0;
}

static bool compile(const build *b, const char *folder, const char *name)
{
    char command[8 * PATH];
    snprintf(command, sizeof command, "%s -c %s/%s.c -o %s/%s.o", b->compile, folder, name, folder, name);
    return shell(command, 60, NULL) == 0;
}

static bool same_file(const char *a, const char *b)
{
    long na, nb;
    error e;
    char *x = file_load(a, 1 << 28, &na, &e), *y = file_load(b, 1 << 28, &nb, &e);
    bool same = x && y && na == nb && !memcmp(x, y, (size_t)na);
    mem_free(x);
    mem_free(y);
    return same;
}

/* All objects with `object` in the place of path's own. */
static bool link_with(const build *b, const char *path, const char *object, const char *program_)
{
    char own[PATH], *command;
    snprintf(own, sizeof own, "/%.*s.o", (int)strlen(path) - 2, path);
    char *at = strstr(b->objects, own), *begin = at;
    if (*path && !at)
        die("no object of %s", path);
    while (begin && begin > b->objects && begin[-1] != ' ')
        begin--;
    int before = begin ? (int)(begin - b->objects) : (int)strlen(b->objects);
    command = mem_text("%s %.*s %s %s -o %s", b->link, before, b->objects, object, at ? at + strlen(own) : "",
                       program_);
    bool ok = command && shell(command, 60, NULL) == 0;
    mem_free(command);
    return ok;
}

/* Suites by name, one case of them or all ("ops" has a case for each op). */
static int test(const char *program_, const char *suite, const char *only, double cpu, double *took)
{
    char *command = mem_text("exec env CK_FORK=%s %s%s %s %s", strcmp(suite, "ops") ? "yes" : "no",
                             only ? "CK_RUN_CASE=" : "", only ? only : "", program_, suite);
    int code = command ? shell(command, cpu, took) : -1;
    mem_free(command);
    return code;
}

static double allowed(double sound) { return 3 + 10 * sound; }

void trial_baseline(const program *p, build *b)
{
    char sound[PATH], program_[PATH + 8];
    snprintf(sound, sizeof sound, "%s", b->folder);
    snprintf(program_, sizeof program_, "%s/test", sound);
    if (!link_with(b, "", "", program_))
        die("the sound program cannot be linked: %s", b->link);
    for (int i = 0; i < p->op_count; i++)
        if (test(program_, "ops", p->ops[i].name, 600, &b->op_seconds[i]))
            die("the sound program fails the gradient check of %s", p->ops[i].name);
    for (int i = 0; i < p->op_count; i++)
        b->ops_seconds += b->op_seconds[i];
    for (int i = 0; i < b->suite_count; i++)
        if (test(program_, b->suites[i], NULL, 600, &b->suite_seconds[i]))
            die("the sound program fails suite %s", b->suites[i]);
    for (int i = 0; i < p->source_count; i++) {
        char name[PATH], path[3 * PATH];
        bool broken = false;
        for (int k = 0; k < p->function_count; k++)
            broken |= p->functions[k].source == i && p->functions[k].ops && !p->functions[k].forward;
        flat(p->sources[i].path, name);
        snprintf(path, sizeof path, "%s/%s.c", sound, name);
        const source *s = &p->sources[i];
        if (broken && !(save(path, s->text, s->bytes, "", "") && compile(b, sound, name)))
            die("%s cannot be compiled: %s", p->sources[i].path, b->compile);
    }
}

static void caught(result *r, int code, const char *by)
{
    r->verdict = CAUGHT;
    snprintf(r->by, sizeof r->by, "%s%s", by, code < 0 || code > 128 ? ", killed" : "");
}

static void run_tests(const program *p, const build *b, const char *program_, int first_op, result *r)
{
    const char *name = p->ops[first_op].name;
    int code = test(program_, "ops", name, allowed(b->op_seconds[first_op]), NULL);
    if (code) {
        caught(r, code, name);
        return;
    }
    if ((code = test(program_, "ops", NULL, allowed(b->ops_seconds), NULL))) {
        caught(r, code, "another op");
        return;
    }
    for (int i = 0; i < b->suite_count; i++)
        if ((code = test(program_, b->suites[i], NULL, allowed(b->suite_seconds[i]), NULL))) {
            char by[40];
            snprintf(by, sizeof by, "suite %s", b->suites[i]);
            caught(r, code, by);
            return;
        }
    r->verdict = SURVIVED;
}

void trial(const program *p, const build *b, const mutant *m, int first_op, result *r)
{
    const source *s = &p->sources[p->functions[m->function].source];
    char folder[PATH], name[PATH], file[3 * PATH], sound[3 * PATH], program_[2 * PATH];
    double start = clock_seconds();
    snprintf(folder, sizeof folder, "%s/%d", b->folder, (int)getpid());
    flat(s->path, name);
    snprintf(file, sizeof file, "%s/%s.c", folder, name);
    char *head = mem_text("%.*s", (int)m->at, s->text);
    if (!head || !save(file, head, m->at, m->with, s->text + m->at + m->length))
        die("%s: cannot be written", file);
    mem_free(head);
    r->verdict = NOT_C;
    if (compile(b, folder, name)) {
        snprintf(file, sizeof file, "%s/%s.o", folder, name);
        snprintf(sound, sizeof sound, "%s/%s.o", b->folder, name);
        snprintf(program_, sizeof program_, "%s/test", folder);
        if (same_file(file, sound))
            r->verdict = SAME_CODE;
        else if (!link_with(b, s->path, file, program_))
            r->verdict = NOT_C;
        else
            run_tests(p, b, program_, first_op, r);
    }
    r->seconds = clock_seconds() - start;
}
