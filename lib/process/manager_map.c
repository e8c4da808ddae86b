/*
 * A map in shared memory: a table of the offsets of its entries, with open addressing. The table is what the
 * root names; it is replaced when it is three quarters full of entries and of what removals leave.
 *
 *   table   mask, slots: EMPTY 0 | GONE 1: one was removed, look further | the offset of an entry
 *   entry   hash, sizes, key, value; never changed but for the value of an add, which is one store
 */
#include "process/manager.h"

#define EMPTY 0u
#define GONE 1u
#define SLOTS_MIN 8u
#define KIND UINT64_C(0x70616d5475726874)

typedef struct map_memory {
    thi_managed_t managed;
    uint64_t seed;
    uint64_t count; /* entries */
    uint64_t used;  /* slots that are not EMPTY */
} map_memory_t;

typedef struct table {
    uint64_t mask;
    uint64_t slots[];
} table_t;

typedef struct entry {
    uint64_t hash;
    uint64_t key_size;
    uint64_t size;
    unsigned char bytes[]; /* the key, to a multiple of 8, and the value */
} entry_t;

struct thrum_shared_map {
    thi_manager_t manager;
};

static map_memory_t *memory_of(const thrum_shared_map_t *map)
{
    return (map_memory_t *)(void *)map->manager.memory;
}

/* ------------------------------------------------------------------------------------------------
 * Tables and entries
 */

static table_t *table_of(const thi_manager_t *manager)
{
    const uint64_t root = manager->memory->root;
    return root != 0 ? thi_manager_at(manager, root) : NULL;
}

static entry_t *entry_at(const thi_manager_t *manager, uint64_t slot)
{
    return slot > GONE ? thi_manager_at(manager, slot) : NULL;
}

static uint64_t padded(uint64_t size)
{
    return (size + 7) & ~UINT64_C(7);
}

static unsigned char *value_of(entry_t *entry)
{
    return entry->bytes + padded(entry->key_size);
}

/* Eight bytes at a time; each is mixed in by a multiplication, which carries upwards, and a shift back down. */
static uint64_t mix(uint64_t hash, uint64_t piece)
{
    hash = (hash ^ piece) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 32;
}

static uint64_t hash_of(uint64_t seed, thi_bytes_t key)
{
    const unsigned char *at = key.data;
    uint64_t hash = mix(seed, key.size);
    for (size_t left = key.size; left != 0;) {
        uint64_t piece = 0;
        const size_t n = left < sizeof piece ? left : sizeof piece;
        memcpy(&piece, at, n);
        hash = mix(hash, piece);
        at += n;
        left -= n;
    }
    return mix(hash, seed);
}

static bool has_key(const entry_t *entry, uint64_t hash, thi_bytes_t key)
{
    return entry->hash == hash && entry->key_size == key.size &&
           (key.size == 0 || memcmp(entry->bytes, key.data, key.size) == 0);
}

/* Where the key is, or NULL. There always is an EMPTY slot. */
static uint64_t *find(const thi_manager_t *manager, table_t *table, uint64_t hash, thi_bytes_t key)
{
    uint64_t i = hash & table->mask;
    while (table->slots[i] != EMPTY) {
        const entry_t *entry = entry_at(manager, table->slots[i]);
        if (entry != NULL && has_key(entry, hash, key))
            return &table->slots[i];
        i = (i + 1) & table->mask;
    }
    return NULL;
}

/* Where one that is not there goes. */
static uint64_t *find_vacant(table_t *table, uint64_t hash)
{
    uint64_t i = hash & table->mask;
    while (table->slots[i] > GONE)
        i = (i + 1) & table->mask;
    return &table->slots[i];
}

static uint64_t *find_key(const thrum_shared_map_t *map, thi_bytes_t key)
{
    table_t *table = table_of(&map->manager);
    if (table == NULL)
        return NULL;
    return find(&map->manager, table, hash_of(memory_of(map)->seed, key), key);
}

/* A table goes with its entries; those that have gone before left 0. */
static void empty_table(const thi_manager_t *manager, uint64_t block)
{
    table_t *table = thi_manager_at(manager, block);
    for (uint64_t i = 0; i <= table->mask; i++) {
        if (table->slots[i] > GONE)
            thi_shared_free_from(manager->arena, &table->slots[i], 0);
    }
}

