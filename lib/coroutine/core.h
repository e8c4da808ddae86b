#ifndef THI_CORE_H
#define THI_CORE_H

/*
 * What the files of lib/coroutine share.
 *
 *   context.h *.S       switching stacks
 *   fiber.h             a context and its strand; what sanitizers are told
 *   stack.c             stacks, guards, and who runs into one
 *   stage.c             a thread on which coroutines run
 *   coroutine.c         resume, yield, switch
 *   life.c life.h       a coroutine's beginning and end
 *   coro_strand.c       coroutines as strands
 *   handle.c            what others may ask of a coroutine: join, cancel, release
 *   loop.c line.h       loops: the line, spawning
 *   turn.c              what a loop does between coroutines
 *   deadlines.c port.c  its timers; what others tell it
 *   embed.c watchdog.c  a loop in a foreign loop; coroutines that do not let go
 *   loop_fork.c         what a forked child has of a loop
 *   waitfd.c io.c       waiting for descriptors, and the calls that do
 *   select_fd.c         descriptors as cases of select
 *   blocking.c          calls that block, on helper threads
 *   loop_executor.c     a loop as an executor
 *
 * Where control is. On each thread one coroutine is current, or the thread itself, which is a coroutine
 * without a stack of its own (`stage->self`). Who has resumed or switched to another is suspended meanwhile.
 * A coroutine that waits while its thread runs a loop goes away in the middle of whatever it does; the loop
 * comes back to that very place, whoever had resumed it.
 *
 *   NEW         has not begun: resume or switch goes on with it
 *   YIELDED     in yield: likewise; it has nobody to go back to
 *   SWITCHED    in switch: likewise
 *   RESUMING    it has resumed another and waits for its yield
 *   RUNNING     it is current
 *   BLOCKED     it waits in the loop for a wake-up
 *   READY       in the loop's line
 *   DONE        it has ended
 *
 * The state belongs to the coroutine's thread.
 */
#include <thrum/coroutine.h>
#include <thrum/loop.h>
#include <thrum/semaphore.h>

#include "coroutine/fiber.h"
#include "task/task.h"

typedef struct thi_stage thi_stage_t;
typedef struct thi_port thi_port_t;

/* In this order: what a resume or a switch goes on with, and who is given a value where it wants it, are
 * told by one comparison each. */
typedef enum {
    THI_CORO_NEW,
    THI_CORO_YIELDED,
    THI_CORO_SWITCHED,
    THI_CORO_RESUMING,
    THI_CORO_RUNNING,
    THI_CORO_BLOCKED,
    THI_CORO_READY,
    THI_CORO_DONE,
} thi_coro_state_t;

#define THI_CORO_NAME 24

/* Bits of `ended`. */
#define THI_ENDED 1u
#define THI_JOINERS 2u /* somebody may sleep in a join */

struct thi_cleanups;

/* What a switch needs is in one line of the cache, where no sanitizer wants more; the strand's first line is the
 * other one. */
struct thrum_coro {
    thi_strand_t strand; /* of stage->self: not in use, fiber.strand is the thread's */

    thrum_fn fn;
    void *arg;
    void *result;
    const void *task_of; /* the loop's executor, if it runs a task of that */
    struct thi_cleanups *cleanups;
    thrum_time_t deadline; /* BLOCKED */

    thi_fiber_t fiber;
    thi_stage_t *stage; /* the thread; NULL: of a loop that has not seen it yet */
    thrum_coro_t
        *back; /* to whom yield and the end give control. Its handle is held if `holds_back` */
    thrum_coro_t *resumed; /* RESUMING: whom */
    void **out;            /* RESUMING, SWITCHED: where it wants what it is given; NULL: nowhere */
    thrum_coro_t *next;    /* in the line, or in the cache of stacks */
    int error;       /* errno, while others of the loop run; whoever gives control to it sets it */
    uint8_t state;   /* thi_coro_state_t */
    bool loops;      /* the loop holds a reference */
    bool unwinding;  /* its release resumed it to end */
    bool holds_back; /* never of one that has resumed it */

