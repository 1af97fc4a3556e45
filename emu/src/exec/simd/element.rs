//! Single lanes in and out: PINSR, PEXTR, INSERTPS, EXTRACTPS.

use super::lanes::{Vector, each};
use crate::cpu::{Exception, Word};
use crate::decode::Op;
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::vcpu::Vcpu;

/// The lane that the immediate means.
#[inline(always)]
fn index<V: Vector>(vector: &V, op: &Op) -> usize {
    op.immediate as usize % vector.as_ref().len()
}

#[inline(always)]
fn insert<V: Vector>(cx: &mut Vcpu, op: &Op, value: V::Lane) {
    let mut vector = V::read(cx, op.a);
    let index = index(&vector, op);
    vector.as_mut()[index] = value;
    vector.write(cx, op.a);
    V::end(cx);
}

/// PINSR from a general register.
fn pinsr_r<V: Vector<Lane: Word>>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    V::begin(cx)?;
    let value = V::Lane::truncate(cx.regs[op.b]);
    insert::<V>(cx, op, value);
    Ok(())
}

/// PINSR from memory.
fn pinsr_m<V: Vector<Lane: Word>, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    V::begin(cx).map_err(P::raise)?;
    let linear = E::linear(cx, op);
    let value = P::load(cx, op.segment, linear)?;
    insert::<V>(cx, op, value);
    Ok(())
}

/// PEXTR, EXTRACTPS to a general register.
fn pextr_r<V: Vector<Lane: Word>>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    V::begin(cx)?;
    let vector = V::read(cx, op.b);
    cx.regs[op.a] = vector.as_ref()[index(&vector, op)].zero_extend();
    V::end(cx);
    Ok(())
}

/// PEXTR, EXTRACTPS to memory; XMM registers only.
fn pextr_m<V: Vector<Lane: Word>, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    let vector = V::read(cx, op.a);
    P::store(cx, op.segment, linear, vector.as_ref()[index(&vector, op)])
}

/// INSERTPS: `value` where bits 4 and 5 of the immediate say, zeros where bits 0 to 3 say.
#[inline(always)]
fn insertps(mut vector: [u32; 4], value: u32, immediate: u8) -> [u32; 4] {
    vector[usize::from(immediate >> 4 & 3)] = value;
    each(|i| if immediate >> i & 1 != 0 { 0 } else { vector[i] })
}

fn insertps_r(cx: &mut Vcpu, op: &Op) {
    let immediate = op.immediate as u8;
    let value = <[u32; 4]>::read(cx, op.b)[usize::from(immediate >> 6)];
    insertps(Vector::read(cx, op.a), value, immediate).write(cx, op.a);
}

fn insertps_m<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    let value = P::load(cx, op.segment, linear)?;
    insertps(Vector::read(cx, op.a), value, op.immediate as u8).write(cx, op.a);
    Ok(())
}

rows! {
    Pinsrb_xmm_r32m8_imm8 => register pinsr_r[[u8; 16]], memory pinsr_m[[u8; 16]];
    Pinsrb_xmm_r64m8_imm8 => register pinsr_r[[u8; 16]], memory pinsr_m[[u8; 16]];
    Pinsrw_mm_r32m16_imm8 => register pinsr_r[[u16; 4]], memory pinsr_m[[u16; 4]];
    Pinsrw_mm_r64m16_imm8 => register pinsr_r[[u16; 4]], memory pinsr_m[[u16; 4]];
    Pinsrw_xmm_r32m16_imm8 => register pinsr_r[[u16; 8]], memory pinsr_m[[u16; 8]];
    Pinsrw_xmm_r64m16_imm8 => register pinsr_r[[u16; 8]], memory pinsr_m[[u16; 8]];
    Pinsrd_xmm_rm32_imm8 => register pinsr_r[[u32; 4]], memory pinsr_m[[u32; 4]];
    Pinsrq_xmm_rm64_imm8 => register pinsr_r[[u64; 2]], memory pinsr_m[[u64; 2]];
    Pextrb_r32m8_xmm_imm8 => register pextr_r[[u8; 16]], memory pextr_m[[u8; 16]];
    Pextrb_r64m8_xmm_imm8 => register pextr_r[[u8; 16]], memory pextr_m[[u8; 16]];
    Pextrw_r32_mm_imm8 => register pextr_r[[u16; 4]];
    Pextrw_r64_mm_imm8 => register pextr_r[[u16; 4]];
    Pextrw_r32_xmm_imm8 => register pextr_r[[u16; 8]];
    Pextrw_r64_xmm_imm8 => register pextr_r[[u16; 8]];
    Pextrw_r32m16_xmm_imm8 => register pextr_r[[u16; 8]], memory pextr_m[[u16; 8]];
    Pextrw_r64m16_xmm_imm8 => register pextr_r[[u16; 8]], memory pextr_m[[u16; 8]];
    Pextrd_rm32_xmm_imm8 => register pextr_r[[u32; 4]], memory pextr_m[[u32; 4]];
    Pextrq_rm64_xmm_imm8 => register pextr_r[[u64; 2]], memory pextr_m[[u64; 2]];
    Extractps_rm32_xmm_imm8 => register pextr_r[[u32; 4]], memory pextr_m[[u32; 4]];
    Extractps_r64m32_xmm_imm8 => register pextr_r[[u32; 4]], memory pextr_m[[u32; 4]];
    Insertps_xmm_xmmm32_imm8 => register insertps_r, memory insertps_m;
}
