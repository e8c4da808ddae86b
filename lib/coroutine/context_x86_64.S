/*
 * Switching contexts on x86-64 (System V). A suspended context keeps on its stack:
 *
 *     sp + 0   MXCSR (4 bytes), x87 control word (2)
 *        + 8   r15   + 16 r14   + 24 r13   + 32 r12   + 40 rbx   + 48 rbp
 *        + 56  where it goes on
 *
 * The two ways to switch differ in how they go on. Processors predict returns by a stack of their own, of the
 * calls that were made last, whatever stack those were made on.
 *
 *   thi_context_switch  an indirect jump: the processor would predict a return to the caller that this stack
 *                       does not have, and be wrong every time.
 *   thi_context_pass    a return. Who waits in a loop leaves from the same place of the same few chains of
 *                       calls, so that the calls of the one who leaves predict the returns of the one who goes
 *                       on: this one, and those behind it. After a jump each of them would be predicted as the
 *                       one before it.
 *
 * The stack pointer changes once, at the end: all that is below it until then is in the red zone, which a
 * signal leaves alone, or on a stack where nobody runs. Addresses that do not follow from a stack pointer that
 * changes on the way are known sooner: the switch takes half the time.
 *
 * Storing MXCSR is most of what a switch costs: it waits for all that was before. So nothing here waits for
 * what it has stored; loading it always is cheaper than to see whether it differs. The exceptions that have
 * been seen go with it. The x87 control word is stored at once, and loading it is what costs.
 */
#if defined(__x86_64__) && !defined(THRUM_UCONTEXT)

    .text
    .globl thi_context_switch
    .globl thi_context_switch_int
    .hidden thi_context_switch
    .hidden thi_context_switch_int
    .type thi_context_switch, @function
    .type thi_context_switch_int, @function
    .globl thi_context_pass
    .hidden thi_context_pass
    .type thi_context_pass, @function

/* rdi: from, rsi: to, rdx: value. Leaves in r9 what `to` has on its stack, in r8d the x87 control word as it is. */
.macro keep
    fnstcw -52(%rsp)
    leaq -56(%rsp), %rcx
    movq (%rsi), %r9
    movq %rbp, 48(%rcx)
    movq %rbx, 40(%rcx)
    movq %r12, 32(%rcx)
    movq %r13, 24(%rcx)
    movq %r14, 16(%rcx)
    movq %r15, 8(%rcx)
    movzwl 4(%rcx), %r8d
    movq %rcx, (%rdi)
    stmxcsr (%rcx)
.endm

/* rdx: value. Leaves it in rax. 2: has to load the x87 control word and go back to 1. */
.macro take_up
    .cfi_def_cfa %r9, 64
    .cfi_offset %rbp, -16
    .cfi_offset %rbx, -24
    .cfi_offset %r12, -32
    .cfi_offset %r13, -40
    .cfi_offset %r14, -48
    .cfi_offset %r15, -56
    ldmxcsr (%r9)
    cmpw 4(%r9), %r8w
    jne 2f
1:  movq 8(%r9), %r15
    movq 16(%r9), %r14
    movq 24(%r9), %r13
    movq 32(%r9), %r12
    movq 40(%r9), %rbx
    movq 48(%r9), %rbp
    movq %rdx, %rax
.endm

    .p2align 6
thi_context_pass:
    .cfi_startproc
    endbr64
    keep
    take_up
    leaq 56(%r9), %rsp
    ret
2:  fldcw 4(%r9)
    jmp 1b
    .cfi_endproc
    .size thi_context_pass, .-thi_context_pass

    .p2align 6
thi_context_switch:
thi_context_switch_int:
    .cfi_startproc
    endbr64
    keep
.Lgo_on:
    take_up
    movq 56(%r9), %rcx
    leaq 64(%r9), %rsp
    notrack jmp *%rcx
2:  fldcw 4(%r9)
    jmp 1b
    .cfi_endproc
    .size thi_context_switch, .-thi_context_switch
    .size thi_context_switch_int, .-thi_context_switch_int

/* Nobody comes back, so nothing is kept. Only from the red zone of the other stack can be read what is there:
 * once `left` is stored, a signal must not find this one. */
    .globl thi_context_leave
    .hidden thi_context_leave
    .type thi_context_leave, @function
    .p2align 4
thi_context_leave: /* rdi: to, rsi: value, rdx: left */
    .cfi_startproc
    .cfi_undefined %rip
    endbr64
    fnstcw -4(%rsp)
    movzwl -4(%rsp), %r8d
    movq (%rdi), %r9
    leaq 64(%r9), %rsp
    movl $1, (%rdx)
    movq %rsi, %rdx
    movq %rdi, %rsi
    jmp .Lgo_on
    .cfi_endproc
    .size thi_context_leave, .-thi_context_leave

/* Where a new context begins: r12 is its entry, rsi itself. Nobody is to look further down its stack. */
    .globl thi_context_begin
    .hidden thi_context_begin
    .type thi_context_begin, @function
    .p2align 4
thi_context_begin:
    .cfi_startproc
    .cfi_undefined %rip
    endbr64
    xorl %ebp, %ebp
    movq %rsi, %rdi
    callq *%r12
    ud2
    .cfi_endproc
    .size thi_context_begin, .-thi_context_begin

#endif
    .section .note.GNU-stack, "", @progbits
