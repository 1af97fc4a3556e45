//! The blocks of each page of guest-physical memory: where every block is found, and what is dropped with a page.
//!
//! Blocks lie densely on few pages: a table of all blocks by address would be large, and touched everywhere.

use rustc_hash::FxHashMap;

use super::block::{Block, BlockKey};
use crate::bus::PAGE_SIZE;
use crate::decode::Mode;

/// See above.
#[derive(Default)]
pub struct Pages {
    /// Blocks that begin on a page, in order.
    begins: FxHashMap<u32, Vec<Entry>>,
    /// Blocks that begin on another page, and end on this one.
    ends: FxHashMap<u32, Vec<BlockKey>>,
    /// The second pages of blocks that have one: few do.
    seconds: FxHashMap<BlockKey, u32>,
}

/// A block of a page. There are tens of thousands, each of which is brought into memory: so they are small.
struct Entry {
    /// See [`Block`].
    start: u32,
    length: u16,
    has_second_page: bool,
    mode: Mode,
    /// Where on the page.
    offset: u16,
}

/// Which entry of its page a key has, or would have.
fn index(entries: &[Entry], key: BlockKey) -> Result<usize, usize> {
    let wanted = (offset(key), key.mode.bits());
    entries.binary_search_by_key(&wanted, |entry| (entry.offset, entry.mode.bits()))
}

fn number(key: BlockKey) -> u32 {
    (key.address / PAGE_SIZE) as u32
}

fn offset(key: BlockKey) -> u16 {
    (key.address % PAGE_SIZE) as u16
}

impl Pages {
    /// The block of a key.
    pub fn find(&self, key: BlockKey) -> Option<Block> {
        let entries = self.begins.get(&number(key))?;
        let &Entry { start, length, has_second_page, .. } = &entries[index(entries, key).ok()?];
        Some(Block { start, second_page: if has_second_page { self.seconds.get(&key).copied() } else { None }, length })
    }

    /// Keeps a block, in place of another with the same key.
    pub fn insert(&mut self, key: BlockKey, block: Block) {
        let Block { start, second_page, length } = block;
        let entries = self.begins.entry(number(key)).or_default();
        let entry = Entry { start, length, has_second_page: second_page.is_some(), mode: key.mode, offset: offset(key) };
        match index(entries, key) {
            Ok(index) => entries[index] = entry,
            Err(index) => entries.insert(index, entry),
        }
        if let Some(second) = second_page {
            self.seconds.insert(key, second);
            // Code that is written again and again at the end of a page would fill the list of the next.
            let ends = self.ends.entry(second).or_default();
            if !ends.contains(&key) {
                ends.push(key);
            }
        }
    }

    /// Forgets the page with a number, and tells of every block that lay on it.
    pub fn remove(&mut self, page_number: u32, mut tell: impl FnMut(BlockKey, u32)) {
        for Entry { start, has_second_page, mode, offset, .. } in self.begins.remove(&page_number).unwrap_or_default() {
            let key = BlockKey { address: u64::from(page_number) * PAGE_SIZE + u64::from(offset), mode };
            if has_second_page {
                self.seconds.remove(&key);
            }
            tell(key, start);
        }
        for key in self.ends.remove(&page_number).unwrap_or_default() {
            let Some(entries) = self.begins.get_mut(&number(key)) else { continue };
            if let Ok(index) = index(entries, key) {
                self.seconds.remove(&key);
                tell(key, entries.remove(index).start);
            }
        }
    }

    /// Forgets everything. Returns the numbers of the pages that something was kept of, in no particular order, some of them twice.
    #[expect(clippy::disallowed_methods, reason = "what is done for each page does not depend on the others")]
    pub fn clear(&mut self) -> Vec<u32> {
        self.seconds.clear();
        self.begins.drain().map(|(number, _)| number).chain(self.ends.drain().map(|(number, _)| number)).collect()
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
        pages.remove(number, |key, start| told.push((key, start)));
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
    fn entries_are_small() {
        assert_eq!(size_of::<Entry>(), 12);
    }

    #[test]
    fn a_block_that_is_made_anew_is_noted_once_on_its_second_page() {
        let mut pages = Pages::default();
        for start in 0..100 {
            pages.insert(key(PAGE, PAGE_SIZE - 2, CodeSize::Bits64), block(start, Some(PAGE + 1)));
            assert_eq!(removed(&mut pages, PAGE).len(), 1);
        }
        assert_eq!(pages.ends[&(PAGE + 1)].len(), 1);
    }
}
