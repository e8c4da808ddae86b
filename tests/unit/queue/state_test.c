#include "queue/shapes.h"

/* The state table of the header, cell by cell, for every order, bounded and not. */
TestSuite(queue_state, .timeout = 60);

enum state { OPEN, OPEN_EMPTY, OPEN_FULL, CLOSED_ITEMS, CLOSED_EMPTY, ABORTED, STATES };
enum op { PUT, GET, PUT_MANY, GET_MANY, TASK_DONE, JOIN, CLOSE, ABORT, OPS };
enum form { PLAIN, TRY, PAST_DEADLINE, FUTURE_DEADLINE, FORMS };

#define WAITS EAGAIN          /* EAGAIN, ETIMEDOUT, or waits, as the form is */
#define UNFINISHED_TELLS (-1) /* the same in every state */
#define EVERYWHERE(what) what, what, what, what, what, what

static const char *const state_names[STATES] = {"open",   "empty",  "full", "closed with items",
                                                "closed", "aborted"};
static const char *const op_names[OPS] = {"put",       "get",  "put_many", "get_many",
                                          "task_done", "join", "close",    "abort"};
static const char *const form_names[FORMS] = {"", "try", "past", "future"};

static const int table[OPS][STATES] = {
    /*              open  empty  full   closed     closed, empty  aborted */
    [PUT] = {0, 0, WAITS, ESHUTDOWN, ESHUTDOWN, ESHUTDOWN},
    [GET] = {0, WAITS, 0, 0, ESHUTDOWN, ESHUTDOWN},
    [PUT_MANY] = {0, 0, WAITS, ESHUTDOWN, ESHUTDOWN, ESHUTDOWN},
    [GET_MANY] = {0, WAITS, 0, 0, ESHUTDOWN, ESHUTDOWN},
    [TASK_DONE] = {EVERYWHERE(UNFINISHED_TELLS)},
    [JOIN] = {EVERYWHERE(UNFINISHED_TELLS)},
    [CLOSE] = {EVERYWHERE(0)},
    [ABORT] = {EVERYWHERE(0)},
};

struct cell {
    const struct shape *shape;
    enum state state;
    bool unfinished; /* an item was got and is still being worked on; else all is done */
    enum op op;
    enum form form;
};

static uint32_t items_in(enum state state)
{
    return state == OPEN_FULL ? BOUND : state == OPEN || state == CLOSED_ITEMS ? 1 : 0;
}

/* Whatever the order, 1 leaves first. */
static void fill_from_one(thrum_queue_t *q, thrum_order_t order, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        fill(q, order == THRUM_LIFO ? n - i : i + 1, 1);
}

/* One item was got, and then as many put as belong there. */
static thrum_queue_t *prepare(const struct cell *cell)
{
    const uint32_t in = items_in(cell->state);
    uint32_t item = 1;
    thrum_queue_t *q = queue_of_numbers(cell->shape->order, cell->shape->capacity);
    EXPECT_CALL(0, thrum_queue_put(q, &item));
    EXPECT_CALL(0, thrum_queue_get(q, &item));
    fill_from_one(q, cell->shape->order, in);
    for (uint32_t i = 0; !cell->unfinished && i <= in; i++)
        EXPECT_CALL(0, thrum_queue_task_done(q));
    if (cell->state == ABORTED) {
        fill(q, 1, 1);
        EXPECT_CALL(0, thrum_queue_abort(q));
    } else if (cell->state >= CLOSED_ITEMS) {
        EXPECT_CALL(0, thrum_queue_close(q));
    }
    return q;
}

static bool exists(const struct cell *cell)
{
    if (cell->state == OPEN_FULL && cell->shape->capacity == 0)
        return false;
    switch (cell->op) {
    case PUT:
    case GET:
    case JOIN:
        return true;
    case PUT_MANY:
    case GET_MANY:
        return cell->form != TRY;
    default:
        return cell->form == PLAIN;
    }
}

static int expected(const struct cell *cell)
{
    const int err = table[cell->op][cell->state];
    if (err != UNFINISHED_TELLS)
        return err;
    if (cell->op == TASK_DONE)
        return cell->unfinished ? 0 : EINVAL;
    return cell->unfinished ? WAITS : 0;
}

typedef int (*call_fn)(void *);

static int call_tryput(void *arg)
{
    struct call *c = arg;
    return thrum_queue_tryput(c->q, c->items);
}

static int call_tryget(void *arg)
{
    struct call *c = arg;
    return thrum_queue_tryget(c->q, c->items);
}

static int call_tryjoin(void *arg)
{
    struct call *c = arg;
    return thrum_queue_tryjoin(c->q);
}

static int call_task_done(void *arg)
{
    struct call *c = arg;
    return thrum_queue_task_done(c->q);
}

static int call_close(void *arg)
{
    struct call *c = arg;
    return thrum_queue_close(c->q);
}

