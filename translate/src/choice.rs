//! What of a profile is worth translating, how much of what ran that is, and how often it would be left.

use std::collections::{BTreeMap, BTreeSet};

use emu::cache::PageProfile;

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

    /// The code that is worth most, up to so many instructions besides what is `there`. First that is what was entered most. Then all is chosen anew by what
    /// each block saves beside what is chosen so far, exits included, as long as the guest runs faster by it.
    pub fn hottest(&self, most: usize, there: impl Fn(&[u8; PAGE], u16) -> bool) -> (Vec<PageCode>, Chosen) {
        let flow = Flow::of(self);
        let there: Vec<bool> = flow.0.iter().map(|node| there(node.weight.page, node.weight.offset)).collect();
        let mut inside = flow.first(&there, most, |number| flow.0[number].weight.entered.into());
        let mut time = flow.time(&inside);
        for _ in 0..ROUNDS {
            let others = flow.first(&there, most, |number| flow.saves(number, &inside));
            let faster = flow.time(&others);
            if faster >= time {
                break;
            }
            (inside, time) = (others, faster);
        }
        let mut chosen = Chosen { exits: flow.exits(&inside), ..Chosen::default() };
        let mut pages: BTreeMap<u32, BTreeMap<u16, u64>> = BTreeMap::new();
        for ((node, inside), there) in flow.0.iter().zip(inside).zip(there) {
            let Weight { offset, entered, length, instructions, .. } = node.weight;
            chosen.counted = chosen.counted.saturating_add(instructions);
            if inside {
                chosen.covered = chosen.covered.saturating_add(instructions);
            }
            if inside && !there {
                chosen.instructions += length;
                pages.entry(node.page).or_default().insert(offset, entered);
            }
        }
        let code = pages.into_iter().map(|(page, blocks)| PageCode { bytes: self.pages()[page as usize].bytes.clone(), blocks });
        (code.collect(), chosen)
    }
}

/// How often is chosen anew at most. Three to five times are enough for what was measured.
const ROUNDS: usize = 8;
/// What an instruction takes in the interpreter, if it takes 1 once it is translated.
const INTERPRETED: u64 = 4;
/// What an exit takes, with the way back: ten interpreted instructions.
const EXIT: u64 = 10 * INTERPRETED;

/// A block, and what it goes on with.
struct Node<'a> {
    page: u32,
    weight: Weight<'a>,
    /// How often it came to an instruction that is not translated.
    interpreted: u64,
    /// How often it went on with others, by their numbers; `None` is what is none of them.
    next: Vec<(Option<usize>, u64)>,
    /// How often others went on with it.
    before: Vec<(usize, u64)>,
}

/// All blocks of a profile, by pages and offsets.
struct Flow<'a>(Vec<Node<'a>>);

impl<'a> Flow<'a> {
    fn of(profile: &'a Profile) -> Self {
        let cuts: Vec<Cut<'_>> = profile.pages().iter().map(Cut::new).collect();
        let mut nodes = Vec::new();
        let mut numbers = BTreeMap::new();
        for (page, cut) in (0..).zip(&cuts) {
            for &weight in &cut.weights {
                numbers.insert((page, weight.offset), nodes.len());
                nodes.push(Node { page, weight, interpreted: 0, next: Vec::new(), before: Vec::new() });
            }
        }
        let mut flow = Self(nodes);
        // The first and the last block of each of the machine's, unless that begins or ends with something else.
        let (mut first, mut last) = (BTreeMap::new(), BTreeMap::new());
        for (page, cut) in (0..).zip(&cuts) {
            for (&start, run) in &cut.runs {
                let number = |offset| numbers.get(&(page, offset)).copied();
                let inside: Vec<usize> = run.blocks.iter().copied().filter_map(number).collect();
                inside.windows(2).for_each(|pair| flow.lead(pair[0], Some(pair[1]), run.entered));
                if run.blocks.first() == Some(&start) {
                    first.insert((page, start), inside[0]);
                }
                match inside.last() {
                    Some(&end) if run.is_interpreted => increase(&mut flow.0[end].interpreted, run.entered),
                    Some(&end) => _ = last.insert((page, start), end),
                    None => {}
                }
            }
        }
        for edge in profile.edges() {
            if let Some(&from) = last.get(&edge.from) {
                flow.lead(from, first.get(&edge.to).copied(), edge.count);
            }
        }
        flow
    }

    fn lead(&mut self, from: usize, to: Option<usize>, count: u64) {
        self.0[from].next.push((to, count));
        if let Some(to) = to {
            self.0[to].before.push((from, count));
        }
    }

    /// What is `there`, and the blocks of most `worth` for each instruction, as long as there is room.
    fn first(&self, there: &[bool], most: usize, worth: impl Fn(usize) -> i128) -> Vec<bool> {
        let mut inside = there.to_vec();
        let mut others: Vec<(i128, usize)> =
            (0..there.len()).filter(|&number| !there[number]).map(|number| (-worth(number), number)).collect();
        others.sort_unstable();
        let mut left = most;
        for (_, number) in others {
            let length = self.0[number].weight.length;
            if (1..=left).contains(&length) {
                left -= length;
                inside[number] = true;
            }
        }
        inside
    }

