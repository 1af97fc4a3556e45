//! Values that go into a guest's functions and come out of them.

use crate::ffi;

/// A type of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
}

impl Kind {
    pub(crate) fn from_wamr(kind: u8) -> Option<Self> {
        match kind {
            ffi::kind::I32 => Some(Self::I32),
            ffi::kind::I64 => Some(Self::I64),
            ffi::kind::F32 => Some(Self::F32),
            ffi::kind::F64 => Some(Self::F64),
            _ => None,
        }
    }

    /// How many of WAMR's cells of 32 bits it takes.
    pub(crate) const fn cells(self) -> usize {
        match self {
            Self::I32 | Self::F32 => 1,
            Self::I64 | Self::F64 => 2,
        }
    }
}

/// A value. Floats are kept as their bits would be: a NaN's payload survives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// 32-bit float.
    F32(f32),
    /// 64-bit float.
    F64(f64),
}

impl Value {
    /// Its type.
    pub fn kind(self) -> Kind {
        match self {
            Self::I32(_) => Kind::I32,
            Self::I64(_) => Kind::I64,
            Self::F32(_) => Kind::F32,
            Self::F64(_) => Kind::F64,
        }
    }

    /// Appends its cells.
    pub(crate) fn push(self, cells: &mut Vec<u32>) {
        let wide = |bits: u64| [bits as u32, (bits >> 32) as u32];
        match self {
            Self::I32(value) => cells.push(value as u32),
            Self::F32(value) => cells.push(value.to_bits()),
            Self::I64(value) => cells.extend(wide(value as u64)),
            Self::F64(value) => cells.extend(wide(value.to_bits())),
        }
    }

    /// Takes its cells from the front.
    pub(crate) fn pull(kind: Kind, cells: &mut impl Iterator<Item = u32>) -> Self {
        let mut next = || cells.next().unwrap_or_default();
        match kind {
            Kind::I32 => Self::I32(next() as i32),
            Kind::F32 => Self::F32(f32::from_bits(next())),
            Kind::I64 => Self::I64(u64_of(next(), next()) as i64),
            Kind::F64 => Self::F64(f64::from_bits(u64_of(next(), next()))),
        }
    }
}

fn u64_of(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// An integer of Rust's that a guest's function can take or give.
pub trait Scalar: Copy + sealed::Sealed {
    /// Its type in the guest.
    const KIND: Kind;
    #[doc(hidden)]
    fn to_bits(self) -> u64;
    #[doc(hidden)]
    fn from_bits(bits: u64) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! scalars {
    ($($type:ty, $unsigned:ty, $kind:ident;)*) => {
        $(
            impl sealed::Sealed for $type {}
            impl Scalar for $type {
                const KIND: Kind = Kind::$kind;
                fn to_bits(self) -> u64 {
                    u64::from(self as $unsigned)
                }
                fn from_bits(bits: u64) -> Self {
                    bits as Self
                }
            }
        )*
    };
}
scalars! {
    i32, u32, I32;
    u32, u32, I32;
    i64, u64, I64;
    u64, u64, I64;
}

/// What a guest's function takes or gives: nothing, a [`Scalar`], or a tuple of up to eight.
pub trait Values: sealed::Sealed {
    /// Their types.
    const KINDS: &'static [Kind];
    #[doc(hidden)]
    fn write(self, cells: &mut Cells);
    #[doc(hidden)]
    fn read(cells: &Cells) -> Self;
}

/// Room for eight values.
pub type Cells = [u32; 16];
/// No values.
pub(crate) const NO_CELLS: Cells = [0; 16];

fn write_scalar<T: Scalar>(value: T, cells: &mut Cells, at: usize) -> usize {
    let bits = value.to_bits();
    let halves = [bits as u32, (bits >> 32) as u32];
    for (cell, half) in cells.iter_mut().skip(at).zip(halves).take(T::KIND.cells()) {
        *cell = half;
    }
    at + T::KIND.cells()
}

fn read_scalar<T: Scalar>(cells: &Cells, at: &mut usize) -> T {
    let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
    let bits = u64_of(cell(*at), if T::KIND.cells() == 2 { cell(*at + 1) } else { 0 });
    *at += T::KIND.cells();
    T::from_bits(bits)
}

impl<T: Scalar> Values for T {
    const KINDS: &'static [Kind] = &[T::KIND];
    fn write(self, cells: &mut Cells) {
        write_scalar(self, cells, 0);
    }
    fn read(cells: &Cells) -> Self {
        read_scalar(cells, &mut 0)
    }
}

macro_rules! tuples {
    ($(($($name:ident)*))*) => {
        $(
            impl<$($name: Scalar),*> sealed::Sealed for ($($name,)*) {}
            #[allow(unused_variables, unused_mut, unused_assignments, non_snake_case, clippy::unused_unit)]
            impl<$($name: Scalar),*> Values for ($($name,)*) {
                const KINDS: &'static [Kind] = &[$($name::KIND),*];
                fn write(self, cells: &mut Cells) {
                    let ($($name,)*) = self;
                    let mut at = 0;
                    $(at = write_scalar($name, cells, at);)*
                }
                fn read(cells: &Cells) -> Self {
                    let mut at = 0;
                    ($(read_scalar::<$name>(cells, &mut at),)*)
                }
            }
        )*
    };
}
tuples! { () (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) }
