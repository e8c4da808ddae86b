/* What a checked build adds. In other builds everything here is skipped. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <thrum/thrum.h>

#include "strand/reports.h"

TestSuite(check, .timeout = 30);

#define ONLY_CHECKED()                                                                             \
    do {                                                                                           \
        if (!thi_checked())                                                                        \
            cr_skip_test("not a checked build");                                                   \
    } while (0)

/* --- helpers ------------------------------------------------------------------------------------ */

static char *written(void (*write)(FILE *))
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    write(out);
    fclose(out);
    return text;
}

static void write_report(FILE *out)
{
    thrum_deadlock_report(out);
}

static char *report(void)
{
    return written(write_report);
}

/* How many inversions the report lists. */
static unsigned inversions(void)
{
    char *text = report();
    const char *at = strstr(text, "lock order inversions: ");
    unsigned n = 0;
    if (at != NULL)
        sscanf(at, "lock order inversions: %u", &n);
    free(text);
    return n;
}

static void run(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, fn, arg), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
}

static void in_order(thrum_mutex_t *first, thrum_mutex_t *second)
{
    thrum_mutex_lock(first);
    thrum_mutex_lock(second);
    thrum_mutex_unlock(second);
    thrum_mutex_unlock(first);
}

/* Runs fn in a child process; returns how that ended, and what it wrote to standard error. */
static int run_child(void (*fn)(void), char *text, size_t size)
{
    int ends[2];
    int status = -1;
    size_t length = 0;
    cr_assert_eq(pipe(ends), 0);
    const pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        fn();
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t n = 1; n > 0 && length < size - 1; length += (size_t)n) {
        n = read(ends[0], text + length, size - 1 - length);
        n = n > 0 ? n : 0;
        if (n == 0)
            break;
    }
    text[length] = '\0';
    close(ends[0]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

static void expect_panic(void (*fn)(void), const char *part)
{
    char text[1024];
    const int status = run_child(fn, text, sizeof text);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %d: %s", status, text);
    cr_expect(strstr(text, part) != NULL, "%s", text);
}

static void expect_well(void (*fn)(void))
{
    char text[1024];
    const int status = run_child(fn, text, sizeof text);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x: %s", status, text);
}

/* --- the order of locks ------------------------------------------------------------------------- */

Test(check, locks_taken_in_opposite_orders_are_reported_though_nobody_waited)
{
    ONLY_CHECKED();
    thrum_mutex_t a = THRUM_MUTEX_INIT;
    thrum_mutex_t b = THRUM_MUTEX_INIT;
    in_order(&a, &b);
    cr_expect_eq(inversions(), 0);
    in_order(&b, &a);

    char *text = report();
    char part[64];
    cr_expect_eq(count_of(text, "lock order inversions: 1\n"), 1, "%s", text);
    snprintf(part, sizeof part, "mutex %p", (void *)&a);
    cr_expect_eq(count_of(text, part), 2, "%s", text);
    snprintf(part, sizeof part, "mutex %p", (void *)&b);
    cr_expect_eq(count_of(text, part), 2, "%s", text);
    cr_expect_eq(count_of(text, ", locked at "), 2, "%s", text);
    cr_expect_eq(count_of(text, " at "), 4, "both call sites of both orders: %s", text);
    cr_expect_eq(count_of(text, program_invocation_short_name), 4, "%s", text);
    free(text);
}

Test(check, an_inversion_is_no_deadlock)
{
    ONLY_CHECKED();
    thrum_mutex_t a = THRUM_MUTEX_INIT;
    thrum_mutex_t b = THRUM_MUTEX_INIT;
    in_order(&a, &b);
    in_order(&b, &a);
    cr_expect_eq(thrum_deadlock_report(NULL), 0);
}

Test(check, an_inversion_is_listed_once_however_often_it_happens)
{
    ONLY_CHECKED();
    thrum_mutex_t a = THRUM_MUTEX_INIT;
    thrum_mutex_t b = THRUM_MUTEX_INIT;
    for (int i = 0; i < 3; i++) {
        in_order(&a, &b);
        in_order(&b, &a);
    }
    cr_expect_eq(inversions(), 1);
    cr_expect_eq(inversions(), 1, "the next report lists it again");
}

Test(check, an_inversion_may_lead_through_several_locks)
{
    ONLY_CHECKED();
    thrum_mutex_t m[3] = {THRUM_MUTEX_INIT, THRUM_MUTEX_INIT, THRUM_MUTEX_INIT};
    in_order(&m[0], &m[1]);
    in_order(&m[1], &m[2]);
    cr_expect_eq(inversions(), 0);
    in_order(&m[2], &m[0]);
    char *text = report();
    cr_expect_eq(count_of(text, "lock order inversions: 1\n"), 1, "%s", text);
    cr_expect_eq(count_of(text, ", then "), 3, "%s", text);
    free(text);
}

Test(check, two_locks_are_one_inversion_also_within_a_longer_one)
{
    ONLY_CHECKED();
    thrum_mutex_t m[3] = {THRUM_MUTEX_INIT, THRUM_MUTEX_INIT, THRUM_MUTEX_INIT};
    in_order(&m[0], &m[1]);
    in_order(&m[1], &m[2]);
    in_order(&m[2], &m[0]); /* by the long way */
    in_order(&m[0], &m[2]); /* and directly */
    cr_expect_eq(inversions(), 1);
}

Test(check, one_order_is_no_inversion_whatever_is_left_out)
{
    ONLY_CHECKED();
    thrum_mutex_t m[3] = {THRUM_MUTEX_INIT, THRUM_MUTEX_INIT, THRUM_MUTEX_INIT};
    in_order(&m[0], &m[1]);
    in_order(&m[1], &m[2]);
    in_order(&m[0], &m[2]);
    cr_expect_eq(inversions(), 0);
}

Test(check, a_try_does_not_wait_and_has_no_order)
{
    ONLY_CHECKED();
    thrum_mutex_t a = THRUM_MUTEX_INIT;
    thrum_mutex_t b = THRUM_MUTEX_INIT;
    in_order(&a, &b);
    thrum_mutex_lock(&b);
    cr_assert_eq(thrum_mutex_trylock(&a), 0);
    thrum_mutex_unlock(&a);
    thrum_mutex_unlock(&b);
    cr_expect_eq(inversions(), 0);
}

Test(check, what_was_taken_by_a_try_is_held)
{
    ONLY_CHECKED();
    thrum_mutex_t a = THRUM_MUTEX_INIT;
    thrum_mutex_t b = THRUM_MUTEX_INIT;
    in_order(&a, &b);
    cr_assert_eq(thrum_mutex_trylock(&b), 0);
    thrum_mutex_lock(&a);
    cr_expect_eq(inversions(), 1);
}

Test(check, locks_of_different_kinds_have_an_order)
{
    ONLY_CHECKED();
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    thrum_mutex_lock(&m);
    thrum_rlock_lock(&r);
    thrum_rwlock_rdlock(&l);
    thrum_rwlock_rdunlock(&l);
    thrum_rlock_unlock(&r);
    thrum_mutex_unlock(&m);
    cr_expect_eq(inversions(), 0);

    thrum_rwlock_wrlock(&l);
    thrum_rlock_lock(&r);
    cr_expect_eq(inversions(), 1);
    thrum_rlock_unlock(&r);
    thrum_mutex_lock(&m);
    cr_expect_eq(inversions(), 2);
}

Test(check, recursion_is_no_inversion)
{
    ONLY_CHECKED();
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    thrum_rlock_lock(&r);
    thrum_mutex_lock(&m);
    thrum_rlock_lock(&r);
    thrum_rlock_unlock(&r);
    thrum_mutex_unlock(&m);
    thrum_rlock_unlock(&r);
    cr_expect_eq(inversions(), 0);
    /* The inner unlock did not give it up: */
    thrum_rlock_lock(&r);
    thrum_rlock_lock(&r);
    thrum_rlock_unlock(&r);
    thrum_mutex_lock(&m);
    thrum_mutex_unlock(&m);
    thrum_rlock_unlock(&r);
    thrum_mutex_lock(&m);
    thrum_rlock_lock(&r);
    cr_expect_eq(inversions(), 1);
}

Test(check, reading_again_is_no_inversion)
{
    ONLY_CHECKED();
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    thrum_rwlock_rdlock(&l);
    thrum_mutex_lock(&m);
    thrum_rwlock_rdlock(&l);
    cr_expect_eq(inversions(), 0);
}

Test(check, a_lock_that_is_destroyed_is_forgotten)
{
    ONLY_CHECKED();
    thrum_mutex_t a = THRUM_MUTEX_INIT;
    thrum_mutex_t b = THRUM_MUTEX_INIT;
    in_order(&a, &b);
    in_order(&b, &a);
    cr_expect_eq(inversions(), 1);
    thrum_mutex_destroy(&a);
    cr_expect_eq(inversions(), 0);
    in_order(&b, &a);
    cr_expect_eq(inversions(), 0, "its successor has an order of its own");
}

Test(check, an_inversion_is_gone_with_a_lock_in_its_middle)
{
    ONLY_CHECKED();
    thrum_mutex_t m[3] = {THRUM_MUTEX_INIT, THRUM_MUTEX_INIT, THRUM_MUTEX_INIT};
    in_order(&m[0], &m[1]);
    in_order(&m[1], &m[2]);
    in_order(&m[2], &m[0]);
    cr_expect_eq(inversions(), 1);
    thrum_mutex_destroy(&m[1]);
    cr_expect_eq(inversions(), 0);
}

Test(check, a_lock_that_is_initialised_is_forgotten)
{
    ONLY_CHECKED();
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    for (int i = 0; i < 2; i++) {
        thrum_mutex_lock(&m);
        thrum_rlock_lock(&r);
        thrum_rwlock_wrlock(&l);
        thrum_rwlock_wrunlock(&l);
        thrum_rlock_unlock(&r);
        thrum_mutex_unlock(&m);
        cr_assert_eq(thrum_mutex_init(&m), 0);
        cr_assert_eq(thrum_rlock_init(&r), 0);
        cr_assert_eq(thrum_rwlock_init(&l), 0);
        thrum_rwlock_rdlock(&l);
        thrum_rlock_lock(&r);
        thrum_mutex_lock(&m);
        thrum_mutex_unlock(&m);
        thrum_rlock_unlock(&r);
        thrum_rwlock_rdunlock(&l);
        cr_expect_eq(inversions(), 0);
        cr_assert_eq(thrum_mutex_init(&m), 0);
        cr_assert_eq(thrum_rlock_init(&r), 0);
        cr_assert_eq(thrum_rwlock_init(&l), 0);
    }
}

Test(check, memory_that_becomes_a_lock_of_another_kind_is_another_lock)
{
    ONLY_CHECKED();
    union {
        thrum_mutex_t mutex;
        thrum_rlock_t rlock;
    } memory = {THRUM_MUTEX_INIT};
    thrum_mutex_t b = THRUM_MUTEX_INIT;
    in_order(&memory.mutex, &b);
    memory.rlock = (thrum_rlock_t)THRUM_RLOCK_INIT;
    thrum_mutex_lock(&b);
    thrum_rlock_lock(&memory.rlock);
    cr_expect_eq(inversions(), 0);
}

static void *lock_it(void *arg)
{
    thrum_mutex_lock(arg);
    return NULL;
}

static void *unlock_it(void *arg)
{
    thrum_mutex_unlock(arg);
    return NULL;
}

struct pair {
    thrum_mutex_t a, b;
};

static void *lock_b_then_a(void *arg)
{
    struct pair *p = arg;
    in_order(&p->b, &p->a);
    return NULL;
}

Test(check, a_lock_that_another_strand_unlocked_is_held_no_more)
{
    ONLY_CHECKED();
    struct pair p = {THRUM_MUTEX_INIT, THRUM_MUTEX_INIT};
    thrum_mutex_lock(&p.a);
    run(unlock_it, &p.a);
    thrum_mutex_lock(&p.b);
    thrum_mutex_unlock(&p.b);
    run(lock_b_then_a, &p);
    cr_expect_eq(inversions(), 0);
}

static void *lock_and_unlock(void *arg)
{
    thrum_mutex_lock(arg);
    thrum_mutex_unlock(arg);
    return NULL;
}

Test(check, a_lock_in_memory_that_was_freed_while_locked_is_another_one)
{
    ONLY_CHECKED();
    struct pair p = {THRUM_MUTEX_INIT, THRUM_MUTEX_INIT};
    thrum_mutex_lock(&p.a);
    p.a = (thrum_mutex_t)THRUM_MUTEX_INIT;
    run(lock_and_unlock, &p.a);
    thrum_mutex_lock(&p.b); /* while the former `a` is locked, but not this one */
    thrum_mutex_unlock(&p.b);
    run(lock_b_then_a, &p);
    cr_expect_eq(inversions(), 0);
}

static void *lock_b(void *arg)
{
    struct pair *p = arg;
    thrum_mutex_lock(&p->b);
    thrum_mutex_unlock(&p->b);
    return NULL;
}

Test(check, a_strand_does_not_hold_what_the_one_before_it_left_locked)
{
    ONLY_CHECKED();
    struct pair p = {THRUM_MUTEX_INIT, THRUM_MUTEX_INIT};
    run(lock_it, &p.a);
    for (int i = 0; i < 3; i++)
        run(lock_b, &p); /* in the record of the one that has ended */
    cr_assert_eq(thrum_mutex_unlock(&p.a), 0);
    in_order(&p.b, &p.a);
    cr_expect_eq(inversions(), 0);
}

static uint32_t rounds_left;

static void *churn(void *arg)
{
    thrum_mutex_t *outer = arg;
    while (thi_fetch_sub_relaxed(&rounds_left, 1u) <= 10000u) {
        thrum_mutex_t *m = malloc(2 * sizeof *m);
        m[0] = m[1] = (thrum_mutex_t)THRUM_MUTEX_INIT;
        thrum_mutex_lock(outer);
        in_order(&m[0], &m[1]);
        thrum_mutex_unlock(outer);
        thrum_mutex_destroy(&m[0]);
        thrum_mutex_destroy(&m[1]);
        free(m);
    }
    return NULL;
}

Test(check, bookkeeping_of_locks_that_come_and_go_stays_right)
{
    ONLY_CHECKED();
    thrum_mutex_t outer = THRUM_MUTEX_INIT;
    pthread_t threads[3];
    rounds_left = 10000;
    for (size_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, churn, &outer);
    for (int i = 0; i < 50; i++)
        cr_expect_eq(inversions(), 0);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

#define MANY 20000

Test(check, bookkeeping_of_locks_that_are_free_takes_no_memory)
{
    ONLY_CHECKED();
    static thrum_mutex_t many[MANY];
    thrum_mutex_t outer = THRUM_MUTEX_INIT;
    in_order(&outer, &many[0]);
    thi_fault_arm(THI_FAULT_PAGES, 1); /* no more than it has */
    for (size_t i = 0; i < MANY; i++) {
        thrum_mutex_lock(&many[i]);
        thrum_mutex_unlock(&many[i]);
        in_order(&outer, &many[i]);
        thrum_mutex_destroy(&many[i]);
    }
    in_order(&many[0], &outer);
    thi_fault_arm(THI_FAULT_PAGES, 0);
    in_order(&outer, &many[0]);
    cr_expect_eq(inversions(), 1, "it has not stopped");
}

/* --- deadlocks, with what only a checked build knows -------------------------------------------- */

static thrum_rwlock_t rwlock = THRUM_RWLOCK_INIT;
static thrum_mutex_t mutex = THRUM_MUTEX_INIT;
static pthread_barrier_t both;

static void *read_then_lock(void *arg)
{
    thrum_rwlock_rdlock(&rwlock);
    pthread_barrier_wait(&both);
    if (thrum_mutex_lock(&mutex) == 0)
        thrum_mutex_unlock(&mutex);
    thrum_rwlock_rdunlock(&rwlock);
    return arg;
}

static void *lock_then_write(void *arg)
{
    thrum_mutex_lock(&mutex);
    pthread_barrier_wait(&both);
    if (thrum_rwlock_wrlock(&rwlock) == 0)
        thrum_rwlock_wrunlock(&rwlock);
    return arg; /* the test unlocks `mutex` */
}

Test(check, readers_are_seen_in_a_circle_and_call_sites_told)
{
    ONLY_CHECKED();
    pthread_t threads[2];
    pthread_barrier_init(&both, NULL, 2);
    pthread_create(&threads[0], NULL, read_then_lock, NULL);
    pthread_create(&threads[1], NULL, lock_then_write, NULL);
    await_asleep(&mutex, 1);
    await_asleep(&rwlock, 1);

    cr_expect_eq(thrum_deadlock_report(NULL), 1);
    char *text = report();
    cr_expect_eq(count_of(text, "deadlock: 2 strands in a circle\n"), 1, "%s", text);
    cr_assert(strstr(text, "lock order inversions: 1") != NULL, "%s", text);
    *strstr(text, "lock order inversions") = '\0'; /* the same call sites stand there again */
    cr_expect_eq(count_of(text, ", shared at "), 1, "%s", text);
    cr_expect_eq(count_of(text, ", locked at "), 1, "%s", text);
    cr_expect(strstr(text, program_invocation_short_name) != NULL, "%s", text);
    free(text);

    text = written(thrum_dump_waiters);
    cr_expect_eq(count_of(text, ", shared at "), 1, "%s", text);
    cr_expect_eq(count_of(text, ", locked at "), 1, "%s", text);
    free(text);

    thrum_mutex_unlock(&mutex);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    cr_expect_eq(thrum_deadlock_report(NULL), 0);
}

static void *read_and_wait(void *arg)
{
    thrum_rwlock_rdlock(&rwlock);
    thrum_event_wait(arg);
    thrum_rwlock_rdunlock(&rwlock);
    return NULL;
}

static void *write_once(void *arg)
{
    thrum_rwlock_wrlock(&rwlock);
    thrum_rwlock_wrunlock(&rwlock);
    return arg;
}

Test(check, readers_that_wait_for_something_else_are_no_circle)
{
    ONLY_CHECKED();
    thrum_event_t go = THRUM_EVENT_INIT;
    pthread_t threads[3];
    pthread_create(&threads[0], NULL, read_and_wait, &go);
    pthread_create(&threads[1], NULL, read_and_wait, &go);
    await_asleep(&go, 2);
    pthread_create(&threads[2], NULL, write_once, NULL);
    await_asleep(&rwlock, 1);
    cr_expect_eq(thrum_deadlock_report(NULL), 0);
    char *text = written(thrum_dump_waiters);
    cr_expect_eq(count_of(text, ", shared at "), 2, "the writer waits for both: %s", text);
    free(text);
    thrum_event_set(&go);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}

static void *read_twice(void *arg)
{
    thrum_event_t *again = arg;
    thrum_rwlock_rdlock(&rwlock);
    thrum_event_wait(again);
    if (thrum_rwlock_rdlock_until(&rwlock, thrum_after(THRUM_S(3600))) == 0)
        thrum_rwlock_rdunlock(&rwlock);
    thrum_rwlock_rdunlock(&rwlock);
    return NULL;
}

Test(check, a_reader_that_reads_again_behind_a_writer_is_a_circle)
{
    ONLY_CHECKED();
    thrum_event_t again = THRUM_EVENT_INIT;
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, read_twice, &again);
    await_asleep(&again, 1);
    pthread_create(&threads[1], NULL, write_once, NULL);
    await_asleep(&rwlock, 1);
    thrum_event_set(&again);
    await_asleep(&rwlock, 2);
    cr_expect_eq(thrum_deadlock_report(NULL), 1);
    cr_assert_eq(thrum_rwlock_rdunlock(&rwlock), 0); /* any strand may: lets the writer in */
    pthread_join(threads[1], NULL);
    pthread_join(threads[0], NULL);
}

static void *read_twice_then_lock(void *arg)
{
    thrum_rwlock_rdlock(&rwlock);
    thrum_rwlock_rdlock(&rwlock);
    pthread_barrier_wait(&both);
    if (thrum_mutex_lock(&mutex) == 0)
        thrum_mutex_unlock(&mutex);
    thrum_rwlock_rdunlock(&rwlock);
    thrum_rwlock_rdunlock(&rwlock);
    return arg;
}

Test(check, a_reader_that_reads_twice_is_in_the_circle_once)
{
    ONLY_CHECKED();
    pthread_t threads[2];
    pthread_barrier_init(&both, NULL, 2);
    pthread_create(&threads[0], NULL, read_twice_then_lock, NULL);
    pthread_create(&threads[1], NULL, lock_then_write, NULL);
    await_asleep(&mutex, 1);
    await_asleep(&rwlock, 1);
    cr_expect_eq(thrum_deadlock_report(NULL), 1);
    thrum_mutex_unlock(&mutex);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

static thrum_cond_t cond = THRUM_COND_INIT;
static thrum_mutex_t monitor = THRUM_MUTEX_INIT;

/* Holds `mutex` while it waits on the condition. */
static void *wait_with_another_lock(void *arg)
{
    thrum_mutex_lock(&mutex);
    thrum_mutex_lock(&monitor);
    thrum_cond_wait(&cond, &monitor);
    thrum_mutex_unlock(&monitor);
    return arg; /* the test unlocks `mutex` */
}

static void *lock_from_inside(void *arg)
{
    thrum_mutex_lock(&monitor);
    thrum_mutex_lock(&mutex);
    thrum_cond_signal(&cond);
    thrum_mutex_unlock(&mutex);
    thrum_mutex_unlock(&monitor);
    return arg;
}

Test(check, a_condition_whose_lock_cannot_come_back_is_in_a_circle)
{
    ONLY_CHECKED();
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, wait_with_another_lock, NULL);
    await_asleep(&cond, 1);
    cr_expect_eq(thrum_deadlock_report(NULL), 0);
    pthread_create(&threads[1], NULL, lock_from_inside, NULL);
    await_asleep(&mutex, 1);
    cr_expect_eq(thrum_deadlock_report(NULL), 1);
    thrum_mutex_unlock(&mutex);
    pthread_join(threads[1], NULL);
    pthread_join(threads[0], NULL);
}

struct attempt {
    thrum_mutex_t *mutex;
    thrum_time_t deadline;
    thrum_event_t *go;
    int result;
};

static void *lock_and_wait(void *arg)
{
    struct attempt *a = arg;
    a->result = thrum_mutex_lock_until(a->mutex, a->deadline);
    thrum_event_wait(a->go);
    if (a->result == 0)
        thrum_mutex_unlock(a->mutex);
    return NULL;
}

/* What the dump says while a strand waits for an event after it tried to lock the mutex. */
static char *dump_after_attempt(thrum_time_t deadline, int result)
{
    thrum_event_t go = THRUM_EVENT_INIT;
    struct attempt attempt = {&mutex, deadline, &go, -1};
    pthread_t thread;
    pthread_create(&thread, NULL, lock_and_wait, &attempt);
    await_asleep(&go, 1);
    char *text = written(thrum_dump_waiters);
    thrum_event_set(&go);
    pthread_join(thread, NULL);
    cr_expect_eq(attempt.result, result);
    return text;
}

Test(check, what_a_strand_gave_up_wanting_is_not_waited_for)
{
    ONLY_CHECKED();
    thrum_mutex_lock(&mutex);
    char *text = dump_after_attempt(thrum_now(), ETIMEDOUT);
    cr_expect(strstr(text, "held by") == NULL, "%s", text);
    free(text);
}

Test(check, what_a_strand_has_got_is_not_waited_for)
{
    ONLY_CHECKED();
    char *text = dump_after_attempt(THRUM_FOREVER, 0);
    cr_expect(strstr(text, "held by") == NULL, "%s", text);
    free(text);
}

static const thi_site_t sharing_site = {"thing to share", NULL};
static const thi_site_t taking_site = {"thing to take", NULL};

static bool always(void *arg)
{
    (void)arg;
    return true;
}

static void *want_thing(void *arg)
{
    const thi_site_t *site = arg;
    thi_check_wants(&both, site, NULL);
    thi_park_t park = {.site = site, .key = &both, .validate = always};
    thi_lot_park(&park, THRUM_FOREVER);
    thi_check_forgoes();
    return NULL;
}

Test(check, who_shares_a_lock_waits_for_those_that_do_not)
{
    ONLY_CHECKED();
    const thi_site_t *sites[] = {&sharing_site, &taking_site};
    thi_check_holds(&both, &sharing_site, NULL, true);
    for (unsigned i = 0; i < 2; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, want_thing, (void *)(uintptr_t)sites[i]);
        await_asleep(&both, 1);
        char *text = written(thrum_dump_waiters);
        cr_expect_eq(count_of(text, "held by"), i, "%s", text);
        free(text);
        thi_lot_unpark(&(thi_unpark_t){.key = &both, .site = sites[i], .n = 1});
        pthread_join(thread, NULL);
    }
}

