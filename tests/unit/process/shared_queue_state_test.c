#include "shared_queues.h"

/* The state table of the header, cell by cell, for every order; the call is another process's. */
TestSuite(shared_queue_state, .timeout = 120);

enum state { OPEN, OPEN_EMPTY, OPEN_FULL, CLOSED_ITEMS, CLOSED_EMPTY, ABORTED, STATES };
enum op { PUT, GET, TASK_DONE, JOIN, CLOSE, ABORT, OPS };
enum form { PLAIN, TRY, PAST_DEADLINE, FUTURE_DEADLINE, FORMS };

#define WAITS EAGAIN
#define UNFINISHED_TELLS (-1)
#define EVERYWHERE(what) what, what, what, what, what, what
#define BOUND 3u
#define WAITED 100 /* how a call ends that waited as long as it might */

static const char *const state_names[STATES] = {"open",   "empty",  "full", "closed with items",
                                                "closed", "aborted"};
static const char *const op_names[OPS] = {"put", "get", "task_done", "join", "close", "abort"};
static const char *const form_names[FORMS] = {"", "try", "past", "future"};

static const int table[OPS][STATES] = {
    /*       open  empty  full   closed     closed, empty  aborted */
    [PUT] = {0, 0, WAITS, ESHUTDOWN, ESHUTDOWN, ESHUTDOWN},
    [GET] = {0, WAITS, 0, 0, ESHUTDOWN, ESHUTDOWN},
    [TASK_DONE] = {EVERYWHERE(UNFINISHED_TELLS)},
    [JOIN] = {EVERYWHERE(UNFINISHED_TELLS)},
    [CLOSE] = {EVERYWHERE(0)},
    [ABORT] = {EVERYWHERE(0)},
};

struct cell {
    thrum_order_t order;
    enum state state;
    bool unfinished; /* an item was got and is still being worked on; else all is done */
    enum op op;
    enum form form;
    size_t size; /* of items */
    thrum_shared_queue_t *q;
};

static uint32_t items_in(enum state state)
{
    return state == OPEN_FULL ? BOUND : state == OPEN || state == CLOSED_ITEMS ? 1 : 0;
}

static void prepare(struct cell *cell, thrum_shared_t *arena)
{
    const uint32_t in = items_in(cell->state);
    uint32_t number = 0;
    thrum_shared_queue_t *q = a_queue(arena, cell->order, BOUND);
    cell->q = q;
    EXPECT_CALL(0, put_number(q, 1, cell->size, PAST));
    EXPECT_CALL(0, get_number(q, &number, PAST));
    for (uint32_t i = 1; i <= in; i++)
        EXPECT_CALL(0, put_number(q, cell->order == THRUM_LIFO ? in + 1 - i : i, cell->size, PAST));
    for (uint32_t i = 0; !cell->unfinished && i <= in; i++)
        EXPECT_CALL(0, thrum_shared_queue_task_done(q));
    if (cell->state == ABORTED) {
        EXPECT_CALL(0, put_number(q, 1, cell->size, PAST));
        EXPECT_CALL(0, thrum_shared_queue_abort(q));
    } else if (cell->state >= CLOSED_ITEMS) {
        EXPECT_CALL(0, thrum_shared_queue_close(q));
    }
}

