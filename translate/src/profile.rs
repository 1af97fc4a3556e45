//! What a guest has run: the file of counts, and the choice of what is worth translating.

use std::collections::{BTreeMap, BTreeSet};

use emu::cache::PageProfile;

use crate::code::{PAGE, blocks};
use crate::regions::PageCode;

/// First bytes of the file: its name and version.
const MAGIC: &[u8] = b"prebake profile 1\n";
/// Most pages of a file.
const MAX_PAGES: usize = 1 << 16;

/// How often blocks were entered, by their offsets in their page.
type Counts = BTreeMap<u16, u64>;

/// Counts of the blocks of 64-bit code, by the content of their pages: in order of that, each page once.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Profile {
    pages: Vec<PageProfile>,
}

/// Why a file is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// It begins otherwise.
    #[error("not a profile of this version: pass a file that `--profile` of this prebake wrote")]
    Magic,
    /// It ends too soon, or goes on, or its pages and blocks are not in order.
    #[error("the profile is damaged at byte {at}: record it again")]
    Damaged {
        /// Where.
        at: usize,
    },
}

/// What was chosen of a profile.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Chosen {
    /// Instructions.
    pub instructions: usize,
    /// How many of those that the profile counted are among them.
    pub covered: u64,
    /// Instructions that the profile counted.
    pub counted: u64,
}

/// A block of a profile.
#[derive(Clone, Copy, Debug)]
pub struct Weight<'a> {
    /// Linear address of its page.
    pub linear: u64,
    /// What stands on its page.
    pub page: &'a [u8; PAGE],
    /// Its offset in the page.
    pub offset: u16,
    /// How often it was entered.
    pub entered: u64,
    /// Its length in instructions.
    pub length: usize,
    /// Instructions of it that ran.
    pub instructions: u64,
}

impl Profile {
    /// Of what a machine has counted.
    pub fn new(pages: Vec<PageProfile>) -> Self {
        let mut profile = Self::default();
        profile.add(&Self { pages });
        profile
    }

    /// Of the kernel's pages alone: those that lie in the upper half of the address space.
    #[must_use]
    pub fn kernel(mut self) -> Self {
        self.pages.retain(|page| page.linear >> 63 != 0);
        self
    }

    /// Its pages.
    pub fn pages(&self) -> &[PageProfile] {
        &self.pages
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        let mut pages: BTreeMap<Box<[u8; PAGE]>, (u64, Counts)> = BTreeMap::new();
        for page in std::mem::take(&mut self.pages).into_iter().chain(other.pages.iter().cloned()) {
            let (_, blocks) = pages.entry(page.bytes).or_insert_with(|| (page.linear, Counts::new()));
            for (offset, count) in page.blocks {
                let sum = blocks.entry(offset).or_default();
                *sum = sum.saturating_add(count);
            }
        }
        let all = pages.into_iter().map(|(bytes, (linear, blocks))| PageProfile { linear, bytes, blocks: blocks.into_iter().collect() });
        self.pages = all.collect();
    }

