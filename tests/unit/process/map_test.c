#include <string.h>

#include <thrum/manager.h>

#include "process/process.h"
#include "support/expect.h"
#include "support/victim.h"

TestSuite(shared_map, .timeout = 60);

static thrum_shared_t *arena;
static thrum_shared_map_t *map;
static size_t used;

static void set_up(void)
{
    cr_assert_eq(thrum_shared_create(&arena, NULL), 0);
    used = thrum_shared_used(arena);
    cr_assert_eq(thrum_shared_map_create(&map, arena), 0);
}

/* Nothing is left in the arena. */
static void tear_down(void)
{
    thrum_shared_map_destroy(map);
    cr_expect_eq(thrum_shared_used(arena), used);
    cr_expect(thi_shared_sound(arena));
    thrum_shared_destroy(arena);
}

#define MAP_TEST(name) Test(shared_map, name, .init = set_up, .fini = tear_down)
#define KEY(text) (text), strlen(text)

static void expect_value(const char *key, const char *expected)
{
    char buf[100];
    size_t size = 0;
    if (expected == NULL) {
        EXPECT_CALL(ENOENT, thrum_shared_map_get(map, KEY(key), buf, sizeof buf, &size));
        return;
    }
    EXPECT_CALL(0, thrum_shared_map_get(map, KEY(key), buf, sizeof buf, &size));
    cr_expect_eq(size, strlen(expected));
    cr_expect_eq(memcmp(buf, expected, size), 0);
}

