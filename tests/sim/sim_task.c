/*
 * Tasks: coroutines that are made once and run one body per schedule. Their stacks lie at the same
 * addresses in every run, since addresses decide which bucket of the parking lot an object is in.
 *
 * A switch is a _setjmp and a _longjmp: no signal masks, no system call. AddressSanitizer wants to
 * be told, and has its own opinion of long jumps and of swapcontext; there, getcontext and
 * setcontext do it.
 */
#undef _FORTIFY_SOURCE /* its longjmp takes a switch of stacks for a crime */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <alloca.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "sim_core.h"

#ifdef SIM_ASAN
#include <sanitizer/common_interface_defs.h>
#define STACK_SIZE ((size_t)256 * 1024)
#else
#define STACK_SIZE ((size_t)64 * 1024)
#endif
#define GUARD_SIZE ((size_t)64 * 1024)
#define SLOT_SIZE (STACK_SIZE + GUARD_SIZE)

struct context {
    ucontext_t start;
    jmp_buf regs;
    bool started;
    void *stack;
    size_t size;
    void *fake_stack;
};

static struct context contexts[SIM_TASKS_MAX];
static struct context runner;
static sim_task tasks[SIM_TASKS_MAX];
static char *stacks;

sim_task *sim_task_of(unsigned number)
{
    return &tasks[number];
}

sim_task *sim_self(void)
{
    return sim.current;
}

static struct context *context_of(const sim_task *task)
{
    return task != NULL ? &contexts[task->number] : &runner;
}

/* ------------------------------------------------------------------------------------------------
 * Switching
 */

#ifdef SIM_ASAN
static struct context *previous;

static void arrived(struct context *self)
{
    const void *stack = NULL;
    size_t size = 0;
    __sanitizer_finish_switch_fiber(self->fake_stack, &stack, &size);
    if (previous == &runner) { /* whose stack nobody told us */
        runner.stack = (void *)(uintptr_t)stack;
        runner.size = size;
    }
}

static void switch_context(struct context *from, struct context *to)
{
    previous = from;
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->size);
    volatile bool resumed = false;
    getcontext(&from->start);
    if (!resumed) {
        resumed = true;
        setcontext(&to->start);
    }
    arrived(from);
}
#else
static void arrived(const struct context *self)
{
    (void)self;
}

static void switch_context(struct context *from, struct context *to)
{
    if (_setjmp(from->regs) != 0)
        return;
    if (to == &runner || to->started)
        _longjmp(to->regs, 1);
    to->started = true;
    setcontext(&to->start);
}
#endif

void sim_resume(sim_task *next)
{
    sim_task *from = sim.current;
    if (next == from)
        return;
    sim_strand_switch(from, next);
    sim.current = next;
    switch_context(context_of(from), context_of(next));
}

/* ------------------------------------------------------------------------------------------------
 * A task's life
 */

static void run_body(sim_task *task)
{
    sim_trace(SIM_OP_BEGIN, task, NULL, NULL);
    sim_strand_begin(task);
    task->result = task->fn(task->arg);
    while (task->pins != 0)
        sim_yield();
    sim_strand_end(task);
}

static void coroutine_main(unsigned number)
{
    arrived(&contexts[number]);
    for (;;) {
        run_body(&tasks[number]);
        sim_end_task(); /* returns in the next schedule */
    }
}

/* The test's body. Where its stack begins depends on the seed, so that its objects fall into other
 * buckets of the parking lot each time. */
static __attribute__((noinline)) void *body_main(void *offset)
{
    volatile char *gap = alloca(*(unsigned *)offset + 1);
    gap[0] = 0;
    sim.test->body();
    if (sim.poisoned != 0)
        sim_fail("the body ended with poisoned memory on its stack: sim_join_all() comes first");
    sim_join_all();
    return NULL;
}

static sim_task *take_task(void)
{
    const unsigned number = sim.tasks;
    const unsigned most = sim.test->tasks != 0 ? sim.test->tasks : 4;
    if (number == most)
        sim_fail("more than %u tasks: the test must say .tasks", most);
    sim.tasks++;
    sim_task *task = &tasks[number];
    memset(task, 0, sizeof *task);
    task->number = number;
    return task;
}

static bool becomes_thread(sim_kind_t kind)
{
    if (kind == SIM_ANY)
        kind = sim.test->kind;
    if (kind == SIM_ANY && sim.world.kinds < 2)
        kind = sim.world.kinds == 0 ? SIM_THREAD : SIM_STRAND;
    if (kind == SIM_ANY)
        kind = sim_random(2) == 0 ? SIM_THREAD : SIM_STRAND;
    return kind == SIM_THREAD;
}

sim_task *sim_spawn_kind(void *(*fn)(void *), void *arg, sim_kind_t kind)
{
    sim_task *task = take_task();
    task->fn = fn;
    task->arg = arg;
    task->thread = becomes_thread(kind);
    sim.ready |= UINT32_C(1) << task->number;
    task->priority = (int64_t)(sim_rng() >> 1);
    return task;
}

sim_task *sim_spawn(void *(*fn)(void *), void *arg)
{
    sim_task *task = sim_spawn_kind(fn, arg, SIM_ANY);
    sim_point();
    return task;
}

void sim_tasks_begin(void)
{
    sim_spawn_kind(body_main, &sim.world.stack_offset, SIM_ANY);
}

/* ------------------------------------------------------------------------------------------------
 * Stacks
 */

static char *map_stacks(void)
{
    /* Low enough for every address space, beyond what sanitizers keep for themselves. */
    static const uintptr_t wanted[] = {0x200000000000, 0x2000000000};
    const size_t size = SLOT_SIZE * SIM_TASKS_MAX;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        char *got = mmap((void *)wanted[i], size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == (char *)wanted[i])
            return got;
        if (got != MAP_FAILED)
            munmap(got, size);
    }
    fputs("sim: no place for the stacks at a fixed address\n", stderr);
    exit(2);
}

void sim_tasks_init(void)
{
    stacks = map_stacks();
    for (unsigned i = 0; i < SIM_TASKS_MAX; i++) {
        char *guard = stacks + i * SLOT_SIZE;
        mprotect(guard, GUARD_SIZE, PROT_NONE);
        struct context *context = &contexts[i];
        context->stack = guard + GUARD_SIZE;
        context->size = STACK_SIZE;
        getcontext(&context->start);
        context->start.uc_stack.ss_sp = context->stack;
        context->start.uc_stack.ss_size = context->size;
        context->start.uc_link = NULL;
        makecontext(&context->start, (void (*)(void))coroutine_main, 1, i);
    }
}

sim_task *sim_task_on_stack(const volatile void *address, size_t *offset)
{
    const uintptr_t at = (uintptr_t)address - (uintptr_t)stacks;
    if ((uintptr_t)address < (uintptr_t)stacks || at >= SLOT_SIZE * SIM_TASKS_MAX)
        return NULL;
    const sim_task *task = &tasks[at / SLOT_SIZE];
    *offset = SLOT_SIZE - at % SLOT_SIZE; /* from the top, where the stack begins */
    return (sim_task *)(uintptr_t)task;
}