static void count_anew(thi_manager_t *manager)
{
    map_memory_t *m = (map_memory_t *)(void *)manager->memory;
    const table_t *table = table_of(manager);
    m->count = 0;
    m->used = 0;
    for (uint64_t i = 0; table != NULL && i <= table->mask; i++) {
        m->count += table->slots[i] > GONE;
        m->used += table->slots[i] != EMPTY;
    }
}

/* A table with room for one more entry, in place of the one there is. */
static int grow(thrum_shared_map_t *map)
{
    thi_manager_t *manager = &map->manager;
    map_memory_t *m = memory_of(map);
    const table_t *old = table_of(manager);
    uint64_t slots = SLOTS_MIN;
    void *block = NULL;
    while (slots / 2 <= m->count)
        slots *= 2;
    const int err = thi_change_begin(manager, sizeof(table_t) + slots * sizeof(uint64_t), &block);
    if (err != 0)
        return err;
    table_t *table = block;
    memset(table->slots, 0, slots * sizeof(uint64_t));
    table->mask = slots - 1;
    for (uint64_t i = 0; old != NULL && i <= old->mask; i++) {
        const entry_t *entry = entry_at(manager, old->slots[i]);
        if (entry == NULL)
            continue;
        uint64_t at = entry->hash & table->mask;
        while (table->slots[at] != EMPTY)
            at = (at + 1) & table->mask;
        table->slots[at] = old->slots[i];
    }
    thi_change_make(manager, &m->managed.root, m->managed.change.fresh, m->managed.root, false);
    m->used = m->count;
    return 0;
}

static bool is_full(const thrum_shared_map_t *map)
{
    const table_t *table = table_of(&map->manager);
    const uint64_t slots = table != NULL ? table->mask + 1 : 0;
    return memory_of(map)->used + 1 > slots / 4 * 3;
}

/* Stores an entry in place of the one in `slot`, or a new one. */
static int store(thrum_shared_map_t *map, uint64_t *slot, thi_bytes_t key, thi_bytes_t value)
{
    thi_manager_t *manager = &map->manager;
    map_memory_t *m = memory_of(map);
    const uint64_t hash = hash_of(m->seed, key);
    void *block = NULL;
    int err = slot == NULL && is_full(map) ? grow(map) : 0;
    if (err == 0 && (key.size > SIZE_MAX / 4 || value.size > SIZE_MAX / 4))
        err = ENOMEM;
    if (err == 0)
        err = thi_change_begin(manager, sizeof(entry_t) + padded(key.size) + value.size, &block);
    if (err != 0)
        return err;
    entry_t *entry = block;
    *entry = (entry_t){hash, key.size, value.size};
    if (key.size != 0)
        memcpy(entry->bytes, key.data, key.size);
    if (value.size != 0)
        memcpy(value_of(entry), value.data, value.size);
    const bool is_new = slot == NULL;
    if (is_new)
        slot = find_vacant(table_of(manager), hash);
    const uint64_t before = *slot;
    thi_change_make(manager, slot, m->managed.change.fresh, before > GONE ? before : 0, false);
    m->count += is_new;
    m->used += before == EMPTY;
    return 0;
}

static void take_out(thrum_shared_map_t *map, uint64_t *slot)
{
    thi_change_make(&map->manager, slot, GONE, *slot, false);
    memory_of(map)->count--;
}

static int copy_value(const thrum_shared_map_t *map, const uint64_t *slot, thi_room_t room)
{
    entry_t *entry = entry_at(&map->manager, *slot);
    return thi_copy_out(value_of(entry), entry->size, room);
}

/* ------------------------------------------------------------------------------------------------
 * The calls
 */

/* The lock, for a call with that key. */
static int enter(thrum_shared_map_t *map, thi_bytes_t key)
{
    if (map == NULL || !thi_bytes_ok(key))
        return EINVAL;
    return thi_manager_lock(&map->manager);
}

static int leave(thrum_shared_map_t *map, int err)
{
    (void)thi_manager_unlock(&map->manager);
    return err;
}

int thrum_shared_map_set(thrum_shared_map_t *map, const void *key, size_t key_size,
                         const void *value, size_t value_size)
{
    const thi_bytes_t k = {key, key_size}, v = {value, value_size};
    const int err = thi_bytes_ok(v) ? enter(map, k) : EINVAL;
    return err != 0 ? err : leave(map, store(map, find_key(map, k), k, v));
}

