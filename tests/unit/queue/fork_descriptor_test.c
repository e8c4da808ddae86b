#include <fcntl.h>
#include <unistd.h>

#include "queue/shapes.h"
#include "support/child.h"

/* A descriptor that a queue had before a fork: its number is the parent's. */
TestSuite(queue_fork_descriptor, .timeout = 60);

struct heritage {
    thrum_queue_t *q;
    int fd;
};

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* As daemons do: all that was open is closed, and the numbers are given out anew. */
static int end_with_number_in_use(void *arg)
{
    const struct heritage *h = arg;
    int pair[2];
    close(h->fd);
    if (pipe(pair) != 0 || (pair[0] != h->fd && dup2(pair[0], h->fd) != h->fd))
        return 1;
    thrum_queue_destroy(h->q);
    return is_open(h->fd) ? 0 : 2;
}

static int open_with_number_in_use(void *arg)
{
    const struct heritage *h = arg;
    int pair[2];
    int fd = -1;
    close(h->fd);
    if (pipe(pair) != 0 || (pair[0] != h->fd && dup2(pair[0], h->fd) != h->fd))
        return 1;
    if (thrum_queue_fd(h->q, &fd) != 0 || fd == h->fd || !is_open(h->fd))
        return 2;
    thrum_queue_destroy(h->q);
    return is_open(h->fd) && !is_open(fd) ? 0 : 3;
}

Test(queue_fork_descriptor, a_number_that_is_another_s_by_now_stays_open)
{
    for (EACH_SHAPE(shape)) {
        struct heritage h = {queue_of_numbers(shape->order, shape->capacity), -1};
        EXPECT_CALL(0, thrum_queue_fd(h.q, &h.fd));
        cr_expect_eq(child_run(end_with_number_in_use, &h), 0, "%s", shape->name);
        cr_expect_eq(child_run(open_with_number_in_use, &h), 0, "%s", shape->name);
        cr_expect(is_open(h.fd), "the parent's");
        thrum_queue_destroy(h.q);
        cr_expect_not(is_open(h.fd));
    }
}
