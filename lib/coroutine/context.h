#ifndef THI_CONTEXT_H
#define THI_CONTEXT_H

/*
 * Where a suspended flow of control goes on: a stack pointer, with all that a called function has to
 * preserve below it. Two backends: assembly (context_<processor>.S), and ucontext(3), chosen by
 * THRUM_UCONTEXT.
 */
#include <stddef.h>
#include <stdint.h>

#ifdef THRUM_UCONTEXT
#include <ucontext.h>
typedef struct thi_context {
    ucontext_t *sp; /* the name that tools know; on its own stack */
    void (*entry)(void *value);
    void *value; /* on its way in */
} thi_context_t;
#else
typedef struct thi_context {
    void *sp;
} thi_context_t;
#endif

/* Prepares a context that calls entry(value), with the value of the first switch to it, on the stack of
 * that size. entry never returns. */
void thi_context_make(thi_context_t *context, void *stack, size_t size, void (*entry)(void *value));

/* Suspends the caller in `from` and goes on in `to`. Returns the value of the switch that comes back.
 * Preserved: callee-saved registers and the control words of floating point; not the signal mask. */
void *thi_context_switch(thi_context_t *from, thi_context_t *to, void *value);

/* The same for a function that returns an int: the value's lower half. It is one of its own so that the
 * switch can be the last thing that the function does, with nothing to come back to: the processor
 * mispredicts a return that lies behind a switch. */
int thi_context_switch_int(thi_context_t *from, thi_context_t *to, void *value);

#ifndef THRUM_UCONTEXT
/* As thi_context_switch, for who is called in the same way as who is left where it goes on: then the processor
 * predicts the returns that lie behind the switch. */
void *thi_context_pass(thi_context_t *from, thi_context_t *to, void *value);

/* Goes on in `to` for good, and, once the caller's stack is not in use any more, stores 1 in `*left`
 * (release). */
_Noreturn void thi_context_leave(const thi_context_t *to, void *value, uint32_t *left);
#endif

#endif /* THI_CONTEXT_H */
