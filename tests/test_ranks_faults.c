/* test_ranks_faults.c - one of several ranks fails, is killed or stands still: all end within ten seconds,
 * with one error and exit code 1, and leave neither a process nor half a file. The program is run as users
 * run it.                                                                                                  */
#include "tests/shell.h"
#include "tests/world.h"
#include "train/ranks.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RANKS = 3 };
static error e;

static void write_config(train_task task, const char *name)
{
    train_config c = world_config(task);
    c.max_iters = 1000000;
    world_write(&c, name);
}

static void begin(void)
{
    folder_begin();
    world_make();
    write_config(TRAIN_VIT, "vit.yaml");
    write_config(TRAIN_LM, "lm.yaml");
}

/* ---- processes ----------------------------------------------------------------------------------------- */
static void nap(void) { usleep(20000); }

static bool lives(pid_t pid)
{
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *f = fopen(path, "r");
    bool known = f && fscanf(f, "%*d %*s %c", &state) == 1;
    if (f)
        fclose(f);
    return known && state != 'Z';
}

/* The ranks of the program, in order of their numbers. */
static void ranks_of(pid_t parent, pid_t to[RANKS])
{
    char path[96];
    int n = 0;
    long pid;
    snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)parent, (long)parent);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    while (n < RANKS && fscanf(f, "%ld", &pid) == 1)
        to[n++] = (pid_t)pid;
    fclose(f);
    ck_assert_int_eq(n, RANKS);
}

typedef struct running { pid_t pid, rank[RANKS]; int fds[2]; } running;

/* Started, and some steps done. */
static running start(void)
{
    running r;
    struct stat log;
    const char *const words[] = { "train", IN_FOLDER("vit.yaml"), "--ranks", "3", "--quiet", NULL };
    r.pid = shell_start(words, r.fds);
    while (stat(IN_FOLDER("vit/log.jsonl"), &log) || log.st_size < 500) {
        ck_assert(!waitpid(r.pid, NULL, WNOHANG));
        nap();
    }
    ranks_of(r.pid, r.rank);
    return r;
}

static void nothing_is_left(const running *r)
{
    for (int k = 0; k < RANKS; k++)
        ck_assert_msg(!lives(r->rank[k]), "rank %d lives", k);
    DIR *d = opendir(IN_FOLDER("vit"));
    for (struct dirent *entry; d && (entry = readdir(d)); )
        ck_assert_msg(!strstr(entry->d_name, ".tmp."), "%s is left", entry->d_name);
    if (d)
        closedir(d);
}

/* One error, which has `says` in it, soon after `from`. */
static void must_have_ended(running *r, double from, const char *says)
{
    said s = shell_wait(r->pid, r->fds);
    ck_assert_msg(clock_seconds() - from < 10, "%.1f s", clock_seconds() - from);
    ck_assert_msg(s.code == 1, "exit code %d: %s", s.code, s.err);
    ck_assert_msg(!strncmp(s.err, "blip2: error: ", 14) && strstr(s.err, says), "%s", s.err);
    ck_assert_msg(strchr(s.err, '\n') == s.err + strlen(s.err) - 1, "more than one line: %s", s.err);
    shell_free(s);
    nothing_is_left(r);
}

START_TEST(a_rank_that_is_killed_ends_all)
{
    char says[64];
    running r = start();
    double from = clock_seconds();
    snprintf(says, sizeof says, "rank %d of 3 was ended by signal 9", _i);
    kill(r.rank[_i], SIGKILL);
    must_have_ended(&r, from, says);
}
END_TEST

START_TEST(a_rank_that_stands_still_ends_all)
{
    char says[64];
    running r = start();
    double from = clock_seconds();
    snprintf(says, sizeof says, "rank %d of 3 stands still", _i);
    kill(r.rank[_i], SIGSTOP);
    must_have_ended(&r, from, says);
}
END_TEST

