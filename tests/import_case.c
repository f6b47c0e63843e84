/* import_case.c - small files to import (import_case.h). */
#include "tests/import_case.h"
#include "data/data.h"
#include <string.h>
#include <sys/stat.h>

void put_picture(const char *name, int shade)
{
    picture p;
    error e;
    ck_assert(picture_new(&p, 8, 8, &e));
    memset(p.rgb, shade, 3*8*8);
    ck_assert(picture_write(&p, IN_FOLDER(name), &e));
    picture_free(&p);
}

void folder(const char *name)
{
    ck_assert_int_eq(mkdir(IN_FOLDER(name), 0777), 0);
}

void holds(const char *name, const char *expected)
{
    char *text = folder_load(name, NULL);
    ck_assert_str_eq(text, expected);
    mem_free(text);
}

void prints(said s, const char *part)
{
    ck_assert_msg(s.code == 0, "exit code %d: %s", s.code, s.err);
    ck_assert_msg(strstr(s.out, part) != NULL, "expected \"%s\" in: %s", part, s.out);
    shell_free(s);
}

void put_member(FILE *f, const char *name, const void *bytes, long n)
{
    char block[512] = { 0 };
    unsigned sum = 0;
    snprintf(block, 100, "%s", name);
    memcpy(block + 100, "0000644", 8);
    snprintf(block + 124, 12, "%011lo", n);
    snprintf(block + 136, 12, "%011o", 0);
    memset(block + 148, ' ', 8);
    block[156] = '0';
    memcpy(block + 257, "ustar\00000", 8);
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", sum);
    fwrite(block, 512, 1, f);
    fwrite(bytes, (size_t)n, 1, f);
    memset(block, 0, 512);
    fwrite(block, (size_t)(-n & 511), 1, f);
}
