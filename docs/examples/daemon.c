/*
 * Daemons and others, at the end of the process: it waits for the writer, which nobody joins, and not
 * for the watcher, which waits for something that never comes. A third, asked to stop, ends well.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

static thrum_event_t main_returns = THRUM_EVENT_INIT;
static thrum_event_t alarm_bell = THRUM_EVENT_INIT;
static thrum_sem_t jobs = THRUM_SEM_INIT(0);

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int watch(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return thrum_event_wait(&alarm_bell); /* which nobody rings */
}

static int write_out(void *arg, void **result)
{
    (void)result;
    must(thrum_event_wait(&main_returns));
    must(thrum_sleep(THRUM_MS(20))); /* long after main */
    printf("the writer: %s\n", (const char *)arg);
    return 0;
}

static int work(void *arg, void **result)
{
    (void)arg;
    (void)result;
    int err = 0;
    while (err == 0)
        err = thrum_sem_acquire(&jobs);
    return err; /* ECANCELED: asked to stop */
}

int main(void)
{
    static char last_words[] = "everything is on disk";
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    thrum_thread_t *watcher = NULL;
    thrum_thread_t *worker = NULL;

    config.name = "watcher";
    config.daemon = true;
    must(thrum_thread_spawn(&watcher, watch, NULL, &config));
    must(thrum_thread_spawn(NULL, write_out, last_words, NULL)); /* nobody will ask */
    must(thrum_thread_spawn(&worker, work, NULL, NULL));

    must(thrum_thread_cancel(worker));
    printf("the worker: %s\n", thrum_strerror(thrum_thread_join(worker, NULL)));
    thrum_thread_release(worker);

    printf("the %s is a daemon: %s\n", thrum_thread_name(watcher),
           thrum_thread_daemon(watcher) ? "yes" : "no");
    printf("too late to change that: %s\n",
           thrum_strerror(thrum_thread_set_daemon(watcher, false)));
    thrum_thread_release(watcher);

    printf("main returns\n");
    thrum_event_set(&main_returns);
    return 0;
}
