#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "os/os.h"
#include "support/left_behind.h"

TestSuite(process, .timeout = 40);

#define CHILD_SECONDS 30

/* A child that runs fn and leaves with what it returned. */
static void start(thi_child_t *child, bool dies_with_parent, int (*fn)(void *), void *arg)
{
    cr_assert_eq(thi_process_fork(child, dies_with_parent), 0);
    if (child->pid == 0) {
        alarm(CHILD_SECONDS);
        thi_process_leave(fn(arg));
    }
}

static int await(thi_child_t *child)
{
    int status = 0;
    thi_polled_t polled = {child->pidfd, THI_POLL_IN, 0};
    while (thi_process_poll(child, &status) == EAGAIN)
        thi_poll(&polled, 1, THRUM_FOREVER);
    return status;
}

static int run(int (*fn)(void *), void *arg)
{
    thi_child_t child;
    start(&child, false, fn, arg);
    const int status = await(&child);
    thi_process_close(&child);
    return status;
}

static int seven(void *arg)
{
    (void)arg;
    return 7;
}

static int pausing(void *arg)
{
    (void)arg;
    while (pause() != 0)
        continue;
    return 0;
}

static int killing_itself(void *arg)
{
    signal(*(int *)arg, SIG_DFL); /* sanitizers have handlers */
    raise(*(int *)arg);
    return 0;
}

Test(process, tells_an_exit_code_or_a_signal)
{
    int killer = SIGKILL;
    cr_expect_eq(run(seven, NULL), 7);
    cr_expect_eq(run(killing_itself, &killer), -SIGKILL);
}

Test(process, one_that_runs_is_not_over_and_hears_signals)
{
    thi_child_t child;
    int status = 12345;
    start(&child, false, pausing, NULL);
    cr_expect_eq(thi_process_poll(&child, &status), EAGAIN);
    cr_expect_eq(status, 12345);
    cr_expect_eq(thi_process_signal(&child, 12345), EINVAL);
    cr_expect_eq(thi_process_signal(&child, SIGTERM), 0);
    cr_expect_eq(await(&child), -SIGTERM);
    cr_expect_eq(thi_process_signal(&child, SIGTERM), ESRCH);
    cr_expect_eq(thi_process_signal(&child, -1), EINVAL);
    cr_expect_eq(thi_process_poll(&child, &status), 0, "again and again");
    cr_expect_eq(status, -SIGTERM);
    thi_process_close(&child);
    cr_expect_eq(thi_process_poll(&child, &status), ECHILD);
    cr_expect_eq(thi_process_signal(&child, SIGTERM), ESRCH);
}

Test(process, no_zombie_and_no_descriptor_is_left)
{
    const int before = count_descriptors();
    for (int i = 0; i < 20; i++)
        cr_assert_eq(run(seven, NULL), 7);
    cr_expect_eq(count_descriptors(), before);
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1);
    cr_expect_eq(errno, ECHILD);
}

/* Once with and once without what new systems know of a process that somebody else waited for. */
static void taken_by_others(bool ignored)
{
    int fault = SIGSEGV;
    thi_child_t child[2];
    if (ignored)
        signal(SIGCHLD, SIG_IGN);
    start(&child[0], false, seven, NULL);
    start(&child[1], false, killing_itself, &fault);
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    cr_expect_eq(await(&child[0]), 7);
    const int status = await(&child[1]);
    cr_expect(status == -SIGSEGV || status == -SIGKILL, "%d", status);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(thi_process_signal(&child[i], SIGTERM), ESRCH);
        thi_process_close(&child[i]);
    }
}

Test(process, a_status_is_known_whoever_waits)
{
    taken_by_others(false);
}

Test(process, a_status_is_known_although_the_system_throws_it_away)
{
    taken_by_others(true);
}

Test(process, a_status_is_known_on_older_systems)
{
    thi_fault_arm(THI_FAULT_EXIT_INFO, THI_FAULT_ALWAYS);
    taken_by_others(false);
    taken_by_others(true);
}

Test(process, a_failing_call_leaves_nothing)
{
    static const struct {
        thi_fault_t kind;
        int err;
    } faults[] = {{THI_FAULT_PAGES, ENOMEM},
                  {THI_FAULT_PIPE, EMFILE},
                  {THI_FAULT_FORK, EAGAIN},
                  {THI_FAULT_PIDFD, EMFILE},
                  {THI_FAULT_WAIT, ENOSYS}};
    const int before = count_descriptors();
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        thi_child_t child;
        thi_fault_arm(faults[i].kind, 1);
        cr_expect_eq(thi_process_fork(&child, true), faults[i].err, "fault %zu", i);
        cr_expect_eq(count_descriptors(), before);
        cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "fault %zu", i);
    }
    cr_expect_eq(run(seven, NULL), 7);
}

