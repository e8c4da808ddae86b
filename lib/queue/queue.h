#ifndef THI_QUEUE_H
#define THI_QUEUE_H

/*
 * The door of lib/queue: what later layers need to be waited for by thrum_select, and to wait for a queue
 * in ways of their own.
 */
#include <thrum/select.h>

#include "strand/strand.h"

/* What one kind of case is. All are called by the selecting strand. */
typedef struct thi_case_kind {
    bool (*valid)(const thrum_case_t *c);

    /* What the others get as `since`: asked once for each case, before the first look at any of them. Who is
     * awake may miss what comes and goes; so it compares. NULL (then `since` is 0) where nothing goes by
     * itself. */
    uint32_t (*begin)(const thrum_case_t *c);

    /* Does the case if that is possible now: 0, EAGAIN, or an error, with which it counts as done. */
    int (*attempt)(const thrum_case_t *c, uint32_t since);

    /* Queues a waiter; false when the case may be possible now. */
    bool (*enter)(const thrum_case_t *c, uint32_t since, thi_wait_t *wait, thi_waiter_t *waiter,
                  uint32_t index);

    /* After every enter that returned true. */
    void (*leave)(const thrum_case_t *c, thi_waiter_t *waiter);

    /* The waiter won, and has left: as attempt. A wake-up that is for one waiter only must be used here,
     * or it is lost to others. */
    int (*won)(const thrum_case_t *c, uint32_t since);
} thi_case_kind_t;

/* A later layer makes its kind known before its first case can be made; again does nothing. */
#define THI_CASE_KINDS 16
void thi_case_register(thrum_case_kind_t kind, const thi_case_kind_t *table);

/* --- for who waits for a queue's items and for other things as well -------------------------------- */

/* How a getter of the queue sleeps. `validate(arg)` may be wrapped: it has to be asked last. */
thi_park_t thi_queue_park_get(thrum_queue_t *q);

/* Gets up to n items that are there, and never waits. Returns how many. */
size_t thi_queue_get_now(thrum_queue_t *q, void *items, size_t n);

/* Whether it is closed: then nothing will be put any more, and all that was put is seen. */
bool thi_queue_is_closed(const thrum_queue_t *q);

#endif /* THI_QUEUE_H */
