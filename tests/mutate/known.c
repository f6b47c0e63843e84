/* known.c - mutants that are shown to change nothing, each with its reason: known.txt (mutate.h).
 *
 *   file | function | source line | change | reason
 *
 * The change as the tool prints it, or * for any of that line. */
#include "tests/mutate/mutate.h"
#include <string.h>

typedef struct entry { char *field[5]; int met; } entry;
static struct { entry *entries; long count, room; } known;

static char *trim(char *s)
{
    s += strspn(s, " ");
    for (size_t n = strlen(s); n && s[n - 1] == ' ';)
        s[--n] = 0;
    return s;
}

static bool add(char *line, entry *to)
{
    int n = 0;
    for (char *next = line; next && n < 5; n++) {
        char *bar = n < 4 ? strstr(next, " | ") : NULL;
        if (bar)
            *bar = 0;
        to->field[n] = trim(next);
        next = bar ? bar + 3 : NULL;
    }
    return n == 5;
}

bool known_load(const char *path, error *e)
{
    long bytes;
    char *text = file_load(path, 1 << 20, &bytes, e), *rest = text;
    if (!text)
        return false;
    for (int number = 1; rest && *rest; number++) {
        char *line = strsep(&rest, "\n");
        if (!*line || *line == '#')
            continue;
        known.entries = room(known.entries, known.count, &known.room, sizeof *known.entries);
        if (!add(line, &known.entries[known.count++]))
            return error_set(e, "%s:%d: expected file | function | source line | change | reason", path,
                             number);
    }
    return true;
}

const char *known_reason(const program *p, const mutant *m)
{
    char line[160], change[160];
    const function *f = &p->functions[m->function];
    describe(p, m, line, change);
    for (long i = 0; i < known.count; i++) {
        entry *k = &known.entries[i];
        if (!strcmp(k->field[0], p->sources[f->source].path) && !strcmp(k->field[1], f->name)
            && !strcmp(k->field[2], line) && (!strcmp(k->field[3], change) || !strcmp(k->field[3], "*"))) {
            k->met++;
            return k->field[4];
        }
    }
    return NULL;
}

int known_unused(void)
{
    int unused = 0;
    for (long i = 0; i < known.count; i++)
        if (!known.entries[i].met) {
            unused++;
            printf("known.txt: nothing is like this any more: %s | %s | %s | %s\n", known.entries[i].field[0],
                   known.entries[i].field[1], known.entries[i].field[2], known.entries[i].field[3]);
        }
    return unused;
}