/* --- EDEADLK ------------------------------------------------------------------------------------ */

/* A thread that locks `first`, meets the other, and locks `second`. */
struct crosser {
    thrum_rlock_t *first;
    thrum_rlock_t *second;
    thrum_time_t deadline; /* for the second */
    pthread_barrier_t *meet;
    pthread_t thread;
    int result;
    uint32_t done;
};

static void *cross(void *arg)
{
    struct crosser *c = arg;
    thrum_rlock_lock(c->first);
    if (c->meet != NULL)
        pthread_barrier_wait(c->meet);
    c->result = thrum_rlock_lock_until(c->second, c->deadline);
    if (c->result == 0)
        thrum_rlock_unlock(c->second);
    thrum_rlock_unlock(c->first);
    thi_store_release(&c->done, 1u);
    return NULL;
}

static void start(struct crosser *c)
{
    cr_assert_eq(pthread_create(&c->thread, NULL, cross, c), 0);
}

Test(check, the_last_of_a_circle_of_owners_is_told)
{
    ONLY_CHECKED();
    thrum_rlock_t a = THRUM_RLOCK_INIT;
    thrum_rlock_t b = THRUM_RLOCK_INIT;
    struct crosser other = {.first = &b, .second = &a, .deadline = THRUM_FOREVER, .result = -1};
    thrum_rlock_lock(&a);
    start(&other);
    await_asleep(&a, 1);
    cr_expect_eq(thrum_rlock_lock(&b), EDEADLK);
    cr_expect_eq(thrum_rlock_lock_until(&b, thrum_after(THRUM_S(3600))), EDEADLK);
    cr_expect_eq(thrum_rlock_trylock(&b), EBUSY, "a try does not wait");
    cr_expect_eq(thrum_rlock_depth(&a), 1, "nothing changed");
    cr_expect_eq(thrum_rlock_unlock(&a), 0);
    pthread_join(other.thread, NULL);
    cr_expect_eq(other.result, 0);
    cr_expect_eq(thrum_rlock_lock(&b), 0, "the circle is gone");
}

