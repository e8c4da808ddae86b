#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <thrum/thrum.h>

#include "strand/reports.h"

TestSuite(diagnosis, .timeout = 20);

/* --- helpers ------------------------------------------------------------------------------------ */

static char *dump(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    thrum_dump_waiters(out);
    fclose(out);
    return text;
}

static char *report(size_t *circles)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    *circles = thrum_deadlock_report(out);
    fclose(out);
    return text;
}

/* Something like "mutex 0x7ffc1234". */
static const char *named(const char *what, const void *object)
{
    static char text[64];
    snprintf(text, sizeof text, "%s %p", what, object);
    return text;
}

/* A thread that locks `first`, if any, meets the others, and then locks `second`. */
struct locker {
    thrum_mutex_t *first;
    thrum_mutex_t *second;
    pthread_barrier_t *meet;
    thrum_time_t deadline;
    const char *name;
    pthread_t thread;
    int result;
};

static void *locker_main(void *arg)
{
    struct locker *l = arg;
    if (l->name != NULL)
        pthread_setname_np(pthread_self(), l->name);
    if (l->first != NULL)
        thrum_mutex_lock(l->first);
    if (l->meet != NULL)
        pthread_barrier_wait(l->meet);
    l->result = thrum_mutex_lock_until(l->second, l->deadline);
    if (l->result == 0)
        thrum_mutex_unlock(l->second);
    if (l->first != NULL)
        thrum_mutex_unlock(l->first);
    return NULL;
}

static void start(struct locker *l)
{
    if (l->deadline == 0)
        l->deadline = THRUM_FOREVER;
    cr_assert_eq(pthread_create(&l->thread, NULL, locker_main, l), 0);
}

static void join(struct locker *l)
{
    cr_assert_eq(pthread_join(l->thread, NULL), 0);
}

#define CIRCLE_MAX 4

/* n threads that hold one mutex each and wait for the next one's. */
struct circle {
    size_t n;
    thrum_mutex_t mutexes[CIRCLE_MAX];
    struct locker lockers[CIRCLE_MAX];
    pthread_barrier_t meet;
};

static void close_circle(struct circle *c, size_t n, thrum_time_t deadline)
{
    *c = (struct circle){.n = n};
    pthread_barrier_init(&c->meet, NULL, (unsigned)n);
    for (size_t i = 0; i < n; i++) {
        c->lockers[i] = (struct locker){.first = &c->mutexes[i],
                                        .second = &c->mutexes[(i + 1) % n],
                                        .meet = &c->meet,
                                        .deadline = deadline};
        start(&c->lockers[i]);
    }
    for (size_t i = 0; i < n; i++)
        await_asleep(&c->mutexes[i], 1);
}

/* Any strand may unlock a mutex: lets one of them go, and so all. */
static void open_circle(struct circle *c)
{
    cr_assert_eq(thrum_mutex_unlock(&c->mutexes[0]), 0);
    for (size_t i = 0; i < c->n; i++)
        join(&c->lockers[i]);
}

/* --- who waits ---------------------------------------------------------------------------------- */

Test(diagnosis, a_dump_to_null_does_nothing)
{
    thrum_dump_waiters(NULL);
}

Test(diagnosis, a_dump_says_that_nobody_waits)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    thrum_mutex_lock(&m); /* so that this thread is known */
    char *text = dump();
    cr_expect_str_eq(text, "thrum: 0 strands wait\n");
    free(text);
}

Test(diagnosis, a_dump_tells_name_object_duration_and_holder)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    struct locker waiter = {.second = &m, .name = "patient"};
    char holder[64];
    thrum_mutex_lock(&m);
    snprintf(holder, sizeof holder, "held by thread %lld ", (long long)thi_thread_native_id());
    start(&waiter);
    await_asleep(&m, 1);

    char *text = dump();
    cr_expect(strstr(text, "thrum: 1 strand waits\n") == text, "%s", text);
    cr_expect_eq(count_of(text, "\n"), 2, "one line for each strand: %s", text);
    cr_expect(strstr(text, "\"patient\"") != NULL, "%s", text);
    cr_expect(strstr(text, named("mutex", &m)) != NULL, "%s", text);
    cr_expect(strstr(text, " for ") != NULL, "%s", text);
    cr_expect(strstr(text, holder) != NULL, "%s", text);
    free(text);

    thrum_mutex_unlock(&m);
    join(&waiter);
}

