/*
 * What each error means, by provoking it. 0 or a positive errno value comes back from every function
 * that can fail; errno itself is left alone.
 */
#include <errno.h>
#include <stdio.h>

#include <thrum/thrum.h>

static void show(const char *call, int err)
{
    printf("%-24s %s\n", call, thrum_strerror(err));
}

static int asks_for_itself(void *once)
{
    return thrum_once(once, asks_for_itself, once);
}

int main(void)
{
    thrum_mutex_t mutex = THRUM_MUTEX_INIT;
    thrum_sem_t empty = THRUM_SEM_INIT(0);
    thrum_sem_t full = THRUM_SEM_INIT(THRUM_SEM_MAX);
    thrum_waitgroup_t group = THRUM_WAITGROUP_INIT;
    thrum_once_t once = THRUM_ONCE_INIT;
    thrum_barrier_t barrier;
    errno = 0;

    show("init a barrier for 0", thrum_barrier_init(&barrier, 0, NULL, NULL));
    show("init a barrier for 2", thrum_barrier_init(&barrier, 2, NULL, NULL));
    show("lock", thrum_mutex_lock(&mutex));
    show("trylock", thrum_mutex_trylock(&mutex));
    show("lock_until now", thrum_mutex_lock_until(&mutex, thrum_now()));
    show("unlock", thrum_mutex_unlock(&mutex));
    show("unlock again", thrum_mutex_unlock(&mutex));
    show("lock nothing", thrum_mutex_lock(NULL));
    show("tryacquire from none", thrum_sem_tryacquire(&empty));
    show("acquire_until now", thrum_sem_acquire_until(&empty, thrum_now()));
    show("release past the limit", thrum_sem_release(&full));
    show("done below zero", thrum_waitgroup_done(&group));
    show("once inside itself", thrum_once(&once, asks_for_itself, &once));
    show("wait at a barrier alone", thrum_barrier_wait_until(&barrier, NULL, thrum_now()));
    show("wait at it again", thrum_barrier_wait(&barrier, NULL));
    printf("errno is still %d\n", errno);
    return 0;
}
