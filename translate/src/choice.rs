//! What of a profile is worth translating, how much of what ran that is, and how often it would be left.

use std::collections::{BTreeMap, BTreeSet};

use emu::cache::{BlockPlace, Edge, PageProfile};

use crate::code::{End, PAGE, blocks};
use crate::profile::Profile;
use crate::regions::PageCode;

/// What was chosen of a profile, and what that does together with what was there.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Chosen {
    /// Instructions that were chosen.
    pub instructions: usize,
    /// Instructions that the profile counted.
    pub counted: u64,
    /// How many of those are translated.
    pub covered: u64,
    /// How often translated code is left for code that is not, or for an instruction of the interpreter's. What no profile knows is not among them: interrupts,
    /// exceptions, and accesses to memory that the TLB does not know.
    pub exits: u64,
}

impl Chosen {
    /// The share of the counted instructions that are translated: 0 to 1.
    pub fn coverage(&self) -> f64 {
        self.covered as f64 / self.counted.max(1) as f64
    }

    /// Exits per 1,000 translated instructions.
    pub fn exits_per_thousand(&self) -> f64 {
        1000.0 * self.exits as f64 / self.covered.max(1) as f64
    }
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
    /// All blocks.
    pub fn weights(&self) -> impl Iterator<Item = Weight<'_>> {
        self.pages().iter().flat_map(|page| Cut::new(page).weights)
    }

    /// The code that runs most, up to so many instructions besides what is `there`: no block that is left out was entered more often than one that
    /// is chosen, so that translated code is seldom left for the rest.
    pub fn hottest(&self, most: usize, there: impl Fn(&[u8; PAGE], u16) -> bool) -> (Vec<PageCode>, Chosen) {
        let cuts: Vec<Cut<'_>> = self.pages().iter().map(Cut::new).collect();
        let mut all: Vec<(u32, &Weight<'_>)> =
            (0..).zip(&cuts).flat_map(|(page, cut)| cut.weights.iter().map(move |weight| (page, weight))).collect();
        all.sort_by_key(|(page, weight)| (std::cmp::Reverse(weight.entered), *page, weight.offset));
        let counted = all.iter().map(|(_, weight)| weight.instructions).fold(0, u64::saturating_add);
        let mut chosen = Chosen { counted, ..Chosen::default() };
        let mut pages: BTreeMap<u32, BTreeMap<u16, u64>> = BTreeMap::new();
        let mut translated: BTreeSet<BlockPlace> = BTreeSet::new();
        let mut is_full = false;
        for (page, weight) in all {
            if !there(weight.page, weight.offset) {
                is_full |= chosen.instructions + weight.length > most;
                if is_full {
                    continue;
                }
                chosen.instructions += weight.length;
                pages.entry(page).or_default().insert(weight.offset, weight.entered);
            }
            translated.insert((page, weight.offset));
            chosen.covered = chosen.covered.saturating_add(weight.instructions);
        }
        chosen.exits = exits(&cuts, self.edges(), &translated);
        let code = pages.into_iter().map(|(page, blocks)| PageCode { bytes: self.pages()[page as usize].bytes.clone(), blocks });
        (code.collect(), chosen)
    }
}

/// A place in the middle of a block begins one of its own if it was entered at least once in so many times that it was run through. Where the machine stopped
/// for an interrupt or a page fault, it goes on in the middle: to cut there would cost each time what it saves once.
const SELDOM: u64 = 128;

/// A page, cut into blocks where others begin.
struct Cut<'a> {
    weights: Vec<Weight<'a>>,
    /// The machine does not cut its blocks: which of these each of its own runs through.
    runs: BTreeMap<u16, Run>,
}

/// A block of the machine's.
struct Run {
    entered: u64,
    /// Offsets of the blocks that begin in it, ascending.
    blocks: Vec<u16>,
    /// It ends in an instruction that is not translated.
    is_interpreted: bool,
}

