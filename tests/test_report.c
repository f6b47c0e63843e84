/* test_report.c - the report is one well-formed file that holds all it shows: whatever a run's files hold,
 * nothing leaves its place; what is missing is named. */
#include "tests/world.h"
#include "eval/eval.h"
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error e;
static char heard[8192];
static const eval_report_base *base;

static void listen(void *context, const char *what)
{
    (void)context;
    strncat(heard, what, sizeof heard - strlen(heard) - 2);
    strcat(heard, "\n");
}

/* ---- HTML, read as strictly as its writer could write it ----------------------------------------------- */
static bool is_void(const char *tag)
{
    static const char *const all[] = { "meta", "img", "path", "rect", "line", NULL };
    int i = 0;
    while (all[i] && strcmp(tag, all[i]))
        i++;
    return all[i] != NULL;
}

typedef struct html { char open[64][16]; int depth; char ids[128][64]; int id_count, tags; } html;

static void see_attribute(html *h, const char *name, const char *value)
{
    ck_assert_msg(strncmp(name, "on", 2), "%s", name);
    if (!strcmp(name, "src"))
        ck_assert_msg(!strncmp(value, "data:image/png;base64,", 22), "src %.40s", value);
    ck_assert_str_ne(name, "href");
    if (!strcmp(name, "d") || !strcmp(name, "x") || !strcmp(name, "y") || !strcmp(name, "width")
        || !strcmp(name, "height") || !strcmp(name, "x1") || !strcmp(name, "x2"))
        ck_assert_msg(!strstr(value, "nan") && !strstr(value, "inf"), "%s=%.60s", name, value);
    if (strcmp(name, "id"))
        return;
    for (int i = 0; i < h->id_count; i++)
        ck_assert_msg(strcmp(h->ids[i], value), "id %s stands there twice", value);
    snprintf(h->ids[h->id_count++], sizeof h->ids[0], "%s", value);
}

/* From behind the name of a tag to behind its end: true, it closed itself. */
static bool read_attributes(html *h, char **at)
{
    char *p = *at;
    while (*p && *p != '>' && strncmp(p, "/>", 2)) {
        p += strspn(p, " \n");
        char *name = p;
        p += strcspn(p, "=> /");
        if (*p != '=')
            continue;
        ck_assert_msg(p[1] == '"', "an attribute without quotes: %.30s", name);
        char *value = p + 2, *end = strchr(value, '"');
        ck_assert(end != NULL);
        *p = *end = 0;
        ck_assert_msg(!strpbrk(value, "<>"), "%s=%.60s", name, value);
        see_attribute(h, name, value);
        p = end + 1;
    }
    bool closed = *p == '/';
    *at = p + 1 + closed;
    return closed;
}

static void read_tag(html *h, char **at)
{
    char *p = *at + 1, name[16] = "";
    bool ends = *p == '/';
    p += ends;
    for (size_t n = 0; isalnum((unsigned char)*p) && n < 15; p++)
        name[n++] = *p;
    ck_assert_msg(*name, "a bare <: %.30s", *at);
    ck_assert_str_ne(name, "script");
    h->tags++;
    if (ends) {
        ck_assert_msg(h->depth && !strcmp(h->open[h->depth - 1], name), "</%s> closes <%s>", name,
                      h->depth ? h->open[h->depth - 1] : "nothing");
        h->depth--;
        *at = p + 1;
        return;
    }
    *at = p;
    if (!read_attributes(h, at) && !is_void(name)) {
        ck_assert_int_lt(h->depth, 64);
        strcpy(h->open[h->depth++], name);
    }
    if (!strcmp(name, "style"))
        *at = strstr(*at, "</style>");
}

static void read_html(const char *name, html *h)
{
    char *text = folder_load(name, NULL);
    ck_assert_msg(!strncmp(text, "<!DOCTYPE html>\n", 16), "%s", name);
    *h = (html){ 0 };
    for (char *p = text + 16; *p;) {
        int n = *p == '\n' || *p == '\t' ? 1 : text_printable(p);
        ck_assert_msg(n > 0, "no UTF-8: %.30s", p);
        ck_assert(*p != '>');
        if (*p == '&')
            ck_assert_msg(strcspn(p, ";") < 9, "a bare &: %.30s", p);
        if (*p == '<')
            read_tag(h, &p);
        else
            p += n;
    }
    ck_assert_msg(!h->depth, "<%s> is not closed", h->open[h->depth - 1]);
    mem_free(text);
}

