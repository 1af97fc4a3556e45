//! The stack: PUSH, POP, PUSHA, POPA, ENTER, LEAVE.

use super::path::{EffectiveAddress, Path};
use super::row::rows;
use crate::cpu::{Exception, Word, slot};
use crate::decode::Op;
use crate::vcpu::Vcpu;

/// Linear address of stack offset `offset`.
#[inline(always)]
pub fn stack_linear(cx: &Vcpu, offset: u64) -> u64 {
    cx.regs[slot::SS].wrapping_add(offset)
}

/// The stack pointer `bytes` further on, wrapped as the stack's size asks. 64-bit slots are for 64-bit mode, where nothing wraps.
#[inline(always)]
pub fn stack_pointer<W: Word>(cx: &Vcpu, bytes: u64) -> u64 {
    let mask = if W::BITS == 64 { u64::MAX } else { cx.stack_mask() };
    cx.regs[slot::RSP].wrapping_add(bytes) & mask
}

/// Sets as much of RSP as the stack's size covers; see [`stack_pointer`].
#[inline(always)]
pub fn set_stack_pointer<W: Word>(cx: &mut Vcpu, value: u64) {
    if W::BITS == 64 { cx.regs[slot::RSP] = value } else { cx.set_stack_pointer(value) }
}

/// Stores `value` below the stack pointer and moves that.
#[inline(always)]
pub fn push<W: Word, P: Path>(cx: &mut Vcpu, value: W) -> Result<(), P::Error> {
    push_narrow::<W, W, P>(cx, value)
}

/// Moves the stack pointer as for a `W`, and stores a `value` that is narrower: what stands above it stays.
#[inline(always)]
pub fn push_narrow<W: Word, N: Word, P: Path>(cx: &mut Vcpu, value: N) -> Result<(), P::Error> {
    let top = stack_pointer::<W>(cx, W::BYTES.wrapping_neg());
    P::store(cx, slot::SS, stack_linear(cx, top), value)?;
    set_stack_pointer::<W>(cx, top);
    Ok(())
}

/// Loads what the stack pointer points at, without moving it.
#[inline(always)]
pub fn peek<W: Word, P: Path>(cx: &mut Vcpu) -> Result<W, P::Error> {
    let top = stack_pointer::<W>(cx, 0);
    P::load(cx, slot::SS, stack_linear(cx, top))
}

#[inline(always)]
fn push_r<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    push::<W, P>(cx, W::read(&cx.regs, op.a))
}

#[inline(always)]
fn push_i<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    push::<W, P>(cx, W::truncate(op.immediate))
}

#[inline(always)]
fn push_m<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let value = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    push::<W, P>(cx, value)
}

#[inline(always)]
fn pop_r<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let value = peek::<W, P>(cx)?;
    let above = stack_pointer::<W>(cx, W::BYTES);
    set_stack_pointer::<W>(cx, above);
    value.write(&mut cx.regs, op.a);
    Ok(())
}

/// POP to memory: an address formed with RSP sees it already moved.
fn pop_m<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let value = peek::<W, P>(cx)?;
    let before = cx.regs[slot::RSP];
    cx.set_stack_pointer(before.wrapping_add(W::BYTES));
    let linear = E::linear(cx, op);
    P::store(cx, op.segment, linear, value).inspect_err(|_| cx.regs[slot::RSP] = before)
}

fn pusha<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, _: &Op) -> Result<(), P::Error> {
    let (before, mask) = (cx.regs[slot::RSP], cx.stack_mask());
    for register in 0..8 {
        let value = W::read(&cx.regs, register);
        let offset = before.wrapping_sub((u64::from(register) + 1) * W::BYTES) & mask;
        P::store(cx, slot::SS, stack_linear(cx, offset), value)?;
    }
    cx.set_stack_pointer(before.wrapping_sub(8 * W::BYTES));
    Ok(())
}

fn popa<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, _: &Op) -> Result<(), P::Error> {
    let (before, mask) = (cx.regs[slot::RSP], cx.stack_mask());
    let mut values = [W::truncate(0); 8];
    for (i, value) in (0..).zip(&mut values) {
        let offset = before.wrapping_add(i * W::BYTES) & mask;
        *value = P::load(cx, slot::SS, stack_linear(cx, offset))?;
    }
    cx.set_stack_pointer(before.wrapping_add(8 * W::BYTES));
    for (register, value) in (0..8).rev().zip(values) {
        if register != slot::RSP {
            value.write(&mut cx.regs, register);
        }
    }
    Ok(())
}

