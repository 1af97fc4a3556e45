//! The payload in a WebAssembly module: the last data segment, a passive one.

use super::format::Frame;
use super::{ArtifactError, MEMORY_PAGE, Result};
use payload::Table;
use payload::module::{self, section_at};
pub use payload::module::{EMPTY_SEGMENT, Section, locator_section, memory_section};
use wasmparser::{BinaryReader, DataKind, DataSectionReader};

/// First bytes of a module …
pub const MAGIC: &[u8] = b"\0asm";
/// … and the version after them.
pub const VERSION: u32 = 1;

/// Section ids.
pub const CUSTOM: u8 = 0;
pub const MEMORY: u8 = 5;
pub const CODE: u8 = 10;
pub const DATA: u8 = 11;
pub const DATA_COUNT: u8 = 12;

/// The sections of a module; `None` if they do not fill it.
pub fn sections(module: &[u8]) -> Option<Vec<Section>> {
    let mut sections = Vec::new();
    let mut at = 8;
    while at < module.len() {
        let section = section_at(module, at)?;
        at = section.body.end;
        sections.push(section);
    }
    (at == module.len()).then_some(sections)
}

/// Where the section with this header, `at` bytes into its file, ends; `None` if the header is cut off.
pub fn section_end(at: u64, header: &[u8]) -> Option<u64> {
    let section = section_at(header, 0)?;
    Some(at + section.body.end as u64)
}

/// See [`super::format::Format::frame`].
pub fn frame(code: &[u8], pages: u32, payload_length: u32) -> Result<Frame> {
    code_pages(code)?;
    // Of a code file, only the lengths can be too large.
    let too_large = ArtifactError::TooLarge { found: code.len() as u64 + u64::from(payload_length) };
    let (before, after) = module::frame(code, pages, payload_length).ok_or(too_large)?;
    Ok(Frame { before, after })
}

/// See [`super::format::Format::unframe`].
pub fn unframe(frame: &Frame, table: &Table) -> Option<Vec<u8>> {
    module::unframe(&frame.before, &frame.after, table.code_pages)
}

/// Pages of memory in the code module `code`.
pub fn code_pages(code: &[u8]) -> Result<u32> {
    let Some(sections) = sections(code) else {
        return Err(ArtifactError::not_a_code_file("its sections do not end where the file does"));
    };
    let find = |id: u8, what: &str| {
        let section = sections.iter().find(|section| section.id == id);
        section.ok_or_else(|| ArtifactError::not_a_code_file(format!("the module has no {what}")))
    };
    let (memory, data) = (find(MEMORY, "memory")?, find(DATA, "data")?);
    if memory.start > data.start {
        return Err(ArtifactError::not_a_code_file("the module's sections are not in order"));
    }
    if !ends_in_empty_segment(&code[data.body.clone()]) {
        return Err(ArtifactError::not_a_code_file("the last data segment is not passive and empty"));
    }
    let no_size = || ArtifactError::not_a_code_file(format!("the memory has no fixed size in pages of {MEMORY_PAGE} bytes"));
    module::memory_pages(code).ok_or_else(no_size)
}

fn ends_in_empty_segment(body: &[u8]) -> bool {
    let last = DataSectionReader::new(BinaryReader::new(body, 0)).ok().and_then(|segments| segments.into_iter().last());
    matches!(last, Some(Ok(last)) if matches!(last.kind, DataKind::Passive) && last.data.is_empty()) && body.ends_with(&EMPTY_SEGMENT)
}
