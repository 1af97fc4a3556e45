//! The page index: which groups of pages are in the file, where, and what their digests are.

use crate::bytes::Fields;
use crate::error::Part;
use crate::pages::{GROUP_SIZE, Memory, PageSet, Space, digest_group};
use crate::{Digest, Error};
use std::ops::Range;

/// Bytes of an entry of the index.
pub(crate) const GROUP_ENTRY_LEN: usize = 48;
/// Runs that the pages of one space may fall into, and so the mappings that a restore of it takes.
pub const MAX_RUNS: usize = 250;
/// Bytes of the longest frame of the travelling form: what zstd makes of a group that it cannot compress.
const MAX_FRAME_LEN: u32 = 65_824;

/// A group of pages that a snapshot says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// The memory that it is a part of.
    pub space: Space,
    /// Its address there, divided by [`GROUP_SIZE`].
    pub number: u32,
    /// The pages that it says something about: all, where there is no base.
    pub covered: PageSet,
    /// Those of them that are not all zero.
    pub present: PageSet,
    /// Where the group is in the page area, in groups. In the travelling form, the bytes of its frame.
    pub slot: u32,
    /// Digest of the pages that are present, one after the other.
    pub digest: Digest,
}

impl Group {
    pub const fn address(&self) -> u64 {
        self.number as u64 * GROUP_SIZE as u64
    }

    /// The address of what follows it in its space.
    pub const fn end(&self) -> u64 {
        self.address() + GROUP_SIZE as u64
    }

    pub fn encode(&self, index: &mut Vec<u8>) {
        index.extend(self.space.number().to_le_bytes());
        index.extend(self.covered.0.to_le_bytes());
        index.extend(self.present.0.to_le_bytes());
        index.extend(0_u16.to_le_bytes());
        index.extend(self.number.to_le_bytes());
        index.extend(self.slot.to_le_bytes());
        index.extend(self.digest.as_bytes());
    }

    fn decode(bytes: &[u8; GROUP_ENTRY_LEN], is_delta: bool) -> Result<Self, Error> {
        let mut fields = Fields::new(bytes);
        let space = Space::of_number(fields.u16());
        let covered = PageSet(fields.u16());
        let present = PageSet(fields.u16());
        let reserved = fields.u16();
        let number = fields.u32();
        let slot = fields.u32();
        let digest = Digest::from_bytes(fields.array());
        let (is_possible, kind) = match is_delta {
            false => (covered == PageSet::ALL && present != PageSet::EMPTY, "whole snapshot"),
            true => (covered != PageSet::EMPTY && present.is_within(covered), "delta"),
        };
        if !is_possible || reserved != 0 {
            return Err(Error::malformed(Part::Index, format!("the entry of group {number} of {space} is not one of a {kind}")));
        }
        Ok(Self { space, number, covered, present, slot, digest })
    }
}

/// Each group with the one after it.
fn neighbours(groups: &[Group]) -> impl Iterator<Item = (&Group, &Group)> {
    groups.iter().zip(groups.iter().skip(1))
}

/// A stretch of memory whose bytes stand in the file in the same order: one mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where it begins in its space: a multiple of [`GROUP_SIZE`].
    pub address: u64,
    /// Where it begins in the file: a multiple of [`GROUP_SIZE`].
    pub file_offset: u64,
    /// Its bytes: a multiple of [`GROUP_SIZE`], not 0.
    pub len: u64,
}

/// The groups of `memory` that hold something, without places.
#[expect(clippy::cast_possible_truncation, reason = "a space is bounded, so its groups have numbers of 32 bits")]
pub(crate) fn scan(memory: &Memory<'_>) -> Vec<Group> {
    let mut groups = Vec::new();
    for (space, pages) in memory.spaces() {
        for (number, bytes) in pages.groups() {
            let present = pages.present(number);
            if present != PageSet::EMPTY {
                groups.push(Group {
                    space,
                    number: number as u32,
                    covered: PageSet::ALL,
                    present,
                    slot: 0,
                    digest: digest_group(bytes, present),
                });
            }
        }
    }
    groups
}

/// Gives every group its slot and returns how many slots there are. Gaps between the groups of a space are closed, but for
/// the smallest ones if it would have more than [`MAX_RUNS`] runs: those are kept, as holes in the file.
pub(crate) fn place(groups: &mut [Group]) -> u32 {
    groups.chunk_by_mut(|first, second| first.space == second.space).fold(0, |slot, space| place_space(space, slot))
}

