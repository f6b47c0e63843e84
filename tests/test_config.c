/* test_config.c - configurations are read strictly: what is not meant is refused, all of it in one go,
 * with its place. */
#include "tests/tests.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { RED, GREEN, BLUE } colour;
typedef struct settings {
    bool freeze;
    long seed, size;
    double lr, plain;
    char task[CONFIG_TEXT_SIZE], note[CONFIG_TEXT_SIZE];
    colour shade;
    config_list sets;
} settings;
#define AT(field) offsetof(settings, field)
static const config_key keys[] = {
    { "model.size", CONFIG_INT, AT(size), 1, 4096, NULL, "side of a picture" },
    { "model.freeze", CONFIG_BOOL, AT(freeze), 0, 0, NULL, "frozen tower" },
    { "model.text.shade", CONFIG_CHOICE, AT(shade), 0, 0, "red green blue", "colour" },
    { "run.task", CONFIG_TEXT, AT(task), 0, 0, NULL, "what is done" },
    { "run.init_lr", CONFIG_REAL, AT(lr), 0, 1, NULL, "learning rate" },
    { "run.plain", CONFIG_REAL, AT(plain), 0, 0, NULL, "any number" },
    { "run.seed", CONFIG_INT, AT(seed), 0, 0, NULL, "seed" },
    { "run.sets", CONFIG_LIST, AT(sets), 0, 0, NULL, "data sets" },
    { "note", CONFIG_TEXT, AT(note), 0, 0, NULL, "anything" },
};
static settings s;
static error e;

static config_table table(settings *to)
{
    return (config_table){ "", keys, (int)(sizeof keys / sizeof *keys), to };
}

static bool take(const char *text)
{
    s = (settings){ .size = 224, .lr = 0.5, .seed = 42 };
    config_table t = table(&s);
    return config_read_text("cfg.yaml", text, strlen(text), &t, 1, &e);
}

/* text must be refused as a mistake of usage whose text holds `what`. */
static void refused(const char *text, const char *what)
{
    ck_assert_msg(!take(text), "taken: %s", text);
    ck_assert_int_eq(e.kind, ERROR_USAGE);
    ck_assert_msg(strstr(e.text, what) != NULL, "of \"%.200s\" was said: %s", text, e.text);
}

static const char good[] = "model:\n  size: 336\n  freeze: true\n  text:\n    shade: blue\n"
                           "run:\n  task: stage1   # a note\n  init_lr: 1e-4\n"
                           "  sets: [coco, \"visual genome\"]\nnote: \"two\\nlines\"\n";

static void is_good(void)
{
    ck_assert(s.size == 336 && s.freeze && s.shade == BLUE && s.lr == 1e-4 && s.seed == 42);
    ck_assert_str_eq(s.task, "stage1");
    ck_assert_str_eq(s.note, "two\nlines");
    ck_assert_int_eq(s.sets.count, 2);
    ck_assert_str_eq(s.sets.item[1], "visual genome");
}

START_TEST(every_type_is_read_and_what_is_not_named_keeps_its_value)
{
    ck_assert_msg(take(good), "%s", e.text);
    is_good();
}
END_TEST

START_TEST(comments_marks_windows_lines_and_flow_style_change_nothing)
{
    char other[2000] = "", *to = other;
    for (const char *p = good; *p; p++) {
        if (*p == '\n')
            *to++ = '\r';
        *to++ = *p;
    }
    ck_assert_msg(take(other), "%s", e.text);
    is_good();
    sprintf(other, "# first\n---\n%s...\n", good);
    ck_assert_msg(take(other), "%s", e.text);
    is_good();
    ck_assert(take("model: {size: 336, freeze: true, text: {shade: blue}}\nnote: \"two\\nlines\"\n"
                   "run: {task: stage1, init_lr: 1.0e-4, sets: [coco, visual genome]}"));
    is_good();
}
END_TEST