static bool has(const char *name, const char *what)
{
    char *text = folder_load(name, NULL);
    bool found = strstr(text, what) != NULL;
    mem_free(text);
    return found;
}

static bool make(const char *run, const char *out)
{
    *heard = 0;
    return eval_report(IN_FOLDER(run), NULL, 0, IN_FOLDER(out), base, listen, NULL, &e);
}

/* ---- tests ------------------------------------------------------------------------------------------- */
START_TEST(a_whole_run_is_one_well_formed_file)
{
    html h;
    world_make();
    world_train_all(TRAIN_STAGE2);
    static const char *const models[] = { "stage2", "stage1" };
    for (int i = 0; i < 2; i++) {
        eval_config c = eval_config_default();
        snprintf(c.model, sizeof c.model, "%s/model.h5", IN_FOLDER(models[i]));
        world_text(c.root, IN_FOLDER("world"));
        snprintf(c.output_dir, sizeof c.output_dir, "%s/results", IN_FOLDER(models[i]));
        c.max_len = 8;
        c.limit = 6;
        if (i)
            world_text(c.tasks.item[1], "retrieval");
        char *figures = eval_run(&c, &e);
        ck_assert_msg(figures != NULL, "%s", e.text);
        mem_free(figures);
        ck_assert_msg(make(models[i], "r.html"), "%s", e.text);
        ck_assert_msg(!*heard, "%s", heard);
        read_html("r.html", &h);
        ck_assert_int_gt(h.tags, 150);
        static const char *const both[] = { "id=\"figures\"", "id=\"training\"", "id=\"captions-",
            "id=\"attention\"", "blip2 train ", "results/evaluate.yaml", "<summary>config.yaml",
            "<h3>Made by</h3>", "as the run was started with it", "world/train.jsonl</td><td>64</td>",
            "<h3>Where every weight came from</h3>\n<pre>module ", "class=\"known\"" };
        for (size_t k = 0; k < sizeof both / sizeof *both; k++)
            ck_assert_msg(has("r.html", both[k]), "%s: %s", models[i], both[k]);
        ck_assert(has("r.html", "id=\"retrieval-") == (i == 1) && has("r.html", "id=\"vqa-") == (i == 0));
        ck_assert(has("r.html", "id=\"texts-") == (i == 1) && !has("r.html", " --ranks "));
        ck_assert(!has("r.html", "<span class=\"none\">"));            /* every picture is there */
    }
}
END_TEST

#define EVIL "</p><script>alert(1)</script><b x=\\\"'&"
START_TEST(nothing_from_a_file_leaves_its_place)
{
    html h;
    ck_assert(!mkdir(IN_FOLDER("run"), 0700));
    folder_write("run/config.yaml", "</pre><script>alert(2)</script>\xff\x01 & \"quoted\"\n");
    folder_write("run/log.jsonl", "{\"step\":1,\"" EVIL "\":1}\n{\"step\":2,\"" EVIL "\":3,\"loss\":2}\n");
    folder_write("run/modules.txt", "</pre><script>alert(3)</script>\xff\x01\n");
    folder_write("run/run.json",
                 "{\"version\":\"" EVIL "\",\"ranks\":1e300,\"config_xxh3\":[\"" EVIL "\"],\"lists\":[7,"
                 "{\"file\":\"" EVIL "\",\"samples\":\"" EVIL "\",\"xxh3\":\"" EVIL "\"}]}");
    folder_write("run/metrics.json",
        "{\"model\":\"" EVIL "\",\"images\":\"" EVIL "\",\"list\":\"" EVIL "\",\"captions\":{\"" EVIL
        "\":1,\"CIDEr\":1,\"settings\":{\"" EVIL "\":\"" EVIL "\"}},\"vqa\":{\"model\":{\"" EVIL "\":0.5,"
        "\"all\":0.5,\"questions\":2}},\"retrieval\":{\"sum\":{\"txt_r1\":1}}}");
    folder_write("run/captions.json",
        "[{\"image\":\"" EVIL "\",\"caption\":\"" EVIL "\",\"truth\":\"" EVIL "\"}]");
    folder_write("run/vqa.json",
        "[{\"image\":\"" EVIL "\",\"question\":\"" EVIL "\",\"answer\":\"" EVIL "\",\"truth\":\"a\"}]");
    folder_write("run/retrieval.json",
                 "{\"scores_i2t\":[[1]],\"img2txt\":[\"" EVIL "\"],"
                 "\"scores_t2i\":[[1,2]],\"txt2img\":[[0]],\"texts\":[\"" EVIL "\"],\"images\":[\"" EVIL
                 "\",\"b\"]}");
    ck_assert_msg(make("run", "r.html"), "%s", e.text);
    read_html("r.html", &h);
    ck_assert(has("r.html", "&lt;script&gt;alert(1)") && has("r.html", "&lt;script&gt;alert(2)"));
    ck_assert(has("r.html", "picture not found"));
}
END_TEST

