//! x87 semantics on 80-bit values: no register stack, no status word, only results and flags.
//!
//! Register stack faults are the caller's; so is choosing the operands' order for the reversed forms. Operands are [`Operand`]s, because
//! memory operands take part unconverted: a 32-bit signaling NaN or denormal is recognized as one. Of the flags, PRECISION comes with
//! ROUNDED_UP where the instruction reports it in C1.

mod arith;
mod constant;
mod convert;
mod fixed;
mod remainder;
mod scale;
mod transcendental;

pub use arith::{add, compare, div, mul, sqrt, sub};
pub use constant::Constant;
pub use convert::{from_bcd, from_int, load, round_to_integral, store, to_bcd, to_int};
pub use remainder::{Quotient, Remainder, remainder};
pub use scale::{Extracted, extract, scale};
pub use transcendental::{arctangent, cosine, exp2m1, log2, log2p1, sine, tangent};

pub use super::integer::BCD_INDEFINITE;

use super::arith::Outcome;
use super::env::ControlWord;
use super::f80::F80;
use super::flags::Flags;
use super::operand::{Kind, Operand};
use super::round::{EXTENDED, Exact, Magnitude, Policy, Target, round};

/// Rounds and encodes.
fn finish(outcome: Outcome, before: Flags, target: Target, control: ControlWord) -> (F80, Flags) {
    encode(outcome, before, |value| round(value, target, control.policy()))
}

/// As [`finish`] to 80 bits, for FSCALE, FPREM and FPREM1. What the second operand leaves as it is, is no underflow to them, even where that is unmasked.
fn finish_scaled(outcome: Outcome, before: Flags, control: ControlWord, is_left: bool) -> (F80, Flags) {
    let policy = Policy { underflow_masked: is_left || control.policy().underflow_masked, ..control.policy() };
    encode(outcome, before, |value| round(value, EXTENDED, policy))
}

fn encode(outcome: Outcome, before: Flags, round: impl Fn(Exact) -> (Magnitude, Flags)) -> (F80, Flags) {
    match outcome {
        Outcome::Zero(negative) => (F80::zero(negative), before),
        Outcome::Infinity(negative) | Outcome::DivisionByZero(negative) => (F80::infinity(negative), before),
        Outcome::Invalid => (F80::INDEFINITE, before),
        Outcome::Finite(value) => {
            let (magnitude, after) = round(value);
            let result = match magnitude {
                Magnitude::Zero => F80::zero(value.negative),
                Magnitude::Infinite => F80::infinity(value.negative),
                Magnitude::Finite { exponent, significand } => F80::finite(value.negative, exponent, significand),
            };
            (result, before | after)
        }
    }
}

/// A NaN operand as a register holds it, quiet.
fn quiet(nan: &Operand) -> F80 {
    let sign_exponent = F80::infinity(nan.negative).sign_exponent;
    F80 { significand: nan.significand, sign_exponent }.quieted()
}

/// The result where an operand is no number.
fn not_a_number(a: &Operand) -> Option<(F80, Flags)> {
    match a.kind {
        Kind::Unsupported => Some((F80::INDEFINITE, Flags::INVALID)),
        Kind::Nan { signaling } => Some((quiet(a), Flags::INVALID.when(signaling))),
        _ => None,
    }
}

/// The result where at least one of two operands is no number (SDM Vol. 1, table 4-7): of two NaNs a quiet one before a signaling one,
/// else the one with the larger significand, else the positive one.
fn not_numbers(a: &Operand, b: &Operand) -> Option<(F80, Flags)> {
    if a.kind == Kind::Unsupported || b.kind == Kind::Unsupported {
        return Some((F80::INDEFINITE, Flags::INVALID));
    }
    let invalid = Flags::INVALID.when(a.is_signaling() || b.is_signaling());
    let rank = |nan: &Operand| (!nan.is_signaling(), nan.significand, !nan.negative);
    let chosen = match (a.is_nan(), b.is_nan()) {
        (false, false) => return None,
        (true, false) => a,
        (false, true) => b,
        (true, true) if rank(a) >= rank(b) => a,
        (true, true) => b,
    };
    Some((quiet(chosen), invalid))
}

/// A number as it is.
fn exact(operand: &Operand) -> Exact {
    let significand = u128::from(operand.significand) << 64;
    Exact { negative: operand.negative, exponent: operand.exponent, significand }
}
