//! Moves of integers: MOV, MOVZX, MOVSX, LEA, XCHG, CMOVcc, SETcc, BSWAP, sign extensions, XLAT.

use super::flow::{Cc, Cond};
use super::path::{EffectiveAddress, Path};
use super::row::rows;
use crate::cpu::{Condition, Word, slot};
use crate::decode::{AddressMode, Op};
use crate::vcpu::Vcpu;

#[inline(always)]
fn mov_rr<W: Word>(cx: &mut Vcpu, op: &Op) {
    W::read(&cx.regs, op.b).write(&mut cx.regs, op.a);
}

#[inline(always)]
fn mov_ri<W: Word>(cx: &mut Vcpu, op: &Op) {
    W::truncate(op.immediate).write(&mut cx.regs, op.a);
}

#[inline(always)]
fn mov_rm<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    P::load::<W>(cx, op.segment, E::linear(cx, op))?.write(&mut cx.regs, op.a);
    Ok(())
}

#[inline(always)]
fn mov_mr<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    P::store(cx, op.segment, E::linear(cx, op), W::read(&cx.regs, op.a))
}

#[inline(always)]
fn mov_mi<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    P::store(cx, op.segment, E::linear(cx, op), W::truncate(op.immediate))
}

/// Address of a MOV with an absolute offset, which may be 64 bits wide.
#[inline(always)]
fn absolute<E: EffectiveAddress>(cx: &Vcpu, op: &Op) -> u64 {
    E::linear(cx, op).wrapping_add(op.immediate)
}

#[inline(always)]
fn mov_from_offset<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    P::load::<W>(cx, op.segment, absolute::<E>(cx, op))?.write(&mut cx.regs, slot::RAX);
    Ok(())
}

#[inline(always)]
fn mov_to_offset<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    P::store(cx, op.segment, absolute::<E>(cx, op), W::read(&cx.regs, slot::RAX))
}

#[inline(always)]
fn movzx_rr<W: Word, S: Word>(cx: &mut Vcpu, op: &Op) {
    W::truncate(S::read(&cx.regs, op.b).zero_extend()).write(&mut cx.regs, op.a);
}

#[inline(always)]
fn movzx_rm<W: Word, S: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let value = P::load::<S>(cx, op.segment, E::linear(cx, op))?;
    W::truncate(value.zero_extend()).write(&mut cx.regs, op.a);
    Ok(())
}

#[inline(always)]
fn movsx_rr<W: Word, S: Word>(cx: &mut Vcpu, op: &Op) {
    W::truncate(S::read(&cx.regs, op.b).sign_extend() as u64).write(&mut cx.regs, op.a);
}

#[inline(always)]
fn movsx_rm<W: Word, S: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let value = P::load::<S>(cx, op.segment, E::linear(cx, op))?;
    W::truncate(value.sign_extend() as u64).write(&mut cx.regs, op.a);
    Ok(())
}

/// LEA: the offset, without a segment.
#[inline(always)]
fn lea<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    W::truncate(E::offset(cx, op)).write(&mut cx.regs, op.a);
    Ok(())
}

#[inline(always)]
fn xchg_rr<W: Word>(cx: &mut Vcpu, op: &Op) {
    let (first, second) = (W::read(&cx.regs, op.a), W::read(&cx.regs, op.b));
    second.write(&mut cx.regs, op.a);
    first.write(&mut cx.regs, op.b);
}

#[inline(always)]
fn xchg_mr<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let new = W::read(&cx.regs, op.a);
    let old = P::modify::<W, _>(cx, op.segment, E::linear(cx, op), |old| (new, old))?;
    old.write(&mut cx.regs, op.a);
    Ok(())
}

/// CMOVcc; a 32-bit destination loses its upper half even when nothing is moved.
#[inline(always)]
fn cmov_rr<W: Word, C: Cond>(cx: &mut Vcpu, op: &Op) {
    let source = if Condition::holds(C::CODE, &cx.flags) { op.b } else { op.a };
    W::read(&cx.regs, source).write(&mut cx.regs, op.a);
}

#[inline(always)]
fn cmov_rm<W: Word, C: Cond, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let value = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    let chosen = if Condition::holds(C::CODE, &cx.flags) { value } else { W::read(&cx.regs, op.a) };
    chosen.write(&mut cx.regs, op.a);
    Ok(())
}

#[inline(always)]
fn set_r<C: Cond>(cx: &mut Vcpu, op: &Op) {
    let value = u8::from(Condition::holds(C::CODE, &cx.flags));
    value.write(&mut cx.regs, op.a);
}

#[inline(always)]
fn set_m<C: Cond, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let value = u8::from(Condition::holds(C::CODE, &cx.flags));
    P::store(cx, op.segment, E::linear(cx, op), value)
}

