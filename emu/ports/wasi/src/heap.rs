//! The heap: what lies between the statics and guest RAM. The usual allocators would grow the memory, or take guest RAM for theirs.
#![cfg(target_os = "wasi")]

use crate::ram;
use dlmalloc::Dlmalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::ptr;

/// Hands out the heap's bytes once, in order.
struct Arena {
    /// First byte that was not handed out; 0 before the first time.
    next: Cell<usize>,
}

impl Arena {
    /// The first byte that was not handed out.
    fn fresh(&self) -> usize {
        unsafe extern "C" {
            static __heap_base: u8;
        }
        match self.next.get() {
            0 => (&raw const __heap_base as usize).next_multiple_of(16),
            next => next,
        }
    }
}

// SAFETY: no two calls give the same bytes, all lie in this module's memory, and nothing else uses what lies between the statics and guest RAM.
unsafe impl dlmalloc::Allocator for Arena {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let next = self.fresh();
        match next.checked_add(size).filter(|&end| end <= ram::START) {
            Some(end) => {
                self.next.set(end);
                (next as *mut u8, size, 0)
            }
            None => (ptr::null_mut(), 0, 0),
        }
    }
    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut()
    }
    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }
    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }
    fn can_release_part(&self, _: u32) -> bool {
        false
    }
    fn allocates_zeros(&self) -> bool {
        true
    }
    fn page_size(&self) -> usize {
        1 << 16
    }
}

struct Heap(UnsafeCell<Dlmalloc<Arena>>);

// SAFETY: the module has one thread.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(Dlmalloc::new_with_allocator(Arena { next: Cell::new(0) })));

impl Heap {
    #[allow(clippy::mut_from_ref, reason = "one thread, and no call of the allocator is within another")]
    fn get(&self) -> &mut Dlmalloc<Arena> {
        // SAFETY: the module has one thread, and the reference ends with the call that asked for it.
        unsafe { &mut *self.0.get() }
    }
}

// SAFETY: all of it is what the allocator underneath promises.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout is valid.
        unsafe { self.get().malloc(layout.size(), layout.align()) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller vouches that the block came from here with this layout.
        unsafe { self.get().free(pointer, layout.size(), layout.align()) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let heap = self.get();
        // What was never handed out is zero, and takes no memory of the host before it is touched.
        let fresh = heap.allocator().fresh();
        // SAFETY: the caller's layout is valid, and what is cleared lies in the block.
        unsafe {
            let block = heap.malloc(layout.size(), layout.align());
            if !block.is_null() {
                block.write_bytes(0, fresh.saturating_sub(block as usize).min(layout.size()));
            }
            block
        }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as for `dealloc`.
        unsafe { self.get().realloc(pointer, layout.size(), layout.align(), size) }
    }
}

/// What C's functions keep in front of a block: its size, which Rust's callers remember themselves.
const HEADER: usize = 16;

fn c_layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(HEADER)?, HEADER).ok()
}

/// C's, for the C library, which has no other heap to use.
#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    let Some(layout) = c_layout(size) else { return ptr::null_mut() };
    // SAFETY: the layout is not empty; the header lies in the block.
    unsafe {
        let block = HEAP.alloc_zeroed(layout);
        if block.is_null() {
            return ptr::null_mut();
        }
        block.cast::<usize>().write(size);
        block.add(HEADER).cast()
    }
}

/// C's.
#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // Every block is zeroed.
    count.checked_mul(size).map_or(ptr::null_mut(), |size| malloc(size))
}

/// C's.
///
/// # Safety
/// The block came from these functions, or is null.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(pointer: *mut c_void) {
    if pointer.is_null() {
        return;
    }
    // SAFETY: the header in front of the block says how it was allocated.
    unsafe {
        let block = pointer.cast::<u8>().sub(HEADER);
        if let Some(layout) = c_layout(block.cast::<usize>().read()) {
            HEAP.dealloc(block, layout);
        }
    }
}

/// C's.
///
/// # Safety
/// As for [`free`].
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void {
    let new = malloc(size);
    if !pointer.is_null() && !new.is_null() {
        // SAFETY: the header says how long the old block is, and the new one does not overlap it.
        unsafe {
            let old = pointer.cast::<u8>().sub(HEADER).cast::<usize>().read();
            ptr::copy_nonoverlapping(pointer.cast::<u8>(), new.cast::<u8>(), old.min(size));
            free(pointer);
        }
    }
    new
}

/// C's. Alignments above that of every block are refused.
///
/// # Safety
/// `result` is valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(result: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    const ENOMEM: c_int = 48;
    let block = if alignment <= HEADER { malloc(size) } else { ptr::null_mut() };
    if block.is_null() {
        return ENOMEM;
    }
    // SAFETY: the caller vouches for it.
    unsafe { result.write(block) };
    0
}
