//! How addresses are formed and which of them exist.

/// How code is decoded and addresses are formed: the L and D bits of CS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CodeSize {
    /// 16-bit code.
    Bits16 = 16,
    /// 32-bit code: compatibility or protected mode.
    Bits32 = 32,
    /// 64-bit code.
    Bits64 = 64,
}

/// Whether bits 47 to 63 are all equal.
#[inline(always)]
pub fn is_canonical(linear: u64) -> bool {
    ((linear << 16) as i64 >> 16) as u64 == linear
}
