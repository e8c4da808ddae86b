#include <string.h>

#include <thrum/manager.h>

#include "process/process.h"
#include "support/expect.h"
#include "support/victim.h"

/* Every change of a map or list is killed at every point where that could matter: it has been made, or has not,
 * and no block is lost. Half of them are killed a second time, while the first death is mended. */
TestSuite(manager_death, .timeout = 300);

#define KEYS_MAX 40
#define LARGE 500u

struct scene {
    void (*change)(const struct scene *s); /* by the victim */
    int items;                             /* at first */
    bool is_list;
    bool twice;

    thrum_shared_t *arena;
    thrum_shared_map_t *map;
    thrum_shared_list_t *list;
    size_t used;
};

/* A value says what it is in its first byte, and is as large as that says. */
static size_t make_value(unsigned char *bytes, unsigned what)
{
    memset(bytes, (int)what, LARGE);
    return what % 2 == 0 ? LARGE : 1;
}

static int set(const struct scene *s, unsigned key, unsigned what)
{
    unsigned char bytes[LARGE];
    return thrum_shared_map_set(s->map, &key, sizeof key, bytes, make_value(bytes, what));
}

/* What the map has, as text: "0=1 1=2 " and so on; or what the list has. */
static void describe(const struct scene *s, char *text, size_t size)
{
    unsigned char bytes[LARGE];
    size_t at = 0, got = 0;
    text[0] = 0;
    for (unsigned i = 0; i < KEYS_MAX; i++) {
        const int err = s->is_list
                            ? thrum_shared_list_get(s->list, i, bytes, sizeof bytes, &got)
                            : thrum_shared_map_get(s->map, &i, sizeof i, bytes, sizeof bytes, &got);
        if (err == 0)
            at += (size_t)snprintf(text + at, size - at, "%u=%u:%zu ", i, bytes[0], got);
        else if (err != ENOENT)
            at += (size_t)snprintf(text + at, size - at, "%u!%d ", i, err);
    }
    snprintf(text + at, size - at, "of %zu",
             s->is_list ? thrum_shared_list_size(s->list) : thrum_shared_map_size(s->map));
}

static void make(struct scene *s)
{
    unsigned char bytes[LARGE];
    if (s->is_list) {
        if (thrum_shared_list_create(&s->list, s->arena) != 0)
            abort();
        for (int i = 0; i < s->items; i++)
            if (thrum_shared_list_append(s->list, bytes, make_value(bytes, (unsigned)i + 1)) != 0)
                abort();
        return;
    }
    if (thrum_shared_map_create(&s->map, s->arena) != 0)
        abort();
    for (int i = 0; i < s->items; i++)
        if (set(s, (unsigned)i, (unsigned)i + 1) != 0)
            abort();
}

static void unmake(struct scene *s)
{
    if (s->is_list)
        thrum_shared_list_destroy(s->list);
    else
        thrum_shared_map_destroy(s->map);
}

static int begin(void *arg)
{
    struct scene *s = arg;
    s->used = thrum_shared_used(s->arena);
    make(s);
    return 0;
}

static int change(void *arg)
{
    const struct scene *s = arg;
    s->change(s);
    return 0;
}

static int survives(void *arg)
{
    struct scene *s = arg;
    char before[1000], after[1000], now[1000];
    struct scene model = *s;
    describe(s, now, sizeof now);
    make(&model);
    describe(&model, before, sizeof before);
    model.change(&model);
    describe(&model, after, sizeof after);
    unmake(&model);
    const bool right = strcmp(now, before) == 0 || strcmp(now, after) == 0;
    if (!right)
        fprintf(stderr, "now    %s\nbefore %s\nafter  %s\n", now, before, after);
    s->change(s); /* it works on */
    unmake(s);
    if (thrum_shared_used(s->arena) != s->used) {
        fprintf(stderr, "used %zu, before %zu\n", thrum_shared_used(s->arena), s->used);
        return 2;
    }
    return right && thi_shared_sound(s->arena) ? 0 : 1;
}

static int run_walk(struct scene *s)
{
    const struct walk w = {begin, change, survives, s};
    return walk(&w);
}

/* --- a second death ------------------------------------------------------------------------------- */

struct again {
    struct scene *scene;
    unsigned first;
    bool lived;
};

static int die_first(void *arg)
{
    struct again *a = arg;
    thi_death_arm(a->first, NULL);
    a->scene->change(a->scene);
    thi_death_arm(0, NULL);
    return 0;
}

static int begin_again(void *arg)
{
    struct again *a = arg;
    begin(a->scene);
    a->lived = victim_end(victim_start(die_first, a)) == 0;
    return 0;
}

static int look(void *arg)
{
    struct again *a = arg;
    char text[1000];
    describe(a->scene, text, sizeof text);
    return 0;
}

