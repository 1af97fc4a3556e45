//! Operands of every format, unpacked to one.

use super::f80::{Class, F80};
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
