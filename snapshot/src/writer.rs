//! A machine to bytes.

use crate::content::content_digest;
use crate::delta::scan_against;
use crate::header::{Header, MachineId};
use crate::index::{Group, encode_index, has_disks, place, place_delta, runs, scan};
use crate::pages::{GROUP_SIZE, Memory, Pages, Space};
use crate::section::{MAX_SECTIONS, SectionEntry, SectionName};
use crate::{Delta, Digest, Error, MAX_SECTIONS_LEN, ReadAt, Record, Snapshot, encode_record};
use std::collections::BTreeMap;
use std::io::{self, Cursor, Seek, SeekFrom, Write};

/// Collects a machine's records and writes them with its memory. The same machine gives the same bytes, in whatever
/// order its records come.
#[derive(Debug)]
pub struct Writer {
    machine: MachineId,
    sections: BTreeMap<SectionName, Section>,
}

#[derive(Debug)]
struct Section {
    version: u16,
    critical: bool,
    body: Vec<u8>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the file, holes included.
    pub file_length: u64,
    /// The name of the snapshot.
    pub content_digest: Digest,
    /// Pages that were not all zero, of all spaces. Of a delta, those of them that are not the base's.
    pub pages: u64,
    /// Mappings that a restore takes, at most.
    pub runs: usize,
}

impl Writer {
    /// A snapshot of `machine`, without any state yet.
    pub const fn new(machine: MachineId) -> Self {
        Self { machine, sections: BTreeMap::new() }
    }

    /// Adds the state of the machine's `instance`-th device of a kind, from 0.
    pub fn add<R: Record>(&mut self, instance: u16, record: &R) -> Result<(), Error> {
        let name = SectionName { id: R::ID, instance };
        let section = Section { version: R::VERSION, critical: R::CRITICAL, body: encode_record(record)? };
        match self.sections.insert(name, section) {
            None => Ok(()),
            Some(_) => Err(Error::DuplicateSection { name }),
        }
    }

    /// Adds every section of another snapshot of the same machine.
    pub fn add_sections_of<S: ReadAt>(&mut self, snapshot: &Snapshot<S>) -> Result<(), Error> {
        snapshot.machine().require(&self.machine)?;
        self.add_sections(snapshot.sections_with_bodies())
    }

    /// The same of a delta, which has all of them.
    pub fn add_sections_of_delta<S: ReadAt>(&mut self, delta: &Delta<S>) -> Result<(), Error> {
        delta.machine().require(&self.machine)?;
        self.add_sections(delta.sections_with_bodies())
    }

