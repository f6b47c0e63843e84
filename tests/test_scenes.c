/* test_scenes.c - the synthetic world is what it says: right answers, visible objects, and nothing held
 * out in training. */
#include "tests/tests.h"
#include "data/data.h"
#include <jansson.h>
#include <omp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const splits[] = { "train", "val", "test", "test_unseen" };
static const char *const held[][2] = { { "red", "cross" }, { "green", "circle" }, { "blue", "triangle" } };
enum { HELD = 3 };

static scenes_options small_world(void)
{
    scenes_options o = scenes_defaults;
    o.train = 600;
    o.val = 40;
    o.test = 60;
    o.test_unseen = 60;
    o.documents = 600;
    return o;
}

static void make(const scenes_options *o, const char *name)
{
    error e = { 0 };
    ck_assert_msg(scenes_make(o, IN_FOLDER(name), false, NULL, NULL, &e), "%s", e.text);
}

static char *load(const char *folder, const char *file, long *n)
{
    char name[512];
    snprintf(name, sizeof name, "%s/%s", folder, file);
    return folder_load(name, n);
}

/* ---- annotations, read back ---- */
struct notes { json_t **line; long n; };
static json_t *parsed[8000];                       /* every line that a test read, until its end */
static long parsed_count;

static void forget(void)
{
    while (parsed_count > 0)
        json_decref(parsed[--parsed_count]);
    folder_end();
}

static struct notes read_split(const char *folder, const char *split)
{
    struct notes notes = { parsed + parsed_count, 0 };
    char file[64];
    long n;
    snprintf(file, sizeof file, "%s.jsonl", split);
    char *text = load(folder, file, &n), *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_error_t why;
        ck_assert_int_lt(parsed_count, 8000);
        parsed[parsed_count] = json_loads(line, JSON_REJECT_DUPLICATES, &why);
        ck_assert_msg(parsed[parsed_count++] != NULL, "%s: %s", why.text, line);
        notes.n++;
    }
    mem_free(text);
    return notes;
}

static const char *string_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    ck_assert_msg(s != NULL, "no text %s", key);
    return s;
}

static json_t *list_of(const json_t *o, const char *key)
{
    json_t *list = json_object_get(o, key);
    ck_assert_msg(json_is_array(list), "no list %s", key);
    return list;
}

static bool is_held(const json_t *object)
{
    for (int i = 0; i < HELD; i++)
        if (!strcmp(string_of(object, "colour"), held[i][0])
            && !strcmp(string_of(object, "shape"), held[i][1]))
            return true;
    return false;
}

static int held_in_text(const char *text)
{
    char pair[64];
    int n = 0;
    for (int i = 0; i < HELD; i++) {
        snprintf(pair, sizeof pair, "%s %s", held[i][0], held[i][1]);
        for (const char *s = text; (s = strstr(s, pair)); s++)
            n++;
    }
    return n;
}

START_TEST(no_training_text_names_a_held_out_pair)
{
    scenes_options o = small_world();
    long n;
    make(&o, "w");
    static const char *const files[] = { "train.jsonl", "val.jsonl", "test.jsonl", "text.txt" };
    for (int i = 0; i < 4; i++) {
        char *text = load("w", files[i], &n);
        ck_assert_int_gt(n, 1000);
        ck_assert_int_eq(held_in_text(text), 0);
        mem_free(text);
    }
    char *text = load("w", "test_unseen.jsonl", &n);
    ck_assert_int_gt(held_in_text(text), 60);          /* so the search finds what is there */
    mem_free(text);
}
END_TEST

START_TEST(no_training_picture_shows_a_held_out_pair)
{
    scenes_options o = small_world();
    make(&o, "w");
    for (int s = 0; s < 4; s++) {
        struct notes notes = read_split("w", splits[s]);
        for (long i = 0; i < notes.n; i++) {
            int shown = 0;
            size_t j;
            json_t *object;
            json_array_foreach(list_of(notes.line[i], "objects"), j, object)
                shown += is_held(object);
            ck_assert_msg(s == 3 ? shown >= 1 : shown == 0, "%s: picture %ld shows %d", splits[s], i, shown);
        }
    }
}
END_TEST