Test(check, a_circle_of_three_owners_is_told)
{
    ONLY_CHECKED();
    thrum_rlock_t r[3] = {THRUM_RLOCK_INIT, THRUM_RLOCK_INIT, THRUM_RLOCK_INIT};
    struct crosser x = {.first = &r[1], .second = &r[0], .deadline = THRUM_FOREVER};
    struct crosser y = {.first = &r[2], .second = &r[1], .deadline = THRUM_FOREVER};
    thrum_rlock_lock(&r[0]);
    start(&x);
    await_asleep(&r[0], 1);
    start(&y);
    await_asleep(&r[1], 1);
    cr_expect_eq(thrum_rlock_lock(&r[2]), EDEADLK);
    thrum_rlock_unlock(&r[0]);
    pthread_join(x.thread, NULL);
    pthread_join(y.thread, NULL);
}

Test(check, of_two_that_close_a_circle_at_once_one_is_told)
{
    ONLY_CHECKED();
    thrum_rlock_t a = THRUM_RLOCK_INIT;
    thrum_rlock_t b = THRUM_RLOCK_INIT;
    pthread_barrier_t meet;
    pthread_barrier_init(&meet, NULL, 2);
    for (int i = 0; i < 500; i++) { /* a missed circle is a hang */
        struct crosser x = {&a, &b, THRUM_FOREVER, &meet, 0, -1, 0};
        struct crosser y = {&b, &a, THRUM_FOREVER, &meet, 0, -1, 0};
        start(&x);
        start(&y);
        pthread_join(x.thread, NULL);
        pthread_join(y.thread, NULL);
        cr_assert(x.result == EDEADLK || y.result == EDEADLK, "%d %d", x.result, y.result);
        cr_assert(x.result == 0 || x.result == EDEADLK);
        cr_assert(y.result == 0 || y.result == EDEADLK);
    }
}

