/*
 * Processes that count in a map and a list, of which a random one is killed again and again. At the end every
 * addition that returned is in the sum, and at most one more for each that was killed; values are whole; and nothing
 * is left in the arena.
 *
 * Under ThreadSanitizer the same with threads, of which none is killed: what it sees is one process.
 */
#include "stress.h"

#include <thrum/manager.h>

#include "process/process.h"
#include "stress/people.h"

#define PEOPLE 4u
#define KEYS 40u
#define VALUE_MAX 600u

struct ledger {
    uint32_t stop;
    int64_t added[PEOPLE]; /* additions that returned */
};

static struct ledger *ledger;
static thrum_shared_t *arena;
static thrum_shared_map_t *map;
static thrum_shared_list_t *list;

/* A value is as many bytes as it says, all of them the same. */
static bool is_whole(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != (unsigned char)size)
            return false;
    }
    return true;
}

static bool change_map(struct chance *chance)
{
    unsigned char bytes[VALUE_MAX];
    size_t size = chance_below(chance, VALUE_MAX);
    const uint32_t key = chance_below(chance, KEYS);
    int err = 0;
    memset(bytes, (int)size, size);
    switch (chance_below(chance, 4)) {
    case 0:
        return thrum_shared_map_set(map, &key, sizeof key, bytes, size) == 0;
    case 1:
        err = thrum_shared_map_get(map, &key, sizeof key, bytes, sizeof bytes, &size);
        break;
    case 2:
        err = thrum_shared_map_pop(map, &key, sizeof key, bytes, sizeof bytes, &size);
        break;
    default:
        err = thrum_shared_map_set_default(map, &key, sizeof key, bytes, size, bytes, sizeof bytes,
                                           &size);
    }
    return err == ENOENT || (err == 0 && is_whole(bytes, size));
}

static bool change_list(struct chance *chance)
{
    unsigned char bytes[VALUE_MAX];
    size_t size = chance_below(chance, VALUE_MAX);
    const int64_t place = (int64_t)chance_below(chance, KEYS);
    int err = 0;
    memset(bytes, (int)size, size);
    switch (chance_below(chance, 5)) {
    case 0:
        err = thrum_shared_list_insert(list, place, bytes, size);
        return err == 0 || err == ENOENT;
    case 1:
        return thrum_shared_list_size(list) > KEYS ||
               thrum_shared_list_append(list, bytes, size) == 0;
    case 2:
        err = thrum_shared_list_set(list, place, bytes, size);
        return err == 0 || err == ENOENT;
    case 3:
        err = thrum_shared_list_get(list, place, bytes, sizeof bytes, &size);
        break;
    default:
        err = thrum_shared_list_pop(list, place, bytes, sizeof bytes, &size);
    }
    return err == ENOENT || (err == 0 && is_whole(bytes, size));
}

static int live(void *arg)
{
    struct person *p = arg;
    struct chance chance = {p->seed};
    while (__atomic_load_n(&ledger->stop, __ATOMIC_RELAXED) == 0) {
        if (thrum_shared_map_add(map, "sum", 3, 1, NULL) != 0)
            return 1;
        __atomic_fetch_add(&ledger->added[p->number], 1, __ATOMIC_RELAXED);
        if (!change_map(&chance))
            return 2;
        if (!change_list(&chance))
            return 3;
    }
    return 0;
}

static unsigned disturb(struct person *p, struct chance *chance)
{
    usleep(chance_below(chance, 3000));
    watchdog_progress();
    if (THREADS_ONLY)
        return 0;
    kill(p->pid, SIGKILL);
    CHECK(victim_end(p->pid) == 128 + SIGKILL);
    person_start(p, chance);
    return 1;
}

static void audit(unsigned killed)
{
    int64_t added = 0, sum = 0;
    size_t n = 0;
    uint64_t cursor = 0;
    unsigned char key[8], bytes[VALUE_MAX];
    for (unsigned i = 0; i < PEOPLE; i++)
        added += ledger->added[i];
    CHECK(thrum_shared_map_add(map, "sum", 3, 0, &sum) == 0);
    CHECK(added != 0 && sum >= added && sum <= added + killed);
    while (thrum_shared_map_next(map, &cursor, key, 8, NULL, bytes, sizeof bytes, NULL) == 0)
        n++;
    CHECK(n == thrum_shared_map_size(map));
}

static void run(thrum_time_t until)
{
    struct person people[PEOPLE] = {{0}};
    struct chance chance = chance_begin();
    unsigned killed = 0;
    CHECK(thrum_shared_create(&arena, NULL) == 0);
    const size_t used = thrum_shared_used(arena);
    CHECK(thrum_shared_map_create(&map, arena) == 0);
    CHECK(thrum_shared_list_create(&list, arena) == 0);
    ledger = victim_memory(sizeof *ledger);
    for (unsigned i = 0; i < PEOPLE; i++) {
        people[i].number = i;
        people[i].live = live;
        person_start(&people[i], &chance);
    }
    while (thrum_now() < until)
        killed += disturb(&people[chance_below(&chance, PEOPLE)], &chance);
    __atomic_store_n(&ledger->stop, 1u, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < PEOPLE; i++)
        person_end(&people[i]);
    audit(killed);
    thrum_shared_map_destroy(map);
    thrum_shared_list_destroy(list);
    CHECK(thrum_shared_used(arena) == used);
    CHECK(thi_shared_sound(arena));
    munmap(ledger, sizeof *ledger);
    thrum_shared_destroy(arena);
}

static const struct stress_case cases[] = {{"killed while they count", run}};

STRESS_MAIN(cases)