START_TEST(what_is_not_a_mapping_is_refused)
{
    refused("", "cfg.yaml: empty");
    refused("# nothing\n", "empty");
    refused("- 1\n- 2\n", "cfg.yaml:1:1: expected sections with keys, found a list");
    refused("hello\n", "found one value");
    refused("<!DOCTYPE html><html>404</html>", "found one value");
    refused("note: a\n---\nnote: b\n", "cfg.yaml:2:1: a second document");
}
END_TEST

START_TEST(broken_yaml_is_refused_with_its_place)
{
    refused("model:\n\tsize: 1\n", "cfg.yaml:2:");
    refused("note: \"abc\n", "not YAML");
    refused("run:\n  sets: [a, b\n", "not YAML");
    refused("run:\n  task: a\n   init_lr: 1\n", "not YAML");
    refused("note: \xff\xfe\n", "not YAML");
    refused("note: a # \x01\n", "not YAML");
    config_table t = table(&s);
    ck_assert(!config_read_text("z", "note: a\0b\n", 10, &t, 1, &e));
    refused("note: \"a\\0b\"\n", "zero byte");
}
END_TEST

START_TEST(unknown_keys_are_refused_with_the_nearest_known_one)
{
    refused("run:\n  init_rl: 1\n", "cfg.yaml:2:3: run.init_rl: unknown key, did you mean run.init_lr?");
    refused("modle:\n  size: 1\n", "cfg.yaml:1:1: modle: unknown key, did you mean model?");
    refused("run:\n  no_such_thing_at_all: 1\n", "run.no_such_thing_at_all: unknown key");
    refused("zzzzzz:\n  a: 1\n", "zzzzzz: unknown key");
    refused("run:\n  \"ta\\x07sk\": 1\n", "ta\\x07sk");
}
END_TEST

START_TEST(keys_and_sections_that_stand_twice_are_refused)
{
    refused("run:\n  seed: 1\n  seed: 1\n", "cfg.yaml:3:3: run.seed: this key stands here twice");
    refused("run:\n  seed: 1\nnote: a\nrun:\n  task: b\n", "cfg.yaml:4:1: run: this key stands here twice");
    refused("run:\n  seed: 1\nrun.seed: 2\n", "twice");
}
END_TEST

START_TEST(numbers_are_whole_tokens_in_range)
{
    static const char *const bad[] = {
        "abc", "[1, 2]", "{a: 1}", "\"10\"", "10x", "1.2.3", "1e999", ".nan", ".inf", "nan", "inf", "0x10",
        "010", "1_000", "999999999999999999999999999999", "", "~", "null", "1e-9999", "1 2", "--1", "+", ".",
        "e5", "1e" };
    static const char *const names[] = { "model:\n  size: ", "run:\n  init_lr: ", "run:\n  plain: ",
                                         "run:\n  seed: " };
    char text[200];
    for (int n = 0; n < 4; n++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            snprintf(text, sizeof text, "%s%s\n", names[n], bad[i]);
            refused(text, "cfg.yaml:2:");
        }
    refused("model:\n  size: 0\n", "model.size: expected a whole number from 1 to 4096, found \"0\"");
    refused("model:\n  size: 4097\n", "from 1 to 4096");
    refused("model:\n  size: 1e2\n", "expected a whole number");
    refused("model:\n  size: 2.0\n", "expected a whole number");
    refused("run:\n  init_lr: -1e-9\n", "from 0 to 1");
    ck_assert(take("run:\n  plain: -.5\n  init_lr: 1.\n  seed: -7\n") && s.plain == -0.5 && s.lr == 1
              && s.seed == -7);
}
END_TEST

START_TEST(other_values_are_taken_only_as_their_type)
{
    refused("model:\n  freeze: maybe\n",
            "cfg.yaml:2:11: model.freeze: expected true or false, found \"maybe\"");
    refused("model:\n  freeze: 2\n", "true or false");
    refused("model:\n  freeze: \"true\"\n", "true or false");
    refused("model:\n  text:\n    shade: pink\n",
            "cfg.yaml:3:12: model.text.shade: expected one of: red green blue; found \"pink\"");
    refused("model:\n  text:\n    shade: red green\n", "expected one of");
    refused("run:\n  task: [a, b]\n", "run.task: expected one value, found a list");
    refused("run:\n  task: {a: b}\n", "expected one value, found a section");
    refused("run:\n  sets: coco\n", "expected a list");
    refused("run:\n  sets: [a, [b]]\n", "expected a list of texts");
    refused("model: 5\n", "cfg.yaml:1:8: model: expected a section");
    refused("model: [1, 2]\n", "expected a section");
    refused("? [a]\n: b\n", "expected a key");
}
END_TEST

