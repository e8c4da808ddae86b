/*
 * Strands of tasks. The simulated kind has nothing below it but the scheduler, as coroutines will
 * have nothing but their loop: whoever adds a kind finds here all that it takes.
 *
 * Records live as long as the process and begin each schedule alike: what one schedule left in them
 * (budgets learned, permits that came late) may not change the next, or no seed could be replayed.
 * What a record may have kept from an earlier life the seed decides instead.
 */
#include <stdio.h>
#include <string.h>

#include <thrum/cancel.h>

#include "sim_core.h"

struct record {
    thi_strand_t strand;
    sim_task *task;
};

static struct record records[SIM_TASKS_MAX];
static void *kept; /* sim_keep */

static struct record *record_of(const thi_strand_t *strand)
{
    return (struct record *)(uintptr_t)strand;
}

/* ------------------------------------------------------------------------------------------------
 * The kind
 */

static int block(thi_strand_t *self, thrum_time_t deadline)
{
    const void *pc = __builtin_return_address(0);
    sim_step(SIM_OP_POINT, &self->permit, pc);
    if (self->permit != THI_PARKED) /* one step with what follows */
        return 0;
    return sim_block(SIM_OP_BLOCK, &self->permit, deadline, pc);
}

static void wake(thi_strand_t *strand)
{
    sim_step(SIM_OP_WAKE, &strand->permit, __builtin_return_address(0));
    sim_task *task = record_of(strand)->task;
    const bool blocked = (sim.blocked & UINT32_C(1) << task->number) != 0;
    if (blocked && task->blocked_in == SIM_OP_BLOCK)
        sim_unblock(task);
}

static void relax(thi_strand_t *self)
{
    (void)self;
    sim_pass_time(sim.now + 1);
    sim_step(SIM_OP_PAUSE, NULL, __builtin_return_address(0));
}

static void describe(const thi_strand_t *strand, char *name, size_t size)
{
    snprintf(name, size, "task %u", record_of(strand)->task->number);
}

static const thi_strand_kind_t kinds[] = {
    {.name = "task", .block = block, .wake = wake, .relax = NULL, .describe = describe},
    {.name = "spinning task",
     .block = block,
     .wake = wake,
     .passes_on = true,
     .relax = relax,
     .describe = describe},
};

/* ------------------------------------------------------------------------------------------------
 * Lives
 */

/* What an earlier life may have left behind. */
static void age(thi_strand_t *strand)
{
    const bool tired = sim.world.tired && sim_random(2) == 0;
    strand->permit = sim.world.stray && sim_random(2) == 0 ? THI_NOTIFIED : THI_EMPTY;
    strand->spin_budget = tired ? UINT32_MAX : 0;
    strand->spin_skip = tired ? 1000 : 0;
    strand->spin_interval = tired ? 1000 : 0;
    strand->slept_ns = 0;
    strand->waker_cpu = 0;
    strand->watch_skip = tired ? 1 + sim_random(2) : 0;
    strand->watch_interval = strand->watch_skip;
    strand->flow = 0;
    strand->flow_gets = 0;
    strand->yields = tired ? 1 : 0;
    strand->wanted_again = 0;
    strand->wanted_at = 0;
    thi_current.guess = 0;
    thi_current.near = NULL;
}

static void begin_strand(sim_task *task)
{
    struct record *record = &records[task->number];
    record->task = task;
    record->strand.kind = &kinds[sim_random(2)];
    age(&record->strand);
    thi_strand_renew(&record->strand);
    thi_strand_set_current(&record->strand);
}

void sim_strand_begin(sim_task *task)
{
    if (kept != NULL)
        memset(kept, 0, sizeof task->kept);
    if (!task->thread)
        begin_strand(task);
    else if (!sim.test->lazy)
        age(thi_self());
}

/* What the system does when a thread ends. */
void sim_at_exit_rounds(sim_task *task)
{
    for (unsigned round = 0; round < thi_thread_exit_rounds() && task->exit_fn != NULL; round++) {
        void (*fn)(void *) = task->exit_fn;
        task->exit_fn = NULL;
        fn(task->exit_arg);
    }
}

