//! The bytes of a module, in pages of their own.

use crate::error::{Error, Result};
use crate::ffi;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// A module's bytes: private, page-aligned and writable, because WAMR ends strings in place and aligns what it reads by address.
///
/// WAMR keeps pointers into them and copies no data segment until the guest asks for it by `memory.init`. So payload in a passive segment that is
/// mapped costs address space, and pages only where it is read.
#[derive(Debug)]
pub struct ModuleBytes {
    pointer: NonNull<u8>,
    len: usize,
    /// The number under which what is mapped of a file is watched, and how the file is called.
    watch: Option<(u32, PathBuf)>,
}

impl ModuleBytes {
    /// The largest module that WAMR takes: its sizes have 32 bits.
    pub const MAX: usize = u32::MAX as usize;

    /// The `len` bytes of `file`. What is outside of `hole` is read now, and whatever becomes of the file, these bytes stay. What is inside is mapped:
    /// it is read when it is first touched. If someone writes to the file before that, what was written is read. If someone shortens the file, an
    /// instance that reads behind its end fails with [`Error::FileShortened`], which has the `path`.
    pub fn of_file((file, path): (&File, &Path), len: u64, hole: Range<u64>) -> Result<Self> {
        let len = Self::check(usize::try_from(len).unwrap_or(usize::MAX))?;
        let mut bytes = Self::zeroed(len)?;
        let page = rustix::param::page_size();
        let limit = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(len);
        let (start, end) = (limit(hole.start).next_multiple_of(page), limit(hole.end) / page * page);
        if start >= end {
            file.read_exact_at(bytes.as_mut(), 0).map_err(Error::Map)?;
            return Ok(bytes);
        }
        let (before, after) = bytes.as_mut().split_at_mut(end);
        file.read_exact_at(&mut before[..start], 0).map_err(Error::Map)?;
        file.read_exact_at(after, end as u64).map_err(Error::Map)?;
        bytes.map((file, path), start as u64, start..end)?;
        Ok(bytes)
    }

    /// `before`, what is in `range` of `file`, and `after`. If the file `is_mapped`, what is in the range is mapped as by [`ModuleBytes::of_file`], or
    /// read now where it does not lie in the same way in the host's pages here and there.
    pub fn around((before, after): (&[u8], &[u8]), (file, path): (&File, &Path), range: Range<u64>, is_mapped: bool) -> Result<Self> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let (start, end) = (before.len(), before.len().saturating_add(length));
        let mut bytes = Self::zeroed(Self::check(end.saturating_add(after.len()))?)?;
        bytes.as_mut()[..start].copy_from_slice(before);
        bytes.as_mut()[end..].copy_from_slice(after);
        let page = rustix::param::page_size();
        let is_aligned = start.is_multiple_of(page) && range.start.is_multiple_of(page as u64);
        let mapped = if is_mapped && is_aligned { length / page * page } else { 0 };
        file.read_exact_at(&mut bytes.as_mut()[start + mapped..end], range.start + mapped as u64).map_err(Error::Map)?;
        if mapped > 0 {
            bytes.map((file, path), range.start, start..start + mapped)?;
        }
        Ok(bytes)
    }

    /// Maps pages of `file`, from `offset` on, to `range`.
    fn map(&mut self, (file, path): (&File, &Path), offset: u64, range: Range<usize>) -> Result<()> {
        // SAFETY: the range lies in this mapping.
        let place = unsafe { self.pointer.as_ptr().add(range.start) };
        // SAFETY: as above; it is whole pages of ours, and `self` is borrowed alone, so nobody refers to what is replaced.
        let mapped = unsafe { mmap(place.cast(), range.len(), READ_WRITE, MapFlags::PRIVATE | MapFlags::FIXED, file, offset) };
        mapped.map_err(|errno| Error::Map(errno.into()))?;
        // SAFETY: the range stays mapped until `self` is dropped, which ends the watch first.
        let watch = unsafe { ffi::prebake_wamr_watch(place.cast(), range.len()) };
        self.watch = Some((u32::try_from(watch).map_err(|_| Error::Map(rustix::io::Errno::NOMEM.into()))?, path.into()));
        Ok(())
    }

    /// Fails if something was read that the file does not have any more.
    pub(crate) fn check_file(&self) -> Result<()> {
        match &self.watch {
            // SAFETY: the watch is this value's.
            Some((number, path)) if unsafe { ffi::prebake_wamr_is_short(*number) } => Err(Error::FileShortened { path: path.clone() }),
            _ => Ok(()),
        }
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Result<Self> {
        let mut copy = Self::zeroed(Self::check(bytes.len())?)?;
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

    fn zeroed(len: usize) -> Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is in use.
        let address = unsafe { mmap_anonymous(std::ptr::null_mut(), len, READ_WRITE, MapFlags::PRIVATE) };
        let address = address.map_err(|errno| Error::Map(errno.into()))?;
        let pointer = NonNull::new(address.cast()).ok_or_else(|| Error::Map(rustix::io::Errno::NOMEM.into()))?;
        Ok(Self { pointer, len, watch: None })
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
        if let Some((watch, _)) = self.watch {
            // SAFETY: the watch is this value's, and nobody asks for it any more.
            unsafe { ffi::prebake_wamr_unwatch(watch) };
        }
        // SAFETY: the mapping was made by this value with this address and length. It fails only for an address that is not page-aligned.
        let _ = unsafe { munmap(self.pointer.as_ptr().cast(), self.len) };
    }
}
