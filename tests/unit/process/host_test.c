#include "family.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "os/os.h"

/* What programs do that know nothing of the library: wait for any child, ignore SIGCHLD, fork by themselves. */
TestSuite(process_host, .timeout = 60);

enum { CHILDREN = 30 };

static int end_somehow(void *arg, void **result)
{
    (void)result;
    const int i = *(int *)arg;
    if (i % 3 == 0) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    return i;
}

static int expected(int i)
{
    return i % 3 == 0 ? -SIGSEGV : i;
}

static void run_children(void)
{
    for (int i = 0; i < CHILDREN; i++) {
        thrum_process_t *p = NULL;
        int code = -1000;
        EXPECT_CALL(0, thrum_process_spawn(&p, end_somehow, &i, NULL));
        EXPECT_CALL(0, thrum_process_join(p, &code));
        cr_expect(code == expected(i) || (i % 3 == 0 && code == -SIGKILL), "%d: %d", i, code);
        EXPECT_CALL(0, thrum_process_kill(p));
        thrum_process_release(p);
    }
    cr_expect_eq(thrum_process_count(), 0u);
}

static uint32_t reaped;

static void *reap_everybody(void *arg)
{
    const uint32_t *stop = arg;
    while (thi_load_acquire(stop) == 0) {
        if (waitpid(-1, NULL, WNOHANG) > 0)
            thi_fetch_add_relaxed(&reaped, 1u);
    }
    return NULL;
}

static void run_among_reapers(void)
{
    uint32_t stop = 0;
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, reap_everybody, &stop), 0);
    run_children();
    thi_store_release(&stop, 1u);
    cr_assert_eq(pthread_join(thread, NULL), 0);
}

Test(process_host, may_wait_for_any_child)
{
    run_among_reapers();
}

Test(process_host, may_wait_for_any_child_on_older_systems)
{
    thi_fault_arm(THI_FAULT_EXIT_INFO, THI_FAULT_ALWAYS);
    run_among_reapers();
}

Test(process_host, may_ignore_ends_of_children)
{
    signal(SIGCHLD, SIG_IGN);
    run_children();
}

Test(process_host, may_ignore_ends_of_children_on_older_systems)
{
    thi_fault_arm(THI_FAULT_EXIT_INFO, THI_FAULT_ALWAYS);
    signal(SIGCHLD, SIG_IGN);
    run_children();
}

Test(process_host, keeps_children_of_its_own)
{
    const pid_t own = fork();
    if (own == 0)
        _exit(17);
    run_children();
    int status = 0;
    cr_assert_eq(waitpid(own, &status, 0), own, "nobody has waited for it");
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 17);
}

Test(process_host, hears_of_no_signal_that_is_not_its_own)
{
    struct sigaction action;
    run_children();
    cr_assert_eq(sigaction(SIGCHLD, NULL, &action), 0);
    cr_expect_eq(action.sa_handler, SIG_DFL);
}

/* --- fork ----------------------------------------------------------------------------------------------- */

struct inherited {
    thrum_process_t *running;
    thrum_process_t *ended;
    thrum_process_t *unstarted;
    int before; /* descriptors */
};

static int look_at_inherited(struct inherited *objects)
{
    thrum_process_t *p = objects->running;
    int code = 0;
    int failed = 0;
    alarm(CHILD_SECONDS);
    failed |= (count_descriptors() != objects->before) << 0;
    failed |= thrum_process_alive(p) << 1;
    failed |= (thrum_process_join(p, NULL) != EPERM) << 2;
    failed |= (thrum_process_exit_code(p, NULL) != EPERM) << 3;
    failed |= (thrum_process_kill(p) != EPERM || thrum_process_start(p) != EINVAL) << 4;
    failed |= (thrum_process_count() != 0) << 5;
    failed |= (thrum_process_join(objects->ended, &code) != 0 || code != 7) << 6;
    thrum_process_release(p);
    thrum_process_release(objects->ended);
    if (failed == 0) {
        p = objects->unstarted;
        if (thrum_process_start(p) != 0 || thrum_process_join(p, &code) != 0 || code != 7)
            failed = 128;
        thrum_process_release(p);
    }
    return failed;
}

Test(process_host, a_forked_child_has_objects_that_say_so)
{
    static int seven = 7;
    struct family family;
    struct inherited objects;
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    config.daemon = true;
    family_open(&family);
    EXPECT_CALL(0, thrum_process_spawn(&objects.ended, family_return, &seven, NULL));
    EXPECT_CALL(0, thrum_process_join(objects.ended, NULL));
    EXPECT_CALL(0, thrum_process_create(&objects.unstarted, family_return, &seven, NULL));
    objects.before = count_descriptors();
    EXPECT_CALL(0, thrum_process_spawn(&objects.running, family_child, &family, &config));

    const pid_t pid = fork();
    if (pid == 0)
        _exit(look_at_inherited(&objects));
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0, "%#x", (unsigned)status);
    cr_expect(thrum_process_alive(objects.running));
    EXPECT_CALL(0, thrum_process_kill(objects.running));
    EXPECT_CALL(0, thrum_process_join(objects.running, NULL));
    thrum_process_release(objects.running);
    thrum_process_release(objects.ended);
    thrum_process_release(objects.unstarted);
    family_close(&family);
}

