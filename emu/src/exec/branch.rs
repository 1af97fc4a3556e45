//! Jumps, calls and returns within a code segment.

use super::flow::{Cc, Cond, check_direct, check_limit, conditional, direct, looked_up, retire};
use super::path::{EffectiveAddress, Path};
use super::retire::Flow;
use super::row::rows;
use super::stack::{peek, push, set_stack_pointer, stack_pointer};
use crate::cache::Slot;
use crate::cpu::{Condition, Exception, Word, is_canonical, slot};
use crate::decode::Op;
use crate::vcpu::Vcpu;

fn jmp<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, slot: *const Slot) -> Result<Flow, P::Error> {
    check_direct::<W, P>(cx, slot)?;
    // SAFETY: the dispatcher hands over a valid slot.
    retire(cx, unsafe { &(*slot).op });
    Ok(direct::<W>(cx, slot))
}

#[inline(always)]
fn jump_if_taken<W: Word, P: Path>(cx: &mut Vcpu, slot: *const Slot, taken: bool) -> Result<Flow, P::Error> {
    if taken {
        check_direct::<W, P>(cx, slot)?;
    }
    Ok(conditional::<W>(cx, slot, taken))
}

fn jcc<W: Word, C: Cond, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, slot: *const Slot) -> Result<Flow, P::Error> {
    let taken = Condition::holds(C::CODE, &cx.flags);
    jump_if_taken::<W, P>(cx, slot, taken)
}

/// JCXZ, JECXZ, JRCXZ: `C` is the width of the counter.
fn jrcxz<W: Word, C: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, slot: *const Slot) -> Result<Flow, P::Error> {
    let taken = C::read(&cx.regs, slot::RCX).zero_extend() == 0;
    jump_if_taken::<W, P>(cx, slot, taken)
}

/// Counts RCX down, and jumps if it is not 0 then and `wanted`.
#[inline(always)]
fn count_down<W: Word, C: Word, P: Path>(cx: &mut Vcpu, slot: *const Slot, wanted: bool) -> Result<Flow, P::Error> {
    let count = C::truncate(C::read(&cx.regs, slot::RCX).zero_extend().wrapping_sub(1));
    let taken = wanted && count.zero_extend() != 0;
    if taken {
        check_direct::<W, P>(cx, slot)?;
    }
    count.write(&mut cx.regs, slot::RCX);
    Ok(conditional::<W>(cx, slot, taken))
}

fn loop_<W: Word, C: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, slot: *const Slot) -> Result<Flow, P::Error> {
    count_down::<W, C, P>(cx, slot, true)
}

fn loope<W: Word, C: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, slot: *const Slot) -> Result<Flow, P::Error> {
    let wanted = cx.flags.zero();
    count_down::<W, C, P>(cx, slot, wanted)
}

fn loopne<W: Word, C: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, slot: *const Slot) -> Result<Flow, P::Error> {
    let wanted = !cx.flags.zero();
    count_down::<W, C, P>(cx, slot, wanted)
}

#[inline(always)]
fn push_return<W: Word, P: Path>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let back = W::truncate(cx.regs[slot::BLOCK].wrapping_add(op.end()));
    push::<W, P>(cx, back)
}

/// Pushes the return address of a call to `target`. If that is no address, the call raises #GP with the stack pointer where it was, but the return
/// address is in memory.
#[inline(always)]
fn push_return_to<W: Word, P: Path>(cx: &mut Vcpu, op: &Op, target: u64) -> Result<(), P::Error> {
    let before = cx.regs[slot::RSP];
    if !P::SLOW || W::BITS != 64 {
        check_target::<W, P>(cx, target)?;
    }
    push_return::<W, P>(cx, op)?;
    if P::SLOW {
        check_target::<W, P>(cx, target).inspect_err(|_| cx.regs[slot::RSP] = before)?;
    }
    Ok(())
}

fn call<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, slot: *const Slot) -> Result<Flow, P::Error> {
    // SAFETY: the dispatcher hands over a valid slot.
    let op = unsafe { &(*slot).op };
    check_direct::<W, P>(cx, slot)?;
    push_return::<W, P>(cx, op)?;
    retire(cx, op);
    Ok(direct::<W>(cx, slot))
}

