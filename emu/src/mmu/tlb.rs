//! A direct-mapped TLB in software, one table for each view of the address space.
//!
//! One compare per access decides everything: a tag is the linear address of the page's last byte when the access is allowed, lies in RAM and
//! needs no notice (the page holds no cached code, and is already dirty); otherwise no address equals it. The compare uses the address of the
//! access's *last* byte, while the entry is chosen by its first, so an access that crosses into the next page never matches.
//!
//! Entries that were never filled are zero, and memory that the allocator has zeroed is not touched before: a large table costs a short run
//! no more than a small one.

use super::PhysicalPage;
use crate::bus::PAGE_SIZE;

/// Entries of a view.
const ENTRIES: usize = 4096;
const VIEWS: usize = 4;
/// Equal to no tag: the low bits of those are set.
const NEVER: u64 = 0;
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

/// One entry. Its size is a power of two, so that the place of an entry is one shift away.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct TlbEntry {
    read: u64,
    write: u64,
    /// Linear address + `addend` = address in this process.
    addend: usize,
}

const EMPTY: TlbEntry = TlbEntry { read: NEVER, write: NEVER, addend: 0 };

/// Tag of the page that `linear` lies in.
#[inline(always)]
fn tag(linear: u64) -> u64 {
    linear | (PAGE_SIZE - 1)
}

/// The TLB.
pub struct Tlb {
    /// Table of the current view, in `memory`.
    current: *mut TlbEntry,
    /// Tables of all views, in `memory`.
    tables: *mut TlbEntry,
    /// Numbers of the entries that were filled since they were last flushed, over all views, by whether a load of CR3 flushes them.
    local: Vec<u16>,
    global: Vec<u16>,
    /// First and last linear address of all that was found in large pages since everything was last flushed.
    large: Option<(u64, u64)>,
    /// Zeroed by the allocator, with room to align the entries.
    _memory: Vec<u64>,
}

impl Default for Tlb {
    fn default() -> Self {
        const QUADWORDS: usize = size_of::<TlbEntry>() / size_of::<u64>();
        let mut memory = vec![0; (VIEWS * ENTRIES + 1) * QUADWORDS];
        let unaligned = memory.as_mut_ptr();
        // SAFETY: there is one entry more than are used.
        let tables = unsafe { unaligned.byte_add(unaligned.align_offset(align_of::<TlbEntry>()) * size_of::<u64>()).cast() };
        Self { current: tables, tables, local: Vec::new(), global: Vec::new(), large: None, _memory: memory }
    }
}

impl Tlb {
    /// Offset in bytes of the pointer to the current view's table, and what is where in that, for translated code: see [`super::Mmu`].
    pub(super) const CURRENT: usize = std::mem::offset_of!(Self, current);
    pub(super) const ENTRIES: usize = ENTRIES;
    pub(super) const READ: usize = std::mem::offset_of!(TlbEntry, read);
    pub(super) const WRITE: usize = std::mem::offset_of!(TlbEntry, write);
    pub(super) const ADDEND: usize = std::mem::offset_of!(TlbEntry, addend);

    /// The table of a view.
    #[inline(always)]
    fn table(&self, view: View) -> *mut TlbEntry {
        // SAFETY: there are tables for all views.
        unsafe { self.tables.add(view as usize * ENTRIES) }
    }

    /// Makes `view` the one that answers.
    #[inline]
    pub fn set_view(&mut self, view: View) {
        self.current = self.table(view);
    }

    /// The entry of `linear` in a table of [`Self::table`].
    #[inline(always)]
    fn entry(&self, table: *mut TlbEntry, linear: u64) -> TlbEntry {
        let index = (linear >> 12) as usize % ENTRIES;
        // SAFETY: the table has ENTRIES entries in memory that is never reallocated, and nobody holds a reference into it. For speed: an
        // index into a slice costs a second load and a compare on every guest memory access.
        unsafe { *table.add(index) }
    }

    /// Where the entry with a number over all views stands.
    fn place(&self, number: u16) -> *mut TlbEntry {
        assert!(usize::from(number) < VIEWS * ENTRIES);
        // SAFETY: the number was just checked.
        unsafe { self.tables.add(number.into()) }
    }

    fn set(&mut self, number: u16, entry: TlbEntry) {
        // SAFETY: entries are copied, never lent.
        unsafe { *self.place(number) = entry }
    }

