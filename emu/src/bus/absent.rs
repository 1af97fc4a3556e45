//! The part of guest RAM that has not been brought in: a machine can be restored without reading its memory, where that cannot be mapped.
//!
//! Memory comes in by pages, when they are first touched; a source may give their neighbours with them. An absent page has no TLB entry, since the page walk
//! brings in what it leads to; so an access that hits the TLB knows nothing of this.

use snapshot::{Error, GROUP_SIZE, PAGES_PER_GROUP, ReadAt, Snapshot, Space};
use std::rc::Rc;

/// Where the pages of a restored machine are.
pub trait PageSource {
    /// Numbers of the pages that hold something, each at most once. All others are zero.
    fn pages(&self) -> Vec<u64>;
    /// Fills `group` with what can be had now of the group of pages that has page `number`, that page among it, and makes sure that the bytes are those that
    /// were saved. Bit n of what it returns: page n of the group is among it. The other bytes mean nothing.
    fn read(&mut self, number: u64, group: &mut [u8; GROUP_SIZE]) -> Result<u16, Error>;
}

/// Shared with whoever takes the snapshot's records.
impl<S: ReadAt> PageSource for Rc<Snapshot<S>> {
    fn pages(&self) -> Vec<u64> {
        self.page_numbers(Space::Ram).collect()
    }
    fn read(&mut self, number: u64, group: &mut [u8; GROUP_SIZE]) -> Result<u16, Error> {
        self.read_group(Space::Ram, number / PAGES_PER_GROUP as u64, group).map(|_| u16::MAX)
    }
}

/// A page that could not be brought in.
#[derive(Debug)]
pub struct PageError {
    /// The number of its group: its guest-physical address divided by the size of a group.
    pub group: u64,
    /// What its source said.
    pub source: Error,
}

/// The pages that are still to come.
pub struct Absent {
    source: Box<dyn PageSource>,
    /// For each group of RAM, the pages that are to come: bit n is page n.
    groups: Vec<u16>,
    left: usize,
    /// Where a group is read to and verified.
    buffer: Box<[u8; GROUP_SIZE]>,
    /// The page that was wanted last and could not be had.
    failed: Option<u64>,
    /// Why, until somebody is told.
    error: Option<PageError>,
}

/// The place of a page: its group, and which page of that it is.
const fn place(number: u64) -> (usize, u32) {
    ((number / PAGES_PER_GROUP as u64) as usize, (number % PAGES_PER_GROUP as u64) as u32)
}

impl Absent {
    /// What `source` has for `length` bytes of RAM.
    pub fn new(source: Box<dyn PageSource>, length: u64) -> Self {
        let mut groups = vec![0_u16; length.div_ceil(GROUP_SIZE as u64) as usize];
        for number in source.pages() {
            let (group, page) = place(number);
            if let Some(pages) = groups.get_mut(group) {
                *pages |= 1 << page;
            }
        }
        let left = groups.iter().map(|pages| pages.count_ones() as usize).sum();
        Self { source, groups, left, buffer: Box::new([0; GROUP_SIZE]), failed: None, error: None }
    }

    /// Whether page `number` is still to come.
    pub fn contains(&self, number: u64) -> bool {
        let (group, page) = place(number);
        self.groups.get(group).is_some_and(|pages| pages & 1 << page != 0)
    }

    /// Reads page `number`, which is to come, and counts it as there, with those of its group that come with it: bit n of what it returns is page n of the
    /// group. `None` if it cannot be had.
    pub fn take(&mut self, number: u64) -> Option<(u16, &[u8; GROUP_SIZE])> {
        let (group, _) = place(number);
        match self.source.read(number, &mut self.buffer) {
            Ok(found) => {
                // The others may have been written since they came.
                let new = found & self.groups[group];
                self.groups[group] &= !new;
                self.left -= new.count_ones() as usize;
                self.failed = None;
                Some((new, &self.buffer))
            }
            Err(source) => {
                self.failed = Some(number);
                self.error = Some(PageError { group: group as u64, source });
                None
            }
        }
    }

