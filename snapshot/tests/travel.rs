//! The travelling form: nothing is lost on the way, and nothing that comes from it is believed.
#![allow(clippy::disallowed_methods, reason = "a setting of the test")]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::text::{from_text, to_text};
use common::{RAM_SIZE, index, pages, reseal, small, write, writer};
use proptest::prelude::*;
use snapshot::{
    Error, Form, GROUP_SIZE, HotPage, HotPages, Memory, Model, PAGE_SIZE, PAGES_PER_GROUP, Pages, ReadAt, Snapshot, Space, Stored,
    Travelling, TravellingPages, pack, pack_disk,
};
use std::collections::BTreeSet;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::rc::Rc;
use std::{env, fs};

fn packed(stored: &[u8]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let written = pack(&Snapshot::open(stored).unwrap(), &mut file).unwrap();
    assert_eq!((file.get_ref().len() as u64, file.position()), (written.file_length, written.file_length));
    file.into_inner()
}

fn unpacked(travelling: &[u8]) -> Result<Vec<u8>, Error> {
    let mut file = Cursor::new(Vec::new());
    let travelling = Travelling::open(travelling)?;
    let mut done = 0;
    let written = travelling.unpack(&mut file, |bytes| done = bytes)?;
    assert_eq!(travelling.stored_length(), written.file_length);
    assert_eq!(file.get_ref().len() as u64, written.file_length);
    assert_eq!(done, written.pages * PAGE_SIZE as u64);
    Ok(file.into_inner())
}

/// The stored form, read in pieces of `length` bytes from the last on.
fn read_backwards(travelling: &[u8], length: usize) -> Result<Vec<u8>, Error> {
    let mut stored = Stored::new(Travelling::open(travelling)?)?;
    let mut bytes = vec![0xaa; stored.byte_len() as usize];
    for (number, piece) in bytes.chunks_mut(length).enumerate().rev() {
        stored.read(piece, (number * length) as u64)?;
    }
    assert!(stored.read(&mut [0], bytes.len() as u64).is_err() && stored.read(&mut [0; 2], u64::MAX).is_err());
    Ok(bytes)
}

fn kind_of(travelling: &[u8]) -> &'static str {
    unpacked(travelling).map_or_else(|error| error.kind(), |_| "ok")
}

/// What unpacking says after a change that fits its digests.
fn kind_after(change: impl FnOnce(&mut Vec<u8>)) -> &'static str {
    let mut bytes = packed(&small());
    change(&mut bytes);
    reseal(&mut bytes);
    kind_of(&bytes)
}

/// Memory with stretches of every kind of content.
fn mixed_ram() -> impl Strategy<Value = Vec<u8>> {
    let stretch = (0..RAM_SIZE / PAGE_SIZE, 1..40_usize, any::<u64>(), any::<bool>());
    prop::collection::vec(stretch, 0..6).prop_map(|stretches| {
        let mut ram = vec![0; RAM_SIZE];
        for (page, pages, mut state, is_noise) in stretches {
            let end = RAM_SIZE.min((page + pages) * PAGE_SIZE);
            for byte in &mut ram[page * PAGE_SIZE..end] {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = if is_noise { (state >> 56) as u8 } else { 0x5a };
            }
        }
        ram
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_travels_arrives(ram in mixed_ram()) {
        let stored = write(&writer(RAM_SIZE), Pages::new(&ram));
        let travelling = packed(&stored);
        prop_assert!(unpacked(&travelling).unwrap() == stored);
        let (before, after) = (Snapshot::open(stored.as_slice()).unwrap(), Travelling::open(travelling.as_slice()).unwrap());
        prop_assert_eq!(before.header().content_digest, after.header().content_digest);
        prop_assert_eq!(before.header().table_digest, after.header().table_digest);
        prop_assert_eq!(before.machine(), after.machine());
    }

    #[test]
    fn any_mutation_is_noticed(mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let original = packed(&small());
        let mut bytes = original.clone();
        for (at, value) in &mutations {
            *at.get_mut(&mut bytes) = *value;
        }
        prop_assert_eq!(unpacked(&bytes).is_ok(), bytes == original);
        // With fitting digests there is nothing to notice, but nothing to harm either.
        reseal(&mut bytes);
        let _ = unpacked(&bytes);
    }
}

#[test]
fn the_stored_form_is_read_at_any_place() {
    let mut ram = vec![0; 32 << 20];
    for group in ram.chunks_mut(GROUP_SIZE).step_by(3) {
        group[PAGE_SIZE..][..4].copy_from_slice(&[1, 2, 3, 4]);
    }
    let hot = ram_pages(&[1, 49, 97]);
    for stored in
        [small(), common::with_disk(), write(&writer(ram.len()), Pages::new(&ram)), with_hot(Pages::new(&common::ram()), &hot, vec![])]
    {
        let travelling = packed(&stored);
        for length in [4096, 50_000, GROUP_SIZE, stored.len()] {
            assert!(read_backwards(&travelling, length).unwrap() == stored, "pieces of {length} bytes");
        }
    }
}

/// Bytes of which only the first have come.
struct Coming<'a>(&'a [u8], std::cell::Cell<usize>);

impl ReadAt for &Coming<'_> {
    fn byte_len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.0[..self.1.get()].read_exact_at(buffer, offset)
    }
}

