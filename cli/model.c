/* model.c - a model opened for a command, and pictures through its vision tower (model.h). */
#include "cli/model.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LARGE = 1 << 28 };              /* bytes from which one waits long enough to want to know */

static void loading(void *context, long done, long of)
{
    (void)context;
    if (of >= LARGE)
        fprintf(stderr, done < of ? "\rreading %3ld %% of %.1f GiB" : "\r\033[K", 100 * done / of,
                (double)of / (1 << 30));
}

nn_watch cli_loading(bool quiet)
{
    return (nn_watch){ .progress = quiet || !isatty(STDERR_FILENO) ? NULL : loading };
}

bool cli_open_model(eval_session *s, const char *path,
                    bool (*can)(const eval_session *, const char *, error *), const cli_use *use, error *e)
{
    bool bf16 = use->compute && !strcmp(use->compute, "bf16");
    const nn_watch watch = cli_loading(use->quiet);
    if (use->compute && !bf16 && strcmp(use->compute, "f32"))
        return error_usage(e, "--compute: expected f32 or bf16, found \"%s\"", QUOTE(use->compute));
    if (!eval_open_told(s, path, &watch, e))
        return false;
    ag_compute(s->t, bf16 ? AG_BF16 : AG_REAL);
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