    thrum_loop_t *loop; /* spawned on it; NULL: it is resumed by hand */
    thi_port_t *port;   /* BLOCKED: of the loop that is to be told; NULL: the thread sleeps */
    uint32_t timer; /* place among the loop's deadlines, + 1; 0: none. See thi_loop_block_lazily */
    uint8_t level;  /* THRUM_FEEDBACK */
    bool timed_out;
    thrum_coro_t *next_post; /* in a port's inbox */
    thi_port_t *posted;      /* it is in that one's, or on its way; NULL: in none */
    thrum_coro_t *younger;   /* among those of the loop that have not ended */
    thrum_coro_t *older;
    thrum_time_t used; /* THRUM_FEEDBACK */
    int status;
    uint32_t refs;
    uint32_t ended;
    uint32_t fresh;  /* spawned by another thread, and the loop has not seen it yet */
    uint8_t class;   /* stack.c */
    bool registered; /* stack.c */
    bool daemon;
    char name[THI_CORO_NAME];
};

/* Atomic, since who is late may look at a record that has gone on to another thread. BLOCKED is a release,
 * which shows with it whose it is. */
static inline void thi_coro_set_state(thrum_coro_t *co, thi_coro_state_t state)
{
    if (state == THI_CORO_BLOCKED)
        thi_store_release(&co->state, (uint8_t)state); /* R2: release; pairs with A2 of turn.c */
    else
        thi_store_relaxed(&co->state, (uint8_t)state);
}

static inline thrum_coro_t *thi_coro_of(const thi_strand_t *strand)
{
    return (thrum_coro_t *)(uintptr_t)strand;
}

/* --- the stage: what a thread needs to run coroutines ---------------------------------------------- */
#define THI_STACK_CLASSES 15

struct thi_stage {
    thrum_coro_t *current;
    thrum_loop_t *loop; /* it runs one, also while it runs a coroutine of it */
    thrum_coro_t *
        ending; /* has left its stack, or is about to: of a loop that still has a reference, or of nobody */
    uint32_t left; /* never read: thi_context_leave needs a place */
    int *error;    /* the thread's errno */
    thrum_coro_t *stacks[THI_STACK_CLASSES];
    unsigned stacks_kept[THI_STACK_CLASSES];
    void *signal_stack;
    struct thi_select_polls *select_polls; /* select_fd.c */
    thrum_coro_t self;
};

extern _Thread_local thi_stage_t *thi_stage THI_TLS_MODEL;

/* NULL: no memory. */
thi_stage_t *thi_stage_make(void);
void thi_select_polls_end(thi_stage_t *stage);

static inline thi_stage_t *thi_stage_here(void)
{
    thi_stage_t *stage = thi_stage;
    return THI_LIKELY(stage != NULL) ? stage : thi_stage_make();
}

/* --- a coroutine ------------------------------------------------------------------------------------ */

/* One that has not begun, with a reference. NULL: no memory. */
thrum_coro_t *thi_coro_make(thi_stage_t *stage, thrum_fn fn, void *arg,
                            const thrum_coro_config_t *config);

/* 0, or EINVAL. Not NULL. */
int thi_coro_check_config(const thrum_coro_config_t *config);

/* Nobody has a reference any more. */
void thi_coro_free(thi_stage_t *stage, thrum_coro_t *co);

thrum_coro_t *thi_coro_retain(thrum_coro_t *co);

/* Takes a reference away; true: it was the last. One that has not ended then goes on, and is freed when it
 * has. */
static inline bool thi_coro_drop(thrum_coro_t *co)
{
    /* R3: release, A4: acquire; pair with each other: who frees it has seen all that others did. */
    return thi_load_acquire(&co->refs) == 1 ? (thi_store_relaxed(&co->refs, 0u), true)
                                            : thi_fetch_sub_acq_rel(&co->refs, 1u) == 1;
}

