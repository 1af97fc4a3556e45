//! Unsigned fixed-point numbers with 64 integer and 192 fraction bits, and the power series that the transcendental functions need.
//!
//! Every operation is on integers and truncates, so that results are the same everywhere. Each series ends where its terms vanish; its
//! error is below 2⁻¹⁸⁰, some 2⁻¹¹⁶ of an x87 result's last place.

use super::super::round::Exact;

/// A number; limbs from the lowest, the last is the integer part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fixed([u64; 4]);

impl Fixed {
    const FRACTION_BITS: u32 = 192;

    pub(super) const ONE: Self = Self([0, 0, 0, 1]);
    /// The smallest positive number.
    pub(super) const UNIT: Self = Self([1, 0, 0, 0]);
    pub(super) const PI: Self = Self([0xA409_3822_299F_31D0, 0x1319_8A2E_0370_7344, 0x243F_6A88_85A3_08D3, 3]);
    pub(super) const HALF_PI: Self = Self::PI.shr(1);
    pub(super) const QUARTER_PI: Self = Self::PI.shr(2);
    pub(super) const LN_2: Self = Self([0x40F3_4326_7298_B62D, 0xC9E3_B398_03F2_F6AF, 0xB172_17F7_D1CF_79AB, 0]);
    /// 2 / ln 2.
    pub(super) const TWO_LOG2_E: Self = Self([0xAD5D_EAA3_75A5_6962, 0xFA1F_FB41_A474_FA23, 0xE2A8_ECA5_705F_C2EE, 2]);
    /// √2 − 1 = tan(π/8).
    pub(super) const TAN_EIGHTH_PI: Self = Self([0x3ADE_C175_1277_5099, 0xB2FB_1366_EA95_7D3E, 0x6A09_E667_F3BC_C908, 0]);
    /// √2.
    pub(super) const SQRT_2: Self = Self([0x3ADE_C175_1277_5099, 0xB2FB_1366_EA95_7D3E, 0x6A09_E667_F3BC_C908, 1]);

    /// `significand` / 2¹²⁷ × 2^`exponent`, truncated, for an exponent of at most 63.
    pub(super) fn new(significand: u128, exponent: i32) -> Self {
        Self([0, 0, significand as u64, (significand >> 64) as u64]).shr(63u32.saturating_add_signed(-exponent))
    }

    pub(super) const fn from_int(value: u64) -> Self {
        Self([0, 0, 0, value])
    }

    pub(super) const fn is_zero(self) -> bool {
        matches!(self.0, [0, 0, 0, 0])
    }

    pub(super) const fn shr(self, shift: u32) -> Self {
        let (limbs, bits) = ((shift / 64) as usize, shift % 64);
        let mut result = [0; 4];
        let mut index = limbs;
        while index < 4 {
            let upper = if bits != 0 && index + 1 < 4 { self.0[index + 1] << (64 - bits) } else { 0 };
            result[index - limbs] = self.0[index] >> bits | upper;
            index += 1;
        }
        Self(result)
    }

    pub(super) const fn shl(self, shift: u32) -> Self {
        let (limbs, bits) = ((shift / 64) as usize, shift % 64);
        let mut result = [0; 4];
        let mut index = limbs;
        while index < 4 {
            let source = index - limbs;
            let lower = if bits != 0 && source > 0 { self.0[source - 1] >> (64 - bits) } else { 0 };
            result[index] = self.0[source] << bits | lower;
            index += 1;
        }
        Self(result)
    }

    pub(super) fn leading_zeros(self) -> u32 {
        let mut zeros = 0;
        for limb in self.0.into_iter().rev() {
            zeros += limb.leading_zeros();
            if limb != 0 {
                break;
            }
        }
        zeros
    }

    pub(super) fn less_than(self, other: Self) -> bool {
        self.0.iter().rev().lt(other.0.iter().rev())
    }

    pub(super) fn add(self, other: Self) -> Self {
        let mut carry = false;
        Self(core::array::from_fn(|index| {
            let (sum, first) = self.0[index].overflowing_add(other.0[index]);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            carry = first || second;
            sum
        }))
    }

    /// The difference, for a subtrahend that is not larger.
    pub(super) fn sub(self, other: Self) -> Self {
        let mut borrow = false;
        Self(core::array::from_fn(|index| {
            let (difference, first) = self.0[index].overflowing_sub(other.0[index]);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            borrow = first || second;
            difference
        }))
    }

