//! Integer arithmetic and logic: ADD, ADC, SUB, SBB, CMP, AND, OR, XOR, TEST, INC, DEC, NEG, NOT, MUL, IMUL, DIV, IDIV, XADD, CMPXCHG.

use super::alu;
use super::path::{EffectiveAddress, Path};
use super::row::rows;
use crate::cpu::{Exception, LazyFlags, Rflags, Word, slot};
use crate::decode::Op;
use crate::vcpu::Vcpu;

/// An operation of two operands as a type, for rows.
trait Binary {
    /// The result and its flags; `carry` is CF before.
    fn compute<W: Word>(first: W, second: W, carry: impl FnOnce() -> bool) -> (W, LazyFlags);
}

macro_rules! binary {
    ($($name:ident: |$first:ident, $second:ident, $carry:ident| $body:expr),* $(,)?) => {$(
        struct $name;
        impl Binary for $name {
            #[inline(always)]
            fn compute<W: Word>($first: W, $second: W, $carry: impl FnOnce() -> bool) -> (W, LazyFlags) {
                $body
            }
        }
    )*};
}

binary! {
    Add: |first, second, _carry| alu::add(first, second),
    Sub: |first, second, _carry| alu::sub(first, second),
    Adc: |first, second, carry| alu::adc(first, second, carry()),
    Sbb: |first, second, carry| alu::sbb(first, second, carry()),
    And: |first, second, _carry| alu::and(first, second),
    Or: |first, second, _carry| alu::or(first, second),
    Xor: |first, second, _carry| alu::xor(first, second),
}

/// Register, register.
#[inline(always)]
fn rr<B: Binary, W: Word>(cx: &mut Vcpu, op: &Op) {
    let (result, flags) = B::compute(W::read(&cx.regs, op.a), W::read(&cx.regs, op.b), || cx.flags.carry());
    result.write(&mut cx.regs, op.a);
    cx.flags = flags;
}

/// Register, immediate.
#[inline(always)]
fn ri<B: Binary, W: Word>(cx: &mut Vcpu, op: &Op) {
    let (result, flags) = B::compute(W::read(&cx.regs, op.a), W::truncate(op.immediate), || cx.flags.carry());
    result.write(&mut cx.regs, op.a);
    cx.flags = flags;
}

/// Register, memory.
#[inline(always)]
fn rm<B: Binary, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    let (result, flags) = B::compute(W::read(&cx.regs, op.a), second, || cx.flags.carry());
    result.write(&mut cx.regs, op.a);
    cx.flags = flags;
    Ok(())
}

/// Memory, register.
#[inline(always)]
fn mr<B: Binary, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = W::read(&cx.regs, op.a);
    let before = cx.flags;
    cx.flags = P::modify::<W, _>(cx, op.segment, E::linear(cx, op), |first| B::compute(first, second, || before.carry()))?;
    Ok(())
}

/// Memory, immediate.
#[inline(always)]
fn mi<B: Binary, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = W::truncate(op.immediate);
    let before = cx.flags;
    cx.flags = P::modify::<W, _>(cx, op.segment, E::linear(cx, op), |first| B::compute(first, second, || before.carry()))?;
    Ok(())
}

/// As `rr`, for the flags alone: CMP and TEST.
#[inline(always)]
fn test_rr<B: Binary, W: Word>(cx: &mut Vcpu, op: &Op) {
    cx.flags = B::compute(W::read(&cx.regs, op.a), W::read(&cx.regs, op.b), || false).1;
}

#[inline(always)]
fn test_ri<B: Binary, W: Word>(cx: &mut Vcpu, op: &Op) {
    cx.flags = B::compute(W::read(&cx.regs, op.a), W::truncate(op.immediate), || false).1;
}

#[inline(always)]
fn test_rm<B: Binary, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    cx.flags = B::compute(W::read(&cx.regs, op.a), second, || false).1;
    Ok(())
}

#[inline(always)]
fn test_mr<B: Binary, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let first = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    cx.flags = B::compute(first, W::read(&cx.regs, op.a), || false).1;
    Ok(())
}

