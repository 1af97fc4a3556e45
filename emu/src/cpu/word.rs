//! Operand widths.

use super::Regs;

/// A little-endian number in guest memory: `u8` to `u128`.
pub trait Datum: Copy + Default + 'static {
    /// Width in bytes.
    const BYTES: u64;
    /// What its addresses are multiples of where alignment is checked.
    const ALIGNMENT: u64 = Self::BYTES;
    /// From the low bytes of `value`.
    fn from_u128(value: u128) -> Self;
    /// Zero-extends.
    fn to_u128(self) -> u128;
    /// Reads from memory; no alignment is asked for.
    ///
    /// # Safety
    /// `pointer` must be valid for reads of `BYTES` bytes.
    unsafe fn load(pointer: *const u8) -> Self;
    /// Writes to memory; no alignment is asked for.
    ///
    /// # Safety
    /// `pointer` must be valid for writes of `BYTES` bytes.
    unsafe fn store(self, pointer: *mut u8);
}

/// An integer operand width: `u8`, `u16`, `u32` or `u64`.
pub trait Word: Datum + Eq + Ord + std::fmt::Debug {
    /// Width in bits.
    const BITS: u32;
    /// All bits of the width, zero-extended.
    const MASK: u64 = if Self::BITS == 64 { u64::MAX } else { (1 << (Self::BITS % 64)) - 1 };
    /// The sign bit, zero-extended.
    const SIGN: u64 = 1 << (Self::BITS - 1);
    /// The low bits of `value`.
    fn truncate(value: u64) -> Self;
    /// Zero-extends.
    fn zero_extend(self) -> u64;
    /// Sign-extends.
    fn sign_extend(self) -> i64;
    /// Reads general register `operand` as lowered for this width.
    fn read(regs: &Regs, operand: u8) -> Self;
    /// Writes general register `operand`: 32-bit results clear the upper half, narrower ones keep the rest.
    fn write(self, regs: &mut Regs, operand: u8);
}

macro_rules! datum {
    ($($type:ty),*) => {$(
        impl Datum for $type {
            const BYTES: u64 = <$type>::BITS as u64 / 8;
            #[inline(always)]
            fn from_u128(value: u128) -> Self {
                value as $type
            }
            #[inline(always)]
            fn to_u128(self) -> u128 {
                self as u128
            }
            #[inline(always)]
            unsafe fn load(pointer: *const u8) -> Self {
                // SAFETY: the caller vouches for the pointer.
                Self::from_le(unsafe { pointer.cast::<Self>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, pointer: *mut u8) {
                // SAFETY: the caller vouches for the pointer.
                unsafe { pointer.cast::<Self>().write_unaligned(self.to_le()) }
            }
        }
    )*};
}

datum!(u8, u16, u32, u64, u128);

macro_rules! word {
    ($type:ty, $signed:ty, $read:expr, $write:expr) => {
        impl Word for $type {
            const BITS: u32 = <$type>::BITS;
            #[inline(always)]
            fn truncate(value: u64) -> Self {
                value as $type
            }
            #[inline(always)]
            fn zero_extend(self) -> u64 {
                self as u64
            }
            #[inline(always)]
            fn sign_extend(self) -> i64 {
                self as $signed as i64
            }
            #[inline(always)]
            fn read(regs: &Regs, operand: u8) -> Self {
                let read: fn(&Regs, u8) -> Self = $read;
                read(regs, operand)
            }
            #[inline(always)]
            fn write(self, regs: &mut Regs, operand: u8) {
                let write: fn(&mut Regs, u8, Self) = $write;
                write(regs, operand, self)
            }
        }
    };
}

word!(u8, i8, |regs, operand| regs.byte(operand), |regs, operand, value| regs.set_byte(operand, value));
word!(u16, i16, |regs, operand| regs[operand] as u16, |regs, operand, value| {
    regs[operand] = (regs[operand] & !0xffff) | u64::from(value);
});
word!(u32, i32, |regs, operand| regs[operand] as u32, |regs, operand, value| regs[operand] = u64::from(value));
word!(u64, i64, |regs, operand| regs[operand], |regs, operand, value| regs[operand] = value);