MAP_TEST(null_is_refused)
{
    thrum_shared_map_t *none = NULL;
    char byte = 0;
    int64_t sum = 0;
    uint64_t cursor = 0;
    EXPECT_CALL(EINVAL, thrum_shared_map_create(NULL, arena));
    EXPECT_CALL(EINVAL, thrum_shared_map_create(&none, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_map_open(NULL, arena, thrum_shared_map_offset(map)));
    EXPECT_CALL(EINVAL, thrum_shared_map_open(&none, NULL, thrum_shared_map_offset(map)));
    EXPECT_CALL(EINVAL, thrum_shared_map_set(NULL, "k", 1, "v", 1));
    EXPECT_CALL(EINVAL, thrum_shared_map_set(map, NULL, 1, "v", 1));
    EXPECT_CALL(EINVAL, thrum_shared_map_set(map, "k", 1, NULL, 1));
    EXPECT_CALL(EINVAL, thrum_shared_map_get(NULL, "k", 1, &byte, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_map_get(map, NULL, 1, &byte, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_map_get(map, "k", 1, NULL, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_map_set_default(NULL, "k", 1, "v", 1, &byte, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_map_set_default(map, "k", 1, NULL, 1, &byte, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_map_remove(NULL, "k", 1));
    EXPECT_CALL(EINVAL, thrum_shared_map_pop(NULL, "k", 1, &byte, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_map_compare_and_set(NULL, "k", 1, NULL, 0, "v", 1));
    EXPECT_CALL(EINVAL, thrum_shared_map_compare_and_set(map, "k", 1, NULL, 1, "v", 1));
    EXPECT_CALL(EINVAL, thrum_shared_map_add(NULL, "k", 1, 1, &sum));
    EXPECT_CALL(EINVAL, thrum_shared_map_next(NULL, &cursor, &byte, 1, NULL, &byte, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_map_next(map, NULL, &byte, 1, NULL, &byte, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_map_clear(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_map_lock(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_map_trylock(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_map_lock_until(NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_shared_map_unlock(NULL));
    cr_expect_eq(thrum_shared_map_size(NULL), 0);
    cr_expect_eq(thrum_shared_map_offset(NULL), 0);
    thrum_shared_map_release(NULL);
    thrum_shared_map_destroy(NULL);
}

MAP_TEST(values_are_set_replaced_and_removed)
{
    expect_value("a", NULL);
    EXPECT_CALL(0, thrum_shared_map_set(map, KEY("a"), KEY("one")));
    EXPECT_CALL(0, thrum_shared_map_set(map, KEY(""), KEY("")));
    expect_value("a", "one");
    expect_value("", "");
    EXPECT_CALL(0, thrum_shared_map_set(map, KEY("a"), KEY("another")));
    expect_value("a", "another");
    cr_expect_eq(thrum_shared_map_size(map), 2);
    EXPECT_CALL(0, thrum_shared_map_remove(map, KEY("a")));
    EXPECT_CALL(ENOENT, thrum_shared_map_remove(map, KEY("a")));
    expect_value("a", NULL);
    cr_expect_eq(thrum_shared_map_size(map), 1);
}

MAP_TEST(a_value_that_does_not_fit_is_left_alone)
{
    char buf[3];
    size_t size = 0;
    EXPECT_CALL(0, thrum_shared_map_set(map, KEY("k"), KEY("four")));
    EXPECT_CALL(EMSGSIZE, thrum_shared_map_get(map, KEY("k"), buf, sizeof buf, &size));
    cr_expect_eq(size, 4);
    EXPECT_CALL(EMSGSIZE, thrum_shared_map_pop(map, KEY("k"), buf, sizeof buf, NULL));
    EXPECT_CALL(EMSGSIZE, thrum_shared_map_set_default(map, KEY("n"), KEY("four"), buf, 3, &size));
    expect_value("k", "four");
    expect_value("n", NULL);
}

MAP_TEST(pop_gives_and_removes)
{
    char buf[8];
    size_t size = 0;
    EXPECT_CALL(ENOENT, thrum_shared_map_pop(map, KEY("k"), buf, sizeof buf, &size));
    EXPECT_CALL(0, thrum_shared_map_set(map, KEY("k"), KEY("v")));
    EXPECT_CALL(0, thrum_shared_map_pop(map, KEY("k"), buf, sizeof buf, &size));
    cr_expect_eq(size, 1);
    cr_expect_eq(buf[0], 'v');
    expect_value("k", NULL);
}

MAP_TEST(set_default_sets_once)
{
    char buf[8];
    size_t size = 0;
    EXPECT_CALL(0, thrum_shared_map_set_default(map, KEY("k"), KEY("1st"), buf, 8, &size));
    cr_expect_eq(memcmp(buf, "1st", size), 0);
    EXPECT_CALL(0, thrum_shared_map_set_default(map, KEY("k"), KEY("2nd"), buf, 8, &size));
    cr_expect_eq(memcmp(buf, "1st", size), 0);
    expect_value("k", "1st");
}

MAP_TEST(compare_and_set_sets_what_is_as_expected)
{
    EXPECT_CALL(EAGAIN, thrum_shared_map_compare_and_set(map, KEY("k"), KEY("x"), KEY("y")));
    EXPECT_CALL(0, thrum_shared_map_compare_and_set(map, KEY("k"), NULL, 0, KEY("x")));
    EXPECT_CALL(EAGAIN, thrum_shared_map_compare_and_set(map, KEY("k"), NULL, 0, KEY("y")));
    EXPECT_CALL(EAGAIN, thrum_shared_map_compare_and_set(map, KEY("k"), KEY("z"), KEY("y")));
    EXPECT_CALL(0, thrum_shared_map_compare_and_set(map, KEY("k"), KEY("x"), KEY("yy")));
    expect_value("k", "yy");
}

MAP_TEST(add_counts)
{
    int64_t sum = 7;
    EXPECT_CALL(0, thrum_shared_map_add(map, KEY("n"), 5, &sum));
    cr_expect_eq(sum, 5);
    EXPECT_CALL(0, thrum_shared_map_add(map, KEY("n"), -7, &sum));
    cr_expect_eq(sum, -2);
    EXPECT_CALL(EOVERFLOW, thrum_shared_map_add(map, KEY("n"), INT64_MIN, &sum));
    cr_expect_eq(sum, -2);
    EXPECT_CALL(0, thrum_shared_map_add(map, KEY("n"), 0, NULL));
    EXPECT_CALL(0, thrum_shared_map_set(map, KEY("text"), KEY("text")));
    EXPECT_CALL(EINVAL, thrum_shared_map_add(map, KEY("text"), 1, &sum));
}

MAP_TEST(it_grows_and_finds_everything)
{
    char key[20], buf[300];
    size_t size = 0;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 3000; i++) {
            snprintf(key, sizeof key, "key %u", i * 17);
            memset(buf, (int)i, sizeof buf);
            EXPECT_CALL(0, thrum_shared_map_set(map, KEY(key), buf, i % sizeof buf));
            if (i % 3 == 0 && i >= 30) {
                snprintf(key, sizeof key, "key %u", (i - 30) * 17);
                EXPECT_CALL(0, thrum_shared_map_remove(map, KEY(key)));
            }
        }
        cr_expect_eq(thrum_shared_map_size(map), 3000 - 990);
        for (unsigned i = 0; i < 3000; i++) {
            snprintf(key, sizeof key, "key %u", i * 17);
            const int err = thrum_shared_map_get(map, KEY(key), buf, sizeof buf, &size);
            cr_assert_eq(err, i % 3 == 0 && i < 2970 ? ENOENT : 0, "%s", key);
            cr_expect(err != 0 || (size == i % sizeof buf && (size == 0 || buf[0] == (char)i)));
        }
    }
    EXPECT_CALL(0, thrum_shared_map_clear(map));
    cr_expect_eq(thrum_shared_map_size(map), 0);
    EXPECT_CALL(0, thrum_shared_map_clear(map));
    EXPECT_CALL(0, thrum_shared_map_set(map, KEY("a"), KEY("one")));
    expect_value("a", "one");
}

MAP_TEST(a_table_of_removed_keys_does_not_grow_for_ever)
{
    char key[20];
    EXPECT_CALL(0, thrum_shared_map_set(map, KEY("k"), NULL, 0));
    const size_t before = thrum_shared_used(arena);
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "key %u", i);
        EXPECT_CALL(0, thrum_shared_map_set(map, KEY(key), NULL, 0));
        EXPECT_CALL(0, thrum_shared_map_remove(map, KEY(key)));
    }
    cr_expect_leq(thrum_shared_used(arena), before + 512);
}

MAP_TEST(a_cursor_goes_round)
{
    bool seen[100] = {false};
    uint64_t cursor = 0;
    uint32_t key = 0, value = 0;
    size_t n = 0, key_size = 0, size = 0;
    EXPECT_CALL(ENODATA, thrum_shared_map_next(map, &cursor, &key, 4, NULL, &value, 4, NULL));
    for (uint32_t i = 0; i < 100; i++) {
        const uint32_t twice = 2 * i;
        EXPECT_CALL(0, thrum_shared_map_set(map, &i, sizeof i, &twice, sizeof twice));
    }
    EXPECT_CALL(EMSGSIZE,
                thrum_shared_map_next(map, &cursor, &key, 3, &key_size, &value, 4, &size));
    cr_expect_eq(key_size, 4);
    while (thrum_shared_map_next(map, &cursor, &key, 4, &key_size, &value, 4, &size) == 0) {
        cr_assert_lt(key, 100);
        cr_expect_eq(value, 2 * key);
        cr_expect_not(seen[key]);
        seen[key] = true;
        n++;
    }
    cr_expect_eq(n, 100);
}

MAP_TEST(a_full_arena_changes_nothing)
{
    static char large[(size_t)2 << 20];
    thrum_shared_t *small = NULL;
    thrum_shared_map_t *m = NULL;
    thrum_shared_config_t config = THRUM_SHARED_CONFIG_INIT;
    config.max_size = (size_t)1 << 20;
    cr_assert_eq(thrum_shared_create(&small, &config), 0);
    cr_assert_eq(thrum_shared_map_create(&m, small), 0);
    EXPECT_CALL(0, thrum_shared_map_set(m, KEY("k"), KEY("v")));
    EXPECT_CALL(ENOMEM, thrum_shared_map_set(m, KEY("k"), large, sizeof large));
    EXPECT_CALL(ENOMEM, thrum_shared_map_set(m, KEY("k"), large, SIZE_MAX / 2));
    EXPECT_CALL(0, thrum_shared_map_get(m, KEY("k"), large, 1, NULL));
    int err = 0;
    uint32_t n = 0;
    while ((err = thrum_shared_map_set(m, &n, sizeof n, large, 1000)) == 0)
        n++;
    cr_expect_eq(err, ENOMEM);
    cr_expect_eq(thrum_shared_map_size(m), n + 1);
    cr_expect(thi_shared_sound(small));
    thrum_shared_map_destroy(m);
    thrum_shared_destroy(small);
}

/* --- several processes ---------------------------------------------------------------------------- */

static int open_and_set(void *arg)
{
    thrum_shared_t *own = NULL;
    thrum_shared_map_t *m = NULL;
    const uint64_t *offset = arg;
    if (thrum_shared_open_fd(&own, thrum_shared_fd(arena)) != 0 ||
        thrum_shared_map_open(&m, own, *offset) != 0)
        return 1;
    const int err = thrum_shared_map_set(m, KEY("from"), KEY("afar"));
    thrum_shared_map_release(m);
    thrum_shared_destroy(own);
    return err;
}

MAP_TEST(others_open_it_by_its_offset)
{
    thrum_shared_map_t *none = NULL;
    uint64_t offset = thrum_shared_map_offset(map);
    cr_expect_eq(victim_end(victim_start(open_and_set, &offset)), 0);
    expect_value("from", "afar");
    EXPECT_CALL(EINVAL, thrum_shared_map_open(&none, arena, 0));
    EXPECT_CALL(EINVAL, thrum_shared_map_open(&none, arena, offset + 1));
    EXPECT_CALL(EINVAL, thrum_shared_map_open(&none, arena, UINT64_MAX - 63));
}

#define ROUNDS 2000

static int count(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        char text[20];
        int64_t n = 0;
        size_t size = 0;
        if (thrum_shared_map_add(map, KEY("added"), 1, NULL) != 0)
            return 1;
        do { /* by compare-and-set */
            n = 0;
            if (thrum_shared_map_set_default(map, KEY("swapped"), &n, sizeof n, &n, sizeof n,
                                             &size) != 0)
                return 2;
            const int64_t next = n + 1;
            const int err = thrum_shared_map_compare_and_set(map, KEY("swapped"), &n, sizeof n,
                                                             &next, sizeof next);
            if (err == 0)
                break;
            if (err != EAGAIN)
                return 3;
        } while (true);
        /* under the lock */
        if (thrum_shared_map_lock(map) != 0)
            return 4;
        int err = thrum_shared_map_get(map, KEY("locked"), text, sizeof text - 1, &size);
        text[err == 0 ? size : 0] = 0;
        snprintf(text, sizeof text, "%d", atoi(text) + 1);
        err = thrum_shared_map_set(map, KEY("locked"), KEY(text));
        if (err != 0 || thrum_shared_map_unlock(map) != 0)
            return 5;
    }
    return 0;
}

MAP_TEST(read_modify_write_is_one_step_for_others)
{
    pid_t children[3];
    int64_t sum = 0;
    char text[20];
    size_t size = 0;
    for (int i = 0; i < 3; i++)
        children[i] = victim_start(count, NULL);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(victim_end(children[i]), 0);
    EXPECT_CALL(0, thrum_shared_map_add(map, KEY("added"), 0, &sum));
    cr_expect_eq(sum, 3 * ROUNDS);
    EXPECT_CALL(0, thrum_shared_map_add(map, KEY("swapped"), 0, &sum));
    cr_expect_eq(sum, 3 * ROUNDS);
    snprintf(text, sizeof text, "%d", 3 * ROUNDS);
    expect_value("locked", text);
    (void)size;
}

static int lock_and_die(void *arg)
{
    (void)arg;
    if (thrum_shared_map_lock(map) != 0 || thrum_shared_map_set(map, KEY("half"), KEY("done")) != 0)
        return 1;
    kill(getpid(), SIGKILL);
    return 2;
}

MAP_TEST(the_lock_is_recursive_and_goes_on_when_its_holder_is_killed)
{
    EXPECT_CALL(EPERM, thrum_shared_map_unlock(map));
    EXPECT_CALL(0, thrum_shared_map_lock(map));
    EXPECT_CALL(0, thrum_shared_map_trylock(map));
    EXPECT_CALL(0, thrum_shared_map_lock_until(map, PAST));
    for (int i = 0; i < 3; i++)
        EXPECT_CALL(0, thrum_shared_map_unlock(map));
    EXPECT_CALL(EPERM, thrum_shared_map_unlock(map));
    cr_expect_eq(victim_end(victim_start(lock_and_die, NULL)), 128 + SIGKILL);
    EXPECT_CALL(0, thrum_shared_map_lock(map));
    expect_value("half", "done");
    EXPECT_CALL(0, thrum_shared_map_unlock(map));
}

static int lock_and_stop(void *arg)
{
    (void)arg;
    if (thrum_shared_map_lock(map) != 0)
        return 1;
    kill(getpid(), SIGSTOP);
    return thrum_shared_map_unlock(map);
}

MAP_TEST(a_stopped_holder_is_waited_for)
{
    const pid_t pid = victim_start(lock_and_stop, NULL);
    victim_await_stop(pid);
    EXPECT_CALL(EBUSY, thrum_shared_map_trylock(map));
    EXPECT_CALL(ETIMEDOUT, thrum_shared_map_lock_until(map, SOON));
    EXPECT_CALL(EPERM, thrum_shared_map_unlock(map));
    kill(pid, SIGCONT);
    EXPECT_CALL(0, thrum_shared_map_set(map, KEY("k"), KEY("v")));
    cr_expect_eq(victim_end(pid), 0);
}