#[inline(always)]
fn test_mi<B: Binary, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let first = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    cx.flags = B::compute(first, W::truncate(op.immediate), || false).1;
    Ok(())
}

/// An operation of one operand as a type, for rows.
trait Unary {
    /// The result and its flags, from the flags before.
    fn compute<W: Word>(value: W, flags: LazyFlags) -> (W, LazyFlags);
}

struct Inc;
impl Unary for Inc {
    #[inline(always)]
    fn compute<W: Word>(value: W, flags: LazyFlags) -> (W, LazyFlags) {
        alu::inc(value, flags.carry())
    }
}
struct Dec;
impl Unary for Dec {
    #[inline(always)]
    fn compute<W: Word>(value: W, flags: LazyFlags) -> (W, LazyFlags) {
        alu::dec(value, flags.carry())
    }
}
struct Neg;
impl Unary for Neg {
    #[inline(always)]
    fn compute<W: Word>(value: W, _: LazyFlags) -> (W, LazyFlags) {
        alu::neg(value)
    }
}
struct Not;
impl Unary for Not {
    #[inline(always)]
    fn compute<W: Word>(value: W, flags: LazyFlags) -> (W, LazyFlags) {
        (W::truncate(!value.zero_extend()), flags)
    }
}

#[inline(always)]
fn r<U: Unary, W: Word>(cx: &mut Vcpu, op: &Op) {
    let (result, flags) = U::compute(W::read(&cx.regs, op.a), cx.flags);
    result.write(&mut cx.regs, op.a);
    cx.flags = flags;
}

#[inline(always)]
fn m<U: Unary, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let before = cx.flags;
    cx.flags = P::modify::<W, _>(cx, op.segment, E::linear(cx, op), |value| U::compute(value, before))?;
    Ok(())
}

/// Upper half of the double-width accumulator: AH, DX, EDX, RDX.
#[inline(always)]
fn upper<W: Word>() -> u8 {
    if W::BITS == 8 { 8 * slot::RAX + 1 } else { slot::RDX }
}

#[inline(always)]
fn multiply<W: Word>(cx: &mut Vcpu, second: W, operation: fn(W, W) -> (W, W, LazyFlags)) {
    let (low, high, flags) = operation(W::read(&cx.regs, slot::RAX), second);
    low.write(&mut cx.regs, slot::RAX);
    high.write(&mut cx.regs, upper::<W>());
    cx.flags = flags;
}

fn mul_r<W: Word>(cx: &mut Vcpu, op: &Op) {
    let second = W::read(&cx.regs, op.a);
    multiply(cx, second, alu::mul);
}
fn mul_m<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    multiply(cx, second, alu::mul);
    Ok(())
}
fn imul_r<W: Word>(cx: &mut Vcpu, op: &Op) {
    let second = W::read(&cx.regs, op.a);
    multiply(cx, second, alu::imul);
}
fn imul_m<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    multiply(cx, second, alu::imul);
    Ok(())
}

/// IMUL of two operands, into the first.
#[inline(always)]
fn imul_into<W: Word>(cx: &mut Vcpu, op: &Op, first: W, second: W) {
    let (low, _, flags) = alu::imul(first, second);
    low.write(&mut cx.regs, op.a);
    cx.flags = flags;
}
fn imul_rr<W: Word>(cx: &mut Vcpu, op: &Op) {
    let (first, second) = (W::read(&cx.regs, op.a), W::read(&cx.regs, op.b));
    imul_into(cx, op, first, second);
}
fn imul_rm<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    let first = W::read(&cx.regs, op.a);
    imul_into(cx, op, first, second);
    Ok(())
}
fn imul_rri<W: Word>(cx: &mut Vcpu, op: &Op) {
    let first = W::read(&cx.regs, op.b);
    imul_into(cx, op, first, W::truncate(op.immediate));
}
fn imul_rmi<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let first = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    imul_into(cx, op, first, W::truncate(op.immediate));
    Ok(())
}

