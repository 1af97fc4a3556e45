//! Nothing that is wrong with a file goes unnoticed, and nothing in it does harm.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{Counter, Hint, Shapes, index, pages, reseal, small};
use proptest::prelude::*;
use snapshot::{Error, GROUP_SIZE, Record, SectionId, Snapshot, Space, decode_record, encode_record};

/// What opening says.
fn kind_of(bytes: &[u8]) -> &'static str {
    match Snapshot::open(bytes) {
        Ok(_) => "ok",
        Err(error) => error.kind(),
    }
}

/// Reads all that a snapshot holds, as a restore would.
fn use_all(bytes: &[u8]) -> Result<(), Error> {
    let snapshot = Snapshot::open(bytes)?;
    let mut sections = snapshot.sections();
    sections.take::<Shapes>(0)?;
    sections.take::<Counter>(0)?;
    sections.take::<Counter>(1)?;
    sections.take_if_present::<Hint>(0)?;
    sections.finish()?;
    for run in snapshot.runs(Space::Ram) {
        assert!(run.address + run.len <= snapshot.machine().ram_size);
        assert!(run.file_offset + run.len <= bytes.len() as u64);
    }
    snapshot.verify_all()
}

#[test]
fn an_unharmed_file_passes() {
    let bytes = small();
    use_all(&bytes).unwrap();
    let mut resealed = bytes.clone();
    reseal(&mut resealed);
    assert!(resealed == bytes);
}

#[test]
fn every_truncation_is_named() {
    let bytes = small();
    for len in 0..bytes.len() {
        assert_eq!(kind_of(&bytes[..len]), "truncated", "{len} bytes");
    }
    let message = Snapshot::open(&bytes[..1000]).unwrap_err().to_string();
    assert!(message.contains("1000 of") && message.contains(&bytes.len().to_string()), "{message}");
}

#[test]
fn a_file_with_more_behind_it_is_named() {
    let mut bytes = small();
    bytes.push(0);
    assert_eq!(kind_of(&bytes), "too-long");
}

#[test]
fn foreign_files_are_named() {
    for start in [b"\x7fELF\x02\x01\x01\x00".as_slice(), b"\0asm\x01\0\0\0", b"x", &[0; 4096]] {
        assert_eq!(kind_of(start), "not-a-snapshot");
    }
    // As if line ends had been converted on the way.
    assert_eq!(kind_of(b"\x89PBSN\n\x1a then more"), "not-a-snapshot");
}

#[test]
fn a_flipped_bit_before_the_pages_is_noticed_at_open() {
    let bytes = small();
    for at in 0..index(&bytes).end {
        for bit in [0x01, 0x80] {
            let mut bytes = bytes.clone();
            bytes[at] ^= bit;
            let wanted = match at {
                0..8 => "not-a-snapshot",
                8..12 => "newer-version",
                _ => "corrupted",
            };
            let found = kind_of(&bytes);
            // The version is 1: flipping its lowest bit gives 0, which is older than any.
            assert!(found == wanted || (at == 8 && bit == 1 && found == "corrupted"), "bit {bit:#x} of byte {at}: {found}");
        }
    }
}

#[test]
fn a_flipped_bit_in_the_pages_is_noticed_when_they_are_read() {
    let bytes = small();
    let area = pages(&bytes);
    let padding = index(&bytes).end..area.start;
    let samples = area.clone().step_by(509).chain(padding.clone().step_by(509)).chain([padding.start, padding.end - 1, area.end - 1]);
    for at in samples {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        let snapshot = Snapshot::open(bytes.as_slice()).unwrap();
        assert_eq!(snapshot.verify_all().unwrap_err().kind(), "corrupted", "byte {at}");

        let mut buffer = [0; GROUP_SIZE];
        let mut harmed = |number| snapshot.read_group(Space::Ram, number, &mut buffer).is_err();
        let slot = at.checked_sub(area.start).map(|offset| offset / GROUP_SIZE);
        assert_eq!((harmed(1), harmed(31)), (slot == Some(0), slot == Some(1)), "byte {at}");
    }
}

