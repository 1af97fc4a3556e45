//! The snapshot reader: files as they come, and files that someone has damaged with care.

use crate::input::Input;
use common::{RAM_SIZE, reseal, with_disk, write, writer};
use snapshot::{Delta, GROUP_SIZE, HotPages, Model, PAGE_SIZE, Pages, Snapshot, Space, Travelling, diff, pack, pack_disk};
use std::io::{self, Cursor, Read};
use std::sync::OnceLock;

#[path = "../../snapshot/tests/common/mod.rs"]
#[allow(missing_docs, reason = "not of this crate")]
pub mod common;

/// The files that are damaged: stored ones, then travelling ones, then such as say which pages are wanted first, a disk alone, and a delta on
/// the second.
fn bases() -> &'static [Vec<u8>] {
    static BASES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    BASES.get_or_init(|| {
        let empty = write(&snapshot::Writer::new(common::machine(RAM_SIZE)), Pages::new(&vec![0; RAM_SIZE]));
        let stored = [empty, common::small(), with_disk(), write(&writer(RAM_SIZE), Pages::new(&noise()))];
        let hot = with_hot();
        let travelling: Vec<_> = stored.iter().chain([&hot]).map(|stored| packed(stored)).collect();
        let (hot_travelling, travelling) = travelling.split_last().unwrap();
        let mut disk = Cursor::new(Vec::new());
        let content = [&noise()[0x5_0000..0x5_2000], &[0; 0x2_0000], b"end"].concat();
        pack_disk(Model::new("pc1-v2/1").unwrap(), &content.as_slice(), &[1, 0], &mut disk).unwrap();
        let mut changed = common::ram();
        changed[0x1_2fff] = 1;
        changed[0x5_0000..0x7_0000].fill(7);
        let mut delta = Cursor::new(Vec::new());
        writer(RAM_SIZE).write_delta(Pages::new(&changed), &base_of_delta(&stored), &mut delta).unwrap();
        let more = [hot, hot_travelling.clone(), disk.into_inner(), delta.into_inner()];
        stored.into_iter().chain(travelling.iter().cloned()).chain(more).collect()
    })
}

fn base_of_delta(files: &[Vec<u8>]) -> Snapshot<&[u8]> {
    Snapshot::open(files[1].as_slice()).unwrap()
}

fn packed(stored: &[u8]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    pack(&Snapshot::open(stored).unwrap(), &mut file).unwrap();
    file.into_inner()
}

/// One with a list of pages that are wanted first.
fn with_hot() -> Vec<u8> {
    let noise = noise();
    let plain = write(&writer(RAM_SIZE), Pages::new(&noise));
    let touched = [(Space::Ram, 0x51), (Space::Ram, 0x50)];
    let hot = HotPages::of(&Snapshot::open(plain.as_slice()).unwrap(), touched, vec![3]).unwrap();
    let mut writer = writer(RAM_SIZE);
    writer.add(0, &hot).unwrap();
    write(&writer, Pages::new(&noise))
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
    if let Ok(delta) = Delta::open(file) {
        changes(&delta);
    }
    if let Ok(travelling) = Travelling::open(file) {
        let mut unpacked = Cursor::new(Vec::new());
        // A file may promise 3 GiB of pages; they come one by one.
        if travelling.stored_length() < 64 << 20 && travelling.unpack(&mut unpacked, |_| ()).is_ok() {
            let snapshot = Snapshot::open(unpacked.get_ref().as_slice()).expect("what was unpacked is a snapshot");
            snapshot.verify_all().expect("what was unpacked is verified");
            assert_eq!(snapshot.header().content_digest, travelling.header().content_digest);
        }
        // A disk may promise more than there is; zeroes follow it without end.
        if let Ok(disk) = travelling.reader(Space::Disk(0)) {
            let _ = io::copy(&mut disk.take(common::DISK_SIZE as u64 + 3 * GROUP_SIZE as u64), &mut io::sink());
        }
    }
}

/// Lays a delta over a base, as a restore does.
fn changes(delta: &Delta<&[u8]>) {
    let fits = delta.require_base(&base_of_delta(bases())).is_ok();
    let sizes = [(Space::Ram, RAM_SIZE), (Space::Disk(1), common::DISK_SIZE)];
    if !fits || delta.require_disks(|number| (number == 1).then_some(common::DISK_SIZE as u64)).is_err() {
        return;
    }
    let verified = delta.verify_all().is_ok();
    for (space, size) in sizes {
        let mut memory = vec![0; size];
        let mut put = |address: u64, bytes: &[u8]| {
            memory[address as usize..][..bytes.len()].copy_from_slice(bytes);
            Ok::<_, snapshot::Error>(())
        };
        let all = delta.read_all(space, &mut put).and_then(|()| delta.patch(space, &mut put));
        assert!(all.is_ok() || !verified, "verified, but a page cannot be read");
        for run in delta.runs(space) {
            assert!(run.file_offset + run.len <= delta.source().len() as u64, "a run outside the file");
            assert!(run.address + run.len <= size as u64, "a run outside the memory");
        }
        assert!(delta.covered(space).len() <= size / PAGE_SIZE, "a page outside the memory");
    }
}

fn stored(snapshot: &Snapshot<&[u8]>) {
    let mut sections = snapshot.sections();
    let _ = sections.take::<common::Shapes>(0);
    let _ = sections.take::<common::Counter>(0);
    let _ = sections.take_if_present::<common::Counter>(1);
    let _ = sections.take_if_present::<common::Hint>(0);
    let _ = sections.take_if_present::<HotPages>(0);
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
