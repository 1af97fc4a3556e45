//! The table at the start of the payload: what the payload holds, for the machine inside and for tools outside.

use super::fields::Fields;
use super::{Error, MAX_CODE_LEN, MAX_FILE_LEN, MAX_MEMORY_PAGES, MEMORY_PAGE, PART_ALIGNMENT, Result, check_version};
use snapshot::{Digest, RAM_SIZE_UNIT};
use std::fmt;

/// First bytes of a payload. The first is not ASCII and line ends follow, so that a transfer as text is noticed.
const MAGIC: [u8; 8] = *b"\x89PBPL\r\n\x1a";
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
    pub fn check(self, code_pages: u32) -> Result<()> {
        if self.pages > MAX_MEMORY_PAGES {
            return Err(Error::MemoryTooLarge { found: self.pages });
        }
        if self.pages < code_pages {
            return Err(Error::MemoryTooSmall { found: self.pages, wanted: code_pages });
        }
        let memory = u64::from(self.pages) * MEMORY_PAGE;
        if self.ram_size == 0 || !self.ram_size.is_multiple_of(RAM_SIZE_UNIT) || self.ram_size > memory {
            return Err(Error::InvalidRamSize { ram_size: self.ram_size, pages: self.pages });
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
        bytes.extend(super::VERSION.to_le_bytes());
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

    /// The part `kind`.
    pub fn part(&self, kind: PartKind) -> Result<&Part> {
        self.parts.iter().find(|part| part.kind == kind).ok_or(Error::MissingPart { part: kind })
    }

    /// The number of parts that the header `start` announces. Nothing else of it is believed yet.
    pub fn part_count(start: &[u8; HEADER_LEN]) -> Result<usize> {
        let mut fields = Fields(start);
        check_start(fields.array()?, fields.u32()?)?;
        let count = fields.u32()? as usize;
        if count > PartKind::ALL.len() {
            return Err(Error::malformed(format!("{count} parts, at most {} are possible", PartKind::ALL.len())));
        }
        Ok(count)
    }

    /// The table `bytes`, whose digest and sizes are right. Where its parts may be depends on the file: see [`Table::check_layout`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut fields = Fields(bytes);
        check_start(fields.array()?, fields.u32()?)?;
        let Some((content, digest)) = bytes.split_last_chunk::<{ Digest::LEN }>() else {
            return Err(Error::end_of_table());
        };
        let (found, wanted) = (Digest::of(content), Digest::from_bytes(*digest));
        if found != wanted {
            return Err(Error::Corrupted { what: "table", found, wanted });
        }
        let count = fields.u32()? as usize;
        let pages = fields.u32()?;
        let code_pages = fields.u32()?;
        let size = MachineSize { pages, ram_size: fields.u64()? };
        let code_length = fields.u64()?;
        let payload_length = fields.u64()?;
        let code_digest = Digest::from_bytes(fields.array()?);
        let parts = (0..count).map(|_| decode_part(&mut fields)).collect::<Result<Vec<_>>>()?;

        if bytes.len() != Self::encoded_len(count) {
            return Err(Error::end_of_table());
        }
        if code_length > MAX_CODE_LEN {
            return Err(Error::CodeTooLarge { found: code_length });
        }
        size.check(code_pages)?;
        Ok(Self { size, code_pages, code_length, code_digest, payload_length, parts })
    }

    /// Checks that the parts are where they belong in a payload of `payload_length` bytes at `file_offset` of its file.
    pub fn check_layout(&self, file_offset: u64, payload_length: u64) -> Result<()> {
        if self.payload_length != payload_length {
            let recorded = self.payload_length;
            return Err(Error::malformed(format!("a payload of {payload_length} bytes says that it has {recorded}")));
        }
        if !self.parts.is_sorted_by(|a, b| a.kind < b.kind) {
            return Err(Error::malformed("the parts are not in order"));
        }
        let lengths: Vec<u64> = self.parts.iter().map(|part| part.length).collect();
        let Some((offsets, end)) = Self::layout(file_offset, &lengths).filter(|(_, end)| *end <= MAX_FILE_LEN) else {
            return Err(Error::malformed("the parts are longer than any file"));
        };
        for (part, wanted) in self.parts.iter().zip(offsets) {
            if part.offset != wanted {
                let Part { kind, offset, length, .. } = *part;
                return Err(Error::MisplacedPart { part: kind, length, found: offset, wanted, payload: self.payload_length });
            }
        }
        if end != self.payload_length {
            return Err(Error::malformed(format!("parts that end at {end} in a payload of {} bytes", self.payload_length)));
        }
        Ok(())
    }
}

fn decode_part(fields: &mut Fields<'_>) -> Result<Part> {
    let name: [u8; NAME_LEN] = fields.array()?;
    let Some(kind) = PartKind::ALL.into_iter().find(|kind| kind.padded() == name) else {
        return Err(Error::malformed(format!("there is no part \"{}\"", name.escape_ascii())));
    };
    Ok(Part { kind, offset: fields.u64()?, length: fields.u64()?, digest: Digest::from_bytes(fields.array()?) })
}

fn check_start(magic: [u8; MAGIC.len()], version: u32) -> Result<()> {
    if magic != MAGIC {
        return Err(Error::malformed(format!("the payload begins with \"{}\"", magic.escape_ascii())));
    }
    check_version(version)
}
