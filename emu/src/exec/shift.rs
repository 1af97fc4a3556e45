//! Shifts and rotates: SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD.
//!
//! Where a count other than 1 leaves OF undefined, ours is what the formula for 1 gives; AF, undefined after shifts, is 0.

use super::alu::with_carries;
use super::path::{EffectiveAddress, Path};
use super::row::rows;
use crate::cpu::{LazyFlags, Rflags, Word, slot};
use crate::decode::Op;
use crate::vcpu::Vcpu;

/// A shift or rotate as a type, for rows.
trait Shift {
    /// The result and the flags for a masked count that is not 0, from the flags before.
    fn compute<W: Word>(value: W, count: u32, before: LazyFlags) -> (W, LazyFlags);
}

/// Shift counts are taken modulo 32, or 64 for 64-bit operands.
#[inline(always)]
fn masked<W: Word>(count: u64) -> u32 {
    (count & if W::BITS == 64 { 63 } else { 31 }) as u32
}

/// Flags of a shift.
#[inline(always)]
fn shifted<W: Word>(result: W, carry: u64, overflow: u64) -> (W, LazyFlags) {
    (result, with_carries(result, carry & 1 | (overflow & 1) << 11))
}

/// Flags of a rotate: CF and OF change alone.
#[inline(always)]
fn rotated<W: Word>(result: W, carry: u64, overflow: u64, before: LazyFlags) -> (W, LazyFlags) {
    (result, before.with_carries(Rflags::CF | Rflags::OF, carry & 1 | (overflow & 1) << 11))
}

#[inline(always)]
fn top<W: Word>(value: u64) -> u64 {
    value >> (W::BITS - 1) & 1
}

struct Shl;
impl Shift for Shl {
    #[inline(always)]
    fn compute<W: Word>(value: W, count: u32, _: LazyFlags) -> (W, LazyFlags) {
        let value = value.zero_extend();
        // The last bit out. Counts above narrow widths leave room in 64 bits.
        let carry = if W::BITS == 64 { value >> (64 - count) } else { value << count >> W::BITS };
        let result = W::truncate(value << count);
        shifted(result, carry, top::<W>(result.zero_extend()) ^ carry)
    }
}

struct Shr;
impl Shift for Shr {
    #[inline(always)]
    fn compute<W: Word>(value: W, count: u32, _: LazyFlags) -> (W, LazyFlags) {
        let before_last = value.zero_extend() >> (count - 1);
        shifted(W::truncate(before_last >> 1), before_last, top::<W>(value.zero_extend()))
    }
}

struct Sar;
impl Shift for Sar {
    #[inline(always)]
    fn compute<W: Word>(value: W, count: u32, _: LazyFlags) -> (W, LazyFlags) {
        let before_last = value.sign_extend() >> (count - 1);
        shifted(W::truncate((before_last >> 1) as u64), before_last as u64, 0)
    }
}

struct Rol;
impl Shift for Rol {
    #[inline(always)]
    fn compute<W: Word>(value: W, count: u32, before: LazyFlags) -> (W, LazyFlags) {
        let (count, value) = (count % W::BITS, value.zero_extend());
        let result = if count == 0 { value } else { (value << count | value >> (W::BITS - count)) & W::MASK };
        rotated(W::truncate(result), result, result ^ top::<W>(result), before)
    }
}

struct Ror;
impl Shift for Ror {
    #[inline(always)]
    fn compute<W: Word>(value: W, count: u32, before: LazyFlags) -> (W, LazyFlags) {
        let (count, value) = (count % W::BITS, value.zero_extend());
        let result = if count == 0 { value } else { (value >> count | value << (W::BITS - count)) & W::MASK };
        rotated(W::truncate(result), top::<W>(result), result >> (W::BITS - 1) ^ result >> (W::BITS - 2), before)
    }
}

/// The value with CF above it, rotated left by `count` in its `BITS` + 1 bits.
#[inline(always)]
fn rotate_with_carry<W: Word>(value: W, carry: bool, count: u32) -> u128 {
    let bits = W::BITS + 1;
    let wide = u128::from(value.zero_extend()) | u128::from(carry) << W::BITS;
    if count == 0 { wide } else { wide << count | wide >> (bits - count) }
}

struct Rcl;
impl Shift for Rcl {
    #[inline(always)]
    fn compute<W: Word>(value: W, count: u32, before: LazyFlags) -> (W, LazyFlags) {
        let wide = rotate_with_carry(value, before.carry(), count % (W::BITS + 1));
        let carry = (wide >> W::BITS) as u64 & 1;
        rotated(W::truncate(wide as u64), carry, top::<W>(wide as u64) ^ carry, before)
    }
}

