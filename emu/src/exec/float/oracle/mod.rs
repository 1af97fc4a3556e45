//! The host's processor as the judge: every operation on corner cases and on random patterns that lean toward corners, in every rounding
//! mode, compared bit by bit and flag by flag.

mod host;
mod sse;
mod x87;

use super::{F80, Format};

/// A small deterministic generator (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        (self.bits() >> 16) % limit
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A significand of `width` bits, often one whose sums, products or roundings sit on an edge.
    fn significand(&mut self, width: u32) -> u64 {
        let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
        let sparse = 1u64 << self.below(width.into()) | 1u64 << self.below(width.into());
        let low_clear = self.bits() << self.below(width.into());
        let run = (1u64 << self.below(width.into())).wrapping_sub(1);
        let random = self.bits();
        self.pick(&[
            0,
            1,
            mask,
            mask - 1,
            mask >> 1,
            (mask >> 1) + 1,
            (mask >> 1) + 2,
            sparse,
            !sparse,
            low_clear,
            run,
            !run,
            random,
            random,
        ]) & mask
    }

    /// An exponent field of a format with fields up to `max`, often at an edge.
    fn exponent(&mut self, max: u32) -> u32 {
        let bias = max / 2;
        let near_one = bias + self.below(140) as u32;
        let random = self.below(u64::from(max) + 1) as u32;
        let low = self.below(70) as u32;
        let choice = self.pick(&[
            0,
            0,
            1,
            2,
            bias - 1,
            bias,
            bias + 1,
            max - 2,
            max - 1,
            max,
            max,
            near_one,
            near_one.wrapping_sub(70),
            low,
            random,
            random,
        ]);
        choice.min(max)
    }

    /// An exponent field related to `other`: close to it, or such that a product or a quotient lands at an end of the range.
    fn related_exponent(&mut self, other: u32, max: u32) -> u32 {
        let (bias, other) = (i64::from(max / 2), i64::from(other));
        let nudge = self.below(9) as i64 - 4;
        let wide = self.below(150) as i64 - 75;
        let far = self.below(60) as i64;
        let target = self.pick(&[
            other + nudge,
            other + wide,
            bias - other + nudge,
            3 * bias - other + nudge,
            other + bias + nudge,
            other - bias + nudge,
            bias - other - far,
        ]);
        target.clamp(0, i64::from(max)) as u32
    }

    fn encode<F: Format>(&mut self, exponent: u32) -> F::Bits {
        let sign = self.bits() & F::SIGN;
        F::from_raw(sign | u64::from(exponent) << F::FRACTION_BITS | self.significand(F::FRACTION_BITS))
    }

    /// One operand.
    pub(super) fn operand<F: Format>(&mut self) -> F::Bits {
        let exponent = self.exponent(F::EXPONENT_MAX);
        self.encode::<F>(exponent)
    }

    /// Two operands, the second often related to the first.
    pub(super) fn operands<F: Format>(&mut self) -> (F::Bits, F::Bits) {
        let a = self.operand::<F>();
        let related = self.related_exponent(F::biased_exponent(a), F::EXPONENT_MAX);
        let free = self.exponent(F::EXPONENT_MAX);
        let exponent = self.pick(&[related, related, related, free]);
        (a, self.encode::<F>(exponent))
    }

    fn encode_f80(&mut self, exponent: u32) -> F80 {
        let sign = (self.bits() & 0x8000) as u16;
        // One in eight with the wrong integer bit: pseudo-denormals, unnormals, pseudo-NaNs.
        let usual = exponent != 0;
        let integer_bit = u64::from(usual != (self.below(8) == 0)) << 63;
        F80 { significand: self.significand(63) | integer_bit, sign_exponent: sign | exponent as u16 }
    }

    /// One x87 operand in any encoding.
    pub(super) fn f80(&mut self) -> F80 {
        let exponent = self.exponent(0x7FFF);
        self.encode_f80(exponent)
    }

    /// Two x87 operands, the second often related to the first.
    pub(super) fn f80_pair(&mut self) -> (F80, F80) {
        let a = self.f80();
        let related = self.related_exponent(u32::from(a.sign_exponent & 0x7FFF), 0x7FFF);
        let free = self.exponent(0x7FFF);
        let exponent = self.pick(&[related, related, related, free]);
        (a, self.encode_f80(exponent))
    }

    /// An x87 number with its exponent in `range`.
    pub(super) fn f80_between(&mut self, range: core::ops::Range<i32>) -> F80 {
        let exponent = range.start + self.below(range.len() as u64) as i32;
        let sign = (self.bits() & 0x8000) as u16;
        F80 { significand: self.significand(63) | 1 << 63, sign_exponent: sign | (exponent + 16383) as u16 }
    }
}
