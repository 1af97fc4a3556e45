//! Single bits: BT, BTS, BTR, BTC, BSF, BSR; and how many are set: POPCNT.

use super::alu::with_carries;
use super::path::{EffectiveAddress, Path};
use super::row::rows;
use crate::cpu::{LazyFlags, Rflags, Word};
use crate::decode::{AddressMode, Op};
use crate::vcpu::Vcpu;

/// What becomes of the tested bit, as a type, for rows.
trait BitOp {
    /// The value with the bit of `mask` changed.
    fn change(value: u64, mask: u64) -> u64;
}

struct Test;
impl BitOp for Test {
    #[inline(always)]
    fn change(value: u64, _: u64) -> u64 {
        value
    }
}
struct Set;
impl BitOp for Set {
    #[inline(always)]
    fn change(value: u64, mask: u64) -> u64 {
        value | mask
    }
}
struct Reset;
impl BitOp for Reset {
    #[inline(always)]
    fn change(value: u64, mask: u64) -> u64 {
        value & !mask
    }
}
struct Complement;
impl BitOp for Complement {
    #[inline(always)]
    fn change(value: u64, mask: u64) -> u64 {
        value ^ mask
    }
}

/// CF alone changes: OF, SF, AF and PF are undefined and ZF is kept.
#[inline(always)]
fn set_carry(cx: &mut Vcpu, carry: bool) {
    cx.flags = cx.flags.with_carries(Rflags::CF, carry.into());
}

#[inline(always)]
fn bit<B: BitOp, W: Word>(value: W, number: u64) -> (W, bool) {
    let mask = 1 << (number % u64::from(W::BITS));
    let value = value.zero_extend();
    (W::truncate(B::change(value, mask)), value & mask != 0)
}

#[inline(always)]
fn bit_in_register<B: BitOp, W: Word>(cx: &mut Vcpu, op: &Op, number: u64) {
    let (result, carry) = bit::<B, W>(W::read(&cx.regs, op.a), number);
    result.write(&mut cx.regs, op.a);
    set_carry(cx, carry);
}

fn bit_r<B: BitOp, W: Word>(cx: &mut Vcpu, op: &Op) {
    let number = W::read(&cx.regs, op.b).zero_extend();
    bit_in_register::<B, W>(cx, op, number);
}

fn bit_ri<B: BitOp, W: Word>(cx: &mut Vcpu, op: &Op) {
    bit_in_register::<B, W>(cx, op, op.immediate);
}

/// BT writes nothing, not even the upper half of a 32-bit register.
fn test_bit_r<W: Word>(cx: &mut Vcpu, op: &Op) {
    let (_, carry) = bit::<Test, W>(W::read(&cx.regs, op.a), W::read(&cx.regs, op.b).zero_extend());
    set_carry(cx, carry);
}

fn test_bit_ri<W: Word>(cx: &mut Vcpu, op: &Op) {
    let (_, carry) = bit::<Test, W>(W::read(&cx.regs, op.a), op.immediate);
    set_carry(cx, carry);
}

/// Linear address of the operand-sized unit that holds bit number `a` of the bit string at the memory operand.
#[inline(always)]
fn bit_string<W: Word, E: EffectiveAddress>(cx: &Vcpu, op: &Op) -> (u64, u64) {
    let number = W::read(&cx.regs, op.a).sign_extend();
    let units = number >> W::BITS.trailing_zeros();
    let offset = E::offset(cx, op).wrapping_add((units * W::BYTES as i64) as u64) & AddressMode::offset_mask(op.scale);
    let linear = cx.regs[op.segment].wrapping_add(offset) & AddressMode::linear_mask(op.scale);
    (linear, number as u64)
}

fn bit_m<B: BitOp, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let (linear, number) = bit_string::<W, E>(cx, op);
    let carry = P::modify::<W, _>(cx, op.segment, linear, |value| bit::<B, W>(value, number))?;
    set_carry(cx, carry);
    Ok(())
}

fn bit_mi<B: BitOp, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let carry = P::modify::<W, _>(cx, op.segment, E::linear(cx, op), |value| bit::<B, W>(value, op.immediate))?;
    set_carry(cx, carry);
    Ok(())
}

fn test_bit_m<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let (linear, number) = bit_string::<W, E>(cx, op);
    let (_, carry) = bit::<Test, W>(P::load(cx, op.segment, linear)?, number);
    set_carry(cx, carry);
    Ok(())
}

fn test_bit_mi<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let (_, carry) = bit::<Test, W>(P::load(cx, op.segment, E::linear(cx, op))?, op.immediate);
    set_carry(cx, carry);
    Ok(())
}

/// BSF or BSR as a type, for rows.
trait Scan {
    /// Number of the bit found in a value that is not 0.
    fn find(value: u64) -> u32;
}
struct Bsf;
impl Scan for Bsf {
    #[inline(always)]
    fn find(value: u64) -> u32 {
        value.trailing_zeros()
    }
}
struct Bsr;
impl Scan for Bsr {
    #[inline(always)]
    fn find(value: u64) -> u32 {
        63 - value.leading_zeros()
    }
}

