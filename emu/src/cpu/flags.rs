//! RFLAGS, its arithmetic flags kept lazily: what was computed, rather than the flags of it.

/// Bits of RFLAGS (SDM Vol. 1, 3.4.3).
#[allow(missing_docs)]
pub struct Rflags;
#[allow(missing_docs)]
impl Rflags {
    pub const CF: u64 = 1;
    /// Always 1.
    pub const FIXED: u64 = 1 << 1;
    pub const PF: u64 = 1 << 2;
    pub const AF: u64 = 1 << 4;
    pub const ZF: u64 = 1 << 6;
    pub const SF: u64 = 1 << 7;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const DF: u64 = 1 << 10;
    pub const OF: u64 = 1 << 11;
    pub const IOPL: u64 = 3 << 12;
    pub const NT: u64 = 1 << 14;
    pub const RF: u64 = 1 << 16;
    pub const VM: u64 = 1 << 17;
    pub const AC: u64 = 1 << 18;
    pub const VIF: u64 = 1 << 19;
    pub const VIP: u64 = 1 << 20;
    pub const ID: u64 = 1 << 21;
    /// The six arithmetic flags.
    pub const ARITHMETIC: u64 = Self::CF | Self::PF | Self::AF | Self::ZF | Self::SF | Self::OF;
}

/// What the arithmetic flags are to be derived from. `W` in the comments is the width in `LazyFlags::bits`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FlagOp {
    /// `source` holds the flags themselves.
    Flags,
    /// `result = first + source`, first = result − source.
    Add,
    /// `result = first − source`, first = result + source.
    Sub,
    /// AND, OR, XOR: CF, OF and AF are 0.
    Logic,
    /// `result = first + 1`, CF as `source` says.
    Inc,
    /// `result = first − 1`, CF as `source` says.
    Dec,
    /// CF, AF and OF are those in `source`, the others those of `result`.
    Carries,
}

impl FlagOp {
    /// The operation with a number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Flags, Self::Add, Self::Sub, Self::Logic, Self::Inc, Self::Dec, Self::Carries].into_iter().find(|&op| op as u8 == number)
    }
}

/// The arithmetic flags, unevaluated. `result` and `source` are zero-extended from the operand width.
///
/// `repr(C)`: translated code writes the operation and the width at once.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct LazyFlags {
    /// Result of the operation.
    pub result: u64,
    /// Second operand, CF, some of the flags or all of them, as `op` says.
    pub source: u64,
    /// What was computed.
    pub op: FlagOp,
    /// Operand width in bits, 8 to 64.
    pub bits: u8,
}

impl Default for LazyFlags {
    fn default() -> Self {
        Self::from_flags(0)
    }
}

impl LazyFlags {
    /// Takes evaluated flags; bits outside [`Rflags::ARITHMETIC`] are dropped.
    #[inline(always)]
    pub fn from_flags(flags: u64) -> Self {
        Self { result: 0, source: flags & Rflags::ARITHMETIC, op: FlagOp::Flags, bits: 64 }
    }

    /// These flags with `bits` in the places of CF, AF and OF that `mask` names.
    #[inline(always)]
    pub fn with_carries(self, mask: u64, bits: u64) -> Self {
        if self.op == FlagOp::Flags {
            return Self { source: self.source & !mask | bits, ..self };
        }
        Self { source: self.carries() & !mask | bits, op: FlagOp::Carries, ..self }
    }

    /// CF, AF and OF in their places in RFLAGS.
    #[inline(always)]
    fn carries(&self) -> u64 {
        u64::from(self.carry()) | u64::from(self.adjust()) << 4 | u64::from(self.overflow()) << 11
    }

    #[inline(always)]
    fn mask(&self) -> u64 {
        u64::MAX >> (64 - u32::from(self.bits))
    }

    #[inline(always)]
    fn sign_shift(&self) -> u32 {
        u32::from(self.bits) - 1
    }

