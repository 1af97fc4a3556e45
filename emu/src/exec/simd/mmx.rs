//! What all MMX instructions do to the x87 (SDM Vol. 3, 13.2), and those that are about just that.

use crate::cpu::Exception;
use crate::exec::x87;
use crate::vcpu::Vcpu;

/// ES, the status word's summary of unmasked exceptions, and B, which is its copy.
pub const ERROR_SUMMARY_AND_BUSY: u16 = 1 << 7 | 1 << 15;

/// Raises the exception that an x87 instruction has left behind.
#[inline(always)]
pub fn begin(cx: &mut Vcpu) -> Result<(), Exception> {
    x87::pending(cx)
}

/// Makes all x87 registers valid, and MM0 the top of their stack.
#[inline(always)]
pub fn end(cx: &mut Vcpu) {
    cx.fpu.top = 0;
    cx.fpu.valid = 0xff;
}
