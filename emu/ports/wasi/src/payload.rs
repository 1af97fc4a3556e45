//! The payload: kernel, initramfs and image, which ride in the module as a passive data segment.

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
