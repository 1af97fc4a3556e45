//! The travelling form: the same snapshot in fewer bytes, for registries and other places where size counts.

use crate::content::content_digest;
use crate::error::Part;
use crate::header::{Form, Header, MachineId, Model, RAM_SIZE_UNIT};
use crate::hot::{HotPage, HotPages, Sets};
use crate::index::{Group, encode_index, place};
use crate::pages::{GROUP_SIZE, PAGE_SIZE, PageSet, Pages, Space, digest_group};
use crate::section::{SectionEntry, SectionName};
use crate::writer::{PageArea, Written};
use crate::{Digest, Error, ReadAt, Record, Sections, Snapshot, encode_record};
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound, find_frame_compressed_size, get_frame_content_size};

/// How hard the compressor tries: a snapshot is packed once and pulled often. Of the demo's, level 15 leaves 1 % more than level 19 does, in a
/// third of the time, and 5 % less than level 9.
const LEVEL: i32 = 15;

/// How hard it tries with the frame that is waited for.
const HOT_LEVEL: i32 = 19;
/// How far back a frame may refer, as a power of two: what whoever unpacks it must hold.
const HOT_WINDOW_LOG: u32 = 23;

/// Writes `snapshot` in its travelling form to `sink`, which is empty. Every page is verified on the way. The same snapshot gives the
/// same bytes, with the same version of zstd.
pub fn pack<S: ReadAt, W: Write + Seek>(snapshot: &Snapshot<S>, sink: &mut W) -> Result<Written, Error> {
    let hot = snapshot.sections().take_if_present::<HotPages>(0)?.filter(|hot| !hot.pages.is_empty());
    let head = (snapshot.table(), snapshot.bodies());
    let read = |group: &Group, bytes: &mut [u8; GROUP_SIZE]| snapshot.read_verified(group, bytes);
    pack_groups(snapshot.header(), (&head.0, head.1), (snapshot.groups(), hot.as_ref()), read, sink)
}

/// Writes `disk` to `sink`, which is empty, as the travelling form of a snapshot with no state and no memory but that of disk 0. What is behind the end of
/// the disk is zero up to the end of the last group. The pages in `hot` are wanted first.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number of groups is checked; a section and a part of a group are shorter than that"
)]
pub fn pack_disk<S: ReadAt, W: Write + Seek>(model: Model, disk: &S, hot: &[u32], sink: &mut W) -> Result<Written, Error> {
    let (size, space) = (disk.byte_len(), Space::Disk(0));
    let count = u32::try_from(size.div_ceil(GROUP_SIZE as u64)).map_err(|_| Error::InvalidDiskSize { space, found: size })?;
    let read = |number: u32, bytes: &mut [u8; GROUP_SIZE]| {
        let address = u64::from(number) * GROUP_SIZE as u64;
        let (content, rest) = bytes.split_at_mut((size - address).min(GROUP_SIZE as u64) as usize);
        rest.fill(0);
        disk.read_exact_at(content, address).map_err(Error::reading)
    };
    let mut groups = Vec::new();
    let mut bytes = Box::new([0; GROUP_SIZE]);
    for number in 0..count {
        read(number, &mut bytes)?;
        let present = Pages::new(&*bytes).present(0);
        if present != PageSet::EMPTY {
            let digest = digest_group(&bytes, present);
            groups.push(Group { space, number, covered: PageSet::ALL, present, slot: 0, digest });
        }
    }
    let read_again = |group: &Group, bytes: &mut [u8; GROUP_SIZE]| {
        read(group.number, bytes)?;
        Part::Pages { space, address: group.address() }.require(digest_group(bytes, group.present), group.digest)
    };
    let touched = hot.iter().map(|number| HotPage { space: space.number(), number: *number });
    let hot = Some(HotPages::choose(touched, Vec::new(), &groups, read_again)?).filter(|hot| !hot.pages.is_empty());
    let (mut table, mut body) = (Vec::new(), Vec::new());
    if let Some(hot) = &hot {
        body = encode_record(hot)?;
        let name = SectionName { id: HotPages::ID, instance: 0 };
        SectionEntry { name, version: HotPages::VERSION, critical: false, len: body.len() as u32, digest: Digest::of(&body) }
            .encode(&mut table);
    }
    let machine = MachineId { model, ram_size: RAM_SIZE_UNIT, devices: 0 };
    let section_count = u32::from(hot.is_some());
    let header = Header {
        machine,
        base: None,
        has_disks: !groups.is_empty(),
        section_count,
        sections_len: body.len() as u64,
        group_count: groups.len() as u32,
        slot_count: 0,
        frames_len: None,
        hot_len: 0,
        table_digest: Digest::of(&table),
        index_digest: Digest::NONE,
        content_digest: content_digest(&machine, None, section_count, &table, &groups),
    };
    pack_groups(&header, (&table, &body), (&groups, hot.as_ref()), read_again, sink)
}

