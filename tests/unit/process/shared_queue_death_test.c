#include "shared_queues.h"

/* Every operation is killed at every point where that could matter, beside others that sleep: afterwards it has
 * been done, or has not; everything works; nothing is lost, and who was to be woken is awake. */
TestSuite(shared_queue_death, .timeout = 300);

enum op { PUT_SMALL, PUT_LARGE, GET, TASK_DONE, JOIN, CLOSE, ABORT, OPS };
enum peer { NOBODY, GETTER, PUTTER, JOINER };

#define CAPACITY 3u
#define NEW 5u    /* the number of what is put */
#define HELPER 6u /* and of what is put by the survivor */

struct scene {
    thrum_order_t order;
    enum op op;
    enum peer peer;
    uint32_t items; /* at first: 1, 2, 3, of which 2 is large */
    bool large;     /* all of them are */

    thrum_shared_t *arena;
    thrum_shared_queue_t *q;
    size_t used;
    pid_t peer_pid;
};

static size_t size_of(const struct scene *s, uint32_t number)
{
    return s->large || number == 2 ? LARGE_SIZE : 8;
}

static int operate(void *arg)
{
    const struct scene *s = arg;
    uint32_t number = 0;
    switch (s->op) {
    case PUT_SMALL:
        return put_number(s->q, NEW, 8, THRUM_FOREVER);
    case PUT_LARGE:
        return put_number(s->q, NEW, LARGE_SIZE, THRUM_FOREVER);
    case GET:
        return get_number(s->q, &number, THRUM_FOREVER);
    case TASK_DONE:
        return thrum_shared_queue_task_done(s->q);
    case JOIN:
        return thrum_shared_queue_join_until(s->q, PAST) == ETIMEDOUT ? 0 : 1;
    case CLOSE:
        return thrum_shared_queue_close(s->q);
    default:
        return thrum_shared_queue_abort(s->q);
    }
}

/* Ends with the number that it got, or with 100 and more for an error. */
static int peer_main(void *arg)
{
    const struct scene *s = arg;
    uint32_t number = 0;
    int err = 0;
    if (s->peer == GETTER)
        err = get_number(s->q, &number, THRUM_FOREVER);
    else if (s->peer == PUTTER)
        err = put_number(s->q, HELPER, 8, THRUM_FOREVER);
    else
        err = thrum_shared_queue_join(s->q);
    return err == 0 ? (int)number : err == ESHUTDOWN ? 100 : 101;
}

static const uint64_t *word_of(const struct scene *s)
{
    const thi_queue_memory_t *m = s->q->memory;
    return s->peer == GETTER ? &m->tail : s->peer == PUTTER ? &m->head : &m->done;
}

static int begin(void *arg)
{
    struct scene *s = arg;
    s->used = thrum_shared_used(s->arena);
    s->q = a_queue(s->arena, s->order, CAPACITY);
    for (uint32_t i = 1; i <= s->items; i++) {
        const uint32_t number = s->order == THRUM_LIFO ? s->items + 1 - i : i;
        if (put_number(s->q, number, size_of(s, number), PAST) != 0)
            return 1;
    }
    if (s->peer != NOBODY) {
        s->peer_pid = victim_start(peer_main, s);
        await_sleepers(word_of(s));
    }
    return 0;
}

/* --- what came of it ------------------------------------------------------------------------------ */

static bool is_closed(const struct scene *s)
{
    return (thi_load_acquire(&s->q->memory->tail) & THI_CLOSED) != 0;
}

/* Whether the operation was done before its caller died. */
static bool took_place(const struct scene *s)
{
    const thi_queue_memory_t *m = s->q->memory;
    switch (s->op) {
    case PUT_SMALL:
    case PUT_LARGE:
        return thi_word_count(thi_load_acquire(&m->tail)) > s->items;
    case GET:
        return thi_word_count(thi_load_acquire(&m->head)) > 0;
    case TASK_DONE:
        return thi_load_acquire(&m->done) >> 10 != 0;
    default:
        return is_closed(s);
    }
}

