/*
 * Select: one wait, a waiter in the queue of every case, and the claim word of the wait decides which
 * waker wins (strand.h).
 *
 *   look at the cases, in an order drawn by lot -> one can be done: done
 *   enter every case's queue                    -> one says "look again": leave them all, look again
 *   sleep                                       -> a waker won, or the deadline passed
 *   leave them all; the winner's case is tried before any other
 *
 * Invariants
 *   I1  Nothing is taken before the wait is over: a waiter in a queue is a request to be told, and a
 *       waker that loses the claim goes on to the next waiter of its queue. So losing cases leave no
 *       trace.
 *   I2  A wake-up for one waiter (an item, a place, a permit) stands for something that is there. So the
 *       winner's case is tried first; if somebody was faster, the wake-up has been used by that one.
 *   I3  What may be over before the strand looks (an event is set and cleared) is told by comparing with what
 *       was remembered when the select began: while the strand is awake, or claimed for another case, it is in
 *       nobody's queue.
 */
#include "queue/core.h"

#define ON_STACK 8u

static const thi_site_t site = {"select", NULL};

/* ------------------------------------------------------------------------------------------------
 * Kinds of cases
 */

static bool get_valid(const thrum_case_t *c)
{
    return c->object != NULL && c->item != NULL;
}

static int get_attempt(const thrum_case_t *c, uint32_t since)
{
    (void)since;
    return thrum_queue_tryget(c->object, c->item);
}

static bool get_enter(const thrum_case_t *c, uint32_t since, thi_wait_t *wait, thi_waiter_t *waiter,
                      uint32_t index)
{
    (void)since;
    const thi_park_t park = thi_queue_park_get(c->object);
    return thi_lot_enter(wait, waiter, index, &park);
}

static void get_leave(const thrum_case_t *c, thi_waiter_t *waiter)
{
    const thi_park_t park = thi_queue_park_get(c->object);
    thi_lot_leave(waiter, &park);
}

static bool put_valid(const thrum_case_t *c)
{
    return c->object != NULL && c->put_item != NULL;
}

static int put_attempt(const thrum_case_t *c, uint32_t since)
{
    (void)since;
    return thrum_queue_tryput(c->object, c->put_item);
}

static bool put_enter(const thrum_case_t *c, uint32_t since, thi_wait_t *wait, thi_waiter_t *waiter,
                      uint32_t index)
{
    (void)since;
    const thi_park_t park = thi_queue_park_put(c->object);
    return thi_lot_enter(wait, waiter, index, &park);
}

static void put_leave(const thrum_case_t *c, thi_waiter_t *waiter)
{
    const thi_park_t park = thi_queue_park_put(c->object);
    thi_lot_leave(waiter, &park);
}

static bool object_valid(const thrum_case_t *c)
{
    return c->object != NULL;
}

static uint32_t event_begin(const thrum_case_t *c)
{
    return thi_event_generation(c->object);
}

/* Set, or set since: then it counts although it has been cleared (I3). */
static int event_attempt(const thrum_case_t *c, uint32_t since)
{
    return thi_event_let_go(c->object, since) ? 0 : EAGAIN;
}

static bool event_enter(const thrum_case_t *c, uint32_t since, thi_wait_t *wait,
                        thi_waiter_t *waiter, uint32_t index)
{
    return thi_event_enter(c->object, since, wait, waiter, index);
}

static void event_leave(const thrum_case_t *c, thi_waiter_t *waiter)
{
    thi_event_leave(c->object, waiter);
}

/* Let go by a set, even if the event has been cleared since. */
static int event_won(const thrum_case_t *c, uint32_t since)
{
    (void)c;
    (void)since;
    return 0;
}

static int sem_attempt(const thrum_case_t *c, uint32_t since)
{
    (void)since;
    return thrum_sem_tryacquire(c->object);
}

static bool sem_enter(const thrum_case_t *c, uint32_t since, thi_wait_t *wait, thi_waiter_t *waiter,
                      uint32_t index)
{
    (void)since;
    return thi_sem_enter(c->object, wait, waiter, index);
}

