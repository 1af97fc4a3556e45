//! The two formats of SSE: binary32 and binary64.

use core::ops::{Add, Div, Mul, Sub};

use super::operand::{Kind, Operand};
use super::round::{DOUBLE, Magnitude, SINGLE, Target};

/// An SSE format as a type. Values are bit patterns; the host's own type appears only where its arithmetic is provably the same.
pub trait Format: Copy + 'static {
    /// The encoding.
    type Bits: Copy + Eq + core::fmt::Debug + Into<u64>;
    /// The host's type of this format.
    type Host: Copy
        + PartialOrd
        + Into<f64>
        + Add<Output = Self::Host>
        + Sub<Output = Self::Host>
        + Mul<Output = Self::Host>
        + Div<Output = Self::Host>;

    /// Significand and exponents.
    const TARGET: Target;
    /// Width of the encoding in bits.
    const WIDTH: u32;
    /// Bits of the fraction field.
    const FRACTION_BITS: u32 = Self::TARGET.precision - 1;
    /// Bits of sign and exponent fields together.
    const EXPONENT_BITS: u32 = Self::WIDTH - Self::FRACTION_BITS;
    /// Bits that a `u64` has more than the encoding.
    const SPARE_BITS: u32 = 64 - Self::WIDTH;
    /// The exponent field of infinities and NaNs.
    const EXPONENT_MAX: u32 = (Self::TARGET.max_exponent * 2 + 1) as u32;
    /// The encoding of +∞.
    const INFINITY: u64 = (Self::EXPONENT_MAX as u64) << Self::FRACTION_BITS;
    /// The sign bit.
    const SIGN: u64 = 1 << (Self::WIDTH - 1);
    /// The bit of a NaN that makes it quiet.
    const QUIET: u64 = 1 << (Self::FRACTION_BITS - 1);
    /// The default NaN: negative, quiet, no payload.
    const DEFAULT_NAN: u64 = Self::SIGN | Self::INFINITY | Self::QUIET;

    /// The encoding in the lower bits of `raw`.
    fn from_raw(raw: u64) -> Self::Bits;
    /// The host's value of this encoding.
    fn host(bits: Self::Bits) -> Self::Host;
    /// The encoding of a host's value that is no NaN.
    fn bits(value: Self::Host) -> Self::Bits;
    /// The host's square root: an IEEE operation, correctly rounded (sqrtss/sqrtsd, f32.sqrt/f64.sqrt in wasm).
    fn host_sqrt(value: Self::Host) -> Self::Host;
    /// The integer part; saturates, and is 0 for a NaN.
    fn host_truncate(value: Self::Host) -> i64;
    /// The nearest value.
    fn host_from_int(value: i64) -> Self::Host;
    /// The nearest value.
    fn host_from_f64(value: f64) -> Self::Host;

    /// The sign bit is set.
    #[inline(always)]
    fn is_negative(bits: Self::Bits) -> bool {
        bits.into() & Self::SIGN != 0
    }

    /// The exponent field.
    #[inline(always)]
    fn biased_exponent(bits: Self::Bits) -> u32 {
        (bits.into() >> Self::FRACTION_BITS) as u32 & Self::EXPONENT_MAX
    }

    /// The encoding without its sign.
    #[inline(always)]
    fn magnitude(bits: Self::Bits) -> u64 {
        bits.into() & !Self::SIGN
    }

    /// Nonzero and below the normal numbers.
    #[inline(always)]
    fn is_denormal(bits: Self::Bits) -> bool {
        Self::magnitude(bits).wrapping_sub(1) < (1 << Self::FRACTION_BITS) - 1
    }

    /// A NaN of either sort.
    #[inline(always)]
    fn is_nan(bits: Self::Bits) -> bool {
        Self::magnitude(bits) > Self::INFINITY
    }

    /// A NaN that raises #I.
    fn is_signaling(bits: Self::Bits) -> bool {
        Self::is_nan(bits) && bits.into() & Self::QUIET == 0
    }

    /// The operand as an instruction under DAZ sees it.
    fn flush(bits: Self::Bits, denormals_are_zero: bool) -> Self::Bits {
        if denormals_are_zero && Self::is_denormal(bits) { Self::from_raw(bits.into() & Self::SIGN) } else { bits }
    }

    /// A rounded magnitude with its sign. Of a result that is not committed (an unmasked exception) the exponent is meaningless.
    fn encode(negative: bool, magnitude: Magnitude) -> Self::Bits {
        let sign = if negative { Self::SIGN } else { 0 };
        let unsigned = match magnitude {
            Magnitude::Zero => 0,
            Magnitude::Infinite => Self::INFINITY,
            Magnitude::Finite { exponent, significand } => {
                let biased = if significand >> 63 == 0 { 0 } else { (exponent + Self::TARGET.max_exponent) as u32 & Self::EXPONENT_MAX };
                let fraction = significand << 1 >> Self::EXPONENT_BITS >> Self::SPARE_BITS;
                u64::from(biased) << Self::FRACTION_BITS | fraction
            }
        };
        Self::from_raw(sign | unsigned)
    }

    /// A NaN operand of any format in this one: payload cut to fit, quiet.
    fn encode_nan(nan: &Operand) -> Self::Bits {
        let sign = if nan.negative { Self::SIGN } else { 0 };
        let fraction = nan.significand << 1 >> Self::EXPONENT_BITS >> Self::SPARE_BITS;
        Self::from_raw(sign | Self::INFINITY | Self::QUIET | fraction)
    }
}

