/*
 * Recursive lock: the operations of an account lock it, and some of them call each other.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/rlock.h>

struct account {
    thrum_rlock_t lock;
    int balance;
};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void deposit(struct account *a, int amount)
{
    must(thrum_rlock_lock(&a->lock));
    a->balance += amount;
    must(thrum_rlock_unlock(&a->lock));
}

static bool withdraw(struct account *a, int amount)
{
    must(thrum_rlock_lock(&a->lock));
    const bool enough = a->balance >= amount;
    if (enough)
        deposit(a, -amount); /* locks what is locked already */
    must(thrum_rlock_unlock(&a->lock));
    return enough;
}

static void *spender(void *arg)
{
    struct account *a = arg;
    for (int i = 0; i < 1000; i++) {
        if (!withdraw(a, 1))
            break;
    }
    return NULL;
}

/* The lock belongs to the strand that took it, and to nobody else. */
static void *stranger(void *arg)
{
    struct account *a = arg;
    printf("stranger: owned %d, depth %u, unlock: %s\n", thrum_rlock_owned(&a->lock),
           thrum_rlock_depth(&a->lock), thrum_strerror(thrum_rlock_unlock(&a->lock)));
    return NULL;
}

int main(void)
{
    struct account a = {THRUM_RLOCK_INIT, 2500};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        must(pthread_create(&threads[i], NULL, spender, &a));
    for (int i = 0; i < 3; i++)
        must(pthread_join(threads[i], NULL));
    printf("left: %d\n", a.balance);

    must(thrum_rlock_lock(&a.lock));
    must(thrum_rlock_lock(&a.lock));
    must(pthread_create(&threads[0], NULL, stranger, &a));
    must(pthread_join(threads[0], NULL));
    printf("owner: owned %d, depth %u\n", thrum_rlock_owned(&a.lock), thrum_rlock_depth(&a.lock));
    must(thrum_rlock_unlock(&a.lock));
    must(thrum_rlock_unlock(&a.lock));
    printf("locked: %d\n", thrum_rlock_locked(&a.lock));
    thrum_rlock_destroy(&a.lock);
    return 0;
}
