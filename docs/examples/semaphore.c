/*
 * Semaphore: eight workers share three connections.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/mutex.h>
#include <thrum/semaphore.h>

#define WORKERS 8
#define CONNECTIONS 3

static thrum_sem_t connections;
static thrum_mutex_t lock = THRUM_MUTEX_INIT;
static int in_use, most, queries;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void count(int change)
{
    must(thrum_mutex_lock(&lock));
    in_use += change;
    queries += change > 0;
    if (in_use > most)
        most = in_use;
    must(thrum_mutex_unlock(&lock));
}

static void *worker(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++) {
        must(thrum_sem_acquire(&connections));
        count(+1);
        must(thrum_sleep(THRUM_US(200)));
        count(-1);
        must(thrum_sem_release(&connections));
    }
    return NULL;
}

int main(void)
{
    /* Bounded: it never holds more than it began with. */
    must(thrum_sem_init_bounded(&connections, CONNECTIONS, CONNECTIONS));

    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        must(pthread_create(&threads[i], NULL, worker, NULL));
    for (int i = 0; i < WORKERS; i++)
        must(pthread_join(threads[i], NULL));
    printf("%d queries, never more than %d at once: %s\n", queries, CONNECTIONS,
           most <= CONNECTIONS ? "yes" : "no");

    printf("one release too many: %s\n", thrum_strerror(thrum_sem_release(&connections)));
    for (int i = 0; i < CONNECTIONS; i++)
        must(thrum_sem_tryacquire(&connections));
    printf("try the fourth: %s\n", thrum_strerror(thrum_sem_tryacquire(&connections)));
    const int err = thrum_sem_acquire_until(&connections, thrum_after(THRUM_MS(10)));
    printf("wait for the fourth: %s\n", thrum_strerror(err));
    must(thrum_sem_release_n(&connections, CONNECTIONS));
    printf("free again: %u\n", thrum_sem_value(&connections));
    return 0;
}
