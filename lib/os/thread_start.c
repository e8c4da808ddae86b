/*
 * Starting threads of the system, and what is asked of them afterwards.
 *
 * A thread that has something to prepare (its processors, or what its starter asks for) does so before
 * anything else and says how that went in `outcome`; its starter waits for it. So a thread that cannot
 * be as it should be was never started.
 *
 *   outcome   PREPARING 0        the starter waits, or does not care
 *             PREPARED + error   written once by the thread; on an error its last touch of the start
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/os.h"

#define PREPARING 0u
#define PREPARED 1u

#define SYSTEM_NAME_SIZE 16 /* what the kernel keeps, its end included */
#define WORD_BITS (8 * sizeof(unsigned long))

/* What a thread does to itself, or has to hear at once. Everything else is asynchronous. */
static const int own_signals[] = {SIGABRT, SIGBUS,  SIGFPE, SIGILL,
                                  SIGPIPE, SIGSEGV, SIGSYS, SIGTRAP};

/* Bit s - 1: signal s is blocked in this thread because it, or the one that started it and so on, was started
 * here. */
static _Thread_local uint64_t blocked_here THI_TLS_MODEL;
#define SIGNALS 64

/* Called with the new thread's mask still that of its starter: it inherits, so nothing can reach it in
 * between. Returns what will be blocked here. */
static uint64_t block_signals(sigset_t *before)
{
    sigset_t blocked;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof own_signals / sizeof *own_signals; i++)
        sigdelset(&blocked, own_signals[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, before);
    uint64_t here = blocked_here;
    for (int signal = 1; signal <= SIGNALS; signal++) {
        if (sigismember(&blocked, signal) == 1 && sigismember(before, signal) == 0)
            here |= UINT64_C(1) << (signal - 1);
    }
    return here;
}

void thi_thread_let_through(void *mask)
{
    pthread_sigmask(SIG_BLOCK, NULL, mask);
    for (int signal = 1; signal <= SIGNALS; signal++) {
        if ((blocked_here >> (signal - 1) & 1u) != 0)
            sigdelset(mask, signal);
    }
}

void thi_thread_let_signals(void)
{
    sigset_t mask;
    thi_thread_let_through(&mask);
    blocked_here = 0;
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

/* The calling thread's. The kernel ignores processors that it does not have, but there must be one
 * that it has, and grants. */
static int set_processors(const unsigned *cpus, size_t count)
{
    unsigned long mask[THI_CPUS_MAX / WORD_BITS];
    memset(mask, 0, sizeof mask);
    for (size_t i = 0; i < count; i++)
        mask[cpus[i] / WORD_BITS] |= 1UL << cpus[i] % WORD_BITS;
    return sched_setaffinity(0, sizeof mask, (const cpu_set_t *)(const void *)mask) == 0 ? 0
                                                                                         : EINVAL;
}

static bool prepares(const thi_start_t *start)
{
    return start->prepare != NULL || start->cpu_count != 0;
}

static int prepare(const thi_start_t *start)
{
    int err = 0;
    if (start->cpu_count != 0)
        err = set_processors(start->cpus, start->cpu_count);
    if (err == 0 && start->prepare != NULL)
        err = start->prepare(start->arg);
    return err;
}

static void *thread_main(void *arg)
{
    thi_start_t *start = arg;
    blocked_here = start->blocked;
    if (prepares(start)) {
        const int err = prepare(start);
        /* R1: release; pairs with A1. */
        thi_store_release(&start->outcome, PREPARED + (uint32_t)err);
        thi_futex_wake(&start->outcome, 1);
        if (err != 0)
            return NULL;
    }
    start->fn(start->arg);
    return NULL;
}

static int await_prepared(thi_start_t *start, pthread_t thread)
{
    uint32_t outcome = PREPARING;
    while ((outcome = thi_load_acquire(&start->outcome)) == PREPARING) /* A1: pairs with R1 */
        thi_futex_wait(&start->outcome, PREPARING, THRUM_FOREVER);
    if (outcome != PREPARED)
        thi_thread_join((uintptr_t)thread);
    else if (start->detached)
        pthread_detach(thread);
    return (int)(outcome - PREPARED);
}

/* At least what was asked for, in whole pages, and what the system wants of every stack. */
static size_t stack_size(size_t wanted)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t least = (size_t)PTHREAD_STACK_MIN;
    if (wanted < least)
        wanted = least;
    if (wanted > SIZE_MAX - page)
        wanted = SIZE_MAX - page;
    return (wanted + page - 1) / page * page;
}

static int create(thi_start_t *start, pthread_t *thread)
{
    pthread_attr_t attributes;
    sigset_t before;
    if (pthread_attr_init(&attributes) != 0)
        return ENOMEM;
    int err = 0;
    if (start->stack_size != 0)
        err = pthread_attr_setstacksize(&attributes, stack_size(start->stack_size));
    if (start->detached && !prepares(start))
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (err == 0) {
        start->blocked = block_signals(&before);
        err = pthread_create(thread, &attributes, thread_main, start);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attributes);
    return err == 0 ? 0 : ENOMEM; /* EAGAIN: no room for the stack, or a limit on threads */
}

int thi_thread_start(thi_start_t *start)
{
    if (thi_fault(THI_FAULT_THREAD))
        return ENOMEM;
    const int saved = errno;
    const bool waits = prepares(start); /* without, the thread may have ended and *start be gone */
    pthread_t thread;
    start->outcome = PREPARING;
    int err = create(start, &thread);
    if (err == 0 && waits)
        err = await_prepared(start, thread);
    errno = saved;
    return err;
}

uintptr_t thi_thread_handle(void)
{
    return (uintptr_t)pthread_self();
}

void thi_thread_join(uintptr_t handle)
{
    const int cancel = thi_cancel_off();
    pthread_join((pthread_t)handle, NULL);
    thi_cancel_restore(cancel);
}

void thi_thread_detach(uintptr_t handle)
{
    pthread_detach((pthread_t)handle);
}

void thi_thread_set_name(uintptr_t handle, const char *name)
{
    char kept[SYSTEM_NAME_SIZE];
    const int saved = errno;
    const int cancel = thi_cancel_off();
    const size_t length = strnlen(name, sizeof kept - 1);
    memcpy(kept, name, length);
    kept[length] = '\0';
    pthread_setname_np((pthread_t)handle, kept);
    thi_cancel_restore(cancel);
    errno = saved;
}

int64_t thi_thread_main_id(void)
{
    return (int64_t)getpid();
}

/* ------------------------------------------------------------------------------------------------
 * Ends
 */

static thi_once_t key_once;
static pthread_key_t key;
static int key_error;
static void (*on_end_fn)(void *);

static void make_key(void)
{
    key_error = pthread_key_create(&key, thi_load_relaxed(&on_end_fn));
}

int thi_thread_at_end(void (*end_fn)(void *), void *arg)
{
    if (thi_fault(THI_FAULT_AT_EXIT))
        return ENOMEM;
    /* Relaxed and before the once: every caller stores the same function. */
    thi_store_relaxed(&on_end_fn, end_fn);
    thi_once(&key_once, make_key);
    if (key_error != 0 || pthread_setspecific(key, arg) != 0)
        return ENOMEM;
    return 0;
}

int thi_process_at_exit(void (*exit_fn)(void))
{
    return !thi_fault(THI_FAULT_AT_EXIT) && atexit(exit_fn) == 0 ? 0 : ENOMEM;
}