    /// The file's bytes: for each page its linear address, its bytes, how many blocks, and of each the offset and the count. All numbers are
    /// little-endian, of 8, 2, 2 and 8 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for page in &self.pages {
            out.extend(page.linear.to_le_bytes());
            out.extend(page.bytes.as_slice());
            out.extend((page.blocks.len() as u16).to_le_bytes());
            for (offset, count) in &page.blocks {
                out.extend(offset.to_le_bytes());
                out.extend(count.to_le_bytes());
            }
        }
        out
    }

    /// Reads a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProfileError> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(ProfileError::Magic)?;
        let mut pages: Vec<PageProfile> = Vec::new();
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let page = page(&mut rest).filter(|page| pages.last().is_none_or(|last| last.bytes < page.bytes));
            let Some(page) = page.filter(|_| pages.len() < MAX_PAGES) else { return Err(ProfileError::Damaged { at }) };
            pages.push(page);
        }
        Ok(Self { pages })
    }

    /// All blocks.
    pub fn weights(&self) -> impl Iterator<Item = Weight<'_>> {
        self.pages.iter().flat_map(weights)
    }

    /// The code that runs most, up to so many instructions besides what is `there`: no block that is left out was entered more often than one that
    /// is chosen, so that translated code is seldom left for the rest.
    pub fn hottest(&self, most: usize, there: impl Fn(&[u8; PAGE], u16) -> bool) -> (Vec<PageCode>, Chosen) {
        let mut all: Vec<(usize, Weight<'_>)> = Vec::new();
        for (number, page) in self.pages.iter().enumerate() {
            all.extend(weights(page).map(|weight| (number, weight)));
        }
        all.sort_by_key(|(page, weight)| (std::cmp::Reverse(weight.entered), *page, weight.offset));
        let counted = all.iter().map(|(_, weight)| weight.instructions).fold(0, u64::saturating_add);
        let mut chosen = Chosen { counted, ..Chosen::default() };
        let mut pages: BTreeMap<usize, BTreeMap<u16, u64>> = BTreeMap::new();
        let mut is_full = false;
        for (page, weight) in &all {
            if !there(weight.page, weight.offset) {
                is_full |= chosen.instructions + weight.length > most;
                if is_full {
                    continue;
                }
                chosen.instructions += weight.length;
                pages.entry(*page).or_default().insert(weight.offset, weight.entered);
            }
            chosen.covered = chosen.covered.saturating_add(weight.instructions);
        }
        let code = pages.into_iter().map(|(page, blocks)| PageCode { bytes: self.pages[page].bytes.clone(), blocks });
        (code.collect(), chosen)
    }
}

/// A place in the middle of a block begins one of its own if it was entered at least once in so many times that it was run through. Where the machine stopped
/// for an interrupt or a page fault, it goes on in the middle: to cut there would cost each time what it saves once.
const SELDOM: u64 = 128;