/// Checks the target of an indirect branch before anything is committed.
#[inline(always)]
fn check_target<W: Word, P: Path>(cx: &Vcpu, target: u64) -> Result<(), P::Error> {
    check_limit::<W, P>(cx, target)?;
    // A known way leads to a canonical address.
    if is_canonical(target) || cx.cache.find(target).is_some() { Ok(()) } else { Err(P::raise(Exception::GP0)) }
}

fn jmp_register<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, slot: *const Slot) -> Result<Flow, P::Error> {
    // SAFETY: the dispatcher hands over a valid slot.
    let op = unsafe { &(*slot).op };
    let target = W::read(&cx.regs, op.a).zero_extend();
    check_target::<W, P>(cx, target)?;
    retire(cx, op);
    Ok(looked_up(cx, target))
}

fn jmp_memory<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, slot: *const Slot) -> Result<Flow, P::Error> {
    // SAFETY: the dispatcher hands over a valid slot.
    let op = unsafe { &(*slot).op };
    let target = P::load::<W>(cx, op.segment, E::linear(cx, op))?.zero_extend();
    check_target::<W, P>(cx, target)?;
    retire(cx, op);
    Ok(looked_up(cx, target))
}

fn call_register<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, slot: *const Slot) -> Result<Flow, P::Error> {
    // SAFETY: the dispatcher hands over a valid slot.
    let op = unsafe { &(*slot).op };
    let target = W::read(&cx.regs, op.a).zero_extend();
    push_return_to::<W, P>(cx, op, target)?;
    retire(cx, op);
    Ok(looked_up(cx, target))
}

fn call_memory<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, slot: *const Slot) -> Result<Flow, P::Error> {
    // SAFETY: the dispatcher hands over a valid slot.
    let op = unsafe { &(*slot).op };
    let target = P::load::<W>(cx, op.segment, E::linear(cx, op))?.zero_extend();
    push_return_to::<W, P>(cx, op, target)?;
    retire(cx, op);
    Ok(looked_up(cx, target))
}

/// RET, with the bytes of parameters to drop as immediate.
fn ret<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, slot: *const Slot) -> Result<Flow, P::Error> {
    // SAFETY: the dispatcher hands over a valid slot.
    let op = unsafe { &(*slot).op };
    let target = peek::<W, P>(cx)?.zero_extend();
    check_target::<W, P>(cx, target)?;
    let above = stack_pointer::<W>(cx, W::BYTES + op.immediate);
    set_stack_pointer::<W>(cx, above);
    retire(cx, op);
    Ok(looked_up(cx, target))
}

