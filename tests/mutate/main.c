/* main.c - `make mutate`: draws mutants, shares them out, reports (mutate.h, docs/mutation.md). */
#include "tests/mutate/mutate.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS_MOST = 64, EACH_OP = 2 };

typedef struct options {
    const char *compile, *link, *objects, *suites, *known, *folder, *op, *mutants, *slice;
    long seed, jobs;
    bool verbose, list;
} options;

typedef struct campaign {
    const program *p;
    const build *b;
    mutants all;
    result *results;                   /* one a mutant, shared with the processes */
    long *order;                       /* of trial: the mutants, shuffled */
    int *drawn_for;                    /* op whose check comes first; -1: not drawn */
    long target, jobs, counted, running, done;
    long each[OPS + 1];                /* drawn for an op, and counting as far as is known */
    bool verbose;
    pid_t pid[JOBS_MOST];
    long job[JOBS_MOST];               /* the mutant that process works on */
} campaign;

static volatile sig_atomic_t stopped;
static void stop(int signal_) { stopped = signal_; }

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "mutate: error: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

void *room(void *old, long count, long *room_, long size)
{
    if (count < *room_)
        return old;
    long more = *room_ ? 2 * *room_ : 64;
    void *p = mem_grow(old, (size_t)(*room_ * size), (size_t)(more * size));
    if (!p)
        die("out of memory");
    *room_ = more;
    return p;
}

/* ---- the folder that trials write in ------------------------------------------------------------------- */
static char *folder_made;
static pid_t folder_owner;

static void remove_folder(const char *path)
{
    char *command = mem_text("rm -rf '%s'", path);
    if (!command || system(command))
        fprintf(stderr, "mutate: %s is still there\n", path);
    mem_free(command);
}

static void remove_made(void)
{
    if (getpid() == folder_owner)                          /* not the process of a trial that died */
        remove_folder(folder_made);
}

static const char *make_folder(const char *inside)
{
    folder_made = mem_text("%s/mutants.XXXXXX", inside);
    folder_owner = getpid();
    if (!folder_made || !mkdtemp(folder_made))
        die("%s: %s", inside, strerror(errno));
    atexit(remove_made);
    return folder_made;
}

/* ---- which --------------------------------------------------------------------------------------------- */
static uint64_t mix(uint64_t x)                            /* splitmix64, Steele et al. 2014 */
{
    x += 0x9E3779B97F4A7C15;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
    x = (x ^ x >> 27) * 0x94D049BB133111EB;
    return x ^ x >> 31;
}

static void shuffle(campaign *c, uint64_t seed)
{
    for (long i = 0; i < c->all.count; i++)
        c->order[i] = i;
    for (long i = c->all.count - 1; i > 0; i--) {
        long k = (long)(mix(seed * 1000003 + (uint64_t)i) % (uint64_t)(i + 1)), swap = c->order[i];
        c->order[i] = c->order[k];
        c->order[k] = swap;
    }
}

static uint64_t ops_of(const campaign *c, long m) { return c->p->functions[c->all.of[m].function].ops; }

/* The op whose check is the likeliest to see m: one of its own file, or else the first. */
static int nearest_op(const campaign *c, long m)
{
    int first = 0;
    for (int i = c->p->op_count - 1; i >= 0; i--)
        if (ops_of(c, m) >> i & 1)
            first = i;
    for (int i = 0; i < c->p->op_count; i++)
        if (ops_of(c, m) >> i & 1 && c->p->ops[i].source == c->p->functions[c->all.of[m].function].source)
            return i;
    return first;
}

/* The next mutant to try: two of each op first, then any; -1: none for now. */
static long draw(campaign *c)
{
    for (int i = 0; i <= OPS; i++)
        for (long k = 0; c->target && c->each[i] < EACH_OP && k < c->all.count; k++) {
            long m = c->order[k];
            if (c->drawn_for[m] < 0 && ops_of(c, m) >> i & 1) {
                c->drawn_for[m] = i < OPS ? i : nearest_op(c, m);
                c->each[i]++;
                return m;
            }
        }
    for (long i = 0; (!c->target || c->counted + c->running < c->target) && i < c->all.count; i++) {
        long m = c->order[i];
        if (c->drawn_for[m] < 0) {
            c->drawn_for[m] = nearest_op(c, m);
            return m;
        }
    }
    return -1;
}

/* ---- trying -------------------------------------------------------------------------------------------- */
static void print(const campaign *c, long m)
{
    static const char *const words[] = { "untried", "caught", "SURVIVED", "same code", "known", "not C" };
    char line[160], change[160];
    const mutant *x = &c->all.of[m];
    const result *r = &c->results[m];
    describe(c->p, x, line, change);
    const function *f = &c->p->functions[x->function];
    printf("%-9s %s:%d: %s | %s | %s", words[r->verdict], c->p->sources[f->source].path, x->line, f->name,
           line, change);
    printf(*r->by ? "   (%s, %.1f s)\n" : "\n", r->by, r->seconds);
}

