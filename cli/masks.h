/* masks.h - the three attention masks of the Q-Former as a figure: what explain_masks.c asks for and draws as
 * text, and what masks_svg.c draws as a picture.                                                           */
#ifndef CLI_MASKS_H
#define CLI_MASKS_H
#include "blip2/blip2.h"

enum { MASK_PANELS = 3, MASK_LABEL = 24 };
typedef struct mask_panel {
    const char *name, *objective, *task;           /* "bidirectional", "ITM", "matching" */
    const char *function;                          /* of blip2/masks.c, which made the mask */
    const char *first;                             /* the token that the text begins with */
    const char *says[2];                           /* who may look at whom, in words: two lines */
    const ag_mask *mask;                           /* over [queries; text] */
} mask_panel;
typedef struct mask_figure {
    long Q, T, pad;                                /* queries; tokens, the last `pad` of which are padding */
    mask_panel panel[MASK_PANELS];
} mask_figure;

bool mask_may(const mask_panel *p, long i, long j);            /* row i may look at column j */
/* What stands in row or column i: "q1", "[CLS]", a word, "[SEP]", "[PAD]". */
const char *mask_label(const mask_figure *f, const mask_panel *p, long i, char to[MASK_LABEL]);
bool masks_svg(const mask_figure *f, const char *path, error *e);
#endif
