//! The table at the start of the payload: what the payload holds, for the machine inside and for tools outside.

use super::{ArtefactError, MAX_CODE_LEN, MAX_FILE_LEN, MAX_MEMORY_PAGES, MEMORY_PAGE, PART_ALIGNMENT, Result};
use snapshot::{Digest, RAM_SIZE_UNIT};
use std::fmt;

/// Version of the payload's format.
const VERSION: u32 = 1;
/// First bytes of a payload. The first is not ASCII and line ends follow, so that a transfer as text is noticed.
const MAGIC: [u8; 8] = *b"\x89PBPL\r\n\x1a";
/// First bytes of a locator: others, so that a file that is cut off inside its payload is not taken for a whole one.
const LOCATOR_MAGIC: [u8; 8] = *b"\x89PBLO\r\n\x1a";
/// Bytes before the entries.
pub const HEADER_LEN: usize = 80;
/// Bytes of an entry.
const ENTRY_LEN: usize = 64;
/// Bytes of a part's name, padded with zeroes.
const NAME_LEN: usize = 16;

/// What a part of the payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartKind {
    /// The guest's kernel.
    Kernel,
    /// What the kernel unpacks into its first root.
    Initramfs,
    /// The image: a read-only disk.
    Root,
    /// How the image is to be run.
    Metadata,
}

impl PartKind {
    /// Every kind, in the order in which they are in a payload.
    pub const ALL: [Self; 4] = [Self::Kernel, Self::Initramfs, Self::Root, Self::Metadata];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Initramfs => "initramfs",
            Self::Root => "root",
            Self::Metadata => "metadata",
        }
    }

    fn padded(self) -> [u8; NAME_LEN] {
        let mut padded = [0; NAME_LEN];
        padded.iter_mut().zip(self.name().bytes()).for_each(|(to, from)| *to = from);
        padded
    }
}

impl fmt::Display for PartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A part of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Where it begins, in bytes from the start of the payload.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// Digest of these bytes.
    pub digest: Digest,
}

/// How much memory a machine has. It is fixed: the module's memory does not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineSize {
    /// Pages of the module's memory, guest RAM included.
    pub pages: u32,
    /// Bytes of guest RAM: a multiple of 2 MiB.
    pub ram_size: u64,
}

impl MachineSize {
    /// Checks `self` for code that was compiled for `code_pages` pages.
    ///
    /// A compiler may leave out the bounds check of an access at a constant address below the size that it saw, so a memory is
    /// never made smaller than that.
    pub(super) fn check(self, code_pages: u32) -> Result<()> {
        if self.pages > MAX_MEMORY_PAGES {
            return Err(ArtefactError::MemoryTooLarge { found: self.pages });
        }
        if self.pages < code_pages {
            return Err(ArtefactError::MemoryTooSmall { found: self.pages, wanted: code_pages });
        }
        let memory = u64::from(self.pages) * MEMORY_PAGE;
        if self.ram_size == 0 || !self.ram_size.is_multiple_of(RAM_SIZE_UNIT) || self.ram_size > memory {
            return Err(ArtefactError::InvalidRamSize { ram_size: self.ram_size, pages: self.pages });
        }
        Ok(())
    }
}

/// The table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The machine's memory.
    pub size: MachineSize,
    /// Pages of memory in the code file.
    pub code_pages: u32,
    /// Bytes of the code file.
    pub code_length: u64,
    /// Digest of the code file.
    pub code_digest: Digest,
    /// Bytes of the payload, this table included.
    pub payload_length: u64,
    /// The parts, in the order of their kinds.
    pub parts: Vec<Part>,
}

impl Table {
    /// Bytes of a table with `part_count` parts.
    pub const fn encoded_len(part_count: usize) -> usize {
        HEADER_LEN + part_count * ENTRY_LEN + Digest::LEN
    }

    /// Where parts of these lengths are in a payload that begins at `file_offset` of its file, and how long that payload is.
    ///
    /// Each part begins at a multiple of [`PART_ALIGNMENT`] in the file, and the payload ends at one. `None` if the sum overflows.
    pub fn layout(file_offset: u64, lengths: &[u64]) -> Option<(Vec<u64>, u64)> {
        let align = |offset: u64| offset.checked_add(file_offset)?.checked_next_multiple_of(PART_ALIGNMENT)?.checked_sub(file_offset);
        let mut end = align(Self::encoded_len(lengths.len()) as u64)?;
        let mut offsets = Vec::with_capacity(lengths.len());
        for length in lengths {
            offsets.push(end);
            end = align(end.checked_add(*length)?)?;
        }
        Some((offsets, end))
    }