/* What it has deferred. */
void thi_coro_run_cleanups(thrum_coro_t *co);

/* Does what is left to do for `ending`, if there is one: gives up the reference of its loop, and gives its
 * stack to others if nobody has a handle. Some time after it has left that, at the latest at the end of the
 * thread. */
void thi_coro_settle_one(thi_stage_t *stage);

static inline void thi_coro_settle(thi_stage_t *stage)
{
    if (stage->ending != NULL)
        thi_coro_settle_one(stage);
}

/* Ends the current coroutine. */
_Noreturn void thi_coro_end(thrum_coro_t *co, int status, void *result);

static inline void thi_coro_make_current(thi_stage_t *stage, thrum_coro_t *to)
{
    stage->current = to;
    thi_coro_set_state(to, THI_CORO_RUNNING);
}

/* Gives control to `to`, from the current coroutine, whose state is set. In a loop: nothing goes with it. */
static inline void thi_coro_pass(thi_stage_t *stage, thrum_coro_t *to)
{
    thrum_coro_t *from = stage->current;
    thi_coro_make_current(stage, to);
    (void)thi_fiber_switch(&from->fiber, &to->fiber, NULL);
}

/* To one that is in a switch or a resume, whose call is to return 0 (coroutine.c, I3). */
static inline void *thi_coro_hand_over(const thrum_coro_t *to, void *value)
{
    if (to->out != NULL)
        *to->out = value;
    return NULL;
}

/* To one that is suspended. Returns what its call is to return. */
static inline void *thi_coro_deliver(const thrum_coro_t *to, void *value)
{
    if (to->state == THI_CORO_SWITCHED || to->state == THI_CORO_RESUMING)
        return thi_coro_hand_over(to, value);
    return value; /* of a yield; or it has not begun, and nobody gets it */
}

/* Whether control can be given back: one that waits in a resume waits for whom it has resumed. */
static inline bool thi_coro_takes_control(const thrum_coro_t *back, const thrum_coro_t *co)
{
    return back->state == THI_CORO_SWITCHED ||
           (back->state == THI_CORO_RESUMING && back->resumed == co);
}

/* The same from where most of those wait who are to go on: see thi_context_pass. */
static inline void thi_coro_pass_alike(thi_stage_t *stage, thrum_coro_t *to)
{
    thrum_coro_t *from = stage->current;
    thi_coro_make_current(stage, to);
    thi_fiber_pass(&from->fiber, &to->fiber);
}

/* Resumes a suspended one until it has ended. */
void thi_coro_unwind(thi_stage_t *stage, thrum_coro_t *co);

extern const thi_strand_kind_t thi_coro_kind;
void thi_coro_wake(thi_strand_t *strand);
extern const thi_site_t thi_coro_site;

/* It has ended, of a loop. */
void thi_coro_tell_joiners(thrum_coro_t *co);

/* --- the loop --------------------------------------------------------------------------------------- */
#define THI_LEVELS 4 /* THRUM_FEEDBACK; the other policy has one */

typedef struct thi_line {
    thrum_coro_t *first;
    thrum_coro_t *last;
} thi_line_t;

/* When sleepers are to be woken: a heap, four children to a node, the soonest first. */
typedef struct thi_deadlines {
    struct thi_deadline *entries;
    uint32_t count;
    uint32_t room;
} thi_deadlines_t;

bool thi_deadlines_reserve(thi_deadlines_t *heap, uint32_t count); /* false: no memory */
void thi_deadlines_add(thi_deadlines_t *heap, thrum_coro_t *co);   /* there is room; co->deadline */
void thi_deadlines_remove(thi_deadlines_t *heap, thrum_coro_t *co);
thrum_coro_t *thi_deadlines_first(const thi_deadlines_t *heap);  /* NULL: none */
thrum_time_t thi_deadlines_soonest(const thi_deadlines_t *heap); /* FOREVER: none */
thrum_time_t thi_deadlines_time(const thi_deadlines_t *heap,
                                const thrum_coro_t *co); /* it is there */
