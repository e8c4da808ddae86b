#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include <criterion/criterion.h>

#include <thrum/thrum.h>

#include "support/child.h"
#include "support/expect.h"

TestSuite(thread, .timeout = 30);

static int token;

/* --- functions to run ------------------------------------------------------------------------------- */

static int hand_back(void *arg, void **result)
{
    *result = arg;
    return 0;
}

static int fail_with_result(void *arg, void **result)
{
    *result = arg;
    return EPROTO;
}

static int wait_for_event(void *arg, void **result)
{
    *result = &token;
    return thrum_event_wait(arg);
}

static thrum_thread_t *made(thrum_fn fn, void *arg)
{
    thrum_thread_t *t = NULL;
    EXPECT_CALL(0, thrum_thread_create(&t, fn, arg, NULL));
    cr_assert_not_null(t);
    return t;
}

static thrum_thread_t *spawned(thrum_fn fn, void *arg)
{
    thrum_thread_t *t = NULL;
    EXPECT_CALL(0, thrum_thread_spawn(&t, fn, arg, NULL));
    cr_assert_not_null(t);
    return t;
}

static void joined(thrum_thread_t *t, int status)
{
    EXPECT_CALL(status, thrum_thread_join(t, NULL));
    thrum_thread_release(t);
}

/* --- life ------------------------------------------------------------------------------------------- */

Test(thread, hands_back_what_its_function_returned)
{
    void *result = NULL;
    thrum_thread_t *t = made(hand_back, &token);
    EXPECT_CALL(0, thrum_thread_start(t));
    EXPECT_CALL(0, thrum_thread_join(t, &result));
    cr_expect_eq(result, &token);
    thrum_thread_release(t);

    result = NULL;
    t = spawned(fail_with_result, &token);
    EXPECT_CALL(EPROTO, thrum_thread_join(t, &result));
    cr_expect_eq(result, &token, "a result comes with a failure, too");
    thrum_thread_release(t);
}

