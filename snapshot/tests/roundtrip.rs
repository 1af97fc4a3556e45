//! What was saved is what is restored.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{Counter, Hint, RAM_SIZE, machine, write, writer};
use proptest::prelude::*;
use snapshot::{
    Diff, Digest, Error, FieldDifference, GROUP_SIZE, MAX_RUNS, MachineId, Memory, Model, PAGE_SIZE, PageDifference, PageDifferences,
    Pages, Record, SectionDifference, SectionEntry, SectionId, SectionName, Side, Snapshot, Space, Writer, diff,
};
use std::io::{self, Cursor, Seek, SeekFrom, Write};

fn restored_by_runs(bytes: &[u8]) -> Vec<u8> {
    space_by_runs(bytes, Space::Ram, Snapshot::open(bytes).unwrap().machine().ram_size as usize)
}

fn space_by_runs(bytes: &[u8], space: Space, size: usize) -> Vec<u8> {
    let snapshot = Snapshot::open(bytes).unwrap();
    let mut ram = vec![0; size];
    let (mut guest_end, mut file_end) = (0, 0);
    for run in snapshot.runs(space) {
        assert!(run.address >= guest_end && run.file_offset >= file_end && run.len > 0);
        assert!([run.address, run.file_offset, run.len].iter().all(|n| n.is_multiple_of(GROUP_SIZE as u64)));
        let (from, to, len) = (run.file_offset as usize, run.address as usize, run.len as usize);
        ram[to..to + len].copy_from_slice(&bytes[from..from + len]);
        (guest_end, file_end) = (run.address + run.len, run.file_offset + run.len);
    }
    ram
}

fn restored_by_groups(bytes: &[u8]) -> Vec<u8> {
    let snapshot = Snapshot::open(bytes).unwrap();
    let mut ram = vec![0; snapshot.machine().ram_size as usize];
    for (number, group) in ram.as_chunks_mut::<GROUP_SIZE>().0.iter_mut().enumerate() {
        group.fill(0x55);
        let present = snapshot.read_group(Space::Ram, number as u64, group).unwrap();
        assert_eq!(present, group.iter().any(|&byte| byte != 0));
    }
    ram
}

/// Memory with a few bytes set.
fn sparse_ram() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((0..RAM_SIZE, any::<u8>()), 0..200).prop_map(|bytes| {
        let mut ram = vec![0; RAM_SIZE];
        bytes.into_iter().for_each(|(at, value)| ram[at] = value);
        ram
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn memory_comes_back(ram in sparse_ram()) {
        let bytes = write(&writer(RAM_SIZE), Pages::new(&ram));
        prop_assert!(restored_by_runs(&bytes) == ram);
        prop_assert!(restored_by_groups(&bytes) == ram);
        let snapshot = Snapshot::open(bytes.as_slice()).unwrap();
        snapshot.verify_all().unwrap();
        let pages = ram.chunks(PAGE_SIZE).filter(|page| page.iter().any(|&byte| byte != 0)).count();
        prop_assert_eq!(snapshot.page_count(Space::Ram), pages as u64);
    }

    #[test]
    fn disks_come_back_beside_memory(ram in sparse_ram(), first in sparse_ram(), third in sparse_ram()) {
        let memory = Memory::of_ram(Pages::new(&ram)).with_disk(2, Pages::new(&third)).with_disk(0, Pages::new(&first));
        let bytes = write(&writer(RAM_SIZE), memory);
        for (space, wanted) in [(Space::Ram, &ram), (Space::Disk(0), &first), (Space::Disk(1), &vec![0; RAM_SIZE]), (Space::Disk(2), &third)] {
            prop_assert!(&space_by_runs(&bytes, space, RAM_SIZE) == wanted);
        }
        let snapshot = Snapshot::open(bytes.as_slice()).unwrap();
        snapshot.verify_all().unwrap();
        let alone = write(&writer(RAM_SIZE), Pages::new(&ram));
        let found = diff(&snapshot, &Snapshot::open(alone.as_slice()).unwrap(), usize::MAX).unwrap();
        let pages = snapshot.page_count(Space::Disk(0)) + snapshot.page_count(Space::Disk(2));
        prop_assert_eq!(found.pages.total, pages);
        prop_assert!(found.pages.listed.iter().all(|page| page.space != Space::Ram));
    }

    #[test]
    fn a_hint_and_the_order_of_records_change_no_byte(ram in sparse_ram()) {
        let bytes = write(&writer(RAM_SIZE), Pages::new(&ram));
        let may_hold_data = |page: u64| {
            let start = page as usize * PAGE_SIZE;
            page.is_multiple_of(3) || ram[start..start + PAGE_SIZE].iter().any(|&byte| byte != 0)
        };
        let mut reordered = Writer::new(machine(RAM_SIZE));
        reordered.add(1, &Counter { count: 2 }).unwrap();
        reordered.add(0, &Hint { text: "of no weight".to_string() }).unwrap();
        reordered.add(0, &common::shapes()).unwrap();
        reordered.add(0, &Counter { count: 1 }).unwrap();
        prop_assert!(write(&reordered, Pages::with_hint(&ram, &may_hold_data)) == bytes);
    }

    #[test]
    fn the_difference_of_two_memories_is_found(first in sparse_ram(), changes in prop::collection::vec((0..RAM_SIZE, any::<u8>()), 0..30)) {
        let mut second = first.clone();
        changes.into_iter().for_each(|(at, value)| second[at] = value);
        let differing: Vec<PageDifference> = first.chunks(PAGE_SIZE).zip(second.chunks(PAGE_SIZE)).enumerate().filter_map(|(n, (a, b))| {
            let bytes = a.iter().zip(b).filter(|(a, b)| a != b).count() as u16;
            let offset = a.iter().zip(b).position(|(a, b)| a != b)? as u16;
            Some(PageDifference { space: Space::Ram, address: (n * PAGE_SIZE) as u64, offset, bytes })
        }).collect();

        let first = write(&writer(RAM_SIZE), Pages::new(&first));
        let second = write(&writer(RAM_SIZE), Pages::new(&second));
        let (a, b) = (Snapshot::open(first.as_slice()).unwrap(), Snapshot::open(second.as_slice()).unwrap());
        let found = diff(&a, &b, 10).unwrap();
        prop_assert_eq!(found.is_empty(), a.header().content_digest == b.header().content_digest);
        prop_assert_eq!(found.pages.total, differing.len() as u64);
        prop_assert_eq!(&found.pages.listed[..], &differing[..differing.len().min(10)]);
    }
}

#[test]
fn scattered_memory_takes_a_bounded_number_of_mappings() {
    let mut ram = vec![0; 64 << 20];
    let mut state = 1_u64;
    for group in ram.chunks_mut(GROUP_SIZE) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if state >> 63 != 0 {
            group[(state >> 40) as usize % GROUP_SIZE] = 1;
        }
    }
    let bytes = write(&Writer::new(machine(ram.len())), Pages::new(&ram));
    let snapshot = Snapshot::open(bytes.as_slice()).unwrap();
    assert!((2..=MAX_RUNS).contains(&snapshot.runs(Space::Ram).count()));
    snapshot.verify_all().unwrap();
    assert!(restored_by_runs(&bytes) == ram);
    assert!(restored_by_groups(&bytes) == ram);
}

