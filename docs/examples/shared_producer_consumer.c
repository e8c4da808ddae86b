/*
 * Producer and consumer across processes: a queue in shared memory between a parent and two children. An item
 * is a piece of text of any length; a large one travels in a block of the arena. One of the children is killed
 * while it waits, which nobody notices: the other does the work.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thrum/diagnosis.h>
#include <thrum/shared.h>
#include <thrum/shared_queue.h>

#define LARGE 100000 /* bytes of the longest */

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Both queues are the parent's, copied by fork: handles of what lies in the arena. */
struct queues {
    thrum_shared_queue_t *texts;
    thrum_shared_queue_t *lengths;
};

/* Ends when the queue is closed and drained. */
static int consume(const struct queues *q)
{
    static char text[LARGE];
    size_t size = 0;
    int err = 0;
    while ((err = thrum_shared_queue_get(q->texts, text, sizeof text, &size)) == 0) {
        must(thrum_shared_queue_put(q->lengths, &size, sizeof size));
        must(thrum_shared_queue_task_done(q->texts));
    }
    return err == ESHUTDOWN ? EXIT_SUCCESS : EXIT_FAILURE;
}

static pid_t start_consumer(const struct queues *q)
{
    const pid_t pid = fork();
    if (pid == 0)
        _exit(consume(q));
    return pid;
}

int main(void)
{
    static char large[LARGE];
    thrum_shared_t *arena = NULL;
    struct queues q = {NULL, NULL};
    must(thrum_shared_create(&arena, NULL));
    must(thrum_shared_queue_create(&q.texts, arena, NULL));
    must(thrum_shared_queue_create(&q.lengths, arena, NULL));

    const pid_t first = start_consumer(&q);
    const pid_t second = start_consumer(&q);
    kill(first, SIGKILL);
    waitpid(first, NULL, 0);

    for (int i = 1; i <= 10; i++)
        must(thrum_shared_queue_put(q.texts, "some text", (size_t)i));
    memset(large, 'x', sizeof large);
    must(thrum_shared_queue_put(q.texts, large, sizeof large));
    must(thrum_shared_queue_close(q.texts)); /* no more; what is there is still got */

    must(thrum_shared_queue_join(q.texts)); /* until all of it has been worked on */
    size_t sum = 0, length = 0, size = 0;
    while (thrum_shared_queue_tryget(q.lengths, &length, sizeof length, &size) == 0)
        sum += length;
    printf("%zu bytes\n", sum);

    int status = 0;
    waitpid(second, &status, 0);
    printf("the other consumer ended with %d\n", WEXITSTATUS(status));
    thrum_shared_queue_destroy(q.texts);
    thrum_shared_queue_destroy(q.lengths);
    thrum_shared_destroy(arena);
    return 0;
}
