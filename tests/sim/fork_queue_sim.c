/*
 * A queue in the child of a fork: its descriptor. The simulation does not fork; what a fork changes is the mark
 * of the process.
 */
#include "queue/core.h"
#include "queues.h"

struct heir {
    thrum_queue_t *q;
    int fd;
};

static void *heir_opens(void *arg)
{
    struct heir *h = arg;
    sim_check(thrum_queue_fd(h->q, &h->fd) == 0);
    return NULL;
}

static void *heir_gets(void *arg)
{
    const struct heir *h = arg;
    uint32_t item = 0;
    sim_check(thrum_queue_tryget(h->q, &item) == 0);
    return NULL;
}

static void heir_settles(struct heir *h)
{
    uint32_t item = 0;
    sim_check(sim_signal(h->fd) == (thrum_queue_size(h->q) != 0));
    sim_check(thrum_queue_put(h->q, &item) == 0 && sim_signal(h->fd));
    while (thrum_queue_tryget(h->q, &item) == 0)
        continue;
    sim_check(!sim_signal(h->fd));
    thrum_queue_destroy(h->q);
}

/* One who gets what is there, one who puts, and one who opens. */
SIM_TEST(fork_queue, a_childs_descriptor_is_looked_after_by_one, .tasks = 3, .dfs_bound = 3,
         .dfs_schedules = 60000, .schedules = 60000)
{
    const uint32_t mark = thi_fork_mark;
    const uint32_t process = thi_process;
    uint32_t item = 1;
    struct heir h = {queue_make(THRUM_FIFO, sim_random(2) * 4, 4), -1};
    sim_check(thrum_queue_fd(h.q, &h.fd) == 0);
    sim_check(thrum_queue_put(h.q, &item) == 0);
    thi_fork_mark = mark % 15u + 1u;
    thi_process = thi_fork_mark << THI_PROCESS_MARK_SHIFT | THI_PROCESS_CHILD | THI_PROCESS_MANY;
    thi_fifo_after_fork();
    sim_spawn(heir_opens, &h);
    sim_spawn(heir_gets, &h);
    sim_check(thrum_queue_put(h.q, &item) == 0);
    sim_join_all();
    heir_settles(&h);
    thi_fork_mark = mark;
    thi_process = process;
}
