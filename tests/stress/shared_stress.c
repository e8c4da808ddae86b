/*
 * Processes that share memory and locks, some of which are killed all the time. One lives: it would see a
 * wake-up that is lost, a lock that stays locked, and blocks that are not what they were.
 */
#include <thrum/shared.h>
#include <thrum/shared_lock.h>

#include "process/process.h"
#include "stress/stress.h"
#include "support/victim.h"

#define MORTALS 3u
#define SLOTS 8u
#define PATIENCE THRUM_S(15)

struct shared {
    thrum_shared_mutex_t mutex;
    thrum_shared_rlock_t rlock;
    thrum_shared_sem_t sem;
    thrum_shared_sem_t bounded;
    thrum_shared_event_t event;
    thrum_shared_cond_t cond;
    uint32_t stop; /* 1: who sleeps; 2: all */
    uint32_t failures;
    uint64_t progress;
    uint64_t a, b; /* equal, under the mutex */
    uint64_t c, d; /* under the recursive lock */
    uint32_t flag; /* under the mutex; the condition */
    uint64_t slots[MORTALS + 1][SLOTS];
};

struct scene {
    thrum_shared_t *arena;
    struct shared *s;
    unsigned index;
    struct chance chance;
};

static void check_in_child(struct shared *s, bool ok, const char *what)
{
    if (!ok && thi_fetch_add_relaxed(&s->failures, 1u) < 5)
        fprintf(stderr, "shared: %s\n", what);
}

static bool is_held(int err)
{
    return err == 0 || err == EOWNERDEAD;
}

/* Locks as others do: one was killed, and what it did half is done. */
static bool lock(struct shared *s)
{
    const int err = thrum_shared_mutex_lock_until(&s->mutex, thrum_after(PATIENCE));
    check_in_child(s, is_held(err), "the mutex stays locked");
    if (err == EOWNERDEAD)
        s->b = s->a;
    check_in_child(s, !is_held(err) || s->a == s->b, "somebody was let in");
    return is_held(err);
}

static void use_mutex(struct scene *c)
{
    struct shared *s = c->s;
    if (!lock(s))
        return;
    s->a++;
    chance_dawdle(&c->chance);
    s->b++;
    check_in_child(s, thrum_shared_mutex_unlock(&s->mutex) == 0, "unlock");
}

static void use_rlock(struct scene *c)
{
    struct shared *s = c->s;
    const int err = thrum_shared_rlock_lock_until(&s->rlock, thrum_after(PATIENCE));
    check_in_child(s, is_held(err), "the recursive lock stays locked");
    if (!is_held(err))
        return;
    if (err == EOWNERDEAD)
        s->d = s->c;
    check_in_child(s, s->c == s->d, "somebody was let in, again");
    s->c++;
    check_in_child(s, thrum_shared_rlock_lock(&s->rlock) == 0, "lock again");
    s->d++;
    thrum_shared_rlock_unlock(&s->rlock);
    thrum_shared_rlock_unlock(&s->rlock);
}

static void use_memory(struct scene *c)
{
    uint64_t *slot = &c->s->slots[c->index][chance_below(&c->chance, SLOTS)];
    if (*slot != 0) {
        thi_shared_free_from(c->arena, slot, 0);
    } else if (thi_shared_alloc_into(c->arena, 1 + chance_below(&c->chance, 5000), slot) == 0) {
        const size_t room = thi_shared_room(c->arena, *slot);
        unsigned char *memory = thrum_shared_pointer(c->arena, *slot);
        memset(memory, (int)c->index, room);
        chance_dawdle(&c->chance);
        for (size_t i = 0; i < room; i += 61)
            check_in_child(c->s, memory[i] == c->index, "a block is another's, too");
    }
}

