//! Addition, multiplication, division and square root of unpacked operands that are no NaNs, for SSE and x87 alike.
//!
//! Every function gives the exact result (or one with a sticky bit far below the last place of any format) and the exceptions that come
//! before rounding. Their order is that of SDM Vol. 1, 4.9.2: an invalid operation or a division by zero hides a denormal operand.

use core::cmp::Ordering;

use super::flags::Flags;
use super::operand::{Kind, Operand};
use super::round::{Exact, Rounding, shift_right_jam};

/// A result that is not rounded yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A zero; the field is its sign.
    Zero(bool),
    /// An infinity; the field is its sign.
    Infinity(bool),
    /// A number to be rounded.
    Finite(Exact),
    /// No meaningful result: #I.
    Invalid,
    /// An exact infinity from finite operands: #Z. The field is its sign.
    DivisionByZero(bool),
}

impl Outcome {
    /// The exceptions raised before rounding.
    pub(super) fn flags(&self, denormal_operand: bool) -> Flags {
        match self {
            Self::Invalid => Flags::INVALID,
            Self::DivisionByZero(_) => Flags::ZERO_DIVIDE,
            _ => Flags::DENORMAL.when(denormal_operand),
        }
    }
}

/// How two numbers compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// The first is less.
    Less,
    /// They are equal.
    Equal,
    /// The first is greater.
    Greater,
    /// At least one is no number.
    Unordered,
}

impl From<Ordering> for Relation {
    #[inline(always)]
    fn from(ordering: Ordering) -> Self {
        match ordering {
            Ordering::Less => Self::Less,
            Ordering::Equal => Self::Equal,
            Ordering::Greater => Self::Greater,
        }
    }
}

/// Orders the magnitudes of two numbers.
fn compare_magnitudes(a: &Operand, b: &Operand) -> Ordering {
    let key = |operand: &Operand| match operand.kind {
        Kind::Zero => (0, 0, 0),
        Kind::Finite => (1, operand.exponent, operand.significand),
        Kind::Infinite | Kind::Nan { .. } | Kind::Unsupported => (2, 0, 0),
    };
    key(a).cmp(&key(b))
}

/// Orders two operands that are no NaNs.
pub(super) fn compare(a: &Operand, b: &Operand) -> Ordering {
    let zeros = a.kind == Kind::Zero && b.kind == Kind::Zero;
    match (a.negative, b.negative) {
        _ if zeros => Ordering::Equal,
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => compare_magnitudes(a, b),
        (true, true) => compare_magnitudes(b, a),
    }
}

/// A number as it is.
fn exact(operand: &Operand) -> Outcome {
    let significand = u128::from(operand.significand) << 64;
    Outcome::Finite(Exact { negative: operand.negative, exponent: operand.exponent, significand })
}

/// `a` + `b`.
pub(super) fn add(a: &Operand, b: &Operand, rounding: Rounding) -> Outcome {
    match (a.kind, b.kind) {
        (Kind::Infinite, Kind::Infinite) if a.negative != b.negative => Outcome::Invalid,
        (Kind::Infinite, _) => Outcome::Infinity(a.negative),
        (_, Kind::Infinite) => Outcome::Infinity(b.negative),
        (Kind::Zero, Kind::Zero) if a.negative == b.negative => Outcome::Zero(a.negative),
        (Kind::Zero, Kind::Zero) => Outcome::Zero(rounding.zero_sum_is_negative()),
        (Kind::Zero, _) => exact(b),
        (_, Kind::Zero) => exact(a),
        _ => add_finite(a, b, rounding),
    }
}

fn add_finite(a: &Operand, b: &Operand, rounding: Rounding) -> Outcome {
    let (large, small) = if compare_magnitudes(a, b) == Ordering::Less { (b, a) } else { (a, b) };
    // One bit of room for the carry; the 63 bits under the significands make the jammed bit exact enough for a difference as well.
    let augend = u128::from(large.significand) << 63;
    let addend = shift_right_jam(u128::from(small.significand) << 63, large.exponent.abs_diff(small.exponent));
    let significand = if large.negative == small.negative { augend + addend } else { augend - addend };
    match significand {
        0 => Outcome::Zero(rounding.zero_sum_is_negative()),
        _ => Outcome::Finite(Exact::normalized(large.negative, large.exponent + 1, significand)),
    }
}

/// `a` × `b`.
pub(super) fn multiply(a: &Operand, b: &Operand, _: Rounding) -> Outcome {
    let negative = a.negative != b.negative;
    match (a.kind, b.kind) {
        (Kind::Infinite, Kind::Zero) | (Kind::Zero, Kind::Infinite) => Outcome::Invalid,
        (Kind::Infinite, _) | (_, Kind::Infinite) => Outcome::Infinity(negative),
        (Kind::Zero, _) | (_, Kind::Zero) => Outcome::Zero(negative),
        _ => {
            let product = u128::from(a.significand) * u128::from(b.significand);
            Outcome::Finite(Exact::normalized(negative, a.exponent + b.exponent + 1, product))
        }
    }
}

/// `a` / `b`.
pub(super) fn divide(a: &Operand, b: &Operand, _: Rounding) -> Outcome {
    let negative = a.negative != b.negative;
    match (a.kind, b.kind) {
        (Kind::Infinite, Kind::Infinite) | (Kind::Zero, Kind::Zero) => Outcome::Invalid,
        (Kind::Infinite, _) => Outcome::Infinity(negative),
        (_, Kind::Zero) => Outcome::DivisionByZero(negative),
        (Kind::Zero, _) | (_, Kind::Infinite) => Outcome::Zero(negative),
        _ => {
            // 63 or 64 bits of quotient from the first division, 63 more from its remainder, and a sticky bit.
            let divisor = u128::from(b.significand);
            let dividend = u128::from(a.significand) << 63;
            let (upper, rest) = (dividend / divisor, (dividend % divisor) << 63);
            let quotient = (upper << 63) | (rest / divisor) | u128::from(rest % divisor != 0);
            Outcome::Finite(Exact::normalized(negative, a.exponent - b.exponent + 1, quotient))
        }
    }
}

/// √`a`.
pub(super) fn square_root(a: &Operand) -> Outcome {
    match a.kind {
        Kind::Zero => Outcome::Zero(a.negative),
        _ if a.negative => Outcome::Invalid,
        Kind::Infinite => Outcome::Infinity(false),
        _ => {
            let odd = a.exponent & 1;
            let radicand = u128::from(a.significand) << (63 + odd);
            let root = radicand.isqrt();
            let rest = radicand - root * root;
            // The root has 64 bits. It lies in the upper half of its last place if the rest exceeds it, and never in the middle.
            let significand = root << 64 | u128::from(rest > root) << 63 | u128::from(rest != 0);
            Outcome::Finite(Exact { negative: false, exponent: (a.exponent - odd) / 2, significand })
        }
    }
}
