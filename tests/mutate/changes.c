/* changes.c - everything that can be broken in the text of one function (mutate.h), one replacement each:
 *
 *   x += e      x = e, x -= e, x += 2 * (e)          a < b, a == b     a <= b, a != b, and the like
 *   x = e       x += e, x = -(e), x = 2 * (e)        if (c), c ? a : b     the condition negated
 *   return e    return -(e), return 2 * (e)          a && b, !a        a || b, a
 *   a + b       a - b, a, b                          f(a, b)           f(b, a)
 *   a * b       a / b, a, b                          f(x);             nothing
 *   -a          a                                    true, false       the other
 *   0, 1, n     1; 0 and 2; n + 1                    0.5               2 * 0.5
 *
 * Little is known of types here: what the compiler refuses does not count. */
#include "tests/mutate/mutate.h"
#include <stdlib.h>
#include <string.h>

typedef struct finder {
    const program *p;
    const source *s;
    int function, start;               /* start: the token that the statement begins with */
    bool declares;                     /* the statement declares something */
    mutants *to;
} finder;

static bool any(const source *s, int i, const char *const *words)
{
    for (; *words; words++)
        if (is(s, i, *words))
            return true;
    return false;
}

static bool keyword(const source *s, int i)
{
    static const char *const words[] = { "return", "if", "for", "while", "else", "case", "sizeof", "do",
                                         "switch", "break", "continue", "const", "static", "enum", "struct",
                                         NULL };
    return any(s, i, words);
}

/* ( at i opens a cast */
static bool cast(const source *s, int i)
{
    static const char *const types[] = { "real", "double", "float", "int", "long", "size_t", "void",
                                         "unsigned", "bool", "const", "struct", "uint16_t", "uint32_t",
                                         "uint64_t", NULL };
    return is(s, i, "(") && any(s, i + 1, types) && !is(s, i - 1, "sizeof");
}

/* Does an operand end with token i, so that + - * behind it stand between two? */
static bool operand(const source *s, int i)
{
    if (is(s, i, ")"))
        return !cast(s, opening(s, i));
    return (s->tokens[i].kind != MARK && !keyword(s, i)) || is(s, i, "]");
}

/* The last token of the operand that begins at i, its signs and casts included. */
static int operand_end(const source *s, int i)
{
    static const char *const signs[] = { "-", "+", "!", "*", "&", "++", "--", "~", "sizeof", NULL };
    while (any(s, i, signs) || cast(s, i))
        i = closing(s, i) + 1;
    i = closing(s, i);
    for (;;) {
        if (is(s, i + 1, "(") || is(s, i + 1, "["))
            i = closing(s, i + 1);
        else if (is(s, i + 1, ".") || is(s, i + 1, "->"))
            i += 2;
        else if (is(s, i + 1, "++") || is(s, i + 1, "--"))
            i++;
        else
            return i;
    }
}

/* The first token of the operand that ends with i. */
static int operand_begin(const source *s, int i)
{
    static const char *const signs[] = { "-", "!", "*", "&", "++", "--", NULL };
    for (;;) {
        while (is(s, i, "++") || is(s, i, "--"))
            i--;
        i = opening(s, i);
        bool group = is(s, i, "(") || is(s, i, "[");
        if (group && operand(s, i - 1))
            i--;
        else if (is(s, i - 1, ".") || is(s, i - 1, "->"))
            i -= 2;
        else
            break;
    }
    while ((any(s, i - 1, signs) && !operand(s, i - 2)) || (is(s, i - 1, ")") && cast(s, opening(s, i - 1))))
        i = opening(s, i - 1);
    return i;
}

static bool product(const source *s, int i) { return is(s, i, "*") || is(s, i, "/") || is(s, i, "%"); }

/* The same for what + and - stand between. */
static int term_end(const source *s, int i)
{
    i = operand_end(s, i);
    while (product(s, i + 1))
        i = operand_end(s, i + 2);
    return i;
}

static int term_begin(const source *s, int i)
{
    i = operand_begin(s, i);
    while (product(s, i - 1) && operand(s, i - 2))
        i = operand_begin(s, i - 2);
    return i;
}

/* The last token of the expression that begins at i: up to a comma, a semicolon or an unopened bracket. */
static int expression_end(const source *s, int i)
{
    for (; i < s->count; i = closing(s, i) + 1)
        if (is(s, i, ",") || is(s, i, ";") || is(s, i, ")") || is(s, i, "}") || is(s, i, "]"))
            break;
    return i - 1;
}

/* The first token of the condition in front of ? at i. */
static int condition_begin(const source *s, int i)
{
    static const char *const before[] = { ",", ";", "(", "[", "{", "=", "+=", "-=", "*=", "return",
                                          "?", ":", NULL };
    while (i > 0 && !any(s, i - 1, before))
        i = opening(s, i - 1);
    return i;
}

