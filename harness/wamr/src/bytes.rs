//! The bytes of a module, in pages of their own.

use crate::error::{Error, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::fs::File;
use std::ptr::NonNull;

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// A module's bytes: private, page-aligned and writable, because WAMR ends strings in place and aligns what it reads by address.
///
/// WAMR keeps pointers into them and copies no data segment until the guest asks for it by `memory.init`. So payload in a passive segment of a
/// mapped file costs address space, and pages only where it is read.
#[derive(Debug)]
pub struct ModuleBytes {
    pointer: NonNull<u8>,
    len: usize,
}

impl ModuleBytes {
    /// The largest module that WAMR takes: its sizes have 32 bits.
    pub const MAX: usize = u32::MAX as usize;

    /// All of `file`, which is not read now and never written. Nobody may write to it or shorten it as long as these bytes are there: what was
    /// not read yet would change, or be gone and end the process.
    pub fn map(file: &File) -> Result<Self> {
        let len = file.metadata().map_err(Error::Map)?.len();
        let len = Self::check(usize::try_from(len).unwrap_or(usize::MAX))?;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is in use.
        let address = unsafe { mmap(std::ptr::null_mut(), len, READ_WRITE, MapFlags::PRIVATE, file, 0) };
        Self::new(address, len)
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Result<Self> {
        let len = Self::check(bytes.len())?;
        // SAFETY: as in `map`.
        let address = unsafe { mmap_anonymous(std::ptr::null_mut(), len, READ_WRITE, MapFlags::PRIVATE) };
        let mut copy = Self::new(address, len)?;
        copy.as_mut().copy_from_slice(bytes);
        Ok(copy)
    }

    /// `len`, if a module can have it. An empty one cannot be mapped, nor be a module.
    fn check(len: usize) -> Result<usize> {
        match len {
            0 => Err(Error::NotAModule { found: Vec::new() }),
            1..=Self::MAX => Ok(len),
            _ => Err(Error::TooLarge { len, max: Self::MAX }),
        }
    }

    fn new(address: rustix::io::Result<*mut std::ffi::c_void>, len: usize) -> Result<Self> {
        let address = address.map_err(|errno| Error::Map(errno.into()))?;
        let pointer = NonNull::new(address.cast()).ok_or_else(|| Error::Map(rustix::io::Errno::NOMEM.into()))?;
        Ok(Self { pointer, len })
    }
}

impl AsRef<[u8]> for ModuleBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is readable, has this length, stays until `self` is dropped, and is written only through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.len) }
    }
}

impl AsMut<[u8]> for ModuleBytes {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_ref`; the mapping is writable and `self` is borrowed for as long as the slice.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.len) }
    }
}

impl Drop for ModuleBytes {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by this value with this address and length. It fails only for an address that is not page-aligned.
        let _ = unsafe { munmap(self.pointer.as_ptr().cast(), self.len) };
    }
}
