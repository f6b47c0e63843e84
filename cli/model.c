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

bool cli_precision(const char *word, ag_precision *to)
{
    static const char *const words[] = { "f32", "bf16", "bf16-fast" };     /* AG_EXACT, AG_PAIRS, AG_ONCE */
    *to = AG_EXACT;
    if (!word)
        return true;
    for (*to = AG_EXACT; *to <= AG_ONCE; ++*to)
        if (!strcmp(word, words[*to]))
            return true;
    return false;
}

void cli_warn_unsealed(const char *path, bool quiet)
{
    error none;
    h5 *f = quiet ? NULL : h5_open(path, &none);           /* NULL: told where it is read */
    if (f && !h5_sealed(f))
        cli_warn("%s: has no digests, damage would not be seen", QUOTE(path));
    h5_close(f);
}

bool cli_open_model(eval_session *s, const char *path,
                    bool (*can)(const eval_session *, const char *, error *), const cli_use *use, error *e)
{
    ag_precision products;
    const nn_watch watch = cli_loading(use->quiet);
    if (!cli_precision(use->compute, &products))
        return error_usage(e, "--compute: expected f32, bf16 or bf16-fast, found \"%s\"",
                           QUOTE(use->compute));
    if (!eval_open_told(s, path, &watch, e))
        return false;
    ag_compute(s->t, products);
    if (!s->sealed && !use->quiet)
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
