//! Shifts: PSLL, PSRL, PSRA by an immediate or by a register or memory operand; PSLLDQ and PSRLDQ.

use crate::cpu::{Datum, Exception};
use crate::decode::Op;
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::exec::simd::lanes::{Lane, Vector, each};
use crate::exec::simd::load_aligned;
use crate::vcpu::Vcpu;

/// A shift by the same number of bits, or of bytes, everywhere.
trait Shift<V> {
    /// The shifted value; any count is allowed.
    fn compute(value: V, count: u64) -> V;
}

/// Left.
struct Psll;
impl<L: Lane, const N: usize> Shift<[L; N]> for Psll
where
    [L; N]: Vector,
{
    #[inline(always)]
    fn compute(value: [L; N], count: u64) -> [L; N] {
        if count >= u64::from(L::BITS) { Default::default() } else { each(|i| value[i].shift_left(count as u32)) }
    }
}

/// Right, with zeros.
struct Psrl;
impl<L: Lane, const N: usize> Shift<[L; N]> for Psrl
where
    [L; N]: Vector,
{
    #[inline(always)]
    fn compute(value: [L; N], count: u64) -> [L; N] {
        if count >= u64::from(L::BITS) { Default::default() } else { each(|i| value[i].shift_right(count as u32)) }
    }
}

/// Right, with copies of the sign bit: on signed lanes.
struct Psra;
impl<L: Lane, const N: usize> Shift<[L; N]> for Psra {
    #[inline(always)]
    fn compute(value: [L; N], count: u64) -> [L; N] {
        let count = count.min(u64::from(L::BITS) - 1) as u32;
        each(|i| value[i].shift_right(count))
    }
}

/// Left by bytes.
struct Pslldq;
impl<V: Datum> Shift<V> for Pslldq {
    #[inline(always)]
    fn compute(value: V, count: u64) -> V {
        V::from_u128(if count > 15 { 0 } else { value.to_u128() << (8 * count) })
    }
}

/// Right by bytes.
struct Psrldq;
impl<V: Datum> Shift<V> for Psrldq {
    #[inline(always)]
    fn compute(value: V, count: u64) -> V {
        V::from_u128(if count > 15 { 0 } else { value.to_u128() >> (8 * count) })
    }
}

/// Register, immediate.
fn ri<S: Shift<V>, V: Vector>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    V::begin(cx)?;
    S::compute(V::read(cx, op.a), op.immediate).write(cx, op.a);
    V::end(cx);
    Ok(())
}

/// Register, register: the count is the low 64 bits.
fn rr<S: Shift<V>, V: Vector>(cx: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    V::begin(cx)?;
    S::compute(V::read(cx, op.a), V::read_low(cx, op.b)).write(cx, op.a);
    V::end(cx);
    Ok(())
}

/// Register, memory: as wide as the register, the count is the low 64 bits.
fn rm<S: Shift<V>, V: Vector, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    V::begin(cx).map_err(P::raise)?;
    let count = load_aligned::<V, P, E>(cx, op)?.to_u128() as u64;
    S::compute(V::read(cx, op.a), count).write(cx, op.a);
    V::end(cx);
    Ok(())
}

rows! {
    Psllw_mm_imm8 => register ri[Psll, [u16; 4]];
    Psllw_xmm_imm8 => register ri[Psll, [u16; 8]];
    Psllw_mm_mmm64 => register rr[Psll, [u16; 4]], memory rm[Psll, [u16; 4]];
    Psllw_xmm_xmmm128 => register rr[Psll, [u16; 8]], memory rm[Psll, [u16; 8]];
    Pslld_mm_imm8 => register ri[Psll, [u32; 2]];
    Pslld_xmm_imm8 => register ri[Psll, [u32; 4]];
    Pslld_mm_mmm64 => register rr[Psll, [u32; 2]], memory rm[Psll, [u32; 2]];
    Pslld_xmm_xmmm128 => register rr[Psll, [u32; 4]], memory rm[Psll, [u32; 4]];
    Psllq_mm_imm8 => register ri[Psll, [u64; 1]];
    Psllq_xmm_imm8 => register ri[Psll, [u64; 2]];
    Psllq_mm_mmm64 => register rr[Psll, [u64; 1]], memory rm[Psll, [u64; 1]];
    Psllq_xmm_xmmm128 => register rr[Psll, [u64; 2]], memory rm[Psll, [u64; 2]];
    Psrlw_mm_imm8 => register ri[Psrl, [u16; 4]];
    Psrlw_xmm_imm8 => register ri[Psrl, [u16; 8]];
    Psrlw_mm_mmm64 => register rr[Psrl, [u16; 4]], memory rm[Psrl, [u16; 4]];
    Psrlw_xmm_xmmm128 => register rr[Psrl, [u16; 8]], memory rm[Psrl, [u16; 8]];
    Psrld_mm_imm8 => register ri[Psrl, [u32; 2]];
    Psrld_xmm_imm8 => register ri[Psrl, [u32; 4]];
    Psrld_mm_mmm64 => register rr[Psrl, [u32; 2]], memory rm[Psrl, [u32; 2]];
    Psrld_xmm_xmmm128 => register rr[Psrl, [u32; 4]], memory rm[Psrl, [u32; 4]];
    Psrlq_mm_imm8 => register ri[Psrl, [u64; 1]];
    Psrlq_xmm_imm8 => register ri[Psrl, [u64; 2]];
    Psrlq_mm_mmm64 => register rr[Psrl, [u64; 1]], memory rm[Psrl, [u64; 1]];
    Psrlq_xmm_xmmm128 => register rr[Psrl, [u64; 2]], memory rm[Psrl, [u64; 2]];
    Psraw_mm_imm8 => register ri[Psra, [i16; 4]];
    Psraw_xmm_imm8 => register ri[Psra, [i16; 8]];
    Psraw_mm_mmm64 => register rr[Psra, [i16; 4]], memory rm[Psra, [i16; 4]];
    Psraw_xmm_xmmm128 => register rr[Psra, [i16; 8]], memory rm[Psra, [i16; 8]];
    Psrad_mm_imm8 => register ri[Psra, [i32; 2]];
    Psrad_xmm_imm8 => register ri[Psra, [i32; 4]];
    Psrad_mm_mmm64 => register rr[Psra, [i32; 2]], memory rm[Psra, [i32; 2]];
    Psrad_xmm_xmmm128 => register rr[Psra, [i32; 4]], memory rm[Psra, [i32; 4]];
    Pslldq_xmm_imm8 => register ri[Pslldq, [u64; 2]];
    Psrldq_xmm_imm8 => register ri[Psrldq, [u64; 2]];
}
