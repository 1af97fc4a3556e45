//! Vectors as arrays of lanes: `[i16; 8]` is what PADDSW finds in an XMM register or a 128-bit operand, `[i16; 4]` what it finds in an MMX
//! register.
//!
//! Arrays go from registers and memory to the instruction and back without ever being one wide number: the optimiser makes vector
//! registers of arrays in memory (PADDB is a load, an addition and a store), but not of a `u128` that is taken apart (107 instructions).

use std::ops::{BitAnd, BitOr, BitXor, Not};

use super::mmx;
use crate::cpu::{Datum, Exception};
use crate::vcpu::Vcpu;

const _: () = assert!(cfg!(target_endian = "little"), "lanes lie in registers and in memory in the same order");

/// An integer lane, `u8` to `i64`.
pub trait Lane:
    Copy + Ord + Default + 'static + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self> + Not<Output = Self>
{
    /// Width in bits.
    const BITS: u32;
    /// From the low bits of `value`.
    fn from_u128(value: u128) -> Self;
    /// Zero-extends.
    fn to_u128(self) -> u128;
    /// All bits equal to `value`.
    fn splat(value: bool) -> Self;
    /// Sum modulo the width.
    fn wrapping_add(self, other: Self) -> Self;
    /// Difference modulo the width.
    fn wrapping_sub(self, other: Self) -> Self;
    /// Sum, or the nearest number of the type.
    fn saturating_add(self, other: Self) -> Self;
    /// Difference, or the nearest number of the type.
    fn saturating_sub(self, other: Self) -> Self;
    /// Mean, half rounded up.
    fn average(self, other: Self) -> Self;
    /// Low half of the product.
    fn multiply_low(self, other: Self) -> Self;
    /// High half of the product.
    fn multiply_high(self, other: Self) -> Self;
    /// Shifted left by less than the width.
    fn shift_left(self, count: u32) -> Self;
    /// Shifted right by less than the width, with the sign of a signed type.
    fn shift_right(self, count: u32) -> Self;
}

macro_rules! lane {
    ($($lane:ty, $unsigned:ty, $wide:ty;)*) => {$(
        impl Lane for $lane {
            const BITS: u32 = <$lane>::BITS;
            #[inline(always)]
            fn from_u128(value: u128) -> Self {
                value as $lane
            }
            #[inline(always)]
            fn to_u128(self) -> u128 {
                u128::from(self as $unsigned)
            }
            #[inline(always)]
            fn splat(value: bool) -> Self {
                if value { !0 } else { 0 }
            }
            #[inline(always)]
            fn wrapping_add(self, other: Self) -> Self {
                <$lane>::wrapping_add(self, other)
            }
            #[inline(always)]
            fn wrapping_sub(self, other: Self) -> Self {
                <$lane>::wrapping_sub(self, other)
            }
            #[inline(always)]
            fn saturating_add(self, other: Self) -> Self {
                <$lane>::saturating_add(self, other)
            }
            #[inline(always)]
            fn saturating_sub(self, other: Self) -> Self {
                <$lane>::saturating_sub(self, other)
            }
            #[inline(always)]
            fn average(self, other: Self) -> Self {
                ((<$wide>::from(self) + <$wide>::from(other) + 1) >> 1) as $lane
            }
            #[inline(always)]
            fn multiply_low(self, other: Self) -> Self {
                <$lane>::wrapping_mul(self, other)
            }
            #[inline(always)]
            fn multiply_high(self, other: Self) -> Self {
                ((<$wide>::from(self) * <$wide>::from(other)) >> <$lane>::BITS) as $lane
            }
            #[inline(always)]
            fn shift_left(self, count: u32) -> Self {
                self.wrapping_shl(count)
            }
            #[inline(always)]
            fn shift_right(self, count: u32) -> Self {
                self.wrapping_shr(count)
            }
        }
    )*};
}

lane! {
    u8, u8, u16;
    i8, u8, i16;
    u16, u16, u32;
    i16, u16, i32;
    u32, u32, u64;
    i32, u32, i64;
    u64, u64, u128;
    i64, u64, i128;
}