    /// How often code that is `inside` is left.
    fn exits(&self, inside: &[bool]) -> u64 {
        let left = self.0.iter().zip(inside).filter(|&(_, &is_inside)| is_inside).map(|(node, _)| {
            let outside = node.next.iter().filter(|(to, _)| to.is_none_or(|to| !inside[to]));
            outside.map(|&(_, count)| count).fold(node.interpreted, u64::saturating_add)
        });
        left.fold(0, u64::saturating_add)
    }

    /// What all that ran takes, if what is `inside` is translated.
    fn time(&self, inside: &[bool]) -> u128 {
        let own = self.0.iter().zip(inside).map(|(node, &is_inside)| {
            let each = if is_inside { 1 } else { INTERPRETED };
            u128::from(node.weight.instructions) * u128::from(each)
        });
        own.sum::<u128>() + u128::from(self.exits(inside)) * u128::from(EXIT)
    }

    /// What a block saves for each of its instructions by being inside, beside what is.
    fn saves(&self, number: usize, inside: &[bool]) -> i128 {
        let Node { weight, interpreted, next, before, .. } = &self.0[number];
        let is_other = |other: usize| other != number;
        let sum = |counts: &mut dyn Iterator<Item = u64>| counts.map(i128::from).sum::<i128>();
        let saved = sum(&mut before.iter().filter(|&&(from, _)| is_other(from) && inside[from]).map(|&(_, count)| count));
        let more = sum(&mut next.iter().filter(|(to, _)| to.is_none_or(|to| is_other(to) && !inside[to])).map(|&(_, count)| count));
        let exits = saved - more - i128::from(*interpreted);
        let own = i128::from(weight.instructions) * i128::from(INTERPRETED - 1);
        // In units that tell blocks of any length apart.
        ((own + exits * i128::from(EXIT)) << 16) / weight.length.max(1) as i128
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
                increase(sums.entry(block).or_default(), entered);
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

fn increase(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use emu::cache::{Counts, Edge};

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
        assert_eq!((code.len(), chosen.instructions, chosen.covered), (1, 3, 201), "what is too long leaves room for the rest");
        assert_eq!(code[0].blocks, BTreeMap::from([(0, 100), (4, 1)]));
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

    /// Entered most is what leads nowhere that is chosen: the loop is worth more, whose two blocks lead to each other.
    #[test]
    fn what_would_be_left_at_once_is_not_chosen() {
        // nop; jmp to 0x10. nop; jmp to 0. And three times nop; jmp to itself; ret, between long ones.
        let code: [(usize, &[u8]); 4] =
            [(0, &[0x90, 0xeb, 0x0d]), (0x10, &[0x90, 0xeb, 0xed]), (0x20, &[0x90, 0xc3]), (0x40, &[0x90; 0x20])];
        let blocks = [(0, 100), (0x10, 99), (0x20, 101), (0x40, 101)];
        let edges = [(0, 0x10, 99), (0x10, 0, 99), (0x20, 0x40, 101), (0x40, 0x20, 100)];
        let edges = edges.map(|(from, to, count)| Edge { from: (0, from), to: (0, to), count });
        let mut profile = without_edges(vec![page(&code, &blocks)]);
        let found = |profile: &Profile| {
            let (code, chosen) = profile.hottest(4, |_, _| false);
            (code[0].blocks.keys().copied().collect::<Vec<_>>(), chosen.exits)
        };
        assert_eq!(found(&profile), (vec![0, 0x20], 0), "what no edge speaks against");
        profile = Profile::new(Counts { pages: profile.pages().to_vec(), edges: edges.to_vec() });
        assert_eq!(found(&profile), (vec![0, 0x10], 0));
    }

    #[test]
    fn ways_to_the_middle_of_a_block_and_to_what_is_none_are_exits() {
        // Twice inc eax; jmp to 0x10. nop; ret. And an instruction whose rest is on the next page.
        let code: [(usize, &[u8]); 3] = [(0, &[0xff, 0xc0, 0xff, 0xc0, 0xeb, 0x0a]), (0x10, &[0x90, 0xc3]), (0xfff, &[0x0f])];
        // The second inc was entered by chance, the jump often.
        let blocks = [(0, 1280), (2, 1), (4, 500), (0x10, 1781), (0xfff, 3)];
        let edges = [(0, 0x10, 1280), (2, 0x10, 1), (4, 0x10, 500), (0x10, 2, 1), (0x10, 0xfff, 3)];
        let edges = edges.map(|(from, to, count)| Edge { from: (0, from), to: (0, to), count });
        let profile = Profile::new(Counts { pages: vec![page(&code, &blocks)], edges: edges.to_vec() });
        let (code, chosen) = profile.hottest(1000, |_, _| false);
        assert_eq!((code[0].blocks.keys().copied().collect::<Vec<_>>(), chosen.exits), (vec![0, 4, 0x10], 1 + 3));
    }

    #[test]
    fn shares_are_of_what_ran_and_exits_of_what_is_translated() {
        let (_, all) = with_edges().hottest(1000, |_, _| false);
        assert_eq!((all.covered, all.counted, all.exits), (626, 626, 107 + 9));
        assert_eq!((all.coverage(), all.exits_per_thousand()), (1.0, 116_000.0 / 626.0));
        let (_, part) = with_edges().hottest(0, |_, offset| [0x14, 2].contains(&offset));
        assert_eq!((part.coverage(), part.exits_per_thousand()), (321.0 / 626.0, 207_000.0 / 321.0));
        assert_eq!((Chosen::default().coverage(), Chosen::default().exits_per_thousand()), (0.0, 0.0));
    }
}
