//! The fixed header: checked before anything else in the file is believed.

use crate::bytes::Fields;
use crate::error::Part;
use crate::index::GROUP_ENTRY_LEN;
use crate::pages::GROUP_SIZE;
use crate::section::{MAX_SECTIONS, TABLE_ENTRY_LEN};
use crate::{Digest, Error, MAX_SECTIONS_LEN};
use std::{cmp::Ordering, fmt};

/// Version of the format that is written here, and the newest that is read.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes in the header.
pub const HEADER_LEN: usize = 256;
/// First bytes of every snapshot. The first is not ASCII and line ends follow, so that a transfer as text is noticed.
pub const MAGIC: [u8; 8] = *b"\x89PBSN\r\n\x1a";

/// RAM is a multiple of this many bytes …
pub const RAM_SIZE_UNIT: u64 = 2 << 20;
/// … and at most this many.
pub const MAX_RAM_SIZE: u64 = 64 << 30;

/// Feature: pages that are not covered are those of a base.
const DELTA: u32 = 1 << 0;
/// Feature: the index has entries of other spaces than RAM.
const DISKS: u32 = 1 << 1;
/// Feature: the pages are in compressed frames.
const TRAVELLING: u32 = 1 << 2;
/// Feature: of the frames, the first has the pages that are wanted first.
const HOT: u32 = 1 << 3;

/// Name and revision of a machine model, as in `pc1-v2/1`: 1 to 32 printable ASCII characters without spaces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Model([u8; Model::LEN]);

impl Model {
    const LEN: usize = 32;

    /// The model called `name`; `None` if that is no name for a model.
    pub const fn new(name: &str) -> Option<Self> {
        let name = name.as_bytes();
        if name.is_empty() || name.len() > Self::LEN {
            return None;
        }
        let mut padded = [0; Self::LEN];
        let mut i = 0;
        while i < name.len() {
            if !name[i].is_ascii_graphic() {
                return None;
            }
            padded[i] = name[i];
            i += 1;
        }
        Some(Self(padded))
    }

    /// The name and revision.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default().trim_end_matches('\0')
    }

    pub(crate) const fn as_padded(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    fn from_padded(padded: [u8; Self::LEN]) -> Option<Self> {
        let model = Self(padded);
        (Self::new(model.as_str()) == Some(model)).then_some(model)
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({self})")
    }
}

/// What machine a snapshot is of: all that must be equal before memory is allocated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineId {
    /// The model.
    pub model: Model,
    /// Bytes of RAM: a multiple of [`RAM_SIZE_UNIT`], at most [`MAX_RAM_SIZE`], not 0.
    pub ram_size: u64,
    /// The optional devices that are there: bits that the model gives a meaning.
    pub devices: u32,
}

impl MachineId {
    /// Checks that a snapshot of `self` can be restored into `wanted`.
    pub fn require(&self, wanted: &Self) -> Result<(), Error> {
        if self.model != wanted.model {
            return Err(Error::WrongModel { found: self.model, wanted: wanted.model });
        }
        if self.ram_size != wanted.ram_size {
            return Err(Error::WrongRamSize { found: self.ram_size, wanted: wanted.ram_size });
        }
        if self.devices != wanted.devices {
            return Err(Error::WrongDevices { found: self.devices, wanted: wanted.devices });
        }
        Ok(())
    }

    pub(crate) fn check_ram_size(&self) -> Result<(), Error> {
        if self.ram_size == 0 || self.ram_size > MAX_RAM_SIZE || !self.ram_size.is_multiple_of(RAM_SIZE_UNIT) {
            return Err(Error::InvalidRamSize { found: self.ram_size });
        }
        Ok(())
    }
}

/// How the pages are in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As memory, to be mapped.
    Stored,
    /// In compressed frames, to be sent.
    Travelling,
}

