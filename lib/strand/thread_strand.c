/*
 * The thread kind of strand: sleeps on its permit with a futex.
 *
 * Records come from a static block and, when that is used up, from pages of the system, never from
 * the allocator (a program's allocator may itself lock a thrum mutex). They are pooled and never
 * given back, so that a waker which is late by a whole thread's life still wakes valid memory.
 */
#include <stdio.h>

#include "strand/strand.h"

struct thread_record {
    thi_strand_t strand;
    struct thread_record *next_free;
    int64_t native_id;
    uint32_t exit_rounds;
    bool registered;
} THRUM_ALIGNED(THI_CACHE_LINE);

#define STATIC_RECORDS 16
#define SLAB_BYTES (32u * 1024u)

static struct thread_record static_records[STATIC_RECORDS];
static struct thread_record *unused = static_records; /* never used before: [unused, unused_end) */
static struct thread_record *unused_end = static_records + STATIC_RECORDS;
static struct thread_record *pool; /* given back */
static thi_lock_t pool_lock;

static void relax(thi_strand_t *self)
{
    (void)self;
    thi_cpu_pause();
}

static void describe(const thi_strand_t *strand, char *name, size_t size)
{
    const struct thread_record *record = (const struct thread_record *)(const void *)strand;
    const int64_t native_id = thi_load_relaxed(&record->native_id);
    char system_name[32];
    thi_thread_name(native_id, system_name, sizeof system_name);
    snprintf(name, size, "thread %lld \"%s\"", (long long)native_id, system_name);
}

static const thi_strand_kind_t thread_kind = {
    .name = "thread",
    .block = thi_thread_block,
    .wake = thi_thread_rouse,
    .passes_on = true,
    .hears_bells = true,
    .relax = relax,
    .describe = describe,
};

/* ------------------------------------------------------------------------------------------------
 * The pool of records
 */

/* Under the pool's lock: a record that was never used, or NULL. */
static struct thread_record *carve(void)
{
    if (unused == unused_end) {
        struct thread_record *slab = thi_pages_map(SLAB_BYTES);
        if (slab == NULL)
            return NULL;
        unused = slab;
        unused_end = slab + SLAB_BYTES / sizeof *slab;
    }
    return unused++;
}

static void give_record(struct thread_record *record)
{
    thi_lock(&pool_lock, THI_RANK_POOL);
    record->next_free = pool;
    pool = record;
    thi_unlock(&pool_lock, THI_RANK_POOL);
}

static struct thread_record *take_record(void)
{
    thi_lock(&pool_lock, THI_RANK_POOL);
    struct thread_record *record = pool;
    if (record != NULL)
        pool = record->next_free;
    else
        record = carve();
    thi_unlock(&pool_lock, THI_RANK_POOL);

    if (record == NULL || record->registered)
        return record;
    if (thi_strand_register(&record->strand, &thread_kind) != 0) {
        give_record(record);
        return NULL;
    }
    record->registered = true;
    return record;
}

/* ------------------------------------------------------------------------------------------------
 * Fork
 */

static void before_fork(void)
{
    /* A program's handler that runs after this one may lock a mutex: not the time to register. */
    (void)thi_self();
    thi_lock(&pool_lock, THI_RANK_POOL);
    thi_registry_before_fork();
    thi_locals_before_fork();
    thi_check_before_fork();
}

static void after_fork_in_parent(void)
{
    thi_check_after_fork(false);
    thi_locals_after_fork();
    thi_registry_after_fork(false);
    thi_unlock(&pool_lock, THI_RANK_POOL);
}

static void after_fork_in_child(void)
{
    thi_futex_after_fork();
    thi_lot_after_fork();
    thi_check_after_fork(true);
    thi_locals_after_fork();
    thi_registry_after_fork(true);
    thi_unlock(&pool_lock, THI_RANK_POOL);
    thi_current.guess = 0; /* who watched is the parent's */
    thi_strand_t *self = thi_current.strand;
    if (self != NULL && self->kind == &thread_kind)
        ((struct thread_record *)(void *)self)->native_id = thi_thread_native_id();
}

/* ------------------------------------------------------------------------------------------------
 * A thread's life
 */

/* When the library is loaded, and not when it is first used: a fork that another thread has begun by then
 * would run the child's handlers without having run those before it; the handlers of a program that are
 * registered earlier would run in the child before these have mended what they use; and one that only uses
 * queues would never register any. */
__attribute__((constructor)) void thi_strand_at_load(void)
{
    static bool loaded;
    if (loaded)
        return;
    loaded = true;
    thi_at_fork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* Runs among the thread's other destructors, which may still use the library. So the record stays
 * until the last round that is granted. What waits even later gets a new record, which is lost. */
static void thread_ends(void *arg)
{
    struct thread_record *record = arg;
    thi_locals_end(&record->strand);
    if (++record->exit_rounds < thi_thread_exit_rounds() &&
        thi_thread_at_exit(thread_ends, record) == 0)
        return;
    thi_strand_set_current(NULL);
    thi_strand_retire(&record->strand);
    give_record(record);
}

thi_strand_t *thi_strand_attach_thread(void)
{
    if (thi_current.strand != NULL)
        return thi_current.strand;
    struct thread_record *record = take_record();
    if (record == NULL)
        return NULL;
    if (thi_thread_at_exit(thread_ends, record) != 0) {
        give_record(record);
        return NULL;
    }
    thi_store_relaxed(&record->native_id, thi_thread_native_id());
    record->exit_rounds = 0;
    thi_strand_renew(&record->strand);
    thi_strand_set_current(&record->strand);
    return &record->strand;
}
