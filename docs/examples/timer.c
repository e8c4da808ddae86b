/*
 * Timers: a reminder, a beat that stops itself, and a deadline that is put off as long as somebody is
 * there and called off in the end.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

static thrum_event_t reminded = THRUM_EVENT_INIT;
static thrum_event_t stopped = THRUM_EVENT_INIT;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Functions of timers are short: they tell somebody, and return. */
static void remind(thrum_timer_t *t, void *arg)
{
    (void)t;
    printf("reminder: %s\n", (const char *)arg);
    thrum_event_set(&reminded);
}

static void beat(thrum_timer_t *t, void *arg)
{
    int *beats = arg;
    if (++*beats < 5)
        return;
    if (thrum_timer_cancel(t)) /* from inside: no run after this one */
        thrum_event_set(&stopped);
}

static void hang_up(thrum_timer_t *t, void *arg)
{
    (void)t;
    *(bool *)arg = true;
}

int main(void)
{
    static char tea[] = "the tea is ready";
    thrum_timer_t *t = NULL;
    int beats = 0;
    bool hung_up = false;
    bool prevented = false;

    must(thrum_timer_create(&t, remind, tea));
    must(thrum_timer_start(t, THRUM_MS(10)));
    must(thrum_event_wait(&reminded));
    thrum_timer_release(t);

    must(thrum_timer_create(&t, beat, &beats));
    must(thrum_timer_start_periodic(t, 0, THRUM_MS(2)));
    must(thrum_event_wait(&stopped));
    /* It is not running any more, so `beats` is ours. */
    must(thrum_timer_cancel_wait(t, NULL));
    printf("beats: %d, runs: %d\n", beats, (int)thrum_timer_runs(t));
    thrum_timer_release(t);

    must(thrum_timer_create(&t, hang_up, &hung_up));
    must(thrum_timer_start(t, THRUM_S(60)));
    for (int word = 0; word < 3; word++)
        must(thrum_timer_reschedule(t, THRUM_S(60))); /* another minute */
    must(thrum_timer_cancel_wait(t, &prevented));
    printf("called off: %s, hung up: %s\n", prevented ? "yes" : "no", hung_up ? "yes" : "no");
    thrum_timer_release(t);
    return 0;
}