rows! {
    Jmp_rel8_16 => branch jmp[u16];
    Jmp_rel8_32 => branch jmp[u32];
    Jmp_rel8_64 => branch jmp[u64];
    Jmp_rel16 => branch jmp[u16];
    Jmp_rel32_32 => branch jmp[u32];
    Jmp_rel32_64 => branch jmp[u64];
    Jmp_rm16 => branch jmp_register[u16], branch_memory jmp_memory[u16];
    Jmp_rm32 => branch jmp_register[u32], branch_memory jmp_memory[u32];
    Jmp_rm64 => branch jmp_register[u64], branch_memory jmp_memory[u64];
    Call_rel16 => branch call[u16];
    Call_rel32_32 => branch call[u32];
    Call_rel32_64 => branch call[u64];
    Call_rm16 => branch call_register[u16], branch_memory call_memory[u16];
    Call_rm32 => branch call_register[u32], branch_memory call_memory[u32];
    Call_rm64 => branch call_register[u64], branch_memory call_memory[u64];
    Retnw => branch ret[u16];
    Retnd => branch ret[u32];
    Retnq => branch ret[u64];
    Retnw_imm16 => branch ret[u16];
    Retnd_imm16 => branch ret[u32];
    Retnq_imm16 => branch ret[u64];
    Jcxz_rel8_16 => branch jrcxz[u16, u16];
    Jcxz_rel8_32 => branch jrcxz[u32, u16];
    Jecxz_rel8_16 => branch jrcxz[u16, u32];
    Jecxz_rel8_32 => branch jrcxz[u32, u32];
    Jecxz_rel8_64 => branch jrcxz[u64, u32];
    Jrcxz_rel8_64 => branch jrcxz[u64, u64];
    Loop_rel8_16_CX => branch loop_[u16, u16];
    Loop_rel8_32_CX => branch loop_[u32, u16];
    Loop_rel8_16_ECX => branch loop_[u16, u32];
    Loop_rel8_32_ECX => branch loop_[u32, u32];
    Loop_rel8_64_ECX => branch loop_[u64, u32];
    Loop_rel8_64_RCX => branch loop_[u64, u64];
    Loope_rel8_16_CX => branch loope[u16, u16];
    Loope_rel8_32_CX => branch loope[u32, u16];
    Loope_rel8_16_ECX => branch loope[u16, u32];
    Loope_rel8_32_ECX => branch loope[u32, u32];
    Loope_rel8_64_ECX => branch loope[u64, u32];
    Loope_rel8_64_RCX => branch loope[u64, u64];
    Loopne_rel8_16_CX => branch loopne[u16, u16];
    Loopne_rel8_32_CX => branch loopne[u32, u16];
    Loopne_rel8_16_ECX => branch loopne[u16, u32];
    Loopne_rel8_32_ECX => branch loopne[u32, u32];
    Loopne_rel8_64_ECX => branch loopne[u64, u32];
    Loopne_rel8_64_RCX => branch loopne[u64, u64];
    Jo_rel8_16 => branch jcc[u16, Cc<0>];
    Jno_rel8_16 => branch jcc[u16, Cc<1>];
    Jb_rel8_16 => branch jcc[u16, Cc<2>];
    Jae_rel8_16 => branch jcc[u16, Cc<3>];
    Je_rel8_16 => branch jcc[u16, Cc<4>];
    Jne_rel8_16 => branch jcc[u16, Cc<5>];
    Jbe_rel8_16 => branch jcc[u16, Cc<6>];
    Ja_rel8_16 => branch jcc[u16, Cc<7>];
    Js_rel8_16 => branch jcc[u16, Cc<8>];
    Jns_rel8_16 => branch jcc[u16, Cc<9>];
    Jp_rel8_16 => branch jcc[u16, Cc<10>];
    Jnp_rel8_16 => branch jcc[u16, Cc<11>];
    Jl_rel8_16 => branch jcc[u16, Cc<12>];
    Jge_rel8_16 => branch jcc[u16, Cc<13>];
    Jle_rel8_16 => branch jcc[u16, Cc<14>];
    Jg_rel8_16 => branch jcc[u16, Cc<15>];
    Jo_rel16 => branch jcc[u16, Cc<0>];
    Jno_rel16 => branch jcc[u16, Cc<1>];
    Jb_rel16 => branch jcc[u16, Cc<2>];
    Jae_rel16 => branch jcc[u16, Cc<3>];
    Je_rel16 => branch jcc[u16, Cc<4>];
    Jne_rel16 => branch jcc[u16, Cc<5>];
    Jbe_rel16 => branch jcc[u16, Cc<6>];
    Ja_rel16 => branch jcc[u16, Cc<7>];
    Js_rel16 => branch jcc[u16, Cc<8>];
    Jns_rel16 => branch jcc[u16, Cc<9>];
    Jp_rel16 => branch jcc[u16, Cc<10>];
    Jnp_rel16 => branch jcc[u16, Cc<11>];
    Jl_rel16 => branch jcc[u16, Cc<12>];
    Jge_rel16 => branch jcc[u16, Cc<13>];
    Jle_rel16 => branch jcc[u16, Cc<14>];
    Jg_rel16 => branch jcc[u16, Cc<15>];
    Jo_rel8_32 => branch jcc[u32, Cc<0>];
    Jno_rel8_32 => branch jcc[u32, Cc<1>];
    Jb_rel8_32 => branch jcc[u32, Cc<2>];
    Jae_rel8_32 => branch jcc[u32, Cc<3>];
    Je_rel8_32 => branch jcc[u32, Cc<4>];
    Jne_rel8_32 => branch jcc[u32, Cc<5>];
    Jbe_rel8_32 => branch jcc[u32, Cc<6>];
    Ja_rel8_32 => branch jcc[u32, Cc<7>];
    Js_rel8_32 => branch jcc[u32, Cc<8>];
    Jns_rel8_32 => branch jcc[u32, Cc<9>];
    Jp_rel8_32 => branch jcc[u32, Cc<10>];
    Jnp_rel8_32 => branch jcc[u32, Cc<11>];
    Jl_rel8_32 => branch jcc[u32, Cc<12>];
    Jge_rel8_32 => branch jcc[u32, Cc<13>];
    Jle_rel8_32 => branch jcc[u32, Cc<14>];
    Jg_rel8_32 => branch jcc[u32, Cc<15>];
    Jo_rel32_32 => branch jcc[u32, Cc<0>];
    Jno_rel32_32 => branch jcc[u32, Cc<1>];
    Jb_rel32_32 => branch jcc[u32, Cc<2>];
    Jae_rel32_32 => branch jcc[u32, Cc<3>];
    Je_rel32_32 => branch jcc[u32, Cc<4>];
    Jne_rel32_32 => branch jcc[u32, Cc<5>];
    Jbe_rel32_32 => branch jcc[u32, Cc<6>];
    Ja_rel32_32 => branch jcc[u32, Cc<7>];
    Js_rel32_32 => branch jcc[u32, Cc<8>];
    Jns_rel32_32 => branch jcc[u32, Cc<9>];
    Jp_rel32_32 => branch jcc[u32, Cc<10>];
    Jnp_rel32_32 => branch jcc[u32, Cc<11>];
    Jl_rel32_32 => branch jcc[u32, Cc<12>];
    Jge_rel32_32 => branch jcc[u32, Cc<13>];
    Jle_rel32_32 => branch jcc[u32, Cc<14>];
    Jg_rel32_32 => branch jcc[u32, Cc<15>];
    Jo_rel8_64 => branch jcc[u64, Cc<0>];
    Jno_rel8_64 => branch jcc[u64, Cc<1>];
    Jb_rel8_64 => branch jcc[u64, Cc<2>];
    Jae_rel8_64 => branch jcc[u64, Cc<3>];
    Je_rel8_64 => branch jcc[u64, Cc<4>];
    Jne_rel8_64 => branch jcc[u64, Cc<5>];
    Jbe_rel8_64 => branch jcc[u64, Cc<6>];
    Ja_rel8_64 => branch jcc[u64, Cc<7>];
    Js_rel8_64 => branch jcc[u64, Cc<8>];
    Jns_rel8_64 => branch jcc[u64, Cc<9>];
    Jp_rel8_64 => branch jcc[u64, Cc<10>];
    Jnp_rel8_64 => branch jcc[u64, Cc<11>];
    Jl_rel8_64 => branch jcc[u64, Cc<12>];
    Jge_rel8_64 => branch jcc[u64, Cc<13>];
    Jle_rel8_64 => branch jcc[u64, Cc<14>];
    Jg_rel8_64 => branch jcc[u64, Cc<15>];
    Jo_rel32_64 => branch jcc[u64, Cc<0>];
    Jno_rel32_64 => branch jcc[u64, Cc<1>];
    Jb_rel32_64 => branch jcc[u64, Cc<2>];
    Jae_rel32_64 => branch jcc[u64, Cc<3>];
    Je_rel32_64 => branch jcc[u64, Cc<4>];
    Jne_rel32_64 => branch jcc[u64, Cc<5>];
    Jbe_rel32_64 => branch jcc[u64, Cc<6>];
    Ja_rel32_64 => branch jcc[u64, Cc<7>];
    Js_rel32_64 => branch jcc[u64, Cc<8>];
    Jns_rel32_64 => branch jcc[u64, Cc<9>];
    Jp_rel32_64 => branch jcc[u64, Cc<10>];
    Jnp_rel32_64 => branch jcc[u64, Cc<11>];
    Jl_rel32_64 => branch jcc[u64, Cc<12>];
    Jge_rel32_64 => branch jcc[u64, Cc<13>];
    Jle_rel32_64 => branch jcc[u64, Cc<14>];
    Jg_rel32_64 => branch jcc[u64, Cc<15>];
}
