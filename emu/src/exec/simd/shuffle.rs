//! Lanes to other places: PSHUF, SHUF, PALIGNR, MOVSHDUP, MOVSLDUP, MOVDDUP; lanes from one operand or the other: BLEND, PBLEND.

use super::lanes::{Lane, Vector, each};
use super::{Binary, Immediate, load_aligned, rm, rmi, rr, rri};
use crate::decode::Op;
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::vcpu::Vcpu;

/// The two bits of an immediate that say where lane `i` comes from.
#[inline(always)]
fn selector(immediate: u8, i: usize) -> usize {
    usize::from(immediate >> (2 * i % 8) & 3)
}

/// PSHUFD, PSHUFW: any of the second operand's four lanes to each place.
struct Pshuf;
impl<L: Lane> Immediate<[L; 4]> for Pshuf
where
    [L; 4]: Vector,
{
    type Output = [L; 4];
    #[inline(always)]
    fn compute(_: [L; 4], second: [L; 4], immediate: u8) -> [L; 4] {
        each(|i| second[selector(immediate, i)])
    }
}

struct Pshuflw;
impl Immediate<[u16; 8]> for Pshuflw {
    type Output = [u16; 8];
    #[inline(always)]
    fn compute(_: [u16; 8], second: [u16; 8], immediate: u8) -> [u16; 8] {
        each(|i| second[if i < 4 { selector(immediate, i) } else { i }])
    }
}

struct Pshufhw;
impl Immediate<[u16; 8]> for Pshufhw {
    type Output = [u16; 8];
    #[inline(always)]
    fn compute(_: [u16; 8], second: [u16; 8], immediate: u8) -> [u16; 8] {
        each(|i| second[if i < 4 { i } else { 4 + selector(immediate, i - 4) }])
    }
}

struct Pshufb;
impl<const N: usize> Binary<[u8; N]> for Pshufb
where
    [u8; N]: Vector,
{
    type Output = [u8; N];
    #[inline(always)]
    fn compute(first: [u8; N], second: [u8; N]) -> [u8; N] {
        each(|i| if second[i] & 0x80 != 0 { 0 } else { first[usize::from(second[i]) % N] })
    }
}

/// Two lanes of the first operand, then two of the second.
struct Shufps;
impl Immediate<[u32; 4]> for Shufps {
    type Output = [u32; 4];
    #[inline(always)]
    fn compute(first: [u32; 4], second: [u32; 4], immediate: u8) -> [u32; 4] {
        each(|i| if i < 2 { first } else { second }[selector(immediate, i)])
    }
}

struct Shufpd;
impl Immediate<[u64; 2]> for Shufpd {
    type Output = [u64; 2];
    #[inline(always)]
    fn compute(first: [u64; 2], second: [u64; 2], immediate: u8) -> [u64; 2] {
        [first[usize::from(immediate & 1)], second[usize::from(immediate >> 1 & 1)]]
    }
}

/// The operands as one number, the first above the second, shifted right by bytes.
struct Palignr;
impl<V: Vector> Immediate<V> for Palignr {
    type Output = V;
    #[inline(always)]
    fn compute(first: V, second: V, immediate: u8) -> V {
        let (width, shift) = (8 * V::BYTES as u32, 8 * u32::from(immediate));
        let (first, second) = (first.to_u128(), second.to_u128());
        V::from_u128(match shift.checked_sub(width) {
            None => second >> shift | first.checked_shl(width - shift).unwrap_or(0),
            Some(shift) if shift < width => first >> shift,
            Some(_) => 0,
        })
    }
}

/// Odd lanes, each twice.
struct Movshdup;
impl Binary<[u32; 4]> for Movshdup {
    type Output = [u32; 4];
    #[inline(always)]
    fn compute(_: [u32; 4], second: [u32; 4]) -> [u32; 4] {
        [second[1], second[1], second[3], second[3]]
    }
}

/// Even lanes, each twice.
struct Movsldup;
impl Binary<[u32; 4]> for Movsldup {
    type Output = [u32; 4];
    #[inline(always)]
    fn compute(_: [u32; 4], second: [u32; 4]) -> [u32; 4] {
        [second[0], second[0], second[2], second[2]]
    }
}

fn movddup_rr(cx: &mut Vcpu, op: &Op) {
    [<[u64; 2]>::read(cx, op.b)[0]; 2].write(cx, op.a);
}

