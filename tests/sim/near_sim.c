/*
 * Near waits: nobody is lost who waited near and was moved to the lot, whatever others do meanwhile, and nobody
 * who was woken there is taken for one that gave up.
 *
 * The loop is the test's own. Its coroutines are tasks, of which one has the turn at a time, as has the loop's
 * own task; so they run like coroutines of one thread, and what belongs to that thread needs no order. The
 * wakers of others find them in the way of wakers of coroutines: by a word that the loop looks at.
 */
#include <errno.h>
#include <string.h>

#include <thrum/semaphore.h>

#include "queues.h"

enum { NEAR_COS = 2, NEAR_LOOP = NEAR_COS };

struct near_world {
    thi_near_t near;
    struct near_co {
        struct near_world *w;
        thi_strand_t *strand; /* NULL: it has not begun */
        void (*body)(struct near_co *co);
        thrum_time_t deadline;
        int index;
        bool ready;
        bool blocked;
        bool ended;
        uint32_t woken; /* by others */
        int result;
    } cos[NEAR_COS];
    int turn;
    unsigned turns; /* until the loop has its own */
    thrum_queue_t *q;
    thrum_sem_t sem;
    unsigned got; /* the sum of what was */
};

/* ---- the loop --------------------------------------------------------------------------------------- */

static struct near_co *near_other(const struct near_co *co)
{
    return &co->w->cos[1 - co->index];
}

static bool near_goes_on(const struct near_co *co)
{
    return near_other(co)->ready && co->w->turns != 0;
}

static void near_pass(struct near_co *co)
{
    struct near_world *w = co->w;
    w->turn = near_goes_on(co) ? 1 - co->index : NEAR_LOOP;
    if (w->turn != NEAR_LOOP) {
        w->turns--;
        near_other(co)->ready = false;
    }
    while (!co->ended && w->turn != co->index)
        sim_yield();
}

static bool near_stays(const thi_strand_t *self)
{
    return near_goes_on(self->post);
}

static int near_stay(thi_strand_t *self, thrum_time_t deadline)
{
    struct near_co *co = self->post;
    co->deadline = deadline;
    co->blocked = true;
    near_pass(co);
    return sim_now() >= deadline ? ETIMEDOUT : 0;
}

static void near_ready(thi_strand_t *strand)
{
    struct near_co *co = strand->post;
    co->ready |= co->blocked;
    co->blocked = false;
}

static void near_wake(thi_strand_t *strand)
{
    struct near_co *co = strand->post;
    thi_store_release(&co->woken, 1u);
}

static void near_describe(const thi_strand_t *strand, char *name, size_t size)
{
    (void)strand;
    if (size != 0)
        name[0] = '\0';
}

static const thi_strand_kind_t near_kind = {.name = "near task",
                                            .block = near_stay,
                                            .wake = near_wake,
                                            .stays = near_stays,
                                            .stay = near_stay,
                                            .ready = near_ready,
                                            .describe = near_describe};

static void *near_runs(void *arg)
{
    struct near_co *co = arg;
    thi_strand_t *strand = thi_self();
    const thi_strand_kind_t *kind = strand->kind;
    strand->kind = &near_kind;
    strand->post = co;
    thi_current.near = &co->w->near;
    co->strand = strand;
    while (co->w->turn != co->index)
        sim_yield();
    co->body(co);
    co->ended = true;
    near_pass(co);
    thi_current.near = NULL;
    strand->kind = kind;
    return NULL;
}

/* Between two lines: as turn.c, take_post and wake_overdue. */
static void near_look_around(struct near_world *w)
{
    for (int i = 0; i < NEAR_COS; i++) {
        struct near_co *co = &w->cos[i];
        const bool woken = thi_swap_acq_rel(&co->woken, 0u) != 0;
        if (co->blocked && (woken || sim_now() >= co->deadline))
            near_ready(co->strand);
    }
}

static void near_loop(struct near_world *w)
{
    for (int i = 0; i < NEAR_COS; i++) {
        w->cos[i].w = w;
        w->cos[i].index = i;
        w->cos[i].ready = true;
        sim_spawn_kind(near_runs, &w->cos[i], SIM_STRAND);
    }
    while (!w->cos[0].ended || !w->cos[1].ended) {
        near_look_around(w);
        const int first = (int)sim_random(2);
        const int next = w->cos[first].ready ? first : 1 - first;
        if (!w->cos[next].ready || w->cos[next].strand == NULL) {
            sim_yield();
            continue;
        }
        w->cos[next].ready = false;
        w->turns = sim_random(4);
        w->turn = next;
        while (w->turn != NEAR_LOOP)
            sim_yield();
        thi_current.near = &w->near; /* of the thread */
        thi_near_end(&w->near);
        thi_current.near = NULL;
    }
    sim_check(w->near.count == 0);
}

static void near_begin(struct near_world *w, void (*first)(struct near_co *),
                       void (*second)(struct near_co *))
{
    memset(w, 0, sizeof *w);
    w->turn = NEAR_LOOP;
    w->cos[0].body = first;
    w->cos[1].body = second;
    sim_name(w, sizeof *w, "world");
}