START_TEST(ranks_end_with_the_process_that_watches)
{
    running r = start();
    kill(r.pid, SIGKILL);
    said s = shell_wait(r.pid, r.fds);
    double from = clock_seconds();
    while ((lives(r.rank[0]) || lives(r.rank[1]) || lives(r.rank[2])) && clock_seconds() - from < 10)
        nap();
    nothing_is_left(&r);
    shell_free(s);
}
END_TEST

START_TEST(a_signal_to_one_process_stops_all_in_order)
{
    running r = start();
    kill(_i ? r.rank[1] : r.pid, SIGTERM);
    said s = shell_wait(r.pid, r.fds);
    ck_assert_msg(s.code == 143 && !*s.err, "exit code %d: %s", s.code, s.err);
    shell_free(s);
    nothing_is_left(&r);
    ck_assert(!access(IN_FOLDER("vit/checkpoint.h5"), F_OK) && !access(IN_FOLDER("vit/model.h5"), F_OK));
    WORKS("train", IN_FOLDER("vit.yaml"), "--ranks", "3", "--resume", "--dry-run");
}
END_TEST

/* ---- what goes wrong inside ---------------------------------------------------------------------------- */
/* The whole run, start included: a rank that waits for ever is seen, whatever else the machine does. */
static void fails(int code, const char *says, const char *const *words)
{
    double from = clock_seconds();
    shell_fails(code, says, words);
    ck_assert_msg(clock_seconds() - from < 60, "%.1f s", clock_seconds() - from);
}
#define RANKS_FAIL(code, says, ...) \
    fails((code), (says), (const char *const[]){ "train", __VA_ARGS__, "--quiet", "--ranks", "3", NULL })

START_TEST(numbers_that_are_not_finite_end_all_and_the_step_can_be_met_again)
{
    RANKS_FAIL(1, "rank 0 of 3: step ", IN_FOLDER("lm.yaml"), "run.init_lr=100", "run.warmup_lr=100",
               "run.weight_decay=10", "run.lr_sched=constant_lr");
    ck_assert(!access(IN_FOLDER("lm/checkpoint.h5"), F_OK) && access(IN_FOLDER("lm/model.h5"), F_OK));
    RANKS_FAIL(1, "; samples ", IN_FOLDER("lm.yaml"), "--resume", "run.init_lr=100", "run.warmup_lr=100",
               "run.weight_decay=10", "run.lr_sched=constant_lr");
}
END_TEST

START_TEST(a_disk_that_is_full_for_rank_0_ends_all)
{
    shell_next.file_bytes = 20000;
    RANKS_FAIL(1, "cannot be written; File too large", IN_FOLDER("vit.yaml"), "run.save_freq=5");
    shell_next.file_bytes = 20000;
    RANKS_FAIL(1, "model.h5: cannot be written; File too large", IN_FOLDER("vit.yaml"), "run.max_iters=3");
    nothing_is_left(&(running){ .rank = { 0 } });
}
END_TEST

START_TEST(what_all_ranks_meet_is_said_once)
{
    RANKS_FAIL(2, "run.batch_size_train x run.accum_grad_iters x ranks: expected at most the 64 samples of "
               "the data set, found 90", IN_FOLDER("vit.yaml"), "run.batch_size_train=30");
    RANKS_FAIL(2, "model.freeze: no parameter's name", IN_FOLDER("vit.yaml"), "model.freeze=[none]");
    FILE *f = fopen(IN_FOLDER("world/train/000003.png"), "r+");
    ck_assert(f && !fseek(f, 60, SEEK_SET) && fputs("no picture", f) >= 0 && !fclose(f));
    RANKS_FAIL(1, "train/000003.png", IN_FOLDER("vit.yaml"), "run.max_iters=3");
    FAILS(2, "--ranks: expected a whole number from 1 to 64, found \"0\"", "train", "x.yaml", "--ranks", "0");
    FAILS(2, "--ranks: expected a whole number from 1 to 64, found \"65\"", "train", "x.yaml", "--ranks=65");
}
END_TEST

/* ---- one rank alone, in this process ------------------------------------------------------------------- */
typedef struct lone { nn_store *store[RANKS]; error e[RANKS]; bool ok[RANKS]; int seen[RANKS]; } lone;

