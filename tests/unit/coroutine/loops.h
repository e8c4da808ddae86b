#ifndef TESTS_COROUTINE_LOOPS_H
#define TESTS_COROUTINE_LOOPS_H

/*
 * Running a body as the first coroutine of a loop, and coroutines that do little.
 */

#include <string.h>

#include <thrum/thrum.h>

#include "support/child.h"
#include "support/expect.h"

/* Runs fn(arg) in a loop, to the end of all that it spawns. What fn returned. */
static inline int in_loop(thrum_fn fn, void *arg)
{
    void *result = NULL;
    return thrum_run(fn, arg, &result);
}

static inline thrum_coro_t *made(thrum_fn fn, void *arg)
{
    thrum_coro_t *co = NULL;
    EXPECT_CALL(0, thrum_coro_create(&co, fn, arg, NULL));
    cr_assert_not_null(co);
    return co;
}

static inline thrum_coro_t *spawned(thrum_fn fn, void *arg)
{
    thrum_coro_t *co = NULL;
    cr_expect_eq(thrum_go(&co, fn, arg), 0);
    return co;
}

static inline int do_nothing(void *arg, void **result)
{
    (void)arg, (void)result;
    return 0;
}

/* Waits for ever, and returns why it did not. */
static inline int wait_for_ever(void *arg, void **result)
{
    thrum_sem_t never = THRUM_SEM_INIT(0);
    (void)arg, (void)result;
    return thrum_sem_acquire(&never);
}

/* What order things happen in. */
struct trace {
    char text[128];
    size_t length;
};

static inline void note(struct trace *t, char what)
{
    if (t->length + 1 < sizeof t->text)
        t->text[t->length++] = what;
}

/* One that waits for ever, and notes its letter when it ends. */
static struct trace cleanups;

static inline void note_cleanup(void *letter)
{
    note(&cleanups, *(char *)letter);
}

static inline int wait_with_cleanup(void *letter, void **result)
{
    const int err = thrum_defer(note_cleanup, letter);
    return err != 0 ? err : wait_for_ever(NULL, result);
}

/* In a coroutine: lets the others run until the word is that. */
static inline void yield_until(const uint32_t *word, uint32_t value)
{
    while (thi_load_acquire(word) != value)
        thrum_yield();
}

#endif /* TESTS_COROUTINE_LOOPS_H */
