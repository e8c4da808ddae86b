#include <string.h>

#include <thrum/manager.h>

#include "process/process.h"
#include "support/expect.h"
#include "support/victim.h"

TestSuite(shared_list, .timeout = 60);

static thrum_shared_t *arena;
static thrum_shared_list_t *list;
static size_t used;

static void set_up(void)
{
    cr_assert_eq(thrum_shared_create(&arena, NULL), 0);
    used = thrum_shared_used(arena);
    cr_assert_eq(thrum_shared_list_create(&list, arena), 0);
}

/* Nothing is left in the arena. */
static void tear_down(void)
{
    thrum_shared_list_destroy(list);
    cr_expect_eq(thrum_shared_used(arena), used);
    cr_expect(thi_shared_sound(arena));
    thrum_shared_destroy(arena);
}

#define LIST_TEST(name) Test(shared_list, name, .init = set_up, .fini = tear_down)

/* The list is these letters, one each. */
static void expect_list(const char *letters)
{
    char buf = 0;
    size_t size = 0;
    cr_expect_eq(thrum_shared_list_size(list), strlen(letters));
    for (size_t i = 0; letters[i] != 0; i++) {
        EXPECT_CALL(0, thrum_shared_list_get(list, (int64_t)i, &buf, 1, &size));
        cr_expect_eq(buf, letters[i], "place %zu: %c of %s", i, buf, letters);
    }
    EXPECT_CALL(ENOENT, thrum_shared_list_get(list, (int64_t)strlen(letters), &buf, 1, &size));
}

static void append_all(const char *letters)
{
    for (; *letters != 0; letters++)
        EXPECT_CALL(0, thrum_shared_list_append(list, letters, 1));
}

