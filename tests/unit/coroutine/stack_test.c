#include <signal.h>
#include <sys/mman.h>

#include "coroutine/fiber.h"
#include "coroutine/loops.h"

TestSuite(coro_stack, .timeout = 60);

#if !CHILD_MAY_START_THREADS /* AddressSanitizer, which reports what it finds itself */
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static thrum_coro_t *sized(size_t size, const char *name, thrum_fn fn, void *arg)
{
    thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
    thrum_coro_t *co = NULL;
    config.stack_size = size;
    config.name = name;
    EXPECT_CALL(0, thrum_coro_create(&co, fn, arg, &config));
    cr_assert_not_null(co);
    return co;
}

/* --- names ------------------------------------------------------------------------------------------- */

Test(coro_stack, a_name_is_cut_off)
{
    const char *name = "abcdefghijklmnopqrstuvwxyz";
    thrum_coro_t *co = sized(0, name, do_nothing, NULL);
    cr_expect_str_eq(thrum_coro_name(co), "abcdefghijklmnopqrstuvw");
    thrum_coro_release(co);
    co = sized(0, "short", do_nothing, NULL);
    cr_expect_str_eq(thrum_coro_name(co), "short");
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    cr_expect_str_eq(thrum_coro_name(co), "short");
    thrum_coro_release(co);
    co = made(do_nothing, NULL);
    cr_expect_str_eq(thrum_coro_name(co), "", "names do not outlive who had them");
    thrum_coro_release(co);
}

/* --- sizes ------------------------------------------------------------------------------------------- */

/* Uses that many bytes of the stack. Each call looks at the array of the one above: so no compiler makes one
 * array do for all. */
static __attribute__((noinline)) int use(size_t bytes, const volatile char *above)
{
    volatile char here[1024];
    for (size_t i = 0; i < sizeof here; i += 64)
        here[i] = (char)i;
    const int deeper = bytes > sizeof here + 64 ? use(bytes - sizeof here - 64, here) : 0;
    return deeper + here[64] + above[64];
}

static const char none[65];

static int use_much(void *arg, void **result)
{
    (void)result;
    return use(*(size_t *)arg, none) < 0 ? EPROTO : 0;
}

Test(coro_stack, every_size_can_be_used)
{
    for (size_t size = 1; size <= THRUM_CORO_STACK_MAX / 8; size = size * 3 + 100) {
        const size_t least = size < THRUM_CORO_STACK_MIN ? THRUM_CORO_STACK_MIN / 2 : size;
        size_t bytes = SANITIZED ? least / 8 : least / 10 * 9;
        thrum_coro_t *co = sized(size, NULL, use_much, &bytes);
        EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
        EXPECT_CALL(0, thrum_coro_result(co, NULL));
        cr_expect_geq(thrum_coro_stack_used(co), bytes / 10 * 9, "%zu", size);
        thrum_coro_release(co);
    }
    thrum_coro_release(sized(THRUM_CORO_STACK_MAX, NULL, do_nothing, NULL));
}

Test(coro_stack, what_was_used_is_known)
{
    size_t bytes = 40 * 1024;
    thrum_coro_t *co = sized(SANITIZED ? 1024 * 1024 : 0, NULL, use_much, &bytes);
    const size_t before = thrum_coro_stack_used(co);
    cr_expect_leq(before, 16u * 1024);
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    cr_expect_geq(thrum_coro_stack_used(co), bytes / 10 * 9);
    thrum_coro_release(co);
}

/* --- many -------------------------------------------------------------------------------------------- */

static int yield_once(void *arg, void **result)
{
    (void)result;
    return thrum_coro_yield(arg) == arg ? 0 : EPROTO;
}

Test(coro_stack, many_suspended_at_a_time)
{
    enum { MANY = 20000 };
    static thrum_coro_t *cos[MANY];
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(thrum_coro_create(&cos[i], yield_once, &cos[i], NULL), 0);
        cr_assert_eq(thrum_coro_resume(cos[i], NULL, NULL), 0);
    }
    for (int i = 0; i < MANY; i++) {
        if (i % 2 == 0)
            cr_assert_eq(thrum_coro_resume(cos[i], &cos[i], NULL), ENODATA);
        cr_assert_eq(thrum_coro_result(cos[i], NULL), i % 2 == 0 ? 0 : EBUSY);
        thrum_coro_release(cos[i]);
    }
}

