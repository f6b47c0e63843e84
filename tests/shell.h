/* shell.h - the program run as a user runs it: arguments in, exit code and both outputs back. */
#ifndef TESTS_SHELL_H
#define TESTS_SHELL_H
#include "tests/tests.h"
#include <sys/types.h>

typedef struct said { int code; char *out, *err; } said;   /* exit code, or 128 + signal; shell_free it */
enum { SHELL_WORDS = 24, SHELL_SECONDS = 120 };            /* a program that hangs is killed and gives 142 */
/* What the next call differs in: limits on the size of files and on address space (0: none), where stdout
 * goes (NULL: to .out). */
typedef struct shell_options { long file_bytes, address_bytes; const char *out; } shell_options;
extern shell_options shell_next;

#define BLIP2(...) shell_run((const char *const[]){ __VA_ARGS__, NULL })
said shell_run(const char *const *words);
pid_t shell_start(const char *const *words, int fds[2]);   /* in the background */
said shell_wait(pid_t pid, const int fds[2]);
void shell_free(said s);
void shell_works(const char *const *words);                /* exit 0 */
/* Exit code `code`, nothing on stdout, and on stderr one error that has `says` in it. */
void shell_fails(int code, const char *says, const char *const *words);
#define WORKS(...) shell_works((const char *const[]){ __VA_ARGS__, NULL })
#define FAILS(code, says, ...) shell_fails((code), (says), (const char *const[]){ __VA_ARGS__, NULL })
#endif