START_TEST(settings_that_differ_from_a_base_are_shown)
{
    html h;
    ck_assert(!mkdir(IN_FOLDER("run"), 0700));
    folder_write("run/log.jsonl", "{\"step\":1,\"loss\":2}\n");
    folder_write("run/config.yaml",
        "run:\n  task: stage1   # what\n  init_lr: 0.001   # peak\n  output_dir: \"a # b\"   # where\n"
        "model:\n  freeze: []\n  vit:\n    width: 128   # of a token\n    depth: 4\n  prompt: \"\"\n");
    base = &(eval_report_base){ "other<b>.yaml",
                                "run:\n  task: stage1\n  init_lr: 0.002\n  output_dir: \"a # c\"\n"
        "  gone: 1\nmodel:\n  freeze: []\n  vit:\n    width: 64\n    depth: 4\n  prompt: \"\"\n" };
    ck_assert_msg(make("run", "r.html"), "%s", e.text);
    read_html("r.html", &h);
    static const char *const rows[] = { "Against other&lt;b&gt;.yaml",
        "<td>run.init_lr</td><td>0.002</td><td>0.001</td>",
        "<td>run.output_dir</td><td>&quot;a # c&quot;</td><td>&quot;a # b&quot;</td>",
        "<td>model.vit.width</td><td>64</td><td>128</td>", "<td>run.gone</td><td>1</td><td>not set</td>" };
    for (int i = 0; i < 5; i++)
        ck_assert_msg(has("r.html", rows[i]), "%s", rows[i]);
    ck_assert(!has("r.html", "<td>run.task") && !has("r.html", "<td>model.vit.depth")
              && !has("r.html", "nothing differs"));
    folder_write("run/config.yaml", base->config);
    ck_assert(make("run", "r.html") && has("r.html", "nothing differs"));
    folder_write("run/config.yaml", "a: 1\n   b\n:\n#\n  c:\nd: \"\\\n        e: 2\n"); /* none of ours */
    ck_assert(make("run", "r.html"));
    read_html("r.html", &h);
    char deep[8000];                                       /* sections whose names are longer than any key */
    for (int first = 200; first < 260; first++) {
        snprintf(deep, sizeof deep, "%0*d:\n  b:\n    %06000d:\n      c: 1\n", first, 0, 0);
        folder_write("run/config.yaml", deep);
        ck_assert(make("run", "r.html"));
    }
    base = NULL;
}
END_TEST

