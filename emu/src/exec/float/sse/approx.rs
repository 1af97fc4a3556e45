//! RCPxS and RSQRTxS.
//!
//! Processors differ within the architectural bound (relative error below 1.5 × 2⁻¹²); this is our answer. The operand's upper 12 fraction bits
//! select an interval, and the result is the function of its middle, cut to 15 bits: the middle is off by at most 2⁻¹³ (half as much under the
//! root), the cut by less than 2⁻¹⁴, together below 2⁻¹². MXCSR has no influence, and nothing is raised.

use super::super::format::{Format, Single};

const INDEX_BITS: u32 = 12;
/// Bits of the result's significand.
const RESULT_BITS: u32 = 15;

/// The middle of the operand's interval, in units of 2⁻¹³: between 1 and 2.
fn middle(bits: u32) -> u64 {
    let fraction = bits & ((1 << Single::FRACTION_BITS) - 1);
    let index = u64::from(fraction >> (Single::FRACTION_BITS - INDEX_BITS));
    (1 << (INDEX_BITS + 1)) + 2 * index + 1
}

/// The encoding of `significand` / 2¹⁵ × 2^(1 + `biased_exponent` − 127) for a significand of 15 bits.
fn assemble(sign: u32, biased_exponent: u32, significand: u64) -> u32 {
    let fraction = (significand << (Single::TARGET.precision - RESULT_BITS)) as u32 & ((1 << Single::FRACTION_BITS) - 1);
    sign | biased_exponent << Single::FRACTION_BITS | fraction
}

/// 1 / `bits`. Denormals count as zeros; tiny results become zero.
pub fn reciprocal(bits: u32) -> u32 {
    let sign = bits & Single::SIGN as u32;
    let infinity = Single::INFINITY as u32;
    match Single::biased_exponent(bits) {
        0 => sign | infinity,
        Single::EXPONENT_MAX if Single::is_nan(bits) => bits | Single::QUIET as u32,
        Single::EXPONENT_MAX => sign,
        biased => match 253u32.checked_sub(biased) {
            None | Some(0) => sign,
            Some(exponent) => assemble(sign, exponent, (1 << 28) / middle(bits)),
        },
    }
}

/// 1 / √`bits`. Denormals count as zeros.
pub fn reciprocal_sqrt(bits: u32) -> u32 {
    let sign = bits & Single::SIGN as u32;
    let infinity = Single::INFINITY as u32;
    match Single::biased_exponent(bits) {
        0 => sign | infinity,
        Single::EXPONENT_MAX if Single::is_nan(bits) => bits | Single::QUIET as u32,
        _ if sign != 0 => Single::DEFAULT_NAN as u32,
        Single::EXPONENT_MAX => 0,
        biased => {
            // With an odd exponent the operand is twice its significand times an even power of two.
            let odd = (biased + 1) & 1;
            let root = ((1u64 << (43 - odd)) / middle(bits)).isqrt();
            assemble(0, (379 + odd - biased) / 2, root)
        }
    }
}