/// CBW, CWDE, CDQE.
#[inline(always)]
fn extend_accumulator<S: Word, W: Word>(cx: &mut Vcpu, _: &Op) {
    W::truncate(S::read(&cx.regs, slot::RAX).sign_extend() as u64).write(&mut cx.regs, slot::RAX);
}

/// CWD, CDQ, CQO.
#[inline(always)]
fn fill_upper<W: Word>(cx: &mut Vcpu, _: &Op) {
    W::truncate((W::read(&cx.regs, slot::RAX).sign_extend() >> 63) as u64).write(&mut cx.regs, slot::RDX);
}

/// BSWAP of a 16-bit register is undefined; processors clear it.
fn bswap16(cx: &mut Vcpu, op: &Op) {
    0u16.write(&mut cx.regs, op.a);
}

fn bswap32(cx: &mut Vcpu, op: &Op) {
    u32::read(&cx.regs, op.a).swap_bytes().write(&mut cx.regs, op.a);
}

fn bswap64(cx: &mut Vcpu, op: &Op) {
    cx.regs[op.a] = cx.regs[op.a].swap_bytes();
}

/// XLAT: AL is added to (R/E)BX within the address size.
fn xlat<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let offset = E::offset(cx, op).wrapping_add(cx.regs[slot::RAX] & 0xff) & AddressMode::offset_mask(op.scale);
    let linear = cx.regs[op.segment].wrapping_add(offset) & AddressMode::linear_mask(op.scale);
    P::load::<u8>(cx, op.segment, linear)?.write(&mut cx.regs, slot::RAX);
    Ok(())
}

