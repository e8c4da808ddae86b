/*
 * The read-write lock: writers alone, readers together, phases that alternate, and nobody lost when
 * somebody gives up.
 */
#include <thrum/rwlock.h>

#include "sim.h"

struct rw_world {
    thrum_rwlock_t l;
    int readers;
    int writers;
    unsigned reads;
    unsigned writes;
    unsigned timeouts;
};

static void rw_begin(struct rw_world *w)
{
    *w = (struct rw_world){.l = THRUM_RWLOCK_INIT};
    sim_name(&w->l, sizeof w->l, "rwlock");
}

static void rw_read(struct rw_world *w)
{
    sim_check(w->writers == 0);
    w->readers++;
    sim_point();
    sim_check(w->writers == 0);
    w->readers--;
    w->reads++;
    sim_check(thrum_rwlock_rdunlock(&w->l) == 0);
}

static void rw_write(struct rw_world *w)
{
    sim_check(w->readers == 0 && w->writers++ == 0);
    sim_point();
    sim_check(w->readers == 0 && --w->writers == 0);
    w->writes++;
    sim_check(thrum_rwlock_wrunlock(&w->l) == 0);
}

/* Free again, and nothing left in the word that would make the next one wait. */
static void rw_end(struct rw_world *w)
{
    sim_join_all();
    sim_check(thrum_rwlock_trywrlock(&w->l) == 0);
    sim_check(thrum_rwlock_tryrdlock(&w->l) == EBUSY);
    sim_check(thrum_rwlock_downgrade(&w->l) == 0);
    sim_check(thrum_rwlock_tryrdlock(&w->l) == 0);
    sim_check(thrum_rwlock_rdunlock(&w->l) == 0 && thrum_rwlock_rdunlock(&w->l) == 0);
    sim_check(thrum_rwlock_rdunlock(&w->l) == EPERM && thrum_rwlock_wrunlock(&w->l) == EPERM);
    sim_check((w->l.thrum_word & ((UINT64_C(1) << 48) - 1)) == 0);
}

static void *rw_reader(void *arg)
{
    struct rw_world *w = arg;
    sim_check(thrum_rwlock_rdlock(&w->l) == 0);
    rw_read(w);
    return NULL;
}

static void *rw_writer(void *arg)
{
    struct rw_world *w = arg;
    sim_check(thrum_rwlock_wrlock(&w->l) == 0);
    rw_write(w);
    return NULL;
}

static void *rw_timed_reader(void *arg)
{
    struct rw_world *w = arg;
    const thrum_time_t deadline = sim_soon();
    const int err = thrum_rwlock_rdlock_until(&w->l, deadline);
    sim_check(err != ECANCELED);
    if (!sim_gave_up(err, deadline))
        rw_read(w);
    else
        w->timeouts++;
    return NULL;
}

static void *rw_timed_writer(void *arg)
{
    struct rw_world *w = arg;
    const thrum_time_t deadline = sim_soon();
    const int err = thrum_rwlock_wrlock_until(&w->l, deadline);
    sim_check(err != ECANCELED);
    if (!sim_gave_up(err, deadline))
        rw_write(w);
    else
        w->timeouts++;
    return NULL;
}

static void *rw_tries(void *arg)
{
    struct rw_world *w = arg;
    if (thrum_rwlock_tryrdlock(&w->l) == 0)
        rw_read(w);
    if (thrum_rwlock_trywrlock(&w->l) == 0)
        rw_write(w);
    return NULL;
}

static void *rw_downgrades(void *arg)
{
    struct rw_world *w = arg;
    sim_check(thrum_rwlock_wrlock(&w->l) == 0);
    sim_check(w->readers == 0 && w->writers++ == 0);
    sim_point();
    w->writers--;
    sim_check(thrum_rwlock_downgrade(&w->l) == 0);
    rw_read(w);
    return NULL;
}

SIM_TEST(rwlock, writer_against_reader, .tasks = 2, .dfs_bound = 3)
{
    struct rw_world w;
    rw_begin(&w);
    sim_spawn(rw_writer, &w);
    rw_reader(&w);
    rw_end(&w);
    sim_check(w.reads == 1 && w.writes == 1);
}

SIM_TEST(rwlock, writer_against_writer, .tasks = 2, .dfs_bound = 3)
{
    struct rw_world w;
    rw_begin(&w);
    sim_spawn(rw_writer, &w);
    rw_writer(&w);
    rw_end(&w);
    sim_check(w.writes == 2);
}

SIM_TEST(rwlock, readers_and_writers, .tasks = 5)
{
    struct rw_world w;
    rw_begin(&w);
    sim_spawn(rw_writer, &w);
    sim_spawn(rw_reader, &w);
    sim_spawn(rw_writer, &w);
    sim_spawn(rw_reader, &w);
    rw_reader(&w);
    rw_writer(&w);
    rw_end(&w);
    sim_check(w.reads == 3 && w.writes == 3);
}

SIM_TEST(rwlock, who_gives_up_leaves_no_mark, .tasks = 6, .schedules = 100000)
{
    struct rw_world w;
    rw_begin(&w);
    sim_spawn(rw_timed_writer, &w);
    sim_spawn(rw_timed_reader, &w);
    sim_spawn(rw_writer, &w);
    sim_spawn(rw_reader, &w);
    sim_spawn(rw_timed_writer, &w);
    rw_timed_reader(&w);
    rw_reader(&w);
    rw_end(&w);
    sim_check(w.reads + w.writes + w.timeouts == 7);
}

