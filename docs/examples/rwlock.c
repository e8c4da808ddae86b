/*
 * Read-write lock: many read a route while one, now and then, replaces it. No reader sees half of the
 * old and half of the new one, and the writer is never kept out by the readers.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/rwlock.h>

#define READERS 3
#define ROUTES 200

static thrum_rwlock_t lock = THRUM_RWLOCK_INIT;
static struct {
    int from, to;
} route;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void *reader(void *arg)
{
    int *torn = arg;
    int last = 0;
    while (last != ROUTES) {
        must(thrum_rwlock_rdlock(&lock));
        *torn += route.from != route.to;
        last = route.to;
        must(thrum_rwlock_rdunlock(&lock));
    }
    return NULL;
}

static void *writer(void *arg)
{
    (void)arg;
    for (int i = 1; i <= ROUTES; i++) {
        must(thrum_rwlock_wrlock(&lock));
        route.from = i;
        route.to = i;
        must(thrum_rwlock_wrunlock(&lock));
    }
    return NULL;
}

/* Write, and go on reading what was written: no other writer comes in between. */
static void downgrade(void)
{
    must(thrum_rwlock_wrlock(&lock));
    route.from = route.to = -1;
    printf("a reader now: %s\n", thrum_strerror(thrum_rwlock_tryrdlock(&lock)));
    must(thrum_rwlock_downgrade(&lock));
    const int err = thrum_rwlock_tryrdlock(&lock);
    printf("a reader after downgrade: %s\n", thrum_strerror(err));
    printf("a writer after downgrade: %s\n", thrum_strerror(thrum_rwlock_trywrlock(&lock)));
    must(thrum_rwlock_rdunlock(&lock));
    must(thrum_rwlock_rdunlock(&lock));
}

int main(void)
{
    pthread_t threads[READERS + 1];
    int torn[READERS] = {0};
    for (int i = 0; i < READERS; i++)
        must(pthread_create(&threads[i], NULL, reader, &torn[i]));
    must(pthread_create(&threads[READERS], NULL, writer, NULL));
    for (int i = 0; i <= READERS; i++)
        must(pthread_join(threads[i], NULL));
    printf("last route: %d, torn: %d\n", route.to, torn[0] + torn[1] + torn[2]);
    downgrade();
    thrum_rwlock_destroy(&lock);
    return 0;
}
