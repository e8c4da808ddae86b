/*
 * Queues between processes: creation, handles, destruction.
 */
#include "process/shared_queue.h"

_Static_assert(sizeof(thi_shared_slot_t) == 8, "a slot of 64 bytes takes 72");

/* --- sizes ---------------------------------------------------------------------------------------- */

static uint64_t rounded_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

static uint64_t power_of_two(uint64_t least)
{
    uint64_t n = 1;
    while (n < least)
        n *= 2;
    return n;
}

#define SIZE_LIMIT (UINT64_C(1) << 46) /* of everything: what processors can address */

/* Fills in the sizes; returns how many bytes all of it takes, 0 when that cannot be. */
static uint64_t lay_out(thi_queue_memory_t *m, const thrum_shared_queue_config_t *config)
{
    const bool ranked = config->order == THRUM_PRIORITY;
    /* At least the offset of a block. */
    const uint64_t inside = config->item_size > 8 ? config->item_size : 8;
    if (inside > SIZE_LIMIT || config->capacity > SIZE_LIMIT)
        return 0;
    m->order = (uint32_t)config->order;
    m->item_size = config->item_size;
    m->capacity = config->capacity;
    m->slot_count = config->order == THRUM_FIFO ? power_of_two(m->capacity) : m->capacity;
    m->slot_size =
        sizeof(thi_shared_slot_t) + rounded_up(inside, 8) + (ranked ? sizeof(thi_ranked_t) : 0);
    m->slots = rounded_up(sizeof *m, THI_LINES);
    if (m->slot_count > SIZE_LIMIT / m->slot_size)
        return 0;
    m->entries = rounded_up(m->slots + m->slot_count * m->slot_size, 8);
    return m->entries + (ranked ? m->capacity * sizeof(thi_rank_entry_t) : 0);
}

/* --- handles -------------------------------------------------------------------------------------- */

static int make_handle(thrum_shared_queue_t **out, thrum_shared_t *arena, thi_queue_memory_t *m)
{
    thrum_shared_queue_t *q = thi_alloc(sizeof *q);
    if (q == NULL)
        return ENOMEM;
    *q = (thrum_shared_queue_t){
        .memory = m,
        .arena = arena,
        .get_guard = m->order == THRUM_FIFO ? &m->get_guard : &m->put_guard,
        .put_guard = &m->put_guard,
        .slots = (unsigned char *)m + m->slots,
        .entries = (thi_rank_entry_t *)(void *)((unsigned char *)m + m->entries),
        .slot_size = m->slot_size,
        .mask = m->slot_count - 1,
        .capacity = m->capacity,
        .item_size = m->item_size,
        .order = (thrum_order_t)m->order,
    };
    *out = q;
    return 0;
}

static int check(const thrum_shared_queue_config_t *config)
{
    if (!THI_IS_CONFIG(config))
        return EINVAL;
    if (config->capacity == 0)
        return EINVAL;
    return config->order == THRUM_FIFO || config->order == THRUM_LIFO ||
                   config->order == THRUM_PRIORITY
               ? 0
               : EINVAL;
}

static int begin(thi_queue_memory_t *m, const thi_queue_memory_t *sizes)
{
    thi_guard_t *const guards[] = {&m->put_guard, &m->get_guard, &m->done_guard};
    memset(m, 0, sizeof *m);
    *m = *sizes;
    for (size_t i = 0; i < sizeof guards / sizeof *guards; i++) {
        const int err = thi_guard_init(guards[i]);
        if (err != 0)
            return err;
    }
    return 0;
}

int thrum_shared_queue_create(thrum_shared_queue_t **q, thrum_shared_t *arena,
                              const thrum_shared_queue_config_t *config)
{
    const thrum_shared_queue_config_t defaults = THRUM_SHARED_QUEUE_CONFIG_INIT;
    thi_queue_memory_t sizes = {0};
    void *block = NULL;
    if (config == NULL)
        config = &defaults;
    if (q == NULL || arena == NULL || check(config) != 0)
        return EINVAL;
    const uint64_t size = lay_out(&sizes, config);
    if (size == 0)
        return ENOMEM;
    int err = thrum_shared_alloc(arena, size + THI_LINES, &block);
    if (err != 0)
        return err;
    thi_queue_memory_t *m =
        (thi_queue_memory_t *)(void *)((unsigned char *)block +
                                       (THI_LINES - (uintptr_t)block % THI_LINES));
    sizes.block = thrum_shared_offset(arena, block);
    err = begin(m, &sizes);
    if (err == 0)
        err = make_handle(q, arena, m);
    if (err != 0) {
        (void)thrum_shared_free(arena, block);
        return err;
    }
    if (m->order == THRUM_PRIORITY) {
        memset((*q)->slots, 0, m->slot_count * m->slot_size);
        thi_order_repair(*q);
    }
    thi_store_release(&m->kind, THI_QUEUE_KIND);
    return 0;
}

int thrum_shared_queue_open(thrum_shared_queue_t **q, thrum_shared_t *arena, uint64_t offset)
{
    if (q == NULL || arena == NULL || offset % THI_LINES != 0)
        return EINVAL;
    if (offset == 0 || offset + sizeof(thi_queue_memory_t) > thrum_shared_size(arena))
        return EINVAL;
    thi_queue_memory_t *m = thrum_shared_pointer(arena, offset);
    if (m == NULL || thi_load_acquire(&m->kind) != THI_QUEUE_KIND)
        return EINVAL;
    return make_handle(q, arena, m);
}

uint64_t thrum_shared_queue_offset(const thrum_shared_queue_t *q)
{
    return q != NULL ? thrum_shared_offset(q->arena, q->memory) : 0;
}

void thrum_shared_queue_release(thrum_shared_queue_t *q)
{
    if (q != NULL)
        thi_free(q, sizeof *q);
}

void thrum_shared_queue_destroy(thrum_shared_queue_t *q)
{
    if (q == NULL)
        return;
    (void)thrum_shared_queue_abort(q); /* gives the blocks back */
    thi_store_release(&q->memory->kind, UINT64_C(0));
    (void)thrum_shared_free(q->arena, thrum_shared_pointer(q->arena, q->memory->block));
    thrum_shared_queue_release(q);
}