#[test]
fn hot_pages_are_read_before_the_others_have_come() {
    let hot = ram_pages(&[0x1f0, 0x10]);
    let stored = with_hot(Pages::new(&common::ram()), &hot, Vec::new());
    let travelling = packed(&stored);
    let header = Travelling::open(travelling.as_slice()).unwrap().header().clone();
    let start = (header.pages_offset() + u64::from(header.hot_len)) as usize;
    let coming = Coming(&travelling, start.into());
    let mut view = Stored::new(Travelling::open(&coming).unwrap()).unwrap();
    let mut found = vec![0; stored.len()];
    let alone: Vec<usize> = (0..stored.len() / GROUP_SIZE)
        .filter(|slot| view.read(&mut found[slot * GROUP_SIZE..][..GROUP_SIZE], (slot * GROUP_SIZE) as u64).is_ok())
        .collect();
    let in_file = |slot: &usize| stored[slot * GROUP_SIZE..][..GROUP_SIZE] == found[slot * GROUP_SIZE..][..GROUP_SIZE];
    assert!(!alone.is_empty() && alone.iter().all(in_file));
    assert!(alone.len() < stored.len() / GROUP_SIZE);
    // What had not come is read when it has.
    coming.1.set(travelling.len());
    view.read(&mut found, 0).unwrap();
    assert!(found == stored);
}

#[test]
fn gaps_that_are_holes_are_holes_again() {
    let mut ram = vec![0; 32 << 20];
    for (n, group) in ram.chunks_mut(GROUP_SIZE).enumerate().step_by(2) {
        group[..4].copy_from_slice(&(n as u32 + 1).to_le_bytes());
    }
    let stored = write(&writer(ram.len()), Pages::new(&ram));
    let travelling = packed(&stored);
    assert!(travelling.len() < stored.len() / 100);
    assert!(unpacked(&travelling).unwrap() == stored);
}

#[test]
fn what_disks_in_memory_hold_travels() {
    let stored = common::with_disk();
    assert!(unpacked(&packed(&stored)).unwrap() == stored);
}

#[test]
fn memory_that_cannot_be_compressed_travels() {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let ram: Vec<u8> = (0..RAM_SIZE).map(|_| next()).collect();
    let stored = write(&writer(RAM_SIZE), Pages::new(&ram));
    assert!(unpacked(&packed(&stored)).unwrap() == stored);
}

/// A snapshot of this memory that says which pages were `touched`.
fn with_hot<'a>(memory: impl Into<Memory<'a>> + Clone, touched: &[(Space, u64)], root: Vec<u32>) -> Vec<u8> {
    let plain = write(&writer(RAM_SIZE), memory.clone());
    let hot = HotPages::of(&Snapshot::open(plain.as_slice()).unwrap(), touched.iter().copied(), root).unwrap();
    let mut writer = writer(RAM_SIZE);
    writer.add(0, &hot).unwrap();
    write(&writer, memory)
}

