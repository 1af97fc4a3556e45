//! Products and sums of products: PMUL, PMADD; sums of differences: PSADBW, MPSADBW.

use std::marker::PhantomData;

use crate::exec::row::rows;
use crate::exec::simd::lanes::{Lane, Vector, each};
use crate::exec::simd::{Binary, Immediate, lanewise, rm, rmi, rr, rri};

lanewise! {
    /// PMULLW, PMULLD.
    Pmull: |first, second| first.multiply_low(second),
    /// PMULHW, PMULHUW: the lane type says which.
    Pmulh: |first, second| first.multiply_high(second),
}

/// The high bits of a product of fractions, rounded.
struct Pmulhrsw;
impl<const N: usize> Binary<[i16; N]> for Pmulhrsw
where
    [i16; N]: Vector,
{
    type Output = [i16; N];
    #[inline(always)]
    fn compute(first: [i16; N], second: [i16; N]) -> [i16; N] {
        each(|i| ((((i32::from(first[i]) * i32::from(second[i])) >> 14) + 1) >> 1) as i16)
    }
}

/// PMULUDQ, PMULDQ: whole products of the even lanes, as lanes of type `R`.
struct PmulEven<R>(PhantomData<R>);
impl<L: Lane, R: Lane + From<L>, const N: usize, const M: usize> Binary<[L; N]> for PmulEven<[R; M]>
where
    [R; M]: Vector,
{
    type Output = [R; M];
    #[inline(always)]
    fn compute(first: [L; N], second: [L; N]) -> [R; M] {
        const { assert!(N == 2 * M) };
        each(|i| R::from(first[2 * i]).multiply_low(R::from(second[2 * i])))
    }
}

/// Sums of the products of neighbouring words.
struct Pmaddwd<R>(PhantomData<R>);
impl<const N: usize, const M: usize> Binary<[i16; N]> for Pmaddwd<[i32; M]>
where
    [i32; M]: Vector,
{
    type Output = [i32; M];
    #[inline(always)]
    fn compute(first: [i16; N], second: [i16; N]) -> [i32; M] {
        const { assert!(N == 2 * M) };
        let product = |i: usize| i32::from(first[i]) * i32::from(second[i]);
        each(|i| product(2 * i).wrapping_add(product(2 * i + 1)))
    }
}

/// Saturated sums of the products of neighbouring bytes, unsigned ones and signed ones.
struct Pmaddubsw<R>(PhantomData<R>);
impl<const N: usize, const M: usize> Binary<[u8; N]> for Pmaddubsw<[i16; M]>
where
    [i16; M]: Vector,
{
    type Output = [i16; M];
    #[inline(always)]
    fn compute(first: [u8; N], second: [u8; N]) -> [i16; M] {
        const { assert!(N == 2 * M) };
        let product = |i: usize| i16::from(first[i]) * i16::from(second[i].cast_signed());
        each(|i| product(2 * i).saturating_add(product(2 * i + 1)))
    }
}

/// Sums of the distances of eight bytes.
struct Psadbw<R>(PhantomData<R>);
impl<const N: usize, const M: usize> Binary<[u8; N]> for Psadbw<[u64; M]>
where
    [u64; M]: Vector,
{
    type Output = [u64; M];
    #[inline(always)]
    fn compute(first: [u8; N], second: [u8; N]) -> [u64; M] {
        const { assert!(N == 8 * M) };
        each(|i| (8 * i..8 * i + 8).map(|at| u64::from(first[at].abs_diff(second[at]))).sum())
    }
}

/// Sums of the distances of four bytes of the second operand to those at eight places in the first.
struct Mpsadbw;
impl Immediate<[u8; 16]> for Mpsadbw {
    type Output = [u16; 8];
    #[inline(always)]
    fn compute(first: [u8; 16], second: [u8; 16], immediate: u8) -> [u16; 8] {
        let (start, block) = (usize::from(immediate >> 2 & 1) * 4, usize::from(immediate & 3) * 4);
        each(|i| (0..4).map(|at| u16::from(first[start + i + at].abs_diff(second[block + at]))).sum())
    }
}

rows! {
    Pmullw_mm_mmm64 => register rr[Pmull, [i16; 4]], memory rm[Pmull, [i16; 4]];
    Pmullw_xmm_xmmm128 => register rr[Pmull, [i16; 8]], memory rm[Pmull, [i16; 8]];
    Pmulld_xmm_xmmm128 => register rr[Pmull, [i32; 4]], memory rm[Pmull, [i32; 4]];
    Pmulhw_mm_mmm64 => register rr[Pmulh, [i16; 4]], memory rm[Pmulh, [i16; 4]];
    Pmulhw_xmm_xmmm128 => register rr[Pmulh, [i16; 8]], memory rm[Pmulh, [i16; 8]];
    Pmulhuw_mm_mmm64 => register rr[Pmulh, [u16; 4]], memory rm[Pmulh, [u16; 4]];
    Pmulhuw_xmm_xmmm128 => register rr[Pmulh, [u16; 8]], memory rm[Pmulh, [u16; 8]];
    Pmulhrsw_mm_mmm64 => register rr[Pmulhrsw, [i16; 4]], memory rm[Pmulhrsw, [i16; 4]];
    Pmulhrsw_xmm_xmmm128 => register rr[Pmulhrsw, [i16; 8]], memory rm[Pmulhrsw, [i16; 8]];
    Pmuludq_mm_mmm64 => register rr[PmulEven<[u64; 1]>, [u32; 2]], memory rm[PmulEven<[u64; 1]>, [u32; 2]];
    Pmuludq_xmm_xmmm128 => register rr[PmulEven<[u64; 2]>, [u32; 4]], memory rm[PmulEven<[u64; 2]>, [u32; 4]];
    Pmuldq_xmm_xmmm128 => register rr[PmulEven<[i64; 2]>, [i32; 4]], memory rm[PmulEven<[i64; 2]>, [i32; 4]];
    Pmaddwd_mm_mmm64 => register rr[Pmaddwd<[i32; 2]>, [i16; 4]], memory rm[Pmaddwd<[i32; 2]>, [i16; 4]];
    Pmaddwd_xmm_xmmm128 => register rr[Pmaddwd<[i32; 4]>, [i16; 8]], memory rm[Pmaddwd<[i32; 4]>, [i16; 8]];
    Pmaddubsw_mm_mmm64 => register rr[Pmaddubsw<[i16; 4]>, [u8; 8]], memory rm[Pmaddubsw<[i16; 4]>, [u8; 8]];
    Pmaddubsw_xmm_xmmm128 => register rr[Pmaddubsw<[i16; 8]>, [u8; 16]], memory rm[Pmaddubsw<[i16; 8]>, [u8; 16]];
    Psadbw_mm_mmm64 => register rr[Psadbw<[u64; 1]>, [u8; 8]], memory rm[Psadbw<[u64; 1]>, [u8; 8]];
    Psadbw_xmm_xmmm128 => register rr[Psadbw<[u64; 2]>, [u8; 16]], memory rm[Psadbw<[u64; 2]>, [u8; 16]];
    Mpsadbw_xmm_xmmm128_imm8 => call rri[Mpsadbw, [u8; 16]], call_memory rmi[Mpsadbw, [u8; 16]];
}
