//! Memory, which is mapped one to one: what is taken is not given back, for the guest does not live long.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

const HEAP: usize = 8 << 20;

#[repr(align(4096))]
struct Heap {
    bytes: UnsafeCell<[u8; HEAP]>,
    used: AtomicUsize,
}

// SAFETY: there is one CPU, and each byte is handed out once.
unsafe impl Sync for Heap {}

#[global_allocator]
static MEMORY: Heap = Heap { bytes: UnsafeCell::new([0; HEAP]), used: AtomicUsize::new(0) };

// SAFETY: ranges are handed out in order, aligned, inside the heap, and never again.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.used.load(Ordering::Relaxed).next_multiple_of(layout.align());
        if start + layout.size() > HEAP {
            return null_mut();
        }
        self.used.store(start + layout.size(), Ordering::Relaxed);
        // SAFETY: the range was just checked to lie in the heap.
        unsafe { self.bytes.get().cast::<u8>().add(start) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// Devices see memory where the program sees it.
pub struct Identity;

// SAFETY: the heap is zero and hands out every page once; addresses are physical ones; nothing is copied to be shared.
unsafe impl Hal for Identity {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let layout = Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("queues are small");
        // SAFETY: a queue has a page or more.
        let pointer = NonNull::new(unsafe { MEMORY.alloc(layout) }).expect("the heap has room for the queues");
        (pointer.as_ptr() as PhysAddr, pointer)
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(address as *mut u8).expect("no device is at address 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
