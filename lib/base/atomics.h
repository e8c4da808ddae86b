#ifndef THI_ATOMICS_H
#define THI_ATOMICS_H

/*
 * The only atomics of the library, generic over plain integers and pointers, one name per memory
 * order so that every use says which it needs. Public structs hold plain integers (C++ must be able
 * to read the headers), hence the compiler's builtins rather than <stdatomic.h>.
 *
 * In the simulated build every operation is a point where the schedule may switch to another task.
 */

#ifdef THRUM_SIM
void thi_sim_point(const volatile void *word);
#define THI_POINT(p) thi_sim_point(p)
#else
#define THI_POINT(p) ((void)0)
#endif

#define thi_load_relaxed(p) (THI_POINT(p), __atomic_load_n((p), __ATOMIC_RELAXED))
#define thi_load_acquire(p) (THI_POINT(p), __atomic_load_n((p), __ATOMIC_ACQUIRE))
#define thi_load_seq_cst(p) (THI_POINT(p), __atomic_load_n((p), __ATOMIC_SEQ_CST))

#define thi_store_relaxed(p, v) (THI_POINT(p), __atomic_store_n((p), (v), __ATOMIC_RELAXED))
#define thi_store_release(p, v) (THI_POINT(p), __atomic_store_n((p), (v), __ATOMIC_RELEASE))
#define thi_store_seq_cst(p, v) (THI_POINT(p), __atomic_store_n((p), (v), __ATOMIC_SEQ_CST))

#define thi_swap_acquire(p, v) (THI_POINT(p), __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE))
#define thi_swap_release(p, v) (THI_POINT(p), __atomic_exchange_n((p), (v), __ATOMIC_RELEASE))
#define thi_swap_acq_rel(p, v) (THI_POINT(p), __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL))

/* Strong compare-and-swap: true, or false with *expected updated (relaxed). */
#define THI_CAS(p, expected, v, order)                                                             \
    (THI_POINT(p), __atomic_compare_exchange_n((p), (expected), (v), 0, (order), __ATOMIC_RELAXED))
#define thi_cas_relaxed(p, expected, v) THI_CAS(p, expected, v, __ATOMIC_RELAXED)
#define thi_cas_acquire(p, expected, v) THI_CAS(p, expected, v, __ATOMIC_ACQUIRE)
#define thi_cas_release(p, expected, v) THI_CAS(p, expected, v, __ATOMIC_RELEASE)
#define thi_cas_acq_rel(p, expected, v) THI_CAS(p, expected, v, __ATOMIC_ACQ_REL)

#define thi_fetch_add_relaxed(p, v) (THI_POINT(p), __atomic_fetch_add((p), (v), __ATOMIC_RELAXED))
#define thi_fetch_add_acquire(p, v) (THI_POINT(p), __atomic_fetch_add((p), (v), __ATOMIC_ACQUIRE))
#define thi_fetch_add_release(p, v) (THI_POINT(p), __atomic_fetch_add((p), (v), __ATOMIC_RELEASE))
#define thi_fetch_add_acq_rel(p, v) (THI_POINT(p), __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL))
#define thi_fetch_sub_relaxed(p, v) (THI_POINT(p), __atomic_fetch_sub((p), (v), __ATOMIC_RELAXED))
#define thi_fetch_sub_release(p, v) (THI_POINT(p), __atomic_fetch_sub((p), (v), __ATOMIC_RELEASE))
#define thi_fetch_sub_acq_rel(p, v) (THI_POINT(p), __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL))
#define thi_fetch_or_relaxed(p, v) (THI_POINT(p), __atomic_fetch_or((p), (v), __ATOMIC_RELAXED))
#define thi_fetch_or_acq_rel(p, v) (THI_POINT(p), __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL))
#define thi_fetch_or_acquire(p, v) (THI_POINT(p), __atomic_fetch_or((p), (v), __ATOMIC_ACQUIRE))
#define thi_fetch_and_release(p, v) (THI_POINT(p), __atomic_fetch_and((p), (v), __ATOMIC_RELEASE))
#define thi_fetch_and_acq_rel(p, v) (THI_POINT(p), __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL))
#define thi_fetch_and_relaxed(p, v) (THI_POINT(p), __atomic_fetch_and((p), (v), __ATOMIC_RELAXED))

#endif /* THI_ATOMICS_H */
