//! What a guest has run: counts, and their file.

use std::collections::BTreeMap;

use emu::cache::{BlockPlace, Counts, Edge, PageProfile};

use crate::code::PAGE;

/// First bytes of the file: its name and version.
const MAGIC: &[u8] = b"prebake profile 2\n";
/// Most pages of a file.
const MAX_PAGES: usize = 1 << 16;

/// Counts of the blocks of 64-bit code and of the edges between them, by the content of their pages: pages in order of that, each once, and edges in order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Profile(Counts);

/// Why a file is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// It begins otherwise.
    #[error("not a profile of this version: pass a file that `--profile` of this prebake wrote")]
    Magic,
    /// It ends too soon, or goes on, or its pages, blocks and edges are not in order.
    #[error("the profile is damaged at byte {at}: record it again")]
    Damaged {
        /// Where.
        at: usize,
    },
}

impl Profile {
    /// Of what a machine has counted.
    pub fn new(counts: Counts) -> Self {
        let mut profile = Self::default();
        profile.add(&Self(counts));
        profile
    }

    /// Of the kernel's pages alone: those that lie in the upper half of the address space.
    #[must_use]
    pub fn kernel(self) -> Self {
        let Counts { mut pages, edges } = self.0;
        let mut left = 0..;
        let numbers: Vec<_> = pages.iter().map(|page| is_kernel(page).then(|| left.next()).flatten()).collect();
        pages.retain(is_kernel);
        Self(Counts { pages, edges: edges.iter().filter_map(|&edge| renumbered(edge, &numbers)).collect() })
    }

    /// Its pages.
    pub fn pages(&self) -> &[PageProfile] {
        &self.0.pages
    }

    /// Its edges.
    pub fn edges(&self) -> &[Edge] {
        &self.0.edges
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        let parts = [std::mem::take(&mut self.0), other.0.clone()];
        let mut pages: BTreeMap<&[u8; PAGE], (u64, BTreeMap<u16, u64>)> = BTreeMap::new();
        for page in parts.iter().flat_map(|part| &part.pages) {
            let (_, blocks) = pages.entry(&page.bytes).or_insert_with(|| (page.linear, BTreeMap::new()));
            page.blocks.iter().for_each(|&(offset, count)| increase(blocks.entry(offset).or_default(), count));
        }
        let numbers: BTreeMap<&[u8; PAGE], u32> = pages.keys().copied().zip(0..).collect();
        let mut edges: BTreeMap<(BlockPlace, BlockPlace), u64> = BTreeMap::new();
        for part in &parts {
            let numbers: Vec<_> = part.pages.iter().map(|page| numbers.get(&*page.bytes).copied()).collect();
            for edge in part.edges.iter().filter_map(|&edge| renumbered(edge, &numbers)) {
                increase(edges.entry((edge.from, edge.to)).or_default(), edge.count);
            }
        }
        let page = |(bytes, (linear, blocks)): (&[u8; PAGE], (u64, BTreeMap<u16, u64>))| PageProfile {
            linear,
            bytes: Box::new(*bytes),
            blocks: blocks.into_iter().collect(),
        };
        let edge = |((from, to), count)| Edge { from, to, count };
        self.0 = Counts { pages: pages.into_iter().map(page).collect(), edges: edges.into_iter().map(edge).collect() };
    }

    /// The file's bytes. Behind its name and version the number of pages and that of edges; for each page its linear address, its bytes, how many blocks, and of
    /// each the offset and the count; for each edge the two blocks, each by the index of its page and its offset, and the count. All numbers are little-endian;
    /// addresses and counts of entries have 8 bytes, offsets and numbers of blocks 2, the others 4.
    pub fn encode(&self) -> Vec<u8> {
        let Counts { pages, edges } = &self.0;
        let mut out = MAGIC.to_vec();
        out.extend((pages.len() as u32).to_le_bytes());
        out.extend((edges.len() as u32).to_le_bytes());
        for page in pages {
            out.extend(page.linear.to_le_bytes());
            out.extend(page.bytes.as_slice());
            out.extend((page.blocks.len() as u16).to_le_bytes());
            for (offset, count) in &page.blocks {
                out.extend(offset.to_le_bytes());
                out.extend(count.to_le_bytes());
            }
        }
        for edge in edges {
            for (page, offset) in [edge.from, edge.to] {
                out.extend(page.to_le_bytes());
                out.extend(offset.to_le_bytes());
            }
            out.extend(edge.count.to_le_bytes());
        }
        out
    }

