#ifndef SIM_CORE_H
#define SIM_CORE_H

/*
 * Private to the harness. Who does what:
 *
 *   sim_run.c        main, tests, seeds, processes
 *   sim_task.c       tasks: stacks, switching, spawning, ending
 *   sim_schedule.c   points, blocking and waking, the strategies, time
 *   sim_strand.c     the simulated kind of strand, and threads' beginnings and ends
 *   sim_os.c         lib/os over all that; sim_lock.c compiles the library's own internal lock
 *   sim_poison.c     memory that must not be touched
 *   sim_heap.c       the library's allocator
 *   sim_report.c     the trace, and what is printed when a schedule fails
 */

#include "sim.h"

#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif

#define SIM_TASKS_MAX 12
#define SIM_TIME_ZERO 1000

typedef enum sim_strategy {
    SIM_RANDOM = 0,
    SIM_PCT = 1,
    SIM_DFS = 2,
} sim_strategy_t;

/* What a task stands at, for the trace, and what it is blocked in. */
typedef enum sim_op {
    SIM_OP_ATOMIC,
    SIM_OP_FUTEX_WAIT,
    SIM_OP_FUTEX_WAKE,
    SIM_OP_BLOCK, /* the simulated kind's park */
    SIM_OP_WAKE,
    SIM_OP_JOIN,
    SIM_OP_CLOCK,
    SIM_OP_PAUSE,
    SIM_OP_YIELD,
    SIM_OP_POINT,
    SIM_OP_BEGIN,
    SIM_OP_END,
    SIM_OP_TIMEOUT,  /* a deadline passed */
    SIM_OP_SPURIOUS, /* woken for no reason */
} sim_op_t;

struct sim_task {
    unsigned number; /* 0: the test's body */
    bool ended;
    bool thread;
    unsigned
        pins; /* its strand may not end: somebody is about to cancel it, and not the next life */
    void *(*fn)(void *);
    void *arg;
    void *result;
    thi_current_t current;     /* the thread-local of the library while it does not run */
    void *kept;                /* and what sim_keep is for */
    const thi_strand_t *known; /* the strand that it last had */

    bool spins;       /* it has spun, in something that is not an internal lock */
    unsigned in_lock; /* it is about to have an internal lock */

    /* While blocked. */
    sim_op_t blocked_in;
    const void *blocked_on;
    thrum_time_t deadline;
    uint64_t order; /* of blocking: the first to wait is the first to be woken */
    bool timed_out;

    int64_t priority; /* PCT */

    /* Threads: thi_thread_at_exit. */
    void (*exit_fn)(void *);
    void *exit_arg;
};

/* What the seed decides once, before the schedule begins. */
struct sim_world {
    unsigned kinds;         /* 0: threads, 1: strands, 2: mixed */
    unsigned stay;          /* of 256: how likely the random strategy goes on with the same task */
    unsigned time_rate;     /* of 1024, at each point: that time passes */
    unsigned spurious_rate; /* of 1024, at each point: that somebody wakes for no reason */
    bool wake_any;          /* futexes wake in any order */
    bool polite;            /* PCT: a pause gives way, as a yield does */
    bool stray;             /* strands may begin with a permit left over */
    bool tired;             /* strands may begin with spinning unlearned */
    bool reuse;             /* freed memory is used again at once */
    unsigned stack_offset;
    uint32_t cpus; /* bit: the processor of the task with that number, of two */
};

struct sim {
    const sim_test *test;
    uint64_t seed;
    sim_strategy_t strategy;
    uint64_t rng;
    uint64_t hash; /* of the trace: replaying must give the same */
    struct sim_world world;

    thrum_time_t now;
    uint64_t steps;
    uint64_t orders;
    uint32_t ready;   /* bit: the task with that number can run */
    uint32_t blocked; /* bit: it waits; deadlines and wakes apply */
    unsigned tasks;
    sim_task *current; /* NULL: the runner */
    sim_task *clings;  /* see sim_cling */
    unsigned quiet;    /* no point switches while it is not 0 */
    unsigned poisoned;
    bool no_pages; /* thi_pages_map has none */

    /* PCT */
    int64_t priority_floor;
    unsigned changes;
    uint64_t change_at[8];
};

extern struct sim sim;

/* What the process that runs the schedules tells the one that waits for it. */
struct sim_shared {
    uint64_t seed;
    uint64_t schedules;
    uint64_t steps;
    bool reported;
    bool dfs_complete;
    bool silent; /* a failure is what we hope for */
    bool alone;  /* one schedule, in this process */
};

extern struct sim_shared *sim_shared;

/* --- sim_task.c ------------------------------------------------------------------------------- */
sim_task *sim_task_of(unsigned number);
void sim_tasks_init(void);
void sim_tasks_begin(void);
void sim_resume(sim_task *next); /* NULL: the runner; returns when the caller is resumed */
sim_task *sim_task_on_stack(const volatile void *address, size_t *offset);

/* --- sim_schedule.c --------------------------------------------------------------------------- */
void sim_schedule_begin(uint64_t seed);
bool sim_schedule_next_dfs(void); /* false: all enumerated, or no more wanted */
void sim_dfs_restart(void);
uint64_t sim_rng(void);
void sim_step(sim_op_t op, const volatile void *word, const void *pc);
int sim_block(sim_op_t op, const volatile void *on, thrum_time_t deadline, const void *pc);
void sim_unblock(sim_task *task);
unsigned sim_wake(const volatile void *word, unsigned n);
void sim_pass_time(thrum_time_t until);
void sim_end_task(void);

/* --- sim_strand.c ----------------------------------------------------------------------------- */
void sim_strands_register(unsigned n);
void sim_strands_reset(unsigned n); /* between schedules */
void sim_strand_begin(sim_task *task);
void sim_strand_end(sim_task *task);
void sim_strand_switch(sim_task *from, const sim_task *to);
void sim_at_exit_rounds(sim_task *task);

/* --- sim_poison.c ----------------------------------------------------------------------------- */
void sim_poison_check(const volatile void *word);
void sim_poison_lift(void);

/* --- sim_heap.c ------------------------------------------------------------------------------- */
void sim_heap_init(void);
void sim_heap_begin(void);
void sim_heap_end(void); /* between schedules: nothing may be left */
bool sim_heap_has(const volatile void *word);
void sim_heap_check(const volatile void *word);

/* An access to a word of the library's: it may not have been freed. */
static inline void sim_touch(const volatile void *word)
{
    if (sim.poisoned != 0)
        sim_poison_check(word);
    if (sim_heap_has(word))
        sim_heap_check(word);
}

/* --- sim_report.c ----------------------------------------------------------------------------- */
void sim_trace_init(void);
void sim_trace_begin(void);
void sim_trace(sim_op_t op, const sim_task *task, const volatile void *word, const void *pc);
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void sim_fail_stuck(void);
void sim_catch_signals(void);
void sim_left_the_lock(void); /* a futex wait where nobody can wake: leaves the dump, or fails */

extern const char *sim_fault; /* the one that is planted; NULL: none */

#endif /* SIM_CORE_H */
