//! The travelling form is made: of a snapshot, and of a disk.

use crate::content::content_digest;
use crate::error::Part;
use crate::frame::WINDOW_LOG;
use crate::header::{Header, MachineId, Model, RAM_SIZE_UNIT};
use crate::hot::{HotPage, HotPages};
use crate::index::{Group, encode_index};
use crate::pages::{GROUP_SIZE, PageSet, Pages, Space, digest_group};
use crate::section::{SectionEntry, SectionName};
use crate::travel::{cold, start_of};
use crate::writer::Written;
use crate::{Digest, Error, ReadAt, Record, Snapshot, encode_record};
use std::io::{Seek, SeekFrom, Write};
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

/// How hard the compressor tries: a snapshot is packed once and pulled often. Of the demo's, level 15 leaves 1 % more than level 19 does, in a
/// third of the time, and 5 % less than level 9.
const LEVEL: i32 = 15;

/// How hard it tries with the frame that is waited for.
const HOT_LEVEL: i32 = 19;
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
        compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG)).map_err(Error::writing)?;
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