START_TEST(texts_that_do_not_fit_are_refused)
{
    char text[2 * CONFIG_TEXT_SIZE] = "note: ";
    memset(text + 6, 'a', CONFIG_TEXT_SIZE - 1);
    ck_assert_msg(take(text), "%s", e.text);
    ck_assert_int_eq((int)strlen(s.note), CONFIG_TEXT_SIZE - 1);
    text[6 + CONFIG_TEXT_SIZE - 1] = 'a';
    refused(text, "at most 511 bytes, found 512");
    char list[300] = "run:\n  sets: [";
    for (int i = 0; i < CONFIG_LIST_MOST + 1; i++)
        strcat(list, "a, ");
    strcat(list, "]\n");
    refused(list, "at most 16 texts");
    refused("note: \"\\x85\"\n", "without control characters");
}
END_TEST

START_TEST(anchors_aliases_and_tags_are_refused)
{
    refused("note: &a x\n", "anchors, aliases and tags");
    refused("note: a\nrun: *a\n", "anchors, aliases and tags");
    refused("loop: &l [*l]\n", "anchors, aliases and tags");
    refused("note: !!int 5\n", "anchors, aliases and tags");
    refused("run: !thing\n  seed: 1\n", "anchors, aliases and tags");
}
END_TEST

START_TEST(large_and_deep_files_are_refused_soon)
{
    enum { MOST = 1 << 20 };
    char *text = mem_new(MOST + 2);
    double before = clock_seconds();
    memset(text, '[', MOST);
    memcpy(text, "x: ", 3);
    refused(text, "nested deeper than 64");
    memset(text, 'a', MOST + 1);
    refused(text, "at most 1048576");
    char *to = text;
    for (int i = 0; to - text < MOST - 20; i++)
        to += sprintf(to, "k%d:\n", i);
    refused(text, "100 problems");
    memcpy(text, "run:\n  sets: [", 14);
    for (long i = 14; i < MOST; i += 2)
        memcpy(text + i, "a,", 2);
    text[MOST] = 0;
    refused(text, "problems");
    ck_assert_double_lt(clock_seconds() - before, 10);
    mem_free(text);
}
END_TEST

START_TEST(all_problems_are_reported_together)
{
    refused("model:\n  size: x\n  freeze: 3\nrun:\n  sede: 1\n",
            "cfg.yaml: 3 problems\n  cfg.yaml:2:9: model.size: ");
    ck_assert_ptr_nonnull(strstr(e.text, "\n  cfg.yaml:3:11: model.freeze: "));
    ck_assert_ptr_nonnull(strstr(e.text, "\n  cfg.yaml:5:3: run.sede: unknown key, did you mean run.seed?"));
    refused("model:\n  size: x\n", "cfg.yaml:2:9: model.size: ");
    ck_assert_ptr_null(strchr(e.text, '\n'));              /* one problem is one line */
}
END_TEST

