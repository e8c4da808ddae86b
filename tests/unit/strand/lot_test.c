#include <thrum/time.h>

#include "support/child.h"
#include "support/expect.h"
#include "support/puppet.h"

TestSuite(lot, .timeout = 30);

static const thi_site_t site = {"test", NULL};
static const thi_site_t other_site = {"other", NULL};

/* A bare object: whoever parks on it sleeps as long as `closed`. */
struct gate {
    uint32_t closed;
    uint32_t validated;
    uint32_t queued;
    uint32_t gave_up;
};

static bool is_closed(void *arg)
{
    struct gate *g = arg;
    g->validated++;
    return g->closed != 0;
}

static void count_queued(void *arg)
{
    struct gate *g = arg;
    thi_fetch_add_relaxed(&g->queued, 1u);
}

static bool count_giving_up(void *arg)
{
    struct gate *g = arg;
    g->gave_up++;
    return false;
}

struct parker {
    struct gate *g;
    const thi_site_t *site;
    const void *data;
    bool first;
    bool spin;
    thrum_time_t deadline;
    uint32_t given;
};

static int park(void *arg)
{
    struct parker *p = arg;
    const thi_unpark_t give_up = {
        .key = p->g, .site = p->site, .n = THI_ALL, .before = count_giving_up, .arg = p->g};
    thi_park_t order = {.site = p->site,
                        .key = p->g,
                        .data = p->data,
                        .arg = p->g,
                        .validate = is_closed,
                        .queued = count_queued,
                        .give_up = &give_up,
                        .cancellable = true,
                        .first = p->first,
                        .spin = p->spin};
    const int err = thi_lot_park(&order, p->deadline);
    p->given = order.given;
    return err;
}

static struct parker parker_at(struct gate *g)
{
    return (struct parker){.g = g, .site = &site, .deadline = THRUM_FOREVER};
}

static unsigned unpark(const void *key, const thi_site_t *at, unsigned n)
{
    return thi_lot_unpark(&(thi_unpark_t){.key = key, .site = at, .n = n});
}

Test(lot, who_need_not_wait_is_not_queued)
{
    struct gate g = {.closed = 0};
    struct parker p = parker_at(&g);
    EXPECT_CALL(EAGAIN, park(&p));
    cr_expect_eq(g.validated, 1u);
    cr_expect_eq(g.queued, 0u);
    cr_expect_eq(thi_park_count(&g), 0u);
}

Test(lot, who_gives_up_says_so_in_the_same_step)
{
    struct gate g = {.closed = 1};
    struct parker p = parker_at(&g);
    p.deadline = PAST;
    EXPECT_CALL(ETIMEDOUT, park(&p));
    cr_expect_eq(g.gave_up, 1u);
    p.deadline = SOON;
    p.spin = true;
    EXPECT_CALL(ETIMEDOUT, park(&p));
    cr_expect_eq(g.gave_up, 2u);
    cr_expect_eq(thi_park_count(&g), 0u);
    cr_expect_eq(unpark(&g, &site, THI_ALL), 0u);
}

