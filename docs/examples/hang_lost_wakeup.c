/*
 * The lost wake-up. A condition remembers nothing: whoever is signalled before the wait begins is not there to hear
 * it. What has to be remembered is the state that the condition is about: look at it under the lock, before every
 * wait. An event remembers by itself.
 */
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

static thrum_mutex_t lock = THRUM_MUTEX_INIT;
static thrum_cond_t came = THRUM_COND_INIT;
static bool letter; /* under lock */
static thrum_event_t bell = THRUM_EVENT_INIT;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int deliver(void *arg, void **result)
{
    (void)arg, (void)result;
    must(thrum_mutex_lock(&lock));
    letter = true;
    thrum_cond_signal(&came); /* nobody waits yet */
    must(thrum_mutex_unlock(&lock));
    thrum_event_set(&bell);
    return 0;
}

static bool there_is_a_letter(void *arg)
{
    (void)arg;
    return letter;
}

int main(void)
{
    thrum_thread_t *postman = NULL;
    must(thrum_thread_spawn(&postman, deliver, NULL, NULL));
    must(thrum_thread_join(postman, NULL)); /* all is over before anybody waits */
    thrum_thread_release(postman);

    /* Without a look at the state: this wait would last for ever, had it no deadline. */
    must(thrum_mutex_lock(&lock));
    int err = thrum_cond_wait_until(&came, &lock, thrum_after(THRUM_MS(20)));
    printf("a wait for the signal alone: %s\n", thrum_strerror(err));

    /* With it: there is nothing to wait for. */
    err = thrum_cond_wait_for(&came, &lock, there_is_a_letter, NULL, THRUM_FOREVER);
    printf("a wait for the letter: %s\n", thrum_strerror(err));
    must(thrum_mutex_unlock(&lock));

    printf("a wait for the bell, which was rung: %s\n", thrum_strerror(thrum_event_wait(&bell)));
    return EXIT_SUCCESS;
}
