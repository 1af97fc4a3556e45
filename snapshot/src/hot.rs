//! The pages that a machine touches first: they travel first, in one frame.

use crate::error::Part;
use crate::index::Group;
use crate::pages::{GROUP_SIZE, PAGE_SIZE, PAGES_PER_GROUP, PageSet, Space};
use crate::section::SectionName;
use crate::{Digest, Error, ReadAt, Record, SectionId, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Pages that may be hot.
const MAX_PAGES: usize = 16_384;

crate::saved! {
    /// A page of a memory.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub struct HotPage {
        /// Number of the space, as in the page index.
        pub space: u16,
        /// Number of the page in its space.
        pub number: u32,
    }

    /// What a machine touches from its restore on to its first prompt, each page once, in the order of first touch.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct HotPages {
        /// Pages of the snapshot.
        pub pages: Vec<HotPage>,
        /// Digest of these pages, one after the other.
        pub digest: [u8; 32],
        /// Pages of the root disk, which is a file.
        pub root: Vec<u32>,
    }
}

impl Record for HotPages {
    const ID: SectionId = SectionId::new(*b"HOT ");
    const VERSION: u16 = 1;
    const CRITICAL: bool = false;
}

const PART: Part = Part::Section(SectionName { id: HotPages::ID, instance: 0 });

impl HotPages {
    /// Those pages of `snapshot` that were `touched`: the first that the record has room for.
    pub fn of<S: ReadAt>(snapshot: &Snapshot<S>, touched: impl IntoIterator<Item = (Space, u64)>, root: Vec<u32>) -> Result<Self, Error> {
        let page = |(space, number): (Space, u64)| Some(HotPage { space: space.number(), number: u32::try_from(number).ok()? });
        Self::choose(touched.into_iter().filter_map(page), root, snapshot.groups(), |group, bytes| snapshot.read_verified(group, bytes))
    }

    /// The same of any groups, which `read` reads.
    pub(crate) fn choose(
        touched: impl Iterator<Item = HotPage>,
        mut root: Vec<u32>,
        groups: &[Group],
        read: impl Fn(&Group, &mut [u8; GROUP_SIZE]) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut seen = Sets::new();
        let pages = touched
            .filter(|page| page.group(groups).is_some() && seen.entry(page.place()).or_default().add(page.page()))
            .take(MAX_PAGES)
            .collect();
        root.truncate(MAX_PAGES);
        let mut hot = Self { pages, digest: [0; 32], root };
        hot.digest = *Digest::of(&hot.content(groups, read)?).as_bytes();
        Ok(hot)
    }

    /// Bytes of the pages of the snapshot.
    pub(crate) fn content_len(&self) -> usize {
        self.pages.len() * PAGE_SIZE
    }

    /// The pages of the snapshot, one after the other.
    pub(crate) fn content(
        &self,
        groups: &[Group],
        read: impl Fn(&Group, &mut [u8; GROUP_SIZE]) -> Result<(), Error>,
    ) -> Result<Vec<u8>, Error> {
        let mut content = vec![0; self.content_len()];
        let mut of_groups = BTreeMap::<(u16, u32), Vec<usize>>::new();
        self.pages.iter().enumerate().for_each(|(n, page)| of_groups.entry(page.place()).or_default().push(n));
        let mut bytes = Box::new([0; GROUP_SIZE]);
        for places in of_groups.values() {
            let Some(group) = places.first().and_then(|n| self.pages[*n].group(groups)) else { continue };
            read(group, &mut bytes)?;
            for n in places {
                let from = self.pages[*n].page() * PAGE_SIZE;
                content[n * PAGE_SIZE..][..PAGE_SIZE].copy_from_slice(&bytes[from..from + PAGE_SIZE]);
            }
        }
        Ok(content)
    }

    /// Checks that each page is one that the groups have, and is there once.
    pub(crate) fn check(&self, groups: &[Group]) -> Result<(), Error> {
        let mut seen = Sets::new();
        let is_right = |page: &HotPage| page.group(groups).is_some() && seen.entry(page.place()).or_default().add(page.page());
        if self.pages.len() > MAX_PAGES || !self.pages.iter().all(is_right) {
            return Err(Error::malformed(PART, "it lists a page twice, or one that is not in the snapshot"));
        }
        Ok(())
    }

    /// Checks that `content` are the pages of the snapshot.
    pub(crate) fn verify(&self, content: &[u8]) -> Result<(), Error> {
        Part::Hot.require(Digest::of(content), Digest::from_bytes(self.digest))
    }

    /// Which pages of each group are hot.
    pub(crate) fn sets(&self) -> Sets {
        let mut sets = Sets::new();
        for page in &self.pages {
            sets.entry(page.place()).or_default().add(page.page());
        }
        sets
    }
}

impl<S: ReadAt> Snapshot<S> {
    /// Where in the file the groups are that the machine touches between its restore and its first prompt, ascending. None if that was not recorded.
    pub fn touched_first(&self) -> Result<Vec<Range<u64>>, Error> {
        let hot = self.sections().take_if_present::<HotPages>(0)?;
        let start = |group: &Group| self.header().pages_offset() + u64::from(group.slot) * GROUP_SIZE as u64;
        let of_page = |page: &HotPage| page.group(self.groups()).map(start);
        let starts: BTreeSet<u64> = hot.iter().flat_map(|hot| &hot.pages).filter_map(of_page).collect();
        let mut places = Vec::<Range<u64>>::new();
        for start in starts {
            match places.last_mut() {
                Some(last) if last.end == start => last.end += GROUP_SIZE as u64,
                _ => places.push(start..start + GROUP_SIZE as u64),
            }
        }
        Ok(places)
    }
}

/// Pages by space and group.
pub(crate) type Sets = BTreeMap<(u16, u32), PageSet>;

impl Group {
    /// One of its pages.
    #[expect(clippy::cast_possible_truncation, reason = "a group has few pages")]
    pub(crate) const fn page(&self, page: usize) -> HotPage {
        HotPage { space: self.space.number(), number: self.number << PAGES_PER_GROUP.ilog2() | page as u32 }
    }
}

impl HotPage {
    /// Its space and its group.
    pub(crate) const fn place(self) -> (u16, u32) {
        (self.space, self.number >> PAGES_PER_GROUP.ilog2())
    }

    /// Which page of its group it is.
    pub(crate) const fn page(self) -> usize {
        self.number as usize % PAGES_PER_GROUP
    }

    /// Its group, if that has it.
    fn group(self, groups: &[Group]) -> Option<&Group> {
        let found = groups.binary_search_by_key(&self.place(), |group| (group.space.number(), group.number)).ok()?;
        Some(&groups[found]).filter(|group| group.present.has(self.page()))
    }
}
