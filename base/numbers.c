/* numbers.c - numbers in files, in a program whose locale writes 1,5 for 1.5 (base.h). */
#include "base/base.h"

locale_t numbers_begin(void)
{
    return uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));        /* of "C" there is one, never freed */
}

void numbers_end(locale_t before)
{
    freelocale(uselocale(before));
}
