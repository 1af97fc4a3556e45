//! Operands of every format, unpacked to one.

use super::f80::{Class, F80};
use super::format::{Double, Format, Single};
use super::round::EXTENDED;

/// What an operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// ±0.
    Zero,
    /// A nonzero number.
    Finite,
    /// ±∞.
    Infinite,
    /// A NaN, quiet or signaling.
    Nan {
        /// The quiet bit is clear.
        signaling: bool,
    },
    /// An 80-bit encoding that is no number.
    Unsupported,
}

/// An operand: for a number ± `significand` / 2⁶³ × 2^`exponent` with the top bit set, for a NaN its payload under a set top bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operand {
    /// What it is.
    pub kind: Kind,
    /// The sign.
    pub negative: bool,
    /// Its encoding was denormal, so that using it raises #D.
    pub denormal: bool,
    /// The exponent of a number.
    pub exponent: i32,
    /// The significand of a number, the payload of a NaN.
    pub significand: u64,
}

impl Operand {
    /// A binary32 number as a 32-bit memory operand of the x87.
    pub fn single(bits: u32) -> Self {
        Self::unpack::<Single>(bits, false)
    }

    /// A binary64 number as a 64-bit memory operand of the x87.
    pub fn double(bits: u64) -> Self {
        Self::unpack::<Double>(bits, false)
    }

    /// An x87 register.
    pub fn extended(value: F80) -> Self {
        let operand = |kind, exponent, significand| Self { kind, negative: value.is_negative(), denormal: false, exponent, significand };
        match value.class() {
            Class::Zero => operand(Kind::Zero, 0, 0),
            Class::Normal => operand(Kind::Finite, value.exponent(), value.significand),
            Class::Denormal => {
                let shift = value.significand.leading_zeros();
                let exponent = EXTENDED.min_exponent - shift as i32;
                Self { denormal: true, ..operand(Kind::Finite, exponent, value.significand << shift) }
            }
            Class::Infinity => operand(Kind::Infinite, 0, 0),
            Class::Nan => operand(Kind::Nan { signaling: value.is_signaling() }, 0, value.significand),
            Class::Unsupported => operand(Kind::Unsupported, 0, 0),
        }
    }

    /// An integer; exact.
    pub fn integer(value: i64) -> Self {
        let magnitude = value.unsigned_abs();
        let shift = magnitude.leading_zeros();
        let kind = if magnitude == 0 { Kind::Zero } else { Kind::Finite };
        let significand = magnitude.checked_shl(shift).unwrap_or(0);
        Self { kind, negative: value < 0, denormal: false, exponent: 63 - shift as i32, significand }
    }

    /// An SSE operand; with `denormals_are_zero` a denormal is a zero and no longer denormal.
    pub(super) fn unpack<F: Format>(bits: F::Bits, denormals_are_zero: bool) -> Self {
        let raw: u64 = bits.into();
        let top_aligned = raw << F::SPARE_BITS;
        let fraction = top_aligned << F::EXPONENT_BITS;
        let operand = |kind, exponent, significand| Self { kind, negative: F::is_negative(bits), denormal: false, exponent, significand };
        match F::biased_exponent(bits) {
            0 if fraction == 0 || denormals_are_zero => operand(Kind::Zero, 0, 0),
            0 => {
                let shift = fraction.leading_zeros();
                let exponent = F::TARGET.min_exponent - 1 - shift as i32;
                Self { denormal: true, ..operand(Kind::Finite, exponent, fraction << shift) }
            }
            biased if biased == F::EXPONENT_MAX && fraction == 0 => operand(Kind::Infinite, 0, 0),
            biased if biased == F::EXPONENT_MAX => operand(Kind::Nan { signaling: fraction >> 63 == 0 }, 0, fraction >> 1 | 1 << 63),
            biased => operand(Kind::Finite, biased as i32 - F::TARGET.max_exponent, fraction >> 1 | 1 << 63),
        }
    }

    /// A NaN of either sort.
    pub(super) const fn is_nan(&self) -> bool {
        matches!(self.kind, Kind::Nan { .. })
    }

    /// A NaN that raises #I.
    pub(super) const fn is_signaling(&self) -> bool {
        matches!(self.kind, Kind::Nan { signaling: true })
    }

    /// The operand with the other sign.
    pub(super) const fn negated(self) -> Self {
        Self { negative: !self.negative, ..self }
    }
}