int thrum_shared_map_get(thrum_shared_map_t *map, const void *key, size_t key_size, void *buf,
                         size_t capacity, size_t *size)
{
    const thi_bytes_t k = {key, key_size};
    const thi_room_t room = {buf, capacity, size};
    const int err = thi_room_ok(room) ? enter(map, k) : EINVAL;
    if (err != 0)
        return err;
    const uint64_t *slot = find_key(map, k);
    return leave(map, slot != NULL ? copy_value(map, slot, room) : ENOENT);
}

int thrum_shared_map_set_default(thrum_shared_map_t *map, const void *key, size_t key_size,
                                 const void *value, size_t value_size, void *buf, size_t capacity,
                                 size_t *size)
{
    const thi_bytes_t k = {key, key_size}, v = {value, value_size};
    const thi_room_t room = {buf, capacity, size};
    int err = thi_bytes_ok(v) && thi_room_ok(room) ? enter(map, k) : EINVAL;
    if (err != 0)
        return err;
    const uint64_t *slot = find_key(map, k);
    if (slot != NULL)
        return leave(map, copy_value(map, slot, room));
    err = thi_copy_out(value, value_size, room);
    return leave(map, err != 0 ? err : store(map, NULL, k, v));
}

int thrum_shared_map_pop(thrum_shared_map_t *map, const void *key, size_t key_size, void *buf,
                         size_t capacity, size_t *size)
{
    const thi_bytes_t k = {key, key_size};
    const thi_room_t room = {buf, capacity, size};
    int err = thi_room_ok(room) ? enter(map, k) : EINVAL;
    if (err != 0)
        return err;
    uint64_t *slot = find_key(map, k);
    err = slot != NULL ? copy_value(map, slot, room) : ENOENT;
    if (err == 0)
        take_out(map, slot);
    return leave(map, err);
}

int thrum_shared_map_remove(thrum_shared_map_t *map, const void *key, size_t key_size)
{
    const thi_bytes_t k = {key, key_size};
    const int err = enter(map, k);
    if (err != 0)
        return err;
    uint64_t *slot = find_key(map, k);
    if (slot == NULL)
        return leave(map, ENOENT);
    take_out(map, slot);
    return leave(map, 0);
}

/* Whether the slot's value is what was expected; no data: that there is none. */
static bool is_expected(const thrum_shared_map_t *map, const uint64_t *slot, thi_bytes_t expected)
{
    if (slot == NULL || expected.data == NULL)
        return slot == NULL && expected.data == NULL;
    entry_t *entry = entry_at(&map->manager, *slot);
    return entry->size == expected.size &&
           (expected.size == 0 || memcmp(value_of(entry), expected.data, expected.size) == 0);
}

int thrum_shared_map_compare_and_set(thrum_shared_map_t *map, const void *key, size_t key_size,
                                     const void *expected, size_t expected_size, const void *value,
                                     size_t value_size)
{
    const thi_bytes_t k = {key, key_size}, v = {value, value_size}, e = {expected, expected_size};
    const int err = thi_bytes_ok(v) && thi_bytes_ok(e) ? enter(map, k) : EINVAL;
    if (err != 0)
        return err;
    uint64_t *slot = find_key(map, k);
    return leave(map, is_expected(map, slot, e) ? store(map, slot, k, v) : EAGAIN);
}

int thrum_shared_map_add(thrum_shared_map_t *map, const void *key, size_t key_size, int64_t delta,
                         int64_t *sum)
{
    const thi_bytes_t k = {key, key_size};
    int64_t now = 0;
    int err = enter(map, k);
    if (err != 0)
        return err;
    uint64_t *slot = find_key(map, k);
    if (slot == NULL) {
        err = store(map, NULL, k, (thi_bytes_t){&delta, sizeof delta});
        now = delta;
    } else {
        entry_t *entry = entry_at(&map->manager, *slot);
        err = entry->size == sizeof now ? thi_add_to(value_of(entry), delta, &now) : EINVAL;
    }
    if (err == 0 && sum != NULL)
        *sum = now;
    return leave(map, err);
}