struct Rcr;
impl Shift for Rcr {
    #[inline(always)]
    fn compute<W: Word>(value: W, count: u32, before: LazyFlags) -> (W, LazyFlags) {
        let bits = W::BITS + 1;
        let wide = rotate_with_carry(value, before.carry(), (bits - count % bits) % bits);
        let result = wide as u64;
        rotated(W::truncate(result), (wide >> W::BITS) as u64, top::<W>(result) ^ result >> (W::BITS - 2), before)
    }
}

#[inline(always)]
fn shift_register<S: Shift, W: Word>(cx: &mut Vcpu, op: &Op, count: u32) {
    let value = W::read(&cx.regs, op.a);
    if count == 0 {
        // A 32-bit destination loses its upper half all the same.
        value.write(&mut cx.regs, op.a);
        return;
    }
    let (result, flags) = S::compute(value, count, cx.flags);
    result.write(&mut cx.regs, op.a);
    cx.flags = flags;
}

#[inline(always)]
fn shift_memory<S: Shift, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op, count: u32) -> Result<(), P::Error> {
    let before = cx.flags;
    cx.flags =
        P::modify::<W, _>(
            cx,
            op.segment,
            E::linear(cx, op),
            |value| {
                if count == 0 { (value, before) } else { S::compute(value, count, before) }
            },
        )?;
    Ok(())
}

#[inline(always)]
fn by_immediate<S: Shift, W: Word>(cx: &mut Vcpu, op: &Op) {
    shift_register::<S, W>(cx, op, masked::<W>(op.immediate));
}

#[inline(always)]
fn by_cl<S: Shift, W: Word>(cx: &mut Vcpu, op: &Op) {
    let count = masked::<W>(cx.regs[slot::RCX]);
    shift_register::<S, W>(cx, op, count);
}

#[inline(always)]
fn by_immediate_m<S: Shift, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    shift_memory::<S, W, P, E>(cx, op, masked::<W>(op.immediate))
}

#[inline(always)]
fn by_cl_m<S: Shift, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let count = masked::<W>(cx.regs[slot::RCX]);
    shift_memory::<S, W, P, E>(cx, op, count)
}

/// SHLD or SHRD as a type, for rows.
trait DoubleShift {
    /// The result and flags for a masked count that is not 0. For 16-bit operands a count above 16 is undefined; ours goes on with
    /// the bits of the destination, as processors do.
    fn compute<W: Word>(first: W, second: W, count: u32) -> (W, LazyFlags);
}

struct Shld;
impl DoubleShift for Shld {
    #[inline(always)]
    fn compute<W: Word>(first: W, second: W, count: u32) -> (W, LazyFlags) {
        let (a, b) = (u128::from(first.zero_extend()), u128::from(second.zero_extend()));
        // first:second:first, so that counts up to twice the width have bits to take.
        let wide = if W::BITS == 64 { a << 64 | b } else { a << (2 * W::BITS) | b << W::BITS | a };
        let span = if W::BITS == 64 { 128 } else { 3 * W::BITS };
        let result = W::truncate((wide << count >> (span - W::BITS)) as u64);
        let carry = (wide >> (span - count)) as u64;
        shifted(result, carry, top::<W>(result.zero_extend()) ^ top::<W>(first.zero_extend()))
    }
}

struct Shrd;
impl DoubleShift for Shrd {
    #[inline(always)]
    fn compute<W: Word>(first: W, second: W, count: u32) -> (W, LazyFlags) {
        let (a, b) = (u128::from(first.zero_extend()), u128::from(second.zero_extend()));
        let wide = if W::BITS == 64 { b << 64 | a } else { a << (2 * W::BITS) | b << W::BITS | a };
        let result = W::truncate((wide >> count) as u64);
        let carry = (wide >> (count - 1)) as u64;
        shifted(result, carry, top::<W>(result.zero_extend()) ^ top::<W>(first.zero_extend()))
    }
}

#[inline(always)]
fn double_register<D: DoubleShift, W: Word>(cx: &mut Vcpu, op: &Op, count: u32) {
    let first = W::read(&cx.regs, op.a);
    if count == 0 {
        first.write(&mut cx.regs, op.a);
        return;
    }
    let (result, flags) = D::compute(first, W::read(&cx.regs, op.b), count);
    result.write(&mut cx.regs, op.a);
    cx.flags = flags;
}

