//! Adds a payload to a code file.

use super::format::Format;
use super::{ArtifactError, MAX_CODE_LEN, MAX_FILE_LEN, PART_ALIGNMENT, Result};
use crate::host::file::open_file;
use payload::{Locator, MachineSize, Part, PartKind, Table};
use snapshot::{Digest, Digester};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A part that is to go into a payload.
pub struct PartInput<'a> {
    kind: PartKind,
    length: u64,
    content: Box<dyn Read + 'a>,
}

impl<'a> PartInput<'a> {
    /// The part that is the `length` bytes of `content`. More or fewer are an error while packing.
    pub fn new(kind: PartKind, length: u64, content: impl Read + 'a) -> Self {
        Self { kind, length, content: Box::new(content) }
    }

    /// The part that is the file at `path`.
    pub fn file(kind: PartKind, path: &Path) -> Result<Self> {
        let open = || {
            let file = open_file(path)?;
            let length = file.metadata()?.len();
            Ok(Self::new(kind, length, file))
        };
        open().map_err(|source| ArtifactError::Io { doing: "open a part of the payload", source })
    }
}

/// What is written around the payload of an artifact, and what of its table is known before its parts are read.
struct Packing {
    before: Vec<u8>,
    table: Table,
    /// Where each part belongs in the payload.
    offsets: Vec<u64>,
    after: Vec<u8>,
}

impl Packing {
    /// That of the code file `code`, with memory as `size` says and parts of these lengths.
    fn of(code: &[u8], size: MachineSize, lengths: &[u64]) -> Result<Self> {
        let format = Format::of(code)?;
        if code.len() as u64 > MAX_CODE_LEN {
            return Err(payload::Error::CodeTooLarge { found: code.len() as u64 }.into());
        }
        let code_pages = format.code_pages(code)?;
        size.check(code_pages)?;

        let frame = format.frame(code, size.pages, 0)?;
        let payload_offset = frame.before.len() as u64;
        let Some((offsets, payload_length)) = Table::layout(payload_offset, lengths) else {
            return Err(ArtifactError::TooLarge { found: u64::MAX });
        };
        let locator_section = format.locator_section(Locator { payload_offset, payload_length });
        let around = payload_offset + frame.after.len() as u64 + locator_section.len() as u64;
        let file_length = payload_length.saturating_add(around);
        let payload_u32 = u32::try_from(payload_length).ok().filter(|_| file_length <= MAX_FILE_LEN);
        let Some(payload_u32) = payload_u32 else {
            return Err(ArtifactError::TooLarge { found: file_length });
        };
        let frame = format.frame(code, size.pages, payload_u32)?;

        let code_digest = Digest::of(code);
        let table = Table { size, code_pages, code_length: code.len() as u64, code_digest, payload_length, parts: Vec::new() };
        // A length may be written in several ways, of which a reader knows one.
        if format.unframe(&frame, &table).as_deref() != Some(code) {
            return Err(ArtifactError::not_a_code_file("its lengths are not in their shortest form"));
        }
        Ok(Self { before: frame.before, table, offsets, after: [frame.after, locator_section].concat() })
    }
}

/// Writes the artifact of the code file `code`, with memory as `size` says and these parts, to the start of `output`, and returns the
/// digest of the code file. The parts pass through a buffer; equal arguments give equal bytes.
pub fn pack(code: &[u8], size: MachineSize, parts: Vec<PartInput<'_>>, output: &mut (impl Write + Seek)) -> Result<Digest> {
    let parts = in_order(parts)?;
    let lengths: Vec<u64> = parts.iter().map(|part| part.length).collect();
    let Packing { before, mut table, offsets, after } = Packing::of(code, size, &lengths)?;
    let payload_offset = before.len() as u64;

    let mut writer = Output { output, at: 0 };
    writer.write(&before)?;
    for (part, offset) in parts.into_iter().zip(offsets) {
        writer.fill_to(payload_offset + offset)?;
        let (kind, length) = (part.kind, part.length);
        let digest = writer.copy(part)?;
        table.parts.push(Part { kind, offset, length, digest });
    }
    writer.fill_to(payload_offset + table.payload_length)?;
    writer.write(&after)?;
    let file_length = writer.at;
    // Only now are the digests of the parts known: so the table is written last, and each part is read once.
    writer.seek(payload_offset)?;
    writer.write(&table.encode())?;
    writer.seek(file_length)?;
    writer.output.flush().map_err(cannot_write)?;
    Ok(table.code_digest)
}

/// An artifact without the content of its parts. What an artifact has from its first part to the end of its payload is the same with any code.
pub struct Around {
    /// What comes before.
    pub before: Vec<u8>,
    /// The parts, and where they are in the payload.
    pub parts: Vec<Part>,
    /// What follows.
    pub after: Vec<u8>,
}

impl Around {
    /// What [`pack`] would write around the content of `parts`, which are those of another artifact.
    pub fn of(code: &[u8], size: MachineSize, parts: &[Part]) -> Result<Self> {
        let lengths: Vec<u64> = parts.iter().map(|part| part.length).collect();
        let Packing { mut before, mut table, offsets, after } = Packing::of(code, size, &lengths)?;
        table.parts = parts.iter().zip(offsets).map(|(part, offset)| Part { offset, ..*part }).collect();
        before.extend(table.encode());
        before.resize(before.len().next_multiple_of(PART_ALIGNMENT as usize), 0);
        Ok(Self { before, parts: table.parts, after })
    }
}

fn in_order(mut parts: Vec<PartInput<'_>>) -> Result<Vec<PartInput<'_>>> {
    parts.sort_by_key(|part| part.kind);
    match parts.windows(2).find(|pair| pair[0].kind == pair[1].kind) {
        Some(pair) => Err(ArtifactError::DuplicatePart { part: pair[0].kind }),
        None => Ok(parts),
    }
}

/// Bytes that are read and written at a time.
const BUFFER_LEN: usize = 1 << 20;

struct Output<'a, W> {
    output: &'a mut W,
    at: u64,
}

impl<W: Write + Seek> Output<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.at += bytes.len() as u64;
        self.output.write_all(bytes).map_err(cannot_write)
    }

    fn fill_to(&mut self, offset: u64) -> Result<()> {
        const ZEROES: [u8; 4096] = [0; 4096];
        while self.at < offset {
            let length = (offset - self.at).min(ZEROES.len() as u64) as usize;
            self.write(&ZEROES[..length])?;
        }
        Ok(())
    }

    fn seek(&mut self, offset: u64) -> Result<()> {
        self.at = self.output.seek(SeekFrom::Start(offset)).map_err(cannot_write)?;
        Ok(())
    }

    fn copy(&mut self, part: PartInput<'_>) -> Result<Digest> {
        let PartInput { kind, length, content } = part;
        let mut digester = Digester::new();
        let mut buffer = vec![0; BUFFER_LEN];
        // One byte more than wanted shows that the content is too long.
        let mut content = content.take(length.saturating_add(1));
        let mut found = 0;
        loop {
            let count = match content.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(ArtifactError::Io { doing: "read a part of the payload", source }),
            };
            found += count as u64;
            if found > length || (count == 0 && found < length) {
                return Err(ArtifactError::PartChanged { part: kind, found, wanted: length });
            }
            if count == 0 {
                return Ok(digester.finish());
            }
            digester.update(&buffer[..count]);
            self.write(&buffer[..count])?;
        }
    }
}

fn cannot_write(source: std::io::Error) -> ArtifactError {
    ArtifactError::Io { doing: "write the machine", source }
}
