/* faults_soak.c - K1: a long run of tiny steps with saves; what grows, what stays open, what gets slower
 * (faults.h).                                                                                              */
#include "tests/faults.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { BLOCKS = 20 };
typedef struct soak {
    long steps, files[BLOCKS];
    double from, kib[BLOCKS];
    double seconds[BLOCKS];            /* the quickest step of each block: other programs only add to it */
} soak;

/* Memory of this process alone, in KiB: pages of libraries come and go with the system. */
static long resident(void)
{
    char line[200];
    long found = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %ld kB", &found) == 1)
            break;
    if (f)
        fclose(f);
    return found;
}

static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void on_step(void *context, const train_line *line)
{
    soak *k = context;
    long block = (line->step - 1) * BLOCKS / k->steps;
    double now = processor_seconds();
    if (line->step > 1 && (k->seconds[block] == 0 || now - k->from < k->seconds[block]))
        k->seconds[block] = now - k->from;
    k->from = now;
    if (line->step == k->steps * (block + 1) / BLOCKS) {
        k->kib[block] = (double)resident();
        k->files[block] = fault_descriptors();
    }
}

static double median(const double *x, int n)
{
    double sorted[BLOCKS];
    memcpy(sorted, x, (size_t)n * sizeof *x);
    for (int i = 1; i < n; i++)
        for (int k = i; k > 0 && sorted[k] < sorted[k-1]; k--) {
            double swap = sorted[k];
            sorted[k] = sorted[k-1];
            sorted[k-1] = swap;
        }
    return (sorted[n/2] + sorted[(n-1)/2]) / 2;
}

static void run_long(void *context, fault_report *r)
{
    soak k = { .steps = *(const long *)context };
    train_config c = fault_run(IN_FOLDER("soak"), k.steps, k.steps / 100 ? k.steps / 100 : 1);
    train_watch watch = { .context = &k, .step = on_step };
    train_result result;
    error e;
    ag_threads(1);
    k.from = processor_seconds();
    long blocks = mem_live(), before = fault_descriptors();
    if (!train_run(&c, &(train_options){ .watch = &watch }, &result, &e))
        fault_wrong(r, "%s", e.text);
    double early = median(k.seconds + BLOCKS / 10, BLOCKS / 2);
    double late = median(k.seconds + BLOCKS / 2, BLOCKS / 2);
    double held = median(k.kib + BLOCKS / 10, BLOCKS / 5);
    r->number[0] = 100 * (median(k.kib + BLOCKS / 2, BLOCKS / 2) / held - 1);
    long during = k.files[BLOCKS - 1] - k.files[0], after = fault_descriptors() - before;
    r->number[1] = (double)(during ? during : after);
    r->number[2] = 100 * (late / early - 1);
    r->number[3] = (double)(mem_live() - blocks);
}

static void make_world(void *context, fault_report *r)
{
    (void)context, (void)r;
    world_make();
}

static void count(figure *g, bool ok, const char *what, double found)
{
    g->of++;
    g->found += ok;
    if (!ok && !*g->trouble)
        snprintf(g->trouble, sizeof g->trouble, "%s: %.3g", what, found);
}

void figure_soak(figure *g, const fault_scale *s)
{
    long steps = s->steps ? s->steps : s->full ? 10000 : 400;
    fault_report r;
    if (!fault_case(g, "a world", make_world, NULL, NULL) || !fault_case(g, "the run", run_long, &steps, &r))
        return;
    if (MEMORY_IS_OURS)
        count(g, r.number[0] < (s->full ? 1 : 5), "memory grows by %", r.number[0]);
    count(g, r.number[1] == 0, "files left open", r.number[1]);
    count(g, !s->full || r.number[2] < 5, "a step takes longer by %", r.number[2]);
    count(g, r.number[3] == 0, "allocations not freed", r.number[3]);
    figure_detail(g, "%ld steps, 100 saves: resident memory %+.2f %%, open files %+.0f, processor time of a "
                  "step %+.1f %%", steps, r.number[0], r.number[1], r.number[2]);
}