    /// The table's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::encoded_len(self.parts.len()));
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.parts.len() as u32).to_le_bytes());
        bytes.extend(self.size.pages.to_le_bytes());
        bytes.extend(self.code_pages.to_le_bytes());
        bytes.extend(self.size.ram_size.to_le_bytes());
        bytes.extend(self.code_length.to_le_bytes());
        bytes.extend(self.payload_length.to_le_bytes());
        bytes.extend(self.code_digest.as_bytes());
        for part in &self.parts {
            bytes.extend(part.kind.padded());
            bytes.extend(part.offset.to_le_bytes());
            bytes.extend(part.length.to_le_bytes());
            bytes.extend(part.digest.as_bytes());
        }
        bytes.extend(Digest::of(&bytes).as_bytes());
        bytes
    }

    /// The number of parts that the header `start` announces. Nothing else of it is believed yet.
    pub fn part_count(start: &[u8; HEADER_LEN]) -> Result<usize> {
        let mut fields = Fields(start);
        check_start(fields.array()?, fields.u32()?)?;
        let count = fields.u32()? as usize;
        if count > PartKind::ALL.len() {
            return Err(ArtefactError::malformed(format!("{count} parts, at most {} are possible", PartKind::ALL.len())));
        }
        Ok(count)
    }

    /// The table `bytes` of a payload of `payload_length` bytes at `file_offset` of its file.
    pub fn decode(bytes: &[u8], file_offset: u64, payload_length: u64) -> Result<Self> {
        let mut fields = Fields(bytes);
        check_start(fields.array()?, fields.u32()?)?;
        let Some((content, digest)) = bytes.split_last_chunk::<{ Digest::LEN }>() else {
            return Err(end_of_table());
        };
        let (found, wanted) = (Digest::of(content), Digest::from_bytes(*digest));
        if found != wanted {
            return Err(ArtefactError::Corrupted { what: "table", found, wanted });
        }
        let count = fields.u32()? as usize;
        let pages = fields.u32()?;
        let code_pages = fields.u32()?;
        let size = MachineSize { pages, ram_size: fields.u64()? };
        let code_length = fields.u64()?;
        let recorded_length = fields.u64()?;
        let code_digest = Digest::from_bytes(fields.array()?);
        let parts = (0..count).map(|_| decode_part(&mut fields)).collect::<Result<Vec<_>>>()?;

        if bytes.len() != Self::encoded_len(count) {
            return Err(end_of_table());
        }
        if recorded_length != payload_length {
            return Err(ArtefactError::malformed(format!("a payload of {payload_length} bytes says that it has {recorded_length}")));
        }
        if code_length > MAX_CODE_LEN {
            return Err(ArtefactError::CodeTooLarge { found: code_length });
        }
        size.check(code_pages)?;
        let table = Self { size, code_pages, code_length, code_digest, payload_length, parts };
        table.check_layout(file_offset)?;
        Ok(table)
    }

    fn check_layout(&self, file_offset: u64) -> Result<()> {
        if !self.parts.is_sorted_by(|a, b| a.kind < b.kind) {
            return Err(ArtefactError::malformed("the parts are not in order"));
        }
        let lengths: Vec<u64> = self.parts.iter().map(|part| part.length).collect();
        let Some((offsets, end)) = Self::layout(file_offset, &lengths).filter(|(_, end)| *end <= MAX_FILE_LEN) else {
            return Err(ArtefactError::malformed("the parts are longer than any file"));
        };
        for (part, wanted) in self.parts.iter().zip(offsets) {
            if part.offset != wanted {
                let Part { kind, offset, length, .. } = *part;
                return Err(ArtefactError::MisplacedPart { part: kind, length, found: offset, wanted, payload: self.payload_length });
            }
        }
        if end != self.payload_length {
            return Err(ArtefactError::malformed(format!("parts that end at {end} in a payload of {} bytes", self.payload_length)));
        }
        Ok(())
    }
}

fn decode_part(fields: &mut Fields<'_>) -> Result<Part> {
    let name: [u8; NAME_LEN] = fields.array()?;
    let Some(kind) = PartKind::ALL.into_iter().find(|kind| kind.padded() == name) else {
        return Err(ArtefactError::malformed(format!("there is no part \"{}\"", name.escape_ascii())));
    };
    Ok(Part { kind, offset: fields.u64()?, length: fields.u64()?, digest: Digest::from_bytes(fields.array()?) })
}

fn check_start(magic: [u8; MAGIC.len()], version: u32) -> Result<()> {
    if magic != MAGIC {
        return Err(ArtefactError::malformed(format!("the payload begins with \"{}\"", magic.escape_ascii())));
    }
    check_version(version)
}

fn check_version(version: u32) -> Result<()> {
    if version != VERSION {
        return Err(ArtefactError::OtherVersion { found: version, supported: VERSION });
    }
    Ok(())
}

fn end_of_table() -> ArtefactError {
    ArtefactError::malformed("the table does not end where its parts do")
}

/// Says where in the file the payload is. It is the last thing in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locator {
    /// Where the payload begins, in bytes from the start of the file.
    pub payload_offset: u64,
    /// Bytes of the payload.
    pub payload_length: u64,
}

impl Locator {
    /// Bytes of a locator.
    pub const LEN: usize = 32;

    /// The locator's bytes.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&LOCATOR_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.payload_offset.to_le_bytes());
        bytes[24..].copy_from_slice(&self.payload_length.to_le_bytes());
        bytes
    }

    /// The locator that is the end of a file; `None` if that is something else.
    pub fn decode(end: &[u8; Self::LEN]) -> Result<Option<Self>> {
        let mut fields = Fields(end);
        if fields.array()? != LOCATOR_MAGIC {
            return Ok(None);
        }
        check_version(fields.u32()?)?;
        if fields.u32()? != 0 {
            return Err(ArtefactError::malformed("the locator's reserved field is not 0"));
        }
        Ok(Some(Self { payload_offset: fields.u64()?, payload_length: fields.u64()? }))
    }
}

/// Takes little-endian fields off the front of a structure, which may be too short for them.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk().ok_or_else(end_of_table)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
