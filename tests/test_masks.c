/* test_masks.c - `blip2 explain masks`: what is drawn is what the masks say. */
#include "tests/shell.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static int count(const char *text, const char *what)
{
    int n = 0;
    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

/* Two queries, then [CLS], a word and [SEP], then a token of padding. */
START_TEST(the_three_masks_are_those_of_the_papers_figure)
{
    static const char *const rows[3][6] = {
        { "111110", "111110", "111110", "111110", "111110", "111110" },
        { "110000", "110000", "111000", "111100", "111110", "111110" },
        { "110000", "110000", "001110", "001110", "001110", "001110" } };
    static const char *const objectives[] = { "ITM", "ITG", "ITC" };
    said s = BLIP2("explain", "masks", "--json", "--queries", "2", "--text", "3", "--pad", "1");
    ck_assert_msg(s.code == 0, "%s", s.err);
    const char *line = s.out;
    for (int k = 0; k < 3; k++, line = strchr(line, '\n') + 1) {
        json_t *o = json_loadb(line, strcspn(line, "\n"), JSON_REJECT_DUPLICATES, NULL);
        json_t *all = json_object_get(o, "rows");
        ck_assert_str_eq(json_string_value(json_object_get(o, "objective")), objectives[k]);
        ck_assert_uint_eq(json_array_size(all), 6);
        for (size_t i = 0; i < 6; i++)
            ck_assert_str_eq(json_string_value(json_array_get(all, i)), rows[k][i]);
        json_decref(o);
    }
    ck_assert_str_eq(line, "");
    shell_free(s);
}
END_TEST

START_TEST(as_text_a_letter_says_who_is_looked_at)
{
    said s = BLIP2("explain", "masks", "--queries", "2", "--text", "3", "--pad", "1");
    ck_assert_msg(s.code == 0 && !*s.err, "%s", s.err);
    ck_assert_ptr_nonnull(strstr(s.out, "     q2 Q Q | T T T x "));
    ck_assert_ptr_nonnull(strstr(s.out, "  [DEC] Q Q | T . . x "));
    ck_assert_ptr_nonnull(strstr(s.out, "  [SEP] . . | T T T x "));
    shell_free(s);
    s = BLIP2("explain", "masks", "--queries", "128", "--text", "128", "--pad", "128");
    ck_assert_int_eq(count(s.out, "\n"), 3 * (2 + 384 + 1 + 1) + 6);       /* one below another */
    shell_free(s);
}
END_TEST

static char *drawn(const char *queries, const char *text, const char *pad)
{
    long bytes;
    WORKS("explain", "masks", "--queries", queries, "--text", text, "--pad", pad, "-o", IN_FOLDER("m.svg"));
    char *svg = folder_load("m.svg", &bytes);
    ck_assert(!strncmp(svg, "<svg ", 5) && !strcmp(svg + bytes - 7, "</svg>\n"));
    ck_assert_int_eq(count(svg, "<text"), count(svg, "</text>"));
    return svg;
}

START_TEST(drawn_every_pair_has_its_square)
{
    char *svg = drawn("2", "3", "1");
    ck_assert_int_eq(count(svg, "fill=\"#2f6db5\"/>"), 3 * 2 * 2 + 1);     /* and one in the legend */
    ck_assert_int_eq(count(svg, "fill=\"#7fb2e5\"/>"), 2 * 3 + 1);
    ck_assert_int_eq(count(svg, "fill=\"#f0a35b\""), 2 * 4 * 2 + 1);
    ck_assert_int_eq(count(svg, "fill=\"#d9622b\""), 4 * 3 + (1 + 2 + 3 + 3) + 4 * 3 + 1);
    ck_assert_int_eq(count(svg, "fill=\"url(#hatch)\""), 3 * 6 + 1);
    ck_assert_int_eq(count(svg, "fill=\"#e9ecf0\""), (2 * 3 + 3) + 2 * (3 + 4) + 1);
    mem_free(svg);
    svg = drawn("100", "100", "0");                        /* too many for squares: bars */
    ck_assert_int_eq(count(svg, "fill=\"#2f6db5\"/>"), 3 * 100 + 1);
    ck_assert_ptr_nonnull(strstr(svg, ">100 queries<"));
    mem_free(svg);
}
END_TEST

START_TEST(what_cannot_be_drawn_is_refused_in_one_line)
{
    FAILS(2, "--queries: expected a whole number from 1 to 128, found \"0\"", "explain", "masks",
          "--queries", "0");
    FAILS(2, "explain masks: takes no words, found \"x\"", "explain", "masks", "x");
    FAILS(1, "none/m.svg", "explain", "masks", "-o", IN_FOLDER("none/m.svg"));
    shell_next.file_bytes = 1000;
    FAILS(1, "m.svg: ", "explain", "masks", "-o", IN_FOLDER("m.svg"));
    ck_assert_int_eq(folder_count(), 0);                   /* and nothing half drawn is left */
}
END_TEST

Suite *suite_masks(void)
{
    Suite *s = suite_create("masks");
    TCase *c = tcase_create("masks");
    tcase_set_timeout(c, TEST_SECONDS);
    tcase_add_checked_fixture(c, folder_begin, folder_end);
    tcase_add_test(c, the_three_masks_are_those_of_the_papers_figure);
    tcase_add_test(c, as_text_a_letter_says_who_is_looked_at);
    tcase_add_test(c, drawn_every_pair_has_its_square);
    tcase_add_test(c, what_cannot_be_drawn_is_refused_in_one_line);
    suite_add_tcase(s, c);
    return s;
}
