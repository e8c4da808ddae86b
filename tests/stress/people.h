#ifndef STRESS_PEOPLE_H
#define STRESS_PEOPLE_H

/*
 * Who works on something in shared memory: processes, or threads where a sanitizer wants to see all of them at once.
 */

#include <pthread.h>

#include "stress.h"
#include "support/victim.h"

#if defined(__SANITIZE_THREAD__)
#define THREADS_ONLY 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREADS_ONLY 1
#endif
#endif
#ifndef THREADS_ONLY
#define THREADS_ONLY 0
#endif

struct person {
    unsigned number;
    uint64_t seed;
    int (*live)(void *person); /* 0: all was well */
    pid_t pid;
    pthread_t thread;
};

static inline void *person_thread(void *arg)
{
    struct person *p = arg;
    CHECK(p->live(p) == 0);
    return NULL;
}

static inline void person_start(struct person *p, struct chance *chance)
{
    p->seed = chance_next(chance) | 1u;
    if (!THREADS_ONLY)
        p->pid = victim_start(p->live, p);
    else if (pthread_create(&p->thread, NULL, person_thread, p) != 0)
        abort();
}

static inline void person_end(struct person *p)
{
    if (THREADS_ONLY)
        pthread_join(p->thread, NULL);
    else
        CHECK(victim_end(p->pid) == 0);
    watchdog_progress();
}

#endif /* STRESS_PEOPLE_H */
