/*
 * Adapters for what is waited on: conditions, semaphores, events. As in locks.h they add nothing
 * but the spelling; where a library has no event, one is made of its lock and condition, as its
 * users have to.
 */
#ifndef THRUM_BENCH_WAITS_H
#define THRUM_BENCH_WAITS_H

#include <linux/futex.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <thrum/cond.h>
#include <thrum/event.h>
#include <thrum/semaphore.h>

#include <climits>
#include <condition_variable>
#include <optional>

#include "locks.h"
#if BENCH_HAVE_ABSL
#include <absl/synchronization/notification.h>
#endif

namespace bench
{

/* ---- the system call itself, for floors and for the machinery ---- */

inline void futex_wait(std::atomic<std::uint32_t> *word, std::uint32_t while_it_is)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_it_is, nullptr, nullptr, 0);
}

inline void futex_wake(std::atomic<std::uint32_t> *word, int how_many)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, how_many, nullptr, nullptr, 0);
}

/* ---- conditions ---- */

struct ThrumCond {
    using Mutex = ThrumMutex;
    static constexpr const char *name = Mutex::name;
    thrum_cond_t c = THRUM_COND_INIT;
    void wait(Mutex &mutex) { thrum_cond_wait(&c, &mutex.m); }
    void signal() { thrum_cond_signal(&c); }
    void broadcast() { thrum_cond_broadcast(&c); }
};

struct PthreadCond {
    using Mutex = PthreadMutex;
    static constexpr const char *name = Mutex::name;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    void wait(Mutex &mutex) { pthread_cond_wait(&c, &mutex.m); }
    void signal() { pthread_cond_signal(&c); }
    void broadcast() { pthread_cond_broadcast(&c); }
};

struct StdCond {
    using Mutex = StdMutex;
    static constexpr const char *name = Mutex::name;
    std::condition_variable c;
    void wait(Mutex &mutex)
    {
        std::unique_lock<std::mutex> held(mutex.m, std::adopt_lock);
        c.wait(held);
        held.release();
    }
    void signal() { c.notify_one(); }
    void broadcast() { c.notify_all(); }
};

#if BENCH_HAVE_NSYNC
struct NsyncCond {
    using Mutex = NsyncMutex;
    static constexpr const char *name = Mutex::name;
    nsync::nsync_cv c = NSYNC_CV_INIT;
    void wait(Mutex &mutex) { nsync::nsync_cv_wait(&c, &mutex.m); }
    void signal() { nsync::nsync_cv_signal(&c); }
    void broadcast() { nsync::nsync_cv_broadcast(&c); }
};
#else
using NsyncCond = Absent;
#endif

#if BENCH_HAVE_ABSL
struct AbslCond {
    using Mutex = AbslMutex;
    static constexpr const char *name = Mutex::name;
    absl::CondVar c;
    void wait(Mutex &mutex) { c.Wait(&mutex.m); }
    void signal() { c.Signal(); }
    void broadcast() { c.SignalAll(); }
};
#else
using AbslCond = Absent;
#endif

#if BENCH_HAVE_GLIB
struct GlibCond {
    using Mutex = GlibMutex;
    static constexpr const char *name = Mutex::name;
    GCond c;
    GlibCond() { g_cond_init(&c); }
    ~GlibCond() { g_cond_clear(&c); }
    void wait(Mutex &mutex) { g_cond_wait(&c, &mutex.m); }
    void signal() { g_cond_signal(&c); }
    void broadcast() { g_cond_broadcast(&c); }
};
#else
using GlibCond = Absent;
#endif

using Conds = Types<ThrumCond, PthreadCond, StdCond, GlibCond, NsyncCond, AbslCond>;

/* ---- semaphores ---- */

struct ThrumSem {
    static constexpr const char *name = "thrum";
    thrum_sem_t s = THRUM_SEM_INIT(0);
    void acquire() { thrum_sem_acquire(&s); }
    void release() { thrum_sem_release(&s); }
};

