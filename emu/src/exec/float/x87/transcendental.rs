//! FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X and FYL2XP1.
//!
//! Processors differ in the last place here. Ours round an approximation of more than 120 correct bits by the rounding control, so the result is
//! the correctly rounded one but for arguments that nobody has found; the arguments of the trigonometric functions are reduced by the
//! 66-bit π that the manual documents (SDM Vol. 1, 8.3.8). The precision control has no influence.

use super::super::arith::{self, Outcome};
use super::super::env::ControlWord;
use super::super::f80::F80;
use super::super::flags::Flags;
use super::super::operand::{Kind, Operand};
use super::super::round::{EXTENDED, Exact};
use super::convert::load;
use super::fixed::{Fixed, OddTerms, arc_tangent_series, cosine_series, exponential_series, sine_series};
use super::{exact, finish, not_a_number, not_numbers};

/// An argument of a trigonometric function less the nearest multiple of π/2: ± `significand` / 2¹²⁷ × 2^`exponent`, at most π/4.
struct Reduced {
    rest: Exact,
    /// The multiple, modulo 4.
    quadrant: u32,
}

impl Reduced {
    /// Reduces the magnitude of a number; nothing from 2⁶³ on.
    fn new(a: &Operand) -> Option<Self> {
        /// π/2 with 66 bits, in units of 2⁻⁶⁵.
        const HALF_PI: u128 = 0x3_243F_6A88_85A3_08D3;
        match a.exponent {
            63.. => None,
            -1..63 => {
                let magnitude = u128::from(a.significand) << (a.exponent + 2);
                let (count, rest) = (magnitude / HALF_PI, magnitude % HALF_PI);
                // HALF_PI is odd and longer than any significand, so no argument is a multiple of it, or halfway between two.
                let above = rest > HALF_PI / 2;
                let (rest, count) = if above { (HALF_PI - rest, count + 1) } else { (rest, count) };
                Some(Self { rest: Exact::normalized(above, 127 - 65, rest), quadrant: (count & 3) as u32 })
            }
            _ => Some(Self { rest: Exact { negative: false, ..exact(a) }, quadrant: 0 }),
        }
    }

    /// The rest scaled into [1, 2), and its square.
    fn scaled_and_square(&self) -> (Fixed, Fixed) {
        let value = Fixed::new(self.rest.significand, self.rest.exponent);
        (Fixed::new(self.rest.significand, 0), value.mul(value))
    }

    fn sine_of_rest(&self) -> Exact {
        let (scaled, square) = self.scaled_and_square();
        // Less than the argument, however small it is.
        let ratio = sine_series(square).sub(Fixed::UNIT);
        ratio.mul(scaled).to_exact(self.rest.negative, self.rest.exponent, false)
    }

    fn cosine_of_rest(&self) -> Exact {
        let (_, square) = self.scaled_and_square();
        cosine_series(square).sub(Fixed::UNIT).to_exact(false, 0, false)
    }

    /// The sine of the argument `quadrants` quarter turns further on.
    fn sine(&self, quadrants: u32) -> Exact {
        let quadrant = self.quadrant + quadrants;
        let value = if quadrant & 1 == 0 { self.sine_of_rest() } else { self.cosine_of_rest() };
        Exact { negative: value.negative != (quadrant & 2 != 0), ..value }
    }

    fn tangent(&self) -> Exact {
        let (scaled, square) = self.scaled_and_square();
        let (sine, cosine) = (sine_series(square), cosine_series(square).sub(Fixed::UNIT));
        let negative = self.rest.negative;
        if self.quadrant & 1 == 0 {
            // More than the argument, however small it is.
            sine.div(cosine).mul(scaled).to_exact(negative, self.rest.exponent, false)
        } else {
            cosine.div(sine.mul(scaled)).to_exact(!negative, -self.rest.exponent, false)
        }
    }
}

/// A trigonometric function: nothing if the argument is out of range (C2 is set and the stack left alone).
fn trigonometric(a: &Operand, of_zero: Outcome, function: impl Fn(Reduced) -> Exact, control: ControlWord) -> Option<(F80, Flags)> {
    if let Some(result) = not_a_number(a) {
        return Some(result);
    }
    let outcome = match a.kind {
        Kind::Infinite => Outcome::Invalid,
        Kind::Finite => Outcome::Finite(function(Reduced::new(a)?)),
        _ => of_zero,
    };
    Some(finish(outcome, outcome.flags(a.denormal), EXTENDED, control))
}

