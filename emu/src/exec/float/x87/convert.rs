//! Loads, stores and FRNDINT.

use super::super::env::ControlWord;
use super::super::f80::F80;
use super::super::flags::Flags;
use super::super::format::Format;
use super::super::integer::{self, Width, split};
use super::super::operand::{Kind, Operand};
use super::super::round::{Magnitude, Rounding, round};
use super::{exact, not_a_number};

/// FLD m32 and FLD m64: exact. FLD m80 and register moves copy bits and have no semantics here.
pub fn load(a: &Operand) -> (F80, Flags) {
    if let Some(result) = not_a_number(a) {
        return result;
    }
    let value = match a.kind {
        Kind::Finite => F80::finite(a.negative, a.exponent, a.significand),
        Kind::Infinite => F80::infinity(a.negative),
        _ => F80::zero(a.negative),
    };
    (value, Flags::DENORMAL.when(a.denormal))
}

/// FILD; exact.
pub fn from_int(value: i64) -> F80 {
    let operand = Operand::integer(value);
    if operand.kind == Kind::Zero { F80::ZERO } else { F80::finite(operand.negative, operand.exponent, operand.significand) }
}

/// FBLD; exact. Digits above 9 count with their value.
pub fn from_bcd(bytes: [u8; 10]) -> F80 {
    let (magnitude, negative) = integer::from_bcd(bytes);
    from_magnitude(negative, magnitude)
}

/// An integer as a register holds it.
fn from_magnitude(negative: bool, magnitude: u64) -> F80 {
    let shift = magnitude.leading_zeros();
    if magnitude == 0 { F80::zero(negative) } else { F80::finite(negative, 63 - shift as i32, magnitude << shift) }
}

/// FST m32 and FST m64. A denormal source is not reported.
pub fn store<F: Format>(a: F80, control: ControlWord) -> (F::Bits, Flags) {
    let operand = Operand::extended(a);
    let encode = |magnitude| (F::encode(operand.negative, magnitude), Flags::NONE);
    match operand.kind {
        Kind::Zero => encode(Magnitude::Zero),
        Kind::Infinite => encode(Magnitude::Infinite),
        Kind::Finite => {
            let (magnitude, flags) = round(exact(&operand), F::TARGET, control.policy());
            (F::encode(operand.negative, magnitude), flags)
        }
        Kind::Nan { signaling } => (F::encode_nan(&operand), Flags::INVALID.when(signaling)),
        Kind::Unsupported => (F::from_raw(F::DEFAULT_NAN), Flags::INVALID),
    }
}

/// FIST, FISTP and FISTTP (`rounding` = zero). What does not fit is the integer indefinite with #I alone.
pub fn to_int(a: F80, width: Width, rounding: Rounding) -> (i64, Flags) {
    integer::from_operand(&Operand::extended(a), width, rounding)
}

/// FBSTP. What does not fit in 18 digits is the packed decimal indefinite with #I alone.
pub fn to_bcd(a: F80, rounding: Rounding) -> ([u8; 10], Flags) {
    integer::to_bcd(&Operand::extended(a), rounding)
}

/// FRNDINT.
pub fn round_to_integral(a: F80, control: ControlWord) -> (F80, Flags) {
    let operand = Operand::extended(a);
    if let Some(result) = not_a_number(&operand) {
        return result;
    }
    let before = Flags::DENORMAL.when(operand.denormal);
    if operand.kind != Kind::Finite || operand.exponent >= 63 {
        return (a, before);
    }
    let Some((integer, rest)) = split(operand.exponent, operand.significand) else { return (a, before) };
    let up = control.rounding().away(operand.negative, integer & 1 != 0, rest);
    let after = Flags::PRECISION.when(rest != 0) | Flags::ROUNDED_UP.when(up);
    (from_magnitude(operand.negative, integer + u64::from(up)), before | after)
}
