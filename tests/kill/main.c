/* main.c - kills a training run at random moments, goes on with --resume, and compares every byte of what it
 * leaves with an uninterrupted run: `make test-kill`, `bin/test-kill [KILLS [SEED [PROGRAM]]]`.
 *
 * The run has dropout, RandAugment, two data sets, accumulation over 2 parts, 2 threads and 4 saves. One kill
 * of four waits for a save and comes inside it, while the temporary file is there. The fields of the log that
 * a clock decides are left aside.                                                                          */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATH = 512, WORDS = 24, SAVES = 4, STEPS = 16 };
static char program[PATH], folder[PATH];
static uint64_t state;

static double uniform(void)                                /* [0,1); SplitMix64 */
{
    uint64_t x = state += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return (double)((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void nap(double seconds)
{
    nanosleep(&(struct timespec){ (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) }, NULL);
}

static void fail(const char *what, const char *name)
{
    fprintf(stderr, "test-kill: %s: %s: %s\n", what, name, strerror(errno));
    exit(1);
}

static const char *in(const char *name)                    /* folder/name; four results live at a time */
{
    static char paths[4][2 * PATH];
    static int at;
    at = (at + 1) % 4;
    snprintf(paths[at], sizeof paths[at], "%s/%s", folder, name);
    return paths[at];
}

/* ---- the program ------------------------------------------------------------------------------------- */
static pid_t start(const char *log, const char *const *words)
{
    const char *argv[WORDS + 2] = { "blip2" };
    for (int i = 0; words[i] && i < WORDS; i++)
        argv[i + 1] = words[i];
    pid_t pid = fork();
    if (pid < 0)
        fail("fork", program);
    if (pid == 0) {
        int out = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
        setenv("OMP_NUM_THREADS", "2", 1);
        setenv("OMP_WAIT_POLICY", "passive", 1);
        execv(program, (char *const *)argv);
        _exit(127);
    }
    return pid;
}

static int ended(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid)
        fail("waitpid", program);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char *text_of(const char *path, long *bytes)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    *bytes = 0;
    if (f && !fseek(f, 0, SEEK_END) && (*bytes = ftell(f)) >= 0 && !fseek(f, 0, SEEK_SET)
        && (text = calloc((size_t)*bytes + 1, 1)) && fread(text, 1, (size_t)*bytes, f) != (size_t)*bytes) {
        free(text);
        text = NULL;
    }
    if (f)
        fclose(f);
    return text;
}

static void must(const char *const *words)
{
    int code = ended(start(in("said.txt"), words));
    if (!code)
        return;
    long n;
    char *said = text_of(in("said.txt"), &n);
    fprintf(stderr, "test-kill: blip2 %s: exit code %d: %s\n", words[0], code, said ? said : "");
    exit(1);
}

/* ---- the world and the run --------------------------------------------------------------------------- */
static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    if (!f || fputs(text, f) < 0 || fclose(f))
        fail("cannot be written", path);
}

static void make_scenes(const char *name, const char *pictures, const char *size, const char *seed)
{
    must((const char *const[]){ "dataset", "make", "scenes", in(name), "--train", pictures, "--size", size,
                                "--seed", seed, "--val", "4", "--test", "4", "--test-unseen", "4",
                                "--documents", "50", NULL });
}

static void make_world(void)
{
    char config[8 * PATH];
    static const char text[] =
        "model:\n  bert_tokenizer: %s/bert\n"
        "  vit: {kind: eva, image_size: 16, patch: 8, width: 64, depth: 1, heads: 2, hidden: 512}\n"
        "  qformer: {num_query_token: 4, width: 128, layers: 2, heads: 4, hidden: 1024, positions: 40,\n"
        "            cross_attention_freq: 2, dropout: 0.1}\n"
        "  embed_dim: 32\n  max_txt_len: 24\n"
        "datasets:\n"
        "  first: {root: %s/first, ratio: 3, val: val.jsonl,\n"
        "          vis_processor: {train: {name: blip_image_train, image_size: 16, flip: 0}}}\n"
        "  second: {root: %s/second, ratio: 1, val: test.jsonl,\n"
        "           vis_processor: {train: {name: blip2_image_train, flip: 0}}}\n"
        "run: {task: stage1, max_iters: %d, save_freq: %d, valid_freq: 3, batch_size_train: 6,\n"
        "      accum_grad_iters: 2, warmup_steps: 4, seed: 5, num_workers: 2}\n";
    make_scenes("first", "48", "24", "1");
    make_scenes("second", "20", "20", "2");
    must((const char *const[]){ "tokenize", "--train", "bert", "--size", "150", in("first/text.txt"), "-o",
                                in("bert"), NULL });
    snprintf(config, sizeof config, text, folder, folder, folder, STEPS, STEPS / SAVES);
    write_file(in("c.yaml"), config);
}

static pid_t start_run(const char *name, bool resume)
{
    char where[2 * PATH + 32];
    snprintf(where, sizeof where, "run.output_dir=%s", in(name));
    const char *const words[] = { "train", in("c.yaml"), where, resume ? "--resume" : NULL, NULL };
    return start(in("said.txt"), words);
}

/* ---- comparing --------------------------------------------------------------------------------------- */
/* Takes ,"NAME":VALUE out of the text where NAME is one that a clock or the machine decides. */
static void drop_timing(char *text)
{
    static const char *const names[] = { ",\"data_ms\":", ",\"step_ms\":", ",\"samples_per_s\":",
                                         ",\"rss_mb\":", ",\"val_ms\":" };
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        for (char *at = text; (at = strstr(at, names[k])); ) {
            char *end = at + strlen(names[k]);
            end += strcspn(end, ",}");
            memmove(at, end, strlen(end) + 1);
        }
}

static uint64_t low_at(const unsigned char *x, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)x[i] << 8 * i;
    return v;
}

