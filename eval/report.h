/* report.h - what the parts of the report (report*.c) share: a page that is being written, and what is
 * known of the run. */
#ifndef EVAL_REPORT_H
#define EVAL_REPORT_H
#include "eval/internal.h"

enum { REPORT_MOST = 8, REPORT_NOTES = 32 };
typedef struct report_results {        /* a folder that `evaluate` wrote */
    char *folder;
    json_t *metrics, *captions, *vqa, *retrieval;          /* NULL: not there */
} report_results;
typedef struct report {
    file_out *to;
    const char *run;
    char *config, *modules;            /* config.yaml and modules.txt, NULL: not there */
    long config_bytes;
    json_t *about;                     /* run.json; NULL: not there, an older run */
    /* a configuration to compare with, its name and config_print's text; or NULL */
    const char *base, *base_text;
    bool has_log, has_model;
    report_results results[REPORT_MOST];
    int count, ids;                    /* ids given out so far: each is used once */
    eval_report_listener tell;         /* hears what is left out; may be NULL */
    void *context;
    char *note[REPORT_NOTES];          /* the same, for the end of the page */
    int notes;
} report;

/* ---- report_html.c: pieces of HTML ------------------------------------------------------------------- */
void report_text(report *r, const char *text);     /* escaped; what is no printable UTF-8 becomes U+FFFD */
void report_left_out(report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* what: below it, or NULL */
void report_section(report *r, const char *id, const char *title, const char *what);
void report_section_end(report *r);
/* PNG, at most side pixels wide */
void report_picture(report *r, const picture *p, const char *alt, long side);
/* From a file; a box that says so where it cannot be read. */
void report_picture_file(report *r, const char *root, const char *path, long side);
void report_word(report *r, const char *word);     /* of a shell command, in quotes where it needs them */

/* ---- the parts --------------------------------------------------------------------------------------- */
void report_style(report *r);                                              /* report_style.c */
bool report_curves(report *r, error *e);                                   /* report_curves.c */
void report_headline(report *r);                                           /* report_results.c */
void report_answers(report *r);
void report_samples(report *r);                                            /* report_samples.c */
void report_retrieval(report *r);
void report_attention(report *r);                                          /* report_attend.c */
void report_again(report *r);                                              /* report_again.c */
long report_ranks(const report *r);    /* of the training run; 0: not known */
void report_difference(report *r);                                         /* report_difference.c */
/* The value of a key of a configuration as config_print writes it; false: it is not there. */
enum { REPORT_SETTING = 64 };
bool report_setting(const char *text, const char *key, char to[REPORT_SETTING]);
/* What a model that knows nothing has of a loss, by the run's configuration: how many levels. */
typedef struct report_level { double value; char why[40]; } report_level;
int report_levels(const report *r, const char *loss, report_level to[2]);  /* report_levels.c */
#endif
