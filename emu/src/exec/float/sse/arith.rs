//! ADDxx, SUBxx, MULxx, DIVxx and SQRTxx.
//!
//! Each has three stages. *Fast*: the host's own operation, when the operands are not denormal, the result is finite and above the
//! smallest binade, rounding is to nearest, and being inexact changes nothing. IEEE 754 determines such a result completely: SSE2 and
//! wasm round correctly and to nearest; a finite result of + − × excludes NaN and infinite operands (a nonzero finite quotient and a
//! nonzero finite root too); no denormal operand means no #D and DAZ without effect; at least twice the smallest normal number after rounding means not
//! tiny, so no #U and FTZ without effect; finite means no #O; and #P is masked with its flag up already. *Exact*: the same result while
//! the inexact flag is still down, if an integer computation proves it exact; zero results are taken here. *Soft*: everything else.

use super::super::arith::{self, Outcome};
use super::super::env::Mxcsr;
use super::super::flags::Flags;
use super::super::format::Format;
use super::super::operand::Operand;
use super::super::round::{Rounding, round};

/// At least twice the smallest normal number, and finite.
#[inline(always)]
pub(super) fn is_ample<F: Format>(bits: F::Bits) -> bool {
    let floor = 2u64 << F::FRACTION_BITS;
    F::magnitude(bits).wrapping_sub(floor) < F::INFINITY - floor
}

/// ±0.
#[inline(always)]
pub(super) fn is_zero<F: Format>(bits: F::Bits) -> bool {
    F::magnitude(bits) == 0
}

/// The significand of a normal number, its trailing zeros removed.
fn odd_part<F: Format>(bits: F::Bits) -> u64 {
    let significand = bits.into() & ((1 << F::FRACTION_BITS) - 1) | 1 << F::FRACTION_BITS;
    significand >> significand.trailing_zeros()
}

fn odd_product<F: Format>(a: F::Bits, b: F::Bits) -> u128 {
    u128::from(odd_part::<F>(a)) * u128::from(odd_part::<F>(b))
}

/// The host's result, where it is provably the right one and nothing changes but the destination.
#[inline(always)]
fn fast<F: Format>(a: F::Bits, b: F::Bits, result: F::Host, mxcsr: Mxcsr) -> Option<F::Bits> {
    let result = F::bits(result);
    let proved = mxcsr.inexact_is_settled() && is_ample::<F>(result) && !F::is_denormal(a) && !F::is_denormal(b);
    proved.then_some(result)
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident, $fast:ident, $checked:ident: $operator:tt;)*) => {$(
        #[doc = concat!("As [`", stringify!($name), "`], but nothing unless the host's result is provably the same and raises nothing.")]
        #[inline(always)]
        pub fn $fast<F: Format>(a: F::Bits, b: F::Bits, mxcsr: Mxcsr) -> Option<F::Bits> {
            fast::<F>(a, b, F::host(a) $operator F::host(b), mxcsr)
        }

        $(#[$doc])*
        #[inline(always)]
        pub fn $name<F: Format>(a: F::Bits, b: F::Bits, mxcsr: Mxcsr) -> (F::Bits, Flags) {
            match $fast::<F>(a, b, mxcsr) {
                Some(result) => (result, Flags::NONE),
                None => $checked::<F>(a, b, F::bits(F::host(a) $operator F::host(b)), mxcsr),
            }
        }
    )*};
}

operations! {
    /// `a` + `b`.
    add, add_fast, add_checked: +;
    /// `a` − `b`.
    sub, sub_fast, sub_checked: -;
    /// `a` × `b`.
    mul, mul_fast, mul_checked: *;
    /// `a` / `b`.
    div, div_fast, div_checked: /;
}

/// As [`sqrt`], but nothing unless the host's result is provably the same and raises nothing.
#[inline(always)]
pub fn sqrt_fast<F: Format>(a: F::Bits, mxcsr: Mxcsr) -> Option<F::Bits> {
    fast::<F>(a, a, F::host_sqrt(F::host(a)), mxcsr)
}

/// √`a`.
#[inline(always)]
pub fn sqrt<F: Format>(a: F::Bits, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    match sqrt_fast::<F>(a, mxcsr) {
        Some(result) => (result, Flags::NONE),
        None => sqrt_checked::<F>(a, F::bits(F::host_sqrt(F::host(a))), mxcsr),
    }
}

/// The rounding error of `sum` = `a` + `b` is zero. TwoSum (Knuth) gives the error exactly as long as nothing overflows; where an
/// intermediate overflows it gives an infinity or a NaN, hence "not exact", which only costs time.
fn sum_is_exact<F: Format>(a: F::Host, b: F::Host, sum: F::Host) -> bool {
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    is_zero::<F>(F::bits(error))
}

