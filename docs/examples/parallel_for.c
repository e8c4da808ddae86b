/*
 * A loop in parallel: y = a * x + y over a million numbers, in pieces that the pool's workers and the
 * calling thread take as they get free. Then a sum, for which each piece adds up by itself first, and a loop
 * that ends at the first error.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

#define N 1000000

struct vectors {
    double a;
    double *x;
    double *y;
    thrum_mutex_t lock; /* guards sum */
    double sum;
};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Works on [begin, end): a loop of its own, so that the compiler can do its best. */
static int multiply_add(size_t begin, size_t end, void *arg)
{
    const struct vectors *v = arg;
    for (size_t i = begin; i < end; i++)
        v->y[i] += v->a * v->x[i];
    return 0;
}

static int add_up(size_t begin, size_t end, void *arg)
{
    struct vectors *v = arg;
    double sum = 0;
    for (size_t i = begin; i < end; i++)
        sum += v->y[i];
    thrum_mutex_lock(&v->lock); /* once for each piece */
    v->sum += sum;
    thrum_mutex_unlock(&v->lock);
    return 0;
}

static int none_negative(size_t begin, size_t end, void *arg)
{
    const struct vectors *v = arg;
    for (size_t i = begin; i < end; i++)
        if (v->y[i] < 0)
            return EDOM; /* no further piece begins */
    return 0;
}

int main(void)
{
    static double x[N];
    static double y[N];
    struct vectors v = {.a = 2, .x = x, .y = y, .lock = THRUM_MUTEX_INIT};
    thrum_executor_t *pool = NULL;
    must(thrum_thread_pool_create(&pool, NULL));
    for (size_t i = 0; i < N; i++) {
        x[i] = (double)i;
        y[i] = 1;
    }

    must(thrum_parallel_for(pool, 0, N, 0, multiply_add, &v)); /* grain 0: chosen */
    printf("y[0] %.0f, y[%d] %.0f\n", y[0], N - 1, y[N - 1]);
    must(thrum_parallel_for(pool, 0, N, 10000, add_up, &v)); /* a hundred pieces */
    printf("sum %.0f\n", v.sum);

    printf("none below 0: %s\n",
           thrum_parallel_for(pool, 0, N, 1000, none_negative, &v) == 0 ? "yes" : "no");
    y[N / 2] = -1;
    printf("none below 0: %s\n",
           thrum_parallel_for(pool, 0, N, 1000, none_negative, &v) == EDOM ? "no" : "yes");
    thrum_executor_destroy(pool);
    return 0;
}
