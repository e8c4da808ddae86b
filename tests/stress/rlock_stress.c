/*
 * Recursive lock: as a mutex at the outermost lock, and a depth that only its owner sees.
 */
#include "stress/stress.h"

#define TINY_NS 60000u
#define DEPTH_MAX 6u

struct tree {
    thrum_rlock_t lock;
    unsigned inside; /* plain, like all that follows but the last */
    uint64_t left;
    uint64_t right;
    uint64_t got;
};

static int lock_somehow(thrum_rlock_t *lock, struct chance *chance)
{
    switch (chance_below(chance, 4)) {
    case 0:
        return thrum_rlock_trylock(lock);
    case 1:
        return thrum_rlock_lock_until(lock, chance_deadline(chance, TINY_NS));
    default:
        return thrum_rlock_lock(lock);
    }
}

/* The owner goes in and out of it at random; it never waits for itself, and never times out. */
static void wander(struct tree *t, struct chance *chance)
{
    unsigned depth = 1;
    while (depth != 0) {
        CHECK(thrum_rlock_owned(&t->lock));
        CHECK(thrum_rlock_depth(&t->lock) == depth);
        if (depth < DEPTH_MAX && chance_one_in(chance, 3)) {
            CHECK(lock_somehow(&t->lock, chance) == 0);
            depth++;
        } else if (depth-- != 1) {
            CHECK(thrum_rlock_unlock(&t->lock) == 0);
        }
    }
}

static void use(struct tree *t, struct chance *chance)
{
    CHECK(t->inside++ == 0);
    CHECK(t->left == t->right);
    t->left++;
    wander(t, chance);
    chance_dawdle(chance);
    t->right++;
    t->inside--;
    __atomic_fetch_add(&t->got, 1u, __ATOMIC_RELAXED);
    CHECK(thrum_rlock_unlock(&t->lock) == 0);
}

static void visitor(struct member *self)
{
    struct tree *t = self->shared;
    while (member_goes_on(self)) {
        CHECK(!thrum_rlock_owned(&t->lock) && thrum_rlock_depth(&t->lock) == 0);
        CHECK(thrum_rlock_unlock(&t->lock) == EPERM); /* somebody's perhaps, but not ours */
        const int err = lock_somehow(&t->lock, &self->chance);
        CHECK(err == 0 || err == EBUSY || err == ETIMEDOUT);
        if (err == 0)
            use(t, &self->chance);
    }
}

static void run_tree(unsigned n, thrum_time_t until)
{
    struct tree t = {.lock = THRUM_RLOCK_INIT};
    team_run(n, visitor, &t, until);
    CHECK(t.left == t.got && t.right == t.got);
    CHECK(!thrum_rlock_locked(&t.lock));
    CHECK(thrum_rlock_trylock(&t.lock) == 0);
    CHECK(thrum_rlock_depth(&t.lock) == 1);
    CHECK(thrum_rlock_unlock(&t.lock) == 0);
    thrum_rlock_destroy(&t.lock);
}

static void visitors_2(thrum_time_t until)
{
    run_tree(2, until);
}

static void visitors_4(thrum_time_t until)
{
    run_tree(4, until);
}

static void visitors_16(thrum_time_t until)
{
    run_tree(16, until);
}

/* Threads that come and go: an id of a former life must not own anything. */
static void once_only(struct member *self)
{
    struct tree *t = self->shared;
    CHECK(!thrum_rlock_owned(&t->lock));
    CHECK(thrum_rlock_lock(&t->lock) == 0);
    use(t, &self->chance);
    CHECK(!thrum_rlock_owned(&t->lock));
}

static void short_lives(thrum_time_t until)
{
    struct tree t = {.lock = THRUM_RLOCK_INIT};
    uint64_t threads = 0;
    do {
        team_run(4, once_only, &t, until);
        threads += 4;
    } while (thrum_now() < until);
    CHECK(t.left == threads && t.got == threads);
}

static const struct stress_case cases[] = {
    {"2 threads", visitors_2},
    {"4 threads", visitors_4},
    {"16 threads", visitors_16},
    {"threads that come and go", short_lives},
};

STRESS_MAIN(cases)
