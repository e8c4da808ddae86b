/*
 * Then: a chain of futures. An order is priced, taxed and written on a bill; no step waits for the one
 * before, each is submitted when that has ended. A step is called however that ended, and says what an
 * error means to it.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

#define BILL 64

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int price(void *arg, void **result)
{
    const intptr_t pieces = (intptr_t)arg;
    if (pieces <= 0)
        return ENOENT;
    *result = (void *)(pieces * 250);
    return 0;
}

/* Hands errors on. */
static int tax(thrum_future_t *priced, void *arg, void **result)
{
    void *cents = NULL;
    const int err = thrum_future_result(priced, &cents); /* it has ended: does not wait */
    if (err == 0)
        *result = (void *)((intptr_t)cents * (100 + (intptr_t)arg) / 100);
    return err;
}

/* Knows what to do about them: an order that cannot be priced is free. */
static int forgive(thrum_future_t *taxed, void *arg, void **result)
{
    const int err = thrum_future_result(taxed, result);
    (void)arg;
    if (err != 0)
        *result = NULL;
    return 0;
}

/* Runs in the strand that ended the step before: it is too short for a task. */
static int write_bill(thrum_future_t *f, void *arg, void **result)
{
    char *bill = arg;
    void *cents = NULL;
    const int err = thrum_future_result(f, &cents);
    if (err != 0)
        snprintf(bill, BILL, "%s", thrum_strerror(err));
    else
        snprintf(bill, BILL, "%d cents", (int)(intptr_t)cents);
    *result = bill;
    return 0;
}

static void bill(thrum_executor_t *pool, intptr_t pieces, bool forgiving)
{
    char text[BILL];
    void *written = NULL;
    thrum_future_t *steps[4] = {NULL};
    must(thrum_executor_submit(pool, price, (void *)pieces, &steps[0]));
    must(thrum_future_then(steps[0], pool, tax, (void *)19, &steps[1]));
    must(thrum_future_then(steps[1], pool, forgiving ? forgive : tax, (void *)0, &steps[2]));
    must(thrum_future_then(steps[2], NULL, write_bill, text, &steps[3]));
    must(thrum_future_result(steps[3], &written)); /* the last one only */
    printf("%d pieces: %s\n", (int)pieces, (const char *)written);
    for (int i = 0; i < 4; i++)
        thrum_future_release(steps[i]);
}

int main(void)
{
    thrum_executor_t *pool = NULL;
    must(thrum_thread_pool_create(&pool, NULL));
    bill(pool, 4, false);
    bill(pool, -1, false);
    bill(pool, -1, true);
    thrum_executor_destroy(pool);

    /* A step that the executor does not take fails with the executor's error. */
    thrum_future_t *promise = NULL;
    thrum_future_t *next = NULL;
    must(thrum_thread_pool_create(&pool, NULL));
    must(thrum_future_create(&promise));
    must(thrum_future_then(promise, pool, tax, (void *)19, &next));
    must(thrum_executor_shutdown(pool, THRUM_WAIT));
    must(thrum_future_complete(promise, NULL));
    printf("after the shutdown: %s\n", thrum_strerror(thrum_future_result(next, NULL)));
    thrum_future_release(promise);
    thrum_future_release(next);
    thrum_executor_destroy(pool);
    return 0;
}
