//! What a machine's tables take of the host at first: next to nothing, however large they are. A page of memory costs a start more than what is in it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;

use emu::cache::Limits;
use emu::engine::new_cache;

/// Blocks from here on are tables.
const LARGE: usize = 64 << 10;
const PAGE: usize = 4096;
/// What memory holds that was not asked to be zero.
const FILLED: u8 = 0xa5;

/// The system's allocator. It fills large blocks that may hold anything, and notes them.
struct Noted(Mutex<[Option<(usize, usize)>; 8]>);

// SAFETY: every call is passed on to the system's allocator as it came; what is filled is a block that nobody has yet.
unsafe impl GlobalAlloc for Noted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that are asked for, and the block is as long as that.
        unsafe {
            let block = System.alloc(layout);
            if layout.size() >= LARGE && !block.is_null() {
                block.write_bytes(FILLED, layout.size());
                // The first are the cache's. Whoever reports a failure needs memory, too.
                if let Some(place) = self.0.lock().unwrap().iter_mut().find(|place| place.is_none()) {
                    *place = Some((block.expose_provenance(), layout.size()));
                }
            }
            block
        }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static NOTED: Noted = Noted(Mutex::new([None; 8]));

#[test]
fn a_new_cache_writes_to_next_to_nothing_of_its_memory() {
    let cache = new_cache(Limits::default());
    let noted = *NOTED.0.lock().unwrap();
    let noted: Vec<(usize, usize)> = noted.into_iter().flatten().collect();
    assert!(noted.iter().any(|(_, size)| *size > 16 << 20), "room for decoded blocks is not among {noted:x?}");
    for (address, size) in noted {
        // SAFETY: the cache has the block, which was filled when it was allocated, and nobody writes to it now.
        let bytes = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(address), size) };
        let written = bytes.chunks(PAGE).filter(|page| page.iter().any(|byte| *byte != FILLED)).count();
        assert!(written <= 2, "{written} pages of a block of {size:#x} bytes");
    }
    drop(cache);
}