/// A division: `None` is #DE. The flags are undefined; ours stay as they were.
#[inline(always)]
fn divide<W: Word>(cx: &mut Vcpu, divisor: W, operation: fn(W, W, W) -> Option<(W, W)>) -> Result<(), Exception> {
    let (high, low) = (W::read(&cx.regs, upper::<W>()), W::read(&cx.regs, slot::RAX));
    let (quotient, remainder) = operation(high, low, divisor).ok_or(Exception::DIVIDE)?;
    quotient.write(&mut cx.regs, slot::RAX);
    remainder.write(&mut cx.regs, upper::<W>());
    Ok(())
}
fn div_r<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let divisor = W::read(&cx.regs, op.a);
    divide(cx, divisor, alu::div)
}
fn div_m<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let divisor = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    divide(cx, divisor, alu::div).map_err(P::raise)
}
fn idiv_r<W: Word>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let divisor = W::read(&cx.regs, op.a);
    divide(cx, divisor, alu::idiv)
}
fn idiv_m<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let divisor = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    divide(cx, divisor, alu::idiv).map_err(P::raise)
}

fn xadd_rr<W: Word>(cx: &mut Vcpu, op: &Op) {
    let (first, second) = (W::read(&cx.regs, op.a), W::read(&cx.regs, op.b));
    let (sum, flags) = alu::add(first, second);
    first.write(&mut cx.regs, op.b);
    sum.write(&mut cx.regs, op.a);
    cx.flags = flags;
}
fn xadd_mr<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = W::read(&cx.regs, op.a);
    let (first, flags) = P::modify::<W, _>(cx, op.segment, E::linear(cx, op), |first| {
        let (sum, flags) = alu::add(first, second);
        (sum, (first, flags))
    })?;
    first.write(&mut cx.regs, op.a);
    cx.flags = flags;
    Ok(())
}

fn cmpxchg_rr<W: Word>(cx: &mut Vcpu, op: &Op) {
    let (accumulator, first) = (W::read(&cx.regs, slot::RAX), W::read(&cx.regs, op.a));
    cx.flags = alu::sub(accumulator, first).1;
    if accumulator == first {
        W::read(&cx.regs, op.b).write(&mut cx.regs, op.a);
    } else {
        first.write(&mut cx.regs, slot::RAX);
    }
}
fn cmpxchg_mr<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let (accumulator, source) = (W::read(&cx.regs, slot::RAX), W::read(&cx.regs, op.a));
    let first = P::modify::<W, _>(cx, op.segment, E::linear(cx, op), |first| (if first == accumulator { source } else { first }, first))?;
    cx.flags = alu::sub(accumulator, first).1;
    if accumulator != first {
        first.write(&mut cx.regs, slot::RAX);
    }
    Ok(())
}

/// Sets ZF alone, as CMPXCHG8B and CMPXCHG16B do.
#[inline(always)]
fn set_zero(cx: &mut Vcpu, zero: bool) {
    let others = cx.flags.evaluate() & !Rflags::ZF;
    cx.flags = LazyFlags::from_flags(others | u64::from(zero) << 6);
}

fn cmpxchg8b<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let pair = |high: u8, low: u8| cx.regs[high] << 32 | cx.regs[low] & 0xffff_ffff;
    let (expected, replacement) = (pair(slot::RDX, slot::RAX), pair(slot::RCX, slot::RBX));
    let found =
        P::modify::<u64, _>(cx, op.segment, E::linear(cx, op), |found| (if found == expected { replacement } else { found }, found))?;
    set_zero(cx, found == expected);
    if found != expected {
        cx.regs[slot::RAX] = found & 0xffff_ffff;
        cx.regs[slot::RDX] = found >> 32;
    }
    Ok(())
}

fn cmpxchg16b<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    if linear % 16 != 0 {
        return Err(P::raise(Exception::GP0));
    }
    let pair = |high: u8, low: u8| u128::from(cx.regs[high]) << 64 | u128::from(cx.regs[low]);
    let (expected, replacement) = (pair(slot::RDX, slot::RAX), pair(slot::RCX, slot::RBX));
    let found = P::modify::<u128, _>(cx, op.segment, linear, |found| (if found == expected { replacement } else { found }, found))?;
    set_zero(cx, found == expected);
    if found != expected {
        cx.regs[slot::RAX] = found as u64;
        cx.regs[slot::RDX] = (found >> 64) as u64;
    }
    Ok(())
}

