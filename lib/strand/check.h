#ifndef THI_CHECK_H
#define THI_CHECK_H

/*
 * Private to lib/strand: the bookkeeping of the checked build. Here is what the reports ask of it
 * and, further down, what its parts share: check.c knows who holds and wants what, check_order.c in which
 * order locks were taken, check_known.c keeps the locks by address.
 */

#include "strand/strand.h"

#define THI_NAME_SIZE 128

/* Writes "mutex 0x7f3a10 (symbol)", as far as there are an address and a symbol. */
void thi_describe_object(const thi_site_t *site, const void *object, char *buf, size_t size);

/* A strand wants a lock that another one (or it itself) holds. */
typedef struct thi_claim {
    uint32_t waiter; /* ids */
    uint32_t holder;
    const void *lock;
    const thi_site_t *site; /* how the waiter wants it */
    const void *taken;      /* where the holder took it */
    const void *wanted;     /* where the waiter asks for it */
    bool shared;            /* the holder shares it */
} thi_claim_t;

/* `second` was wanted by a strand that held `first`. */
typedef struct thi_order {
    const void *first;
    const void *second;
    const thi_site_t *first_site;
    const thi_site_t *second_site;
    const void *taken;  /* where `first` was taken */
    const void *wanted; /* where `second` was asked for */
    bool begins; /* begins an inversion; those that follow lead from `second` back to `first` */
} thi_order_t;

#ifdef THRUM_CHECKED

/* All claims of one moment, those of a strand together, strands in order of their slots. Writes up to
 * `max` and returns how many there are. */
size_t thi_check_claims(thi_claim_t *out, size_t max);

/* The same for lock order inversions. */
size_t thi_check_inversions(thi_order_t *out, size_t max);

/* Whether the bookkeeping ran out of memory, and knows nothing any more. */
bool thi_check_stopped(void);

/* ================================================================================================
 * Shared by check.c, check_order.c and check_known.c; all of it under the check lock
 */

/* A member of a list which it can leave without knowing the list. */
typedef struct thi_link {
    struct thi_link *next;
    struct thi_link **at; /* what points at it; NULL: it is in no list */
} thi_link_t;

static inline void thi_link_in(thi_link_t **list, thi_link_t *link)
{
    link->next = *list;
    link->at = list;
    if (*list != NULL)
        (*list)->at = &link->next;
    *list = link;
}

static inline void thi_link_out(thi_link_t *link)
{
    if (link->at == NULL)
        return;
    *link->at = link->next;
    if (link->next != NULL)
        link->next->at = link->at;
    link->at = NULL;
}

/* A lock that is held, or whose order is known. */
typedef struct thi_known {
    thi_link_t of_table;
    const void *lock;
    const thi_site_t *site;
    thi_link_t *holds;   /* thi_hold_t.of_lock, newest first */
    thi_link_t *later;   /* thi_edge_t.of_first: what was wanted while this one was held */
    thi_link_t *earlier; /* thi_edge_t.of_second: what was held when this one was wanted */

    /* check_order.c, while it looks for a path. */
    uint64_t visit;
    struct thi_edge *onward;
    struct thi_known *next;
} thi_known_t;

/* One lock held by one strand. */
typedef struct thi_hold {
    thi_link_t of_strand;
    thi_link_t of_lock;
    thi_known_t *known;
    struct thi_held *held; /* of the strand; NULL when that has ended and left the lock locked */
    uint32_t id;           /* of the strand */
    bool shared;
    const thi_site_t *site;
    const void *caller;
} thi_hold_t;

/* The second lock was wanted while the first was held. */
typedef struct thi_edge {
    thi_link_t of_first;
    thi_link_t of_second;
    thi_known_t *first;
    thi_known_t *second;
    thi_order_t order;
    bool inverts; /* when it was made, a way from the second lock to the first was known */
} thi_edge_t;

/* What a strand wants; `lock` is NULL while it wants none. */
typedef struct thi_want {
    const void *lock;
    const thi_site_t *site;
    const void *caller;
    thrum_time_t deadline;
} thi_want_t;

/* The bookkeeping of one strand. */
typedef struct thi_held {
    uint32_t id;       /* the life of the record that it is about */
    thi_link_t *holds; /* thi_hold_t.of_strand, newest first */
    thi_want_t want;
} thi_held_t;

/* --- check_known.c --- */

/* Zeroed memory of the size of any of these; NULL when there is none: then the bookkeeping stops. */
void *thi_known_alloc(void);
void thi_known_free(void *memory);
bool thi_known_stopped(void);

/* What is known of a lock; NULL: nothing. */
thi_known_t *thi_known_find(const void *lock);

/* The same, made when there is nothing yet; forgets a lock of another kind at that address. NULL: no
 * memory. */
thi_known_t *thi_known_make(const void *lock, const thi_site_t *site);

/* Calls fn for every lock that is known; fn may tidy that one. */
void thi_known_each(void (*fn)(thi_known_t *known, void *arg), void *arg);

void thi_known_forget(thi_known_t *known);

/* Forgets a lock that nobody holds and that has no order. */
void thi_known_tidy(thi_known_t *known);

void thi_known_drop_hold(thi_hold_t *hold);

/* Drops the holds that a new one, shared or not, rules out: the lock that they were of is gone. */
void thi_known_drop_stale(thi_known_t *known, bool shared);

static inline thi_hold_t *thi_hold_of_lock(thi_link_t *link)
{
    return THI_CONTAINER_OF(link, thi_hold_t, of_lock);
}

static inline thi_hold_t *thi_hold_of_strand(thi_link_t *link)
{
    return THI_CONTAINER_OF(link, thi_hold_t, of_strand);
}

/* --- check_order.c --- */

void thi_order_add(thi_known_t *first, thi_known_t *second, const thi_order_t *order);
void thi_order_forget(thi_known_t *known);
size_t thi_order_inversions(thi_order_t *out, size_t max);

#else

static inline size_t thi_check_claims(thi_claim_t *out, size_t max)
{
    (void)out, (void)max;
    return 0;
}
static inline size_t thi_check_inversions(thi_order_t *out, size_t max)
{
    (void)out, (void)max;
    return 0;
}
static inline bool thi_check_stopped(void)
{
    return false;
}

#endif
#endif /* THI_CHECK_H */