/* A writer that has closed the door and gives up must let in whom it kept outside. */
SIM_TEST(rwlock, a_writer_gives_up_behind_a_reader, .tasks = 3, .dfs_bound = 2)
{
    struct rw_world w;
    rw_begin(&w);
    sim_check(thrum_rwlock_rdlock(&w.l) == 0);
    sim_task *writer = sim_spawn(rw_timed_writer, &w);
    sim_task *reader = sim_spawn(rw_reader, &w);
    if (sim_random(2) == 0) {
        sim_join(writer);
        sim_join(reader);
    }
    sim_check(w.writes == 0);
    rw_read(&w);
    rw_end(&w);
    sim_check(w.reads == 2 && w.writes + w.timeouts == 1);
}

SIM_TEST(rwlock, locking_is_not_cancellable, .tasks = 6)
{
    struct rw_world w;
    rw_begin(&w);
    sim_check(thrum_rwlock_wrlock(&w.l) == 0);
    sim_spawn(sim_canceller, sim_spawn(rw_reader, &w));
    sim_spawn(sim_canceller, sim_spawn(rw_writer, &w));
    rw_write(&w);
    rw_end(&w);
}

SIM_TEST(rwlock, downgrade_lets_readers_in, .tasks = 5)
{
    struct rw_world w;
    rw_begin(&w);
    sim_spawn(rw_downgrades, &w);
    sim_spawn(rw_reader, &w);
    sim_spawn(rw_writer, &w);
    sim_spawn(rw_tries, &w);
    rw_reader(&w);
    rw_end(&w);
}

/* ------------------------------------------------------------------------------------------------
 * Phases
 */

/* Two of them need never be outside at once, as each gives way only when it is inside. */
static void *rw_reads_all_the_time(void *arg)
{
    struct rw_world *w = arg;
    while (w->writes == 0) {
        sim_check(thrum_rwlock_rdlock(&w->l) == 0);
        sim_check(w->writers == 0);
        sim_yield();
        sim_check(thrum_rwlock_rdunlock(&w->l) == 0);
    }
    return NULL;
}

SIM_TEST(rwlock, readers_do_not_starve_a_writer, .tasks = 4)
{
    struct rw_world w;
    rw_begin(&w);
    sim_spawn(rw_reads_all_the_time, &w);
    sim_spawn(rw_reads_all_the_time, &w);
    sim_spawn(rw_writer, &w);
    rw_end(&w);
}

static void *rw_writes_all_the_time(void *arg)
{
    struct rw_world *w = arg;
    while (w->reads == 0) {
        sim_check(thrum_rwlock_wrlock(&w->l) == 0);
        sim_cling(false);
        sim_check(w->writers++ == 0);
        sim_yield();
        w->writers--;
        sim_cling(true);
        sim_check(thrum_rwlock_wrunlock(&w->l) == 0);
    }
    sim_cling(false);
    return NULL;
}

SIM_TEST(rwlock, writers_do_not_starve_a_reader, .tasks = 4)
{
    struct rw_world w;
    rw_begin(&w);
    sim_spawn(rw_writes_all_the_time, &w);
    sim_spawn(rw_writes_all_the_time, &w);
    sim_spawn(rw_reader, &w);
    rw_end(&w);
}

/* One writer again and again, each time for longer than the bound on barging; another gets in. */
static void *rw_hog(void *arg)
{
    struct rw_world *w = arg;
    sim_check(thrum_rwlock_wrlock(&w->l) == 0);
    while (w->writes == 0) {
        sim_yield();
        sim_check(thrum_sleep(THRUM_MUTEX_BARGE_NS) == 0);
        sim_yield();
        sim_cling(true);
        sim_check(thrum_rwlock_wrunlock(&w->l) == 0);
        sim_check(thrum_rwlock_wrlock(&w->l) == 0);
        sim_cling(false);
    }
    sim_check(thrum_rwlock_wrunlock(&w->l) == 0);
    return NULL;
}

SIM_TEST(rwlock, a_hog_lets_another_writer_in, .tasks = 3)
{
    struct rw_world w;
    rw_begin(&w);
    sim_spawn(rw_hog, &w);
    sim_spawn(rw_writer, &w);
    rw_end(&w);
}

/* ------------------------------------------------------------------------------------------------
 * Freeing
 */

struct rw_object {
    thrum_rwlock_t l;
    int users;
};

static void *rw_user(void *arg)
{
    struct rw_object *object = arg;
    sim_check(thrum_rwlock_wrlock(&object->l) == 0);
    const bool last = --object->users == 0;
    sim_check(thrum_rwlock_wrunlock(&object->l) == 0);
    if (last)
        sim_poison(object, sizeof *object);
    return NULL;
}

/* Reads first; as the writers come after the readers before them, the count is the writers'
 * alone. */
static void *rw_reading_user(void *arg)
{
    struct rw_object *object = arg;
    sim_check(thrum_rwlock_rdlock(&object->l) == 0);
    sim_check(object->users > 0);
    sim_check(thrum_rwlock_rdunlock(&object->l) == 0);
    return rw_user(arg);
}

SIM_TEST(rwlock, the_last_user_frees_it, .tasks = 4)
{
    struct rw_object object = {THRUM_RWLOCK_INIT, 4};
    sim_name(&object, sizeof object, "object");
    sim_spawn(rw_user, &object);
    sim_spawn(rw_reading_user, &object);
    sim_spawn(rw_reading_user, &object);
    rw_user(&object);
    sim_join_all();
}

SIM_TEST(rwlock, two_users_and_free, .tasks = 2, .dfs_bound = 3)
{
    struct rw_object object = {THRUM_RWLOCK_INIT, 2};
    sim_name(&object, sizeof object, "object");
    sim_spawn(rw_user, &object);
    rw_reading_user(&object);
    sim_join_all();
}
