//! The travelling form: the same snapshot in fewer bytes, for registries and other places where size counts.

use crate::error::Part;
use crate::frame::{Unpacker, WINDOW_LOG, compress_bound};
use crate::header::{Form, Header, MachineId};
use crate::hot::{HotPage, HotPages, Sets};
use crate::index::{Group, encode_index, place};
use crate::pages::{GROUP_SIZE, PAGE_SIZE, PageSet, Space, digest_group};
use crate::writer::{PageArea, Written};
use crate::{Digest, Error, ReadAt, Sections, Snapshot};
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, Write};
use std::rc::Rc;

/// The pages that are in the frame of `group` itself.
pub(crate) fn cold(group: &Group, hot: &Sets) -> PageSet {
    let hot = hot.get(&(group.space.number(), group.number)).copied().unwrap_or_default();
    group.present.without(hot)
}

/// All of a file before the page area.
#[expect(clippy::cast_possible_truncation, reason = "a header, a table and an index, all of which were just made in memory")]
pub(crate) fn start_of(header: &Header, table: &[u8], bodies: &[u8], index: &[u8]) -> Vec<u8> {
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
        self.placed().0.file_length()
    }

    /// Writes the stored form to `sink`, which is empty, and verifies every page on the way: all of what was written is good. Zeroes are
    /// skipped by seeking forward. `watch` is told after each group how many bytes of pages have been written.
    pub fn unpack<W: Write + Seek>(&self, sink: &mut W, mut watch: impl FnMut(u64)) -> Result<Written, Error> {
        let (header, groups) = self.placed();
        sink.write_all(&self.head(&header, &groups)).map_err(Error::writing)?;

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
        area.finish(header.slot_count).map_err(Error::writing)?;
        Ok(Written::new(&header, &groups))
    }

    /// The header of the stored form, and the groups with their slots there.
    pub(crate) fn placed(&self) -> (Header, Vec<Group>) {
        let mut groups = self.0.groups().to_vec();
        let slot_count = place(&mut groups);
        let index_digest = Digest::of(&encode_index(&groups));
        (Header { slot_count, frames_len: None, hot_len: 0, index_digest, ..self.header().clone() }, groups)
    }

    /// All of the stored form before its page area.
    pub(crate) fn head(&self, header: &Header, groups: &[Group]) -> Vec<u8> {
        start_of(header, &self.0.table(), self.0.bodies(), &encode_index(groups))
    }

    /// Reads what `space` holds, and zeroes without end behind that.
    pub fn reader(&self, space: Space) -> Result<SpaceReader<'_, S>, Error> {
        let (frames, groups) = (self.frames()?, self.0.groups());
        Ok(SpaceReader { frames, groups, space, bytes: Box::new([0; GROUP_SIZE]), used: GROUP_SIZE, next: 0 })
    }

    /// The records, to be taken one by one.
    pub fn sections(&self) -> Sections<'_> {
        self.0.sections()
    }

    /// Numbers of the pages of `space` that are not all zero, ascending.
    pub fn page_numbers(&self, space: Space) -> impl Iterator<Item = u64> {
        self.0.page_numbers(space)
    }

    /// See [`Snapshot::spaces`].
    pub fn spaces(&self) -> impl Iterator<Item = Space> {
        self.0.spaces()
    }

    /// See [`Snapshot::require_disks`].
    pub fn require_disks(&self, size: impl Fn(u16) -> Option<u64>) -> Result<(), Error> {
        self.0.require_disks(size)
    }

    /// Where the frames of single groups begin in the file: what is before them is enough to open it, and to have the pages that are wanted first.
    pub fn start(&self) -> u64 {
        self.header().pages_offset() + u64::from(self.header().hot_len)
    }

    fn frames(&self) -> Result<Frames<'_, S>, Error> {
        Ok(Frames { source: self.0.source(), at: self.start(), unpacker: Unpacker::new()?, hot: self.hot()? })
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
        let content = Unpacker::new()?.unpack(Part::Hot, &frame, list.content_len(), 1 << WINDOW_LOG)?;
        list.verify(&content)?;
        let pages = list.pages.iter().copied().zip(content.as_chunks().0.iter().copied()).collect();
        Ok(Hot { sets: list.sets(), pages })
    }
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