START_TEST(command_line_values_pass_the_same_checks)
{
    static const char *const bad[] = {
        "run.seed=x", "run.seed=", "run.sede=1", "seed=1", "run.seed", "=1", "run=1", "model.size=0",
        "model.freeze=yes!", "model.text.shade=pink", "run.init_lr=nan", "run.init_lr=1e-4x", "note=\xff" };
    ck_assert(take(good));
    config_table t = table(&s);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_msg(!config_override(bad[i], &t, 1, &e), "taken: %s", bad[i]);
        ck_assert_int_eq(e.kind, ERROR_USAGE);
    }
    is_good();
    ck_assert(config_override("run.seed=7", &t, 1, &e) && s.seed == 7);
    ck_assert(config_override("run.init_lr=.25", &t, 1, &e) && s.lr == 0.25);
    ck_assert(config_override("note=a=b: [c]", &t, 1, &e));
    ck_assert_str_eq(s.note, "a=b: [c]");
    ck_assert(config_override("run.sets=a,b,c", &t, 1, &e) && s.sets.count == 3);
    ck_assert_str_eq(s.sets.item[2], "c");
    ck_assert(config_override("run.sets=[out/a.h5, b c]", &t, 1, &e) && s.sets.count == 2);
    ck_assert_str_eq(s.sets.item[0], "out/a.h5");
    ck_assert_str_eq(s.sets.item[1], "b c");
    ck_assert(config_override("run.sets=[]", &t, 1, &e) && !s.sets.count);
    ck_assert(config_override("model.text.shade=green", &t, 1, &e) && s.shade == GREEN);
}
END_TEST

START_TEST(what_is_printed_reads_back_the_same)
{
    static const double reals[] = { 0.1, 1e-5, 1.0 / 3, 0, 1e-300, 0.30000000000000004, 123456789.123 };
    settings back;
    ck_assert(take(good));
    strcpy(s.note, "quotes \" and \\ and\ttabs, caf\xc3\xa9, # no comment: [x] \xf0\x9f\x90\xb1");
    strcpy(s.task, "");
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        for (int help = 0; help < 2; help++) {
            s.plain = reals[i];
            config_table from = table(&s), to = table(&back);
            char *text = config_print(&from, 1, help);
            memset(&back, 0, sizeof back);
            ck_assert_msg(config_read_text("printed", text, strlen(text), &to, 1, &e), "%s\n%s", e.text,
                          text);
            ck_assert(back.plain == s.plain && back.lr == s.lr && back.size == s.size
                      && back.shade == s.shade);
            ck_assert_str_eq(back.note, s.note);
            ck_assert_str_eq(back.task, "");
            ck_assert(back.sets.count == 2 && !strcmp(back.sets.item[1], "visual genome"));
            mem_free(text);
        }
}
END_TEST

START_TEST(help_explains_every_key)
{
    ck_assert(take(good));
    config_table t = table(&s);
    char *text = config_print(&t, 1, true);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        ck_assert_ptr_nonnull(strstr(text, keys[i].help));
    ck_assert_ptr_nonnull(strstr(text, "red green blue"));
    mem_free(text);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_a_usage_error)
{
    config_table t = table(&s);
    ck_assert(!config_read("/no/such.yaml", &t, 1, &e) && e.kind == ERROR_USAGE);
    ck_assert(!config_read("/dev/zero", &t, 1, &e) && e.kind == ERROR_USAGE);
}
END_TEST

START_TEST(memory_that_runs_out_anywhere_is_an_error)
{
    for (long nth = 1; ; nth++) {
        mem_fail_at(nth, true);
        bool ok = take(good);
        mem_fail_at(0, false);
        if (ok)
            break;
        ck_assert_int_gt((int)strlen(e.text), 0);
    }
    is_good();
}
END_TEST

/* ---- sections that the file names itself --------------------------------------------------------------- */
typedef struct part { long size; double share; } part;
typedef struct many { long all; part only, part[CONFIG_NAMED_MOST]; config_named named; } many;

static int many_tables(many *m, config_table to[3])
{
    static const config_key top[] = { { "all", CONFIG_INT, offsetof(many, all), 0, 0, NULL, "of all" } };
    static const config_key keys_of_part[] = {
        { "size", CONFIG_INT, offsetof(part, size), 0, 0, NULL, "a size" },
        { "way.share", CONFIG_REAL, offsetof(part, share), 0, 1, NULL, "a share" } };
    m->named.items = m->part;
    m->named.size = sizeof *m->part;
    to[0] = (config_table){ "parts", top, 1, m };
    to[1] = (config_table){ "parts", keys_of_part, 2, &m->only };
    to[2] = (config_table){ "parts.*", keys_of_part, 2, &m->named };
    return 3;
}

