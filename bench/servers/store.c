#include "store.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <thrum/mutex.h>

#define CHAINS 65536

struct entry {
    struct entry *next;
    size_t key_size;
    size_t size;
    size_t room;  /* for the value */
    char bytes[]; /* the key, and behind it the value */
};

static struct entry *chains[CHAINS];
static thrum_mutex_t lock = THRUM_MUTEX_INIT;

/* FNV-1a */
static size_t chain_of(const char *key, size_t size)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)key[i]) * UINT64_C(1099511628211);
    return (hash ^ hash >> 32) % CHAINS;
}

static struct entry **find(const char *key, size_t key_size)
{
    struct entry **at = &chains[chain_of(key, key_size)];
    while (*at != NULL && ((*at)->key_size != key_size || memcmp((*at)->bytes, key, key_size) != 0))
        at = &(*at)->next;
    return at;
}

static bool set_locked(const char *key, size_t key_size, const char *value, size_t size)
{
    struct entry **at = find(key, key_size);
    struct entry *entry = *at;
    if (entry == NULL || entry->room < size) {
        struct entry *larger = realloc(entry, sizeof *entry + key_size + size);
        if (larger == NULL)
            return false;
        if (entry == NULL) {
            larger->next = NULL;
            larger->key_size = key_size;
            memcpy(larger->bytes, key, key_size);
        }
        larger->room = size;
        *at = entry = larger;
    }
    entry->size = size;
    memcpy(entry->bytes + key_size, value, size);
    return true;
}

bool store_set(const char *key, size_t key_size, const char *value, size_t size)
{
    if (key_size > STORE_KEY || size > STORE_VALUE)
        return false;
    thrum_mutex_lock(&lock);
    const bool done = set_locked(key, key_size, value, size);
    thrum_mutex_unlock(&lock);
    return done;
}

bool store_get(const char *key, size_t key_size, char *value, size_t *size)
{
    thrum_mutex_lock(&lock);
    const struct entry *entry = *find(key, key_size);
    if (entry != NULL) {
        memcpy(value, entry->bytes + key_size, entry->size);
        *size = entry->size;
    }
    thrum_mutex_unlock(&lock);
    return entry != NULL;
}
