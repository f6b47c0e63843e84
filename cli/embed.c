/* embed.c - `blip2 embed` and `blip2 search`: features of many pictures or texts,
    and what is nearest among them. */
#include "cli/commands.h"
#include "cli/model.h"
#include "data/data.h"
#include "eval/index.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- embed ----------------------------------------------------------------------------------------- */
typedef struct names { char **at; long n, room; } names;

static bool add(names *l, const char *text, size_t size, error *e)
{
    if (l->n == l->room) {
        long room = l->room ? 2 * l->room : 64;
        char **more = mem_grow(l->at, (size_t)l->room * sizeof *more, (size_t)room * sizeof *more);
        if (!more)
            return error_set(e, "embed: out of memory for %ld names", room);
        l->at = more;
        l->room = room;
    }
    return (l->at[l->n] = mem_text("%.*s", (int)size, text)) ? (l->n++, true)
                                                             : error_set(e, "embed: out of memory");
}

static void free_names(names *l)
{
    for (long i = 0; i < l->n; i++)
        mem_free(l->at[i]);
    mem_free(l->at);
}

/* A line each; empty ones are passed over. */
static bool read_lines(const char *path, names *to, error *e)
{
    long bytes;
    char *text = file_load(path, 1L << 30, &bytes, e);
    bool ok = text != NULL;
    for (char *at = text; ok && at && *at;) {
        size_t n = strcspn(at, "\r\n");
        if (n)
            ok = add(to, at, n, e);
        at += n + (at[n] != 0);
    }
    mem_free(text);
    return ok;
}

static bool add_records(const char *root, const record_list *l, names *to, error *e)
{
    bool ok = true;
    for (long i = 0; ok && i < l->count; i++) {
        char *path = mem_text("%s/%s", root, l->items[i].image);
        ok = path ? add(to, path, strlen(path), e) : error_set(e, "embed: out of memory");
        mem_free(path);
    }
    return ok;
}

/* A folder of pictures, a list of records (.jsonl), or a file with a path a line. */
static bool list_images(const char *path, names *to, error *e)
{
    struct stat about;
    record_list l = { 0 };
    size_t n = strlen(path);
    const char *slash = strrchr(path, '/');
    if (!stat(path, &about) && S_ISDIR(about.st_mode)) {
        bool ok = records_of_folder(path, &l, e) && add_records(path, &l, to, e);
        record_list_free(&l);
        return ok;
    }
    if (n < 6 || strcmp(path + n - 6, ".jsonl"))
        return read_lines(path, to, e);
    char *root = slash ? mem_text("%.*s", (int)(slash - path), path) : mem_text(".");
    bool ok = root ? records_read(path, &l, e) && add_records(root, &l, to, e)
                   : error_set(e, "embed: out of memory");
    record_list_free(&l);
    mem_free(root);
    return ok;
}

typedef struct ready { long of; bool shown; } ready;

static void show(void *context, long n)
{
    const ready *r = context;
    if (r->shown)
        fprintf(stderr, "\r%ld of %ld%s", n, r->of, n == r->of ? "\n" : "");
}

static int embed_run(int argc, char **argv)
{
    const char *images = NULL, *texts = NULL, *out = NULL;
    cli_common common = { 0 };
    const cli_option options[] = {
        { "images", "LIST", CLI_TEXT, &images, 0, 0,
          "pictures: a folder, a .jsonl list, or a file with a path a line" },
        { "texts", "FILE", CLI_TEXT, &texts, 0, 0, "texts: a file with one a line" },
        { "out", "F.h5", CLI_TEXT, &out, 0, 0, "the index that is written; -o is the same" },
    };
    int code;
    names list = { 0 };
    eval_session s;
    error e;
    if (!cli_parse(&argc, argv, options, 3, &common, &code))
        return code;
    if (argc != 2 || !out || !images == !texts)
        return cli_usage("embed", "expected a model, --images LIST or --texts FILE, and -o F.h5");
    bool ok = images ? list_images(images, &list, &e) : read_lines(texts, &list, &e);
    if (ok && !list.n)
        ok = error_set(&e, "%s: nothing in it", QUOTE(images ? images : texts));
    if (ok && (ok = cli_open_model(&s, argv[1], eval_can_retrieve, &e))) {
        ready r = { list.n, !common.quiet && isatty(2) };
        ok = eval_index_make(&s, images != NULL, (const char *const *)list.at, list.n, argv[1], out, show, &r,
                             &e);
        eval_close(&s);
    }
    if (ok && common.json) {
        printf("{\"index\":");
        cli_json_text(out);
        printf(",\"%s\":%ld}\n", images ? "images" : "texts", list.n);
    } else if (ok && !common.quiet)
        printf("%s: %ld %s\n", out, list.n, images ? "pictures" : "texts");
    free_names(&list);
    return ok ? 0 : cli_fail(&e);
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
    cli_common common = { 0 };
    const cli_option options[] = {
        { "index", "F.h5", CLI_TEXT, &index, 0, 0, "what `blip2 embed` wrote with the same model" },
        { "top", "N", CLI_INT, &top, 1, 1e6, "how many are shown" },
        { "rerank", "K", CLI_INT, &rerank, 0, 1e6, "the K nearest are ranked again by the matching head" },
    };
    int code;
    eval_session s;
    eval_index x;
    error e;
    if (!cli_parse(&argc, argv, options, 3, &common, &code))
        return code;
    if (argc != 3 || !index)
        return cli_usage("search", "expected a model, --index F.h5, and a text or a picture");
    bool shown = !access(argv[2], F_OK);
    if (!cli_open_model(&s, argv[1], eval_can_retrieve, &e))
        return cli_fail(&e);
    bool ok = eval_index_open(&x, index, &s.model.config, &e);
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

const cli_command cli_embed = { "embed", "MODEL.h5 (--images LIST | --texts FILE) -o F.h5",
                                "features of many pictures or texts, for search", embed_run,
                                "F.h5 has the dataset features, normalised: (n,queries,width) of pictures, "
                                "(n,width) of texts, and the names as a\n"
                                "JSON list in the root attribute names. A model of stage 1 is needed." };
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
