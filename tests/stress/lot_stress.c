/*
 * The parking lot: hundreds of objects that share buckets, threads that come and go so that records
 * are used again, and a table that grows while others wait in it. It grows only once to a size in a
 * process: that case runs in processes of its own ("lot_stress <seconds> grow").
 */
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/stress.h"

#define TINY_NS 60000u
#define ROOMS 150u
#define VISITS 40u
#define ALIVE 24u

/* One of everything that can be waited for. */
struct room {
    thrum_mutex_t mutex;
    thrum_cond_t cond;
    thrum_rwlock_t rwlock;
    thrum_sem_t sem;   /* of one permit */
    uint64_t by_mutex; /* all plain */
    uint64_t by_rwlock;
    uint64_t by_sem;
    unsigned notes;
};

struct house {
    struct room rooms[ROOMS];
    unsigned used; /* how many of them */
    uint64_t by_mutex;
    uint64_t by_rwlock;
    uint64_t by_sem;
};

static void count(uint64_t *counter)
{
    __atomic_fetch_add(counter, 1u, __ATOMIC_RELAXED);
}

static void use_mutex(struct house *h, struct room *room, struct chance *chance)
{
    const thrum_time_t deadline =
        chance_one_in(chance, 4) ? chance_deadline(chance, TINY_NS) : THRUM_FOREVER;
    const int err = thrum_mutex_lock_until(&room->mutex, deadline);
    CHECK(err == 0 || err == ETIMEDOUT);
    if (err != 0)
        return;
    room->by_mutex++;
    chance_dawdle(chance);
    CHECK(thrum_mutex_unlock(&room->mutex) == 0);
    count(&h->by_mutex);
}

static void use_rwlock(struct house *h, struct room *room, struct chance *chance)
{
    if (chance_one_in(chance, 2)) {
        CHECK(thrum_rwlock_rdlock(&room->rwlock) == 0);
        const uint64_t before = room->by_rwlock;
        chance_dawdle(chance);
        CHECK(room->by_rwlock == before);
        CHECK(thrum_rwlock_rdunlock(&room->rwlock) == 0);
        return;
    }
    const thrum_time_t deadline =
        chance_one_in(chance, 4) ? chance_deadline(chance, TINY_NS) : THRUM_FOREVER;
    if (thrum_rwlock_wrlock_until(&room->rwlock, deadline) != 0)
        return;
    room->by_rwlock++;
    chance_dawdle(chance);
    CHECK(thrum_rwlock_wrunlock(&room->rwlock) == 0);
    count(&h->by_rwlock);
}

static void use_sem(struct house *h, struct room *room, struct chance *chance)
{
    const thrum_time_t deadline =
        chance_one_in(chance, 4) ? chance_deadline(chance, TINY_NS) : THRUM_FOREVER;
    const int err = thrum_sem_acquire_until(&room->sem, deadline);
    CHECK(err == 0 || err == ETIMEDOUT);
    if (err != 0)
        return;
    room->by_sem++;
    chance_dawdle(chance);
    CHECK(thrum_sem_release(&room->sem) == 0);
    count(&h->by_sem);
}

/* Leaves a note, or waits a little for one: sleepers that are moved from one bucket to another. */
static void use_cond(struct room *room, struct chance *chance)
{
    CHECK(thrum_mutex_lock(&room->mutex) == 0);
    if (chance_one_in(chance, 2)) {
        room->notes++;
        thrum_cond_signal(&room->cond);
        chance_dawdle(chance);
    } else {
        int err = 0;
        while (room->notes == 0 && err == 0)
            err = thrum_cond_wait_until(&room->cond, &room->mutex,
                                        chance_deadline(chance, TINY_NS * 10));
        CHECK(err == 0 || err == ETIMEDOUT);
        room->notes -= room->notes != 0;
    }
    CHECK(thrum_mutex_unlock(&room->mutex) == 0);
}

static void visit(struct house *h, struct chance *chance)
{
    struct room *room = &h->rooms[chance_below(chance, h->used)];
    switch (chance_below(chance, 4)) {
    case 0:
        use_mutex(h, room, chance);
        break;
    case 1:
        use_rwlock(h, room, chance);
        break;
    case 2:
        use_sem(h, room, chance);
        break;
    default:
        use_cond(room, chance);
    }
    watchdog_progress();
}

