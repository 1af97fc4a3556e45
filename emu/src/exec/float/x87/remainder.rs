//! FPREM and FPREM1.

use super::super::arith::Outcome;
use super::super::env::ControlWord;
use super::super::f80::F80;
use super::super::flags::Flags;
use super::super::operand::{Kind, Operand};
use super::super::round::Exact;
use super::{exact, finish_scaled, not_numbers};

/// How the quotient is made an integer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quotient {
    /// FPREM: toward zero.
    Truncated,
    /// FPREM1: to nearest, ties to even.
    Nearest,
}

/// A (partial) remainder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remainder {
    /// The new ST(0).
    pub value: F80,
    /// The low three bits of the quotient: bit 2 goes to C0, bit 1 to C3, bit 0 to C1. Zero while incomplete.
    pub quotient: u8,
    /// The reduction is complete; C2 is its opposite.
    pub complete: bool,
}

/// FPREM and FPREM1: `a` − `b` × the quotient, exact. If the exponents are 64 or more apart, one step takes off as many bits as Intel's
/// processors do: between 32 and 63, by the lower five bits of the difference.
pub fn remainder(a: &Operand, b: &Operand, quotient: Quotient, control: ControlWord) -> (Remainder, Flags) {
    if let Some((value, flags)) = not_numbers(a, b) {
        return (Remainder { value, quotient: 0, complete: true }, flags);
    }
    let (outcome, quotient, complete) = match (a.kind, b.kind) {
        (Kind::Infinite, _) | (_, Kind::Zero) => (Outcome::Invalid, 0, true),
        (Kind::Zero, _) => (Outcome::Zero(a.negative), 0, true),
        (_, Kind::Infinite) => (Outcome::Finite(exact(a)), 0, true),
        _ => reduce(a, b, quotient),
    };
    let (value, flags) = finish_scaled(outcome, outcome.flags(a.denormal || b.denormal), control, b.kind == Kind::Infinite);
    (Remainder { value, quotient, complete }, flags)
}

/// The remainder of two finite nonzero numbers, the quotient's low bits, completeness.
fn reduce(a: &Operand, b: &Operand, quotient: Quotient) -> (Outcome, u8, bool) {
    let result = |negative, exponent, rest: u128| match rest {
        0 => Outcome::Zero(a.negative),
        _ => Outcome::Finite(Exact::normalized(negative, exponent + 64, rest)),
    };
    let divisor = u128::from(b.significand);
    let difference = a.exponent - b.exponent;
    match difference {
        // Below half the divisor.
        ..-1 => (Outcome::Finite(exact(a)), 0, true),
        -1..64 => {
            // In units of the divisor's last place, or of half of it.
            let below = u32::from(difference < 0);
            let dividend = u128::from(a.significand) << difference.max(0);
            let divisor = divisor << below;
            let exponent = b.exponent - below as i32;
            let (count, rest) = (dividend / divisor, dividend % divisor);
            let odd = count & 1 != 0;
            let up = quotient == Quotient::Nearest && (rest > divisor - rest || rest == divisor - rest && odd);
            let outcome = if up { result(!a.negative, exponent, divisor - rest) } else { result(a.negative, exponent, rest) };
            (outcome, (count + u128::from(up)) as u8 & 0b111, true)
        }
        _ => {
            let step = difference & 0b1_1111 | 0b10_0000;
            let rest = (u128::from(a.significand) << step) % divisor;
            (result(a.negative, b.exponent + difference - step, rest), 0, false)
        }
    }
}
