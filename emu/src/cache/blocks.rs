//! Where every block is: found by its address and mode, dropped with a page that it lies on.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::block::{Block, BlockKey};
use super::room::addresses;
use crate::bus::PAGE_SIZE;

const CHAINS: usize = 1 << 15;
/// Blocks that there is room for from the start, more than a restored shell builds up to its answer: a list that outgrows its room is copied to new memory.
const FIRST_BLOCKS: usize = 1 << 13;
/// Addresses that share a chain: blocks seldom begin so near to each other.
const NEAR_SHIFT: u32 = 1;
const MODE_SHIFT: u32 = 56;
/// The key of a block that has been dropped: that of no address.
const DROPPED: u64 = u64::MAX;

/// See above. Each block is in a chain of those whose addresses share a place, and in one of those that begin on its page.
pub struct Blocks {
    /// The number of the first block of each chain; 0 for none. Memory that the allocator has zeroed is not touched before it is needed.
    chains: Box<[u32]>,
    /// All blocks since this was last cleared, behind one that is none. One that is dropped stays, as its slots do.
    entries: Vec<Entry>,
    /// The number of the block that a page got last, of those that begin on it.
    pages: FxHashMap<u32, u32>,
    /// Blocks that begin on another page, and end on this one: few do.
    ends: FxHashMap<u32, Vec<BlockKey>>,
}

/// There are tens of thousands, each of which is brought into memory.
struct Entry {
    /// See [`packed`].
    key: u64,
    block: Block,
    /// The number of the next in its chain; 0 for none.
    next: u32,
    /// As above, of those that begin on its page.
    next_on_page: u32,
}

/// A key as one number. No guest-physical address reaches to where the mode is.
fn packed(key: BlockKey) -> u64 {
    key.address | u64::from(key.mode.bits()) << MODE_SHIFT
}

fn page_number(key: BlockKey) -> u32 {
    (key.address / PAGE_SIZE) as u32
}

/// The chain of a key, whatever its mode. Those of one page lie side by side, in an order of its own.
fn chain(key: u64) -> usize {
    let page = (key & ((1 << MODE_SHIFT) - 1)) / PAGE_SIZE;
    // By the golden ratio, so that pages at any distance from one another are spread evenly.
    let spread = (page as u32).wrapping_mul(0x9e37_79b9) >> (u32::BITS - CHAINS.ilog2());
    (key % PAGE_SIZE) as usize >> NEAR_SHIFT ^ spread as usize
}

impl Default for Blocks {
    fn default() -> Self {
        let none = Entry { key: DROPPED, block: Block { start: 0, second_page: None, length: 0 }, next: 0, next_on_page: 0 };
        let mut entries = Vec::with_capacity(FIRST_BLOCKS);
        entries.push(none);
        Self { chains: vec![0; CHAINS].into_boxed_slice(), entries, pages: FxHashMap::default(), ends: FxHashMap::default() }
    }
}

impl Blocks {
    /// See [`Room`](super::room::Room).
    pub fn room(&self) -> Range<usize> {
        addresses(self.chains.as_ptr(), CHAINS)
    }

    /// The number of the block of a key; 0 for none.
    fn number(&self, key: u64) -> u32 {
        let mut number = self.chains[chain(key)];
        while number != 0 && self.entries[number as usize].key != key {
            number = self.entries[number as usize].next;
        }
        number
    }

    /// The block of a key.
    pub fn find(&self, key: BlockKey) -> Option<Block> {
        match self.number(packed(key)) {
            0 => None,
            number => Some(self.entries[number as usize].block),
        }
    }

    /// Keeps a block, in place of another with the same key.
    pub fn insert(&mut self, key: BlockKey, block: Block) {
        if let Some(second) = block.second_page {
            // Code that is written again and again at the end of a page would fill the list of the next.
            let ends = self.ends.entry(second).or_default();
            if !ends.contains(&key) {
                ends.push(key);
            }
        }
        let packed = packed(key);
        match self.number(packed) {
            0 => {
                let new = self.entries.len() as u32;
                let next = std::mem::replace(&mut self.chains[chain(packed)], new);
                let next_on_page = self.pages.insert(page_number(key), new).unwrap_or(0);
                self.entries.push(Entry { key: packed, block, next, next_on_page });
            }
            number => self.entries[number as usize].block = block,
        }
    }

