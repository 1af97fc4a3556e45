//! Guest RAM, and behind it the upper disk: the end of linear memory.

use emu::bus::RamBacking;
use std::ptr::NonNull;

/// Address of guest RAM: the size of the memory that the module is linked with. Packing the module enlarges it by guest RAM and the upper disk.
pub const START: usize = payload::RAM_START as usize;

/// The address `offset` bytes behind [`START`], if there can be one.
pub fn address(offset: u64) -> Option<usize> {
    START.checked_add(usize::try_from(offset).ok()?)
}

/// A piece of linear memory from [`START`] on.
pub struct LinearMemory {
    start: NonNull<u8>,
    size: usize,
}

impl LinearMemory {
    /// The `size` bytes that begin `offset` bytes behind [`START`], if there can be so many.
    ///
    /// The memory's own size is not asked for: a module that does that counts as one whose memory may change, and is slower. An access
    /// behind the memory's end traps.
    ///
    /// # Safety
    /// There is no other with some of these bytes that is still used.
    pub unsafe fn new(offset: u64, size: u64) -> Option<Self> {
        let start = address(offset)?;
        let size = usize::try_from(size).ok().filter(|&size| size != 0 && start.checked_add(size).is_some())?;
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(start))?;
        Some(Self { start, size })
    }
}

// SAFETY: the range lies in linear memory, which does not shrink, behind the heap and so behind all that Rust and C know of; no other with
// these bytes is used, as its maker vouches.
unsafe impl RamBacking for LinearMemory {
    fn pointer(&self) -> NonNull<u8> {
        self.start
    }
    fn length(&self) -> usize {
        self.size
    }
}
