//! Guest memory, cut into pages and groups of pages.

use crate::{Digest, digest::Digester};
use std::{fmt, ops::Range};

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4 << 10;
/// Bytes in a group of pages: what is digested, placed and read as one. Every host's page size divides it.
pub const GROUP_SIZE: usize = 64 << 10;
/// Pages in a group.
pub const PAGES_PER_GROUP: usize = GROUP_SIZE / PAGE_SIZE;

/// Which pages of a group hold something else than zeroes: bit n is page n.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageSet(pub u16);

impl PageSet {
    pub const EMPTY: Self = Self(0);

    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub fn complement(self) -> Self {
        Self(!self.0)
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

/// Guest memory to be saved.
#[derive(Clone, Copy)]
pub struct Ram<'a> {
    bytes: &'a [u8],
    may_hold_data: Option<&'a dyn Fn(u64) -> bool>,
}

impl<'a> Ram<'a> {
    /// All of guest memory, from guest-physical address 0 of RAM.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, may_hold_data: None }
    }

    /// Memory that need not be looked at everywhere: `may_hold_data` is asked with a page's number and answers `false`
    /// only if that page is certainly all zero. The snapshot is the same with and without.
    pub const fn with_hint(bytes: &'a [u8], may_hold_data: &'a dyn Fn(u64) -> bool) -> Self {
        Self { bytes, may_hold_data: Some(may_hold_data) }
    }

    pub(crate) const fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn groups(&self) -> &'a [[u8; GROUP_SIZE]] {
        self.bytes.as_chunks().0
    }

    /// The pages of group `number` that are not all zero.
    pub(crate) fn present(&self, number: usize) -> PageSet {
        let Some(group) = self.groups().get(number) else { return PageSet::EMPTY };
        let mut present = PageSet::EMPTY;
        for (n, page) in group.as_chunks::<PAGE_SIZE>().0.iter().enumerate() {
            let page_number = (number * PAGES_PER_GROUP + n) as u64;
            if self.may_hold_data.is_none_or(|may| may(page_number)) && !is_zero(page) {
                present.0 |= 1 << n;
            }
        }
        present
    }
}

impl fmt::Debug for Ram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ram({} bytes)", self.bytes.len())
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