/// The header, without what follows from the format itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The machine that was saved.
    pub machine: MachineId,
    /// Content digest of the snapshot that this one is a delta on.
    pub base: Option<Digest>,
    /// There are pages of disks.
    pub has_disks: bool,
    /// Sections in the table.
    pub section_count: u32,
    /// Bytes in all the sections.
    pub sections_len: u64,
    /// Groups of pages in the index.
    pub group_count: u32,
    /// Places for a group in the page area, holes included; 0 in the travelling form.
    pub slot_count: u32,
    /// Bytes of all frames, if the snapshot is in its travelling form.
    pub frames_len: Option<u64>,
    /// Of these, bytes of the frame with the pages that are wanted first; 0 if there is none.
    pub hot_len: u32,
    /// Digest of the section table.
    pub table_digest: Digest,
    /// Digest of the page index.
    pub index_digest: Digest,
    /// Digest of all that the snapshot says, whatever form it is stored in. It names the snapshot.
    pub content_digest: Digest,
}

impl Header {
    /// How the pages are in the file.
    pub const fn form(&self) -> Form {
        if self.frames_len.is_some() { Form::Travelling } else { Form::Stored }
    }

    const fn features(&self) -> u32 {
        let delta = if self.base.is_some() { DELTA } else { 0 };
        let disks = if self.has_disks { DISKS } else { 0 };
        let travelling = if self.frames_len.is_some() { TRAVELLING } else { 0 };
        let hot = if self.hot_len > 0 { HOT } else { 0 };
        delta | disks | travelling | hot
    }

    /// Bytes of the section table.
    pub const fn table_len(&self) -> u64 {
        self.section_count as u64 * TABLE_ENTRY_LEN as u64
    }

    /// Where the bodies of the sections begin in the file.
    pub const fn bodies_offset(&self) -> u64 {
        HEADER_LEN as u64 + self.table_len()
    }

    /// Where the page index begins in the file.
    pub const fn index_offset(&self) -> u64 {
        self.bodies_offset() + self.sections_len
    }

    /// Bytes of the page index.
    pub const fn index_len(&self) -> u64 {
        self.group_count as u64 * GROUP_ENTRY_LEN as u64
    }

    /// Where the page area begins in the file: a multiple of [`GROUP_SIZE`]. In the travelling form, where the frames do.
    pub const fn pages_offset(&self) -> u64 {
        let index_end = self.index_offset() + self.index_len();
        match self.frames_len {
            None => index_end.next_multiple_of(GROUP_SIZE as u64),
            Some(_) => index_end,
        }
    }

    /// Bytes in the file.
    pub const fn file_length(&self) -> u64 {
        match self.frames_len {
            None => self.pages_offset() + self.slot_count as u64 * GROUP_SIZE as u64,
            Some(frames_len) => self.pages_offset().saturating_add(frames_len),
        }
    }

