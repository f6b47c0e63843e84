/* test_scenes.c - the synthetic world is what it says: right answers, visible objects, and nothing held
 * out in training. */
#include "tests/scenes_case.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const splits[] = { "train", "val", "test", "test_unseen" };
static const char *const held[][2] = { { "red", "cross" }, { "green", "circle" }, { "blue", "triangle" } };
enum { HELD = 3 };

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
    make_world(&o, "w");
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
    make_world(&o, "w");
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
    make_world(&o, "w");
    check_answers("w", types, 5);
    o.cells = 3;
    o.size = 48;
    strcpy(o.counts, "1,2,2,1");
    strcpy(o.sizes, "small,large");
    strcpy(o.questions, "yes/no,colour,shape,count,position,size,ground");
    make_world(&o, "large");
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
    make_world(&o, "w");
    check_balance("w");
    o.questions_per_type = 4;
    make_world(&o, "many");
    check_balance("many");
}
END_TEST

START_TEST(the_first_caption_is_the_full_one)
{
    scenes_options o = small_world();
    make_world(&o, "w");
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
    make_world(&o, "w");
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
    make_world(&o, "w");
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
    make_world(&o, "w");
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
    make_world(&o, "w");
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
    make_world(&o, "w");
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
    make_world(&o, "w");
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

Suite *suite_scenes(void)
{
    Suite *s = suite_create("scenes");
    TCase *truths = tcase_create("truths");
    tcase_set_timeout(truths, TEST_SECONDS);
    tcase_add_checked_fixture(truths, folder_begin, forget);
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
    suite_add_tcase(s, truths);
    return s;
}
