/*
 * A user's program, C17 and C++17 alike. Its argument says whether jemalloc should be in the process.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <thrum/thrum.h>

THRUM_BEGIN_DECLS
void *mallocx(size_t size, int flags) __attribute__((weak));
THRUM_END_DECLS

static thrum_mutex_t mutex = THRUM_MUTEX_INIT;
static thrum_sem_t sem = THRUM_SEM_INIT(1);

int main(int argc, char **argv)
{
    const bool expected = argc == 2 && strcmp(argv[1], "jemalloc") == 0;
    if ((mallocx != NULL) != expected) {
        fprintf(stderr, "jemalloc is %sin the process\n", expected ? "not " : "");
        return 1;
    }
    if (thrum_mutex_lock(&mutex) != 0 || !thrum_mutex_locked(&mutex) ||
        thrum_mutex_unlock(&mutex) != 0)
        return 2;
    if (thrum_sem_acquire(&sem) != 0 || thrum_sem_acquire_until(&sem, thrum_now()) == 0)
        return 3;
    printf("thrum %s\n", thrum_version());
    return 0;
}
