/*
 * A pool and callbacks: six words are looked up by four workers, and nobody waits for any of them. Whoever
 * ends a future calls what was added to it, so the answers are written down as they come in. Then what a
 * callback may count on: the order, and that none is too late.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <thrum/thrum.h>

#define WORDS 6

static thrum_waitgroup_t pending = THRUM_WAITGROUP_INIT;
static thrum_mutex_t lock = THRUM_MUTEX_INIT; /* guards the two below */
static size_t letters;
static int unknown;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* A task: returns its status, and hands something back in *result. */
static int look_up(void *arg, void **result)
{
    if (strchr(arg, 'q') != NULL)
        return ENOENT;
    *result = arg;
    return 0;
}

/* Runs in the worker that ran the task. The future has ended, so asking it does not wait. */
static void write_down(thrum_future_t *f, void *arg)
{
    void *word = NULL;
    const int err = thrum_future_result(f, &word);
    (void)arg;
    thrum_mutex_lock(&lock);
    if (err == 0)
        letters += strlen(word);
    else
        unknown++;
    thrum_mutex_unlock(&lock);
    must(thrum_waitgroup_done(&pending));
}

static int wait_for_start(void *arg, void **result)
{
    (void)result;
    return thrum_event_wait(arg);
}

static void say(thrum_future_t *f, void *arg)
{
    (void)f;
    printf("%s\n", (const char *)arg);
}

int main(void)
{
    static char words[WORDS][8] = {"apple", "quince", "pear", "plum", "kumquat", "fig"};
    static char order[3][24] = {"called first", "called second", "called at once"};
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    thrum_executor_t *pool = NULL;
    config.workers = 4;
    must(thrum_thread_pool_create(&pool, &config));

    for (int i = 0; i < WORDS; i++) {
        thrum_future_t *f = NULL;
        must(thrum_waitgroup_add(&pending, 1));
        must(thrum_executor_submit(pool, look_up, words[i], &f));
        must(thrum_future_add_done_callback(f, write_down, NULL));
        thrum_future_release(f); /* the callback will be called all the same */
    }
    must(thrum_waitgroup_wait(&pending));
    printf("letters: %zu, unknown: %d\n", letters, unknown);

    thrum_event_t start = THRUM_EVENT_INIT;
    thrum_future_t *f = NULL;
    must(thrum_executor_submit(pool, wait_for_start, &start, &f));
    must(thrum_future_add_done_callback(f, say, order[0]));
    must(thrum_future_add_done_callback(f, say, order[1]));
    thrum_event_set(&start);
    thrum_executor_destroy(pool); /* waits for what was accepted, callbacks included */
    printf("the pool is gone\n");
    must(thrum_future_add_done_callback(f, say, order[2])); /* it has ended: called here and now */
    thrum_future_release(f);
    return 0;
}
