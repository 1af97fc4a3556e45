//! The blocks of each page of guest-physical memory: where every block is found, and what is dropped with a page.
//!
//! Blocks lie densely on few pages: a table of all blocks by address would be large, and touched everywhere.

use rustc_hash::FxHashMap;

use super::block::{Block, BlockKey};
use crate::bus::PAGE_SIZE;
use crate::decode::Mode;

/// See above.
#[derive(Default)]
pub struct Pages(FxHashMap<u32, Page>);

/// What is known of one page.
#[derive(Default)]
struct Page {
    /// Blocks that begin on it, in order.
    blocks: Vec<Entry>,
    /// Blocks that begin on another page, and end on this one.
    ends: Vec<BlockKey>,
}

struct Entry {
    /// Where on the page.
    offset: u16,
    mode: Mode,
    block: Block,
}

impl Page {
    /// Which entry a key has, or would have.
    fn index(&self, key: BlockKey) -> Result<usize, usize> {
        let wanted = ((key.address % PAGE_SIZE) as u16, key.mode.bits());
        self.blocks.binary_search_by_key(&wanted, |entry| (entry.offset, entry.mode.bits()))
    }
}

fn number(key: BlockKey) -> u32 {
    (key.address / PAGE_SIZE) as u32
}

impl Pages {
    /// The block of a key.
    pub fn find(&self, key: BlockKey) -> Option<Block> {
        let page = self.0.get(&number(key))?;
        page.index(key).ok().map(|index| page.blocks[index].block)
    }

    /// Keeps a block, in place of another with the same key.
    pub fn insert(&mut self, key: BlockKey, block: Block) {
        let page = self.0.entry(number(key)).or_default();
        let entry = Entry { offset: (key.address % PAGE_SIZE) as u16, mode: key.mode, block };
        match page.index(key) {
            Ok(index) => page.blocks[index] = entry,
            Err(index) => page.blocks.insert(index, entry),
        }
        if let Some(second) = block.second_page {
            // Code that is written again and again at the end of a page would fill the list of the next.
            let ends = &mut self.0.entry(second).or_default().ends;
            if !ends.contains(&key) {
                ends.push(key);
            }
        }
    }

    /// Forgets the page with a number, and tells of every block that lay on it.
    pub fn remove(&mut self, page_number: u32, mut tell: impl FnMut(BlockKey, Block)) {
        let Some(Page { blocks, ends }) = self.0.remove(&page_number) else { return };
        for Entry { offset, mode, block } in blocks {
            tell(BlockKey { address: u64::from(page_number) * PAGE_SIZE + u64::from(offset), mode }, block);
        }
        for key in ends {
            let Some(page) = self.0.get_mut(&number(key)) else { continue };
            if let Ok(index) = page.index(key) {
                tell(key, page.blocks.remove(index).block);
            }
        }
    }

    /// Forgets everything. Returns the numbers of the pages that something was kept of, in no particular order.
    #[expect(clippy::disallowed_methods, reason = "what is done for each page does not depend on the others")]
    pub fn clear(&mut self) -> Vec<u32> {
        self.0.drain().map(|(number, _)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{CodeSize, Cr4};

    const PAGE: u32 = 5;

    fn key(page: u32, offset: u64, size: CodeSize) -> BlockKey {
        BlockKey { address: u64::from(page) * PAGE_SIZE + offset, mode: Mode::new(size, false, 0, Cr4::OSFXSR) }
    }

    const fn block(start: u32, second_page: Option<u32>) -> Block {
        Block { start, second_page, length: 3 }
    }

    fn removed(pages: &mut Pages, number: u32) -> Vec<(BlockKey, u32)> {
        let mut told = Vec::new();
        pages.remove(number, |key, block| told.push((key, block.start)));
        told
    }

    #[test]
    fn every_block_is_found_until_its_page_is_dropped() {
        let mut pages = Pages::default();
        // 1,365 odd steps go to every third offset, in no order that is the pages'.
        let offset = |n: u64| n * 1365 % PAGE_SIZE;
        for n in 0..PAGE_SIZE {
            for (number, size) in [CodeSize::Bits64, CodeSize::Bits32].into_iter().enumerate() {
                let key = key(PAGE, offset(n), size);
                assert_eq!(pages.find(key), None);
                pages.insert(key, block((2 * n) as u32 + number as u32, None));
            }
        }
        pages.insert(key(PAGE + 1, 0, CodeSize::Bits64), block(7, None));
        for n in 0..PAGE_SIZE {
            assert_eq!(pages.find(key(PAGE, offset(n), CodeSize::Bits64)), Some(block((2 * n) as u32, None)));
            assert_eq!(pages.find(key(PAGE, offset(n), CodeSize::Bits32)), Some(block((2 * n) as u32 + 1, None)));
            assert_eq!(pages.find(key(PAGE, offset(n), CodeSize::Bits16)), None);
        }
        let told = removed(&mut pages, PAGE);
        assert_eq!(told.len() as u64, 2 * PAGE_SIZE);
        for (told, start) in told {
            let n = u64::from(start / 2);
            let size = if start % 2 == 0 { CodeSize::Bits64 } else { CodeSize::Bits32 };
            assert_eq!(told, key(PAGE, offset(n), size));
            assert_eq!(pages.find(told), None);
        }
        assert_eq!(removed(&mut pages, PAGE), []);
        assert_eq!(pages.find(key(PAGE + 1, 0, CodeSize::Bits64)), Some(block(7, None)));
    }

    #[test]
    fn a_block_on_two_pages_goes_with_either() {
        let mut pages = Pages::default();
        let (last, other) = (key(PAGE, PAGE_SIZE - 1, CodeSize::Bits64), key(PAGE, 0, CodeSize::Bits64));
        let mut both = |dropped| {
            pages.insert(last, block(1, Some(PAGE + 9)));
            pages.insert(other, block(2, None));
            removed(&mut pages, dropped)
        };
        assert_eq!(both(PAGE), [(other, 2), (last, 1)]);
        assert_eq!(both(PAGE + 9), [(last, 1)]);
        assert_eq!((pages.find(last), pages.find(other)), (None, Some(block(2, None))));
        // What lies behind its first page may be mapped elsewhere: then it is another block.
        pages.insert(last, block(3, Some(PAGE + 8)));
        pages.insert(last, block(4, Some(PAGE + 7)));
        assert_eq!(pages.find(last), Some(block(4, Some(PAGE + 7))));
        assert_eq!(removed(&mut pages, PAGE + 7), [(last, 4)]);
        let mut cleared = pages.clear();
        cleared.sort_unstable();
        assert_eq!(cleared, [PAGE, PAGE + 8]);
        assert_eq!(pages.find(other), None);
    }

    #[test]
    fn a_block_that_is_made_anew_is_noted_once_on_its_second_page() {
        let mut pages = Pages::default();
        for start in 0..100 {
            pages.insert(key(PAGE, PAGE_SIZE - 2, CodeSize::Bits64), block(start, Some(PAGE + 1)));
            assert_eq!(removed(&mut pages, PAGE).len(), 1);
        }
        assert_eq!(pages.0[&(PAGE + 1)].ends.len(), 1);
    }
}
