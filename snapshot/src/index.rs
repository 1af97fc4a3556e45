//! The page index: which groups of pages are in the file, where, and what their digests are.

use crate::bytes::Fields;
use crate::error::Part;
use crate::pages::{GROUP_SIZE, PageSet, Ram, digest_group};
use crate::{Digest, Error};
use std::ops::Range;

/// Bytes of an entry of the index.
pub(crate) const GROUP_ENTRY_LEN: usize = 48;
/// Runs that the page area of a snapshot may fall into, and so the mappings that a restore takes.
pub const MAX_RUNS: usize = 250;

/// The address space that holds guest RAM. Others are specified, and come with feature bits that are refused earlier.
const SPACE_RAM: u16 = 0;
/// Where a snapshot has no base, a group says something about all of its pages.
const COVERED_ALL: u16 = u16::MAX;

/// A group of pages of which at least one is not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// Guest-physical address divided by [`GROUP_SIZE`].
    pub number: u32,
    /// The pages that are not all zero.
    pub present: PageSet,
    /// Where the group is in the page area, in groups.
    pub slot: u32,
    /// Digest of the pages that are present.
    pub digest: Digest,
}

impl Group {
    pub const fn guest_address(&self) -> u64 {
        self.number as u64 * GROUP_SIZE as u64
    }

    pub fn encode(&self, index: &mut Vec<u8>) {
        index.extend(SPACE_RAM.to_le_bytes());
        index.extend(COVERED_ALL.to_le_bytes());
        index.extend(self.present.0.to_le_bytes());
        index.extend(0_u16.to_le_bytes());
        index.extend(self.number.to_le_bytes());
        index.extend(self.slot.to_le_bytes());
        index.extend(self.digest.as_bytes());
    }

    fn decode(bytes: &[u8; GROUP_ENTRY_LEN]) -> Result<Self, Error> {
        let mut fields = Fields::new(bytes);
        let space = fields.u16();
        let covered = fields.u16();
        let present = PageSet(fields.u16());
        let reserved = fields.u16();
        let number = fields.u32();
        let slot = fields.u32();
        let digest = Digest::from_bytes(fields.array());
        if (space, covered, reserved) != (SPACE_RAM, COVERED_ALL, 0) || present == PageSet::EMPTY {
            return Err(Error::malformed(Part::Index, format!("the entry of group {number} is not one of a whole snapshot of RAM")));
        }
        Ok(Self { number, present, slot, digest })
    }
}

/// Each group with the one after it.
fn neighbours(groups: &[Group]) -> impl Iterator<Item = (&Group, &Group)> {
    groups.iter().zip(groups.iter().skip(1))
}

/// A stretch of guest memory whose bytes stand in the file in the same order: one mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where it begins in guest memory: a multiple of [`GROUP_SIZE`].
    pub guest_address: u64,
    /// Where it begins in the file: a multiple of [`GROUP_SIZE`].
    pub file_offset: u64,
    /// Its bytes: a multiple of [`GROUP_SIZE`], not 0.
    pub len: u64,
}

/// The groups of `ram` that hold something, without places.
pub(crate) fn scan(ram: Ram<'_>) -> Vec<Group> {
    let mut groups = Vec::new();
    for (number, bytes) in ram.groups().iter().enumerate() {
        let present = ram.present(number);
        if present != PageSet::EMPTY {
            groups.push(Group { number: number as u32, present, slot: 0, digest: digest_group(bytes, present) });
        }
    }
    groups
}

/// Gives every group its slot and returns how many slots there are. Gaps between groups are closed, but for the
/// smallest ones if there would be more than [`MAX_RUNS`] runs: those are kept, as holes in the file.
pub(crate) fn place(groups: &mut [Group]) -> u32 {
    let gap = |first: &Group, second: &Group| second.number - first.number - 1;
    let mut gaps: Vec<u32> = neighbours(groups).map(|(first, second)| gap(first, second)).filter(|&gap| gap != 0).collect();
    // With n gaps closed there are n + 1 runs, so the largest MAX_RUNS - 1 may be closed.
    gaps.sort_unstable_by_key(|&gap| std::cmp::Reverse(gap));
    let keep_up_to = gaps.get(MAX_RUNS - 1).copied().unwrap_or(0);

    let mut previous: Option<Group> = None;
    for group in groups.iter_mut() {
        group.slot = match &previous {
            None => 0,
            Some(previous) => {
                let gap = gap(previous, group);
                previous.slot + 1 + if gap <= keep_up_to { gap } else { 0 }
            }
        };
        previous = Some(*group);
    }
    previous.map_or(0, |last| last.slot + 1)
}

/// The index's bytes.
pub(crate) fn encode_index(groups: &[Group]) -> Vec<u8> {
    let mut index = Vec::with_capacity(groups.len() * GROUP_ENTRY_LEN);
    groups.iter().for_each(|group| group.encode(&mut index));
    index
}

