//! How often each block of the guest's code runs, by what stands on its page.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use snapshot::Digest;

/// One page of code, and how often its blocks were entered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageProfile {
    /// Linear address at which it was first run.
    pub linear: u64,
    /// What stands on it.
    pub bytes: Box<[u8; 4096]>,
    /// Offset of each block, ascending, and how often it was entered.
    pub blocks: Vec<(u16, u64)>,
}

/// Counts of the blocks of 64-bit code. Pages with the same content are one page, wherever they lie; a page whose content changes becomes
/// another one.
#[derive(Default)]
pub struct Profile {
    counts: Vec<u64>,
    /// Index into the counts, by page and offset.
    places: BTreeMap<(u32, u16), u32>,
    /// In the order in which they were first seen.
    pages: Vec<(u64, Box<[u8; 4096]>)>,
    by_content: BTreeMap<[u8; 32], u32>,
    /// Page of each page number, while that holds the same bytes.
    standing: FxHashMap<u32, u32>,
}

impl Profile {
    /// The index of the count for a block at `offset` of the page with this number and content, which is run at the linear address `linear`.
    pub fn index(&mut self, number: u32, linear: u64, offset: u16, content: &[u8; 4096]) -> u32 {
        let page = match self.standing.get(&number) {
            Some(&page) => page,
            None => self.page(number, linear, content),
        };
        *self.places.entry((page, offset)).or_insert_with(|| {
            self.counts.push(0);
            self.counts.len() as u32 - 1
        })
    }

    fn page(&mut self, number: u32, linear: u64, content: &[u8; 4096]) -> u32 {
        let page = *self.by_content.entry(*Digest::of(content).as_bytes()).or_insert_with(|| {
            self.pages.push((linear & !0xfff, Box::new(*content)));
            self.pages.len() as u32 - 1
        });
        self.standing.insert(number, page);
        page
    }

    /// Counts one entry of a block.
    #[inline(always)]
    pub fn count(&mut self, index: u32) {
        if let Some(count) = self.counts.get_mut(index as usize) {
            *count += 1;
        }
    }

    /// The page with this number is written.
    pub fn drop_page(&mut self, number: u32) {
        self.standing.remove(&number);
    }

    /// No page is watched any more.
    pub fn clear(&mut self) {
        self.standing.clear();
    }

    /// What was counted, by the content of pages.
    pub fn pages(&self) -> Vec<PageProfile> {
        let all = self.by_content.values().map(|&page| {
            let (linear, bytes) = &self.pages[page as usize];
            let blocks = self.places.range((page, 0)..=(page, u16::MAX));
            let counted = blocks.map(|(&(_, offset), &index)| (offset, self.counts[index as usize]));
            PageProfile { linear: *linear, bytes: bytes.clone(), blocks: counted.filter(|&(_, count)| count > 0).collect() }
        });
        all.filter(|page| !page.blocks.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_with_the_same_content_are_counted_as_one() {
        let mut profile = Profile::default();
        let (one, other) = ([1; 4096], [2; 4096]);
        let first = profile.index(7, 0x40_0010, 0x10, &one);
        assert_eq!(profile.index(9, 0x50_0010, 0x10, &one), first);
        profile.drop_page(7);
        let second = profile.index(7, 0x40_0010, 0x10, &other);
        assert_ne!(first, second);
        (0..3).for_each(|_| profile.count(first));
        profile.count(second);
        profile.index(7, 0x40_0020, 0x20, &other);
        let pages = profile.pages();
        let found: Vec<_> = pages.iter().map(|page| (page.linear, page.bytes[0], page.blocks.as_slice())).collect();
        assert!(found.contains(&(0x40_0000, 1, &[(0x10, 3)])) && found.contains(&(0x40_0000, 2, &[(0x10, 1)])), "{found:?}");
        assert_eq!(found.len(), 2);
    }
}
