//! From linear addresses to blocks, for branches whose target cannot be linked.

use std::ops::Range;

use super::Slot;
use super::room::addresses;
use crate::bus::PAGE_SIZE;
use crate::decode::MAX_INSTRUCTION_BYTES;

/// Places of addresses, each with room for [`WAYS`] of them.
const SETS: usize = 1 << 13;
const WAYS: usize = 2;
const ENTRIES: usize = SETS * WAYS;
/// Addresses that share a place: blocks seldom begin so near to each other.
const NEAR_SHIFT: u32 = 1;
/// Places that the addresses of one page share: they follow one another.
const PAGE_SETS: usize = PAGE_SIZE as usize >> NEAR_SHIFT;
const MODE_SHIFT: u32 = 50;
const FILTER_BITS: u64 = 4096;

/// Linear address ^ mode, and the block.
type Entry = (u64, *const Slot);

/// What an entry holds that was never filled, or is cleared. That has the key of an address with another place in the table, so no address at
/// all finds it. Nearly everywhere it is zero: memory that the allocator has zeroed is not touched before an entry is needed.
const fn empty(set: usize) -> Entry {
    (if set == 0 { 1 << NEAR_SHIFT } else { 0 }, std::ptr::null())
}

/// A table of two ways, of which the one that was filled first is filled anew.
pub struct JumpTable {
    /// Those of a place follow one another.
    entries: Box<[Entry; ENTRIES]>,
    mode: u64,
    /// Entries that a load of CR3 clears.
    local: Box<Filled>,
    /// Entries that it keeps.
    global: Box<Filled>,
}

/// Which entries are filled, by their numbers.
struct Filled {
    entries: [u64; ENTRIES / 64],
    /// A Bloom filter over the pages of all entries since they were last cleared, so that INVLPG of a data page costs next to nothing.
    pages: [u64; FILTER_BITS as usize / 64],
}

impl Default for Filled {
    fn default() -> Self {
        Self { entries: [0; ENTRIES / 64], pages: [0; FILTER_BITS as usize / 64] }
    }
}

impl Filled {
    fn page_bit(address: u64) -> (usize, u64) {
        let page = address / PAGE_SIZE;
        let hash = (page ^ page >> 12) % FILTER_BITS;
        ((hash / 64) as usize, 1 << (hash % 64))
    }

    fn note_page(&mut self, address: u64) {
        let (word, bit) = Self::page_bit(address);
        self.pages[word] |= bit;
    }

    fn may_hold_page(&self, address: u64) -> bool {
        let (word, bit) = Self::page_bit(address);
        self.pages[word] & bit != 0
    }

    fn has(&self, entry: usize) -> bool {
        self.entries[entry / 64] >> (entry % 64) & 1 != 0
    }

    fn set(&mut self, entry: usize, filled: bool) {
        let (word, bit) = (&mut self.entries[entry / 64], 1 << (entry % 64));
        *word = if filled { *word | bit } else { *word & !bit };
    }
}

/// The numbers of the bits of a word that are set.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (word != 0).then_some(word.trailing_zeros() as usize);
        word &= word.wrapping_sub(1);
        lowest
    })
}

impl Default for JumpTable {
    fn default() -> Self {
        // The library asks the allocator for zeroes only where it sees that an element is zero: it does not look into arrays of pointers.
        #[expect(clippy::unwrap_used, reason = "it has just that length")]
        let mut entries: Box<[Entry; ENTRIES]> = vec![(0, std::ptr::null()); ENTRIES].into_boxed_slice().try_into().unwrap();
        entries[..WAYS].fill(empty(0));
        Self { entries, mode: 0, local: Box::default(), global: Box::default() }
    }
}

impl JumpTable {
    /// The place of an address; that of a mode alone is 0.
    #[inline(always)]
    fn set(rip: u64) -> usize {
        (rip >> NEAR_SHIFT ^ rip >> (12 + NEAR_SHIFT)) as usize % SETS
    }

    /// See [`Room`](super::room::Room).
    pub fn room(&self) -> Range<usize> {
        addresses(self.entries.as_ptr(), ENTRIES)
    }

