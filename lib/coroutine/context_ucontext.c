/*
 * Switching contexts by ucontext(3): wherever the system has it, at the price of a system call for each
 * switch, since it also switches the signal mask.
 */
#include "coroutine/context.h"

#include <stdint.h>

#include "base/base.h"

#ifdef THRUM_UCONTEXT

/* makecontext passes ints only. */
static void begin(unsigned high, unsigned low)
{
    thi_context_t *context = (thi_context_t *)((uintptr_t)high << 16 << 16 | low);
    context->entry(context);
    thi_panic("a coroutine returned from its end");
}

/* The ucontext_t stands at the top of the context's own stack. */
void thi_context_make(thi_context_t *context, void *low, void *high,
                      void (*entry)(thi_context_t *self))
{
    const uintptr_t end = ((uintptr_t)high - sizeof(ucontext_t)) & ~(uintptr_t)63;
    ucontext_t *uc = (ucontext_t *)end;
    const uintptr_t self = (uintptr_t)context;
    if (getcontext(uc) != 0)
        thi_panic("no context");
    uc->uc_link = NULL;
    uc->uc_stack.ss_sp = low;
    uc->uc_stack.ss_size = end - (uintptr_t)low;
    makecontext(uc, (void (*)(void))begin, 2, (unsigned)(self >> 16 >> 16), (unsigned)self);
    *context = (thi_context_t){uc, entry, NULL};
}

void *thi_context_switch(thi_context_t *from, thi_context_t *to, void *value)
{
    ucontext_t here;
    from->sp = &here;
    to->value = value;
    if (swapcontext(&here, to->sp) != 0)
        thi_panic("no context to go to");
    return from->value;
}

int thi_context_switch_int(thi_context_t *from, thi_context_t *to, void *value)
{
    return (int)(intptr_t)thi_context_switch(from, to, value);
}

#endif