int thrum_shared_map_next(thrum_shared_map_t *map, uint64_t *cursor, void *key, size_t key_capacity,
                          size_t *key_size, void *buf, size_t capacity, size_t *size)
{
    const thi_room_t to_key = {key, key_capacity, key_size}, room = {buf, capacity, size};
    if (map == NULL || cursor == NULL || !thi_room_ok(to_key) || !thi_room_ok(room))
        return EINVAL;
    int err = thi_manager_lock(&map->manager);
    if (err != 0)
        return err;
    const table_t *table = table_of(&map->manager);
    uint64_t i = *cursor;
    while (table != NULL && i <= table->mask && table->slots[i] <= GONE)
        i++;
    if (table == NULL || i > table->mask)
        return leave(map, ENODATA);
    entry_t *entry = entry_at(&map->manager, table->slots[i]);
    err = thi_copy_out(entry->bytes, entry->key_size, to_key);
    const int second = thi_copy_out(value_of(entry), entry->size, room);
    err = err != 0 ? err : second;
    if (err == 0)
        *cursor = i + 1;
    return leave(map, err);
}

size_t thrum_shared_map_size(thrum_shared_map_t *map)
{
    if (enter(map, (thi_bytes_t){NULL, 0}) != 0)
        return 0;
    const size_t size = (size_t)memory_of(map)->count;
    (void)leave(map, 0);
    return size;
}

int thrum_shared_map_clear(thrum_shared_map_t *map)
{
    const int err = enter(map, (thi_bytes_t){NULL, 0});
    if (err != 0)
        return err;
    map_memory_t *m = memory_of(map);
    if (m->managed.root != 0)
        thi_change_make(&map->manager, &m->managed.root, 0, m->managed.root, true);
    m->count = 0;
    m->used = 0;
    return leave(map, 0);
}

int thrum_shared_map_lock(thrum_shared_map_t *map)
{
    return map != NULL ? thi_manager_lock(&map->manager) : EINVAL;
}

int thrum_shared_map_trylock(thrum_shared_map_t *map)
{
    return map != NULL ? thi_manager_trylock(&map->manager) : EINVAL;
}

int thrum_shared_map_lock_until(thrum_shared_map_t *map, thrum_time_t deadline)
{
    return map != NULL ? thi_manager_lock_until(&map->manager, deadline) : EINVAL;
}

int thrum_shared_map_unlock(thrum_shared_map_t *map)
{
    return map != NULL ? thi_manager_unlock(&map->manager) : EINVAL;
}

/* ------------------------------------------------------------------------------------------------
 * Beginning and end
 */

static thrum_shared_map_t *new_handle(void)
{
    thrum_shared_map_t *map = thi_alloc(sizeof *map);
    if (map != NULL) {
        map->manager.empty = empty_table;
        map->manager.mend = count_anew;
    }
    return map;
}

int thrum_shared_map_create(thrum_shared_map_t **map, thrum_shared_t *arena)
{
    if (map == NULL || arena == NULL)
        return EINVAL;
    thrum_shared_map_t *made = new_handle();
    if (made == NULL)
        return ENOMEM;
    const int err = thi_manager_create(&made->manager, arena, sizeof(map_memory_t), KIND);
    if (err != 0) {
        thrum_shared_map_release(made);
        return err;
    }
    /* Nobody outside shall know which keys meet. */
    memory_of(made)->seed = mix((uint64_t)thi_clock(), (uint64_t)(uintptr_t)made);
    *map = made;
    return 0;
}

int thrum_shared_map_open(thrum_shared_map_t **map, thrum_shared_t *arena, uint64_t offset)
{
    if (map == NULL || arena == NULL)
        return EINVAL;
    thrum_shared_map_t *made = new_handle();
    if (made == NULL)
        return ENOMEM;
    const int err = thi_manager_open(&made->manager, arena, offset, sizeof(map_memory_t), KIND);
    if (err != 0)
        thrum_shared_map_release(made);
    else
        *map = made;
    return err;
}

uint64_t thrum_shared_map_offset(const thrum_shared_map_t *map)
{
    return map != NULL ? thrum_shared_offset(map->manager.arena, map->manager.memory) : 0;
}

void thrum_shared_map_release(thrum_shared_map_t *map)
{
    if (map != NULL)
        thi_free(map, sizeof *map);
}

void thrum_shared_map_destroy(thrum_shared_map_t *map)
{
    if (map == NULL)
        return;
    thi_manager_destroy(&map->manager);
    thrum_shared_map_release(map);
}