static int fork_and_look(void *arg, void **result)
{
    (void)arg;
    (void)result;
    alarm(CHILD_SECONDS);
    const pid_t self = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
        const thrum_process_t *me = thrum_process_current();
        _exit(thrum_process_pid(me) == getpid() && getpid() != self &&
                      thrum_process_parent() == NULL && strcmp(thrum_process_name(me), "main") == 0
                  ? 0
                  : 1);
    }
    int status = 0;
    return waitpid(pid, &status, 0) != pid || status != 0;
}

Test(process_host, a_process_may_fork)
{
    thrum_process_t *p = NULL;
    int code = -1;
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    config.name = "forks";
    EXPECT_CALL(0, thrum_process_spawn(&p, fork_and_look, NULL, &config));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 0);
    thrum_process_release(p);
}

/* --- threads -------------------------------------------------------------------------------------------- */

static int allocate_and_lock(void *arg, void **result)
{
    (void)result;
    thrum_mutex_t *mutex = arg;
    alarm(CHILD_SECONDS);
    for (int i = 1; i < 100; i++)
        free(malloc((size_t)i * 50));
    thrum_sem_t sem = THRUM_SEM_INIT(1);
    const int locked = thrum_mutex_lock(mutex);
    printf(" "); /* stdio is usable */
    return (locked == 0 || locked == EOWNERDEAD) && thrum_sem_acquire(&sem) == 0 ? 0 : 1;
}

struct busy {
    thrum_mutex_t mutex;
    uint32_t stop;
    FILE *null;
};

static int be_busy(void *arg, void **result)
{
    struct busy *busy = arg;
    (void)result;
    while (thi_load_acquire(&busy->stop) == 0) {
        if (thrum_mutex_lock(&busy->mutex) != 0)
            return 1;
        free(malloc(1000));
        fprintf(busy->null, "x");
        if (thrum_mutex_unlock(&busy->mutex) != 0)
            return 1;
    }
    return 0;
}

Test(process_host, a_busy_process_with_many_threads_starts_others)
{
    struct busy busy = {.mutex = THRUM_MUTEX_INIT, .null = fopen("/dev/null", "w")};
    thrum_thread_t *threads[3];
    for (int i = 0; i < 3; i++)
        EXPECT_CALL(0, thrum_thread_spawn(&threads[i], be_busy, &busy, NULL));
    for (int i = 0; i < CHILDREN; i++) {
        thrum_process_t *p = NULL;
        int code = -1;
        EXPECT_CALL(0, thrum_process_spawn(&p, allocate_and_lock, &busy.mutex, NULL));
        EXPECT_CALL(0, thrum_process_join(p, &code));
        cr_expect_eq(code, 0);
        thrum_process_release(p);
    }
    thi_store_release(&busy.stop, 1u);
    for (int i = 0; i < 3; i++) {
        EXPECT_CALL(0, thrum_thread_join(threads[i], NULL));
        thrum_thread_release(threads[i]);
    }
    fclose(busy.null);
}

/* A handler of the program that waits for who starts a process: no lock of the library is held by then. */
static pthread_mutex_t programs = PTHREAD_MUTEX_INITIALIZER;

static void lock_programs(void)
{
    pthread_mutex_lock(&programs);
}

static void unlock_programs(void)
{
    pthread_mutex_unlock(&programs);
}

static void *start_under_lock(void *arg)
{
    (void)arg;
    for (int i = 0; i < CHILDREN; i++) {
        pthread_mutex_lock(&programs);
        const size_t n = thrum_process_count();
        pthread_mutex_unlock(&programs);
        thrum_process_t *p = NULL;
        if (n > 1 || thrum_process_spawn(&p, family_return, NULL, NULL) != 0 ||
            thrum_process_join(p, NULL) != 0)
            abort();
        thrum_process_release(p);
    }
    return NULL;
}

Test(process_host, handlers_of_fork_may_wait_for_who_uses_processes)
{
    pthread_t thread;
    cr_assert_eq(pthread_atfork(lock_programs, unlock_programs, unlock_programs), 0);
    cr_assert_eq(pthread_create(&thread, NULL, start_under_lock, NULL), 0);
    for (int i = 0; i < CHILDREN; i++) {
        const pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        cr_expect_eq(waitpid(pid, NULL, 0), pid);
    }
    cr_assert_eq(pthread_join(thread, NULL), 0);
}