/* In TensorBoard's records (length 8, sum 4, bytes, sum 4) an event begins with its wall_time, 9 bytes. */
static void drop_wall_times(char *file, long bytes)
{
    for (long at = 0; at + 25 <= bytes; ) {
        uint64_t n = low_at((unsigned char *)file + at, 8);
        if (n < 9 || n > (uint64_t)(bytes - at - 16))
            return;
        memset(file + at + 12, 0, 9);
        memset(file + at + 12 + n, 0, 4);
        at += 16 + (long)n;
    }
}

static bool same_file(const char *a, const char *b, const char *name)
{
    char x[3 * PATH], y[3 * PATH];
    long n, m;
    snprintf(x, sizeof x, "%s/%s", in(a), name);
    snprintf(y, sizeof y, "%s/%s", in(b), name);
    char *p = text_of(x, &n), *q = text_of(y, &m);
    if (p && q && !strcmp(name, "log.jsonl")) {
        drop_timing(p);
        drop_timing(q);
        n = (long)strlen(p);
        m = (long)strlen(q);
    }
    if (p && q && strstr(name, "tfevents")) {
        drop_wall_times(p, n);
        drop_wall_times(q, m);
    }
    bool same = p && q && n == m && !memcmp(p, q, (size_t)n);
    free(p);
    free(q);
    return same;
}

/* Every file of the run `a` is in `b` with the same bytes, and no other; but for config.yaml, which names its
 * folder, and run.json, which has the time. */
static bool same_runs(const char *a, const char *b, char *differs, size_t size)
{
    const char *pair[2] = { a, b };
    for (int k = 0; k < 2; k++) {
        DIR *d = opendir(in(pair[k]));
        if (!d)
            fail("cannot be opened", pair[k]);
        for (struct dirent *entry; (entry = readdir(d)); )
            if (*entry->d_name != '.' && strcmp(entry->d_name, "config.yaml")
                && strcmp(entry->d_name, "run.json") && !same_file(a, b, entry->d_name)) {
                snprintf(differs, size, "%s", entry->d_name);
                closedir(d);
                return false;
            }
        closedir(d);
    }
    return true;
}

