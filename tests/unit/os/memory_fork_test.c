#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <thrum/diagnosis.h>

#include "support/child.h"
#include "support/expect.h"

/* A fork while another thread is choosing the allocator. It is interrupted in its middle by memory that may not be
 * touched yet: the last member of what it wants to set. */
TestSuite(memory_fork, .timeout = 30);

enum { PAGE = 65536 };

static unsigned char *pages;
static uint32_t stuck;
static uint32_t go;

static void on_touch(int sig)
{
    (void)sig;
    thi_store_release(&stuck, 1u);
    while (thi_load_acquire(&go) == 0)
        sched_yield();
    mprotect(pages, 2 * PAGE, PROT_READ | PROT_WRITE);
}

static void *allocate(size_t size, size_t alignment, void *ctx)
{
    (void)alignment;
    (void)ctx;
    return malloc(size);
}

static void release(void *memory, size_t size, size_t alignment, void *ctx)
{
    (void)size;
    (void)alignment;
    (void)ctx;
    free(memory);
}

/* An allocator whose `ctx` lies on the second page. */
static thrum_allocator_t *slow_allocator(void)
{
    struct sigaction touch = {.sa_handler = on_touch};
    const thrum_allocator_t wanted = {
        .size = sizeof wanted, .allocate = allocate, .release = release};
    pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(pages, MAP_FAILED);
    unsigned char *at = pages + PAGE - offsetof(thrum_allocator_t, ctx);
    memcpy(at, &wanted, sizeof wanted);
    sigemptyset(&touch.sa_mask);
    cr_assert_eq(sigaction(SIGSEGV, &touch, NULL), 0);
    cr_assert_eq(sigaction(SIGBUS, &touch, NULL), 0);
    cr_assert_eq(mprotect(pages + PAGE, PAGE, PROT_NONE), 0);
    return (thrum_allocator_t *)(void *)at;
}

static int set_slowly(void *arg)
{
    return thrum_set_allocator(arg);
}

static int use_default(void *arg)
{
    (void)arg;
    void *memory = thi_alloc(100);
    thi_free(memory, 100);
    return memory != NULL ? 0 : 1;
}

static int set_anew(void *arg)
{
    (void)arg;
    const thrum_allocator_t wanted = {
        .size = sizeof wanted, .allocate = allocate, .release = release};
    if (thrum_set_allocator(&wanted) != 0 || thrum_set_allocator(&wanted) != EBUSY)
        return 1;
    return use_default(NULL);
}

Test(memory_fork, a_child_does_not_wait_for_who_was_choosing)
{
    struct caller setter;
    caller_start(&setter, set_slowly, slow_allocator());
    await_word(&stuck, 1);
    cr_expect_eq(child_run(use_default, NULL), 0);
    cr_expect_eq(child_run(set_anew, NULL), 0);
    thi_store_release(&go, 1u);
    cr_expect_eq(caller_join(&setter), 0);
    EXPECT_CALL(EBUSY, thrum_set_allocator(&(thrum_allocator_t){
                           .size = sizeof(thrum_allocator_t), allocate, release, NULL}));
    cr_expect_eq(use_default(NULL), 0);
}
