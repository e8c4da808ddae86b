/*
 * Mutex: clerks move money between accounts; nobody ever sees money that has left one account and not
 * reached the other.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/mutex.h>

#define CLERKS 4
#define TRANSFERS 10000
#define ACCOUNTS 8

static thrum_mutex_t bank = THRUM_MUTEX_INIT;
static int balance[ACCOUNTS] = {100, 100, 100, 100, 100, 100, 100, 100};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int total(void)
{
    int sum = 0;
    must(thrum_mutex_lock(&bank));
    for (int i = 0; i < ACCOUNTS; i++)
        sum += balance[i];
    must(thrum_mutex_unlock(&bank));
    return sum;
}

static void *clerk(void *arg)
{
    unsigned dice = *(const unsigned *)arg;
    for (int i = 0; i < TRANSFERS; i++) {
        dice = dice * 1103515245u + 12345u;
        must(thrum_mutex_lock(&bank));
        balance[dice >> 16 & 7]--;
        balance[dice >> 24 & 7]++;
        must(thrum_mutex_unlock(&bank));
    }
    return NULL;
}

/* The other two forms: do not wait at all, and wait until a deadline. */
static void *impatient(void *arg)
{
    (void)arg;
    printf("trylock: %s\n", thrum_strerror(thrum_mutex_trylock(&bank)));
    const int err = thrum_mutex_lock_until(&bank, thrum_after(THRUM_MS(20)));
    printf("lock_until: %s\n", thrum_strerror(err));
    return NULL;
}

int main(void)
{
    pthread_t threads[CLERKS];
    unsigned seeds[CLERKS] = {1, 2, 3, 4};
    for (int i = 0; i < CLERKS; i++)
        must(pthread_create(&threads[i], NULL, clerk, &seeds[i]));
    int wrong = 0;
    for (int i = 0; i < 100; i++)
        wrong += total() != ACCOUNTS * 100;
    for (int i = 0; i < CLERKS; i++)
        must(pthread_join(threads[i], NULL));
    printf("total: %d, seen wrong: %d times\n", total(), wrong);

    must(thrum_mutex_lock(&bank));
    must(pthread_create(&threads[0], NULL, impatient, NULL));
    must(pthread_join(threads[0], NULL));
    must(thrum_mutex_unlock(&bank));

    printf("unlocked twice: %s\n", thrum_strerror(thrum_mutex_unlock(&bank)));
    thrum_mutex_destroy(&bank);
    return 0;
}
