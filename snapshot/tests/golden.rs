//! The bytes of format 1. A difference here is a change of the format: read the last chapter of FORMAT.md, then run with
//! `UPDATE_GOLDEN=1`.
#![allow(clippy::disallowed_methods, reason = "a setting of the test")]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::text::{from_text, to_text};
use common::{Counter, Hint, Shapes, machine, ram, shapes, small};
use snapshot::{Digest, GROUP_SIZE, Pages, Snapshot, Space, Writer};
use std::{env, fs, path::PathBuf};

/// The committed bytes, which `written` must equal.
fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, to_text(written)).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(to_text(written), text, "{name} changed");
    from_text(&text)
}

#[test]
fn sections_and_pages() {
    let bytes = golden("v1-sections-and-pages.hex", &small());
    let snapshot = Snapshot::open(bytes.as_slice()).unwrap();
    snapshot.verify_all().unwrap();
    snapshot.machine().require(&machine(common::RAM_SIZE)).unwrap();

    let mut sections = snapshot.sections();
    assert_eq!(sections.take::<Shapes>(0).unwrap(), shapes());
    assert_eq!(sections.take::<Counter>(0).unwrap(), Counter { count: 1 });
    assert_eq!(sections.take::<Counter>(1).unwrap(), Counter { count: 2 });
    assert_eq!(sections.take::<Hint>(0).unwrap(), Hint { text: "of no weight".to_string() });
    assert!(sections.finish().unwrap().is_empty());

    let mut restored = vec![0; common::RAM_SIZE];
    for run in snapshot.runs(Space::Ram) {
        let (from, to, len) = (run.file_offset as usize, run.address as usize, run.len as usize);
        restored[to..to + len].copy_from_slice(&bytes[from..from + len]);
    }
    assert!(restored == ram());
}

#[test]
fn a_disk() {
    let bytes = golden("v1-disk.hex", &common::with_disk());
    let snapshot = Snapshot::open(bytes.as_slice()).unwrap();
    snapshot.verify_all().unwrap();
    assert_eq!(snapshot.spaces().collect::<Vec<_>>(), [Space::Ram, Space::Disk(1)]);
    let restored = |space, size| {
        let mut memory = vec![0; size];
        for run in snapshot.runs(space) {
            let (from, to, len) = (run.file_offset as usize, run.address as usize, run.len as usize);
            memory[to..to + len].copy_from_slice(&bytes[from..from + len]);
        }
        memory
    };
    assert!(restored(Space::Ram, common::RAM_SIZE) == ram());
    assert!(restored(Space::Disk(1), common::DISK_SIZE) == common::disk());
}

#[test]
fn nothing_at_all() {
    let zeroes = vec![0; common::RAM_SIZE];
    let bytes = golden("v1-empty.hex", &common::write(&Writer::new(machine(common::RAM_SIZE)), Pages::new(&zeroes)));
    let snapshot = Snapshot::open(bytes.as_slice()).unwrap();
    snapshot.verify_all().unwrap();
    assert_eq!((snapshot.page_count(Space::Ram), snapshot.runs(Space::Ram).count(), snapshot.entries().len()), (0, 0, 0));
}

#[test]
fn gaps_kept_as_holes() {
    // Every second group of 512 holds its number: more runs than are allowed, so the gaps stay.
    let mut ram = vec![0; 32 << 20];
    for (n, group) in ram.chunks_mut(GROUP_SIZE).enumerate().step_by(2) {
        group[..4].copy_from_slice(&(n as u32 + 1).to_le_bytes());
    }
    let bytes = common::write(&Writer::new(machine(ram.len())), Pages::new(&ram));
    assert_eq!(Snapshot::open(bytes.as_slice()).unwrap().runs(Space::Ram).count(), 1);
    assert_eq!(Digest::of(&bytes).to_string(), "blake3:ccce859cbe1a5a69ad9eaaad57381f850b614ff06e7f3811f2cc5372399a9f40");
}

#[test]
fn a_committed_byte_that_differs_is_noticed() {
    let mut bytes = small();
    assert_eq!(from_text(&to_text(&bytes)), bytes);
    let before = to_text(&bytes);
    *bytes.last_mut().unwrap() = 1;
    assert_ne!(to_text(&bytes), before);
}

#[test]
fn digests_are_those_of_the_specification() {
    for written in [small(), common::with_disk()] {
        let mut bytes = written.clone();
        bytes[128..256].fill(0);
        common::reseal(&mut bytes);
        assert!(bytes == written, "content, table, index and header digest as FORMAT.md defines them");
    }
}

#[test]
fn a_delta() {
    let base = small();
    let mut now = ram();
    now[0x1_0000] = 0;
    now[0x1f_0800] = 0xcd;
    let mut file = std::io::Cursor::new(Vec::new());
    let base = Snapshot::open(base.as_slice()).unwrap();
    common::writer(common::RAM_SIZE).write_delta(Pages::new(&now), &base, &mut file).unwrap();
    let bytes = golden("v1-delta.hex", file.get_ref());
    let delta = snapshot::Delta::open(bytes.as_slice()).unwrap();
    delta.verify_all().unwrap();
    delta.require_base(&base).unwrap();
    let mut patched = Vec::new();
    let put = |address, bytes: &[u8]| {
        patched.push((address, bytes.len(), bytes[0], bytes[0x800]));
        Ok::<_, snapshot::Error>(())
    };
    delta.patch(Space::Ram, put).unwrap();
    assert_eq!(patched, [(0x1_0000, 4096, 0, 0), (0x1f_0000, 4096, 0, 0xcd)]);
}