Test(diagnosis, a_dump_counts_time_from_the_beginning_of_the_wait)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    struct locker waiter = {.second = &m};
    double passed = 0;
    char unit[8] = "";
    thrum_mutex_lock(&m);
    start(&waiter);
    await_asleep(&m, 1);
    const thrum_time_t until = thrum_after(THRUM_MS(100));
    while (thrum_now() < until)
        sched_yield();

    char *text = dump();
    cr_assert_eq(sscanf(strstr(text, " for "), " for %lf %7[a-z]", &passed, unit), 2, "%s", text);
    cr_expect(strcmp(unit, "s") == 0 || (strcmp(unit, "ms") == 0 && passed >= 100), "%s", text);
    free(text);

    thrum_mutex_unlock(&m);
    join(&waiter);
}

static thrum_event_t never = THRUM_EVENT_INIT;

static void *event_waiter(void *arg)
{
    thrum_event_wait(&never);
    return arg;
}

static void *sleeper(void *arg)
{
    thi_strand_t **self = arg;
    thi_store_release(self, thi_self());
    thrum_sleep_until(THRUM_FOREVER);
    return NULL;
}

Test(diagnosis, a_dump_has_every_kind_of_wait)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    struct locker waiter = {.second = &m};
    thi_strand_t *sleeping = NULL;
    pthread_t threads[2];
    thrum_mutex_lock(&m);
    start(&waiter);
    pthread_create(&threads[0], NULL, event_waiter, NULL);
    pthread_create(&threads[1], NULL, sleeper, &sleeping);
    await_asleep(&m, 1);
    await_asleep(&never, 1);
    await_asleep(NULL, 1);

    char *text = dump();
    cr_expect(strstr(text, "thrum: 3 strands wait\n") == text, "%s", text);
    cr_expect(strstr(text, named("mutex", &m)) != NULL, "%s", text);
    cr_expect(strstr(text, named("event", &never)) != NULL, "%s", text);
    cr_expect(strstr(text, ": sleep for ") != NULL, "%s", text);
    cr_expect_eq(count_of(text, "held by"), 1, "only a lock has a holder: %s", text);
    free(text);

    thrum_mutex_unlock(&m);
    thrum_event_set(&never);
    thi_strand_cancel(thi_load_acquire(&sleeping));
    join(&waiter);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

Test(diagnosis, an_object_in_static_memory_is_told_by_file_or_symbol)
{
    pthread_t thread;
    pthread_create(&thread, NULL, event_waiter, NULL);
    await_asleep(&never, 1);
    char *text = dump();
    const char *at = strstr(text, named("event", &never));
    cr_assert(at != NULL, "%s", text);
    cr_expect_eq(strncmp(at + strlen(named("event", &never)), " (", 2), 0, "%s", text);
    free(text);
    thrum_event_set(&never);
    pthread_join(thread, NULL);
}

Test(diagnosis, a_name_is_a_symbol_where_one_is_exported)
{
    char name[64];
    int on_the_stack = 0;
    thi_symbol_name((const char *)(uintptr_t)&pthread_barrier_wait + 1, name, sizeof name);
    cr_expect(strstr(name, "pthread_barrier_wait") != NULL, "%s", name);
    cr_expect(strstr(name, "+0x1") != NULL, "%s", name);
    thi_symbol_name(&on_the_stack, name, sizeof name);
    cr_expect_str_empty(name);
    thi_symbol_name(NULL, name, sizeof name);
    cr_expect_str_empty(name);
}

/* A stream whose writing uses what the dump looks at: it would hang or panic if the dump held a lock. */
static ssize_t write_using_locks(void *cookie, const char *data, size_t size)
{
    thrum_mutex_t own = THRUM_MUTEX_INIT;
    (void)data;
    (void)thi_park_count(cookie);
    thrum_dump_waiters(NULL);
    thrum_deadlock_report(NULL);
    return thrum_mutex_lock(&own) == 0 && thrum_mutex_unlock(&own) == 0 ? (ssize_t)size : -1;
}