    /// Reads a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProfileError> {
        let mut reader = Reader(bytes.strip_prefix(MAGIC).ok_or(ProfileError::Magic)?);
        let mut counts = Counts::default();
        // What is damaged is damaged from the last place on where something whole began.
        let mut at = MAGIC.len();
        let mut whole = |reader: &mut Reader<'_>| {
            let pages = reader.number().filter(|&pages| pages as usize <= MAX_PAGES)?;
            let edges = reader.number()?;
            for _ in 0..pages {
                at = bytes.len() - reader.0.len();
                let page = reader.page()?;
                counts.pages.push(Some(page).filter(|page| counts.pages.last().is_none_or(|last| last.bytes < page.bytes))?);
            }
            for _ in 0..edges {
                at = bytes.len() - reader.0.len();
                let edge = reader.edge(&counts.pages)?;
                counts
                    .edges
                    .push(Some(edge).filter(|edge| counts.edges.last().is_none_or(|last| (last.from, last.to) < (edge.from, edge.to)))?);
            }
            at = bytes.len() - reader.0.len();
            reader.0.is_empty().then_some(())
        };
        match whole(&mut reader) {
            Some(()) => Ok(Self(counts)),
            None => Err(ProfileError::Damaged { at }),
        }
    }
}

fn is_kernel(page: &PageProfile) -> bool {
    page.linear >> 63 != 0
}

/// The edge with the numbers that its pages have now, if they have one.
fn renumbered(edge: Edge, numbers: &[Option<u32>]) -> Option<Edge> {
    let place = |(page, offset): BlockPlace| Some((numbers.get(page as usize).copied().flatten()?, offset));
    Some(Edge { from: place(edge.from)?, to: place(edge.to)?, ..edge })
}