static void begin(campaign *c, int slot, long m)
{
    fflush(stdout);
    c->pid[slot] = fork();
    if (c->pid[slot] < 0)
        die("fork: %s", strerror(errno));
    if (c->pid[slot] == 0) {
        char *folder = mem_text("%s/%d", c->b->folder, (int)getpid());
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        if (!folder || mkdir(folder, 0777))
            die("%s: %s", c->b->folder, strerror(errno));
        trial(c->p, c->b, &c->all.of[m], c->drawn_for[m], &c->results[m]);
        remove_folder(folder);
        _exit(0);
    }
    c->job[slot] = m;
    c->running++;
}

static void end(campaign *c, int slot)
{
    long m = c->job[slot];
    result *r = &c->results[m];
    if (r->verdict == UNTRIED)
        die("a trial ended without a result");
    if (r->verdict == SURVIVED && known_reason(c->p, &c->all.of[m]))
        r->verdict = KNOWN;
    bool counts = r->verdict == CAUGHT || r->verdict == SURVIVED;
    c->counted += counts;
    c->each[c->drawn_for[m]] -= !counts;
    c->running--;
    c->done++;
    c->pid[slot] = 0;
    if (c->verbose || r->verdict == SURVIVED)
        print(c, m);
    fflush(stdout);
    if (isatty(2))
        fprintf(stderr, "\r%ld tried, %ld count ", c->done, c->counted);
}

static void run(campaign *c)
{
    for (;;) {
        long m = 0;
        for (int i = 0; i < c->jobs && m >= 0 && !stopped; i++)
            if (!c->pid[i] && (m = draw(c)) >= 0)
                begin(c, i, m);
        if (!c->running)
            break;
        int status;
        pid_t pid = wait(&status);
        for (int i = 0; i < c->jobs; i++)
            if (stopped && c->pid[i])
                kill(c->pid[i], SIGTERM);
            else if (pid > 0 && c->pid[i] == pid)
                end(c, i);
        if (stopped)
            break;
    }
    if (isatty(2))
        fprintf(stderr, "\r                                \r");
}

/* ---- reporting ----------------------------------------------------------------------------------------- */
static void table_line(const campaign *c, const char *name, uint64_t ops, long sums[NOT_C + 1])
{
    memset(sums, 0, (NOT_C + 1) * sizeof *sums);
    for (long m = 0; m < c->all.count; m++)
        if (ops_of(c, m) & ops)
            sums[c->results[m].verdict]++;
    long tried = sums[CAUGHT] + sums[SURVIVED];
    if (tried + sums[SAME_CODE] + sums[KNOWN] + sums[NOT_C])
        printf("%-22s %7ld %7ld %9ld %10ld %7ld %7ld\n", name, tried, sums[CAUGHT], sums[SURVIVED],
               sums[SAME_CODE], sums[KNOWN], sums[NOT_C]);
}

/* true: every mutant that counts was caught. */
static bool report(const campaign *c)
{
    long sums[NOT_C + 1];
    printf("\n%-22s %7s %7s %9s %10s %7s %7s\n", "reached by", "mutants", "caught", "survived", "same code",
           "known", "not C");
    for (int i = 0; i < c->p->op_count; i++)
        table_line(c, c->p->ops[i].name, 1ull << i, sums);
    table_line(c, "the tape", 1ull << TAPE, sums);
    table_line(c, "all, each once", UINT64_MAX, sums);
    long tried = sums[CAUGHT] + sums[SURVIVED];
    printf("\n%ld of %ld mutants caught: %.2f %%\n", sums[CAUGHT], tried,
           tried ? 100.0 * (double)sums[CAUGHT] / (double)tried : 0.0);
    return tried && !sums[SURVIVED];
}

/* ---- options ------------------------------------------------------------------------------------------- */
static bool text_option(const char *arg, const char *name, const char **to)
{
    size_t n = strlen(name);
    bool mine = !strncmp(arg, name, n) && arg[n] == '=';
    if (mine)
        *to = arg + n + 1;
    return mine;
}

static bool number_option(const char *arg, const char *name, long *to)
{
    const char *text;
    char *end;
    if (!text_option(arg, name, &text))
        return false;
    *to = strtol(text, &end, 10);
    if (*end || !*text || *to < 0)
        die("%s is a number from 0 up, got \"%s\"", name, text);
    return true;
}

