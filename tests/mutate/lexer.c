/* lexer.c - C as a list of tokens, as much of it as the search for changes needs (mutate.h). */
#include "tests/mutate/mutate.h"
#include <ctype.h>
#include <string.h>

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* The bytes of the punctuation mark at c. */
static long mark_length(const char *c)
{
    static const char *const marks[] = { "<<=", ">>=", "...", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
                                         "==", "!=", "<=", ">=", "&&", "||", "++", "--", "->", "<<", ">>" };
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (!strncmp(c, marks[i], strlen(marks[i])))
            return (long)strlen(marks[i]);
    return 1;
}

/* The end of what begins at c and is no token: blanks, a comment, a preprocessor line. c itself: a token. */
static const char *skip(const char *c, const char *start)
{
    const char *line = c;
    while (line > start && (line[-1] == ' ' || line[-1] == '\t'))
        line--;
    if (isspace((unsigned char)*c))
        return c + 1;
    if (c[0] == '/' && c[1] == '*') {
        const char *end = strstr(c + 2, "*/");
        return end ? end + 2 : c + strlen(c);
    }
    if (c[0] == '/' && c[1] == '/')
        return c + strcspn(c, "\n");
    if (c[0] != '#' || (line > start && line[-1] != '\n'))
        return c;
    while (*c && *c != '\n')
        c += c[0] == '\\' && c[1] ? 2 : 1;
    return c;
}

static token read_token(const char *c)
{
    token t = { .kind = MARK };
    const char *end = c;
    if (*c == '"' || *c == '\'') {
        t.kind = TEXT;
        for (end++; *end && *end != *c; end++)
            end += *end == '\\' && end[1];
        end += *end != 0;
    } else if (isdigit((unsigned char)*c) || (*c == '.' && isdigit((unsigned char)c[1]))) {
        t.kind = NUMBER;
        while (in_word(*end) || *end == '.' || (strchr("+-", *end) && strchr("eEpP", end[-1])))
            end++;
    } else if (in_word(*c)) {
        t.kind = WORD;
        while (in_word(*end))
            end++;
    } else {
        end += mark_length(c);
    }
    t.length = end - c;
    return t;
}

void lex(source *s)
{
    long space = 0;
    int line = 1;
    const char *c = s->text;
    do {
        const char *next = skip(c, s->text);
        token t = { .line = line, .at = c - s->text };
        if (next == c && *c) {
            t = read_token(c);
            t.line = line;
            t.at = c - s->text;
            next = c + t.length;
        }
        if (t.length || !*c) {
            s->tokens = room(s->tokens, s->count, &space, sizeof *s->tokens);
            s->tokens[s->count++] = t;
        }
        for (; c < next; c++)
            line += *c == '\n';
    } while (s->tokens == NULL || s->tokens[s->count - 1].length);
    s->count--;
}

bool is(const source *s, int i, const char *text)
{
    return i >= 0 && i < s->count && s->tokens[i].length == (long)strlen(text)
        && !memcmp(s->text + s->tokens[i].at, text, strlen(text));
}

static bool one_of(const source *s, int i, const char *marks)
{
    const token *t = &s->tokens[i];
    return t->kind == MARK && t->length == 1 && strchr(marks, s->text[t->at]);
}

int closing(const source *s, int i)
{
    int depth = 0;
    for (; i < s->count; i++) {
        depth += one_of(s, i, "([{") - one_of(s, i, ")]}");
        if (depth <= 0)
            return i;
    }
    return s->count;
}

int opening(const source *s, int i)
{
    int depth = 0;
    for (; i >= 0; i--) {
        depth += one_of(s, i, ")]}") - one_of(s, i, "([{");
        if (depth <= 0)
            return i;
    }
    return 0;
}
