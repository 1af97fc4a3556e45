//! From linear addresses to guest RAM: the page walk, the TLB in front of it, and the RAM that both lead to.

mod tlb;
mod walk;

pub use tlb::View;
pub use walk::{AccessKind, LinearAccess, PhysicalPage, walk};

use crate::bus::{PAGE_SIZE, PageError, Ram};
use crate::cpu::{Breakpoints, Control, Cr4, Exception};
use devices::platform::GuestMemory;
use tlb::Tlb;

/// The view that answers accesses of a kind.
pub fn view_of(control: &Control, access: LinearAccess) -> View {
    if access.user {
        View::User
    } else if control.cr4 & Cr4::SMAP != 0 && !access.may_touch_user {
        View::SupervisorOnly
    } else {
        View::Supervisor
    }
}

/// RAM with its translations. The TLB holds pointers into RAM, so both are made, kept and dropped together, and neither is lent in a way that
/// could replace it.
#[repr(C)]
pub struct Mmu {
    tlb: Tlb,
    ram: Ram,
    /// For each page, which entries of the TLB may let stores to it pass: [`NONE`], [`MANY`], or the number of the only one.
    stored: Vec<u16>,
}

// The allocator's zeroes are numbers, too: so those are kept with one added.
const NONE: u16 = 0;
const MANY: u16 = u16::MAX;

impl Mmu {
    /// Offset in bytes of the pointer to the TLB's table, for translated code.
    pub(crate) const TABLE: usize = std::mem::offset_of!(Self, tlb) + Tlb::CURRENT;
    /// Entries of that table, a power of two; each has 32 bytes.
    pub(crate) const TABLE_ENTRIES: usize = Tlb::ENTRIES;
    /// Offset in an entry of the tag for reads: the linear address of the last byte of a page that may be read without further ado.
    pub(crate) const TABLE_READ: usize = Tlb::READ;
    /// Offset in an entry of the tag for writes.
    pub(crate) const TABLE_WRITE: usize = Tlb::WRITE;
    /// Offset in an entry of what makes an address in this process of a linear one.
    pub(crate) const TABLE_ADDEND: usize = Tlb::ADDEND;

    /// Takes over `ram`. No translation is known.
    pub fn new(ram: Ram) -> Self {
        let pages = (ram.size() / PAGE_SIZE) as usize;
        Self { tlb: Tlb::default(), ram, stored: vec![NONE; pages] }
    }

    /// Guest RAM.
    pub fn ram(&self) -> &Ram {
        &self.ram
    }

    /// Gives the RAM back.
    pub fn into_ram(self) -> Ram {
        self.ram
    }

    /// Guest RAM as devices see it.
    pub fn memory(&mut self) -> &mut dyn GuestMemory {
        &mut self.ram
    }

    // ---- the fast way: TLB hits ----

    /// Address in this process of `length` bytes at `linear`, if they may be read without further ado.
    #[inline(always)]
    pub fn readable(&self, linear: u64, length: u64) -> Option<*const u8> {
        self.tlb.read(linear, length)
    }

    /// Address in this process of `length` bytes at `linear`, if they may be written without further ado.
    #[inline(always)]
    pub fn writable(&self, linear: u64, length: u64) -> Option<*mut u8> {
        self.tlb.write(linear, length)
    }

    /// As [`Self::readable`] for an access that need not be one of the current mode.
    #[inline]
    pub fn readable_as(&self, control: &Control, access: LinearAccess, linear: u64, length: u64) -> Option<*const u8> {
        self.tlb.read_as(view_of(control, access), linear, length)
    }

    /// As [`Self::writable`] for an access that need not be one of the current mode.
    #[inline]
    pub fn writable_as(&self, control: &Control, access: LinearAccess, linear: u64, length: u64) -> Option<*mut u8> {
        self.tlb.write_as(view_of(control, access), linear, length)
    }

    // ---- translations ----

    /// Translates an address, with the rights of `access`, and remembers it if it is RAM without breakpoints.
    pub fn translate(&mut self, control: &Control, breakpoints: &Breakpoints, linear: u64, access: LinearAccess) -> Result<u64, Exception> {
        let page = walk(&mut self.ram, control, linear, access)?;
        self.tlb.note(linear, &page);
        if self.ram.contains(page.address, PAGE_SIZE) && !breakpoints.watch_page(linear) {
            self.remember(view_of(control, access), linear, &page);
        }
        Ok(page.address | linear & (PAGE_SIZE - 1))
    }