/* The square of a parameter; on rank 1 it is infinite. */
static tensor *square(void *ctx, tape *t, int part, train_losses *l)
{
    const train_stepper *s = ctx;
    (void)part;
    tensor *x = nn_find(s->store, "x");
    tensor *loss = ag_sum(t, ag_mul(t, x, x));
    train_loss(l, "loss", ag_value(loss));
    return s->ranks->rank == 1 ? ag_scale(t, loss, INFINITY) : loss;
}

static bool lone_step(const ag_ranks *r, void *context, error *why)
{
    lone *all = context;
    train_losses l;
    nn_store *s = all->store[r->rank] = nn_store_new(1);
    nn_parameter(nn_root(s), "x", NN_INIT_ONE, DIMS(4));
    if (!nn_build(s, true, why))
        return false;
    train_stepper stepper = { .store = s, .t = ag_tape_new(), .ranks = r,
                              .adamw = { 0.1, 0.9, 0.9, 1e-8, 0 } };
    all->ok[r->rank] = train_step(&stepper, square, &stepper, &l, &all->e[r->rank]);
    ag_tape_free(stepper.t);
    return true;
}

START_TEST(a_loss_that_is_not_finite_on_one_rank_stops_the_step_on_all)
{
    lone all = { 0 };
    ck_assert_msg(ranks_threads(RANKS, lone_step, &all, &e), "%s", e.text);
    for (int k = 0; k < RANKS; k++) {
        ck_assert(!all.ok[k]);
        ck_assert_msg(strstr(all.e[k].text, "rank 1 of 3: step 1: the loss is not finite") == all.e[k].text,
                      "rank %d: %s", k, all.e[k].text);
        ck_assert((double)all.store[k]->values[0] == 1);   /* as before */
        nn_store_free(all.store[k]);
    }
}
END_TEST

static bool leave(const ag_ranks *r, void *context, error *why)
{
    long x = 1;
    if (r->rank == 1 && *(int *)context == 0)
        return error_set(why, "had enough");
    if (r->rank == 1)
        ag_fail("op", "had enough");
    while (ranks_largest(r, &x, why))
        ;
    return false;
}

START_TEST(the_error_that_came_first_is_told)
{
    int how = _i;
    ck_assert(!ranks_threads(RANKS, leave, &how, &e));
    ck_assert_str_eq(e.text, how ? "rank 1 of 3: op: had enough" : "rank 1 of 3: had enough");
}
END_TEST

START_TEST(processes_are_not_forked_beside_threads)
{
    int how = 0;
    ag_threads(3);
    #pragma omp parallel
    how |= 0;
    ck_assert(!ranks_processes(RANKS, leave, &how, sizeof how, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "before the first thread"));
}
END_TEST

Suite *suite_ranks_faults(void)
{
    Suite *s = suite_create("ranks_faults");
    TCase *program = tcase_create("program"), *here = tcase_create("here");
    tcase_set_timeout(program, TEST_SECONDS);
    tcase_set_timeout(here, TEST_SECONDS);
    tcase_add_checked_fixture(program, begin, folder_end);
    tcase_add_loop_test(program, a_rank_that_is_killed_ends_all, 0, 2);
    tcase_add_loop_test(program, a_rank_that_stands_still_ends_all, 0, 2);
    tcase_add_test(program, ranks_end_with_the_process_that_watches);
    tcase_add_loop_test(program, a_signal_to_one_process_stops_all_in_order, 0, 2);
    tcase_add_test(program, numbers_that_are_not_finite_end_all_and_the_step_can_be_met_again);
    tcase_add_test(program, a_disk_that_is_full_for_rank_0_ends_all);
    tcase_add_test(program, what_all_ranks_meet_is_said_once);
    tcase_add_test(here, a_loss_that_is_not_finite_on_one_rank_stops_the_step_on_all);
    tcase_add_loop_test(here, the_error_that_came_first_is_told, 0, 2);
    tcase_add_test(here, processes_are_not_forked_beside_threads);
    suite_add_tcase(s, program);
    suite_add_tcase(s, here);
    return s;
}
