#include <fenv.h>
#include <float.h>

#include "coroutine/loops.h"

TestSuite(coro_state, .timeout = 30);

/* --- errno ------------------------------------------------------------------------------------------- */

static int keep_errno(void *arg, void **result)
{
    const int mine = *(int *)arg;
    (void)result;
    errno = mine;
    for (int i = 0; i < 10; i++) {
        thrum_yield();
        if (errno != mine || thrum_sleep(THRUM_US(10)) != 0 || errno != mine)
            return EPROTO;
    }
    return 0;
}

static int keep_several(void *arg, void **result)
{
    static int values[4] = {11, 12, 13, 14};
    thrum_coro_t *cos[4];
    (void)arg, (void)result;
    for (int i = 0; i < 4; i++)
        cos[i] = spawned(keep_errno, &values[i]);
    errno = ERRNO_MARK;
    const int err = thrum_coro_join_all(cos, 4, THRUM_FOREVER);
    cr_expect_eq(errno, ERRNO_MARK);
    for (int i = 0; i < 4; i++)
        thrum_coro_release(cos[i]);
    return err;
}

Test(coro_state, errno_is_kept_across_waits)
{
    cr_expect_eq(in_loop(keep_several, NULL), 0);
}

/* --- locals ------------------------------------------------------------------------------------------ */

static thrum_local_t local;
static uint32_t destroyed;

static void count_destroyed(void *value)
{
    (void)value;
    destroyed++;
}

static int keep_local(void *arg, void **result)
{
    (void)result;
    if (thrum_local_get(&local) != NULL || thrum_local_set(&local, arg) != 0)
        return EPROTO;
    for (int i = 0; i < 5; i++) {
        thrum_yield();
        if (thrum_local_get(&local) != arg)
            return EPROTO;
    }
    return 0;
}

static int keep_locals(void *arg, void **result)
{
    int values[5];
    thrum_coro_t *cos[5];
    (void)arg, (void)result;
    for (int i = 0; i < 5; i++)
        cos[i] = spawned(keep_local, &values[i]);
    const int err = thrum_coro_join_all(cos, 5, THRUM_FOREVER);
    cr_expect_eq(destroyed, 5u);
    for (int i = 0; i < 5; i++)
        thrum_coro_release(cos[i]);
    return err;
}

Test(coro_state, each_has_locals_of_its_own)
{
    int mine = 0;
    EXPECT_CALL(0, thrum_local_init(&local, count_destroyed));
    EXPECT_CALL(0, thrum_local_set(&local, &mine));
    for (int round = 0; round < 3; round++) {
        destroyed = 0;
        cr_expect_eq(in_loop(keep_locals, NULL), 0);
        cr_expect_eq(thrum_local_get(&local), &mine);
    }
}

/* --- floating point ---------------------------------------------------------------------------------- */

static double third(void)
{
    volatile double one = 1, three = 3;
    return one / three;
}

static int round_otherwise(void *arg, void **result)
{
    double *values = arg;
    (void)result;
    fesetround(FE_UPWARD);
    values[0] = third();
    thrum_coro_yield(NULL);
    values[1] = third();
    return fegetround() == FE_UPWARD ? 0 : EPROTO;
}

Test(coro_state, the_rounding_mode_is_a_coroutines_own)
{
    double values[2] = {0, 0};
    const double nearest = third();
    thrum_coro_t *co = made(round_otherwise, values);
    EXPECT_CALL(0, thrum_coro_resume(co, NULL, NULL));
    cr_expect_eq(fegetround(), FE_TONEAREST);
    cr_expect_eq(third(), nearest);
    fesetround(FE_DOWNWARD);
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    cr_expect_eq(fegetround(), FE_DOWNWARD);
    fesetround(FE_TONEAREST);
    EXPECT_CALL(0, thrum_coro_result(co, NULL));
    cr_expect_gt(values[0], nearest);
    cr_expect_eq(values[1], values[0]);
    thrum_coro_release(co);
}

/* Every register that a call preserves, full of values that are wanted afterwards. */
static int keep_registers(void *arg, void **result)
{
    uint64_t a = (uint64_t)(uintptr_t)arg, b = a * 3, c = a * 5, d = a * 7, e = a * 11, f = a * 13,
             g = a * 17, h = a * 19;
    double x = (double)a, y = x / 3;
    (void)result;
    for (int i = 0; i < 1000; i++) {
        thrum_coro_yield(arg);
        a += b, b += c, c += d, d += e, e += f, f += g, g += h, h += a;
        x += y;
        __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
    }
    uint64_t *sum = arg;
    *sum = a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ (uint64_t)x;
    return 0;
}

Test(coro_state, registers_are_kept)
{
    uint64_t sums[2][2];
    thrum_coro_t *cos[2];
    for (int i = 0; i < 2; i++) { /* alone */
        cos[i] = made(keep_registers, &sums[0][i]);
        while (thrum_coro_resume(cos[i], NULL, NULL) == 0) {
        }
        sums[1][i] = sums[0][i];
        thrum_coro_release(cos[i]);
    }
    for (int i = 0; i < 2; i++)
        cos[i] = made(keep_registers, &sums[0][i]);
    int err = 0;
    while (err == 0) {
        for (int i = 0; i < 2; i++)
            err = thrum_coro_resume(cos[i], NULL, NULL);
    }
    cr_expect_eq(err, ENODATA);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(sums[0][i], sums[1][i]);
        thrum_coro_release(cos[i]);
    }
}
