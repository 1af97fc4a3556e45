//! From linear addresses to blocks, for branches whose target cannot be linked.

use std::ops::Range;

use super::Slot;
use super::room::addresses;

const ENTRIES: usize = 1 << 14;
/// Addresses that share a place: blocks seldom begin so near to each other.
const NEAR_SHIFT: u32 = 1;
const MODE_SHIFT: u32 = 50;
const FILTER_BITS: u64 = 4096;

/// Linear address ^ mode, and the block.
type Entry = (u64, *const Slot);

/// What an entry holds that was never filled, or is cleared. That has the key of an address with another place in the table, so no address at
/// all finds it. Nearly everywhere it is zero: memory that the allocator has zeroed is not touched before an entry is needed.
const fn empty(index: usize) -> Entry {
    (if index == 0 { 1 << NEAR_SHIFT } else { 0 }, std::ptr::null())
}

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
        #[expect(clippy::unwrap_used, reason = "it has just that length")]
        let mut entries: Box<[Entry; ENTRIES]> = vec![(0, std::ptr::null()); ENTRIES].into_boxed_slice().try_into().unwrap();
        entries[0] = empty(0);
        Self { entries, mode: 0, local: Vec::new(), global: Vec::new(), filter: Box::new([0; FILTER_BITS as usize / 64]) }
    }
}

impl JumpTable {
    /// The place of an address; that of a mode alone is 0.
    #[inline(always)]
    fn index(rip: u64) -> usize {
        (rip >> NEAR_SHIFT ^ rip >> (12 + NEAR_SHIFT)) as usize % ENTRIES
    }

    /// See [`Room`](super::room::Room).
    pub fn room(&self) -> Range<usize> {
        addresses(self.entries.as_ptr(), ENTRIES)
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
        let (key, slot) = self.entries[Self::index(rip)];
        (key == rip ^ self.mode).then_some(slot)
    }

    /// Fills an entry. `last` is the address of the block's last byte: its page counts as well.
    pub fn insert(&mut self, rip: u64, last: u64, slot: *const Slot, global: bool) {
        let index = Self::index(rip);
        self.entries[index] = (rip ^ self.mode, slot);
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
            self.entries[usize::from(index)] = empty(index.into());
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
            self.entries[usize::from(index)] = empty(index.into());
        }
        self.filter.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_was_not_filled_is_found_by_no_address() {
        let mut table = JumpTable::default();
        for mode in 0..1 << 12 {
            table.set_mode(mode);
            // All addresses whose key some empty entry has.
            for key in [empty(0).0, empty(1).0] {
                assert_eq!(table.find(key ^ mode << MODE_SHIFT), None, "mode {mode:#x}, key {key:#x}");
            }
        }
    }

    #[test]
    fn what_is_cleared_is_as_if_it_had_never_been_filled() {
        let slot = std::ptr::NonNull::<Slot>::dangling().as_ptr().cast_const();
        for rip in [0, 2, 0x1000, u64::MAX] {
            let mut table = JumpTable::default();
            table.insert(rip, rip, slot, false);
            assert_eq!(table.find(rip), Some(slot));
            table.clear_local();
            assert_eq!(table.find(rip), None, "{rip:#x}");
            an_entry_of_another_mode_is_not_found(&mut table, rip, slot);
        }
    }

    fn an_entry_of_another_mode_is_not_found(table: &mut JumpTable, rip: u64, slot: *const Slot) {
        table.insert(rip, rip, slot, true);
        table.set_mode(4);
        assert_eq!(table.find(rip), None);
        table.set_mode(0);
        table.clear();
        assert_eq!(table.find(rip), None);
    }
}
