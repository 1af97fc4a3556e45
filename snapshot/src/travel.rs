//! The travelling form: the same snapshot in fewer bytes, for registries and other places where size counts.

use crate::error::Part;
use crate::header::{Form, Header, MachineId};
use crate::index::{Group, encode_index, place};
use crate::pages::{GROUP_SIZE, PAGE_SIZE, PageSet, digest_group};
use crate::writer::{PageArea, Written};
use crate::{Digest, Error, ReadAt, Snapshot};
use std::io::{Seek, SeekFrom, Write};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

/// How hard the compressor tries: a snapshot is packed once and pulled often. Of the demo's, level 15 leaves 1 % more than level 19 does, in a
/// third of the time, and 5 % less than level 9.
const LEVEL: i32 = 15;

/// Writes `snapshot` in its travelling form to `sink`, which is empty. Every page is verified on the way. The same snapshot gives the
/// same bytes, with the same version of zstd.
#[expect(clippy::cast_possible_truncation, reason = "a compressed group is hardly longer than the group")]
pub fn pack<S: ReadAt, W: Write + Seek>(snapshot: &Snapshot<S>, sink: &mut W) -> Result<Written, Error> {
    let stored = snapshot.header();
    let mut header = Header { slot_count: 0, frames_len: Some(0), ..stored.clone() };
    let mut groups = snapshot.groups().to_vec();
    let mut compressor = Compressor::new(LEVEL).map_err(Error::writing)?;
    let mut bytes = Box::new([0; GROUP_SIZE]);
    let mut content = Vec::with_capacity(GROUP_SIZE);

    // The lengths of the frames are in the index, which comes before them.
    sink.seek(SeekFrom::Start(header.pages_offset())).map_err(Error::writing)?;
    let mut frames_len = 0;
    for group in &mut groups {
        snapshot.read_verified(group, &mut bytes)?;
        content.clear();
        group.present.ranges().for_each(|range| content.extend_from_slice(&bytes[range]));
        let frame = compressor.compress(&content).map_err(Error::writing)?;
        sink.write_all(&frame).map_err(Error::writing)?;
        group.slot = frame.len() as u32;
        frames_len += frame.len() as u64;
    }
    let index = encode_index(&groups);
    header.frames_len = Some(frames_len);
    header.index_digest = Digest::of(&index);
    let start = start_of(&header, snapshot, &index);
    let write_start = |sink: &mut W| {
        sink.seek(SeekFrom::Start(0))?;
        sink.write_all(&start)?;
        sink.seek(SeekFrom::Start(header.file_length()))?;
        sink.flush()
    };
    write_start(sink).map_err(Error::writing)?;
    Ok(Written::new(&header, snapshot.groups()))
}

/// All of a file before the page area.
#[expect(clippy::cast_possible_truncation, reason = "a header, a table and an index, all of which were just made in memory")]
fn start_of<S: ReadAt>(header: &Header, snapshot: &Snapshot<S>, index: &[u8]) -> Vec<u8> {
    let mut start = header.encode();
    start.extend(snapshot.table());
    start.extend(snapshot.bodies());
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
        Header { slot_count, frames_len: None, ..self.header().clone() }.file_length()
    }

    /// Writes the stored form to `sink`, which is empty, and verifies every page on the way: all of what was written is good. Zeroes are
    /// skipped by seeking forward. `watch` is told after each group how many bytes of pages have been written.
    pub fn unpack<W: Write + Seek>(&self, sink: &mut W, mut watch: impl FnMut(u64)) -> Result<Written, Error> {
        let mut groups = self.0.groups().to_vec();
        let slot_count = place(&mut groups);
        let index = encode_index(&groups);
        let header = Header { slot_count, frames_len: None, index_digest: Digest::of(&index), ..self.header().clone() };
        sink.write_all(&start_of(&header, &self.0, &index)).map_err(Error::writing)?;

        let mut frames = Frames { source: self.0.source(), at: self.header().pages_offset(), decompressor: decompressor()? };
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
}

fn decompressor() -> Result<Decompressor<'static>, Error> {
    Decompressor::new().map_err(Error::reading)
}

/// The frames, one after the other.
struct Frames<'a, S> {
    source: &'a S,
    /// Where the next one begins in the file.
    at: u64,
    decompressor: Decompressor<'static>,
}

impl<S: ReadAt> Frames<'_, S> {
    /// Decompresses the frame of `group` and verifies what was in it. Of `bytes`, pages that are not present mean nothing.
    fn next(&mut self, group: &Group, bytes: &mut [u8; GROUP_SIZE]) -> Result<(), Error> {
        let part = Part::Pages { space: group.space, address: group.address() };
        let mut frame = vec![0; group.slot as usize];
        self.source.read_exact_at(&mut frame, self.at).map_err(Error::reading)?;
        self.at += frame.len() as u64;
        let length = group.present.len() as usize * PAGE_SIZE;
        check_frame(&frame, length).map_err(|problem| Error::malformed(part, problem))?;
        let mut content = vec![0; length];
        let decompressed = self.decompressor.decompress_to_buffer(&frame, content.as_mut_slice());
        match decompressed {
            Ok(found) if found == length => {}
            Ok(found) => return Err(Error::malformed(part, format!("its frame holds {found} bytes, {length} were wanted"))),
            Err(error) => return Err(Error::malformed(part, format!("its frame cannot be decompressed: {error}"))),
        }
        spread(&content, group.present, bytes);
        part.require(digest_group(bytes, group.present), group.digest)
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

/// Checks that `frame` is one frame as FORMAT.md wants it, of `length` bytes, before the decompressor sees it (RFC 8878, section 3.1.1.1).
fn check_frame(frame: &[u8], length: usize) -> Result<(), String> {
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
        if window > GROUP_SIZE as u64 {
            return Err(format!("its frame has a window of {window} bytes, at most {GROUP_SIZE} are allowed"));
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
        assert_eq!(check_frame(&good, content.len()), Ok(()));

        let refused = |frame: &[u8], words: &str| {
            let problem = check_frame(frame, content.len()).unwrap_err();
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
        assert_eq!(check_frame(&windowed(6 << 3), content.len()), Ok(()));
        refused(&windowed(6 << 3 | 1), "a window of 73728 bytes");
        refused(&windowed(0xff), "a window of");
    }
}