Test(diagnosis, reports_are_written_under_no_lock)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    struct circle c;
    thrum_mutex_lock(&m);
    close_circle(&c, 2, THRUM_FOREVER);
    FILE *out =
        fopencookie(&c.mutexes[0], "w", (cookie_io_functions_t){.write = write_using_locks});
    cr_assert(out != NULL);
    setvbuf(out, NULL, _IONBF, 0);
    thrum_dump_waiters(out);
    cr_expect_eq(thrum_deadlock_report(out), 1);
    cr_expect_eq(ferror(out), 0);
    fclose(out);
    open_circle(&c);
}

Test(diagnosis, without_memory_the_reports_say_so)
{
    struct circle c;
    size_t circles = 1;
    close_circle(&c, 2, THRUM_FOREVER);
    for (unsigned nth = 1; nth <= 2; nth++) {
        thi_fault_arm(THI_FAULT_PAGES, nth);
        char *text = report(&circles);
        cr_expect(strstr(text, "no memory") != NULL, "%s", text);
        cr_expect_eq(circles, 0);
        free(text);
    }
    thi_fault_arm(THI_FAULT_PAGES, 1);
    char *text = dump();
    cr_expect(strstr(text, "no memory") != NULL, "%s", text);
    free(text);
    cr_expect_eq(thrum_deadlock_report(NULL), 1);
    open_circle(&c);
}

Test(diagnosis, reports_leave_errno_alone)
{
    FILE *full = fopen("/dev/full", "w");
    cr_assert(full != NULL);
    setvbuf(full, NULL, _IONBF, 0);
    errno = EXDEV;
    thrum_dump_waiters(full);
    cr_expect_eq(errno, EXDEV);
    thrum_deadlock_report(full);
    cr_expect_eq(errno, EXDEV);
    fclose(full);
}

/* --- who waits for whom ------------------------------------------------------------------------- */

Test(diagnosis, no_deadlock_where_nobody_waits)
{
    size_t circles = 1;
    char *text = report(&circles);
    cr_expect_eq(circles, 0);
    cr_expect_str_eq(text, "thrum: no deadlock\n");
    free(text);
}

Test(diagnosis, two_strands_in_a_circle)
{
    struct circle c;
    size_t circles = 0;
    close_circle(&c, 2, THRUM_FOREVER);
    char *text = report(&circles);
    cr_expect_eq(circles, 1);
    cr_expect_eq(count_of(text, "deadlock: 2 strands in a circle\n"), 1, "%s", text);
    cr_expect_eq(count_of(text, " waits for "), 2, "%s", text);
    cr_expect_eq(count_of(text, "held by thread "), 2, "%s", text);
    for (size_t i = 0; i < 2; i++) {
        char waits[96];
        snprintf(waits, sizeof waits, "waits for %s", named("mutex", &c.mutexes[i]));
        cr_expect_eq(count_of(text, waits), 1, "%s", text);
    }
    free(text);
    cr_expect_eq(thrum_deadlock_report(NULL), 1);
    open_circle(&c);
    cr_expect_eq(thrum_deadlock_report(NULL), 0);
}

Test(diagnosis, a_larger_circle_is_written_in_its_order)
{
    struct circle c;
    size_t circles = 0;
    close_circle(&c, 4, THRUM_FOREVER);
    char *text = report(&circles);
    cr_expect_eq(circles, 1);
    cr_expect_eq(count_of(text, "deadlock: 4 strands in a circle\n"), 1, "%s", text);
    /* Who holds the lock of one line waits in the next. */
    long long held_by = 0;
    long long first = 0;
    const char *line = strchr(text, '\n') + 1;
    for (int i = 0; i < 4; i++, line = strchr(line, '\n') + 1) {
        long long waits = 0;
        cr_assert_eq(sscanf(line, "  thread %lld", &waits), 1, "%s", text);
        cr_expect(i == 0 || waits == held_by, "%s", text);
        first = i == 0 ? waits : first;
        cr_assert_eq(sscanf(strstr(line, "held by"), "held by thread %lld", &held_by), 1);
    }
    cr_expect_eq(held_by, first, "%s", text);
    free(text);
    open_circle(&c);
}

Test(diagnosis, two_circles_are_two)
{
    struct circle a;
    struct circle b;
    size_t circles = 0;
    close_circle(&a, 2, THRUM_FOREVER);
    close_circle(&b, 3, THRUM_FOREVER);
    char *text = report(&circles);
    cr_expect_eq(circles, 2);
    cr_expect_eq(count_of(text, "deadlock: 2 strands in a circle\n"), 1, "%s", text);
    cr_expect_eq(count_of(text, "deadlock: 3 strands in a circle\n"), 1, "%s", text);
    free(text);
    open_circle(&a);
    cr_expect_eq(thrum_deadlock_report(NULL), 1);
    open_circle(&b);
}

