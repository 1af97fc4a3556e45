//! What an operating system would do: the first instructions, memory, ports, interrupts, the end.

mod interrupt;
mod memory;
mod serial;
mod start;

pub use interrupt::{halt_until_interrupt, watch};
pub use memory::Identity;
pub use serial::Serial;

use core::arch::asm;
use core::fmt::Write;
use core::panic::PanicInfo;

/// A doubleword that is written here ends the machine with that status.
const POWER_OFF: u16 = 0x600;

/// Status of a guest that has panicked, as of a Rust program.
const PANICKED: u32 = 101;

/// Writes a byte to a port.
pub fn out8(port: u16, value: u8) {
    // SAFETY: ports are devices' registers; none of those that this guest writes to changes its memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// Ends the machine.
pub fn power_off(status: u32) -> ! {
    // SAFETY: as above.
    unsafe { asm!("out dx, eax", in("dx") POWER_OFF, in("eax") status, options(nomem, nostack, preserves_flags)) }
    loop {
        // SAFETY: with interrupts off, the machine halts for good.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Serial, "baremetal: {info}");
    power_off(PANICKED)
}
