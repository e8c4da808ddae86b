/*
 * Promises of one's own: a future that the program ends itself, wherever the answer comes from. Here a
 * timer turns into "a future that is done after that long". It can be waited for, chained, selected and
 * cancelled like the future of a task.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void keep(thrum_timer_t *t, void *promise)
{
    static char ring[] = "ring";
    (void)t;
    (void)thrum_future_complete(promise, ring); /* EINVAL: it was cancelled meanwhile */
    thrum_future_release(promise);
}

/* A future that is done in so many nanoseconds. The timer has a reference of its own. */
static thrum_future_t *alarm_in(int64_t nanoseconds)
{
    thrum_future_t *promise = NULL;
    thrum_timer_t *t = NULL;
    must(thrum_future_create(&promise));
    must(thrum_timer_create(&t, keep, thrum_future_retain(promise)));
    must(thrum_timer_start(t, nanoseconds));
    thrum_timer_release(t); /* lives on until it has run */
    return promise;
}

static void answered(thrum_future_t *f, void *arg)
{
    (void)arg;
    printf("callback: %s\n", thrum_future_cancelled(f) ? "cancelled" : "done");
}

int main(void)
{
    void *value = NULL;
    thrum_future_t *f = alarm_in(THRUM_MS(5));
    must(thrum_future_result(f, &value));
    printf("alarm: %s\n", (const char *)value);
    thrum_future_release(f);

    /* Whichever comes first: a future is a case of select like a queue or an event. */
    thrum_event_t stop = THRUM_EVENT_INIT;
    f = alarm_in(THRUM_MS(5));
    thrum_case_t cases[] = {THRUM_CASE_EVENT(&stop), THRUM_CASE_FUTURE(f)};
    size_t chosen = 0;
    must(thrum_select(cases, 2, THRUM_FOREVER, &chosen));
    printf("chosen: %s\n", chosen == 1 ? "the alarm" : "the stop");
    thrum_future_release(f);

    /* Cancelled before anybody has started to work on it: the callbacks run in the cancel. */
    must(thrum_future_create(&f));
    must(thrum_future_add_done_callback(f, answered, NULL));
    printf("cancelled: %s\n", thrum_future_cancel(f) ? "yes" : "no");
    printf("start: %s\n", thrum_strerror(thrum_future_start(f)));
    printf("result: %s\n", thrum_strerror(thrum_future_result(f, NULL)));
    thrum_future_release(f);

    /* Started first, it cannot be cancelled any more; and it is ended once. */
    must(thrum_future_create(&f));
    must(thrum_future_start(f));
    printf("cancelled: %s\n", thrum_future_cancel(f) ? "yes" : "no");
    must(thrum_future_fail(f, EHOSTUNREACH));
    printf("again: %s\n", thrum_strerror(thrum_future_complete(f, NULL)));
    printf("result is the error: %s\n",
           thrum_future_result(f, NULL) == EHOSTUNREACH ? "yes" : "no");
    thrum_future_release(f);
    return 0;
}