/* ------------------------------------------------------------------------------------------------
 * What others have of a child
 */

struct look {
    thi_child_t child;
    int before; /* descriptors */
};

static int look_at_inherited(void *arg)
{
    struct look *look = arg;
    thi_child_t *sibling = &look->child;
    int status = 0;
    if (sibling->pidfd != -1 || sibling->life != -1)
        return 1;
    if (thi_process_poll(sibling, &status) != ECHILD)
        return 2;
    if (thi_process_signal(sibling, SIGKILL) != ESRCH)
        return 3;
    thi_process_close(sibling);
    return count_descriptors() == look->before ? 0 : 4;
}

Test(process, a_sibling_has_nothing_of_a_child)
{
    struct look look = {.before = count_descriptors()};
    start(&look.child, true, pausing, NULL);
    cr_expect_eq(run(look_at_inherited, &look), 0);
    cr_expect_eq(thi_process_signal(&look.child, SIGKILL), 0);
    cr_expect_eq(await(&look.child), -SIGKILL);
    thi_process_close(&look.child);
}

Test(process, closing_ends_one_that_dies_with_its_parent)
{
    thi_child_t child;
    start(&child, true, pausing, NULL);
    const pid_t pid = child.pid;
    thi_process_close(&child);
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* What the child asks, whether its parent is there, is asked again. */
Test(process, a_signal_does_not_keep_one_from_beginning_that_dies_with_its_parent)
{
    thi_child_t child;
    thi_fault_arm(THI_FAULT_INTERRUPT, 1);
    start(&child, true, seven, NULL);
    thi_fault_arm(THI_FAULT_INTERRUPT, 0);
    cr_expect_eq(await(&child), 7);
    thi_process_close(&child);
}

struct family {
    int tell[2];  /* numbers of the children */
    int alive[2]; /* the children have the writing end */
    bool executes;
};

static int child_of_the_family(void *arg)
{
    const struct family *family = arg;
    const pid_t self = getpid();
    if (write(family->tell[1], &self, sizeof self) != sizeof self)
        return 1;
    if (family->executes)
        execl("/bin/sleep", "sleep", "30", (char *)NULL);
    return pausing(NULL);
}

static int parent_of_the_family(void *arg)
{
    struct family *family = arg;
    thi_child_t daemons[2];
    start(&daemons[0], true, child_of_the_family, family);
    if (fork() == 0) { /* a stranger, who lives longer than the parent */
        close(family->alive[1]);
        close(family->tell[1]);
        alarm(CHILD_SECONDS);
        char byte = 0;
        _exit(read(family->alive[0], &byte, 1) == 0 ? 0 : 1);
    }
    start(&daemons[1], true, child_of_the_family, family);
    close(family->alive[1]);
    close(family->tell[1]);
    return pausing(NULL);
}

static void kill_the_parent(bool executes)
{
    struct family family = {.executes = executes};
    cr_assert_eq(pipe(family.tell), 0);
    cr_assert_eq(pipe(family.alive), 0);
    thi_child_t parent;
    start(&parent, false, parent_of_the_family, &family);
    close(family.tell[1]);
    close(family.alive[1]);
    for (int i = 0; i < 2; i++) {
        pid_t pid = 0;
        cr_assert_eq(read(family.tell[0], &pid, sizeof pid), sizeof pid);
    }
    cr_expect_eq(thi_process_signal(&parent, SIGKILL), 0);
    cr_expect_eq(await(&parent), -SIGKILL);
    char byte = 0;
    cr_expect_eq(read(family.alive[0], &byte, 1), 0, "both are gone: nobody has the writing end");
    thi_process_close(&parent);
}

Test(process, dies_with_a_parent_that_is_killed)
{
    kill_the_parent(false);
}

Test(process, dies_with_its_parent_after_executing_a_program)
{
    kill_the_parent(true);
}

/* ------------------------------------------------------------------------------------------------
 * Threads
 */

static void *lend(void *arg)
{
    thi_child_t *child = arg;
    thi_process_fork(child, true);
    if (child->pid == 0) {
        alarm(CHILD_SECONDS);
        thi_process_leave(pausing(NULL));
    }
    return NULL;
}

static void lend_start(void *arg)
{
    lend(arg);
}

Test(process, outlives_the_thread_that_forked)
{
    thi_child_t child;
    pthread_t thread;
    int status = 0;
    cr_assert_eq(pthread_create(&thread, NULL, lend, &child), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(thi_process_poll(&child, &status), EAGAIN);
    thi_process_signal(&child, SIGKILL);
    cr_expect_eq(await(&child), -SIGKILL);
    thi_process_close(&child);
}

static uint32_t ended; /* a thread's own */

static void lend_and_tell(void *arg)
{
    lend_start(arg);
    thi_store_release(&ended, 1u);
}

Test(process, a_child_of_our_thread_hears_signals)
{
    thi_child_t child = {.pid = -1};
    thi_start_t begin = {.fn = lend_and_tell, .arg = &child, .detached = true};
    cr_assert_eq(thi_thread_start(&begin), 0);
    while (thi_load_acquire(&ended) == 0)
        thi_thread_yield();
    cr_assert_gt(child.pid, 0);
    cr_expect_eq(thi_process_signal(&child, SIGTERM), 0);
    cr_expect_eq(await(&child), -SIGTERM);
    thi_process_close(&child);
}

static void blocks_and_lends(void *arg)
{
    sigset_t set;
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    lend_and_tell(arg);
}

Test(process, what_was_blocked_before_a_thread_was_started_stays_blocked)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    thi_child_t child = {.pid = -1};
    thi_start_t begin = {.fn = blocks_and_lends, .arg = &child, .detached = true};
    cr_assert_eq(thi_thread_start(&begin), 0);
    while (thi_load_acquire(&ended) == 0)
        thi_thread_yield();
    cr_assert_gt(child.pid, 0);
    cr_expect_eq(thi_process_signal(&child, SIGUSR1), 0);
    cr_expect_eq(thi_process_signal(&child, SIGTERM), 0);
    cr_expect_eq(await(&child), -SIGTERM, "not by SIGUSR1, whose number is lower");
    thi_process_close(&child);
}

#define FORKERS 4
#define FORKS 25

static void *many(void *arg)
{
    for (int i = 0; i < FORKS; i++) {
        thi_child_t child;
        if (thi_process_fork(&child, i % 2 != 0) != 0)
            continue;
        if (child.pid == 0)
            thi_process_leave(i);
        if (await(&child) == i)
            ++*(int *)arg;
        thi_process_close(&child);
    }
    return NULL;
}

Test(process, many_threads_fork_at_once)
{
    pthread_t threads[FORKERS];
    int done[FORKERS] = {0};
    const int before = count_descriptors();
    for (int i = 0; i < FORKERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, many, &done[i]), 0);
    for (int i = 0; i < FORKERS; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < FORKERS; i++)
        cr_expect_eq(done[i], FORKS);
    cr_expect_eq(count_descriptors(), before);
}

