#ifndef SIM_H
#define SIM_H

/*
 * The face of the simulated scheduler: what a test in tests/sim/<thing>_sim.c may use.
 *
 *     SIM_TEST(sem, a_post_is_not_lost, .schedules = 20000, .pct_depth = 3)
 *     {
 *         thrum_sem_t sem = THRUM_SEM_INIT(0);
 *         sim_spawn(taker, &sem);
 *         sim_check(thrum_sem_release(&sem) == 0);
 *         sim_join_all();
 *     }
 *
 * The body runs once per schedule, itself a task. Tasks are coroutines on one thread; every atomic
 * of the library, every futex call and every park is a point where the schedule, which is a
 * function of the seed and nothing else, may go on with another task, let time pass, or wake
 * somebody for no reason. Tasks that can never run again fail the test, and so do, after the last
 * has ended, waiters left in the parking lot and strands that were not retired.
 *
 * What is shared by the tasks of a test lies on the body's stack: its place changes with the seed
 * (so that objects share a bucket of the parking lot, or do not) and nothing survives the schedule.
 * Between two points a task runs alone; plain variables need no lock, sim_point() gives others a
 * turn.
 *
 *     ./sim_mutex                      all tests; a line each, then "N passed, N failed"
 *     ./sim_mutex --list
 *     ./sim_mutex timeout              those whose name contains "timeout"
 *     THRUM_SIM_SCHEDULES=1000000      so many by chance, instead of what each test asks for
 *     THRUM_SIM_SEED=4711              that schedule alone, in this process (for debuggers)
 *     THRUM_SIM_FAULT=name             with it: plant that fault
 *     THRUM_SIM_TRACE=500              how many of the last points to print (60)
 *     THRUM_SIM_BASE=1000000           number of the first schedule: other seeds than yesterday
 *
 * Strategies, the last digit of a seed: 0 random, 1 PCT (Burckhardt et al., 2010), 2 all schedules
 * with few preemptions, in order (only for tests with .dfs_bound). Replaying one of those repeats
 * the enumeration up to it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <thrum/base.h>

#include "strand/strand.h"

typedef struct sim_task sim_task;

/* What kind of strand a task is. Threads stand on the simulated operating system (sim_os.c); the
 * other kind goes straight to the scheduler, as coroutines will. Half of those can spin, half
 * cannot. */
typedef enum sim_kind {
    SIM_ANY, /* as the seed says, so that both meet on the same objects */
    SIM_THREAD,
    SIM_STRAND,
} sim_kind_t;

typedef struct sim_test {
    const char *suite;
    const char *name;
    void (*body)(void);
    unsigned schedules;     /* random and PCT together; 0: 50000 */
    unsigned pct_depth;     /* 0: 3 */
    unsigned dfs_bound;     /* enumerate schedules with up to so many preemptions; 0: do not */
    unsigned dfs_schedules; /* most of those; 0: 30000 */
    unsigned tasks;         /* most tasks, the body counted; 0: 4 */
    unsigned max_steps;     /* more points than that are a livelock; 0: 50000 */
    sim_kind_t kind;
    bool lazy;  /* threads become strands with their first wait, not when they are spawned */
    bool fresh; /* every schedule in a process of its own: for what the library does only once */
    struct sim_test *next;
} sim_test;

void sim_register(sim_test *test);

#define SIM_TEST(suite_, name_, ...)                                                               \
    static void sim_body_##suite_##_##name_(void);                                                 \
    __attribute__((constructor)) static void sim_register_##suite_##_##name_(void)                 \
    {                                                                                              \
        static sim_test test = {                                                                   \
            .suite = #suite_, .name = #name_, .body = sim_body_##suite_##_##name_, __VA_ARGS__};   \
        sim_register(&test);                                                                       \
    }                                                                                              \
    static void sim_body_##suite_##_##name_(void)

/* --- tasks ------------------------------------------------------------------------------------ */
sim_task *sim_spawn(void *(*fn)(void *), void *arg);
sim_task *sim_spawn_kind(void *(*fn)(void *), void *arg, sim_kind_t kind);

/* Waits until the task has ended; returns what it returned. */
void *sim_join(sim_task *task);

bool sim_ended(const sim_task *task);

/* Waits until all others have ended, checks poisoned memory and lifts the poison. */
void sim_join_all(void);

/* The strand of a task, once it has begun; NULL when it has ended, or is lazy and has not
 * waited. */
thi_strand_t *sim_strand(const sim_task *task);
sim_task *sim_self(void);

/* A task's body: cancels the strand of the task `arg`, unless it has ended. */
void *sim_canceller(void *arg);

/* Gives each task its own value of another thread-local pointer of the library's, NULL at first. For all
 * tests of a program; one pointer. */
void sim_keep(void *pointer);

/* A point like an atomic. */
void sim_point(void);

/* A point at which a nanosecond passes. */
void sim_pause(void);

/* Lets others go first; for loops that wait for a state. */
void sim_yield(void);

/* From now on (or no longer) the calling task goes on at every point, until it blocks. */
void sim_cling(bool cling);

/* Returns when the task is in a wait on that key for certain: it spins there, or is queued. A task
 * that is to be awaited so spins nowhere else before. */
void sim_await_waiting(const sim_task *task, const void *key);

/* Returns when so many waiters are queued on the key. */
void sim_await_parked(const void *key, unsigned n);

/* --- time ------------------------------------------------------------------------------------- */
thrum_time_t sim_now(void);

/* A deadline soon enough to race with whatever goes on. */
thrum_time_t sim_soon(void);

/* A number below n, by the schedule. */
unsigned sim_random(unsigned n);

/* Whether the library under test is a checked build. */
bool sim_checked(void);

/* --- judging ---------------------------------------------------------------------------------- */
#define sim_check(cond) ((cond) ? (void)0 : sim_failed(#cond, __FILE__, __LINE__))
_Noreturn void sim_failed(const char *what, const char *file, int line);

/* Checks that a wait of the calling task that returned `err` had reason to: that its deadline has
 * passed, or that it has been cancelled. True when it gave up, false when `err` is 0. */
bool sim_gave_up(int err, thrum_time_t deadline);

/* From now on any access of the library to the memory fails the test, until sim_unpoison or
 * sim_join_all: what it held has been freed. */
void sim_poison(void *memory, size_t size);
void sim_unpoison(void *memory);

/* Whether the descriptor that the library opened would be readable. */
bool sim_signal(int fd);

/* From now on (or no longer) a descriptor may be told what it is already: for who does not keep count. */
void sim_signals_repeat(bool may);

/* What traces call the memory. */
void sim_name(const void *memory, size_t size, const char *name);

/* --- planted faults ------------------------------------------------------------------------------
 * A program with SIM_BITEs does not run its tests but shows that each fault, planted in the library
 * with THI_PLANT(fault), makes the named test fail. */
typedef struct sim_bite {
    const char *fault;
    const char *test; /* "suite.name" */
    struct sim_bite *next;
} sim_bite;

void sim_register_bite(sim_bite *bite);

#define SIM_BITE(id_, fault_, test_)                                                               \
    __attribute__((constructor)) static void sim_register_bite_##id_(void)                         \
    {                                                                                              \
        static sim_bite bite = {.fault = (fault_), .test = (test_)};                               \
        sim_register_bite(&bite);                                                                  \
    }                                                                                              \
    _Static_assert(1, "takes the semicolon")

#endif /* SIM_H */
