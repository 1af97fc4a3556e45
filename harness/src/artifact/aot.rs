//! The payload in a file that WAMR's compiler wrote: the last of the data segments, a passive one.
//!
//! A file is magic, version and sections; a section begins at a multiple of 4 with its type and its length. All fields are little-endian
//! and aligned to their size, those of 8 bytes to 4. The order of the first sections is fixed; custom sections come last.

use super::format::Frame;
use super::{ArtifactError, MAX_MEMORY_PAGES, MEMORY_PAGE, Result};
use payload::Table;
use snapshot::ReadAt;
use std::io;

/// First bytes of a file …
pub const MAGIC: &[u8] = b"\0aot";
/// … and the version after them. Each version of WAMR reads one.
pub const VERSION: u32 = 6;

/// Section types.
const TARGET_INFO: u32 = 0;
const INIT_DATA: u32 = 1;
const CUSTOM: u32 = 100;
/// The kind of custom section that has a name and is left to the embedder.
const CUSTOM_RAW: u32 = 0;

/// Bytes of the section that says what the code runs on.
const TARGET_INFO_LEN: usize = 48;
/// Where that section begins, and in it the name of the architecture, padded with zeroes.
const TARGET_INFO_START: usize = 8;
const ARCH_OFFSET: usize = TARGET_INFO_START + 8 + 32;
const ARCH_LEN: usize = 16;
/// Bytes from which the architecture can be told.
pub const START_LEN: usize = ARCH_OFFSET + ARCH_LEN;
/// An architecture's name, of which WAMR writes more than that.
const AARCH64: &str = "aarch64";
/// Where the section with the memory and its data begins.
const INIT_DATA_START: usize = START_LEN;
/// Its length, then the fields at its start.
const INIT_DATA_LENGTH: usize = INIT_DATA_START + 4;
const IMPORTED_MEMORIES: usize = INIT_DATA_START + 8;
const MEMORIES: usize = IMPORTED_MEMORIES + 4;
const PAGE_BYTES: usize = MEMORIES + 8;
const INITIAL_PAGES: usize = PAGE_BYTES + 4;
const MAXIMUM_PAGES: usize = INITIAL_PAGES + 4;
const SEGMENT_COUNT: usize = MAXIMUM_PAGES + 4;
const SEGMENTS: usize = SEGMENT_COUNT + 4;

/// The architecture that a file with this start was compiled for: `x86_64`, `aarch64`, or what WAMR calls another. To that of the second it
/// adds a version of the architecture.
pub fn target(start: &[u8; START_LEN]) -> Result<String> {
    if u32_at(start, TARGET_INFO_START) != Some(TARGET_INFO) || u32_at(start, TARGET_INFO_START + 4) != Some(TARGET_INFO_LEN as u32) {
        return Err(ArtifactError::malformed("the .aot does not begin with its target"));
    }
    let arch = &start[ARCH_OFFSET..];
    let length = arch.iter().position(|byte| *byte == 0).unwrap_or(0);
    let (name, padding) = arch.split_at(length);
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) || padding.iter().any(|byte| *byte != 0) {
        return Err(ArtifactError::malformed(format!("\"{}\" is not the name of an architecture", arch.escape_ascii())));
    }
    let name = String::from_utf8_lossy(name);
    Ok(if name.starts_with(AARCH64) { AARCH64.into() } else { name.into_owned() })
}

/// Where the section with this header, `at` bytes into its file, ends; `None` if the header is cut off.
pub fn section_end(at: u64, header: &[u8]) -> Option<u64> {
    let padding = (at.next_multiple_of(4) - at) as usize;
    let length = u32_at(header, padding + 4)?;
    Some(at + padding as u64 + 8 + u64::from(length))
}

