#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>

#include "support/child.h"
#include "support/expect.h"

TestSuite(processors, .timeout = 30);

static unsigned affinity(void)
{
    cpu_set_t set;
    cr_assert_eq(sched_getaffinity(0, sizeof set, &set), 0);
    return (unsigned)CPU_COUNT(&set);
}

Test(processors, there_is_one_and_no_more_than_the_process_may_use)
{
    errno = ERRNO_MARK;
    const unsigned n = thi_processors();
    cr_expect_eq(errno, ERRNO_MARK);
    cr_expect_geq(n, 1u);
    cr_expect_leq(n, affinity());
    cr_expect_eq(thi_processors(), n);
}

static int pin_to_one(void *arg)
{
    cpu_set_t set;
    (void)arg;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &set))
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof one, &one) != 0)
            return 2;
        if (thi_processors() != 1)
            return 3;
        if (thi_cpu_current() != cpu)
            return 4;
    }
    return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : 5;
}

Test(processors, affinity_is_counted_anew)
{
    const unsigned before = thi_processors();
    cr_expect_eq(child_run(pin_to_one, NULL), 0);
    cr_expect_eq(thi_processors(), before);
}

enum { CANNOT = 77 };

static int set_quota(const char *quota)
{
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "w");
    if (file == NULL)
        return CANNOT;
    fprintf(file, "%s 100000\n", quota);
    return fclose(file) == 0 ? 0 : CANNOT;
}

/* Where a container's groups would be there is a folder of ours, which nobody else sees. */
static int ask_with_quota(void *arg)
{
    const unsigned *without = arg;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/sys/fs/cgroup", "tmpfs", 0, NULL) != 0 || set_quota("max") != 0)
        return CANNOT;
    if (thi_processors() != *without)
        return 1;
    if (set_quota("90000") != 0 || thi_processors() != 1)
        return 2;
    if (set_quota("150000") != 0 || thi_processors() != (*without < 2 ? *without : 2))
        return 3;
    return 0;
}

Test(processors, the_quota_of_a_container_counts)
{
    unsigned without = affinity();
    const int said = child_run(ask_with_quota, &without);
    if (said == CANNOT)
        cr_skip_test("no file systems can be mounted here");
    cr_expect_eq(said, 0);
}

/* Where the caller is pinned says nothing of where others run. */
static int pin_and_ask(void *arg)
{
    const bool *before = arg;
    if (pin_to_one(NULL) != 0)
        return 1;
    return thi_multiprocessor() == *before ? 0 : 2;
}

Test(processors, a_machine_of_several_stays_one)
{
    bool several = thi_multiprocessor();
    cr_expect(several || affinity() == 1);
    cr_expect_eq(child_run(pin_and_ask, &several), 0);
}

Test(processors, a_pause_takes_some_time)
{
    errno = ERRNO_MARK;
    thi_cpu_pause();
    cr_expect_geq(thi_cpu_pause_ns(), 1u);
    cr_expect_eq(thi_cpu_pause_ns(), thi_cpu_pause_ns());
    cr_expect_eq(errno, ERRNO_MARK);
}

static void *ask_with_cancellation_pending(void *arg)
{
    unsigned *n = arg;
    pthread_cancel(pthread_self());
    *n = thi_processors();
    char name[64];
    thi_thread_name(thi_thread_native_id(), name, sizeof name);
    *n += name[0] != '\0' ? 100 : 0;
    pthread_testcancel();
    *n = 0;
    return NULL;
}

Test(processors, asking_is_no_pthread_cancellation_point)
{
    pthread_t thread;
    unsigned n = 0;
    cr_assert_eq(pthread_create(&thread, NULL, ask_with_cancellation_pending, &n), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(n, thi_processors() + 100);
}
