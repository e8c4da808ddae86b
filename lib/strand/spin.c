/*
 * The bounded, adaptive spin before sleeping.
 *
 * A wake-up from another processor takes microseconds, so looking for a few of them first is worth
 * it whenever the other side is running and answers soon, and waste whenever it needs this processor
 * to answer, or takes long. Each strand learns which it is:
 *
 *   - Who woke it last ran on the processor on which it is now: spinning only keeps that one from
 *     running. No spin.
 *   - A spin that found what it waited for renews the budget; one that did not halves it, down to
 *     none.
 *   - Without a budget, a strand whose sleeps are short tries again now and then, at growing
 *     intervals, and long enough to outlast the wake-up of a partner that sleeps as well: two that
 *     both sleep would otherwise never find out that they need not.
 *   - A strand whose sleeps are long (an idle worker) does not try.
 */
#include "strand/strand.h"

#ifdef THRUM_SIM
#define BUDGET_NS 2u /* the simulation's pause takes 1 ns */
#define TRIAL_NS 2u
#else
#define BUDGET_NS 10000u
#define TRIAL_NS 30000u
#endif
#define BUDGET_MIN_NS (BUDGET_NS / 8u)
#define SHORT_SLEEP_NS 5000000u /* as coarse as the measure */
#define INTERVAL_MIN 4u
#define INTERVAL_MAX 512u

/* spin_budget in ns; 0, as in a new record, means: not chosen yet. */
#define NO_BUDGET UINT32_MAX

static bool shares_processor(const thi_strand_t *self)
{
    return thi_load_relaxed(&self->waker_cpu) == thi_cpu_current() + 1;
}

static uint32_t trial(thi_strand_t *self)
{
    if (self->slept_ns > SHORT_SLEEP_NS)
        return 0;
    if (self->spin_skip != 0) {
        self->spin_skip--;
        return 0;
    }
    return TRIAL_NS;
}

static uint32_t budget_of(thi_strand_t *self)
{
    if (self->spin_budget == 0)
        self->spin_budget = BUDGET_NS;
    return self->spin_budget == NO_BUDGET ? trial(self) : self->spin_budget;
}

thi_spin_t thi_spin_begin(void)
{
    thi_spin_t spin = {.self = thi_self()};
    if (spin.self == NULL || spin.self->kind->relax == NULL || !thi_multiprocessor() ||
        shares_processor(spin.self))
        return spin;
    const unsigned pause_ns = thi_cpu_pause_ns();
    spin.budget = (budget_of(spin.self) + pause_ns - 1) / pause_ns;
    spin.left = spin.budget;
    return spin;
}

bool thi_spin_turn(thi_spin_t *spin)
{
    if (spin->left == 0)
        return false;
    spin->left--;
    spin->self->kind->relax(spin->self);
    return true;
}

static void lower_budget(thi_strand_t *self)
{
    if (self->spin_budget != NO_BUDGET && self->spin_budget / 2 >= BUDGET_MIN_NS) {
        self->spin_budget /= 2;
        return;
    }
    if (self->spin_budget != NO_BUDGET)
        self->spin_interval = INTERVAL_MIN;
    else if (self->spin_interval < INTERVAL_MAX)
        self->spin_interval *= 2;
    self->spin_budget = NO_BUDGET;
    self->spin_skip = self->spin_interval;
}

void thi_spin_end(const thi_spin_t *spin, bool success)
{
    if (spin->budget == 0)
        return;
    if (!success)
        lower_budget(spin->self);
    else if (spin->left != spin->budget) /* what is there at the first look proves nothing */
        spin->self->spin_budget = BUDGET_NS;
}

void thi_spin_slept(thi_strand_t *self, thrum_time_t nanoseconds)
{
    self->slept_ns = nanoseconds < UINT32_MAX ? (uint32_t)nanoseconds : UINT32_MAX;
}
