//! CVTxx2xx.

use super::{Packed, accrue, exception, low, mxcsr, set_low};
use crate::cpu::{Datum, Exception, Word};
use crate::decode::Op;
use crate::exec::float::sse::{from_int, from_int_fast, resize, resize_fast, to_int, to_int_fast};
use crate::exec::float::{Double, Flags, Format, Mxcsr, Rounding, Single, Unmasked, Width};
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::exec::simd::lanes::Vector;
use crate::exec::simd::load_aligned;
use crate::vcpu::Vcpu;

/// How a conversion to integers rounds.
trait Mode {
    fn rounding(mxcsr: Mxcsr) -> Rounding;
}

/// CVTxx2: as MXCSR says.
struct Current;
impl Mode for Current {
    #[inline(always)]
    fn rounding(mxcsr: Mxcsr) -> Rounding {
        mxcsr.rounding()
    }
}

/// CVTTxx2: toward zero.
struct Truncating;
impl Mode for Truncating {
    #[inline(always)]
    fn rounding(_: Mxcsr) -> Rounding {
        Rounding::Zero
    }
}

// ---- scalars ----

#[inline(always)]
fn set_from_int<F: Packed>(cx: &mut Vcpu, op: &Op, value: i64) -> Result<(), Unmasked> {
    match from_int_fast::<F>(value, mxcsr(cx)) {
        Some(result) => {
            set_low::<F>(cx, op.a, result);
            Ok(())
        }
        None => set_from_int_checked::<F>(cx, op, value),
    }
}

#[cold]
#[inline(never)]
fn set_from_int_checked<F: Packed>(cx: &mut Vcpu, op: &Op, value: i64) -> Result<(), Unmasked> {
    let (result, flags) = from_int::<F>(value, mxcsr(cx));
    accrue(cx, flags)?;
    set_low::<F>(cx, op.a, result);
    Ok(())
}

#[inline(always)]
fn from_int_rr<F: Packed, W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let value = W::read(&cx.regs, op.b).sign_extend();
    set_from_int::<F>(cx, op, value).map_err(|_| exception(cx))
}

#[inline(always)]
fn from_int_rm<F: Packed, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let value = P::load::<W>(cx, op.segment, E::linear(cx, op))?.sign_extend();
    set_from_int::<F>(cx, op, value).map_err(|_| P::raise(exception(cx)))
}

fn width<W: Word>() -> Width {
    if W::BITS == 64 { Width::W64 } else { Width::W32 }
}

#[inline(always)]
fn set_to_int<M: Mode, F: Format, W: Word>(cx: &mut Vcpu, op: &Op, source: F::Bits) -> Result<(), Unmasked> {
    let mxcsr = mxcsr(cx);
    match to_int_fast::<F>(source, width::<W>(), M::rounding(mxcsr), mxcsr) {
        Some(value) => {
            W::truncate(value as u64).write(&mut cx.regs, op.a);
            Ok(())
        }
        None => set_to_int_checked::<M, F, W>(cx, op, source),
    }
}

#[cold]
#[inline(never)]
fn set_to_int_checked<M: Mode, F: Format, W: Word>(cx: &mut Vcpu, op: &Op, source: F::Bits) -> Result<(), Unmasked> {
    let mxcsr = mxcsr(cx);
    let (value, flags) = to_int::<F>(source, width::<W>(), M::rounding(mxcsr), mxcsr);
    accrue(cx, flags)?;
    W::truncate(value as u64).write(&mut cx.regs, op.a);
    Ok(())
}

#[inline(always)]
fn to_int_rr<M: Mode, F: Packed, W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let source = low::<F>(cx, op.b);
    set_to_int::<M, F, W>(cx, op, source).map_err(|_| exception(cx))
}

/// No operand is an XMM register, so whether there are any is not known from decoding.
#[inline(always)]
fn to_int_rm<M: Mode, F: Packed, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    cx.check_sse().map_err(P::raise)?;
    let source = P::load(cx, op.segment, E::linear(cx, op))?;
    set_to_int::<M, F, W>(cx, op, source).map_err(|_| P::raise(exception(cx)))
}

