//! The x87's 80-bit format (SDM Vol. 1, 4.2.2 and 8.2).

/// A value in double extended-precision format, in any of its encodings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct F80 {
    /// The significand; bit 63 is the integer bit.
    pub significand: u64,
    /// Bit 15 is the sign, the rest the exponent biased by 16383.
    pub sign_exponent: u16,
}

/// What FXAM reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Pseudo-NaN, pseudo-infinity or unnormal: no number since the 80387.
    Unsupported,
    /// Quiet or signaling.
    Nan,
    /// Any number that is not of the other classes.
    Normal,
    /// Infinity.
    Infinity,
    /// Zero.
    Zero,
    /// Denormal or pseudo-denormal.
    Denormal,
}

impl F80 {
    const SIGN: u16 = 0x8000;
    const EXPONENT: u16 = 0x7FFF;
    const INTEGER_BIT: u64 = 1 << 63;
    const QUIET_BIT: u64 = 1 << 62;

    /// +0.
    pub const ZERO: Self = Self { significand: 0, sign_exponent: 0 };
    /// +1.
    pub const ONE: Self = Self { significand: Self::INTEGER_BIT, sign_exponent: 0x3FFF };
    /// The default NaN, "real indefinite": negative, quiet, no payload.
    pub const INDEFINITE: Self = Self { significand: Self::INTEGER_BIT | Self::QUIET_BIT, sign_exponent: 0xFFFF };

    /// From the ten bytes that FLD m80 loads.
    pub const fn from_le_bytes(bytes: [u8; 10]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j] = bytes;
        Self { significand: u64::from_le_bytes([a, b, c, d, e, f, g, h]), sign_exponent: u16::from_le_bytes([i, j]) }
    }

    /// The ten bytes that FSTP m80 stores.
    pub const fn to_le_bytes(self) -> [u8; 10] {
        let [a, b, c, d, e, f, g, h] = self.significand.to_le_bytes();
        let [i, j] = self.sign_exponent.to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j]
    }

    /// A zero of this sign.
    pub const fn zero(negative: bool) -> Self {
        Self { significand: 0, sign_exponent: Self::sign_bit(negative) }
    }

    /// An infinity of this sign.
    pub const fn infinity(negative: bool) -> Self {
        Self { significand: Self::INTEGER_BIT, sign_exponent: Self::sign_bit(negative) | Self::EXPONENT }
    }

    /// A number whose exponent is in range; `significand` without its top bit is a denormal at the smallest exponent.
    pub(super) const fn finite(negative: bool, exponent: i32, significand: u64) -> Self {
        let biased = if significand & Self::INTEGER_BIT == 0 { 0 } else { (exponent + 16383) as u16 & Self::EXPONENT };
        Self { significand, sign_exponent: Self::sign_bit(negative) | biased }
    }

    const fn sign_bit(negative: bool) -> u16 {
        if negative { Self::SIGN } else { 0 }
    }

    /// The sign bit is set.
    pub const fn is_negative(self) -> bool {
        self.sign_exponent & Self::SIGN != 0
    }

    /// The exponent field without its bias.
    pub(super) const fn exponent(self) -> i32 {
        (self.sign_exponent & Self::EXPONENT) as i32 - 16383
    }

    /// FABS. Raises nothing, whatever the encoding.
    pub const fn abs(self) -> Self {
        Self { sign_exponent: self.sign_exponent & !Self::SIGN, ..self }
    }

    /// FCHS. Raises nothing, whatever the encoding.
    pub const fn negate(self) -> Self {
        Self { sign_exponent: self.sign_exponent ^ Self::SIGN, ..self }
    }

    /// A NaN made quiet.
    pub(super) const fn quieted(self) -> Self {
        Self { significand: self.significand | Self::QUIET_BIT, ..self }
    }

    /// The NaN has its quiet bit clear.
    pub(super) const fn is_signaling(self) -> bool {
        self.significand & Self::QUIET_BIT == 0
    }

    /// FXAM's classes; an empty register is the caller's knowledge.
    pub const fn class(self) -> Class {
        match (self.sign_exponent & Self::EXPONENT, self.significand) {
            (0, 0) => Class::Zero,
            (0, _) => Class::Denormal,
            (_, significand) if significand & Self::INTEGER_BIT == 0 => Class::Unsupported,
            (Self::EXPONENT, Self::INTEGER_BIT) => Class::Infinity,
            (Self::EXPONENT, _) => Class::Nan,
            _ => Class::Normal,
        }
    }
}