Test(check, a_wait_that_will_time_out_makes_no_deadlock)
{
    ONLY_CHECKED();
    thrum_rlock_t a = THRUM_RLOCK_INIT;
    thrum_rlock_t b = THRUM_RLOCK_INIT;
    struct crosser other = {.first = &b, .second = &a, .deadline = thrum_after(THRUM_MS(200))};
    thrum_rlock_lock(&a);
    start(&other);
    while (count_asleep(&a) != 1 && thi_load_acquire(&other.done) == 0) /* it may be over already */
        sched_yield();
    cr_expect_eq(thrum_rlock_lock(&b), 0, "the other gives up, and lets this one have it");
    pthread_join(other.thread, NULL);
    cr_expect_eq(other.result, ETIMEDOUT);
}

struct mixed {
    thrum_rlock_t *own;
    thrum_mutex_t *wanted;
};

static void *own_and_want(void *arg)
{
    struct mixed *m = arg;
    thrum_rlock_lock(m->own);
    thrum_mutex_lock(m->wanted);
    thrum_mutex_unlock(m->wanted);
    thrum_rlock_unlock(m->own);
    return NULL;
}

static void *unlock_when_asleep(void *arg)
{
    struct mixed *m = arg;
    await_asleep(m->own, 1);
    thrum_mutex_unlock(m->wanted);
    return NULL;
}

