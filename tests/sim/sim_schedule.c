/*
 * The schedule: at each point, who goes on, and whether time passes or somebody wakes for no
 * reason.
 *
 * Everything here is a function of the seed. The enumerating strategy has no chance in it: its
 * choices are those of the path it is on, and each schedule takes the path after the last one's.
 */
#include <string.h>

#include "sim_core.h"

struct sim sim;

#define DUE(task) ((task)->deadline <= sim.now)

static uint32_t bit_of(const sim_task *task)
{
    return UINT32_C(1) << task->number;
}

/* The number of the n-th bit that is set. */
static unsigned nth(uint32_t bits, unsigned n)
{
    while (n-- > 0)
        bits &= bits - 1;
    return (unsigned)__builtin_ctz(bits);
}

static unsigned count(uint32_t bits)
{
    return (unsigned)__builtin_popcount(bits);
}

/* ------------------------------------------------------------------------------------------------
 * Chance
 */

uint64_t sim_rng(void) /* splitmix64 (Steele et al., 2014) */
{
    uint64_t z = sim.rng += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

unsigned sim_random(unsigned n)
{
    return (unsigned)((sim_rng() >> 32) * n >> 32);
}

/* ------------------------------------------------------------------------------------------------
 * Blocking, waking, time
 */

void sim_unblock(sim_task *task)
{
    sim.blocked &= ~bit_of(task);
    sim.ready |= bit_of(task);
}

void sim_pass_time(thrum_time_t until)
{
    if (until > sim.now)
        sim.now = until;
    for (uint32_t left = sim.blocked; left != 0; left &= left - 1) {
        sim_task *task = sim_task_of(nth(left, 0));
        if (!DUE(task))
            continue;
        task->timed_out = true;
        sim_unblock(task);
        sim_trace(SIM_OP_TIMEOUT, task, task->blocked_on, NULL);
    }
}

/* The earliest deadline of those that sleep; THRUM_FOREVER: there is none. */
static thrum_time_t earliest(void)
{
    thrum_time_t first = THRUM_FOREVER;
    for (uint32_t left = sim.blocked; left != 0; left &= left - 1) {
        const sim_task *task = sim_task_of(nth(left, 0));
        if (task->deadline < first)
            first = task->deadline;
    }
    return first;
}

/* Nobody can run: time passes until somebody can. */
static void wait_for_deadline(void)
{
    const thrum_time_t first = earliest();
    if (first == THRUM_FOREVER)
        sim_fail_stuck();
    sim_pass_time(first);
}

/* Time passes although tasks could run: they were slow. */
static void pass_some_time(void)
{
    const thrum_time_t first = earliest();
    if (first != THRUM_FOREVER && sim_random(4) != 0)
        sim_pass_time(first);
    else
        sim_pass_time(sim.now + 1 + sim_random(4));
}

/* Sleepers may return for no reason; the layers above say that they cope. */
static void wake_for_no_reason(void)
{
    if (sim.blocked == 0)
        return;
    sim_task *task = sim_task_of(nth(sim.blocked, sim_random(count(sim.blocked))));
    if (task->blocked_in == SIM_OP_JOIN)
        return;
    sim_trace(SIM_OP_SPURIOUS, task, task->blocked_on, NULL);
    sim_unblock(task);
}

static void disturb(void)
{
    if (sim.world.time_rate == 0 && sim.world.spurious_rate == 0)
        return;
    const uint64_t chance = sim_rng();
    if ((chance & 1023) < sim.world.time_rate)
        pass_some_time();
    if ((chance >> 10 & 1023) < sim.world.spurious_rate)
        wake_for_no_reason();
}

/* ------------------------------------------------------------------------------------------------
 * Random
 */

static sim_task *choose_random(sim_op_t op)
{
    const uint32_t self = sim.current != NULL ? bit_of(sim.current) & sim.ready : 0;
    const uint64_t chance = sim_rng();
    if (self != 0 && op != SIM_OP_YIELD && (chance & 255) < sim.world.stay)
        return sim.current;
    uint32_t from = sim.ready;
    if (op == SIM_OP_YIELD && from != self)
        from &= ~self;
    return sim_task_of(nth(from, (unsigned)((chance >> 32) * count(from) >> 32)));
}

/* ------------------------------------------------------------------------------------------------
 * PCT: who has the highest priority runs; at a few points, chosen beforehand, who runs falls behind
 * everybody. A bug that needs d such points is found with a probability that does not depend on
 * luck at all the others.
 */

static void begin_pct(void)
{
    const unsigned depth = sim.test->pct_depth != 0 ? sim.test->pct_depth : 3;
    /* How long the schedule will be is not known; each order of magnitude gets its share. */
    const unsigned length = 32u << sim_random(6);
    sim.changes = depth - 1 < 8 ? depth - 1 : 8;
    for (unsigned i = 0; i < sim.changes; i++)
        sim.change_at[i] = 1 + sim_random(length);
}

static sim_task *choose_pct(sim_op_t op)
{
    sim_task *self = sim.current;
    bool falls = op == SIM_OP_YIELD || (op == SIM_OP_PAUSE && sim.world.polite);
    for (unsigned i = 0; i < sim.changes; i++)
        falls |= sim.change_at[i] == sim.steps;
    if (falls && self != NULL)
        self->priority = --sim.priority_floor;
    sim_task *best = NULL;
    for (uint32_t left = sim.ready; left != 0; left &= left - 1) {
        sim_task *task = sim_task_of(nth(left, 0));
        if (best == NULL || task->priority > best->priority)
            best = task;
    }
    return best;
}

/* ------------------------------------------------------------------------------------------------
 * Enumeration, depth first. A path is the list of choices made where there was one. First all
 * schedules without a preemption, then all with one, and so on up to the test's bound. A deadline
 * that passes while tasks could run counts as a preemption.
 */

#define CHOICES_MAX 8192
#define WORLDS 3

static struct {
    uint8_t chosen[CHOICES_MAX];
    uint8_t options[CHOICES_MAX];
    unsigned depth;  /* choices made in this schedule */
    unsigned length; /* choices of the path that are prescribed */
    unsigned spent;  /* preemptions in this schedule */
    unsigned bound;  /* how many there may be */
    unsigned world;
    uint64_t schedules; /* with this bound, in this world */
} dfs;

void sim_dfs_restart(void)
{
    memset(&dfs, 0, sizeof dfs);
}

static unsigned choose_option(unsigned options)
{
    if (options == 1)
        return 0;
    if (dfs.depth == CHOICES_MAX)
        sim_fail("more than %d choices in one schedule", CHOICES_MAX);
    const unsigned at = dfs.depth++;
    if (at >= dfs.length) {
        dfs.chosen[at] = 0;
        dfs.length = at + 1;
    }
    dfs.options[at] = (uint8_t)options;
    return dfs.chosen[at];
}

/* Makes the path the next one. False: there is none. */
static bool next_path(void)
{
    while (dfs.length > 0) {
        const unsigned last = dfs.length - 1;
        if (++dfs.chosen[last] < dfs.options[last])
            return true;
        dfs.length--;
    }
    return false;
}

/* Each world, within each bound, gets its share of the schedules. */
static bool next_round(void)
{
    dfs.schedules = 0;
    dfs.length = 0;
    if (++dfs.world < WORLDS)
        return true;
    dfs.world = 0;
    return ++dfs.bound <= sim.test->dfs_bound;
}

bool sim_schedule_next_dfs(void)
{
    const unsigned most = sim.test->dfs_schedules != 0 ? sim.test->dfs_schedules : 30000;
    const bool more = next_path();
    if (more && ++dfs.schedules < most / WORLDS)
        return true;
    if (more)
        sim_shared->dfs_complete = false;
    return next_round();
}

/* The task after this one in order of numbers: yielding goes round. */
static sim_task *next_in_turn(void)
{
    const unsigned number = sim.current != NULL ? sim.current->number : 0;
    const uint32_t later = sim.ready & ~((UINT32_C(2) << number) - 1u);
    return sim_task_of(nth(later != 0 ? later : sim.ready, 0));
}

static sim_task *choose_dfs(sim_op_t op)
{
    if (op == SIM_OP_YIELD)
        return next_in_turn();
    const uint32_t self = sim.current != NULL ? bit_of(sim.current) & sim.ready : 0;
    const bool may = dfs.spent < dfs.bound;
    const uint32_t others = self == 0 || may ? sim.ready & ~self : 0;
    const bool may_pass = may && earliest() != THRUM_FOREVER;
    const unsigned options = count(self) + count(others) + may_pass;
    unsigned choice = choose_option(options);
    if (self != 0 && choice == 0)
        return sim.current;
    choice -= count(self);
    if (self != 0 || choice == count(others))
        dfs.spent++;
    if (choice < count(others))
        return sim_task_of(nth(others, choice));
    sim_pass_time(earliest());
    return choose_dfs(op);
}

/* ------------------------------------------------------------------------------------------------
 * Points
 */

static sim_task *choose(sim_op_t op)
{
    if (sim.strategy != SIM_DFS)
        disturb();
    if (sim.ready == 0 && sim.blocked == 0)
        return NULL; /* all have ended */
    if (sim.ready == 0)
        wait_for_deadline();
    if (sim.clings != NULL && sim.clings == sim.current && (sim.ready & bit_of(sim.current)) != 0)
        return sim.current;
    if (sim.strategy == SIM_DFS)
        return choose_dfs(op);
    return sim.strategy == SIM_PCT ? choose_pct(op) : choose_random(op);
}

void sim_step(sim_op_t op, const volatile void *word, const void *pc)
{
    if (sim.current == NULL || sim.quiet != 0)
        return;
    const unsigned most = sim.test->max_steps != 0 ? sim.test->max_steps : 20000;
    if (++sim.steps > most)
        sim_fail("livelock: %u points and no end", most);
    sim_trace(op, sim.current, word, pc);
    if (op == SIM_OP_PAUSE && sim.current->in_lock == 0)
        sim.current->spins = true;
    sim_resume(choose(op));
}

int sim_block(sim_op_t op, const volatile void *on, thrum_time_t deadline, const void *pc)
{
    sim_task *self = sim.current;
    if (self == NULL || sim.quiet != 0)
        sim_left_the_lock();
    if (deadline <= sim.now)
        return ETIMEDOUT;
    self->blocked_in = op;
    self->blocked_on = (const void *)(uintptr_t)on;
    self->deadline = deadline;
    self->order = sim.orders++;
    self->timed_out = false;
    sim.ready &= ~bit_of(self);
    sim.blocked |= bit_of(self);
    sim.steps++;
    sim_trace(op, self, on, pc);
    sim_resume(choose(op));
    return self->timed_out ? ETIMEDOUT : 0;
}

static sim_task *first_sleeper(const volatile void *word)
{
    sim_task *found[SIM_TASKS_MAX];
    unsigned n = 0;
    unsigned first = 0;
    for (uint32_t left = sim.blocked; left != 0; left &= left - 1) {
        sim_task *task = sim_task_of(nth(left, 0));
        if (task->blocked_in != SIM_OP_FUTEX_WAIT || task->blocked_on != word)
            continue;
        if (n > 0 && task->order < found[first]->order)
            first = n;
        found[n++] = task;
    }
    if (n > 1 && sim.world.wake_any)
        first = sim_random(n);
    return n > 0 ? found[first] : NULL;
}

unsigned sim_wake(const volatile void *word, unsigned n)
{
    unsigned woken = 0;
    while (woken < n) {
        sim_task *task = first_sleeper(word);
        if (task == NULL)
            break;
        sim_unblock(task);
        woken++;
    }
    return woken;
}

void sim_end_task(void)
{
    sim_task *self = sim.current;
    self->ended = true;
    sim.ready &= ~bit_of(self);
    for (uint32_t left = sim.blocked; left != 0; left &= left - 1) {
        sim_task *task = sim_task_of(nth(left, 0));
        if (task->blocked_in == SIM_OP_JOIN && task->blocked_on == self)
            sim_unblock(task);
    }
    sim_trace(SIM_OP_END, self, NULL, NULL);
    sim_resume(choose(SIM_OP_END));
}

/* ------------------------------------------------------------------------------------------------
 * What tests call
 */

void sim_point(void)
{
    sim_step(SIM_OP_POINT, NULL, __builtin_return_address(0));
}

void sim_pause(void)
{
    sim_pass_time(sim.now + 1);
    sim_step(SIM_OP_PAUSE, NULL, __builtin_return_address(0));
}

void sim_yield(void)
{
    sim_pass_time(sim.now + 1);
    if (sim.ready == bit_of(sim.current) && earliest() != THRUM_FOREVER)
        sim_pass_time(earliest()); /* only a deadline can change what it waits for */
    sim_step(SIM_OP_YIELD, NULL, __builtin_return_address(0));
}

void sim_cling(bool cling)
{
    sim.clings = cling ? sim.current : NULL;
}

void sim_await_waiting(const sim_task *task, const void *key)
{
    while (!task->spins && !task->ended && thi_park_count(key) == 0)
        sim_yield();
}

void sim_await_parked(const void *key, unsigned n)
{
    while (thi_park_count(key) != n)
        sim_yield();
}

void *sim_join(sim_task *task)
{
    while (!task->ended)
        sim_block(SIM_OP_JOIN, task, THRUM_FOREVER, __builtin_return_address(0));
    return task->result;
}

bool sim_ended(const sim_task *task)
{
    return task->ended;
}

void sim_join_all(void)
{
    for (unsigned i = 0; i < sim.tasks; i++) {
        if (sim_task_of(i) != sim.current)
            sim_join(sim_task_of(i));
    }
    sim_poison_lift();
}

thrum_time_t sim_now(void)
{
    return sim.now;
}

thrum_time_t sim_soon(void)
{
    return sim.now + 1 + sim_random(12);
}

/* ------------------------------------------------------------------------------------------------
 * Beginning
 */

static unsigned one_of(const unsigned *values, unsigned n)
{
    return values[sim_random(n)];
}

static void draw_world(void)
{
    static const unsigned stays[] = {0, 64, 128, 192, 232, 248};
    static const unsigned time_rates[] = {0, 4, 16, 64};
    static const unsigned spurious_rates[] = {0, 0, 0, 8};
    sim.world = (struct sim_world){
        .kinds = sim_random(4),
        .stay = one_of(stays, 6),
        .time_rate = one_of(time_rates, 4),
        .spurious_rate = one_of(spurious_rates, 4),
        .wake_any = sim_random(4) == 0,
        .polite = sim_random(2) == 0,
        .stray = sim_random(4) == 0,
        .tired = sim_random(2) == 0,
        .reuse = sim_random(4) == 0,
        .stack_offset = sim_random(64) * 16,
        .cpus = (uint32_t)sim_rng(),
    };
}

void sim_schedule_begin(uint64_t seed)
{
    sim.seed = seed;
    sim.strategy = (sim_strategy_t)(seed % 10);
    sim.rng = seed;
    sim.hash = 0;
    sim.now = SIM_TIME_ZERO;
    sim.steps = 0;
    sim.orders = 0;
    sim.ready = 0;
    sim.blocked = 0;
    sim.tasks = 0;
    sim.current = NULL;
    sim.clings = NULL;
    sim.quiet = 0;
    sim.priority_floor = 0;
    sim.changes = 0;
    if (sim.strategy == SIM_DFS) {
        sim.rng = 0;
        sim.world = (struct sim_world){.kinds = dfs.world, .cpus = 0xAAAAAAAA};
        dfs.depth = 0;
        dfs.spent = 0;
    } else {
        draw_world();
    }
    if (sim.strategy == SIM_PCT)
        begin_pct();
    sim_trace_begin();
    sim_heap_begin();
    sim_tasks_begin();
    sim_resume(choose(SIM_OP_BEGIN)); /* returns when all tasks have ended */
}