START_TEST(a_run_of_ranks_is_repeated_with_as_many)
{
    html h;
    ck_assert(!mkdir(IN_FOLDER("run"), 0700));
    folder_write("run/config.yaml",
                 "run:\n  task: stage1   # x\n  batch_size_train: 4   # x\n  accum_grad_iters: 2\n"
                 "  accum_exact: true\n"
                 "model:\n  qformer:\n    vocab: 141   # x\n");
    folder_write("run/run.json", "{\"ranks\":2,\"threads\":1,\"first_step\":7,\"config_xxh3\":\"00\"}");
    folder_write("run/log.jsonl",
        "{\"step\":1,\"loss\":8,\"loss_itc\":2.8,\"loss_itm\":0.65,\"loss_lm\":5}\n"
        "{\"step\":2,\"loss\":7,\"loss_itc\":2.6,\"loss_itm\":0.6,\"loss_lm\":4.9,\"val_loss_itc\":2}\n");
    ck_assert_msg(make("run", "r.html"), "%s", e.text);
    read_html("r.html", &h);
    static const char *const says[] = { "/run/config.yaml --ranks 2\n", "ln 16 = 2.773", "ln 2 = 0.693",
        "always no: 0.637", "ln 141 = 4.949", "changed since the run was started",
        "<td>steps of an earlier start</td><td>7</td>" };
    for (size_t i = 0; i < sizeof says / sizeof *says; i++)
        ck_assert_msg(has("r.html", says[i]), "%s", says[i]);
    char *text = folder_load("r.html", NULL), *first = strstr(text, "ln 16");
    ck_assert(!strstr(first + 1, "ln 16"));                /* not that of another batch, val_loss_itc */
    mem_free(text);
    ck_assert(!unlink(IN_FOLDER("run/run.json")));         /* an older run: its ranks are not known */
    ck_assert(make("run", "r.html") && strstr(heard, "what made the run: ") && strstr(heard, "no run.json"));
    ck_assert(!has("r.html", " --ranks ") && !has("r.html", "ln 16") && has("r.html", "ln 141 = 4.949"));
}
END_TEST

START_TEST(where_people_answered_bars_are_of_the_official_accuracy)
{
    html h;
    ck_assert(!mkdir(IN_FOLDER("run"), 0700));
#define VQA "\"model\":{\"all\":0.25,\"colour\":0.125,\"questions\":8,\"interval_95\":{\"all\":[0.1,0.5]}}"
    folder_write("run/metrics.json", "{\"vqa\":{" VQA "}}");
    ck_assert(make("run", "r.html") && has("r.html", "letter by letter") && has("r.html", ">12.5 %<"));
    folder_write("run/metrics.json",
        "{\"vqa\":{" VQA ",\"model_official\":{\"overall\":62.5,\"interval_95\":[50,75],\"perAnswerType\":"
        "{\"colour\":37.5}},\"blind_official\":{\"overall\":20}}}");
    ck_assert(make("run", "r.html") && has("r.html", "by the challenge's rule, for several people"));
    read_html("r.html", &h);
    static const char *const says[] = { ">62.5 %<", ">37.5 %<", "95 %: 50.0 to 75.0",
        "x1=\"50.00%\" x2=\"75.00%\"", "width=\"20.00%\"", "95 % interval of all questions" };
    for (size_t i = 0; i < sizeof says / sizeof *says; i++)
        ck_assert_msg(has("r.html", says[i]), "%s", says[i]);
    ck_assert(!has("r.html", ">12.5 %<") && !has("r.html", "letter by letter"));
    folder_write("run/metrics.json",                       /* of three people no answer reaches 100 % */
        "{\"vqa\":{" VQA ",\"settings\":{\"answers_at_least\":3},\"model_official\":{\"overall\":62.5}}}");
    ck_assert(make("run", "r.html") && has("r.html", "letter by letter") && has("r.html", ">12.5 %<"));
    ck_assert(!has("r.html", ">62.5 %<"));
}
END_TEST

START_TEST(figures_older_than_their_model_are_told)
{
    struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    char metrics[800];
    ck_assert(!mkdir(IN_FOLDER("run"), 0700));
    folder_write("run/model.h5", "not read");
    snprintf(metrics, sizeof metrics, "{\"model\":\"%s\",\"vqa\":{" VQA "}}", IN_FOLDER("run/model.h5"));
    folder_write("run/metrics.json", metrics);
    ck_assert(make("run", "r.html") && !strstr(heard, "are older than"));
    ck_assert(!utimensat(AT_FDCWD, IN_FOLDER("run/metrics.json"), old, 0));
    ck_assert(make("run", "r.html") && has("r.html", ">12.5 %<"));
    ck_assert_msg(strstr(heard, "are older than") && strstr(heard, "run blip2 evaluate again"), "%s", heard);
}
END_TEST

