//! MMX and SSE to SSE4.2: arithmetic on [`integer`] and on [`float`] lanes, and what moves, shuffles and combines lanes of either kind.
//!
//! What an instruction computes is a type with a pure function on arrays of lanes, defined once for both register sizes: [`Binary`] for most,
//! [`Immediate`] for those that an immediate steers. A row names it with the shape that it works on: `rr[Padd, [u16; 8]]` is PADDW on XMM
//! registers. Here is what carries operands to them.
//!
//! The first operand is the destination; where an operation has one operand only, that is the second.

pub mod element;
pub mod float;
pub mod integer;
pub(super) mod lanes;
pub mod logic;
mod mmx;
pub mod moves;
pub mod shuffle;
pub mod state;
pub mod string;

use super::path::{EffectiveAddress, Path};
use crate::cpu::{Datum, Exception};
use crate::decode::Op;
use crate::vcpu::Vcpu;

use lanes::Vector;

/// An operation on two operands.
trait Binary<V> {
    /// Shape of the result.
    type Output: Vector;
    /// The new content of the destination.
    fn compute(first: V, second: V) -> Self::Output;
}

/// An operation on two operands and an immediate.
trait Immediate<V> {
    /// Shape of the result.
    type Output: Vector;
    /// The new content of the destination.
    fn compute(first: V, second: V, immediate: u8) -> Self::Output;
}

/// Reads a memory operand of an instruction that demands alignment: 16 bytes must be aligned, fewer need not be.
#[inline(always)]
pub(super) fn load_aligned<V: Datum, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<V, P::Error> {
    let linear = E::linear(cx, op);
    if V::BYTES == 16 && !linear.is_multiple_of(16) {
        return Err(P::raise(Exception::GP0));
    }
    P::load(cx, op.segment, linear)
}

/// Writes a memory operand; see [`load_aligned`].
#[inline(always)]
fn store_aligned<V: Datum, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op, value: V) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    if V::BYTES == 16 && !linear.is_multiple_of(16) {
        return Err(P::raise(Exception::GP0));
    }
    P::store(cx, op.segment, linear, value)
}

/// Register, register.
#[inline(always)]
fn rr<O: Binary<V>, V: Vector>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    V::begin(cx)?;
    O::compute(V::read(cx, op.a), V::read(cx, op.b)).write(cx, op.a);
    V::end(cx);
    Ok(())
}

/// Register, memory.
#[inline(always)]
fn rm<O: Binary<V>, V: Vector, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    V::begin(cx).map_err(P::raise)?;
    let second = load_aligned::<V, P, E>(cx, op)?;
    O::compute(V::read(cx, op.a), second).write(cx, op.a);
    V::end(cx);
    Ok(())
}

/// Register, register, immediate.
#[inline(always)]
fn rri<O: Immediate<V>, V: Vector>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    V::begin(cx)?;
    O::compute(V::read(cx, op.a), V::read(cx, op.b), op.immediate as u8).write(cx, op.a);
    V::end(cx);
    Ok(())
}

/// Register, memory, immediate.
#[inline(always)]
fn rmi<O: Immediate<V>, V: Vector, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    V::begin(cx).map_err(P::raise)?;
    let second = load_aligned::<V, P, E>(cx, op)?;
    O::compute(V::read(cx, op.a), second, op.immediate as u8).write(cx, op.a);
    V::end(cx);
    Ok(())
}

/// Defines operations that work on each lane by itself: those of any lane type, or of the one given.
macro_rules! lanewise {
    ($($(#[$doc:meta])* $name:ident: |$first:ident, $second:ident| $body:expr),* $(,)?) => {$(
        $(#[$doc])*
        struct $name;
        impl<L: Lane, const N: usize> Binary<[L; N]> for $name
        where
            [L; N]: Vector,
        {
            type Output = [L; N];
            #[inline(always)]
            fn compute(first: [L; N], second: [L; N]) -> [L; N] {
                $crate::exec::simd::lanes::each(|i| {
                    let ($first, $second) = (first[i], second[i]);
                    $body
                })
            }
        }
    )*};
}

use lanewise;