#ifdef THI_ASAN
#define PARKED 20000
#else
#define PARKED                                                                                     \
    100000 /* more than the mappings that Linux lets a process have, unless it is told otherwise */
#endif

/* Where a guard is a mapping of its own (Linux before 6.13), that limit counts. */
static bool guards_are_mappings(void)
{
    const size_t size = thi_page_size();
    void *page = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(page, MAP_FAILED);
    const bool are = madvise(page, size, 102 /* MADV_GUARD_INSTALL */) != 0;
    munmap(page, size);
    return are;
}

struct crowd {
    thrum_event_t gate;
    thrum_waitgroup_t left;
    uint32_t parked;
    uint32_t through;
};

static int pass_gate(void *arg, void **result)
{
    struct crowd *c = arg;
    (void)result;
    const int err = thrum_event_wait(&c->gate);
    c->through++;
    return err != 0 ? err : thrum_waitgroup_done(&c->left);
}

static int park_many(void *arg, void **result)
{
    struct crowd *c = arg;
    int err = 0;
    (void)result;
    while (c->parked < PARKED && (err = thrum_go(NULL, pass_gate, c)) == 0) {
        c->parked++;
        if (thrum_waitgroup_add(&c->left, 1) != 0)
            return EOVERFLOW;
    }
    if (err != 0 && err != ENOMEM)
        return err;
    while (thi_park_count(&c->gate) != c->parked)
        thrum_yield();
    thrum_event_set(&c->gate);
    err = thrum_waitgroup_wait(&c->left);
    return err != 0 ? err : c->through == c->parked ? 0 : EPROTO;
}

Test(coro_stack, many_parked_in_a_loop)
{
    struct crowd c = {THRUM_EVENT_INIT, THRUM_WAITGROUP_INIT, 0, 0};
    cr_expect_eq(in_loop(park_many, &c), 0);
    cr_expect(c.parked == PARKED || (c.parked >= 20000 && guards_are_mappings()), "%u", c.parked);
}

/* --- no memory --------------------------------------------------------------------------------------- */

Test(coro_stack, without_pages_there_is_no_coroutine_and_nothing_is_lost)
{
    thrum_coro_t *co = NULL;
    EXPECT_CALL(ENODATA, thrum_coro_resume(co = made(do_nothing, NULL), NULL, NULL));
    thrum_coro_release(co);
    for (unsigned nth = 1; nth <= 3; nth++) {
        thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
        config.stack_size = (size_t)100 * 1024; /* a size that nobody has used */
        co = NULL;
        thi_fault_arm(THI_FAULT_PAGES, nth);
        int err = thrum_coro_create(&co, do_nothing, NULL, &config);
        thi_fault_arm(THI_FAULT_PAGES, 0);
        cr_expect(err == ENOMEM || err == 0);
        cr_expect(nth != 1 || err == ENOMEM);
        if (err != 0)
            EXPECT_CALL(0, thrum_coro_create(&co, do_nothing, NULL, &config));
        EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
        thrum_coro_release(co);
    }
}

static int go_without_memory(void *arg, void **result)
{
    int *failed = arg;
    (void)result;
    for (unsigned nth = 1; nth <= 64; nth++) {
        thrum_coro_t *co = NULL;
        thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
        config.stack_size = THRUM_CORO_STACK_MIN << (nth % 8);
        thi_fault_arm(THI_FAULT_PAGES, nth % 4 + 1);
        thi_fault_arm(THI_FAULT_ALLOC, nth % 3 + 1);
        int err = thrum_go_with(&co, wait_for_ever, NULL, &config);
        thi_fault_arm(THI_FAULT_ALLOC, THI_FAULT_ALWAYS);
        *failed += err != 0;
        const int slept = thrum_sleep(THRUM_US(100)); /* works all the same */
        thi_fault_arm(THI_FAULT_PAGES, 0);
        thi_fault_arm(THI_FAULT_ALLOC, 0);
        if ((err != 0 && err != ENOMEM) || slept != 0)
            return EPROTO;
        if (err != 0)
            continue;
        thrum_coro_cancel(co);
        if (thrum_coro_join(co, NULL) != ECANCELED)
            return EPROTO;
        thrum_coro_release(co);
    }
    return thrum_sleep(THRUM_MS(1));
}