#[inline(always)]
fn set_resized<F: Packed, T: Packed>(cx: &mut Vcpu, op: &Op, source: F::Bits) -> Result<(), Unmasked> {
    match resize_fast::<F, T>(source, mxcsr(cx)) {
        Some(result) => {
            set_low::<T>(cx, op.a, result);
            Ok(())
        }
        None => set_resized_checked::<F, T>(cx, op, source),
    }
}

#[cold]
#[inline(never)]
fn set_resized_checked<F: Packed, T: Packed>(cx: &mut Vcpu, op: &Op, source: F::Bits) -> Result<(), Unmasked> {
    let (result, flags) = resize::<F, T>(source, mxcsr(cx));
    accrue(cx, flags)?;
    set_low::<T>(cx, op.a, result);
    Ok(())
}

#[inline(always)]
fn resize_rr<F: Packed, T: Packed>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let source = low::<F>(cx, op.b);
    set_resized::<F, T>(cx, op, source).map_err(|_| exception(cx))
}

#[inline(always)]
fn resize_rm<F: Packed, T: Packed, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let source = P::load(cx, op.segment, E::linear(cx, op))?;
    set_resized::<F, T>(cx, op, source).map_err(|_| P::raise(exception(cx)))
}

// ---- vectors ----

/// A conversion of a vector as a type, for rows: 8 or 16 bytes to an MMX or XMM register.
trait Conversion {
    /// What is converted.
    type Source: Datum;
    /// What the destination holds.
    type Target: Vector;
    /// The destination's new content from its old one.
    fn compute(before: Self::Target, source: Self::Source, mxcsr: Mxcsr) -> (Self::Target, Flags);
}

/// Each number converted; the rest of the target stays.
#[inline(always)]
fn each<S: Copy, T: Vector>(before: T, source: &[S], convert: impl Fn(S) -> (T::Lane, Flags)) -> (T, Flags) {
    let (mut result, mut flags) = (before, Flags::NONE);
    for (element, &value) in result.as_mut().iter_mut().zip(source) {
        let (converted, raised) = convert(value);
        *element = converted;
        flags |= raised;
    }
    (result, flags)
}

#[inline(always)]
fn narrow_int<M: Mode, F: Format>(source: F::Bits, mxcsr: Mxcsr) -> (i32, Flags) {
    let (value, flags) = to_int::<F>(source, Width::W32, M::rounding(mxcsr), mxcsr);
    (value as i32, flags)
}

/// CVTPS2DQ and CVTTPS2DQ.
struct SinglesToInts<M>(M);
impl<M: Mode> Conversion for SinglesToInts<M> {
    type Source = [u32; 4];
    type Target = [i32; 4];
    fn compute(before: [i32; 4], source: [u32; 4], mxcsr: Mxcsr) -> ([i32; 4], Flags) {
        each(before, &source, |value| narrow_int::<M, Single>(value, mxcsr))
    }
}

/// CVTPD2DQ and CVTTPD2DQ: the upper half becomes 0.
struct DoublesToInts<M>(M);
impl<M: Mode> Conversion for DoublesToInts<M> {
    type Source = [u64; 2];
    type Target = [i32; 4];
    fn compute(_: [i32; 4], source: [u64; 2], mxcsr: Mxcsr) -> ([i32; 4], Flags) {
        each([0; 4], &source, |value| narrow_int::<M, Double>(value, mxcsr))
    }
}

/// CVTPS2PI and CVTTPS2PI.
struct SinglesToMmx<M>(M);
impl<M: Mode> Conversion for SinglesToMmx<M> {
    type Source = [u32; 2];
    type Target = [i32; 2];
    fn compute(before: [i32; 2], source: [u32; 2], mxcsr: Mxcsr) -> ([i32; 2], Flags) {
        each(before, &source, |value| narrow_int::<M, Single>(value, mxcsr))
    }
}

