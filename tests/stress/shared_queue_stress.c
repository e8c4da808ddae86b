/*
 * Producers and consumers in processes of their own, of which a random one is killed, or stopped for a moment,
 * again and again. At the end every item whose put returned was got once, but for at most one for each consumer
 * that was killed; none twice; and nothing is left in the arena.
 *
 * Under ThreadSanitizer the same with threads, of which none is killed: what it sees is one process.
 */
#include "stress.h"

#include <thrum/shared_queue.h>

#include "process/shared_queue.h"
#include "stress/people.h"

#define PRODUCERS 2u
#define CONSUMERS 2u
#define PEOPLE (PRODUCERS + CONSUMERS)
#define ITEMS_MAX (1u << 22)
#define SIZE_MAX_OF_ITEM 3000u

/* What became of an item. */
#define PUT 1u /* its put returned */
#define GOT 2u /* and more: how often it was got */

struct ledger {
    uint32_t next;
    uint32_t stop; /* no more puts */
    uint8_t items[ITEMS_MAX];
};

static struct ledger *ledger;
static thrum_shared_t *arena;
static thrum_shared_queue_t *q;

struct item {
    uint32_t id;
    uint32_t producer;
};

static int produce(struct person *p)
{
    unsigned char bytes[SIZE_MAX_OF_ITEM] = {0};
    struct chance chance = {p->seed};
    while (__atomic_load_n(&ledger->stop, __ATOMIC_RELAXED) == 0) {
        const uint32_t id = __atomic_fetch_add(&ledger->next, 1u, __ATOMIC_RELAXED);
        const struct item item = {id, p->number};
        const size_t size = chance_one_in(&chance, 4) ? SIZE_MAX_OF_ITEM : sizeof item;
        if (id >= ITEMS_MAX)
            return 0;
        memcpy(bytes, &item, sizeof item);
        const int err =
            q->order == THRUM_PRIORITY
                ? thrum_shared_queue_put_ranked(q, bytes, size, (int64_t)chance_below(&chance, 5))
                : thrum_shared_queue_put(q, bytes, size);
        if (err != 0)
            return 1;
        __atomic_fetch_or(&ledger->items[id], PUT, __ATOMIC_RELAXED);
        if (chance_one_in(&chance, 500))
            usleep(200);
    }
    return 0;
}

static int consume(struct person *p)
{
    unsigned char bytes[SIZE_MAX_OF_ITEM];
    struct chance chance = {p->seed};
    uint32_t last[PRODUCERS] = {0};
    for (;;) {
        struct item item = {0, 0};
        size_t size = 0;
        const int err = thrum_shared_queue_get(q, bytes, sizeof bytes, &size);
        if (err != 0)
            return err == ESHUTDOWN ? 0 : 2;
        memcpy(&item, bytes, sizeof item);
        if (size < sizeof item || item.id >= ITEMS_MAX || item.producer >= PRODUCERS)
            return 3;
        __atomic_fetch_add(&ledger->items[item.id], GOT, __ATOMIC_RELAXED);
        if (q->order == THRUM_FIFO && last[item.producer] > item.id)
            return 4;
        last[item.producer] = item.id;
        if (thrum_shared_queue_task_done(q) != 0)
            return 5;
        if (chance_one_in(&chance, 700))
            usleep(300);
    }
}

static int live(void *arg)
{
    struct person *p = arg;
    return p->number < PRODUCERS ? produce(p) : consume(p);
}

/* --- life and death ------------------------------------------------------------------------------- */

/* Returns whether it was a consumer that was killed. */
static bool disturb(struct person *people, struct chance *chance)
{
    struct person *p = &people[chance_below(chance, PEOPLE)];
    usleep(chance_below(chance, 3000));
    watchdog_progress();
    if (THREADS_ONLY)
        return false;
    if (chance_one_in(chance, 4)) {
        kill(p->pid, SIGSTOP);
        usleep(chance_below(chance, 2000));
        kill(p->pid, SIGCONT);
        return false;
    }
    kill(p->pid, SIGKILL);
    const int status = victim_end(p->pid);
    CHECK(status == 128 + SIGKILL || status == 0);
    person_start(p, chance);
    return p->number >= PRODUCERS;
}

static void audit(uint32_t killed)
{
    const uint32_t items = ledger->next < ITEMS_MAX ? ledger->next : ITEMS_MAX;
    uint32_t lost = 0, doubled = 0, moved = 0;
    for (uint32_t i = 0; i < items; i++) {
        lost += ledger->items[i] == PUT;
        doubled += ledger->items[i] / GOT > 1;
        moved += ledger->items[i] / GOT == 1;
    }
    CHECK(lost <= killed);
    CHECK(doubled == 0);
    CHECK(moved != 0);
    CHECK(thrum_shared_queue_size(q) == 0);
    CHECK(thrum_shared_queue_unfinished(q) <= killed);
}

static void run(thrum_order_t order, thrum_time_t until)
{
    struct person people[PEOPLE] = {{0}};
    struct chance chance = chance_begin();
    thrum_shared_queue_config_t config = THRUM_SHARED_QUEUE_CONFIG_INIT;
    uint32_t killed = 0;
    arena = NULL;
    CHECK(thrum_shared_create(&arena, NULL) == 0);
    const size_t used = thrum_shared_used(arena);
    config.order = order;
    config.capacity = 1 + chance_below(&chance, 20);
    CHECK(thrum_shared_queue_create(&q, arena, &config) == 0);
    ledger = victim_memory(sizeof *ledger);
    for (unsigned i = 0; i < PEOPLE; i++) {
        people[i].number = i;
        people[i].live = live;
        person_start(&people[i], &chance);
    }
    while (thrum_now() < until)
        killed += disturb(people, &chance);
    __atomic_store_n(&ledger->stop, 1u, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < PRODUCERS; i++)
        person_end(&people[i]);
    CHECK(thrum_shared_queue_close(q) == 0);
    for (unsigned i = PRODUCERS; i < PEOPLE; i++)
        person_end(&people[i]);
    audit(killed);
    thrum_shared_queue_destroy(q);
    CHECK(thrum_shared_used(arena) == used);
    CHECK(thi_shared_sound(arena));
    munmap(ledger, sizeof *ledger);
    thrum_shared_destroy(arena);
}

static void run_fifo(thrum_time_t until)
{
    run(THRUM_FIFO, until);
}

static void run_lifo(thrum_time_t until)
{
    run(THRUM_LIFO, until);
}

static void run_priority(thrum_time_t until)
{
    run(THRUM_PRIORITY, until);
}

static const struct stress_case cases[] = {
    {"fifo", run_fifo}, {"lifo", run_lifo}, {"priority", run_priority}};

STRESS_MAIN(cases)