START_TEST(numbers_that_are_none_leave_gaps)
{
    html h;
    ck_assert(!mkdir(IN_FOLDER("run"), 0700));
    folder_write("run/log.jsonl",
                 "{\"step\":1,\"loss\":null,\"lr\":0}\n{\"step\":2,\"loss\":1e300,\"lr\":0}\nnot a line\n"
                 "{\"loss\":3}\n{\"step\":3,\"loss\":-1e-300,\"lr\":0}\n{\"step\":4,\"loss\":null,\"lr\":0}"
                 "\n{\"step\":5,\"lo");
    folder_write("run/metrics.json",
                 "{\"captions\":{\"CIDEr\":null,\"Bleu_4\":\"x\",\"interval_95\":[1]},\"vqa\":{\"model\":{"
                 "\"all\":7,\"questions\":1,\"interval_95\":{\"all\":[null,1]}}},\"retrieval\":5}");
    ck_assert_msg(make("run", "r.html"), "%s", e.text);
    read_html("r.html", &h);
    ck_assert_msg(strstr(heard, "3 lines of log.jsonl, which are no steps"), "%s", heard);
    folder_write("run/log.jsonl", "{\"step\":1,\"loss\":2}\n"); /* one step, the same number always */
    ck_assert(make("run", "r.html"));
    read_html("r.html", &h);
    FILE *f = fopen(IN_FOLDER("run/log.jsonl"), "wb");     /* bytes of 0 part no lines */
    for (int i = 0; f && i < 200; i++)
        fwrite("{\"step\":1,\"loss\":2}", 1, 20, f);
    ck_assert(f && !fclose(f) && make("run", "r.html"));
    read_html("r.html", &h);
    folder_write("run/log.jsonl", "");
    ck_assert(make("run", "r.html") && strstr(heard, "log.jsonl has no steps"));
    read_html("r.html", &h);
}
END_TEST

START_TEST(what_is_missing_is_told)
{
    html h;
    ck_assert(!mkdir(IN_FOLDER("run"), 0700));
    ck_assert(!make("run", "r.html") && e.kind == ERROR_RUN);
    ck_assert_msg(strstr(e.text, "run: no run in it; expected a log.jsonl"), "%s", e.text);
    ck_assert(!make("none", "r.html") && strstr(e.text, "none: no run in it"));
    ck_assert(!folder_has("r.html"));
    folder_write("run/log.jsonl", "{\"step\":1,\"loss\":2}\n{\"step\":2,\"loss\":1}\n");
    ck_assert(make("run", "r.html"));
    read_html("r.html", &h);
    static const char *const says[] = { "figures: no metrics.json", "no model.h5", "no config.yaml" };
    for (int i = 0; i < 3; i++)
        ck_assert_msg(strstr(heard, says[i]) && has("r.html", says[i]), "%s: %s", says[i], heard);
    ck_assert(!make("run", "none/r.html"));                                /* no such folder */
    folder_write("run/metrics.json", "[1");
    folder_write("run/model.h5", "no model");
    ck_assert(make("run", "r.html") && strstr(heard, "metrics.json"));
    read_html("r.html", &h);
}
END_TEST

START_TEST(a_long_log_makes_no_long_file)
{
    html h;
    struct stat s;
    ck_assert(!mkdir(IN_FOLDER("run"), 0700));
    FILE *f = fopen(IN_FOLDER("run/log.jsonl"), "w");
    ck_assert(f != NULL);
    for (int i = 1; i <= 30000; i++)
        fprintf(f, "{\"step\":%d,\"loss\":%d}\n", i, 100 + i % 7);
    fclose(f);
    ck_assert(make("run", "r.html"));
    read_html("r.html", &h);
    ck_assert(!stat(IN_FOLDER("r.html"), &s) && s.st_size < 60000);
    ck_assert(has("r.html", "30000 steps") && has("r.html", "the last 600 steps"));
}
END_TEST

Suite *suite_report(void)
{
    Suite *s = suite_create("report");
    TCase *c = tcase_create("page");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, a_whole_run_is_one_well_formed_file);
    tcase_add_test(c, nothing_from_a_file_leaves_its_place);
    tcase_add_test(c, settings_that_differ_from_a_base_are_shown);
    tcase_add_test(c, a_run_of_ranks_is_repeated_with_as_many);
    tcase_add_test(c, where_people_answered_bars_are_of_the_official_accuracy);
    tcase_add_test(c, figures_older_than_their_model_are_told);
    tcase_add_test(c, numbers_that_are_none_leave_gaps);
    tcase_add_test(c, what_is_missing_is_told);
    tcase_add_test(c, a_long_log_makes_no_long_file);
    suite_add_tcase(s, c);
    return s;
}
