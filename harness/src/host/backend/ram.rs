//! Guest RAM, and disks that are memory, as mappings: of nothing for a cold start, of a snapshot's pages for a restore.
//!
//! A restore maps and does not read: a page comes into memory when the guest first touches it, and is copied when the guest first writes it.

use crate::error::{Error, Result};
use emu::bus::{PAGE_SIZE, RamBacking};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use snapshot::{GROUP_SIZE, Run};
use std::ffi::c_void;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
/// Guests seldom touch all of their memory.
const PRIVATE: MapFlags = MapFlags::PRIVATE.union(MapFlags::NORESERVE);

/// A private mapping that belongs to this value alone.
#[derive(Debug)]
pub struct MappedRam {
    pointer: NonNull<u8>,
    length: usize,
}

impl MappedRam {
    /// `bytes` zeroes.
    pub fn zeroed(bytes: u64) -> Result<Self> {
        let error = |errno: Errno| Error::Memory { bytes, source: errno.into() };
        let length = usize::try_from(bytes).map_err(|_| error(Errno::NOMEM))?;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is in use.
        let address = unsafe { mmap_anonymous(std::ptr::null_mut(), length, READ_WRITE, PRIVATE) }.map_err(error)?;
        let pointer = NonNull::new(address.cast()).ok_or_else(|| error(Errno::NOMEM))?;
        Ok(Self { pointer, length })
    }

    /// Maps a run of a snapshot's `file`, whose bytes must have been verified, to its place. Nothing is read yet.
    pub fn map(&mut self, file: &File, run: Run) -> Result<()> {
        let place = self.place(run.address, run.len)?.cast::<c_void>();
        // SAFETY: the range was just checked to lie in this mapping, so what it replaces is ours, and no reference to it exists yet. A shorter
        // file would make an access a SIGBUS, never a wrong one.
        let mapped = unsafe { mmap(place, run.len as usize, READ_WRITE, PRIVATE | MapFlags::FIXED, file, run.file_offset) };
        mapped.map(drop).map_err(|errno| self.error(errno))
    }

    /// Writes `bytes` to `address`.
    pub fn put(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        let place = self.place(address, bytes.len() as u64)?;
        // SAFETY: the range was just checked to lie in this mapping, which nobody refers to yet, so `bytes` are elsewhere.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Where `length` bytes from `address` on are.
    fn place(&self, address: u64, length: u64) -> Result<*mut u8> {
        match address.checked_add(length) {
            // SAFETY: the offset is within this mapping.
            Some(end) if end <= self.length as u64 => Ok(unsafe { self.pointer.as_ptr().add(address as usize) }),
            _ => Err(self.error(Errno::FAULT)),
        }
    }

    fn error(&self, errno: Errno) -> Error {
        Error::Memory { bytes: self.length as u64, source: errno.into() }
    }
}

// SAFETY: the mapping is page-aligned, private, stays until `self` is dropped, and no reference to it is ever made here.
unsafe impl RamBacking for MappedRam {
    fn pointer(&self) -> NonNull<u8> {
        self.pointer
    }

    fn length(&self) -> usize {
        self.length
    }

    /// What lies in pieces of 64 KiB is mapped anew, so that nothing of a snapshot's file shows through; smaller ones could split the mapping
    /// more often than the kernel allows.
    fn clear(&mut self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.length);
        let whole = range.start.next_multiple_of(GROUP_SIZE)..range.end / GROUP_SIZE * GROUP_SIZE;
        // SAFETY: the range lies in this mapping, as was just checked, and nobody refers to it.
        let fill = |range: Range<usize>| unsafe { self.pointer.add(range.start).write_bytes(0, range.len()) };
        if whole.is_empty() {
            return fill(range);
        }
        fill(range.start..whole.start);
        fill(whole.end..range.end);
        // SAFETY: as above, so the mapping that is replaced is a piece of ours.
        let mapped = unsafe {
            let place = self.pointer.add(whole.start).as_ptr().cast();
            mmap_anonymous(place, whole.len(), READ_WRITE, PRIVATE | MapFlags::FIXED)
        };
        if mapped.is_err() {
            fill(whole);
        }
    }
}

impl Drop for MappedRam {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `zeroed` with this address and length, and whoever uses it keeps `self`.
        // It fails only for an address or a length that is not page-aligned.
        let _ = unsafe { munmap(self.pointer.as_ptr().cast(), self.length) };
    }
}

