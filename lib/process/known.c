/*
 * All processes that this one knows: its children, itself, its parent; the end of the process, and fork.
 *
 * Invariants
 *   I1  The list has the children from STARTING until their end has been seen, and a reference to each.
 *   I2  Once `closing`, no child is added that exit would wait for. So its wait comes to an end.
 *   I3  `self` and `parent` change in a new process only, while it has one thread.
 */
#include <string.h>

#include <thrum/cancel.h>

#include "process/object.h"

#define A_FEW 4u
#define PATIENCE THRUM_S(5) /* with those that were killed */

static thi_lock_t processes_lock;
static struct thrum_process *first;
static struct thrum_process *last;
static struct thrum_process *cursor; /* whom the next start looks at first; NULL: the first */
static struct thrum_process *lost;   /* of another process: references to be given back some time */
static bool closing;

/* This process, when thrum did not start it. */
static struct thrum_process stranger = {
    .refs = 1,
    .state = THI_PROCESS_SELF,
    .child = {.pid = -1, .pidfd = -1, .life = -1, .gate = -1, .letter = -1},
    .name = stranger.short_name,
    .short_name = "main",
};
static struct thrum_process *self = &stranger;
static struct thrum_process *parent;

void thi_processes_enter(void)
{
    thi_lock(&processes_lock, THI_RANK_PROCESSES);
}

void thi_processes_leave(void)
{
    thi_unlock(&processes_lock, THI_RANK_PROCESSES);
}

/* ------------------------------------------------------------------------------------------------
 * The list; all under the lock
 */

static void append(struct thrum_process *p)
{
    p->prev = last;
    p->next = NULL;
    if (last != NULL)
        last->next = p;
    else
        first = p;
    last = p;
}

void thi_family_remove(struct thrum_process *p)
{
    if (cursor == p)
        cursor = p->next;
    if (p->prev != NULL)
        p->prev->next = p->next;
    else
        first = p->next;
    if (p->next != NULL)
        p->next->prev = p->prev;
    else
        last = p->prev;
    p->next = NULL;
    p->prev = NULL;
}

/* ------------------------------------------------------------------------------------------------
 * Those that have ended
 */

static void drop_all(struct thrum_process *p)
{
    while (p != NULL) {
        struct thrum_process *next = p->next;
        thi_process_drop(p);
        p = next;
    }
}

static void drop_lost(void)
{
    thi_processes_enter();
    struct thrum_process *chain = lost;
    lost = NULL;
    thi_processes_leave();
    drop_all(chain);
}

/* Looks at a few, others each time: so those that nobody asks for do not add up. */
static void look_at_a_few(void)
{
    struct thrum_process *over = NULL;
    thi_processes_enter();
    for (unsigned i = 0; i < A_FEW && first != NULL; i++) {
        struct thrum_process *p = cursor != NULL ? cursor : first;
        struct thrum_process *ended = NULL;
        cursor = p->next;
        (void)thi_process_look(p, &ended);
        if (ended != NULL) {
            ended->next = over;
            over = ended;
        }
    }
    thi_processes_leave();
    drop_all(over);
}

static size_t look_at_all(struct thrum_process **out, size_t n)
{
    struct thrum_process *over = NULL;
    size_t count = 0;
    thi_processes_enter();
    for (struct thrum_process *p = first, *next = NULL; p != NULL; p = next) {
        struct thrum_process *ended = NULL;
        next = p->next;
        const int err = thi_process_look(p, &ended);
        if (ended != NULL) {
            ended->next = over;
            over = ended;
        } else if (err == EAGAIN && count < n) {
            if (out != NULL)
                out[count] = thrum_process_retain(p);
            count++;
        }
    }
    thi_processes_leave();
    drop_all(over);
    return count;
}

size_t thrum_process_count(void)
{
    return look_at_all(NULL, SIZE_MAX);
}

size_t thrum_process_children(thrum_process_t **out, size_t n)
{
    return look_at_all(out, out != NULL ? n : 0);
}

/* ------------------------------------------------------------------------------------------------
 * The end of the process
 */

/* The first that is a daemon, or is not, with a reference. */
static struct thrum_process *pick(bool daemon)
{
    thi_processes_enter();
    struct thrum_process *p = first;
    while (p != NULL && (thi_load_relaxed(&p->daemon) != 0) != daemon)
        p = p->next;
    thrum_process_retain(p);
    thi_processes_leave();
    return p;
}