    /// Takes a block out of the chain that it is found by. It stays in that of its page.
    fn drop_block(&mut self, number: u32) -> Block {
        let entry = &mut self.entries[number as usize];
        let (key, next, block) = (std::mem::replace(&mut entry.key, DROPPED), entry.next, entry.block);
        let mut place = &mut self.chains[chain(key)];
        while *place != number {
            let before = *place as usize;
            place = &mut self.entries[before].next;
        }
        *place = next;
        block
    }

    /// Forgets the page with a number, and tells of every block that lay on it.
    pub fn remove(&mut self, page_number: u32, mut tell: impl FnMut(Block)) {
        let mut number = self.pages.remove(&page_number).unwrap_or(0);
        while number != 0 {
            let Entry { key, next_on_page, .. } = self.entries[number as usize];
            if key != DROPPED {
                tell(self.drop_block(number));
            }
            number = next_on_page;
        }
        for key in self.ends.remove(&page_number).unwrap_or_default() {
            let number = self.number(packed(key));
            if number != 0 {
                tell(self.drop_block(number));
            }
        }
    }

    /// Forgets everything. Returns the numbers of the pages that something was kept of, in no particular order, some of them twice.
    #[expect(clippy::disallowed_methods, reason = "what is done for each page does not depend on the others")]
    pub fn clear(&mut self) -> Vec<u32> {
        self.chains.fill(0);
        self.entries.truncate(1);
        self.pages.drain().map(|(number, _)| number).chain(self.ends.drain().map(|(number, _)| number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{CodeSize, Cr4};
    use crate::decode::Mode;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const PAGE: u32 = 5;
    const SIZES: [CodeSize; 3] = [CodeSize::Bits64, CodeSize::Bits32, CodeSize::Bits16];

    fn key(page: u32, offset: u64, size: CodeSize) -> BlockKey {
        BlockKey { address: u64::from(page) * PAGE_SIZE + offset, mode: Mode::new(size, false, 0, Cr4::OSFXSR) }
    }

    const fn block(start: u32, second_page: Option<u32>) -> Block {
        Block { start, second_page, length: 3 }
    }

    /// First slots of what is dropped with a page, sorted.
    fn removed(blocks: &mut Blocks, page: u32) -> Vec<u32> {
        let mut told = Vec::new();
        blocks.remove(page, |block| told.push(block.start));
        told.sort_unstable();
        told
    }

    #[test]
    fn every_block_is_found_until_its_page_is_dropped() {
        let mut blocks = Blocks::default();
        // 1,365 odd steps go to every third offset, in no order that is the page's.
        let offset = |n: u64| n * 1365 % PAGE_SIZE;
        for n in 0..PAGE_SIZE {
            for (number, size) in [CodeSize::Bits64, CodeSize::Bits32].into_iter().enumerate() {
                let key = key(PAGE, offset(n), size);
                assert_eq!(blocks.find(key), None);
                blocks.insert(key, block((2 * n) as u32 + number as u32, None));
            }
        }
        blocks.insert(key(PAGE + 1, 0, CodeSize::Bits64), block(7, None));
        for n in 0..PAGE_SIZE {
            assert_eq!(blocks.find(key(PAGE, offset(n), CodeSize::Bits64)), Some(block((2 * n) as u32, None)));
            assert_eq!(blocks.find(key(PAGE, offset(n), CodeSize::Bits32)), Some(block((2 * n) as u32 + 1, None)));
            assert_eq!(blocks.find(key(PAGE, offset(n), CodeSize::Bits16)), None);
        }
        assert_eq!(removed(&mut blocks, PAGE), Vec::from_iter(0..2 * PAGE_SIZE as u32));
        for n in 0..PAGE_SIZE {
            assert_eq!([CodeSize::Bits64, CodeSize::Bits32].map(|size| blocks.find(key(PAGE, n, size))), [None; 2]);
        }
        assert_eq!(removed(&mut blocks, PAGE), []);
        assert_eq!(blocks.find(key(PAGE + 1, 0, CodeSize::Bits64)), Some(block(7, None)));
    }

    #[test]
    fn a_block_on_two_pages_goes_with_either() {
        let mut blocks = Blocks::default();
        let (last, other) = (key(PAGE, PAGE_SIZE - 1, CodeSize::Bits64), key(PAGE, 0, CodeSize::Bits64));
        let mut both = |dropped| {
            blocks.insert(last, block(1, Some(PAGE + 9)));
            blocks.insert(other, block(2, None));
            removed(&mut blocks, dropped)
        };
        assert_eq!(both(PAGE), [1, 2]);
        assert_eq!(both(PAGE + 9), [1]);
        assert_eq!((blocks.find(last), blocks.find(other)), (None, Some(block(2, None))));
        // What lies behind its first page may be mapped elsewhere: then it is another block.
        blocks.insert(last, block(3, Some(PAGE + 8)));
        blocks.insert(last, block(4, Some(PAGE + 7)));
        assert_eq!(blocks.find(last), Some(block(4, Some(PAGE + 7))));
        assert_eq!(removed(&mut blocks, PAGE + 7), [4]);
        let mut cleared = blocks.clear();
        cleared.sort_unstable();
        assert_eq!(cleared, [PAGE, PAGE + 8]);
        assert_eq!(blocks.find(other), None);
    }

    #[test]
    fn entries_are_half_of_a_cache_line() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn a_block_that_is_made_anew_is_noted_once_on_its_second_page() {
        let mut blocks = Blocks::default();
        for start in 0..100 {
            blocks.insert(key(PAGE, PAGE_SIZE - 2, CodeSize::Bits64), block(start, Some(PAGE + 1)));
            assert_eq!(removed(&mut blocks, PAGE).len(), 1);
        }
        assert_eq!(blocks.ends[&(PAGE + 1)].len(), 1);
    }

    #[test]
    fn pages_side_by_side_or_far_apart_share_chains_evenly() {
        for distance in [1, 2, 16, 512, 1 << 18] {
            let mut blocks = vec![0; CHAINS];
            // As many blocks as chains.
            for page in 0..256 {
                for offset in (0..PAGE_SIZE).step_by(32) {
                    blocks[chain(packed(key(page * distance, offset, CodeSize::Bits64)))] += 1;
                }
            }
            let longest = blocks.iter().max();
            assert!(longest <= Some(&8), "{distance}: {longest:?}");
        }
    }

    proptest! {
        #[test]
        fn blocks_are_those_of_a_simple_list(
            steps in prop::collection::vec((0_u32..40, 0_u32..4, 0_u64..6, 0_usize..3, prop::option::weighted(0.3, 0_u32..4)), 1..300)
        ) {
            let mut blocks = Blocks::default();
            let mut kept: BTreeMap<(u32, u64, usize), Block> = BTreeMap::new();
            let mut ends = BTreeSet::new();
            let offset = |place: u64| (PAGE_SIZE - 3 + place) % PAGE_SIZE;
            for (start, (kind, page, place, size, second)) in steps.into_iter().enumerate() {
                let start = start as u32;
                match kind {
                    0 => {
                        let mut pages: Vec<_> = kept.keys().map(|&(page, ..)| page).chain(ends.iter().map(|&(page, _)| page)).collect();
                        let mut cleared = blocks.clear();
                        (kept, ends) = Default::default();
                        // A page may still be named that has had all its blocks dropped with others.
                        pages.retain(|page| !cleared.contains(page));
                        prop_assert_eq!(pages, vec![]);
                        cleared.sort_unstable();
                        prop_assert!(cleared.iter().all(|page| *page < 4));
                    }
                    1..8 => {
                        let is_gone = |name: &(u32, u64, usize)| name.0 == page || ends.contains(&(page, *name));
                        let mut gone: Vec<u32> = kept.iter().filter(|(name, _)| is_gone(name)).map(|(_, block)| block.start).collect();
                        kept = kept.iter().filter(|(name, _)| !is_gone(name)).map(|(name, block)| (*name, *block)).collect();
                        ends.retain(|(end, _)| *end != page);
                        gone.sort_unstable();
                        prop_assert_eq!(removed(&mut blocks, page), gone);
                    }
                    _ => {
                        blocks.insert(key(page, offset(place), SIZES[size]), block(start, second));
                        kept.insert((page, place, size), block(start, second));
                        ends.extend(second.map(|second| (second, (page, place, size))));
                    }
                }
                for page in 0..4 {
                    for place in 0..6 {
                        for (size, code_size) in SIZES.into_iter().enumerate() {
                            prop_assert_eq!(blocks.find(key(page, offset(place), code_size)), kept.get(&(page, place, size)).copied());
                        }
                    }
                }
            }
        }
    }
}
