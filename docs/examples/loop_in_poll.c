/*
 * A loop inside somebody else's event loop, here poll(2): the loop's descriptor is readable when a turn of it
 * has something to do, be it a deadline that has passed, a socket, or a coroutine that another thread has
 * woken. libuv, libev or GLib take the descriptor as well.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <thrum/thrum.h>

static thrum_event_t told = THRUM_EVENT_INIT;
static int naps;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int nap(void *arg, void **result) /* a coroutine that waits for a time */
{
    (void)arg, (void)result;
    for (int i = 0; i < 3; i++) {
        must(thrum_sleep(THRUM_MS(10)));
        naps++;
    }
    return 0;
}

static int listen_to(void *arg, void **result) /* a coroutine that waits for another thread */
{
    const int fd = *(int *)arg;
    (void)result;
    must(thrum_event_wait(&told));
    return thrum_io_write_full(fd, "!", 1, NULL, THRUM_FOREVER); /* and tells the foreign loop */
}

static int tell(void *arg, void **result) /* the other thread */
{
    (void)arg, (void)result;
    thrum_event_set(&told);
    return 0;
}

/* What the foreign loop does. False: no coroutine is left. */
static bool on_readable(thrum_loop_t *loop)
{
    const int err = thrum_loop_turn(loop); /* runs what is ready, and waits for nothing */
    must(err == EAGAIN ? 0 : err);
    return err == EAGAIN;
}

int main(void)
{
    thrum_loop_t *loop = NULL;
    thrum_thread_t *thread = NULL;
    int ends[2];
    int fd = -1;
    char byte = 0;
    bool coroutines = true;
    bool word = false;
    must(pipe(ends) == 0 ? 0 : errno);
    must(thrum_loop_create(&loop, NULL));
    must(thrum_loop_go(loop, NULL, nap, NULL, NULL));
    must(thrum_loop_go(loop, NULL, listen_to, &ends[1], NULL));
    must(thrum_loop_fd(loop, &fd)); /* poll it; never read, write or close it */
    must(thrum_thread_spawn(&thread, tell, NULL, NULL));

    struct pollfd polled[] = {{.fd = fd, .events = POLLIN}, {.fd = ends[0], .events = POLLIN}};
    while (coroutines || !word) {
        must(poll(polled, 2, -1) > 0 ? 0 : errno);
        if (polled[0].revents != 0)
            coroutines = on_readable(loop);
        if (polled[1].revents != 0)
            word = read(ends[0], &byte, 1) == 1;
    }
    printf("naps: %d, word from a coroutine: %c\n", naps, byte);
    printf("turns with nothing left to run: %s\n", thrum_strerror(thrum_loop_turn(loop)));

    must(thrum_thread_join(thread, NULL));
    thrum_thread_release(thread);
    thrum_loop_destroy(loop); /* and its descriptor */
    close(ends[0]);
    close(ends[1]);
    return 0;
}