impl<L: Lane, const N: usize> Datum for [L; N]
where
    [L; N]: Default,
{
    const BYTES: u64 = size_of::<[L; N]>() as u64;
    // Accesses of 16 bytes raise #GP where they must be aligned, and are not checked for alignment where they need not be (SDM Vol. 2, table 2-21).
    const ALIGNMENT: u64 = if Self::BYTES == 16 { 1 } else { Self::BYTES };
    #[inline(always)]
    fn from_u128(value: u128) -> Self {
        each(|i| L::from_u128(value >> (i as u32 * L::BITS)))
    }
    #[inline(always)]
    fn to_u128(self) -> u128 {
        self.iter().rev().fold(0, |value, lane| value.wrapping_shl(L::BITS) | lane.to_u128())
    }
    #[inline(always)]
    unsafe fn load(pointer: *const u8) -> Self {
        // SAFETY: the caller vouches for the pointer, and any bytes are an array of integers.
        unsafe { pointer.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, pointer: *mut u8) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { pointer.cast::<Self>().write_unaligned(self) }
    }
}

/// The array whose lane `i` is `lane(i)`. The library's `array::from_fn` does the same, but is not always inlined: every lane a call.
#[inline(always)]
pub fn each<L: Lane, const N: usize>(lane: impl Fn(usize) -> L) -> [L; N] {
    let mut lanes = [L::default(); N];
    let mut i = 0;
    while i < N {
        lanes[i] = lane(i);
        i += 1;
    }
    lanes
}

/// The content of a register: of an XMM register if it has 16 bytes, of an MMX register if it has 8.
pub trait Vector: Datum + AsRef<[Self::Lane]> + AsMut<[Self::Lane]> {
    /// What it is made of.
    type Lane: Lane;

    /// Reads a register.
    fn read(cx: &Vcpu, register: u8) -> Self;

    /// Writes a register. Its x87 register, if it has one, becomes a NaN.
    fn write(self, cx: &mut Vcpu, register: u8);

    /// The low 64 bits of a register of this size.
    #[inline(always)]
    fn read_low(cx: &Vcpu, register: u8) -> u64 {
        if Self::BYTES == 16 { cx.fpu.xmm[usize::from(register & 15)] as u64 } else { cx.fpu.mantissa[usize::from(register & 7)] }
    }

    /// Comes before everything else in an instruction on registers of this size.
    #[inline(always)]
    fn begin(cx: &mut Vcpu) -> Result<(), Exception> {
        if Self::BYTES == 16 { Ok(()) } else { mmx::begin(cx) }
    }

    /// Comes after everything that can fail in an instruction on registers of this size.
    #[inline(always)]
    fn end(cx: &mut Vcpu) {
        if Self::BYTES != 16 {
            mmx::end(cx);
        }
    }
}

impl<L: Lane, const N: usize> Vector for [L; N]
where
    [L; N]: Default,
{
    type Lane = L;

    #[inline(always)]
    fn read(cx: &Vcpu, register: u8) -> Self {
        const { assert!(Self::BYTES == 16 || Self::BYTES == 8) };
        let pointer: *const u8 = if Self::BYTES == 16 {
            (&raw const cx.fpu.xmm[usize::from(register & 15)]).cast()
        } else {
            (&raw const cx.fpu.mantissa[usize::from(register & 7)]).cast()
        };
        // SAFETY: the pointer leads to a register of `BYTES` bytes.
        unsafe { Self::load(pointer) }
    }

    #[inline(always)]
    fn write(self, cx: &mut Vcpu, register: u8) {
        const { assert!(Self::BYTES == 16 || Self::BYTES == 8) };
        let pointer: *mut u8 = if Self::BYTES == 16 {
            (&raw mut cx.fpu.xmm[usize::from(register & 15)]).cast()
        } else {
            cx.fpu.exponent[usize::from(register & 7)] = 0xffff;
            (&raw mut cx.fpu.mantissa[usize::from(register & 7)]).cast()
        };
        // SAFETY: the pointer leads to a register of `BYTES` bytes.
        unsafe { self.store(pointer) }
    }
}
