//! A direct-mapped table in front of the map of blocks: most blocks that the jump table does not know are here, one load away.

use super::block::{Block, BlockKey};

const ENTRIES: usize = 1 << 14;
/// Addresses that share a place; see the jump table.
const NEAR_SHIFT: u32 = 1;
/// Set in the key of every entry that holds a block; no guest-physical address reaches as far, nor to the mode above.
const FILLED: u64 = 1 << 55;
const MODE_SHIFT: u32 = 56;

/// Key; the block's first slot and its bytes. Zero where there is none: memory that the allocator has zeroed is not touched before it is needed.
type Entry = (u64, u64);

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

    fn key(key: BlockKey) -> u64 {
        key.address | FILLED | u64::from(key.mode.bits()) << MODE_SHIFT
    }

    /// The block of a key, if it is here.
    pub fn find(&self, key: BlockKey) -> Option<Block> {
        let (found, block) = self.entries[Self::index(key)];
        (found == Self::key(key)).then_some(Block { start: block as u32, second_page: None, length: (block >> 32) as u16 })
    }

    /// Takes the place of another block. One on two pages is left to the map.
    pub fn insert(&mut self, key: BlockKey, block: &Block) {
        if block.second_page.is_none() {
            self.entries[Self::index(key)] = (Self::key(key), u64::from(block.start) | u64::from(block.length) << 32);
        }
    }

    /// Forgets the block of a key.
    pub fn remove(&mut self, key: BlockKey) {
        let entry = &mut self.entries[Self::index(key)];
        if entry.0 == Self::key(key) {
            *entry = (0, 0);
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
        let keys = [0, 0x1000, (1 << 40) - 1].map(|address| BlockKey { address, mode: mode(CodeSize::Bits64) });
        for key in keys {
            let mut front = Front::default();
            assert!(front.find(key).is_none());
            front.insert(key, &Block { start: 7, second_page: None, length: 300 });
            let found = front.find(key).unwrap();
            assert_eq!((found.start, found.second_page, found.length), (7, None, 300));
            let other = BlockKey { mode: mode(CodeSize::Bits32), ..key };
            assert!(front.find(other).is_none());
            front.remove(other);
            assert!(front.find(key).is_some());
            front.remove(key);
            assert!(front.find(key).is_none());
            front.insert(key, &Block { start: 7, second_page: Some(1), length: 3 });
            assert!(front.find(key).is_none(), "the second page is looked at elsewhere");
        }
    }
}
