//! COMISS, COMISD, UCOMISS, UCOMISD.

use super::{Packed, accrue, exception, low, mxcsr};
use crate::cpu::{Exception, LazyFlags, Rflags};
use crate::decode::Op;
use crate::exec::float::sse::{order, order_fast};
use crate::exec::float::{Double, Relation, Single, Unmasked};
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::vcpu::Vcpu;

/// Whether quiet NaNs raise #I.
trait Quietness {
    const QUIET: bool;
}

/// COMISx: they do.
struct Ordered;
impl Quietness for Ordered {
    const QUIET: bool = false;
}

/// UCOMISx: they do not.
struct Unordered;
impl Quietness for Unordered {
    const QUIET: bool = true;
}

/// A comparison's outcome in ZF, PF and CF, the other arithmetic flags clear.
#[inline(always)]
pub fn flags_of(relation: Relation) -> LazyFlags {
    LazyFlags::from_flags(match relation {
        Relation::Greater => 0,
        Relation::Less => Rflags::CF,
        Relation::Equal => Rflags::ZF,
        Relation::Unordered => Rflags::ZF | Rflags::PF | Rflags::CF,
    })
}

#[inline(always)]
fn compare<Q: Quietness, F: Packed>(cx: &mut Vcpu, op: &Op, second: F::Bits) -> Result<(), Unmasked> {
    match order_fast::<F>(low::<F>(cx, op.a), second) {
        Some(relation) => {
            cx.flags = flags_of(relation);
            Ok(())
        }
        None => compare_checked::<Q, F>(cx, op, second),
    }
}

#[cold]
#[inline(never)]
fn compare_checked<Q: Quietness, F: Packed>(cx: &mut Vcpu, op: &Op, second: F::Bits) -> Result<(), Unmasked> {
    let (relation, raised) = order::<F>(low::<F>(cx, op.a), second, Q::QUIET, mxcsr(cx));
    accrue(cx, raised)?;
    cx.flags = flags_of(relation);
    Ok(())
}

#[inline(always)]
fn rr<Q: Quietness, F: Packed>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let second = low::<F>(cx, op.b);
    compare::<Q, F>(cx, op, second).map_err(|_| exception(cx))
}

#[inline(always)]
fn rm<Q: Quietness, F: Packed, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = P::load(cx, op.segment, E::linear(cx, op))?;
    compare::<Q, F>(cx, op, second).map_err(|_| P::raise(exception(cx)))
}

rows! {
    Comiss_xmm_xmmm32 => register rr[Ordered, Single], memory rm[Ordered, Single];
    Comisd_xmm_xmmm64 => register rr[Ordered, Double], memory rm[Ordered, Double];
    Ucomiss_xmm_xmmm32 => register rr[Unordered, Single], memory rm[Unordered, Single];
    Ucomisd_xmm_xmmm64 => register rr[Unordered, Double], memory rm[Unordered, Double];
}