/// Writes a file with this section `table` and these `bodies`, whose groups are as `read` gives them.
#[expect(clippy::cast_possible_truncation, reason = "a compressed group is hardly longer than the group, and few pages are hot")]
fn pack_groups<W: Write + Seek>(
    header: &Header,
    (table, bodies): (&[u8], &[u8]),
    (stored, hot): (&[Group], Option<&HotPages>),
    read: impl Fn(&Group, &mut [u8; GROUP_SIZE]) -> Result<(), Error>,
    sink: &mut W,
) -> Result<Written, Error> {
    let mut header = Header { slot_count: 0, frames_len: Some(0), ..header.clone() };
    let mut groups = stored.to_vec();
    let mut bytes = Box::new([0; GROUP_SIZE]);
    let mut content = Vec::with_capacity(GROUP_SIZE);

    // The lengths of the frames are in the index, which comes before them.
    sink.seek(SeekFrom::Start(header.pages_offset())).map_err(Error::writing)?;
    let mut frames_len = 0;
    if let Some(hot) = hot {
        hot.check(stored)?;
        let content = hot.content(stored, &read)?;
        hot.verify(&content)?;
        let mut compressor = Compressor::new(HOT_LEVEL).map_err(Error::writing)?;
        compressor.set_parameter(CParameter::WindowLog(HOT_WINDOW_LOG)).map_err(Error::writing)?;
        let frame = compressor.compress(&content).map_err(Error::writing)?;
        sink.write_all(&frame).map_err(Error::writing)?;
        header.hot_len = frame.len() as u32;
        frames_len += frame.len() as u64;
    }
    let sets = hot.map(HotPages::sets).unwrap_or_default();
    let mut compressor = Compressor::new(LEVEL).map_err(Error::writing)?;
    for group in &mut groups {
        read(group, &mut bytes)?;
        content.clear();
        cold(group, &sets).ranges().for_each(|range| content.extend_from_slice(&bytes[range]));
        if content.is_empty() {
            group.slot = 0;
            continue;
        }
        let frame = compressor.compress(&content).map_err(Error::writing)?;
        sink.write_all(&frame).map_err(Error::writing)?;
        group.slot = frame.len() as u32;
        frames_len += frame.len() as u64;
    }
    let index = encode_index(&groups);
    header.frames_len = Some(frames_len);
    header.index_digest = Digest::of(&index);
    let start = start_of(&header, table, bodies, &index);
    let write_start = |sink: &mut W| {
        sink.seek(SeekFrom::Start(0))?;
        sink.write_all(&start)?;
        sink.seek(SeekFrom::Start(header.file_length()))?;
        sink.flush()
    };
    write_start(sink).map_err(Error::writing)?;
    Ok(Written::new(&header, stored))
}

/// The pages that are in the frame of `group` itself.
fn cold(group: &Group, hot: &Sets) -> PageSet {
    let hot = hot.get(&(group.space.number(), group.number)).copied().unwrap_or_default();
    group.present.without(hot)
}

/// All of a file before the page area.
#[expect(clippy::cast_possible_truncation, reason = "a header, a table and an index, all of which were just made in memory")]
fn start_of(header: &Header, table: &[u8], bodies: &[u8], index: &[u8]) -> Vec<u8> {
    let mut start = header.encode();
    start.extend(table);
    start.extend(bodies);
    start.extend(index);
    start.resize(header.pages_offset() as usize, 0);
    start
}

