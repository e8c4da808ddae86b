/*
 * Strand locals. A key is an index into a table of destructors, with a generation that tells a key
 * from those that had the index before; each strand has an array of values by index, grown as needed.
 *
 * A key is made when a value is first set, so that a static initialiser is enough.
 */
#include <thrum/local.h>

#include <string.h>

#include "strand/strand.h"

#define KEYS_MAX 4096u
#define ROUNDS 4

struct key {
    uint32_t generation; /* odd: in use */
    void (*destructor)(void *);
};

struct value {
    uint32_t generation;
    void *value;
};

struct thi_locals {
    size_t size;
    struct value values[];
};

static thi_lock_t lock;
static struct key keys[KEYS_MAX];
static uint32_t keys_used; /* indices below have been in use */

/* A key in a thrum_local_t: generation above, index + 1 below; 0: none yet. */
static uint32_t index_of(uint64_t key)
{
    return (uint32_t)key - 1;
}

static uint32_t generation_of(uint64_t key)
{
    return (uint32_t)(key >> 32);
}

void thi_locals_before_fork(void)
{
    thi_lock(&lock, THI_RANK_LOCALS);
}

void thi_locals_after_fork(void)
{
    thi_unlock(&lock, THI_RANK_LOCALS);
}

/* Under the lock: an index that is free, or KEYS_MAX. */
static uint32_t free_index(void)
{
    if (keys_used < KEYS_MAX)
        return keys_used++;
    for (uint32_t i = 0; i < KEYS_MAX; i++) {
        if (keys[i].generation % 2 == 0)
            return i;
    }
    return KEYS_MAX;
}

static uint64_t make_key(thrum_local_t *local)
{
    thi_lock(&lock, THI_RANK_LOCALS);
    uint64_t key = thi_load_relaxed(&local->thrum_key);
    const uint32_t index = key == 0 ? free_index() : KEYS_MAX;
    if (index != KEYS_MAX) {
        thi_store_release(&keys[index].destructor, local->thrum_destructor); /* pairs with A3 */
        /* R1: release; pairs with A1: who sees the generation sees the destructor. */
        thi_store_release(&keys[index].generation, keys[index].generation + 1);
        key = (uint64_t)keys[index].generation << 32 | (index + 1);
        thi_store_release(&local->thrum_key, key); /* R2: release; pairs with A2 */
    }
    thi_unlock(&lock, THI_RANK_LOCALS);
    return key;
}

static struct value *value_of(const struct thi_locals *locals, uint64_t key)
{
    if (key == 0 || locals == NULL || index_of(key) >= locals->size)
        return NULL;
    return (struct value *)&locals->values[index_of(key)];
}

/* Makes room for the index. False: no memory. */
static bool reserve(thi_strand_t *self, size_t index)
{
    struct thi_locals *old = self->locals;
    const size_t old_size = old != NULL ? old->size : 0;
    if (index < old_size)
        return true;
    const size_t size = index + 1 > old_size * 2 ? index + 4 : old_size * 2;
    struct thi_locals *locals = thi_alloc(sizeof *locals + size * sizeof locals->values[0]);
    if (locals == NULL)
        return false;
    locals->size = size;
    if (old != NULL) {
        memcpy(locals->values, old->values, old_size * sizeof old->values[0]);
        thi_free(old, sizeof *old + old_size * sizeof old->values[0]);
    }
    self->locals = locals;
    return true;
}

int thrum_local_init(thrum_local_t *l, void (*destructor)(void *))
{
    if (l == NULL)
        return EINVAL;
    *l = (thrum_local_t)THRUM_LOCAL_INIT(destructor);
    return 0;
}

void thrum_local_destroy(thrum_local_t *l)
{
    if (l == NULL || l->thrum_key == 0)
        return;
    thi_lock(&lock, THI_RANK_LOCALS);
    struct key *key = &keys[index_of(l->thrum_key)];
    if (key->generation == generation_of(l->thrum_key))
        thi_store_release(&key->generation, key->generation + 1); /* even: free */
    l->thrum_key = 0;
    thi_unlock(&lock, THI_RANK_LOCALS);
}

void *thrum_local_get(const thrum_local_t *l)
{
    const thi_strand_t *self = thi_current.strand;
    if (l == NULL || self == NULL)
        return NULL;
    /* A2: acquire; pairs with R2. */
    const uint64_t key = thi_load_acquire(&l->thrum_key);
    const struct value *value = value_of(self->locals, key);
    return value != NULL && value->generation == generation_of(key) ? value->value : NULL;
}

int thrum_local_set(thrum_local_t *l, void *value)
{
    if (l == NULL)
        return EINVAL;
    thi_strand_t *self = thi_self();
    if (self == NULL)
        return ENOMEM;
    uint64_t key = thi_load_acquire(&l->thrum_key); /* A2 */
    if (key == 0)
        key = make_key(l);
    if (key == 0 || !reserve(self, index_of(key)))
        return ENOMEM;
    *value_of(self->locals, key) = (struct value){generation_of(key), value};
    return 0;
}

/* Destroys the value, if it is one of a living key. True when a destructor was called. */
static bool destroy_value(thi_strand_t *self, size_t index)
{
    struct value *slot = &self->locals->values[index];
    void *value = slot->value;
    slot->value = NULL;
    if (value == NULL)
        return false;
    /* A3: acquire; keeps the check after it: a destructor of another variable that took the index over
     * is seen with that one's generation. */
    void (*destructor)(void *) = thi_load_acquire(&keys[index].destructor);
    /* A1: acquire; pairs with R1. */
    if (destructor == NULL || thi_load_acquire(&keys[index].generation) != slot->generation)
        return false;
    destructor(value);
    return true;
}

void thi_locals_end(thi_strand_t *self)
{
    bool again = true;
    for (int round = 0; again && round < ROUNDS; round++) {
        again = false;
        for (size_t i = 0; self->locals != NULL && i < self->locals->size; i++)
            again |= destroy_value(self, i);
    }
    struct thi_locals *locals = self->locals;
    self->locals = NULL;
    if (locals != NULL)
        thi_free(locals, sizeof *locals + locals->size * sizeof locals->values[0]);
}