static void visitor(struct member *self)
{
    for (unsigned i = 0; i < VISITS; i++)
        visit(self->shared, &self->chance);
}

static struct house *open_house(unsigned used)
{
    struct house *h = calloc(1, sizeof *h);
    if (h == NULL)
        abort();
    h->used = used;
    for (unsigned i = 0; i < used; i++)
        CHECK(thrum_sem_init(&h->rooms[i].sem, 1) == 0);
    return h;
}

static void close_house(struct house *h)
{
    uint64_t by_mutex = 0;
    uint64_t by_rwlock = 0;
    uint64_t by_sem = 0;
    for (unsigned i = 0; i < h->used; i++) {
        struct room *room = &h->rooms[i];
        by_mutex += room->by_mutex;
        by_rwlock += room->by_rwlock;
        by_sem += room->by_sem;
        CHECK(thrum_mutex_trylock(&room->mutex) == 0);
        CHECK(thrum_rwlock_trywrlock(&room->rwlock) == 0);
        CHECK(thrum_sem_value(&room->sem) == 1);
        CHECK(thrum_mutex_unlock(&room->mutex) == 0);
        CHECK(thrum_rwlock_wrunlock(&room->rwlock) == 0);
    }
    CHECK(by_mutex == h->by_mutex && by_rwlock == h->by_rwlock && by_sem == h->by_sem);
    free(h);
}

/* ------------------------------------------------------------------------------------------------
 * Threads that come and go: each takes over the record of one before it, which may still be woken
 */

static void run_lives(unsigned rooms, thrum_time_t until)
{
    struct house *h = open_house(rooms);
    struct member members[ALIVE];
    team_start(members, ALIVE, visitor, h, until);
    unsigned next = 0;
    while (thrum_now() < until) {
        member_join(&members[next]);
        member_start(&members[next], visitor, h, next, until);
        next = (next + 1) % ALIVE;
    }
    team_join(members, ALIVE);
    close_house(h);
}

static void many_rooms(thrum_time_t until)
{
    run_lives(ROOMS, until);
}

static void few_rooms(thrum_time_t until)
{
    run_lives(4, until);
}

/* ------------------------------------------------------------------------------------------------
 * The table grows while its buckets are in use
 */

#define GROWN 180u /* more than the first table has buckets */

static uint32_t started;

/* Nobody leaves before all are there, or records would be used again and the table stay as it is. */
static void growing_visitor(struct member *self)
{
    __atomic_fetch_add(&started, 1u, __ATOMIC_RELAXED);
    do
        visit(self->shared, &self->chance);
    while (__atomic_load_n(&started, __ATOMIC_RELAXED) != GROWN);
}

static int grow(void)
{
    struct house *h = open_house(8);
    static struct member members[GROWN];
    team_start(members, GROWN, growing_visitor, h, THRUM_FOREVER);
    team_join(members, GROWN);
    CHECK(thi_strand_slots() >= GROWN);
    close_house(h);
    return __atomic_load_n(&stress_failures, __ATOMIC_RELAXED) != 0;
}

extern char **environ;

/* However long it takes: the child has a watchdog of its own. */
static int await_child(pid_t pid)
{
    const struct timespec nap = {0, 1000000};
    int status = -1;
    pid_t ended = 0;
    while ((ended = waitpid(pid, &status, WNOHANG)) == 0) {
        watchdog_progress();
        nanosleep(&nap, NULL);
    }
    return ended == pid ? status : -1;
}

static void growth(thrum_time_t until)
{
    char *argv[] = {"lot_stress", "0", "grow", NULL};
    do {
        pid_t pid = 0;
        CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) == 0);
        CHECK(await_child(pid) == 0);
        watchdog_progress();
    } while (thrum_now() < until);
}

static const struct stress_case cases[] = {
    {"the table grows", growth},
    {"threads come and go, 600 objects", many_rooms},
    {"threads come and go, 16 objects", few_rooms},
};

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[2], "grow") == 0) {
        watchdog_start();
        return grow();
    }
    return stress_main(argc, argv, cases, (unsigned)(sizeof cases / sizeof *cases));
}