fn increase(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn page(&mut self) -> Option<PageProfile> {
        let linear = u64::from_le_bytes(self.take()?);
        let bytes = Box::new(self.take::<PAGE>()?);
        let mut blocks: Vec<(u16, u64)> = Vec::new();
        for _ in 0..self.short()? {
            let (offset, count) = (self.short()?, u64::from_le_bytes(self.take()?));
            let in_order = blocks.last().is_none_or(|&(last, _)| last < offset) && usize::from(offset) < PAGE;
            blocks.push(in_order.then_some((offset, count))?);
        }
        Some(PageProfile { linear, bytes, blocks })
    }

    /// An edge between blocks of these pages.
    fn edge(&mut self, pages: &[PageProfile]) -> Option<Edge> {
        let mut block = || {
            let (page, offset) = (self.number()?, self.short()?);
            let there = pages.get(page as usize)?.blocks.binary_search_by_key(&offset, |&(offset, _)| offset);
            there.is_ok().then_some((page, offset))
        };
        let (from, to) = (block()?, block()?);
        Some(Edge { from, to, count: u64::from_le_bytes(self.take()?) })
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn short(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (&bytes, behind) = self.0.split_first_chunk()?;
        self.0 = behind;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pages, the second of which comes first by its content.
    fn counts() -> Counts {
        let page = |linear, byte, blocks: &[(u16, u64)]| PageProfile { linear, bytes: Box::new([byte; PAGE]), blocks: blocks.to_vec() };
        let edge = |from, to, count| Edge { from, to, count };
        let pages = vec![page(u64::MAX << 40, 0xc3, &[(0, 100), (4, 1)]), page(0x7000, 0x90, &[(5, 40)])];
        Counts { pages, edges: vec![edge((0, 0), (0, 4), 1), edge((0, 0), (1, 5), 39), edge((1, 5), (0, 0), 38)] }
    }

    fn edges(profile: &Profile) -> Vec<(BlockPlace, BlockPlace, u64)> {
        profile.edges().iter().map(|edge| (edge.from, edge.to, edge.count)).collect()
    }

    #[test]
    fn a_profile_is_the_same_behind_its_file() {
        let profile = Profile::new(counts());
        let bytes = profile.encode();
        assert_eq!(Profile::decode(&bytes), Ok(profile));
        assert_eq!(Profile::decode(b""), Err(ProfileError::Magic));
        assert_eq!(Profile::decode(b"prebake profile 1\n"), Err(ProfileError::Magic));
        for cut in MAGIC.len()..bytes.len() {
            assert!(matches!(Profile::decode(&bytes[..cut]), Err(ProfileError::Damaged { .. })), "cut at {cut}");
        }
        assert_eq!(Profile::decode(&[&bytes[..], &[0]].concat()), Err(ProfileError::Damaged { at: bytes.len() }));
    }

    #[test]
    fn a_file_whose_pages_or_edges_are_not_in_order_or_lead_to_no_block_is_damaged() {
        let profile = Profile::new(counts());
        let (pages, edges) = (MAGIC.len() + 8, profile.encode().len() - 3 * 20);
        let refused = |change: &dyn Fn(&mut Counts)| {
            let mut changed = profile.clone();
            change(&mut changed.0);
            match Profile::decode(&changed.encode()) {
                Err(ProfileError::Damaged { at }) => at,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(&|counts| counts.pages.swap(0, 1)), pages + 8 + PAGE + 2 + 2 * 10);
        assert_eq!(refused(&|counts| counts.pages[0].blocks[0].0 = 4096), pages);
        assert_eq!(refused(&|counts| counts.edges.swap(1, 2)), edges + 2 * 20);
        assert_eq!(refused(&|counts| counts.edges[1] = counts.edges[0]), edges + 20);
        assert_eq!(refused(&|counts| counts.edges[0].from.1 = 6), edges);
        assert_eq!(refused(&|counts| counts.edges[2].to = (2, 5)), edges + 2 * 20);
    }

    #[test]
    fn the_counts_of_equal_pages_are_added() {
        let mut sum = Profile::new(counts());
        let blocks = |profile: &Profile| profile.pages().iter().map(|page| page.blocks.clone()).collect::<Vec<_>>();
        assert_eq!(blocks(&sum), [vec![(5, 40)], vec![(0, 100), (4, 1)]]);
        assert_eq!(edges(&sum), [((0, 5), (1, 0), 38), ((1, 0), (0, 5), 39), ((1, 0), (1, 4), 1)]);
        // The other has a page between the two, and an edge more.
        let mut other = counts();
        other.pages.insert(0, PageProfile { linear: 0, bytes: Box::new([0xa0; PAGE]), blocks: vec![(7, 3)] });
        other.edges.iter_mut().for_each(|edge| (edge.from.0, edge.to.0) = (edge.from.0 + 1, edge.to.0 + 1));
        other.edges.push(Edge { from: (0, 7), to: (2, 5), count: 2 });
        sum.add(&Profile::new(other));
        assert_eq!(blocks(&sum), [vec![(5, 80)], vec![(7, 3)], vec![(0, 200), (4, 2)]]);
        assert_eq!(edges(&sum), [((0, 5), (2, 0), 76), ((1, 7), (0, 5), 2), ((2, 0), (0, 5), 78), ((2, 0), (2, 4), 2)]);
        let mut most = sum.clone();
        most.0.edges[0].count = u64::MAX;
        sum.add(&most);
        assert_eq!(sum.edges()[0].count, u64::MAX);
    }

    #[test]
    fn the_kernels_part_has_its_pages_and_the_edges_between_them() {
        let kernel = Profile::new(counts()).kernel();
        assert_eq!(kernel.pages().iter().map(|page| page.bytes[0]).collect::<Vec<_>>(), [0xc3]);
        assert_eq!(edges(&kernel), [((0, 0), (0, 4), 1)]);
    }
}