fn ram_pages(touched: &[u64]) -> Vec<(Space, u64)> {
    touched.iter().map(|number| (Space::Ram, *number)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_touched_travels_first_and_nothing_travels_twice(
        ram in mixed_ram(),
        touched in prop::collection::vec(0..RAM_SIZE as u64 / PAGE_SIZE as u64 + 20, 0..200),
    ) {
        let stored = with_hot(Pages::new(&ram), &ram_pages(&touched), vec![7]);
        let travelling = packed(&stored);
        prop_assert!(unpacked(&travelling).unwrap() == stored);
        let hot = Snapshot::open(stored.as_slice()).unwrap().sections().take::<HotPages>(0).unwrap();
        let mut wanted = Vec::new();
        for number in touched {
            let page = ram.get(number as usize * PAGE_SIZE..).and_then(|rest| rest.get(..PAGE_SIZE));
            let page = page.filter(|page| page.iter().any(|byte| *byte != 0)).map(|_| HotPage { space: 0, number: number as u32 });
            wanted.extend(page.filter(|page| !wanted.contains(page)));
        }
        prop_assert_eq!(&hot.pages, &wanted);
        prop_assert_eq!(hot.root, vec![7]);
        // The frames hold each page once.
        let frames = frames_of(&travelling);
        let total: usize = frames.iter().map(Vec::len).sum();
        let pages = Snapshot::open(stored.as_slice()).unwrap().page_count(Space::Ram) as usize;
        prop_assert_eq!(total, pages * PAGE_SIZE);
        if !wanted.is_empty() {
            let first: Vec<u8> = wanted.iter().flat_map(|page| &ram[page.number as usize * PAGE_SIZE..][..PAGE_SIZE]).copied().collect();
            prop_assert!(frames[0] == first);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_touched_first_can_be_read_by_itself(
        ram in mixed_ram(),
        touched in prop::collection::vec(0..RAM_SIZE as u64 / PAGE_SIZE as u64 + 20, 0..60),
    ) {
        let stored = with_hot(Pages::new(&ram), &ram_pages(&touched), Vec::new());
        let snapshot = Snapshot::open(stored.as_slice()).unwrap();
        let places = snapshot.touched_first().unwrap();
        prop_assert!(places.is_sorted_by(|before, after| before.end < after.start), "{places:?}");
        // Nothing else of the file is there.
        let mut part = vec![0; stored.len()];
        for place in std::iter::once(0..snapshot.header().pages_offset()).chain(places.clone()) {
            let place = place.start as usize..place.end as usize;
            part[place.clone()].copy_from_slice(&stored[place]);
        }
        let part = Snapshot::open(part.as_slice()).unwrap();
        let hot = snapshot.sections().take::<HotPages>(0).unwrap();
        let groups: BTreeSet<u64> = hot.pages.iter().map(|page| u64::from(page.number) / PAGES_PER_GROUP as u64).collect();
        for group in &groups {
            let mut bytes = Box::new([0; GROUP_SIZE]);
            part.read_group(Space::Ram, *group, &mut bytes).unwrap();
            prop_assert!(bytes[..] == ram[*group as usize * GROUP_SIZE..][..GROUP_SIZE]);
        }
        prop_assert_eq!(places.iter().map(|place| place.end - place.start).sum::<u64>(), (groups.len() * GROUP_SIZE) as u64);
    }
}

#[test]
fn what_is_touched_first_need_not_be_known() {
    let ram = vec![1; RAM_SIZE];
    let stored = write(&writer(RAM_SIZE), Pages::new(&ram));
    assert_eq!(Snapshot::open(stored.as_slice()).unwrap().touched_first().unwrap(), []);
}

/// A file of which no more than this has come.
struct Cut<'a>(&'a [u8], std::cell::Cell<u64>);

impl ReadAt for &Cut<'_> {
    fn byte_len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        match offset + buffer.len() as u64 > self.1.get() {
            true => Err(std::io::ErrorKind::WouldBlock.into()),
            false => self.0.read_exact_at(buffer, offset),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_file_that_is_still_coming_gives_what_has_come(
        ram in mixed_ram(),
        touched in prop::collection::vec(0..RAM_SIZE as u64 / PAGE_SIZE as u64, 0..100),
        reads in prop::collection::vec((0..RAM_SIZE as u64 / PAGE_SIZE as u64, 0..2000_u64), 1..60),
    ) {
        let travelling = packed(&with_hot(Pages::new(&ram), &ram_pages(&touched), Vec::new()));
        let start = Travelling::open(travelling.as_slice()).unwrap().start();
        let cut = Cut(&travelling, std::cell::Cell::new(start));
        let mut pages = TravellingPages::new(Rc::new(Travelling::open(&cut).unwrap())).unwrap();
        for (number, more) in reads {
            let wanted = &ram[number as usize * PAGE_SIZE..][..PAGE_SIZE];
            let mut group = Box::new([0xee; GROUP_SIZE]);
            match pages.read(Space::Ram, number, &mut group) {
                Ok(found) => {
                    prop_assert!(found & 1 << (number % 16) != 0);
                    for page in (0..16).filter(|page| found & 1 << page != 0) {
                        prop_assert!(group[page * PAGE_SIZE..][..PAGE_SIZE] == ram[(number as usize / 16 * 16 + page) * PAGE_SIZE..][..PAGE_SIZE]);
                    }
                }
                Err(error) => {
                    prop_assert_eq!(error.kind(), "io");
                    // What was touched first is there from the beginning.
                    prop_assert!(wanted.iter().all(|byte| *byte == 0) || !touched.contains(&number));
                    prop_assert!(cut.1.get() < travelling.len() as u64);
                }
            }
            cut.1.set((cut.1.get() + more).min(travelling.len() as u64));
        }
    }
}

/// What is in the frames behind the index, as any program finds it.
fn frames_of(travelling: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &travelling[Travelling::open(travelling).unwrap().header().pages_offset() as usize..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (frame, tail) = rest.split_at(zstd::zstd_safe::find_frame_compressed_size(rest).unwrap());
        frames.push(zstd::stream::decode_all(frame).unwrap());
        rest = tail;
    }
    frames
}

#[test]
fn a_flipped_bit_in_the_first_frame_harms_nobody() {
    let stored = with_hot(Pages::new(&common::ram()), &ram_pages(&[0x1f0, 0x10]), Vec::new());
    let travelling = packed(&stored);
    let start = Travelling::open(travelling.as_slice()).unwrap().header().pages_offset() as usize;
    for at in start..start + Travelling::open(travelling.as_slice()).unwrap().header().hot_len as usize {
        let mut bytes = travelling.clone();
        bytes[at] ^= 0x10;
        // Of few bits zstd makes no use.
        match unpacked(&bytes) {
            Ok(found) => assert!(found == stored, "{at}"),
            Err(error) => assert!(matches!(error.kind(), "corrupted" | "malformed"), "{at}: {error}"),
        }
    }
}

#[test]
fn a_list_of_pages_that_are_not_there_is_refused() {
    let page = |number| HotPage { space: 0, number };
    for pages in [vec![page(0x10), page(0x10)], vec![page(0x11)], vec![HotPage { space: 1, number: 0x10 }], vec![page(u32::MAX)]] {
        let mut writer = writer(RAM_SIZE);
        writer.add(0, &HotPages { pages, digest: [0; 32], root: Vec::new() }).unwrap();
        let stored = write(&writer, Pages::new(&common::ram()));
        let error = pack(&Snapshot::open(stored.as_slice()).unwrap(), &mut Cursor::new(Vec::new())).unwrap_err();
        assert_eq!(error.kind(), "malformed");
    }
}

/// The first frame is read as a whole: one that no page can need is refused before that.
#[test]
fn a_first_frame_is_no_longer_than_its_pages_can_make_it() {
    let stored = with_hot(Pages::new(&common::ram()), &ram_pages(&[0x1f0, 0x10]), Vec::new());
    let good = packed(&stored);
    let header = Travelling::open(good.as_slice()).unwrap().header().clone();
    let most = zstd::zstd_safe::compress_bound(2 * PAGE_SIZE);
    let with_length = |length: usize| {
        let end = header.pages_offset() as usize + header.hot_len as usize;
        let more = length - header.hot_len as usize;
        let mut bytes = [&good[..end], &vec![0; more], &good[end..]].concat();
        let whole = bytes.len() as u64;
        bytes[72..80].copy_from_slice(&whole.to_le_bytes());
        bytes[88..92].copy_from_slice(&(length as u32).to_le_bytes());
        reseal(&mut bytes);
        unpacked(&bytes).unwrap_err().to_string()
    };
    assert!(with_length(most).contains("not one whole frame"), "{}", with_length(most));
    assert!(with_length(most + 1).contains("are possible"), "{}", with_length(most + 1));
}

#[test]
fn a_disk_travels_alone() {
    let mut disk = vec![0; 3 * GROUP_SIZE + 512];
    disk[5] = 1;
    disk[GROUP_SIZE * 2 + 9] = 2;
    disk[GROUP_SIZE * 3 + 511] = 3;
    for hot in [&[][..], &[48, 0, 48, 1, 900]] {
        let mut file = Cursor::new(Vec::new());
        pack_disk(Model::new("pc1-v2/1").unwrap(), &disk.as_slice(), hot, &mut file).unwrap();
        let file = file.into_inner();
        let travelling = Travelling::open(file.as_slice()).unwrap();
        assert_eq!(travelling.header().hot_len > 0, !hot.is_empty());
        let mut found = vec![1; disk.len() + 2 * GROUP_SIZE];
        travelling.reader(Space::Disk(0)).unwrap().read_exact(&mut found).unwrap();
        assert!(found[..disk.len()] == disk && found[disk.len()..].iter().all(|byte| *byte == 0));
        let mut other = [1; 10];
        travelling.reader(Space::Ram).unwrap().read_exact(&mut other).unwrap();
        assert_eq!(other, [0; 10]);
    }
}

/// The committed bytes are read, whatever zstd writes today. They are written again with `UPDATE_GOLDEN=1`.
#[test]
fn a_committed_file_is_read() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1-travelling.hex");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, to_text(&packed(&small()))).unwrap();
    }
    let bytes = from_text(&fs::read_to_string(&path).unwrap());
    assert!(unpacked(&bytes).unwrap() == small());
    let mut resealed = bytes.clone();
    reseal(&mut resealed);
    assert!(resealed == bytes, "the digests are those of FORMAT.md");
}

