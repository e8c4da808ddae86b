/*
 * Loads the library late and locally, as a plugin or a foreign-function interface does, uses it from
 * two threads that wait for each other, and gives it up while one of them still has a record in it.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/mutex.h>
#include <thrum/semaphore.h>

#define ROUNDS 20000

static int (*lock)(thrum_mutex_t *);
static int (*unlock)(thrum_mutex_t *);
static int (*acquire)(thrum_sem_t *);
static int (*release)(thrum_sem_t *);

static thrum_mutex_t mutex = THRUM_MUTEX_INIT;
static thrum_sem_t ping = THRUM_SEM_INIT(0);
static thrum_sem_t pong = THRUM_SEM_INIT(0);
static thrum_sem_t unloaded = THRUM_SEM_INIT(0);
static long count;

static void check(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "FAILED: %s\n", what);
        exit(1);
    }
}

static void resolve(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    check(symbol != NULL, name);
    *(void **)function = symbol; /* as POSIX shows it: C has no cast for this */
}

static void add_many(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        check(lock(&mutex) == 0, "lock");
        count++;
        check(unlock(&mutex) == 0, "unlock");
    }
}

static void *other_main(void *arg)
{
    check(acquire(&ping) == 0, "acquire ping");
    add_many();
    check(release(&pong) == 0, "release pong");
    check(acquire(&unloaded) == 0, "acquire unloaded");
    return arg; /* the library is called once more when this thread ends */
}

int main(int argc, char **argv)
{
    check(argc == 2, "usage: late_load LIBTHRUM_SO");
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fprintf(stderr, "%s\n", dlerror());
    check(library != NULL, "dlopen");
    resolve(library, "thrum_mutex_lock", &lock);
    resolve(library, "thrum_mutex_unlock", &unlock);
    resolve(library, "thrum_sem_acquire", &acquire);
    resolve(library, "thrum_sem_release", &release);

    pthread_t other;
    check(pthread_create(&other, NULL, other_main, NULL) == 0, "pthread_create");
    check(release(&ping) == 0, "release ping");
    add_many();
    check(acquire(&pong) == 0, "acquire pong");
    check(count == 2L * ROUNDS, "count");

    check(dlclose(library) == 0, "dlclose");
    check(release(&unloaded) == 0, "release unloaded");
    check(pthread_join(other, NULL) == 0, "pthread_join");
    return 0;
}
