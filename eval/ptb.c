/* ptb.c - words of a caption as the field's scorers count them: the Penn Treebank conventions of Stanford's
 * PTBTokenizer 3.4.1 (options preserveLines and lowerCase), then COCO's list of punctuation dropped. The
 * rules and lists were found by feeding that program words in all contexts and looking at what came out.
 *
 * At each place every rule is tried; the longest match wins, among equals the rule that stands first. A rule
 * may write something else than what it met, and may give back characters: "cannot" gives back "not". What no
 * rule takes is passed over.                                                                               */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "eval/metrics.h"
#include <ctype.h>
#include <pcre2.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

/* ---- pieces that the rules share ------------------------------------------------------------------- */
#define L "[\\p{L}\\p{M}]"                         /* a letter with its marks */
#define A "[\\p{L}\\p{M}\\p{Nd}]"                  /* or a digit */
#define D "\\p{Nd}"
#define END "(?!" A ")"                            /* no word goes on here */
#define APOSTROPHE "['\\x{2019}\\x{92}]"  /* U+0092 is Windows-1252 read as Latin-1, here and below */
#define HYPHEN "[-_\\x{58A}\\x{2010}\\x{2011}]"
#define NUMBER "(?:" D "*(?:[.:,]" D "+)+|" D "+)"                         /* 1,000  3.14  10:30  .5 */
#define WORD L A "*(?:[.!?]" L A "*)*"                                     /* end.start */
#define INITIALS "[A-Za-z](?:\\.[A-Za-z])+\\."                             /* U.S. */
#define ELISION "(?:[dolDOL]" APOSTROPHE A ")?"                            /* o'clock, d'Artagnan */
#define THING "(?:" ELISION A "+(?:" HYPHEN "(?:" ELISION A "+|" INITIALS "))*" \
              "|(?:" WORD "|" INITIALS ")(?:-(?:" ELISION A "+|" INITIALS "))*)"   /* x-ray, non-U.S., a_b */
#define FILE_ENDING "(?:bat|bmp|c|class|cgi|cpp|dll|docx?|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp3|pdf" \
                    "|php|pl|png|ppt|ps|py|sql|tar|txt|wav|[xX]|xml|zip)"
#define PHRASE "(?: *= *(?:'[^'\\r\\n]*'|\"[^\"\\r\\n]*\"))?"              /* of a tag: ="value" */
#define TAG_NAME "[A-Za-z][A-Za-z0-9_:.-]*"
/* Their dot belongs to them wherever they stand. */
#define ABBREVIATION                                                                                         \
    "(?:(?i:adj|adm|adv|alex|al|ala|apr|ariz|assn|assoc|asst|attys?|aug|ave|bancorp|bhd|bldg"                \
    "|blvd|brig|bros|calif|capt|cf|cie|cmdr|colo?|comdr|conn|corp|cos?|cpl|ct|dak|dec|dept|det|drs?|elec|"   \
    "ens"                                                                                                    \
    "|esq|est|etc|ext|feb|fla|fri|ft|ga|gen|govs?|hon|inc|ind|insp|intl|invt|jan|jos|jr|jul|jun|kans?|ky|"   \
    "lieut"                                                                                                  \
    "|lt|ltd|maj|mar|md|messrs|mich|minn|mlle|mme|mo|mont?|mrs?|ms|msgr|mt|natl|neb|nev|nov|oct|okla|penn|"  \
    "pfc"                                                                                                    \
    "|ph|plc|pres|profs?|pvt|rd|reps?|rev|rt|sens?|sept?|seq|sfc|sgt|spc|sq|sr|ste?|supts?|sys|tel|tenn"     \
    "|thu(?:rs)?|treas|tues?|univ|va|vs|vt|wed|wisc?|wm|wyo|ph\\.d)"                                         \
    "|A[rR][kK]|A[zZ]|D[eE][lL]|I[lL][lL]|L[aA]|M[aA][sS][sS]|M[iI][sS][sS]|O[rR][eE]|P[aA]|T[eE][xX]"       \
    "|W[aA][sS][hH]|[mM]fg|[mM]tg|[pP]p?t[ey]s?|[A-Za-z](?:\\.[A-Za-z])*)"
