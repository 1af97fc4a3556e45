//! Finds the payload in an artifact without running anything.

use super::format::{Format, Frame};
use super::{ArtifactError, MAX_CODE_LEN, MAX_FILE_LEN, PART_ALIGNMENT, Result, aot};
use payload::{HEADER_LEN, Locator, MachineSize, Part, PartKind, Table};
use snapshot::{Digest, Digester, ReadAt};
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

/// What an artifact runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A WebAssembly module: on any runtime.
    Wasm,
    /// Native code, for WAMR.
    Aot {
        /// The architecture, as WAMR spells it.
        target: String,
    },
}

/// An artifact whose table has been checked. Nothing else of it has.
pub struct Artifact<R> {
    file: R,
    format: Format,
    kind: Kind,
    payload_offset: u64,
    locator_offset: u64,
    table: Table,
}

impl<R: ReadAt> Artifact<R> {
    /// Opens an artifact. Reads its first and last bytes and the table: less than a kilobyte.
    pub fn open(file: R) -> Result<Self> {
        let file_length = file.byte_len();
        let start = read(&file, 0, file_length.min(8))?;
        let format = Format::of(&start)?;
        if file_length > MAX_FILE_LEN {
            return Err(ArtifactError::TooLarge { found: file_length });
        }
        let (locator, locator_offset) = read_locator(&file, format)?;
        let kind = match format {
            Format::Wasm => Kind::Wasm,
            Format::Aot => Kind::Aot { target: aot::target(&read_array(&file, 0)?)? },
        };
        let Locator { payload_offset, payload_length } = locator;
        let end = payload_offset.checked_add(payload_length);
        if payload_offset < 8 || payload_length < HEADER_LEN as u64 || end.is_none_or(|end| end > locator_offset) {
            return Err(ArtifactError::malformed(format!(
                "a payload of {payload_length} bytes at {payload_offset} is not inside the {locator_offset} bytes before its locator"
            )));
        }
        let count = Table::part_count(&read_array(&file, payload_offset)?)?;
        let table_length = (Table::encoded_len(count) as u64).min(payload_length);
        let table = Table::decode(&read(&file, payload_offset, table_length)?)?;
        table.check_layout(payload_offset, payload_length)?;
        Ok(Self { file, format, kind, payload_offset, locator_offset, table })
    }

    /// What it is read from.
    pub fn file(&self) -> &R {
        &self.file
    }

    /// What it runs on.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The least processor that its native code runs on, as baselines call it. Older versions did not record it.
    pub fn cpu(&self) -> Result<Option<String>> {
        match self.format {
            Format::Wasm => Ok(None),
            Format::Aot => aot::cpu(&self.file).map_err(cannot_read),
        }
    }

    /// How much memory the machine has.
    pub fn size(&self) -> MachineSize {
        self.table.size
    }

    /// Bytes of the code file.
    pub fn code_len(&self) -> u64 {
        self.table.code_length
    }

    /// The digest of the code file, as the table has it: see [`Artifact::code_digest`].
    pub fn said_code_digest(&self) -> Digest {
        self.table.code_digest
    }

    /// The parts of the payload, in the order of their kinds.
    pub fn parts(&self) -> &[Part] {
        &self.table.parts
    }

    /// The part `kind`; an error if the payload has none.
    pub fn part(&self, kind: PartKind) -> Result<&Part> {
        Ok(self.table.part(kind)?)
    }

    /// Where `part` begins in the file, for mapping it: a multiple of [`PART_ALIGNMENT`](super::PART_ALIGNMENT). Up to the next such
    /// multiple, zeroes follow its end.
    pub fn file_offset(&self, part: &Part) -> u64 {
        self.payload_offset + part.offset
    }

    /// Where the file has the parts, from the first. What is outside is the code and the table: see [`Artifact::code`].
    pub fn parts_range(&self) -> Range<u64> {
        let table = Table::encoded_len(self.table.parts.len()) as u64;
        (self.payload_offset + table).next_multiple_of(PART_ALIGNMENT)..self.payload_offset + self.table.payload_length
    }

    /// Whether `other` says the same of its code and its parts.
    pub fn is_like<S>(&self, other: &Artifact<S>) -> bool {
        (&self.kind, self.payload_offset, self.locator_offset, &self.table)
            == (&other.kind, other.payload_offset, other.locator_offset, &other.table)
    }

