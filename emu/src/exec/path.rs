//! How handlers reach memory: a fast path that knows TLB hits alone, and a slow path that knows everything.

use crate::cpu::{Datum, Exception, slot};
use crate::decode::{AddressMode, Op};
use crate::vcpu::Vcpu;

/// The fast path met something that it does not handle. The slow path runs the op again from its start.
pub struct Miss;

/// A way to memory. `segment` is the register-file slot of the segment; `linear` has its base added already.
pub trait Path {
    /// What stops an op on this path.
    type Error;
    /// Whether this is the path that handles everything.
    const SLOW: bool;
    /// Reads.
    fn load<T: Datum>(cx: &mut Vcpu, segment: u8, linear: u64) -> Result<T, Self::Error>;
    /// Writes.
    fn store<T: Datum>(cx: &mut Vcpu, segment: u8, linear: u64, value: T) -> Result<(), Self::Error>;
    /// Reads, checks that it may write, writes what `change` makes of it, and passes on the second result.
    fn modify<T: Datum, R>(cx: &mut Vcpu, segment: u8, linear: u64, change: impl FnOnce(T) -> (T, R)) -> Result<R, Self::Error>;
    /// Raises an exception; nothing has been changed yet.
    fn raise(exception: Exception) -> Self::Error;
    /// Whether it is an exception that the guest sees that stops an op.
    fn is_seen(error: &Self::Error) -> bool;
}

/// TLB hits only.
pub struct Fast;

impl Path for Fast {
    type Error = Miss;
    const SLOW: bool = false;

    #[inline(always)]
    fn load<T: Datum>(cx: &mut Vcpu, _: u8, linear: u64) -> Result<T, Miss> {
        match cx.mmu.readable(linear, T::BYTES) {
            // SAFETY: a TLB hit points at `BYTES` readable bytes of guest RAM.
            Some(pointer) => Ok(unsafe { T::load(pointer) }),
            None => Err(Miss),
        }
    }

    #[inline(always)]
    fn store<T: Datum>(cx: &mut Vcpu, _: u8, linear: u64, value: T) -> Result<(), Miss> {
        match cx.mmu.writable(linear, T::BYTES) {
            Some(pointer) => {
                // SAFETY: a TLB hit points at `BYTES` writable bytes of guest RAM.
                unsafe { value.store(pointer) };
                Ok(())
            }
            None => Err(Miss),
        }
    }

    #[inline(always)]
    fn modify<T: Datum, R>(cx: &mut Vcpu, _: u8, linear: u64, change: impl FnOnce(T) -> (T, R)) -> Result<R, Miss> {
        match cx.mmu.writable(linear, T::BYTES) {
            Some(pointer) => {
                // SAFETY: a TLB hit for writing points at `BYTES` readable and writable bytes of guest RAM.
                let (value, result) = change(unsafe { T::load(pointer) });
                // SAFETY: as above.
                unsafe { value.store(pointer) };
                Ok(result)
            }
            None => Err(Miss),
        }
    }

    #[inline(always)]
    fn raise(_: Exception) -> Miss {
        Miss
    }
    #[inline(always)]
    fn is_seen(_: &Miss) -> bool {
        false
    }
}

/// Every check, every kind of page.
pub struct Slow;

impl Path for Slow {
    type Error = Exception;
    const SLOW: bool = true;

    fn load<T: Datum>(cx: &mut Vcpu, segment: u8, linear: u64) -> Result<T, Exception> {
        cx.load_slow(segment, linear)
    }
    fn store<T: Datum>(cx: &mut Vcpu, segment: u8, linear: u64, value: T) -> Result<(), Exception> {
        cx.store_slow(segment, linear, value)
    }
    fn modify<T: Datum, R>(cx: &mut Vcpu, segment: u8, linear: u64, change: impl FnOnce(T) -> (T, R)) -> Result<R, Exception> {
        cx.modify_slow(segment, linear, change)
    }
    fn raise(exception: Exception) -> Exception {
        exception
    }
    fn is_seen(error: &Exception) -> bool {
        *error != Exception::UNAVAILABLE
    }
}