/* ---- what is true of a scene, computed from its objects alone ---- */
static int count_of(const json_t *scene, const char *key, const char *value, const json_t **last)
{
    int n = 0;
    size_t i;
    json_t *object;
    json_array_foreach(list_of(scene, "objects"), i, object)
        if (!strcmp(string_of(object, key), value)) {
            *last = object;
            n++;
        }
    return n;
}

static bool shows(const json_t *scene, const char *colour, const char *shape)
{
    size_t i;
    json_t *object;
    json_array_foreach(list_of(scene, "objects"), i, object)
        if (!strcmp(string_of(object, "colour"), colour) && !strcmp(string_of(object, "shape"), shape))
            return true;
    return false;
}

/* The one answer to a question, NULL if there is none or more than one. */
static const char *truth(const json_t *scene, const char *question)
{
    static const char *const numbers[] = { "no", "one", "two", "three", "four" };
    char a[32], b[32];
    const json_t *object = NULL;
    if (sscanf(question, "is there a %31s %31s ?", a, b) == 2
        || sscanf(question, "is there an %31s %31s ?", a, b) == 2)
        return shows(scene, a, b) ? "yes" : "no";
    if (!strcmp(question, "what colour is the ground ?"))
        return string_of(scene, "ground");
    if (sscanf(question, "what colour is the %31s ?", a) == 1)
        return count_of(scene, "shape", a, &object) == 1 ? string_of(object, "colour") : NULL;
    if (sscanf(question, "what size is the %31s ?", a) == 1)
        return count_of(scene, "shape", a, &object) == 1 ? string_of(object, "size") : NULL;
    if (sscanf(question, "what shape is %31s ?", a) == 1)
        return count_of(scene, "colour", a, &object) == 1 ? string_of(object, "shape") : NULL;
    if (sscanf(question, "where is the %31s ?", a) == 1)
        return count_of(scene, "shape", a, &object) == 1 ? string_of(object, "place") : NULL;
    ck_assert_str_eq(question, "how many shapes ?");
    return numbers[json_array_size(list_of(scene, "objects"))];
}

static void check_answers(const char *folder, const char *const *types, int n)
{
    for (int s = 0; s < 4; s++) {
        struct notes notes = read_split(folder, splits[s]);
        int met[8] = { 0 };
        for (long i = 0; i < notes.n; i++) {
            size_t j, k;
            json_t *q, *other, *all = list_of(notes.line[i], "questions");
            json_array_foreach(all, j, q) {
                const char *asked = string_of(q, "question"), *found = string_of(q, "answer");
                const char *expected = truth(notes.line[i], asked);
                ck_assert_msg(expected && !strcmp(found, expected), "%s: %s, expected %s", asked, found,
                              expected ? expected : "no such question");
                json_array_foreach(all, k, other)
                    ck_assert(k == j || strcmp(asked, string_of(other, "question")));
                for (int t = 0; t < n; t++)
                    met[t] += !strcmp(string_of(q, "type"), types[t]);
            }
        }
        for (int t = 0; t < n; t++)
            ck_assert_msg(met[t] >= notes.n/4, "%s: %d questions of type %s", splits[s], met[t], types[t]);
    }
}

START_TEST(every_answer_follows_from_the_objects)
{
    static const char *const types[] = { "yes/no", "colour", "shape", "count", "position", "size", "ground" };
    scenes_options o = small_world();
    make(&o, "w");
    check_answers("w", types, 5);
    o.cells = 3;
    o.size = 48;
    strcpy(o.counts, "1,2,2,1");
    strcpy(o.sizes, "small,large");
    strcpy(o.questions, "yes/no,colour,shape,count,position,size,ground");
    make(&o, "large");
    check_answers("large", types, 7);
}
END_TEST

