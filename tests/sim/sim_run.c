/*
 * Runs tests: each in a process of its own, so that one that fails leaves nothing behind, and each
 * through all its schedules.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim_core.h"

#define SCHEDULES 50000
#ifdef SIM_ASAN
#define SLOWNESS 5 /* what finds accesses to freed memory needs no more than a sample */
#else
#define SLOWNESS 1
#endif
#define HANG_SECONDS 60

struct sim_shared *sim_shared;
const char *sim_fault;

static sim_test *tests;
static sim_test **tests_end = &tests;
static sim_bite *bites;
static sim_bite **bites_end = &bites;

static uint64_t base;   /* THRUM_SIM_BASE */
static uint64_t wanted; /* THRUM_SIM_SCHEDULES; 0: as the test says */

void sim_register(sim_test *test)
{
    *tests_end = test;
    tests_end = &test->next;
}

void sim_register_bite(sim_bite *bite)
{
    *bites_end = bite;
    bites_end = &bite->next;
}

/* ------------------------------------------------------------------------------------------------
 * One schedule
 */

static void count_waiter(const thi_waiter_t *waiter, void *arg)
{
    (void)waiter;
    ++*(unsigned *)arg;
}

static void count_strand(thi_strand_t *strand, void *arg)
{
    (void)strand;
    ++*(unsigned *)arg;
}

/* Between schedules nothing of the library may be in use. */
static void check_library(void)
{
    unsigned waiters = 0;
    unsigned strands = 0;
    thi_lot_each(count_waiter, &waiters);
    if (waiters != 0)
        sim_fail("%u waiters left in the parking lot", waiters);
    thi_strand_each(count_strand, &strands);
    if (strands != 0)
        sim_fail("%u strands that have ended are still registered as alive", strands);
    sim_heap_end();
}

static unsigned tasks_of(const sim_test *test)
{
    return test->tasks != 0 ? test->tasks : 4;
}

static void run_schedule(uint64_t seed)
{
    sim_shared->seed = seed;
    sim_shared->schedules++;
    if (sim_shared->schedules % 1024 == 1)
        alarm(HANG_SECONDS);
    sim_schedule_begin(seed);
    check_library();
    sim_strands_reset(tasks_of(sim.test));
    sim_shared->steps += sim.steps;
}

static void register_strands(void)
{
    sim_strands_register(tasks_of(sim.test));
}

/* In a process of its own. Exits when it fails. */
static void run_fresh(uint64_t seed)
{
    const pid_t pid = fork();
    if (pid == 0) {
        register_strands();
        run_schedule(seed);
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (status != 0)
        _exit(1);
}

/* ------------------------------------------------------------------------------------------------
 * All schedules of a test
 */

#define SIM_REPLAYED 16
static uint64_t hashes[SIM_REPLAYED]; /* of the first schedules */

static uint64_t seed_by_chance(uint64_t i)
{
    return (base + i / 2) * 10 + (i % 2 == 0 ? SIM_RANDOM : SIM_PCT);
}

static void run_by_chance(void)
{
    const uint64_t asked = sim.test->schedules != 0 ? sim.test->schedules : SCHEDULES;
    const uint64_t n = wanted != 0 ? wanted : asked / SLOWNESS;
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t seed = seed_by_chance(i);
        if (sim.test->fresh)
            run_fresh(seed);
        else
            run_schedule(seed);
        if (i < SIM_REPLAYED)
            hashes[i] = sim.hash;
    }
}

/* Runs the enumerated schedules up to the one with that number. */
static void run_enumerated(uint64_t last)
{
    if (sim.test->dfs_bound == 0)
        return;
    sim_dfs_restart();
    sim_shared->dfs_complete = true;
    for (uint64_t i = 0; i <= last; i++) {
        run_schedule(i * 10 + SIM_DFS);
        if (!sim_schedule_next_dfs())
            return;
    }
}

/* A schedule must depend on its seed alone, not on those before it. */
static void check_replay(void)
{
    const uint64_t ran = sim_shared->schedules;
    for (uint64_t i = 0; i < SIM_REPLAYED; i++) {
        run_schedule(seed_by_chance(i));
        if (sim.hash != hashes[i] && hashes[i] != 0)
            sim_fail("the same seed gave another schedule");
    }
    sim_shared->schedules = ran;
}

static void run_all(void)
{
    sim_catch_signals();
    if (sim.test->fresh) {
        run_by_chance();
        return;
    }
    register_strands();
    run_by_chance();
    run_enumerated(UINT64_MAX);
    check_replay();
}

static void run_one(uint64_t seed)
{
    sim_catch_signals();
    register_strands();
    if (seed % 10 == SIM_DFS)
        run_enumerated(seed / 10);
    else
        run_schedule(seed);
}

