//! Guest RAM: the end of linear memory.

use emu::bus::RamBacking;
use std::ptr::NonNull;

/// Address of guest RAM: the size of the memory that the module is linked with, which whoever packs the module enlarges by guest RAM.
pub const START: usize = 96 << 20;

/// Guest RAM.
pub struct LinearMemory {
    start: NonNull<u8>,
    size: usize,
}

impl LinearMemory {
    /// Guest RAM of `size` bytes, if there can be so many.
    ///
    /// The memory's own size is not asked for: a module that does that counts as one whose memory may change, and is slower. An access
    /// behind the memory's end traps.
    ///
    /// # Safety
    /// There is no other that is still used.
    pub unsafe fn new(size: u64) -> Option<Self> {
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(START))?;
        let size = usize::try_from(size).ok().filter(|&size| size != 0 && START.checked_add(size).is_some())?;
        Some(Self { start, size })
    }
}

// SAFETY: the range lies in linear memory, which does not shrink, behind the heap and so behind all that Rust and C know of; there is only
// one that is used, as its maker vouches.
unsafe impl RamBacking for LinearMemory {
    fn pointer(&self) -> NonNull<u8> {
        self.start
    }
    fn length(&self) -> usize {
        self.size
    }
}