/// The custom section `name`. It belongs at a multiple of 4.
pub fn custom_section(name: &str, data: &[u8]) -> Vec<u8> {
    let name_length = name.len() + 1;
    let mut bytes = Vec::new();
    bytes.extend(CUSTOM.to_le_bytes());
    bytes.extend((4 + 2 + name_length as u32 + data.len() as u32).to_le_bytes());
    bytes.extend(CUSTOM_RAW.to_le_bytes());
    bytes.extend((name_length as u16).to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.push(0);
    bytes.extend(data);
    bytes
}

/// The custom section that says what processor the code was compiled for: its name as a baseline has it, in letters.
const CPU_SECTION: &str = "prebake.cpu";
/// Bytes of such a name.
const MAX_CPU: usize = 64;
/// Sections that are looked at for it. WAMR's compiler writes some dozen.
const MAX_SECTIONS: usize = 1000;

/// The code file `code`, and in it the least processor that it runs on.
pub fn with_cpu(mut code: Vec<u8>, cpu: &str) -> Vec<u8> {
    code.resize(code.len().next_multiple_of(4), 0);
    code.extend(custom_section(CPU_SECTION, cpu.as_bytes()));
    code
}

/// The least processor that the code in `file` runs on, if it was recorded.
pub fn cpu(file: &impl ReadAt) -> io::Result<Option<String>> {
    // What stands before a section's data if it is the one that is sought: its kind, and its name with the length of that.
    let before = &custom_section(CPU_SECTION, b"")[8..];
    let mut at = 8;
    for _ in 0..MAX_SECTIONS {
        if at >= file.byte_len() {
            break;
        }
        let start = u64::next_multiple_of(at, 4);
        let mut header = vec![0; (8 + before.len() + MAX_CPU).min(file.byte_len().saturating_sub(start) as usize)];
        file.read_exact_at(&mut header, start)?;
        let Some(end) = section_end(start, &header) else { break };
        if u32_at(&header, 0) == Some(CUSTOM) && header[8..].starts_with(before) {
            let length = (end - start) as usize;
            let name = header.get(8 + before.len()..length).filter(|name| !name.is_empty() && name.iter().all(u8::is_ascii_graphic));
            return Ok(name.map(|name| String::from_utf8_lossy(name).into_owned()));
        }
        at = end;
    }
    Ok(None)
}

/// Pages of memory in the code file `code`.
pub fn code_pages(code: &[u8]) -> Result<u32> {
    fixed_memory(code).map(|(_, pages)| pages)
}

/// The memory of the code file `code`, and its pages.
fn fixed_memory(code: &[u8]) -> Result<(Memory, u32)> {
    let memory = Memory::read(code).and_then(|memory| Some((memory, memory.pages()?)));
    memory.ok_or_else(|| ArtifactError::not_a_code_file("its memory is not one of fixed size"))
}

/// See [`super::format::Format::frame`].
pub fn frame(code: &[u8], pages: u32, payload_length: u32) -> Result<Frame> {
    let (memory, _) = fixed_memory(code)?;
    if code.first_chunk().is_none_or(|start| target(start).is_err()) {
        return Err(ArtifactError::not_a_code_file("it does not say what it was compiled for"));
    }
    check_sections(code)?;
    let segment = empty_segment(code).ok_or_else(|| ArtifactError::not_a_code_file("the last data segment is not passive and empty"))?;
    let init_data_length = u32_at(code, INIT_DATA_LENGTH).and_then(|length| length.checked_add(payload_length));
    let Some(init_data_length) = init_data_length else {
        return Err(ArtifactError::TooLarge { found: code.len() as u64 + u64::from(payload_length) });
    };
    let (before, after) = code.split_at(segment);
    let mut before = before.to_vec();
    put_u32(&mut before, INIT_DATA_LENGTH, init_data_length);
    memory.resized(pages).write(&mut before);
    put_u32(&mut before, segment - 4, payload_length);
    let mut after = after.to_vec();
    after.resize(after.len().next_multiple_of(4), 0); // the locator's section follows
    Ok(Frame { before, after })
}

/// See [`super::format::Format::unframe`].
pub fn unframe(frame: &Frame, table: &Table) -> Option<Vec<u8>> {
    let mut code = frame.before.clone();
    let memory = Memory::read(&code)?;
    let payload_length = u32::try_from(table.payload_length).ok()?;
    let init_data_length = u32_at(&code, INIT_DATA_LENGTH)?.checked_sub(payload_length)?;
    let length_field = code.len().checked_sub(4).filter(|field| *field >= SEGMENTS)?;
    put_u32(&mut code, INIT_DATA_LENGTH, init_data_length);
    memory.resized(table.code_pages).write(&mut code);
    put_u32(&mut code, length_field, 0);
    let rest = usize::try_from(table.code_length).ok()?.checked_sub(code.len())?;
    code.extend(frame.after.get(..rest)?);
    Some(code)
}

/// The memory's size. A module that can never ask for the number of its pages has one big page.
#[derive(Clone, Copy)]
struct Memory {
    page_bytes: u32,
    initial: u32,
    maximum: u32,
}

impl Memory {
    /// The size in a file whose first sections are as they should be and that has one memory, not imported.
    fn read(file: &[u8]) -> Option<Self> {
        let is_as_expected = u32_at(file, TARGET_INFO_START)? == TARGET_INFO
            && u32_at(file, TARGET_INFO_START + 4)? == TARGET_INFO_LEN as u32
            && u32_at(file, INIT_DATA_START)? == INIT_DATA
            && u32_at(file, IMPORTED_MEMORIES)? == 0
            && u32_at(file, MEMORIES)? == 1;
        is_as_expected.then_some(Self {
            page_bytes: u32_at(file, PAGE_BYTES)?,
            initial: u32_at(file, INITIAL_PAGES)?,
            maximum: u32_at(file, MAXIMUM_PAGES)?,
        })
    }

    fn is_one_big_page(self) -> bool {
        self.page_bytes > MEMORY_PAGE as u32
    }

    /// Pages of 64 KiB, if the size is fixed.
    fn pages(self) -> Option<u32> {
        let per_page = self.page_bytes / MEMORY_PAGE as u32;
        let is_fixed = per_page != 0 && self.page_bytes.is_multiple_of(MEMORY_PAGE as u32) && self.initial == self.maximum;
        let is_known = !self.is_one_big_page() || self.initial == 1;
        let pages = per_page.checked_mul(self.initial)?;
        (is_fixed && is_known && pages <= MAX_MEMORY_PAGES).then_some(pages)
    }

    fn resized(self, pages: u32) -> Self {
        if self.is_one_big_page() {
            Self { page_bytes: pages.saturating_mul(MEMORY_PAGE as u32), ..self }
        } else {
            Self { initial: pages, maximum: pages, ..self }
        }
    }

    fn write(self, file: &mut [u8]) {
        put_u32(file, PAGE_BYTES, self.page_bytes);
        put_u32(file, INITIAL_PAGES, self.initial);
        put_u32(file, MAXIMUM_PAGES, self.maximum);
    }
}

/// Checks that the sections fill the file.
fn check_sections(file: &[u8]) -> Result<()> {
    let mut at = 8;
    while at < file.len() {
        let end = section_end(at as u64, &file[at..]).filter(|end| *end <= file.len() as u64);
        at = end.ok_or_else(|| ArtifactError::not_a_code_file("its sections do not end where the file does"))? as usize;
    }
    Ok(())
}

/// Where the content of the last data segment would be, if that segment is passive and empty.
fn empty_segment(code: &[u8]) -> Option<usize> {
    let end = INIT_DATA_START.checked_add(8)?.checked_add(u32_at(code, INIT_DATA_LENGTH)? as usize)?;
    let init_data = code.get(..end)?;
    let mut at = SEGMENTS;
    let mut last = None;
    for _ in 0..u32_at(init_data, SEGMENT_COUNT)? {
        at = at.next_multiple_of(4);
        let is_passive = u32_at(init_data, at)? != 0;
        at = expression_end(init_data, at + 8, MAX_EXPRESSION_DEPTH)?;
        let length = u32_at(init_data, at)? as usize;
        at += 4;
        last = (is_passive && length == 0).then_some(at);
        at = at.checked_add(length)?;
    }
    last
}

/// How deeply the sums of a segment's address may nest.
const MAX_EXPRESSION_DEPTH: u32 = 64;

/// Where the constant expression at `at` ends. Its operator is as in WebAssembly, and 0 for none.
fn expression_end(file: &[u8], at: usize, depth: u32) -> Option<usize> {
    let operand = at + 4;
    match u32_at(file, at)? {
        0 => Some(operand),
        // i32.const, f32.const, global.get, ref.null, ref.func
        0x41 | 0x43 | 0x23 | 0xd0 | 0xd2 => Some(operand + 4),
        // i64.const, f64.const
        0x42 | 0x44 => Some(operand + 8),
        // i32 and i64: add, sub, mul
        0x6a..=0x6c | 0x7c..=0x7e => {
            let depth = depth.checked_sub(1)?;
            expression_end(file, expression_end(file, operand, depth)?, depth)
        }
        _ => None,
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

/// Writes a field that has been read.
fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
