//! Deltas: what differs from a base, laid over it again.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{DISK_SIZE, RAM_SIZE, disk, ram, reseal, small, with_disk, write, writer};
use proptest::prelude::*;
use snapshot::{Delta, FetchedGroups, GROUP_SIZE, MAX_RUNS, Memory, PAGE_SIZE, Pages, Snapshot, Space};
use std::io::Cursor;

fn write_delta<'a>(memory: impl Into<Memory<'a>>, base: &[u8]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let base = Snapshot::open(base).unwrap();
    let written = writer(base.machine().ram_size as usize).write_delta(memory, &base, &mut file).unwrap();
    assert_eq!(file.get_ref().len() as u64, written.file_length);
    file.into_inner()
}

/// What a machine would have in `space` after a restore.
fn restored(base: &[u8], delta: &[u8], space: Space, size: usize) -> Vec<u8> {
    let (snapshot, changes) = (Snapshot::open(base).unwrap(), Delta::open(delta).unwrap());
    changes.require_base(&snapshot).unwrap();
    changes.verify_all().unwrap();
    let mut memory = vec![0; size];
    let mut map = |file: &[u8], run: snapshot::Run| {
        let (from, to, len) = (run.file_offset as usize, run.address as usize, run.len as usize);
        memory[to..to + len].copy_from_slice(&file[from..from + len]);
    };
    snapshot.runs(space).for_each(|run| map(base, run));
    changes.runs(space).into_iter().for_each(|run| map(delta, run));
    let put = |address, bytes: &[u8]| {
        memory[address as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok::<_, snapshot::Error>(())
    };
    changes.patch(space, put).unwrap();
    // The same without mappings.
    let mut read = vec![0; size];
    let mut copy = |address: u64, bytes: &[u8]| read[address as usize..][..bytes.len()].copy_from_slice(bytes);
    let mut group = Box::new([0; GROUP_SIZE]);
    for number in snapshot.group_numbers(space) {
        snapshot.read_group(space, number, &mut group).unwrap();
        copy(number * GROUP_SIZE as u64, &group[..]);
    }
    let put = |address, bytes: &[u8]| {
        copy(address, bytes);
        Ok::<_, snapshot::Error>(())
    };
    changes.read_all(space, put).unwrap();
    assert!(read == memory);
    memory
}

#[test]
fn what_differs_is_laid_over_the_base() {
    let base = with_disk();
    let (mut ram, mut disk) = (ram(), disk());
    ram[0x1_0000] = 0; // a page that is zero now
    ram[0x1_2fff] = 1; // one that is another
    ram[0x5_0000..0x7_0000].fill(7); // two whole groups
    disk[0x10_0000] = 9; // where there was nothing
    let delta = write_delta(Memory::of_ram(Pages::new(&ram)).with_disk(1, Pages::new(&disk)), &base);
    let changes = Delta::open(delta.as_slice()).unwrap();
    assert_eq!(changes.spaces().collect::<Vec<_>>(), [Space::Ram, Space::Disk(1)]);
    assert_eq!((changes.page_count(Space::Ram), changes.page_count(Space::Disk(1))), (2 + 32, 1));
    assert_eq!(changes.runs(Space::Ram).len(), 1);
    assert_eq!(changes.covered(Space::Disk(1)).iter().filter(|&&covered| covered).count(), 1);
    assert!(restored(&base, &delta, Space::Ram, RAM_SIZE) == ram);
    assert!(restored(&base, &delta, Space::Disk(1), DISK_SIZE) == disk);
}

#[test]
fn what_is_hinted_to_be_as_in_the_base_is_not_looked_at() {
    let base = small();
    let mut ram = ram();
    ram[0x4_0000] = 1;
    let whole = write_delta(Pages::new(&ram), &base);
    let hinted = write_delta(Pages::with_hint(&ram, &|page| page == 0x40), &base);
    assert!(whole == hinted);
    assert_eq!(Delta::open(write_delta(Pages::with_hint(&ram, &|_| false), &base).as_slice()).unwrap().page_count(Space::Ram), 0);
}

/// A host that cannot look at the machine's memory as a whole fetches the groups with pages that were written.
#[test]
fn a_delta_of_fetched_groups_is_the_one_of_all_memory() {
    let base = with_disk();
    let (mut ram, mut disk) = (ram(), disk());
    ram[0x1_0000] = 0;
    ram[0x5_0000..0x7_0000].fill(7);
    disk[0x10_0000] = 9;
    let whole = write_delta(Memory::of_ram(Pages::new(&ram)).with_disk(1, Pages::new(&disk)), &base);
    let fetch = |memory: &[u8], numbers: &[u64]| -> FetchedGroups {
        numbers.iter().map(|&number| (number, Box::new(memory.as_chunks().0[number as usize]))).collect()
    };
    let (of_ram, of_disk) = (fetch(&ram, &[1, 2, 5, 6]), fetch(&disk, &[16]));
    let of_ram = Pages::of_groups(RAM_SIZE as u64, &of_ram, &|_| true);
    let of_disk = Pages::of_groups(DISK_SIZE as u64, &of_disk, &|page| page == 0x100);
    assert!(write_delta(Memory::of_ram(of_ram).with_disk(1, of_disk), &base) == whole);
}

#[test]
fn nothing_may_have_changed() {
    let base = small();
    let delta = write_delta(Pages::new(&ram()), &base);
    assert_eq!(Delta::open(delta.as_slice()).unwrap().spaces().count(), 0);
    assert!(restored(&base, &delta, Space::Ram, RAM_SIZE) == ram());
}

#[test]
fn no_more_is_mapped_than_the_host_likes() {
    let size = 64 << 20;
    let base = write(&writer(size), Pages::new(&vec![0; size]));
    let mut ram = vec![0; size];
    // A whole group in every second place, and one of two groups.
    ram.chunks_mut(2 * GROUP_SIZE).for_each(|groups| groups[..GROUP_SIZE].fill(3));
    ram[GROUP_SIZE..2 * GROUP_SIZE].fill(4);
    let delta = write_delta(Pages::new(&ram), &base);
    let runs = Delta::open(delta.as_slice()).unwrap().runs(Space::Ram);
    assert_eq!((runs.len(), runs[0].len), (MAX_RUNS, 3 * GROUP_SIZE as u64));
    assert!(restored(&base, &delta, Space::Ram, size) == ram);
}

#[test]
fn a_delta_and_a_whole_snapshot_are_not_taken_for_each_other() {
    let (base, other) = (small(), with_disk());
    let delta = write_delta(Pages::new(&vec![1; RAM_SIZE]), &base);
    assert_eq!(Snapshot::open(delta.as_slice()).unwrap_err().kind(), "delta");
    assert_eq!(Delta::open(base.as_slice()).unwrap_err().kind(), "not-a-delta");
    let changes = Delta::open(delta.as_slice()).unwrap();
    assert_eq!(changes.require_base(&Snapshot::open(other.as_slice()).unwrap()).unwrap_err().kind(), "wrong-base");
    assert_eq!(changes.base(), Snapshot::open(base.as_slice()).unwrap().header().content_digest);
}

/// The feature bit and the base go together, and neither is believed without the other.
#[test]
fn the_base_is_named_if_and_only_if_there_is_one() {
    let delta = write_delta(Pages::new(&ram()), &small());
    let damaged = |change: fn(&mut Vec<u8>)| {
        let mut bytes = delta.clone();
        change(&mut bytes);
        reseal(&mut bytes);
        Delta::open(bytes.as_slice()).map_err(|error| error.kind()).unwrap_err()
    };
    assert_eq!(damaged(|bytes| bytes[12] &= !1), "malformed");
    assert_eq!(damaged(|bytes| bytes[96..128].fill(0)), "malformed");
}

#[test]
fn every_flipped_bit_of_a_delta_is_noticed() {
    let mut ram = ram();
    ram[0x1_0000] = 2;
    let delta = write_delta(Pages::new(&ram), &small());
    for at in 0..delta.len() {
        let mut bytes = delta.clone();
        bytes[at] ^= 1 << (at % 8);
        let verified = Delta::open(bytes.as_slice()).and_then(|delta| delta.verify_all());
        assert!(verified.is_err(), "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any memory, on any base.
    #[test]
    fn a_restore_gives_what_was_saved(
        before in prop::collection::vec((0..RAM_SIZE / PAGE_SIZE, any::<u8>()), 0..60),
        after in prop::collection::vec((0..RAM_SIZE / PAGE_SIZE, any::<u8>()), 0..60),
        stretch in 0..RAM_SIZE / PAGE_SIZE,
    ) {
        let fill = |ram: &mut [u8], pages: &[(usize, u8)]| {
            pages.iter().for_each(|&(page, byte)| ram[page * PAGE_SIZE..(page + 1) * PAGE_SIZE].fill(byte));
        };
        let mut ram = vec![0; RAM_SIZE];
        fill(&mut ram, &before);
        let base = write(&writer(RAM_SIZE), Pages::new(&ram));
        fill(&mut ram, &after);
        ram[stretch * PAGE_SIZE..].fill(5);
        let delta = write_delta(Pages::new(&ram), &base);
        prop_assert!(restored(&base, &delta, Space::Ram, RAM_SIZE) == ram);
        // The same machine, the same bytes.
        prop_assert!(delta == write_delta(Pages::new(&ram), &base));
    }
}
