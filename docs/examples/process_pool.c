/*
 * A process pool and callbacks: texts are counted by two workers, each a process of its own. Bytes go in and bytes
 * come out; nobody waits for a single one. One text kills its worker: that task fails, and says why, and the others
 * do not hear of it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <thrum/thrum.h>

#define TEXTS 5

static thrum_waitgroup_t pending = THRUM_WAITGROUP_INIT;
static size_t words; /* callbacks are called one after the other */
static int killed;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* In a worker. */
static int count_words(const void *in, size_t size, thrum_reply_t *reply)
{
    const char *text = in;
    size_t count = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '!')
            raise(SIGKILL); /* as a bug would */
        count += text[i] != ' ' && (i == 0 || text[i - 1] == ' ');
    }
    return thrum_reply(reply, &count, sizeof count);
}

/* In this process, by a thread of the pool. */
static void add_up(thrum_future_t *f, void *arg)
{
    const void *data = NULL;
    size_t size = 0;
    int signal = 0;
    (void)arg;
    if (thrum_future_bytes(f, &data, &size) == 0) {
        size_t count = 0;
        memcpy(&count, data, sizeof count);
        words += count;
    } else if (thrum_future_cause(f, &signal, NULL) == 0 && signal == SIGKILL) {
        killed++;
    }
    must(thrum_waitgroup_done(&pending));
}

static int twice(void *arg, void **result)
{
    *result = (void *)((uintptr_t)arg * 2);
    return 0;
}

int main(void)
{
    static const char *const texts[TEXTS] = {"a rose is a rose", "is a rose", "oh no!",
                                             "and so on and on", "until the end"};
    thrum_process_pool_config_t config = THRUM_PROCESS_POOL_CONFIG_INIT;
    thrum_executor_t *pool = NULL;
    config.workers = 2;
    config.task_timeout = THRUM_S(20);
    must(thrum_process_pool_create(&pool, &config));

    for (int i = 0; i < TEXTS; i++) {
        thrum_future_t *f = NULL;
        must(thrum_waitgroup_add(&pending, 1));
        must(thrum_executor_submit_bytes(pool, count_words, texts[i], strlen(texts[i]), &f));
        must(thrum_future_add_done_callback(f, add_up, NULL));
        thrum_future_release(f); /* the callback will be called all the same */
    }
    must(thrum_waitgroup_wait(&pending));
    printf("words: %zu, killed: %d\n", words, killed);

    /* Numbers travel as they are: one function over an array. */
    void *in[100];
    void *out[100];
    for (uintptr_t i = 0; i < 100; i++)
        in[i] = (void *)i;
    must(thrum_executor_map(pool, twice, in, out, NULL, 100, 10, THRUM_FOREVER));
    printf("the last one: %zu\n", (size_t)(uintptr_t)out[99]);

    thrum_executor_destroy(pool);
    return 0;
}