/* ---- one change ---------------------------------------------------------------------------------------- */
/* Tokens from .. to become before, themselves, behind; whole NULL: the text itself is kept. */
static void change(const finder *f, int from, int to, const char *before, const char *whole,
                   const char *behind)
{
    const source *s = f->s;
    const token *a = &s->tokens[from], *b = &s->tokens[to];
    long length = b->at + b->length - a->at;
    if (from > to)
        return;
    char *with = whole ? mem_text("%s%s%s", before, whole, behind)
                       : mem_text("%s%.*s%s", before, (int)length, s->text + a->at, behind);
    f->to->of = room(f->to->of, f->to->count, &f->to->room, sizeof *f->to->of);
    mutant *m = &f->to->of[f->to->count++];
    *m = (mutant){ f->function, a->line, 1, a->at, length, with };
    for (const mutant *other = f->to->of; with && other < m; other++)
        m->nth += other->function == m->function && other->line == m->line && other->length == length
               && !strcmp(other->with, with) && !memcmp(s->text + other->at, s->text + m->at, (size_t)length);
}

static void become(const finder *f, int i, const char *with) { change(f, i, i, "", with, ""); }

static void swapped(const finder *f, int a, int a_end, int b, int b_end)
{
    const token *t = f->s->tokens;
    const char *text = f->s->text;
    long na = t[a_end].at + t[a_end].length - t[a].at, nb = t[b_end].at + t[b_end].length - t[b].at;
    if (na == nb && !memcmp(text + t[a].at, text + t[b].at, (size_t)na))
        return;
    char *both = mem_text("%.*s, %.*s", (int)nb, text + t[b].at, (int)na, text + t[a].at);
    change(f, a, b_end, "", both, "");
    mem_free(both);
}

/* ---- by kind of token ---------------------------------------------------------------------------------- */
static void number(const finder *f, int i)
{
    char text[64], next[64];
    const token *t = &f->s->tokens[i];
    snprintf(text, sizeof text, "%.*s", (int)t->length, f->s->text + t->at);
    char *end;
    long n = strtol(text, &end, 0);
    if (*end) {
        change(f, i, i, "(2 * ", NULL, ")");
        return;
    }
    if (n == 1)
        become(f, i, "0");
    snprintf(next, sizeof next, "%ld", n + 1);
    become(f, i, next);
}

/* = and the like, and return: what follows them, negated and doubled. */
static void assigned(const finder *f, int i, bool negated)
{
    static const char *const plain[] = { "{", "0", "true", "false", "NULL", NULL };
    int end = expression_end(f->s, i + 1);
    if (any(f->s, i + 1, plain) || end <= i)
        return;
    if (negated)
        change(f, i + 1, end, "-(", NULL, ")");
    change(f, i + 1, end, "2 * (", NULL, ")");
}

/* Is the star at i that of a declared pointer: do only words of its type stand before it? */
static bool pointer(const finder *f, int i)
{
    int k = f->start;
    while (k < i && f->s->tokens[k].kind == WORD)
        k++;
    return f->declares && is(f->s, i, "*") && (k == i || !operand(f->s, i - 1));
}

static void between(const finder *f, int i)
{
    const source *s = f->s;
    bool sum = is(s, i, "+") || is(s, i, "-");
    become(f, i, is(s, i, "+") ? "-" : is(s, i, "-") ? "+" : is(s, i, "*") ? "/" : "*");
    int end = sum ? term_end(s, i + 1) : operand_end(s, i + 1);
    int begin = sum ? term_begin(s, i - 1) : operand_begin(s, i - 1);
    change(f, i, end, "", "", "");
    change(f, begin, i, "", is(s, i, "-") ? "-" : is(s, i, "/") ? "1 /" : "", "");
}

static void mark(const finder *f, int i)
{
    static const struct { const char *was, *becomes[2]; } swaps[] = {
        { "+=", { "=", "-=" } }, { "-=", { "=", "+=" } }, { "*=", { "=", "/=" } }, { "/=", { "=", "*=" } },
        { "|=", { "=", "&=" } }, { "=", { "+=", NULL } }, { "<", { "<=", ">=" } }, { "<=", { "<", ">" } },
        { ">", { ">=", "<=" } }, { ">=", { ">", "<" } },  { "==", { "!=", NULL } }, { "!=", { "==", NULL } },
        { "&&", { "||", NULL } }, { "||", { "&&", NULL } }, { ">>", { "<<", NULL } },
    };
    const source *s = f->s;
    bool two = operand(s, i - 1);
    for (size_t k = 0; k < sizeof swaps / sizeof *swaps; k++)
        for (int n = 0; is(s, i, swaps[k].was) && n < 2 && swaps[k].becomes[n]; n++)
            if (!f->declares || !is(s, i, "="))
                become(f, i, swaps[k].becomes[n]);
    if (pointer(f, i) || (is(s, i, "=") && pointer(f, i - 2)))
        return;
    if (is(s, i, "=") || is(s, i, "+=") || is(s, i, "-=") || is(s, i, "*="))
        assigned(f, i, is(s, i, "="));
    else if (two && (product(s, i) || is(s, i, "+") || is(s, i, "-")))
        between(f, i);
    else if (!two && (is(s, i, "-") || is(s, i, "!")))
        become(f, i, "");
    else if (is(s, i, "?"))
        change(f, condition_begin(s, i), i - 1, "!(", NULL, ")");
}

