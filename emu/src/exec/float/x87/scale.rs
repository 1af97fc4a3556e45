//! FSCALE and FXTRACT.

use super::super::arith::Outcome;
use super::super::env::ControlWord;
use super::super::f80::F80;
use super::super::flags::Flags;
use super::super::operand::{Kind, Operand};
use super::super::round::Exact;
use super::{exact, finish_scaled, from_int, not_a_number, not_numbers};

/// FSCALE: `a` × 2^(`b` truncated).
pub fn scale(a: &Operand, b: &Operand, control: ControlWord) -> (F80, Flags) {
    /// Any larger shift takes every number to infinity or zero, even with the adjusted exponent of an unmasked exception.
    const LIMIT_BITS: i32 = 17;
    if let Some(result) = not_numbers(a, b) {
        return result;
    }
    let outcome = match (a.kind, b.kind) {
        (Kind::Infinite, Kind::Infinite) if b.negative => Outcome::Invalid,
        (Kind::Zero, Kind::Infinite) if !b.negative => Outcome::Invalid,
        (Kind::Infinite, _) => Outcome::Infinity(a.negative),
        (Kind::Zero, _) => Outcome::Zero(a.negative),
        (_, Kind::Infinite) if b.negative => Outcome::Zero(a.negative),
        (_, Kind::Infinite) => Outcome::Infinity(a.negative),
        (_, Kind::Finite) if b.exponent >= 0 => {
            let magnitude = if b.exponent < LIMIT_BITS { (b.significand >> (63 - b.exponent)) as i32 } else { 1 << LIMIT_BITS };
            let shift = if b.negative { -magnitude } else { magnitude };
            Outcome::Finite(Exact { exponent: a.exponent + shift, ..exact(a) })
        }
        _ => Outcome::Finite(exact(a)),
    };
    finish_scaled(outcome, outcome.flags(a.denormal || b.denormal), control, b.kind == Kind::Zero)
}

/// What FXTRACT leaves: `exponent` in the place of the operand, `significand` pushed above it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extracted {
    /// The unbiased exponent, as a number.
    pub exponent: F80,
    /// The significand with the operand's sign, its magnitude in [1, 2).
    pub significand: F80,
}

/// FXTRACT; exact.
pub fn extract(a: &Operand) -> (Extracted, Flags) {
    if let Some((nan, flags)) = not_a_number(a) {
        return (Extracted { exponent: nan, significand: nan }, flags);
    }
    match a.kind {
        Kind::Zero => (Extracted { exponent: F80::infinity(true), significand: F80::zero(a.negative) }, Flags::ZERO_DIVIDE),
        Kind::Infinite => (Extracted { exponent: F80::infinity(false), significand: F80::infinity(a.negative) }, Flags::NONE),
        _ => {
            let significand = F80::finite(a.negative, 0, a.significand);
            (Extracted { exponent: from_int(a.exponent.into()), significand }, Flags::DENORMAL.when(a.denormal))
        }
    }
}
