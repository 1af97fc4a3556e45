//! A direct-mapped table in front of the blocks of pages: most blocks that the jump table does not know are here, one load away; and most that are not
//! here are nowhere.

use std::ops::Range;

use super::block::{Block, BlockKey};
use super::room::addresses;
use crate::bus::PAGE_SIZE;
use crate::decode::MAX_INSTRUCTION_BYTES;

const ENTRIES: usize = 1 << 14;
/// Addresses that share a place; see the jump table.
const NEAR_SHIFT: u32 = 1;
/// Set in the key of every entry that holds a block; no guest-physical address reaches as far, nor to the mode above.
const FILLED: u64 = 1 << 55;
const MODE_SHIFT: u32 = 56;
/// What has been removed; of no mode.
const REMOVED: Entry = (FILLED | 0xff << MODE_SHIFT, 0);

/// Key; the block's first slot and its bytes. Zero where there never was one: memory that the allocator has zeroed is not touched before it is needed.
type Entry = (u64, u64);

/// Where a block is.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// Here.
    Front(Block),
    /// Perhaps among the blocks of its page.
    Pages,
    /// There is none.
    Nowhere,
}

/// See above.
pub struct Front {
    entries: Box<[Entry]>,
}

impl Default for Front {
    fn default() -> Self {
        Self { entries: vec![(0, 0); ENTRIES].into_boxed_slice() }
    }
}

impl Front {
    fn index(key: BlockKey) -> usize {
        (key.address >> NEAR_SHIFT ^ key.address >> (12 + NEAR_SHIFT)) as usize % ENTRIES
    }

    /// See [`Room`](super::room::Room).
    pub fn room(&self) -> Range<usize> {
        addresses(self.entries.as_ptr(), ENTRIES)
    }

    fn key(key: BlockKey) -> u64 {
        key.address | FILLED | u64::from(key.mode.bits()) << MODE_SHIFT
    }

    /// Where the block of a key is.
    pub fn find(&self, key: BlockKey) -> Place {
        const LAST: u64 = PAGE_SIZE - MAX_INSTRUCTION_BYTES as u64;
        let (found, block) = self.entries[Self::index(key)];
        if found == Self::key(key) {
            Place::Front(Block { start: block as u32, second_page: None, length: (block >> 32) as u16 })
        } else if found == 0 && key.address % PAGE_SIZE <= LAST {
            // Whatever was kept on one page has been here, and has left something.
            Place::Nowhere
        } else {
            Place::Pages
        }
    }

    /// Takes the place of another block. One on two pages is looked for there each time.
    pub fn insert(&mut self, key: BlockKey, block: &Block) {
        if block.second_page.is_none() {
            self.entries[Self::index(key)] = (Self::key(key), u64::from(block.start) | u64::from(block.length) << 32);
        }
    }

    /// Forgets the block of a key.
    pub fn remove(&mut self, key: BlockKey) {
        let entry = &mut self.entries[Self::index(key)];
        if entry.0 == Self::key(key) {
            *entry = REMOVED;
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.iter_mut().filter(|entry| entry.0 != 0).for_each(|entry| *entry = (0, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{CodeSize, Cr4};
    use crate::decode::Mode;

    #[test]
    fn one_address_holds_a_block_of_one_mode() {
        let mode = |size| Mode::new(size, false, 0, Cr4::OSFXSR);
        let keys = [0, 0x1000, (1 << 40) - PAGE_SIZE].map(|address| BlockKey { address, mode: mode(CodeSize::Bits64) });
        for key in keys {
            let mut front = Front::default();
            assert_eq!(front.find(key), Place::Nowhere);
            let block = Block { start: 7, second_page: None, length: 300 };
            front.insert(key, &block);
            assert_eq!(front.find(key), Place::Front(block));
            let other = BlockKey { mode: mode(CodeSize::Bits32), ..key };
            assert_eq!(front.find(other), Place::Pages);
            front.remove(other);
            assert_eq!(front.find(key), Place::Front(block));
            front.remove(key);
            assert_eq!((front.find(key), front.find(other)), (Place::Pages, Place::Pages), "there may be others that it took the place of");
            front.clear();
            assert_eq!(front.find(key), Place::Nowhere);
        }
    }

    #[test]
    fn a_block_on_two_pages_is_not_here() {
        let mode = Mode::new(CodeSize::Bits64, false, 0, Cr4::OSFXSR);
        let mut front = Front::default();
        let key = |offset| BlockKey { address: 0x5000 + offset, mode };
        let last = PAGE_SIZE - MAX_INSTRUCTION_BYTES as u64;
        front.insert(key(last + 1), &Block { start: 7, second_page: Some(6), length: 15 });
        assert_eq!((front.find(key(last)), front.find(key(last + 1))), (Place::Nowhere, Place::Pages));
    }
}
