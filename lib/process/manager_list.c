/*
 * A list in shared memory: an array of the offsets of its values, twice, of which one half is the list. What
 * changes at the end is done in place; what changes in the middle is written to the other half, which then
 * becomes the list.
 *
 *   array   room, state, two times `room` offsets
 *   state   63         1     0
 *          +------------+-------+
 *          |   count    | half  |
 *          +------------+-------+
 *   value   size, bytes; never changed but for that of an add, which is one store
 */
#include "process/manager.h"

#define ROOM_MIN 8u
#define KIND UINT64_C(0x7473694c75726874)

typedef struct list_memory {
    thi_managed_t managed;
} list_memory_t;

typedef struct array {
    uint64_t room;
    uint64_t state;
    uint64_t values[];
} array_t;

typedef struct value {
    uint64_t size;
    unsigned char bytes[];
} value_t;

struct thrum_shared_list {
    thi_manager_t manager;
};

/* ------------------------------------------------------------------------------------------------
 * Arrays and values
 */

static array_t *array_of(const thi_manager_t *manager)
{
    const uint64_t root = manager->memory->root;
    return root != 0 ? thi_manager_at(manager, root) : NULL;
}

static uint64_t count_of(const array_t *array)
{
    return array != NULL ? array->state / 2 : 0;
}

static uint64_t *half_of(array_t *array, uint64_t state)
{
    return array->values + (state % 2) * array->room;
}

static uint64_t *values_of(array_t *array)
{
    return half_of(array, array->state);
}

static value_t *value_at(const thi_manager_t *manager, const uint64_t *slot)
{
    return thi_manager_at(manager, *slot);
}

/* The slot of a place, counted from either end; NULL: no such place. */
static uint64_t *slot_of(const thi_manager_t *manager, int64_t index)
{
    array_t *array = array_of(manager);
    const uint64_t count = count_of(array);
    const uint64_t place = index < 0 ? count + (uint64_t)index : (uint64_t)index;
    return place < count ? &values_of(array)[place] : NULL;
}

/* An array goes with its values; those that have gone before left 0. */
static void empty_array(const thi_manager_t *manager, uint64_t block)
{
    array_t *array = thi_manager_at(manager, block);
    uint64_t *values = values_of(array);
    for (uint64_t i = 0; i < count_of(array); i++) {
        if (values[i] != 0)
            thi_shared_free_from(manager->arena, &values[i], 0);
    }
}

/* An array with twice the room, in place of the one there is. */
static int grow(thi_manager_t *manager)
{
    array_t *old = array_of(manager);
    const uint64_t count = count_of(old);
    const uint64_t room = count * 2 < ROOM_MIN ? ROOM_MIN : count * 2;
    void *block = NULL;
    const int err =
        thi_change_begin(manager, sizeof(array_t) + 2 * room * sizeof(uint64_t), &block);
    if (err != 0)
        return err;
    array_t *array = block;
    array->room = room;
    array->state = count * 2;
    if (count != 0)
        memcpy(array->values, values_of(old), count * sizeof(uint64_t));
    thi_managed_t *m = manager->memory;
    thi_change_make(manager, &m->root, m->change.fresh, m->root, false);
    return 0;
}

static int new_value(thi_manager_t *manager, thi_bytes_t bytes)
{
    void *block = NULL;
    if (bytes.size > SIZE_MAX / 4)
        return ENOMEM;
    const int err = thi_change_begin(manager, sizeof(value_t) + bytes.size, &block);
    if (err != 0)
        return err;
    value_t *value = block;
    value->size = bytes.size;
    if (bytes.size != 0)
        memcpy(value->bytes, bytes.data, bytes.size);
    return 0;
}

static int replace(thi_manager_t *manager, uint64_t *slot, thi_bytes_t bytes)
{
    const int err = new_value(manager, bytes);
    if (err == 0)
        thi_change_make(manager, slot, manager->memory->change.fresh, *slot, false);
    return err;
}