#[inline(always)]
fn double_memory<D: DoubleShift, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op, count: u32) -> Result<(), P::Error> {
    let (second, before) = (W::read(&cx.regs, op.a), cx.flags);
    cx.flags =
        P::modify::<W, _>(
            cx,
            op.segment,
            E::linear(cx, op),
            |first| {
                if count == 0 { (first, before) } else { D::compute(first, second, count) }
            },
        )?;
    Ok(())
}

fn double_by_immediate<D: DoubleShift, W: Word>(cx: &mut Vcpu, op: &Op) {
    double_register::<D, W>(cx, op, masked::<W>(op.immediate));
}

fn double_by_cl<D: DoubleShift, W: Word>(cx: &mut Vcpu, op: &Op) {
    let count = masked::<W>(cx.regs.byte(op.third()).into());
    double_register::<D, W>(cx, op, count);
}

fn double_by_immediate_m<D: DoubleShift, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    double_memory::<D, W, P, E>(cx, op, masked::<W>(op.immediate))
}

fn double_by_cl_m<D: DoubleShift, W: Word, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let count = masked::<W>(cx.regs[slot::RCX]);
    double_memory::<D, W, P, E>(cx, op, count)
}

rows! {
    Rol_rm8_imm8 => register by_immediate[Rol, u8], memory by_immediate_m[Rol, u8];
    Rol_rm8_1 => register by_immediate[Rol, u8], memory by_immediate_m[Rol, u8];
    Rol_rm8_CL => register by_cl[Rol, u8], memory by_cl_m[Rol, u8];
    Rol_rm16_imm8 => register by_immediate[Rol, u16], memory by_immediate_m[Rol, u16];
    Rol_rm16_1 => register by_immediate[Rol, u16], memory by_immediate_m[Rol, u16];
    Rol_rm16_CL => register by_cl[Rol, u16], memory by_cl_m[Rol, u16];
    Rol_rm32_imm8 => register by_immediate[Rol, u32], memory by_immediate_m[Rol, u32];
    Rol_rm32_1 => register by_immediate[Rol, u32], memory by_immediate_m[Rol, u32];
    Rol_rm32_CL => register by_cl[Rol, u32], memory by_cl_m[Rol, u32];
    Rol_rm64_imm8 => register by_immediate[Rol, u64], memory by_immediate_m[Rol, u64];
    Rol_rm64_1 => register by_immediate[Rol, u64], memory by_immediate_m[Rol, u64];
    Rol_rm64_CL => register by_cl[Rol, u64], memory by_cl_m[Rol, u64];
    Ror_rm8_imm8 => register by_immediate[Ror, u8], memory by_immediate_m[Ror, u8];
    Ror_rm8_1 => register by_immediate[Ror, u8], memory by_immediate_m[Ror, u8];
    Ror_rm8_CL => register by_cl[Ror, u8], memory by_cl_m[Ror, u8];
    Ror_rm16_imm8 => register by_immediate[Ror, u16], memory by_immediate_m[Ror, u16];
    Ror_rm16_1 => register by_immediate[Ror, u16], memory by_immediate_m[Ror, u16];
    Ror_rm16_CL => register by_cl[Ror, u16], memory by_cl_m[Ror, u16];
    Ror_rm32_imm8 => register by_immediate[Ror, u32], memory by_immediate_m[Ror, u32];
    Ror_rm32_1 => register by_immediate[Ror, u32], memory by_immediate_m[Ror, u32];
    Ror_rm32_CL => register by_cl[Ror, u32], memory by_cl_m[Ror, u32];
    Ror_rm64_imm8 => register by_immediate[Ror, u64], memory by_immediate_m[Ror, u64];
    Ror_rm64_1 => register by_immediate[Ror, u64], memory by_immediate_m[Ror, u64];
    Ror_rm64_CL => register by_cl[Ror, u64], memory by_cl_m[Ror, u64];
    Rcl_rm8_imm8 => register by_immediate[Rcl, u8], memory by_immediate_m[Rcl, u8];
    Rcl_rm8_1 => register by_immediate[Rcl, u8], memory by_immediate_m[Rcl, u8];
    Rcl_rm8_CL => register by_cl[Rcl, u8], memory by_cl_m[Rcl, u8];
    Rcl_rm16_imm8 => register by_immediate[Rcl, u16], memory by_immediate_m[Rcl, u16];
    Rcl_rm16_1 => register by_immediate[Rcl, u16], memory by_immediate_m[Rcl, u16];
    Rcl_rm16_CL => register by_cl[Rcl, u16], memory by_cl_m[Rcl, u16];
    Rcl_rm32_imm8 => register by_immediate[Rcl, u32], memory by_immediate_m[Rcl, u32];
    Rcl_rm32_1 => register by_immediate[Rcl, u32], memory by_immediate_m[Rcl, u32];
    Rcl_rm32_CL => register by_cl[Rcl, u32], memory by_cl_m[Rcl, u32];
    Rcl_rm64_imm8 => register by_immediate[Rcl, u64], memory by_immediate_m[Rcl, u64];
    Rcl_rm64_1 => register by_immediate[Rcl, u64], memory by_immediate_m[Rcl, u64];
    Rcl_rm64_CL => register by_cl[Rcl, u64], memory by_cl_m[Rcl, u64];
    Rcr_rm8_imm8 => register by_immediate[Rcr, u8], memory by_immediate_m[Rcr, u8];
    Rcr_rm8_1 => register by_immediate[Rcr, u8], memory by_immediate_m[Rcr, u8];
    Rcr_rm8_CL => register by_cl[Rcr, u8], memory by_cl_m[Rcr, u8];
    Rcr_rm16_imm8 => register by_immediate[Rcr, u16], memory by_immediate_m[Rcr, u16];
    Rcr_rm16_1 => register by_immediate[Rcr, u16], memory by_immediate_m[Rcr, u16];
    Rcr_rm16_CL => register by_cl[Rcr, u16], memory by_cl_m[Rcr, u16];
    Rcr_rm32_imm8 => register by_immediate[Rcr, u32], memory by_immediate_m[Rcr, u32];
    Rcr_rm32_1 => register by_immediate[Rcr, u32], memory by_immediate_m[Rcr, u32];
    Rcr_rm32_CL => register by_cl[Rcr, u32], memory by_cl_m[Rcr, u32];
    Rcr_rm64_imm8 => register by_immediate[Rcr, u64], memory by_immediate_m[Rcr, u64];
    Rcr_rm64_1 => register by_immediate[Rcr, u64], memory by_immediate_m[Rcr, u64];
    Rcr_rm64_CL => register by_cl[Rcr, u64], memory by_cl_m[Rcr, u64];
    Shl_rm8_imm8 => register by_immediate[Shl, u8], memory by_immediate_m[Shl, u8];
    Shl_rm8_1 => register by_immediate[Shl, u8], memory by_immediate_m[Shl, u8];
    Shl_rm8_CL => register by_cl[Shl, u8], memory by_cl_m[Shl, u8];
    Shl_rm16_imm8 => register by_immediate[Shl, u16], memory by_immediate_m[Shl, u16];
    Shl_rm16_1 => register by_immediate[Shl, u16], memory by_immediate_m[Shl, u16];
    Shl_rm16_CL => register by_cl[Shl, u16], memory by_cl_m[Shl, u16];
    Shl_rm32_imm8 => register by_immediate[Shl, u32], memory by_immediate_m[Shl, u32];
    Shl_rm32_1 => register by_immediate[Shl, u32], memory by_immediate_m[Shl, u32];
    Shl_rm32_CL => register by_cl[Shl, u32], memory by_cl_m[Shl, u32];
    Shl_rm64_imm8 => register by_immediate[Shl, u64], memory by_immediate_m[Shl, u64];
    Shl_rm64_1 => register by_immediate[Shl, u64], memory by_immediate_m[Shl, u64];
    Shl_rm64_CL => register by_cl[Shl, u64], memory by_cl_m[Shl, u64];
    Shr_rm8_imm8 => register by_immediate[Shr, u8], memory by_immediate_m[Shr, u8];
    Shr_rm8_1 => register by_immediate[Shr, u8], memory by_immediate_m[Shr, u8];
    Shr_rm8_CL => register by_cl[Shr, u8], memory by_cl_m[Shr, u8];
    Shr_rm16_imm8 => register by_immediate[Shr, u16], memory by_immediate_m[Shr, u16];
    Shr_rm16_1 => register by_immediate[Shr, u16], memory by_immediate_m[Shr, u16];
    Shr_rm16_CL => register by_cl[Shr, u16], memory by_cl_m[Shr, u16];
    Shr_rm32_imm8 => register by_immediate[Shr, u32], memory by_immediate_m[Shr, u32];
    Shr_rm32_1 => register by_immediate[Shr, u32], memory by_immediate_m[Shr, u32];
    Shr_rm32_CL => register by_cl[Shr, u32], memory by_cl_m[Shr, u32];
    Shr_rm64_imm8 => register by_immediate[Shr, u64], memory by_immediate_m[Shr, u64];
    Shr_rm64_1 => register by_immediate[Shr, u64], memory by_immediate_m[Shr, u64];
    Shr_rm64_CL => register by_cl[Shr, u64], memory by_cl_m[Shr, u64];
    Sal_rm8_imm8 => register by_immediate[Shl, u8], memory by_immediate_m[Shl, u8];
    Sal_rm8_1 => register by_immediate[Shl, u8], memory by_immediate_m[Shl, u8];
    Sal_rm8_CL => register by_cl[Shl, u8], memory by_cl_m[Shl, u8];
    Sal_rm16_imm8 => register by_immediate[Shl, u16], memory by_immediate_m[Shl, u16];
    Sal_rm16_1 => register by_immediate[Shl, u16], memory by_immediate_m[Shl, u16];
    Sal_rm16_CL => register by_cl[Shl, u16], memory by_cl_m[Shl, u16];
    Sal_rm32_imm8 => register by_immediate[Shl, u32], memory by_immediate_m[Shl, u32];
    Sal_rm32_1 => register by_immediate[Shl, u32], memory by_immediate_m[Shl, u32];
    Sal_rm32_CL => register by_cl[Shl, u32], memory by_cl_m[Shl, u32];
    Sal_rm64_imm8 => register by_immediate[Shl, u64], memory by_immediate_m[Shl, u64];
    Sal_rm64_1 => register by_immediate[Shl, u64], memory by_immediate_m[Shl, u64];
    Sal_rm64_CL => register by_cl[Shl, u64], memory by_cl_m[Shl, u64];
    Sar_rm8_imm8 => register by_immediate[Sar, u8], memory by_immediate_m[Sar, u8];
    Sar_rm8_1 => register by_immediate[Sar, u8], memory by_immediate_m[Sar, u8];
    Sar_rm8_CL => register by_cl[Sar, u8], memory by_cl_m[Sar, u8];
    Sar_rm16_imm8 => register by_immediate[Sar, u16], memory by_immediate_m[Sar, u16];
    Sar_rm16_1 => register by_immediate[Sar, u16], memory by_immediate_m[Sar, u16];
    Sar_rm16_CL => register by_cl[Sar, u16], memory by_cl_m[Sar, u16];
    Sar_rm32_imm8 => register by_immediate[Sar, u32], memory by_immediate_m[Sar, u32];
    Sar_rm32_1 => register by_immediate[Sar, u32], memory by_immediate_m[Sar, u32];
    Sar_rm32_CL => register by_cl[Sar, u32], memory by_cl_m[Sar, u32];
    Sar_rm64_imm8 => register by_immediate[Sar, u64], memory by_immediate_m[Sar, u64];
    Sar_rm64_1 => register by_immediate[Sar, u64], memory by_immediate_m[Sar, u64];
    Sar_rm64_CL => register by_cl[Sar, u64], memory by_cl_m[Sar, u64];
    Shld_rm16_r16_imm8 => register double_by_immediate[Shld, u16], memory double_by_immediate_m[Shld, u16];
    Shld_rm16_r16_CL => register double_by_cl[Shld, u16], memory double_by_cl_m[Shld, u16];
    Shld_rm32_r32_imm8 => register double_by_immediate[Shld, u32], memory double_by_immediate_m[Shld, u32];
    Shld_rm32_r32_CL => register double_by_cl[Shld, u32], memory double_by_cl_m[Shld, u32];
    Shld_rm64_r64_imm8 => register double_by_immediate[Shld, u64], memory double_by_immediate_m[Shld, u64];
    Shld_rm64_r64_CL => register double_by_cl[Shld, u64], memory double_by_cl_m[Shld, u64];
    Shrd_rm16_r16_imm8 => register double_by_immediate[Shrd, u16], memory double_by_immediate_m[Shrd, u16];
    Shrd_rm16_r16_CL => register double_by_cl[Shrd, u16], memory double_by_cl_m[Shrd, u16];
    Shrd_rm32_r32_imm8 => register double_by_immediate[Shrd, u32], memory double_by_immediate_m[Shrd, u32];
    Shrd_rm32_r32_CL => register double_by_cl[Shrd, u32], memory double_by_cl_m[Shrd, u32];
    Shrd_rm64_r64_imm8 => register double_by_immediate[Shrd, u64], memory double_by_immediate_m[Shrd, u64];
    Shrd_rm64_r64_CL => register double_by_cl[Shrd, u64], memory double_by_cl_m[Shrd, u64];
}
