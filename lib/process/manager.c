/*
 * The lock of a map or list, and how a change is made in one step.
 */
#include "process/manager.h"

int thi_copy_out(const void *data, uint64_t size, thi_room_t room)
{
    if (room.size != NULL)
        *room.size = (size_t)size;
    if (size > room.capacity)
        return EMSGSIZE;
    if (size != 0)
        memcpy(room.buf, data, size);
    return 0;
}

int thi_add_to(void *value, int64_t delta, int64_t *sum)
{
    int64_t *number = value;
    if (__builtin_add_overflow(thi_load_relaxed(number), delta, sum))
        return EOVERFLOW;
    thi_store_release(number, *sum);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Changes
 */

int thi_change_begin(thi_manager_t *manager, size_t size, void **block)
{
    thi_change_t *change = &manager->memory->change;
    const int err = thi_shared_alloc_into(manager->arena, size, &change->fresh);
    thi_death_point("change: a block");
    if (err == 0)
        *block = thi_manager_at(manager, change->fresh);
    return err;
}

static void drop(thi_manager_t *manager)
{
    thi_shared_free_from(manager->arena, &manager->memory->change.fresh, 0);
}

/* It was made. */
static void finish(thi_manager_t *manager)
{
    thi_change_t *change = &manager->memory->change;
    thi_death_point("change: made");
    if (change->deep != 0 && change->stale != 0)
        manager->empty(manager, change->stale);
    thi_death_point("change: emptied");
    if (change->stale != 0)
        thi_shared_free_from(manager->arena, &change->stale, 0);
    thi_death_point("change: given back");
    thi_store_release(&change->fresh, UINT64_C(0)); /* it is reached by now */
    thi_death_point("change: finished");
    thi_store_release(&change->where, UINT64_C(0));
}

void thi_change_make(thi_manager_t *manager, uint64_t *where, uint64_t value, uint64_t stale,
                     bool deep)
{
    thi_change_t *change = &manager->memory->change;
    change->stale = stale;
    change->value = value;
    change->deep = deep;
    thi_death_point("change: written down");
    thi_store_release(&change->where, thrum_shared_offset(manager->arena, where));
    thi_death_point("change: about to be made");
    thi_store_release(where, value);
    finish(manager);
}

/* A holder was killed: what he had begun is finished if it was made, or else undone. */
THI_COLD static void mend(thi_manager_t *manager)
{
    thi_change_t *change = &manager->memory->change;
    if (change->where != 0) {
        const uint64_t *where = thi_manager_at(manager, change->where);
        if (thi_load_acquire(where) == change->value)
            finish(manager);
        else
            thi_store_release(&change->where, UINT64_C(0));
    }
    thi_death_point("change: mended");
    if (change->fresh != 0)
        drop(manager);
    if (manager->mend != NULL)
        manager->mend(manager);
}

/* ------------------------------------------------------------------------------------------------
 * The lock
 */

static int mended(thi_manager_t *manager, int err)
{
    if (THI_LIKELY(err != EOWNERDEAD))
        return err;
    mend(manager);
    return 0;
}

int thi_manager_lock(thi_manager_t *manager)
{
    return mended(manager, thrum_shared_rlock_lock(&manager->memory->lock));
}

int thi_manager_trylock(thi_manager_t *manager)
{
    return mended(manager, thrum_shared_rlock_trylock(&manager->memory->lock));
}

int thi_manager_lock_until(thi_manager_t *manager, thrum_time_t deadline)
{
    return mended(manager, thrum_shared_rlock_lock_until(&manager->memory->lock, deadline));
}

int thi_manager_unlock(thi_manager_t *manager)
{
    return thrum_shared_rlock_unlock(&manager->memory->lock);
}

/* ------------------------------------------------------------------------------------------------
 * Beginning and end
 */

int thi_manager_create(thi_manager_t *manager, thrum_shared_t *arena, size_t size, uint64_t kind)
{
    void *block = NULL;
    int err = thrum_shared_alloc(arena, size, &block);
    if (err != 0)
        return err;
    memset(block, 0, size);
    manager->memory = block;
    manager->arena = arena;
    err = thrum_shared_rlock_init(&manager->memory->lock);
    if (err != 0)
        (void)thrum_shared_free(arena, block);
    else
        thi_store_release(&manager->memory->kind, kind);
    return err;
}

int thi_manager_open(thi_manager_t *manager, thrum_shared_t *arena, uint64_t offset, size_t size,
                     uint64_t kind)
{
    if (offset == 0 || offset % THRUM_SHARED_ALIGNMENT != 0 ||
        offset + size > thrum_shared_size(arena))
        return EINVAL;
    thi_managed_t *memory = thrum_shared_pointer(arena, offset);
    if (memory == NULL || thi_load_acquire(&memory->kind) != kind)
        return EINVAL;
    manager->memory = memory;
    manager->arena = arena;
    return 0;
}

void thi_manager_destroy(thi_manager_t *manager)
{
    thi_managed_t *memory = manager->memory;
    (void)thi_manager_lock(manager);
    const uint64_t root = memory->root;
    if (root != 0)
        thi_change_make(manager, &memory->root, 0, root, true);
    thi_store_release(&memory->kind, UINT64_C(0));
    (void)thi_manager_unlock(manager);
    (void)thrum_shared_free(manager->arena, memory);
}
