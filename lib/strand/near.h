#ifndef THI_NEAR_H
#define THI_NEAR_H

/*
 * Near waits, a part of strand.h: what they are, near.c says.
 */
#include "strand/strand.h"

#define THI_NEAR_BITS 5
#define THI_NEAR_CHAINS (1u << THI_NEAR_BITS)
#define THI_NEAR_MAX 64u /* at once: more would make long chains */

#define THI_NEAR_NOT 0u
#define THI_NEAR_WAITS 1u
#define THI_NEAR_TAKEN 2u
#define THI_NEAR_LOOKS 3u

typedef struct thi_near_chain {
    thi_waiter_t *head;
    thi_waiter_t *tail;
} thi_near_chain_t;

/* A thread's. All-zero: nobody waits. */
typedef struct thi_near {
    thi_near_chain_t chains[THI_NEAR_CHAINS];
    uint32_t count;
    thrum_time_t now; /* when the first of them came; 0: nobody has */
} thi_near_t;

/* Takes up to n out that wait near the calling thread. They are older than all that wait in the lot on the same
 * mark. The caller has to wake them with thi_wait_finish_chain, ahead of those from the lot, before it waits. */
thi_waiter_t *thi_near_take(const void *key, const thi_site_t *site, unsigned n, unsigned *count);

/* The thread does not go on with strands of its own: who is near goes to the lot, or on. */
void thi_near_end(thi_near_t *near);

/* For lot.c and wait.c. */
bool thi_near_may(const thi_strand_t *self, const thi_park_t *park);
int thi_near_park(thi_strand_t *self, thi_park_t *park, thrum_time_t deadline);
void thi_near_finish(const thi_waiter_t *waiter);
unsigned thi_near_count(const void *key);

#endif /* THI_NEAR_H */