static int call_abort(void *arg)
{
    struct call *c = arg;
    return thrum_queue_abort(c->q);
}

static const call_fn calls[OPS][FORMS] = {
    [PUT] = {call_put, call_tryput, call_put_until, call_put_until},
    [GET] = {call_get, call_tryget, call_get_until, call_get_until},
    [PUT_MANY] = {call_put_many, NULL, call_put_many, call_put_many},
    [GET_MANY] = {call_get_many, NULL, call_get_many, call_get_many},
    [TASK_DONE] = {call_task_done, NULL, NULL, NULL},
    [JOIN] = {call_join, call_tryjoin, call_join_until, call_join_until},
    [CLOSE] = {call_close, NULL, NULL, NULL},
    [ABORT] = {call_abort, NULL, NULL, NULL},
};

/* It waits until it is cancelled. */
static int call_that_waits(struct call *c, call_fn fn)
{
    call_asleep(c, fn);
    cr_expect(caller_stays(&c->caller));
    caller_cancel(&c->caller);
    const int err = call_join_thread(c);
    return err == ECANCELED ? WAITS : err;
}

static int make_call(const struct cell *cell, struct call *c, bool waits)
{
    const call_fn fn = calls[cell->op][cell->form];
    if (cell->form == PAST_DEADLINE)
        c->deadline = cell->unfinished ? PAST : INT64_MIN;
    if (cell->form == FUTURE_DEADLINE)
        c->deadline = waits ? SOON : FAR_AWAY;
    if (cell->form == PLAIN && waits)
        return call_that_waits(c, fn);
    errno = ERRNO_MARK;
    const int err = fn(c);
    cr_expect_eq(errno, ERRNO_MARK);
    if (waits && cell->form != TRY)
        return err == ETIMEDOUT ? WAITS : err;
    return err;
}

static bool is_put(enum op op)
{
    return op == PUT || op == PUT_MANY;
}

static bool is_get(enum op op)
{
    return op == GET || op == GET_MANY;
}

/* What has changed, and that nothing else has. */
static void judge(const struct cell *cell, const struct call *c, int err, const char *where)
{
    const size_t in = items_in(cell->state);
    const size_t before = cell->state == ABORTED ? cell->unfinished : cell->unfinished ? 1 + in : 0;
    const size_t put = is_put(cell->op) && err == 0;
    const size_t got = is_get(cell->op) && err == 0;
    const size_t done = cell->op == TASK_DONE && err == 0;
    const size_t batch = cell->op == PUT_MANY || cell->op == GET_MANY;
    cr_expect_eq(c->done, batch * (put + got), "%s: done", where);
    if (is_get(cell->op))
        cr_expect_eq(c->items[0], got != 0 ? 1 : UNTOUCHED, "%s: the item", where);
    if (cell->op == ABORT) {
        cr_expect_eq(thrum_queue_size(c->q), 0u, "%s: size", where);
        cr_expect_eq(thrum_queue_unfinished(c->q), (size_t)cell->unfinished, "%s: unfinished",
                     where);
        return;
    }
    cr_expect_eq(thrum_queue_size(c->q), in + put - got, "%s: size", where);
    cr_expect_eq(thrum_queue_unfinished(c->q), before + put - done, "%s: unfinished", where);
}

static void check(const struct cell *cell)
{
    char where[128];
    struct call c;
    const int err = expected(cell);
    snprintf(where, sizeof where, "%s, %s, %s: %s %s", cell->shape->name, state_names[cell->state],
             cell->unfinished ? "unfinished" : "finished", op_names[cell->op],
             form_names[cell->form]);
    call_begin(&c, prepare(cell));
    c.n = 1;
    const int got = make_call(cell, &c, err == WAITS);
    cr_expect_eq(got, err, "%s: %d, expected %d", where, got, err);
    judge(cell, &c, got, where);
    thrum_queue_destroy(c.q);
}

static void check_op(enum op op)
{
    for (EACH_SHAPE(shape)) {
        for (unsigned i = 0; i < STATES * FORMS * 2; i++) {
            const struct cell cell = {shape, i / 2 / FORMS, i % 2 != 0, op, i / 2 % FORMS};
            if (exists(&cell))
                check(&cell);
        }
    }
}

Test(queue_state, put)
{
    check_op(PUT);
}

Test(queue_state, get)
{
    check_op(GET);
}

Test(queue_state, put_many)
{
    check_op(PUT_MANY);
}

Test(queue_state, get_many)
{
    check_op(GET_MANY);
}

Test(queue_state, task_done)
{
    check_op(TASK_DONE);
}

Test(queue_state, join)
{
    check_op(JOIN);
}

Test(queue_state, close)
{
    check_op(CLOSE);
}

Test(queue_state, abort)
{
    check_op(ABORT);
}
