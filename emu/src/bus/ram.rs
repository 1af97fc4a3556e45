//! Guest RAM: one flat range from guest-physical 0, with what the engine must know about each page.

use std::ops::Range;
use std::ptr::NonNull;

use devices::platform::{GuestMemory, GuestPhysAddr, MemoryError, Presence};
use snapshot::GROUP_SIZE;

use super::absent::{Absent, PageError, PageSource};

/// log2 of the page size.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// Memory that backs guest RAM.
///
/// # Safety
/// `pointer` must stay valid for reads and writes of `length` bytes, page-aligned and not aliased by any reference, until `self` is dropped.
pub unsafe trait RamBacking {
    /// First byte of RAM.
    fn pointer(&self) -> NonNull<u8>;
    /// Bytes of RAM.
    fn length(&self) -> usize;

    /// Makes a range of whole pages zero, and gives its memory back to the host where that can be done.
    fn clear(&mut self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.length());
        // SAFETY: the range was just checked to lie in memory that may be written, and that nothing else refers to.
        unsafe { self.pointer().add(range.start).write_bytes(0, range.len()) }
    }
}

/// RAM from the allocator, zeroed.
pub struct VecBacking {
    pointer: NonNull<u8>,
    layout: std::alloc::Layout,
}

impl VecBacking {
    /// Allocates `length` zeroed bytes, a multiple of the page size and not 0; `None` when the allocator has no room.
    pub fn new(length: usize) -> Option<Self> {
        let layout = std::alloc::Layout::from_size_align(length, 1 << 16).ok()?;
        if length == 0 || !(length as u64).is_multiple_of(PAGE_SIZE) {
            return None;
        }
        // SAFETY: the layout has a non-zero size.
        let pointer = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        Some(Self { pointer, layout })
    }
}

impl Drop for VecBacking {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, and freed once.
        unsafe { std::alloc::dealloc(self.pointer.as_ptr(), self.layout) }
    }
}

// SAFETY: the allocation lives as long as `self`, is 64 KiB aligned, and no reference to it is ever made here.
unsafe impl RamBacking for VecBacking {
    fn pointer(&self) -> NonNull<u8> {
        self.pointer
    }
    fn length(&self) -> usize {
        self.layout.size()
    }
}

/// Guest RAM.
pub struct Ram {
    base: *mut u8,
    length: u64,
    /// One flag per page: decoded instructions of this page are cached, so stores to it must be reported.
    code: Vec<bool>,
    /// One flag per page: written since the machine started or was restored.
    dirty: Vec<bool>,
    /// Pages with cached code that were written and not yet taken by [`Ram::take_code_writes`].
    code_writes: Vec<u32>,
    /// What has not been brought in; `None` where all of RAM is there.
    absent: Option<Box<Absent>>,
    backing: Box<dyn RamBacking>,
}

impl Ram {
    /// Takes over `backing`, which is all zero; what `source` has is brought in as it is touched.
    pub fn of_pages(backing: Box<dyn RamBacking>, source: Box<dyn PageSource>) -> Self {
        let absent = Absent::new(source, backing.length() as u64);
        Self { absent: (!absent.is_empty()).then(|| Box::new(absent)), ..Self::new(backing) }
    }

    /// Takes over `backing`.
    pub fn new(backing: Box<dyn RamBacking>) -> Self {
        let pages = backing.length() >> PAGE_SHIFT;
        Self {
            base: backing.pointer().as_ptr(),
            length: backing.length() as u64,
            code: vec![false; pages],
            dirty: vec![false; pages],
            code_writes: Vec::new(),
            absent: None,
            backing,
        }
    }

    /// Bytes of RAM.
    pub fn size(&self) -> u64 {
        self.length
    }

    /// Whether the whole range `address..address + length` is RAM.
    #[inline]
    pub fn contains(&self, address: u64, length: u64) -> bool {
        address < self.length && length <= self.length - address
    }

