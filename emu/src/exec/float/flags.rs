//! Exception flags.

use core::ops::{BitAnd, BitOr, BitOrAssign};

/// Exceptions that one operation raised: bits 0–5 as in MXCSR and in the x87 status word, and bit 9 ([`Flags::ROUNDED_UP`]) where the
/// status word has C1.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[must_use]
pub struct Flags(pub(super) u16);

impl Flags {
    /// Nothing happened.
    pub const NONE: Self = Self(0);
    /// #I: an operand or a combination of operands without a meaningful result.
    pub const INVALID: Self = Self(1);
    /// #D: an operand is denormal.
    pub const DENORMAL: Self = Self(1 << 1);
    /// #Z: an exact infinity from finite operands.
    pub const ZERO_DIVIDE: Self = Self(1 << 2);
    /// #O: the rounded result is beyond the largest finite number.
    pub const OVERFLOW: Self = Self(1 << 3);
    /// #U: the rounded result is below the smallest normal number.
    pub const UNDERFLOW: Self = Self(1 << 4);
    /// #P: the result is not exact.
    pub const PRECISION: Self = Self(1 << 5);
    /// The magnitude was rounded up; what the x87 reports in C1. SSE operations never set it.
    pub const ROUNDED_UP: Self = Self(1 << 9);
    /// The exceptions found before anything is computed. An unmasked one of these hides those of the result (SDM Vol. 1, 8.7 and 11.5.2).
    pub const PRE_COMPUTATION: Self = Self(0b111);
    /// All six exceptions.
    pub const EXCEPTIONS: Self = Self(0x3F);

    /// The bits, in the places of the x87 status word.
    #[inline(always)]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Nothing was raised.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Any of `other` is in `self`.
    #[inline(always)]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// `self` where `condition` holds, else nothing.
    #[inline(always)]
    pub const fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }
}

impl BitOr for Flags {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    #[inline(always)]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Flags {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