#[test]
fn a_corrupted_snapshot_does_not_set_out() {
    let mut stored = small();
    let at = pages(&stored).start;
    stored[at] ^= 1;
    let error = pack(&Snapshot::open(stored.as_slice()).unwrap(), &mut Cursor::new(Vec::new())).unwrap_err();
    assert_eq!(error.kind(), "corrupted");
}

#[test]
fn each_form_is_told_from_the_other() {
    let (stored, travelling) = (small(), packed(&small()));
    let error = Snapshot::open(travelling.as_slice()).unwrap_err();
    assert!(error.kind() == "travelling-form" && error.to_string().contains("prebake unpack"), "{error}");
    assert_eq!(Travelling::open(stored.as_slice()).unwrap_err().kind(), "stored-form");
    assert_eq!(Travelling::open(travelling.as_slice()).unwrap().header().form(), Form::Travelling);
}

#[test]
fn every_truncation_is_named() {
    let bytes = packed(&small());
    for len in 0..bytes.len() {
        assert_eq!(kind_of(&bytes[..len]), "truncated", "{len} bytes");
    }
    assert_eq!(kind_of(&[&bytes[..], b"x"].concat()), "too-long");
}

#[test]
fn frames_that_break_the_rules_are_named() {
    assert_eq!(kind_after(|_| ()), "ok");
    let in_first_frame = |at: usize, value: u8| {
        kind_after(|bytes| {
            let frame = pages(bytes).start;
            bytes[frame + at] = value;
        })
    };
    assert_eq!(in_first_frame(0, 0x50), "malformed"); // a frame to be skipped
    assert_eq!(in_first_frame(4, 0xff), "malformed"); // a checksum, a dictionary
    assert_eq!(in_first_frame(5, 0xff), "malformed"); // another length
    // The last byte repeats one of the page: the frame is whole, but not what the index says.
    let other_content = kind_after(|bytes| {
        let length_at = index(bytes).start + 12;
        let length = u32::from_le_bytes(bytes[length_at..length_at + 4].try_into().unwrap()) as usize;
        let frame = pages(bytes).start;
        let at = (frame..frame + length).find(|at| bytes[*at] == 0xaa).unwrap();
        bytes[at] = 0xab;
    });
    assert_eq!(other_content, "corrupted");
}