static void check_balance(const char *folder)
{
    for (int s = 0; s < 4; s++) {
        struct notes notes = read_split(folder, splits[s]);
        int yes = 0, no = 0, near = 0, pairs = 0;
        for (long i = 0; i < notes.n; i++) {
            size_t j;
            json_t *q;
            json_array_foreach(list_of(notes.line[i], "questions"), j, q) {
                char colour[32], shape[32];
                const json_t *object;
                if (strcmp(string_of(q, "type"), "yes/no"))
                    continue;
                yes += !strcmp(string_of(q, "answer"), "yes");
                if (strcmp(string_of(q, "answer"), "no"))
                    continue;
                int words = sscanf(string_of(q, "question"), "is there a %31s %31s ?", colour, shape);
                ck_assert_int_eq(words, 2);
                no++;
                pairs += json_array_size(list_of(notes.line[i], "objects")) > 1;
                near += count_of(notes.line[i], "colour", colour, &object)
                    && count_of(notes.line[i], "shape", shape, &object);
            }
        }
        ck_assert_int_eq(yes, no);
        ck_assert_int_ge(yes, notes.n);
        ck_assert_msg(s || near > pairs/4, "colour and shape are both there in %d of %d", near, pairs);
    }
}

START_TEST(half_of_the_yes_no_answers_are_yes_and_the_rest_is_not_easy)
{
    scenes_options o = small_world();
    make(&o, "w");
    check_balance("w");
    o.questions_per_type = 4;
    make(&o, "many");
    check_balance("many");
}
END_TEST

START_TEST(the_first_caption_is_the_full_one)
{
    scenes_options o = small_world();
    make(&o, "w");
    struct notes notes = read_split("w", "train");
    int wordings[4] = { 0 };
    for (long i = 0; i < notes.n; i++) {
        char full[512] = "";
        size_t j;
        json_t *object, *caption, *captions = list_of(notes.line[i], "captions");
        ck_assert_int_eq(json_array_size(captions), 5);
        json_array_foreach(list_of(notes.line[i], "objects"), j, object) {
            size_t n = strlen(full);
            snprintf(full + n, sizeof full - n, "%sa %s %s %s", j ? " , " : "", string_of(object, "colour"),
                     string_of(object, "shape"), string_of(object, "place"));
        }
        ck_assert_str_eq(json_string_value(json_array_get(captions, 0)), full);
        json_array_foreach(captions, j, caption) {
            const char *s = json_string_value(caption);
            bool places = strstr(s, "left") || strstr(s, "right");
            wordings[!strncmp(s, "there ", 6) ? 1 : strstr(s, " is a ") ? 2 : places ? 0 : 3]++;
        }
    }
    for (int i = 0; i < 4; i++)
        ck_assert_msg(wordings[i] > 100, "wording %d: %d times", i, wordings[i]);
}
END_TEST

/* ---- pictures ---- */
static picture picture_of(const char *folder, const json_t *scene)
{
    char path[600];
    picture p;
    error e = { 0 };
    snprintf(path, sizeof path, "%s/%s", IN_FOLDER(folder), string_of(scene, "image"));
    ck_assert_msg(picture_read(&p, path, &e), "%s", e.text);
    return p;
}

START_TEST(the_centre_of_an_object_has_its_colour)
{
    static const struct { const char *name; int rgb[3]; } colours[] = {
        { "red", { 220, 40, 40 } }, { "green", { 40, 180, 60 } }, { "blue", { 50, 80, 230 } },
        { "yellow", { 230, 210, 50 } } };
    scenes_options o = small_world();
    make(&o, "w");
    for (int s = 0; s < 4; s++) {
        struct notes notes = read_split("w", splits[s]);
        for (long i = 0; i < notes.n; i++) {
            picture p = picture_of("w", notes.line[i]);
            size_t j;
            json_t *object;
            json_array_foreach(list_of(notes.line[i], "objects"), j, object) {
                long x = (long)json_number_value(json_object_get(object, "x"));
                long y = (long)json_number_value(json_object_get(object, "y"));
                int c = 0;
                while (strcmp(colours[c].name, string_of(object, "colour")))
                    c++;
                for (int k = 0; k < 3; k++)            /* tint 15, and noise of deviation 4 */
                    ck_assert_int_le(abs(p.rgb[3*(y*p.width + x) + k] - colours[c].rgb[k]), 15 + 6*4);
            }
            picture_free(&p);
        }
    }
}
END_TEST