/* ---- killing ----------------------------------------------------------------------------------------- */
static bool saving(const char *run)                        /* is a checkpoint half-written? */
{
    bool found = false;
    DIR *d = opendir(in(run));
    for (struct dirent *entry; d && !found && (entry = readdir(d)); )
        found = !strncmp(entry->d_name, "checkpoint.new.h5.tmp.", 22);
    if (d)
        closedir(d);
    return found;
}

static bool over(pid_t pid)
{
    siginfo_t about = { 0 };
    return !waitid(P_PID, (id_t)pid, &about, WEXITED | WNOHANG | WNOWAIT) && about.si_pid == pid;
}

/* Waits for the nth save to begin. */
static void wait_for_save(pid_t pid, const char *run, int nth)
{
    for (bool before = false; nth > 0 && !over(pid); ) {
        bool is = saving(run);
        nth -= is && !before;
        before = is;
        if (nth > 0)
            nap(100e-6);
    }
}

static void clear(const char *run)
{
    DIR *d = opendir(in(run));
    char path[4 * PATH];
    for (struct dirent *entry; d && (entry = readdir(d)); ) {
        snprintf(path, sizeof path, "%s/%s", in(run), entry->d_name);
        if (*entry->d_name != '.' && unlink(path))
            fail("cannot be removed", path);
    }
    if (d)
        closedir(d);
}

static long lines_of(const char *run)
{
    char path[3 * PATH];
    long n, lines = 0;
    snprintf(path, sizeof path, "%s/log.jsonl", in(run));
    char *text = text_of(path, &n);
    for (long i = 0; text && i < n; i++)
        lines += text[i] == '\n';
    free(text);
    return lines;
}

/* Kills a run, at random or inside a save, and goes on: true if it ends as the whole one did. */
static bool one_kill(int number, int kills, bool inside, double seconds)
{
    bool was_inside = false, killed = false;
    double at = 0;
    for (int tries = 0; tries < 20 && !(killed && (was_inside || !inside)); tries++) {
        clear("run");
        double from = now();
        pid_t pid = start_run("run", false);
        if (inside) {
            wait_for_save(pid, "run", 1 + (int)(uniform() * SAVES));
            nap(uniform() * 0.004);
        } else
            nap(uniform() * seconds);
        kill(pid, SIGKILL);
        at = now() - from;
        killed = ended(pid) == 128 + SIGKILL;
        was_inside = saving("run");
    }
    long done = lines_of("run");
    int code = ended(start_run("run", true));
    char differs[PATH] = "";
    bool same = !code && same_runs("whole", "run", differs, sizeof differs);
    printf("kill %3d of %d  after %6.3f s  %-13s %2ld of %d steps in the log  %s%s%s\n", number, kills, at,
           was_inside ? "inside a save" : "", done, STEPS, same ? "same bytes" : code ? "FAIL: exit code" :
           "FAIL: differs: ", differs, killed ? "" : " (was over)");
    fflush(stdout);
    return same && killed && (was_inside || !inside);
}

int main(int argc, char **argv)
{
    int kills = argc > 1 ? atoi(argv[1]) : 20, passed = 0;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL);
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 16);
    if (kills < 1 || n < 0) {
        fprintf(stderr, "usage: test-kill [KILLS [SEED [PROGRAM]]]\n");
        return 2;
    }
    program[n] = 0;
    strcpy(strrchr(program, '/'), "/blip2");
    if (argc > 3)
        snprintf(program, sizeof program, "%s", argv[3]);
    snprintf(folder, sizeof folder, "%s/blip2-kill-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(folder))
        fail("cannot be made", folder);
    printf("seed %llu, in %s\n", (unsigned long long)state, folder);
    make_world();
    double from = now();
    if (ended(start_run("whole", false)))
        fail("the uninterrupted run failed", in("said.txt"));
    double seconds = now() - from;
    printf("uninterrupted: %d steps, %d saves, %.2f s\n", STEPS, SAVES, seconds);
    for (int i = 0; i < kills; i++)
        passed += one_kill(i + 1, kills, i % 4 == 2, seconds);
    printf("%d passed, %d failed\n", passed, kills - passed);
    if (fflush(stdout) || passed < kills)
        return 1;
    clear("run");
    execlp("rm", "rm", "-r", folder, (char *)NULL);
    return 0;
}