/// CVTPD2PI and CVTTPD2PI.
struct DoublesToMmx<M>(M);
impl<M: Mode> Conversion for DoublesToMmx<M> {
    type Source = [u64; 2];
    type Target = [i32; 2];
    fn compute(before: [i32; 2], source: [u64; 2], mxcsr: Mxcsr) -> ([i32; 2], Flags) {
        each(before, &source, |value| narrow_int::<M, Double>(value, mxcsr))
    }
}

/// CVTDQ2PS.
struct IntsToSingles;
impl Conversion for IntsToSingles {
    type Source = [i32; 4];
    type Target = [u32; 4];
    fn compute(before: [u32; 4], source: [i32; 4], mxcsr: Mxcsr) -> ([u32; 4], Flags) {
        each(before, &source, |value| from_int::<Single>(value.into(), mxcsr))
    }
}

/// CVTPI2PS: the upper half stays.
struct TwoIntsToSingles;
impl Conversion for TwoIntsToSingles {
    type Source = [i32; 2];
    type Target = [u32; 4];
    fn compute(before: [u32; 4], source: [i32; 2], mxcsr: Mxcsr) -> ([u32; 4], Flags) {
        each(before, &source, |value| from_int::<Single>(value.into(), mxcsr))
    }
}

/// CVTDQ2PD and CVTPI2PD.
struct IntsToDoubles;
impl Conversion for IntsToDoubles {
    type Source = [i32; 2];
    type Target = [u64; 2];
    fn compute(before: [u64; 2], source: [i32; 2], mxcsr: Mxcsr) -> ([u64; 2], Flags) {
        each(before, &source, |value| from_int::<Double>(value.into(), mxcsr))
    }
}

/// CVTPS2PD.
struct Widen;
impl Conversion for Widen {
    type Source = [u32; 2];
    type Target = [u64; 2];
    fn compute(before: [u64; 2], source: [u32; 2], mxcsr: Mxcsr) -> ([u64; 2], Flags) {
        each(before, &source, |value| resize::<Single, Double>(value, mxcsr))
    }
}

/// CVTPD2PS: the upper half becomes 0.
struct Narrow;
impl Conversion for Narrow {
    type Source = [u64; 2];
    type Target = [u32; 4];
    fn compute(_: [u32; 4], source: [u64; 2], mxcsr: Mxcsr) -> ([u32; 4], Flags) {
        each([0; 4], &source, |value| resize::<Double, Single>(value, mxcsr))
    }
}

fn set<C: Conversion>(cx: &mut Vcpu, op: &Op, source: C::Source) -> Result<(), Unmasked> {
    let before = C::Target::read(cx, op.a);
    let (result, flags) = C::compute(before, source, mxcsr(cx));
    // Processors turn to MMX before the conversion can raise #XM.
    C::Target::end(cx);
    accrue(cx, flags)?;
    result.write(cx, op.a);
    Ok(())
}

/// From an XMM register, all of it or its lower half.
fn xmm<C: Conversion>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    C::Target::begin(cx)?;
    let source = C::Source::from_u128(cx.fpu.xmm[usize::from(op.b & 15)]);
    set::<C>(cx, op, source).map_err(|_| exception(cx))
}

/// From memory: 16 bytes must be aligned. The destination may be an MMX register, and then whether there are XMM registers is not known
/// from decoding.
fn memory<C: Conversion, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    cx.check_sse().and_then(|()| C::Target::begin(cx)).map_err(P::raise)?;
    let source = load_aligned::<C::Source, P, E>(cx, op)?;
    set::<C>(cx, op, source).map_err(|_| P::raise(exception(cx)))
}

/// From an MMX register.
fn mmx<C: Conversion<Source: Vector>>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    C::Source::begin(cx)?;
    let source = C::Source::read(cx, op.b);
    C::Source::end(cx);
    set::<C>(cx, op, source).map_err(|_| exception(cx))
}