/* The peer is awake, or is woken by the operation done again. */
static int end_peer(struct scene *s, bool took)
{
    if (s->peer == NOBODY)
        return 0;
    const bool again = !took;
    if (again && s->op == PUT_SMALL && put_number(s->q, NEW, 8, THRUM_FOREVER) != 0)
        return 20;
    if (again && s->op != PUT_SMALL && operate(s) != 0)
        return 21;
    const int end = victim_end(s->peer_pid);
    const bool shut = s->op == CLOSE || s->op == ABORT;
    if (s->peer == JOINER)
        return end == 0 ? 0 : 22;
    if (shut)
        return end == 100 ? 0 : 23;
    return end == (s->peer == GETTER ? (int)NEW : 0) ? 0 : 24;
}

/* Every item that has to be there leaves, once, in the right order. */
static int drain(const struct scene *s, bool took)
{
    const bool put = s->op == PUT_SMALL || s->op == PUT_LARGE;
    uint32_t expected[CAPACITY + 2], n = 0, number = 0;
    if (put && took && s->order == THRUM_LIFO && s->peer != GETTER)
        expected[n++] = NEW;
    for (uint32_t i = 1; i <= s->items; i++) {
        if (!(s->op == GET && i == 1 && (took || s->peer != NOBODY)) && s->op != ABORT)
            expected[n++] = i;
    }
    if (put && took && s->order != THRUM_LIFO && s->peer != GETTER)
        expected[n++] = NEW;
    if (s->op == GET && s->peer == PUTTER) {
        if (s->order == THRUM_LIFO) {
            memmove(expected + 1, expected, n * sizeof *expected);
            expected[0] = HELPER;
        } else
            expected[n] = HELPER;
        n++;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (get_number(s->q, &number, PAST) != 0 || number != expected[i])
            return 30 + (int)i;
    }
    const int end = get_number(s->q, &number, PAST);
    return end == ETIMEDOUT || end == ESHUTDOWN ? 0 : 39;
}

static int usable(const struct scene *s)
{
    uint32_t number = 0;
    const bool shut = (s->op == CLOSE || s->op == ABORT) && s->peer != NOBODY;
    if (shut || is_closed(s))
        return put_number(s->q, 1, 8, PAST) == ESHUTDOWN ? 0 : 41;
    for (uint32_t i = 0; i < 2 * CAPACITY; i++) {
        if (put_number(s->q, i, i % 2 == 0 ? 8 : LARGE_SIZE, PAST) != 0 ||
            get_number(s->q, &number, PAST) != 0 || number != i)
            return 42;
    }
    while (thrum_shared_queue_task_done(s->q) == 0) {
    }
    return thrum_shared_queue_unfinished(s->q) == 0 && thrum_shared_queue_join(s->q) == 0 ? 0 : 43;
}

static int check(struct scene *s)
{
    const bool took = took_place(s);
    int err = end_peer(s, took);
    if (err == 0 && s->op == ABORT && !took && s->peer == NOBODY)
        err = thrum_shared_queue_abort(s->q);
    if (err == 0)
        err = drain(s, took);
    if (err == 0)
        err = usable(s);
    return err;
}

static int survives(void *arg)
{
    struct scene *s = arg;
    int err = check(s);
    thrum_shared_queue_destroy(s->q);
    if (err == 0 && thrum_shared_used(s->arena) != s->used)
        err = 50; /* a block of the dead one's was not given back */
    if (err == 0 && !thi_shared_sound(s->arena))
        err = 51;
    return err;
}

static int walk_scene(struct scene *s)
{
    const struct walk w = {begin, operate, survives, s};
    return walk(&w);
}

static void walk_orders(struct scene scene)
{
    scene.arena = an_arena();
    for (size_t o = 0; o < ORDERS; o++) {
        struct scene s = scene;
        s.order = every_order[o];
        const int points = walk_scene(&s);
        cr_expect_geq(points, s.op == TASK_DONE || s.op == JOIN ? 0 : 5, "order %d", (int)s.order);
    }
    thrum_shared_destroy(scene.arena);
}

#define WALK(name, ...)                                                                            \
    Test(shared_queue_death, name)                                                                 \
    {                                                                                              \
        walk_orders((struct scene){__VA_ARGS__});                                                  \
    }

