//! What the two kinds of file have in common: code around a payload.

use super::{ArtifactError, Result, aot, wasm};
use payload::module::LOCATOR_SECTION;
use payload::{Locator, Table};
use snapshot::ReadAt;

/// What a file begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A WebAssembly module.
    Wasm,
    /// WAMR's compilation of one.
    Aot,
}

/// What is around the payload, the locator's section apart. The whole file is `before`, payload, `after`, locator's section.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub before: Vec<u8>,
    pub after: Vec<u8>,
}

impl Format {
    /// The format of a file with these first bytes, if it is one that is read.
    pub fn of(start: &[u8]) -> Result<Self> {
        let start = &start[..start.len().min(8)];
        let version = start.get(4..8).and_then(<[u8]>::first_chunk).map_or(0, |version| u32::from_le_bytes(*version));
        let (format, what, supported) = match start.get(..4) {
            Some(magic) if magic == wasm::MAGIC => (Self::Wasm, "WebAssembly module", wasm::VERSION),
            Some(magic) if magic == aot::MAGIC => (Self::Aot, ".aot file", aot::VERSION),
            _ => return Err(ArtifactError::NotAnArtifact { found: start.to_vec() }),
        };
        if start.len() < 8 {
            return Err(ArtifactError::Truncated { found: start.len() as u64, wanted: 8 });
        }
        if version != supported {
            return Err(ArtifactError::OtherCodeVersion { what, found: version, supported });
        }
        Ok(format)
    }

    /// Pages of memory in the code file `code`.
    pub fn code_pages(self, code: &[u8]) -> Result<u32> {
        match self {
            Self::Wasm => wasm::code_pages(code),
            Self::Aot => aot::code_pages(code),
        }
    }

    /// The code file `code` with a memory of `pages` pages, around a payload of `payload_length` bytes: a multiple of 4. The length of
    /// what comes before the payload does not depend on these.
    pub fn frame(self, code: &[u8], pages: u32, payload_length: u32) -> Result<Frame> {
        match self {
            Self::Wasm => wasm::frame(code, pages, payload_length),
            Self::Aot => aot::frame(code, pages, payload_length),
        }
    }

    /// The code file that `frame` may have been made from. Only if [`Format::frame`] gives `frame` again, it was.
    pub fn unframe(self, frame: &Frame, table: &Table) -> Option<Vec<u8>> {
        match self {
            Self::Wasm => wasm::unframe(frame, table),
            Self::Aot => aot::unframe(frame, table),
        }
    }

    /// The section that holds `locator`.
    pub fn locator_section(self, locator: Locator) -> Vec<u8> {
        match self {
            Self::Wasm => wasm::locator_section(locator),
            Self::Aot => aot::custom_section(LOCATOR_SECTION, &locator.encode()),
        }
    }

    /// Where the sections of `file` end according to their headers, if that is behind the end of the file.
    pub fn missing_end(self, file: &impl ReadAt) -> Result<Option<u64>> {
        let read_header = match self {
            Self::Wasm => wasm::section_end,
            Self::Aot => aot::section_end,
        };
        let mut at = 8;
        for _ in 0..MAX_SECTIONS {
            if at >= file.byte_len() {
                return Ok((at > file.byte_len()).then_some(at));
            }
            let mut header = [0; 12];
            let available = (file.byte_len() - at).min(header.len() as u64) as usize;
            file.read_exact_at(&mut header[..available], at).map_err(|source| ArtifactError::Io { doing: "read the machine", source })?;
            at = match read_header(at, &header[..available]) {
                Some(end) => end,
                None => return Ok(Some(file.byte_len() + 1)),
            };
        }
        Ok(None)
    }
}

/// Sections that are looked at to tell a truncated file from one without a payload. Compilers write some dozen.
const MAX_SECTIONS: usize = 10_000;
