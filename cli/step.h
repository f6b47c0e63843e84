/* step.h - one training step on random inputs, taken apart: what `graph` and `explain tape` show. */
#ifndef CLI_STEP_H
#define CLI_STEP_H
#include "cli/cli.h"
#include "train/train.h"

enum { STEP_PATH = 160 };
typedef struct step_node {             /* one node of the tape, in order of execution */
    const ag_node *node;
    const char *part;                  /* "image pass", "ITC"; "" outside all */
    char module[STEP_PATH];            /* "layer.0.attention.self.query"; "" where no parameter is near */
    double forward, backward;          /* seconds */
    double norm;                       /* of the gradient of its output. NAN: nothing came back */
} step_node;
typedef struct step {
    train_config c;
    long batch, text;                  /* pictures; tokens of a text */
    nn_store *store;
    tape *t;
    blip2_model m;
    blip2_contrastive contrastive;
    tensor *input, *loss;  /* picture features, or pictures where the tower learns; NULL: text alone */
    step_node *nodes;
    long count;
    double tower, forward, backward;   /* seconds: the frozen vision tower, and both ways */
    double mark;
} step;

/* CONFIG.yaml (a training configuration; words: key=value...) or MODEL.h5; batch 0: as the configuration
 * says. */
bool step_open(step *s, const char *path, char *const *words, int count, long batch, uint64_t seed, error *e);
bool step_run(step *s, error *e);      /* forward and backward, twice; the second is what is measured */
void step_close(step *s);
long step_producer(const step *s, const tensor *x);        /* which node made it; -1: none */
/* The first `depth` names of a node's path, part first; depth 0: the part alone. */
void step_group(const step_node *n, long depth, char to[STEP_PATH]);
#endif
