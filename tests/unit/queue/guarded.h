#ifndef TESTS_QUEUE_GUARDED_H
#define TESTS_QUEUE_GUARDED_H

/*
 * Memory for the library that shows a touch after its end: pages that are made inaccessible when they
 * are released, and do not come back before many others were.
 */

#include <pthread.h>
#include <sys/mman.h>

#include <thrum/diagnosis.h>

#include "queue/shapes.h"

#define GUARDED_PAGE 4096u
#define GUARDED_KEPT 512u

static struct {
    pthread_mutex_t mutex;
    struct guarded_grave {
        void *memory;
        size_t size;
    } graves[GUARDED_KEPT];
    unsigned next;
} guarded = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static inline size_t guarded_size(size_t size)
{
    return (size + GUARDED_PAGE - 1) / GUARDED_PAGE * GUARDED_PAGE;
}

static inline void *guarded_allocate(size_t size, size_t alignment, void *ctx)
{
    (void)alignment, (void)ctx;
    void *memory =
        mmap(NULL, guarded_size(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static inline void guarded_release(void *memory, size_t size, size_t alignment, void *ctx)
{
    (void)alignment, (void)ctx;
    if (memory == NULL)
        return;
    if (mprotect(memory, guarded_size(size), PROT_NONE) != 0)
        abort();
    pthread_mutex_lock(&guarded.mutex);
    struct guarded_grave *grave = &guarded.graves[guarded.next++ % GUARDED_KEPT];
    if (grave->memory != NULL)
        munmap(grave->memory, grave->size);
    *grave = (struct guarded_grave){memory, guarded_size(size)};
    pthread_mutex_unlock(&guarded.mutex);
}

/* For a test that is a process of its own; before the library's first allocation. */
static inline void guarded_begin(void)
{
    thrum_allocator_t allocator = THRUM_ALLOCATOR_INIT;
    allocator.allocate = guarded_allocate;
    allocator.release = guarded_release;
    EXPECT_CALL(0, thrum_set_allocator(&allocator));
}

/* --- giving the queue up ---------------------------------------------------------------------------
 * One strand makes a queue, takes what lets it go, and destroys it at once; the other lets it go, and
 * may be still on its way out. */
struct farewell {
    const struct shape *shape;
    int (*take)(thrum_queue_t *q, uint32_t round);
    int (*give)(thrum_queue_t *q, uint32_t round);
    uint32_t rounds;
    uint32_t sleeps; /* take sleeps in every round that is 1 more than a multiple of this */
    thrum_queue_t *q;
    uint32_t ready;
    uint32_t over; /* take was told an error, or had its rounds */
};

static inline int farewell_rounds(struct farewell *f)
{
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    config.order = f->shape->order;
    config.item_size = sizeof(uint32_t);
    config.capacity = f->shape->capacity;
    config.compare = by_number;
    for (uint32_t i = 0; i < f->rounds; i++) {
        int fd = -1;
        int err = thrum_queue_create(&f->q, &config);
        if (err == 0 && i % 5 == 0) /* one with a descriptor has more to tell */
            err = thrum_queue_fd(f->q, &fd);
        if (err != 0)
            return err;
        thi_store_release(&f->ready, 1u);
        err = f->take(f->q, i);
        thrum_queue_destroy(f->q);
        if (err != 0)
            return err;
        await_word(&f->ready, 0);
    }
    return 0;
}

static inline int farewell_take(void *arg)
{
    struct farewell *f = arg;
    const int err = farewell_rounds(f);
    thi_store_release(&f->over, 1u);
    return err;
}

static inline bool farewell_ready(struct farewell *f)
{
    while (thi_load_acquire(&f->ready) == 0 && thi_load_acquire(&f->over) == 0)
        sched_yield();
    return thi_load_acquire(&f->over) == 0;
}

static inline void farewell_run(struct farewell *f)
{
    struct caller c;
    caller_start(&c, farewell_take, f);
    for (uint32_t i = 0; i < f->rounds && farewell_ready(f); i++) {
        if (i % f->sleeps == 1)
            await_asleep(&c);
        for (uint32_t pause = 0; pause < i % 256; pause++)
            thi_cpu_pause();
        cr_assert_eq(f->give(f->q, i), 0);
        thi_store_release(&f->ready, 0u);
    }
    cr_expect_eq(caller_join(&c), 0);
}

#endif /* TESTS_QUEUE_GUARDED_H */
