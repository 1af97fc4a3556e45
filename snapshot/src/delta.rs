//! A delta: a snapshot that says only what differs from another one, its base.

use crate::header::{Header, MachineId};
use crate::index::{Group, MAX_RUNS, Run, runs};
use crate::pages::{GROUP_SIZE, Memory, PAGE_SIZE, PAGES_PER_GROUP, PageSet, Space, digest_group};
use crate::reader::{ReadAt, Sections, Snapshot};
use crate::section::SectionEntry;
use crate::{Digest, Error, Form};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// An open delta: its header, table, sections and index are verified; its pages are not yet.
///
/// To restore it, lay out the base, map the [runs](Self::runs) of each space over that, and write the [patches](Self::patch) over both.
#[derive(Debug)]
pub struct Delta<S>(Snapshot<S>);

impl<S: ReadAt> Delta<S> {
    /// Opens a delta, reading and verifying all but the pages. Memory taken is bounded as in [`Snapshot::open`].
    pub fn open(source: S) -> Result<Self, Error> {
        let snapshot = Snapshot::open_as(source, Form::Stored)?;
        if snapshot.header().base.is_none() {
            return Err(Error::NotADelta);
        }
        Ok(Self(snapshot))
    }

    /// Content digest of the base.
    pub fn base(&self) -> Digest {
        self.0.header().base.unwrap_or(Digest::NONE)
    }

    /// Checks that it is on `base`.
    pub fn require_base<B: ReadAt>(&self, base: &Snapshot<B>) -> Result<(), Error> {
        let (found, wanted) = (base.header().content_digest, self.base());
        if found != wanted {
            return Err(Error::WrongBase { found, wanted });
        }
        self.machine().require(base.machine())
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        self.0.header()
    }

    /// The machine that was saved, which is the base's.
    pub const fn machine(&self) -> &MachineId {
        self.0.machine()
    }

    /// What it is read from.
    pub const fn source(&self) -> &S {
        self.0.source()
    }

    /// The section table, in order of name.
    pub fn entries(&self) -> &[SectionEntry] {
        self.0.entries()
    }

    /// The records, to be taken one by one: all of the machine, none of the base's.
    pub fn sections(&self) -> Sections<'_> {
        self.0.sections()
    }

    /// Every entry of the table and the bytes of its section.
    pub(crate) fn sections_with_bodies(&self) -> impl Iterator<Item = (&SectionEntry, &[u8])> {
        self.0.sections_with_bodies()
    }

    /// The spaces that differ from the base's, in ascending order.
    pub fn spaces(&self) -> impl Iterator<Item = Space> {
        self.0.spaces()
    }

    /// Checks that all pages of disks are on disks of the machine: see [`Snapshot::require_disks`].
    pub fn require_disks(&self, size: impl Fn(u16) -> Option<u64>) -> Result<(), Error> {
        self.0.require_disks(size)
    }

    /// Pages of `space` that differ from the base's.
    pub fn page_count(&self, space: Space) -> u64 {
        self.0.groups_of(space).iter().map(|group| u64::from(group.covered.len())).sum()
    }

    /// Groups of `space` with pages that differ from the base's.
    pub fn group_count(&self, space: Space) -> usize {
        self.0.groups_of(space).len()
    }

    /// For each page of `space`, up to the last that does, whether it differs from the base's.
    #[expect(clippy::cast_possible_truncation, reason = "addresses of a space that this process holds")]
    pub fn covered(&self, space: Space) -> Vec<bool> {
        let groups = self.0.groups_of(space);
        let mut covered = vec![false; groups.last().map_or(0, |last| last.end() as usize / PAGE_SIZE)];
        for group in groups {
            for range in group.covered.ranges() {
                let first = (group.address() as usize + range.start) / PAGE_SIZE;
                let pages = covered.get_mut(first..first + range.len() / PAGE_SIZE);
                pages.into_iter().flatten().for_each(|covered| *covered = true);
            }
        }
        covered
    }

    /// Verifies every byte of the file that [`Self::open`] did not.
    pub fn verify_all(&self) -> Result<(), Error> {
        self.0.verify_all()
    }

    /// The stretches of `space` that can be mapped, in ascending order: at most [`MAX_RUNS`], the longest ones. Nothing of them is verified: map
    /// only a file that [`Self::verify_all`] has passed and that has not changed since.
    pub fn runs(&self, space: Space) -> Vec<Run> {
        let whole = |run: &&[Group]| run[0].covered == PageSet::ALL;
        let is_like = |first: &Group, second: &Group| {
            second.number - first.number == 1 && (first.covered == PageSet::ALL) == (second.covered == PageSet::ALL)
        };
        let stretches = self.0.groups_of(space).chunk_by(is_like).filter(whole);
        let mut found: Vec<Run> = stretches.flat_map(|stretch| runs(stretch, self.header().pages_offset())).collect();
        found.sort_by_key(|run| Reverse(run.len));
        found.truncate(MAX_RUNS);
        found.sort_by_key(|run| run.address);
        found
    }

    /// Reads and verifies what of `space` is in none of the [runs](Self::runs): `put` is given the address and the bytes of each stretch of pages.
    pub fn patch<E: From<Error>>(&self, space: Space, put: impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mapped = self.runs(space);
        let mapped: BTreeSet<u64> = mapped.iter().flat_map(|run| (run.address..run.address + run.len).step_by(GROUP_SIZE)).collect();
        self.read_groups(space, |group| !mapped.contains(&group.address()), put)
    }

    /// The same with everything in `space`, for a host that cannot map files.
    pub fn read_all<E: From<Error>>(&self, space: Space, put: impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        self.read_groups(space, |_| true, put)
    }

    fn read_groups<E: From<Error>>(
        &self,
        space: Space,
        wanted: impl Fn(&Group) -> bool,
        mut put: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut bytes = Box::new([0; GROUP_SIZE]);
        for group in self.0.groups_of(space).iter().filter(|group| wanted(group)) {
            self.0.read_verified(group, &mut bytes)?;
            for range in group.covered.ranges() {
                put(group.address() + range.start as u64, &bytes[range])?;
            }
        }
        Ok(())
    }
}

/// The groups of `memory` with pages that differ from those of `base`, without places. What is read of the base is verified.
#[expect(clippy::cast_possible_truncation, reason = "a space is bounded, so its groups have numbers of 32 bits")]
pub(crate) fn scan_against<S: ReadAt>(memory: &Memory<'_>, base: &Snapshot<S>) -> Result<Vec<Group>, Error> {
    let mut groups = Vec::new();
    let mut before = Box::new([0; GROUP_SIZE]);
    for (space, pages) in memory.spaces() {
        for (number, bytes) in pages.groups() {
            let maybe_new = pages.maybe_new(number);
            if maybe_new == PageSet::EMPTY {
                continue;
            }
            base.read_group(space, number as u64, &mut before)?;
            let differs = |n: &usize| {
                let page = n * PAGE_SIZE..(n + 1) * PAGE_SIZE;
                maybe_new.0 >> n & 1 != 0 && bytes[page.clone()] != before[page]
            };
            let covered = (0..PAGES_PER_GROUP).filter(differs).fold(PageSet::EMPTY, |set, n| PageSet(set.0 | 1 << n));
            if covered != PageSet::EMPTY {
                let present = PageSet(pages.present(number).0 & covered.0);
                groups.push(Group { space, number: number as u32, covered, present, slot: 0, digest: digest_group(bytes, present) });
            }
        }
    }
    Ok(groups)
}
