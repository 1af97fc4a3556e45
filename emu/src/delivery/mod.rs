//! Delivery of exceptions and interrupts through the IDT.

use crate::cpu::Exception;
use crate::vcpu::Vcpu;

/// The CPU met a fault while it delivered a double fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shutdown;

/// Delivers an exception of the instruction at `rip`.
pub fn exception(_cx: &mut Vcpu, _exception: Exception) -> Result<(), Shutdown> {
    Err(Shutdown)
}

/// Delivers an external interrupt.
pub fn interrupt(_cx: &mut Vcpu, _vector: u8) -> Result<(), Shutdown> {
    Err(Shutdown)
}