/// The groups of an index whose digest was verified. They lie in `ram_size` bytes of memory and fill `slot_count` slots.
pub(crate) fn decode_index(index: &[u8], ram_size: u64, slot_count: u32) -> Result<Vec<Group>, Error> {
    let (entries, _) = index.as_chunks::<GROUP_ENTRY_LEN>();
    let groups: Vec<Group> = entries.iter().map(Group::decode).collect::<Result<_, _>>()?;

    if let Some((first, second)) = neighbours(&groups).find(|(first, second)| first.number >= second.number) {
        return Err(Error::malformed(Part::Index, format!("group {} follows {}", second.number, first.number)));
    }
    if let Some(last) = groups.last().filter(|last| last.guest_address() >= ram_size) {
        return Err(Error::malformed(Part::Index, format!("group {} lies beyond {ram_size} bytes of RAM", last.number)));
    }
    let misplaced =
        |group: &Group| Error::malformed(Part::Index, format!("group {} is in slot {}, out of order", group.number, group.slot));
    if let Some(first) = groups.first().filter(|first| first.slot != 0) {
        return Err(misplaced(first));
    }
    for (first, second) in neighbours(&groups) {
        let step = second.slot.checked_sub(first.slot).ok_or_else(|| misplaced(second))?;
        if step != 1 && step != second.number - first.number {
            return Err(misplaced(second));
        }
    }
    let slots = groups.last().map_or(0, |last| u64::from(last.slot) + 1);
    if slots != u64::from(slot_count) {
        return Err(Error::malformed(Part::Index, format!("the groups fill {slots} slots, but there are {slot_count}")));
    }
    let runs = runs(&groups, 0).count();
    if runs > MAX_RUNS {
        return Err(Error::malformed(Part::Index, format!("the pages are in {runs} runs, at most {MAX_RUNS} are allowed")));
    }
    Ok(groups)
}

/// The runs that `groups` form in a page area at `pages_offset` of the file.
pub(crate) fn runs(groups: &[Group], pages_offset: u64) -> impl Iterator<Item = Run> {
    groups.chunk_by(|first, second| second.slot - first.slot == second.number - first.number).map(move |run| {
        let Range { start, end } = slots(run);
        Run {
            guest_address: run[0].guest_address(),
            file_offset: pages_offset + u64::from(start) * GROUP_SIZE as u64,
            len: u64::from(end - start) * GROUP_SIZE as u64,
        }
    })
}

/// The slots from the first of `groups` to the last.
fn slots(groups: &[Group]) -> Range<u32> {
    groups.first().map_or(0, |first| first.slot)..groups.last().map_or(0, |last| last.slot + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(numbers: impl IntoIterator<Item = u32>) -> Vec<Group> {
        let group = |number| Group { number, present: PageSet(1), slot: 0, digest: Digest::of(b"page") };
        numbers.into_iter().map(group).collect()
    }

    fn slots_of(groups: &[Group]) -> Vec<u32> {
        groups.iter().map(|group| group.slot).collect()
    }

    #[test]
    fn few_gaps_are_all_closed() {
        let mut some = groups([2, 3, 10, 1000]);
        assert_eq!(place(&mut some), 4);
        assert_eq!(slots_of(&some), [0, 1, 2, 3]);
        assert_eq!(place(&mut []), 0);
    }

    #[test]
    fn as_many_runs_as_allowed_leave_no_hole() {
        let mut spread = groups((0..MAX_RUNS as u32).map(|n| n * 2));
        assert_eq!(place(&mut spread), MAX_RUNS as u32);
        assert_eq!(runs(&spread, 0).count(), MAX_RUNS);
    }

    #[test]
    fn the_smallest_gaps_become_holes_where_there_would_be_too_many_runs() {
        // Gaps of 1, 2, 1, 2, …: 199 of each, of which those of 2 may be closed.
        let mut spread = groups((0..399_u32).map(|n| n / 2 * 5 + n % 2 * 2));
        assert_eq!(place(&mut spread), 399 + 199);
        assert_eq!(runs(&spread, 0).count(), 200);
        let index = encode_index(&spread);
        assert_eq!(decode_index(&index, 64 << 20, 399 + 199).unwrap(), spread);
    }

    #[test]
    fn entries_out_of_order_or_place_are_refused() {
        let refused = |change: fn(&mut Vec<Group>), ram_size, slot_count| {
            let mut groups = groups([1, 2, 5, 6]);
            place(&mut groups);
            change(&mut groups);
            decode_index(&encode_index(&groups), ram_size, slot_count).map_err(|error| error.kind())
        };
        let enough = 7 * GROUP_SIZE as u64;
        assert!(refused(|_| (), enough, 4).is_ok());
        assert!(refused(|groups| groups[2..].iter_mut().for_each(|group| group.slot += 2), enough, 6).is_ok());

        assert_eq!(refused(|_| (), 6 * GROUP_SIZE as u64, 4), Err("malformed"));
        assert_eq!(refused(|_| (), enough, 5), Err("malformed"));
        assert_eq!(refused(|groups| groups[3].number = 5, enough, 4), Err("malformed"));
        assert_eq!(refused(|groups| groups.swap(0, 1), enough, 4), Err("malformed"));
        assert_eq!(refused(|groups| groups[3].slot = 2, enough, 3), Err("malformed"));
        assert_eq!(refused(|groups| groups[3].slot = 1, enough, 2), Err("malformed"));
        assert_eq!(refused(|groups| groups[3].slot = 4, enough, 5), Err("malformed"));
        assert_eq!(refused(|groups| groups.iter_mut().for_each(|group| group.slot += 1), enough, 5), Err("malformed"));
        assert_eq!(refused(|groups| groups[1].present = PageSet::EMPTY, enough, 4), Err("malformed"));
    }

    #[test]
    fn too_many_runs_are_refused() {
        let mut spread = groups((0..=MAX_RUNS as u32).map(|n| n * 2));
        for (slot, group) in (0..).zip(&mut spread) {
            group.slot = slot;
        }
        let error = decode_index(&encode_index(&spread), 64 << 20, MAX_RUNS as u32 + 1).unwrap_err();
        assert_eq!(error.kind(), "malformed");
    }
}