START_TEST(no_two_pictures_are_equal)
{
    scenes_options o = small_world();
    make(&o, "w");
    struct notes notes = read_split("w", "train");
    static picture all[600];
    for (long i = 0; i < notes.n; i++) {
        all[i] = picture_of("w", notes.line[i]);
        ck_assert(all[i].width == 32 && all[i].height == 32);
        for (long j = 0; j < i; j++)
            ck_assert(memcmp(all[i].rgb, all[j].rgb, 3*32*32));
    }
    for (long i = 0; i < notes.n; i++)
        picture_free(&all[i]);
}
END_TEST

/* ---- splits and families ---- */
static const char *first_caption(const json_t *scene)
{
    return json_string_value(json_array_get(list_of(scene, "captions"), 0));
}

START_TEST(no_arrangement_of_a_test_is_in_training)
{
    scenes_options o = small_world();
    long n;
    make(&o, "w");
    char *text = load("w", "text.txt", &n);
    struct notes train = read_split("w", "train");
    for (int s = 1; s < 3; s++) {
        struct notes notes = read_split("w", splits[s]);
        for (long i = 0; i < notes.n; i++) {
            char line[600];
            snprintf(line, sizeof line, "\n%s\t", first_caption(notes.line[i]));
            ck_assert_msg(!strstr(text, line), "text.txt has \"%s\"", first_caption(notes.line[i]));
            for (long j = 0; j < train.n; j++)
                ck_assert_str_ne(first_caption(notes.line[i]), first_caption(train.line[j]));
        }
    }
    mem_free(text);
}
END_TEST

START_TEST(siblings_differ_in_little)
{
    scenes_options o = small_world();
    make(&o, "w");
    struct notes notes = read_split("w", "train");
    int close = 0, siblings = 0;
    for (long i = 0; i < notes.n; i++) {
        const json_t *first = notes.line[i - i%4], *scene = notes.line[i];
        ck_assert_int_eq(json_integer_value(json_object_get(scene, "family")), 1 + i/4);
        if (i%4 == 0)
            continue;
        siblings++;
        ck_assert_str_ne(first_caption(scene), first_caption(first));
        json_t *a = list_of(scene, "objects"), *b = list_of(first, "objects");
        ck_assert_int_eq(json_array_size(a), json_array_size(b));
        int kept = 0;
        size_t j;
        json_t *object;
        json_array_foreach(a, j, object)
            kept += shows(first, string_of(object, "colour"), string_of(object, "shape"));
        close += kept + 1 >= (int)json_array_size(a);
    }
    ck_assert_msg(close > siblings*3/4, "%d of %d siblings differ in one object at most", close, siblings);
}
END_TEST

START_TEST(the_number_of_shapes_keeps_its_weights_in_every_split)
{
    scenes_options o = small_world();
    o.val = o.test = o.test_unseen = 400;
    o.documents = 0;
    strcpy(o.counts, "1,3");
    make(&o, "w");
    for (int s = 0; s < 4; s++) {
        struct notes notes = read_split("w", splits[s]);
        int one = 0;
        for (long i = 0; i < notes.n; i++)
            one += json_array_size(list_of(notes.line[i], "objects")) == 1;
        ck_assert_msg(one > notes.n/8 && one < notes.n*3/8, "%s: %d of %ld", splits[s], one, notes.n);
    }
}
END_TEST

START_TEST(documents_are_of_a_larger_world_in_the_same_words)
{
    scenes_options o = small_world();
    long n, lines = 0;
    make(&o, "w");
    char *text = load("w", "text.txt", &n), *questions = strstr(text, "question: ");
    for (long i = 0; i < n; i++)
        lines += text[i] == '\n';
    ck_assert_int_eq(lines, 600);
    ck_assert(strstr(text, "a pink heart") || strstr(text, "a purple star") || strstr(text, "a white moon"));
    ck_assert_ptr_nonnull(strstr(text, "\tquestion: how many shapes ? answer: two"));
    ck_assert_ptr_nonnull(questions);
    mem_free(text);
}
END_TEST

/* ---- the folder ---- */
static void same_files(const char *a, const char *b, bool expected)
{
    static const char *const files[] = { "train.jsonl", "test.jsonl", "test_unseen.jsonl", "text.txt",
        "sheet.png",
        "train/000001.png", "train/000600.png", "test/000700.png", "test_unseen/000760.png" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        long n, m;
        char *x = load(a, files[i], &n), *y = load(b, files[i], &m);
        ck_assert_msg((n == m && !memcmp(x, y, (size_t)n)) == expected, "%s", files[i]);
        mem_free(x);
        mem_free(y);
    }
}

