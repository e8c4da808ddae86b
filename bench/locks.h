/*
 * Adapters: every lock under the same three or four names. They add nothing but the spelling, and
 * are all used from the same source lines with the same flags.
 */
#ifndef THRUM_BENCH_LOCKS_H
#define THRUM_BENCH_LOCKS_H

#include <pthread.h>
#include <thrum/mutex.h>
#include <thrum/rlock.h>
#include <thrum/rwlock.h>

#include <mutex>
#include <shared_mutex>

#include "harness.h"
#if BENCH_HAVE_NSYNC
#include <nsync.h>
#endif
#if BENCH_HAVE_ABSL
#include <absl/synchronization/mutex.h>
#endif
#if BENCH_HAVE_GLIB
#include <glib.h>
#endif

namespace bench
{

/* ---- mutexes ---- */

struct ThrumMutex {
    static constexpr const char *name = "thrum";
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    void lock() { thrum_mutex_lock(&m); }
    void unlock() { thrum_mutex_unlock(&m); }
};

struct PthreadMutex {
    static constexpr const char *name = "pthreads";
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    void lock() { pthread_mutex_lock(&m); }
    void unlock() { pthread_mutex_unlock(&m); }
};

struct StdMutex {
    static constexpr const char *name = "std";
    std::mutex m;
    void lock() { m.lock(); }
    void unlock() { m.unlock(); }
};

/* The least a lock can cost: one compare-and-swap and one store. It cannot put a waiter to sleep;
 * after 200 pauses it gives the processor away. */
struct FloorMutex {
    static constexpr const char *name = "floor_spin";
    std::atomic<bool> taken{false};
    bool try_lock()
    {
        bool expected = false;
        return taken.compare_exchange_strong(expected, true, std::memory_order_acquire,
                                             std::memory_order_relaxed);
    }
    void lock()
    {
        for (int spins = 0; !try_lock(); spins++) {
            if (spins % 200 == 199)
                sched_yield();
            else
                cpu_relax();
        }
    }
    void unlock() { taken.store(false, std::memory_order_release); }
};

#if BENCH_HAVE_NSYNC
struct NsyncMutex {
    static constexpr const char *name = "nsync";
    nsync::nsync_mu m = NSYNC_MU_INIT;
    void lock() { nsync::nsync_mu_lock(&m); }
    void unlock() { nsync::nsync_mu_unlock(&m); }
};
#else
using NsyncMutex = Absent;
#endif

#if BENCH_HAVE_ABSL
struct AbslMutex {
    static constexpr const char *name = "absl";
    absl::Mutex m;
    void lock() { m.Lock(); }
    void unlock() { m.Unlock(); }
};
#else
using AbslMutex = Absent;
#endif

#if BENCH_HAVE_GLIB
struct GlibMutex {
    static constexpr const char *name = "glib";
    GMutex m;
    GlibMutex() { g_mutex_init(&m); }
    ~GlibMutex() { g_mutex_clear(&m); }
    void lock() { g_mutex_lock(&m); }
    void unlock() { g_mutex_unlock(&m); }
};
#else
using GlibMutex = Absent;
#endif

using Mutexes =
    Types<ThrumMutex, PthreadMutex, StdMutex, GlibMutex, NsyncMutex, AbslMutex, FloorMutex>;

/* ---- recursive locks ---- */

struct ThrumRlock {
    static constexpr const char *name = "thrum";
    thrum_rlock_t m = THRUM_RLOCK_INIT;
    void lock() { thrum_rlock_lock(&m); }
    void unlock() { thrum_rlock_unlock(&m); }
};

struct PthreadRlock {
    static constexpr const char *name = "pthreads";
    pthread_mutex_t m = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
    void lock() { pthread_mutex_lock(&m); }
    void unlock() { pthread_mutex_unlock(&m); }
};

struct StdRlock {
    static constexpr const char *name = "std";
    std::recursive_mutex m;
    void lock() { m.lock(); }
    void unlock() { m.unlock(); }
};

#if BENCH_HAVE_GLIB
struct GlibRlock {
    static constexpr const char *name = "glib";
    GRecMutex m;
    GlibRlock() { g_rec_mutex_init(&m); }
    ~GlibRlock() { g_rec_mutex_clear(&m); }
    void lock() { g_rec_mutex_lock(&m); }
    void unlock() { g_rec_mutex_unlock(&m); }
};
#else
using GlibRlock = Absent;
#endif

using Rlocks = Types<ThrumRlock, PthreadRlock, StdRlock, GlibRlock>;

/* ---- read-write locks ---- */

struct ThrumRwlock {
    static constexpr const char *name = "thrum";
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    void lock() { thrum_rwlock_wrlock(&l); }
    void unlock() { thrum_rwlock_wrunlock(&l); }
    void lock_shared() { thrum_rwlock_rdlock(&l); }
    void unlock_shared() { thrum_rwlock_rdunlock(&l); }
};

struct PthreadRwlock {
    static constexpr const char *name = "pthreads";
    pthread_rwlock_t l = PTHREAD_RWLOCK_INITIALIZER;
    void lock() { pthread_rwlock_wrlock(&l); }
    void unlock() { pthread_rwlock_unlock(&l); }
    void lock_shared() { pthread_rwlock_rdlock(&l); }
    void unlock_shared() { pthread_rwlock_unlock(&l); }
};

struct StdRwlock {
    static constexpr const char *name = "std";
    std::shared_mutex l;
    void lock() { l.lock(); }
    void unlock() { l.unlock(); }
    void lock_shared() { l.lock_shared(); }
    void unlock_shared() { l.unlock_shared(); }
};

#if BENCH_HAVE_NSYNC
struct NsyncRwlock : NsyncMutex {
    void lock_shared() { nsync::nsync_mu_rlock(&m); }
    void unlock_shared() { nsync::nsync_mu_runlock(&m); }
};
#else
using NsyncRwlock = Absent;
#endif

#if BENCH_HAVE_ABSL
struct AbslRwlock : AbslMutex {
    void lock_shared() { m.ReaderLock(); }
    void unlock_shared() { m.ReaderUnlock(); }
};
#else
using AbslRwlock = Absent;
#endif

#if BENCH_HAVE_GLIB
struct GlibRwlock {
    static constexpr const char *name = "glib";
    GRWLock l;
    GlibRwlock() { g_rw_lock_init(&l); }
    ~GlibRwlock() { g_rw_lock_clear(&l); }
    void lock() { g_rw_lock_writer_lock(&l); }
    void unlock() { g_rw_lock_writer_unlock(&l); }
    void lock_shared() { g_rw_lock_reader_lock(&l); }
    void unlock_shared() { g_rw_lock_reader_unlock(&l); }
};
#else
using GlibRwlock = Absent;
#endif

using Rwlocks = Types<ThrumRwlock, PthreadRwlock, StdRwlock, GlibRwlock, NsyncRwlock, AbslRwlock>;

/* The read side alone, spelled as a mutex. */
template <class Rwlock> struct ReadSide : Rwlock {
    void lock() { Rwlock::lock_shared(); }
    void unlock() { Rwlock::unlock_shared(); }
};

} // namespace bench

#endif /* THRUM_BENCH_LOCKS_H */