#[inline(never)]
fn add_checked<F: Format>(a: F::Bits, b: F::Bits, sum: F::Bits, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    let host = mxcsr.rounds_to_nearest() && !F::is_denormal(a) && !F::is_denormal(b);
    // To nearest, a sum is zero only if the operands are opposite or both zero, and the host's sign is IEEE's.
    if host && (is_zero::<F>(sum) || is_ample::<F>(sum) && sum_is_exact::<F>(F::host(a), F::host(b), F::host(sum))) {
        return (sum, Flags::NONE);
    }
    soft::<F>(a, b, mxcsr, arith::add)
}

#[inline(never)]
fn sub_checked<F: Format>(a: F::Bits, b: F::Bits, difference: F::Bits, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    let host = mxcsr.rounds_to_nearest() && !F::is_denormal(a) && !F::is_denormal(b);
    let negated = F::from_raw(b.into() ^ F::SIGN);
    if host
        && (is_zero::<F>(difference) || is_ample::<F>(difference) && sum_is_exact::<F>(F::host(a), F::host(negated), F::host(difference)))
    {
        return (difference, Flags::NONE);
    }
    soft::<F>(a, b, mxcsr, |a, b, rounding| arith::add(a, &b.negated(), rounding))
}

#[inline(never)]
fn mul_checked<F: Format>(a: F::Bits, b: F::Bits, product: F::Bits, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    if mxcsr.rounds_to_nearest() && !F::is_denormal(a) && !F::is_denormal(b) {
        let zero = is_zero::<F>(product) && (is_zero::<F>(a) || is_zero::<F>(b));
        // In range, a product is exact if its odd part fits the significand.
        if zero || is_ample::<F>(product) && odd_product::<F>(a, b) >> F::TARGET.precision == 0 {
            return (product, Flags::NONE);
        }
    }
    soft::<F>(a, b, mxcsr, arith::multiply)
}

#[inline(never)]
fn div_checked<F: Format>(a: F::Bits, b: F::Bits, quotient: F::Bits, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    if mxcsr.rounds_to_nearest() && !F::is_denormal(a) && !F::is_denormal(b) {
        // Quotient × divisor has the dividend's odd part: it is the dividend times a power of two, which is 1 as it is that near.
        let exact = || odd_product::<F>(quotient, b) == u128::from(odd_part::<F>(a));
        if is_zero::<F>(a) && is_zero::<F>(quotient) || is_ample::<F>(quotient) && exact() {
            return (quotient, Flags::NONE);
        }
    }
    soft::<F>(a, b, mxcsr, arith::divide)
}

#[inline(never)]
fn sqrt_checked<F: Format>(a: F::Bits, root: F::Bits, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    if mxcsr.rounds_to_nearest() && !F::is_denormal(a) {
        let exact = || odd_product::<F>(root, root) == u128::from(odd_part::<F>(a));
        if is_zero::<F>(a) || is_ample::<F>(root) && exact() {
            return (root, Flags::NONE);
        }
    }
    soft_sqrt::<F>(a, mxcsr)
}

/// The NaN that comes out of two operands of which at least one is a NaN: the first that is, made quiet (SDM Vol. 1, table 4-7).
pub(super) fn propagate<F: Format>(a: F::Bits, b: F::Bits) -> (F::Bits, Flags) {
    let nan = if F::is_nan(a) { a } else { b };
    (F::from_raw(nan.into() | F::QUIET), Flags::INVALID.when(F::is_signaling(a) || F::is_signaling(b)))
}

/// Rounds and encodes.
pub(super) fn finish<F: Format>(outcome: Outcome, before: Flags, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    let sign = |negative| if negative { F::SIGN } else { 0 };
    match outcome {
        Outcome::Zero(negative) => (F::from_raw(sign(negative)), before),
        Outcome::Infinity(negative) | Outcome::DivisionByZero(negative) => (F::from_raw(sign(negative) | F::INFINITY), before),
        Outcome::Invalid => (F::from_raw(F::DEFAULT_NAN), before),
        Outcome::Finite(value) => {
            let (magnitude, after) = round(value, F::TARGET, mxcsr.policy());
            (F::encode(value.negative, magnitude), before | after & Flags::EXCEPTIONS)
        }
    }
}

type Operation = fn(&Operand, &Operand, Rounding) -> Outcome;

#[cold]
#[inline(never)]
fn soft<F: Format>(a: F::Bits, b: F::Bits, mxcsr: Mxcsr, operation: Operation) -> (F::Bits, Flags) {
    if F::is_nan(a) || F::is_nan(b) {
        return propagate::<F>(a, b);
    }
    let x = Operand::unpack::<F>(a, mxcsr.denormals_are_zero());
    let y = Operand::unpack::<F>(b, mxcsr.denormals_are_zero());
    let outcome = operation(&x, &y, mxcsr.rounding());
    finish::<F>(outcome, outcome.flags(x.denormal || y.denormal), mxcsr)
}

#[cold]
#[inline(never)]
fn soft_sqrt<F: Format>(a: F::Bits, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    if F::is_nan(a) {
        return propagate::<F>(a, a);
    }
    let x = Operand::unpack::<F>(a, mxcsr.denormals_are_zero());
    let outcome = arith::square_root(&x);
    finish::<F>(outcome, outcome.flags(x.denormal), mxcsr)
}