LIST_TEST(null_is_refused)
{
    thrum_shared_list_t *none = NULL;
    char byte = 0;
    EXPECT_CALL(EINVAL, thrum_shared_list_create(NULL, arena));
    EXPECT_CALL(EINVAL, thrum_shared_list_create(&none, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_list_open(NULL, arena, 64));
    EXPECT_CALL(EINVAL, thrum_shared_list_open(&none, NULL, 64));
    EXPECT_CALL(EINVAL, thrum_shared_list_append(NULL, "v", 1));
    EXPECT_CALL(EINVAL, thrum_shared_list_append(list, NULL, 1));
    EXPECT_CALL(EINVAL, thrum_shared_list_insert(NULL, 0, "v", 1));
    EXPECT_CALL(EINVAL, thrum_shared_list_insert(list, 0, NULL, 1));
    EXPECT_CALL(EINVAL, thrum_shared_list_set(NULL, 0, "v", 1));
    EXPECT_CALL(EINVAL, thrum_shared_list_set(list, 0, NULL, 1));
    EXPECT_CALL(EINVAL, thrum_shared_list_get(NULL, 0, &byte, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_list_get(list, 0, NULL, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_list_pop(NULL, 0, &byte, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_list_pop(list, 0, NULL, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_list_remove(NULL, 0));
    EXPECT_CALL(EINVAL, thrum_shared_list_compare_and_set(NULL, 0, "a", 1, "v", 1));
    EXPECT_CALL(EINVAL, thrum_shared_list_compare_and_set(list, 0, NULL, 1, "v", 1));
    EXPECT_CALL(EINVAL, thrum_shared_list_add(NULL, 0, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_list_clear(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_list_lock(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_list_trylock(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_list_lock_until(NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_shared_list_unlock(NULL));
    cr_expect_eq(thrum_shared_list_size(NULL), 0);
    cr_expect_eq(thrum_shared_list_offset(NULL), 0);
    thrum_shared_list_release(NULL);
    thrum_shared_list_destroy(NULL);
}

LIST_TEST(values_come_and_go_anywhere)
{
    char buf = 0;
    expect_list("");
    EXPECT_CALL(ENOENT, thrum_shared_list_pop(list, -1, &buf, 1, NULL));
    append_all("bcd");
    EXPECT_CALL(0, thrum_shared_list_insert(list, 0, "a", 1));
    EXPECT_CALL(0, thrum_shared_list_insert(list, 4, "f", 1));
    EXPECT_CALL(0, thrum_shared_list_insert(list, -1, "e", 1));
    expect_list("abcdef");
    EXPECT_CALL(0, thrum_shared_list_pop(list, 2, &buf, 1, NULL));
    cr_expect_eq(buf, 'c');
    EXPECT_CALL(0, thrum_shared_list_pop(list, -1, &buf, 1, NULL));
    cr_expect_eq(buf, 'f');
    EXPECT_CALL(0, thrum_shared_list_remove(list, 0));
    expect_list("bde");
    EXPECT_CALL(0, thrum_shared_list_set(list, -2, "x", 1));
    expect_list("bxe");
}

LIST_TEST(places_that_do_not_exist_are_told)
{
    char buf = 0;
    append_all("ab");
    EXPECT_CALL(ENOENT, thrum_shared_list_get(list, 2, &buf, 1, NULL));
    EXPECT_CALL(ENOENT, thrum_shared_list_get(list, -3, &buf, 1, NULL));
    EXPECT_CALL(ENOENT, thrum_shared_list_get(list, INT64_MIN, &buf, 1, NULL));
    EXPECT_CALL(ENOENT, thrum_shared_list_get(list, INT64_MAX, &buf, 1, NULL));
    EXPECT_CALL(ENOENT, thrum_shared_list_set(list, 2, "x", 1));
    EXPECT_CALL(ENOENT, thrum_shared_list_insert(list, 3, "x", 1));
    EXPECT_CALL(ENOENT, thrum_shared_list_insert(list, -3, "x", 1));
    EXPECT_CALL(ENOENT, thrum_shared_list_remove(list, 2));
    EXPECT_CALL(ENOENT, thrum_shared_list_add(list, 2, 1, NULL));
    EXPECT_CALL(ENOENT, thrum_shared_list_compare_and_set(list, 2, "a", 1, "b", 1));
    expect_list("ab");
}

LIST_TEST(a_value_that_does_not_fit_is_left_alone)
{
    char buf[3];
    size_t size = 0;
    EXPECT_CALL(0, thrum_shared_list_append(list, "four", 4));
    EXPECT_CALL(EMSGSIZE, thrum_shared_list_get(list, 0, buf, sizeof buf, &size));
    cr_expect_eq(size, 4);
    EXPECT_CALL(EMSGSIZE, thrum_shared_list_pop(list, 0, buf, sizeof buf, NULL));
    cr_expect_eq(thrum_shared_list_size(list), 1);
}

LIST_TEST(compare_and_set_and_add)
{
    int64_t n = 40, sum = 0;
    EXPECT_CALL(0, thrum_shared_list_append(list, "a", 1));
    EXPECT_CALL(EAGAIN, thrum_shared_list_compare_and_set(list, 0, "b", 1, "c", 1));
    EXPECT_CALL(EAGAIN, thrum_shared_list_compare_and_set(list, 0, NULL, 0, "c", 1));
    EXPECT_CALL(0, thrum_shared_list_compare_and_set(list, 0, "a", 1, "c", 1));
    expect_list("c");
    EXPECT_CALL(EINVAL, thrum_shared_list_add(list, 0, 1, &sum));
    EXPECT_CALL(0, thrum_shared_list_append(list, &n, sizeof n));
    EXPECT_CALL(0, thrum_shared_list_add(list, 1, 2, &sum));
    cr_expect_eq(sum, 42);
    EXPECT_CALL(EOVERFLOW, thrum_shared_list_add(list, -1, INT64_MAX, &sum));
}

/* Beside an array that does the same. */
LIST_TEST(it_is_what_an_array_would_be)
{
    static char model[1000];
    size_t n = 0;
    uint32_t dice = 1;
    for (unsigned i = 0; i < 5000; i++) {
        dice = dice * 1664525u + 1013904223u;
        const size_t place = n != 0 ? (dice >> 8) % n : 0;
        const char letter = (char)('a' + dice % 26);
        if (n != 0 && (dice >> 28) < 6) {
            char buf = 0;
            EXPECT_CALL(0, thrum_shared_list_pop(list, (int64_t)place, &buf, 1, NULL));
            cr_expect_eq(buf, model[place]);
            memmove(model + place, model + place + 1, n - place - 1);
            n--;
        } else if (n < sizeof model - 1) {
            EXPECT_CALL(0, thrum_shared_list_insert(list, (int64_t)place, &letter, 1));
            memmove(model + place + 1, model + place, n - place);
            model[place] = letter;
            n++;
        }
    }
    model[n] = 0;
    expect_list(model);
    EXPECT_CALL(0, thrum_shared_list_clear(list));
    expect_list("");
    append_all("z");
    expect_list("z");
}

/* --- several processes ---------------------------------------------------------------------------- */

#define ROUNDS 1000

static int work(void *arg)
{
    const int64_t one = 1;
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t n = 0;
        if (thrum_shared_list_append(list, &one, sizeof one) != 0 ||
            thrum_shared_list_add(list, 0, 1, NULL) != 0)
            return 1;
        if (thrum_shared_list_lock(list) != 0 ||
            thrum_shared_list_get(list, 1, &n, sizeof n, NULL) != 0)
            return 2;
        n++;
        if (thrum_shared_list_set(list, 1, &n, sizeof n) != 0 ||
            thrum_shared_list_unlock(list) != 0)
            return 3;
    }
    return 0;
}

LIST_TEST(read_modify_write_is_one_step_for_others)
{
    pid_t children[3];
    int64_t n = 0;
    for (int i = 0; i < 2; i++)
        EXPECT_CALL(0, thrum_shared_list_append(list, &n, sizeof n));
    for (int i = 0; i < 3; i++)
        children[i] = victim_start(work, NULL);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(victim_end(children[i]), 0);
    cr_expect_eq(thrum_shared_list_size(list), 2 + 3 * ROUNDS);
    for (int64_t i = 0; i < 2; i++) {
        EXPECT_CALL(0, thrum_shared_list_get(list, i, &n, sizeof n, NULL));
        cr_expect_eq(n, 3 * ROUNDS);
    }
}

static int open_and_append(void *arg)
{
    thrum_shared_t *own = NULL;
    thrum_shared_list_t *l = NULL;
    const uint64_t *offset = arg;
    if (thrum_shared_open_fd(&own, thrum_shared_fd(arena)) != 0 ||
        thrum_shared_list_open(&l, own, *offset) != 0)
        return 1;
    const int err = thrum_shared_list_append(l, "x", 1);
    thrum_shared_list_release(l);
    thrum_shared_destroy(own);
    return err;
}

LIST_TEST(others_open_it_by_its_offset)
{
    uint64_t offset = thrum_shared_list_offset(list);
    thrum_shared_list_t *none = NULL;
    thrum_shared_map_t *map = NULL;
    cr_expect_eq(victim_end(victim_start(open_and_append, &offset)), 0);
    expect_list("x");
    EXPECT_CALL(EINVAL, thrum_shared_list_open(&none, arena, offset + 64));
    EXPECT_CALL(EINVAL, thrum_shared_map_open(&map, arena, offset));
}

LIST_TEST(the_lock_is_recursive)
{
    EXPECT_CALL(EPERM, thrum_shared_list_unlock(list));
    EXPECT_CALL(0, thrum_shared_list_lock(list));
    EXPECT_CALL(0, thrum_shared_list_trylock(list));
    EXPECT_CALL(0, thrum_shared_list_lock_until(list, PAST));
    for (int i = 0; i < 3; i++)
        EXPECT_CALL(0, thrum_shared_list_unlock(list));
    EXPECT_CALL(EPERM, thrum_shared_list_unlock(list));
}
