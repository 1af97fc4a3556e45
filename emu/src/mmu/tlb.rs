//! A direct-mapped TLB in software, one table for each view of the address space.
//!
//! One compare per access decides everything: a tag is the page's linear address when the access is allowed, lies in RAM and needs no
//! notice (the page holds no cached code, and is already dirty); otherwise no address equals it. The compare uses the address of the
//! access's *last* byte, while the entry is chosen by its first, so an access that crosses into the next page never matches.

use super::PhysicalPage;
use crate::bus::PAGE_SIZE;

const ENTRIES: usize = 1024;
const NEVER: u64 = 1;
/// Bytes of the largest page.
const LARGE_SIZE: u64 = 1 << 30;

/// Which table answers: what is allowed depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum View {
    /// Accesses of user mode.
    User = 0,
    /// Accesses of supervisor mode that may touch user pages.
    Supervisor = 1,
    /// Accesses of supervisor mode under SMAP with RFLAGS.AC clear.
    SupervisorOnly = 2,
    /// Segments that need checks: always empty, so that every access takes the slow path.
    Checked = 3,
}

/// One entry. A tag is a linear page address, or [`NEVER`]. Its size is a power of two, so that the place of an entry is one shift away.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct TlbEntry {
    read: u64,
    write: u64,
    /// Linear address + `addend` = address in this process.
    addend: usize,
}

const EMPTY: TlbEntry = TlbEntry { read: NEVER, write: NEVER, addend: 0 };

/// The TLB.
pub struct Tlb {
    /// Table of the current view, inside `entries`.
    current: *mut TlbEntry,
    view: View,
    entries: Box<[TlbEntry]>,
    /// Entries filled from non-global pages since they were last flushed.
    local: Vec<u16>,
    /// First and last linear address of all that was found in large pages since everything was last flushed.
    large: Option<(u64, u64)>,
}

impl Default for Tlb {
    fn default() -> Self {
        let mut entries = vec![EMPTY; 4 * ENTRIES].into_boxed_slice();
        Self { current: entries.as_mut_ptr(), view: View::User, entries, local: Vec::new(), large: None }
    }
}

impl Tlb {
    /// Makes `view` the one that answers.
    #[inline]
    pub fn set_view(&mut self, view: View) {
        self.view = view;
        self.current = self.entries[view as usize * ENTRIES..].as_mut_ptr();
    }

    #[inline(always)]
    fn entry(&self, linear: u64) -> &TlbEntry {
        let index = (linear >> 12) as usize % ENTRIES;
        // SAFETY: `current` points at a table of ENTRIES entries in `entries`, which is never reallocated. For speed: an index into
        // the boxed slice costs a second load and a compare on every guest memory access.
        unsafe { &*self.current.add(index) }
    }

    /// Address in this process of `length` bytes at `linear`, if they may be read without further ado.
    #[inline(always)]
    pub fn read(&self, linear: u64, length: u64) -> Option<*const u8> {
        let entry = self.entry(linear);
        (entry.read == linear.wrapping_add(length - 1) & !(PAGE_SIZE - 1))
            .then(|| (linear as usize).wrapping_add(entry.addend) as *const u8)
    }

    /// Address in this process of `length` bytes at `linear`, if they may be written without further ado.
    #[inline(always)]
    pub fn write(&self, linear: u64, length: u64) -> Option<*mut u8> {
        let entry = self.entry(linear);
        (entry.write == linear.wrapping_add(length - 1) & !(PAGE_SIZE - 1)).then(|| (linear as usize).wrapping_add(entry.addend) as *mut u8)
    }

    /// Remembers that the page of `linear` lies at `host`, with the accesses that the walk allows; `may_write` is false for pages whose
    /// stores must be noticed.
    pub fn fill(&mut self, linear: u64, page: &PhysicalPage, host: usize, may_write: bool) {
        if self.view == View::Checked {
            return;
        }
        let tag = linear & !(PAGE_SIZE - 1);
        let allow = |allowed: bool| if allowed { tag } else { NEVER };
        let index = self.view as usize * ENTRIES + (linear >> 12) as usize % ENTRIES;
        self.entries[index] = TlbEntry {
            read: allow(page.readable),
            write: allow(page.writable && page.dirty && may_write),
            addend: host.wrapping_sub(tag as usize),
        };
        if !page.global {
            self.local.push(index as u16);
            if self.local.len() > 4 * ENTRIES {
                self.flush_local();
            }
        }
    }

    /// Notes what kind of page `linear` was found in.
    #[inline]
    pub fn note(&mut self, linear: u64, page: &PhysicalPage) {
        if page.large {
            let (first, last) = self.large.unwrap_or((linear, linear));
            self.large = Some((first.min(linear & !(LARGE_SIZE - 1)), last.max(linear | (LARGE_SIZE - 1))));
        }
    }

    /// Whether `linear` may lie in a large page of which other parts are known, too.
    pub fn may_be_large(&self, linear: u64) -> bool {
        self.large.is_some_and(|(first, last)| (first..=last).contains(&linear))
    }

    /// Forgets the page of `linear` in every view (INVLPG of a small page).
    pub fn flush_page(&mut self, linear: u64) {
        for view in 0..3 {
            self.entries[view * ENTRIES + (linear >> 12) as usize % ENTRIES] = EMPTY;
        }
    }

    /// Forgets all pages that are not global (a load of CR3).
    pub fn flush_local(&mut self) {
        for index in self.local.drain(..) {
            self.entries[index as usize] = EMPTY;
        }
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        self.entries.fill(EMPTY);
        self.local.clear();
        self.large = None;
    }

    /// Takes back the permission to write to the page at `host` without notice: it now holds cached code.
    pub fn protect(&mut self, host: usize) {
        for entry in &mut self.entries {
            if entry.write != NEVER && (entry.write as usize).wrapping_add(entry.addend) == host {
                entry.write = NEVER;
            }
        }
    }
}
