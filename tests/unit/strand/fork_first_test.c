#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <thrum/local.h>
#include <thrum/mutex.h>
#include <thrum/queue.h>

#include "support/child.h"
#include "support/expect.h"

/* A program that arranges for forks, or forks, before it has used the library at all. */
TestSuite(fork_first, .timeout = 60);

/* --- a program's own handlers, registered before the first use ----------------------------------------- */

static thrum_mutex_t contended = THRUM_MUTEX_INIT;
static thrum_local_t local = THRUM_LOCAL_INIT(NULL);
static int in_child_error;

static void lock_before_fork(void)
{
    int value = 0;
    if (thrum_mutex_lock(&contended) != 0 || thrum_local_set(&local, &value) != 0)
        abort();
}

static void unlock_in_parent(void)
{
    if (thrum_mutex_unlock(&contended) != 0)
        abort();
}

static void unlock_in_child(void)
{
    alarm(CHILD_SECONDS);
    in_child_error = thrum_mutex_unlock(&contended);
}

static int lock_again(void *arg)
{
    (void)arg;
    if (in_child_error != 0)
        return 1;
    return thrum_mutex_lock_until(&contended, thrum_after(THRUM_S(5))) == 0 ? 0 : 2;
}

static uint32_t stop;

static int lock_and_unlock(void *arg)
{
    int err = 0;
    (void)arg;
    while (err == 0 && thi_load_relaxed(&stop) == 0) {
        err = thrum_mutex_lock(&contended);
        if (err == 0)
            err = thrum_mutex_unlock(&contended);
    }
    return err;
}

Test(fork_first, a_programs_handlers_that_were_registered_first_may_use_the_library)
{
    struct caller c[3];
    cr_assert_eq(pthread_atfork(lock_before_fork, unlock_in_parent, unlock_in_child), 0);
    for (int i = 0; i < 3; i++)
        caller_start(&c[i], lock_and_unlock, NULL);
    for (int i = 0; i < 200; i++)
        cr_expect_eq(child_run(lock_again, NULL), 0);
    thi_store_relaxed(&stop, 1u);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
}

/* --- a queue is all that is used ----------------------------------------------------------------------- */

#define LARGE ((size_t)4 << 20)

static void *
put_and_get(void *arg) /* by itself no use of the library that would register the thread */
{
    unsigned char *item = malloc(LARGE);
    if (item == NULL)
        abort();
    memset(item, 1, LARGE);
    while (thi_load_relaxed(&stop) == 0) {
        if (thrum_queue_tryput(arg, item) != 0 || thrum_queue_tryget(arg, item) != 0)
            abort();
    }
    free(item);
    return NULL;
}

static unsigned char childs[LARGE];

static int get_what_may_be_half_there(void *arg)
{
    const int err = thrum_queue_tryget(arg, childs);
    return err == 0 || err == EAGAIN || err == EOWNERDEAD ? 0 : 1;
}

Test(fork_first, in_the_middle_of_a_put_the_child_hears_of_it)
{
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    thrum_queue_t *q = NULL;
    pthread_t thread;
    config.item_size = LARGE;
    config.capacity = 1;
    EXPECT_CALL(0, thrum_queue_create(&q, &config));
    cr_assert_eq(pthread_create(&thread, NULL, put_and_get, q), 0);
    for (int i = 0; i < 12; i++)
        cr_expect_eq(child_run(get_what_may_be_half_there, q), 0);
    thi_store_relaxed(&stop, 1u);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    thrum_queue_destroy(q);
}
