/* report_levels.c - what a model that knows nothing has of each loss: all answers equally likely. `train`
 * prints the same beside its first losses (train/start.c); here the sizes are those of config.yaml and
 * run.json. */
#include "eval/report.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is(const report *r, const char *key, const char *value)
{
    char text[REPORT_SETTING];
    return report_setting(r->config, key, text) && !strcmp(text, value);
}

static long number(const report *r, const char *key)
{
    char text[REPORT_SETTING];
    return report_setting(r->config, key, text) ? strtol(text, NULL, 10) : 0;
}

/* Pictures that contrast tells apart; 0: not known. */
static long candidates(const report *r)
{
    long parts = is(r, "run.task", "stage1") && is(r, "run.accum_exact", "true")
                     ? number(r, "run.accum_grad_iters") : 1;
    return number(r, "run.batch_size_train") * report_ranks(r) * parts;
}

int report_levels(const report *r, const char *loss, report_level to[2])
{
    bool val = !strncmp(loss, "val_", 4);                  /* of other batches than training's */
    const char *name = loss + (val ? 4 : 0);
    bool whole = !strcmp(name, "loss");
    long n = 0;
    if (!r->config)
        return 0;
    if (!strcmp(name, "loss_itm")) {
        to[0] = (report_level){ log(2), "ln 2 = 0.693" };
        to[1] = (report_level){ log(3) - 2 * log(2) / 3, "always no: 0.637" };     /* one pair of three */
        return 2;
    }
    if (!strcmp(name, "loss_lm"))
        n = number(r, "model.qformer.vocab");
    else if (whole && (is(r, "run.task", "lm") || is(r, "run.task", "stage2")))
        n = number(r, is(r, "model.llm", "t5") ? "model.t5.vocab" : "model.opt.vocab");
    else if (!val && (!strcmp(name, "loss_itc") || (whole && is(r, "run.task", "vit"))))
        n = candidates(r);
    if (n < 2)
        return 0;
    to[0].value = log((double)n);
    snprintf(to[0].why, sizeof to[0].why, "ln %ld = %.3f", n, to[0].value);
    return 1;
}
