//! The 4-level page walk once more, as the manual tells it (SDM Vol. 3, 4.5 to 4.8), without any care for speed. Entries outside RAM are
//! not present.

use emu::cpu::cpuid::PHYSICAL_BITS;
use emu::cpu::{Control, Cr0, Cr4, Efer};
use emu::mmu::{AccessKind, LinearAccess};

/// What a walk that succeeds finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Address of the 4 KiB page.
    pub page: u64,
    /// What the kind of mode that asks may do there.
    pub read: bool,
    pub write: bool,
    pub fetch: bool,
    /// The dirty flag of the leaf, once the walk is over.
    pub dirty: bool,
    pub global: bool,
}

struct Entry {
    location: usize,
    raw: u64,
}

impl Entry {
    fn bit(&self, number: u32) -> bool {
        self.raw >> number & 1 == 1
    }

    /// The bits from `low` to `high`, where they stand.
    fn bits(&self, high: u32, low: u32) -> u64 {
        (low..=high).filter(|&number| self.bit(number)).map(|number| 1 << number).sum()
    }
}

fn read_entry(ram: &[u8], location: u64) -> Entry {
    let location = location as usize;
    let raw = ram.get(location..location + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    Entry { location, raw }
}

/// Walks, and marks in `ram` what was accessed and dirtied; or tells the error code of #PF.
pub fn walk(ram: &mut [u8], control: &Control, linear: u64, access: LinearAccess) -> Result<Found, u32> {
    if control.cr0 & Cr0::PG == 0 {
        return Ok(Found { page: linear & 0xffff_f000, read: true, write: true, fetch: true, dirty: true, global: false });
    }
    let (nxe, smep, smap) = (control.efer & Efer::NXE != 0, control.cr4 & Cr4::SMEP != 0, control.cr4 & Cr4::SMAP != 0);
    let write_protect = control.cr0 & Cr0::WP != 0;
    let writes = access.kind == AccessKind::Write;
    let fetches = access.kind == AccessKind::Fetch;
    let code = |present: bool, reserved: bool| {
        u32::from(present)
            + 2 * u32::from(writes)
            + 4 * u32::from(access.user)
            + 8 * u32::from(reserved)
            + 16 * u32::from(fetches && (nxe || smep))
    };

    // Levels 4 (PML4) to 1 (page table), with the lowest bit of the linear address that each translates.
    let mut path: Vec<Entry> = Vec::new();
    let mut table = control.cr3 & 0x000f_ffff_ffff_f000;
    let (leaf_shift, frame) = 'walk: {
        for (level, shift) in [(4, 39), (3, 30), (2, 21), (1, 12)] {
            let index = linear >> shift & 511;
            let entry = read_entry(ram, table + 8 * index);
            if !entry.bit(0) {
                return Err(code(false, false));
            }
            let page_size = entry.bit(7);
            let is_leaf = level == 1 || page_size && level < 4;
            let mut reserved = entry.bits(51, PHYSICAL_BITS) != 0 || !nxe && entry.bit(63) || level == 4 && page_size;
            if is_leaf && level > 1 {
                reserved |= entry.bits(shift - 1, 13) != 0;
            }
            if reserved {
                return Err(code(true, true));
            }
            let frame = entry.bits(51, if is_leaf { shift } else { 12 });
            path.push(entry);
            if is_leaf {
                break 'walk (shift, frame);
            }
            table = frame;
        }
        unreachable!("a page table's entry is a leaf");
    };

    let user_page = path.iter().all(|entry| entry.bit(2));
    let writable = path.iter().all(|entry| entry.bit(1));
    let no_execute = nxe && path.iter().any(|entry| entry.bit(63));
    // SDM Vol. 3, 4.6.1, case by case.
    let (read, write, fetch) = match (access.user, user_page) {
        (true, false) => (false, false, false),
        (true, true) => (true, writable, !no_execute),
        (false, false) => (true, !write_protect || writable, !no_execute),
        (false, true) => {
            let data = !smap || access.may_touch_user;
            (data, data && (!write_protect || writable), !smep && !no_execute)
        }
    };
    let allowed = match access.kind {
        AccessKind::Read => read,
        AccessKind::Write => write,
        AccessKind::Fetch => fetch,
    };
    if !allowed {
        return Err(code(true, false));
    }

    let leaf = path.len() - 1;
    for (level, entry) in path.iter_mut().enumerate() {
        entry.raw |= 1 << 5;
        if level == leaf && writes {
            entry.raw |= 1 << 6;
        }
        // An entry may be its own table: what was read is what is written back, in the order of the walk.
        ram[entry.location..entry.location + 8].copy_from_slice(&entry.raw.to_le_bytes());
    }
    let within = linear & ((1 << leaf_shift) - 1) & !0xfff;
    Ok(Found {
        page: frame | within,
        read,
        write,
        fetch,
        dirty: path[leaf].bit(6),
        global: path[leaf].bit(8) && control.cr4 & Cr4::PGE != 0,
    })
}
