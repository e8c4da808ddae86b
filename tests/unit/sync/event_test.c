#include <thrum/event.h>

#include "sync/wait_conformance.h"

TestSuite(event, .timeout = 30);

static int init(void *e)
{
    return thrum_event_init(e);
}

static int wait_for(void *e)
{
    return thrum_event_wait(e);
}

static int wait_until(void *e, thrum_time_t deadline)
{
    return thrum_event_wait_until(e, deadline);
}

static int trywait(void *e)
{
    return thrum_event_trywait(e);
}

static int set(void *e)
{
    thrum_event_set(e);
    return 0;
}

static int clear(void *e)
{
    thrum_event_clear(e);
    return 0;
}

static const void *key(const void *e)
{
    return e;
}

static const struct wait_kind kind = {
    .size = sizeof(thrum_event_t),
    .init = init,
    .wait = wait_for,
    .wait_until = wait_until,
    .trywait = trywait,
    .let_go = set,
    .lets_all_go = true,
    .restart = clear,
    .key = key,
};

WAIT_CONFORMANCE(event, &kind)

Test(event, null_is_ignored_by_set_and_clear)
{
    errno = ERRNO_MARK;
    thrum_event_set(NULL);
    thrum_event_clear(NULL);
    cr_expect_not(thrum_event_is_set(NULL));
    cr_expect_eq(errno, ERRNO_MARK);
}

Test(event, is_set_until_it_is_cleared)
{
    thrum_event_t e = THRUM_EVENT_INIT;
    cr_expect_not(thrum_event_is_set(&e));
    errno = ERRNO_MARK;
    thrum_event_set(&e);
    cr_expect_eq(errno, ERRNO_MARK);
    cr_expect(thrum_event_is_set(&e));
    EXPECT_CALL(0, thrum_event_wait(&e));
    EXPECT_CALL(0, thrum_event_wait(&e));
    const thrum_event_t before = e;
    thrum_event_set(&e);
    cr_expect_eq(memcmp(&before, &e, sizeof e), 0, "setting it again changes nothing");
    EXPECT_CALL(0, thrum_event_trywait(&e));
    errno = ERRNO_MARK;
    thrum_event_clear(&e);
    thrum_event_clear(&e);
    cr_expect_eq(errno, ERRNO_MARK);
    cr_expect_not(thrum_event_is_set(&e));
    EXPECT_CALL(EAGAIN, thrum_event_trywait(&e));
}

Test(event, zero_memory_is_not_set)
{
    thrum_event_t e;
    memset(&e, 0, sizeof e);
    cr_expect_not(thrum_event_is_set(&e));
    thrum_event_set(&e);
    EXPECT_CALL(0, thrum_event_wait(&e));
}

Test(event, a_pulse_lets_everyone_go_who_was_waiting)
{
    enum { WAITERS = 6 };
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int round = 0; round < 100 && thrum_now() < end; round++) {
        thrum_event_t e = THRUM_EVENT_INIT;
        struct caller c[WAITERS];
        for (int i = 0; i < WAITERS; i++)
            caller_start(&c[i], wait_for, &e);
        await_parked(&e, WAITERS);
        errno = ERRNO_MARK;
        thrum_event_set(&e);
        thrum_event_clear(&e);
        cr_expect_eq(errno, ERRNO_MARK);
        cr_expect_eq(thi_park_count(&e), 0u);
        for (int i = 0; i < WAITERS; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
        EXPECT_CALL(EAGAIN, thrum_event_trywait(&e));
    }
}

/* A pulse reaches whoever was already waiting, also those that were still looking. */
struct pulsed {
    thrum_event_t e;
    uint32_t waiting; /* announces that it is about to wait */
    uint32_t let_go;
    int rounds;
};

static int wait_for_pulses(void *arg)
{
    struct pulsed *p = arg;
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int i = 0; i < p->rounds && thrum_now() < end; i++) {
        thi_fetch_add_relaxed(&p->waiting, 1u);
        if (thrum_event_wait(&p->e) != 0)
            return EPROTO;
        thi_fetch_add_relaxed(&p->let_go, 1u);
    }
    return 0;
}

Test(event, pulses_are_not_lost_on_those_on_their_way_to_sleep)
{
    struct pulsed p = {.rounds = 5000};
    struct caller c;
    caller_start(&c, wait_for_pulses, &p);
    uint32_t pulses = 0;
    while (!caller_done(&c)) {
        thrum_event_set(&p.e);
        thrum_event_clear(&p.e);
        pulses++;
    }
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_geq(pulses, 1u);
}

/* "store, set" here and "clear, load" there: the load sees the store, or the event stays set. */
struct mailbox {
    thrum_event_t full;
    uint32_t letters;
    uint32_t read;
    uint32_t sent;
};

static int send_letters(void *arg)
{
    struct mailbox *m = arg;
    for (uint32_t i = 1; i <= m->sent; i++) {
        thi_store_relaxed(&m->letters, i);
        thrum_event_set(&m->full);
    }
    return 0;
}

Test(event, what_was_written_before_a_set_is_seen_after_a_clear)
{
    struct mailbox m = {.sent = 200000};
    struct caller c;
    caller_start(&c, send_letters, &m);
    while (m.read != m.sent) {
        EXPECT_CALL(0, thrum_event_wait(&m.full)); /* a lost letter is a hang */
        thrum_event_clear(&m.full);
        m.read = thi_load_relaxed(&m.letters);
    }
    cr_expect_eq(caller_join(&c), 0);
}
