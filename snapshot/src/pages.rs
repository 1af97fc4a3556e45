//! Memory, cut into pages and groups of pages.

use crate::{Digest, digest::Digester};
use std::collections::BTreeMap;
use std::{fmt, ops::Range};

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4 << 10;
/// Bytes in a group of pages: what is digested, placed and read as one. Every host's page size divides it.
pub const GROUP_SIZE: usize = 64 << 10;
/// Pages in a group.
pub const PAGES_PER_GROUP: usize = GROUP_SIZE / PAGE_SIZE;

/// Some pages of a group: bit n is page n.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PageSet(pub u16);

impl PageSet {
    pub const EMPTY: Self = Self(0);
    pub const ALL: Self = Self(u16::MAX);

    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub fn complement(self) -> Self {
        Self(!self.0)
    }

    pub fn has(self, page: usize) -> bool {
        self.0 & 1 << page != 0
    }

    #[cfg(feature = "travel")]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Adds a page; whether it is new.
    #[cfg(feature = "travel")]
    pub fn add(&mut self, page: usize) -> bool {
        let is_new = !self.has(page);
        self.0 |= 1 << page;
        is_new
    }

    pub fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The pages as byte ranges of the group, adjacent pages as one range.
    pub fn ranges(self) -> impl Iterator<Item = Range<usize>> {
        let mut page = 0;
        std::iter::from_fn(move || {
            let rest = u32::from(self.0) >> page;
            if rest == 0 {
                return None;
            }
            let start = page + rest.trailing_zeros();
            page = start + (u32::from(self.0) >> start).trailing_ones();
            Some(start as usize * PAGE_SIZE..page as usize * PAGE_SIZE)
        })
    }
}

/// Which memory of a machine. Each is numbered from 0, in bytes, pages and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// Guest RAM, in guest-physical order.
    Ram,
    /// What disk n holds, if that is memory.
    Disk(u16),
}

impl Space {
    /// The number in the page index.
    pub(crate) const fn number(self) -> u16 {
        match self {
            Self::Ram => 0,
            // No machine has so many disks that the sum would be larger.
            Self::Disk(n) => n.saturating_add(1),
        }
    }

    pub(crate) const fn of_number(number: u16) -> Self {
        match number.checked_sub(1) {
            None => Self::Ram,
            Some(n) => Self::Disk(n),
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ram => f.write_str("RAM"),
            Self::Disk(n) => write!(f, "disk {n}"),
        }
    }
}

/// All memory of a machine that is to be saved.
#[derive(Debug, Clone)]
pub struct Memory<'a> {
    spaces: BTreeMap<Space, Pages<'a>>,
}

impl<'a> Memory<'a> {
    /// A machine's RAM, from guest-physical address 0 on.
    pub fn of_ram(ram: Pages<'a>) -> Self {
        Self { spaces: BTreeMap::from([(Space::Ram, ram)]) }
    }

    /// The same with what disk `number` holds: a multiple of [`GROUP_SIZE`].
    #[must_use]
    pub fn with_disk(mut self, number: u16, content: Pages<'a>) -> Self {
        self.spaces.insert(Space::Disk(number), content);
        self
    }

    /// Every space and what it holds, in ascending order.
    pub(crate) fn spaces(&self) -> impl Iterator<Item = (Space, Pages<'a>)> {
        self.spaces.iter().map(|(space, pages)| (*space, *pages))
    }

    /// Bytes of a space; 0 if there is no such.
    pub(crate) fn len_of(&self, space: Space) -> u64 {
        self.spaces.get(&space).map_or(0, Pages::len)
    }

    /// The bytes of a group that was found in it.
    pub(crate) fn group(&self, space: Space, number: u32) -> Option<&'a [u8; GROUP_SIZE]> {
        self.spaces.get(&space)?.group(number as usize)
    }
}

impl<'a> From<Pages<'a>> for Memory<'a> {
    fn from(ram: Pages<'a>) -> Self {
        Self::of_ram(ram)
    }
}

/// Memory to be saved.
#[derive(Clone, Copy)]
pub struct Pages<'a> {
    content: Content<'a>,
    may_be_new: Option<&'a dyn Fn(u64) -> bool>,
}