rows! {
    Cvtsi2ss_xmm_rm32 => register from_int_rr[Single, u32], memory from_int_rm[Single, u32];
    Cvtsi2ss_xmm_rm64 => register from_int_rr[Single, u64], memory from_int_rm[Single, u64];
    Cvtsi2sd_xmm_rm32 => register from_int_rr[Double, u32], memory from_int_rm[Double, u32];
    Cvtsi2sd_xmm_rm64 => register from_int_rr[Double, u64], memory from_int_rm[Double, u64];
    Cvtss2si_r32_xmmm32 => register to_int_rr[Current, Single, u32], memory to_int_rm[Current, Single, u32];
    Cvtss2si_r64_xmmm32 => register to_int_rr[Current, Single, u64], memory to_int_rm[Current, Single, u64];
    Cvtsd2si_r32_xmmm64 => register to_int_rr[Current, Double, u32], memory to_int_rm[Current, Double, u32];
    Cvtsd2si_r64_xmmm64 => register to_int_rr[Current, Double, u64], memory to_int_rm[Current, Double, u64];
    Cvttss2si_r32_xmmm32 => register to_int_rr[Truncating, Single, u32], memory to_int_rm[Truncating, Single, u32];
    Cvttss2si_r64_xmmm32 => register to_int_rr[Truncating, Single, u64], memory to_int_rm[Truncating, Single, u64];
    Cvttsd2si_r32_xmmm64 => register to_int_rr[Truncating, Double, u32], memory to_int_rm[Truncating, Double, u32];
    Cvttsd2si_r64_xmmm64 => register to_int_rr[Truncating, Double, u64], memory to_int_rm[Truncating, Double, u64];
    Cvtss2sd_xmm_xmmm32 => register resize_rr[Single, Double], memory resize_rm[Single, Double];
    Cvtsd2ss_xmm_xmmm64 => register resize_rr[Double, Single], memory resize_rm[Double, Single];
    Cvtps2pd_xmm_xmmm64 => call xmm[Widen], call_memory memory[Widen];
    Cvtpd2ps_xmm_xmmm128 => call xmm[Narrow], call_memory memory[Narrow];
    Cvtdq2ps_xmm_xmmm128 => call xmm[IntsToSingles], call_memory memory[IntsToSingles];
    Cvtdq2pd_xmm_xmmm64 => call xmm[IntsToDoubles], call_memory memory[IntsToDoubles];
    Cvtps2dq_xmm_xmmm128 => call xmm[SinglesToInts<Current>], call_memory memory[SinglesToInts<Current>];
    Cvttps2dq_xmm_xmmm128 => call xmm[SinglesToInts<Truncating>], call_memory memory[SinglesToInts<Truncating>];
    Cvtpd2dq_xmm_xmmm128 => call xmm[DoublesToInts<Current>], call_memory memory[DoublesToInts<Current>];
    Cvttpd2dq_xmm_xmmm128 => call xmm[DoublesToInts<Truncating>], call_memory memory[DoublesToInts<Truncating>];
    Cvtpi2ps_xmm_mmm64 => call mmx[TwoIntsToSingles], call_memory memory[TwoIntsToSingles];
    Cvtpi2pd_xmm_mmm64 => call mmx[IntsToDoubles], call_memory memory[IntsToDoubles];
    Cvtps2pi_mm_xmmm64 => call xmm[SinglesToMmx<Current>], call_memory memory[SinglesToMmx<Current>];
    Cvttps2pi_mm_xmmm64 => call xmm[SinglesToMmx<Truncating>], call_memory memory[SinglesToMmx<Truncating>];
    Cvtpd2pi_mm_xmmm128 => call xmm[DoublesToMmx<Current>], call_memory memory[DoublesToMmx<Current>];
    Cvttpd2pi_mm_xmmm128 => call xmm[DoublesToMmx<Truncating>], call_memory memory[DoublesToMmx<Truncating>];
}