    pub(super) fn abs_difference(self, other: Self) -> Self {
        if self.less_than(other) { other.sub(self) } else { self.sub(other) }
    }

    /// The product, for factors whose integer parts' product fits.
    pub(super) fn mul(self, other: Self) -> Self {
        let mut product = [0u64; 8];
        for (low, a) in self.0.into_iter().enumerate() {
            let mut carry = 0;
            for (high, b) in other.0.into_iter().enumerate() {
                let sum = u128::from(a) * u128::from(b) + u128::from(product[low + high]) + carry;
                product[low + high] = sum as u64;
                carry = sum >> 64;
            }
            product[low + 4] = carry as u64;
        }
        Self([product[3], product[4], product[5], product[6]])
    }

    fn div_small(self, divisor: u64) -> Self {
        let mut rest = 0;
        let mut result = [0; 4];
        for index in (0..4).rev() {
            let dividend = rest << 64 | u128::from(self.0[index]);
            result[index] = (dividend / u128::from(divisor)) as u64;
            rest = dividend % u128::from(divisor);
        }
        Self(result)
    }

    /// The quotient bit by bit, for a dividend below twice the divisor and a divisor below 2⁶².
    pub(super) fn div(self, divisor: Self) -> Self {
        let mut rest = self;
        let mut quotient = Self([0; 4]);
        for _ in 0..=Self::FRACTION_BITS {
            quotient = quotient.shl(1);
            if !rest.less_than(divisor) {
                rest = rest.sub(divisor);
                quotient.0[0] |= 1;
            }
            rest = rest.shl(1);
        }
        quotient
    }

    /// The number times 2^`exponent`, nonzero. Unless it is `known_exact`, the sticky bit is set.
    pub(super) fn to_exact(self, negative: bool, exponent: i32, known_exact: bool) -> Exact {
        let zeros = self.leading_zeros();
        let Self([lowest, low, high, highest]) = self.shl(zeros);
        let sticky = !known_exact || lowest | low != 0;
        let significand = u128::from(highest) << 64 | u128::from(high) | u128::from(sticky);
        Exact { negative, exponent: exponent + 63 - zeros as i32, significand }
    }
}

/// The sign of a series' odd terms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OddTerms {
    Added,
    Subtracted,
}

impl OddTerms {
    fn apply(self, index: u64, sum: Fixed, term: Fixed) -> Fixed {
        if self == Self::Subtracted && index % 2 == 1 { sum.sub(term) } else { sum.add(term) }
    }
}

/// 1 ± z/d(1) + z²/(d(1) d(2)) ± …, for z below 1.
fn factorial_series(z: Fixed, odd: OddTerms, divisor: fn(u64) -> u64) -> Fixed {
    let (mut sum, mut term) = (Fixed::ONE, Fixed::ONE);
    let mut index = 1;
    loop {
        term = term.mul(z).div_small(divisor(index));
        if term.is_zero() {
            return sum;
        }
        sum = odd.apply(index, sum, term);
        index += 1;
    }
}

/// sin √z / √z.
pub(super) fn sine_series(z: Fixed) -> Fixed {
    factorial_series(z, OddTerms::Subtracted, |index| 2 * index * (2 * index + 1))
}

/// cos √z.
pub(super) fn cosine_series(z: Fixed) -> Fixed {
    factorial_series(z, OddTerms::Subtracted, |index| (2 * index - 1) * 2 * index)
}

/// (eᶻ − 1) / z, of −z if the odd terms are subtracted.
pub(super) fn exponential_series(z: Fixed, odd: OddTerms) -> Fixed {
    factorial_series(z, odd, |index| index + 1)
}

/// artanh √z / √z, or arctan √z / √z if the odd terms are subtracted; for z below 1/4.
pub(super) fn arc_tangent_series(z: Fixed, odd: OddTerms) -> Fixed {
    let (mut sum, mut power) = (Fixed::ONE, Fixed::ONE);
    let mut index = 1;
    loop {
        power = power.mul(z);
        if power.is_zero() {
            return sum;
        }
        sum = odd.apply(index, sum, power.div_small(2 * index + 1));
        index += 1;
    }
}
