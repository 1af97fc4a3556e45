//! How often each block of the guest's code runs, and which block runs next, by what stands on its page.

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

/// A block: the index of its page among the pages of a profile, and its offset there.
pub type BlockPlace = (u32, u16);

/// How often one block was entered next after another, with nothing in between: no interrupt, no exception, no instruction that the dispatcher is
/// left for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edge {
    /// The block that ran to its end.
    pub from: BlockPlace,
    /// The block that was entered next.
    pub to: BlockPlace,
    /// How often.
    pub count: u64,
}

/// What a profile has counted.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Pages with blocks that were entered, each content once.
    pub pages: Vec<PageProfile>,
    /// Edges between those blocks, ascending by their blocks, each once.
    pub edges: Vec<Edge>,
}

/// Counts of one block.
#[derive(Clone, Copy, Default)]
struct Counter {
    entered: u64,
    /// The first two blocks that were entered next, each with how often; 0 for none. Most branches lead to no more.
    next: [(u32, u64); 2],
}

/// Counts of the blocks of 64-bit code, and of the edges between them. Pages with the same content are one page, wherever they lie; a page whose
/// content changes becomes another one.
#[derive(Default)]
pub struct Profile {
    counters: Vec<Counter>,
    /// Edges from blocks that have led to two others before.
    further: FxHashMap<(u32, u32), u64>,
    /// The block that was entered last, if the next one follows from it.
    current: Option<u32>,
    /// Index into the counters, by page and offset.
    places: BTreeMap<(u32, u16), u32>,
    /// In the order in which they were first seen.
    pages: Vec<(u64, Box<[u8; 4096]>)>,
    by_content: BTreeMap<[u8; 32], u32>,
    /// Page of each page number, while that holds the same bytes.
    standing: FxHashMap<u32, u32>,
}

impl Profile {
    /// The index of the counter for a block at `offset` of the page with this number and content, which is run at the linear address `linear`.
    pub fn index(&mut self, number: u32, linear: u64, offset: u16, content: &[u8; 4096]) -> u32 {
        let page = match self.standing.get(&number) {
            Some(&page) => page,
            None => self.page(number, linear, content),
        };
        *self.places.entry((page, offset)).or_insert_with(|| {
            self.counters.push(Counter::default());
            self.counters.len() as u32 - 1
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

    /// Counts an entry of a block, and the edge to it.
    #[inline(always)]
    pub fn count(&mut self, index: u32) {
        let before = self.current.replace(index);
        if let Some(counter) = self.counters.get_mut(index as usize) {
            counter.entered += 1;
        }
        let Some(before) = before else { return };
        let Some(Counter { next, .. }) = self.counters.get_mut(before as usize) else { return };
        match next.iter_mut().find(|(to, count)| *to == index || *count == 0) {
            Some((to, count)) => (*to, *count) = (index, *count + 1),
            None => *self.further.entry((before, index)).or_default() += 1,
        }
    }

    /// The block that is entered next does not follow from the last one.
    pub fn interrupt(&mut self) {
        self.current = None;
    }

    /// The page with this number is written.
    pub fn drop_page(&mut self, number: u32) {
        self.standing.remove(&number);
    }

    /// No page is watched any more.
    pub fn clear(&mut self) {
        self.standing.clear();
    }

    /// What was counted, in an order of the pages' contents.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        let mut places: Vec<Option<BlockPlace>> = vec![None; self.counters.len()];
        for &page in self.by_content.values() {
            let number = counts.pages.len() as u32;
            let mut blocks = Vec::new();
            for (&(_, offset), &index) in self.places.range((page, 0)..=(page, u16::MAX)) {
                let Counter { entered, .. } = self.counters[index as usize];
                if entered > 0 {
                    places[index as usize] = Some((number, offset));
                    blocks.push((offset, entered));
                }
            }
            if !blocks.is_empty() {
                let (linear, bytes) = &self.pages[page as usize];
                counts.pages.push(PageProfile { linear: *linear, bytes: bytes.clone(), blocks });
            }
        }
        let first = (0..).zip(&self.counters).flat_map(|(from, counter)| counter.next.map(|(to, count)| ((from, to), count)));
        #[expect(clippy::disallowed_methods, reason = "they are sorted below")]
        let further = self.further.iter().map(|(&ends, &count)| (ends, count));
        let place = |index: u32| places.get(index as usize).copied().flatten();
        let edge = |((from, to), count)| Some(Edge { from: place(from)?, to: place(to)?, count });
        counts.edges = first.chain(further).filter(|&(_, count)| count > 0).filter_map(edge).collect();
        counts.edges.sort_unstable_by_key(|edge| (edge.from, edge.to));
        counts
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
        let Counts { pages, edges } = profile.counts();
        let found: Vec<_> = pages.iter().map(|page| (page.linear, page.bytes[0], page.blocks.as_slice())).collect();
        assert!(found.contains(&(0x40_0000, 1, &[(0x10, 3)])) && found.contains(&(0x40_0000, 2, &[(0x10, 1)])), "{found:?}");
        assert_eq!(found.len(), 2);
        let content = |(page, _): BlockPlace| pages[page as usize].bytes[0];
        let mut found: Vec<_> = edges.iter().map(|edge| (content(edge.from), content(edge.to), edge.count)).collect();
        found.sort_unstable();
        assert_eq!(found, [(1, 1, 2), (1, 2, 1)]);
    }

    #[test]
    fn an_edge_leads_to_the_block_that_is_entered_next_unless_something_came_in_between() {
        let mut profile = Profile::default();
        let blocks = [0x10, 0x20, 0x30, 0x40].map(|offset| profile.index(3, offset, offset as u16, &[7; 4096]));
        // From the first to each of the four, to the last twice.
        for to in blocks.into_iter().chain([blocks[3]]) {
            profile.count(blocks[0]);
            profile.count(to);
            profile.interrupt();
        }
        profile.count(blocks[1]);
        profile.count(blocks[0]);
        let edges: Vec<_> = profile.counts().edges.iter().map(|edge| (edge.from.1, edge.to.1, edge.count)).collect();
        assert_eq!(edges, [(0x10, 0x10, 1), (0x10, 0x20, 1), (0x10, 0x30, 1), (0x10, 0x40, 2), (0x20, 0x10, 1)]);
    }
}
