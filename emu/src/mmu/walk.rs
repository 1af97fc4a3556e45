//! The 4-level page walk (SDM Vol. 3, 4.5 to 4.8).

use crate::bus::{PAGE_SIZE, Ram};
use crate::cpu::cpuid::PHYSICAL_BITS;
use crate::cpu::{Control, Cr0, Cr4, Efer, Exception};

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

const ERROR_PRESENT: u32 = 1;
const ERROR_WRITE: u32 = 1 << 1;
const ERROR_USER: u32 = 1 << 2;
const ERROR_RESERVED: u32 = 1 << 3;
const ERROR_FETCH: u32 = 1 << 4;

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessKind {
    /// A data read.
    Read,
    /// A data write.
    Write,
    /// An instruction fetch.
    Fetch,
}

/// An access, as far as its rights go (SDM Vol. 3, 4.6).
#[derive(Clone, Copy, Debug)]
pub struct LinearAccess {
    /// Read, write or fetch.
    pub kind: AccessKind,
    /// A user-mode access: CPL 3 and not one that the CPU makes on its own (descriptor tables, TSS).
    pub user: bool,
    /// Supervisor data accesses to user pages are let through despite SMAP: RFLAGS.AC is set and the access is explicit.
    pub may_touch_user: bool,
}

/// Where a linear page lies, and what the kind of mode that asked (user or supervisor) may do with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhysicalPage {
    /// Guest-physical address of the 4 KiB page.
    pub address: u64,
    /// Reads are allowed.
    pub readable: bool,
    /// Writes are allowed.
    pub writable: bool,
    /// Fetches are allowed.
    pub executable: bool,
    /// The dirty flag of the entry that maps it is set.
    pub dirty: bool,
    /// A CR3 load keeps it cached.
    pub global: bool,
    /// It is a part of a page of 2 MiB or 1 GiB.
    pub large: bool,
}

/// Translates `linear`, sets accessed and dirty flags, or says which #PF it is. A walk that faults changes nothing. What it reads and the page
/// that it leads to are brought in.
pub fn walk(ram: &mut Ram, control: &Control, linear: u64, access: LinearAccess) -> Result<PhysicalPage, Exception> {
    if control.cr0 & Cr0::PG == 0 {
        let address = linear & 0xffff_f000;
        bring_in(ram, address)?;
        return Ok(PhysicalPage { address, readable: true, writable: true, executable: true, dirty: true, global: false, large: false });
    }
    let nx_enabled = control.efer & Efer::NXE != 0;
    let smep = control.cr4 & Cr4::SMEP != 0;
    let fault = |extra: u32| {
        let mut code = extra;
        if access.kind == AccessKind::Write {
            code |= ERROR_WRITE;
        }
        if access.user {
            code |= ERROR_USER;
        }
        if access.kind == AccessKind::Fetch && (nx_enabled || smep) {
            code |= ERROR_FETCH;
        }
        Exception::page_fault(linear, code)
    };

    let mut reserved = ADDRESS & !((1 << PHYSICAL_BITS) - 1);
    if !nx_enabled {
        reserved |= NO_EXECUTE;
    }
    let mut table = control.cr3 & ADDRESS;
    let mut visited = [(0, 0); 4];
    let mut rights = WRITE | USER;
    let mut no_execute = 0;
    let mut depth = 0;
    let (leaf, page) = loop {
        let shift = 39 - 9 * depth as u32;
        let location = table + (linear >> shift & 0x1ff) * 8;
        bring_in(ram, location)?;
        let entry = ram.load(location).map_or(!PRESENT, u64::from_le_bytes);
        if entry & PRESENT == 0 {
            return Err(fault(0));
        }
        visited[depth] = (location, entry);
        depth += 1;
        rights &= entry;
        no_execute |= entry & NO_EXECUTE;
        let large = entry & LARGE != 0 && (shift == 30 || shift == 21);
        let size_reserved = match shift {
            39 => LARGE,
            30 | 21 if large => ((1 << shift) - 1) & ADDRESS & !PAGE_SIZE,
            _ => 0,
        };
        if entry & (reserved | size_reserved) != 0 {
            return Err(fault(ERROR_PRESENT | ERROR_RESERVED));
        }
        if large {
            let within = (1 << shift) - 1;
            break (entry, entry & ADDRESS & !within | linear & within & ADDRESS);
        }
        table = entry & ADDRESS;
        if shift == 12 {
            break (entry, table);
        }
    };

    let user_page = rights & USER != 0;
    let write_protect = control.cr0 & Cr0::WP != 0;
    let (readable, writable, executable);
    if access.user {
        readable = user_page;
        writable = user_page && rights & WRITE != 0;
        executable = user_page && no_execute == 0;
    } else {
        let smap = user_page && control.cr4 & Cr4::SMAP != 0 && !access.may_touch_user;
        readable = !smap;
        writable = !smap && (rights & WRITE != 0 || !write_protect);
        executable = no_execute == 0 && !(user_page && smep);
    }
    let allowed = match access.kind {
        AccessKind::Read => readable,
        AccessKind::Write => writable,
        AccessKind::Fetch => executable,
    };
    if !allowed {
        return Err(fault(ERROR_PRESENT));
    }
    bring_in(ram, page)?;

    let mut dirty = leaf & DIRTY != 0;
    for (level, &(location, entry)) in visited[..depth].iter().enumerate() {
        let mut updated = entry | ACCESSED;
        if level + 1 == depth && access.kind == AccessKind::Write {
            updated |= DIRTY;
            dirty = true;
        }
        if updated != entry {
            ram.store(location, &updated.to_le_bytes());
        }
    }
    let global = leaf & GLOBAL != 0 && control.cr4 & Cr4::PGE != 0;
    Ok(PhysicalPage { address: page, readable, writable, executable, dirty, global, large: depth < visited.len() })
}

/// Where a linear address leads, whoever may go there, for a debugger: nothing is set, nothing faults. What is read is brought in.
pub fn look(ram: &mut Ram, control: &Control, linear: u64) -> Option<u64> {
    if control.cr0 & Cr0::PG == 0 {
        return Some(linear & 0xffff_ffff);
    }
    let mut table = control.cr3 & ADDRESS;
    for shift in [39, 30, 21, 12] {
        let location = table + (linear >> shift & 0x1ff) * 8;
        bring_in(ram, location).ok()?;
        let entry = ram.load(location).map(u64::from_le_bytes).filter(|entry| entry & PRESENT != 0)?;
        if shift == 12 || entry & LARGE != 0 && shift != 39 {
            let within = (1 << shift) - 1;
            return Some(entry & ADDRESS & !within | linear & within);
        }
        table = entry & ADDRESS;
    }
    None
}

#[inline(always)]
fn bring_in(ram: &mut Ram, address: u64) -> Result<(), Exception> {
    if ram.bring_in(address) { Ok(()) } else { Err(Exception::UNAVAILABLE) }
}