    /// Has the host's processor fetch what lies at `address`, without waiting for it. Where a host has no instruction for that, nothing happens.
    #[inline(always)]
    pub fn ask_for(&self, address: u64) {
        #[cfg(target_arch = "x86_64")]
        if address < self.length {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: the address lies in RAM; it is neither read nor written, and every x86-64 has the instruction.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.base.add(address as usize).cast()) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }

    /// Brings in the page that `address` lies in, if that is still to come; there is nothing to do outside RAM. `false` if it cannot
    /// be had: the guest must not go on until [`Self::retry`] has worked.
    #[inline(always)]
    #[must_use]
    pub fn bring_in(&mut self, address: u64) -> bool {
        self.absent.is_none() || self.bring_in_page(address >> PAGE_SHIFT)
    }

    /// Brings in everything that is still to come; see [`Self::bring_in`].
    #[must_use]
    pub fn bring_in_all(&mut self) -> bool {
        let pages = self.absent.as_ref().map_or(0, |absent| absent.count());
        self.retry() && (0..pages).all(|number| self.bring_in_page(number))
    }

    /// Tries again what could not be brought in. Whether all that was wanted is there now.
    #[must_use]
    pub fn retry(&mut self) -> bool {
        let failed = self.absent.as_ref().and_then(|absent| absent.failed());
        failed.is_none_or(|number| self.read_page(number))
    }

    /// Why something could not be brought in, once.
    pub fn take_error(&mut self) -> Option<PageError> {
        self.absent.as_mut()?.take_error()
    }

    #[cold]
    #[inline(never)]
    fn bring_in_page(&mut self, number: u64) -> bool {
        match &self.absent {
            Some(absent) if absent.contains(number) => absent.failed().is_none() && self.read_page(number),
            _ => true,
        }
    }

    /// Copies a page that is to come from its source, and what comes with it.
    fn read_page(&mut self, number: u64) -> bool {
        let Some(absent) = &mut self.absent else { return true };
        let Some((pages, group)) = absent.take(number) else { return false };
        let start = (number as usize) << PAGE_SHIFT & !(GROUP_SIZE - 1);
        for (page, bytes) in group.as_chunks::<{ PAGE_SIZE as usize }>().0.iter().enumerate() {
            let at = start + (page << PAGE_SHIFT);
            if pages & 1 << page != 0 && at < self.length as usize {
                // SAFETY: RAM has whole pages, and this one begins in it.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.add(at), bytes.len()) };
            }
        }
        if absent.is_empty() {
            self.absent = None;
        }
        true
    }

    /// Address in this process of the page at `page`, for the TLB; the page must be RAM, and have been brought in.
    #[inline]
    pub fn host_page(&self, page: u64) -> usize {
        debug_assert!(self.contains(page, PAGE_SIZE));
        self.base as usize + page as usize
    }

