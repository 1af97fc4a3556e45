//! Conversion to integers and to packed decimal.

use super::flags::Flags;
use super::operand::{Kind, Operand};
use super::round::Rounding;

/// Width of a signed integer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// 16 bits.
    W16,
    /// 32 bits.
    W32,
    /// 64 bits.
    W64,
}

impl Width {
    /// The most negative number, which is also the "integer indefinite".
    pub const fn min(self) -> i64 {
        match self {
            Self::W16 => i16::MIN as i64,
            Self::W32 => i32::MIN as i64,
            Self::W64 => i64::MIN,
        }
    }

    /// The number fits.
    #[inline(always)]
    pub const fn holds(self, value: i64) -> bool {
        value >= self.min() && value <= !self.min()
    }
}

/// Integer part of a number's magnitude and the rest as a fraction × 2¹²⁸; nothing from 2⁶⁴ on.
pub(super) fn split(exponent: i32, significand: u64) -> Option<(u64, u128)> {
    match exponent {
        64.. => None,
        -1..64 => {
            let fixed = u128::from(significand) << (exponent + 1);
            Some(((fixed >> 64) as u64, fixed << 64))
        }
        _ => Some((0, 1)),
    }
}

/// The operand as a signed integer. What does not fit (infinities and NaNs too) is the integer indefinite with #I alone.
pub(super) fn from_operand(operand: &Operand, width: Width, rounding: Rounding) -> (i64, Flags) {
    let indefinite = (width.min(), Flags::INVALID);
    match operand.kind {
        Kind::Zero => return (0, Flags::NONE),
        Kind::Finite => {}
        Kind::Infinite | Kind::Nan { .. } | Kind::Unsupported => return indefinite,
    }
    let Some((integer, rest)) = split(operand.exponent, operand.significand) else { return indefinite };
    let up = rounding.away(operand.negative, integer & 1 != 0, rest);
    let magnitude = i128::from(integer) + i128::from(up);
    let signed = if operand.negative { -magnitude } else { magnitude };
    match i64::try_from(signed) {
        Ok(value) if width.holds(value) => (value, Flags::PRECISION.when(rest != 0) | Flags::ROUNDED_UP.when(up)),
        _ => indefinite,
    }
}

/// The packed decimal indefinite.
pub const BCD_INDEFINITE: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0xC0, 0xFF, 0xFF];

/// FBSTP: eighteen decimal digits, lowest first, and a sign byte.
pub(super) fn to_bcd(operand: &Operand, rounding: Rounding) -> ([u8; 10], Flags) {
    const LIMIT: u64 = 1_000_000_000_000_000_000;
    let (value, flags) = from_operand(operand, Width::W64, rounding);
    let mut rest = value.unsigned_abs();
    if flags.intersects(Flags::INVALID) || rest >= LIMIT {
        return (BCD_INDEFINITE, Flags::INVALID);
    }
    let mut bytes = [0; 10];
    for byte in &mut bytes[..9] {
        *byte = (rest % 10 + (rest / 10 % 10) * 16) as u8;
        rest /= 100;
    }
    bytes[9] = u8::from(operand.negative) << 7;
    (bytes, flags)
}

/// FBLD: the number; digits above 9 count with their value, as processors do where the manual leaves it open.
pub(super) fn from_bcd(bytes: [u8; 10]) -> (u64, bool) {
    let magnitude = bytes[..9].iter().rev().fold(0u64, |sum, byte| sum * 100 + u64::from(byte >> 4) * 10 + u64::from(byte & 0xF));
    (magnitude, bytes[9] & 0x80 != 0)
}
