//! CVTxx2xx and ROUNDxx.

use super::super::arith::Outcome;
use super::super::env::Mxcsr;
use super::super::flags::Flags;
use super::super::format::Format;
use super::super::integer::{self, Width};
use super::super::operand::{Kind, Operand};
use super::super::round::{Exact, Rounding};
use super::arith::{finish, is_ample, is_zero};

/// As [`to_int`], but nothing unless the host's cast is provably right and raises nothing.
///
/// It truncates, and saturates (and gives 0 for a NaN) instead of reporting what does not fit. So a result that fits and does not look
/// saturated is right if it equals the operand, or if truncation is asked for and being inexact changes nothing.
#[inline(always)]
pub fn to_int_fast<F: Format>(a: F::Bits, width: Width, rounding: Rounding, mxcsr: Mxcsr) -> Option<i64> {
    let truncated = F::host_truncate(F::host(a));
    let exact = F::host_from_int(truncated) == F::host(a);
    let settled = rounding == Rounding::Zero && mxcsr.inexact_is_settled() && !F::is_nan(a) && truncated != i64::MIN;
    ((exact || settled) && width.holds(truncated) && truncated != i64::MAX).then_some(truncated)
}

/// CVTxx2SI, CVTxx2DQ and their truncating forms (`rounding` = zero). A result beyond `width` is the integer indefinite, the most negative
/// number, with #I. A denormal operand is not reported.
#[inline(always)]
pub fn to_int<F: Format>(a: F::Bits, width: Width, rounding: Rounding, mxcsr: Mxcsr) -> (i64, Flags) {
    match to_int_fast::<F>(a, width, rounding, mxcsr) {
        Some(value) => (value, Flags::NONE),
        None => to_int_soft::<F>(a, width, rounding, mxcsr),
    }
}

#[inline(never)]
fn to_int_soft<F: Format>(a: F::Bits, width: Width, rounding: Rounding, mxcsr: Mxcsr) -> (i64, Flags) {
    let (value, flags) = integer::from_operand(&Operand::unpack::<F>(a, mxcsr.denormals_are_zero()), width, rounding);
    (value, flags & Flags::EXCEPTIONS)
}

/// As [`from_int`], but nothing unless the host's cast is provably right and raises nothing: it rounds to nearest, of an integer never
/// gives a tiny or infinite result, and below the format's precision is exact.
#[inline(always)]
pub fn from_int_fast<F: Format>(value: i64, mxcsr: Mxcsr) -> Option<F::Bits> {
    let proved = mxcsr.inexact_is_settled() || value.unsigned_abs() >> F::TARGET.precision == 0;
    proved.then(|| F::bits(F::host_from_int(value)))
}

/// CVTSI2xx and CVTDQ2xx.
#[inline(always)]
pub fn from_int<F: Format>(value: i64, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    match from_int_fast::<F>(value, mxcsr) {
        Some(result) => (result, Flags::NONE),
        None => from_large_int::<F>(value, mxcsr),
    }
}

#[cold]
#[inline(never)]
fn from_large_int<F: Format>(value: i64, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    let operand = Operand::integer(value);
    let significand = u128::from(operand.significand) << 64;
    let exact = Exact { negative: operand.negative, exponent: operand.exponent, significand };
    finish::<F>(Outcome::Finite(exact), Flags::NONE, mxcsr)
}

/// As [`resize`], but nothing unless the host's conversion is provably the same and raises nothing: under the conditions of the
/// arithmetic, except that to the wider format a number that is not denormal is always exact.
#[inline(always)]
pub fn resize_fast<F: Format, T: Format>(a: F::Bits, mxcsr: Mxcsr) -> Option<T::Bits> {
    let wide: f64 = F::host(a).into();
    let result = T::bits(T::host_from_f64(wide));
    let settled = T::WIDTH > F::WIDTH || mxcsr.inexact_is_settled();
    (settled && is_ample::<T>(result) && !F::is_denormal(a) || is_zero::<F>(a)).then_some(result)
}

/// CVTSS2SD, CVTSD2SS and their packed forms.
#[inline(always)]
pub fn resize<F: Format, T: Format>(a: F::Bits, mxcsr: Mxcsr) -> (T::Bits, Flags) {
    match resize_fast::<F, T>(a, mxcsr) {
        Some(result) => (result, Flags::NONE),
        None => resize_soft::<F, T>(a, mxcsr),
    }
}

#[cold]
#[inline(never)]
fn resize_soft<F: Format, T: Format>(a: F::Bits, mxcsr: Mxcsr) -> (T::Bits, Flags) {
    let operand = Operand::unpack::<F>(a, mxcsr.denormals_are_zero());
    let significand = u128::from(operand.significand) << 64;
    let outcome = match operand.kind {
        Kind::Zero => Outcome::Zero(operand.negative),
        Kind::Infinite => Outcome::Infinity(operand.negative),
        Kind::Finite => Outcome::Finite(Exact { negative: operand.negative, exponent: operand.exponent, significand }),
        Kind::Nan { .. } | Kind::Unsupported => {
            return (T::encode_nan(&operand), Flags::INVALID.when(operand.is_signaling()));
        }
    };
    finish::<T>(outcome, outcome.flags(operand.denormal), mxcsr)
}

/// ROUNDxx. With `suppress_inexact` (bit 3 of the immediate) #P is not reported. A denormal operand is not reported.
pub fn round_to_integral<F: Format>(a: F::Bits, rounding: Rounding, suppress_inexact: bool, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    if F::is_nan(a) {
        return (F::from_raw(a.into() | F::QUIET), Flags::INVALID.when(F::is_signaling(a)));
    }
    let a = F::flush(a, mxcsr.denormals_are_zero());
    let (magnitude, negative) = (F::magnitude(a), F::is_negative(a));
    let exponent = F::biased_exponent(a) as i32 - F::TARGET.max_exponent;
    // The magnitude as an encoding of integer part and fraction: adding one unit carries into the exponent field by itself.
    let (kept, unit, rest) = match u32::try_from(exponent) {
        Ok(exponent) if exponent >= F::FRACTION_BITS => return (a, Flags::NONE),
        Ok(exponent) => {
            let shift = F::FRACTION_BITS - exponent;
            let unit = 1u64 << shift;
            (magnitude & !(unit - 1), unit, u128::from(magnitude & (unit - 1)) << (128 - shift))
        }
        Err(_) => {
            let one = (F::TARGET.max_exponent as u64) << F::FRACTION_BITS;
            let half_to_one = u128::from(magnitude & ((1 << F::FRACTION_BITS) - 1) | 1 << F::FRACTION_BITS) << (127 - F::FRACTION_BITS);
            let rest = if exponent == -1 { half_to_one } else { u128::from(magnitude != 0) };
            (0, one, rest)
        }
    };
    let up = rounding.away(negative, kept & unit != 0, rest);
    let rounded = kept + if up { unit } else { 0 };
    let inexact = rest != 0 && !suppress_inexact;
    (F::from_raw(rounded | a.into() & F::SIGN), Flags::PRECISION.when(inexact))
}