/// Groups of a memory that is elsewhere, by their numbers.
pub type FetchedGroups = BTreeMap<u64, Box<[u8; GROUP_SIZE]>>;

#[derive(Clone, Copy)]
enum Content<'a> {
    All(&'a [u8]),
    Some { len: u64, groups: &'a FetchedGroups },
}

impl<'a> Pages<'a> {
    /// All of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { content: Content::All(bytes), may_be_new: None }
    }

    /// Memory that need not be looked at everywhere: `may_be_new` is asked with a page's number and answers `false` only if that page is
    /// certainly as it is without the snapshot: all zero or, for a delta, as in its base. The snapshot is the same with and without.
    pub const fn with_hint(bytes: &'a [u8], may_be_new: &'a dyn Fn(u64) -> bool) -> Self {
        Self { content: Content::All(bytes), may_be_new: Some(may_be_new) }
    }

    /// The same of `len` bytes of memory that this process cannot look at as a whole: `groups` are those with pages that may be new.
    pub const fn of_groups(len: u64, groups: &'a FetchedGroups, may_be_new: &'a dyn Fn(u64) -> bool) -> Self {
        Self { content: Content::Some { len, groups }, may_be_new: Some(may_be_new) }
    }

    pub(crate) const fn len(&self) -> u64 {
        match self.content {
            Content::All(bytes) => bytes.len() as u64,
            Content::Some { len, .. } => len,
        }
    }

    /// Every group that there is, with its number.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (usize, &'a [u8; GROUP_SIZE])> + use<'a> {
        let this = *self;
        let count = usize::try_from(this.len() / GROUP_SIZE as u64).unwrap_or(usize::MAX);
        (0..count).filter_map(move |number| Some((number, this.group(number)?)))
    }

    pub(crate) fn group(&self, number: usize) -> Option<&'a [u8; GROUP_SIZE]> {
        match self.content {
            Content::All(bytes) => bytes.as_chunks().0.get(number),
            Content::Some { groups, .. } => groups.get(&(number as u64)).map(|group| &**group),
        }
    }

    /// The pages of group `number` that are not all zero.
    pub(crate) fn present(&self, number: usize) -> PageSet {
        let Some(group) = self.group(number) else { return PageSet::EMPTY };
        let mut present = PageSet::EMPTY;
        for (n, page) in group.as_chunks::<PAGE_SIZE>().0.iter().enumerate() {
            if self.may_be_new(number, n) && !is_zero(page) {
                present.0 |= 1 << n;
            }
        }
        present
    }

    /// The pages of group `number` that may not be as they are without the snapshot.
    pub(crate) fn maybe_new(&self, number: usize) -> PageSet {
        (0..PAGES_PER_GROUP).filter(|&n| self.may_be_new(number, n)).fold(PageSet::EMPTY, |set, n| PageSet(set.0 | 1 << n))
    }

    fn may_be_new(&self, group: usize, page: usize) -> bool {
        self.may_be_new.is_none_or(|may| may((group * PAGES_PER_GROUP + page) as u64))
    }
}

impl fmt::Debug for Pages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({} bytes)", self.len())
    }
}

/// Whether all of `bytes`, at most a group of them, are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROES: [u8; GROUP_SIZE] = [0; GROUP_SIZE];
    ZEROES.get(..bytes.len()).is_some_and(|zeroes| zeroes == bytes)
}

/// The digest of a group: of the pages in it that are not all zero, one after the other.
pub(crate) fn digest_group(group: &[u8; GROUP_SIZE], present: PageSet) -> Digest {
    let mut digester = Digester::new();
    present.ranges().for_each(|range| digester.update(&group[range]));
    digester.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_the_longest_stretches() {
        let ranges = |set| PageSet(set).ranges().map(|range| (range.start / PAGE_SIZE, range.end / PAGE_SIZE)).collect::<Vec<_>>();
        assert_eq!(ranges(0), []);
        assert_eq!(ranges(0xffff), [(0, 16)]);
        assert_eq!(ranges(0b1000_0000_0000_0001), [(0, 1), (15, 16)]);
        assert_eq!(ranges(0b0110_0111_0000_0010), [(1, 2), (8, 11), (13, 15)]);
    }
}