/// ENTER (SDM Vol. 1, 6.6): `immediate` bytes of locals, `second_immediate` nesting levels.
fn enter<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let mask = cx.stack_mask();
    let level = u64::from(op.second_immediate()) & 31;
    if level > 1 && !P::SLOW {
        // Links may be read from where others were just pushed: nothing for a path that starts anew when it misses.
        return Err(P::raise(Exception::SS0));
    }
    let frame = cx.regs[slot::RSP].wrapping_sub(W::BYTES) & mask;
    // The whole of the stack pointer, also on a stack of 16 bits.
    let pointer = W::truncate(cx.regs[slot::RSP] & !mask | frame);
    let base = W::read(&cx.regs, slot::RBP);
    P::store(cx, slot::SS, stack_linear(cx, frame), base)?;
    let mut top = frame;
    for i in 1..level {
        let from = cx.regs[slot::RBP].wrapping_sub(i * W::BYTES) & mask;
        let link = P::load::<W>(cx, slot::SS, stack_linear(cx, from))?;
        top = top.wrapping_sub(W::BYTES) & mask;
        P::store(cx, slot::SS, stack_linear(cx, top), link)?;
    }
    if level > 0 {
        top = top.wrapping_sub(W::BYTES) & mask;
        P::store(cx, slot::SS, stack_linear(cx, top), pointer)?;
    }
    top = top.wrapping_sub(op.immediate & 0xffff) & mask;
    // The last push must not be the only thing that was checked: the new top has to be writable, too (SDM, ENTER).
    P::modify::<W, _>(cx, slot::SS, stack_linear(cx, top), |value| (value, ()))?;
    pointer.write(&mut cx.regs, slot::RBP);
    cx.set_stack_pointer(top);
    Ok(())
}

fn leave<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, _: &Op) -> Result<(), P::Error> {
    let mask = if W::BITS == 64 { u64::MAX } else { cx.stack_mask() };
    let frame = cx.regs[slot::RBP] & mask;
    let base = P::load::<W>(cx, slot::SS, stack_linear(cx, frame))?;
    set_stack_pointer::<W>(cx, frame.wrapping_add(W::BYTES));
    base.write(&mut cx.regs, slot::RBP);
    Ok(())
}

rows! {
    Push_r16 => stack push_r[u16];
    Push_rm16 => stack push_r[u16], memory push_m[u16];
    Pop_r16 => stack pop_r[u16];
    Pop_rm16 => stack pop_r[u16], memory pop_m[u16];
    Enterw_imm16_imm8 => stack enter[u16];
    Leavew => stack leave[u16];
    Push_r32 => stack push_r[u32];
    Push_rm32 => stack push_r[u32], memory push_m[u32];
    Pop_r32 => stack pop_r[u32];
    Pop_rm32 => stack pop_r[u32], memory pop_m[u32];
    Enterd_imm16_imm8 => stack enter[u32];
    Leaved => stack leave[u32];
    Push_r64 => stack push_r[u64];
    Push_rm64 => stack push_r[u64], memory push_m[u64];
    Pop_r64 => stack pop_r[u64];
    Pop_rm64 => stack pop_r[u64], memory pop_m[u64];
    Enterq_imm16_imm8 => stack enter[u64];
    Leaveq => stack leave[u64];
    Push_imm16 => stack push_i[u16];
    Pushd_imm32 => stack push_i[u32];
    Pushq_imm32 => stack push_i[u64];
    Pushw_imm8 => stack push_i[u16];
    Pushd_imm8 => stack push_i[u32];
    Pushq_imm8 => stack push_i[u64];
    Pushaw => stack pusha[u16];
    Pushad => stack pusha[u32];
    Popaw => stack popa[u16];
    Popad => stack popa[u32];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::SegmentName;
    use crate::testing::*;

    #[test]
    fn enter_writes_as_much_of_the_stack_pointer_as_the_operand_is_wide() {
        const BIG: u16 = 0x4000;
        // enter 0x10,0 with operands of 32 and of 16 bits, on stacks of 32 and of 16 bits
        for (code, bytes) in [(&[0xc8, 0x10, 0, 0, 0xf4][..], 4), (&[0x66, 0xc8, 0x10, 0, 0, 0xf4], 2)] {
            for big in [true, false] {
                let mut cx = protected_mode();
                cx.regs[slot::RBP] = 0x1234_5678;
                if !big {
                    cx.segments[SegmentName::Ss as usize].attributes &= !BIG;
                    cx.mode_changed();
                }
                cx.regs[slot::RSP] = if big { STACK } else { 0xabcd_1000 };
                let frame = cx.regs[slot::RSP] - bytes;
                expect_halt(&mut cx, code);
                let pointer = if bytes == 4 { frame } else { 0x1234_0000 | frame & 0xffff };
                assert_eq!([cx.regs[slot::RBP], cx.regs[slot::RSP]], [pointer, frame - 0x10], "{bytes} bytes, big: {big}");
            }
        }
    }
}
