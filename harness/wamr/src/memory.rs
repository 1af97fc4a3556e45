//! A guest's linear memory.

use crate::error::{Error, Result};
use crate::ffi;
use crate::instance::Instance;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::fs::File;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// The linear memory of an instance, which cannot run meanwhile.
#[derive(Debug)]
pub struct Memory<'i> {
    base: NonNull<u8>,
    len: usize,
    instance: PhantomData<&'i mut Instance>,
}

impl Instance {
    /// The guest's memory.
    pub fn memory(&mut self) -> Result<Memory<'_>> {
        // SAFETY: the instance is there.
        let memory = unsafe { ffi::wasm_runtime_get_default_memory(self.pointer()) };
        if memory.is_null() {
            return Err(Error::NoMemory);
        }
        // SAFETY: the instance has this memory for as long as it is there.
        let (base, pages, page) = unsafe {
            let base = ffi::wasm_memory_get_base_address(memory);
            (base, ffi::wasm_memory_get_cur_page_count(memory), ffi::wasm_memory_get_bytes_per_page(memory))
        };
        let base = NonNull::new(base).ok_or(Error::NoMemory)?;
        Ok(Memory { base, len: (pages * page) as usize, instance: PhantomData })
    }
}

impl<'i> Memory<'i> {
    /// Where address 0 is. It stays there as long as the instance: WAMR reserves all that a memory can grow to.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// How many bytes there are, a multiple of 64 KiB.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The `len` bytes at `address`.
    pub fn slice(&self, address: u32, len: usize) -> Result<&[u8]> {
        let start = self.check(address, len)?;
        // SAFETY: the range was checked, memory is always readable, and the guest, which alone writes to it, cannot run while `self` borrows its
        // instance.
        Ok(unsafe { std::slice::from_raw_parts(start, len) })
    }

    /// The `len` bytes at `address`, to be changed.
    pub fn slice_mut(&mut self, address: u32, len: usize) -> Result<&mut [u8]> {
        let start = self.check(address, len)?;
        // SAFETY: as in `slice`, and `self` is borrowed alone.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, len) })
    }

    /// The `len` bytes at `address`, to be changed, for as long as the instance is borrowed.
    pub fn into_slice_mut(self, address: u32, len: usize) -> Result<&'i mut [u8]> {
        let start = self.check(address, len)?;
        // SAFETY: as in `slice_mut`; `self`, which alone stood for the borrow, is gone.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, len) })
    }

    /// Fills `buffer` from `address` on.
    pub fn read(&self, address: u32, buffer: &mut [u8]) -> Result<()> {
        buffer.copy_from_slice(self.slice(address, buffer.len())?);
        Ok(())
    }

    /// Puts `bytes` at `address`.
    pub fn write(&mut self, address: u32, bytes: &[u8]) -> Result<()> {
        self.slice_mut(address, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Puts the `len` bytes at `offset` of `file` at `address`, without reading them: a page is read when it is first touched, and copied when it is
    /// first written. The file itself is never written.
    ///
    /// All three numbers are multiples of the host's page, and the file has the bytes. Nobody may write to the file or shorten it as long as the
    /// instance is there: what was not read yet would change; where it is gone, the guest traps as if out of bounds, and the host, if it looks,
    /// ends.
    pub fn map_file(&mut self, address: u32, file: &File, offset: u64, len: usize) -> Result<()> {
        let page = rustix::param::page_size();
        let aligned = (address as usize).is_multiple_of(page) && offset.is_multiple_of(page as u64) && len.is_multiple_of(page);
        if !aligned || len == 0 {
            return Err(Error::Unaligned { address, offset, len, page });
        }
        let start = self.check(address, len)?;
        let size = file.metadata().map_err(Error::Map)?.len();
        if offset.checked_add(len as u64).is_none_or(|end| end > size) {
            return Err(Error::ShortFile { offset, len, size });
        }
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE);
        // SAFETY: the range was checked to be whole pages of this memory (whose base is page-aligned, as the kernel checks too), which WAMR mapped
        // readable and writable and unmaps as one range, file or not. No reference into it exists, since `self` is borrowed alone.
        unsafe { mmap(start.cast(), len, protection, flags, file, offset) }.map_err(|errno| Error::Map(errno.into()))?;
        Ok(())
    }

    /// Where `len` bytes at `address` start, if all of them are there.
    fn check(&self, address: u32, len: usize) -> Result<*mut u8> {
        let start = address as usize;
        match start.checked_add(len) {
            // SAFETY: the start is not behind the end of memory.
            Some(end) if end <= self.len => Ok(unsafe { self.base.as_ptr().add(start) }),
            _ => Err(Error::OutOfBounds { address, len, size: self.len }),
        }
    }
}