#[test]
fn a_hole_between_groups_that_is_not_empty_is_noticed() {
    let mut ram = vec![0; 32 << 20];
    for group in ram.chunks_mut(GROUP_SIZE).step_by(2) {
        group[0] = 1;
    }
    let mut bytes = common::write(&common::writer(ram.len()), snapshot::Pages::new(&ram));
    use_all(&bytes).unwrap();
    let hole = pages(&bytes).start + GROUP_SIZE;
    bytes[hole + 12345] = 1;
    let error = Snapshot::open(bytes.as_slice()).unwrap().verify_all().unwrap_err();
    assert_eq!(error.kind(), "corrupted");
    assert!(error.to_string().contains(&hole.to_string()), "{error}");
}

/// What opening says when `change` was made by someone who can compute digests.
fn kind_after(change: impl FnOnce(&mut Vec<u8>)) -> &'static str {
    let mut bytes = small();
    change(&mut bytes);
    reseal(&mut bytes);
    kind_of(&bytes)
}

fn set<const N: usize>(at: usize, field: [u8; N]) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| bytes[at..at + N].copy_from_slice(&field)
}

#[test]
fn fields_that_break_the_rules_are_named_though_their_digests_fit() {
    assert_eq!(kind_after(|_| ()), "ok");
    for (change, wanted) in [
        (set(8, 2_u32.to_le_bytes()), "newer-version"),
        (set(8, 0_u32.to_le_bytes()), "malformed"),
        (set(12, 16_u32.to_le_bytes()), "unsupported-features"),
        (set(12, 8_u32.to_le_bytes()), "malformed"), // a first frame, but not in the travelling form
        (set(12, 1_u32.to_le_bytes()), "malformed"), // a delta without a base
        (set(12, 2_u32.to_le_bytes()), "malformed"), // there are no disks
        (set(12, 0x8000_0004_u32.to_le_bytes()), "unsupported-features"),
        (set(16, *b"\0\0\0\0"), "malformed"),
        (set(40, *b"late"), "malformed"),
        (set(92, 9_u32.to_le_bytes()), "ok"), // devices: any are possible
        (set(80, 1025_u32.to_le_bytes()), "malformed"),
        (set(80, 3_u32.to_le_bytes()), "malformed"),
        (set(80, 5_u32.to_le_bytes()), "malformed"),
        (set(84, 33_u32.to_le_bytes()), "malformed"),
        (set(84, 1_u32.to_le_bytes()), "malformed"),
        (set(88, 3_u32.to_le_bytes()), "malformed"),
        (set(96, 1_u32.to_le_bytes()), "malformed"),
    ] {
        assert_eq!(kind_after(change), wanted);
    }
    for (change, wanted) in [
        (set(48, 0_u64.to_le_bytes()), "invalid-ram-size"),
        (set(48, ((2_u64 << 20) + 4096).to_le_bytes()), "invalid-ram-size"),
        (set(48, ((64_u64 << 30) + (2 << 20)).to_le_bytes()), "invalid-ram-size"),
        (set(48, (4_u64 << 20).to_le_bytes()), "ok"),
        (set(56, 0_u64.to_le_bytes()), "malformed"),
        (set(56, (1_u64 << 40).to_le_bytes()), "sections-too-long"),
        (set(56, 1000_u64.to_le_bytes()), "malformed"),
        (set(64, 0_u64.to_le_bytes()), "malformed"),
        (set(64, (1_u64 << 17).to_le_bytes()), "malformed"),
        (set(72, 0_u64.to_le_bytes()), "malformed"),
        (set(72, u64::MAX.to_le_bytes()), "malformed"),
    ] {
        assert_eq!(kind_after(change), wanted);
    }
}

#[test]
fn table_and_index_entries_that_break_the_rules_are_named() {
    let in_table = |at: usize, value: u8| kind_after(|bytes| bytes[256 + at] = value);
    assert_eq!(in_table(8, 3), "malformed"); // a flag that does not exist
    assert_eq!(in_table(12, 5), "malformed"); // a length that leaves too little for the rest
    assert_eq!(in_table(0, b'Z'), "malformed"); // out of order
    assert_eq!(in_table(48 + 4, 0), "malformed"); // the same name twice

    let in_index = |at: usize, value: u8| {
        kind_after(|bytes| {
            let index = index(bytes);
            bytes[index.start + at] = value;
        })
    };
    assert_eq!(in_index(0, 1), "malformed"); // another space
    assert_eq!(in_index(2, 0xfe), "malformed"); // not covered in full
    assert_eq!(in_index(4, 0), "malformed"); // nothing present
    assert_eq!(in_index(6, 1), "malformed"); // reserved
    assert_eq!(in_index(8, 31), "malformed"); // the same group twice
    assert_eq!(in_index(48 + 8, 32), "malformed"); // beyond RAM
    assert_eq!(in_index(12, 1), "malformed"); // not in the first slot
    assert_eq!(in_index(48 + 12, 0), "malformed"); // two groups in a slot
}