static int survives_again(void *arg)
{
    struct again *a = arg;
    return survives(a->scene);
}

static void walk_change(struct scene s)
{
    cr_assert_eq(thrum_shared_create(&s.arena, NULL), 0);
    const int points = run_walk(&s);
    cr_expect_gt(points, 5);
    struct again a = {.scene = &s, .first = 1};
    while (s.twice && !a.lived) {
        const struct walk w = {begin_again, look, survives_again, &a};
        if (walk(&w) < 0) {
            cr_expect_fail("first death at %u", a.first);
            break;
        }
        a.first += 17;
    }
    thrum_shared_destroy(s.arena);
}

/* --- changes -------------------------------------------------------------------------------------- */

#define WALK(name, ...)                                                                            \
    Test(manager_death, name)                                                                      \
    {                                                                                              \
        walk_change((struct scene){.change = name, __VA_ARGS__});                                  \
    }

#define DONE(call)                                                                                 \
    do {                                                                                           \
        if ((call) != 0)                                                                           \
            abort();                                                                               \
    } while (0)

static void map_set_new(const struct scene *s)
{
    DONE(set(s, 7, 8));
}

static void map_set_in_place(const struct scene *s)
{
    DONE(set(s, 1, 8));
}

static void map_set_growing(const struct scene *s)
{
    DONE(set(s, 30, 8));
}

static void map_remove(const struct scene *s)
{
    const unsigned key = 1;
    const int err = thrum_shared_map_remove(s->map, &key, sizeof key);
    if (err != 0 && err != ENOENT)
        abort();
}

static void map_clear(const struct scene *s)
{
    DONE(thrum_shared_map_clear(s->map));
}

static void map_add(const struct scene *s)
{
    const unsigned key = 33;
    DONE(thrum_shared_map_add(s->map, &key, sizeof key, 5, NULL));
}

static void list_append(const struct scene *s)
{
    unsigned char bytes[LARGE];
    DONE(thrum_shared_list_append(s->list, bytes, make_value(bytes, 8)));
}

static void list_insert(const struct scene *s)
{
    unsigned char bytes[LARGE];
    DONE(thrum_shared_list_insert(s->list, 1, bytes, make_value(bytes, 8)));
}

static void list_set(const struct scene *s)
{
    unsigned char bytes[LARGE];
    DONE(thrum_shared_list_set(s->list, 1, bytes, make_value(bytes, 8)));
}

static void list_pop_first(const struct scene *s)
{
    DONE(thrum_shared_list_remove(s->list, 0));
}

static void list_pop_last(const struct scene *s)
{
    DONE(thrum_shared_list_remove(s->list, -1));
}

static void list_clear(const struct scene *s)
{
    DONE(thrum_shared_list_clear(s->list));
}

WALK(map_set_new, .items = 3, .twice = true)
WALK(map_set_in_place, .items = 3, .twice = true)
WALK(map_set_growing, .items = 6, .twice = true)
WALK(map_remove, .items = 3)
WALK(map_clear, .items = 5, .twice = true)
WALK(map_add, .items = 3)
WALK(list_append, .items = 3, .is_list = true)

static void list_append_growing(const struct scene *s)
{
    list_append(s);
}

WALK(list_append_growing, .items = 8, .is_list = true, .twice = true)
WALK(list_insert, .items = 3, .is_list = true)
WALK(list_set, .items = 3, .is_list = true)
WALK(list_pop_first, .items = 4, .is_list = true, .twice = true)
WALK(list_pop_last, .items = 4, .is_list = true)
WALK(list_clear, .items = 4, .is_list = true, .twice = true)

/* --- at any single instruction -------------------------------------------------------------------- */

static void walk_at_instructions(struct scene s)
{
    const unsigned stride = walk_stride(397, 4999);
    (void)thi_self(); /* children have a record, and need not make one step by step */
    cr_assert_eq(thrum_shared_create(&s.arena, NULL), 0);
    const struct walk w = {begin, change, survives, &s};
    const int n = walk_instructions(&w, stride);
    if (n == -2)
        cr_skip_test("nobody may be traced here");
    cr_expect_gt(n, 1);
    thrum_shared_destroy(s.arena);
}

Test(manager_death, a_map_that_grows_at_any_instruction)
{
    walk_at_instructions((struct scene){.change = map_set_growing, .items = 6});
}

Test(manager_death, a_map_s_value_at_any_instruction)
{
    walk_at_instructions((struct scene){.change = map_set_in_place, .items = 3});
}

Test(manager_death, a_list_s_middle_at_any_instruction)
{
    walk_at_instructions((struct scene){.change = list_insert, .items = 3, .is_list = true});
}

Test(manager_death, a_list_that_is_cleared_at_any_instruction)
{
    walk_at_instructions((struct scene){.change = list_clear, .items = 4, .is_list = true});
}