/* In front of a place up to the one after the last. */
static int insert(thi_manager_t *manager, uint64_t place, thi_bytes_t bytes)
{
    array_t *array = array_of(manager);
    int err = array == NULL || count_of(array) == array->room ? grow(manager) : 0;
    if (err == 0)
        err = new_value(manager, bytes);
    if (err != 0)
        return err;
    array = array_of(manager);
    const uint64_t count = count_of(array);
    const uint64_t fresh = manager->memory->change.fresh;
    uint64_t state = array->state + 2;
    if (place == count) {
        values_of(array)[count] = fresh;
    } else {
        const uint64_t *from = values_of(array);
        uint64_t *to = half_of(array, state ^= 1u);
        memcpy(to, from, place * sizeof *to);
        to[place] = fresh;
        memcpy(to + place + 1, from + place, (count - place) * sizeof *to);
    }
    thi_change_make(manager, &array->state, state, 0, false);
    return 0;
}

static void take_out(thi_manager_t *manager, const uint64_t *slot)
{
    array_t *array = array_of(manager);
    const uint64_t *from = values_of(array);
    const uint64_t place = (uint64_t)(slot - from);
    const uint64_t after = count_of(array) - place - 1;
    const uint64_t stale = *slot;
    uint64_t state = array->state - 2;
    if (after != 0) {
        uint64_t *to = half_of(array, state ^= 1u);
        memcpy(to, from, place * sizeof *to);
        memcpy(to + place, from + place + 1, after * sizeof *to);
    }
    thi_change_make(manager, &array->state, state, stale, false);
}

static int copy_value(const thi_manager_t *manager, const uint64_t *slot, thi_room_t room)
{
    const value_t *value = value_at(manager, slot);
    return thi_copy_out(value->bytes, value->size, room);
}

/* ------------------------------------------------------------------------------------------------
 * The calls
 */

static int enter(thrum_shared_list_t *list)
{
    return list != NULL ? thi_manager_lock(&list->manager) : EINVAL;
}

static int leave(thrum_shared_list_t *list, int err)
{
    (void)thi_manager_unlock(&list->manager);
    return err;
}

int thrum_shared_list_append(thrum_shared_list_t *list, const void *value, size_t size)
{
    const thi_bytes_t bytes = {value, size};
    const int err = thi_bytes_ok(bytes) ? enter(list) : EINVAL;
    if (err != 0)
        return err;
    return leave(list, insert(&list->manager, count_of(array_of(&list->manager)), bytes));
}

int thrum_shared_list_insert(thrum_shared_list_t *list, int64_t index, const void *value,
                             size_t size)
{
    const thi_bytes_t bytes = {value, size};
    const int err = thi_bytes_ok(bytes) ? enter(list) : EINVAL;
    if (err != 0)
        return err;
    const uint64_t count = count_of(array_of(&list->manager));
    const uint64_t place = index < 0 ? count + (uint64_t)index : (uint64_t)index;
    return leave(list, place <= count ? insert(&list->manager, place, bytes) : ENOENT);
}

int thrum_shared_list_set(thrum_shared_list_t *list, int64_t index, const void *value, size_t size)
{
    const thi_bytes_t bytes = {value, size};
    const int err = thi_bytes_ok(bytes) ? enter(list) : EINVAL;
    if (err != 0)
        return err;
    uint64_t *slot = slot_of(&list->manager, index);
    return leave(list, slot != NULL ? replace(&list->manager, slot, bytes) : ENOENT);
}

int thrum_shared_list_get(thrum_shared_list_t *list, int64_t index, void *buf, size_t capacity,
                          size_t *size)
{
    const thi_room_t room = {buf, capacity, size};
    const int err = thi_room_ok(room) ? enter(list) : EINVAL;
    if (err != 0)
        return err;
    const uint64_t *slot = slot_of(&list->manager, index);
    return leave(list, slot != NULL ? copy_value(&list->manager, slot, room) : ENOENT);
}

int thrum_shared_list_pop(thrum_shared_list_t *list, int64_t index, void *buf, size_t capacity,
                          size_t *size)
{
    const thi_room_t room = {buf, capacity, size};
    int err = thi_room_ok(room) ? enter(list) : EINVAL;
    if (err != 0)
        return err;
    const uint64_t *slot = slot_of(&list->manager, index);
    err = slot != NULL ? copy_value(&list->manager, slot, room) : ENOENT;
    if (err == 0)
        take_out(&list->manager, slot);
    return leave(list, err);
}

int thrum_shared_list_remove(thrum_shared_list_t *list, int64_t index)
{
    const int err = enter(list);
    if (err != 0)
        return err;
    const uint64_t *slot = slot_of(&list->manager, index);
    if (slot == NULL)
        return leave(list, ENOENT);
    take_out(&list->manager, slot);
    return leave(list, 0);
}

