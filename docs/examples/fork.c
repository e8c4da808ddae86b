/*
 * Fork: what the child inherits either works or says so. Nothing that a thread of the parent held or
 * was about to do makes the child hang.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thrum/thrum.h>

static thrum_mutex_t mine = THRUM_MUTEX_INIT;
static thrum_mutex_t theirs = THRUM_MUTEX_INIT;
static thrum_event_t held = THRUM_EVENT_INIT;
static thrum_event_t done = THRUM_EVENT_INIT;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void *holder(void *arg)
{
    (void)arg;
    must(thrum_mutex_lock(&theirs));
    thrum_event_set(&held);
    must(thrum_event_wait(&done));
    must(thrum_mutex_unlock(&theirs));
    return NULL;
}

static void child(void)
{
    /* The strand that forked has become the child's only one, and still holds what it held. */
    printf("child: unlock mine: %s\n", thrum_strerror(thrum_mutex_unlock(&mine)));
    printf("child: lock mine: %s\n", thrum_strerror(thrum_mutex_lock(&mine)));

    /* The other thread does not exist here. What it guarded may be half done: that is for the program
     * to mend, before it makes the lock anew. */
    printf("child: lock theirs: %s\n", thrum_strerror(thrum_mutex_lock(&theirs)));
    must(thrum_mutex_init(&theirs));
    printf("child: lock theirs, made anew: %s\n", thrum_strerror(thrum_mutex_lock(&theirs)));
    fflush(stdout);
    _exit(EXIT_SUCCESS);
}

int main(void)
{
    pthread_t thread;
    must(pthread_create(&thread, NULL, holder, NULL));
    must(thrum_event_wait(&held));
    must(thrum_mutex_lock(&mine));

    const pid_t pid = fork();
    if (pid == 0)
        child();
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        must(errno);

    must(thrum_mutex_unlock(&mine));
    thrum_event_set(&done);
    must(pthread_join(thread, NULL));
    printf("parent: lock theirs: %s\n", thrum_strerror(thrum_mutex_lock(&theirs)));
    must(thrum_mutex_unlock(&theirs));
    return status;
}
