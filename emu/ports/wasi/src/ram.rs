//! Guest RAM: the end of linear memory.

use emu::bus::RamBacking;
use std::ptr::NonNull;

/// Address of guest RAM: the size of the memory that the module is linked with, which whoever packs the module enlarges by guest RAM.
pub const START: usize = 96 << 20;

/// Bytes of guest RAM.
#[cfg(target_os = "wasi")]
pub fn size() -> usize {
    (core::arch::wasm32::memory_size(0) << 16) - START
}

/// Bytes of guest RAM.
#[cfg(not(target_os = "wasi"))]
pub fn size() -> usize {
    0
}

/// Guest RAM.
pub struct LinearMemory(NonNull<u8>);

impl LinearMemory {
    /// Guest RAM, if there is any.
    ///
    /// # Safety
    /// There is no other that is still used.
    pub unsafe fn new() -> Option<Self> {
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(START))?;
        (size() != 0).then_some(Self(start))
    }
}

// SAFETY: the range lies in linear memory, which does not shrink, behind the heap and so behind all that Rust and C know of; there is only
// one that is used, as its maker vouches.
unsafe impl RamBacking for LinearMemory {
    fn pointer(&self) -> NonNull<u8> {
        self.0
    }
    fn length(&self) -> usize {
        size()
    }
}
