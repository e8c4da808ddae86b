/*
 * What the library needs of the system's threads: identity, their end, fork.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/os.h"

#ifndef PTHREAD_DESTRUCTOR_ITERATIONS
#define PTHREAD_DESTRUCTOR_ITERATIONS 4
#endif

#define ONCE_NEW 0u
#define ONCE_DONE 1u

/* The state while this process runs init. Another process's number in it: a fork came in the middle,
 * and whoever ran it does not exist here. */
static uint32_t once_running(void)
{
    return (uint32_t)getpid() << 2 | 2u;
}

/* Not pthread_once: that one may not be entered again after a fork in the middle of it. */
void thi_once(thi_once_t *once, void (*init)(void))
{
    /* A1: acquire; pairs with R1. */
    uint32_t state = thi_load_acquire(&once->state);
    while (THI_UNLIKELY(state != ONCE_DONE)) {
        const uint32_t running = once_running();
        if (state == running) {
            thi_futex_wait(&once->state, running, THRUM_FOREVER);
        } else if (thi_cas_acquire(&once->state, &state, running)) {
            init();
            thi_store_release(&once->state, ONCE_DONE); /* R1: release; pairs with A1 */
            thi_futex_wake(&once->state, UINT_MAX);
            return;
        }
        state = thi_load_acquire(&once->state); /* A1; a failed swap has acquired nothing */
    }
}

int64_t thi_thread_native_id(void)
{
    return (int64_t)syscall(SYS_gettid);
}

int thi_cancel_off(void)
{
    int state = PTHREAD_CANCEL_ENABLE;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

void thi_cancel_restore(int state)
{
    pthread_setcancelstate(state, NULL);
}

void thi_thread_name(int64_t native_id, char *name, size_t size)
{
    char path[64];
    const int saved = errno;
    const int cancel = thi_cancel_off();
    snprintf(path, sizeof path, "/proc/self/task/%lld/comm", (long long)native_id);
    name[0] = '\0';
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        const ssize_t n = thi_fd_read(fd, name, size - 1);
        name[n > 0 ? n : 0] = '\0';
        name[strcspn(name, "\n")] = '\0';
        thi_fd_close(fd);
    }
    thi_cancel_restore(cancel);
    errno = saved;
}

static thi_once_t key_once;
static pthread_key_t key;
static int key_error;
static void (*on_exit_fn)(void *);

static void make_key(void)
{
    key_error = pthread_key_create(&key, thi_load_relaxed(&on_exit_fn));
}

int thi_thread_at_exit(void (*exit_fn)(void *), void *arg)
{
    if (thi_fault(THI_FAULT_AT_EXIT))
        return ENOMEM;
    /* Relaxed and before the once: every caller stores the same function. */
    thi_store_relaxed(&on_exit_fn, exit_fn);
    thi_once(&key_once, make_key);
    if (key_error != 0 || pthread_setspecific(key, arg) != 0)
        return ENOMEM;
    return 0;
}

int thi_thread_on_end(thi_ending_t *ending, void (*fn)(void *), void *arg)
{
    if (thi_fault(THI_FAULT_AT_EXIT))
        return ENOMEM;
    uint32_t known = thi_load_acquire(&ending->key); /* A2: acquire; pairs with R2 */
    if (THI_UNLIKELY(known == 0)) {
        pthread_key_t made = 0;
        if (pthread_key_create(&made, fn) != 0)
            return ENOMEM;
        /* R2: release; pairs with A2. Whoever is second throws his away: no lock for a fork to break. */
        if (thi_cas_acq_rel(&ending->key, &known, (uint32_t)made + 1))
            known = (uint32_t)made + 1;
        else
            pthread_key_delete(made);
    }
    return pthread_setspecific(known - 1, arg) == 0 ? 0 : ENOMEM;
}

unsigned thi_thread_exit_rounds(void)
{
    /* The last round is left to tools that have to come after everybody else: ThreadSanitizer takes
     * the thread's state away in it, and no instrumented code may run after that. */
    return PTHREAD_DESTRUCTOR_ITERATIONS - 1;
}

void thi_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    pthread_atfork(prepare, parent, child);
}