    /// Pages of RAM.
    pub fn count(&self) -> u64 {
        (self.groups.len() * PAGES_PER_GROUP) as u64
    }

    /// Nothing is to come any more.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The page that was wanted and could not be had.
    pub fn failed(&self) -> Option<u64> {
        self.failed
    }

    /// Why it could not be had, once.
    pub fn take_error(&mut self) -> Option<PageError> {
        self.error.take()
    }
}

#[cfg(test)]
mod tests {
    use crate::bus::{PageSource, Ram, VecBacking};
    use devices::platform::{GuestMemory, GuestPhysAddr, Presence};
    use proptest::prelude::*;
    use snapshot::{GROUP_SIZE, MachineId, Model, PAGE_SIZE, Snapshot, Writer};
    use std::io::Cursor;
    use std::rc::Rc;

    const SIZE: usize = 2 << 20;
    const GROUP: u64 = GROUP_SIZE as u64;

    /// Every third group has something in some of its pages.
    fn contents() -> Vec<u8> {
        let byte = |at: usize| if (at / GROUP_SIZE).is_multiple_of(3) && (at / 4096).is_multiple_of(2) { (at % 251) as u8 } else { 0 };
        (0..SIZE).map(byte).collect()
    }

    fn snapshot_of(contents: &[u8]) -> Vec<u8> {
        let machine = MachineId { model: Model::new("test/1").unwrap(), ram_size: SIZE as u64, devices: 0 };
        let mut file = Cursor::new(Vec::new());
        Writer::new(machine).write(snapshot::Pages::new(contents), &mut file).unwrap();
        file.into_inner()
    }

    fn ram_of(file: Vec<u8>) -> Ram {
        let snapshot = Rc::new(Snapshot::open(Shared(file)).unwrap());
        Ram::of_pages(Box::new(VecBacking::new(SIZE).unwrap()), Box::new(snapshot))
    }

    /// Bytes that a snapshot may keep.
    struct Shared(Vec<u8>);

