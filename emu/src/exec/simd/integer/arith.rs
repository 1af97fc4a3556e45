//! Addition, subtraction, averages, extrema, signs: PADD, PSUB, PHADD, PHSUB, PAVG, PMIN, PMAX, PABS, PSIGN, PHMINPOSUW.

use std::cmp::Ordering;

use crate::exec::row::rows;
use crate::exec::simd::lanes::{Lane, Vector, each};
use crate::exec::simd::{Binary, lanewise, rm, rr};

lanewise! {
    Padd: |first, second| first.wrapping_add(second),
    Psub: |first, second| first.wrapping_sub(second),
    /// PADDS and PADDUS: the lane type says which.
    Padds: |first, second| first.saturating_add(second),
    Psubs: |first, second| first.saturating_sub(second),
    Pavg: |first, second| first.average(second),
    Pmin: |first, second| first.min(second),
    Pmax: |first, second| first.max(second),
    /// On signed lanes.
    Pabs: |_first, second| if second < L::default() { L::default().wrapping_sub(second) } else { second },
    /// On signed lanes.
    Psign: |first, second| match second.cmp(&L::default()) {
        Ordering::Less => L::default().wrapping_sub(first),
        Ordering::Equal => L::default(),
        Ordering::Greater => first,
    },
}

/// Combines neighbours: those of the first operand into the lower half, those of the second into the upper.
#[inline(always)]
fn neighbours<L: Lane, const N: usize>(first: [L; N], second: [L; N], combine: impl Fn(L, L) -> L) -> [L; N] {
    each(|i| {
        let (source, at) = if i < N / 2 { (&first, 2 * i) } else { (&second, 2 * i - N) };
        combine(source[at], source[at + 1])
    })
}

macro_rules! horizontal {
    ($($name:ident: $combine:expr),* $(,)?) => {$(
        struct $name;
        impl<L: Lane, const N: usize> Binary<[L; N]> for $name
        where
            [L; N]: Vector,
        {
            type Output = [L; N];
            #[inline(always)]
            fn compute(first: [L; N], second: [L; N]) -> [L; N] {
                neighbours(first, second, $combine)
            }
        }
    )*};
}

horizontal! {
    Phadd: Lane::wrapping_add,
    Phsub: Lane::wrapping_sub,
    Phadds: Lane::saturating_add,
    Phsubs: Lane::saturating_sub,
}

/// The smallest word, and the first place where it stands.
struct Phminposuw;
impl Binary<[u16; 8]> for Phminposuw {
    type Output = [u16; 8];
    #[inline(always)]
    fn compute(_: [u16; 8], second: [u16; 8]) -> [u16; 8] {
        // The place in the low bits decides between equals.
        let keys: [u32; 8] = each(|i| u32::from(second[i]) << 16 | i as u32);
        let least = keys.into_iter().fold(u32::MAX, u32::min);
        [(least >> 16) as u16, least as u16, 0, 0, 0, 0, 0, 0]
    }
}