START_TEST(the_bytes_do_not_depend_on_the_threads)
{
    scenes_options o = small_world();
    static const char *const names[] = { "one", "three", "four", "eight" };
    static const int threads[] = { 1, 3, 4, 8 };
    for (int i = 0; i < 4; i++) {
        omp_set_num_threads(threads[i]);
        make(&o, names[i]);
        same_files("one", names[i], true);
    }
}
END_TEST

START_TEST(another_seed_gives_another_world)
{
    scenes_options o = small_world();
    make(&o, "a");
    o.seed = 2;
    make(&o, "b");
    same_files("a", "b", false);
}
END_TEST

START_TEST(a_folder_that_exists_is_an_error_unless_forced)
{
    scenes_options o = small_world();
    error e = { 0 };
    make(&o, "w");
    ck_assert(!scenes_make(&o, IN_FOLDER("w"), false, NULL, NULL, &e));
    ck_assert_int_eq(e.kind, ERROR_USAGE);
    ck_assert_ptr_nonnull(strstr(e.text, "exists already"));
    o.seed = 2;
    ck_assert_msg(scenes_make(&o, IN_FOLDER("w"), true, NULL, NULL, &e), "%s", e.text);
    make(&o, "b");
    same_files("w", "b", true);
    ck_assert_int_eq(folder_count(), 2);
}
END_TEST

START_TEST(a_folder_of_something_else_is_never_replaced)
{
    scenes_options o = small_world();
    error e = { 0 };
    ck_assert_int_eq(mkdir(IN_FOLDER("mine"), 0777), 0);
    ck_assert(!scenes_make(&o, IN_FOLDER("mine"), true, NULL, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "expected a folder with world.yaml in it"));
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

static bool stop_at_once(void *context, const char *what, long done, long total)
{
    (void)context, (void)what, (void)done, (void)total;
    return false;
}

START_TEST(what_is_stopped_leaves_nothing)
{
    scenes_options o = small_world();
    error e = { 0 };
    ck_assert(!scenes_make(&o, IN_FOLDER("w"), false, stop_at_once, NULL, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "stopped"));
    ck_assert_int_eq(folder_count(), 0);
}
END_TEST

START_TEST(a_full_disk_is_an_error_and_leaves_nothing)
{
    static const rlim_t limits[] = { 100, 10000, 100000 };
    scenes_options o = small_world();
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 3; i++) {
        error e = { 0 };
        struct rlimit before, limit;
        getrlimit(RLIMIT_FSIZE, &before);
        limit = (struct rlimit){ limits[i], before.rlim_max };
        setrlimit(RLIMIT_FSIZE, &limit);
        bool made = scenes_make(&o, IN_FOLDER("w"), false, NULL, NULL, &e);
        setrlimit(RLIMIT_FSIZE, &before);
        ck_assert(!made);
        ck_assert_msg(strstr(e.text, "cannot be written") != NULL, "%s", e.text);
        ck_assert_int_eq(folder_count(), 0);
    }
}
END_TEST

START_TEST(memory_that_is_out_is_an_error_and_leaves_nothing)
{
    scenes_options o = small_world();
    error e = { 0 };
    o.train = 4;
    o.val = o.test = o.test_unseen = o.documents = 1;
    o.sheet = 1;
    bool made = false;
    omp_set_num_threads(2);
    for (long nth = 1; !made; nth += 1 + nth/4) {
        mem_fail_at(nth, nth % 2);
        made = scenes_make(&o, IN_FOLDER("w"), false, NULL, NULL, &e);
        mem_fail_at(0, false);
        ck_assert_int_eq(folder_count(), made);
        ck_assert_int_lt(nth, 100000);
    }
}
END_TEST