/// FSIN, and the sine of FSINCOS. Nothing for a magnitude of 2⁶³ or more: C2 is set and the stack left alone.
pub fn sine(a: &Operand, control: ControlWord) -> Option<(F80, Flags)> {
    let function = |reduced: Reduced| {
        let value = reduced.sine(0);
        Exact { negative: value.negative != a.negative, ..value }
    };
    trigonometric(a, Outcome::Zero(a.negative), function, control)
}

/// FCOS, and the cosine of FSINCOS. Nothing for a magnitude of 2⁶³ or more.
pub fn cosine(a: &Operand, control: ControlWord) -> Option<(F80, Flags)> {
    trigonometric(a, one(), |reduced| reduced.sine(1), control)
}

/// FPTAN without the 1.0 that it pushes (after a NaN or an infinity it pushes the same NaN). Nothing for a magnitude of 2⁶³ or more.
pub fn tangent(a: &Operand, control: ControlWord) -> Option<(F80, Flags)> {
    let function = |reduced: Reduced| {
        let value = reduced.tangent();
        Exact { negative: value.negative != a.negative, ..value }
    };
    trigonometric(a, Outcome::Zero(a.negative), function, control)
}

fn one() -> Outcome {
    Outcome::Finite(Exact { negative: false, exponent: 0, significand: 1 << 127 })
}

/// FPATAN: the angle of the point (`x`, `y`), where `y` is ST(1) and `x` is ST(0).
pub fn arctangent(y: &Operand, x: &Operand, control: ControlWord) -> (F80, Flags) {
    if let Some(result) = not_numbers(y, x) {
        return result;
    }
    let constant = |magnitude: Fixed| Outcome::Finite(magnitude.to_exact(y.negative, 0, false));
    let three_quarters = Fixed::HALF_PI.add(Fixed::QUARTER_PI);
    let outcome = match (y.kind, x.kind, x.negative) {
        (Kind::Infinite, Kind::Infinite, false) => constant(Fixed::QUARTER_PI),
        (Kind::Infinite, Kind::Infinite, true) => constant(three_quarters),
        (Kind::Infinite, _, _) => constant(Fixed::HALF_PI),
        (Kind::Zero, _, false) | (_, Kind::Infinite, false) => Outcome::Zero(y.negative),
        (Kind::Zero, _, true) | (_, Kind::Infinite, true) => constant(Fixed::PI),
        (_, Kind::Zero, _) => constant(Fixed::HALF_PI),
        _ => Outcome::Finite(angle(y, x)),
    };
    finish(outcome, outcome.flags(y.denormal || x.denormal), EXTENDED, control)
}

/// The angle of a point off the axes.
fn angle(y: &Operand, x: &Operand) -> Exact {
    let magnitude = |operand: &Operand| Operand { negative: false, ..*operand };
    let steep = arith::compare(&magnitude(x), &magnitude(y)).is_lt();
    let (smaller, larger) = if steep { (x, y) } else { (y, x) };
    // The tangent of the angle to the nearer axis is ratio × 2^exponent, at most 1.
    let scaled = |operand: &Operand| Fixed::new(exact(operand).significand, 0);
    let ratio = scaled(smaller).div(scaled(larger));
    let exponent = smaller.exponent - larger.exponent;
    let tangent = ratio.shr(exponent.unsigned_abs());

    if tangent.less_than(Fixed::TAN_EIGHTH_PI) {
        // Less than the tangent, however small it is.
        let small = arc_tangent_series(tangent.mul(tangent), OddTerms::Subtracted).sub(Fixed::UNIT).mul(ratio);
        if !steep && !x.negative {
            return small.to_exact(y.negative, exponent, false);
        }
        return from_axis(small.shr(exponent.unsigned_abs()), steep, x.negative, y.negative);
    }
    // arctan t = π/4 − arctan((1 − t) / (1 + t)), which halves the angle to be summed.
    let complement = Fixed::ONE.abs_difference(tangent).div(Fixed::ONE.add(tangent));
    let rest = arc_tangent_series(complement.mul(complement), OddTerms::Subtracted).mul(complement);
    from_axis(Fixed::QUARTER_PI.sub(rest), steep, x.negative, y.negative)
}

