//! Which blocks of a page become one function.

use std::collections::BTreeMap;

use crate::code::{CodeBlock, End, PAGE, Target, blocks};

/// Most instructions of a region, with [`FRAME`] more for each block: compiling takes more than its share for those that are larger, and blocks
/// are written one inside of another.
const MOST: usize = 1500;
/// See [`MOST`].
const FRAME: usize = 3;

/// Code of one page that is to be translated.
pub struct PageCode {
    /// What stands on the page.
    pub bytes: Box<[u8; PAGE]>,
    /// Offsets of the blocks that are worth it, and how often each was entered.
    pub blocks: BTreeMap<u16, u64>,
}

/// The blocks of a page, by regions: those that lead to one another, as long as they are not too many.
pub fn regions(page: &PageCode) -> Vec<Vec<CodeBlock>> {
    // A block that is left at its first instruction does nothing.
    let leaders = page.blocks.keys().copied().collect();
    let mut all = blocks(&page.bytes, &leaders);
    all.retain(|block| !block.instructions.is_empty());
    all.iter_mut().for_each(|block| block.entered = page.blocks.get(&block.offset).copied().unwrap_or_default());
    let by_offset: BTreeMap<Target, usize> = all.iter().enumerate().map(|(number, block)| (block.offset.into(), number)).collect();
    let mut groups = Groups { of: (0..all.len()).collect(), sizes: all.iter().map(|block| block.instructions.len() + FRAME).collect() };
    for (number, block) in all.iter().enumerate() {
        for target in ways(block.end) {
            if let Some(&other) = by_offset.get(&target) {
                groups.join(number, other);
            }
        }
    }
    let mut regions: BTreeMap<usize, Vec<CodeBlock>> = BTreeMap::new();
    for (number, block) in all.into_iter().enumerate() {
        regions.entry(groups.find(number)).or_default().push(block);
    }
    regions.into_values().collect()
}

fn ways(end: End) -> Vec<Target> {
    match end {
        End::Next(target) | End::Jump(target) => vec![target],
        End::Branch { taken, next } => vec![taken, next],
        End::Call { target, back } => vec![back, target],
        End::CallIndirect { back } => vec![back],
        End::Interpreted { next, .. } => vec![next],
        End::JumpIndirect | End::Return => Vec::new(),
    }
}

/// Disjoint sets.
struct Groups {
    of: Vec<usize>,
    sizes: Vec<usize>,
}

impl Groups {
    fn find(&mut self, mut number: usize) -> usize {
        while self.of[number] != number {
            self.of[number] = self.of[self.of[number]];
            number = self.of[number];
        }
        number
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        if one != other && self.sizes[one] + self.sizes[other] <= MOST {
            self.of[other] = one;
            self.sizes[one] += self.sizes[other];
        }
    }
}
