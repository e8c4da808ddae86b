#include "support/graveyard.h"

#include "coroutine/loops.h"

/*
 * Every wait of the library, of coroutines for one another in one loop, and between a coroutine and a
 * thread.
 */
TestSuite(coro_wait, .timeout = 30);

/* Two sides of a rendezvous: each lets the other go, many times. */
struct court {
    thrum_mutex_t mutex;
    thrum_cond_t cond;
    thrum_rlock_t rlock;
    thrum_rwlock_t rwlock;
    thrum_sem_t sems[2];
    thrum_event_t events[2];
    thrum_barrier_t barrier;
    thrum_queue_t *queues[2];
    unsigned turn; /* under the mutex, or the locks */
    int rounds;
    int (*play)(struct court *c, unsigned side);
};

static int play_sem(struct court *c, unsigned side)
{
    int err = thrum_sem_release(&c->sems[1 - side]);
    return err != 0 ? err : thrum_sem_acquire(&c->sems[side]);
}

static int play_event(struct court *c, unsigned side)
{
    thrum_event_set(&c->events[1 - side]);
    const int err = thrum_event_wait(&c->events[side]);
    thrum_event_clear(&c->events[side]);
    return err != 0 ? err : play_sem(c, side);
}

static int play_cond(struct court *c, unsigned side)
{
    int err = thrum_mutex_lock(&c->mutex);
    while (err == 0 && c->turn != side)
        err = thrum_cond_wait(&c->cond, &c->mutex);
    c->turn = 1 - side;
    thrum_cond_broadcast(&c->cond);
    return err != 0 ? err : thrum_mutex_unlock(&c->mutex);
}

static int play_rlock(struct court *c, unsigned side)
{
    int err = thrum_rlock_lock(&c->rlock);
    if (err == 0)
        err = thrum_rlock_lock(&c->rlock);
    const unsigned before = c->turn;
    thrum_yield();
    if (c->turn != before)
        err = EPROTO;
    c->turn = side;
    if (err == 0)
        err = thrum_rlock_unlock(&c->rlock);
    return err != 0 ? err : thrum_rlock_unlock(&c->rlock);
}

static int play_rwlock(struct court *c, unsigned side)
{
    int err = side == 0 ? thrum_rwlock_wrlock(&c->rwlock) : thrum_rwlock_rdlock(&c->rwlock);
    const unsigned before = c->turn;
    thrum_yield();
    if (err == 0 && c->turn != before)
        return EPROTO;
    if (side == 0)
        c->turn++;
    if (err == 0)
        err = side == 0 ? thrum_rwlock_wrunlock(&c->rwlock) : thrum_rwlock_rdunlock(&c->rwlock);
    return err;
}

static int play_mutex(struct court *c, unsigned side)
{
    int err = thrum_mutex_lock(&c->mutex);
    const unsigned before = c->turn;
    thrum_yield();
    if (err == 0 && c->turn != before)
        err = EPROTO;
    c->turn = side;
    return err != 0 ? err : thrum_mutex_unlock(&c->mutex);
}

static int play_barrier(struct court *c, unsigned side)
{
    unsigned index = 9;
    (void)side;
    const int err = thrum_barrier_wait(&c->barrier, &index);
    return err != 0 ? err : index < 2 ? 0 : EPROTO;
}

static int play_queue(struct court *c, unsigned side)
{
    int item = (int)side;
    int err = thrum_queue_put(c->queues[1 - side], &item);
    if (err == 0)
        err = thrum_queue_get(c->queues[side], &item);
    return err != 0 ? err : item == (int)(1 - side) ? 0 : EPROTO;
}

static int play_select(struct court *c, unsigned side)
{
    int item = (int)side;
    size_t chosen = 9;
    thrum_event_t never = THRUM_EVENT_INIT;
    thrum_case_t cases[] = {THRUM_CASE_EVENT(&never), THRUM_CASE_GET(c->queues[side], &item),
                            THRUM_CASE_SEM(&c->sems[side])};
    int err = c->rounds % 2 == 0 ? thrum_queue_put(c->queues[1 - side], &item)
                                 : thrum_sem_release(&c->sems[1 - side]);
    if (err == 0)
        err = thrum_select(cases, 3, THRUM_FOREVER, &chosen);
    return err != 0 ? err : chosen == 0 ? EPROTO : 0;
}