/// An open snapshot in its travelling form: its header, table, sections and index are verified; its frames are not yet.
#[derive(Debug)]
pub struct Travelling<S>(Snapshot<S>);

impl<S: ReadAt> Travelling<S> {
    /// Opens it, reading and verifying all but the frames.
    pub fn open(source: S) -> Result<Self, Error> {
        Snapshot::open_as(source, Form::Travelling)?.whole().map(Self)
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        self.0.header()
    }

    /// The machine that was saved.
    pub const fn machine(&self) -> &MachineId {
        self.0.machine()
    }

    /// Bytes of the stored form.
    pub fn stored_length(&self) -> u64 {
        let slot_count = place(&mut self.0.groups().to_vec());
        Header { slot_count, frames_len: None, hot_len: 0, ..self.header().clone() }.file_length()
    }

    /// Writes the stored form to `sink`, which is empty, and verifies every page on the way: all of what was written is good. Zeroes are
    /// skipped by seeking forward. `watch` is told after each group how many bytes of pages have been written.
    pub fn unpack<W: Write + Seek>(&self, sink: &mut W, mut watch: impl FnMut(u64)) -> Result<Written, Error> {
        let mut groups = self.0.groups().to_vec();
        let slot_count = place(&mut groups);
        let index = encode_index(&groups);
        let header = Header { slot_count, frames_len: None, hot_len: 0, index_digest: Digest::of(&index), ..self.header().clone() };
        sink.write_all(&start_of(&header, &self.0.table(), self.0.bodies(), &index)).map_err(Error::writing)?;

        let mut frames = self.frames()?;
        let mut area = PageArea::new(sink);
        let mut bytes = Box::new([0; GROUP_SIZE]);
        let mut done = 0;
        for (frame, group) in self.0.groups().iter().zip(&groups) {
            frames.next(frame, &mut bytes)?;
            area.put(group, &bytes).map_err(Error::writing)?;
            done += u64::from(group.present.len()) * PAGE_SIZE as u64;
            watch(done);
        }
        area.finish(slot_count).map_err(Error::writing)?;
        Ok(Written::new(&header, &groups))
    }

    /// Reads what `space` holds, and zeroes without end behind that.
    pub fn reader(&self, space: Space) -> Result<SpaceReader<'_, S>, Error> {
        let (frames, groups) = (self.frames()?, self.0.groups());
        Ok(SpaceReader { frames, groups, space, bytes: Box::new([0; GROUP_SIZE]), used: GROUP_SIZE, next: 0 })
    }

    /// The records, to be taken one by one.
    fn sections(&self) -> Sections<'_> {
        self.0.sections()
    }

    /// Where the frames of single groups begin in the file: what is before them is enough to open it, and to have the pages that are wanted first.
    fn start(&self) -> u64 {
        self.header().pages_offset() + u64::from(self.header().hot_len)
    }

    fn frames(&self) -> Result<Frames<'_, S>, Error> {
        Ok(Frames { source: self.0.source(), at: self.start(), decompressor: decompressor()?, hot: self.hot()? })
    }

    /// The pages that came before all others.
    fn hot(&self) -> Result<Hot, Error> {
        let header = self.header();
        if header.hot_len == 0 {
            return Ok(Hot::default());
        }
        let list = self.sections().take::<HotPages>(0)?;
        list.check(self.0.groups())?;
        // It is held in memory as a whole.
        let most = compress_bound(list.content_len());
        if header.hot_len as usize > most {
            let problem = format!("its frame has {} bytes, at most {most} are possible", header.hot_len);
            return Err(Error::malformed(Part::Hot, problem));
        }
        let mut frame = vec![0; header.hot_len as usize];
        self.0.source().read_exact_at(&mut frame, header.pages_offset()).map_err(Error::reading)?;
        let content = decompress(&mut decompressor()?, Part::Hot, &frame, list.content_len(), 1 << HOT_WINDOW_LOG)?;
        list.verify(&content)?;
        let pages = list.pages.iter().copied().zip(content.as_chunks().0.iter().copied()).collect();
        Ok(Hot { sets: list.sets(), pages })
    }
}

