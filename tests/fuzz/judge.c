/* judge.c - feeds every file of a corpus to the command that reads it, and says which were dealt with
 * wrongly.
 *
 *   judge [--read TEXT] KIND FOLDER PROGRAM [WORDS...]     runs PROGRAM WORDS in an empty folder; {} is
 *       the file, {out} an output file. A refusal with TEXT in it means that the file was read and is not
 *       what the command wants: it counts as accepted
 *
 * FOLDER/manifest.jsonl has a line {"file", "label", "must"} a case; must is refuse, accept or either. A
 * fault is: the end by a signal, an exit code other than 0, 1 and 2, more than 10 seconds, an accepted file
 * that must be refused or the reverse, a refusal without a line "blip2: error: ..." (or with anything but
 * that, warnings and the lines below it on stderr), an output file in spite of a refusal, a temporary file,
 * PICKLE_RAN (which the code in bad pickles makes), and more than 256 MiB of memory for a file that is
 * refused. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECONDS = 10, MEMORY = 256, PATH = 4096, WORDS = 32, SAID = 1 << 16 };
struct outcome { int status; double mib; bool wrote; char said[SAID]; };
struct tally { long files, accepted, refused, faults; double mib; };

/* ---- one run ------------------------------------------------------------------------------------------- */
static void child(char **words, const char *folder, int in, int err)
{
    int nothing = open("/dev/null", O_WRONLY);
    dup2(in, 0);
    dup2(nothing, 1);
    dup2(err, 2);
    alarm(SECONDS);                                /* survives exec: the end by SIGALRM */
    if (chdir(folder))
        _exit(127);
    execv(words[0], words);
    _exit(127);
}

static void run(char **words, const char *scratch, const char *folder, struct outcome *o)
{
    char err[PATH], in[PATH];
    struct rusage used;
    snprintf(err, sizeof err, "%s/stderr", scratch);
    snprintf(in, sizeof in, "%s/stdin", scratch);
    int from = open(in, O_RDONLY), to = open(err, O_RDWR | O_CREAT | O_TRUNC, 0600);
    pid_t pid = fork();
    if (pid == 0)
        child(words, folder, from, to);
    o->status = -1;
    if (pid > 0)
        wait4(pid, &o->status, 0, &used);
    o->mib = pid > 0 ? (double)used.ru_maxrss/1024 : 0;
    ssize_t n = pread(to, o->said, SAID - 1, 0);
    o->said[n > 0 ? n : 0] = 0;
    close(from);
    close(to);
}

/* ---- its judgement ------------------------------------------------------------------------------------- */
/* NULL: warnings, one error, and indented lines below it. */
static const char *wrong_words(const char *said)
{
    bool error = false;
    for (const char *s = said; *s; s += strcspn(s, "\n"), s += *s == '\n') {
        bool warning = !strncmp(s, "blip2: warning: ", 16), here = !strncmp(s, "blip2: error: ", 14);
        if (here && error)
            return "two errors";
        if (!warning && !here && strncmp(s, "  ", 2))
            return "other words on stderr";
        error |= here;
    }
    return error ? NULL : "no error on stderr";
}

/* read: what a refusal says of a file that was read and is something else; NULL: nothing does. */
static const char *judge(const struct outcome *o, const char *must, const char *read)
{
    int code = WIFEXITED(o->status) ? WEXITSTATUS(o->status) : -1;
    if (WIFSIGNALED(o->status) && WTERMSIG(o->status) == SIGALRM)
        return "hangs";
    if (WIFSIGNALED(o->status))
        return strsignal(WTERMSIG(o->status));
    if (code < 0 || code > 2)
        return "another exit code";
    if (code == 0 || (code == 1 && read && strstr(o->said, read)))
        return strcmp(must, "refuse") ? NULL : "accepted";
    if (!strcmp(must, "accept"))
        return "refused";
    if (o->wrote)
        return "an output in spite of a refusal";
    if (o->mib > MEMORY)
        return "too much memory";
    return wrong_words(o->said);
}

