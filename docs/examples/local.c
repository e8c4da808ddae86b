/*
 * Strand locals: every thread has a request of its own, and a function deep below finds it without
 * being handed it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/local.h>
#include <thrum/mutex.h>

#define THREADS 3

struct request {
    int id;
    int queries;
};

static thrum_mutex_t lock = THRUM_MUTEX_INIT;
static int forgotten;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Called in the strand that ends, with its value. */
static void forget_request(void *value)
{
    must(thrum_mutex_lock(&lock));
    forgotten++;
    must(thrum_mutex_unlock(&lock));
    free(value);
}

static thrum_local_t current = THRUM_LOCAL_INIT(forget_request);

static int query(void)
{
    struct request *request = thrum_local_get(&current);
    return ++request->queries * 10 + request->id;
}

static void *serve(void *arg)
{
    int *answer = arg;
    struct request *request = malloc(sizeof *request);
    if (request == NULL)
        return NULL;
    *request = (struct request){*answer, 0};
    must(thrum_local_set(&current, request));
    query();
    *answer = query();
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    int answers[THREADS] = {1, 2, 3};
    for (int i = 0; i < THREADS; i++)
        must(pthread_create(&threads[i], NULL, serve, &answers[i]));
    for (int i = 0; i < THREADS; i++) {
        must(pthread_join(threads[i], NULL));
        printf("request %d: %d\n", i + 1, answers[i]);
    }
    printf("here: %s\n", thrum_local_get(&current) == NULL ? "no request" : "a request");
    printf("forgotten: %d\n", forgotten);
    return 0;
}