impl<'a> Cut<'a> {
    /// What the machine ran through counts for each of its parts.
    fn new(page: &'a PageProfile) -> Self {
        let mut leaders: BTreeSet<u16> = page.blocks.iter().map(|&(offset, _)| offset).collect();
        let mut runs = BTreeMap::new();
        let mut sums: BTreeMap<u16, u64> = BTreeMap::new();
        for &(start, entered) in &page.blocks {
            let Some(whole) = blocks(&page.bytes, &BTreeSet::from([start])).pop() else { continue };
            let places = whole.instructions.iter().map(|ins| start + ins.op.offset);
            let blocks: Vec<u16> = places.filter(|place| leaders.contains(place)).collect();
            for &block in &blocks {
                let sum = sums.entry(block).or_default();
                *sum = sum.saturating_add(entered);
            }
            runs.insert(start, Run { entered, blocks, is_interpreted: matches!(whole.end, End::Interpreted { .. }) });
        }
        let sum = |offset: u16| sums.get(&offset).copied().unwrap_or_default();
        for &(offset, own) in &page.blocks {
            let all = sum(offset);
            if own.saturating_mul(SELDOM) < all - own.min(all) {
                leaders.remove(&offset);
            }
        }
        runs.values_mut().for_each(|run| run.blocks.retain(|block| leaders.contains(block)));
        let weights = blocks(&page.bytes, &leaders).into_iter().map(|block| {
            let (entered, length) = (sum(block.offset), block.instructions.len());
            let instructions = entered.saturating_mul(length as u64);
            Weight { linear: page.linear, page: &page.bytes, offset: block.offset, entered, length, instructions }
        });
        Self { weights: weights.collect(), runs }
    }
}