#[test]
fn pages_of_a_disk_are_held_to_the_same_rules() {
    let original = common::with_disk();
    use_all(&original).unwrap();
    let entries = index(&original);
    // Two groups of RAM, then two of the disk.
    let disk = entries.start + 2 * 48;
    let after = |at: usize, field: &[u8]| {
        let mut bytes = original.clone();
        bytes[at..at + field.len()].copy_from_slice(field);
        reseal(&mut bytes);
        kind_of(&bytes)
    };
    assert_eq!(after(12, &[0; 4]), "malformed"); // the feature is missing
    assert_eq!(after(disk, &[0, 0]), "malformed"); // RAM again: out of order
    assert_eq!(after(disk, &[9, 0]), "malformed"); // another disk than the one after it: out of order
    assert_eq!(after(disk + 2, &[0xfe, 0xff]), "malformed"); // not covered in full
    assert_eq!(after(disk + 4, &[0, 0]), "malformed"); // nothing present
    assert_eq!(after(disk + 8, &[0xff; 4]), "malformed"); // behind the next
    assert_eq!(after(disk + 12, &[1, 0, 0, 0]), "malformed"); // in RAM's last slot
    assert_eq!(after(disk + 12, &[4, 0, 0, 0]), "malformed"); // a hole between two spaces
    assert_eq!(after(disk + 16, &[1]), "ok"); // the digest of its pages, which nobody has read yet
    assert_eq!(after(disk + 48 + 8, &[0xff; 4]), "ok"); // behind its end, which is for the machine to say

    let mut flipped = original.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let snapshot = Snapshot::open(flipped.as_slice()).unwrap();
    let error = snapshot.verify_all().unwrap_err();
    assert!(error.kind() == "corrupted" && error.to_string().contains("0x3f0000 of disk 1"), "{error}");
    let mut buffer = [0; GROUP_SIZE];
    assert!(snapshot.read_group(Space::Disk(1), 2, &mut buffer).unwrap());
    assert!(snapshot.read_group(Space::Disk(1), 63, &mut buffer).is_err());
    assert!(!snapshot.read_group(Space::Disk(0), 63, &mut buffer).unwrap());
}

#[test]
fn pages_of_disks_that_the_machine_has_not_are_named() {
    let bytes = common::with_disk();
    let snapshot = Snapshot::open(bytes.as_slice()).unwrap();
    let size = common::DISK_SIZE as u64;
    snapshot.require_disks(|number| (number == 1).then_some(size)).unwrap();
    snapshot.require_disks(|_| Some(u64::MAX)).unwrap();
    for (disk, room) in [(1, size - GROUP_SIZE as u64), (1, 0), (0, size), (2, size)] {
        let error = snapshot.require_disks(|number| (number == disk).then_some(room)).unwrap_err();
        assert_eq!(error.kind(), "wrong-disk");
        assert!(error.to_string().contains("disk 1 up to byte 4194304"), "{error}");
    }
}

snapshot::saved! {
    #[derive(Debug)]
    struct CounterTwo {
        count: u32,
        more: u64,
    }

    #[derive(Debug)]
    struct Long {
        words: Vec<u64>,
        texts: Vec<String>,
    }

    #[derive(Debug)]
    struct CounterZero {}
}

impl Record for CounterTwo {
    const ID: SectionId = Counter::ID;
    const VERSION: u16 = 2;
}

impl Record for Long {
    const ID: SectionId = SectionId::new(*b"LONG");
    const VERSION: u16 = 1;
}

impl Record for CounterZero {
    const ID: SectionId = Counter::ID;
    const VERSION: u16 = 0;
}

