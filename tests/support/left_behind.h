#ifndef TESTS_LEFT_BEHIND_H
#define TESTS_LEFT_BEHIND_H

/*
 * What this process has at the moment, for tests that may leave nothing behind. `errno` stays as it is.
 */

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>

/* All of a folder's, . and .. included. */
static inline int count_entries(const char *folder)
{
    const int saved = errno;
    int n = 0;
    DIR *dir = opendir(folder);
    if (dir == NULL)
        abort();
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    errno = saved;
    return n;
}

/* To be compared with what the same said before. */
static inline int count_descriptors(void)
{
    return count_entries("/proc/self/fd");
}

static inline int count_threads(void)
{
    return count_entries("/proc/self/task");
}

/* Running, or ended and not waited for. */
static inline bool has_children(void)
{
    siginfo_t info;
    const int saved = errno;
    const bool some = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
    errno = saved;
    return some;
}

#endif /* TESTS_LEFT_BEHIND_H */