WALK(put, .op = PUT_SMALL, .items = 2)
WALK(put_large, .op = PUT_LARGE, .items = 2)
WALK(get, .op = GET, .items = 3)
WALK(get_large, .op = GET, .items = 3, .large = true)
WALK(task_done, .op = TASK_DONE, .items = 2)
WALK(join, .op = JOIN, .items = 1)
WALK(close, .op = CLOSE, .items = 3)
WALK(abort, .op = ABORT, .items = 3)
WALK(put_beside_a_getter, .op = PUT_SMALL, .peer = GETTER)
WALK(put_large_beside_a_getter, .op = PUT_LARGE, .peer = GETTER)
WALK(get_beside_a_putter, .op = GET, .peer = PUTTER, .items = 3)
WALK(get_large_beside_a_putter, .op = GET, .peer = PUTTER, .items = 3, .large = true)
WALK(task_done_beside_a_joiner, .op = TASK_DONE, .peer = JOINER, .items = 1)
WALK(close_beside_a_getter, .op = CLOSE, .peer = GETTER)
WALK(close_beside_a_putter, .op = CLOSE, .peer = PUTTER, .items = 3)
WALK(abort_beside_a_getter, .op = ABORT, .peer = GETTER)
WALK(abort_beside_a_putter, .op = ABORT, .peer = PUTTER, .items = 3)
WALK(abort_beside_a_joiner, .op = ABORT, .peer = JOINER, .items = 3)

/* --- who mends it is killed as well --------------------------------------------------------------- */

struct again {
    struct scene scene;
    unsigned first; /* where the first dies */
    bool lived;
};

static int die_first(void *arg)
{
    struct again *a = arg;
    thi_death_arm(a->first, NULL);
    const int err = operate(&a->scene);
    thi_death_arm(0, NULL);
    return err;
}

static int begin_with_a_death(void *arg)
{
    struct again *a = arg;
    if (begin(&a->scene) != 0)
        return 1;
    a->lived = victim_end(victim_start(die_first, a)) == 0;
    return 0;
}

/* Whatever state the first has left, this goes through its repair. */
static int mend(void *arg)
{
    struct again *a = arg;
    uint32_t number = 0;
    int err = get_number(a->scene.q, &number, PAST);
    if (err == 0 || err == ETIMEDOUT)
        err = put_number(a->scene.q, 4, 8, PAST);
    return err == 0 || err == ETIMEDOUT || err == ESHUTDOWN ? 0 : 1;
}

static int survives_both(void *arg)
{
    struct again *a = arg;
    struct scene *s = &a->scene;
    uint32_t number = 0;
    int err = 0;
    const size_t size = thrum_shared_queue_size(s->q);
    size_t n = 0;
    while ((err = get_number(s->q, &number, PAST)) == 0) {
        if (number == 0 || number > NEW)
            return 60;
        n++;
    }
    const bool dropped = s->op == ABORT && err == ESHUTDOWN && n == 0;
    if ((err != ETIMEDOUT && err != ESHUTDOWN) || (n != size && !dropped))
        return 61;
    err = usable(s);
    thrum_shared_queue_destroy(s->q);
    if (err == 0 && thrum_shared_used(s->arena) != s->used)
        err = 62;
    return err == 0 && !thi_shared_sound(s->arena) ? 63 : err;
}

static void walk_twice(struct scene scene)
{
    scene.arena = an_arena();
    for (size_t o = 0; o < ORDERS; o++) {
        struct again a = {.scene = scene};
        a.scene.order = every_order[o];
        for (a.first = 1; !a.lived; a.first += 3) {
            const struct walk w = {begin_with_a_death, mend, survives_both, &a};
            if (walk(&w) < 0) {
                cr_expect_fail("order %d, first death at %u", (int)a.scene.order, a.first);
                break;
            }
        }
    }
    thrum_shared_destroy(scene.arena);
}

Test(shared_queue_death, who_mends_a_put_is_killed)
{
    walk_twice((struct scene){.op = PUT_LARGE, .items = 2});
}

Test(shared_queue_death, who_mends_a_get_is_killed)
{
    walk_twice((struct scene){.op = GET, .items = 3, .large = true});
}

Test(shared_queue_death, who_mends_an_abort_is_killed)
{
    walk_twice((struct scene){.op = ABORT, .items = 2});
}