#[test]
fn sections_that_do_not_fit_the_machine_are_named() {
    let bytes = small();
    let snapshot = Snapshot::open(bytes.as_slice()).unwrap();
    let kind = |error: Error| error.kind();
    let mut sections = snapshot.sections();
    assert_eq!(kind(sections.take::<Counter>(2).unwrap_err()), "missing-section");
    assert_eq!(kind(sections.take::<Long>(0).unwrap_err()), "missing-section");
    assert!(sections.take_if_present::<Long>(0).unwrap().is_none());
    assert_eq!(kind(sections.take::<CounterTwo>(0).unwrap_err()), "older-section");
    assert_eq!(kind(sections.take::<CounterZero>(1).unwrap_err()), "newer-section");

    // SHAP was not taken and is critical; HINT was not taken either, but is not.
    let error = sections.finish().unwrap_err();
    assert!(error.to_string().contains("SHAP"), "{error}");
    assert_eq!(kind(error), "unknown-critical-section");
    let mut sections = snapshot.sections();
    sections.take::<Shapes>(0).unwrap();
    sections.take::<Counter>(0).unwrap();
    assert!(sections.finish().unwrap_err().to_string().contains("CNTR.1"));
    let mut sections = snapshot.sections();
    sections.take::<Shapes>(0).unwrap();
    sections.take::<Counter>(0).unwrap();
    sections.take::<Counter>(1).unwrap();
    let skipped: Vec<String> = sections.finish().unwrap().iter().map(|entry| entry.name.to_string()).collect();
    assert_eq!(skipped, ["HINT"]);
}

#[test]
fn a_record_is_its_section_and_nothing_else() {
    let body = encode_record(&common::shapes()).unwrap();
    assert!(decode_record::<Shapes>(&body).is_ok());
    for len in 0..body.len() {
        assert_eq!(decode_record::<Shapes>(&body[..len]).unwrap_err().kind(), "invalid-record", "{len} bytes");
    }
    let error = decode_record::<Counter>(&[1, 0, 0, 0, 9, 9]).unwrap_err();
    assert_eq!(error.kind(), "record-not-consumed");
    assert!(error.to_string().contains("6 bytes long") && error.to_string().contains("ends 2 bytes"), "{error}");

    let mut unknown_mode = body.clone();
    *unknown_mode.iter_mut().rev().nth(3).unwrap() = 6;
    assert_eq!(decode_record::<Shapes>(&unknown_mode).unwrap_err().kind(), "invalid-record");
}

#[test]
fn a_count_in_a_record_cannot_ask_for_memory() {
    for count in [1 << 17, 1 << 26, 1 << 40, u64::MAX] {
        let mut body = count.to_le_bytes().to_vec();
        body.extend([0; 64]);
        let error = decode_record::<Long>(&body).unwrap_err();
        assert!(error.to_string().contains("LimitExceeded") || count == 1 << 17, "{count}: {error}");
    }
    // What was really saved is within the bounds.
    let long = Long { words: vec![7; 1 << 20], texts: vec![String::new(); 1 << 20] };
    assert!(decode_record::<Long>(&encode_record(&long).unwrap()).is_ok());
}

/// Bytes to put at places of the small snapshot, most often where the structures are.
fn mutations() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let at = prop_oneof![4 => 8..256_usize, 4 => 256..1000_usize, 1 => 0..196_608_usize];
    prop::collection::vec((at, prop_oneof![any::<u8>(), Just(0), Just(1), Just(0xff)]), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..600), keep_magic in any::<bool>()) {
        let mut bytes = bytes;
        if keep_magic {
            let start = small();
            let kept = bytes.len().min(12);
            bytes[..kept].copy_from_slice(&start[..kept]);
        }
        prop_assert!(use_all(&bytes).is_err());
        let _ = (decode_record::<Shapes>(&bytes), decode_record::<Long>(&bytes));
    }

    #[test]
    fn any_mutation_is_noticed(mutations in mutations()) {
        let original = small();
        let mut bytes = original.clone();
        for (at, value) in mutations {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        prop_assert_eq!(use_all(&bytes).is_ok(), bytes == original);
    }

    #[test]
    fn any_mutation_with_fitting_digests_is_read_without_harm(mutations in mutations(), len in prop_oneof![Just(usize::MAX), 256..200_000_usize]) {
        let mut bytes = small();
        for (at, value) in mutations {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(len);
        reseal(&mut bytes);
        let _ = use_all(&bytes);
    }
}
