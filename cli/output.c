/* output.c - what is looked at before a command writes its file: a slip of the hand must not cost a picture,
 * a configuration or a model. */
#include "cli/cli.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* endings: ".h5 .hdf5" */
static bool ends_so(const char *name, const char *endings)
{
    size_t n = strlen(name);
    for (const char *at = endings; *at; at += strspn(at, " ")) {
        size_t k = strcspn(at, " ");
        if (n > k && !strncmp(name + n - k, at, k))
            return true;
        at += k;
    }
    return false;
}

static bool is_hdf5(const char *path)
{
    error none;
    h5 *f = h5_open(path, &none);
    h5_close(f);
    return f != NULL;
}

/* As SVG, HTML and graphs begin here */
static bool is_drawing(const char *path)
{
    char first[8] = "";
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(first, 1, sizeof first - 1, f) : 0;
    if (f)
        fclose(f);
    return n && (first[0] == '<' || !strcmp(first, "/* blip"));
}

/* A name without any ending says nothing: it is taken where no file is, or one of the same kind. */
static bool says_nothing(const char *name, const char *endings)
{
    const char *slash = strrchr(name, '/');
    struct stat about;
    return !strchr(slash ? slash + 1 : name, '.')
        && (stat(name, &about) || (ends_so("x.h5", endings) ? is_hdf5(name) : is_drawing(name)));
}

bool cli_may_write(const char *command, const char *out, const char *endings, int n,
                   const char *const *inputs)
{
    if (!ends_so(out, endings) && !says_nothing(out, endings)) {
        cli_usage(command, "-o: expected a name that ends in %s, found \"%s\"", endings, QUOTE(out));
        return false;
    }
    for (int i = 0; i < n; i++)
        if (inputs[i] && file_same(out, inputs[i])) {
            cli_usage(command, "-o: %s is what is read; expected another name", QUOTE(out));
            return false;
        }
    return true;
}

bool cli_spares_models(const char *command, const char *out)
{
    struct stat about;
    error none;
    h5 *f = !stat(out, &about) && S_ISREG(about.st_mode) ? h5_open(out, &none) : NULL;
    char *format = f ? h5_text(f, "", "format", &none) : NULL;
    bool model = format && !strcmp(format, "blip2");
    mem_free(format);
    h5_close(f);
    if (model)
        cli_usage(command, "%s is a model, which would be lost; expected another name", QUOTE(out));
    return !model;
}