static void sem_leave(const thrum_case_t *c, thi_waiter_t *waiter)
{
    thi_sem_leave(c->object, waiter);
}

static const thi_case_kind_t get_kind = {.valid = get_valid,
                                         .attempt = get_attempt,
                                         .enter = get_enter,
                                         .leave = get_leave,
                                         .won = get_attempt};
static const thi_case_kind_t put_kind = {.valid = put_valid,
                                         .attempt = put_attempt,
                                         .enter = put_enter,
                                         .leave = put_leave,
                                         .won = put_attempt};
static const thi_case_kind_t event_kind = {.valid = object_valid,
                                           .begin = event_begin,
                                           .attempt = event_attempt,
                                           .enter = event_enter,
                                           .leave = event_leave,
                                           .won = event_won};
static const thi_case_kind_t sem_kind = {.valid = object_valid,
                                         .attempt = sem_attempt,
                                         .enter = sem_enter,
                                         .leave = sem_leave,
                                         .won = sem_attempt};

static const thi_case_kind_t *kinds[THI_CASE_KINDS] = {
    [THRUM_CASE_KIND_GET] = &get_kind,
    [THRUM_CASE_KIND_PUT] = &put_kind,
    [THRUM_CASE_KIND_EVENT] = &event_kind,
    [THRUM_CASE_KIND_SEM] = &sem_kind,
};

void thi_case_register(thrum_case_kind_t kind, const thi_case_kind_t *table)
{
    /* R1: release; pairs with A1. */
    thi_store_release(&kinds[kind], table);
}

/* NULL: an empty place, or no kind of case. */
static const thi_case_kind_t *kind_of(const thrum_case_t *c)
{
    const unsigned kind = (unsigned)c->kind;
    return kind < THI_CASE_KINDS ? thi_load_acquire(&kinds[kind]) : NULL; /* A1 */
}

/* ------------------------------------------------------------------------------------------------
 * One select
 */

struct place {
    uint32_t index; /* of the case that is looked at in this turn */
    uint32_t since; /* the other three: of the case at this index */
    bool entered;
    thi_waiter_t waiter;
};

struct selection {
    const thrum_case_t *cases;
    struct place *places;
    uint32_t n;
    uint32_t chosen;
};

#ifdef THRUM_SIM
#define draw thi_sim_draw /* the schedule's */
#else
static uint64_t draw(void)
{
    static uint64_t ticket;
    /* Relaxed, and not one step: it need not be a good lottery, only nobody's habit. */
    uint64_t x = thi_load_relaxed(&ticket) + UINT64_C(0x9E3779B97F4A7C15);
    thi_store_relaxed(&ticket, x);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}
#endif

/* Every order as likely as any other (Fisher and Yates). */
static void shuffle(const struct selection *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        s->places[i].index = i;
    for (uint32_t i = s->n; i > 1; i--) {
        const uint32_t j = (uint32_t)(draw() % i);
        const uint32_t index = s->places[j].index;
        s->places[j].index = s->places[i - 1].index;
        s->places[i - 1].index = index;
    }
}

static void begin_all(const struct selection *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const thi_case_kind_t *kind = kind_of(&s->cases[i]);
        const bool remembers = kind != NULL && kind->begin != NULL;
        s->places[i].since = remembers ? kind->begin(&s->cases[i]) : 0;
        s->places[i].entered = false;
    }
}

/* Does one of the cases: 0 or the error with which it is done; EAGAIN: none can be done. */
static int look(struct selection *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const uint32_t index = s->places[i].index;
        const thrum_case_t *c = &s->cases[index];
        const thi_case_kind_t *kind = kind_of(c);
        const int err = kind != NULL ? kind->attempt(c, s->places[index].since) : EAGAIN;
        if (err != EAGAIN) {
            s->chosen = index;
            return err;
        }
    }
    return EAGAIN;
}