    /// Sets the mode that keys carry from now on; below 4096.
    pub fn set_mode(&mut self, mode: u64) {
        self.mode = mode << MODE_SHIFT;
    }

    /// The block at `rip` in the current mode.
    #[inline(always)]
    pub fn find(&self, rip: u64) -> Option<*const Slot> {
        let place = Self::set(rip) * WAYS;
        let ((first, slot), (second, other)) = (self.entries[place], self.entries[place + 1]);
        let key = rip ^ self.mode;
        if first == key { Some(slot) } else { (second == key).then_some(other) }
    }

    /// Fills an entry. `last` is an address on the page of the block's last byte.
    pub fn insert(&mut self, rip: u64, last: u64, slot: *const Slot, global: bool) {
        let (first, key) = (Self::set(rip) * WAYS, rip ^ self.mode);
        let second = first + 1;
        if self.entries[first].0 != key && (self.local.has(first) || self.global.has(first)) {
            self.entries[second] = self.entries[first];
            self.local.set(second, self.local.has(first));
            self.global.set(second, self.global.has(first));
        }
        self.entries[first] = (key, slot);
        self.local.set(first, !global);
        self.global.set(first, global);
        let filled = if global { &mut self.global } else { &mut self.local };
        filled.note_page(rip);
        filled.note_page(last);
    }

    fn empty(&mut self, entry: usize) {
        self.entries[entry] = empty(entry / WAYS);
    }

    /// Clears the entries that a load of CR3 may change.
    pub fn clear_local(&mut self) {
        for word in 0..ENTRIES / 64 {
            bits(std::mem::take(&mut self.local.entries[word])).for_each(|bit| self.empty(word * 64 + bit));
        }
        self.local.pages.fill(0);
    }

    /// Clears the entries of blocks that lie on the page of an address, or end there.
    pub fn clear_page(&mut self, address: u64) {
        if !self.local.may_hold_page(address) && !self.global.may_hold_page(address) {
            return;
        }
        let page = address & !(PAGE_SIZE - 1);
        // The page before it depends on how wide addresses are.
        if page == 0 {
            return self.clear();
        }
        let is_of = |key: u64, wanted: u64, mask: u64| (key ^ wanted) & mask & ((1 << MODE_SHIFT) - 1) == 0;
        let first = (Self::set(page) & !(PAGE_SETS - 1)) * WAYS;
        for word in first / 64..(first + PAGE_SETS * WAYS) / 64 {
            for bit in bits(self.local.entries[word] | self.global.entries[word]) {
                let entry = word * 64 + bit;
                if is_of(self.entries[entry].0, page, !(PAGE_SIZE - 1)) {
                    self.remove(entry);
                }
            }
        }
        for before in 1..MAX_INSTRUCTION_BYTES as u64 {
            let rip = page.wrapping_sub(before);
            let first = Self::set(rip) * WAYS;
            for entry in first..first + WAYS {
                if is_of(self.entries[entry].0, rip, !0) {
                    self.remove(entry);
                }
            }
        }
    }

    fn remove(&mut self, entry: usize) {
        self.empty(entry);
        self.local.set(entry, false);
        self.global.set(entry, false);
    }