/// The blocks of a page, cut where others begin. The machine does not cut them: what it ran through counts for each piece.
fn weights(page: &PageProfile) -> impl Iterator<Item = Weight<'_>> {
    let mut leaders: BTreeSet<u16> = page.blocks.iter().map(|&(offset, _)| offset).collect();
    let mut entered: BTreeMap<u16, u64> = BTreeMap::new();
    for &(start, count) in &page.blocks {
        let whole = blocks(&page.bytes, &BTreeSet::from([start]));
        let places = whole.iter().flat_map(|block| block.instructions.iter().map(move |ins| start + ins.op.offset));
        for leader in places.filter(|place| leaders.contains(place)) {
            let sum = entered.entry(leader).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    for &(offset, own) in &page.blocks {
        let all = entered.get(&offset).copied().unwrap_or_default();
        if own.saturating_mul(SELDOM) < all - own.min(all) {
            leaders.remove(&offset);
        }
    }
    blocks(&page.bytes, &leaders).into_iter().map(move |block| {
        let (entered, length) = (entered.get(&block.offset).copied().unwrap_or_default(), block.instructions.len());
        let instructions = entered.saturating_mul(length as u64);
        Weight { linear: page.linear, page: &page.bytes, offset: block.offset, entered, length, instructions }
    })
}

fn page(rest: &mut &[u8]) -> Option<PageProfile> {
    let linear = u64::from_le_bytes(take(rest)?);
    let bytes = Box::new(take::<PAGE>(rest)?);
    let mut blocks: Vec<(u16, u64)> = Vec::new();
    for _ in 0..u16::from_le_bytes(take(rest)?) {
        let (offset, count) = (u16::from_le_bytes(take(rest)?), u64::from_le_bytes(take(rest)?));
        let in_order = blocks.last().is_none_or(|&(last, _)| last < offset) && usize::from(offset) < PAGE;
        blocks.push(in_order.then_some((offset, count))?);
    }
    Some(PageProfile { linear, bytes, blocks })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (&bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        // inc eax; jmp to itself, and a return.
        let mut code = Box::new([0xc3; PAGE]);
        code[..4].copy_from_slice(&[0xff, 0xc0, 0xeb, 0xfc]);
        let page =
            |linear, bytes: &[u8; PAGE], blocks: &[(u16, u64)]| PageProfile { linear, bytes: Box::new(*bytes), blocks: blocks.to_vec() };
        Profile::new(vec![page(0x5000, &code, &[(0, 100), (4, 1)]), page(0x7000, &[0x90; PAGE], &[(5, 40)])])
    }

    #[test]
    fn a_profile_is_the_same_behind_its_file() {
        let profile = profile();
        assert_eq!(Profile::decode(&profile.encode()), Ok(profile.clone()));
        assert_eq!(Profile::decode(b""), Err(ProfileError::Magic));
        let bytes = profile.encode();
        for cut in MAGIC.len() + 1..bytes.len() {
            let whole = cut == MAGIC.len() + 8 + PAGE + 2 + 10;
            assert!(whole || matches!(Profile::decode(&bytes[..cut]), Err(ProfileError::Damaged { .. })), "cut at {cut}");
        }
        let twice = [bytes.as_slice(), &bytes[MAGIC.len()..]].concat();
        assert_eq!(Profile::decode(&twice), Err(ProfileError::Damaged { at: bytes.len() }));
    }

    #[test]
    fn the_counts_of_equal_pages_are_added() {
        let mut sum = profile();
        sum.add(&profile());
        assert_eq!(sum.pages().iter().map(|page| page.blocks.clone()).collect::<Vec<_>>(), [vec![(5, 80)], vec![(0, 200), (4, 2)]]);
    }

    #[test]
    fn what_is_run_through_counts_for_each_block_in_it() {
        let mut code = Box::new([0xc3; PAGE]);
        // Three times inc eax; from the second on there is another block.
        code[..6].copy_from_slice(&[0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0]);
        let profile = Profile::new(vec![PageProfile { linear: 0, bytes: code, blocks: vec![(0, 10), (2, 5)] }]);
        let found: Vec<_> = profile.weights().map(|weight| (weight.offset, weight.entered, weight.length)).collect();
        assert_eq!(found, [(0, 10, 1), (2, 15, 3)]);
    }

    #[test]
    fn where_the_machine_went_on_by_chance_no_block_begins() {
        // inc eax, three times; a return.
        let mut code = Box::new([0xc3; PAGE]);
        code[..6].copy_from_slice(&[0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0]);
        let lengths = |entered| {
            let profile = Profile::new(vec![PageProfile { linear: 0, bytes: code.clone(), blocks: vec![(0, 1280), (2, entered)] }]);
            profile.weights().map(|weight| (weight.offset, weight.entered, weight.length)).collect::<Vec<_>>()
        };
        assert_eq!(lengths(9), [(0, 1280, 4)]);
        assert_eq!(lengths(10), [(0, 1280, 1), (2, 1290, 3)]);
    }

    #[test]
    fn what_runs_most_is_chosen_first() {
        let (code, chosen) = profile().hottest(10, |_, _| false);
        assert_eq!((code.len(), chosen.instructions, chosen.covered), (1, 2, 200));
        assert_eq!(code[0].blocks, BTreeMap::from([(0, 100)]));
        let (code, chosen) = profile().hottest(1000, |_, _| false);
        assert_eq!(code.len(), 2);
        assert_eq!(chosen.covered, chosen.counted);
        // What is there already is covered, and takes no room.
        let whole = chosen.instructions;
        let (code, chosen) = profile().hottest(1000, |_, offset| offset == 0);
        assert_eq!((chosen.instructions, chosen.covered), (whole - 2, chosen.counted));
        assert!(code.iter().all(|page| !page.blocks.contains_key(&0)));
    }
}
