//! Bytes to a machine.

use crate::content::content_digest;
use crate::error::Part;
use crate::header::{Form, HEADER_LEN, Header, MachineId};
use crate::index::{Group, Run, decode_index, decode_travelling_index, has_disks, runs};
use crate::pages::{GROUP_SIZE, PAGES_PER_GROUP, PageSet, Space, digest_group, is_zero};
use crate::section::{SectionEntry, SectionName, decode_table};
use crate::{Error, Record, decode_record};
use std::collections::BTreeMap;
use std::io;

/// Bytes that can be read at any offset: a file, a mapping, a slice.
pub trait ReadAt {
    /// How many bytes there are.
    fn byte_len(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset`. An end before that is [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn byte_len(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let bytes = self.get(start..).and_then(|rest| rest.get(..buffer.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn byte_len(&self) -> u64 {
        (**self).byte_len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset)
    }
}

/// An open snapshot: its header, table, sections and index are verified; its pages are not yet.
#[derive(Debug)]
pub struct Snapshot<S> {
    source: S,
    header: Header,
    entries: Vec<SectionEntry>,
    bodies: Vec<u8>,
    groups: Vec<Group>,
}

impl<S: ReadAt> Snapshot<S> {
    /// Opens a whole snapshot, reading and verifying all but the pages. For a delta see [`Delta`](crate::Delta).
    ///
    /// Memory taken is bounded by the length of the source and by [`MAX_SECTIONS_LEN`](crate::MAX_SECTIONS_LEN).
    pub fn open(source: S) -> Result<Self, Error> {
        Self::open_as(source, Form::Stored)?.whole()
    }

    /// This snapshot, unless it is a delta.
    pub(crate) fn whole(self) -> Result<Self, Error> {
        match self.header.base {
            None => Ok(self),
            Some(base) => Err(Error::Delta { base }),
        }
    }

    /// The same in either form, and of a delta too. In the travelling form nothing can be read of the pages.
    pub(crate) fn open_as(source: S, form: Form) -> Result<Self, Error> {
        let len = source.byte_len();
        let start = read(&source, 0, len.min(HEADER_LEN as u64))?;
        let header = Header::decode(&start, len)?;
        if header.form() != form {
            return Err(Error::WrongForm { found: header.form() });
        }

        let table = read(&source, HEADER_LEN as u64, header.table_len())?;
        Part::Table.verify(&table, header.table_digest)?;
        let entries = decode_table(&table, header.sections_len)?;

        let index = read(&source, header.index_offset(), header.index_len())?;
        Part::Index.verify(&index, header.index_digest)?;
        let groups = match header.frames_len {
            None => decode_index(&index, header.machine.ram_size, header.slot_count, header.base.is_some())?,
            Some(frames_len) => decode_travelling_index(&index, header.machine.ram_size, frames_len.saturating_sub(header.hot_len.into()))?,
        };
        if has_disks(&groups) != header.has_disks {
            return Err(Error::malformed(Part::Index, "the feature `disks` does not say whether there are pages of disks"));
        }

        let content = content_digest(&header.machine, header.base, header.section_count, &table, &groups);
        Part::Content.require(content, header.content_digest)?;

        let bodies = read(&source, header.bodies_offset(), header.sections_len)?;
        let snapshot = Self { source, header, entries, bodies, groups };
        for (entry, body) in snapshot.sections_with_bodies() {
            Part::Section(entry.name).verify(body, entry.digest)?;
        }
        Ok(snapshot)
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The machine that was saved; see [`MachineId::require`].
    pub const fn machine(&self) -> &MachineId {
        &self.header.machine
    }

    /// What the snapshot is read from.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// The section table, in order of name.
    pub fn entries(&self) -> &[SectionEntry] {
        &self.entries
    }

    /// The records, to be taken one by one.
    pub fn sections(&self) -> Sections<'_> {
        Sections { left: self.sections_with_bodies().map(|(entry, body)| (entry.name, (entry, body))).collect() }
    }

    /// Every entry of the table and the bytes of its section.
    pub(crate) fn sections_with_bodies(&self) -> impl Iterator<Item = (&SectionEntry, &[u8])> {
        let mut rest = self.bodies.as_slice();
        self.entries.iter().map(move |entry| {
            let (body, tail) = rest.split_at(entry.len as usize);
            rest = tail;
            (entry, body)
        })
    }

    /// The section table as it is in the file.
    #[cfg(feature = "travel")]
    pub(crate) fn table(&self) -> Vec<u8> {
        let mut table = Vec::new();
        self.entries.iter().for_each(|entry| entry.encode(&mut table));
        table
    }

    /// The bytes of all sections, one after the other.
    #[cfg(feature = "travel")]
    pub(crate) fn bodies(&self) -> &[u8] {
        &self.bodies
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The groups of `space`.
    pub(crate) fn groups_of(&self, space: Space) -> &[Group] {
        let start = self.groups.partition_point(|group| group.space < space);
        let end = self.groups.partition_point(|group| group.space <= space);
        &self.groups[start..end]
    }

    /// The spaces that hold something, in ascending order.
    pub fn spaces(&self) -> impl Iterator<Item = Space> {
        self.groups.chunk_by(|first, second| first.space == second.space).map(|space| space[0].space)
    }

    /// Checks that all pages of disks are on disks of the machine. `size` tells how many bytes disk n holds in memory; `None` if there is no
    /// such disk.
    pub fn require_disks(&self, size: impl Fn(u16) -> Option<u64>) -> Result<(), Error> {
        for space in self.groups.chunk_by(|first, second| first.space == second.space) {
            if let (Space::Disk(number), Some(last)) = (space[0].space, space.last()) {
                let wanted = size(number).unwrap_or(0);
                if last.end() > wanted {
                    return Err(Error::WrongDisk { number, found: last.end(), wanted });
                }
            }
        }
        Ok(())
    }

    /// Pages of `space` that are not all zero.
    pub fn page_count(&self, space: Space) -> u64 {
        self.groups_of(space).iter().map(|group| u64::from(group.present.len())).sum()
    }

    /// Groups of `space` that are not all zero.
    pub fn group_count(&self, space: Space) -> usize {
        self.groups_of(space).len()
    }

    /// The stretches of `space` that the file holds, in ascending order of both; what is outside of them is zero. At most
    /// [`MAX_RUNS`](crate::MAX_RUNS). Nothing of them is verified: map only a file that [`Self::verify_all`] has passed and that
    /// has not changed since.
    pub fn runs(&self, space: Space) -> impl Iterator<Item = Run> {
        runs(self.groups_of(space), self.header.pages_offset())
    }

    /// Numbers of the groups of `space` that the file holds, ascending: see [`Self::read_group`]. All others are zero.
    pub fn group_numbers(&self, space: Space) -> impl Iterator<Item = u64> {
        self.groups_of(space).iter().map(|group| u64::from(group.number))
    }

    /// Numbers of the pages of `space` that are not all zero, ascending.
    pub fn page_numbers(&self, space: Space) -> impl Iterator<Item = u64> {
        let pages = |group: &Group| {
            let (first, present) = (u64::from(group.number) * PAGES_PER_GROUP as u64, group.present);
            (0..PAGES_PER_GROUP).filter(move |page| present.has(*page)).map(move |page| first + page as u64)
        };
        self.groups_of(space).iter().flat_map(pages)
    }

    /// Reads the group of pages that begins at address `number` × [`GROUP_SIZE`] of `space`, and verifies it. `false`: nothing in
    /// it is in the snapshot, and `buffer` is zero.
    pub fn read_group(&self, space: Space, number: u64, buffer: &mut [u8; GROUP_SIZE]) -> Result<bool, Error> {
        let groups = self.groups_of(space);
        match groups.binary_search_by_key(&number, |group| u64::from(group.number)) {
            Ok(found) => self.read_verified(&groups[found], buffer).map(|()| true),
            Err(_) => {
                buffer.fill(0);
                Ok(false)
            }
        }
    }

    pub(crate) fn read_verified(&self, group: &Group, buffer: &mut [u8; GROUP_SIZE]) -> Result<(), Error> {
        let offset = self.slot_offset(group.slot);
        self.source.read_exact_at(buffer, offset).map_err(Error::reading)?;
        let part = Part::Pages { space: group.space, address: group.address() };
        part.require(digest_group(buffer, group.present), group.digest)?;
        require_holes(buffer, group.present.complement(), offset)
    }

    /// Verifies every byte of the file that [`Self::open`] did not: all pages, and that all between them is zero.
    pub fn verify_all(&self) -> Result<(), Error> {
        let index_end = self.header.index_offset() + self.header.index_len();
        let padding = read(&self.source, index_end, self.header.pages_offset() - index_end)?;
        if !is_zero(&padding) {
            return Err(Error::HoleNotEmpty { offset: index_end, len: padding.len() as u64 });
        }
        let mut buffer = [0; GROUP_SIZE];
        let mut slot = 0;
        for group in &self.groups {
            for hole in slot..group.slot {
                let offset = self.slot_offset(hole);
                self.source.read_exact_at(&mut buffer, offset).map_err(Error::reading)?;
                require_holes(&buffer, PageSet::EMPTY.complement(), offset)?;
            }
            self.read_verified(group, &mut buffer)?;
            slot = group.slot + 1;
        }
        Ok(())
    }

    const fn slot_offset(&self, slot: u32) -> u64 {
        self.header.pages_offset() + slot as u64 * GROUP_SIZE as u64
    }
}

/// Checks that the pages in `holes` of a group that stands at `offset` of the file are zero.
fn require_holes(group: &[u8; GROUP_SIZE], holes: PageSet, offset: u64) -> Result<(), Error> {
    match holes.ranges().find(|range| !is_zero(&group[range.clone()])) {
        None => Ok(()),
        Some(range) => Err(Error::HoleNotEmpty { offset: offset + range.start as u64, len: range.len() as u64 }),
    }
}

/// Reads `len` bytes, which the header was checked to place inside the source.
fn read(source: &impl ReadAt, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
    let len = usize::try_from(len).map_err(|_| Error::reading(io::ErrorKind::OutOfMemory.into()))?;
    let mut bytes = vec![0; len];
    source.read_exact_at(&mut bytes, offset).map_err(Error::reading)?;
    Ok(bytes)
}

/// The records of a snapshot that were not taken yet.
#[derive(Debug)]
pub struct Sections<'a> {
    left: BTreeMap<SectionName, (&'a SectionEntry, &'a [u8])>,
}

impl<'a> Sections<'a> {
    /// Takes the state of the machine's `instance`-th device of a kind; an error if there is none.
    pub fn take<R: Record>(&mut self, instance: u16) -> Result<R, Error> {
        let name = SectionName { id: R::ID, instance };
        self.take_if_present(instance)?.ok_or(Error::MissingSection { name })
    }

    /// Takes the state of the machine's `instance`-th device of a kind, if there is one.
    pub fn take_if_present<R: Record>(&mut self, instance: u16) -> Result<Option<R>, Error> {
        let name = SectionName { id: R::ID, instance };
        let Some((entry, body)) = self.left.remove(&name) else { return Ok(None) };
        if entry.version != R::VERSION {
            return Err(Error::SectionVersion { name, found: entry.version, supported: R::VERSION });
        }
        decode_record(body).map(Some)
    }

    /// The sections that nobody has taken yet.
    pub fn left(&self) -> impl Iterator<Item = &'a SectionEntry> {
        self.left.values().map(|(entry, _)| *entry)
    }

    /// Ends taking: a critical section that nobody took is an error. Returns the others, which were skipped.
    pub fn finish(self) -> Result<Vec<&'a SectionEntry>, Error> {
        match self.left.values().find(|(entry, _)| entry.critical) {
            Some((entry, _)) => Err(Error::UnknownCriticalSection { name: entry.name, version: entry.version }),
            None => Ok(self.left.into_values().map(|(entry, _)| entry).collect()),
        }
    }
}