/* ---- a queue ---------------------------------------------------------------------------------------- */

static void near_put(struct near_world *w, uint32_t item)
{
    sim_check(thrum_queue_put(w->q, &item) == 0);
}

static void near_get(struct near_world *w)
{
    uint32_t item = 0;
    sim_check(thrum_queue_get(w->q, &item) == 0);
    w->got += item;
}

static void near_gets_two(struct near_co *co)
{
    near_get(co->w);
    near_get(co->w);
}

static void near_puts_two(struct near_co *co)
{
    near_put(co->w, 1);
    near_put(co->w, 2);
}

static void *near_gets_elsewhere(void *arg)
{
    near_get(arg);
    return NULL;
}

static void *near_puts_elsewhere(void *arg)
{
    near_put(arg, 4);
    return NULL;
}

SIM_TEST(near, items_come_from_here_and_elsewhere, .tasks = 5, .schedules = 60000)
{
    struct near_world w;
    near_begin(&w, near_gets_two, near_puts_two);
    w.q = queue_make(THRUM_FIFO, sim_random(3), sizeof(uint32_t));
    sim_spawn(near_gets_elsewhere, &w);
    sim_spawn(near_puts_elsewhere, &w);
    near_loop(&w);
    sim_join_all();
    sim_check(w.got == 7);
    thrum_queue_destroy(w.q);
}

static void near_gets_for_a_while(struct near_co *co)
{
    uint32_t item = 0;
    const thrum_time_t deadline = sim_soon();
    co->result = thrum_queue_get_until(co->w->q, &item, deadline);
    if (!sim_gave_up(co->result, deadline))
        co->w->got += item;
}

static void near_puts_one(struct near_co *co)
{
    near_put(co->w, 1);
}

static void *near_cancels(void *arg)
{
    struct near_co *co = arg;
    while (co->strand == NULL)
        sim_yield();
    if (!co->ended)
        thi_strand_cancel(co->strand);
    return NULL;
}

/* Somebody else waits for what it leaves, and gets it without another put. */
SIM_TEST(near, a_wait_that_ends_otherwise_eats_no_item, .tasks = 5, .schedules = 60000)
{
    struct near_world w;
    near_begin(&w, near_gets_for_a_while, near_puts_one);
    w.q = queue_make(THRUM_FIFO, 1 + sim_random(2), sizeof(uint32_t));
    if (sim_random(2) == 0)
        sim_spawn(near_cancels, &w.cos[0]);
    sim_task *getter = sim_spawn(near_gets_elsewhere, &w);
    near_loop(&w);
    const bool got = w.cos[0].result == 0;
    if (got)
        near_put(&w, 4);
    sim_join(getter);
    sim_join_all();
    sim_check(w.got == (got ? 5 : 1));
    thrum_queue_destroy(w.q);
}

static void near_waits_for_an_item(struct near_co *co)
{
    uint32_t item = 0;
    co->result = thrum_queue_get(co->w->q, &item);
}

static void near_yields(struct near_co *co)
{
    for (int i = 0; i < 2; i++) {
        co->ready = true;
        near_pass(co);
    }
}

/* Nobody puts: the cancellation has to find it, near or in the lot. */
SIM_TEST(near, who_is_cancelled_is_woken, .tasks = 4, .schedules = 30000)
{
    struct near_world w;
    near_begin(&w, near_waits_for_an_item, near_yields);
    w.q = queue_make(THRUM_FIFO, 1, sizeof(uint32_t));
    sim_spawn(near_cancels, &w.cos[0]);
    near_loop(&w);
    sim_join_all();
    sim_check(w.cos[0].result == ECANCELED);
    thrum_queue_destroy(w.q);
}

/* ---- a semaphore ------------------------------------------------------------------------------------ */

static void near_acquires_two(struct near_co *co)
{
    for (int i = 0; i < 2; i++)
        sim_check(thrum_sem_acquire(&co->w->sem) == 0);
}

static void near_releases_two(struct near_co *co)
{
    for (int i = 0; i < 2; i++)
        sim_check(thrum_sem_release(&co->w->sem) == 0);
}

static void *near_acquires_elsewhere(void *arg)
{
    struct near_world *w = arg;
    sim_check(thrum_sem_acquire(&w->sem) == 0);
    return NULL;
}

static void *near_releases_elsewhere(void *arg)
{
    struct near_world *w = arg;
    sim_check(thrum_sem_release(&w->sem) == 0);
    return NULL;
}

SIM_TEST(near, permits_come_from_here_and_elsewhere, .tasks = 5, .schedules = 40000)
{
    struct near_world w;
    near_begin(&w, near_acquires_two, near_releases_two);
    w.sem = (thrum_sem_t)THRUM_SEM_INIT(0);
    sim_spawn(near_acquires_elsewhere, &w);
    sim_spawn(near_releases_elsewhere, &w);
    near_loop(&w);
    sim_join_all();
    sim_check(thrum_sem_value(&w.sem) == 0);
}
