/*
 * What is known when a schedule fails: the last points, who waits on what, how to see it again.
 */
#undef _FORTIFY_SOURCE
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim_core.h"

struct entry {
    const void *word;
    const void *pc;
    uint64_t step;
    thrum_time_t now;
    uint8_t task;
    uint8_t op;
};

#define SHOWN 60
#define RING 256

static struct entry *ring;
static uint64_t ring_size; /* a power of two */
static uint64_t entries;
static uint64_t shown;

#define NAMES_MAX 16
/* What the test calls its objects, in this schedule. */
static struct named {
    const char *memory;
    size_t size;
    const char *name;
} names[NAMES_MAX];
static unsigned named;

static const char *const op_names[] = {
    [SIM_OP_ATOMIC] = "atomic",   [SIM_OP_FUTEX_WAIT] = "futex wait",
    [SIM_OP_FUTEX_WAKE] = "wake", [SIM_OP_BLOCK] = "park",
    [SIM_OP_WAKE] = "wake",       [SIM_OP_JOIN] = "join",
    [SIM_OP_CLOCK] = "clock",     [SIM_OP_PAUSE] = "pause",
    [SIM_OP_YIELD] = "yield",     [SIM_OP_POINT] = "point",
    [SIM_OP_BEGIN] = "begins",    [SIM_OP_END] = "ends",
    [SIM_OP_TIMEOUT] = "TIMEOUT", [SIM_OP_SPURIOUS] = "WOKEN FOR NO REASON",
};

void sim_trace_init(void)
{
    const char *wanted = getenv("THRUM_SIM_TRACE");
    shown = wanted != NULL ? strtoull(wanted, NULL, 10) : SHOWN;
    ring_size = RING;
    while (ring_size < shown)
        ring_size *= 2;
    ring = calloc(ring_size, sizeof *ring);
    if (ring == NULL)
        exit(2);
}

void sim_trace_begin(void)
{
    entries = 0;
    named = 0;
}

void sim_trace(sim_op_t op, const sim_task *task, const volatile void *word, const void *pc)
{
    ring[entries++ & (ring_size - 1)] = (struct entry){
        (const void *)(uintptr_t)word, pc, sim.steps, sim.now, (uint8_t)task->number, (uint8_t)op};
    const uint64_t what = (uint64_t)op << 8 | task->number | (uint64_t)sim.now << 16;
    sim.hash = (sim.hash ^ what) * UINT64_C(0x9E3779B97F4A7C15);
    sim.hash ^= sim.hash >> 29;
}

/* ------------------------------------------------------------------------------------------------
 * Addresses
 */

void sim_name(const void *memory, size_t size, const char *name)
{
    if (named < NAMES_MAX)
        names[named++] = (struct named){memory, size, name};
}

static const thi_strand_t *strand_of(const sim_task *task)
{
    const thi_strand_t *now = task == sim.current ? thi_current.strand : task->current.strand;
    return now != NULL ? now : task->known;
}

static bool within(const void *address, const void *start, size_t size)
{
    return (uintptr_t)address >= (uintptr_t)start && (uintptr_t)address - (uintptr_t)start < size;
}

/* What lies at the address, as far as we know. */
static const char *place(const void *address, char *text, size_t size)
{
    size_t offset = 0;
    for (unsigned i = 0; i < named; i++) {
        if (within(address, names[i].memory, names[i].size)) {
            snprintf(text, size, "%s+%zu", names[i].name,
                     (size_t)((const char *)address - names[i].memory));
            return text;
        }
    }
    for (unsigned i = 0; i < sim.tasks; i++) {
        const thi_strand_t *strand = strand_of(sim_task_of(i));
        if (strand != NULL && within(address, strand, sizeof *strand)) {
            snprintf(text, size, "strand of task %u+%zu", i,
                     (size_t)((const char *)address - (const char *)strand));
            return text;
        }
    }
    const sim_task *task = sim_task_on_stack(address, &offset);
    if (task != NULL)
        snprintf(text, size, "stack of task %u-%#zx", task->number, offset);
    else
        snprintf(text, size, "%p", address);
    return text;
}

static int load_bias(struct dl_phdr_info *info, size_t size, void *bias)
{
    (void)size;
    *(uintptr_t *)bias = info->dlpi_addr;
    return 1; /* the first is the program */
}

/* Opens a pipe from which the places in the source of these entries can be read, a line each. */
static FILE *resolve(uint64_t from)
{
    char program[512];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0)
        return NULL;
    program[length] = '\0';
    uintptr_t bias = 0;
    dl_iterate_phdr(load_bias, &bias);
    const size_t size = 1024 + (size_t)(entries - from) * 20;
    char *command = malloc(size);
    if (command == NULL)
        return NULL;
    size_t used = (size_t)snprintf(command, size, "addr2line -sfe '%s'", program);
    for (uint64_t i = from; i < entries; i++) {
        const uintptr_t pc = (uintptr_t)ring[i & (ring_size - 1)].pc;
        used += (size_t)snprintf(command + used, size - used, " %#lx",
                                 (unsigned long)(pc > bias ? pc - bias - 1 : 0));
    }
    snprintf(command + used, size - used, " 2>/dev/null");
    FILE *lines = popen(command, "r");
    free(command);
    return lines;
}