/* What nobody does twice: should whoever sleeps not be told, nobody else tells it. */
static void tell(struct scene *c)
{
    struct shared *s = c->s;
    if (thrum_shared_sem_value(&s->sem) == 0)
        thrum_shared_sem_release(&s->sem);
    if (thrum_shared_sem_value(&s->bounded) == 0)
        thrum_shared_sem_release(&s->bounded);
    if (!thrum_shared_event_is_set(&s->event))
        thrum_shared_event_set(&s->event);
    if (lock(s)) {
        s->flag = 1;
        thrum_shared_mutex_unlock(&s->mutex);
        thrum_shared_cond_signal(&s->cond);
    }
}

static int mortal(void *arg)
{
    struct scene *c = arg;
    c->chance = chance_begin();
    alarm(0); /* who started it looks after it */
    while (thi_load_relaxed(&c->s->stop) < 2) {
        use_mutex(c);
        use_rlock(c);
        use_memory(c);
        tell(c);
        thi_fetch_add_relaxed(&c->s->progress, 1u);
    }
    return 0;
}

static void await_flag(struct shared *s)
{
    const thrum_time_t deadline = thrum_after(PATIENCE);
    bool held = lock(s);
    while (held && s->flag == 0) {
        const int err = thrum_shared_cond_wait_until(&s->cond, &s->mutex, deadline);
        check_in_child(s, is_held(err), "a signal is lost");
        if (err == EOWNERDEAD)
            s->b = s->a;
        held = thrum_shared_mutex_owned(&s->mutex) && is_held(err);
    }
    if (held)
        s->flag = 0;
    if (thrum_shared_mutex_owned(&s->mutex))
        thrum_shared_mutex_unlock(&s->mutex);
}

/* Sleeps, and expects to be told. */
static int sleeper(void *arg)
{
    struct scene *c = arg;
    struct shared *s = c->s;
    c->chance = chance_begin();
    alarm(0);
    while (thi_load_relaxed(&s->stop) == 0) {
        const thrum_time_t deadline = thrum_after(PATIENCE);
        check_in_child(s, thrum_shared_sem_acquire_until(&s->sem, deadline) == 0,
                       "a permit is lost");
        check_in_child(s, thrum_shared_sem_acquire_until(&s->bounded, deadline) == 0,
                       "a permit of the bounded one is lost");
        check_in_child(s, thrum_shared_event_wait_until(&s->event, deadline) == 0,
                       "an event is lost");
        thrum_shared_event_clear(&s->event);
        await_flag(s);
        use_mutex(c);
        use_memory(c);
        thi_fetch_add_relaxed(&s->progress, 1u);
    }
    return 0;
}

static struct scene make(void)
{
    struct scene c = {0};
    if (thrum_shared_create(&c.arena, NULL) != 0 ||
        thrum_shared_alloc(c.arena, sizeof *c.s, (void **)&c.s) != 0 ||
        thrum_shared_mutex_init(&c.s->mutex) != 0 || thrum_shared_rlock_init(&c.s->rlock) != 0 ||
        thrum_shared_sem_init(&c.s->sem, 0, 0) != 0 ||
        thrum_shared_sem_init(&c.s->bounded, 0, 3) != 0)
        abort();
    return c;
}

/* All blocks that slots name are given back: there are no others. */
static void judge(struct scene *c, size_t used)
{
    for (unsigned i = 0; i <= MORTALS; i++)
        for (unsigned j = 0; j < SLOTS; j++)
            if (c->s->slots[i][j] != 0)
                thi_shared_free_from(c->arena, &c->s->slots[i][j], 0);
    CHECK(thi_shared_sound(c->arena));
    CHECK(thrum_shared_used(c->arena) == used);
    CHECK(c->s->failures == 0);
    thrum_shared_destroy(c->arena);
}