    /// Reads a little-endian number of `N` bytes, or `None` outside RAM. They must have been brought in.
    #[inline]
    pub fn load<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        if !self.contains(address, N as u64) {
            return None;
        }
        let mut bytes = [0; N];
        // SAFETY: the range was just checked to lie in the backing, and nothing else touches it during the copy.
        unsafe { std::ptr::copy_nonoverlapping(self.base.add(address as usize), bytes.as_mut_ptr(), N) };
        Some(bytes)
    }

    /// Stores bytes, reporting the pages as dirty and, where they hold cached code, as code writes. `false` outside RAM. The pages must have
    /// been brought in.
    #[inline]
    pub fn store(&mut self, address: u64, bytes: &[u8]) -> bool {
        if !self.contains(address, bytes.len() as u64) {
            return false;
        }
        if !bytes.is_empty() {
            for page in (address >> PAGE_SHIFT)..=((address + bytes.len() as u64 - 1) >> PAGE_SHIFT) {
                self.mark_written(page);
            }
        }
        // SAFETY: the range was just checked to lie in the backing, and nothing else touches it during the copy.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.add(address as usize), bytes.len()) };
        true
    }

    /// Makes a range of whole pages zero, and gives its memory back to the host where that can be done.
    pub fn clear(&mut self, range: Range<u64>) {
        (range.start >> PAGE_SHIFT..range.end >> PAGE_SHIFT).for_each(|page| self.mark_written(page));
        self.backing.clear(range.start as usize..range.end as usize);
    }

    /// All of RAM as bytes; what has not been brought in is zero.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the backing is valid for `length` bytes, and `&self` keeps every writer out.
        unsafe { std::slice::from_raw_parts(self.base, self.length as usize) }
    }

    /// All of RAM, to be filled before the machine runs.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the backing is valid for `length` bytes, and `&mut self` keeps every other user out.
        unsafe { std::slice::from_raw_parts_mut(self.base, self.length as usize) }
    }

    /// Brings in a range that a device is going to use. Whether all of it is RAM and there.
    fn lend(&mut self, address: GuestPhysAddr, length: u64) -> bool {
        let first = address.get();
        let pages = || first >> PAGE_SHIFT..=(first + length.max(1) - 1) >> PAGE_SHIFT;
        self.contains(first, length) && (self.absent.is_none() || pages().all(|number| self.bring_in_page(number)))
    }

    /// Notes a store to page number `page`, wherever the bytes come from.
    #[inline]
    pub fn mark_written(&mut self, page: u64) {
        self.dirty[page as usize] = true;
        if self.code[page as usize] {
            // The blocks are dropped before the next instruction, so one report per page is enough.
            self.code[page as usize] = false;
            self.code_writes.push(page as u32);
        }
    }

    /// Whether decoded instructions of page number `page` are cached.
    #[inline]
    pub fn is_code(&self, page: u64) -> bool {
        self.code[page as usize]
    }

    /// Says that decoded instructions of page number `page` are now cached, or no longer. They may be of a page outside RAM, which is never
    /// written.
    pub fn set_code(&mut self, page: u64, code: bool) {
        if let Some(flag) = self.code.get_mut(page as usize) {
            *flag = code;
        }
    }

    /// Whether a store hit a page with cached code since the last [`Ram::take_code_writes`].
    #[inline]
    pub fn has_code_writes(&self) -> bool {
        !self.code_writes.is_empty()
    }

    /// Numbers of the pages with cached code that were written since the last call.
    pub fn take_code_writes(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.code_writes)
    }

    /// One flag per page: written since the machine started or was restored.
    pub fn dirty_pages(&self) -> &[bool] {
        &self.dirty
    }
}

impl GuestMemory for Ram {
    fn size(&self) -> u64 {
        self.length
    }
    fn read(&mut self, address: GuestPhysAddr, bytes: &mut [u8]) -> Result<(), MemoryError> {
        if !self.lend(address, bytes.len() as u64) {
            return Err(MemoryError { address, length: bytes.len() as u64 });
        }
        // SAFETY: the range was just checked to lie in the backing; `bytes` is a distinct exclusive borrow.
        unsafe { std::ptr::copy_nonoverlapping(self.base.add(address.get() as usize), bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }
    fn write(&mut self, address: GuestPhysAddr, bytes: &[u8]) -> Result<(), MemoryError> {
        if self.lend(address, bytes.len() as u64) && self.store(address.get(), bytes) {
            Ok(())
        } else {
            Err(MemoryError { address, length: bytes.len() as u64 })
        }
    }
    fn presence(&self) -> Presence {
        match &self.absent {
            None => Presence::Whole,
            Some(absent) if absent.failed().is_none() => Presence::Partial,
            Some(_) => Presence::Stalled,
        }
    }
    fn bring_in(&mut self, address: GuestPhysAddr, length: u64) {
        self.lend(address, length);
    }
}