    /// The header's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend(MAGIC);
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend(self.features().to_le_bytes());
        bytes.extend(self.machine.model.as_padded());
        bytes.extend(self.machine.ram_size.to_le_bytes());
        bytes.extend(self.index_offset().to_le_bytes());
        bytes.extend(self.pages_offset().to_le_bytes());
        bytes.extend(self.file_length().to_le_bytes());
        bytes.extend(self.section_count.to_le_bytes());
        bytes.extend(self.group_count.to_le_bytes());
        // In the travelling form there are no slots.
        bytes.extend((self.slot_count | self.hot_len).to_le_bytes());
        bytes.extend(self.machine.devices.to_le_bytes());
        bytes.extend(self.base.unwrap_or(Digest::NONE).as_bytes());
        bytes.extend(self.table_digest.as_bytes());
        bytes.extend(self.index_digest.as_bytes());
        bytes.extend(self.content_digest.as_bytes());
        bytes.extend(Digest::of(&bytes).as_bytes());
        bytes
    }

    /// The header of a file of `file_length` bytes, of which `start` is the beginning: [`HEADER_LEN`] bytes, or the
    /// whole file if it is shorter.
    pub(crate) fn decode(start: &[u8], file_length: u64) -> Result<Self, Error> {
        if !start.starts_with(&MAGIC) && !MAGIC.starts_with(start) {
            return Err(Error::NotASnapshot { found: start[..start.len().min(MAGIC.len())].to_vec() });
        }
        // A newer header may have another length and its digest elsewhere, so the version comes before them.
        if let Some(version) = start.get(MAGIC.len()..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_le_bytes(*bytes))
            && version > FORMAT_VERSION
        {
            return Err(Error::NewerVersion { found: version, supported: FORMAT_VERSION });
        }
        let Some(bytes) = start.first_chunk::<HEADER_LEN>() else {
            return Err(Error::Truncated { found: file_length, wanted: HEADER_LEN as u64 });
        };
        let header = Self::decode_fields(bytes)?;
        let wanted = header.file_length();
        match file_length.cmp(&wanted) {
            Ordering::Less => Err(Error::Truncated { found: file_length, wanted }),
            Ordering::Equal => Ok(header),
            Ordering::Greater => Err(Error::TooLong { found: file_length, wanted }),
        }
    }

    fn decode_fields(bytes: &[u8; HEADER_LEN]) -> Result<Self, Error> {
        let mut fields = Fields::new(bytes);
        let _magic: [u8; MAGIC.len()] = fields.array();
        let version = fields.u32();
        let features = fields.u32();
        let model = Model::from_padded(fields.array());
        let ram_size = fields.u64();
        let index_offset = fields.u64();
        let pages_offset = fields.u64();
        let file_length = fields.u64();
        let section_count = fields.u32();
        let group_count = fields.u32();
        let slot_count = fields.u32();
        let devices = fields.u32();
        let base_digest = Digest::from_bytes(fields.array());
        let table_digest = Digest::from_bytes(fields.array());
        let index_digest = Digest::from_bytes(fields.array());
        let content_digest = Digest::from_bytes(fields.array());
        let header_digest = Digest::from_bytes(fields.array());

        Part::Header.verify(&bytes[..HEADER_LEN - Digest::LEN], header_digest)?;
        if version == 0 {
            return Err(Error::malformed(Part::Header, "format version 0 does not exist"));
        }
        let unknown = features & !(DELTA | DISKS | TRAVELLING | HOT);
        if unknown != 0 {
            return Err(Error::UnsupportedFeatures { bits: unknown });
        }
        let base = (base_digest != Digest::NONE).then_some(base_digest);
        match (base, features & DELTA != 0) {
            (Some(_), false) => return Err(Error::malformed(Part::Header, "it names a base but is no delta")),
            (None, true) => return Err(Error::malformed(Part::Header, "it is a delta but names no base")),
            _ => {}
        }
        let Some(model) = model else {
            return Err(Error::malformed(Part::Header, "the model's name is not one"));
        };
        let machine = MachineId { model, ram_size, devices };
        machine.check_ram_size()?;
        if section_count > MAX_SECTIONS {
            return Err(Error::malformed(Part::Header, format!("{section_count} sections, at most {MAX_SECTIONS} are allowed")));
        }
        if features & TRAVELLING == 0 && group_count > slot_count {
            return Err(Error::malformed(Part::Header, format!("{group_count} groups of pages in {slot_count} slots")));
        }
        let bodies_offset = HEADER_LEN as u64 + u64::from(section_count) * TABLE_ENTRY_LEN as u64;
        let Some(sections_len) = index_offset.checked_sub(bodies_offset) else {
            return Err(Error::malformed(Part::Header, format!("the index is at {index_offset}, inside the section table")));
        };
        if sections_len > MAX_SECTIONS_LEN as u64 {
            return Err(Error::SectionsTooLong { found: sections_len });
        }
        let stored = Self {
            machine,
            base,
            has_disks: features & DISKS != 0,
            section_count,
            sections_len,
            group_count,
            slot_count,
            frames_len: None,
            hot_len: 0,
            table_digest,
            index_digest,
            content_digest,
        };
        let header = if features & TRAVELLING == 0 {
            stored
        } else {
            // The lengths of the other frames are in the index.
            let frames_len = file_length.saturating_sub(index_offset + stored.index_len());
            Self { slot_count: 0, frames_len: Some(frames_len), hot_len: slot_count, ..stored }
        };
        if (header.hot_len > 0) != (features & HOT != 0) {
            return Err(Error::malformed(
                Part::Header,
                format!("the feature `hot` does not fit a first frame of {} bytes", header.hot_len),
            ));
        }
        if (header.pages_offset(), header.file_length()) != (pages_offset, file_length) {
            return Err(Error::malformed(
                Part::Header,
                format!("pages at {pages_offset} and an end at {file_length} do not follow from the other fields"),
            ));
        }
        Ok(header)
    }
}
