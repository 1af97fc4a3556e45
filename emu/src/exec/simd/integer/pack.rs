//! From wide lanes to narrow ones and back: PACK, PUNPCK, UNPCK, PMOVSX, PMOVZX.

use std::marker::PhantomData;

use crate::cpu::Datum;
use crate::decode::Op;
use crate::exec::path::{EffectiveAddress, Path};
use crate::exec::row::rows;
use crate::exec::simd::lanes::{Lane, Vector, each};
use crate::exec::simd::{Binary, rm, rr};
use crate::vcpu::Vcpu;

/// The nearest number of type `T`.
trait Saturate<T> {
    fn saturate(self) -> T;
}

macro_rules! saturate {
    ($($wide:ty => $($narrow:ty),*;)*) => {$($(
        impl Saturate<$narrow> for $wide {
            #[inline(always)]
            fn saturate(self) -> $narrow {
                self.clamp(<$wide>::from(<$narrow>::MIN), <$wide>::from(<$narrow>::MAX)) as $narrow
            }
        }
    )*)*};
}

saturate! {
    i16 => i8, u8;
    i32 => i16, u16;
}

/// PACKSS, PACKUS: the lanes of the first operand, then those of the second, saturated to type `R`.
struct Pack<R>(PhantomData<R>);
impl<L: Lane + Saturate<R>, R: Lane, const N: usize, const M: usize> Binary<[L; N]> for Pack<[R; M]>
where
    [R; M]: Vector,
{
    type Output = [R; M];
    #[inline(always)]
    fn compute(first: [L; N], second: [L; N]) -> [R; M] {
        const { assert!(M == 2 * N) };
        each(|i| if i < N { first[i] } else { second[i - N] }.saturate())
    }
}

/// PUNPCKL, UNPCKL: the lower halves, lane by lane in turn.
struct Punpckl;
impl<L: Lane, const N: usize> Binary<[L; N]> for Punpckl
where
    [L; N]: Vector,
{
    type Output = [L; N];
    #[inline(always)]
    fn compute(first: [L; N], second: [L; N]) -> [L; N] {
        each(|i| if i % 2 == 0 { first[i / 2] } else { second[i / 2] })
    }
}

/// PUNPCKH, UNPCKH: the upper halves, lane by lane in turn.
struct Punpckh;
impl<L: Lane, const N: usize> Binary<[L; N]> for Punpckh
where
    [L; N]: Vector,
{
    type Output = [L; N];
    #[inline(always)]
    fn compute(first: [L; N], second: [L; N]) -> [L; N] {
        each(|i| if i % 2 == 0 { first[(N + i) / 2] } else { second[(N + i) / 2] })
    }
}

/// MMX register, 32 bits of memory: PUNPCKL needs no more.
fn low_rm<O: Binary<V>, V: Vector, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    V::begin(cx).map_err(P::raise)?;
    let linear = E::linear(cx, op);
    let second: u32 = P::load(cx, op.segment, linear)?;
    O::compute(V::read(cx, op.a), V::from_u128(second.into())).write(cx, op.a);
    V::end(cx);
    Ok(())
}

/// As many of the lowest lanes as there are wider ones in the result.
trait Extend<R> {
    fn extend(self) -> R;
}
impl<L: Lane, R: Lane + From<L>, const N: usize, const M: usize> Extend<[R; M]> for [L; N] {
    #[inline(always)]
    fn extend(self) -> [R; M] {
        const { assert!(M <= N) };
        each(|i| R::from(self[i]))
    }
}

/// PMOVSX, PMOVZX: register, register.
fn extend_rr<V: Vector + Extend<R>, R: Vector>(cx: &mut Vcpu, op: &Op) {
    V::read(cx, op.b).extend().write(cx, op.a);
}

/// PMOVSX, PMOVZX: register, just so much of memory as is needed.
fn extend_rm<D: Datum + Extend<R>, R: Vector, P: Path, E: EffectiveAddress>(cx: &mut Vcpu, op: &Op) -> Result<(), P::Error> {
    let linear = E::linear(cx, op);
    P::load::<D>(cx, op.segment, linear)?.extend().write(cx, op.a);
    Ok(())
}

