/*
 * Sleeping on a word, by POSIX means only: words share a fixed table of mutex and condition variable
 * pairs by their address. A wake broadcasts, since the sleepers of a pair may be of different words;
 * thi_futex_wait is allowed to return for no reason.
 */
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "os/os.h"

#define PAIRS 64

struct pair {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    unsigned sleepers;
};

static struct pair pairs[PAIRS];

/* UNMADE, MADE, or the number of the process that is making the table. Not a thi_once: that sleeps by
 * what is made here. */
#define UNMADE 0u
#define MADE UINT32_MAX
static uint32_t ready;

static void make_pairs(void)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    for (size_t i = 0; i < PAIRS; i++) {
        pthread_mutex_init(&pairs[i].mutex, NULL);
        pthread_cond_init(&pairs[i].cond, &monotonic);
        pairs[i].sleepers = 0;
    }
    pthread_condattr_destroy(&monotonic);
}

static void need_pairs(void)
{
    const uint32_t self = (uint32_t)getpid();
    uint32_t state = thi_load_acquire(&ready); /* A1: acquire; pairs with R1 */
    while (state != MADE) {
        if (state == self) { /* another thread does; over soon */
            sched_yield();
            state = thi_load_acquire(&ready); /* A1 */
        } else if (thi_cas_acquire(&ready, &state, self)) {
            make_pairs();
            thi_store_release(&ready, MADE); /* R1: release; pairs with A1 */
            return;
        }
    }
}

static struct pair *pair_of(const uint32_t *word)
{
    if (THI_UNLIKELY(thi_load_acquire(&ready) != MADE)) /* A1 */
        need_pairs();
    return &pairs[((uintptr_t)word >> 2) * UINT64_C(0x9E3779B97F4A7C15) >> 58];
}

int thi_futex_wait(uint32_t *word, uint32_t expected, thrum_time_t deadline)
{
    struct pair *pair = pair_of(word);
    const int cancel = thi_cancel_off();
    int rc = 0;
    pthread_mutex_lock(&pair->mutex);
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) == expected) {
        pair->sleepers++;
        if (deadline == THRUM_FOREVER) {
            pthread_cond_wait(&pair->cond, &pair->mutex);
        } else {
            const thrum_time_t instant = deadline < 0 ? 0 : deadline;
            const struct timespec until = {(time_t)(instant / THRUM_S(1)),
                                           (long)(instant % THRUM_S(1))};
            rc = pthread_cond_timedwait(&pair->cond, &pair->mutex, &until);
        }
        pair->sleepers--;
    }
    pthread_mutex_unlock(&pair->mutex);
    thi_cancel_restore(cancel);
    return rc == ETIMEDOUT ? ETIMEDOUT : 0;
}

void thi_futex_wake(uint32_t *word, unsigned n)
{
    (void)n;
    struct pair *pair = pair_of(word);
    pthread_mutex_lock(&pair->mutex);
    const bool anyone = pair->sleepers != 0;
    pthread_mutex_unlock(&pair->mutex);
    if (anyone)
        pthread_cond_broadcast(&pair->cond);
}

void thi_futex_after_fork(void)
{
    make_pairs();
    thi_store_release(&ready, MADE);
}