int thrum_shared_list_compare_and_set(thrum_shared_list_t *list, int64_t index,
                                      const void *expected, size_t expected_size, const void *value,
                                      size_t size)
{
    const thi_bytes_t bytes = {value, size}, e = {expected, expected_size};
    const int err = thi_bytes_ok(bytes) && thi_bytes_ok(e) ? enter(list) : EINVAL;
    if (err != 0)
        return err;
    uint64_t *slot = slot_of(&list->manager, index);
    if (slot == NULL)
        return leave(list, ENOENT);
    const value_t *now = value_at(&list->manager, slot);
    if (now->size != e.size || (e.size != 0 && memcmp(now->bytes, e.data, e.size) != 0))
        return leave(list, EAGAIN);
    return leave(list, replace(&list->manager, slot, bytes));
}

int thrum_shared_list_add(thrum_shared_list_t *list, int64_t index, int64_t delta, int64_t *sum)
{
    int64_t now = 0;
    int err = enter(list);
    if (err != 0)
        return err;
    const uint64_t *slot = slot_of(&list->manager, index);
    if (slot == NULL)
        return leave(list, ENOENT);
    value_t *value = value_at(&list->manager, slot);
    err = value->size == sizeof now ? thi_add_to(value->bytes, delta, &now) : EINVAL;
    if (err == 0 && sum != NULL)
        *sum = now;
    return leave(list, err);
}

size_t thrum_shared_list_size(thrum_shared_list_t *list)
{
    if (enter(list) != 0)
        return 0;
    const size_t size = (size_t)count_of(array_of(&list->manager));
    (void)leave(list, 0);
    return size;
}

int thrum_shared_list_clear(thrum_shared_list_t *list)
{
    const int err = enter(list);
    if (err != 0)
        return err;
    thi_managed_t *m = list->manager.memory;
    if (m->root != 0)
        thi_change_make(&list->manager, &m->root, 0, m->root, true);
    return leave(list, 0);
}

int thrum_shared_list_lock(thrum_shared_list_t *list)
{
    return enter(list);
}

int thrum_shared_list_trylock(thrum_shared_list_t *list)
{
    return list != NULL ? thi_manager_trylock(&list->manager) : EINVAL;
}

int thrum_shared_list_lock_until(thrum_shared_list_t *list, thrum_time_t deadline)
{
    return list != NULL ? thi_manager_lock_until(&list->manager, deadline) : EINVAL;
}

int thrum_shared_list_unlock(thrum_shared_list_t *list)
{
    return list != NULL ? thi_manager_unlock(&list->manager) : EINVAL;
}

/* ------------------------------------------------------------------------------------------------
 * Beginning and end
 */

static thrum_shared_list_t *new_handle(void)
{
    thrum_shared_list_t *list = thi_alloc(sizeof *list);
    if (list != NULL)
        list->manager.empty = empty_array;
    return list;
}

int thrum_shared_list_create(thrum_shared_list_t **list, thrum_shared_t *arena)
{
    if (list == NULL || arena == NULL)
        return EINVAL;
    thrum_shared_list_t *made = new_handle();
    if (made == NULL)
        return ENOMEM;
    const int err = thi_manager_create(&made->manager, arena, sizeof(list_memory_t), KIND);
    if (err != 0)
        thrum_shared_list_release(made);
    else
        *list = made;
    return err;
}

int thrum_shared_list_open(thrum_shared_list_t **list, thrum_shared_t *arena, uint64_t offset)
{
    if (list == NULL || arena == NULL)
        return EINVAL;
    thrum_shared_list_t *made = new_handle();
    if (made == NULL)
        return ENOMEM;
    const int err = thi_manager_open(&made->manager, arena, offset, sizeof(list_memory_t), KIND);
    if (err != 0)
        thrum_shared_list_release(made);
    else
        *list = made;
    return err;
}

uint64_t thrum_shared_list_offset(const thrum_shared_list_t *list)
{
    return list != NULL ? thrum_shared_offset(list->manager.arena, list->manager.memory) : 0;
}

void thrum_shared_list_release(thrum_shared_list_t *list)
{
    if (list != NULL)
        thi_free(list, sizeof *list);
}

void thrum_shared_list_destroy(thrum_shared_list_t *list)
{
    if (list == NULL)
        return;
    thi_manager_destroy(&list->manager);
    thrum_shared_list_release(list);
}