/* Removes what a run left; true: something was there. *half: a temporary file. */
static bool clean(const char *folder, bool *half)
{
    char path[PATH];
    bool any = false;
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d)); ) {
        if (entry->d_name[0] == '.')
            continue;
        any = true;
        *half |= strstr(entry->d_name, ".tmp.") != NULL;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (unlink(path)) {                        /* a folder */
            clean(path, half);
            rmdir(path);
        }
    }
    if (d)
        closedir(d);
    return any;
}

static void one_case(const json_t *line, const char *folder, const char *scratch, char **words,
                     const char *read, struct tally *t)
{
    static struct outcome o;
    char file[PATH], out[PATH], ran[PATH], outputs[PATH - 16], *filled[WORDS + 1] = { 0 };
    const char *label = json_string_value(json_object_get(line, "label"));
    const char *must = json_string_value(json_object_get(line, "must"));
    bool half = false;
    snprintf(file, sizeof file, "%s/%s", folder, json_string_value(json_object_get(line, "file")));
    snprintf(outputs, sizeof outputs, "%s/out", scratch);
    snprintf(out, sizeof out, "%s/result.h5", outputs);
    snprintf(ran, sizeof ran, "%s/PICKLE_RAN", outputs);
    for (int i = 0; i < WORDS && words[i]; i++)
        filled[i] = !strcmp(words[i], "{}") ? file : !strcmp(words[i], "{out}") ? out : words[i];
    run(filled, scratch, outputs, &o);
    bool code = !access(ran, F_OK);
    o.wrote = clean(outputs, &half);
    const char *fault = code   ? "code of a pickle was run"
                        : half ? "a temporary file is left"
                               : judge(&o, must, read);
    bool refused = o.status != 0 && !(read && strstr(o.said, read));
    t->files++;
    t->accepted += !refused;
    t->refused += refused;
    if (refused && o.mib > t->mib)
        t->mib = o.mib;
    if (!fault)
        return;
    t->faults++;
    printf("  FAULT %s: %s (must: %s): %.200s%s", label, fault, must, o.said, *o.said ? "" : "\n");
}

int main(int argc, char **argv)
{
    char path[PATH], scratch[] = "/tmp/blip2-fuzz-XXXXXX", *line = NULL;
    const char *read = NULL;
    size_t room = 0;
    struct tally t = { 0 };
    bool half = false;
    if (argc > 2 && !strcmp(argv[1], "--read")) {
        read = argv[2];
        argc -= 2;
        argv += 2;
    }
    if (argc < 4 || argc - 3 > WORDS) {
        fprintf(stderr, "judge: expected [--read TEXT] KIND FOLDER PROGRAM [WORDS...]\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s/manifest.jsonl", argv[2]);
    FILE *manifest = fopen(path, "r");
    if (!manifest || !mkdtemp(scratch)) {
        fprintf(stderr, "judge: %s: cannot be opened\n", path);
        return 2;
    }
    snprintf(path, sizeof path, "%s/out", scratch);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/stdin", scratch);
    FILE *in = fopen(path, "w");
    fputs("a red dog\n", in);
    fclose(in);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (getline(&line, &room, manifest) > 0) {
        json_t *one = json_loads(line, 0, NULL);
        if (one)
            one_case(one, argv[2], scratch, argv + 3, read, &t);
        json_decref(one);
    }
    printf("%-12s %6ld files  %6ld accepted  %6ld refused (at most %4.0f MiB)  %4ld faults\n", argv[1],
           t.files, t.accepted, t.refused, t.mib, t.faults);
    snprintf(path, sizeof path, "%s/out", scratch);
    clean(path, &half);
    rmdir(path);
    clean(scratch, &half);
    rmdir(scratch);
    free(line);
    fclose(manifest);
    return t.faults || !t.files;
}