/// The angle of a point from its angle to the nearer axis.
fn from_axis(angle: Fixed, steep: bool, x_negative: bool, y_negative: bool) -> Exact {
    let total = match (steep, x_negative) {
        (false, false) => angle,
        (false, true) => Fixed::PI.sub(angle),
        (true, false) => Fixed::HALF_PI.sub(angle),
        (true, true) => Fixed::HALF_PI.add(angle),
    };
    total.to_exact(y_negative, 0, false)
}

/// F2XM1: 2^`a` − 1. Beyond ±1 the manual leaves it open: the operand stays as it is, with #P.
pub fn exp2m1(a: &Operand, control: ControlWord) -> (F80, Flags) {
    if let Some(result) = not_a_number(a) {
        return result;
    }
    let outcome = match (a.kind, a.negative) {
        (Kind::Zero, negative) => Outcome::Zero(negative),
        (Kind::Infinite, false) => Outcome::Infinity(false),
        (Kind::Infinite, true) => Outcome::Finite(Exact { negative: true, exponent: 0, significand: 1 << 127 }),
        (_, true) if a.exponent == 0 && a.significand == 1 << 63 => {
            Outcome::Finite(Exact { negative: true, exponent: -1, significand: 1 << 127 })
        }
        (_, false) if a.exponent == 0 && a.significand == 1 << 63 => Outcome::Finite(exact(a)),
        _ if a.exponent >= 0 => return (load(a).0, Flags::PRECISION),
        _ => {
            let scaled = Fixed::LN_2.mul(Fixed::new(exact(a).significand, 0));
            let odd = if a.negative { OddTerms::Subtracted } else { OddTerms::Added };
            let series = exponential_series(scaled.shr(a.exponent.unsigned_abs()), odd);
            Outcome::Finite(series.mul(scaled).to_exact(a.negative, a.exponent, false))
        }
    };
    finish(outcome, outcome.flags(a.denormal), EXTENDED, control)
}

/// A logarithm to base 2: ± `magnitude` × 2^`exponent`.
struct Logarithm {
    negative: bool,
    magnitude: Fixed,
    exponent: i32,
    known_exact: bool,
}

impl Logarithm {
    /// Of `significand` / 2¹²⁷ × 2^`exponent`, positive and not 1.
    fn of(number: Exact) -> Self {
        let significand = Fixed::new(number.significand, 0);
        let halve = !significand.less_than(Fixed::SQRT_2);
        // number = m / c × 2^count with m / c in [√½, √2).
        let count = number.exponent + i32::from(halve);
        let center = Fixed::from_int(if halve { 2 } else { 1 });
        let distance = significand.abs_difference(center);
        if distance.is_zero() {
            let magnitude = Fixed::from_int(count.unsigned_abs().into());
            return Self { negative: count < 0, magnitude, exponent: 0, known_exact: true };
        }
        let divisor = significand.add(center);
        let shift = distance.leading_zeros() - divisor.leading_zeros();
        let fraction = Self::from_ratio(halve, distance.shl(shift), divisor, -(shift as i32));
        if count == 0 {
            return fraction;
        }
        let whole = Fixed::from_int(count.unsigned_abs().into());
        let part = fraction.magnitude.shr(fraction.exponent.unsigned_abs());
        let negative = count < 0;
        let magnitude = if fraction.negative == negative { whole.add(part) } else { whole.sub(part) };
        Self { negative, magnitude, exponent: 0, known_exact: false }
    }

    /// Of (1 + z) / (1 − z) for z = ± `dividend` / `divisor` × 2^`exponent`, below 1/3 in magnitude: 2 / ln 2 × artanh z.
    fn from_ratio(negative: bool, dividend: Fixed, divisor: Fixed, exponent: i32) -> Self {
        let ratio = dividend.div(divisor);
        let z = ratio.shr(exponent.unsigned_abs());
        let magnitude = arc_tangent_series(z.mul(z), OddTerms::Added).mul(ratio).mul(Fixed::TWO_LOG2_E);
        Self { negative, magnitude, exponent, known_exact: false }
    }

