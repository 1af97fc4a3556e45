//! Comparisons: PCMPEQ, PCMPGT, PTEST; and sign bits to general registers: PMOVMSKB, MOVMSKPS, MOVMSKPD.

use crate::cpu::{Exception, LazyFlags, Rflags, Word};
use crate::decode::Op;
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::exec::simd::lanes::{Lane, Vector};
use crate::exec::simd::{Binary, lanewise, load_aligned, rm, rr};
use crate::vcpu::Vcpu;

lanewise! {
    Pcmpeq: |first, second| L::splat(first == second),
    Pcmpgt: |first, second| L::splat(first > second),
}

/// ZF: no bit of `second` is set in `first`; CF: every bit of `second` is.
#[inline(always)]
fn test(first: [u64; 2], second: [u64; 2]) -> LazyFlags {
    let [common, missing] = [[first[0] & second[0], first[1] & second[1]], [!first[0] & second[0], !first[1] & second[1]]];
    let zero = if common == [0, 0] { Rflags::ZF } else { 0 };
    let carry = if missing == [0, 0] { Rflags::CF } else { 0 };
    LazyFlags::from_flags(zero | carry)
}

fn ptest_rr(cx: &mut Vcpu, op: &Op) {
    cx.flags = test(Vector::read(cx, op.a), Vector::read(cx, op.b));
}

fn ptest_rm<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = load_aligned::<_, P, E>(cx, op)?;
    cx.flags = test(Vector::read(cx, op.a), second);
    Ok(())
}

/// The top bits of the eight bytes of `value`, the lowest byte's in bit 0.
#[inline(always)]
fn byte_signs(value: u64) -> u64 {
    // The product adds bit 7 of byte i, shifted left by 49 − 7i: to bit 56 + i. No two terms meet, so nothing carries.
    (value & 0x8080_8080_8080_8080).wrapping_mul(0x0002_0408_1020_4081) >> 56
}

fn pmovmskb<V: Vector<Lane = u64>>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    V::begin(cx)?;
    cx.regs[op.a] = V::read(cx, op.b).as_ref().iter().rev().fold(0, |mask, &eight| mask << 8 | byte_signs(eight));
    V::end(cx);
    Ok(())
}

/// MOVMSKPS, MOVMSKPD.
fn movmsk<V: Vector<Lane: Word>>(cx: &mut Vcpu, op: &Op) {
    let sign = |lane: &V::Lane| lane.zero_extend() >> (<V::Lane as Lane>::BITS - 1);
    cx.regs[op.a] = V::read(cx, op.b).as_ref().iter().rev().fold(0, |mask, lane| mask << 1 | sign(lane));
}

rows! {
    Pcmpeqb_mm_mmm64 => register rr[Pcmpeq, [u8; 8]], memory rm[Pcmpeq, [u8; 8]];
    Pcmpeqb_xmm_xmmm128 => register rr[Pcmpeq, [u8; 16]], memory rm[Pcmpeq, [u8; 16]];
    Pcmpeqw_mm_mmm64 => register rr[Pcmpeq, [u16; 4]], memory rm[Pcmpeq, [u16; 4]];
    Pcmpeqw_xmm_xmmm128 => register rr[Pcmpeq, [u16; 8]], memory rm[Pcmpeq, [u16; 8]];
    Pcmpeqd_mm_mmm64 => register rr[Pcmpeq, [u32; 2]], memory rm[Pcmpeq, [u32; 2]];
    Pcmpeqd_xmm_xmmm128 => register rr[Pcmpeq, [u32; 4]], memory rm[Pcmpeq, [u32; 4]];
    Pcmpeqq_xmm_xmmm128 => register rr[Pcmpeq, [u64; 2]], memory rm[Pcmpeq, [u64; 2]];
    Pcmpgtb_mm_mmm64 => register rr[Pcmpgt, [i8; 8]], memory rm[Pcmpgt, [i8; 8]];
    Pcmpgtb_xmm_xmmm128 => register rr[Pcmpgt, [i8; 16]], memory rm[Pcmpgt, [i8; 16]];
    Pcmpgtw_mm_mmm64 => register rr[Pcmpgt, [i16; 4]], memory rm[Pcmpgt, [i16; 4]];
    Pcmpgtw_xmm_xmmm128 => register rr[Pcmpgt, [i16; 8]], memory rm[Pcmpgt, [i16; 8]];
    Pcmpgtd_mm_mmm64 => register rr[Pcmpgt, [i32; 2]], memory rm[Pcmpgt, [i32; 2]];
    Pcmpgtd_xmm_xmmm128 => register rr[Pcmpgt, [i32; 4]], memory rm[Pcmpgt, [i32; 4]];
    Pcmpgtq_xmm_xmmm128 => register rr[Pcmpgt, [i64; 2]], memory rm[Pcmpgt, [i64; 2]];
    Ptest_xmm_xmmm128 => register ptest_rr, memory ptest_rm;
    Pmovmskb_r32_mm => register pmovmskb[[u64; 1]];
    Pmovmskb_r64_mm => register pmovmskb[[u64; 1]];
    Pmovmskb_r32_xmm => register pmovmskb[[u64; 2]];
    Pmovmskb_r64_xmm => register pmovmskb[[u64; 2]];
    Movmskps_r32_xmm => register movmsk[[u32; 4]];
    Movmskps_r64_xmm => register movmsk[[u32; 4]];
    Movmskpd_r32_xmm => register movmsk[[u64; 2]];
    Movmskpd_r64_xmm => register movmsk[[u64; 2]];
}
