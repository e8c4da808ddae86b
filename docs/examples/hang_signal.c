/*
 * A signal handler may interrupt anybody, also who holds the very lock that it wants, so it may use no locks, and
 * nothing of this library. Let a thread take the signal instead: blocked everywhere, it is waited for by sigwait, and
 * what follows is ordinary code.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <thrum/thrum.h>

THRUM_QUEUE_DEFINE(jobs, int)

static thrum_event_t stop = THRUM_EVENT_INIT;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Threads of thrum block signals like this one anyway. */
static int take_signals(void *arg, void **result)
{
    sigset_t *signals = arg;
    int signal = 0;
    (void)result;
    must(sigwait(signals, &signal));
    thrum_event_set(&stop);
    return 0;
}

/* Waits for jobs, and for the word to stop. */
static int serve(void *arg, void **result)
{
    int job = 0;
    size_t chosen = 0;
    int served = 0;
    (void)result;
    thrum_case_t cases[] = {THRUM_CASE_GET(arg, &job), THRUM_CASE_EVENT(&stop)};
    for (;;) {
        must(thrum_select(cases, 2, THRUM_FOREVER, &chosen));
        if (chosen == 1)
            break;
        served++;
        must(thrum_queue_task_done(arg));
    }
    printf("asked to stop, after %d jobs\n", served);
    return 0;
}

int main(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    must(pthread_sigmask(SIG_BLOCK, &signals, NULL)); /* before there are other threads */

    thrum_queue_t *q = NULL;
    thrum_thread_t *taker = NULL;
    thrum_thread_t *server = NULL;
    must(jobs_create(&q, THRUM_FIFO, 0));
    must(thrum_thread_spawn(&taker, take_signals, &signals, NULL));
    must(thrum_thread_spawn(&server, serve, q, NULL));
    for (int job = 0; job < 3; job++)
        must(jobs_put(q, job));
    must(thrum_queue_join(q));
    kill(getpid(), SIGTERM);

    must(thrum_thread_join(server, NULL));
    must(thrum_thread_join(taker, NULL));
    thrum_thread_release(server);
    thrum_thread_release(taker);
    thrum_queue_destroy(q);
    return EXIT_SUCCESS;
}
