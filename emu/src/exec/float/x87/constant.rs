//! The constants of FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2 and FLDZ.

use super::super::arith::Outcome;
use super::super::env::ControlWord;
use super::super::f80::F80;
use super::super::flags::Flags;
use super::super::round::{EXTENDED, Exact};
use super::finish;

/// A constant that the x87 loads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Constant {
    /// FLD1.
    One,
    /// FLDL2T: log₂ 10.
    Log2Of10,
    /// FLDL2E: log₂ e.
    Log2OfE,
    /// FLDPI: π.
    Pi,
    /// FLDLG2: log₁₀ 2.
    Log10Of2,
    /// FLDLN2: ln 2.
    LnOf2,
    /// FLDZ.
    Zero,
}

impl Constant {
    /// The constant, rounded as the rounding control says (not the precision control). No exception is raised, C1 is cleared.
    pub fn load(self, control: ControlWord) -> F80 {
        let (exponent, significand) = match self {
            Self::Zero => return F80::ZERO,
            Self::One => return F80::ONE,
            Self::Log2Of10 => (1, 0xD49A_784B_CD1B_8AFE_492B_F6FF_4DAF_DB4D),
            Self::Log2OfE => (0, 0xB8AA_3B29_5C17_F0BB_BE87_FED0_691D_3E89),
            Self::Pi => (1, 0xC90F_DAA2_2168_C234_C4C6_628B_80DC_1CD1),
            Self::Log10Of2 => (-2, 0x9A20_9A84_FBCF_F798_8F89_59AC_0B7C_9178),
            Self::LnOf2 => (-1, 0xB172_17F7_D1CF_79AB_C9E3_B398_03F2_F6AF),
        };
        finish(Outcome::Finite(Exact { negative: false, exponent, significand }), Flags::NONE, EXTENDED, control).0
    }
}