/// A TLB hit where there is one, else everything.
pub struct Either;

impl Path for Either {
    type Error = Exception;
    const SLOW: bool = true;

    #[inline(always)]
    fn load<T: Datum>(cx: &mut Vcpu, segment: u8, linear: u64) -> Result<T, Exception> {
        Fast::load(cx, segment, linear).or_else(|_| cx.load_slow(segment, linear))
    }
    #[inline(always)]
    fn store<T: Datum>(cx: &mut Vcpu, segment: u8, linear: u64, value: T) -> Result<(), Exception> {
        Fast::store(cx, segment, linear, value).or_else(|_| cx.store_slow(segment, linear, value))
    }
    fn modify<T: Datum, R>(cx: &mut Vcpu, segment: u8, linear: u64, change: impl FnOnce(T) -> (T, R)) -> Result<R, Exception> {
        cx.modify_slow(segment, linear, change)
    }
    fn raise(exception: Exception) -> Exception {
        exception
    }
    fn is_seen(error: &Exception) -> bool {
        *error != Exception::UNAVAILABLE
    }
}

/// A way to form an op's linear address. All give the same answer; the narrower ones serve the ops that need no more.
pub trait EffectiveAddress {
    /// Offset in the segment.
    fn offset(cx: &Vcpu, op: &Op) -> u64;
    /// Linear address.
    fn linear(cx: &Vcpu, op: &Op) -> u64;
}

/// Base and displacement, 64-bit, no segment base.
pub struct Based;

impl EffectiveAddress for Based {
    #[inline(always)]
    fn offset(cx: &Vcpu, op: &Op) -> u64 {
        cx.regs[op.base].wrapping_add(i64::from(op.displacement) as u64)
    }
    #[inline(always)]
    fn linear(cx: &Vcpu, op: &Op) -> u64 {
        Self::offset(cx, op)
    }
}

/// Base, scaled index and displacement, 64-bit, no segment base.
pub struct Indexed;

impl EffectiveAddress for Indexed {
    #[inline(always)]
    fn offset(cx: &Vcpu, op: &Op) -> u64 {
        let index = cx.regs[op.index] << (op.scale & 3);
        cx.regs[op.base].wrapping_add(index).wrapping_add(i64::from(op.displacement) as u64)
    }
    #[inline(always)]
    fn linear(cx: &Vcpu, op: &Op) -> u64 {
        Self::offset(cx, op)
    }
}

/// Everything: any address size, any segment.
pub struct General;

impl EffectiveAddress for General {
    #[inline(always)]
    fn offset(cx: &Vcpu, op: &Op) -> u64 {
        Indexed::offset(cx, op) & AddressMode::offset_mask(op.scale)
    }
    #[inline(always)]
    fn linear(cx: &Vcpu, op: &Op) -> u64 {
        cx.regs[op.segment].wrapping_add(Self::offset(cx, op)) & AddressMode::linear_mask(op.scale)
    }
}

/// Which of these an op takes: for each, a table may hold another handler.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AddressForm {
    /// See [`struct@General`].
    General,
    /// See [`struct@Based`].
    Based,
    /// See [`struct@Indexed`].
    Indexed,
}

impl AddressForm {
    /// That of an op alone.
    pub fn of(op: &Op) -> Self {
        if !is_plain(op) {
            Self::General
        } else if op.index == slot::ZERO {
            Self::Based
        } else {
            Self::Indexed
        }
    }

    /// That of an op together with the conditional jump behind it.
    pub fn of_fused(op: &Op) -> Self {
        if is_plain(op) { Self::Indexed } else { Self::General }
    }
}

/// Whether an op's address is 64-bit without a segment base that could be other than 0.
fn is_plain(op: &Op) -> bool {
    op.scale & !3 == 0 && matches!(op.segment, slot::ZERO | slot::SS)
}
