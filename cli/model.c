/* model.c - a model opened for a command, and pictures through its vision tower (model.h). */
#include "cli/model.h"
#include "cli/cli.h"

bool cli_open_model(eval_session *s, const char *path,
                    bool (*can)(const eval_session *, const char *, error *), error *e)
{
    if (!eval_open(s, path, e))
        return false;
    if (!s->sealed)
        cli_warn("%s: has no digests, damage would not be seen", QUOTE(path));
    if (can(s, path, e))
        return true;
    eval_close(s);
    return false;
}

real *cli_features(eval_session *s, const char *path, error *e)
{
    real *x = mem_new((size_t)(eval_tokens(&s->model.config) * s->model.config.vision.width) * sizeof *x);
    if (!x)
        error_set(e, "%s: out of memory", QUOTE(path));
    if (x && eval_features(s, &path, 1, x, e))
        return x;
    mem_free(x);
    return NULL;
}
