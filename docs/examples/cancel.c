/*
 * Cancellation: a worker that ends well however it is ended. Being asked to stop, it would hear of it
 * from its waits (ECANCELED) and between them (thrum_cancelled); here its work simply runs out. Either
 * way its last act, writing down what it did, is shielded: its waits go on as if nobody had asked.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

static thrum_sem_t jobs = THRUM_SEM_INIT(3);
static thrum_sem_t disk = THRUM_SEM_INIT(1);

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* A thrum_fn: returns its status, and hands something back in *result. */
static int write_down(void *arg, void **result)
{
    static char line[64];
    const int *done = arg;
    const int err = thrum_sem_acquire_until(&disk, thrum_after(THRUM_S(1)));
    if (err != 0)
        return err;
    snprintf(line, sizeof line, "%d jobs done", *done);
    *result = line;
    return thrum_sem_release(&disk);
}

static void *worker(void *arg)
{
    int done = 0;
    int err = 0;
    while (!thrum_cancelled()) {
        err = thrum_sem_acquire_until(&jobs, thrum_after(THRUM_MS(20)));
        if (err != 0) /* ECANCELED: asked to stop while waiting; ETIMEDOUT: no more work */
            break;
        done++;
    }
    printf("the worker ends: %s\n", thrum_strerror(err));
    must(thrum_shield(write_down, &done, arg));
    return NULL;
}

/* Shields nest, and hand through what the function returns. */
static int fails(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return EBUSY;
}

static int shields_again(void *arg, void **result)
{
    return thrum_shield(fails, arg, result);
}

int main(void)
{
    pthread_t thread;
    void *line = NULL;
    must(pthread_create(&thread, NULL, worker, &line));
    must(pthread_join(thread, NULL));
    printf("it wrote: %s\n", (const char *)line);
    printf("from two shields deep: %s\n", thrum_strerror(thrum_shield(shields_again, NULL, NULL)));
    printf("asked to stop: %s\n", thrum_cancelled() ? "yes" : "no");
    return 0;
}