/// ZF says whether the source is 0; then the destination stays as it is, as on all processors. The other flags are undefined.
#[inline(always)]
fn scan<S: Scan, W: Word>(cx: &mut Vcpu, op: &Op, source: W) {
    let source = source.zero_extend();
    if source != 0 {
        W::truncate(u64::from(S::find(source))).write(&mut cx.regs, op.a);
    }
    cx.flags = with_carries(W::truncate(source), 0);
}

fn scan_r<S: Scan, W: Word>(cx: &mut Vcpu, op: &Op) {
    let source = W::read(&cx.regs, op.b);
    scan::<S, W>(cx, op, source);
}

fn scan_m<S: Scan, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let source = P::load::<W>(cx, op.segment, E::linear(cx, op))?;
    scan::<S, W>(cx, op, source);
    Ok(())
}

#[inline(always)]
fn popcnt<W: Word>(cx: &mut Vcpu, op: &Op, value: W) {
    let count = value.zero_extend().count_ones();
    W::truncate(count.into()).write(&mut cx.regs, op.a);
    cx.flags = LazyFlags::from_flags(if count == 0 { Rflags::ZF } else { 0 });
}

fn popcnt_rr<W: Word>(cx: &mut Vcpu, op: &Op) {
    let value = W::read(&cx.regs, op.b);
    popcnt(cx, op, value);
}

fn popcnt_rm<W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    let value: W = P::load(cx, op.segment, linear)?;
    popcnt(cx, op, value);
    Ok(())
}

rows! {
    Bt_rm16_r16 => register test_bit_r[u16], memory test_bit_m[u16];
    Bt_rm16_imm8 => register test_bit_ri[u16], memory test_bit_mi[u16];
    Bt_rm32_r32 => register test_bit_r[u32], memory test_bit_m[u32];
    Bt_rm32_imm8 => register test_bit_ri[u32], memory test_bit_mi[u32];
    Bt_rm64_r64 => register test_bit_r[u64], memory test_bit_m[u64];
    Bt_rm64_imm8 => register test_bit_ri[u64], memory test_bit_mi[u64];
    Bts_rm16_r16 => register bit_r[Set, u16], memory bit_m[Set, u16];
    Bts_rm16_imm8 => register bit_ri[Set, u16], memory bit_mi[Set, u16];
    Bts_rm32_r32 => register bit_r[Set, u32], memory bit_m[Set, u32];
    Bts_rm32_imm8 => register bit_ri[Set, u32], memory bit_mi[Set, u32];
    Bts_rm64_r64 => register bit_r[Set, u64], memory bit_m[Set, u64];
    Bts_rm64_imm8 => register bit_ri[Set, u64], memory bit_mi[Set, u64];
    Btr_rm16_r16 => register bit_r[Reset, u16], memory bit_m[Reset, u16];
    Btr_rm16_imm8 => register bit_ri[Reset, u16], memory bit_mi[Reset, u16];
    Btr_rm32_r32 => register bit_r[Reset, u32], memory bit_m[Reset, u32];
    Btr_rm32_imm8 => register bit_ri[Reset, u32], memory bit_mi[Reset, u32];
    Btr_rm64_r64 => register bit_r[Reset, u64], memory bit_m[Reset, u64];
    Btr_rm64_imm8 => register bit_ri[Reset, u64], memory bit_mi[Reset, u64];
    Btc_rm16_r16 => register bit_r[Complement, u16], memory bit_m[Complement, u16];
    Btc_rm16_imm8 => register bit_ri[Complement, u16], memory bit_mi[Complement, u16];
    Btc_rm32_r32 => register bit_r[Complement, u32], memory bit_m[Complement, u32];
    Btc_rm32_imm8 => register bit_ri[Complement, u32], memory bit_mi[Complement, u32];
    Btc_rm64_r64 => register bit_r[Complement, u64], memory bit_m[Complement, u64];
    Btc_rm64_imm8 => register bit_ri[Complement, u64], memory bit_mi[Complement, u64];
    Bsf_r16_rm16 => register scan_r[Bsf, u16], memory scan_m[Bsf, u16];
    Bsf_r32_rm32 => register scan_r[Bsf, u32], memory scan_m[Bsf, u32];
    Bsf_r64_rm64 => register scan_r[Bsf, u64], memory scan_m[Bsf, u64];
    Bsr_r16_rm16 => register scan_r[Bsr, u16], memory scan_m[Bsr, u16];
    Bsr_r32_rm32 => register scan_r[Bsr, u32], memory scan_m[Bsr, u32];
    Bsr_r64_rm64 => register scan_r[Bsr, u64], memory scan_m[Bsr, u64];
    Popcnt_r16_rm16 => register popcnt_rr[u16], memory popcnt_rm[u16];
    Popcnt_r32_rm32 => register popcnt_rr[u32], memory popcnt_rm[u32];
    Popcnt_r64_rm64 => register popcnt_rr[u64], memory popcnt_rm[u64];
}