fn decompressor() -> Result<Decompressor<'static>, Error> {
    Decompressor::new().map_err(Error::reading)
}

/// The pages that came before all others, by group and each.
#[derive(Default)]
struct Hot {
    sets: Sets,
    pages: BTreeMap<HotPage, [u8; PAGE_SIZE]>,
}

impl Hot {
    /// Puts those of `group` to their places.
    fn put(&self, group: &Group, bytes: &mut [u8; GROUP_SIZE]) {
        for (page, place) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
            if let Some(content) = self.pages.get(&group.page(page)) {
                *place = *content;
            }
        }
    }
}

/// What a space holds, from its beginning on. Each group is verified before any byte of it is given.
pub struct SpaceReader<'a, S> {
    frames: Frames<'a, S>,
    /// Those that come.
    groups: &'a [Group],
    space: Space,
    /// The group that is read, if the file has it, and how much of it has been.
    bytes: Box<[u8; GROUP_SIZE]>,
    used: usize,
    /// The number of the next.
    next: u32,
}

impl<S: ReadAt> SpaceReader<'_, S> {
    fn advance(&mut self) -> Result<(), Error> {
        self.bytes.fill(0);
        while let Some((group, rest)) = self.groups.split_first() {
            if group.space > self.space || (group.space == self.space && group.number > self.next) {
                break;
            }
            self.groups = rest;
            self.frames.next(group, &mut self.bytes)?;
            if group.space == self.space {
                break;
            }
            self.bytes.fill(0);
        }
        self.next += 1;
        self.used = 0;
        Ok(())
    }
}

impl<S: ReadAt> Read for SpaceReader<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == GROUP_SIZE {
            self.advance().map_err(io::Error::other)?;
        }
        let count = buffer.len().min(GROUP_SIZE - self.used);
        buffer[..count].copy_from_slice(&self.bytes[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}

/// The frames, one after the other.
struct Frames<'a, S> {
    source: &'a S,
    /// Where the next one begins in the file.
    at: u64,
    decompressor: Decompressor<'static>,
    hot: Hot,
}

impl<S: ReadAt> Frames<'_, S> {
    /// Decompresses the frame of `group` and verifies what was in it. Of `bytes`, pages that are not present mean nothing.
    fn next(&mut self, group: &Group, bytes: &mut [u8; GROUP_SIZE]) -> Result<(), Error> {
        read_frame(self.source, (group, self.at), &self.hot, &mut self.decompressor, bytes)?;
        self.at += u64::from(group.slot);
        Ok(())
    }
}

/// Decompresses the frame of `group`, which begins at `at`, and verifies what is in it and in front of it. Of `bytes`, pages that are not present mean nothing.
fn read_frame<S: ReadAt>(
    source: &S,
    (group, at): (&Group, u64),
    hot: &Hot,
    decompressor: &mut Decompressor<'_>,
    bytes: &mut [u8; GROUP_SIZE],
) -> Result<(), Error> {
    let part = Part::Pages { space: group.space, address: group.address() };
    let cold = cold(group, &hot.sets);
    if group.slot > 0 || cold != PageSet::EMPTY {
        let mut frame = vec![0; group.slot as usize];
        source.read_exact_at(&mut frame, at).map_err(Error::reading)?;
        let content = decompress(decompressor, part, &frame, cold.len() as usize * PAGE_SIZE, GROUP_SIZE as u64)?;
        spread(&content, cold, bytes);
    }
    hot.put(group, bytes);
    part.require(digest_group(bytes, group.present), group.digest)
}

/// What is in a frame of `length` bytes.
fn decompress(decompressor: &mut Decompressor<'_>, part: Part, frame: &[u8], length: usize, window: u64) -> Result<Vec<u8>, Error> {
    check_frame(frame, length, window).map_err(|problem| Error::malformed(part, problem))?;
    let mut content = vec![0; length];
    match decompressor.decompress_to_buffer(frame, content.as_mut_slice()) {
        Ok(found) if found == length => Ok(content),
        Ok(found) => Err(Error::malformed(part, format!("its frame holds {found} bytes, {length} were wanted"))),
        Err(error) => Err(Error::malformed(part, format!("its frame cannot be decompressed: {error}"))),
    }
}