/// The pages of a file in its travelling form, in any order, while some of its frames may still be on their way.
pub struct TravellingPages<S> {
    travelling: Rc<Travelling<S>>,
    hot: Hot,
    /// Where the frame of each group begins in the file.
    starts: Vec<u64>,
    unpacker: Unpacker,
}

impl<S: ReadAt> TravellingPages<S> {
    /// Those of `travelling`. All that is before the frames of single groups is read, and verified.
    pub fn new(travelling: Rc<Travelling<S>>) -> Result<Self, Error> {
        let next = |at: &mut u64, group: &Group| {
            let start = *at;
            *at += u64::from(group.slot);
            Some(start)
        };
        let starts = travelling.0.groups().iter().scan(travelling.start(), next).collect();
        Ok(Self { hot: travelling.hot()?, unpacker: Unpacker::new()?, starts, travelling })
    }

    /// What they are of.
    pub fn travelling(&self) -> &Travelling<S> {
        &self.travelling
    }

    /// Fills `bytes` with what can be had of the group of pages that has page `number` of `space`, that page among it, verified. Bit n of what it returns:
    /// page n of the group is among it. The other bytes mean nothing. The file is read only if the page did not come with those that are wanted first.
    pub fn read(&mut self, space: Space, number: u64, bytes: &mut [u8; GROUP_SIZE]) -> Result<u16, Error> {
        bytes.fill(0);
        let groups = self.travelling.0.groups();
        let Ok(number) = u32::try_from(number) else { return Ok(u16::MAX) };
        let page = HotPage { space: space.number(), number };
        let Ok(found) = groups.binary_search_by_key(&page.place(), |group| (group.space.number(), group.number)) else {
            return Ok(u16::MAX);
        };
        let group = &groups[found];
        if self.hot.pages.contains_key(&page) {
            self.hot.put(group, bytes);
            return Ok(self.hot.sets.get(&page.place()).map_or(0, |set| set.0));
        }
        self.read_group(found, bytes)?;
        Ok(u16::MAX)
    }

    /// Fills `bytes` with the group at `index` of those of the file, verified.
    pub(crate) fn read_group(&mut self, index: usize, bytes: &mut [u8; GROUP_SIZE]) -> Result<(), Error> {
        let group = (&self.travelling.0.groups()[index], self.starts[index]);
        read_frame(self.travelling.0.source(), group, &self.hot, &mut self.unpacker, bytes)
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
    unpacker: Unpacker,
    hot: Hot,
}

impl<S: ReadAt> Frames<'_, S> {
    /// Decompresses the frame of `group` and verifies what was in it. Of `bytes`, pages that are not present mean nothing.
    fn next(&mut self, group: &Group, bytes: &mut [u8; GROUP_SIZE]) -> Result<(), Error> {
        read_frame(self.source, (group, self.at), &self.hot, &mut self.unpacker, bytes)?;
        self.at += u64::from(group.slot);
        Ok(())
    }
}

/// Decompresses the frame of `group`, which begins at `at`, and verifies what is in it and in front of it. Of `bytes`, pages that are not present mean nothing.
fn read_frame<S: ReadAt>(
    source: &S,
    (group, at): (&Group, u64),
    hot: &Hot,
    unpacker: &mut Unpacker,
    bytes: &mut [u8; GROUP_SIZE],
) -> Result<(), Error> {
    let part = Part::Pages { space: group.space, address: group.address() };
    let cold = cold(group, &hot.sets);
    if group.slot > 0 || cold != PageSet::EMPTY {
        let mut frame = vec![0; group.slot as usize];
        source.read_exact_at(&mut frame, at).map_err(Error::reading)?;
        let content = unpacker.unpack(part, &frame, cold.len() as usize * PAGE_SIZE, GROUP_SIZE as u64)?;
        spread(&content, cold, bytes);
    }
    hot.put(group, bytes);
    part.require(digest_group(bytes, group.present), group.digest)
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
