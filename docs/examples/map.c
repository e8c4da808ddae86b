/*
 * Map: one function over an array, on the workers of a pool, with the results in the places of their
 * arguments. An error does not stop the others; a deadline does.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

#define N 10000

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* How many steps of "halve it, or triple it and add one" lead from a number to 1. */
static int steps(void *arg, void **result)
{
    uintptr_t n = (uintptr_t)arg;
    uintptr_t count = 0;
    if (n == 0)
        return EINVAL; /* never gets there */
    while (n != 1) {
        n = n % 2 == 0 ? n / 2 : 3 * n + 1;
        count++;
    }
    *result = (void *)count;
    return 0;
}

static int sleep_a_while(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_sleep(THRUM_MS(1));
}

static size_t longest(void *const *counts, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if ((uintptr_t)counts[i] > (uintptr_t)counts[best])
            best = i;
    return best;
}

int main(void)
{
    static void *args[N];
    static void *counts[N];
    static int status[N];
    thrum_executor_t *pool = NULL;
    must(thrum_thread_pool_create(&pool, NULL));

    for (uintptr_t i = 0; i < N; i++)
        args[i] = (void *)i;
    int err = thrum_executor_map(pool, steps, args, counts, status, N, 0, THRUM_FOREVER);
    const size_t best = longest(counts, N);
    printf("map: %s\n", thrum_strerror(err)); /* of the first that failed, in their order */
    printf("0: %s\n", thrum_strerror(status[0]));
    printf("27: %s, %zu steps\n", thrum_strerror(status[27]), (size_t)counts[27]);
    printf("most below %d: %zu, with %zu steps\n", N, best, (size_t)counts[best]);

    /* Ten thousand milliseconds of sleep and a deadline: what has not begun by then will not. */
    err = thrum_executor_map(pool, sleep_a_while, NULL, NULL, status, N, 1,
                             thrum_after(THRUM_MS(20)));
    int begun = 0;
    for (int i = 0; i < N; i++)
        begun += status[i] != ECANCELED;
    printf("with a deadline: %s, %s\n", thrum_strerror(err), begun < N ? "cut short" : "done");
    thrum_executor_destroy(pool);
    return 0;
}