/* "function file:line" of the next entry; "" when it is not known. */
static void read_place(FILE *lines, char *text, size_t size)
{
    char function[128] = "";
    char line[128] = "";
    text[0] = '\0';
    if (lines == NULL || fgets(function, sizeof function, lines) == NULL ||
        fgets(line, sizeof line, lines) == NULL)
        return;
    function[strcspn(function, "\n")] = '\0';
    line[strcspn(line, " \n")] = '\0';
    if (line[0] != '?')
        snprintf(text, size, "%s %s", function, line);
}

static void print_trace(void)
{
    uint64_t n = entries < ring_size ? entries : ring_size;
    n = n < shown ? n : shown;
    const uint64_t from = entries - n;
    FILE *lines = resolve(from);
    printf("  the last %llu points:\n", (unsigned long long)n);
    for (uint64_t i = from; i < entries; i++) {
        const struct entry *entry = &ring[i & (ring_size - 1)];
        char word[64];
        char source[300];
        read_place(lines, source, sizeof source);
        printf("  %6llu t=%-5lld task %u  %-10s %-28s %s\n", (unsigned long long)entry->step,
               (long long)(entry->now - SIM_TIME_ZERO), entry->task, op_names[entry->op],
               entry->word != NULL ? place(entry->word, word, sizeof word) : "", source);
    }
    if (lines != NULL)
        pclose(lines);
}

/* ------------------------------------------------------------------------------------------------
 * Who waits
 */

static const char *permit_name(uint32_t permit)
{
    static const char *const known[] = {"empty", "notified", "parked"};
    return permit < 3 ? known[permit] : "?";
}

static void print_task(const sim_task *task)
{
    char word[64];
    const uint32_t bit = UINT32_C(1) << task->number;
    printf("  task %u (%s): ", task->number, task->thread ? "thread" : "strand");
    if ((sim.blocked & bit) != 0)
        printf("in %s on %s", op_names[task->blocked_in],
               task->blocked_in == SIM_OP_JOIN ? "another task"
                                               : place(task->blocked_on, word, sizeof word));
    else
        printf("%s", task->ended ? "ended" : "can run");
    const thi_strand_t *strand = strand_of(task);
    if (strand == NULL) {
        puts("");
        return;
    }
    printf("; permit %s%s", permit_name(strand->permit), strand->cancelled ? ", cancelled" : "");
    if (strand->site != NULL)
        printf("; waits on %s %s", strand->site->what, place(strand->object, word, sizeof word));
    puts("");
}

static void print_waiter(const thi_waiter_t *waiter, void *arg)
{
    char word[64];
    (void)arg;
    printf("  queued on %s: ", place(waiter->key, word, sizeof word));
    printf("%s of %s, claim %#x\n", waiter->site != NULL ? waiter->site->what : "?",
           place(waiter->wait->strand, word, sizeof word), (unsigned)waiter->wait->claim);
}

static jmp_buf out_of_dump;
static bool dumping;

void sim_left_the_lock(void)
{
    if (dumping)
        longjmp(out_of_dump, 1);
    sim_fail("an internal lock is held by nobody who could release it");
}

static void print_waiting(void)
{
    sim.quiet++;
    for (unsigned i = 0; i < sim.tasks; i++)
        print_task(sim_task_of(i));
    dumping = true;
    if (setjmp(out_of_dump) == 0)
        thi_lot_each(print_waiter, NULL);
    else
        puts("  (a bucket of the parking lot is locked)");
    dumping = false;
}

/* ------------------------------------------------------------------------------------------------
 * Failing
 */

static const char *strategy_name(void)
{
    static const char *const known[] = {"random", "PCT", "enumerated"};
    return known[sim.strategy];
}

static _Noreturn void end_process(void)
{
    sim_shared->reported = true;
    if (sim_shared->alone)
        puts("0 passed, 1 failed");
    fflush(stdout);
    _exit(1);
}

static _Noreturn void report(const char *what)
{
    sim.quiet++;
    if (sim_shared->silent)
        end_process();
    printf("FAIL  %s.%s: %s\n", sim.test->suite, sim.test->name, what);
    printf("  schedule %llu, %s; again: THRUM_SIM_SEED=%llu %s %s.%s\n",
           (unsigned long long)sim_shared->schedules, strategy_name(), (unsigned long long)sim.seed,
           program_invocation_name, sim.test->suite, sim.test->name);
    print_waiting();
    print_trace();
    end_process();
}

void sim_fail(const char *format, ...)
{
    char what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    report(what);
}

void sim_fail_stuck(void)
{
    report("deadlock: nobody can run, and no deadline will pass");
}

void sim_failed(const char *what, const char *file, int line)
{
    const char *slash = strrchr(file, '/');
    sim_fail("task %u at %s:%d: %s", sim.current != NULL ? sim.current->number : 0,
             slash != NULL ? slash + 1 : file, line, what);
}

static void crashed(int signal)
{
    sim_fail(signal == SIGALRM ? "it hangs: no point for a long time" : "signal %d", signal);
}

void sim_catch_signals(void)
{
    static const int caught[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    /* Its own stack: what crashed may have been the task's. */
    const size_t size = (size_t)256 * 1024;
    const stack_t stack = {.ss_sp = malloc(size), .ss_size = size};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_handler = crashed, .sa_flags = (int)(SA_ONSTACK | SA_RESETHAND)};
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
        sigaction(caught[i], &action, NULL);
}