static bool read_many(many *m, const char *text)
{
    config_table t[3];
    int n = many_tables(m, t);
    return config_read_text("c.yaml", text, strlen(text), t, n, &e);
}

START_TEST(sections_may_have_names_of_their_own)
{
    many m = { 0 }, again = { 0 };
    config_table t[3];
    ck_assert_msg(read_many(&m, "parts: {all: 3, b-2: {size: 5, way: {share: 0.5}}, size: 9, a: {size: 7}}"),
                  "%s", e.text);
    ck_assert(m.all == 3 && m.only.size == 9 && m.named.count == 2);
    ck_assert_str_eq(m.named.name[0], "b-2");
    ck_assert(m.part[0].size == 5 && m.part[0].share == 0.5 && m.part[1].size == 7);
    int n = many_tables(&m, t);
    ck_assert(config_override("parts.a.way.share=0.25", t, n, &e) && m.part[1].share == 0.25);
    char *text = config_print(t, n, true);
    ck_assert_msg(text && read_many(&again, text), "%s", e.text);      /* reads back the same */
    mem_free(text);
    m.named.items = again.named.items;
    ck_assert(!memcmp(m.part, again.part, sizeof m.part) && again.named.count == 2 && again.only.size == 9);
}
END_TEST

START_TEST(mistakes_in_and_about_named_sections_are_told)
{
    static const struct { const char *text, *says; } all[] = {
        { "parts: {a: {siz: 5}}", "c.yaml:1:13: parts.a.siz: unknown key, did you mean parts.a.size?" },
        { "parts: {al: 5}", "c.yaml:1:9: parts.al: unknown key, did you mean parts.all?" },
        { "parts: {way: {size: 5}}", "parts.way.size: unknown key" },          /* a section with known keys */
        { "parts: {a b: {size: 5}}", "parts.a b: unknown key" },
        { "parts: {a: {size: 1, size: 2}}", "this key stands here twice" },
        { "parts: {a: {size: 1}, b: {size: 1}, c: {size: 1}, d: {size: 1}, e: {size: 1}, f: {size: 1}, "
          "g: {size: 1}, h: {size: 1}, i: {size: 1}}", "parts.i.size: at most 8 such sections" },
    };
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        many m = { 0 };
        ck_assert(!read_many(&m, all[k].text));
        ck_assert_msg(strstr(e.text, all[k].says) != NULL, "expected \"%s\", found \"%s\"", all[k].says,
                      e.text);
        ck_assert_int_eq(e.kind, ERROR_USAGE);
    }
}
END_TEST

Suite *suite_config(void)
{
    Suite *suite = suite_create("config");
    TCase *c = tcase_create("yaml");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_test(c, every_type_is_read_and_what_is_not_named_keeps_its_value);
    tcase_add_test(c, comments_marks_windows_lines_and_flow_style_change_nothing);
    tcase_add_test(c, what_is_not_a_mapping_is_refused);
    tcase_add_test(c, broken_yaml_is_refused_with_its_place);
    tcase_add_test(c, unknown_keys_are_refused_with_the_nearest_known_one);
    tcase_add_test(c, keys_and_sections_that_stand_twice_are_refused);
    tcase_add_test(c, numbers_are_whole_tokens_in_range);
    tcase_add_test(c, other_values_are_taken_only_as_their_type);
    tcase_add_test(c, texts_that_do_not_fit_are_refused);
    tcase_add_test(c, anchors_aliases_and_tags_are_refused);
    tcase_add_test(c, large_and_deep_files_are_refused_soon);
    tcase_add_test(c, all_problems_are_reported_together);
    tcase_add_test(c, command_line_values_pass_the_same_checks);
    tcase_add_test(c, what_is_printed_reads_back_the_same);
    tcase_add_test(c, help_explains_every_key);
    tcase_add_test(c, a_file_that_cannot_be_read_is_a_usage_error);
    tcase_add_test(c, memory_that_runs_out_anywhere_is_an_error);
    tcase_add_test(c, sections_may_have_names_of_their_own);
    tcase_add_test(c, mistakes_in_and_about_named_sections_are_told);
    suite_add_tcase(suite, c);
    return suite;
}
