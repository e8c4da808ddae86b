/*
 * A call that blocks its thread, from a coroutine: thrum_blocking makes it on a thread of its own, and the
 * loop runs on. Here it is a read(2) from a pipe that another coroutine of the same loop writes to, so
 * made directly it would wait for ever.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <thrum/thrum.h>

#define CALLS 3

struct call {
    int fd;
    char text[32];
};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Stands for whatever cannot wait in the library's way: a name look-up, a driver, a slow disk. */
static int read_blocking(void *arg, void **result)
{
    struct call *call = arg;
    const ssize_t n = read(call->fd, call->text, sizeof call->text - 1);
    *result = call->text;
    return n >= 0 ? 0 : errno;
}

static int ask(void *arg, void **result)
{
    return thrum_blocking(read_blocking, arg, result); /* returns when the call has */
}

static int run(void *arg, void **result)
{
    struct call calls[CALLS];
    thrum_coro_t *asking[CALLS];
    int to[CALLS];
    (void)arg, (void)result;
    for (int i = 0; i < CALLS; i++) {
        int ends[2];
        must(pipe(ends) == 0 ? 0 : errno);
        calls[i] = (struct call){ends[0], ""};
        to[i] = ends[1];
        must(thrum_go(&asking[i], ask, &calls[i]));
    }
    thrum_yield(); /* now all of them are in their calls, or on the way */
    for (int i = 0; i < CALLS; i++) {
        char text[32];
        void *answer = NULL;
        const int n = snprintf(text, sizeof text, "answer %d", i);
        must(thrum_coro_tryjoin(asking[i], NULL) == EAGAIN ? 0 : EINVAL);
        must(thrum_io_write_full(to[i], text, (size_t)n, NULL, thrum_after(THRUM_S(5))));
        must(thrum_coro_join(asking[i], &answer));
        printf("%s\n", (const char *)answer);
        thrum_coro_release(asking[i]);
        close(to[i]);
        close(calls[i].fd);
    }
    return 0;
}

int main(void)
{
    must(thrum_run(run, NULL, NULL));
    return 0;
}
