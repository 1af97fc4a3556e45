//! SSE to SSE4.1 on floating-point numbers. What the instructions compute is in [`float::sse`](crate::exec::float::sse); here is what carries
//! operands there and exceptions from there.
//!
//! The first operand is the destination. No instruction writes it before all of its elements are known to raise nothing unmasked.

pub mod arith;
pub mod compare;
pub mod convert;

use crate::cpu::{Cr4, Datum, Exception};
use crate::exec::float::{Double, Flags, Format, Mxcsr, Single, Unmasked};
use crate::exec::simd::lanes::Vector;
use crate::vcpu::Vcpu;

/// A format and the XMM register full of it.
trait Packed: Format<Bits: Datum> {
    /// The elements, the lowest first.
    type Lanes: Vector<Lane = Self::Bits>;
}

impl Packed for Single {
    type Lanes = [u32; 4];
}

impl Packed for Double {
    type Lanes = [u64; 2];
}

/// The lowest element of an XMM register.
#[inline(always)]
fn low<F: Packed>(cx: &Vcpu, register: u8) -> F::Bits {
    F::Lanes::read(cx, register).as_ref()[0]
}

/// Replaces the lowest element of an XMM register.
#[inline(always)]
fn set_low<F: Packed>(cx: &mut Vcpu, register: u8, value: F::Bits) {
    let mut lanes = F::Lanes::read(cx, register);
    lanes.as_mut()[0] = value;
    lanes.write(cx, register);
}

#[inline(always)]
fn mxcsr(cx: &Vcpu) -> Mxcsr {
    Mxcsr::new(cx.fpu.mxcsr)
}

/// Makes exceptions sticky, and says whether one is unmasked: then the instruction ends in [`exception`].
///
/// The exception itself would come back through memory, and a handler whose host stack has had its address taken does not end in a jump.
#[inline(always)]
fn accrue(cx: &mut Vcpu, raised: Flags) -> Result<(), Unmasked> {
    if raised.is_empty() { Ok(()) } else { accrue_some(cx, raised) }
}

#[cold]
#[inline(never)]
fn accrue_some(cx: &mut Vcpu, raised: Flags) -> Result<(), Unmasked> {
    let mut mxcsr = mxcsr(cx);
    let outcome = mxcsr.accrue(raised);
    cx.fpu.mxcsr = mxcsr.bits();
    outcome
}

/// What an unmasked exception raises: #XM, or #UD if the system does not handle that.
#[cold]
fn exception(cx: &Vcpu) -> Exception {
    if cx.control.cr4 & Cr4::OSXMMEXCPT != 0 { Exception::SIMD } else { Exception::INVALID_OPCODE }
}
