//! Interrupts by the pair of 8259s: enough to sleep until a device has something.

use super::out8;
use core::arch::{asm, global_asm};
use core::ptr::{addr_of, addr_of_mut};

/// Vector of IRQ 0; the others follow.
const FIRST_VECTOR: u8 = 0x20;
const MASTER: u16 = 0x20;
const SLAVE: u16 = 0xa0;
/// The slave's line to the master.
const CASCADE: u8 = 2;
const LEVEL_MASTER: u16 = 0x4d0;

// Whatever comes: all lines are masked, and both controllers told that it was served. The device still holds its line; the program that slept
// asks it why. No register is changed.
global_asm!(
    r#"
    .section .text.interrupt, "ax", @progbits
    .global on_interrupt
on_interrupt:
    push rax
    mov al, 0xff
    out 0x21, al
    out 0xa1, al
    mov al, 0x20
    out 0xa0, al
    out 0x20, al
    pop rax
    iretq
    "#
);

unsafe extern "C" {
    fn on_interrupt();
}

/// A gate of the interrupt descriptor table (SDM Vol. 3, 6.14.1).
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    low: u64,
    high: u64,
}

static mut TABLE: [Gate; 256] = [Gate { low: 0, high: 0 }; 256];

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Sets the interrupt controllers and the table of handlers up, with every line masked.
pub fn watch() {
    let code: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cs", out(reg) code, options(nomem, nostack, preserves_flags)) }
    let target = on_interrupt as *const () as u64;
    let gate = Gate { low: target & 0xffff | (code & 0xffff) << 16 | 0x8e << 40 | (target >> 16 & 0xffff) << 48, high: target >> 32 };
    let table = addr_of_mut!(TABLE);
    for vector in FIRST_VECTOR..FIRST_VECTOR + 16 {
        // SAFETY: nothing else refers to the table, and the CPU does not use it yet.
        unsafe { (*table)[usize::from(vector)] = gate }
    }
    let pointer = TablePointer { limit: (size_of::<[Gate; 256]>() - 1) as u16, base: addr_of!(TABLE) as u64 };
    // SAFETY: the table is static, and its gates lead to a handler that restores what it changes.
    unsafe { asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack, preserves_flags)) }

    for (controller, base, wiring) in [(MASTER, FIRST_VECTOR, 1 << CASCADE), (SLAVE, FIRST_VECTOR + 8, CASCADE)] {
        out8(controller, 0x11);
        out8(controller + 1, base);
        out8(controller + 1, wiring);
        out8(controller + 1, 1);
        out8(controller + 1, 0xff);
    }
    // All that can be level-triggered.
    out8(LEVEL_MASTER, 0xf8);
    out8(LEVEL_MASTER + 1, 0xde);
}

/// Halts until line `irq` is raised. If it is already, returns at once.
pub fn halt_until_interrupt(irq: u8) {
    let open = !(1_u16 << irq | 1 << CASCADE);
    out8(MASTER + 1, open as u8);
    out8(SLAVE + 1, (open >> 8) as u8);
    // SAFETY: STI holds interrupts off for one instruction, so none is lost before HLT. The handler changes no register.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) }
}