Test(diagnosis, who_waits_for_a_circle_is_not_in_it)
{
    struct circle c;
    size_t circles = 0;
    close_circle(&c, 2, THRUM_FOREVER);
    struct locker outside = {.second = &c.mutexes[1], .name = "outside"};
    start(&outside);
    await_asleep(&c.mutexes[1], 2);
    char *text = report(&circles);
    cr_expect_eq(circles, 1);
    cr_expect(strstr(text, "\"outside\"") == NULL, "%s", text);
    free(text);
    open_circle(&c);
    join(&outside);
}

Test(diagnosis, a_chain_is_no_circle)
{
    thrum_mutex_t a = THRUM_MUTEX_INIT;
    thrum_mutex_t b = THRUM_MUTEX_INIT;
    struct locker middle = {.first = &b, .second = &a};
    struct locker last = {.second = &b};
    thrum_mutex_lock(&a);
    start(&middle);
    await_asleep(&a, 1);
    start(&last);
    await_asleep(&b, 1);
    cr_expect_eq(thrum_deadlock_report(NULL), 0);
    thrum_mutex_unlock(&a);
    join(&middle);
    join(&last);
}

Test(diagnosis, a_mutex_locked_twice_is_a_circle_of_one)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    struct locker twice = {.first = &m, .second = &m};
    size_t circles = 0;
    start(&twice);
    await_asleep(&m, 1);
    char *text = report(&circles);
    cr_expect_eq(circles, 1);
    cr_expect_eq(count_of(text, "deadlock: 1 strand in a circle\n"), 1, "%s", text);
    free(text);
    thrum_mutex_unlock(&m);
    join(&twice);
}

Test(diagnosis, a_timed_wait_counts_while_it_lasts)
{
    struct circle c;
    close_circle(&c, 2, thrum_after(THRUM_S(3600)));
    cr_expect_eq(thrum_deadlock_report(NULL), 1);
    open_circle(&c);
}

static thrum_rlock_t left = THRUM_RLOCK_INIT;
static thrum_rwlock_t right = THRUM_RWLOCK_INIT;
static pthread_barrier_t both;

static void *left_then_right(void *arg)
{
    int *result = arg;
    thrum_rlock_lock(&left);
    pthread_barrier_wait(&both);
    *result = thrum_rwlock_wrlock(&right);
    if (*result == 0)
        thrum_rwlock_wrunlock(&right);
    thrum_rlock_unlock(&left);
    return NULL;
}

static void *right_then_left(void *arg)
{
    int *result = arg;
    thrum_rwlock_wrlock(&right);
    pthread_barrier_wait(&both);
    *result = thrum_rlock_lock(&left);
    if (*result == 0)
        thrum_rlock_unlock(&left);
    return NULL; /* `right` is unlocked by the test */
}

Test(diagnosis, circles_go_through_every_kind_of_lock)
{
    pthread_t threads[2];
    int results[2] = {-1, -1};
    pthread_barrier_init(&both, NULL, 2);
    pthread_create(&threads[0], NULL, left_then_right, &results[0]);
    pthread_create(&threads[1], NULL, right_then_left, &results[1]);
    await_asleep(&left, 1);
    await_asleep(&right, 1);
    cr_expect_eq(thrum_deadlock_report(NULL), 1);
    thrum_rwlock_wrunlock(&right);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    cr_expect_eq(results[0], 0);
    cr_expect_eq(results[1], 0);
}

/* Locks are taken in one order only, so whatever a report sees in between, there is no circle. */
static thrum_mutex_t ordered[3];
static uint32_t stop;

static void *lock_in_order(void *arg)
{
    while (thi_load_relaxed(&stop) == 0) {
        for (size_t i = 0; i < 3; i++)
            thrum_mutex_lock(&ordered[i]);
        for (size_t i = 0; i < 3; i++)
            thrum_mutex_unlock(&ordered[i]);
    }
    return arg;
}

Test(diagnosis, no_circle_is_seen_where_there_is_none)
{
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, lock_in_order, NULL);
    const thrum_time_t end = thrum_after(THRUM_S(4)); /* a busy machine does not get through */
    for (int i = 0; i < 2000 && thrum_now() < end; i++)
        cr_assert_eq(thrum_deadlock_report(NULL), 0);
    thi_store_relaxed(&stop, 1u);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

