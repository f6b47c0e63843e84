/* ranks_processes.c - ranks as processes of one machine, and the one that watches over them (ranks.h).
 *
 * The watching process does no work of its own. A rank that fails leaves its error in shared memory; one that
 * is killed is seen by waitpid; one that stands still is seen in /proc: others wait for it, all its threads
 * sleep or it is stopped, and none has used processor time for SILENT looks. In each case the rest are told,
 * get GRACE looks to end by themselves, and are killed after that. A rank whose watcher dies is killed by the
 * system.                                                                                                  */
#define _GNU_SOURCE
#include "train/ranks_shared.h"
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_MS = 50, SILENT = 80, GRACE = 60 };    /* looks: 4 s and 3 s */

typedef struct child {
    pid_t pid;                         /* 0: has ended */
    unsigned long used;                /* ticks of processor time of all its threads, at the last look */
    int silent;                        /* looks since then */
} child;

typedef struct watch {
    int n, left, grace;
    ranks_block *block;
    child child[RANKS_MOST];
    const volatile int *halt;
} watch;

/* ---- a rank -------------------------------------------------------------------------------------------- */
static _Noreturn void be_rank(int rank, int threads, pid_t parent, ranks_block *b, ranks_body body,
                              void *context)
{
    ag_ranks r;
    ranks_link link;
    error e = { 0 };
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(ERROR_RUN);
    ag_threads(threads);
    ranks_join(&r, &link, b, rank);
    bool ok = ranks_call(body, &r, context, &e);
    fflush(NULL);
    _exit(ok ? 0 : (int)e.kind);
}

int ranks_halt(const ag_ranks *r)
{
    return r && r->link ? ((const ranks_link *)r->link)->block->halt : 0;
}

void ranks_outside(const ag_ranks *r, bool on)
{
    if (r && r->link)
        ((const ranks_link *)r->link)->block->waiting[r->rank] = on ? 2 : 0;
}

/* ---- watching ------------------------------------------------------------------------------------------ */
static void fail(watch *w, const char *format, int rank, int number, const char *what)
{
    error e;
    error_set(&e, format, rank, w->n, number, what);
    ranks_fail(w->block, &e);
}

static void collect(watch *w)
{
    for (int k = 0; k < w->n; k++) {
        int status;
        child *c = &w->child[k];
        pid_t ended = c->pid ? waitpid(c->pid, &status, WNOHANG) : 0;
        bool lost = ended < 0 && errno == ECHILD;          /* somebody else has waited for it */
        if (ended <= 0 && !lost)
            continue;
        c->pid = 0;
        w->left--;
        if (lost)
            fail(w, "rank %d of %d has ended unseen; error %d, %s", k, ECHILD, strerror(ECHILD));
        else if (WIFSIGNALED(status))
            fail(w, "rank %d of %d was ended by signal %d (%s)", k, WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
        else if (WEXITSTATUS(status))
            fail(w, "rank %d of %d ended with exit code %d%s", k, WEXITSTATUS(status), "");
    }
}

/* The state of a thread ('R' runs, 'S' sleeps, 'D' waits for a disk, 'T' is stopped), and the ticks of
 * processor time that it has used are added; 0: it cannot be seen. */
static char state_of_thread(pid_t pid, const char *thread, unsigned long *ticks)
{
    char path[300], text[1024];
    unsigned long user = 0, system = 0;
    char state = 0;
    snprintf(path, sizeof path, "/proc/%ld/task/%s/stat", (long)pid, thread);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = 0;
    const char *after = strrchr(text, ')');                /* the name before it may hold anything */
    if (!after || sscanf(after + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &state, &user,
                         &system) != 3)
        return 0;
    *ticks += user + system;
    return state;
}

/* The same of a process: 'S' if all threads sleep. Some decode pictures while the main one waits. */
static char state_of(pid_t pid, unsigned long *ticks)
{
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%ld/task", (long)pid);
    DIR *d = opendir(path);
    *ticks = 0;
    for (struct dirent *entry; d && (entry = readdir(d)); ) {
        char one = entry->d_name[0] == '.' ? 0 : state_of_thread(pid, entry->d_name, ticks);
        if (one && (!state || state == 'S'))
            state = one;
    }
    if (d)
        closedir(d);
    return state;
}

/* Counts how long each rank that others wait for has stood still. */
static void look(watch *w)
{
    int waiting = 0;
    for (int k = 0; k < w->n; k++)
        waiting += w->block->waiting[k] == 1;
    for (int k = 0; k < w->n; k++) {
        child *c = &w->child[k];
        unsigned long used = c->used;
        char state = c->pid ? state_of(c->pid, &used) : 0;
        bool still = (state == 'S' || state == 'T') && used == c->used
                     && (state == 'T' || (waiting && !w->block->waiting[k]));
        c->used = used;
        c->silent = still ? c->silent + 1 : 0;
        if (c->silent != SILENT)
            continue;
        fail(w, "rank %d of %d stands still: it has done nothing for %d seconds%s", k,
             SILENT * LOOK_MS / 1000, state == 'T' ? " (it is stopped)" : "");
        kill(c->pid, SIGKILL);
    }
}

static void end_all(watch *w)
{
    for (int k = 0; k < w->n; k++)
        if (w->child[k].pid)
            kill(w->child[k].pid, SIGKILL);
}

static void watch_over(watch *w)
{
    while (w->left) {
        collect(w);
        look(w);
        if (w->halt && *w->halt)
            w->block->halt = *w->halt;
        if (w->block->failed && ++w->grace > GRACE)
            end_all(w);
        if (w->left)
            poll(NULL, 0, LOOK_MS);
    }
}

/* ---- starting ------------------------------------------------------------------------------------------ */
static int threads_of_this_process(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *entry; d && (entry = readdir(d)); )
        n += entry->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static void start(watch *w, ranks_body body, void *context)
{
    int threads = ag_threads_now() / w->n;
    pid_t parent = getpid();
    signal(SIGCHLD, SIG_DFL);                              /* ignored, as it may have been inherited, it would
                                                              leave nothing to wait for */
    fflush(NULL);                                          /* or the children would write it again */
    for (int k = 0; k < w->n; k++) {
        pid_t pid = fork();
        if (pid == 0)
            be_rank(k, threads > 0 ? threads : 1, parent, w->block, body, context);
        if (pid > 0) {
            w->child[k].pid = pid;
            w->left++;
        } else
            fail(w, "rank %d of %d could not be started; error %d, %s", k, errno, strerror(errno));
    }
}

bool ranks_processes(int n, ranks_body body, void *context, long bytes, const volatile int *halt, error *e)
{
    void *shared;
    watch w = { .n = n, .halt = halt };
    if (n < 1 || n > RANKS_MOST)
        return error_usage(e, "ranks: expected from 1 to %d, found %d", RANKS_MOST, n);
    if (threads_of_this_process() > 1)
        return error_set(e, "ranks: processes must be started before the first thread");
    if (!(w.block = ranks_block_new(n, bytes, &shared, e)))
        return false;
    memcpy(shared, context, (size_t)bytes);
    start(&w, body, shared);
    watch_over(&w);
    memcpy(context, shared, (size_t)bytes);
    bool ok = !w.block->failed;
    if (!ok)
        *e = w.block->first;
    ranks_block_free(w.block);
    return ok;
}
