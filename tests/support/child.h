#ifndef TESTS_CHILD_H
#define TESTS_CHILD_H

/*
 * A forked child that runs one function and ends, without the test framework's or any other exit
 * handlers. A child that hangs is ended by its own alarm.
 */

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_SECONDS 30 /* much longer than it may take on a busy machine */

/* Whether a child may start threads although threads of the parent were just starting when it was
 * forked: AddressSanitizer's own locks are not kept across a fork. */
#if defined(__SANITIZE_ADDRESS__)
#define CHILD_MAY_START_THREADS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CHILD_MAY_START_THREADS 0
#endif
#endif
#ifndef CHILD_MAY_START_THREADS
#define CHILD_MAY_START_THREADS 1
#endif

/* What fn returned in the child (0 to 127), or 128 + the signal that ended it. */
static inline int child_run(int (*fn)(void *arg), void *arg)
{
    const pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        _exit(fn(arg));
    }
    int status = 0;
    while (waitpid(pid, &status, 0) != pid) {
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

#endif /* TESTS_CHILD_H */