#[test]
fn lengths_of_frames_that_break_the_rules_are_named() {
    let in_index = |at: usize, value: u32| {
        kind_after(|bytes| {
            let start = index(bytes).start + at;
            bytes[start..start + 4].copy_from_slice(&value.to_le_bytes());
        })
    };
    assert_eq!(in_index(12, 0), "malformed");
    assert_eq!(in_index(12, 1), "malformed"); // less than there are
    assert_eq!(in_index(12, 1 << 20), "malformed");
    assert_eq!(in_index(12, u32::MAX), "malformed");
    assert_eq!(in_index(0, 1), "malformed"); // another space
    // A byte of the first frame is said to be of the second.
    let shifted = kind_after(|bytes| {
        let start = index(bytes).start;
        bytes[start + 12] -= 1;
        bytes[start + 48 + 12] += 1;
    });
    assert_eq!(shifted, "malformed");
    // Slots, which the travelling form has not, and an end that no index can lead to.
    let set = |at: usize, value: u64| kind_after(|bytes| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes()));
    assert_eq!(kind_after(|bytes| bytes[88] = 1), "malformed");
    assert_eq!(set(72, u64::MAX), "truncated");
    assert_eq!(set(72, 300), "malformed");
    assert_eq!(set(64, 1 << 16), "malformed");
}