/// Puts the pages that are present to their places.
fn spread(content: &[u8], present: PageSet, bytes: &mut [u8; GROUP_SIZE]) {
    let mut rest = content;
    for range in present.ranges() {
        let (pages, tail) = rest.split_at(range.len());
        bytes[range].copy_from_slice(pages);
        rest = tail;
    }
}

/// First bytes of a frame of zstd; other frames are for other programs to skip.
const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The frame's content tells the window: it has no field of its own.
const SINGLE_SEGMENT: u8 = 1 << 5;
const CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 0b11;

/// Checks that `frame` is one frame as FORMAT.md wants it, of `length` bytes and with a window of at most `limit`, before the decompressor sees it (RFC 8878, section 3.1.1.1).
fn check_frame(frame: &[u8], length: usize, limit: u64) -> Result<(), String> {
    let (Some(MAGIC), Some(descriptor)) = (frame.get(..MAGIC.len()), frame.get(MAGIC.len())) else {
        return Err("its frame does not begin as one of zstd does".into());
    };
    if descriptor & (CHECKSUM | DICTIONARY) != 0 {
        return Err("its frame has a checksum or a dictionary".into());
    }
    if descriptor & SINGLE_SEGMENT == 0 {
        let window = frame.get(MAGIC.len() + 1).map_or(0, |byte| {
            let base = 1_u64 << (10 + (byte >> 3));
            base + base / 8 * u64::from(byte & 7)
        });
        if window > limit {
            return Err(format!("its frame has a window of {window} bytes, at most {limit} are allowed"));
        }
    }
    match get_frame_content_size(frame) {
        Ok(Some(found)) if found == length as u64 => {}
        Ok(Some(found)) => return Err(format!("its frame says that it holds {found} bytes, {length} were wanted")),
        _ => return Err("its frame does not say how much it holds".into()),
    }
    match find_frame_compressed_size(frame) {
        Ok(found) if found == frame.len() => Ok(()),
        _ => Err(format!("there is not one whole frame in its {} bytes", frame.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(content: &[u8], set: impl FnOnce(&mut Compressor<'_>)) -> Vec<u8> {
        let mut compressor = Compressor::new(1).unwrap();
        set(&mut compressor);
        compressor.compress(content).unwrap()
    }

    #[test]
    fn a_frame_is_one_frame_as_specified() {
        use zstd::zstd_safe::CParameter::{ChecksumFlag, ContentSizeFlag};
        let content: Vec<u8> = (0..8192_u32).map(|n| ((n * n) >> 7) as u8).collect();
        let good = frame(&content, |_| ());
        assert_eq!(check_frame(&good, content.len(), GROUP_SIZE as u64), Ok(()));

        let refused = |frame: &[u8], words: &str| {
            let problem = check_frame(frame, content.len(), GROUP_SIZE as u64).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        };
        refused(&[], "does not begin");
        refused(&good[..4], "does not begin");
        refused(&[&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0][..], &good].concat(), "does not begin"); // to be skipped
        refused(&good[..good.len() - 1], "not one whole frame");
        refused(&[&good[..], &good].concat(), "not one whole frame");
        refused(&frame(&content[..4096], |_| ()), "4096 bytes, 8192 were wanted");
        refused(&frame(&content, |compressor| compressor.set_parameter(ChecksumFlag(true)).unwrap()), "checksum");
        refused(&frame(&content, |compressor| compressor.set_parameter(ContentSizeFlag(false)).unwrap()), "how much");
        // As the first, but with a window of its own: 64 KiB, and the next larger.
        let windowed = |window: u8| [&good[..4], &[good[4] & !SINGLE_SEGMENT, window], &good[5..]].concat();
        assert_eq!(check_frame(&windowed(6 << 3), content.len(), GROUP_SIZE as u64), Ok(()));
        refused(&windowed(6 << 3 | 1), "a window of 73728 bytes");
        refused(&windowed(0xff), "a window of");
    }
}