/* --- what a picture may show that never was ----------------------------------------------------- */

/* Strands parked at a site of the test's own, whose owners the test makes up. */
#define PARKED 8

struct parked {
    thi_strand_t *strand;
    uint32_t owner;       /* who is said to hold what this one waits for */
    uint32_t owner_once;  /* the same, but only to the first who asks */
    struct parked *wakes; /* whom the question wakes, to go to sleep again */
    uint32_t lingers;     /* stays awake in the queue */
    uint32_t ends;
    pthread_t thread;
} THRUM_ALIGNED(256);

static struct parked parked[PARKED];

static void wake_for_a_moment(thi_strand_t *strand)
{
    const uint32_t waits = thi_load_relaxed(&strand->waits);
    thi_strand_cancel(strand);
    while (thi_load_relaxed(&strand->waits) == waits || thi_load_relaxed(&strand->site) == NULL)
        sched_yield();
}

static uint32_t parked_owner(const void *object)
{
    struct parked *p = (struct parked *)(uintptr_t)object;
    if (p->wakes != NULL)
        wake_for_a_moment(p->wakes->strand);
    p->wakes = NULL;
    const uint32_t once = p->owner_once;
    p->owner_once = 0;
    return once != 0 ? once : p->owner;
}

static const thi_site_t parked_site = {"lock", parked_owner};

static bool still_parked(void *arg)
{
    const struct parked *p = arg;
    return thi_load_relaxed(&p->ends) == 0;
}

static void linger(void *arg)
{
    struct parked *p = arg;
    thi_store_release(&p->strand, thi_self());
    while (thi_load_acquire(&p->lingers) != 0)
        sched_yield();
}

static void *parked_main(void *arg)
{
    thi_park_t park = {.site = &parked_site,
                       .key = arg,
                       .arg = arg,
                       .validate = still_parked,
                       .queued = linger,
                       .cancellable = true};
    while (thi_lot_park(&park, THRUM_FOREVER) == ECANCELED)
        thi_store_relaxed(&thi_self()->cancelled, 0u);
    return NULL;
}

static void park_all(void)
{
    for (size_t i = 0; i < PARKED; i++)
        pthread_create(&parked[i].thread, NULL, parked_main, &parked[i]);
    for (size_t i = 0; i < PARKED; i++)
        await_asleep(&parked[i], 1);
}

static void unpark_all(void)
{
    for (size_t i = 0; i < PARKED; i++) {
        thi_store_relaxed(&parked[i].ends, 1u);
        thi_lot_unpark(&(thi_unpark_t){.key = &parked[i], .site = &parked_site, .n = THI_ALL});
        pthread_join(parked[i].thread, NULL);
    }
}

struct visited {
    struct parked *first;
    struct parked *last;
};

static void visit(const thi_waiter_t *waiter, void *arg)
{
    struct visited *v = arg;
    v->last = (struct parked *)(uintptr_t)waiter->key;
    if (v->first == NULL)
        v->first = v->last;
}

/* The first and the last in a picture, which so many do not find in one bucket; each is said to wait
 * for the other. */
static struct visited park_in_a_circle(void)
{
    struct visited v = {NULL, NULL};
    park_all();
    thi_lot_each(visit, &v);
    v.first->owner = v.last->strand->id;
    v.last->owner = v.first->strand->id;
    return v;
}

Test(diagnosis, a_lock_that_changes_hands_is_in_no_circle)
{
    const struct visited v = park_in_a_circle();
    cr_expect_eq(thrum_deadlock_report(NULL), 1);
    v.first->owner_once = v.first->owner;
    v.first->owner = 0;
    cr_expect_eq(thrum_deadlock_report(NULL), 0);
    unpark_all();
}

Test(diagnosis, a_strand_that_woke_and_waits_again_is_in_no_circle)
{
    const struct visited v = park_in_a_circle();
    v.last->wakes = v.first; /* it was seen already */
    cr_expect_eq(thrum_deadlock_report(NULL), 0);
    cr_expect_eq(v.last->wakes, NULL);
    cr_expect_eq(thrum_deadlock_report(NULL), 1);
    unpark_all();
}

