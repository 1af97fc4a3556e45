//! Instructions that change nothing: NOP in its many forms, prefetches, fences; and those that exist to raise an exception.

use super::segment::part;
use super::table::rows;
use super::{EffectiveAddress, Path};
use crate::cpu::{Exception, Vector, Word};
use crate::decode::Op;
use crate::vcpu::Vcpu;

#[inline(always)]
fn nop(_: &mut Vcpu, _: &Op) {}

/// A memory operand that is not touched.
#[inline(always)]
fn nop_memory<P: Path, E: EffectiveAddress>(_: &mut Vcpu, _: &Op) -> Result<(), P::Error> {
    Ok(())
}

/// CLFLUSH is checked as a load is.
fn clflush<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    P::load::<u8>(cx, op.segment, E::linear(cx, op)).map(drop)
}

fn undefined(_: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    Err(Exception::INVALID_OPCODE)
}

fn undefined_memory<P: Path, E: EffectiveAddress>(_: &mut Vcpu, _: &Op) -> Result<(), P::Error> {
    Err(P::raise(Exception::INVALID_OPCODE))
}

fn bound<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    const OUT_OF_RANGE: Exception = Exception { vector: Vector::BoundRange, error_code: None, address: 0 };
    let lower = P::load::<W>(cx, op.segment, part(cx, op, 0))?.sign_extend();
    let upper = P::load::<W>(cx, op.segment, part(cx, op, W::BYTES))?.sign_extend();
    let index = W::read(&cx.regs, op.a).sign_extend();
    if (lower..=upper).contains(&index) { Ok(()) } else { Err(P::raise(OUT_OF_RANGE)) }
}

rows! {
    Nopw => register nop;
    Nopd => register nop;
    Nopq => register nop;
    Nop_rm16 => register nop, memory nop_memory;
    Nop_rm32 => register nop, memory nop_memory;
    Nop_rm64 => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F0D => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F0D => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F0D => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F18 => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F18 => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F18 => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F19 => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F19 => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F19 => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F1A => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F1A => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F1A => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F1B => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F1B => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F1B => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F1C => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F1C => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F1C => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F1D => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F1D => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F1D => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F1E => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F1E => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F1E => register nop, memory nop_memory;
    Reservednop_rm16_r16_0F1F => register nop, memory nop_memory;
    Reservednop_rm32_r32_0F1F => register nop, memory nop_memory;
    Reservednop_rm64_r64_0F1F => register nop, memory nop_memory;
    Pause => register nop;
    Endbr32 => register nop;
    Endbr64 => register nop;
    Rdsspd_r32 => register nop;
    Rdsspq_r64 => register nop;
    Cldemote_m8 => memory nop_memory;
    Prefetch_m8 => memory nop_memory;
    Prefetchw_m8 => memory nop_memory;
    Prefetchwt1_m8 => memory nop_memory;
    Prefetchnta_m8 => memory nop_memory;
    Prefetcht0_m8 => memory nop_memory;
    Prefetcht1_m8 => memory nop_memory;
    Prefetcht2_m8 => memory nop_memory;
    Prefetchreserved3_m8 => memory nop_memory;
    Prefetchreserved4_m8 => memory nop_memory;
    Prefetchreserved5_m8 => memory nop_memory;
    Prefetchreserved6_m8 => memory nop_memory;
    Prefetchreserved7_m8 => memory nop_memory;
    Prefetchit0_m8 => memory nop_memory;
    Prefetchit1_m8 => memory nop_memory;
    Clflush_m8 => memory clflush;
    Lfence => register nop;
    Lfence_E9 => register nop;
    Lfence_EA => register nop;
    Lfence_EB => register nop;
    Lfence_EC => register nop;
    Lfence_ED => register nop;
    Lfence_EE => register nop;
    Lfence_EF => register nop;
    Mfence => register nop;
    Mfence_F1 => register nop;
    Mfence_F2 => register nop;
    Mfence_F3 => register nop;
    Mfence_F4 => register nop;
    Mfence_F5 => register nop;
    Mfence_F6 => register nop;
    Mfence_F7 => register nop;
    Sfence => register nop;
    Sfence_F9 => register nop;
    Sfence_FA => register nop;
    Sfence_FB => register nop;
    Sfence_FC => register nop;
    Sfence_FD => register nop;
    Sfence_FE => register nop;
    Sfence_FF => register nop;
    Ud0 => register undefined;
    Ud0_r16_rm16 => register undefined, memory undefined_memory;
    Ud0_r32_rm32 => register undefined, memory undefined_memory;
    Ud0_r64_rm64 => register undefined, memory undefined_memory;
    Ud1_r16_rm16 => register undefined, memory undefined_memory;
    Ud1_r32_rm32 => register undefined, memory undefined_memory;
    Ud1_r64_rm64 => register undefined, memory undefined_memory;
    Ud2 => register undefined;
    Bound_r16_m1616 => memory bound[u16];
    Bound_r32_m3232 => memory bound[u32];
}