Test(check, a_circle_that_another_strand_can_open_is_waited_in)
{
    ONLY_CHECKED();
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    struct mixed mixed = {&r, &m};
    pthread_t threads[2];
    thrum_mutex_lock(&m);
    pthread_create(&threads[0], NULL, own_and_want, &mixed);
    await_asleep(&m, 1);
    pthread_create(&threads[1], NULL, unlock_when_asleep, &mixed);
    cr_expect_eq(thrum_rlock_lock(&r), 0);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

static void *wait_with_two_rlocks(void *arg)
{
    struct crosser *c = arg;
    thrum_rlock_lock(c->first);
    thrum_rlock_lock(c->second);
    c->result = thrum_cond_wait_rlock(&cond, c->second);
    thrum_rlock_unlock(c->second);
    thrum_rlock_unlock(c->first);
    return NULL;
}

Test(check, a_condition_that_owes_a_lock_counts_as_wanting_it)
{
    ONLY_CHECKED();
    thrum_rlock_t a = THRUM_RLOCK_INIT;
    thrum_rlock_t b = THRUM_RLOCK_INIT;
    struct crosser other = {.first = &a, .second = &b, .result = -1};
    pthread_create(&other.thread, NULL, wait_with_two_rlocks, &other);
    await_asleep(&cond, 1);
    thrum_rlock_lock(&b);
    cr_expect_eq(thrum_rlock_lock(&a), EDEADLK, "`a` comes free only after `b`");
    thrum_cond_signal(&cond);
    thrum_rlock_unlock(&b);
    pthread_join(other.thread, NULL);
    cr_expect_eq(other.result, 0);
}

/* --- misuse ------------------------------------------------------------------------------------- */

static void destroy_locked_mutex(void)
{
    thrum_mutex_lock(&mutex);
    thrum_mutex_destroy(&mutex);
}

static void destroy_locked_rlock(void)
{
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    thrum_rlock_lock(&r);
    thrum_rlock_destroy(&r);
}

static void destroy_read_rwlock(void)
{
    thrum_rwlock_rdlock(&rwlock);
    thrum_rwlock_destroy(&rwlock);
}

Test(check, destroying_what_is_locked_panics)
{
    ONLY_CHECKED();
    expect_panic(destroy_locked_mutex, "thrum: mutex 0x");
    expect_panic(destroy_locked_mutex, "held by thread ");
    expect_panic(destroy_locked_mutex, "must be free");
    expect_panic(destroy_locked_rlock, "rlock 0x");
    expect_panic(destroy_read_rwlock, "rwlock");
}

static const thi_site_t thing_site = {"thing", NULL};
static int thing;

static void *wait_for_thing(void *arg)
{
    thi_park_t park = {.site = &thing_site, .key = &thing, .validate = always};
    thi_lot_park(&park, THRUM_FOREVER);
    return arg;
}

static void destroy_waited_for(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, wait_for_thing, NULL);
    await_asleep(&thing, 1);
    thi_check_destroys(&thing, &thing_site, false);
}

