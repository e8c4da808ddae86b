/*
 * Any sequence of calls on a queue, beside the same on a model of it: order, capacity and item size are
 * the first bytes, the calls the rest. One strand: nothing here waits.
 */
#include <poll.h>

#include <thrum/select.h>

#include "fuzz/fuzz.h"
#include "fuzz/queue_model.h"
#include "os/os.h"

#define PAST ((thrum_time_t)1)
#define BATCH_MAX 300u
#define ITEM_MAX 40u

struct run {
    struct bytes in;
    thrum_queue_t *q;
    size_t item_size;
    uint32_t stamp;
    int fd; /* -1: nobody asked */
    struct model model;
};

/* --- items: the key, and bytes that follow from the stamp ---------------------------------------------- */

static void write_item(const struct run *r, unsigned char *bytes, struct model_item item)
{
    bytes[0] = item.key;
    for (size_t i = 1; i < r->item_size; i++)
        bytes[i] = (unsigned char)((item.stamp >> i % 4 * 8) + i);
}

static struct model_item next_item(struct run *r, unsigned char *bytes, uint8_t key)
{
    const struct model_item item = {r->stamp++, key};
    write_item(r, bytes, item);
    return item;
}

static void check_item(const struct run *r, const unsigned char *bytes, struct model_item item)
{
    unsigned char expected[ITEM_MAX];
    write_item(r, expected, item);
    FUZZ_CHECK(memcmp(bytes, expected, r->item_size) == 0);
}

static int by_key(const void *a, const void *b, void *ctx)
{
    (void)ctx;
    return *(const unsigned char *)a - *(const unsigned char *)b;
}

/* --- puts ------------------------------------------------------------------------------------------------- */

/* The queue's answer to a form with a deadline, in the model's words. */
static int waits(int err)
{
    return err == ETIMEDOUT ? EAGAIN : err;
}

static void put_one(struct run *r, uint32_t form)
{
    unsigned char bytes[ITEM_MAX];
    if (r->model.count == MODEL_MAX)
        return;
    const struct model_item item = next_item(r, bytes, bytes_take(&r->in));
    const int expected = model_may_put(&r->model);
    int err = 0;
    if (form == 0 && expected != EAGAIN) /* it does not wait */
        err = thrum_queue_put(r->q, bytes);
    else if (form == 1)
        err = waits(thrum_queue_put_until(r->q, bytes, PAST));
    else
        err = thrum_queue_tryput(r->q, bytes);
    FUZZ_CHECK(err == expected);
    if (err == 0)
        model_put(&r->model, item);
}

static size_t room(const struct run *r)
{
    if (r->model.closed)
        return 0;
    const size_t most = r->model.capacity != 0 ? r->model.capacity : MODEL_MAX;
    return most - r->model.count;
}

static void put_many(struct run *r, bool faulty)
{
    static unsigned char bytes[BATCH_MAX * ITEM_MAX];
    static struct model_item items[BATCH_MAX];
    const uint32_t most = r->model.order == THRUM_PRIORITY ? 60 : BATCH_MAX;
    size_t n = bytes_take(&r->in) * 2u % most;
    size_t done = SIZE_MAX;
    const uint8_t keys = bytes_take(&r->in); /* few, so that there are ties */
    if (n > MODEL_MAX - r->model.count)
        n = MODEL_MAX - r->model.count;
    for (size_t i = 0; i < n; i++)
        items[i] = next_item(r, bytes + i * r->item_size, (uint8_t)(keys + i * 37 % 5));
    const size_t fit = n < room(r) ? n : room(r);
    if (faulty) {
        thi_fault_arm(THI_FAULT_ALLOC, 1);
        thi_fault_arm(THI_FAULT_PAGES, 1);
    }
    const int err = waits(thrum_queue_put_many(r->q, bytes, n, &done, PAST));
    thi_fault_arm(THI_FAULT_ALLOC, 0);
    thi_fault_arm(THI_FAULT_PAGES, 0);
    FUZZ_CHECK(err == ENOMEM ? faulty && done < n : done == fit);
    if (err != ENOMEM)
        FUZZ_CHECK(err == (fit == n ? 0 : r->model.closed ? ESHUTDOWN : EAGAIN));
    for (size_t i = 0; i < done; i++)
        model_put(&r->model, items[i]);
}

/* --- gets ------------------------------------------------------------------------------------------------- */

static void get_one(struct run *r, uint32_t form)
{
    unsigned char bytes[ITEM_MAX];
    const int expected = model_may_get(&r->model);
    int err = 0;
    if (form == 0 && expected != EAGAIN)
        err = thrum_queue_get(r->q, bytes);
    else if (form == 1)
        err = waits(thrum_queue_get_until(r->q, bytes, PAST));
    else
        err = thrum_queue_tryget(r->q, bytes);
    FUZZ_CHECK(err == expected);
    if (err == 0)
        check_item(r, bytes, model_get(&r->model));
}

static void get_many(struct run *r)
{
    static unsigned char bytes[BATCH_MAX * ITEM_MAX];
    const size_t n = bytes_take(&r->in) * 2u % BATCH_MAX;
    size_t done = SIZE_MAX;
    const int expected = n == 0 ? 0 : model_may_get(&r->model);
    const int err = waits(thrum_queue_get_many(r->q, bytes, n, &done, PAST));
    FUZZ_CHECK(err == expected);
    FUZZ_CHECK(done <= n && done <= r->model.count);
    FUZZ_CHECK((done != 0) == (err == 0 && n != 0));
    for (size_t i = 0; i < done; i++)
        check_item(r, bytes + i * r->item_size, model_get(&r->model));
}

/* --- select: the queue on both sides, an event and a semaphore -------------------------------------------- */

