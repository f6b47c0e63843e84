/* version.c - which program this is (base.h). The Makefile tells this file alone of git's revision. */
#include "base/base.h"

#ifndef REVISION
#define REVISION ""
#endif

const char *program_version(void)
{
    return *REVISION ? "0.1 (" REVISION ")" : "0.1";
}
