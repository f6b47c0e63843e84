/* published.c - published.h: where folders are, and a line of JSON out of what was printed. */
#include "tests/published.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *published_root(void)
{
    const char *given = getenv("PUBLISHED");
    return given ? given : "../shared/golden/hf";
}

const char *published_in(char to[900], const char *model, const char *name)
{
    snprintf(to, 900, "%s/%s/%s", published_root(), model, name);
    return to;
}

json_t *line_of(said s, int which)
{
    const char *at = s.out;
    for (; which && at; which--)
        at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL;
    json_t *o = at ? json_loadb(at, strcspn(at, "\n"), JSON_ALLOW_NUL, NULL) : NULL;
    ck_assert_msg(s.code == 0 && o, "%d: %s%s", s.code, s.out, s.err);
    return o;
}