enum { GET, PUT, EVENT, SEM, CASES };

static void check_selected(const int *expected, int err, size_t chosen)
{
    bool ready = false;
    for (int i = 0; i < CASES; i++)
        ready = ready || expected[i] != EAGAIN;
    FUZZ_CHECK(ready == (err != EAGAIN));
    if (ready) {
        FUZZ_CHECK(chosen < CASES);
        FUZZ_CHECK(expected[chosen] == err);
    } else {
        FUZZ_CHECK(chosen == SIZE_MAX);
    }
}

static void select_one(struct run *r)
{
    unsigned char in[ITEM_MAX], out[ITEM_MAX];
    thrum_event_t event = THRUM_EVENT_INIT;
    thrum_sem_t sem = THRUM_SEM_INIT(0);
    const uint32_t what = bytes_take(&r->in);
    size_t chosen = SIZE_MAX;
    if (r->model.count == MODEL_MAX)
        return;
    const struct model_item item = next_item(r, in, bytes_take(&r->in));
    thrum_case_t cases[CASES] = {THRUM_CASE_NONE, THRUM_CASE_NONE, THRUM_CASE_EVENT(&event),
                                 THRUM_CASE_SEM(&sem)};
    int expected[CASES] = {EAGAIN, EAGAIN, (what & 1) != 0 ? 0 : EAGAIN,
                           (what & 2) != 0 ? 0 : EAGAIN};
    if ((what & 1) != 0)
        thrum_event_set(&event);
    if ((what & 2) != 0)
        FUZZ_CHECK(thrum_sem_release(&sem) == 0);
    if ((what & 4) != 0) {
        cases[GET] = (thrum_case_t)THRUM_CASE_GET(r->q, out);
        expected[GET] = model_may_get(&r->model);
    }
    if ((what & 8) != 0) {
        cases[PUT] = (thrum_case_t)THRUM_CASE_PUT(r->q, in);
        expected[PUT] = model_may_put(&r->model);
    }
    const int err = (what & 16) != 0 ? thrum_tryselect(cases, CASES, &chosen)
                                     : waits(thrum_select(cases, CASES, PAST, &chosen));
    check_selected(expected, err, chosen);
    if (err == 0 && chosen == GET)
        check_item(r, out, model_get(&r->model));
    if (err == 0 && chosen == PUT)
        model_put(&r->model, item);
    FUZZ_CHECK(thrum_event_is_set(&event) == ((what & 1) != 0));
    FUZZ_CHECK(thrum_sem_value(&sem) == (expected[SEM] == 0 && chosen != SEM));
}

/* --- the rest ----------------------------------------------------------------------------------------------- */

static void look(struct run *r)
{
    const struct model *m = &r->model;
    FUZZ_CHECK(thrum_queue_size(r->q) == m->count);
    FUZZ_CHECK(thrum_queue_unfinished(r->q) == m->unfinished);
    FUZZ_CHECK(thrum_queue_empty(r->q) == (m->count == 0));
    FUZZ_CHECK(thrum_queue_full(r->q) == model_full(m));
    FUZZ_CHECK(thrum_queue_capacity(r->q) == m->capacity);
    if (r->fd >= 0) {
        struct pollfd p = {.fd = r->fd, .events = POLLIN};
        FUZZ_CHECK((poll(&p, 1, 0) == 1) == (m->count != 0 || m->closed));
    }
}

static void finish(struct run *r)
{
    for (uint32_t i = bytes_below(&r->in, 20); i != 0; i--)
        FUZZ_CHECK(thrum_queue_task_done(r->q) == model_task_done(&r->model));
    FUZZ_CHECK(thrum_queue_tryjoin(r->q) == model_join(&r->model));
    FUZZ_CHECK(waits(thrum_queue_join_until(r->q, PAST)) == model_join(&r->model));
    if (model_join(&r->model) == 0)
        FUZZ_CHECK(thrum_queue_join(r->q) == 0);
}

/* Most of a run is before it. */
static void end(struct run *r)
{
    const uint8_t how = bytes_take(&r->in);
    if (how < 12) {
        FUZZ_CHECK(thrum_queue_close(r->q) == 0);
        r->model.closed = true;
    } else if (how < 20) {
        FUZZ_CHECK(thrum_queue_abort(r->q) == 0);
        model_abort(&r->model);
    } else if (how < 32) {
        FUZZ_CHECK(thrum_queue_fd(r->q, &r->fd) == 0);
    }
}

static void step(struct run *r)
{
    const uint32_t what = bytes_below(&r->in, 16);
    if (what < 4)
        put_one(r, what);
    else if (what < 8)
        get_one(r, what - 4);
    else if (what < 10)
        put_many(r, bytes_below(&r->in, 8) == 0);
    else if (what < 12)
        get_many(r);
    else if (what < 14)
        select_one(r);
    else if (what < 15)
        finish(r);
    else
        end(r);
    look(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t sizes[] = {1, 2, 3, 4, 5, 8, 12, 16, 17, ITEM_MAX};
    static const size_t capacities[] = {0, 0, 0, 1, 2, 3, 7, 8, 100, 1000};
    static struct run r;
    r.in = (struct bytes){data, size};
    r.stamp = 0;
    r.fd = -1;
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    config.order = (thrum_order_t)bytes_below(&r.in, 3);
    config.capacity = capacities[bytes_below(&r.in, 10)];
    config.item_size = r.item_size = sizes[bytes_below(&r.in, 10)];
    config.compare = by_key;
    FUZZ_CHECK(thrum_queue_create(&r.q, &config) == 0);
    model_begin(&r.model, config.order, config.capacity);
    while (r.in.left != 0)
        step(&r);
    thrum_queue_destroy(r.q);
    return 0;
}