/* What is no option is a source file. */
static options parse(int argc, char **argv, program *p)
{
    options o = { .seed = 1, .jobs = sysconf(_SC_NPROCESSORS_ONLN), .op = "", .mutants = "120",
                  .slice = "1/1" };
    p->sources = mem_new((size_t)argc * sizeof *p->sources);
    for (int i = 1; i < argc && p->sources; i++) {
        const char *a = argv[i];
        long verbose = 0, list = 0;
        if (number_option(a, "verbose", &verbose))
            o.verbose = verbose;
        else if (number_option(a, "list", &list))
            o.list = list;
        else if (!number_option(a, "seed", &o.seed) && !number_option(a, "jobs", &o.jobs)
                 && !text_option(a, "compile", &o.compile) && !text_option(a, "link", &o.link)
                 && !text_option(a, "objects", &o.objects) && !text_option(a, "suites", &o.suites)
                 && !text_option(a, "known", &o.known) && !text_option(a, "op", &o.op)
                 && !text_option(a, "folder", &o.folder) && !text_option(a, "slice", &o.slice)
                 && !text_option(a, "mutants", &o.mutants)) {
            if (strchr(a, '='))
                die("unknown option %s", a);
            p->sources[p->source_count++].path = a;
        }
    }
    if (!o.compile || !o.link || !o.objects || !o.suites || !o.known || !o.folder || !p->source_count)
        die("run it as `make mutate`");
    o.jobs = o.jobs < 1 ? 1 : o.jobs > JOBS_MOST ? JOBS_MOST : o.jobs;
    return o;
}

/* All mutants of the op asked for, every n-th of them for a slice k/n. */
static void collect(campaign *c, const options *o)
{
    uint64_t ops = *o->op ? 0 : UINT64_MAX;
    long part = 1, parts = 1, kept = 0;
    for (int i = 0; i < c->p->op_count; i++)
        if (!strcmp(c->p->ops[i].name, o->op))
            ops = 1ull << i;
    if (!strcmp(o->op, "tape"))
        ops = 1ull << TAPE;
    if (!ops)
        die("no op is called %s", o->op);
    if (sscanf(o->slice, "%ld/%ld", &part, &parts) != 2 || part < 1 || part > parts)
        die("SLICE is K/N, got %s", o->slice);
    for (int f = 0; f < c->p->function_count; f++) {
        const function *x = &c->p->functions[f];
        long before = c->all.count;
        if (x->ops & ops && !x->forward)
            find_changes(c->p, f, &c->all);
        if (o->list && c->all.count > before)
            printf("%-32s %-28s %4ld\n", c->p->sources[x->source].path, x->name, c->all.count - before);
    }
    for (long m = 0; m < c->all.count; m++)
        if (m % parts == part - 1)
            c->all.of[kept++] = c->all.of[m];
    c->all.count = kept;
}

static void prepare(campaign *c, const options *o)
{
    size_t n = (size_t)c->all.count;
    char *end_;
    c->results = mmap(NULL, n * sizeof *c->results + 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                      -1, 0);
    c->order = mem_new(n * sizeof *c->order + 1);
    c->drawn_for = mem_new(n * sizeof *c->drawn_for + 1);
    if (c->results == MAP_FAILED || !c->order || !c->drawn_for)
        die("out of memory for %ld mutants", c->all.count);
    for (size_t m = 0; m < n; m++)
        c->drawn_for[m] = -1;
    c->target = strcmp(o->mutants, "all") ? strtol(o->mutants, &end_, 10) : 0;
    if (c->target < 0 || (c->target == 0 && strcmp(o->mutants, "all")))
        die("MUTANTS is a number or all, got %s", o->mutants);
    for (int i = 0; i <= OPS && *o->op; i++)
        c->each[i] = EACH_OP;                             /* one op alone: no minimum for the others */
    shuffle(c, (uint64_t)o->seed);
}

int main(int argc, char **argv)
{
    error e;
    program p = { 0 };
    options o = parse(argc, argv, &p);
    for (int i = 0; i < p.source_count; i++) {
        source *s = &p.sources[i];
        if (!(s->text = file_load(s->path, 1 << 24, &s->bytes, &e)))
            die("%s", e.text);
        lex(s);
    }
    if (!known_load(o.known, &e))
        die("%s", e.text);
    build b = { .compile = o.compile, .link = o.link, .objects = mem_text("%s", o.objects) };
    char *suites = mem_text("%s", o.suites);
    for (char *word; (word = strsep(&suites, " ")) && b.suite_count < SUITES_MOST;)
        if (*word)
            b.suites[b.suite_count++] = word;
    int found = find_functions(&p);
    campaign c = { .p = &p, .b = &b, .jobs = o.jobs, .verbose = o.verbose };
    collect(&c, &o);
    printf("%d ops, %d functions that are only backward, %ld changes\n", p.op_count, found, c.all.count);
    if (o.list)
        return 0;
    prepare(&c, &o);
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    b.folder = make_folder(o.folder);
    trial_baseline(&p, &b);
    run(&c);
    bool ok = report(&c);
    if (stopped)
        return 128 + stopped;
    if (!c.target && !*o.op && !strcmp(o.slice, "1/1"))
        ok = !known_unused() && ok;
    return ok ? 0 : 1;
}