    impl snapshot::ReadAt for Shared {
        fn byte_len(&self) -> u64 {
            self.0.as_slice().byte_len()
        }
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
            self.0.as_slice().read_exact_at(buffer, offset)
        }
    }

    proptest! {
        #[test]
        fn whatever_devices_touch_is_as_if_it_had_been_there(
            touches in prop::collection::vec((any::<bool>(), 0..SIZE as u64 + 10, 0usize..200_000), 1..20),
        ) {
            let mut whole = Ram::new(Box::new(VecBacking::new(SIZE).unwrap()));
            whole.bytes_mut().copy_from_slice(&contents());
            let mut partial = ram_of(snapshot_of(&contents()));
            for (is_write, address, length) in touches {
                let address = GuestPhysAddr::new(address);
                if is_write {
                    let bytes = vec![0xa5; length];
                    prop_assert_eq!(partial.write(address, &bytes), whole.write(address, &bytes));
                } else {
                    let (mut found, mut wanted) = (vec![0; length], vec![0; length]);
                    prop_assert_eq!(partial.read(address, &mut found), whole.read(address, &mut wanted));
                    prop_assert_eq!(found, wanted);
                }
            }
            prop_assert_eq!(partial.dirty_pages(), whole.dirty_pages());
            prop_assert!(partial.bring_in_all());
            prop_assert_eq!(partial.presence(), Presence::Whole);
            prop_assert!(partial.bytes() == whole.bytes());
        }
    }

    #[test]
    fn a_flipped_bit_is_found_when_its_group_is_touched_and_not_before() {
        let contents = contents();
        let mut file = snapshot_of(&contents);
        let damaged = Snapshot::open(file.as_slice()).unwrap().runs(snapshot::Space::Ram).find(|run| run.address == 6 * GROUP).unwrap();
        file[damaged.file_offset as usize + 5] ^= 0x10;
        let mut ram = ram_of(file);
        for group in (0..SIZE as u64 / GROUP).filter(|&group| group != 6) {
            assert!(ram.bring_in(group * GROUP + 77), "{group}");
        }
        assert_eq!(ram.presence(), Presence::Partial);
        // Its last page is zero, and so is there.
        let last = 7 * GROUP - PAGE_SIZE as u64 - 1;
        assert!(!ram.bring_in(last));
        assert_eq!(ram.presence(), Presence::Stalled);
        let error = ram.take_error().unwrap();
        assert_eq!((error.group, error.source.kind()), (6, "corrupted"));
        // None of it is there, and nobody gets it.
        assert!(ram.bytes()[6 * GROUP_SIZE..7 * GROUP_SIZE].iter().all(|&byte| byte == 0));
        assert!(ram.read(GuestPhysAddr::new(last), &mut [0; 2]).is_err());
        assert!(ram.write(GuestPhysAddr::new(last), &[1; 2]).is_err());
        assert!(!ram.bring_in_all());
        assert!(ram.bytes()[7 * GROUP_SIZE] == 0);
        assert!(ram.dirty_pages().iter().all(|&dirty| !dirty));
    }

    #[test]
    fn a_source_that_ends_too_early_is_an_error_of_the_source() {
        let snapshot = Rc::new(Snapshot::open(Ends(snapshot_of(&contents()))).unwrap());
        let mut ram = Ram::of_pages(Box::new(VecBacking::new(SIZE).unwrap()), Box::new(snapshot));
        assert!(ram.bring_in(GROUP), "it is zero");
        assert!(!ram.bring_in(3 * GROUP));
        let error = ram.take_error().unwrap();
        assert_eq!((error.group, error.source.kind()), (3, "io"));
    }

    /// Gives each page alone, and notes which was wanted.
    struct Single(Vec<u8>, Rc<std::cell::RefCell<Vec<u64>>>);

    impl PageSource for Single {
        fn pages(&self) -> Vec<u64> {
            let is_zero = |page: &[u8; 4096]| page.iter().all(|byte| *byte == 0);
            (0..).zip(self.0.as_chunks::<4096>().0).filter(|(_, page)| !is_zero(page)).map(|(number, _)| number).collect()
        }
        fn read(&mut self, number: u64, group: &mut [u8; GROUP_SIZE]) -> Result<u16, snapshot::Error> {
            group.fill(0xee);
            let (at, page) = (number as usize * 4096, number as usize % 16);
            group[page * 4096..][..4096].copy_from_slice(&self.0[at..at + 4096]);
            self.1.borrow_mut().push(number);
            Ok(1 << page)
        }
    }

    #[test]
    fn a_source_may_give_one_page_at_a_time() {
        let wanted = Rc::<std::cell::RefCell<Vec<u64>>>::default();
        let mut ram = Ram::of_pages(Box::new(VecBacking::new(SIZE).unwrap()), Box::new(Single(contents(), wanted.clone())));
        // The second page of the first group is zero; what was written to it stays.
        assert!(ram.write(GuestPhysAddr::new(4096), &[9; 10]).is_ok());
        for address in [3 * GROUP + 8192, 100, 3 * GROUP + 8193, 101] {
            assert!(ram.bring_in(address));
        }
        assert_eq!(*wanted.borrow(), [3 * 16 + 2, 0]);
        assert_eq!(ram.presence(), Presence::Partial);
        assert!(ram.bring_in_all());
        let mut whole = contents();
        whole[4096..4106].fill(9);
        assert!(ram.bytes() == whole);
    }

    /// A file that loses its pages once it is open.
    struct Ends(Vec<u8>);

    impl snapshot::ReadAt for Ends {
        fn byte_len(&self) -> u64 {
            self.0.as_slice().byte_len()
        }
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
            if buffer.len() == GROUP_SIZE {
                Err(std::io::ErrorKind::UnexpectedEof.into())
            } else {
                self.0.as_slice().read_exact_at(buffer, offset)
            }
        }
    }
}