fn movddup_rm<P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    [P::load::<u64>(cx, op.segment, linear)?; 2].write(cx, op.a);
    Ok(())
}

/// BLENDPS, BLENDPD, PBLENDW: a bit of the immediate chooses the second operand's lane.
struct Blend;
impl<L: Lane, const N: usize> Immediate<[L; N]> for Blend
where
    [L; N]: Vector,
{
    type Output = [L; N];
    #[inline(always)]
    fn compute(first: [L; N], second: [L; N], immediate: u8) -> [L; N] {
        each(|i| if immediate >> i & 1 != 0 { second[i] } else { first[i] })
    }
}

/// BLENDVPS, BLENDVPD, PBLENDVB, on signed lanes: where the mask is negative, the second operand's.
trait BlendVariable: Vector {
    fn blend(self, second: Self, mask: Self) -> Self;
}
impl<L: Lane, const N: usize> BlendVariable for [L; N]
where
    [L; N]: Vector,
{
    #[inline(always)]
    fn blend(self, second: Self, mask: Self) -> Self {
        each(|i| if mask[i] < L::default() { second[i] } else { self[i] })
    }
}

/// The mask is XMM0.
fn blendv_rr<V: BlendVariable>(cx: &mut Vcpu, op: &Op) {
    V::read(cx, op.a).blend(V::read(cx, op.b), V::read(cx, 0)).write(cx, op.a);
}

fn blendv_rm<V: BlendVariable, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let second = load_aligned::<V, P, E>(cx, op)?;
    V::read(cx, op.a).blend(second, V::read(cx, 0)).write(cx, op.a);
    Ok(())
}

rows! {
    Pshufw_mm_mmm64_imm8 => register rri[Pshuf, [u16; 4]], memory rmi[Pshuf, [u16; 4]];
    Pshufd_xmm_xmmm128_imm8 => register rri[Pshuf, [u32; 4]], memory rmi[Pshuf, [u32; 4]];
    Pshuflw_xmm_xmmm128_imm8 => register rri[Pshuflw, [u16; 8]], memory rmi[Pshuflw, [u16; 8]];
    Pshufhw_xmm_xmmm128_imm8 => register rri[Pshufhw, [u16; 8]], memory rmi[Pshufhw, [u16; 8]];
    Pshufb_mm_mmm64 => register rr[Pshufb, [u8; 8]], memory rm[Pshufb, [u8; 8]];
    Pshufb_xmm_xmmm128 => register rr[Pshufb, [u8; 16]], memory rm[Pshufb, [u8; 16]];
    Shufps_xmm_xmmm128_imm8 => register rri[Shufps, [u32; 4]], memory rmi[Shufps, [u32; 4]];
    Shufpd_xmm_xmmm128_imm8 => register rri[Shufpd, [u64; 2]], memory rmi[Shufpd, [u64; 2]];
    Palignr_mm_mmm64_imm8 => register rri[Palignr, [u64; 1]], memory rmi[Palignr, [u64; 1]];
    Palignr_xmm_xmmm128_imm8 => register rri[Palignr, [u64; 2]], memory rmi[Palignr, [u64; 2]];
    Movshdup_xmm_xmmm128 => register rr[Movshdup, [u32; 4]], memory rm[Movshdup, [u32; 4]];
    Movsldup_xmm_xmmm128 => register rr[Movsldup, [u32; 4]], memory rm[Movsldup, [u32; 4]];
    Movddup_xmm_xmmm64 => register movddup_rr, memory movddup_rm;
    Blendps_xmm_xmmm128_imm8 => register rri[Blend, [u32; 4]], memory rmi[Blend, [u32; 4]];
    Blendpd_xmm_xmmm128_imm8 => register rri[Blend, [u64; 2]], memory rmi[Blend, [u64; 2]];
    Pblendw_xmm_xmmm128_imm8 => register rri[Blend, [u16; 8]], memory rmi[Blend, [u16; 8]];
    Blendvps_xmm_xmmm128 => register blendv_rr[[i32; 4]], memory blendv_rm[[i32; 4]];
    Blendvpd_xmm_xmmm128 => register blendv_rr[[i64; 2]], memory blendv_rm[[i64; 2]];
    Pblendvb_xmm_xmmm128 => register blendv_rr[[i8; 16]], memory blendv_rm[[i8; 16]];
}
