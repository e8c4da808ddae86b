#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"

void thi_panic(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    flockfile(stderr);
    fputs("thrum: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    funlockfile(stderr);
    va_end(args);
    abort();
}