    #[inline(always)]
    fn read_in(&self, table: *mut TlbEntry, linear: u64, length: u64) -> Option<*const u8> {
        let entry = self.entry(table, linear);
        (entry.read == tag(linear.wrapping_add(length - 1))).then(|| (linear as usize).wrapping_add(entry.addend) as *const u8)
    }

    #[inline(always)]
    fn write_in(&self, table: *mut TlbEntry, linear: u64, length: u64) -> Option<*mut u8> {
        let entry = self.entry(table, linear);
        (entry.write == tag(linear.wrapping_add(length - 1))).then(|| (linear as usize).wrapping_add(entry.addend) as *mut u8)
    }

    /// Address in this process of `length` bytes at `linear`, if they may be read without further ado.
    #[inline(always)]
    pub fn read(&self, linear: u64, length: u64) -> Option<*const u8> {
        self.read_in(self.current, linear, length)
    }

    /// Address in this process of `length` bytes at `linear`, if they may be written without further ado.
    #[inline(always)]
    pub fn write(&self, linear: u64, length: u64) -> Option<*mut u8> {
        self.write_in(self.current, linear, length)
    }

    /// As [`Self::read`] in a view that need not be the current one.
    #[inline]
    pub fn read_as(&self, view: View, linear: u64, length: u64) -> Option<*const u8> {
        self.read_in(self.table(view), linear, length)
    }

    /// As [`Self::write`] in a view that need not be the current one.
    #[inline]
    pub fn write_as(&self, view: View, linear: u64, length: u64) -> Option<*mut u8> {
        self.write_in(self.table(view), linear, length)
    }

    /// Remembers that the page of `linear` lies at `host`, with the accesses that a walk allows to those that `view` is of; `may_write` is false
    /// for pages whose stores must be noticed. Returns the number of the entry.
    pub fn fill(&mut self, view: View, linear: u64, page: &PhysicalPage, host: usize, may_write: bool) -> u16 {
        let tag = tag(linear);
        let allow = |allowed: bool| if allowed { tag } else { NEVER };
        let number = (view as usize * ENTRIES + (linear >> 12) as usize % ENTRIES) as u16;
        let (read, write) = (allow(page.readable), allow(page.writable && page.dirty && may_write));
        self.set(number, TlbEntry { read, write, addend: host.wrapping_sub((linear & !(PAGE_SIZE - 1)) as usize) });
        let log = if page.global { &mut self.global } else { &mut self.local };
        log.push(number);
        // Bounds what is remembered of entries that are filled again and again.
        if log.len() > 4 * ENTRIES {
            if page.global { self.flush_global() } else { self.flush_local() }
        }
        number
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
        for view in 0..VIEWS {
            self.set((view * ENTRIES + (linear >> 12) as usize % ENTRIES) as u16, EMPTY);
        }
    }

    /// Forgets all pages that are not global (a load of CR3).
    pub fn flush_local(&mut self) {
        while let Some(number) = self.local.pop() {
            self.set(number, EMPTY);
        }
    }

    fn flush_global(&mut self) {
        while let Some(number) = self.global.pop() {
            self.set(number, EMPTY);
        }
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        self.flush_local();
        self.flush_global();
        self.large = None;
    }

    /// Whether the entry with a number lets stores to the page at `host` pass.
    pub fn lets_store(&self, number: u16, host: usize) -> bool {
        // SAFETY: entries are copied, never lent.
        let entry = unsafe { *self.place(number) };
        entry.write != NEVER && (entry.write as usize).wrapping_add(entry.addend) == host + (PAGE_SIZE - 1) as usize
    }

    /// Takes back the permission to write to the page at `host` without notice, in one entry: the page now holds cached code.
    pub fn protect(&mut self, number: u16, host: usize) {
        if self.lets_store(number, host) {
            // SAFETY: as above.
            unsafe { (*self.place(number)).write = NEVER };
        }
    }

    /// As [`Self::protect`] in all entries.
    pub fn protect_everywhere(&mut self, host: usize) {
        let (local, global) = (std::mem::take(&mut self.local), std::mem::take(&mut self.global));
        local.iter().chain(&global).for_each(|&number| self.protect(number, host));
        (self.local, self.global) = (local, global);
    }
}
