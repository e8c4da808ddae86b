#ifndef THI_CONTEXT_H
#define THI_CONTEXT_H

/*
 * Where a suspended flow of control goes on: a stack pointer, with all that a called function has to
 * preserve below it. Two backends: assembly (context_<processor>.S), and ucontext(3), chosen by
 * THRUM_UCONTEXT.
 */
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#ifdef THRUM_UCONTEXT
#include <ucontext.h>
typedef struct thi_context {
    ucontext_t *sp; /* the name that tools know; on its own stack */
    void (*entry)(struct thi_context *self);
    void *value; /* on its way in */
} thi_context_t;
#else
typedef struct thi_context {
    void *sp;
} thi_context_t;
#endif

/* Suspends the caller in `from` and goes on in `to`. Returns the value of the switch that comes back.
 * Preserved: callee-saved registers and the control words of floating point; not the signal mask. What MXCSR
 * says of exceptions that have been seen may be the other's. */
void *thi_context_switch(thi_context_t *from, thi_context_t *to, void *value);

/* The same for a function that returns an int: the value's lower half. It is one of its own so that the
 * switch can be the last thing that the function does, with nothing to come back to: the processor
 * mispredicts a return that lies behind a switch. */
int thi_context_switch_int(thi_context_t *from, thi_context_t *to, void *value);

#ifndef THRUM_UCONTEXT
/* As thi_context_switch, for who is called in the same way as who is left where it goes on: then the processor
 * predicts the returns that lie behind the switch. */
void *thi_context_pass(thi_context_t *from, thi_context_t *to, void *value);
#endif

/* Prepares a context that calls entry(context) on the stack from `low` to `high`, with the control words of the
 * caller. The value of the first switch to it gets lost. entry never returns. */
#ifdef THRUM_UCONTEXT
void thi_context_make(thi_context_t *context, void *low, void *high,
                      void (*entry)(thi_context_t *self));
#else
void thi_context_begin(void);

#if defined(__x86_64__)
#define THI_FRAME 64
#define THI_FRAME_ENTRY 32 /* r12 */
#define THI_FRAME_GOES_ON 56
static inline void thi_context_keep_control_words(unsigned char *frame)
{
    __asm__ volatile("stmxcsr (%0)\n\tfnstcw 4(%0)" : : "r"(frame) : "memory");
}
#elif defined(__aarch64__)
#define THI_FRAME 176
#define THI_FRAME_ENTRY 0 /* x19 */
#define THI_FRAME_GOES_ON 88
static inline void thi_context_keep_control_words(unsigned char *frame)
{
    uint64_t fpcr = 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    memcpy(frame + 160, &fpcr, sizeof fpcr);
}
#else
#error "no assembly for this processor: configure with -DTHRUM_CONTEXT=ucontext"
#endif

/* The other registers begin with what lies there. */
static inline void thi_context_make(thi_context_t *context, void *low, void *high,
                                    void (*entry)(thi_context_t *self))
{
    unsigned char *frame = (unsigned char *)high - (uintptr_t)high % 16 - THI_FRAME;
    void (*begin)(void) = thi_context_begin;
    (void)low;
    thi_context_keep_control_words(frame);
    memcpy(frame + THI_FRAME_ENTRY, &entry, sizeof entry);
    memcpy(frame + THI_FRAME_GOES_ON, &begin, sizeof begin);
    context->sp = frame;
}

/* Goes on in `to` for good, and, once the caller's stack is not in use any more, stores 1 in `*left`
 * (release). It does not return, but is not said to: compilers take what leads there for rare. */
void thi_context_leave(const thi_context_t *to, void *value, uint32_t *left);
#endif

#endif /* THI_CONTEXT_H */