Test(lot, an_unpark_takes_waiters_in_order_of_arrival)
{
    enum { WAITERS = 6 };
    struct gate g = {.closed = 1};
    struct parker p[WAITERS];
    struct caller c[WAITERS];
    for (unsigned i = 0; i < WAITERS; i++) {
        p[i] = parker_at(&g);
        p[i].spin = i % 2 == 0;
        caller_start(&c[i], park, &p[i]);
        await_parked(&g, i + 1);
    }
    errno = ERRNO_MARK;
    cr_expect_eq(unpark(&g, &site, 0), 0u);
    cr_expect_eq(unpark(&g, &site, 2), 2u);
    cr_expect_eq(caller_join(&c[0]), 0);
    cr_expect_eq(caller_join(&c[1]), 0);
    cr_expect(caller_stays(&c[2]));
    cr_expect_eq(unpark(&g, &site, 1), 1u);
    cr_expect_eq(caller_join(&c[2]), 0);
    cr_expect_eq(unpark(&g, &site, THI_ALL), 3u);
    cr_expect_eq(errno, ERRNO_MARK);
    for (int i = 3; i < WAITERS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(unpark(&g, &site, THI_ALL), 0u);
}

Test(lot, who_comes_back_goes_first)
{
    struct gate g = {.closed = 1};
    struct parker p[3] = {parker_at(&g), parker_at(&g), parker_at(&g)};
    struct caller c[3];
    p[2].first = true;
    for (unsigned i = 0; i < 3; i++) {
        caller_start(&c[i], park, &p[i]);
        await_parked(&g, i + 1);
    }
    cr_expect_eq(unpark(&g, &site, 1), 1u);
    cr_expect_eq(caller_join(&c[2]), 0);
    cr_expect_eq(unpark(&g, &site, 1), 1u);
    cr_expect_eq(caller_join(&c[0]), 0);
    cr_expect_eq(unpark(&g, &site, 1), 1u);
    cr_expect_eq(caller_join(&c[1]), 0);
}

Test(lot, queues_are_told_apart_by_key_and_by_site)
{
    struct gate a = {.closed = 1};
    struct gate b = {.closed = 1};
    struct parker p[3] = {parker_at(&a), parker_at(&a), parker_at(&b)};
    struct caller c[3];
    p[1].site = &other_site;
    for (int i = 0; i < 3; i++)
        caller_start(&c[i], park, &p[i]);
    await_parked(&a, 2);
    await_parked(&b, 1);
    cr_expect_eq(unpark(&a, &other_site, THI_ALL), 1u);
    cr_expect_eq(caller_join(&c[1]), 0);
    cr_expect_eq(unpark(&b, &other_site, THI_ALL), 0u);
    cr_expect_eq(unpark(&b, &site, THI_ALL), 1u);
    cr_expect_eq(caller_join(&c[2]), 0);
    cr_expect_eq(unpark(&a, &site, THI_ALL), 1u);
    cr_expect_eq(caller_join(&c[0]), 0);
}

/* --- what an unpark tells its callbacks ---------------------------------------------------------- */

struct settling {
    unsigned before;
    unsigned settled;
    unsigned count;
    unsigned chain;
    bool more;
    bool go_on;
};

static bool look_before(void *arg)
{
    struct settling *s = arg;
    s->before++;
    return s->go_on;
}

static void settle(const thi_unparked_t *found, void *arg)
{
    struct settling *s = arg;
    s->settled++;
    s->count = found->count;
    s->more = found->more;
    s->chain = 0;
    for (thi_waiter_t *waiter = found->first; waiter != NULL; waiter = waiter->next)
        waiter->given = ++s->chain;
}

Test(lot, an_unpark_settles_once_and_hands_over)
{
    struct gate g = {.closed = 1};
    struct parker p[3] = {parker_at(&g), parker_at(&g), parker_at(&g)};
    struct caller c[3];
    struct settling s = {.go_on = false};
    thi_unpark_t order = {
        .key = &g, .site = &site, .n = 2, .before = look_before, .settle = settle, .arg = &s};
    for (unsigned i = 0; i < 3; i++) {
        caller_start(&c[i], park, &p[i]);
        await_parked(&g, i + 1);
    }
    cr_expect_eq(thi_lot_unpark(&order), 0u);
    cr_expect(s.before == 1 && s.settled == 0, "called off");
    cr_expect_eq(thi_park_count(&g), 3u);
    s.go_on = true;
    cr_expect_eq(thi_lot_unpark(&order), 2u);
    cr_expect(s.before == 2 && s.settled == 1);
    cr_expect(s.count == 2 && s.chain == 2 && s.more);
    cr_expect_eq(caller_join(&c[0]), 0);
    cr_expect_eq(caller_join(&c[1]), 0);
    cr_expect(p[0].given == 1 && p[1].given == 2);
    cr_expect_eq(thi_lot_unpark(&order), 1u);
    cr_expect(s.settled == 2 && s.count == 1 && !s.more);
    cr_expect_eq(caller_join(&c[2]), 0);
    cr_expect_eq(thi_lot_unpark(&order), 0u);
    cr_expect(s.settled == 3 && s.count == 0 && s.chain == 0 && !s.more);
}

/* --- moving --------------------------------------------------------------------------------------- */

struct moving {
    struct gate from;
    struct gate to;
    bool held;
    unsigned asked;
    unsigned settled;
};

static bool would_wait(void *arg)
{
    struct moving *m = arg;
    m->asked++;
    return m->held;
}

static void settle_move(const thi_unparked_t *found, void *arg)
{
    struct moving *m = arg;
    (void)found;
    m->settled++;
}

static unsigned move(struct moving *m, unsigned n)
{
    return thi_lot_move(&(thi_move_t){.from = &m->from,
                                      .from_site = &site,
                                      .n = n,
                                      .to = &m->to,
                                      .to_site = &other_site,
                                      .hold = would_wait,
                                      .settle = settle_move,
                                      .arg = m});
}

Test(lot, sleepers_are_moved_in_order_and_are_claimed)
{
    enum { WAITERS = 4 };
    struct moving m = {.from = {.closed = 1}, .held = true};
    struct parker p[WAITERS];
    struct puppet *c[WAITERS];
    for (unsigned i = 0; i < WAITERS; i++) {
        p[i] = parker_at(&m.from);
        p[i].data = &m.to;
        p[i].deadline = thrum_after(THRUM_S(1000));
        c[i] = puppet_start(park, &p[i]);
        puppet_await_asleep(c[i]);
    }
    cr_expect_eq(move(&m, 1), 1u);
    cr_expect_eq(move(&m, THI_ALL), 3u);
    cr_expect_eq(move(&m, THI_ALL), 0u);
    cr_expect_eq(m.settled, 3u);
    cr_expect_eq(thi_park_count(&m.from), 0u);
    cr_expect_eq(thi_park_count(&m.to), (unsigned)WAITERS);
    for (unsigned i = 0; i < WAITERS; i++) {
        cr_expect_eq(puppet_wakes(c[i]), 0u);
        cr_expect_eq(thi_load_relaxed(&c[i]->strand.object), (const void *)&m.to);
        puppet_expire(c[i]); /* too late: it has its wake-up */
        thi_strand_cancel(&c[i]->strand);
    }
    for (unsigned i = 0; i < WAITERS; i++) {
        cr_expect_eq(unpark(&m.to, &other_site, 1), 1u);
        cr_expect_eq(puppet_join(c[i]), 0);
    }
    cr_expect_eq(m.from.gave_up, 0u);
}

Test(lot, who_would_not_have_to_wait_there_is_woken_instead)
{
    struct moving m = {.from = {.closed = 1}};
    struct parker p[2] = {parker_at(&m.from), parker_at(&m.from)};
    struct puppet *c[2];
    p[0].data = &m.to;
    p[1].data = &m; /* belongs elsewhere */
    for (int i = 0; i < 2; i++) {
        c[i] = puppet_start(park, &p[i]);
        puppet_await_asleep(c[i]);
    }
    cr_expect_eq(move(&m, 1), 1u);
    cr_expect_eq(puppet_join(c[0]), 0);
    cr_expect_eq(m.asked, 1u);
    m.held = true;
    cr_expect_eq(move(&m, 1), 1u);
    cr_expect_eq(puppet_join(c[1]), 0);
    cr_expect_eq(m.asked, 1u);
}

/* --- many ----------------------------------------------------------------------------------------- */

enum { MANY = 300 };

struct herd {
    struct gate gates[MANY];
    struct parker p[MANY];
    struct caller c[MANY];
};

/* More strands than the first table has buckets: it grows under those that sleep. */
Test(lot, the_table_grows_under_sleepers)
{
    static struct herd h;
    for (int i = 0; i < MANY; i++) {
        h.gates[i].closed = 1;
        h.p[i] = parker_at(&h.gates[i % 7]); /* several on one */
        if (i % 2 == 0)
            h.p[i].g = &h.gates[i];
        caller_start(&h.c[i], park, &h.p[i]);
    }
    for (int i = 0; i < MANY; i++)
        await_asleep(&h.c[i]);
    unsigned parked = 0;
    for (int i = 0; i < MANY; i++)
        parked += thi_park_count(&h.gates[i]);
    cr_expect_eq(parked, (unsigned)MANY);
    cr_expect_geq(thi_strand_slots(), (uint32_t)MANY);
    unsigned woken = 0;
    for (int i = 0; i < MANY; i++)
        woken += unpark(&h.gates[i], &site, THI_ALL);
    cr_expect_eq(woken, (unsigned)MANY);
    for (int i = 0; i < MANY; i++)
        cr_expect_eq(caller_join(&h.c[i]), 0);
}

static void count_waiter(const thi_waiter_t *waiter, void *arg)
{
    unsigned *count = arg;
    *count += waiter->site == &site;
}

Test(lot, everybody_queued_is_listed)
{
    enum { WAITERS = 20 };
    struct gate g[WAITERS];
    struct parker p[WAITERS];
    struct caller c[WAITERS];
    for (int i = 0; i < WAITERS; i++) {
        g[i] = (struct gate){.closed = 1};
        p[i] = parker_at(&g[i]);
        caller_start(&c[i], park, &p[i]);
        await_parked(&g[i], 1);
    }
    unsigned count = 0;
    thi_lot_each(count_waiter, &count);
    cr_expect_eq(count, (unsigned)WAITERS);
    for (int i = 0; i < WAITERS; i++)
        unpark(&g[i], &site, 1);
    for (int i = 0; i < WAITERS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    count = 0;
    thi_lot_each(count_waiter, &count);
    cr_expect_eq(count, 0u);
}

/* A long chain is woken by many hands: nobody may be forgotten. */
Test(lot, everybody_of_a_crowd_is_woken)
{
    enum { CROWD = 40 };
    for (int round = 0; round < 10; round++) {
        struct gate g = {.closed = 1};
        struct parker p[CROWD];
        struct caller c[CROWD];
        for (int i = 0; i < CROWD; i++) {
            p[i] = parker_at(&g);
            p[i].spin = i % 3 == 0;
            caller_start(&c[i], park, &p[i]);
        }
        await_parked(&g, CROWD);
        cr_expect_eq(unpark(&g, &site, THI_ALL), (unsigned)CROWD);
        for (int i = 0; i < CROWD; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
    }
}

static int find_nobody(void *arg)
{
    struct gate *g = arg;
    if (thi_park_count(g) != 0 || unpark(g, &site, THI_ALL) != 0)
        return 1;
    struct parker p = parker_at(g);
    struct caller c;
    caller_start(&c, park, &p);
    await_parked(g, 1);
    if (unpark(g, &site, 1) != 1)
        return 2;
    return caller_join(&c);
}

Test(lot, nobody_waits_in_a_child)
{
    struct gate g = {.closed = 1};
    struct parker p = parker_at(&g);
    struct caller c;
    caller_start(&c, park, &p);
    await_parked(&g, 1);
    cr_expect_eq(child_run(find_nobody, &g), 0);
    cr_expect_eq(unpark(&g, &site, 1), 1u);
    cr_expect_eq(caller_join(&c), 0);
}