rows! {
    Add_rm8_r8 => register rr[Add, u8], memory mr[Add, u8];
    Add_r8_rm8 => register rr[Add, u8], memory rm[Add, u8];
    Add_AL_imm8 => register ri[Add, u8];
    Add_rm8_imm8 => register ri[Add, u8], memory mi[Add, u8];
    Add_rm8_imm8_82 => register ri[Add, u8], memory mi[Add, u8];
    Add_rm16_r16 => register rr[Add, u16], memory mr[Add, u16];
    Add_r16_rm16 => register rr[Add, u16], memory rm[Add, u16];
    Add_AX_imm16 => register ri[Add, u16];
    Add_rm16_imm16 => register ri[Add, u16], memory mi[Add, u16];
    Add_rm16_imm8 => register ri[Add, u16], memory mi[Add, u16];
    Add_rm32_r32 => compare rr[Add, u32], memory mr[Add, u32];
    Add_r32_rm32 => register rr[Add, u32], memory rm[Add, u32];
    Add_EAX_imm32 => register ri[Add, u32];
    Add_rm32_imm32 => register ri[Add, u32], memory mi[Add, u32];
    Add_rm32_imm8 => compare ri[Add, u32], memory mi[Add, u32];
    Add_rm64_r64 => compare rr[Add, u64], memory mr[Add, u64];
    Add_r64_rm64 => register rr[Add, u64], memory rm[Add, u64];
    Add_RAX_imm32 => register ri[Add, u64];
    Add_rm64_imm32 => register ri[Add, u64], memory mi[Add, u64];
    Add_rm64_imm8 => compare ri[Add, u64], memory mi[Add, u64];
    Or_rm8_r8 => register rr[Or, u8], memory mr[Or, u8];
    Or_r8_rm8 => register rr[Or, u8], memory rm[Or, u8];
    Or_AL_imm8 => register ri[Or, u8];
    Or_rm8_imm8 => register ri[Or, u8], memory mi[Or, u8];
    Or_rm8_imm8_82 => register ri[Or, u8], memory mi[Or, u8];
    Or_rm16_r16 => register rr[Or, u16], memory mr[Or, u16];
    Or_r16_rm16 => register rr[Or, u16], memory rm[Or, u16];
    Or_AX_imm16 => register ri[Or, u16];
    Or_rm16_imm16 => register ri[Or, u16], memory mi[Or, u16];
    Or_rm16_imm8 => register ri[Or, u16], memory mi[Or, u16];
    Or_rm32_r32 => compare rr[Or, u32], memory mr[Or, u32];
    Or_r32_rm32 => compare rr[Or, u32], memory rm[Or, u32];
    Or_EAX_imm32 => register ri[Or, u32];
    Or_rm32_imm32 => register ri[Or, u32], memory mi[Or, u32];
    Or_rm32_imm8 => register ri[Or, u32], memory mi[Or, u32];
    Or_rm64_r64 => compare rr[Or, u64], memory mr[Or, u64];
    Or_r64_rm64 => compare rr[Or, u64], memory rm[Or, u64];
    Or_RAX_imm32 => register ri[Or, u64];
    Or_rm64_imm32 => register ri[Or, u64], memory mi[Or, u64];
    Or_rm64_imm8 => register ri[Or, u64], memory mi[Or, u64];
    Adc_rm8_r8 => register rr[Adc, u8], memory mr[Adc, u8];
    Adc_r8_rm8 => register rr[Adc, u8], memory rm[Adc, u8];
    Adc_AL_imm8 => register ri[Adc, u8];
    Adc_rm8_imm8 => register ri[Adc, u8], memory mi[Adc, u8];
    Adc_rm8_imm8_82 => register ri[Adc, u8], memory mi[Adc, u8];
    Adc_rm16_r16 => register rr[Adc, u16], memory mr[Adc, u16];
    Adc_r16_rm16 => register rr[Adc, u16], memory rm[Adc, u16];
    Adc_AX_imm16 => register ri[Adc, u16];
    Adc_rm16_imm16 => register ri[Adc, u16], memory mi[Adc, u16];
    Adc_rm16_imm8 => register ri[Adc, u16], memory mi[Adc, u16];
    Adc_rm32_r32 => register rr[Adc, u32], memory mr[Adc, u32];
    Adc_r32_rm32 => register rr[Adc, u32], memory rm[Adc, u32];
    Adc_EAX_imm32 => register ri[Adc, u32];
    Adc_rm32_imm32 => register ri[Adc, u32], memory mi[Adc, u32];
    Adc_rm32_imm8 => register ri[Adc, u32], memory mi[Adc, u32];
    Adc_rm64_r64 => register rr[Adc, u64], memory mr[Adc, u64];
    Adc_r64_rm64 => register rr[Adc, u64], memory rm[Adc, u64];
    Adc_RAX_imm32 => register ri[Adc, u64];
    Adc_rm64_imm32 => register ri[Adc, u64], memory mi[Adc, u64];
    Adc_rm64_imm8 => register ri[Adc, u64], memory mi[Adc, u64];
    Sbb_rm8_r8 => register rr[Sbb, u8], memory mr[Sbb, u8];
    Sbb_r8_rm8 => register rr[Sbb, u8], memory rm[Sbb, u8];
    Sbb_AL_imm8 => register ri[Sbb, u8];
    Sbb_rm8_imm8 => register ri[Sbb, u8], memory mi[Sbb, u8];
    Sbb_rm8_imm8_82 => register ri[Sbb, u8], memory mi[Sbb, u8];
    Sbb_rm16_r16 => register rr[Sbb, u16], memory mr[Sbb, u16];
    Sbb_r16_rm16 => register rr[Sbb, u16], memory rm[Sbb, u16];
    Sbb_AX_imm16 => register ri[Sbb, u16];
    Sbb_rm16_imm16 => register ri[Sbb, u16], memory mi[Sbb, u16];
    Sbb_rm16_imm8 => register ri[Sbb, u16], memory mi[Sbb, u16];
    Sbb_rm32_r32 => register rr[Sbb, u32], memory mr[Sbb, u32];
    Sbb_r32_rm32 => register rr[Sbb, u32], memory rm[Sbb, u32];
    Sbb_EAX_imm32 => register ri[Sbb, u32];
    Sbb_rm32_imm32 => register ri[Sbb, u32], memory mi[Sbb, u32];
    Sbb_rm32_imm8 => register ri[Sbb, u32], memory mi[Sbb, u32];
    Sbb_rm64_r64 => register rr[Sbb, u64], memory mr[Sbb, u64];
    Sbb_r64_rm64 => register rr[Sbb, u64], memory rm[Sbb, u64];
    Sbb_RAX_imm32 => register ri[Sbb, u64];
    Sbb_rm64_imm32 => register ri[Sbb, u64], memory mi[Sbb, u64];
    Sbb_rm64_imm8 => register ri[Sbb, u64], memory mi[Sbb, u64];
    And_rm8_r8 => register rr[And, u8], memory mr[And, u8];
    And_r8_rm8 => register rr[And, u8], memory rm[And, u8];
    And_AL_imm8 => register ri[And, u8];
    And_rm8_imm8 => register ri[And, u8], memory mi[And, u8];
    And_rm8_imm8_82 => register ri[And, u8], memory mi[And, u8];
    And_rm16_r16 => register rr[And, u16], memory mr[And, u16];
    And_r16_rm16 => register rr[And, u16], memory rm[And, u16];
    And_AX_imm16 => register ri[And, u16];
    And_rm16_imm16 => register ri[And, u16], memory mi[And, u16];
    And_rm16_imm8 => register ri[And, u16], memory mi[And, u16];
    And_rm32_r32 => compare rr[And, u32], memory mr[And, u32];
    And_r32_rm32 => compare rr[And, u32], memory rm[And, u32];
    And_EAX_imm32 => register ri[And, u32];
    And_rm32_imm32 => compare ri[And, u32], memory mi[And, u32];
    And_rm32_imm8 => compare ri[And, u32], memory mi[And, u32];
    And_rm64_r64 => compare rr[And, u64], memory mr[And, u64];
    And_r64_rm64 => compare rr[And, u64], memory rm[And, u64];
    And_RAX_imm32 => register ri[And, u64];
    And_rm64_imm32 => compare ri[And, u64], memory mi[And, u64];
    And_rm64_imm8 => compare ri[And, u64], memory mi[And, u64];
    Sub_rm8_r8 => register rr[Sub, u8], memory mr[Sub, u8];
    Sub_r8_rm8 => register rr[Sub, u8], memory rm[Sub, u8];
    Sub_AL_imm8 => register ri[Sub, u8];
    Sub_rm8_imm8 => register ri[Sub, u8], memory mi[Sub, u8];
    Sub_rm8_imm8_82 => register ri[Sub, u8], memory mi[Sub, u8];
    Sub_rm16_r16 => register rr[Sub, u16], memory mr[Sub, u16];
    Sub_r16_rm16 => register rr[Sub, u16], memory rm[Sub, u16];
    Sub_AX_imm16 => register ri[Sub, u16];
    Sub_rm16_imm16 => register ri[Sub, u16], memory mi[Sub, u16];
    Sub_rm16_imm8 => register ri[Sub, u16], memory mi[Sub, u16];
    Sub_rm32_r32 => compare rr[Sub, u32], memory mr[Sub, u32];
    Sub_r32_rm32 => compare rr[Sub, u32], memory rm[Sub, u32];
    Sub_EAX_imm32 => register ri[Sub, u32];
    Sub_rm32_imm32 => register ri[Sub, u32], memory mi[Sub, u32];
    Sub_rm32_imm8 => compare ri[Sub, u32], memory mi[Sub, u32];
    Sub_rm64_r64 => compare rr[Sub, u64], memory mr[Sub, u64];
    Sub_r64_rm64 => compare rr[Sub, u64], memory rm[Sub, u64];
    Sub_RAX_imm32 => register ri[Sub, u64];
    Sub_rm64_imm32 => register ri[Sub, u64], memory mi[Sub, u64];
    Sub_rm64_imm8 => compare ri[Sub, u64], memory mi[Sub, u64];
    Xor_rm8_r8 => register rr[Xor, u8], memory mr[Xor, u8];
    Xor_r8_rm8 => register rr[Xor, u8], memory rm[Xor, u8];
    Xor_AL_imm8 => register ri[Xor, u8];
    Xor_rm8_imm8 => register ri[Xor, u8], memory mi[Xor, u8];
    Xor_rm8_imm8_82 => register ri[Xor, u8], memory mi[Xor, u8];
    Xor_rm16_r16 => register rr[Xor, u16], memory mr[Xor, u16];
    Xor_r16_rm16 => register rr[Xor, u16], memory rm[Xor, u16];
    Xor_AX_imm16 => register ri[Xor, u16];
    Xor_rm16_imm16 => register ri[Xor, u16], memory mi[Xor, u16];
    Xor_rm16_imm8 => register ri[Xor, u16], memory mi[Xor, u16];
    Xor_rm32_r32 => register rr[Xor, u32], memory mr[Xor, u32];
    Xor_r32_rm32 => register rr[Xor, u32], memory rm[Xor, u32];
    Xor_EAX_imm32 => register ri[Xor, u32];
    Xor_rm32_imm32 => register ri[Xor, u32], memory mi[Xor, u32];
    Xor_rm32_imm8 => register ri[Xor, u32], memory mi[Xor, u32];
    Xor_rm64_r64 => register rr[Xor, u64], memory mr[Xor, u64];
    Xor_r64_rm64 => register rr[Xor, u64], memory rm[Xor, u64];
    Xor_RAX_imm32 => register ri[Xor, u64];
    Xor_rm64_imm32 => register ri[Xor, u64], memory mi[Xor, u64];
    Xor_rm64_imm8 => register ri[Xor, u64], memory mi[Xor, u64];
    Cmp_rm8_r8 => compare test_rr[Sub, u8], compare_memory test_mr[Sub, u8];
    Cmp_r8_rm8 => compare test_rr[Sub, u8], compare_memory test_rm[Sub, u8];
    Cmp_AL_imm8 => compare test_ri[Sub, u8];
    Cmp_rm8_imm8 => compare test_ri[Sub, u8], compare_memory test_mi[Sub, u8];
    Cmp_rm8_imm8_82 => register test_ri[Sub, u8], memory test_mi[Sub, u8];
    Cmp_rm16_r16 => compare test_rr[Sub, u16], compare_memory test_mr[Sub, u16];
    Cmp_r16_rm16 => register test_rr[Sub, u16], memory test_rm[Sub, u16];
    Cmp_AX_imm16 => register test_ri[Sub, u16];
    Cmp_rm16_imm16 => register test_ri[Sub, u16], memory test_mi[Sub, u16];
    Cmp_rm16_imm8 => compare test_ri[Sub, u16], compare_memory test_mi[Sub, u16];
    Cmp_rm32_r32 => compare test_rr[Sub, u32], compare_memory test_mr[Sub, u32];
    Cmp_r32_rm32 => compare test_rr[Sub, u32], compare_memory test_rm[Sub, u32];
    Cmp_EAX_imm32 => compare test_ri[Sub, u32];
    Cmp_rm32_imm32 => compare test_ri[Sub, u32], compare_memory test_mi[Sub, u32];
    Cmp_rm32_imm8 => compare test_ri[Sub, u32], compare_memory test_mi[Sub, u32];
    Cmp_rm64_r64 => compare test_rr[Sub, u64], compare_memory test_mr[Sub, u64];
    Cmp_r64_rm64 => compare test_rr[Sub, u64], compare_memory test_rm[Sub, u64];
    Cmp_RAX_imm32 => compare test_ri[Sub, u64];
    Cmp_rm64_imm32 => compare test_ri[Sub, u64], compare_memory test_mi[Sub, u64];
    Cmp_rm64_imm8 => compare test_ri[Sub, u64], compare_memory test_mi[Sub, u64];
    Test_rm8_r8 => compare test_rr[And, u8], compare_memory test_mr[And, u8];
    Test_rm8_imm8 => compare test_ri[And, u8], compare_memory test_mi[And, u8];
    Test_rm8_imm8_F6r1 => register test_ri[And, u8], memory test_mi[And, u8];
    Test_AL_imm8 => compare test_ri[And, u8];
    Test_rm16_r16 => register test_rr[And, u16], memory test_mr[And, u16];
    Test_rm16_imm16 => register test_ri[And, u16], memory test_mi[And, u16];
    Test_rm16_imm16_F7r1 => register test_ri[And, u16], memory test_mi[And, u16];
    Test_AX_imm16 => register test_ri[And, u16];
    Test_rm32_r32 => compare test_rr[And, u32], compare_memory test_mr[And, u32];
    Test_rm32_imm32 => compare test_ri[And, u32], compare_memory test_mi[And, u32];
    Test_rm32_imm32_F7r1 => register test_ri[And, u32], memory test_mi[And, u32];
    Test_EAX_imm32 => register test_ri[And, u32];
    Test_rm64_r64 => compare test_rr[And, u64], compare_memory test_mr[And, u64];
    Test_rm64_imm32 => compare test_ri[And, u64], compare_memory test_mi[And, u64];
    Test_rm64_imm32_F7r1 => register test_ri[And, u64], memory test_mi[And, u64];
    Test_RAX_imm32 => register test_ri[And, u64];
    Inc_rm8 => register r[Inc, u8], memory m[Inc, u8];
    Inc_rm16 => register r[Inc, u16], memory m[Inc, u16];
    Inc_rm32 => compare r[Inc, u32], memory m[Inc, u32];
    Inc_rm64 => compare r[Inc, u64], memory m[Inc, u64];
    Dec_rm8 => register r[Dec, u8], memory m[Dec, u8];
    Dec_rm16 => register r[Dec, u16], memory m[Dec, u16];
    Dec_rm32 => compare r[Dec, u32], memory m[Dec, u32];
    Dec_rm64 => compare r[Dec, u64], memory m[Dec, u64];
    Neg_rm8 => register r[Neg, u8], memory m[Neg, u8];
    Neg_rm16 => register r[Neg, u16], memory m[Neg, u16];
    Neg_rm32 => register r[Neg, u32], memory m[Neg, u32];
    Neg_rm64 => register r[Neg, u64], memory m[Neg, u64];
    Not_rm8 => register r[Not, u8], memory m[Not, u8];
    Not_rm16 => register r[Not, u16], memory m[Not, u16];
    Not_rm32 => register r[Not, u32], memory m[Not, u32];
    Not_rm64 => register r[Not, u64], memory m[Not, u64];
    Inc_r16 => register r[Inc, u16];
    Inc_r32 => register r[Inc, u32];
    Dec_r16 => register r[Dec, u16];
    Dec_r32 => register r[Dec, u32];
    Mul_rm8 => register mul_r[u8], memory mul_m[u8];
    Mul_rm16 => register mul_r[u16], memory mul_m[u16];
    Mul_rm32 => register mul_r[u32], memory mul_m[u32];
    Mul_rm64 => register mul_r[u64], memory mul_m[u64];
    Imul_rm8 => register imul_r[u8], memory imul_m[u8];
    Imul_rm16 => register imul_r[u16], memory imul_m[u16];
    Imul_rm32 => register imul_r[u32], memory imul_m[u32];
    Imul_rm64 => register imul_r[u64], memory imul_m[u64];
    Div_rm8 => register div_r[u8], memory div_m[u8];
    Div_rm16 => register div_r[u16], memory div_m[u16];
    Div_rm32 => register div_r[u32], memory div_m[u32];
    Div_rm64 => register div_r[u64], memory div_m[u64];
    Idiv_rm8 => register idiv_r[u8], memory idiv_m[u8];
    Idiv_rm16 => register idiv_r[u16], memory idiv_m[u16];
    Idiv_rm32 => register idiv_r[u32], memory idiv_m[u32];
    Idiv_rm64 => register idiv_r[u64], memory idiv_m[u64];
    Imul_r16_rm16 => register imul_rr[u16], memory imul_rm[u16];
    Imul_r16_rm16_imm16 => register imul_rri[u16], memory imul_rmi[u16];
    Imul_r16_rm16_imm8 => register imul_rri[u16], memory imul_rmi[u16];
    Imul_r32_rm32 => register imul_rr[u32], memory imul_rm[u32];
    Imul_r32_rm32_imm32 => register imul_rri[u32], memory imul_rmi[u32];
    Imul_r32_rm32_imm8 => register imul_rri[u32], memory imul_rmi[u32];
    Imul_r64_rm64 => register imul_rr[u64], memory imul_rm[u64];
    Imul_r64_rm64_imm32 => register imul_rri[u64], memory imul_rmi[u64];
    Imul_r64_rm64_imm8 => register imul_rri[u64], memory imul_rmi[u64];
    Xadd_rm8_r8 => register xadd_rr[u8], memory xadd_mr[u8];
    Cmpxchg_rm8_r8 => register cmpxchg_rr[u8], memory cmpxchg_mr[u8];
    Xadd_rm16_r16 => register xadd_rr[u16], memory xadd_mr[u16];
    Cmpxchg_rm16_r16 => register cmpxchg_rr[u16], memory cmpxchg_mr[u16];
    Xadd_rm32_r32 => register xadd_rr[u32], memory xadd_mr[u32];
    Cmpxchg_rm32_r32 => register cmpxchg_rr[u32], memory cmpxchg_mr[u32];
    Xadd_rm64_r64 => register xadd_rr[u64], memory xadd_mr[u64];
    Cmpxchg_rm64_r64 => register cmpxchg_rr[u64], memory cmpxchg_mr[u64];
    Cmpxchg8b_m64 => memory cmpxchg8b;
    Cmpxchg16b_m128 => memory cmpxchg16b;
}
