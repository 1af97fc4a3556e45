//! The payload: kernel, initramfs and image, which ride in the module as a passive data segment.

use devices::blk::{BlockError, BlockSource};
use std::alloc::{Layout, alloc};

/// Fills the `length` bytes at `destination` from `offset` of the payload; traps where there is none.
///
/// This body is a placeholder: there is no way to say `memory.init` in Rust, so whoever links the payload in puts it here. What it does
/// instead depends on every parameter, so that no compiler leaves one out.
///
/// # Safety
/// The bytes at `destination` may be written.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn pb_payload_read(destination: *mut u8, offset: u32, length: usize) {
    // SAFETY: the caller vouches for the bytes.
    unsafe { destination.write_bytes(offset as u8, length) }
}

/// Where something is in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First byte.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

/// A disk in the payload. What nobody reads of it is never looked at.
pub struct PayloadDisk(Place);

impl PayloadDisk {
    /// The disk at `place`, if there can be one.
    pub fn new(place: Place) -> Option<Self> {
        place.offset.checked_add(place.length)?;
        (place.length != 0 && place.length.is_multiple_of(512)).then_some(Self(place))
    }
}

impl BlockSource for PayloadDisk {
    fn size(&self) -> u64 {
        self.0.length.into()
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        // The caller has checked that the range is inside the disk, which ends below 4 GiB.
        let offset = self.0.offset + offset as u32;
        // SAFETY: the bytes may be written.
        unsafe { pb_payload_read(bytes.as_mut_ptr(), offset, bytes.len()) }
        Ok(())
    }
}

/// What is at `place`; `None` where the heap has no room for it.
pub fn read(place: Place) -> Option<Box<[u8]>> {
    let length = place.length as usize;
    if length == 0 {
        return Some(Box::default());
    }
    let layout = Layout::array::<u8>(length).ok()?;
    // SAFETY: the layout is not empty; all of the block is written before it becomes a slice, which owns it from then on.
    unsafe {
        let block = alloc(layout);
        if block.is_null() {
            return None;
        }
        pb_payload_read(block, place.offset, length);
        Some(Box::from_raw(std::ptr::slice_from_raw_parts_mut(block, length)))
    }
}
