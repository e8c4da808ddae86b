/*
 * Four threads hand in their greetings; the main thread waits until the last has come.
 */
#include <pthread.h>
#include <stdio.h>
#include <thrum/thrum.h>

static thrum_mutex_t lock = THRUM_MUTEX_INIT;
static thrum_waitgroup_t pending = THRUM_WAITGROUP_INIT;
static int greetings;

static void *greet(void *arg)
{
    thrum_mutex_lock(&lock);
    greetings++;
    thrum_mutex_unlock(&lock);
    thrum_waitgroup_done(&pending);
    return arg;
}

int main(void)
{
    pthread_t threads[4];
    thrum_waitgroup_add(&pending, 4);
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, greet, NULL) != 0)
            return 1;
    int err = thrum_waitgroup_wait_until(&pending, thrum_after(THRUM_S(5)));
    printf("%d greetings: %s\n", greetings, thrum_strerror(err));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    return err;
}