/// Places the groups of one space from `slot` on, and returns the first slot behind them.
fn place_space(groups: &mut [Group], slot: u32) -> u32 {
    let gap = |first: &Group, second: &Group| second.number - first.number - 1;
    let mut gaps: Vec<u32> = neighbours(groups).map(|(first, second)| gap(first, second)).filter(|&gap| gap != 0).collect();
    // With n gaps closed there are n + 1 runs, so the largest MAX_RUNS - 1 may be closed.
    gaps.sort_unstable_by_key(|&gap| std::cmp::Reverse(gap));
    let keep_up_to = gaps.get(MAX_RUNS - 1).copied().unwrap_or(0);

    let mut previous: Option<Group> = None;
    for group in groups.iter_mut() {
        group.slot = match &previous {
            None => slot,
            Some(previous) => {
                let gap = gap(previous, group);
                previous.slot + 1 + if gap <= keep_up_to { gap } else { 0 }
            }
        };
        previous = Some(*group);
    }
    previous.map_or(slot, |last| last.slot + 1)
}

/// Gives the groups of a delta their slots, one after the other, and returns how many there are.
#[expect(clippy::cast_possible_truncation, reason = "there are fewer groups than a u32 numbers: RAM and disks are bounded")]
pub(crate) fn place_delta(groups: &mut [Group]) -> u32 {
    (0..).zip(groups.iter_mut()).for_each(|(slot, group)| group.slot = slot);
    groups.len() as u32
}

/// The index's bytes.
pub(crate) fn encode_index(groups: &[Group]) -> Vec<u8> {
    let mut index = Vec::with_capacity(groups.len() * GROUP_ENTRY_LEN);
    groups.iter().for_each(|group| group.encode(&mut index));
    index
}

/// The groups of an index whose digest was verified. Those of RAM lie in `ram_size` bytes of it; all fill `slot_count` slots. Where a disk
/// ends is not known here: see [`Snapshot::require_disks`](crate::Snapshot::require_disks).
pub(crate) fn decode_index(index: &[u8], ram_size: u64, slot_count: u32, is_delta: bool) -> Result<Vec<Group>, Error> {
    let groups = decode_groups(index, ram_size, is_delta)?;
    check_slots(&groups, slot_count, is_delta)?;
    Ok(groups)
}

/// The same of a whole snapshot in the travelling form, in which the groups have `frames_len` bytes of frames.
pub(crate) fn decode_travelling_index(index: &[u8], ram_size: u64, frames_len: u64) -> Result<Vec<Group>, Error> {
    let groups = decode_groups(index, ram_size, false)?;
    // All pages of a group may be in a frame that has pages of several.
    if let Some(group) = groups.iter().find(|group| group.slot > MAX_FRAME_LEN) {
        let problem = format!("the frame of group {} has {} bytes, at most {MAX_FRAME_LEN} are possible", group.number, group.slot);
        return Err(Error::malformed(Part::Index, problem));
    }
    let sum: u64 = groups.iter().map(|group| u64::from(group.slot)).sum();
    if sum != frames_len {
        return Err(Error::malformed(Part::Index, format!("the frames have {sum} bytes, but there are {frames_len}")));
    }
    Ok(groups)
}

/// The groups of an index, wherever they are in the file.
fn decode_groups(index: &[u8], ram_size: u64, is_delta: bool) -> Result<Vec<Group>, Error> {
    let (entries, _) = index.as_chunks::<GROUP_ENTRY_LEN>();
    let groups: Vec<Group> = entries.iter().map(|entry| Group::decode(entry, is_delta)).collect::<Result<_, _>>()?;

    let place = |group: &Group| (group.space, group.number);
    if let Some((first, second)) = neighbours(&groups).find(|(first, second)| place(first) >= place(second)) {
        let (number, space, before) = (second.number, second.space, first.number);
        return Err(Error::malformed(Part::Index, format!("group {number} of {space} follows group {before} of {}", first.space)));
    }
    if let Some(last) = groups.iter().rfind(|group| group.space == Space::Ram).filter(|last| last.address() >= ram_size) {
        return Err(Error::malformed(Part::Index, format!("group {} lies beyond {ram_size} bytes of RAM", last.number)));
    }
    Ok(groups)
}

fn check_slots(groups: &[Group], slot_count: u32, is_delta: bool) -> Result<(), Error> {
    let misplaced = |group: &Group| {
        Error::malformed(Part::Index, format!("group {} of {} is in slot {}, out of order", group.number, group.space, group.slot))
    };
    if let Some(first) = groups.first().filter(|first| first.slot != 0) {
        return Err(misplaced(first));
    }
    for (first, second) in neighbours(groups) {
        let step = second.slot.checked_sub(first.slot).ok_or_else(|| misplaced(second))?;
        if step != 1 && (is_delta || first.space != second.space || step != second.number - first.number) {
            return Err(misplaced(second));
        }
    }
    let slots = groups.last().map_or(0, |last| u64::from(last.slot) + 1);
    if slots != u64::from(slot_count) {
        return Err(Error::malformed(Part::Index, format!("the groups fill {slots} slots, but there are {slot_count}")));
    }
    for space in groups.chunk_by(|first, second| first.space == second.space) {
        let runs = runs(space, 0).count();
        if runs > MAX_RUNS && !is_delta {
            let name = space[0].space;
            return Err(Error::malformed(Part::Index, format!("the pages of {name} are in {runs} runs, at most {MAX_RUNS} are allowed")));
        }
    }
    Ok(())
}