    /// Reads `part` from its beginning. Its digest is not checked.
    pub fn reader(&self, part: &Part) -> PartReader<'_, R> {
        PartReader { file: &self.file, at: self.file_offset(part), remaining: part.length }
    }

    /// All of the part `kind`, checked against its digest. It is in memory: for parts that are small.
    pub fn read_part(&self, kind: PartKind) -> Result<Vec<u8>> {
        let part = self.part(kind)?;
        let bytes = read(&self.file, self.file_offset(part), part.length)?;
        check(kind.name(), Digest::of(&bytes), part.digest)?;
        Ok(bytes)
    }

    /// The code file that the artifact was made from, bit for bit. Checks its digest, and that packing it gives exactly the bytes that
    /// are around the payload: so whoever trusts a digest of [`Artifact::code_digest`] trusts all of the file but the payload.
    pub fn code(&self) -> Result<Vec<u8>> {
        let payload_end = self.payload_offset + self.table.payload_length;
        let found = self.payload_offset + (self.locator_offset - payload_end);
        // Packing adds some bytes, never as many as this.
        if found > MAX_CODE_LEN + 4096 {
            return Err(payload::Error::CodeTooLarge { found }.into());
        }
        let frame = Frame {
            before: read(&self.file, 0, self.payload_offset)?,
            after: read(&self.file, payload_end, self.locator_offset - payload_end)?,
        };
        let Some(code) = self.format.unframe(&frame, &self.table) else {
            return Err(ArtifactError::malformed("there is no code around the payload"));
        };
        check("code", Digest::of(&code), self.table.code_digest)?;
        let payload_length = u32::try_from(self.table.payload_length).unwrap_or(u32::MAX);
        let is_exact = code.len() as u64 == self.table.code_length
            && self.format.code_pages(&code)? == self.table.code_pages
            && self.format.frame(&code, self.table.size.pages, payload_length)? == frame;
        if !is_exact {
            return Err(ArtifactError::malformed("what is around the payload is not what packing this code gives"));
        }
        Ok(code)
    }

    /// The digest of the code file. It is computed from the code and checked, as by [`Artifact::code`], not taken from the table.
    pub fn code_digest(&self) -> Result<Digest> {
        self.code().map(|code| Digest::of(&code))
    }

    /// Checks every byte: code, parts, and the zeroes between them.
    pub fn verify(&self) -> Result<()> {
        self.code()?;
        let mut end = Table::encoded_len(self.table.parts.len()) as u64;
        for part in &self.table.parts {
            self.check_padding(end, part.offset)?;
            let mut digester = Digester::new();
            self.for_each_chunk(part.offset, part.offset + part.length, |chunk| digester.update(chunk))?;
            check(part.kind.name(), digester.finish(), part.digest)?;
            end = part.offset + part.length;
        }
        self.check_padding(end, self.table.payload_length)
    }

    fn check_padding(&self, from: u64, to: u64) -> Result<()> {
        let mut is_zero = true;
        self.for_each_chunk(from, to, |chunk| is_zero &= chunk.iter().all(|byte| *byte == 0))?;
        if !is_zero {
            return Err(ArtifactError::malformed(format!("bytes {from} to {to} of the payload should be zero")));
        }
        Ok(())
    }

    /// Hands the bytes of the payload from `from` to `to` to `take`.
    fn for_each_chunk(&self, from: u64, to: u64, mut take: impl FnMut(&[u8])) -> Result<()> {
        let mut buffer = vec![0; (to - from).min(1 << 20) as usize];
        let mut at = from;
        while at < to {
            let length = (to - at).min(buffer.len() as u64) as usize;
            let chunk = &mut buffer[..length];
            self.file.read_exact_at(chunk, self.payload_offset + at).map_err(cannot_read)?;
            take(chunk);
            at += length as u64;
        }
        Ok(())
    }
}

impl<R> fmt::Debug for Artifact<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact").field("kind", &self.kind).field("table", &self.table).finish_non_exhaustive()
    }
}

/// Reads a part of a payload.
pub struct PartReader<'a, R> {
    file: &'a R,
    at: u64,
    remaining: u64,
}

impl<R: ReadAt> Read for PartReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.remaining.min(buffer.len() as u64) as usize;
        self.file.read_exact_at(&mut buffer[..length], self.at)?;
        self.at += length as u64;
        self.remaining -= length as u64;
        Ok(length)
    }
}

/// The locator at the end of the file, and where its section begins.
fn read_locator(file: &impl ReadAt, format: Format) -> Result<(Locator, u64)> {
    let file_length = file.byte_len();
    let locator = match file_length.checked_sub(Locator::LEN as u64) {
        Some(offset) => Locator::decode(&read_array(file, offset)?)?,
        None => None,
    };
    let Some(locator) = locator else {
        return Err(match format.missing_end(file)? {
            Some(wanted) => ArtifactError::Truncated { found: file_length, wanted },
            None => ArtifactError::NoPayload,
        });
    };
    let section = format.locator_section(locator);
    let offset = file_length.checked_sub(section.len() as u64);
    match offset {
        Some(offset) if read(file, offset, section.len() as u64)? == section => Ok((locator, offset)),
        _ => Err(ArtifactError::malformed("the locator is not in a section of its own")),
    }
}

fn check(what: &'static str, found: Digest, wanted: Digest) -> Result<()> {
    if found != wanted {
        return Err(payload::Error::Corrupted { what, found, wanted }.into());
    }
    Ok(())
}

/// `length` bytes that are known to be in the file.
fn read(file: &impl ReadAt, offset: u64, length: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset).map_err(cannot_read)?;
    Ok(bytes)
}

fn read_array<const N: usize>(file: &impl ReadAt, offset: u64) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(ArtifactError::Truncated { found: file.byte_len(), wanted: offset.saturating_add(N as u64) })
        }
        Err(error) => Err(cannot_read(error)),
    }
}

fn cannot_read(source: io::Error) -> ArtifactError {
    ArtifactError::Io { doing: "read the machine", source }
}
