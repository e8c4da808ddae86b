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
 * The control words are loaded only where they differ, since loading them costs more than all the rest.
 */
#if defined(__x86_64__) && !defined(THRUM_UCONTEXT)

    .text
    .globl thi_context_switch
    .globl thi_context_switch_int
    .globl thi_context_pass
    .hidden thi_context_switch
    .hidden thi_context_switch_int
    .hidden thi_context_pass
    .type thi_context_switch, @function
    .type thi_context_switch_int, @function
    .type thi_context_pass, @function

/* rdi: from, rsi: to, rdx: value. Leaves the value in rax, and rsp at where it goes on. */
.macro change
    .cfi_startproc
    endbr64
    subq $56, %rsp
    .cfi_adjust_cfa_offset 56
    movq %rbp, 48(%rsp)
    movq %rbx, 40(%rsp)
    movq %r12, 32(%rsp)
    movq %r13, 24(%rsp)
    movq %r14, 16(%rsp)
    movq %r15, 8(%rsp)
    .cfi_rel_offset %rbp, 48
    .cfi_rel_offset %rbx, 40
    .cfi_rel_offset %r12, 32
    .cfi_rel_offset %r13, 24
    .cfi_rel_offset %r14, 16
    .cfi_rel_offset %r15, 8
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movl (%rsp), %ecx
    movzwl 4(%rsp), %r8d
    movq %rsp, (%rdi)
    movq (%rsi), %rsp
.endm

/* rsp: of whom, rdx: value, ecx and r8d: the control words as they are */
.macro take_up
    xorl (%rsp), %ecx
    testl $0xffc0, %ecx /* all but the exceptions that have been seen */
    jne 2f
    cmpw 4(%rsp), %r8w
    jne 2f
1:  movq 8(%rsp), %r15
    movq 16(%rsp), %r14
    movq 24(%rsp), %r13
    movq 32(%rsp), %r12
    movq 40(%rsp), %rbx
    movq 48(%rsp), %rbp
    movq %rdx, %rax
    addq $56, %rsp
    .cfi_adjust_cfa_offset -56
    .cfi_restore %rbp
    .cfi_restore %rbx
    .cfi_restore %r12
    .cfi_restore %r13
    .cfi_restore %r14
    .cfi_restore %r15
.endm

.macro load_control_words
    .cfi_endproc
2:  .cfi_startproc
    .cfi_def_cfa_offset 64
    ldmxcsr (%rsp)
    fldcw 4(%rsp)
    jmp 1b
    .cfi_endproc
.endm

    .p2align 6
thi_context_pass:
    change
    take_up
    ret
    load_control_words
    .size thi_context_pass, .-thi_context_pass

    .p2align 6
thi_context_switch:
thi_context_switch_int:
    change
.Lgo_on:
    take_up
    popq %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register %rip, %rcx
    notrack jmp *%rcx
    load_control_words
    .size thi_context_switch, .-thi_context_switch
    .size thi_context_switch_int, .-thi_context_switch_int

/* Nobody comes back, so nothing is kept. */
    .globl thi_context_leave
    .hidden thi_context_leave
    .type thi_context_leave, @function
    .p2align 4
thi_context_leave: /* rdi: to, rsi: value, rdx: left */
    .cfi_startproc
    .cfi_undefined %rip
    endbr64
    stmxcsr -4(%rsp)
    fnstcw -8(%rsp)
    movl -4(%rsp), %ecx
    movzwl -8(%rsp), %r8d
    movq (%rdi), %rsp
    movl $1, (%rdx)
    movq %rsi, %rdx
    jmp .Lgo_on
    .cfi_endproc
    .size thi_context_leave, .-thi_context_leave

/* Where a new context begins: r12 is its entry, rax the value. Nobody is to look further down its stack. */
    .globl thi_context_begin
    .hidden thi_context_begin
    .type thi_context_begin, @function
    .p2align 4
thi_context_begin:
    .cfi_startproc
    .cfi_undefined %rip
    endbr64
    xorl %ebp, %ebp
    movq %rax, %rdi
    callq *%r12
    ud2
    .cfi_endproc
    .size thi_context_begin, .-thi_context_begin

#endif
    .section .note.GNU-stack, "", @progbits