struct side {
    struct court *court;
    unsigned side;
};

static int play(void *arg)
{
    const struct side *s = arg;
    int err = 0;
    for (int i = 0; i < s->court->rounds && err == 0; i++)
        err = s->court->play(s->court, s->side);
    return err;
}

static int play_in_loop(void *arg, void **result)
{
    (void)result;
    return play(arg);
}

static int play_both(void *arg, void **result)
{
    struct side sides[2] = {{arg, 0}, {arg, 1}};
    thrum_coro_t *cos[2];
    (void)result;
    for (int i = 0; i < 2; i++)
        cos[i] = spawned(play_in_loop, &sides[i]);
    const int err = thrum_coro_join_all(cos, 2, THRUM_FOREVER);
    for (int i = 0; i < 2; i++)
        thrum_coro_release(cos[i]);
    return err;
}

static int play_in_another_loop(void *arg)
{
    return in_loop(play_in_loop, arg);
}

static void court_open(struct court *c, int (*fn)(struct court *c, unsigned side), int rounds)
{
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    *c = (struct court){.mutex = THRUM_MUTEX_INIT, .play = fn, .rounds = rounds};
    config.item_size = sizeof(int);
    config.capacity = 2;
    for (int i = 0; i < 2; i++)
        EXPECT_CALL(0, thrum_queue_create(&c->queues[i], &config));
    EXPECT_CALL(0, thrum_barrier_init(&c->barrier, 2, NULL, NULL));
}

static void court_close(struct court *c)
{
    for (int i = 0; i < 2; i++)
        thrum_queue_destroy(c->queues[i]);
}

static void match(int (*fn)(struct court *c, unsigned side))
{
    struct court c;
    court_open(&c, fn, 2000); /* in one loop */
    cr_expect_eq(in_loop(play_both, &c), 0);
    court_close(&c);

    for (int other = 0; other < 2;
         other++) { /* a loop against a thread, and against another's loop */
        struct caller caller;
        court_open(&c, fn, 500);
        struct side sides[2] = {{&c, 0}, {&c, 1}};
        caller_start(&caller, other == 0 ? play : play_in_another_loop, &sides[1]);
        cr_expect_eq(in_loop(play_in_loop, &sides[0]), 0);
        cr_expect_eq(caller_join(&caller), 0);
        court_close(&c);
    }
}

Test(coro_wait, mutex)
{
    match(play_mutex);
}

Test(coro_wait, recursive_lock)
{
    match(play_rlock);
}

Test(coro_wait, read_write_lock)
{
    match(play_rwlock);
}

Test(coro_wait, condition)
{
    match(play_cond);
}

Test(coro_wait, semaphore)
{
    match(play_sem);
}

Test(coro_wait, event)
{
    match(play_event);
}

Test(coro_wait, barrier)
{
    match(play_barrier);
}

Test(coro_wait, queue)
{
    match(play_queue);
}

Test(coro_wait, select)
{
    match(play_select);
}

/* --- a recursive lock is a coroutine's --------------------------------------------------------------- */

static int take_anothers(void *arg, void **result)
{
    thrum_rlock_t *r = arg;
    (void)result;
    EXPECT_CALL(EBUSY, thrum_rlock_trylock(r));
    EXPECT_CALL(EPERM, thrum_rlock_unlock(r));
    cr_expect_not(thrum_rlock_owned(r));
    EXPECT_CALL(ETIMEDOUT, thrum_rlock_lock_until(r, SOON));
    return 0;
}

