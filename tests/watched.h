/* watched.h - runs in this process that are listened to and stopped, for the suites about runs. */
#ifndef TESTS_WATCHED_H
#define TESTS_WATCHED_H
#include "tests/world.h"

extern char warnings[16384], notes[16384];         /* what the last run has told, a line each */
extern long steps_seen;                            /* of the last run */
extern long stop_at;                               /* runs stop after this step; 0: after none */
extern void (*after_step)(long step);              /* NULL: nothing is done */
extern const train_watch watch;                    /* which keeps all that */

void watched_begin(void);                          /* a fixture: a folder with a world */
train_result must(const train_config *c, bool resume);
/* The error's text, which has `says` in it. */
const char *must_fail(const train_config *c, bool resume, error_kind kind, const char *says);
#endif
