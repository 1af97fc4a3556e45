//! From linear addresses to blocks, for branches whose target cannot be linked.

use super::Slot;

const ENTRIES: usize = 4096;
/// Equal to no key: canonical addresses agree in bits 62 and 63, and the mode leaves both alone.
const NEVER: u64 = 1 << 63;
const MODE_SHIFT: u32 = 50;
const FILTER_BITS: u64 = 4096;

#[derive(Clone, Copy)]
struct Entry {
    /// Linear address ^ mode.
    key: u64,
    slot: *const Slot,
}

const EMPTY: Entry = Entry { key: NEVER, slot: std::ptr::null() };

/// A direct-mapped table.
pub struct JumpTable {
    entries: Box<[Entry; ENTRIES]>,
    mode: u64,
    /// Entries filled since the last clearing, by whether a load of CR3 clears them.
    local: Vec<u16>,
    global: Vec<u16>,
    /// A Bloom filter over the pages of all entries, so that INVLPG of a data page costs nothing here.
    filter: Box<[u64; FILTER_BITS as usize / 64]>,
}

impl Default for JumpTable {
    fn default() -> Self {
        Self {
            entries: Box::new([EMPTY; ENTRIES]),
            mode: 0,
            local: Vec::new(),
            global: Vec::new(),
            filter: Box::new([0; FILTER_BITS as usize / 64]),
        }
    }
}

impl JumpTable {
    #[inline(always)]
    fn index(rip: u64) -> usize {
        (rip ^ rip >> 12) as usize % ENTRIES
    }

    fn filter_bit(address: u64) -> (usize, u64) {
        let page = address >> 12;
        let hash = (page ^ page >> 12) % FILTER_BITS;
        ((hash / 64) as usize, 1 << (hash % 64))
    }

    /// Sets the mode that keys carry from now on; below 4096.
    pub fn set_mode(&mut self, mode: u64) {
        self.mode = mode << MODE_SHIFT;
    }

    /// The block at `rip` in the current mode.
    #[inline(always)]
    pub fn find(&self, rip: u64) -> Option<*const Slot> {
        let entry = &self.entries[Self::index(rip)];
        (entry.key == rip ^ self.mode).then_some(entry.slot)
    }

    /// Fills an entry. `last` is the address of the block's last byte: its page counts as well.
    pub fn insert(&mut self, rip: u64, last: u64, slot: *const Slot, global: bool) {
        let index = Self::index(rip);
        self.entries[index] = Entry { key: rip ^ self.mode, slot };
        let log = if global { &mut self.global } else { &mut self.local };
        log.push(index as u16);
        for address in [rip, last] {
            let (word, bit) = Self::filter_bit(address);
            self.filter[word] |= bit;
        }
        if self.local.len() + self.global.len() > 4 * ENTRIES {
            self.clear();
        }
    }

    /// Clears the entries that a load of CR3 may change.
    pub fn clear_local(&mut self) {
        for index in self.local.drain(..) {
            self.entries[index as usize] = EMPTY;
        }
    }

    /// Clears the table if it may hold an address of this page.
    pub fn clear_page(&mut self, address: u64) {
        let (word, bit) = Self::filter_bit(address);
        if self.filter[word] & bit != 0 {
            self.clear();
        }
    }

    /// Clears the table.
    pub fn clear(&mut self) {
        for index in self.local.drain(..).chain(self.global.drain(..)) {
            self.entries[index as usize] = EMPTY;
        }
        self.filter.fill(0);
    }
}