static int own_one(void *arg, void **result)
{
    thrum_rlock_t *r = arg;
    (void)result;
    EXPECT_CALL(0, thrum_rlock_lock(r));
    thrum_coro_t *co = spawned(take_anothers, r);
    thrum_coro_t *by_hand = made(take_anothers, r);
    EXPECT_CALL(ENODATA, thrum_coro_resume(by_hand, NULL, NULL));
    EXPECT_CALL(0, thrum_coro_join(co, NULL));
    EXPECT_CALL(0, thrum_rlock_unlock(r));
    thrum_coro_release(co);
    thrum_coro_release(by_hand);
    return 0;
}

Test(coro_wait, each_coroutine_of_a_thread_owns_for_itself)
{
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    cr_expect_eq(in_loop(own_one, &r), 0);
}

/* --- once, wait group, future ------------------------------------------------------------------------ */

struct shared {
    thrum_once_t once;
    thrum_waitgroup_t group;
    thrum_future_t *promise;
    uint32_t inits;
};

static int init_slowly(void *arg)
{
    struct shared *s = arg;
    s->inits++;
    return thrum_sleep(THRUM_MS(2));
}

static int use_shared(void *arg, void **result)
{
    struct shared *s = arg;
    void *value = NULL;
    (void)result;
    int err = thrum_once(&s->once, init_slowly, s);
    if (err == 0)
        err = thrum_waitgroup_done(&s->group);
    if (err == 0)
        err = thrum_future_result(s->promise, &value);
    return err != 0 ? err : value == s ? 0 : EPROTO;
}

static int use_shared_in_thread(void *arg)
{
    return use_shared(arg, NULL);
}

static int share(void *arg, void **result)
{
    struct shared *s = arg;
    struct caller c;
    thrum_coro_t *cos[3];
    (void)result;
    EXPECT_CALL(0, thrum_waitgroup_add(&s->group, 4));
    for (int i = 0; i < 3; i++)
        cos[i] = spawned(use_shared, s);
    caller_start(&c, use_shared_in_thread, s);
    EXPECT_CALL(0, thrum_waitgroup_wait(&s->group));
    thrum_yield();
    EXPECT_CALL(0, thrum_future_complete(s->promise, s));
    EXPECT_CALL(0, thrum_coro_join_all(cos, 3, THRUM_FOREVER));
    cr_expect_eq(caller_join(&c), 0);
    for (int i = 0; i < 3; i++)
        thrum_coro_release(cos[i]);
    return 0;
}

Test(coro_wait, once_and_wait_groups_and_futures)
{
    struct shared s = {THRUM_ONCE_INIT, THRUM_WAITGROUP_INIT, NULL, 0};
    EXPECT_CALL(0, thrum_future_create(&s.promise));
    cr_expect_eq(in_loop(share, &s), 0);
    cr_expect_eq(s.inits, 1u);
    thrum_future_release(s.promise);
}

/* --- every wait ends with cancellation and deadlines ------------------------------------------------- */

struct waits {
    thrum_mutex_t mutex;
    thrum_cond_t cond;
    thrum_sem_t sem;
    thrum_event_t event;
    thrum_waitgroup_t group;
    thrum_queue_t *empty;
    thrum_queue_t *full;
    thrum_future_t *promise;
    thrum_time_t deadline;
    int which;
};

#define WAITS 9

static int wait_somehow(void *arg, void **result)
{
    struct waits *w = arg;
    const int which = w->which;
    int item = 0;
    size_t chosen = 0;
    thrum_case_t cases[] = {THRUM_CASE_GET(w->empty, &item), THRUM_CASE_SEM(&w->sem)};
    (void)result;
    switch (which) {
    case 0:
        return thrum_sem_acquire_until(&w->sem, w->deadline);
    case 1:
        return thrum_event_wait_until(&w->event, w->deadline);
    case 2:
        return thrum_waitgroup_wait_until(&w->group, w->deadline);
    case 3:
        return thrum_queue_get_until(w->empty, &item, w->deadline);
    case 4:
        return thrum_queue_put_until(w->full, &item, w->deadline);
    case 5:
        return thrum_select(cases, 2, w->deadline, &chosen);
    case 6:
        return thrum_future_wait_until(w->promise, w->deadline);
    case 7: {
        int err = thrum_mutex_lock(&w->mutex);
        if (err == 0)
            err = thrum_cond_wait_until(&w->cond, &w->mutex, w->deadline);
        if (thrum_mutex_unlock(&w->mutex) != 0)
            err = EPROTO;
        return err;
    }
    default: {
        const int err = thrum_sleep_until(w->deadline);
        return err != 0 ? err : ETIMEDOUT;
    }
    }
}