/// How many of its own pages the host has in memory for guest RAM, in pages of the guest; `None` where it does not say.
pub fn pages_loaded(bytes: &[u8]) -> Option<u64> {
    const ENTRY_LEN: usize = 8;
    const PRESENT: u64 = 1 << 63;
    let page_size = rustix::param::page_size();
    let first = bytes.as_ptr() as usize / page_size;
    let mut entries = vec![0; bytes.len() / page_size * ENTRY_LEN];
    File::open("/proc/self/pagemap").ok()?.read_exact_at(&mut entries, (first * ENTRY_LEN) as u64).ok()?;
    let (entries, _) = entries.as_chunks::<ENTRY_LEN>();
    let present = entries.iter().filter(|entry| u64::from_le_bytes(**entry) & PRESENT != 0).count();
    Some((present * page_size) as u64 / PAGE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu::bus::Ram;
    use std::io::Write;

    const GROUP: u64 = snapshot::GROUP_SIZE as u64;

    #[test]
    fn runs_show_through_and_the_file_stays_as_it_is() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..3 * GROUP).map(|i| (i / GROUP) as u8 + 1).collect();
        file.write_all(&content).unwrap();
        let run = |address, file_offset, len| Run { address, file_offset, len };
        let mut mapped = MappedRam::zeroed(8 * GROUP).unwrap();
        mapped.map(&file, run(GROUP, GROUP, 2 * GROUP)).unwrap();
        mapped.map(&file, run(7 * GROUP, 0, GROUP)).unwrap();
        mapped.put(2 * GROUP, &[8]).unwrap();
        let mut ram = Ram::new(Box::new(mapped));
        let firsts: Vec<u8> = ram.bytes().iter().copied().step_by(GROUP as usize).collect();
        assert_eq!(firsts, [0, 2, 8, 0, 0, 0, 0, 1]);

        ram.bytes_mut().fill(9);
        let mut now = vec![0; content.len()];
        file.read_exact_at(&mut now, 0).unwrap();
        assert!(now == content);
    }

    #[test]
    fn what_is_cleared_is_zero_and_takes_no_memory() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![5; 8 * GROUP_SIZE]).unwrap();
        let run = Run { address: 0, file_offset: 0, len: 8 * GROUP };
        let mut mapped = MappedRam::zeroed(16 * GROUP).unwrap();
        mapped.map(&file, run).unwrap();
        let mut ram = Ram::new(Box::new(mapped));
        ram.bytes_mut()[4 * GROUP_SIZE..].fill(5);
        // From the middle of a group to the middle of another, over the end of what the file holds.
        let (start, end) = (GROUP_SIZE / 2, 11 * GROUP_SIZE + 4096);
        ram.clear(start as u64..end as u64);
        ram.clear(12 * GROUP + 4096..12 * GROUP + 8192);
        ram.clear(GROUP..GROUP);
        let cleared = |at: usize| (start..end).contains(&at) || (12 * GROUP_SIZE + 4096..12 * GROUP_SIZE + 8192).contains(&at);
        assert!(ram.bytes().iter().enumerate().all(|(at, &byte)| byte == if cleared(at) { 0 } else { 5 }));
        ram.clear(0..16 * GROUP);
        assert_eq!(pages_loaded(ram.bytes()), Some(0));
        assert!(ram.bytes().iter().all(|&byte| byte == 0));
    }

    #[test]
    fn pages_that_were_touched_are_counted() {
        let mut ram = Ram::new(Box::new(MappedRam::zeroed(64 * GROUP).unwrap()));
        assert_eq!(pages_loaded(ram.bytes()), Some(0));
        for group in [0, 9, 63] {
            assert!(ram.store(group * GROUP, &[1]));
        }
        let host_page = rustix::param::page_size() as u64 / PAGE_SIZE;
        assert_eq!(pages_loaded(ram.bytes()), Some(3 * host_page));
    }

    #[test]
    fn a_run_outside_of_ram_is_refused() {
        let file = tempfile::tempfile().unwrap();
        for address in [GROUP, u64::MAX - GROUP + 1] {
            let run = Run { address, file_offset: 0, len: GROUP };
            assert_eq!(MappedRam::zeroed(GROUP).unwrap().map(&file, run).unwrap_err().kind(), "no-memory");
            assert_eq!(MappedRam::zeroed(GROUP).unwrap().put(address, &[1]).unwrap_err().kind(), "no-memory");
        }
        assert_eq!(MappedRam::zeroed(1 << 60).unwrap_err().kind(), "no-memory");
    }
}