rows! {
    Paddb_mm_mmm64 => register rr[Padd, [u8; 8]], memory rm[Padd, [u8; 8]];
    Paddb_xmm_xmmm128 => register rr[Padd, [u8; 16]], memory rm[Padd, [u8; 16]];
    Paddw_mm_mmm64 => register rr[Padd, [u16; 4]], memory rm[Padd, [u16; 4]];
    Paddw_xmm_xmmm128 => register rr[Padd, [u16; 8]], memory rm[Padd, [u16; 8]];
    Paddd_mm_mmm64 => register rr[Padd, [u32; 2]], memory rm[Padd, [u32; 2]];
    Paddd_xmm_xmmm128 => register rr[Padd, [u32; 4]], memory rm[Padd, [u32; 4]];
    Paddq_mm_mmm64 => register rr[Padd, [u64; 1]], memory rm[Padd, [u64; 1]];
    Paddq_xmm_xmmm128 => register rr[Padd, [u64; 2]], memory rm[Padd, [u64; 2]];
    Psubb_mm_mmm64 => register rr[Psub, [u8; 8]], memory rm[Psub, [u8; 8]];
    Psubb_xmm_xmmm128 => register rr[Psub, [u8; 16]], memory rm[Psub, [u8; 16]];
    Psubw_mm_mmm64 => register rr[Psub, [u16; 4]], memory rm[Psub, [u16; 4]];
    Psubw_xmm_xmmm128 => register rr[Psub, [u16; 8]], memory rm[Psub, [u16; 8]];
    Psubd_mm_mmm64 => register rr[Psub, [u32; 2]], memory rm[Psub, [u32; 2]];
    Psubd_xmm_xmmm128 => register rr[Psub, [u32; 4]], memory rm[Psub, [u32; 4]];
    Psubq_mm_mmm64 => register rr[Psub, [u64; 1]], memory rm[Psub, [u64; 1]];
    Psubq_xmm_xmmm128 => register rr[Psub, [u64; 2]], memory rm[Psub, [u64; 2]];
    Paddsb_mm_mmm64 => register rr[Padds, [i8; 8]], memory rm[Padds, [i8; 8]];
    Paddsb_xmm_xmmm128 => register rr[Padds, [i8; 16]], memory rm[Padds, [i8; 16]];
    Paddsw_mm_mmm64 => register rr[Padds, [i16; 4]], memory rm[Padds, [i16; 4]];
    Paddsw_xmm_xmmm128 => register rr[Padds, [i16; 8]], memory rm[Padds, [i16; 8]];
    Paddusb_mm_mmm64 => register rr[Padds, [u8; 8]], memory rm[Padds, [u8; 8]];
    Paddusb_xmm_xmmm128 => register rr[Padds, [u8; 16]], memory rm[Padds, [u8; 16]];
    Paddusw_mm_mmm64 => register rr[Padds, [u16; 4]], memory rm[Padds, [u16; 4]];
    Paddusw_xmm_xmmm128 => register rr[Padds, [u16; 8]], memory rm[Padds, [u16; 8]];
    Psubsb_mm_mmm64 => register rr[Psubs, [i8; 8]], memory rm[Psubs, [i8; 8]];
    Psubsb_xmm_xmmm128 => register rr[Psubs, [i8; 16]], memory rm[Psubs, [i8; 16]];
    Psubsw_mm_mmm64 => register rr[Psubs, [i16; 4]], memory rm[Psubs, [i16; 4]];
    Psubsw_xmm_xmmm128 => register rr[Psubs, [i16; 8]], memory rm[Psubs, [i16; 8]];
    Psubusb_mm_mmm64 => register rr[Psubs, [u8; 8]], memory rm[Psubs, [u8; 8]];
    Psubusb_xmm_xmmm128 => register rr[Psubs, [u8; 16]], memory rm[Psubs, [u8; 16]];
    Psubusw_mm_mmm64 => register rr[Psubs, [u16; 4]], memory rm[Psubs, [u16; 4]];
    Psubusw_xmm_xmmm128 => register rr[Psubs, [u16; 8]], memory rm[Psubs, [u16; 8]];
    Phaddw_mm_mmm64 => register rr[Phadd, [u16; 4]], memory rm[Phadd, [u16; 4]];
    Phaddw_xmm_xmmm128 => register rr[Phadd, [u16; 8]], memory rm[Phadd, [u16; 8]];
    Phaddd_mm_mmm64 => register rr[Phadd, [u32; 2]], memory rm[Phadd, [u32; 2]];
    Phaddd_xmm_xmmm128 => register rr[Phadd, [u32; 4]], memory rm[Phadd, [u32; 4]];
    Phsubw_mm_mmm64 => register rr[Phsub, [u16; 4]], memory rm[Phsub, [u16; 4]];
    Phsubw_xmm_xmmm128 => register rr[Phsub, [u16; 8]], memory rm[Phsub, [u16; 8]];
    Phsubd_mm_mmm64 => register rr[Phsub, [u32; 2]], memory rm[Phsub, [u32; 2]];
    Phsubd_xmm_xmmm128 => register rr[Phsub, [u32; 4]], memory rm[Phsub, [u32; 4]];
    Phaddsw_mm_mmm64 => register rr[Phadds, [i16; 4]], memory rm[Phadds, [i16; 4]];
    Phaddsw_xmm_xmmm128 => register rr[Phadds, [i16; 8]], memory rm[Phadds, [i16; 8]];
    Phsubsw_mm_mmm64 => register rr[Phsubs, [i16; 4]], memory rm[Phsubs, [i16; 4]];
    Phsubsw_xmm_xmmm128 => register rr[Phsubs, [i16; 8]], memory rm[Phsubs, [i16; 8]];
    Pavgb_mm_mmm64 => register rr[Pavg, [u8; 8]], memory rm[Pavg, [u8; 8]];
    Pavgb_xmm_xmmm128 => register rr[Pavg, [u8; 16]], memory rm[Pavg, [u8; 16]];
    Pavgw_mm_mmm64 => register rr[Pavg, [u16; 4]], memory rm[Pavg, [u16; 4]];
    Pavgw_xmm_xmmm128 => register rr[Pavg, [u16; 8]], memory rm[Pavg, [u16; 8]];
    Pminub_mm_mmm64 => register rr[Pmin, [u8; 8]], memory rm[Pmin, [u8; 8]];
    Pminub_xmm_xmmm128 => register rr[Pmin, [u8; 16]], memory rm[Pmin, [u8; 16]];
    Pminsb_xmm_xmmm128 => register rr[Pmin, [i8; 16]], memory rm[Pmin, [i8; 16]];
    Pminuw_xmm_xmmm128 => register rr[Pmin, [u16; 8]], memory rm[Pmin, [u16; 8]];
    Pminsw_mm_mmm64 => register rr[Pmin, [i16; 4]], memory rm[Pmin, [i16; 4]];
    Pminsw_xmm_xmmm128 => register rr[Pmin, [i16; 8]], memory rm[Pmin, [i16; 8]];
    Pminud_xmm_xmmm128 => register rr[Pmin, [u32; 4]], memory rm[Pmin, [u32; 4]];
    Pminsd_xmm_xmmm128 => register rr[Pmin, [i32; 4]], memory rm[Pmin, [i32; 4]];
    Pmaxub_mm_mmm64 => register rr[Pmax, [u8; 8]], memory rm[Pmax, [u8; 8]];
    Pmaxub_xmm_xmmm128 => register rr[Pmax, [u8; 16]], memory rm[Pmax, [u8; 16]];
    Pmaxsb_xmm_xmmm128 => register rr[Pmax, [i8; 16]], memory rm[Pmax, [i8; 16]];
    Pmaxuw_xmm_xmmm128 => register rr[Pmax, [u16; 8]], memory rm[Pmax, [u16; 8]];
    Pmaxsw_mm_mmm64 => register rr[Pmax, [i16; 4]], memory rm[Pmax, [i16; 4]];
    Pmaxsw_xmm_xmmm128 => register rr[Pmax, [i16; 8]], memory rm[Pmax, [i16; 8]];
    Pmaxud_xmm_xmmm128 => register rr[Pmax, [u32; 4]], memory rm[Pmax, [u32; 4]];
    Pmaxsd_xmm_xmmm128 => register rr[Pmax, [i32; 4]], memory rm[Pmax, [i32; 4]];
    Pabsb_mm_mmm64 => register rr[Pabs, [i8; 8]], memory rm[Pabs, [i8; 8]];
    Pabsb_xmm_xmmm128 => register rr[Pabs, [i8; 16]], memory rm[Pabs, [i8; 16]];
    Pabsw_mm_mmm64 => register rr[Pabs, [i16; 4]], memory rm[Pabs, [i16; 4]];
    Pabsw_xmm_xmmm128 => register rr[Pabs, [i16; 8]], memory rm[Pabs, [i16; 8]];
    Pabsd_mm_mmm64 => register rr[Pabs, [i32; 2]], memory rm[Pabs, [i32; 2]];
    Pabsd_xmm_xmmm128 => register rr[Pabs, [i32; 4]], memory rm[Pabs, [i32; 4]];
    Psignb_mm_mmm64 => register rr[Psign, [i8; 8]], memory rm[Psign, [i8; 8]];
    Psignb_xmm_xmmm128 => register rr[Psign, [i8; 16]], memory rm[Psign, [i8; 16]];
    Psignw_mm_mmm64 => register rr[Psign, [i16; 4]], memory rm[Psign, [i16; 4]];
    Psignw_xmm_xmmm128 => register rr[Psign, [i16; 8]], memory rm[Psign, [i16; 8]];
    Psignd_mm_mmm64 => register rr[Psign, [i32; 2]], memory rm[Psign, [i32; 2]];
    Psignd_xmm_xmmm128 => register rr[Psign, [i32; 4]], memory rm[Psign, [i32; 4]];
    Phminposuw_xmm_xmmm128 => register rr[Phminposuw, [u16; 8]], memory rm[Phminposuw, [u16; 8]];
}