Test(coro_stack, a_loop_lives_through_times_without_memory)
{
    int failed = 0;
    cr_expect_eq(in_loop(go_without_memory, &failed), 0);
    cr_expect_gt(failed, 0);
}

Test(coro_stack, a_loop_is_not_made_without_memory)
{
    for (unsigned nth = 1; nth < 20; nth++) {
        thi_fault_arm(THI_FAULT_ALLOC, nth);
        const int err = thrum_run(do_nothing, NULL, NULL);
        thi_fault_arm(THI_FAULT_ALLOC, 0);
        cr_expect(err == ENOMEM || err == 0);
        thi_fault_arm(THI_FAULT_PAGES, nth);
        const int other = thrum_run(do_nothing, NULL, NULL);
        thi_fault_arm(THI_FAULT_PAGES, 0);
        cr_expect(other == ENOMEM || other == 0);
    }
    EXPECT_CALL(0, thrum_run(do_nothing, NULL, NULL));
}

/* --- overflow ---------------------------------------------------------------------------------------- */

static int overflow(void *arg, void **result)
{
    (void)arg, (void)result;
    return use((size_t)1 << 30, none);
}

struct overflowing {
    int stderr_fd;
    bool loops;
};

static int overflow_in_child(void *arg)
{
    const struct overflowing *o = arg;
    thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
    thrum_coro_t *co = NULL;
    thrum_loop_t *loop = NULL;
    signal(SIGSEGV, SIG_DFL);
    dup2(o->stderr_fd, STDERR_FILENO);
    config.name = "the deep one";
    if (o->loops)
        return thrum_loop_create(&loop, NULL) != 0 ||
               thrum_loop_go(loop, NULL, overflow, NULL, &config) != 0 || thrum_loop_run(loop);
    return thrum_coro_create(&co, overflow, NULL, &config) != 0 ||
           thrum_coro_resume(co, NULL, NULL) != 0;
}

static void expect_report(bool loops)
{
    int ends[2];
    char text[512] = {0};
    cr_assert_eq(pipe(ends), 0);
    struct overflowing o = {ends[1], loops};
    cr_expect_eq(child_run(overflow_in_child, &o), 128 + SIGSEGV);
    close(ends[1]);
    cr_expect_gt(read(ends[0], text, sizeof text - 1), 0);
    cr_expect_not_null(strstr(text, "stack overflow in coroutine"), "%s", text);
    cr_expect_not_null(strstr(text, "\"the deep one\""), "%s", text);
    close(ends[0]);
}

Test(coro_stack, an_overflow_names_the_coroutine_and_ends_the_process)
{
    if (SANITIZED)
        cr_skip("AddressSanitizer reports it");
    expect_report(false);
    expect_report(true);
}

static int read_wildly(void *arg)
{
    const struct overflowing *o = arg;
    volatile char *volatile wild = (char *)16;
    signal(SIGSEGV, SIG_DFL);
    dup2(o->stderr_fd, STDERR_FILENO);
    return thrum_run(do_nothing, NULL, NULL) == 0 ? *wild : 1;
}

Test(coro_stack, another_fault_is_no_overflow)
{
    int ends[2];
    char text[64] = {0};
    if (SANITIZED)
        cr_skip("AddressSanitizer reports it");
    cr_assert_eq(pipe(ends), 0);
    struct overflowing o = {ends[1], false};
    cr_expect_eq(child_run(read_wildly, &o), 128 + SIGSEGV);
    close(ends[1]);
    cr_expect_eq(read(ends[0], text, sizeof text - 1), 0, "%s", text);
    close(ends[0]);
}
