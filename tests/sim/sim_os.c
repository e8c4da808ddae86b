/*
 * lib/os over the simulation.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sim_core.h"

void thi_sim_point(const volatile void *word)
{
    sim_step(SIM_OP_ATOMIC, word, __builtin_return_address(0));
    sim_touch(word); /* after the switch: the access is made now */
}

bool thi_sim_planted(const char *fault)
{
    return sim_fault != NULL && strcmp(sim_fault, fault) == 0;
}

uint64_t thi_sim_draw(void)
{
    return sim_rng();
}

/* --- futex ------------------------------------------------------------------------------------ */

int thi_futex_wait(uint32_t *word, uint32_t expected, thrum_time_t deadline)
{
    const void *pc = __builtin_return_address(0);
    sim_step(SIM_OP_POINT, word, pc);
    sim_touch(word);
    if (*word != expected) /* one step with what follows */
        return 0;
    return sim_block(SIM_OP_FUTEX_WAIT, word, deadline, pc);
}

void thi_futex_wake(uint32_t *word, unsigned n)
{
    sim_step(SIM_OP_FUTEX_WAKE, word, __builtin_return_address(0));
    sim_wake(word, n);
}

void thi_futex_after_fork(void)
{
}

/* No strand of the simulation has a bell. */
bool thi_far_near(void)
{
    return false;
}

/* Simulated threads share memory with nobody else. */
int thi_far_wait(uint32_t *word, uint32_t expected, thrum_time_t deadline, uint32_t *near,
                 uint32_t near_expected)
{
    (void)word, (void)expected, (void)deadline, (void)near, (void)near_expected;
    abort();
}

/* --- clock, processors ------------------------------------------------------------------------ */

thrum_time_t thi_clock(void)
{
    sim_step(SIM_OP_CLOCK, NULL, __builtin_return_address(0));
    return sim.now;
}

thrum_time_t thi_clock_coarse(void)
{
    return sim.now;
}

unsigned thi_processors(void)
{
    return 2;
}

bool thi_multiprocessor(void)
{
    return true;
}

unsigned thi_cpu_current(void)
{
    return sim.current != NULL ? sim.world.cpus >> sim.current->number & 1 : 0;
}

void thi_cpu_pause(void)
{
    sim_pass_time(sim.now + 1);
    sim_step(SIM_OP_PAUSE, NULL, __builtin_return_address(0));
}

/* The simulation is sequentially consistent. */
uint32_t thi_fence_symmetric;

void thi_fence_full(void)
{
}

void thi_fence_heavy(void)
{
}

void thi_thread_yield(void)
{
    thi_cpu_pause();
}

void thi_cpu_yield(unsigned turns)
{
    (void)turns;
    sim_yield();
}

unsigned thi_cpu_pause_ns(void)
{
    return 1;
}

/* --- threads ---------------------------------------------------------------------------------- */

int64_t thi_thread_native_id(void)
{
    return sim.current != NULL ? (int64_t)sim.current->number : -1;
}

void thi_thread_name(int64_t native_id, char *name, size_t size)
{
    snprintf(name, size, "task %lld", (long long)native_id);
}

int thi_thread_at_exit(void (*exit_fn)(void *), void *arg)
{
    if (thi_fault(THI_FAULT_AT_EXIT))
        return ENOMEM;
    sim.current->exit_fn = exit_fn;
    sim.current->exit_arg = arg;
    return 0;
}

/* The simulation's tasks are not cancelled by pthreads. */
int thi_cancel_off(void)
{
    return 0;
}

void thi_cancel_restore(int state)
{
    (void)state;
}

static void *thread_main(void *arg)
{
    const thi_start_t *start = arg;
    start->fn(start->arg);
    return NULL;
}

int thi_thread_start(thi_start_t *start)
{
    if (thi_fault(THI_FAULT_THREAD))
        return ENOMEM;
    sim_spawn_kind(thread_main, start, SIM_THREAD);
    sim_step(SIM_OP_POINT, NULL, __builtin_return_address(0)); /* it may end before this returns */
    return 0;
}

uintptr_t thi_thread_handle(void)
{
    return (uintptr_t)sim.current;
}

void thi_thread_set_name(uintptr_t handle, const char *name)
{
    (void)handle, (void)name;
}

void thi_thread_pin(unsigned nth)
{
    (void)nth;
}

/* All tasks are one thread, which does not end while a schedule runs. */
int thi_thread_on_end(thi_ending_t *ending, void (*fn)(void *), void *arg)
{
    (void)ending, (void)fn, (void)arg;
    return ENOMEM;
}

unsigned thi_thread_exit_rounds(void)
{
    return 2;
}

void thi_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    (void)prepare;
    (void)parent;
    (void)child;
}

void thi_once(thi_once_t *once, void (*init)(void))
{
    if (once->state != 0)
        return;
    once->state = 1;
    init();
}

/* --- memory ----------------------------------------------------------------------------------- */

void *thi_pages_map(size_t size)
{
    if (sim.no_pages || thi_fault(THI_FAULT_PAGES))
        return NULL;
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void thi_pages_unmap(void *pages, size_t size)
{
    munmap(pages, size);
}

bool thi_pages_forget(void *pages, size_t size)
{
    return !thi_fault(THI_FAULT_FORGET) && madvise(pages, size, MADV_DONTNEED) == 0;
}

/* The simulation's descriptors are numbers, and readable or not as the queue last said. */
static int signals;
static bool signal_readable[64];
static bool signal_open[64];
static bool signals_repeat;

int thi_signal_open(int *fd)
{
    *fd = signals++ % 64;
    signal_readable[*fd] = false;
    signal_open[*fd] = true;
    return 0;
}

void thi_signal_set(int fd, bool readable)
{
    if (fd < 0 || !signal_open[fd])
        sim_fail("a descriptor that is closed was written to");
    if (signal_readable[fd] == readable && !signals_repeat)
        abort(); /* the library says what changes */
    signal_readable[fd] = readable;
}

void thi_signal_close(int fd)
{
    signal_open[fd] = false;
}

/* Nothing in the simulation waits for descriptors. */
int thi_poll(thi_polled_t *polled, size_t n, thrum_time_t deadline)
{
    (void)polled, (void)n, (void)deadline;
    return ENOTSUP;
}

void sim_signals_repeat(bool may)
{
    signals_repeat = may;
}

bool sim_signal(int fd)
{
    return signal_readable[fd];
}

/* --- names ------------------------------------------------------------------------------------ */

void thi_symbol_name(const void *address, char *buf, size_t size)
{
    (void)address;
    (void)size;
    buf[0] = '\0';
}

const char *thi_error_text(int err)
{
    return strerror(err);
}

/* --- faults ----------------------------------------------------------------------------------- */

static unsigned countdown[THI_FAULT_KINDS];

void thi_fault_arm(thi_fault_t kind, unsigned nth)
{
    countdown[kind] = nth;
}

bool thi_fault(thi_fault_t kind)
{
    return countdown[kind] == THI_FAULT_ALWAYS || (countdown[kind] != 0 && --countdown[kind] == 0);
}
