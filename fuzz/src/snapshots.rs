//! The snapshot reader: files as they come, and files that someone has damaged with care.

use crate::input::Input;
use common::{RAM_SIZE, reseal, with_disk, write, writer};
use snapshot::{GROUP_SIZE, Pages, Snapshot, Space, Travelling, diff, pack};
use std::io::Cursor;
use std::sync::OnceLock;

#[path = "../../snapshot/tests/common/mod.rs"]
#[allow(missing_docs, reason = "not of this crate")]
pub mod common;

/// The files that are damaged: stored ones, then travelling ones.
fn bases() -> &'static [Vec<u8>] {
    static BASES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    BASES.get_or_init(|| {
        let empty = write(&snapshot::Writer::new(common::machine(RAM_SIZE)), Pages::new(&vec![0; RAM_SIZE]));
        let stored = [empty, common::small(), with_disk(), write(&writer(RAM_SIZE), Pages::new(&noise()))];
        let travelling = stored.iter().map(|stored| {
            let mut file = Cursor::new(Vec::new());
            pack(&Snapshot::open(stored.as_slice()).unwrap(), &mut file).unwrap();
            file.into_inner()
        });
        let travelling: Vec<_> = travelling.collect();
        stored.into_iter().chain(travelling).collect()
    })
}

/// Memory that does not compress, on two pages.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let mut ram = vec![0; RAM_SIZE];
    for byte in &mut ram[0x5_0000..0x5_2000] {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    ram
}

/// The first byte chooses what is damaged, or says that the rest is the file. Then come a byte that says whether the digests are made to fit,
/// and changes: how, where, what.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Some(base) = bases().get(usize::from(input.u8())) else {
        return look_at(input.rest());
    };
    let mut file = base.clone();
    let fit = input.bit();
    while !input.is_empty() {
        change(&mut file, &mut input);
    }
    // It reads the fields of the header where they stand.
    if fit && file.len() >= 256 {
        reseal(&mut file);
    }
    look_at(&file);
}

fn change(file: &mut Vec<u8>, input: &mut Input<'_>) {
    let how = input.u8();
    let at = usize::from(input.u16());
    match how % 6 {
        0 => put(file, at, &[input.u8()]),
        1 => put(file, at, &(input.number() as u32).to_le_bytes()),
        2 => put(file, at, &input.number().to_le_bytes()),
        3 => put(file, at, input.bytes(usize::from(how) / 6)),
        4 => file.truncate(at),
        _ => file.resize(file.len() + (at & 0x3ff), how),
    }
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = file.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Does all that can be done with a file.
fn look_at(file: &[u8]) {
    if let Ok(snapshot) = Snapshot::open(file) {
        stored(&snapshot);
    }
    if let Ok(travelling) = Travelling::open(file) {
        let mut unpacked = Cursor::new(Vec::new());
        // A file may promise 3 GiB of pages; they come one by one.
        if travelling.stored_length() < 64 << 20 && travelling.unpack(&mut unpacked, |_| ()).is_ok() {
            let snapshot = Snapshot::open(unpacked.get_ref().as_slice()).expect("what was unpacked is a snapshot");
            snapshot.verify_all().expect("what was unpacked is verified");
            assert_eq!(snapshot.header().content_digest, travelling.header().content_digest);
        }
    }
}

fn stored(snapshot: &Snapshot<&[u8]>) {
    let mut sections = snapshot.sections();
    let _ = sections.take::<common::Shapes>(0);
    let _ = sections.take::<common::Counter>(0);
    let _ = sections.take_if_present::<common::Counter>(1);
    let _ = sections.take_if_present::<common::Hint>(0);
    let _ = sections.finish();
    let _ = snapshot.require_disks(|_| Some(common::DISK_SIZE as u64));

    let mut buffer = Box::new([0; GROUP_SIZE]);
    let mut whole = true;
    let spaces: Vec<Space> = snapshot.spaces().collect();
    for &space in &spaces {
        let groups = snapshot.group_numbers(space).filter_map(|number| snapshot.read_group(space, number, &mut buffer).ok());
        whole &= groups.count() == snapshot.group_count(space);
        for run in snapshot.runs(space) {
            assert!(run.file_offset + run.len <= snapshot.source().len() as u64, "a run outside the file");
        }
    }
    let verified = snapshot.verify_all().is_ok();
    assert!(whole || !verified, "verified, but a group cannot be read");
    if verified {
        let itself = diff(snapshot, snapshot, 8).expect("a verified snapshot can be compared");
        assert!(itself.fields.is_empty() && itself.sections.is_empty());
    }
}
