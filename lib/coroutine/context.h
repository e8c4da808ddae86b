#ifndef THI_CONTEXT_H
#define THI_CONTEXT_H

/*
 * Where a suspended flow of control goes on: a stack pointer, with all that a called function has to
 * preserve below it. Two backends: assembly (context_<processor>.S), and ucontext(3), chosen by
 * THRUM_UCONTEXT.
 */
#include <stddef.h>

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

#endif /* THI_CONTEXT_H */