static bool exists(const struct cell *cell)
{
    return cell->op <= GET || cell->op == JOIN || cell->form == PLAIN;
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

static int put_in_form(const struct cell *cell, thrum_time_t deadline)
{
    unsigned char bytes[LARGE_SIZE];
    fill_item(bytes, 9, cell->size);
    if (cell->form == PLAIN)
        return thrum_shared_queue_put(cell->q, bytes, cell->size);
    if (cell->form == TRY)
        return thrum_shared_queue_tryput(cell->q, bytes, cell->size);
    return thrum_shared_queue_put_until(cell->q, bytes, cell->size, deadline);
}

static int get_in_form(const struct cell *cell, thrum_time_t deadline)
{
    unsigned char bytes[LARGE_SIZE];
    size_t size = 0;
    int err = 0;
    if (cell->form == PLAIN)
        err = thrum_shared_queue_get(cell->q, bytes, sizeof bytes, &size);
    else if (cell->form == TRY)
        err = thrum_shared_queue_tryget(cell->q, bytes, sizeof bytes, &size);
    else
        err = thrum_shared_queue_get_until(cell->q, bytes, sizeof bytes, &size, deadline);
    return err != 0 || number_of(bytes, size) == 1 ? err : 99;
}

static int join_in_form(const struct cell *cell, thrum_time_t deadline)
{
    if (cell->form == PLAIN)
        return thrum_shared_queue_join(cell->q);
    if (cell->form == TRY)
        return thrum_shared_queue_tryjoin(cell->q);
    return thrum_shared_queue_join_until(cell->q, deadline);
}

static int call(void *arg)
{
    const struct cell *cell = arg;
    const bool waits = expected(cell) == WAITS;
    const thrum_time_t future = waits ? SOON : thrum_after(THRUM_S(1000));
    const thrum_time_t deadline = cell->form == FUTURE_DEADLINE ? future
                                  : cell->unfinished            ? PAST
                                                                : INT64_MIN;
    int err = 0;
    errno = ERRNO_MARK;
    switch (cell->op) {
    case PUT:
        err = put_in_form(cell, deadline);
        break;
    case GET:
        err = get_in_form(cell, deadline);
        break;
    case JOIN:
        err = join_in_form(cell, deadline);
        break;
    case TASK_DONE:
        err = thrum_shared_queue_task_done(cell->q);
        break;
    case CLOSE:
        err = thrum_shared_queue_close(cell->q);
        break;
    default:
        err = thrum_shared_queue_abort(cell->q);
    }
    return errno != ERRNO_MARK ? 98 : err == ETIMEDOUT ? WAITED : err;
}

static int make_call(struct cell *cell)
{
    const bool waits = expected(cell) == WAITS;
    const thi_queue_memory_t *m = cell->q->memory;
    const pid_t pid = victim_start(call, cell);
    if (waits && cell->form == PLAIN) { /* it waits until it is killed, which changes nothing */
        await_sleepers(cell->op == PUT ? &m->head : cell->op == GET ? &m->tail : &m->done);
        victim_kill(pid);
        return WAITS;
    }
    const int end = victim_end(pid);
    return waits && cell->form != TRY ? end == WAITED ? WAITS : end : end;
}

/* What has changed, and that nothing else has. */
static void judge(const struct cell *cell, int err, const char *where)
{
    const size_t in = items_in(cell->state);
    const size_t before = cell->state == ABORTED ? cell->unfinished : cell->unfinished ? 1 + in : 0;
    const size_t put = cell->op == PUT && err == 0;
    const size_t got = cell->op == GET && err == 0;
    const size_t done = cell->op == TASK_DONE && err == 0;
    const size_t size = cell->op == ABORT ? 0 : in + put - got;
    const size_t unfinished = cell->op == ABORT ? cell->unfinished : before + put - done;
    cr_expect_eq(thrum_shared_queue_size(cell->q), size, "%s: size", where);
    cr_expect_eq(thrum_shared_queue_unfinished(cell->q), unfinished, "%s: unfinished", where);
    cr_expect_eq(thrum_shared_queue_empty(cell->q), size == 0, "%s: empty", where);
    cr_expect_eq(thrum_shared_queue_full(cell->q), size == BOUND, "%s: full", where);
}

static void check_cell(struct cell *cell, thrum_shared_t *arena)
{
    char where[100];
    snprintf(where, sizeof where, "%s%s, order %d, %s, size %zu%s", form_names[cell->form],
             op_names[cell->op], (int)cell->order, state_names[cell->state], cell->size,
             cell->unfinished ? ", unfinished" : "");
    prepare(cell, arena);
    const int err = make_call(cell);
    cr_expect_eq(err, expected(cell), "%s: %d", where, err);
    judge(cell, err, where);
    thrum_shared_queue_destroy(cell->q);
}

static void check_order(thrum_order_t order)
{
    thrum_shared_t *arena = an_arena();
    struct cell cell = {.order = order};
    for (cell.state = 0; cell.state < STATES; cell.state++)
        for (cell.op = 0; cell.op < OPS; cell.op++)
            for (cell.form = 0; cell.form < FORMS; cell.form++)
                for (unsigned i = 0; exists(&cell) && i < 4; i++) {
                    cell.unfinished = i % 2 != 0;
                    cell.size = i / 2 != 0 ? LARGE_SIZE : 8;
                    check_cell(&cell, arena);
                }
    thrum_shared_destroy(arena);
}

Test(shared_queue_state, fifo)
{
    check_order(THRUM_FIFO);
}

Test(shared_queue_state, lifo)
{
    check_order(THRUM_LIFO);
}

Test(shared_queue_state, priority)
{
    check_order(THRUM_PRIORITY);
}