rows! {
    Packsswb_mm_mmm64 => register rr[Pack<[i8; 8]>, [i16; 4]], memory rm[Pack<[i8; 8]>, [i16; 4]];
    Packsswb_xmm_xmmm128 => register rr[Pack<[i8; 16]>, [i16; 8]], memory rm[Pack<[i8; 16]>, [i16; 8]];
    Packuswb_mm_mmm64 => register rr[Pack<[u8; 8]>, [i16; 4]], memory rm[Pack<[u8; 8]>, [i16; 4]];
    Packuswb_xmm_xmmm128 => register rr[Pack<[u8; 16]>, [i16; 8]], memory rm[Pack<[u8; 16]>, [i16; 8]];
    Packssdw_mm_mmm64 => register rr[Pack<[i16; 4]>, [i32; 2]], memory rm[Pack<[i16; 4]>, [i32; 2]];
    Packssdw_xmm_xmmm128 => register rr[Pack<[i16; 8]>, [i32; 4]], memory rm[Pack<[i16; 8]>, [i32; 4]];
    Packusdw_xmm_xmmm128 => register rr[Pack<[u16; 8]>, [i32; 4]], memory rm[Pack<[u16; 8]>, [i32; 4]];
    Punpcklbw_mm_mmm32 => register rr[Punpckl, [u8; 8]], memory low_rm[Punpckl, [u8; 8]];
    Punpcklbw_xmm_xmmm128 => register rr[Punpckl, [u8; 16]], memory rm[Punpckl, [u8; 16]];
    Punpcklwd_mm_mmm32 => register rr[Punpckl, [u16; 4]], memory low_rm[Punpckl, [u16; 4]];
    Punpcklwd_xmm_xmmm128 => register rr[Punpckl, [u16; 8]], memory rm[Punpckl, [u16; 8]];
    Punpckldq_mm_mmm32 => register rr[Punpckl, [u32; 2]], memory low_rm[Punpckl, [u32; 2]];
    Punpckldq_xmm_xmmm128 => register rr[Punpckl, [u32; 4]], memory rm[Punpckl, [u32; 4]];
    Punpcklqdq_xmm_xmmm128 => register rr[Punpckl, [u64; 2]], memory rm[Punpckl, [u64; 2]];
    Unpcklps_xmm_xmmm128 => register rr[Punpckl, [u32; 4]], memory rm[Punpckl, [u32; 4]];
    Unpcklpd_xmm_xmmm128 => register rr[Punpckl, [u64; 2]], memory rm[Punpckl, [u64; 2]];
    Punpckhbw_mm_mmm64 => register rr[Punpckh, [u8; 8]], memory rm[Punpckh, [u8; 8]];
    Punpckhbw_xmm_xmmm128 => register rr[Punpckh, [u8; 16]], memory rm[Punpckh, [u8; 16]];
    Punpckhwd_mm_mmm64 => register rr[Punpckh, [u16; 4]], memory rm[Punpckh, [u16; 4]];
    Punpckhwd_xmm_xmmm128 => register rr[Punpckh, [u16; 8]], memory rm[Punpckh, [u16; 8]];
    Punpckhdq_mm_mmm64 => register rr[Punpckh, [u32; 2]], memory rm[Punpckh, [u32; 2]];
    Punpckhdq_xmm_xmmm128 => register rr[Punpckh, [u32; 4]], memory rm[Punpckh, [u32; 4]];
    Punpckhqdq_xmm_xmmm128 => register rr[Punpckh, [u64; 2]], memory rm[Punpckh, [u64; 2]];
    Unpckhps_xmm_xmmm128 => register rr[Punpckh, [u32; 4]], memory rm[Punpckh, [u32; 4]];
    Unpckhpd_xmm_xmmm128 => register rr[Punpckh, [u64; 2]], memory rm[Punpckh, [u64; 2]];
    Pmovsxbw_xmm_xmmm64 => register extend_rr[[i8; 16], [i16; 8]], memory extend_rm[[i8; 8], [i16; 8]];
    Pmovsxbd_xmm_xmmm32 => register extend_rr[[i8; 16], [i32; 4]], memory extend_rm[[i8; 4], [i32; 4]];
    Pmovsxbq_xmm_xmmm16 => register extend_rr[[i8; 16], [i64; 2]], memory extend_rm[[i8; 2], [i64; 2]];
    Pmovsxwd_xmm_xmmm64 => register extend_rr[[i16; 8], [i32; 4]], memory extend_rm[[i16; 4], [i32; 4]];
    Pmovsxwq_xmm_xmmm32 => register extend_rr[[i16; 8], [i64; 2]], memory extend_rm[[i16; 2], [i64; 2]];
    Pmovsxdq_xmm_xmmm64 => register extend_rr[[i32; 4], [i64; 2]], memory extend_rm[[i32; 2], [i64; 2]];
    Pmovzxbw_xmm_xmmm64 => register extend_rr[[u8; 16], [u16; 8]], memory extend_rm[[u8; 8], [u16; 8]];
    Pmovzxbd_xmm_xmmm32 => register extend_rr[[u8; 16], [u32; 4]], memory extend_rm[[u8; 4], [u32; 4]];
    Pmovzxbq_xmm_xmmm16 => register extend_rr[[u8; 16], [u64; 2]], memory extend_rm[[u8; 2], [u64; 2]];
    Pmovzxwd_xmm_xmmm64 => register extend_rr[[u16; 8], [u32; 4]], memory extend_rm[[u16; 4], [u32; 4]];
    Pmovzxwq_xmm_xmmm32 => register extend_rr[[u16; 8], [u64; 2]], memory extend_rm[[u16; 2], [u64; 2]];
    Pmovzxdq_xmm_xmmm64 => register extend_rr[[u32; 4], [u64; 2]], memory extend_rm[[u32; 2], [u64; 2]];
}