/* The arguments between ( at `open` and its end: neighbours change places. */
static void call(const finder *f, int open)
{
    const source *s = f->s;
    int end = closing(s, open);
    for (int a = open + 1; a < end;) {
        int a_end = expression_end(s, a), b = a_end + 2;
        if (b < end)
            swapped(f, a, a_end, b, expression_end(s, b));
        a = b;
    }
}

static void word(const finder *f, int i)
{
    const source *s = f->s;
    if (is(s, i, "true") || is(s, i, "false"))
        become(f, i, is(s, i, "true") ? "false" : "true");
    else if (is(s, i, "if"))
        change(f, i + 2, closing(s, i + 1) - 1, "!(", NULL, ")");
    else if (is(s, i, "return") && !is(s, i + 1, ";"))
        assigned(f, i, true);
    else if (is(s, i + 1, "(") && !keyword(s, i)) {
        bool kernel = is(s, i, "AG_CALL");                 /* AG_CALL(tape, kernel)(...) */
        call(f, kernel ? closing(s, i + 1) + 1 : i + 1);
    }
}

static bool declares(const source *s, int i)
{
    return s->tokens[i].kind == WORD && (s->tokens[i + 1].kind == WORD || is(s, i + 1, "*"))
        && !is(s, i, "return") && !is(s, i, "else");
}

/* An expression or a jump that begins at i and is a statement: without it. */
static void statement(const finder *f, int i)
{
    const source *s = f->s;
    bool jump = is(s, i, "continue") || is(s, i, "break") || (is(s, i, "return") && is(s, i + 1, ";"));
    int end = i;
    while (end < s->count && !is(s, end, ";") && !is(s, end, "}"))
        end = closing(s, end) + 1;
    if (jump || (!keyword(s, i) && !declares(s, i) && !is(s, i, "{") && !is(s, i, ";") && !is(s, i, "}")))
        change(f, i, end - 1, "", "", "");
}

void find_changes(const program *p, int function_, mutants *to)
{
    const function *of = &p->functions[function_];
    const source *s = &p->sources[of->source];
    finder f = { .p = p, .s = s, .function = function_, .to = to };
    int header = -1;                                       /* the ) behind if ( ... and the like */
    for (int i = of->first + 1; i < of->last; i++) {
        if (any(s, i, (const char *const[]){ "if", "for", "while", "switch", NULL }) && is(s, i + 1, "("))
            header = closing(s, i + 1);
        bool begins = is(s, i - 1, "{") || is(s, i - 1, "}") || is(s, i - 1, ";") || is(s, i - 1, "else")
                   || i - 1 == header || (i < header && is(s, i - 1, "(") && is(s, i - 2, "for"));
        if (begins) {
            f.start = i;
            f.declares = declares(s, i);
        }
        if (begins && i >= header)
            statement(&f, i);
        if (s->tokens[i].kind == NUMBER)
            number(&f, i);
        else if (s->tokens[i].kind == MARK)
            mark(&f, i);
        else if (s->tokens[i].kind == WORD)
            word(&f, i);
    }
}

/* Without blanks at the ends, runs of them as one. */
static void squeeze(const char *from, long n, char *to, size_t size)
{
    size_t k = 0;
    for (long i = 0; i < n && k + 1 < size; i++) {
        bool blank = from[i] == ' ' || from[i] == '\n' || from[i] == '\t';
        if (!blank)
            to[k++] = from[i];
        else if (k && to[k - 1] != ' ')
            to[k++] = ' ';
    }
    to[k - (k && to[k - 1] == ' ')] = 0;
}

void describe(const program *p, const mutant *m, char line[160], char change_[160])
{
    const source *s = &p->sources[p->functions[m->function].source];
    const char *begin = s->text + m->at, *end = begin;
    while (begin > s->text && begin[-1] != '\n')
        begin--;
    end += strcspn(end, "\n");
    squeeze(begin, end - begin, line, 160);
    char was[64], with[64], count[16] = "";
    squeeze(s->text + m->at, m->length, was, sizeof was);
    squeeze(m->with, (long)strlen(m->with), with, sizeof with);
    if (m->nth > 1)
        snprintf(count, sizeof count, " (%d)", m->nth);
    snprintf(change_, 160, "%s -> %s%s", was, *with ? with : "nothing", count);
}