    fn remember(&mut self, view: View, linear: u64, page: &PhysicalPage) {
        let number = page.address / PAGE_SIZE;
        let may_write = page.writable && page.dirty && !self.ram.is_code(number);
        if may_write {
            self.ram.mark_written(number);
        }
        let host = self.ram.host_page(page.address);
        let entry = self.tlb.fill(view, linear, page, host, may_write) + 1;
        if may_write {
            let stored = &mut self.stored[number as usize];
            let others = *stored != NONE && *stored != entry && (*stored == MANY || self.tlb.lets_store(*stored - 1, host));
            *stored = if others { MANY } else { entry };
        }
    }

    /// Physical address of an instruction byte, which is fetched in user mode or not, and whether a CR3 load keeps the translation.
    pub fn translate_fetch(&mut self, control: &Control, linear: u64, user: bool) -> Result<(u64, bool), Exception> {
        let access = LinearAccess { kind: AccessKind::Fetch, user, may_touch_user: false };
        let page = walk(&mut self.ram, control, linear, access)?;
        self.tlb.note(linear, &page);
        Ok((page.address | linear & (PAGE_SIZE - 1), page.global))
    }

    /// Where a linear address leads, whoever may go there, for a debugger: nothing is set, nothing faults. What is read is brought in.
    pub fn look(&mut self, control: &Control, linear: u64) -> Option<u64> {
        walk::look(&mut self.ram, control, linear)
    }

    /// Makes `view` the one that answers.
    #[inline]
    pub fn set_view(&mut self, view: View) {
        self.tlb.set_view(view);
    }

    /// Whether `linear` may lie in a large page of which other parts are known, too.
    pub fn may_be_large(&self, linear: u64) -> bool {
        self.tlb.may_be_large(linear)
    }

    /// Forgets the page of `linear` (INVLPG of a small page).
    pub fn flush_page(&mut self, linear: u64) {
        self.tlb.flush_page(linear);
    }

    /// Forgets all pages that are not global (a load of CR3).
    pub fn flush_local(&mut self) {
        self.tlb.flush_local();
    }

    /// Forgets every translation.
    pub fn flush(&mut self) {
        self.tlb.flush();
    }

    // ---- physical memory ----

    /// Reads bytes that have been brought in. `false` outside RAM.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        let there = self.ram.contains(address, bytes.len() as u64);
        if there {
            bytes.copy_from_slice(&self.ram.bytes()[address as usize..][..bytes.len()]);
        }
        there
    }

    /// Stores bytes; see [`Ram::store`].
    pub fn store(&mut self, address: u64, bytes: &[u8]) -> bool {
        self.ram.store(address, bytes)
    }

    /// Brings in what `address` leads to; see [`Ram::bring_in`].
    #[must_use]
    pub fn bring_in(&mut self, address: u64) -> bool {
        self.ram.bring_in(address)
    }

    /// Brings in everything that is still to come.
    #[must_use]
    pub fn bring_in_all(&mut self) -> bool {
        self.ram.bring_in_all()
    }

    /// Tries again what could not be brought in. Whether all that was wanted is there now.
    #[must_use]
    pub fn retry(&mut self) -> bool {
        self.ram.retry()
    }

    /// Why something could not be brought in, once.
    pub fn take_error(&mut self) -> Option<PageError> {
        self.ram.take_error()
    }

    // ---- pages with decoded code ----

    /// Sees to it that stores to page number `page`, which holds decoded code, are noticed. Where there is no RAM, there is nothing to store to.
    pub fn guard_code(&mut self, page: u64) {
        if self.ram.contains(page * PAGE_SIZE, PAGE_SIZE) && !self.ram.is_code(page) {
            self.ram.set_code(page, true);
            let host = self.ram.host_page(page * PAGE_SIZE);
            match std::mem::replace(&mut self.stored[page as usize], NONE) {
                NONE => {}
                MANY => self.tlb.protect_everywhere(host),
                entry => self.tlb.protect(entry - 1, host),
            }
        }
    }

    /// Page number `page` holds no decoded code any more.
    pub fn release_code(&mut self, page: u64) {
        self.ram.set_code(page, false);
    }

    /// Whether a store hit a page with decoded code since the last [`Self::take_code_writes`].
    #[inline]
    pub fn has_code_writes(&self) -> bool {
        self.ram.has_code_writes()
    }

    /// Numbers of the pages with decoded code that were written since the last call.
    pub fn take_code_writes(&mut self) -> Vec<u32> {
        self.ram.take_code_writes()
    }
}