START_TEST(what_a_killed_process_left_is_removed)
{
    scenes_options o = small_world();
    char stale[64];
    pid_t child = fork();
    if (!child)
        _exit(0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    snprintf(stale, sizeof stale, "w.tmp.%ld", (long)child);
    ck_assert_int_eq(mkdir(IN_FOLDER(stale), 0777), 0);
    ck_assert_int_eq(mkdir(IN_FOLDER("w.tmp.1"), 0777), 0);        /* of a process that lives */
    make(&o, "w");
    ck_assert_int_eq(folder_count(), 2);
}
END_TEST

START_TEST(all_wrong_options_are_reported_at_once)
{
    scenes_options o = small_world();
    error e = { 0 };
    strcpy(o.colours, "red,gren,blue,blue");
    strcpy(o.counts, "1,1,1,1,1");
    strcpy(o.wordings, "1,x");
    o.radius = 9;
    ck_assert(!scenes_make(&o, IN_FOLDER("w"), false, NULL, NULL, &e));
    ck_assert_int_eq(e.kind, ERROR_USAGE);
    ck_assert_ptr_nonnull(strstr(e.text, "unknown name \"gren\", did you mean green"));
    ck_assert_ptr_nonnull(strstr(e.text, "blue stands there twice"));
    ck_assert_ptr_nonnull(strstr(e.text, "counts: 5 shapes do not fit; cells is 2"));
    ck_assert_ptr_nonnull(strstr(e.text, "wordings: expected weights"));
    ck_assert_ptr_nonnull(strstr(e.text, "radius: expected 0.05 to 0.7, found 9"));
    ck_assert_int_eq(folder_count(), 0);
}
END_TEST

START_TEST(a_world_without_a_place_for_a_split_is_an_error)
{
    scenes_options o = small_world();
    error e = { 0 };
    strcpy(o.colours, "red");
    strcpy(o.shapes, "circle");
    strcpy(o.held_out, "");
    o.cells = 1;
    strcpy(o.counts, "1");
    o.test_unseen = 0;
    ck_assert(!scenes_make(&o, IN_FOLDER("w"), false, NULL, NULL, &e));
    ck_assert_msg(strstr(e.text, "no scene belongs there") != NULL, "%s", e.text);
    ck_assert_int_eq(folder_count(), 0);
}
END_TEST

Suite *suite_scenes(void)
{
    Suite *s = suite_create("scenes");
    TCase *truths = tcase_create("truths"), *folder = tcase_create("folder");
    tcase_set_timeout(truths, TEST_SECONDS);
    tcase_set_timeout(folder, TEST_SECONDS);
    tcase_add_checked_fixture(truths, folder_begin, forget);
    tcase_add_checked_fixture(folder, folder_begin, folder_end);
    tcase_add_test(truths, no_training_text_names_a_held_out_pair);
    tcase_add_test(truths, no_training_picture_shows_a_held_out_pair);
    tcase_add_test(truths, every_answer_follows_from_the_objects);
    tcase_add_test(truths, half_of_the_yes_no_answers_are_yes_and_the_rest_is_not_easy);
    tcase_add_test(truths, the_first_caption_is_the_full_one);
    tcase_add_test(truths, the_centre_of_an_object_has_its_colour);
    tcase_add_test(truths, no_two_pictures_are_equal);
    tcase_add_test(truths, no_arrangement_of_a_test_is_in_training);
    tcase_add_test(truths, siblings_differ_in_little);
    tcase_add_test(truths, the_number_of_shapes_keeps_its_weights_in_every_split);
    tcase_add_test(truths, documents_are_of_a_larger_world_in_the_same_words);
    tcase_add_test(folder, the_bytes_do_not_depend_on_the_threads);
    tcase_add_test(folder, another_seed_gives_another_world);
    tcase_add_test(folder, a_folder_that_exists_is_an_error_unless_forced);
    tcase_add_test(folder, a_folder_of_something_else_is_never_replaced);
    tcase_add_test(folder, what_is_stopped_leaves_nothing);
    tcase_add_test(folder, a_full_disk_is_an_error_and_leaves_nothing);
    tcase_add_test(folder, memory_that_is_out_is_an_error_and_leaves_nothing);
    tcase_add_test(folder, what_a_killed_process_left_is_removed);
    tcase_add_test(folder, all_wrong_options_are_reported_at_once);
    tcase_add_test(folder, a_world_without_a_place_for_a_split_is_an_error);
    suite_add_tcase(s, truths);
    suite_add_tcase(s, folder);
    return s;
}