/* ------------------------------------------------------------------------------------------------
 * Killed before it has begun
 */

static bool taken; /* by the program, which has waited for any child */

static void die_in_fork(void)
{
    raise(SIGTERM);
}

static void take_in_fork(void)
{
    siginfo_t info;
    const int flags = taken ? WEXITED : WEXITED | WNOWAIT;
    while (waitid(P_ALL, 0, &info, flags) != 0)
        continue;
}

static void kill_in_fork(int status)
{
    thi_child_t child;
    int got = 0;
    const int before = count_descriptors();
    cr_assert_eq(pthread_atfork(NULL, take_in_fork, die_in_fork), 0);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(thi_process_fork(&child, i == 1), 0);
        cr_expect_eq(thi_process_signal(&child, SIGTERM), taken ? ESRCH : 0);
        cr_expect_eq(thi_process_poll(&child, &got), 0);
        cr_expect_eq(got, status);
        cr_expect_eq(thi_process_poll(&child, &got), 0, "again and again");
        thi_process_close(&child);
        cr_expect_eq(count_descriptors(), before);
        cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1);
    }
    thi_fault_arm(THI_FAULT_PIDFD, 1);
    cr_expect_eq(thi_process_fork(&child, true), EMFILE);
    cr_expect_eq(count_descriptors(), before);
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1);
}

Test(process, one_that_is_killed_before_it_has_begun_has_ended)
{
    kill_in_fork(-SIGTERM);
}

Test(process, one_that_somebody_takes_before_it_is_known_has_ended)
{
    taken = true;
    kill_in_fork(-SIGKILL);
}
