/*
 * The spawner: one thread that forks workers, says how they ended, and kills what they leave behind. It does
 * nothing by itself but end when the parent has.
 */
#include "process/pool.h"

#define RETRY_US 500u /* until it is tried again to say what could not be said */

typedef struct born {
    int32_t pid; /* 0: none */
    int pidfd;
    uint32_t generation;
} born_t;

typedef struct spawner {
    thi_ppool_t *pool;
    thi_found_t *found;
    born_t *workers;
    int32_t *pids; /* to be kept by a sweep */
    thi_polled_t *polled;
    bool quits;
} spawner_t;

/* The parent is gone: so is everybody else. */
_Noreturn static void end_family(spawner_t *s)
{
    for (size_t i = 0; i < s->pool->workers; i++)
        if (s->workers[i].pid != 0)
            thi_family_kill(s->workers[i].pidfd);
    thi_family_sweep(NULL, 0);
    thi_family_leave(0);
}

/* The parent never waits to be heard, so it hears. */
static void tell(spawner_t *s, thi_message_t message, int fd)
{
    while (thi_family_tell(s->found->channel, &message, fd) != 0) {
        if (thi_family_ended(s->found->pidfd))
            end_family(s);
        thi_nap(RETRY_US);
    }
}

static void spawn(spawner_t *s, uint32_t slot, uint32_t generation)
{
    int32_t pid = 0;
    int pidfd = -1;
    const int err = thi_family_bear(s->found, &pid, &pidfd);
    if (err != 0) {
        tell(s, (thi_message_t){THI_SAY_FAILED, slot, generation, err, 0}, -1);
        return;
    }
    if (pid == 0) {
        for (size_t i = 0; i < s->pool->workers; i++)
            if (s->workers[i].pid != 0)
                (void)thi_fd_close(s->workers[i].pidfd);
        thi_ppool_work(s->pool, slot);
    }
    s->workers[slot].pid = pid;
    s->workers[slot].pidfd = pidfd;
    s->workers[slot].generation = generation;
    tell(s, (thi_message_t){THI_SAY_BORN, slot, generation, pid, 0}, pidfd);
}

static bool is_worker(const spawner_t *s, uint32_t slot, uint32_t generation)
{
    return slot < s->pool->workers && s->workers[slot].pid != 0 &&
           s->workers[slot].generation == generation;
}

static void obey(spawner_t *s, const thi_message_t *order)
{
    if (order->what == THI_SAY_SPAWN && order->slot < s->pool->workers &&
        s->workers[order->slot].pid == 0)
        spawn(s, order->slot, order->generation);
    else if (order->what == THI_SAY_KILL && is_worker(s, order->slot, order->generation))
        thi_family_kill(s->workers[order->slot].pidfd);
    else if (order->what == THI_SAY_QUIT)
        s->quits = true;
}

static size_t living(const spawner_t *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->pool->workers; i++)
        if (s->workers[i].pid != 0)
            s->pids[n++] = s->workers[i].pid;
    return n;
}

static void bury(spawner_t *s, uint32_t slot)
{
    thi_message_t message = {THI_SAY_DIED, slot, s->workers[slot].generation, 0, 0};
    if (!thi_family_reap(s->workers[slot].pid, &message.value, &message.signal))
        return;
    (void)thi_fd_close(s->workers[slot].pidfd);
    s->workers[slot].pid = 0;
    thi_family_sweep(s->pids, living(s));
    tell(s, message, -1);
}

static void hear(spawner_t *s)
{
    thi_message_t order;
    int err = 0;
    while ((err = thi_family_hear(s->found->channel, &order, NULL)) == 0)
        obey(s, &order);
    if (err != EAGAIN)
        end_family(s);
}

static void wait_for_something(spawner_t *s)
{
    size_t n = 0;
    s->polled[n++] = (thi_polled_t){s->found->channel, THI_POLL_IN, 0};
    s->polled[n++] = (thi_polled_t){s->found->pidfd, THI_POLL_IN, 0};
    for (size_t i = 0; i < s->pool->workers; i++)
        if (s->workers[i].pid != 0)
            s->polled[n++] = (thi_polled_t){s->workers[i].pidfd, THI_POLL_IN, 0};
    (void)thi_poll(s->polled, n, THRUM_FOREVER);
}

static bool has_ended(const spawner_t *s, uint32_t slot)
{
    for (size_t i = 2; i < s->pool->workers + 2; i++)
        if (s->polled[i].ready != 0 && s->polled[i].fd == s->workers[slot].pidfd)
            return true;
    return false;
}

static void turn(spawner_t *s)
{
    for (size_t i = 0; i < s->pool->workers + 2; i++)
        s->polled[i].ready = 0;
    wait_for_something(s);
    if (s->polled[1].ready != 0)
        end_family(s);
    for (uint32_t i = 0; i < s->pool->workers; i++)
        if (s->workers[i].pid != 0 && has_ended(s, i))
            bury(s, i);
    hear(s);
}

/* Those that need most first, so that each is aligned. */
size_t thi_ppool_spawner_size(const thi_ppool_t *pool)
{
    return (pool->workers + 2) * sizeof(thi_polled_t) +
           pool->workers * (sizeof(born_t) + sizeof(int32_t));
}

void thi_ppool_spawn(thi_ppool_t *pool, thi_found_t *found, void *memory)
{
    spawner_t s = {.pool = pool, .found = found, .polled = memory};
    s.workers = (born_t *)(void *)(s.polled + pool->workers + 2);
    s.pids = (int32_t *)(void *)(s.workers + pool->workers);
    thi_family_settle();
    thi_family_name("thrum-spawner");
    while (!s.quits || living(&s) != 0)
        turn(&s);
    thi_family_sweep(NULL, 0);
    thi_family_leave(0);
}