/// The runs that `groups`, all of one space, form in a page area at `pages_offset` of the file.
pub(crate) fn runs(groups: &[Group], pages_offset: u64) -> impl Iterator<Item = Run> {
    groups.chunk_by(|first, second| second.slot - first.slot == second.number - first.number).map(move |run| {
        let Range { start, end } = slots(run);
        Run {
            address: run[0].address(),
            file_offset: pages_offset + u64::from(start) * GROUP_SIZE as u64,
            len: u64::from(end - start) * GROUP_SIZE as u64,
        }
    })
}

/// Whether some of `groups`, which are in order, are a disk's.
pub(crate) fn has_disks(groups: &[Group]) -> bool {
    groups.last().is_some_and(|last| last.space != Space::Ram)
}

/// The slots from the first of `groups` to the last.
fn slots(groups: &[Group]) -> Range<u32> {
    groups.first().map_or(0, |first| first.slot)..groups.last().map_or(0, |last| last.slot + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(numbers: impl IntoIterator<Item = u32>) -> Vec<Group> {
        let digest = Digest::of(b"page");
        let group = |number| Group { space: Space::Ram, number, covered: PageSet::ALL, present: PageSet(1), slot: 0, digest };
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
        assert_eq!(decode_index(&index, 64 << 20, 399 + 199, false).unwrap(), spread);
    }

    #[test]
    fn entries_out_of_order_or_place_are_refused() {
        let refused = |change: fn(&mut Vec<Group>), ram_size, slot_count| {
            let mut groups = groups([1, 2, 5, 6]);
            place(&mut groups);
            change(&mut groups);
            decode_index(&encode_index(&groups), ram_size, slot_count, false).map_err(|error| error.kind())
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
        assert_eq!(refused(|groups| groups[1].covered = PageSet(1), enough, 4), Err("malformed"));
    }

    #[test]
    fn a_delta_covers_some_pages_and_has_no_holes() {
        let decode = |change: fn(&mut Vec<Group>), slots| {
            let mut groups = groups((0..=MAX_RUNS as u32).map(|n| n * 2));
            groups[0].covered = PageSet(3);
            groups[1].present = PageSet::EMPTY;
            place_delta(&mut groups);
            change(&mut groups);
            decode_index(&encode_index(&groups), 64 << 20, slots, true).map(|decoded| decoded == groups).map_err(|error| error.kind())
        };
        let slots = MAX_RUNS as u32 + 1;
        assert_eq!(decode(|_| (), slots), Ok(true));
        assert_eq!(decode(|groups| groups[0].covered = PageSet::EMPTY, slots), Err("malformed"));
        assert_eq!(decode(|groups| groups[0].present = PageSet(4), slots), Err("malformed"));
        assert_eq!(decode(|groups| groups[1..].iter_mut().for_each(|group| group.slot += 1), slots + 1), Err("malformed"));
    }

    #[test]
    fn every_space_has_its_own_runs_and_gaps() {
        let disk = |numbers: Vec<u32>| groups(numbers).into_iter().map(|group| Group { space: Space::Disk(1), ..group });
        let spread = || (0..MAX_RUNS as u32).map(|n| n * 2);
        let mut both: Vec<Group> = groups(spread()).into_iter().chain(disk(spread().collect())).collect();
        assert_eq!(place(&mut both), 2 * MAX_RUNS as u32);
        let decode = |groups: &[Group], slots| decode_index(&encode_index(groups), 64 << 20, slots, false).map_err(|error| error.kind());
        assert_eq!(decode(&both, 2 * MAX_RUNS as u32).as_ref(), Ok(&both));
        // Where a disk ends is for the machine to say.
        let mut far: Vec<Group> = disk(vec![u32::MAX]).collect();
        place(&mut far);
        assert!(decode(&far, 1).is_ok());

        // From one space to the next there is no hole, however the numbers fit.
        let mut gap = groups([0]);
        gap.extend(disk(vec![5]));
        gap[1].slot = 5;
        assert_eq!(decode(&gap, 6), Err("malformed"));
        let mut order: Vec<Group> = disk(vec![0]).chain(groups([1])).collect();
        place(&mut order);
        assert_eq!(decode(&order, 2), Err("malformed"));
    }

    #[test]
    fn too_many_runs_are_refused() {
        let mut spread = groups((0..=MAX_RUNS as u32).map(|n| n * 2));
        for (slot, group) in (0..).zip(&mut spread) {
            group.slot = slot;
        }
        let error = decode_index(&encode_index(&spread), 64 << 20, MAX_RUNS as u32 + 1, false).unwrap_err();
        assert_eq!(error.kind(), "malformed");
    }
}
