/* faults.h - what is done to the program to see what it makes of it: memory and disks that run out, files
 * that are damaged, numbers that are none, other threads and surroundings, long runs. Every figure counts
 * cases that ended as they should; the suite `faults` runs few of them, `make scoreboard` all.             */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H
#include "tests/world.h"

typedef struct fault_scale {
    bool full;                         /* every case; else a few seconds' worth */
    long steps;                        /* of the long runs; 0: as the figure has it */
    uint64_t seed;
} fault_scale;

typedef struct figure {
    const char *id, *what;
    long found, of;                    /* cases that ended well, of all */
    char detail[400];                  /* behind the count: what was counted */
    char trouble[600];                 /* the first case that did not end well */
    char skipped[200];                 /* what could not be tried here, and why */
} figure;
bool figure_ok(const figure *g);
void figure_detail(figure *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
void figure_skip(figure *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
void figure_print(const figure *g);

/* A case is a process of its own, so that a crash or a hang is a result like any other. */
typedef struct fault_report {          /* shared between a case and who started it */
    char why[500];                     /* "": it ended well */
    uint64_t digest;
    double number[4];
    long calls;
} fault_report;
typedef void (*fault_body)(void *context, fault_report *r);
/* Runs one; counts it in g unless g is NULL. False: it did not end well, r->why says how. */
bool fault_case(figure *g, const char *name, fault_body body, void *context, fault_report *r);
void fault_wrong(fault_report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
                                       /* the first one stays */

/* Looking around. */
uint64_t fault_digest(const char *path, uint64_t seed);        /* of a file's bytes; 0: cannot be read */
uint64_t fault_log_digest(const char *path);           /* of a run's log, without what the clock decides */
bool fault_h5_digest(const char *path, uint64_t *digest, error *e);    /* of all numbers and texts */
long fault_descriptors(void);                                  /* open ones */
bool fault_leftovers(const char *folder);                      /* is a temporary file there? */
void fault_copy(const char *from, const char *to);
void fault_write(const char *path, const char *bytes, long n);
void fault_config(const train_config *c, const char *path);    /* as YAML */

/* A training run that writes checkpoints, of stage 1 (dropout, three losses); from nothing but the world. */
train_config fault_run(const char *folder, long steps, long save_freq);
train_config fault_wide(const char *folder, long steps);       /* wide enough that threads share its work */

/* What is made to fail: all that it makes is freed again, and `digest` is of what it gave. */
typedef struct fault_target {
    const char *name;
    bool (*run)(uint64_t *digest, error *e);
} fault_target;
extern const fault_target fault_targets[];
extern const int fault_target_count;
void fault_prepare(void *context, fault_report *r);            /* a body: the files that the targets need */
/* A body: runs the target (context) once; counts its allocations into number[0], its calls of the system into
 * calls, and leaves its digest.                                                                            */
void fault_rehearse(void *context, fault_report *r);
/* Runs a target in which something was made to fail, and judges how it ended. */
void fault_judge(const fault_target *t, uint64_t expected, bool must_work, fault_report *r);

void figure_disk_full(figure *g, const fault_scale *s);
void figure_memory(figure *g, const fault_scale *s);
void figure_calls(figure *g, const fault_scale *s);
void figure_flips(figure *g, const fault_scale *s);
void figure_cuts(figure *g, const fault_scale *s);
void figure_not_finite(figure *g, const fault_scale *s);
void figure_twice(figure *g, const fault_scale *s);
void figure_threads(figure *g, const fault_scale *s);
void figure_surroundings(figure *g, const fault_scale *s);
void figure_soak(figure *g, const fault_scale *s);
typedef struct fault_entry {
    const char *id, *what;
    void (*measure)(figure *g, const fault_scale *s);
} fault_entry;
extern const fault_entry fault_entries[];
extern const int fault_entry_count;
#endif
