//! Sections: the parts of a snapshot that are not pages, and the table of them.

use crate::bytes::Fields;
use crate::error::Part;
use crate::{Digest, Error};
use std::fmt;

/// Bytes of an entry of the section table.
pub(crate) const TABLE_ENTRY_LEN: usize = 48;
/// Sections that a snapshot may have.
pub const MAX_SECTIONS: u32 = 1024;

/// Entry flag: a reader that does not know the section refuses the snapshot.
const FLAG_CRITICAL: u32 = 1 << 0;

/// The name of a kind of section: four ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionId([u8; 4]);

impl SectionId {
    /// An id from its letters.
    pub const fn new(letters: [u8; 4]) -> Self {
        Self(letters)
    }

    /// The letters as they are stored.
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for SectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for SectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SectionId({self})")
    }
}

/// Which section: its kind, and which of the kind (the second disk's is instance 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionName {
    /// The kind.
    pub id: SectionId,
    /// Which of its kind, from 0.
    pub instance: u16,
}

impl fmt::Display for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.instance {
            0 => write!(f, "{}", self.id),
            n => write!(f, "{}.{n}", self.id),
        }
    }
}

/// An entry of the section table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionEntry {
    /// Which section.
    pub name: SectionName,
    /// Version of the record in it.
    pub version: u16,
    /// Whether a reader that does not know it must refuse the snapshot.
    pub critical: bool,
    /// Bytes of its body.
    pub len: u32,
    /// Digest of its body.
    pub digest: Digest,
}

impl SectionEntry {
    pub(crate) fn encode(&self, table: &mut Vec<u8>) {
        table.extend(self.name.id.as_bytes());
        table.extend(self.name.instance.to_le_bytes());
        table.extend(self.version.to_le_bytes());
        table.extend(if self.critical { FLAG_CRITICAL } else { 0 }.to_le_bytes());
        table.extend(self.len.to_le_bytes());
        table.extend(self.digest.as_bytes());
    }

    fn decode(bytes: &[u8; TABLE_ENTRY_LEN]) -> Result<Self, Error> {
        let mut fields = Fields::new(bytes);
        let id = SectionId::new(fields.array());
        let name = SectionName { id, instance: fields.u16() };
        let version = fields.u16();
        let flags = fields.u32();
        let len = fields.u32();
        let digest = Digest::from_bytes(fields.array());
        if flags & !FLAG_CRITICAL != 0 {
            return Err(Error::malformed(Part::Table, format!("section {name} has unknown flags {flags:#x}")));
        }
        Ok(Self { name, version, critical: flags & FLAG_CRITICAL != 0, len, digest })
    }
}

/// The entries of a table whose digest was verified. Their bodies fill `sections_len` bytes.
pub(crate) fn decode_table(table: &[u8], sections_len: u64) -> Result<Vec<SectionEntry>, Error> {
    let (entries, _) = table.as_chunks::<TABLE_ENTRY_LEN>();
    let entries: Vec<SectionEntry> = entries.iter().map(SectionEntry::decode).collect::<Result<_, _>>()?;
    if let Some((first, second)) = entries.iter().zip(entries.iter().skip(1)).find(|(first, second)| first.name >= second.name) {
        return Err(Error::malformed(Part::Table, format!("section {} follows {}", second.name, first.name)));
    }
    let total: u64 = entries.iter().map(|entry| u64::from(entry.len)).sum();
    if total != sections_len {
        return Err(Error::malformed(Part::Table, format!("the sections are {total} bytes long, but there is room for {sections_len}")));
    }
    Ok(entries)
}