static int await(struct thrum_process *p, thrum_time_t deadline)
{
    if (thi_load_acquire(&p->state) == THI_PROCESS_STARTING)
        return thrum_event_wait_until(&p->begun, deadline);
    const int err = thi_process_await(p, deadline);
    /* Nothing to wait with: the thread does. */
    return err == 0 || err == ETIMEDOUT ? err : thi_process_await_hard(p, deadline);
}

static int await_family(void *arg, void **result)
{
    (void)arg;
    (void)result;
    struct thrum_process *p = NULL;
    while ((p = pick(false)) != NULL) {
        (void)await(p, THRUM_FOREVER);
        thi_process_drop(p);
    }
    return 0;
}

static int end_daemons(void *arg, void **result)
{
    (void)arg;
    (void)result;
    const thrum_time_t deadline = thrum_after(PATIENCE);
    struct thrum_process *p = NULL;
    int err = 0;
    /* Any other error is of one whose start has failed meanwhile, and which is no child any more. */
    while (err != ETIMEDOUT && (p = pick(true)) != NULL) {
        (void)thrum_process_kill(p);
        err = await(p, deadline);
        thi_process_drop(p);
    }
    return 0;
}

/* After the threads: they may start and join processes to the last. */
static void at_exit(void)
{
    thi_processes_enter();
    closing = true;
    thi_processes_leave();
    /* Held back: who was asked to stop waits for them as well. */
    (void)thrum_shield(await_family, NULL, NULL);
    (void)thrum_shield(end_daemons, NULL, NULL);
}

int thi_family_add(struct thrum_process *p)
{
    drop_lost();
    look_at_a_few();
    int err = thi_exit_after_threads(at_exit);
    if (err != 0)
        return err;
    thi_processes_enter();
    if (closing && thi_load_relaxed(&p->daemon) == 0) { /* I2 */
        err = ESHUTDOWN;
    } else {
        thrum_process_retain(p); /* I1 */
        append(p);
    }
    thi_processes_leave();
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * This process and its parent
 */

thrum_process_t *thrum_process_current(void)
{
    return self;
}

thrum_process_t *thrum_process_parent(void)
{
    return parent;
}

bool thi_family_parent_alive(const struct thrum_process *p)
{
    if (p->child.pidfd < 0)
        return thi_process_parent_id() == (pid_t)p->pid;
    thi_polled_t polled = {p->child.pidfd, THI_POLL_IN, 0};
    (void)thi_poll(&polled, 1, 0); /* a signal may have ended it, which is no news of the parent */
    return polled.ready == 0;
}

void thi_family_begin(struct thrum_process *me, struct thrum_process *starter, pid_t starter_pid)
{
    thi_process_none(&me->child);
    thrum_process_retain(me); /* for as long as the process runs */
    thi_store_relaxed(&me->state, THI_PROCESS_SELF);
    self = me;
    thi_process_none(&starter->child);
    thi_store_relaxed(&starter->pid, (uint32_t)starter_pid);
    thi_store_relaxed(&starter->state, THI_PROCESS_PARENT);
    parent = starter;
}

/* ------------------------------------------------------------------------------------------------
 * Fork
 */

static void after_fork_in_child(void)
{
    for (struct thrum_process *p = first, *next = NULL; p != NULL; p = next) {
        next = p->next;
        thi_store_relaxed(&p->state, THI_PROCESS_LOST);
        p->prev = NULL;
        p->next = lost;
        lost = p;
    }
    first = NULL;
    last = NULL;
    cursor = NULL;
    closing = false;
    thi_store_relaxed(&self->state, THI_PROCESS_LOST);
    if (parent != NULL)
        thi_store_relaxed(&parent->state, THI_PROCESS_LOST);
    thi_store_relaxed(&stranger.state, THI_PROCESS_SELF);
    self = &stranger;
    parent = NULL;
    thi_processes_leave();
}

/* Just after those of lib/os, and before all others: see there. So none of what others mend is used here. Not of the
 * same number as those of pipes, whose lock is of the next rank: which would come first is up to the linker. */
__attribute__((constructor(103))) static void at_load(void)
{
    thi_at_fork(thi_processes_enter, thi_processes_leave, after_fork_in_child);
}