void sim_strand_end(sim_task *task)
{
    if (task->thread) {
        sim_at_exit_rounds(task);
        return;
    }
    thi_strand_t *strand = &records[task->number].strand;
    thi_locals_end(strand);
    thi_strand_set_current(NULL);
    thi_strand_retire(strand);
}

void sim_keep(void *pointer)
{
    kept = pointer;
}

static void switch_kept(sim_task *from, const sim_task *to)
{
    if (kept != NULL && from != NULL)
        memcpy(&from->kept, kept, sizeof from->kept);
    if (kept != NULL && to != NULL)
        memcpy(kept, &to->kept, sizeof to->kept);
}

/* The thread-local of the library belongs to the task. A thread's is put back as it was; a strand's
 * is set anew at each switch, as a loop does it; but what belongs to a loop, since each is one of its own. */
void sim_strand_switch(sim_task *from, const sim_task *to)
{
    switch_kept(from, to);
    if (from != NULL)
        from->current = thi_current;
    if (from != NULL && thi_current.strand != NULL)
        from->known = thi_current.strand;
    if (to != NULL && to->thread)
        thi_current = to->current;
    else
        thi_strand_set_current(to != NULL ? to->current.strand : NULL);
    thi_current.near = to != NULL ? to->current.near : NULL;
}

thi_strand_t *sim_strand(const sim_task *task)
{
    while (!sim.test->lazy && !task->ended && task != sim.current && task->current.strand == NULL)
        sim_yield();
    return task == sim.current ? thi_current.strand : task->current.strand;
}

void *sim_canceller(void *arg)
{
    sim_task *task = arg;
    task->pins++;
    thi_strand_t *strand = sim_strand(task);
    if (strand != NULL)
        thi_strand_cancel(strand);
    task->pins--;
    return NULL;
}

bool sim_gave_up(int err, thrum_time_t deadline)
{
    if (err == ETIMEDOUT)
        sim_check(sim.now >= deadline);
    else if (err == ECANCELED)
        sim_check(thrum_cancelled());
    else
        sim_check(err == 0);
    return err != 0;
}

bool sim_checked(void)
{
    return thi_checked();
}

/* ------------------------------------------------------------------------------------------------
 * Registering
 */

static void as_thread(unsigned number, void (*fn)(sim_task *))
{
    sim_task *task = sim_task_of(number);
    task->number = number;
    sim.current = task;
    thi_current = (thi_current_t){0};
    fn(task);
    sim.current = NULL;
}

static void attach(sim_task *task)
{
    task->known = thi_self();
}

/* Of those that have not given their record back, the one with the last. */
static unsigned last_record(unsigned n)
{
    unsigned last = 0;
    for (unsigned i = 1; i < n; i++) {
        if ((uintptr_t)sim_task_of(i)->known > (uintptr_t)sim_task_of(last)->known)
            last = i;
    }
    return last;
}

/* The library gives a thread the record that was given back last. So that each schedule finds them in
 * the same order, n threads take them all and give them back, the last first. */
static void sort_records(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        as_thread(i, attach);
    for (unsigned i = 0; i < n; i++) {
        const unsigned last = last_record(n);
        as_thread(last, sim_at_exit_rounds);
        sim_task_of(last)->known = NULL;
    }
}

void sim_strands_reset(unsigned n)
{
    sim.quiet = 1;
    sort_records(n);
    sim.quiet = 0;
}

/* Registers n records of each kind. The library finds no memory to grow its tables for them: so that
 * no schedule finds them larger than the one before, and that the parking lot stays at two buckets,
 * which objects share, or do not, as the seed places them. */
void sim_strands_register(unsigned n)
{
    sim.quiet = 1;
    sim.no_pages = true;
    for (unsigned i = 0; i < n; i++)
        thi_strand_register(&records[i].strand, &kinds[0]);
    sort_records(n);
    sim.quiet = 0;
    sim.no_pages = false;
}