void thi_deadlines_clear(thi_deadlines_t *heap);
void thi_deadlines_end(thi_deadlines_t *heap);

/* Where other threads leave word for a loop. Never freed, since a waker may be late. */
struct thi_port {
    thi_port_t *next_free;
    uint32_t visitors; /* who may touch the descriptor */
    uint32_t open;
    uint32_t shut; /* nobody new is let in: its loop is being destroyed */
    THRUM_ALIGNED(THI_CACHE_LINE) thrum_coro_t *inbox; /* the latest first */
    uint32_t sleeps;                                   /* port.c */
    uint32_t stop;
    int signal; /* the descriptor that wakes a loop that polls; -1: none yet */
};

thi_port_t *thi_port_make(void); /* NULL: no memory */
void thi_port_close(thi_port_t *port);

/* Leaves a coroutine in the inbox, and wakes the loop if it sleeps. False: it is closed. Any thread. */
bool thi_port_post(thi_port_t *port, thrum_coro_t *co);
bool thi_port_is_open(const thi_port_t *port);

/* Before the loop is destroyed: nobody new is let in. As a visitor: counts one as coming to the loop, which then waits
 * for it; false: it is shut, and that is not counted. */
void thi_port_shut(thi_port_t *port);
bool thi_port_announce(thi_port_t *port, uint32_t *coming);

void thi_port_stop(thi_port_t *port);

/* Between a visit that found it open (true) and its end a port is not closed, nor is its loop freed. */
bool thi_port_visit(thi_port_t *port);
void thi_port_visited(thi_port_t *port);

/* Takes what lies in the inbox and wakes each, wherever that sleeps. Any thread. */
void thi_port_forward(thi_port_t *port);

/* Leaves it, for that loop, in the inbox, or with whoever has it in hand. Any thread. */
void thi_coro_post(thrum_coro_t *co, thi_port_t *port);

/* For the loop: whether there is something; and takes it, in order of arrival. */
bool thi_port_has_post(const thi_port_t *port);
thrum_coro_t *thi_port_take(thi_port_t *port);

/* The loop is about to sleep: on the port's word, or in a poll. False: there is something. */
bool thi_port_fall_asleep(thi_port_t *port, bool polls);
void thi_port_sleep(thi_port_t *port, thrum_time_t deadline); /* on the word */
void thi_port_wake_up(thi_port_t *port);

/* Its thread goes elsewhere; `polls`: somebody looks whether there is a signal. False: there is something. */
bool thi_port_leave(thi_port_t *port, bool polls);

struct thrum_loop {
    thi_stage_t *stage; /* of the thread that runs it; NULL: nobody has */
    thi_line_t lines[THI_LEVELS];
    uint32_t waiting; /* how many are in the lines */
    uint32_t turns;   /* how many more may run before the loop looks around */
    uint32_t fork_mark;
    size_t alive;    /* coroutines that have not ended */
    uint32_t coming; /* spawned by other threads and not among those yet; atomic */
    thrum_coro_t *youngest;
    size_t daemons;
    thi_deadlines_t deadlines;
    thi_near_t near; /* empty but while the line runs */
    thi_port_t *port;
    int poller;     /* -1: none yet */
    uint8_t *armed; /* waitfd.c: by descriptor, the directions that the poller is to tell of */
    size_t armed_size;
    struct thi_stream **streams; /* stream.c: by descriptor */
    size_t streams_size;
    uint32_t stream_tag; /* of the one that was opened last */
    /* turn.c */
    bool asked;          /* the poller, since the line was run */
    bool polled;         /* what ended its last sleep was a descriptor, and nobody has left word */
    thrum_time_t looked; /* around, by the coarse clock */
    thrum_loop_config_t config;
    thrum_time_t since; /* THRUM_FEEDBACK: when the current one got its turn */
    thrum_time_t boosted;
    int alarm;         /* embedded: a descriptor for its deadlines; -1: none */
    bool accounts;     /* for each that is given control: THRUM_FEEDBACK, or a watchdog */
    uint64_t switches; /* watchdog.c: read by its timer */
    uint32_t running;  /* likewise: the id of the coroutine that was given control last */
    struct thi_watchdog *watchdog;
    thrum_sem_t helpers; /* blocking.c */
    struct thi_loop_tasks *tasks;
};

