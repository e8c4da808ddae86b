/*
 * The life of a ring; its use stands in ring.h, to be inlined for the sizes that matter.
 */
#include "queue/ring.h"

static unsigned bits_for(size_t capacity)
{
    unsigned bits = 0;
    while (((size_t)1 << bits) < capacity)
        bits++;
    return bits;
}

void thi_ring_begin(thi_ring_t *ring, unsigned char *slots, size_t capacity)
{
    const unsigned bits = bits_for(capacity);
    const uint64_t places = UINT64_C(1) << bits;
    *ring = (thi_ring_t){
        .slots = slots,
        .bits = bits,
        .capacity = capacity,
        .positions = (places - 1) << THI_MARK_BITS,
        .limit = (uint64_t)capacity << THI_MARK_BITS,
        .skip = (places - capacity) << THI_MARK_BITS,
    };
}

/* Head and tail stand at the same index: the slots before it were used in this lap, the others not. */
bool thi_ring_is_quiet(const thi_ring_t *ring, size_t item_size)
{
    uint64_t index = thi_load_relaxed(&ring->tail);
    for (size_t i = 0; i < ring->capacity; i++) {
        /* A1: acquire; pairs with R2 of the slot's last getter. */
        if (thi_load_acquire(thi_ring_slot(ring, index, item_size)) != thi_ring_turn(ring, index))
            return false;
        index = thi_ring_next(ring, index);
    }
    return true;
}

/* Unless the slots are zero again they say what they said: the position stays, and a turn later means
 * the same. */
void thi_ring_renew(thi_ring_t *ring, bool zeroed)
{
    const uint64_t tail = thi_load_relaxed(&ring->tail);
    const uint64_t lap = thi_ring_lap(ring, tail) + 1;
    const uint64_t position = zeroed ? 0 : thi_ring_position(ring, tail);
    const uint64_t index = (lap << ring->bits | position) << THI_MARK_BITS;
    const uint32_t turn = zeroed ? (uint32_t)(lap << 1) : thi_ring_first_turn(ring) + 2;
    __atomic_store_n(&ring->first_turn, turn, __ATOMIC_RELAXED);
    ring->next = NULL;
    thi_store_relaxed(&ring->head, index | THI_BEHIND);
    thi_store_relaxed(&ring->tail, index | THI_SEALED);
}
