/*
 * What a context begins with. The switch itself is assembly.
 */
#include "coroutine/context.h"

#include <stdint.h>
#include <string.h>

#ifndef THRUM_UCONTEXT

void thi_context_begin(void);

#if defined(__x86_64__)
#define FRAME 64
#define ENTRY_AT 32 /* r12 */
#define GOES_ON_AT 56
static void set_control_words(unsigned char *frame)
{
    uint32_t mxcsr = 0;
    uint16_t x87 = 0;
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(x87));
    memcpy(frame, &mxcsr, sizeof mxcsr);
    memcpy(frame + 4, &x87, sizeof x87);
}
#elif defined(__aarch64__)
#define FRAME 176
#define ENTRY_AT 0 /* x19 */
#define GOES_ON_AT 88
static void set_control_words(unsigned char *frame)
{
    uint64_t fpcr = 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    memcpy(frame + 160, &fpcr, sizeof fpcr);
}
#else
#error "no assembly for this processor: configure with -DTHRUM_CONTEXT=ucontext"
#endif

void thi_context_make(thi_context_t *context, void *stack, size_t size, void (*entry)(void *value))
{
    unsigned char *top = (unsigned char *)stack + size;
    top -= (uintptr_t)top % 16;
    unsigned char *frame = top - FRAME;
    void (*begin)(void) = thi_context_begin;
    memset(frame, 0, FRAME);
    memcpy(frame + ENTRY_AT, &entry, sizeof entry);
    memcpy(frame + GOES_ON_AT, &begin, sizeof begin);
    set_control_words(frame);
    context->sp = frame;
}

#endif