/* What other signs there are; no rule takes the rest, emoji above all. */
#define SIGN                                                                                                 \
    "[!-~\\xA1\\xA5-\\xA9\\xAC\\xAE-\\xB4\\xB6-\\xB9\\xBF\\xD7\\xF7\\x{2016}\\x{2017}\\x{201A}"              \
    "\\x{201E}-\\x{2023}\\x{2030}-\\x{2038}\\x{203B}\\x{203E}-\\x{2042}\\x{2044}\\x{20A4}\\x{2100}-\\x{"     \
    "214F}"                                                                                                  \
    "\\x{2155}-\\x{215E}\\x{2190}-\\x{2BFF}\\x{3001}\\x{3002}\\x{3012}\\x{30FB}\\x{FF01}-\\x{FF0F}"          \
    "\\x{FF1A}-\\x{FF20}\\x{FF3B}-\\x{FF40}\\x{FF5B}-\\x{FF65}\\x{FFE0}\\x{FFE1}\\x{FFE5}\\x{FFE6}]"

/* ---- the rules ------------------------------------------------------------------------------------- */
typedef struct rule {
    const char *pattern, *as;          /* as NULL: as it stands */
    int back;                          /* so many characters are given back; KEEP_TWO: all but two */
} rule;
enum { KEEP_TWO = -1 };
static const char straight[] = "";                 /* as it stands, its apostrophes made plain */
static const rule rules[] = {
    /* tags, addresses, names of the web */
    { "</?" TAG_NAME "(?: +" TAG_NAME PHRASE ")* */? *>|<[!?][A-Za-z-][^>\\r\\n]*>", NULL, 0 },
    { "(?i:https?)://[^ \\t\"<>|()]+[^ \\t\"<>|.!?(){},-]", NULL, 0 },
    { "(?:www\\.(?:[^ \\t\"<>|.!?(){},]+\\.)+[a-zA-Z]{2,4}"
      "|(?:[^\\[ \\t\"`'<>|.!?(){},_$-]+\\.)+(?:com|net|org|edu))(?:/[^ \\t\"<>|()]+[^ \\t\"<>|.!?(){},-])?",
      NULL, 0 },
    { "<?[a-zA-Z0-9][^ \\t\"<>|(){}\\xA0]*@(?:[^ \\t\"<>|(){}.\\xA0]+\\.)*"
      "[^ \\t\"<>|(){}\\[\\].,;:?!'\\xA0]+>?",
      NULL, 0 },
    { "@[A-Za-z_][A-Za-z_0-9]*", NULL, 0 },
    { "#" L A "*", NULL, 0 },
    { "&amp;", "&", 0 },
    { "&lt;", "<", 0 },
    { "&gt;", ">", 0 },
    { "&nbsp;", ".", 0 },
    { "&#\\d+;", NULL, 0 },
    /* words in two */
    { "(?i:cannot)" END, NULL, 3 },
    { "(?i:gonna|gotta|lemme|gimme|wanna)" END, NULL, 2 },
    { "'(?i:tis)" END, NULL, 2 },
    { "'(?i:twas)" END, NULL, 3 },
    { "[A-Za-z]+[nN]" APOSTROPHE "[tT]", NULL, 3 },
    { "[nN]" APOSTROPHE L "+", straight, 0 },
    { APOSTROPHE "(?i:[msd]|re|ve|ll)" END, straight, 0 },
    { "[yY]" APOSTROPHE L "+", NULL, KEEP_TWO },
    /* words with an apostrophe of their own */
    { APOSTROPHE "[nN]" APOSTROPHE "|" APOSTROPHE "[nN]" END "|[lLdDjJyY]" APOSTROPHE
                 "|(?i:ol|somethin|dunkin)" APOSTROPHE END "|" APOSTROPHE "(?i:em|till?|cause)" END
                 "|(?i:c'mon|c'est|s'mores|cap'n|o'er|e'er)" END,
      NULL, 0 },
    { APOSTROPHE "[2-9]0s" END "|" APOSTROPHE "\\d\\d(?=\\s|$)", NULL, 0 },
    { L "+[aeiouyAEIOUY]" APOSTROPHE "[aeiou]" L "*|[A-HJ-XZ]" APOSTROPHE L "{2,}", NULL, 0 },
    /* words */
    { WORD, NULL, 0 },
    { THING, NULL, 0 },
    { A "+(?:\\." A "+)*\\." FILE_ENDING "(?=[\\s.,?!]|$)", NULL, 0 },
    { "[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+", NULL, 0 },
    { "[Cc]\\+\\+|[CcFf]#", NULL, 0 },
    { "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}", NULL, 0 },
    { ABBREVIATION "\\.", NULL, 0 },
    { THING "\\.(?=[,;:])", NULL, 0 },
    { "(?i:art|ca|figs?|nos?|op|pp|prop)\\.(?=\\s?\\d)", NULL, 0 },
    /* numbers and money */
    { D "{1,2}[-/]" D "{1,2}[-/]" D "{2,4}", NULL, 0 },
    { "[-+]?" NUMBER "|" NUMBER "(?:-" A "+)*", NULL, 0 },
    { "(?:\\d{1,4}[- \\xA0])?\\d{1,4}\\\\?[/\\x{2044}]\\d{1,4}", NULL, 0 },
    { "\\xBC", "1/4", 0 },
    { "\\xBD", "1/2", 0 },
    { "\\xBE", "3/4", 0 },
    { "\\x{2153}", "1/3", 0 },
    { "\\x{2154}", "2/3", 0 },
    { "[\\x{207A}\\x{207B}\\x{208A}\\x{208B}]?(?:[\\x{2070}\\xB9\\xB2\\xB3\\x{2074}-\\x{2079}]+"
      "|[\\x{2080}-\\x{2089}]+)",
      NULL, 0 },
    { "\\(\\d{2,3}\\)[ \\xA0]?\\d{3,4}[- \\xA0]?\\d{3,5}", NULL, 0 },
    { "[A-Z]*\\$", NULL, 0 },
    { "\\xA3", "#", 0 },
    { "[\\x80\\xA4\\x{20A0}\\x{20AC}]", "$", 0 },
    { "\\xA2", "cents", 0 },
    /* faces */
    { "[<>]?[:;=][-o*']?[()DPdpO\\\\{@|\\[\\]](?![A-Za-z0-9])", NULL, 0 },
    { "[-^x=~<>']_[-^x=~<>']|\\([-^x=~<>'][_.]?[-^x=~<>']\\)", NULL, 0 },
    /* punctuation */
    { "-{5,}", NULL, 0 },
    { "-{2,4}|[\\x96\\x97\\x{2013}-\\x{2015}]|&[mn]dash;", "--", 0 },
    { "\\.{3,}|\\x85|\\x{2026}|\\. \\. \\.", "...", 0 },
    { "[?!]+|_+|#+|<<|>>|\\*{2,3}|\\\\?\\*", NULL, 0 },
    { "\"|''|``|[`'\\x91-\\x94\\x{2018}\\x{2019}\\x{201B}-\\x{201D}\\xAB\\xBB\\x{2039}\\x{203A}]"
      "|&(?:quot|apos);",
      "'", 0 },
    { SIGN, NULL, 0 },
};
enum { RULES = sizeof rules / sizeof *rules, WORK = 2000 };
static const char *const dropped[] = { "''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";" };

struct ptb { pcre2_code *code[RULES]; pcre2_match_data *found; int *work; };

void ptb_free(ptb *p)
{
    if (!p)
        return;
    for (int i = 0; i < RULES; i++)
        pcre2_code_free(p->code[i]);
    pcre2_match_data_free(p->found);
    mem_free(p->work);
    mem_free(p);
}

ptb *ptb_new(error *e)
{
    int why;
    PCRE2_SIZE at;
    ptb *p = mem_new(sizeof *p);
    bool ok = p && (p->work = mem_new(WORK * sizeof *p->work))
              && (p->found = pcre2_match_data_create(1, NULL));
    for (int i = 0; ok && i < RULES; i++)
        ok = (p->code[i] = pcre2_compile((PCRE2_SPTR)rules[i].pattern, PCRE2_ZERO_TERMINATED,
                                         PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &why, &at, NULL)) != NULL;
    if (ok)
        return p;
    ptb_free(p);
    error_set(e, "Penn Treebank tokens: out of memory");
    return NULL;
}

/* ---- one token ------------------------------------------------------------------------------------- */
/* Where a plain word ends that has a space or nothing behind it; 0: the rules must look. */
static size_t plain_word(const char *text, size_t n, size_t at)
{
    static const char *const split[] = { "cannot", "gonna", "gotta", "lemme", "gimme", "wanna" };
    size_t end = at;
    while (end < n && isalpha((unsigned char)text[end]) && !(text[end] & 0x80))
        end++;
    if (end == at || (end < n && text[end] != ' '))
        return 0;
    for (size_t i = 0; i < sizeof split / sizeof *split; i++)
        if (strlen(split[i]) == end - at && !strncasecmp(split[i], text + at, end - at))
            return 0;
    return end;
}

/* The end of the longest match and its rule; `at` itself: none. A rule sees WINDOW bytes, more than an
 * address of the web has: those for addresses look as far as no space stands, from each place anew. */
static size_t longest(const ptb *p, const char *text, size_t n, size_t at, const rule **which)
{
    enum { WINDOW = 2048 };
    size_t end = plain_word(text, n, at);
    *which = NULL;
    if (end)
        return end;
    if (n - at > WINDOW)
        for (n = at + WINDOW; ((unsigned char)text[n] & 0xC0) == 0x80; )
            n--;
    end = at;
    for (int i = 0; i < RULES; i++) {
        int status = pcre2_dfa_match(p->code[i], (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK, p->found, NULL,
                                     p->work, WORK);
        size_t here = status >= 0 ? pcre2_get_ovector_pointer(p->found)[1] : at;
        if (here > end) {
            end = here;
            *which = &rules[i];
        }
    }
    return end;
}

static size_t next_character(const char *text, size_t at)
{
    do
        at++;
    while (((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

static size_t keep(const rule *r, const char *text, size_t at, size_t end)
{
    if (r && r->back == KEEP_TWO)
        return next_character(text, next_character(text, at));
    for (int i = r ? r->back : 0; i > 0; i--)
        do
            end--;
        while (((unsigned char)text[end] & 0xC0) == 0x80);
    return end;
}

static bool is_dropped(const char *token, size_t n)
{
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
        if (strlen(dropped[i]) == n && !memcmp(token, dropped[i], n))
            return true;
    return false;
}

/* ---- writing: lower case, brackets by name, spaces inside tokens that do not break ----------------- */
static const char *bracket(utf8proc_int32_t c)
{
    switch (c) {
    case '(': return "-lrb-";
    case ')': return "-rrb-";
    case '[': return "-lsb-";
    case ']': return "-rsb-";
    case '{': return "-lcb-";
    case '}': return "-rcb-";
    default: return NULL;
    }
}

static char *put(char *to, const rule *r, const char *token, size_t n)
{
    for (size_t i = 0; i < n;) {
        utf8proc_int32_t c;
        i += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)token + i, (utf8proc_ssize_t)(n - i), &c);
        const char *name = bracket(c);
        if (name) {
            to = stpcpy(to, name);
            continue;
        }
        if (r && r->as == straight && (c == 0x2019 || c == 0x92))
            c = '\'';
        c = c == ' ' ? 0xA0 : c == 0x2044 ? '/' : c == 0x130 ? 'i' : utf8proc_tolower(c);
        to += utf8proc_encode_char(c, (utf8proc_uint8_t *)to);
    }
    return to;
}

/* The text without soft hyphens and with what is no UTF-8 left out; *n its length. mem_free it. */
static char *clean(const char *text, size_t *n)
{
    size_t size = strlen(text);
    char *to = mem_new(size + 1);
    *n = 0;
    for (size_t i = 0; to && i < size;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text + i,
                                                 (utf8proc_ssize_t)(size - i), &c);
        if (used > 0 && c != 0xAD)
            *n += (size_t)utf8proc_encode_char(c == '\n' ? ' ' : c, (utf8proc_uint8_t *)to + *n);
        i += used > 0 ? (size_t)used : 1;
    }
    return to;
}

char *ptb_tokens(const ptb *p, const char *text)
{
    size_t n;
    char *s = clean(text, &n), *all = s ? mem_new(6 * n + 16) : NULL, *to = all;
    for (size_t at = 0; all && at < n;) {
        const rule *r;
        size_t end = longest(p, s, n, at, &r);
        if (end == at) {
            at = next_character(s, at);
            continue;
        }
        size_t stop = keep(r, s, at, end);
        const char *token = r && r->as && r->as != straight ? r->as : s + at;
        size_t size = token == s + at ? stop - at : strlen(token);
        if (!is_dropped(token, size)) {
            if (to != all)
                *to++ = ' ';
            to = put(to, r, token, size);
        }
        at = stop;
    }
    mem_free(s);
    return all;
}

char *whitespace_tokens(const char *text)
{
    size_t n, used = 0;
    char *s = clean(text, &n), *all = s ? mem_new(2 * n + 16) : NULL;
    for (size_t i = 0; all && i < n;) {
        utf8proc_int32_t c;
        i += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &c);
        utf8proc_category_t kind = utf8proc_category(c);
        bool space = (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F) || c == 0x85
                     || kind == UTF8PROC_CATEGORY_ZS || kind == UTF8PROC_CATEGORY_ZL
                     || kind == UTF8PROC_CATEGORY_ZP;
        if (!space)
            used += (size_t)utf8proc_encode_char(utf8proc_tolower(c), (utf8proc_uint8_t *)all + used);
        else if (used && all[used - 1] != ' ')
            all[used++] = ' ';
    }
    if (all && used && all[used - 1] == ' ')
        all[used - 1] = 0;
    mem_free(s);
    return all;
}

char *score_tokens(const ptb *p, const char *text)
{
    return p ? ptb_tokens(p, text) : whitespace_tokens(text);
}
