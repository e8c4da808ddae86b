/*
 * Names for what the reports show: addresses and error codes.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "os/os.h"

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

void thi_symbol_name(const void *address, char *buf, size_t size)
{
    Dl_info found;
    buf[0] = '\0';
    if (address == NULL || dladdr(address, &found) == 0)
        return;
    const bool exported = found.dli_sname != NULL;
    const char *name = exported ? found.dli_sname : last_part(found.dli_fname);
    const char *start = exported ? found.dli_saddr : found.dli_fbase;
    const size_t offset = (size_t)((const char *)address - start);
    if (exported && offset == 0)
        snprintf(buf, size, "%s", name);
    else
        snprintf(buf, size, "%s+%#zx", name, offset);
}

const char *thi_error_text(int err)
{
#ifdef __GLIBC__
    return strerrordesc_np(err);
#else
    /* Elsewhere (musl, the BSDs) the texts are constants, or at least a thread's own. */
    return strerror(err);
#endif
}