/// A file of which only what was written takes space.
#[derive(Default)]
struct SparseFile {
    bytes: Cursor<Vec<u8>>,
    written: u64,
}

impl Write for SparseFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len() as u64;
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for SparseFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}

#[test]
fn zero_pages_between_others_are_not_written() {
    let mut ram = vec![0; RAM_SIZE];
    ram[0] = 1;
    ram[GROUP_SIZE - 1] = 1;
    let mut file = SparseFile::default();
    let written = Writer::new(machine(RAM_SIZE)).write(Pages::new(&ram), &mut file).unwrap();
    assert_eq!((written.pages, written.runs), (2, 1));
    assert_eq!(written.file_length, 2 * GROUP_SIZE as u64);
    assert_eq!(file.written, (GROUP_SIZE + 2 * PAGE_SIZE) as u64);
    assert_eq!(file.bytes.get_ref().len() as u64, written.file_length);
}

#[test]
fn a_full_disk_is_named() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Seek for Full {
        fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
            Ok(0)
        }
    }
    let error = writer(RAM_SIZE).write(Pages::new(&vec![0; RAM_SIZE]), &mut Full).unwrap_err();
    assert_eq!(error.kind(), "disk-full");
}

#[test]
fn what_cannot_be_saved_is_refused() {
    let kind = |result: Result<(), Error>| result.unwrap_err().kind();
    assert_eq!(kind(writer(RAM_SIZE).add(1, &Counter { count: 3 })), "duplicate-section");

    let write = |machine: MachineId, ram: &[u8]| {
        let mut file = Cursor::new(Vec::new());
        let result = Writer::new(machine).write(Pages::new(ram), &mut file).map(drop);
        assert!(file.get_ref().is_empty());
        result
    };
    assert_eq!(kind(write(machine(RAM_SIZE), &vec![0; RAM_SIZE / 2])), "wrong-ram-size");
    assert_eq!(kind(write(machine(4096), &[0; 4096])), "invalid-ram-size");
    assert_eq!(kind(write(machine(0), &[])), "invalid-ram-size");
    let ram = vec![0; RAM_SIZE];
    let odd = Memory::of_ram(Pages::new(&ram)).with_disk(0, Pages::new(&ram[..GROUP_SIZE + 4096]));
    assert_eq!(kind(Writer::new(machine(RAM_SIZE)).write(odd, &mut Cursor::new(Vec::new())).map(drop)), "invalid-disk-size");

    let long = Hint { text: " ".repeat(40 << 20) };
    let mut writer = writer(RAM_SIZE);
    writer.add(1, &long).unwrap();
    writer.add(2, &long).unwrap();
    assert_eq!(kind(writer.write(Pages::new(&vec![0; RAM_SIZE]), &mut Cursor::new(Vec::new())).map(drop)), "sections-too-long");
}