Test(check, destroying_what_is_waited_for_panics)
{
    ONLY_CHECKED();
    expect_panic(destroy_waited_for, "thing 0x");
    expect_panic(destroy_waited_for, "waiting strands: 1");
}

static void destroy_free_ones(void)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    thrum_mutex_lock(&m);
    thrum_rlock_lock(&r);
    thrum_rwlock_rdlock(&l);
    thrum_rwlock_rdunlock(&l);
    thrum_rwlock_wrlock(&l);
    thrum_rwlock_wrunlock(&l);
    thrum_rlock_unlock(&r);
    thrum_mutex_unlock(&m);
    thrum_mutex_destroy(&m);
    thrum_rlock_destroy(&r);
    thrum_rwlock_destroy(&l);
    thrum_mutex_destroy(NULL);
    thrum_rlock_destroy(NULL);
    thrum_rwlock_destroy(NULL);
}

Test(check, destroying_what_is_free_is_well)
{
    ONLY_CHECKED();
    expect_well(destroy_free_ones);
}

/* --- internal locks ----------------------------------------------------------------------------- */

static thi_lock_t locks[2];

static void take_falling_ranks(void)
{
    thi_lock(&locks[0], THI_RANK_REGISTRY);
    thi_lock(&locks[1], THI_RANK_LOT);
}

