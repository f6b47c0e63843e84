/* embed.c - `blip2 embed` and `blip2 search`: features of many pictures or texts, and what is nearest among
 * them. */
#include "cli/commands.h"
#include "cli/model.h"
#include "cli/pictures.h"
#include "eval/index.h"
#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* ---- embed ----------------------------------------------------------------------------------------- */
typedef struct work { cli_bar bar; int failed; } work;
static void show(void *context, long n) { cli_bar_show(&((work *)context)->bar, n); }

/* A bad picture does not keep others from the index. */
static void tell(void *context, const error *e)
{
    work *w = context;
    cli_bar_clear(&w->bar);
    w->failed = cli_fail(e);
}

static int embed_run(int argc, char **argv)
{
    const char *images = NULL, *texts = NULL, *out = NULL;
    cli_use use = { 0 };
    cli_common common = { 0 };
    const cli_option options[] = {
        { "images", "LIST", CLI_TEXT, &images, 0, 0,
          "pictures: a folder, a .jsonl list, or a file with a path a line" },
        { "texts", "FILE", CLI_TEXT, &texts, 0, 0, "texts: a file with one a line" },
        { "out", "F.h5", CLI_TEXT, &out, 0, 0, "the index that is written; -o is the same" },
        CLI_COMPUTE_OPTION(use),
    };
    int code;
    work w = { .failed = 0 };
    long made = 0;
    cli_names list = { 0 };
    eval_session s;
    error e;
    if (!cli_parse(&argc, argv, options, 4, &common, &code))
        return code;
    if (argc != 2 || !out || !images == !texts)
        return cli_usage("embed", "expected a model, --images LIST or --texts FILE, and -o F.h5");
    if (!cli_may_write("embed", out, ".h5 .hdf5", 2, (const char *[]){ argv[1], images ? images : texts })
        || !cli_spares_models("embed", out))
        return 2;
    bool ok = images ? cli_names_pictures(&list, images, &e) : cli_names_lines(&list, texts, &e);
    if (ok && !list.n)
        ok = error_set(&e, "%s: nothing in it", QUOTE(images ? images : texts));
    use.quiet = common.quiet;
    if (ok && (ok = cli_open_model(&s, argv[1], eval_can_retrieve, &use, &e))) {
        w.bar = cli_bar_new(list.n, common.quiet);
        made = eval_index_make(&s, &(eval_index_job){ images != NULL, (const char *const *)list.at, list.n,
                                                      argv[1], show, tell, &w }, out, &e);
        ok = made >= 0;
        eval_close(&s);
    }
    if (ok && common.json) {
        printf("{\"index\":");
        cli_json_text(out);
        printf(",\"%s\":%ld}\n", images ? "images" : "texts", made);
    } else if (ok && !common.quiet)
        printf("%s: %ld %s\n", out, made, images ? "pictures" : "texts");
    cli_names_free(&list);
    return ok ? w.failed : cli_fail(&e);
}

/* ---- search ---------------------------------------------------------------------------------------- */
static void print_hit(const eval_hit *h, const char *name, long rank, bool json)
{
    if (!json) {
        if (isnan(h->itm))
            printf("%3ld  %8.4f            %s\n", rank, h->itc, name);
        else
            printf("%3ld  %8.4f  %9.4f  %s\n", rank, h->itc, h->itm, name);
        return;
    }
    printf("{\"rank\":%ld,\"name\":", rank);
    cli_json_text(name);
    printf(",\"itc\":%.9g", h->itc);
    if (!isnan(h->itm))
        printf(",\"itm\":%.9g", h->itm);
    puts("}");
}

static int search_run(int argc, char **argv)
{
    const char *index = NULL;
    long top = 10, rerank = 0;
    cli_use use = { 0 };
    cli_common common = { 0 };
    const cli_option options[] = {
        { "index", "F.h5", CLI_TEXT, &index, 0, 0, "what `blip2 embed` wrote with the same model" },
        { "top", "N", CLI_INT, &top, 1, 1e6, "how many are shown" },
        { "rerank", "K", CLI_INT, &rerank, 0, 1e6, "the K nearest are ranked again by the matching head" },
        CLI_COMPUTE_OPTION(use),
    };
    int code;
    eval_session s;
    eval_index x;
    error e;
    if (!cli_parse(&argc, argv, options, 4, &common, &code))
        return code;
    if (argc != 3 || !index)
        return cli_usage("search", "expected a model, --index F.h5, and a text or a picture");
    bool shown = !access(argv[2], F_OK);
    use.quiet = common.quiet;
    if (!cli_open_model(&s, argv[1], eval_can_retrieve, &use, &e))
        return cli_fail(&e);
    bool ok = eval_index_open(&x, index, &s.model, &e);
    if (ok)
        cli_warn_unsealed(index, common.quiet);
    if (ok && !x.named && !common.quiet)
        cli_warn("%s: does not say by which weights it was made; `blip2 embed` makes one that does",
                 QUOTE(index));
    eval_hit *hits = ok ? mem_new((size_t)(top < x.n ? top : x.n) * sizeof *hits) : NULL;
    long n = hits ? eval_search(&s, &x, argv[2], shown, top, rerank, hits, &e) : -1;
    if (ok && !hits)
        error_set(&e, "search: out of memory");
    if (n > 0 && !common.json)
        printf("%3s  %8s  %9s  %s\n", "", "itc", rerank ? "itm" : "", x.images ? "picture" : "text");
    for (long i = 0; i < n; i++)
        print_hit(&hits[i], x.names[hits[i].at], i + 1, common.json);
    mem_free(hits);
    if (ok)
        eval_index_close(&x);
    eval_close(&s);
    return n >= 0 ? 0 : cli_fail(&e);
}

const cli_command cli_embed = {
    "embed", "MODEL.h5 (--images LIST | --texts FILE) -o F.h5",
    "features of many pictures or texts, for search", embed_run,
    "F.h5 has the dataset features, normalised: (n,queries,width) of pictures, (n,width) of texts, and the\n"
    "names as a JSON list in the root attribute names. A picture that cannot be read is reported and left\n"
    "out, and the exit code is 1. A model of stage 1 is needed; weights_xxh3 is a digest of its weights,\n"
    "and search refuses an index of other weights. A model file is not replaced."
};
const cli_command cli_search = {
    "search", "MODEL.h5 --index F.h5 (\"TEXT\" | IMG)", "what is nearest to a text or a picture in an index",
    search_run,
    "itc is the best query's cosine. What names a file is a picture, anything else a text. With --rerank K "
    "the K nearest\n"
    "are read together with the query by the matching head and stand in its order (itm: its logit), the "
    "others\n"
    "behind them; the pictures of the index must still be where they were. With --json a line a hit:\n"
    "{\"rank\",\"name\",\"itc\",\"itm\"}."
};