/// How often code that is `translated` is left for other code.
fn exits(cuts: &[Cut<'_>], edges: &[Edge], translated: &BTreeSet<BlockPlace>) -> u64 {
    let mut exits = 0_u64;
    // The machine's blocks that begin in translated code, and those that end there.
    let (mut begins, mut ends) = (BTreeSet::new(), BTreeSet::new());
    for (page, cut) in (0..).zip(cuts) {
        for (&start, run) in &cut.runs {
            let mut is_inside = false;
            for &block in &run.blocks {
                let was_inside = std::mem::replace(&mut is_inside, translated.contains(&(page, block)));
                if is_inside && block == start {
                    begins.insert((page, start));
                }
                if was_inside && !is_inside {
                    exits = exits.saturating_add(run.entered);
                }
            }
            match (is_inside, run.is_interpreted) {
                (true, true) => exits = exits.saturating_add(run.entered),
                (true, false) => _ = ends.insert((page, start)),
                (false, _) => {}
            }
        }
    }
    let left = edges.iter().filter(|edge| ends.contains(&edge.from) && !begins.contains(&edge.to));
    left.map(|edge| edge.count).fold(exits, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu::cache::Counts;

    fn page(code: &[(usize, &[u8])], blocks: &[(u16, u64)]) -> PageProfile {
        let mut bytes = Box::new([0xc3; PAGE]);
        code.iter().for_each(|(at, code)| bytes[*at..][..code.len()].copy_from_slice(code));
        PageProfile { linear: 0, bytes, blocks: blocks.to_vec() }
    }

    fn without_edges(pages: Vec<PageProfile>) -> Profile {
        Profile::new(Counts { pages, edges: Vec::new() })
    }

    #[test]
    fn what_is_run_through_counts_for_each_block_in_it() {
        // Three times inc eax; from the second on there is another block.
        let page = page(&[(0, &[0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0])], &[(0, 10), (2, 5)]);
        let profile = without_edges(vec![page]);
        let found: Vec<_> = profile.weights().map(|weight| (weight.offset, weight.entered, weight.length)).collect();
        assert_eq!(found, [(0, 10, 1), (2, 15, 3)]);
    }

    #[test]
    fn where_the_machine_went_on_by_chance_no_block_begins() {
        // inc eax, three times; a return.
        let lengths = |entered| {
            let profile = without_edges(vec![page(&[(0, &[0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0])], &[(0, 1280), (2, entered)])]);
            profile.weights().map(|weight| (weight.offset, weight.entered, weight.length)).collect::<Vec<_>>()
        };
        assert_eq!(lengths(9), [(0, 1280, 4)]);
        assert_eq!(lengths(10), [(0, 1280, 1), (2, 1290, 3)]);
    }

    #[test]
    fn what_runs_most_is_chosen_first() {
        // inc eax; jmp to itself; and a return.
        let loop_and_return = page(&[(0, &[0xff, 0xc0, 0xeb, 0xfc])], &[(0, 100), (4, 1)]);
        let profile = without_edges(vec![loop_and_return, page(&[(0, &[0x90; PAGE])], &[(5, 40)])]);
        let (code, chosen) = profile.hottest(10, |_, _| false);
        assert_eq!((code.len(), chosen.instructions, chosen.covered), (1, 2, 200));
        assert_eq!(code[0].blocks, BTreeMap::from([(0, 100)]));
        let (code, chosen) = profile.hottest(1000, |_, _| false);
        assert_eq!(code.len(), 2);
        assert_eq!(chosen.covered, chosen.counted);
        // What is there already is covered, and takes no room.
        let whole = chosen.instructions;
        let (code, chosen) = profile.hottest(1000, |_, offset| offset == 0);
        assert_eq!((chosen.instructions, chosen.covered), (whole - 2, chosen.counted));
        assert!(code.iter().all(|page| !page.blocks.contains_key(&0)));
    }

    /// A loop with two entries, one in the middle of the other's block, a cold way out of it, and an instruction that is the interpreter's.
    fn with_edges() -> Profile {
        let code: [(usize, &[u8]); 4] = [
            // inc eax; inc eax; jmp to 0x10.
            (0, &[0xff, 0xc0, 0xff, 0xc0, 0xeb, 0x0a]),
            // dec eax; syscall; ret.
            (0x10, &[0xff, 0xc8, 0x0f, 0x05, 0xc3]),
            // nop; ret.
            (0x20, &[0x90, 0xc3]),
            // inc eax; jrcxz to 0x36; ret; nop; ret.
            (0x30, &[0xff, 0xc0, 0xe3, 0x02, 0xc3, 0x90, 0xc3]),
        ];
        let blocks = [(0, 100), (2, 7), (0x10, 107), (0x14, 107), (0x20, 40), (0x30, 9), (0x34, 4), (0x36, 5)];
        let edges =
            [(0, 0x10, 100), (2, 0x10, 7), (0x14, 0, 60), (0x14, 2, 7), (0x14, 0x20, 40), (0x20, 0, 40), (0x30, 0x34, 4), (0x30, 0x36, 5)];
        let edges = edges.map(|(from, to, count)| Edge { from: (0, from), to: (0, to), count });
        Profile::new(Counts { pages: vec![page(&code, &blocks)], edges: edges.to_vec() })
    }

    #[test]
    fn exits_are_the_ways_from_what_is_translated_to_what_is_not() {
        let profile = with_edges();
        let exits = |there: &[u16]| {
            let (code, chosen) = profile.hottest(0, |_, offset| there.contains(&offset));
            assert!(code.is_empty());
            (chosen.covered, chosen.exits)
        };
        // From a block into the next, in the machine's own block; by an edge; by both of two edges.
        assert_eq!(exits(&[0]), (100, 100));
        assert_eq!(exits(&[2]), (214, 107));
        assert_eq!(exits(&[0x20]), (80, 40));
        assert_eq!(exits(&[0, 2]), (314, 107));
        // Not by an edge to what is translated, too; and a block in which only the second part is, is not entered there.
        assert_eq!(exits(&[0x14, 0x20]), (107 + 80, 60 + 7 + 40));
        assert_eq!(exits(&[0x14, 2]), (107 + 214, 60 + 40 + 107));
        // An instruction of the interpreter's, once each time, wherever it leads.
        assert_eq!(exits(&[0x10]), (107, 107));
        assert_eq!(exits(&[0x30]), (9, 9));
        assert_eq!(exits(&[0x30, 0x34, 0x36]), (9 + 4 + 5, 9));
    }

    #[test]
    fn what_is_chosen_is_left_as_often_as_its_exits_say() {
        // The three blocks that were entered 107 times, of four instructions.
        let (_, chosen) = with_edges().hottest(4, |_, _| false);
        assert_eq!((chosen.instructions, chosen.covered, chosen.exits), (4, 214 + 107 + 107, 107 + 60 + 40));
        assert_eq!((chosen.coverage(), chosen.exits_per_thousand()), (428.0 / chosen.counted as f64, 207_000.0 / 428.0));
        let (_, all) = with_edges().hottest(1000, |_, _| false);
        assert_eq!((all.coverage(), all.exits), (1.0, 107 + 9));
        assert_eq!((Chosen::default().coverage(), Chosen::default().exits_per_thousand()), (0.0, 0.0));
    }
}
