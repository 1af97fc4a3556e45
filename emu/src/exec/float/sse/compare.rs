//! CMPxx, COMIxx, UCOMIxx, MINxx and MAXxx.

use super::super::arith::Relation;
use super::super::env::Mxcsr;
use super::super::flags::Flags;
use super::super::format::Format;

/// The eight predicates of CMPPS/PD/SS/SD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Predicate(u8);

impl Predicate {
    /// From the instruction's immediate, whose upper bits are ignored.
    #[inline(always)]
    pub const fn from_immediate(immediate: u8) -> Self {
        Self(immediate & 0b111)
    }

    /// LT, LE, NLT and NLE raise #I for quiet NaNs too.
    const fn is_signaling(self) -> bool {
        matches!(self.0, 1 | 2 | 5 | 6)
    }

    /// The predicate holds for this relation.
    #[inline(always)]
    const fn holds(self, relation: Relation) -> bool {
        let positive = match self.0 & 0b11 {
            0 => matches!(relation, Relation::Equal),
            1 => matches!(relation, Relation::Less),
            2 => matches!(relation, Relation::Less | Relation::Equal),
            _ => matches!(relation, Relation::Unordered),
        };
        positive != (self.0 & 0b100 != 0)
    }
}

/// COMISx (`quiet` clear: any NaN raises #I) and UCOMISx (`quiet` set: only a signaling one does).
///
/// The host's comparison of two operands that are neither denormal nor NaN is IEEE's and raises nothing.
#[inline(always)]
pub fn order<F: Format>(a: F::Bits, b: F::Bits, quiet: bool, mxcsr: Mxcsr) -> (Relation, Flags) {
    match order_fast::<F>(a, b) {
        Some(relation) => (relation, Flags::NONE),
        None => order_special::<F>(a, b, quiet, mxcsr),
    }
}

/// The relation of two operands that are neither denormal nor NaN: nothing is raised, and DAZ has no effect.
#[inline(always)]
pub fn order_fast<F: Format>(a: F::Bits, b: F::Bits) -> Option<Relation> {
    match F::host(a).partial_cmp(&F::host(b)) {
        Some(ordering) if !F::is_denormal(a) && !F::is_denormal(b) => Some(ordering.into()),
        _ => None,
    }
}

#[cold]
#[inline(never)]
fn order_special<F: Format>(a: F::Bits, b: F::Bits, quiet: bool, mxcsr: Mxcsr) -> (Relation, Flags) {
    let (a, b) = (F::flush(a, mxcsr.denormals_are_zero()), F::flush(b, mxcsr.denormals_are_zero()));
    match F::host(a).partial_cmp(&F::host(b)) {
        Some(ordering) => (ordering.into(), Flags::DENORMAL.when(F::is_denormal(a) || F::is_denormal(b))),
        None => (Relation::Unordered, Flags::INVALID.when(!quiet || F::is_signaling(a) || F::is_signaling(b))),
    }
}

/// As [`compare`], for operands that are neither denormal nor NaN.
#[inline(always)]
pub fn compare_fast<F: Format>(a: F::Bits, b: F::Bits, predicate: Predicate) -> Option<bool> {
    order_fast::<F>(a, b).map(|relation| predicate.holds(relation))
}

/// CMPxx: the mask's truth value.
#[inline(always)]
pub fn compare<F: Format>(a: F::Bits, b: F::Bits, predicate: Predicate, mxcsr: Mxcsr) -> (bool, Flags) {
    let (relation, flags) = order::<F>(a, b, !predicate.is_signaling(), mxcsr);
    (predicate.holds(relation), flags)
}

/// MINxx: `a` if it is less, else `b`; so `b` for NaNs (unchanged, even signaling) and for two zeros.
#[inline(always)]
pub fn min<F: Format>(a: F::Bits, b: F::Bits, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    select::<F>(a, b, Relation::Less, mxcsr)
}

/// As [`min`], for operands that are neither denormal nor NaN.
#[inline(always)]
pub fn min_fast<F: Format>(a: F::Bits, b: F::Bits) -> Option<F::Bits> {
    order_fast::<F>(a, b).map(|relation| if relation == Relation::Less { a } else { b })
}

/// MAXxx: `a` if it is greater, else `b`; so `b` for NaNs (unchanged, even signaling) and for two zeros.
#[inline(always)]
pub fn max<F: Format>(a: F::Bits, b: F::Bits, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    select::<F>(a, b, Relation::Greater, mxcsr)
}

/// As [`max`], for operands that are neither denormal nor NaN.
#[inline(always)]
pub fn max_fast<F: Format>(a: F::Bits, b: F::Bits) -> Option<F::Bits> {
    order_fast::<F>(a, b).map(|relation| if relation == Relation::Greater { a } else { b })
}

#[inline(always)]
fn select<F: Format>(a: F::Bits, b: F::Bits, wanted: Relation, mxcsr: Mxcsr) -> (F::Bits, Flags) {
    let (relation, flags) = order::<F>(a, b, false, mxcsr);
    let chosen = if relation == wanted { a } else { b };
    (F::flush(chosen, mxcsr.denormals_are_zero()), flags)
}