Test(diagnosis, a_strand_that_does_not_sleep_yet_is_in_no_circle)
{
    const struct visited v = park_in_a_circle();
    thi_strand_t *strand = v.first->strand;
    thi_store_release(&v.first->strand, NULL);
    thi_store_release(&v.first->lingers, 1u);
    thi_strand_cancel(strand);
    while (thi_load_acquire(&v.first->strand) == NULL) /* it is queued again */
        sched_yield();
    cr_expect_eq(thrum_deadlock_report(NULL), 0);
    char *text = dump();
    cr_expect(strstr(text, "thrum: 8 strands wait\n") == text, "%s", text);
    free(text);
    thi_store_release(&v.first->lingers, 0u);
    await_asleep(v.first, 1);
    cr_expect_eq(thrum_deadlock_report(NULL), 1);
    unpark_all();
}

/* --- errors, version, memory -------------------------------------------------------------------- */

Test(diagnosis, every_error_of_the_library_has_a_meaning)
{
    const int errors[] = {EINVAL,    ENOMEM,  EBUSY,   EAGAIN,  ETIMEDOUT, ECANCELED,
                          ESHUTDOWN, EPIPE,   EPERM,   EDEADLK, EOVERFLOW, EOWNERDEAD,
                          ECHILD,    ENODATA, ENOTSUP, ENOSYS};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        const char *meaning = thrum_strerror(errors[i]);
        cr_assert(meaning != NULL && meaning[0] != '\0');
        cr_expect_str_neq(meaning, "unknown error", "%d", errors[i]);
        for (size_t k = 0; k < i; k++)
            cr_expect_str_neq(meaning, thrum_strerror(errors[k]), "%d %d", errors[i], errors[k]);
    }
    cr_expect_str_eq(thrum_strerror(0), "success");
}

Test(diagnosis, any_number_has_a_text)
{
    const int others[] = {ENOENT, -1, INT_MIN, INT_MAX, 4095};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        cr_assert(thrum_strerror(others[i]) != NULL);
        cr_expect_str_not_empty(thrum_strerror(others[i]));
    }
    cr_expect_str_neq(thrum_strerror(ENOENT), "unknown error", "what tasks return has a text too");
}

Test(diagnosis, the_version_is_the_headers)
{
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", THRUM_VERSION_MAJOR, THRUM_VERSION_MINOR,
             THRUM_VERSION_PATCH);
    cr_expect_str_eq(thrum_version(), version);
}

struct counted {
    unsigned allocated;
    unsigned released;
};

static void *count_allocate(size_t size, size_t alignment, void *ctx)
{
    struct counted *c = ctx;
    c->allocated++;
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void count_release(void *memory, size_t size, size_t alignment, void *ctx)
{
    struct counted *c = ctx;
    (void)size;
    (void)alignment;
    c->released++;
    free(memory);
}

Test(diagnosis, an_allocator_that_is_not_whole_is_refused)
{
    thrum_allocator_t a = THRUM_ALLOCATOR_INIT;
    cr_expect_eq(thrum_set_allocator(NULL), EINVAL);
    cr_expect_eq(thrum_set_allocator(&a), EINVAL);
    a.allocate = count_allocate;
    cr_expect_eq(thrum_set_allocator(&a), EINVAL);
    a.release = count_release;
    a.size--;
    cr_expect_eq(thrum_set_allocator(&a), EINVAL);
}

Test(diagnosis, the_library_allocates_from_the_programs_allocator)
{
    struct counted counted = {0, 0};
    thrum_allocator_t a = THRUM_ALLOCATOR_INIT;
    a.allocate = count_allocate;
    a.release = count_release;
    a.ctx = &counted;
    cr_assert_eq(thrum_set_allocator(&a), 0);
    cr_expect_eq(thrum_set_allocator(&a), EBUSY, "it is set once");
    a.ctx = NULL; /* it was copied */
    void *memory = thi_alloc(100);
    cr_expect(memory != NULL);
    cr_expect_eq(counted.allocated, 1);
    thi_free(memory, 100);
    cr_expect_eq(counted.released, 1);
}

Test(diagnosis, an_allocator_comes_too_late_after_the_first_use)
{
    thrum_allocator_t a = THRUM_ALLOCATOR_INIT;
    a.allocate = count_allocate;
    a.release = count_release;
    thi_free(thi_alloc(1), 1);
    cr_expect_eq(thrum_set_allocator(&a), EBUSY);
}
