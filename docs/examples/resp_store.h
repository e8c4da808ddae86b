#ifndef RESP_STORE_H
#define RESP_STORE_H

/*
 * The table of resp_server.c: chains of entries, for one thread. Its size in bytes is limited.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define STORE_MOST ((size_t)256 << 20)

/* A piece of what was read, or of the table; not ended by a zero. */
struct text {
    const char *at;
    size_t size;
};

struct entry {
    struct entry *next;
    uint64_t hash;
    size_t key_size, value_size, room; /* of the value */
    char data[];                       /* key, value */
};

struct store {
    struct entry **chains;
    size_t mask; /* how many chains, less one */
    size_t count, bytes;
    uint64_t seed; /* not to be guessed: nobody chooses keys that meet in one chain */
};

static inline uint64_t hash_of(const struct store *s, struct text key)
{
    uint64_t h = s->seed;
    for (size_t i = 0; i < key.size; i++)
        h = (h ^ (unsigned char)key.at[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

static inline struct entry **find(const struct store *s, struct text key, uint64_t hash)
{
    struct entry **e = &s->chains[hash & s->mask];
    while (*e != NULL && ((*e)->hash != hash || (*e)->key_size != key.size ||
                          memcmp((*e)->data, key.at, key.size) != 0))
        e = &(*e)->next;
    return e;
}

static inline struct text value_of(const struct entry *e)
{
    return (struct text){e->data + e->key_size, e->value_size};
}

static inline bool grow(struct store *s)
{
    const size_t old = s->chains != NULL ? s->mask + 1 : 0;
    const size_t chains = old != 0 ? old * 2 : 1024;
    struct entry **made = calloc(chains, sizeof(struct entry *));
    if (made == NULL)
        return false;
    for (size_t i = 0; i < old; i++) {
        for (struct entry *e = s->chains[i], *next = NULL; e != NULL; e = next) {
            next = e->next;
            e->next = made[e->hash & (chains - 1)];
            made[e->hash & (chains - 1)] = e;
        }
    }
    free(s->chains);
    s->chains = made;
    s->mask = chains - 1;
    return true;
}

static inline size_t footprint(size_t key_size, size_t room)
{
    return sizeof(struct entry) + key_size + room;
}

static inline void delete_at(struct store *s, struct entry **at)
{
    struct entry *e = *at;
    *at = e->next;
    s->count--;
    s->bytes -= footprint(e->key_size, e->room);
    free(e);
}

static inline void clear(struct store *s)
{
    for (size_t i = 0; i <= s->mask; i++) {
        while (s->chains[i] != NULL)
            delete_at(s, &s->chains[i]);
    }
}

static inline struct entry *make_entry(struct store *s, struct text key, uint64_t hash, size_t room)
{
    if (footprint(key.size, room) > STORE_MOST - s->bytes)
        return NULL;
    struct entry *e = malloc(footprint(key.size, room));
    if (e == NULL)
        return NULL;
    *e = (struct entry){.hash = hash, .key_size = key.size, .room = room};
    memcpy(e->data, key.at, key.size);
    s->bytes += footprint(key.size, room);
    s->count++;
    return e;
}

/* False: there is no room. A value that fits into what there is costs no allocation. */
static inline bool set(struct store *s, struct text key, struct text value)
{
    const uint64_t hash = hash_of(s, key);
    struct entry **at = find(s, key, hash);
    struct entry *e = *at;
    if (e == NULL || value.size > e->room || value.size < e->room / 4) {
        struct entry *made = make_entry(s, key, hash, value.size + 8);
        if (made == NULL)
            return false;
        if (e != NULL)
            delete_at(s, at);
        made->next = *at;
        *at = e = made;
    }
    memcpy(e->data + e->key_size, value.at, value.size);
    e->value_size = value.size;
    if (s->count > s->mask)
        (void)grow(s); /* or the chains become longer */
    return true;
}

#endif /* RESP_STORE_H */