Test(thread, is_made_of_good_arguments_only)
{
    thrum_thread_t *t = NULL;
    const unsigned far[] = {0, 8192};
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    EXPECT_CALL(EINVAL, thrum_thread_create(NULL, hand_back, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_thread_create(&t, NULL, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_thread_spawn(&t, NULL, NULL, NULL));
    config.cpu_count = 1;
    EXPECT_CALL(EINVAL, thrum_thread_create(&t, hand_back, NULL, &config));
    config.cpus = far;
    config.cpu_count = 2;
    EXPECT_CALL(EINVAL, thrum_thread_create(&t, hand_back, NULL, &config));
    config = (thrum_thread_config_t)THRUM_THREAD_CONFIG_INIT;
    config.config_size++;
    EXPECT_CALL(EINVAL, thrum_thread_spawn(&t, hand_back, NULL, &config));
    cr_expect_null(t);

    config = (thrum_thread_config_t){.name = "all zero but this"};
    EXPECT_CALL(0, thrum_thread_spawn(&t, hand_back, NULL, &config));
    joined(t, 0);
}

Test(thread, is_started_once)
{
    thrum_thread_t *t = made(hand_back, NULL);
    EXPECT_CALL(EINVAL, thrum_thread_start(NULL));
    EXPECT_CALL(0, thrum_thread_start(t));
    EXPECT_CALL(EINVAL, thrum_thread_start(t));
    EXPECT_CALL(0, thrum_thread_join(t, NULL));
    EXPECT_CALL(EINVAL, thrum_thread_start(t));
    thrum_thread_release(t);
}

static int expect_alive(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return thrum_thread_alive(thrum_thread_current()) ? 0 : EPROTO;
}

Test(thread, is_alive_from_its_start_to_its_end)
{
    thrum_event_t go = THRUM_EVENT_INIT;
    thrum_thread_t *t = made(wait_for_event, &go);
    cr_expect_not(thrum_thread_alive(NULL));
    cr_expect_not(thrum_thread_alive(t));
    EXPECT_CALL(0, thrum_thread_start(t));
    cr_expect(thrum_thread_alive(t));
    thrum_event_set(&go);
    EXPECT_CALL(0, thrum_thread_join(t, NULL));
    cr_expect_not(thrum_thread_alive(t));
    thrum_thread_release(t);
    joined(spawned(expect_alive, NULL), 0);
}

Test(thread, that_was_never_started_can_be_given_up)
{
    thrum_thread_t *t = made(hand_back, NULL);
    thrum_thread_release(t);
    thrum_thread_release(NULL);
}

struct shared_gate {
    thrum_event_t go;
    thrum_sem_t over;
};

static int pass_gate(void *arg, void **result)
{
    struct shared_gate *gate = arg;
    (void)result;
    const int err = thrum_event_wait(&gate->go);
    return err != 0 ? err : thrum_sem_release(&gate->over);
}

Test(thread, runs_on_when_its_handle_is_released)
{
    static struct shared_gate gate = {THRUM_EVENT_INIT, THRUM_SEM_INIT(0)};
    thrum_thread_t *t = spawned(pass_gate, &gate);
    thrum_thread_release(t);
    EXPECT_CALL(0, thrum_thread_spawn(NULL, pass_gate, &gate, NULL));
    thrum_event_set(&gate.go);
    EXPECT_CALL(0, thrum_sem_acquire(&gate.over));
    EXPECT_CALL(0, thrum_sem_acquire(&gate.over));
}

Test(thread, object_is_counted)
{
    thrum_event_t go = THRUM_EVENT_INIT;
    thrum_thread_t *t = spawned(wait_for_event, &go);
    cr_expect_eq(thrum_thread_retain(t), t);
    cr_expect_null(thrum_thread_retain(NULL));
    thrum_thread_release(t);
    cr_expect(thrum_thread_alive(t));
    thrum_event_set(&go);
    joined(t, 0);
}

static int leave_by_pthread_exit(void *arg, void **result)
{
    *result = arg;
    pthread_exit(NULL);
}

Test(thread, that_leaves_by_pthread_exit_was_cancelled)
{
    void *result = &token;
    thrum_thread_t *t = spawned(leave_by_pthread_exit, NULL);
    EXPECT_CALL(ECANCELED, thrum_thread_join(t, &result));
    cr_expect_null(result);
    cr_expect_not(thrum_thread_alive(t));
    thrum_thread_release(t);
}

/* --- joining ---------------------------------------------------------------------------------------- */

Test(thread, that_is_not_started_cannot_be_joined)
{
    void *result = &token;
    thrum_thread_t *t = made(hand_back, NULL);
    EXPECT_CALL(EINVAL, thrum_thread_join(t, &result));
    EXPECT_CALL(EINVAL, thrum_thread_tryjoin(t, &result));
    EXPECT_CALL(EINVAL, thrum_thread_join_until(t, &result, SOON));
    EXPECT_CALL(EINVAL, thrum_thread_join(NULL, &result));
    EXPECT_CALL(EINVAL, thrum_thread_tryjoin(NULL, &result));
    EXPECT_CALL(EINVAL, thrum_thread_join_until(NULL, &result, SOON));
    cr_expect_eq(result, &token);
    thrum_thread_release(t);
}

Test(thread, that_has_not_ended_is_waited_for_until_the_deadline)
{
    thrum_event_t go = THRUM_EVENT_INIT;
    void *result = NULL;
    thrum_thread_t *t = spawned(wait_for_event, &go);
    EXPECT_CALL(EAGAIN, thrum_thread_tryjoin(t, &result));
    EXPECT_CALL(ETIMEDOUT, thrum_thread_join_until(t, &result, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_thread_join_until(t, &result, SOON));
    cr_expect_null(result);
    thrum_event_set(&go);
    EXPECT_CALL(0, thrum_thread_join_until(t, &result, THRUM_FOREVER));
    cr_expect_eq(result, &token);
    EXPECT_CALL(0, thrum_thread_tryjoin(t, &result));
    EXPECT_CALL(0, thrum_thread_join_until(t, &result, PAST));
    thrum_thread_release(t);
}

static int join_it(void *arg)
{
    void *result = NULL;
    const int err = thrum_thread_join(arg, &result);
    return err == 0 && result != &token ? EPROTO : err;
}

Test(thread, is_joined_by_anybody_as_often_as_they_like)
{
    enum { JOINERS = 4 };
    thrum_event_t go = THRUM_EVENT_INIT;
    struct caller c[JOINERS];
    thrum_thread_t *t = spawned(wait_for_event, &go);
    for (int i = 0; i < JOINERS; i++)
        caller_start(&c[i], join_it, t);
    for (int i = 0; i < JOINERS; i++)
        await_asleep(&c[i]);
    thrum_event_set(&go);
    for (int i = 0; i < JOINERS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    for (int i = 0; i < JOINERS; i++)
        EXPECT_CALL(0, join_it(t));
    thrum_thread_release(t);
}

static int join_itself(void *arg, void **result)
{
    (void)arg;
    thrum_thread_t *self = thrum_thread_current();
    if (thrum_thread_tryjoin(self, result) != EDEADLK)
        return EPROTO;
    if (thrum_thread_join_until(self, result, PAST) != EDEADLK)
        return EPROTO;
    return thrum_thread_join(self, result);
}

Test(thread, cannot_join_itself)
{
    joined(spawned(join_itself, NULL), EDEADLK);
    EXPECT_CALL(EDEADLK, thrum_thread_join(thrum_thread_current(), NULL));
}

static int join_stranger(void *arg, void **result)
{
    if (thrum_thread_tryjoin(arg, result) != ENOTSUP)
        return EPROTO;
    return thrum_thread_join(arg, result);
}

Test(thread, that_thrum_did_not_start_cannot_be_joined)
{
    joined(spawned(join_stranger, thrum_thread_current()), ENOTSUP);
}

Test(thread, join_is_a_cancellation_point)
{
    thrum_event_t go = THRUM_EVENT_INIT;
    struct caller c;
    thrum_thread_t *t = spawned(wait_for_event, &go);
    caller_start(&c, join_it, t);
    await_asleep(&c);
    caller_cancel(&c);
    cr_expect_eq(caller_join(&c), ECANCELED);
    cr_expect(thrum_thread_alive(t));
    thrum_event_set(&go);
    joined(t, 0);
}

static bool task_exists(pid_t id)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d", (int)id);
    return access(path, F_OK) == 0;
}

/* The system forgets it a moment after it has told who joins it. */
Test(thread, is_gone_from_the_system_once_it_is_joined)
{
    for (int i = 0; i < 100; i++) {
        thrum_thread_t *t = spawned(hand_back, NULL);
        const pid_t id = thrum_thread_native_id(t);
        EXPECT_CALL(0, thrum_thread_join(t, NULL));
        while (task_exists(id))
            sched_yield();
        thrum_thread_release(t);
    }
}

/* What the thread leaves behind is taken care of before it counts as ended. */
static thrum_event_t may_forget = THRUM_EVENT_INIT;
static uint32_t forgotten;

static void forget_slowly(void *value)
{
    (void)value;
    if (thrum_event_wait(&may_forget) == 0 && thrum_thread_alive(thrum_thread_current()))
        thi_store_relaxed(&forgotten, 1u);
}

static thrum_local_t memory = THRUM_LOCAL_INIT(forget_slowly);
static pthread_key_t system_memory;

static int remember_by_local(void *arg, void **result)
{
    (void)result;
    return thrum_local_set(&memory, arg);
}

static int remember_by_key(void *arg, void **result)
{
    (void)result;
    return pthread_setspecific(system_memory, arg);
}

static void expect_forgotten_before_the_end(thrum_fn remember, bool daemon)
{
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    thrum_thread_t *t = NULL;
    config.daemon = daemon;
    thrum_event_clear(&may_forget);
    thi_store_relaxed(&forgotten, 0u);
    EXPECT_CALL(0, thrum_thread_spawn(&t, remember, &token, &config));
    await_parked(&may_forget, 1);
    cr_expect(thrum_thread_alive(t));
    EXPECT_CALL(EAGAIN, thrum_thread_tryjoin(t, NULL));
    thrum_event_set(&may_forget);
    EXPECT_CALL(0, thrum_thread_join(t, NULL));
    cr_expect_eq(thi_load_relaxed(&forgotten), 1u);
    thrum_thread_release(t);
}

Test(thread, destructors_run_before_its_end)
{
    joined(spawned(hand_back, NULL), 0); /* the library's keys are older: they come first */
    cr_assert_eq(pthread_key_create(&system_memory, forget_slowly), 0);
    expect_forgotten_before_the_end(remember_by_local, false);
    expect_forgotten_before_the_end(remember_by_key, false);
    expect_forgotten_before_the_end(remember_by_local, true);
    expect_forgotten_before_the_end(remember_by_key, true);
}

/* --- cancellation ----------------------------------------------------------------------------------- */

Test(thread, is_cancelled_while_it_waits)
{
    thrum_event_t never = THRUM_EVENT_INIT;
    thrum_thread_t *t = spawned(wait_for_event, &never);
    EXPECT_CALL(EINVAL, thrum_thread_cancel(NULL));
    await_parked(&never, 1);
    EXPECT_CALL(0, thrum_thread_cancel(t));
    EXPECT_CALL(ECANCELED, thrum_thread_join(t, NULL));
    EXPECT_CALL(0, thrum_thread_cancel(t));
    thrum_thread_release(t);
}

Test(thread, cancelled_before_its_start_does_not_wait_at_all)
{
    thrum_event_t event = THRUM_EVENT_INIT;
    thrum_thread_t *t = made(wait_for_event, &event);
    EXPECT_CALL(0, thrum_thread_cancel(t));
    EXPECT_CALL(0, thrum_thread_start(t));
    joined(t, ECANCELED);

    thrum_event_set(&event);
    t = made(wait_for_event, &event);
    EXPECT_CALL(0, thrum_thread_cancel(t));
    EXPECT_CALL(0, thrum_thread_start(t));
    joined(t, 0);
}

static int cancel_itself(void *arg, void **result)
{
    (void)result;
    if (thrum_cancelled() || thrum_thread_cancel(thrum_thread_current()) != 0 || !thrum_cancelled())
        return EPROTO;
    return thrum_event_wait(arg);
}

Test(thread, may_cancel_itself)
{
    thrum_event_t never = THRUM_EVENT_INIT;
    joined(spawned(cancel_itself, &never), ECANCELED);
}

/* Records of strands are used again: a cancel that comes too late may not reach who has it now. */
Test(thread, cancel_never_reaches_a_later_thread)
{
    for (int i = 0; i < 200; i++) {
        thrum_event_t go = THRUM_EVENT_INIT;
        thrum_thread_t *before = spawned(hand_back, NULL);
        EXPECT_CALL(0, thrum_thread_join(before, NULL));
        thrum_thread_t *after = spawned(wait_for_event, &go);
        await_parked(&go, 1);
        EXPECT_CALL(0, thrum_thread_cancel(before));
        thrum_event_set(&go);
        joined(after, 0);
        thrum_thread_release(before);
    }
}

static int cancel_it(void *arg, void **result)
{
    (void)result;
    return thrum_thread_cancel(arg);
}

Test(thread, that_thrum_did_not_start_can_be_cancelled)
{
    thrum_event_t never = THRUM_EVENT_INIT;
    thrum_thread_t *t = spawned(cancel_it, thrum_thread_current());
    while (thrum_thread_alive(t)) /* a join would be cancelled, too */
        sched_yield();
    thrum_thread_release(t);
    EXPECT_CALL(ECANCELED, thrum_event_wait(&never));
    cr_expect(thrum_cancelled());
}

/* --- settings --------------------------------------------------------------------------------------- */

Test(thread, is_a_daemon_or_not_before_it_starts)
{
    thrum_event_t go = THRUM_EVENT_INIT;
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    thrum_thread_t *t = made(wait_for_event, &go);
    EXPECT_CALL(EINVAL, thrum_thread_set_daemon(NULL, true));
    cr_expect_not(thrum_thread_daemon(NULL));
    cr_expect_not(thrum_thread_daemon(t));
    EXPECT_CALL(0, thrum_thread_set_daemon(t, true));
    cr_expect(thrum_thread_daemon(t));
    EXPECT_CALL(0, thrum_thread_set_daemon(t, false));
    cr_expect_not(thrum_thread_daemon(t));
    EXPECT_CALL(0, thrum_thread_start(t));
    EXPECT_CALL(EBUSY, thrum_thread_set_daemon(t, true));
    cr_expect_not(thrum_thread_daemon(t));
    thrum_event_set(&go);
    EXPECT_CALL(0, thrum_thread_join(t, NULL));
    EXPECT_CALL(EBUSY, thrum_thread_set_daemon(t, true));
    thrum_thread_release(t);

    config.daemon = true;
    EXPECT_CALL(0, thrum_thread_spawn(&t, hand_back, NULL, &config));
    cr_expect(thrum_thread_daemon(t));
    joined(t, 0);

    cr_expect_not(thrum_thread_daemon(thrum_thread_current()));
    EXPECT_CALL(EBUSY, thrum_thread_set_daemon(thrum_thread_current(), true));
}

#define LONG_NAME "a name that is longer than the system keeps"
#define KEPT_NAME "a name that is "

static void expect_system_name(thrum_thread_t *t, const char *name)
{
    char shown[32];
    thi_thread_name(thrum_thread_native_id(t), shown, sizeof shown);
    cr_expect_str_eq(shown, name);
}

static int wait_for_gate(void *arg, void **result)
{
    struct shared_gate *gate = arg;
    (void)result;
    if (thrum_sem_release(&gate->over) != 0)
        return EPROTO;
    return thrum_event_wait(&gate->go);
}

Test(thread, name_is_kept_whole_and_shown_by_the_system)
{
    struct shared_gate gate = {THRUM_EVENT_INIT, THRUM_SEM_INIT(0)};
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    thrum_thread_t *t = NULL;
    config.name = LONG_NAME;
    EXPECT_CALL(0, thrum_thread_create(&t, wait_for_gate, &gate, &config));
    cr_expect_str_eq(thrum_thread_name(t), LONG_NAME);
    EXPECT_CALL(0, thrum_thread_set_name(t, "fifteen letters"));
    cr_expect_str_eq(thrum_thread_name(t), "fifteen letters");
    EXPECT_CALL(0, thrum_thread_start(t));
    EXPECT_CALL(0, thrum_sem_acquire(&gate.over));
    expect_system_name(t, "fifteen letters");

    EXPECT_CALL(0, thrum_thread_set_name(t, LONG_NAME));
    cr_expect_str_eq(thrum_thread_name(t), LONG_NAME);
    expect_system_name(t, KEPT_NAME);
    EXPECT_CALL(0, thrum_thread_set_name(t, thrum_thread_name(t) + 2));
    cr_expect_str_eq(thrum_thread_name(t), &LONG_NAME[2]);
    EXPECT_CALL(0, thrum_thread_set_name(t, "short"));
    EXPECT_CALL(0, thrum_thread_set_name(t, thrum_thread_name(t) + 1));
    cr_expect_str_eq(thrum_thread_name(t), "hort");
    expect_system_name(t, "hort");

    EXPECT_CALL(EINVAL, thrum_thread_set_name(t, NULL));
    EXPECT_CALL(EINVAL, thrum_thread_set_name(NULL, "x"));
    cr_expect_str_eq(thrum_thread_name(NULL), "");
    thrum_event_set(&gate.go);
    EXPECT_CALL(0, thrum_thread_join(t, NULL));
    cr_expect_str_eq(thrum_thread_name(t), "hort");
    EXPECT_CALL(0, thrum_thread_set_name(t, "the late"));
    cr_expect_str_eq(thrum_thread_name(t), "the late");
    thrum_thread_release(t);

    t = made(hand_back, NULL);
    cr_expect_str_eq(thrum_thread_name(t), "");
    thrum_thread_release(t);
}

static int name_itself(void *arg, void **result)
{
    char shown[32];
    (void)arg;
    (void)result;
    const int err = thrum_thread_set_name(thrum_thread_current(), "by itself");
    thi_thread_name(thi_thread_native_id(), shown, sizeof shown);
    return strcmp(shown, "by itself") == 0 ? err : EPROTO;
}

Test(thread, may_name_itself)
{
    joined(spawned(name_itself, NULL), 0);
    EXPECT_CALL(0, thrum_thread_set_name(thrum_thread_current(), "principal"));
    expect_system_name(thrum_thread_current(), "principal");
}

static int tell_native_id(void *arg, void **result)
{
    (void)result;
    *(int64_t *)arg = thi_thread_native_id();
    return 0;
}

Test(thread, has_numbers_once_it_is_started)
{
    enum { THREADS = 20 };
    uint64_t idents[THREADS];
    thrum_thread_t *t[THREADS];
    int64_t native = 0;
    cr_expect_eq(thrum_thread_ident(NULL), 0u);
    cr_expect_eq(thrum_thread_native_id(NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        t[i] = made(tell_native_id, &native);
        cr_expect_eq(thrum_thread_ident(t[i]), 0u);
        cr_expect_eq(thrum_thread_native_id(t[i]), 0);
        EXPECT_CALL(0, thrum_thread_start(t[i]));
        idents[i] = thrum_thread_ident(t[i]);
        const pid_t id = thrum_thread_native_id(t[i]);
        cr_expect_gt(id, 0);
        EXPECT_CALL(0, thrum_thread_join(t[i], NULL));
        cr_expect_eq(id, native);
        cr_expect_eq(thrum_thread_native_id(t[i]), id);
        cr_expect_eq(thrum_thread_ident(t[i]), idents[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        cr_expect_gt(idents[i], 1u);
        for (int j = 0; j < i; j++)
            cr_expect_neq(idents[i], idents[j]);
        thrum_thread_release(t[i]);
    }
}

static int use_stack(void *arg, void **result)
{
    const size_t size = *(const size_t *)arg;
    pthread_attr_t attributes;
    size_t given = 0;
    *result = NULL;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return EPROTO;
    pthread_attr_getstacksize(&attributes, &given);
    pthread_attr_destroy(&attributes);
    return given >= size ? 0 : EPROTO;
}

Test(thread, stack_is_at_least_as_large_as_asked_for)
{
    const size_t sizes[] = {1, 1000, 100001, 16u << 20, 64u << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
        thrum_thread_t *t = NULL;
        size_t size = sizes[i];
        config.stack_size = size;
#if !CHILD_MAY_START_THREADS /* AddressSanitizer's frames are larger */
        if (size < 100000)
            continue;
#endif
        EXPECT_CALL(0, thrum_thread_spawn(&t, use_stack, &size, &config));
        joined(t, 0);
    }
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    thrum_thread_t *t = NULL;
    config.stack_size = SIZE_MAX;
    EXPECT_CALL(0, thrum_thread_create(&t, hand_back, NULL, &config));
    EXPECT_CALL(ENOMEM, thrum_thread_start(t));
    EXPECT_CALL(EINVAL, thrum_thread_join(t, NULL));
    cr_expect_not(thrum_thread_alive(t));
    cr_expect_eq(thrum_thread_ident(t), 0u);
    EXPECT_CALL(ENOMEM, thrum_thread_start(t));
    thrum_thread_release(t);
}

static int tell_processors(void *arg, void **result)
{
    (void)result;
    return sched_getaffinity(0, sizeof(cpu_set_t), arg) == 0 ? 0 : EPROTO;
}

static unsigned first_processor(const cpu_set_t *set)
{
    unsigned cpu = 0;
    while (!CPU_ISSET(cpu, set))
        cpu++;
    return cpu;
}

Test(thread, runs_on_the_processors_asked_for)
{
    cpu_set_t mine;
    cpu_set_t got;
    cr_assert_eq(sched_getaffinity(0, sizeof mine, &mine), 0);
    const unsigned cpus[] = {first_processor(&mine), 8191};
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    thrum_thread_t *t = NULL;
    config.cpus = cpus;
    config.cpu_count = 2;
    for (int daemon = 0; daemon < 2; daemon++) {
        config.daemon = daemon != 0;
        EXPECT_CALL(0, thrum_thread_spawn(&t, tell_processors, &got, &config));
        joined(t, 0);
        cr_expect_eq(CPU_COUNT(&got), 1);
        cr_expect(CPU_ISSET(cpus[0], &got));
    }
    cpu_set_t after;
    cr_assert_eq(sched_getaffinity(0, sizeof after, &after), 0);
    cr_expect(CPU_EQUAL(&mine, &after), "the starter's are its own");
}

Test(thread, is_not_started_where_it_may_not_run)
{
    const unsigned nowhere = 8191;
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    thrum_thread_t *t = NULL;
    config.cpus = &nowhere;
    config.cpu_count = 1;
    EXPECT_CALL(0, thrum_thread_create(&t, hand_back, NULL, &config));
    for (int i = 0; i < 3; i++) {
        EXPECT_CALL(EINVAL, thrum_thread_start(t));
        EXPECT_CALL(EINVAL, thrum_thread_join(t, NULL));
        cr_expect_not(thrum_thread_alive(t));
        cr_expect_eq(thrum_thread_native_id(t), 0);
        EXPECT_CALL(0, thrum_thread_set_daemon(t, i == 0));
    }
    cr_expect_eq(thrum_thread_count(), 1u);
    thrum_thread_release(t);
}

/* --- signals ---------------------------------------------------------------------------------------- */

static int tell_mask(void *arg, void **result)
{
    (void)result;
    return pthread_sigmask(SIG_BLOCK, NULL, arg);
}

Test(thread, blocks_asynchronous_signals)
{
    const int blocked[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGUSR1,
                           SIGUSR2, SIGCHLD, SIGALRM, SIGPROF, SIGRTMIN};
    const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPIPE};
    sigset_t mine;
    sigset_t after;
    sigset_t its;
    cr_assert_eq(pthread_sigmask(SIG_BLOCK, NULL, &mine), 0);
    joined(spawned(tell_mask, &its), 0);
    for (size_t i = 0; i < sizeof blocked / sizeof *blocked; i++)
        cr_expect(sigismember(&its, blocked[i]), "signal %d", blocked[i]);
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        cr_expect_not(sigismember(&its, open[i]), "signal %d", open[i]);
    cr_assert_eq(pthread_sigmask(SIG_BLOCK, NULL, &after), 0);
    for (int s = 1; s < SIGRTMAX; s++)
        cr_expect_eq(sigismember(&mine, s), sigismember(&after, s), "the starter's are its own");
}

/* --- who there is ----------------------------------------------------------------------------------- */

static int tell_current(void *arg, void **result)
{
    (void)arg;
    *result = thrum_thread_current();
    return 0;
}

Test(thread, current_is_the_thread_itself)
{
    void *result = NULL;
    thrum_thread_t *t = spawned(tell_current, NULL);
    EXPECT_CALL(0, thrum_thread_join(t, &result));
    cr_expect_eq(result, t);
    thrum_thread_release(t);

    thrum_thread_t *self = thrum_thread_current();
    cr_assert_not_null(self);
    cr_expect_eq(thrum_thread_current(), self);
    cr_expect(thrum_thread_alive(self));
    cr_expect_eq(thrum_thread_native_id(self), getpid());
    cr_expect_eq(thrum_thread_ident(self), 1u);
    cr_expect_str_eq(thrum_thread_name(self), "main");
    EXPECT_CALL(EINVAL, thrum_thread_start(self));
}

struct stranger {
    thrum_thread_t *handle;
    thrum_sem_t known;
    thrum_event_t go;
};

static void *be_a_stranger(void *arg)
{
    struct stranger *s = arg;
    pthread_setname_np(pthread_self(), "stranger");
    s->handle = thrum_thread_retain(thrum_thread_current());
    if (s->handle != thrum_thread_current())
        abort();
    if (thrum_sem_release(&s->known) != 0 || thrum_event_wait(&s->go) != 0)
        abort();
    return NULL;
}

Test(thread, current_knows_threads_of_any_origin)
{
    struct stranger s = {NULL, THRUM_SEM_INIT(0), THRUM_EVENT_INIT};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, be_a_stranger, &s), 0);
    EXPECT_CALL(0, thrum_sem_acquire(&s.known));
    cr_expect_eq(thrum_thread_count(), 2u);
    cr_expect_neq(s.handle, thrum_thread_current());
    cr_expect(thrum_thread_alive(s.handle));
    cr_expect(thrum_thread_daemon(s.handle));
    cr_expect_gt(thrum_thread_ident(s.handle), 1u);
    cr_expect_neq(thrum_thread_native_id(s.handle), getpid());
    cr_expect_str_eq(thrum_thread_name(s.handle), "stranger");
    EXPECT_CALL(ENOTSUP, thrum_thread_join(s.handle, NULL));
    EXPECT_CALL(EINVAL, thrum_thread_start(s.handle));
    EXPECT_CALL(EBUSY, thrum_thread_set_daemon(s.handle, false));
    EXPECT_CALL(0, thrum_thread_set_name(s.handle, "guest"));
    expect_system_name(s.handle, "guest");

    thrum_event_set(&s.go);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_not(thrum_thread_alive(s.handle));
    cr_expect_eq(thrum_thread_count(), 1u);
    EXPECT_CALL(0, thrum_thread_cancel(s.handle));
    EXPECT_CALL(0, thrum_thread_set_name(s.handle, "gone"));
    thrum_thread_release(s.handle);
}

static void *ask_who_it_is(void *arg)
{
    (void)arg;
    return thrum_thread_current() != NULL ? &token : NULL;
}

Test(thread, strangers_leave_nothing_behind)
{
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        void *result = NULL;
        cr_assert_eq(pthread_create(&thread, NULL, ask_who_it_is, NULL), 0);
        cr_assert_eq(pthread_join(thread, &result), 0);
        cr_expect_eq(result, &token);
    }
    cr_expect_eq(thrum_thread_count(), 1u);
}

static int stranger_cancelled(void *arg)
{
    thrum_thread_t *self = thrum_thread_current();
    thrum_thread_t **out = arg;
    thrum_event_t never = THRUM_EVENT_INIT;
    thi_store_release(out, self);
    return thrum_event_wait(&never);
}

Test(thread, strangers_can_be_cancelled)
{
    struct caller c;
    thrum_thread_t *t = NULL;
    caller_start(&c, stranger_cancelled, &t);
    while (thi_load_acquire(&t) == NULL)
        sched_yield();
    EXPECT_CALL(0, thrum_thread_cancel(t));
    cr_expect_eq(caller_join(&c), ECANCELED);
}

Test(thread, those_alive_are_counted_and_listed)
{
    enum { THREADS = 5 };
    thrum_event_t go = THRUM_EVENT_INIT;
    thrum_thread_t *t[THREADS];
    thrum_thread_t *list[THREADS + 2];
    cr_expect_eq(thrum_thread_count(), 1u, "the main thread");
    thrum_thread_t *unstarted = made(hand_back, NULL);
    for (int i = 0; i < THREADS; i++) {
        t[i] = spawned(wait_for_event, &go);
        cr_expect_eq(thrum_thread_count(), (size_t)i + 2);
    }
    cr_expect_eq(thrum_thread_list(NULL, 3), 0u);
    cr_expect_eq(thrum_thread_list(list, 0), 0u);
    cr_expect_eq(thrum_thread_list(list, THREADS + 2), (size_t)THREADS + 1);
    cr_expect_eq(list[0], thrum_thread_current());
    for (int i = 0; i < THREADS; i++)
        cr_expect_eq(list[i + 1], t[i]);
    for (int i = 0; i <= THREADS; i++)
        thrum_thread_release(list[i]);
    cr_expect_eq(thrum_thread_list(list, 2), 2u);
    thrum_thread_release(list[0]);
    thrum_event_set(&go);
    for (int i = 0; i < THREADS; i++)
        joined(t[i], 0);
    EXPECT_CALL(0, thrum_thread_join(list[1], NULL));
    thrum_thread_release(list[1]);
    cr_expect_eq(thrum_thread_count(), 1u);
    thrum_thread_release(unstarted);
}
