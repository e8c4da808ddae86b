/*
 * A singleton: the one registry of the process, made when it is first asked for, by whichever of eight
 * racing threads comes first. The others wait until it is there; from then on asking costs a load.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

#define THREADS 8
#define CALLS 1000

struct registry {
    thrum_mutex_t lock;
    int entries;
};

static int times_made;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Runs under no lock, in one thread at a time, until it has succeeded: once. */
static int make_registry(void *arg)
{
    struct registry **where = arg;
    struct registry *made = calloc(1, sizeof *made); /* all-zero memory is a mutex */
    if (made == NULL)
        return ENOMEM; /* the next who asks will try again */
    times_made++;
    *where = made;
    return 0;
}

/* The only way to it. What make_registry wrote is visible to whoever comes out of here. */
static struct registry *registry(void)
{
    static thrum_once_t once = THRUM_ONCE_INIT;
    static struct registry *the_registry;
    must(thrum_once(&once, make_registry, &the_registry));
    return the_registry;
}

static void enter(void)
{
    struct registry *r = registry();
    thrum_mutex_lock(&r->lock);
    r->entries++;
    thrum_mutex_unlock(&r->lock);
}

static int racer(void *arg, void **result)
{
    must(thrum_barrier_wait(arg, NULL)); /* all at once */
    *result = registry();
    for (int i = 0; i < CALLS; i++)
        enter();
    return 0;
}

int main(void)
{
    thrum_barrier_t start;
    thrum_thread_t *threads[THREADS];
    int same = 0;
    must(thrum_barrier_init(&start, THREADS, NULL, NULL));
    for (int i = 0; i < THREADS; i++)
        must(thrum_thread_spawn(&threads[i], racer, &start, NULL));
    for (int i = 0; i < THREADS; i++) {
        void *seen = NULL;
        must(thrum_thread_join(threads[i], &seen));
        same += seen == registry();
        thrum_thread_release(threads[i]);
    }
    printf("made %d time, %d of %d threads have the same one\n", times_made, same, THREADS);
    printf("entries: %d\n", registry()->entries);
    free(registry());
    return 0;
}
