#ifndef THI_FIBER_H
#define THI_FIBER_H

/*
 * A context, the strand that runs in it, and what the sanitizers have to be told of it.
 */
#include "coroutine/context.h"
#include "strand/strand.h"

#if defined(__SANITIZE_ADDRESS__)
#define THI_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define THI_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__) || defined(THI_CLANG_TSAN)
#define THI_TSAN 1
#endif

#ifdef THI_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef THI_TSAN
#include <sanitizer/tsan_interface.h>
#define THI_TSAN_LIVES 500u
#endif

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

/* A part of memory that will be used as a stack, for good: Valgrind wants to know. */
static inline void thi_fiber_new_stack(void *stack, size_t size)
{
#ifdef VALGRIND_STACK_REGISTER
    (void)VALGRIND_STACK_REGISTER(stack, (char *)stack + size);
#else
    (void)stack, (void)size;
#endif
}

/* Where whoever goes on has something to do before all else: a switch is then a call like any other. */
#if defined(THI_ASAN) || defined(THI_TSAN) || defined(THRUM_UCONTEXT)
#define THI_FIBER_LANDS 1
#endif

/* What tells a sanitizer of a switch stands in the function that switches: the sanitizer counts calls and
 * returns of each fiber, and a function that one fiber calls must not return in another. */
#define THI_FIBER_INLINE static inline __attribute__((always_inline))

typedef struct thi_fiber {
    thi_context_t context;
    thi_strand_t *strand;
#ifdef THI_FIBER_LANDS
    uint32_t *left; /* what thi_fiber_leave was given, by whoever has left for this one */
#endif
#ifdef THI_ASAN
    void *fake_stack;
    const void *bottom; /* of a thread: known once it was left for the first time */
    size_t size;
#endif
#ifdef THI_TSAN
    void *tsan;
    unsigned lives;
#endif
} thi_fiber_t;

/* The stack is about to carry a new flow of control: what the one before left there says nothing. */
static inline void thi_fiber_make(thi_fiber_t *fiber, void *low, void *high,
                                  void (*entry)(thi_context_t *self))
{
#ifdef THI_FIBER_LANDS
    fiber->left = NULL;
#endif
#ifdef THI_ASAN
    fiber->fake_stack = NULL;
    fiber->bottom = low;
    fiber->size = (size_t)((char *)high - (char *)low);
    ASAN_UNPOISON_MEMORY_REGION(low, fiber->size);
#endif
#ifdef THI_TSAN
    /* Each life leaves some calls without returning from them, and there is room for so many; but a new
     * one for each life would take half a millisecond. */
    if (fiber->tsan != NULL && fiber->lives++ == THI_TSAN_LIVES) {
        __tsan_destroy_fiber(fiber->tsan);
        fiber->tsan = NULL;
    }
    if (fiber->tsan == NULL) {
        fiber->tsan = __tsan_create_fiber(0);
        fiber->lives = 0;
    }
#endif
    thi_context_make(&fiber->context, low, high, entry);
}

/* The calling thread's own flow of control. */
static inline void thi_fiber_of_thread(thi_fiber_t *fiber, thi_strand_t *strand)
{
    fiber->strand = strand;
#ifdef THI_TSAN
    fiber->tsan = __tsan_get_current_fiber();
#endif
}

#ifdef THI_ASAN
/* Who was left for the fiber that runs now, on this thread. */
extern _Thread_local thi_fiber_t *thi_fiber_left THI_TLS_MODEL;

THI_FIBER_INLINE void thi_fiber_tell_asan(const thi_fiber_t *self)
{
    const void *bottom = NULL;
    size_t size = 0;
    __sanitizer_finish_switch_fiber(self->fake_stack, &bottom, &size);
    if (thi_fiber_left != NULL && thi_fiber_left->bottom == NULL) {
        thi_fiber_left->bottom = bottom;
        thi_fiber_left->size = size;
    }
}
#endif

/* At the begin of a fiber's entry, and behind each switch. */
THI_FIBER_INLINE void thi_fiber_arrived(thi_fiber_t *self)
{
#ifdef THI_ASAN
    thi_fiber_tell_asan(self);
#endif
#ifdef THI_FIBER_LANDS
    uint32_t *left = self->left;
    self->left = NULL;
    if (left != NULL)
        thi_store_release(left, 1u);
#else
    (void)self;
#endif
}

/* `to` is about to be the one that runs. */
THI_FIBER_INLINE void thi_fiber_announce(thi_fiber_t *from, const thi_fiber_t *to, bool last)
{
    thi_current.strand = to->strand;
    thi_current.id = to->strand->id;
#ifdef THI_ASAN
    thi_fiber_left = from;
    __sanitizer_start_switch_fiber(last ? NULL : &from->fake_stack, to->bottom, to->size);
#endif
#ifdef THI_TSAN
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
    (void)from, (void)last;
}

/* Goes on in `to`; returns, with the value, when somebody comes back. */
THI_FIBER_INLINE void *thi_fiber_switch(thi_fiber_t *from, thi_fiber_t *to, void *value)
{
    thi_fiber_announce(from, to, false);
#ifdef THI_FIBER_LANDS
    value = thi_context_switch(&from->context, &to->context, value);
    thi_fiber_arrived(from);
    return value;
#else
    return thi_context_switch(&from->context, &to->context, value);
#endif
}

/* The same between those who are called in the same way; see thi_context_pass. */
THI_FIBER_INLINE void thi_fiber_pass(thi_fiber_t *from, thi_fiber_t *to)
{
#ifdef THI_FIBER_LANDS
    (void)thi_fiber_switch(from, to, NULL);
#else
    thi_fiber_announce(from, to, false);
    (void)thi_context_pass(&from->context, &to->context, NULL);
#endif
}

/* The same for a function that returns an int; see thi_context_switch_int. */
THI_FIBER_INLINE int thi_fiber_switch_int(thi_fiber_t *from, thi_fiber_t *to, void *value)
{
#ifdef THI_FIBER_LANDS
    return (int)(intptr_t)thi_fiber_switch(from, to, value);
#else
    thi_fiber_announce(from, to, false);
    return thi_context_switch_int(&from->context, &to->context, value);
#endif
}

/* Goes on in `to` for good. Once the stack is not in use any more, 1 is stored in `*left` (release). Does not
 * return; see thi_context_leave. */
THI_FIBER_INLINE void thi_fiber_leave(thi_fiber_t *from, thi_fiber_t *to, void *value,
                                      uint32_t *left)
{
    thi_fiber_announce(from, to, true);
#ifdef THI_FIBER_LANDS
    to->left = left;
    (void)thi_context_switch(&from->context, &to->context, value);
    thi_panic("a coroutine came back from its end");
#else
    thi_context_leave(&to->context, value, left);
#endif
}

#endif /* THI_FIBER_H */