static int end_each_wait(void *arg, void **result)
{
    struct waits *w = arg;
    (void)result;
    for (int i = 0; i < 2 * WAITS; i++) {
        const bool cancel = i % 2 == 0;
        w->which = i / 2;
        w->deadline = cancel ? THRUM_FOREVER : SOON;
        thrum_coro_t *co = spawned(wait_somehow, w);
        thrum_yield();
        cr_expect_not(thrum_coro_done(co) && cancel);
        if (cancel)
            EXPECT_CALL(0, thrum_coro_cancel(co));
        const int err = thrum_coro_join(co, NULL);
        cr_expect_eq(err, cancel ? ECANCELED : ETIMEDOUT, "wait %d: %s", i, expect_name(err));
        thrum_coro_release(co);
    }
    return 0;
}

Test(coro_wait, every_one_ends_when_it_is_cancelled_and_at_its_deadline)
{
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    struct waits w = {.mutex = THRUM_MUTEX_INIT};
    int item = 0;
    config.item_size = sizeof item;
    config.capacity = 1;
    EXPECT_CALL(0, thrum_queue_create(&w.empty, &config));
    EXPECT_CALL(0, thrum_queue_create(&w.full, &config));
    EXPECT_CALL(0, thrum_queue_put(w.full, &item));
    EXPECT_CALL(0, thrum_future_create(&w.promise));
    EXPECT_CALL(0, thrum_waitgroup_add(&w.group, 1));
    cr_expect_eq(in_loop(end_each_wait, &w), 0);
    EXPECT_CALL(0, thrum_future_complete(w.promise, NULL));
    thrum_future_release(w.promise);
    thrum_queue_destroy(w.empty);
    thrum_queue_destroy(w.full);
}

/* --- destroyed by whom it let go --------------------------------------------------------------------- */

struct burial {
    struct graveyard graves;
    thrum_sem_t *sem;
    uint32_t ready;
    int rounds;
};

static int wait_and_bury(void *arg, void **result)
{
    struct burial *b = arg;
    (void)result;
    for (int i = 0; i < b->rounds; i++) {
        thrum_sem_t *sem = graveyard_rise(&b->graves, sizeof *sem);
        int err = thrum_sem_init(sem, 0);
        b->sem = sem;
        thi_store_release(&b->ready, 1u);
        if (err == 0)
            err = thrum_sem_acquire(sem);
        if (err != 0)
            return err;
        graveyard_bury(sem);
        yield_until(&b->ready, 0);
    }
    return 0;
}

static int let_go(void *arg, void **result)
{
    struct burial *b = arg;
    (void)result;
    for (int i = 0; i < b->rounds; i++) {
        while (thi_load_acquire(&b->ready) == 0)
            thrum_yield();
        thrum_sem_t *sem = b->sem;
        for (int pause = 0; pause < i % 64; pause++)
            thi_cpu_pause();
        if (thrum_sem_release(sem) != 0)
            return EPROTO;
        thi_store_release(&b->ready, 0u);
    }
    return 0;
}

static int let_go_in_thread(void *arg)
{
    return let_go(arg, NULL);
}

static int bury_in_one_loop(void *arg, void **result)
{
    (void)result;
    int err = thrum_go(NULL, let_go, arg);
    return err != 0 ? err : wait_and_bury(arg, NULL);
}

Test(coro_wait, what_let_a_coroutine_go_may_be_freed_by_it)
{
    struct burial b = {.rounds = 300};
    struct caller c;
    graveyard_open(&b.graves);
    caller_start(&c, let_go_in_thread, &b);
    cr_expect_eq(in_loop(wait_and_bury, &b), 0);
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(in_loop(bury_in_one_loop, &b), 0);
    graveyard_close(&b.graves);
}