/* ------------------------------------------------------------------------------------------------
 * Processes
 */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Runs the test elsewhere. True: it passed. */
static bool run_apart(const sim_test *test)
{
    memset(sim_shared, 0, sizeof *sim_shared);
    sim_shared->silent = sim_fault != NULL;
    sim.test = test;
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        if (sim_shared->silent && freopen("/dev/null", "w", stderr) == NULL)
            _exit(2);
        run_all();
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (status != 0 && !sim_shared->reported && !sim_shared->silent)
        printf("FAIL  %s.%s: died (status %#x) with THRUM_SIM_SEED=%llu\n", test->suite, test->name,
               (unsigned)status, (unsigned long long)sim_shared->seed);
    return status == 0;
}

static bool run_test(const sim_test *test)
{
    const double start = seconds();
    if (!run_apart(test))
        return false;
    const double spent = seconds() - start;
    printf("ok    %s.%s  (%llu schedules of %.0f points%s, %.2f s)\n", test->suite, test->name,
           (unsigned long long)sim_shared->schedules,
           (double)sim_shared->steps / (double)(sim_shared->schedules + 1),
           sim_shared->dfs_complete ? ", enumeration complete" : "", spent);
    fflush(stdout);
    return true;
}

static bool is_named(const sim_test *test, const char *part)
{
    char name[256];
    snprintf(name, sizeof name, "%s.%s", test->suite, test->name);
    return strstr(name, part) != NULL;
}

static bool run_bite(const sim_bite *bite)
{
    const sim_test *test = tests;
    while (test != NULL && !is_named(test, bite->test))
        test = test->next;
    if (test == NULL) {
        printf("FAIL  %s: there is no test %s\n", bite->fault, bite->test);
        return false;
    }
    sim_fault = bite->fault;
    const bool missed = run_apart(test);
    sim_fault = NULL;
    if (missed)
        printf("FAIL  %s: not found by %s in %llu schedules\n", bite->fault, bite->test,
               (unsigned long long)sim_shared->schedules);
    else
        printf("ok    %s: found by %s, schedule %llu (seed %llu)\n", bite->fault, bite->test,
               (unsigned long long)sim_shared->schedules, (unsigned long long)sim_shared->seed);
    fflush(stdout);
    return !missed;
}

/* ------------------------------------------------------------------------------------------------
 * main
 */

static uint64_t number_from(const char *variable)
{
    const char *text = getenv(variable);
    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

static void init(void)
{
    sim_shared =
        mmap(NULL, sizeof *sim_shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sim_shared == MAP_FAILED)
        exit(2);
    wanted = number_from("THRUM_SIM_SCHEDULES");
    base = number_from("THRUM_SIM_BASE");
    sim_trace_init();
    sim_tasks_init();
    sim_heap_init();
}

/* The seed of the environment, in this process. */
static int replay(const char *filter)
{
    sim_shared->alone = true;
    sim_fault = getenv("THRUM_SIM_FAULT");
    for (sim.test = tests; sim.test != NULL; sim.test = sim.test->next) {
        if (!is_named(sim.test, filter))
            continue;
        run_one(number_from("THRUM_SIM_SEED"));
        printf("ok    %s.%s\n1 passed, 0 failed\n", sim.test->suite, sim.test->name);
        return 0;
    }
    puts("no such test");
    return 2;
}

static int finish(unsigned passed, unsigned failed)
{
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}

static int run_bites(const char *filter)
{
    unsigned count[2] = {0, 0};
    for (const sim_bite *bite = bites; bite != NULL; bite = bite->next) {
        if (strstr(bite->fault, filter) != NULL)
            count[run_bite(bite)]++;
    }
    return finish(count[true], count[false]);
}

static int run_tests(const char *filter)
{
    unsigned count[2] = {0, 0};
    for (const sim_test *test = tests; test != NULL; test = test->next) {
        if (is_named(test, filter))
            count[run_test(test)]++;
    }
    return finish(count[true], count[false]);
}

static int list(void)
{
    for (const sim_test *test = tests; test != NULL && bites == NULL; test = test->next)
        printf("%s.%s\n", test->suite, test->name);
    for (const sim_bite *bite = bites; bite != NULL; bite = bite->next)
        printf("%s\n", bite->fault);
    return 0;
}

int main(int argc, char **argv)
{
    thi_process |= THI_PROCESS_MANY; /* or the first schedule would find it out, and differ */
    if (argc > 1 && strcmp(argv[1], "--list") == 0)
        return list();
    const char *filter = argc > 1 ? argv[1] : "";
    init();
    if (getenv("THRUM_SIM_SEED") != NULL)
        return replay(filter);
    return bites != NULL ? run_bites(filter) : run_tests(filter);
}
