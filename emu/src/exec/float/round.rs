//! Rounding: the one place where an exact value becomes one of a format, with its exceptions (SDM Vol. 1, 4.8.4 and 4.9.1).

use super::flags::Flags;

/// Rounding control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    /// Toward −∞.
    Down,
    /// Toward +∞.
    Up,
    /// Toward zero.
    Zero,
}

impl Rounding {
    /// From the two-bit encoding of MXCSR.RC, the x87 RC and the immediate of ROUNDxx; higher bits are ignored.
    #[inline(always)]
    pub const fn from_control(control: u32) -> Self {
        match control & 0b11 {
            0 => Self::Nearest,
            1 => Self::Down,
            2 => Self::Up,
            _ => Self::Zero,
        }
    }

    /// The sign of an exact zero that is the sum of two opposite numbers.
    pub(super) const fn zero_sum_is_negative(self) -> bool {
        matches!(self, Self::Down)
    }

    /// Whether a magnitude moves away from zero. `rest` is what is cut off, as a fraction of one unit × 2¹²⁸.
    pub(super) const fn away(self, negative: bool, odd: bool, rest: u128) -> bool {
        const HALF: u128 = 1 << 127;
        match self {
            Self::Nearest => rest > HALF || rest == HALF && odd,
            Self::Down => negative && rest != 0,
            Self::Up => !negative && rest != 0,
            Self::Zero => false,
        }
    }
}

/// A format to round to: significand bits (with the integer bit) and the exponents of its smallest and largest normal binade.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Bits of the significand, at most 64.
    pub precision: u32,
    /// Exponent of the smallest normal number.
    pub min_exponent: i32,
    /// Exponent of the largest number.
    pub max_exponent: i32,
}

/// binary32.
pub const SINGLE: Target = Target { precision: 24, min_exponent: -126, max_exponent: 127 };
/// binary64.
pub const DOUBLE: Target = Target { precision: 53, min_exponent: -1022, max_exponent: 1023 };
/// The x87's 80-bit format.
pub const EXTENDED: Target = Target { precision: 64, min_exponent: -16382, max_exponent: 16383 };

/// The x87 delivers a result after an unmasked overflow or underflow with its exponent moved into range by this much.
const EXPONENT_ADJUSTMENT: i32 = 24576;

/// What the environment says about rounding, tiny results and huge ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The rounding control.
    pub rounding: Rounding,
    /// Overflow gives an infinity or the largest number; else the x87's adjusted exponent.
    pub overflow_masked: bool,
    /// Underflow gives a denormal or zero and is reported only if inexact; else any tiny result is reported.
    pub underflow_masked: bool,
    /// A tiny result becomes zero (FTZ; acts only while underflow is masked).
    pub flush_to_zero: bool,
}

/// A nonzero value: ± `significand` / 2¹²⁷ × 2^`exponent`, top bit of the significand set, the lowest bit also standing for anything
/// nonzero beneath it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exact {
    /// The sign.
    pub negative: bool,
    /// The exponent of the top bit.
    pub exponent: i32,
    /// The significand.
    pub significand: u128,
}

impl Exact {
    /// ± `significand` / 2¹²⁷ × 2^`exponent` for a nonzero significand whose top bit may be clear.
    pub(super) fn normalized(negative: bool, exponent: i32, significand: u128) -> Self {
        let shift = significand.leading_zeros();
        Self { negative, exponent: exponent - shift as i32, significand: significand << shift }
    }
}

/// `value` >> `shift`, the lowest bit set if a set bit was shifted out.
pub(super) const fn shift_right_jam(value: u128, shift: u32) -> u128 {
    match shift {
        0 => value,
        1..128 => value >> shift | (value << (128 - shift) != 0) as u128,
        _ => (value != 0) as u128,
    }
}

/// A rounded magnitude.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Magnitude {
    /// Zero.
    Zero,
    /// `significand` / 2⁶³ × 2^`exponent`; the top bit is clear for a denormal, whose exponent is the format's smallest.
    Finite {
        /// The exponent of the top bit's place.
        exponent: i32,
        /// The significand.
        significand: u64,
    },
    /// Infinity.
    Infinite,
}

/// The `precision` upper bits of a significand, rounded.
struct Cut {
    significand: u64,
    carry: bool,
    inexact: bool,
    up: bool,
}

fn cut(negative: bool, significand: u128, precision: u32, rounding: Rounding) -> Cut {
    let unit = 1u64 << (64 - precision);
    let kept = (significand >> 64) as u64 & !(unit - 1);
    let rest = significand << precision;
    let up = rounding.away(negative, kept & unit != 0, rest);
    let (rounded, carry) = kept.overflowing_add(if up { unit } else { 0 });
    Cut { significand: if carry { 1 << 63 } else { rounded }, carry, inexact: rest != 0, up }
}

/// Rounds `value` to `target`. Tininess is detected after rounding, as x86 does (SDM Vol. 1, 4.9.1.5): with unbounded exponent the rounded
/// value is below the smallest normal number.
pub(super) fn round(value: Exact, target: Target, policy: Policy) -> (Magnitude, Flags) {
    let Exact { negative, exponent, significand } = value;
    let rounded = cut(negative, significand, target.precision, policy.rounding);
    let rounded_exponent = exponent + i32::from(rounded.carry);
    let inexact = Flags::PRECISION.when(rounded.inexact) | Flags::ROUNDED_UP.when(rounded.up);

    if rounded_exponent < target.min_exponent {
        if policy.flush_to_zero {
            return (Magnitude::Zero, Flags::UNDERFLOW | Flags::PRECISION);
        }
        if !policy.underflow_masked {
            let adjusted = rounded_exponent + EXPONENT_ADJUSTMENT;
            // FSCALE alone goes so far: "massive underflow" is zero.
            if adjusted < target.min_exponent {
                return (Magnitude::Zero, Flags::UNDERFLOW | Flags::PRECISION);
            }
            return (Magnitude::Finite { exponent: adjusted, significand: rounded.significand }, Flags::UNDERFLOW | inexact);
        }
        let shifted = shift_right_jam(significand, exponent.abs_diff(target.min_exponent));
        let denormal = cut(negative, shifted, target.precision, policy.rounding);
        let magnitude = match denormal.significand {
            0 => Magnitude::Zero,
            significand => Magnitude::Finite { exponent: target.min_exponent, significand },
        };
        let inexact = Flags::PRECISION.when(denormal.inexact) | Flags::ROUNDED_UP.when(denormal.up);
        return (magnitude, Flags::UNDERFLOW.when(denormal.inexact) | inexact);
    }

    if rounded_exponent > target.max_exponent {
        let adjusted = rounded_exponent - EXPONENT_ADJUSTMENT;
        if !policy.overflow_masked && adjusted <= target.max_exponent {
            return (Magnitude::Finite { exponent: adjusted, significand: rounded.significand }, Flags::OVERFLOW | inexact);
        }
        let away = match policy.rounding {
            // FSCALE alone goes so far: "massive overflow" is an infinity.
            _ if !policy.overflow_masked => true,
            Rounding::Nearest => true,
            Rounding::Down => negative,
            Rounding::Up => !negative,
            Rounding::Zero => false,
        };
        let magnitude = if away {
            Magnitude::Infinite
        } else {
            let unit = 1u64 << (64 - target.precision);
            Magnitude::Finite { exponent: target.max_exponent, significand: !(unit - 1) }
        };
        return (magnitude, Flags::OVERFLOW | Flags::PRECISION | Flags::ROUNDED_UP.when(away));
    }

    (Magnitude::Finite { exponent: rounded_exponent, significand: rounded.significand }, inexact)
}