static int spin(struct selection *s)
{
    thi_spin_t spin = thi_spin_begin();
    int err = EAGAIN;
    do
        err = look(s);
    while (err == EAGAIN && thi_spin_turn(&spin));
    thi_spin_end(&spin, err != EAGAIN);
    return err;
}

static bool enter_all(const struct selection *s, thi_wait_t *wait)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const thi_case_kind_t *kind = kind_of(&s->cases[i]);
        struct place *place = &s->places[i];
        if (kind == NULL)
            continue;
        place->entered = kind->enter(&s->cases[i], place->since, wait, &place->waiter, i);
        if (!place->entered)
            return false;
    }
    return true;
}

static void leave_all(const struct selection *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->places[i].entered)
            kind_of(&s->cases[i])->leave(&s->cases[i], &s->places[i].waiter);
        s->places[i].entered = false;
    }
}

/* One sleep. As look, or ETIMEDOUT, ECANCELED. */
static int sleep_on_all(struct selection *s, thi_strand_t *self, thrum_time_t deadline)
{
    thi_wait_t wait;
    thi_wait_init(&wait, self);
    int err = EAGAIN;
    if (enter_all(s, &wait))
        err = thi_wait_sleep(&wait, deadline, true, &site, s->cases);
    else if (!thi_wait_give_up(&wait)) /* a waker was faster; it needs the wait a moment longer */
        err = thi_wait_sleep(&wait, THRUM_FOREVER, false, &site, s->cases);
    leave_all(s);
    if (err != 0)
        return err;
    if (THI_PLANT("select-forgets-the-winner"))
        return EAGAIN;
    s->chosen = thi_wait_winner(&wait);
    const thrum_case_t *c = &s->cases[s->chosen];
    return kind_of(c)->won(c, s->places[s->chosen].since);
}

static int select_among(struct selection *s, thrum_time_t deadline)
{
    thi_strand_t *self = thi_self();
    if (self == NULL)
        return ENOMEM;
    int err = spin(s);
    while (err == EAGAIN) {
        err = sleep_on_all(s, self, deadline);
        if (err == EAGAIN)
            err = look(s);
    }
    return err;
}

static bool are_valid(const thrum_case_t *cases, size_t n)
{
    if (cases == NULL || n == 0 || n > THRUM_SELECT_MAX)
        return false;
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        const thi_case_kind_t *kind = kind_of(&cases[i]);
        if (kind == NULL ? cases[i].kind != THRUM_CASE_KIND_NONE : !kind->valid(&cases[i]))
            return false;
        any = any || kind != NULL;
    }
    return any;
}

static int select_with(struct selection *s, thrum_time_t deadline, bool wait, size_t *chosen)
{
    begin_all(s);
    shuffle(s);
    int err = look(s);
    if (err == EAGAIN && wait)
        err = select_among(s, deadline);
    const bool done = err == 0 || err == ESHUTDOWN || err == EOWNERDEAD;
    if (done && chosen != NULL)
        *chosen = s->chosen;
    return err;
}

static int select_cases(thrum_case_t *cases, size_t n, thrum_time_t deadline, bool wait,
                        size_t *chosen)
{
    struct place few[ON_STACK];
    if (!are_valid(cases, n))
        return EINVAL;
    struct selection s = {.cases = cases, .n = (uint32_t)n};
    s.places = n <= ON_STACK ? few : thi_alloc(n * sizeof *s.places);
    if (s.places == NULL)
        return ENOMEM;
    const int err = select_with(&s, deadline, wait, chosen);
    if (s.places != few)
        thi_free(s.places, n * sizeof *s.places);
    return err;
}

int thrum_select(thrum_case_t *cases, size_t n, thrum_time_t deadline, size_t *chosen)
{
    return select_cases(cases, n, deadline, true, chosen);
}

int thrum_tryselect(thrum_case_t *cases, size_t n, size_t *chosen)
{
    return select_cases(cases, n, THRUM_FOREVER, false, chosen);
}
