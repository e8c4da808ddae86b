#include <stdlib.h>
#include <string.h>

#include <thrum/diagnosis.h>
#include <thrum/local.h>

#include "support/expect.h"

TestSuite(memory, .timeout = 30);

/* Counts what it gives out; spoils errno, as allocators may. */
struct counting {
    size_t given;
    size_t bytes;
    size_t wrong;
    bool empty;
};

static void *count_allocate(size_t size, size_t alignment, void *ctx)
{
    struct counting *counting = ctx;
    errno = ENOSPC;
    if (counting->empty)
        return NULL;
    counting->given++;
    counting->bytes += size;
    counting->wrong += alignment == 0 || (alignment & (alignment - 1)) != 0;
    void *memory = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    memset(memory, 0xa5, size); /* not zeroed: that is the library's business */
    return memory;
}

static void count_release(void *memory, size_t size, size_t alignment, void *ctx)
{
    struct counting *counting = ctx;
    counting->given--;
    counting->bytes -= size;
    counting->wrong += memory == NULL || alignment == 0;
    free(memory);
    errno = ENOSPC;
}

static thrum_allocator_t counter_of(struct counting *counting)
{
    thrum_allocator_t a = THRUM_ALLOCATOR_INIT;
    a.allocate = count_allocate;
    a.release = count_release;
    a.ctx = counting;
    return a;
}

Test(memory, a_bad_allocator_is_refused)
{
    struct counting counting = {0};
    thrum_allocator_t good = counter_of(&counting);
    thrum_allocator_t bad = good;
    EXPECT_CALL(EINVAL, thrum_set_allocator(NULL));
    bad.size = 0;
    EXPECT_CALL(EINVAL, thrum_set_allocator(&bad));
    bad.size = sizeof bad - 1;
    EXPECT_CALL(EINVAL, thrum_set_allocator(&bad));
    bad.size = sizeof bad + 8;
    EXPECT_CALL(EINVAL, thrum_set_allocator(&bad));
    bad = good;
    bad.allocate = NULL;
    EXPECT_CALL(EINVAL, thrum_set_allocator(&bad));
    bad = good;
    bad.release = NULL;
    EXPECT_CALL(EINVAL, thrum_set_allocator(&bad));
    EXPECT_CALL(0, thrum_set_allocator(&good)); /* nothing was set before */
}

static thrum_local_t locals[200];

static int set_all(void *arg)
{
    for (size_t i = 0; i < 200; i++) {
        const int err = thrum_local_set(&locals[i], arg);
        if (err != 0)
            return err;
    }
    return 0;
}

Test(memory, a_programs_allocator_is_used_and_copied)
{
    struct counting counting = {0};
    thrum_allocator_t a = counter_of(&counting);
    EXPECT_CALL(0, thrum_set_allocator(&a));
    memset(&a, 0, sizeof a);
    EXPECT_CALL(0, set_all(&counting));
    cr_expect_gt(counting.given, 0u);
    const size_t mine = counting.given;
    struct caller c;
    caller_start(&c, set_all, &counting);
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(counting.given, mine, "what a strand had is given back when it ends");
    cr_expect_eq(counting.wrong, 0u);
    for (size_t i = 0; i < 200; i++)
        cr_expect_eq(thrum_local_get(&locals[i]), &counting);
}

Test(memory, an_allocator_is_set_once)
{
    struct counting counting = {0};
    const thrum_allocator_t a = counter_of(&counting);
    EXPECT_CALL(0, thrum_set_allocator(&a));
    EXPECT_CALL(EBUSY, thrum_set_allocator(&a));
}

Test(memory, an_allocator_comes_before_the_first_allocation)
{
    struct counting counting = {0};
    const thrum_allocator_t a = counter_of(&counting);
    EXPECT_CALL(0, thrum_local_set(&locals[0], &counting));
    EXPECT_CALL(EBUSY, thrum_set_allocator(&a));
    EXPECT_CALL(0, set_all(&counting));
    cr_expect_eq(counting.given, 0u);
}

Test(memory, what_an_allocator_has_not_is_reported)
{
    struct counting counting = {.empty = true};
    const thrum_allocator_t a = counter_of(&counting);
    EXPECT_CALL(0, thrum_set_allocator(&a));
    EXPECT_CALL(ENOMEM, thrum_local_set(&locals[0], &counting));
    cr_expect_null(thrum_local_get(&locals[0]));
    counting.empty = false;
    EXPECT_CALL(0, thrum_local_set(&locals[0], &counting));
    counting.empty = true;
    size_t set = 1;
    while (set < 200 && thrum_local_set(&locals[set], &counting) == 0)
        set++;
    cr_assert_lt(set, 200u, "there is no room for all of them in the first allocation");
    EXPECT_CALL(ENOMEM, thrum_local_set(&locals[set], &counting));
    cr_expect_null(thrum_local_get(&locals[set]));
    for (size_t i = 0; i < set; i++)
        cr_expect_eq(thrum_local_get(&locals[i]), &counting, "nothing changed");
}

struct claimant {
    thrum_allocator_t a;
    uint32_t *gate;
};

static int claim_allocator(void *arg)
{
    struct claimant *claimant = arg;
    await_word(claimant->gate, 1);
    return thrum_set_allocator(&claimant->a);
}

Test(memory, of_many_who_set_one_wins)
{
    enum { THREADS = 4 };
    struct counting counting[THREADS] = {{0}};
    struct claimant claimants[THREADS];
    struct caller c[THREADS];
    uint32_t gate = 0;
    int won = 0;
    for (int i = 0; i < THREADS; i++) {
        claimants[i] = (struct claimant){counter_of(&counting[i]), &gate};
        caller_start(&c[i], claim_allocator, &claimants[i]);
    }
    thi_store_release(&gate, 1u);
    for (int i = 0; i < THREADS; i++) {
        const int err = caller_join(&c[i]);
        cr_expect(err == 0 || err == EBUSY);
        won += err == 0;
    }
    cr_expect_eq(won, 1);
}

Test(memory, what_is_allocated_is_zeroed)
{
    errno = ERRNO_MARK;
    for (size_t size = 1; size < 10000; size += 777) {
        unsigned char *memory = thi_alloc(size);
        cr_assert_not_null(memory);
        for (size_t i = 0; i < size; i++)
            cr_assert_eq(memory[i], 0);
        memset(memory, 0xff, size);
        thi_free(memory, size);
    }
    thi_free(NULL, 10);
    cr_expect_eq(errno, ERRNO_MARK);
}

Test(memory, pages_are_zeroed)
{
    errno = ERRNO_MARK;
    unsigned char *pages = thi_pages_map(100000);
    cr_assert_not_null(pages);
    for (size_t i = 0; i < 100000; i++)
        cr_assert_eq(pages[i], 0);
    thi_pages_unmap(pages, 100000);
    cr_expect_null(thi_pages_map((size_t)1 << 62));
    cr_expect_eq(errno, ERRNO_MARK);
}