    /// CF.
    #[inline(always)]
    pub fn carry(&self) -> bool {
        match self.op {
            FlagOp::Flags | FlagOp::Carries | FlagOp::Inc | FlagOp::Dec => self.source & 1 != 0,
            FlagOp::Add => self.result < self.source,
            FlagOp::Sub => self.result.wrapping_add(self.source) & self.mask() < self.source,
            FlagOp::Logic => false,
        }
    }

    /// ZF.
    #[inline(always)]
    pub fn zero(&self) -> bool {
        if self.op == FlagOp::Flags { self.source & Rflags::ZF != 0 } else { self.result == 0 }
    }

    /// SF.
    #[inline(always)]
    pub fn sign(&self) -> bool {
        if self.op == FlagOp::Flags { self.source & Rflags::SF != 0 } else { self.result >> self.sign_shift() & 1 != 0 }
    }

    /// PF.
    #[inline(always)]
    pub fn parity(&self) -> bool {
        if self.op == FlagOp::Flags { self.source & Rflags::PF != 0 } else { (self.result as u8).count_ones() & 1 == 0 }
    }

    /// OF.
    #[inline(always)]
    pub fn overflow(&self) -> bool {
        let (result, source) = (self.result, self.source);
        let sign = match self.op {
            FlagOp::Flags | FlagOp::Carries => return source & Rflags::OF != 0,
            FlagOp::Logic => return false,
            FlagOp::Add => (result ^ source) & (result ^ result.wrapping_sub(source)),
            FlagOp::Sub => {
                let first = result.wrapping_add(source);
                (first ^ source) & (first ^ result)
            }
            FlagOp::Inc => return result == 1 << self.sign_shift(),
            FlagOp::Dec => return result == self.mask() >> 1,
        };
        sign >> self.sign_shift() & 1 != 0
    }

    /// AF.
    #[inline(always)]
    pub fn adjust(&self) -> bool {
        let (result, source) = (self.result, self.source);
        match self.op {
            FlagOp::Flags | FlagOp::Carries => source & Rflags::AF != 0,
            FlagOp::Logic => false,
            FlagOp::Add => (result ^ source ^ result.wrapping_sub(source)) & 0x10 != 0,
            FlagOp::Sub => (result ^ source ^ result.wrapping_add(source)) & 0x10 != 0,
            FlagOp::Inc => result & 0xf == 0,
            FlagOp::Dec => result & 0xf == 0xf,
        }
    }

    /// The six arithmetic flags in their places in RFLAGS.
    pub fn evaluate(&self) -> u64 {
        if self.op == FlagOp::Flags {
            return self.source;
        }
        self.carries() | u64::from(self.parity()) << 2 | u64::from(self.zero()) << 6 | u64::from(self.sign()) << 7
    }
}

/// Condition codes by their encoding (SDM Vol. 1, appendix B).
#[allow(missing_docs)]
pub struct Condition;
#[allow(missing_docs)]
impl Condition {
    pub const O: u8 = 0;
    pub const NO: u8 = 1;
    pub const B: u8 = 2;
    pub const AE: u8 = 3;
    pub const E: u8 = 4;
    pub const NE: u8 = 5;
    pub const BE: u8 = 6;
    pub const A: u8 = 7;
    pub const S: u8 = 8;
    pub const NS: u8 = 9;
    pub const P: u8 = 10;
    pub const NP: u8 = 11;
    pub const L: u8 = 12;
    pub const GE: u8 = 13;
    pub const LE: u8 = 14;
    pub const G: u8 = 15;

    /// Whether condition `code` (0 to 15) holds.
    #[inline(always)]
    pub fn holds(code: u8, flags: &LazyFlags) -> bool {
        let positive = match code >> 1 {
            0 => flags.overflow(),
            1 => flags.carry(),
            2 => flags.zero(),
            3 => flags.carry() || flags.zero(),
            4 => flags.sign(),
            5 => flags.parity(),
            6 => flags.sign() != flags.overflow(),
            _ => flags.zero() || flags.sign() != flags.overflow(),
        };
        positive != (code & 1 != 0)
    }
}