rows! {
    Mov_rm8_r8 => register mov_rr[u8], memory mov_mr[u8];
    Mov_r8_rm8 => register mov_rr[u8], memory mov_rm[u8];
    Mov_r8_imm8 => register mov_ri[u8];
    Mov_rm8_imm8 => register mov_ri[u8], memory mov_mi[u8];
    Mov_AL_moffs8 => memory mov_from_offset[u8];
    Mov_moffs8_AL => memory mov_to_offset[u8];
    Xchg_rm8_r8 => register xchg_rr[u8], memory xchg_mr[u8];
    Mov_rm16_r16 => register mov_rr[u16], memory mov_mr[u16];
    Mov_r16_rm16 => register mov_rr[u16], memory mov_rm[u16];
    Mov_r16_imm16 => register mov_ri[u16];
    Mov_rm16_imm16 => register mov_ri[u16], memory mov_mi[u16];
    Mov_AX_moffs16 => memory mov_from_offset[u16];
    Mov_moffs16_AX => memory mov_to_offset[u16];
    Xchg_rm16_r16 => register xchg_rr[u16], memory xchg_mr[u16];
    Mov_rm32_r32 => register mov_rr[u32], memory mov_mr[u32];
    Mov_r32_rm32 => register mov_rr[u32], memory mov_rm[u32];
    Mov_r32_imm32 => register mov_ri[u32];
    Mov_rm32_imm32 => register mov_ri[u32], memory mov_mi[u32];
    Mov_EAX_moffs32 => memory mov_from_offset[u32];
    Mov_moffs32_EAX => memory mov_to_offset[u32];
    Xchg_rm32_r32 => register xchg_rr[u32], memory xchg_mr[u32];
    Mov_rm64_r64 => register mov_rr[u64], memory mov_mr[u64];
    Mov_r64_rm64 => register mov_rr[u64], memory mov_rm[u64];
    Mov_r64_imm64 => register mov_ri[u64];
    Mov_rm64_imm32 => register mov_ri[u64], memory mov_mi[u64];
    Mov_RAX_moffs64 => memory mov_from_offset[u64];
    Mov_moffs64_RAX => memory mov_to_offset[u64];
    Xchg_rm64_r64 => register xchg_rr[u64], memory xchg_mr[u64];
    Xchg_r16_AX => register xchg_rr[u16];
    Lea_r16_m => memory lea[u16];
    Movzx_r16_rm8 => register movzx_rr[u16, u8], memory movzx_rm[u16, u8];
    Movsx_r16_rm8 => register movsx_rr[u16, u8], memory movsx_rm[u16, u8];
    Movzx_r16_rm16 => register movzx_rr[u16, u16], memory movzx_rm[u16, u16];
    Movsx_r16_rm16 => register movsx_rr[u16, u16], memory movsx_rm[u16, u16];
    Cmovo_r16_rm16 => register cmov_rr[u16, Cc<0>], memory cmov_rm[u16, Cc<0>];
    Cmovno_r16_rm16 => register cmov_rr[u16, Cc<1>], memory cmov_rm[u16, Cc<1>];
    Cmovb_r16_rm16 => register cmov_rr[u16, Cc<2>], memory cmov_rm[u16, Cc<2>];
    Cmovae_r16_rm16 => register cmov_rr[u16, Cc<3>], memory cmov_rm[u16, Cc<3>];
    Cmove_r16_rm16 => register cmov_rr[u16, Cc<4>], memory cmov_rm[u16, Cc<4>];
    Cmovne_r16_rm16 => register cmov_rr[u16, Cc<5>], memory cmov_rm[u16, Cc<5>];
    Cmovbe_r16_rm16 => register cmov_rr[u16, Cc<6>], memory cmov_rm[u16, Cc<6>];
    Cmova_r16_rm16 => register cmov_rr[u16, Cc<7>], memory cmov_rm[u16, Cc<7>];
    Cmovs_r16_rm16 => register cmov_rr[u16, Cc<8>], memory cmov_rm[u16, Cc<8>];
    Cmovns_r16_rm16 => register cmov_rr[u16, Cc<9>], memory cmov_rm[u16, Cc<9>];
    Cmovp_r16_rm16 => register cmov_rr[u16, Cc<10>], memory cmov_rm[u16, Cc<10>];
    Cmovnp_r16_rm16 => register cmov_rr[u16, Cc<11>], memory cmov_rm[u16, Cc<11>];
    Cmovl_r16_rm16 => register cmov_rr[u16, Cc<12>], memory cmov_rm[u16, Cc<12>];
    Cmovge_r16_rm16 => register cmov_rr[u16, Cc<13>], memory cmov_rm[u16, Cc<13>];
    Cmovle_r16_rm16 => register cmov_rr[u16, Cc<14>], memory cmov_rm[u16, Cc<14>];
    Cmovg_r16_rm16 => register cmov_rr[u16, Cc<15>], memory cmov_rm[u16, Cc<15>];
    Xchg_r32_EAX => register xchg_rr[u32];
    Lea_r32_m => memory lea[u32];
    Movzx_r32_rm8 => register movzx_rr[u32, u8], memory movzx_rm[u32, u8];
    Movsx_r32_rm8 => register movsx_rr[u32, u8], memory movsx_rm[u32, u8];
    Movzx_r32_rm16 => register movzx_rr[u32, u16], memory movzx_rm[u32, u16];
    Movsx_r32_rm16 => register movsx_rr[u32, u16], memory movsx_rm[u32, u16];
    Cmovo_r32_rm32 => register cmov_rr[u32, Cc<0>], memory cmov_rm[u32, Cc<0>];
    Cmovno_r32_rm32 => register cmov_rr[u32, Cc<1>], memory cmov_rm[u32, Cc<1>];
    Cmovb_r32_rm32 => register cmov_rr[u32, Cc<2>], memory cmov_rm[u32, Cc<2>];
    Cmovae_r32_rm32 => register cmov_rr[u32, Cc<3>], memory cmov_rm[u32, Cc<3>];
    Cmove_r32_rm32 => register cmov_rr[u32, Cc<4>], memory cmov_rm[u32, Cc<4>];
    Cmovne_r32_rm32 => register cmov_rr[u32, Cc<5>], memory cmov_rm[u32, Cc<5>];
    Cmovbe_r32_rm32 => register cmov_rr[u32, Cc<6>], memory cmov_rm[u32, Cc<6>];
    Cmova_r32_rm32 => register cmov_rr[u32, Cc<7>], memory cmov_rm[u32, Cc<7>];
    Cmovs_r32_rm32 => register cmov_rr[u32, Cc<8>], memory cmov_rm[u32, Cc<8>];
    Cmovns_r32_rm32 => register cmov_rr[u32, Cc<9>], memory cmov_rm[u32, Cc<9>];
    Cmovp_r32_rm32 => register cmov_rr[u32, Cc<10>], memory cmov_rm[u32, Cc<10>];
    Cmovnp_r32_rm32 => register cmov_rr[u32, Cc<11>], memory cmov_rm[u32, Cc<11>];
    Cmovl_r32_rm32 => register cmov_rr[u32, Cc<12>], memory cmov_rm[u32, Cc<12>];
    Cmovge_r32_rm32 => register cmov_rr[u32, Cc<13>], memory cmov_rm[u32, Cc<13>];
    Cmovle_r32_rm32 => register cmov_rr[u32, Cc<14>], memory cmov_rm[u32, Cc<14>];
    Cmovg_r32_rm32 => register cmov_rr[u32, Cc<15>], memory cmov_rm[u32, Cc<15>];
    Xchg_r64_RAX => register xchg_rr[u64];
    Lea_r64_m => memory lea[u64];
    Movzx_r64_rm8 => register movzx_rr[u64, u8], memory movzx_rm[u64, u8];
    Movsx_r64_rm8 => register movsx_rr[u64, u8], memory movsx_rm[u64, u8];
    Movzx_r64_rm16 => register movzx_rr[u64, u16], memory movzx_rm[u64, u16];
    Movsx_r64_rm16 => register movsx_rr[u64, u16], memory movsx_rm[u64, u16];
    Cmovo_r64_rm64 => register cmov_rr[u64, Cc<0>], memory cmov_rm[u64, Cc<0>];
    Cmovno_r64_rm64 => register cmov_rr[u64, Cc<1>], memory cmov_rm[u64, Cc<1>];
    Cmovb_r64_rm64 => register cmov_rr[u64, Cc<2>], memory cmov_rm[u64, Cc<2>];
    Cmovae_r64_rm64 => register cmov_rr[u64, Cc<3>], memory cmov_rm[u64, Cc<3>];
    Cmove_r64_rm64 => register cmov_rr[u64, Cc<4>], memory cmov_rm[u64, Cc<4>];
    Cmovne_r64_rm64 => register cmov_rr[u64, Cc<5>], memory cmov_rm[u64, Cc<5>];
    Cmovbe_r64_rm64 => register cmov_rr[u64, Cc<6>], memory cmov_rm[u64, Cc<6>];
    Cmova_r64_rm64 => register cmov_rr[u64, Cc<7>], memory cmov_rm[u64, Cc<7>];
    Cmovs_r64_rm64 => register cmov_rr[u64, Cc<8>], memory cmov_rm[u64, Cc<8>];
    Cmovns_r64_rm64 => register cmov_rr[u64, Cc<9>], memory cmov_rm[u64, Cc<9>];
    Cmovp_r64_rm64 => register cmov_rr[u64, Cc<10>], memory cmov_rm[u64, Cc<10>];
    Cmovnp_r64_rm64 => register cmov_rr[u64, Cc<11>], memory cmov_rm[u64, Cc<11>];
    Cmovl_r64_rm64 => register cmov_rr[u64, Cc<12>], memory cmov_rm[u64, Cc<12>];
    Cmovge_r64_rm64 => register cmov_rr[u64, Cc<13>], memory cmov_rm[u64, Cc<13>];
    Cmovle_r64_rm64 => register cmov_rr[u64, Cc<14>], memory cmov_rm[u64, Cc<14>];
    Cmovg_r64_rm64 => register cmov_rr[u64, Cc<15>], memory cmov_rm[u64, Cc<15>];
    Movsxd_r16_rm16 => register mov_rr[u16], memory mov_rm[u16];
    Movsxd_r32_rm32 => register mov_rr[u32], memory mov_rm[u32];
    Movsxd_r64_rm32 => register movsx_rr[u64, u32], memory movsx_rm[u64, u32];
    Seto_rm8 => register set_r[Cc<0>], memory set_m[Cc<0>];
    Setno_rm8 => register set_r[Cc<1>], memory set_m[Cc<1>];
    Setb_rm8 => register set_r[Cc<2>], memory set_m[Cc<2>];
    Setae_rm8 => register set_r[Cc<3>], memory set_m[Cc<3>];
    Sete_rm8 => register set_r[Cc<4>], memory set_m[Cc<4>];
    Setne_rm8 => register set_r[Cc<5>], memory set_m[Cc<5>];
    Setbe_rm8 => register set_r[Cc<6>], memory set_m[Cc<6>];
    Seta_rm8 => register set_r[Cc<7>], memory set_m[Cc<7>];
    Sets_rm8 => register set_r[Cc<8>], memory set_m[Cc<8>];
    Setns_rm8 => register set_r[Cc<9>], memory set_m[Cc<9>];
    Setp_rm8 => register set_r[Cc<10>], memory set_m[Cc<10>];
    Setnp_rm8 => register set_r[Cc<11>], memory set_m[Cc<11>];
    Setl_rm8 => register set_r[Cc<12>], memory set_m[Cc<12>];
    Setge_rm8 => register set_r[Cc<13>], memory set_m[Cc<13>];
    Setle_rm8 => register set_r[Cc<14>], memory set_m[Cc<14>];
    Setg_rm8 => register set_r[Cc<15>], memory set_m[Cc<15>];
    Cbw => register extend_accumulator[u8, u16];
    Cwde => register extend_accumulator[u16, u32];
    Cdqe => register extend_accumulator[u32, u64];
    Cwd => register fill_upper[u16];
    Cdq => register fill_upper[u32];
    Cqo => register fill_upper[u64];
    Bswap_r16 => register bswap16;
    Bswap_r32 => register bswap32;
    Bswap_r64 => register bswap64;
    Xlat_m8 => memory xlat;
}