    /// The logarithm times a finite nonzero number.
    fn times(self, y: &Operand) -> Exact {
        let product = self.magnitude.mul(Fixed::new(exact(y).significand, 0));
        product.to_exact(self.negative != y.negative, self.exponent + y.exponent, self.known_exact)
    }
}

/// What the logarithm's argument is.
enum Argument {
    /// Negative: no logarithm.
    Invalid,
    Zero,
    /// The logarithm is this zero's sign and no more.
    One {
        negative_zero: bool,
    },
    /// The logarithm is finite and not zero.
    Positive(Logarithm),
    Infinite,
}

/// `y` × the logarithm of an argument.
fn times_logarithm(y: &Operand, argument: Argument, denormal: bool, control: ControlWord) -> (F80, Flags) {
    let outcome = match (argument, y.kind) {
        (Argument::Invalid, _) | (Argument::Zero | Argument::Infinite, Kind::Zero) | (Argument::One { .. }, Kind::Infinite) => {
            Outcome::Invalid
        }
        (Argument::Zero, Kind::Infinite) => Outcome::Infinity(!y.negative),
        (Argument::Zero, _) => Outcome::DivisionByZero(!y.negative),
        (Argument::One { negative_zero }, _) => Outcome::Zero(y.negative != negative_zero),
        (Argument::Infinite, _) => Outcome::Infinity(y.negative),
        (Argument::Positive(logarithm), Kind::Zero) => Outcome::Zero(y.negative != logarithm.negative),
        (Argument::Positive(logarithm), Kind::Infinite) => Outcome::Infinity(y.negative != logarithm.negative),
        (Argument::Positive(logarithm), _) => Outcome::Finite(logarithm.times(y)),
    };
    finish(outcome, outcome.flags(y.denormal || denormal), EXTENDED, control)
}

/// The argument of a logarithm that is a finite nonzero number.
fn finite_argument(number: Exact) -> Argument {
    match number {
        Exact { negative: true, .. } => Argument::Invalid,
        Exact { exponent: 0, significand: 0x8000_0000_0000_0000_0000_0000_0000_0000, .. } => Argument::One { negative_zero: false },
        _ => Argument::Positive(Logarithm::of(number)),
    }
}

/// FYL2X: `y` × log₂ `x`, where `y` is ST(1) and `x` is ST(0).
pub fn log2(y: &Operand, x: &Operand, control: ControlWord) -> (F80, Flags) {
    if let Some(result) = not_numbers(y, x) {
        return result;
    }
    let argument = match x.kind {
        Kind::Zero => Argument::Zero,
        Kind::Infinite if x.negative => Argument::Invalid,
        Kind::Infinite => Argument::Infinite,
        _ => finite_argument(exact(x)),
    };
    times_logarithm(y, argument, x.denormal, control)
}

/// FYL2XP1: `y` × log₂(1 + `x`), where `y` is ST(1) and `x` is ST(0). Outside ±(1 − √½), where the manual leaves it open, it goes on
/// to be that function, with FYL2X's exceptions.
pub fn log2p1(y: &Operand, x: &Operand, control: ControlWord) -> (F80, Flags) {
    if let Some(result) = not_numbers(y, x) {
        return result;
    }
    let argument = match x.kind {
        Kind::Zero => Argument::One { negative_zero: x.negative },
        Kind::Infinite if x.negative => Argument::Invalid,
        Kind::Infinite => Argument::Infinite,
        _ if x.exponent < -1 => Argument::Positive(near_one(x)),
        _ => match arith::add(&Operand::integer(1), x, control.rounding()) {
            Outcome::Finite(sum) => finite_argument(sum),
            _ => Argument::Zero,
        },
    };
    times_logarithm(y, argument, x.denormal, control)
}

/// log₂(1 + `x`) for a number below 1/2 in magnitude: with z = x / (2 + x).
fn near_one(x: &Operand) -> Logarithm {
    let scaled = Fixed::new(exact(x).significand, 0);
    let value = scaled.shr(x.exponent.unsigned_abs());
    let two = Fixed::from_int(2);
    let divisor = if x.negative { two.sub(value) } else { two.add(value) };
    Logarithm::from_ratio(x.negative, scaled, divisor, x.exponent)
}
