//! The floating-point environments: MXCSR and the x87 control word.

use super::flags::Flags;
use super::round::{DOUBLE, EXTENDED, Policy, Rounding, SINGLE, Target};

/// An exception was raised whose mask bit is clear: the instruction must not commit its result, and faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unmasked;

/// MXCSR (SDM Vol. 1, 10.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mxcsr(u32);

impl Mxcsr {
    /// The value after reset: all exceptions masked, round to nearest.
    pub const RESET: Self = Self(0x1F80);
    /// The bits that can be set; LDMXCSR and FXRSTOR of any other raise #GP. Saved by FXSAVE as MXCSR_MASK.
    pub const WRITABLE: u32 = 0xFFFF;

    const PRECISION_FLAG: u32 = 1 << 5;
    const DENORMALS_ARE_ZERO: u32 = 1 << 6;
    const MASK_SHIFT: u32 = 7;
    const OVERFLOW_MASK: u32 = 1 << 10;
    const UNDERFLOW_MASK: u32 = 1 << 11;
    const PRECISION_MASK: u32 = 1 << 12;
    const ROUNDING_SHIFT: u32 = 13;
    const ROUNDING: u32 = 0b11 << Self::ROUNDING_SHIFT;
    const FLUSH_TO_ZERO: u32 = 1 << 15;

    /// The register with these bits, of which only [`Mxcsr::WRITABLE`] ones are set.
    #[inline(always)]
    pub const fn new(bits: u32) -> Self {
        Self(bits)
    }

    /// The register's bits.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The rounding control.
    #[inline(always)]
    pub const fn rounding(self) -> Rounding {
        Rounding::from_control(self.0 >> Self::ROUNDING_SHIFT)
    }

    /// Denormal operands count as zeros of the same sign.
    #[inline(always)]
    pub const fn denormals_are_zero(self) -> bool {
        self.0 & Self::DENORMALS_ARE_ZERO != 0
    }

    /// Rounding is to nearest, and an inexact result would change nothing: its flag is up and its exception masked.
    #[inline(always)]
    pub const fn inexact_is_settled(self) -> bool {
        const MASK: u32 = Mxcsr::PRECISION_FLAG | Mxcsr::PRECISION_MASK | Mxcsr::ROUNDING;
        self.0 & MASK == Self::PRECISION_FLAG | Self::PRECISION_MASK
    }

    /// Rounding is to nearest.
    #[inline(always)]
    pub const fn rounds_to_nearest(self) -> bool {
        self.0 & Self::ROUNDING == 0
    }

    /// How results are rounded and what becomes of tiny and huge ones.
    pub const fn policy(self) -> Policy {
        let underflow_masked = self.0 & Self::UNDERFLOW_MASK != 0;
        Policy {
            rounding: self.rounding(),
            overflow_masked: self.0 & Self::OVERFLOW_MASK != 0,
            underflow_masked,
            flush_to_zero: underflow_masked && self.0 & Self::FLUSH_TO_ZERO != 0,
        }
    }

    /// Adds the exceptions of one instruction (of all its elements together) to the sticky flags.
    ///
    /// # Errors
    /// [`Unmasked`]: raise #XM (#UD without CR4.OSXMMEXCPT) and leave the destination alone.
    #[inline(always)]
    pub fn accrue(&mut self, raised: Flags) -> Result<(), Unmasked> {
        if raised.is_empty() { Ok(()) } else { self.accrue_some(raised) }
    }

    #[cold]
    #[inline(never)]
    fn accrue_some(&mut self, raised: Flags) -> Result<(), Unmasked> {
        let raised = u32::from((raised & Flags::EXCEPTIONS).bits());
        let unmasked = raised & !(self.0 >> Self::MASK_SHIFT);
        let pre_computation = u32::from(Flags::PRE_COMPUTATION.bits());
        self.0 |= if unmasked & pre_computation == 0 { raised } else { raised & pre_computation };
        if unmasked == 0 { Ok(()) } else { Err(Unmasked) }
    }
}

/// The x87 control word (SDM Vol. 1, 8.1.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControlWord(u16);

/// What the control word's masks make of the exceptions of one x87 operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Response {
    /// What goes into the status word: sticky exception bits, and C1 in its place.
    pub flags: Flags,
    /// The result is delivered, and the stack pushed or popped.
    pub commit: bool,
    /// Set ES: the next waiting instruction faults with #MF.
    pub error: bool,
}

impl ControlWord {
    /// The value after FNINIT: all exceptions masked, 64-bit precision, round to nearest.
    pub const INIT: Self = Self(0x037F);

    /// The register as FLDCW leaves it: bit 6 reads as one, the other reserved bits as zero, the infinity control is kept.
    #[inline(always)]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & 0x1F3F | 0x40)
    }

    /// The register's bits.
    #[inline(always)]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The rounding control.
    #[inline(always)]
    pub const fn rounding(self) -> Rounding {
        Rounding::from_control((self.0 >> 10) as u32)
    }

    /// What FADD, FSUB, FMUL, FDIV and FSQRT round to: the significand of the precision control, always with the exponent range of the
    /// 80-bit format. The reserved control 01 acts as 64 bits.
    pub const fn precision(self) -> Target {
        let precision = match self.0 >> 8 & 0b11 {
            0b00 => SINGLE.precision,
            0b10 => DOUBLE.precision,
            _ => EXTENDED.precision,
        };
        Target { precision, ..EXTENDED }
    }

    /// How results are rounded and what becomes of tiny and huge ones.
    pub const fn policy(self) -> Policy {
        Policy {
            rounding: self.rounding(),
            overflow_masked: self.0 & Flags::OVERFLOW.0 != 0,
            underflow_masked: self.0 & Flags::UNDERFLOW.0 != 0,
            flush_to_zero: false,
        }
    }

    /// Of these exceptions, those whose mask bit is clear.
    const fn unmasked(self, raised: Flags) -> Flags {
        Flags(raised.0 & Flags::EXCEPTIONS.0 & !self.0)
    }

    /// The response to an operation whose result goes to a register: an unmasked overflow, underflow or inexact result is delivered all
    /// the same (SDM Vol. 1, 8.5).
    pub fn respond(self, raised: Flags) -> Response {
        let unmasked = self.unmasked(raised);
        let suppressed = unmasked.intersects(Flags::PRE_COMPUTATION);
        Response {
            flags: if suppressed { raised & Flags::PRE_COMPUTATION } else { raised },
            commit: !suppressed,
            error: !unmasked.is_empty(),
        }
    }

    /// The response to a load from memory that converts: only an unmasked invalid operation, not a denormal operand, keeps the value off
    /// the stack.
    pub fn respond_load(self, raised: Flags) -> Response {
        let unmasked = self.unmasked(raised);
        Response { flags: raised, commit: !unmasked.intersects(Flags::INVALID), error: !unmasked.is_empty() }
    }

    /// The response to an operation that stores to memory: after an unmasked overflow or underflow nothing is stored or popped, and
    /// nothing was rounded.
    pub fn respond_store(self, raised: Flags) -> Response {
        let unmasked = self.unmasked(raised);
        if unmasked.intersects(Flags::OVERFLOW | Flags::UNDERFLOW) {
            let flags = raised & (Flags::OVERFLOW | Flags::UNDERFLOW);
            return Response { flags, commit: false, error: true };
        }
        self.respond(raised)
    }
}