static void take_one_rank_twice(void)
{
    thi_lock(&locks[0], THI_RANK_REGISTRY);
    thi_lock(&locks[1], THI_RANK_REGISTRY);
}

static void take_rising_ranks(void)
{
    for (int i = 0; i < 2; i++) {
        thi_lock(&locks[0], THI_RANK_POOL);
        thi_lock(&locks[1], THI_RANK_CHECK);
        thi_unlock(&locks[1], THI_RANK_CHECK);
        thi_unlock(&locks[0], THI_RANK_POOL);
    }
    thi_lock(&locks[0], THI_RANK_LOT); /* two buckets */
    thi_lock(&locks[1], THI_RANK_LOT);
}

Test(check, an_internal_lock_out_of_rank_panics)
{
    ONLY_CHECKED();
    expect_panic(take_falling_ranks, "internal lock of rank");
    expect_panic(take_one_rank_twice, "internal lock of rank");
    expect_well(take_rising_ranks);
}

/* --- fork, memory ------------------------------------------------------------------------------- */

static thrum_mutex_t other_mutex = THRUM_MUTEX_INIT;

static void use_locks_in_child(void)
{
    /* What the forking strand held it still holds: this is the opposite order. */
    thrum_mutex_lock(&other_mutex);
    if (inversions() != 1 || thrum_deadlock_report(NULL) != 0)
        _exit(1);
    thrum_mutex_unlock(&other_mutex);
    thrum_mutex_unlock(&mutex);
    /* The reader did not come along; anew, the lock is nobody's. */
    thrum_rwlock_init(&rwlock);
    if (thrum_rwlock_wrlock(&rwlock) != 0 || thrum_rwlock_wrunlock(&rwlock) != 0)
        _exit(2);
}

