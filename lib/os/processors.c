/*
 * How many processors this process may use, and how long one pause of them is.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "os/os.h"

/* Reads a small file. Returns its length, or 0; buf is always terminated. */
static size_t read_file(const char *path, char *buf, size_t size)
{
    buf[0] = '\0';
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    const ssize_t n = thi_fd_read(fd, buf, size - 1);
    thi_fd_close(fd);
    if (n <= 0)
        return 0;
    buf[n] = '\0';
    return (size_t)n;
}

static unsigned affinity_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

/* "max 100000" or "150000 100000" (cgroup v2 cpu.max): processors, rounded up; 0: no limit. */
static unsigned parse_cpu_max(const char *text)
{
    char *end = NULL;
    const long long quota = strtoll(text, &end, 10);
    if (end == text || quota <= 0)
        return 0;
    const long long period = strtoll(end, NULL, 10);
    if (period <= 0)
        return 0;
    return (unsigned)((quota + period - 1) / period);
}

static unsigned quota_of(const char *group)
{
    char path[512];
    char text[128];
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
    if (read_file(path, text, sizeof text) != 0)
        return parse_cpu_max(text);
    snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us", group);
    if (read_file(path, text, sizeof text) == 0)
        return 0;
    char both[300];
    char period[128];
    snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_period_us", group);
    read_file(path, period, sizeof period);
    snprintf(both, sizeof both, "%s %s", text, period);
    return parse_cpu_max(both);
}

/* The tightest quota of the process's group and of the groups around it. */
static unsigned quota_count(void)
{
    char text[1024];
    char group[256] = "";
    read_file("/proc/self/cgroup", text, sizeof text);
    const char *v2 = strstr(text, "0::/");
    if (v2 != NULL)
        sscanf(v2 + 3, "%255s", group);
    unsigned tightest = 0;
    for (;;) {
        const unsigned quota = quota_of(group);
        if (quota != 0 && (tightest == 0 || quota < tightest))
            tightest = quota;
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            return tightest;
        *slash = '\0';
    }
}

unsigned thi_processors(void)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    unsigned n = affinity_count();
    const unsigned quota = quota_count();
    if (quota != 0 && quota < n)
        n = quota;
    thi_cancel_restore(cancel);
    errno = saved;
    return n != 0 ? n : 1;
}

static uint32_t online; /* 0: not asked yet */

THI_COLD static unsigned ask_online(void)
{
    const int saved = errno;
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    errno = saved;
    const unsigned count = n > 0 ? (unsigned)n : 1;
    /* Relaxed: whoever asks at the same time stores the same. */
    thi_store_relaxed(&online, count);
    return count;
}

bool thi_multiprocessor(void)
{
    const unsigned n = thi_load_relaxed(&online);
    return (n != 0 ? n : ask_online()) > 1;
}

unsigned thi_cpu_current(void)
{
    const int cpu = sched_getcpu();
    return cpu < 0 ? 0 : (unsigned)cpu;
}

void thi_cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#else
    __asm__ __volatile__("" ::: "memory");
#endif
}

void thi_thread_yield(void)
{
    sched_yield();
}

void thi_cpu_yield(unsigned turns)
{
    if (turns < 32) {
        thi_cpu_pause();
    } else if (turns < 64) {
        sched_yield();
    } else {
        const int saved = errno;
        const int cancel = thi_cancel_off();
        thi_nap(50);
        thi_cancel_restore(cancel);
        errno = saved;
    }
}

void thi_thread_pin(unsigned nth)
{
#if defined(__linux__)
    const int saved = errno;
    cpu_set_t all;
    cpu_set_t one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all) == 0) {
        nth %= (unsigned)CPU_COUNT(&all);
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &all) && nth-- == 0)
                CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
    }
    errno = saved;
#else
    (void)nth;
#endif
}

static uint32_t pause_ns; /* 0: not measured yet */

THI_COLD static unsigned measure_pause(void)
{
    enum { ROUNDS = 64 };
    thrum_time_t best = INT64_MAX;
    for (int pass = 0; pass < 3; pass++) { /* the best: a pass may be interrupted */
        const thrum_time_t start = thi_clock();
        for (int i = 0; i < ROUNDS; i++)
            thi_cpu_pause();
        const thrum_time_t spent = thi_clock() - start;
        if (spent < best)
            best = spent;
    }
    unsigned ns = (unsigned)(best / ROUNDS);
    if (ns == 0)
        ns = 1;
    thi_store_relaxed(&pause_ns, ns);
    return ns;
}

unsigned thi_cpu_pause_ns(void)
{
    const unsigned ns = thi_load_relaxed(&pause_ns);
    return ns != 0 ? ns : measure_pause();
}
