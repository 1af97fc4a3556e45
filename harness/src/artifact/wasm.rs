//! The payload in a WebAssembly module: the last data segment, a passive one.

use super::format::Frame;
use super::{ArtifactError, MEMORY_PAGE, Result};
use payload::Table;
use payload::module::section_at;
pub use payload::module::{EMPTY_SEGMENT, Section, memory_section};
use wasm_encoder::{CustomSection, Section as _};
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

const PASSIVE: u8 = EMPTY_SEGMENT[0];
/// Bytes of a length that is padded to its full width, so that what it says has no influence on where things are.
const LENGTH_LEN: usize = 5;

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

/// The custom section `name`.
pub fn custom_section(name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    CustomSection { name: name.into(), data: data.into() }.append_to(&mut bytes);
    bytes
}

/// Pages of memory in the code module `code`.
pub fn code_pages(code: &[u8]) -> Result<u32> {
    CodeModule::parse(code).map(|module| module.pages)
}

/// See [`super::format::Format::frame`].
pub fn frame(code: &[u8], pages: u32, payload_length: u32) -> Result<Frame> {
    let CodeModule { memory, data, .. } = CodeModule::parse(code)?;
    // Both lengths of the code file are of the shortest form, and the segment's is 0.
    let data_length = u32::try_from(data.body.len() + LENGTH_LEN - 1).ok().and_then(|length| length.checked_add(payload_length));
    let Some(data_length) = data_length else {
        return Err(ArtifactError::TooLarge { found: code.len() as u64 + u64::from(payload_length) });
    };
    let mut before = code[..memory.start].to_vec();
    before.extend(memory_section(pages));
    before.extend(&code[memory.body.end..data.start]);
    before.push(DATA);
    before.extend(padded_length(data_length));
    before.extend(&code[data.body.start..data.body.end - EMPTY_SEGMENT.len()]);
    before.push(PASSIVE);
    before.extend(padded_length(payload_length));
    Ok(Frame { before, after: code[data.body.end..].to_vec() })
}

/// See [`super::format::Format::unframe`].
pub fn unframe(frame: &Frame, table: &Table) -> Option<Vec<u8>> {
    payload::module::unframe(&frame.before, &frame.after, table.code_pages)
}

/// What of a code module changes when it is packed.
struct CodeModule {
    memory: Section,
    data: Section,
    pages: u32,
}

impl CodeModule {
    fn parse(code: &[u8]) -> Result<Self> {
        let Some(sections) = sections(code) else {
            return Err(ArtifactError::not_a_code_file("its sections do not end where the file does"));
        };
        let find = |id: u8, what: &str| {
            let section = sections.iter().find(|section| section.id == id).cloned();
            section.ok_or_else(|| ArtifactError::not_a_code_file(format!("the module has no {what}")))
        };
        let (memory, data) = (find(MEMORY, "memory")?, find(DATA, "data")?);
        if memory.start > data.start {
            return Err(ArtifactError::not_a_code_file("the module's sections are not in order"));
        }
        let pages =
            fixed_pages(&code[memory.body.clone()])
                .filter(|pages| code[memory.start..memory.body.end] == memory_section(*pages))
                .ok_or_else(|| ArtifactError::not_a_code_file(format!("the memory has no fixed size in pages of {MEMORY_PAGE} bytes")))?;
        if !ends_in_empty_segment(&code[data.body.clone()]) {
            return Err(ArtifactError::not_a_code_file("the last data segment is not passive and empty"));
        }
        Ok(Self { memory, data, pages })
    }
}

/// The maximum in the body of a memory section, which is the last that is in it.
fn fixed_pages(body: &[u8]) -> Option<u32> {
    // Count and flags are a byte each.
    let mut reader = BinaryReader::new(body.get(2..)?, 0);
    reader.read_var_u32().ok()
}

fn ends_in_empty_segment(body: &[u8]) -> bool {
    let last = DataSectionReader::new(BinaryReader::new(body, 0)).ok().and_then(|segments| segments.into_iter().last());
    matches!(last, Some(Ok(last)) if matches!(last.kind, DataKind::Passive) && last.data.is_empty()) && body.ends_with(&EMPTY_SEGMENT)
}

/// `length` as LEB128 in its full width.
fn padded_length(length: u32) -> [u8; LENGTH_LEN] {
    let group = |n: u32| (length >> (7 * n)) as u8 & 0x7f;
    [group(0) | 0x80, group(1) | 0x80, group(2) | 0x80, group(3) | 0x80, group(4)]
}
