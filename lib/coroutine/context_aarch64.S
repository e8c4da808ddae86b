/*
 * Switching contexts on aarch64 (AAPCS64). A suspended context keeps on its stack:
 *
 *     sp + 0    x19 x20   + 16  x21 x22   + 32  x23 x24   + 48  x25 x26   + 64  x27 x28
 *        + 80   x29 x30 (where it goes on)
 *        + 96   d8 d9     + 112 d10 d11   + 128 d12 d13   + 144 d14 d15
 *        + 160  FPCR
 *
 * It is left by a branch, not by a return, as on x86-64; FPCR is written only where it differs.
 */
#if defined(__aarch64__) && !defined(THRUM_UCONTEXT)

    .text
    .globl thi_context_switch
    .globl thi_context_switch_int
    .globl thi_context_pass
    .hidden thi_context_switch
    .hidden thi_context_switch_int
    .hidden thi_context_pass
    .type thi_context_switch, %function
    .type thi_context_switch_int, %function
    .type thi_context_pass, %function
    .p2align 6
thi_context_switch: /* x0: from, x1: to, x2: value */
thi_context_switch_int:
thi_context_pass:
    .cfi_startproc
    sub sp, sp, #176
    .cfi_adjust_cfa_offset 176
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    .cfi_rel_offset x29, 80
    .cfi_rel_offset x30, 88
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mrs x9, fpcr
    str x9, [sp, #160]
    mov x10, sp
    str x10, [x0]
    ldr x10, [x1]
    mov sp, x10
.Lgo_on: /* x1: to, whose sp it is, x2: value, x9: FPCR as it is */
    ldr x11, [sp, #160]
    cmp x9, x11
    b.eq 1f
    msr fpcr, x11
1:  ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #176
    .cfi_adjust_cfa_offset -176
    .cfi_restore x29
    .cfi_restore x30
    mov x0, x2
    br x30
    .cfi_endproc
    .size thi_context_switch, .-thi_context_switch
    .size thi_context_switch_int, .-thi_context_switch_int
    .size thi_context_pass, .-thi_context_pass

/* Nobody comes back, so nothing is kept. */
    .globl thi_context_leave
    .hidden thi_context_leave
    .type thi_context_leave, %function
    .p2align 4
thi_context_leave: /* x0: to, x1: value, x2: left */
    .cfi_startproc
    .cfi_undefined x30
    mrs x9, fpcr
    ldr x10, [x0]
    mov sp, x10
    mov w11, #1
    stlr w11, [x2]
    mov x2, x1
    mov x1, x0
    b .Lgo_on
    .cfi_endproc
    .size thi_context_leave, .-thi_context_leave

/* Where a new context begins: x19 is its entry, x1 itself. */
    .globl thi_context_begin
    .hidden thi_context_begin
    .type thi_context_begin, %function
    .p2align 4
thi_context_begin:
    .cfi_startproc
    .cfi_undefined x30
    mov x29, xzr
    mov x30, xzr
    mov x0, x1
    blr x19
    brk #1
    .cfi_endproc
    .size thi_context_begin, .-thi_context_begin

#endif
    .section .note.GNU-stack, "", %progbits