#[test]
fn a_machine_that_is_not_the_one_saved_is_refused() {
    let bytes = common::small();
    let snapshot = Snapshot::open(bytes.as_slice()).unwrap();
    let saved = machine(RAM_SIZE);
    let refused = |wanted: MachineId| snapshot.machine().require(&wanted).map_err(|error| (error.kind(), error.to_string()));
    assert_eq!(refused(saved), Ok(()));

    let (kind, message) = refused(MachineId { model: Model::new("pc1-v3/1").unwrap(), ..saved }).unwrap_err();
    assert_eq!(kind, "wrong-model");
    assert!(message.contains("pc1-v2/1") && message.contains("pc1-v3/1"), "{message}");
    let (kind, message) = refused(MachineId { ram_size: 128 << 20, ..saved }).unwrap_err();
    assert_eq!(kind, "wrong-ram-size");
    assert!(message.contains("2 MiB") && message.contains("128 MiB"), "{message}");
    let (kind, message) = refused(MachineId { devices: 0b100, ..saved }).unwrap_err();
    assert_eq!(kind, "wrong-devices");
    assert!(message.contains("0x5") && message.contains("0x4"), "{message}");
}

#[test]
fn a_model_is_a_short_printable_name() {
    assert_eq!(Model::new("pc1-v2/1").unwrap().as_str(), "pc1-v2/1");
    assert!(Model::new(&"x".repeat(32)).is_some());
    for name in ["", "pc 1", "pc1\n", "pé", &"x".repeat(33)] {
        assert_eq!(Model::new(name), None, "{name:?}");
    }
}

#[test]
fn every_kind_of_difference_is_reported() {
    snapshot::saved! {
        struct CounterTwo {
            count: u32,
        }
    }
    impl Record for CounterTwo {
        const ID: SectionId = Counter::ID;
        const VERSION: u16 = 2;
    }
    let name = |id: &[u8; 4], instance| SectionName { id: SectionId::new(*id), instance };
    let mut second = Writer::new(MachineId { devices: 0, ..machine(RAM_SIZE) });
    second.add(0, &common::shapes()).unwrap();
    second.add(0, &CounterTwo { count: 1 }).unwrap();
    second.add(0, &Hint { text: "of no height".to_string() }).unwrap();
    second.add(7, &Hint { text: String::new() }).unwrap();
    let first_ram = vec![0; RAM_SIZE];
    let mut second_ram = first_ram.clone();
    second_ram[0x3004..0x3006].fill(1);
    second_ram[0x5000] = 1;

    let first = write(&writer(RAM_SIZE), Pages::new(&first_ram));
    let second = write(&second, Pages::new(&second_ram));
    let (first, second) = (Snapshot::open(first.as_slice()).unwrap(), Snapshot::open(second.as_slice()).unwrap());
    assert!(diff(&first, &first, 9).unwrap().is_empty());
    assert_eq!(diff(&first, &first, 9).unwrap().to_string(), "");

    let entry =
        |version| SectionEntry { name: name(b"CNTR", 0), version, critical: true, len: 4, digest: Digest::of(&1_u32.to_le_bytes()) };
    let found = diff(&first, &second, 1).unwrap();
    let wanted = Diff {
        fields: vec![FieldDifference { field: "devices", first: "0x5".to_string(), second: "0x0".to_string() }],
        sections: vec![
            SectionDifference::Kind { first: entry(1), second: entry(2) },
            SectionDifference::OnlyIn { name: name(b"CNTR", 1), side: Side::First },
            SectionDifference::Body { name: name(b"HINT", 0), first_len: 20, second_len: 20, offset: 14 },
            SectionDifference::OnlyIn { name: name(b"HINT", 7), side: Side::Second },
        ],
        pages: PageDifferences { total: 2, listed: vec![PageDifference { space: Space::Ram, address: 0x3000, offset: 4, bytes: 2 }] },
    };
    assert_eq!(found, wanted);
    assert_eq!(
        found.to_string(),
        "devices: 0x5 / 0x0\n\
         section CNTR: version 1, critical / 2, critical\n\
         section CNTR.1: only in the first\n\
         section HINT: 20 / 20 bytes, different from byte 14 on\n\
         section HINT.7: only in the second\n\
         page 0x3000 of RAM: 2 bytes differ, the first at 0x4\n\
         and 1 more pages, 2 in all\n"
    );
}
