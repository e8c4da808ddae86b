/*
 * The array that LIFO and PRIORITY queues keep their entries in. A bounded queue reserves all of it when
 * it is made; another one doubles and halves, so that it holds at most four times what is needed.
 */
#include "queue/core.h"

#define ROOM_MIN 16u

static bool move_to(thi_store_t *store, size_t count, size_t room)
{
    if (room >= PTRDIFF_MAX / store->entry_size)
        return false;
    unsigned char *entries = thi_alloc((room + 1) * store->entry_size);
    if (entries == NULL)
        return false;
    if (count != 0)
        memcpy(entries, store->entries, count * store->entry_size);
    thi_store_end(store);
    store->entries = entries;
    store->room = room;
    return true;
}

bool thi_store_reserve(thi_store_t *store, size_t count, size_t n)
{
    if (THI_LIKELY(n <= store->room - count))
        return true;
    size_t room = store->room < ROOM_MIN ? ROOM_MIN : store->room * 2;
    if (store->room == 0 || room - count < n)
        room = count + n < ROOM_MIN ? ROOM_MIN : count + n;
    return move_to(store, count, room);
}

void thi_store_shrink(thi_store_t *store, size_t count)
{
    if (THI_UNLIKELY(store->room / 4 > count && store->room / 2 >= ROOM_MIN))
        (void)move_to(store, count, store->room / 2); /* no memory: it stays as it is */
}

void thi_store_end(thi_store_t *store)
{
    if (store->entries != NULL)
        thi_free(store->entries, (store->room + 1) * store->entry_size);
}