    /// Clears the table.
    pub fn clear(&mut self) {
        self.clear_local();
        std::mem::swap(&mut self.local, &mut self.global);
        self.clear_local();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

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

    /// A slot that is told from others by its address.
    fn slot(number: usize) -> *const Slot {
        std::ptr::without_provenance(number)
    }

    #[test]
    fn two_addresses_have_the_same_place() {
        let mut table = JumpTable::default();
        let same = [2, 0x4000 << 13 | 2, 0x8000 << 13 | 2];
        assert!(same.iter().all(|&rip| JumpTable::set(rip) == 1));
        for (number, &rip) in same.iter().enumerate() {
            table.insert(rip, rip, slot(number + 1), number == 1);
        }
        assert_eq!(same.map(|rip| table.find(rip)), [None, Some(slot(2)), Some(slot(3))]);
        // What is filled again takes no other's place, and has the place of the one that moved.
        table.insert(same[2], same[2], slot(4), false);
        table.clear_local();
        assert_eq!(same.map(|rip| table.find(rip)), [None, Some(slot(2)), None]);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Offset, page, whether it ends on the next page, and whether it is global.
        Insert(u64, usize, bool, bool),
        ClearPage(usize),
        ClearLocal,
        Clear,
        Mode(u64),
    }

    /// The first and the second follow one another, the others have places among theirs; the last two are the last of the upper
    /// half and of 32-bit code, and page 0 is behind both.
    const PAGES: [u64; 7] = [0x40_0000, 0x40_1000, 0x40_0000 + (1 << 26), 0x7f12_3400_1000, 0, 0xffff_ffff_ffff_f000, 0xffff_f000];

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let offset = prop_oneof![0..8u64, 0xff0..0x1000u64];
        let step = prop_oneof![
            12 => (offset, 0..PAGES.len(), any::<bool>(), any::<bool>())
                .prop_map(|(offset, page, ends, global)| Step::Insert(offset, page, ends && offset > 0xff1, global)),
            2 => (0..PAGES.len()).prop_map(Step::ClearPage),
            1 => Just(Step::ClearLocal),
            1 => Just(Step::Clear),
            1 => (0..4u64).prop_map(Step::Mode),
        ];
        prop::collection::vec(step, 1..80)
    }

    proptest! {
        /// The table may have forgotten what was inserted last but two in a place, and nothing else but what it was told to.
        #[test]
        fn what_is_cleared_is_not_found_and_all_else_is(steps in steps()) {
            let mut table = JumpTable::default();
            let mut mode = 0;
            // By mode and address: the block, the page of its last byte, whether it is global, and when it was inserted; and each insertion in a place.
            let mut known: BTreeMap<(u64, u64), (usize, u64, bool, usize)> = BTreeMap::new();
            let mut filled: Vec<(usize, usize)> = Vec::new();
            for (now, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(offset, page, ends, global) => {
                        let rip = PAGES[page] + offset;
                        let mask = if PAGES[page] == 0xffff_f000 { u64::from(u32::MAX) } else { u64::MAX };
                        let last = if ends { rip.wrapping_add(PAGE_SIZE) & mask } else { rip };
                        table.insert(rip, last, slot(now + 1), global);
                        filled.push((JumpTable::set(rip), now));
                        known.insert((mode, rip), (now + 1, last / PAGE_SIZE, global, now));
                    }
                    Step::ClearPage(page) => {
                        table.clear_page(PAGES[page] + 5);
                        let number = PAGES[page] / PAGE_SIZE;
                        let spared = |&(_, rip): &(u64, u64), last| rip / PAGE_SIZE != number && last != number;
                        // What begins so near to the page may be cleared with it; of page 0, all.
                        let near = |&(_, rip): &(u64, u64)| number == 0 || rip.wrapping_add(14) / PAGE_SIZE == number;
                        for (key, &(block, last, ..)) in &known {
                            table.set_mode(key.0);
                            let found = table.find(key.1);
                            prop_assert!(found.is_none() || spared(key, last) && found == Some(slot(block)), "{key:x?}");
                        }
                        table.set_mode(mode);
                        known.retain(|key, &mut (_, last, ..)| spared(key, last) && !near(key));
                    }
                    Step::ClearLocal => {
                        table.clear_local();
                        known.retain(|_, &mut (_, _, global, _)| global);
                    }
                    Step::Clear => {
                        table.clear();
                        known.clear();
                    }
                    Step::Mode(new) => {
                        mode = new;
                        table.set_mode(mode);
                    }
                }
                for (&(other, rip), &(block, .., when)) in &known {
                    table.set_mode(other);
                    let later = filled.iter().filter(|&&(set, then)| set == JumpTable::set(rip) && then > when);
                    let found = table.find(rip);
                    prop_assert!(found == Some(slot(block)) || found.is_none() && later.count() >= WAYS, "{other} {rip:x}");
                }
                table.set_mode(mode);
            }
        }
    }
}