/* A coroutine that is BLOCKED goes to the end of the line. On the loop's thread. */
void thi_loop_ready(thrum_loop_t *loop, thrum_coro_t *co);

/* Sleeps in the loop until it is woken, or the deadline: 0 or ETIMEDOUT. */
int thi_loop_block(thi_stage_t *stage, thrum_coro_t *co, thrum_time_t deadline);

/* The same for who waits again and again with a deadline that hardly ever passes: what was entered among the
 * deadlines stays there when it is woken, for the next such wait, and is looked at again when its time comes. */
int thi_loop_block_lazily(thi_stage_t *stage, thrum_coro_t *co, thrum_time_t deadline);

/* Takes it up, on the loop's thread. */
void thi_loop_admit(thrum_loop_t *loop, thrum_coro_t *co);

/* The first of the line; NULL: nobody is ready. */
thrum_coro_t *thi_loop_next(thrum_loop_t *loop);

/* It accounts: what the watchdog looks at. NULL: control goes to the loop itself. */
void thi_loop_gives(thrum_loop_t *loop, const thrum_coro_t *next);

/* In a forked child: who held their locks, or was about to leave something in an inbox, is the parent's. */
void thi_stacks_after_fork(void);
void thi_ports_after_fork(void);

/* The process is a forked child: nothing is left of the loop but the coroutine that forked. */
void thi_loop_forked(thrum_loop_t *loop);

/* Likewise, also for loops of other threads, which nobody can run there: visitors are the parent's. */
void thi_loop_forget_visitors(thrum_loop_t *loop);

/* The loop's thread goes elsewhere; the descriptor, if somebody asked for it, tells when to come back. */
void thi_loop_set_alarm(thrum_loop_t *loop);

int thi_watchdog_begin(thrum_loop_t *loop); /* 0 or ENOMEM */
void thi_watchdog_end(thrum_loop_t *loop);
/* Nothing is submitted any more; and the loop gives its executor up. */
void thi_tasks_close(thrum_loop_t *loop);
void thi_tasks_end(thrum_loop_t *loop);
void thi_tasks_forked(thrum_loop_t *loop); /* thi_loop_forget_visitors */

/* Has the loop a poller? Makes it one: 0, or an error of the system. */
int thi_loop_need_poller(thrum_loop_t *loop);

/* Descriptors that the loop's poller has found ready. */
void thi_waitfd_ready(thrum_loop_t *loop, const thi_polled_t *polled, size_t n);

/* A stream's events. The loop ends, or is a forked child's: its streams are of no use. */
void thi_stream_ready(thrum_loop_t *loop, const thi_polled_t *polled);
void thi_streams_lose(thrum_loop_t *loop);

/* Sleeps in the loop until it is woken, or for no reason, or (ETIMEDOUT) the deadline has passed: see
 * thi_loop_block_lazily. The current coroutine, where its thread runs a loop. */
int thi_coro_park_lazily(thi_stage_t *stage, thrum_coro_t *co, thrum_time_t deadline);

/* Spawns. `stage`: the caller's, or NULL. */
int thi_loop_spawn(thrum_loop_t *loop, thi_stage_t *stage, thrum_coro_t **co, thrum_fn fn,
                   void *arg, const thrum_coro_config_t *config);

#endif /* THI_CORE_H */