struct PthreadSem {
    static constexpr const char *name = "pthreads";
    sem_t s;
    PthreadSem() { sem_init(&s, 0, 0); }
    ~PthreadSem() { sem_destroy(&s); }
    void acquire()
    {
        while (sem_wait(&s) != 0) {
        }
    }
    void release() { sem_post(&s); }
};

/* What a semaphore cannot do without: one read-modify-write each way. It waits by spinning. */
struct FloorSem {
    static constexpr const char *name = "floor_rmw";
    std::atomic<int> permits{0};
    void acquire()
    {
        while (permits.fetch_sub(1, std::memory_order_acquire) <= 0) {
            permits.fetch_add(1, std::memory_order_relaxed);
            cpu_relax();
        }
    }
    void release() { permits.fetch_add(1, std::memory_order_release); }
};

using Sems = Types<ThrumSem, PthreadSem>;

/* ---- events: set lets everyone pass until it is cleared ---- */

struct ThrumEvent {
    static constexpr const char *name = "thrum";
    thrum_event_t e = THRUM_EVENT_INIT;
    void set() { thrum_event_set(&e); }
    void clear() { thrum_event_clear(&e); }
    bool is_set() { return thrum_event_is_set(&e); }
    void wait() { thrum_event_wait(&e); }
};

/* What the users of a library without events write. The broadcast comes after the unlock, which is
 * the faster order for everyone but those who hand waiters over to the lock. */
template <class Cond> struct CondEvent {
    static constexpr const char *name = Cond::name;
    typename Cond::Mutex mutex;
    Cond cond;
    bool flag = false;
    void set()
    {
        mutex.lock();
        flag = true;
        mutex.unlock();
        cond.broadcast();
    }
    void clear()
    {
        mutex.lock();
        flag = false;
        mutex.unlock();
    }
    bool is_set()
    {
        mutex.lock();
        bool set = flag;
        mutex.unlock();
        return set;
    }
    void wait()
    {
        mutex.lock();
        while (!flag)
            cond.wait(mutex);
        mutex.unlock();
    }
};

#if BENCH_HAVE_ABSL
/* Can be set once only, so that clearing it means making it anew. */
struct AbslNotification {
    static constexpr const char *name = "absl";
    std::optional<absl::Notification> n{std::in_place};
    void set() { n->Notify(); }
    void clear() { n.emplace(); }
    bool is_set() { return n->HasBeenNotified(); }
    void wait() { n->WaitForNotification(); }
};
#else
using AbslNotification = Absent;
#endif

/* No bookkeeping at all: set always calls the kernel. */
struct FloorFutexEvent {
    static constexpr const char *name = "floor_futex";
    std::atomic<std::uint32_t> word{0};
    void set()
    {
        word.store(1, std::memory_order_release);
        futex_wake(&word, INT_MAX);
    }
    void clear() { word.store(0, std::memory_order_relaxed); }
    bool is_set() { return word.load(std::memory_order_acquire) != 0; }
    void wait()
    {
        while (!is_set())
            futex_wait(&word, 0);
    }
};

/* Never sleeps: what the two caches need to tell each other. */
struct FloorSpinEvent : FloorFutexEvent {
    static constexpr const char *name = "floor_spin";
    void set() { word.store(1, std::memory_order_release); }
    void wait()
    {
        while (!is_set())
            cpu_relax();
    }
};

/* The event of a library that may be absent. */
template <class Cond>
using EventOf = std::conditional_t<std::is_same_v<Cond, Absent>, Absent, CondEvent<Cond>>;

/* For pingpong.h: an event that its only waiter clears again. */
template <class Event> struct EventBall : Event {
    void post() { Event::set(); }
    void take()
    {
        Event::wait();
        Event::clear();
    }
};

} // namespace bench

#endif /* THRUM_BENCH_WAITS_H */
