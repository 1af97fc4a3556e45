//! The first instructions: by the 64-bit boot protocol of Linux, as prebake starts a kernel, or by PVH, as QEMU does.

use super::power_off;
use crate::checks;
use core::arch::global_asm;
use core::ffi::{CStr, c_char};

const STACK: usize = 64 << 10;

// The 64-bit protocol (Documentation/arch/x86/boot.rst): long mode, the first 4 GiB mapped one to one, RSI is `struct boot_params`.
// PVH (Documentation/arch/x86/xen and xen/include/public/arch-x86/hvm/start_info.h): protected mode without paging, EBX is
// `struct hvm_start_info`. What it takes to long mode is done here.
global_asm!(
    r#"
    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 4, 18              // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start_pvh

    .section .text.start, "ax", @progbits
    .code64
    .global _start
_start:
    lea rsp, [rip + stack_top]
    mov edi, [rsi + 0x228]      // cmd_line_ptr
    call {main}
    ud2

    .code32
start_pvh:
    mov edi, [ebx + 24]         // cmdline_paddr
    mov eax, offset pdpt
    or eax, 3
    mov [pml4], eax
    xor ecx, ecx
2:  mov eax, ecx
    shl eax, 30
    or eax, 0x83                // present, writable, 1 GiB
    mov [pdpt + ecx * 8], eax
    inc ecx
    cmp ecx, 4
    jne 2b
    mov eax, 0x20               // PAE
    mov cr4, eax
    mov eax, offset pml4
    mov cr3, eax
    mov ecx, 0xc0000080         // EFER: LME
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    lgdt [gdt_pointer]
    mov esp, offset stack_top
    push 8                      // the code segment below
    mov eax, offset start_long
    push eax
    retf
    .code64
start_long:
    mov ax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    lea rsp, [rip + stack_top]
    mov edi, edi
    call {main}
    ud2

    .section .rodata.start, "a", @progbits
    .balign 8
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .section .bss.start, "aw", @nobits
    .balign 4096
pml4: .skip 4096
pdpt: .skip 4096
    .balign 16
    .skip {stack}
stack_top:
    "#,
    main = sym main,
    stack = const STACK,
);

/// Rust's first function. `command_line` is the kernel's, with a NUL at its end.
extern "C" fn main(command_line: *const c_char) -> ! {
    // SAFETY: both protocols say so, and nothing of this guest lies where loaders put it.
    let command_line = unsafe { CStr::from_ptr(command_line) };
    power_off(checks::run(command_line.to_str().unwrap_or_default()))
}
