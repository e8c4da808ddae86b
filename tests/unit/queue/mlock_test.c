#include <sys/mman.h>
#include <sys/resource.h>

#include "queue/shapes.h"

/* A process may lock its memory, and then the system takes no page back. */
TestSuite(queue_mlock, .timeout = 30);

enum { ITEMS = 20000, ROUNDS = 4 };

/* By now on it is many rings; in each round they are used again. */
static void go_round(thrum_queue_t *q)
{
    for (uint32_t i = 0; i < ITEMS; i++)
        cr_assert_eq(thrum_queue_tryput(q, &i), 0);
    for (uint32_t i = 0; i < ITEMS; i++) {
        uint32_t item = UNTOUCHED;
        cr_assert_eq(thrum_queue_tryget(q, &item), 0);
        cr_assert_eq(item, i);
    }
    cr_assert(thrum_queue_empty(q));
}

static bool lock_memory(void)
{
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_MEMLOCK, &unlimited);
#ifdef MCL_ONFAULT
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0)
        return true;
#endif
    return mlockall(MCL_CURRENT | MCL_FUTURE) == 0;
}

Test(queue_mlock, a_fifo_grows_again_and_again_in_locked_memory)
{
    if (!lock_memory())
        cr_skip_test("this process may not lock its memory");
    thrum_queue_t *q = queue_of_numbers(THRUM_FIFO, 0);
    for (int i = 0; i < ROUNDS; i++)
        go_round(q);
    thrum_queue_destroy(q);
}

/* As good as above, and wherever it runs. */
Test(queue_mlock, pages_that_are_not_taken_back_are_used_as_they_are)
{
    thrum_queue_t *q = queue_of_numbers(THRUM_FIFO, 0);
    for (int i = 0; i < ROUNDS; i++) {
        thi_fault_arm(THI_FAULT_FORGET, i % 2 == 0 ? THI_FAULT_ALWAYS : 2);
        go_round(q);
    }
    thi_fault_arm(THI_FAULT_FORGET, 0);
    thrum_queue_destroy(q);
}

Test(queue_mlock, who_forgets_says_whether_it_did)
{
    enum { SIZE = 65536 };
    unsigned char *pages = thi_pages_map(SIZE);
    cr_assert_not_null(pages);
    memset(pages, 1, SIZE);
    errno = ERRNO_MARK;
    cr_expect(thi_pages_forget(pages, SIZE));
    cr_expect_eq(pages[SIZE - 1], 0);
    memset(pages, 1, SIZE);
    if (mlock(pages, SIZE) == 0) { /* AddressSanitizer only says so */
        const bool forgotten = thi_pages_forget(pages, SIZE);
        cr_expect_eq(pages[0], forgotten ? 0 : 1);
    }
    cr_expect_eq(errno, ERRNO_MARK);
    thi_pages_unmap(pages, SIZE);
}