    fn add_sections<'a>(&mut self, sections: impl Iterator<Item = (&'a SectionEntry, &'a [u8])>) -> Result<(), Error> {
        for (entry, body) in sections {
            let section = Section { version: entry.version, critical: entry.critical, body: body.to_vec() };
            if self.sections.insert(entry.name, section).is_some() {
                return Err(Error::DuplicateSection { name: entry.name });
            }
        }
        Ok(())
    }

    /// A snapshot of the records alone, as if all memory were zero.
    pub fn records(&self) -> Result<Vec<u8>, Error> {
        self.machine.check_ram_size()?;
        let mut file = Cursor::new(Vec::new());
        self.write_groups(&Memory::of_ram(Pages::new(&[])), (Vec::new(), 0), None, &mut file)?;
        Ok(file.into_inner())
    }

    /// Writes the snapshot to `sink`, which is empty: zeroes between pages are skipped by seeking forward. The bytes are
    /// handed over when this returns; making them durable is up to whoever owns the sink.
    pub fn write<'a, W: Write + Seek>(&self, memory: impl Into<Memory<'a>>, sink: &mut W) -> Result<Written, Error> {
        let memory = memory.into();
        self.check(&memory)?;
        let mut groups = scan(&memory);
        let slot_count = place(&mut groups);
        self.write_groups(&memory, (groups, slot_count), None, sink)
    }

    /// The same as a delta on `base`, a whole snapshot of the same machine: it has the pages that differ from the base's.
    pub fn write_delta<'a, W: Write + Seek, S: ReadAt>(
        &self,
        memory: impl Into<Memory<'a>>,
        base: &Snapshot<S>,
        sink: &mut W,
    ) -> Result<Written, Error> {
        let memory = memory.into();
        self.check(&memory)?;
        base.machine().require(&self.machine)?;
        let mut groups = scan_against(&memory, base)?;
        let slot_count = place_delta(&mut groups);
        self.write_groups(&memory, (groups, slot_count), Some(base.header().content_digest), sink)
    }

    /// Checks that `memory` is this machine's.
    fn check(&self, memory: &Memory<'_>) -> Result<(), Error> {
        self.machine.check_ram_size()?;
        if memory.len_of(Space::Ram) != self.machine.ram_size {
            return Err(Error::WrongRamSize { found: memory.len_of(Space::Ram), wanted: self.machine.ram_size });
        }
        if let Some((space, pages)) = memory.spaces().find(|(_, pages)| !pages.len().is_multiple_of(GROUP_SIZE as u64)) {
            return Err(Error::InvalidDiskSize { space, found: pages.len() });
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "sections and groups are bounded, and their sum was just checked")]
    fn write_groups<W: Write + Seek>(
        &self,
        memory: &Memory<'_>,
        (groups, slot_count): (Vec<Group>, u32),
        base: Option<Digest>,
        sink: &mut W,
    ) -> Result<Written, Error> {
        if self.sections.len() > MAX_SECTIONS as usize {
            return Err(Error::TooManySections { found: self.sections.len() as u64 });
        }
        let bodies = self.sections.values().map(|section| section.body.as_slice()).collect::<Vec<_>>().concat();
        if bodies.len() > MAX_SECTIONS_LEN {
            return Err(Error::SectionsTooLong { found: bodies.len() as u64 });
        }
        let mut table = Vec::new();
        for (name, Section { version, critical, body }) in &self.sections {
            let entry =
                SectionEntry { name: *name, version: *version, critical: *critical, len: body.len() as u32, digest: Digest::of(body) };
            entry.encode(&mut table);
        }
        let index = encode_index(&groups);
        let section_count = self.sections.len() as u32;
        let header = Header {
            machine: self.machine,
            base,
            has_disks: has_disks(&groups),
            section_count,
            sections_len: bodies.len() as u64,
            group_count: groups.len() as u32,
            slot_count,
            frames_len: None,
            hot_len: 0,
            table_digest: Digest::of(&table),
            index_digest: Digest::of(&index),
            content_digest: content_digest(&self.machine, base, section_count, &table, &groups),
        };

        let mut start = header.encode();
        start.extend(table);
        start.extend(bodies);
        start.extend(index);
        start.resize(header.pages_offset() as usize, 0);
        write_all(sink, &start, memory, &groups, slot_count).map_err(Error::writing)?;
        Ok(Written::new(&header, &groups))
    }
}

impl Written {
    pub(crate) fn new(header: &Header, groups: &[Group]) -> Self {
        Self {
            file_length: header.file_length(),
            content_digest: header.content_digest,
            pages: groups.iter().map(|group| u64::from(group.present.len())).sum(),
            runs: groups.chunk_by(|first, second| first.space == second.space).map(|space| runs(space, 0).count()).sum(),
        }
    }
}

fn write_all<W: Write + Seek>(sink: &mut W, start: &[u8], memory: &Memory<'_>, groups: &[Group], slot_count: u32) -> io::Result<()> {
    sink.write_all(start)?;
    let mut area = PageArea::new(sink);
    for group in groups {
        if let Some(bytes) = memory.group(group.space, group.number) {
            area.put(group, bytes)?;
        }
    }
    area.finish(slot_count)
}

/// The page area, written from its start. What is zero is skipped by seeking forward.
pub(crate) struct PageArea<'a, W> {
    sink: &'a mut W,
    /// Bytes of the area.
    written: u64,
}

impl<'a, W: Write + Seek> PageArea<'a, W> {
    pub fn new(sink: &'a mut W) -> Self {
        Self { sink, written: 0 }
    }

    /// Writes what is present of `group`, whose place is behind all that were written.
    #[expect(clippy::cast_possible_wrap, reason = "the distance between two groups of one file")]
    pub fn put(&mut self, group: &Group, bytes: &[u8; GROUP_SIZE]) -> io::Result<()> {
        for range in group.present.ranges() {
            let offset = u64::from(group.slot) * GROUP_SIZE as u64 + range.start as u64;
            if offset != self.written {
                self.sink.seek(SeekFrom::Current((offset - self.written) as i64))?;
            }
            self.written = offset + range.len() as u64;
            self.sink.write_all(&bytes[range])?;
        }
        Ok(())
    }

    /// Ends an area of `slot_count` slots.
    #[expect(clippy::cast_possible_truncation, reason = "at most a group")]
    pub fn finish(self, slot_count: u32) -> io::Result<()> {
        // A hole at the very end would leave the file too short.
        let end = u64::from(slot_count) * GROUP_SIZE as u64;
        self.sink.write_all(&vec![0; (end - self.written) as usize])?;
        self.sink.flush()
    }
}
