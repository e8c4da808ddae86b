/*
 * Saying why, before the process dies of an access to memory that cannot be accessed.
 *
 * The handler of SIGSEGV is installed when somebody first asks for it, that is with the first coroutine. It
 * puts back what was there before, and returns; the access is made again, and has the effect that it
 * would have had.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "os/os.h"

#define STACK_BYTES ((size_t)64 * 1024)

static thi_once_t once;
static struct sigaction before;
static bool (*explain_fn)(const void *address, char *text, size_t size);

static void handle(int number, siginfo_t *info, void *context)
{
    char text[160];
    (void)number, (void)context;
    const int saved = errno;
    if (thi_load_relaxed(&explain_fn)(info->si_addr, text, sizeof text)) {
        const ssize_t n = thi_fd_write(STDERR_FILENO, text, strlen(text));
        (void)n;
    }
    sigaction(SIGSEGV, &before, NULL);
    errno = saved;
}

static void install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &before);
}

/* A stack for the handler, if the thread has none. */
void *thi_crash_watch(bool (*explain)(const void *address, char *text, size_t size))
{
    const int saved = errno;
    stack_t now;
    void *stack = NULL;
    thi_store_relaxed(&explain_fn, explain); /* always the same one */
    thi_once(&once, install);
    if (sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE) != 0)
        stack = thi_pages_map(STACK_BYTES);
    if (stack != NULL) {
        const stack_t own = {.ss_sp = stack, .ss_size = STACK_BYTES};
        sigaltstack(&own, NULL);
    }
    errno = saved;
    return stack;
}

void thi_crash_unwatch(void *watch)
{
    const int saved = errno;
    stack_t now;
    if (watch != NULL && sigaltstack(NULL, &now) == 0 && now.ss_sp == watch) {
        const stack_t none = {.ss_flags = SS_DISABLE};
        sigaltstack(&none, NULL);
    }
    if (watch != NULL)
        thi_pages_unmap(watch, STACK_BYTES);
    errno = saved;
}
