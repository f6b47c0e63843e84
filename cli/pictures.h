/* pictures.h - many pictures or texts for one command, and a bar that says how far it is. */
#ifndef CLI_PICTURES_H
#define CLI_PICTURES_H
#include "cli/cli.h"

typedef struct cli_names { char **at; long n, room; } cli_names;
bool cli_names_add(cli_names *l, const char *text, error *e);
bool cli_names_lines(cli_names *l, const char *path, error *e); /* a line each, empty ones passed over */
/* Pictures of a folder, of a list of records (.jsonl), or of a file with a path a line. */
bool cli_names_pictures(cli_names *l, const char *path, error *e);
void cli_names_free(cli_names *l);

/* A bar on stderr where that is a terminal. Results on the same terminal are written between two bars. */
typedef struct cli_bar { long of; bool shown; double started; } cli_bar;
cli_bar cli_bar_new(long of, bool quiet);              /* of 1: none */
void cli_bar_show(const cli_bar *b, long done);
void cli_bar_clear(const cli_bar *b);                  /* before something is written */
#endif
