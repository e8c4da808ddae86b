/*
 * Deadlines: one instant for a whole piece of work, however many waits it takes.
 *
 * A program asks five servers and has 50 ms for all of them together. Then it ticks, and no tick moves
 * the next one.
 */
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/event.h>
#include <thrum/time.h>

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Waits for five answers until one deadline. */
static void ask_everybody(void)
{
    thrum_event_t answered[5] = {THRUM_EVENT_INIT};
    thrum_event_set(&answered[0]);
    thrum_event_set(&answered[1]);
    thrum_event_set(&answered[3]);

    const thrum_time_t deadline = thrum_after(THRUM_MS(50));
    for (int i = 0; i < 5; i++) {
        /* The third takes what is left of the 50 ms. After that the deadline has passed: what is
         * there is still had, and nothing else is waited for. */
        const int err = thrum_event_wait_until(&answered[i], deadline);
        printf("server %d: %s\n", i + 1, err == 0 ? "answered" : thrum_strerror(err));
    }
    printf("the 50 ms are over: %s\n", thrum_now() >= deadline ? "yes" : "no");
}

/* A beat that does not drift: each tick is reckoned from the one before it, not from when the program
 * woke up. */
static void tick(int beats)
{
    thrum_time_t next = thrum_now();
    for (int i = 1; i <= beats; i++) {
        next += THRUM_MS(10);
        must(thrum_sleep_until(next));
        printf("tick %d%s\n", i, thrum_now() >= next ? "" : ", too early");
    }
}

int main(void)
{
    ask_everybody();
    tick(3);
    must(thrum_sleep(THRUM_US(100)));
    printf("a negative duration: %s\n", thrum_strerror(thrum_sleep(-1)));
    return 0;
}
