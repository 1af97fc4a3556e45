//! Bitwise logic: PAND, PANDN, POR, PXOR and their floating-point names.

use super::lanes::{Lane, Vector};
use super::{Binary, lanewise, rm, rr};
use crate::exec::row::rows;

lanewise! {
    Pand: |first, second| first & second,
    Pandn: |first, second| !first & second,
    Por: |first, second| first | second,
    Pxor: |first, second| first ^ second,
}

rows! {
    Pand_mm_mmm64 => register rr[Pand, [u64; 1]], memory rm[Pand, [u64; 1]];
    Pand_xmm_xmmm128 => register rr[Pand, [u64; 2]], memory rm[Pand, [u64; 2]];
    Andps_xmm_xmmm128 => register rr[Pand, [u64; 2]], memory rm[Pand, [u64; 2]];
    Andpd_xmm_xmmm128 => register rr[Pand, [u64; 2]], memory rm[Pand, [u64; 2]];
    Pandn_mm_mmm64 => register rr[Pandn, [u64; 1]], memory rm[Pandn, [u64; 1]];
    Pandn_xmm_xmmm128 => register rr[Pandn, [u64; 2]], memory rm[Pandn, [u64; 2]];
    Andnps_xmm_xmmm128 => register rr[Pandn, [u64; 2]], memory rm[Pandn, [u64; 2]];
    Andnpd_xmm_xmmm128 => register rr[Pandn, [u64; 2]], memory rm[Pandn, [u64; 2]];
    Por_mm_mmm64 => register rr[Por, [u64; 1]], memory rm[Por, [u64; 1]];
    Por_xmm_xmmm128 => register rr[Por, [u64; 2]], memory rm[Por, [u64; 2]];
    Orps_xmm_xmmm128 => register rr[Por, [u64; 2]], memory rm[Por, [u64; 2]];
    Orpd_xmm_xmmm128 => register rr[Por, [u64; 2]], memory rm[Por, [u64; 2]];
    Pxor_mm_mmm64 => register rr[Pxor, [u64; 1]], memory rm[Pxor, [u64; 1]];
    Pxor_xmm_xmmm128 => register rr[Pxor, [u64; 2]], memory rm[Pxor, [u64; 2]];
    Xorps_xmm_xmmm128 => register rr[Pxor, [u64; 2]], memory rm[Pxor, [u64; 2]];
    Xorpd_xmm_xmmm128 => register rr[Pxor, [u64; 2]], memory rm[Pxor, [u64; 2]];
}