static void killer(thrum_time_t until)
{
    struct scene c = make();
    struct chance chance = chance_begin();
    struct scene roles[MORTALS + 1];
    const size_t used = thrum_shared_used(c.arena);
    pid_t pids[MORTALS + 1];
    for (unsigned i = 0; i <= MORTALS; i++) {
        roles[i] = c;
        roles[i].index = i;
        pids[i] = victim_start(i == MORTALS ? sleeper : mortal, &roles[i]);
    }
    for (uint64_t before = 0; thrum_now() < until;) {
        const unsigned i = chance_below(&chance, MORTALS);
        thi_nap(chance_below(&chance, 5000));
        victim_kill(pids[i]);
        pids[i] = victim_start(mortal, &roles[i]);
        const uint64_t progress = thi_load_relaxed(&c.s->progress);
        if (progress != before)
            watchdog_progress();
        before = progress;
    }
    thi_store_relaxed(&c.s->stop, 1u);
    CHECK(victim_end(pids[MORTALS]) == 0);
    thi_store_relaxed(&c.s->stop, 2u);
    for (unsigned i = 0; i < MORTALS; i++)
        CHECK(victim_end(pids[i]) == 0);
    judge(&c, used);
}

static void thread_mortal(struct member *m)
{
    struct scene c = *(struct scene *)m->shared;
    c.index = m->index;
    do {
        use_mutex(&c);
        use_rlock(&c);
        use_memory(&c);
        tell(&c);
    } while (member_goes_on(m));
}

/* The same as threads of one process. */
static void threads(thrum_time_t until)
{
    struct scene c = make();
    const size_t used = thrum_shared_used(c.arena);
    c.chance = chance_begin();
    team_run(MORTALS, thread_mortal, &c, until);
    judge(&c, used);
}

/* Parties with little patience: either all of them met, or none did, and one at least has given up. */
struct meeting {
    thrum_shared_barrier_t barrier;
    thrum_shared_barrier_t
        beside; /* where they all meet for certain, before and after they are judged */
    int results[MORTALS];
    bool stop;
};

static void judge_meeting(struct meeting *s)
{
    unsigned met = 0, gave_up = 0;
    for (unsigned i = 0; i < MORTALS; i++) {
        met += s->results[i] == 0;
        gave_up += s->results[i] == ETIMEDOUT;
        CHECK(s->results[i] == 0 || s->results[i] == ETIMEDOUT || s->results[i] == EPIPE);
    }
    CHECK(met == MORTALS || (met == 0 && gave_up != 0));
    CHECK(thrum_shared_barrier_broken(&s->barrier) == (met == 0));
    CHECK(thrum_shared_barrier_reset(&s->barrier) == 0);
}

static void party(struct member *m)
{
    struct meeting *s = m->shared;
    bool stop = false;
    while (!stop) {
        chance_dawdle(&m->chance);
        s->results[m->index] =
            thrum_shared_barrier_wait_until(&s->barrier, NULL, chance_deadline(&m->chance, 100000));
        CHECK(thrum_shared_barrier_wait(&s->beside, NULL) == 0);
        if (m->index == 0) {
            judge_meeting(s);
            s->stop = !member_goes_on(m);
        }
        CHECK(thrum_shared_barrier_wait(&s->beside, NULL) == 0);
        stop = s->stop;
    }
}

static void parties(thrum_time_t until)
{
    struct meeting *s = victim_memory(sizeof *s);
    if (thrum_shared_barrier_init(&s->barrier, MORTALS) != 0 ||
        thrum_shared_barrier_init(&s->beside, MORTALS) != 0)
        abort();
    team_run(MORTALS, party, s, until);
    munmap(s, sizeof *s);
}

/* ThreadSanitizer knows of one process only. */
#if defined(__SANITIZE_THREAD__) || defined(THI_CLANG_TSAN)
#define HAS_PROCESSES 0
#else
#define HAS_PROCESSES 1
#endif

static void processes(thrum_time_t until)
{
    if (HAS_PROCESSES)
        killer(until);
}

static const struct stress_case cases[] = {
    {"processes that are killed", processes},
    {"threads", threads},
    {"parties of a barrier", parties},
};

STRESS_MAIN(cases)