Test(check, a_child_keeps_what_its_strand_holds_and_forgets_the_others)
{
    ONLY_CHECKED();
    thrum_event_t go = THRUM_EVENT_INIT;
    pthread_t thread;
    pthread_create(&thread, NULL, read_and_wait, &go);
    await_asleep(&go, 1);
    in_order(&other_mutex, &mutex);
    thrum_mutex_lock(&mutex);
    expect_well(use_locks_in_child);
    thrum_mutex_unlock(&mutex);
    cr_expect_eq(inversions(), 0, "the parent did not do that");
    thrum_event_set(&go);
    pthread_join(thread, NULL);
}

static thrum_rlock_t ours = THRUM_RLOCK_INIT;
static thrum_rlock_t theirs = THRUM_RLOCK_INIT;

static void lock_theirs(void)
{
    if (thrum_rlock_lock(&theirs) != EOWNERDEAD)
        _exit(1);
}

Test(check, a_strand_that_did_not_come_along_is_in_no_circle)
{
    ONLY_CHECKED();
    struct crosser other = {.first = &theirs, .second = &ours, .deadline = THRUM_FOREVER};
    thrum_rlock_lock(&ours);
    start(&other);
    await_asleep(&ours, 1);
    expect_well(lock_theirs);
    thrum_rlock_unlock(&ours);
    pthread_join(other.thread, NULL);
}

static void lock_before_fork(void)
{
    thrum_mutex_lock(&mutex);
}

static void unlock_after_fork(void)
{
    thrum_mutex_unlock(&mutex);
}

static void use_mutex(void)
{
    if (thrum_mutex_trylock(&mutex) != 0 || thrum_mutex_unlock(&mutex) != 0)
        _exit(1);
}

Test(check, a_program_may_lock_around_fork)
{
    ONLY_CHECKED();
    /* Registered before the library's own handlers, so it runs between them. */
    cr_assert_eq(pthread_atfork(lock_before_fork, unlock_after_fork, unlock_after_fork), 0);
    thrum_mutex_lock(&other_mutex);
    thrum_mutex_unlock(&other_mutex);
    expect_well(use_mutex);
    use_mutex();
}

static void lock_without_memory(void)
{
    thi_fault_arm(THI_FAULT_PAGES, 1);
    for (int i = 0; i < 3; i++) {
        in_order(&mutex, &other_mutex);
        in_order(&other_mutex, &mutex);
    }
    char *text = report();
    if (strstr(text, "no memory to keep track of locks") == NULL || inversions() != 0)
        _exit(1);
    free(text);
    thrum_mutex_destroy(&mutex);
}

Test(check, without_memory_locks_work_and_it_is_said_once)
{
    ONLY_CHECKED();
    char text[1024];
    const int status = run_child(lock_without_memory, text, sizeof text);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x: %s", status, text);
    cr_expect_eq(count_of(text, "no memory to keep track of locks"), 1, "%s", text);
}
