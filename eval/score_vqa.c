/* score_vqa.c - VQA accuracy (Antol et al. 2015) as the challenge's script counts it, with its quirks, and as
 * LAVIS's copy of it does. An answer is right to the share
 *     mean over annotators a of  min(1, (others that say the same) / 3).
 * Normal form: punctuation out, lower case, number words as digits, articles out, apostrophes in
 * contractions. Both rules normalise only where the annotators differ, LAVIS the prediction always; LAVIS
 * takes nothing but the punctuation out of the annotators' answers, so that an annotator's "two" never
 * matches. */
#include "eval/metrics.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

/* Words with an apostrophe; with exactly one left out ("dont", "couldn'tve") they are put right. */
static const char contractions[] =
    " 'ow's'at 'twas ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've"
    " hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't"
    " mightn't've must've mustn't needn't not've o'clock oughtn't shan't she'd've should've shouldn't"
    " shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's"
    " something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've"
    " they'll they're they've wasn't we'd've we've weren't what'll what're what's what've when's where'd"
    " where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't"
    " wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've ";
static const char *const numbers[][2] = { { "none", "0" }, { "zero", "0" }, { "one", "1" }, { "two", "2" },
    { "three", "3" }, { "four", "4" }, { "five", "5" }, { "six", "6" }, { "seven", "7" }, { "eight", "8" },
    { "nine", "9" }, { "ten", "10" } };
static const char signs[] = ";/[]\"{}()=+\\_-><@`,?!";

/* ---- the normal form ------------------------------------------------------------------------------- */
static bool has_number_with_comma(const char *s)
{
    for (size_t i = 1; i + 1 < strlen(s); i++)
        if (s[i] == ',' && isdigit((unsigned char)s[i - 1]) && isdigit((unsigned char)s[i + 1]))
            return true;
    return false;
}

/* A sign goes if it stands next to a space anywhere, or if there is a 1,000; else a space takes its place.
 * Then the first 32 periods go that no digit follows (the script's flag in the place of a count). */
static char *without_punctuation(const char *text)
{
    char *to = mem_text("%s", text);
    bool thousands = has_number_with_comma(text);
    for (const char *sign = signs; to && *sign; sign++) {
        bool gone = thousands || strstr(text, (char[]){ *sign, ' ', 0 })
                    || strstr(text, (char[]){ ' ', *sign, 0 });
        size_t n = 0;
        for (const char *s = to; *s; s++)
            if (*s != *sign)
                to[n++] = *s;
            else if (!gone)
                to[n++] = ' ';
        to[n] = 0;
    }
    size_t n = 0;
    int left = 32;
    for (const char *s = to; to && *s; s++)
        if (*s == '.' && !isdigit((unsigned char)s[1]) && left)
            left--;
        else
            to[n++] = *s;
    if (to)
        to[n] = 0;
    return to;
}

static const char *with_apostrophes(const char *word, size_t size, size_t *found)
{
    for (const char *form = contractions + 1; *form; form += *found + 1) {
        *found = strcspn(form, " ");
        if (*found != size + 1)
            continue;
        size_t same = 0;
        while (same < size && form[same] == word[same])
            same++;
        if (form[same] == '\'' && !memcmp(form + same + 1, word + same, size - same))
            return form;
    }
    if (size == 10 && !memcmp(word, "somebody'd", 10)) {       /* the script's table has it so */
        *found = 9;
        return "somebodyd";
    }
    *found = size;
    return word;
}

/* One lower-case word: what stands for it; *size 0: nothing does. */
static const char *normal_word(const char *word, size_t *size)
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strlen(numbers[i][0]) == *size && !memcmp(word, numbers[i][0], *size)) {
            *size = strlen(numbers[i][1]);
            return numbers[i][1];
        }
    if ((*size == 1 && *word == 'a') || (*size == 2 && !memcmp(word, "an", 2))
        || (*size == 3 && !memcmp(word, "the", 3)))
        *size = 0;
    size_t found;
    const char *is = with_apostrophes(word, *size, &found);
    *size = found;
    return is;
}

static char *normal_words(const char *text)
{
    char *lower = whitespace_tokens(text), *to = lower ? mem_new(2 * strlen(lower) + 2) : NULL;
    size_t n = 0;
    for (const char *s = lower; to && *s;) {
        size_t size = strcspn(s, " "), step = size;
        const char *word = normal_word(s, &size);
        if (size) {
            if (n)
                to[n++] = ' ';
            memcpy(to + n, word, size);
            n += size;
        }
        s += step + (s[step] == ' ');
    }
    mem_free(lower);
    return to;
}

char *score_vqa_normalise(const char *answer)
{
    char *plain = without_punctuation(answer), *to = plain ? normal_words(plain) : NULL;
    mem_free(plain);
    return to;
}

/* ---- accuracy -------------------------------------------------------------------------------------- */
/* Line breaks and tabs are spaces, ends are cut. */
static char *trimmed(const char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    char *to = mem_text("%s", text);
    size_t n = to ? strlen(to) : 0;
    for (size_t i = 0; i < n; i++)
        if (to[i] == '\n' || to[i] == '\t')
            to[i] = ' ';
    while (n && isspace((unsigned char)to[n - 1]))
        to[--n] = 0;
    return to;
}

static double agreement(const char *answer, int n, char *const *given, const int *record)
{
    double sum = 0;
    for (int a = 0; a < n; a++) {
        int same = 0;
        for (int b = 0; b < n; b++) {
            bool equal = record ? record[a] == record[b] && !strcmp(given[a], given[b]) : a == b;
            same += !equal && !strcmp(given[b], answer);
        }
        sum += same < 3 ? same / 3.0 : 1;
    }
    return n ? sum / n : 0;
}

const char *const score_vqa_rules[] = { "official", "lavis", "exact", NULL };

double score_vqa(score_vqa_rule rule, const char *answer, int n, const char *const *answers,
                 const int *record)
{
    bool differ = false, official = rule == SCORE_VQA_OFFICIAL;
    if (rule == SCORE_VQA_EXACT) {
        for (int i = 0; i < n; i++)
            if (!strcmp(answer, answers[i]))
                return 1;
        return 0;
    }
    for (int i = 1; i < n; i++)
        differ |= strcmp(answers[0], answers[i]) != 0;
    char **given = mem_new((size_t)(n + 1) * sizeof *given), *mine = trimmed(answer);
    char *normal = mine ? score_vqa_normalise(mine) : NULL;
    bool ok = given && normal;
    for (int i = 0; ok && i < n; i++) {
        given[i] = !differ ? mem_text("%s", answers[i])
                   : official ? score_vqa_normalise(answers[i]) : without_punctuation(answers[i]);
        ok = given[i] != NULL;
    }
    double share = ok ? agreement(differ || !official ? normal : mine, n, given, record) : -1;
    for (int i = 0; given && i < n; i++)
        mem_free(given[i]);
    mem_free(given);
    mem_free(mine);
    mem_free(normal);
    return share;
}