/// binary32.
#[derive(Clone, Copy, Debug)]
pub struct Single;

/// binary64.
#[derive(Clone, Copy, Debug)]
pub struct Double;

impl Format for Single {
    type Bits = u32;
    type Host = f32;
    const TARGET: Target = SINGLE;
    const WIDTH: u32 = 32;

    #[inline(always)]
    fn from_raw(raw: u64) -> u32 {
        raw as u32
    }

    #[inline(always)]
    fn host(bits: u32) -> f32 {
        f32::from_bits(bits)
    }

    #[inline(always)]
    fn bits(value: f32) -> u32 {
        value.to_bits()
    }

    #[inline(always)]
    fn host_sqrt(value: f32) -> f32 {
        value.sqrt()
    }

    #[inline(always)]
    fn host_truncate(value: f32) -> i64 {
        value as i64
    }

    #[inline(always)]
    fn host_from_int(value: i64) -> f32 {
        value as f32
    }

    #[inline(always)]
    fn host_from_f64(value: f64) -> f32 {
        value as f32
    }
}

impl Format for Double {
    type Bits = u64;
    type Host = f64;
    const TARGET: Target = DOUBLE;
    const WIDTH: u32 = 64;

    #[inline(always)]
    fn from_raw(raw: u64) -> u64 {
        raw
    }

    #[inline(always)]
    fn host(bits: u64) -> f64 {
        f64::from_bits(bits)
    }

    #[inline(always)]
    fn bits(value: f64) -> u64 {
        value.to_bits()
    }

    #[inline(always)]
    fn host_sqrt(value: f64) -> f64 {
        value.sqrt()
    }

    #[inline(always)]
    fn host_truncate(value: f64) -> i64 {
        value as i64
    }

    #[inline(always)]
    fn host_from_int(value: i64) -> f64 {
        value as f64
    }

    #[inline(always)]
    fn host_from_f64(value: f64) -> f64 {
        value
    }
}

impl Operand {
    /// A binary32 number as a 32-bit memory operand of the x87.
    pub fn single(bits: u32) -> Self {
        Self::unpack::<Single>(bits, false)
    }

    /// A binary64 number as a 64-bit memory operand of the x87.
    pub fn double(bits: u64) -> Self {
        Self::unpack::<Double>(bits, false)
    }

    /// An SSE operand; with `denormals_are_zero` a denormal is a zero and no longer denormal.
    pub(super) fn unpack<F: Format>(bits: F::Bits, denormals_are_zero: bool) -> Self {
        let raw: u64 = bits.into();
        let top_aligned = raw << F::SPARE_BITS;
        let fraction = top_aligned << F::EXPONENT_BITS;
        let operand = |kind, exponent, significand| Self { kind, negative: F::is_negative(bits), denormal: false, exponent, significand };
        match F::biased_exponent(bits) {
            0 if fraction == 0 || denormals_are_zero => operand(Kind::Zero, 0, 0),
            0 => {
                let shift = fraction.leading_zeros();
                let exponent = F::TARGET.min_exponent - 1 - shift as i32;
                Self { denormal: true, ..operand(Kind::Finite, exponent, fraction << shift) }
            }
            biased if biased == F::EXPONENT_MAX && fraction == 0 => operand(Kind::Infinite, 0, 0),
            biased if biased == F::EXPONENT_MAX => operand(Kind::Nan { signaling: fraction >> 63 == 0 }, 0, fraction >> 1 | 1 << 63),
            biased => operand(Kind::Finite, biased as i32 - F::TARGET.max_exponent, fraction >> 1 | 1 << 63),
        }
    }
}
