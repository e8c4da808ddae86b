/*
 * A process pool when a call of the system fails: making it fails and leaves nothing behind, or it works; nothing that
 * was accepted is lost.
 */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <thrum/thrum.h>

#include "fault/counted.h"
#include "support/left_behind.h"

TestSuite(process_pool, .timeout = 60);

enum { MOST = 60 };

static int twice(void *arg, void **result)
{
    *result = (void *)((uintptr_t)arg * 2);
    return 0;
}

static int echo(const void *in, size_t size, thrum_reply_t *reply)
{
    return thrum_reply(reply, in, size);
}

static thrum_executor_t *make(int *err)
{
    thrum_executor_t *pool = NULL;
    thrum_process_pool_config_t config = THRUM_PROCESS_POOL_CONFIG_INIT;
    config.workers = 2;
    config.backlog = 100;
    *err = thrum_process_pool_create(&pool, &config);
    return pool;
}

static bool is_known(int err)
{
    return err == ENOMEM || err == EAGAIN || err == EMFILE || err == ENFILE;
}

/* How many calls failed before none was left to fail. */
static unsigned create_without(thi_fault_t kind)
{
    unsigned failures = 0;
    const int before = count_descriptors();
    for (unsigned nth = 1; nth < MOST; nth++) {
        int err = 0;
        thi_fault_arm(kind, nth);
        thrum_executor_t *pool = make(&err);
        thi_fault_arm(kind, 0);
        cr_assert(err == 0 ? pool != NULL : pool == NULL && is_known(err), "%d", err);
        if (err == 0) {
            void *value = NULL;
            thrum_future_t *f = NULL;
            cr_assert_eq(thrum_executor_submit(pool, twice, (void *)4, &f), 0);
            cr_expect_eq(thrum_future_result(f, &value), 0);
            cr_expect_eq(value, (void *)8);
            thrum_future_release(f);
            thrum_executor_destroy(pool);
        }
        while (count_descriptors() > before) /* the last thread closes one on its way out */
            usleep(200);
        cr_expect(waitpid(-1, NULL, WNOHANG) == -1, "no child is left");
        failures += err != 0;
    }
    return failures;
}

Test(process_pool, making_one_fails_whole)
{
    int err = 0;
    thrum_executor_destroy(make(&err)); /* what the thread needs for good is there now */
    cr_expect_geq(create_without(THI_FAULT_ALLOC), 3u);
    cr_expect_geq(create_without(THI_FAULT_SHARED), 2u);
    cr_expect_geq(create_without(THI_FAULT_SIGNAL), 1u);
    cr_expect_geq(create_without(THI_FAULT_CHANNEL), 2u);
    cr_expect_geq(create_without(THI_FAULT_FORK), 1u);
    cr_expect_geq(create_without(THI_FAULT_THREAD), 2u);
}

/* The spawner inherits what is armed: workers fail to come at first, and then do. */
Test(process_pool, workers_that_cannot_be_forked_come_later)
{
    for (unsigned nth = 2; nth < 8; nth++) {
        int err = 0;
        void *value = NULL;
        thrum_future_t *f = NULL;
        thi_fault_arm(nth % 2 == 0 ? THI_FAULT_FORK : THI_FAULT_CHANNEL, nth);
        thrum_executor_t *pool = make(&err);
        thi_fault_arm(THI_FAULT_FORK, 0);
        thi_fault_arm(THI_FAULT_CHANNEL, 0);
        if (err != 0)
            continue;
        cr_assert_eq(thrum_executor_submit(pool, twice, (void *)4, &f), 0);
        cr_expect_eq(thrum_future_result(f, &value), 0);
        cr_expect_eq(value, (void *)8);
        thrum_future_release(f);
        thrum_executor_destroy(pool);
    }
}

static int bytes_or_enomem(thrum_executor_t *pool, const void *in, size_t size)
{
    thrum_future_t *f = NULL;
    const void *data = NULL;
    size_t got = 0;
    int err = thrum_executor_submit_bytes(pool, echo, in, size, &f);
    cr_assert(err == 0 ? f != NULL : f == NULL);
    if (err != 0)
        return err;
    err = thrum_future_bytes(f, &data, &got);
    cr_expect(err != 0 || (got == size && memcmp(data, in, size) == 0));
    thrum_future_release(f);
    return err;
}

Test(process_pool, submits_without_memory_say_so)
{
    static unsigned char bytes[100000];
    static const size_t sizes[] = {10, 1000, sizeof bytes};
    static const thi_fault_t kinds[] = {THI_FAULT_ALLOC, THI_FAULT_SHARED, THI_FAULT_PAGES};
    int err = 0;
    thrum_executor_t *pool = make(&err);
    cr_assert_eq(err, 0);
    for (size_t kind = 0; kind < 3; kind++)
        for (size_t i = 0; i < 3; i++)
            for (unsigned nth = 1; nth < 8; nth++) {
                thi_fault_arm(kinds[kind], nth);
                err = bytes_or_enomem(pool, bytes, sizes[i]);
                thi_fault_arm(kinds[kind], 0);
                cr_expect(err == 0 || err == ENOMEM, "%d", err);
                cr_expect_eq(bytes_or_enomem(pool, bytes, sizes[i]), 0);
            }
    thrum_executor_destroy(pool);
}

Test(process_pool, a_map_without_memory_says_so)
{
    enum { N = 500 };
    static void *args[N];
    static void *results[N];
    int err = 0;
    thrum_executor_t *pool = make(&err);
    cr_assert_eq(err, 0);
    for (uintptr_t i = 0; i < N; i++)
        args[i] = (void *)i;
    for (unsigned nth = 1; nth < 40; nth++) {
        thi_fault_arm(nth % 2 == 0 ? THI_FAULT_ALLOC : THI_FAULT_SHARED, nth / 2 + 1);
        err = thrum_executor_map(pool, twice, args, results, NULL, N, 10, THRUM_FOREVER);
        thi_fault_arm(THI_FAULT_ALLOC, 0);
        thi_fault_arm(THI_FAULT_SHARED, 0);
        cr_assert(err == 0 || err == ENOMEM, "%d", err);
        for (uintptr_t i = 0; err == 0 && i < N; i++)
            cr_assert_eq(results[i], (void *)(2 * i));
    }
    thrum_executor_destroy(pool);
}
